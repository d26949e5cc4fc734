"""The conditional of 0/1 columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from fastar._core.parameters import Array
from fastar._data.frame_types import Column
from fastar._data.table import Table
from fastar._kernels._cpu import aligned_empty
from fastar.conditionals._conditional import (
    Conditional,
    weighted_mean,
    whole_near,
)


class Bernoulli(Conditional):
    r"""p(x = 1) = sigmoid(z) for 0/1 or bool columns.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE
    >>> X = np.array([[1], [0], [1], [1]])
    >>> coin = NADE(early_stopping=False, random_state=0).fit(X)
    >>> coin.distribution_
    Bernoulli()
    >>> round(float(coin.conditionals(X)[0, 0]), 2)
    0.75
    """

    name = "bernoulli"
    support = "0 or 1"
    binary_inputs = True
    has_levels = True

    def _learn(self, table: Table, weight: Array) -> dict[str, Array]:
        return {}

    def _outside(self, block: Array) -> Array:
        if block.dtype == bool:
            return np.zeros(block.shape, bool)
        return block > 1 if block.dtype.kind == "u" else (block != 0) & (block != 1)

    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return the values as `dtype`."""
        if block.dtype == dtype:
            return np.ascontiguousarray(block)
        # work space: the pages of a new array would be cleared at every call
        codes: Array = aligned_empty(block.shape, dtype)
        codes[...] = block
        return codes

    def decode(self, codes: Array) -> Array:
        """Return the codes as bytes."""
        return (codes > 0).view(np.uint8)

    def decided(self, c: int, offset: int = 0, column: Column | None = None) -> dict[str, Any]:
        """Return what was decided on column c."""
        is_bool = column is not None and column.type == "bool"
        why = "bools" if is_bool else "0 and 1 alone, in a table of nothing else"
        return super().decided(c) | {"levels": 2, "why": why}

    def interval(self, block: Array, radius: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Return the lowest and highest codes (n, D) within radius (D,) of the values."""
        low, high = whole_near(block.astype(dtype), radius)
        return np.maximum(low, 0, out=low), np.minimum(high, 1, out=high)

    def levels_of(self, d: int) -> Array:
        """Return 0 and 1."""
        return np.arange(2.0)

    def constant(self, table: Table, weight: Array) -> Array:
        """Return the log-odds of each column's mean, kept away from 0 and 1."""
        edge = min(0.5 / (weight.sum() + 1), 0.01)
        p = np.clip(weighted_mean(table, weight, lambda block: block), edge, 1 - edge)
        log_odds: Array = np.log(p / (1 - p))
        return log_odds

    def distribution_params(self, raw: Array, codes: Array) -> Array:
        """Return probabilities of one (n, D)."""
        probability: Array = expit(raw, dtype=np.float64)
        return probability
