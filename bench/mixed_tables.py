"""
Fit a model to a table of mixed columns and see how real its samples look.

`python bench/mixed_tables.py diamonds --recipe` takes the settings that are written below;
`python bench/mixed_tables.py adult_mixed --model NADE --integers logistic_mixture` others. Printed
are the mean log-likelihood of the held-out rows; for each column the total-variation distance of
its samples to them; and how well a classifier tells samples from held-out rows. Beside each is what
training rows get in place of the samples: as few rows as are held out differ from any distribution,
and no model can do better.

Distances are between shares of the categories, or of 20 bins at the quantiles of the training rows;
missing cells are left out. The model `independent` draws each column by itself from the training
rows: a floor to be better than.
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from machine import cores, peak_memory
from settings import add_settings, literal
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from tables import table

from fastar.conditionals import Categorical, LogisticMixture, from_name
from fastar.datasets import Dataset, load_dataset
from fastar.models import BY_NAME

SETS = ("adult_mixed", "diamonds")

N_BINS = 20
N_FOLDS = 5

#: So many that of the distances only the held-out rows' noise is left.
N_SAMPLES = 200_000


_LINEAR = {"activation": "relu", "learning_rate_init": 0.002, "learning_rate": "linear"}

#: Numbers of which most are one of some values: each is a level of its own.
_LEVELS = Categorical(unknown="impossible")

#: Model, settings and columns' conditionals of each set: measurements have so many decimals.
RECIPES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "adult_mixed": (
        "NADE",
        {"n_hidden": 128, "max_iter": 20, "alpha": 0.1, "early_stopping": False, **_LINEAR},
        {
            "age": _LEVELS,
            "fnlwgt": LogisticMixture(40, margin=0.1),
            "education-num": _LEVELS,
            "capital-gain": _LEVELS,
            "capital-loss": _LEVELS,
            "hours-per-week": _LEVELS,
        },
    ),
    "diamonds": (
        "NADE",
        {"n_hidden": 256, "max_iter": 30, **_LINEAR},
        dict.fromkeys(("carat", "x", "y", "z"), LogisticMixture(40, step=0.01, margin=0.5))
        | dict.fromkeys(("depth", "table"), LogisticMixture(40, step=0.1, margin=0.5))
        | {"price": LogisticMixture(40, margin=0.5)},
    ),
}


class Independent:
    """Columns drawn each by itself from the training rows, missing cells included."""

    def fit(self, X: pd.DataFrame, X_val: pd.DataFrame | None = None) -> "Independent":
        """Keep the rows."""
        self.rows_ = X
        return self

    def score_samples(self, X: pd.DataFrame) -> np.ndarray:
        """Return nothing that is known: a drawn number has no density."""
        return np.full(len(X), np.nan)

    def sample(self, n_samples: int, random_state: int) -> pd.DataFrame:
        """Draw each column with replacement."""
        rng = np.random.default_rng(random_state)
        n = len(self.rows_)
        columns = {
            name: column.take(rng.integers(0, n, n_samples)).reset_index(drop=True)
            for name, column in self.rows_.items()
        }
        return pd.DataFrame(columns)


def frame(data: Dataset, rows: np.ndarray) -> pd.DataFrame:
    """
    Return rows as columns of their own types.

    Two categories become bool if no cell is missing. Others become an unordered categorical of all
    names, integers int64, or Int64 if cells are missing. Missing cells are pandas' own of each
    type.
    """
    columns = {}
    for name, kind, cells in zip(data.columns, data.column_kinds, rows.T, strict=True):
        columns[name] = _column(cells, kind, data.categories.get(name, []))
    return pd.DataFrame(columns)


def _column(cells: np.ndarray, kind: str, names: list[str]) -> pd.Series:
    missing = np.isnan(cells)
    if kind == "real":
        return pd.Series(cells)
    codes = np.where(missing, -1, cells).astype(np.int64)
    if kind == "integer":
        if not missing.any():
            return pd.Series(codes)
        return pd.Series(pd.array(codes, dtype="Int64")).mask(missing)
    if len(names) == 2 and not missing.any():
        return pd.Series(codes == 1)
    # Code -1 is a missing cell.
    return pd.Series(pd.Categorical.from_codes(codes, names))


class Binning:
    """The shares of a column's categories or bins, learnt from the training rows."""

    def __init__(self, column: pd.Series, n_bins: int = N_BINS) -> None:
        self.edges: np.ndarray | None = None
        if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype == bool:
            self.levels = pd.Index(sorted(column.dropna().unique()))
            self.n_places = len(self.levels) + 1
            return
        values = column.dropna().to_numpy(np.float64)
        # Tied quantiles are one edge: the value that repeats has a bin that ends with it.
        self.edges = np.unique(np.quantile(values, np.arange(1, n_bins) / n_bins, method="lower"))
        self.n_places = len(self.edges) + 2

    def places(self, column: pd.Series) -> np.ndarray:
        """Return the bin of each cell; the last is of others and of missing cells."""
        if self.edges is None:
            return self.levels.get_indexer(column.to_numpy()) % self.n_places
        found = np.searchsorted(self.edges, column.to_numpy(np.float64, na_value=np.nan))
        return np.where(column.isna(), self.n_places - 1, found)

    def shares(self, column: pd.Series) -> np.ndarray:
        """Return the shares of the bins among cells that are not missing; the last is of others."""
        counts = np.bincount(self.places(column.dropna()), minlength=self.n_places)
        return counts / max(counts.sum(), 1)


def distances(train: pd.DataFrame, drawn: pd.DataFrame, held_out: pd.DataFrame) -> list[list[str]]:
    """Return a row for each column: its kind, bins, distance and that of the training rows."""
    rows = []
    found = []
    for name in train.columns:
        binning = Binning(train[name])
        expected = binning.shares(held_out[name])
        sampled, floor = (binning.shares(each[name]) for each in (drawn, train))
        found.append([0.5 * np.abs(each - expected).sum() for each in (sampled, floor)])
        rows.append([name, str(train[name].dtype), str(np.count_nonzero(floor))])
    found.append(np.mean(found, axis=0).tolist())
    rows.append(["mean of the columns", "", ""])
    return [
        [*row, *(f"{value:.4f}" for value in pair)] for row, pair in zip(rows, found, strict=True)
    ]


def boosted_trees(seed: int) -> Any:
    """Return the classifier of scikit-learn that tells rows apart."""
    return HistGradientBoostingClassifier(
        categorical_features="from_dtype", random_state=seed, early_stopping=True
    )


def telling_apart(
    some: pd.DataFrame,
    others: pd.DataFrame,
    seed: int,
    judge: Callable[[int], Any] = boosted_trees,
) -> tuple[float, int]:
    """
    Return the cross-validated ROC-AUC of telling rows apart, and the number of rows of each side.

    Only rows without missing cells take part, as many of one side as of the other.
    """
    some, others = (each.dropna() for each in (some, others))
    n = min(len(some), len(others))
    some, others = (each.sample(n, random_state=seed) for each in (some, others))
    X = for_trees(pd.concat([some, others], ignore_index=True))
    y = np.repeat([0, 1], n)
    found = np.empty(len(y))
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(X, y):
        model = judge(seed).fit(X.iloc[train], y[train])
        found[test] = model.predict_proba(X.iloc[test])[:, 1]
    return float(roc_auc_score(y, found)), n


def for_trees(rows: pd.DataFrame) -> pd.DataFrame:
    """Return numbers as float64, so that how they are stored gives nothing away."""
    plain = {
        name: column if isinstance(column.dtype, pd.CategoricalDtype) else column.astype(np.float64)
        for name, column in rows.items()
    }
    return pd.DataFrame(plain)


def like(rows: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """Return samples with the training rows' categories, whatever order the model gave them."""
    columns = {}
    for name, column in rows.items():
        dtype = train[name].dtype
        is_category = isinstance(dtype, pd.CategoricalDtype)
        columns[name] = (
            pd.Series(pd.Categorical(column, dtype.categories)) if is_category else column
        )
    return pd.DataFrame(columns)


def missing_shares(frames: dict[str, pd.DataFrame]) -> str:
    """Say in how many rows of each frame cells are missing."""
    shares = {name: each.isna().any(axis=1).mean() for name, each in frames.items()}
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items())


def make(options: argparse.Namespace, data: Dataset) -> Any:
    """Return the model, not yet fitted."""
    if options.model == "independent":
        return Independent()
    settings = {"random_state": options.seed, "n_jobs": options.threads}
    if options.recipe:
        model, changes, columns = RECIPES[data.name]
        if options.model == "AutoDensity":  # it is told of the columns alone
            model, changes = options.model, dict(options.changes)
        return BY_NAME[model](**settings | changes, distribution=columns)
    given = {"integer": options.integers, "real": options.reals}
    chosen = {
        name: from_name(given[kind])
        for name, kind in zip(data.columns, data.column_kinds, strict=True)
        if given.get(kind)
    }
    if chosen:
        settings["distribution"] = chosen
    return BY_NAME[options.model](**settings | dict(options.changes))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Fit, sample, compare and print."""
    data = load_dataset(options.set_name, options.data)
    # All splits have the same types.
    whole = frame(data, np.concatenate([data.train, data.valid, data.test]))
    ends = np.cumsum([len(data.train), len(data.valid), len(data.test)])
    train, valid, held_out = (
        whole.iloc[end - len(rows) : end].reset_index(drop=True)
        for end, rows in zip(ends, (data.train, data.valid, data.test), strict=True)
    )
    model = make(options, data)
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # a held-out level that fit has not seen would end early stopping at once
        stops = getattr(model, "early_stopping", True)
        model.fit(train, X_val=valid if stops else None)
    fitted = time.perf_counter()
    drawn = like(model.sample(options.samples, random_state=options.seed + 1), train)
    sampled = time.perf_counter()
    scores = model.score_samples(held_out)

    impossible = np.isneginf(scores)
    if impossible.any():
        print(f"impossible rows          {impossible.mean():.2%} hold a level not seen in fit")
        scores = scores[~impossible]
    known = bool(np.isfinite(scores).all())
    found = f"{scores.mean():.4f} +- {_error(scores):.4f} nats a row" if known else "none"
    print(f"held-out log-likelihood  {found}")
    print(f"fit                      {fitted - start:.1f} s")
    print(f"sampling                 {sampled - fitted:.2f} s for {options.samples} rows")
    print(f"memory                   {peak_memory():.0f} MB at the peak of the process")
    shown = {"samples": drawn, "held out": held_out, "training": train}
    print(f"rows with missing cells  {missing_shares(shown)}\n")
    rows = distances(train, drawn, held_out)
    print(f"Total-variation distance to {len(held_out)} held-out rows, missing cells left out")
    heads = ["column", "type", "bins", f"of {options.samples} samples", "of training rows"]
    print(table(heads, rows, options.markdown), end="\n\n")
    pairs = {"samples": drawn, "training rows": train}
    aucs = {name: telling_apart(each, held_out, options.seed) for name, each in pairs.items()}
    print(
        f"ROC-AUC of telling from held-out rows, complete rows only, {N_FOLDS}-fold "
        "cross-validated boosted trees (0.5: cannot be told)"
    )
    for name, (auc, n) in aucs.items():
        print(f"  {name:14} {auc:.4f} ({n} rows of each)")
    for text in sorted({str(each.message) for each in caught}):
        print(f"note: {text}")
    return {
        "test": float(scores.mean()) if known else None,
        "test_error": _error(scores) if known else None,
        "fit_seconds": fitted - start,
        "sample_seconds": sampled - fitted,
        "distances": {row[0]: [float(row[3]), float(row[4])] for row in rows},
        "auc": {name: auc for name, (auc, _) in aucs.items()},
    }


def _error(scores: np.ndarray) -> float:
    return float(scores.std(ddof=1) / np.sqrt(len(scores)))


def main() -> int:
    """Run on one set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set_name", metavar="SET", choices=SETS, help=" or ".join(SETS))
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--model", default="NADE", choices=("independent", *sorted(BY_NAME)))
    add_settings(parser, "settings of the model")
    parser.add_argument(
        "--integers", type=literal, help="distribution of columns of integers: a name or a dict"
    )
    parser.add_argument("--reals", type=literal, help="distribution of columns of real numbers")
    parser.add_argument(
        "--recipe",
        action="store_true",
        help="the settings that are written here for the set; for AutoDensity the distributions",
    )
    parser.add_argument("--samples", type=int, default=N_SAMPLES)
    peers = parser.add_argument_group("generators of other libraries")
    peers.add_argument("--peers", action="store_true", help="compare them, see generators.py")
    peers.add_argument("--train", type=int, default=20_000, help="training rows of all")
    peers.add_argument("--max-seconds", type=float, default=1800, help="CPU seconds of each")
    peers.add_argument("--max-memory", type=float, default=8000, help="megabytes")
    peers.add_argument("--only", nargs="+", metavar="WORD", help="those with such a word")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    if options.peers:
        from generators import compare  # it needs the measures of this file

        compare(options)
        return 0
    text = ", ".join(f"{name}={value!r}" for name, value in options.changes)
    print(f"{options.set_name}: {options.model}({text}), {options.threads} threads", flush=True)
    found = run(options)
    settings = {
        key: getattr(options, key)
        for key in ("set_name", "model", "integers", "reals", "samples", "seed")
    }
    print(json.dumps(settings | {"settings": dict(options.changes)} | found, default=repr))
    return 0


if __name__ == "__main__":
    sys.exit(main())
