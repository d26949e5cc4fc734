/* Vectors run over hidden units; a weight row is loaded once for a tile of rows of data.
 *
 * The hidden layer of a row is computed again only where an input changes it. Between two changes in
 * any row of a tile, the outputs are a small matrix product: rows of V times the tile's hidden layers.
 * Backward takes a slab of hidden units through all features, from last to first, so that the rows of
 * V, W and their gradients stay in registers while the data's rows pass. */
#include "nade.h"
#include "vec.h"

typedef FASTAR_TABLE_TYPE(nade) table_type;
#define PARAMS FASTAR_TABLE_TYPE(nade_params)
#define UNITS FASTAR_TABLE_TYPE(nade_units)
#define CHANGES FASTAR_TABLE_TYPE(changes)
#define DRAW FASTAR_TABLE_TYPE(draw)

enum {
    TILE = 8,  /* rows of data whose hidden layers, 2 kB each for H = 500, stay in L1 together */
    SLAB = 64, /* features whose weights, 4 kB each, stay in L2 while all rows pass */
#if defined(__AVX512F__)
    WIDTH = 4, /* vectors of hidden units that backward holds in registers, for V and gV of two outputs */
#else
    WIDTH = 2,
#endif
};

/* All that a change of a row's hidden layer touches; handed on by address, since copies of so many words made
 * of smaller stores stall. */
typedef struct {
    nade_sizes z;
    PARAMS p;
    CHANGES changes;
    UNITS units;
} layer;

/* Unrolled, so that arrays of WIDTH vectors live in registers. */
#define EACH_VECTOR(j) _Pragma("GCC unroll 4") for (int j = 0; j < WIDTH; j++)

INLINE vec activate(int activation, vec state) {
    return activation == FASTAR_SIGMOID        ? vsigmoid(state)
           : activation == FASTAR_SIGMOID_UNIT ? vreciprocal(vset1(1) + state)
           : activation == FASTAR_TANH         ? vtanh(state)
                                               : vselect(state < vset1(0), vset1(0), state);
}

/* The derivative by the pre-activation, in terms of the activation's own value. */
INLINE vec derivative(int activation, vec h) {
    return activation == FASTAR_TANH   ? vset1(1) - h * h
           : activation == FASTAR_RELU ? vselect(h > vset1(0), vset1(1), vset1(0))
                                       : h * (vset1(1) - h);
}

/* The state that a pre-activation stands for. */
INLINE vec state_of(int activation, vec a) { return activation == FASTAR_SIGMOID_UNIT ? vexp(-a) : a; }

/* The state after a change by value * w; `factor` is exp(-value * w), or NULL. */
INLINE vec changed(int activation, vec state, vec w, const vec *factor, real value) {
    if (activation != FASTAR_SIGMOID_UNIT)
        return vfma(vset1(value), w, state);
    return state * (factor ? *factor : vexp(vset1(-value) * w));
}

/* Negative where exp(-a) or a product of it and a factor may have lost what a is: |a| > 41 (346 in double
 * precision). A factor that vexp had to clamp to 2^125 (2^1021) takes any state inside the range out of it. */
INLINE ivec out_of_range(vec state) {
#if FASTAR_DOUBLE
    const integer low = (integer)(1023 - 500) << 52, high = (integer)(1023 + 500) << 52;
#else
    const integer low = (integer)(127 - 60) << 23, high = (integer)(127 + 60) << 23;
#endif
    ivec bits = (ivec)state; /* of a positive number: they rise with it */
    return (bits - low) | (high - bits);
}

INLINE int any_negative(ivec v) {
    v = v < 0;
    integer seen = 0;
    for (int i = 0; i < VL; i++)
        seen |= v[i];
    return seen != 0;
}

/* The first `width` <= WIDTH * VL numbers of a row as vectors, zeros beyond. */
INLINE void load_units(vec *to, const real *from, int64_t width) {
    if (width == WIDTH * VL)
        EACH_VECTOR(j)
            to[j] = vload(from + j * VL);
    else
        EACH_VECTOR(j) {
            int64_t left = width - j * VL;
            to[j] = left >= VL ? vload(from + j * VL) : left > 0 ? vload_part(from + j * VL, (int)left) : vset1(0);
        }
}

INLINE void store_units(real *to, const vec *from, int64_t width) {
    EACH_VECTOR(j) {
        int64_t left = width - j * VL;
        if (left >= VL)
            vstore(to + j * VL, from[j]);
        else if (left > 0)
            vstore_part(to + j * VL, from[j], (int)left);
    }
}

/* From its change number i on, row r keeps a itself, summed anew, and takes a sigmoid per change. */
static void saturate(const layer *l, int64_t r, int64_t i) {
    const int64_t first = r * l->changes.capacity, H = l->z.H, at = r * l->z.stride;
    for (int64_t k = 0; k < H; k += WIDTH * VL) {
        const int64_t width = H - k < WIDTH * VL ? H - k : WIDTH * VL;
        vec a[WIDTH], w[WIDTH];
        load_units(a, l->units.initial + at + k, WIDTH * VL);
        for (int64_t j = first; j <= first + i; j++) {
            load_units(w, l->p.W + l->changes.row[j] * H + k, width);
            EACH_VECTOR(u)
                a[u] = vfma(vset1(l->changes.value[j]), w[u], a[u]);
        }
        store_units(l->units.state + at + k, a, WIDTH * VL);
        EACH_VECTOR(u)
            a[u] = vsigmoid(a[u]);
        store_units(l->units.h + at + k, a, WIDTH * VL);
    }
    l->units.saturated[r] = 1;
}

INLINE void start_with(int activation, const layer *l, int64_t r) {
    ivec out = viset1(0);
    for (int64_t k = r * l->z.stride; k < (r + 1) * l->z.stride; k += VL) {
        vec state = state_of(activation, vload(l->units.initial + k));
        vstore(l->units.state + k, state);
        vstore(l->units.h + k, activate(activation, state));
        out |= out_of_range(state);
    }
    l->units.saturated[r] = 0;
    if (activation == FASTAR_SIGMOID_UNIT && any_negative(out))
        saturate(l, r, -1);
}

/* Change number i of row r, counted from the row's first. */
INLINE void change_with(int activation, const layer *l, int64_t r, int64_t i) {
    const int64_t H = l->z.H, row = l->changes.row[r * l->changes.capacity + i];
    const real value = l->changes.value[r * l->changes.capacity + i], *w = l->p.W + row * H;
    const real *factors = l->p.factors && value > 0 ? l->p.factors + row * l->z.stride : NULL;
    real *state = l->units.state + r * l->z.stride, *h = l->units.h + r * l->z.stride;
    ivec out = viset1(0);
    if (activation == FASTAR_SIGMOID_UNIT && factors)
#pragma GCC unroll 4
        for (int64_t k = 0; k < H; k += VL) {
            vec s = vload(state + k) * vload(factors + k);
            vstore(state + k, s);
            vstore(h + k, activate(activation, s));
            out |= out_of_range(s);
        }
    else
        for (int64_t k = 0; k < H; k += VL) {
            vec wk = k + VL <= H ? vload(w + k) : vload_part(w + k, (int)(H - k));
            vec s = changed(activation, vload(state + k), wk, NULL, value);
            vstore(state + k, s);
            vstore(h + k, activate(activation, s));
            out |= out_of_range(s);
        }
    if (activation == FASTAR_SIGMOID_UNIT && any_negative(out))
        saturate(l, r, i);
}

/* One loop an activation. */
#define EACH_ACTIVATION(activation, call)                                                          \
    switch (activation) {                                                                          \
    case FASTAR_SIGMOID: call(FASTAR_SIGMOID); break;                                              \
    case FASTAR_SIGMOID_UNIT: call(FASTAR_SIGMOID_UNIT); break;                                    \
    case FASTAR_TANH: call(FASTAR_TANH); break;                                                    \
    default: call(FASTAR_RELU);                                                                    \
    }

static void start(const layer *l, int64_t r) {
#define START(activation) start_with(activation, l, r)
    EACH_ACTIVATION(l->z.activation, START)
}

static void change(const layer *l, int64_t r, int64_t i) {
#define CHANGE(activation) change_with(activation, l, r, i)
    EACH_ACTIVATION(l->units.saturated[r] ? FASTAR_SIGMOID : l->z.activation, CHANGE)
}

static void factors(int64_t rows, int64_t H, int64_t stride, const real *W, real *out) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t k = 0; k < H; k += VL) {
            const real *w = W + row * H + k;
            vstore(out + row * stride + k, vexp(-(k + VL <= H ? vload(w) : vload_part(w, (int)(H - k)))));
        }
}

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
            vsum8(sum[s], out + s * TILE);
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

static void outputs(int64_t n, int64_t H, int64_t stride, int64_t o0, int64_t o1, const real *V,
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

/* Features d0 .. d1 - 1, d0 >= 1, of a tile of n <= TILE rows from row r0 on. cursor: changes so far. */
static void forward_tile(const layer *l, int64_t n, int64_t r0, int64_t d0, int64_t d1, real *raw, int64_t *cursor) {
    const nade_sizes *z = &l->z;
    for (int64_t d = d0; d < d1;) {
        int64_t next = d1;
        for (int64_t r = r0; r < r0 + n; r++) {
            const int32_t *at = l->changes.at + r * l->changes.capacity;
            int64_t i = cursor[r], count = l->changes.count[r];
            for (; i < count && at[i] == d; i++)
                change(l, r, i);
            if (i < count && at[i] < next)
                next = at[i];
            cursor[r] = i;
        }
        /* V and b have no row, and raw no column, of h for the first feature: shift to the second. */
        outputs(n, z->H, z->stride, (d - 1) * z->P, (next - 1) * z->P, l->p.V, l->p.b + z->P,
                l->units.h + r0 * z->stride, z->D * z->P, raw + (r0 * z->D + 1) * z->P);
        d = next;
    }
}

static void forward(int64_t n, nade_sizes z, PARAMS p, CHANGES changes, UNITS units, real *raw, int64_t *cursor) {
    const layer l = {z, p, changes, units};
    for (int64_t r = 0; r < n; r++) {
        memcpy(raw + r * z.D * z.P, p.b, z.P * sizeof(real));
        start(&l, r);
        cursor[r] = 0;
    }
    for (int64_t d0 = 1; d0 < z.D; d0 += SLAB)
        for (int64_t r = 0; r < n; r += TILE)
            forward_tile(&l, n - r < TILE ? n - r : TILE, r, d0, d0 + SLAB < z.D ? d0 + SLAB : z.D, raw, cursor);
}

/* A slab of hidden units of one row in backward. What every output needs lies apart from what a change needs,
 * so that the former fills L1 without gaps. */
typedef struct {
    vec h[WIDTH];  /* in the present run of features */
    vec gh[WIDTH]; /* the gradient by h, from this run alone */
} run_slab;
typedef struct {
    vec ga[WIDTH];    /* the gradient by the pre-activation, from all runs after */
    vec state[WIDTH]; /* as in UNITS */
} row_slab;
typedef struct {
    run_slab run[FASTAR_BACKWARD_ROWS];
    row_slab row[FASTAR_BACKWARD_ROWS];
} block_slab;

/* A row of weights, its gradient being summed, and exp(w), which takes a change back. */
typedef struct {
    int64_t row;
    vec w[WIDTH], g[WIDTH], inverse[WIDTH];
} weight_slab;

INLINE void open_weights(int activation, int64_t row, int64_t H, int64_t width, const real *W, const real *gW,
                         weight_slab *s) {
    s->row = row;
    load_units(s->w, W + row * H, width);
    load_units(s->g, gW + row * H, width);
    if (activation == FASTAR_SIGMOID_UNIT)
        EACH_VECTOR(j)
            s->inverse[j] = vexp(s->w[j]);
}

/* G outputs with the same hidden units: gV[o] = sum of delta * h, gh += sum of delta * V[o], over n rows.
 * V, gV: their first output's row, rows H apart; `more`: add to what gV holds. */
INLINE void backward_outputs(int G, int64_t n, int more, int64_t H, int64_t width, const real *graw,
                             int64_t graw_stride, const real *V, real *gV, run_slab *rows) {
    vec v[2][WIDTH], g[2][WIDTH];
    for (int o = 0; o < G; o++) {
        load_units(v[o], V + o * H, width);
        if (more)
            load_units(g[o], gV + o * H, width);
        else
            EACH_VECTOR(j)
                g[o][j] = vset1(0);
    }
    for (int64_t r = 0; r < n; r++) {
        vec delta[2];
        for (int o = 0; o < G; o++)
            delta[o] = vset1(graw[r * graw_stride + o]);
        EACH_VECTOR(j) {
            vec h = rows[r].h[j], gh = rows[r].gh[j];
            for (int o = 0; o < G; o++) {
                g[o][j] = vfma(delta[o], h, g[o][j]);
                gh = vfma(delta[o], v[o][j], gh);
            }
            rows[r].gh[j] = gh;
        }
    }
    for (int o = 0; o < G; o++)
        store_units(gV + o * H, g[o], width);
}

INLINE void finish_run(int activation, run_slab *run, row_slab *row) {
    EACH_VECTOR(j) {
        row->ga[j] = vfma(run->gh[j], derivative(activation, run->h[j]), row->ga[j]);
        run->gh[j] = vset1(0);
    }
}

/* Take back a change: its gradient goes to the weights, h becomes what it was. */
INLINE void backward_change(int activation, real value, weight_slab *weights, run_slab *run, row_slab *row) {
    finish_run(activation, run, row);
    EACH_VECTOR(j) {
        weights->g[j] = vfma(vset1(value), row->ga[j], weights->g[j]);
        row->state[j] = changed(activation, row->state[j], weights->w[j], value < 0 ? NULL : &weights->inverse[j], -value);
        run->h[j] = activate(activation, row->state[j]);
    }
}

/* The n rows from row r0 on, n <= FASTAR_BACKWARD_ROWS. */
INLINE void backward_block(int activation, int64_t n, int64_t r0, int64_t k0, int64_t k1, nade_sizes z, PARAMS p,
                           CHANGES changes, changes_by_feature lists, UNITS units, const real *graw, real *gW,
                           real *gV, real *ga, block_slab *block) {
    const int64_t width = k1 - k0, graw_stride = z.D * z.P;
    for (int64_t r = 0; r < n; r++) {
        block->run[r] = (run_slab){0};
        block->row[r] = (row_slab){0};
        load_units(block->row[r].state, units.state + (r0 + r) * z.stride + k0, WIDTH * VL);
        EACH_VECTOR(j)
            block->run[r].h[j] =
                activate(units.saturated[r0 + r] ? FASTAR_SIGMOID : activation, block->row[r].state[j]);
    }
    for (int64_t d = z.D - 1; d > 0; d--) {
        /* Back to the nearest change in any row, all features share their hidden units. */
        int64_t start = d, o = (d + 1) * z.P;
        while (start > 1 && lists.first[start] == lists.first[start + 1])
            start--;
        for (; o - 2 >= start * z.P; o -= 2)
            backward_outputs(2, n, r0 > 0, z.H, width, graw + r0 * graw_stride + o - 2, graw_stride,
                             p.V + (o - 2 - z.P) * z.H + k0, gV + (o - 2 - z.P) * z.H + k0, block->run);
        if (o > start * z.P)
            backward_outputs(1, n, r0 > 0, z.H, width, graw + r0 * graw_stride + o - 1, graw_stride,
                             p.V + (o - 1 - z.P) * z.H + k0, gV + (o - 1 - z.P) * z.H + k0, block->run);
        d = start;
        weight_slab weights = {.row = -1};
        for (int64_t l = lists.first[d]; l < lists.first[d + 1]; l++) {
            int64_t r = r0 + lists.r[l], i = lists.index[l], row = changes.row[r * changes.capacity + i];
            if (row != weights.row) {
                if (weights.row >= 0)
                    store_units(gW + weights.row * z.H + k0, weights.g, width);
                open_weights(activation, row, z.H, width, p.W + k0, gW + k0, &weights);
            }
            const real value = changes.value[r * changes.capacity + i];
            if (units.saturated[r])
                backward_change(FASTAR_SIGMOID, value, &weights, block->run + lists.r[l], block->row + lists.r[l]);
            else
                backward_change(activation, value, &weights, block->run + lists.r[l], block->row + lists.r[l]);
        }
        if (weights.row >= 0)
            store_units(gW + weights.row * z.H + k0, weights.g, width);
    }
    for (int64_t r = 0; r < n; r++) {
        finish_run(activation, block->run + r, block->row + r);
        store_units(ga + (r0 + r) * z.stride + k0, block->row[r].ga, WIDTH * VL);
    }
}

static void backward(int64_t n, nade_sizes z, PARAMS p, CHANGES changes, const changes_by_feature *lists,
                     int64_t k0, int64_t k1, int64_t n_W, UNITS units, const real *graw, real *gW, real *gV,
                     real *ga, real *scratch) {
    const vec zero[WIDTH] = {0};
    for (int64_t row = 0; row < n_W; row++)
        store_units(gW + row * z.H + k0, zero, k1 - k0);
    for (int64_t r0 = 0; r0 < n; r0 += FASTAR_BACKWARD_ROWS) {
        int64_t m = n - r0 < FASTAR_BACKWARD_ROWS ? n - r0 : FASTAR_BACKWARD_ROWS;
#define BACKWARD(activation)                                                                       \
    backward_block(activation, m, r0, k0, k1, z, p, changes, lists[r0 / FASTAR_BACKWARD_ROWS], units, graw, \
                   gW, gV, ga, (block_slab *)scratch)
        EACH_ACTIVATION(z.activation, BACKWARD)
    }
}

/* What feature f, just drawn or leaving the Markov window, changes in the hidden layer of row r. */
INLINE int sample_change(const layer *l, int64_t r, int64_t f, real sign, const input_spec *inputs, const real *codes) {
    const int one_hot = inputs->one_hot[f];
    const real x = codes[r * l->z.D + f];
    if (!one_hot && x == 0)
        return 0;
    const int64_t i = l->changes.count[r]++, at = r * l->changes.capacity + i;
    l->changes.row[at] = (int32_t)(f * inputs->Q + (one_hot ? (int64_t)x : 0));
    l->changes.value[at] = sign * (one_hot ? 1 : x);
    change(l, r, i);
    return 1;
}

/* raw[r] for `features` features from d on, by the hidden layers as they are. */
static void sample_outputs(const layer *l, int64_t n, int64_t d, int64_t features, real *raw, int64_t raw_stride) {
    const int64_t P = l->z.P, H = l->z.H;
    if (d == 0)
        for (int64_t r = 0; r < n; r++)
            memcpy(raw + r * raw_stride, l->p.b, P * sizeof(real));
    else
        for (int64_t r = 0; r < n; r += TILE)
            outputs(n - r < TILE ? n - r : TILE, H, l->z.stride, 0, features * P, l->p.V + (d - 1) * P * H,
                    l->p.b + d * P, l->units.h + r * l->z.stride, raw_stride, raw + r * raw_stride);
}

static void sample(int64_t n, nade_sizes z, PARAMS p, input_spec inputs, CHANGES changes, DRAW draw,
                   const real *noise, const uint8_t *held, real *codes, UNITS units, real *raw, real *drawn) {
    const layer l = {z, p, changes, units};
    const int64_t noise_stride = z.D * draw.n_noise, raw_stride = 2 * z.P;
    int ahead = 0;         /* raw holds this feature already, for the rows that have not changed since */
    int64_t n_changed = n; /* rows that the last feature changed */
    uint8_t changed[FASTAR_SAMPLE_ROWS];
    for (int64_t r = 0; r < n; r++) {
        start(&l, r);
        changes.count[r] = 0;
    }
    for (int64_t d = 0; d < z.D; d++) {
        int all_held = held != NULL;
        for (int64_t r = 0; r < n && all_held; r++)
            all_held = held[r * z.D + d];
        if (!all_held) {
            real *now = raw + (ahead ? z.P : 0);
            if (ahead) {
                for (int64_t r = 0; r < n; r++)
                    if (changed[r])
                        outputs(1, z.H, z.stride, 0, z.P, p.V + (d - 1) * z.P * z.H, p.b + d * z.P,
                                units.h + r * z.stride, raw_stride, now + r * raw_stride);
                ahead = 0;
            } else {
                /* Most hidden layers serve the next feature too: two outputs for one pass over them. */
                ahead = d > 0 && d + 1 < z.D && 4 * n_changed < n;
                sample_outputs(&l, n, d, 1 + ahead, now, raw_stride);
            }
            draw.function(n, d, draw.spec, now, raw_stride, noise + d * draw.n_noise, noise_stride, drawn);
            for (int64_t r = 0; r < n; r++)
                if (!held || !held[r * z.D + d])
                    codes[r * z.D + d] = drawn[r];
        } else
            ahead = 0;
        if (d + 1 < z.D) {
            n_changed = 0;
            for (int64_t r = 0; r < n; r++) {
                changed[r] = (uint8_t)sample_change(&l, r, d, 1, &inputs, codes);
                if (d >= inputs.markov_order)
                    changed[r] |= (uint8_t)sample_change(&l, r, d - inputs.markov_order, -1, &inputs, codes);
                n_changed += changed[r];
            }
        }
    }
}

const table_type FASTAR_TABLE(nade) = {
    .slab = WIDTH * VL,
    .factors = factors,
    .forward = forward,
    .backward = backward,
    .backward_scratch = sizeof(block_slab) / sizeof(real),
    .sample = sample,
};
