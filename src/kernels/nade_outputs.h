/* Products of hidden layers and rows of V. For nade.c alone.
 *
 * Every one is a sum of vectors along the hidden units, first to last, and then of their lanes in vsum's order: a row
 * has the same bits in a tile of any shape. */
#ifndef FASTAR_NADE_OUTPUTS_H
#define FASTAR_NADE_OUTPUTS_H

#include "nade_hidden.h"
#include "vec_shuffles.h"

enum {
    FEW_ROWS = 5,  /* rows of data whose products with few outputs are in registers together, by OUT_TILE outputs */
    OUT_PANEL = 4, /* outputs of a register tile of ROW_TILE rows; their weights, 8 kB, stay in L1 with the */
    MAX_ROWS = 12, /* hidden layers of so many rows of data */
};

/* sum (R, S) += rows of h . v (S,), a vector of hidden units k ..; the last row takes a step on the way. */
INLINE void add_products(int R, int S, const vec *v, const real *h, int64_t stride, int64_t k, const int64_t *row,
                         step *moving, vec *sum) {
    UNROLL(5)
    for (int r = 0; r < R; r++) {
        const vec x = moving && r == R - 1 ? take_step(moving, k) : vload(h + row[r] * stride + k);
        UNROLL(4)
        for (int s = 0; s < S; s++)
            sum[r * S + s] = vfma(x, v[s], sum[r * S + s]);
    }
}

/* h (R, stride), V (S, H), b (S,) -> raw (R, S): raw[r] = b + V h[r]. taken: a step that row `mover` takes on the way,
 * beside products that keep other parts of the processor busy, or NULL. Returns S. */
INLINE int products(int R, int S, int64_t H, int64_t stride, const real *V, const real *b, const real *h, int64_t mover,
                    step *taken, int64_t raw_stride, real *raw) {
    vec sum[FEW_ROWS * OUT_TILE], v[OUT_TILE];
    int64_t row[FEW_ROWS]; /* the mover last */
    UNROLL(5)
    for (int r = 0; r < R; r++)
        row[r] = taken ? mover + 1 + r - (mover + 1 + r >= R ? R : 0) : r;
    UNROLL(20)
    for (int i = 0; i < R * S; i++)
        sum[i] = vset1(0);
    int64_t k = 0;
#pragma GCC unroll 4
    for (; k + VL <= H; k += VL) {
        UNROLL(4)
        for (int s = 0; s < S; s++)
            v[s] = vload(V + s * H + k);
        add_products(R, S, v, h, stride, k, row, taken, sum);
    }
    if (k < H) {
        UNROLL(4)
        for (int s = 0; s < S; s++)
            v[s] = vload_part(V + s * H + k, (int)(H - k));
        add_products(R, S, v, h, stride, k, row, taken, sum);
    }
    real out[FEW_ROWS * OUT_TILE];
    vsums(R * S, sum, out);
    UNROLL(5)
    for (int r = 0; r < R; r++)
        UNROLL(4)
        for (int s = 0; s < S; s++)
            raw[row[r] * raw_stride + s] = b[s] + out[r * S + s];
    return S;
}

/* The first of `count` outputs of a tile of R rows, as many as fit; returns how many. */
INLINE int64_t first_products(int R, int64_t count, int64_t H, int64_t stride, const real *V, const real *b,
                              const real *h, int64_t mover, step *taken, int64_t raw_stride, real *raw) {
    if (OUT_TILE >= 4 && count >= 4)
        return products(R, 4, H, stride, V, b, h, mover, taken, raw_stride, raw);
    if (OUT_TILE >= 3 && count >= 3)
        return products(R, 3, H, stride, V, b, h, mover, taken, raw_stride, raw);
    if (count >= 2)
        return products(R, 2, H, stride, V, b, h, mover, taken, raw_stride, raw);
    if (count >= 1)
        return products(R, 1, H, stride, V, b, h, mover, taken, raw_stride, raw);
    return 0;
}

INLINE void all_products(int R, int64_t H, int64_t stride, int64_t o0, int64_t o1, const real *V, const real *b,
                         const real *h, int64_t raw_stride, real *raw) {
    for (int64_t o = o0; o < o1;)
        o += first_products(R, o1 - o, H, stride, V + o * H, b + o, h, 0, NULL, raw_stride, raw + o);
}

/* h (n, stride), V (outputs, H), b (outputs,) -> raw (n, raw_stride), its columns o0 .. o1 - 1, for n <= FEW_ROWS. */
static void outputs_of_few(int64_t n, int64_t H, int64_t stride, int64_t o0, int64_t o1, const real *V, const real *b,
                           const real *h, int64_t raw_stride, real *raw) {
    switch (n) {
    case 1: all_products(1, H, stride, o0, o1, V, b, h, raw_stride, raw); break;
    case 2: all_products(2, H, stride, o0, o1, V, b, h, raw_stride, raw); break;
    case 3: all_products(3, H, stride, o0, o1, V, b, h, raw_stride, raw); break;
    case 4: all_products(4, H, stride, o0, o1, V, b, h, raw_stride, raw); break;
    case 5: all_products(5, H, stride, o0, o1, V, b, h, raw_stride, raw); break;
    }
}

/* The first of `count` outputs of n <= FEW_ROWS rows, of which row `mover` takes a step; returns how many. */
static int64_t outputs_beside(int64_t n, int64_t count, int64_t H, int64_t stride, const real *V, const real *b,
                              const real *h, int64_t mover, step *taken, int64_t raw_stride, real *raw) {
    step own = *taken; /* a copy, which no store through a pointer can change, stays in registers */
    int64_t done = 0;
    switch (n) {
    case 1: done = first_products(1, count, H, stride, V, b, h, mover, &own, raw_stride, raw); break;
    case 2: done = first_products(2, count, H, stride, V, b, h, mover, &own, raw_stride, raw); break;
    case 3: done = first_products(3, count, H, stride, V, b, h, mover, &own, raw_stride, raw); break;
    case 4: done = first_products(4, count, H, stride, V, b, h, mover, &own, raw_stride, raw); break;
    case 5: done = first_products(5, count, H, stride, V, b, h, mover, &own, raw_stride, raw); break;
    }
    taken->states = own.states;
    return done;
}

/* Variables of their own, for compilers keep an array of sums in memory around the loop. */
#define EACH_ROW(call) call(0) call(1) call(2) call(3) call(4) call(5)

/* h (R, stride), V (OUT_PANEL, H), b (OUT_PANEL,) -> raw (R, OUT_PANEL), for R <= ROW_TILE. Returns R. */
INLINE int register_tile(int R, int64_t H, int64_t stride, const real *V, const real *b, const real *h,
                         int64_t raw_stride, real *raw) {
#define SUMS_OF_ROW(r) vec s##r##0 = vset1(0), s##r##1 = s##r##0, s##r##2 = s##r##0, s##r##3 = s##r##0;
#define ADD_ROW(r)                               \
    if (r < R) {                                 \
        const vec x = vload(h + r * stride + k); \
        s##r##0 = vfma(x, v0, s##r##0);          \
        s##r##1 = vfma(x, v1, s##r##1);          \
        s##r##2 = vfma(x, v2, s##r##2);          \
        s##r##3 = vfma(x, v3, s##r##3);          \
    }
#define ROW(r) s##r##0, s##r##1, s##r##2, s##r##3,
    EACH_ROW(SUMS_OF_ROW)
    int64_t k = 0;
#pragma GCC unroll 4
    for (; k + VL <= H; k += VL) {
        const vec v0 = vload(V + k), v1 = vload(V + H + k), v2 = vload(V + 2 * H + k), v3 = vload(V + 3 * H + k);
        EACH_ROW(ADD_ROW)
    }
    if (k < H) {
        const int left = (int)(H - k);
        const vec v0 = vload_part(V + k, left), v1 = vload_part(V + H + k, left);
        const vec v2 = vload_part(V + 2 * H + k, left), v3 = vload_part(V + 3 * H + k, left);
        EACH_ROW(ADD_ROW)
    }
    vec all[] = {EACH_ROW(ROW)};
    real out[ROW_TILE * OUT_PANEL], bias[OUT_PANEL];
    vsums(R * OUT_PANEL, all, out);
    memcpy(bias, b, sizeof bias); /* raw might be where b is */
    for (int r = 0; r < R; r++)
        for (int s = 0; s < OUT_PANEL; s++)
            raw[r * raw_stride + s] = bias[s] + out[r * OUT_PANEL + s];
    return R;
}

/* The same for n rows. */
static void panel(int64_t n, int64_t H, int64_t stride, const real *V, const real *b, const real *h, int64_t raw_stride,
                  real *raw) {
    for (int64_t r = 0; r < n;) {
        const real *from = h + r * stride;
        real *to = raw + r * raw_stride;
        if (n - r >= ROW_TILE)
            r += register_tile(ROW_TILE, H, stride, V, b, from, raw_stride, to);
        else if (ROW_TILE > 4 && n - r >= 4)
            r += register_tile(4, H, stride, V, b, from, raw_stride, to);
        else if (n - r >= 2)
            r += register_tile(2, H, stride, V, b, from, raw_stride, to);
        else
            r += register_tile(1, H, stride, V, b, from, raw_stride, to);
    }
}

/* Rows of the next tile, of n that are left: tiles have about the same size, at most `most`, multiples of `whole`. */
INLINE int64_t tile_share(int64_t n, int64_t most, int64_t whole) {
    if (n <= most)
        return n;
    const int64_t tiles = (n + most - 1) / most, share = (n + tiles - 1) / tiles;
    return (share + whole - 1) / whole * whole;
}

/* h (n, stride), V (outputs, H), b (outputs,) -> raw (n, raw_stride), its columns o0 .. o1 - 1: raw[r] = b + V h[r]. */
static void outputs(int64_t n, const nade_sizes *z, int64_t o0, int64_t o1, const real *V, const real *b, const real *h,
                    int64_t raw_stride, real *raw) {
    const int64_t H = z->H, stride = z->stride;
    if (z->many)
        for (; o0 + OUT_PANEL <= o1; o0 += OUT_PANEL)
            panel(n, H, stride, V + o0 * H, b + o0, h, raw_stride, raw + o0);
    for (int64_t r = 0, share; r < n && o0 < o1; r += share) {
        share = tile_share(n - r, FEW_ROWS, 1);
        outputs_of_few(share, H, stride, o0, o1, V, b, h + r * stride, raw_stride, raw + r * raw_stride);
    }
}

/* Rows that pass over V together, of n that are left: with many outputs, without tiles of one row. */
INLINE int64_t tile_rows(const nade_sizes *z, int64_t n) {
    return z->many ? tile_share(n, MAX_ROWS, ROW_STEP) : tile_share(n, FEW_ROWS, 1);
}

#endif
