"""Columns of very many levels, and models of them."""

import numpy as np
import pytest
from common import all_states as combinations
from common import fit, make

from fastar.conditionals import Categorical

LEVELS = [3 * np.arange(23) - 5, np.array([0, 1]), np.array([-9, -4, 0, 1, 2, 30, 77])]
SPLIT = [0, 2]
MODELS = {
    "NADE": ("NADE", {}),
    "NADE relu": ("NADE", {"activation": "relu", "n_hidden": 33}),
    "RNADE": ("RNADE", {}),
    "FVSBN": ("FVSBN", {}),
    "MADE": ("MADE", {}),
    "MADE layers alone": ("MADE", {"direct_connections": False}),
    "MADE sets": ("MADE", {"n_masks": 3}),
    "MADE orders": ("MADE", {"n_masks": 4, "order_agnostic": True}),
    "MADE unlimited": ("MADE", {"n_masks": "unlimited", "n_scoring_masks": 2}),
}
every_model = pytest.mark.parametrize("kind", MODELS)


ORDERS = ["natural", [2, 0, 1], [1, 2, 0]]
every_order = pytest.mark.parametrize("order", ORDERS, ids=str)


def words(n=300, seed=0, gaps=()):
    """Return rows of 23, 2 and 7 levels that are correlated and far from equally frequent."""
    if n < 23:
        return words(23 + n, seed)[23:]
    rng = np.random.default_rng(seed)
    first = np.minimum(rng.geometric(0.15, n) - 1, 22)
    first[:23] = np.arange(23)
    second = (first + rng.integers(0, 3, n)) % 2
    third = np.where(rng.random(n) < 0.6, first % 7, rng.integers(0, 7, n))
    third[:7] = np.arange(7)
    X = np.column_stack(
        [own[each] for own, each in zip(LEVELS, (first, second, third), strict=True)]
    )
    if not gaps:
        return X
    X = X.astype(float)
    for column in gaps:
        X[23:, column][rng.random(n - 23) < 0.3] = np.nan
    return X


def every_row(*more):
    """Return every row of levels; `more`: of each column one more value, that is no level."""
    return combinations([np.append(own, more[:1]) for own in LEVELS])


def shaken(kind="NADE", X=None, *, unknown="error", digits=True, context=None, **settings):
    """Return a model of words after a short fit, with larger random parameters."""
    name, own = MODELS[kind]
    own = own | {"distribution": Categorical(unknown, digits=digits), "dtype": "float64"}
    if name == "MADE":
        own["activation"] = "tanh"
    given = {} if context is None else {"context": context}
    model = fit(
        make(name, **own | {"max_iter": 2} | settings), words() if X is None else X, **given
    )
    rng = np.random.default_rng(1)
    model.theta_ += rng.standard_normal(model.theta_.size).astype(model.theta_.dtype) * 0.4
    return model


def shares_of_others(model, rows):
    """Return the log of what each value (n, C) has of the share of all others, 0 of levels."""
    conditional = model.distribution_
    codes = model._model().codes(np.ascontiguousarray(rows[:, model.order_]))
    out = np.empty(rows.shape)
    out[:, model.order_] = conditional.by_column(conditional.log_jacobian(codes))
    return out
