"""Pair plots of data beside samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array
from fastar.plotting._axes import axes_array, column_names

__all__ = ["PairPlotDisplay"]

_MOST_COLUMNS = 5


class PairPlotDisplay:
    """Pairs of columns of data, below the diagonal, beside those of samples, above it.

    The diagonal has histograms of both. Where the model is good, the upper triangle mirrors the
    lower one.

    Parameters
    ----------
    data : array-like of shape (n, k)
        Numbers, or strings as categories.
    samples : array-like of shape (m, k)
    names : list of str
        Names of the k columns.

    Attributes
    ----------
    axes_ : array of matplotlib Axes of shape (k, k)
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import RNADE
    >>> from fastar.plotting import PairPlotDisplay
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> model = RNADE(n_hidden=8, n_components=2, random_state=0).fit(X)
    >>> PairPlotDisplay.from_estimator(model, X, random_state=0).axes_.shape
    (2, 2)
    """

    def __init__(self, data: Any, samples: Any, names: list[str]) -> None:
        self.data = data
        self.samples = samples
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        columns: Sequence[Any] | None = None,
        context: Any = None,
        random_state: Any = None,
        axes: Any = None,
        **how: Any,
    ) -> Self:
        """Draw data beside as many samples of a fitted model.

        Parameters
        ----------
        estimator : fitted density
            Whatever has `sample`.
        X : array-like or DataFrame of shape (n, D)
        columns : list of int or str or None, default=None
            Places or names of the columns to draw; None: the first five.
        context : array-like or DataFrame of shape (n, C), optional
        random_state : int, RandomState instance or None, default=None
        axes : array of matplotlib Axes or None, default=None
            One for each pair; None: those of a new figure.
        **how
            Further arguments of `Axes.scatter`.

        Returns
        -------
        PairPlotDisplay
        """
        check_is_fitted(estimator)
        names = column_names(estimator, X)
        columns = range(min(len(names), _MOST_COLUMNS)) if columns is None else columns
        places = [names.index(each) if isinstance(each, str) else int(each) for each in columns]
        given = {} if context is None else {"context": context}
        drawn = estimator.sample(len(X), random_state=random_state, **given)
        data, samples = (_columns(rows, places) for rows in (X, drawn))
        return cls(data, samples, [names[d] for d in places]).plot(axes=axes, **how)

    def plot(self, axes: Any = None, **how: Any) -> Self:
        """Draw the pairs.

        Parameters
        ----------
        axes : array of matplotlib Axes or None, default=None
            One for each pair; None: those of a new figure.
        **how
            Further arguments of `Axes.scatter`.

        Returns
        -------
        self
        """
        k = len(self.names)
        self.axes_ = axes_array(axes, (k, k), (1.7 * k + 0.5, 1.7 * k + 0.5))
        self.figure_ = self.axes_[0, 0].figure
        coded = [_as_numbers(old, new) for old, new in zip(
            np.asarray(self.data, object).T, np.asarray(self.samples, object).T, strict=True
        )]  # fmt: skip
        look = {"s": 6, "alpha": 0.5, "linewidths": 0} | how
        for (i, j), ax in np.ndenumerate(self.axes_):
            if i == j:
                _histograms(ax, *coded[i])
            else:
                of, color = (0, "tab:blue") if i > j else (1, "tab:orange")
                ax.scatter(coded[j][of], coded[i][of], **{"color": color} | look)
            self._label(ax, i, j, coded)
        self.axes_[0, 0].legend(fontsize="small")
        return self

    def _label(self, ax: Any, i: int, j: int, coded: Any) -> None:
        """Set limits, ticks and names of the axes at (i, j)."""
        ax.set_xlim(*_limits(coded[j]))
        if i != j:
            ax.set_ylim(*_limits(coded[i]))
        levels_x, levels_y = coded[j][2], coded[i][2]
        if levels_x:
            ax.set_xticks(range(len(levels_x)), levels_x)
        if levels_y and i != j:
            ax.set_yticks(range(len(levels_y)), levels_y)
        if i == j:
            ax.set_yticks([])
        last = len(self.names) - 1
        ax.tick_params(labelbottom=i == last, labelleft=j == 0 and i != j, labelsize="small")
        if i == last:
            ax.set_xlabel(self.names[j])
        if j == 0:
            ax.set_ylabel(self.names[i])


def _columns(rows: Any, places: list[int]) -> Array:
    """Return columns of rows as an array of objects."""
    rows = rows.toarray() if hasattr(rows, "toarray") else rows
    found = np.asarray(_safe_indexing(rows, places, axis=1), dtype=object)
    return found


def _as_numbers(old: Array, new: Array) -> tuple[Array, Array, list[str]]:
    """Return a column of data and of samples as numbers, NaN where missing, and its levels.

    Categories become the numbers of their levels, spread a little.
    """
    try:
        return old.astype(float), new.astype(float), []
    except (TypeError, ValueError):
        pass
    both = np.concatenate([old, new])
    there = np.array([isinstance(each, str) for each in both])
    levels, codes = np.unique(both[there].astype(str), return_inverse=True)
    numbers = np.full(len(both), np.nan)
    numbers[there] = codes + np.random.default_rng(0).uniform(-0.25, 0.25, len(codes))
    return numbers[: len(old)], numbers[len(old) :], list(levels)


def _limits(column: tuple[Array, Array, list[str]]) -> tuple[float, float]:
    both = np.concatenate(column[:2])
    low, high = np.nanmin(both), np.nanmax(both)
    margin = (high - low) / 20 or 0.5
    return low - margin, high + margin


def _histograms(ax: Any, old: Array, new: Array, levels: list[str]) -> None:
    both = np.concatenate([old, new])
    edges = np.arange(len(levels) + 1) - 0.5 if levels else 20
    bins = np.histogram_bin_edges(both[~np.isnan(both)], edges)
    how = {"bins": bins, "density": True}
    ax.hist(old[~np.isnan(old)], color="tab:blue", alpha=0.4, label="data", **how)
    ax.hist(new[~np.isnan(new)], color="tab:orange", histtype="step", label="samples", **how)
