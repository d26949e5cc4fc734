"""Columns of levels: from values to the numbers of their levels, and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

UNKNOWN: int

class Finder:
    """The levels of all columns, ready to be found."""

    dtype: np.dtype[Any]

    def __init__(self, levels: NDArray[Any], offsets: NDArray[np.int64]) -> None: ...
    def encode(self, values: NDArray[Any], codes: NDArray[Any], n_threads: int) -> int:
        """Write the numbers of the values' levels to codes (n, D); return how many are unknown."""

def decode(
    levels: NDArray[Any], offsets: NDArray[np.int64], codes: NDArray[Any], n_threads: int
) -> NDArray[Any]:
    """Return the levels (n, D) with these numbers. levels (offsets[D],) of any type."""

def add_mass(
    codes: NDArray[Any],
    offsets: NDArray[np.int64],
    weight: NDArray[Any],
    mass: NDArray[Any],
    n_threads: int,
) -> None:
    """Add to mass (offsets[D],) the weight of the rows that have each level. weight (n,)."""
