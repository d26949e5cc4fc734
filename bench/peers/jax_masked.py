"""Masked networks with Bernoulli outputs in JAX, jitted."""

# Tried on 2 cores (JAX 0.10.2, float32, 784 features, 100 rows with 13 % ones), training step in
# milliseconds, best of repeats; kept are those with a star:
#
#                                                  (500,)  (1000, 1000)  (8000,)  no hidden layer
#   masks in forward, Boolean *                        2.5           7.3       49              1.5
#   the same, float                                    2.7           7.7       54              1.6
#   the same, weights (inputs, units)                  2.7           7.2       49              1.6
#   masks after steps, Boolean *                       2.4           7.1       50              1.5
#   the same, float                                    2.3           7.0       50              1.5
#   the same, weights (inputs, units)                  2.5           6.9       54              1.4
#   masks on the gradient, Boolean                     2.4           7.0       49              1.5

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from . import jax_nade
from .jax_nade import adam
from .masked_layers import layers_of, params_of

__all__ = ["JaxKeptSums", "JaxMasked", "JaxMaskedSteps"]

Arrays = tuple[Array, ...]
Params = tuple[Arrays, Arrays]

# jnp.maximum has the derivative 1/2 at zero, where units are that see no ones and have no offset.
ACTIVATIONS = jax_nade.ACTIVATIONS | {"relu": jax.nn.relu}

#: Numbers in a chunk's sums when sampling keeps them: they then stay in the cache.
KEPT_NUMBERS = 500_000


def _product(rows: Array, weight: Array) -> Array:
    """Multiply (n, inputs) by the transpose of (units, inputs), which is faster than the latter."""
    return lax.dot_general(rows, weight, (((1,), (1,)), ((), ())))


def _logits(activation: str, params: Params, masks: Arrays, rows: Array) -> Array:
    """Compute logits (n, D) from float rows (n, D); without masks the weights are masked."""
    weights, offsets = _masked(params, masks)
    hidden = rows
    for i, (weight, offset) in enumerate(zip(weights, offsets, strict=True)):
        hidden = _product(ACTIVATIONS[activation](hidden) if i else hidden, weight) + offset
    return hidden


def _masked(params: Params, masks: Arrays) -> Params:
    # Where, as a multiplication wants masks of four bytes.
    weights, offsets = params
    if masks:
        weights = tuple(jnp.where(m, w, 0) for w, m in zip(weights, masks, strict=True))
    return weights, offsets


def _scores(activation: str, params: Params, masks: Arrays, rows: Array) -> Array:
    logits = _logits(activation, params, masks, rows)
    return (rows * logits - jax.nn.softplus(logits)).sum(1)


def _gradient(activation: str, params: Params, masks: Arrays, rows: Array) -> tuple[Array, Params]:
    def loss(params: Params) -> Array:
        return -_scores(activation, params, masks, rows).mean()

    return jax.value_and_grad(loss)(params)


def _train(
    activation: str, in_forward: bool, params: Params, moments: Any, masks: Arrays, rows: Array
) -> tuple[Array, Params, Any]:
    loss, change = _gradient(activation, params, masks if in_forward else (), rows)
    params, moments = adam(params, moments, change)
    return loss, params if in_forward else _masked(params, masks), moments


def _sample(
    activation: str, params: Params, masks: Arrays, uniforms: Array, n_passes: Array
) -> Array:
    # u < sigmoid(z) is logit(u) < z.
    thresholds = jax.scipy.special.logit(uniforms)

    def draw(d: Array, rows: Array) -> Array:
        logits = _logits(activation, params, masks, rows)
        return rows.at[:, d].set((thresholds[:, d] < logits[:, d]).astype(rows.dtype))

    return lax.fori_loop(0, n_passes, draw, jnp.zeros_like(uniforms))


def _sample_with_sums(
    activation: str, params: Params, masks: Arrays, uniforms: Array, n_passes: Array
) -> Array:
    """Keep the sums of the first layer from feature to feature, a chunk of rows at a time."""
    weights, offsets = params
    activate = ACTIVATIONS[activation]
    # A feature's row of weights is contiguous then.
    inputs = weights[0].T

    def sample(uniforms: Array) -> Array:
        thresholds = jax.scipy.special.logit(uniforms).T

        def draw(d: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            sums, columns = carry
            if len(weights) == 1:
                logit = sums[:, d]
            else:
                hidden = activate(sums)
                for weight, offset in zip(weights[1:-1], offsets[1:-1], strict=True):
                    hidden = activate(_product(hidden, weight) + offset)
                logit = hidden @ weights[-1][d] + offsets[-1][d]
            column = (thresholds[d] < logit).astype(sums.dtype)
            return sums + column[:, None] * inputs[d], columns.at[d].set(column)

        start = jnp.tile(offsets[0], (len(uniforms), 1)), jnp.zeros_like(thresholds)
        return lax.fori_loop(0, n_passes, draw, start)[1].T

    n_rows = len(uniforms)
    n_chunks = -(-n_rows // max(64, KEPT_NUMBERS // len(offsets[0])))
    size = -(-n_rows // n_chunks)
    padded = jnp.pad(uniforms, ((0, n_chunks * size - n_rows), (0, 0)), constant_values=0.5)
    chunks = lax.map(sample, padded.reshape(n_chunks, size, -1))
    return chunks.reshape(n_chunks * size, -1)[:n_rows]


class JaxMasked:
    """
    Weights masked in every forward pass.

    Parameters
    ----------
    params, masks : dict of numpy.ndarray
        As `masked_layers.layers_of` wants them.
    activation : {"sigmoid", "tanh", "relu"}
        Activation of the hidden layers.
    n_threads : int
        Not used: JAX takes the cores that the process may use.

    Notes
    -----
    Every operation takes an array and returns arrays, or takes what `prepare` returned and
    returns finished device arrays, so that conversions can be kept out of a timed region.
    """

    in_forward = True
    sample_function = staticmethod(_sample)

    def __init__(
        self,
        params: dict[str, np.ndarray],
        masks: dict[str, np.ndarray],
        activation: str,
        n_threads: int,
    ) -> None:
        self.layers = layers_of(params, masks)
        # The copies keep the caller's arrays apart from those that train_step donates.
        self._params: Params = (
            tuple(jnp.array(layer.weight.T) for layer in self.layers),
            tuple(jnp.array(layer.offset) for layer in self.layers),
        )
        self._masks = tuple(jnp.array(layer.mask.T) for layer in self.layers)
        zeros = jax.tree.map(jnp.zeros_like, self._params)
        self._moments = (jnp.float32(0), zeros, jax.tree.map(jnp.copy, zeros))
        self._forward_masks = self._masks if self.in_forward else ()
        self._scores = jax.jit(partial(_scores, activation))
        self._gradient = jax.jit(partial(_gradient, activation))
        self._train = jax.jit(partial(_train, activation, self.in_forward), donate_argnums=(0, 1))
        self._sample = jax.jit(partial(self.sample_function, activation))

    def prepare(self, array: np.ndarray) -> Array:
        """Put data or uniform numbers on the device."""
        return jnp.array(array, jnp.float32)

    def log_likelihood(self, rows: Any) -> Any:
        """Compute log p(x) of each row."""
        return _answer(rows, self._scores(self._params, self._forward_masks, self._ready(rows)))

    def gradient(self, rows: Any) -> Any:
        """Compute the gradient of the mean negative log-likelihood."""
        found = self._gradient(self._params, self._forward_masks, self._ready(rows))[1]
        jax.block_until_ready(found)
        if isinstance(rows, Array):
            return found
        weights, offsets = jax.tree.map(np.asarray, found)
        return params_of(self.layers, [weight.T for weight in weights], offsets)

    def train_step(self, rows: Any) -> float:
        """Take one Adam step and return the loss before it."""
        loss, self._params, self._moments = jax.block_until_ready(
            self._train(self._params, self._moments, self._masks, self._ready(rows))
        )
        return float(loss)

    def sample(self, uniforms: Any, n_passes: int | None = None) -> Any:
        """
        Sample one row of zeros and ones for each row of uniform numbers.

        With `n_passes` only so many features are drawn; each of them is the same work.
        """
        passes = jnp.int32(uniforms.shape[1] if n_passes is None else n_passes)
        found = self._sample(self._params, self._forward_masks, self._ready(uniforms), passes)
        return _answer(uniforms, found)

    def _ready(self, rows: Any) -> Array:
        return rows if isinstance(rows, Array) else self.prepare(rows)


class JaxMaskedSteps(JaxMasked):
    """Weights masked after every step of the optimizer."""

    in_forward = False


class JaxKeptSums(JaxMaskedSteps):
    """Sampling that keeps the sums of the first layer and computes one output a feature."""

    sample_function = staticmethod(_sample_with_sums)


def _answer(asked: Any, found: Array) -> Any:
    found.block_until_ready()
    return found if isinstance(asked, Array) else np.asarray(found)
