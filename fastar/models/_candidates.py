"""Candidates of a search: the settings that it begins with, and variations of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastar._kernels._conditionals import MAX_COMPONENTS
from fastar.conditionals import Conditional

_MOST_UNITS = 2000
_FEWEST_UNITS = 16
_STEPS = 6000
"""Steps of minibatches that a long training takes, and its fewest and most epochs."""
_EPOCHS = 12, 1000
_SHORT_STEPS = 600
"""Steps of the short trainings that compare orders, and their most epochs."""
_SHORT_EPOCHS = 100


@dataclass(frozen=True)
class Candidate:
    """A model by name, its settings as JSON can hold them, and the epochs of a long training."""

    model: str
    settings: dict[str, Any]
    n_epochs: int = 0


def first_candidates(
    n_rows: int, n_columns: int, models: tuple[str, ...], distribution: Any
) -> list[Candidate]:
    """Return the settings to begin with, those that are good most often first."""
    batch_size = _batch_size(n_rows)
    common: dict[str, Any] = {"order": "random", "learning_rate": "linear"}
    common["batch_size"] = batch_size
    components = {"n_components": 10}
    if isinstance(distribution, Conditional):  # the object's own number is tried first, if any
        own = distribution.settings()
        components = {name: own[name] for name in components if name in own}
        common |= components
    elif isinstance(distribution, str) and distribution.endswith("_mixture"):
        common |= components
    n_epochs = int(np.clip(-(-_STEPS * batch_size // n_rows), *_EPOCHS))
    return [
        Candidate(model, {**common, **settings}, factor * n_epochs)
        for model, factor, settings in _first(
            n_rows, int(np.clip(8 * n_columns, 100, 500)), components
        )
        if model in models
    ]


def narrow_candidate(n_rows: int, n_columns: int) -> Candidate:
    """Return what orders are compared by: a narrow model, and the epochs of a short training.

    How orders of `accidents` rank so has a correlation of 0.7 with how wide models of them do.
    """
    batch_size = _batch_size(n_rows)
    settings: dict[str, Any] = {
        "order": [*range(n_columns)],
        "learning_rate": "linear",
        "batch_size": batch_size,
    }
    settings |= _layers(60) | {"activation": "relu"} | _training(1e-2, 0.05)
    n_epochs = int(np.clip(-(-_SHORT_STEPS * batch_size // n_rows), 1, _SHORT_EPOCHS))
    return Candidate("MADE", settings, n_epochs)


def _batch_size(n_rows: int) -> int:
    return int(np.clip(n_rows // 50, 20, 100)) if n_rows < 100_000 else 200


def _first(
    n_rows: int, n_units: int, components: dict[str, int]
) -> list[tuple[str, int, dict[str, Any]]]:
    """Return models, factors on the epochs of a long training, and settings."""
    natural, sigmoid, relu = {"order": "natural"}, {"activation": "sigmoid"}, {"activation": "relu"}
    sparse = {"solver": "adagrad", "l1_ratio": 1.0}
    twice_as_many = {name: min(2 * each, MAX_COMPONENTS) for name, each in components.items()}
    any_order = {"n_masks": "unlimited", "n_scoring_masks": 16, "order_agnostic": True}
    return [
        ("MADE", 1, _layers(n_units) | relu | _training(2e-3, 0.03) | {"dropout": 0.5}),
        ("NADE", 1, {"n_hidden": n_units} | relu | _training(2e-3, 0.3) | natural),
        ("FVSBN", 1, _training(0.5, 1 / n_rows) | sparse),
        ("RNADE", 1, {"n_hidden": 200} | relu | _training(1e-2, 0.03) | components),
        ("RNADE", 1, {"n_hidden": 50} | relu | _training(3e-3, 1.0) | twice_as_many | natural),
        ("MADE", 1, _layers(n_units) | sigmoid | _training(4e-3, 0.05)),
        (
            "MADE",
            1,
            _layers(n_units, n_units) | relu | _training(1e-3, 0.1) | {"dropout": 0.3} | natural,
        ),
        ("MADE", 1, _layers(2 * n_units) | relu | _training(2e-3, 0.01) | {"dropout": 0.7}),
        ("MADE", 1, _layers(2 * n_units) | relu | _training(2e-3, 0.03) | {"dropout": 0.4}),
        # it learns all orders, and takes long to
        ("MADE", 4, _layers(n_units) | relu | _training(1e-2, 0.1) | any_order),
        ("DeepNADE", 4, {"hidden_layer_sizes": [n_units]} | _training(1e-3, 0.01)),
    ]


def _layers(*sizes: int) -> dict[str, Any]:
    return {"hidden_layer_sizes": [*sizes], "dropout": 0.0}


def _training(rate: float, alpha: float) -> dict[str, Any]:
    return {"learning_rate_init": rate, "alpha": alpha}


def cost(candidate: Candidate) -> float:
    """Return what an epoch costs, in units that only ratios between variations know."""
    settings = candidate.settings
    n_units = settings.get("n_hidden", 1) + sum(settings.get("hidden_layer_sizes", []))
    n_outputs = settings.get("n_components", 1)
    return float(n_units * n_outputs * (1 + 20 / settings["batch_size"]))


def vary(parent: Candidate, rng: np.random.RandomState) -> Candidate:
    """Return the candidate with one setting changed, or with fewer or more epochs."""
    settings = dict(parent.settings)
    names = [name for name in _CHANGES if name in settings]
    name = [*names, ""][rng.randint(len(names) + 1)]
    if not name:
        return replace(parent, n_epochs=int(np.ceil(parent.n_epochs * rng.choice([0.5, 2.0]))))
    settings[name] = _CHANGES[name](settings[name], rng)
    return replace(parent, settings=settings)


def _scaled(low: float, high: float, *factors: float) -> Any:
    return lambda value, rng: float(np.clip(value * rng.choice(factors), low, high))


def _units(value: int, rng: np.random.RandomState) -> int:
    return int(np.clip(value * rng.choice([0.5, 2.0]), _FEWEST_UNITS, _MOST_UNITS))


def _other_layers(sizes: list[int], rng: np.random.RandomState) -> list[int]:
    """Return other widths, or a layer more or less."""
    if rng.randint(3) == 0:
        return sizes[:-1] if len(sizes) > 1 else sizes * 2
    width = _units(sizes[0], rng)
    return [width] * len(sizes)


def _shifted(value: float, rng: np.random.RandomState) -> float:
    return float(np.round(np.clip(value + rng.choice([-0.2, -0.1, 0.1, 0.2]), 0.0, 0.8), 3))


def _another(*values: Any) -> Any:
    def change(value: Any, rng: np.random.RandomState) -> Any:
        others = [each for each in values if each != value]
        return others[rng.randint(len(others))]

    return change


_CHANGES: dict[str, Any] = {
    "hidden_layer_sizes": _other_layers,
    "n_hidden": _units,
    "activation": _another("relu", "sigmoid", "tanh"),
    "dropout": _shifted,
    "learning_rate_init": _scaled(1e-4, 2.0, 0.5, 0.7, 1.5, 2.0),
    "alpha": _scaled(1e-6, 3.0, 0.3, 0.5, 2.0, 3.0),
    "batch_size": lambda value, rng: int(np.clip(value * rng.choice([0.5, 2.0]), 10, 400)),
    "n_components": lambda value, rng: int(np.clip(value * rng.choice([0.5, 2.0]), 3, 80)),
    "order": _another("natural", "random"),
}
"""Functions that change a setting, by its name."""
