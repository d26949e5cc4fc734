"""The context of p(x given context): its numbers and categories as numbers for a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from fastar._core.integers import find_offsets, subtract
from fastar._core.offsets import offsets_of
from fastar._core.parameters import Array
from fastar._core.schema import (
    SCALAR_TYPES,
    SMALLEST,
    Anything,
    ArrayOf,
    Listed,
    Maybe,
    Record,
    check_arrays,
    inside,
    require,
)
from fastar._core.spread import location_and_scale
from fastar._core.validation import as_array, unmask
from fastar._data.calendars import coarse_parts, coarse_radix
from fastar._data.containers import Container
from fastar._data.frame_types import as_frame, frame_kind
from fastar._data.frames import Schema

_SHOWN = 5
_REACH = 24.0
"""Deviations beyond which numbers enter as that one: a network knows nothing of what is there."""
_DESCRIBED = Record(
    {
        "schema": Maybe(Anything((dict,))),
        "categories": Listed(Maybe(Listed(Anything(SCALAR_TYPES)))),
    }
)


@dataclass(frozen=True)
class Context:
    """The context that `fit` was given, and how its columns become C numbers.

    A number is standardised; a category is as many numbers as there are categories, one of them 1
    (one-hot). A moment or a time of day is a number, and then its month, quarter, weekday and hour,
    as far as its column tells them, as categories. A column that had missing values has one number
    more, 1 where it is missing.

    Parameters
    ----------
    schema : Schema or None
        Names of a DataFrame's columns.
    categories : tuple of (tuple or None)
        Categories of each column, in order; None: it has numbers.
    location, scale : float64 arrays (columns,)
        Numbers that are subtracted from numbers, and by which these are divided.
    missing : bool array (columns,)
        Which columns may have missing values.
    offsets : int64 array (columns,) or None
        Numbers that are subtracted from integers of an array that float64 does not hold.
    """

    schema: Schema | None
    categories: tuple[tuple[Any, ...] | None, ...]
    location: Array
    scale: Array
    missing: Array
    offsets: Array | None = None

    @classmethod
    def of(cls, given: Any, n: int, name: str = "context") -> Context:
        """Return what is to be known of a context of n rows: an array-like or a DataFrame.

        Raises
        ------
        TypeError, ValueError
            It is no table of numbers and categories, or has not n rows.
        """
        schema, categories, given = None, None, _column_as_frame(as_frame(given, name))
        if frame_kind(given) is not None:
            schema = Schema.of(given, name)
            categories = tuple(
                each.categories if each.type == "category" else None for each in schema.columns
            )
        else:
            table = _table(given, name)
            categories = tuple(
                None if table.dtype.kind in "biuf" else _sorted_levels(column, d, name)
                for d, column in enumerate(table.T)
            )
        found = None if schema is not None else find_offsets(table)
        offsets = None if found is None else np.array(found).astype(np.int64)
        neutral = np.zeros(len(categories))
        draft = cls(schema, categories, neutral, neutral + 1, np.ones(len(neutral), bool), offsets)
        values = draft._values(given, n, name)
        if len(values) != n:
            raise ValueError(
                f"{name} must have shape ({n}, {len(categories)}), a row for each row of X. Got "
                f"{values.shape} instead: its columns themselves are {name}, no names of columns."
            )
        missing_cells: Array = np.isnan(values)
        missing: Array = np.atleast_1d(missing_cells.any(axis=0))
        if schema is None and missing.any():
            row, column = np.argwhere(missing_cells)[0]
            raise ValueError(
                f"{name} must have no NaN (a DataFrame may have missing values). "
                f"Got NaN in row {row}, column {column} instead."
            )
        return draft._learnt(values, missing, name)

    @classmethod
    def of_container(cls, container: Schema | Container, values: Array, missing: Array) -> Context:
        """Return what is to be known of a context whose columns are known already.

        Parameters
        ----------
        container : Schema or Container
            Kind of the context, with its columns.
        values : array (m, columns)
            Numbers of rows that stand for all, NaN where missing.
        missing : bool array (columns,)
            Which columns have missing values.
        """
        columns: tuple[Any, ...] = (None,) * values.shape[1]
        schema, offsets = None, None
        if isinstance(container, Schema):
            schema = container
            columns = tuple(
                each.categories if each.type == "category" else None for each in schema.columns
            )
        elif container.offsets is not None:
            offsets = np.array(container.offsets, np.int64)
        neutral = np.zeros(len(columns))
        draft = cls(schema, columns, neutral, neutral + 1, missing, offsets)
        return draft._learnt(values, missing, "context")

    def _learnt(self, values: Array, missing: Array, name: str) -> Context:
        """Return it with the locations and scales of these values, NaN where missing."""
        location, scale = location_and_scale(
            lambda: [(np.ones(len(values)), values)], self.n_columns
        )
        if not np.isfinite(scale).all():
            d = int(np.argmin(np.isfinite(scale)))
            raise ValueError(
                f"{name} must hold finite numbers that can be squared. Got up to "
                f"{np.nanmax(np.abs(values[:, d])):g} in column {self._name(d)!r}: mend it, or "
                "choose other units."
            )
        return replace(self, location=location, scale=scale, missing=missing)

    def container_like(self, found: Schema | Container) -> Schema | Container:
        """Return the container of these columns; found: that of other rows of them."""
        if self.schema is not None or isinstance(found, Schema):
            return found if self.schema is None else self.schema
        offsets = None if self.offsets is None else tuple(self.offsets.tolist())
        return replace(found, offsets=offsets)

    @property
    def n_columns(self) -> int:
        """Columns of what the user gives."""
        return len(self.categories)

    @property
    def size(self) -> int:
        """C, numbers that a row becomes."""
        return int(sum(self._widths()))

    def _widths(self) -> list[int]:
        return [
            (1 if levels is None else len(levels)) + sum(self._radix(d)) + int(self.missing[d])
            for d, levels in enumerate(self.categories)
        ]

    def _radix(self, d: int) -> list[int]:
        """Return how many values each part of a calendar has that column d tells."""
        own = None if self.schema is None else self.schema.columns[d]
        if own is None or own.clock is None:
            return []
        return coarse_radix(own.clock, own.type)

    def encode(self, given: Any, n: int, dtype: Any, name: str = "context") -> Array:
        """Return the numbers (n, C) of a context of n rows; a single row is repeated.

        Raises
        ------
        TypeError, ValueError
            It has other columns than `fit` saw, other than 1 or n rows, or a value that is none.
        """
        codes = self.codes(self.numbers(given, n, name), dtype)
        return codes if len(codes) == n else np.repeat(codes, n, axis=0)

    def numbers(self, given: Any, n: int, name: str = "context") -> Array:
        """Return the numbers (1 or n, columns) from which `codes` are made, NaN where missing.

        Raises
        ------
        TypeError, ValueError
            As in `encode`.
        """
        values = self._values(given, n, name)
        gaps = np.isnan(values)
        strange = gaps.any(axis=0) & ~self.missing
        if strange.any():
            d = int(np.flatnonzero(strange)[0])
            raise ValueError(
                f"{name} may have missing values only where it had some in fit. "
                f"Got one in column {self._name(d)!r}, row {int(np.argmax(gaps[:, d]))}."
            )
        return values

    def codes(self, values: Array, dtype: Any) -> Array:
        """Return numbers (n, columns) as networks take them, (n, C)."""
        gaps = np.isnan(values)
        codes = np.zeros((len(values), self.size), dtype)
        start = 0
        for d, width in enumerate(self._widths()):
            levels, column = self.categories[d], values[:, d]
            rows = np.flatnonzero(~gaps[:, d])
            if levels is None:
                deviations = (column[rows] - self.location[d]) / self.scale[d]
                codes[rows, start] = np.clip(deviations, -_REACH, _REACH)
                if radix := self._radix(d):
                    parts = self._parts(d, column[rows]) + offsets_of(np.array(radix))[:-1]
                    codes[rows[:, None], start + 1 + parts] = 1
            else:
                codes[rows, start + column[rows].astype(np.intp)] = 1
            if self.missing[d]:
                codes[gaps[:, d], start + width - 1] = 1
            start += width
        return codes

    def _parts(self, d: int, numbers: Array) -> Array:
        """Return these parts (n, k) of numbers (n,)."""
        assert self.schema is not None
        own = self.schema.columns[d]
        assert own.clock is not None
        return coarse_parts(own.clock, own.type, numbers)

    def _name(self, d: int) -> Any:
        return d if self.schema is None else self.schema.names[d]

    def _values(self, given: Any, n: int, name: str) -> Array:
        """Return a number for each value (1 or n, columns), NaN where missing."""
        if self.schema is not None:
            values = self.schema.rows(self._like_frame(as_frame(given, name)), n, name)
        else:
            values = self._of_array(_table(given, name, self.n_columns), name)
        if values.shape not in ((n, self.n_columns), (1, self.n_columns)):
            raise ValueError(
                f"{name} must have shape ({n}, {self.n_columns}), a row for each row of X. "
                f"Got {values.shape} instead."
            )
        return values

    def _like_frame(self, given: Any) -> Any:
        """Return the only column of a context, if that is what is given, as a table."""
        assert self.schema is not None
        if isinstance(given, Mapping):
            return given
        if self.n_columns > 1:
            is_row = not _is_series(given) or set(getattr(given, "index", ())) & {
                *self.schema.names
            }
            return given if is_row else _column_as_frame(given)
        name = self.schema.names[0]
        if _is_series(given) and name not in getattr(given, "index", ()):
            return _column_as_frame(given, name)
        is_vector = frame_kind(given) is None and not _is_series(given) and np.ndim(given) == 1
        return np.array(given, dtype=object)[:, None] if is_vector else given

    def _of_array(self, table: Array, name: str) -> Array:
        if table.shape[1] != self.n_columns:
            raise ValueError(
                f"{name} must have {self.n_columns} columns, as in fit. "
                f"Got {table.shape[1]} instead."
            )
        if self.offsets is not None and table.dtype.kind in "iuf":
            table = subtract(table, self.offsets.tolist(), name)
        values = np.empty(table.shape)
        for d, levels in enumerate(self.categories):
            if levels is None:
                values[:, d] = _numbers(table[:, d], d, name)
                continue
            numbers = {level: number for number, level in enumerate(levels)}
            column = table[:, d].tolist()
            found = [numbers.get(each, -1) for each in column]
            if -1 in found:
                known = ", ".join(map(repr, levels[:_SHOWN]))
                row = found.index(-1)
                raise ValueError(
                    f"{name} must hold categories that were seen in fit in column {d}: {known}"
                    f"{', ...' if len(levels) > _SHOWN else ''}. "
                    f"Got {column[row]!r} in row {row} instead."
                )
            values[:, d] = found
        return values

    # ---- files

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "schema": None if self.schema is None else self.schema.to_json(),
            "categories": [None if each is None else list(each) for each in self.categories],
        }

    def arrays(self) -> dict[str, Array]:
        """Return the rest, by name."""
        known = {"location": self.location, "scale": self.scale, "missing": self.missing}
        return known if self.offsets is None else known | {"offsets": self.offsets}

    @classmethod
    def restored(cls, described: Mapping[str, Any], arrays: Mapping[str, Array]) -> Context:
        """Return what `to_json` and `arrays` described; EntryError if it is none."""
        _DESCRIBED.check(described, "")
        with inside("schema"):
            given = described["schema"]
            schema = None if given is None else Schema.from_json(given)
        categories = tuple(
            None if each is None else tuple(each) for each in described["categories"]
        )
        for each in categories:
            if each is not None:
                alike = len({*map(type, each)}) <= 1 and len({*each}) == len(each)
                require("categories", alike, "must be different ones of one type in each column.")
        if schema is not None:
            own = tuple(
                each.categories if each.type == "category" else None for each in schema.columns
            )
            require("categories", categories == own, "must be those of the schema.")
        each_column = (len(categories),)
        rules = {
            "location": ArrayOf("f", each_column),
            "scale": ArrayOf("f", each_column, SMALLEST),
            "missing": ArrayOf("b", each_column),
        }
        if "offsets" in arrays:
            rules["offsets"] = ArrayOf("i", each_column)
        check_arrays(arrays, rules)
        return cls(schema, categories, **arrays)


class ContextRows:
    """The contexts of rows, which become codes where rows are taken.

    Parameters
    ----------
    context : Context
    numbers : array (n, columns)
        As `Context.numbers` returns them.
    dtype : dtype
        Type of the codes.
    """

    def __init__(self, context: Context, numbers: Array, dtype: Any) -> None:
        self.context = context
        self.numbers = numbers
        self.dtype = dtype

    def __getitem__(self, which: Array | slice) -> Array:
        return self.context.codes(self.numbers[which], self.dtype)


def encode_context(
    fitted: Context | None, given: Any, n: int, dtype: Any, name: str = "context"
) -> Array | None:
    """Return the context of n rows as networks take it; fitted: that of `fit`, if it had one.

    Raises
    ------
    TypeError, ValueError
        Only one of `fit` and this call has a context; or it is not like that of `fit`.
    """
    if (given is None) != (fitted is None):
        raise ValueError(
            f"{name} must be given for a model of p(x given context), as in fit. Got none."
            if given is None
            else f"{name} must be None for a model that was fitted without. Got one instead."
        )
    return None if fitted is None else fitted.encode(given, n, np.dtype(dtype), name)


def context_of_rows(fitted: Context | None, given: Any, which: Array, n: int) -> Any:
    """Return the context of some of n rows, as the user gave it; fitted: that of `fit`.

    One of a single row serves all, and stays as it is, as does what a model is to refuse.
    """
    given = as_frame(given, "context")
    shape = np.shape(given)
    is_row = len(shape) == 1 and fitted is not None and fitted.n_columns > 1
    if isinstance(given, Mapping) or is_row or shape[:1] != (n,) or len(which) == n:
        return given
    return _safe_indexing(given, which)


def _is_series(given: Any) -> bool:
    package = type(given).__module__.partition(".")[0]
    return type(given).__name__ == "Series" and package in ("pandas", "polars")


def _column_as_frame(given: Any, name: Any = None) -> Any:
    """Return a Series of pandas or polars as a DataFrame; anything else as it is."""
    if not _is_series(given):
        return given
    if type(given).__module__.startswith("polars"):
        return given.to_frame(given.name if name is None else name)
    return given.to_frame(
        name if name is not None else "context" if given.name is None else given.name
    )


def _table(given: Any, name: str, n_columns: int = 1) -> Array:
    """Return a context that is no DataFrame as an array (n, columns).

    A vector is the only column, or a row of several.
    """
    table = as_array(unmask(given, name), name)
    if table.ndim == 0:
        raise ValueError(
            f"{name} must be an array or a DataFrame, a row for each row of X. "
            f"Got {type(given).__name__} instead."
        )
    if table.ndim == 1:
        table = table[:, None] if n_columns == 1 else table[None]
    if table.ndim != 2 or table.shape[1] == 0 or table.dtype.kind not in "biufOU":
        raise ValueError(
            f"{name} must be a table of numbers or categories, a row for each row of X. "
            f"Got an array of shape {table.shape} and type {table.dtype} instead."
        )
    return table


def _numbers(column: Array, d: int, name: str) -> Array:
    """Return column d of an array as numbers."""
    try:
        values = column.astype(np.float64)
    except (TypeError, ValueError) as error:
        row, cell = next(each for each in enumerate(column.tolist()) if not _is_number(each[1]))
        raise ValueError(
            f"{name} must hold numbers, as in fit. Got {cell!r} in row {row}, column {d} instead."
        ) from error
    if (infinite := np.isinf(values)).any():
        row = int(np.argmax(infinite))
        raise ValueError(
            f"{name} must hold finite numbers. Got {values[row]} in row {row}, column {d} instead."
        )
    return values


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _sorted_levels(column: Array, d: int, name: str) -> tuple[Any, ...]:
    """Return the categories of column d of an array."""
    levels = set(column.tolist())
    kinds = sorted({type(each).__name__ for each in levels})
    if len(kinds) > 1 or kinds[0] not in ("str", "int", "float", "bool"):
        raise TypeError(
            f"{name} must hold, in a column of objects, categories that are all str, all int, "
            f"all float or all bool. Got {', '.join(kinds)} in column {d} instead. Missing values "
            "may be in a DataFrame."
        )
    return tuple(sorted(levels))
