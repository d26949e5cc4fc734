"""
NADE: one hidden layer of sigmoid units that serves all features.

PyTorch's compiled formulations (a cumulative sum, blocks of features) were slower than its loops on
every operation and are not timed; peers/torch_nade.py has their figures.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from . import PASSES, Case, Entry, copied, fit_reference

__all__ = ["PEERS", "TARGETS", "build", "estimator", "make_cases", "work"]

PEERS = {
    "torch eager loop": Entry("torch_nade", "TorchLoop", "plain"),
    "jax jit scan": Entry("jax_nade", "JaxScan", "plain"),
    "torch eager loop, manual backward": Entry("torch_nade", "TorchManualLoop", "expert"),
    "torch eager segments": Entry("torch_nade", "TorchSegments", "expert"),
    "jax sharded scan, manual backward": Entry("jax_nade", "JaxShardedScan", "expert"),
}

#: The kinds are how many ones the rows have.
TARGETS = {
    "sparse": {"score": 20, "gradient": 40, "sample": 10},
    "dense": {"gradient": 12},
}


def make_cases(options: argparse.Namespace) -> list[Case]:
    """Return a case for each data set."""
    rng = np.random.default_rng(0)
    n_train = 1000 if options.quick else 5000
    shape = (max(n_train, options.rows), 784)
    sets = []
    if options.data:
        from fastar.datasets import load_dataset

        train = load_dataset("binarized_mnist", options.data).train
        sets.append(("sparse", "binarized_mnist", train[: shape[0]]))
    for kind, name, share in (("sparse", "independent", 0.13), ("dense", "independent", 0.5)):
        sets.append((kind, name, (rng.random(shape, np.float32) < share).astype(np.uint8)))
    (n_hidden,) = options.hidden or (500,)
    settings = {"n_hidden": n_hidden, "activation": "sigmoid"}
    cases = []
    for kind, name, train in sets:
        model = fit_reference(estimator(settings, options.threads), train)
        rows = np.ascontiguousarray(train[: options.rows])
        case = Case(
            family="nade",
            kind=kind,
            name=f"{name}, {rows.mean():.0%} ones",
            sizes=f"H = {n_hidden}",
            settings=settings,
            rows=rows,
            params=copied(model.params_),
            uniforms=rng.random((options.samples, shape[1]), np.float32),
        )
        cases.append(case)
    return cases


def estimator(settings: dict[str, Any], threads: int) -> Any:
    """Return the model of a case."""
    from fastar import NADE

    return NADE(**settings, random_state=0, n_jobs=threads)


def build(peer: type, case: Case, threads: int) -> Any:
    """Return a peer's object."""
    return peer(case.params, case.settings["activation"], threads)


def work(case: Case, operation: str, rows: np.ndarray) -> dict[str, float]:
    """Count what an operation cannot do without, in a run-aware scheme."""
    n, D = rows.shape
    H = case.params["c"].size
    changes = int(np.count_nonzero(rows[:, :-1]))
    adds = n * (D - 1) * H + changes * H
    n_params = sum(value.size for value in case.params.values())
    return {
        "adds": adds * (3 if operation in ("gradient", "train") else 1),
        "activations": (n + changes) * H,
        "bytes": 4 * n_params * PASSES[operation],
    }
