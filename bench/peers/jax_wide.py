"""NADE with several outputs a feature in JAX: RNADE with mixtures, and categorical NADE."""

# Tried on 2 cores (JAX 0.10.2, float32, 100 rows), smallest times in milliseconds; kept are those
# with a star. RNADE: 63 features, 512 rectified units, 20 components; NADE: 100 features of 16
# levels, 500 sigmoid units. "sharded" is 50 rows on each of two CPU devices.
#
#                                                   RNADE           categorical NADE
#                                               score  train step    score  train step
#   scan, checkpoint; densities after it *        5.7        25        3.9        21
#   the same, sharded *                           3.3        15        2.3        13
#   the same, one-hot products for gathered rows                       8.2        32
#   the same, outputs (P, n)                      6.2        29
#   the same, densities in the scan               7.6        32        8.0        35
#   no checkpoint; sharded                   5.8; 3.6    38; 17   3.8; 2.3    42; 28
#   scan for states, one batched product          8.9        36       21          43
#   the same, outputs (P, n)                      4.8        31
#   cumulative sum, einsum                         25       132       53         125
#   product with masked rows, einsum              8.9        38

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from .jax_peer import ACTIVATIONS, Functions, JaxShards, Params, Prepared, in_chunks

__all__ = [
    "JaxWideScan",
    "JaxWideShardedScan",
    "draw_levels",
    "draw_mixture",
    "mixture_log_density",
]

HALF_LOG_2PI = 0.5 * float(np.log(2 * np.pi))


def mixture_log_density(raw: Array, values: Array, floor: float, axis: int) -> Array:
    """Return log-densities of mixtures whose outputs lie along `axis`, where values have 1."""
    logits, mean, s = jnp.split(raw, 3, axis)
    variance = jnp.exp(s) + floor
    parts = logits - 0.5 * (jnp.log(variance) + (values - mean) ** 2 / variance)
    normaliser = jax.nn.logsumexp(logits, axis) + HALF_LOG_2PI
    return jax.nn.logsumexp(parts, axis) - normaliser


def level_log_prob(raw: Array, codes: Array) -> Array:
    """Return the log-probabilities of codes (..) for raw outputs (.., Q)."""
    chosen = jnp.where(codes[..., None] == jnp.arange(raw.shape[-1]), raw, 0).sum(-1)
    return chosen - jax.nn.logsumexp(raw, -1)


def draw_levels(logits: Array, uniforms: Array) -> Array:
    """Return numbers (n,) of levels or components for logits (n, Q)."""
    steps = jnp.cumsum(jax.nn.softmax(logits, -1), -1)
    return (uniforms[:, None] > steps[:, :-1]).sum(-1)


def draw_mixture(raw: Array, noise: Array, floor: float) -> Array:
    """Return values (n,) for raw outputs (n, 3 K) and uniforms and normals (n, 2)."""
    logits, mean, s = jnp.split(raw, 3, -1)
    chosen = draw_levels(logits, noise[:, 0])[:, None] == jnp.arange(logits.shape[1])
    mean, s = (jnp.where(chosen, each, 0).sum(-1) for each in (mean, s))
    return mean + noise[:, 1] * jnp.sqrt(jnp.exp(s) + floor)


class WideScan(Functions):
    """A scan over the features, differentiated by JAX with rematerialised activations."""

    def __init__(self, activation: str, floor: float | None) -> None:
        self.activation = ACTIVATIONS[activation]
        self.floor = floor

    def steps(self, params: Params) -> Params:
        """Return what the steps of a scan take of the parameters."""
        return {key: params[key] for key in ("W", "V", "rho") if key in params} | {
            "b": params["b"][1:]
        }

    def step(self, sums: Array, column: Array, params: Params) -> tuple[Array, Array]:
        """Add a column to the sums (n, H), and return the outputs (n, P) of the next feature."""
        weight = params["W"]
        sums = sums + (column[:, None] * weight if weight.ndim == 1 else weight[column])
        hidden = self.activation(params["rho"] * sums if "rho" in params else sums)
        raw = lax.dot_general(hidden, params["V"], (((1,), (1,)), ((), ())))
        return sums, raw + params["b"]

    def scores(self, params: Params, rows: Array) -> Array:
        """Compute log p(x) of each row."""
        columns = rows.T

        def step(sums: Array, inputs: tuple[Array, Params]) -> tuple[Array, Array]:
            return self.step(sums, *inputs)

        start = jnp.tile(params["c"], (len(rows), 1))
        inputs = (columns[:-1], self.steps(params))
        raw = lax.scan(jax.checkpoint(step, prevent_cse=False), start, inputs)[1]
        first = self.log_prob(params["b"][:1, None], columns[:1])
        return first[0] + self.log_prob(raw, columns[1:]).sum(0)

    def log_prob(self, raw: Array, columns: Array) -> Array:
        """Return log-densities of columns (d, n)."""
        if self.floor is None:
            return level_log_prob(raw, columns)
        return mixture_log_density(raw, columns[..., None], self.floor, -1)

    def gradient(self, params: Params, rows: Array, weights: Array) -> tuple[Array, Params]:
        """Differentiate the weighted sum of -log p(x)."""
        return jax.value_and_grad(lambda params: -weights @ self.scores(params, rows))(params)

    def draw(self, raw: Array, noise: Array) -> Array:
        """Return values (n,) of one feature."""
        if self.floor is None:
            return draw_levels(raw, noise)
        return draw_mixture(raw, noise, self.floor)

    def sample(self, params: Params, noise: Array) -> Array:
        """Sample one row for each row of random numbers."""

        def sample(noise: Array) -> Array:
            numbers = noise.swapaxes(0, 1)
            first = self.draw(jnp.tile(params["b"][0], (len(noise), 1)), numbers[0])

            def step(carry: tuple[Array, Array], inputs: tuple[Array, Params]) -> Any:
                numbers, params = inputs
                sums, raw = self.step(*carry, params)
                column = self.draw(raw, numbers)
                return (sums, column), column

            start = jnp.tile(params["c"], (len(noise), 1)), first
            rest = lax.scan(step, start, (numbers[1:], self.steps(params)))[1]
            return jnp.concatenate([first[None], rest]).T

        return in_chunks(sample, noise)


class JaxWideScan(JaxShards):
    """
    Jitted scan over the features.

    Parameters
    ----------
    params : dict of numpy.ndarray
        ``W (D-1, H)``, or ``(D-1, Q, H)`` where inputs are levels; ``c (H,)``, ``V (D-1, P, H)``,
        ``b (D, P)``, and maybe ``rho (D-1,)``, by which the pre-activations are multiplied.
    activation : {"sigmoid", "tanh", "relu"}
        Activation of the hidden layer.
    variance_floor : float or None
        Of the mixtures of Gaussians; None where outputs are levels.
    n_threads : int
        CPU devices to split the rows over, in the peer that does.
    """

    def __init__(
        self,
        params: dict[str, np.ndarray],
        activation: str,
        variance_floor: float | None,
        n_threads: int,
    ) -> None:
        self._kind = np.int32 if variance_floor is None else np.float32
        super().__init__(params, WideScan(activation, variance_floor), n_threads)

    def prepare(self, array: np.ndarray) -> Prepared:
        """Put rows on the devices."""
        return super().prepare(np.asarray(array, self._kind))

    def prepare_noise(self, array: np.ndarray) -> Prepared:
        """Put random numbers (m, D) or (m, D, 2) on the devices."""
        return super().prepare(np.asarray(array, np.float32))


class JaxWideShardedScan(JaxWideScan):
    """Jitted scan, rows split over the CPU devices."""

    sharded = True
