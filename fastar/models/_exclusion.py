"""Samples that are no rows of a given table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from fastar._core.parameters import Array
from fastar._core.random import check_state
from fastar._data.context import context_of_rows
from fastar._data.evidence import n_rows
from fastar._data.reading import dense

TRIES = 100
"""Times that a sample is drawn before it is given up."""


def sample_outside(
    density: Any,
    read: Callable[..., Any],
    exclude: Any,
    unique: bool,
    n_samples: int,
    *,
    context: Any,
    evidence: Any,
    random_state: Any,
    **how: Any,
) -> Any:
    """Return samples none of which is a row of `exclude`; unique: nor another one of them.

    Rows that are not allowed are drawn anew, with their own context and evidence; all others are
    those of `sample`. read: how the density reads a table as numbers.

    Raises
    ------
    ValueError
        There is nothing to exclude, or hardly anything else is drawn.
    """
    if not isinstance(unique, bool | np.bool_):
        raise ValueError(f"unique must be True or False. Got {unique!r} instead.")
    if exclude is None:
        raise ValueError(
            "unique=True must be given the rows that samples are to differ from as 'exclude': a "
            "fitted model does not keep its training table. Got exclude=None instead."
        )
    gaps = None if issparse(exclude) else True
    taken = set(_keys(read(exclude, gaps=gaps, name="exclude")))
    state = check_state(random_state)
    rows, numbers, given = np.arange(n_samples), np.empty(0), (context, evidence)
    for attempt in range(TRIES):
        if attempt > 0:
            given = _of_rows(density, context, evidence, rows, n_samples)
        drawn = density.sample(
            len(rows), context=given[0], evidence=given[1], random_state=state, **how
        )
        own = read(drawn, gaps=None if issparse(drawn) else True)
        if attempt == 0:
            numbers = dense(own).astype(np.float64)
        numbers[rows] = dense(own)
        refused = []
        for row, key in zip(rows, _keys(own), strict=True):
            if key in taken:
                refused.append(row)
            elif unique:
                taken.add(key)
        if not refused:
            return drawn if attempt == 0 else density._container.wrap(numbers)
        rows = np.array(refused)
    raise ValueError(
        f"exclude must leave enough to draw: {len(rows)} of {n_samples} samples were among its "
        f"{_num_samples(exclude)} rows{', or drawn before,' if unique else ''} in each of {TRIES} "
        "draws. Ask for fewer samples, or exclude fewer rows."
    )


def _of_rows(density: Any, context: Any, evidence: Any, rows: Array, n: int) -> tuple[Any, Any]:
    """Return the context and the evidence of some of n rows; what is said once is said of all."""
    if context is not None:
        context = context_of_rows(density._fitted_context, context, rows, n)
    if evidence is not None and n_rows(evidence, "evidence") > 1:
        evidence = _safe_indexing(evidence, rows)
    return context, evidence


def _keys(table: Any) -> list[bytes]:
    """Return a key of each row of a table of numbers: rows with one key hold the same values."""
    numbers: Array = dense(table).astype(np.float64) + 0.0  # -0.0 is 0.0
    numbers[np.isnan(numbers)] = np.nan  # of one sign
    return [row.tobytes() for row in numbers]
