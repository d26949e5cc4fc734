"""Uniform random numbers in parallel."""

from typing import Any, Final

from numpy.typing import NDArray

N_SEEDS: Final[int]

def fill(seeds: NDArray[Any], out: NDArray[Any], rows: int, n_threads: int) -> None:
    """Fill out (n, m) with uniforms in [0, 1).

    seeds (blocks, N_SEEDS): random words; each row of them decides `rows` rows of `out`.
    """
