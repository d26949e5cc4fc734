"""Sampling from a masked network: the blocks in which a walk takes the features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastar._core.inputs import Inputs
from fastar._core.parameters import Array
from fastar._kernels import _masked
from fastar.networks._masked_weights import Connection, Weights, Wiring


@dataclass(frozen=True)
class Walk:
    """The blocks in which sampling takes a member's features."""

    begin: Array
    """First feature of each block, and D."""
    inputs: Inputs
    """How the codes enter, in the member's order."""
    finals: list[Array]
    """For each hidden layer how many units are final after so many features (D + 1,)."""
    feature: Array
    """The feature that comes k-th (D,)."""
    layers: list[_masked.Blocks]
    direct: _masked.Blocks | None

    @classmethod
    def of(cls, wiring: Wiring, inputs: Inputs, is_listed: bool, dtype: np.dtype[Any]) -> Walk:
        """Return the walk of a member.

        inputs: in its order. is_listed: whether codes enter as lists of rows.
        """
        masks, finals = wiring.masks, wiring.masks.finals()
        begin = _masked.sample_blocks(dtype, masks.outputs)
        # rows that are known, and columns that begin, before so many features
        entering, outputs = masks.inputs[begin], masks.outputs[begin]
        known = [entering, *(final[begin] for final in finals), outputs]

        def blocks(each: Connection, rows: Array, columns: Array) -> _masked.Blocks:
            return _masked.Blocks(each.stairs, rows, columns, rows is entering and is_listed, dtype)

        layers = [*map(blocks, wiring.layers, known, known[1:])]
        direct = blocks(wiring.direct, entering, outputs) if wiring.direct else None
        return cls(begin, inputs, finals, masks.order.astype(np.int32), layers, direct)

    def packed(self, weights: Weights, n_threads: int) -> list[Any]:
        """Return each connection, the direct one last, as the kernel wants it."""
        wiring = weights.wiring

        def pack(each: Connection, blocks: _masked.Blocks) -> tuple[Any, ...]:
            W = weights.matrices[each.name]
            return each.stairs, blocks, _masked.pack(each.stairs, blocks, W, n_threads)

        layers: list[Any] = [*map(pack, wiring.layers, self.layers)]
        direct = pack(wiring.direct, self.direct) if wiring.direct and self.direct else None
        return [*(layers or [None]), direct]
