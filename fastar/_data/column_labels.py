"""How errors call columns and values: as the user does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from fastar._data.containers import Container
from fastar._data.frames import Schema


@dataclass(frozen=True)
class ColumnLabels:
    """What the user calls the columns of a table, and its values.

    Parameters
    ----------
    container : Container or Schema
        Kind of the table of `fit`.
    names : sequence of str or None
        Names of the columns, if they have any.
    """

    container: Container | Schema
    names: Any = None

    def column(self, d: int) -> str:
        """Return the name of a column, or its place."""
        if isinstance(self.container, Schema):
            return repr(self.container.names[d])
        return str(d) if self.names is None else repr(self.names[d])

    def value(self, d: int, number: Any) -> str:
        """Return the value that a number of models stands for in a column."""
        if isinstance(self.container, Schema):
            return str(self.container.columns[d].value(number))
        return users_number(number, self.container.dtype, (self.container.offsets or {d: 0})[d])


@contextmanager
def columns_told(names: Any) -> Iterator[None]:
    """Let errors about a column, which tell its place, tell its name if there are names."""
    try:
        yield
    except ValueError as error:
        if names is None:
            raise
        told = re.sub(
            r"\bin column (\d+)", lambda at: f"in column {names[int(at[1])]!r}", str(error)
        )
        raise ValueError(told) from error


def users_number(number: Any, dtype: str, offset: int = 0) -> str:
    """Return as text a number of models, less by an offset than that of the user's type."""
    is_whole = isinstance(number, Real) and float(number).is_integer()
    is_integer = np.dtype(dtype).kind in "iub"
    return str(int(number) + offset if is_whole and (is_integer or offset) else number)
