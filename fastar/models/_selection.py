"""Weights of mixtures by greedy forward selection."""

from __future__ import annotations

import numpy as np

from fastar._core.parameters import Array

_ROUNDS = 50
# Below every log-density that a model gives: a row impossible to all counts for none of them.
_IMPOSSIBLE = -1e10


def mean_score(scores: Array, row_weight: Array) -> float:
    """Return the weighted mean of log p(x); impossible rows make it very small, and comparable."""
    return float(np.average(np.maximum(scores, _IMPOSSIBLE), weights=row_weight))


def select(scores: Array, row_weight: Array, n_members: int) -> tuple[Array, list[float]]:
    """Return weights (K,) of a mixture of the best members, and the curve of the selection [1]_.

    The best member comes first. Each round adds the one with which the mean density of all that
    were taken so far, with repetition, has the largest log-likelihood. A member's weight is its
    share of the rounds up to the best one, so that no member alone is better than the mixture.

    Parameters
    ----------
    scores : array (n, K)
        log p_k(x) in nats.
    row_weight : array (n,)
    n_members : int
        Most members with a weight.

    Returns
    -------
    weights : array (K,)
    curve : list of float
        Weighted mean of -log p(x) in nats after each round up to the best one, of the rows that are
        possible for a member.

    References
    ----------
    .. [1] R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes, "Ensemble selection from libraries of
       models", ICML 2004.
    """
    scores = np.maximum(scores, _IMPOSSIBLE)
    best = scores.max(axis=1)
    counts = (row_weight > 0) & (best > _IMPOSSIBLE)
    if not counts.any():
        counts[:] = True
    scores, best, row_weight = scores[counts], best[counts], row_weight[counts]
    share = row_weight / row_weight.sum()
    shift = float((share * best).sum())
    p = np.exp(scores - best[:, None])
    total = np.zeros(len(p))
    taken: list[int] = []
    curve: list[float] = []
    for n_taken in range(1, _ROUNDS + 1):
        with np.errstate(divide="ignore"):
            found = share @ np.maximum(np.log((total[:, None] + p) / n_taken), _IMPOSSIBLE)
        if len(set(taken)) >= n_members:
            found[np.setdiff1d(np.arange(len(found)), taken)] = -np.inf
        taken.append(int(found.argmax()))
        total += p[:, taken[-1]]
        curve.append(-shift - float(found.max()))
    n_best = int(np.argmin(curve)) + 1
    weights = np.bincount(taken[:n_best], minlength=scores.shape[1]) / n_best
    return weights, curve[:n_best]
