"""Masked networks: MADE, and FVSBN, the one with no hidden layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fastar._core.inputs import Inputs
from fastar._core.lazy import lazy
from fastar._core.limits import MOST_MEMBERS
from fastar._core.offsets import input_axes, output_axes, positions
from fastar._core.parameters import Array, Params
from fastar._core.schema import FLAG, Either, Listed, Number, OneOf, Rule, Whole
from fastar._core.threads import useful_n_threads
from fastar._kernels import _cpu, _masked
from fastar.networks._dense import product, weight_gradient
from fastar.networks._masked_tail import Tail
from fastar.networks._masked_walk import Walk
from fastar.networks._masked_weights import LINEAR, Connection, Weights, Wiring, enter, listed
from fastar.networks._masks import MaskSet, even_degrees, random_degrees
from fastar.networks._network import DROPOUT, SEED, Network

ACTIVATIONS: tuple[str, ...] = _masked.ACTIVATIONS
_CHANCES = 1 << 16


def _random_uint16(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return numbers 0 .. _CHANCES - 1."""
    size = math.prod(shape)
    chances: Array = rng.bit_generator.random_raw(-(-size // 4)).view(np.uint16)
    return chances[:size].reshape(shape)


@dataclass(frozen=True)
class Cache:
    """What `backward` needs of `forward`."""

    inputs: Any
    hidden: list[Array]
    """Activations."""
    given: list[Array]
    """Activations after dropout, for the next layer."""
    chances: list[Array]
    """Random numbers of dropout, one for each activation; empty without it."""
    context: Array | None


class Masked(Network):
    """A network whose masks let the outputs of x_d see the features before it alone [1]_.

    ``h_0 = x``, ``h_l = g(c_l + h_{l-1} W_{l-1})``, ``raw = b + h_L W_L + x L``: all d in one pass.

    Parameters
    ----------
    output_offsets : int64 array (D + 1,)
        Where the outputs of each feature begin, and the end of the last.
    inputs : Inputs
        How codes enter.
    hidden_layer_sizes : tuple of int
        H_1 .. H_L; without hidden layers the network is L alone.
    activation : {"sigmoid", "tanh", "relu"}
        g.
    direct_connections : bool
        Whether there is L.
    degrees : {"even", "random"}
        How units get their degrees.
    redrawn : float
        Share of a layer's units to which each of several sets of masks gives degrees of its own;
        the others have the same in all of them.
    n_masks : int or "unlimited"
        Sets of masks through which training cycles; "unlimited" draws another one each step.
    n_scoring_masks : int
        Sets whose densities are averaged where training has an unlimited number.
    order_agnostic : bool
        Whether each set of masks has an order of the features of its own.
    markov_order : int
        How many features before it x_d sees.
    dropout : float
        Share of hidden units that a training step leaves out, in steps of 1 / 65536.
    seed : int
        Seed of the masks.
    n_context : int
        C: a context y (n, C) adds y U_l to c_l, and y B to b.
    dtype : dtype
        float32 or float64.

    References
    ----------
    .. [1] M. Germain, K. Gregor, I. Murray, H. Larochelle, "MADE: masked autoencoder for
       distribution estimation", ICML 2015.
    """

    name = "masked"

    def __init__(
        self,
        output_offsets: Array,
        inputs: Inputs,
        *,
        hidden_layer_sizes: tuple[int, ...] = (),
        activation: str = "relu",
        direct_connections: bool = True,
        degrees: str = "even",
        redrawn: float = 1.0,
        n_masks: int | str = 1,
        n_scoring_masks: int = 1,
        order_agnostic: bool = False,
        markov_order: int,
        dropout: float = 0.0,
        seed: int = 0,
        n_context: int = 0,
        dtype: Any,
    ) -> None:
        n_features = len(output_offsets) - 1
        if min(n_features, markov_order, *hidden_layer_sizes) < 1:
            raise ValueError("n_features, markov_order and every layer's size must be at least 1")
        if order_agnostic and n_masks == 1:
            raise ValueError("order_agnostic=True wants more than one set of masks (n_masks)")
        if not hidden_layer_sizes and not direct_connections:
            raise ValueError("a network without hidden layers needs direct_connections")
        self.output_offsets = np.asarray(output_offsets, np.int64)
        self.inputs = inputs
        # Python's numbers, so that networks are equal whose settings are
        self.hidden_layer_sizes = tuple(map(int, hidden_layer_sizes))
        self.activation = activation
        self.direct_connections = bool(direct_connections)
        self.degrees = degrees
        self.redrawn = float(redrawn)
        self.n_masks = n_masks if isinstance(n_masks, str) else int(n_masks)
        self.n_scoring_masks = int(n_scoring_masks)
        self.order_agnostic = bool(order_agnostic)
        self.markov_order = int(min(markov_order, n_features))
        self.dropout = float(dropout)
        self._below = min(round(self.dropout * _CHANCES), _CHANCES - 1)
        self.is_stochastic = self._below > 0
        self.seed = seed
        self.n_context = int(n_context)
        self.weights_are_views = self.n_masks == 1 and self.n_context == 0
        self.dtype = np.dtype(dtype)
        self._activation = ACTIVATIONS.index(activation)
        # A few ones among many features, or a row for each level: adding rows beats multiplying.
        by_row = inputs.n_rows > n_features or bool(inputs.input_flags.any())
        self._sparse = inputs.binary_inputs or by_row

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of the constructor."""
        return {
            "hidden_layer_sizes": list(self.hidden_layer_sizes),
            "activation": self.activation,
            "direct_connections": self.direct_connections,
            "degrees": self.degrees,
            "redrawn": self.redrawn,
            "n_masks": self.n_masks,
            "n_scoring_masks": self.n_scoring_masks,
            "order_agnostic": self.order_agnostic,
            "markov_order": self.markov_order,
            "dropout": self.dropout,
            "seed": self.seed,
            "n_context": self.n_context,
            "dtype": self.dtype.name,
        }

    @classmethod
    def _own_rules(cls, size: Whole) -> dict[str, Rule]:
        """Return what its own settings may be, `size` being the rule for a number of units."""
        return {
            "hidden_layer_sizes": Listed(size),
            "activation": OneOf(ACTIVATIONS),
            "direct_connections": FLAG,
            "degrees": OneOf(("even", "random")),
            "redrawn": Number(0, 1),
            "n_masks": Either(Whole(1, MOST_MEMBERS), OneOf(("unlimited",))),
            "n_scoring_masks": Whole(1, MOST_MEMBERS),
            "order_agnostic": FLAG,
            "markov_order": Whole(1),
            "dropout": DROPOUT,
            "seed": SEED,
        }

    # ---- members: networks that share the parameters, each with masks of its own

    @property
    def n_members(self) -> int:
        """How many members' densities are averaged."""
        return self.n_scoring_masks if isinstance(self.n_masks, str) else self.n_masks

    def member_order(self, member: int) -> Array:
        """Return the feature that comes k-th for a member (D,)."""
        return self.masks(member).order

    def training_member(self, step: int) -> int:
        """Return the member that this step of training trains."""
        return step if isinstance(self.n_masks, str) else step % self.n_masks

    def masks(self, member: int) -> MaskSet:
        """Return the masks of a member."""
        D = self.n_features
        rng = np.random.default_rng([self.seed, member])
        common = np.random.default_rng([self.seed, 0, 1])  # no member's: a last 0 changes nothing
        order = self.inputs.permuted(rng) if self.order_agnostic else np.arange(D)
        degrees: list[Array] = []
        for H in self.hidden_layer_sizes:
            # a unit that sees none of the layer before would be a constant
            least = int(degrees[-1].min()) if degrees else 1
            degrees.append(self._layer_degrees(H, least, rng, common))
        return MaskSet(self.inputs.offsets, self.output_offsets, order, degrees, self.markov_order)

    def _layer_degrees(
        self, H: int, least: int, rng: np.random.Generator, common: np.random.Generator
    ) -> Array:
        """Return degrees (H,): those that a set of masks draws and those that all share."""
        D, single = self.n_features, self.n_masks == 1
        if self.degrees == "even":
            degrees = even_degrees(D, H)
            if not single:
                moved = rng.random(H) < self.redrawn if self.redrawn < 1 else slice(None)
                degrees[moved] = rng.permutation(degrees[moved])
            return degrees
        degrees = random_degrees(D, H, least, rng)
        if not single and self.redrawn < 1:
            kept = rng.random(H) >= self.redrawn
            degrees[kept] = np.maximum(random_degrees(D, H, 1, common), least)[kept]
            degrees[rng.integers(H)] = max(1, D - 1)
        return np.sort(degrees) if single else degrees

    def wiring(self, member: int) -> Wiring:
        """Return the connections of a member."""
        return self._only_wiring if self.n_masks == 1 else self._wired(self.masks(member))

    @lazy
    def _only_wiring(self) -> Wiring:
        return self._wired(self.masks(0))

    def _wired(self, masks: MaskSet) -> Wiring:
        inputs = positions(self.inputs.offsets, masks.order)
        outputs = positions(self.output_offsets, masks.order)
        layers = [inputs, *masks.units, outputs]
        connections = [
            Connection(f"W{layer}", stairs, layers[layer], layers[layer + 1])
            for layer, stairs in enumerate(masks.stairs())
        ]
        direct = Connection("L", masks.direct(), inputs, outputs)
        return Wiring(masks, connections, direct if self.direct_connections else None, outputs)

    # ---- parameters

    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        inputs, outputs = input_axes(self.inputs.offsets), output_axes(self.output_offsets)
        layers = [inputs, *((H,) for H in self.hidden_layer_sizes), outputs]
        shapes = {}
        if self.hidden_layer_sizes:
            for layer, (before, after) in enumerate(pairwise(layers)):
                shapes[f"W{layer}"] = (*before, *after)
        if self.direct_connections:
            shapes["L"] = (*inputs, *outputs)
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
        return tuple(name for name in self.shapes if name[0] in "WLUB")

    @property
    def output_weights(self) -> tuple[str, ...]:
        """The last W, L and B."""
        last = f"W{len(self.hidden_layer_sizes)}"
        return tuple(name for name in (last, "L", "B") if name in self.shapes)

    @property
    def active(self) -> Array | None:
        """First and last parameters (m, 2) of the stretches that no mask hides; None: all."""
        if self.n_masks != 1:
            return None
        stretches, start = [], 0
        stairs = {each.name: each.stairs for each in self._only_wiring.all}
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            if name in stairs:
                begin, end, *_ = stairs[name].limits()
                rows = start + np.arange(len(begin)) * stairs[name].columns
                stretches.append(np.stack([rows + begin, rows + end], axis=1)[begin < end])
            else:
                stretches.append(np.array([[start, start + size]]))
            start += size
        return np.concatenate(stretches)

    @property
    def n_used(self) -> int:
        """How many parameters some member uses."""
        if self.n_masks == 1:
            return super().n_used
        sets = self.mask_arrays()
        hidden = [~np.logical_or.reduce([masks[name] for masks in sets]) for name in sets[0]]
        return super().n_used - int(sum(each.sum() for each in hidden))

    def params_in_paper_layout(self, params: Params) -> Params:
        """Return the parameters with the axes that the papers give them: L (D, P, D)."""
        if "L" not in params:
            return params
        L, n_axes = params["L"], len(output_axes(self.output_offsets))
        return {**params, "L": np.moveaxis(L, range(-n_axes, 0), range(n_axes))}

    def mask_arrays(self) -> list[Params]:
        """Return each member's masks of the weights, shaped as in `params_in_paper_layout`."""
        return [self._mask_arrays(member) for member in range(self.n_members)]

    def _mask_arrays(self, member: int) -> Params:
        connections = self.wiring(member).all
        arrays = {each.name: each.mask().reshape(self.shapes[each.name]) for each in connections}
        return self.params_in_paper_layout(arrays)

    def initialise(self, params: Params, rng: np.random.Generator) -> None:
        """Fill the W and U with small random numbers, zeros where the only mask hides them."""
        for name in self.shapes:
            params[name][...] = 0
        for layer, H in enumerate((self.n_features, *self.hidden_layer_sizes)):
            if self.hidden_layer_sizes:
                W = params[f"W{layer}"]
                W[...] = rng.uniform(-1, 1, W.shape) / np.sqrt(H)
        if self.n_context:
            for layer, H in enumerate(self.hidden_layer_sizes):
                U = params[f"U{layer}"]
                U[...] = rng.uniform(-1, 1, U.shape) / np.sqrt(max(self.n_context, H))
        if self.n_masks == 1:
            for each in self._only_wiring.layers:
                hidden = ~each.stairs.mask()
                params[each.name].reshape(hidden.shape)[hidden] = 0

    # ---- forward and backward

    def materialise_weights(self, params: Params, n_threads: int, member: int = 0) -> Weights:
        """Return what `forward` and `sample` want of the parameters for one member."""
        wiring = self.wiring(member)
        matrices = {}
        for each in wiring.all:
            stairs = each.stairs
            W = params[each.name].reshape(stairs.rows, stairs.columns)
            if self.n_masks != 1:
                W = _masked.gather_masked(W, each.rows, each.columns, stairs, n_threads)
            matrices[each.name] = W
        places = [*wiring.masks.units, wiring.outputs]
        n_hidden = len(self.hidden_layer_sizes)
        biases = [params[f"c{layer}"] for layer in range(n_hidden)] + [params["b"].ravel()]
        if self.n_masks != 1:
            biases = [bias[columns] for bias, columns in zip(biases, places, strict=True)]
        context = [
            np.ascontiguousarray(params[name].reshape(self.n_context, -1)[:, columns])
            for name, columns in zip(self._context_weights, places, strict=False)
        ]
        return Weights(wiring, matrices, biases, context)

    @property
    def _context_weights(self) -> list[str]:
        """Names of the weights of a context, into each hidden layer and the outputs."""
        if not self.n_context:
            return []
        return [*(f"U{layer}" for layer in range(len(self.hidden_layer_sizes))), "B"]

    def forward(
        self,
        weights: Weights,
        codes: Array,
        n_threads: int,
        *,
        context: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Cache]:
        """Return raw (n, sum of P) for codes (n, D), and the cache for `backward`.

        context (n, C). rng: in training, the generator of dropout.
        """
        n, wiring = len(codes), weights.wiring
        order = wiring.masks.order
        n_threads = self._threads(n, n_threads)
        if self.order_agnostic:
            codes = np.ascontiguousarray(codes[:, order])
        inputs: Any = codes
        if self._sparse:
            ways = self._inputs(order)
            inputs = listed(codes, ways.input_flags, ways.offsets, ways.n_rows, n_threads)
        hidden: list[Array] = []
        given: list[Array] = []
        chances: list[Array] = []
        source = inputs
        for layer, each in enumerate(wiring.layers):
            last = each is wiring.layers[-1]
            out, bias = weights.started(layer, n, context, n_threads)
            kind = LINEAR if last else self._activation
            enter(source, each.stairs, weights.matrices[each.name], bias, out, kind, n_threads)
            source = out
            if not last:
                hidden.append(out)
                if rng is not None and self.is_stochastic:
                    chances.append(_random_uint16(rng, out.shape))
                    source = _cpu.aligned_empty(out.shape, self.dtype)
                    self._drop(out, chances[-1], source, n_threads)
                given.append(source)
        if wiring.direct is not None:
            bias = None
            if not wiring.layers:
                source, bias = weights.started(-1, n, context, n_threads)
            L, stairs = weights.matrices["L"], wiring.direct.stairs
            enter(inputs, stairs, L, bias, source, LINEAR, n_threads)
        raw = source
        if self.order_agnostic:
            raw = np.empty_like(source)
            raw[:, wiring.outputs] = source
        return raw, Cache(inputs, hidden, given, chances, context)

    def forward_from(
        self,
        weights: Weights,
        codes: Array,
        start: int,
        n_threads: int,
        *,
        context: Array | None = None,
    ) -> tuple[Array, Callable[[Array], Array]] | None:
        """Return raw (n, sum of P), and a function from other codes on to their raw outputs."""
        if self.n_masks != 1 or start == 0:
            return None
        raw, cache = self.forward(weights, codes, n_threads, context=context)
        tail = Tail(
            weights, self.inputs, self._sparse, self._activation, start, codes, cache.hidden,
            context, self._threads(len(codes), n_threads),
        )  # fmt: skip
        return raw, tail.raw

    def backward(
        self, weights: Weights, cache: Cache, graw: Array, grads: Params, n_threads: int
    ) -> None:
        """Overwrite `grads` with the gradient of sum(graw * raw)."""
        n, wiring = len(graw), weights.wiring
        n_threads = self._threads(n, n_threads)
        if self.order_agnostic:
            graw = graw[:, wiring.outputs]
        g = np.ascontiguousarray(graw)
        self._bias_gradient(
            len(self.hidden_layer_sizes), wiring.outputs, cache, g, grads, n_threads
        )
        if wiring.direct is not None:
            self._weight_gradient(wiring.direct, cache.inputs, self._sparse, g, grads, n_threads)
        for layer in reversed(range(len(wiring.layers))):
            each = wiring.layers[layer]
            if layer == 0:
                self._weight_gradient(each, cache.inputs, self._sparse, g, grads, n_threads)
                break
            h = cache.hidden[layer - 1]
            self._weight_gradient(each, cache.given[layer - 1], False, g, grads, n_threads)
            gh = _cpu.aligned_empty(h.shape, self.dtype)
            _masked.backward(
                g, each.stairs, weights.matrices[each.name], h, gh, self._activation, n_threads
            )
            if cache.chances:
                self._drop(gh, cache.chances[layer - 1], gh, n_threads)
            units = wiring.masks.units[layer - 1]
            self._bias_gradient(layer - 1, units, cache, gh, grads, n_threads)
            g = gh

    def _drop(self, x: Array, chances: Array, out: Array, n_threads: int) -> None:
        """Leave out units whose chance lies below the share of dropout, and scale the others."""
        scale = _CHANCES / (_CHANCES - self._below)
        _masked.drop(x, chances, self._below, scale, out, n_threads)

    def _bias_gradient(
        self, layer: int, columns: Array, cache: Cache, g: Array, grads: Params, n_threads: int
    ) -> None:
        """Write the gradient by the biases of a layer, and by the context's weights."""
        name = f"c{layer}" if layer < len(self.hidden_layer_sizes) else "b"
        target = grads[name].reshape(-1)
        sums = target if self.n_masks == 1 else np.empty_like(target)
        _masked.column_sums(g, sums, n_threads)
        if sums is not target:
            target[columns] = sums
        if cache.context is not None:
            gW = np.empty((self.n_context, len(columns)), self.dtype)
            weight_gradient(cache.context, g, gW, n_threads)
            grads[self._context_weights[layer]].reshape(self.n_context, -1)[:, columns] = gW

    def _weight_gradient(
        self,
        connection: Connection,
        source: Any,
        listed: bool,
        g: Array,
        grads: Params,
        n_threads: int,
    ) -> None:
        """Write the gradient by one matrix. listed: whether the source is lists of inputs."""
        stairs = connection.stairs
        target = grads[connection.name].reshape(stairs.rows, stairs.columns)
        gW = target if self.n_masks == 1 else _cpu.aligned_empty(target.shape, self.dtype)
        if listed:
            _masked.scatter(source, stairs, g, gW, n_threads)
        else:
            _masked.outer(source, g, stairs, gW, n_threads)
        if gW is not target:
            _masked.scatter_masked(
                gW, connection.rows, connection.columns, stairs, target, n_threads
            )

    # ---- sampling

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
        """Draw codes (n, D) where `held` is SAMPLED, and weigh those that are WEIGHTED."""
        order = weights.wiring.masks.order
        n_threads = self._threads(len(codes), n_threads)
        if weights.sampled is None:
            weights.sampled = self._sampled(weights, n_threads)
        walk, edges = weights.sampled
        inner = codes
        if self.order_agnostic:
            inner, noise = (np.ascontiguousarray(each[:, order]) for each in (codes, noise))
            held = None if held is None else np.ascontiguousarray(held[:, order])
        biases = weights.biases
        if context is not None:
            biases = [
                product(context, B, bias, n_threads)
                for B, bias in zip(weights.context, biases, strict=True)
            ]
        _masked.sample(
            draw, noise, held, inner, weight, walk.begin, walk.inputs.input_flags,
            walk.inputs.offsets, edges, biases, walk.finals, walk.feature,
            weights.wiring.masks.outputs, self._activation, n_threads,
        )  # fmt: skip
        if inner is not codes:
            codes[:, order] = inner

    def _sampled(self, weights: Weights, n_threads: int) -> tuple[Walk, list[Any]]:
        """Return the walk, and the connections as the kernel wants them."""
        walk = self._only_walk if self.n_masks == 1 else self._walk(weights.wiring)
        return walk, walk.packed(weights, n_threads)

    @lazy
    def _only_walk(self) -> Walk:
        return self._walk(self._only_wiring)

    def _walk(self, wiring: Wiring) -> Walk:
        return Walk.of(wiring, self._inputs(wiring.masks.order), self._sparse, self.dtype)

    # ----

    def _inputs(self, order: Array) -> Inputs:
        return self.inputs.at(order) if self.order_agnostic else self.inputs

    @lazy
    def _size(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())

    def _threads(self, n_rows: int, n_threads: int) -> int:
        return useful_n_threads(n_threads, n_rows * self._size // 2)
