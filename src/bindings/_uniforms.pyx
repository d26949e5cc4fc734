"""Uniform random numbers in parallel."""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint64_t

from fastar._kernels._cpu import isa

cdef extern from "uniforms.h" nogil:
    enum: FASTAR_SEEDS
    ctypedef struct uniforms_f32:
        void (*fill)(const uint64_t*, int64_t, float*) noexcept nogil
    const uniforms_f32* uniforms_f32_for(int isa)
    ctypedef struct uniforms_f64:
        void (*fill)(const uint64_t*, int64_t, double*) noexcept nogil
    const uniforms_f64* uniforms_f64_for(int isa)

cdef const uniforms_f32* f32 = uniforms_f32_for(isa)
cdef const uniforms_f64* f64 = uniforms_f64_for(isa)

N_SEEDS = FASTAR_SEEDS


def fill(const uint64_t[:, ::1] seeds, floating[:, ::1] out, int64_t rows, int n_threads):
    """Fill out (n, m) with uniforms in [0, 1).

    seeds (blocks, N_SEEDS): random words; each row of them decides `rows` rows of `out`.
    """
    cdef int64_t n = out.shape[0], m = out.shape[1], count = (n + rows - 1) // rows, i, r
    if seeds.shape[0] != count or seeds.shape[1] != FASTAR_SEEDS:
        raise ValueError(f"seeds must be of shape {(count, FASTAR_SEEDS)}. Got {seeds.base.shape} instead.")
    for i in prange(count, nogil=True, num_threads=n_threads, schedule="static"):
        r = i * rows
        if floating is float:
            f32.fill(&seeds[i, 0], min(rows, n - r) * m, &out[r, 0])
        else:
            f64.fill(&seeds[i, 0], min(rows, n - r) * m, &out[r, 0])
