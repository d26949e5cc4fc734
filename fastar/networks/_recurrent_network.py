"""The base of recurrent networks: cells, linear outputs, and the way through sequences."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastar._core.inputs import Inputs
from fastar._core.offsets import output_axes
from fastar._core.parameters import Array, Params
from fastar._core.threads import useful_n_threads
from fastar._data.packed import Steps
from fastar._kernels import _recurrent
from fastar.networks._dense import product
from fastar.networks._network import Network
from fastar.networks._recurrent_layers import Kept, RecurrentLayers, State


class RecurrentNetwork(Network):
    """Base of networks of recurrent cells, whose units h give ``raw = b + h V + context B``.

    The arguments are those of `Recurrent`.
    """

    def __init__(
        self,
        output_offsets: Array,
        inputs: Inputs,
        *,
        cell: str,
        hidden_layer_sizes: tuple[int, ...],
        bptt: int | None = None,
        dropout: float = 0.0,
        n_context: int = 0,
        dtype: Any,
    ) -> None:
        if not hidden_layer_sizes or min(hidden_layer_sizes) < 1:
            raise ValueError("every layer's size must be at least 1")
        self.output_offsets = output_offsets
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
            self._entering_inputs(),
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

    def _entering_inputs(self) -> Inputs:
        """Return how what `Steps.entering` has enters the first layer."""
        return self.inputs

    # ---- parameters

    @property
    def _step_outputs(self) -> tuple[int, ...]:
        """Axes of the raw outputs of a step."""
        return output_axes(self.output_offsets)

    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {
            **self.layers.weight_shapes,
            "V": (self.hidden_layer_sizes[-1], *self._step_outputs),
            **({"B": (self.n_context, *self._step_outputs)} if self.n_context else {}),
            **self.layers.bias_shapes,
            "b": output_axes(self.output_offsets),
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

    # ---- computing

    @property
    def step_bytes(self) -> int:
        """Bytes that a step of training keeps at least: the layers', raw outputs, gradients."""
        above = self.hidden_layer_sizes[-1] + 2 * self.n_outputs
        return (self.layers.n_kept + above) * self.dtype.itemsize

    def start(self, n: int) -> State:
        """Return the state of n sequences before their first step."""
        return self.layers.start(n)

    def _context_outputs(self, params: Params, context: Array, n_threads: int) -> Array:
        """Return what a context adds to the outputs (n, ..) of each step."""
        zeros = np.zeros(int(np.prod(self._step_outputs)), self.dtype)
        return product(context, params["B"], zeros, n_threads)

    def _walk(
        self, params: Params, draw: object, noise: Array, held: Array | None, codes: Array,
        n_threads: int, *, context: Array | None, weight: Array | None, width: int, source: Array,
        state: State,
    ) -> None:  # fmt: skip
        """Do what `sample` does, of so many values a step.

        source (T, E): the places in a row of codes that enter.
        """
        layers, inputs = self.layers.walk_weights(params, context), self.layers.inputs
        own = None if context is None else self._context_outputs(params, context, n_threads)
        V = params["V"].reshape(self.hidden_layer_sizes[-1], -1)
        _recurrent.sample(
            draw, noise, held, codes, weight, layers, inputs.input_flags, inputs.offsets, source,
            _recurrent.pack(V, 1), params["b"].ravel(), own, self.output_offsets, width, state,
            self._threads(codes.size, n_threads),
        )  # fmt: skip

    def _threads(self, n_steps: int, n_threads: int) -> int:
        size = max(H * H for H in self.hidden_layer_sizes) * self.layers.n_gates
        return useful_n_threads(n_threads, n_steps * size)


@dataclass(frozen=True)
class Cache:
    """What `backward` needs of `forward`."""

    steps: Steps
    layers: list[Kept]
    context: Array | None
    outputs: Any
    """The cache of `_outputs`."""

    def last(self) -> State:
        """Return the state before the last time, in the order of the steps."""
        rows = int(self.steps.first[-2])
        return [(each.h[rows:], each.s[rows:]) for each in self.layers]


class SequenceNetwork(RecurrentNetwork):
    """Base of recurrent networks of `Steps`; a subclass says how units become outputs."""

    @abstractmethod
    def _outputs(
        self,
        params: Params,
        h: Array,
        codes: Array,
        sequence: Array,
        context: Array | None,
        n_threads: int,
    ) -> tuple[Array, Any]:
        """Return raw (N, sum of P) of units h (N, H), and what `backward` needs.

        codes (N, F): of the steps that follow h. sequence (N,): which each step belongs to.
        """

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
        """Return raw (N, sum of P) for `Steps`, and in training (rng) the cache for `backward`.

        state: of each sequence, in the order of `steps`, before its first step.
        """
        n_threads = self._threads(len(steps.codes), n_threads)
        begin = self.start(len(steps)) if state is None else state
        layers = self.layers.forward(params, steps, begin, rng, n_threads, context)
        h = layers[-1].given
        raw, kept = self._outputs(params, h, steps.codes, steps.sequence, context, n_threads)
        return raw, None if rng is None else Cache(steps, layers, context, kept)

    def unroll(
        self,
        params: Params,
        steps: Steps,
        state: State,
        n_threads: int,
        context: Array | None = None,
    ) -> tuple[Array, State]:
        """Return raw (N, sum of P), and the state before the last step of each sequence.

        state: before its first step; both in the order of the sequences.
        """
        after = [(h.copy(), s.copy()) for h, s in state]
        parts = self._outputs_by_segment(params, steps, after, n_threads, context)
        return np.concatenate([raw for _, raw in parts]), after

    def state_before_last(
        self,
        params: Params,
        steps: Steps,
        state: State,
        n_threads: int,
        context: Array | None = None,
    ) -> State:
        """Return the second answer of `unroll` alone, for which no outputs are computed."""
        n_threads = self._threads(len(steps.codes), n_threads)
        after = [(h.copy(), s.copy()) for h, s in state]
        for _ in self.layers.unroll(params, steps, after, n_threads, context):
            pass
        return after

    def bptt_segments(
        self, params: Params, steps: Steps, n_threads: int, context: Array | None = None
    ) -> Iterator[tuple[slice, Array]]:
        """Yield rows of `steps` and their raw (m, sum of P), which stay in the caches."""
        state = self.start(len(steps))
        return self._outputs_by_segment(params, steps, state, n_threads, context)

    def _outputs_by_segment(
        self, params: Params, steps: Steps, state: State, n_threads: int, context: Array | None
    ) -> Iterator[tuple[slice, Array]]:
        n_threads = self._threads(len(steps.codes), n_threads)
        for where, h in self.layers.unroll(params, steps, state, n_threads, context):
            codes, sequence = steps.codes[where], steps.sequence[where]
            yield where, self._outputs(params, h, codes, sequence, context, n_threads)[0]

    def step(
        self,
        params: Params,
        steps: Steps,
        state: State,
        n_threads: int,
        context: Array | None = None,
    ) -> tuple[Array, State]:
        """Return raw (N, sum of P) of sequences of one length, and the state after them.

        state: of each sequence before its first step.
        """
        raw, after = self.unroll(params, steps.longer(), state, n_threads, context)
        return raw[: len(steps.codes)], after

    @abstractmethod
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
        """Draw codes (n, T F) of T steps where `held` is SAMPLED, weigh them where it is WEIGHTED.

        state: before the first step, and then after the last.
        """
