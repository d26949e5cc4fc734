/* Primitives of vec.h for AVX2 with FMA. */
#ifndef FASTAR_VEC_AVX2_H
#define FASTAR_VEC_AVX2_H

#include "vec_lanes.h"

#include <immintrin.h>

#if FASTAR_DOUBLE
#define INTRINSIC(name) _mm256_##name##_pd
#else
#define INTRINSIC(name) _mm256_##name##_ps
#endif

/* a * b + c, rounded once. */
INLINE vec vfma(vec a, vec b, vec c) { return INTRINSIC(fmadd)(a, b, c); }

/* The second where either is NaN: the bound comes first. */
INLINE vec vmax(vec low, vec x) { return INTRINSIC(max)(low, x); }
INLINE vec vmin(vec high, vec x) { return INTRINSIC(min)(high, x); }

INLINE int vany_negative(ivec v) { return INTRINSIC(movemask)((vec)v) != 0; }

/* Those of n numbers that are not zero, and `first` plus their places; returns how many. */
INLINE int32_t vnonzero(const real *p, int64_t n, int32_t first, int32_t *index, real *value) {
    int32_t count = 0;
    for (int64_t i = 0; i < n; i += VL) {
        const vec v = n - i >= VL ? vload(p + i) : vload_range(p + i, 0, (int)(n - i));
        for (int left = INTRINSIC(movemask)((vec)(v != vset1(0))); left; left &= left - 1) {
            const int lane = __builtin_ctz((unsigned)left);
            index[count] = first + (int32_t)i + lane;
            value[count++] = p[i + lane];
        }
    }
    return count;
}

#endif
