"""Sets and half-open intervals of values: what evidence says of a column, other than a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._data.containers import Container
from fastar._data.frame_types import Column, frame_kind, is_missing
from fastar._data.frames import Schema


@dataclass(frozen=True)
class Region:
    """The values of one column that evidence allows: those of a set, or low <= value < high.

    Values are the numbers of the table, as models see them.

    Parameters
    ----------
    column : int
    low, high : float
    values : tuple of float or None
        The members of a set, sorted; None of an interval.
    said : str
        How the user wrote it.
    """

    column: int
    low: float = -np.inf
    high: float = np.inf
    values: tuple[float, ...] | None = None
    said: str = ""

    def holds(self, numbers: Array) -> Array:
        """Return which numbers are allowed."""
        if self.values is not None:
            return np.isin(numbers, np.array(self.values, np.float64))
        allowed: Array = (self.low <= numbers) & (numbers < self.high)
        return allowed


@dataclass(frozen=True)
class Regions:
    """Which cells of rows are held to regions.

    Parameters
    ----------
    number : int array (1 or n, C)
        Place of the cell's region in the list, -1 where it has none.
    regions : list of Region
    """

    number: Array
    regions: list[Region]

    @property
    def bounded(self) -> Array:
        """Which cells (1 or n, C) are held to a region."""
        found: Array = self.number >= 0
        return found


def is_region(value: Any) -> bool:
    """Return whether the evidence about a cell is an interval or a set."""
    return isinstance(value, tuple | set | frozenset)


def check_cells(evidence: Any, name: str) -> None:
    """Raise ValueError where a cell of a mapping is several values in what is no set or tuple."""
    rows = evidence if isinstance(evidence, list | tuple) else [evidence]
    for row in [each for each in rows if isinstance(each, Mapping)]:
        for column, cell in row.items():
            is_array = isinstance(cell, np.ndarray) and cell.ndim > 0
            is_other = isinstance(cell, list | range | slice) or type(cell).__name__ == "Interval"
            if is_array or is_other:
                raise ValueError(
                    f"{name} must hold a value, a set of values, or a tuple (low, high) for "
                    f"low <= x < high in column {column!r}. Got {cell!r} instead."
                )


def with_regions(evidence: Any, columns: list[Any]) -> list[dict[Any, Any]] | None:
    """Return evidence as a mapping a row if any cell of it is an interval or a set, else None."""
    if isinstance(evidence, Mapping):
        return [dict(evidence)] if any(map(is_region, evidence.values())) else None
    if isinstance(evidence, list | tuple):
        rows = [dict(row) for row in evidence if isinstance(row, Mapping)]
        if len(rows) < len(evidence):
            return None
        return rows if any(is_region(cell) for row in rows for cell in row.values()) else None
    if frame_kind(evidence) == "pandas":
        objects = evidence.loc[:, [str(each) == "object" for each in evidence.dtypes]]
        if not any(is_region(cell) for name in objects for cell in objects[name]):
            return None
        cells = [evidence[name].astype(object).tolist() for name in evidence.columns]
        return [dict(zip(evidence.columns, row, strict=True)) for row in zip(*cells, strict=True)]
    if not (isinstance(evidence, np.ndarray) and evidence.dtype == object):
        return None
    table = np.atleast_2d(evidence)
    if table.ndim != 2 or table.shape[1] != len(columns) or not any(map(is_region, table.flat)):
        return None
    return [dict(zip(columns, row, strict=True)) for row in table]


def take_regions(
    rows: list[dict[Any, Any]], container: Container | Schema, columns: list[Any], name: str
) -> Regions:
    """Return the regions that rows name, and leave values alone in them.

    Raises
    ------
    ValueError
        A region is none, or not one of the column.
    """
    number = np.full((len(rows), len(columns)), -1, np.int32)
    places, found = {column: c for c, column in enumerate(columns)}, dict[Region, int]()
    for r, row in enumerate(rows):
        for key in [key for key, cell in row.items() if is_region(cell) and key in places]:
            column = _Column(container, columns, places[key], name)
            region = column.region(row.pop(key))
            if region is not None:
                number[r, region.column] = found.setdefault(region, len(found))
    return Regions(number, list(found))


@dataclass(frozen=True)
class _Column:
    """A column whose regions are read."""

    container: Container | Schema
    names: list[Any]
    place: int
    name: str
    """The name of the evidence in errors."""

    @property
    def _described(self) -> Column | None:
        return self.container.columns[self.place] if isinstance(self.container, Schema) else None

    def _error(self, rule: str, got: Any) -> ValueError:
        where = f"in column {self.names[self.place]!r}"
        return ValueError(f"{self.name} must hold {rule} {where}. Got {got!r} instead.")

    def region(self, said: Any) -> Region | None:
        """Return the region that the user means; None where it is everything."""
        if isinstance(said, tuple):
            return self._interval(said)
        return self._set(sorted(self._code(each, said) for each in said), said)

    def _set(self, codes: list[float], said: Any) -> Region:
        return Region(self.place, values=tuple(codes), said=repr(said))

    def _code(self, value: Any, said: Any) -> float:
        """Return the number of a member of a set."""
        if value is None or is_missing(value):
            raise self._error("sets without missing values", said)
        if self._described is not None:
            return self._described.code(value, self.name)
        number = self._number(value, "sets of numbers", said)
        if self._offset and not float(value).is_integer():
            raise self._error("sets of whole numbers", said)
        return number

    def _number(self, value: Any, rule: str, said: Any) -> float:
        """Return a number of the user's as the table has it."""
        number: Any = bool(value) if isinstance(value, np.bool_) else value
        if not isinstance(number, Real) or number != number:
            raise self._error(rule, said)
        offset = self._offset
        return (
            float(int(number) - offset) if isinstance(number, Integral) else float(number) - offset
        )

    @property
    def _offset(self) -> int:
        """The user's numbers less the column's."""
        if self._described is not None:
            return self._described.offset
        assert isinstance(self.container, Container)
        return int((self.container.offsets or {self.place: 0})[self.place])

    def _interval(self, said: tuple[Any, ...]) -> Region | None:
        if len(said) != 2:
            raise self._error("intervals (low, high), or sets of values", said)
        if said[0] is None and said[1] is None:
            return None
        described = self._described
        if described is not None and described.type == "category":
            return self._of_categories(described, said)
        rule = "intervals (low, high) of numbers, None for an open end,"
        if described is None or described.type in ("bool", "integer", "float"):
            ends = [None if end is None else self._number(end, rule, said) for end in said]
        else:
            ends = [self._end(described, end, said) for end in said]
        low = -np.inf if ends[0] is None else ends[0]
        high = np.inf if ends[1] is None else ends[1]
        self._check_rises(low, high, said)
        return Region(self.place, low, high, said=repr(said))

    def _end(self, described: Column, end: Any, said: Any) -> float | None:
        """Return the number of an end of an interval of times or decimals, None if it is open."""
        if end is None or (isinstance(end, float) and np.isinf(end)):
            return end
        if is_missing(end):
            raise self._error("intervals (low, high) with None for an open end", said)
        return described.code(end, self.name)

    def _check_rises(self, low: Any, high: Any, said: Any) -> None:
        if low > high:
            raise self._error("intervals (low, high) with low <= high", said)

    def _of_categories(self, column: Column, said: tuple[Any, ...]) -> Region:
        """Return the categories of an interval, by their declared order or as numbers."""
        numbers = np.arange(len(column.categories), dtype=np.float64)
        if column.is_ordered:
            ends = [None if end is None else column.code(end, self.name) for end in said]
            order = numbers
        elif all(isinstance(each, Real) for each in column.categories):
            rule = "intervals (low, high) of numbers, None for an open end,"
            ends = [None if end is None else self._number(end, rule, said) for end in said]
            order = np.array(column.categories, np.float64)
        else:
            raise self._error("a value or a set of values, for categories without an order,", said)
        low = -np.inf if ends[0] is None else ends[0]
        high = np.inf if ends[1] is None else ends[1]
        self._check_rises(low, high, said)
        return self._set(numbers[(low <= order) & (order < high)].tolist(), said)
