"""Models of rows and tables that are read batch by batch: fit, scores, samples, completions."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_feature_names, _check_n_features

from fastar._core.parameters import Array
from fastar._core.random import check_state
from fastar._data.frame_types import frame_kind
from fastar._data.frames import Schema
from fastar._data.parquet import parquet_file
from fastar._data.parts import Parts
from fastar._data.reading import read, read_numbers
from fastar._data.stores import HeldOut, Layout, Store, StoredTable
from fastar._data.streams import Stream, arranged, batch_rows, is_stream, recut, rows_told
from fastar._data.summary import MOST_LEVELS, Summary, row_hashes
from fastar._data.table import Table
from fastar._engine.model import Composition
from fastar._engine.sharded import Shard, ShardedTable
from fastar._engine.support import check_known, check_table_support

Path = str | os.PathLike[str]
_SEED_OF_SHARDS = 1


class StreamedTable(Table):
    """Sampled rows of a stream, which say what its columns are like.

    Parameters
    ----------
    X, order, rows
        As of `Table`.
    stream : Stream or Parts
        What they are sampled from.
    summary : Summary
        Of the stream.
    weight : array (m,)
        What the rows of X count for.
    numbers : int array (m,)
        Their numbers in the stream, -1 of those without weight.
    """

    def __init__(
        self,
        X: Any,
        order: Array,
        rows: Array | None = None,
        *,
        stream: Stream | Parts,
        summary: Summary,
        weight: Array,
        numbers: Array,
    ) -> None:
        super().__init__(X, order, rows)
        self.stream = stream
        self.summary = summary
        self.weight = weight
        self.numbers = numbers

    def subset(self, which: Array) -> StreamedTable:
        """Return the table of some of the rows."""
        rows = which if self.rows is None else self.rows[which]
        return self._with(self.order, rows, self.weight[which], self.numbers[which])

    def in_order(self, order: Array) -> StreamedTable:
        """Return the table with its columns in another order."""
        return self._with(order, self.rows, self.weight, self.numbers)

    def _with(
        self, order: Array, rows: Array | None, weight: Array, numbers: Array
    ) -> StreamedTable:
        return StreamedTable(
            self.X,
            order,
            rows,
            stream=self.stream,
            summary=self.summary,
            weight=weight,
            numbers=numbers,
        )


# ---- fit


def read_streamed(estimator: Any, source: Any, name: str, *, reset: bool) -> StreamedTable:
    """Return what a pass over a source's rows finds, in the order of its columns.

    reset: whether this is what `fit` is given, to be remembered.
    """
    stream = source if isinstance(source, Parts) else Stream.of(source, name)
    summary, head = _summary(estimator, stream, reset)
    if reset:
        names = list(summary.columns)
        least_counts = {} if summary.kind == "array" else estimator._least_counts(names)
        estimator._container = summary.container(least_counts)
        _warn_of_levels(summary)
    with rows_told(stream.name, 0):
        _check_feature_names(estimator, head, reset=reset)
        _check_n_features(estimator, head, reset=reset)
    sample = summary.sample(estimator._container)
    return StreamedTable(
        sample.X,
        np.arange(sample.X.shape[1]),
        stream=stream,
        summary=summary,
        weight=sample.weight,
        numbers=sample.rows,
    )


def _warn_of_levels(summary: Summary) -> None:
    n = len(summary.sampled_rows)
    for name, it in summary.columns.items():
        if it.type == "category" and it.levels is None and it.declared is None:
            warnings.warn(
                f"{summary.name} has more than {MOST_LEVELS} categories in column {name!r}. Those "
                f"that occur twice or more in a sample of {n} rows are kept, and the rest is one.",
                UserWarning,
                stacklevel=2,
            )


def stored_tables(
    estimator: Any, sampled: StreamedTable, share: float, rng: np.random.Generator
) -> tuple[StoredTable | ShardedTable, StoredTable | ShardedTable | None]:
    """Return a stream's rows: those to train on, and a share that is held out, if any.

    They are on disk, or in shards.
    """
    is_held = None
    if share and sampled.summary.n_rows > 1:
        is_held = HeldOut(share, int(rng.integers(2**63)), sampled.summary.n_rows)
    known = np.ones(len(sampled), bool) if is_held is None else ~is_held(sampled.numbers)
    start = sampled.subset(np.flatnonzero(known))
    make = _sharded if isinstance(sampled.stream, Parts) else _stored
    tables = make(estimator, sampled, is_held, (start, start.weight))
    n = sum(len(table) for table in tables)
    if n != sampled.summary.n_rows:
        raise ValueError(
            f"{sampled.stream.name} must give the same rows each time. "
            f"Got {sampled.summary.n_rows} rows at first and {n} later."
        )
    table, held = tables
    return table, held if is_held is not None else None


def _stored(
    estimator: Any, sampled: StreamedTable, is_held: HeldOut | None, start: tuple[Table, Array]
) -> tuple[StoredTable, StoredTable]:
    """Return the rows to train on and those held out, on disk."""
    stream, layout = sampled.stream, _layout(estimator, sampled.summary)
    assert isinstance(stream, Stream)
    rest, held = Store(layout), Store(layout)
    for first, parts in _checked_rows(estimator, stream, sampled.order, layout):
        mine = _held_rows(is_held, first, len(parts[0]))
        rest.append([part[~mine] for part in parts])
        held.append([part[mine] for part in parts])
    for store in (rest, held):
        store.close()
    return StoredTable(rest, sampled.order, start), StoredTable(held, sampled.order, start)


def _held_rows(is_held: HeldOut | None, first: int, n: int) -> Array:
    """Return which (n,) of the rows from `first` on are held out."""
    return np.zeros(n, bool) if is_held is None else is_held(np.arange(first, first + n))


def _checked_rows(
    estimator: Any, stream: Stream, order: Array, layout: Layout
) -> Iterator[tuple[int, list[Array]]]:
    """Yield (number of the first row, parts of rows) of batches whose values have a density."""
    conditional, labels = estimator.distribution_, estimator._labels()
    for first, batch in _batches(estimator, stream):
        with rows_told(stream.name, first):
            X = read_numbers(estimator, batch)
            check_known(conditional, X, order)
            check_table_support(conditional, Table(X, order), labels=labels)
        yield first, layout.split(X)


def _summary(estimator: Any, stream: Stream | Parts, reset: bool) -> tuple[Summary, Any]:
    """Return what a pass over the rows finds, and the first row."""
    if isinstance(stream, Parts):
        call = partial(_summary_of_part, estimator=estimator, name=stream.name, reset=reset)
        summary, head = stream.reduce(call, _merge_summaries)
        if head is None:
            raise ValueError(f"{stream.name} must have rows. Got none.")
        return summary, head
    summary, head = Summary(stream.name), None
    for first, batch in _batches(estimator, stream, reset):
        is_array = frame_kind(batch) is None
        if not reset and isinstance(estimator._container, Schema) is is_array:
            kind = "arrays" if is_array else "data frames"
            raise TypeError(
                f"{stream.name} must have batches of the kind of fit. Got {kind} instead."
            )
        if is_array:
            with rows_told(stream.name, first):
                batch = read(estimator, batch, reset=reset)
        head = batch[:1] if head is None else head
        summary.update(batch, first)
    return summary, head


def _batches(estimator: Any, stream: Stream, reset: bool = False) -> Iterator[tuple[int, Any]]:
    """Yield a stream's batches with their columns in the order of `fit`."""
    container = None if reset else estimator._container
    names = container.names if isinstance(container, Schema) else None
    for first, batch in stream:
        if names is None and frame_kind(batch) is not None:
            names = list(batch.columns)
        yield first, batch if names is None else arranged(batch, names)


def _layout(estimator: Any, summary: Summary) -> Layout:
    """Return how the rows of a stream lie on disk."""
    container = estimator._container
    dtype = summary.array_dtype(container)
    if dtype is not None:
        return Layout.of_array(len(summary.columns), dtype)
    missing = np.array([each.n_missing > 0 for each in summary.columns.values()])
    return Layout.of_columns(
        container.columns, summary.kept_dtypes(container), missing, summary.has_unknown(container)
    )


# ---- parts of a table that other processes hold


def _stream_of_part(part: Any, name: str) -> Stream:
    first, rows = part
    return Stream(partial(_once, rows), name, first)


def _once(rows: Any) -> Iterator[Any]:
    yield rows


def _summary_of_part(part: Any, estimator: Any, name: str, reset: bool) -> tuple[Summary, Any]:
    """Return what `_summary` does for one part, whose first row is None if it has no rows."""
    if not len(part[1]):
        return Summary(name), None
    return _summary(copy.copy(estimator), _stream_of_part(part, name), reset)


def _merge_summaries(one: tuple[Summary, Any], other: tuple[Summary, Any]) -> tuple[Summary, Any]:
    (summary, head), (later, head_of_later) = one, other
    summary.merge(later)
    return summary, head_of_later if head is None else head


def _sharded(
    estimator: Any, sampled: StreamedTable, is_held: HeldOut | None, start: tuple[Table, Array]
) -> tuple[ShardedTable, ShardedTable]:
    """Return the rows to train on and those held out, each in shards."""
    parts, order = sampled.stream, sampled.order
    assert isinstance(parts, Parts)
    n, layout = parts.n_shards, _layout(estimator, sampled.summary)
    model = estimator._composed(np.empty(0, estimator.network_.dtype))
    split = partial(
        _split,
        estimator=estimator,
        name=parts.name,
        order=order,
        layout=layout,
        is_held=is_held,
        n=n,
    )
    shards = parts.regroup(split, partial(_join, model=model, layout=layout), 2 * n)
    return ShardedTable(shards[:n], order, start), ShardedTable(shards[n:], order, start)


def _split(
    part: Any,
    estimator: Any,
    name: str,
    order: Array,
    layout: Layout,
    is_held: HeldOut | None,
    n: int,
) -> list[list[Array]]:
    """Return the rows of a part by shard: those to train on of all shards, then those held out."""
    if not len(part[1]):
        return [layout.empty(0)] * (2 * n)
    stream, split = _stream_of_part(part, name), []
    for first, parts in _checked_rows(estimator, stream, order, layout):
        numbers = np.arange(first, first + len(parts[0]))
        shard = (row_hashes(numbers, _SEED_OF_SHARDS) % np.uint64(n)).astype(np.intp)
        shard += n * _held_rows(is_held, first, len(numbers))
        split.append([[each[shard == k] for each in parts] for k in range(2 * n)])
    return [_stacked(each) for each in zip(*split, strict=True)]


def _join(number: int, pieces: list[list[Array]], model: Composition, layout: Layout) -> Shard:
    return Shard(number, model, layout, _stacked(pieces))


def _stacked(pieces: Sequence[list[Array]]) -> list[Array]:
    return [np.concatenate(each) for each in zip(*pieces, strict=True)]


# ---- what fitted models answer


def is_batched(X: Any, out: Path | None) -> bool:
    """Return whether rows are read, or what is said of them is written, batch by batch."""
    return out is not None or (not isinstance(X, np.ndarray) and is_stream(X))


def score_streamed(model: Any, X: Any, out: Path | None) -> Array | None:
    """Return log p(x) of each row of a source, or write them to a file."""
    stream = _stream_of(X)

    def scores() -> Iterator[Array]:
        for first, batch in _batches(model, stream):
            with rows_told(stream.name, first):
                found = model.score_samples(batch)
            yield found

    if out is None:
        return np.concatenate(list(scores()))
    with parquet_file(out, apart_from=X) as file:
        for found in scores():
            file.write({"log_density": found})
    return None


def sample_streamed(model: Any, n_samples: int, out: Path, random_state: Any, **how: Any) -> None:
    """Write samples to a file."""
    state = check_state(random_state)
    with parquet_file(out) as file:
        size = batch_rows(model.n_features_in_)
        for start in range(0, n_samples, size):
            n = min(size, n_samples - start)
            file.write(model.sample(n, random_state=state, **how))


def impute_streamed(model: Any, X: Any, out: Path, random_state: Any, **how: Any) -> None:
    """Write a source's rows to a file, with missing values drawn."""
    stream, state = _stream_of(X), check_state(random_state)
    with parquet_file(out) as file:
        for first, batch in recut(_batches(model, stream)):
            with rows_told(stream.name, first):
                completed = model.impute(batch, random_state=state, **how)
            file.write(completed)


def _stream_of(X: Any) -> Stream:
    """Return the stream of a source, or of a table in memory."""
    return Stream.of(X) if is_stream(X) else Stream(lambda: iter([X]), "X")
