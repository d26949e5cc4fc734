"""Summaries of one column of a table that `fit` reads batch by batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import gcd
from typing import Any

import numpy as np

from fastar._core.integers import LARGEST_EXACT
from fastar._core.parameters import Array
from fastar._data.clocks import TIMES, Clock, between_months
from fastar._data.columns import n_missing
from fastar._data.durations import NANOSECONDS
from fastar._data.frame_times import times
from fastar._data.frame_types import Column, frame_kind, narwhals_module
from fastar._data.frames import Schema

MOST_LEVELS = 1 << 16
"""Different values of a column that are counted."""

_RANKS = ("bool", "integer", "decimal", "float", *TIMES, "category")
_NUMPY = {"bool": "|b1", "integer": "<i8", "category": "|O"}


@dataclass
class ColumnSummary:
    """Type, levels and range of one column, as far as they are known.

    Parameters
    ----------
    type, dtype : str, and the frame library's type in JSON
        As `Column` has them; None as long as all is missing.
    numpy : str
        NumPy's type of its numbers.
    n_missing : int
    low, high : int or float or None
        The smallest and the largest number.
    broken : list of float or int
        The smallest and the largest number that is not whole, or moment that begins no month.
    levels : dict or None
        How many rows have each value; None where there are more than `MOST_LEVELS`, or numbers that
        are not whole.
    declared : tuple or None
        The categories that the type declares.
    counted : (str, str or None) or None
        Unit and zone of times, whose values are counts.
    divisor : int
        The largest number that divides all counts.
    """

    type: str | None = None
    dtype: Any = None
    numpy: str = ""
    n_missing: int = 0
    low: Any = None
    high: Any = None
    broken: list[float] = field(default_factory=list)
    levels: dict[Any, int] | None = field(default_factory=dict)
    declared: tuple[Any, ...] | None = None
    counted: tuple[str, str | None] | None = None
    divisor: int = 0

    def copy(self) -> ColumnSummary:
        """Return one that can be changed by itself."""
        return replace(self, levels=None if self.levels is None else dict(self.levels))

    def agrees(self, other: ColumnSummary) -> bool:
        """Return whether both can be of one column."""
        if self.type is None or other.type is None:
            return True
        types = {self.type, other.type}
        return types == {"integer", "float"} or (len(types) == 1 and self.counted == other.counted)

    @property
    def said(self) -> str:
        """The name of the type in errors."""
        if self.counted is None:
            return str(self.type)
        unit, zone = self.counted
        return f"{self.type} in {unit} with {'no zone' if zone is None else f'zone {zone}'}"

    def clock(self) -> Clock | None:
        """Return the clock of times."""
        if self.counted is None:
            return None
        # these have the ends, the divisor and the months of all
        known = [self.low, self.high, self.low + self.divisor, *self.broken]
        counts = np.array(known if self.levels is None else [*self.levels], np.int64)
        assert self.type is not None
        return Clock.of(counts, *self.counted, self.type)

    def unseen(self, values: Iterable[Any]) -> list[Any]:
        """Return what is known of the column beside these values: levels, or ends of its range."""
        ends = _known(self.low, self.high, *self.broken)
        return sorted(set(ends if self.levels is None else self.levels) - set(values))

    def merge(self, other: ColumnSummary) -> None:
        """Take in what is known of other rows."""
        self._merge_type(other)
        self.n_missing += other.n_missing
        self.low = min(_known(self.low, other.low), default=None)
        self.high = max(_known(self.high, other.high), default=None)
        broken = self.broken + other.broken
        self.broken = [min(broken), max(broken)] if broken else []
        self.divisor = gcd(self.divisor, other.divisor)
        if self.levels is None or other.levels is None:
            self.levels = None
            return
        for value, count in other.levels.items():
            self.levels[value] = self.levels.get(value, 0) + count
        if len(self.levels) > MOST_LEVELS:
            self.levels = None

    def _merge_type(self, other: ColumnSummary) -> None:
        if other.type is None:
            return
        if self.type is None:
            self.type, self.dtype, self.numpy = other.type, other.dtype, other.numpy
            self.declared, self.counted = other.declared, other.counted
            return
        if other._width > self._width:
            self.type, self.dtype = other.type, other.dtype
        self.numpy = np.promote_types(self.numpy, other.numpy).str
        if self.declared is None or other.declared is None:
            self.declared = None
        elif self.declared != other.declared:
            self.declared = tuple(sorted({*self.declared, *other.declared}))

    @property
    def _width(self) -> tuple[Any, ...]:
        """Return what decides which of two types can hold the values of both."""
        assert self.type is not None
        size = np.dtype(self.numpy).itemsize
        return _RANKS.index(self.type), self.declared is None, size, str(self.dtype)


def _known(*values: Any) -> list[Any]:
    """Return the values that are not None."""
    return [value for value in values if value is not None]


# ---- one batch

FoundColumn = tuple[ColumnSummary, Array, Array]
"""A column, its values (n,), and where (n,) they are missing."""


def columns_of(batch: Any) -> dict[Any, FoundColumn]:
    """Return what a batch holds, by the names of its columns, or their places in arrays."""
    return _of_array(batch) if frame_kind(batch) is None else _of_frame(batch)


def _of_array(batch: Array) -> dict[Any, FoundColumn]:
    found = {}
    for d, values in enumerate(batch.T):
        gaps = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
        type_ = {"f": "float", "b": "bool"}.get(values.dtype.kind, "integer")
        column = ColumnSummary(type_, values.dtype.str, values.dtype.str, int(gaps.sum()))
        _count_numbers(column, values[~gaps])
        found[d] = column, values, gaps
    return found


def _of_frame(batch: Any) -> dict[Any, FoundColumn]:
    n, names = len(batch), list(batch.columns)
    frame = narwhals_module().from_native(batch, eager_only=True)
    # not frame[key], which is a row where names are numbers
    own = dict(zip(names, frame.iter_columns(), strict=True))
    there = [key for key, series in own.items() if n_missing(series) < n]
    found: dict[Any, FoundColumn] = {}
    if there:
        batch = batch if len(there) == len(names) else batch[there]
        schema = Schema.of(batch)
        columns = schema.read(batch)
        for d, column in enumerate(schema.columns):
            if column.clock is not None:
                found[column.name] = _of_times(column, own[column.name])
                continue
            found[column.name] = _of_column(column, columns.kept(d), columns.is_missing(d))
    for key in names:
        found.setdefault(key, (ColumnSummary(n_missing=n), np.zeros(n), np.ones(n, bool)))
    return {key: found[key] for key in names}


def _of_column(column: Column, kept: Array, gaps: Array) -> FoundColumn:
    """Return what a column of a frame holds, in the user's values."""
    present = kept[~gaps]
    numpy = _NUMPY.get(column.type, kept.dtype.str)
    found = ColumnSummary(column.type, column.dtype, numpy, int(gaps.sum()))
    if column.type != "category":
        if column.type == "integer":
            kept = _whole(kept, gaps, column.offset)
        elif column.type == "bool":
            kept = kept == 1
        _count_numbers(found, kept[~gaps])
        return found, kept, gaps
    counts = np.bincount(present, minlength=len(column.categories)).tolist()
    pairs = zip(column.categories, counts, strict=True)
    found.levels = {value: count for value, count in pairs if count}
    values = np.empty(len(column.categories), object)
    values[:] = column.categories
    values = values[np.where(gaps, 0, kept)]
    if column.holds_integers:  # too far apart for an offset, in this batch
        found.type, found.numpy = "integer", _NUMPY["integer"]
        found.low, found.high = min(found.levels), max(found.levels)
    else:
        found.declared = column.categories if column.is_declared else None
        if len(found.levels) > MOST_LEVELS:
            found.levels = None
    return found, values, gaps


def _of_times(column: Column, series: Any) -> FoundColumn:
    """Return what a column of times holds, as counts."""
    counts, gaps, unit, zone = times(series)
    present = counts[~gaps]
    found = ColumnSummary(column.type, column.dtype, counts.dtype.str, int(gaps.sum()))
    found.counted, found.divisor = (unit, zone), int(np.gcd.reduce(present))
    _count_numbers(found, present)
    if unit in NANOSECONDS and len(between := present[between_months(present, unit)]):
        found.broken = [int(between.min()), int(between.max())]
    return found, counts, gaps


def _whole(numbers: Array, gaps: Array, offset: int) -> Array:
    """Return integers that are less by an offset, and NaN in gaps, as they are."""
    if offset:
        whole = np.empty(len(numbers), object)
        whole[:] = [int(number) + offset for number in np.where(gaps, 0, numbers).tolist()]
        return whole
    return np.where(gaps, 0, numbers).astype(np.int64) if numbers.dtype.kind == "f" else numbers


def _count_numbers(found: ColumnSummary, values: Array) -> None:
    """Fill in range and levels of numbers."""
    if not len(values):
        return
    found.low, found.high = (
        end.item() if hasattr(end, "item") else end for end in (values.min(), values.max())
    )
    if values.dtype.kind == "f":
        broken = values[np.rint(values) != values]
        if len(broken):
            found.broken, found.levels = [broken.min().item(), broken.max().item()], None
            return
    levels, counts = np.unique(values, return_counts=True)
    pairs = zip(levels.tolist(), counts.tolist(), strict=True)
    found.levels = None if len(levels) > MOST_LEVELS else dict(pairs)


# ---- types of numbers


def array_offset(it: ColumnSummary) -> int:
    """Return what is taken from a column of an array, by the rule of `find_offsets`."""
    dtype = np.dtype(it.numpy)
    if dtype.kind not in "iu" or dtype.itemsize < 8:
        return 0
    beyond = max(abs(it.low), abs(it.high)) > LARGEST_EXACT
    return int(it.low) if beyond and it.high - it.low <= LARGEST_EXACT else 0


def kept_dtype(it: ColumnSummary, column: Column) -> np.dtype[Any]:
    """Return the smallest type that holds a column's numbers."""
    if column.storage is not None:
        return column.storage
    if it.low is None:
        return np.dtype(np.float32)
    if column.clock is not None:
        return np.dtype(np.float64)
    if column.type in ("float", "decimal"):
        return np.promote_types(it.numpy, np.float32)
    low, high = it.low - column.offset, it.high - column.offset
    if it.n_missing:
        exact = max(abs(low), abs(high)) <= 1 << np.finfo(np.float32).nmant
        return np.dtype(np.float32 if exact else np.float64)
    kinds = (np.int8, np.int16, np.int32, np.int64)
    holds = [kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max]
    return np.dtype(holds[0] if holds else np.uint64)
