"""Recurrent layers over packed sequences: states, gradients and samples."""

from collections.abc import Sequence
from typing import Any, Final

from numpy.typing import NDArray

Array = NDArray[Any]

CELLS: Final[tuple[str, ...]]
GATES: Final[tuple[int, ...]]
SLOTS: Final[tuple[int, ...]]

def shares(first: Array, n: int, n_threads: int) -> Array:
    """Return where shares of n sequences of about as many steps begin and end."""

def pack(W: Array, parts: int) -> Array:
    """Return W (K, parts H) as products read it, the panels of the parts taking turns."""

class Weights:
    """What the kernels read of one layer."""

    x: Array | None
    packed: Array
    bias: Array
    c_q: Array | None
    cell: int
    H: int
    def __init__(
        self,
        cell: int,
        H: int,
        x: Array | None,
        packed: Array,
        bias: Array,
        c_q: Array | None,
    ) -> None: ...

def forward(
    weights: Weights,
    first: Array,
    codes: Array | None,
    one_hot: Array,
    n_inputs: int,
    given: Array | None,
    s: Array,
    m: Array | None,
    slots: Array | None,
    end_s: Array | None,
    end_m: Array | None,
    n_threads: int,
) -> None:
    """Fill s (N, H) from the second step on, and m, slots and the ends where they are not None."""

def backward(
    cell: int,
    packed: Array,
    first: Array,
    s: Array,
    m: Array | None,
    slots: Array,
    gs: Array,
    cut: int,
    n_threads: int,
) -> None:
    """Turn slots into gradients, and add to gs (N, H) what flows back."""

def sample(
    draw: object,
    noise: Array,
    held: Array | None,
    codes: Array,
    weight: Array | None,
    layers: Sequence[Weights],
    one_hot: Array,
    n_inputs: int,
    V: Array,
    b: Array,
    n_outputs: int,
    states: Array,
    n_threads: int,
) -> None:
    """Fill codes (n, T F) step by step, but for those with held (n, T F) not FREE."""
