/* Gradients where each feature has few outputs. For nade.c alone.
 *
 * A slab of hidden units goes through all outputs, from last to first, a few at a time: their rows of V and gV stay
 * in registers while the data's rows pass. Most rows do not change in between and take all these outputs at once;
 * the others go through them one by one, and through their changes. nade_plan.h has which is which. */
#ifndef FASTAR_NADE_FEW_H
#define FASTAR_NADE_FEW_H

#include "nade_plan.h"

enum { FEW = 2 }; /* vectors of hidden units of a slab: what outputs need of a block's rows fits L1 */
#define EACH_OF_FEW(j) UNROLL(2) for (int j = 0; j < FEW; j++)
#define EACH_OUTPUT(o, n) UNROLL(4) for (int o = (n) - 1; o >= 0; o--)

/* A slab of hidden units of one row. Numbers that every output needs lie apart from those that a change needs. */
typedef struct {
    vec h[FEW];  /* in the present run of features */
    vec gh[FEW]; /* the gradient by h, from this run alone */
} run_slab;
typedef struct {
    vec ga[FEW];    /* the gradient by the pre-activation, from all runs after */
    vec state[FEW]; /* as in UNITS */
} row_slab;

/* A row of W, its gradient being summed, and exp(w), which takes a change back. */
typedef struct {
    vec w[FEW], g[FEW], inverse[FEW];
} weight_slab;

typedef struct {
    run_slab run[FASTAR_PLANNED_ROWS];
    row_slab row[FASTAR_PLANNED_ROWS];
    weight_slab weights[2 * PACE * FASTAR_PLANNED_ROWS]; /* of the group's changes */
} block_slab;

/* A slab of hidden units, k .. k + width - 1, of the n rows from row r0 on. */
typedef struct {
    nade_sizes z;
    PARAMS p;
    UNITS units;
    nade_plan plan;
    int64_t n, r0, k, width;
    const real *graw;
    real *gW, *gV, *ga;
    block_slab *s;
} few;

static void open_rows(const few *m, const nade_group *group) {
    for (int64_t i = 0; i < group->n_rows; i++) {
        const nade_row row = m->plan.rows[group->first_row + i];
        const int64_t at = row.row * m->z.H + m->k;
        weight_slab *w = m->s->weights + i;
        load_vectors(FEW, w->w, m->p.W + at, m->width);
        if (row.seen)
            load_vectors(FEW, w->g, m->gW + at, m->width);
        else
            EACH_OF_FEW(j)
                w->g[j] = vset1(0);
        if (m->z.activation == FASTAR_SIGMOID_UNIT)
            EACH_OF_FEW(j)
                w->inverse[j] = vexp(w->w[j]);
    }
}

INLINE void fetch_few(const real *p) {
    for (int i = 0; i <= FEW; i++)
        __builtin_prefetch(i < FEW ? p + i * VL : p + FEW * VL - 1);
}

/* Ask for the weights and gradients of a group: no processor foresees where they lie. */
static void fetch_group(const few *m, int64_t index) {
    const nade_group *group = m->plan.groups + index;
    for (int64_t i = 0; i < group->n_rows; i++) {
        const int64_t at = m->plan.rows[group->first_row + i].row * m->z.H + m->k;
        fetch_few(m->p.W + at);
        fetch_few(m->gW + at);
    }
    for (int64_t o = index * PACE; o < (index + 1) * PACE; o++) {
        fetch_few(m->p.V + o * m->z.H + m->k);
        fetch_few(m->gV + o * m->z.H + m->k);
    }
}

static void close_rows(const few *m, const nade_group *group) {
    for (int64_t i = 0; i < group->n_rows; i++) {
        const int64_t at = m->plan.rows[group->first_row + i].row * m->z.H + m->k;
        store_vectors(FEW, m->gW + at, m->s->weights[i].g, m->width);
    }
}

INLINE void add_output(vec delta, const vec *h, const vec *v, vec *g, vec *gh) {
    EACH_OF_FEW(j) {
        g[j] = vfma(delta, h[j], g[j]);
        gh[j] = vfma(delta, v[j], gh[j]);
    }
}

/* Take back a change: its gradient goes to the weights, h becomes what it was. */
INLINE void backward_change(int activation, real value, weight_slab *w, vec *h, vec *gh, vec *ga, vec *state) {
    EACH_OF_FEW(j) {
        ga[j] = vfma(gh[j], derivative(activation, h[j]), ga[j]);
        gh[j] = vset1(0);
    }
    if (activation != FASTAR_SIGMOID_UNIT)
        EACH_OF_FEW(j) {
            w->g[j] = vfma(vset1(value), ga[j], w->g[j]);
            state[j] = vfma(vset1(-value), w->w[j], state[j]);
        }
    else if (value > 0) /* 1 or -1: what adds leaves the units that multiply to the activation */
        EACH_OF_FEW(j) {
            w->g[j] += ga[j];
            state[j] *= w->inverse[j];
        }
    else
        EACH_OF_FEW(j) {
            w->g[j] -= ga[j];
            state[j] /= w->inverse[j];
        }
    EACH_OF_FEW(j)
        h[j] = activate(activation, state[j], 1);
}

/* One row through G outputs and its changes; returns the first step of the next. */
INLINE const nade_step *walk_row(int activation, int G, int64_t r, uint32_t tag, const real *graw, block_slab *s,
                                 const nade_step *step, vec v[][FEW], vec g[][FEW]) {
    vec h[FEW], gh[FEW], ga[FEW], state[FEW];
    EACH_OF_FEW(j) {
        h[j] = s->run[r].h[j];
        gh[j] = s->run[r].gh[j];
        ga[j] = s->row[r].ga[j];
        state[j] = s->row[r].state[j];
    }
    EACH_OUTPUT(o, G) {
        add_output(vset1(graw[o]), h, v[o], g[o], gh);
        for (; step->tag == tag + (uint32_t)o; step++)
            backward_change(activation, step->value, s->weights + step->place, h, gh, ga, state);
    }
    EACH_OF_FEW(j) {
        s->run[r].h[j] = h[j];
        s->run[r].gh[j] = gh[j];
        s->row[r].ga[j] = ga[j];
        s->row[r].state[j] = state[j];
    }
    return step;
}

/* The first n rows of a group. In a function of its own, so that compilers keep all its sums in registers. */
static __attribute__((noinline)) void calm_rows(const few *m, int64_t n, const uint8_t *order, const real *V,
                                                const real *graw, vec g[][FEW]) {
    const int64_t graw_stride = m->z.outputs[m->z.D];
    run_slab *runs = m->s->run;
    vec v[PACE][FEW], sum[PACE][FEW];
    EACH_OUTPUT(o, PACE) {
        load_vectors(FEW, v[o], V + o * m->z.H, m->width);
        EACH_OF_FEW(j)
            sum[o][j] = g[o][j];
    }
    for (int64_t i = 0; i < n; i++) {
        run_slab *run = runs + order[i];
        const real *delta = graw + order[i] * graw_stride;
        vec h[FEW], gh[FEW];
        EACH_OF_FEW(j) {
            h[j] = run->h[j];
            gh[j] = run->gh[j];
        }
        EACH_OUTPUT(o, PACE)
            add_output(vset1(delta[o]), h, v[o], sum[o], gh);
        EACH_OF_FEW(j)
            run->gh[j] = gh[j];
    }
    EACH_OUTPUT(o, PACE)
        EACH_OF_FEW(j)
            g[o][j] = sum[o][j];
}

/* The G outputs of a group, PACE or those that are left. */
INLINE void backward_group(int activation, int G, const few *m, int64_t index) {
    enum { AHEAD = 3 };
    const nade_group *group = m->plan.groups + index;
    const nade_step *step = m->plan.steps + group->first_step;
    const uint8_t *order = m->plan.order + index * FASTAR_PLANNED_ROWS;
    const int64_t H = m->z.H, graw_stride = m->z.outputs[m->z.D], n = m->n;
    const real *V = m->p.V + index * PACE * H + m->k;
    const real *graw = m->graw + m->r0 * graw_stride + m->z.outputs[1] + index * PACE;
    real *gV = m->gV + index * PACE * H + m->k;
    vec v[PACE][FEW], g[PACE][FEW], sums[PACE][FEW];
    if (index >= AHEAD)
        fetch_group(m, index - AHEAD);
    EACH_OUTPUT(o, G)
        if (m->r0 > 0)
            load_vectors(FEW, sums[o], gV + o * H, m->width);
        else
            EACH_OF_FEW(j)
                sums[o][j] = vset1(0);
    if (G == PACE)
        calm_rows(m, group->calm, order, V, graw, sums);
    EACH_OUTPUT(o, G) {
        load_vectors(FEW, v[o], V + o * H, m->width);
        EACH_OF_FEW(j)
            g[o][j] = sums[o][j];
    }
    open_rows(m, group);
    for (int64_t i = G == PACE ? group->calm : 0; i < group->normal; i++)
        step = walk_row(activation, G, order[i], step_tag(index, order[i], 0), graw + order[i] * graw_stride, m->s,
                        step, v, g);
    if (activation == FASTAR_SIGMOID_UNIT)
        for (int64_t i = group->normal; i < n; i++)
            step = walk_row(FASTAR_SIGMOID, G, order[i], step_tag(index, order[i], 0), graw + order[i] * graw_stride,
                            m->s, step, v, g);
    EACH_OUTPUT(o, G)
        store_vectors(FEW, gV + o * H, g[o], m->width);
    close_rows(m, group);
}

INLINE void backward_block(int activation, const few *m) {
    block_slab *s = m->s;
    for (int64_t r = 0; r < m->n; r++) {
        const int own = m->units.saturated[m->r0 + r] ? FASTAR_SIGMOID : activation;
        s->run[r] = (run_slab){0};
        s->row[r] = (row_slab){0};
        load_vectors(FEW, s->row[r].state, m->units.state + (m->r0 + r) * m->z.stride + m->k, FEW * VL);
        EACH_OF_FEW(j)
            s->run[r].h[j] = activate(own, s->row[r].state[j], 1);
    }
    const int64_t outputs = output_of(&m->z, m->z.D), whole = outputs / PACE;
    if (outputs % PACE == 1)
        backward_group(activation, 1, m, whole);
    else if (PACE > 2 && outputs % PACE == 2)
        backward_group(activation, 2, m, whole);
    else if (PACE > 2 && outputs % PACE == 3)
        backward_group(activation, 3, m, whole);
    for (int64_t i = whole - 1; i >= 0; i--)
        backward_group(activation, PACE, m, i);
    for (int64_t r = 0; r < m->n; r++) {
        EACH_OF_FEW(j)
            s->row[r].ga[j] = vfma(s->run[r].gh[j], derivative(activation, s->run[r].h[j]), s->row[r].ga[j]);
        store_vectors(FEW, m->ga + (m->r0 + r) * m->z.stride + m->k, s->row[r].ga, FEW * VL);
    }
}

INLINE void zero_columns(int64_t rows, int64_t H, int64_t k0, int64_t k1, real *gW) {
    for (int64_t row = 0; row < rows; row++)
        memset(gW + row * H + k0, 0, (k1 - k0) * sizeof(real));
}

static void backward_few(int64_t n, const nade_sizes *z, const PARAMS *p, const nade_plan *plans, int64_t k0,
                         int64_t k1, int64_t n_W, const UNITS *units, const real *graw, real *gW, real *gV, real *ga,
                         real *scratch) {
    few m = {.z = *z, .p = *p, .units = *units, .graw = graw, .gW = gW, .gV = gV, .ga = ga, .s = (block_slab *)scratch};
    /* Rows that the first block does not add to; the others are overwritten where it does. */
    for (int64_t row = 0; n > 0 && row < n_W; row++)
        if (!plans->seen[row])
            zero_columns(1, z->H, k0, k1, gW + row * z->H);
    for (m.k = k0; m.k < k1; m.k += FEW * VL) {
        m.width = m.k + FEW * VL < k1 ? FEW * VL : k1 - m.k;
        for (m.r0 = 0; m.r0 < n; m.r0 += FASTAR_PLANNED_ROWS) {
            m.n = n - m.r0 < FASTAR_PLANNED_ROWS ? n - m.r0 : FASTAR_PLANNED_ROWS;
            m.plan = plans[m.r0 / FASTAR_PLANNED_ROWS];
#define BACKWARD(activation) backward_block(activation, &m)
            EACH_ACTIVATION(z->activation, BACKWARD)
        }
    }
}

#endif
