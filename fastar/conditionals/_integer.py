"""Conditionals of whole numbers: counts, and ordinal levels."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import betainc, betaincc, expit, softmax

from fastar._core.parameters import Array
from fastar._core.schema import SMALLEST, ArrayOf, Maybe, Number, Rule, require
from fastar._data.frame_types import Column
from fastar._data.regions import Region
from fastar._data.table import Table
from fastar.conditionals._conditional import (
    QUANTILES,
    CodedRegion,
    Conditional,
    run_of,
    runs_of,
    sampled_columns,
    weighted_mean,
    whole_near,
)
from fastar.conditionals._real import (
    COMPONENTS,
    FLOOR,
    check_components,
    check_floor,
    spread_logistic_components,
)

LARGEST_COUNT = 2**24
"""float32 tells whole numbers apart up to here (as in src/kernels/conditionals/counts.h)."""


MOST_LEVELS = 2**22
"""float32 tells the ends of so many levels apart."""
MOST_LISTED = 1024
"""A column of no more levels is asked about level by level."""

_LARGEST_LEVEL = 1e300


class Count(Conditional):
    """Base of densities over 0, 1, 2, ...; networks see counts in units near their deviation."""

    support = f"whole numbers from 0 to {LARGEST_COUNT}"
    moves_with_values = False
    zero_init_output = True

    def _learn(self, table: Table, weight: Array) -> dict[str, Array]:
        mean = weighted_mean(table, weight, lambda block: block.astype(np.float64))
        variance = weighted_mean(table, weight, lambda block: (block - mean) ** 2)
        # a power of two, so that a code is exact where the count is
        unit = np.exp2(np.rint(np.log2(np.maximum(variance, 1.0)) / 2))
        return {"mean": mean, "variance": variance, "unit": unit}

    def _learnt_rules(self, n_columns: int) -> dict[str, ArrayOf]:
        each = ArrayOf("f", (n_columns,), 0)
        return {"mean": each, "variance": each, "unit": ArrayOf("f", (n_columns,), 1)}

    @property
    def unit(self) -> Array:
        """The count whose code is one."""
        return self._learnt["unit"]

    def features(self) -> Array:
        """Return the record of each feature (D,) for the kernels."""
        return self._features(unit=self.unit)

    def _outside(self, block: Array) -> Array:
        inside: Array = (block >= 0) & (block <= LARGEST_COUNT) & (block == np.floor(block))
        return ~inside

    def region(self, c: int, region: Region) -> CodedRegion:
        """Return the codes that column c may have in a region: those of counts."""
        return CodedRegion([[_whole_runs(region, 0, LARGEST_COUNT) / self.unit[c]]])

    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return x / unit."""
        return np.ascontiguousarray(block / self.unit, dtype)

    def decode(self, codes: Array) -> Array:
        """Return the count of each code."""
        counts: Array = np.rint(codes.astype(np.float64) * self.unit)
        return counts

    def interval(self, block: Array, radius: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Return the lowest and highest codes (n, D) within radius (D,) of the values."""
        low, high = whole_near(block.astype(np.float64), radius)
        low, high = np.maximum(low, 0), np.minimum(high, LARGEST_COUNT)
        return self.encode(low, dtype), self.encode(high, dtype)

    @abstractmethod
    def distribution_params(self, raw: Array, codes: Array) -> dict[str, Array]:
        """Return mean, variance, cdf (n, D) and quantiles (n, D, 3)."""


def _quantiles(law: Any) -> Array:
    """Return the quantiles (n, D, 3) of a distribution of SciPy's."""
    return np.stack([law.ppf(q) for q in QUANTILES], axis=2)


def _whole_runs(region: Region, least: float, most: float) -> Array:
    """Return the runs (m, 2) of whole numbers from least to most that a region holds."""
    if region.values is not None:
        return runs_of(np.unique(region.values))
    first = np.clip(np.ceil(region.low), least, most + 1)
    return run_of(first, np.clip(np.ceil(region.high) - 1, least - 1, most))


_LOG_MEAN_LIMIT, _LOG_R_LIMIT = 25.0, 15.0  # as in src/kernels/conditionals/counts.h


class Poisson(Count):
    """exp(-m) m^x / x!, m = exp(z), for counts."""

    name = "poisson"

    def constant(self, table: Table, weight: Array) -> Array:
        """Return the log of each column's mean, kept away from 0."""
        return np.log(np.maximum(self._learnt["mean"], 1e-3))

    def distribution_params(self, raw: Array, codes: Array) -> dict[str, Array]:
        """Return mean, variance, cdf (n, D) and quantiles (n, D, 3)."""
        log_mean = self._split_outputs(raw)[:, :, 0]
        mean = np.exp(np.clip(log_mean, -_LOG_MEAN_LIMIT, _LOG_MEAN_LIMIT))
        law = stats.poisson(mean)
        cdf, quantiles = law.cdf(self.decode(codes)), _quantiles(law)
        return {"mean": mean, "variance": mean.copy(), "cdf": cdf, "quantiles": quantiles}


class NegativeBinomial(Count):
    """Gamma(x + r) / (Gamma(r) x!) (r / (r + m))^r (m / (r + m))^x for counts.

    m = exp(z_1) is the mean, r = exp(z_2); the variance m + m^2 / r is above the Poisson's.
    """

    name = "negative_binomial"

    def constant(self, table: Table, weight: Array) -> Array:
        """Return mean and dispersion by each column's moments."""
        mean = np.maximum(self._learnt["mean"], 1e-3)
        excess = np.maximum(self._learnt["variance"] - mean, 1e-2 * mean)
        return np.stack([np.log(mean), np.clip(np.log(mean**2 / excess), -4, 8)], axis=1).ravel()

    def distribution_params(self, raw: Array, codes: Array) -> dict[str, Array]:
        """Return mean, variance, cdf (n, D) and quantiles (n, D, 3)."""
        log_mean, log_r = np.moveaxis(self._split_outputs(raw), 2, 0)
        mean = np.exp(np.clip(log_mean, -_LOG_MEAN_LIMIT, _LOG_MEAN_LIMIT))
        r = np.exp(np.clip(log_r, -_LOG_R_LIMIT, _LOG_R_LIMIT))
        x, total = self.decode(codes), r + mean
        # SciPy's law knows r / total alone, whose distance from 1 is rounded off where r is large
        cdf = np.where(mean < r, betaincc(x + 1, r, mean / total), betainc(r, x + 1, r / total))
        quantiles = _quantiles(stats.nbinom(r, r / total))
        return {"mean": mean, "variance": mean + mean**2 / r, "cdf": cdf, "quantiles": quantiles}


class LogisticMixture(Conditional):
    """Mixture of K logistic densities, discretised to the levels from low to high [1]_.

    p(x) = sum_k softmax(z)_k (F((x + 1/2 - mu_k) / b_k) - F((x - 1/2 - mu_k) / b_k)), F the
    sigmoid, b_k = exp(s_k) + scale_floor, x in steps; the lowest level takes all below it, the
    highest all above. For ordinal levels such as the grey ones 0..255, and for measurements of so
    many decimals.

    Parameters
    ----------
    n_components : int, default=10
        K.
    low, high : float or None, default=None
        The lowest and the highest level; by default those of each column in `fit`.
    scale_floor : float, default=0.05
        Smallest b_k, in levels.
    step : float, default=1
        Distance of the levels, which are its multiples: 0.01 for two decimals.
    margin : float, default=0
        Share of their range by which the levels go beyond those of `fit`, below as above, but not
        below 0 where `fit` saw nothing below it.

    References
    ----------
    .. [1] T. Salimans, A. Karpathy, X. Chen, D. P. Kingma, "PixelCNN++", ICLR 2017.
    """

    name = "logistic_mixture"
    has_levels = True
    noise = ("uniform", "uniform")
    zero_init_output = True

    def __init__(
        self,
        n_components: int = 10,
        low: float | None = None,
        high: float | None = None,
        scale_floor: float = 0.05,
        step: float = 1.0,
        margin: float = 0.0,
    ) -> None:
        self.n_components = n_components
        self.low = low
        self.high = high
        self.scale_floor = scale_floor
        self.step = step
        self.margin = margin

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "n_components": self.n_components,
            "low": self.low,
            "high": self.high,
            "scale_floor": self.scale_floor,
            "step": self.step,
            "margin": self.margin,
        }

    @classmethod
    def _settings_rules(cls) -> dict[str, Rule]:
        level = Maybe(Number(-_LARGEST_LEVEL, _LARGEST_LEVEL))
        return {
            "n_components": COMPONENTS,
            "low": level,
            "high": level,
            "scale_floor": FLOOR,
            "step": FLOOR,
            "margin": Number(0, MOST_LEVELS),
        }

    def check_arrays(self, arrays: dict[str, Array], n_columns: int) -> None:
        """Raise EntryError unless these are what `arrays` gives of so many columns."""
        super().check_arrays(arrays, n_columns)
        low, high = arrays["low"], arrays["high"]
        for name, each in (("low", low), ("high", high)):
            require(name, (each == np.rint(each)).all(), "must hold whole numbers.")
        apart = (low <= high) & (high - low <= MOST_LEVELS)
        require("high", apart.all(), f"must be above low, by {MOST_LEVELS} at most.")

    def _learnt_rules(self, n_columns: int) -> dict[str, ArrayOf]:
        level = ArrayOf("f", (n_columns,), -_LARGEST_LEVEL, _LARGEST_LEVEL)
        spread = ArrayOf("f", (n_columns,), SMALLEST)
        return {"low": level, "high": level, "centre": level, "spread": spread}

    def _learn(self, table: Table, weight: Array) -> dict[str, Array]:
        check_components(self, self.n_components)
        check_floor("scale_floor", self, self.scale_floor)
        check_floor("step", self, self.step)
        low, high = np.full(len(table.order), np.inf), np.full(len(table.order), -np.inf)
        for _, block in table.blocks():
            low = np.fmin(low, np.fmin.reduce(self._steps(block), axis=0))
            high = np.fmax(high, np.fmax.reduce(self._steps(block), axis=0))
        low, high = np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)
        beyond = np.ceil(self.margin * (high - low))
        reached = np.where(low >= 0, np.maximum(low - beyond, 0), low - beyond)
        low = reached if self.low is None else np.full_like(low, round(self.low / self.step))
        high = (
            high + beyond if self.high is None else np.full_like(high, round(self.high / self.step))
        )
        if (high < low).any() or (high - low > MOST_LEVELS).any():
            raise ValueError(
                "LogisticMixture must have low <= high, and levels no further apart than "
                f"{MOST_LEVELS}. Got {low.min():.0f} to {high.max():.0f} instead."
            )
        centre = weighted_mean(table, weight, self._steps)
        variance = weighted_mean(table, weight, lambda block: (self._steps(block) - centre) ** 2)
        spread = np.maximum(np.sqrt(variance), 0.5)
        return {"low": low, "high": high, "centre": centre, "spread": spread}

    @property
    def support(self) -> str:
        """The support, for error messages."""
        levels = "whole numbers" if self.step == 1 else f"multiples of {self.step}"
        return f"{levels} between the lowest and the highest level"

    def decided(self, c: int, offset: int = 0, column: Column | None = None) -> dict[str, Any]:
        """Return what was decided on column c."""
        low, high = (int(self._learnt[end][c]) for end in ("low", "high"))
        ends = [each if self.step == 1 else each * self.step for each in (low, high)]
        return super().decided(c) | {
            "levels": high - low + 1,
            "support": f"from {ends[0] + offset} to {ends[1] + offset} in steps of {self.step:g}",
            "why": "whole numbers, few of which are common",
        }

    def _steps(self, block: Array) -> Array:
        """Return values as numbers of steps, whole ones where they are levels."""
        steps: Array = block.astype(np.float64)
        if self.step == 1:
            return steps
        steps = steps / self.step
        nearest = np.rint(steps)
        return np.where(
            np.abs(steps - nearest) <= 1e-6 * np.maximum(1, np.abs(steps)), nearest, steps
        )

    def _values(self, steps: Array) -> Array:
        """Return the value of so many steps: of 35 of 0.01 the number 0.35, not its neighbour."""
        inverse = 1 / self.step
        if abs(inverse - round(inverse)) <= 1e-9 * inverse:
            return steps / round(inverse)
        return steps * self.step

    @property
    def _unit(self) -> Array:
        """Half the distance of two codes, which are in units of the column's deviation."""
        return 0.5 / self._learnt["spread"]

    def features(self) -> Array:
        """Return the record of each feature (D,) for the kernels."""
        unit = self._unit
        features = self._features(self.n_components, unit, 2 * unit * self.scale_floor)
        features["low"], features["high"] = self._code("low"), self._code("high")
        return features

    def levels_of(self, d: int) -> Array | None:
        """Return the levels of column d, unless they are very many."""
        low, high = (int(self._learnt[name][d]) for name in ("low", "high"))
        if high - low >= MOST_LISTED:
            return None
        return self._values(np.arange(low, high + 1.0))

    def region(self, c: int, region: Region) -> CodedRegion:
        """Return the codes that column c may have in a region: those of levels."""
        low, high, *values = self._steps(
            np.array([region.low, region.high, *(region.values or ())])
        ).tolist()
        in_steps = replace(
            region, low=low, high=high, values=None if region.values is None else tuple(values)
        )
        learnt = self._learnt
        runs = _whole_runs(in_steps, learnt["low"][c], learnt["high"][c])
        return CodedRegion([[(runs - learnt["centre"][c]) / learnt["spread"][c]]])

    def _code(self, name: str) -> Array:
        """Return the code of each column's lowest or highest level."""
        code: Array = (self._learnt[name] - self._learnt["centre"]) / self._learnt["spread"]
        return code

    def _outside(self, block: Array) -> Array:
        low, high = self._learnt["low"], self._learnt["high"]
        steps = self._steps(block)
        inside: Array = (steps >= low) & (steps <= high) & (steps == np.floor(steps))
        return ~inside

    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return (x - centre) / spread."""
        codes = (self._steps(block) - self._learnt["centre"]) / self._learnt["spread"]
        return np.ascontiguousarray(codes, dtype)

    def interval(self, block: Array, radius: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Return the lowest and highest codes (n, D) within radius (D,) of the values."""
        learnt = self._learnt
        low, high = whole_near(block / self.step, radius / self.step)
        low, high = np.maximum(low, learnt["low"]), np.minimum(high, learnt["high"])
        codes = [(each - learnt["centre"]) / learnt["spread"] for each in (low, high)]
        return codes[0].astype(dtype), codes[1].astype(dtype)

    def decode(self, codes: Array) -> Array:
        """Return the level of each code."""
        return self._values(np.rint(self._unrounded(codes.astype(np.float64))))

    def _unrounded(self, codes: Array) -> Array:
        """Return the steps (n, D, ...) of codes, which need not be levels."""
        shape = (-1,) + (1,) * (codes.ndim - 2)
        spread, centre = (self._learnt[name].reshape(shape) for name in ("spread", "centre"))
        steps: Array = codes * spread + centre
        return steps

    def constant(self, table: Table, weight: Array) -> Array:
        """Return components at common values and over the quantiles of the others."""
        codes = self.encode(sampled_columns(table, weight), np.dtype(np.float64))
        components = spread_logistic_components(codes, self.n_components, self._unit / 2)
        return np.concatenate(components, axis=1).ravel()

    def distribution_params(self, raw: Array, codes: Array) -> dict[str, Array]:
        """Return the mixture before it is discretised, and its CDF at the level.

        weights, means, scales (n, D, K) of its components; mean (n, D) of them; cdf (n, D), the
        mass up to and including the level.
        """
        z, mean, s = np.split(self._split_outputs(raw), 3, axis=2)
        unit = self._unit[:, None]
        weight, scale = softmax(z, axis=2), np.exp(s) + 2 * unit * self.scale_floor
        cdf = (weight * expit((codes[:, :, None] + unit - mean) / scale)).sum(axis=2)
        return {
            "weights": weight,
            "means": self.step * self._unrounded(mean),
            "scales": self.step * scale / (2 * unit),
            "mean": self.step * self._unrounded((weight * mean).sum(axis=2)),
            "cdf": np.where(codes + self._unit > self._code("high"), 1.0, cdf),
        }
