"""Known values of rows, in every form in which users give them."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import _check_feature_names

from fastar._core.parameters import Array
from fastar._core.validation import as_array, unmask
from fastar._data.containers import Container
from fastar._data.frame_types import as_frame, frame_kind, is_missing
from fastar._data.frames import Schema
from fastar._data.reading import table_like
from fastar._data.regions import Regions, check_cells, take_regions, with_regions


def _is_mapping(row: Any) -> bool:
    return isinstance(row, Mapping) and not issparse(row)  # a DOK matrix is a mapping, too


def is_named(evidence: Any) -> bool:
    """Return whether evidence is a mapping from columns to values, or a list of them."""
    if isinstance(evidence, list | tuple):
        return len(evidence) > 0 and all(map(_is_mapping, evidence))
    return _is_mapping(evidence)


def _as_table(evidence: Any, name: str) -> Any:
    """Return evidence with tables of Arrow as frames; objects stay the cells that they are."""
    evidence = unmask(evidence, name, gaps=True)
    is_cells = isinstance(evidence, np.ndarray) and evidence.dtype == object
    return evidence if is_cells else as_frame(evidence, name)


def is_one_row(evidence: Any, name: str) -> bool:
    """Return whether evidence is of one row: a mapping, or the values of D columns."""
    if is_named(evidence):
        return _is_mapping(evidence)
    return not hasattr(evidence, "columns") and as_array(evidence, name).ndim < 2


def n_rows(evidence: Any, name: str) -> int:
    """Return how many rows evidence tells of."""
    return 1 if is_one_row(evidence, name) else len(evidence)


def read_evidence(estimator: Any, evidence: Any, n: int, name: str = "evidence") -> Any:
    """Return evidence about n rows of a fitted estimator, as its models see it.

    Parameters
    ----------
    estimator : object
        As in `read`.
    evidence : mapping, list of mappings, DataFrame, array-like or None
        A mapping from columns (their names, or their places where they have none) to values tells
        of one row, a list of mappings of one row each; columns that are not named are free, as are
        those that a DataFrame is without. Else a table of 1 or n rows, or the D values of one; NaN
        or None is free.
    n : int
        Rows that are asked about; evidence of one row is that of all.
    name : str
        Its name in errors.

    Raises
    ------
    TypeError, ValueError
        The columns or the shape do not agree, or a value is none that a column can hold.
    """
    container, evidence = estimator._container, _as_table(evidence, name)
    if isinstance(evidence, list | tuple) and is_named(evidence):
        if len(evidence) not in (1, n):
            raise ValueError(
                f"{name} must be one mapping, or {n} of them. Got {len(evidence)} instead."
            )
        return np.concatenate([read_evidence(estimator, row, 1, name) for row in evidence])
    if evidence is not None and isinstance(container, Schema):
        if frame_kind(evidence) is not None:
            evidence = container.with_all_columns(evidence, name)
        rows = container.rows(evidence, n, name)
        for column, numbers in zip(container.columns, rows.T, strict=True):
            column.check_range(numbers, name)
        return rows
    if _is_mapping(evidence):
        evidence = _cells(estimator, evidence, name)
    if hasattr(evidence, "columns"):
        _check_feature_names(estimator, evidence, reset=False)
    if evidence is None:
        return evidence
    if container.offsets is not None:
        evidence = container.to_numbers(np.atleast_2d(np.asarray(evidence)), name)
    container.check_range(evidence, name)
    return evidence


def read_query(
    estimator: Any, evidence: Any, n: int, name: str = "evidence"
) -> tuple[Any, Regions | None]:
    """Return the values of evidence as `read_evidence` does, and the regions that it names.

    A cell may also be a set of values, or a tuple (low, high): low <= value < high, with None or an
    infinity for an open end. Regions are None where no cell is either.

    Raises
    ------
    TypeError, ValueError
        As `read_evidence` does; or a set or an interval is none that the column can have.
    """
    check_cells(evidence, name)
    rows = with_regions(_as_table(evidence, name), column_names(estimator))
    if rows is None:
        return read_evidence(estimator, evidence, n, name), None
    if len(rows) not in (1, n):
        raise ValueError(f"{name} must have 1 row or {n}. Got {len(rows)} instead.")
    regions = take_regions(rows, estimator._container, column_names(estimator), name)
    values = [np.atleast_2d(read_evidence(estimator, row, 1, name)) for row in rows]
    return np.concatenate(values), regions


def _cells(estimator: Any, evidence: Mapping[Any, Any], name: str) -> Array:
    """Return the cells (1, D) that a mapping tells of, None where free."""
    columns = column_names(estimator)
    unseen = [each for each in evidence if each not in columns]
    if unseen:
        raise ValueError(f"{name} must name columns of fit. Got {unseen[0]!r} instead.")
    cells = np.array([[None] * len(columns)], object)
    for place, column in enumerate(columns):
        value = evidence.get(column)
        if value is None or is_missing(value):
            continue
        if not isinstance(value, Real | np.bool_):
            raise ValueError(
                f"{name} must hold a number in column {column!r}. Got {value!r} instead."
            )
        cells[0, place] = value
    return cells


def column_names(estimator: Any) -> list[Any]:
    """Return what a fitted estimator's columns are called: their places if they have no names."""
    container = estimator._container
    if isinstance(container, Schema):
        return container.names
    return list(getattr(estimator, "feature_names_in_", range(estimator.n_features_in_)))


def find_column(estimator: Any, target: Any, name: str = "target") -> int:
    """Return the place of the column that a user calls `target`.

    Raises
    ------
    ValueError
        There is no such column.
    """
    columns = column_names(estimator)
    if isinstance(target, str | Integral) and target in columns:
        return columns.index(target)
    D, unnamed = len(columns), columns == list(range(len(columns)))
    if unnamed and isinstance(target, Integral) and -D <= int(target) < 0:
        return int(target) + D
    rule = f"a place from 0 to {D - 1}" if unnamed else "the name of a column of fit"
    raise ValueError(f"{name} must be {rule}. Got {target!r} instead.")


def without_column(estimator: Any, X: Any, column: int) -> Any:
    """Return X with a column free, whatever X holds in it; X may also be without the column."""
    columns = column_names(estimator)
    if _is_mapping(X):
        return {key: value for key, value in X.items() if key != columns[column]}
    if is_named(X):
        return [without_column(estimator, row, column) for row in X]
    X = as_frame(unmask(X, "X", gaps=True))
    kind, others = frame_kind(X), [each for each in columns if each != columns[column]]
    if kind is not None and isinstance(estimator._container, Schema):
        if [each for each in X.columns if each != columns[column]] != others:
            return X  # for the reader to refuse
        return estimator._container.with_all_columns(X[others], "X")
    array = X if isinstance(X, np.ndarray) else None
    if array is None or array.ndim != 2 or array.dtype.kind not in "biuf" or X.shape[1] == 0:
        return X
    if array.shape[1] == len(columns) - 1:
        return np.insert(array.astype(np.float64), column, np.nan, axis=1)
    if array.shape[1] == len(columns) and array.dtype.kind == "f":
        array = array.copy()
        array[:, column] = np.nan
    return array


def as_given(
    X: Any, container: Container | Schema, values: Array, kept: Array | None = None
) -> Any:
    """Return values as `table_like` does, or in the container of fit where X is named evidence."""
    return container.wrap(values) if is_named(X) else table_like(X, container, values, kept)
