"""
Compare generators of rows by their defaults: `python bench/mixed_tables.py SET --peers`.

Each is fitted to the same training rows and draws as many samples, in a process of its own that may
take so many CPU seconds and so much memory; one that takes more has a row that says so and how far
it came, and one that is not installed has none. Rows are told on stderr as soon as they are known.
Printed are, beside what the training rows themselves get:

- the ROC-AUC of a boosted classifier that tells samples from held-out rows (0.5: it cannot), by
  scikit-learn and, if it is installed, by XGBoost,
- the mean total-variation distance of pairs of columns to those of held-out rows, of the categories
  or five bins at the quantiles of the training rows, a missing cell being a category,
- the ROC-AUC on held-out rows of a boosted classifier of one column, fitted to samples,
- the share of samples whose nearest row is one of the training rows, not one of as many held-out
  rows (0.5: nothing is copied),
- the CPU seconds of fit and sampling, and the peak of the process's memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib import util
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from machine import cpu_seconds, peak_memory
from mixed_tables import Binning, boosted_trees, for_trees, frame, like, telling_apart
from peers.generators import GENERATORS, is_nominal
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from tables import table

from fastar.datasets import load_dataset

TARGETS = {"adult_mixed": "income-per-year", "diamonds": "price"}
"""The column that a classifier predicts; of numbers whether they are above their median."""

N_PAIR_BINS = 5
N_NEAREST = 2000
"""Rows of each kind that the nearest one is looked for among."""


def run(
    name: str, train: pd.DataFrame, options: argparse.Namespace
) -> tuple[pd.DataFrame | None, list[str]]:
    """Return samples of a generator, if it gets so far, and seconds and memory, or why not."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        train.to_pickle(folder / "train.pkl")
        script = Path(__file__).parent / "peers" / "generators.py"
        arguments = [name, place, len(train), options.seed, options.threads]
        # Warnings would hide what was said last.
        python = [sys.executable, "-P", "-u", "-W", "ignore"]
        with (folder / "log").open("w") as log:
            child = subprocess.Popen(
                [*python, str(script), *map(str, arguments)],
                stdout=log,
                stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": str(options.threads)},
            )
            memory, why = _wait(child, options)
        if why is None and child.returncode:
            why = f"ended with {child.returncode}"
        if why is not None:
            return None, [f"{why}: {_last_words(folder / 'log')}", "", f"{memory:.0f}"]
        seconds = json.loads((folder / "seconds.json").read_text())
        drawn = like(pd.read_pickle(folder / "drawn.pkl").reset_index(drop=True), train)
        return drawn, [f"{seconds['fit']:.1f}", f"{seconds['sample']:.2f}", f"{memory:.0f}"]


def _wait(child: subprocess.Popen, options: argparse.Namespace) -> tuple[float, str | None]:
    """Wait for a process; return its peak of memory in megabytes, and why it was stopped."""
    memory = 0.0
    while child.poll() is None:
        time.sleep(0.1)
        memory = max(memory, peak_memory(child.pid))
        why = None
        if cpu_seconds(child.pid) > options.max_seconds:
            why = f"did not finish in {options.max_seconds:g} CPU s"
        elif memory > options.max_memory:
            why = f"took more than {options.max_memory:g} MB"
        if why is not None:
            child.kill()
            child.wait()
            return memory, why
    return memory, None


def _last_words(log: Path) -> str:
    """Return the last line of a log, which says how far a fit came or what was wrong."""
    lines = log.read_text(errors="replace").splitlines()  # bars of progress return to the start
    last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing was said")
    return last.replace("|", " ")[:80]


def pair_distance(some: pd.DataFrame, others: pd.DataFrame, train: pd.DataFrame) -> float:
    """Return the mean distance of two tables over all pairs of columns."""
    found = []
    binned = [Binning(train[name], N_PAIR_BINS) for name in train]
    codes = [
        [each.places(rows[name]) for each, name in zip(binned, train, strict=True)]
        for rows in (some, others)
    ]
    for i, j in combinations(range(len(binned)), 2):
        n = binned[i].n_places, binned[j].n_places
        shares = []
        for own in codes:
            counts = np.bincount(own[i] * n[1] + own[j], minlength=n[0] * n[1])
            shares.append(counts / counts.sum())
        found.append(0.5 * np.abs(shares[0] - shares[1]).sum())
    return float(np.mean(found))


def xgboost_trees(seed: int) -> Any:
    """Return the classifier of XGBoost by its defaults."""
    from xgboost import XGBClassifier

    return XGBClassifier(enable_categorical=True, random_state=seed)


def classified(drawn: pd.DataFrame, held_out: pd.DataFrame, target: str, middle: float) -> float:
    """Return the ROC-AUC of a classifier of the target, fitted to samples, on held-out rows."""

    def labels(rows: pd.DataFrame) -> np.ndarray:
        column = rows[target]
        return np.asarray(column) if column.dtype == bool else np.asarray(column > middle, bool)

    y = labels(drawn)
    if len(np.unique(y)) < 2:
        return float("nan")
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
    model.fit(for_trees(drawn.drop(columns=target)), y)
    p = model.predict_proba(for_trees(held_out.drop(columns=target)))[:, 1]
    return float(roc_auc_score(labels(held_out), p))


def copied(drawn: pd.DataFrame, train: pd.DataFrame, held_out: pd.DataFrame) -> float:
    """Return the share of samples that are nearer to a training row than to a held-out one."""
    rng = np.random.default_rng(0)
    n = min(N_NEAREST, len(held_out), len(train), len(drawn))
    parts = [rows.iloc[rng.permutation(len(rows))[:n]] for rows in (drawn, train, held_out)]
    wide = []
    for name in train:
        columns = [part[name] for part in parts]
        if is_nominal(train[name]):
            known = pd.get_dummies(pd.concat(columns).astype(str)).to_numpy(float) / np.sqrt(2)
            wide.append(known)
            continue
        values = np.sort(train[name].dropna().to_numpy(float))
        ranks = np.searchsorted(values, pd.concat(columns).fillna(values[0]).to_numpy(float))
        wide.append(ranks[:, None] / len(values))
    rows = np.split(np.hstack(wide), 3)
    nearest = [
        NearestNeighbors(n_neighbors=1).fit(own).kneighbors(rows[0])[0][:, 0] for own in rows[1:]
    ]
    return float((nearest[0] < nearest[1]).mean() + 0.5 * (nearest[0] == nearest[1]).mean())


def compare(options: argparse.Namespace) -> None:
    """Print the table of a set."""
    data = load_dataset(options.set_name, options.data)
    whole = frame(data, np.concatenate([data.train, data.test]))
    n, target = len(data.train), TARGETS[options.set_name]
    rng = np.random.default_rng(options.seed)
    rows = rng.permutation(n)[: options.train]
    train, held_out = whole.iloc[rows].reset_index(drop=True), whole.iloc[n:].reset_index(drop=True)
    middle = 0.0 if train[target].dtype == bool else float(train[target].median())
    judges = {"boosted trees": boosted_trees}
    if util.find_spec("xgboost"):
        judges["XGBoost"] = xgboost_trees
    found = []
    for title in ("training rows", *GENERATORS):
        module = GENERATORS[title][0] if title in GENERATORS else "pandas"
        if options.only and not any(word in title for word in options.only):
            continue
        if util.find_spec(module.partition(".")[0]) is None:
            print(f"{title}: {module} is not installed", file=sys.stderr, flush=True)
            continue
        drawn, costs = (train, ["", "", ""])
        if title in GENERATORS:
            drawn, costs = run(title, train, options)
        judged = [""] * (len(judges) + 3)
        if drawn is not None:
            aucs = [
                telling_apart(drawn, held_out, options.seed, judge)[0] for judge in judges.values()
            ]
            distance = pair_distance(drawn, held_out, train)
            values = (distance, classified(drawn, held_out, target, middle))
            judged = [f"{each:.4f}" for each in (*aucs, *values, copied(drawn, train, held_out))]
        found.append([title, *judged, *costs])
        print("|", " | ".join(found[-1]), "|", file=sys.stderr, flush=True)
    heads = [
        f"{options.set_name}, {len(train)} rows",
        *(f"told from held-out rows by {name}, ROC-AUC" for name in judges),
        "pairs of columns, distance",
        f"{target} by samples, ROC-AUC",
        "nearer to training",
        "fit, CPU s",
        "sampling, CPU s",
        "peak, MB",
    ]
    print(table(heads, found, options.markdown))
