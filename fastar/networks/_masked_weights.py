"""The weights of a masked network: where they lie, and how inputs meet them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastar._core.lazy import lazy
from fastar._core.parameters import Array
from fastar._kernels import _cpu, _inputs, _masked
from fastar.networks._dense import product
from fastar.networks._masks import MaskSet

LINEAR = -1


@dataclass(frozen=True)
class Connection:
    """Where the weights between two layers lie, once sorted by degree and as they are stored."""

    name: str
    stairs: _masked.Staircase
    rows: Array
    """Stored row of each sorted row."""
    columns: Array

    def mask(self) -> Array:
        """Return which weights of the matrix, as it is stored, are in use."""
        mask = np.zeros((self.stairs.rows, self.stairs.columns), bool)
        mask[np.ix_(self.rows, self.columns)] = self.stairs.mask()
        return mask


@dataclass(frozen=True)
class Wiring:
    """One member's connections."""

    masks: MaskSet
    layers: list[Connection]
    """Into each hidden layer, and from the last of them into the outputs."""
    direct: Connection | None
    outputs: Array
    """Stored position of each sorted output."""

    @lazy
    def all(self) -> list[Connection]:
        """Every connection."""
        return [*self.layers, *([self.direct] if self.direct else [])]


@dataclass
class Weights:
    """One member's weights: sorted by degree, and zero where a mask hides them."""

    wiring: Wiring
    matrices: dict[str, Array]
    biases: list[Array]
    """Biases of each hidden layer and of the outputs."""
    context: list[Array]
    """Weights of a context into each of them (C, columns); none without one."""
    sampled: Any = None
    """The walk and its packed connections, made at the first use of `sample`."""

    def started(
        self, layer: int, n: int, context: Array | None, n_threads: int
    ) -> tuple[Array, Array | None]:
        """Return a layer's units (n, columns) and the bias that is still to be added to them."""
        bias = self.biases[layer]
        if context is not None:
            return product(context, self.context[layer], bias, n_threads), None
        return _cpu.aligned_empty((n, len(bias)), bias.dtype), bias


def listed(codes: Array, flags: Array, offsets: Array, n_rows: int, n_threads: int) -> Any:
    """Return which of the first rows of input weights codes (n, d) add, for `enter`."""
    changes = _inputs.changes(codes, flags, offsets, codes.shape[1], n_threads)
    return _masked.listed(changes, n_rows, n_threads)


def enter(
    source: Any,
    stairs: _masked.Staircase,
    W: Array,
    bias: Array | None,
    out: Array,
    activation: int,
    n_threads: int,
) -> None:
    """Write out (n, columns) = g(bias + A W); without a bias, add to what `out` holds.

    source: A (n, rows), or what `listed` returned.
    """
    add = _masked.gather if isinstance(source, tuple) else _masked.forward
    add(source, stairs, W, bias, out, activation, n_threads)
