"""
NADE with several outputs a feature: RNADE with mixtures of Gaussians, and categorical NADE.

The outputs of a feature are a matrix product; peers compute them feature by feature or all in one
batch, after the pre-activations of all features. Random numbers to sample mixtures from are ready
as one uniform number and one standard normal for each value.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from . import PASSES, Case, Entry, copied, fit_reference

__all__ = [
    "PEERS",
    "TARGETS",
    "build",
    "correlated_rows",
    "estimator",
    "make_cases",
    "mixture_noise",
    "reference",
    "stand_ins",
    "work",
]

_TRAINS = ("score", "gradient", "train")

PEERS = {
    "torch eager loop": Entry("torch_wide", "TorchWideLoop", "plain"),
    "torch eager, one batched product": Entry("torch_wide", "TorchWideStates", "plain", _TRAINS),
    "torch compiled, batched products": Entry("torch_wide", "TorchWideCompiled", "plain", _TRAINS),
    "jax jit scan": Entry("jax_wide", "JaxWideScan", "plain"),
    "jax sharded scan": Entry("jax_wide", "JaxWideShardedScan", "expert"),
}

#: The kinds are the choices of `compare.py --model`.
TARGETS: dict[str, dict[str, float]] = {}

VARIANCE_FLOOR = 1e-6
N_COMPONENTS = 20
N_LEVELS = 16

#: Features and hidden units.
SIZES = {"rnade": (63, 512), "nade_categorical": (100, 500)}


def make_cases(options: argparse.Namespace) -> list[Case]:
    """Return a case for each model."""
    cases = []
    for kind in SIZES:
        if options.model in (kind, "all"):
            train = _rows(kind, max(1000 if options.quick else 5000, options.rows), options.rows)
            model = fit_reference(estimator(_settings(kind, options), options.threads), train)
            cases.append(_case(kind, options, train[: options.rows], copied(model.params_)))
    return cases


def stand_ins(options: argparse.Namespace) -> list[Case]:
    """Return the same cases with random parameters, for which no model is fitted."""
    cases = []
    for kind, (D, _) in SIZES.items():
        if options.model in (kind, "all"):
            H = _settings(kind, options)["n_hidden"]
            mixture = kind == "rnade"
            P = 3 * N_COMPONENTS if mixture else N_LEVELS
            shapes = {
                "W": (D - 1, H) if mixture else (D - 1, N_LEVELS, H),
                "V": (D - 1, P, H),
                "c": (H,),
                "b": (D, P),
            }
            params = random_params(shapes, 1 / np.sqrt(H))
            if mixture:
                params["rho"] = (1 / np.sqrt(np.arange(1, D))).astype(np.float32)
            cases.append(_case(kind, options, _rows(kind, options.rows, options.rows), params))
    return cases


def random_params(shapes: dict[str, tuple[int, ...]], scale: float) -> dict[str, np.ndarray]:
    """Return small random numbers of these shapes."""
    rng = np.random.default_rng(1)
    return {key: rng.uniform(-scale, scale, shape).astype("f4") for key, shape in shapes.items()}


def correlated_rows(n: int, D: int, n_scored: int) -> np.ndarray:
    """
    Return rows (n, D) float32, of which the first `n_scored` have means 0 and deviations 1.

    Fastar scales inside by the rows it is given, which are these: that changes nothing then.
    """
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((n, D)) @ rng.standard_normal((D, D))
    scored = rows[:n_scored]
    return ((rows - scored.mean(axis=0)) / scored.std(axis=0)).astype(np.float32)


def mixture_noise(rng: np.random.Generator, n: int, D: int) -> np.ndarray:
    """Return a uniform number and a standard normal for each value, (n, D, 2) float32."""
    uniforms, normals = rng.random((n, D)), rng.standard_normal((n, D))
    return np.stack([uniforms, normals], axis=2).astype(np.float32)


def _rows(kind: str, n: int, n_scored: int) -> np.ndarray:
    D = SIZES[kind][0]
    if kind == "rnade":
        return correlated_rows(n, D, n_scored)
    rows = np.random.default_rng(0).integers(0, N_LEVELS, (n, D), np.uint8)
    # Levels are what `fit` sees: it sees all of them.
    rows[:N_LEVELS] = np.arange(N_LEVELS)[:, None]
    return rows


def _settings(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    H = options.hidden[0] if options.hidden else SIZES[kind][1]
    if kind == "rnade":
        return {"n_hidden": H, "activation": "relu", "n_components": N_COMPONENTS}
    return {"n_hidden": H, "activation": "sigmoid", "distribution": "categorical"}


def _case(
    kind: str, options: argparse.Namespace, rows: np.ndarray, params: dict[str, np.ndarray]
) -> Case:
    rng = np.random.default_rng(2)
    shape = options.samples, rows.shape[1]
    settings = _settings(kind, options)
    mixture = kind == "rnade"
    outputs = f"{N_COMPONENTS} components" if mixture else f"{N_LEVELS} levels"
    return Case(
        family="wide",
        kind=kind,
        name="RNADE, mixtures of Gaussians" if mixture else "NADE, categorical",
        sizes=f"H = {settings['n_hidden']}, {outputs}",
        settings=settings,
        rows=np.ascontiguousarray(rows),
        params=params,
        uniforms=mixture_noise(rng, *shape) if mixture else rng.random(shape, np.float32),
    )


def estimator(settings: dict[str, Any], threads: int) -> Any:
    """Return the model of a case."""
    import fastar

    if "n_components" in settings:
        return fastar.RNADE(**settings, random_state=0, n_jobs=threads)
    # The peers have no level for values that the rows do not show.
    settings = settings | {"distribution": fastar.conditionals.Categorical(unknown="error")}
    return fastar.NADE(**settings, random_state=0, n_jobs=threads)


def build(peer: type, case: Case, threads: int) -> Any:
    """Return a peer's object."""
    floor = VARIANCE_FLOOR if case.kind == "rnade" else None
    return peer(case.params, case.settings["activation"], floor, threads)


def reference(case: Case, rows: np.ndarray) -> np.ndarray:
    """Return log-likelihoods of rows (n, D) in float64."""
    from peers.reference import categorical_nade, mixture_rnade

    if case.kind == "rnade":
        return mixture_rnade(case.params, rows, VARIANCE_FLOOR)
    return categorical_nade(case.params, rows)


def work(case: Case, operation: str, rows: np.ndarray) -> dict[str, float]:
    """
    Count what an operation cannot do without.

    A level enters by an addition for each unit, a number by a multiplication too; a gradient needs
    each product three times. Of exponentials a unit needs one if it is a sigmoid, a level one, a
    component three.
    """
    n, D = rows.shape
    H, P = case.params["c"].size, case.params["b"].shape[1]
    sigmoid = H * (case.settings["activation"] == "sigmoid")
    trains = operation in ("gradient", "train")
    return {
        "adds": n * (D - 1) * H * (P + 1) * (3 if trains else 1),
        "activations": n * D * (sigmoid + P),
        "bytes": 4 * sum(value.size for value in case.params.values()) * PASSES[operation],
    }
