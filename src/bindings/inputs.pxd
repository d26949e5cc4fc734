# src/kernels/inputs.h, for every module whose network is fed by changes.

from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from "inputs.h" nogil:
    ctypedef struct input_spec:
        int64_t D, Q, markov_order
        const uint8_t* input_flags
    ctypedef struct changes_by_feature:
        int32_t* first
        int32_t* r
        int32_t* index
    ctypedef struct changes_by_row:
        int64_t capacity
        int32_t* count
        int32_t* at
        int32_t* row
        void* value
    ctypedef struct inputs_table:
        int32_t (*changes)(input_spec, const void*, int32_t*, int32_t*, void*) noexcept nogil
        void (*by_feature)(int64_t, int64_t, int64_t, changes_by_row, changes_by_feature) noexcept nogil
    const inputs_table* inputs_for(int isa, bint is_double)


cdef inline input_spec spec_of(const uint8_t[::1] input_flags, int64_t n_inputs):
    """Return the inputs of a network in which every earlier feature is seen."""
    return input_spec(input_flags.shape[0], n_inputs, input_flags.shape[0], &input_flags[0])
