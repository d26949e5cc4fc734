"""Turns blocks of codes into the changes that a network is fed."""

from typing import Any

from numpy.typing import NDArray

Changes = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]

def changes(
    codes: NDArray[Any],
    input_flags: NDArray[Any],
    offsets: NDArray[Any],
    markov_order: int,
    n_threads: int,
) -> Changes:
    """Return (count, at, row, value): the first count[r] entries of row r are its changes."""

def by_feature(
    changes: Changes, D: int, block: int, n_threads: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return (first, entries): for each block of rows, its changes by the feature they come at."""
