"""How draws depart from the density: a temperature, and the most probable levels alone."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sharpness:
    """A change of each conditional before a value is drawn from it.

    Parameters
    ----------
    temperature : float
        The conditional is raised to the power 1 / temperature and normalised.
    top_p : float
        Levels are drawn from the most probable ones that have this share of the mass.
    top_k : int
        And from so many at most; 0: from any number.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    @property
    def cuts(self) -> bool:
        """Whether levels are left out."""
        return self.top_p < 1 or self.top_k > 0

    def draw(self, kernel: Any, dtype: Any, regions: Any = None) -> object:
        """Return the capsule with which a network draws values of a conditional's kernel."""
        return kernel.draw(dtype, self.temperature, regions, self.top_p, self.top_k)


AS_FITTED = Sharpness()


def check_sharpness(temperature: Any, top_p: Any, top_k: Any) -> Sharpness:
    """Return what the arguments of `sample` say; None leaves no level out."""
    if not isinstance(temperature, Real) or not 0 < float(temperature) < np.inf:
        raise ValueError(
            f"temperature must be a finite number above 0. Got {temperature!r} instead."
        )
    if top_p is not None and (not isinstance(top_p, Real) or not 0 < float(top_p) <= 1):
        raise ValueError(f"top_p must be None, or above 0 and at most 1. Got {top_p!r} instead.")
    is_whole = isinstance(top_k, Integral) and not isinstance(top_k, bool)
    if top_k is not None and (not is_whole or not 1 <= int(top_k) < 2**63):
        raise ValueError(f"top_k must be None or an int of at least 1. Got {top_k!r} instead.")
    share = 1.0 if top_p is None else float(top_p)
    return Sharpness(float(temperature), share, 0 if top_k is None else int(top_k))
