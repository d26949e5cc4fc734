"""Sequences that others hold in parts: what a fit has to know of them, and their shards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._data.column_summary import ColumnSummary, array_offset, columns_of
from fastar._data.parts import Parts
from fastar._data.sequence_layouts import SequenceLayout
from fastar._data.sequences import Sequences, SequenceTable, check_any_step, listed
from fastar._data.stores import HeldOut, held_rows, shard_numbers
from fastar._data.summary import row_hashes
from fastar._engine.model import Composition
from fastar._engine.sharded import Shard, ShardedTable, regrouped
from fastar._engine.steps import check_steps
from fastar.models._base import FitData
from fastar.models._sequences import SequenceEstimator
from fastar.models._streamed import Elsewhere, SampledTable

SAMPLE_VALUES = 1 << 21
"""Values of sequences that stand for all where distributions are learnt, about."""


@dataclass
class SequenceSummary:
    """A summary of sequences that does not depend on their parts: counts, ranges, some of them.

    Parameters
    ----------
    n, longest : int
        Sequences, and steps of the longest one.
    has_empty : bool
        Whether any has no step.
    columns : list of ColumnSummary
        Summaries of the values of a step.
    numbers : int array (m,)
        Numbers of the sequences that are kept: those with the smallest hashes.
    sequences : list of arrays (l, F)
        These.
    """

    n: int = 0
    longest: int = 0
    has_empty: bool = False
    columns: list[ColumnSummary] = field(default_factory=list)
    numbers: Array = field(default_factory=lambda: np.empty(0, np.int64))
    sequences: list[Array] = field(default_factory=list)

    @classmethod
    def of(cls, found: Sequences, first: int) -> SequenceSummary:
        """Return the summary of sequences, the first of which has this number."""
        columns = [column for column, _, _ in columns_of(found.values).values()]
        for column in columns:  # others of a list may be whole numbers
            column.type = "integer" if column.type == "bool" else column.type
        lengths = found.lengths
        numbers = first + np.arange(len(found))
        parts = np.split(found.values, found.offsets[1:-1])
        summary = cls(len(found), int(lengths.max()), bool((lengths == 0).any()), columns)
        summary._keep(numbers, parts)
        return summary

    @property
    def width(self) -> int:
        """F, values of a step."""
        return len(self.columns)

    def _keep(self, numbers: Array, sequences: list[Array]) -> None:
        """Keep those with the smallest hashes: no more once they have `SAMPLE_VALUES`."""
        order = np.argsort(row_hashes(numbers))
        sizes = np.array([sequences[k].size for k in order])
        kept = order[np.cumsum(sizes) - sizes < SAMPLE_VALUES]
        self.numbers, self.sequences = numbers[kept], [sequences[k] for k in kept]

    def merge(self, other: SequenceSummary) -> SequenceSummary:
        """Return the summary of both; ValueError if they have other numbers of values a step."""
        if not (self.n and other.n):
            return self if self.n else other
        if self.width != other.width:
            raise ValueError(
                "X must hold sequences with the same number of values a step. "
                f"Got {sorted([self.width, other.width])}."
            )
        for mine, theirs in zip(self.columns, other.columns, strict=True):
            mine.merge(theirs)
        self.n += other.n
        self.longest = max(self.longest, other.longest)
        self.has_empty |= other.has_empty
        self._keep(
            np.concatenate([self.numbers, other.numbers]), [*self.sequences, *other.sequences]
        )
        return self

    def layout(self, ends: bool) -> SequenceLayout:
        """Return what `fit` remembers."""
        dtype = np.result_type(*(each.numpy for each in self.columns))
        offsets = tuple(array_offset(each) for each in self.columns)
        own = offsets if any(offsets) else None
        return SequenceLayout(
            width=self.width,
            ends=ends,
            longest=max(1, self.longest),
            dtype=dtype.str,
            offsets=own,
        )

    def sample(self) -> tuple[Sequences, Array, Array]:
        """Return sequences from which to learn what values are like, their weights and numbers.

        The last one may have weight 0 and number -1: it has levels, and ends of ranges, that no
        other one has.
        """
        order = np.argsort(self.numbers)
        parts = [self.sequences[k] for k in order]
        weight, numbers = np.full(len(parts), self.n / len(parts)), self.numbers[order]
        values = np.concatenate(parts)
        new = [it.unseen(values[:, d].tolist()) for d, it in enumerate(self.columns)]
        if m := max(map(len, new)):
            dtype = np.result_type(values, *(np.asarray(each) for each in new if each))
            more = np.resize(values, (m, self.width)).astype(dtype)
            for d, each in enumerate(new):
                more[: len(each), d] = each
            parts.append(more)
            weight, numbers = np.append(weight, 0.0), np.append(numbers, -1)
        offsets = np.concatenate([[0], np.cumsum([len(each) for each in parts])])
        return Sequences(np.concatenate(parts), offsets), weight, numbers


class SampledSequences(SampledTable, SequenceTable):
    """Sampled sequences of parts, which say what the values are like.

    Parameters
    ----------
    sequences, ends, rows
        As of `SequenceTable`.
    parts : Parts
        Parts from which they are sampled.
    n_rows, weight, numbers
        As of `SampledTable`.
    """

    def __init__(
        self,
        sequences: Sequences,
        ends: bool,
        rows: Array | None = None,
        *,
        parts: Parts,
        n_rows: int,
        weight: Array,
        numbers: Array,
    ) -> None:
        super().__init__(sequences, ends, rows)
        self.parts = parts
        self.n_rows = n_rows
        self.weight = weight
        self.numbers = numbers

    def subset(self, which: Array) -> SampledSequences:
        """Return the table of some of the sequences."""
        return SampledSequences(
            self.sequences,
            self.ends,
            self.rows[which],
            parts=self.parts,
            n_rows=self.n_rows,
            weight=self.weight[which],
            numbers=self.numbers[which],
        )

    def stored(
        self, estimator: Any, share: float, rng: np.random.Generator
    ) -> tuple[Elsewhere, Elsewhere | None]:
        """Return the sequences to train on and those held out, in shards."""
        is_held = HeldOut.drawn(share, self.n_rows, rng)
        table, held = estimator._shards(self, "X", is_held)
        return table, None if is_held is None else held


@dataclass(frozen=True)
class _Layout:
    """How a shard keeps sequences: values (N, F), and offsets (n + 1,)."""

    ends: bool

    def table(self, parts: list[Array], order: Array) -> SequenceTable:
        """Return the table of the sequences."""
        values, offsets = parts
        n = len(offsets) - 1
        sequences = Sequences(values, offsets if n else [0, 0], gaps=True)
        return SequenceTable(sequences, self.ends, np.arange(n))

    def weight(self, parts: list[Array]) -> None:
        """Return that all weigh the same."""


class SequencesInParts(SequenceEstimator, abstract=True):
    """Base of densities of sequences that may be fitted to `Parts` of them."""

    end_symbol: bool | None

    def _read_parts(self, data: FitData, keep: bool) -> SampledSequences:
        """Return what parts hold, and remember what they are; keep: they are like the last."""
        for name in ("context", "sample_weight"):
            if getattr(data, name) is not None:
                raise ValueError(f"{name} must be None for sequences that others hold. Got one.")
        found = self._sampled(data.X, "X", keep)
        if not keep:
            self.context_ = None
        return found

    def _sampled(self, parts: Parts, name: str, keep: bool) -> SampledSequences:
        call = partial(_found_in_part, name=name)
        summary: SequenceSummary = parts.reduce(call, SequenceSummary.merge)
        if not summary.n:
            raise ValueError(f"{name} must have at least one sequence. Got none.")
        if not keep:
            check_any_step(summary.longest, summary.n, name)
            ends = self.end_symbol is None or bool(self.end_symbol)
            layout = self._container = summary.layout(ends)
            self.n_features_in_, self.order_ = layout.width, np.arange(layout.width + ends)
        layout = self._container
        if summary.width != layout.width:
            raise ValueError(
                f"{name} must have {layout.width} values a step, as in fit. "
                f"Got {summary.width} instead."
            )
        if not layout.ends and summary.has_empty:
            raise ValueError(f"{name} must hold sequences of one step or more. Got an empty one.")
        sequences, weight, numbers = summary.sample()
        return SampledSequences(
            layout.to_numbers(sequences),
            layout.ends,
            parts=parts,
            n_rows=summary.n,
            weight=weight,
            numbers=numbers,
        )

    def _parts_held_out(self, data: FitData) -> ShardedTable:
        """Return the shards of parts for early stopping."""
        if data.context_val is not None:
            raise ValueError("context_val must be None for sequences that others hold. Got one.")
        sampled = self._sampled(data.X_val, "X_val", keep=True)
        return self._shards(sampled, "X_val", None)[0]

    def _check_support(self, table: SequenceTable, name: str) -> None:
        """Raise ValueError where values have no density; of parts where they are divided up."""
        if not isinstance(table, SampledSequences):
            super()._check_support(table, name)

    def _shards(
        self, sampled: SampledSequences, name: str, is_held: HeldOut | None
    ) -> tuple[ShardedTable, ShardedTable]:
        """Return the sequences to train on and those held out, each in shards."""
        parts, n = sampled.parts, sampled.parts.n_shards
        start = sampled.subset(np.flatnonzero(~held_rows(is_held, sampled.numbers)))
        model = self._composed(np.empty(0, self.network_.dtype))
        split = partial(
            _split_part,
            conditional=self._entering,
            layout=self._container,
            name=name,
            is_held=is_held,
            n=n,
        )
        join = partial(_join, model=model, layout=_Layout(self._container.ends))
        return regrouped(parts, split, join, self.order_, (start, start.weight))


# ---- parts


@contextmanager
def _sequences_told(first: int, name: str) -> Iterator[None]:
    """Let errors about a part name the sequence among all."""
    try:
        yield
    except (TypeError, ValueError) as error:
        told = re.sub(
            rf"(\bsequence |{name}\[)(\d+)", lambda at: f"{at[1]}{first + int(at[2])}", str(error)
        )
        raise type(error)(told) from error


def _found_in_part(part: Any, name: str) -> SequenceSummary:
    first, rows = part
    if not len(rows):
        return SequenceSummary()
    with _sequences_told(first, name):
        return SequenceSummary.of(Sequences.of(listed(rows, name), name), first)


def _split_part(
    part: Any,
    conditional: Any,
    layout: SequenceLayout,
    name: str,
    is_held: HeldOut | None,
    n: int,
) -> list[list[Array]]:
    """Return values and lengths of a part by shard: those to train on, then those held out."""
    first, rows = part
    if not len(rows):
        return [[np.empty((0, layout.width)), np.empty(0, np.intp)]] * (2 * n)
    table = SequenceTable(layout.to_numbers(Sequences.of(listed(rows), name)), layout.ends)
    with _sequences_told(first, name):
        check_steps(conditional, table, name, layout)
    numbers = first + np.arange(len(table))
    shard = shard_numbers(numbers, n, is_held)
    found = []
    for k in range(2 * n):
        places, lengths = table.places(np.flatnonzero(shard == k))
        found.append([table.sequences.values[places], lengths])
    return found


def _join(number: int, pieces: list[list[Array]], model: Composition, layout: _Layout) -> Shard:
    values, lengths = (np.concatenate(each) for each in zip(*pieces, strict=True))
    return Shard(number, model, layout, [values, np.concatenate([[0], np.cumsum(lengths)])])
