"""
What evidence and repairs cost beside scores and samples: `python bench/evidence.py`.

A NADE of 500 units on bits: completions of 10,000 rows of 100 columns with a tenth of the cells
missing, by 16 particles a row, beside scores of as many rows; samples of which the first half of
the columns is held beside whole ones; and one-pass repairs beside samples, for several
conditionals.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from machine import cores
from tables import table

from fastar import NADE, RNADE


def best(function: Callable[[], Any], times: int = 5) -> float:
    """Return the seconds of the quickest call."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return min(found)


def line(title: str, own: float, other: float, bar: str) -> list[str]:
    """Return a row of the table."""
    return [title, f"{1e3 * own:.1f}", f"{1e3 * other:.1f}", f"{own / other:.2f}x", bar]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # one epoch is no convergence
    rng, common = np.random.default_rng(0), {"max_iter": 1, "random_state": 0}
    common |= {"n_jobs": options.threads, "early_stopping": False}
    bits = (rng.random((10_000, 100)) < 0.3).astype(np.uint8)
    model = NADE(n_hidden=500, **common).fit(bits)
    gaps = np.where(rng.random(bits.shape) < 0.1, np.nan, bits)
    rows = [
        line(
            "impute / score_samples",
            best(lambda: model.impute(gaps, random_state=0)),
            best(lambda: model.score_samples(bits)),
            "12x",
        )
    ]
    whole = best(lambda: model.sample(10_000, random_state=0))
    half = np.where(np.arange(100) < 50, bits[0], np.nan)
    held = best(lambda: model.sample(10_000, evidence=half, random_state=0))
    rows.append(line("sample, first half held / all drawn", held, whole, ""))
    real = rng.normal(size=(1000, 63))
    cases = {
        "bits": (NADE(n_hidden=500, **common), bits[:2000], 1),
        "16 levels": (NADE(n_hidden=500, **common), rng.integers(0, 16, (1000, 100)), 2),
        "Gaussian": (NADE(n_hidden=500, distribution="gaussian", **common), real, 0.5),
        "20 Gaussians": (RNADE(n_hidden=512, n_components=20, **common), real, 0.5),
    }
    for title, (density, X, epsilon) in cases.items():
        density.fit(X)
        repair = best(lambda d=density, X=X, e=epsilon: d.purify(X, e))
        drawn = best(lambda d=density, X=X: d.sample(len(X), random_state=0))
        rows.append(line(f"purify / sample, {title}", repair, drawn, "2x"))
    print(table(["", "ms", "of ms", "ratio", "at most"], rows, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
