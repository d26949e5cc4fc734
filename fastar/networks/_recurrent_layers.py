"""Layers of recurrent cells over sequences: states, gradients, and what a walk reads of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastar._kernels import _cpu, _inputs, _masked, _recurrent
from fastar._parameters import Array, Params
from fastar.networks._dense import full_stairs, product
from fastar.networks._inputs import Inputs

CELLS: tuple[str, ...] = _recurrent.CELLS

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
    inputs : array (N - n, E) or None
        What enters before each step but the n first ones; None: the codes of the step before.
    """

    codes: Array
    counts: Array
    sequence: Array
    inputs: Array | None = None

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

    @cached_property
    def entering(self) -> Array:
        """What enters before each step but first ones (N - n, E)."""
        if self.inputs is not None:
            return self.inputs
        return self.codes[self.before] if len(self.codes) else self.codes

    def sums(self, values: Array) -> Array:
        """Return the sums over each sequence (n,) of a number (N,) for each step."""
        return np.bincount(self.sequence, values, len(self))


Kept = tuple[Array, Array, Array | None]
"""Units and memory of a layer before each step (N, H), and slots (N - n, S H) for backward."""


class RecurrentLayers:
    """Cells, the first layer's fed with codes, the others' with the units of the layer before.

    Gates as in PyTorch: r z n (GRU), i f g o (LSTM). A context (n, C) adds c_l + context U_l to
    what enters each layer.

    Parameters
    ----------
    cell : {"tanh", "gru", "lstm"}
    sizes : tuple of int
        H, units of each layer.
    inputs : Inputs
        How E codes enter.
    bptt : int or None
        Gradients pass no further than to the last step that is a multiple of it.
    n_context : int
    dtype : dtype
    """

    def __init__(
        self,
        cell: str,
        sizes: tuple[int, ...],
        inputs: Inputs,
        bptt: int | None,
        n_context: int,
        dtype: np.dtype,
    ) -> None:
        self.cell = cell
        self.sizes = sizes
        self.inputs = inputs
        self.bptt = bptt
        self.n_context = n_context
        self.dtype = dtype
        self._cell = CELLS.index(cell)
        self.n_gates = _recurrent.N_GATES[self._cell]
        self.n_slots = _recurrent.N_SLOTS[self._cell]

    # ---- parameters

    @property
    def weight_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of the weights: W_xh, W_hh and U of each layer."""
        shapes: dict[str, tuple[int, ...]] = {}
        below: tuple[int, ...] = (len(self.inputs.one_hot), self.inputs.n_inputs)
        for layer, H in enumerate(self.sizes):
            shapes[f"W_xh{layer}"] = (*below, self.n_gates * H)
            shapes[f"W_hh{layer}"] = (H, self.n_gates * H)
            if self.n_context:
                shapes[f"U{layer}"] = (self.n_context, self.n_gates * H)
            below = (H,)
        return shapes

    @property
    def bias_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of the biases: c of each layer, and a GRU's d."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, H in enumerate(self.sizes):
            shapes[f"c{layer}"] = (self.n_gates * H,)
            if self.cell == "gru":
                shapes[f"d{layer}"] = (H,)
        return shapes

    def initialise(self, params: Params, rng: np.random.Generator) -> None:
        """Fill weights with small random numbers, an LSTM's forget gates with ones."""
        for name, shape in self.weight_shapes.items():
            H = shape[-1] // self.n_gates
            params[name][...] = rng.uniform(-1, 1, shape) / np.sqrt(H)
        for name in self.bias_shapes:
            params[name][...] = 0
        if self.cell == "lstm":
            for layer, H in enumerate(self.sizes):
                # R. Jozefowicz, W. Zaremba, I. Sutskever, ICML 2015
                params[f"c{layer}"][H : 2 * H] = 1

    # ---- forward

    def start(self, n: int) -> State:
        """Return the state of n sequences before their first step."""
        return [(np.zeros((n, H), self.dtype), np.zeros((n, H), self.dtype)) for H in self.sizes]

    def forward(
        self,
        params: Params,
        steps: Steps,
        begin: State,
        keep: bool,
        n_threads: int,
        context: Array | None = None,
    ) -> list[Kept]:
        """Return what each layer has before each step, and the slots if they are to be kept.

        begin: the state before the first step. Sequences in the order of `steps`, but for rows of
        context.
        """
        layers: list[Kept] = []
        for layer, state in enumerate(begin):
            below = layers[-1][0] if layers else None
            own = None if context is None else context[steps.sequence[: len(steps)]]
            c = self._biases(params, layer, own, n_threads)
            layers.append(self._layer(params, layer, steps, state, below, c, keep, n_threads))
        return layers

    def _biases(self, params: Params, layer: int, context: Array | None, n_threads: int) -> Array:
        """Return c (1, G H), or with a context that of each of its rows (n, G H)."""
        c: Array = params[f"c{layer}"]
        return c[None] if context is None else product(context, params[f"U{layer}"], c, n_threads)

    def _layer(
        self,
        params: Params,
        layer: int,
        steps: Steps,
        begin: tuple[Array, Array],
        below: Array | None,
        c: Array,
        keep: bool,
        n_threads: int,
    ) -> Kept:
        """Return units and memory (N, H) before each step, and the slots if they are to be kept."""
        H, n, N = self.sizes[layer], len(steps), len(steps.codes)
        h = _cpu.aligned_empty((N, H), self.dtype)
        s = _cpu.aligned_empty((N, H), self.dtype) if self.cell == "lstm" else h
        s[:n], h[:n] = begin[1], begin[0]
        slots = _cpu.aligned_empty((N - n, self.n_slots * H), self.dtype) if keep else None
        given = None
        if below is not None:
            W = self._entering(params, layer)
            if not self.n_context:
                given = product(below[n:], W, c[0], n_threads)
            else:
                place = np.empty(n, int)
                place[steps.sequence[:n]] = np.arange(n)
                given = product(below[n:], W, np.zeros_like(c[0]), n_threads)
                given += c[place[steps.sequence[n:]]]
        _recurrent.forward(
            self._weights(params, layer, c), steps.first, steps.entering, self.inputs.one_hot,
            self.inputs.n_inputs, given, h, s, slots, n_threads,
        )  # fmt: skip
        return h, s, slots

    def _weights(
        self, params: Params, layer: int, c: Array, walk: bool = False
    ) -> _recurrent.Weights:
        """Return what the kernels read of a layer; walk: what enters a further one, too."""
        W = self._entering(params, layer)
        x = W.ravel() if layer == 0 else _recurrent.pack(W, 1) if walk else None
        packed = _recurrent.pack(params[f"W_hh{layer}"], self.n_gates)
        return _recurrent.Weights(
            self._cell, self.sizes[layer], x, packed, c, params.get(f"d{layer}")
        )

    def walk_weights(self, params: Params, context: Array | None) -> list[_recurrent.Weights]:
        """Return what a walk reads of the layers."""
        return [
            self._weights(params, layer, self._biases(params, layer, context, 1), walk=True)
            for layer in range(len(self.sizes))
        ]

    def _entering(self, params: Params, layer: int) -> Array:
        W = params[f"W_xh{layer}"]
        return W.reshape(-1, W.shape[-1])

    # ---- backward

    def backward(
        self,
        params: Params,
        steps: Steps,
        layers: list[Kept],
        gh: Array,
        grads: Params,
        n_threads: int,
        context: Array | None = None,
    ) -> None:
        """Overwrite the layers' part of `grads`.

        gh (N, H): the gradient by the last layer's units before each step, which is used up.
        """
        n = len(steps)
        for layer in reversed(range(len(layers))):
            h, G = layers[layer][0], self.n_gates
            H = h.shape[1]
            slots = self._slot_gradients(params, layer, steps, layers[layer], gh, n_threads)
            entering, recurrent = slice(0, G * H), self._recurrent_slots(H)
            gW = np.empty((H, slots.shape[1]), self.dtype)
            _recurrent.outer(h[steps.before], slots, gW, n_threads)
            grads[f"W_hh{layer}"][...] = gW[:, recurrent]
            total = np.sum(slots, axis=0)
            grads[f"c{layer}"][...] = total[entering]
            if self.cell == "gru":
                grads[f"d{layer}"][...] = total[3 * H :]
            if context is not None:
                by_update = np.ascontiguousarray(context[steps.sequence[n:]])
                gU, gx = grads[f"U{layer}"], np.ascontiguousarray(slots[:, entering])
                _recurrent.outer(by_update, gx, gU, n_threads)
            if layer:
                below, gx = layers[layer - 1][0], np.ascontiguousarray(slots[:, entering])
                _recurrent.outer(below[n:], gx, grads[f"W_xh{layer}"], n_threads)
                gh = np.zeros_like(below)
                gh[n:] = back(gx, params[f"W_xh{layer}"], n_threads)
            else:
                gW = input_gradient(self.inputs, steps.entering, slots, n_threads)
                self._entering(grads, layer)[...] = gW[:, entering]

    def _recurrent_slots(self, H: int) -> Array | slice:
        """Return which slots W_hh leads to."""
        return np.r_[: 2 * H, 3 * H : 4 * H] if self.cell == "gru" else slice(None)

    def _slot_gradients(
        self,
        params: Params,
        layer: int,
        steps: Steps,
        kept: Kept,
        gh: Array,
        n_threads: int,
    ) -> Array:
        """Return the gradients (N - n, S H) by the slots; gh is completed."""
        h, s, slots = kept
        assert slots is not None
        turned = _recurrent.pack(np.ascontiguousarray(params[f"W_hh{layer}"].T), 1)
        cut = self.bptt or 0
        _recurrent.backward(self._cell, turned, steps.first, h, s, slots, gh, cut, n_threads)
        return slots


def back(G: Array, W: Array, n_threads: int) -> Array:
    """Return G W^T, W (K, ..) as a matrix."""
    turned = np.ascontiguousarray(W.reshape(len(W), -1).T)
    return product(G, turned, np.zeros(len(W), W.dtype), n_threads)


def input_gradient(inputs: Inputs, codes: Array, slots: Array, n_threads: int) -> Array:
    """Return what codes (M, E) add, times the gradients of slots (M, ..), as (E Q, ..)."""
    M, E = codes.shape
    gW = np.zeros((E * inputs.n_inputs, slots.shape[1]), slots.dtype)
    if not M:
        return gW
    # rows of weights stand for themselves as features; one that no other comes after is left out
    padded = np.zeros((M, E + 1), slots.dtype)
    padded[:, :-1] = codes
    one_hot = np.append(inputs.one_hot, np.uint8(0))
    count, _, row, value = _inputs.changes(padded, one_hot, inputs.n_inputs, E + 1, n_threads)
    changes = (count, row, row, value)
    lists = _inputs.by_feature(changes, len(gW), M, n_threads)
    _masked.scatter(changes, lists, full_stairs(*gW.shape), slots, gW, n_threads)
    return gW
