/* Products of hidden layers and rows of V. For nade.c alone.
 *
 * Every one is a sum of vectors along the hidden units, first to last, and then of their lanes in vsum's order: a row
 * has the same bits in a tile of any shape. */
#ifndef FASTAR_NADE_OUTPUTS_H
#define FASTAR_NADE_OUTPUTS_H

#include "nade_hidden.h"

enum {
    TILE = 8,   /* rows of data whose hidden layers, 2 kB each for H = 500, stay in L1 together */
    PANEL = 4,  /* outputs of a register tile; their weights, 8 kB, stay in L1 with the hidden layers of */
    CROWD = 12, /* rows of data at most */
#if defined(__AVX512F__)
    TALL = 6, /* rows of a register tile: 24 sums, 6 vectors of rows and one of V in 32 registers */
    EVEN = 2, /* rows come in multiples of it without tiles of one row */
#else
    TALL = 3, /* 12, 3 and one in 16 */
    EVEN = 3,
#endif
};

/* out[s][r] = V[s] . h[r] for R rows of hidden layers and S rows of weights, one or two. */
INLINE void products(int R, int S, int64_t H, int64_t stride, const real *V, const real *h, real *out) {
    vec sum[2][TILE];
    for (int s = 0; s < S; s++)
        for (int r = 0; r < R; r++)
            sum[s][r] = vset1(0);
    int64_t k = 0;
#pragma GCC unroll 4
    for (; k + VL <= H; k += VL) {
        vec v[2];
        for (int s = 0; s < S; s++)
            v[s] = vload(V + s * H + k);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            vec hk = vload(h + r * stride + k);
            for (int s = 0; s < S; s++)
                sum[s][r] = vfma(hk, v[s], sum[s][r]);
        }
    }
    if (k < H)
        for (int s = 0; s < S; s++) {
            vec v = vload_part(V + s * H + k, (int)(H - k));
#pragma GCC unroll 8
            for (int r = 0; r < R; r++)
                sum[s][r] = vfma(vload(h + r * stride + k), v, sum[s][r]);
        }
    for (int s = 0; s < S; s++)
        if (R == TILE)
            vsums(TILE, sum[s], out + s * TILE);
        else
            for (int r = 0; r < R; r++)
                out[s * TILE + r] = vsum(sum[s][r]);
}

/* raw[r][o] = b[o] + V[o] . h[r] for the outputs o0 .. o1 - 1 of a tile of n rows; V, b and raw begin at output 0. */
INLINE void outputs_of(int R, int64_t H, int64_t stride, int64_t o0, int64_t o1, const real *V,
                       const real *b, const real *h, int64_t raw_stride, real *raw) {
    real out[TILE * 2];
    int64_t o = o0;
    for (; o + 2 <= o1; o += 2) {
        products(R, 2, H, stride, V + o * H, h, out);
        for (int r = 0; r < R; r++) {
            raw[r * raw_stride + o] = b[o] + out[r];
            raw[r * raw_stride + o + 1] = b[o + 1] + out[TILE + r];
        }
    }
    if (o < o1) {
        products(R, 1, H, stride, V + o * H, h, out);
        for (int r = 0; r < R; r++)
            raw[r * raw_stride + o] = b[o] + out[r];
    }
}

static void outputs_of_few(int64_t n, int64_t H, int64_t stride, int64_t o0, int64_t o1, const real *V,
                           const real *b, const real *h, int64_t raw_stride, real *raw) {
    int64_t r = 0;
    if (n == TILE) {
        outputs_of(TILE, H, stride, o0, o1, V, b, h, raw_stride, raw);
        return;
    }
    if (n >= TILE / 2) {
        outputs_of(TILE / 2, H, stride, o0, o1, V, b, h, raw_stride, raw);
        r = TILE / 2;
    }
    for (; r < n; r++)
        outputs_of(1, H, stride, o0, o1, V, b, h + r * stride, raw_stride, raw + r * raw_stride);
}

/* Variables of their own, for compilers keep an array of sums in memory around the loop. */
#define EACH_ROW(call) call(0) call(1) call(2) call(3) call(4) call(5)

/* raw[r][s] = b[s] + V[s] . h[r] for R <= TALL rows and PANEL outputs. */
INLINE void register_tile(int R, int64_t H, int64_t stride, const real *V, const real *b, const real *h,
                          int64_t raw_stride, real *raw) {
#define SUMS_OF_ROW(r) vec s##r##0 = vset1(0), s##r##1 = s##r##0, s##r##2 = s##r##0, s##r##3 = s##r##0;
#define ADD_ROW(r)                                                                                 \
    if (r < R) {                                                                                   \
        const vec x = vload(h + r * stride + k);                                                   \
        s##r##0 = vfma(x, v0, s##r##0);                                                            \
        s##r##1 = vfma(x, v1, s##r##1);                                                            \
        s##r##2 = vfma(x, v2, s##r##2);                                                            \
        s##r##3 = vfma(x, v3, s##r##3);                                                            \
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
    real out[TALL * PANEL];
    vsums(R * PANEL, all, out);
    for (int r = 0; r < R; r++)
        for (int s = 0; s < PANEL; s++)
            raw[r * raw_stride + s] = b[s] + out[r * PANEL + s];
}

static void panel(int64_t n, int64_t H, int64_t stride, const real *V, const real *b, const real *h,
                  int64_t raw_stride, real *raw) {
#define REGISTER_TILE(R)                                                                           \
    do {                                                                                           \
        register_tile(R, H, stride, V, b, h + r * stride, raw_stride, raw + r * raw_stride);       \
        r += R;                                                                                    \
    } while (0)
    for (int64_t r = 0; r < n;) {
        if (n - r >= TALL)
            REGISTER_TILE(TALL);
        else if (TALL > 4 && n - r >= 4)
            REGISTER_TILE(4);
        else if (n - r >= 2)
            REGISTER_TILE(2);
        else
            REGISTER_TILE(1);
    }
}

/* raw[r][o] = b[o] + V[o] . h[r] for the outputs o0 .. o1 - 1 of n rows; V, b and raw begin at output 0. n: at most
 * TILE with few outputs a feature. */
static void outputs(int64_t n, const nade_sizes *z, int64_t o0, int64_t o1, const real *V, const real *b,
                    const real *h, int64_t raw_stride, real *raw) {
    const int64_t H = z->H, stride = z->stride;
    if (z->P >= FASTAR_MANY)
        for (; o0 + PANEL <= o1; o0 += PANEL)
            panel(n, H, stride, V + o0 * H, b + o0, h, raw_stride, raw + o0);
    for (int64_t r = 0; r < n && o0 < o1; r += TILE)
        outputs_of_few(n - r < TILE ? n - r : TILE, H, stride, o0, o1, V, b, h + r * stride, raw_stride,
                       raw + r * raw_stride);
}

/* Rows that pass over V together, of n: with many outputs shares of about the same size, without tiles of one row. */
INLINE int64_t tile_rows(const nade_sizes *z, int64_t n) {
    if (z->P < FASTAR_MANY)
        return TILE;
    const int64_t tiles = (n + CROWD - 1) / CROWD, share = (n + tiles - 1) / tiles;
    return (share + EVEN - 1) / EVEN * EVEN;
}

#endif
