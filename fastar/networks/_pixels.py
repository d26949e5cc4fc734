"""Networks of images, pixel by pixel in raster order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastar._core.inputs import ONE_HOT, Inputs
from fastar._core.lazy import lazy
from fastar._core.offsets import offsets_of
from fastar._core.parameters import Array, Params
from fastar._core.schema import Listed, OneOf, Rule, Whole
from fastar._data.packed import Steps
from fastar._kernels import _recurrent
from fastar.networks._pixel_outputs import PixelOutputs
from fastar.networks._recurrent_layers import CELLS, Kept
from fastar.networks._recurrent_network import RecurrentNetwork

NOTHING, CONSTANT = _recurrent.NOTHING, _recurrent.CONSTANT


def neighbours(image_shape: tuple[int, ...], offsets: list[tuple[int, int, int]]) -> Array:
    """Return for each value (D, len(offsets)) the places of those at offsets from it, or NOTHING.

    image_shape: height, width, channels. An offset: rows, columns and channels to add; what it
    leads to must come before.
    """
    place = np.stack(np.unravel_index(np.arange(np.prod(image_shape)), image_shape))
    found = np.full((place.shape[1], len(offsets)), NOTHING, np.int32)
    for e, offset in enumerate(offsets):
        at = place + np.array(offset)[:, None]
        inside = ((at >= 0) & (at < np.array(image_shape)[:, None])).all(axis=0)
        found[inside, e] = np.ravel_multi_index(tuple(at[:, inside]), image_shape)
    return found


def images_at_once(n_features: int, n_hidden: int) -> int:
    """Return how many images are scored together, so that their units take some megabytes."""
    return max(8, (1 << 23) // (n_features * n_hidden) // 8 * 8)


@dataclass(frozen=True)
class Cache:
    """What `backward` needs of `forward`."""

    steps: Steps
    layers: list[Kept]
    h: Array
    context: Array | None


class PixelRecurrent(RecurrentNetwork):
    """One recurrence through all values of an image.

    ``h_d = cell(e_d, h_{d-1})``, which `PixelOutputs` turn into raw_d, with e_d the value before
    x_d in its channel, the one above it, the channels before it of the same pixel, and the row,
    column and channel of x_d itself; h_1 = 0. A context (n, C) adds context U to what enters the
    cells, and context B to the outputs.

    Parameters
    ----------
    output_offsets : int64 array (D + 1,)
        Where the outputs of each of D = height * width * channels values begin.
    inputs : Inputs
        How values enter.
    image_shape : tuple of int
        Height, width, channels.
    cell : {"tanh", "gru", "lstm"}
    hidden_layer_sizes : tuple of int
    n_context : int
    dtype : dtype
    """

    name = "pixel_recurrent"

    def __init__(
        self,
        output_offsets: Array,
        inputs: Inputs,
        *,
        image_shape: tuple[int, int, int],
        cell: str,
        hidden_layer_sizes: tuple[int, ...],
        n_context: int = 0,
        dtype: Any,
    ) -> None:
        if np.prod(image_shape) != len(output_offsets) - 1:
            raise ValueError("image_shape must have as many values as output_offsets")
        self.image_shape = tuple(map(int, image_shape))
        super().__init__(
            output_offsets, inputs, cell=cell, hidden_layer_sizes=hidden_layer_sizes,
            n_context=n_context, dtype=dtype,
        )  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of the constructor."""
        settings = {"image_shape": list(self.image_shape), **super().settings()}
        return {key: each for key, each in settings.items() if key not in ("bptt", "dropout")}

    @classmethod
    def _own_rules(cls, size: Whole) -> dict[str, Rule]:
        """Return what its own settings may be, `size` being the rule for a number of units."""
        return {
            "image_shape": Listed(size, 3),
            "cell": OneOf(CELLS),
            "hidden_layer_sizes": Listed(size, least=1),
        }

    # ---- what enters

    @lazy
    def source(self) -> Array:
        """The inputs of each value (D, E): places of values, NOTHING, or CONSTANT - v."""
        C = self.image_shape[2]
        # the pixel before is that of the row above at the beginning of a row
        before = np.maximum(np.arange(self.n_features) - C, NOTHING)
        offsets = [(-1, 0, 0)] + [(0, 0, -k) for k in range(1, C)]
        place = np.unravel_index(np.arange(self.n_features), self.image_shape)
        constants = CONSTANT - np.stack(place, axis=1)[:, : 3 if C > 1 else 2]
        around = neighbours(self.image_shape, offsets)
        found = np.column_stack([before, around, constants])
        return np.ascontiguousarray(found, np.int32)

    def _entering_inputs(self) -> Inputs:
        """Return how it enters: values as values do, numbers of rows and columns one-hot."""
        is_value = self.source.max(axis=0) > CONSTANT
        kinds = np.unique(self.inputs.input_flags)
        if len(kinds) > 1:
            raise ValueError("the values of an image must enter a recurrence all in one way")
        input_flags = np.where(is_value, kinds[0], np.uint8(ONE_HOT)).astype(np.uint8)
        # values share their weights, and come before the numbers of row, column and channel
        rows = np.full(len(is_value), np.diff(self.inputs.offsets).max())
        rows[~is_value] = self.image_shape[: int(np.sum(~is_value))]
        return Inputs(offsets_of(rows), input_flags)

    def _steps(self, codes: Array) -> Steps:
        """Return the images as sequences of D steps."""
        n, D = codes.shape
        E, source = self.source.shape[1], self.source[1:]
        entering = np.empty((D - 1, n, E), self.dtype)
        for e in range(E):
            place = source[:, e]
            nothing = -1 if self.layers.inputs.input_flags[e] & ONE_HOT else 0
            fixed = np.where(place == NOTHING, nothing, CONSTANT - place)
            entering[:, :, e] = np.where(place >= 0, codes[:, np.maximum(place, 0)], fixed).T
        return Steps(
            np.empty((n * D, 0), self.dtype),
            np.full(D, n),
            np.tile(np.arange(n), D),
            entering.reshape(-1, E),
        )

    # ---- parameters

    @lazy
    def outputs(self) -> PixelOutputs:
        """The same weights for all values."""
        return PixelOutputs(self.output_offsets)

    @property
    def row_work(self) -> int:
        """Multiply-adds that a sample takes, about: all values share the weights."""
        return self.n_features * super().row_work

    @property
    def _step_outputs(self) -> tuple[int, ...]:
        return (self.outputs.width,)

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
        n, n_threads = len(codes), self._threads(codes.size, n_threads)
        raw = self.outputs.start(params, n, context)
        cache = None
        size = (
            n if rng is not None else images_at_once(self.n_features, max(self.hidden_layer_sizes))
        )
        for start in range(0, n, size):
            rows = slice(start, start + size)
            own, steps = None if context is None else context[rows], self._steps(codes[rows])
            begin = self.layers.start(len(steps))
            layers = self.layers.forward(params, steps, begin, rng, n_threads, own)
            h = self._by_image(layers[-1].h, len(steps))
            self.outputs.add(params, h, raw[rows], n_threads)
            cache = Cache(steps, layers, h, context)
        return raw, None if rng is None else cache

    def _by_image(self, h: Array, n: int) -> Array:
        """Return rows (D n, H), the first value of all images first, as (n, D, H)."""
        return np.ascontiguousarray(h.reshape(self.n_features, n, -1).swapaxes(0, 1))

    def backward(
        self, params: Params, cache: Cache, graw: Array, grads: Params, n_threads: int
    ) -> None:
        """Overwrite `grads` with the gradient of sum(graw * raw)."""
        n, D, H = cache.h.shape
        n_threads = self._threads(n * D, n_threads)
        by_image = self.outputs.backward(params, cache.h, cache.context, graw, grads, n_threads)
        gh = np.ascontiguousarray(by_image.swapaxes(0, 1)).reshape(n * D, H)
        self.layers.backward(params, cache.steps, cache.layers, gh, grads, n_threads, cache.context)

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
        """Draw codes (n, D) where `held` is SAMPLED, weigh those that are WEIGHTED."""
        # what enters after a step enters for the next one
        last = np.full((1, self.source.shape[1]), NOTHING, np.int32)
        source = np.concatenate([self.source[1:], last])
        self._walk(
            params, draw, noise, held, codes, n_threads,
            context=context, weight=weight, width=1, source=source, state=self.start(len(codes)),
        )  # fmt: skip
