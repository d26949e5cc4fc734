/* Codes within regions: the mass that a density has there, and a draw from it given that it lies there. In double
 * precision, a code at a time. Everything is computed from logarithms of tails, so that no difference of nearly equal
 * numbers occurs however far a region lies from the middle. */
#ifndef FASTAR_CONDITIONALS_BOUNDED_H
#define FASTAR_CONDITIONALS_BOUNDED_H

#include "categorical.h"
#include "counts.h"
#include "location_scale.h"

/* The runs of codes of one region. */
typedef struct {
    const code_run *runs;
    int64_t count;
} region;

/* A code that is drawn, and the logarithm of its region's mass. */
typedef struct {
    double code, log_mass;
} bounded_code;

static const bounded_code NOWHERE = {0, -(double)INFINITY};

/* A code of a region without mass: its first one. */
INLINE bounded_code without_mass(region g) { return (bounded_code){g.count ? g.runs[0].first : 0, -(double)INFINITY}; }

/* log(exp(a) + exp(b)). */
INLINE double log_sum(double a, double b) {
    const double top = fmax(a, b);
    return top == -(double)INFINITY ? top : top + log1p(exp(fmin(a, b) - top));
}

/* Draw one of n numbers with these logarithms by their shares. *uniform becomes its place in that share, 0 to 1. */
INLINE int64_t draw_share(int64_t n, const double *log_share, double log_total, double *uniform) {
    int64_t i = 0;
    double left = *uniform, share = exp(log_share[0] - log_total);
    while (i + 1 < n && left >= share) {
        left -= share;
        share = exp(log_share[++i] - log_total);
    }
    *uniform = fmin(left / share, 1);
    return i;
}

/* ---- levels */

INLINE bounded_code bounded_bit(region g, double temperature, double z, double uniform) {
    int allowed[2] = {0, 0};
    for (int64_t i = 0; i < g.count; i++)
        for (int x = 0; x < 2; x++)
            allowed[x] |= g.runs[i].first <= x && x <= g.runs[i].last;
    if (allowed[0] && allowed[1])
        return (bounded_code){uniform < 1 / (1 + exp(-z / temperature)), 0};
    if (!allowed[0] && !allowed[1])
        return NOWHERE;
    const double against = allowed[1] ? -z : z;
    return (bounded_code){allowed[1], -fmax(against, 0) - log1p(exp(-fabs(against)))};
}

/* The levels of a run, of K. */
INLINE int64_t first_level(code_run run) { return run.first > 0 ? (int64_t)run.first : 0; }
INLINE int64_t end_level(code_run run, int64_t K) { return run.last < (double)K ? (int64_t)run.last + 1 : K; }

/* The sum of exp((z - top) * inverse) over K levels, which overwrites z where `keep`. */
INLINE double levels_sum(int64_t K, real *z, real top, real inverse, int keep) {
    vec sum = vset1(0);
    for (int64_t k = 0; k < K; k += VL) {
        const int m = lanes(K - k);
        const vec e = first_lanes(vexp((vload_part(z + k, m) - vset1(top)) * vset1(inverse)), m);
        if (keep)
            vstore_part(z + k, e, m);
        sum += e;
    }
    return (double)vsum(sum);
}

/* z (K,) is overwritten. The first run may begin below 0, which is all that is no level; one from -infinity on is
 * everything, of which levels alone are drawn. */
static bounded_code bounded_level(const feature_spec *f, region g, double temperature, int64_t K, real *z,
                                  double uniform) {
    const real top_of_all = largest(K, z);
    const double all = levels_sum(K, z, top_of_all, 1, 0);
    const int everything = g.count && g.runs[0].first == -(double)INFINITY;
    const double other = g.count && g.runs[0].first < 0 && !everything ? f->low : -(double)INFINITY;
    real top = -(real)INFINITY;
    for (int64_t i = 0; i < g.count; i++) {
        const int64_t k = first_level(g.runs[i]), end = end_level(g.runs[i], K);
        if (k < end) {
            const real own = largest(end - k, z + k);
            top = own > top ? own : top;
        }
    }
    double sum = 0, drawn = 0, levels = -(double)INFINITY;
    if (top > -(real)INFINITY) {
        for (int pass = 0; pass < 2; pass++) /* the second overwrites, at the temperature */
            for (int64_t i = 0; i < g.count; i++) {
                const int64_t k = first_level(g.runs[i]), count = end_level(g.runs[i], K) - k;
                if (count <= 0)
                    continue;
                if (pass)
                    drawn += levels_sum(count, z + k, top, inv_temperature(temperature), 1);
                else
                    sum += levels_sum(count, z + k, top, 1, 0);
            }
        levels = f->high + ((double)top - (double)top_of_all) + log(sum / all);
    }
    const double mass = everything ? 0 : log_sum(levels, other);
    if (mass == -(double)INFINITY)
        return NOWHERE;
    const double share = exp(other - mass);
    if (uniform < share)
        return (bounded_code){g.runs[0].first, mass};
    double left = (uniform - share) / (1 - share) * drawn;
    int64_t level = 0;
    for (int64_t i = 0; i < g.count; i++)
        for (int64_t k = first_level(g.runs[i]), end = end_level(g.runs[i], K); k < end; k++) {
            if (z[k] > 0)
                level = k;
            if (left < z[k])
                return (bounded_code){(double)k, mass};
            left -= z[k];
        }
    return (bounded_code){(double)level, mass};
}

/* ---- densities with a location and a scale, in these units; all are symmetric about 0 */

#define LOG_2 0.69314718055994530942
/* Below it the exact tail is subtracted from one, above it a series is as exact. */
#define FAR_TAIL 30.0
/* Narrower than this, times how far out it lies, a density is flat to rounding. */
#define NARROW 1e-6

INLINE double log_height(int kind, double x) {
    const double size = fabs(x);
    return kind == FASTAR_LAPLACE ? -LOG_2 - size
         : has_levels(kind)       ? -size - 2 * log1p(exp(-size))
                                  : -0.5 * x * x - HALF_LOG_2PI;
}

/* log P(X > x). */
INLINE double log_tail(int kind, double x) {
    if (kind == FASTAR_LAPLACE)
        return x > 0 ? -LOG_2 - x : log1p(-0.5 * exp(x));
    if (has_levels(kind))
        return x > 0 ? -x - log1p(exp(-x)) : -log1p(exp(x));
    if (x < 0)
        return log1p(-0.5 * erfc(-x * 0.70710678118654752440));
    if (x < FAR_TAIL)
        return log(0.5 * erfc(x * 0.70710678118654752440));
    const double y = 1 / (x * x); /* M. Abramowitz, I. A. Stegun, 26.2.12 */
    return -0.5 * x * x - HALF_LOG_2PI - log(x) + log1p(-y * (1 - y * (3 - y * (15 - 105 * y))));
}

/* x >= 0 with log P(X > x) = log_p, for the Gaussian: Abramowitz and Stegun's 26.2.23, then steps of Newton. */
INLINE double gaussian_above(double log_p) {
    const double s = sqrt(-2 * log_p);
    double x = s - (2.515517 + s * (0.802853 + s * 0.010328)) / (1 + s * (1.432788 + s * (0.189269 + s * 0.001308)));
    for (int step = 0; step < 3; step++) {
        const double tail = log_tail(FASTAR_GAUSSIAN, x);
        x += (tail - log_p) * exp(tail - log_height(FASTAR_GAUSSIAN, x));
    }
    return x;
}

/* x with log P(X > x) = log_p. */
INLINE double quantile_above(int kind, double log_p) {
    const double log_below = log_p < 0 ? log(-expm1(log_p)) : -(double)INFINITY;
    if (has_levels(kind))
        return log_below - log_p;
    const int lower = log_p > -LOG_2;
    const double own = lower ? log_below : log_p, x = kind == FASTAR_LAPLACE ? -LOG_2 - own : gaussian_above(own);
    return lower ? -x : x;
}

INLINE int is_narrow(double a, double b) { return (b - a) * fmax(1, fmax(fabs(a), fabs(b))) < NARROW; }

/* log P(a < X < b), a <= b. */
INLINE double log_between(int kind, double a, double b) {
    if (!(a < b))
        return -(double)INFINITY;
    if (is_narrow(a, b))
        return log_height(kind, a + 0.5 * (b - a)) + log(b - a);
    const int below = a + b < 0;
    const double from = log_tail(kind, below ? -b : a), to = log_tail(kind, below ? -a : b);
    return from == -(double)INFINITY ? from : from + log(-expm1(to - from));
}

/* The number from a to b below which lies a share `uniform` of the mass between them. */
INLINE double draw_between(int kind, double a, double b, double uniform) {
    if (!(a < b) || is_narrow(a, b))
        return a + uniform * (b - a);
    const int below = a + b < 0;
    const double low = below ? -b : a, high = below ? -a : b, from = log_tail(kind, low), to = log_tail(kind, high);
    const double part = (below ? 1 - uniform : uniform) * -expm1(to - from);
    const double x = fmin(fmax(quantile_above(kind, from + log1p(-part)), low), high);
    return below ? -x : x;
}

/* A code z that is in steps of 2 unit, of integers asinh(z). */
INLINE double steps_of(int kind, double code) {
    return kind == FASTAR_INTEGER ? sinh(fmin(fmax(code, -FARTHEST), FARTHEST)) : code;
}

INLINE double code_of(int kind, double z) { return kind == FASTAR_INTEGER ? asinh(z) : z; }

/* A run of codes in units of a component; a cell of levels is as wide as they are apart, and the outer ones have no
 * end. */
INLINE code_run standardised(int kind, const feature_spec *f, code_run run, double mean, double scale) {
    if (!has_levels(kind))
        return (code_run){(run.first - mean) / scale, (run.last - mean) / scale};
    const double bottom = steps_of(kind, run.first) - f->unit, top = steps_of(kind, run.last) + f->unit;
    return (code_run){
        bottom < f->low || run.first == -(double)INFINITY ? -(double)INFINITY : (code_of(kind, bottom) - mean) / scale,
        top > f->high || run.last == (double)INFINITY ? (double)INFINITY : (code_of(kind, top) - mean) / scale,
    };
}

/* exp(s) + floor is a variance or a scale; which is as finite as in draws. */
INLINE double scale_of(int kind, const feature_spec *f, real s, double temperature) {
    const double scale = (double)vexp(vset1(s))[0] + f->floor;
    return kind == FASTAR_GAUSSIAN ? sqrt(scale * temperature) : scale * temperature;
}

INLINE double log_mass_of_runs(int kind, const feature_spec *f, region g, double mean, double scale) {
    double mass = -(double)INFINITY;
    for (int64_t i = 0; i < g.count; i++) {
        const code_run own = standardised(kind, f, g.runs[i], mean, scale);
        mass = log_sum(mass, log_between(kind, own.first, own.last));
    }
    return mass;
}

/* A uniform number for a draw of which the noise is normal in a Gaussian's case. */
INLINE double uniform_of(int kind, real noise) {
    return kind == FASTAR_GAUSSIAN ? exp(log_tail(kind, -(double)noise)) : uniform_inside(noise);
}

/* A code of one component, given that it lies in the region. */
INLINE double draw_of_runs(int kind, const feature_spec *f, region g, double mean, double scale, double uniform) {
    const double all = g.count > 1 ? log_mass_of_runs(kind, f, g, mean, scale) : 0;
    int64_t i = 0;
    for (; g.count > 1; i++) {
        const code_run own = standardised(kind, f, g.runs[i], mean, scale);
        const double share = exp(log_between(kind, own.first, own.last) - all);
        if (uniform < share || i + 1 == g.count) {
            uniform = share > 0 ? fmin(uniform / share, 1) : 0.5;
            break;
        }
        uniform -= share;
    }
    const code_run run = g.runs[i], own = standardised(kind, f, run, mean, scale);
    double x = mean + scale * draw_between(kind, own.first, own.last, uniform);
    if (has_levels(kind)) {
        const double from = fmax(steps_of(kind, run.first), f->low), step = 2 * f->unit;
        const double origin = from > -(double)INFINITY ? from : 0;
        x = code_of(kind, origin + step * rint((steps_of(kind, x) - origin) / step));
    }
    return fmin(fmax(x, run.first), run.last);
}

INLINE bounded_code bounded_single(int kind, const feature_spec *f, region g, double temperature, const real *z,
                                   const real *noise) {
    const double mass = log_mass_of_runs(kind, f, g, (double)z[0], scale_of(kind, f, z[1], 1));
    if (!(mass > -(double)INFINITY))
        return without_mass(g);
    const double scale = scale_of(kind, f, z[1], temperature);
    return (bounded_code){draw_of_runs(kind, f, g, (double)z[0], scale, uniform_of(kind, *noise)), mass};
}

/* kind: of the components. joint (K,): log(weight * mass in the region), at a temperature; returns their log sum. */
INLINE double component_masses(int kind, const feature_spec *f, region g, const real *z, double temperature,
                               double *joint) {
    const int64_t K = f->count;
    double top = -(double)INFINITY, sum = -(double)INFINITY;
    for (int64_t k = 0; k < K; k++) { /* no fmax: GCC 12 for ARM fails on its reduction of a wider type */
        const double own = (double)z[k] / temperature;
        top = own > top ? own : top;
    }
    double weights = 0;
    for (int64_t k = 0; k < K; k++)
        weights += exp((double)z[k] / temperature - top);
    for (int64_t k = 0; k < K; k++) {
        const double scale = scale_of(kind, f, z[2 * K + k], temperature);
        joint[k] =
            (double)z[k] / temperature - top - log(weights) + log_mass_of_runs(kind, f, g, (double)z[K + k], scale);
        sum = fmax(sum, joint[k]);
    }
    if (!(sum > -(double)INFINITY))
        return -(double)INFINITY;
    double shares = 0;
    for (int64_t k = 0; k < K; k++)
        shares += exp(joint[k] - sum);
    return sum + log(shares);
}

INLINE bounded_code bounded_mixture(int kind, const feature_spec *f, region g, double temperature, const real *z,
                                    const real *noise) {
    const int64_t K = f->count;
    double joint[FASTAR_COMPONENTS];
    const double mass = component_masses(kind, f, g, z, 1, joint);
    if (!(mass > -(double)INFINITY))
        return without_mass(g);
    const double own = temperature == 1 ? mass : component_masses(kind, f, g, z, temperature, joint);
    double uniform = (double)noise[0];
    const int64_t k = draw_share(K, joint, own, &uniform);
    const double scale = scale_of(kind, f, z[2 * K + k], temperature);
    return (bounded_code){draw_of_runs(kind, f, g, (double)z[K + k], scale, uniform_of(kind, noise[1])), mass};
}

/* ---- counts */

INLINE code_run counts_of(code_run run, const feature_spec *f) {
    return (code_run){fmax(rint(run.first * f->unit), 0), fmin(rint(run.last * f->unit), LARGEST_COUNT)};
}

/* log of the sum of p(k)^power over a run. */
INLINE double log_mass_of_counts(count_law law, double power, code_run run) {
    const double from = fmin(fmax(law.mode, run.first), run.last);
    return power * log_mass(law, from) + log(walk(law, run.first, run.last, power, 0));
}

INLINE bounded_code bounded_count(int kind, const feature_spec *f, region g, double temperature, const real *z,
                                  double uniform) {
    const double power = fmin(1 / temperature, 1e30);
    const count_law law = law_of(kind, z);
    double mass = -(double)INFINITY, own = mass;
    for (int64_t i = 0; i < g.count; i++) {
        const code_run run = counts_of(g.runs[i], f);
        mass = log_sum(mass, log_mass_of_counts(law, 1, run));
        if (power != 1)
            own = log_sum(own, log_mass_of_counts(law, power, run));
    }
    if (!(mass > -(double)INFINITY))
        return without_mass(g);
    own = power == 1 ? mass : own;
    for (int64_t i = 0;; i++) {
        const code_run run = counts_of(g.runs[i], f);
        const double share = exp(log_mass_of_counts(law, power, run) - own);
        if (uniform < share || i + 1 == g.count) {
            const double sum = walk(law, run.first, run.last, power, 0);
            const double target = fmax(fmin(uniform / share, 1) * sum, 1e-300);
            return (bounded_code){walk(law, run.first, run.last, power, target) / f->unit, mass};
        }
        uniform -= share;
    }
}

/* x_d: the feature's code, among those of its row. raw is overwritten. */
INLINE bounded_code draw_bounded(const feature_spec *f, region g, double temperature, real *raw, const real *noise,
                                 const real *x_d) {
    switch (f->kind) {
    case FASTAR_BERNOULLI: return bounded_bit(g, temperature, (double)*raw, (double)*noise);
    case FASTAR_CATEGORICAL:
        return bounded_level(f, g, temperature, levels_of(f, x_d - f->parent), raw, (double)*noise);
    case FASTAR_GAUSSIAN: return bounded_single(FASTAR_GAUSSIAN, f, g, temperature, raw, noise);
    case FASTAR_LAPLACE: return bounded_single(FASTAR_LAPLACE, f, g, temperature, raw, noise);
    case FASTAR_GAUSSIAN_MIXTURE: return bounded_mixture(FASTAR_GAUSSIAN, f, g, temperature, raw, noise);
    case FASTAR_LAPLACE_MIXTURE: return bounded_mixture(FASTAR_LAPLACE, f, g, temperature, raw, noise);
    case FASTAR_LOGISTIC_MIXTURE: return bounded_mixture(FASTAR_LOGISTIC_MIXTURE, f, g, temperature, raw, noise);
    case FASTAR_INTEGER: return bounded_mixture(FASTAR_INTEGER, f, g, temperature, raw, noise);
    default: return bounded_count(f->kind, f, g, temperature, raw, (double)*noise);
    }
}

#endif
