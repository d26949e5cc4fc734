"""
Masked networks: MADE with hidden layers of rectified units, FVSBN without any.

Public implementations multiply weights by masks in every forward pass; other peers do so once after
each step of the optimizer. The plain ones sample as public implementations do, by a full pass for
each feature. The experts keep the sums of the first hidden layer from feature to feature and
compute one output for each.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from . import PASSES, Case, Entry, copied, fit_reference

__all__ = ["PEERS", "TARGETS", "build", "estimator", "make_cases", "work"]

PEERS = {
    "torch eager, masks in forward": Entry("torch_masked", "TorchMasked", "plain"),
    "torch eager, masks after steps": Entry("torch_masked", "TorchMaskedSteps", "plain"),
    "torch compiled, masks in forward": Entry("torch_masked", "TorchCompiled", "plain"),
    "torch compiled, masks after steps": Entry("torch_masked", "TorchCompiledSteps", "plain"),
    "jax jit, masks in forward": Entry("jax_masked", "JaxMasked", "plain"),
    "jax jit, masks after steps": Entry("jax_masked", "JaxMaskedSteps", "plain"),
    "torch eager, manual backward, kept sums": Entry("torch_masked", "TorchManual", "expert"),
    "jax jit, kept sums": Entry("jax_masked", "JaxKeptSums", "expert", ("sample",)),
}

#: The kinds are the sizes of the hidden layers.
TARGETS = {
    "500": {"score": 2, "train": 2.5, "sample": 300},
    "1000,1000": {"score": 2, "train": 2},
    "8000": {"score": 2, "train": 2.5, "sample": 1000},
    "": {"train": 3},
}

#: Samples that are drawn from a peer in full to see whether it agrees; fewer, as they take minutes,
#: where there are more weights than this.
CHECKED, CHECKED_OF_MANY, MANY_WEIGHTS = 100, 20, 5e6


def make_cases(options: argparse.Namespace) -> list[Case]:
    """Return a case for each model and size."""
    rng = np.random.default_rng(0)
    n_train = max(1000 if options.quick else 5000, options.rows)
    if options.data:
        from fastar.datasets import load_dataset

        name = "binarized_mnist"
        train = load_dataset(name, options.data).train[:n_train]
    else:
        name = "independent"
        train = (rng.random((n_train, 784), np.float32) < 0.13).astype(np.uint8)
    rows = np.ascontiguousarray(train[: options.rows])
    uniforms = rng.random((options.samples, train.shape[1]), np.float32)
    sizes: list[tuple[int, ...]] = []
    if options.model in ("made", "all"):
        sizes += [options.hidden] if options.hidden else [(500,), (1000, 1000), (8000,)]
    if options.model in ("fvsbn", "all"):
        sizes.append(())
    cases = []
    for each in sizes:
        settings = {"hidden_layer_sizes": each, "activation": "relu"}
        model = fit_reference(estimator(settings, options.threads), train)
        params = copied(model.params_)
        masks = copied(model.masks_) if each else {"L": np.tri(784, k=-1, dtype=bool)[:, None]}
        many = sum(mask.size for mask in masks.values()) > MANY_WEIGHTS
        case = Case(
            family="masked",
            kind=",".join(map(str, each)),
            name=f"{'MADE' if each else 'FVSBN'}, {name}, {rows.mean():.0%} ones",
            sizes=f"H = {' x '.join(map(str, each))}" if each else "no hidden layer",
            settings=settings,
            rows=rows,
            params=params,
            uniforms=uniforms,
            masks=masks,
            n_checked=min(len(uniforms), CHECKED_OF_MANY if many else CHECKED),
            by_passes=True,
        )
        cases.append(case)
    return cases


def estimator(settings: dict[str, Any], threads: int) -> Any:
    """Return the model of a case."""
    from fastar import FVSBN, MADE

    if not settings["hidden_layer_sizes"]:
        return FVSBN(random_state=0, n_jobs=threads)
    return MADE(**settings, direct_connections=False, random_state=0, n_jobs=threads)


def build(peer: type, case: Case, threads: int) -> Any:
    """Return a peer's object."""
    return peer(case.params, case.masks, case.settings["activation"], None, threads)


def work(case: Case, operation: str, rows: np.ndarray) -> dict[str, float]:
    """
    Count what an operation cannot do without: weights that no mask hides, and inputs that are one.

    A gradient needs each weight three times, for the sums, for its own gradient and for that by the
    layer before it, but there is no gradient by the inputs.
    """
    n, D = rows.shape
    weights = [case.masks[key] for key in sorted(case.masks)]
    first = int(rows.sum(axis=0, dtype=np.int64) @ _reached(weights[0], "L" in case.masks))
    others = n * sum(int(mask.sum()) for mask in weights[1:])
    trains = operation in ("gradient", "train")
    n_params = sum(int(mask.sum()) for mask in weights)
    n_params += sum(value.size for key, value in case.params.items() if key[0] in "bc")
    return {
        "adds": (2 * first + 3 * others) if trains else first + others,
        # Rectified units need no exponential, the probability of each output does.
        "activations": n * D,
        "bytes": 4 * n_params * PASSES[operation],
    }


def _reached(mask: np.ndarray, by_output: bool) -> np.ndarray:
    """Count the units that each input reaches."""
    return mask.sum(axis=(0, 1)) if by_output else mask.sum(axis=1)
