"""Fits of models of rows to tables that are read batch by batch, or that others hold in parts."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_feature_names, _check_n_features

from fastar._core.parameters import Array
from fastar._data.column_summary import MOST_LEVELS
from fastar._data.context import Context, ContextRows, encode_context
from fastar._data.frame_types import frame_kind, names_of
from fastar._data.frames import Schema
from fastar._data.parts import Parts
from fastar._data.reading import read, read_numbers
from fastar._data.roles import NO_ROLES, Roles
from fastar._data.stores import (
    HeldOut,
    Layout,
    Store,
    StoredTable,
    held_rows,
    shard_numbers,
)
from fastar._data.streams import Stream, arranged, is_stream, rows_told
from fastar._data.summary import Sample, Summary
from fastar._data.table import Table
from fastar._engine.model import Composition
from fastar._engine.sharded import Shard, ShardedTable, regrouped
from fastar._engine.support import check_known, check_table_support

Elsewhere = StoredTable | ShardedTable
"""Rows to train on that are not in memory."""


@dataclass(frozen=True)
class Source:
    """A table that is read batch by batch, and what a pass over it has found.

    Parameters
    ----------
    stream : Stream or Parts
    roles : Roles
        Roles of its columns.
    summary : Summary
        Summary of the columns of the rows, without context and weights.
    """

    stream: Stream | Parts
    roles: Roles
    summary: Summary


class SampledTable(ABC):
    """Base of rows, or sequences, in memory that say what those of a table elsewhere are like.

    Attributes
    ----------
    n_rows : int
        Rows, or sequences, of that table which have a weight.
    weight : array (m,)
        Weights of those in memory.
    numbers : int array (m,)
        Their numbers in that table, -1 of those without weight that stand for values.
    """

    n_rows: int
    weight: Array
    numbers: Array

    @abstractmethod
    def stored(
        self, estimator: Any, share: float, rng: np.random.Generator
    ) -> tuple[Elsewhere, Elsewhere | None]:
        """Return the rows to train on, and a share that is held out if it is not 0."""


class StreamedTable(SampledTable, Table):
    """Sampled rows of a stream, which say what its columns are like.

    Parameters
    ----------
    X, order, rows, context
        As of `Table`.
    source : Source
        Source from which they are sampled.
    weight, numbers
        As of `SampledTable`.
    """

    def __init__(
        self,
        X: Any,
        order: Array,
        rows: Array | None = None,
        context: Any = None,
        *,
        source: Source,
        weight: Array,
        numbers: Array,
    ) -> None:
        super().__init__(X, order, rows, context)
        self.source = source
        self.n_rows = source.summary.n_weighted
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
            self._context,
            source=self.source,
            weight=weight,
            numbers=numbers,
        )

    def stored(
        self, estimator: Any, share: float, rng: np.random.Generator
    ) -> tuple[Elsewhere, Elsewhere | None]:
        """Return the rows to train on and those held out, on disk or in shards."""
        source, summary = self.source, self.source.summary
        is_held = HeldOut.drawn(share, summary.n_rows, rng)
        start = self.subset(np.flatnonzero(~held_rows(is_held, self.numbers)))
        make = _sharded if isinstance(source.stream, Parts) else _stored
        table, held = make(estimator, self, is_held, (start, start.weight))
        if len(table) + len(held) != summary.n_weighted:
            raise ValueError(
                f"{source.stream.name} must give the same rows each time. "
                f"Got {summary.n_weighted} rows at first and {len(table) + len(held)} later."
            )
        if is_held is None:
            return table, None
        if not (len(table) and len(held)):
            raise ValueError(
                "sample_weight must leave rows to train on and rows to hold out, or X_val be "
                f"given. Got {summary.n_weighted} rows with a positive weight."
            )
        return table, held


# ---- fit


def read_streamed(
    estimator: Any, given: Any, name: str, roles: Roles, *, reset: bool
) -> StreamedTable:
    """Return what a pass over a source's rows finds, in the order of its columns.

    reset: whether this is what `fit` is given, to be remembered.
    """
    stream = given if isinstance(given, Parts) else Stream.of(given, name)
    if not reset:
        check_context(estimator, roles)
    found = _found(estimator, stream, roles, reset)
    summary = found.of_rows()
    if reset:
        names = list(summary.columns)
        least_counts = {} if summary.kind == "array" else estimator._least_counts(names)
        container = estimator._container = summary.container(least_counts)
        if isinstance(container, Schema):
            estimator._container = replace(container, weight=roles.weight)
        _warn_of_levels(summary)
    with rows_told(stream.name, 0):
        _check_feature_names(estimator, found.head, reset=reset)
        _check_n_features(estimator, found.head, reset=reset)
    if not summary.n_weighted:
        raise ValueError("sample_weight must have a positive entry. Got zeros alone.")
    sample = summary.sample(estimator._container)
    return StreamedTable(
        sample.X,
        np.arange(sample.X.shape[1]),
        context=_sampled_context(estimator, found, sample, reset),
        source=Source(stream, roles, summary),
        weight=sample.weight,
        numbers=sample.rows,
    )


def roles_held_out(data: Any) -> Roles:
    """Return the roles of the columns of X_val: those of X, unless `context_val` names others."""
    if not is_stream(data.X):
        return Roles.of(data.context_val, None, "X_val", "context_val")
    context = data.context if data.context_val is None else data.context_val
    return Roles.of(context, data.sample_weight, "X_val", "context_val").without_weights()


def adopt_table(estimator: Any, fitted: Any) -> None:
    """Remember of the table of `fit` what a fitted density remembers."""
    for name in ("_container", "n_features_in_", "feature_names_in_"):
        vars(estimator).pop(name, None)
        if hasattr(fitted, name):
            setattr(estimator, name, getattr(fitted, name))


def check_context(estimator: Any, roles: Roles) -> None:
    """Raise ValueError where only one of `fit` and these roles has a context."""
    fitted = estimator._fitted_context
    if bool(roles.context) != (fitted is not None):
        encode_context(fitted, roles.context or None, 0, float)


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


def _sampled_context(
    estimator: Any, found: _Found, sample: Sample, reset: bool
) -> ContextRows | None:
    """Return the contexts of the rows of a sample; reset: `context_` is learnt from them."""
    if reset:
        estimator.context_ = None
    if not found.roles.context:
        return None
    fitted: Context | None = estimator.context_
    summary = found.of_context(fitted)
    container = summary.container()
    own = summary.sample(container if fitted is None else fitted.container_like(container))
    # rows without a number are none of the table: each column has values that the sample lacks
    numbers = own.X[:][own.rows >= 0].astype(np.float64)
    if fitted is None:
        fitted = estimator.context_ = Context.of_container(container, numbers, summary.missing)
    spread = np.arange(len(sample.rows)) % len(numbers)
    return ContextRows(fitted, numbers[spread], np.dtype(estimator.dtype))


def _stored(
    estimator: Any, sampled: StreamedTable, is_held: HeldOut | None, start: tuple[Table, Array]
) -> tuple[StoredTable, StoredTable]:
    """Return the rows to train on and those held out, on disk."""
    source, layout = sampled.source, _layout(estimator, sampled.source)
    assert isinstance(source.stream, Stream)
    rest, held = Store(layout), Store(layout)
    for numbers, parts in _checked_rows(
        estimator, source.stream, source.roles, sampled.order, layout
    ):
        mine = held_rows(is_held, numbers)
        rest.append([part[~mine] for part in parts])
        held.append([part[mine] for part in parts])
    for store in (rest, held):
        store.close()
    return StoredTable(rest, sampled.order, start), StoredTable(held, sampled.order, start)


def _checked_rows(
    estimator: Any, stream: Stream, roles: Roles, order: Array, layout: Layout
) -> Iterator[tuple[Array, list[Array]]]:
    """Yield (numbers, parts) of the rows with a weight of batches whose values have a density."""
    conditional, labels = estimator.distribution_, estimator._labels()
    for first, rows, context, weight in batches(estimator, stream, roles):
        numbers = None
        with rows_told(stream.name, first):
            X = read_numbers(estimator, rows)
            check_known(conditional, X, order)
            check_table_support(conditional, Table(X, order), labels=labels)
            if layout.context is not None:
                numbers = layout.context.numbers(context, len(rows))
        parts = layout.split(X, numbers, weight)
        counted = np.arange(len(rows)) if weight is None else np.flatnonzero(weight)
        if len(counted) < len(rows):
            parts = [part[counted] for part in parts]
        yield first + counted, parts


@dataclass(frozen=True)
class _Found:
    """A summary of all columns but weights, from one pass over rows, and the first row."""

    summary: Summary
    roles: Roles
    names: tuple[Any, ...] = ()
    """Names of the columns of the rows in the summary."""
    head: Any = None

    def of_rows(self) -> Summary:
        """Return the summary of the rows, without their context."""
        return self.summary.part(list(self.names)) if self.roles.context else self.summary

    def of_context(self, fitted: Context | None) -> Summary:
        """Return the summary of the context, whose columns are in the order of `fit`."""
        names = [*self.roles.context]
        if fitted is not None and fitted.schema is not None:
            names = fitted.schema.names
        elif self.summary.kind == "array":  # where they come after the others
            names = [each for each in self.summary.columns if each not in self.names]
        return self.summary.part(names)


def _found(estimator: Any, stream: Stream | Parts, roles: Roles, reset: bool) -> _Found:
    """Return what a pass over the rows finds."""
    if isinstance(stream, Parts):
        call = partial(
            _found_in_part, estimator=estimator, name=stream.name, roles=roles, reset=reset
        )
        found: _Found = stream.reduce(call, _merge_found)
        if found.head is None:
            raise ValueError(f"{stream.name} must have rows. Got none.")
        return found
    summary, head = Summary(stream.name), None
    for first, rows, context, weight in batches(estimator, stream, roles, reset):
        is_array = frame_kind(rows) is None
        if not reset and isinstance(estimator._container, Schema) is is_array:
            kind = "arrays" if is_array else "data frames"
            raise TypeError(
                f"{stream.name} must have batches of the kind of fit. Got {kind} instead."
            )
        with rows_told(stream.name, first):
            if is_array:
                rows = read(estimator, rows, reset=reset)
            if not reset and context is not None:  # it has the categories of fit alone
                estimator.context_.numbers(context, len(rows))
        head = rows[:1] if head is None else head
        summary.update(_beside(rows, context), first, weight)
    assert head is not None
    return _Found(summary, roles, tuple(names_of(head)), head)


def _beside(rows: Any, context: Any) -> Any:
    """Return a batch of rows and their context as one table."""
    if context is None:
        return rows
    kind = frame_kind(rows)
    if kind is None:
        return np.column_stack([rows, context.astype(rows.dtype)])
    if kind == "polars":
        return rows.hstack(context)
    return import_module("pandas").concat([rows, context], axis=1)


def batches(
    estimator: Any, stream: Stream, roles: Roles = NO_ROLES, reset: bool = False
) -> Iterator[tuple[int, Any, Any, Array | None]]:
    """Yield (number of the first row, rows, context, weights) of a stream's batches.

    Columns are in the order of `fit`, or if `reset` in that of the first batch. The weights of
    `fit` are left out where the roles do not name them.
    """
    container, names = None if reset else estimator._container, None
    if isinstance(container, Schema):
        names = container.names
        if container.weight not in (None, roles.weight, *roles.context):
            roles = replace(roles, ignored=(*roles.ignored, container.weight))
    schema = None if reset or not roles.context else estimator._fitted_context.schema
    for first, batch in stream:
        with rows_told(stream.name, first):
            rows, context, weight = roles.split(batch)
        if names is None and frame_kind(rows) is not None:
            names = list(rows.columns)
        rows = rows if names is None else arranged(rows, names)
        yield first, rows, context if schema is None else arranged(context, schema.names), weight


def _layout(estimator: Any, source: Source) -> Layout:
    """Return how the rows of a stream lie on disk."""
    container, summary = estimator._container, source.summary
    dtype = summary.array_dtype(container)
    if dtype is not None:
        layout = Layout.of_array(len(summary.columns), dtype)
    else:
        layout = Layout.of_columns(
            container.columns,
            summary.kept_dtypes(container),
            summary.missing,
            summary.has_unknown(container),
        )
    is_weighted = source.roles.weight is not None
    return layout.with_more(estimator.context_, np.dtype(estimator.dtype), is_weighted)


# ---- parts of a table that other processes hold


def _stream_of_part(part: Any, name: str) -> Stream:
    first, rows = part
    return Stream(partial(_once, rows), name, first)


def _once(rows: Any) -> Iterator[Any]:
    yield rows


def _found_in_part(part: Any, estimator: Any, name: str, roles: Roles, reset: bool) -> _Found:
    """Return what `_found` does for one part, whose first row is None if it has no rows."""
    if not len(part[1]):
        return _Found(Summary(name), roles)
    return _found(copy.copy(estimator), _stream_of_part(part, name), roles, reset)


def _merge_found(one: _Found, other: _Found) -> _Found:
    if one.head is None:
        return other
    one.summary.merge(other.summary)
    return one


def _sharded(
    estimator: Any, sampled: StreamedTable, is_held: HeldOut | None, start: tuple[Table, Array]
) -> tuple[ShardedTable, ShardedTable]:
    """Return the rows to train on and those held out, each in shards."""
    source, order = sampled.source, sampled.order
    parts, layout = source.stream, _layout(estimator, source)
    assert isinstance(parts, Parts)
    n = parts.n_shards
    model = estimator._composed(np.empty(0, estimator.network_.dtype))
    split = partial(
        _split,
        estimator=estimator,
        name=parts.name,
        roles=source.roles,
        order=order,
        layout=layout,
        is_held=is_held,
        n=n,
    )
    return regrouped(parts, split, partial(_join, model=model, layout=layout), order, start)


def _split(
    part: Any,
    estimator: Any,
    name: str,
    roles: Roles,
    order: Array,
    layout: Layout,
    is_held: HeldOut | None,
    n: int,
) -> list[list[Array]]:
    """Return the rows of a part by shard: those to train on of all shards, then those held out."""
    if not len(part[1]):
        return [layout.empty(0)] * (2 * n)
    stream, split = _stream_of_part(part, name), []
    for numbers, parts in _checked_rows(estimator, stream, roles, order, layout):
        shard = shard_numbers(numbers, n, is_held)
        split.append([[each[shard == k] for each in parts] for k in range(2 * n)])
    return [_stacked(each) for each in zip(*split, strict=True)]


def _join(number: int, pieces: list[list[Array]], model: Composition, layout: Layout) -> Shard:
    return Shard(number, model, layout, _stacked(pieces))


def _stacked(pieces: Sequence[list[Array]]) -> list[Array]:
    return [np.concatenate(each) for each in zip(*pieces, strict=True)]
