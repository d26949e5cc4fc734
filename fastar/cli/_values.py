"""Values, sets and intervals of columns, as users write them on the command line."""

from __future__ import annotations

import ast
import csv
from collections.abc import Mapping
from typing import Any

from fastar._data.frame_types import Column
from fastar.cli._models import CommandError, schema_of


def evidence_of(model: Any, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return what is known of columns, as evidence takes it, from their texts.

    "40" is a value, "{A,B}" a set of values, "20..30" the half-open interval from 20 to below 30,
    an end of which may be left out. A text that is a category is that one.
    """
    columns, known = {column.name: column for column in schema_of(model).columns}, {}
    for name, text in texts.items():
        if name not in columns:
            listed = ", ".join(map(repr, columns))
            raise CommandError(f"There is no column {name!r}. There are {listed}.")
        known[name] = _known(columns[name], text)
    return known


def _known(column: Column, text: str) -> Any:
    if text in column.numbers:
        return text
    if text.startswith("{") and text.endswith("}"):
        members = next(csv.reader([text[1:-1]], skipinitialspace=True), [])
        return {_value(column, each.strip()) for each in members}
    low, dots, high = text.partition("..")
    if dots and (column.type != "category" or column.is_ordered or column.holds_integers):
        return tuple(_value(column, end.strip()) if end.strip() else None for end in (low, high))
    return _value(column, text)


def _value(column: Column, text: str) -> Any:
    """Return one value: a number or flag, or the text of categories, dates and times."""
    if column.clock is not None or (column.type == "category" and not column.holds_integers):
        return text
    flag = {"true": True, "false": False}.get(text.lower())
    if flag is not None:
        return flag
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, int | float) else text
