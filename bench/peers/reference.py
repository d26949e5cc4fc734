"""Log-likelihoods in NumPy and float64, written down plainly, to check the peers by."""

from collections.abc import Mapping

import numpy as np
from scipy.special import expit, log_softmax, logsumexp

__all__ = ["categorical_nade", "mixture_log_density", "mixture_made", "mixture_rnade"]

Params = Mapping[str, np.ndarray]


def mixture_log_density(raw: np.ndarray, values: np.ndarray, floor: float) -> np.ndarray:
    """Return the log-densities of values (n, D) for raw outputs (n, D, 3 K)."""
    logits, mean, s = np.split(raw, 3, axis=-1)
    variance = np.exp(s) + floor
    square = (values[..., None] - mean) ** 2 / variance
    parts = log_softmax(logits, axis=-1) - 0.5 * (np.log(2 * np.pi * variance) + square)
    return logsumexp(parts, axis=-1)


def mixture_rnade(params: Params, values: np.ndarray, floor: float) -> np.ndarray:
    """Return log p(x) of each row (n, D) by an RNADE of rectified units."""
    params, values = _wide(params), values.astype(np.float64)
    raw = np.tile(params["b"], (len(values), 1, 1))
    states = np.tile(params["c"], (len(values), 1))
    for d in range(1, values.shape[1]):
        states += values[:, d - 1 : d] * params["W"][d - 1]
        raw[:, d] += np.maximum(params["rho"][d - 1] * states, 0) @ params["V"][d - 1].T
    return mixture_log_density(raw, values, floor).sum(axis=1)


def categorical_nade(params: Params, codes: np.ndarray) -> np.ndarray:
    """Return log p(x) of each row (n, D) of numbers of levels by a NADE of sigmoid units."""
    params = _wide(params)
    raw = np.tile(params["b"], (len(codes), 1, 1))
    states = np.tile(params["c"], (len(codes), 1))
    for d in range(1, codes.shape[1]):
        states += params["W"][d - 1][codes[:, d - 1]]
        raw[:, d] += expit(states) @ params["V"][d - 1].T
    return np.take_along_axis(log_softmax(raw, axis=2), codes[:, :, None], axis=2).sum(axis=(1, 2))


def mixture_made(params: Params, values: np.ndarray, floor: float) -> np.ndarray:
    """Return log p(x) of each row (n, D) by masked layers of rectified units."""
    params, values = _wide(params), values.astype(np.float64)
    hidden = values
    last = sum(key[0] == "W" for key in params) - 1
    for i in range(last):
        hidden = np.maximum(hidden @ params[f"W{i}"] + params[f"c{i}"], 0)
    raw = np.tensordot(hidden, params[f"W{last}"], 1) + params["b"]
    if "L" in params:
        raw += np.einsum("nk,dpk->ndp", values, params["L"])
    return mixture_log_density(raw, values, floor).sum(axis=1)


def _wide(params: Params) -> dict[str, np.ndarray]:
    return {key: value.astype(np.float64) for key, value in params.items()}
