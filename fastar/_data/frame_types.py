"""One column of a data frame: its type, in JSON and back, and series of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, time, timedelta
from decimal import Decimal
from importlib import import_module
from numbers import Real
from typing import Any, NoReturn

import numpy as np

from fastar._core.integers import add, check_range
from fastar._core.lazy import lazy
from fastar._core.parameters import Array
from fastar._data.clocks import TIMES, Clock, count_of, to_text
from fastar._data.frame_times import pandas_times, polars_times, time_dtype_in

NOT_NUMBERS = (*TIMES, "decimal")
"""Types of columns that become numbers by rules of their own."""
UNKNOWN = -1.0
"""The code of a category that fit did not see."""
OTHER = "other"
"""The category that rare ones become."""
SHOWN = 5
_OF_ARROW = {"double": "float64", "float": "float32", "halffloat": "float16"}
"""Types that Arrow calls otherwise than NumPy."""
COLUMN_RULE = (
    "bool, integer, float, category, date, time, duration or decimal columns (strings are "
    "categories)"
)


@dataclass(frozen=True)
class Column:
    """One column as `fit` saw it.

    Parameters
    ----------
    name : str or int
    dtype : str or dict
        The frame library's type, in JSON.
    type : {"bool", "integer", "float", "category", "moment", "time", "duration", "decimal"}
    categories : tuple of str, int, float or bool
        In order: the declared ones, or the sorted ones seen. Empty for the other types.
    missing : bool
        Whether any value was missing.
    offset : int
        Number that the coding subtracts from integers, where float64 does not hold them.
    has_other : bool
        Whether the last category is `OTHER`, which stands for every value that is none of them.
    clock : Clock or None
        How moments, times of day and durations become numbers.
    """

    name: Any
    dtype: Any
    type: str
    categories: tuple[Any, ...]
    missing: bool
    offset: int = 0
    has_other: bool = False
    clock: Clock | None = None

    @lazy
    def numbers(self) -> dict[Any, int]:
        """Number of each category."""
        return {category: number for number, category in enumerate(self.categories)}

    @property
    def rest(self) -> int | None:
        """The number of values that are no category; None where they have none."""
        return len(self.categories) - 1 if self.has_other else None

    def value(self, number: Any) -> Any:
        """Return what a number of the coding stands for, as text can show it."""
        if self.type == "category" and 0 <= number < len(self.categories):
            return repr(self.categories[int(number)])
        if self.clock is not None and not np.isnan(number):
            clock = self.clock
            count = clock.counts(np.array([number]), clock.unit, self.type)[0]
            return to_text(int(count), clock, self.type)
        whole = self.type in ("integer", "bool") and float(number).is_integer()
        return int(number) + self.offset if whole else number

    @property
    def is_declared(self) -> bool:
        """Whether the categories are all that there is, for the type lists them or one is the rest.

        No other value can be among them.
        """
        return (
            self.has_other
            or self.dtype == "Enum"
            or (isinstance(self.dtype, dict) and "ordered" in self.dtype)
        )

    @property
    def is_ordered(self) -> bool:
        """Whether the type declares an order of the categories."""
        described = self.dtype if isinstance(self.dtype, dict) else {}
        return self.dtype == "Enum" or bool(described.get("ordered"))

    @property
    def holds_integers(self) -> bool:
        """Whether the categories are those of a column of integers."""
        return self.type == "category" and self.type_name.startswith(("int", "uint"))

    @property
    def type_name(self) -> str:
        """What the column's type is called, in lower case."""
        described = self.dtype.get("arrow") if isinstance(self.dtype, dict) else self.dtype
        return str(described).lower()

    @property
    def number_dtype(self) -> np.dtype[Any]:
        """NumPy's type of the numbers that a column of integers or floats can hold."""
        return np.dtype(_OF_ARROW.get(self.type_name, self.type_name))

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

    def check_range(self, numbers: Array, name: str) -> None:
        """Raise ValueError if a number (n,) of the coding is none that the column's type holds."""
        if self.type in ("integer", "float"):
            check_range(numbers, self.number_dtype, self.offset, repr(self.name), name)

    def code(self, value: Any, name: str) -> float:
        """Return one value of Python in the coding, NaN where missing."""
        if is_missing(value):
            return np.nan
        if self.type == "category":
            return self._category_code(value, name)
        if self.clock is not None:
            return self._time_code(value, name)
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
        return float(int(value) - self.offset) if self.offset else number

    def _time_code(self, value: Any, name: str) -> float:
        clock = self.clock
        assert clock is not None
        try:
            count, unit = count_of(value, clock, self.type)
        except (TypeError, ValueError) as error:
            rule = self.type + (f" in {clock.zone}" if clock.zone else "")
            if self.type == "duration":
                rule += ", such as a timedelta or '90 min',"
            raise ValueError(
                f"{name} must hold a {rule} in column {self.name!r}. Got {value!r} instead."
            ) from error
        return float(clock.numbers(np.array([count]), unit)[0])

    def _category_code(self, value: Any, name: str) -> float:
        try:
            number = self.numbers.get(to_python_scalar(value), self.rest)
        except TypeError:  # a list or another value without a hash
            number = None
        if number is None:
            self.raise_unknown(value, name)
        return float(number)

    def raise_unknown(self, value: Any, name: str, where: str = "") -> NoReturn:
        """Raise the error about a value that is no category of the column."""
        known = ", ".join(repr(each) for each in self.categories[:SHOWN])
        more = ", ..." if len(self.categories) > SHOWN else ""
        raise ValueError(
            f"{name} must hold categories that were seen in fit in column {self.name!r}: "
            f"{known or 'none'}{more}. Got {value!r}{where} instead."
        )


def frame_kind(value: Any) -> str | None:
    """Return "pandas" or "polars" if value is a DataFrame of it, or of a class derived from it."""
    for base in type(value).__mro__:
        package = base.__module__.partition(".")[0]
        if base.__name__ == "DataFrame" and package in ("pandas", "polars"):
            return package
    return None


def names_of(table: Any) -> list[Any]:
    """Return the names of the columns of a DataFrame, or the places of those of an array."""
    return list(table.columns) if frame_kind(table) else list(range(table.shape[1]))


def as_frame(value: Any, name: str = "X") -> Any:
    """Return a table of Arrow or a frame of narwhals as a DataFrame, others as they are.

    An array of times becomes a DataFrame whose columns are called 0, 1, ..

    Raises
    ------
    TypeError
        It is a lazy frame, which has no rows yet.
    """
    package = type(value).__module__.partition(".")[0]
    kind = type(value).__name__
    if hasattr(value, "__next__"):
        raise TypeError(
            f"{name} must be readable more than once. Got {kind} instead: list({name}) is, and a "
            "callable that returns a new one is read batch by batch."
        )
    if kind == "LazyFrame" and package in ("polars", "narwhals"):
        raise TypeError(f"{name} must have rows. Got a LazyFrame instead: call its collect().")
    if isinstance(value, np.ndarray) and value.ndim == 2 and _holds_times(value):
        try:
            return import_module("pandas").DataFrame(value).infer_objects()
        except ImportError:
            columns = {str(d): column.tolist() for d, column in enumerate(value.T)}
            return import_module("polars").DataFrame(columns)
    if package == "narwhals" and kind == "DataFrame":
        return as_frame(value.to_native(), name)
    if package.startswith("dask"):
        raise TypeError(
            f"{name} must be in memory. Got {kind} of Dask instead: fastar.dask.fit(client, model, "
            "X) fits a model to its partitions, fastar.dask.score_samples, sample and impute "
            f"answer about them, and {name}.compute() brings them into memory."
        )
    if package != "pyarrow" or kind not in ("Table", "RecordBatch"):
        return value
    try:
        polars = import_module("polars")
    except ImportError:
        return value.to_pandas()
    try:
        frame = polars.from_arrow(value)
        if len(set(value.schema.names)) == len(frame.columns):
            frame.columns = value.schema.names  # polars gives a column without a name one
    except BaseException as error:
        d = next((d for d in range(value.num_columns) if not _polars_has(value, d)), None)
        if d is None:
            raise
        column = value.schema.field(d)
        raise TypeError(
            f"{name} must hold columns of types that polars has. Got column {column.name!r} of "
            f"{column.type} instead ({str(error).splitlines()[0]}): leave it out, or cast it."
        ) from error
    frame.columns = value.schema.names  # polars gives one without a name another one
    # polars makes one kind of categories of all dictionaries, and forgets the order of these
    ordered = [_ordered_series(frame, name, value) for name in value.schema.names]
    return frame.with_columns(each for each in ordered if each is not None)


def _polars_has(table: Any, d: int) -> bool:
    """Return whether polars has the type of column d of a table of Arrow."""
    polars = import_module("polars")
    try:
        polars.from_arrow(table.select([d]).slice(0, 1))
    except BaseException as error:  # a panic of polars is no Exception
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            return False
        raise
    return True


def _ordered_series(frame: Any, name: str, table: Any) -> Any:
    """Return a column as an Enum if Arrow declares an order of its text, else None."""
    polars, type_ = import_module("polars"), table.schema.field(name).type
    if frame.schema[name] != polars.Categorical or not getattr(type_, "ordered", False):
        return None
    column = table.column(name)
    whole = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    categories = whole.dictionary.to_pylist()
    if None in categories or len(set(categories)) < len(categories):
        return None
    return frame[name].cast(polars.Enum(categories))


def _holds_times(array: Array) -> bool:
    """Return whether an array, or the first row of one of objects, has dates or times."""
    if array.dtype.kind != "O" or not len(array):
        return array.dtype.kind in "mM"
    known = (date, time, timedelta, np.datetime64, np.timedelta64)
    return any(isinstance(each, known) for each in array[0])


def narwhals_module() -> Any:
    try:
        import narwhals
    except ImportError as error:
        raise ImportError(
            "Data frames with columns of different kinds need the package narwhals, which "
            "scikit-learn brings along from 1.9 on: pip install 'narwhals>=2'."
        ) from error
    return narwhals


def is_pandas(series: Any) -> bool:
    return bool(narwhals_module().dependencies.is_pandas_series(series.to_native()))


def is_declared(series: Any) -> bool:
    """Return whether the column's type has a list of categories."""
    if is_pandas(series):
        import pandas

        return isinstance(series.to_native().dtype, pandas.CategoricalDtype)
    return bool(series.dtype == narwhals_module().Enum)


def dtype_name(series: Any) -> str:
    """Return what errors call the type of a column."""
    dtype = series.to_native().dtype
    return told_objects(series.to_list()) if str(dtype) == "object" else f"dtype {dtype}"


def told_objects(values: list[Any]) -> str:
    """Return what errors call objects: the first of each type."""
    kinds = {type(each): each for each in reversed(values) if not is_missing(each)}
    shown = [f"{each!r:.60}" for each in kinds.values()]
    return "objects such as " + ", ".join(reversed(shown[-SHOWN:]))


# ---- single values


def to_python_scalar(value: Any) -> Any:
    """Return Python's own twin of a number of NumPy's or of a subclass of str."""
    if isinstance(value, np.generic):
        return value.item()
    return str.__str__(value) if isinstance(value, str) else value


def is_missing(value: Any) -> bool:
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _number(value: Any) -> float:
    """Return a value as a float, NaN if it is none."""
    try:
        return float(value) if isinstance(value, Real | Decimal | np.bool_) else np.nan
    except OverflowError:
        return np.inf


# ---- the types of the frame libraries in JSON, and series of them


def dtype_to_json(series: Any) -> Any:
    dtype = series.to_native().dtype
    return _pandas_to_json(dtype) if is_pandas(series) else _polars_to_json(dtype)


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
    try:
        return pandas.StringDtype(described["string"], na_value=np.nan)
    except TypeError:  # before pandas 2.3, whose strings are objects
        return np.dtype(object)


def pandas_series(column: Column, values: Array) -> Any:
    """Return a pandas series of one column."""
    import pandas

    if column.type in NOT_NUMBERS:
        return pandas_times(column, values)
    dtype = _pandas_dtype(column)
    if column.type == "category":
        # the label -1 is none of the index, so that reindexing leaves a gap
        codes = _codes(column, values)
        known = pandas.Series(list(column.categories), dtype=dtype)
        return known.reindex(codes).reset_index(drop=True)
    gaps = np.isnan(values)
    series = pandas.Series(_rounded(column, values, gaps, getattr(dtype, "numpy_dtype", dtype)))
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
    if not hasattr(polars, "Categories"):  # before 1.32: all categories of a process are one list
        return polars.Categorical("lexical")
    physical = getattr(polars, described["physical"])
    return polars.Categorical(
        polars.Categories(described["categories"], described["namespace"], physical)
    )


def polars_series(column: Column, values: Array) -> Any:
    """Return a polars series of one column."""
    import polars

    if column.type in NOT_NUMBERS:
        return polars_times(column, values)
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
    series = polars.Series(column.name, _rounded(column, values, gaps, numpy_type), dtype)
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


def _rounded(column: Column, values: Array, gaps: Array, dtype: Any) -> Array:
    """Return values in NumPy's dtype, with any one of it in the gaps."""
    values = np.where(gaps, 0.0, values)
    if np.dtype(dtype) == bool:
        return values >= 0.5
    return add(values[:, None], (column.offset,) if column.offset else None, dtype)[:, 0].copy()


# ---- types of one library in the other


def in_library(column: Column, source: str, kind: str) -> Column:
    """Return a column of a frame of one library as one of another."""
    if source == kind:
        return column
    if kind == "polars":  # whose columns have names alone
        column = replace(column, name=str(column.name))
    if column.type in NOT_NUMBERS:
        return replace(column, dtype=time_dtype_in(column, kind))
    return replace(column, dtype=_to_pandas(column) if kind == "pandas" else _to_polars(column))


def _to_pandas(column: Column) -> Any:
    if column.type == "bool":
        return "bool"
    if column.type != "category" or column.holds_integers:
        return column.dtype.lower()
    if column.dtype == "String":
        return {"string": "python", "na": "nan"}
    return {"ordered": column.dtype == "Enum", "categories": "object"}


def _to_polars(column: Column) -> Any:
    if column.type == "bool":
        return "Boolean"
    if column.type != "category" or column.holds_integers:
        described = _POLARS_OF_ARROW.get(column.type_name, column.type_name)
        for low, high in (("u", "U"), ("int", "Int"), ("float", "Float")):
            described = described.replace(low, high)
        return described
    if not all(isinstance(each, str) for each in column.categories):
        return {bool: "Boolean", int: "Int64", float: "Float64"}[type(column.categories[0])]
    return "Enum" if isinstance(column.dtype, dict) and "ordered" in column.dtype else "String"


_POLARS_OF_ARROW = _OF_ARROW | {"halffloat": "float32"}
