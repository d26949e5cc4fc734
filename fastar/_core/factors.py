"""Cholesky factors whose bits do not depend on the number of threads, as those of BLAS may."""

from __future__ import annotations

import numpy as np

from fastar._core.parameters import Array


def cholesky(gram: Array) -> tuple[Array, Array]:
    """Return the lower Cholesky factor of a positive definite matrix, and its inverse."""
    R = len(gram)
    factor, inverse = np.zeros((R, R)), np.zeros((R, R))
    for j in range(R):
        column = gram[j:, j] - np.einsum("ik,k->i", factor[j:, :j], factor[j, :j])
        factor[j:, j] = column / np.sqrt(column[0])
        inverse[j, :j] = -np.einsum("k,kr->r", factor[j, :j], inverse[:j, :j]) / factor[j, j]
        inverse[j, j] = 1 / factor[j, j]
    return factor, inverse
