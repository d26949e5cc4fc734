"""Uniform random numbers from NumPy's bit generators, in parallel."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint32_t, uint64_t


# What the capsule "BitGenerator" of a bit generator points to ("Extending" in NumPy's documentation of
# numpy.random): declared here, so that no NumPy header is needed to build.
cdef struct bitgen_t:
    void* state
    uint64_t (*next_uint64)(void*) noexcept nogil
    uint32_t (*next_uint32)(void*) noexcept nogil
    double (*next_double)(void*) noexcept nogil
    uint64_t (*next_raw)(void*) noexcept nogil


cdef void fill_f32(bitgen_t* stream, float* out, int64_t n) noexcept nogil:
    cdef int64_t i
    cdef uint64_t bits
    for i in range(0, n - 1, 2):
        bits = stream.next_uint64(stream.state)
        out[i] = <float>(bits >> 40) * <float>(1.0 / (1 << 24))
        out[i + 1] = <float>((bits >> 8) & 0xFFFFFF) * <float>(1.0 / (1 << 24))
    if n % 2:
        out[n - 1] = <float>(stream.next_uint64(stream.state) >> 40) * <float>(1.0 / (1 << 24))


cdef void fill_f64(bitgen_t* stream, double* out, int64_t n) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        out[i] = stream.next_double(stream.state)


def fill(generators, floating[:, ::1] out, int64_t rows, int n_threads):
    """Fill out (n, m) with uniforms in [0, 1): generators[i] fills the rows from i * rows on."""
    cdef int64_t n = out.shape[0], m = out.shape[1], count = (n + rows - 1) // rows, i, r
    if len(generators) != count:
        raise ValueError("there must be a generator for each block of rows")
    cdef bitgen_t** streams = <bitgen_t**>PyMem_Malloc(max(1, count) * sizeof(void*))
    if streams == NULL:
        raise MemoryError()
    try:
        for i in range(count):
            streams[i] = <bitgen_t*>PyCapsule_GetPointer(generators[i].bit_generator.capsule, "BitGenerator")
        for i in prange(count, nogil=True, num_threads=n_threads, schedule="static"):
            r = i * rows
            if floating is float:
                fill_f32(streams[i], &out[r, 0], min(rows, n - r) * m)
            else:
                fill_f64(streams[i], &out[r, 0], min(rows, n - r) * m)
    finally:
        PyMem_Free(streams)
