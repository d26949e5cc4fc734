"""Code that displays share: axes to draw on, and names of columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot

from fastar._core.parameters import Array


def axes_or_new(ax: Any, size: tuple[float, float]) -> Any:
    """Return the axes, or those of a new figure of this size where there are none."""
    return pyplot.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def axes_array(axes: Any, shape: tuple[int, int], size: tuple[float, float], **how: Any) -> Array:
    """Return an array of axes of this shape: those given, or those of a new figure."""
    if axes is None:
        axes = pyplot.subplots(*shape, figsize=size, layout="constrained", squeeze=False, **how)[1]
    found = np.asarray(axes, dtype=object)
    if found.size != shape[0] * shape[1]:
        raise ValueError(f"axes must have the shape {shape}. Got {found.shape} instead.")
    return found.reshape(shape)


def column_names(estimator: Any, X: Any = None) -> list[str]:
    """Return the names of the columns: those of `fit`, those of a DataFrame X, or x1, x2, .."""
    names = getattr(X, "columns", getattr(estimator, "feature_names_in_", None))
    if names is None:
        return [f"x{d + 1}" for d in range(estimator.n_features_in_)]
    return [str(name) for name in names]
