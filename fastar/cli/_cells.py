"""Cells of CSV as values: what the cells of a column are, and a column as that."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

import narwhals as nw
import numpy as np

from fastar._data.columns import column_type
from fastar._data.durations import duration_count
from fastar._data.frame_types import is_missing
from fastar.cli._sources import Source, TableError

TYPES = ("category", "integer", "float", "bool", "moment", "time", "duration")
"""Types of columns that users may name."""

NULLS = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")
"""Cells of a CSV file that are missing values."""

_WHOLE = "[+-]?(?:0|[1-9][0-9]*)"  # with a zero before it, it is a code such as a postal one
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?"
_ZONE = " ?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
_LOOKS = {
    "bool": "true|false|True|False|TRUE|FALSE",
    "integer": _WHOLE,
    "float": rf"(?:{_WHOLE}(?:\.[0-9]*)?|[+-]?\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:inf|Inf|INF)",
    "date": _DAY,
    "moment": f"{_DAY}(?:[T ]{_CLOCK})?",
    "moment with a zone": f"{_DAY}[T ]{_CLOCK}{_ZONE}",
    "time": _CLOCK,
}
"""How the cells of a column look that is taken as a type; the first one that all of them have."""


def inferred(source: Source, series: nw.Series[Any]) -> nw.Series[Any]:
    """Return a column of text as what all of its cells look like; as it is where they differ."""
    there = series.drop_nulls().str.strip_chars()
    there = there.filter(~there.is_in(NULLS))
    if source.decimal != ".":
        there = there.str.replace_all(source.decimal, ".", literal=True)
    if not len(there):
        return series
    first, last = there[0], there[-1]
    for wanted, pattern in _LOOKS.items():
        ends_do = re.fullmatch(pattern, first) and re.fullmatch(pattern, last)
        if ends_do and there.str.contains(f"^(?:{pattern})$").all():
            try:
                return _parsed(source, series, wanted.partition(" ")[0])
            except TableError:  # a day that no month has; more digits than integers have
                return series
    return series


def typed(source: Source, series: nw.Series[Any], wanted: str) -> nw.Series[Any]:
    """Return a column as what it is wanted to be."""
    found = column_type(series)
    if found == wanted or (found, wanted) in _TAKEN:
        return series
    if wanted == "category":
        return series.cast(nw.String)
    return _parsed(source, series, wanted)


def _parsed(source: Source, series: nw.Series[Any], wanted: str) -> nw.Series[Any]:
    """Return a column cell by cell; TableError at the first that is not of the type."""
    parse, rule = _CELLS[wanted]
    is_number = wanted in ("integer", "float", "decimal")
    values: list[Any] = []
    for row, cell in enumerate(series.to_list()):
        text = cell.strip() if isinstance(cell, str) else cell
        if is_number and isinstance(cell, str) and source.decimal != ".":
            text = text.replace(source.decimal, ".")
        try:
            values.append(None if is_missing(text) or text in NULLS else parse(text))
        except (LookupError, OverflowError, TypeError, ValueError):
            raise TableError(
                f"{source.name}: column {series.name!r} must hold {rule}. "
                f"Got {cell!r} in {source.place(row)} instead."
            ) from None
    return _series(series, values, wanted)


def _series(like: nw.Series[Any], values: list[Any], wanted: str) -> nw.Series[Any]:
    """Return values, None where missing, as a column of the library of another one."""
    namespace = nw.get_native_namespace(like)
    if wanted == "duration":
        gap = np.iinfo(np.int64).min  # NaT
        counts = np.array([gap if each is None else each for each in values], np.int64)
        return nw.new_series(like.name, counts.view("m8[ns]"), backend=namespace)
    of_pandas, of_others = _DTYPES[wanted]
    if wanted == "integer" and max(_present(values), default=0) > _LARGEST:
        of_pandas, of_others = "UInt64", nw.UInt64()
    if any(getattr(each, "tzinfo", None) for each in values):
        of_pandas, of_others = "datetime64[us, UTC]", nw.Datetime("us", "UTC")
    if nw.dependencies.is_pandas_series(like.to_native()):
        # by NumPy, for pandas before 2.2 counts dates of Python in nanoseconds, which end in 2262
        given = np.array(values, of_pandas) if of_pandas == "datetime64[us]" else values
        array = namespace.array(given, dtype=of_pandas)
        return nw.from_native(namespace.Series(array, name=like.name), series_only=True)
    return nw.new_series(like.name, values, of_others, backend=namespace)


def _present(values: list[Any]) -> list[Any]:
    return [value for value in values if value is not None]


_DTYPES: dict[str, tuple[str, Any]] = {
    "integer": ("Int64", nw.Int64()),
    "float": ("Float64", nw.Float64()),
    "decimal": ("Float64", nw.Float64()),
    "bool": ("boolean", nw.Boolean()),
    "date": ("datetime64[us]", nw.Date()),
    "moment": ("datetime64[us]", nw.Datetime("us")),
    "time": ("object", nw.Time()),
}
"""Types in pandas and in other libraries, by the type of a column."""

_TAKEN = {
    ("integer", "bool"),  # models take 0 and 1 for bools, and tell what else is there
    ("integer", "decimal"),
    ("float", "decimal"),
}
"""Pairs (found, wanted) of types that models take for each other."""

_LARGEST = 2**63 - 1


def _whole(cell: Any) -> int:
    """Return a whole number, as of "7", "7.0" and 7.0."""
    try:
        value = int(cell) if isinstance(cell, str) else cell
    except ValueError:
        value = float(cell)
    if value != int(value) or not -_LARGEST <= value <= 2 * _LARGEST + 1:
        raise ValueError
    return int(value)


def _flag(cell: Any) -> bool:
    return {"true": True, "false": False, "1": True, "0": False}[str(cell).lower()]


def _duration(cell: Any) -> int:
    """Return the nanoseconds of a duration."""
    count, unit = duration_count(cell)
    if unit != "ns":  # more than 292 years
        raise ValueError
    return count


_CELLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "integer": (_whole, "whole numbers"),
    "float": (float, "numbers"),
    "decimal": (float, "numbers"),
    "date": (date.fromisoformat, "dates as 2024-05-31"),
    "moment": (datetime.fromisoformat, "dates or moments as 2024-05-31T09:30"),
    "time": (time.fromisoformat, "times of day as 09:30"),
    "duration": (_duration, "durations as PT1H30M, 1 days 02:30:00 or 90 min"),
    "bool": (_flag, "true and false, or 1 and 0"),
}
