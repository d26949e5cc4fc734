"""From the parameters of a masked network to the matrices of its layers, and back."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Layer", "layers_of", "params_of"]


class Layer(NamedTuple):
    """A layer: the names of its parameters, its weights (inputs, units), offsets and mask."""

    weight_key: str
    offset_key: str
    weight: np.ndarray
    offset: np.ndarray
    mask: np.ndarray


def layers_of(params: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]) -> list[Layer]:
    """
    Return the layers from first to last.

    Parameters
    ----------
    params, masks : dict of numpy.ndarray
        ``W0 (D, H1)``, ``c0 (H1,)`` and so on to the last ``W (H, D, 1)`` and ``b (D, 1)``; or
        ``L (D, 1, D)`` and ``b``. The masks, which are Boolean, of ``W`` and ``L``.
    """
    output = params["b"][:, 0]
    if "L" in params:
        if len(params) > 2:
            raise ValueError("direct connections beside hidden layers")
        return [Layer("L", "b", params["L"][:, 0].T, output, masks["L"][:, 0].T)]
    last = sum(key[0] == "W" for key in params) - 1
    layers = [
        Layer(f"W{i}", f"c{i}", params[f"W{i}"], params[f"c{i}"], masks[f"W{i}"])
        for i in range(last)
    ]
    key = f"W{last}"
    return [*layers, Layer(key, "b", params[key][:, :, 0], output, masks[key][:, :, 0])]


def params_of(
    layers: Sequence[Layer], weights: Sequence[np.ndarray], offsets: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Return arrays in the shapes of the layers as parameters, with zeros outside the masks."""
    params = {}
    for layer, weight, offset in zip(layers, weights, offsets, strict=True):
        shown = weight * layer.mask
        if layer.weight_key == "L":
            shown = shown.T[:, None]
        elif layer.offset_key == "b":
            shown = shown[:, :, None]
        params[layer.weight_key] = shown
        params[layer.offset_key] = offset[:, None] if layer.offset_key == "b" else offset
    return params
