"""Optimizer updates, each one pass over flat arrays shared among threads."""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t

import numpy as np

from fastar._kernels._cpu import isa

cdef extern from "optimizers.h" nogil:
    enum: FASTAR_SLOTS, FASTAR_NUMBERS
    ctypedef struct optimizer_method:
        const char* name
        int n_slots, n_numbers
        void (*loop)(int64_t, void*, const void*, void**, int64_t, const double*) noexcept nogil
        void (*shrink)(int64_t, void*, void**, int64_t, const double*) noexcept nogil
    ctypedef struct optimizers_table:
        int n_methods
        const optimizer_method* methods
        void (*fetch)(int64_t, const void*, const void*) noexcept nogil
        double (*sum_of_squares)(int64_t, const void*) noexcept nogil
    const optimizers_table* optimizers_for(int isa, bint is_double)

cdef const optimizers_table* f32 = optimizers_for(isa, False)
cdef const optimizers_table* f64 = optimizers_for(isa, True)

cdef dict PLACES = {f32.methods[i].name.decode(): i for i in range(f32.n_methods)}


cdef enum:
    CHUNK = 16  # stretches that a thread takes at a time
    FETCHED = 1024  # parameters of the next stretch: then the processor has seen where it goes


cdef int64_t check(const int64_t[:, ::1] stretches, int64_t n, int64_t n_gradient, int64_t n_slot) except -1:
    cdef int64_t i
    if n_gradient != n:
        raise ValueError("theta and its gradient differ in size")
    for i in range(stretches.shape[0]):
        if not 0 <= stretches[i, 0] <= stretches[i, 1] <= n:
            raise ValueError("a stretch of parameters lies outside of theta")
        if not 0 <= stretches[i, 2] <= n_slot - (stretches[i, 1] - stretches[i, 0]):
            raise ValueError("a stretch of parameters lies outside of the optimizer's state")
    return stretches.shape[0]


def step(str method, floating[::1] theta, const floating[::1] g, slots, numbers,
         const int64_t[:, ::1] stretches, int n_threads):
    """Change theta, and the slots of the method, in the stretches (m, 3).

    numbers: rate, decay, penalty on absolute values, and the method's own, in the order that
    optimizers.c has them.
    """
    cdef const optimizers_table* kernels = f32 if floating is float else f64
    cdef optimizer_method chosen = kernels.methods[<int>PLACES[method]]
    cdef void* at[FASTAR_SLOTS]
    cdef double own[FASTAR_NUMBERS]
    cdef floating[::1] slot
    cdef int64_t i, j, n, n_slot = theta.shape[0]
    if len(slots) != chosen.n_slots or len(numbers) != chosen.n_numbers:
        raise ValueError(f"{method} takes {chosen.n_slots} slots and {chosen.n_numbers} numbers")
    for i in range(chosen.n_slots):
        slot = slots[i]
        n_slot = min(n_slot, slot.shape[0])
        at[i] = &slot[0]
    for i in range(chosen.n_numbers):
        own[i] = numbers[i]
    cdef int64_t parts = check(stretches, theta.shape[0], g.shape[0], n_slot)
    for j in prange(parts, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=CHUNK):
        i = stretches[j, 0]
        n = stretches[j, 1] - i
        # Have what follows fetched: beyond a gap the processor has to begin anew.
        if (j + 1) % CHUNK and j + 1 < parts and stretches[j + 1, 0] != stretches[j, 1]:
            kernels.fetch(min(stretches[j + 1, 1] - stretches[j + 1, 0], FETCHED), &theta[stretches[j + 1, 0]],
                          &g[stretches[j + 1, 0]])
        chosen.loop(n, &theta[i], &g[i], at, stretches[j, 2], own)
        if own[2] > 0:
            chosen.shrink(n, &theta[i], at, stretches[j, 2], own)


def sum_of_squares(const floating[::1] g, const int64_t[:, ::1] stretches, int n_threads):
    """Return the sum of squares of what lies in the stretches; the same for any number of threads."""
    cdef const optimizers_table* kernels = f32 if floating is float else f64
    cdef int64_t parts = check(stretches, g.shape[0], g.shape[0], g.shape[0]), i, j, n
    cdef double[::1] sums = np.zeros(parts)
    for j in prange(parts, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=CHUNK):
        i = stretches[j, 0]
        n = stretches[j, 1] - i
        sums[j] = kernels.sum_of_squares(n, &g[i])
    return float(np.sum(sums.base))
