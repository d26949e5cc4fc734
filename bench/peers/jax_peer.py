"""What all peers in JAX do alike: the interface that `contestants.py` times, and Adam."""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

__all__ = [
    "ACTIVATIONS",
    "Functions",
    "JaxPeer",
    "JaxShards",
    "Params",
    "Prepared",
    "in_chunks",
    "tanh_sigmoid",
]

Params = dict[str, Array]

#: Rows scanned together where rows are independent; their states then fit a core's cache.
CHUNK_ROWS = 128


def tanh_sigmoid(value: Array) -> Array:
    # Faster than jax.nn.sigmoid: 16 ms against 21 ms for scoring.
    return 0.5 * jnp.tanh(0.5 * value) + 0.5


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": tanh_sigmoid,
    "tanh": jnp.tanh,
    # jnp.maximum has the derivative 1/2 at zero, where units are that see no ones.
    "relu": jax.nn.relu,
}


def in_chunks(function: Callable[[Array], Array], rows: Array) -> Array:
    """Apply a function of independent rows to a few of them at a time."""
    n_rows = rows.shape[0]
    n_chunks = -(-n_rows // CHUNK_ROWS)
    size = -(-n_rows // n_chunks)
    padding = [(0, n_chunks * size - n_rows), *[(0, 0)] * (rows.ndim - 1)]
    padded = jnp.pad(rows, padding)
    results = lax.map(function, padded.reshape(n_chunks, size, *rows.shape[1:]))
    return results.reshape(n_chunks * size, *results.shape[2:])[:n_rows]


def adam(params: Any, moments: Any, gradient: Any) -> tuple[Any, Any]:
    """Take one Adam step of size 1e-3."""
    count, first, second = moments
    count = count + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda m, g: 0.999 * m + 0.001 * g * g, second, gradient)
    size = 1e-3 / (1 - 0.9**count)
    scale = 1 / (1 - 0.999**count)
    params = jax.tree.map(
        lambda p, m, v: p - size * m / (jnp.sqrt(v * scale) + 1e-8), params, first, second
    )
    return params, (count, first, second)


class Prepared(NamedTuple):
    """Arrays on the devices, weights of their rows where gradients take them, and their number."""

    arrays: tuple[Array, ...]
    weights: tuple[Array, ...]
    n_rows: int


class Functions:
    """
    The functions of parameters and rows that are jitted.

    A subclass has ``scores`` and ``sample``, and a gradient of its own if it likes.
    """

    def scores(self, params: Any, *rows: Any) -> Array:
        """Compute log p(x) of each row."""
        raise NotImplementedError

    def sample(self, params: Any, *noise: Any) -> Array:
        """Sample one row for each row of random numbers."""
        raise NotImplementedError

    def gradient(self, params: Any, *rows: Any) -> tuple[Array, Any]:
        """Differentiate the mean of -log p(x)."""
        return jax.value_and_grad(lambda params: -self.scores(params, *rows).mean())(params)

    def train(self, params: Any, moments: Any, *rows: Any) -> Any:
        """Take one Adam step."""
        loss, change = self.gradient(params, *rows)
        return loss, *adam(params, moments, change)


class JaxPeer:
    """
    Jitted functions, their parameters, and Adam.

    Parameters
    ----------
    params : arrays on the devices
        They are donated to the training step.
    functions : Functions
    fixed : tuple
        What the functions take between parameters and rows.

    Notes
    -----
    Every operation takes an array and returns arrays, or takes what `prepare` returned and
    returns finished device arrays, so that conversions can be kept out of a timed region.
    """

    def __init__(self, params: Any, functions: Functions, *fixed: Any) -> None:
        self._params, self._fixed = params, fixed
        zeros = jax.tree.map(jnp.zeros_like, params)
        self._moments = (jnp.float32(0), zeros, jax.tree.map(jnp.copy, zeros))
        self._scores = jax.jit(functions.scores)
        self._gradient = jax.jit(functions.gradient)
        self._train = jax.jit(functions.train, donate_argnums=(0, 1))
        self._sample = jax.jit(functions.sample)

    def prepare(self, array: Any) -> Prepared:
        """Put rows on the device."""
        return Prepared((jnp.array(array, jnp.float32),), (), len(array))

    def prepare_noise(self, array: np.ndarray) -> Prepared:
        """Put random numbers on the device."""
        return self.prepare(array)

    def log_likelihood(self, rows: Any) -> Any:
        """Compute log p(x) of each row."""
        return self._by_row(self._scores, rows, self._ready(rows))

    def gradient(self, rows: Any) -> Any:
        """Compute the gradient of the mean negative log-likelihood."""
        data = self._ready(rows)
        found = self._gradient(self._params, *self._fixed, *data.arrays, *data.weights)[1]
        jax.block_until_ready(found)
        return found if rows is data else self._by_name(jax.tree.map(np.asarray, found))

    def train_step(self, rows: Any) -> float:
        """Take one Adam step and return the loss before it."""
        data = self._ready(rows)
        loss, self._params, self._moments = jax.block_until_ready(
            self._train(self._params, self._moments, *self._fixed, *data.arrays, *data.weights)
        )
        return float(loss)

    def sample(self, noise: Any) -> Any:
        """Sample one row for each row of random numbers."""
        data = noise if isinstance(noise, Prepared) else self.prepare_noise(noise)
        return self._by_row(self._sample, noise, data)

    def _ready(self, rows: Any) -> Prepared:
        return rows if isinstance(rows, Prepared) else self.prepare(rows)

    def _by_row(
        self, function: Callable[..., Array], given: Any, data: Prepared, *rest: Any
    ) -> Any:
        found = function(self._params, *self._fixed, *data.arrays, *rest)
        if data.n_rows != len(found):
            found = found[: data.n_rows]
        found.block_until_ready()
        return found if given is data else np.asarray(found)

    def _by_name(self, gradient: Any) -> dict[str, np.ndarray]:
        """Return a gradient by fastar's parameters."""
        return gradient


def cpu_devices(n_devices: int) -> list[Any]:
    """Give the first CPU devices, asking for one per core if none was made yet."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # Where the devices exist already this is refused; whether they suffice is seen below.
    with suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", max(n_devices, cores or 1))
    devices = jax.devices("cpu")
    if len(devices) < n_devices:
        raise RuntimeError(f"JAX has {len(devices)} CPU device(s) for {n_devices} threads")
    return devices[:n_devices]


class _Shard(Functions):
    """Functions of the rows of one device, and of their weights in the loss of all."""

    def __init__(self, functions: Functions, mesh: Mesh) -> None:
        whole, split = PartitionSpec(), PartitionSpec("rows")
        shard = partial(jax.shard_map, mesh=mesh, check_vma=False)
        by_row = {"in_specs": (whole, split), "out_specs": split}
        self._inner = functions
        self.scores = shard(functions.scores, **by_row)
        self.sample = shard(functions.sample, **by_row)
        self.gradient = shard(self._sum, in_specs=(whole, split, split), out_specs=whole)
        self.train = shard(self._step, in_specs=(whole, whole, split, split), out_specs=whole)

    def _sum(self, params: Params, rows: Array, weights: Array) -> tuple[Array, Params]:
        return lax.psum(self._inner.gradient(params, rows, weights), "rows")

    def _step(self, params: Params, moments: Any, rows: Array, weights: Array) -> Any:
        loss, change = self._sum(params, rows, weights)
        return loss, *adam(params, moments, change)


class JaxShards(JaxPeer):
    """
    Functions of independent rows, which are split over CPU devices if ``sharded``.

    Parameters
    ----------
    params : dict of numpy.ndarray
    functions : Functions
        Their gradients are of the weighted sum of -log p(x).
    n_threads : int
        CPU devices to split the rows over.
    """

    sharded = False

    def __init__(self, params: dict[str, np.ndarray], functions: Functions, n_threads: int) -> None:
        devices = cpu_devices(n_threads)
        mesh = Mesh(np.array(devices if self.sharded else devices[:1]), ("rows",))
        self._split = NamedSharding(mesh, PartitionSpec("rows"))
        whole = NamedSharding(mesh, PartitionSpec())
        # The copies keep the caller's arrays apart from those that train_step donates.
        placed = {key: jax.device_put(np.array(value), whole) for key, value in params.items()}
        super().__init__(placed, _Shard(functions, mesh))
        # Where the steps leave it: the second one is not compiled again.
        self._moments = (jax.device_put(np.float32(0), whole), *self._moments[1:])

    def prepare(self, array: np.ndarray) -> Prepared:
        """Put rows or random numbers on the devices, padded to a multiple of their number."""
        n_rows = len(array)
        padding = -n_rows % self._split.mesh.size
        weights = np.pad(np.full(n_rows, 1 / n_rows, np.float32), (0, padding))
        values = np.pad(array, [(0, padding), *[(0, 0)] * (array.ndim - 1)])
        values, weights = jax.device_put((values, weights), self._split)
        return Prepared((values,), (weights,), n_rows)
