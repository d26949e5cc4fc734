"""Output distributions: what the raw outputs of a network mean for one feature.

A conditional translates between the user's values and *codes* (what networks see, in model order)
and owns the log-density. Networks know none of this. To add one: write a class here, put it into
`BY_NAME`, and give it a kernel in ``src/kernels/conditionals.c``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, softmax

from fastar._kernels import _conditionals, _uniforms
from fastar._parameters import Array
from fastar._table import Table
from fastar._threads import useful_n_threads
from fastar.networks._inputs import Inputs

__all__ = ["BY_NAME", "Bernoulli", "Categorical", "Conditional", "Gaussian"]


class Conditional(ABC):
    """One family of densities for every feature.

    `fitted` returns a copy that has learnt what depends on the data alone (levels, location and
    scale); every other method is for such a copy, and sees arrays in model order.
    """

    name: ClassVar[str]

    n_outputs: int
    inputs: Inputs

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self.settings().items())
        return f"{type(self).__name__}({settings})"

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {}

    @abstractmethod
    def fitted(self, table: Table, weight: Array) -> Conditional:
        """Return a copy that knows the data's levels or scale. weight (n,)."""

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """Return what `fitted` learnt, by name, for a file."""

    @abstractmethod
    def restored(self, arrays: dict[str, Array], n_features: int) -> Conditional:
        """Return a copy with what `arrays` gave."""

    @abstractmethod
    def unsupported(self, block: Array) -> Array:
        """Return where (n, D) the values lie outside the support."""

    @property
    @abstractmethod
    def support(self) -> str:
        """The support, for error messages."""

    @abstractmethod
    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return codes (n, D) of values (n, D)."""

    @abstractmethod
    def decode(self, codes: Array) -> Array:
        """Return values (n, D) of codes (n, D)."""

    @abstractmethod
    def constant(self, table: Table, weight: Array) -> Array:
        """Return the raw outputs (D, P) of the best constant model."""

    @abstractmethod
    def describe(self, raw: Array) -> Any:
        """Return what the raw outputs (n, D, P) say, as `conditionals` gives it to users."""

    @property
    @abstractmethod
    def kernel(self) -> _conditionals.Kernel:
        """The compiled log-density, its gradient and its draws."""

    def log_prob(self, raw: Array, codes: Array, n_threads: int) -> tuple[Array, Array]:
        """Return log-densities of codes (n, D) and their row sums (n,)."""
        result: tuple[Array, Array] = self.kernel.log_prob(raw, codes, _threads(raw, n_threads))
        return result

    def gradient(
        self, raw: Array, codes: Array, scale: Array, n_threads: int
    ) -> tuple[Array, Array]:
        """Return row sums of log-densities (n,) and scale[r] times their gradient by raw."""
        result: tuple[Array, Array] = self.kernel.gradient(
            raw, codes, scale, _threads(raw, n_threads)
        )
        return result

    def log_scale(self) -> Array | None:
        """Return log |d code / d value| (D,), or None where codes are the values themselves."""
        return None

    def fill_noise(
        self, streams: list[np.random.Generator], out: Array, rows: int, n_threads: int
    ) -> None:
        """Fill `out` (n, D, m) with what n draws of every feature use up: uniforms in [0, 1).

        streams: one for each `rows` rows of `out`.
        """
        _uniforms.fill(streams, out.reshape(len(out), -1), rows, n_threads)


def _threads(raw: Array, n_threads: int) -> int:
    return useful_n_threads(n_threads, 20 * raw.size)


def _weighted_mean(table: Table, weight: Array, code: Any) -> Array:
    total = np.zeros(len(table.order))
    for where, block in table.blocks():
        # not a matrix product: BLAS may add in another order for another number of threads
        total += np.einsum("i,ij->j", weight[where], code(block))
    mean: Array = total / weight.sum()
    return mean


class Bernoulli(Conditional):
    r"""p(x = 1) = sigmoid(z) for 0/1 or bool columns.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE
    >>> X = np.array([[1], [0], [1], [1]])
    >>> coin = NADE(early_stopping=False, random_state=0).fit(X)
    >>> coin.distribution_
    Bernoulli()
    >>> round(float(coin.conditionals(X)[0, 0]), 2)
    0.75
    """

    name = "bernoulli"
    n_outputs = 1
    support = "0 or 1"

    def fitted(self, table: Table, weight: Array) -> Bernoulli:
        """Return a copy for the table's number of features."""
        return self.restored({}, len(table.order))

    def arrays(self) -> dict[str, Array]:
        """Return nothing: there is nothing to learn but parameters."""
        return {}

    def restored(self, arrays: dict[str, Array], n_features: int) -> Bernoulli:
        """Return a copy for `n_features` features."""
        new = Bernoulli()
        new.inputs = Inputs(1, np.zeros(n_features, np.uint8), unit_changes=True)
        return new

    def unsupported(self, block: Array) -> Array:
        """Return where values are neither 0 nor 1."""
        return np.zeros(block.shape, bool) if block.dtype == bool else (block != 0) & (block != 1)

    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return the values as `dtype`."""
        return np.ascontiguousarray(block, dtype)

    def decode(self, codes: Array) -> Array:
        """Return the codes as bytes."""
        return codes.astype(np.uint8)

    def constant(self, table: Table, weight: Array) -> Array:
        """Return the log-odds of each column's mean, kept away from 0 and 1."""
        edge = min(0.5 / (weight.sum() + 1), 0.01)
        p = np.clip(_weighted_mean(table, weight, lambda block: block), edge, 1 - edge)
        log_odds: Array = np.log(p / (1 - p))
        return log_odds[:, None]

    def describe(self, raw: Array) -> Array:
        """Return probabilities of one (n, D)."""
        probability: Array = expit(raw[:, :, 0], dtype=np.float64)
        return probability

    @property
    def kernel(self) -> _conditionals.Kernel:
        """The compiled Bernoulli."""
        return _conditionals.Kernel("bernoulli")


class Categorical(Conditional):
    """p(x = level k) = softmax(z)_k over the levels of each column seen in `fit`.

    A level enters the network by a row of weights of its own.
    """

    name = "categorical"
    support = "one of the levels seen in fit"

    levels: list[Array]
    _n_levels: Array

    def fitted(self, table: Table, weight: Array) -> Categorical:
        """Return a copy with the levels of each column, sorted."""
        levels: list[set[Any]] = [set() for _ in table.order]
        for _, block in table.blocks():
            for d, seen in enumerate(levels):
                seen.update(np.unique(block[:, d]).tolist())
        return self._with([np.array(sorted(seen), table.dtype) for seen in levels])

    def _with(self, levels: list[Array]) -> Categorical:
        new = Categorical()
        new.levels = levels
        new.n_outputs = max(len(each) for each in levels)
        new.inputs = Inputs(new.n_outputs, np.ones(len(levels), np.uint8), unit_changes=True)
        new._n_levels = np.array([len(each) for each in levels], np.int32)
        return new

    def arrays(self) -> dict[str, Array]:
        """Return all levels in a row, and how many each column has."""
        return {"levels": np.concatenate(self.levels), "n_levels": self._n_levels}

    def restored(self, arrays: dict[str, Array], n_features: int) -> Categorical:
        """Return a copy with the levels of `arrays`."""
        return self._with(np.split(arrays["levels"], np.cumsum(arrays["n_levels"])[:-1]))

    def _positions(self, block: Array) -> Array:
        codes = np.empty(block.shape, np.intp)
        for d, levels in enumerate(self.levels):
            codes[:, d] = np.minimum(np.searchsorted(levels, block[:, d]), len(levels) - 1)
        return codes

    def unsupported(self, block: Array) -> Array:
        """Return where values are no level of their column."""
        wrong: Array = self.decode(self._positions(block)) != block
        return wrong

    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return the number of each level."""
        return self._positions(block).astype(dtype)

    def decode(self, codes: Array) -> Array:
        """Return the levels with these numbers."""
        values = np.empty(codes.shape, self.levels[0].dtype)
        for d, levels in enumerate(self.levels):
            values[:, d] = levels[codes[:, d].astype(np.intp)]
        return values

    def constant(self, table: Table, weight: Array) -> Array:
        """Return the log of each level's share."""
        shares = np.zeros((len(self.levels), self.n_outputs))
        features = np.arange(len(self.levels))
        for where, block in table.blocks():
            np.add.at(shares, (features[None, :], self._positions(block)), weight[where][:, None])
        # a level without weight gets half of the smallest share
        known = np.arange(self.n_outputs) < self._n_levels[:, None]
        shares = np.where(known & (shares == 0), shares[shares > 0].min() / 2, shares)
        return np.where(known, np.log(np.where(known, shares, 1) / weight.sum()), 0)

    def describe(self, raw: Array) -> Array:
        """Return probabilities (n, D, K); levels that a column does not have get zero."""
        beyond = np.arange(self.n_outputs) >= self._n_levels[:, None]
        masked = np.where(beyond, -np.inf, raw.astype(np.float64))
        probability: Array = softmax(masked, axis=2)
        return probability

    @property
    def kernel(self) -> _conditionals.Kernel:
        """The compiled categorical."""
        return _conditionals.Kernel("categorical", self._n_levels)


class Gaussian(Conditional):
    """N(mu, exp(s) + variance_floor) for real columns, in units of their standard deviations.

    Columns are shifted and scaled inside; densities are those of the user's own units.

    Parameters
    ----------
    variance_floor : float, default=1e-6
        Smallest variance, as a share of the column's. It keeps repeated values from an infinite
        density.
    """

    name = "gaussian"
    n_outputs = 2
    support = "finite numbers"

    location: Array
    scale: Array

    def __init__(self, variance_floor: float = 1e-6) -> None:
        self.variance_floor = variance_floor

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"variance_floor": self.variance_floor}

    def fitted(self, table: Table, weight: Array) -> Gaussian:
        """Return a copy with each column's mean and standard deviation (1 if constant)."""
        if not 1e-30 <= self.variance_floor < np.inf:
            raise ValueError(
                "variance_floor of Gaussian must be at least 1e-30. "
                f"Got {self.variance_floor!r} instead."
            )
        location = _weighted_mean(table, weight, lambda block: block.astype(np.float64))
        variance = _weighted_mean(table, weight, lambda block: (block - location) ** 2)
        rounding = np.finfo(np.float64).eps * np.maximum(np.abs(location), 1e-300)
        return self._with(
            location, np.where(np.sqrt(variance) > 4 * rounding, np.sqrt(variance), 1.0)
        )

    def _with(self, location: Array, scale: Array) -> Gaussian:
        new = Gaussian(self.variance_floor)
        new.location, new.scale = location, scale
        new.inputs = Inputs(1, np.zeros(len(location), np.uint8), unit_changes=False)
        return new

    def arrays(self) -> dict[str, Array]:
        """Return location and scale."""
        return {"location": self.location, "scale": self.scale}

    def restored(self, arrays: dict[str, Array], n_features: int) -> Gaussian:
        """Return a copy with the location and scale of `arrays`."""
        return self._with(arrays["location"], arrays["scale"])

    def unsupported(self, block: Array) -> Array:
        """Return where values are not finite."""
        return ~np.isfinite(block)

    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return (x - location) / scale."""
        # beyond the limit squares would overflow; the density there is zero for all purposes
        limit = 1e18 if dtype == np.float32 else 1e150
        codes = np.clip((block - self.location) / self.scale, -limit, limit)
        return np.ascontiguousarray(codes, dtype)

    def decode(self, codes: Array) -> Array:
        """Return location + scale * code."""
        values: Array = self.location + self.scale * codes
        return values

    def constant(self, table: Table, weight: Array) -> Array:
        """Return mean 0 and variance 1."""
        return np.zeros((len(self.location), 2))

    def log_scale(self) -> Array:
        """Return -log scale."""
        return -np.log(self.scale)

    def describe(self, raw: Array) -> dict[str, Array]:
        """Return mean and variance (n, D) in the user's units."""
        mean, s = raw[:, :, 0].astype(np.float64), raw[:, :, 1].astype(np.float64)
        return {
            "mean": self.decode(mean),
            "variance": (np.exp(s) + self.variance_floor) * self.scale**2,
        }

    @property
    def kernel(self) -> _conditionals.Kernel:
        """The compiled Gaussian."""
        return _conditionals.Kernel("gaussian", variance_floor=self.variance_floor)

    def fill_noise(
        self, streams: list[np.random.Generator], out: Array, rows: int, n_threads: int
    ) -> None:
        """Fill `out` (n, D, 1) with standard normals."""

        def fill(i: int) -> None:
            streams[i].standard_normal(out=out[i * rows : (i + 1) * rows], dtype=out.dtype)

        if n_threads == 1 or len(streams) == 1:
            for i in range(len(streams)):
                fill(i)
            return
        with ThreadPoolExecutor(n_threads) as pool:  # NumPy draws without the interpreter's lock
            list(pool.map(fill, range(len(streams))))


BY_NAME: dict[str, type[Conditional]] = {
    each.name: each for each in (Bernoulli, Categorical, Gaussian)
}
