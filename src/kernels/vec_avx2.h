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

#endif
