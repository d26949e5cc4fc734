"""Figures of the conditional densities of a column."""

from __future__ import annotations

from typing import Any, Self

import narwhals as nw
import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array
from fastar.plotting._axes import axes_or_new, column_names

__all__ = ["ConditionalDensityDisplay"]

_MOST_LEVELS = 30
_N_SAMPLES = 1000
_N_POINTS = 300


class ConditionalDensityDisplay:
    """The density of one column given the columns before it, as a curve for each row.

    Levels have bars instead.

    Parameters
    ----------
    values : array of shape (m,)
        Where the density is known.
    density : array of shape (n, m)
        Density of the column given each of n rows, at these values.
    name : str
        Name of the column.
    labels : list of str or None, default=None
        Names of the rows in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    artists_ : list
        A line, or a BarContainer, for each row.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import RNADE
    >>> from fastar.plotting import ConditionalDensityDisplay
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> model = RNADE(n_hidden=8, n_components=2, random_state=0).fit(X)
    >>> display = ConditionalDensityDisplay.from_estimator(model, X[:2], 1, random_state=0)
    >>> display.density.shape
    (2, 300)
    >>> area = display.density.mean(axis=1) * np.ptp(display.values)
    >>> bool((abs(area - 1) < 0.1).all())
    True
    """

    def __init__(
        self, values: Any, density: Any, name: str, labels: list[str] | None = None
    ) -> None:
        self.values = values
        self.density = density
        self.name = name
        self.labels = labels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        column: Any,
        *,
        values: Any = None,
        context: Any = None,
        labels: list[str] | None = None,
        random_state: Any = None,
        ax: Any = None,
        **how: Any,
    ) -> Self:
        """Draw the density of a column given the values that rows have before it.

        Parameters
        ----------
        estimator : fitted density
            Whatever has `score_features` and `sample`.
        X : array-like or DataFrame of shape (n, D)
            The rows. Their values of the column, and of those after it in the model's order, have
            no influence.
        column : int or str
            The column: its place, or its name.
        values : array-like or None, default=None
            Where to draw the density. None: at the levels, or over the range, of samples.
        context : array-like or DataFrame of shape (n, C), optional
        labels : list of str or None, default=None
            Names of the rows in the legend.
        random_state : int, RandomState instance or None, default=None
            Seed of the samples.
        ax : matplotlib Axes or None, default=None
            Where to draw; None: in a new figure.
        **how
            Further arguments of `Axes.plot`, or of `Axes.bar` for levels.

        Returns
        -------
        ConditionalDensityDisplay
        """
        check_is_fitted(estimator)
        names = column_names(estimator, X)
        place = names.index(column) if isinstance(column, str) else int(column)
        if values is None:
            first = {} if context is None else {"context": _safe_indexing(context, [0])}
            drawn = estimator.sample(_N_SAMPLES, random_state=random_state, **first)
            values = _support(_column(drawn, place))
        values = np.asarray(values)
        n, m = len(X), len(values)
        rows = np.repeat(np.arange(n), m)
        given = {} if context is None else {"context": _safe_indexing(context, rows)}
        scores = estimator.score_features(_with_column(X, rows, place, np.tile(values, n)), **given)
        density = np.exp(scores[:, place].reshape(n, m))
        return cls(values, density, names[place], labels).plot(ax=ax, **how)

    def plot(self, ax: Any = None, **how: Any) -> Self:
        """Draw the densities.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None: in a new figure.
        **how
            Further arguments of `Axes.plot`, or of `Axes.bar` for levels.

        Returns
        -------
        self
        """
        self.ax_ = ax = axes_or_new(ax, (5, 3.5))
        self.figure_ = ax.figure
        n, m = np.shape(self.density)
        labels = [None] * n if self.labels is None else self.labels
        self.artists_: list[Any] = []
        real = np.asarray(self.values).dtype.kind == "f" and m > _MOST_LEVELS
        for row, (density, label) in enumerate(zip(self.density, labels, strict=True)):
            if real:
                self.artists_ += ax.plot(self.values, density, **{"label": label} | how)
            else:
                width = 0.8 / n
                places = np.arange(m) + (row - (n - 1) / 2) * width
                bars = ax.bar(places, density, width, **{"label": label} | how)
                self.artists_.append(bars)
        if not real:
            ax.set_xticks(np.arange(m), [str(value) for value in self.values])
        ax.set(xlabel=self.name, ylabel="density" if real else "probability")
        ax.set_ylim(bottom=0)
        if self.labels is not None:
            ax.legend()
        return self


def _column(rows: Any, place: int) -> Array:
    """Return a column of rows, without missing values."""
    if hasattr(rows, "columns"):
        column = nw.from_native(rows, eager_only=True)[:, place].drop_nulls().to_numpy()
        return np.asarray(column)
    dense = rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)
    return np.asarray(dense[:, place])


def _support(sample: Array) -> Array:
    """Return the levels of a sample, or points that cover its range."""
    levels = np.unique(sample)
    if sample.dtype.kind != "f" or len(levels) <= _MOST_LEVELS:
        return levels
    low, high = levels[0], levels[-1]
    margin = (high - low) / 10
    # below a column that is never negative lies what has a probability and no density
    least = min(low, 1e-3 * high) if low >= 0 else low - margin
    return np.linspace(max(low - margin, least), high + margin, _N_POINTS)


def _with_column(X: Any, rows: Array, place: int, values: Array) -> Any:
    """Return these rows of X with other values in one column."""
    if hasattr(X, "columns"):
        frame = nw.from_native(X, eager_only=True)[rows.tolist()]
        old = frame[:, place]
        new = nw.new_series(old.name, values, backend=frame.implementation)
        return frame.with_columns(new.cast(old.dtype)).to_native()
    array = np.asarray(X)[rows]
    array = array.astype(np.result_type(array, values))
    array[:, place] = values
    return array
