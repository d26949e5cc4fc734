"""Single durations: of Python, NumPy, pandas or text, and as text of ISO 8601."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction
from typing import Any

import numpy as np

NANOSECONDS = {
    "D": 86_400 * 10**9,
    "h": 3_600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 10**3,
    "ns": 1,
}
"""Units of time that divide a day, by NumPy's name."""
_LENGTHS = {"W": 7 * NANOSECONDS["D"], **NANOSECONDS}
_LARGEST = 2**63 - 1

_NUMBER = r"(\d+(?:\.\d+)?)"
_UNIT = re.compile(rf"{_NUMBER}\s*([a-zA-Zµ]+)[\s,]*")
_CLOCK = re.compile(r"[+]?(\d+):(\d{1,2})(?::(\d{1,2}(?:\.\d+)?))?")
_ISO = re.compile(
    rf"P(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)
_WORDS = {
    "W": ("w", "week"),
    "D": ("d", "day"),
    "h": ("h", "hr", "hour"),
    "m": ("m", "min", "minute"),
    "s": ("s", "sec", "second"),
    "ms": ("ms", "milli", "millisecond"),
    "us": ("us", "µs", "micro", "microsecond"),
    "ns": ("ns", "nano", "nanosecond"),
}
_UNIT_OF = {word: unit for unit, words in _WORDS.items() for word in words}


def duration_count(value: Any) -> tuple[int, str]:
    """Return (count, unit) of a duration of Python, NumPy or pandas, or of text.

    Text is of ISO 8601, "P1DT2H30M", or as pandas reads it: "1 days 02:30:00", "2.5h", "90 min".

    Raises
    ------
    ValueError
        It is no duration, or int64 does not count it.
    """
    value = getattr(value, "asm8", value)  # of a Timedelta
    if isinstance(value, str):
        return _counted(_parsed(value))
    if isinstance(value, timedelta):
        return _counted(Fraction(value // timedelta(microseconds=1)) * _LENGTHS["us"])
    if isinstance(value, np.timedelta64):
        unit, number = np.datetime_data(value.dtype)
        if unit in _LENGTHS:
            return _counted(Fraction(int(value.astype(np.int64)) * number) * _LENGTHS[unit])
    raise ValueError("must be a duration")


def duration_text(value: Any) -> str:
    """Return a duration as text of ISO 8601, such as "P1DT2H30M0.5S" or "-PT5M"."""
    count, unit = duration_count(value)
    rest, parts = abs(count) * _LENGTHS[unit], {}
    for name in ("D", "h", "m"):
        parts[name], rest = divmod(rest, _LENGTHS[name])
    seconds = f"{rest // 10**9}.{rest % 10**9:09d}".rstrip("0").rstrip(".")
    days = f"{parts['D']}D" if parts["D"] else ""
    clock = "".join(f"{parts[name]}{name.upper()}" for name in ("h", "m") if parts[name])
    clock += f"{seconds}S" if seconds != "0" or not (days or clock) else ""
    return f"{'-' if count < 0 else ''}P{days}{'T' if clock else ''}{clock}"


def _counted(nanoseconds: Fraction) -> tuple[int, str]:
    """Return nanoseconds in the finest unit in which int64 counts them."""
    for unit in ("ns", "us", "ms", "s"):
        count = nanoseconds / _LENGTHS[unit]
        if count.denominator == 1 and abs(count) <= _LARGEST:
            return int(count), unit
    raise ValueError("must be a duration that int64 counts")


def _parsed(text: str) -> Fraction:
    """Return the nanoseconds of text."""
    stripped = text.strip()
    sign = -1 if stripped.startswith("-") else 1
    rest = stripped[1:].strip() if stripped[:1] in ("+", "-") else stripped
    iso = _ISO.fullmatch(rest)
    if iso and any(iso.groups()):
        units = ("W", "D", "h", "m", "s")
        pairs = zip(iso.groups(), units, strict=True)
        return sign * _total((number, unit) for number, unit in pairs if number)
    total, found = Fraction(0), False
    while match := _UNIT.match(rest):
        unit = _unit_of(match[2])
        total += Fraction(match[1]) * _LENGTHS[unit]
        rest, found = rest[match.end() :], True
    clock = _CLOCK.fullmatch(rest)
    if clock:
        own = _total([(clock[1], "h"), (clock[2], "m"), (clock[3] or "0", "s")])
        # as pandas shows it: "-1 days +02:00:00" is two hours after a day ago
        return sign * total + (own if found else sign * own)
    if rest or not found:
        raise ValueError("must be a duration such as '1 days 02:30:00', '90 min' or 'PT90M'")
    return sign * total


def _total(pairs: Any) -> Fraction:
    return sum((Fraction(number) * _LENGTHS[unit] for number, unit in pairs), Fraction(0))


def _unit_of(word: str) -> str:
    """Return the unit that a word means, in the singular or plural; ValueError if none."""
    lower = word.lower()
    unit = _UNIT_OF.get(lower) or _UNIT_OF.get(lower.removesuffix("s"))
    if unit is None or word == "M":  # months, or minutes
        raise ValueError(f"must have units of time. Got {word!r} instead")
    return unit
