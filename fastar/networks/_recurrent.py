"""Recurrent networks: from the steps of a sequence before to the next one's distribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fastar._kernels import _cpu, _inputs, _masked, _recurrent
from fastar._parameters import Array, Params
from fastar._threads import useful_n_threads
from fastar.networks._dense import full_stairs, product
from fastar.networks._inputs import Inputs
from fastar.networks._network import Network

CELLS: tuple[str, ...] = _recurrent.CELLS
_LINEAR = -1

State = list[tuple[Array, Array]]
"""For each layer the units (n, H), and of the LSTM its memory (n, H)."""


@dataclass(frozen=True)
class Steps:
    """The steps of sequences, the first of all of them, then the second, and so on.

    The longest sequence comes first, so that those that go on are the first ones of each step.

    Parameters
    ----------
    codes : array (N, F)
    counts : int array (T,)
        How many sequences have a step t.
    sequence : int array (N,)
        To which each step belongs.
    """

    codes: Array
    counts: Array
    sequence: Array

    @classmethod
    def of(cls, codes: Array, lengths: Array) -> Steps:
        """Return steps of sequences that stand one after the other in codes (N, F)."""
        order = np.argsort(-lengths, kind="stable")
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])[order]
        counts = np.searchsorted(-lengths[order], -np.arange(lengths.max(initial=0)), side="left")
        rows = np.concatenate([np.arange(m) for m in counts]) if len(counts) else np.empty(0, int)
        time = np.repeat(np.arange(len(counts)), counts)
        return cls(np.ascontiguousarray(codes[starts[rows] + time]), counts, order[rows])

    def __len__(self) -> int:
        """Return the number of sequences."""
        return int(self.counts[0]) if len(self.counts) else 0

    def with_codes(self, codes: Array) -> Steps:
        """Return the same steps with other codes."""
        return Steps(codes, self.counts, self.sequence)

    @cached_property
    def first(self) -> Array:
        """Where each t begins, and the end (T + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    @cached_property
    def before(self) -> Array | slice:
        """Where the step before stands, for every step but first ones."""
        if self.counts[0] == self.counts[-1]:
            return slice(0, len(self.codes) - len(self))
        parts = [self.first[t] + np.arange(m) for t, m in enumerate(self.counts[1:])]
        return np.concatenate(parts)

    def sums(self, values: Array) -> Array:
        """Return the sums over each sequence (n,) of a number (N,) for each step."""
        return np.bincount(self.sequence, values, len(self))


@dataclass(frozen=True)
class Cache:
    """What `backward` needs of `forward`."""

    steps: Steps
    layers: list[tuple[Array, Array, Array | None]]
    """Units and memory before each step (N, H), and slots (N - n, S H)."""


class Recurrent(Network):
    """Cells whose state after the steps before gives the distribution of the next one.

    ``h_t = cell(x_t, h_{t-1})``, ``raw_t = b + h_{t-1} V``, with h_0 = 0; further layers take the
    units of the one before as their x. Gates as in PyTorch: r z n (GRU), i f g o (LSTM).

    Parameters
    ----------
    n_features, n_outputs : int
        F values a step, P raw outputs of each.
    inputs : Inputs
        How codes enter.
    cell : {"tanh", "gru", "lstm"}
    hidden_layer_sizes : tuple of int
        Units of each layer.
    bptt : int or None
        Gradients pass no further than to the last step that is a multiple of it.
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
        n_context: int = 0,
        dtype: Any,
    ) -> None:
        if not hidden_layer_sizes or min(n_features, *hidden_layer_sizes) < 1:
            raise ValueError("n_features and every layer's size must be at least 1")
        if n_context:
            raise ValueError("a recurrent network takes no context")
        self.n_features = n_features
        self.n_outputs = n_outputs
        self.inputs = inputs
        self.cell = cell
        self.hidden_layer_sizes = tuple(map(int, hidden_layer_sizes))
        self.bptt = None if bptt is None else int(bptt)
        self.dtype = np.dtype(dtype)
        self._cell = CELLS.index(cell)
        self._n_gates = _recurrent.N_GATES[self._cell]
        self._n_slots = _recurrent.N_SLOTS[self._cell]

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of the constructor."""
        return {
            "cell": self.cell,
            "hidden_layer_sizes": list(self.hidden_layer_sizes),
            "bptt": self.bptt,
            "dtype": self.dtype.name,
        }

    # ---- parameters

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every parameter, weights first."""
        G, sizes = self._n_gates, self.hidden_layer_sizes
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, H in enumerate(sizes):
            below = (self.n_features, self.inputs.n_inputs) if layer == 0 else (sizes[layer - 1],)
            shapes[f"W_xh{layer}"] = (*below, G * H)
            shapes[f"W_hh{layer}"] = (H, G * H)
        shapes["V"] = (sizes[-1], self.n_features, self.n_outputs)
        for layer, H in enumerate(sizes):
            shapes[f"c{layer}"] = (G * H,)
            if self.cell == "gru":
                shapes[f"d{layer}"] = (H,)
        return {**shapes, "b": (self.n_features, self.n_outputs)}

    @property
    def decayed(self) -> tuple[str, ...]:
        """The W and V."""
        return tuple(name for name in self.shapes if name[0] in "WV")

    @property
    def output_weights(self) -> tuple[str, ...]:
        """V."""
        return ("V",)

    def initialise(self, params: Params, rng: np.random.Generator) -> None:
        """Fill weights with small random numbers, an LSTM's forget gates with ones."""
        for name in self.shapes:
            params[name][...] = 0
        for name in self.decayed:
            H = self.hidden_layer_sizes[-1 if name == "V" else int(name[4:])]
            params[name][...] = rng.uniform(-1, 1, params[name].shape) / np.sqrt(H)
        if self.cell == "lstm":
            for layer, H in enumerate(self.hidden_layer_sizes):
                # R. Jozefowicz, W. Zaremba, I. Sutskever, ICML 2015
                params[f"c{layer}"][H : 2 * H] = 1

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
        layers = self._layers(params, steps, begin, rng is not None, n_threads)
        return self._outputs(params, layers[-1][0], n_threads), (
            None if rng is None else Cache(steps, layers)
        )

    def follow(
        self, params: Params, steps: Steps, state: State, n_threads: int
    ) -> tuple[Array, State]:
        """Return raw (N, F, P) of sequences of one length, and the state after them.

        state: of each sequence before its first step.
        """
        n, n_threads = len(steps), self._threads(len(steps.codes), n_threads)
        # one more step, whatever it holds: the state after the others is that before it
        codes = np.concatenate([steps.codes, steps.codes[-n:]])
        longer = Steps(codes, np.append(steps.counts, n), np.append(steps.sequence, np.arange(n)))
        layers = self._layers(params, longer, state, False, n_threads)
        after = [(h[-n:].copy(), s[-n:].copy()) for h, s, _ in layers]
        return self._outputs(params, layers[-1][0][:-n], n_threads), after

    def _outputs(self, params: Params, h: Array, n_threads: int) -> Array:
        raw = product(h, params["V"], params["b"].ravel(), n_threads)
        return raw.reshape(-1, self.n_features, self.n_outputs)

    def _layers(
        self, params: Params, steps: Steps, begin: State, keep: bool, n_threads: int
    ) -> list[tuple[Array, Array, Array | None]]:
        """Return what `_layer` does of all of them."""
        layers: list[tuple[Array, Array, Array | None]] = []
        for layer in range(len(self.hidden_layer_sizes)):
            below = layers[-1][0] if layers else None
            layers.append(self._layer(params, layer, steps, begin[layer], below, keep, n_threads))
        return layers

    def _layer(
        self,
        params: Params,
        layer: int,
        steps: Steps,
        begin: tuple[Array, Array],
        below: Array | None,
        keep: bool,
        n_threads: int,
    ) -> tuple[Array, Array, Array | None]:
        """Return units and memory (N, H) before each step, and the slots if they are to be kept."""
        H, n, N = self.hidden_layer_sizes[layer], len(steps), len(steps.codes)
        h = _cpu.aligned_empty((N, H), self.dtype)
        s = _cpu.aligned_empty((N, H), self.dtype) if self.cell == "lstm" else h
        s[:n], h[:n] = begin[1], begin[0]
        slots = _cpu.aligned_empty((N - n, self._n_slots * H), self.dtype) if keep else None
        given = None
        if below is not None:
            W, c = self._entering(params, layer), params[f"c{layer}"]
            given = product(below[n:], W, c, n_threads)
        _recurrent.forward(
            self._weights(params, layer), steps.first, steps.codes, self.inputs.one_hot,
            self.inputs.n_inputs, given, h, s, slots, n_threads,
        )  # fmt: skip
        return h, s, slots

    def _weights(self, params: Params, layer: int, walk: bool = False) -> _recurrent.Weights:
        """Return what the kernels read of a layer; walk: what enters a further one, too."""
        H, W = self.hidden_layer_sizes[layer], self._entering(params, layer)
        x = W.ravel() if layer == 0 else _recurrent.pack(W, 1) if walk else None
        packed = _recurrent.pack(params[f"W_hh{layer}"], self._n_gates)
        return _recurrent.Weights(
            self._cell, H, x, packed, params[f"c{layer}"], params.get(f"d{layer}")
        )

    def _entering(self, params: Params, layer: int) -> Array:
        W = params[f"W_xh{layer}"]
        return W.reshape(-1, W.shape[-1])

    def _changes(self, codes: Array, n_threads: int) -> tuple[Array, Array, Array, Array]:
        """Return the rows of W_xh that codes add; they stand for themselves as features."""
        # a feature that no other comes after would be left out
        padded = np.zeros((len(codes), self.n_features + 1), self.dtype)
        padded[:, :-1] = codes
        one_hot = np.append(self.inputs.one_hot, np.uint8(0))
        count, _, row, value = _inputs.changes(
            padded, one_hot, self.inputs.n_inputs, self.n_features + 1, n_threads
        )
        return count, row, row, value

    # ---- backward

    def backward(
        self, params: Params, cache: Cache, graw: Array, grads: Params, n_threads: int
    ) -> None:
        """Overwrite `grads` with the gradient of sum(graw * raw)."""
        steps = cache.steps
        n_threads = self._threads(len(steps.codes), n_threads)
        g = graw.reshape(len(graw), -1)
        np.sum(graw, axis=0, out=grads["b"])
        V = grads["V"].reshape(-1, g.shape[1])
        _recurrent.outer(cache.layers[-1][0], np.ascontiguousarray(g), V, n_threads)
        gh = self._back(g, params["V"], n_threads)
        for layer in reversed(range(len(cache.layers))):
            h, G = cache.layers[layer][0], self._n_gates
            H, n = h.shape[1], len(steps)
            slots = self._layer_backward(params, layer, steps, cache.layers[layer], gh, n_threads)
            entering, recurrent = slice(0, G * H), self._recurrent_slots(H)
            gW = np.empty((H, slots.shape[1]), self.dtype)
            _recurrent.outer(h[steps.before], slots, gW, n_threads)
            grads[f"W_hh{layer}"][...] = gW[:, recurrent]
            total = np.sum(slots, axis=0)
            grads[f"c{layer}"][...] = total[entering]
            if self.cell == "gru":
                grads[f"d{layer}"][...] = total[3 * H :]
            if layer:
                below, gx = cache.layers[layer - 1][0], np.ascontiguousarray(slots[:, entering])
                _recurrent.outer(below[n:], gx, grads[f"W_xh{layer}"], n_threads)
                gh = np.zeros_like(below)
                gh[n:] = self._back(gx, params[f"W_xh{layer}"], n_threads)
            else:
                gW = self._input_gradient(steps.codes[steps.before], slots, n_threads)
                self._entering(grads, layer)[...] = gW[:, entering]

    def _recurrent_slots(self, H: int) -> Any:
        """Return which slots W_hh leads to."""
        return np.r_[: 2 * H, 3 * H : 4 * H] if self.cell == "gru" else slice(None)

    def _input_gradient(self, codes: Array, slots: Array, n_threads: int) -> Array:
        """Return what codes (N - n, F) added, times the slots' gradients (F Q, S H)."""
        gW = np.zeros((self.n_features * self.inputs.n_inputs, slots.shape[1]), self.dtype)
        if len(codes):
            changes = self._changes(codes, n_threads)
            _masked.scatter(changes, full_stairs(*gW.shape), slots, gW, n_threads)
        return gW

    def _back(self, G: Array, W: Array, n_threads: int) -> Array:
        """Return G W^T, W (K, ..) as a matrix."""
        turned = np.ascontiguousarray(W.reshape(len(W), -1).T)
        return product(G, turned, np.zeros(len(W), self.dtype), n_threads)

    def _layer_backward(
        self,
        params: Params,
        layer: int,
        steps: Steps,
        kept: tuple[Array, Array, Array | None],
        gh: Array,
        n_threads: int,
    ) -> Array:
        """Return the gradients (N - n, S H) by the slots.

        gh (N, H): the gradient by the units before each step, which is completed.
        """
        h, s, slots = kept
        assert slots is not None
        turned = _recurrent.pack(np.ascontiguousarray(params[f"W_hh{layer}"].T), 1)
        cut = self.bptt or 0
        _recurrent.backward(self._cell, turned, steps.first, h, s, slots, gh, cut, n_threads)
        return slots

    # ---- one step after the other

    def start(self, n: int) -> State:
        """Return the state of n sequences before their first step."""
        sizes = self.hidden_layer_sizes
        return [(np.zeros((n, H), self.dtype), np.zeros((n, H), self.dtype)) for H in sizes]

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
        layers = [
            self._weights(params, layer, True) for layer in range(len(self.hidden_layer_sizes))
        ]
        V = _recurrent.pack(params["V"].reshape(self.hidden_layer_sizes[-1], -1), 1)
        _recurrent.sample(
            draw, noise, held, codes, weight, layers, self.inputs.one_hot, self.inputs.n_inputs, V,
            params["b"].ravel(), self.n_outputs, self.start(len(codes)) if state is None else state,
            self._threads(codes.size, n_threads),
        )  # fmt: skip

    def _threads(self, n_rows: int, n_threads: int) -> int:
        size = max(H * H for H in self.hidden_layer_sizes) * self._n_gates
        return useful_n_threads(n_threads, n_rows * size)
