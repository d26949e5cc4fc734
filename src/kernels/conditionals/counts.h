/* Counts x = code * unit: Poisson, raw = (log mean), and negative binomial, raw = (log mean, log r) of
 *     p(x) = Gamma(x + r) / (Gamma(r) x!) (r / (r + mean))^r (mean / (r + mean))^x.
 * In double precision, a feature at a time: Gamma's logarithm outweighs what lanes would gain. */
#ifndef FASTAR_CONDITIONALS_COUNTS_H
#define FASTAR_CONDITIONALS_COUNTS_H

#include "common.h"

/* Beyond these a mean or an r is as good as the limit's; gradients are those at the limit. */
#define LOG_MEAN_LIMIT 25.0
#define LOG_R_LIMIT 15.0

#define HALF_LOG_2PI 0.91893853320467274178

/* From 10 on, the series below are exact to 1e-15; the probabilities of counts up to here are products. */
#define STIRLING_FROM 10.0

/* log Gamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2). */
INLINE double stirling_remainder(double x) {
    double product = 1, at = x;
    for (; at < STIRLING_FROM; at++)
        product *= at;
    const double y = 1 / at, y2 = y * y;
    const double tail =
        y * (1. / 12 - y2 * (1. / 360 - y2 * (1. / 1260 - y2 * (1. / 1680 - y2 * (1. / 1188 - y2 * (691. / 360360))))));
    return at == x ? tail : tail + (at - 0.5) * log(at) - (x - 0.5) * log(x) - (at - x) - log(product);
}

/* log x - 1 / (2 x) - digamma(x), from STIRLING_FROM on. */
INLINE double digamma_tail(double x) {
    const double y = 1 / x, y2 = y * y;
    return y2 * (1. / 12 - y2 * (1. / 120 - y2 * (1. / 252 - y2 * (1. / 240 - y2 * (1. / 132 - y2 * (691. / 32760))))));
}

/* The derivative of Gamma's logarithm. */
INLINE double digamma(double x) {
    double sum = 0;
    for (; x < STIRLING_FROM; x++)
        sum += 1 / x;
    return log(x) - 0.5 / x - digamma_tail(x) - sum;
}

/* D(a, b) = a log(a / b) + b - a, difference = a - b, by a series where a is near b (C. Loader, "Fast and accurate
 * computation of binomial probabilities", 2000). */
INLINE double deviance(double a, double b, double difference) {
    const double v = difference / (a + b), v2 = v * v;
    if (!(v2 < 0.01))
        return a * log(a / b) - difference;
    double series = 0; /* atanh(v) / v - 1 */
    for (int k = 15; k >= 3; k -= 2)
        series = v2 * (1. / k + series);
    return v * (difference + 2 * a * series);
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

/* log p(x), free of terms that outweigh it: Gamma's logarithms would cancel where x or r is large. */
INLINE double poisson_log_prob(double x, double mean) {
    if (x <= STIRLING_FROM) {
        double product = 1;
        for (int i = 0; i < x; i++)
            product *= mean / (i + 1);
        return log(product) - mean;
    }
    return -0.5 * log(x) - HALF_LOG_2PI - stirling_remainder(x) - deviance(x, mean, x - mean);
}

INLINE double negative_binomial_log_prob(double x, double mean, double r) {
    const double success = mean / (r + mean);
    if (x <= STIRLING_FROM) {
        double product = 1;
        for (int i = 0; i < x; i++)
            product *= (r + i) * success / (i + 1);
        return log(product) - r * log1p(mean / r);
    }
    /* n log(n / (r + mean)) - x log(x / mean) in two ways, the one good for large r, the other for small */
    const double n = x + r, above = x - mean;
    const double by_n = deviance(n, r + mean, above), by_x = deviance(x, mean, above);
    const double at_x = x * log1p(r / x), at_mean = x * log1p(r / mean);
    const double by_r = above < 0 ? -r * log1p(-above / n) : r * log1p(above / (r + mean));
    const double exponent =
        fmax(by_n, by_x) < fmax(at_mean, fmax(at_x, fabs(by_r))) ? by_n - by_x : at_x - at_mean + by_r;
    return exponent + 0.5 * log(r / n / x) - HALF_LOG_2PI + stirling_remainder(n) - stirling_remainder(r) -
           stirling_remainder(x);
}

/* d log p(x) / d log r. */
INLINE double negative_binomial_slope(double x, double mean, double r) {
    const double n = x + r, share = r / (r + mean);
    if (r >= STIRLING_FROM)
        return 0.5 * x / n + r * (digamma_tail(r) - digamma_tail(n)) - share * deviance(r + mean, n, mean - x);
    return r * (digamma(n) - digamma(r) - log1p(mean / r)) + share * (mean - x);
}

INLINE void poisson_row(int with_gradient, int64_t count, int64_t P, const feature_spec *f, const real *raw,
                        const real *codes, real scale, real *logp, real *graw) {
    for (int64_t d = 0; d < count; d++) {
        const double x = rint((double)codes[d] * f[d].unit);
        if (is_no_count(with_gradient, P, x, logp + d, with_gradient ? graw + d * P : NULL))
            continue;
        const double mean = limited_exp(raw[d * P], LOG_MEAN_LIMIT);
        logp[d] = (real)poisson_log_prob(x, mean);
        if (with_gradient)
            graw[d * P] = scale * (real)(x - mean);
    }
}

INLINE void negative_binomial_row(int with_gradient, int64_t count, int64_t P, const feature_spec *f, const real *raw,
                                  const real *codes, real scale, real *logp, real *graw) {
    for (int64_t d = 0; d < count; d++) {
        const double x = rint((double)codes[d] * f[d].unit);
        if (is_no_count(with_gradient, P, x, logp + d, with_gradient ? graw + d * P : NULL))
            continue;
        const double mean = limited_exp(raw[d * P], LOG_MEAN_LIMIT), r = limited_exp(raw[d * P + 1], LOG_R_LIMIT);
        logp[d] = (real)negative_binomial_log_prob(x, mean, r);
        if (with_gradient) {
            graw[d * P] = scale * (real)(r * (x - mean) / (r + mean));
            graw[d * P + 1] = scale * (real)negative_binomial_slope(x, mean, r);
        }
    }
}

/* The largest count that is drawn, LARGEST_COUNT of conditionals/_integer.py. */
#define LARGEST_COUNT 16777216.0
/* Counts this far from the mode are drawn one by one, those beyond in cells of a part of their distance. */
#define ONE_BY_ONE 1024.0
#define CELLS 512.0

/* p(k + 1) / p(k) = (k * slope + start) / (k + 1) of either kind; both rise to `mode` and then fall. */
typedef struct {
    double slope, start, mode, mean;
    double r; /* 0 of a Poisson */
} count_law;

INLINE count_law law_of(int kind, const real *raw) {
    const double mean = limited_exp(raw[0], LOG_MEAN_LIMIT);
    if (kind == FASTAR_POISSON)
        return (count_law){0, mean, fmin(floor(mean), LARGEST_COUNT), mean, 0};
    const double r = limited_exp(raw[1], LOG_R_LIMIT), success = mean / (r + mean);
    const double mode = r > 1 ? fmin(floor((r - 1) / r * mean), LARGEST_COUNT) : 0 * mean;
    return (count_law){success, r * success, mode, mean, r};
}

INLINE double log_mass(count_law law, double k) {
    return law.r > 0 ? negative_binomial_log_prob(k, law.mean, law.r) : poisson_log_prob(k, law.mean);
}

INLINE double raised(double ratio, double power) { return power == 1 ? ratio : pow(ratio, power); }

/* Walk from the most probable count of those from `low` to `high`, up and then down, over counts that carry all of
 * their mass but 1e-16 of it. Returns the sum of p(k) over p at the start, or the count at which this sum passes
 * `target` if it is positive. */
INLINE double walk(count_law law, double low, double high, double power, double target) {
    const double from = fmin(fmax(law.mode, low), high);
    double sum = 1;
    if (target > 0 && sum > target)
        return from;
    for (int up = 1; up >= -1; up -= 2) {
        const double end = up > 0 ? high : low;
        double weight = 1, k = from;
        while (k != end) {
            const double distance = fabs(k - from);
            const int one = distance < ONE_BY_ONE;
            const double cell = one ? 1 : fmin(floor(distance / CELLS), fabs(end - k));
            if (one) {
                const double below = up > 0 ? k : k - 1, ratio = (below * law.slope + law.start) / (below + 1);
                weight *= raised(up > 0 ? ratio : 1 / ratio, power);
            } else /* as high as in its middle */
                weight = exp(power * (log_mass(law, k + up * (cell + 1) / 2) - log_mass(law, from)));
            const double before = sum;
            sum += weight * cell;
            if (target > 0 && sum > target)
                return k + up * (1 + fmin(floor((target - before) / weight), cell - 1));
            k += up * cell;
            if (!(weight * fmax(distance, 1) > 1e-17 * sum)) /* so that NaN ends it */
                break;
        }
    }
    return target > 0 ? from : sum;
}

INLINE void count_draw(int kind, int64_t n, const feature_spec *f, double temperature, const real *raw,
                       int64_t raw_stride, const real *noise, int64_t noise_stride, real *codes) {
    const double power = fmin(1 / temperature, 1e30);
    for (int64_t r = 0; r < n; r++) {
        const count_law law = law_of(kind, raw + r * raw_stride);
        const double target = fmax(noise[r * noise_stride] * walk(law, 0, LARGEST_COUNT, power, 0), 1e-300);
        codes[r] = (real)(walk(law, 0, LARGEST_COUNT, power, target) / f->unit);
    }
}

/* Probabilities rise to the mode and then fall. */
INLINE void count_mode(int kind, int64_t n, const feature_spec *f, const real *raw, int64_t raw_stride,
                       const real *bounds, int64_t bounds_stride, real *codes) {
    for (int64_t r = 0; r < n; r++)
        codes[r] = inside((real)(law_of(kind, raw + r * raw_stride).mode / f->unit), bounds + r * bounds_stride);
}

#endif
