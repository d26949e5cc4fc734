"""The outputs of a masked network from a feature on, for other codes from there on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastar._core.inputs import Inputs
from fastar._core.parameters import Array
from fastar._kernels import _masked
from fastar.networks._dense import product
from fastar.networks._masked_weights import LINEAR, Connection, Weights, enter, listed


@dataclass(frozen=True)
class _Part:
    """The weights by which what changes reaches units, or outputs, that change."""

    sums: Array
    """The sums (n, columns) of all other inputs, the bias included."""
    matrix: Array
    stairs: _masked.Staircase


class Tail:
    """The raw outputs of the features from `start` on, for other codes of these.

    Units are sorted by degree: those that see a feature from `start` on come last in their layer.
    They alone are computed for other codes, from sums over the others that are made once.

    Parameters
    ----------
    weights : Weights
        The weights of the only member, whose features are in their natural order.
    inputs : Inputs
    is_listed : bool
        Whether codes enter as lists of rows.
    activation : int
    start : int
        Above 0.
    codes : array (n, D)
    hidden : list of arrays
        The activations for these codes.
    context : array (n, C) or None
    n_threads : int
    """

    def __init__(
        self,
        weights: Weights,
        inputs: Inputs,
        is_listed: bool,
        activation: int,
        start: int,
        codes: Array,
        hidden: list[Array],
        context: Array | None,
        n_threads: int,
    ) -> None:
        wiring = weights.wiring
        self._weights, self._inputs, self._is_listed = weights, inputs, is_listed
        self._activation, self._start, self._n_threads = activation, start, n_threads
        self._n, self._context = len(codes), context
        first_row = int(inputs.offsets[start]) if is_listed else start
        own = int(wiring.masks.outputs[start])
        before = [self._entering(codes, 0, start), *hidden]
        rows, columns = self._first_changes(first_row, own)
        self._layers = [
            self._part(layer, each, source, row, column)
            for layer, (each, source, row, column) in enumerate(
                zip(wiring.layers, before, rows, columns, strict=False)  # none without hidden ones
            )
        ]
        self._direct: _Part | None = None
        if wiring.direct is None:
            return
        if not self._layers:
            self._direct = self._part(-1, wiring.direct, before[0], first_row, own)
            return
        sums, L = self._layers[-1].sums, weights.matrices["L"]
        if first_row:
            W, stairs = _corner(L, wiring.direct.stairs, slice(first_row), own)
            enter(before[0], stairs, W, None, sums, LINEAR, n_threads)
        self._direct = _Part(sums, *_corner(L, wiring.direct.stairs, slice(first_row, None), own))

    def raw(self, codes: Array) -> Array:
        """Return raw outputs (n, from those of `start` on) of other codes (n, D - start)."""
        n_features = len(self._inputs.input_flags)
        inputs = source = self._entering(codes, self._start, n_features)
        for part in self._layers:
            kind = LINEAR if part is self._layers[-1] else self._activation
            out = part.sums.copy()
            enter(source, part.stairs, part.matrix, None, out, kind, self._n_threads)
            source = out
        if self._direct is not None:
            part = self._direct
            out = source if self._layers else part.sums.copy()
            enter(inputs, part.stairs, part.matrix, None, out, LINEAR, self._n_threads)
            source = out
        return np.asarray(source)

    def _first_changes(self, row: int, output: int) -> tuple[list[int], list[int]]:
        """Return the first row and the first column of each layer's weights that change."""
        rows = [row]
        for each in self._weights.wiring.layers[:-1]:
            begin = each.stairs.limits()[0][rows[-1]]
            rows.append(min(int(begin), each.stairs.columns - 1))
        return rows, [*rows[1:], output]

    def _part(self, layer: int, each: Connection, before: Any, row: int, column: int) -> _Part:
        """Return the weights from a row and a column on; before: what enters before the row."""
        W = self._weights.matrices[each.name]
        sums = self._sums(layer, column)
        if row:
            some = before if isinstance(before, tuple) else np.ascontiguousarray(before[:, :row])
            corner, stairs = _corner(W, each.stairs, slice(row), column)
            enter(some, stairs, corner, None, sums, LINEAR, self._n_threads)
        return _Part(sums, *_corner(W, each.stairs, slice(row, None), column))

    def _sums(self, layer: int, column: int) -> Array:
        """Return the bias, and what the context adds, from a column on (n, columns)."""
        bias = self._weights.biases[layer]
        if self._context is None:
            return np.tile(bias[column:], (self._n, 1))
        W = self._weights.context[layer]
        return np.ascontiguousarray(product(self._context, W, bias, self._n_threads)[:, column:])

    def _entering(self, codes: Array, start: int, end: int) -> Any:
        """Return the inputs of the features from `start` to before `end`, of codes from `start`."""
        if not self._is_listed:
            return np.ascontiguousarray(codes[:, : end - start])
        # the last feature of those that are given is left out, as the last of all has no weights
        stop = min(end + 1, len(self._inputs.input_flags))
        some = np.ascontiguousarray(codes[:, : stop - start])
        offsets = self._inputs.offsets[start : stop + 1] - self._inputs.offsets[start]
        flags, n_rows = self._inputs.input_flags[start:stop], int(offsets[end - start])
        return listed(some, flags, offsets, n_rows, self._n_threads)


def _corner(
    W: Array, stairs: _masked.Staircase, rows: slice, column: int
) -> tuple[Array, _masked.Staircase]:
    """Return some rows of a matrix from a column on, and their staircase."""
    begin, end = (np.maximum(each[rows] - column, 0) for each in stairs.limits()[:2])
    return np.ascontiguousarray(W[rows, column:]), _masked.Staircase(
        begin, end, W.shape[1] - column
    )
