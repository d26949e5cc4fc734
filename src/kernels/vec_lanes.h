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

/* The first n lanes that are not zero, one after the other, and `first` plus their numbers; returns how many. */
INLINE int vnonzero(vec v, int n, int32_t first, int32_t *index, real *value) {
    int count = 0;
    for (int i = 0; i < n; i++)
        if (v[i] != 0) {
            index[count] = first + i;
            value[count++] = v[i];
        }
    return count;
}

/* 1 / x for x in [1, 1e38]. */
INLINE vec vreciprocal(vec x) { return vset1(1) / x; }

#endif
