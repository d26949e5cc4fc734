"""Columns of levels: from values to the numbers of their levels, and back."""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint64_t

import numpy as np

from fastar._kernels._cpu import aligned_empty, isa

cdef extern from "levels.h" nogil:
    int FASTAR_UNKNOWN
    ctypedef struct levels_spec:
        int64_t D
        const int64_t* first
        const void* levels
        const void* low
        const int32_t* top
        int64_t n_searched
        const int32_t* searched
    ctypedef struct levels_table:
        int64_t (*encode_singles)(int64_t, levels_spec, const float*, void*) noexcept nogil
        int64_t (*encode_doubles)(int64_t, levels_spec, const double*, void*) noexcept nogil
        int64_t (*encode_integers)(int64_t, levels_spec, uint64_t, const uint64_t*, void*) noexcept nogil
        void (*decode)(int64_t, int64_t, const int64_t*, const void*, int64_t, const void*,
                       void*) noexcept nogil
        void (*add_mass)(int64_t, int64_t, int64_t, int64_t, const int64_t*, const void*, const double*,
                         double*) noexcept nogil
    const levels_table* levels_for(int isa, bint is_double)

cdef const levels_table* f32 = levels_for(isa, False)
cdef const levels_table* f64 = levels_for(isa, True)

UNKNOWN = FASTAR_UNKNOWN
SIGN = np.uint64(1 << 63)


cdef class Finder:
    """The levels of all columns, ready to be found.

    Parameters
    ----------
    levels : array (offsets[D],) of float64, int64 or uint64
        Sorted in each column, without NaN. Only values of this type, and float32 for float64, are found.
    offsets : int64 array (D + 1,)
        The levels of column d are offsets[d] .. offsets[d + 1] - 1.
    """

    cdef readonly object dtype
    cdef object levels, low  # float64, or uint64 in whose order integers are
    cdef const int64_t[::1] offsets
    cdef const int32_t[::1] top, searched
    cdef uint64_t flip

    def __init__(self, levels, const int64_t[::1] offsets):
        if levels.dtype not in (np.float64, np.int64, np.uint64):
            raise ValueError(f"levels must be of float64, int64 or uint64. Got {levels.dtype} instead.")
        counts = np.diff(offsets)
        if not len(counts) or offsets[0] != 0 or (counts < 1).any() or len(levels) != offsets[len(counts)]:
            raise ValueError("levels must be as many as offsets say, one or more a column")
        self.dtype = levels.dtype
        self.flip = SIGN if levels.dtype == np.int64 else 0
        levels = np.ascontiguousarray(levels)
        if levels.dtype != np.float64:
            levels = levels.view(np.uint64) ^ np.uint64(self.flip)
        first = np.asarray(offsets)[:-1]
        low = levels[first]
        number = (np.arange(len(levels)) - np.repeat(first, counts)).astype(levels.dtype)
        repeated = np.repeat(low, counts)
        with np.errstate(invalid="ignore", over="ignore"):
            # both ways, for floats may round
            is_run = (levels - repeated == number) & (repeated + number == levels)
        self.levels, self.low, self.offsets = levels, low, offsets
        self.top = (counts - 1).astype(np.int32)
        self.searched = np.flatnonzero(~np.logical_and.reduceat(is_run, first)).astype(np.int32)

    cdef levels_spec spec(self):
        cdef const unsigned char[::1] levels = self.levels.view(np.uint8), low = self.low.view(np.uint8)
        return levels_spec(self.top.shape[0], &self.offsets[0], &levels[0], &low[0], &self.top[0],
                           self.searched.shape[0], &self.searched[0])

    def encode(self, values, floating[:, ::1] codes, int n_threads):
        """Write the numbers of the values' levels to codes (n, D); return how many are UNKNOWN.

        values (n, D): C-contiguous. NaN stays NaN.
        """
        cdef const levels_table* kernels = f32 if floating is float else f64
        cdef int64_t n = codes.shape[0], D = codes.shape[1], count = 0, i, r, m
        cdef bint is_float = self.dtype == np.float64, is_single = is_float and values.dtype == np.float32
        if values.dtype != self.dtype and not is_single:
            raise ValueError(f"values must be of {self.dtype}. Got {values.dtype} instead.")
        if values.shape != (n, D) or D != self.top.shape[0] or not values.flags.c_contiguous:
            raise ValueError("values, codes and levels differ in shape")
        if n == 0:
            return 0
        cdef levels_spec spec = self.spec()
        cdef const unsigned char[::1] items = values.reshape(-1).view(np.uint8)
        cdef const unsigned char* start = &items[0]
        cdef int64_t size = values.itemsize
        n_threads = max(1, min(n_threads, n))
        for i in prange(n_threads, nogil=True, num_threads=n_threads):
            r = n * i // n_threads
            m = n * (i + 1) // n_threads - r
            if is_single:
                count += kernels.encode_singles(m, spec, <const float*>(start + r * D * size), &codes[r, 0])
            elif is_float:
                count += kernels.encode_doubles(m, spec, <const double*>(start + r * D * size), &codes[r, 0])
            else:
                count += kernels.encode_integers(m, spec, self.flip, <const uint64_t*>(start + r * D * size),
                                                 &codes[r, 0])
        return count


def decode(levels, const int64_t[::1] offsets, const floating[:, ::1] codes, int n_threads):
    """Return the levels (n, D) with these numbers. levels (offsets[D],) of any type."""
    cdef const levels_table* kernels = f32 if floating is float else f64
    cdef int64_t n = codes.shape[0], D = codes.shape[1], size = levels.itemsize, i, r, m
    if offsets.shape[0] != D + 1 or levels.shape != (offsets[D],) or not levels.flags.c_contiguous:
        raise ValueError("levels, offsets and codes differ in shape")
    values = aligned_empty((n, D), levels.dtype)
    if n == 0:
        return values
    cdef const unsigned char[::1] items = levels.view(np.uint8)
    cdef unsigned char[::1] out = values.reshape(-1).view(np.uint8)
    n_threads = max(1, min(n_threads, n))
    for i in prange(n_threads, nogil=True, num_threads=n_threads):
        r = n * i // n_threads
        m = n * (i + 1) // n_threads - r
        kernels.decode(m, D, &offsets[0], &items[0], size, &codes[r, 0], &out[r * D * size])
    return values


def add_mass(const floating[:, ::1] codes, const int64_t[::1] offsets, const double[::1] weight,
             double[::1] mass, int n_threads):
    """Add to mass (offsets[D],) the weight of the rows that have each level. weight (n,)."""
    cdef const levels_table* kernels = f32 if floating is float else f64
    cdef int64_t n = codes.shape[0], D = codes.shape[1], i
    if offsets.shape[0] != D + 1 or mass.shape[0] != offsets[D] or weight.shape[0] != n:
        raise ValueError("codes, offsets, weight and mass differ in shape")
    if n == 0:
        return
    n_threads = max(1, min(n_threads, D))
    for i in prange(n_threads, nogil=True, num_threads=n_threads):
        kernels.add_mass(n, D, D * i // n_threads, D * (i + 1) // n_threads, &offsets[0], &codes[0, 0],
                         &weight[0], &mass[0])
