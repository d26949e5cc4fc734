"""Conditionals of real columns, standardised inside: Gaussian, Laplace and mixtures of them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, softmax

from fastar._core.lazy import lazy
from fastar._core.parameters import Array
from fastar._core.schema import SMALLEST, ArrayOf, Number, Rule, Whole
from fastar._core.spread import location_and_scale
from fastar._data.regions import Region
from fastar._data.table import Table
from fastar._kernels import _conditionals
from fastar.conditionals._conditional import (
    QUANTILES,
    CodedRegion,
    Conditional,
    run_of,
    sampled_columns,
)

NEEDLE = 0.003
"""First deviation of a component at a common value, as a share of the column's."""


FLOOR = Number(1e-30, np.finfo(np.float64).max.item())
COMPONENTS = Whole(1, _conditionals.MAX_COMPONENTS)


_WIDEST = 1e150
"""Standard deviation beyond which squares leave float64."""


def check_floor(name: str, owner: Conditional, value: float) -> None:
    """Raise ValueError if a floor is none."""
    if not 1e-30 <= value < np.inf:
        raise ValueError(
            f"{name} of {type(owner).__name__} must be at least 1e-30. Got {value!r} instead."
        )


def check_components(owner: Conditional, value: int) -> None:
    """Raise ValueError if a number of components is none."""
    most = _conditionals.MAX_COMPONENTS
    if not isinstance(value, int | np.integer) or not 1 <= value <= most:
        raise ValueError(
            f"n_components of {type(owner).__name__} must be an int from 1 to {most}. "
            f"Got {value!r} instead."
        )


def spread_components(
    columns: Array, n_components: int, narrow: Array
) -> tuple[Array, Array, Array]:
    """Return log weights, locations and widths (D, K) of components that cover columns (n, D).

    A value that a share of 1 / K of the rows or more has in common gets a component of its own, as
    wide as `narrow` (D,) says; the others lie at the quantiles of the rest.
    """
    found = [
        _covered(each, n_components, least) for each, least in zip(columns.T, narrow, strict=True)
    ]
    log_weight, middle, width = np.moveaxis(np.array(found), 1, 0)
    return log_weight, middle, width


def spread_logistic_components(
    columns: Array, n_components: int, narrow: Array
) -> tuple[Array, Array, Array]:
    """Return what `spread_components` does, with log scales (D, K) of logistic densities."""
    log_weight, mean, width = spread_components(columns, n_components, narrow)
    # a logistic density of scale b is as wide as a Gaussian of deviation 1.8 b
    return log_weight, mean, np.log(np.maximum(width, narrow[:, None]) / 1.8)


def _covered(column: Array, K: int, narrow: float) -> Array:
    """Return log weights, locations and widths (3, K) for one column."""
    present = column[~np.isnan(column)]
    if not present.size:
        present = np.zeros(1)
    values, counts = np.unique(present, return_counts=True)
    common = np.argsort(-counts, kind="stable")[: max(1, K - 1)]
    common = common[(counts[common] * K >= len(present)) & (counts[common] > 1)]
    atoms, shares = values[common], counts[common] / len(present)
    rest = present[~np.isin(present, atoms)]
    if not rest.size:  # components that nothing needs lie on the most common value
        rest, shares = present[:0], shares / shares.sum()
    n_rest = K - len(atoms)
    share = np.full(n_rest, max(1 - shares.sum(), 1e-3) / max(n_rest, 1))
    source = rest if rest.size else present
    edges = np.quantile(source, np.linspace(0, 1, n_rest + 1))
    middle = np.quantile(source, (np.arange(n_rest) + 0.5) / max(n_rest, 1))
    # as wide as the stretch between its quantiles, but no needle
    width = np.maximum(np.diff(edges), max(0.25 * (edges[-1] - edges[0]) / max(n_rest, 1), 1e-3))
    return np.stack(
        [
            np.log(np.concatenate([shares, share])),
            np.concatenate([atoms, middle]),
            np.concatenate([np.full(len(atoms), narrow), width]),
        ]
    )


class Standardised(Conditional):
    """Base of densities over real columns, in units of their standard deviations inside.

    Densities are those of the user's own units.
    """

    support = "finite numbers"

    def __init__(self, variance_floor: float = 1e-6) -> None:
        self.variance_floor = variance_floor

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"variance_floor": self.variance_floor}

    @classmethod
    def _settings_rules(cls) -> dict[str, Rule]:
        return {"variance_floor": FLOOR}

    def _learn(self, table: Table, weight: Array) -> dict[str, Array]:
        check_floor("variance_floor", self, self.variance_floor)
        location, scale = location_and_scale(
            lambda: ((weight[where], block) for where, block in table.blocks()), len(table.order)
        )
        if (wide := scale > _WIDEST).any():
            d = int(np.argmax(wide))
            values = np.concatenate([block[:, d] for _, block in table.blocks()])
            worst = values[np.nanargmax(np.abs(values))]
            raise ValueError(
                "X must hold numbers whose deviations can be squared. Got "
                f"{worst!s} in column {int(table.order[d])}: mend it, or choose other units."
            )
        return {"location": location, "scale": scale}

    def _learnt_rules(self, n_columns: int) -> dict[str, ArrayOf]:
        scale = ArrayOf("f", (n_columns,), SMALLEST)
        return {"location": ArrayOf("f", (n_columns,)), "scale": scale}

    @property
    def location(self) -> Array:
        """Mean of each column."""
        return self._learnt["location"]

    @property
    def scale(self) -> Array:
        """Standard deviation of each column; a share of its value if it is constant."""
        return self._learnt["scale"]

    def has_mass(self, c: int, values: Array) -> Array:
        """Return that no value has a probability."""
        return np.zeros(len(values), bool)

    def region(self, c: int, region: Region) -> CodedRegion:
        """Return the codes that column c may have in an interval; nothing in an empty one."""
        if not region.low < region.high:
            return CodedRegion([[np.empty((0, 2))]])
        ends = [(end - self.location[c]) / self.scale[c] for end in (region.low, region.high)]
        return CodedRegion([[run_of(*ends)]], region.low, np.nextafter(region.high, -np.inf))

    def _outside(self, block: Array) -> Array:
        return ~np.isfinite(block)

    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return (x - location) / scale."""
        # beyond the limit squares would overflow; the density there is zero for all purposes
        limit = 1e18 if dtype == np.float32 else 1e150
        codes = (block - self.location) / self.scale
        np.clip(codes, -limit, limit, out=codes)
        return np.ascontiguousarray(codes, dtype)

    def decode(self, codes: Array) -> Array:
        """Return location + scale * code."""
        values: Array = self.location + self.scale * codes
        return values

    def log_jacobian(self, codes: Array) -> Array:
        """Return -log scale, 0 where a code is NaN."""
        return np.where(np.isnan(codes), 0, self._log_slope)

    def _same_log_jacobian(self) -> Array:
        return self._log_slope

    @lazy
    def _log_slope(self) -> Array:
        """Log of the slope (C,) of the codes."""
        slope: Array = -np.log(self.scale)
        return slope

    @property
    @abstractmethod
    def _floor(self) -> float:
        """Smallest variance or scale, as the compiled side takes it."""

    @abstractmethod
    def _variance(self, s: Array) -> Array:
        """Return the variance, in code units, of a raw log scale."""

    @staticmethod
    @abstractmethod
    def _cdf(deviation: Array) -> Array:
        """Return the CDF at this many standard deviations from the mean."""


class Single(Standardised):
    """Base of one density a feature: raw = (mu, s)."""

    def features(self) -> Array:
        """Return the record of each feature (D,) for the kernels."""
        return self._features(floor=self._floor)

    def constant(self, table: Table, weight: Array) -> Array:
        """Return mean 0 and variance 1."""
        return np.tile([0.0, self._log_scale_of_variance(1.0)], self.n_features)

    @abstractmethod
    def _log_scale_of_variance(self, variance: Any) -> Any:
        """Return the raw s with this variance but for the floor."""

    @staticmethod
    @abstractmethod
    def _quantile(probability: Array) -> Array:
        """Return the quantiles of the standardised density."""

    def distribution_params(self, raw: Array, codes: Array) -> dict[str, Array]:
        """Return mean, variance, cdf (n, D) and quantiles (n, D, 3) in the user's units."""
        mean, s = np.moveaxis(self._split_outputs(raw), 2, 0)
        variance = self._variance(s)
        quantiles = self._quantile(np.array(QUANTILES)) * np.sqrt(variance)[:, :, None]
        return {
            "mean": self.decode(mean),
            "variance": variance * self.scale**2,
            "cdf": self._cdf((codes - mean) / np.sqrt(variance)),
            "quantiles": _decoded(self, mean[:, :, None] + quantiles),
        }


def _decoded(conditional: Standardised, codes: Array) -> Array:
    values: Array = conditional.location[:, None] + conditional.scale[:, None] * codes
    return values


class Gaussian(Single):
    """N(mu, exp(s) + variance_floor) for real columns, in units of their standard deviations.

    Columns are shifted and scaled inside; densities are those of the user's own units.

    Parameters
    ----------
    variance_floor : float, default=1e-6
        Smallest variance, as a share of the column's. It keeps repeated values from an infinite
        density.
    """

    name = "gaussian"
    noise = ("normal",)

    @property
    def _floor(self) -> float:
        return self.variance_floor

    def _variance(self, s: Array) -> Array:
        variance: Array = np.exp(s) + self._floor
        return variance

    def _log_scale_of_variance(self, variance: Any) -> Any:
        return np.log(variance)

    @staticmethod
    def _cdf(deviation: Array) -> Array:
        cdf: Array = ndtr(deviation)
        return cdf

    @staticmethod
    def _quantile(probability: Array) -> Array:
        quantile: Array = ndtri(probability)
        return quantile


def _laplace_cdf(deviation: Array) -> Array:
    tail: Array = 0.5 * np.exp(-np.sqrt(2) * np.abs(deviation))
    return np.where(deviation < 0, tail, 1 - tail)


class Laplace(Single):
    """``exp(-|x - mu| / b) / 2 b``, b = exp(s) + sqrt(variance_floor / 2), for real columns.

    The variance is 2 b^2. Columns are shifted and scaled inside; densities are those of the user's
    own units.

    Parameters
    ----------
    variance_floor : float, default=1e-6
        Smallest variance, as a share of the column's.
    """

    name = "laplace"

    @property
    def _floor(self) -> float:
        return float(np.sqrt(self.variance_floor / 2))

    def _variance(self, s: Array) -> Array:
        variance: Array = 2 * (np.exp(s) + self._floor) ** 2
        return variance

    def _log_scale_of_variance(self, variance: Any) -> Any:
        return 0.5 * np.log(variance / 2)

    _cdf = staticmethod(_laplace_cdf)

    @staticmethod
    def _quantile(probability: Array) -> Array:
        side = np.where(probability < 0.5, 1.0, -1.0)
        quantile: Array = side * np.log(2 * np.minimum(probability, 1 - probability)) / np.sqrt(2)
        return quantile


class LocationMixture(Standardised):
    """Base of sum_k softmax(z)_k f(x; mu_k, s_k): raw = (z (K,), mu (K,), s (K,))."""

    zero_init_output = True

    def __init__(self, n_components: int = 10, variance_floor: float = 1e-6) -> None:
        self.n_components = n_components
        super().__init__(variance_floor)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"n_components": self.n_components, **super().settings()}

    @classmethod
    def _settings_rules(cls) -> dict[str, Rule]:
        return {"n_components": COMPONENTS, **super()._settings_rules()}

    def _learn(self, table: Table, weight: Array) -> dict[str, Array]:
        check_components(self, self.n_components)
        return super()._learn(table, weight)

    def features(self) -> Array:
        """Return the record of each feature (D,) for the kernels."""
        return self._features(self.n_components, floor=self._floor)

    def constant(self, table: Table, weight: Array) -> Array:
        """Return components at common values and over the quantiles of the others."""
        codes = self.encode(sampled_columns(table, weight), np.dtype(np.float64))
        narrow = np.full(self.n_features, max(NEEDLE, 2 * np.sqrt(self.variance_floor)))
        log_weight, mean, width = spread_components(codes, self.n_components, narrow)
        return np.concatenate([log_weight, mean, self._raw_scale(width)], axis=1).ravel()

    @abstractmethod
    def _raw_scale(self, deviation: Array) -> Array:
        """Return the raw s with this standard deviation but for the floor."""

    def distribution_params(self, raw: Array, codes: Array) -> dict[str, Array]:
        """Return the mixture in the user's units.

        weights, means, variances (n, D, K) of its components; mean, variance, cdf (n, D) and
        quantiles (n, D, 3) of the whole.
        """
        z, mean, s = np.split(self._split_outputs(raw), 3, axis=2)
        weight, variance = softmax(z, axis=2), self._variance(s)

        def cdf(at: Array) -> Array:
            share: Array = weight * self._cdf((at[:, :, None] - mean) / np.sqrt(variance))
            total: Array = share.sum(axis=2)
            return total

        whole = (weight * mean).sum(axis=2)
        spread = (weight * (variance + (mean - whole[:, :, None]) ** 2)).sum(axis=2)
        quantiles = np.stack([_bisected(cdf, q, mean, variance) for q in QUANTILES], axis=2)
        return {
            "weights": weight,
            "means": _decoded(self, mean),
            "variances": variance * self.scale[:, None] ** 2,
            "mean": self.decode(whole),
            "variance": spread * self.scale**2,
            "cdf": cdf(codes),
            "quantiles": _decoded(self, quantiles),
        }


def _bisected(cdf: Any, probability: float, mean: Array, variance: Array) -> Array:
    """Return where the CDF of mixtures reaches a probability, to rounding."""
    reach = 40 * np.sqrt(variance)
    low: Array = (mean - reach).min(axis=2)
    high: Array = (mean + reach).max(axis=2)
    for _ in range(60):
        middle = (low + high) / 2
        below = cdf(middle) < probability
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return high


class GaussianMixture(LocationMixture):
    """Mixture of K Gaussians N(mu_k, exp(s_k) + variance_floor) for real columns [1]_.

    Columns are shifted and scaled inside; densities are those of the user's own units. A
    temperature raises the weights' and each component's density to its power.

    Parameters
    ----------
    n_components : int, default=10
        K.
    variance_floor : float, default=1e-6
        Smallest variance of a component, as a share of the column's. It keeps components from
        collapsing on repeated values.

    References
    ----------
    .. [1] B. Uria, I. Murray, H. Larochelle, "RNADE: the real-valued neural autoregressive
       density-estimator", NIPS 2013.
    """

    name = "gaussian_mixture"
    noise = ("uniform", "normal")

    _floor = Gaussian._floor
    _variance = Gaussian._variance
    _cdf = staticmethod(Gaussian._cdf)

    def _raw_scale(self, deviation: Array) -> Array:
        raw: Array = 2 * np.log(deviation)
        return raw


class LaplaceMixture(LocationMixture):
    """Mixture of K Laplace densities, b_k = exp(s_k) + sqrt(variance_floor / 2), for real columns.

    Otherwise as `GaussianMixture`.

    Parameters
    ----------
    n_components : int, default=10
        K.
    variance_floor : float, default=1e-6
        Smallest variance of a component, as a share of the column's.
    """

    name = "laplace_mixture"
    noise = ("uniform", "uniform")

    _floor = Laplace._floor
    _variance = Laplace._variance
    _cdf = staticmethod(_laplace_cdf)

    def _raw_scale(self, deviation: Array) -> Array:
        raw: Array = np.log(deviation / np.sqrt(2))
        return raw
