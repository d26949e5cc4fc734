"""Location and scale of columns, and what it is for a column not to vary."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from fastar._core.parameters import Array

_ROUNDING = 4 * np.finfo(np.float64).eps
_CONSTANT_SHARE = 1e-3
"""Scale of a column that does not vary, as a share of its value, which is all that is known."""


def does_not_vary(low: Array, high: Array) -> Array:
    """Return which columns from `low` to `high` do not vary, or by no more than rounding.

    It looks at the extremes, not at a computed deviation: the mean of equal numbers need not be
    one of them, so their deviation from it grows with the number of rows.
    """
    constant: Array = high / 2 - low / 2 <= _ROUNDING * np.maximum(np.abs(low), np.abs(high)) / 2
    return constant


def location_and_scale(
    blocks: Callable[[], Iterable[tuple[Array, Array]]], n_columns: int
) -> tuple[Array, Array]:
    """Return mean and standard deviation (D,) of columns, NaN aside.

    For a column that does not vary they are its value and a small share of it (1 if it is zero),
    for one without values 0 and 1.

    Parameters
    ----------
    blocks : callable
        Returns pairs of weights (n,) and values (n, D), the same at each call. Rows without
        weight do not count.
    n_columns : int
        D.
    """
    low, high = np.full(n_columns, np.inf), np.full(n_columns, -np.inf)
    total, mass = np.zeros(n_columns), np.zeros(n_columns)
    for weight, block in blocks():
        values, weight = block[weight > 0].astype(np.float64, copy=False), weight[weight > 0]
        low = np.fmin(low, np.fmin.reduce(values, axis=0, initial=np.inf))
        high = np.fmax(high, np.fmax.reduce(values, axis=0, initial=-np.inf))
        there = ~np.isnan(values)
        # not a matrix product: BLAS may add in another order for another number of threads
        total += np.einsum("i,ij->j", weight, np.where(there, values, 0))
        mass += np.einsum("i,ij->j", weight, there)
    empty = mass == 0
    low, high = np.where(empty, 0, low), np.where(empty, 0, high)
    constant = does_not_vary(low, high)
    location = np.where(constant, low, total / np.where(empty, 1, mass))
    # deviations are squared in units of a power of two, which is exact, so that none underflows
    _, exponent = np.frexp(np.where(constant, 1, high / 2 - low / 2))
    squares = np.zeros(n_columns)
    for weight, block in blocks():
        deviation = np.ldexp(block.astype(np.float64, copy=False) - location, -exponent)
        squares += np.einsum("i,ij->j", weight, np.where(np.isnan(deviation), 0, deviation**2))
    scale = np.ldexp(np.sqrt(squares / np.where(empty, 1, mass)), exponent)
    share = np.where(location == 0, 1, _CONSTANT_SHARE * np.abs(location))
    return location, np.where(constant, np.maximum(share, np.finfo(np.float64).tiny), scale)
