"""Figures of the course of training."""

from __future__ import annotations

from typing import Any, Self

from sklearn.utils.validation import check_is_fitted

from fastar.plotting._axes import axes_or_new

__all__ = ["LossCurveDisplay"]


class LossCurveDisplay:
    """Mean negative log-likelihood of each epoch, in nats: of training rows, and of held-out ones.

    Parameters
    ----------
    loss_curve : list of float
    validation_curve : list of float, default=()
        Losses of the held-out rows; empty without early stopping.
    best_iter : int or None, default=None
        The epoch whose parameters were kept, from 1 on.
    name : str or None, default=None
        Name of the model in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib lines

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE
    >>> from fastar.plotting import LossCurveDisplay
    >>> X = np.random.default_rng(0).integers(0, 2, (100, 4))
    >>> model = NADE(n_hidden=8, random_state=0).fit(X)
    >>> display = LossCurveDisplay.from_estimator(model)
    >>> len(display.loss_curve) == model.n_iter_
    True
    """

    def __init__(
        self,
        loss_curve: Any,
        validation_curve: Any = (),
        best_iter: int | None = None,
        name: str | None = None,
    ) -> None:
        self.loss_curve = loss_curve
        self.validation_curve = validation_curve
        self.best_iter = best_iter
        self.name = name

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, name: str | None = None, ax: Any = None, **how: Any
    ) -> Self:
        """Draw the curves of a fitted model.

        Parameters
        ----------
        estimator : fitted model
            With `loss_curve_`.
        name : str or None, default=None
            Name of the model in the legend.
        ax : matplotlib Axes or None, default=None
            Where to draw; None: in a new figure.
        **how
            Further arguments of `Axes.plot`.

        Returns
        -------
        LossCurveDisplay
        """
        check_is_fitted(estimator, "loss_curve_")
        best = estimator.best_iter_ if estimator.validation_curve_ else None
        display = cls(estimator.loss_curve_, estimator.validation_curve_, best, name)
        return display.plot(ax=ax, **how)

    def plot(self, ax: Any = None, **how: Any) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None: in a new figure.
        **how
            Further arguments of `Axes.plot`.

        Returns
        -------
        self
        """
        self.ax_ = ax = axes_or_new(ax, (5, 3.5))
        self.figure_ = ax.figure
        before = "" if self.name is None else f"{self.name}, "
        epochs = range(1, len(self.loss_curve) + 1)
        self.lines_ = ax.plot(epochs, self.loss_curve, **{"label": f"{before}training"} | how)
        if len(self.validation_curve):
            held_out = {"color": self.lines_[0].get_color(), "ls": "--"}
            epochs = range(1, len(self.validation_curve) + 1)
            label = {"label": f"{before}held out"}
            self.lines_ += ax.plot(epochs, self.validation_curve, **how | held_out | label)
        if self.best_iter is not None:
            best = self.validation_curve[self.best_iter - 1]
            ax.plot(self.best_iter, best, "o", color=self.lines_[0].get_color())
        ax.set(xlabel="epoch", ylabel="negative log-likelihood (nats)")
        ax.legend()
        return self
