"""Answers by exhaustive sums, and mixtures to ask."""

import numpy as np
from common import DATA, fit, make, states

from fastar import Mixture

D, nan = 4, np.nan


def by_bayes(model, X, column, **context):
    """Return p(level | the other cells) (n, K) from scores of whole rows."""
    parts = []
    for level in model.levels(column):
        rows = X.copy()
        rows[:, column] = level
        parts.append(np.exp(model.score_samples(rows, **context)))
    joint = np.stack(parts, axis=1)
    return joint / joint.sum(axis=1, keepdims=True)


def shares(model, row, conditional):
    """Return all rows that agree with a row, NaN where free, and p(they | it)."""
    everything = states(conditional, len(row))
    agree = everything[(np.isnan(row) | (row == everything)).all(axis=1)]
    p = np.exp(model.score_samples(agree))
    return agree, p / p.sum()


def gapped(X, *columns):
    holes = X.astype(float)
    holes[:, columns] = nan
    return holes


def mixture(conditional="bernoulli", n=300, **settings):
    X = DATA[conditional](n, D)
    members = [make("NADE", **settings), make("MADE", order=[2, 0, 3, 1], **settings)]
    return fit(Mixture(members, weights=[0.3, 0.7], random_state=0, n_jobs=1), X), X


def on_a_grid(model, X, column, n=2401):
    """Return a grid (n,) of a column's values, and p(value | the other cells) (len(X), n)."""
    drawn = model.sample(1000, random_state=0)[:, column]
    grid = drawn.mean() + drawn.std() * np.linspace(-12, 12, n)
    rows = np.repeat(X, n, axis=0)
    rows[:, column] = np.tile(grid, len(X))
    log_p = model.score_samples(rows).reshape(len(X), n)
    return grid, np.exp(log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True))
