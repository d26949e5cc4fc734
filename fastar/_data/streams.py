"""Tables that are read batch by batch, again and again: files, and whatever makes batches."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._core.threads import check_stopped
from fastar._data.frame_types import as_frame, frame_kind, names_of
from fastar._data.parts import Parts

BATCH_ROWS, BATCH_VALUES = 1 << 16, 1 << 23
"""Rows, and values, of a batch at most."""
_PAGE_BYTES = 1 << 18
"""Bytes of a column of a Parquet file that are read at once."""
LARGE_MAP = 1 << 30
"""Bytes from which on a memory-mapped array is read batch by batch."""


def batch_rows(n_columns: int) -> int:
    """Return the rows of a batch, or of a part of a file that is written."""
    return max(1, min(BATCH_ROWS, BATCH_VALUES // max(1, n_columns)))


@dataclass(frozen=True)
class Stream:
    """Batches of a table, from the first row to the last, as often as one asks.

    Parameters
    ----------
    opened : callable
        Returns an iterator of data frames, arrays (n, D), or tables or record batches of Arrow.
    name : str
        Name of the table in errors.
    first_row : int
        The number of the first row.
    paths : tuple of str
        The files, or folders, that are read, where that is known.
    """

    opened: Callable[[], Iterable[Any]]
    name: str
    first_row: int = 0
    paths: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: Any, name: str = "X") -> Stream:
        """Return the stream of a source.

        Parameters
        ----------
        source : path, Dataset, LazyFrame, `__arrow_c_stream__`, memmap, callable or Stream
            A path is that of a Parquet file, or of a folder of them; a Dataset is one of pyarrow,
            a LazyFrame one of polars. A callable returns an iterator, a new one each time.
        name : str
            Its name in errors, together with its path.

        Raises
        ------
        ValueError, TypeError, OSError
            It cannot be read, or only once.
        """
        if isinstance(source, Stream):
            return source
        if isinstance(source, str | os.PathLike):
            path = os.fspath(source)
            if not os.path.exists(path):
                raise FileNotFoundError(2, "No such file or folder", path)
            if os.path.isfile(path) and not _is_parquet(path):
                raise ValueError(
                    f"{name} must be a path of Parquet, which {path!r} is not. Read CSV and others "
                    "with pandas or polars and give the DataFrame; the command fastar reads CSV."
                )
            return cls(partial(_of_files, path), f"{name} from {path!r}", paths=(path,))
        if isinstance(source, np.memmap):
            return cls(partial(_of_array, source), name)
        if type(source).__name__ == "RecordBatchReader":
            raise ValueError(
                f"{name} must be readable again and again. Got a RecordBatchReader instead: give a "
                "callable that returns a new one."
            )
        if _is_dataset(source):
            return cls(partial(_of_dataset, source), name, paths=tuple(_files_of(source)))
        if _is_lazy_frame(source):
            return cls(partial(_of_lazy_frame, source, name), name)
        if callable(source):
            _check_no_arguments(source, name)
            return cls(source, name)
        return cls(partial(_of_arrow_stream, source), name)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Yield (number of the first row, data frame or array), of `batch_rows` rows at most."""
        first = self.first_row
        for given in self._given():
            size = batch_rows(given.shape[1])
            for start in range(0, len(given), size):
                check_stopped()
                batch = _frame(_rows(given, start, start + size))
                yield first, batch
                first += len(batch)
        if first == self.first_row:
            raise ValueError(f"{self.name} must have rows. Got none.")

    def names(self) -> list[Any]:
        """Return the names of the columns of the first batch, or their places in an array."""
        _, batch = next(iter(self))
        return names_of(batch)

    def columns(self, names: list[Any]) -> Stream:
        """Return the stream of some columns of data frames."""
        return replace(self, opened=lambda: (batch[names] for _, batch in self))

    def _given(self) -> Iterator[Any]:
        """Yield what the source gives; errors tell where it comes from."""
        given = self.opened()
        if not isinstance(given, Iterable) or hasattr(given, "shape"):
            raise TypeError(
                f"{self.name} must return an iterator of data frames, arrays or record batches, a "
                f"new one at each call. Got {type(given).__name__} instead."
            )
        batches = iter(given)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except Exception as error:
                raise self._told(error) from error
            is_table = hasattr(batch, "to_pandas") or isinstance(batch, np.ndarray)
            if not (frame_kind(batch) or (is_table and len(batch.shape) == 2)):
                raise TypeError(
                    f"{self.name} must be made of data frames, arrays of two dimensions or record "
                    f"batches. Got {type(batch).__name__} instead."
                )
            yield batch

    def _told(self, error: Exception) -> Exception:
        """Return an error of Arrow's with the name of what it is about, others as they are."""
        # an OSError of Arrow's about damaged contents has no number
        is_arrow = type(error).__module__.startswith("pyarrow")
        if not (is_arrow or (isinstance(error, OSError) and error.errno is None)):
            return error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return ValueError(f"{self.name} cannot be read as Parquet: {reason}")


@contextmanager
def rows_told(name: str, first_row: int) -> Iterator[None]:
    """Let errors about a batch, which call it X, name the table and the row in it."""
    try:
        yield
    except (TypeError, ValueError) as error:
        told, n_named = re.subn(r"\bX\b", lambda _: name, str(error), count=1)
        told = told if n_named else f"{name}: {told}"
        told = re.sub(r"\brow (\d+)", lambda at: f"row {first_row + int(at[1])}", told, count=1)
        raise (TypeError if isinstance(error, TypeError) else ValueError)(told) from error


def is_stream(source: Any) -> bool:
    """Return whether a source is read batch by batch, and not a table in memory."""
    if isinstance(source, np.memmap):
        return source.ndim == 2 and source.nbytes >= LARGE_MAP
    if isinstance(source, Stream | Parts | str | os.PathLike):
        return True
    if callable(source) or _is_dataset(source) or _is_lazy_frame(source):
        return True
    package = type(source).__module__.partition(".")[0]
    if package == "pyarrow":
        return type(source).__name__ == "RecordBatchReader"
    return hasattr(source, "__arrow_c_stream__") and package not in ("pandas", "polars", "narwhals")


def as_stream(table: Any) -> Stream:
    """Return the stream of a source, or of a table in memory, which is given as one batch."""
    return Stream.of(table) if is_stream(table) else Stream(lambda: iter([table]), "X")


def arrow_module(what: str) -> Any:
    """Return pyarrow with its readers of files; ValueError that says what needs it."""
    try:
        import_module("pyarrow.dataset")
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ImportError as error:
        raise ValueError(
            f"{what} needs the package pyarrow: pip install 'fastar-density[arrow]'."
        ) from error


def _is_dataset(source: Any) -> bool:
    package = type(source).__module__.partition(".")[0]
    return package == "pyarrow" and hasattr(source, "get_fragments")


def _files_of(dataset: Any) -> list[str]:
    """Return the files of a Dataset that are on this machine; none of one in memory."""
    return [each for each in getattr(dataset, "files", []) if os.path.exists(each)]


def _check_no_arguments(source: Any, name: str) -> None:
    """Raise TypeError if a callable must be given something."""
    try:
        taken = signature(source)
    except ValueError:  # not all that is compiled tells
        return
    try:
        taken.bind()
    except TypeError as error:
        raise TypeError(
            f"{name} must be callable without arguments, where it is no table. "
            f"Got {source!r:.80} instead: {error}."
        ) from error


def _is_lazy_frame(source: Any) -> bool:
    package = type(source).__module__.partition(".")[0]
    return package == "polars" and type(source).__name__ == "LazyFrame"


def _frame(batch: Any) -> Any:
    """Return a batch of Arrow as a data frame whose types no other batch changes."""
    if frame_kind(batch):
        return batch
    if isinstance(batch, np.ndarray) or find_spec("polars") is not None:
        return as_frame(batch)
    pandas = import_module("pandas")
    # without gaps pandas would have another type, and the order of categories is that of a batch
    names = [f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
    nullable = {name.lower(): pandas.api.types.pandas_dtype(name) for name in names}
    nullable["bool"] = pandas.BooleanDtype()
    frame = batch.to_pandas(types_mapper=lambda dtype: nullable.get(str(dtype)))
    for name, dtype in frame.dtypes.items():
        if isinstance(dtype, pandas.CategoricalDtype) and not dtype.ordered:
            frame[name] = frame[name].cat.set_categories(sorted(dtype.categories))
    return frame


def arranged(batch: Any, names: list[Any]) -> Any:
    """Return a frame that has columns of these names, in their order; any other as it is."""
    if frame_kind(batch) is None or list(batch.columns) == names:
        return batch
    same = len(batch.columns) == len(names) and set(batch.columns) == set(names)
    return batch[names] if same else batch


def recut(stream: Stream) -> Stream:
    """Return the stream of the same rows in batches of `batch_rows`, but for the last one."""
    return replace(stream, opened=partial(_recut, stream))


def _recut(stream: Stream) -> Iterator[Any]:
    waiting: list[Any] = []
    n = 0
    for _, batch in stream:
        if waiting and frame_kind(batch) is not None:
            batch = arranged(batch, list(waiting[0].columns))
        waiting.append(batch)
        n, size = n + len(batch), batch_rows(batch.shape[1])
        while n >= size:
            whole = _joined(waiting)
            yield _rows(whole, 0, size)
            waiting, n = [_rows(whole, size, n)], n - size
    if n:
        yield _joined(waiting)


def _joined(batches: list[Any]) -> Any:
    kind = frame_kind(batches[0])
    if len(batches) == 1:
        return batches[0]
    if kind is None:
        return np.concatenate(batches)
    library = import_module("polars") if kind == "polars" else import_module("pandas")
    return library.concat(batches)


def _rows(given: Any, start: int, stop: int) -> Any:
    """Return some rows of a frame, an array, or a table of Arrow."""
    if start == 0 and stop >= len(given):
        return given
    if frame_kind(given) == "pandas":
        return given.iloc[start:stop]
    if hasattr(given, "slice"):
        return given.slice(start, min(stop, len(given)) - start)
    return given[start:stop]


# ---- sources


def _of_array(array: Array) -> Iterator[Array]:
    size = batch_rows(array.shape[1])
    for start in range(0, len(array), size):
        yield np.array(array[start : start + size])


def _of_arrow_stream(source: Any) -> Iterator[Any]:
    yield from arrow_module("A stream of Arrow").RecordBatchReader.from_stream(source)


def _of_lazy_frame(source: Any, name: str) -> Iterator[Any]:
    """Yield what a query gives, which polars computes piece by piece."""
    if not hasattr(source, "collect_batches"):
        raise TypeError(
            f"{name} must be read by a version of polars whose LazyFrame has collect_batches. Got "
            "an older one: call collect() of the LazyFrame, or write it by its sink_parquet()."
        )
    yield from source.collect_batches(maintain_order=True)


def _is_parquet(path: str) -> bool:
    """Return whether a file begins as Parquet does."""
    with open(path, "rb") as file:
        return file.read(4) in (b"PAR1", b"PARE")


def _of_files(path: str) -> Iterator[Any]:
    """Yield the record batches of Parquet files, page by page, however large row groups are."""
    arrow, names = arrow_module("A table in Parquet"), None
    for each in arrow.dataset.dataset(path, format="parquet").files:
        with arrow.parquet.ParquetFile(each, buffer_size=_PAGE_BYTES) as file:
            own = set(file.schema_arrow.names)
            names = own if names is None else names
            if lacking := sorted(names - own):
                raise ValueError(
                    f"{each!r} must have the columns of the first file. "
                    f"Got none that is called {lacking[0]!r}."
                )
            if strange := sorted(own - names):
                raise ValueError(
                    f"{each!r} must have the columns of the first file alone. "
                    f"Got {strange[0]!r}, too."
                )
            for group in range(file.num_row_groups):  # a pass over several keeps what it has read
                yield from file.iter_batches(batch_rows(len(own)), [group])


def _of_dataset(dataset: Any) -> Iterator[Any]:
    """Yield the record batches of a Dataset, a row group at a time in memory."""
    arrow_module("A Dataset")
    size = batch_rows(len(dataset.schema))
    yield from dataset.to_batches(batch_size=size, batch_readahead=1, fragment_readahead=1)
