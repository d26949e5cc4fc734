"""Times as whole numbers: the tick of a column, where it begins to count, its zone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from itertools import pairwise
from math import gcd
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from fastar._core.parameters import Array
from fastar._core.schema import FLAG, Maybe, OneOf, Record, Text, Whole, inside, require
from fastar._data.durations import NANOSECONDS, duration_count

TIMES = ("moment", "time", "duration")
"""Types of columns that have a `Clock`: dates and moments; times of day; durations."""

CALENDAR_UNITS = ("Y", "Q", "M", "W")
"""Years, quarters, months and weeks, which are only counted."""

LARGEST_NUMBER = 2**52
"""Numbers of ticks up to here are exact in float64, with a half of one beside them."""

MONTHS = {"M": 1, "Q": 3, "Y": 12}
"""The months of a period, by unit."""

_DAY = NANOSECONDS["D"]
_DAYS = -719_162, 2_932_896
"""The first and the last day of the years 1 to 9999, counted from 1970."""
_LAST_MONTH = 12 * (9999 - 1970 + 1) - 1
_FEW_MONTHS = 3
"""First days of so many months are months."""
_YEARS = (1900, 2100)
"""Between which zones change their clocks."""


@dataclass(frozen=True)
class Clock:
    """How a column of times becomes numbers: ticks since an origin.

    Parameters
    ----------
    unit : str
        Unit that the column's type counts, by NumPy's name, or one of `CALENDAR_UNITS`.
    tick : int
        Units a tick, the longest of a day, whole hours, minutes, seconds and powers of ten of a
        second of which all values of `fit` are multiples.
    origin : int
        The tick that is number 0, counted from 1970, or from midnight or no time at all.
    zone : str or None
        Zone of the clock on the wall that the column shows; moments are counted in UTC.
    is_rounded : bool
        Whether values lie too far apart for their own unit, and are known to the tick alone.
    by_month : bool
        Whether a tick is a month, for all values of `fit` are the first moments of months.
    """

    unit: str
    tick: int
    origin: int
    zone: str | None = None
    is_rounded: bool = False
    by_month: bool = False

    @classmethod
    def of(cls, counts: Array, unit: str, zone: str | None, type_: str) -> Clock:
        """Return the clock of a column of `TIMES` with these counts, which are not missing."""
        if type_ == "moment" and zone is None and unit in NANOSECONDS:
            months, rest = _months(counts, unit)
            if not rest.any() and len(np.unique(months)) >= _FEW_MONTHS:
                return cls(unit, 1, int(months.min()), by_month=True)
        if unit in CALENDAR_UNITS or not len(counts):
            tick = 1
        else:
            tick = _tick(int(np.gcd.reduce(counts)), unit)
            if zone is not None:
                first = int(counts.min()) * NANOSECONDS[unit] // 10**9
                seconds = gcd(*offsets_from(zone, first))
                tick = _tick(gcd(tick, seconds * 10**9 // NANOSECONDS[unit]), unit)
        low, high = (int(counts.min()), int(counts.max())) if len(counts) else (0, 0)
        if type_ != "moment":
            low, high = 0, max(abs(low), abs(high))
        is_rounded = (high - low) // tick > LARGEST_NUMBER
        while (high - low) // tick > LARGEST_NUMBER:
            tick *= 10
        return cls(unit, tick, low // tick if type_ == "moment" else 0, zone, is_rounded)

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> Clock:
        """Return the clock that a file describes; EntryError if it is none."""
        _DESCRIBED.check(described, "")
        clock = cls(**described)
        if clock.unit in CALENDAR_UNITS or clock.by_month:
            require("tick", clock.tick == 1, "must be 1 of what is only counted.")
            own = clock.unit in NANOSECONDS and clock.zone is None and not clock.is_rounded
            require("by_month", own or not clock.by_month, "must be false of such a column.")
        else:
            ends = _DAY % (clock.tick * NANOSECONDS[clock.unit]) == 0 or clock.is_rounded
            require("tick", ends, "must divide a day.")
        if clock.zone is not None:
            with inside("zone"):
                zone_of(clock.zone)
        return clock

    @property
    def nanoseconds(self) -> int:
        """Nanoseconds of a tick, where the unit divides a day."""
        return self.tick * NANOSECONDS[self.unit]

    @property
    def counted(self) -> str | None:
        """Which of `CALENDAR_UNITS` a tick is, if it is one."""
        return "M" if self.by_month else self.unit if self.unit in CALENDAR_UNITS else None

    @property
    def size(self) -> int:
        """How many values of the column's type a tick has, at most."""
        if self.by_month:
            return 31 * _DAY // NANOSECONDS[self.unit]
        return 1 if self.is_rounded else self.tick

    @property
    def resolution(self) -> str:
        """The name of a tick."""
        if self.counted is not None:
            return _SPOKEN[self.counted]
        for unit, length in NANOSECONDS.items():
            number, rest = divmod(self.nanoseconds, length)
            if not rest:
                return _SPOKEN[unit] if number == 1 else f"{number} {_SPOKEN[unit]}s"
        raise AssertionError

    def agrees_with(self, unit: str) -> bool:
        """Return whether counts of a unit are times of this clock."""
        return unit == self.unit or (unit in NANOSECONDS and self.unit in NANOSECONDS)

    def numbers(self, counts: Array, unit: str) -> Array:
        """Return the numbers (n,) of int64 counts in a unit.

        Values between two ticks, or too far away, are no whole numbers.
        """
        if self.by_month:
            months, rest = _months(counts, unit)
            part = rest / (31 * _DAY / NANOSECONDS[unit])
            return months - float(self.origin) + part
        more, less = _ratio(unit, 1, self.unit, self.tick)
        most = (2**63 - 1) // more
        is_near = (counts >= -most) & (counts <= most)
        ticks, rest = np.divmod(np.where(is_near, counts, 0) * more, less)
        distance = ticks.astype(np.float64) - self.origin
        is_near &= np.abs(distance) < LARGEST_NUMBER
        numbers = (np.where(is_near, ticks, self.origin) - self.origin).astype(np.float64)
        if not self.is_rounded and rest.any():
            between = numbers + rest / less
            lost = (rest > 0) & (between == np.rint(between))
            numbers = np.where(lost, numbers + 0.5, between)
        far: Array = np.where(counts > 0, 1, -1) * (LARGEST_NUMBER - 0.5)
        return np.where(is_near, numbers, far)

    def counts(self, numbers: Array, unit: str, type_: str) -> Array:
        """Return the int64 counts in a unit that are nearest to numbers (n,) without NaN."""
        if self.by_month:
            first, last = _REPRESENTABLE.get(unit, self.limits(type_))
            months = np.clip(np.floor(numbers) + self.origin, first, last).astype(np.int64)
            part = (numbers - np.floor(numbers)) * (31 * _DAY / NANOSECONDS[unit])
            start = months.astype("datetime64[M]").astype(f"datetime64[{unit}]").astype(np.int64)
            whole: Array = start + np.rint(part).astype(np.int64)
            return whole
        more, less = _ratio(self.unit, self.tick, unit, 1)
        low, high = self.limits(type_)
        most = (2**63 - 1) // more
        low, high = max(low, -most), min(high, most)
        low, high = max(low - self.origin, -(2**53)), min(high - self.origin, 2**53)
        whole = np.clip(np.floor(numbers), low, high).astype(np.int64)
        part = np.rint((numbers - np.floor(numbers)) * (more / less)).astype(np.int64)
        found: Array = (whole + self.origin) * more // less + part
        return found

    def limits(self, type_: str) -> tuple[int, int]:
        """Return the first and the last tick that values may have: of the years 1 to 9999."""
        if type_ == "duration":
            return -(2**62), 2**62
        if self.counted in MONTHS:
            return -1969 * 12 // MONTHS[self.counted], _LAST_MONTH // MONTHS[self.counted]
        first, last = _DAYS if type_ == "moment" else (0, 0)
        length = 7 * _DAY if self.counted == "W" else self.nanoseconds
        return -(-first * _DAY // length), ((last + 1) * _DAY - 1) // length


_SPOKEN = {"Y": "year", "Q": "quarter", "M": "month", "W": "week", "D": "day"}
_SPOKEN |= {"h": "hour", "m": "minute", "s": "second", "ms": "millisecond"}
_SPOKEN |= {"us": "microsecond", "ns": "nanosecond"}

_DESCRIBED = Record(
    {
        "unit": OneOf((*NANOSECONDS, *CALENDAR_UNITS)),
        "tick": Whole(1),
        "origin": Whole(),
        "zone": Maybe(Text()),
        "is_rounded": FLAG,
        "by_month": FLAG,
    }
)
_REPRESENTABLE = {"ns": (-3507, 3506)}
"""The first and the last month that int64 holds, by unit, where these are not those of years."""


def between_months(counts: Array, unit: str) -> Array:
    """Return where (n,) counts of a unit that divides a day begin no month."""
    between: Array = _months(counts, unit)[1] != 0
    return between


def _months(counts: Array, unit: str) -> tuple[Array, Array]:
    """Return the months of counts, from 1970 on, and the counts from their beginning on."""
    moments = counts.astype(f"datetime64[{unit}]")
    months = moments.astype("datetime64[M]")
    rest = counts - months.astype(moments.dtype).astype(np.int64)
    return months.astype(np.int64), rest


def _ratio(unit: str, number: int, other: str, other_number: int) -> tuple[int, int]:
    """Return (a, b) so that so many of a unit are a / b times so many of another."""
    if unit == other:
        a, b = number, other_number
    else:
        a, b = number * NANOSECONDS[unit], other_number * NANOSECONDS[other]
    common = gcd(a, b)
    return a // common, b // common


def _tick(common: int, unit: str) -> int:
    """Return the longest tick, in units, of which all counts with this divisor are multiples."""
    length = gcd(common * NANOSECONDS[unit], _DAY)
    for whole in (NANOSECONDS["h"], NANOSECONDS["m"], NANOSECONDS["s"]):
        if length % whole == 0:
            return length // NANOSECONDS[unit]
        length = gcd(length, whole)
    power = 1
    while length % (10 * power) == 0:
        power *= 10
    return power // NANOSECONDS[unit]


# ---- zones


def zone_of(name: str) -> tzinfo:
    """Return the zone of a name, or of a difference from UTC such as "+01:00".

    Raises
    ------
    ValueError
        No zone is called so.
    """
    fixed = re.fullmatch(r"(?:UTC)?([+-])(\d{2}):?(\d{2})", name)
    if fixed:
        minutes = int(fixed[2]) * 60 + int(fixed[3])
        return timezone(timedelta(minutes=-minutes if fixed[1] == "-" else minutes))
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:
        raise ValueError(f"must be the name of a zone. Got {name!r} instead.") from error


@lru_cache(maxsize=64)
def changes(zone: str) -> tuple[tuple[int, int], ...]:
    """Return (second of UTC since 1970, seconds that the zone is ahead from then on), in order.

    The first entry holds from the beginning of time.
    """
    info, day = zone_of(zone), 86_400

    def ahead(second: int) -> int:
        offset = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).astimezone(info)
        found = offset.utcoffset()
        assert found is not None
        return int(found.total_seconds())

    start, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in _YEARS)
    found = [(start, ahead(start))]
    for second in range(start, end, 3 * day):
        low, high = second, second + 3 * day
        if ahead(high) == found[-1][1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if ahead(middle) == found[-1][1] else (low, middle)
        found.append((high, ahead(high)))
    return tuple(found)


def offsets_from(zone: str, second: int) -> list[int]:
    """Return the seconds that a zone is ahead of UTC at some time from a second of UTC on."""
    known = changes(zone)
    ends = [start for start, _ in known[1:]] + [second + 1]
    return [ahead for (_, ahead), end in zip(known, ends, strict=True) if end > second]


def zone_name(info: Any) -> str:
    """Return the name of a zone of Python's or of a library, or its difference from UTC."""
    if key := getattr(info, "key", None) or getattr(info, "zone", None):
        return str(key)
    ahead = info.utcoffset(None)  # whatever it is called; None of zones that change their clocks
    if ahead is None or ahead % timedelta(minutes=1):
        return str(info)
    hours, minutes = divmod(abs(ahead) // timedelta(minutes=1), 60)
    return f"UTC{'-' if ahead < timedelta() else '+'}{hours:02}:{minutes:02}" if ahead else "UTC"


# ---- single values


def count_of(value: Any, clock: Clock, type_: str) -> tuple[int, str]:
    """Return (count, unit) of one value of Python, NumPy or pandas, or of text in ISO 8601.

    A value without zone is a reading of the clock on the wall of the column's zone.

    Raises
    ------
    ValueError
        It is no time of the column's type.
    """
    if type_ == "duration":
        return duration_count(value)
    if type_ == "time":
        value = time.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(value, time) or value.tzinfo is not None:
            raise ValueError("must be a time of day")
        seconds = (value.hour * 60 + value.minute) * 60 + value.second
        return seconds * 10**6 + value.microsecond, "us"
    if clock.unit in CALENDAR_UNITS:
        return _period_count(value, clock.unit), clock.unit
    if isinstance(value, str):
        value = _parsed(value)
    if hasattr(value, "ordinal") and hasattr(value, "to_timestamp"):  # a Period
        value = value.to_timestamp()
    if hasattr(value, "asm8") and hasattr(value, "tz_convert"):  # a Timestamp
        info = value.tzinfo
        value = (value.tz_convert("UTC").tz_localize(None) if info else value).asm8
    elif isinstance(value, datetime):
        info, value = value.tzinfo, _naive(value)
    elif isinstance(value, date | np.datetime64):
        info, value = None, np.datetime64(value)
    else:
        raise ValueError("must be a moment")
    unit, number = np.datetime_data(value.dtype)
    if unit in ("Y", "M", "W"):
        value, unit, number = value.astype("datetime64[D]"), "D", 1
    if unit not in NANOSECONDS or np.isnat(value):
        raise ValueError("must be a moment")
    count = int(value.astype(np.int64)) * number
    if clock.zone is None:
        if info is not None:
            raise ValueError("must be a moment without a zone")
        return count, unit
    return (count, unit) if info is not None else _to_utc(count, unit, clock.zone)


def _parsed(text: str) -> Any:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return np.datetime64(text)  # which knows nanoseconds


def _naive(value: datetime) -> np.datetime64:
    """Return a datetime in UTC, or as it is if it has no zone, to the microsecond."""
    return np.datetime64(
        value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
    )


def _to_utc(count: int, unit: str, zone: str) -> tuple[int, str]:
    """Return what a clock on the wall of a zone shows, the first time that it does, in UTC."""
    second = count * NANOSECONDS[unit] // 10**9
    known = changes(zone)
    ahead = known[0][1]
    for (_, before), (start, after) in pairwise(known):
        if second >= start + max(before, after):
            ahead = after
    finer = unit if NANOSECONDS[unit] <= 10**9 else "s"
    count = count * NANOSECONDS[unit] // NANOSECONDS[finer]
    return count - ahead * 10**9 // NANOSECONDS[finer], finer


def _period_count(value: Any, unit: str) -> int:
    """Return the ordinal of a Period, or of the year, month or week that holds a date."""
    if hasattr(value, "ordinal") and hasattr(value, "to_timestamp"):
        name = value.freqstr.partition("-")[0]
        if name.replace("A", "Y") == unit:  # A: years, in pandas before 2.2
            return int(value.ordinal)
    elif unit in MONTHS and isinstance(value, str | date | np.datetime64):
        months: Any = np.datetime64(value)
        return int(months.astype("datetime64[M]").astype(np.int64)) // MONTHS[unit]
    raise ValueError(f"must be a period of a {_SPOKEN[unit]}")


def to_text(count: int, clock: Clock, type_: str) -> str:
    """Return a count in the clock's unit as text in ISO 8601, where there is one."""
    unit = clock.unit
    if unit in ("Q", "W"):
        return f"{_SPOKEN[unit]} {count}"
    whole = np.array(count)
    if type_ == "duration":
        return str(whole.astype(f"timedelta64[{unit}]"))
    if clock.zone is not None:
        second, known = count * NANOSECONDS[unit] // 10**9, changes(clock.zone)
        ahead = next((more for start, more in reversed(known) if start <= second), known[0][1])
        unit = unit if NANOSECONDS[unit] <= 10**9 else "s"
        whole = (whole * NANOSECONDS[clock.unit] + ahead * 10**9) // NANOSECONDS[unit]
    text = str(whole.astype(f"datetime64[{unit}]"))
    if type_ == "time":
        return text.partition("T")[2] or "00:00"
    return text if clock.zone is None else f"{text} {clock.zone}"
