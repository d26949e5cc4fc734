"""Output distributions: what the raw outputs of a network mean for one feature.

A conditional translates between the user's values and *codes* (what networks see, in model order)
and owns the log-density. Networks know none of this. To add one: write a class in a module here,
put it into `BY_NAME`, and give it a kernel in ``src/kernels/conditionals``.
"""

from __future__ import annotations

from typing import Any

from fastar.conditionals._conditional import Conditional
from fastar.conditionals._discrete import Bernoulli, Categorical
from fastar.conditionals._integer import LogisticMixture, NegativeBinomial, Poisson
from fastar.conditionals._mixed import Mixed
from fastar.conditionals._real import Gaussian, GaussianMixture, Laplace, LaplaceMixture

__all__ = [
    "BY_NAME",
    "Bernoulli",
    "Categorical",
    "Conditional",
    "Gaussian",
    "GaussianMixture",
    "Laplace",
    "LaplaceMixture",
    "LogisticMixture",
    "Mixed",
    "NegativeBinomial",
    "Poisson",
]

BY_NAME: dict[str, type[Conditional]] = {
    each.name: each
    for each in (
        Bernoulli,
        Categorical,
        Gaussian,
        Laplace,
        GaussianMixture,
        LaplaceMixture,
        LogisticMixture,
        Poisson,
        NegativeBinomial,
    )
}


def named(given: Any, **settings: Any) -> Conditional:
    """Return the conditional that a name, a dict of name and settings, or an object stands for.

    settings: of a conditional given by name, where it has them.
    """
    if isinstance(given, Conditional):
        return given
    if isinstance(given, dict):
        own = dict(given)
        return BY_NAME[own.pop("name")](**own)
    if given not in BY_NAME:
        raise ValueError(
            f"A conditional must be one of {', '.join(sorted(BY_NAME))} or an object of "
            f"fastar.conditionals. Got {given!r} instead."
        )
    kind = BY_NAME[given]
    known = kind().settings()
    return kind(**{key: value for key, value in settings.items() if key in known})
