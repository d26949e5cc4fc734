"""Long frames: the rows of a frame as the steps of sequences, one for each group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._core.schema import OBJECT, Anything, Record, Whole, inside, require
from fastar._data.columns import Columns
from fastar._data.frame_types import frame_kind, narwhals_module
from fastar._data.frames import Schema, check_names
from fastar._data.reading import table_like

_DESCRIBED = Record({"schema": OBJECT, "groups": Anything((str, int)), "place": Whole(0)})


@dataclass(frozen=True)
class LongFrame:
    """What the long frame of `fit` was.

    Parameters
    ----------
    schema : Schema
        Of the columns of a step: all but that of the groups.
    groups : str or int
        The column that says which sequence a row belongs to.
    place : int
        Where it stands among the columns.
    """

    schema: Schema
    groups: Any
    place: int

    @classmethod
    def of(cls, frame: Any, groups: Any, name: str) -> LongFrame:
        """Return the description of a frame; ValueError if it has no such column."""
        names = check_names(frame, name)
        steps = _without(frame, groups, name)
        if not len(names) > 1:
            raise ValueError(
                f"{name} must have a column beside that of the groups, {groups!r}. Got none."
            )
        return cls(Schema.of(steps, name), groups, names.index(groups))

    def to_json(self) -> dict[str, Any]:
        """Return the description as objects that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> LongFrame:
        """Return what `to_json` described; EntryError if it is none."""
        _DESCRIBED.check(described, "")
        with inside("schema"):
            schema = Schema.from_json(described["schema"])
        require("groups", described["groups"] not in schema.names, "must be no column of a step.")
        require("place", described["place"] <= len(schema.columns), "must be one of the columns.")
        return cls(schema, described["groups"], described["place"])

    def read(self, frame: Any, order_by: Any, name: str) -> tuple[Columns, Array, Array]:
        """Return the steps in the frame's order, the rows of each step, and offsets (n + 1,).

        Sequences come in the order in which their groups first occur. The rows of a group are
        sorted by the column `order_by`; equal ones, or all if it is None, stay in their order.
        """
        steps = self.schema.read(_without(frame, self.groups, name), name)
        group = _group_numbers(frame[self.groups], name, self.groups)
        keys = [np.arange(len(group)), group]
        if order_by is not None:
            keys.insert(1, self._sort_keys(steps, order_by, name))
        rows = np.lexsort(keys)
        return steps, rows, np.concatenate([[0], np.cumsum(np.bincount(group))])

    def _sort_keys(self, steps: Columns, order_by: Any, name: str) -> Array:
        """Return numbers (n,) that sort the rows as the column does."""
        if order_by not in self.schema.names:
            raise ValueError(
                f"order_by must be a column of {name} beside {self.groups!r}. "
                f"Got {order_by!r} instead; {name} has {self.schema.names}."
            )
        column = self.schema.names.index(order_by)
        if self.schema.columns[column].type == "category":
            raise ValueError(
                f"order_by must be a column of numbers, dates or times. Got {order_by!r}, whose "
                "values are categories."
            )
        missing = steps.is_missing(column)
        if missing.any():
            raise ValueError(
                f"{name} must have a value in every row of {order_by!r}, by which rows are "
                f"ordered. Got none in row {int(missing.argmax())}."
            )
        return np.asarray(steps.kept(column))

    def wrap(self, values: Array, lengths: Array, kind: str | None = None) -> Any:
        """Return steps (N, F) as a long frame whose groups are numbered from 0."""
        frame = self.schema.wrap(values, kind)
        numbers = np.repeat(np.arange(len(lengths)), lengths)
        if frame_kind(frame) == "pandas":
            frame.insert(self.place, self.groups, numbers)
            return frame
        import polars

        return frame.insert_column(self.place, polars.Series(self.groups, numbers))

    def fill(self, frame: Any, rows: Array, values: Array, kept: Array) -> Any:
        """Return a frame with values (N, F) of its steps, which are `rows`, where not `kept`."""
        back = np.empty_like(rows)
        back[rows] = np.arange(len(rows))
        steps = _without(frame, self.groups, "X")
        filled = table_like(steps, self.schema, values[back], kept[back])
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
