"""Fitting of an estimator that the user gave, from any library."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import has_fit_parameter

from fastar._core.parameters import Array
from fastar._core.random import set_random_states
from fastar.persistence import Persistent


def fit_arguments(
    estimator: Any,
    X: Any,
    seen: Array | None = None,
    *,
    sample_weight: Array | None = None,
    context: Any = None,
    name: str = "density",
) -> tuple[Any, dict[str, Any]]:
    """Return X and the keyword arguments of `fit` for an estimator that sees some of the rows.

    A model of this library is given all rows, those that it is not to see with weight zero, for
    they still tell it which levels there are; any other estimator is given the others alone.

    Parameters
    ----------
    estimator : object
    X : table of n rows
    seen : bool array (n,) or None
        None: all rows.
    sample_weight : array (n,) or None
    context : table of n rows, optional
    name : str
        Name of the estimator in errors.

    Raises
    ------
    ValueError
        There is a context or a weight, and its `fit` takes none; or it takes groups of rows.
    """
    check_takes_rows(estimator, name)
    given = {"sample_weight": sample_weight, "context": context}
    arguments = {key: value for key, value in given.items() if value is not None}
    for argument in arguments:
        if not has_fit_parameter(estimator, argument):
            raise ValueError(
                f"{argument} must be None for a {name} whose fit has no {argument}, such as "
                f"{type(estimator).__name__}. Got one instead."
            )
    if seen is None:
        return X, arguments
    if isinstance(estimator, Persistent):
        weight = np.ones(len(seen)) if sample_weight is None else sample_weight
        return X, arguments | {"sample_weight": weight * seen}
    rows = np.flatnonzero(seen)
    X, *values = (_safe_indexing(each, rows) for each in (X, *arguments.values()))
    return X, dict(zip(arguments, values, strict=True))


def check_takes_rows(estimator: Any, name: str = "density") -> None:
    """Raise ValueError if the rows of a group are one sequence to an estimator."""
    if getattr(estimator, "groups", None) is not None:
        raise ValueError(
            f"The {name} must take single rows. Got {type(estimator).__name__} with "
            f"groups={estimator.groups!r}, to which the rows of a group are one sequence."
        )


def fit_clone(
    estimator: Any,
    X: Any,
    seen: Array | None = None,
    *,
    random_state: np.random.RandomState | None = None,
    **given: Any,
) -> Any:
    """Return a clone of an estimator that is fitted to the rows `seen`.

    random_state: sets those random states of the clone that are None. given: as `fit_arguments`.
    """
    estimator = clone(estimator)
    if random_state is not None:
        set_random_states(estimator, random_state)
    X, arguments = fit_arguments(estimator, X, seen, **given)
    return estimator.fit(X, **arguments)


def mark_missing(estimator: Any) -> None:
    """Set missing="marked" in an estimator and in all that it is to fit, where NaN is an error."""
    for name, value in estimator.get_params(deep=False).items():
        if name == "missing" and value == "error":
            estimator.set_params(missing="marked")
        for inner in value if isinstance(value, list | tuple) else [value]:
            if isinstance(inner, BaseEstimator) and not isinstance(inner, FrozenEstimator):
                mark_missing(inner)
