"""NADE's network: one hidden layer shared by all features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastar._core.factors import cholesky
from fastar._core.inputs import ONE_HOT, Inputs
from fastar._core.offsets import common_width, output_axes
from fastar._core.parameters import Array, Params
from fastar._core.schema import FLAG, OneOf, Rule, Whole
from fastar._core.threads import useful_n_threads
from fastar._kernels import _cpu, _inputs, _masked, _nade
from fastar.networks._dense import (
    add_product,
    full_stairs,
    product,
    transposed_product,
    weight_gradient,
)
from fastar.networks._network import Network, Stages

ACTIVATIONS: tuple[str, ...] = _nade.ACTIVATIONS


@dataclass(frozen=True)
class Cache:
    """What `backward` needs of `forward`."""

    changes: tuple[Array, Array, Array, Array]
    state: tuple[Array, Array]
    context: Array | None


class SharedHidden(Network):
    """One hidden layer whose pre-activation is carried from feature to feature.

    ``h_d = g(c + sum_{k<d} x_k W_k)``, ``raw_d = b_d + V_d h_d``, and ``raw_1 = b_1``: O(D H) for
    all d [1]_.

    Parameters
    ----------
    output_offsets : int64 array (D + 1,)
        Where the outputs of each feature begin.
    inputs : Inputs
        How codes enter.
    n_hidden : int
        H.
    activation : {"sigmoid", "tanh", "relu"}
        g.
    markov_order : int
        How many features before it x_d sees.
    dtype : dtype
        float32 or float64.
    rescaled : bool
        Whether ``h_d = g(rho_d (c + ..))``, with a parameter rho for each feature from the second
        on [2]_.
    n_context : int
        C: a context y (n, C) adds y U to c, and y B to b.

    References
    ----------
    .. [1] H. Larochelle, I. Murray, "The neural autoregressive distribution estimator", AISTATS
       2011.
    .. [2] B. Uria, I. Murray, H. Larochelle, "RNADE: the real-valued neural autoregressive
       density-estimator", NIPS 2013.
    """

    name = "shared_hidden"
    is_stochastic = False
    most_particles = _nade.MOST_PARTICLES

    def __init__(
        self,
        output_offsets: Array,
        inputs: Inputs,
        *,
        n_hidden: int,
        activation: str,
        markov_order: int,
        dtype: Any,
        rescaled: bool = False,
        n_context: int = 0,
    ) -> None:
        if min(n_hidden, markov_order) < 1:
            raise ValueError("n_hidden and markov_order must be at least 1")
        self.output_offsets = output_offsets
        self.inputs = inputs
        # Python's numbers, so that networks are equal whose settings are
        self.n_hidden = int(n_hidden)
        self.markov_order = int(min(markov_order, self.n_features))
        self.dtype = np.dtype(dtype)
        self.activation = activation
        self.rescaled = bool(rescaled)
        self.n_context = int(n_context)
        self._activation = ACTIVATIONS.index(activation)
        has_many = self.n_outputs >= _nade.MANY * self.n_features
        one_hot = (inputs.input_flags & ONE_HOT).any()
        self._unit_changes = inputs.binary_inputs or bool(has_many and one_hot)

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of the constructor."""
        return {
            "n_hidden": self.n_hidden,
            "activation": self.activation,
            "markov_order": self.markov_order,
            "dtype": self.dtype.name,
            "rescaled": self.rescaled,
            "n_context": self.n_context,
        }

    def with_activation(self, activation: str) -> SharedHidden:
        """Return the network that has another activation."""
        settings = self.settings() | {"activation": activation}
        return SharedHidden(self.output_offsets, self.inputs, **settings)

    @classmethod
    def _own_rules(cls, size: Whole) -> dict[str, Rule]:
        """Return what its own settings may be, `size` being the rule for a number of units."""
        return {
            "n_hidden": size,
            "activation": OneOf(ACTIVATIONS),
            "markov_order": Whole(1),
            "rescaled": FLAG,
        }

    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        D, H, outputs = self.n_features, self.n_hidden, output_axes(self.output_offsets)
        Q, P = common_width(self.inputs.offsets), common_width(self.output_offsets)
        rows = (D - 1,) if Q == 1 else (D - 1, Q) if Q else (int(self.inputs.offsets[D - 1]),)
        later = (D - 1, P) if P else (int(self.output_offsets[D] - self.output_offsets[1]),)
        shapes: dict[str, tuple[int, ...]] = {"W": (*rows, H), "V": (*later, H)}
        if self.n_context:
            shapes |= {"U": (self.n_context, H), "B": (self.n_context, *outputs)}
        shapes |= {"c": (H,), "b": outputs}
        return shapes | {"rho": (D - 1,)} if self.rescaled else shapes

    @property
    def decayed(self) -> tuple[str, ...]:
        """W, V, U and B."""
        return ("W", "V", "U", "B") if self.n_context else ("W", "V")

    @property
    def output_weights(self) -> tuple[str, ...]:
        """V and B."""
        return ("V", "B") if self.n_context else ("V",)

    def initialise(self, params: Params, rng: np.random.Generator) -> None:
        """Fill W, V and U with small random numbers, the rest with zeros, rho with 1 / sqrt(d)."""
        for name in self.shapes:
            params[name][...] = 0
        for name in self.decayed[:3]:
            scale = 1 / np.sqrt(max(self.n_features, self.n_hidden))
            params[name][...] = rng.uniform(-scale, scale, params[name].shape)
        if self.rescaled:
            # Our choice: of d features with equal variances, the pre-activation then has the same
            # variance for every d.
            params["rho"][...] = 1 / np.sqrt(np.arange(1, self.n_features))

    def start_linear(self, params: Params, found: list[tuple[Array, Array, Array]]) -> None:
        """Let outputs start linear in the first rows of input weights, by c = 1 of linear units.

        found: outputs (m,), what each of them has of the slopes (m,), and slopes (R,) by the first
        R rows. Of all V that give them, the smallest.
        """
        matrices = self._matrices(params)
        W = matrices[0].astype(np.float64)
        gram = np.einsum("rh,sh->rs", W, W)
        gram[np.diag_indices_from(gram)] += 1e-6 * gram.trace() / len(gram)
        _, inverse = cholesky(gram)
        bias = params["b"].reshape(-1)
        for outputs, factor, slopes in found:
            R = len(slopes)
            whitened = np.einsum("kr,r->k", inverse[:R, :R], slopes)
            v = np.einsum("k,kr,rh->h", whitened, inverse[:R, :R], W[:R])
            matrices[1][outputs - self.output_offsets[1]] = factor[:, None] * v
            bias[outputs] -= factor * v.sum()

    def forward(
        self,
        params: Params,
        codes: Array,
        n_threads: int,
        *,
        context: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Cache]:
        """Return raw (n, sum of P) for codes (n, D), and the cache for `backward`."""
        n_threads = self._threads(len(codes), n_threads)
        changes = _inputs.changes(
            codes, self.inputs.input_flags, self.inputs.offsets, self.markov_order, n_threads
        )
        raw = _cpu.aligned_empty((len(codes), self.n_outputs), self.dtype)
        W, V = self._matrices(params)
        state = _nade.forward(
            changes,
            W,
            V,
            params["b"].reshape(-1),
            self.output_offsets,
            params.get("rho"),
            self._initial(params, len(codes), context, n_threads),
            raw,
            self._activation,
            self._unit_changes,
            n_threads,
        )
        if context is not None:
            add_product(context, params["B"], raw, n_threads)
        return raw, Cache(changes, state, context)

    def forward_from(
        self,
        params: Params,
        codes: Array,
        start: int,
        n_threads: int,
        *,
        context: Array | None = None,
    ) -> tuple[Array, Callable[[Array], Array]] | None:
        """Return raw (n, sum of P), and a function from other codes on to their raw outputs.

        Not with a Markov order, by which features of the past leave the hidden layer.
        """
        D = self.n_features
        if self.markov_order < D - 1 or start == 0:
            return None
        whole, _ = self.forward(params, codes, n_threads, context=context)
        n_threads = self._threads(len(codes), n_threads)
        W, V = self._matrices(params)
        hidden = self._initial(params, len(codes), context, n_threads)
        entered = np.ascontiguousarray(hidden[:, : self.n_hidden])
        # the last feature of those given adds no change
        begun = np.ascontiguousarray(codes[:, : start + 1])
        offsets, flags = self.inputs.offsets, self.inputs.input_flags
        changes = _inputs.changes(
            begun, flags[: start + 1], offsets[: start + 2], start + 1, n_threads
        )
        before = np.ascontiguousarray(W[: offsets[start]])
        listed = _masked.listed(changes, len(before), n_threads)
        _masked.gather(listed, full_stairs(*before.shape), before, None, entered, -1, n_threads)
        hidden[:, : self.n_hidden] = entered
        outputs = self.output_offsets[start:] - self.output_offsets[start]
        later = offsets[start:] - offsets[start]
        own = W[offsets[start] :], V[self.output_offsets[start + 1] - self.output_offsets[1] :]
        b = params["b"].reshape(-1)[self.output_offsets[start] :]
        rho = params["rho"][start:] if self.rescaled else None
        shift = None
        if context is not None:
            shift = np.ascontiguousarray(
                params["B"].reshape(self.n_context, -1)[:, self.output_offsets[start] :]
            )

        def forward(tail: Array) -> Array:
            changes = _inputs.changes(tail, flags[start:], later, D - start, n_threads)
            raw: Array = _cpu.aligned_empty((len(tail), len(b)), self.dtype)
            _nade.forward(
                changes, *own, b, outputs, rho, hidden, raw,
                self._activation, self._unit_changes, n_threads,
            )  # fmt: skip
            if shift is not None and context is not None:
                add_product(context, shift, raw, n_threads)
            return raw

        return whole, forward

    def score_levels(
        self,
        params: Params,
        draw: object,
        codes: Array,
        feature: int,
        levels: Array,
        n_threads: int,
        *,
        context: Array | None = None,
    ) -> Array | None:
        """Return log p (n, K) of codes (n, D) with a feature at each of K levels.

        Not with few outputs, for which whole passes are as fast, nor with a Markov order.
        """
        D = self.n_features
        if self.n_outputs < _nade.MANY * D or self.markov_order < D - 1:
            return None
        n_threads = self._threads(len(codes) * len(levels), n_threads)
        W, V = self._matrices(params)
        return _nade.branches(
            draw, codes, feature, levels, self.inputs.input_flags, self.inputs.offsets, W, V,
            params["b"].reshape(-1), self.output_offsets, params.get("rho"),
            self._initial(params, 1, context, n_threads), self._shift(params, context, n_threads),
            self._activation, n_threads,
        )  # fmt: skip

    def backward(
        self, params: Params, cache: Cache, graw: Array, grads: Params, n_threads: int
    ) -> None:
        """Overwrite `grads` with the gradient of sum(graw * raw)."""
        self._hidden_gradient(params, cache, graw, grads, n_threads)

    def context_gradient(
        self, params: Params, cache: Cache, graw: Array, grads: Params, n_threads: int
    ) -> Array:
        """Do what `backward` does, and return the gradient by the context (n, C)."""
        ga = self._hidden_gradient(params, cache, graw, grads, n_threads)
        found = transposed_product(np.ascontiguousarray(ga), params["U"], n_threads)
        through_outputs = np.ascontiguousarray(params["B"].reshape(self.n_context, -1).T)
        add_product(graw, through_outputs, found, n_threads)
        return found

    def _hidden_gradient(
        self, params: Params, cache: Cache, graw: Array, grads: Params, n_threads: int
    ) -> Array:
        """Overwrite `grads`; return the gradient (n, H) by the pre-activations that c starts."""
        n_threads = self._threads(len(graw), n_threads)
        W, V = self._matrices(params)
        gW, gV = self._matrices(grads)
        ga, grho = _nade.backward(
            cache.changes,
            W,
            V,
            self.output_offsets,
            params.get("rho"),
            cache.state,
            graw,
            gW,
            gV,
            self._activation,
            self._unit_changes,
            n_threads,
        )
        ga = ga[:, : self.n_hidden]
        np.sum(ga, axis=0, out=grads["c"])
        np.sum(graw, axis=0, out=grads["b"].reshape(-1))
        if grho is not None:
            grads["rho"][...] = grho
        if cache.context is not None:
            weight_gradient(cache.context, ga, grads["U"], n_threads)
            weight_gradient(cache.context, graw, grads["B"], n_threads)
        return ga

    def sample(
        self,
        params: Params,
        draw: object,
        noise: Array,
        held: Array | None,
        codes: Array,
        n_threads: int,
        *,
        context: Array | None = None,
        weight: Array | None = None,
    ) -> None:
        """Draw codes (n, D) where `held` is SAMPLED, and weigh those that are WEIGHTED."""
        self._walk(params, draw, noise, held, codes, weight, n_threads, context)

    def sample_particles(
        self,
        params: Params,
        draw: object,
        noise: Array,
        held: Array,
        begun: Array,
        stages: Stages,
        codes: Array,
        weight: Array,
        n_threads: int,
        *,
        context: Array | None = None,
    ) -> None:
        """Fill the codes (n N, D) of N particles of each of n rows, and add to weight (n N,)."""
        of_stages = begun, stages.ends, stages.noise, stages.least
        self._walk(params, draw, noise, held, codes, weight, n_threads, context, *of_stages)

    def _walk(
        self,
        params: Params,
        draw: object,
        noise: Array,
        held: Array | None,
        codes: Array,
        weight: Array | None,
        n_threads: int,
        context: Array | None,
        *of_stages: Any,
    ) -> None:
        n_threads = self._threads(len(codes), n_threads)
        W, V = self._matrices(params)
        _nade.sample(
            draw, noise, held, codes, weight, self.inputs.input_flags, self.inputs.offsets,
            self.markov_order, W, V, params["b"].reshape(-1), self.output_offsets,
            params.get("rho"), self._initial(params, 1, context, n_threads),
            self._shift(params, context, n_threads), self._activation, self._unit_changes,
            n_threads, *of_stages,
        )  # fmt: skip

    def _shift(self, params: Params, context: Array | None, n_threads: int) -> Array | None:
        """Return what contexts add to raw outputs (n, sum of P)."""
        if context is None:
            return None
        nothing = np.zeros(self.n_outputs, self.dtype)
        return product(context, params["B"], nothing, n_threads)

    def _threads(self, n_rows: int, n_threads: int) -> int:
        return useful_n_threads(n_threads, n_rows * self.n_outputs * self.n_hidden)

    def _matrices(self, params: Params) -> tuple[Array, Array]:
        return params["W"].reshape(-1, self.n_hidden), params["V"].reshape(-1, self.n_hidden)

    def _initial(self, params: Params, n: int, context: Array | None, n_threads: int) -> Array:
        """Return the pre-activations before the first feature, in whole vectors.

        n: how many rows without a context.
        """
        stride = _nade.hidden_stride(self.n_hidden, self.dtype)
        first = params["c"]
        if context is not None:
            first = product(context, params["U"], first, n_threads)
            n = len(first)
        hidden: Array = _cpu.aligned_empty((n, stride), self.dtype)
        hidden[:, : self.n_hidden] = first
        hidden[:, self.n_hidden :] = 0
        return hidden
