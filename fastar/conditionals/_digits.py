"""Columns of very many levels as two features: the digits of a level's number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastar._core.lazy import lazy
from fastar._core.offsets import offsets_of
from fastar._core.parameters import Array
from fastar.conditionals._conditional import runs_of

MOST_WHOLE = 4096
"""Levels up to which a column is one feature by default."""


def base_of(n_levels: int) -> int:
    """Return how many values the second digit has: about the root, so that both have as many."""
    return int(np.ceil(np.sqrt(n_levels)))


@dataclass(frozen=True)
class Digits:
    """Which columns are two features, and the numbers of their levels.

    The level with number r has the digits r // base and r % base. Numbers go by falling frequency,
    so that levels which share a first digit are about as frequent. Where the first digit is the
    last one, the second has no more values than there are levels.

    Parameters
    ----------
    n_levels : int array (C,)
        K of each column.
    base : int array (C,)
        Values of the second digit; 0 where a column is one feature.
    number : int array (sum of K,)
        The number of each level, which are sorted; 0 .. K - 1 where a column is one feature.
    """

    n_levels: Array
    base: Array
    number: Array

    @lazy
    def counts(self) -> Array:
        """Return how many features each column is (C,)."""
        return np.where(self.base > 0, 2, 1)

    @lazy
    def _first(self) -> Array:
        """Return the first feature of each column (C,)."""
        return offsets_of(self.counts)[:-1]

    @lazy
    def _levels(self) -> Array:
        """Return where the levels of each column begin (C + 1,)."""
        return offsets_of(self.n_levels)

    @lazy
    def _level_of(self) -> Array:
        """Return the level of each number, column by column: the inverse of `number`."""
        found = np.empty(len(self.number), np.int64)
        columns = np.repeat(np.arange(len(self.n_levels)), self.n_levels)
        found[self._levels[columns] + self.number] = np.arange(len(found)) - self._levels[columns]
        return found

    @lazy
    def n_digits(self) -> Array:
        """Return how many values each feature has (F,)."""
        values = np.repeat(self.n_levels, self.counts)
        split = self.base > 0
        base = self.base[split]
        values[self._first[split]] = -(-self.n_levels[split] // base)
        values[self._first[split] + 1] = base
        return values

    @lazy
    def is_second(self) -> Array:
        """Return which features (F,) are second digits."""
        second = np.zeros(int(self.counts.sum()), bool)
        second[self._first[self.base > 0] + 1] = True
        return second

    @lazy
    def last(self) -> tuple[Array, Array]:
        """Return the last first digit of each split column, and how many levels have it."""
        split = self.base > 0
        last = -(-self.n_levels[split] // self.base[split]) - 1
        return last, self.n_levels[split] - last * self.base[split]

    def mass(self, of_levels: Array) -> Array:
        """Return the mass of each value of each feature from that of the levels (sum of K,)."""
        parts = []
        for c, own in enumerate(np.split(of_levels, self._levels[1:-1])):
            base = int(self.base[c])
            if not base:
                parts.append(own)
                continue
            first, second = np.divmod(self.number[self._levels[c] : self._levels[c + 1]], base)
            parts += [np.bincount(first, own), np.bincount(second, own)]
        return np.concatenate(parts)

    def split(self, levels: Array) -> Array:
        """Return codes (n, F) of levels (n, C), NaN where missing and -1 where unknown."""
        if not self.base.any():
            return levels
        codes = np.repeat(levels, self.counts, axis=1)
        for c in np.flatnonzero(self.base):
            known = levels[:, c] >= 0
            level = levels[known, c].astype(np.int64)
            number = self.number[self._levels[c] + level]
            first = self._first[c]
            codes[known, first], codes[known, first + 1] = np.divmod(number, self.base[c])
            codes[~known, first + 1] = np.nan
        return codes

    def runs(self, c: int, places: Array) -> list[list[Array]]:
        """Return the runs of codes of each feature of column c for levels with these places."""
        if not self.base[c]:
            return [[runs_of(places)]]
        first, second = np.divmod(self.number[self._levels[c] + places], self.base[c])
        n_first = int(self.n_digits[self._first[c]])
        by_first = [runs_of(np.sort(second[first == digit])) for digit in range(n_first)]
        return [[runs_of(np.unique(first))], by_first]

    def join(self, codes: Array) -> Array:
        """Return the places of levels (n, C) that codes (n, F) stand for."""
        places = codes[:, self._first].astype(np.int64)
        for c in np.flatnonzero(self.base):
            second = np.nan_to_num(codes[:, self._first[c] + 1]).astype(np.int64)
            number = np.clip(places[:, c] * self.base[c] + second, 0, self.n_levels[c] - 1)
            places[:, c] = self._level_of[self._levels[c] + number]
        return places


def numbers_by_frequency(mass: Array) -> Array:
    """Return the number of each level (K,): 0 for the one with the most mass, and so on."""
    number = np.empty(len(mass), np.int64)
    number[np.argsort(-mass, kind="stable")] = np.arange(len(mass))
    return number
