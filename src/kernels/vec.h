/* One vector type `vec` of `real` for the instruction set of this object, and the functions of it
 * that the kernels need. GCC's and Clang's vector extensions carry + - * / and comparisons to any
 * processor; intrinsics stand only where the extensions cannot say what is meant.
 *
 * Accuracy: vexpm1, vexp, vsigmoid, vtanh, vlog1p and vlog are within 4 units in the last place over the
 * ranges stated beside them (tests/test_kernels.py). NaN goes through all of them. */
#ifndef FASTAR_VEC_H
#define FASTAR_VEC_H

#include "fastar.h"

#include <string.h>

#if FASTAR_DOUBLE
typedef int64_t integer;
#else
typedef int32_t integer;
#endif

#if defined(__AVX512F__)
#include <immintrin.h>
#define VEC_BYTES 64
#elif defined(__AVX2__)
#include <immintrin.h>
#define VEC_BYTES 32
#else
#define VEC_BYTES 16
#endif
#define VL ((int)(VEC_BYTES / sizeof(real)))

typedef real vec __attribute__((vector_size(VEC_BYTES)));
typedef integer ivec __attribute__((vector_size(VEC_BYTES)));

#define INLINE static inline __attribute__((always_inline, unused))

INLINE vec vset1(real x) { return x - (vec){0}; } /* -0.0 stays -0.0 */
INLINE ivec viset1(integer x) { return x + (ivec){0}; }

INLINE vec vload(const real *p) {
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE void vstore(real *p, vec v) { memcpy(p, &v, sizeof v); }

/* The first n lanes, 0 < n <= VL; the others are zero and their memory is not touched. */
INLINE vec vload_part(const real *p, int n) {
#if defined(__AVX512F__) && FASTAR_DOUBLE
    return _mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
#elif defined(__AVX512F__)
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
    vec v = {0};
    for (int i = 0; i < n; i++)
        v[i] = p[i];
    return v;
#endif
}
INLINE void vstore_part(real *p, vec v, int n) {
#if defined(__AVX512F__) && FASTAR_DOUBLE
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), v);
#elif defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
#else
    for (int i = 0; i < n; i++)
        p[i] = v[i];
#endif
}

/* The lanes from .. to - 1, 0 <= from, to <= VL; the others are zero and their memory is not touched. */
INLINE vec vload_range(const real *p, int from, int to) {
#if defined(__AVX512F__) && FASTAR_DOUBLE
    return _mm512_maskz_loadu_pd((__mmask8)(((1u << to) - 1) & ~((1u << from) - 1)), p);
#elif defined(__AVX512F__)
    return _mm512_maskz_loadu_ps((__mmask16)(((1u << to) - 1) & ~((1u << from) - 1)), p);
#else
    vec v = {0};
    for (int i = from; i < to; i++)
        v[i] = p[i];
    return v;
#endif
}

/* Those lanes alone. */
INLINE void vstore_range(real *p, vec v, int from, int to) {
#if defined(__AVX512F__) && FASTAR_DOUBLE
    _mm512_mask_storeu_pd(p, (__mmask8)(((1u << to) - 1) & ~((1u << from) - 1)), v);
#elif defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)(((1u << to) - 1) & ~((1u << from) - 1)), v);
#else
    for (int i = from; i < to; i++)
        p[i] = v[i];
#endif
}

/* INTRINSIC(name): the instruction of that name for a `vec`, where the instruction set has all that are used so. */
#if defined(__AVX512F__) && FASTAR_DOUBLE
#define INTRINSIC(name) _mm512_##name##_pd
#elif defined(__AVX512F__)
#define INTRINSIC(name) _mm512_##name##_ps
#elif defined(__AVX2__) && FASTAR_DOUBLE
#define INTRINSIC(name) _mm256_##name##_pd
#elif defined(__AVX2__)
#define INTRINSIC(name) _mm256_##name##_ps
#endif

/* a * b + c, rounded once where the instruction set has it. */
INLINE vec vfma(vec a, vec b, vec c) {
#ifdef INTRINSIC
    return INTRINSIC(fmadd)(a, b, c);
#else
    return a * b + c;
#endif
}

INLINE vec vselect(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }
/* The second where either is NaN, as processors have it: the bound comes first. */
INLINE vec vmax(vec low, vec x) {
#ifdef INTRINSIC
    return INTRINSIC(max)(low, x);
#else
    return vselect(low > x, low, x);
#endif
}
INLINE vec vmin(vec high, vec x) {
#ifdef INTRINSIC
    return INTRINSIC(min)(high, x);
#else
    return vselect(high < x, high, x);
#endif
}
INLINE vec vclamp(vec x, real low, real high) { return vmin(vset1(high), vmax(vset1(low), x)); }
INLINE int vany_negative(ivec v) {
#if defined(__AVX512F__) && FASTAR_DOUBLE
    return _mm512_movepi64_mask((__m512i)v) != 0;
#elif defined(__AVX512F__)
    return _mm512_movepi32_mask((__m512i)v) != 0;
#elif defined(__AVX2__) && FASTAR_DOUBLE
    return _mm256_movemask_pd((__m256d)v) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)v) != 0;
#else
    v = v < 0;
    integer seen = 0;
    for (int i = 0; i < VL; i++)
        seen |= v[i];
    return seen != 0;
#endif
}
INLINE vec vabs(vec x) { return (vec)((ivec)x & ~(ivec)vset1((real)-0.0)); }

/* 1 / x for x in [1, 1e38]. */
INLINE vec vreciprocal(vec x) {
#if defined(__AVX512F__) && !FASTAR_DOUBLE
    /* A 14-bit estimate and one Newton step: a sixteen-lane division takes sixteen cycles. */
    vec y = _mm512_rcp14_ps(x);
    return vfma(y, vfma(-x, y, vset1(1)), y);
#else
    return vset1(1) / x;
#endif
}

/* Lane i of the result is lane i ^ s. */
#define LANES_2(i, s) (i) ^ (s), ((i) + 1) ^ (s)
#define LANES_4(i, s) LANES_2(i, s), LANES_2((i) + 2, s)
#define LANES_8(i, s) LANES_4(i, s), LANES_4((i) + 4, s)
#define LANES_16(i, s) LANES_8(i, s), LANES_8((i) + 8, s)
#if VEC_BYTES == 64 && !FASTAR_DOUBLE
#define LANES(s) LANES_16(0, s)
#elif VEC_BYTES == 64 || (VEC_BYTES == 32 && !FASTAR_DOUBLE)
#define LANES(s) LANES_8(0, s)
#elif VEC_BYTES == 32 || !FASTAR_DOUBLE
#define LANES(s) LANES_4(0, s)
#else
#define LANES(s) LANES_2(0, s)
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define SWAP(v, s) __builtin_shufflevector(v, v, LANES(s))
#else
#define SWAP(v, s) __builtin_shuffle(v, (ivec){LANES(s)})
#endif

INLINE vec vswap(vec v, int s) {
    (void)s;
#if VEC_BYTES / (FASTAR_DOUBLE ? 8 : 4) > 8
    if (s == 8)
        return SWAP(v, 8);
#endif
#if VEC_BYTES / (FASTAR_DOUBLE ? 8 : 4) > 4
    if (s == 4)
        return SWAP(v, 4);
#endif
#if VEC_BYTES / (FASTAR_DOUBLE ? 8 : 4) > 2
    if (s == 2)
        return SWAP(v, 2);
#endif
    return SWAP(v, 1);
}

/* Sums of lanes add neighbours, then pairs of neighbours, ...: every sum here keeps this order, so that a
 * row has the same bits alone and among eight. */
INLINE real vsum(vec v) {
    for (int s = 1; s < VL; s *= 2)
        v += vswap(v, s);
    return v[0];
}

/* Lane i is lane i ^ by of a or, where i has bit s, of b. */
#define PICK_1(i, s, by) ((i) ^ (by)) + ((i) & (s) ? VL : 0)
#define PICK_2(i, s, by) PICK_1(i, s, by), PICK_1((i) + 1, s, by)
#define PICK_4(i, s, by) PICK_2(i, s, by), PICK_2((i) + 2, s, by)
#define PICK_8(i, s, by) PICK_4(i, s, by), PICK_4((i) + 4, s, by)
#define PICK_16(i, s, by) PICK_8(i, s, by), PICK_8((i) + 8, s, by)
#if VEC_BYTES == 64 && !FASTAR_DOUBLE
#define PICKS(s, by) PICK_16(0, s, by)
#elif VEC_BYTES == 64 || (VEC_BYTES == 32 && !FASTAR_DOUBLE)
#define PICKS(s, by) PICK_8(0, s, by)
#elif VEC_BYTES == 32 || !FASTAR_DOUBLE
#define PICKS(s, by) PICK_4(0, s, by)
#else
#define PICKS(s, by) PICK_2(0, s, by)
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define PICK(a, b, s, by) __builtin_shufflevector(a, b, PICKS(s, by))
#else
#define PICK(a, b, s, by) __builtin_shuffle(a, b, (ivec){PICKS(s, by)})
#endif

/* Lane i: lanes i and i ^ s of a added, or, where i has bit s, of b. */
INLINE vec vpair(vec a, vec b, int s) {
#if VEC_BYTES / (FASTAR_DOUBLE ? 8 : 4) > 8
    if (s == 8)
        return PICK(a, b, 8, 0) + PICK(a, b, 8, 8);
#endif
#if VEC_BYTES / (FASTAR_DOUBLE ? 8 : 4) > 4
    if (s == 4)
        return PICK(a, b, 4, 0) + PICK(a, b, 4, 4);
#endif
#if VEC_BYTES / (FASTAR_DOUBLE ? 8 : 4) > 2
    if (s == 2)
        return PICK(a, b, 2, 0) + PICK(a, b, 2, 2);
#endif
    (void)s;
    return PICK(a, b, 1, 0) + PICK(a, b, 1, 1);
}

/* out[r] = vsum(v[r]) for `all` vectors, a constant power of two; v is overwritten. */
INLINE void vsums_of(int all, vec *v, real *out) {
    const int lanes = all < VL ? all : VL;
    /* Not a loop: compilers do not see that it has few turns. */
#define ADD_LANES(s)                                                                               \
    if (VL > (s) && all > (s))                                                                     \
        _Pragma("GCC unroll 8") for (int i = 0; i < all / (2 * (s)); i++)                          \
            v[i] = vpair(v[2 * i], v[2 * i + 1], s);                                               \
    else if (VL > (s))                                                                             \
        v[0] += vswap(v[0], s);
    ADD_LANES(1)
    ADD_LANES(2)
    ADD_LANES(4)
    ADD_LANES(8)
#undef ADD_LANES
#pragma GCC unroll 8
    for (int i = 0; i < all / lanes; i++)
        memcpy(out + i * lanes, &v[i], lanes * sizeof(real));
}

/* The same for up to 31 vectors. */
INLINE void vsums(int count, vec *v, real *out) {
    if (count & 16)
        vsums_of(16, v, out);
    if (count & 8)
        vsums_of(8, v + (count & 16), out + (count & 16));
    if (count & 4)
        vsums_of(4, v + (count & 24), out + (count & 24));
    if (count & 2)
        vsums_of(2, v + (count & 28), out + (count & 28));
    if (count & 1)
        vsums_of(1, v + (count & 30), out + (count & 30));
}

/* v[i] becomes lane i of all VL vectors. */
INLINE void vtranspose(vec *v) {
#pragma GCC unroll 4
    for (int s = 1; s < VL; s *= 2) {
        const ivec upper = ((ivec){LANES(0)} & viset1(s)) != viset1(0);
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++)
            if (!(i & s)) {
                vec a = v[i], b = v[i + s];
                v[i] = vselect(upper, vswap(b, s), a);
                v[i + s] = vselect(upper, b, vswap(a, s));
            }
    }
}

/* The first n lanes that are not zero, one after the other, and `first` plus their numbers; returns how many. */
INLINE int vnonzero(vec v, int n, int32_t first, int32_t *index, real *value) {
#if defined(__AVX512F__) && !FASTAR_DOUBLE
    const __mmask16 nonzero = _mm512_mask_cmp_ps_mask((__mmask16)((1u << n) - 1), v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    const int count = __builtin_popcount(nonzero);
    const __mmask16 kept = (__mmask16)((1u << count) - 1);
    const __m512i lanes = (__m512i)(ivec){LANES(0)};
    _mm512_mask_storeu_ps(value, kept, _mm512_maskz_compress_ps(nonzero, v));
    _mm512_mask_storeu_epi32(index, kept,
                             _mm512_maskz_compress_epi32(nonzero, _mm512_add_epi32(lanes, _mm512_set1_epi32(first))));
    return count;
#else
    int count = 0;
    for (int i = 0; i < n; i++)
        if (v[i] != 0) {
            index[count] = first + i;
            value[count++] = v[i];
        }
    return count;
#endif
}

/* exp(x) = 2^n (1 + m), |log(1 + m)| <= log(2) / 2: gives m and 2^n. x in the range of EXP_MIN, EXP_MAX. */
#if FASTAR_DOUBLE
#define EXP_MIN ((real)-708.0)
#define EXP_MAX ((real)708.0)
#else
#define EXP_MIN ((real)-87.0)
#define EXP_MAX ((real)87.0)
#endif

INLINE vec vexp_split(vec x, vec *scale) {
#if FASTAR_DOUBLE
    enum { MANTISSA = 52, BIAS = 1023 };
    const real magic = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to an integer */
    const real ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
    /* (exp(r) - 1 - r) / r^2 on |r| <= log(2) / 2, Chebyshev interpolation: 2.3e-19 relative */
    static const double q[] = {2.09147553258932022e-9, 2.5105312729622101787e-8, 2.7557273478718580474e-7,
                               2.7557255170000887438e-6, 0.0000248015873256774619,
                               0.00019841269875002278793, 0.0013888888888883711167,
                               0.0083333333333260831202, 0.041666666666666669783,
                               0.1666666666666667103, 0.5};
#else
    enum { MANTISSA = 23, BIAS = 127 };
    const real magic = 12582912.0f; /* 1.5 * 2^23 */
    const real ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    /* as above, 1.0e-8 relative */
    static const float q[] = {0.0013926250831497611718f, 0.0083632328836826182041f,
                              0.041666554212984150314f, 0.16666576666119928305f, 0.5f};
#endif
    vec shifted = vfma(x, vset1((real)1.4426950408889634074), vset1(magic));
    vec n = shifted - vset1(magic);
    vec r = vfma(n, vset1(-ln2_high), x);
    r = vfma(n, vset1(-ln2_low), r);
    vec p = vset1(q[0]);
    for (unsigned i = 1; i < sizeof q / sizeof *q; i++)
        p = vfma(p, r, vset1(q[i]));
    *scale = (vec)(((ivec)shifted - (ivec)vset1(magic) + BIAS) << MANTISSA);
    return vfma(p * r, r, r);
}

INLINE vec vexp(vec x) {
    vec scale, m = vexp_split(vclamp(x, EXP_MIN, EXP_MAX), &scale);
    return vfma(m, scale, scale);
}

/* exp(x) - 1, also where it is small. */
INLINE vec vexpm1(vec x) {
    vec scale, m = vexp_split(vclamp(x, EXP_MIN, EXP_MAX), &scale);
    return vfma(m, scale, scale - vset1(1));
}

INLINE vec vsigmoid(vec x) { return vreciprocal(vset1(1) + vexp(-x)); }

INLINE vec vtanh(vec x) {
    vec t = vexpm1(vset1(-2) * vabs(x)); /* in (-1, 0]; tanh |x| = -t / (2 + t) */
    vec y = -t * vreciprocal(vset1(2) + t);
    return (vec)((ivec)y | ((ivec)x & (ivec)vset1((real)-0.0)));
}

/* log(1 + e) for e in [-0.3, 1]: 2 atanh(e / (2 + e)). */
INLINE vec vlog1p(vec e) {
#if FASTAR_DOUBLE
    /* atanh(s) / s by s^2 in [0, 1/9], Chebyshev interpolation: 9.4e-22 relative */
    static const double q[] = {0.080362830673391359166, 0.028927044988338250322, 0.050490927343170297784,
                               0.052274737577654313479, 0.058853092776241545906, 0.066664997601925853657,
                               0.076923141106323210244, 0.090909089260906135886, 0.11111111113820865993,
                               0.14285714285687825765, 0.2000000000000013402, 0.33333333333333333067, 1.0};
#else
    /* as above, 1.0e-10 relative */
    static const float q[] = {0.12196954042011512453f, 0.10699280253339271618f, 0.14310103704218619165f,
                              0.19999355623431165808f, 0.3333333951321698478f, 0.99999999990450300652f};
#endif
    vec s = e / (vset1(2) + e), t = s * s, p = vset1(q[0]);
    for (unsigned i = 1; i < sizeof q / sizeof *q; i++)
        p = vfma(p, t, vset1(q[i]));
    return vset1(2) * s * p;
}

/* log(x) of normal numbers x > 0: x = 2^n (1 + e), log = n log 2 + 2 atanh(e / (2 + e)), 1 + e in [1/sqrt 2, sqrt 2). */
INLINE vec vlog(vec x) {
#if FASTAR_DOUBLE
    enum { MANTISSA = 52 };
    const integer root_half = 0x3fe6a09e667f3bcd;
    const real ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
#else
    enum { MANTISSA = 23 };
    const integer root_half = 0x3f3504f3;
    const real ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
#endif
    ivec exponent = ((ivec)x - viset1(root_half)) >> MANTISSA;
    vec m = (vec)((ivec)x - (exponent << MANTISSA)), n = __builtin_convertvector(exponent, vec);
    return vfma(n, vset1(ln2_high), vfma(n, vset1(ln2_low), vlog1p(m - vset1(1))));
}

#endif
