"""Recurrent networks of frames whose values depend on one another: RNN-NADE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastar._core.inputs import Inputs
from fastar._core.parameters import Array, Params
from fastar._core.schema import Listed, Maybe, OneOf, Rule, Whole
from fastar._core.threads import useful_n_threads
from fastar._data.packed import Steps
from fastar.networks._network import DROPOUT, Network
from fastar.networks._recurrent_layers import CELLS, Kept, RecurrentLayers, State
from fastar.networks._shared_hidden import Cache as FrameCache
from fastar.networks._shared_hidden import SharedHidden


@dataclass(frozen=True)
class Cache:
    """What `backward` needs of `forward`."""

    steps: Steps
    layers: list[Kept]
    frame: FrameCache
    context: Array | None


class RecurrentFrames(Network):
    """Cells whose state is the context of a NADE over the values of the next frame [1]_.

    ``u_t = cell(x_t, u_{t-1})``; the NADE of step t has hidden biases ``c + u_{t-1} U`` and output
    biases ``b + u_{t-1} B``.

    Parameters
    ----------
    n_features, n_outputs : int
        F values a frame, P raw outputs of each.
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
        n_features: int,
        n_outputs: int,
        inputs: Inputs,
        *,
        cell: str,
        hidden_layer_sizes: tuple[int, ...],
        n_frame_hidden: int,
        bptt: int | None = None,
        dropout: float = 0.0,
        n_context: int = 0,
        dtype: Any,
    ) -> None:
        if not hidden_layer_sizes or min(n_features, *hidden_layer_sizes) < 1:
            raise ValueError("n_features and every layer's size must be at least 1")
        self.n_features = n_features
        self.n_outputs = n_outputs
        self.inputs = inputs
        self.cell = cell
        self.hidden_layer_sizes = tuple(map(int, hidden_layer_sizes))
        self.n_frame_hidden = int(n_frame_hidden)
        self.bptt = None if bptt is None else int(bptt)
        self.dropout = float(dropout)
        self.n_context = int(n_context)
        self.dtype = np.dtype(dtype)
        self.layers = RecurrentLayers(
            cell,
            self.hidden_layer_sizes,
            inputs,
            self.bptt,
            self.n_context,
            self.dtype,
            self.dropout,
        )
        self.frame = SharedHidden(
            n_features, n_outputs, inputs, n_hidden=n_frame_hidden, activation="sigmoid",
            markov_order=n_features, dtype=dtype,
            n_context=self.hidden_layer_sizes[-1] + self.n_context,
        )  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of the constructor."""
        return {
            "cell": self.cell,
            "hidden_layer_sizes": list(self.hidden_layer_sizes),
            "n_frame_hidden": self.n_frame_hidden,
            "bptt": self.bptt,
            "dropout": self.dropout,
            "n_context": self.n_context,
            "dtype": self.dtype.name,
        }

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

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every parameter, weights first."""
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

    # ---- forward

    def forward(
        self,
        params: Params,
        steps: Any,
        n_threads: int,
        *,
        context: Array | None = None,
        rng: np.random.Generator | None = None,
        state: State | None = None,
    ) -> tuple[Array, Cache | None]:
        """Return raw (N, F, P) for `Steps`, and in training (rng) the cache for `backward`.

        state: of each sequence, in the order of `steps`, before its first step.
        """
        n_threads = self._threads(len(steps.codes), n_threads)
        begin = self.start(len(steps)) if state is None else state
        layers = self.layers.forward(params, steps, begin, rng, n_threads, context)
        u = _beside(layers[-1].given, context, steps.sequence)
        raw, cache = self.frame.forward(params, steps.codes, n_threads, context=u)
        return raw, None if rng is None else Cache(steps, layers, cache, context)

    def unroll(
        self,
        params: Params,
        steps: Steps,
        state: State,
        n_threads: int,
        context: Array | None = None,
    ) -> tuple[Array, State]:
        """Return raw (N, F, P), and the state before the last step of each sequence.

        state: before its first step; both in the order of the sequences.
        """
        n_threads = self._threads(len(steps.codes), n_threads)
        h, after = self.layers.unroll(params, steps, state, n_threads, context)
        u = _beside(h, context, steps.sequence)
        return self.frame.forward(params, steps.codes, n_threads, context=u)[0], after

    def bptt_segments(
        self, params: Params, steps: Steps, n_threads: int, context: Array | None = None
    ) -> Iterator[tuple[slice, Array]]:
        """Yield rows of `steps` and their raw (m, F, P), which stay in the caches."""
        n_threads = self._threads(len(steps.codes), n_threads)
        for where, h in self.layers.bptt_segments(params, steps, n_threads, context):
            u = _beside(h, context, steps.sequence[where])
            yield where, self.frame.forward(params, steps.codes[where], n_threads, context=u)[0]

    def step(
        self,
        params: Params,
        steps: Steps,
        state: State,
        n_threads: int,
        context: Array | None = None,
    ) -> tuple[Array, State]:
        """Return raw (N, F, P) of sequences of one length, and the state after them.

        state: of each sequence before its first step.
        """
        raw, after = self.unroll(params, steps.longer(), state, n_threads, context)
        return raw[: len(steps.codes)], after

    # ---- backward

    def backward(
        self, params: Params, cache: Cache, graw: Array, grads: Params, n_threads: int
    ) -> None:
        """Overwrite `grads` with the gradient of sum(graw * raw)."""
        n_threads = self._threads(len(graw), n_threads)
        gu = self.frame.context_gradient(params, cache.frame, graw, grads, n_threads)
        gh = np.ascontiguousarray(gu[:, : self.hidden_layer_sizes[-1]])
        self.layers.backward(params, cache.steps, cache.layers, gh, grads, n_threads, cache.context)

    # ---- one frame after the other

    def start(self, n: int) -> State:
        """Return the state of n sequences before their first step."""
        return self.layers.start(n)

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
        """Draw codes (n, T F) of T steps where `held` is FREE, and weigh those that are WEIGHED.

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

    def _threads(self, n_rows: int, n_threads: int) -> int:
        size = max(H * H for H in self.hidden_layer_sizes) * self.layers.n_gates
        return useful_n_threads(n_threads, n_rows * size)


def _beside(h: Array, context: Array | None, sequence: Array) -> Array:
    """Return units (N, H), and beside them the context of each step's sequence."""
    return h if context is None else np.hstack([h, context[sequence]])
