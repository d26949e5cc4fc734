"""
Masked networks with mixtures of Gaussians: MADE with a hidden layer of rectified units.

Peers mask weights in every forward pass, or once after each step of the optimizer, and sample by a
full pass for each feature.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from . import PASSES, Case, Entry, copied, fit_reference
from .wide import N_COMPONENTS, VARIANCE_FLOOR, correlated_rows, mixture_noise, random_params

__all__ = [
    "PEERS",
    "TARGETS",
    "build",
    "estimator",
    "make_cases",
    "reference",
    "stand_ins",
    "work",
]

PEERS = {
    "torch eager, masks in forward": Entry("torch_mixtures", "TorchMixture", "plain"),
    "torch eager, masks after steps": Entry("torch_mixtures", "TorchMixtureSteps", "plain"),
    "torch compiled, masks in forward": Entry(
        "torch_mixtures", "TorchMixtureCompiled", "plain", ("score", "gradient", "train")
    ),
    "torch compiled, masks after steps": Entry(
        "torch_mixtures", "TorchMixtureCompiledSteps", "plain", ("score", "gradient", "train")
    ),
    "jax jit, masks in forward": Entry("jax_mixtures", "JaxMixture", "plain"),
    "jax jit, masks after steps": Entry("jax_mixtures", "JaxMixtureSteps", "plain"),
}

#: The kinds are "hidden", and "direct" for direct connections beside them.
TARGETS: dict[str, dict[str, float]] = {}

N_FEATURES = 63
HIDDEN = (512,)

#: Samples that are drawn from a peer in full to see whether it agrees.
CHECKED = 200


def make_cases(options: argparse.Namespace) -> list[Case]:
    """Return a case without direct connections and one with them."""
    n_train = max(1000 if options.quick else 5000, options.rows)
    train = correlated_rows(n_train, N_FEATURES, options.rows)
    cases = []
    for direct in (False, True):
        model = fit_reference(estimator(_settings(direct, options), options.threads), train)
        params, masks = copied(model.params_), copied(model.masks_)
        cases.append(_case(direct, options, train[: options.rows], params, masks))
    return cases


def stand_ins(options: argparse.Namespace) -> list[Case]:
    """Return the same cases with random parameters, for which no model is fitted."""
    rows = correlated_rows(options.rows, N_FEATURES, options.rows)
    D, P = N_FEATURES, 3 * N_COMPONENTS
    hidden = options.hidden or HIDDEN
    degrees = [np.maximum(1, -(-np.arange(1, H + 1) * (D - 1) // H)) for H in hidden]
    edges = [np.arange(1, D + 1), *degrees]
    cases = []
    for direct in (False, True):
        shapes: dict[str, tuple[int, ...]] = {}
        masks = {}
        for i, H in enumerate(hidden):
            shapes |= {f"W{i}": (len(edges[i]), H), f"c{i}": (H,)}
            masks[f"W{i}"] = edges[i][:, None] <= edges[i + 1]
        last = f"W{len(hidden)}"
        shapes |= {last: (hidden[-1], D, P), "b": (D, P)}
        masks[last] = (edges[-1][:, None] < edges[0])[:, :, None]
        if direct:
            shapes["L"] = (D, P, D)
            masks["L"] = np.tri(D, k=-1, dtype=bool)[:, None]
        params = random_params(shapes, 1 / np.sqrt(max(hidden)))
        params |= {key: params[key] * mask for key, mask in masks.items()}
        cases.append(_case(direct, options, rows, params, masks))
    return cases


def _settings(direct: bool, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "hidden_layer_sizes": options.hidden or HIDDEN,
        "activation": "relu",
        "direct_connections": direct,
    }


def _case(
    direct: bool,
    options: argparse.Namespace,
    rows: np.ndarray,
    params: dict[str, np.ndarray],
    masks: dict[str, np.ndarray],
) -> Case:
    settings = _settings(direct, options)
    H = " x ".join(map(str, settings["hidden_layer_sizes"]))
    return Case(
        family="mixtures",
        kind="direct" if direct else "hidden",
        name=f"MADE, mixtures of Gaussians, {'with' if direct else 'no'} direct connections",
        sizes=f"H = {H}, {N_COMPONENTS} components",
        settings=settings,
        rows=np.ascontiguousarray(rows),
        params=params,
        uniforms=mixture_noise(np.random.default_rng(2), options.samples, rows.shape[1]),
        masks=masks,
        n_checked=min(options.samples, CHECKED),
        by_passes=True,
    )


def estimator(settings: dict[str, Any], threads: int) -> Any:
    """Return the model of a case."""
    from fastar import MADE
    from fastar.conditionals import GaussianMixture

    mixture = GaussianMixture(n_components=N_COMPONENTS, variance_floor=VARIANCE_FLOOR)
    return MADE(**settings, distribution=mixture, random_state=0, n_jobs=threads)


def build(peer: type, case: Case, threads: int) -> Any:
    """Return a peer's object."""
    return peer(case.params, case.masks, case.settings["activation"], VARIANCE_FLOOR, threads)


def reference(case: Case, rows: np.ndarray) -> np.ndarray:
    """Return log-likelihoods of rows (n, D) in float64."""
    from peers.reference import mixture_made

    return mixture_made(case.params, rows, VARIANCE_FLOOR)


def work(case: Case, operation: str, rows: np.ndarray) -> dict[str, float]:
    """
    Count what an operation cannot do without: weights that no mask hides.

    A gradient needs each weight three times, for the sums, for its own gradient and for that by the
    layer before it, but there is no gradient by the inputs. A component takes three exponentials.
    """
    n, D = rows.shape
    shown = {
        key: int(np.broadcast_to(mask, case.params[key].shape).sum())
        for key, mask in case.masks.items()
    }
    inputs = sum(count for key, count in shown.items() if key in ("W0", "L"))
    others = sum(shown.values()) - inputs
    trains = operation in ("gradient", "train")
    n_params = inputs + others
    n_params += sum(value.size for key, value in case.params.items() if key[0] in "bc")
    return {
        "adds": n * ((2 * inputs + 3 * others) if trains else inputs + others),
        "activations": n * D * case.params["b"].shape[1],
        "bytes": 4 * n_params * PASSES[operation],
    }
