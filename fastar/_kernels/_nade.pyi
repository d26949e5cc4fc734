"""The shared-hidden-layer network: outputs, gradients and samples of blocks of rows."""

from typing import Any, Final

from numpy.typing import DTypeLike, NDArray

ACTIVATIONS: Final[tuple[str, ...]]
MANY: Final[int]
MOST_PARTICLES: Final[int]

Changes = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
State = tuple[NDArray[Any], NDArray[Any]]

def hidden_stride(H: int, dtype: DTypeLike) -> int:
    """Return H rounded up to whole slabs of this instruction set."""

def factors(W: NDArray[Any], sign: int, n_threads: int) -> NDArray[Any]:
    """Return exp(sign * W) with rows of hidden_stride(H) numbers."""

def forward(
    changes: Changes,
    W: NDArray[Any],
    V: NDArray[Any],
    b: NDArray[Any],
    outputs: NDArray[Any],
    rho: NDArray[Any] | None,
    initial: NDArray[Any],
    raw: NDArray[Any],
    activation: int,
    unit_changes: bool,
    n_threads: int,
) -> State:
    """Write raw (n, outputs[D]); return the state of the hidden units that `backward` needs."""

def backward(
    changes: Changes,
    W: NDArray[Any],
    V: NDArray[Any],
    outputs: NDArray[Any],
    rho: NDArray[Any] | None,
    state: State,
    graw: NDArray[Any],
    gW: NDArray[Any],
    gV: NDArray[Any],
    activation: int,
    unit_changes: bool,
    n_threads: int,
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Overwrite gW and gV; return the gradients by the initial pre-activations and by rho."""

def sample(
    draw: object,
    noise: NDArray[Any],
    held: NDArray[Any] | None,
    codes: NDArray[Any],
    weight: NDArray[Any] | None,
    input_flags: NDArray[Any],
    input_offsets: NDArray[Any],
    markov_order: int,
    W: NDArray[Any],
    V: NDArray[Any],
    b: NDArray[Any],
    outputs: NDArray[Any],
    rho: NDArray[Any] | None,
    initial: NDArray[Any],
    shift: NDArray[Any] | None,
    activation: int,
    unit_changes: bool,
    n_threads: int,
    begun: NDArray[Any] | None = None,
    ends: NDArray[Any] | None = None,
    stage_noise: NDArray[Any] | None = None,
    least: float = 0,
) -> None:
    """Fill codes (n, D) feature by feature, but for those with held (n, D) not SAMPLED."""

def branches(
    draw: object,
    codes: NDArray[Any],
    feature: int,
    levels: NDArray[Any],
    input_flags: NDArray[Any],
    input_offsets: NDArray[Any],
    W: NDArray[Any],
    V: NDArray[Any],
    b: NDArray[Any],
    outputs: NDArray[Any],
    rho: NDArray[Any] | None,
    initial: NDArray[Any],
    shift: NDArray[Any] | None,
    activation: int,
    n_threads: int,
) -> NDArray[Any]:
    """Return log p (n, B) of rows with a feature at each of B levels."""
