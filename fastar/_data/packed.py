"""Sequences packed step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastar._core.lazy import lazy
from fastar._core.parameters import Array


def _places(counts: Array) -> Array:
    """Return 0 .. count - 1 of each time, one time after the other."""
    first = np.cumsum(counts) - counts
    places: Array = np.arange(counts.sum()) - np.repeat(first, counts)
    return places


@dataclass(frozen=True)
class Steps:
    """The steps of sequences, the first of all of them, then the second, and so on.

    The longest sequence comes first, so that those that continue are the first of each step.

    Parameters
    ----------
    codes : array (N, F)
    counts : int array (T,)
        How many sequences have a step t.
    sequence : int array (N,)
        The sequence of each step.
    inputs : array (N - n, E) or None
        Inputs before each step but the n first ones; None: the codes of the step before.
    """

    codes: Array
    counts: Array
    sequence: Array
    inputs: Array | None = None

    @classmethod
    def of(cls, codes: Array, lengths: Array) -> Steps:
        """Return steps of sequences that stand one after the other in codes (N, F)."""
        order = np.argsort(-lengths, kind="stable")
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])[order]
        counts = np.searchsorted(-lengths[order], -np.arange(lengths.max(initial=0)), side="left")
        rows = _places(counts)
        time = np.repeat(np.arange(len(counts)), counts)
        return cls(np.ascontiguousarray(codes[starts[rows] + time]), counts, order[rows])

    def __len__(self) -> int:
        """Return the number of sequences."""
        return int(self.counts[0]) if len(self.counts) else 0

    @lazy
    def first(self) -> Array:
        """Where each t begins, and the end (T + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    @lazy
    def before(self) -> Array | slice:
        """Where the step before stands, for every step but first ones."""
        if self.counts[0] == self.counts[-1]:
            return slice(0, len(self.codes) - len(self))
        continuing = self.counts[1:]
        return np.repeat(self.first[:-2], continuing) + _places(continuing)

    @lazy
    def entering(self) -> Array:
        """The inputs (N - n, E) before each step but first ones."""
        if self.inputs is not None:
            return self.inputs
        return self.codes[self.before] if len(self.codes) else self.codes

    def longer(self) -> Steps:
        """Return sequences of one length with one step more, whatever it holds."""
        n = len(self)
        codes = np.concatenate([self.codes, self.codes[-n:]])
        return Steps(codes, np.append(self.counts, n), np.append(self.sequence, np.arange(n)))

    def between(self, begin: int, end: int) -> Steps:
        """Return the steps of times begin .. end - 1."""
        where = slice(self.first[begin], self.first[end])
        updates = slice(self.first[begin + 1] - len(self), self.first[end] - len(self))
        return Steps(
            self.codes[where], self.counts[begin:end], self.sequence[where], self.entering[updates]
        )

    def sums(self, values: Array) -> Array:
        """Return the sums over each sequence (n,) of a number (N,) for each step."""
        return np.bincount(self.sequence, values, len(self))
