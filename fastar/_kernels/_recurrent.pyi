"""Recurrent cells: one step of many sequences."""

from typing import Any, Final

from numpy.typing import NDArray

Array = NDArray[Any]

CELLS: Final[tuple[str, ...]]
N_GATES: Final[tuple[int, ...]]
N_KEPT: Final[tuple[int, ...]]

def forward(
    cell: int,
    changes: tuple[Array, Array, Array] | None,
    W: Array,
    c: Array,
    d: Array | None,
    xpart: Array | None,
    hpart: Array,
    h: Array,
    s: Array,
    h_next: Array,
    s_next: Array,
    gates: Array | None,
    n_threads: int,
) -> None:
    """Write h_next (n, H), and of the LSTM s_next, from what h W_hh gave, hpart (n, G H)."""

def backward(
    cell: int,
    h: Array,
    s: Array,
    h_next: Array,
    s_next: Array,
    gates: Array,
    gh: Array,
    gs: Array,
    gx: Array,
    gu: Array,
    gh_before: Array,
    n_threads: int,
) -> None:
    """Write gx and gu (n, G H), the gradients by x and by the product; add to gh_before (n, H)."""
