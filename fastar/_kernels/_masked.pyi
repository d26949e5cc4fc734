"""Masked networks: products with staircase weights, and sampling unit by unit."""

from collections.abc import Sequence
from typing import Any, Final

from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Changes = tuple[Array, Array, Array, Array]
Listed = tuple[Array, Array, Array]

ACTIVATIONS: Final[tuple[str, ...]]

def sample_blocks(dtype: DTypeLike, outputs: Array) -> Array:
    """Return the first feature of each block of `sample`, and D: int64 (blocks + 1,)."""

class Staircase:
    """Which columns each row of a weight matrix reaches, and which rows reach each column."""

    rows: int
    columns: int
    def __init__(self, row_begin: Array, row_end: Array, columns: int) -> None: ...
    def mask(self) -> Array:
        """Return the Boolean matrix."""

    def limits(self) -> tuple[Array, Array, Array, Array]:
        """Return row_begin, row_end, column_begin and column_end."""

class Blocks:
    """Where the weights of one matrix lie for sampling, a block of features after the other."""

    size: int
    def __init__(
        self, stairs: Staircase, rows: Array, columns: Array, listed: bool, dtype: DTypeLike
    ) -> None: ...

def gather_masked(
    W: Array, rows: Array, columns: Array, stairs: Staircase, n_threads: int
) -> Array:
    """Return W[rows][:, columns] within the stairs, zero outside of them."""

def scatter_masked(
    G: Array, rows: Array, columns: Array, stairs: Staircase, out: Array, n_threads: int
) -> None:
    """Undo `gather_masked`: write out[rows][:, columns] = G within the stairs, and zero outside."""

def forward(
    A: Array,
    stairs: Staircase,
    W: Array,
    bias: Array | None,
    out: Array,
    activation: int,
    n_threads: int,
) -> None:
    """Write out (n, columns) = g(bias + A W); without a bias, add to what `out` holds."""

def backward(
    G: Array, stairs: Staircase, W: Array, h: Array, gh: Array, activation: int, n_threads: int
) -> None:
    """Write gh (n, rows) = (G W^T) * g'(a), where h = g(a)."""

def outer(A: Array, G: Array, stairs: Staircase, gW: Array, n_threads: int) -> None:
    """Write gW = A^T G within the stairs."""

def activate(h: Array, activation: int, n_threads: int) -> None:
    """Write h = g(h)."""

def drop(x: Array, chance: Array, below: int, scale: float, out: Array, n_threads: int) -> None:
    """Write out = scale * x, but zero where the chance lies below a number; all (n, units)."""

def column_sums(G: Array, sums: Array, n_threads: int) -> None:
    """Write the sums (columns,) of G (n, columns)."""

def listed(changes: Changes, rows: int, n_threads: int) -> Listed:
    """Return what `gather` and `scatter` read of changes."""

def gather(
    inputs: Listed,
    stairs: Staircase,
    W: Array,
    bias: Array | None,
    out: Array,
    activation: int,
    n_threads: int,
) -> None:
    """Do what `forward` does, for inputs that `listed` returned."""

def scatter(inputs: Listed, stairs: Staircase, G: Array, gW: Array, n_threads: int) -> None:
    """Do what `outer` does, for listed inputs."""

def pack(stairs: Staircase, blocks: Blocks, W: Array, n_threads: int) -> Array:
    """Return the weights as `sample` reads them."""

def sample(
    draw: object,
    noise: Array,
    held: Array | None,
    codes: Array,
    weight: Array | None,
    begin: Array,
    input_flags: Array,
    inputs: Array,
    edges: Sequence[Any],
    biases: Sequence[Array],
    finals: Sequence[Array],
    feature: Array,
    outputs: Array,
    activation: int,
    n_threads: int,
) -> None:
    """Fill codes (n, D), but for those with held (n, D) not SAMPLED."""
