"""Optimizer updates, each one pass over flat arrays shared among threads."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

Vector = NDArray[Any]

def step(
    method: str,
    theta: Vector,
    g: Vector,
    slots: Sequence[Vector],
    numbers: Sequence[float],
    stretches: NDArray[Any],
    n_threads: int,
) -> None:
    """Change theta, and the slots of the method, in the stretches (m, 3)."""

def sum_of_squares(g: Vector, stretches: NDArray[Any], n_threads: int) -> float:
    """Return the sum of squares of what lies in the stretches."""
