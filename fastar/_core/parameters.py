"""One flat vector of parameters and its named views."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Params = dict[str, Array]


@dataclass(frozen=True)
class ParamLayout:
    """Where each named array lies in the flat vector, in the order of `shapes`.

    Parameters
    ----------
    shapes : mapping from name to shape
        The decayed arrays (weights) come first, so that weight decay is a prefix of the vector.
    n_decayed : int
        How many numbers that prefix has.
    """

    shapes: Mapping[str, tuple[int, ...]]
    n_decayed: int

    @property
    def size(self) -> int:
        """Numbers in the flat vector."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def views(self, flat: Array) -> Params:
        """Return the named arrays as views on `flat`."""
        views, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            views[name] = flat[start:stop].reshape(shape)
            start = stop
        return views


def zeros_aligned(size: int, dtype: np.dtype[Any]) -> Array:
    """Return zeros for a flat vector of parameters, aligned to a cache line."""
    from fastar._kernels import _cpu

    flat: Array = _cpu.aligned_empty((size,), dtype)
    flat[:] = 0
    return flat
