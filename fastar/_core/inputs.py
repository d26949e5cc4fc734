"""How codes enter a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastar._core.offsets import offsets_of, positions
from fastar._core.parameters import Array

ONE_HOT, MAY_MISS, NEAR = 1, 2, 4  # as in src/kernels/inputs.h
REACH = 8.0
"""The code as which larger ones enter where NEAR."""


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
        adds the feature's last row; and NEAR where a factor beyond `REACH` or below -`REACH`
        enters as that, so that what lies far from all data says no more than that.
    binary_inputs : bool
        No factor is ever other than 0 and 1: a sigmoid can then be had without an exponential per
        change.
    column_offsets : int64 array (C + 1,), optional
        Features column_offsets[c] .. column_offsets[c + 1] - 1 are one column, and stay together
        in any order. By default every feature is a column.
    """

    offsets: Array
    input_flags: Array
    binary_inputs: bool = False
    column_offsets: Array | None = None

    def permuted(self, rng: np.random.Generator) -> Array:
        """Return the features (D,) with their columns in a random order."""
        if self.column_offsets is None:
            return rng.permutation(len(self.input_flags))
        return positions(self.column_offsets, rng.permutation(len(self.column_offsets) - 1))

    @property
    def n_rows(self) -> int:
        """Rows of input weights of all features."""
        return int(self.offsets[-1])

    def at(self, features: Array) -> Inputs:
        """Return how these features enter, in this order."""
        widths = np.diff(self.offsets)[features]
        return Inputs(offsets_of(widths), self.input_flags[features], self.binary_inputs)
