# src/kernels/conditionals.h, for every module whose network draws.

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from "conditionals.h" nogil:
    ctypedef struct feature_spec:
        int32_t kind, count
        double unit, floor, low, high
        int32_t parent, applies, last, last_count
    ctypedef struct earlier_codes:
        const void* x
        int64_t row, feature
    ctypedef struct code_run:
        double first, last
    ctypedef struct region_spec:
        const code_run* runs
        const int64_t* begin
        const int64_t* further
        int64_t n_noise
    ctypedef struct conditional_spec:
        const feature_spec* features
        const int64_t* outputs
        int64_t n_stretches
        const int32_t* stretches
        int may_miss
        double temperature, top_p
        int64_t top_k
        region_spec regions
    ctypedef struct walked_rows:
        int64_t first
        const void* noise
        const uint8_t* held
        void* codes
        double* weight
    ctypedef void (*draw_function)(int64_t, int64_t, conditional_spec, void*, int64_t, const void*, int64_t,
                                   earlier_codes, void*) noexcept nogil
    ctypedef void (*weigh_function)(int64_t, int64_t, int64_t, int64_t, conditional_spec, void*, int64_t,
                                    walked_rows) noexcept nogil
    ctypedef void (*weigh_lanes_function)(int64_t, int64_t, conditional_spec, const void*, earlier_codes, void*,
                                          double*) noexcept nogil
    ctypedef struct draw_spec:
        draw_function function
        weigh_function weigh
        weigh_lanes_function weigh_lanes
        int64_t n_noise
        conditional_spec spec


cdef inline const char* draw_name(bint is_double) noexcept:
    """Return the name of a capsule with a draw, by which the other float type's is refused."""
    return "fastar.draw_f64" if is_double else "fastar.draw_f32"


cdef inline draw_spec draw_of(object capsule, bint is_double) except *:
    return (<draw_spec*>PyCapsule_GetPointer(capsule, draw_name(is_double)))[0]
