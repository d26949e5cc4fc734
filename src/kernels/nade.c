/* Vectors run over hidden units; a weight row is loaded once for a tile of rows of data.
 *
 * The hidden layer of a row is computed again only where an input changes it. Between two changes in
 * any row of a tile, the outputs are a small matrix product: rows of V times the tile's hidden layers.
 * nade_hidden.h has the changes, nade_outputs.h the products, nade_walk.h samples and weights, whose rows share the
 * hidden layers of nade_layers.h, nade_branches.h rows with other codes of a feature, nade_plan.h, nade_few.h and
 * nade_backward.h the gradients. */
#include "nade.h"
#include "nade_backward.h"
#include "nade_branches.h"
#include "nade_hidden.h"
#include "nade_outputs.h"
#include "nade_walk.h"

typedef nade_table table_type;

enum {
    FEATURE_SLAB = 64,    /* features whose weights, 4 kB each, stay in L2 while all rows pass, */
    SLAB_BYTES = 1 << 19, /* or fewer where they are larger */
};

/* A change that waits for the next outputs of its tile, to be computed beside them. */
typedef struct {
    int64_t row, change; /* row -1: none */
} waiting;

/* The changes of the tile's rows at feature d, the last one left waiting if it can be; returns the next feature, or
 * `end`, at which one of these rows changes. */
static int64_t change_tile(const layer *l, int64_t n, int64_t r0, int64_t d, int64_t end, int64_t *cursor,
                           waiting *last) {
    const real rho = rho_of(&l->p, d);
    const int may_wait = !l->z.many;
    for (int64_t r = r0; r < r0 + n; r++) {
        const int32_t *at = l->changes.at + r * l->changes.capacity;
        int64_t i = cursor[r], count = l->changes.count[r];
        if (l->p.rho && !(i < count && at[i] == d))
            rescale(l, r, rho);
        for (; i < count && at[i] == d; i++) {
            if (last->row >= 0)
                change(l, last->row, last->change, rho);
            *last = may_wait && is_step(l, r, i) ? (waiting){r, i} : (waiting){-1, 0};
            if (last->row < 0)
                change(l, r, i, rho);
        }
        if (i < count && at[i] < end)
            end = at[i];
        cursor[r] = i;
    }
    return end;
}

/* units.h (n, stride) of the rows r0 .. r0 + n - 1 -> raw (rows, o_D), its features d0 .. d1 - 1, d0 >= 1. cursor
 * (rows,): changes so far, moved on. */
static void forward_tile(const layer *l, int64_t n, int64_t r0, int64_t d0, int64_t d1, real *raw, int64_t *cursor) {
    const nade_sizes *z = &l->z;
    const real *h = l->units.h + r0 * z->stride;
    const int64_t first = z->outputs[1], width = z->outputs[z->D];
    for (int64_t d = d0; d < d1;) {
        waiting last = {-1, 0};
        const int64_t next = change_tile(l, n, r0, d, l->p.rho ? d + 1 : d1, cursor, &last);
        /* V and b have no row, and raw no column, of h for the first feature: shift to the second. */
        int64_t o0 = z->outputs[d] - first, o1 = z->outputs[next] - first;
        real *to = raw + r0 * width + first;
        if (last.row >= 0) {
            step taken = step_of(l, last.row, last.change);
            const int64_t done = outputs_beside(n, o1 - o0, z->H, z->stride, l->p.V + o0 * z->H, l->p.b + first + o0, h,
                                                last.row - r0, &taken, width, to + o0);
            if (out_of_range(taken.states))
                saturate(l, last.row, last.change);
            else
                o0 += done;
        }
        outputs(n, z, o0, o1, l->p.V, l->p.b + first, h, width, to);
        d = next;
    }
}

/* The end of the features from d on whose weights stay in L2 while all rows pass. */
static int64_t slab_end(const nade_sizes *z, int64_t d) {
    const int64_t fit = SLAB_BYTES / (z->H * (int64_t)sizeof(real)), most = d + FEATURE_SLAB;
    int64_t end = d + 1;
    while (end < z->D && end < most && z->outputs[end + 1] - z->outputs[d] <= fit)
        end++;
    return end;
}

/* units.initial (n, stride), changes (n, capacity), W (.., H), V (o_D - o_1, H), b (o_D,) -> raw (n, o_D), units.state
 * (n, stride) and units.saturated (n,). units.h (n, stride) and cursor (n,): scratch. */
static void forward(int64_t n, nade_sizes z, PARAMS p, CHANGES changes, UNITS units, real *raw, int64_t *cursor) {
    const layer l = {z, p, changes, units};
    for (int64_t r = 0; r < n; r++) {
        memcpy(raw + r * z.outputs[z.D], p.b, z.outputs[1] * sizeof(real));
        start(&l, r);
        cursor[r] = 0;
    }
    for (int64_t d0 = 1, d1; d0 < z.D; d0 = d1) {
        d1 = slab_end(&z, d0);
        for (int64_t r = 0, tile; r < n; r += tile) {
            tile = tile_rows(&z, n - r);
            forward_tile(&l, tile, r, d0, d1, raw, cursor);
        }
    }
}

const table_type FASTAR_TABLE(nade) = {
    .slab = WIDTH * VL,
    .pace = PACE,
    .factors = factors,
    .forward = forward,
    .plan = plan,
    .backward = backward,
    .backward_scratch = backward_scratch,
    .sample = sample,
    .branches = branches,
    .branches_scratch = branches_scratch,
    .lanes = VL,
};
