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

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .jax_nade import ACTIVATIONS, Params, adam, cpu_devices, in_chunks

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


class Model:
    """The functions of parameters and rows that are jitted."""

    def __init__(self, activation: str, floor: float | None) -> None:
        # jnp.maximum has the derivative 1/2 at zero.
        self.activation = jax.nn.relu if activation == "relu" else ACTIVATIONS[activation]
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


class JaxWideScan:
    """
    Jitted scan over the features, differentiated by JAX with rematerialised activations.

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

    Notes
    -----
    Every operation takes an array and returns arrays, or takes what `prepare` returned and
    returns finished device arrays, so that conversions can be kept out of a timed region.
    """

    sharded = False

    def __init__(
        self,
        params: dict[str, np.ndarray],
        activation: str,
        variance_floor: float | None,
        n_threads: int,
    ) -> None:
        devices = cpu_devices(n_threads)
        self._mesh = Mesh(np.array(devices if self.sharded else devices[:1]), ("rows",))
        self._kind = np.int32 if variance_floor is None else np.float32
        whole, split = PartitionSpec(), PartitionSpec("rows")
        self._split = NamedSharding(self._mesh, split)
        # The copies keep the caller's arrays apart from those that train_step donates.
        place = partial(jax.device_put, device=NamedSharding(self._mesh, whole))
        self._params: Params = {key: place(np.array(value)) for key, value in params.items()}
        zeros = jax.tree.map(jnp.zeros_like, self._params)
        self._moments = (place(np.float32(0)), zeros, jax.tree.map(jnp.copy, zeros))
        model = Model(activation, variance_floor)

        def gradient(params: Params, rows: Array, weights: Array) -> tuple[Array, Params]:
            return lax.psum(model.gradient(params, rows, weights), "rows")

        def train(params: Params, moments: Any, rows: Array, weights: Array) -> Any:
            loss, change = gradient(params, rows, weights)
            return loss, *adam(params, moments, change)

        shard = partial(jax.shard_map, mesh=self._mesh, check_vma=False)
        by_row = {"in_specs": (whole, split), "out_specs": split}
        self._score = jax.jit(shard(model.scores, **by_row))
        self._sample = jax.jit(shard(model.sample, **by_row))
        self._gradient = jax.jit(shard(gradient, in_specs=(whole, split, split), out_specs=whole))
        self._train = jax.jit(
            shard(train, in_specs=(whole, whole, split, split), out_specs=whole),
            donate_argnums=(0, 1),
        )

    def prepare(self, array: np.ndarray) -> tuple[Array, Array]:
        """Put rows and their weights on the devices, whose number must divide that of the rows."""
        weights = np.full(len(array), 1 / len(array), np.float32)
        return jax.device_put((np.asarray(array, self._kind), weights), self._split)

    def prepare_noise(self, array: np.ndarray) -> tuple[Array]:
        """Put random numbers (m, D) or (m, D, 2) on the devices."""
        return (jax.device_put(np.asarray(array, np.float32), self._split),)

    def log_likelihood(self, rows: Any) -> Any:
        """Compute log p(x) of each row."""
        given = isinstance(rows, np.ndarray)
        data = self.prepare(rows) if given else rows
        found = self._score(self._params, data[0]).block_until_ready()
        return np.asarray(found) if given else found

    def gradient(self, rows: Any) -> Any:
        """Compute the gradient of the mean negative log-likelihood."""
        given = isinstance(rows, np.ndarray)
        data = self.prepare(rows) if given else rows
        found = jax.block_until_ready(self._gradient(self._params, *data)[1])
        return jax.tree.map(np.asarray, found) if given else found

    def train_step(self, rows: Any) -> float:
        """Take one Adam step and return the loss before it."""
        data = self.prepare(rows) if isinstance(rows, np.ndarray) else rows
        loss, self._params, self._moments = jax.block_until_ready(
            self._train(self._params, self._moments, *data)
        )
        return float(loss)

    def sample(self, noise: Any) -> Any:
        """Sample one row for each row of random numbers."""
        given = isinstance(noise, np.ndarray)
        data = self.prepare_noise(noise) if given else noise
        found = self._sample(self._params, *data).block_until_ready()
        return np.asarray(found) if given else found


class JaxWideShardedScan(JaxWideScan):
    """Jitted scan, rows split over the CPU devices."""

    sharded = True
