/* Primitives that have no instruction of their own but with AVX-512: a lane after the other. */
#ifndef FASTAR_VEC_LANES_H
#define FASTAR_VEC_LANES_H

#include "vec.h"

/* The lanes from .. to - 1, 0 <= from, to <= VL; the others are zero and their memory is not touched. */
INLINE vec vload_range(const real *p, int from, int to) {
    vec v = {0};
    for (int i = from; i < to; i++)
        v[i] = p[i];
    return v;
}

/* Those lanes alone. */
INLINE void vstore_range(real *p, vec v, int from, int to) {
    for (int i = from; i < to; i++)
        p[i] = v[i];
}

/* The first n lanes, 0 < n <= VL, and `fill` in the others. */
INLINE vec vload_or(const real *p, int n, real fill) {
    vec v = vset1(fill);
    for (int i = 0; i < n; i++)
        v[i] = p[i];
    return v;
}

#if !defined(__AVX2__)
/* Those of n numbers that are not zero, and `first` plus their places; returns how many. */
INLINE int32_t vnonzero(const real *p, int64_t n, int32_t first, int32_t *index, real *value) {
    int32_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        const real x = p[i];
        if (x != 0) {
            index[count] = first + (int32_t)i;
            value[count++] = x;
        }
    }
    return count;
}
#endif

/* 1 / x for x in [1, 1e38]. */
INLINE vec vreciprocal(vec x) { return vset1(1) / x; }

#endif
