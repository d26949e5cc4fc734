"""Which instruction set the kernels of this process use, chosen once at import."""

import math
import os

import numpy as np

cdef extern from "cpu.h" nogil:
    int fastar_best_isa()

_NAMES = ("baseline", "avx2", "avx512")


def _choose():
    best = fastar_best_isa()
    wanted = os.environ.get("FASTAR_ISA", "")
    if not wanted:
        return best
    if wanted not in _NAMES:
        raise ImportError(f"FASTAR_ISA must be one of {', '.join(_NAMES)}. Got {wanted!r} instead.")
    if _NAMES.index(wanted) > best:
        raise ImportError(f"FASTAR_ISA is {wanted!r}, but this processor runs {_NAMES[best]!r} at best.")
    return _NAMES.index(wanted)


isa = _choose()
isa_name = _NAMES[isa]


def aligned_empty(shape, dtype):
    """Return an uninitialised array that begins on a cache line (64 bytes)."""
    cdef size_t size = math.prod(shape) * np.dtype(dtype).itemsize
    block = np.empty(size + 64, np.uint8)
    cdef size_t offset = -block.ctypes.data % 64
    return block[offset:offset + size].view(dtype).reshape(shape)
