"""The shared-hidden-layer network: outputs, gradients and samples of blocks of rows."""

from typing import Any, Final

from numpy.typing import DTypeLike, NDArray

ACTIVATIONS: Final[tuple[str, ...]]

def hidden_stride(H: int, dtype: DTypeLike) -> int:
    """Return H rounded up to whole vectors of this instruction set."""

def forward(
    changes: tuple[NDArray[Any], ...],
    W: NDArray[Any],
    V: NDArray[Any],
    b: NDArray[Any],
    a: NDArray[Any],
    raw: NDArray[Any],
    activation: int,
    n_threads: int,
) -> None:
    """Write raw; a holds the initial pre-activations and ends as the final ones."""

def backward(
    changes: tuple[NDArray[Any], ...],
    W: NDArray[Any],
    V: NDArray[Any],
    a: NDArray[Any],
    graw: NDArray[Any],
    gW: NDArray[Any],
    gV: NDArray[Any],
    activation: int,
    n_threads: int,
) -> None:
    """Overwrite gW and gV; a ends as the gradient by the initial pre-activations."""

def sample(
    draw: object,
    noise: NDArray[Any],
    held: NDArray[Any] | None,
    codes: NDArray[Any],
    one_hot: NDArray[Any],
    n_inputs: int,
    markov_order: int,
    W: NDArray[Any],
    V: NDArray[Any],
    b: NDArray[Any],
    a: NDArray[Any],
    activation: int,
    n_threads: int,
) -> None:
    """Fill codes (n, D) feature by feature, but for those with held (n, D) not zero."""
