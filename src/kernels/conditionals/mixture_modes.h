/* The most probable values of mixtures of location_scale.h's densities. */
#ifndef FASTAR_CONDITIONALS_MIXTURE_MODES_H
#define FASTAR_CONDITIONALS_MIXTURE_MODES_H

#include "location_scale.h"

/* Numbers that the height of a mixture needs at any place, a component in each lane. */
enum { PEAK_VECTORS = (FASTAR_COMPONENTS + VL - 1) / VL };
typedef struct {
    int64_t vectors;
    const feature_spec *f;
    vec weight[PEAK_VECTORS], top[PEAK_VECTORS], mean[PEAK_VECTORS], inverse[PEAK_VECTORS];
} peaks;

INLINE void find_peaks(int kind, const feature_spec *f, const real *z, peaks *p) {
    const int64_t K = f->count;
    p->f = f;
    p->vectors = (K + VL - 1) / VL;
    for (int64_t i = 0; i < p->vectors; i++) {
        const int m = lanes(K - i * VL);
        const spread width = spread_of(vload_part(z + 2 * K + i * VL, m), vset1((real)f->floor));
        p->weight[i] = vload_or(z + i * VL, m, -(real)INFINITY);
        p->mean[i] = vload_part(z + K + i * VL, m);
        p->inverse[i] = width.inverse;
        p->top[i] = p->weight[i] + (kind == FASTAR_GAUSSIAN_MIXTURE  ? vset1((real)-0.5) * width.log
                                    : kind == FASTAR_LAPLACE_MIXTURE ? -width.log
                                                                     : vset1(0));
    }
}

/* log p(x) but for what is the same at every x; joint: each component's share, as its logarithm. */
INLINE real height(int kind, const peaks *p, real x, vec *joint, real *most) {
    const cell level = has_levels(kind) ? cell_of(kind, x, p->f) : (cell){0};
    vec top = vset1(-(real)INFINITY), sum = vset1(0), ignored;
    for (int64_t i = 0; i < p->vectors; i++) {
        const vec deviation = vset1(x) - p->mean[i];
        if (kind == FASTAR_GAUSSIAN_MIXTURE)
            joint[i] = p->top[i] - vset1((real)0.5) * deviation * infinite_to_finite(deviation * p->inverse[i]);
        else if (kind == FASTAR_LAPLACE_MIXTURE)
            joint[i] = p->top[i] - vabs(deviation) * p->inverse[i];
        else {
            joint[i] = p->top[i];
            if (!level.lowest && !level.highest)
                joint[i] += vlog(-vclamp(vexpm1(vset1(-level.width) * p->inverse[i]), -1, -TINY_NUMBER));
            if (!level.highest)
                joint[i] -= softplus((p->mean[i] - vset1(level.top)) * p->inverse[i], &ignored);
            if (!level.lowest)
                joint[i] -= softplus((vset1(level.bottom) - p->mean[i]) * p->inverse[i], &ignored);
        }
        top = vmax(top, joint[i]);
    }
    *most = largest_lane(top);
    if (!(*most > -(real)INFINITY))
        return *most;
    for (int64_t i = 0; i < p->vectors; i++)
        sum += exp_or_zero(joint[i] - vset1(*most));
    return *most + log_of(vsum(sum));
}

/* A place and the height there. */
typedef struct {
    real x, height;
} peak;

INLINE peak higher(int kind, const peaks *p, peak best, real x) {
    vec joint[PEAK_VECTORS];
    real most;
    const real found = height(kind, p, x, joint, &most);
    return found > best.height ? (peak){x, found} : best;
}

/* From x uphill by steps of expectation and maximisation, none of which goes down (M. A. Carreira-Perpinan,
 * "Mode-finding for mixtures of Gaussian distributions", IEEE PAMI 22, 2000). */
INLINE real climbed(const peaks *p, real x, const real *bounds) {
    enum { STEPS = 10 };
    const real enough = (real)1e-5; /* of a column's standard deviation */
    for (int step = 0; step < STEPS; step++) {
        vec joint[PEAK_VECTORS], mass = vset1(0), sum = vset1(0);
        real most;
        if (!(height(FASTAR_GAUSSIAN_MIXTURE, p, x, joint, &most) > -(real)INFINITY))
            break;
        for (int64_t i = 0; i < p->vectors; i++) {
            const vec share = exp_or_zero(joint[i] - vset1(most)) * p->inverse[i];
            mass += share;
            sum += share * p->mean[i];
        }
        const real next = inside(vsum(sum) / vsum(mass), bounds), moved = next - x;
        x = next;
        if (!(moved > enough || moved < -enough))
            break;
    }
    return x;
}

/* How many steps x lies above `from`, and the code so many steps above it. */
INLINE real steps_between(int kind, real from, real x, const feature_spec *f) {
    const double distance = kind == FASTAR_INTEGER ? sinh((double)x) - sinh((double)from) : (double)(x - from);
    return (real)(distance / (2 * f->unit));
}

INLINE real steps_above(int kind, real from, real k, const feature_spec *f) {
    const double step = 2 * f->unit;
    return kind == FASTAR_INTEGER ? (real)asinh(sinh((double)from) + k * step) : from + (real)step * k;
}

/* From a level to the neighbours, as long as they are higher. */
INLINE real climbed_levels(int kind, const peaks *p, peak best, const real *bounds) {
    const real most = steps_between(kind, bounds[0], bounds[1], p->f);
    real k = (real)rint(steps_between(kind, bounds[0], best.x, p->f));
    for (int up = -1; up <= 1; up += 2) {
        const real from = best.x;
        while (k + up >= 0 && k + up <= most + (real)0.5) {
            const peak next = higher(kind, p, best, steps_above(kind, bounds[0], k + up, p->f));
            if (next.x == best.x)
                break;
            best = next;
            k += up;
        }
        if (best.x != from)
            break;
    }
    return best.x;
}

/* Uphill from the best of the bounds and the components' locations; a mixture of Laplace densities is convex between
 * them. */
INLINE void mixture_mode(int kind, int64_t n, const feature_spec *f, const real *raw, int64_t raw_stride,
                         const real *bounds, int64_t bounds_stride, real *codes) {
    const int64_t K = f->count;
    peaks p;
    for (int64_t r = 0; r < n; r++) {
        const real *z = raw + r * raw_stride, *bound = bounds + r * bounds_stride;
        find_peaks(kind, f, z, &p);
        peak best = higher(kind, &p, (peak){bound[0], -(real)INFINITY}, bound[0]);
        best = higher(kind, &p, best, bound[1]);
        for (int64_t k = 0; k < K; k++) {
            real x = z[K + k];
            if (!(bound[0] < x && x < bound[1]))
                continue;
            if (has_levels(kind))
                x = steps_above(kind, bound[0], (real)rint(steps_between(kind, bound[0], x, f)), f);
            best = higher(kind, &p, best, x);
        }
        codes[r] = kind == FASTAR_GAUSSIAN_MIXTURE ? climbed(&p, best.x, bound)
                 : has_levels(kind)                ? climbed_levels(kind, &p, best, bound)
                                                   : best.x;
    }
}

#endif
