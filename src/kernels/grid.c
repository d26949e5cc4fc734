/* Terms from the row above are one product for a row of pixels; terms along the row are one product for n images. */
#include "grid.h"
#include "cells.h"
#include "entering.h"
#include "product.h"

typedef grid_table table_type;
#define PASS grid_pass
#define WALK grid_walk
#define WALK_PASS grid_walk_pass
#define DRAW draw_spec
#define WALKED walked_rows

enum { CELL = FASTAR_LSTM_CELL };

INLINE int64_t padded(int64_t H) { return (H + PANEL - 1) / PANEL * PANEL; }

/* slots (n, 4 H) += s W, W (H, 4 H) packed in 4 parts. */
static void add_gates(int64_t n, int64_t H, const real *s, const real *packed, real *slots) {
    for (int64_t j = 0; j < H; j += PANEL)
        for (int64_t g = 0; g < 4; g++, packed += H * PANEL)
            product(n, H, least(PANEL, H - j), s, H, packed, NULL, 1, slots + g * H + j, 4 * H);
}

/* gs (n, H) += slots W^T, the transposed W (4 H, H) packed. */
static void add_back(int64_t n, int64_t H, const real *slots, const real *packed, real *gs) {
    for (int64_t j = 0; j < H; j += PANEL)
        product(n, 4 * H, least(PANEL, H - j), slots, 4 * H, packed + j * 4 * H, NULL, 1, gs + j, H);
}

/* n cells after one another in memory; m: the memory that they go on from. */
static void cells(int64_t n, int64_t H, real *slots, const real *m, real *after_s, real *after_m) {
    for (int64_t r = 0; r < n; r++)
        for (int64_t k = 0; k < H; k += VL)
            cell_after(CELL, H, H - k, slots + r * 4 * H + k, NULL, m + r * H + k, slots + r * 4 * H + k,
                       after_s + r * H + k, after_m + r * H + k);
}

/* slots (n, 4 H), gs (n, H) -> gradients in slots, and gm (n, H), the gradient by the memory before. */
static void cells_back(int64_t n, int64_t H, real *slots, const real *m, const real *after_m, const real *gs,
                       real *gm) {
    for (int64_t r = 0; r < n; r++)
        for (int64_t k = 0; k < H; k += VL)
            cell_before(CELL, H, H - k, slots + r * 4 * H + k, NULL, m + r * H + k, after_m + r * H + k, gs + r * H + k,
                        slots + r * 4 * H + k, NULL, gm + r * H + k);
}

/* codes (pixels, n, E), W (sum Q, width), c (n, c_row) -> x (pixels, n, width). */
static void gather_all(int64_t pixels, int64_t n, input_spec inputs, int64_t width, const real *W, const real *c,
                       int64_t c_row, const real *codes, real *x) {
    for (int64_t d = 0; d < pixels; d++)
        gather(n, &inputs, width, W, c, c_row, codes + d * n * inputs.D, x + d * n * width, width);
}

/* A row of pixels: s, m of the row, those above it a row before in memory, slots (J, n, 4 H). */
static void forward_row(int64_t J, int64_t n, const PASS *p, const real *above_s, const real *above_m, real *s, real *m,
                        real *slots) {
    const int64_t H = p->H, pixel = n * H;
    for (int64_t k = 0; k < p->n_above; k++)
        add_gates(J * n, H, above_s + (1 + p->above[k]) * pixel, p->W_above + k * 4 * H * padded(H), slots);
    if (!p->along)
        cells(J * n, H, slots, above_m + pixel, s + pixel, m + pixel);
    for (int64_t step = 0; p->along && step < J; step++) {
        const int64_t j = p->along < 0 ? step : J - 1 - step, from = (j + 1 + p->along) * pixel;
        add_gates(n, H, s + from, p->W_along, slots + j * n * 4 * H);
        cells(n, H, slots + j * n * 4 * H, m + from, s + (j + 1) * pixel, m + (j + 1) * pixel);
    }
}

/* slots (I, J, n, 4 H) -> s, m (I + 1, J + 2, n, H), and the activations in slots. */
static void forward(int64_t I, int64_t J, int64_t n, PASS pass, real *s, real *m, real *slots) {
    const int64_t row = (J + 2) * n * pass.H;
    for (int64_t i = 0; i < I; i++)
        forward_row(J, n, &pass, s + i * row, m + i * row, s + (i + 1) * row, m + (i + 1) * row,
                    slots + i * J * n * 4 * pass.H);
}

/* slots (I, J, n, 4 H), m (I + 1, J + 2, n, H) -> gradients in slots, and gs (I + 1, J + 2, n, H), to which what
 * flows back is added. gm (J + 2, n, H): scratch. */
static void backward(int64_t I, int64_t J, int64_t n, PASS pass, const real *m, real *slots, real *gs, real *gm) {
    const int64_t H = pass.H, pixel = n * H, row = (J + 2) * pixel;
    memset(gm, 0, row * sizeof(real));
    for (int64_t i = I - 1; i >= 0; i--) {
        real *own = slots + i * J * n * 4 * H, *g = gs + (i + 1) * row, *g_above = gs + i * row;
        const real *now = m + (i + 1) * row;
        if (!pass.along)
            cells_back(J * n, H, own, m + i * row + pixel, now + pixel, g + pixel, gm + pixel);
        else
            memset(gm, 0, pixel * sizeof(real));
        for (int64_t step = J - 1; pass.along && step >= 0; step--) {
            const int64_t j = pass.along < 0 ? step : J - 1 - step, from = (j + 1 + pass.along) * pixel;
            cells_back(n, H, own + j * n * 4 * H, now + from, now + (j + 1) * pixel, g + (j + 1) * pixel, gm);
            add_back(n, H, own + j * n * 4 * H, pass.W_along, g + from);
        }
        for (int64_t k = 0; k < pass.n_above; k++)
            add_back(J * n, H, own, pass.W_above + k * 4 * H * padded(H), g_above + (1 + pass.above[k]) * pixel);
    }
}

/* x of one pass at pixel j of the row, into slots (n, 4 H). entering: codes (n, E) of the first layer; u: what the
 * layer below gives in the row. */
static void enters(int64_t n, int64_t j, int64_t r0, const WALK *w, const WALK_PASS *p, const real *entering,
                   const real *u, real *slots) {
    const int64_t width = 4 * p->grid.H;
    if (entering) {
        gather(n, &w->inputs, width, p->x, p->c + r0 * p->c_row, p->c_row, entering, slots, width);
        return;
    }
    for (int64_t r = 0; r < n; r++)
        memcpy(slots + r * width, p->c + (r0 + r) * p->c_row, width * sizeof(real));
    for (int64_t tap = 0; tap < p->taps; tap++) {
        const real *packed = p->x + tap * p->K * padded(width), *from = u + (j + 1 - tap) * n * p->K;
        for (int64_t k = 0; k < width; k += PANEL)
            product(n, p->K, least(PANEL, width - k), from, p->K, packed + k * p->K, NULL, 1, slots + k, width);
    }
}

static void walk_pixel(int64_t J, int64_t n, int64_t j, const WALK_PASS *p, real *slots) {
    const int64_t H = p->grid.H, pixel = n * H, row = (J + 2) * pixel, along = p->grid.along;
    real *s = p->s + row, *m = p->m + row;
    for (int64_t k = 0; k < p->grid.n_above; k++)
        add_gates(n, H, p->s + (j + 1 + p->grid.above[k]) * pixel, p->grid.W_above + k * 4 * H * padded(H), slots);
    if (along)
        add_gates(n, H, s + (j + 1 + along) * pixel, p->grid.W_along, slots);
    cells(n, H, slots, along ? m + (j + 1 + along) * pixel : p->m + (j + 1) * pixel, s + (j + 1) * pixel,
          m + (j + 1) * pixel);
}

/* u of layer l at pixel j: what its passes give, those that are seen by the row below alone from above, and what the
 * layer below gives. */
static void give(int64_t J, int64_t n, int64_t j, int64_t l, const WALK *w) {
    const int64_t pixel = n * w->H, row = (J + 2) * pixel;
    real *u = w->u + l * row + (j + 1) * pixel;
    for (int64_t k = 0; k < pixel; k++) {
        real sum = l > 0 ? u[k - row] : 0;
        for (int64_t q = 0; q < w->n_passes; q++) {
            const WALK_PASS *p = w->passes + l * w->n_passes + q;
            sum += p->s[(p->below ? 0 : row) + (j + 1) * pixel + k];
        }
        u[k] = sum;
    }
}

/* All layers at a pixel: the passes that see what stands before it, or (back) those that the row below sees. */
static void layers_at(int64_t n, int64_t i, int64_t j, int64_t r0, int back, const WALK *w, const real *codes,
                      real *entering, real *slots) {
    const int64_t row = (w->J + 2) * n * w->H;
    enter(n, &w->inputs, w->source + (i * w->J + j) * w->inputs.D, w->I * w->J, w->scale, codes, entering);
    for (int64_t l = 0; l < w->L; l++) {
        for (int64_t q = 0; q < w->n_passes; q++) {
            const WALK_PASS *p = w->passes + l * w->n_passes + q;
            if (p->below != back)
                continue;
            enters(n, j, r0, w, p, l ? NULL : entering, l ? w->u + (l - 1) * row : NULL, slots);
            walk_pixel(w->J, n, j, p, slots);
        }
        if (!back)
            give(w->J, n, j, l, w);
    }
}

static void choose(int64_t n, int64_t d, const WALK *w, DRAW draw, WALKED rows, real *raw, real *drawn) {
    const int64_t D = w->I * w->J, H = w->H, row = (w->J + 2) * n * H;
    const int64_t begin = w->outputs[d], P = w->outputs[d + 1] - begin;
    const real *u = w->u + (w->L - 1) * row + (d % w->J + 1) * n * H;
    for (int64_t r = 0; r < n; r++)
        for (int64_t p = 0; p < P; p++)
            raw[r * P + p] = w->b[begin + p] + (w->own ? w->own[r * w->P + p] : 0);
    for (int64_t p = 0; p < P; p += PANEL)
        product(n, H, least(PANEL, P - p), u, H, w->V + p * H, NULL, 1, raw + p, P);
    if (rows.held)
        draw.weigh(n, D, d, d, draw.spec, raw, P, rows);
    draw.function(n, d, draw.spec, raw, P, rows.noise + d * draw.n_noise, D * draw.n_noise, (earlier_codes){0}, drawn);
    for (int64_t r = 0; r < n; r++)
        if (!rows.held || rows.held[r * D + d] == FASTAR_SAMPLED)
            rows.codes[r * D + d] = drawn[r];
}

/* noise (n, I J, n_noise) -> codes (n, I J) where they are not held, weight (n,). scratch (n, 4 H + P + 1 + E). */
static void sample(int64_t n, WALK walk, DRAW draw, WALKED walked, real *scratch) {
    const int64_t J = walk.J, H = walk.H, row = (J + 2) * n * H, D = walk.I * J;
    real *slots = scratch, *raw = slots + n * 4 * H, *drawn = raw + n * walk.P, *entering = drawn + n;
    for (int64_t i = 0; i < walk.I; i++) {
        for (int64_t j = 0; j < J; j++) {
            layers_at(n, i, j, walked.first, 0, &walk, walked.codes, entering, slots);
            if (!is_held(n, D, i * J + j, 1, walked.held))
                choose(n, i * J + j, &walk, draw, walked, raw, drawn);
        }
        for (int64_t j = J - 1; j >= 0; j--)
            layers_at(n, i, j, walked.first, 1, &walk, walked.codes, entering, slots);
        for (int64_t q = 0; q < walk.L * walk.n_passes; q++) {
            memcpy(walk.passes[q].s, walk.passes[q].s + row, row * sizeof(real));
            memcpy(walk.passes[q].m, walk.passes[q].m + row, row * sizeof(real));
        }
    }
}

const table_type FASTAR_TABLE(grid) = {
    .gather = gather_all,
    .forward = forward,
    .backward = backward,
    .sample = sample,
};
