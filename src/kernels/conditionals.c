#include "conditionals/bernoulli.h"
#include "conditionals/bounded.h"
#include "conditionals/categorical.h"
#include "conditionals/counts.h"
#include "conditionals/location_scale.h"
#include "conditionals/mixture_modes.h"
#include "sums.h"

/* Parts of densities and gradients that wait until there is a vector of them. */
typedef struct {
    pending_logs logs;
    pending_singles gaussian, laplace;
} pending_parts;

INLINE void begin_pending(pending_parts *pending) { pending->logs.n = pending->gaussian.n = pending->laplace.n = 0; }

INLINE void take_pending(int with_gradient, pending_parts *pending) {
    take_logs(&pending->logs);
    take_singles(FASTAR_GAUSSIAN, with_gradient, &pending->gaussian);
    take_singles(FASTAR_LAPLACE, with_gradient, &pending->laplace);
}

/* Features of one kind of one row. */
INLINE void stretch(int with_gradient, int64_t count, int64_t P, const feature_spec *f, const real *raw,
                    const real *codes, real scale, real *logp, pending_parts *pending, real *graw) {
    switch (f->kind) {
    case FASTAR_BERNOULLI: bernoulli_row(with_gradient, count, P, f, raw, codes, scale, logp, graw); break;
    case FASTAR_CATEGORICAL:
        categorical_row(with_gradient, count, P, f, raw, codes, scale, logp, &pending->logs, graw);
        break;
    case FASTAR_GAUSSIAN:
        single_row(FASTAR_GAUSSIAN, with_gradient, count, P, f, raw, codes, scale, logp, &pending->gaussian, graw);
        break;
    case FASTAR_LAPLACE:
        single_row(FASTAR_LAPLACE, with_gradient, count, P, f, raw, codes, scale, logp, &pending->laplace, graw);
        break;
    case FASTAR_GAUSSIAN_MIXTURE:
        mixture_row(FASTAR_GAUSSIAN_MIXTURE, with_gradient, count, P, f, raw, codes, scale, logp, &pending->logs, graw);
        break;
    case FASTAR_LAPLACE_MIXTURE:
        mixture_row(FASTAR_LAPLACE_MIXTURE, with_gradient, count, P, f, raw, codes, scale, logp, &pending->logs, graw);
        break;
    case FASTAR_LOGISTIC_MIXTURE:
        mixture_row(FASTAR_LOGISTIC_MIXTURE, with_gradient, count, P, f, raw, codes, scale, logp, &pending->logs, graw);
        break;
    case FASTAR_INTEGER:
        mixture_row(FASTAR_INTEGER, with_gradient, count, P, f, raw, codes, scale, logp, &pending->logs, graw);
        break;
    case FASTAR_POISSON: poisson_row(with_gradient, count, P, f, raw, codes, scale, logp, graw); break;
    case FASTAR_NEGATIVE_BINOMIAL:
        negative_binomial_row(with_gradient, count, P, f, raw, codes, scale, logp, graw);
        break;
    }
}

/* The same without the features whose codes are missing. */
INLINE void stretch_with_gaps(int with_gradient, int64_t count, int64_t P, const feature_spec *f, const real *raw,
                              const real *codes, real scale, real *logp, pending_parts *pending, real *graw) {
    for (int64_t d = 0; d < count;) {
        int64_t end = d;
        while (end < count && codes[end] == codes[end])
            end++;
        if (end > d)
            stretch(with_gradient, end - d, P, f + d, raw + d * P, codes + d, scale, logp + d, pending,
                    with_gradient ? graw + d * P : NULL);
        if (end < count) {
            logp[end] = 0;
            if (with_gradient)
                memset(graw + end * P, 0, P * sizeof(real));
        }
        d = end + 1;
    }
}

INLINE void rows(int with_gradient, int64_t n, int64_t D, conditional_spec spec, const real *raw, const real *codes,
                 const real *scale, real *logp, double *total, real *graw) {
    const int64_t width = spec.outputs[D];
    pending_parts pending;
    begin_pending(&pending);
    for (int64_t r = 0; r < n; r++) {
        const real by = with_gradient ? scale[r] : 0;
        for (int64_t i = 0; i < spec.n_stretches; i++) {
            const int64_t first = spec.stretches[i], count = spec.stretches[i + 1] - first, at = r * D + first;
            const int64_t o = spec.outputs[first], P = spec.outputs[first + 1] - o;
            const real *z = raw + r * width + o;
            real *g = with_gradient ? graw + r * width + o : NULL;
            if (spec.may_miss)
                stretch_with_gaps(with_gradient, count, P, spec.features + first, z, codes + at, by, logp + at,
                                  &pending, g);
            else
                stretch(with_gradient, count, P, spec.features + first, z, codes + at, by, logp + at, &pending, g);
        }
    }
    take_pending(with_gradient, &pending);
    for (int64_t r = 0; r < n; r++)
        total[r] = sum_of(D, logp + r * D);
}

/* raw (n, sum P), codes (n, D) -> logp (n, D), total (n,). */
static void log_prob(int64_t n, int64_t D, conditional_spec spec, const real *raw, const real *codes, real *logp,
                     double *total) {
    rows(0, n, D, spec, raw, codes, NULL, logp, total, NULL);
}

/* raw (n, sum P), codes (n, D), scale (n,) -> logp (n, D), total (n,), graw (n, sum P). */
static void gradient(int64_t n, int64_t D, conditional_spec spec, const real *raw, const real *codes, const real *scale,
                     real *logp, double *total, real *graw) {
    rows(1, n, D, spec, raw, codes, scale, logp, total, graw);
}

/* Whether a feature applies where its parent's code is this. */
INLINE int applies(const feature_spec *f, real parent) {
    return f->applies < 0 ? parent >= 0 : parent == (real)f->applies;
}

/* NaN for the codes (n,) of a feature in the rows in which its parent says that it does not apply. */
static void clear_inapplicable(int64_t n, const feature_spec *f, earlier_codes earlier, real *codes) {
    for (int64_t r = 0; r < n; r++)
        if (!applies(f, earlier.x[r * earlier.row - f->parent * earlier.feature]))
            codes[r] = (real)NAN;
}

/* raw (n, raw_stride), noise (n, noise_stride) -> codes (n,) of feature d. raw is overwritten. */
static void draw(int64_t n, int64_t d, conditional_spec spec, real *raw, int64_t raw_stride, const real *noise,
                 int64_t noise_stride, earlier_codes earlier, real *codes) {
    const feature_spec *f = spec.features + d;
    const int cut = spec.top_p < 1 || spec.top_k > 0;
    switch (f->kind) {
    case FASTAR_BERNOULLI:
        if (cut)
            draw_cut_bits(n, &spec, raw, raw_stride, noise, noise_stride, codes);
        else
            bernoulli_draw(n, f, spec.temperature, raw, raw_stride, noise, noise_stride, codes);
        break;
    case FASTAR_CATEGORICAL:
        if (cut)
            draw_cut_levels(n, f, &spec, raw, raw_stride, noise, noise_stride, earlier, codes);
        else
            categorical_draw(n, f, spec.temperature, raw, raw_stride, noise, noise_stride, earlier, codes);
        break;
    case FASTAR_GAUSSIAN:
        single_draw(FASTAR_GAUSSIAN, n, f, spec.temperature, raw, raw_stride, noise, noise_stride, codes);
        break;
    case FASTAR_LAPLACE:
        single_draw(FASTAR_LAPLACE, n, f, spec.temperature, raw, raw_stride, noise, noise_stride, codes);
        break;
    case FASTAR_GAUSSIAN_MIXTURE:
        mixture_draw(FASTAR_GAUSSIAN, n, f, spec.temperature, raw, raw_stride, noise, noise_stride, codes);
        break;
    case FASTAR_LAPLACE_MIXTURE:
        mixture_draw(FASTAR_LAPLACE, n, f, spec.temperature, raw, raw_stride, noise, noise_stride, codes);
        break;
    case FASTAR_LOGISTIC_MIXTURE:
        mixture_draw(FASTAR_LOGISTIC_MIXTURE, n, f, spec.temperature, raw, raw_stride, noise, noise_stride, codes);
        break;
    case FASTAR_INTEGER:
        mixture_draw(FASTAR_INTEGER, n, f, spec.temperature, raw, raw_stride, noise, noise_stride, codes);
        break;
    case FASTAR_POISSON:
        count_draw(FASTAR_POISSON, n, f, spec.temperature, raw, raw_stride, noise, noise_stride, codes);
        break;
    case FASTAR_NEGATIVE_BINOMIAL:
        count_draw(FASTAR_NEGATIVE_BINOMIAL, n, f, spec.temperature, raw, raw_stride, noise, noise_stride, codes);
        break;
    }
    if (f->parent)
        clear_inapplicable(n, f, earlier, codes);
}

/* raw (n, raw_stride), bounds (n, bounds_stride), two each -> codes (n,) of feature d. */
static void mode(int64_t n, int64_t d, conditional_spec spec, real *raw, int64_t raw_stride, const real *bounds,
                 int64_t bounds_stride, earlier_codes earlier, real *codes) {
    const feature_spec *f = spec.features + d;
    (void)earlier; /* the bounds are those of a value that is there */
    switch (f->kind) {
    case FASTAR_BERNOULLI: bernoulli_mode(n, raw, raw_stride, bounds, bounds_stride, codes); break;
    case FASTAR_CATEGORICAL: categorical_mode(n, f, raw, raw_stride, bounds, bounds_stride, codes); break;
    case FASTAR_GAUSSIAN:
    case FASTAR_LAPLACE: single_mode(n, raw, raw_stride, bounds, bounds_stride, codes); break;
    case FASTAR_GAUSSIAN_MIXTURE:
        mixture_mode(FASTAR_GAUSSIAN_MIXTURE, n, f, raw, raw_stride, bounds, bounds_stride, codes);
        break;
    case FASTAR_LAPLACE_MIXTURE:
        mixture_mode(FASTAR_LAPLACE_MIXTURE, n, f, raw, raw_stride, bounds, bounds_stride, codes);
        break;
    case FASTAR_LOGISTIC_MIXTURE:
        mixture_mode(FASTAR_LOGISTIC_MIXTURE, n, f, raw, raw_stride, bounds, bounds_stride, codes);
        break;
    case FASTAR_INTEGER: mixture_mode(FASTAR_INTEGER, n, f, raw, raw_stride, bounds, bounds_stride, codes); break;
    case FASTAR_POISSON: count_mode(FASTAR_POISSON, n, f, raw, raw_stride, bounds, bounds_stride, codes); break;
    case FASTAR_NEGATIVE_BINOMIAL:
        count_mode(FASTAR_NEGATIVE_BINOMIAL, n, f, raw, raw_stride, bounds, bounds_stride, codes);
        break;
    }
}

/* One logit a row: as many rows at once as a vector has lanes. */
static void weigh_bernoulli(int64_t n, int64_t D, int64_t d, const real *raw, int64_t raw_stride, walked_rows rows) {
    for (int64_t r = 0; r < n; r += VL) {
        const int m = lanes(n - r);
        real x[VL], logp[VL];
        for (int i = 0; i < m; i++)
            x[i] = rows.codes[(r + i) * D + d];
        bernoulli_row(0, m, raw_stride, NULL, raw + r * raw_stride, x, 0, logp, NULL);
        for (int i = 0; i < m; i++)
            if (rows.held[(r + i) * D + d] == FASTAR_WEIGHTED && x[i] == x[i])
                rows.weight[r + i] += logp[i];
    }
}

/* Row r's code of feature d, drawn within its region, whose log mass is added to the row's weight. */
static void draw_within(int64_t r, int64_t D, int64_t d, const feature_spec *f, const conditional_spec *spec, real *raw,
                        walked_rows rows) {
    real *x_d = rows.codes + r * D + d;
    const region_spec *all = &spec->regions;
    int64_t number = (int64_t)*x_d;
    if (f->parent) {
        const real parent = *(x_d - f->parent);
        if (!applies(f, parent)) {
            *x_d = (real)NAN;
            return;
        }
        number += f->applies < 0 ? (int64_t)parent : 0;
    }
    const region own = {all->runs + all->begin[number], all->begin[number + 1] - all->begin[number]};
    const real *noise = rows.noise + (r * D + d) * all->n_noise;
    const bounded_code found = draw_bounded(f, own, spec->temperature, raw, noise, x_d);
    *x_d = (real)found.code;
    rows.weight[r] += found.log_mass;
    for (int64_t i = 0; i < own.count; i++) {
        const int64_t further = all->further[all->begin[number] + i];
        if (further && own.runs[i].first <= found.code && found.code <= own.runs[i].last)
            x_d[1] += (real)further;
    }
}

/* raw (n, raw_stride), rows.codes (n, D): adds log p of the WEIGHTED codes of feature d to rows.weight (n,), and draws
 * the BOUNDED ones. */
static void weigh(int64_t n, int64_t D, int64_t d, int64_t feature, conditional_spec spec, real *raw,
                  int64_t raw_stride, walked_rows rows) {
    const feature_spec *f = spec.features + feature;
    if (f->kind == FASTAR_BERNOULLI)
        weigh_bernoulli(n, D, d, raw, raw_stride, rows);
    for (int64_t r = 0; r < n; r++) {
        if (rows.held[r * D + d] == FASTAR_WEIGHTED && f->kind != FASTAR_BERNOULLI) {
            real logp;
            pending_parts pending;
            begin_pending(&pending);
            stretch_with_gaps(0, 1, 0, f, raw + r * raw_stride, rows.codes + r * D + d, 0, &logp, &pending, NULL);
            take_pending(0, &pending);
            rows.weight[r] += logp;
        }
        if (rows.held[r * D + d] == FASTAR_BOUNDED)
            draw_within(r, D, d, f, &spec, raw + r * raw_stride, rows);
    }
}

/* raw (P, VL), a row in each lane -> weight (n,), to which log p of the codes of feature d is added. */
static void weigh_lanes(int64_t n, int64_t d, conditional_spec spec, const real *raw, earlier_codes codes, real *row,
                        double *weight) {
    const feature_spec *f = spec.features + d;
    real x[VL] = {0}, logp[VL] = {0};
    for (int64_t r = 0; r < n; r++)
        x[r] = codes.x[r * codes.row];
    if (f->kind == FASTAR_BERNOULLI)
        bernoulli_row(0, n, 1, NULL, raw, x, 0, logp, NULL);
    else if (f->kind == FASTAR_CATEGORICAL && !f->parent)
        categorical_lanes(f, raw, x, logp);
    else {
        pending_parts pending;
        begin_pending(&pending);
        for (int64_t r = 0; r < n; r++) {
            for (int64_t p = 0; p < spec.outputs[d + 1] - spec.outputs[d]; p++)
                row[p] = raw[p * VL + r];
            stretch_with_gaps(0, 1, 0, f, row, codes.x + r * codes.row, 0, logp + r, &pending, NULL);
        }
        take_pending(0, &pending);
    }
    for (int64_t r = 0; r < n; r++)
        weight[r] += x[r] == x[r] ? (double)logp[r] : 0;
}

const conditionals_table FASTAR_TABLE(conditionals) = {log_prob, gradient, draw, mode, weigh, weigh_lanes};
