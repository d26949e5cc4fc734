/* Primitives of vec.h for AVX-512 F, DQ, VL and BW. */
#ifndef FASTAR_VEC_AVX512_H
#define FASTAR_VEC_AVX512_H

#include "vec.h"

#include <immintrin.h>

#if FASTAR_DOUBLE
typedef __mmask8 lane_mask;
#define INTRINSIC(name) _mm512_##name##_pd
#define SIGNS _mm512_movepi64_mask
#define NONZERO(lanes, v) _mm512_mask_cmp_pd_mask(lanes, v, vset1(0), _CMP_NEQ_UQ)
#else
typedef __mmask16 lane_mask;
#define INTRINSIC(name) _mm512_##name##_ps
#define SIGNS _mm512_movepi32_mask
#define NONZERO(lanes, v) _mm512_mask_cmp_ps_mask(lanes, v, vset1(0), _CMP_NEQ_UQ)
#endif

INLINE lane_mask first_of_mask(int n) { return (lane_mask)((1u << n) - 1); }
INLINE lane_mask range_mask(int from, int to) { return (lane_mask)(((1u << to) - 1) & ~((1u << from) - 1)); }

/* The lanes from .. to - 1, 0 <= from, to <= VL; the others are zero and their memory is not touched. */
INLINE vec vload_range(const real *p, int from, int to) { return INTRINSIC(maskz_loadu)(range_mask(from, to), p); }

/* Those lanes alone. */
INLINE void vstore_range(real *p, vec v, int from, int to) { INTRINSIC(mask_storeu)(p, range_mask(from, to), v); }

/* The first n lanes, 0 < n <= VL, and `fill` in the others. */
INLINE vec vload_or(const real *p, int n, real fill) { return INTRINSIC(mask_loadu)(vset1(fill), first_of_mask(n), p); }

/* a * b + c, rounded once. */
INLINE vec vfma(vec a, vec b, vec c) { return INTRINSIC(fmadd)(a, b, c); }

/* The second where either is NaN: the bound comes first. */
INLINE vec vmax(vec low, vec x) { return INTRINSIC(max)(low, x); }
INLINE vec vmin(vec high, vec x) { return INTRINSIC(min)(high, x); }

INLINE int vany_negative(ivec v) { return SIGNS((__m512i)v) != 0; }

/* Those of n numbers that are not zero, and `first` plus their places; returns how many. */
INLINE int32_t vnonzero(const real *p, int64_t n, int32_t first, int32_t *index, real *value) {
    int32_t count = 0;
#if FASTAR_DOUBLE
    __m256i numbers = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(first));
#else
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i numbers = _mm512_add_epi32(lanes, _mm512_set1_epi32(first));
#endif
    for (int64_t i = 0; i < n; i += VL) {
        const lane_mask within = first_of_mask(n - i < VL ? (int)(n - i) : VL);
        const vec v = INTRINSIC(maskz_loadu)(within, p + i);
        const lane_mask nonzero = NONZERO(within, v);
        const int more = __builtin_popcount(nonzero);
        const lane_mask kept = first_of_mask(more);
        INTRINSIC(mask_storeu)(value + count, kept, INTRINSIC(maskz_compress)(nonzero, v));
#if FASTAR_DOUBLE
        _mm256_mask_storeu_epi32(index + count, kept, _mm256_maskz_compress_epi32(nonzero, numbers));
        numbers = _mm256_add_epi32(numbers, _mm256_set1_epi32(VL));
#else
        _mm512_mask_storeu_epi32(index + count, kept, _mm512_maskz_compress_epi32(nonzero, numbers));
        numbers = _mm512_add_epi32(numbers, _mm512_set1_epi32(VL));
#endif
        count += more;
    }
    return count;
}

/* 1 / x for x in [1, 1e38]. */
INLINE vec vreciprocal(vec x) {
#if FASTAR_DOUBLE
    return vset1(1) / x;
#else
    /* A 14-bit estimate and one Newton step: a sixteen-lane division takes sixteen cycles. */
    vec y = _mm512_rcp14_ps(x);
    return vfma(y, vfma(-x, y, vset1(1)), y);
#endif
}

#if !FASTAR_DOUBLE
#define VEC_HAS_ROOT 1
/* The square root of x >= 0, at most that of 3e38; NaN stays. An estimate of 14 bits and one Newton step: the
 * processor's own takes twenty cycles. */
INLINE vec vroot(vec x) {
    x = vmin(vset1(3e38f), x);
    const vec y = _mm512_maskz_rsqrt14_ps(_mm512_cmp_ps_mask(x, vset1(0), _CMP_NEQ_UQ), x), s = x * y;
    return vfma(vfma(-s, s, x), vset1(0.5f) * y, s);
}
#endif

#endif
