"""LSTM passes over the pixels of images: states, gradients and samples."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

class Pass:
    """What the kernels read of a pass."""

    W_above: Array
    W_along: Array | None
    above: tuple[int, ...]
    along: int
    H: int
    def __init__(
        self, H: int, above: Sequence[int], along: int, W_above: Array, W_along: Array | None
    ) -> None: ...

class Walked:
    """What a walk reads of a pass beside it."""

    grid_pass: Pass
    below: bool
    taps: int
    x: Array
    c: Array
    def __init__(self, grid_pass: Pass, below: bool, taps: int, x: Array, c: Array) -> None: ...

def gather(
    codes: Array,
    input_flags: Array,
    input_offsets: Array,
    W: Array,
    c: Array,
    slots: Array,
    n_threads: int,
) -> None:
    """Write slots (chunks, pixels n, 4 H) = c + what codes (chunks, pixels n, E) add."""

def forward(p: Pass, s: Array, m: Array, slots: Array, n_threads: int) -> None:
    """Fill units and memories (chunks, I + 1, J + 2, n, H) inside their border of zeros."""

def backward(p: Pass, m: Array, slots: Array, gs: Array, n_threads: int) -> None:
    """Turn slots into gradients by what enters; gs, by the units, as m, is used up."""

def sample(
    draw: object,
    noise: Array,
    held: Array | None,
    codes: Array,
    weight: Array | None,
    passes: Sequence[Walked],
    n_passes: int,
    input_flags: Array,
    input_offsets: Array,
    source: Array,
    scale: float,
    V: Array,
    b: Array,
    own: Array | None,
    output_offsets: Array,
    shape: tuple[int, int],
    share: int,
    n_threads: int,
) -> None:
    """Fill codes (n, I J) pixel by pixel, but for those with held (n, I J) not SAMPLED."""
