"""The conditional that a column gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastar._data.columns import MANY_LEVELS, Columns
from fastar._data.table import Table
from fastar.conditionals import (
    BY_NAME,
    Bernoulli,
    Categorical,
    Conditional,
    Gaussian,
    LogisticMixture,
    Mixed,
)
from fastar.conditionals._integer import MOST_LEVELS


def choose_conditional(
    distribution: Any,
    table: Table,
    names: Any,
    is_frame: bool,
    by_name: Callable[[str], Conditional],
    parameter: str = "distribution",
) -> Conditional:
    """Return the conditional that `distribution` stands for; "auto" looks at the data.

    names: of the columns, or None. is_frame: whether each column gets a conditional of its own.
    by_name: makes a conditional from its name. parameter: what errors call it.
    """
    D = len(table.order)
    if isinstance(distribution, list | tuple):
        if len(distribution) != D:
            raise ValueError(
                f"A list as '{parameter}' must have an entry for each of {D} columns. "
                f"Got {len(distribution)} instead."
            )
        return _of_columns(list(distribution), table, is_frame, by_name, parameter)
    if isinstance(distribution, dict):
        columns = list(range(D)) if names is None else list(names)
        strange = [each for each in distribution if each not in columns]
        if strange:
            raise ValueError(
                "A dict as 'distribution' must have columns of X as its keys. "
                f"Got {strange[0]!r}, which is none."
            )
        entries = [distribution.get(each, "auto") for each in columns]
        return _of_columns(entries, table, is_frame, by_name)
    if distribution != "auto":
        return _checked_conditional(distribution, by_name)
    if not isinstance(table.X, Columns):
        bernoulli = Bernoulli().restored({"missing": table.missing}, D)
        if not any(bernoulli.unsupported(block).any() for _, block in table.blocks()):
            return bernoulli
        if not is_frame:
            return by_name("categorical") if table.dtype.kind in "iu" else Gaussian()
    return _of_columns(["auto"] * D, table, is_frame, by_name)


def _checked_conditional(
    given: Any, by_name: Callable[[str], Conditional], parameter: str = "distribution"
) -> Conditional:
    if isinstance(given, Conditional):
        return given
    if not isinstance(given, str) or given not in BY_NAME:
        raise ValueError(
            f"The '{parameter}' of a column must be 'auto', one of "
            f"{', '.join(repr(each) for each in BY_NAME)}, or an object of fastar.conditionals. "
            f"Got {given!r} instead."
        )
    return by_name(given)


def _of_columns(
    entries: list[Any],
    table: Table,
    is_frame: bool,
    by_name: Callable[[str], Conditional],
    parameter: str = "distribution",
) -> Conditional:
    """Return one conditional if all columns, entry by entry, have the same, or a mixed one."""
    found = [
        _inferred_conditional(table.columns(np.array([place])), is_frame)
        if isinstance(entries[column], str) and entries[column] == "auto"
        else _checked_conditional(entries[column], by_name, parameter)
        for place, column in enumerate(table.order)
    ]
    return found[0] if len({repr(each) for each in found}) == 1 else Mixed(found)


def _inferred_conditional(column: Table, is_frame: bool) -> Conditional:
    """Return the conditional that fits the values of one column."""
    X, d = column.X, int(column.order[0])
    if isinstance(X, Columns):
        kind = X.described[d].type
        if kind == "category" and not X.described[d].holds_integers:
            return Categorical()
        is_binary, is_integer = X.is_binary(d), kind == "integer"
        is_long = is_integer and X.n_distinct(d, MANY_LEVELS) > MANY_LEVELS
        extent = X.extent(d) if is_long else 0
        if not is_long and (X.described[d].offset or X.described[d].holds_integers):
            # levels beyond 2**53 are names: another one is not among them
            return Bernoulli() if is_binary else Categorical("impossible")
    else:
        values = np.unique(column.take(slice(None)))
        values = values[values == values]  # not NaN
        is_binary = bool(((values == 0) | (values == 1)).all())
        is_integer = column.dtype.kind in "iu"
        is_long = is_integer and is_frame and len(values) > MANY_LEVELS
        extent = float(values[-1]) - float(values[0]) if is_long else 0
    if is_binary:
        return Bernoulli()
    if is_long and extent <= MOST_LEVELS / 2:
        return LogisticMixture(margin=0.5)
    return Categorical() if is_integer and not is_long else Gaussian()
