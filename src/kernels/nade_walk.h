/* Samples and weights: rows walk from feature to feature, side by side. For nade.c alone.
 *
 * Features that are known are taken together, up to one whose codes part the rows that share a hidden layer. */
#ifndef FASTAR_NADE_WALK_H
#define FASTAR_NADE_WALK_H

#include "change.h"
#include "nade_layers.h"
#include "nade_outputs.h"
#include <math.h>

#define ROWS walked_rows

enum { DIFFERENT = 4 }; /* beside flags of rows: their codes are not the same */

/* flags (D,): of the rows of each feature, FASTAR_SAMPLED's bit where some are drawn and FASTAR_WEIGHTED's where some
 * are weighed; and whether they begin with different codes. */
static void unite_flags(int64_t n, int64_t D, ROWS rows, uint8_t *flags) {
    if (!rows.held) {
        memset(flags, FASTAR_SAMPLED, D);
        return;
    }
    memcpy(flags, rows.held, D);
    for (int64_t r = 1; r < n; r++)
        for (int64_t d = 0; d < D; d++) {
            const real x = rows.codes[r * D + d], y = rows.codes[d];
            flags[d] |= rows.held[r * D + d] | (uint8_t)(((x != y) & ((x == x) | (y == y))) * DIFFERENT);
        }
}

INLINE int is_known(uint8_t flags) { return (flags & ~DIFFERENT) == FASTAR_WEIGHTED; }

INLINE int is_observed(uint8_t flags) { return (flags & ~DIFFERENT) == FASTAR_OBSERVED; }

/* The end of the features from d on whose outputs are computed together: known ones, up to one that parts layers. */
static int64_t stretch_end(const nade_sizes *z, int64_t n, int64_t d, int64_t end, const uint8_t *flags,
                           const real *codes, const shared_layers *s) {
    const int64_t *o = z->outputs;
    int64_t e = d + 1, alike = d;
    if (d == 0 || !is_known(flags[d]))
        return e;
    while (e < end && e - d < FASTAR_WALK_OUTPUTS && is_known(flags[e]) && o[e + 1] - o[d] <= FASTAR_WALK_OUTPUTS)
        e++;
    while (alike < e - 1 && !(flags[alike] & DIFFERENT))
        alike++;
    return alike < e - 1 ? parting(n, z->D, alike, e - 1, codes, s) + 1 : e;
}

INLINE void outputs_of(const layer *l, int64_t n, int64_t r0, int64_t d, int64_t e, real *raw, int64_t raw_stride) {
    const nade_sizes *z = &l->z;
    const int64_t *o = z->outputs;
    if (d == 0)
        for (int64_t r = 0; r < n; r++)
            memcpy(raw + r * raw_stride, l->p.b, o[1] * sizeof(real));
    else
        outputs(n, z, 0, o[e] - o[d], l->p.V + (o[d] - o[1]) * z->H, l->p.b + o[d], l->units.h + r0 * z->stride,
                raw_stride, raw);
}

/* Whether feature f, whose flags are given, changes one of the layers r0 .. r0 + n - 1. */
static int changes_some(const layer *l, int64_t n, int64_t r0, int64_t f, uint8_t flags, const input_spec *inputs,
                        const real *codes, const shared_layers *s) {
    const int64_t gone = f - inputs->markov_order;
    if (gone < 0 && !(flags & DIFFERENT))
        n = 1;
    int32_t row;
    real value;
    int some = l->p.rho != NULL;
    for (int64_t r = r0; r < r0 + n && !some; r++) {
        const real *x = codes + s->row[r] * l->z.D;
        some =
            change_of(inputs, f, x[f], &row, &value) || (gone >= 0 && change_of(inputs, gone, x[gone], &row, &value));
    }
    return some;
}

/* raw (layers, raw_stride): the outputs of the features d .. e - 1. All but the last are known, and layers pass
 * them. */
static void stretch_outputs(const layer *l, const shared_layers *s, int64_t d, int64_t e, const uint8_t *flags,
                            const input_spec *inputs, const real *codes, real *raw, int64_t raw_stride) {
    const int64_t *o = l->z.outputs;
    for (int64_t r0 = 0, tile; r0 < s->n; r0 += tile) {
        tile = tile_rows(&l->z, s->n - r0);
        for (int64_t f = d, g; f < e; f = g) {
            g = f + 1;
            while (g < e && !changes_some(l, tile, r0, g - 1, flags[g - 1], inputs, codes, s))
                g++;
            outputs_of(l, tile, r0, f, g, raw + r0 * raw_stride + o[f] - o[d], raw_stride);
            for (int64_t r = r0; r < r0 + tile && g < e; r++)
                pass(l, r, g - 1, inputs, codes + s->row[r] * l->z.D);
        }
    }
}

INLINE int any_flag(int64_t n, int64_t D, int64_t d, const uint8_t *held, uint8_t flag) {
    for (int64_t r = 0; r < n; r++)
        if (held[r * D + d] == flag)
            return 1;
    return 0;
}

/* raw: the outputs of the features d .. e - 1, to which those of contexts are added; shift (o_D,). */
INLINE void add_shift(const nade_sizes *z, int64_t d, int64_t e, const real *shift, real *raw) {
    for (int64_t o = z->outputs[d]; o < z->outputs[e]; o++)
        raw[o - z->outputs[d]] += shift[o];
}

/* log p of the features f .. g - 1, one or bits, of each layer -> logp (layers, g - f). raw (layers, raw_stride): their
 * outputs. */
static void weigh_layers(const layer *l, int64_t f, int64_t g, DRAW draw, real *codes, const shared_layers *s,
                         real *raw, int64_t raw_stride, double *logp) {
    const int64_t count = g - f;
    real z[FASTAR_SAMPLE_ROWS * FASTAR_WALK_OUTPUTS], x[FASTAR_SAMPLE_ROWS * FASTAR_WALK_OUTPUTS];
    uint8_t weighed[FASTAR_SAMPLE_ROWS * FASTAR_WALK_OUTPUTS];
    memset(weighed, FASTAR_WEIGHTED, s->n * count);
    memset(logp, 0, s->n * count * sizeof(double));
    if (draw.spec.features[f].kind == FASTAR_BERNOULLI) { /* bits are weighed like rows with one feature */
        for (int64_t i = 0; i < s->n; i++) {
            memcpy(z + i * count, raw + i * raw_stride, count * sizeof(real));
            memcpy(x + i * count, codes + s->row[i] * l->z.D + f, count * sizeof(real));
        }
        const walked_rows cells = {.held = weighed, .codes = x, .weight = logp};
        draw.weigh(s->n * count, 1, 0, f, draw.spec, z, 1, cells);
        return;
    }
    for (int64_t i = 0; i < s->n; i++) {
        const walked_rows cell = {.held = weighed, .codes = codes + s->row[i] * l->z.D + f, .weight = logp + i};
        draw.weigh(1, 1, 0, f, draw.spec, raw + i * raw_stride, raw_stride, cell);
    }
}

/* The known features d .. e - 1, whose codes all rows with a layer share. raw (layers, raw_stride). */
static void weigh_stretch(const layer *l, int64_t n, int64_t d, int64_t e, DRAW draw, ROWS rows, const shared_layers *s,
                          const real *shift, real *raw, int64_t raw_stride) {
    const int64_t D = l->z.D, *o = l->z.outputs;
    const feature_spec *of = draw.spec.features;
    double logp[FASTAR_SAMPLE_ROWS * FASTAR_WALK_OUTPUTS];
    for (int64_t i = 0; i < s->n && shift; i++)
        add_shift(&l->z, d, e, shift + s->row[i] * o[D], raw + i * raw_stride);
    for (int64_t f = d, g; f < e; f = g) {
        g = f + 1;
        while (of[f].kind == FASTAR_BERNOULLI && g < e && of[g].kind == FASTAR_BERNOULLI)
            g++;
        weigh_layers(l, f, g, draw, rows.codes, s, raw + o[f] - o[d], raw_stride, logp);
        for (int64_t r = 0; r < n; r++)
            for (int64_t k = f; k < g; k++)
                if (rows.held[r * D + k] == FASTAR_WEIGHTED)
                    rows.weight[r] += logp[s->of[r] * (g - f) + k - f];
    }
}

/* Weigh feature d of a block of rows where it is held, and draw it where it is free. flags: of some of the rows. raw
 * (layers, raw_stride), of_rows (n, P): scratch. */
static void choose(const layer *l, int64_t n, int64_t d, DRAW draw, ROWS rows, uint8_t flags, const shared_layers *s,
                   const real *shift, const real *raw, int64_t raw_stride, real *of_rows, real *drawn) {
    const int64_t D = l->z.D, *o = l->z.outputs, P = o[d + 1] - o[d];
    for (int64_t p = 0; p < P; p++)
        for (int64_t r = 0; r < n; r++)
            of_rows[r * P + p] = raw[s->of[r] * raw_stride + p];
    for (int64_t r = 0; r < n && shift; r++)
        add_shift(&l->z, d, d + 1, shift + r * o[D], of_rows + r * P);
    if (flags & FASTAR_WEIGHTED)
        draw.weigh(n, D, d, d, draw.spec, of_rows, P, rows);
    if (!(flags & FASTAR_SAMPLED) || ((flags & FASTAR_WEIGHTED) && !any_flag(n, D, d, rows.held, FASTAR_SAMPLED)))
        return;
    draw.function(n, d, draw.spec, of_rows, P, rows.noise + d * draw.n_noise, D * draw.n_noise,
                  (earlier_codes){rows.codes + d, D, 1}, drawn);
    for (int64_t r = 0; r < n; r++)
        if (!rows.held || rows.held[r * D + d] == FASTAR_SAMPLED)
            rows.codes[r * D + d] = drawn[r];
}

/* Resample the particles (N,) of one row of data if their effective number falls below `least` N, and return whether it
 * does. Systematic resampling at the uniform number `at`: `source` says by which particle each is replaced, and all get
 * the logarithm of their mean weight. */
static int resample(int64_t N, double least, double at, double *weight, uint8_t *source) {
    double best = weight[0], total = 0, squares = 0, share[FASTAR_SAMPLE_ROWS];
    for (int64_t i = 1; i < N; i++)
        best = weight[i] > best ? weight[i] : best;
    if (!(best > -INFINITY && best < INFINITY))
        return 0;
    for (int64_t i = 0; i < N; i++) {
        share[i] = exp(weight[i] - best);
        total += share[i];
    }
    for (int64_t i = 0; i < N; i++) {
        share[i] /= total;
        squares += share[i] * share[i];
    }
    if (1 / squares >= least * (double)N)
        return 0;
    double below = share[0];
    int64_t i = 0;
    for (int64_t j = 0; j < N; j++) {
        while (i < N - 1 && below <= (at + (double)j) / (double)N)
            below += share[++i];
        source[j] = (uint8_t)i;
    }
    for (int64_t j = 0; j < N; j++)
        weight[j] = best + log(total / (double)N);
    return 1;
}

/* Rows first .. first + N - 1 become those of `source`, which does not fall: no row is overwritten before it is
 * copied. */
static void replace_rows(int64_t D, int64_t first, int64_t N, const uint8_t *source, real *codes, shared_layers *s) {
    uint8_t of[FASTAR_SAMPLE_ROWS];
    memcpy(of, s->of + first, N);
    for (int64_t j = 0; j < N; j++)
        s->of[first + j] = of[source[j]];
    codes += first * D;
    for (int64_t j = 0; j < N; j++)
        if (source[j] > j)
            memcpy(codes + j * D, codes + source[j] * D, D * sizeof(real));
    for (int64_t j = N - 1; j >= 0; j--)
        if (source[j] < j)
            memcpy(codes + j * D, codes + source[j] * D, D * sizeof(real));
}

/* The end of stage number `stage` of a walk: particles are resampled where few are effective. */
static void end_stage(const layer *l, int64_t n, int64_t stage, const walk_stages *stages, ROWS rows,
                      shared_layers *s) {
    const int64_t N = stages->n_particles;
    uint8_t source[FASTAR_SAMPLE_ROWS];
    int moved = 0;
    for (int64_t r = 0; r < n; r += N) {
        const double at = stages->noise[stage * stages->noise_stride + r / N];
        if (resample(N, stages->least, at, rows.weight + r, source)) {
            replace_rows(l->z.D, r, N, source, rows.codes, s);
            moved = 1;
        }
    }
    if (moved)
        forget_layers(l, n, s);
}

typedef struct {
    int ahead;         /* whether raw has the outputs of this feature, of layers before the last one */
    int64_t n_changed; /* the layers that the last feature changed, */
    uint8_t changed[FASTAR_SAMPLE_ROWS]; /* by number */
} last_change;

/* The outputs (layers, raw_stride) of feature d, which some row draws; returns where they are. Most hidden layers may
 * serve the next feature too: two outputs for one pass over them. */
static real *drawn_outputs(const layer *l, const shared_layers *s, int64_t d, int next_is_drawn, last_change *last,
                           real *raw, int64_t raw_stride) {
    const int64_t *o = l->z.outputs;
    if (!last->ahead) {
        last->ahead = d > 0 && next_is_drawn && 4 * last->n_changed < s->n && !l->p.rho;
        outputs_of(l, s->n, 0, d, d + 1 + last->ahead, raw, raw_stride);
        return raw;
    }
    raw += o[d] - o[d - 1];
    for (int64_t i = 0; i < last->n_changed; i++) {
        const int64_t r = last->changed[i];
        outputs_of(l, 1, r, d, d + 1, raw + r * raw_stride, raw_stride);
    }
    last->ahead = 0;
    return raw;
}

/* Whether feature d changes a layer just where its code is not 0. */
INLINE int zeros_pass(const layer *l, int64_t d, const input_spec *inputs) {
    return !l->p.rho && d < inputs->markov_order && !(inputs->input_flags[d] & FASTAR_ONE_HOT);
}

/* All layers after feature d, at which rows part. */
static void pass_all(const layer *l, int64_t n, int64_t d, const input_spec *inputs, const real *codes,
                     shared_layers *s, last_change *last, real *raw, int64_t raw_stride) {
    const int64_t D = l->z.D, known = s->n;
    uint8_t from[FASTAR_SAMPLE_ROWS];
    part(l, n, d, codes, s, from);
    for (int64_t i = known; i < s->n && last->ahead; i++)
        memcpy(raw + i * raw_stride, raw + from[i] * raw_stride, raw_stride * sizeof(real));
    int64_t n_changed = 0;
    if (zeros_pass(l, d, inputs)) { /* most codes of sparse rows */
        for (int64_t r = 0; r < s->n; r++) {
            last->changed[n_changed] = (uint8_t)r;
            n_changed += codes[s->row[r] * D + d] != 0;
        }
        for (int64_t i = 0; i < n_changed; i++)
            pass(l, last->changed[i], d, inputs, codes + s->row[last->changed[i]] * D);
    } else
        for (int64_t r = 0; r < s->n; r++) {
            last->changed[n_changed] = (uint8_t)r;
            n_changed += pass(l, r, d, inputs, codes + s->row[r] * D);
        }
    last->n_changed = n_changed;
}

/* initial (n, stride), or one row for all where initial_stride is 0, noise (n, D, n_noise), shift (n, o_D) or NULL,
 * W (.., H), V (o_D - o_1, H), b (o_D,) -> codes (n, D) where they are not held, weight (n,). units, changes
 * (n, capacity), raw (2 n, raw_stride), drawn (n,), flags (D,): scratch. */
static void sample(int64_t n, nade_sizes z, PARAMS p, input_spec inputs, CHANGES changes, DRAW draw, ROWS rows,
                   walk_stages stages, const real *initial, int64_t initial_stride, const real *shift, UNITS units,
                   real *raw, int64_t raw_stride, real *drawn, uint8_t *flags) {
    const layer l = {z, p, changes, units};
    uint8_t from[FASTAR_SAMPLE_ROWS];
    int64_t first = 0, end = z.D, stage = 0;
    unite_flags(n, z.D, rows, flags);
    while (first < z.D && is_observed(flags[first]))
        first++;
    while (end > first && is_observed(flags[end - 1]))
        end--;
    if (first == end)
        return;
    while (stage < stages.n && stages.ends[stage] <= first) /* nothing is weighed before it */
        stage++;
    shared_layers s = lead(&l, n, first, &inputs, rows.codes, initial, initial_stride, shift);
    last_change last = {.n_changed = s.n};
    for (int64_t d = first, e; d < end; d = e) {
        const int64_t limit = stage < stages.n && stages.ends[stage] < end ? stages.ends[stage] : end;
        e = stretch_end(&z, n, d, limit, flags, rows.codes, &s);
        if (is_known(flags[d])) {
            part(&l, n, e - 1, rows.codes, &s, from);
            stretch_outputs(&l, &s, d, e, flags, &inputs, rows.codes, raw, raw_stride);
            weigh_stretch(&l, n, d, e, draw, rows, &s, shift, raw, raw_stride);
        } else if (!is_observed(flags[d])) {
            const int next = e < limit && (flags[e] & FASTAR_SAMPLED);
            const real *now = drawn_outputs(&l, &s, d, next, &last, raw, z.widest);
            choose(&l, n, d, draw, rows, flags[d], &s, shift, now, z.widest, raw + n * raw_stride, drawn);
        }
        for (; stage < stages.n && stages.ends[stage] <= e; stage++)
            end_stage(&l, n, stage, &stages, rows, &s);
        if (e < end)
            pass_all(&l, n, e - 1, &inputs, rows.codes, &s, &last, raw, z.widest);
    }
}

#endif
