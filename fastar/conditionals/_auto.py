"""The conditional that a column gets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from fastar._core.integers import LARGEST_EXACT
from fastar._core.parameters import Array
from fastar._data.columns import MANY_LEVELS, Columns
from fastar._data.table import Table
from fastar.conditionals import (
    BY_NAME,
    Bernoulli,
    Calendar,
    Categorical,
    Conditional,
    Gaussian,
    Integer,
    Mixed,
    Number,
)

_MOST_COUNTED, _COMMON_SHARE, _APART = 1000, 0.95, 5
"""Levels of integers of which the 100 most common have so much of the rows, at most; and how far
apart these lie, at least, at the median."""
_OF_LEVELS = [name for name, kind in BY_NAME.items() if kind.has_levels]


def choose_conditional(
    distribution: Any,
    table: Table,
    names: Any,
    by_name: Callable[[str], Conditional],
    *,
    by_column: bool = True,
    offsets: Sequence[int] = (),
    parameter: str = "distribution",
) -> Conditional:
    """Return the conditional that `distribution` stands for; "auto" looks at the data.

    names: of the columns, or None. by_name: makes a conditional from its name. by_column: whether
    "auto" judges each column of an array for itself. offsets: what the table's numbers are less
    than the user's, by column. parameter: what errors call it.
    """
    columns = _ColumnReader(table)

    def of_columns(entries: list[Any]) -> Conditional:
        """Return one conditional if all columns have the same, or a mixed one."""
        found, order = [], table.order.tolist()
        judged = [isinstance(each, str) and each == "auto" for each in entries]
        for column in order:
            if judged[column]:
                offset = offsets[column] if offsets else 0
                name = column if names is None else names[column]
                found.append(_inferred_conditional(columns, column, offset, name))
            else:
                chosen = _checked_conditional(entries[column], by_name, parameter)
                if columns.is_category(column) and not chosen.has_levels:
                    raise ValueError(
                        f"The '{parameter}' of a column of categories must be 'auto' or have "
                        f"levels, as {', '.join(map(repr, _OF_LEVELS))} do. Got {chosen.name!r} "
                        f"for column {column if names is None else names[column]!r}."
                    )
                found.append(chosen)
        if not all(isinstance(each, Bernoulli) for each in found):
            # a third value has a probability, which a table of bits alone has no room for
            for place, column in enumerate(order):
                is_bits = judged[column] and isinstance(found[place], Bernoulli)
                if is_bits and not columns.is_bool(column):
                    found[place] = Categorical()
        return found[0] if len({repr(each) for each in found}) == 1 else Mixed(found)

    D = len(table.order)
    known = list(range(D)) if names is None else list(names)
    if isinstance(distribution, list | tuple) and len(distribution) != D:
        raise ValueError(
            f"A list as '{parameter}' must have an entry for each of {D} columns. "
            f"Got {len(distribution)} instead."
        )
    if isinstance(distribution, dict):
        strange = [each for each in distribution if each not in known]
        if strange:
            raise ValueError(
                "A dict as 'distribution' must have columns of X as its keys. "
                f"Got {strange[0]!r}, which is none."
            )
    entries = asked_of_columns(distribution, known, [*map(columns.is_category, range(D))])
    if isinstance(distribution, list | tuple | dict):
        return of_columns(entries)
    if not (isinstance(distribution, str) and distribution == "auto"):
        given = _checked_conditional(distribution, by_name)
        return of_columns(entries) if "auto" in entries else given
    if not isinstance(table.X, Columns):
        bernoulli = Bernoulli().restored({"missing": table.missing}, D)
        if not any(bernoulli.unsupported(block).any() for _, block in table.blocks()):
            return bernoulli
        if not by_column:
            return by_name("categorical") if table.dtype.kind in "iu" else Gaussian()
    return of_columns(["auto"] * D)


def asked_of_columns(
    distribution: Any, names: Sequence[Any], is_category: Sequence[bool]
) -> list[Any]:
    """Return what `distribution` says of each column: "auto" where it leaves the choice open.

    One that is for all columns does so for categories, whose numbers mean nothing, unless it is one
    of levels.
    """
    if isinstance(distribution, dict):
        return [distribution.get(each, "auto") for each in names]
    if isinstance(distribution, list | tuple):
        return list(distribution)
    kind = BY_NAME.get(distribution) if isinstance(distribution, str) else type(distribution)
    has_levels = kind is not None and kind.has_levels
    return [distribution if has_levels or not each else "auto" for each in is_category]


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


class _ColumnReader:
    """The values of a table's columns, one at a time."""

    def __init__(self, table: Table) -> None:
        self.X = table.X.tocsc() if sparse.issparse(table.X) else table.X

    def described(self, column: int) -> Any:
        """Return what the column is in a frame, None of an array."""
        return self.X.described[column] if isinstance(self.X, Columns) else None

    def is_category(self, column: int) -> bool:
        """Return whether the column's values are categories."""
        described = self.described(column)
        return described is not None and described.type == "category"

    def is_bool(self, column: int) -> bool:
        """Return whether the column's type has no other values than two."""
        described = self.described(column)
        return bool(self.X.dtype == bool if described is None else described.type == "bool")

    def values(self, column: int) -> Array:
        """Return its values that are not missing."""
        if isinstance(self.X, Columns):
            return self.X.present(column)
        picked: Any = self.X[:, [column]]
        values: Array = (picked.toarray() if sparse.issparse(picked) else picked).ravel()
        return values[~np.isnan(values)] if values.dtype.kind == "f" else values


def _inferred_conditional(
    columns: _ColumnReader, column: int, offset: int, name: Any
) -> Conditional:
    """Return the conditional that fits the values of one column, which are less by an offset."""
    described = columns.described(column)
    if columns.is_category(column):
        # levels beyond 2**53 are names: another one is not among them
        return Categorical("impossible") if described.holds_integers else Categorical()
    has_clock = described is not None and described.clock is not None
    if has_clock and described.type != "duration":
        return Calendar()
    if columns.is_bool(column):
        return Bernoulli()
    values = columns.values(column)
    chosen = _of_integers(values, bool(offset)) if not has_clock and _is_whole(values) else Number()
    if isinstance(chosen, Number | Integer):
        _warn_of_lone_value(values, offset, name)
    return chosen


def _is_whole(values: Array) -> bool:
    """Return whether values are whole numbers that float64 tells apart."""
    if values.dtype.kind != "f":
        return True
    exact = float(values.min()) >= -LARGEST_EXACT and float(values.max()) <= LARGEST_EXACT
    return exact and bool((np.rint(values) == values).all())


_LEAST_VALUES, _ALONE = 20, 1000
"""Values of a column that are enough to judge one, and how much farther away it is."""


def _warn_of_lone_value(values: Array, offset: int, name: Any) -> None:
    """Warn of a number that is far from all others, which may stand for a missing value."""
    if len(values) < _LEAST_VALUES:
        return
    with np.errstate(over="ignore"):  # what overflows is as far as any
        distance = np.abs(values.astype(np.float64) - float(np.median(values)))
    lone = values[distance.argmax()]
    others = distance[values != lone]
    if others.size and distance.max() / _ALONE > others.max() > 0:
        value = int(lone) + offset if float(lone).is_integer() and abs(lone) < 2**63 else lone
        warnings.warn(
            f"X has {value} in column {name!r}, {_ALONE} times or more as far from the median as "
            "any other number there. It is fitted as it is: if it stands for a missing value, "
            "make it one.",
            UserWarning,
            stacklevel=2,
        )


def _of_integers(values: Array, is_moved: bool) -> Conditional:
    """Return the conditional that fits whole numbers."""
    levels, counts = np.unique(values, return_counts=True)
    if not is_moved and np.array_equal(levels, [0, 1]):
        return Bernoulli()
    if len(levels) <= MANY_LEVELS:  # beyond 2**53 they are names: another one is not among them
        return Categorical("impossible") if is_moved else Categorical()
    common = np.sort(counts)[-MANY_LEVELS:].sum() >= _COMMON_SHARE * len(values)
    apart = np.median(np.diff(levels.astype(np.float64))) >= _APART
    return Categorical() if len(levels) <= _MOST_COUNTED and common and apart else Integer()
