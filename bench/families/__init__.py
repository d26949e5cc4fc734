"""
What sets families of models apart in `compare.py`: a module for each.

Such a module offers

- ``PEERS``: the `Entry` of each peer by the name that tables give it;
- ``TARGETS``: by how much fastar should be faster than the best plain peer, by kind of case, whose
  words are choices of `compare.py --only`, and operation;
- ``make_cases(options)``: the list of its `Case`;
- ``estimator(settings, threads)``: the fastar model, not yet fitted;
- ``build(peer, case, threads)``: a peer's object, from its class;
- ``work(case, operation, rows)``: what an operation on these rows cannot do without, as numbers of
  ``adds`` (multiplications with additions), ``activations`` and ``bytes``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "FAMILIES",
    "OPERATIONS",
    "PASSES",
    "PEERS_ALONE",
    "Case",
    "Entry",
    "family",
    "fit_reference",
]

#: Modules of this package by the choices of `compare.py --model`.
FAMILIES = {
    "nade": "nade",
    "made": "masked",
    "fvsbn": "masked",
    "rnade": "wide",
    "nade_categorical": "wide",
    "made_mixture": "mixtures",
    "rnn": "recurrent",
}

#: Those whose modules have `stand_ins(options)`, cases with random parameters for `peer_times.py`,
#: and `reference(case, rows)`, log-likelihoods by NumPy.
PEERS_ALONE = {name: FAMILIES[name] for name in ("rnade", "nade_categorical", "made_mixture")}

#: What is timed, and how the tables call it.
OPERATIONS = {
    "score": "scoring",
    "gradient": "gradient",
    "train": "training step",
    "sample": "sampling",
}

#: How often an operation goes over the parameters at least. Adam reads parameters, gradient and two
#: moments, and writes all but the gradient.
PASSES = {"score": 1, "gradient": 2, "train": 9, "sample": 1}


class Entry(NamedTuple):
    """
    A peer: where it is, what is fair to expect of it, and what it is timed in.

    ``kind`` is "plain" for what one writes with automatic differentiation and "expert" for what
    an expert makes of that framework.
    """

    module: str
    cls: str
    kind: str
    operations: tuple[str, ...] = tuple(OPERATIONS)


class Case:
    """
    One model and data set, and the parameters at which all contestants compute.

    Parameters
    ----------
    family, kind : str
        A module of this package, and a key of its targets.
    name, sizes : str
        How the tables call it.
    settings : dict
        What `estimator` makes of it.
    rows : numpy.ndarray or list of numpy.ndarray
        The rows (n, D) that are scored and differentiated, or sequences of several lengths.
    params : dict of numpy.ndarray
        As `params_` has them.
    uniforms : numpy.ndarray
        Numbers (m, D), float32, from which the peers draw m samples; or (m, D, 2), a uniform one
        and a standard normal for each value.
    masks : dict of numpy.ndarray
        As `masks_` has them, if there are any.
    n_checked : int or None
        From so many of the uniforms, all by default, peers draw the samples that must look like
        ours.
    by_passes : bool
        Whether the peers' sampling repeats one pass for each feature, so that a few of them tell
        the time of all.
    nats : float
        By so much the log-likelihoods of a row may differ.
    """

    def __init__(
        self,
        *,
        family: str,
        kind: str,
        name: str,
        sizes: str,
        settings: dict[str, Any],
        rows: Any,
        params: dict[str, np.ndarray],
        uniforms: np.ndarray,
        masks: dict[str, np.ndarray] | None = None,
        n_checked: int | None = None,
        by_passes: bool = False,
        nats: float = 1e-3,
    ) -> None:
        self.family = family
        self.kind = kind
        self.name = name
        self.sizes = sizes
        self.settings = settings
        self.rows = rows
        self.params = params
        self.uniforms = uniforms
        self.masks = masks or {}
        self.n_checked = n_checked
        self.by_passes = by_passes
        self.nats = nats

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows there are, and the features of the longest."""
        return len(self.rows), max(map(len, self.rows))


def family(name: str) -> Any:
    """Return the module of a family."""
    return import_module(f"{__name__}.{name}")


def fit_reference(model: Any, rows: np.ndarray) -> Any:
    """Train for one pass, so that parameters and samples look like those of a real model."""
    return model.partial_fit(rows)


def copied(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Copy parameters that may be views."""
    return {key: np.ascontiguousarray(value).copy() for key, value in params.items()}
