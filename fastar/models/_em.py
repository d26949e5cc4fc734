"""Weights of mixtures by expectation maximisation."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastar._core.parameters import Array

# Nats a row by which the weights that EM ends with may be worse than the best ones.
_EM_GAP = 1e-6
_EM_ITERATIONS = 10_000


def best_weights(scores: Array, row_weight: Array) -> tuple[Array, list[float]]:
    """Return the maximum-likelihood mixture weights (K,) and the curve of EM.

    Each iteration replaces a member's weight by its mean responsibility. The log-likelihood is
    concave in the weights, so that its slope tells how far they are from the best ones.

    Parameters
    ----------
    scores : array (n, K)
        log p_k(x) in nats.
    row_weight : array (n,)

    Returns
    -------
    weights : array (K,)
    curve : list of float
        Weighted mean of -log p(x) in nats at equal weights and after each iteration.

    Warns
    -----
    ConvergenceWarning
        The weights may still be improved by more than a millionth of a nat a row.
    """
    K = scores.shape[1]
    weights = np.full(K, 1 / K)
    scores, row_weight = scores[row_weight > 0], row_weight[row_weight > 0]
    best = scores.max(axis=1)
    shift = float(np.average(best, weights=row_weight))
    possible = np.isfinite(best)  # a row impossible for all does not count
    if not possible.any():
        return weights, [-shift]
    p = np.exp(scores[possible] - best[possible, None])
    share = row_weight[possible] / row_weight.sum()
    curve = []
    for _ in range(_EM_ITERATIONS):
        # not matrix products: BLAS may add in another order for another number of threads
        mixed = np.einsum("ik,k->i", p, weights)
        curve.append(-shift - float((share * np.log(mixed)).sum()))
        slope = np.einsum("i,ik->k", share / mixed, p) / share.sum()
        gap = float(slope.max()) - 1
        if gap <= _EM_GAP:
            return weights, curve
        weights = weights * slope
        weights /= weights.sum()
    warnings.warn(
        f"EM stopped after {_EM_ITERATIONS} iterations; other weights are better by {gap:.1g} nats "
        "a row at most.",
        ConvergenceWarning,
        stacklevel=4,
    )
    return weights, curve
