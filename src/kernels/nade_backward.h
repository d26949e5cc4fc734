/* Gradients. For nade.c alone.
 *
 * nade_few.h has those with few outputs a feature. With many, each feature is two products of register tiles, by V and
 * by the hidden units, over a slab of hidden units after the other; all rows pass, so that no row of gV is written
 * twice. A feature's outputs are taken a panel after the other. */
#ifndef FASTAR_NADE_BACKWARD_H
#define FASTAR_NADE_BACKWARD_H

#include "nade_few.h"
#include "nade_hidden.h"
#include "vec_shuffles.h"

/* A row of weights, its gradient being summed, and exp(w), which takes a change back. */
typedef struct {
    int64_t row;
    vec w[WIDTH], g[WIDTH], inverse[WIDTH];
} weight_vectors;

INLINE void open_weights(int activation, int64_t row, int64_t H, int64_t width, const real *W, const real *gW,
                         const real *inverse, weight_vectors *s) {
    s->row = row;
    load_vectors(WIDTH, s->w, W + row * H, width);
    load_vectors(WIDTH, s->g, gW + row * H, width);
    if (activation == FASTAR_SIGMOID_UNIT)
        EACH_VECTOR(j)
            s->inverse[j] = inverse ? vload(inverse + j * VL) : vexp(s->w[j]);
}

enum {
    UNIT_SLAB = WIDTH * VL,
    BLOCKS = 4, /* of FASTAR_BACKWARD_ROWS rows that pass together */
    SUMS = 6,   /* rows of a register tile: SUMS * WIDTH sums in registers */
    PANEL = 256 /* outputs whose weights, of a slab, and gradients stay in L2 */
};

/* Work space, and what does not change while a group of blocks passes. h, state, ga: a slab of hidden units after the
 * other, (n, UNIT_SLAB) each. */
typedef struct {
    nade_sizes z;
    PARAMS p;
    CHANGES changes;
    UNITS units;
    const changes_by_feature *lists; /* of the group's blocks */
    int64_t n, r0, k0, k1;
    const real *graw;
    real *gW, *gV, *grho, *ga;
    int64_t P;       /* outputs of the panel: */
    int first, last; /* whether it is the feature's first one, its last one */
    real *V;         /* (P, UNIT_SLAB) */
    real *delta;     /* (n, P) */
    real *h, *state, *gstate;
    real *gh; /* from the feature's panels so far; NULL where every feature is one panel */
} many;

/* sum[i] = start + sum over j < n of A[i * a_row + j * a_step] * B[j], for R rows i. B (n, UNIT_SLAB) */
INLINE void sums_tile(int R, int64_t n, const real *A, int64_t a_row, int64_t a_step, const real *B, vec sum[][WIDTH]) {
    for (int64_t j = 0; j < n; j++) {
        vec b[WIDTH];
        EACH_VECTOR(u)
            b[u] = vload(B + j * UNIT_SLAB + u * VL);
    UNROLL(6)
        for (int i = 0; i < R; i++) {
            vec a = vset1(A[i * a_row + j * a_step]);
            EACH_VECTOR(u)
                sum[i][u] = vfma(a, b[u], sum[i][u]);
        }
    }
}

/* call(R) with a constant number of rows for the next tile of `left` that are left. It is to return R. */
#define NEXT_SUMS(left, call) ((left) >= SUMS ? call(SUMS) : (left) >= 4 ? call(4) : (left) >= 2 ? call(2) : call(1))

/* delta (n, P), h (n, UNIT_SLAB) -> rows o .. o + R - 1 of gV (P, width): delta^T h, and what earlier groups gave.
 * Returns R. */
INLINE int gV_tile(int R, const many *m, const real *h, int64_t o, int64_t width, real *gV) {
    vec sum[SUMS][WIDTH];
    for (int i = 0; i < R; i++)
        if (m->r0 > 0)
            load_vectors(WIDTH, sum[i], gV + (o + i) * m->z.H, width);
        else
            EACH_VECTOR(u)
                sum[i][u] = vset1(0);
    sums_tile(R, m->n, m->delta + o, 1, m->P, h, sum);
    for (int i = 0; i < R; i++)
        store_vectors(WIDTH, gV + (o + i) * m->z.H, sum[i], width);
    return R;
}

/* gV: the panel's first row, at the slab's first unit. */
static void gV_of_panel(const many *m, const real *h, int64_t width, real *gV) {
#define GV_TILE(R) gV_tile(R, m, h, o, width, gV)
    for (int64_t o = 0; o < m->P;)
        o += NEXT_SUMS(m->P - o, GV_TILE);
}

/* delta (n, P) from row r on, V (P, UNIT_SLAB) -> gh (R, UNIT_SLAB), begun by `before`. Returns R. */
INLINE int gh_tile(int R, const many *m, int64_t r, const real *before, real *gh) {
    vec sum[SUMS][WIDTH];
    for (int i = 0; i < R; i++)
        EACH_VECTOR(u)
            sum[i][u] = m->first ? vset1(0) : vload(before + r * UNIT_SLAB + i * UNIT_SLAB + u * VL);
    sums_tile(R, m->P, m->delta + r * m->P, m->P, 1, m->V, sum);
    for (int i = 0; i < R; i++)
        EACH_VECTOR(u)
            vstore(gh + i * UNIT_SLAB + u * VL, sum[i][u]);
    return R;
}

/* gh of up to SUMS rows from row r on; returns of how many. before (n, UNIT_SLAB): of earlier panels. */
static int64_t gh_of_rows(const many *m, int64_t r, int64_t end, const real *before, real *gh) {
    const int64_t first = r;
    end = end < r + SUMS ? end : r + SUMS;
#define GH_TILE(R) gh_tile(R, m, r, before, gh + (r - first) * UNIT_SLAB)
    while (r < end)
        r += NEXT_SUMS(end - r, GH_TILE);
    return end - first;
}

/* The gradient by the pre-activation from this feature's own hidden units. grho: sums of lanes, or NULL. */
INLINE void finish_feature(int activation, const real *gh, const real *h, const real *state, real rho, vec *grho,
                           real *gstate) {
    EACH_VECTOR(u) {
        vec by_scaled = derivative(activation, vload(h + u * VL)), g = vload(gh + u * VL);
        if (grho)
            grho[u] = vfma(g * by_scaled, vload(state + u * VL), grho[u]);
        vstore(gstate + u * VL, vfma(g, by_scaled * vset1(rho), vload(gstate + u * VL)));
    }
}

INLINE void take_back(int activation, real value, weight_vectors *w, const real *gstate, real *state) {
    EACH_VECTOR(u) {
        vec s = vload(state + u * VL);
        w->g[u] = vfma(vset1(value), vload(gstate + u * VL), w->g[u]);
        vstore(state + u * VL, changed(activation, s, w->w[u], value == 1 ? &w->inverse[u] : NULL, -value));
    }
}

INLINE void activate_units(int activation, const real *state, real rho, real *h) {
    EACH_VECTOR(u)
        vstore(h + u * VL, activate(activation, vload(state + u * VL), rho));
}

/* All three where one change leads to the feature, so that no vector is read that was just written. */
INLINE void finish_one_change(int activation, const real *gh, real rho, real rho_before, vec *grho, real value,
                              weight_vectors *w, real *gstate, real *state, real *h) {
    EACH_VECTOR(u) {
        const vec by_scaled = derivative(activation, vload(h + u * VL)), by_h = vload(gh + u * VL);
        const vec a = vload(state + u * VL), g = vfma(by_h, by_scaled * vset1(rho), vload(gstate + u * VL));
        const vec before = changed(activation, a, w->w[u], value == 1 ? &w->inverse[u] : NULL, -value);
        if (grho)
            grho[u] = vfma(by_h * by_scaled, a, grho[u]);
        w->g[u] = vfma(vset1(value), g, w->g[u]);
        vstore(gstate + u * VL, g);
        vstore(state + u * VL, before);
        vstore(h + u * VL, activate(activation, before, rho_before));
    }
}

/* Make `weights` those of a row of W, or with row -1 of none, and keep the gradient of those that they were. */
INLINE void turn_to(int activation, const many *m, int64_t row, int64_t k, int64_t width, weight_vectors *weights) {
    if (row == weights->row)
        return;
    if (weights->row >= 0)
        store_vectors(WIDTH, m->gW + weights->row * m->z.H + k, weights->g, width);
    if (row >= 0)
        open_weights(activation, row, m->z.H, width, m->p.W + k, m->gW + k,
                     m->p.factors ? m->p.factors + row * m->z.stride + k : NULL, weights);
}

/* A slab of hidden units, from k on, of one block of rows at feature d: from delta to the gradients by the weights,
 * and the hidden units as they were at feature d - 1. */
INLINE void rows_of_feature(int activation, const many *m, int64_t block, int64_t d, int64_t k, vec *grho) {
    const int64_t first = block * FASTAR_BACKWARD_ROWS;
    const int64_t width = m->k1 - k < UNIT_SLAB ? m->k1 - k : UNIT_SLAB;
    const int64_t end = m->n - first < FASTAR_BACKWARD_ROWS ? m->n : first + FASTAR_BACKWARD_ROWS;
    const changes_by_feature lists = m->lists[block];
    const real rho = rho_of(&m->p, d), rho_before = d > 1 ? rho_of(&m->p, d - 1) : 1;
    const int64_t at = (k - m->k0) * m->n;
    real gh[SUMS * UNIT_SLAB] __attribute__((aligned(64)));
    weight_vectors weights = {.row = -1};
    if (!m->p.rho)
        grho = NULL;
    for (int64_t r = first, l = lists.first[d], tile; r < end; r += tile) {
        tile = gh_of_rows(m, r, end, m->gh ? m->gh + at : NULL, gh);
        for (int64_t i = r; i < r + tile; i++) {
            real *h = m->h + at + i * UNIT_SLAB, *state = m->state + at + i * UNIT_SLAB;
            real *gstate = m->gstate + at + i * UNIT_SLAB;
            const real *by_h = gh + (i - r) * UNIT_SLAB;
            const int64_t own = (m->r0 + i) * m->changes.capacity, begun = l;
            const int saturated = m->units.saturated[m->r0 + i];
            while (l < lists.first[d + 1] && lists.r[l] == i - first)
                l++;
            if (l == begun + 1 && !saturated) {
                const int64_t c = own + lists.index[begun];
                turn_to(activation, m, m->changes.row[c], k, width, &weights);
                finish_one_change(activation, by_h, rho, rho_before, grho, m->changes.value[c], &weights, gstate, state,
                                  h);
                continue;
            }
            finish_feature(activation, by_h, h, state, rho, grho, gstate);
            for (int64_t j = begun; j < l; j++) {
                const int64_t c = own + lists.index[j];
                turn_to(activation, m, m->changes.row[c], k, width, &weights);
                take_back(saturated ? FASTAR_SIGMOID : activation, m->changes.value[c], &weights, gstate, state);
            }
            if (l > begun || m->p.rho)
                activate_units(saturated ? FASTAR_SIGMOID : activation, state, rho_before, h);
        }
    }
    turn_to(activation, m, -1, k, width, &weights);
}

/* A slab of hidden units from k on, at the panel of feature d that begins with output `first` of V. */
INLINE void slab_of_panel(int activation, const many *m, int64_t d, int64_t first, int64_t k) {
    const int64_t H = m->z.H, width = m->k1 - k < UNIT_SLAB ? m->k1 - k : UNIT_SLAB;
    const real *V = m->p.V + first * H + k;
    vec grho[WIDTH] = {0};
    for (int64_t o = 0; o < m->P; o++) {
        vec v[WIDTH];
        load_vectors(WIDTH, v, V + o * H, width);
        EACH_VECTOR(u)
            vstore(m->V + o * UNIT_SLAB + u * VL, v[u]);
    }
    gV_of_panel(m, m->h + (k - m->k0) * m->n, width, m->gV + first * H + k);
    if (!m->last) {
        real *gh = m->gh + (k - m->k0) * m->n;
        for (int64_t r = 0; r < m->n;)
            r += gh_of_rows(m, r, m->n, gh, gh + r * UNIT_SLAB);
        return;
    }
    for (int64_t block = 0; block * FASTAR_BACKWARD_ROWS < m->n; block++)
        rows_of_feature(activation, m, block, d, k, grho);
    if (m->p.rho) {
        vec sum = grho[0];
        for (int u = 1; u < WIDTH; u++)
            sum += grho[u];
        real *out = m->grho + k / UNIT_SLAB * (m->z.D - 1) + d - 1;
        *out = vsum(sum) + (m->r0 > 0 ? *out : 0);
    }
}

INLINE void group_of_blocks(int activation, many *m) {
    const int64_t D = m->z.D, *outputs = m->z.outputs, row = outputs[D];
    for (int64_t k = m->k0; k < m->k1; k += UNIT_SLAB)
        for (int64_t r = 0; r < m->n; r++) {
            const int64_t at = (k - m->k0) * m->n + r * UNIT_SLAB;
            memcpy(m->state + at, m->units.state + (m->r0 + r) * m->z.stride + k, UNIT_SLAB * sizeof(real));
            memset(m->gstate + at, 0, UNIT_SLAB * sizeof(real));
            activate_units(m->units.saturated[m->r0 + r] ? FASTAR_SIGMOID : activation, m->state + at,
                           D > 1 ? rho_of(&m->p, D - 1) : 1, m->h + at);
        }
    for (int64_t d = D - 1; d > 0; d--)
        for (int64_t o = outputs[d]; o < outputs[d + 1]; o += PANEL) {
            m->first = o == outputs[d];
            m->last = o + PANEL >= outputs[d + 1];
            m->P = m->last ? outputs[d + 1] - o : PANEL;
            for (int64_t r = 0; r < m->n; r++)
                memcpy(m->delta + r * m->P, m->graw + (m->r0 + r) * row + o, m->P * sizeof(real));
            for (int64_t k = m->k0; k < m->k1; k += UNIT_SLAB)
                slab_of_panel(activation, m, d, o - outputs[1], k);
        }
    for (int64_t k = m->k0; k < m->k1; k += UNIT_SLAB)
        for (int64_t r = 0; r < m->n; r++)
            memcpy(m->ga + (m->r0 + r) * m->z.stride + k, m->gstate + (k - m->k0) * m->n + r * UNIT_SLAB,
                   UNIT_SLAB * sizeof(real));
}

INLINE int64_t whole_slabs(int64_t width) { return (width + UNIT_SLAB - 1) / UNIT_SLAB * UNIT_SLAB; }
INLINE int64_t group_rows(int64_t n) { return n < BLOCKS * FASTAR_BACKWARD_ROWS ? n : BLOCKS * FASTAR_BACKWARD_ROWS; }

/* Outputs of a panel, at most. */
INLINE int64_t panel_of(const nade_sizes *z) { return z->widest < PANEL ? z->widest : PANEL; }

static void backward_many(int64_t n, const many *shared, real *scratch) {
    const int64_t rows = group_rows(n), width = whole_slabs(shared->k1 - shared->k0);
    many m = *shared;
    m.h = scratch;
    m.state = m.h + rows * width;
    m.gstate = m.state + rows * width;
    m.gh = m.z.widest > PANEL ? m.gstate + rows * width : NULL;
    m.V = m.gstate + (m.gh ? 2 : 1) * rows * width;
    m.delta = m.V + panel_of(&m.z) * UNIT_SLAB;
    for (m.r0 = 0; m.r0 < n; m.r0 += rows) {
        m.n = n - m.r0 < rows ? n - m.r0 : rows;
        m.lists = shared->lists + m.r0 / FASTAR_BACKWARD_ROWS;
#define GROUP(activation) group_of_blocks(activation, &m)
        EACH_ACTIVATION(m.z.activation, GROUP)
    }
}

/* ---- the choice between them */

INLINE int takes_many(const nade_sizes *z, int rescaled) { return z->many || rescaled; }

static int64_t backward_scratch(int64_t n, nade_sizes z, int64_t width, int rescaled) {
    if (!takes_many(&z, rescaled))
        return sizeof(block_slab) / sizeof(real);
    return (z.widest > PANEL ? 4 : 3) * group_rows(n) * whole_slabs(width) + panel_of(&z) * (UNIT_SLAB + group_rows(n));
}

/* graw (n, o_D), units.state (n, stride), W (n_W, H), V (o_D - o_1, H) -> columns k0 .. k1 - 1 of gW (n_W, H),
 * gV (o_D - o_1, H) and ga (n, stride), and grho (slabs, D - 1). scratch (backward_scratch,). */
static void backward(int64_t n, nade_sizes z, PARAMS p, CHANGES changes, const changes_by_feature *lists,
                     const nade_plan *plans, int64_t k0, int64_t k1, int64_t n_W, UNITS units, const real *graw,
                     real *gW, real *gV, real *grho, real *ga, real *scratch) {
    if (takes_many(&z, p.rho != NULL)) {
        const many m = {.z = z,
                        .p = p,
                        .changes = changes,
                        .units = units,
                        .lists = lists,
                        .k0 = k0,
                        .k1 = k1,
                        .graw = graw,
                        .gW = gW,
                        .gV = gV,
                        .grho = grho,
                        .ga = ga};
        zero_columns(n_W, z.H, k0, k1, gW);
        backward_many(n, &m, scratch);
    } else
        backward_few(n, &z, &p, plans, k0, k1, n_W, &units, graw, gW, gV, ga, scratch);
}

#endif
