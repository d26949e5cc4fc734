/* What the weights of a block of features give, with a row of data in each lane: unit k of a layer is the ROWS numbers
 * from units + k * ROWS on. For masked_walk.h alone. */
#ifndef FASTAR_MASKED_BLOCKS_H
#define FASTAR_MASKED_BLOCKS_H

#include "change.h"
#include "masked_stairs.h"
#include "vec_shuffles.h"

#define SAMPLED sampled_weights

enum {
    ROWS = 4 * VL,      /* of data that one walk over the features carries */
    SAMPLE_DEPTH = 128, /* steps of a product: the units of ROWS rows, 32 kB, stay in L1 */
    PUSHED = 4,         /* vectors of a row of listed inputs' weights, or twice, or four times as many */
};

/* The vectors of ROWS numbers. */
#define EACH_QUARTER(v) UNROLL(4) for (int v = 0; v < 4; v++)

/* units (K, ROWS), B (K, GROUP) -> out (width, ROWS), width <= GROUP: out[j] += sum over K of B[k, j] * units[k]. */
INLINE void group_product(int64_t K, const real *units, const real *B, int64_t width, real *out) {
    vec sum[GROUP][4];
    for (int j = 0; j < GROUP; j++)
        EACH_QUARTER(v)
    sum[j][v] = j < width ? vload(out + j * ROWS + v * VL) : vset1(0);
    for (int64_t k = 0; k < K; k++) {
        vec u[4];
        EACH_QUARTER(v)
        u[v] = vload(units + k * ROWS + v * VL);
#pragma GCC unroll 6
        for (int j = 0; j < GROUP; j++) {
            vec b = vset1(B[k * GROUP + j]);
            EACH_QUARTER(v)
            sum[j][v] = vfma(b, u[v], sum[j][v]);
        }
    }
    for (int j = 0; j < GROUP && j < width; j++)
        EACH_QUARTER(v)
    vstore(out + j * ROWS + v * VL, sum[j][v]);
}

/* What the units that were final before the block give to its columns, the first of which is `out`. */
static void from_before(int64_t block, const SAMPLED *edge, const real *units, real *out) {
    const masked_blocks *g = &edge->blocks;
    const int64_t g0 = g->block[block], g1 = g->block[block + 1];
    if (g0 == g1)
        return;
    int64_t low = g->first[g0], high = low;
    for (int64_t i = g0; i < g1; i++)
        high = most(high, g->first[i] + g->count[i]);
    for (int64_t k0 = low; k0 < high; k0 += SAMPLE_DEPTH)
        for (int64_t i = g0; i < g1; i++) {
            int64_t from = most(k0, g->first[i]);
            int64_t to = least(k0 + SAMPLE_DEPTH, g->first[i] + g->count[i]);
            if (from < to)
                group_product(to - from, units + from * ROWS,
                              edge->packed + g->offset[i] + (from - g->first[i]) * GROUP, g->start[i + 1] - g->start[i],
                              out + (g->start[i] - g->start[g0]) * ROWS);
        }
}

/* V vectors of one row's sums, of its entries in a block. W: their first column. */
INLINE void push_row(int V, int64_t count, const int32_t *row, const real *value, int64_t w_row, const real *W,
                     real *sums) {
    vec sum[PUSH_TILE];
    UNROLL(16)
    for (int u = 0; u < V; u++)
        sum[u] = vload(sums + u * VL);
    for (int64_t i = 0; i < count; i++)
        UNROLL(16)
        for (int u = 0; u < V; u++)
            sum[u] = vfma(vset1(value[i]), vload(W + row[i] * w_row + u * VL), sum[u]);
    UNROLL(16)
    for (int u = 0; u < V; u++)
        vstore(sums + u * VL, sum[u]);
}

/* The same for n rows; returns V. */
INLINE int push_rows(int V, int64_t n, int64_t capacity, const int32_t *counts, const int32_t *rows, const real *values,
                     int64_t w_row, const real *W, int64_t stride, real *sums) {
    for (int64_t r = 0; r < n; r++)
        push_row(V, counts[r], rows + r * capacity, values + r * capacity, w_row, W, sums + r * stride);
    return V;
}

/* From row to row of what listed inputs give to each column. */
INLINE int64_t pushed_stride(const SAMPLED *edge) {
    return (edge->stairs.columns + PUSHED * VL - 1) / (PUSHED * VL) * (PUSHED * VL);
}

/* What a block's entries give to the columns from j0 on, none of which they reach within the block. counts (n,), rows,
 * from the block's first one on, and values (n, capacity); sums (n, pushed_stride), of which what lies before j0 is
 * not used any more. */
static void push(int64_t n, int64_t capacity, const int32_t *counts, const int32_t *rows, const real *values,
                 const SAMPLED *edge, int64_t block, int64_t j0, real *sums) {
    const int64_t stride = pushed_stride(edge), w_row = edge->blocks.panel_stride[block];
    const real *W = edge->packed + edge->blocks.panel_offset[block];
    const int64_t first = edge->blocks.panel_column[block];
    for (int64_t j = j0 / (PUSHED * VL) * (PUSHED * VL), vectors; j < stride; j += vectors * VL) {
        const int64_t left = (stride - j) / VL;
        if (PUSH_TILE >= 4 * PUSHED && left >= 4 * PUSHED)
            vectors = push_rows(4 * PUSHED, n, capacity, counts, rows, values, w_row, W + j - first, stride, sums + j);
        else if (left >= 2 * PUSHED)
            vectors = push_rows(2 * PUSHED, n, capacity, counts, rows, values, w_row, W + j - first, stride, sums + j);
        else
            vectors = push_rows(PUSHED, n, capacity, counts, rows, values, w_row, W + j - first, stride, sums + j);
    }
}

/* sums (n, stride) -> out (j1 - j0, ROWS): its columns j0 .. j1 - 1. */
static void take_columns(int64_t n, int64_t stride, int64_t j0, int64_t j1, const real *sums, real *out) {
    for (int64_t r0 = 0; r0 < ROWS; r0 += VL)
        for (int64_t j = j0; j < j1; j += VL) {
            vec v[VL];
            for (int i = 0; i < VL; i++)
                v[i] = r0 + i < n ? load(sums + (r0 + i) * stride + j, stride - j) : vset1(0);
            vtranspose(v);
            for (int i = 0; i < VL && j + i < j1; i++)
                vstore(out + (j - j0 + i) * ROWS + r0, v[i]);
        }
}

/* by_lane (width, ROWS) -> by_row (n, width). */
static void turn_outputs(int64_t n, int64_t width, const real *by_lane, real *by_row) {
    for (int64_t r0 = 0; r0 < n; r0 += VL)
        for (int64_t p = 0; p < width; p += VL) {
            vec v[VL];
            for (int i = 0; i < VL; i++)
                v[i] = p + i < width ? vload(by_lane + (p + i) * ROWS + r0) : vset1(0);
            vtranspose(v);
            for (int i = 0; i < VL && r0 + i < n; i++)
                store(by_row + (r0 + i) * width + p, v[i], width - p);
        }
}

/* Unit k, now final, to those columns j0 .. j1 - 1 of the present block that it reaches; `out` is column j0. */
static void spread(const SAMPLED *edge, int64_t block, int64_t k, const real *unit, int64_t j0, int64_t j1, real *out) {
    const masked_blocks *b = &edge->blocks;
    const real *w = edge->packed + b->panel_offset[block] + (k - b->panel_first[block]) * b->panel_stride[block];
    const int64_t skipped = j0 - b->panel_column[block];
    const int64_t end = least(edge->stairs.row_end[k], j1) - j0;
    vec u[4];
    EACH_QUARTER(v)
    u[v] = vload(unit + v * VL);
    for (int64_t j = most(edge->stairs.row_begin[k] - j0, 0); j < end; j++) {
        real *to = out + j * ROWS;
        EACH_QUARTER(v)
        vstore(to + v * VL, vfma(vset1(w[j + skipped]), u[v], vload(to + v * VL)));
    }
}

static void spread_input(int64_t n, const input_spec *inputs, const SAMPLED *edge, int64_t block, int64_t d,
                         const real *x, int64_t j0, int64_t j1, real *out) {
    const int64_t first = inputs->offsets[d];
    if (!inputs->input_flags[d]) {
        spread(edge, block, first, x, j0, j1, out);
        return;
    }
    const masked_blocks *b = &edge->blocks;
    const real *panel = edge->packed + b->panel_offset[block];
    const int64_t begin = most(edge->stairs.row_begin[first] - j0, 0);
    const int64_t end = least(edge->stairs.row_end[first], j1) - j0, skipped = j0 - b->panel_column[block];
    for (int64_t r = 0; r < n; r++) {
        int32_t row;
        real value;
        if (!change_of(inputs, d, x[r], &row, &value))
            continue;
        const real *w = panel + (row - b->panel_first[block]) * b->panel_stride[block];
        for (int64_t j = begin; j < end; j++)
            out[j * ROWS + r] += value * w[j + skipped];
    }
}

INLINE void activate_unit_by(int activation, real *unit) {
    EACH_QUARTER(v)
    vstore(unit + v * VL, activation_of(activation, vload(unit + v * VL)));
}

/* unit (ROWS,), in place: g(unit). */
static void activate_unit(int activation, real *unit) {
#define UNIT(g) activate_unit_by(g, unit)
    EACH_ACTIVATION(activation, UNIT)
}

#endif
