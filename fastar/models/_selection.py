"""Weights of mixtures by greedy forward selection."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastar._core.parameters import Array

_ROUNDS = 20
"""Fewer than the weights could be exact with: on few rows, what is coarser generalises better."""
# Below every log-density that a model gives: a row impossible to all counts for none of them.
_IMPOSSIBLE = -1e10


def mean_score(scores: Array, row_weight: Array) -> float:
    """Return the weighted mean of log p(x); impossible rows make it very small, and comparable."""
    return float(np.average(np.maximum(scores, _IMPOSSIBLE), weights=row_weight))


def select(scores: Array, row_weight: Array, n_members: int) -> tuple[Array, list[float]]:
    """Return weights (K,) of a mixture of the best members, and the curve of the selection [1]_.

    It begins with equal weights of the best members, of as many as give the largest log-likelihood.
    Each round then adds the member with which the mean density of all that were taken so far, with
    repetition, has the largest one. A member's weight is its share of what was taken up to the best
    round. No member alone is better than the mixture.

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
        Weighted mean of -log p(x) in nats, an entry a member that was taken, of the rows that are
        possible for one: the first is of the best member alone, the last of the mixture.

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
    p = np.exp(scores - best[:, None])

    def gained(sums: Array, n_taken: Any) -> Array:
        """Return the log-likelihoods of mean densities, less that of each row's best member."""
        with np.errstate(divide="ignore"):
            found: Array = share @ np.maximum(np.log(sums / n_taken), _IMPOSSIBLE)
        return found

    ranked = np.argsort(-(share @ scores), kind="stable")[:n_members]
    curve = gained(p[:, ranked].cumsum(axis=1), np.arange(1, len(ranked) + 1))
    curve = curve[: int(curve.argmax()) + 1].tolist()
    taken = ranked[: len(curve)].tolist()
    total = p[:, taken].sum(axis=1)
    while len(taken) < _ROUNDS:
        found = gained(total[:, None] + p, len(taken) + 1)
        if len(set(taken)) >= n_members:
            found[np.setdiff1d(np.arange(len(found)), taken)] = -np.inf
        taken.append(int(found.argmax()))
        total += p[:, taken[-1]]
        curve.append(float(found.max()))
    n_best = int(np.argmax(curve)) + 1
    weights = np.bincount(taken[:n_best], minlength=scores.shape[1]) / n_best
    shift = float((share * best).sum())
    return weights, [-shift - each for each in curve[:n_best]]
