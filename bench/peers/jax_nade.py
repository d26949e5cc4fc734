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

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from .jax_peer import ACTIVATIONS, Functions, JaxShards, Params, in_chunks

__all__ = ["JaxScan", "JaxShardedScan"]

# Each derivative is a function of the activation's output.
DERIVATIVES: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda hidden: hidden * (1 - hidden),
    "tanh": lambda hidden: 1 - hidden * hidden,
    "relu": lambda hidden: (hidden > 0).astype(hidden.dtype),
}


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


class Scan(Functions):
    """A scan over the features, differentiated by JAX with rematerialised activations."""

    def __init__(self, activation: str) -> None:
        self.activation = activation

    def scores(self, params: Params, rows: Array) -> Array:
        """Compute log p(x) of each row."""

        def score(chunk: Array) -> Array:
            columns, logits, _ = _scan_logits(self.activation, params, chunk)
            return _column_sums(columns, logits)

        return in_chunks(score, rows)

    def gradient(self, params: Params, rows: Array, weights: Array) -> Any:
        """Differentiate the scan, keeping only the pre-activations for the backward pass."""

        def loss(params: Params) -> Array:
            columns, logits, _ = _scan_logits(self.activation, params, rows, checkpoint=True)
            return -weights @ _column_sums(columns, logits)

        return jax.value_and_grad(loss)(params)

    def sample(self, params: Params, uniforms: Array) -> Array:
        """Sample one row of zeros and ones for each row of uniform numbers."""

        def sample(chunk: Array) -> Array:
            numbers = chunk.T

            def step(carry: tuple[Array, Array], inputs: tuple[Array, ...]) -> Any:
                states, column = carry
                weight, output, bias, number = inputs
                states = states + column[:, None] * weight
                ones = number < jax.nn.sigmoid(ACTIVATIONS[self.activation](states) @ output + bias)
                return (states, ones.astype(states.dtype)), ones.astype(jnp.uint8)

            first = numbers[0] < jax.nn.sigmoid(params["b"][0])
            carry = (jnp.tile(params["c"], (chunk.shape[0], 1)), first.astype(params["W"].dtype))
            inputs = (params["W"], params["V"][:, 0], params["b"][1:], numbers[1:])
            _, rest = lax.scan(step, carry, inputs)
            return jnp.concatenate([first.astype(jnp.uint8)[None], rest]).T

        return in_chunks(sample, uniforms)


class ManualScan(Scan):
    """A scan with a hand-derived backward pass."""

    def gradient(self, params: Params, rows: Array, weights: Array) -> Any:
        """Scan backwards, winding the pre-activations back instead of keeping them."""
        columns, logits, states = _scan_logits(self.activation, params, rows)
        delta = (jax.nn.sigmoid(logits) - columns) * weights

        def step(carry: tuple[Array, Array], inputs: tuple[Array, ...]) -> Any:
            states, total = carry
            column, change, weight, output = inputs
            hidden = ACTIVATIONS[self.activation](states)
            total = total + change[:, None] * output * DERIVATIVES[self.activation](hidden)
            return (states - column[:, None] * weight, total), (change @ hidden, column @ total)

        (_, total), (outputs, inputs) = lax.scan(
            step,
            (states, jnp.zeros_like(states)),
            (columns[:-1], delta[1:], params["W"], params["V"][:, 0]),
            reverse=True,
        )
        gradient = {
            "W": inputs,
            "c": total.sum(0),
            "V": outputs[:, None],
            "b": delta.sum(1)[:, None],
        }
        return -weights @ _column_sums(columns, logits), gradient


class JaxScan(JaxShards):
    """
    Jitted scan over the features.

    Parameters
    ----------
    params : dict of numpy.ndarray
        ``W (D-1, H)``, ``c (H,)``, ``V (D-1, 1, H)`` and ``b (D, 1)``.
    activation : {"sigmoid", "tanh", "relu"}
        Activation of the hidden layer.
    n_threads : int
        CPU devices to split the rows over, in the peer that does.
    """

    functions: type[Scan] = Scan

    def __init__(self, params: dict[str, np.ndarray], activation: str, n_threads: int) -> None:
        super().__init__(params, self.functions(activation), n_threads)


class JaxShardedScan(JaxScan):
    """Jitted scan with a hand-derived backward pass, rows split over the CPU devices."""

    functions = ManualScan
    sharded = True
