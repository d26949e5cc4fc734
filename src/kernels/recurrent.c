/* A panel of hidden units at a time: the products of all their gates, then their activations while these are in
 * L1. The packed weights and the states of one share of sequences stay in L2 through all time. */
#include "recurrent.h"
#include "cells.h"
#include "entering.h"
#include "product.h"

typedef recurrent_table table_type;
#define LAYER recurrent_layer
#define STEPS recurrent_steps
#define WALK recurrent_walk
#define DRAW draw_spec
#define WALKED walked_rows

enum { BLOCK = 256 }; /* steps of `outer` that stay in L2, as far as one panel and the units go */

/* W (K, parts H) -> packed: panels of PANEL columns, (K, PANEL) each, those of the parts in turn. */
static void pack(int64_t K, int64_t parts, int64_t H, const real *W, real *packed) {
    for (int64_t j = 0; j < H; j += PANEL)
        for (int64_t g = 0; g < parts; g++) {
            copy_columns(K, least(PANEL, H - j), W + g * H + j, parts * H, packed, PANEL);
            packed += K * PANEL;
        }
}

/* Rows of scratch, slots and a gap apart: whole multiples of 4 kB would share a few lines of L1. */
INLINE int64_t scratch_row(const LAYER *l) { return slots_of(l->cell) * l->H + FASTAR_GAP; }

/* One step of n sequences: x (n, scratch_row) has what enters. slots (n, S H): OUT activations, or NULL. */
INLINE void step_of(int cell, int64_t n, const LAYER *l, real *x, const real *s, const real *m, real *slots,
                    real *after_s, real *after_m) {
    const int64_t H = l->H, G = gates_of(cell), S = slots_of(cell), row = scratch_row(l);
    const real *packed = l->packed;
    for (int64_t j = 0; j < H; j += PANEL) {
        const int64_t width = least(PANEL, H - j);
        for (int64_t g = 0; g < G; g++) {
            const int q = cell == FASTAR_GRU_CELL && g == G - 1;
            product(n, H, width, s, H, packed, q ? l->d + j : NULL, !q, x + (g + q) * H + j, row);
            packed += H * PANEL;
        }
        for (int64_t r = 0; r < n; r++)
            for (int64_t k = j; k < j + width; k += VL)
                cell_after(cell, H, H - k, x + r * row + k, s + r * H + k, m ? m + r * H + k : NULL,
                           slots ? slots + r * S * H + k : NULL, after_s + r * H + k,
                           after_m ? after_m + r * H + k : NULL);
    }
}

static void step(int64_t n, const LAYER *l, real *x, const real *s, const real *m, real *slots, real *after_s,
                 real *after_m) {
#define STEP(cell) step_of(cell, n, l, x, s, m, slots, after_s, after_m)
    switch (l->cell) {
    case FASTAR_TANH_CELL: STEP(FASTAR_TANH_CELL); break;
    case FASTAR_GRU_CELL: STEP(FASTAR_GRU_CELL); break;
    default: STEP(FASTAR_LSTM_CELL);
    }
}

/* How many of the sequences r0 .. r1 - 1 have a step t. */
INLINE int64_t alive(const STEPS *steps, int64_t t, int64_t r0, int64_t r1) {
    const int64_t n = t < steps->T ? steps->first[t + 1] - steps->first[t] : 0;
    return n <= r0 ? 0 : least(n, r1) - r0;
}

/* given (M, G H), or entering (M, E) -> s, m (N, H) and slots (M, S H) of the sequences r0 .. r1 - 1.
 * scratch (r1 - r0, S H + FASTAR_GAP). */
static void forward(int64_t r0, int64_t r1, LAYER layer, STEPS steps, const real *entering, const real *given,
                    real *scratch) {
    const int64_t H = layer.H, E = layer.inputs.D, x_width = gates_of(layer.cell) * H;
    const int64_t row = scratch_row(&layer);
    for (int64_t t = 0; t + 1 < steps.T; t++) {
        const int64_t at = steps.first[t] + r0, next = steps.first[t + 1] + r0, update = next - steps.first[1];
        const int64_t n = alive(&steps, t + 1, r0, r1);
        if (n == 0)
            break;
        if (given)
            copy_columns(n, x_width, given + update * x_width, x_width, scratch, row);
        else
            gather(n, &layer.inputs, x_width, layer.x, layer.c + r0 * layer.c_row, layer.c_row, entering + update * E,
                   scratch, row);
        step(n, &layer, scratch, steps.s + at * H, steps.m ? steps.m + at * H : NULL,
             steps.slots ? steps.slots + update * slots_of(layer.cell) * H : NULL, steps.s + next * H,
             steps.m ? steps.m + next * H : NULL);
    }
}

INLINE void back_of(int cell, int64_t n, const LAYER *l, real *slots, const real *s, const real *m, const real *after_m,
                    const real *g, real *gx, real *gs, real *gm) {
    const int64_t H = l->H, G = gates_of(cell), S = slots_of(cell), row = scratch_row(l);
    const int64_t first = cell == FASTAR_GRU_CELL ? 2 * H : G * H; /* depth of the slots before n and q */
    for (int64_t r = 0; r < n; r++) {
        for (int64_t k = 0; k < H; k += VL)
            cell_before(cell, H, H - k, slots + r * S * H + k, s + r * H + k, m ? m + r * H + k : NULL,
                        after_m ? after_m + r * H + k : NULL, g + r * H + k, gx + r * row + k,
                        gs ? gs + r * H + k : NULL, gm + r * H + k);
        memcpy(slots + r * S * H, gx + r * row, S * H * sizeof(real));
    }
    for (int64_t j = 0; j < H && gs; j += PANEL) {
        const real *packed = l->packed + j * G * H;
        product(n, first, least(PANEL, H - j), gx, row, packed, NULL, 1, gs + j, H);
        if (first < G * H)
            product(n, H, least(PANEL, H - j), gx + 3 * H, row, packed + first * PANEL, NULL, 1, gs + j, H);
    }
}

/* slots (M, S H), s, m (N, H) -> gradients in slots, and gs (N, H), to which what flows back is added.
 * scratch (r1 - r0, H + S H + FASTAR_GAP). */
static void backward(int64_t r0, int64_t r1, LAYER layer, STEPS steps, int64_t cut, real *gs, real *scratch) {
    const int64_t H = layer.H, row = slots_of(layer.cell) * H;
    real *gm = scratch, *gx = gm + (r1 - r0) * H;
    memset(gm, 0, (r1 - r0) * H * sizeof(real));
    for (int64_t t = steps.T - 2; t >= 0; t--) {
        const int64_t at = steps.first[t] + r0, next = steps.first[t + 1] + r0;
        const int64_t n = alive(&steps, t + 1, r0, r1);
        const int stop = cut && t % cut == 0;
        real *slots = steps.slots + (next - steps.first[1]) * row;
        const real *s = steps.s + at * H, *m = steps.m ? steps.m + at * H : NULL;
        const real *after_m = steps.m ? steps.m + next * H : NULL;
#define BACK(cell) back_of(cell, n, &layer, slots, s, m, after_m, gs + next * H, gx, stop ? NULL : gs + at * H, gm)
        if (n > 0)
            switch (layer.cell) {
            case FASTAR_TANH_CELL: BACK(FASTAR_TANH_CELL); break;
            case FASTAR_GRU_CELL: BACK(FASTAR_GRU_CELL); break;
            default: BACK(FASTAR_LSTM_CELL);
            }
        if (stop)
            memset(gm, 0, n * H * sizeof(real));
    }
}

/* The first feature of step t. */
INLINE int64_t first_feature(const WALK *w, int64_t t) { return w->own_features ? t * w->F : 0; }

/* All features of step t, of raw (n, width): weighed where they are held, drawn where they are free. */
static void choose(int64_t n, int64_t t, const WALK *w, DRAW draw, WALKED rows, real *raw, real *drawn) {
    const int64_t F = w->F, D = w->T * F, first = first_feature(w, t);
    const int64_t *outputs = w->outputs + first, width = outputs[F] - outputs[0];
    for (int64_t f = 0; f < F; f++) {
        const int64_t d = t * F + f, feature = first + f;
        real *z = raw + outputs[f] - outputs[0];
        if (rows.held)
            draw.weigh(n, D, d, feature, draw.spec, z, width, rows);
        draw.function(n, feature, draw.spec, z, width, rows.noise + d * draw.n_noise, D * draw.n_noise,
                      (earlier_codes){rows.codes + d, D, 1}, drawn);
        for (int64_t r = 0; r < n; r++)
            if (!rows.held || rows.held[r * D + d] == FASTAR_SAMPLED)
                rows.codes[r * D + d] = drawn[r];
    }
}

/* out (n, out_row) += A W for all columns of the packed W. */
static void add_product(int64_t n, int64_t K, int64_t columns, const real *A, const real *packed, real *out,
                        int64_t out_row) {
    for (int64_t j = 0; j < columns; j += PANEL)
        product(n, K, least(PANEL, columns - j), A, K, packed + j * K, NULL, 1, out + j, out_row);
}

static void outputs(int64_t n, int64_t t, const WALK *w, const real *s, real *raw) {
    const int64_t first = first_feature(w, t), begin = w->outputs[first], width = w->outputs[first + w->F] - begin;
    const int64_t H = w->layers[w->L - 1].H;
    const real *b = w->b + begin;
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < width; i++)
            raw[r * width + i] = w->own ? b[i] + w->own[r * w->P + i] : b[i];
    add_product(n, H, width, s, w->V, raw, width);
}

/* noise (n, T F, n_noise) -> codes (n, T F) where they are not held, weight (n,), and states (n, H), two a layer.
 * scratch (n, S H + FASTAR_GAP + H + P + 1 + E). */
static void sample(int64_t n, WALK walk, DRAW draw, WALKED walked, real *const *states, real *scratch) {
    const int64_t L = walk.L;
    int64_t most = 0;
    for (int64_t i = 0; i < L; i++)
        most = most < walk.layers[i].H ? walk.layers[i].H : most;
    real *x = scratch, *after = x + n * (slots_of(walk.layers->cell) * most + FASTAR_GAP), *raw = after + n * most;
    real *drawn = raw + n * walk.P, *entering = drawn + n;
    for (int64_t t = 0; t < walk.T; t++) {
        if (!is_held(n, walk.T * walk.F, t * walk.F, walk.F, walked.held)) {
            outputs(n, t, &walk, states[2 * L - 2], raw);
            choose(n, t, &walk, draw, walked, raw, drawn);
        }
        enter(n, &walk.layers->inputs, walk.source + t * walk.layers->inputs.D, walk.T * walk.F, 1, walked.codes,
              entering);
        for (int64_t i = 0; i < L; i++) {
            const LAYER *l = walk.layers + i;
            const int64_t H = l->H, columns = gates_of(l->cell) * H, row = scratch_row(l);
            const real *c = l->c + walked.first * l->c_row;
            if (i == 0)
                gather(n, &l->inputs, columns, l->x, c, l->c_row, entering, x, row);
            else {
                for (int64_t r = 0; r < n; r++)
                    memcpy(x + r * row, c + r * l->c_row, columns * sizeof(real));
                add_product(n, walk.layers[i - 1].H, columns, states[2 * i - 2], l->x, x, row);
            }
            step(n, l, x, states[2 * i], states[2 * i + 1], NULL, after, states[2 * i + 1]);
            memcpy(states[2 * i], after, n * H * sizeof(real));
        }
    }
}

/* A (n, R), panel (n, PANEL) -> gW (R, width), width <= PANEL: A^T panel, and, if `add`, what it was. */
INLINE void outer_tile(int R, int64_t n, int64_t width, const real *A, const real *panel, int add, real *gW,
                       int64_t columns) {
    vec sum[TILE][2];
    for (int r = 0; r < R; r++)
        for (int i = 0; i < 2; i++)
            sum[r][i] = add && width > i * VL ? load(gW + r * columns + i * VL, width - i * VL) : vset1(0);
    tile(R, 0, 2, 0, n, A, 1, R, panel, sum);
    for (int r = 0; r < R; r++)
        for (int i = 0; i < 2; i++)
            if (width > i * VL)
                store(gW + r * columns + i * VL, sum[r][i], width - i * VL);
}

/* Asks for rows that lie too far apart for the processor to foresee. */
INLINE void ask_for(int64_t rows, int64_t width, const real *p, int64_t row) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i += 64 / (int64_t)sizeof(real))
            __builtin_prefetch(p + r * row + i, 0, 2);
}

/* Rows k .. k + R - 1 of `outer_panel`; returns R. */
INLINE int outer_rows(int R, int64_t k, int64_t n, int64_t K, int64_t width, int64_t more, const real *tiles,
                      const real *panel, int add, const real *g, int64_t g_row, real *gW, int64_t columns) {
    ask_for(least(R, K - k - R), width, gW + (k + R) * columns, columns);
    ask_for((k + R) * n / K - k * n / K, more, g + k * n / K * g_row + PANEL, g_row);
    outer_tile(R, n, width, tiles + k * BLOCK, panel, add, gW + k * columns, columns);
    return R;
}

/* tiles: A (n, K), R columns after the other, panel (n, PANEL) -> gW (K, width). Meanwhile comes what the next tile
 * adds to, and `more` columns of the next panel, behind those of g (n, g_row). */
static void outer_panel(int64_t n, int64_t K, int64_t width, int64_t more, const real *tiles, const real *panel,
                        int add, const real *g, int64_t g_row, real *gW, int64_t columns) {
#define OUTER(R) outer_rows(R, k, n, K, width, more, tiles, panel, add, g, g_row, gW, columns)
    for (int64_t k = 0; k < K;)
        k += NEXT_TILE(K - k, OUTER);
}

/* R columns of n rows of A (n, K); returns R. */
INLINE int pack_columns(int R, int64_t n, int64_t K, const real *A, real *to) {
    copy_columns(n, R, A, K, to, R);
    return R;
}

/* A (N, K), G (N, columns) -> columns j0 .. j1 - 1 of gW (K, columns): A^T G. scratch (K + PANEL, BLOCK). */
static void outer(int64_t N, int64_t K, int64_t j0, int64_t j1, const real *A, const real *G, int64_t g_row, real *gW,
                  int64_t columns, real *scratch) {
    real *tiles = scratch, *panel = scratch + K * BLOCK;
    for (int64_t b = 0; b < N; b += BLOCK) {
        const int64_t n = least(BLOCK, N - b);
#define PACK_COLUMNS(R) pack_columns(R, n, K, A + b * K + k, tiles + k * BLOCK)
        for (int64_t k = 0; k < K;)
            k += NEXT_TILE(K - k, PACK_COLUMNS);
        for (int64_t j = j0; j < j1; j += PANEL) {
            const int64_t width = least(PANEL, j1 - j), more = least(PANEL, j1 - j - width);
            const real *g = G + b * g_row + j;
            copy_columns(n, width, g, g_row, panel, PANEL);
            outer_panel(n, K, width, more, tiles, panel, b > 0, g, g_row, gW + j, columns);
        }
    }
}

/* entering (M, E), slots (M, row) -> columns j0 .. j1 - 1 of total (row,), and, of those, the first `width` of
 * gW (sum Q, width). */
static void scatter(int64_t M, int64_t width, int64_t row, int64_t j0, int64_t j1, input_spec inputs,
                    const real *entering, const real *slots, real *gW, real *total) {
    const int64_t E = inputs.D, end = least(j1, width);
    for (int64_t i = 0; i < inputs.offsets[E] && j0 < end; i++)
        memset(gW + i * width + j0, 0, (end - j0) * sizeof(real));
    memset(total + j0, 0, (j1 - j0) * sizeof(real));
    for (int64_t r = 0; r < M; r++) {
        const real *g = slots + r * row;
        for (int64_t k = j0; k < j1; k += VL)
            store(total + k, load(total + k, j1 - k) + load(g + k, j1 - k), j1 - k);
        for (int64_t e = 0; e < E; e++) {
            int32_t i;
            real value;
            if (!change_of(&inputs, e, entering[r * E + e], &i, &value))
                continue;
            real *w = gW + i * width;
            for (int64_t k = j0; k < end; k += VL)
                store(w + k, vfma(vset1(value), load(g + k, end - k), load(w + k, end - k)), end - k);
        }
    }
}

const table_type FASTAR_TABLE(recurrent) = {
    .panel = PANEL,
    .block = BLOCK,
    .pack = pack,
    .forward = forward,
    .backward = backward,
    .sample = sample,
    .outer = outer,
    .scatter = scatter,
};
