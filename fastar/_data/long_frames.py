"""Long frames: the rows of a frame as the steps of sequences, one for each group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._core.schema import OBJECT, Anything, Maybe, Record, Whole, inside, require
from fastar._data.columns import Columns
from fastar._data.frame_types import Column, frame_kind, narwhals_module
from fastar._data.frames import Schema, check_names
from fastar._data.reading import table_like

_NAME = Anything((str, int))
_DESCRIBED = Record(
    {"schema": OBJECT, "groups": _NAME, "place": Whole(0), "order_by": Maybe(_NAME)}
)


@dataclass(frozen=True)
class LongFrame:
    """What the long frame of `fit` was.

    Parameters
    ----------
    schema : Schema
        Columns of a step: all but that of the groups.
    groups : str or int
        The column that says which sequence a row belongs to.
    place : int
        Where it stands among the columns.
    order_by : str, int or None
        The column by which the rows of a group are sorted. In a step it is two values: the first
        of a sequence, missing in later steps, and by how much it rises, missing in the first step.
        Samples are then in order.
    """

    schema: Schema
    groups: Any
    place: int
    order_by: Any = None

    @classmethod
    def of(cls, frame: Any, groups: Any, order_by: Any, name: str) -> LongFrame:
        """Return the description of a frame; ValueError if it has no such columns."""
        steps = _without(frame, groups, name)
        names = check_names(frame, name)
        if not len(names) > 1:
            raise ValueError(
                f"{name} must have a column beside that of the groups, {groups!r}. Got none."
            )
        schema = Schema.of(steps, name)
        found = cls(schema, groups, names.index(groups), order_by)
        if order_by is not None:
            found._check_order(name)
        return found

    def _check_order(self, name: str) -> None:
        """Raise ValueError if the frame cannot be sorted by `order_by`."""
        if self.order_by not in self.schema.names:
            raise ValueError(
                f"order_by must be a column of {name} beside {self.groups!r}. "
                f"Got {self.order_by!r} instead; {name} has {self.schema.names}."
            )
        if self.schema.columns[self._time].type in ("category", "bool"):
            raise ValueError(
                "order_by must be a column of numbers, dates or times. "
                f"Got {self.order_by!r} of {self.schema.columns[self._time].type} instead."
            )

    # ---- the values of a step, as models see them

    @property
    def _time(self) -> int:
        """The place of the column `order_by` among those of the schema."""
        return self.schema.names.index(self.order_by)

    @property
    def n_timed(self) -> int:
        """How many values of a step, its first ones, say where it is in time: 2 or none."""
        return 0 if self.order_by is None else 2

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the values of a step."""
        columns = list(self.schema.columns)
        if self.order_by is None:
            return tuple(columns)
        time = columns.pop(self._time)
        kind = "float" if time.type in ("float", "decimal") else "integer"
        rise = Column(f"{self.order_by} since the step before", f"{kind}64", kind, (), True)
        return (replace(time, missing=True), rise, *columns)

    def to_steps(self, values: Array, offsets: Array) -> Array:
        """Return the values of steps (N, F) of the columns (N, C) of sorted rows."""
        if self.order_by is None:
            return values
        time = values[:, self._time]
        is_first = np.zeros(len(values), bool)
        is_first[offsets[:-1][np.diff(offsets) > 0]] = True
        start = np.where(is_first, time, np.nan)
        rise = np.where(is_first, np.nan, np.diff(time, prepend=0))
        return np.column_stack([start, rise, np.delete(values, self._time, axis=1)])

    def by_column(self, of_values: Array) -> Array:
        """Return flags (C,) of the columns by those of the values of a step, False of the time."""
        if self.order_by is None:
            return of_values
        return np.insert(of_values, self._time, False)

    def _to_columns(self, values: Array, lengths: Array) -> Array:
        """Return the columns (N, C) of the values of steps (N, F)."""
        if self.order_by is None:
            return values
        moves, offsets = values[:, 1].copy(), np.cumsum(lengths) - lengths
        first = offsets[lengths > 0]
        moves[first] = values[first, 0]
        each = np.split(moves, offsets[1:])
        time = np.concatenate([np.cumsum(own) for own in each])
        return np.insert(values[:, 2:], self._time, time, axis=1)

    # ---- files

    def to_json(self) -> dict[str, Any]:
        """Return the description as objects that JSON can hold."""
        return asdict(self) | {"schema": self.schema.to_json()}

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> LongFrame:
        """Return what `to_json` described; EntryError if it is none."""
        _DESCRIBED.check(described, "")
        with inside("schema"):
            schema = Schema.from_json(described["schema"])
        require("groups", described["groups"] not in schema.names, "must be no column of a step.")
        require("place", described["place"] <= len(schema.columns), "must be one of the columns.")
        own = cls(schema, described["groups"], described["place"], described["order_by"])
        if own.order_by is not None:
            known = own.order_by in schema.names and schema.columns[own._time].type != "category"
            require("order_by", known, "must be a column of numbers, dates or times.")
        return own

    # ---- from frames to steps and back

    def read(self, frame: Any, name: str) -> tuple[Columns, Array, Array]:
        """Return the columns in the frame's order, the row of each step, and offsets (n + 1,).

        Sequences come in the order in which their groups first occur. The rows of a group are
        sorted by the column `order_by`; equal ones, or all if it is None, stay in their order.
        """
        columns = self.schema.read(_without(frame, self.groups, name), name)
        group = _group_numbers(frame[self.groups], name, self.groups)
        keys = [np.arange(len(group)), group]
        if self.order_by is not None:
            missing = columns.is_missing(self._time)
            if missing.any():
                raise ValueError(
                    f"{name} must have a value in every row of {self.order_by!r}, by which rows "
                    f"are ordered. Got none in row {int(missing.argmax())}."
                )
            keys.insert(1, np.asarray(columns.kept(self._time)))
        return columns, np.lexsort(keys), np.concatenate([[0], np.cumsum(np.bincount(group))])

    def wrap(self, values: Array, lengths: Array) -> Any:
        """Return steps (N, F) as a long frame whose groups are numbered from 0."""
        frame = self.schema.wrap(self._to_columns(values, lengths))
        numbers = np.repeat(np.arange(len(lengths)), lengths)
        if frame_kind(frame) == "pandas":
            frame.insert(self.place, self.groups, numbers)
            return frame
        import polars

        return frame.insert_column(self.place, polars.Series(self.groups, numbers))

    def fill(self, frame: Any, rows: Array, values: Array, offsets: Array) -> Any:
        """Return a frame with the values (N, F) of its steps, which are `rows`, in its gaps."""
        back = np.empty_like(rows)
        back[rows] = np.arange(len(rows))
        found = self._to_columns(values, np.diff(offsets))[back]
        given = _without(frame, self.groups, "X")
        kept = ~np.isnan(self.schema.read(given)[:])
        filled = table_like(given, self.schema, found, kept)
        if frame_kind(frame) == "pandas":
            filled.insert(self.place, self.groups, frame[self.groups])
            return filled
        return filled.insert_column(self.place, frame[self.groups])


def _without(frame: Any, groups: Any, name: str) -> Any:
    """Return the columns of a frame but that of the groups."""
    if frame_kind(frame) is None:
        raise TypeError(
            f"{name} must be a pandas or polars DataFrame where 'groups' names a column. "
            f"Got {type(frame).__name__} instead."
        )
    if groups not in list(frame.columns):
        raise ValueError(
            f"groups must be a column of {name}. Got {groups!r} instead; {name} has "
            f"{list(frame.columns)}."
        )
    rest = [each for each in frame.columns if each != groups]
    return frame[rest] if frame_kind(frame) == "pandas" else frame.select(rest)


def _group_numbers(series: Any, name: str, groups: Any) -> Array:
    """Return the number (n,) of each row's group, in the order in which groups first occur."""
    told = narwhals_module().from_native(series, series_only=True)
    missing = told.is_null().to_numpy()
    if missing.any():
        raise ValueError(
            f"{name} must have a group in every row of {groups!r}. "
            f"Got none in row {int(missing.argmax())}."
        )
    number: dict[Any, int] = {}
    return np.array([number.setdefault(each, len(number)) for each in told.to_list()])


def columns_of(described: tuple[Any, ...], values: Array) -> Columns:
    """Return values (n, C) in the coding as the columns that they are."""
    found = Columns(described, len(values))
    for d, numbers in enumerate(values.T):
        gaps = np.isnan(numbers)
        found.put(d, np.where(gaps, 0, numbers), gaps)
    return found
