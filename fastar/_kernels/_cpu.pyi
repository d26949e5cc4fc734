"""Which instruction set the kernels of this process use, chosen once at import."""

from typing import Any, Final

from numpy.typing import DTypeLike, NDArray

isa: Final[int]
isa_name: Final[str]
has_openmp: Final[bool]

def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an uninitialised array that begins on a cache line (64 bytes)."""

def no_memory(size: int) -> MemoryError:
    """Return the error that so many bytes of work space are not to be had."""
