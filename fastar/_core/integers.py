"""Integers that float64 does not hold, kept exact as differences from an offset of their column."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from fastar._core.parameters import Array

LARGEST_EXACT = 2**53
"""float64 tells whole numbers apart up to here."""

Offsets = Sequence[int] | None
"""The offset of each column, which its values are reduced by; None where no column needs one."""


def whole_objects(array: Any) -> Any:
    """Return objects that are all int, or all bool, as such: float64 would round or rename them."""
    if not isinstance(array, np.ndarray) or array.dtype != object:
        return array
    if all(isinstance(each, Integral) for each in array.flat):
        whole = np.array(array.tolist())
        return whole if whole.dtype.kind in "iub" and whole.shape == array.shape else array
    return array


def find_offsets(table: Any) -> Offsets:
    """Return the smallest value of each column (n, D) that float64 does not hold, 0 for others.

    And 0 where even differences would be too large: levels stay integers, and densities round.
    """
    if not isinstance(table, np.ndarray) or table.dtype.kind not in "iu" or table.itemsize < 8:
        return None
    low, high = table.min(axis=0).tolist(), table.max(axis=0).tolist()
    pairs = zip(low, high, strict=True)
    found = tuple(
        a if max(abs(a), abs(b)) > LARGEST_EXACT and b - a <= LARGEST_EXACT else 0 for a, b in pairs
    )
    return found if any(found) else None


def subtract(values: Any, offsets: Offsets, name: str = "X") -> Any:
    """Return values (n, D) less the offsets: integers as int64, without rounding.

    Objects become integers, or floats with NaN where None or NaN stands for a missing value.

    Raises
    ------
    ValueError
        A number that an offset is taken from is not whole, which the difference would not tell.
    """
    if offsets is None or np.shape(values)[-1:] != (len(offsets),):
        return values
    if values.dtype.kind in "fO":
        _check_whole(values, offsets, name)
    if values.dtype.kind == "O":
        columns = [_differences(c, k) for c, k in zip(values.T, offsets, strict=True)]
        return np.array(columns).T
    if values.dtype.kind not in "iu":
        by: Array = np.array(offsets, values.dtype if values.dtype.kind == "f" else float)
        return np.subtract(values, by)
    # modulo 2**64, in which differences of less than 2**63 are exact
    difference = values.astype(np.uint64) - _modular(offsets)
    exact: Array = difference.view(np.int64)
    return exact


def _check_whole(values: Array, offsets: Sequence[int], name: str) -> None:
    for column in np.flatnonzero(offsets).tolist():
        own = values[..., column].ravel().tolist()
        broken = [x for x in own if isinstance(x, float) and np.isfinite(x) and not x.is_integer()]
        if broken:
            raise ValueError(
                f"{name} must hold whole numbers in column {column}, as in fit. "
                f"Got {broken[0]!r} instead."
            )


def _differences(column: Array, offset: int) -> list[Any]:
    return [
        np.nan if each is None or each != each else each - (offset if offset else 0)
        for each in column
    ]


def check_range(numbers: Array, dtype: Any, offset: int, column: Any, name: str) -> None:
    """Raise ValueError if a number (n,), less by an offset than the user's, is none of a type.

    Infinity is left to the conditionals, which say what they hold.
    """
    dtype = np.dtype(dtype)
    there = numbers[np.isfinite(numbers)]
    if dtype.kind in "iu":
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        wrong = (there < low - offset) | (there > high - offset) | (there != np.rint(there))
        rule = f"whole numbers from {low} to {high}"
    elif dtype.kind == "f":
        high = np.finfo(dtype).max
        wrong, rule = np.abs(there) > float(high), f"numbers of at most {high} in size"
    else:
        return
    if wrong.any():
        first = float(there[wrong][0])
        value = int(first) + offset if abs(first) < 2**64 and first.is_integer() else first
        raise ValueError(
            f"{name} must hold {rule} in column {column}, which is of {dtype}. Got {value} instead."
        )


def add(values: Array, offsets: Offsets, dtype: Any) -> Array:
    """Return values (n, D) plus the offsets as the nearest ones that `dtype` has."""
    dtype = np.dtype(dtype)
    if offsets is None:
        return cast(values, dtype)
    if dtype.kind not in "iu":
        return cast(values + np.array(offsets, float), dtype)
    info, columns = np.iinfo(dtype), []
    for column, offset in zip(values.T, offsets, strict=True):
        low, high = info.min - offset, info.max - offset
        inside = cast(column, np.int64)
        inside = np.clip(inside, max(low, -(2**63)), min(high, 2**63 - 1))
        columns.append((inside.astype(np.uint64) + _modular((offset,))).astype(dtype))
    return np.stack(columns, axis=1)


def _modular(offsets: Sequence[int]) -> Array:
    return np.array([offset % 2**64 for offset in offsets], np.uint64)


def cast(values: Array, dtype: Any) -> Array:
    """Return values as the nearest ones that `dtype` has, NaN as NaN."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f" and values.dtype.kind == "f" and dtype.itemsize < values.dtype.itemsize:
        most = values.dtype.type(np.finfo(dtype).max)
        values = np.clip(values, -most, most)
    if dtype.kind in "iu" and values.dtype.kind == "f":
        info = np.iinfo(dtype)
        top = values.dtype.type(info.max)
        if int(top) > info.max:  # the limit has no floating-point twin: take the one below
            top = np.nextafter(top, values.dtype.type(0))
        values = np.clip(np.rint(values), info.min, top)
    return values.astype(dtype, copy=False)
