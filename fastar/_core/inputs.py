"""How codes enter a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastar._core.offsets import offsets_of
from fastar._core.parameters import Array

ONE_HOT, MAY_MISS = 1, 2  # as in src/kernels/inputs.h


@dataclass(frozen=True)
class Inputs:
    """How codes enter a network.

    Parameters
    ----------
    offsets : int64 array (D + 1,)
        Feature d owns the rows offsets[d] .. offsets[d + 1] - 1 of the input weights.
    input_flags : uint8 array (D,)
        ONE_HOT where the code is the number of a row to add (a negative one adds none), 0 where it
        is a factor of the feature's first row. Plus MAY_MISS where NaN is a missing value, which
        adds the feature's last row.
    binary_inputs : bool
        No factor is ever other than 0 and 1: a sigmoid can then be had without an exponential per
        change.
    """

    offsets: Array
    input_flags: Array
    binary_inputs: bool = False

    @property
    def n_rows(self) -> int:
        """Rows of input weights of all features."""
        return int(self.offsets[-1])

    def at(self, features: Array) -> Inputs:
        """Return how these features enter, in this order."""
        widths = np.diff(self.offsets)[features]
        return Inputs(offsets_of(widths), self.input_flags[features], self.binary_inputs)
