"""Log-densities, gradients and draws of the output distributions."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cython cimport floating
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t

import numpy as np

from fastar._kernels._cpu import aligned_empty, isa

cdef extern from "conditionals.h" nogil:
    ctypedef struct conditional_spec:
        const int32_t* n_levels
        double variance_floor, temperature
    ctypedef void (*draw_function_f32)(int64_t, int64_t, conditional_spec, float*, int64_t, const float*,
                                       int64_t, float*) noexcept nogil
    ctypedef void (*draw_function_f64)(int64_t, int64_t, conditional_spec, double*, int64_t, const double*,
                                       int64_t, double*) noexcept nogil
    ctypedef struct draw_f32:
        draw_function_f32 function
        int64_t n_noise
        conditional_spec spec
    ctypedef struct draw_f64:
        draw_function_f64 function
        int64_t n_noise
        conditional_spec spec
    ctypedef struct conditional_f32:
        void (*log_prob)(int64_t, int64_t, int64_t, conditional_spec, const float*, const float*, float*,
                         double*) noexcept nogil
        void (*gradient)(int64_t, int64_t, int64_t, conditional_spec, const float*, const float*,
                         const float*, float*, double*, float*) noexcept nogil
        draw_function_f32 draw
        int64_t n_noise
    ctypedef struct conditional_f64:
        void (*log_prob)(int64_t, int64_t, int64_t, conditional_spec, const double*, const double*, double*,
                         double*) noexcept nogil
        void (*gradient)(int64_t, int64_t, int64_t, conditional_spec, const double*, const double*,
                         const double*, double*, double*, double*) noexcept nogil
        draw_function_f64 draw
        int64_t n_noise
    ctypedef struct conditionals_f32:
        conditional_f32 bernoulli, categorical, gaussian
    ctypedef struct conditionals_f64:
        conditional_f64 bernoulli, categorical, gaussian
    const conditionals_f32* conditionals_f32_for(int isa)
    const conditionals_f64* conditionals_f64_for(int isa)

cdef const conditionals_f32* f32 = conditionals_f32_for(isa)
cdef const conditionals_f64* f64 = conditionals_f64_for(isa)


cdef void free_draw(object capsule) noexcept:
    cdef const char* name = (b"fastar.draw_f32" if PyCapsule_IsValid(capsule, b"fastar.draw_f32")
                             else b"fastar.draw_f64")
    PyMem_Free(PyCapsule_GetPointer(capsule, name))


cdef extern from "Python.h":
    bint PyCapsule_IsValid(object, const char*)


cdef class Kernel:
    """The compiled side of one conditional.

    Parameters
    ----------
    name : {"bernoulli", "categorical", "gaussian"}
    n_levels : int32 array (D,) or None
        Of a categorical: the levels of each feature.
    variance_floor : float
    """

    cdef conditional_f32 f32
    cdef conditional_f64 f64
    cdef const int32_t[::1] n_levels
    cdef double variance_floor

    def __init__(self, str name, n_levels=None, double variance_floor=1e-6):
        if name == "bernoulli":
            self.f32, self.f64 = f32.bernoulli, f64.bernoulli
        elif name == "categorical":
            self.f32, self.f64 = f32.categorical, f64.categorical
        elif name == "gaussian":
            self.f32, self.f64 = f32.gaussian, f64.gaussian
        else:
            raise ValueError(f"no kernel for {name!r}")
        self.n_levels = n_levels
        self.variance_floor = variance_floor

    @property
    def n_noise(self):
        """Numbers that one draw uses up."""
        return self.f32.n_noise

    cdef conditional_spec spec(self, double temperature):
        cdef const int32_t* n_levels = NULL
        if self.n_levels is not None:
            n_levels = &self.n_levels[0]
        return conditional_spec(n_levels, self.variance_floor, temperature)

    cdef check(self, int64_t n, int64_t D, codes):
        if codes.shape[0] != n or codes.shape[1] != D:
            raise ValueError("raw and codes differ in shape")
        if self.n_levels is not None and self.n_levels.shape[0] != D:
            raise ValueError("raw and n_levels differ in the number of features")

    def log_prob(self, const floating[:, :, ::1] raw, const floating[:, ::1] codes, int n_threads):
        """Return logp (n, D) and its row sums (n,) in double precision."""
        cdef int64_t n = raw.shape[0], D = raw.shape[1], P = raw.shape[2], r
        self.check(n, D, codes)
        cdef floating[:, ::1] logp = aligned_empty((n, D), np.float32 if floating is float else np.float64)
        cdef double[::1] total = np.empty(n)
        cdef conditional_spec spec = self.spec(1)
        for r in prange(n, nogil=True, num_threads=n_threads):
            if floating is float:
                self.f32.log_prob(1, D, P, spec, &raw[r, 0, 0], &codes[r, 0], &logp[r, 0], &total[r])
            else:
                self.f64.log_prob(1, D, P, spec, &raw[r, 0, 0], &codes[r, 0], &logp[r, 0], &total[r])
        return logp.base, total.base

    def gradient(self, const floating[:, :, ::1] raw, const floating[:, ::1] codes,
                 const floating[::1] scale, int n_threads):
        """Return the row sums of logp (n,) and scale[r] * d logp / d raw (n, D, P)."""
        cdef int64_t n = raw.shape[0], D = raw.shape[1], P = raw.shape[2], r
        self.check(n, D, codes)
        if scale.shape[0] != n:
            raise ValueError("raw and scale differ in the number of rows")
        dtype = np.float32 if floating is float else np.float64
        cdef floating[:, ::1] logp = aligned_empty((n, D), dtype)
        cdef floating[:, :, ::1] graw = aligned_empty((n, D, P), dtype)
        cdef double[::1] total = np.empty(n)
        cdef conditional_spec spec = self.spec(1)
        for r in prange(n, nogil=True, num_threads=n_threads):
            if floating is float:
                self.f32.gradient(1, D, P, spec, &raw[r, 0, 0], &codes[r, 0], &scale[r], &logp[r, 0],
                                  &total[r], &graw[r, 0, 0])
            else:
                self.f64.gradient(1, D, P, spec, &raw[r, 0, 0], &codes[r, 0], &scale[r], &logp[r, 0],
                                  &total[r], &graw[r, 0, 0])
        return total.base, graw.base

    def draw(self, dtype, double temperature):
        """Return the capsule with which a network draws values of this conditional.

        It points into this object: keep the object while the capsule is used.
        """
        cdef draw_f32* draw32
        cdef draw_f64* draw64
        if dtype == np.float32:
            draw32 = <draw_f32*>PyMem_Malloc(sizeof(draw_f32))
            if draw32 == NULL:
                raise MemoryError()
            draw32[0] = draw_f32(self.f32.draw, self.f32.n_noise, self.spec(temperature))
            return PyCapsule_New(draw32, "fastar.draw_f32", free_draw)
        draw64 = <draw_f64*>PyMem_Malloc(sizeof(draw_f64))
        if draw64 == NULL:
            raise MemoryError()
        draw64[0] = draw_f64(self.f64.draw, self.f64.n_noise, self.spec(temperature))
        return PyCapsule_New(draw64, "fastar.draw_f64", free_draw)
