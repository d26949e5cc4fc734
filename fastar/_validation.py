"""What scikit-learn's validation leaves open, and the state of an estimator after an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np

from fastar._frames import Columns
from fastar._parameters import Array
from fastar._table import Table
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


@contextmanager
def unchanged_on_error(estimator: Any) -> Iterator[None]:
    """Give the estimator its attributes back when the body raises."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def check_support(
    conditional: Conditional, block: Array, order: Array, first_row: int = 0, name: str = "X"
) -> None:
    """Raise ValueError where a block in model order leaves the support.

    first_row: the place of its first row in the array.
    """
    wrong = conditional.unsupported(block)
    if wrong.any():
        row = int(np.flatnonzero(wrong.any(axis=1))[0])
        columns = order[wrong[row]]
        position = int(np.flatnonzero(wrong[row])[np.argmin(columns)])
        own, _ = conditional.of_column(position)
        raise ValueError(
            f"{name} must hold {own.support} for a {own.name} conditional. "
            f"Got {block[row, position]!s} in row {first_row + row}, "
            f"column {columns.min()} instead."
        )


def check_table_support(conditional: Conditional, table: Table, name: str = "X") -> None:
    """Check every row of a table."""
    for where, block in table.blocks():
        check_support(conditional, block, table.order, where.start, name)


def check_known(conditional: Conditional, table: Table) -> None:
    """Raise ValueError if a frame has categories that `fit` did not see and that are an error."""
    X = table.X
    if isinstance(X, Columns) and (X.unknown[table.order] & ~conditional.takes_unknown()).any():
        X.check_known()


def choose_conditional(
    distribution: Any,
    table: Table,
    names: Any,
    is_frame: bool,
    by_name: Callable[[str], Conditional],
    parameter: str = "distribution",
) -> Conditional:
    """Return the conditional that `distribution` stands for; "auto" looks at the data.

    names: of the columns, or None. is_frame: whether the table is judged column by column. by_name:
    what a conditional's name stands for. parameter: what errors call it.
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
        return _resolved(distribution, by_name)
    if not isinstance(table.X, Columns):
        bernoulli = Bernoulli().restored({"missing": table.missing}, D)
        if not any(bernoulli.unsupported(block).any() for _, block in table.blocks()):
            return bernoulli
        if not is_frame:
            return by_name("categorical") if table.dtype.kind in "iu" else Gaussian()
    return _of_columns(["auto"] * D, table, is_frame, by_name)


def _resolved(
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
        _judged(table.columns(np.array([place])), is_frame)
        if isinstance(entries[column], str) and entries[column] == "auto"
        else _resolved(entries[column], by_name, parameter)
        for place, column in enumerate(table.order)
    ]
    return found[0] if len({repr(each) for each in found}) == 1 else Mixed(found)


MANY_LEVELS = 100
"""A frame's column of integers with more of them than that has an ordinal conditional."""


def _judged(column: Table, is_frame: bool) -> Conditional:
    """Return the conditional that fits the values of one column."""
    X, d = column.X, int(column.order[0])
    if isinstance(X, Columns):
        kind = X.schema.columns[d].type
        if kind == "category":
            return Categorical()
        is_binary, is_integer = X.is_binary(d), kind == "integer"
        is_long = is_integer and X.n_distinct(d, MANY_LEVELS) > MANY_LEVELS
        extent = X.extent(d) if is_long else 0
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


def check_order(order: Any, n_features: int, rng: np.random.Generator) -> Array:
    """Return the permutation that the `order` parameter stands for."""
    if isinstance(order, str):
        return np.arange(n_features) if order == "natural" else rng.permutation(n_features)
    permutation = np.asarray(order)
    if (
        permutation.dtype.kind not in "iu"
        or permutation.shape != (n_features,)
        or not np.array_equal(np.sort(permutation), np.arange(n_features))
    ):
        raise ValueError(
            "The 'order' parameter must be 'natural', 'random' or a permutation of the columns "
            f"0 to {n_features - 1}. Got {order!r} instead."
        )
    return permutation.astype(np.intp)


def check_weight(sample_weight: Any, n: int) -> Array:
    """Return weights (n,) as float64: ones, or the user's if none is negative and one positive."""
    if sample_weight is None:
        return np.ones(n)
    try:
        weight = np.asarray(sample_weight, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"sample_weight must hold numbers. Got {sample_weight!r} instead."
        ) from error
    if weight.shape != (n,):
        raise ValueError(
            f"sample_weight must have shape ({n},), one weight a row. Got {weight.shape} instead."
        )
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError("sample_weight must be finite and not negative. Got other values.")
    if not weight.any():
        raise ValueError("sample_weight must have a positive entry. Got zeros alone.")
    return weight


def check_count(name: str, value: Any) -> int:
    """Return an argument that must be an int of at least 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < 1:
        raise ValueError(f"{name} must be an int of at least 1. Got {value!r} instead.")
    return int(value)


def check_temperature(temperature: Any) -> float:
    """Return a temperature as a float."""
    if not isinstance(temperature, Real) or not 0 < float(temperature) < np.inf:
        raise ValueError(
            f"temperature must be a finite number above 0. Got {temperature!r} instead."
        )
    return float(temperature)


def check_epsilon(epsilon: Any, n_features: int) -> Array:
    """Return a radius as an array (D,)."""
    try:
        radius = np.array(np.broadcast_to(np.asarray(epsilon, np.float64), (n_features,)))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"epsilon must be a number, or have shape ({n_features},). Got {epsilon!r} instead."
        ) from error
    if not (radius >= 0).all():
        raise ValueError(f"epsilon must be 0 or more. Got {epsilon!r} instead.")
    return radius


def check_evidence(
    evidence: Any, n: int, model: Any, name: str = "evidence"
) -> tuple[Array, Array] | tuple[None, None]:
    """Return (values, held), each (1 or n, D), of `evidence` with NaN or None where free."""
    if evidence is None:
        return None, None
    D = model.n_features
    try:
        if type(evidence).__module__.startswith("pandas"):
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
    neutral = model.to_columns(model.conditional.decode(np.zeros((1, D), model.dtype)))
    filled = values if held.all() else np.where(held, values, neutral)
    check_support(model.conditional, filled[:, model.order], model.order, name=name)
    return filled, held


def missing_to_held(values: Array) -> Array:
    """Return where values are not NaN."""
    return ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)


def check_layer_sizes(sizes: Any) -> tuple[int, ...]:
    """Return `hidden_layer_sizes` as a tuple of ints."""
    given = [sizes] if isinstance(sizes, Integral) else list(sizes)
    if not given or any(
        not isinstance(each, Integral) or isinstance(each, bool) or each < 1 for each in given
    ):
        raise ValueError(
            "hidden_layer_sizes must be at least one layer, each of an int of at least 1 unit "
            f"(FVSBN is the model without hidden layers). Got {sizes!r} instead."
        )
    return tuple(int(each) for each in given)
