"""How codes enter a network."""

from __future__ import annotations

from dataclasses import dataclass

from fastar._core.parameters import Array

ONE_HOT, MAY_MISS = 1, 2  # as in src/kernels/inputs.h


@dataclass(frozen=True)
class Inputs:
    """How codes enter a network.

    Parameters
    ----------
    n_inputs : int
        Q, rows of input weights that each feature owns.
    input_flags : uint8 array (D,)
        ONE_HOT where the code is the number of a row to add (a negative one adds none), 0 where it
        is a factor of the feature's first row. Plus MAY_MISS where NaN is a missing value, which
        adds the feature's last row.
    binary_inputs : bool
        No factor is ever other than 0 and 1: a sigmoid can then be had without an exponential per
        change.
    """

    n_inputs: int
    input_flags: Array
    binary_inputs: bool = False
