"""Log-densities, gradients and draws of the output distributions."""

from typing import Any

from numpy.typing import DTypeLike, NDArray

class Kernel:
    """The compiled side of one conditional."""

    def __init__(
        self, name: str, n_levels: NDArray[Any] | None = None, variance_floor: float = 1e-6
    ) -> None: ...
    @property
    def n_noise(self) -> int:
        """Numbers that one draw uses up."""

    def log_prob(
        self, raw: NDArray[Any], codes: NDArray[Any], n_threads: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return logp (n, D) and its row sums (n,) in double precision."""

    def gradient(
        self, raw: NDArray[Any], codes: NDArray[Any], scale: NDArray[Any], n_threads: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the row sums of logp (n,) and scale[r] * d logp / d raw (n, D, P)."""

    def draw(self, dtype: DTypeLike, temperature: float) -> object:
        """Return the capsule with which a network draws values; keep this object meanwhile."""
