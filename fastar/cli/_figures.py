"""Figures as the command `plot` draws them."""

from __future__ import annotations

import io
import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from fastar.cli._models import CommandError

FORMATS = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class Figure:
    """A figure that can be asked for.

    Parameters
    ----------
    display : str
        Its name in `fastar.plotting`.
    summary : str
    needs : str
        Attribute that a model must have.
    of_rows : bool
        Whether it is one of rows of a table.
    options : tuple of {"columns", "rows"}
        Options that it takes besides.
    """

    display: str
    summary: str
    needs: str
    of_rows: bool = False
    options: tuple[str, ...] = ()


FIGURES = {
    "loss": Figure("LossCurveDisplay", "the loss of each epoch", "loss_curve_"),
    "leaderboard": Figure("LeaderboardDisplay", "the models that a search tried", "leaderboard_"),
    "masks": Figure("MasksDisplay", "the masks of MADE", "masks_"),
    "pairs": Figure(
        "PairPlotDisplay", "pairs of columns, of data beside samples", "sample", True, ("columns",)
    ),
    "density": Figure(
        "ConditionalDensityDisplay",
        "the density of one of --columns given those before it in --rows",
        "score_features",
        True,
        ("columns", "rows"),
    ),
    "explanation": Figure(
        "OutlierExplanationDisplay",
        "what makes one of --rows improbable, by a detector",
        "p_values",
        True,
        ("rows",),
    ),
    "calibration": Figure(
        "PValueCalibrationDisplay", "how many rows have small p-values, by a detector", "p_values",
        True,
    ),
}  # fmt: skip


def check_options(asked: Namespace) -> None:
    """Raise CommandError where options do not go with the figure, or the file has no format."""
    name, figure = asked.figure, FIGURES[asked.figure]
    if figure.of_rows and asked.data is None:
        raise CommandError(f"plot {name} needs DATA, a table with the columns of the model.")
    if not figure.of_rows and asked.data is not None:
        raise CommandError(f"plot {name} takes no DATA. Got {asked.data!r}.")
    for option in ("columns", "rows"):
        if getattr(asked, option) is not None and option not in figure.options:
            raise CommandError(f"plot {name} takes no --{option}.")
    if name == "density" and len(asked.columns or ()) != 1:
        raise CommandError("plot density needs one column: --columns NAME.")
    if name == "explanation" and len(asked.rows or [0]) != 1:
        raise CommandError("plot explanation takes one row: --rows N.")
    if asked.output != "-" and not asked.output.lower().endswith(FORMATS):
        raise CommandError(
            f"{asked.output}: the name of a figure must end in {', '.join(FORMATS)}."
        )


def subject(asked: Namespace, model: Any) -> Any:
    """Return the detector, or the density in it, that a figure is of."""
    figure = FIGURES[asked.figure]
    found = model if figure.needs == "p_values" else getattr(model, "density_", model)
    if not hasattr(found, figure.needs):
        raise CommandError(
            f"{asked.model} holds a {type(found).__name__}, which has no {figure.needs}: "
            f"plot {asked.figure} cannot be drawn."
        )
    return found


def drawn(asked: Namespace, model: Any, X: Any, context: Any) -> bytes:
    """Return the content of the file of a figure. X: the rows, if it is one of rows."""
    try:
        import_module("matplotlib").use("Agg")
        plotting = import_module("fastar.plotting")
    except ImportError as error:
        raise ImportError("plot needs Matplotlib: pip install 'fastar-density[plot]'.") from error
    draw: Callable[..., Any] = getattr(plotting, FIGURES[asked.figure].display).from_estimator
    how: dict[str, Any] = {}
    if asked.figure in ("pairs", "density"):
        how |= {"random_state": asked.random_state, **context}
    if asked.figure == "pairs":
        how["columns"] = asked.columns
    if asked.figure == "density":
        how["labels"] = [f"row {row}" for row in asked.rows or [0]]
    rows = (X, *asked.columns) if asked.figure == "density" else () if X is None else (X,)
    display = draw(model, *rows, **how)
    content = io.BytesIO()
    form = "png" if asked.output == "-" else os.path.splitext(asked.output)[1][1:].lower()
    display.figure_.savefig(content, format=form)
    return content.getvalue()
