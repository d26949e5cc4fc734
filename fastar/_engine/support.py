"""Checks of values against the support of a model's conditionals."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._core.validation import check_finite
from fastar._data.column_labels import ColumnLabels
from fastar._data.columns import Columns
from fastar._data.frame_types import UNKNOWN
from fastar._data.table import Table
from fastar.conditionals import Conditional


def check_support(
    conditional: Conditional,
    block: Array,
    order: Array,
    first_row: int = 0,
    name: str = "X",
    labels: ColumnLabels | None = None,
    table: Table | None = None,
) -> None:
    """Raise ValueError where a block in model order leaves the support.

    first_row: the place of its first row in the array, or in the table that it is of. labels: how
    columns and values are called.
    """
    wrong = conditional.unsupported(block)
    if wrong.any():
        row = int(np.flatnonzero(wrong.any(axis=1))[0])
        columns = order[wrong[row]]
        position = int(np.flatnonzero(wrong[row])[np.argmin(columns)])
        own, _ = conditional.of_column(position)
        number = block[row, position]
        value, place = told(labels, int(columns.min()), number, first_row + row, table)
        if block.dtype.kind == "f" and np.isnan(number):
            raise ValueError(
                f"{name} may have missing values only in columns that had some in fit. "
                f"Got one in {place}."
            )
        raise ValueError(
            f"{name} must hold {own.support} for a {own.name} conditional. "
            f"Got {value} in {place} instead."
        )


def called(labels: ColumnLabels | None, column: int) -> str:
    """Return what a column is called."""
    return str(column) if labels is None else labels.column(column)


def told(
    labels: ColumnLabels | None, column: int, number: Any, row: int, table: Table | None = None
) -> tuple[str, str]:
    """Return how a number is called, and its place: 'row r, column c'.

    row: its place in the table, if there is one, or else among all rows.
    """
    value = str(number) if labels is None else labels.value(column, number)
    if table is not None:
        row = row if table.rows is None else int(table.rows[row])
        X = table.X
        if isinstance(X, Columns) and X.unknown[column] and number == UNKNOWN:
            value = repr(X.value_of_unknown(row, column))
    return value, f"row {row}, column {called(labels, column)}"


def check_table_support(
    conditional: Conditional, table: Table, name: str = "X", labels: ColumnLabels | None = None
) -> None:
    """Check every row of a table."""
    for where, block in table.blocks():
        check_support(conditional, block, table.order, where.start, name, labels, table)


def impossible_rows(conditional: Conditional, table: Table) -> Array:
    """Return which rows (n,) have a value outside the support, or a gap where `fit` had none."""
    found = np.zeros(len(table), bool)
    for where, block in table.blocks():
        found[where] = conditional.unsupported(block).any(axis=1)
    return found


def check_known(conditional: Conditional, X: Any, order: Array) -> None:
    """Raise ValueError if a frame has categories that `fit` did not see and that are an error."""
    if isinstance(X, Columns):
        refused = np.zeros(len(order), bool)
        refused[order] = ~conditional.takes_unknown()
        X.check_known(refused)


def check_evidence(
    evidence: Any, n: int, model: Any, name: str = "evidence"
) -> tuple[Array, Array] | tuple[None, None]:
    """Return (values, held), each (1 or n, D), of `evidence` with NaN or None where free."""
    if evidence is None:
        return None, None
    D = model.n_columns
    try:
        if type(evidence).__module__.startswith("pandas") and hasattr(evidence, "to_numpy"):
            values = evidence.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            values = np.asarray(evidence)
            if values.dtype.kind == "O":
                free = np.array([each is None for each in values.flat]).reshape(values.shape)
                values = np.where(free, np.nan, values).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must hold numbers, NaN or None. Got {evidence!r} instead."
        ) from error
    values = np.atleast_2d(values)
    if values.shape not in ((1, D), (n, D)):
        raise ValueError(
            f"{name} must have shape ({D},) or ({n}, {D}). Got {np.shape(evidence)} instead."
        )
    held = missing_to_held(values)
    # Free places get a value of the support, so that one check serves all.
    filled = values if held.all() else np.where(held, values, model.placeholder())
    check_support(
        model.conditional, filled[:, model.order], model.order, name=name, labels=model.labels
    )
    check_finite(values, name, ("row", "column"), gaps=True)  # a level that fit has not seen
    return filled, held


def missing_to_held(values: Array) -> Array:
    """Return where values are not NaN."""
    return ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
