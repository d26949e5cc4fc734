"""
Print how the cost of MADE grows with the number of features: `python bench/scaling.py`.

Scoring and sampling are timed a row, each through the estimator as users meet it. A sample should
cost what scoring a row costs, whatever the number of features: the bar is on their ratio.
"""

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from machine import cores
from tables import table

FEATURES = (50, 100, 200, 400, 784, 1500, 3000)
#: Neither should cost more than so many times the other.
BAR = 1.3


class Cost(NamedTuple):
    """Seconds a row, smallest of all rounds, and the share of ones in what was drawn."""

    n_features: int
    score: float
    sample: float
    drawn: float

    @property
    def ratio(self) -> float:
        """What a sample costs in rows scored."""
        return self.sample / self.score

    @property
    def reached(self) -> bool:
        """Whether the bar is kept."""
        return 1 / BAR <= self.ratio <= BAR


def measure(n_features: int, options: argparse.Namespace) -> Cost:
    """Fit a model of so many features to independent bits, and time it."""
    from fastar import MADE

    rng = np.random.default_rng(n_features)
    X = (rng.random((options.rows, n_features), np.float32) < options.share).astype(np.uint8)
    model = MADE(
        hidden_layer_sizes=options.hidden,
        direct_connections=False,
        random_state=0,
        n_jobs=options.threads,
    )
    with warnings.catch_warnings():
        # Parameters need not be good, only such that samples have the data's share of ones.
        warnings.simplefilter("ignore")
        model.partial_fit(X[:200])
    actions: dict[str, Callable[[], np.ndarray]] = {
        "score": lambda: model.score_samples(X),
        "sample": lambda: model.sample(len(X), random_state=0),
    }
    drawn = actions["sample"]().mean()
    times: dict[str, list[float]] = {key: [] for key in actions}
    # In turn, so that what else the machine does falls on both.
    for _ in range(options.repeat):
        for key, action in actions.items():
            start = time.perf_counter()
            action()
            times[key].append((time.perf_counter() - start) / len(X))
    return Cost(n_features, min(times["score"]), min(times["sample"]), float(drawn))


def growth(costs: list[Cost], key: str) -> float:
    """Return the power of the number of features by which a cost grows from one to the next."""
    logs = np.log([[cost.n_features, getattr(cost, key)] for cost in costs])
    slopes = np.diff(logs[:, 1]) / np.diff(logs[:, 0])
    return float(statistics.median(slopes))


def plot(costs: list[Cost], options: argparse.Namespace) -> str:
    """Write the plot; return what became of it."""
    try:
        import matplotlib
    except ImportError:
        return "No plot: matplotlib is not installed."
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    n_features = np.array([cost.n_features for cost in costs])
    for key, label, marker in (("score", "scoring", "o"), ("sample", "sampling", "s")):
        seconds = np.array([getattr(cost, key) for cost in costs])
        axes.loglog(n_features, seconds * 1e6, marker=marker, label=label)
    last = costs[-1].score * 1e6
    axes.loglog(
        n_features, last * n_features / n_features[-1], "k:", linewidth=1, label="proportional to D"
    )
    sizes = " x ".join(map(str, options.hidden))
    axes.set(
        xlabel="features D",
        ylabel="microseconds a row",
        title=f"MADE, H = {sizes}, {options.share:.0%} ones, {options.threads} threads",
    )
    axes.set_xticks(n_features, [str(n) for n in n_features])
    axes.minorticks_off()
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(options.plot, dpi=150)
    return f"The plot is in {options.plot}."


def main() -> int:
    """Measure every number of features; the exit status says whether the bar is kept."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n\n")[0])
    parser.add_argument("--features", type=int, nargs="+", default=FEATURES)
    parser.add_argument("--hidden", type=int, nargs="+", default=[500])
    parser.add_argument("--share", type=float, default=0.13, help="of ones")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--plot", type=Path, default=Path(__file__).with_suffix(".png"))
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    costs = [measure(n_features, options) for n_features in options.features]
    heads = ["D", "scoring, us a row", "sampling, us a row", "ratio", "ones drawn", f"{BAR}x"]
    rows = [
        [
            str(cost.n_features),
            f"{cost.score * 1e6:.2f}",
            f"{cost.sample * 1e6:.2f}",
            f"{cost.ratio:.2f}",
            f"{cost.drawn:.0%}",
            "reached" if cost.reached else "not reached",
        ]
        for cost in costs
    ]
    print(table(heads, rows, options.markdown))
    if len(costs) > 1:
        print(
            f"\nFrom one D to the next, scoring grows as D to the {growth(costs, 'score'):.2f} and "
            f"sampling as D to the {growth(costs, 'sample'):.2f} (medians)."
        )
    print(plot(costs, options))
    return 0 if all(cost.reached for cost in costs) else 1


if __name__ == "__main__":
    sys.exit(main())
