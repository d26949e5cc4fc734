"""Rows of data in model order, handed out a block at a time in the data's own type."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from fastar._core.parameters import Array
from fastar._core.threads import check_stopped

BLOCK_ROWS = 256
"""Rows that are few enough for any purpose."""


def block_rows(n_features: int) -> int:
    """Return the rows of one block of scoring, sampling or checking.

    The work space of a block bounds their memory. In blocks of some megabytes the cost of each
    block's constant work is small.
    """
    return max(BLOCK_ROWS, (1 << 20) // n_features)


BatchOfRows = tuple[Any, Any, Array | None]
"""The places of some examples' weights, a block of them, and their context."""


class Examples(Protocol):
    """What training and scores ask of a table, of rows or of sequences: blocks are its own."""

    def __len__(self) -> int: ...

    def subset(self, which: Array) -> Examples:
        """Return the table of some of the examples."""

    def take(self, which: Array | slice) -> Any:
        """Return a block of some of them."""

    def blocks(self, most: int | None = None) -> Iterator[tuple[slice, Any]]:
        """Yield (slice of examples, block) from first to last; most: examples of a block."""

    def context(self, which: Array | slice) -> Array | None:
        """Return the context of some of them."""

    def batches(self, rng: np.random.Generator | None, size: int) -> Generator[BatchOfRows]:
        """Yield the batches of an epoch, in the order of the table without rng."""


def shuffled(table: Examples, rng: np.random.Generator | None, size: int) -> Generator[BatchOfRows]:
    """Yield the batches of an epoch over what is in memory, in an order that is drawn at once."""
    rows = np.arange(len(table))
    if rng is not None:
        rows = rng.permutation(rows)
    for start in range(0, len(rows), size):
        which = rows[start : start + size]
        yield which, table.take(which), table.context(which)


class Table:
    """An array, CSR matrix or `Columns` of a frame, whose columns are seen in `order`.

    Parameters
    ----------
    X : ndarray, CSR matrix or Columns of shape (n, D)
        Never copied as a whole.
    order : int array (D,)
        Column of X that comes k-th.
    rows : int array or None
        The rows of X that belong to the table, all of them by default.
    context : array (n, C), ContextRows or None
        The context of each row of X, as networks take it.
    """

    def __init__(
        self, X: Any, order: Array, rows: Array | None = None, context: Any = None
    ) -> None:
        self.X = X
        self.order = order
        self.rows = rows
        self._context = context
        self._natural = len(order) == X.shape[1] and bool(
            np.array_equal(order, np.arange(len(order)))
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = self.X.dtype
        return dtype

    @property
    def missing(self) -> Array:
        """Which columns (D,), in model order, have missing values."""
        missing = getattr(self.X, "missing", None)
        if isinstance(self.X, np.ndarray) and self.X.dtype.kind == "f":
            missing = np.isnan(self.X).any(axis=0)
        return np.zeros(len(self.order), bool) if missing is None else missing[self.order]

    def n_declared(self) -> list[int]:
        """Return how many categories each column's type declares, in model order."""
        return [
            len(each.categories) if each is not None and each.is_declared else 0
            for each in self.described()
        ]

    def described(self) -> list[Any]:
        """Return what `fit` saw of each column of a frame, in model order; None of an array."""
        described = getattr(self.X, "described", None)
        return [None if described is None else described[d] for d in self.order]

    def holds_numbers(self) -> Array:
        """Return which columns (D,), in model order, hold numbers, not categories or bools."""
        described = getattr(self.X, "described", None)
        if described is None:
            return np.full(len(self.order), self.dtype.kind in "iuf")
        return np.array([described[d].type in ("integer", "float") for d in self.order])

    def empty_columns(self) -> list[int]:
        """Return the columns, by their places in X, that have no value at all."""
        suspects = self.order[self.missing]
        if isinstance(self.X, np.ndarray):
            return [int(d) for d in suspects if np.isnan(self.X[:, d]).all()]
        return [int(d) for d in suspects if self.X.n_distinct(d, 0) == 0]

    def columns(self, which: Array) -> Table:
        """Return the table of some of the columns, by their places in model order."""
        return Table(self.X, self.order[which], self.rows)

    def context(self, which: Array | slice) -> Array | None:
        """Return the context of the rows `which` of the table."""
        if self._context is None:
            return None
        return np.ascontiguousarray(self._context[which if self.rows is None else self.rows[which]])

    def subset(self, which: Array) -> Table:
        """Return the table of some of the rows."""
        rows = which if self.rows is None else self.rows[which]
        return Table(self.X, self.order, rows, self._context)

    def __len__(self) -> int:
        return int(self.X.shape[0]) if self.rows is None else len(self.rows)

    def take(self, which: Array | slice) -> Array:
        """Return the rows `which` of the table as a dense array in model order."""
        if self.rows is not None:
            which = self.rows[which]
        picked = self.X[which]
        block: Array = picked.toarray() if sparse.issparse(picked) else picked
        # in C order whatever X is in, so that sums over a block have the same bits
        return np.ascontiguousarray(block if self._natural else block.take(self.order, axis=1))

    def blocks(self, most: int | None = None) -> Iterator[tuple[slice, Array]]:
        """Yield (slice of rows, dense block) from first to last; most: rows of a block."""
        size = block_rows(len(self.order))
        size = size if most is None else min(size, most)
        for start in range(0, len(self), size):
            check_stopped()
            where = slice(start, min(start + size, len(self)))
            yield where, self.take(where)

    def batches(self, rng: np.random.Generator | None, size: int) -> Generator[BatchOfRows]:
        """Yield the batches of an epoch."""
        return shuffled(self, rng, size)
