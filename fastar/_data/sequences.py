"""Sequences of any length: how they are read, and how the loop and the scores see them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastar._core.lazy import lazy
from fastar._core.parameters import Array
from fastar._core.threads import check_stopped
from fastar._core.validation import as_array, unmask
from fastar._data.frame_types import Column, frame_kind
from fastar._data.frames import Schema
from fastar._data.long_frames import LongFrame, columns_of
from fastar._data.table import BatchOfRows, Table, shuffled

_BLOCK_STEPS = 1 << 15
"""Steps of one block of scoring, unless a sequence is longer."""


class Sequences:
    """Sequences that stand one after the other in one array.

    Parameters
    ----------
    values : array-like of shape (N,) or (N, F)
        All steps.
    offsets : int array-like of shape (n + 1,)
        Where each sequence begins, and the end.
    gaps : bool, default=False
        Whether values may be NaN, where they are missing.

    Raises
    ------
    ValueError
        values have other than one or two axes, are not finite numbers, or offsets do not rise from
        0 to N.
    """

    def __init__(self, values: Any, offsets: Any, *, gaps: bool = False) -> None:
        self.values = _checked(values, "values", gaps)
        self.offsets = np.asarray(offsets)
        if (
            self.offsets.ndim != 1
            or self.offsets.dtype.kind not in "iu"
            or len(self.offsets) < 2
            or self.offsets[0] != 0
            or self.offsets[-1] != len(self.values)
            or (np.diff(self.offsets.astype(np.int64)) < 0).any()
        ):
            raise ValueError(
                f"offsets must be whole numbers that rise from 0 to {len(self.values)}, the number "
                f"of steps. Got {offsets!r} instead."
            )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Array:
        """Steps of each sequence (n,)."""
        return np.diff(self.offsets)

    @classmethod
    def of(cls, X: Any, name: str = "X", *, gaps: bool = False) -> Sequences:
        """Return what the user gave: an array (n, D), a list of sequences, or `Sequences`."""
        if isinstance(X, Sequences):
            return X
        shapes = _shapes(X, name) if isinstance(X, list | tuple) else []
        if shapes and all(shapes):
            parts = [_checked(each, f"{name}[{i}]", gaps) for i, each in enumerate(X)]
            widths = {part.shape[1] for part in parts}
            if len(widths) > 1:
                raise ValueError(
                    f"{name} must hold sequences with the same number of values a step. "
                    f"Got {sorted(widths)}."
                )
            offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
            return cls(np.concatenate(parts), offsets, gaps=gaps)
        if shapes:
            i = shapes.index(())
            remedy = "" if any(shapes) else f" One sequence alone is [{name}]."
            raise ValueError(f"{name}[{i}] must be a sequence. Got {X[i]!r:.80} instead.{remedy}")
        raise ValueError(
            f"{name} must be an array of shape (n, D), a list of arrays of shape (l,) or (l, F), "
            f"or Sequences. Got {type(X).__name__} instead."
        )


def listed(X: Any, name: str = "X") -> Any:
    """Return sequences in an array of objects or of Arrow, or a Series, as a list.

    Others are returned as they are.

    Raises
    ------
    ValueError
        There are none, or they are text: what a symbol is, its number says.
    """
    if hasattr(X, "__next__"):
        raise TypeError(
            f"{name} must be readable more than once. Got {type(X).__name__} instead: "
            f"list({name}) is."
        )
    is_series = type(X).__name__ == "Series" and hasattr(X, "to_list")
    if type(X).__module__.partition(".")[0] == "pyarrow" and hasattr(X, "to_pylist"):
        X = X.to_pylist()
    if is_series or (isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1):
        X = list(X)
    if isinstance(X, list | tuple) and not len(X):
        raise ValueError(f"{name} must have at least one sequence. Got an empty list instead.")
    if isinstance(X, list | tuple):
        i = next((i for i, each in enumerate(X) if frame_kind(each) is not None), None)
        if i is not None:
            raise ValueError(
                f"{name}[{i}] must hold numbers. Got a DataFrame instead: put all into one, below "
                "each other, and let groups= of GenerativeRNN name the column of their sequences."
            )
    texts = (str, bytes, bytearray)
    found = X if isinstance(X, texts) else None
    if isinstance(X, list | tuple):
        parts = (each[0] if isinstance(each, list | tuple) and each else each for each in X)
        found = next((each for each in parts if isinstance(each, texts)), None)
    if found is not None:
        raise ValueError(
            f"{name} must hold sequences of numbers. Got {found!r} instead: give each symbol a "
            "number, as [ord(symbol) for symbol in text] does."
        )
    return X


def check_numbers_of_frame(X: Any, name: str) -> None:
    """Raise ValueError where a DataFrame whose rows are sequences has a column of no numbers."""
    if frame_kind(X) is None:
        return
    for column in Schema.of(X, name).columns:
        if column.type not in ("bool", "integer", "float"):
            raise ValueError(
                f"{name} must hold numbers where each row is a sequence, a column a step. Got a "
                f"column {column.name!r} of type {column.type}. Of a table whose rows are steps, "
                "groups= of GenerativeRNN names the column of their sequences, such as customers."
            )


def check_any_step(n_steps: int, n: int, name: str) -> None:
    """Raise ValueError where n sequences have no step at all."""
    if not n_steps:
        raise ValueError(f"{name} must have at least one step. Got {n} empty sequences instead.")


def is_ragged(X: Any, name: str = "X") -> bool:
    """Return whether X is a list of sequences, not rows of an array."""
    if isinstance(X, Sequences):
        return True
    if not isinstance(X, list | tuple):
        return False
    arrays = any(isinstance(each, np.ndarray) for each in X)
    return arrays or len({*_shapes(X, name)}) > 1


def fill_gaps(X: Any, sequences: Sequences, values: Array) -> list[Array]:
    """Return the sequences of X, read as `sequences`, with `values` (N, F) where they are NaN."""
    parts = np.split(values, sequences.offsets[1:-1])
    if isinstance(X, Sequences):
        given = np.split(X.values, X.offsets[1:-1])
        given = [each[:, 0] for each in given] if X.values.shape[1] == 1 else given
    else:
        given = [np.asarray(each) for each in (X if is_ragged(X) else np.asarray(X))]
    read, found = np.split(sequences.values, sequences.offsets[1:-1]), []
    for each, own, part in zip(given, read, parts, strict=True):
        filled, gaps = each.copy(), np.isnan(own).reshape(each.shape)
        filled[gaps] = part.reshape(each.shape)[gaps]
        found.append(filled)
    return found


def _shapes(X: list[Any] | tuple[Any, ...], name: str) -> list[tuple[int, ...]]:
    """Return the shape of each sequence."""
    return [as_array(each, f"{name}[{i}]").shape for i, each in enumerate(X)]


def _checked(values: Any, name: str, gaps: bool) -> Array:
    """Return steps (N, F) of numbers; gaps: or NaN."""
    array = np.asarray(unmask(values, name))
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2):
        raise ValueError(
            f"{name} must hold numbers in one or two axes, steps and values. "
            f"Got {array.dtype} in {array.ndim} axes."
        )
    if array.shape[1:] == (0,):
        raise ValueError(
            f"{name} must have a value a step or more. Got none, in shape {array.shape}."
        )
    wrong = ~(np.isfinite(array) | (gaps & np.isnan(array)))
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        raise ValueError(
            f"{name} must be finite{' or NaN' if gaps else ''}. "
            f"Got {array[place]} in step {place[0]}."
        )
    return array[:, None] if array.ndim == 1 else array


_END = Column("end", "bool", "bool", (), False)
"""The name of the end of sequences among the columns of their steps."""


@dataclass(frozen=True)
class Block:
    """Some sequences: their steps (N, F) one after the other, and lengths (n,)."""

    values: Array
    lengths: Array


class SequenceTable:
    """The `Table` of sequences.

    Parameters
    ----------
    sequences : Sequences
    ends : bool
        Whether each has one step more, at which it ends. Steps then have a first value of 0, and 1
        at the last one, whose other values are missing.
    rows : int array or None
        The sequences that belong to the table, all of them by default.
    context : array (n, C) or None
        Context of each of `sequences`, as networks take it.
    frame : LongFrame or None
        The frame whose rows are the steps.
    """

    def __init__(
        self,
        sequences: Sequences,
        ends: bool,
        rows: Array | None = None,
        context: Array | None = None,
        frame: LongFrame | None = None,
    ) -> None:
        self.sequences = sequences
        self.frame = frame
        self.ends = ends
        self.rows = np.arange(len(sequences)) if rows is None else rows
        self._context = context

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, which: Array) -> SequenceTable:
        """Return the table of some of the sequences."""
        return SequenceTable(self.sequences, self.ends, self.rows[which], self._context, self.frame)

    @lazy
    def known(self) -> Array:
        """Where (N, F) the values of `sequences` are known, or known not to apply."""
        known: Array = self.sequences.values == self.sequences.values
        known[:, : 0 if self.frame is None else self.frame.n_timed] = True
        return known

    def given(self, context: Array | None) -> SequenceTable:
        """Return the table of the same sequences with a context."""
        return SequenceTable(self.sequences, self.ends, self.rows, context, self.frame)

    def context(self, which: Array | slice) -> Array | None:
        """Return the context of some of the sequences."""
        if self._context is None:
            return None
        return np.ascontiguousarray(self._context[self.rows[which]])

    def places(self, which: Array | slice) -> tuple[Array, Array]:
        """Return where the steps (N,) of some of the sequences stand, and their lengths."""
        rows = self.rows[which]
        starts, lengths = self.sequences.offsets[rows], self.sequences.lengths[rows]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(starts, lengths) + within, lengths

    def take(self, which: Array | slice) -> Block:
        """Return some of the sequences."""
        places, lengths = self.places(which)
        values = self.sequences.values[places]
        if not self.ends:
            return Block(values, lengths)
        longer = lengths + 1
        whole = np.full((longer.sum(), values.shape[1] + 1), np.nan)
        last = np.cumsum(longer) - 1
        whole[:, 0] = 0
        whole[last, 0] = 1
        there = np.ones(len(whole), bool)
        there[last] = False
        whole[there, 1:] = values
        return Block(whole, longer)

    def blocks(self, most: int | None = None) -> Iterator[tuple[slice, Block]]:
        """Yield (slice of sequences, block) from first to last; most: sequences of a block."""
        steps = np.cumsum(self.sequences.lengths[self.rows] + self.ends)
        start = 0
        while start < len(self):
            check_stopped()
            before = steps[start - 1] if start else 0
            end = int(np.searchsorted(steps, before + _BLOCK_STEPS, side="right"))
            end = end if most is None else min(end, start + most)
            where = slice(start, max(start + 1, end))
            yield where, self.take(where)
            start = where.stop

    def batches(self, rng: np.random.Generator | None, size: int) -> Generator[BatchOfRows]:
        """Yield the batches of an epoch."""
        return shuffled(self, rng, size)

    def steps(self, weight: Array) -> tuple[Table, Array]:
        """Return all steps as rows of a table, and their weights."""
        block = self.take(slice(None))
        values: Any = block.values
        if self.frame is not None:
            values = columns_of((_END,) * self.ends + self.frame.columns, values)
        return Table(values, np.arange(values.shape[1])), np.repeat(weight, block.lengths)
