"""Figures of a search for models."""

from __future__ import annotations

from typing import Any, Self

from sklearn.utils.validation import check_is_fitted

from fastar.plotting._axes import axes_or_new

__all__ = ["LeaderboardDisplay"]


class LeaderboardDisplay:
    """The models that a search tried: a dot for the validation score of each, the best on top.

    Dots are filled where the mixture has the model, and the weight stands beside it.

    Parameters
    ----------
    leaderboard : list of dict
        A line for each model, the best first: model, settings, score in nats, weight.
    score : float or None, default=None
        Score of the mixture, for a vertical line.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : matplotlib PathCollection

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import AutoDensity
    >>> from fastar.plotting import LeaderboardDisplay
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = AutoDensity(max_time=None, max_trials=4, max_iter=5, random_state=0).fit(X)
    >>> display = LeaderboardDisplay.from_estimator(model)
    >>> len(display.points_.get_offsets())
    4
    """

    def __init__(self, leaderboard: Any, score: float | None = None) -> None:
        self.leaderboard = leaderboard
        self.score = score

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, max_models: int = 15, ax: Any = None, **how: Any
    ) -> Self:
        """Draw what a fitted search tried.

        Parameters
        ----------
        estimator : fitted AutoDensity
        max_models : int, default=15
            Models that are drawn: the best.
        ax : matplotlib Axes or None, default=None
            Where to draw; None: in a new figure.
        **how
            Further arguments of `Axes.scatter`.

        Returns
        -------
        LeaderboardDisplay
        """
        check_is_fitted(estimator, "leaderboard_")
        display = cls(estimator.leaderboard_, -estimator.validation_curve_[-1])
        return display.plot(ax=ax, max_models=max_models, **how)

    def plot(self, ax: Any = None, *, max_models: int = 15, **how: Any) -> Self:
        """Draw the scores.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None: in a new figure.
        max_models : int, default=15
            Models that are drawn: the best.
        **how
            Further arguments of `Axes.scatter`.

        Returns
        -------
        self
        """
        lines = self.leaderboard[:max_models]
        self.ax_ = ax = axes_or_new(ax, (6, 1 + 0.3 * len(lines)))
        self.figure_ = ax.figure
        scores, places = [line["score"] for line in lines], list(range(len(lines)))
        faces = ["tab:blue" if line["weight"] else "none" for line in lines]
        style = {"facecolors": faces, "edgecolors": "tab:blue"} | how
        self.points_ = ax.scatter(scores, places, **style)
        for place, line in enumerate(lines):
            if line["weight"]:
                ax.annotate(
                    f"{line['weight']:.2f}",
                    (line["score"], place),
                    xytext=(6, 0),
                    textcoords="offset points",
                    va="center",
                )
        if self.score is not None:
            ax.axvline(self.score, color="grey", linestyle=":", label="mixture")
            ax.legend(loc="lower right")
        ax.margins(x=0.12)
        ax.set_yticks(places, [_label(line) for line in lines])
        ax.set_ylim(len(lines) - 0.5, -0.5)
        ax.set_xlabel("mean log p(x) of validation rows (nats)")
        return self


def _label(line: dict[str, Any]) -> str:
    """Return the name of a model, its hidden units and its activation."""
    settings = line["settings"]
    sizes = settings.get("hidden_layer_sizes", [settings.get("n_hidden")])
    told = [*sizes, settings.get("activation")]
    return " ".join([line["model"], *(str(each) for each in told if each is not None)])
