"""The parts of calendars: from ticks to week, weekday, hour and so on, on the wall of a zone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastar._core.parameters import Array
from fastar._data.clocks import Clock, changes
from fastar._data.durations import NANOSECONDS

PARTS = (
    *("month", "quarter", "week", "weekday", "hour", "minute", "second"),
    *(f"digit {place}" for place in range(1, 10)),
)
"""Parts of a calendar, by number; digits are those of a fraction of a second."""

MONDAY = 3
"""Days from the Monday before it to 1970-01-01."""


class Scale(NamedTuple):
    """The parts of a column's calendar, from coarse to fine, over the ticks that it counts.

    radix: how many values each part has. shift: what is added to a clock's ticks so that the
    first tick of every part is a multiple. day: ticks a day, 0 of what has none.
    """

    parts: list[int]
    radix: list[int]
    shift: int
    day: int


def split(whole: Array, radix: list[int]) -> tuple[Array, Array]:
    """Return what is left of whole numbers (n,), and their digits (n, k) from coarse to fine."""
    digits, rest = np.empty((len(whole), len(radix)), np.int64), whole
    for k in range(len(radix) - 1, -1, -1):
        rest, digits[:, k] = np.divmod(rest, radix[k])
    return rest, digits


def scale_of(clock: Clock, type_: str) -> Scale:
    """Return the parts of the calendar of a column's ticks."""
    if clock.counted is not None:
        known = {"M": ("month", 12), "Q": ("quarter", 4)}
        own = [known[clock.counted]] if clock.counted in known else []
        return Scale([PARTS.index(name) for name, _ in own], [k for _, k in own], clock.origin, 0)
    left, tick = NANOSECONDS["D"], clock.nanoseconds
    day = left // tick
    names, radix = (["weekday"], [7]) if type_ == "moment" else ([], [])
    for name, unit in (("hour", "h"), ("minute", "m"), ("second", "s")):
        if left > tick:
            shorter = max(NANOSECONDS[unit], tick)
            names.append(name)
            radix.append(left // shorter)
            left = shorter
    for place in range(1, 10):
        if left > tick:
            names.append(f"digit {place}")
            radix.append(10)
            left //= 10
    if not radix:  # a time of day that is midnight alone
        names, radix, day = ["hour"], [2], 1
    shift = clock.origin + (MONDAY * day if type_ == "moment" else 0)
    return Scale([PARTS.index(name) for name in names], radix, shift, day)


def clock_changes(clock: Clock) -> tuple[list[float], list[float]]:
    """Return (numbers of ticks, ticks that the zone is ahead from then on) of a column."""
    if clock.zone is None:
        return [], []
    tick, second = clock.nanoseconds, 10**9
    known = changes(clock.zone)
    # in whole numbers as far as that goes: nanoseconds since 1970 are more than float64 holds
    starts = [(start * second - clock.origin * tick) / tick for start, _ in known]
    return starts, [ahead * second / tick for _, ahead in known]


class Zone:
    """The clock on the wall of a zone.

    Parameters
    ----------
    change : array (m,)
        Numbers of ticks from which on the clock goes differently; the first entry holds before it,
        too.
    ahead : array (m,)
        Ticks that it is ahead of UTC from then on.
    """

    def __init__(self, change: Array, ahead: Array) -> None:
        self.change, self.ahead = change[1:], ahead
        before, after = ahead[:-1], ahead[1:]
        # readings from which on a clock is surely, or possibly, in the time after a change
        self.surely = self.change + np.maximum(before, after)
        self.possibly = self.change + np.minimum(before, after)
        self.back = np.maximum(before - after, 0)

    @property
    def has_folds(self) -> bool:
        """Whether some readings are shown twice."""
        return bool((self.back > 0).any())

    def reading(self, ticks: Array) -> tuple[Array, Array]:
        """Return how far the clock is ahead at ticks (n,), and the fold of its reading.

        0 where the reading is shown once, -1 and -2 the first and the second time.
        """
        at = np.searchsorted(self.change, ticks, side="right")
        fold = np.zeros(len(ticks))
        if len(self.change):
            last, following = np.maximum(at - 1, 0), np.minimum(at, len(self.change) - 1)
            second = (at > 0) & (ticks < self.change[last] + self.back[last])
            first = (at < len(self.change)) & (
                ticks >= self.change[following] - self.back[following]
            )
            fold = np.where(second, -2.0, np.where(first, -1.0, 0.0))
        return self.ahead[at], fold

    def stretches(self, first: int, end: int) -> tuple[Array, Array, Array]:
        """Return the stretches of readings, first and end (m,), of the ticks first to end - 1.

        And the kind (m,) of each: 0 of readings that are shown once, 1 and 2 of those that are
        shown for the first and the second time. A reading that is skipped is that of a moment later
        on, as in `ticks`.
        """
        start = np.ceil(np.append(-np.inf, self.change))
        stop, before = np.append(start[1:], np.inf), np.append(self.ahead[:1], self.ahead[:-1])
        back, later = np.maximum(before - self.ahead, 0), np.maximum(self.ahead - before, 0)
        second = np.minimum(start + back, stop)
        once = np.maximum(stop - np.append(back[1:], 0), second)
        low = np.concatenate([start, second, once, start])
        high = np.concatenate([second, once, stop, np.minimum(start + later, stop)])
        ahead = np.concatenate([self.ahead, self.ahead, self.ahead, before])
        low, high = np.maximum(low, first), np.minimum(high, end)
        kinds = np.repeat([2, 0, 1, 0], len(start))
        some = low < high
        found = [np.rint(each[some]).astype(np.int64) for each in (low + ahead, high + ahead)]
        return found[0], found[1], kinds[some]

    def ticks(self, wall: Array, is_second: Array) -> Array:
        """Return the numbers of ticks at which the clock shows readings (n,)."""
        surely = np.searchsorted(self.surely, wall, side="right")
        possibly = np.searchsorted(self.possibly, wall, side="right")
        ticks: Array = wall - self.ahead[np.where(is_second, possibly, surely)]
        return np.rint(ticks)


def wall_parts(clock: Clock, scale: Scale, numbers: Array) -> tuple[Array, Array]:
    """Return the trend (n,) of a column's numbers, and all parts (n, k), on the wall."""
    ticks = np.floor(numbers)
    change, ahead = clock_changes(clock)
    wall = ticks.astype(np.int64) + scale.shift
    if change:
        wall += np.rint(Zone(np.array(change), np.array(ahead)).reading(ticks)[0]).astype(np.int64)
    return split(wall, scale.radix)


_COARSE = tuple(PARTS.index(name) for name in ("month", "quarter", "weekday", "hour"))


def coarse_radix(clock: Clock, type_: str) -> list[int]:
    """Return how many values month, quarter, weekday and hour have, those that a column tells."""
    if type_ == "duration":
        return []
    scale = scale_of(clock, type_)
    return [k for part, k in zip(scale.parts, scale.radix, strict=True) if part in _COARSE]


def coarse_parts(clock: Clock, type_: str, numbers: Array) -> Array:
    """Return these parts (n, k) of a column's numbers (n,)."""
    scale = scale_of(clock, type_)
    digits = wall_parts(clock, scale, numbers)[1]
    return digits[:, [part in _COARSE for part in scale.parts]]
