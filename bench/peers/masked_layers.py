"""From the parameters of a masked network to the matrices of its layers, and back."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Layers"]


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
            maybe ``L (D, P, D)``; or ``L`` and ``b`` alone. The masks, which are Boolean, of ``W``
            and ``L``, with axes of length 1 where they are the same for all outputs of a feature.
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

    def params(
        self, weights: Sequence[np.ndarray], offsets: Sequence[np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return arrays in the shapes of the layers as parameters, with zeros outside the masks."""
        params = {}
        for i, (key, weight, mask) in enumerate(zip(self.keys, weights, self.masks, strict=True)):
            shown = weight * mask
            if i >= len(self.offsets) - 1:  # leads to outputs
                shown = self._features_first(shown)
            params[key] = np.moveaxis(shown, 0, -1) if key == "L" else shown
        params |= dict(zip(self.offset_keys, offsets, strict=True))
        params["b"] = self._features_first(np.asarray(params["b"]))
        return params

    def _features_first(self, array: np.ndarray) -> np.ndarray:
        """Return (.., outputs) as (.., D, P)."""
        if self.order == "dpk":
            return array.reshape(*array.shape[:-1], self.n_features, -1)
        return np.moveaxis(array.reshape(*array.shape[:-1], -1, self.n_features), -2, -1)


def _ordered(array: np.ndarray, order: str) -> np.ndarray:
    """Flatten (.., D, P) to (.., outputs)."""
    if order == "pkd":
        array = np.moveaxis(array, -1, -2)
    return np.ascontiguousarray(array).reshape(*array.shape[:-2], -1)
