"""Figures of images and of their completions."""

from __future__ import annotations

from math import isqrt
from typing import Any, Self

import numpy as np
from matplotlib import colormaps
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array
from fastar.plotting._axes import axes_or_new

__all__ = ["CompletionsDisplay", "SampleGridDisplay", "completion_grid", "image_grid"]

_LINE = "steelblue"
"""The colour between images, and of hidden pixels."""


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
    return _draw(whole, np.zeros(whole.shape, bool), ax, how)


def completion_grid(images: Any, mask: Any, completions: Any, *, ax: Any = None, **how: Any) -> Any:
    """Draw a row for each image: its visible part, its completions, and the image.

    Parameters
    ----------
    images : array of shape (n, height, width) or (n, height, width, channels)
    mask : bool array of shape (height, width), or of images
        Where they were hidden; drawn in the colour of the lines between images, or, with channels,
        half between the darkest and the brightest value.
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
    whole = np.concatenate([array[:, None], drawn, array[:, None]], axis=1)
    blank = np.zeros(whole.shape, bool)
    blank[:, 0] = hidden
    return _draw(whole, blank, ax, how)


def _checked(images: Any, name: str, axes: tuple[int, ...]) -> Array:
    array = np.asarray(images)
    if array.ndim not in axes or not array.size:
        raise ValueError(f"{name} must have {axes} axes and some values. Got {array.shape}.")
    return array


def _draw(whole: Array, blank: Array, ax: Any, how: dict[str, Any]) -> Any:
    """Draw images (rows, columns, height, width, ..) but what is blank, lines between them."""
    rows, columns, height, width, *channels = whole.shape
    shape = rows, columns, height + 1, width + 1, *channels
    lined, page = np.ones(shape, bool), np.zeros(shape, whole.dtype)
    lined[:, :, :height, :width], page[:, :, :height, :width] = blank, whole
    lined, page = (
        np.moveaxis(each, 2, 1).reshape(rows * (height + 1), columns * (width + 1), *channels)
        for each in (lined, page)
    )
    if channels:  # no colour map
        page[lined] = (whole.min() / 2 + whole.max() / 2).astype(whole.dtype)
    else:
        page = np.ma.masked_array(page, lined)
        how = how | {"cmap": colormaps.get_cmap(how.get("cmap", "gray")).with_extremes(bad=_LINE)}
    ax = axes_or_new(ax, (columns, rows))
    ax.imshow(page[:-1, :-1], **{"interpolation": "nearest"} | how)
    ax.set(xticks=[], yticks=[])
    return ax


class SampleGridDisplay:
    """Samples of a model of images, side by side.

    Parameters
    ----------
    images : array of shape (n, height, width) or (n, height, width, channels)

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE
    >>> from fastar.plotting import SampleGridDisplay
    >>> X = np.random.default_rng(0).integers(0, 2, (200, 1)).repeat(9, axis=1)
    >>> model = NADE(n_hidden=8, learning_rate_init=0.05, random_state=0).fit(X)
    >>> SampleGridDisplay.from_estimator(model, n_samples=4, random_state=0).images.shape
    (4, 3, 3)
    """

    def __init__(self, images: Any) -> None:
        self.images = images

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        n_samples: int = 25,
        image_shape: Any = None,
        context: Any = None,
        temperature: float = 1.0,
        random_state: Any = None,
        n_columns: int | None = None,
        ax: Any = None,
        **how: Any,
    ) -> Self:
        """Draw samples of a fitted model.

        Parameters
        ----------
        estimator : fitted density
            Density of rows, or of images.
        n_samples : int, default=25
        image_shape : tuple of int or None, default=None
            Height and width, or height, width and channels, of a row. None: the model's own, or a
            square.
        context : array-like or DataFrame, optional
            As `sample` takes it.
        temperature : float, default=1
        random_state : int, RandomState instance or None, default=None
        n_columns : int or None, default=None
            Images of a row; None: as many as there are rows, or one more.
        ax : matplotlib Axes or None, default=None
            Where to draw; None: in a new figure.
        **how
            Further arguments of `Axes.imshow`.

        Returns
        -------
        SampleGridDisplay
        """
        check_is_fitted(estimator)
        given = {} if context is None else {"context": context}
        drawn = estimator.sample(
            n_samples, temperature=temperature, random_state=random_state, **given
        )
        shape = _image_shape(estimator, image_shape)
        images = np.asarray(drawn).reshape(n_samples, *shape)
        return cls(images).plot(ax=ax, n_columns=n_columns, **how)

    def plot(self, ax: Any = None, *, n_columns: int | None = None, **how: Any) -> Self:
        """Draw the samples.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None: in a new figure.
        n_columns : int or None, default=None
            Images of a row; None: as many as there are rows, or one more.
        **how
            Further arguments of `Axes.imshow`.

        Returns
        -------
        self
        """
        self.ax_ = image_grid(self.images, n_columns=n_columns, ax=ax, **how)
        self.figure_ = self.ax_.figure
        return self


class CompletionsDisplay:
    """Images with hidden pixels, completions of them, and what was hidden.

    Parameters
    ----------
    images : array of shape (n, height, width) or (n, height, width, channels)
    mask : bool array of shape (height, width), or of images
        Where pixels are hidden.
    completions : array of shape (n, n_draws, height, width), or with channels

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE
    >>> from fastar.plotting import CompletionsDisplay
    >>> X = np.random.default_rng(0).integers(0, 2, (200, 1)).repeat(9, axis=1)
    >>> model = NADE(n_hidden=8, learning_rate_init=0.05, random_state=0).fit(X)
    >>> lower = np.arange(3)[:, None] >= np.array([1, 1, 1])
    >>> display = CompletionsDisplay.from_estimator(model, X[:2], lower, random_state=0)
    >>> display.completions.shape
    (2, 4, 3, 3)
    """

    def __init__(self, images: Any, mask: Any, completions: Any) -> None:
        self.images = images
        self.mask = mask
        self.completions = completions

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        images: Any,
        mask: Any,
        *,
        n_draws: int = 4,
        n_particles: int = 16,
        random_state: Any = None,
        ax: Any = None,
        **how: Any,
    ) -> Self:
        """Complete images with a fitted model, and draw them.

        Parameters
        ----------
        estimator : fitted density
            A `PixelRNN`, or a density of rows, whose `impute` completes them.
        images : array of shape (n, height, width), (n, height, width, channels) or (n, D)
            Rows are images of the shape of the mask.
        mask : bool array of shape (height, width)
            True where a pixel is hidden.
        n_draws : int, default=4
            Completions of each image.
        n_particles : int, default=16
            Samples from which completions are drawn where later pixels are known.
        random_state : int, RandomState instance or None, default=None
        ax : matplotlib Axes or None, default=None
            Where to draw; None: in a new figure.
        **how
            Further arguments of `Axes.imshow`.

        Returns
        -------
        CompletionsDisplay
        """
        check_is_fitted(estimator)
        array, hidden = np.asarray(images), np.asarray(mask, bool)
        array = array.reshape(len(array), *hidden.shape) if array.ndim == 2 else array
        draws = {"n_draws": n_draws, "n_particles": n_particles, "random_state": random_state}
        if hasattr(estimator, "image_shape_"):  # `complete` of rows is the most probable one
            return cls(array, hidden, estimator.complete(array, hidden, **draws)).plot(ax, **how)
        rows = np.where(hidden, np.nan, array.astype(float)).reshape(len(array), -1)
        draws["n_particles"] = max(n_particles, n_draws)
        completed = np.asarray(estimator.impute(rows, **draws)).reshape(n_draws, *array.shape)
        return cls(array, hidden, np.moveaxis(completed, 0, 1)).plot(ax, **how)

    def plot(self, ax: Any = None, **how: Any) -> Self:
        """Draw a row for each image: its visible part, its completions, and the image.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None: in a new figure.
        **how
            Further arguments of `Axes.imshow`.

        Returns
        -------
        self
        """
        self.ax_ = completion_grid(self.images, self.mask, self.completions, ax=ax, **how)
        self.figure_ = self.ax_.figure
        return self


def _image_shape(estimator: Any, image_shape: Any) -> tuple[int, ...]:
    """Return the shape of an image: that given, the model's own, or a square."""
    if image_shape is not None:
        return tuple(image_shape)
    if hasattr(estimator, "image_shape_"):
        height, width, channels = estimator.image_shape_
        return (height, width) if channels == 1 else (height, width, channels)
    D = estimator.n_features_in_
    if isqrt(D) ** 2 != D:
        raise ValueError(
            f"image_shape must be given: {D} values are no square image. Got image_shape=None."
        )
    return isqrt(D), isqrt(D)
