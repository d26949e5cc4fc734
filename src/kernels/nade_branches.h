/* Rows scored with one feature at each of several codes, branch by branch. The features before it are computed once. So
 * is a row's pre-activation after it, which branches share but for the feature's own change. For nade.c alone.
 *
 * A row of data is in each lane: sums along the hidden units need no sums of lanes, and weights are one number for all
 * rows. */
#ifndef FASTAR_NADE_BRANCHES_H
#define FASTAR_NADE_BRANCHES_H

#include "change.h"
#include "nade_hidden.h"
#include "vec_shuffles.h"

enum {
    BRANCHES = 3, /* whose hidden units, 8 kB for 128 units, stay in L1 together */
    BESIDE = 4,   /* outputs of a register tile of so many branches */
};

/* The work space of VL rows. */
typedef struct {
    real *a;      /* (H, VL) their pre-activations, without the change of the feature that branches */
    real *change; /* (branches, H) that change */
    real *h;      /* (BRANCHES, H, VL) */
    real *raw;    /* (BRANCHES, widest, VL) */
    real *row;    /* (widest,) */
} lanes_of_rows;

static int64_t branches_scratch(nade_sizes z, int64_t branches) {
    return (1 + BRANCHES) * z.H * VL + branches * z.H + BRANCHES * z.widest * VL + z.widest;
}

INLINE lanes_of_rows lanes_in(const nade_sizes *z, int64_t branches, real *scratch) {
    lanes_of_rows w = {.a = scratch};
    w.h = w.a + z->H * VL;
    w.raw = w.h + BRANCHES * z->H * VL;
    w.change = w.raw + BRANCHES * z->widest * VL;
    w.row = w.change + branches * z->H;
    return w;
}

/* a += what feature d of m rows changes, codes (m, D). */
static void enter_lanes(int64_t m, int64_t d, const nade_sizes *z, const real *W, const input_spec *inputs,
                        const real *codes, real *a) {
    int32_t row[VL];
    real value[VL];
    int alike = 1;
    for (int64_t r = 0; r < VL; r++) {
        if (!change_of(inputs, d, codes[(r < m ? r : m - 1) * z->D + d], row + r, value + r))
            value[r] = 0;
        alike &= row[r] == row[0];
    }
    const vec x = vload(value);
    if (alike) {
        for (int64_t k = 0; k < z->H; k++)
            vstore(a + k * VL, vfma(x, vset1(W[row[0] * z->H + k]), vload(a + k * VL)));
        return;
    }
    for (int64_t k = 0; k < z->H; k += VL) {
        const int64_t left = z->H - k < VL ? z->H - k : VL;
        vec w[VL];
        for (int r = 0; r < VL; r++)
            w[r] = load(W + row[r] * z->H + k, left);
        vtranspose(w);
        for (int j = 0; j < left; j++)
            vstore(a + (k + j) * VL, vfma(x, w[j], vload(a + (k + j) * VL)));
    }
}

/* a (H, VL), change (R, H) or NULL -> h (R, H, VL) */
INLINE void branch_units(int activation, int64_t R, int64_t H, const real *a, const real *change, real rho, real *h) {
    for (int64_t k = 0; k < H; k++) {
        const vec shared = vload(a + k * VL);
        for (int64_t r = 0; r < R; r++) {
            const vec own = change ? shared + vset1(change[r * H + k]) : shared;
            vstore(h + (r * H + k) * VL, activate(activation, own, rho));
        }
    }
}

/* h (R, H, VL), V (S, H), b (S,) -> raw (R, raw_stride), its first S outputs (S, VL) */
INLINE void branch_tile(int R, int S, int64_t H, const real *V, const real *b, const real *h, int64_t raw_stride,
                        real *raw) {
    vec sum[BRANCHES * BESIDE];
    UNROLL(12)
    for (int i = 0; i < R * S; i++)
        sum[i] = vset1(0);
    for (int64_t k = 0; k < H; k++) {
        vec x[BRANCHES];
        UNROLL(3)
        for (int r = 0; r < R; r++)
            x[r] = vload(h + (r * H + k) * VL);
        UNROLL(4)
        for (int s = 0; s < S; s++) {
            const vec v = vset1(V[s * H + k]);
            UNROLL(3)
            for (int r = 0; r < R; r++)
                sum[r * S + s] = vfma(x[r], v, sum[r * S + s]);
        }
    }
    UNROLL(3)
    for (int r = 0; r < R; r++)
        UNROLL(4)
        for (int s = 0; s < S; s++)
            vstore(raw + (r * raw_stride + s) * VL, sum[r * S + s] + vset1(b[s]));
}

INLINE void branch_tiles(int R, int64_t P, int64_t H, const real *V, const real *b, const real *h, int64_t raw_stride,
                         real *raw) {
    int64_t o = 0;
    for (; o + BESIDE <= P; o += BESIDE)
        branch_tile(R, BESIDE, H, V + o * H, b + o, h, raw_stride, raw + o * VL);
    if (P - o >= 2) {
        branch_tile(R, 2, H, V + o * H, b + o, h, raw_stride, raw + o * VL);
        o += 2;
    }
    if (P - o >= 1)
        branch_tile(R, 1, H, V + o * H, b + o, h, raw_stride, raw + o * VL);
}

/* The outputs of feature d of m rows in R <= BRANCHES branches, by their changes (R, H), or NULL where there are none;
 * shift (m, o_D) or NULL. */
static void branch_outputs(int64_t m, int64_t R, int64_t d, const nade_sizes *z, const PARAMS *p, const real *change,
                           const real *shift, const lanes_of_rows *w) {
    const int64_t *o = z->outputs, P = o[d + 1] - o[d], H = z->H;
    if (d == 0) {
        for (int64_t i = 0; i < R * P; i++)
            vstore(w->raw + (i / P * z->widest + i % P) * VL, vset1(p->b[i % P]));
    } else {
        const real rho = rho_of(p, d), *V = p->V + (o[d] - o[1]) * H, *b = p->b + o[d];
#define UNITS_OF(activation) branch_units(activation, R, H, w->a, change, rho, w->h)
        EACH_ACTIVATION(z->activation, UNITS_OF)
        switch (R) {
        case 1: branch_tiles(1, P, H, V, b, w->h, z->widest, w->raw); break;
        case 2: branch_tiles(2, P, H, V, b, w->h, z->widest, w->raw); break;
        case 3: branch_tiles(3, P, H, V, b, w->h, z->widest, w->raw); break;
        }
    }
    for (int64_t i = 0; i < R * P && shift; i++)
        for (int64_t r = 0; r < m; r++)
            w->raw[(i / P * z->widest + i % P) * VL + r] += shift[r * o[z->D] + o[d] + i % P];
}

/* m <= VL rows: initial (m, stride), or one row of it for all, codes (m, D), shift (m, o_D) or NULL -> total (branches,
 * VL), log p of each row with `feature` at levels (branches,). scratch: branches_scratch(..) reals. */
static void branches(int64_t m, nade_sizes z, PARAMS p, input_spec inputs, DRAW draw, const real *codes,
                     int64_t feature, int64_t n_branches, const real *levels, const real *initial,
                     int64_t initial_stride, const real *shift, real *scratch, double *total) {
    const lanes_of_rows w = lanes_in(&z, n_branches, scratch);
    double before[VL] = {0};
    for (int64_t k = 0; k < z.H; k++)
        for (int64_t r = 0; r < VL; r++)
            w.a[k * VL + r] = initial[(r < m ? r : m - 1) * initial_stride + k];
    for (int64_t d = 0; d < feature; d++) {
        branch_outputs(m, 1, d, &z, &p, NULL, shift, &w);
        draw.weigh_lanes(m, d, draw.spec, w.raw, (earlier_codes){codes + d, z.D, 1}, w.row, before);
        enter_lanes(m, d, &z, p.W, &inputs, codes, w.a);
    }
    branch_outputs(m, 1, feature, &z, &p, NULL, shift, &w);
    for (int64_t i = 0; i < n_branches; i++) {
        memcpy(total + i * VL, before, sizeof before);
        draw.weigh_lanes(m, feature, draw.spec, w.raw, (earlier_codes){levels + i, 0, 0}, w.row, total + i * VL);
        int32_t row;
        real value;
        if (feature + 1 < z.D && !change_of(&inputs, feature, levels[i], &row, &value))
            value = 0;
        for (int64_t k = 0; k < z.H && feature + 1 < z.D; k++)
            w.change[i * z.H + k] = value * p.W[row * z.H + k];
    }
    for (int64_t d = feature + 1; d < z.D; d++) {
        if (d - 1 > feature)
            enter_lanes(m, d - 1, &z, p.W, &inputs, codes, w.a);
        for (int64_t i = 0; i < n_branches; i += BRANCHES) {
            const int64_t R = n_branches - i < BRANCHES ? n_branches - i : BRANCHES;
            branch_outputs(m, R, d, &z, &p, w.change + i * z.H, shift, &w);
            for (int64_t r = 0; r < R; r++)
                draw.weigh_lanes(m, d, draw.spec, w.raw + r * z.widest * VL, (earlier_codes){codes + d, z.D, 1}, w.row,
                                 total + (i + r) * VL);
        }
    }
}

#endif
