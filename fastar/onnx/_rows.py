"""Rows as the user has them: the inputs of a graph, and the numbers that models see."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastar._data.containers import Container
from fastar._data.frame_types import UNKNOWN, Column
from fastar._data.frames import Schema
from fastar.onnx._graph import Graph


def numbers(g: Graph, container: Container | Schema, n_columns: int) -> str:
    """Return the rows (n, C) as float64, NaN where missing, from the inputs that this adds."""
    if isinstance(container, Schema):
        # all inputs first: other values keep clear of their names
        given = [g.input(_input_type(each), ["n"], str(each.name)) for each in container.columns]
        columns = [_coded(g, *each) for each in zip(container.columns, given, strict=True)]
        return g("Concat", *columns, axis=1)
    dtype = np.dtype(container.dtype).newbyteorder("=")
    X = g.input(dtype, ["n", n_columns], "X")
    if container.offsets is None:
        return g.cast(X, np.float64)
    if dtype != np.int64:
        raise ValueError(
            f"X of fit must be int64 to be exported, as it has integers beyond 2**53. Got {dtype} "
            "instead."
        )
    return g.cast(g("Sub", X, np.array(container.offsets, np.int64)), np.float64)


def check_same_numbers(outer: Container | Schema, own: Container | Schema, name: str) -> None:
    """Raise ValueError unless a member of a mixture sees the numbers that the mixture reads."""
    if isinstance(outer, Schema):
        coded = any(column.type == "category" or column.offset for column in outer.columns)
        same = own == outer if isinstance(own, Schema) or coded else own.offsets is None
    else:
        same = isinstance(own, Container) and own.offsets == outer.offsets
    if not same:
        raise ValueError(
            f"A mixture must have members that were fitted to a table like its own. Got {name}, "
            "whose table had other types."
        )


def _coded(g: Graph, column: Column, given: str) -> str:
    """Return a column (n, 1) as float64."""
    dtype = _input_type(column)
    if column.type == "category":
        values = _categories(column)
        keys = np.array([*values, ""] if column.missing else values, dtype)
        found = np.arange(len(keys), dtype=np.float64)
        if column.missing:
            found[-1] = np.nan
        others = UNKNOWN if column.rest is None else float(column.rest)
        coded = g.looked_up(given, keys, found, others)
    elif column.offset:
        coded = g.cast(g("Sub", given, np.array(column.offset, np.int64)), np.float64)
    else:
        coded = given if dtype is np.float64 else g.cast(given, np.float64)
    return g("Unsqueeze", coded, np.array([1], np.int64))


def _input_type(column: Column) -> Any:
    if column.clock is not None:
        raise ValueError(
            f"Column {column.name!r} has values of type {column.type}, for which ONNX has none. "
            "Fit to numbers that are made of them, such as days and weekdays."
        )
    if column.type == "category":
        return object if isinstance(next(iter(column.categories), ""), str) else np.int64
    whole = {"integer": np.int64, "bool": np.bool_}.get(column.type, np.float64)
    if column.missing and column.offset:
        raise ValueError(
            f"Column {column.name!r} has missing values among integers beyond 2**53, for which "
            "ONNX has no type."
        )
    return np.float64 if column.missing else whole


def _categories(column: Column) -> list[Any]:
    """Return the categories, once each can be told from a missing value."""
    values = list(column.categories)
    kind = type(values[0]).__name__ if values else "str"
    if kind not in ("str", "int"):
        raise ValueError(
            f"Column {column.name!r} has categories of type {kind}. A graph knows those of str and "
            "int alone."
        )
    if column.missing and (kind == "int" or "" in values):
        raise ValueError(
            f"Column {column.name!r} has missing values among categories of type {kind}, for which "
            "ONNX has no value: missing strings are '', which must be no category."
        )
    return values
