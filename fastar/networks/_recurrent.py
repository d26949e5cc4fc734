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
from fastar.networks._dense import add_product, full_stairs, product, weight_gradient
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
        return np.concatenate([[0], np.cumsum(self.counts)])

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
    changes: tuple[Array, Array, Array]
    layers: list[tuple[Array, Array, Array]]
    """Units and memory before each step (N, H), and gates."""


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
        n_threads = self._threads(len(steps), n_threads)
        begin = self.start(len(steps)) if state is None else state
        changes = self._changes(steps.codes[steps.before], n_threads)
        layers: list[tuple[Array, Array, Array]] = []
        units = None
        for layer in range(len(self.hidden_layer_sizes)):
            listed = changes if units is None else None
            found = self._layer(
                params, layer, steps, begin[layer], listed, units, rng is not None, n_threads
            )
            layers.append(found)
            units = found[0]
        assert units is not None
        raw = product(units, params["V"], params["b"].ravel(), n_threads)
        raw = raw.reshape(-1, self.n_features, self.n_outputs)
        return raw, None if rng is None else Cache(steps, changes, layers)

    def _layer(
        self,
        params: Params,
        layer: int,
        steps: Steps,
        begin: tuple[Array, Array],
        changes: tuple[Array, Array, Array] | None,
        below: Array | None,
        keep: bool,
        n_threads: int,
    ) -> tuple[Array, Array, Array]:
        """Return units and memory (N, H) before each step, and the gates if they are to be kept."""
        H, n, N = self.hidden_layer_sizes[layer], len(steps), len(steps.codes)
        W, matrix = params[f"W_hh{layer}"], self._entering(params, layer)
        width = _recurrent.N_KEPT[self._cell] * H
        h = _cpu.aligned_empty((N, H), self.dtype)
        s = _cpu.aligned_empty((N, H), self.dtype) if self.cell == "lstm" else h
        s[:n], h[:n] = begin[1], begin[0]
        gates = _cpu.aligned_empty(
            (N - n if keep and self.cell != "tanh" else 0, width), self.dtype
        )
        hpart = _cpu.aligned_empty((n, W.shape[1]), self.dtype)
        nothing, stairs = np.zeros(W.shape[1], self.dtype), full_stairs(*W.shape)
        xpart = None if below is None else product(below[n:], matrix, nothing, n_threads)
        for t, m in enumerate(steps.counts[1:].tolist()):
            now = slice(steps.first[t], steps.first[t] + m)
            then = slice(steps.first[t + 1], steps.first[t + 1] + m)
            place = slice(then.start - n, then.stop - n)
            _masked.forward(h[now], stairs, W, nothing, hpart[:m], _LINEAR, n_threads)
            _recurrent.forward(
                self._cell, None if changes is None else _part(changes, place),
                matrix, params[f"c{layer}"], params.get(f"d{layer}"),
                None if xpart is None else xpart[place], hpart[:m], h[now], s[now], h[then],
                s[then], gates[place] if len(gates) else None, n_threads,
            )  # fmt: skip
        return h, s, gates

    def _entering(self, params: Params, layer: int) -> Array:
        W = params[f"W_xh{layer}"]
        return W.reshape(-1, W.shape[-1])

    def _changes(self, codes: Array, n_threads: int) -> tuple[Array, Array, Array]:
        # a feature that no other comes after would be left out
        padded = np.zeros((len(codes), self.n_features + 1), self.dtype)
        padded[:, :-1] = codes
        one_hot = np.append(self.inputs.one_hot, np.uint8(0))
        count, _, row, value = _inputs.changes(
            padded, one_hot, self.inputs.n_inputs, self.n_features + 1, n_threads
        )
        return count, row, value

    # ---- backward

    def backward(
        self, params: Params, cache: Cache, graw: Array, grads: Params, n_threads: int
    ) -> None:
        """Overwrite `grads` with the gradient of sum(graw * raw)."""
        steps = cache.steps
        n_threads = self._threads(len(steps), n_threads)
        g = graw.reshape(len(graw), -1)
        np.sum(graw, axis=0, out=grads["b"])
        weight_gradient(cache.layers[-1][0], g, grads["V"], n_threads)
        gh = self._back(g, params["V"], n_threads)
        for layer in reversed(range(len(cache.layers))):
            gx, gu = self._layer_backward(params, layer, steps, cache.layers[layer], gh, n_threads)
            before = cache.layers[layer][0][steps.before]
            weight_gradient(before, gu, grads[f"W_hh{layer}"], n_threads)
            np.sum(gx, axis=0, out=grads[f"c{layer}"])
            if self.cell == "gru":
                H = self.hidden_layer_sizes[layer]
                np.sum(gu[:, 2 * H :], axis=0, out=grads[f"d{layer}"])
            if layer:
                below = cache.layers[layer - 1][0]
                weight_gradient(below[len(steps) :], gx, grads[f"W_xh{layer}"], n_threads)
                gh = np.zeros_like(below)
                gh[len(steps) :] = self._back(gx, params[f"W_xh{layer}"], n_threads)
                continue
            gW = self._entering(grads, layer)
            count, row, value = cache.changes
            if not len(count):
                gW[:] = 0
                return
            lists = _inputs.by_feature(
                (count, row, row, value), len(gW), max(1, len(count)), n_threads
            )
            changes = (count, row, row, value)
            _masked.scatter(changes, lists, full_stairs(*gW.shape), gx, gW, n_threads)

    def _back(self, G: Array, W: Array, n_threads: int) -> Array:
        """Return G W^T, W (K, ..) as a matrix."""
        turned = np.ascontiguousarray(W.reshape(len(W), -1).T)
        return product(G, turned, np.zeros(len(W), self.dtype), n_threads)

    def _layer_backward(
        self,
        params: Params,
        layer: int,
        steps: Steps,
        kept: tuple[Array, Array, Array],
        gh: Array,
        n_threads: int,
    ) -> tuple[Array, Array]:
        """Return the gradients (N - n, G H) by what enters the gates, and by the product.

        gh (N, H): the gradient by the units before each step, which is completed.
        """
        h, s, gates = kept
        n, H, M = len(steps), h.shape[1], len(h) - len(steps)
        turned = np.ascontiguousarray(params[f"W_hh{layer}"].T)
        gx = _cpu.aligned_empty((M, turned.shape[0]), self.dtype)
        gu = _cpu.aligned_empty(gx.shape, self.dtype) if self.cell == "gru" else gx
        gs = np.zeros((n, H), self.dtype)
        if self.cell == "tanh":
            gates = h[n:]  # no more is needed
        for t in reversed(range(len(steps.counts) - 1)):
            m = int(steps.counts[t + 1])
            now = slice(steps.first[t], steps.first[t] + m)
            then = slice(steps.first[t + 1], steps.first[t + 1] + m)
            place = slice(then.start - n, then.stop - n)
            cut = self.bptt is not None and t % self.bptt == 0
            _recurrent.backward(
                self._cell, h[now], s[now], h[then], s[then], gates[place], gh[then], gs[:m],
                gx[place], gu[place], np.zeros((m, H), self.dtype) if cut else gh[now], n_threads,
            )  # fmt: skip
            if cut:
                gs[:m] = 0
            else:
                add_product(gu[place], turned, gh[now], n_threads)
        return gx, gu

    # ---- one step after the other

    def start(self, n: int) -> State:
        """Return the state of n sequences before their first step."""
        sizes = self.hidden_layer_sizes
        return [(np.zeros((n, H), self.dtype), np.zeros((n, H), self.dtype)) for H in sizes]

    def outputs(self, params: Params, state: State, n_threads: int) -> Array:
        """Return raw (n, F, P) of the next step."""
        raw = product(state[-1][0], params["V"], params["b"].ravel(), n_threads)
        return raw.reshape(-1, self.n_features, self.n_outputs)

    def advance(self, params: Params, state: State, codes: Array, n_threads: int) -> State:
        """Return the state after a step with codes (n, F)."""
        new: State = []
        changes: Any = self._changes(codes, n_threads)
        xpart = None
        for layer, (h, s) in enumerate(state):
            W, matrix = params[f"W_hh{layer}"], self._entering(params, layer)
            nothing = np.zeros(W.shape[1], self.dtype)
            if layer:
                changes, xpart = None, product(new[-1][0], matrix, nothing, n_threads)
            h_next, s_next = np.empty_like(h), np.empty_like(s)
            _recurrent.forward(
                self._cell, changes, matrix, params[f"c{layer}"], params.get(f"d{layer}"), xpart,
                product(h, W, nothing, n_threads), h, s, h_next, s_next, None, n_threads,
            )  # fmt: skip
            new.append((h_next, s_next))
        return new

    def sample(
        self,
        weights: Any,
        draw: object,
        noise: Array,
        held: Array | None,
        codes: Array,
        n_threads: int,
        *,
        context: Array | None = None,
        weight: Array | None = None,
    ) -> None:
        """Not for sequences, whose steps are drawn one after the other: see `advance`."""
        raise NotImplementedError

    def _threads(self, n_rows: int, n_threads: int) -> int:
        size = max(H * H for H in self.hidden_layer_sizes) * self._n_gates
        return useful_n_threads(n_threads, n_rows * size)


def _part(changes: tuple[Array, Array, Array], rows: slice) -> tuple[Array, Array, Array]:
    count, row, value = changes
    return count[rows], row[rows], value[rows]
