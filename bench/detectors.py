"""
Detect outliers by our detector and by those of PyOD or scikit-learn: `python bench/detectors.py`.

Each detector is fitted, with its defaults, to rows that belong and scores other rows, half of them
outliers. In breast_cancer, digits, ocr_letters, alphadigits and mnist, which have labels, outliers
are of other classes; elsewhere they are held-out rows of which a share of the cells comes from
other rows. PyOD (`pip install pyod`) is not needed: without it, scikit-learn's detectors are the
peers. Peers see categories as one-hot columns and standardised numbers, with means in the place of
gaps. `--recipes` gives densities and peers the settings written here in the place of defaults.
Printed are ROC-AUCs, the mean over the cases of a set, and the seconds of all fits and scores.
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module, util
from typing import Any

import numpy as np
import pandas as pd
from machine import cores
from mixed_tables import frame
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM
from tables import table

from fastar import NADE, RNADE, DensityOutlierDetector
from fastar.datasets import load_dataset

SETS = (
    "red_wine",
    "parkinsons",
    "ionosphere",
    "breast_cancer",
    "digits",
    "ocr_letters",
    "adult_mixed",
    "diamonds",
)
ALL_SETS = (*SETS, "alphadigits", "mnist")
PEERS = ("ECOD", "COPOD", "IForest", "LOF", "KNN", "GMM", "OCSVM", "HBOS", "PCA")
STATISTICS = ("standardised", "likelihood", "typicality", "likelihood_ratio")
SHARES = {"adult_mixed": 0.2, "diamonds": 0.2}  # of corrupted cells; of tables of numbers a half

LABELLED = ("ocr_letters", "alphadigits", "mnist")
#: Of scikit-learn, which PyOD wraps, but with settings of `--recipes`.
SCIKIT_LEARN = ("IsolationForest", "LocalOutlierFactor", "OneClassSVM", "GaussianMixture")

Case = tuple[pd.DataFrame, pd.DataFrame, np.ndarray]


def by_label(
    X: pd.DataFrame, y: np.ndarray, labels: Any, rng: np.random.Generator
) -> Iterator[Case]:
    """Yield a case for each label: half of its rows to fit, the others among those of others."""
    for label in labels:
        inside, outside = (rng.permutation(np.flatnonzero(own)) for own in (y == label, y != label))
        train, held = np.split(inside, [len(inside) // 2])
        rows = np.concatenate([held, outside[: len(held)]])
        test = X.iloc[rows].reset_index(drop=True)
        yield X.iloc[train].reset_index(drop=True), test, np.arange(len(rows)) >= len(held)


def corrupted(
    train: pd.DataFrame, test: pd.DataFrame, share: float, n: int, rng: np.random.Generator
) -> Iterator[Case]:
    """Yield n cases of rows beside themselves with a share of their cells from other rows."""
    for _ in range(n):
        mutants = test.copy()
        for name in test:
            other = test[name].iloc[rng.permutation(len(test))].reset_index(drop=True)
            mutants[name] = other.where(rng.random(len(test)) < share, test[name])
        rows = pd.concat([test, mutants], ignore_index=True)
        yield train, rows, np.repeat([False, True], len(test))


def cases(name: str, options: argparse.Namespace) -> Iterator[Case]:
    """Yield the cases of a set."""
    rng = np.random.default_rng(0)
    if name in ("breast_cancer", "digits"):
        X, y = (load_breast_cancer if name == "breast_cancer" else load_digits)(
            return_X_y=True, as_frame=True
        )
        labels = [1] if name == "breast_cancer" else range(options.cases)  # 1: benign
        yield from by_label(X, np.asarray(y), labels, rng)
        return
    data = load_dataset(name, options.data)
    if name in LABELLED:
        rows = np.concatenate([data.train, data.valid, data.test])
        rows = rows > (127 if data.kind == "grey" else 0)
        X = pd.DataFrame(rows.astype(np.int64)).rename(columns=str)
        y = np.concatenate([data.labels[each] for each in ("train", "valid", "test")])
        labels = np.unique(y)
        chosen = labels[:: max(1, len(labels) // options.cases)][: options.cases]
        yield from by_label(X, y, chosen, rng)
        return
    known, test = np.concatenate([data.train, data.valid]), data.test
    if data.column_kinds:
        whole = frame(data, np.concatenate([known, test]))
    else:
        whole = pd.DataFrame(np.concatenate([known, test])).rename(columns=str)
    parts = [whole.iloc[: len(known)], whole.iloc[len(known) :]]
    train, test = (
        part.iloc[rng.permutation(len(part))[:n]].reset_index(drop=True)
        for part, n in zip(parts, (options.train, options.test), strict=True)
    )
    yield from corrupted(train, test, SHARES.get(name, 0.5), options.cases, rng)


def numbers(train: pd.DataFrame, test: pd.DataFrame) -> list[np.ndarray]:
    """Return both as PyOD's detectors take them."""
    wide = pd.get_dummies(pd.concat([train, test], ignore_index=True), dtype=float)
    array = wide.astype("float64").to_numpy()
    fitted = array[: len(train)]
    mean, deviation = np.nanmean(fitted, axis=0), np.nanstd(fitted, axis=0)
    array = (np.where(np.isnan(array), mean, array) - mean) / np.where(deviation > 0, deviation, 1)
    return [array[: len(train)], array[len(train) :]]


Scorer = Callable[[pd.DataFrame, pd.DataFrame], np.ndarray]


def recipe(name: str) -> Any:
    """Return the density of a set with settings for its size, of bits or of numbers."""
    if name == "alphadigits":  # some twenty rows a label
        return NADE(n_hidden=50, alpha=0.3, max_iter=300)
    if name in LABELLED:
        return NADE(n_hidden=100, alpha=0.05, learning_rate_init=0.003, max_iter=100)
    return RNADE(n_hidden=50, n_components=5, learning_rate_init=0.005)


def ours(statistic: str, density: Any) -> Scorer:
    """Return what fits the detector and scores rows, higher where they do not belong."""

    def scores(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
        detector = DensityOutlierDetector(density, statistic=statistic, random_state=0)
        return -detector.fit(train).score_samples(test)

    return scores


def of_scikit_learn(name: str, threads: int, recipes: bool) -> Scorer:
    """Return what fits one of scikit-learn's detectors and scores rows."""

    def scores(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
        fitted, rest = numbers(train, test)
        shape = "diag" if fitted.shape[1] > 300 else "full"  # full ones of 784 take minutes
        mixture = {"n_components": 5, "covariance_type": shape, "reg_covar": 1e-2}
        detector: Any = {
            "IsolationForest": IsolationForest(random_state=0, n_jobs=threads),
            "LocalOutlierFactor": LocalOutlierFactor(novelty=True, n_jobs=threads),
            "OneClassSVM": OneClassSVM(),
            "GaussianMixture": GaussianMixture(random_state=0, **mixture if recipes else {}),
        }[name]
        return -detector.fit(fitted).score_samples(rest)

    return scores


def peer(name: str, options: argparse.Namespace) -> Scorer:
    """Return what fits a detector of scikit-learn, or one of PyOD by its defaults, and scores."""
    if name in SCIKIT_LEARN:
        return of_scikit_learn(name, options.threads, options.recipes)
    kind = getattr(import_module(f"pyod.models.{name.lower()}"), name)

    def scores(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
        fitted, rest = numbers(train, test)
        return kind().fit(fitted).decision_function(rest)

    return scores


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", default=SETS, metavar="SET", help=", ".join(ALL_SETS))
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--cases", type=int, default=5, help="labels, or corruptions, of each set")
    parser.add_argument(
        "--train", type=int, default=5000, help="most rows of corrupted sets to fit"
    )
    parser.add_argument("--test", type=int, default=1000, help="most rows to corrupt")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--statistics", nargs="+", default=STATISTICS, help="of fastar's detector")
    parser.add_argument("--recipes", action="store_true", help="settings in place of defaults")
    parser.add_argument(
        "--peers", nargs="*", help="of PyOD or scikit-learn; all of PyOD if it is installed"
    )
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # some fits end at their limit of epochs
    peers = options.peers
    if peers is None:
        peers = PEERS if util.find_spec("pyod") else SCIKIT_LEARN
    titles = [f"fastar, {statistic.replace('_', ' ')}" for statistic in options.statistics]
    aucs: dict[str, list[float]] = {title: [] for title in [*titles, *peers]}
    seconds = dict.fromkeys(aucs, 0.0)
    for name in options.sets:
        density = (recipe(name) if options.recipes else NADE()).set_params(n_jobs=options.threads)
        scorers = dict(
            zip(titles, (ours(each, density) for each in options.statistics), strict=True)
        )
        scorers |= {each: peer(each, options) for each in peers}
        found: dict[str, list[float]] = {title: [] for title in scorers}
        for train, test, outlier in cases(name, options):
            for title, scorer in scorers.items():
                start = time.perf_counter()
                scores = scorer(train, test)
                seconds[title] += time.perf_counter() - start
                # what a density finds impossible is infinitely far
                found[title].append(float(roc_auc_score(outlier, np.nan_to_num(scores))))
        for title, each in found.items():
            aucs[title].append(float(np.mean(each)))
            print(name, title, f"{aucs[title][-1]:.4f}", file=sys.stderr, flush=True)
    rows = [
        [title, *(f"{auc:.3f}" for auc in each), f"{np.mean(each):.3f}", f"{seconds[title]:.1f}"]
        for title, each in aucs.items()
    ]
    print(table(["ROC-AUC", *options.sets, "mean", "seconds"], rows, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
