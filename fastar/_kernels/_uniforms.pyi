"""Uniform random numbers from NumPy's bit generators, in parallel."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

def fill(
    generators: Sequence[np.random.Generator], out: NDArray[Any], rows: int, n_threads: int
) -> None:
    """Fill out (n, m) with uniforms in [0, 1): generators[i] fills the rows from i * rows on."""
