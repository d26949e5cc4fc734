"""Networks of images whose recurrence runs in two dimensions: Row LSTM and Diagonal BiLSTM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastar._core.inputs import MAY_MISS, ONE_HOT, Inputs
from fastar._core.lazy import lazy
from fastar._core.offsets import offsets_of, output_axes
from fastar._core.parameters import Array, Params
from fastar._core.schema import Listed, Rule, Whole
from fastar._core.threads import useful_n_threads
from fastar._kernels import _cpu, _grid, _recurrent
from fastar.networks._dense import add_product, product, transposed_product, weight_gradient
from fastar.networks._network import Network
from fastar.networks._pixel_outputs import PixelOutputs
from fastar.networks._pixels import images_at_once, neighbours

_IMAGES = 8
"""Images side by side: rows of the products along a row of pixels."""
_REACH = 3
"""Pixels to each side, and rows above, that the first layer sees: 7 x 7 in the paper."""


@dataclass(frozen=True)
class Pass:
    """One LSTM through all rows of an image.

    Parameters
    ----------
    suffix : str
        Suffix of its parameters' names.
    above : tuple of int
        Columns, relative, of the neighbours in the row above that a pixel's gates see.
    along : int
        Column, relative, of the neighbour in the row that gates see too, and whose memory
        continues; 0 for none: then the memory of the pixel above continues.
    below : bool
        Whether only the row below sees its units, because they depend on later pixels.
    """

    suffix: str
    above: tuple[int, ...]
    along: int = 0
    below: bool = False

    @property
    def n_seen(self) -> int:
        """How many neighbours."""
        return len(self.above) + (self.along != 0)


@dataclass(frozen=True)
class Kept:
    """What `backward` needs of a pass: units, memory and activations, by chunks of images."""

    s: Array
    m: Array
    slots: Array


@dataclass(frozen=True)
class Cache:
    """What `backward` needs of `forward`."""

    n: int
    entering: Array
    passes: list[list[Kept]]
    u: list[Array]
    context: Array | None


class GridLSTM(Network):
    """Base of LSTMs over the rows of an image.

    A layer's units are the sum of those of its passes and, from the second layer on, of the layer
    below. The first layer sees the earlier values within 3 rows above and 3 columns to each side.
    `PixelOutputs` turn the last layer's units into raw_d. A context (n, C) adds context U to the
    input of each pass, and context B to the outputs. Channels lie side by side, as columns of
    their own.

    Parameters
    ----------
    output_offsets : int64 array (D + 1,)
        Where the outputs of each of D = height * width * channels values begin.
    inputs : Inputs
        How values enter; levels do as numbers from 0 to 1.
    image_shape : tuple of int
        Height, width, channels.
    n_hidden, n_layers : int
        H units of each of so many layers.
    n_context : int
    dtype : dtype
    """

    passes: ClassVar[tuple[Pass, ...]]
    taps: ClassVar[int]
    """Pixels in a row, up to its own, whose units below enter a pixel of a further layer."""

    def __init__(
        self,
        output_offsets: Array,
        inputs: Inputs,
        *,
        image_shape: tuple[int, int, int],
        n_hidden: int,
        n_layers: int = 1,
        n_context: int = 0,
        dtype: Any,
    ) -> None:
        if np.prod(image_shape) != len(output_offsets) - 1 or min(n_hidden, n_layers) < 1:
            raise ValueError(
                "image_shape must have as many values as output_offsets, layers at least one unit"
            )
        self.output_offsets = output_offsets
        self.inputs = inputs
        self.image_shape = tuple(map(int, image_shape))
        self.n_hidden = int(n_hidden)
        self.n_layers = int(n_layers)
        self.n_context = int(n_context)
        self.dtype = np.dtype(dtype)
        height, width, channels = self.image_shape
        self._grid = (height, width * channels)

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of the constructor."""
        return {
            "image_shape": list(self.image_shape),
            "n_hidden": self.n_hidden,
            "n_layers": self.n_layers,
            "n_context": self.n_context,
            "dtype": self.dtype.name,
        }

    @classmethod
    def _own_rules(cls, size: Whole) -> dict[str, Rule]:
        """Return what its own settings may be, `size` being the rule for a number of units."""
        return {
            "image_shape": Listed(size, 3),
            "n_hidden": size,
            "n_layers": size,
        }

    # ---- what enters

    @lazy
    def source(self) -> Array:
        """The places of the values that enter the first layer for each value (D, E), or NOTHING."""
        C = self.image_shape[2]
        columns = range(-_REACH * C, (_REACH + 1) * C)
        above = [(-i, j, 0) for i in range(_REACH, 0, -1) for j in columns]
        before = [(0, j, 0) for j in range(-_REACH * C, 0)]
        return neighbours((*self._grid, 1), above + before)

    @lazy
    def _window(self) -> Inputs:
        """How they enter: as numbers."""
        may_miss = self.inputs.input_flags.max() & MAY_MISS
        input_flags = np.full(self.source.shape[1], may_miss, np.uint8)
        return Inputs(offsets_of(np.full(len(input_flags), 2 if may_miss else 1)), input_flags)

    @property
    def _scale(self) -> float:
        """The factor of codes."""
        if not (self.inputs.input_flags & ONE_HOT).any():
            return 1.0
        may_miss = (self.inputs.input_flags & MAY_MISS) > 0
        levels = np.diff(self.inputs.offsets) - may_miss
        return 1 / max(1, int(levels.max() + may_miss.any()) - 1)

    def _entering(self, codes: Array) -> Array:
        """Return what enters (chunks, D images, E), of images in chunks that are full."""
        chunks = -(-len(codes) // _IMAGES)
        whole = np.zeros((chunks * _IMAGES, self.n_features + 1), self.dtype)
        whole[: len(codes), :-1] = codes * self.dtype.type(self._scale)
        # the last one, 0, is the value outside of the image
        found = whole.reshape(chunks, _IMAGES, -1)[:, :, self.source]
        return np.ascontiguousarray(found.swapaxes(1, 2)).reshape(
            chunks, self.n_features * _IMAGES, -1
        )

    # ---- parameters

    @property
    def row_work(self) -> int:
        """Multiply-adds that a sample takes, about: all values share the weights."""
        return self.n_features * super().row_work

    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        H = self.n_hidden
        weights: dict[str, tuple[int, ...]] = {}
        biases: dict[str, tuple[int, ...]] = {}
        for layer in range(self.n_layers):
            for each in self.passes:
                name = f"{layer}{each.suffix}"
                window = output_axes(self._window.offsets)
                below = (self.taps, H) if layer else window
                weights[f"W_xh{name}"] = (*below, 4 * H)
                weights[f"W_hh{name}"] = (each.n_seen, H, 4 * H)
                if self.n_context:
                    weights[f"U{name}"] = (self.n_context, 4 * H)
                biases[f"c{name}"] = (4 * H,)
        weights["V"] = (H, self.outputs.width)
        if self.n_context:
            weights["B"] = (self.n_context, self.outputs.width)
        return {**weights, **biases, "b": output_axes(self.output_offsets)}

    @property
    def decayed(self) -> tuple[str, ...]:
        """All but the biases."""
        return tuple(name for name in self.shapes if name[0] not in "bc")

    @property
    def output_weights(self) -> tuple[str, ...]:
        """V, and B."""
        return ("V", "B") if self.n_context else ("V",)

    def initialise(self, params: Params, rng: np.random.Generator) -> None:
        """Fill weights with small random numbers, forget gates with ones."""
        H = self.n_hidden
        for name, shape in self.shapes.items():
            params[name][...] = 0
            if name in self.decayed:
                params[name][...] = rng.uniform(-1, 1, shape) / np.sqrt(np.prod(shape[:-1]))
            elif name[0] == "c":
                # R. Jozefowicz, W. Zaremba, I. Sutskever, ICML 2015
                params[name][H : 2 * H] = 1

    @lazy
    def outputs(self) -> PixelOutputs:
        """The same weights for all values."""
        return PixelOutputs(self.output_offsets)

    # ---- forward

    def forward(
        self,
        params: Params,
        codes: Array,
        n_threads: int,
        *,
        context: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Cache | None]:
        """Return raw (n, sum of P) for codes (n, D), and in training the cache for `backward`."""
        n, n_threads = len(codes), self._threads(len(codes), n_threads)
        raw = self.outputs.start(params, n, context)
        cache = None
        size = n if rng is not None else images_at_once(self.n_features, self.n_hidden)
        for start in range(0, n, size):
            rows = slice(start, start + size)
            own = None if context is None else context[rows]
            entering = self._entering(codes[rows])
            passes, u = self._layers(params, entering, own, n_threads)
            h = self._by_image(u[-1], len(codes[rows]))
            self.outputs.add(params, h, raw[rows], n_threads)
            cache = Cache(n, entering, passes, u, context)
        return raw, None if rng is None else cache

    def _layers(
        self, params: Params, entering: Array, context: Array | None, n_threads: int
    ) -> tuple[list[list[Kept]], list[Array]]:
        """Return the cache of each pass of each layer, and the layers' units.

        Units (chunks, I, J, images, H).
        """
        layers: list[list[Kept]] = []
        given: list[Array] = []
        for layer in range(self.n_layers):
            kept = []
            u = np.zeros((len(entering), *self._grid, _IMAGES, self.n_hidden), self.dtype)
            for each in self.passes:
                name, below = f"{layer}{each.suffix}", given[-1] if given else None
                slots = self._enter(params, name, entering, below, context, n_threads)
                s, m = self._states(len(entering)), self._states(len(entering))
                _grid.forward(self._pass(params, name, each), s, m, slots, n_threads)
                kept.append(Kept(s, m, slots))
                if each.below:
                    u[:, 1:] += s[:, 1:-1, 1:-1]
                else:
                    u += s[:, 1:, 1:-1]
            if given:
                u += given[-1]
            layers.append(kept)
            given.append(u)
        return layers, given

    def _states(self, chunks: int) -> Array:
        height, width = self._grid
        return np.zeros((chunks, height + 1, width + 2, _IMAGES, self.n_hidden), self.dtype)

    def _enter(
        self,
        params: Params,
        name: str,
        entering: Array,
        below: Array | None,
        context: Array | None,
        n_threads: int,
    ) -> Array:
        """Return what enters a pass (chunks, I, J, images, 4 H)."""
        W, c = params[f"W_xh{name}"], params[f"c{name}"][None]
        shape = (len(entering), *self._grid, _IMAGES, W.shape[-1])
        if context is not None:
            own = np.zeros((len(entering) * _IMAGES, W.shape[-1]), self.dtype)
            own[: len(context)] = context @ params[f"U{name}"]
            c = own + c
        if below is None:
            slots = _cpu.aligned_empty((*entering.shape[:2], W.shape[-1]), self.dtype)
            window = self._window
            _grid.gather(
                entering, window.input_flags, window.offsets, W.reshape(-1, W.shape[-1]), c, slots,
                n_threads,
            )  # fmt: skip
            return slots.reshape(shape)
        start = c[0] if len(c) == 1 else np.zeros_like(c[0])
        slots = product(below.reshape(-1, self.n_hidden), W[0], start, n_threads).reshape(shape)
        if len(c) > 1:
            slots += c.reshape(len(entering), 1, 1, _IMAGES, -1)
        for tap in range(1, min(self.taps, shape[2])):
            before = np.zeros_like(below)
            before[:, :, tap:] = below[:, :, :-tap]
            add_product(before.reshape(-1, self.n_hidden), W[tap],
                        slots.reshape(-1, W.shape[-1]), n_threads)  # fmt: skip
        return slots

    def _pass(self, params: Params, name: str, each: Pass) -> _grid.Pass:
        """Return the description of a pass that the forward kernel reads."""
        W = params[f"W_hh{name}"]
        packed = [_recurrent.pack(one, 4) for one in W]
        along = packed.pop() if each.along else None
        return _grid.Pass(self.n_hidden, each.above, each.along, np.concatenate(packed), along)

    def _by_image(self, u: Array, n: int) -> Array:
        """Return units (chunks, I, J, images, H) image by image, as (n, D, H)."""
        turned = np.moveaxis(u, 3, 1).reshape(-1, self.n_features, self.n_hidden)[:n]
        return np.ascontiguousarray(turned)

    # ---- backward

    def backward(
        self, params: Params, cache: Cache, graw: Array, grads: Params, n_threads: int
    ) -> None:
        """Overwrite `grads` with the gradient of sum(graw * raw)."""
        n, D = len(graw), self.n_features
        n_threads = self._threads(n, n_threads)
        h, chunks = self._by_image(cache.u[-1], n), len(cache.entering)
        gu = np.zeros((chunks * _IMAGES, D, self.n_hidden), self.dtype)
        gu[:n] = self.outputs.backward(params, h, cache.context, graw, grads, n_threads)
        gu = gu.reshape(chunks, _IMAGES, *self._grid, -1)
        gu = np.ascontiguousarray(np.moveaxis(gu, 1, 3))
        for layer in reversed(range(self.n_layers)):
            below = np.zeros_like(gu) + (gu if layer else 0)
            for each, kept in zip(self.passes, cache.passes[layer], strict=True):
                name = f"{layer}{each.suffix}"
                gx = self._pass_backward(params, name, each, kept, gu, grads, n_threads)
                self._enter_backward(params, name, cache, layer, gx, below, grads, n_threads)
            gu = below

    def _pass_backward(
        self,
        params: Params,
        name: str,
        each: Pass,
        kept: Kept,
        gu: Array,
        grads: Params,
        n_threads: int,
    ) -> Array:
        """Return the gradient (rows, 4 H) by what enters a pass; gu: by what its layer gives."""
        W, H = params[f"W_hh{name}"], self.n_hidden
        packed = [_recurrent.pack(np.ascontiguousarray(one.T), 1) for one in W]
        along = packed.pop() if each.along else None
        turned = _grid.Pass(H, each.above, each.along, np.concatenate(packed), along)
        gs = self._states(len(gu))
        if each.below:
            gs[:, 1:-1, 1:-1] = gu[:, 1:]
        else:
            gs[:, 1:, 1:-1] = gu
        _grid.backward(turned, kept.m, kept.slots, gs, n_threads)
        gx = kept.slots.reshape(-1, 4 * H)
        width = self._grid[1]
        seen = [kept.s[:, :-1, 1 + j : 1 + j + width] for j in each.above]
        if each.along:
            seen.append(kept.s[:, 1:, 1 + each.along : 1 + each.along + width])
        for k, s in enumerate(seen):
            rows = np.ascontiguousarray(s).reshape(-1, H)
            _recurrent.outer(rows, gx, grads[f"W_hh{name}"][k], n_threads)
        return gx

    def _enter_backward(
        self,
        params: Params,
        name: str,
        cache: Cache,
        layer: int,
        gx: Array,
        gbelow: Array,
        grads: Params,
        n_threads: int,
    ) -> None:
        """Fill the gradients of what enters a pass, and add to that by what the layer below gives.

        gx (rows, 4 H).
        """
        H, W = self.n_hidden, params[f"W_xh{name}"]
        gW = grads[f"W_xh{name}"]
        if cache.context is not None:
            by_image = gx.reshape(len(cache.entering), -1, _IMAGES, 4 * H).sum(axis=1)
            by_image = by_image.reshape(-1, 4 * H)[: cache.n]
            weight_gradient(cache.context, by_image, grads[f"U{name}"], n_threads)
        if layer == 0:
            codes = cache.entering.reshape(len(gx), -1)
            grads[f"c{name}"][...] = _recurrent.scatter(
                codes,
                self._window.input_flags,
                self._window.offsets,
                gx,
                gW.reshape(-1, 4 * H),
                n_threads,
            )
            return
        np.sum(gx, axis=0, out=grads[f"c{name}"])
        below = cache.u[layer - 1]
        for tap in range(self.taps):
            before, width = np.zeros_like(below), self._grid[1]
            before[:, :, tap:] = below[:, :, : width - min(tap, width)]
            _recurrent.outer(before.reshape(-1, H), gx, gW[tap], n_threads)
            g = transposed_product(gx, W[tap], n_threads).reshape(below.shape)
            gbelow[:, :, : width - min(tap, width)] += g[:, :, tap:]

    # ---- one value after the other

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
        walked = []
        for layer in range(self.n_layers):
            for each in self.passes:
                name = f"{layer}{each.suffix}"
                W, c = params[f"W_xh{name}"], params[f"c{name}"][None]
                if context is not None:
                    c = np.ascontiguousarray(context @ params[f"U{name}"] + c)
                x = W.ravel()
                if layer:
                    x = np.concatenate([_recurrent.pack(tap, 1) for tap in W])
                own = self._pass(params, name, each)
                walked.append(_grid.Walked(own, each.below, self.taps, x, c))
        shift = None
        if context is not None:
            nothing = np.zeros(self.outputs.width, self.dtype)
            shift = product(context, params["B"], nothing, n_threads)
        _grid.sample(
            draw, noise, held, codes, weight, walked, len(self.passes), self._window.input_flags,
            self._window.offsets, self.source, self._scale, _recurrent.pack(params["V"], 1),
            params["b"].ravel(), shift, self.output_offsets, self._grid,
            self._share(len(codes), n_threads), self._threads(len(codes), n_threads),
        )  # fmt: skip

    def _share(self, n: int, n_threads: int) -> int:
        """Return how many images walk together: enough for products, few enough for caches."""
        return int(np.clip(-(-n // n_threads), 1, 8 * _IMAGES))

    def _threads(self, n_rows: int, n_threads: int) -> int:
        size = self.n_features * self.n_layers * 8 * self.n_hidden**2
        return useful_n_threads(n_threads, n_rows * size)


class RowLSTM(GridLSTM):
    """Gates see three pixels of the row above, so that a row is computed at once.

    In the row itself, a further layer sees the units below at the pixel and at the one before.
    """

    name = "row_lstm"
    passes = (Pass("", (-1, 0, 1)),)
    taps = 2


class DiagonalBiLSTM(GridLSTM):
    """Two passes, whose gates see the pixel above and the one before, or after, in the row.

    Only the row below sees the second pass, which depends on the whole row.
    """

    name = "diagonal_bilstm"
    passes = (Pass("", (0,), -1), Pass("_back", (0,), 1, below=True))
    taps = 1
