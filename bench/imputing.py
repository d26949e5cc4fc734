"""
Hide cells and fill them again: `python bench/imputing.py adult_mixed` or `bnetflix`.

A tenth of the cells of training and test rows is hidden at random. Every imputer is fitted to the
training rows with their holes and fills the test rows. Printed for the hidden test cells: accuracy
of the columns of categories and bits; log-loss of the share of draws that have the true value, with
one draw more for every level; root mean squared error of the columns of numbers, in units of their
standard deviations; and the seconds of fit and filling. scikit-learn's imputers see categories as
one-hot columns, of which the largest wins, and numbers standardised; they draw nothing, so that
their log-loss is of what they fill in, clipped and normalised.
"""

import argparse
import os
import sys
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
from machine import cores
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from tables import table

from fastar import NADE, DeepNADE
from fastar.conditionals import LogisticMixture
from fastar.datasets import Dataset, load_dataset

SETS = ("adult_mixed", "bnetflix")
N_DRAWS = 50


class OneHot:
    """One-hot columns for categories and standardised ones for numbers, and back."""

    def __init__(self, train: np.ndarray, levels: list[int]) -> None:
        self.levels = levels
        self.mean = np.nanmean(train, axis=0)
        self.deviation = np.nanstd(train, axis=0) + 1e-12

    def wide(self, rows: np.ndarray) -> np.ndarray:
        """Return rows (n, D) as numbers (n, sum of levels)."""
        parts = []
        for d, count in enumerate(self.levels):
            cells = rows[:, d]
            if count <= 2:
                known = cells if count else (cells - self.mean[d]) / self.deviation[d]
                parts.append(known[:, None])
                continue
            hot = (cells[:, None] == np.arange(count)).astype(float)
            hot[np.isnan(cells)] = np.nan
            parts.append(hot)
        return np.concatenate(parts, axis=1)

    def narrow(self, wide: np.ndarray) -> tuple[np.ndarray, list[np.ndarray | None]]:
        """Return rows (n, D) of the best guesses, and for categories shares (n, levels)."""
        rows, shares, start = np.empty((len(wide), len(self.levels))), [], 0
        for d, count in enumerate(self.levels):
            own = wide[:, start : start + max(1, count if count > 2 else 1)]
            start += own.shape[1]
            if count == 0:
                rows[:, d] = own[:, 0] * self.deviation[d] + self.mean[d]
                shares.append(None)
                continue
            p = np.clip(own, 1e-3, 1) if count > 2 else np.clip(np.c_[1 - own, own], 1e-3, 1)
            p = p / p.sum(axis=1, keepdims=True)
            rows[:, d] = p.argmax(axis=1)
            shares.append(p)
        return rows, shares


def by_density(
    model: Any, train: np.ndarray, test: np.ndarray, levels: list[int], names: tuple[str, ...]
) -> tuple[np.ndarray, list[np.ndarray | None]]:
    """Fit a density, and return the best guesses and the shares of draws."""

    def frame(rows: np.ndarray) -> pd.DataFrame:
        columns = {}
        for name, count, cells in zip(names, levels, rows.T, strict=True):
            if count:
                codes = np.where(np.isnan(cells), -1, cells).astype(int)
                columns[name] = pd.Categorical.from_codes(codes, [f"{k:03}" for k in range(count)])
            else:
                columns[name] = cells
        return pd.DataFrame(columns)

    model.fit(frame(train))
    draws = model.impute(frame(test), n_draws=N_DRAWS, n_particles=32, random_state=0)
    rows, shares = test.copy(), []
    for d, count in enumerate(levels):
        drawn = draws[:, :, d]
        if count == 0:
            rows[:, d] = drawn.mean(axis=0)
            shares.append(None)
            continue
        seen = np.stack([(drawn == k).sum(axis=0) for k in range(count)], axis=1)
        rows[:, d] = seen.argmax(axis=1)
        shares.append((seen + 1) / (N_DRAWS + count))
    return rows, shares


def judged(
    truth: np.ndarray,
    hidden: np.ndarray,
    levels: list[int],
    filled: np.ndarray,
    shares: list[np.ndarray | None],
    deviation: np.ndarray,
) -> list[str]:
    """Return accuracy, log-loss and root mean squared error over hidden cells."""
    right, loss, squares = [], [], []
    for d, count in enumerate(levels):
        rows = np.flatnonzero(hidden[:, d])
        own, guess = truth[rows, d], filled[rows, d]
        if count == 0:
            squares.append(((own - guess) / deviation[d]) ** 2)
            continue
        p = shares[d]
        assert p is not None
        right.append(own == guess)
        loss.append(-np.log(p[rows, own.astype(int)]))
    accuracy, nats = (f"{np.concatenate(each).mean():.4f}" for each in (right, loss))
    error = f"{np.sqrt(np.concatenate(squares).mean()):.4f}" if squares else "none"
    return [accuracy, nats, error]


def levels_of(data: Dataset) -> list[int]:
    """Return each column's number of levels, 0 for numbers."""
    if data.kind == "binary":
        return [2] * data.train.shape[1]
    return [
        len(data.categories[name]) if kind == "categorical" else 0
        for name, kind in zip(data.columns, data.column_kinds, strict=True)
    ]


def densities(name: str, threads: int) -> dict[str, Any]:
    """Return our contestants."""
    common = {"random_state": 0, "n_jobs": threads, "learning_rate_init": 0.002}
    if name == "bnetflix":
        return {
            "NADE, fixed order": NADE(n_hidden=200, max_iter=60, **common),
            "DeepNADE, every order": DeepNADE(
                hidden_layer_sizes=(500,),
                alpha=0.1,
                max_iter=150,
                n_iter_no_change=150,
                learning_rate="linear",
                **common,
            ),
        }
    numbers = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
    wide = {"distribution": dict.fromkeys(numbers, LogisticMixture(20, margin=0.1))}
    return {
        "NADE, fixed order": NADE(n_hidden=200, activation="relu", max_iter=30, **wide, **common),
        "DeepNADE, every order": DeepNADE(
            hidden_layer_sizes=(300, 300), max_iter=60, **wide, **common
        ),
    }


def main() -> int:
    """Print the table of one set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set_name", metavar="SET", choices=SETS, help=" or ".join(SETS))
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--train", type=int, default=8000, help="training rows")
    parser.add_argument("--test", type=int, default=1000, help="test rows")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # some fits end at their limit of epochs
    data = load_dataset(options.set_name, options.data)
    levels = levels_of(data)
    names = data.columns or tuple(f"column {d}" for d in range(len(levels)))
    rng = np.random.default_rng(0)
    whole = [
        rows[rng.permutation(len(rows))[:n]].astype(float)
        for rows, n in ((data.train, options.train), (data.test, options.test))
    ]
    gaps = [(rng.random(rows.shape) < 0.1) & ~np.isnan(rows) for rows in whole]
    train, test = (np.where(gap, np.nan, rows) for gap, rows in zip(gaps, whole, strict=True))
    coder = OneHot(train, levels)
    peers = {
        "KNNImputer": KNNImputer(),
        "IterativeImputer": IterativeImputer(random_state=0, max_iter=5),
        "SimpleImputer (means)": SimpleImputer(keep_empty_features=True),
    }
    rows = []
    for title, model in (densities(options.set_name, options.threads) | peers).items():
        start = time.perf_counter()
        if title in peers:
            wide = model.fit(coder.wide(train)).transform(coder.wide(test))
            filled, shares = coder.narrow(wide)
        else:
            filled, shares = by_density(model, train, test, levels, names)
        seconds = time.perf_counter() - start
        found = judged(whole[1], gaps[1], levels, filled, shares, coder.deviation)
        rows.append([title, *found, f"{seconds:.1f}"])
        print(*rows[-1], file=sys.stderr, flush=True)
    heads = [options.set_name, "accuracy", "log-loss, nats", "RMSE, deviations", "seconds"]
    print(table(heads, rows, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
