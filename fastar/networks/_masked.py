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
from fastar._kernels import _cpu, _inputs, _masked
from fastar.networks._dense import product, weight_gradient
from fastar.networks._masks import MaskSet, even_degrees, random_degrees
from fastar.networks._network import DROPOUT, SEED, Network

ACTIVATIONS: tuple[str, ...] = _masked.ACTIVATIONS
_LINEAR = -1
_CHANCES = 1 << 16


def _random_uint16(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return numbers 0 .. _CHANCES - 1."""
    size = math.prod(shape)
    chances: Array = rng.bit_generator.random_raw(-(-size // 4)).view(np.uint16)
    return chances[:size].reshape(shape)


@dataclass(frozen=True)
class Connection:
    """Where the weights between two layers lie, once sorted by degree and as they are stored."""

    name: str
    stairs: _masked.Staircase
    rows: Array
    """Stored row of each sorted row."""
    columns: Array

    def mask(self) -> Array:
        """Return which weights of the matrix, as it is stored, are in use."""
        mask = np.zeros((self.stairs.rows, self.stairs.columns), bool)
        mask[np.ix_(self.rows, self.columns)] = self.stairs.mask()
        return mask


@dataclass(frozen=True)
class Wiring:
    """One member's connections."""

    masks: MaskSet
    layers: list[Connection]
    """Into each hidden layer, and from the last of them into the outputs."""
    direct: Connection | None
    outputs: Array
    """Stored position of each sorted output."""

    @lazy
    def all(self) -> list[Connection]:
        """Every connection."""
        return [*self.layers, *([self.direct] if self.direct else [])]


@dataclass(frozen=True)
class Walk:
    """The blocks in which sampling takes a member's features."""

    begin: Array
    """First feature of each block, and D."""
    inputs: Inputs
    """How the codes enter, in the member's order."""
    finals: list[Array]
    """For each hidden layer how many units are final after so many features (D + 1,)."""
    feature: Array
    """The feature that comes k-th (D,)."""
    layers: list[_masked.Blocks]
    direct: _masked.Blocks | None


@dataclass
class Weights:
    """One member's weights: sorted by degree, and zero where a mask hides them."""

    wiring: Wiring
    matrices: dict[str, Array]
    biases: list[Array]
    """Biases of each hidden layer and of the outputs."""
    context: list[Array]
    """Weights of a context into each of them (C, columns); none without one."""
    sampled: tuple[Walk, list[Any]] | None = None
    """The weights as sampling packs them at its first use: each layer, and the direct one."""


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

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every parameter, weights first."""
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
            entering = self._inputs(order)
            changes = _inputs.changes(
                codes, entering.input_flags, entering.offsets, self.n_features, n_threads
            )
            inputs = _masked.listed(changes, entering.n_rows, n_threads)
        hidden: list[Array] = []
        given: list[Array] = []
        chances: list[Array] = []
        source = inputs
        for layer, each in enumerate(wiring.layers):
            last = each is wiring.layers[-1]
            out, bias = self._started(weights, layer, n, context, n_threads)
            enter = _masked.gather if layer == 0 and self._sparse else _masked.forward
            enter(
                source, each.stairs, weights.matrices[each.name], bias, out,
                _LINEAR if last else self._activation, n_threads,
            )  # fmt: skip
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
                source, bias = self._started(weights, -1, n, context, n_threads)
            enter = _masked.gather if self._sparse else _masked.forward
            enter(
                inputs, wiring.direct.stairs, weights.matrices["L"], bias, source, _LINEAR,
                n_threads,
            )  # fmt: skip
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
        """Return raw (n, sum of P), and a function from other codes on to their raw outputs.

        Units are sorted by degree: those that see a feature from `start` on come last in their
        layer. The function computes them alone, from sums over the others that are made once.
        """
        if self.n_masks != 1 or start == 0:
            return None
        raw, cache = self.forward(weights, codes, n_threads, context=context)
        n, wiring = len(codes), weights.wiring
        n_threads = self._threads(n, n_threads)
        first_row = int(self.inputs.offsets[start]) if self._sparse else start
        firsts = [first_row]  # of each layer the first unit that changes
        for each in wiring.layers[:-1]:
            begin = each.stairs.limits()[0][firsts[-1]]
            firsts.append(min(int(begin), each.stairs.columns - 1))
        own = int(self.output_offsets[start])
        before = [self._listed_inputs(codes, 0, start, n_threads), *cache.hidden]
        layers = []
        for layer, each in enumerate(wiring.layers):
            last = each is wiring.layers[-1]
            column = own if last else firsts[layer + 1]
            sums = self._sums_before(weights, layer, each, before[layer], firsts[layer], column, n,
                                     context, n_threads)  # fmt: skip
            W = weights.matrices[each.name]
            layers.append((sums, *_corner(W, each.stairs, slice(firsts[layer], None), column)))
        direct = None
        if wiring.direct is not None:
            L, stairs = weights.matrices["L"], wiring.direct.stairs
            if not layers:
                sums = self._sums_before(weights, -1, wiring.direct, before[0], first_row, own, n,
                                         context, n_threads)  # fmt: skip
            else:
                sums = layers[-1][0]
                if first_row:
                    entering = _corner(L, stairs, slice(first_row), own)
                    enter = _masked.gather if self._sparse else _masked.forward
                    enter(before[0], entering[1], entering[0], None, sums, _LINEAR, n_threads)
            direct = (sums, *_corner(L, stairs, slice(first_row, None), own))

        def forward(tail: Array) -> Array:
            inputs = self._listed_inputs(tail, start, self.n_features, n_threads)
            source: Any = inputs
            for layer, (sums, W, stairs) in enumerate(layers):
                out = sums.copy()
                enter = _masked.gather if layer == 0 and self._sparse else _masked.forward
                kind = _LINEAR if layer == len(layers) - 1 else self._activation
                enter(source, stairs, W, None, out, kind, n_threads)
                source = out
            if direct is not None:
                sums, L, stairs = direct
                out = source if layers else sums.copy()
                enter = _masked.gather if self._sparse else _masked.forward
                enter(inputs, stairs, L, None, out, _LINEAR, n_threads)
                source = out
            return np.asarray(source)

        return raw, forward

    def _sums_before(
        self,
        weights: Weights,
        layer: int,
        each: Connection,
        before: Any,
        row: int,
        column: int,
        n: int,
        context: Array | None,
        n_threads: int,
    ) -> Array:
        """Return what the rows before `row` add to the columns from `column` on, and the bias."""
        bias = weights.biases[layer][column:]
        if context is None:
            out = np.tile(bias, (n, 1))
        else:
            whole = product(context, weights.context[layer], weights.biases[layer], n_threads)
            out = np.ascontiguousarray(whole[:, column:])
        if row == 0:
            return out
        W, stairs = _corner(weights.matrices[each.name], each.stairs, slice(row), column)
        if isinstance(before, tuple):
            _masked.gather(before, stairs, W, None, out, _LINEAR, n_threads)
        else:
            first = np.ascontiguousarray(before[:, :row])
            _masked.forward(first, stairs, W, None, out, _LINEAR, n_threads)
        return out

    def _listed_inputs(self, codes: Array, start: int, end: int, n_threads: int) -> Any:
        """Return the inputs of the features from `start` to before `end`, from codes from there."""
        if not self._sparse:
            return np.ascontiguousarray(codes[:, : end - start])
        # the last feature of those that are given is left out, as the last of all has no weights
        some = np.ascontiguousarray(codes[:, : min(end + 1, self.n_features) - start])
        stop = start + some.shape[1]
        offsets = self.inputs.offsets[start : stop + 1] - self.inputs.offsets[start]
        flags = self.inputs.input_flags[start:stop]
        changes = _inputs.changes(some, flags, offsets, some.shape[1], n_threads)
        return _masked.listed(
            changes, int(self.inputs.offsets[end] - self.inputs.offsets[start]), n_threads
        )

    def _started(
        self, weights: Weights, layer: int, n: int, context: Array | None, n_threads: int
    ) -> tuple[Array, Array | None]:
        """Return a layer's units (n, columns) and the bias that is still to be added to them."""
        bias = weights.biases[layer]
        if context is not None:
            return product(context, weights.context[layer], bias, n_threads), None
        return _cpu.aligned_empty((n, len(bias)), self.dtype), bias

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
        """Return the walk, and each connection, the direct one last, as the kernel wants it."""
        wiring = weights.wiring
        walk = self._only_walk if self.n_masks == 1 else self._walk(wiring)

        def packed(each: Connection, blocks: _masked.Blocks) -> tuple[Any, ...]:
            W = weights.matrices[each.name]
            return each.stairs, blocks, _masked.pack(each.stairs, blocks, W, n_threads)

        layers: list[Any] = [*map(packed, wiring.layers, walk.layers)]
        direct = packed(wiring.direct, walk.direct) if wiring.direct and walk.direct else None
        return walk, [*(layers or [None]), direct]

    @lazy
    def _only_walk(self) -> Walk:
        return self._walk(self._only_wiring)

    def _walk(self, wiring: Wiring) -> Walk:
        masks, finals = wiring.masks, wiring.masks.finals()
        begin = _masked.sample_blocks(self.dtype, masks.outputs)
        # rows that are known, and columns that begin, before so many features
        inputs, outputs = masks.inputs[begin], masks.outputs[begin]
        known = [inputs, *(final[begin] for final in finals), outputs]

        def blocks(each: Connection, rows: Array, columns: Array) -> _masked.Blocks:
            listed = rows is inputs and self._sparse
            return _masked.Blocks(each.stairs, rows, columns, listed, self.dtype)

        layers = [*map(blocks, wiring.layers, known, known[1:])]
        direct = blocks(wiring.direct, inputs, outputs) if wiring.direct else None
        entering, feature = self._inputs(masks.order), masks.order.astype(np.int32)
        return Walk(begin, entering, finals, feature, layers, direct)

    # ----

    def _inputs(self, order: Array) -> Inputs:
        return self.inputs.at(order) if self.order_agnostic else self.inputs

    @lazy
    def _size(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())

    def _threads(self, n_rows: int, n_threads: int) -> int:
        return useful_n_threads(n_threads, n_rows * self._size // 2)


def _corner(
    W: Array, stairs: _masked.Staircase, rows: slice, column: int
) -> tuple[Array, _masked.Staircase]:
    """Return some rows of a matrix from a column on, and their staircase."""
    begin, end = (np.maximum(each[rows] - column, 0) for each in stairs.limits()[:2])
    return np.ascontiguousarray(W[rows, column:]), _masked.Staircase(
        begin, end, W.shape[1] - column
    )
