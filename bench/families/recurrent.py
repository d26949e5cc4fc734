"""
Recurrent networks over sequences of 256 levels: tanh, GRU and LSTM.

Sequences have 784 steps, or lengths spread evenly from 1 to 784, and peers pad them. Each peer is
taken in the formulations that are fastest for one cell or the other.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from . import PASSES, Case, Entry, copied, fit_reference

__all__ = ["PEERS", "TARGETS", "build", "estimator", "make_cases", "work"]

_TRAINS = ("score", "gradient", "train")

PEERS = {
    "torch eager, padded": Entry("torch_recurrent", "TorchRecurrent", "plain"),
    "torch eager, packed": Entry("torch_recurrent", "TorchRecurrentPacked", "plain", _TRAINS),
    "jax jit, gathered before scan": Entry("jax_recurrent", "JaxRecurrent", "plain"),
    "jax jit, gathered in scan": Entry("jax_recurrent", "JaxRecurrentSteps", "plain", _TRAINS),
}

#: The kinds are a cell and how long its sequences are.
TARGETS = {
    "tanh equal": {"score": 1.5, "gradient": 1.5, "sample": 4},
    "gru equal": {"score": 1.5, "gradient": 1.5, "sample": 4},
    "lstm equal": {"score": 1.5, "gradient": 1.3, "sample": 4},
    "tanh spread": {"gradient": 2.5},
    "gru spread": {"gradient": 2.5},
    "lstm spread": {"gradient": 2.5},
}

N_STEPS, N_LEVELS, N_HIDDEN = 784, 256, 256

#: Gates of each cell, and its exponentials for each unit.
GATES = {"tanh": 1, "gru": 3, "lstm": 4}
EXPONENTIALS = {"tanh": 1, "gru": 3, "lstm": 5}


def make_cases(options: argparse.Namespace) -> list[Case]:
    """Return a case for each cell and kind of lengths."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, N_LEVELS, (options.rows, N_STEPS), np.uint8)
    # Levels are what `fit` sees: it sees all of them.
    rows[-1, :N_LEVELS] = np.arange(N_LEVELS)
    lengths = np.linspace(1, N_STEPS, len(rows)).astype(int)
    spread = [row[:length] for row, length in zip(rows, lengths, strict=True)]
    (n_hidden,) = options.hidden or (N_HIDDEN,)
    cases = []
    for cell in GATES:
        for kind, data in (("equal", rows), ("spread", spread)):
            settings = {"cell": cell, "n_hidden": n_hidden}
            model = fit_reference(estimator(settings, options.threads), data)
            case = Case(
                family="recurrent",
                kind=f"{cell} {kind}",
                name=f"{cell}, {'lengths 1 to' if kind == 'spread' else 'lengths'} {N_STEPS}",
                sizes=f"H = {n_hidden}, {N_LEVELS} levels",
                settings=settings,
                rows=data,
                params=copied(model.params_),
                uniforms=rng.random((options.samples, N_STEPS), np.float32),
                # Ten roundings of a sum of 4300 nats in single precision.
                nats=5e-3,
            )
            cases.append(case)
    return cases


def estimator(settings: dict[str, Any], threads: int) -> Any:
    """Return the model of a case."""
    from fastar import GenerativeRNN

    return GenerativeRNN(
        **settings, distribution="categorical", end_symbol=False, random_state=0, n_jobs=threads
    )


def build(peer: type, case: Case, threads: int) -> Any:
    """Return a peer's object."""
    return peer(case.params, case.settings["cell"], threads)


def work(case: Case, operation: str, rows: Any) -> dict[str, float]:
    """
    Count what an operation cannot do without.

    A level enters by an addition for each unit; a gradient needs each product three times.
    """
    cell, (H, _, K) = case.settings["cell"], case.params["V"].shape
    n_steps = sum(len(row) for row in rows)
    trains = operation in ("gradient", "train")
    return {
        "adds": n_steps * H * (GATES[cell] * H + K) * (3 if trains else 1),
        "activations": n_steps * (EXPONENTIALS[cell] * H + K),
        "bytes": 4 * sum(value.size for value in case.params.values()) * PASSES[operation],
    }
