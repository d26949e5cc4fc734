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

/* raw[r][s] = b[s] + V[s] . h[r] for R rows and S outputs, a register tile. */
INLINE void register_tile(int R, int S, int64_t H, int64_t stride, const real *V, const real *b, const real *h,
                          int64_t raw_stride, real *raw) {
    vec sum[TALL * PANEL], x[TALL];
    real out[TALL * PANEL];
    for (int i = 0; i < R * S; i++)
        sum[i] = vset1(0);
    for (int64_t k = 0; k < H; k += VL) {
        const int left = H - k < VL ? (int)(H - k) : VL;
#pragma GCC unroll 6
        for (int r = 0; r < R; r++)
            x[r] = vload(h + r * stride + k);
#pragma GCC unroll 4
        for (int s = 0; s < S; s++) {
            vec v = left == VL ? vload(V + s * H + k) : vload_part(V + s * H + k, left);
#pragma GCC unroll 6
            for (int r = 0; r < R; r++)
                sum[r * S + s] = vfma(x[r], v, sum[r * S + s]);
        }
    }
    vsums(R * S, sum, out);
    for (int r = 0; r < R; r++)
        for (int s = 0; s < S; s++)
            raw[r * raw_stride + s] = b[s] + out[r * S + s];
}

/* S outputs of n rows of data. */
INLINE void panel_of(int S, int64_t n, int64_t H, int64_t stride, const real *V, const real *b, const real *h,
                     int64_t raw_stride, real *raw) {
#define REGISTER_TILE(R)                                                                           \
    do {                                                                                           \
        register_tile(R, S, H, stride, V, b, h + r * stride, raw_stride, raw + r * raw_stride);    \
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

static void outputs_of_many(int64_t n, int64_t H, int64_t stride, int64_t o0, int64_t o1, const real *V,
                            const real *b, const real *h, int64_t raw_stride, real *raw) {
    int64_t o = o0;
    for (; o + PANEL <= o1; o += PANEL)
        panel_of(PANEL, n, H, stride, V + o * H, b + o, h, raw_stride, raw + o);
    for (; o < o1; o++)
        panel_of(1, n, H, stride, V + o * H, b + o, h, raw_stride, raw + o);
}

/* raw[r][o] = b[o] + V[o] . h[r] for the outputs o0 .. o1 - 1 of n <= tile_rows(..) rows; V, b and raw begin at output 0. */
static void outputs(int64_t n, const nade_sizes *z, int64_t o0, int64_t o1, const real *V, const real *b,
                    const real *h, int64_t raw_stride, real *raw) {
    if (z->P >= FASTAR_MANY)
        outputs_of_many(n, z->H, z->stride, o0, o1, V, b, h, raw_stride, raw);
    else
        outputs_of_few(n, z->H, z->stride, o0, o1, V, b, h, raw_stride, raw);
}

/* Rows that pass over V together, of n: with many outputs shares of about the same size, without tiles of one row. */
INLINE int64_t tile_rows(const nade_sizes *z, int64_t n) {
    if (z->P < FASTAR_MANY)
        return TILE;
    const int64_t tiles = (n + CROWD - 1) / CROWD, share = (n + tiles - 1) / tiles;
    return (share + EVEN - 1) / EVEN * EVEN;
}

#endif
