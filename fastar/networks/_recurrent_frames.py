"""Recurrent networks of frames whose values depend on one another: RNN-NADE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastar._core.inputs import Inputs
from fastar._core.parameters import Array, Params
from fastar._core.schema import Listed, Maybe, OneOf, Rule, Whole
from fastar.networks._network import DROPOUT
from fastar.networks._recurrent_layers import CELLS, State
from fastar.networks._recurrent_network import Cache, SequenceNetwork
from fastar.networks._shared_hidden import Cache as FrameCache
from fastar.networks._shared_hidden import SharedHidden


class RecurrentFrames(SequenceNetwork):
    """Cells whose state is the context of a NADE over the values of the next frame [1]_.

    ``u_t = cell(x_t, u_{t-1})``; the NADE of step t has hidden biases ``c + u_{t-1} U`` and output
    biases ``b + u_{t-1} B``.

    Parameters
    ----------
    output_offsets : int64 array (F + 1,)
        Where the outputs of each of F values of a frame begin.
    inputs : Inputs
        How codes enter, both the cells and the NADE.
    cell : {"tanh", "gru", "lstm"}
    hidden_layer_sizes : tuple of int
        Units of each layer of cells.
    n_frame_hidden : int
        Hidden units of the NADE.
    bptt : int or None
        Gradients pass no further than to the last step that is a multiple of it.
    dropout : float
        Share of units that are hidden from further layers and the NADE in training.
    n_context : int
        C: a context (n, C) enters the cells, and the NADE beside u.
    dtype : dtype

    References
    ----------
    .. [1] N. Boulanger-Lewandowski, Y. Bengio, P. Vincent, "Modeling temporal dependencies in
       high-dimensional sequences", ICML 2012.
    """

    name = "recurrent_frames"

    def __init__(
        self,
        output_offsets: Array,
        inputs: Inputs,
        *,
        n_frame_hidden: int,
        **cells: Any,
    ) -> None:
        super().__init__(output_offsets, inputs, **cells)
        self.n_frame_hidden = int(n_frame_hidden)
        self.frame = SharedHidden(
            output_offsets, inputs, n_hidden=n_frame_hidden, activation="sigmoid",
            markov_order=self.n_features, dtype=self.dtype,
            n_context=self.hidden_layer_sizes[-1] + self.n_context,
        )  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of the constructor."""
        return {"n_frame_hidden": self.n_frame_hidden, **super().settings()}

    @classmethod
    def _own_rules(cls, size: Whole) -> dict[str, Rule]:
        """Return what its own settings may be, `size` being the rule for a number of units."""
        return {
            "cell": OneOf(CELLS),
            "hidden_layer_sizes": Listed(size, least=1),
            "n_frame_hidden": size,
            "bptt": Maybe(Whole(1)),
            "dropout": DROPOUT,
        }

    # ---- parameters: those of the layers have numbers in their names

    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        frame = self.frame.shapes
        weights = {name: frame[name] for name in self.frame.decayed}
        return {
            **self.layers.weight_shapes,
            **weights,
            **self.layers.bias_shapes,
            **{name: shape for name, shape in frame.items() if name not in weights},
        }

    @property
    def decayed(self) -> tuple[str, ...]:
        """The weights of both."""
        return (*self.layers.weight_shapes, *self.frame.decayed)

    @property
    def output_weights(self) -> tuple[str, ...]:
        """Those of the NADE."""
        return self.frame.output_weights

    def initialise(self, params: Params, rng: np.random.Generator) -> None:
        """Fill weights with small random numbers, an LSTM's forget gates with ones."""
        self.layers.initialise(params, rng)
        self.frame.initialise(params, rng)

    def _outputs(
        self,
        params: Params,
        h: Array,
        codes: Array,
        sequence: Array,
        context: Array | None,
        n_threads: int,
    ) -> tuple[Array, FrameCache]:
        """Return raw (N, sum of P) of the NADE, which is given h and the context of each step."""
        u = h if context is None else np.hstack([h, context[sequence]])
        return self.frame.forward(params, codes, n_threads, context=u)

    def backward(
        self, params: Params, cache: Cache, graw: Array, grads: Params, n_threads: int
    ) -> None:
        """Overwrite `grads` with the gradient of sum(graw * raw)."""
        n_threads = self._threads(len(graw), n_threads)
        gu = self.frame.context_gradient(params, cache.outputs, graw, grads, n_threads)
        gh = np.ascontiguousarray(gu[:, : self.hidden_layer_sizes[-1]])
        self.layers.backward(params, cache.steps, cache.layers, gh, grads, n_threads, cache.context)

    def sample(
        self,
        params: Params,
        draw: object,
        noise: Array,
        held: Array | None,
        codes: Array,
        n_threads: int,
        *,
        context: Array | None = None,
        weight: Array | None = None,
        state: State | None = None,
    ) -> None:
        """Draw codes (n, T F) of T steps where `held` is SAMPLED, weigh those that are WEIGHTED.

        state: before the first step, and then after the last.
        """
        F, n_threads = self.n_features, self._threads(len(codes), n_threads)
        state = self.start(len(codes)) if state is None else state
        weights = self.layers.step_weights(params, context, n_threads)
        for first in range(0, codes.shape[1], F):
            step = slice(first, first + F)
            flags = None if held is None else np.ascontiguousarray(held[:, step])
            frame = np.ascontiguousarray(codes[:, step])
            own_noise = np.ascontiguousarray(noise[:, step])
            u = state[-1][0] if context is None else np.hstack([state[-1][0], context])
            self.frame.sample(
                params, draw, own_noise, flags, frame, n_threads, context=u, weight=weight
            )
            codes[:, step] = frame
            self.layers.advance(params, weights, state, frame, n_threads)
