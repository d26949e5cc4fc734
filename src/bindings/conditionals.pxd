# src/kernels/conditionals.h, for every module whose network draws.

from libc.stdint cimport int64_t, uint8_t

cdef extern from "conditionals.h" nogil:
    ctypedef struct draw_f32:
        int64_t n_noise
    ctypedef struct walked_f32:
        int64_t first
        const float* noise
        const uint8_t* held
        float* codes
        double* weight
    ctypedef struct draw_f64:
        int64_t n_noise
    ctypedef struct walked_f64:
        int64_t first
        const double* noise
        const uint8_t* held
        double* codes
        double* weight
