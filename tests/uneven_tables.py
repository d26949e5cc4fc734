"""A table whose columns differ wildly in outputs and rows of input weights, with gaps in some."""

import numpy as np
from common import fit, make

from fastar.conditionals import Categorical, GaussianMixture

K = 300
P = np.array([1, 2, K, 3, 1, 9])
Q = np.array([2, 1, K, 4, 1, 2])
GAPS = [0, 3, 5]  # columns that have some
DISTRIBUTION = ["bernoulli", "gaussian", Categorical("error"), Categorical("error"), "poisson"]
DISTRIBUTION += [GaussianMixture(3)]
# Where the column of many levels comes: amid the others, before them and behind them.
ORDERS = {"amid": [3, 0, 2, 5, 4, 1], "first": [2, 4, 0, 1, 5, 3], "last": [5, 1, 3, 0, 4, 2]}


def table(n=400):
    """Return n rows, every level of every column among them, and gaps in some columns."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 3))
    columns = [x[:, 0] > 0, x[:, 1] + x[:, 0], np.arange(n) % K, np.arange(n) % 3]
    columns += [rng.poisson(np.exp(x[:, 0])), x[:, 2] * 3 - x[:, 1]]
    X = np.column_stack(columns).astype(float)
    for column in GAPS:
        X[3:, column][rng.random(n - 3) < 0.3] = np.nan
    return X


def shaken(name, X, **settings):
    """Return a model after a short fit, with larger random parameters."""
    settings = {"missing": "marked", "max_iter": 1, "dtype": "float64"} | settings
    model = fit(make(name, **settings), X)
    rng = np.random.default_rng(1)
    model.theta_ += rng.standard_normal(model.theta_.size).astype(model.theta_.dtype) * 0.3
    return model
