/* Primitives of vec.h by vector extensions alone, for any processor. */
#ifndef FASTAR_VEC_GENERIC_H
#define FASTAR_VEC_GENERIC_H

#include "vec_lanes.h"

/* a * b + c, rounded twice. */
INLINE vec vfma(vec a, vec b, vec c) { return a * b + c; }

/* The second where either is NaN: the bound comes first. */
INLINE vec vmax(vec low, vec x) { return vselect(low > x, low, x); }
INLINE vec vmin(vec high, vec x) { return vselect(high < x, high, x); }

INLINE int vany_negative(ivec v) {
    v = v < 0;
    integer seen = 0;
    for (int i = 0; i < VL; i++)
        seen |= v[i];
    return seen != 0;
}

#endif
