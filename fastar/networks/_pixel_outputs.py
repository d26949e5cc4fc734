"""Outputs of the values of an image, which share one matrix of weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastar._core.offsets import common_width, positions
from fastar._core.parameters import Array, Params
from fastar._kernels import _cpu, _recurrent
from fastar.networks._dense import add_product, transposed_product, weight_gradient


class PixelOutputs:
    """``raw_d = b_d + h_d V + context B``, of which a value with P_d outputs uses P_d columns.

    V (H, P) and B (C, P) have as many columns as the value with the most outputs needs, and other
    values use the first of them.

    Parameters
    ----------
    offsets : int64 array (D + 1,)
        Where the outputs of each value begin.
    """

    def __init__(self, offsets: Array) -> None:
        widths = np.diff(offsets)
        self.width = int(widths.max())
        # of each number of outputs, the most first: the values that have it, and their columns
        self._groups: list[tuple[int, Any, Any]] = [(self.width, slice(None), slice(None))]
        if common_width(offsets) is None:
            values = [np.flatnonzero(widths == width) for width in np.unique(widths)[::-1]]
            self._groups = [(int(widths[d[0]]), d, positions(offsets, d)) for d in values]

    def start(self, params: Params, n: int, context: Array | None) -> Array:
        """Return b + context B (n, sum of P), to which `add` adds the rest."""
        b = params["b"].reshape(-1)
        raw: Array = _cpu.aligned_empty((n, len(b)), b.dtype)
        raw[...] = b
        if context is not None:
            own = context @ params["B"]
            for width, _, columns in self._groups:
                part = _rows(raw, columns, width)
                part.reshape(n, -1, width)[...] += own[:, None, :width]
                self._put(raw, columns, part)
        return raw

    def add(self, params: Params, h: Array, raw: Array, n_threads: int) -> None:
        """Add h V to raw (n, sum of P), h (n, D, H)."""
        for width, values, columns in self._groups:
            part, units = _rows(raw, columns, width), _rows(h, values, h.shape[2])
            add_product(units, self._weights(params, width), part, n_threads)
            self._put(raw, columns, part)

    def backward(
        self,
        params: Params,
        h: Array,
        context: Array | None,
        graw: Array,
        grads: Params,
        n_threads: int,
    ) -> Array:
        """Overwrite the gradients by V, B and b; return that by h (n, D, H)."""
        np.sum(graw, axis=0, out=grads["b"].reshape(-1))
        n, gh, by_own = len(graw), np.empty_like(h), np.zeros((len(graw), self.width), h.dtype)
        for place, (width, values, columns) in enumerate(self._groups):
            g, units = _rows(graw, columns, width), _rows(h, values, h.shape[2])
            # the first group has all columns
            gV = grads["V"] if place == 0 else np.empty_like(grads["V"][:, :width])
            _recurrent.outer(units, g, gV, n_threads)
            if place:
                grads["V"][:, :width] += gV
            if context is not None:
                by_own[:, :width] += g.reshape(n, -1, width).sum(axis=1)
            by_units = transposed_product(g, self._weights(params, width), n_threads)
            gh[:, values] = by_units.reshape(n, -1, h.shape[2])
        if context is not None:
            weight_gradient(context, by_own, grads["B"], n_threads)
        return gh

    def _weights(self, params: Params, width: int) -> Array:
        return np.ascontiguousarray(params["V"][:, :width])

    def _put(self, raw: Array, columns: Any, part: Array) -> None:
        """Write a part of raw, unless it is a view on all of it."""
        if len(self._groups) > 1:
            raw[:, columns] = part.reshape(len(raw), -1)


def _rows(array: Array, places: Any, width: int) -> Array:
    """Return these places of the second axis as rows of a matrix; a view where they are all."""
    return np.ascontiguousarray(array[:, places]).reshape(-1, width)
