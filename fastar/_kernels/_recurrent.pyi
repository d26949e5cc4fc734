"""Recurrent layers over packed sequences: states, gradients and samples."""

from collections.abc import Sequence
from typing import Any, Final

from numpy.typing import NDArray

Array = NDArray[Any]

CELLS: Final[tuple[str, ...]]
N_GATES: Final[tuple[int, ...]]
N_SLOTS: Final[tuple[int, ...]]
NOTHING: Final[int]
CONSTANT: Final[int]

def shares(first: Array, n: int, n_threads: int) -> Array:
    """Return where shares of n sequences of about as many steps begin and end."""

def pack(W: Array, parts: int) -> Array:
    """Return W (K, parts H) as products read it, the panels of the parts taking turns."""

class Weights:
    """What the kernels read of one layer."""

    x: Array | None
    packed: Array
    c: Array
    d: Array | None
    cell: int
    H: int
    def __init__(
        self, cell: int, H: int, x: Array | None, packed: Array, c: Array, d: Array | None
    ) -> None: ...

def forward(
    weights: Weights,
    first: Array,
    entering: Array | None,
    input_flags: Array,
    input_offsets: Array,
    given: Array | None,
    s: Array,
    m: Array | None,
    slots: Array | None,
    n_threads: int,
) -> None:
    """Fill s (N, H), and the LSTM's m, but for their first n rows; and slots (N - n, S H)."""

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
    """Turn slots (N - n, S H) into gradients, and add to gs (N, H) what flows back."""

def sample(
    draw: object,
    noise: Array,
    held: Array | None,
    codes: Array,
    weight: Array | None,
    layers: Sequence[Weights],
    input_flags: Array,
    input_offsets: Array,
    source: Array,
    V: Array,
    b: Array,
    own: Array | None,
    output_offsets: Array,
    F: int,
    states: Sequence[tuple[Array, Array]],
    n_threads: int,
) -> None:
    """Fill codes (n, T F) step by step, but for those with held (n, T F) not SAMPLED."""

def outer(A: Array, G: Array, gW: Array, n_threads: int) -> None:
    """Write gW (K, columns) = A^T G over very many rows, A (N, K) and G (N, columns)."""

def scatter(
    entering: Array,
    input_flags: Array,
    input_offsets: Array,
    slots: Array,
    gW: Array,
    n_threads: int,
) -> Array:
    """Return the sums (S H,) over all slots (M, S H); write those by the weights of the codes."""
