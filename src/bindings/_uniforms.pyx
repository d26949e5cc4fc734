"""Uniform random numbers in parallel."""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint64_t

from fastar._kernels._cpu import isa

cdef extern from "uniforms.h" nogil:
    enum: FASTAR_SEEDS
    ctypedef struct uniforms_table:
        void (*fill)(const uint64_t*, int64_t, void*) noexcept nogil
    const uniforms_table* uniforms_for(int isa, bint is_double)

cdef const uniforms_table* f32 = uniforms_for(isa, False)
cdef const uniforms_table* f64 = uniforms_for(isa, True)

N_SEEDS = FASTAR_SEEDS


def fill(const uint64_t[:, ::1] seeds, floating[:, ::1] out, int64_t rows, int n_threads):
    """Fill out (n, m) with uniforms in [0, 1).

    seeds (blocks, N_SEEDS): random words; each row of them decides `rows` rows of `out`.
    """
    cdef const uniforms_table* kernels = f32 if floating is float else f64
    cdef int64_t n = out.shape[0], m = out.shape[1], count = (n + rows - 1) // rows, i, r
    if seeds.shape[0] != count or seeds.shape[1] != FASTAR_SEEDS:
        raise ValueError(f"seeds must be of shape {(count, FASTAR_SEEDS)}. Got {seeds.base.shape} instead.")
    for i in prange(count, nogil=True, num_threads=n_threads, schedule="static"):
        r = i * rows
        kernels.fill(&seeds[i, 0], min(rows, n - r) * m, &out[r, 0])
