"""Deep NADE's network: any features known, all others' densities at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fastar._core.inputs import MAY_MISS, ONE_HOT, Inputs
from fastar._core.lazy import lazy
from fastar._core.limits import MOST_MEMBERS
from fastar._core.offsets import output_axes
from fastar._core.parameters import Array, Params
from fastar._core.schema import Listed, OneOf, Rule, Whole
from fastar._core.threads import useful_n_threads
from fastar._kernels import _conditionals, _cpu, _inputs, _masked
from fastar._kernels._conditionals import OBSERVED
from fastar.networks._dense import add_product, full_stairs, product, weight_gradient
from fastar.networks._network import SEED, Network

ACTIVATIONS: tuple[str, ...] = _masked.ACTIVATIONS
_LINEAR = -1
_MANY = 8
"""Outputs of a feature from which a kernel for products pays."""


@dataclass(frozen=True)
class Cache:
    """What `backward` and `loss_targets` need of a `forward` in training."""

    known: Array
    inputs: tuple[Array, Array, Array]
    hidden: list[Array]
    context: Array | None


@dataclass
class Weights:
    """The parameters, and the order in which a member visits the features."""

    params: Params
    order: Array
    output_offsets: Array

    @lazy
    def outputs(self) -> list[Array]:
        """Each feature's own weights (P, H), or (H, P) where they are many."""
        depth = sum(name[0] == "c" for name in self.params)
        W = self.params[f"W{depth}"]
        W = W.reshape(len(W), -1)
        own = [W[:, begin:end] for begin, end in pairwise(self.output_offsets)]
        return [np.ascontiguousarray(V if V.shape[1] >= _MANY else V.T) for V in own]


class Orderless(Network):
    """A network without masks whose inputs tell which features are known [1]_.

    ``h_0`` has the known features and indicators of the others; ``h_l = g(c_l + h_{l-1}
    W_{l-1})``, ``raw = b + h_L W_L``. One network for the conditionals of every order.

    Parameters
    ----------
    output_offsets : int64 array (D + 1,)
        Where the outputs of each feature begin.
    inputs : Inputs
        How codes enter; the last row of every feature is what an unknown one adds.
    hidden_layer_sizes : tuple of int
        H_1 .. H_L, at least one.
    activation : {"sigmoid", "tanh", "relu"}
        g.
    n_orders : int
        Orders over which densities are averaged: the model's own, and random ones.
    seed : int
        Seed of the random orders.
    n_context : int
        C: a context y (n, C) adds y U_l to c_l, and y B to b.
    dtype : dtype
        float32 or float64.

    References
    ----------
    .. [1] B. Uria, I. Murray, H. Larochelle, "A deep and tractable density estimator", ICML 2014.
    """

    name = "orderless"
    any_evidence = True

    def __init__(
        self,
        output_offsets: Array,
        inputs: Inputs,
        *,
        hidden_layer_sizes: tuple[int, ...],
        activation: str,
        n_orders: int = 1,
        seed: int = 0,
        n_context: int = 0,
        dtype: Any,
    ) -> None:
        if not hidden_layer_sizes or min(n_orders, *hidden_layer_sizes) < 1:
            raise ValueError("n_orders and every layer's size must be at least 1")
        if not (inputs.input_flags & MAY_MISS).all():
            raise ValueError("every feature must have a row of weights for being unknown")
        self.output_offsets = output_offsets
        self.inputs = inputs
        self.hidden_layer_sizes = tuple(map(int, hidden_layer_sizes))
        self.activation = activation
        self.n_orders = int(n_orders)
        self.seed = seed
        self.n_context = int(n_context)
        self.dtype = np.dtype(dtype)
        self._activation = ACTIVATIONS.index(activation)

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of the constructor."""
        return {
            "hidden_layer_sizes": list(self.hidden_layer_sizes),
            "activation": self.activation,
            "n_orders": self.n_orders,
            "seed": self.seed,
            "n_context": self.n_context,
            "dtype": self.dtype.name,
        }

    @classmethod
    def _own_rules(cls, size: Whole) -> dict[str, Rule]:
        """Return what its own settings may be, `size` being the rule for a number of units."""
        return {
            "hidden_layer_sizes": Listed(size, least=1),
            "activation": OneOf(ACTIVATIONS),
            "n_orders": Whole(1, MOST_MEMBERS),
            "seed": SEED,
        }

    # ---- members: the same network along other orders

    @property
    def n_members(self) -> int:
        """How many orders' densities are averaged."""
        return self.n_orders

    @property
    def order_agnostic(self) -> bool:  # type: ignore[override]
        """Whether there is more than one order."""
        return self.n_orders > 1

    def member_order(self, member: int) -> Array:
        """Return the feature that comes k-th for a member (D,)."""
        if member == 0:
            return np.arange(self.n_features)
        return np.random.default_rng([self.seed, member]).permutation(self.n_features)

    def materialise_weights(self, params: Params, n_threads: int, member: int = 0) -> Weights:
        """Return the parameters and a member's order."""
        return Weights(params, self.member_order(member), self.output_offsets)

    # ---- parameters

    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        inputs, outputs = output_axes(self.inputs.offsets), output_axes(self.output_offsets)
        layers = [inputs, *((H,) for H in self.hidden_layer_sizes), outputs]
        shapes: dict[str, tuple[int, ...]] = {
            f"W{layer}": (*before, *after) for layer, (before, after) in enumerate(pairwise(layers))
        }
        if self.n_context:
            for layer, H in enumerate(self.hidden_layer_sizes):
                shapes[f"U{layer}"] = (self.n_context, H)
            shapes["B"] = (self.n_context, *outputs)
        for layer, H in enumerate(self.hidden_layer_sizes):
            shapes[f"c{layer}"] = (H,)
        return {**shapes, "b": outputs}

    @property
    def decayed(self) -> tuple[str, ...]:
        """Names of the weights."""
        return tuple(name for name in self.shapes if name[0] in "WUB")

    @property
    def output_weights(self) -> tuple[str, ...]:
        """The last W, and B."""
        last = (f"W{len(self.hidden_layer_sizes)}",)
        return (*last, "B") if self.n_context else last

    def initialise(self, params: Params, rng: np.random.Generator) -> None:
        """Fill the W and U with small random numbers; at first unknown features add nothing."""
        for name in self.shapes:
            params[name][...] = 0
        sizes = (self.n_features, *self.hidden_layer_sizes)
        for layer, H in enumerate(sizes):
            W = params[f"W{layer}"]
            W[...] = rng.uniform(-1, 1, W.shape) / np.sqrt(H)
        self._input_weights(params)[self.inputs.offsets[1:] - 1] = 0
        if self.n_context:
            for layer, H in enumerate(self.hidden_layer_sizes):
                U = params[f"U{layer}"]
                U[...] = rng.uniform(-1, 1, U.shape) / np.sqrt(max(self.n_context, H))

    def _input_weights(self, params: Params) -> Array:
        return params["W0"].reshape(self.inputs.n_rows, -1)

    # ---- training: all unknown features at once

    def forward(
        self,
        weights: Weights,
        codes: Array,
        n_threads: int,
        *,
        context: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Any]:
        """Return raw (n, sum of P) for codes (n, D), and the cache for `backward`.

        Without rng: along the member's order. With rng: given a random part of each row. Each
        feature is known with probability u, and u is uniform, so that the number of known features
        is uniform too.
        """
        n_threads = self._threads(len(codes), n_threads)
        if rng is None:
            raw = _cpu.aligned_empty((len(codes), self.n_outputs), self.dtype)
            for d, rows, found in self._walk(weights, codes, None, context, n_threads):
                raw[rows, self._outputs_of(d)] = found
            return raw, None
        share = rng.random((len(codes), 1), np.float32)
        known = rng.random(codes.shape, np.float32) < share
        given = np.where(known, codes, self.dtype.type(np.nan))
        inputs = self._listed(given, n_threads)
        params = weights.params
        hidden = self._hidden(
            params, self._entered(params, inputs, context, n_threads), context, n_threads
        )
        last = params[f"W{len(hidden)}"]
        raw = product(hidden[-1], last, params["b"].ravel(), n_threads)
        if context is not None:
            add_product(context, params["B"], raw, n_threads)
        return raw, Cache(known, inputs, hidden, context)

    def loss_targets(self, cache: Cache, codes: Array) -> tuple[Array, Array | None]:
        """Return the codes that are unknown, NaN elsewhere, and each row's factor.

        k of the D observed features are known, 0 <= k <= D. The mean over the others estimates one
        term of log p(x), so that the factor is D, times (D + 1) / D because k = D has no term.
        """
        there = ~np.isnan(codes)
        unknown = there & ~cache.known
        left = unknown.sum(axis=1)
        factor = np.where(left, (there.sum(axis=1) + 1) / np.maximum(left, 1), 0)
        return np.where(unknown, codes, self.dtype.type(np.nan)), factor

    def backward(
        self, weights: Weights, cache: Cache, graw: Array, grads: Params, n_threads: int
    ) -> None:
        """Overwrite `grads` with the gradient of sum(graw * raw)."""
        n, params = len(graw), weights.params
        n_threads = self._threads(n, n_threads)
        g = graw
        np.sum(graw, axis=0, out=grads["b"].reshape(-1))
        if cache.context is not None:
            weight_gradient(cache.context, g, grads["B"], n_threads)
        for layer in reversed(range(len(cache.hidden))):
            h = cache.hidden[layer]
            W = params[f"W{layer + 1}"].reshape(h.shape[1], -1)
            weight_gradient(h, g, grads[f"W{layer + 1}"], n_threads)
            gh = _cpu.aligned_empty(h.shape, self.dtype)
            _masked.backward(g, full_stairs(*W.shape), W, h, gh, self._activation, n_threads)
            np.sum(gh, axis=0, out=grads[f"c{layer}"])
            if cache.context is not None:
                weight_gradient(cache.context, gh, grads[f"U{layer}"], n_threads)
            g = gh
        gW = self._input_weights(grads)
        _masked.scatter(cache.inputs, full_stairs(*gW.shape), g, gW, n_threads)

    def _listed(self, codes: Array, n_threads: int) -> tuple[Array, Array, Array]:
        # of one feature more, without weights, for the last one would be left out
        padded = np.zeros((len(codes), self.n_features + 1), self.dtype)
        padded[:, :-1] = codes
        input_flags = np.append(self.inputs.input_flags, np.uint8(0))
        offsets = np.append(self.inputs.offsets, self.inputs.n_rows)
        changes = _inputs.changes(padded, input_flags, offsets, self.n_features + 1, n_threads)
        return _masked.listed(changes, self.inputs.n_rows, n_threads)

    def _entered(self, params: Params, inputs: Any, context: Array | None, n_threads: int) -> Array:
        """Return the first layer's pre-activations (n, H_1)."""
        W, c = self._input_weights(params), params["c0"]
        n = len(inputs[0])
        stairs = full_stairs(*W.shape)
        if context is not None:
            a = product(context, params["U0"], c, n_threads)
            _masked.gather(inputs, stairs, W, None, a, _LINEAR, n_threads)
            return a
        a = _cpu.aligned_empty((n, len(c)), self.dtype)
        _masked.gather(inputs, stairs, W, c, a, _LINEAR, n_threads)
        return a

    def _hidden(
        self, params: Params, a: Array, context: Array | None, n_threads: int
    ) -> list[Array]:
        """Return every layer's units; the first one's replace its pre-activations a."""
        _masked.activate(a, self._activation, n_threads)
        hidden = [a]
        for layer in range(1, len(self.hidden_layer_sizes)):
            W, c = params[f"W{layer}"], params[f"c{layer}"]
            if context is None:
                hidden.append(product(hidden[-1], W, c, n_threads, self._activation))
                continue
            a = product(context, params[f"U{layer}"], c, n_threads)
            add_product(hidden[-1], W, a, n_threads, self._activation)
            hidden.append(a)
        return hidden

    # ---- along an order: one feature after the other

    def _walk(
        self,
        weights: Weights,
        codes: Array,
        held: Array | None,
        context: Array | None,
        n_threads: int,
    ) -> Iterator[tuple[int, Any, Array]]:
        """Yield (feature, rows where it is not OBSERVED, its raw outputs (m, P)) along the order.

        OBSERVED features are known from the start. When the iterator resumes, the codes of the
        feature enter; a missing one stays unknown.
        """
        params, n = weights.params, len(codes)
        unknown = np.full_like(codes, np.nan)
        given = unknown if held is None else np.where(held == OBSERVED, codes, unknown)
        # the same for all rows while none knows a feature
        whole = given[:1] if held is None and context is None else given
        a = self._entered(params, self._listed(whole, n_threads), context, n_threads)
        if len(a) < n:
            a = np.repeat(a, n, axis=0)
        shift = None
        if context is not None:
            nothing = np.zeros(self.n_outputs, self.dtype)
            shift = product(context, params["B"], nothing, n_threads)
        for d in weights.order:
            rows: Any = slice(None)
            if held is not None:
                rows = np.flatnonzero(held[:, d] != OBSERVED)
                if not len(rows):
                    continue
            own = None if context is None else np.ascontiguousarray(context[rows])
            h = self._hidden(params, a[rows].copy(), own, n_threads)[-1]
            raw = self._outputs(weights, h, int(d), n_threads)
            if shift is not None:
                raw += shift[rows, self._outputs_of(d)]
            yield int(d), rows, raw
            a[rows] += self._entering(params, int(d), codes[rows, d])

    def _outputs_of(self, d: int) -> slice:
        return slice(*self.output_offsets[d : d + 2])

    def _outputs(self, weights: Weights, h: Array, d: int, n_threads: int) -> Array:
        V, b = weights.outputs[d], weights.params["b"].ravel()[self._outputs_of(d)]
        if len(b) >= _MANY:
            return product(h, V, b, n_threads)
        # not a product by BLAS, which may add in another order for other rows beside
        raw: Array = np.einsum("nh,ph->np", h, V) + b
        return raw

    def _entering(self, params: Params, d: int, codes: Array) -> Array:
        """Return the change of the pre-activations (n, H_1) when feature d becomes known."""
        W = self._input_weights(params)[slice(*self.inputs.offsets[d : d + 2])]
        there = ~np.isnan(codes)
        gain: Array
        if self.inputs.input_flags[d] & ONE_HOT:
            level = np.where(codes >= 0, codes, -1).astype(np.intp)
            rows = np.concatenate([W[:-1] - W[-1], -W[-1:]])  # the last for a level that is none
            gain = rows[level]
        else:
            gain = np.where(there, codes, 0)[:, None] * W[0] - W[-1]
        if not there.all():
            gain[~there] = 0
        return gain

    def sample(
        self,
        weights: Weights,
        draw: object,
        noise: Array,
        held: Array | None,
        codes: Array,
        n_threads: int,
        *,
        context: Array | None = None,
        weight: Array | None = None,
    ) -> None:
        """Draw codes (n, D) where `held` is SAMPLED, given all OBSERVED codes."""
        n_threads = self._threads(len(codes), n_threads)
        total = np.zeros(len(codes)) if weight is None else weight
        for d, rows, raw in self._walk(weights, codes, held, context, n_threads):
            chosen, added = np.ascontiguousarray(codes[rows, d]), total[rows].copy()
            own = None if held is None else np.ascontiguousarray(held[rows, d])
            _conditionals.choose(
                draw, d, raw, np.ascontiguousarray(noise[rows, d]), own, chosen, added
            )
            codes[rows, d] = chosen
            total[rows] = added

    def _threads(self, n_rows: int, n_threads: int) -> int:
        size = sum(int(np.prod(shape)) for shape in self.shapes.values())
        return useful_n_threads(n_threads, n_rows * size)
