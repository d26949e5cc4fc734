"""Masked networks in JAX, jitted; with Bernoulli outputs."""

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

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from .jax_peer import ACTIVATIONS, Functions, JaxPeer, Prepared
from .masked_layers import Layers

__all__ = [
    "Arrays",
    "JaxKeptSums",
    "JaxMasked",
    "JaxMaskedSteps",
    "MaskedFunctions",
    "MaskedParams",
]

Arrays = tuple[Array, ...]
MaskedParams = tuple[Arrays, Arrays]

#: Numbers in a chunk's sums when sampling keeps them: they then stay in the cache.
KEPT_NUMBERS = 500_000


class MaskedFunctions(Functions):
    """What masks do, in every forward pass or after every step; weights are (units, inputs)."""

    def __init__(self, activation: str, floor: float | None, in_forward: bool) -> None:
        self.activation = ACTIVATIONS[activation]
        self.floor = floor
        self.in_forward = in_forward

    def shown(self, params: MaskedParams, masks: Arrays) -> MaskedParams:
        """Return what a forward pass takes of the parameters."""
        return masked(params, masks) if self.in_forward else params

    def train(self, params: MaskedParams, moments: Any, masks: Arrays, rows: Array) -> Any:
        """Take one Adam step."""
        loss, params, moments = super().train(params, moments, masks, rows)
        return loss, params if self.in_forward else masked(params, masks), moments


def masked(params: MaskedParams, masks: Arrays) -> MaskedParams:
    """Return parameters with zeros outside the masks."""
    # Where, as a multiplication wants masks of four bytes.
    weights, offsets = params
    return tuple(jnp.where(m, w, 0) for w, m in zip(weights, masks, strict=True)), offsets


class Bernoulli(MaskedFunctions):
    """Bernoulli outputs; sampling by a full pass for each feature."""

    def logits(self, params: MaskedParams, masks: Arrays, rows: Array) -> Array:
        """Compute logits (n, D) from float rows (n, D)."""
        hidden = rows
        for i, (weight, offset) in enumerate(zip(*self.shown(params, masks), strict=True)):
            hidden = _product(self.activation(hidden) if i else hidden, weight) + offset
        return hidden

    def scores(self, params: MaskedParams, masks: Arrays, rows: Array) -> Array:
        """Compute log p(x) of each row."""
        logits = self.logits(params, masks, rows)
        return (rows * logits - jax.nn.softplus(logits)).sum(1)

    def sample(
        self, params: MaskedParams, masks: Arrays, uniforms: Array, n_passes: Array
    ) -> Array:
        """Sample one row of zeros and ones for each row of uniform numbers."""
        # u < sigmoid(z) is logit(u) < z.
        thresholds = jax.scipy.special.logit(uniforms)

        def draw(d: Array, rows: Array) -> Array:
            logits = self.logits(params, masks, rows)
            return rows.at[:, d].set((thresholds[:, d] < logits[:, d]).astype(rows.dtype))

        return lax.fori_loop(0, n_passes, draw, jnp.zeros_like(uniforms))


def _product(rows: Array, weight: Array) -> Array:
    """Multiply (n, inputs) by the transpose of (units, inputs), which is faster than the latter."""
    return lax.dot_general(rows, weight, (((1,), (1,)), ((), ())))


class KeptSums(Bernoulli):
    """Sampling that keeps the sums of the first layer and computes one output a feature."""

    def sample(
        self, params: MaskedParams, masks: Arrays, uniforms: Array, n_passes: Array
    ) -> Array:
        """Keep the sums of the first layer from feature to feature, a chunk of rows at a time."""
        weights, offsets = params
        activate = self.activation
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


class JaxMasked(JaxPeer):
    """
    Weights masked in every forward pass.

    Parameters
    ----------
    params, masks : dict of numpy.ndarray
        As `masked_layers.Layers.of` wants them.
    activation : {"sigmoid", "tanh", "relu"}
        Activation of the hidden layers.
    variance_floor : float or None
        Least variance of a component, where outputs are mixtures of Gaussians.
    n_threads : int
        Not used: JAX takes the cores that the process may use.
    """

    in_forward = True
    functions: type[MaskedFunctions] = Bernoulli

    def __init__(
        self,
        params: dict[str, np.ndarray],
        masks: dict[str, np.ndarray],
        activation: str,
        variance_floor: float | None,
        n_threads: int,
    ) -> None:
        layers = self.layers = Layers.of(params, masks, "dpk")
        functions = self.functions(activation, variance_floor, self.in_forward)
        # The copies keep the caller's arrays apart from those that train_step donates.
        weights, shown = (
            tuple(jnp.array(each.T) for each in part) for part in (layers.weights, layers.masks)
        )
        offsets = tuple(jnp.array(each) for each in layers.offsets)
        super().__init__((weights, offsets), functions, shown)

    def sample(self, noise: Any, n_passes: int | None = None) -> Any:
        """
        Sample one row for each row of random numbers.

        With `n_passes` only so many features are drawn; each of them is the same work.
        """
        data = noise if isinstance(noise, Prepared) else self.prepare_noise(noise)
        passes = jnp.int32(data.arrays[0].shape[1] if n_passes is None else n_passes)
        return self._by_row(self._sample, noise, data, passes)

    def _by_name(self, gradient: Any) -> dict[str, np.ndarray]:
        weights, offsets = gradient
        return self.layers.params([weight.T for weight in weights], offsets)


class JaxMaskedSteps(JaxMasked):
    """Weights masked after every step of the optimizer."""

    in_forward = False


class JaxKeptSums(JaxMaskedSteps):
    """Sampling that keeps the sums of the first layer and computes one output a feature."""

    functions = KeptSums
