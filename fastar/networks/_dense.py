"""Products without masks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fastar._core.parameters import Array
from fastar._kernels import _cpu, _masked

_LINEAR = -1

_BLOCK = 1 << 19
"""Numbers in and out of a block of rows, which stays in L2 while all panels of weights pass."""


@lru_cache(64)
def full_stairs(rows: int, columns: int) -> _masked.Staircase:
    """Return the staircase of a matrix without a mask."""
    begin = np.zeros(rows, np.int64)
    return _masked.Staircase(begin, begin + columns, columns)


def product(A: Array, W: Array, bias: Array, n_threads: int, activation: int = _LINEAR) -> Array:
    """Return g(bias + A W), W (K, ..) as a matrix (K, N), bias (N,)."""
    matrix = W.reshape(len(W), -1)
    out: Array = _cpu.aligned_empty((len(A), matrix.shape[1]), A.dtype)
    _in_blocks(A, matrix, bias, out, activation, n_threads)
    return out


def add_product(A: Array, W: Array, out: Array, n_threads: int, activation: int = _LINEAR) -> None:
    """Write out = g(out + A W), W (K, ..) and out (n, ..) as matrices."""
    _in_blocks(A, W.reshape(len(W), -1), None, out.reshape(len(A), -1), activation, n_threads)


def _in_blocks(
    A: Array, W: Array, bias: Array | None, out: Array, activation: int, n_threads: int
) -> None:
    """Write g(bias or out + A W) block by block of rows."""
    rows, stairs = max(64, _BLOCK // sum(W.shape)), full_stairs(*W.shape)
    for r in range(0, len(A), rows):
        where = slice(r, r + rows)
        _masked.forward(A[where], stairs, W, bias, out[where], activation, n_threads)


def transposed_product(G: Array, W: Array, n_threads: int) -> Array:
    """Return G W^T, W (K, ..) as a matrix."""
    turned = np.ascontiguousarray(W.reshape(len(W), -1).T)
    return product(G, turned, np.zeros(len(W), W.dtype), n_threads)


def weight_gradient(A: Array, G: Array, gW: Array, n_threads: int) -> None:
    """Write gW = A^T G, G (n, ..) and gW (K, ..) as matrices."""
    target = gW.reshape(len(gW), -1)
    if not len(A):
        target[:] = 0
        return
    G = np.ascontiguousarray(G.reshape(len(A), -1))
    _masked.outer(A, G, full_stairs(*target.shape), target, n_threads)
