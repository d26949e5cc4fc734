/* Densities with a location mu and a log scale s: Gaussian, Laplace, and the logistic one over ordinal levels or
 * integers.
 * Alone, raw = (mu, s); in a mixture of K, raw = (z (K,), mu (K,), s (K,)) and
 * log p = log sum exp(z + component's log p) - log sum exp z. */
#ifndef FASTAR_CONDITIONALS_LOCATION_SCALE_H
#define FASTAR_CONDITIONALS_LOCATION_SCALE_H

#include "common.h"

typedef struct {
    vec logp, by_mean, by_s;
} component;

/* exp(s) + floor is the variance. */
INLINE component gaussian_component(vec x, vec mean, vec s, vec floor) {
    const real half_log_2pi = (real)0.91893853320467274178;
    spread variance = spread_of(s, floor);
    vec deviation = vclamp(x - mean, -HUGE_NUMBER, HUGE_NUMBER), weighted = deviation * variance.inverse;
    vec square = infinite_to_finite(weighted * deviation);
    return (component){
        vset1((real)-0.5) * (variance.log + square) - vset1(half_log_2pi),
        weighted,
        vset1((real)0.5) * (square - vset1(1)) * variance.slope,
    };
}

/* exp(s) + floor is the mean absolute deviation. */
INLINE component laplace_component(vec x, vec mean, vec s, vec floor) {
    const real log_2 = (real)0.69314718055994530942;
    spread scale = spread_of(s, floor);
    vec deviation = x - mean, distance = infinite_to_finite(vabs(deviation) * scale.inverse);
    vec sign = vselect(deviation < vset1(0), vset1(-1), vselect(deviation > vset1(0), vset1(1), deviation));
    return (component){
        -vset1(log_2) - scale.log - distance,
        sign * scale.inverse,
        (distance - vset1(1)) * scale.slope,
    };
}

/* The codes that count for a level: from `bottom` to `top`; all below for the lowest, all above for the highest. */
typedef struct {
    real bottom, top, width;
    int lowest, highest;
} cell;

/* asinh(z) and sinh(y) to the last places of 1, in a fifth of the time that the library takes. */
INLINE double near_asinh(double z) { return copysign(log(fabs(z) + sqrt(z * z + 1)), z); }
INLINE double near_sinh(double y) {
    const double e = exp(y);
    return (e - 1 / e) / 2;
}

/* Ordinal levels lie as far apart everywhere; the code of an integer is asinh(z), z in steps of 2 unit. */
INLINE cell cell_of(int kind, real code, const feature_spec *f) {
    if (kind == FASTAR_INTEGER) {
        const double z = near_sinh(fmin(fmax((double)code, -FARTHEST), FARTHEST)), unit = f->unit;
        const double bottom = near_asinh(z - unit), top = near_asinh(z + unit), slope = 1 / (1 + z * z);
        const double width = unit * unit * slope < 1e-9 ? 2 * unit * sqrt(slope) : top - bottom;
        return (cell){(real)bottom, (real)top, (real)width, z - unit<f->low, z + unit> f->high};
    }
    const real unit = (real)f->unit;
    return (cell){code - unit, code + unit, 2 * unit, code - unit<(real)f->low, code + unit>(real) f->high};
}

/* The mass of a level under a logistic density of scale exp(s) + floor. With a, b the standardised ends and w = a - b,
 *     log(sigmoid(a) - sigmoid(b)) = -softplus(-a) - softplus(b) + log(1 - exp(-w)).
 * (Salimans, Karpathy, Chen, Kingma, "PixelCNN++", ICLR 2017.) */
INLINE component logistic_component(cell level, vec mean, vec s, vec floor) {
    const spread scale = spread_of(s, floor);
    const vec none = vset1(0);
    vec a = (vset1(level.top) - mean) * scale.inverse, b = (vset1(level.bottom) - mean) * scale.inverse;
    vec above_a, below_b;
    vec log_a = -softplus(-a, &above_a), log_b = -softplus(b, &below_b);
    if (level.highest)
        log_a = above_a = none;
    if (level.lowest)
        log_b = below_b = none;
    component c = {
        infinite_to_finite(log_a + log_b),
        (below_b - above_a) * scale.inverse,
        infinite_to_finite(b * below_b - a * above_a) * scale.slope,
    };
    if (!level.lowest && !level.highest) {
        vec w = vset1(level.width) * scale.inverse, e = vclamp(vexpm1(-w), -1, -TINY_NUMBER);
        c.logp += vlog(-e);
        c.by_s += scale.slope * w * (vset1(1) + e) / e; /* -w / (exp(w) - 1) */
    }
    return c;
}

INLINE int has_levels(int kind) { return kind == FASTAR_LOGISTIC_MIXTURE || kind == FASTAR_INTEGER; }

INLINE component component_of(int kind, cell level, real code, vec mean, vec s, const feature_spec *f) {
    const vec floor = vset1((real)f->floor);
    return kind == FASTAR_LAPLACE_MIXTURE ? laplace_component(vset1(code), mean, s, floor)
         : has_levels(kind)               ? logistic_component(level, mean, s, floor)
                                          : gaussian_component(vset1(code), mean, s, floor);
}

/* Features of one density each, which wait until there is a vector of them: wherever they stand in their rows, they
 * take as long as one. */
typedef struct {
    int n;
    real x[VL], mean[VL], s[VL], floor[VL], scale[VL];
    real *logp[VL], *graw[VL];
} pending_singles;

INLINE void take_singles(int kind, int with_gradient, pending_singles *pending) {
    const int m = pending->n;
    if (!m)
        return;
    const vec x = vload_part(pending->x, m), mean = vload_part(pending->mean, m);
    const vec s = vload_part(pending->s, m), floor = vload_part(pending->floor, m);
    const component c =
        kind == FASTAR_LAPLACE ? laplace_component(x, mean, s, floor) : gaussian_component(x, mean, s, floor);
    for (int i = 0; i < m; i++)
        *pending->logp[i] = c.logp[i];
    if (with_gradient) {
        const vec scale = vload_part(pending->scale, m), by_mean = scale * c.by_mean, by_s = scale * c.by_s;
        for (int i = 0; i < m; i++) {
            pending->graw[i][0] = by_mean[i];
            pending->graw[i][1] = by_s[i];
        }
    }
    pending->n = 0;
}

INLINE void single_row(int kind, int with_gradient, int64_t count, int64_t P, const feature_spec *f, const real *raw,
                       const real *codes, real scale, real *logp, pending_singles *pending, real *graw) {
    for (int64_t d = 0; d < count; d++) {
        const int i = pending->n++;
        pending->x[i] = codes[d];
        pending->mean[i] = raw[d * P];
        pending->s[i] = raw[d * P + 1];
        pending->floor[i] = (real)f[d].floor;
        pending->logp[i] = logp + d;
        if (with_gradient) {
            pending->scale[i] = scale;
            pending->graw[i] = graw + d * P;
        }
        if (pending->n == VL)
            take_singles(kind, with_gradient, pending);
    }
}

/* So that a component without a share has no gradient, be its density's however large. */
INLINE vec exp_or_zero(vec x) { return vselect(x < vset1(EXP_MIN), vset1(0), vexp(x)); }

/* joint (K,) becomes exp(joint - largest), its sum *sum; returns the largest, or 0 where all are -infinity. Lanes
 * beyond K hold zeros. */
INLINE real exponentiate(int64_t K, vec *joint, real *sum) {
    vec top = joint[0], total = vset1(0);
    for (int64_t i = 1; i * VL < K; i++)
        top = vmax(top, joint[i]);
    const real most = largest_lane(top), finite = most == -(real)INFINITY ? 0 : most;
    for (int64_t i = 0; i * VL < K; i++) {
        joint[i] = exp_or_zero(joint[i] - vset1(finite));
        total += joint[i];
    }
    *sum = vsum(total);
    return finite;
}

/* One feature's mixture, a component in each lane. */
INLINE void mixture_feature(int kind, int with_gradient, const feature_spec *f, const real *z, real code, real scale,
                            real *logp, pending_logs *logs, real *g) {
    enum { VECTORS = (FASTAR_COMPONENTS + VL - 1) / VL };
    const int64_t K = f->count;
    const cell level = has_levels(kind) ? cell_of(kind, code, f) : (cell){0};
    vec joint[VECTORS], weight[VECTORS], by_mean[VECTORS], by_s[VECTORS];
    for (int64_t i = 0; i * VL < K; i++) {
        const int64_t k = i * VL;
        const int m = lanes(K - k);
        component c = component_of(kind, level, code, vload_part(z + K + k, m), vload_part(z + 2 * K + k, m), f);
        weight[i] = vload_or(z + k, m, -(real)INFINITY);
        joint[i] = weight[i] + c.logp;
        by_mean[i] = c.by_mean;
        by_s[i] = c.by_s;
    }
    real sum, sum_weight;
    *logp = exponentiate(K, joint, &sum);
    *logp -= exponentiate(K, weight, &sum_weight);
    if (sum == 0)
        *logp = -(real)INFINITY;
    else
        take_log(logs, sum_weight / sum, logp);
    if (!with_gradient)
        return;
    for (int64_t i = 0; i * VL < K; i++) {
        const int64_t k = i * VL;
        const int m = lanes(K - k);
        vec share = joint[i] * vset1(scale / sum);
        vstore_part(g + k, share - weight[i] * vset1(scale / sum_weight), m);
        vstore_part(g + K + k, share * by_mean[i], m);
        vstore_part(g + 2 * K + k, share * by_s[i], m);
    }
}

INLINE void mixture_row(int kind, int with_gradient, int64_t count, int64_t P, const feature_spec *f, const real *raw,
                        const real *codes, real scale, real *logp, pending_logs *logs, real *graw) {
    for (int64_t d = 0; d < count; d++)
        mixture_feature(kind, with_gradient, f + d, raw + d * P, codes[d], scale, logp + d, logs,
                        with_gradient ? graw + d * P : NULL);
}

INLINE real uniform_inside(real uniform) {
    const real tiny = sizeof(real) == 4 ? (real)0x1p-25 : (real)0x1p-54; /* half of the generator's step */
    return uniform + tiny < 1 ? uniform + tiny : uniform;
}

/* x, or what is as far as deviations count: draws of parameters that make no sense are finite, too. */
INLINE real no_larger(real x) { return x < -HUGE_NUMBER ? -HUGE_NUMBER : x > HUGE_NUMBER ? HUGE_NUMBER : x; }

/* A draw around mu: by a standard normal for the Gaussian, by a uniform for the others. */
INLINE real located_draw(int kind, real mean, real s, real noise, const feature_spec *f, double temperature) {
    /* vexp keeps the scale finite where exp(s) would not be */
    const double scale = (double)vexp(vset1(s))[0] + f->floor;
    if (kind == FASTAR_GAUSSIAN)
        return no_larger(mean + noise * (real)sqrt(scale * temperature));
    const double u = uniform_inside(noise);
    if (kind == FASTAR_LAPLACE)
        return no_larger(mean + (real)(scale * temperature * (u < 0.5 ? log(2 * u) : -log(2 - 2 * u))));
    const double y = (double)mean + scale * temperature * log(u / (1 - u)), step = 2 * f->unit;
    if (kind == FASTAR_INTEGER) {
        const double z = sinh(fmin(fmax(y, -FARTHEST), FARTHEST));
        return (real)asinh(fmin(fmax(step * rint(z / step), f->low), f->high));
    }
    return (real)(f->low + step * fmin(fmax(rint((y - f->low) / step), 0), rint((f->high - f->low) / step)));
}

INLINE void single_draw(int kind, int64_t n, const feature_spec *f, double temperature, real *raw, int64_t raw_stride,
                        const real *noise, int64_t noise_stride, real *codes) {
    for (int64_t r = 0; r < n; r++) {
        const real *own = raw + r * raw_stride;
        codes[r] = located_draw(kind, own[0], own[1], noise[r * noise_stride], f, temperature);
    }
}

INLINE void mixture_draw(int kind, int64_t n, const feature_spec *f, double temperature, real *raw, int64_t raw_stride,
                         const real *noise, int64_t noise_stride, real *codes) {
    for (int64_t r = 0; r < n; r++) {
        const int64_t K = f->count;
        real *own = raw + r * raw_stride;
        int64_t k = draw_level(K, own, temperature, noise[r * noise_stride]);
        codes[r] = located_draw(kind, own[K + k], own[2 * K + k], noise[r * noise_stride + 1], f, temperature);
    }
}

INLINE void single_mode(int64_t n, const real *raw, int64_t raw_stride, const real *bounds, int64_t bounds_stride,
                        real *codes) {
    for (int64_t r = 0; r < n; r++)
        codes[r] = inside(raw[r * raw_stride], bounds + r * bounds_stride);
}

#endif
