"""Columns of dates, moments, times of day, durations and decimals, of pandas and polars."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib import import_module
from typing import Any

import numpy as np

from fastar._core.integers import LARGEST_EXACT
from fastar._core.parameters import Array
from fastar._data.clocks import CALENDAR_UNITS, Clock, zone_name, zone_of
from fastar._data.durations import NANOSECONDS

_MISSING = -(2**63)
"""NaT of NumPy and pandas."""

_OF_OBJECTS = {
    "datetime": "moment",
    "datetime64": "moment",
    "date": "moment",
    "time": "time",
    "timedelta": "duration",
    "timedelta64": "duration",
    "decimal": "decimal",
}
"""Types of columns of objects, by what pandas infers of them."""
_OF_POLARS = {
    "Datetime": "moment",
    "Date": "moment",
    "Time": "time",
    "Duration": "duration",
    "Decimal": "decimal",
}
_OF_ARROW = {
    "date": "moment",
    "timestamp": "moment",
    "time": "time",
    "duration": "duration",
    "decimal": "decimal",
}
"""Types by the first words of Arrow's names of types; the first that fits."""


def is_of_pandas(series: Any) -> bool:
    """Return whether a series of narwhals is one of pandas."""
    return type(series.to_native()).__module__.startswith("pandas")


def time_type(series: Any) -> str | None:
    """Return "moment", "time", "duration" or "decimal" of such a series of narwhals, else None."""
    native = series.to_native()
    if not is_of_pandas(series):
        return _OF_POLARS.get(_polars_name(native.dtype))
    name = type(native.dtype).__name__
    if name in ("DatetimeTZDtype", "PeriodDtype"):
        return "moment"
    if name == "ArrowDtype":
        described = str(native.dtype.pyarrow_dtype)
        return next((_OF_ARROW[each] for each in _OF_ARROW if described.startswith(each)), None)
    if not isinstance(native.dtype, np.dtype) or native.dtype.kind not in "mMO":
        return None
    if native.dtype.kind != "O":
        return "duration" if native.dtype.kind == "m" else "moment"
    if type(series.dtype).__name__ != "Object":  # strings
        return None
    pandas = import_module("pandas")
    return _OF_OBJECTS.get(pandas.api.types.infer_dtype(native, skipna=True))


class UnsupportedError(ValueError):
    """A column holds values that no model takes; its message says "must be ..."."""


def times(series: Any) -> tuple[Array, Array, str, str | None]:
    """Return (counts as int64, missing (n,), unit, zone) of a series of times.

    Counts of moments with a zone are in UTC; counts of missing values are 0.

    Raises
    ------
    UnsupportedError
        The zone or the unit is none that is known.
    """
    native = series.to_native()
    if not is_of_pandas(series):
        missing = native.is_null().to_numpy()
        counts = native.to_physical().cast(import_module("polars").Int64).fill_null(0).to_numpy()
        unit, zone = _polars_unit(native.dtype)
        return counts, missing, unit, _checked_zone(zone)
    dtype = native.dtype
    if type(dtype).__name__ == "ArrowDtype":
        counts, missing, unit, zone = _of_arrow(native)
    elif type(dtype).__name__ == "PeriodDtype":
        unit, zone = _period_unit(dtype), None
        counts = native.array.asi8
        missing = counts == _MISSING
    elif isinstance(dtype, np.dtype) and dtype.kind == "O":
        counts, missing, unit, zone = _of_objects(native)
    else:
        zone = zone_name(dtype.tz) if hasattr(dtype, "tz") else None
        moments = native.dt.tz_convert("UTC").dt.tz_localize(None) if zone else native
        counts = moments.to_numpy()
        unit = np.datetime_data(counts.dtype)[0]
        counts = counts.astype(np.int64)
        missing = counts == _MISSING
    return np.where(missing, 0, counts), missing, unit, _checked_zone(zone)


def _checked_zone(zone: str | None) -> str | None:
    if zone is not None:
        try:
            zone_of(zone)
        except ValueError as error:
            raise UnsupportedError(
                "have a zone with a name, or whole minutes from UTC, such as by tz_convert('UTC')"
            ) from error
    return zone


def _polars_name(dtype: Any) -> str:
    """Return the name of a type of polars, which may be a class or an object of one."""
    return (dtype if isinstance(dtype, type) else type(dtype)).__name__


def _polars_unit(dtype: Any) -> tuple[str, str | None]:
    name = _polars_name(dtype)
    if name == "Date":
        return "D", None
    return ("ns", None) if name == "Time" else (dtype.time_unit, getattr(dtype, "time_zone", None))


# names of units that pandas, or pandas before 2.2, has of its own
_PANDAS_UNITS = {
    "min": "m",
    "T": "m",
    "A": "Y",
    "H": "h",
    "S": "s",
    "L": "ms",
    "U": "us",
    "N": "ns",
}


def _period_unit(dtype: Any) -> str:
    """Return the unit that a type of periods counts."""
    name = str(dtype).removeprefix("period[").rstrip("]").partition("-")[0]
    unit = _PANDAS_UNITS.get(name, name)
    if unit not in (*NANOSECONDS, *CALENDAR_UNITS):
        raise UnsupportedError("have periods of one year, quarter, month, week, day or less")
    return unit


def _of_arrow(native: Any) -> tuple[Array, Array, str, str | None]:
    pyarrow = import_module("pyarrow")
    array = native.array._pa_array.combine_chunks()
    type_ = array.type
    missing = np.asarray(array.is_null())
    unit, zone = getattr(type_, "unit", "D"), getattr(type_, "tz", None)
    if pyarrow.types.is_date64(type_):
        unit = "ms"
    narrow = pyarrow.int32() if type_.bit_width == 32 else pyarrow.int64()
    counts = array.cast(narrow).fill_null(0)
    return np.asarray(counts).astype(np.int64), missing, unit, zone


def _of_objects(native: Any) -> tuple[Array, Array, str, str | None]:
    """Return the same of a series of Python's own dates, times and durations."""
    missing = native.isna().to_numpy()
    present = [each for each in native if not _is_gap(each)]
    zone, unit = None, "us"
    count: Callable[[Any], int] = _microseconds
    first = present[0]
    if isinstance(first, datetime):
        zones = {None if each.tzinfo is None else zone_name(each.tzinfo) for each in present}
        if len(zones) > 1:
            raise UnsupportedError("have one zone, or none")
        zone = zones.pop()
        if any(getattr(each, "nanosecond", 0) for each in present):
            unit, count = "ns", _nanoseconds
    elif isinstance(first, date):
        unit, count = "D", _days
    elif isinstance(first, np.datetime64 | np.timedelta64):
        unit = np.datetime_data(first.dtype)[0]
        if any(np.datetime_data(each.dtype)[0] != unit for each in present):
            raise UnsupportedError("have moments or durations of one unit")
        count = _numpy_count
    counts = np.zeros(len(native), np.int64)
    counts[~missing] = [count(each) for each in present]
    return counts, missing, unit, zone


def _nanoseconds(value: Any) -> int:
    return int(value.as_unit("ns").asm8.astype(np.int64))


def _days(value: date) -> int:
    return value.toordinal() - date(1970, 1, 1).toordinal()


def _numpy_count(value: Any) -> int:
    return int(value.astype(np.int64))


def _is_gap(value: Any) -> bool:
    kind = type(value).__name__
    return value is None or kind in ("NAType", "NaTType") or bool(value != value)


_EPOCH, _MICROSECOND = datetime(1970, 1, 1), timedelta(microseconds=1)


def _microseconds(value: Any) -> int:
    """Return the microseconds of a moment since 1970, of a time of day, or of a duration."""
    if isinstance(value, time):
        if value.tzinfo is not None:
            raise UnsupportedError("have times of day without a zone")
        value = timedelta(
            hours=value.hour,
            minutes=value.minute,
            seconds=value.second,
            microseconds=value.microsecond,
        )
    elif isinstance(value, datetime):
        value = value - (_EPOCH if value.tzinfo is None else _EPOCH.replace(tzinfo=UTC))
    return int(value // _MICROSECOND)


# ---- types in JSON


def time_dtype_to_json(series: Any, places: int) -> Any:
    """Return the type of a series of times or decimals in JSON; places: of decimals."""
    dtype = series.to_native().dtype
    if is_of_pandas(series):
        if type(dtype).__name__ == "ArrowDtype":
            return {"arrow": str(dtype.pyarrow_dtype)}
        if type(dtype).__name__ == "DatetimeTZDtype":
            return f"datetime64[{dtype.unit}, {zone_name(dtype.tz)}]"
        if str(dtype) != "object":
            return str(dtype)
        first = next(each for each in series.to_native() if not _is_gap(each))
        known = (Decimal, datetime, date, time, timedelta)
        kind = next((each.__name__ for each in known if isinstance(first, each)), "datetime64")
        kind = "timedelta64" if isinstance(first, np.timedelta64) else kind
        return {"objects": kind, **({"places": places} if kind == "Decimal" else {})}
    name = _polars_name(dtype)
    if name in ("Date", "Time"):
        return name
    if name == "Decimal":
        return {"precision": dtype.precision, "scale": dtype.scale}
    zone = {"zone": dtype.time_zone} if name == "Datetime" else {}
    return {"unit": dtype.time_unit, **zone}


def time_dtype_in(column: Any, kind: str) -> Any:
    """Return the type, in JSON, of a column of times or decimals in a frame of another library."""
    if column.type == "decimal":
        places = decimal_places(column)
        if kind == "pandas":
            return {"objects": "Decimal", "places": places}
        return {"precision": 38, "scale": places}
    clock = column.clock
    if kind == "pandas":
        unit = clock.unit if clock.unit in ("s", "ms", "us", "ns") else "s"
        if column.type == "time":
            return {"objects": "time"}
        if column.type == "duration":
            return f"timedelta64[{unit}]"
        return f"datetime64[{unit}{f', {clock.zone}' if clock.zone else ''}]"
    if clock.unit in CALENDAR_UNITS:
        raise TypeError(
            f"Column {column.name!r} has periods of pandas, of which polars has no type."
        )
    if column.type == "time":
        return "Time"
    if column.type == "moment" and clock.unit == "D":
        return "Date"
    unit = clock.unit if clock.unit in ("ms", "us", "ns") else "ms"
    return {"unit": unit, **({"zone": clock.zone} if column.type == "moment" else {})}


# ---- series


def pandas_times(column: Any, values: Array) -> Any:
    """Return a pandas series of a column of times or decimals, of numbers with NaN for gaps."""
    pandas = import_module("pandas")
    dtype, gaps = column.dtype, np.isnan(values)
    if isinstance(dtype, dict) and "objects" in dtype:
        return pandas.Series(_objects(column, values, gaps), dtype=object)
    if isinstance(dtype, dict):
        return _arrow_series(column, values, gaps)
    made = pandas.api.types.pandas_dtype(dtype)
    if dtype.startswith("period"):
        counts = _counts(column, values, gaps, column.clock.unit)
        return pandas.Series(pandas.arrays.PeriodArray(np.where(gaps, _MISSING, counts), made))
    unit = getattr(made, "unit", None) or np.datetime_data(made)[0]
    counts = np.where(gaps, _MISSING, _counts(column, values, gaps, unit))
    series = pandas.Series(counts.view(f"{'m' if column.type == 'duration' else 'M'}8[{unit}]"))
    if hasattr(made, "tz"):
        series = series.dt.tz_localize("UTC").dt.tz_convert(made.tz)
    return series


def polars_times(column: Any, values: Array) -> Any:
    """Return a polars series of a column of times or decimals, of numbers with NaN for gaps."""
    polars = import_module("polars")
    dtype, gaps = column.dtype, np.isnan(values)
    if column.type == "decimal":
        made = polars.Decimal(dtype["precision"], dtype["scale"])
        return polars.Series(column.name, _objects(column, values, gaps), made)
    if dtype in ("Date", "Time"):
        made, unit = getattr(polars, dtype), "D" if dtype == "Date" else "ns"
    elif column.type == "moment":
        made, unit = polars.Datetime(dtype["unit"], dtype["zone"]), dtype["unit"]
    else:
        made, unit = polars.Duration(dtype["unit"]), dtype["unit"]
    counts = _counts(column, values, gaps, unit)
    physical = polars.Series(column.name, counts, polars.Int64)
    if gaps.any():
        physical = physical.scatter(np.flatnonzero(gaps), None)
    return physical.cast(polars.Int32).cast(made) if dtype == "Date" else physical.cast(made)


def _counts(column: Any, values: Array, gaps: Array, unit: str) -> Array:
    clock: Clock = column.clock
    return clock.counts(np.where(gaps, 0.0, values), unit, column.type)


def _arrow_series(column: Any, values: Array, gaps: Array) -> Any:
    pandas, pyarrow = import_module("pandas"), import_module("pyarrow")
    made = arrow_type(column.dtype["arrow"])
    if column.type == "decimal":
        array = pyarrow.array(_objects(column, values, gaps), made)
    else:
        unit = getattr(made, "unit", "ms" if pyarrow.types.is_date64(made) else "D")
        counts = _counts(column, values, gaps, unit)
        whole = pyarrow.array(counts, mask=gaps)
        narrow = pyarrow.int32() if made.bit_width == 32 else pyarrow.int64()
        array = whole.cast(narrow).cast(made)
    return pandas.Series(pandas.array(array, dtype=pandas.ArrowDtype(made)))


def arrow_type(described: str) -> Any:
    """Return the type of Arrow that its str describes."""
    pyarrow = import_module("pyarrow")
    name, _, rest = described.partition("[")
    arguments = [each.strip() for each in rest.rstrip("]").split(",")] if rest else []
    if name == "timestamp":
        zone = arguments[1].removeprefix("tz=") if len(arguments) > 1 else None
        return pyarrow.timestamp(arguments[0], zone)
    if name in ("time32", "time64", "duration"):
        return getattr(pyarrow, name)(arguments[0])
    if name.startswith("decimal"):
        kind, _, rest = described.partition("(")
        precision, scale = (int(each) for each in rest.rstrip(")").split(","))
        return getattr(pyarrow, kind)(precision, scale)
    return pyarrow.type_for_alias(described)


def _objects(column: Any, values: Array, gaps: Array) -> list[Any]:
    """Return numbers as objects of Python, None in the gaps."""
    if column.type == "decimal":
        places, most = decimal_places(column), _most_units(column)
        units = np.rint(np.where(gaps, 0, values) * 10.0**places)
        whole = np.clip(units, -most, most).astype(np.int64)
        made: list[Any] = [Decimal(each).scaleb(-places) for each in whole.tolist()]
    else:
        kind = column.dtype["objects"]
        if kind in ("datetime64", "timedelta64"):
            unit, letter = column.clock.unit, "M" if kind == "datetime64" else "m"
            made = list(_counts(column, values, gaps, unit).view(f"{letter}8[{unit}]"))
        else:
            unit = "D" if kind == "date" else "us"
            of_count = _OF_COUNTS[kind](column.clock.zone)
            made = [of_count(each) for each in _counts(column, values, gaps, unit).tolist()]
    return [None if gap else each for each, gap in zip(made, gaps, strict=True)]


def _moments(zone: str | None) -> Callable[[int], datetime]:
    if zone is None:
        return lambda count: _EPOCH + timedelta(microseconds=count)
    info, epoch = zone_of(zone), _EPOCH.replace(tzinfo=UTC)
    return lambda count: (epoch + timedelta(microseconds=count)).astimezone(info)


_OF_COUNTS: dict[str, Callable[[str | None], Callable[[int], Any]]] = {
    "datetime": _moments,
    "date": lambda _: lambda count: date.fromordinal(count + date(1970, 1, 1).toordinal()),
    "time": lambda _: lambda count: (_EPOCH + timedelta(microseconds=count)).time(),
    "timedelta": lambda _: lambda count: timedelta(microseconds=count),
}
"""Functions from counts to Python's objects, by the class of the objects."""


# ---- decimals


def decimal_places(column: Any) -> int:
    """Return how many digits a column of decimals has after the point."""
    dtype = column.dtype
    if "arrow" in dtype:
        return int(dtype["arrow"].rstrip(")").partition(",")[2])
    return int(dtype["scale"] if "scale" in dtype else dtype["places"])


def _most_units(column: Any) -> int:
    """Return how many units of the last place the type of a column of decimals holds."""
    dtype = column.dtype
    precision = dtype.get("precision")
    if "arrow" in dtype:
        precision = int(dtype["arrow"].partition("(")[2].partition(",")[0])
    return LARGEST_EXACT if precision is None else min(LARGEST_EXACT, 10**precision - 1)


def decimals(series: Any) -> tuple[Array, int]:
    """Return decimals as float64, NaN where missing, and the most digits after a point.

    Raises
    ------
    UnsupportedError
        One has more digits than float64 holds.
    """
    listed = series.to_list()
    found = [None if _is_gap(each) else Decimal(each) for each in listed]
    present = [each for each in found if each is not None]
    if infinite := [each for each in present if not each.is_finite()]:
        raise UnsupportedError(f"hold finite decimals, and not {infinite[0]}")
    scale = getattr(series.to_native().dtype, "scale", None)
    exponents = [int(each.as_tuple().exponent) for each in present]
    places = max([-each for each in exponents], default=0) if scale is None else int(scale)
    places = max(places, 0)
    if any(abs(each.scaleb(places)) > LARGEST_EXACT for each in present):
        raise UnsupportedError(f"hold decimals of at most {LARGEST_EXACT} units of the last place")
    return np.array([np.nan if each is None else float(each) for each in found]), places
