"""
Binary NADE in JAX, in the formulations that are fastest on a CPU.

Two peers are kept: the plain jitted scan differentiated by JAX, and the fastest one, a scan
with a hand-derived backward pass that is split by rows over one CPU device per thread.
"""

# Tried on 2 cores (JAX 0.10.2, float32, 784 features, 500 sigmoid units, 100 rows with 13 %
# ones; 1000 rows sampled), best of repeats in milliseconds; "sharded" is 50 rows on each of
# two CPU devices:
#
#                                               score  gradient  train step  sample
#   sharded scan, manual backward (kept)          8.5        25          26      86
#   jit scan, automatic gradient, checkpoint
#     (kept; samples in chunks as well)            16       152         160     170
#   the same, no checkpoint; unrolled by 8     16; 91  175; 213
#   scan, manual backward, one device              17        53
#   sharded, sums for dots; hidden states kept      -    35; 69
#   sharded blocks of 8; of 16 features             -    71; 76
#   sharded cumsum by lax.map over rows             -       408
#   sharded scan over the differing states         23
#   sharded sampling in one chunk; by 250                              127; 110
#   sharded sampling, changed rows only                                     145
#
# The device count bounds the rows' parallelism, but XLA's own pool may still use another core
# (1.3 cores in the one-device gradient): for a strict single-thread timing restrict the
# process to one core from outside.

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
    "JaxScan",
    "JaxShardedScan",
    "Params",
    "Prepared",
    "adam",
    "cpu_devices",
    "in_chunks",
]

Params = dict[str, Array]

#: Rows scanned together where rows are independent; their states then fit a core's cache.
CHUNK_ROWS = 128


class Prepared(NamedTuple):
    """Rows on the devices, padded to a multiple of their number."""

    values: Array
    weights: Array
    n_rows: int


def _tanh_sigmoid(value: Array) -> Array:
    # Faster than jax.nn.sigmoid: 16 ms against 21 ms for scoring.
    return 0.5 * jnp.tanh(0.5 * value) + 0.5


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": _tanh_sigmoid,
    "tanh": jnp.tanh,
    "relu": lambda value: jnp.maximum(value, 0),
}
# Each derivative is a function of the activation's output.
DERIVATIVES: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda hidden: hidden * (1 - hidden),
    "tanh": lambda hidden: 1 - hidden * hidden,
    "relu": lambda hidden: (hidden > 0).astype(hidden.dtype),
}


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


def _scan_logits(
    activation: str, params: Params, rows: Array, checkpoint: bool = False
) -> tuple[Array, Array, Array]:
    """Compute the float data (D, n), the logits (D, n) and the last pre-activation (n, H)."""
    columns = rows.T.astype(params["W"].dtype)

    def step(states: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        column, weight, output = inputs
        states = states + column[:, None] * weight
        return states, ACTIVATIONS[activation](states) @ output

    if checkpoint:
        step = jax.checkpoint(step, prevent_cse=False)
    inputs = (columns[:-1], params["W"], params["V"][:, 0])
    states, logits = lax.scan(step, jnp.tile(params["c"], (rows.shape[0], 1)), inputs)
    return columns, jnp.pad(logits, ((1, 0), (0, 0))) + params["b"], states


def _column_sums(columns: Array, logits: Array) -> Array:
    return -jax.nn.softplus(jnp.where(columns > 0, -logits, logits)).sum(0)


def in_chunks(function: Callable[[Array], Array], rows: Array) -> Array:
    """Apply a function of independent rows to a few of them at a time."""
    n_rows = rows.shape[0]
    n_chunks = -(-n_rows // CHUNK_ROWS)
    size = -(-n_rows // n_chunks)
    padding = [(0, n_chunks * size - n_rows), *[(0, 0)] * (rows.ndim - 1)]
    padded = jnp.pad(rows, padding)
    results = lax.map(function, padded.reshape(n_chunks, size, *rows.shape[1:]))
    return results.reshape(n_chunks * size, *results.shape[2:])[:n_rows]


def _score(activation: str, params: Params, rows: Array) -> Array:
    def score(chunk: Array) -> Array:
        columns, logits, _ = _scan_logits(activation, params, chunk)
        return _column_sums(columns, logits)

    return in_chunks(score, rows)


def _sample(activation: str, params: Params, uniforms: Array) -> Array:
    def sample(chunk: Array) -> Array:
        numbers = chunk.T

        def step(carry: tuple[Array, Array], inputs: tuple[Array, ...]) -> Any:
            states, column = carry
            weight, output, bias, number = inputs
            states = states + column[:, None] * weight
            ones = number < jax.nn.sigmoid(ACTIVATIONS[activation](states) @ output + bias)
            return (states, ones.astype(states.dtype)), ones.astype(jnp.uint8)

        first = numbers[0] < jax.nn.sigmoid(params["b"][0])
        carry = (jnp.tile(params["c"], (chunk.shape[0], 1)), first.astype(params["W"].dtype))
        inputs = (params["W"], params["V"][:, 0], params["b"][1:], numbers[1:])
        _, rest = lax.scan(step, carry, inputs)
        return jnp.concatenate([first.astype(jnp.uint8)[None], rest]).T

    return in_chunks(sample, uniforms)


def _automatic_gradient(activation: str, params: Params, rows: Array, weights: Array) -> Any:
    """Differentiate the scan, keeping only the pre-activations for the backward pass."""

    def loss(params: Params) -> Array:
        columns, logits, _ = _scan_logits(activation, params, rows, checkpoint=True)
        return -weights @ _column_sums(columns, logits)

    return jax.value_and_grad(loss)(params)


def _manual_gradient(activation: str, params: Params, rows: Array, weights: Array) -> Any:
    """Scan backwards, winding the pre-activations back instead of keeping them."""
    columns, logits, states = _scan_logits(activation, params, rows)
    delta = (jax.nn.sigmoid(logits) - columns) * weights

    def step(carry: tuple[Array, Array], inputs: tuple[Array, ...]) -> Any:
        states, total = carry
        column, change, weight, output = inputs
        hidden = ACTIVATIONS[activation](states)
        total = total + change[:, None] * output * DERIVATIVES[activation](hidden)
        return (states - column[:, None] * weight, total), (change @ hidden, column @ total)

    (_, total), (outputs, inputs) = lax.scan(
        step,
        (states, jnp.zeros_like(states)),
        (columns[:-1], delta[1:], params["W"], params["V"][:, 0]),
        reverse=True,
    )
    gradient = {"W": inputs, "c": total.sum(0), "V": outputs[:, None], "b": delta.sum(1)[:, None]}
    return -weights @ _column_sums(columns, logits), gradient


def adam(params: Params, moments: Any, gradient: Params) -> tuple[Params, Any]:
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


class JaxScan:
    """
    Jitted scan over the features, differentiated by JAX with rematerialised activations.

    Parameters
    ----------
    params : dict of numpy.ndarray
        ``W (D-1, H)``, ``c (H,)``, ``V (D-1, 1, H)`` and ``b (D, 1)``.
    activation : {"sigmoid", "tanh", "relu"}
        Activation of the hidden layer.
    n_threads : int
        CPU devices to split the rows over, in the peers that do.

    Notes
    -----
    Every operation takes an array and returns arrays, or takes what `prepare` returned and
    returns finished device arrays, so that conversions can be kept out of a timed region.
    """

    name = "jax jit scan"
    sharded = False
    gradient_function = staticmethod(_automatic_gradient)

    def __init__(self, params: dict[str, np.ndarray], activation: str, n_threads: int) -> None:
        devices = cpu_devices(n_threads)
        self._mesh = Mesh(np.array(devices if self.sharded else devices[:1]), ("rows",))
        whole, split = PartitionSpec(), PartitionSpec("rows")
        self._split = NamedSharding(self._mesh, split)
        # The copies keep the caller's arrays apart from those that train_step donates.
        self._params: Params = {
            key: jax.device_put(np.array(value), NamedSharding(self._mesh, whole))
            for key, value in params.items()
        }
        zeros = jax.tree.map(jnp.zeros_like, self._params)
        count = jax.device_put(np.float32(0), NamedSharding(self._mesh, whole))
        self._moments = (count, zeros, jax.tree.map(jnp.copy, zeros))

        def gradient(params: Params, rows: Array, weights: Array) -> tuple[Array, Params]:
            return lax.psum(self.gradient_function(activation, params, rows, weights), "rows")

        def train(params: Params, moments: Any, rows: Array, weights: Array) -> Any:
            loss, change = gradient(params, rows, weights)
            return loss, *adam(params, moments, change)

        shard = partial(jax.shard_map, mesh=self._mesh, check_vma=False)
        by_row = {"in_specs": (whole, split), "out_specs": split}
        self._score = jax.jit(shard(partial(_score, activation), **by_row))
        self._sample = jax.jit(shard(partial(_sample, activation), **by_row))
        self._gradient = jax.jit(shard(gradient, in_specs=(whole, split, split), out_specs=whole))
        self._train = jax.jit(
            shard(train, in_specs=(whole, whole, split, split), out_specs=whole),
            donate_argnums=(0, 1),
        )

    def prepare(self, array: np.ndarray) -> Prepared:
        """Put data or uniform numbers on the devices."""
        n_rows = len(array)
        padding = -n_rows % self._mesh.size
        weights = np.pad(np.full(n_rows, 1 / n_rows, np.float32), (0, padding))
        values = np.pad(array, ((0, padding), (0, 0)))
        return Prepared(*jax.device_put((values, weights), self._split), n_rows)

    def parameters(self) -> dict[str, np.ndarray]:
        """Copy the present parameters into arrays."""
        return {key: np.array(value) for key, value in self._params.items()}

    def log_likelihood(self, rows: Any) -> Any:
        """Compute log p(x) of each row."""
        return self._by_row(self._score, rows)

    def gradient(self, rows: Any) -> Any:
        """Compute the gradient of the mean negative log-likelihood."""
        data = rows if isinstance(rows, Prepared) else self.prepare(rows)
        gradient = jax.block_until_ready(self._gradient(self._params, data.values, data.weights)[1])
        return gradient if isinstance(rows, Prepared) else jax.tree.map(np.asarray, gradient)

    def train_step(self, rows: Any) -> float:
        """Take one Adam step and return the loss before it."""
        data = rows if isinstance(rows, Prepared) else self.prepare(rows)
        loss, self._params, self._moments = jax.block_until_ready(
            self._train(self._params, self._moments, data.values, data.weights)
        )
        return float(loss)

    def sample(self, uniforms: Any) -> Any:
        """Sample one row of zeros and ones for each row of uniform numbers."""
        return self._by_row(self._sample, uniforms)

    def _by_row(self, function: Callable[..., Array], rows: Any) -> Any:
        data = rows if isinstance(rows, Prepared) else self.prepare(rows)
        result = function(self._params, data.values)
        if data.n_rows != len(result):
            result = result[: data.n_rows]
        result.block_until_ready()
        return result if isinstance(rows, Prepared) else np.asarray(result)


class JaxShardedScan(JaxScan):
    """Jitted scan with a hand-derived backward pass, rows split over the CPU devices."""

    name = "jax sharded scan, manual backward"
    sharded = True
    gradient_function = staticmethod(_manual_gradient)
