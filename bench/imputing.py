"""
Hide cells and fill them again: `python bench/imputing.py adult_mixed` or `bnetflix`.

A share of the cells of training and test rows is hidden at random, or, with `--by-value`, the more
often the larger its value is: not at random. Every imputer is fitted to the training rows with
their holes and fills the test rows. Printed for the hidden test cells: accuracy of the columns of
categories and bits; log-loss of the share of draws that have the true value, with one draw more for
every level; CRPS of the draws and root mean squared error of the best guesses of columns of
numbers, in units of their standard deviations; and the CPU seconds of fit and filling.

`DensityImputer()` is the default. scikit-learn's imputers see categories as one-hot columns, of
which the largest wins, and numbers standardised. They, and MissForest, draw nothing: their log-loss
is of what they fill in, clipped and normalised, and their CRPS is the absolute error. `pip install
missforest miceforest "lightgbm<4.6"` adds these two, by their defaults; `--only` names some of the
contestants. On a busy machine LightGBM needs OMP_THREAD_LIMIT=1.
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib import util
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from machine import cores
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from tables import table

from fastar import NADE, DeepNADE, DensityImputer
from fastar.conditionals import LogisticMixture
from fastar.datasets import Dataset, load_dataset

SETS = ("adult_mixed", "bnetflix")
N_DRAWS = 50
N_MICE = 10  # data sets of multiple imputation


class Filled(NamedTuple):
    """What an imputer says of test rows."""

    rows: np.ndarray
    """(n, D): its best guesses."""
    shares: list[np.ndarray | None]
    """Of each column of categories probabilities (n, levels)."""
    draws: np.ndarray | None
    """(m, n, D), if it draws."""


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


def as_frame(rows: np.ndarray, levels: list[int], names: tuple[str, ...]) -> pd.DataFrame:
    """Return rows as columns of categories and of numbers, which are integers if whole."""
    columns = {}
    for name, count, cells in zip(names, levels, rows.T, strict=True):
        if count:
            codes = np.where(np.isnan(cells), -1, cells).astype(int)
            columns[name] = pd.Categorical.from_codes(codes, [f"{k:03}" for k in range(count)])
        else:
            columns[name] = cells
    return pd.DataFrame(columns)


def as_numbers(frame: pd.DataFrame) -> np.ndarray:
    """Return what `as_frame` made as rows (n, D) again."""
    columns = [
        column.cat.codes if isinstance(column.dtype, pd.CategoricalDtype) else column
        for _, column in frame.items()
    ]
    return np.column_stack([np.asarray(each, float) for each in columns])


def shares_of(draws: np.ndarray, levels: list[int]) -> list[np.ndarray | None]:
    """Return of each column of categories the shares (n, levels) of draws (m, n, D)."""
    found: list[np.ndarray | None] = []
    for d, count in enumerate(levels):
        seen = [(draws[:, :, d] == k).sum(axis=0) + 1 for k in range(count)]
        found.append(np.stack(seen, axis=1) / (len(draws) + count) if count else None)
    return found


def guesses_of(draws: np.ndarray, levels: list[int]) -> np.ndarray:
    """Return the most frequent category, or the mean number (n, D), of draws (m, n, D)."""
    shares = shares_of(draws, levels)
    best = [
        draws[:, :, d].mean(axis=0) if own is None else own.argmax(axis=1)
        for d, own in enumerate(shares)
    ]
    return np.stack(best, axis=1)


Imputer = Callable[[np.ndarray, np.ndarray, list[int], tuple[str, ...]], Filled]


def by_density(model: Any) -> Imputer:
    """Return what fits a density and takes its draws."""

    def filled(
        train: np.ndarray, test: np.ndarray, levels: list[int], names: tuple[str, ...]
    ) -> Filled:
        model.fit(as_frame(train, levels, names))
        rows = as_frame(test, levels, names)
        draws = model.impute(rows, n_draws=N_DRAWS, n_particles=32, random_state=0)
        return Filled(guesses_of(draws, levels), shares_of(draws, levels), draws)

    return filled


def by_imputer(imputer: DensityImputer) -> Imputer:
    """Return what takes the best guesses of `DensityImputer`, and draws of its density."""

    def filled(
        train: np.ndarray, test: np.ndarray, levels: list[int], names: tuple[str, ...]
    ) -> Filled:
        rows = as_frame(test, levels, names)
        guesses = as_numbers(imputer.fit(as_frame(train, levels, names)).transform(rows))
        draws = imputer.density_.impute(
            rows, n_draws=N_DRAWS, n_particles=imputer.n_particles, random_state=0
        )
        return Filled(guesses, shares_of(draws, levels), draws)

    return filled


def by_one_hot(imputer: Any) -> Imputer:
    """Return what fills one-hot columns of categories."""

    def filled(
        train: np.ndarray, test: np.ndarray, levels: list[int], names: tuple[str, ...]
    ) -> Filled:
        coder = OneHot(train, levels)
        imputer.fit(coder.wide(train))
        return Filled(*coder.narrow(imputer.transform(coder.wide(test))), None)

    return filled


def by_missforest() -> Imputer:
    """Return MissForest, by its defaults."""
    from missforest import MissForest

    def filled(
        train: np.ndarray, test: np.ndarray, levels: list[int], names: tuple[str, ...]
    ) -> Filled:
        nominal = [name for name, count in zip(names, levels, strict=True) if count]
        frames = [pd.DataFrame(rows, columns=list(names)) for rows in (train, test)]
        forest = MissForest(categorical=nominal or None, verbose=0).fit(frames[0])
        rows = np.asarray(forest.transform(frames[1])[list(names)], float)
        return Filled(rows, shares_of(rows[None], levels), None)

    return filled


def by_mice() -> Imputer:
    """Return miceforest, by its defaults."""
    from miceforest import ImputationKernel, imputation_kernel, utils

    def finite(p: np.ndarray) -> np.ndarray:
        return utils.logodds(np.clip(p, 1e-6, 1 - 1e-6))

    # Trees that are sure say 0 or 1, of which miceforest 6.0.5 makes infinite neighbours.
    imputation_kernel.logodds = finite

    def filled(
        train: np.ndarray, test: np.ndarray, levels: list[int], names: tuple[str, ...]
    ) -> Filled:
        kernel = ImputationKernel(as_frame(train, levels, names), N_MICE, random_state=0)
        kernel.mice(5)
        found = kernel.impute_new_data(as_frame(test, levels, names), random_state=0)
        draws = np.stack([as_numbers(found.complete_data(i)) for i in range(N_MICE)])
        return Filled(guesses_of(draws, levels), shares_of(draws, levels), draws)

    return filled


def judged(
    truth: np.ndarray, hidden: np.ndarray, levels: list[int], found: Filled, deviation: np.ndarray
) -> list[str]:
    """Return accuracy, log-loss, CRPS and root mean squared error over hidden cells."""
    right, loss, ranked, squares = [], [], [], []
    draws = found.rows[None] if found.draws is None else found.draws
    for d, count in enumerate(levels):
        rows = np.flatnonzero(hidden[:, d])
        own, guess = truth[rows, d], found.rows[rows, d]
        if count == 0:
            squares.append(((own - guess) / deviation[d]) ** 2)
            drawn = np.sort(draws[:, rows, d], axis=0)
            place = 2 * np.arange(1, len(drawn) + 1)[:, None] - len(drawn) - 1
            spread = (place * drawn).sum(axis=0) / len(drawn) ** 2  # half of E |X - X'|
            ranked.append((np.abs(drawn - own).mean(axis=0) - spread) / deviation[d])
            continue
        p = found.shares[d]
        assert p is not None
        right.append(own == guess)
        loss.append(-np.log(p[rows, own.astype(int)]))
    means = [np.concatenate(each).mean() if each else None for each in (right, loss, ranked)]
    error = np.sqrt(np.concatenate(squares).mean()) if squares else None
    return ["none" if each is None else f"{each:.4f}" for each in (*means, error)]


def hide(rows: np.ndarray, share: float, by_value: bool, rng: np.random.Generator) -> np.ndarray:
    """Return which cells (n, D) to hide."""
    chance = np.full(rows.shape, share)
    if by_value:
        order = np.argsort(np.argsort(rows + 1e-9 * rng.random(rows.shape), axis=0), axis=0)
        chance = 2 * share * (order + 0.5) / len(rows)
    return (rng.random(rows.shape) < chance) & ~np.isnan(rows)


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


def contestants(name: str, threads: int) -> dict[str, Imputer]:
    """Return all imputers that are installed."""
    found = {"DensityImputer()": by_imputer(DensityImputer(random_state=0))}
    found |= {title: by_density(model) for title, model in densities(name, threads).items()}
    found |= {
        "KNNImputer": by_one_hot(KNNImputer()),
        "IterativeImputer": by_one_hot(IterativeImputer(random_state=0, max_iter=5)),
        "SimpleImputer (means)": by_one_hot(SimpleImputer(keep_empty_features=True)),
    }
    if util.find_spec("missforest"):
        found["MissForest"] = by_missforest()
    if util.find_spec("miceforest"):
        found["miceforest"] = by_mice()
    return found


def main() -> int:
    """Print the table of one set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set_name", metavar="SET", choices=SETS, help=" or ".join(SETS))
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--train", type=int, default=8000, help="training rows")
    parser.add_argument("--test", type=int, default=1000, help="test rows")
    parser.add_argument("--share", type=float, default=0.1, help="share of the cells to hide")
    parser.add_argument("--by-value", action="store_true", help="hide large values more often")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="contestants with such a word")
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
    gaps = [hide(rows, options.share, options.by_value, rng) for rows in whole]
    train, test = (np.where(gap, np.nan, rows) for gap, rows in zip(gaps, whole, strict=True))
    deviation = np.nanstd(train, axis=0) + 1e-12
    rows = []
    for title, imputer in contestants(options.set_name, options.threads).items():
        if options.only and not any(word in title for word in options.only):
            continue
        start = time.process_time()
        try:
            found = imputer(train, test, levels, names)
        except Exception as error:  # of whatever library: the others go on
            print(f"{title} failed: {error!s:.200}", file=sys.stderr, flush=True)
            continue
        seconds = time.process_time() - start
        judgement = judged(whole[1], gaps[1], levels, found, deviation)
        rows.append([title, *judgement, f"{seconds:.1f}"])
        print("|", " | ".join(rows[-1]), "|", file=sys.stderr, flush=True)
    heads = [options.set_name, "accuracy", "log-loss, nats", "CRPS", "RMSE", "CPU seconds"]
    print(table(heads, rows, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
