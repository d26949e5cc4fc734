"""Figures of the masks of masked networks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastar._core.offsets import common_width
from fastar._core.parameters import Array
from fastar.plotting._axes import axes_array, column_names

__all__ = ["MasksDisplay"]


class MasksDisplay:
    """The masks of a masked network as matrices, and which inputs reach which outputs.

    Columns are the units before, rows the units after: a dark cell is a weight that the mask shows.
    Features are in the model's order, units are sorted by degree.

    Parameters
    ----------
    masks : dict of bool arrays
        As `MADE.masks_`: into each hidden layer and into the outputs, W0, W1, .., and L.
    names : list of str
        Names of the features, in the model's order.

    Attributes
    ----------
    connectivity_ : bool array of shape (D, D)
        Whether feature d, the column, reaches the output of feature e, the row, by any way.
    axes_ : array of matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import MADE
    >>> from fastar.plotting import MasksDisplay
    >>> X = np.random.default_rng(0).integers(0, 2, (100, 3))
    >>> made = MADE(hidden_layer_sizes=(4,), order=[1, 2, 0], direct_connections=False)
    >>> display = MasksDisplay.from_estimator(made.set_params(random_state=0).fit(X))
    >>> display.names
    ['x2', 'x3', 'x1']
    >>> display.connectivity_.astype(int)
    array([[0, 0, 0],
           [1, 0, 0],
           [1, 1, 0]])
    """

    def __init__(self, masks: Mapping[str, Array], names: list[str]) -> None:
        self.masks = masks
        self.names = names

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, member: int = 0, axes: Any = None, **how: Any
    ) -> Self:
        """Draw the masks of a fitted model.

        Parameters
        ----------
        estimator : fitted MADE
        member : int, default=0
            Which of several sets of masks.
        axes : array of matplotlib Axes or None, default=None
            One for each mask, and one for the connectivity; None: those of a new figure.
        **how
            Further arguments of `Axes.imshow`.

        Returns
        -------
        MasksDisplay
        """
        check_is_fitted(estimator)
        masks = estimator.masks_[member] if isinstance(estimator.masks_, list) else estimator.masks_
        columns, features = column_names(estimator), np.diff(estimator.distribution_.column_offsets)
        names = [
            columns[d] if k == 0 else f"{columns[d]}, {k + 1}"
            for d, count in zip(estimator.order_, features, strict=True)
            for k in range(count)
        ]
        offsets = estimator.input_offsets_, estimator.output_offsets_
        if any(common_width(each) is None for each in offsets):
            masks = _by_feature(masks, *offsets)
        return cls(masks, names).plot(axes=axes, **how)

    def plot(self, axes: Any = None, **how: Any) -> Self:
        """Draw the masks.

        Parameters
        ----------
        axes : array of matplotlib Axes or None, default=None
            One for each mask, and one for the connectivity; None: those of a new figure.
        **how
            Further arguments of `Axes.imshow`.

        Returns
        -------
        self
        """
        panels = self._panels()
        size = (2.8 * len(panels), 3.2)
        self.axes_ = axes_array(axes, (1, len(panels)), size)[0]
        self.figure_ = self.axes_[0].figure
        for ax, (title, (matrix, before, after)) in zip(self.axes_, panels.items(), strict=True):
            ax.imshow(matrix.T, **{"cmap": "Greys", "vmin": 0, "vmax": 1.4, "aspect": "auto"} | how)
            ax.set(title=title, xlabel=before, ylabel=after)
            self._label(ax.xaxis, before, matrix.shape[0])
            self._label(ax.yaxis, after, matrix.shape[1])
            ax.grid(which="minor", color="white", linewidth=1.5)
        return self

    def _panels(self) -> dict[str, tuple[Array, str, str]]:
        """Return matrices by title, with what their rows and their columns are."""
        D, n_layers = len(self.names), sum(name != "L" for name in self.masks)
        layers = ["inputs", *(f"hidden layer {k}" for k in range(1, n_layers)), "outputs"]
        panels = {}
        for k in range(n_layers):
            W = self.masks[f"W{k}"]
            if W.ndim == 3:  # (D, Q, H) of the inputs, (H, D, P) of the outputs
                W = np.logical_or.reduce(W, axis=1 if k == 0 else 2)
            panels[f"W{k}"] = W, layers[k], layers[k + 1]
        matrices = [matrix for matrix, _, _ in panels.values()]
        paths = [reduce(np.matmul, matrices)] if matrices else []
        if "L" in self.masks:  # (D, P, D) or (D, P, D, Q), outputs first
            direct = self.masks["L"].reshape(D, -1, D, self.masks["L"][0, 0, 0].size)
            paths.append(np.logical_or.reduce(direct, axis=(1, 3)).T)
            panels["L"] = paths[-1], "inputs", "outputs"
        reached: Array = np.logical_or.reduce(paths)
        self.connectivity_ = reached.T
        return {**panels, "connectivity": (reached, "inputs", "outputs")}

    def _label(self, axis: Any, layer: str, units: int) -> None:
        """Name the features along an axis, or number the units, where there is room."""
        axis.set_tick_params(which="both", length=0, labelsize="small")
        if units > 32:  # lines between so many would cover the mask
            return
        axis.set_ticks(np.arange(units + 1) - 0.5, minor=True)
        named = layer in ("inputs", "outputs")
        axis.set_ticks(np.arange(units), self.names if named else np.arange(1, units + 1))


def _by_feature(masks: Mapping[str, Array], inputs: Array, outputs: Array) -> dict[str, Array]:
    """Return masks in which features that differ in their rows and outputs have one of each."""
    found, last = dict(masks), f"W{sum(name != 'L' for name in masks) - 1}"
    if "W0" in found:
        first = found["W0"].reshape(int(inputs[-1]), -1)
        found["W0"] = np.logical_or.reduceat(first, inputs[:-1], axis=0)
        before = found[last].reshape(-1, int(outputs[-1]))
        found[last] = np.logical_or.reduceat(before, outputs[:-1], axis=1)
    if "L" in found:
        direct = found["L"].reshape(int(outputs[-1]), -1)
        direct = np.logical_or.reduceat(direct, outputs[:-1], axis=0)
        found["L"] = np.logical_or.reduceat(direct, inputs[:-1], axis=1)[:, None]
    return found
