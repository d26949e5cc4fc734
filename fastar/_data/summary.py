"""Summaries of tables that `fit` reads batch by batch, in bounded memory.

`Summary` is the same for any cut of the rows into batches and any order of merging: it holds
counts, ranges, and the rows whose numbers have the smallest hashes.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastar._core.integers import subtract
from fastar._core.parameters import Array
from fastar._data.column_summary import (
    ColumnSummary,
    array_offset,
    columns_of,
    kept_dtype,
)
from fastar._data.columns import Columns
from fastar._data.containers import Container
from fastar._data.frame_types import OTHER, UNKNOWN, Column, frame_kind
from fastar._data.frames import Schema, exact_integers
from fastar._data.reading import array_dtype
from fastar._data.streams import rows_told

SAMPLE_ROWS, SAMPLE_VALUES = 100_000, 1 << 24
"""Rows that stand for all where distributions are learnt, and values that these have, at most."""

_GOLDEN = 0x9E3779B97F4A7C15


def row_hashes(rows: Array, seed: int = 0) -> Array:
    """Return a hash (n,) of row numbers, in 0 .. 2**64 - 1, different for different rows.

    That of SplitMix64 [1]_: what its state is after as many steps as the number, from the seed.

    References
    ----------
    .. [1] G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators",
       OOPSLA 2014.
    """
    z = np.uint64(seed % 2**64) + rows.astype(np.uint64) * np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashes: Array = z ^ (z >> np.uint64(31))
    return hashes


class Summary:
    """What a pass over a table's rows has found, in parts that can be merged.

    The result depends on the rows and their numbers alone: not on how they are cut into batches,
    nor on the order in which batches come and summaries are merged. A batch may have the columns of
    a data frame in another order; they are as in the batch with the lowest row.

    Parameters
    ----------
    name : str
        Name of the table in errors.
    n_sampled : int, optional
        Rows that are kept: those with a weight whose numbers have the smallest hashes, or all of
        them if they are no more. By default `SAMPLE_ROWS`, or fewer of wide tables. Where a column
        has more than `MOST_LEVELS` strings, those that occur twice in these rows are its
        categories, and the rest is one category, "other".

    Attributes
    ----------
    n_rows, n_weighted : int
        Rows, and those with a positive weight.
    kind : str or None
        "pandas" or "polars" of data frames, "array" of arrays; None without rows.
    columns : dict of ColumnSummary
        Summaries of the columns, by name, or place in arrays.
    """

    def __init__(self, name: str = "X", n_sampled: int | None = None) -> None:
        self.name = name
        self.n_sampled = n_sampled
        self.n_rows = self.n_weighted = 0
        self.kind: str | None = None
        self.columns: dict[Any, ColumnSummary] = {}
        self._first = 0
        self._rows = np.empty(0, np.int64)
        self._weight = np.empty(0)
        self._values: dict[Any, Array] = {}
        """The sampled rows' values, by column; anything where they are missing."""
        self._gaps: dict[Any, Array] = {}

    def update(self, batch: Any, first_row: int, weight: Array | None = None) -> None:
        """Take in a batch of rows.

        Parameters
        ----------
        batch : pandas or polars DataFrame, or ndarray of shape (n, D)
        first_row : int
            The number of its first row in the whole table.
        weight : array (n,), optional
            Weights of the rows, all the same by default.

        Raises
        ------
        TypeError, ValueError
            It has other columns than the batches before, or values that no model takes. The summary
            has not changed.
        """
        if len(batch):
            with rows_told(self.name, first_row):
                one = _summary_of(batch, first_row, self.n_sampled, weight)
            self.merge(one)

    def merge(self, other: Summary) -> None:
        """Take in the summary of other rows.

        Raises
        ------
        TypeError, ValueError
            They have other columns. The summary has not changed.
        """
        if not other.n_rows:
            return
        if not self.n_rows:
            columns = {name: it.copy() for name, it in other.columns.items()}
            vars(self).update({**vars(other), "name": self.name, "columns": columns})
            self._values, self._gaps = dict(other._values), dict(other._gaps)
            return
        self._check_alike(other)
        order = list((self if self._first < other._first else other).columns)
        rows = np.concatenate([self._rows, other._rows])
        weight = np.concatenate([self._weight, other._weight])
        kept = self._smallest(rows, weight)
        for name in order:
            self.columns[name].merge(other.columns[name])
            gaps = [self._gaps[name], other._gaps[name]]
            values = _of_one_type([self._values[name], other._values[name]], gaps)
            self._values[name] = np.concatenate(values)[kept]
            self._gaps[name] = np.concatenate(gaps)[kept]
        self.columns = {name: self.columns[name] for name in order}
        self._rows, self._weight = rows[kept], weight[kept]
        self.n_rows += other.n_rows
        self.n_weighted += other.n_weighted
        self._first = min(self._first, other._first)

    @property
    def sampled_rows(self) -> Array:
        """Return the numbers (m,) of the rows that are kept, sorted."""
        return np.sort(self._rows)

    def _smallest(self, rows: Array, weight: Array) -> Array:
        """Return the places of the row numbers to keep, which have the smallest hashes.

        Rows without weight are kept only where those with one are too few.
        """
        k = self.n_sampled or max(1, min(SAMPLE_ROWS, SAMPLE_VALUES // len(self.columns)))
        if len(rows) <= k:
            return np.arange(len(rows))
        counted, rest = np.flatnonzero(weight), np.flatnonzero(weight == 0)
        if len(counted) >= k:
            return _lowest(rows, counted, k)
        return np.concatenate([counted, _lowest(rows, rest, k - len(counted))])

    def _check_alike(self, other: Summary) -> None:
        if self.kind != other.kind:
            raise TypeError(
                f"{self.name} must be made of batches of one kind. "
                f"Got {self.kind} and {other.kind} instead."
            )
        strange = sorted(self.columns.keys() ^ other.columns.keys(), key=str)
        if strange:
            raise ValueError(
                f"{self.name} must have the same columns in every batch. Got column {strange[0]!r} "
                f"from row {self._first if strange[0] in self.columns else other._first} on, but "
                "not in every other batch."
            )
        for name, mine in self.columns.items():
            theirs = other.columns[name]
            if not mine.agrees(theirs):
                raise TypeError(
                    f"{self.name} must hold values of one type in column {name!r}. Got values of "
                    f"type {mine.said} from row {self._first} on and of type {theirs.said} from "
                    f"row {other._first} on."
                )

    # ---- what it says

    def part(self, names: list[Any]) -> Summary:
        """Return the summary of some of the columns, in this order."""
        part = copy.copy(self)
        for attribute in ("columns", "_values", "_gaps"):
            found = getattr(self, attribute)
            setattr(part, attribute, {name: found[name] for name in names})
        return part

    @property
    def missing(self) -> Array:
        """Return which columns (D,) have missing values."""
        return np.array([each.n_missing > 0 for each in self.columns.values()])

    def container(self, least_counts: Mapping[Any, int] | None = None) -> Schema | Container:
        """Return what `fit` remembers of the table, as if it was in memory.

        Parameters
        ----------
        least_counts : mapping from names of columns to int, optional
            How often a category of strings must occur; rarer ones become one category, "other".

        Raises
        ------
        ValueError
            A column has no value at all.
        """
        if self.kind == "array":
            dtype = np.result_type(*(each.numpy for each in self.columns.values()))
            offsets = tuple(array_offset(each) for each in self.columns.values())
            return Container("array", dtype.str, None, offsets if any(offsets) else None)
        assert self.kind is not None
        least = least_counts or {}
        columns = [self._column(name, it, least.get(name, 1)) for name, it in self.columns.items()]
        return Schema(self.kind, tuple(columns))

    def _column(self, name: Any, it: ColumnSummary, least_count: int) -> Column:
        if it.type is None:
            raise ValueError(
                f"{self.name} must have a value in every column: leave out what is missing "
                f"everywhere. Got none in column {name!r}."
            )
        if it.type == "category":
            return self._categories(name, it, least_count)
        type_, categories, offset = it.type, tuple[int, ...](), 0
        if type_ == "integer":
            type_, categories, offset = exact_integers(it.low, it.high, lambda: self._levels(name))
        clock = it.clock()
        return Column(name, it.dtype, type_, categories, it.n_missing > 0, offset, clock=clock)

    def _categories(self, name: Any, it: ColumnSummary, least_count: float) -> Column:
        """Return a column of categories, in which rare ones, or the rest of too many, are one."""
        counts, share, too_many = it.levels, 1.0, it.levels is None and it.declared is None
        if counts is None:
            counts, share = Counter(self._present(name)), self.n_rows / len(self._rows)
        if too_many:  # as many are left out as occur once in the sample: I. J. Good, 1953
            least_count = max(least_count, 2 * share)
        categories = tuple(sorted(counts)) if it.declared is None else it.declared
        common = {value for value, n in counts.items() if n * share >= least_count}
        is_cut = (too_many or (least_count > 1 and len(common) < len(categories))) and all(
            isinstance(each, str) for each in categories
        )
        if is_cut:
            kept = (each for each in categories if each in common and each != OTHER)
            categories = (*kept, OTHER)
        return Column(name, it.dtype, "category", categories, it.n_missing > 0, has_other=is_cut)

    def _levels(self, name: Any) -> Iterable[Any]:
        """Return the values that were counted, or those of the sample where they are too many."""
        counted = self.columns[name].levels
        return counted if counted is not None else set(self._present(name))

    def _present(self, name: Any) -> list[Any]:
        """Return the values of the sampled rows."""
        present: list[Any] = self._values[name][~self._gaps[name]].tolist()
        return present

    def sample(self, container: Schema | Container) -> Sample:
        """Return rows from which to learn what the columns are like, as `container` codes them."""
        order = np.argsort(self._rows)
        D, n = len(self.columns), len(order)
        unsampled = [self._unsampled(name) for name in self.columns]
        m = max(map(len, unsampled))
        rest = np.arange(n, n + m) % n
        parts = []
        for name, new in zip(self.columns, unsampled, strict=True):
            mine, gaps = self._values[name][order], self._gaps[name][order]
            more = np.empty(len(new), mine.dtype)
            more[:] = new
            fill = rest[len(new) :]
            parts.append(
                (
                    np.concatenate([mine, more, mine[fill]]),
                    np.concatenate([gaps, np.zeros(len(new), bool), gaps[fill]]),
                )
            )
        weight = np.zeros(n + m)
        n_weighted = max(1, int(np.count_nonzero(self._weight)))
        weight[:n] = self.n_weighted / n_weighted * self._weight[order]
        rows = np.concatenate([self._rows[order], np.full(m, -1)])
        if isinstance(container, Schema):
            return Sample(self._columns_of(container, parts), weight, rows)
        X = np.empty((n + m, D), container.dtype)
        for d, (values, _) in enumerate(parts):
            X[:, d] = values
        return Sample(container.to_numbers(X), weight, rows)

    def _columns_of(self, schema: Schema, parts: list[tuple[Array, Array]]) -> Any:
        """Return values of columns, and where they are missing, as `read` returns a frame."""
        dtype = self.array_dtype(schema)
        if dtype is not None:
            return np.stack([values.astype(dtype) for values, _ in parts], axis=1)
        columns = Columns(schema.columns, len(parts[0][0]), self.name)
        types = self.kept_dtypes(schema)
        for d, (column, (values, gaps)) in enumerate(zip(schema.columns, parts, strict=True)):
            if column.type == "category":
                rest = UNKNOWN if column.rest is None else column.rest
                values = np.array([column.numbers.get(value, rest) for value in values.tolist()])
            elif (counted := self.columns[column.name].counted) and column.clock is not None:
                values = column.clock.numbers(values, counted[0])
            elif column.offset:
                values = subtract(np.where(gaps, column.offset, values)[:, None], [column.offset])
                values = values[:, 0]
            columns.put(d, np.where(gaps, 0, values).astype(types[d]), gaps)
            columns.missing[d] = self.columns[column.name].n_missing > 0
        return columns

    def _unsampled(self, name: Any) -> list[Any]:
        """Return values of a column that no sampled row has: levels, or the ends of its range."""
        it = self.columns[name]
        new = it.unseen(self._present(name))
        # in an array only NaN tells that a column may be missing
        is_hidden = self.kind == "array" and it.n_missing and not self._gaps[name].any()
        return [*new, np.nan] if is_hidden else new

    def array_dtype(self, container: Schema | Container) -> np.dtype[Any] | None:
        """Return the type of the array that the rows are in memory; None if they are `Columns`."""
        if isinstance(container, Container):
            return np.dtype(container.dtype if container.offsets is None else np.int64)
        if any(each.n_missing for each in self.columns.values()):
            return None
        return array_dtype(container)

    def kept_dtypes(self, schema: Schema) -> list[np.dtype[Any]]:
        """Return the smallest types that hold the numbers of each column of a frame.

        Those of `Columns`, with marks of missing and unknown values where these have them.
        """
        return [kept_dtype(self.columns[column.name], column) for column in schema.columns]

    def has_unknown(self, schema: Schema) -> Array:
        """Return which columns (D,) may have values that are none of their categories."""
        found = []
        for column in schema.columns:
            counted = self.columns[column.name].levels
            known = counted is not None and counted.keys() <= column.numbers.keys()
            found.append(column.type == "category" and not (known or column.has_other))
        return np.array(found)


def _lowest(rows: Array, places: Array, k: int) -> Array:
    """Return the k of some places whose row numbers have the smallest hashes."""
    return places[np.argpartition(row_hashes(rows[places]), k - 1)[:k]]


@dataclass(frozen=True)
class Sample:
    """Rows from which to learn what the columns of a table are like.

    Parameters
    ----------
    X : Columns or ndarray of shape (m, D)
        As a model reads them: sampled rows in the order of the table, and after them rows of weight
        0 with values that no sampled row has.
    weight : array (m,)
        Weights of the rows: all together, about as much as the rows of the table.
    rows : int array (m,)
        Their numbers in the table; -1 of those without weight.
    """

    X: Any
    weight: Array
    rows: Array


def _of_one_type(values: list[Array], gaps: list[Array]) -> list[Array]:
    """Return two parts of a column in types that can be joined without loss."""
    for one, other in ((0, 1), (1, 0)):
        if gaps[one].all():
            return [
                np.zeros(len(each), values[other].dtype) if k == one else each
                for k, each in enumerate(values)
            ]
    dtype = np.result_type(*values)
    whole = all(each.dtype.kind in "iu" for each in values)
    return [each.astype(object) for each in values] if whole and dtype.kind == "f" else values


def _summary_of(batch: Any, first_row: int, n_sampled: int | None, weight: Array | None) -> Summary:
    """Return the summary of one batch."""
    found = Summary(n_sampled=n_sampled)
    found.n_rows, found._first = len(batch), first_row
    found.kind = frame_kind(batch) or "array"
    of_batch = columns_of(batch)
    found.columns = {key: column for key, (column, _, _) in of_batch.items()}
    rows = np.arange(first_row, first_row + len(batch))
    weight = np.ones(len(batch)) if weight is None else weight
    kept = found._smallest(rows, weight)
    found.n_weighted = int(np.count_nonzero(weight))
    found._rows, found._weight = rows[kept], weight[kept]
    found._values = {key: values[kept] for key, (_, values, _) in of_batch.items()}
    found._gaps = {key: gaps[kept] for key, (_, _, gaps) in of_batch.items()}
    return found
