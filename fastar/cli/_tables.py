"""Tables in files: CSV and Parquet as data frames of polars or pandas, and back."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from typing import Any, Literal, TextIO, get_args

import narwhals as nw
import numpy as np
from narwhals import selectors

from fastar._core.files import whole_file
from fastar._data.columns import column_type
from fastar._data.durations import duration_count, duration_text
from fastar._data.frame_types import as_frame, is_missing
from fastar._data.parquet import is_parquet_name

TYPES = ("category", "integer", "float", "bool", "moment", "time", "duration")
"""What a column may be said to hold."""

NULLS = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")
"""Cells of a CSV file that are missing values."""

_CELL_TYPES: dict[str, Any] = {
    "integer": nw.Int64,
    "float": nw.Float64,
    "decimal": nw.Float64,
    "bool": nw.Boolean,
    "time": nw.Time,
}
_SHOWN = 10

Library = Literal["polars", "pandas"]


class TableError(ValueError):
    """A file is no table, or not the table that is wanted."""


@dataclass(frozen=True)
class Source:
    """A file, or the bytes of standard input.

    Parameters
    ----------
    name : str
        What errors call it.
    path : str or None
        None: the content is given.
    content : bytes
    separator : str
        Between the cells of CSV.
    """

    name: str
    path: str | None
    content: bytes
    separator: str

    @classmethod
    def of(cls, path: str, separator: str | None) -> Source:
        """Return the source of a path, where "-" is standard input."""
        tab = path.lower().endswith((".tsv", ".tab"))
        separator = separator or ("\t" if tab else ",")
        if path == "-":
            return cls("standard input", None, sys.stdin.buffer.read(), separator)
        return cls(path, path, b"", separator)

    @property
    def is_parquet(self) -> bool:
        """Whether it begins as Parquet does."""
        if self.path is None:
            return self.content.startswith(b"PAR1")
        with open(self.path, "rb") as file:
            return file.read(4) == b"PAR1"

    def native(self) -> Any:
        """Return what readers of data frames take."""
        return io.BytesIO(self.content) if self.path is None else self.path

    def text(self) -> TextIO:
        """Return CSV as an open text file."""
        if self.path is None:
            return io.TextIOWrapper(io.BytesIO(self.content), "utf-8-sig", newline="")
        return open(self.path, encoding="utf-8-sig", newline="")

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each record of CSV that is not empty, with the line on which it begins."""
        with self.text() as text:
            reader, line = csv.reader(text, delimiter=self.separator), 1
            for record in reader:
                if record:
                    yield line, record
                line = reader.line_num + 1

    def place(self, row: int) -> str:
        """Return what errors call a row: its number from 0 on, and the line of CSV."""
        if self.is_parquet:
            return f"row {row}"
        line, _ = next(islice(self.records(), row + 1, None), (None, None))
        return f"row {row}" if line is None else f"row {row} (line {line})"

    def told(self, message: str) -> str:
        """Return an error's message with the file's name, and the line of the row that it names."""
        placed = re.sub(r"\brow (\d+)", lambda found: self.place(int(found[1])), message, count=1)
        return f"{self.name}: {placed}"


# ---- reading


def frame_library() -> Library:
    """Return which library reads tables; ImportError where there is none."""
    for name in get_args(Library):
        if find_spec(name) is not None:
            found: Library = name
            return found
    raise ImportError(
        "Tables in files need polars or pandas: pip install 'fastar-density[tables]'."
    )


def read_table(
    source: Source, types: Mapping[str, str] | None = None, library: Library | None = None
) -> nw.DataFrame[Any]:
    """Return the table of a file.

    Parameters
    ----------
    source : Source
    types : mapping of str to str, optional
        One of `TYPES` for columns by name; others are what the file, or the reader, says.
    library : {"polars", "pandas"}, optional
        The first of them that is installed by default.

    Raises
    ------
    TableError
        It is no table, lacks a column, or has a cell of another type; file, row and column are
        named.
    """
    library, types = library or frame_library(), types or {}
    if source.is_parquet:
        native = _opened(source, library, "Parquet", lambda: _read_parquet(source, library))
    else:
        names = _header(source)
        text = [name for name in names if types.get(name) in ("category", "duration")]
        native = _opened(source, library, "CSV", lambda: _read_csv(source, library, names, text))
    frame: nw.DataFrame[Any] = nw.from_native(native, eager_only=True)
    if not source.is_parquet and frame[:, -1].null_count():  # as where a row is too short
        _check_widths(source)
    if len(frame) == 0:
        raise TableError(f"{source.name}: there are no rows.")
    check_columns(source, frame.columns, types)
    return frame.with_columns(
        *(_typed(source, frame[name], wanted) for name, wanted in types.items())
    )


def check_columns(source: Source, given: list[str], wanted: Iterable[str]) -> None:
    """Raise TableError where a table lacks columns."""
    lacking = [repr(name) for name in wanted if name not in given]
    if lacking:
        raise TableError(
            f"{source.name}: there is no column {_listed(lacking)}. "
            f"There are {_listed([repr(name) for name in given])}."
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _opened(source: Source, library: str, kind: str, read: Callable[[], Any]) -> Any:
    """Return what a reader returns; TableError where it finds no table."""
    try:
        return read()
    except OSError:
        raise
    except ImportError as error:
        raise ImportError(f"{library} cannot read {kind}: {error}") from error
    except Exception as error:  # each library has exceptions of its own
        if kind == "CSV":
            _check_widths(source)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TableError(f"{source.name}: {library} cannot read it as {kind}: {reason}") from error


def _read_parquet(source: Source, library: str) -> Any:
    if library == "polars":
        if find_spec("pyarrow") is None:
            return import_module("polars").read_parquet(source.native())
        # which keeps the order of categories
        return as_frame(import_module("pyarrow.parquet").ParquetFile(source.native()).read())
    return import_module("pandas").read_parquet(source.native(), dtype_backend="numpy_nullable")


def _read_csv(source: Source, library: str, names: list[str], text: list[str]) -> Any:
    """Return a frame with these names, and strings in the columns of `text`."""
    if library == "polars":
        polars = import_module("polars")
        return polars.read_csv(
            source.native(),
            separator=source.separator,
            null_values=list(NULLS),
            infer_schema_length=None,
            schema_overrides=dict.fromkeys(text, polars.String),
            try_parse_dates=True,
        )
    pandas = import_module("pandas")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)  # a row is too long
        frame = pandas.read_csv(
            source.native(),
            sep=source.separator,
            keep_default_na=False,
            na_values=list(NULLS),
            index_col=False,
            low_memory=False,
            dtype=dict.fromkeys(text, "string"),
            dtype_backend="numpy_nullable",
        )
    frame = frame.set_axis(names, axis=1)
    for name in names:
        if name not in text and pandas.api.types.is_string_dtype(frame[name].dtype):
            frame[name] = _as_moments(frame[name], pandas)
    return frame


def _as_moments(series: Any, pandas: Any) -> Any:
    """Return a pandas series of strings as moments if they all are dates of ISO 8601."""
    if not series.dropna().str.match(r"\d{4}-\d{2}-\d{2}([T ]|$)").all() or series.isna().all():
        return series
    try:
        return pandas.to_datetime(series, format="ISO8601")
    except ValueError:
        return series


def _header(source: Source) -> list[str]:
    """Return the names of the columns of CSV."""
    try:
        _, names = next(source.records(), (0, []))
    except UnicodeDecodeError as error:
        raise TableError(f"{source.name}: it is neither Parquet nor text in UTF-8.") from error
    if not names:
        raise TableError(f"{source.name}: it is empty.")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise TableError(f"{source.name}: two columns have the name {twice[0]!r}.")
    return names


def _check_widths(source: Source) -> None:
    """Raise TableError at the first row of CSV that has not as many cells as there are columns."""
    records = source.records()
    _, names = next(records)
    try:
        for row, (line, cells) in enumerate(records):
            if len(cells) != len(names):
                raise TableError(
                    f"{source.name}: row {row} (line {line}) has {len(cells)} cells, where the "
                    f"header names {len(names)} columns."
                )
    except (csv.Error, UnicodeDecodeError) as error:
        raise TableError(f"{source.name}: it is no CSV in UTF-8: {error}.") from error


def _typed(source: Source, series: nw.Series[Any], wanted: str) -> nw.Series[Any]:
    """Return a column as what it is wanted to be."""
    found = column_type(series)
    if found == wanted or (found, wanted) in _TAKEN:
        return series
    if wanted == "category":
        return series.cast(nw.String)
    if found == "integer" and wanted == "float":
        return series.cast(_CELL_TYPES[wanted])
    return _parsed(source, series, wanted)


def _parsed(source: Source, series: nw.Series[Any], wanted: str) -> nw.Series[Any]:
    """Return a column cell by cell; TableError at the first that is not of the type."""
    parse, rule = _CELLS[wanted]
    values: list[Any] = []
    for row, cell in enumerate(series.to_list()):
        try:
            values.append(None if is_missing(cell) else parse(cell))
        except (LookupError, OverflowError, TypeError, ValueError):
            raise TableError(
                f"{source.name}: column {series.name!r} must hold {rule}. "
                f"Got {cell!r} in {source.place(row)} instead."
            ) from None
    namespace = nw.get_native_namespace(series)
    if wanted == "duration":
        gap = np.iinfo(np.int64).min  # NaT
        counts = np.array([gap if each is None else each for each in values], np.int64)
        return nw.new_series(series.name, counts.view("m8[ns]"), backend=namespace)
    if wanted == "time" and nw.dependencies.is_pandas_series(series.to_native()):
        objects = namespace.Series(values, name=series.name, dtype=object)
        return nw.from_native(objects, series_only=True)
    has_zone = any(getattr(each, "tzinfo", None) for each in values)
    moment = nw.Datetime("us", "UTC" if has_zone else None)
    return nw.new_series(series.name, values, _CELL_TYPES.get(wanted, moment), backend=namespace)


_TAKEN = {
    ("integer", "bool"),  # models take 0 and 1 for bools, and tell what else is there
    ("integer", "decimal"),
    ("float", "decimal"),
}
"""What a column may hold where another type is wanted."""


def _whole(cell: Any) -> int:
    if isinstance(cell, str):
        return int(cell)
    if cell != int(cell):
        raise ValueError
    return int(cell)


def _flag(cell: Any) -> bool:
    return {"true": True, "false": False, "1": True, "0": False}[str(cell).strip().lower()]


def _duration(cell: Any) -> int:
    """Return the nanoseconds of a duration."""
    count, unit = duration_count(cell)
    if unit != "ns":  # more than 292 years
        raise ValueError
    return count


_CELLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "integer": (_whole, "whole numbers"),
    "float": (float, "numbers"),
    "decimal": (float, "numbers"),
    "moment": (datetime.fromisoformat, "dates or moments as 2024-05-31T09:30"),
    "time": (time.fromisoformat, "times of day as 09:30"),
    "duration": (_duration, "durations as PT1H30M, 1 days 02:30:00 or 90 min"),
    "bool": (_flag, "true and false, or 1 and 0"),
}


# ---- writing


def write_table(frame: Any, path: str) -> None:
    """Write a data frame to a file, whole or not at all.

    Parameters
    ----------
    frame : DataFrame
    path : str
        Parquet where it ends so; "-": CSV on standard output.
    """
    table = nw.from_native(frame, eager_only=True)
    if is_parquet_name(path):
        content = io.BytesIO()
        table.write_parquet(content)
        data = content.getvalue()
    else:
        tab = path.lower().endswith((".tsv", ".tab"))
        data = _to_csv(table, "\t" if tab else ",").encode()
    write_bytes(data, path)


def write_bytes(data: bytes, path: str) -> None:
    """Write a file, whole or not at all; "-": standard output."""
    if path == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with whole_file(path) as file:
        file.write(data)


def _to_csv(table: nw.DataFrame[Any], separator: str) -> str:
    flags = selectors.boolean()  # pandas would write True
    durations = [
        nw.new_series(
            name,
            [None if is_missing(each) else duration_text(each) for each in table[name].to_numpy()],
            nw.String,
            backend=table.implementation,
        )
        for name, dtype in table.schema.items()
        if dtype == nw.Duration
    ]
    native = table.with_columns(flags.cast(nw.String).str.to_lowercase(), *durations).to_native()
    if nw.dependencies.is_pandas_dataframe(native):
        text: str = native.to_csv(index=False, sep=separator, lineterminator="\n")
        return text
    return str(native.write_csv(separator=separator))


def check_writable(path: str) -> None:
    """Raise OSError where a file cannot be written, before hours of work for it."""
    if path == "-":
        return
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise IsADirectoryError(21, "Is a directory", path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(2, "No such folder", folder)
    if not os.access(folder, os.W_OK):
        raise PermissionError(13, "The folder may not be written to", folder)
