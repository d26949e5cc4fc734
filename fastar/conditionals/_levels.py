"""From values of any type to the numbers of their levels, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastar._core.lazy import lazy
from fastar._core.parameters import Array
from fastar._data.table import Table
from fastar._kernels import _levels
from fastar._kernels._cpu import aligned_empty


class LevelEncoder:
    """Levels of columns and their numbers: their places among the sorted levels of the column.

    A value is a level if NumPy takes them for equal; integers of different types are equal where
    they are the same number.

    Parameters
    ----------
    levels : array (sum of K,)
        The levels of each column, sorted, without NaN.
    offsets : int64 array (D + 1,)
        The levels of column d are offsets[d] .. offsets[d + 1] - 1.
    """

    def __init__(self, levels: Array, offsets: Array) -> None:
        self.levels = np.ascontiguousarray(levels)
        self.offsets = offsets

    @lazy
    def _among_floats(self) -> _levels.Finder:
        return _levels.Finder(self.levels.astype(np.float64), self.offsets)

    @lazy
    def _among_integers(self) -> _levels.Finder:
        wide = np.int64 if np.can_cast(self.levels.dtype, np.int64) else np.uint64
        return _levels.Finder(self.levels.astype(wide), self.offsets)

    def encode(self, block: Array, dtype: Any, n_threads: int = 1) -> tuple[Array, int]:
        """Return the levels' numbers (n, D), and how many values are unknown: those have -1.

        NaN stays NaN.
        """
        is_real = block.dtype.kind == "f" or self.levels.dtype.kind == "f"
        finder = self._among_floats if is_real else self._among_integers
        values = block
        if not (is_real and block.dtype == np.float32):
            values = block.astype(finder.dtype, copy=False)
        # work space: the pages of a new array would be cleared at every call
        codes: Array = aligned_empty(block.shape, dtype)
        unknown = finder.encode(np.ascontiguousarray(values), codes, n_threads)
        if not is_real and not np.can_cast(block.dtype, finder.dtype):
            # values that the type of the levels does not hold were wrapped around
            wrapped = (values.view(np.int64) < 0) & (codes != _levels.UNKNOWN)
            codes[wrapped] = _levels.UNKNOWN
            unknown += int(wrapped.sum())
        return codes, unknown

    def decode(self, codes: Array, n_threads: int = 1) -> Array:
        """Return the levels (n, D) with these numbers."""
        return _levels.decode(self.levels, self.offsets, np.ascontiguousarray(codes), n_threads)

    def add_mass(self, codes: Array, weight: Array, mass: Array, n_threads: int = 1) -> None:
        """Add to mass (sum of K,) the weight of the rows that have each level. weight (n,)."""
        _levels.add_mass(
            codes, self.offsets, weight.astype(np.float64, copy=False), mass, n_threads
        )


def distinct_values(table: Table) -> list[Array]:
    """Return the values of each column of a table, sorted, each once, without NaN.

    The memory in use grows with their number, not with that of the rows.
    """
    found: list[list[Array]] = [[np.empty(0, table.dtype)] for _ in table.order]
    for _, block in table.blocks():
        for d, parts in enumerate(found):
            parts.append(np.unique(block[:, d]))
            # not at every block: a value is sorted again only as often as their number doubles
            if sum(map(len, parts[1:])) > len(parts[0]):
                parts[:] = [np.unique(np.concatenate(parts))]
    merged = [np.unique(np.concatenate(parts)) for parts in found]
    return [values[values == values] for values in merged]
