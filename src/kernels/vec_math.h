/* Elementary functions of vectors.
 *
 * vexpm1, vexp, vsigmoid, vtanh, vlog1p and vlog are within 4 units in the last place over the ranges stated beside
 * them (tests/test_kernels.py). NaN goes through all of them. */
#ifndef FASTAR_VEC_MATH_H
#define FASTAR_VEC_MATH_H

#include "vec.h"

/* exp(x) = 2^n (1 + m), |log(1 + m)| <= log(2) / 2: gives m and 2^n. x in the range of EXP_MIN, EXP_MAX. */
#if FASTAR_DOUBLE
#define EXP_MIN ((real) - 708.0)
#define EXP_MAX ((real)708.0)
#else
#define EXP_MIN ((real) - 87.0)
#define EXP_MAX ((real)87.0)
#endif

INLINE vec vexp_split(vec x, vec *scale) {
#if FASTAR_DOUBLE
    enum { MANTISSA = 52, BIAS = 1023 };
    const real magic = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to an integer */
    const real ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
    /* (exp(r) - 1 - r) / r^2 on |r| <= log(2) / 2, Chebyshev interpolation: 2.3e-19 relative */
    static const double q[] = {2.09147553258932022e-9,
                               2.5105312729622101787e-8,
                               2.7557273478718580474e-7,
                               2.7557255170000887438e-6,
                               0.0000248015873256774619,
                               0.00019841269875002278793,
                               0.0013888888888883711167,
                               0.0083333333333260831202,
                               0.041666666666666669783,
                               0.1666666666666667103,
                               0.5};
#else
    enum { MANTISSA = 23, BIAS = 127 };
    const real magic = 12582912.0f; /* 1.5 * 2^23 */
    const real ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    /* as above, 1.0e-8 relative */
    static const float q[] = {0.0013926250831497611718f, 0.0083632328836826182041f, 0.041666554212984150314f,
                              0.16666576666119928305f, 0.5f};
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
    static const double q[] = {0.080362830673391359166,
                               0.028927044988338250322,
                               0.050490927343170297784,
                               0.052274737577654313479,
                               0.058853092776241545906,
                               0.066664997601925853657,
                               0.076923141106323210244,
                               0.090909089260906135886,
                               0.11111111113820865993,
                               0.14285714285687825765,
                               0.2000000000000013402,
                               0.33333333333333333067,
                               1.0};
#else
    /* as above, 1.0e-10 relative */
    static const float q[] = {0.12196954042011512453f, 0.10699280253339271618f, 0.14310103704218619165f,
                              0.19999355623431165808f, 0.3333333951321698478f,  0.99999999990450300652f};
#endif
    vec s = e / (vset1(2) + e), t = s * s, p = vset1(q[0]);
    for (unsigned i = 1; i < sizeof q / sizeof *q; i++)
        p = vfma(p, t, vset1(q[i]));
    return vset1(2) * s * p;
}

/* log(x) of normal numbers x > 0: x = 2^n (1 + e), log = n log 2 + 2 atanh(e / (2 + e)), 1 + e in [1/sqrt 2, sqrt
 * 2). */
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
