"""Stretches of whole numbers as regions of their digits, each given those before it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fastar._core.parameters import Array

Stretch = tuple[int, int, int]
"""Whole numbers from the first to before the second, and a mark; stretches are disjoint, rising."""


@dataclass
class DigitRegions:
    """The regions of digits, coarse to fine, that together allow the numbers of stretches.

    Which region a digit has depends on those before it: a run of values leads to a region of the
    next digit. After the last digit it leads to the mark of the number's stretch. At most two
    values of a digit are cut by each end of a stretch, so that there are few regions.

    Parameters
    ----------
    radix : list of int
        How many values each digit has but the first, which has any.

    Attributes
    ----------
    regions : list of list of list of (int, int, int)
        For each digit its regions: runs of values, first and last, and where they lead.
    """

    radix: list[int]
    regions: list[list[list[Stretch]]] = field(init=False)
    _places: dict[tuple[int, tuple[Stretch, ...]], int] = field(default_factory=dict, init=False)
    _whole: dict[tuple[int, int], int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.regions = [[] for _ in range(len(self.radix) + 1)]
        # numbers that share a value of each digit
        self._sizes = [int(np.prod(self.radix[d:], dtype=np.int64)) for d in range(len(self.radix))]
        self._sizes.append(1)

    def add(self, stretches: list[Stretch]) -> None:
        """Make the regions of stretches; those of the first digit are one."""
        self._region(0, tuple(stretches))
        for own in self.regions:
            if not own:  # of nothing at all
                own.append([])

    def _region(self, digit: int, stretches: tuple[Stretch, ...]) -> int:
        """Return the place among a digit's regions of what is left of stretches."""
        if digit == len(self.regions):
            return stretches[0][2]
        key = digit, stretches
        if key not in self._places:
            runs = self._runs(digit, stretches)
            self._places[key] = len(self.regions[digit])
            self.regions[digit].append(runs)
            if digit and len(stretches) == 1 and stretches[0][:2] == (0, self._sizes[digit - 1]):
                self._whole[digit, self._places[key]] = stretches[0][2]
        return self._places[key]

    def _runs(self, digit: int, stretches: tuple[Stretch, ...]) -> list[Stretch]:
        size = self._sizes[digit]
        runs: list[Stretch] = []
        cut: dict[int, list[Stretch]] = {}
        for first, end, mark in stretches:
            value, start = divmod(first, size)
            last, rest = divmod(end, size)
            if value == last:
                cut.setdefault(value, []).append((start, rest, mark))
                continue
            if start:
                cut.setdefault(value, []).append((start, size, mark))
                value += 1
            if value < last:
                runs.append((value, last - 1, self._region(digit + 1, ((0, size, mark),))))
            if rest:
                cut.setdefault(last, []).append((0, rest, mark))
        runs += [(k, k, self._region(digit + 1, tuple(own))) for k, own in cut.items()]
        joined: list[Stretch] = []
        for first, last, led in sorted(runs):
            if joined and joined[-1][1] == first - 1 and joined[-1][2] == led:
                joined[-1] = (joined[-1][0], last, led)
            else:
                joined.append((first, last, led))
        return joined

    def boxes(self) -> list[tuple[list[int], int, int]]:
        """Return a partition of what is allowed: (digits before, place of a region, its mark).

        The region, which is added, is of the digit after these; the digits after it are free.
        """
        found: list[tuple[list[int], int, int]] = []

        def visit(before: list[int], place: int) -> None:
            digit = len(before)
            free: dict[int, list[Stretch]] = {}
            for first, last, led in self.regions[digit][place]:
                mark = led if digit + 1 == len(self.regions) else self._whole.get((digit + 1, led))
                if mark is not None:
                    free.setdefault(mark, []).append((first, last, 0))
                    continue
                for value in range(first, last + 1):
                    visit([*before, value], led)
            for mark, runs in free.items():
                self.regions[digit].append(runs)
                found.append((before, len(self.regions[digit]) - 1, mark))

        visit([], 0)
        return found


def joined_stretches(first: Array, end: Array, kinds: Array) -> list[Stretch]:
    """Return the disjoint stretches of readings, with the mark of what is allowed of each.

    Parameters
    ----------
    first, end : int array (m,)
    kinds : int array (m,)
        0 of readings that a clock shows once, 1 and 2 of those that are shown for the first and the
        second time. A mark is 0 where all is allowed, else 1 or 2.
    """
    edges = np.unique(np.concatenate([first, end]))
    covered = np.zeros((3, len(edges)), np.int64)
    np.add.at(covered, (kinds, np.searchsorted(edges, first)), 1)
    np.subtract.at(covered, (kinds, np.searchsorted(edges, end)), 1)
    once, early, late = np.cumsum(covered, axis=1) > 0
    marks = np.select([once | (early & late), early, late], [0, 1, 2], -1).tolist()
    found: list[Stretch] = []
    for k, mark in enumerate(marks[:-1]):
        start, stop = int(edges[k]), int(edges[k + 1])
        if found and found[-1][1:] == (start, mark):
            found[-1] = (found[-1][0], stop, mark)
        elif mark >= 0:
            found.append((start, stop, mark))
    return found
