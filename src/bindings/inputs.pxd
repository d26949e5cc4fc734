# src/kernels/inputs.h, for every module whose network is fed by changes.

from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from "inputs.h" nogil:
    ctypedef struct input_spec:
        int64_t D
        const int64_t* offsets
        int64_t markov_order
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


cdef inline input_spec spec_of(const uint8_t[::1] input_flags, const int64_t[::1] offsets,
                               int64_t markov_order=0) except *:
    """Return the inputs of a network; markov_order 0: every earlier feature is seen."""
    cdef int64_t D = input_flags.shape[0]
    if offsets.shape[0] != D + 1:
        raise ValueError("input_flags and offsets differ in the number of features")
    return input_spec(D, &offsets[0], markov_order if markov_order > 0 else D, &input_flags[0])
