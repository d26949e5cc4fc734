"""Samples judged by frequencies: counts of rows, and uniform numbers of continuous ones."""

import numpy as np
from common import REAL, states
from scipy import stats


def chi_square(observed, probabilities):
    """Return the p-value of counts of states, rare ones pooled."""
    expected = probabilities * observed.sum()
    rare = expected < 5
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    keep = expected > 0
    assert not observed[~keep].any()
    expected, observed = expected[keep], observed[keep]
    return stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue


def counts(samples, all_rows):
    """Return how often each row of `all_rows` was drawn."""
    drawn = (samples[:, None, :] == all_rows[None]).all(axis=2)
    assert drawn.any(axis=1).all()
    return drawn.sum(axis=0)


def prefix_law(model, conditional, row):
    """Return evidence with a row's first two columns of the order, and the law of rows given it.

    Return also all rows that hold it; `conditional` is their name in `common`.
    """
    D, prefix = len(row), model.order_[:2]
    evidence = np.full(D, np.nan)
    evidence[prefix] = row[prefix]
    rows = states(conditional, D)
    rows = rows[(rows[:, prefix] == row[prefix]).all(axis=1)]
    p = np.exp(model.score_samples(rows))
    return evidence, rows, p / p.sum()


def uniforms(model, X):
    """Return the CDF of each value given those before it, anywhere in its step at a discrete one.

    Uniform and independent if X has the model's own distribution (M. Rosenblatt, 1952).
    """
    said = model.conditionals(X)
    said = list(said.values()) if model.distribution_.name == "mixed" else [said] * X.shape[1]
    probability = np.exp(model.score_features(X))
    share = np.random.default_rng(0).random(X.shape)
    kinds = model.distribution_.settings().get("columns")
    uniform = np.empty(X.shape)
    for d, own in enumerate(said):
        place = np.flatnonzero(model.order_ == d)[0]
        kind = kinds[place]["name"] if kinds else model.distribution_.name
        if isinstance(own, dict):
            cdf = own["cdf"] if own["cdf"].ndim == 1 else own["cdf"][:, d]
        elif own.ndim == 1:  # probabilities of one
            cdf = np.where(X[:, d] == 1, 1, 1 - own)
        else:
            cdf = np.cumsum(own, axis=1)[np.arange(len(X)), X[:, d].astype(int)]
        step = probability[:, d] if kind not in REAL else 0
        uniform[:, d] = cdf - share[:, d] * step
    return uniform
