"""
Ask one fitted density many questions: `python bench/questions.py selectivity explain`.

Each part prints one table; without a part all are run. Contestants see the same training rows.

income       p(income > 50K) of adult_mixed's test rows, whole and with 10, 30 and 50 % of the other
             cells hidden; beside gradient boosting and logistic regression fitted to whole rows
targets      every column of adult_mixed as the target: one density for all, beside one
             gradient-boosted model a column. Log-loss in nats of categories and bits, and root mean
             squared error of numbers, in units of their deviation
price        the price of diamonds: root mean squared error, pinball losses, and how many prices lie
             between the 5 % and the 95 % quantile; beside gradient boosting, fitted for each
selectivity  the share of the training rows in random boxes over 5 of 15 columns of adult_mixed:
             q-errors, the larger of estimate over truth and its inverse; beside independent
             histograms and samples of a Gaussian copula. The truth is the share of those rows that
             know all 5 columns
explain      which cells of categories were swapped between two test rows: the share of swapped ones
             among as many of the lowest scores as were swapped; beside terms of the chain rule and
             one gradient-boosted classifier of 30 rounds a column
speed        the time of answers about 100 columns over that of `score_samples`, in the same run
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from machine import cores
from mixed_tables import frame
from scipy.special import ndtr, ndtri
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mean_pinball_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tables import table

from fastar import NADE
from fastar.datasets import Dataset, load_dataset

INCOME = "income-per-year"
QUANTILES = (0.05, 0.5, 0.95)
LEAST = 1e-6
"""Probabilities of peers are no less, so that a class they never saw costs 14 nats."""


class Asked:
    """A data set as frames and as codes, and the density that answers."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        data = load_dataset(name, options.data)
        rng = np.random.default_rng(0)
        self.data: Dataset = data
        self.train = data.train[rng.permutation(len(data.train))[: options.rows]]
        self.test = data.test[rng.permutation(len(data.test))[: options.test]]
        self.names = list(data.columns)
        self.nominal = np.array([kind == "categorical" for kind in data.column_kinds])
        self.model = NADE(max_iter=options.epochs, random_state=0, n_jobs=options.threads)
        start = time.perf_counter()
        self.model.fit(self.frame(self.train))
        self.seconds = time.perf_counter() - start
        print(f"{name}: fitted in {self.seconds:.0f} s", file=sys.stderr, flush=True)

    def frame(self, rows: np.ndarray) -> pd.DataFrame:
        """Return rows as a frame whose types are those of all splits; those with gaps may miss."""
        data = self.data
        known = np.concatenate([data.train, data.valid, data.test])
        whole = np.concatenate([known, np.where(np.isnan(rows), known[0], rows)])
        found = frame(data, whole).iloc[len(known) :].reset_index(drop=True)
        for name, missing in zip(self.names, np.isnan(rows).T, strict=True):
            if missing.any():
                column = found[name]
                gaps = {"bool": "boolean", "int64": "Int64"}.get(str(column.dtype), column.dtype)
                found[name] = column.astype(gaps).mask(missing)
        return found

    def level_codes(self, column: int) -> np.ndarray:
        """Return the code of each of a column's levels, in the order of `predict_proba`."""
        name = self.names[column]
        levels = self.model.levels(name)
        if levels.dtype == bool or not self.nominal[column]:
            return levels.astype(float)
        return np.array([self.data.categories[name].index(level) for level in levels], float)

    def proba(self, rows: np.ndarray, column: int, n_levels: int) -> np.ndarray:
        """Return the density's probabilities (n, n_levels) of a column's codes."""
        found = np.zeros((len(rows), n_levels))
        p = self.model.predict_proba(self.frame(rows), target=self.names[column], random_state=0)
        found[:, self.level_codes(column).astype(int)] = p
        return found


def boosted(
    asked: Asked, column: int, kind: Any = HistGradientBoostingClassifier, **settings: Any
) -> Any:
    """Return a gradient-boosted model of a column, fitted to the rows that know it.

    It holds out rows of every class, and so takes none of which there is one row.
    """
    others = np.delete(asked.nominal, column)
    known = asked.train[~np.isnan(asked.train[:, column])]
    if kind is HistGradientBoostingClassifier:
        _, place, count = np.unique(known[:, column], return_inverse=True, return_counts=True)
        known = known[count[place] > 1]
    model = kind(categorical_features=others, random_state=0, **settings)
    return model.fit(np.delete(known, column, axis=1), known[:, column])


def class_proba(model: Any, rows: np.ndarray, column: int, n_levels: int) -> np.ndarray:
    """Return a classifier's probabilities (n, n_levels) of a column's codes."""
    found = np.full((len(rows), n_levels), LEAST)
    p = model.predict_proba(np.delete(rows, column, axis=1))
    found[:, model.classes_.astype(int)] = np.maximum(p, LEAST)
    return found / found.sum(axis=1, keepdims=True)


def logistic(asked: Asked, column: int) -> Any:
    """Return logistic regression over one-hot categories and standardised numbers."""
    others = np.flatnonzero(np.delete(asked.nominal, column))
    numbers = np.flatnonzero(~np.delete(asked.nominal, column))
    coder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), others),
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
    )
    known = asked.train[~np.isnan(asked.train[:, column])]
    model = make_pipeline(coder, LogisticRegression(max_iter=1000))
    return model.fit(np.delete(known, column, axis=1), known[:, column])


# ---- parts


def income(options: argparse.Namespace, asked: Asked) -> None:
    """Predict income, from whole rows and from rows with holes."""
    column = asked.names.index(INCOME)
    truth, rng = asked.test[:, column], np.random.default_rng(1)
    peers = {"gradient boosting": boosted(asked, column), "logistic": logistic(asked, column)}
    rows = []
    for share in (0.0, 0.1, 0.3, 0.5):
        hidden = np.where(rng.random(asked.test.shape) < share, np.nan, asked.test)
        answers = {"NADE": asked.proba(hidden, column, 2)}
        answers |= {name: class_proba(peer, hidden, column, 2) for name, peer in peers.items()}
        for name, p in answers.items():
            scores = (
                np.mean((p[:, 1] > 0.5) == truth),
                log_loss(truth, p),
                roc_auc_score(truth, p[:, 1]),
            )
            rows.append([f"{share:.0%} hidden, {name}", *(f"{score:.4f}" for score in scores)])
    print(table(["income", "accuracy", "log-loss, nats", "AUC"], rows, options.markdown))


def targets(options: argparse.Namespace, asked: Asked) -> None:
    """Predict every column from the others."""
    rows, seconds = [], 0.0
    for column, name in enumerate(asked.names):
        test = asked.test[~np.isnan(asked.test[:, column])]
        truth = test[:, column]
        start = time.perf_counter()
        if asked.nominal[column]:
            n_levels = len(asked.data.categories[name])
            peer = boosted(asked, column)
            seconds += time.perf_counter() - start
            answers = (
                asked.proba(test, column, n_levels),
                class_proba(peer, test, column, n_levels),
            )
            at = np.arange(len(test)), truth.astype(int)
            found = [-np.log(np.maximum(p[at], LEAST)).mean() for p in answers]
        else:
            peer = boosted(asked, column, HistGradientBoostingRegressor)
            seconds += time.perf_counter() - start
            mean = asked.model.predict(asked.frame(test), target=name, kind="mean", random_state=0)
            guesses = mean, peer.predict(np.delete(test, column, axis=1))
            deviation = np.nanstd(asked.train[:, column])
            found = [np.sqrt(np.mean((guess - truth) ** 2)) / deviation for guess in guesses]
        kind = "log-loss" if asked.nominal[column] else "RMSE"
        rows.append([f"{name}, {kind}", *(f"{each:.4f}" for each in found)])
    rows.append(["fit of all, seconds", f"{asked.seconds:.0f}", f"{seconds:.0f}"])
    print(table(["target", "NADE", "gradient boosting"], rows, options.markdown))


def price(options: argparse.Namespace, asked: Asked) -> None:
    """Predict the mean and quantiles of diamonds' prices."""
    column = asked.names.index("price")
    truth, test = asked.test[:, column], asked.frame(asked.test)

    def ask(**how: Any) -> np.ndarray:
        return np.asarray(asked.model.predict(test, target="price", random_state=0, **how), float)

    def boost(**how: Any) -> np.ndarray:
        model = boosted(asked, column, HistGradientBoostingRegressor, **how)
        return np.asarray(model.predict(np.delete(asked.test, column, axis=1)))

    answers = {
        "NADE": [ask(kind="mean"), *(ask(kind="quantile", quantile=q) for q in QUANTILES)],
        "gradient boosting": [boost(), *(boost(loss="quantile", quantile=q) for q in QUANTILES)],
    }
    rows = []
    for name, (mean, *ends) in answers.items():
        pinball = [
            mean_pinball_loss(truth, end, alpha=q) for end, q in zip(ends, QUANTILES, strict=True)
        ]
        inside = np.mean((ends[0] <= truth) & (truth <= ends[2]))
        error = np.sqrt(np.mean((mean - truth) ** 2))
        rows.append([name, f"{error:.1f}", *(f"{loss:.1f}" for loss in pinball), f"{inside:.1%}"])
    heads = ["price", "RMSE", *(f"pinball {q:.0%}" for q in QUANTILES), "from 5 to 95 %"]
    print(table(heads, rows, options.markdown))


def random_box(asked: Asked, rng: np.random.Generator, n_columns: int = 5) -> dict[int, Any]:
    """Return sets of half of the categories, and intervals between the numbers of two rows."""
    box: dict[int, Any] = {}
    for column in rng.choice(len(asked.names), n_columns, replace=False).tolist():
        known = asked.train[:, column]
        known = known[~np.isnan(known)]
        if asked.nominal[column]:
            levels = np.arange(len(asked.data.categories[asked.names[column]]))
            box[column] = {*levels[rng.random(len(levels)) < 0.5].tolist(), int(rng.choice(known))}
        else:
            low, high = np.sort(rng.choice(known, 2))
            box[column] = (low, high + 1)
    return box


def inside(rows: np.ndarray, box: dict[int, Any]) -> np.ndarray:
    """Return which rows of codes lie in a box."""
    found = np.ones(len(rows), bool)
    for column, what in box.items():
        x = rows[:, column]
        is_set = isinstance(what, set)
        found &= np.isin(x, list(what)) if is_set else (what[0] <= x) & (x < what[1])
    return found


def as_evidence(asked: Asked, box: dict[int, Any]) -> dict[str, Any]:
    """Return a box of codes in the values of the frame."""
    found = {}
    for column, what in box.items():
        name = asked.names[column]
        names = asked.data.categories.get(name)
        is_bool = asked.model.levels(name).dtype == bool if asked.nominal[column] else False
        if isinstance(what, set):
            what = {bool(code) if is_bool else names[code] for code in what} if names else what
        found[name] = what
    return found


def copula_sample(asked: Asked, n: int) -> np.ndarray:
    """Return rows of codes of a Gaussian copula over the columns' own distributions."""
    rng, train = np.random.default_rng(0), asked.train
    known = [np.sort(column[~np.isnan(column)]) for column in train.T]
    normal = np.zeros(train.shape)
    for d, column in enumerate(train.T):
        low, high = (np.searchsorted(known[d], column, side) for side in ("left", "right"))
        rank = (low + rng.random(len(column)) * (high - low) + 0.5) / (len(known[d]) + 1)
        normal[:, d] = np.where(np.isnan(column), rng.normal(size=len(column)), ndtri(rank))
    drawn = rng.multivariate_normal(np.zeros(len(known)), np.corrcoef(normal.T), size=n)
    uniform = ndtr(drawn)
    return np.stack(
        [own[(u * len(own)).astype(int)] for own, u in zip(known, uniform.T, strict=True)], axis=1
    )


def selectivity(options: argparse.Namespace, asked: Asked) -> None:
    """Estimate how many rows random boxes hold."""
    rng, train = np.random.default_rng(1), asked.train
    boxes = [random_box(asked, rng) for _ in range(options.boxes)]
    columns = [np.isnan(train[:, list(box)]).any(axis=1) for box in boxes]
    known = [train[~missing] for missing in columns]
    truth = np.array([inside(rows, box).mean() for rows, box in zip(known, boxes, strict=True)])
    evidence = [as_evidence(asked, box) for box in boxes]
    start = time.perf_counter()
    found = np.exp(asked.model.log_probability(evidence, n_particles=1000, random_state=0))
    seconds = time.perf_counter() - start
    alone = []
    for box in boxes:
        parts = [train[~np.isnan(train[:, c])] for c in box]
        shares = [
            inside(rows, {c: what}).mean()
            for rows, (c, what) in zip(parts, box.items(), strict=True)
        ]
        alone.append(np.prod(shares))
    drawn = copula_sample(asked, 200_000)
    estimates = {
        f"NADE, {seconds:.1f} s": found,
        "independent histograms": np.array(alone),
        "Gaussian copula": np.array([inside(drawn, box).mean() for box in boxes]),
    }
    least, rows = 1 / len(train), []
    for name, estimate in estimates.items():
        pair = np.maximum(estimate, least), np.maximum(truth, least)
        error = np.maximum(pair[0] / pair[1], pair[1] / pair[0])
        rows.append([name, *(f"{q:.3f}" for q in np.quantile(error, [0.5, 0.9, 0.95, 0.99, 1]))])
    heads = [f"q-error of {len(boxes)} boxes", "median", "90 %", "95 %", "99 %", "largest"]
    print(table(heads, rows, options.markdown))
    spread = ", ".join(f"{q:.2%}" for q in np.quantile(truth, [0.05, 0.5, 0.95]))
    print(f"share of the rows in a box: {spread} (5, 50 and 95 % of the boxes)")


def explain(options: argparse.Namespace, asked: Asked) -> None:
    """Find cells that were swapped between rows."""
    rng = np.random.default_rng(2)
    rows, columns = asked.test.copy(), np.flatnonzero(asked.nominal)
    swapped = np.zeros(rows.shape, bool)
    pairs = rng.permutation(len(rows))[: len(rows) // 5 * 2].reshape(-1, 2)
    for a, b in pairs:
        c = rng.choice(columns)
        if rows[a, c] != rows[b, c] and not np.isnan(rows[[a, b], c]).any():
            rows[[a, b], c] = rows[[b, a], c]
            swapped[[a, b], c] = True
    cells, given = ~np.isnan(rows[:, columns]), asked.frame(rows)
    by_column = np.zeros(rows.shape)
    for c in columns:
        there = np.flatnonzero(~np.isnan(rows[:, c]))
        n_levels = len(asked.data.categories[asked.names[c]])
        p = class_proba(boosted(asked, c, max_iter=30), rows[there], c, n_levels)
        by_column[there, c] = np.log(p[np.arange(len(there)), rows[there, c].astype(int)])
    scores = {
        "explain": asked.model.explain(given, random_state=0),
        "score_features": asked.model.score_features(given),
        "gradient boosting a column": by_column,
    }
    wrong = swapped[:, columns][cells]
    found = []
    for name, score in scores.items():
        own = np.nan_to_num(score)[:, columns][cells]
        best = wrong[np.argsort(own, kind="stable")]
        precision = [best[:k].mean() for k in (wrong.sum() // 4, wrong.sum())]
        auc = roc_auc_score(wrong, -own)
        found.append([name, *(f"{each:.3f}" for each in precision), f"{auc:.4f}"])
    heads = [f"{wrong.sum()} of {wrong.size} cells", "precision at a quarter", "at all", "AUC"]
    print(table(heads, found, options.markdown))


def best_time(call: Callable[[], Any], repeats: int = 5) -> float:
    """Return the shortest of some times."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def speed(options: argparse.Namespace, asked: None) -> None:
    """Time answers about one column among 100."""
    rng, found = np.random.default_rng(0), []
    for n_levels in (2, 5, 20):
        X = rng.integers(0, n_levels, (10_000, 100))
        kind = "bernoulli" if n_levels == 2 else "categorical"
        model = NADE(distribution=kind, max_iter=1, random_state=0, n_jobs=options.threads)
        model.fit(X)
        score = best_time(lambda model=model, X=X: model.score_samples(X))
        for target in (0, 50, 99):
            asked_for = best_time(
                lambda model=model, X=X, target=target: model.predict_proba(X, target=target)
            )
            bar = 2.5 if n_levels == 2 else 1 + n_levels / 2
            found.append(
                [f"{n_levels} levels, column {target}", f"{asked_for / score:.2f}", f"{bar:g}"]
            )
        if n_levels == 2:
            holes = np.where(rng.random(X.shape) < 0.1, np.nan, X)
            filled = best_time(
                lambda model=model, holes=holes: model.impute(holes, random_state=0), 3
            )
            found.append(["impute of 10 % holes, 2 levels", f"{filled / score:.1f}", "12"])
    print(table(["times of score_samples", "ratio", "bar"], found, options.markdown))


PARTS: dict[str, tuple[Callable[..., None], str | None]] = {
    "income": (income, "adult_mixed"),
    "targets": (targets, "adult_mixed"),
    "selectivity": (selectivity, "adult_mixed"),
    "explain": (explain, "adult_mixed"),
    "price": (price, "diamonds"),
    "speed": (speed, None),
}


def main() -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--rows", type=int, default=None, help="training rows")
    parser.add_argument("--test", type=int, default=None, help="test rows")
    parser.add_argument("--epochs", type=int, default=100, help="of fit, at most")
    parser.add_argument("--boxes", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--markdown", action="store_true", help="tables for RESULTS.md")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"PART must be one of {', '.join(PARTS)}. Got {unknown.pop()!r} instead.")
    warnings.simplefilter("ignore")  # some fits end at their limit of epochs
    asked: dict[str, Asked] = {}
    for name in options.parts or PARTS:
        part, data = PARTS[name]
        if data is not None and data not in asked:
            asked[data] = Asked(data, options)
        part(options, asked.get(data) if data else None)
        print(flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
