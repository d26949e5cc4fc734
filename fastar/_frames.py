"""Data frames with columns of any kind: what fit saw, numbers for it, and frames from numbers.

In the coding of this module a value is a float64: of a bool 0 or 1, of a category its number in
the list of categories, NaN where it is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import import_module
from numbers import Real
from typing import Any, NoReturn

import numpy as np

from fastar._containers import cast
from fastar._parameters import Array

UNKNOWN = -1.0
"""What stands for a category that fit did not see."""

_BLOCK_VALUES = 1 << 15  # of a block that is filled at once: what a core's own cache holds
_FIRST_CHUNK = 1024
_SHOWN = 5
_RULE = "bool, integer, float or category columns (strings are categories)"


@dataclass(frozen=True)
class Column:
    """One column as `fit` saw it.

    Parameters
    ----------
    name : str or int
    dtype : str or dict
        The frame library's type, in JSON.
    type : {"bool", "integer", "float", "category"}
    categories : tuple of str, int, float or bool
        In order: the declared ones, or the sorted ones seen. Empty for the other types.
    missing : bool
        Whether any value was missing.
    """

    name: Any
    dtype: Any
    type: str
    categories: tuple[Any, ...]
    missing: bool

    @cached_property
    def numbers(self) -> dict[Any, int]:
        """Number of each category."""
        return {category: number for number, category in enumerate(self.categories)}

    @property
    def storage(self) -> np.dtype[Any] | None:
        """The type of the column's numbers in `Columns`; None: the type it has in the frame."""
        if self.type not in ("bool", "category"):
            return None
        n_numbers = max(2, len(self.categories)) + 2  # one for missing, one for unknown
        for dtype in (np.uint8, np.uint16):
            if n_numbers <= np.iinfo(dtype).max + 1:
                return np.dtype(dtype)
        return np.dtype(np.int32)

    def code(self, value: Any, name: str) -> float:
        """Return one value of Python in the coding, NaN where missing."""
        if _is_missing(value):
            return np.nan
        if self.type == "category":
            return self._category_code(value, name)
        number = _number(value)
        if (
            not np.isfinite(number)
            or (self.type == "integer" and not number.is_integer())
            or (self.type == "bool" and number not in (0.0, 1.0))
        ):
            rule = {"integer": "a whole number", "bool": "a bool"}.get(self.type, "a finite number")
            raise ValueError(
                f"{name} must hold {rule} in column {self.name!r}. Got {value!r} instead."
            )
        return number

    def _category_code(self, value: Any, name: str) -> float:
        try:
            number = self.numbers.get(_plain(value))
        except TypeError:  # a list or another value without a hash
            number = None
        if number is None:
            self.raise_unknown(value, name)
        return float(number)

    def raise_unknown(self, value: Any, name: str, where: str = "") -> NoReturn:
        """Raise the error about a value that is no category of the column."""
        known = ", ".join(repr(each) for each in self.categories[:_SHOWN])
        more = ", ..." if len(self.categories) > _SHOWN else ""
        raise ValueError(
            f"{name} must hold categories that were seen in fit in column {self.name!r}: "
            f"{known or 'none'}{more}. Got {value!r}{where} instead."
        )


@dataclass(frozen=True)
class Schema:
    """The columns of the data frame that `fit` was given.

    Parameters
    ----------
    kind : {"pandas", "polars"}
    columns : tuple of Column
    """

    kind: str
    columns: tuple[Column, ...]

    @classmethod
    def of(cls, frame: Any, name: str = "X") -> Schema:
        """Return the schema of a pandas or polars DataFrame.

        Parameters
        ----------
        frame : DataFrame
        name : str
            What errors call it.

        Returns
        -------
        Schema

        Raises
        ------
        TypeError
            A column, or its name, is of a kind that no model takes.
        ValueError
            Two columns have the same name, or there are no rows or columns.
        """
        kind = frame_kind(frame)
        if kind is None:
            raise TypeError(
                f"{name} must be a pandas or polars DataFrame. Got {type(frame).__name__} instead."
            )
        names = _check_names(frame, name)
        opened = _open(frame, name)
        pairs = zip(opened, names, strict=True)
        return cls(kind, tuple(_column(series, each, name) for series, each in pairs))

    @property
    def names(self) -> list[Any]:
        """Names of the columns."""
        return [column.name for column in self.columns]

    def to_json(self) -> dict[str, Any]:
        """Return the schema as objects that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> Schema:
        """Return the schema that `to_json` described."""
        columns = [
            Column(**{**column, "categories": tuple(column["categories"])})
            for column in described["columns"]
        ]
        return cls(described["kind"], tuple(columns))

    # ---- from frames to numbers

    def read(self, frame: Any, name: str = "X") -> Columns:
        """Return a frame's columns as numbers.

        Parameters
        ----------
        frame : pandas or polars DataFrame
            Columns of the names and types that fit saw, of either library. A column without any
            value agrees with every type; floats that are whole agree with integers, and 0 and 1
            with bools.
        name : str
            What errors call it.

        Returns
        -------
        Columns
            Categories that fit did not see are marked, see `Columns.check_known`.

        Raises
        ------
        TypeError, ValueError
            The names or types do not agree, or a number is infinite.
        """
        if frame_kind(frame) is None:
            raise TypeError(
                f"{name} must be a pandas or polars DataFrame, as in fit. "
                f"Got {type(frame).__name__} instead."
            )
        self._check_same_names(list(frame.columns), name)
        opened = _open(frame, name)
        columns = Columns(self, len(frame), name)
        for d, series in enumerate(opened):
            columns._put(d, _settled(series))
        return columns

    def _check_same_names(self, given: list[Any], name: str) -> None:
        if given == self.names:
            return
        message = f"The feature names of {name} should match those that were passed during fit.\n"
        unseen = [each for each in given if each not in self.names]
        missing = [each for each in self.names if each not in given]
        if unseen:
            message += "Feature names unseen at fit time:\n" + _listed(unseen)
        if missing:
            message += "Feature names seen at fit time, yet now missing:\n" + _listed(missing)
        if not unseen and not missing and len(given) > len(self.names):
            twice = [each for each in self.names if given.count(each) > 1]
            message += "Feature names that occur more than once:\n" + _listed(twice)
        elif not unseen and not missing:
            message += "Feature names must be in the same order as they were in fit.\n"
        raise ValueError(message)

    def rows(self, evidence: Any, n: int, name: str = "evidence") -> Array:
        """Return rows of evidence in the coding, NaN where free.

        Parameters
        ----------
        evidence : DataFrame, mapping, Series or array-like
            A DataFrame of 1 or n rows with the columns of fit; a mapping (or a pandas Series) from
            names of columns to values, where columns that are not named are free; or D values,
            or (1 or n) x D of them. What is missing or None is free.
        n : int
            Rows that are wanted.
        name : str
            What errors call it.

        Returns
        -------
        ndarray of shape (1 or n, D), float64

        Raises
        ------
        TypeError, ValueError
            The columns or the shape do not agree, or a value is none that fit saw.
        """
        if frame_kind(evidence) is not None:
            columns = self.read(evidence, name)
            self._check_rows(columns.shape, n, name)
            columns.check_known()
            return columns[:]
        if type(evidence).__module__.startswith("pandas") and hasattr(evidence, "items"):
            evidence = dict(evidence.items())
        if isinstance(evidence, Mapping):
            self._check_known_names(evidence, name)
            cells = np.array([[None] * len(self.columns)], object)
            for d, column in enumerate(self.columns):
                cells[0, d] = evidence.get(column.name)
        else:
            cells = np.atleast_2d(_objects(evidence, name))
        self._check_rows(cells.shape, n, name)
        values = np.empty(cells.shape)
        for d, column in enumerate(self.columns):
            values[:, d] = [column.code(cell, name) for cell in cells[:, d]]
        return values

    def _check_rows(self, shape: tuple[int, ...], n: int, name: str) -> None:
        D = len(self.columns)
        if shape not in ((1, D), (n, D)):
            raise ValueError(f"{name} must have shape ({D},) or ({n}, {D}). Got {shape} instead.")

    def _check_known_names(self, evidence: Mapping[Any, Any], name: str) -> None:
        unseen = [each for each in evidence if each not in self.names]
        if unseen:
            raise ValueError(
                f"{name} must name columns that were passed during fit.\n"
                f"Feature names unseen at fit time:\n{_listed(unseen)}"
            )

    # ---- from numbers to frames

    def wrap(self, values: Array) -> Any:
        """Return values as a frame like the one that fit was given.

        Parameters
        ----------
        values : ndarray of shape (n, D), float64
            In the coding, NaN where missing. What goes into integers and bools is rounded and kept
            to their range.

        Returns
        -------
        DataFrame
            Of the same library, names, types and categories; where a type of pandas holds nothing
            missing and must, of the type that pandas itself makes of it.

        Raises
        ------
        ValueError
            The values do not have D columns, or one is the number of no category.
        """
        if values.ndim != 2 or values.shape[1] != len(self.columns):
            raise ValueError(
                f"values must have shape (n, {len(self.columns)}). Got {values.shape} instead."
            )
        filled = [
            _fill_polars(column, value) if self.kind == "polars" else _fill_pandas(column, value)
            for column, value in zip(self.columns, values.T, strict=True)
        ]
        if self.kind == "polars":
            import polars

            return polars.DataFrame(filled)
        import pandas

        index = pandas.RangeIndex(len(values))
        return pandas.DataFrame(dict(zip(self.names, filled, strict=True)), index=index)


class Columns:
    """Numbers for the columns of a frame, handed out as dense blocks of rows.

    Integers and floats stay where they are and in their type unless values are missing; categories
    and bools are kept as numbers of one to four bytes.

    Parameters
    ----------
    schema : Schema
    n : int
        Rows.
    name : str
        What errors call the frame.

    Attributes
    ----------
    shape : (n, D)
    missing, unknown : bool arrays (D,)
        Whether the column has a missing value, and whether it has a category that fit did not see.
    first_unknown : dict from column's place to (row, value)
        The first such category of each column.
    """

    dtype: np.dtype[Any] = np.dtype(np.float64)
    ndim = 2

    def __init__(self, schema: Schema, n: int, name: str = "X") -> None:
        D = len(schema.columns)
        self.schema = schema
        self.shape = (n, D)
        self.name = name
        self.missing = np.zeros(D, bool)
        self.unknown = np.zeros(D, bool)
        self.first_unknown: dict[int, tuple[int, Any]] = {}
        self._columns: list[Array] = [np.empty(0)] * D
        self._plain = [d for d, column in enumerate(schema.columns) if column.storage is None]
        self._groups: list[_Group] = []
        self._group_of: dict[int, _Group] = {}
        for storage in dict.fromkeys(column.storage for column in schema.columns):
            if storage is not None:
                places = [d for d in range(D) if schema.columns[d].storage == storage]
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
            seen = np.union1d(seen, self._present(d, slice(start, start + size)))
            start, size = start + size, 2 * size
        return len(seen) if limit is None else min(len(seen), limit + 1)

    def extent(self, d: int) -> float:
        """Return the distance from the smallest to the largest value of column d, 0 of none."""
        present = self._present(d, slice(None))
        return float(present.max()) - float(present.min()) if present.size else 0.0

    def is_binary(self, d: int) -> bool:
        """Return whether column d holds 0 and 1 alone, in the coding and missing ones aside.

        A category column does if it has no more than two categories.
        """
        if self.schema.columns[d].type == "category":
            return len(self.schema.columns[d].categories) <= 2
        chunks = range(0, len(self), 1 << 16)
        present = (self._present(d, slice(start, start + (1 << 16))) for start in chunks)
        return all(bool(((part == 0) | (part == 1)).all()) for part in present)

    def _present(self, d: int, rows: slice) -> Array:
        """Return the values of a part of column d that are not missing, as they are stored."""
        part = self._columns[d][rows]
        if not self.missing[d]:
            return part
        there: Array = ~np.isnan(part) if part.dtype.kind == "f" else part != _gap(part.dtype)
        return part[there]

    def check_known(self) -> None:
        """Raise ValueError if a category is none that fit saw; it tells column, row and value."""
        if self.first_unknown:
            d, (row, value) = min(self.first_unknown.items())
            self.schema.columns[d].raise_unknown(value, self.name, f" in row {row}")

    # ---- filling

    def _put(self, d: int, series: Any) -> None:
        column = self.schema.columns[d]
        given = _type(series)
        if _is_empty(series):
            self._put_nothing(d)
        elif given is None or (given == "category") != (column.type == "category"):
            raise TypeError(
                f"{self.name} must hold {_WANTED[column.type]} in column {column.name!r}, "
                f"as in fit. Got {_dtype_name(series)} instead."
            )
        elif given == "category":
            self._put_categories(d, *_numbered(series, column.name, self.name))
        else:
            self._put_numbers(d, series)

    def _put_nothing(self, d: int) -> None:
        self.missing[d] = True
        if self.schema.columns[d].storage is None:
            self._columns[d] = np.full(len(self), np.nan, np.float32)
        else:
            self._columns[d][:] = _gap(self._columns[d].dtype)
            self._group_of[d].has_gaps = True

    def _put_categories(self, d: int, codes: Array, values: list[Any]) -> None:
        """Translate codes of `values`, -1 where missing, to numbers of the categories of fit."""
        column, stored = self.schema.columns[d], self._columns[d]
        gap = _gap(stored.dtype)
        numbers = [column.numbers.get(value, gap - 1) for value in values]
        stored[:] = np.array([*numbers, gap], stored.dtype)[codes]
        self.missing[d] = bool((codes < 0).any())
        if gap - 1 in numbers:
            wrong = stored == gap - 1
            self.unknown[d] = bool(wrong.any())
            if self.unknown[d]:
                row = int(np.argmax(wrong))
                self.first_unknown[d] = (row, values[codes[row]])
        group = self._group_of[d]
        group.has_gaps |= bool(self.missing[d])
        group.has_unknown |= bool(self.unknown[d])

    def _put_numbers(self, d: int, series: Any) -> None:
        column, values = self.schema.columns[d], _numbers(series)
        gaps = None
        if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
            gaps = np.isnan(values)
            self._check_values(d, values, finite | gaps, "finite numbers")
            self.missing[d] = True
        if column.type == "integer" and values.dtype.kind == "f":
            self._check_values(d, values, _or(np.rint(values) == values, gaps), "whole numbers")
        if column.type != "bool":
            self._columns[d] = values
            return
        if values.dtype != bool:
            self._check_values(d, values, _or((values == 0) | (values == 1), gaps), "bools")
        stored = self._columns[d]
        stored[:] = values == 1
        if gaps is not None:
            stored[gaps] = _gap(stored.dtype)
            self._group_of[d].has_gaps = True

    def _check_values(self, d: int, values: Array, right: Array, rule: str) -> None:
        if not right.all():
            row = int(np.argmin(right))
            raise ValueError(
                f"{self.name} must hold {rule} in column {self.schema.columns[d].name!r}. "
                f"Got {values[row]!s} in row {row} instead."
            )


class _Group:
    """Columns whose numbers have the same type, side by side so that a row is read at once.

    The type's largest number stands for missing, the one before for unknown.
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
        gap = _gap(codes.dtype)
        if self.has_gaps:
            np.copyto(values, np.nan, where=codes == gap)
        if self.has_unknown:
            np.copyto(values, UNKNOWN, where=codes == gap - 1)
        block[:, self._target] = values


def _gap(dtype: np.dtype[Any]) -> int:
    """Return the number that stands for a missing value in a type of integers."""
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
}


def frame_kind(value: Any) -> str | None:
    """Return "pandas" or "polars" if value is a DataFrame of it, or of a class derived from it."""
    for base in type(value).__mro__:
        package = base.__module__.partition(".")[0]
        if base.__name__ == "DataFrame" and package in ("pandas", "polars"):
            return package
    return None


def _narwhals() -> Any:
    try:
        import narwhals
    except ImportError as error:
        raise ImportError(
            "Data frames with columns of different kinds need the package narwhals, which "
            "scikit-learn brings along from 1.9 on: pip install 'narwhals>=2'."
        ) from error
    return narwhals


def _open(frame: Any, name: str) -> list[Any]:
    """Return the columns as series of narwhals; like scikit-learn, reject frames without any."""
    for count, what in zip(frame.shape, ("sample", "feature"), strict=True):
        if count == 0:
            raise ValueError(
                f"{name} must not be empty: found 0 {what}(s) (shape={frame.shape}) while a "
                "minimum of 1 is required."
            )
    return list(_narwhals().from_native(frame, eager_only=True).iter_columns())


def _check_names(frame: Any, name: str) -> list[Any]:
    names = [_plain(each) for each in frame.columns]
    kinds = sorted({type(each).__name__ for each in names})
    if kinds not in ([], ["int"], ["str"]):
        raise TypeError(
            f"The columns of {name} must all have str or all have int names. "
            f"Got {', '.join(kinds)} instead."
        )
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise ValueError(f"The columns of {name} must have different names. Got {twice!r} twice.")
    return names


def _column(series: Any, name: Any, frame_name: str) -> Column:
    """Return the description of a narwhals series."""
    type_ = _type(series)
    if type_ is None:
        raise TypeError(
            f"{frame_name} must hold {_RULE}. Got column {name!r} of {_dtype_name(series)} instead."
        )
    if type_ == "category":
        codes, values = _numbered(series, name, frame_name)
        _check_categories(values, name, frame_name)
        declared = _is_declared(series)
        categories = tuple(values) if declared else tuple(sorted(set(values)))
        missing = bool((codes < 0).any())
    else:
        categories, missing = (), _has_missing(series)
    return Column(name, _dtype_to_json(series), type_, categories, missing)


def _type(series: Any) -> str | None:
    """Return the type of a column; None for those that no model takes."""
    nw, dtype = _narwhals(), series.dtype
    if dtype == nw.Boolean:
        return "bool"
    if dtype.is_integer() and dtype not in (nw.Int128, nw.UInt128):  # NumPy has none of these
        return "integer"
    if dtype.is_float():
        return "float"
    if dtype == nw.String or _is_declared(series) or dtype == nw.Categorical:
        native = series.to_native().dtype
        return None if str(native).startswith("dictionary") else "category"
    return None


def _is_pandas(series: Any) -> bool:
    return bool(_narwhals().dependencies.is_pandas_series(series.to_native()))


def _is_declared(series: Any) -> bool:
    """Return whether the column's type has a list of categories."""
    if _is_pandas(series):
        import pandas

        return isinstance(series.to_native().dtype, pandas.CategoricalDtype)
    return bool(series.dtype == _narwhals().Enum)


def _settled(series: Any) -> Any:
    """Return a series of Python objects as one of the type that its values have."""
    native = series.to_native()
    if _is_pandas(series) and native.dtype == object and series.dtype == _narwhals().Object:
        return _narwhals().from_native(native.convert_dtypes(), series_only=True)
    return series


def _is_empty(series: Any) -> bool:
    """Return whether every value is missing."""
    if series.null_count() == len(series):
        return True
    return bool(series.dtype.is_float() and np.isnan(_numbers(series)).all())


def _has_missing(series: Any) -> bool:
    if series.null_count():
        return True
    return bool(series.dtype.is_float() and np.isnan(_numbers(series)).any())


def _dtype_name(series: Any) -> str:
    dtype = series.to_native().dtype
    return "objects that are not strings" if str(dtype) == "object" else f"dtype {dtype}"


def _numbers(series: Any) -> Array:
    """Return a column of numbers or bools, as floats with NaN if values are missing."""
    nw, native = _narwhals(), series.to_native()
    values: Array
    if not series.null_count() or isinstance(native.dtype, np.dtype):
        values = series.to_numpy()
        return values.astype(bool) if values.dtype == object else values
    small = (nw.Boolean, nw.Int8, nw.UInt8, nw.Int16, nw.UInt16, nw.Float32)
    is_small = series.dtype in small
    if _is_pandas(series):
        values = native.to_numpy("float32" if is_small else "float64", na_value=np.nan)
        return values
    if not series.dtype.is_float():
        series = series.cast(nw.Float32 if is_small else nw.Float64)
    values = series.to_numpy()
    return values


def _numbered(series: Any, name: Any, frame_name: str) -> tuple[Array, list[Any]]:
    """Return (codes, values) of a category column: value k has code k, a missing one -1."""
    native = series.to_native()
    if not _is_pandas(series):
        return _numbered_polars(native)
    import pandas

    if isinstance(native.dtype, pandas.CategoricalDtype):
        array = native.array
        return array.codes, [_plain(each) for each in array.categories.tolist()]
    try:
        codes, values = pandas.factorize(native)
    except TypeError:  # a value without a hash
        codes, values = np.empty(0), [None]
    if not all(isinstance(each, str) for each in values):
        raise TypeError(
            f"{frame_name} must hold {_RULE}. "
            f"Got column {name!r} of objects that are not strings instead."
        )
    return codes, [_plain(each) for each in values]


def _numbered_polars(native: Any) -> tuple[Array, list[Any]]:
    import polars

    if not isinstance(native.dtype, polars.Enum):
        # codes of polars' own would be those of every frame of the process
        native = native.cast(polars.String)
        native = native.cast(polars.Enum(native.drop_nulls().unique().sort()))
    codes = native.to_physical().cast(polars.Int32).fill_null(-1).to_numpy()
    return codes, native.dtype.categories.to_list()


def _check_categories(values: list[Any], name: Any, frame_name: str) -> None:
    kinds = {type(each) for each in values}
    if len(kinds) > 1 or not kinds <= {str, int, float, bool}:
        raise TypeError(
            f"{frame_name} must hold categories that are all str, all int, all float or all bool. "
            f"Got {', '.join(sorted(each.__name__ for each in kinds))} in column {name!r} instead."
        )


# ---- single values


def _plain(value: Any) -> Any:
    """Return Python's own twin of a number of NumPy's or of a subclass of str."""
    if isinstance(value, np.generic):
        return value.item()
    return str.__str__(value) if isinstance(value, str) else value


def _is_missing(value: Any) -> bool:
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _number(value: Any) -> float:
    """Return a value as a float, NaN if it is none."""
    try:
        return float(value) if isinstance(value, Real | np.bool_) else np.nan
    except OverflowError:
        return np.inf


def _objects(evidence: Any, name: str) -> Array:
    try:
        return np.array(evidence, dtype=object)
    except ValueError as error:
        raise ValueError(f"{name} must hold rows of one length. Got others.") from error


def _listed(names: Iterable[Any]) -> str:
    names = sorted(names, key=str)
    shown = [f"- {name}\n" for name in names[:_SHOWN]]
    return "".join(shown) + ("- ...\n" if len(names) > _SHOWN else "")


# ---- the types of the frame libraries in JSON, and series of them


def _dtype_to_json(series: Any) -> Any:
    dtype = series.to_native().dtype
    return _pandas_to_json(dtype) if _is_pandas(series) else _polars_to_json(dtype)


def _pandas_to_json(dtype: Any) -> Any:
    import pandas

    if isinstance(dtype, pandas.CategoricalDtype):
        return {"ordered": dtype.ordered, "categories": _pandas_to_json(dtype.categories.dtype)}
    if isinstance(dtype, pandas.ArrowDtype):
        return {"arrow": str(dtype.pyarrow_dtype)}
    if isinstance(dtype, pandas.StringDtype):
        return {"string": dtype.storage, "na": "nan" if dtype.na_value is not pandas.NA else "NA"}
    return str(dtype)


def _pandas_dtype(column: Column) -> Any:
    import pandas

    if isinstance(column.dtype, dict) and "ordered" in column.dtype:
        categories = _pandas_index(column.categories, column.dtype["categories"])
        return pandas.CategoricalDtype(categories, ordered=column.dtype["ordered"])
    return _pandas_from_json(column.dtype)


def _pandas_index(categories: tuple[Any, ...], described: Any) -> Any:
    import pandas

    return pandas.Index(list(categories), dtype=_pandas_from_json(described))


def _pandas_from_json(described: Any) -> Any:
    import pandas

    if not isinstance(described, dict):
        return pandas.api.types.pandas_dtype(described)
    if "arrow" in described:
        pyarrow = import_module("pyarrow")
        return pandas.ArrowDtype(pyarrow.type_for_alias(described["arrow"]))
    if described["na"] == "NA" or described["string"] == "pyarrow_numpy":
        return pandas.StringDtype(described["string"])
    return pandas.StringDtype(described["string"], na_value=np.nan)


def _fill_pandas(column: Column, values: Array) -> Any:
    """Return a pandas series of one column."""
    import pandas

    dtype = _pandas_dtype(column)
    if column.type == "category":
        # the label -1 is none of the index, so that reindexing leaves a gap
        codes = _codes(column, values)
        known = pandas.Series(list(column.categories), dtype=dtype)
        return known.reindex(codes).reset_index(drop=True)
    gaps = np.isnan(values)
    series = pandas.Series(_rounded(values, gaps, getattr(dtype, "numpy_dtype", dtype)))
    series = series.astype(dtype)
    return series.mask(gaps) if gaps.any() else series


def _polars_to_json(dtype: Any) -> Any:
    name = type(dtype).__name__
    if name != "Categorical":
        return "Enum" if name == "Enum" else str(dtype)
    categories = getattr(dtype, "categories", None)
    if categories is None:
        return {"ordering": dtype.ordering}
    return {
        "categories": categories.name(),
        "namespace": categories.namespace(),
        "physical": str(categories.physical()),
    }


def _polars_dtype(column: Column) -> Any:
    import polars

    described = column.dtype
    if not isinstance(described, dict):
        if described == "Enum":
            return polars.Enum(list(column.categories))
        return getattr(polars, described)
    if "ordering" in described:
        return polars.Categorical(described["ordering"])
    physical = getattr(polars, described["physical"])
    return polars.Categorical(
        polars.Categories(described["categories"], described["namespace"], physical)
    )


def _fill_polars(column: Column, values: Array) -> Any:
    """Return a polars series of one column."""
    import polars

    dtype = _polars_dtype(column)
    if column.type == "category":
        codes = _codes(column, values)
        places = (
            polars.Series(codes, dtype=polars.Int64)
            .to_frame("k")
            .select(polars.when(polars.col("k") >= 0).then(polars.col("k")).cast(polars.UInt32))
        )
        kinds = polars.Series(column.name, list(column.categories), dtype=dtype)
        return kinds.gather(places["k"])
    gaps = np.isnan(values)
    numpy_type = bool if column.type == "bool" else column.dtype.lower()
    series = polars.Series(column.name, _rounded(values, gaps, numpy_type), dtype)
    return series.scatter(np.flatnonzero(gaps), None) if gaps.any() else series


def _codes(column: Column, values: Array) -> Array:
    """Return the numbers of categories as int, -1 where missing."""
    codes = np.where(np.isnan(values), -1, values)
    wrong = (codes != np.rint(codes)) | (codes >= len(column.categories)) | (codes < -1)
    wrong |= values == UNKNOWN
    if wrong.any():
        raise ValueError(
            f"values must hold numbers of categories, 0 to {len(column.categories) - 1}, in column "
            f"{column.name!r}. Got {values[np.argmax(wrong)]!s} instead."
        )
    return codes.astype(np.int64)


def _rounded(values: Array, gaps: Array, dtype: Any) -> Array:
    """Return values in NumPy's dtype, with any one of it in the gaps."""
    values = np.where(gaps, 0.0, values)
    if np.dtype(dtype) == bool:
        return values >= 0.5
    return np.ascontiguousarray(cast(values, dtype))
