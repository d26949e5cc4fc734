"""What `Calendar` learns about each column: its tick, the parts that vary, and its trend."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._data.calendars import (
    MONDAY,
    PARTS,
    Scale,
    clock_changes,
    scale_of,
    wall_parts,
)
from fastar._data.clocks import LARGEST_NUMBER, Clock
from fastar._data.table import Table

_SEASONS = 104
"""Weeks beyond which a column's trend goes by years of 52 weeks."""
MOST = 2**62
"""Beyond all ticks."""


def joined(columns: list[dict[str, Any]]) -> dict[str, Array]:
    """Return what was learnt of columns in one dict of arrays."""
    whole = ("shift", "grid", "phase", "size", "low", "high", "trend")
    found = {name: np.array([each[name] for each in columns], np.int64) for name in whole}
    for counted, names in (("n_parts", ("part", "radix")), ("n_changes", ("change", "ahead"))):
        found[counted] = np.array([len(each[names[0]]) for each in columns], np.int64)
        for name in names:
            dtype = np.int64 if counted == "n_parts" else np.float64
            found[name] = np.concatenate([np.array(each[name], dtype) for each in columns])
    return found


def learnt_column(table: Table, place: int, described: Any) -> dict[str, Any]:
    """Return what depends on the data of one column, but for its trend's centre and spread."""
    clock: Clock = described.clock
    scale = scale_of(clock, described.type)
    change, ahead = clock_changes(clock)
    lowest, highest = _ends(table, place, clock, scale)
    # parts at the end that do not vary
    n_free = len(scale.radix)
    least = 1 if described.type == "time" else 0
    while n_free > least and lowest[n_free] == highest[n_free]:
        n_free -= 1
    grid, phase = 1, 0
    for radix, value in zip(scale.radix[n_free:], lowest[n_free + 1 :], strict=True):
        grid, phase = grid * radix, phase * radix + value
    parts, radices, shift = scale.parts[:n_free], scale.radix[:n_free], scale.shift
    per_week = 7 * scale.day if scale.day else int(clock.counted == "W")
    kind = 0 if described.type == "time" else 1
    if kind and per_week:
        kind = 2
        if highest[0] - lowest[0] > _SEASONS:
            middle = (lowest[0] + highest[0]) // 2
            shift -= (_first_week(middle) % 52) * per_week
            parts, radices, kind = [PARTS.index("week"), *parts], [52, *radices], 1
    low, high = (0, 0)
    if kind:
        low, high = _limits(clock, shift, grid * int(np.prod(radices)), scale.day)
    return {
        "shift": shift,
        "grid": grid,
        "phase": phase,
        "size": grid * clock.size,
        "low": low,
        "high": high,
        "trend": kind,
        "part": parts,
        "radix": radices,
        "change": change,
        "ahead": ahead,
    }


def _ends(table: Table, place: int, clock: Clock, scale: Scale) -> tuple[list[int], list[int]]:
    """Return the lowest and the highest trend of a column, and then those of each part."""
    lowest = np.full(len(scale.radix) + 1, MOST)
    highest = -lowest
    for _, block in table.columns(np.array([place])).blocks():
        values = block[:, 0].astype(np.float64)
        rest, digits = wall_parts(clock, scale, values[~np.isnan(values)])
        found = np.column_stack([rest, digits])
        lowest = np.minimum(lowest, found.min(axis=0, initial=MOST))
        highest = np.maximum(highest, found.max(axis=0, initial=-MOST))
    if lowest[0] > highest[0]:  # no value at all
        lowest = highest = np.zeros_like(lowest)
    return lowest.tolist(), highest.tolist()


def _first_week(week: int) -> int:
    """Return the first week, that of January 4th, of the year in the middle of a week."""
    thursday = np.datetime64(week * 7 - MONDAY + 3, "D")
    fourth = thursday.astype("datetime64[Y]").astype("datetime64[D]") + 3
    return int((fourth.astype(np.int64) + MONDAY) // 7)


def _limits(clock: Clock, shift: int, size: int, day: int) -> tuple[int, int]:
    """Return the lowest and the highest trend, of so many ticks each, that a value may have."""
    first, last = (tick + shift - clock.origin for tick in clock.limits("moment"))
    first, last = first - day, last + day  # a zone may be a day ahead, or behind
    low, high = shift - LARGEST_NUMBER, shift + LARGEST_NUMBER
    return max(first, low) // size, min(last, high) // size
