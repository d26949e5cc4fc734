"""Figures of fitted models, as scikit-learn's displays. Needs Matplotlib.

A display is made by `from_estimator`, which computes what the figure shows and draws it, or from
numbers that are at hand, to be drawn by `plot`. Both take Matplotlib's axes, or make a new figure.
"""

from fastar.plotting._densities import ConditionalDensityDisplay
from fastar.plotting._images import (
    CompletionsDisplay,
    SampleGridDisplay,
    completion_grid,
    image_grid,
)
from fastar.plotting._leaderboard import LeaderboardDisplay
from fastar.plotting._masks import MasksDisplay
from fastar.plotting._outliers import OutlierExplanationDisplay, PValueCalibrationDisplay
from fastar.plotting._pairs import PairPlotDisplay
from fastar.plotting._training import LossCurveDisplay

__all__ = [
    "CompletionsDisplay",
    "ConditionalDensityDisplay",
    "LeaderboardDisplay",
    "LossCurveDisplay",
    "MasksDisplay",
    "OutlierExplanationDisplay",
    "PValueCalibrationDisplay",
    "PairPlotDisplay",
    "SampleGridDisplay",
    "completion_grid",
    "image_grid",
]
