"""Monotone maps from real columns to scales on which they are smooth, and their choice by data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastar._core.lazy import lazy
from fastar._core.parameters import Array
from fastar._core.spread import does_not_vary, location_and_scale

MAPS = ("identity", "log", "inverse softplus")
"""Names of t, by their numbers."""
_IDENTITY, _LOG, _SOFTPLUS = range(3)

TAIL = 6.0
"""Deviations from the middle beyond which codes grow like a logarithm."""

LEAST = float(np.finfo(np.float64).smallest_subnormal)
_MOST = float(np.finfo(np.float64).max)
_TINY = float(np.finfo(np.float64).tiny)
_WIDEST = _MOST / 2000  # so much a scale is multiplied by at most
_LOG_MOST = float(np.log(_MOST))


@dataclass(frozen=True)
class Maps:
    """Codes y of values x, column by column.

    t(x) is x, log x, or s log(expm1(x / s)), the inverse of softplus, which is log x for x far
    below s and x far above it. u = (t - location) / scale; y = u up to c = 6 in size, and
    sign(u) (c + c log(|u| / c)) beyond, so that no cell lies far from the others. Everything is
    computed in float64, and what would overflow stays at the largest number.

    Parameters
    ----------
    kind : int array (C,)
        Places of t in `MAPS`. All but the first are for positive numbers.
    spread : array (C,)
        s.
    location, scale : array (C,)
        Location and scale of t.
    """

    kind: Array
    spread: Array
    location: Array
    scale: Array

    def of_column(self, c: int) -> Maps:
        """Return the map of one column."""
        at = slice(c, c + 1)
        return Maps(self.kind[at], self.spread[at], self.location[at], self.scale[at])

    @property
    def is_positive(self) -> Array:
        """Return which columns (C,) have positive numbers alone."""
        positive: Array = self.kind != _IDENTITY
        return positive

    @lazy
    def _logs(self) -> Array:
        return np.flatnonzero(self.kind == _LOG)

    @lazy
    def _softplus(self) -> Array:
        return np.flatnonzero(self.kind == _SOFTPLUS)

    def codes(self, values: Array) -> Array:
        """Return y (n, C) of values (n, C)."""
        # half of everything, for a difference of large numbers may be infinite
        middle, deviation = self._mapped(values) / 2 - self.location / 2, self.scale / 2
        with np.errstate(over="ignore"):
            y: Array = middle / deviation
        far = np.nonzero(np.abs(y) > TAIL)
        if far[0].size:
            size = np.log(np.abs(middle[far])) - np.log(TAIL) - np.log(deviation[far[1]])
            y[far] = np.sign(middle[far]) * (TAIL + TAIL * size)
        return y

    def values(self, y: Array) -> Array:
        """Return the values (n, C) of y (n, C)."""
        x = self._unscaled(y.astype(np.float64))
        logs, softplus = self._logs, self._softplus
        if logs.size:
            with np.errstate(over="ignore"):
                x[:, logs] = np.clip(np.exp(x[:, logs]), LEAST, _MOST)
        if softplus.size:
            t, s = x[:, softplus], self.spread[softplus]
            with np.errstate(over="ignore"):
                v = t / s
                above = np.maximum(t, 0) + s * np.log1p(np.exp(-np.abs(v)))
                # softplus of v far below zero is exp(v), which may be too small itself
                x[:, softplus] = np.where(v < -40, np.exp(np.minimum(v, 0) + np.log(s)), above)
            x[:, softplus] = np.clip(x[:, softplus], LEAST, _MOST)
        return x

    def log_slope(self, y: Array) -> Array:
        """Return log dy / dx (n, C) at y (n, C)."""
        y = y.astype(np.float64)
        slope: Array = np.minimum(1 - np.abs(y) / TAIL, 0) - np.log(self.scale)
        logs, softplus = self._logs, self._softplus
        if logs.size or softplus.size:
            t = self._unscaled(y)
            slope[:, logs] -= t[:, logs]
            with np.errstate(over="ignore", invalid="ignore"):  # of codes that are NaN
                slope[:, softplus] += np.logaddexp(0, -t[:, softplus] / self.spread[softplus])
        return slope

    def _mapped(self, values: Array) -> Array:
        """Return t of values (n, C)."""
        t = values.astype(np.float64)
        logs, softplus = self._logs, self._softplus
        if logs.size:
            t[:, logs] = np.log(np.maximum(t[:, logs], LEAST))
        if softplus.size:
            x, s = np.maximum(t[:, softplus], LEAST), self.spread[softplus]
            with np.errstate(over="ignore", under="ignore", divide="ignore"):
                # log(1 - exp(-v)) is log v where v is small, and v itself may be too small
                rest = np.where(x < 1e-10 * s, np.log(x) - np.log(s), np.log(-np.expm1(-x / s)))
            t[:, softplus] = x + s * rest
        return t

    def _unscaled(self, y: Array) -> Array:
        """Return t of y (n, C)."""
        with np.errstate(over="ignore"):
            deviation = self.scale * np.clip(y, -TAIL, TAIL)
            far = np.nonzero(np.abs(y) > TAIL)
            if far[0].size:
                size = np.log(TAIL) + np.log(self.scale[far[1]]) + np.abs(y[far]) / TAIL - 1
                deviation[far] = np.sign(y[far]) * np.exp(np.minimum(size, _LOG_MOST))
            t: Array = np.clip(self.location + deviation, -_MOST, _MOST)
        return t


def fitted_maps(columns: list[tuple[Array, Array]], positive: Array) -> Maps:
    """Return the maps that fit columns, each given as (values (n,), weights (n,)) without NaN.

    A column that is not `positive` has t(x) = x. Of the others each gets that of log and inverse
    softplus under which the column has the higher likelihood if its codes are Gaussian, s being
    the robust deviation of its values.

    The location is the median, the scale the distance of the quartiles over that of a standard
    Gaussian; of quantiles farther out where these are equal.
    """
    chosen = [
        _best_map(values, weight, bool(above))
        for (values, weight), above in zip(columns, positive, strict=True)
    ]
    kind, *rest = zip(*chosen, strict=True)
    return Maps(np.array(kind, np.int32), *(np.array(each) for each in rest))


def _best_map(values: Array, weight: Array, positive: bool) -> tuple[int, float, float, float]:
    """Return the kind, the spread, the location and the scale for one column."""
    if not weight.any():
        weight = np.ones(len(values))
    values, weight = values[weight > 0], weight[weight > 0]
    if not len(values):
        return (_LOG if positive else _IDENTITY), 1.0, 0.0, 1.0
    spread = robust_location_and_scale(values, weight)
    if spread is None:  # all that is known is the value, and a small share of it
        location, scale = (
            float(each[0]) for each in location_and_scale(lambda: [(weight, values[:, None])], 1)
        )
        return (
            (_LOG, 1.0, float(np.log(location)), max(scale / location, _TINY))
            if positive
            else (_IDENTITY, 1.0, location, scale)
        )
    if not positive:
        return (_IDENTITY, 1.0, *spread)
    found = []
    for kind in (_LOG, _SOFTPLUS):
        unit = np.zeros(1), np.ones(1)
        t = Maps(np.array([kind]), np.array([spread[1]]), *unit)._mapped(values[:, None])[:, 0]
        centred = robust_location_and_scale(t, weight)
        if centred is not None:
            candidate = kind, spread[1], *centred
            found.append((_gaussian_likelihood(candidate, values, weight), candidate))
    return max(found)[1]


def _gaussian_likelihood(
    candidate: tuple[int, float, float, float], values: Array, weight: Array
) -> float:
    """Return the mean log-likelihood of values whose codes are Gaussian, but for a constant."""
    maps = Maps(*(np.array([each]) for each in candidate))
    y = maps.codes(values[:, None])
    share = weight / weight.sum()
    # not products of vectors: BLAS may add in another order for another number of threads
    mean = (share * y[:, 0]).sum()
    variance = (share * (y[:, 0] - mean) ** 2).sum()
    slope = (share * maps.log_slope(y)[:, 0]).sum()
    return float(slope - 0.5 * np.log(max(variance, _TINY)))


def robust_location_and_scale(t: Array, weight: Array) -> tuple[float, float] | None:
    """Return the median and a robust scale, None of numbers that do not vary."""
    order = np.argsort(t, kind="stable")
    below = np.cumsum(weight[order])
    for share, width in ((0.25, 1.349), (0.05, 3.290), (0.0, 6.0)):
        at = np.searchsorted(below, np.array([share, 0.5, 1 - share]) * below[-1])
        low, middle, high = t[order][np.minimum(at, len(t) - 1)]
        if not does_not_vary(low, high):
            with np.errstate(over="ignore"):
                return float(middle), float(np.clip(high / width - low / width, _TINY, _WIDEST))
    return None
