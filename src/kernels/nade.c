/* Vectors run over hidden units; a weight row is loaded once for a tile of rows of data.
 *
 * The hidden layer of a row is computed again only where an input changes it. Between two changes in
 * any row of a tile, the outputs are a small matrix product: rows of V times the tile's hidden layers.
 * nade_hidden.h has the changes, nade_outputs.h the products, nade_plan.h, nade_few.h and nade_backward.h the
 * gradients. */
#include "change.h"
#include "nade.h"
#include "nade_backward.h"
#include "nade_hidden.h"
#include "nade_outputs.h"

typedef nade_table table_type;
#define DRAW draw_spec
#define ROWS walked_rows

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

/* What feature f, just drawn or leaving the Markov window, changes in the hidden layer of row r. */
INLINE int sample_change(const layer *l, int64_t r, int64_t f, real sign, const input_spec *inputs, const real *codes,
                         real rho) {
    const int64_t i = l->changes.count[r], at = r * l->changes.capacity + i;
    if (!change_of(inputs, f, codes[r * l->z.D + f], l->changes.row + at, l->changes.value + at))
        return 0;
    l->changes.value[at] *= sign;
    l->changes.count[r]++;
    change(l, r, i, rho);
    return 1;
}

/* raw[r] for `features` features from d on, by the hidden layers as they are. */
static void sample_outputs(const layer *l, int64_t n, int64_t d, int64_t features, real *raw, int64_t raw_stride) {
    const int64_t *o = l->z.outputs;
    if (d == 0)
        for (int64_t r = 0; r < n; r++)
            memcpy(raw + r * raw_stride, l->p.b, o[1] * sizeof(real));
    else
        outputs(n, &l->z, 0, o[d + features] - o[d], l->p.V + (o[d] - o[1]) * l->z.H, l->p.b + o[d], l->units.h,
                raw_stride, raw);
}

/* Whether some row draws or weighs feature d. */
INLINE int is_wanted(int64_t n, int64_t D, int64_t d, const uint8_t *held) {
    if (!held)
        return 1;
    for (int64_t r = 0; r < n; r++)
        if (held[r * D + d] != FASTAR_OBSERVED)
            return 1;
    return 0;
}

/* The first `count` changes of row r at once: sums of pre-activations to units.h and, of a `unit`, products to
 * units.state, whose extremes it returns. */
INLINE extremes add_changes(int unit, const layer *l, int64_t r, int64_t count) {
    const int64_t H = l->z.H, stride = l->z.stride, first = r * l->changes.capacity;
    extremes states = {vset1(1), vset1(1)};
    for (int64_t k = 0; k < H; k += WIDTH * VL) {
        const int64_t width = H - k < WIDTH * VL ? H - k : WIDTH * VL;
        vec a[WIDTH], w[WIDTH], state[WIDTH];
        load_vectors(WIDTH, a, l->units.initial + r * stride + k, WIDTH * VL);
        EACH_VECTOR(j)
            state[j] = state_of(unit ? FASTAR_SIGMOID_UNIT : FASTAR_SIGMOID, a[j]);
        for (int64_t i = first; i < first + count; i++) {
            const real value = l->changes.value[i];
            load_vectors(WIDTH, w, l->p.W + l->changes.row[i] * H + k, width);
            EACH_VECTOR(j)
                a[j] = vfma(vset1(value), w[j], a[j]);
            if (!unit)
                continue;
            EACH_VECTOR(j)
                widen(&states, state[j]);
            if (l->p.factors && value == 1)
                load_vectors(WIDTH, w, l->p.factors + l->changes.row[i] * stride + k, WIDTH * VL);
            else
                EACH_VECTOR(j)
                    w[j] = vexp(vset1(-value) * w[j]);
            EACH_VECTOR(j)
                state[j] *= w[j];
        }
        store_vectors(WIDTH, l->units.h + r * stride + k, a, WIDTH * VL);
        if (!unit)
            continue;
        EACH_VECTOR(j)
            widen(&states, state[j]);
        store_vectors(WIDTH, l->units.state + r * stride + k, state, WIDTH * VL);
    }
    return states;
}

/* Features before the first one that is wanted change the pre-activation alone, which needs no hidden units. A row ends
 * with the bits that it has where they are taken one by one: which is the first depends on the rows beside it. */
static void lead(const layer *l, int64_t n, int64_t first, const input_spec *inputs, const real *codes) {
    const int64_t D = l->z.D;
    const int unit = l->z.activation == FASTAR_SIGMOID_UNIT;
    for (int64_t r = 0; r < n; r++) {
        real *h = l->units.h + r * l->z.stride, *value = l->changes.value + r * l->changes.capacity;
        real *state = l->units.state + r * l->z.stride, *initial = l->units.initial + r * l->z.stride;
        int32_t *row = l->changes.row + r * l->changes.capacity;
        int64_t count = 0;
        for (int64_t f = 0, gone; f < first; f++) {
            count += change_of(inputs, f, codes[r * D + f], row + count, value + count);
            gone = f - inputs->markov_order;
            if (gone >= 0 && change_of(inputs, gone, codes[r * D + gone], row + count, value + count)) {
                value[count] = -value[count];
                count++;
            }
        }
        l->changes.count[r] = 0;
        if (count && unit && out_of_range(add_changes(1, l, r, count))) {
            start(l, r);
            for (int64_t i = 0; i < count; i++)
                change(l, r, i, 1);
            l->changes.count[r] = (int32_t)count; /* of which saturated units are sums */
        } else if (count && unit) {
            memcpy(initial, h, l->z.stride * sizeof(real));
            for (int64_t k = 0; k < l->z.stride; k += VL)
                vstore(h + k, activate(FASTAR_SIGMOID_UNIT, vload(state + k), 1));
            l->units.saturated[r] = 0;
        } else {
            if (count) {
                add_changes(0, l, r, count);
                memcpy(initial, h, l->z.stride * sizeof(real));
            }
            start(l, r);
        }
    }
}

/* Feature d of a block of rows: weighed where it is held, drawn where it is free. */
static void choose(const layer *l, int64_t n, int64_t d, DRAW draw, ROWS rows, const real *shift, real *raw,
                   real *drawn) {
    const int64_t D = l->z.D, first = l->z.outputs[d], P = l->z.outputs[d + 1] - first, raw_stride = l->z.widest;
    for (int64_t r = 0; r < n && shift; r++)
        for (int64_t p = 0; p < P; p++)
            raw[r * raw_stride + p] += shift[r * l->z.outputs[D] + first + p];
    if (rows.held)
        draw.weigh(n, D, d, d, draw.spec, raw, raw_stride, rows);
    draw.function(n, d, draw.spec, raw, raw_stride, rows.noise + d * draw.n_noise, D * draw.n_noise,
                  (earlier_codes){rows.codes + d, D, 1}, drawn);
    for (int64_t r = 0; r < n; r++)
        if (!rows.held || rows.held[r * D + d] == FASTAR_SAMPLED)
            rows.codes[r * D + d] = drawn[r];
}

/* units.initial (n, stride), noise (n, D, n_noise), shift (n, o_D) or NULL, W (.., H), V (o_D - o_1, H), b (o_D,) ->
 * codes (n, D) where they are not held, weight (n,). units, changes (n, capacity), raw (n, widest), drawn (n,):
 * scratch. */
static void sample(int64_t n, nade_sizes z, PARAMS p, input_spec inputs, CHANGES changes, DRAW draw, ROWS rows,
                   const real *shift, UNITS units, real *raw, real *drawn) {
    const layer l = {z, p, changes, units};
    const int64_t raw_stride = z.widest, *o = z.outputs;
    int64_t first = 0, end = z.D;
    while (first < z.D && !is_wanted(n, z.D, first, rows.held))
        first++;
    while (end > first && !is_wanted(n, z.D, end - 1, rows.held))
        end--;
    lead(&l, n, first, &inputs, rows.codes);
    int ahead = 0;         /* raw holds this feature already, for the rows that have not changed since */
    int64_t n_changed = n; /* rows that the last feature changed */
    uint8_t changed[FASTAR_SAMPLE_ROWS];
    for (int64_t r = 0; r < n && p.rho && 0 < first && first < z.D; r++)
        rescale(&l, r, rho_of(&p, first));
    for (int64_t d = first; d < end; d++) {
        if (is_wanted(n, z.D, d, rows.held)) {
            real *now = raw + (ahead ? o[d] - o[d - 1] : 0);
            if (ahead) {
                for (int64_t r = 0; r < n; r++)
                    if (changed[r])
                        outputs(1, &z, 0, o[d + 1] - o[d], p.V + (o[d] - o[1]) * z.H, p.b + o[d],
                                units.h + r * z.stride, raw_stride, now + r * raw_stride);
                ahead = 0;
            } else {
                /* Most hidden layers serve the next feature too: two outputs for one pass over them. */
                ahead = d > 0 && d + 1 < z.D && 4 * n_changed < n && !p.rho;
                sample_outputs(&l, n, d, 1 + ahead, now, raw_stride);
            }
            choose(&l, n, d, draw, rows, shift, now, drawn);
        } else
            ahead = 0;
        if (d + 1 < end) {
            const real rho = rho_of(&p, d + 1);
            n_changed = 0;
            for (int64_t r = 0; r < n; r++) {
                changed[r] = (uint8_t)sample_change(&l, r, d, 1, &inputs, rows.codes, rho);
                if (d >= inputs.markov_order)
                    changed[r] |= (uint8_t)sample_change(&l, r, d - inputs.markov_order, -1, &inputs, rows.codes, rho);
                if (p.rho && !changed[r])
                    rescale(&l, r, rho);
                n_changed += changed[r];
            }
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
};
