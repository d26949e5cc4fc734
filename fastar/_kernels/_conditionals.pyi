"""Log-densities, gradients and draws of the output distributions."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

KINDS: tuple[str, ...]
MIXTURES: list[int]
MAX_COMPONENTS: int
FEATURE: np.dtype[Any]
SAMPLED: int
OBSERVED: int
WEIGHTED: int
BOUNDED: int

class Kernel:
    """The compiled side of a table's conditionals."""

    n_noise: int
    output_offsets: NDArray[np.int64]

    def __init__(self, features: NDArray[Any], n_noise: int, may_miss: bool) -> None: ...
    def log_prob(
        self, raw: NDArray[Any], codes: NDArray[Any], n_threads: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return logp (n, D) and its row sums (n,) in double precision."""

    def gradient(
        self, raw: NDArray[Any], codes: NDArray[Any], scale: NDArray[Any], n_threads: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the row sums of logp (n,) and scale[r] * d logp / d raw (n, sum P)."""

    def draw(
        self,
        dtype: DTypeLike,
        temperature: float,
        regions: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]] | None = None,
        top_p: float = 1,
        top_k: int = 0,
    ) -> object:
        """Return the capsule with which a network draws values; it keeps this object."""

    def mode(self, dtype: DTypeLike) -> object:
        """Return the capsule with which a network takes the most probable code between bounds."""

def choose(
    draw: object,
    d: int,
    raw: NDArray[Any],
    noise: NDArray[Any],
    held: NDArray[Any] | None,
    codes: NDArray[Any],
    weight: NDArray[Any],
) -> None:
    """Draw codes (n,) of feature d where SAMPLED or BOUNDED; add log p of what is weighed."""
