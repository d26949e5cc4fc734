"""Data frames with columns of any kind: what fit saw, numbers for it, and frames from numbers.

In the coding of this module a value is a float64: of a bool 0 or 1, of a category its number in
the list of categories, NaN where it is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fastar._core.integers import LARGEST_EXACT
from fastar._core.parameters import Array
from fastar._core.schema import (
    FLAG,
    OBJECT,
    SCALAR_TYPES,
    Anything,
    EntryError,
    Listed,
    Maybe,
    OneOf,
    Record,
    inside,
    require,
)
from fastar._data.clocks import TIMES, Clock
from fastar._data.columns import (
    MANY_LEVELS,
    Columns,
    category_codes,
    column_type,
    has_missing,
    n_missing,
    told_by_name,
)
from fastar._data.containers import OFFSET
from fastar._data.frame_times import decimals, time_dtype_to_json, time_type, times
from fastar._data.frame_types import (
    COLUMN_RULE,
    NOT_NUMBERS,
    OTHER,
    SHOWN,
    Column,
    dtype_name,
    dtype_to_json,
    frame_kind,
    in_library,
    is_declared,
    is_pandas,
    narwhals_module,
    pandas_series,
    polars_series,
    to_python_scalar,
)

_COLUMN = Record(
    {
        "name": Anything((str, int)),
        "dtype": Anything((str, dict)),
        "type": OneOf(("bool", "integer", "float", "category", *NOT_NUMBERS)),
        "categories": Listed(Anything(SCALAR_TYPES)),
        "missing": FLAG,
    },
    {"offset": OFFSET, "has_other": FLAG, "clock": Maybe(OBJECT)},
)
_DESCRIBED = Record(
    {"kind": OneOf(("pandas", "polars")), "columns": Listed(_COLUMN)},
    {"weight": Maybe(Anything((str,)))},
)


@dataclass(frozen=True)
class Schema:
    """The columns of the data frame that `fit` was given.

    Parameters
    ----------
    kind : {"pandas", "polars"}
    columns : tuple of Column
    weight : str or None
        The column of weights that a table read batch by batch had beside these.
    """

    kind: str
    columns: tuple[Column, ...]
    weight: Any = field(default=None, compare=False)

    @classmethod
    def of(
        cls, frame: Any, name: str = "X", least_counts: Mapping[Any, int] | None = None
    ) -> Schema:
        """Return the schema of a pandas or polars DataFrame.

        Parameters
        ----------
        frame : DataFrame
        name : str
            Its name in errors.
        least_counts : mapping from names of columns to int, optional
            How often a category of strings must occur; rarer ones become one category, "other".

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
        names = check_names(frame, name)
        opened = _open(frame, name)
        pairs = zip(opened, names, strict=True)
        least = least_counts or {}
        columns = [_column(series, each, name, least.get(each, 1)) for series, each in pairs]
        return cls(kind, tuple(columns))

    @property
    def names(self) -> list[Any]:
        """Names of the columns."""
        return [column.name for column in self.columns]

    def to_json(self) -> dict[str, Any]:
        """Return the schema as objects that JSON can hold."""
        described = asdict(self)
        if self.weight is None:
            del described["weight"]
        return described

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> Schema:
        """Return the schema that `to_json` described; EntryError if it is none."""
        _DESCRIBED.check(described, "")
        columns = []
        for place, column in enumerate(described["columns"]):
            clock = column.get("clock")
            if clock is not None:
                with inside(f"columns.{place}.clock"):
                    clock = Clock.from_json(clock)
            categories = tuple(column["categories"])
            columns.append(Column(**{**column, "categories": categories, "clock": clock}))
        names = [column.name for column in columns]
        require("columns", len(set(names)) == len(names) > 0, "must have names that differ.")
        schema = cls(described["kind"], tuple(columns), described.get("weight"))
        require("weight", schema.weight not in names, "must be none of the columns.")
        for place, column in enumerate(columns):
            with inside(f"columns.{place}"):
                schema._check_column(column)
        return schema

    def _check_column(self, column: Column) -> None:
        """Raise EntryError where no frame can have such a column."""
        kinds = {type(each) for each in column.categories}
        alike = len(kinds) <= 1 and len(set(column.categories)) == len(column.categories)
        require("categories", alike, "must be different ones of one type.")
        named = not column.has_other or column.categories[-1:] == (OTHER,)
        require("categories", named, f"must end with {OTHER!r}, which is the rest.")
        has_clock = (column.clock is not None) == (column.type in TIMES)
        require("clock", has_clock, "must be there for times alone.")
        value = 0.0 if column.type != "category" or column.categories else np.nan
        try:
            frame = Schema(self.kind, (column,)).wrap(np.array([[value]]))
            again = _open(frame, "X")[0]
        except ImportError:  # who has not the library has no such frames
            return
        except Exception as error:  # whatever it says of a type that it does not know
            raise EntryError("dtype", f"must be a type of {self.kind}: {error}") from error
        fits = column.type == "category" or column_type(again) == column.type
        require("dtype", fits, f"must be a type for values of type {column.type}.")

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
            Its name in errors.

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
        return self._load(frame, Columns(self.columns, len(frame), name))

    def _load(self, frame: Any, columns: Columns) -> Columns:
        for d, series in enumerate(_open(frame, columns.name)):
            columns.load_column(d, _inferred_dtype(series))
        return columns

    def odd_rows(self, frame: Any, name: str) -> Array:
        """Return which rows (n,) of a frame have a number that `read` refuses.

        It is infinite, or a fraction among whole numbers, or another one than 0 and 1 among bools.
        """
        self._check_same_names(list(frame.columns), name)
        columns = Columns(self.columns, len(frame), name)
        columns.odd = np.zeros(len(frame), bool)
        self._load(frame, columns)
        return columns.odd

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
            Its name in errors.

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

    def with_all_columns(self, frame: Any, name: str) -> Any:
        """Return a frame with the columns of `fit`: those that it is without have no value."""
        given = check_names(frame, name)
        if given == self.names:
            return frame
        self._check_known_names(given, name)
        if frame_kind(frame) == "pandas":
            return frame.reindex(columns=self.names)
        import polars

        absent = [polars.lit(None).alias(each) for each in self.names if each not in given]
        return frame.with_columns(absent).select(self.names)

    def _check_known_names(self, evidence: Iterable[Any], name: str) -> None:
        unseen = [each for each in evidence if each not in self.names]
        if unseen:
            raise ValueError(
                f"{name} must name columns that were passed during fit.\n"
                f"Feature names unseen at fit time:\n{_listed(unseen)}"
            )

    # ---- from numbers to frames

    def wrap(self, values: Array, kind: str | None = None) -> Any:
        """Return values as a frame like the one that fit was given.

        Parameters
        ----------
        values : ndarray of shape (n, D), float64
            In the coding, NaN where missing. What goes into integers and bools is rounded and kept
            to their range.
        kind : {"pandas", "polars"} or None
            The library of the frame, by default that of `fit`.

        Returns
        -------
        DataFrame
            With the same library, names, types and categories; where values are missing in a type
            of pandas that has no missing values, with the type that pandas converts it to.

        Raises
        ------
        ValueError
            The values do not have D columns, or one is the number of no category.
        """
        if values.ndim != 2 or values.shape[1] != len(self.columns):
            raise ValueError(
                f"values must have shape (n, {len(self.columns)}). Got {values.shape} instead."
            )
        kind = self.kind if kind is None else kind
        columns = [in_library(column, self.kind, kind) for column in self.columns]
        filled = [
            polars_series(column, value) if kind == "polars" else pandas_series(column, value)
            for column, value in zip(columns, values.T, strict=True)
        ]
        named = dict(zip([column.name for column in columns], filled, strict=True))
        if kind == "polars":
            import polars

            return polars.DataFrame(named)  # of series alone one without a name would get one
        import pandas

        return pandas.DataFrame(named, index=pandas.RangeIndex(len(values)))


def to_library(frame: Any, kind: str) -> Any:
    """Return a frame of one library as one of another, its columns of the same types."""
    schema = Schema.of(frame)
    return frame if schema.kind == kind else schema.wrap(schema.read(frame)[:], kind)


def _open(frame: Any, name: str) -> list[Any]:
    """Return the columns as series of narwhals; like scikit-learn, reject frames without any."""
    for count, what in zip(frame.shape, ("sample", "feature"), strict=True):
        if count == 0:
            raise ValueError(
                f"{name} must not be empty: found 0 {what}(s) (shape={frame.shape}) while a "
                "minimum of 1 is required."
            )
    return list(narwhals_module().from_native(frame, eager_only=True).iter_columns())


def check_names(frame: Any, name: str) -> list[Any]:
    """Return the names of a frame's columns, if they are different and of one kind."""
    names = [to_python_scalar(each) for each in frame.columns]
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


def _column(series: Any, name: Any, frame_name: str, least_count: int = 1) -> Column:
    """Return the description of a narwhals series; rarer categories of strings become one."""
    series = _inferred_dtype(series)
    type_ = column_type(series)
    if type_ is None:
        raise TypeError(
            f"{frame_name} must hold {COLUMN_RULE}. "
            f"Got column {name!r} of {dtype_name(series)} instead."
        )
    if type_ in TIMES:
        counts, gaps, unit, zone = told_by_name(times, series, name, frame_name)
        clock = Clock.of(counts[~gaps], unit, zone, type_)
        dtype = time_dtype_to_json(series, 0)
        return Column(name, dtype, type_, (), bool(gaps.any()), clock=clock)
    if type_ == "decimal":
        values, places = told_by_name(decimals, series, name, frame_name)
        missing = bool(np.isnan(values).any())
        return Column(name, time_dtype_to_json(series, places), type_, (), missing)
    if type_ == "category":
        codes, values = category_codes(series, name, frame_name)
        _check_categories(values, name, frame_name)
        declared = is_declared(series)
        categories = tuple(values) if declared else tuple(sorted(set(values)))
        missing = bool((codes < 0).any())
        if least_count > 1 and _kinds_of(values) <= {str}:
            counts = np.bincount(codes[codes >= 0], minlength=len(values)).tolist()
            common = {value for value, n in zip(values, counts, strict=True) if n >= least_count}
            kept = tuple(each for each in categories if each in common and each != OTHER)
            if len(common) < len(categories):
                dtype, categories = dtype_to_json(series), (*kept, OTHER)
                return Column(name, dtype, type_, categories, missing, has_other=True)
    else:
        categories, missing = (), has_missing(series)
    if type_ == "integer":
        type_, categories, offset = _exact_integers(series)
        return Column(name, dtype_to_json(series), type_, categories, missing, offset)
    return Column(name, dtype_to_json(series), type_, categories, missing)


def _exact_integers(series: Any) -> tuple[str, tuple[int, ...], int]:
    """Return type, categories and offset of a column of integers.

    Those that float64 does not hold have an offset, or, where they lie too far apart for one,
    become categories if they are few.
    """
    if n_missing(series) == len(series):
        return "integer", (), 0

    def levels() -> Iterable[Any]:
        found: Iterable[Any] = series.drop_nulls().unique().to_list()
        return found

    return exact_integers(int(series.min()), int(series.max()), levels)


def exact_integers(
    low: int, high: int, values: Callable[[], Iterable[Any]]
) -> tuple[str, tuple[int, ...], int]:
    """Return type, categories and offset of a column of integers from low to high.

    values: returns those that there are, once or more often.
    """
    if max(abs(low), abs(high)) <= LARGEST_EXACT:
        return "integer", (), 0
    if high - low <= LARGEST_EXACT:
        return "integer", (), low
    levels = sorted({int(value) for value in values()})
    return ("category", tuple(levels), 0) if len(levels) <= MANY_LEVELS else ("integer", (), 0)


def _inferred_dtype(series: Any) -> Any:
    """Return a series of Python objects, or of another byte order, as one of its values' type."""
    nw, native = narwhals_module(), series.to_native()
    if time_type(series) is not None or not is_pandas(series):
        return series
    dtype = native.dtype
    if isinstance(dtype, np.dtype) and not dtype.isnative:
        native = native.astype(dtype.newbyteorder("="))
    elif str(dtype) == "object" and series.dtype == nw.Object:
        native = _of_kind(native)
    else:
        return series
    return nw.from_native(native, series_only=True)


def _of_kind(objects: Any) -> Any:
    """Return a pandas series of objects as one of the type that its values have, if any."""
    import pandas

    if pandas.api.types.infer_dtype(objects) != "integer":
        return objects.convert_dtypes()
    present = objects.dropna()  # convert_dtypes takes integers beside gaps through float64
    for dtype, low, high in (("Int64", -(2**63), 2**63), ("UInt64", 0, 2**64)):
        if present.between(low, high - 1).all():
            return objects.astype(dtype)
    return objects


def _kinds_of(values: list[Any]) -> set[type]:
    return {type(each) for each in values}


def _check_categories(values: list[Any], name: Any, frame_name: str) -> None:
    kinds = _kinds_of(values)
    if len(kinds) > 1 or not kinds <= {str, int, float, bool}:
        raise TypeError(
            f"{frame_name} must hold categories that are all str, all int, all float or all bool. "
            f"Got {', '.join(sorted(each.__name__ for each in kinds))} in column {name!r} instead: "
            "astype(str) makes text of them."
        )


def _objects(evidence: Any, name: str) -> Array:
    try:
        return np.array(evidence, dtype=object)
    except ValueError as error:
        raise ValueError(f"{name} must hold rows of one length. Got others.") from error


def _listed(names: Iterable[Any]) -> str:
    names = sorted(names, key=str)
    shown = [f"- {name}\n" for name in names[:SHOWN]]
    return "".join(shown) + ("- ...\n" if len(names) > SHOWN else "")
