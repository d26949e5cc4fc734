"""
Fit a model by earlier defaults and by its own ones: `python bench/defaults.py SET ...`.

A line a set: mean test log-likelihoods in nats a row, seconds of processor time of the fits,
and which setting won. Real tables are standardised by their training rows. Small ones are fitted
in three folds; figures are then means over folds. `--peers` fits scikit-learn's densities and a
Gaussian copula to real tables, too. There all are densities: ours has no atoms, whose probabilities
would not compare, and variances have one floor, for a density on values that rows have in common
grows with each smaller one.
"""

import argparse
import itertools
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from machine import cores
from mixed_tables import frame
from scipy.special import ndtri
from scipy.stats import gaussian_kde
from settings import add_settings
from sklearn import datasets
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KernelDensity
from tables import table

from fastar.conditionals import Number
from fastar.datasets import load_dataset
from fastar.models import BY_NAME

N_FOLDS = 3

#: Smallest variance of a component, as a share of a column's.
FLOOR = 1e-4


class Part(NamedTuple):
    """Rows to fit, to stop by (None: the model holds out some itself), and to score."""

    train: Any
    valid: Any
    test: Any


_OLD = {"learning_rate": "constant", "learning_rate_init": 1e-3, "alpha": 0.0}

#: What the defaults were while rates stayed and nothing followed the table.
OLD: dict[str, dict[str, Any]] = {
    "NADE": _OLD | {"n_hidden": 500, "activation": "sigmoid"},
    "RNADE": _OLD,
    "MADE": _OLD,
    "DeepNADE": _OLD,
}


def bits(name: str, options: argparse.Namespace) -> Iterator[Part]:
    """Return a binary set with its own validation rows."""
    data = load_dataset(name, options.data)
    yield Part(data.train[: options.rows], data.valid, data.test)


def reals(name: str, options: argparse.Namespace) -> Iterator[Part]:
    """Return folds of a set with published ones; the model holds out rows itself."""
    for fold in range(N_FOLDS):
        data = load_dataset(name, options.data, fold=fold)
        yield standardised(np.concatenate([data.train, data.valid]), data.test)


def standardised(train: np.ndarray, test: np.ndarray) -> Part:
    """Return rows scaled by the mean and deviation of the training rows."""
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    return Part((train - mean) / deviation, None, (test - mean) / deviation)


def curved(name: str, options: argparse.Namespace) -> Iterator[Part]:
    """Return three columns: log-normal, a curve of it with noise, two modes."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3000, 2))
    modes = np.where(rng.random(3000) < 0.5, -2, 2) + 0.3 * z[:, 1]
    X = np.column_stack([np.exp(z[:, 0]), z[:, 0] ** 2 + 0.3 * z[:, 1], modes])
    yield Part(X[:2000], None, X[2000:])


def scikit_learn(name: str, options: argparse.Namespace) -> Iterator[Part]:
    """Return folds of a table that scikit-learn ships, with its target as the last column."""
    data = getattr(datasets, f"load_{name}")(as_frame=True).frame
    if name in WITH_CLASSES:
        data["target"] = data["target"].astype("category")
    yield from folds(data)


def statsmodels(name: str, options: argparse.Namespace) -> Iterator[Part]:
    """Return folds of a table that statsmodels ships."""
    import statsmodels.api as sm

    data = getattr(sm.datasets, name).load_pandas().data
    yield from folds(data.astype(dict.fromkeys(data.select_dtypes("object"), "category")))


def folds(data: pd.DataFrame) -> Iterator[Part]:
    """Return shuffled folds of a frame."""
    for train, test in KFold(N_FOLDS, shuffle=True, random_state=0).split(data):
        yield Part(
            data.iloc[train].reset_index(drop=True), None, data.iloc[test].reset_index(drop=True)
        )


def real_columns(name: str, options: argparse.Namespace) -> Iterator[Part]:
    """Return folds of the real columns alone of a table that scikit-learn ships."""
    X = getattr(datasets, f"load_{name.removesuffix('_real')}")().data
    for train, test in KFold(N_FOLDS, shuffle=True, random_state=0).split(X):
        yield standardised(X[train], X[test])


def mixed(name: str, options: argparse.Namespace) -> Iterator[Part]:
    """Return a table of mixed columns; the model holds out rows itself."""
    data = load_dataset(name, options.data)
    whole = frame(data, np.concatenate([data.train, data.valid, data.test]))
    test = whole.iloc[len(data.train) + len(data.valid) :].reset_index(drop=True)
    yield Part(whole.iloc[: min(options.rows, len(data.train))], None, test)


WITH_CLASSES = ("iris", "wine", "breast_cancer")

BITS = (
    "nltcs", "msnbc", "kdd", "baudio", "jester", "bnetflix", "accidents", "tretail", "pumsb_star",
    "dna", "dna_nade", "kosarek", "book", "tmovie", "cwebkb", "c20ng", "bbc", "ad", "adult",
    "connect4", "ocr_letters", "nips",
)  # fmt: skip
REALS = ("red_wine", "parkinsons", "ionosphere", "boston_housing")
GROUPS: dict[str, dict[str, Callable[[str, argparse.Namespace], Iterator[Part]]]] = {
    "bits": dict.fromkeys(BITS, bits),
    "real": dict.fromkeys(REALS, reals)
    | {"curved": curved}
    | dict.fromkeys(("breast_cancer_real", "wine_real", "iris_real"), real_columns),
    "mixed": dict.fromkeys(("adult_mixed", "diamonds"), mixed)
    | dict.fromkeys(("iris", "wine", "breast_cancer", "diabetes"), scikit_learn)
    | dict.fromkeys(("fair", "anes96", "randhie", "modechoice", "ccard"), statsmodels),
}
SETS = {name: parts for group in GROUPS.values() for name, parts in group.items()}

#: What models of real tables are given beside their defaults.
AS_DENSITIES = {"distribution": Number(atoms=False, variance_floor=FLOOR)}


class Copula:
    """A Gaussian copula with kernel estimates of the columns."""

    def fit(self, X: np.ndarray) -> "Copula":
        """Estimate the columns, and the correlation of their normal scores."""
        self.columns_ = [gaussian_kde(column) for column in X.T]
        self.correlation_ = np.corrcoef(self._scores(X), rowvar=False)
        return self

    def score(self, X: np.ndarray) -> float:
        """Return the mean log-density."""
        z = self._scores(X)
        precision = np.linalg.inv(self.correlation_) - np.eye(X.shape[1])
        dependence = -0.5 * (np.einsum("ni,ij,nj->n", z, precision, z))
        dependence -= 0.5 * np.linalg.slogdet(self.correlation_)[1]
        alone = sum(np.log(kde(x) + 1e-300) for kde, x in zip(self.columns_, X.T, strict=True))
        return float(np.mean(dependence + alone))

    def _scores(self, X: np.ndarray) -> np.ndarray:
        shares = [
            [kde.integrate_box_1d(-np.inf, x) for x in column]
            for kde, column in zip(self.columns_, X.T, strict=True)
        ]
        return ndtri(np.clip(np.array(shares).T, 1e-6, 1 - 1e-6))


def peers(part: Part) -> dict[str, float]:
    """Return the mean test log-densities of other estimators of real rows."""
    sizes = [1, 2, 3, 5, 8, 12, 20]
    mixtures = [GaussianMixture(k, reg_covar=FLOOR, random_state=0).fit(part.train) for k in sizes]
    mixture = min(mixtures, key=lambda each: each.bic(part.train))
    widths = GridSearchCV(KernelDensity(), {"bandwidth": np.geomspace(0.05, 2, 15)}, cv=3)
    kernel = widths.fit(part.train).best_estimator_
    return {
        "mixture": mixture.score(part.test),
        "kernel": kernel.score(part.test) / len(part.test),
        "copula": Copula().fit(part.train).score(part.test),
    }


def fit(parts: list[Part], settings: dict[str, Any], options: argparse.Namespace) -> list[float]:
    """Return the mean test log-likelihood, the seconds of the fits and their mean epochs."""
    scores, seconds, epochs = [], 0.0, []
    for part, seed in itertools.product(parts, range(options.seeds)):
        model = BY_NAME[options.model](**settings, random_state=seed, n_jobs=options.threads)
        start = time.process_time()
        model.fit(part.train, X_val=part.valid)
        seconds += time.process_time() - start
        scores.append(model.score(part.test))
        epochs.append(model.n_iter_)
    return [float(np.mean(scores)), seconds, float(np.mean(epochs))]


def compare(name: str, options: argparse.Namespace) -> list[str]:
    """Return the row of a set."""
    parts = list(SETS[name](name, options))
    is_real = name in GROUPS["real"]
    common = AS_DENSITIES if is_real else {}
    old = fit(parts, common | OLD[options.model], options)
    new = fit(parts, common | dict(options.changes), options)
    change = new[0] - old[0]
    row = [name, f"{old[0]:.3f}", f"{new[0]:.3f}", f"{change:+.3f}"]
    row += [f"{change / abs(old[0]):+.2%}", f"{old[1]:.1f}", f"{new[1]:.1f}"]
    row += [f"{old[2]:.0f}", f"{new[2]:.0f}"]
    if options.peers:
        found = [peers(part) for part in parts] if is_real else []
        keys = ("mixture", "kernel", "copula")
        row += [f"{np.mean([each[key] for each in found]):.3f}" if found else "" for key in keys]
    return row


HEADS = ["set", "old", "new", "change", "in %", "old s", "new s", "old epochs", "new epochs"]


def main() -> int:
    """Compare on each set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choices = (*GROUPS, *SETS)
    parser.add_argument("sets", metavar="SET", nargs="+", choices=choices, help=", ".join(choices))
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--model", default="NADE", choices=sorted(OLD))
    add_settings(parser, "settings in place of the new defaults")
    parser.add_argument("--rows", type=int, default=20_000, help="most training rows of a set")
    parser.add_argument("--peers", action="store_true", help="other estimators of real tables")
    parser.add_argument("--seeds", type=int, default=1, help="fits of each, averaged")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    names = [name for given in options.sets for name in GROUPS.get(given, {given: None})]
    heads = HEADS + (["mixture", "kernel", "copula"] if options.peers else [])
    rows = []
    for name in names:
        rows.append(compare(name, options))
        print(table(heads, rows[-1:], options.markdown), file=sys.stderr, flush=True)
    print(table(heads, rows, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
