/* Counts x = code * unit: Poisson, raw = (log mean), and negative binomial, raw = (log mean, log r) of
 *     p(x) = Gamma(x + r) / (Gamma(r) x!) (r / (r + mean))^r (mean / (r + mean))^x.
 * In double precision, a feature at a time: Gamma's logarithm outweighs what lanes would gain. */
#ifndef FASTAR_CONDITIONALS_COUNTS_H
#define FASTAR_CONDITIONALS_COUNTS_H

#include "common.h"

/* Beyond these a mean or an r is as good as the limit's; gradients are those at the limit. */
#define LOG_MEAN_LIMIT 25.0
#define LOG_R_LIMIT 15.0

/* From 10 on, Stirling's series is exact to 1e-14. */
#define STIRLING_FROM 10.0

INLINE double log_gamma(double x) {
    double product = 1;
    for (; x < STIRLING_FROM; x++)
        product *= x;
    const double y = 1 / x, y2 = y * y;
    return (x - 0.5) * log(x) - x + 0.91893853320467274178 +
           y * (1. / 12 - y2 * (1. / 360 - y2 * (1. / 1260 - y2 * (1. / 1680 - y2 * (1. / 1188))))) - log(product);
}

/* The derivative of log_gamma. */
INLINE double digamma(double x) {
    double sum = 0;
    for (; x < STIRLING_FROM; x++)
        sum += 1 / x;
    const double y = 1 / x, y2 = y * y;
    return log(x) - 0.5 * y - y2 * (1. / 12 - y2 * (1. / 120 - y2 * (1. / 252 - y2 * (1. / 240 - y2 * (1. / 132))))) -
           sum;
}

/* NaN goes through. */
INLINE double limited_exp(double x, double limit) { return exp(x < -limit ? -limit : x > limit ? limit : x); }

/* A count below zero has no probability: log p and gradients (P,) of it. */
INLINE int is_no_count(int with_gradient, int64_t P, double x, real *logp, real *g) {
    if (!(x < 0))
        return 0;
    *logp = -(real)INFINITY;
    if (with_gradient)
        memset(g, 0, P * sizeof(real));
    return 1;
}

INLINE void poisson_row(int with_gradient, int64_t count, int64_t P, const feature_spec *f, const real *raw,
                        const real *codes, real scale, real *logp, real *graw) {
    for (int64_t d = 0; d < count; d++) {
        const double x = rint((double)codes[d] * f[d].unit);
        if (is_no_count(with_gradient, P, x, logp + d, with_gradient ? graw + d * P : NULL))
            continue;
        const double mean = limited_exp(raw[d * P], LOG_MEAN_LIMIT);
        logp[d] = (real)(x * log(mean) - mean - log_gamma(x + 1));
        if (with_gradient)
            graw[d * P] = scale * (real)(x - mean);
    }
    if (with_gradient)
        clear_unused(count, 1, P, graw);
}

INLINE void negative_binomial_row(int with_gradient, int64_t count, int64_t P, const feature_spec *f, const real *raw,
                                  const real *codes, real scale, real *logp, real *graw) {
    for (int64_t d = 0; d < count; d++) {
        const double x = rint((double)codes[d] * f[d].unit);
        if (is_no_count(with_gradient, P, x, logp + d, with_gradient ? graw + d * P : NULL))
            continue;
        const double mean = limited_exp(raw[d * P], LOG_MEAN_LIMIT), r = limited_exp(raw[d * P + 1], LOG_R_LIMIT);
        const double log_failure = -log1p(mean / r), log_success = -log1p(r / mean);
        logp[d] = (real)(log_gamma(x + r) - log_gamma(r) - log_gamma(x + 1) + r * log_failure + x * log_success);
        if (with_gradient) {
            graw[d * P] = scale * (real)(r * (x - mean) / (r + mean));
            graw[d * P + 1] = scale * (real)(r * (digamma(x + r) - digamma(r) + log_failure + (mean - x) / (r + mean)));
        }
    }
    if (with_gradient)
        clear_unused(count, 2, P, graw);
}

/* The largest count that is drawn, LARGEST_COUNT of conditionals/_integer.py. */
#define LARGEST_COUNT 16777216.0
/* Counts this far from the mode are drawn one by one, those beyond in cells of a part of their distance. */
#define ONE_BY_ONE 1024.0
#define CELLS 512.0

/* p(k + 1) / p(k) = (k * slope + start) / (k + 1) of either kind; both rise to `mode` and then fall. */
typedef struct {
    double slope, start, mode;
    double rate, r; /* p(k) is as rate^k / k! for r = 0, or as Gamma(k + r) rate^k / k! */
} count_law;

INLINE count_law law_of(int kind, const real *raw) {
    const double mean = limited_exp(raw[0], LOG_MEAN_LIMIT);
    if (kind == FASTAR_POISSON)
        return (count_law){0, mean, fmin(floor(mean), LARGEST_COUNT), mean, 0};
    const double r = limited_exp(raw[1], LOG_R_LIMIT), success = mean / (r + mean);
    const double mode = r > 1 ? fmin(floor((r - 1) / r * mean), LARGEST_COUNT) : 0 * mean;
    return (count_law){success, r * success, mode, success, r};
}

/* log p(k), but for a constant. */
INLINE double log_mass(count_law law, double k) {
    return k * log(law.rate) - log_gamma(k + 1) + (law.r > 0 ? log_gamma(k + law.r) : 0);
}

INLINE double raised(double ratio, double power) { return power == 1 ? ratio : pow(ratio, power); }

/* Walk from the mode, up and then down, over counts that carry all of the mass but 1e-16 of it. Returns the sum of
 * p(k) / p(mode), or the count at which this sum passes `target` if it is positive. */
INLINE double walk(count_law law, double power, double target) {
    double sum = 1;
    if (target > 0 && sum > target)
        return law.mode;
    for (int up = 1; up >= -1; up -= 2) {
        const double end = up > 0 ? LARGEST_COUNT : 0;
        double weight = 1, k = law.mode;
        while (k != end) {
            const double distance = fabs(k - law.mode);
            const int one = distance < ONE_BY_ONE;
            const double cell = one ? 1 : fmin(floor(distance / CELLS), fabs(end - k));
            if (one) {
                const double below = up > 0 ? k : k - 1, ratio = (below * law.slope + law.start) / (below + 1);
                weight *= raised(up > 0 ? ratio : 1 / ratio, power);
            } else /* as high as in its middle */
                weight = exp(power * (log_mass(law, k + up * (cell + 1) / 2) - log_mass(law, law.mode)));
            const double before = sum;
            sum += weight * cell;
            if (target > 0 && sum > target)
                return k + up * (1 + fmin(floor((target - before) / weight), cell - 1));
            k += up * cell;
            if (!(weight * fmax(distance, 1) > 1e-17 * sum)) /* so that NaN ends it */
                break;
        }
    }
    return target > 0 ? law.mode : sum;
}

INLINE void count_draw(int kind, int64_t n, const feature_spec *f, double temperature, const real *raw,
                       int64_t raw_stride, const real *noise, int64_t noise_stride, real *codes) {
    const double power = fmin(1 / temperature, 1e30);
    for (int64_t r = 0; r < n; r++) {
        const count_law law = law_of(kind, raw + r * raw_stride);
        const double target = fmax(noise[r * noise_stride] * walk(law, power, 0), 1e-300);
        codes[r] = (real)(walk(law, power, target) / f->unit);
    }
}

/* Probabilities rise to the mode and then fall. */
INLINE void count_mode(int kind, int64_t n, const feature_spec *f, const real *raw, int64_t raw_stride,
                       const real *bounds, int64_t bounds_stride, real *codes) {
    for (int64_t r = 0; r < n; r++)
        codes[r] = inside((real)(law_of(kind, raw + r * raw_stride).mode / f->unit), bounds + r * bounds_stride);
}

#endif
