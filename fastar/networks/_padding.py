"""Parameters of earlier files, in which every feature was as wide as the widest one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fastar._core.inputs import MAY_MISS, Inputs
from fastar._core.parameters import Array, ParamLayout
from fastar.networks._grid import GridLSTM
from fastar.networks._masked import Masked
from fastar.networks._network import Network
from fastar.networks._orderless import Orderless
from fastar.networks._pixels import PixelRecurrent
from fastar.networks._recurrent import Recurrent
from fastar.networks._recurrent_frames import RecurrentFrames
from fastar.networks._shared_hidden import SharedHidden


@dataclass(frozen=True)
class Padded:
    """An axis of parameters along which every feature had `width` entries.

    Parameters
    ----------
    widths : int array (D,)
        How many of them each feature uses: the first ones.
    may_miss : bool array (D,)
        Where the last one that a feature uses, for a missing value, is the last of all instead.
    width : int
    """

    widths: Array
    may_miss: Array
    width: int

    @classmethod
    def outputs(cls, offsets: Array) -> Padded:
        """Return the axis of the outputs of features."""
        widths = np.diff(offsets)
        return cls(widths, np.zeros(len(widths), bool), int(widths.max()))

    @classmethod
    def inputs(cls, inputs: Inputs, width: int | None = None) -> Padded:
        """Return the axis of the rows of input weights, by default of the usual width."""
        widths, may_miss = np.diff(inputs.offsets), (inputs.input_flags & MAY_MISS) > 0
        usual = int((widths - may_miss).max()) + bool(may_miss.any())
        return cls(widths, may_miss, usual if width is None else width)

    def of(self, features: slice) -> Padded:
        """Return the part of these features."""
        return Padded(self.widths[features], self.may_miss[features], self.width)

    @property
    def size(self) -> int:
        """Entries of all features, used or not."""
        return len(self.widths) * self.width

    @property
    def n_used(self) -> int:
        """Entries that are used."""
        return int(self.widths.sum())

    def used(self) -> Array:
        """Return the places of the entries that are used."""
        ends = np.cumsum(self.widths)
        place = np.arange(self.n_used) - np.repeat(ends - self.widths, self.widths)
        place[ends[self.may_miss] - 1] = self.width - 1
        places: Array = place + np.repeat(np.arange(len(self.widths)) * self.width, self.widths)
        return places


_WHOLE = Padded(np.ones(1, np.int64), np.zeros(1, bool), 1)
"""In place of the axis that an array without rows, or without columns, of features has."""


def _axes(network: Network) -> Mapping[str, tuple[Padded, Padded]]:
    """Return by name of a parameter the axes that come first and last in its shape."""
    inputs, outputs = Padded.inputs(network.inputs), Padded.outputs(network.output_offsets)
    found = {"b": (_WHOLE, outputs), "B": (_WHOLE, outputs)}
    if isinstance(network, Masked | Orderless):
        last = f"W{len(network.hidden_layer_sizes)}"
        return found | {"W0": (inputs, _WHOLE), last: (_WHOLE, outputs), "L": (inputs, outputs)}
    if isinstance(network, SharedHidden | RecurrentFrames):
        found |= {"W": (inputs.of(slice(-1)), _WHOLE), "V": (outputs.of(slice(1, None)), _WHOLE)}
        return found | {"W_xh0": (inputs, _WHOLE)}
    if isinstance(network, Recurrent):
        return found | {"W_xh0": (inputs, _WHOLE), "V": (_WHOLE, outputs)}
    # values of images share V and B
    assert isinstance(network, PixelRecurrent | GridLSTM)
    found = {"b": found["b"]}
    if isinstance(network, PixelRecurrent):
        window = network.layers.inputs
        width = int(np.diff(window.offsets).max())
        found["W_xh0"] = (Padded.inputs(window, width), _WHOLE)
    return found


def _padded_sizes(network: Network) -> dict[str, int]:
    axes, sizes = _axes(network), {}
    for name, shape in network.shapes.items():
        size = math.prod(shape)
        if size:
            for axis in axes.get(name, ()):
                size = size // axis.n_used * axis.size
        sizes[name] = size
    return sizes


def padded_size(network: Network) -> int:
    """Return how many parameters the network had with padding."""
    return sum(_padded_sizes(network).values())


def is_padded(network: Network) -> bool:
    """Return whether the network had more parameters than it has."""
    return padded_size(network) != ParamLayout(network.shapes, 0).size


def without_padding(network: Network, padded: Array) -> Array:
    """Return the parameters of a network out of those that it had with padding."""
    layout, axes, start = ParamLayout(network.shapes, 0), _axes(network), 0
    theta, sizes = np.empty(layout.size, padded.dtype), _padded_sizes(network)
    for name, used in layout.views(theta).items():
        old = padded[start : start + sizes[name]]
        start += sizes[name]
        if name in axes and used.size:
            rows, columns = axes[name]
            old = old.reshape(rows.size, -1, columns.size)[rows.used()][:, :, columns.used()]
        used[...] = old.reshape(used.shape)
    return theta
