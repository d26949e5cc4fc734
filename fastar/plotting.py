"""Figures of images and of their completions. Needs Matplotlib."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot

from fastar._core.parameters import Array

__all__ = ["completion_grid", "image_grid"]


def image_grid(images: Any, *, n_columns: int | None = None, ax: Any = None, **how: Any) -> Any:
    """Draw images side by side, in rows.

    Parameters
    ----------
    images : array of shape (n, height, width) or (n, height, width, channels)
    n_columns : int or None, default=None
        Images of a row; None: as many as there are rows, or one more.
    ax : matplotlib Axes or None, default=None
        Where to draw; None: in a new figure.
    **how
        Further arguments of `Axes.imshow`, such as vmin and vmax.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        images have other axes than these.
    """
    array = _checked(images, "images", (3, 4))
    n = len(array)
    columns = int(np.ceil(np.sqrt(n))) if n_columns is None else n_columns
    rows = -(-n // columns)
    blank = np.zeros((rows * columns - n, *array.shape[1:]), array.dtype)
    whole = np.concatenate([array, blank]).reshape(rows, columns, *array.shape[1:])
    return _draw(whole, ax, how)


def completion_grid(images: Any, mask: Any, completions: Any, *, ax: Any = None, **how: Any) -> Any:
    """Draw a row for each image: its visible part, its completions, and the image.

    Parameters
    ----------
    images : array of shape (n, height, width) or (n, height, width, channels)
    mask : bool array of shape (height, width), or of images
        Where they were hidden; drawn half between the darkest and the brightest value.
    completions : array of shape (n, n_draws, height, width), or with channels
        As `PixelRNN.complete` returns them.
    ax : matplotlib Axes or None, default=None
    **how
        Further arguments of `Axes.imshow`.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        images or completions have other axes than these.
    """
    array = _checked(images, "images", (3, 4))
    drawn = _checked(completions, "completions", (array.ndim + 1,))
    hidden = np.asarray(mask, bool)
    if array.ndim == 4 and hidden.shape in (array.shape[1:3], array.shape[:3]):
        hidden = hidden[..., None]
    middle = (array.min() / 2 + array.max() / 2).astype(array.dtype)
    seen = np.where(np.broadcast_to(hidden, array.shape), middle, array)
    return _draw(np.concatenate([seen[:, None], drawn, array[:, None]], axis=1), ax, how)


def _checked(images: Any, name: str, axes: tuple[int, ...]) -> Array:
    array = np.asarray(images)
    if array.ndim not in axes or not array.size:
        raise ValueError(f"{name} must have {axes} axes and some values. Got {array.shape}.")
    return array


def _draw(whole: Array, ax: Any, how: dict[str, Any]) -> Any:
    """Draw images (rows, columns, height, width, ..) with a line between them."""
    rows, columns, height, width = whole.shape[:4]
    line = np.pad(whole, [(0, 0), (0, 0), (0, 1), (0, 1)] + [(0, 0)] * (whole.ndim - 4))
    line[:, :, height:] = line[:, :, :, width:] = whole.max()
    page = np.moveaxis(line, 2, 1).reshape(
        rows * (height + 1), columns * (width + 1), *whole.shape[4:]
    )
    if ax is None:
        _, ax = pyplot.subplots(figsize=(columns, rows), layout="constrained")
    ax.imshow(page[:-1, :-1], **({"cmap": "gray"} if whole.ndim == 4 else {}) | how)
    ax.set(xticks=[], yticks=[])
    return ax
