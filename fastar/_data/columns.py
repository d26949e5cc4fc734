"""The columns of a data frame as numbers, a block of rows at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastar._core.integers import subtract
from fastar._core.parameters import Array
from fastar._data.clocks import TIMES
from fastar._data.frame_times import UnsupportedError, decimals, time_type, times
from fastar._data.frame_types import (
    COLUMN_RULE,
    UNKNOWN,
    Column,
    dtype_name,
    is_declared,
    is_pandas,
    narwhals_module,
    to_python_scalar,
    told_objects,
)

_BLOCK_VALUES = 1 << 15  # of a block that is filled at once: what a core's own cache holds
_FIRST_CHUNK = 1024

MANY_LEVELS = 100
"""A frame's column of integers with more of them than that has an ordinal conditional."""


class Columns:
    """Numbers for the columns of a frame, handed out as dense blocks of rows.

    Integers and floats stay where they are and in their type unless values are missing; categories
    and bools are kept as numbers of one to four bytes.

    Parameters
    ----------
    described : tuple of Column
        Descriptions of the columns of `fit`.
    n : int
        Rows.
    name : str
        Name of the frame in errors.

    Attributes
    ----------
    shape : (n, D)
    missing, unknown : bool arrays (D,)
        Whether the column has a missing value, and whether it has a category that fit did not see.
    first_unknown : dict from column's place to (row, value)
        The first such category of each column; `value_of_unknown` tells those of all rows.
    """

    dtype: np.dtype[Any] = np.dtype(np.float64)
    ndim = 2

    def __init__(self, described: tuple[Column, ...], n: int, name: str = "X") -> None:
        D = len(described)
        self.described = described
        self.shape = (n, D)
        self.name = name
        self.missing = np.zeros(D, bool)
        self.unknown = np.zeros(D, bool)
        self.first_unknown: dict[int, tuple[int, Any]] = {}
        self.odd: Array | None = None
        self._given: dict[int, tuple[Array, list[Any]]] = {}
        self._columns: list[Array] = [np.empty(0)] * D
        self._plain = [d for d, column in enumerate(described) if column.storage is None]
        self._groups: list[_Group] = []
        self._group_of: dict[int, _Group] = {}
        for storage in dict.fromkeys(column.storage for column in described):
            if storage is not None:
                places = [d for d in range(D) if described[d].storage == storage]
                self._groups.append(_Group(places, np.empty((n, len(places)), storage)))
                for k, d in enumerate(places):
                    self._group_of[d] = self._groups[-1]
                    self._columns[d] = self._groups[-1].codes[:, k]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        """Return rows, a slice or an array of int or bool, as a float64 block (m, D)."""
        if isinstance(rows, slice) and rows.step in (None, 1):
            start, stop, _ = rows.indices(len(self))
            return self._block(slice(start, max(start, stop)), max(0, stop - start))
        chosen = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        if chosen.dtype == bool and chosen.shape == (len(self),):
            chosen = np.flatnonzero(chosen)
        if chosen.ndim != 1 or (chosen.dtype.kind not in "iu" and chosen.size):
            raise IndexError(
                "The rows must be a slice or a one-dimensional array of int. "
                f"Got {type(rows).__name__} instead."
            )
        return self._block(chosen.astype(np.intp, copy=False), len(chosen))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("Columns of different types are no array without a copy.")
        whole = self[:]
        return whole if dtype is None else whole.astype(np.dtype(dtype), copy=False)

    def _block(self, rows: Any, m: int) -> Array:
        """Return rows, part after part so that what is written is still in the cache."""
        block = np.empty((m, self.shape[1]))
        size = max(64, _BLOCK_VALUES // self.shape[1])
        for start in range(0, m, size):
            part = rows if m <= size else _part(rows, start, min(start + size, m))
            self._fill(block[start : start + size], part)
        return block

    def _fill(self, block: Array, rows: Any) -> None:
        columns = self._columns
        for d in self._plain:
            block[:, d] = columns[d][rows]
        for group in self._groups:
            group.fill(block, rows)

    # ---- what the columns hold

    def n_distinct(self, d: int, limit: int | None = None) -> int:
        """Return how many different values column d has, missing ones aside.

        Parameters
        ----------
        d : int
        limit : int, optional
            Stop counting beyond it: the result is then limit + 1. Unknown categories count as one.
        """
        seen = self._columns[d][:0]
        start, size = 0, _FIRST_CHUNK
        while start < len(self) and (limit is None or len(seen) <= limit):
            seen = np.union1d(seen, self.present(d, slice(start, start + size)))
            start, size = start + size, 2 * size
        return len(seen) if limit is None else min(len(seen), limit + 1)

    def present(self, d: int, rows: slice = slice(None)) -> Array:
        """Return the values of a part of column d that are not missing, as they are stored."""
        part = self._columns[d][rows]
        if not self.missing[d]:
            return part
        there: Array = (
            ~np.isnan(part) if part.dtype.kind == "f" else part != _missing_code(part.dtype)
        )
        return part[there]

    def check_known(self, refused: Array | None = None) -> None:
        """Raise ValueError if a category is none that fit saw; it tells column, row and value.

        refused (D,): the columns where it is an error, by default all.
        """
        wrong = [d for d in self.first_unknown if refused is None or refused[d]]
        if wrong:
            d = min(wrong)
            row, value = self.first_unknown[d]
            self.described[d].raise_unknown(value, self.name, f" in row {row}")

    def value_of_unknown(self, row: int, d: int) -> Any:
        """Return what a row has in column d, which has a category that fit did not see."""
        codes, values = self._given[d]
        return values[codes[row]]

    # ---- filling

    def load_column(self, d: int, series: Any) -> None:
        column = self.described[d]
        given = column_type(series)
        if given == "integer" and column.holds_integers:
            self._load_categories(d, *_integer_codes(series))
            return
        if _is_empty(series):
            self._load_nothing(d)
        elif given is None or not _agree(given, column.type):
            raise TypeError(
                f"{self.name} must hold {_WANTED[column.type]} in column {column.name!r}, "
                f"as in fit. Got {dtype_name(series)} instead."
            )
        elif given == "category":
            self._load_categories(d, *category_codes(series, column.name, self.name))
        elif given in TIMES:
            self._load_times(d, series)
        else:
            self._load_numbers(d, series)

    def _load_nothing(self, d: int) -> None:
        self.missing[d] = True
        if self.described[d].storage is None:
            self._columns[d] = np.full(len(self), np.nan, np.float32)
        else:
            self._columns[d][:] = _missing_code(self._columns[d].dtype)
            self._group_of[d].has_gaps = True

    def _load_categories(self, d: int, codes: Array, values: list[Any]) -> None:
        """Translate codes of `values`, -1 where missing, to numbers of the categories of fit."""
        column, stored = self.described[d], self._columns[d]
        gap = _missing_code(stored.dtype)
        rest = gap - 1 if column.rest is None else column.rest
        numbers = [column.numbers.get(value, rest) for value in values]
        stored[:] = np.array([*numbers, gap], stored.dtype)[codes]
        self.missing[d] = bool((codes < 0).any())
        if gap - 1 in numbers:
            wrong = stored == gap - 1
            self.unknown[d] = bool(wrong.any())
            if self.unknown[d]:
                row = int(np.argmax(wrong))
                self.first_unknown[d] = (row, values[codes[row]])
                self._given[d] = codes, values
        group = self._group_of[d]
        group.has_gaps |= bool(self.missing[d])
        group.has_unknown |= bool(self.unknown[d])

    def _load_times(self, d: int, series: Any) -> None:
        column = self.described[d]
        clock = column.clock
        assert clock is not None
        counts, missing, unit, zone = told_by_name(times, series, column.name, self.name)
        if not clock.agrees_with(unit) or (zone is None) != (clock.zone is None):
            has = "a" if zone is None else "no"
            raise TypeError(
                f"{self.name} must hold times by the {clock.resolution}, with {has} zone, in "
                f"column {column.name!r}, as in fit. Got {dtype_name(series)} instead."
            )
        values = clock.numbers(counts, unit)
        self.missing[d] = bool(missing.any())
        self._columns[d] = np.where(missing, np.nan, values) if self.missing[d] else values

    def _load_numbers(self, d: int, series: Any) -> None:
        column = self.described[d]
        is_whole = column_type(series) == "integer"
        if column_type(series) == "decimal":
            values, _ = told_by_name(decimals, series, column.name, self.name)
        else:
            values = _numbers(series, column.offset if is_whole else 0)
        gaps = None
        if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
            gaps = np.isnan(values)
            self._check_values(d, values, finite | gaps, "finite numbers")
            self.missing[d] = True
        if column.type == "integer" and values.dtype.kind == "f":
            self._check_values(d, values, _or(np.rint(values) == values, gaps), "whole numbers")
        if column.type != "bool":
            moved = column.offset and not is_whole
            self._columns[d] = values.astype(np.float64) - column.offset if moved else values
            return
        if values.dtype != bool:
            self._check_values(d, values, _or((values == 0) | (values == 1), gaps), "bools")
        stored = self._columns[d]
        stored[:] = values == 1
        if gaps is not None:
            stored[gaps] = _missing_code(stored.dtype)
            self._group_of[d].has_gaps = True

    def _check_values(self, d: int, values: Array, right: Array, rule: str) -> None:
        if self.odd is not None:
            self.odd |= ~right
        elif not right.all():
            row = int(np.argmin(right))
            raise ValueError(
                f"{self.name} must hold {rule} in column {self.described[d].name!r}. "
                f"Got {values[row]!s} in row {row} instead."
            )

    # ---- as they are kept

    def kept(self, d: int) -> Array:
        """Return column d in the type in which it is kept: with marks of its own where missing."""
        return self._columns[d]

    def is_missing(self, d: int) -> Array:
        """Return where (n,) column d is missing."""
        column = self._columns[d]
        if column.dtype.kind == "f":
            return np.isnan(column)
        if self.described[d].storage is None:
            return np.zeros(len(column), bool)
        gaps: Array = column == _missing_code(column.dtype)
        return gaps

    def put(self, d: int, numbers: Array, gaps: Array) -> None:
        """Fill column d with numbers of the coding, and say where (n,) it is missing."""
        self.missing[d] = gaps.any()
        if self.described[d].storage is None:
            self._columns[d] = numbers
            if gaps.any():
                self._columns[d] = np.where(gaps, np.nan, numbers).astype(numbers.dtype, copy=False)
            return
        stored, group = self._columns[d], self._group_of[d]
        wrong, gap = numbers == UNKNOWN, _missing_code(stored.dtype)
        stored[:] = np.where(gaps, gap, np.where(wrong, gap - 1, numbers))
        self.unknown[d] = (wrong & ~gaps).any()
        group.has_gaps |= bool(self.missing[d])
        group.has_unknown |= bool(self.unknown[d])

    @classmethod
    def of_parts(
        cls,
        described: tuple[Column, ...],
        parts: list[tuple[list[int], Array]],
        missing: Array,
        unknown: Array,
    ) -> Columns:
        """Return columns as `kept` gave them, those of one type side by side.

        parts: (places, matrix), those with a storage of their own by that and in order. missing,
        unknown (D,): what may be among the numbers of each column.
        """
        columns = cls(described, 0)
        columns.shape = (len(parts[0][1]), len(described))
        columns.missing, columns.unknown = missing, unknown
        for places, matrix in parts:
            group = columns._group_of.get(places[0])
            if group is not None:
                group.codes = matrix
                group.has_gaps = bool(missing[places].any())
                group.has_unknown = bool(unknown[places].any())
            for k, d in enumerate(places):
                columns._columns[d] = matrix[:, k]
        return columns


class _Group:
    """Columns whose numbers have the same type, side by side so that a row is read at once.

    The type's largest number is a missing value, the one before an unknown value.
    """

    def __init__(self, places: list[int], codes: Array) -> None:
        self.codes = codes
        self.has_gaps = False
        self.has_unknown = False
        run = slice(places[0], places[-1] + 1)
        self._target: Any = run if run.stop - run.start == len(places) else np.array(places)

    def fill(self, block: Array, rows: Any) -> None:
        codes = self.codes[rows]
        if not (self.has_gaps or self.has_unknown):
            block[:, self._target] = codes
            return
        values = codes.astype(np.float64)
        gap = _missing_code(codes.dtype)
        if self.has_gaps:
            np.copyto(values, np.nan, where=codes == gap)
        if self.has_unknown:
            np.copyto(values, UNKNOWN, where=codes == gap - 1)
        block[:, self._target] = values


def _missing_code(dtype: np.dtype[Any]) -> int:
    """Return the code of a missing value in a type of integers."""
    return int(np.iinfo(dtype).max)


def _or(right: Array, gaps: Array | None) -> Array:
    return right if gaps is None else right | gaps


def _part(rows: Any, start: int, stop: int) -> Any:
    if isinstance(rows, slice):
        return slice(rows.start + start, rows.start + stop)
    return rows[start:stop]


# ---- frames and series, as narwhals sees them

_WANTED = {
    "bool": "bools",
    "integer": "whole numbers",
    "float": "numbers",
    "category": "categories",
    "moment": "dates or moments",
    "time": "times of day",
    "duration": "durations",
    "decimal": "decimals",
}


def _agree(given: str, known: str) -> bool:
    """Return whether a column of one type may stand where `fit` saw one of another."""
    if "category" in (given, known) or given in TIMES or known in TIMES:
        return given == known
    return True


def told_by_name(read: Any, series: Any, name: Any, frame_name: str) -> Any:
    """Return what a function reads of a series; TypeError with the column's name if it cannot."""
    try:
        return read(series)
    except UnsupportedError as error:
        raise TypeError(
            f"{frame_name} must {error}. Got {dtype_name(series)} in column {name!r} instead."
        ) from error


def column_type(series: Any) -> str | None:
    """Return the type of a column; None for those that no model takes."""
    nw, dtype = narwhals_module(), series.dtype
    if (of_time := time_type(series)) is not None:
        return of_time
    if dtype == nw.Boolean:
        return "bool"
    if dtype.is_integer() and dtype not in (nw.Int128, nw.UInt128):  # NumPy has none of these
        return "integer"
    if dtype.is_float():
        return "float"
    if dtype == nw.String or is_declared(series) or dtype == nw.Categorical:
        native = series.to_native().dtype
        return None if str(native).startswith("dictionary") else "category"
    return None


def n_missing(series: Any) -> int:
    """Return how many values are missing, as the series' library says."""
    native = series.to_native()
    if not is_pandas(series):
        return int(series.null_count())
    if isinstance(native.dtype, np.dtype) and native.dtype.kind in "biu":
        return 0
    # of the array: a series of bools takes longer to make than a few hundred values to look at
    return int(native.array.isna().sum())


def _is_empty(series: Any) -> bool:
    """Return whether every value is missing."""
    if n_missing(series) == len(series):
        return True
    return bool(series.dtype.is_float() and np.isnan(_numbers(series)).all())


def has_missing(series: Any) -> bool:
    if n_missing(series):
        return True
    return bool(series.dtype.is_float() and np.isnan(_numbers(series)).any())


def _integers(series: Any) -> tuple[Array, Array]:
    """Return a column of integers, without rounding, and where it is missing."""
    missing = series.is_null().to_numpy()
    values = series.fill_null(0).to_numpy() if missing.any() else series.to_numpy()
    return values, missing


def _integer_codes(series: Any) -> tuple[Array, list[Any]]:
    """Return (codes, values) of a column of integers as of categories, -1 where missing."""
    values, missing = _integers(series)
    levels, codes = np.unique(values, return_inverse=True)
    return np.where(missing, -1, codes), levels.tolist()


def _numbers(series: Any, offset: int = 0) -> Array:
    """Return a column of numbers or bools, as floats with NaN where some are missing.

    offset: what is taken from integers.
    """
    nw, native = narwhals_module(), series.to_native()
    values: Array
    if offset:
        values, missing = _integers(series)
        values = subtract(values[:, None], (offset,))[:, 0]
        return np.where(missing, np.nan, values) if missing.any() else values
    if isinstance(native.dtype, np.dtype) or not n_missing(series):
        values = series.to_numpy()
        return values.astype(bool) if values.dtype == object else values
    small = (nw.Boolean, nw.Int8, nw.UInt8, nw.Int16, nw.UInt16, nw.Float32)
    is_small = series.dtype in small
    if is_pandas(series):
        values = native.to_numpy("float32" if is_small else "float64", na_value=np.nan)
        return values
    if not series.dtype.is_float():
        series = series.cast(nw.Float32 if is_small else nw.Float64)
    values = series.to_numpy()
    return values


def category_codes(series: Any, name: Any, frame_name: str) -> tuple[Array, list[Any]]:
    """Return (codes, values) of a category column: value k has code k, a missing one -1."""
    native = series.to_native()
    if not is_pandas(series):
        return _polars_category_codes(native)
    import pandas

    if isinstance(native.dtype, pandas.CategoricalDtype):
        array = native.array
        return array.codes, [to_python_scalar(each) for each in array.categories.tolist()]
    try:
        codes, values = pandas.factorize(native)
    except TypeError:  # a value without a hash
        codes, values = np.empty(0), [None]
    if not all(isinstance(each, str) for each in values):
        raise TypeError(
            f"{frame_name} must hold {COLUMN_RULE}. "
            f"Got column {name!r} of {told_objects(native.tolist())} instead: convert_dtypes() "
            "gives those that are of one type this type."
        )
    return codes, [to_python_scalar(each) for each in values]


def _polars_category_codes(native: Any) -> tuple[Array, list[Any]]:
    import polars

    if not isinstance(native.dtype, polars.Enum):
        # codes of polars' own would be those of every frame of the process
        native = native.cast(polars.String)
        native = native.cast(polars.Enum(native.drop_nulls().unique().sort()))
    codes = native.to_physical().cast(polars.Int32).fill_null(-1).to_numpy()
    return codes, native.dtype.categories.to_list()
