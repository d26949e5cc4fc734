"""Optimizer updates, each one pass over flat arrays shared among threads."""

from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int64_t

import numpy as np

from fastar._kernels._cpu import isa

cdef extern from "optimizers.h" nogil:
    ctypedef struct optimizers_f32:
        void (*sgd)(int64_t, float*, const float*, float*, float, float, float) noexcept nogil
        void (*nesterov)(int64_t, float*, const float*, float*, float, float, float) noexcept nogil
        void (*adam)(int64_t, float*, const float*, float*, float*, float, float, float, float, float,
                     float) noexcept nogil
        void (*adagrad)(int64_t, float*, const float*, float*, float, float, float) noexcept nogil
        void (*adadelta)(int64_t, float*, const float*, float*, float*, float, float, float,
                         float) noexcept nogil
        void (*rmsprop)(int64_t, float*, const float*, float*, float, float, float, float) noexcept nogil
        void (*fetch)(int64_t, const float*, const float*) noexcept nogil
        double (*sum_of_squares)(int64_t, const float*) noexcept nogil
    ctypedef struct optimizers_f64:
        void (*sgd)(int64_t, double*, const double*, double*, double, double, double) noexcept nogil
        void (*nesterov)(int64_t, double*, const double*, double*, double, double, double) noexcept nogil
        void (*adam)(int64_t, double*, const double*, double*, double*, double, double, double, double,
                     double, double) noexcept nogil
        void (*adagrad)(int64_t, double*, const double*, double*, double, double, double) noexcept nogil
        void (*adadelta)(int64_t, double*, const double*, double*, double*, double, double, double,
                         double) noexcept nogil
        void (*rmsprop)(int64_t, double*, const double*, double*, double, double, double, double) noexcept nogil
        void (*fetch)(int64_t, const double*, const double*) noexcept nogil
        double (*sum_of_squares)(int64_t, const double*) noexcept nogil
    const optimizers_f32* optimizers_f32_for(int isa)
    const optimizers_f64* optimizers_f64_for(int isa)

cdef const optimizers_f32* f32 = optimizers_f32_for(isa)
cdef const optimizers_f64* f64 = optimizers_f64_for(isa)


cdef enum:
    CHUNK = 16  # stretches that a thread takes at a time
    FETCHED = 1024  # parameters of the next stretch: then the processor has seen where it goes


cdef int64_t check(const int64_t[:, ::1] stretches, int64_t n, int64_t n_gradient, tuple slots) except -1:
    cdef int64_t i, n_slot = min([slot.shape[0] for slot in slots], default=n)
    if n_gradient != n:
        raise ValueError("theta and its gradient differ in size")
    for i in range(stretches.shape[0]):
        if not 0 <= stretches[i, 0] <= stretches[i, 1] <= n:
            raise ValueError("a stretch of parameters lies outside of theta")
        if not 0 <= stretches[i, 2] <= n_slot - (stretches[i, 1] - stretches[i, 0]):
            raise ValueError("a stretch of parameters lies outside of the optimizer's state")
    return stretches.shape[0]


cdef void fetch_next(int64_t j, const int64_t[:, ::1] stretches, const floating[::1] theta,
                     const floating[::1] g) noexcept nogil:
    """Have what follows a stretch fetched: beyond a gap the processor has to begin anew."""
    cdef int64_t i, n
    if (j + 1) % CHUNK == 0 or j + 1 == stretches.shape[0] or stretches[j + 1, 0] == stretches[j, 1]:
        return
    i = stretches[j + 1, 0]
    n = min(stretches[j + 1, 1] - i, FETCHED)
    if floating is float:
        f32.fetch(n, &theta[i], &g[i])
    else:
        f64.fetch(n, &theta[i], &g[i])


def sgd(floating[::1] theta, const floating[::1] g, floating[::1] velocity, double rate,
        double decay, double momentum,
        const int64_t[:, ::1] stretches, int n_threads):
    cdef int64_t parts = check(stretches, theta.shape[0], g.shape[0], (velocity,)), i, j, k, n
    for j in prange(parts, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=CHUNK):
        i = stretches[j, 0]
        n = stretches[j, 1] - i
        k = stretches[j, 2]
        fetch_next(j, stretches, theta, g)
        if floating is float:
            f32.sgd(n, &theta[i], &g[i], &velocity[k], rate, decay, momentum)
        else:
            f64.sgd(n, &theta[i], &g[i], &velocity[k], rate, decay, momentum)


def nesterov(floating[::1] theta, const floating[::1] g, floating[::1] velocity, double rate,
             double decay, double momentum,
             const int64_t[:, ::1] stretches, int n_threads):
    cdef int64_t parts = check(stretches, theta.shape[0], g.shape[0], (velocity,)), i, j, k, n
    for j in prange(parts, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=CHUNK):
        i = stretches[j, 0]
        n = stretches[j, 1] - i
        k = stretches[j, 2]
        fetch_next(j, stretches, theta, g)
        if floating is float:
            f32.nesterov(n, &theta[i], &g[i], &velocity[k], rate, decay, momentum)
        else:
            f64.nesterov(n, &theta[i], &g[i], &velocity[k], rate, decay, momentum)


def adam(floating[::1] theta, const floating[::1] g, floating[::1] m, floating[::1] v, double rate,
         double decay, double rate_t, double epsilon_t, double beta_1, double beta_2,
         const int64_t[:, ::1] stretches, int n_threads):
    cdef int64_t parts = check(stretches, theta.shape[0], g.shape[0], (m, v)), i, j, k, n
    for j in prange(parts, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=CHUNK):
        i = stretches[j, 0]
        n = stretches[j, 1] - i
        k = stretches[j, 2]
        fetch_next(j, stretches, theta, g)
        if floating is float:
            f32.adam(n, &theta[i], &g[i], &m[k], &v[k], rate, decay, rate_t,
                     epsilon_t, beta_1, beta_2)
        else:
            f64.adam(n, &theta[i], &g[i], &m[k], &v[k], rate, decay, rate_t,
                     epsilon_t, beta_1, beta_2)


def adagrad(floating[::1] theta, const floating[::1] g, floating[::1] v, double rate,
            double decay, double epsilon,
            const int64_t[:, ::1] stretches, int n_threads):
    cdef int64_t parts = check(stretches, theta.shape[0], g.shape[0], (v,)), i, j, k, n
    for j in prange(parts, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=CHUNK):
        i = stretches[j, 0]
        n = stretches[j, 1] - i
        k = stretches[j, 2]
        fetch_next(j, stretches, theta, g)
        if floating is float:
            f32.adagrad(n, &theta[i], &g[i], &v[k], rate, decay, epsilon)
        else:
            f64.adagrad(n, &theta[i], &g[i], &v[k], rate, decay, epsilon)


def adadelta(floating[::1] theta, const floating[::1] g, floating[::1] v, floating[::1] u, double rate,
             double decay, double rho, double epsilon,
             const int64_t[:, ::1] stretches, int n_threads):
    cdef int64_t parts = check(stretches, theta.shape[0], g.shape[0], (v, u)), i, j, k, n
    for j in prange(parts, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=CHUNK):
        i = stretches[j, 0]
        n = stretches[j, 1] - i
        k = stretches[j, 2]
        fetch_next(j, stretches, theta, g)
        if floating is float:
            f32.adadelta(n, &theta[i], &g[i], &v[k], &u[k], rate, decay, rho, epsilon)
        else:
            f64.adadelta(n, &theta[i], &g[i], &v[k], &u[k], rate, decay, rho, epsilon)


def rmsprop(floating[::1] theta, const floating[::1] g, floating[::1] v, double rate,
            double decay, double rho, double epsilon,
            const int64_t[:, ::1] stretches, int n_threads):
    cdef int64_t parts = check(stretches, theta.shape[0], g.shape[0], (v,)), i, j, k, n
    for j in prange(parts, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=CHUNK):
        i = stretches[j, 0]
        n = stretches[j, 1] - i
        k = stretches[j, 2]
        fetch_next(j, stretches, theta, g)
        if floating is float:
            f32.rmsprop(n, &theta[i], &g[i], &v[k], rate, decay, rho, epsilon)
        else:
            f64.rmsprop(n, &theta[i], &g[i], &v[k], rate, decay, rho, epsilon)


def sum_of_squares(const floating[::1] g, const int64_t[:, ::1] stretches, int n_threads):
    """Return the sum of squares of what lies in the stretches; the same for any number of threads."""
    cdef int64_t parts = check(stretches, g.shape[0], g.shape[0], ()), i, j, n
    cdef double[::1] sums = np.zeros(parts)
    for j in prange(parts, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=CHUNK):
        i = stretches[j, 0]
        n = stretches[j, 1] - i
        if floating is float:
            sums[j] = f32.sum_of_squares(n, &g[i])
        else:
            sums[j] = f64.sum_of_squares(n, &g[i])
    return float(np.sum(sums.base))
