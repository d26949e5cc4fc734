"""
Tell one class of a set from all others by a model of that class alone: `python bench/outliers.py`.

Each detector is fitted to the training rows of one label and scores the test rows: ROC-AUC of
telling that label from the others, the mean over some labels, and the seconds of fit and scoring
of all of them. Grey levels are cut at 128, so that all detectors see the same bits. ionosphere has
no labels: its outliers are held-out rows of which every second value comes from another row.
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from machine import cores
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from tables import table

from fastar import MADE, NADE, RNADE, DensityOutlierDetector
from fastar.datasets import load_dataset

SETS = ("alphadigits", "ocr_letters", "mnist", "ionosphere")
N_OUTLIERS = 2000

Case = tuple[np.ndarray, np.ndarray, np.ndarray]


def cases(name: str, folder: str | None, n_labels: int) -> Iterator[Case]:
    """Yield (training rows, test rows, which of them are outliers)."""
    data = load_dataset(name, folder)
    rng = np.random.default_rng(0)
    if name == "ionosphere":
        train, test = np.concatenate([data.train, data.valid]), data.test
        for _ in range(n_labels):
            others = test[
                rng.permuted(np.tile(np.arange(len(test)), (test.shape[1], 1)), axis=1).T,
                np.arange(test.shape[1]),
            ]
            mutants = np.where(rng.random(test.shape) < 0.5, others, test)
            yield train, np.concatenate([test, mutants]), np.repeat([False, True], len(test))
        return
    train, test = (
        (rows > (127 if data.kind == "grey" else 0)).astype(np.uint8)
        for rows in (np.concatenate([data.train, data.valid]), data.test)
    )
    train_labels = np.concatenate([data.labels["train"], data.labels["valid"]])
    labels = np.unique(train_labels)
    for label in labels[:: max(1, len(labels) // n_labels)][:n_labels]:
        inside = np.flatnonzero(data.labels["test"] == label)
        outside = rng.permutation(np.flatnonzero(data.labels["test"] != label))[:N_OUTLIERS]
        rows = np.concatenate([inside, outside])
        yield train[train_labels == label], test[rows], np.arange(len(rows)) >= len(inside)


def detectors(name: str, threads: int) -> dict[str, Any]:
    """Return the contestants, not yet fitted."""
    if name == "ionosphere":
        density: Any = RNADE(
            n_hidden=50, n_components=5, learning_rate_init=0.005, random_state=0, n_jobs=threads
        )
    elif name == "alphadigits":  # some thirty rows a label
        density = NADE(n_hidden=50, alpha=0.3, random_state=0, n_jobs=threads, max_iter=300)
    else:
        density = NADE(
            n_hidden=100,
            alpha=0.05,
            learning_rate_init=0.003,
            max_iter=100,
            random_state=0,
            n_jobs=threads,
        )
    made = MADE(
        hidden_layer_sizes=(200,),
        n_masks=8,
        order_agnostic=True,
        alpha=0.05,
        max_iter=60,
        random_state=0,
        n_jobs=threads,
    )
    fastar = {
        f"{type(density).__name__}, {statistic.replace('_', ' ')}": DensityOutlierDetector(
            density, statistic=statistic, random_state=0
        )
        for statistic in ("likelihood", "likelihood_ratio", "typicality")
    }
    if name not in ("ionosphere", "alphadigits"):
        fastar["MADE of 8 orders, likelihood"] = DensityOutlierDetector(
            made, statistic="likelihood", random_state=0
        )
    shape = "diag" if name == "mnist" else "full"  # full ones of 784 columns take minutes
    return fastar | {
        "IsolationForest": IsolationForest(random_state=0, n_jobs=threads),
        "LocalOutlierFactor": LocalOutlierFactor(novelty=True, n_jobs=threads),
        "OneClassSVM": OneClassSVM(),
        f"GaussianMixture, 5 {shape}": GaussianMixture(
            5, covariance_type=shape, reg_covar=1e-2, random_state=0
        ),
    }


def compare(name: str, options: argparse.Namespace) -> list[list[str]]:
    """Return a row for each detector."""
    rows = []
    for title, detector in detectors(name, options.threads).items():
        aucs, seconds = [], 0.0
        is_peer = not isinstance(detector, DensityOutlierDetector)
        scaled = name == "ionosphere" and is_peer
        model = make_pipeline(StandardScaler(), detector) if scaled else detector
        for train, test, outlier in cases(name, options.data, options.labels):
            if is_peer:
                # scikit-learn's GaussianMixture scores bytes in arithmetic of bytes, which is wrong
                train, test = train.astype(np.float64), test.astype(np.float64)
            start = time.perf_counter()
            scores = model.fit(train).score_samples(test)
            seconds += time.perf_counter() - start
            aucs.append(roc_auc_score(outlier, -scores))
        rows.append(
            [f"{name}: {title}", f"{np.mean(aucs):.3f}", f"{np.min(aucs):.3f}", f"{seconds:.1f}"]
        )
    return rows


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", default=SETS, metavar="SET", help=", ".join(SETS))
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--labels", type=int, default=5, help="labels of each set")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # some fits end at their limit of epochs
    rows = [row for name in options.sets for row in compare(name, options)]
    heads = ["", f"ROC-AUC, mean of {options.labels}", "least", "seconds"]
    print(table(heads, rows, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
