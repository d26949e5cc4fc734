"""
Classify by Bayes' rule, with pixels missing too: `python bench/classification.py`.

Accuracy of each classifier on the test rows, with no pixel missing and with a quarter, half and
three quarters of them missing at random. A generative classifier sums over what is missing; before
the others stands an imputer, of means or of nearest neighbours. HistGradientBoostingClassifier has
a place for missing values of its own, but saw none in training. Rows are bits: grey levels of the
digits are cut in the middle.
"""

import argparse
import os
import sys
import time
import warnings
from typing import Any

import numpy as np
from machine import cores
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from tables import table

from fastar import NADE, GenerativeClassifier
from fastar.datasets import load_dataset

SETS = ("digits", "ocr_letters")
MISSING = (0.0, 0.25, 0.5, 0.75)
N_TEST_MISSING = 1000


def split(name: str, folder: str | None) -> tuple[np.ndarray, ...]:
    """Return training rows and labels, test rows and labels."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        rows = np.random.default_rng(0).permutation(len(X))
        X, y = (X[rows] > 7).astype(np.uint8), y[rows]
        return X[:1300], y[:1300], X[1300:], y[1300:]
    data = load_dataset(name, folder)
    return data.train, data.labels["train"], data.test, data.labels["test"]


def contestants(name: str, threads: int) -> dict[str, Any]:
    """Return the classifiers, not yet fitted."""
    small = name == "digits"
    own = NADE(
        n_hidden=50 if small else 150, alpha=0.1 if small else 0.02, max_iter=200, random_state=0,
        n_jobs=threads,
    )  # fmt: skip
    shared = NADE(
        n_hidden=200 if small else 300, max_iter=300 if small else 60, learning_rate_init=0.002,
        learning_rate="linear", random_state=0, n_jobs=threads,
    )  # fmt: skip
    settings: dict[str, Any] = {"random_state": 0, "n_particles": 32}
    mlp = MLPClassifier((300,), early_stopping=not small, max_iter=400, random_state=0)
    found = {
        "GenerativeClassifier, a NADE a class": GenerativeClassifier(own, **settings),
        "GenerativeClassifier, one for all": GenerativeClassifier(shared, shared=True, **settings),
        "LogisticRegression, means": make_pipeline(
            SimpleImputer(), LogisticRegression(max_iter=1000)
        ),
        "MLPClassifier, means": make_pipeline(SimpleImputer(), mlp),
        "HistGradientBoostingClassifier": HistGradientBoostingClassifier(random_state=0),
    }
    if small:
        found["MLPClassifier, neighbours"] = make_pipeline(KNNImputer(), mlp)
    return found


def main() -> int:
    """Print the table of each set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", default=SETS, metavar="SET", help=", ".join(SETS))
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # some fits end at their limit of epochs
    rows = []
    for name in options.sets:
        X, y, X_test, y_test = split(name, options.data)
        for title, model in contestants(name, options.threads).items():
            start = time.perf_counter()
            model.fit(X, y)
            fitted = time.perf_counter()
            scores = []
            for share in MISSING:
                test = X_test.astype(float)
                test[np.random.default_rng(1).random(test.shape) < share] = np.nan
                n = N_TEST_MISSING if share else len(test)
                scores.append(f"{model.score((test if share else X_test)[:n], y_test[:n]):.3f}")
            judged = time.perf_counter()
            seconds = [f"{fitted - start:.1f}", f"{judged - fitted:.1f}"]
            rows.append([f"{name}: {title}", *scores, *seconds])
            print(*rows[-1], file=sys.stderr, flush=True)
    heads = ["", "all pixels", *(f"{share:.0%} missing" for share in MISSING[1:]), "fit, s",
             "predict, s"]  # fmt: skip
    print(table(heads, rows, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
