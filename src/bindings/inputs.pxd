# src/kernels/inputs.h, for every module whose network is fed by changes.

from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from "inputs.h" nogil:
    ctypedef struct input_spec:
        int64_t D, Q, markov_order
        const uint8_t* one_hot
    ctypedef struct changes_by_feature:
        int32_t* first
        int32_t* r
        int32_t* index
    ctypedef struct changes_f32:
        int64_t capacity
        int32_t* count
        int32_t* at
        int32_t* row
        float* value
    ctypedef struct inputs_f32:
        int32_t (*changes)(input_spec, const float*, int32_t*, int32_t*, float*) noexcept nogil
        void (*by_feature)(int64_t, int64_t, int64_t, changes_f32, changes_by_feature) noexcept nogil
    const inputs_f32* inputs_f32_for(int isa)
    ctypedef struct changes_f64:
        int64_t capacity
        int32_t* count
        int32_t* at
        int32_t* row
        double* value
    ctypedef struct inputs_f64:
        int32_t (*changes)(input_spec, const double*, int32_t*, int32_t*, double*) noexcept nogil
        void (*by_feature)(int64_t, int64_t, int64_t, changes_f64, changes_by_feature) noexcept nogil
    const inputs_f64* inputs_f64_for(int isa)
