"""Tables in files: CSV and Parquet as data frames of polars or pandas, and back."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from typing import Any, Literal, get_args

import narwhals as nw
from narwhals import selectors

from fastar._core.files import whole_file
from fastar._data.durations import duration_text
from fastar._data.frame_types import as_frame, is_missing
from fastar._data.parquet import is_parquet_name
from fastar.cli._cells import NULLS, inferred, typed
from fastar.cli._sources import Source, TableError

_SHOWN = 10

Library = Literal["polars", "pandas"]


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
    read = _read_parquet if source.is_parquet else _read_csv
    frame: nw.DataFrame[Any] = nw.from_native(read(source, library), eager_only=True)
    if len(frame) == 0:
        raise TableError(f"{source.name}: there are no rows.")
    check_columns(source, frame.columns, types)
    if not source.is_parquet:
        stay = [name for name, wanted in types.items() if wanted in ("category", "duration")]
        others = [name for name in frame.columns if name not in stay]
        frame = frame.with_columns(*(inferred(source, frame[name]) for name in others))
    return frame.with_columns(
        *(typed(source, frame[name], wanted) for name, wanted in types.items())
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


@contextmanager
def _reading(source: Source, library: str, kind: str) -> Iterator[None]:
    """Let a reader that finds no table raise TableError."""
    try:
        yield
    except (OSError, TableError):
        raise
    except ImportError as error:
        raise ImportError(f"{library} cannot read {kind}: {error}") from error
    except Exception as error:  # each library has exceptions of its own
        if kind == "CSV":
            _check_widths(source)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TableError(f"{source.name}: {library} cannot read it as {kind}: {reason}") from error


def _read_parquet(source: Source, library: str) -> Any:
    with _reading(source, library, "Parquet"), source.native() as file:
        if library == "pandas":
            return import_module("pandas").read_parquet(file, dtype_backend="numpy_nullable")
        if find_spec("pyarrow") is None:
            return import_module("polars").read_parquet(file)
        # which keeps the order of categories
        return as_frame(import_module("pyarrow.parquet").ParquetFile(file).read())


def _read_csv(source: Source, library: str) -> Any:
    """Return a frame of strings."""
    names = _header(source)
    with _reading(source, library, "CSV"), source.native() as file:
        read = _csv_by_polars if library == "polars" else _csv_by_pandas
        frame = read(source, file, names)
    if nw.from_native(frame, eager_only=True)[:, -1].null_count():  # as where a row is too short
        _check_widths(source)
    return frame


def _csv_by_polars(source: Source, file: Any, names: list[str]) -> Any:
    polars = import_module("polars")
    frame = polars.read_csv(
        file,
        separator=source.separator,
        eol_char="\r" if source.first_line.endswith("\r") else "\n",
        null_values=list(NULLS),
        infer_schema_length=0,
    )
    frame.columns = names
    if frame.select(polars.all_horizontal(polars.all().is_null()).any()).item():
        # blank lines may be among these rows
        records = islice(source.records(blank=True), 1, None)
        frame = frame.filter(polars.Series([bool(cells) for _, cells in records]))
    return frame


def _csv_by_pandas(source: Source, file: Any, names: list[str]) -> Any:
    pandas = import_module("pandas")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)  # a row is too long
        frame = pandas.read_csv(
            file,
            sep=source.separator,
            keep_default_na=False,
            na_values=list(NULLS),
            index_col=False,
            dtype="string",
        )
    return frame.set_axis(names, axis=1)


def _header(source: Source) -> list[str]:
    """Return the names of the columns of CSV."""
    try:
        _, names = next(source.records(), (0, []))
    except UnicodeDecodeError as error:
        raise TableError(
            f"{source.name}: it is neither Parquet nor text in UTF-8. Save it as one of these."
        ) from error
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


# ---- writing


def write_table(frame: Any, path: str) -> None:
    """Write a data frame to a file, whole or not at all.

    Parameters
    ----------
    frame : DataFrame
    path : str
        Parquet where it ends so, packed by gzip where it ends in .gz; "-": CSV on standard output.
    """
    table, name = nw.from_native(frame, eager_only=True), path.lower().removesuffix(".gz")
    if is_parquet_name(name):
        content = io.BytesIO()
        table.write_parquet(content)
        data = content.getvalue()
    else:
        tab = name.endswith((".tsv", ".tab"))
        data = _to_csv(table, "\t" if tab else ",").encode()
    # no time in it: the same table, the same bytes
    write_bytes(data if name == path.lower() else gzip.compress(data, mtime=0), path)


def write_bytes(data: bytes, path: str) -> None:
    """Write a file, whole or not at all; "-": standard output."""
    if path == "-":
        if sys.stdout is None:
            raise OSError(errno.EBADF, "It is closed", "standard output")
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError as error:
            # what is left in the buffer cannot be written when the process ends, either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise type(error)(error.errno, error.strerror, "standard output") from error
        return
    with whole_file(path) as file:
        file.write(data)


def write_text(text: str) -> None:
    """Write to standard output, all of it or an error."""
    write_bytes(text.encode(sys.stdout.encoding if sys.stdout else "utf-8", "replace"), "-")


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
    # a blank line would be no row
    gap = '""' if len(native.columns) == 1 else ""
    return str(native.write_csv(separator=separator, null_value=gap, time_format="%H:%M:%S%.f"))


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
