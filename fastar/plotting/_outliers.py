"""Figures of outlier detection."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastar.plotting._axes import axes_or_new, column_names

__all__ = ["OutlierExplanationDisplay", "PValueCalibrationDisplay"]


class OutlierExplanationDisplay:
    """The contribution of each column to the score of a row, as bars.

    Parameters
    ----------
    shares : array of shape (D,)
        Nats, as `DensityOutlierDetector.explain` gives them.
    names : list of str
        Names of the columns.
    values : array-like of shape (D,)
        Values of the row.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : matplotlib BarContainer

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE, DensityOutlierDetector
    >>> from fastar.plotting import OutlierExplanationDisplay
    >>> X = np.random.default_rng(0).integers(0, 2, (500, 1)).repeat(4, axis=1)
    >>> detector = DensityOutlierDetector(NADE(n_hidden=8), random_state=0).fit(X)
    >>> display = OutlierExplanationDisplay.from_estimator(detector, [[1, 1, 1, 0]])
    >>> int(display.shares.argmin())
    3
    """

    def __init__(self, shares: Any, names: list[str], values: Any) -> None:
        self.shares = shares
        self.names = names
        self.values = values

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, max_features: int = 10, ax: Any = None, **how: Any
    ) -> Self:
        """Explain a row with a fitted detector, and draw the explanation.

        Parameters
        ----------
        estimator : fitted DensityOutlierDetector
        X : array-like or DataFrame of shape (1, D)
            The row.
        max_features : int, default=10
            Columns that are drawn: those with the largest shares of either sign.
        ax : matplotlib Axes or None, default=None
            Where to draw; None: in a new figure.
        **how
            Further arguments of `Axes.barh`.

        Returns
        -------
        OutlierExplanationDisplay
        """
        check_is_fitted(estimator)
        shares, values = np.asarray(estimator.explain(X)), np.asarray(X, dtype=object)
        if len(shares) != 1:
            raise ValueError(f"X must have one row. Got {len(shares)} rows.")
        display = cls(shares[0], column_names(estimator, X), values[0])
        return display.plot(ax=ax, max_features=max_features, **how)

    def plot(self, ax: Any = None, *, max_features: int = 10, **how: Any) -> Self:
        """Draw the bars, the most unlikely column on top.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None: in a new figure.
        max_features : int, default=10
            Columns that are drawn: those with the largest shares of either sign.
        **how
            Further arguments of `Axes.barh`.

        Returns
        -------
        self
        """
        shares = np.asarray(self.shares, float)
        drawn = np.argsort(-np.abs(shares), kind="stable")[:max_features]
        drawn = drawn[np.argsort(shares[drawn], kind="stable")]
        self.ax_ = ax = axes_or_new(ax, (5, 0.6 + 0.35 * len(drawn)))
        self.figure_ = ax.figure
        labels = [f"{self.names[d]} = {_short(self.values[d])}" for d in drawn]
        colors = {"color": np.where(shares[drawn] < 0, "tab:red", "tab:blue").tolist()}
        self.bars_ = ax.barh(np.arange(len(drawn)), shares[drawn], **colors | how)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_yticks(np.arange(len(drawn)), labels)
        ax.invert_yaxis()
        ax.set_xlabel("log p(value | those before), less its mean (nats)")
        return self


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class PValueCalibrationDisplay:
    """The share of rows whose p-value is at most a, for each level a.

    Rows like those of `fit` follow the diagonal. Outliers lie above it.

    Parameters
    ----------
    p_values : array of shape (n,)
    name : str or None, default=None
        Name of the rows in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    line_ : matplotlib line

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE, DensityOutlierDetector
    >>> from fastar.plotting import PValueCalibrationDisplay
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> detector = DensityOutlierDetector(NADE(n_hidden=8), random_state=0).fit(X[:400])
    >>> display = PValueCalibrationDisplay.from_estimator(detector, X[400:])
    >>> display.p_values.shape
    (100,)
    """

    def __init__(self, p_values: Any, name: str | None = None) -> None:
        self.p_values = p_values
        self.name = name

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, name: str | None = None, ax: Any = None, **how: Any
    ) -> Self:
        """Draw the p-values that a fitted detector gives to rows.

        Parameters
        ----------
        estimator : fitted DensityOutlierDetector
            Whatever has `p_values`.
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        name : str or None, default=None
            Name of the rows in the legend.
        ax : matplotlib Axes or None, default=None
            Where to draw; None: in a new figure.
        **how
            Further arguments of `Axes.step`.

        Returns
        -------
        PValueCalibrationDisplay
        """
        check_is_fitted(estimator)
        return cls(estimator.p_values(X), name).plot(ax=ax, **how)

    def plot(self, ax: Any = None, **how: Any) -> Self:
        """Draw the shares.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None: in a new figure.
        **how
            Further arguments of `Axes.step`.

        Returns
        -------
        self
        """
        self.ax_ = ax = axes_or_new(ax, (4, 4))
        self.figure_ = ax.figure
        levels = np.concatenate([[0.0], np.sort(self.p_values), [1.0]])
        shares = np.append(np.arange(len(levels) - 1) / (len(levels) - 2), 1.0)
        if not ax.lines:
            ax.axline((0, 0), slope=1, color="grey", linestyle=":")
        (self.line_,) = ax.step(levels, shares, where="post", **{"label": self.name} | how)
        ax.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
        ax.set(xlabel="level a", ylabel="share of rows with p-value at most a")
        if self.name is not None:
            ax.legend(loc="lower right")
        return self
