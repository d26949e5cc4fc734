"""Parquet files that are written batch by batch, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from fastar._core.files import whole_file
from fastar._data.frame_types import frame_kind
from fastar._data.streams import arrow_module, as_stream, is_stream


def is_parquet_name(path: str) -> bool:
    """Return whether a file of this name is to be Parquet."""
    return path.lower().endswith((".parquet", ".pq"))


def is_within(path: str | os.PathLike[str], source: str | os.PathLike[str]) -> bool:
    """Return whether a path is that of a file, or would lie in a folder or below it."""
    own, other = os.path.realpath(path), os.path.realpath(source)
    if os.path.exists(own) and os.path.exists(other) and os.path.samefile(own, other):
        return True  # by hard links, or where case does not count
    return own == other or (os.path.isdir(other) and own.startswith(os.path.join(other, "")))


class ParquetWriter:
    """Writes batches to an open file, with the types of the first one."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._arrow = arrow_module("A table in Parquet")
        self._writer: Any = None

    def write(self, batch: Any) -> None:
        """Add the rows of a data frame, of an array (n, D), or of a dict of arrays (n,)."""
        table = self._table(batch)
        if self._writer is None:
            self._writer = self._arrow.parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table.cast(self._writer.schema))

    def close(self) -> None:
        """Write what ends a file."""
        if self._writer is not None:
            self._writer.close()

    def _table(self, batch: Any) -> Any:
        kind = frame_kind(batch)
        if kind == "polars":
            return self._ordered(batch)
        if kind == "pandas":
            return self._arrow.Table.from_pandas(batch, preserve_index=False)
        if isinstance(batch, np.ndarray):
            batch = {str(d): np.ascontiguousarray(values) for d, values in enumerate(batch.T)}
        return self._arrow.table(batch)

    def _ordered(self, frame: Any) -> Any:
        """Return a frame of polars as a table whose Enums are ordered: before 1.41 they are not."""
        table = frame.to_arrow()
        schema, enum = table.schema, import_module("polars").Enum
        for d, (field, dtype) in enumerate(zip(schema, frame.dtypes, strict=True)):
            if dtype == enum:
                indices, values = field.type.index_type, field.type.value_type
                ordered = self._arrow.dictionary(indices, values, ordered=True)
                schema = schema.set(d, field.with_type(ordered))
        return table.cast(schema)


@contextmanager
def parquet_file(path: str | os.PathLike[str], apart_from: Any = None) -> Iterator[ParquetWriter]:
    """Open a file beside `path` to write, and rename it in the end: no half a file is seen.

    apart_from: a source of rows, whose files it must not take the place of, or lie among.

    Raises
    ------
    ValueError
        A file may not have this name; nothing has been written.
    """
    if not (isinstance(path, str | os.PathLike) and "\0" not in os.fsdecode(path)):
        raise ValueError(f"out must be the path of a Parquet file. Got {path!r} instead.")
    if not is_parquet_name(os.fsdecode(path)):
        raise ValueError(
            "out must be a name in .parquet or .pq, for Parquet is what is written. "
            f"Got {os.fspath(path)!r} instead."
        )
    for source in as_stream(apart_from).paths if is_stream(apart_from) else ():
        if is_within(path, source):
            raise ValueError(
                "out must be another file than X, whose rows would be lost, and outside of its "
                f"folder. Got {os.fspath(path)!r} with X from {source!r}."
            )
    with whole_file(os.fspath(path)) as file:
        writer = ParquetWriter(file)
        yield writer
        writer.close()
