"""Where training on few rows starts: at regressions of each number on what is before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fastar._core.factors import cholesky
from fastar._core.inputs import MAY_MISS, ONE_HOT, Inputs
from fastar._core.parameters import Array
from fastar._data.table import Table
from fastar._engine.model import Model
from fastar._kernels import _conditionals
from fastar.networks import SharedHidden

_FEWEST_ROWS = 20
_FEWEST_COMPONENTS = 4
_DISTINCT = 0.5
"""Share of different values among a column's, below which common values get components."""
_EXPLAINED = 0.01
"""Share of a column's variance that a fit must have: slopes by one that hardly varies are steep."""
_MOST_INPUTS = 256
"""Rows of input weights for which regressions take little of the time of a fit."""
_RIDGE_ROWS = 1.0, 10.0, 100.0

_SHARPNESS = 0.8
"""Width of a region of the fit, in shares of the fit's deviation over sqrt(S / 2)."""
_PRIOR_ROWS = 5.0
"""Rows of the whole table that each region has beside its own."""
_LOG_SHARES, _WIDTHS = np.log([0.75, 0.25]), np.array([0.7, 1.6])
"""The two components of a region: a core and its tails, of variance one together."""


@dataclass(frozen=True)
class _Regression:
    """A number's code as a linear function of the rows of input weights before it.

    Parameters
    ----------
    slopes : array (R,)
    intercept : float
    error : array (n,)
        Approximate residual of each row under the regression on the other rows.
    """

    slopes: Array
    intercept: float
    error: Array


def linear_start(model: Model, table: Table, weight: Array) -> Array | None:
    """Return parameters by which mixtures of Gaussians are regressions on the codes before them.

    The fit is a ridge regression of the feature's code. Components are regressions on the fit, each
    pair of them in a region of it. A feature starts so where this has the higher likelihood, the
    fit of a row being that of the other rows; else as in `model`, and so where most values are
    repeated. None where all are, or there are too many inputs. The units of the network must start
    where they are linear.
    """
    network, conditional = model.network, model.conditional
    assert isinstance(network, SharedHidden)
    offsets = network.inputs.offsets
    if offsets[-1] > min(_MOST_INPUTS, network.n_hidden):
        return None
    model = replace(model, theta=model.theta.copy())
    codes = conditional.encode(table.take(slice(None)), np.dtype(np.float64))
    X, records = _factors(network.inputs, codes), conditional.features()
    is_mixture = records["kind"] == _conditionals.KINDS.index("gaussian_mixture")
    located = is_mixture & (records["count"] >= _FEWEST_COMPONENTS)
    bias, found = model.params["b"].reshape(-1), []
    for d, there, fitted in _regressions(offsets, X, codes, weight, np.flatnonzero(located)):
        own = slice(*network.output_offsets[d : d + 2])
        y, share = codes[there, d], weight[there] / weight[there].sum()
        if len(np.unique(y)) < _DISTINCT * len(y):
            continue
        fit = y - fitted.error
        if fit.var() < _EXPLAINED * y.var():
            continue
        start, factor = _regional(fit, fitted.error, share, int(records["count"][d]))
        record = records[d : d + 1].copy()
        record["parent"] = 0  # the rows are those where it applies
        kernel = _conditionals.Kernel(record, 1, False)
        linear, constant = (
            kernel.log_prob(np.ascontiguousarray(raw), y[:, None].copy(), 1)[0][:, 0]
            for raw in (
                start + factor * fit[:, None],
                np.tile(bias[own].astype(np.float64), (len(y), 1)),
            )
        )
        if (share * (linear - constant)).sum() > 0:
            bias[own] = start + factor * fitted.intercept
            found.append((np.arange(own.start, own.stop), factor, fitted.slopes))
    if not found:
        return None
    network.start_linear(model.params, found)
    return model.theta


def _regional(fit: Array, error: Array, share: Array, K: int) -> tuple[Array, Array]:
    """Return biases and slopes (3 K,), by the fit (n,), of the raw outputs of a mixture.

    Its K // 2 regions are Gaussians of one width around quantiles of the fit, and softmax(z) says
    how much a region has of a row: z is linear, for the square of the fit is common to all.
    """
    S = K // 2
    total = (share * error).sum()
    variance = (share * (error - total) ** 2).sum()
    centre = (share * fit).sum()
    spread = max((share * (fit - centre) ** 2).sum(), 1e-12)
    middle = np.quantile(fit, (np.arange(S) + 0.5) / S) - centre
    squared_width = _SHARPNESS**2 * spread * 2 / S
    z_slope = middle / squared_width
    z = -(middle**2) / (2 * squared_width) - z_slope * centre
    gate = z + z_slope * fit[:, None]
    gate = np.exp(gate - gate.max(axis=1)[:, None])
    gate *= (len(fit) * share / gate.sum(axis=1))[:, None]
    mass = gate.sum(axis=0)
    moved = fit[:, None] - np.einsum("nk,n->k", gate, fit) / np.maximum(mass, 1e-12)
    offset = (np.einsum("nk,n->k", gate, error) + _PRIOR_ROWS * total) / (mass + _PRIOR_ROWS)
    covariance = np.einsum("nk,nk,n->k", gate, moved, error)
    slope = covariance / (np.einsum("nk,nk->k", gate, moved**2) + _PRIOR_ROWS * spread)
    left = error[:, None] - offset - slope * moved
    local = np.einsum("nk,nk->k", gate, left**2) + _PRIOR_ROWS * variance
    width = np.sqrt(local / (mass + _PRIOR_ROWS))[:, None] * _WIDTHS
    locations = offset - slope * (fit[:, None] - moved)[0]
    bias, by_fit = np.zeros((3, K)), np.zeros((3, K))
    bias[0] = z.min() + _LOG_SHARES[1]  # what an odd component has where others are not sure
    bias[2] = 2 * np.log(width.max() + 1e-12)
    bias[1], by_fit[1] = total, 1.0
    bias[0, : 2 * S] = (z[:, None] + _LOG_SHARES).ravel()
    bias[1, : 2 * S] = np.repeat(locations, 2)
    bias[2, : 2 * S] = 2 * np.log(width + 1e-12).ravel()
    by_fit[0, : 2 * S], by_fit[1, : 2 * S] = np.repeat(z_slope, 2), np.repeat(1 + slope, 2)
    return bias.ravel(), by_fit.ravel()


def _factors(inputs: Inputs, codes: Array) -> Array:
    """Return the factor (n, R) with which each row of input weights enters."""
    X = np.zeros((len(codes), inputs.n_rows))
    ends = zip(inputs.offsets[:-1], inputs.offsets[1:], inputs.input_flags, codes.T, strict=True)
    for first, end, flags, code in ends:
        missing = np.isnan(code)
        if flags & MAY_MISS:
            X[missing, end - 1] = 1
        if flags & ONE_HOT:
            there = np.flatnonzero(code >= 0)
            X[there, first + code[there].astype(np.int64)] = 1
        else:
            X[~missing, first] = code[~missing]
    return X


def _regressions(
    offsets: Array, X: Array, codes: Array, weight: Array, features: Array
) -> Iterator[tuple[int, Array, _Regression]]:
    """Yield features, the rows (n,) where their code is there, and their regression over these."""
    by_rows: dict[bytes, list[int]] = {}
    for d in features[features > 0].tolist():
        by_rows.setdefault((~np.isnan(codes[:, d]) & (weight > 0)).tobytes(), []).append(d)
    for which, alike in by_rows.items():
        there = np.frombuffer(which, bool)
        if there.sum() < _FEWEST_ROWS:
            continue
        own, share = X[there, : offsets[alike[-1]] + 1], weight[there] / weight[there].sum()
        all_ridges = [Projections(own, weight[there], ridge) for ridge in _RIDGE_ROWS]
        for d in alike:
            fits = [each.regression(int(offsets[d])) for each in all_ridges]
            yield d, there, min(fits, key=lambda fit: float((share * fit.error**2).sum()))


class Projections:
    """Ridge regressions of any column of a matrix on those before it, by one Cholesky factor.

    No product here is one of BLAS, which may add in another order for another number of threads.

    Parameters
    ----------
    X : array (n, R)
    weight : array (n,)
    ridge : float
        In rows of mean weight.
    """

    def __init__(self, X: Array, weight: Array, ridge: float) -> None:
        self.weight = weight / weight.mean()
        self.mean = np.einsum("n,nr->r", self.weight, X) / len(X)
        self.centred = X - self.mean
        gram = np.einsum("nr,ns->rs", self.weight[:, None] * self.centred, self.centred)
        gram[np.diag_indices_from(gram)] += ridge
        self.factor, self.inverse = cholesky(gram)
        self.scores = np.einsum("rs,ns->rn", self.inverse, self.centred)
        self.leverage = np.cumsum(self.scores**2, axis=0)

    def regression(self, j: int) -> _Regression:
        """Return that of column j, which is not the first."""
        own = self.factor[j, :j]
        slopes = np.einsum("k,kr->r", own, self.inverse[:j, :j])
        fit = np.einsum("k,kn->n", own, self.scores[:j])
        # a row's error in the fit to the others, by its leverage
        left = 1 - self.weight * (self.leverage[j - 1] + 1 / len(fit))
        error = (self.centred[:, j] - fit) / np.maximum(left, 1e-3)
        return _Regression(slopes, float(self.mean[j] - (slopes * self.mean[:j]).sum()), error)
