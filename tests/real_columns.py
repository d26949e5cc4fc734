"""Real columns as people have them: atoms, supports, heavy tails, steps."""

from itertools import pairwise

import numpy as np
import pytest

from fastar._data.table import Table
from fastar.conditionals import Number

F8 = np.dtype("float64")


def incomes(n, rng):
    return rng.lognormal(0, 2, n)


def claims(n, rng):
    return np.where(rng.random(n) < 0.7, 0, rng.gamma(2.0, 100.0, n))


def prices(n, rng):
    return np.round(rng.gamma(2.0, 3.0, n), 1)


def capped(n, rng):
    return np.clip(rng.standard_t(2, n), -3, None)


def coded(n, rng):
    return np.where(rng.random(n) < 0.2, -1.0, rng.normal(5, 3, n))


COLUMNS = {each.__name__: each for each in (incomes, claims, prices, capped, coded)}
KINDS = {"incomes": 1, "claims": 2, "prices": 2, "capped": 0, "coded": 0}
every_column = pytest.mark.parametrize("name", COLUMNS)


def table(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack([each(n, rng) for each in COLUMNS.values()])


def fitted(X, weight=None, **settings):
    X = np.asarray(X, float)
    X = X[:, None] if X.ndim == 1 else X
    weight = np.ones(len(X)) if weight is None else weight
    return Number(**settings).fitted(Table(X, np.arange(X.shape[1])), weight)


def column(name, n=2000):
    return COLUMNS[name](n, np.random.default_rng(0))


def integral(own, density, points=400):
    """Return the integral of density(x) over all numbers."""
    y = np.linspace(-30, 30, points + 1)
    ends = own.maps.values(y[:, None])[:, 0]
    nodes, weight = np.polynomial.legendre.leggauss(40)
    total = 0.0
    for a, b in pairwise(np.unique(ends)):
        total += (b - a) / 2 * weight @ density((a + b) / 2 + (b - a) / 2 * nodes)
    return total
