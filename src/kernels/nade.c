/* Vectors run over hidden units; a weight row is loaded once for a tile of rows of data.
 *
 * The hidden layer of a row is computed again only where an input changes it. Between two changes in
 * any row of a tile, the outputs are a small matrix product: rows of V times the tile's hidden layers.
 * nade_hidden.h has the changes, nade_outputs.h the products, nade_branches.h rows with other codes of a feature,
 * nade_plan.h, nade_few.h and nade_backward.h the gradients. */
#include "change.h"
#include "nade.h"
#include "nade_backward.h"
#include "nade_branches.h"
#include "nade_hidden.h"
#include "nade_outputs.h"

typedef nade_table table_type;
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

/* Rows of a walk share a hidden layer as long as their codes are the same: the particles of one row do until they draw
 * different values. */
typedef struct {
    int64_t n;                       /* hidden layers */
    uint8_t of[FASTAR_SAMPLE_ROWS];  /* the number of each row's hidden layer, */
    uint8_t row[FASTAR_SAMPLE_ROWS]; /* and of each hidden layer a row that has it */
} shared_layers;

/* By their bits, so that NaN equals itself. */
INLINE int same(int64_t count, const real *a, const real *b) { return !memcmp(a, b, count * sizeof(real)); }

static void copy_layer(const layer *l, int64_t from, int64_t to, real *raw) {
    const int64_t stride = l->z.stride, capacity = l->changes.capacity, count = l->changes.count[from];
    real *of_units[] = {l->units.initial, l->units.state, l->units.h};
    for (int i = 0; i < 3; i++)
        memcpy(of_units[i] + to * stride, of_units[i] + from * stride, stride * sizeof(real));
    l->units.saturated[to] = l->units.saturated[from];
    l->changes.count[to] = (int32_t)count;
    memcpy(l->changes.row + to * capacity, l->changes.row + from * capacity, count * sizeof(int32_t));
    memcpy(l->changes.value + to * capacity, l->changes.value + from * capacity, count * sizeof(real));
    memcpy(raw + to * l->z.widest, raw + from * l->z.widest, l->z.widest * sizeof(real));
}

/* Rows with other codes (n, D) of feature d than those with which they share get a hidden layer of their own. raw
 * (layers, widest): what it has of later features. */
static void part(const layer *l, int64_t n, int64_t d, const real *codes, shared_layers *s, real *raw) {
    const int64_t D = l->z.D, known = s->n;
    uint8_t from[FASTAR_SAMPLE_ROWS];
    for (int64_t r = 0; r < n && known < n; r++) {
        const real *x = codes + r * D + d;
        if (same(1, x, codes + s->row[s->of[r]] * D + d))
            continue;
        int64_t i = known;
        while (i < s->n && !(from[i] == s->of[r] && same(1, x, codes + s->row[i] * D + d)))
            i++;
        if (i == s->n) {
            copy_layer(l, s->of[r], i, raw);
            from[i] = s->of[r];
            s->row[i] = (uint8_t)r;
            s->n++;
        }
        s->of[r] = (uint8_t)i;
    }
}

/* What feature f, just drawn or leaving the Markov window, changes in hidden layer r. codes (D,): of a row with it. */
INLINE int sample_change(const layer *l, int64_t r, int64_t f, real sign, const input_spec *inputs, const real *codes,
                         real rho) {
    const int64_t i = l->changes.count[r], at = r * l->changes.capacity + i;
    if (!change_of(inputs, f, codes[f], l->changes.row + at, l->changes.value + at))
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

INLINE int any_flag(int64_t n, int64_t D, int64_t d, const uint8_t *held, uint8_t flag) {
    for (int64_t r = 0; r < n; r++)
        if (held[r * D + d] == flag)
            return 1;
    return 0;
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

/* codes (D,) -> row, value: what the features before `first` change, each as it comes and as it leaves the window. */
static int64_t leading_changes(int64_t first, const input_spec *inputs, const real *codes, int32_t *row, real *value) {
    int64_t count = 0;
    for (int64_t f = 0; f < first; f++) {
        const int64_t gone = f - inputs->markov_order;
        count += change_of(inputs, f, codes[f], row + count, value + count);
        if (gone >= 0 && change_of(inputs, gone, codes[gone], row + count, value + count)) {
            value[count] = -value[count];
            count++;
        }
    }
    return count;
}

/* Hidden layer r after its first changes, of which none is left but where saturated units are sums. */
static void begin(const layer *l, int64_t r) {
    const int64_t stride = l->z.stride, count = l->changes.count[r];
    const int unit = l->z.activation == FASTAR_SIGMOID_UNIT;
    real *h = l->units.h + r * stride, *state = l->units.state + r * stride;
    l->changes.count[r] = 0;
    if (count && unit && out_of_range(add_changes(1, l, r, count))) {
        start(l, r);
        for (int64_t i = 0; i < count; i++)
            change(l, r, i, 1);
        l->changes.count[r] = (int32_t)count;
    } else if (count && unit) {
        memcpy(l->units.initial + r * stride, h, stride * sizeof(real));
        for (int64_t k = 0; k < stride; k += VL)
            vstore(h + k, activate(FASTAR_SIGMOID_UNIT, vload(state + k), 1));
        l->units.saturated[r] = 0;
    } else {
        if (count) {
            add_changes(0, l, r, count);
            memcpy(l->units.initial + r * stride, h, stride * sizeof(real));
        }
        start(l, r);
    }
}

/* initial (n, stride), or one row for all where initial_stride is 0 -> the hidden layers that rows share: those of
 * neighbours with the same codes of the features before `first`, which are added at once and need no hidden units. A
 * layer ends with the bits that it has where they are taken one by one: which is the first depends on the rows beside
 * it. */
static shared_layers lead(const layer *l, int64_t n, int64_t first, const input_spec *inputs, const real *codes,
                          const real *initial, int64_t initial_stride) {
    const int64_t D = l->z.D, stride = l->z.stride, capacity = l->changes.capacity;
    shared_layers s = {0};
    for (int64_t r = 0; r < n; r++) {
        const real *x = codes + r * D, *own = initial + r * initial_stride;
        if (r == 0 || !same(first, x, x - D) || (initial_stride && !same(stride, own, own - initial_stride))) {
            memcpy(l->units.initial + s.n * stride, own, stride * sizeof(real));
            l->changes.count[s.n] = (int32_t)leading_changes(first, inputs, x, l->changes.row + s.n * capacity,
                                                             l->changes.value + s.n * capacity);
            s.row[s.n++] = (uint8_t)r;
        }
        s.of[r] = (uint8_t)(s.n - 1);
    }
    for (int64_t r = 0; r < s.n; r++)
        begin(l, r);
    return s;
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
    if (rows.held && !any_flag(n, D, d, rows.held, FASTAR_SAMPLED))
        return;
    draw.function(n, d, draw.spec, raw, raw_stride, rows.noise + d * draw.n_noise, D * draw.n_noise,
                  (earlier_codes){rows.codes + d, D, 1}, drawn);
    for (int64_t r = 0; r < n; r++)
        if (!rows.held || rows.held[r * D + d] == FASTAR_SAMPLED)
            rows.codes[r * D + d] = drawn[r];
}

/* initial (n, stride), or one row for all where initial_stride is 0, noise (n, D, n_noise), shift (n, o_D) or NULL,
 * W (.., H), V (o_D - o_1, H), b (o_D,) -> codes (n, D) where they are not held, weight (n,). units, changes
 * (n, capacity), raw (2 n, widest), drawn (n,): scratch. */
static void sample(int64_t n, nade_sizes z, PARAMS p, input_spec inputs, CHANGES changes, DRAW draw, ROWS rows,
                   const real *initial, int64_t initial_stride, const real *shift, UNITS units, real *raw,
                   real *drawn) {
    const layer l = {z, p, changes, units};
    const int64_t raw_stride = z.widest, *o = z.outputs;
    real *of_rows = raw + n * raw_stride;
    int64_t first = 0, end = z.D;
    while (first < z.D && !is_wanted(n, z.D, first, rows.held))
        first++;
    if (first == z.D) /* the last feature has no row in W */
        return;
    while (!is_wanted(n, z.D, end - 1, rows.held))
        end--;
    shared_layers s = lead(&l, n, first, &inputs, rows.codes, initial, initial_stride);
    int ahead = 0;           /* raw holds this feature already, for the layers that have not changed since */
    int64_t n_changed = s.n; /* layers that the last feature changed */
    uint8_t changed[FASTAR_SAMPLE_ROWS];
    for (int64_t r = 0; r < s.n && p.rho && 0 < first; r++)
        rescale(&l, r, rho_of(&p, first));
    for (int64_t d = first; d < end; d++) {
        if (is_wanted(n, z.D, d, rows.held)) {
            real *now = raw + (ahead ? o[d] - o[d - 1] : 0);
            if (ahead) {
                for (int64_t r = 0; r < s.n; r++)
                    if (changed[r])
                        outputs(1, &z, 0, o[d + 1] - o[d], p.V + (o[d] - o[1]) * z.H, p.b + o[d],
                                units.h + r * z.stride, raw_stride, now + r * raw_stride);
                ahead = 0;
            } else {
                /* Most hidden layers serve the next feature too: two outputs for one pass over them. */
                ahead = d > 0 && d + 1 < z.D && 4 * n_changed < s.n && !p.rho;
                sample_outputs(&l, s.n, d, 1 + ahead, now, raw_stride);
            }
            for (int64_t i = 0; i < o[d + 1] - o[d]; i++)
                for (int64_t r = 0; r < n; r++)
                    of_rows[r * raw_stride + i] = now[s.of[r] * raw_stride + i];
            choose(&l, n, d, draw, rows, shift, of_rows, drawn);
        } else
            ahead = 0;
        if (d + 1 < end) {
            const real rho = rho_of(&p, d + 1);
            part(&l, n, d, rows.codes, &s, raw);
            n_changed = 0;
            for (int64_t r = 0; r < s.n; r++) {
                const real *x = rows.codes + s.row[r] * z.D;
                changed[r] = (uint8_t)sample_change(&l, r, d, 1, &inputs, x, rho);
                if (d >= inputs.markov_order)
                    changed[r] |= (uint8_t)sample_change(&l, r, d - inputs.markov_order, -1, &inputs, x, rho);
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
    .branches = branches,
    .branches_scratch = branches_scratch,
    .lanes = VL,
};
