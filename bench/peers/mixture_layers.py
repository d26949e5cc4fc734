"""From the parameters of a masked network with mixtures to the matrices of its layers, and back."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Layers", "params_of"]


class Layers(NamedTuple):
    """
    Weights (inputs, units) with their masks, the last of the direct connections if there are any.

    The outputs are in ``order``, "pkd" (parameter, component, feature) or "dpk".
    """

    keys: list[str]
    weights: list[np.ndarray]
    masks: list[np.ndarray]
    offset_keys: list[str]
    offsets: list[np.ndarray]
    n_features: int
    order: str

    @classmethod
    def of(
        cls, params: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray], order: str
    ) -> "Layers":
        """
        Return the layers.

        Parameters
        ----------
        params, masks : dict of numpy.ndarray
            ``W0 (D, H1)``, ``c0 (H1,)`` and so on to the last ``W (H, D, P)`` and ``b (D, P)``, and
            maybe ``L (D, P, D)``. The masks, which are Boolean, of ``W`` and ``L``, with axes of
            length 1 where they are the same for all outputs of a feature.
        order : {"pkd", "dpk"}
            Order of the outputs.
        """
        D = len(params["b"])
        keys = sorted(key for key in params if key[0] == "W") + ["L"] * ("L" in params)
        weights, shown = [], []
        for key in keys:
            weight, mask = params[key], np.broadcast_to(masks[key], params[key].shape)
            if key == "L":
                weight, mask = np.moveaxis(weight, -1, 0), np.moveaxis(mask, -1, 0)
            if weight.ndim == 3:
                weight, mask = (_ordered(each, order) for each in (weight, mask))
            weights.append(np.ascontiguousarray(weight, np.float32))
            shown.append(np.ascontiguousarray(mask))
        offset_keys = [*sorted(key for key in params if key[0] == "c"), "b"]
        offsets = [params[key] for key in offset_keys[:-1]] + [_ordered(params["b"], order)]
        return cls(keys, weights, shown, offset_keys, offsets, D, order)


def params_of(
    layers: Layers, weights: Sequence[np.ndarray], offsets: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Return arrays in the shapes of the layers as parameters, with zeros outside the masks."""
    params = {}
    for key, weight, mask in zip(layers.keys, weights, layers.masks, strict=True):
        shown = weight * mask
        if shown.shape[1] == layers.offsets[-1].size and key not in layers.keys[: _hidden(layers)]:
            shown = _features_first(shown, layers)
        params[key] = np.moveaxis(shown, 0, -1) if key == "L" else shown
    params |= dict(zip(layers.offset_keys, offsets, strict=True))
    params["b"] = _features_first(np.asarray(params["b"]), layers)
    return params


def _hidden(layers: Layers) -> int:
    """Return how many of the weights lead to hidden units."""
    return len(layers.offsets) - 1


def _ordered(array: np.ndarray, order: str) -> np.ndarray:
    """Flatten (.., D, P) to (.., outputs)."""
    if order == "pkd":
        array = np.moveaxis(array, -1, -2)
    return np.ascontiguousarray(array).reshape(*array.shape[:-2], -1)


def _features_first(array: np.ndarray, layers: Layers) -> np.ndarray:
    """Return (.., outputs) as (.., D, P)."""
    if layers.order == "dpk":
        return array.reshape(*array.shape[:-1], layers.n_features, -1)
    return np.moveaxis(array.reshape(*array.shape[:-1], -1, layers.n_features), -2, -1)
