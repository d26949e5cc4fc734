"""Recurrent networks: from the steps of a sequence before to the next one's distribution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastar._core.inputs import Inputs
from fastar._core.parameters import Array, Params
from fastar._core.threads import useful_n_threads
from fastar._data.packed import Steps
from fastar._kernels import _recurrent
from fastar.networks._dense import product, transposed_product
from fastar.networks._network import Network
from fastar.networks._recurrent_layers import CELLS, Kept, RecurrentLayers, State

__all__ = ["CELLS", "Cache", "Recurrent", "State", "Steps"]


@dataclass(frozen=True)
class Cache:
    """What `backward` needs of `forward`."""

    steps: Steps
    layers: list[Kept]
    context: Array | None


class Recurrent(Network):
    """Cells whose state after the steps before gives the distribution of the next one.

    ``h_t = cell(x_t, h_{t-1})``, ``raw_t = b + h_{t-1} V``, with h_0 = 0; further layers take the
    units of the one before as their x. A context (n, C) adds context U to what enters the cells of
    each layer, and context B to the outputs, at every step.

    Parameters
    ----------
    n_features, n_outputs : int
        F values a step, P raw outputs of each.
    inputs : Inputs
        How what `Steps.entering` has enters.
    cell : {"tanh", "gru", "lstm"}
    hidden_layer_sizes : tuple of int
        Units of each layer.
    bptt : int or None
        Gradients pass no further than to the last step that is a multiple of it.
    dropout : float
        Share of units that training hides from further layers and outputs.
    n_context : int
    dtype : dtype
        float32 or float64.
    """

    name = "recurrent"

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        inputs: Inputs,
        *,
        cell: str,
        hidden_layer_sizes: tuple[int, ...],
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

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of the constructor."""
        return {
            "cell": self.cell,
            "hidden_layer_sizes": list(self.hidden_layer_sizes),
            "bptt": self.bptt,
            "dropout": self.dropout,
            "n_context": self.n_context,
            "dtype": self.dtype.name,
        }

    # ---- parameters

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every parameter, weights first."""
        F, P, H = self.n_features, self.n_outputs, self.hidden_layer_sizes[-1]
        return {
            **self.layers.weight_shapes,
            "V": (H, F, P),
            **({"B": (self.n_context, F, P)} if self.n_context else {}),
            **self.layers.bias_shapes,
            "b": (F, P),
        }

    @property
    def decayed(self) -> tuple[str, ...]:
        """All but the biases."""
        return (*self.layers.weight_shapes, *self.output_weights)

    @property
    def output_weights(self) -> tuple[str, ...]:
        """V, and B."""
        return ("V", "B") if self.n_context else ("V",)

    def initialise(self, params: Params, rng: np.random.Generator) -> None:
        """Fill weights with small random numbers, an LSTM's forget gates with ones."""
        self.layers.initialise(params, rng)
        V = params["V"]
        V[...] = rng.uniform(-1, 1, V.shape) / np.sqrt(len(V))
        params["b"][...] = 0
        if self.n_context:
            params["B"][...] = 0

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
        return self._outputs(params, layers[-1].given, steps.sequence, context, n_threads), (
            None if rng is None else Cache(steps, layers, context)
        )

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
        return self._outputs(params, h, steps.sequence, context, n_threads), after

    def bptt_segments(
        self, params: Params, steps: Steps, n_threads: int, context: Array | None = None
    ) -> Iterator[tuple[slice, Array]]:
        """Yield rows of `steps` and their raw (m, F, P), which stay in the caches."""
        n_threads = self._threads(len(steps.codes), n_threads)
        for where, h in self.layers.bptt_segments(params, steps, n_threads, context):
            yield where, self._outputs(params, h, steps.sequence[where], context, n_threads)

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

    def _outputs(
        self, params: Params, h: Array, sequence: Array, context: Array | None, n_threads: int
    ) -> Array:
        """Return raw (N, F, P) of units h (N, H); sequence (N,): which each step belongs to."""
        raw = product(h, params["V"], params["b"].ravel(), n_threads)
        if context is not None:
            raw += self._own(params, context, n_threads)[sequence]
        return raw.reshape(-1, self.n_features, self.n_outputs)

    def _own(self, params: Params, context: Array, n_threads: int) -> Array:
        """Return what a context adds to the outputs (n, F P) of each step."""
        zeros = np.zeros(self.n_features * self.n_outputs, self.dtype)
        return product(context, params["B"], zeros, n_threads)

    # ---- backward

    def backward(
        self, params: Params, cache: Cache, graw: Array, grads: Params, n_threads: int
    ) -> None:
        """Overwrite `grads` with the gradient of sum(graw * raw)."""
        n_threads = self._threads(len(cache.steps.codes), n_threads)
        g = np.ascontiguousarray(graw.reshape(len(graw), -1))
        np.sum(graw, axis=0, out=grads["b"])
        V = grads["V"].reshape(-1, g.shape[1])
        _recurrent.outer(cache.layers[-1].given, g, V, n_threads)
        steps, context = cache.steps, cache.context
        if context is not None:
            gB = grads["B"].reshape(-1, g.shape[1])
            _recurrent.outer(np.ascontiguousarray(context[steps.sequence]), g, gB, n_threads)
        gh = transposed_product(g, params["V"], n_threads)
        self.layers.backward(params, steps, cache.layers, gh, grads, n_threads, context)

    # ---- one step after the other

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
        """Draw codes (n, T F) of T steps where `held` is SAMPLED, weigh those that are WEIGHTED.

        state: before the first step, and then after the last.
        """
        layers = self.layers.walk_weights(params, context)
        own = None if context is None else self._own(params, context, n_threads)
        V = _recurrent.pack(params["V"].reshape(self.hidden_layer_sizes[-1], -1), 1)
        source = np.arange(codes.shape[1], dtype=np.int32).reshape(-1, self.n_features)
        _recurrent.sample(
            draw, noise, held, codes, weight, layers, self.inputs.input_flags, self.inputs.n_inputs,
            source, V, params["b"].reshape(1, -1), own, self.n_outputs,
            self.start(len(codes)) if state is None else state,
            self._threads(codes.size, n_threads),
        )  # fmt: skip

    def _threads(self, n_rows: int, n_threads: int) -> int:
        size = max(H * H for H in self.hidden_layer_sizes) * self.layers.n_gates
        return useful_n_threads(n_threads, n_rows * size)
