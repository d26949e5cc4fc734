/* Bernoulli: raw is the logit z. With s = z for x = 0 and -z for x = 1,
 * log p = -softplus(s) and d log p / dz = (2 x - 1) sigmoid(s). */
#ifndef FASTAR_CONDITIONALS_BERNOULLI_H
#define FASTAR_CONDITIONALS_BERNOULLI_H

#include "common.h"

/* m <= VL features, P outputs apart. */
INLINE void bernoulli_lanes(int with_gradient, int m, int64_t P, const real *raw, const real *codes, real scale,
                            real *logp, real *graw) {
    const vec sign = vset1(1) - vset1(2) * load(codes, m);
    vec p;
    store(logp, -softplus(sign * strided(raw, P, m), &p), m);
    if (with_gradient)
        store_strided(graw, P, vset1(-scale) * sign * p, m);
}

/* A function of its own: among the loops of all kinds, Clang has no registers for the constants of this one. */
__attribute__((noinline)) static void bernoulli_row(int with_gradient, int64_t count, int64_t P, const feature_spec *f,
                                                    const real *raw, const real *codes, real scale, real *logp,
                                                    real *graw) {
    (void)f;
    int64_t d = 0;
    for (; P == 1 && d + VL <= count; d += VL)
        bernoulli_lanes(with_gradient, VL, 1, raw + d, codes + d, scale, logp + d, with_gradient ? graw + d : NULL);
    for (; d < count; d += VL)
        bernoulli_lanes(with_gradient, lanes(count - d), P, raw + d * P, codes + d, scale, logp + d,
                        with_gradient ? graw + d * P : NULL);
}

INLINE void draw_bits(int64_t n, vec inverse, const real *raw, int64_t raw_stride, const real *noise,
                      int64_t noise_stride, real *codes) {
#pragma GCC unroll 4
    for (int64_t r = 0; r < n; r += VL) {
        int m = lanes(n - r);
        vec p = vsigmoid(strided(raw + r * raw_stride, raw_stride, m) * inverse);
        vec uniform = strided(noise + r * noise_stride, noise_stride, m);
        store(codes + r, vselect(uniform < p, vset1(1), vset1(0)), m);
    }
}

/* Bits of which the less probable value, if top_p and top_k leave it out, is not drawn. */
static void draw_cut_bits(int64_t n, const conditional_spec *spec, const real *raw, int64_t raw_stride,
                          const real *noise, int64_t noise_stride, real *codes) {
    for (int64_t r = 0; r < n; r++) {
        const double z = (double)raw[r * raw_stride], p = 1 / (1 + exp(-fabs(z) / spec->temperature));
        const int alone = z != 0 && (spec->top_k == 1 || !(p < spec->top_p));
        codes[r] = alone ? (real)(z > 0) : (real)((double)noise[r * noise_stride] < (z > 0 ? p : 1 - p));
    }
}

static void bernoulli_draw(int64_t n, const feature_spec *f, double temperature, real *raw, int64_t raw_stride,
                           const real *noise, int64_t noise_stride, real *codes) {
    (void)f;
    const vec inverse = vset1(inv_temperature(temperature));
    if (raw_stride == 1 && noise_stride == 1)
        draw_bits(n, inverse, raw, 1, noise, 1, codes);
    else if (raw_stride == 1)
        draw_bits(n, inverse, raw, 1, noise, noise_stride, codes);
    else
        draw_bits(n, inverse, raw, raw_stride, noise, noise_stride, codes);
}

static void bernoulli_mode(int64_t n, const real *raw, int64_t raw_stride, const real *bounds, int64_t bounds_stride,
                           real *codes) {
    for (int64_t r = 0; r < n; r++)
        codes[r] = inside(raw[r * raw_stride] > 0, bounds + r * bounds_stride);
}

#endif
