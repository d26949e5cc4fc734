"""Layers of recurrent cells over sequences: states, gradients, and their records for walks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fastar._core.inputs import Inputs
from fastar._core.lazy import lazy
from fastar._core.offsets import output_axes
from fastar._core.parameters import Array, Params
from fastar._data.packed import Steps
from fastar._kernels import _cpu, _recurrent
from fastar.networks._dense import product, transposed_product

CELLS: tuple[str, ...] = _recurrent.CELLS

State = list[tuple[Array, Array]]
"""For each layer the units (n, H), and of the LSTM its memory (n, H)."""


_ROWS = 4096
"""Steps whose states and outputs stay in the caches together, unless a time has more."""


@dataclass(frozen=True)
class Kept:
    """The state of a layer before each step.

    Parameters
    ----------
    h, s : array (N, H)
        Units and, of the LSTM, memory.
    slots : array (N - n, S H) or None
        Activations that `backward` needs.
    mask : array (N, H) or None
        Factors of dropout, for the units on their way to further layers and to the outputs.
    """

    h: Array
    s: Array
    slots: Array | None
    mask: Array | None

    @lazy
    def given(self) -> Array:
        """The units that further layers and the outputs see."""
        return self.h if self.mask is None else self.h * self.mask


class RecurrentLayers:
    """Cells, the first layer's fed with codes, the others' with the units of the layer before.

    Gates as in PyTorch: r z n (GRU), i f g o (LSTM). A context (n, C) adds c_l + context U_l to
    what enters each layer. Dropout hides units from further layers and from the outputs, not from
    their own next step [1]_.

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
    dropout : float
        Share of units that are hidden in training.

    References
    ----------
    .. [1] W. Zaremba, I. Sutskever, O. Vinyals, "Recurrent neural network regularization",
       arXiv:1409.2329, 2014.
    """

    def __init__(
        self,
        cell: str,
        sizes: tuple[int, ...],
        inputs: Inputs,
        bptt: int | None,
        n_context: int,
        dtype: np.dtype,
        dropout: float = 0.0,
    ) -> None:
        self.cell = cell
        self.sizes = sizes
        self.inputs = inputs
        self.bptt = bptt
        self.n_context = n_context
        self.dtype = dtype
        self.dropout = float(dropout)
        self._cell = CELLS.index(cell)
        self.n_gates = _recurrent.N_GATES[self._cell]
        self.n_slots = _recurrent.N_SLOTS[self._cell]

    # ---- parameters

    @property
    def weight_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of the weights: W_xh, W_hh and U of each layer."""
        shapes: dict[str, tuple[int, ...]] = {}
        below = output_axes(self.inputs.offsets)
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

    @property
    def n_kept(self) -> int:
        """Numbers of a step in `Kept` of all layers."""
        return sum(self.sizes) * (1 + (self.cell == "lstm") + self.n_slots + (self.dropout > 0))

    # ---- forward

    def start(self, n: int) -> State:
        """Return the state of n sequences before their first step."""
        return [(np.zeros((n, H), self.dtype), np.zeros((n, H), self.dtype)) for H in self.sizes]

    def forward(
        self,
        params: Params,
        steps: Steps,
        begin: State,
        rng: np.random.Generator | None,
        n_threads: int,
        context: Array | None = None,
    ) -> list[Kept]:
        """Return what each layer has before each step; in training (rng) for `backward`, too.

        begin: the state before the first step. Sequences in the order of `steps`, but for rows of
        context.
        """
        layers: list[Kept] = []
        for layer, state in enumerate(begin):
            below = layers[-1].given if layers else None
            own = None if context is None else context[steps.sequence[: len(steps)]]
            c = self._biases(params, layer, own, n_threads)
            layers.append(self._layer(params, layer, steps, state, below, c, rng, n_threads))
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
        rng: np.random.Generator | None,
        n_threads: int,
    ) -> Kept:
        """Return what a layer has; below: what enters a further one (N, ..)."""
        H, n, N = self.sizes[layer], len(steps), len(steps.codes)
        h = _cpu.aligned_empty((N, H), self.dtype)
        s = _cpu.aligned_empty((N, H), self.dtype) if self.cell == "lstm" else h
        s[:n], h[:n] = begin[1], begin[0]
        slots = (
            _cpu.aligned_empty((N - n, self.n_slots * H), self.dtype) if rng is not None else None
        )
        given = None
        if below is not None:
            W = self._entering(params, layer)
            if not self.n_context:
                given = product(below[n:], W, c[0], n_threads)
            else:
                place = np.empty(steps.sequence[:n].max(initial=-1) + 1, int)
                place[steps.sequence[:n]] = np.arange(n)
                given = product(below[n:], W, np.zeros_like(c[0]), n_threads)
                given += c[place[steps.sequence[n:]]]
        _recurrent.forward(
            self._weights(params, layer, c), steps.first, steps.entering, self.inputs.input_flags,
            self.inputs.offsets, given, h, s, slots, n_threads,
        )  # fmt: skip
        mask = None
        if rng is not None and self.dropout:
            stays = rng.random((N, H), np.float32) >= self.dropout
            mask = stays * self.dtype.type(1 / (1 - self.dropout))
        return Kept(h, s, slots, mask)

    def _weights(
        self, params: Params, layer: int, c: Array, walk: bool = False
    ) -> _recurrent.Weights:
        """Return the record of a layer for kernels; walk: also the inputs of a further one."""
        W = self._entering(params, layer)
        x = W.ravel() if layer == 0 else _recurrent.pack(W, 1) if walk else None
        packed = _recurrent.pack(params[f"W_hh{layer}"], self.n_gates)
        return _recurrent.Weights(
            self._cell, self.sizes[layer], x, packed, c, params.get(f"d{layer}")
        )

    def walk_weights(self, params: Params, context: Array | None) -> list[_recurrent.Weights]:
        """Return the record of the layers for walks."""
        return [
            self._weights(params, layer, self._biases(params, layer, context, 1), walk=True)
            for layer in range(len(self.sizes))
        ]

    def _entering(self, params: Params, layer: int) -> Array:
        W = params[f"W_xh{layer}"]
        return W.reshape(-1, W.shape[-1])

    # ---- a part of the steps after the other

    def segments(
        self,
        params: Params,
        steps: Steps,
        state: State,
        n_threads: int,
        context: Array | None = None,
    ) -> Iterator[tuple[slice, list[Kept]]]:
        """Yield rows of `steps` and what the layers have before them, or some more, in turn.

        state: before the first step, in the order of `steps`.
        """
        first, begin = steps.first, 0
        while begin < len(steps.counts):
            end = max(begin + 1, int(np.searchsorted(first, first[begin] + _ROWS, "right")) - 1)
            # with the step after them: the state before it continues
            part = steps.between(begin, min(end + 1, len(steps.counts)))
            rows = first[end] - first[begin]
            layers = self.forward(params, part, state, None, n_threads, context)
            yield slice(first[begin], first[end]), layers
            begin, state = end, [(each.h[rows:], each.s[rows:]) for each in layers]

    # ---- a step after the other

    def unroll(
        self,
        params: Params,
        steps: Steps,
        state: State,
        n_threads: int,
        context: Array | None = None,
    ) -> Iterator[tuple[slice, Array]]:
        """Yield rows of `steps` and the last layer's units (m, H) before them, in turn.

        state: before the first step of each sequence, and then before its last one; in the order of
        the sequences.
        """
        n = len(steps)
        order = steps.sequence[:n]
        begin = [(h[order], s[order]) for h, s in state]
        # the sequences that have a step t are the first ones
        longest = np.searchsorted(-steps.counts, -np.arange(n), side="left") - 1
        last = steps.first[longest] + np.arange(n)
        for where, layers in self.segments(params, steps, begin, n_threads, context):
            here = np.flatnonzero((where.start <= last) & (last < where.stop))
            rows = last[here] - where.start
            for (h, s), kept in zip(state, layers, strict=True):
                h[order[here]], s[order[here]] = kept.h[rows], kept.s[rows]
            yield where, layers[-1].h[: where.stop - where.start]

    def step_weights(
        self, params: Params, context: Array | None, n_threads: int
    ) -> list[_recurrent.Weights]:
        """Return the record of the layers for `advance`."""
        return [
            self._weights(params, layer, self._biases(params, layer, context, n_threads))
            for layer in range(len(self.sizes))
        ]

    def advance(
        self,
        params: Params,
        weights: list[_recurrent.Weights],
        state: State,
        codes: Array,
        n_threads: int,
    ) -> None:
        """Change the state of n sequences to that after one more step, codes (n, E)."""
        n, given = len(codes), None
        first = np.array([0, n, 2 * n])
        for layer, (h, s) in enumerate(state):
            pair = np.concatenate([h, h])
            memory = np.concatenate([s, s]) if self.cell == "lstm" else pair
            if layer:
                W, zeros = (
                    self._entering(params, layer),
                    np.zeros(weights[layer].c.shape[1], h.dtype),
                )
                given = product(state[layer - 1][0], W, zeros, n_threads)
                given += weights[layer].c
            _recurrent.forward(
                weights[layer], first, codes, self.inputs.input_flags, self.inputs.offsets, given,
                pair, memory, None, n_threads,
            )  # fmt: skip
            h[...], s[...] = pair[n:], memory[n:]

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

        gh (N, H): the gradient by what the last layer gives before each step, which is used up.
        """
        n = len(steps)
        for layer in reversed(range(len(layers))):
            kept, G = layers[layer], self.n_gates
            h, H = kept.h, kept.h.shape[1]
            if kept.mask is not None:
                gh *= kept.mask
            slots = self._slot_gradients(params, layer, steps, kept, gh, n_threads)
            entering, before = slice(0, G * H), h[steps.before]
            for columns, part in self._recurrent_slots(H):
                gW = grads[f"W_hh{layer}"][:, columns]
                _recurrent.outer(before, slots[:, part], gW, n_threads)
            if context is not None:
                by_update = np.ascontiguousarray(context[steps.sequence[n:]])
                gU, gx = grads[f"U{layer}"], np.ascontiguousarray(slots[:, entering])
                _recurrent.outer(by_update, gx, gU, n_threads)
            if layer:
                total = np.sum(slots, axis=0)
                below, gx = layers[layer - 1].given, np.ascontiguousarray(slots[:, entering])
                _recurrent.outer(below[n:], gx, grads[f"W_xh{layer}"], n_threads)
                gh = np.zeros_like(below)
                gh[n:] = transposed_product(gx, params[f"W_xh{layer}"], n_threads)
            else:
                total = _recurrent.scatter(
                    steps.entering, self.inputs.input_flags, self.inputs.offsets, slots,
                    self._entering(grads, layer), n_threads,
                )  # fmt: skip
            grads[f"c{layer}"][...] = total[entering]
            if self.cell == "gru":
                grads[f"d{layer}"][...] = total[3 * H :]

    def _recurrent_slots(self, H: int) -> list[tuple[slice, slice]]:
        """Return columns of W_hh, and the slots that they lead to."""
        if self.cell != "gru":
            return [(slice(None), slice(None))]
        return [(slice(0, 2 * H), slice(0, 2 * H)), (slice(2 * H, None), slice(3 * H, None))]

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
        slots = kept.slots
        assert slots is not None
        turned = _recurrent.pack(np.ascontiguousarray(params[f"W_hh{layer}"].T), 1)
        cut = self.bptt or 0
        _recurrent.backward(
            self._cell, turned, steps.first, kept.h, kept.s, slots, gh, cut, n_threads
        )
        return slots
