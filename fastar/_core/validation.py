"""Checks that scikit-learn's validation leaves open, and the state of estimators after errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator

from fastar._core.limits import MOST_LAYERS, MOST_UNITS, check_memory
from fastar._core.parameters import Array


def unmask(values: Any, name: str, *, gaps: bool = False) -> Any:
    """Return a masked array without its mask, other values as they are.

    gaps: whether what is masked becomes missing (NaN, or None among integers).

    Raises
    ------
    ValueError
        Something is masked, and no gaps are allowed.
    """
    if not isinstance(values, np.ma.MaskedArray):
        return values
    masked = np.ma.getmaskarray(values)
    if not masked.any():
        return values.data
    if not gaps:
        place = ", ".join(map(str, np.argwhere(masked)[0]))
        raise ValueError(
            f"{name} must not be masked: missing values are allowed in a DataFrame, and in an "
            f"array where NaN is. Got a masked value at [{place}]."
        )
    if values.dtype.kind == "f":
        return values.filled(np.nan)
    objects = values.data.astype(object)
    objects[masked] = None
    return objects


def check_finite(
    values: Array, name: str, axes: tuple[str, ...] = ("row",), *, gaps: bool = False
) -> None:
    """Raise ValueError that says where numbers are infinite, or NaN unless there may be gaps."""
    if values.dtype.kind != "f":
        return
    wrong = np.isinf(values) if gaps else ~np.isfinite(values)
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        where = ", ".join(f"{axis} {at}" for axis, at in zip(axes, place, strict=True))
        kind = "NaN" if np.isnan(values[place]) else "infinity"
        raise ValueError(
            f"Input {name} contains {kind} in {where}. It must hold finite numbers. "
            f"Got {values[place]} instead."
        )


def as_array(values: Any, name: str) -> Array:
    """Return array-likes as an array; strings of any length, or beside other values, as objects.

    Raises
    ------
    ValueError
        Their parts have several lengths.
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind == "U" and isinstance(values, list | tuple):  # 1 is not "1"
            cells = np.array(values, dtype=object)
            return array if all(isinstance(each, str) for each in cells.flat) else cells
        return array.astype(object) if array.dtype.kind == "T" else array
    except ValueError as error:
        raise ValueError(
            f"{name} must be an array, whose parts are as long as one another. "
            f"Got {values!r:.80} instead."
        ) from error


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


def check_order(order: Any, n_features: int, rng: np.random.Generator) -> Array:
    """Return the permutation that the `order` parameter describes."""
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


def weights_as_numbers(given: Any, rule: str) -> Array:
    """Return weights as float64; rule: how the error about one that is no real number begins."""
    array = as_array(given, "sample_weight")
    if array.dtype.kind in "biuf":
        return array.astype(np.float64)
    cells = array.ravel().tolist()
    numbers = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            if array.dtype.kind != "O" or isinstance(
                cell, str | bytes | np.datetime64 | np.timedelta64
            ):
                raise TypeError
            numbers[row] = float(cell)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{rule}. Got {cell!r} in row {row} instead.") from error
    return numbers.reshape(array.shape)


def check_weight(sample_weight: Any, n: int) -> Array:
    """Return weights (n,) as float64: ones, or the user's if none is negative and one positive."""
    if sample_weight is None:
        return np.ones(n)
    sample_weight = unmask(sample_weight, "sample_weight")
    weight = weights_as_numbers(sample_weight, "sample_weight must hold numbers")
    if weight.shape != (n,):
        raise ValueError(
            f"sample_weight must have shape ({n},), one weight a row. Got {weight.shape} instead."
        )
    wrong = ~np.isfinite(weight) | (weight < 0)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"sample_weight must be finite and not negative. Got {weight[row]} in row {row}."
        )
    if not weight.any():
        raise ValueError("sample_weight must have a positive entry. Got zeros alone.")
    with np.errstate(over="ignore"):
        total = weight.sum()
    if not np.isfinite(total):
        raise ValueError(
            f"sample_weight must have a finite sum. Got weights of up to {weight.max()} instead."
        )
    return weight


def mean_score(scores: Array, sample_weight: Any) -> float:
    """Return the mean of scores (n,), by the user's weights if there are any."""
    return float(np.average(scores, weights=check_weight(sample_weight, len(scores))))


def check_count(name: str, value: Any, *, most: int | None = None, numbers: int = 0) -> int:
    """Return an argument that must be an int of at least 1, and at most `most`.

    numbers: how many of them, in float64, the call needs at once for each.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < 1:
        raise ValueError(f"{name} must be an int of at least 1. Got {value!r} instead.")
    if most is not None and int(value) > most:
        raise ValueError(f"{name} must be an int of at most {most}. Got {value!r} instead.")
    check_memory(name, value, int(value) * numbers * 8)
    return int(value)


def check_threshold(threshold: Any) -> float:
    """Return a threshold of log p(x) as a float."""
    if not isinstance(threshold, Real) or np.isnan(float(threshold)):
        raise ValueError(f"threshold must be None or a number. Got {threshold!r} instead.")
    return float(threshold)


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


def check_layer_sizes(sizes: Any) -> tuple[int, ...]:
    """Return `hidden_layer_sizes` as a tuple of ints."""
    given = [sizes] if np.ndim(sizes) == 0 else list(sizes)
    if not given or any(
        not isinstance(each, Integral) or isinstance(each, bool) or each < 1 for each in given
    ):
        raise ValueError(
            "hidden_layer_sizes must be at least one layer, each of an int of at least 1 unit "
            f"(FVSBN is the model without hidden layers). Got {sizes!r} instead."
        )
    if len(given) > MOST_LAYERS or max(map(int, given)) > MOST_UNITS:
        raise ValueError(
            f"hidden_layer_sizes must be at most {MOST_LAYERS} layers of at most {MOST_UNITS} "
            f"units each. Got {len(given)} layers of up to {max(map(int, given))} units instead."
        )
    return tuple(int(each) for each in given)


def unwrap_frozen(estimator: Any) -> Any:
    """Return the estimator inside a FrozenEstimator, or the estimator itself."""
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return estimator
