/* Categorical: raw are the logits of the levels; log p = high + z_x - log sum exp z. What is no level has log p = low,
 * whatever raw is: exp(high) is the mass of all levels, exp(low) that of all else. With a parent, its code says how
 * many levels there are. */
#ifndef FASTAR_CONDITIONALS_CATEGORICAL_H
#define FASTAR_CONDITIONALS_CATEGORICAL_H

#include "common.h"

/* parent: the parent's code, if there is one. */
INLINE int64_t levels_of(const feature_spec *f, const real *parent) {
    return f->parent && *parent == (real)f->last ? f->last_count : f->count;
}

INLINE void categorical_feature(int with_gradient, const feature_spec *f, int64_t P, const real *z, const real *x_d,
                                real scale, real *logp, pending_logs *logs, real *g) {
    const real code = *x_d;
    const int64_t K = levels_of(f, x_d - f->parent);
    if (!(code >= 0 && code < (real)K)) {
        *logp = (real)f->low;
        if (with_gradient)
            memset(g, 0, P * sizeof(real));
        return;
    }
    const int64_t x = (int64_t)code, whole = (K - 1) / VL * VL;
    const int tail = (int)(K - whole);
    const real top = largest(K, z);
    vec e;
    const real total = level_weights(with_gradient, K, tail, z, top, 1, g, &e);
    *logp = (real)f->high + (z[x] - top);
    take_log(logs, total, logp);
    if (!with_gradient)
        return;
    const vec share = vset1(-scale / total), own = vset1(scale);
    for (int64_t k = 0; k < whole; k += VL) {
        const vec by_k = vload(g + k) * share;
        vstore(g + k, vselect(vlanes() == viset1((integer)(x - k)), by_k + own, by_k));
    }
    e *= share;
    vstore_part(g + whole, vselect(vlanes() == viset1((integer)(x - whole)), e + own, e), tail);
    if (K < P)
        memset(g + K, 0, (P - K) * sizeof(real));
}

INLINE void categorical_row(int with_gradient, int64_t count, int64_t P, const feature_spec *f, const real *raw,
                            const real *codes, real scale, real *logp, pending_logs *logs, real *graw) {
    for (int64_t d = 0; d < count; d++)
        categorical_feature(with_gradient, f + d, P, raw + d * P, codes + d, scale, logp + d, logs,
                            with_gradient ? graw + d * P : NULL);
}

/* logits (K, VL), codes (VL,) -> logp (VL,): a row in each lane. */
static void categorical_lanes(const feature_spec *f, const real *raw, const real *codes, real *logp) {
    const int64_t K = f->count;
    const vec x = vload(codes);
    vec top = vload(raw), sum = vset1(0), own = vset1(0);
    for (int64_t k = 1; k < K; k++)
        top = vmax(top, vload(raw + k * VL));
    for (int64_t k = 0; k < K; k++) {
        const vec z = vload(raw + k * VL);
        sum += vexp(z - top);
        own = vselect(x == vset1((real)k), z, own);
    }
    const vec known = vset1((real)f->high) + (own - top - vlog(sum));
    vstore(logp, vselect((x >= vset1(0)) & (x < vset1((real)K)), known, vset1((real)f->low)));
}

static void categorical_draw(int64_t n, const feature_spec *f, double temperature, real *raw, int64_t raw_stride,
                             const real *noise, int64_t noise_stride, earlier_codes earlier, real *codes) {
    for (int64_t r = 0; r < n; r++) {
        const real *parent = f->parent ? earlier.x + r * earlier.row - f->parent * earlier.feature : NULL;
        codes[r] = (real)draw_level(levels_of(f, parent), raw + r * raw_stride, temperature, noise[r * noise_stride]);
    }
}

/* As `categorical_draw`, from the most probable levels alone. */
static void draw_cut_levels(int64_t n, const feature_spec *f, const conditional_spec *spec, real *raw,
                            int64_t raw_stride, const real *noise, int64_t noise_stride, earlier_codes earlier,
                            real *codes) {
    for (int64_t r = 0; r < n; r++) {
        const real *parent = f->parent ? earlier.x + r * earlier.row - f->parent * earlier.feature : NULL;
        const int64_t K = levels_of(f, parent);
        real *z = raw + r * raw_stride;
        exponentials(K, z, inv_temperature(spec->temperature), z);
        double left = (double)noise[r * noise_stride] * cut_levels(K, z, spec->top_p, spec->top_k);
        int64_t level = 0;
        for (int64_t k = 0; k < K && left >= 0; k++)
            if (z[k] > 0) {
                level = k;
                left = left < z[k] ? -1 : left - z[k];
            }
        codes[r] = (real)level;
    }
}

/* A level whatever the bounds are. */
static void categorical_mode(int64_t n, const feature_spec *f, const real *raw, int64_t raw_stride, const real *bounds,
                             int64_t bounds_stride, real *codes) {
    const real last = (real)(f->count - 1);
    for (int64_t r = 0; r < n; r++) {
        const real *z = raw + r * raw_stride, *bound = bounds + r * bounds_stride;
        const real low = bound[0] > 0 ? bound[0] : 0, high = bound[1] < last ? bound[1] : last;
        int64_t best = (int64_t)(low < last ? low : last);
        for (int64_t k = best + 1; (real)k <= high; k++)
            best = z[k] > z[best] ? k : best;
        codes[r] = (real)best;
    }
}

#endif
