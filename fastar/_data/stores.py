"""Rows that are kept on disk in compact types, and handed out block by block."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import Lock
from typing import Any
from weakref import finalize

import numpy as np

from fastar._core.lazy import lazy
from fastar._core.parameters import Array
from fastar._core.threads import ThreadPool, check_stopped
from fastar._data.columns import Columns
from fastar._data.context import Context, ContextRows
from fastar._data.frame_types import Column
from fastar._data.summary import row_hashes
from fastar._data.table import BatchOfRows, Examples, Table, block_rows

BLOCK_ROWS, BLOCK_BYTES = 1 << 13, 1 << 21
"""Consecutive rows that an epoch keeps together at most, and the bytes that they may take."""
BUFFER_ROWS, BUFFER_BYTES = 1 << 18, 1 << 26
"""Rows that are shuffled together at most, and the bytes that they may take."""
_HASHED = 1 << 16
_SEED_OF_SHARDS = 1
"""Seed of the hash that assigns a row to a shard."""


@dataclass(frozen=True)
class Layout:
    """How rows lie on disk: columns of one type side by side.

    Parameters
    ----------
    described : tuple of Column or None
        The columns of a frame; None of an array.
    parts : tuple of (list of places, type)
    missing, unknown : bool arrays (D,)
        Which columns of a frame have missing values, and values that are none of its categories.
    context : Context or None
        That of rows, whose numbers come after their values.
    code_dtype : dtype
        Type of the context's codes.
    is_weighted : bool
        Whether rows have weights, which come last.
    """

    described: tuple[Column, ...] | None
    parts: tuple[tuple[list[int], np.dtype[Any]], ...]
    missing: Array
    unknown: Array
    context: Context | None = None
    code_dtype: Any = np.float32
    is_weighted: bool = False

    @classmethod
    def of_array(cls, D: int, dtype: np.dtype[Any]) -> Layout:
        """Return the layout of an array's rows."""
        return cls(None, ((list(range(D)), dtype),), np.zeros(D, bool), np.zeros(D, bool))

    @classmethod
    def of_columns(
        cls,
        described: tuple[Column, ...],
        dtypes: list[np.dtype[Any]],
        missing: Array,
        unknown: Array,
    ) -> Layout:
        """Return the layout of columns that are kept in these types."""
        keys = [
            (column.storage is not None, dtype)
            for column, dtype in zip(described, dtypes, strict=True)
        ]
        parts = [
            ([d for d, key in enumerate(keys) if key == each], each[1])
            for each in dict.fromkeys(keys)
        ]
        return cls(described, tuple(parts), missing, unknown)

    def with_more(self, context: Context | None, code_dtype: Any, is_weighted: bool) -> Layout:
        """Return the layout of such rows with contexts, if any, and weights."""
        return replace(self, context=context, code_dtype=code_dtype, is_weighted=is_weighted)

    def _matrices(self) -> list[tuple[int, np.dtype[Any]]]:
        """Return columns and type of each part."""
        found = [(len(places), dtype) for places, dtype in self.parts]
        if self.context is not None:
            found.append((self.context.n_columns, np.dtype(np.float64)))
        return found + [(1, np.dtype(np.float64))] * self.is_weighted

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return sum(width * dtype.itemsize for width, dtype in self._matrices())

    @property
    def block_rows(self) -> int:
        """Rows of a block."""
        return max(1, min(BLOCK_ROWS, BLOCK_BYTES // self.row_bytes))

    @property
    def buffer_blocks(self) -> int:
        """Blocks of a buffer."""
        rows = min(BUFFER_ROWS, BUFFER_BYTES // self.row_bytes)
        return max(1, rows // self.block_rows)

    def empty(self, n: int) -> list[Array]:
        """Return room for n rows: a matrix for each part."""
        return [np.empty((n, width), dtype) for width, dtype in self._matrices()]

    def split(
        self, X: Any, numbers: Array | None = None, weight: Array | None = None
    ) -> list[Array]:
        """Return the parts of rows, which are `Columns` or an array, of their context and weights.

        numbers (n, columns): of the context. weight (n,).
        """
        parts = self._of_values(X)
        if numbers is not None:
            parts.append(numbers)
        return parts if weight is None else [*parts, weight[:, None]]

    def _of_values(self, X: Any) -> list[Array]:
        if self.described is None:
            return [np.ascontiguousarray(X, self.parts[0][1])]
        parts = [np.empty((len(X), len(places)), dtype) for places, dtype in self.parts]
        for (places, dtype), part in zip(self.parts, parts, strict=True):
            for k, d in enumerate(places):
                # a batch of numbers without gaps may have been read as an array
                column = X.kept(d) if isinstance(X, Columns) else X[:, d]
                part[:, k] = column.astype(dtype, copy=False)
        return parts

    def table(self, parts: list[Array], order: Array) -> Table:
        """Return the table of rows from their parts."""
        context = None
        if self.context is not None:
            context = ContextRows(self.context, parts[len(self.parts)], self.code_dtype)
        return Table(self._joined(parts), order, context=context)

    def _joined(self, parts: list[Array]) -> Any:
        if self.described is None:
            return parts[0]
        pairs = [(places, part) for (places, _), part in zip(self.parts, parts, strict=False)]
        return Columns.of_parts(self.described, pairs, self.missing, self.unknown)

    def weight(self, parts: list[Array]) -> Array | None:
        """Return the weights (n,) of rows from their parts, None where all are the same."""
        return parts[-1][:, 0] if self.is_weighted else None


class Store:
    """Rows in a file without a name, which goes when the store does; written once, in order."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.n_rows = 0
        self._waiting: list[list[Array]] = []
        self._n_waiting = 0
        self._size = layout.block_rows
        self._file = tempfile.TemporaryFile(prefix="fastar-")  # noqa: SIM115, as long as the store
        finalize(self, self._file.close)
        self._lock = Lock()

    @property
    def n_blocks(self) -> int:
        """Blocks, all but the last one of as many rows."""
        return -(-self.n_rows // self._size)

    def append(self, parts: list[Array]) -> None:
        """Add rows, as `Layout.split` gives them; OSError where the disk has no room for them."""
        self._waiting.append(parts)
        self._n_waiting += len(parts[0])
        if self._n_waiting >= self._size:
            self._write(self._n_waiting // self._size * self._size)

    def close(self) -> None:
        """Write what is left; rows can be read from now on."""
        if self._n_waiting:
            self._write(self._n_waiting)
        self._file.flush()

    def _write(self, n: int) -> None:
        """Write the first n rows that wait, block by block, and keep the others."""
        parts = [np.concatenate(each) for each in zip(*self._waiting, strict=True)]
        try:
            for start in range(0, n, self._size):
                for part in parts:
                    self._file.write(part[start : min(start + self._size, n)].data)
        except OSError as error:
            raise type(error)(
                error.errno,
                f"{error.strerror}: rows are kept in a temporary file, "
                f"{self.layout.row_bytes} bytes each; TMPDIR may name a folder with more room",
                tempfile.gettempdir(),
            ) from error
        self.n_rows += n
        self._n_waiting -= n
        self._waiting = [[part[n:].copy() for part in parts]] if self._n_waiting else []

    def stretch(self, block: int) -> tuple[int, int]:
        """Return the first row of a block, and the row after its last."""
        first = int(block) * self._size
        return first, min(first + self._size, self.n_rows)

    def blocks(self, which: Iterable[int]) -> list[Array]:
        """Return the parts of the rows of some blocks, one block after the other."""
        return self._read([self.stretch(k) for k in which])

    def rows(self, start: int, stop: int) -> list[Array]:
        """Return the parts of the rows from `start` up to `stop`."""
        ends = [start, *range((start // self._size + 1) * self._size, stop, self._size), stop]
        return self._read(list(pairwise(ends)))

    def _read(self, stretches: list[tuple[int, int]]) -> list[Array]:
        """Return stretches of rows, each inside a block."""
        parts = self.layout.empty(sum(stop - start for start, stop in stretches))
        at = 0
        for start, stop in stretches:
            first = start // self._size * self._size
            n = min(self._size, self.n_rows - first)
            offset = first * self.layout.row_bytes
            for part in parts:
                of_row = part.shape[1] * part.itemsize
                with self._lock:
                    self._file.seek(offset + (start - first) * of_row)
                    self._file.readinto(part[at : at + stop - start].data.cast("B"))
                offset += n * of_row
            at += stop - start
        return parts


class TableElsewhere(ABC):
    """Base of tables whose rows are not in memory.

    Parameters
    ----------
    order : int array (D,)
        Column that comes k-th.
    start : (Examples, weight (m,))
        Rows, or sequences, in memory that stand for all of them where a network starts.
    """

    def __init__(self, order: Array, start: tuple[Examples, Array]) -> None:
        self.order = order
        self.start = start

    @abstractmethod
    def __len__(self) -> int:
        """Return how many rows there are."""

    @abstractmethod
    def subset(self, which: Array) -> Examples:
        """Return the table, in memory, of some of the rows, or of others that stand for them."""

    @property
    @abstractmethod
    def weight(self) -> Array:
        """Return the weights (n,)."""

    def same_weight(self, weight: float = 1.0) -> Array:
        """Return the same weight for all rows (n,), which takes no memory."""
        same: Array = np.broadcast_to(np.float64(weight), (len(self),))
        return same

    def _places(self, which: Array | slice) -> Array:
        return np.arange(*which.indices(len(self))) if isinstance(which, slice) else which

    def take(self, which: Array | slice) -> Any:
        """Return a block of the rows of `subset`."""
        return self.subset(self._places(which)).take(slice(None))

    def context(self, which: Array | slice) -> Array | None:
        """Return the context of the rows of `subset`, if there is one."""
        return self.subset(self._places(which)).context(slice(None))


class StoredTable(TableElsewhere):
    """The `Table` of rows on disk.

    Parameters
    ----------
    store : Store
    order, start : as of `TableElsewhere`
    """

    def __init__(self, store: Store, order: Array, start: tuple[Table, Array]) -> None:
        super().__init__(order, start)
        self.store = store

    def __len__(self) -> int:
        return self.store.n_rows

    @lazy
    def weight(self) -> Array:
        """Return the weights (n,), 8 bytes each in memory unless all are one."""
        store = self.store
        if not store.layout.is_weighted:
            return self.same_weight()
        weight = np.empty(len(self))
        for block in range(store.n_blocks):
            weight[slice(*store.stretch(block))] = store.layout.weight(store.blocks([block]))
        return weight

    def _table(self, parts: list[Array]) -> Table:
        return self.store.layout.table(parts, self.order)

    def subset(self, which: Array) -> Table:
        """Return the table, in memory, of some of the rows that lie near to one another."""
        first = int(which.min())
        rows = self._table(self.store.rows(first, int(which.max()) + 1))
        return rows.subset(which - first)

    def blocks(self, most: int | None = None) -> Iterator[tuple[slice, Array]]:
        """Yield (slice of rows, dense block) from first to last; most: rows of a block."""
        size = block_rows(len(self.order))
        size = size if most is None else min(size, most)
        for start in range(0, len(self), size):
            check_stopped()
            where = slice(start, min(start + size, len(self)))
            yield where, self._table(self.store.rows(where.start, where.stop)).take(slice(None))

    def batches(self, rng: np.random.Generator | None, size: int) -> Generator[BatchOfRows]:
        """Yield the batches of an epoch, shuffled buffer by buffer.

        The order of the blocks is random, as many of them as fit fill a buffer, and the order of a
        buffer's rows is random. Where all fit into one, this is the order of a table in memory.
        A thread reads the next buffer while one is used.
        """
        waiting: list[BatchOfRows] = []
        n_waiting = 0
        for table, places, rows in self._buffers(rng):
            start = 0
            while start < len(rows):
                which = rows[start : start + size - n_waiting]
                waiting.append((places[which], table.take(which), table.context(which)))
                start, n_waiting = start + len(which), n_waiting + len(which)
                if n_waiting == size:
                    yield _joined(waiting)
                    waiting, n_waiting = [], 0
        if waiting:
            yield _joined(waiting)

    def _buffers(self, rng: np.random.Generator | None) -> Generator[tuple[Table, Array, Array]]:
        """Yield (rows of a buffer, their places in the table, the order in which they are seen)."""
        n_buffered = self.store.layout.buffer_blocks
        blocks = np.arange(self.store.n_blocks)
        if rng is not None and len(blocks) > n_buffered:
            blocks = rng.permutation(blocks)
        buffers = [blocks[k : k + n_buffered] for k in range(0, len(blocks), n_buffered)]
        streams = [rng] if len(buffers) == 1 or rng is None else rng.spawn(len(buffers))
        with ThreadPool(1) as pool:
            ahead = pool.submit(self.store.blocks, buffers[0])
            for k, buffer in enumerate(buffers):
                table = self._table(ahead.result())
                if k + 1 < len(buffers):
                    ahead = pool.submit(self.store.blocks, buffers[k + 1])
                places = np.concatenate([np.arange(*self.store.stretch(each)) for each in buffer])
                rows, own = np.arange(len(table)), streams[min(k, len(streams) - 1)]
                yield table, places, rows if own is None else own.permutation(rows)


def _joined(parts: list[BatchOfRows]) -> BatchOfRows:
    if len(parts) == 1:
        return parts[0]
    places, blocks, contexts = zip(*parts, strict=True)
    context = None if contexts[0] is None else np.concatenate(contexts)
    return np.concatenate(places), np.concatenate(blocks), context


class HeldOut:
    """Which rows are held out: those whose hash is below a share of all hashes.

    Parameters
    ----------
    share : float
        Between 0 and 1.
    seed : int
        Seed of the hash of a row's number.
    n : int
        Rows of the table. At least one is held out, and at least one is not.
    """

    def __init__(self, share: float, seed: int, n: int) -> None:
        self.seed = seed
        self._limit = np.uint64(min(int(share * 2.0**64), 2**64 - 1))
        n_held, low, high = 0, np.uint64(2**64 - 1), np.uint64(0)
        for start in range(0, n, _HASHED):
            hashes = row_hashes(np.arange(start, min(start + _HASHED, n)), seed)
            n_held += int((hashes < self._limit).sum())
            low, high = min(low, hashes.min()), max(high, hashes.max())
        if n_held == 0:
            self._limit = np.uint64(int(low) + 1)
        elif n_held == n:
            self._limit = high

    @classmethod
    def drawn(cls, share: float, n: int, rng: np.random.Generator) -> HeldOut | None:
        """Return one with a random seed; None where nothing is held out, or there is one row."""
        return cls(share, int(rng.integers(2**63)), n) if share and n > 1 else None

    def __call__(self, rows: Array) -> Array:
        """Return whether rows (m,) are held out, by their numbers."""
        held: Array = row_hashes(rows, self.seed) < self._limit
        return held


def held_rows(is_held: HeldOut | None, numbers: Array) -> Array:
    """Return which (n,) of the rows of these numbers are held out, if any are."""
    return np.zeros(len(numbers), bool) if is_held is None else is_held(numbers)


def shard_numbers(numbers: Array, n_shards: int, is_held: HeldOut | None) -> Array:
    """Return the shard (n,) of rows by their numbers: those held out have as many of their own."""
    shard = (row_hashes(numbers, _SEED_OF_SHARDS) % np.uint64(n_shards)).astype(np.intp)
    shard += n_shards * held_rows(is_held, numbers)
    return shard
