/* Code that kinds share. A kind's row function takes `count` features of one row, P outputs apart: logp (count,),
 * and with a gradient graw (count, P) = scale * d logp / d raw. */
#ifndef FASTAR_CONDITIONALS_COMMON_H
#define FASTAR_CONDITIONALS_COMMON_H

#include "../conditionals.h"
#include "../vec_math.h"
#include "../vec_shuffles.h"

#include <math.h>

/* Stands in for numbers whose square, or product with a precision, would overflow. */
#if FASTAR_DOUBLE
#define HUGE_NUMBER ((real)1e150)
#define TINY_NUMBER ((real)1e-300)
#else
#define HUGE_NUMBER ((real)1e18)
#define TINY_NUMBER ((real)1e-37)
#endif
/* A code of an integer, in size at most: sinh of it, and of what is added to it, is finite. */
#define FARTHEST 80.0

INLINE int lanes(int64_t left) { return left < VL ? (int)left : VL; }

/* The nearest number to x from bounds[0] to bounds[1]. */
INLINE real inside(real x, const real *bounds) { return x < bounds[0] ? bounds[0] : x > bounds[1] ? bounds[1] : x; }

/* m <= VL numbers, `stride` apart. */
INLINE vec strided(const real *from, int64_t stride, int m) {
    if (stride == 1)
        return load(from, m);
    vec v = {0};
    for (int i = 0; i < m; i++)
        v[i] = from[i * stride];
    return v;
}

INLINE void store_strided(real *to, int64_t stride, vec v, int m) {
    if (stride == 1)
        store(to, v, m);
    else
        for (int i = 0; i < m; i++)
            to[i * stride] = v[i];
}

INLINE real log_of(real x) { return sizeof(real) == 4 ? (real)logf((float)x) : (real)log((double)x); }

INLINE vec infinite_to_finite(vec x) {
    const real top = sizeof(real) == 4 ? (real)3e38 : (real)1.7e308;
    return vclamp(x, -top, top);
}

/* log(1 + exp(x)), and its derivative, the sigmoid of x. */
INLINE vec softplus(vec x, vec *sigmoid) {
    vec e = vexp(-vabs(x)), r = vreciprocal(vset1(1) + e);
    *sigmoid = vselect(x < vset1(0), e * r, r);
    return vmax(x, vset1(0)) + vlog1p(e);
}

/* v = exp(s) + floor: its log, its inverse, and the derivative of its log by s. */
typedef struct {
    vec log, inverse, slope;
} spread;

INLINE spread spread_of(vec s, vec floor) {
    vec e = vexp(s), v = e + floor, inverse = vset1(1) / v;
    /* vexp stops where numbers end; what is far above any floor is known without it */
    return (spread){vselect(s > vset1(EXP_MAX), s, vlog(v)), inverse, e * inverse};
}

INLINE real largest_lane(vec v) {
    for (int s = 1; s < VL; s *= 2)
        v = vmax(v, vswap(v, s));
    return v[0];
}

INLINE real largest(int64_t K, const real *z) {
    vec top = vset1(z[0]);
    for (int64_t k = 0; k < K; k += VL)
        top = vmax(top, vload_or(z + k, lanes(K - k), z[0]));
    return largest_lane(top);
}

/* The first m lanes of x, the others zero. */
INLINE vec first_lanes(vec x, int m) { return (vec)((ivec)x & (vlanes() < viset1(m))); }

/* Numbers whose logarithms log-densities have yet to lose: those of a vector of them take as long as one. */
typedef struct {
    int n;
    real of[VL];
    real *from[VL];
} pending_logs;

INLINE void take_logs(pending_logs *pending) {
    if (!pending->n)
        return;
    const vec x = vload_or(pending->of, pending->n, 1), log = vselect(x == x, vlog(x), x); /* NaN stays */
    for (int i = 0; i < pending->n; i++)
        *pending->from[i] -= log[i];
    pending->n = 0;
}

/* *from will lose log x, of a normal number x > 0 or NaN. */
INLINE void take_log(pending_logs *pending, real x, real *from) {
    pending->of[pending->n] = x;
    pending->from[pending->n++] = from;
    if (pending->n == VL)
        take_logs(pending);
}

/* e = exp((z - largest) * inverse), which may overwrite z; returns the sum. */
INLINE real exponentials(int64_t K, const real *z, real inverse, real *e) {
    vec top = vset1(largest(K, z)), sum = vset1(0);
    for (int64_t k = 0; k < K; k += VL) {
        int m = lanes(K - k);
        vec x = first_lanes(vexp((vload_part(z + k, m) - top) * vset1(inverse)), m);
        vstore_part(e + k, x, m);
        sum += x;
    }
    return vsum(sum);
}

/* 1 / temperature, finite. */
INLINE real inv_temperature(double temperature) { return (real)fmin(1 / temperature, 1e30); }

/* Whether levels (of K, in proportion to z) above this height are fewer than top_k and have less than top_p of the
 * mass. */
INLINE int is_kept(int64_t K, const real *z, real height, double top_p, int64_t top_k, double sum) {
    int64_t count = 0;
    double mass = 0;
    for (int64_t k = 0; k < K; k++)
        if (z[k] > height) {
            count++;
            mass += z[k];
        }
    return mass < top_p * sum && (top_k <= 0 || count < top_k);
}

/* Sets to zero which of K levels, in proportion to z, are not among the most probable ones; returns the sum of z. */
INLINE double cut_levels(int64_t K, real *z, double top_p, int64_t top_k) {
    double sum = 0;
    for (int64_t k = 0; k < K; k++)
        sum += z[k];
    real low = 0, high = largest(K, z);
    if (!is_kept(K, z, low, top_p, top_k, sum))
        for (real middle = high / 2; low < middle && middle < high; middle = low + (high - low) / 2)
            *(is_kept(K, z, middle, top_p, top_k, sum) ? &high : &low) = middle;
    else
        high = 0;
    sum = 0;
    for (int64_t k = 0; k < K; k++) {
        z[k] = z[k] < high ? 0 : z[k];
        sum += z[k];
    }
    return sum;
}

/* Logits z (K,) become weights exp((z - top) * inverse), whose sum is returned. The last `tail` are *e; where `keep`,
 * the others are weight (K - tail,), which may be z. */
INLINE real level_weights(int keep, int64_t K, int tail, const real *z, real top, real inverse, real *weight, vec *e) {
    vec sum = vset1(0);
    for (int64_t k = 0; k < K - tail; k += VL) {
        const vec own = vexp((vload(z + k) - vset1(top)) * vset1(inverse));
        if (keep)
            vstore(weight + k, own);
        sum += own;
    }
    *e = first_lanes(vexp((vload_part(z + K - tail, tail) - vset1(top)) * vset1(inverse)), tail);
    return vsum(sum + *e);
}

/* The number of a level drawn from the softmax of z[0 .. K - 1], which is overwritten. */
INLINE int64_t draw_level(int64_t K, real *z, double temperature, real uniform) {
    const int64_t whole = (K - 1) / VL * VL;
    int m = (int)(K - whole);
    vec e;
    real left = uniform * level_weights(1, K, m, z, largest(K, z), inv_temperature(temperature), z, &e);
    int64_t k = 0;
    for (; k < whole; k += VL) {
        const vec own = vload(z + k);
        const real share = vsum(own);
        if (left < share) {
            e = own;
            m = VL;
            break;
        }
        left -= share;
    }
    vprefix_sums(&e);
    const int passed = (int)vsum(vselect(e <= vset1(left), vset1(1), vset1(0)));
    return k + (passed < m ? passed : m - 1);
}

#endif
