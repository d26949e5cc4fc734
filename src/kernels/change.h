/* The change that one code makes; see inputs.h. */
#ifndef FASTAR_CHANGE_H
#define FASTAR_CHANGE_H

#include "inputs.h"
#include "vec.h"

/* The change that code x of feature d makes: `value` times row `row` of the input weights. Returns 0 for nothing.
 * The row is one of feature d's whatever x is. Without branches, which would be mispredicted. */
INLINE int change_of(const input_spec *spec, int64_t d, real x, int32_t *row, real *value) {
    const int missing = x != x, one = missing || (spec->input_flags[d] & FASTAR_ONE_HOT);
    const int64_t first = spec->offsets[d], Q = spec->offsets[d + 1] - first;
    const int is_row = one && x >= 0 && x < (real)Q;
    *row = (int32_t)(first + (missing ? Q - 1 : is_row ? (int64_t)x : 0));
    const real most = FASTAR_REACH, near = x > most ? most : x < -most ? -most : x;
    *value = one ? (real)1 : spec->input_flags[d] & FASTAR_NEAR ? near : x;
    return missing || (one ? is_row : x != 0);
}

#endif
