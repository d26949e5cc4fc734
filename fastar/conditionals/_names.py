"""The conditionals of one column, by name."""

from __future__ import annotations

from typing import Any

from fastar._core.schema import Named
from fastar.conditionals._bernoulli import Bernoulli
from fastar.conditionals._calendar import Calendar
from fastar.conditionals._categorical import Categorical
from fastar.conditionals._conditional import Conditional
from fastar.conditionals._integer import LogisticMixture, NegativeBinomial, Poisson
from fastar.conditionals._number import Number
from fastar.conditionals._ordered import Integer
from fastar.conditionals._real import Gaussian, GaussianMixture, Laplace, LaplaceMixture

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
        Integer,
        Number,
    )
}

OF_A_COLUMN: dict[str, type[Conditional]] = {**BY_NAME, Calendar.name: Calendar}
"""Also the one that columns of dates and times alone may have."""

SETTINGS = Named({name: kind.settings_rule for name, kind in OF_A_COLUMN.items()})
"""The rule of the name and the settings of one of them in a file."""


def from_name(given: Any, **settings: Any) -> Conditional:
    """Return the conditional given by a name, a dict of name and settings, or an object.

    Parameters
    ----------
    given : str, dict or Conditional
    **settings : object
        Arguments of a conditional given by name, where it has them.

    Returns
    -------
    Conditional

    Raises
    ------
    ValueError
        The name is none of the known ones.
    """
    if isinstance(given, Conditional):
        return given
    if isinstance(given, dict):
        own = dict(given)
        return OF_A_COLUMN[own.pop("name")](**own)
    if given not in BY_NAME:
        raise ValueError(
            f"A conditional must be one of {', '.join(sorted(BY_NAME))} or an object of "
            f"fastar.conditionals. Got {given!r} instead."
        )
    kind = BY_NAME[given]
    known = kind().settings()
    return kind(**{key: value for key, value in settings.items() if key in known})
