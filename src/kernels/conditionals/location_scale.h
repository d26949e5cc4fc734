/* Densities with a location mu and a log scale s: Gaussian, Laplace, and the logistic one over ordinal levels.
 * Alone, raw = (mu, s); in a mixture of K, raw = (z (K,), mu (K,), s (K,)) and
 * log p = log sum exp(z + component's log p) - log sum exp z. */
#include "common.h"

typedef struct {
    vec logp, by_mean, by_s;
} component;

/* exp(s) + floor is the variance. */
INLINE component gaussian_component(vec x, vec mean, vec s, real log_floor) {
    const real half_log_2pi = (real)0.91893853320467274178;
    vec slope, log_variance = log_above(s, log_floor, &slope), precision = vexp(-log_variance);
    vec deviation = vclamp(x - mean, -HUGE_NUMBER, HUGE_NUMBER), weighted = deviation * precision;
    vec square = infinite_to_finite(weighted * deviation);
    return (component){
        vset1((real)-0.5) * (log_variance + square) - vset1(half_log_2pi),
        weighted,
        vset1((real)0.5) * (square - vset1(1)) * slope,
    };
}

/* exp(s) + floor is the mean absolute deviation. */
INLINE component laplace_component(vec x, vec mean, vec s, real log_floor) {
    const real log_2 = (real)0.69314718055994530942;
    vec slope, log_scale = log_above(s, log_floor, &slope), inverse = vexp(-log_scale), deviation = x - mean;
    vec sign = vselect(deviation < vset1(0), vset1(-1), vselect(deviation > vset1(0), vset1(1), vset1(0)));
    vec distance = infinite_to_finite(vabs(deviation) * inverse);
    return (component){-vset1(log_2) - log_scale - distance, sign * inverse, (distance - vset1(1)) * slope};
}

/* The mass of [x - unit, x + unit] under a logistic density of scale exp(s) + floor; to minus infinity from the
 * lowest code, -1, and to infinity from the highest, 1. With a, b the standardised ends and w = a - b,
 *     log(sigmoid(a) - sigmoid(b)) = -softplus(-a) - softplus(b) + log(1 - exp(-w)).
 * (Salimans, Karpathy, Chen, Kingma, "PixelCNN++", ICLR 2017.) */
INLINE component logistic_component(real code, vec mean, vec s, real log_floor, real unit) {
    vec slope, inverse = vexp(-log_above(s, log_floor, &slope)), none = vset1(0), above_a, below_b;
    vec a = (vset1(code + unit) - mean) * inverse, b = (vset1(code - unit) - mean) * inverse;
    vec log_a = -softplus(-a, &above_a), log_b = -softplus(b, &below_b);
    const int lowest = code - unit < -1, highest = code + unit > 1;
    if (highest)
        log_a = above_a = none;
    if (lowest)
        log_b = below_b = none;
    component c = {
        infinite_to_finite(log_a + log_b),
        (below_b - above_a) * inverse,
        infinite_to_finite(b * below_b - a * above_a) * slope,
    };
    if (!lowest && !highest) {
        vec w = vset1(2 * unit) * inverse, e = vclamp(vexpm1(-w), -1, -TINY_NUMBER);
        c.logp += vlog(-e);
        c.by_s += slope * w * (vset1(1) + e) / e; /* -w / (exp(w) - 1) */
    }
    return c;
}

INLINE component component_of(int kind, real code, vec mean, vec s, const feature_spec *f, real log_floor) {
    return kind == FASTAR_LAPLACE_MIXTURE    ? laplace_component(vset1(code), mean, s, log_floor)
           : kind == FASTAR_LOGISTIC_MIXTURE ? logistic_component(code, mean, s, log_floor, (real)f->unit)
                                             : gaussian_component(vset1(code), mean, s, log_floor);
}

/* One density a feature, a feature in each lane. */
INLINE void single_row(int kind, int with_gradient, int64_t count, int64_t P, const feature_spec *f, const real *raw,
                       const real *codes, real scale, real *logp, real *graw) {
    const real log_floor = (real)log(f->floor); /* of all features of a stretch */
    for (int64_t d = 0; d < count; d += VL) {
        int m = lanes(count - d);
        vec x = vload_part(codes + d, m), mean = strided(raw + d * P, P, m), s = strided(raw + d * P + 1, P, m);
        component c = kind == FASTAR_LAPLACE ? laplace_component(x, mean, s, log_floor)
                                             : gaussian_component(x, mean, s, log_floor);
        vstore_part(logp + d, c.logp, m);
        if (with_gradient) {
            store_strided(graw + d * P, P, vset1(scale) * c.by_mean, m);
            store_strided(graw + d * P + 1, P, vset1(scale) * c.by_s, m);
        }
    }
    if (with_gradient)
        clear_unused(count, 2, P, graw);
}

/* So that a component without a share has no gradient, be its density's however large. */
INLINE vec exp_or_zero(vec x) { return vselect(x < vset1(EXP_MIN), vset1(0), vexp(x)); }

INLINE real finite_largest(int64_t K, const real *z) {
    real top = largest(K, z);
    return top == -(real)INFINITY ? 0 : top;
}

/* One feature's mixture, a component in each lane. */
INLINE void mixture_feature(int kind, int with_gradient, int64_t P, const feature_spec *f, const real *z, real code,
                            real scale, real log_floor, real *logp, real *g) {
    const int64_t K = f->count;
    const real *mean = z + K, *s = z + 2 * K;
    real joint[FASTAR_COMPONENTS + VL], by_mean[FASTAR_COMPONENTS + VL], by_s[FASTAR_COMPONENTS + VL];
    for (int64_t k = 0; k < K; k += VL) {
        int m = lanes(K - k);
        component c = component_of(kind, code, vload_part(mean + k, m), vload_part(s + k, m), f, log_floor);
        vstore(joint + k, vload_part(z + k, m) + c.logp);
        if (with_gradient) {
            vstore(by_mean + k, c.by_mean);
            vstore(by_s + k, c.by_s);
        }
    }
    const vec top = vset1(finite_largest(K, joint)), top_z = vset1(largest(K, z));
    vec sum = vset1(0), sum_z = vset1(0);
    for (int64_t k = 0; k < K; k += VL) {
        int m = lanes(K - k);
        sum += first_lanes(vexp(vload(joint + k) - top), m);
        sum_z += first_lanes(vexp(vload_part(z + k, m) - top_z), m);
    }
    const real total = vsum(sum), total_z = vsum(sum_z);
    *logp = (top[0] + log_of(total)) - (top_z[0] + log_of(total_z));
    if (!with_gradient)
        return;
    for (int64_t k = 0; k < K; k += VL) {
        int m = lanes(K - k);
        vec share = exp_or_zero(vload(joint + k) - top) * vset1(scale / total);
        vec weight = vexp(vload_part(z + k, m) - top_z) * vset1(scale / total_z);
        vstore_part(g + k, share - weight, m);
        vstore_part(g + K + k, share * vload(by_mean + k), m);
        vstore_part(g + 2 * K + k, share * vload(by_s + k), m);
    }
    memset(g + 3 * K, 0, (P - 3 * K) * sizeof(real));
}

INLINE void mixture_row(int kind, int with_gradient, int64_t count, int64_t P, const feature_spec *f,
                        const real *raw, const real *codes, real scale, real *logp, real *graw) {
    const real log_floor = (real)log(f->floor);
    for (int64_t d = 0; d < count; d++)
        mixture_feature(kind, with_gradient, P, f + d, raw + d * P, codes[d], scale, log_floor, logp + d,
                        with_gradient ? graw + d * P : NULL);
}

INLINE real uniform_inside(real uniform) {
    const real tiny = sizeof(real) == 4 ? (real)0x1p-25 : (real)0x1p-54; /* half of the generator's step */
    return uniform + tiny < 1 ? uniform + tiny : uniform;
}

/* A draw around mu: by a standard normal for the Gaussian, by a uniform for the others. */
INLINE real located_draw(int kind, real mean, real s, real noise, const feature_spec *f, double temperature) {
    /* vexp keeps the draw finite where exp(s) would not be */
    const double scale = (double)vexp(vset1(s))[0] + f->floor;
    if (kind == FASTAR_GAUSSIAN)
        return mean + noise * (real)sqrt(scale * temperature);
    const double u = uniform_inside(noise);
    if (kind == FASTAR_LAPLACE)
        return mean + (real)(scale * temperature * (u < 0.5 ? log(2 * u) : -log(2 - 2 * u)));
    const double y = (double)mean + scale * temperature * log(u / (1 - u)), top = rint(1 / f->unit);
    return (real)(2 * f->unit * fmin(fmax(rint((y + 1) / (2 * f->unit)), 0), top) - 1);
}

INLINE void single_draw(int kind, int64_t n, const feature_spec *f, double temperature, real *raw,
                        int64_t raw_stride, const real *noise, int64_t noise_stride, real *codes) {
    for (int64_t r = 0; r < n; r++) {
        const real *own = raw + r * raw_stride;
        codes[r] = located_draw(kind, own[0], own[1], noise[r * noise_stride], f, temperature);
    }
}

INLINE void mixture_draw(int kind, int64_t n, const feature_spec *f, double temperature, real *raw,
                         int64_t raw_stride, const real *noise, int64_t noise_stride, real *codes) {
    for (int64_t r = 0; r < n; r++) {
        const int64_t K = f->count;
        real *own = raw + r * raw_stride;
        int64_t k = draw_level(K, own, temperature, noise[r * noise_stride]);
        codes[r] = located_draw(kind, own[K + k], own[2 * K + k], noise[r * noise_stride + 1], f, temperature);
    }
}
