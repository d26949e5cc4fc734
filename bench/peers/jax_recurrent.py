"""Recurrent networks in JAX: a jitted scan over the cells, differentiated by JAX."""

# Tried on 2 cores (JAX 0.10, float32, 64 sequences of 784 steps, 256 levels, 256 LSTM units),
# seconds: what enters is gathered for all steps before the scan or in each step (kept, for one is
# faster here and the other there): scores 0.63, 0.44; gradients 1.23, 1.85. One-hot products for
# all steps: 0.59, 2.66. Sequences split over two CPU devices, gathered in each step: 0.43, 4.13;
# gathered before: 0.59, 2.00. Scans unrolled by four: 0.70, 0.41; 2.50, 2.23.

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from .jax_peer import Functions, JaxPeer, Params, Prepared, tanh_sigmoid
from .jax_wide import draw_levels

__all__ = ["JaxRecurrent", "JaxRecurrentSteps"]

State = tuple[Array, Array]

#: Our names by fastar's.
NAMES = {"W_hh0": "W", "W_xh0": "X", "c0": "c", "V": "V", "b": "b", "d0": "d"}


def _step(cell: str, p: Params, state: State, x: Array) -> State:
    """Return units and memory after x, what the biases and a level add."""
    h, m = state
    y = h @ p["W"]
    if cell == "tanh":
        return jnp.tanh(x + y), m
    if cell == "lstm":
        i, f, g, o = jnp.split(x + y, 4, axis=1)
        m = tanh_sigmoid(f) * m + tanh_sigmoid(i) * jnp.tanh(g)
        return tanh_sigmoid(o) * jnp.tanh(m), m
    H = h.shape[1]
    r, z = jnp.split(tanh_sigmoid(x[:, : 2 * H] + y[:, : 2 * H]), 2, axis=1)
    n = jnp.tanh(x[:, 2 * H :] + r * (y[:, 2 * H :] + p["d"]))
    return n + z * (h - n), m


def _start(p: Params, n: int) -> State:
    zeros = jnp.zeros((n, len(p["W"])))
    return zeros, zeros


class Recurrent(Functions):
    """A scan over the steps, all outputs at once; sampling by a scan."""

    def __init__(self, cell: str, gathered: bool) -> None:
        self.cell = cell
        self.gathered = gathered

    def scores(self, params: Params, codes: Array, mask: Array) -> Array:
        """Return log p of each sequence (n,). codes, mask (T, n)."""
        p = params

        def after(state: State, entering: Array) -> tuple[State, Array]:
            x = entering if self.gathered else p["X"][entering] + p["c"]
            state = _step(self.cell, p, state, x)
            return state, state[0]

        start = _start(p, codes.shape[1])
        entering = p["X"][codes[:-1]] + p["c"] if self.gathered else codes[:-1]
        _, h = lax.scan(after, start, entering)
        logits = jnp.concatenate([start[0][None], h]) @ p["V"] + p["b"]
        logp = jnp.take_along_axis(jax.nn.log_softmax(logits), codes[..., None], 2)[..., 0]
        return (logp * mask).sum(0)

    def sample(self, params: Params, uniforms: Array) -> Array:
        """Sample one sequence (T,) for each column of uniform numbers (T, n)."""
        p = params

        def step(state: State, numbers: Array) -> tuple[State, Array]:
            # A tenth of the time of jax.random.categorical, which draws a number a level.
            drawn = draw_levels(state[0] @ p["V"] + p["b"], numbers)
            return _step(self.cell, p, state, p["X"][drawn] + p["c"]), drawn

        return lax.scan(step, _start(p, uniforms.shape[1]), uniforms)[1].T


class JaxRecurrent(JaxPeer):
    """
    Padded sequences and a mask; what enters is gathered before the scan.

    Parameters
    ----------
    params : dict of numpy.ndarray
        Those of a `GenerativeRNN` of one layer and one categorical value a step.
    cell : {"tanh", "gru", "lstm"}
    n_threads : int
        Not used: JAX takes the cores that the process may use.
    """

    gathered = True

    def __init__(self, params: dict[str, np.ndarray], cell: str, n_threads: int) -> None:
        own = dict(params, W_xh0=params["W_xh0"][0], V=params["V"][:, 0], b=params["b"][0])
        placed = {NAMES[key]: jnp.array(value) for key, value in own.items()}
        super().__init__(placed, Recurrent(cell, self.gathered))

    def prepare(self, array: Any) -> Prepared:
        """Put sequences of levels on the device, padded, with a mask."""
        lengths = np.array([len(row) for row in array])
        mask = np.arange(lengths.max())[:, None] < lengths
        codes = np.zeros(mask.shape, np.int32)
        codes.T[mask.T] = np.concatenate(list(array))
        return Prepared((jnp.array(codes), jnp.array(mask, jnp.float32)), (), len(lengths))

    def prepare_noise(self, array: np.ndarray) -> Prepared:
        """Put uniform numbers (n, T) on the device, steps first."""
        return Prepared((jnp.array(array.T),), (), len(array))

    def _by_name(self, gradient: Any) -> dict[str, np.ndarray]:
        found = {key: gradient[own] for key, own in NAMES.items() if own in gradient}
        return found | {
            "W_xh0": found["W_xh0"][None],
            "V": found["V"][:, None],
            "b": found["b"][None],
        }


class JaxRecurrentSteps(JaxRecurrent):
    """What enters is gathered in each step."""

    gathered = False
