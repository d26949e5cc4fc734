/* Vectors run over hidden units; a weight row is loaded once for a tile of rows of data.
 *
 * The hidden layer of a row is computed again only where an input changes it. Between two changes in
 * any row of a tile, the outputs are a small matrix product: rows of V times the tile's hidden layers. */
#include "nade.h"
#include "vec.h"

typedef FASTAR_TABLE_TYPE(nade) table_type;
#define PARAMS FASTAR_TABLE_TYPE(nade_params)
#define CHANGES FASTAR_TABLE_TYPE(changes)
#define DRAW FASTAR_TABLE_TYPE(draw)

enum {
    TILE = 8,   /* rows of data whose hidden layers, 2 kB each for H = 500, stay in L1 together */
    SLAB = 64,  /* features whose weights, 4 kB each, stay in L2 while all rows pass */
    WIDTH = 4,  /* vectors of hidden units that backward holds in registers */
    OUTPUTS = 64 /* rows of V that backward holds in L1 with their gradients */
};

INLINE vec activate(int activation, vec a) {
    return activation == FASTAR_SIGMOID ? vsigmoid(a)
           : activation == FASTAR_TANH  ? vtanh(a)
                                        : vselect(a < vset1(0), vset1(0), a);
}

/* The derivative, by the activation's own value. */
INLINE vec derivative(int activation, vec h) {
    return activation == FASTAR_SIGMOID ? h * (vset1(1) - h)
           : activation == FASTAR_TANH  ? vset1(1) - h * h
                                        : vselect(h > vset1(0), vset1(1), vset1(0));
}

/* a += value * w, h = g(a), for all hidden units; w may be NULL. */
INLINE void change_with(int activation, int64_t H, const real *w, real value, real *a, real *h) {
    for (int64_t k = 0; k < H; k += VL) {
        vec ak = vload(a + k);
        if (w) {
            vec wk = k + VL <= H ? vload(w + k) : vload_part(w + k, (int)(H - k));
            ak = vfma(vset1(value), wk, ak);
            vstore(a + k, ak);
        }
        vstore(h + k, activate(activation, ak));
    }
}

static void change(int activation, int64_t H, const real *w, real value, real *a, real *h) {
    switch (activation) { /* one loop an activation */
    case FASTAR_SIGMOID: change_with(FASTAR_SIGMOID, H, w, value, a, h); break;
    case FASTAR_TANH: change_with(FASTAR_TANH, H, w, value, a, h); break;
    default: change_with(FASTAR_RELU, H, w, value, a, h);
    }
}

/* out[s][r] = V[s] . h[r] for R rows of hidden layers, one or TILE, and S rows of weights, one or two. */
INLINE void products(int R, int S, int64_t H, int64_t stride, const real *V, const real *h, real *out) {
    vec sum[2][TILE];
    for (int s = 0; s < S; s++)
        for (int r = 0; r < R; r++)
            sum[s][r] = vset1(0);
    int64_t k = 0;
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
            out[s * TILE] = vsum(sum[s][0]);
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
    if (n == TILE)
        outputs_of(TILE, H, stride, o0, o1, V, b, h, raw_stride, raw);
    else
        for (int64_t r = 0; r < n; r++)
            outputs_of(1, H, stride, o0, o1, V, b, h + r * stride, raw_stride, raw + r * raw_stride);
}

/* Features d0 .. d1 - 1, d0 >= 1, of a tile of n <= TILE rows from row r0 on. */
static void forward_tile(int64_t n, int64_t r0, int64_t d0, int64_t d1, nade_sizes z, PARAMS p,
                         CHANGES changes, real *a, real *raw, real *h, int64_t *cursor) {
    for (int64_t d = d0; d < d1;) {
        int64_t next = d1;
        for (int64_t r = r0; r < r0 + n; r++) {
            int64_t i = cursor[r], end = r * changes.capacity + changes.count[r];
            for (; i < end && changes.at[i] == d; i++) {
                const real *w = p.W + changes.row[i] * z.H;
                change(z.activation, z.H, w, changes.value[i], a + r * z.stride, h + r * z.stride);
            }
            if (i < end && changes.at[i] < next)
                next = changes.at[i];
            cursor[r] = i;
        }
        /* V and b have no row, and raw no column, of h for the first feature: shift to the second. */
        outputs(n, z.H, z.stride, (d - 1) * z.P, (next - 1) * z.P, p.V, p.b + z.P, h + r0 * z.stride,
                z.D * z.P, raw + (r0 * z.D + 1) * z.P);
        d = next;
    }
}

static void forward(int64_t n, nade_sizes z, PARAMS p, CHANGES changes, real *a, real *raw, real *h,
                    int64_t *cursor) {
    for (int64_t r = 0; r < n; r++) {
        memcpy(raw + r * z.D * z.P, p.b, z.P * sizeof(real));
        change(z.activation, z.H, NULL, 0, a + r * z.stride, h + r * z.stride);
        cursor[r] = r * changes.capacity;
    }
    for (int64_t d0 = 1; d0 < z.D; d0 += SLAB)
        for (int64_t r = 0; r < n; r += TILE)
            forward_tile(n - r < TILE ? n - r : TILE, r, d0, d0 + SLAB < z.D ? d0 + SLAB : z.D, z, p,
                         changes, a, raw, h, cursor);
}

/* Backward takes `lanes` hidden units, WIDTH vectors, and walks the features from last to first. */

typedef struct {
    vec h[WIDTH];  /* the hidden units in the present run of features */
    vec gh[WIDTH]; /* the gradient by them, from this run alone */
    vec ga[WIDTH]; /* the gradient by the pre-activation, from all runs after */
} unit_state;

INLINE void load_units(vec *to, const real *from, int64_t width) {
    for (int j = 0; j < WIDTH; j++) {
        int64_t left = width - j * VL;
        to[j] = left >= VL ? vload(from + j * VL) : left > 0 ? vload_part(from + j * VL, (int)left) : vset1(0);
    }
}

INLINE void store_units(real *to, const vec *from, int64_t width) {
    for (int j = 0; j < WIDTH; j++) {
        int64_t left = width - j * VL;
        if (left >= VL)
            vstore(to + j * VL, from[j]);
        else if (left > 0)
            vstore_part(to + j * VL, from[j], (int)left);
    }
}

/* The outputs of one run: gh += delta * V, gV += delta * h. V, gV (m, WIDTH * VL) packed. */
INLINE void backward_run(int64_t m, const real *delta, const real *V, real *gV, unit_state *u) {
    vec h[WIDTH], gh[WIDTH];
    for (int j = 0; j < WIDTH; j++) {
        h[j] = u->h[j];
        gh[j] = u->gh[j];
    }
    for (int64_t o = 0; o < m; o++, V += WIDTH * VL, gV += WIDTH * VL) {
        vec g = vset1(delta[o]);
#pragma GCC unroll 4
        for (int j = 0; j < WIDTH; j++) {
            gh[j] = vfma(g, vload(V + j * VL), gh[j]);
            vstore(gV + j * VL, vfma(g, h[j], vload(gV + j * VL)));
        }
    }
    for (int j = 0; j < WIDTH; j++)
        u->gh[j] = gh[j];
}

INLINE void finish_run(int activation, unit_state *u) {
    for (int j = 0; j < WIDTH; j++) {
        u->ga[j] = vfma(u->gh[j], derivative(activation, u->h[j]), u->ga[j]);
        u->gh[j] = vset1(0);
    }
}

/* One row over the features d0 .. d1 - 1, last first. V, gV: packed, from feature d0 on. */
INLINE void backward_row(int activation, int64_t d0, int64_t d1, int64_t width, nade_sizes z, const real *W,
                         CHANGES changes, int64_t begin, int64_t *cursor, const real *graw, const real *V,
                         real *gV, real *gW, real *a, unit_state *u) {
    int64_t i = *cursor; /* one past the last change not yet undone */
    for (int64_t d = d1; d > d0;) {
        int64_t start = i > begin && changes.at[i - 1] > d0 ? changes.at[i - 1] : d0, o = (start - d0) * z.P;
        backward_run((d - start) * z.P, graw + start * z.P, V + o * WIDTH * VL, gV + o * WIDTH * VL, u);
        d = start;
        if (i == begin || changes.at[i - 1] != start)
            continue;
        finish_run(activation, u);
        vec ak[WIDTH];
        load_units(ak, a, width);
        for (; i > begin && changes.at[i - 1] == start; i--) {
            int64_t row = changes.row[i - 1] * z.H;
            vec value = vset1(changes.value[i - 1]), w[WIDTH], g[WIDTH];
            load_units(w, W + row, width);
            load_units(g, gW + row, width);
            for (int j = 0; j < WIDTH; j++) {
                ak[j] = vfma(-value, w[j], ak[j]);
                g[j] = vfma(value, u->ga[j], g[j]);
            }
            store_units(gW + row, g, width);
        }
        store_units(a, ak, width);
        for (int j = 0; j < WIDTH; j++)
            u->h[j] = activate(activation, ak[j]);
    }
    *cursor = i;
}

static int64_t features_at_once(int64_t P) { return P < OUTPUTS ? OUTPUTS / P : 1; }

static int64_t backward_scratch(int64_t n, nade_sizes z) {
    return n * (int64_t)(sizeof(unit_state) / sizeof(real)) + 2 * features_at_once(z.P) * z.P * WIDTH * VL;
}

INLINE void backward_with(int activation, int64_t n, nade_sizes z, PARAMS p, CHANGES changes, int64_t k0,
                          int64_t k1, int64_t n_W, real *a, const real *graw, real *gW, real *gV,
                          real *scratch, int64_t *cursor) {
    const int64_t width = k1 - k0, step = features_at_once(z.P), units = WIDTH * VL;
    const int64_t state = sizeof(unit_state) / sizeof(real);
    real *V = scratch + n * state, *gV_packed = V + step * z.P * units;
    vec zero[WIDTH] = {0};
    for (int64_t row = 0; row < n_W; row++)
        store_units(gW + row * z.H + k0, zero, width);
    for (int64_t r = 0; r < n; r++) {
        unit_state u = {0};
        load_units(u.h, a + r * z.stride + k0, width);
        for (int j = 0; j < WIDTH; j++)
            u.h[j] = activate(activation, u.h[j]);
        memcpy(scratch + r * state, &u, sizeof u);
        cursor[r] = r * changes.capacity + changes.count[r];
    }
    for (int64_t d1 = z.D; d1 > 1;) {
        int64_t d0 = d1 - step > 1 ? d1 - step : 1, o0 = (d0 - 1) * z.P, m = (d1 - d0) * z.P;
        for (int64_t o = 0; o < m; o++) {
            vec v[WIDTH];
            load_units(v, p.V + (o0 + o) * z.H + k0, width);
            memcpy(V + o * units, v, sizeof v);
        }
        memset(gV_packed, 0, m * units * sizeof(real));
        for (int64_t r = 0; r < n; r++) {
            unit_state u;
            memcpy(&u, scratch + r * state, sizeof u);
            backward_row(activation, d0, d1, width, z, p.W + k0, changes, r * changes.capacity, cursor + r,
                         graw + r * z.D * z.P, V, gV_packed, gW + k0, a + r * z.stride + k0, &u);
            memcpy(scratch + r * state, &u, sizeof u);
        }
        for (int64_t o = 0; o < m; o++) {
            vec g[WIDTH];
            memcpy(g, gV_packed + o * units, sizeof g);
            store_units(gV + (o0 + o) * z.H + k0, g, width);
        }
        d1 = d0;
    }
    for (int64_t r = 0; r < n; r++) {
        unit_state u;
        memcpy(&u, scratch + r * state, sizeof u);
        finish_run(activation, &u);
        store_units(a + r * z.stride + k0, u.ga, width);
    }
}

static void backward(int64_t n, nade_sizes z, PARAMS p, CHANGES changes, int64_t k0, int64_t k1, int64_t n_W,
                     real *a, const real *graw, real *gW, real *gV, real *scratch, int64_t *cursor) {
#define BACKWARD(activation)                                                                       \
    backward_with(activation, n, z, p, changes, k0, k1, n_W, a, graw, gW, gV, scratch, cursor)
    switch (z.activation) {
    case FASTAR_SIGMOID: BACKWARD(FASTAR_SIGMOID); break;
    case FASTAR_TANH: BACKWARD(FASTAR_TANH); break;
    default: BACKWARD(FASTAR_RELU);
    }
}

/* What feature f, just drawn or leaving the Markov window, changes in the hidden layer of row r. */
INLINE int contribution(input_spec inputs, nade_sizes z, const real *W, const real *codes, int64_t f,
                        const real **w, real *value) {
    int one_hot = inputs.one_hot[f];
    real x = codes[f];
    *w = W + (f * inputs.Q + (one_hot ? (int64_t)x : 0)) * z.H;
    *value = one_hot ? 1 : x;
    return *value != 0;
}

static void sample(int64_t n, nade_sizes z, PARAMS p, input_spec inputs, DRAW draw, const real *noise,
                   const uint8_t *held, real *codes, real *a, real *h, real *raw, real *drawn) {
    const int64_t noise_stride = z.D * draw.n_noise;
    for (int64_t r = 0; r < n; r++)
        change(z.activation, z.H, NULL, 0, a + r * z.stride, h + r * z.stride);
    for (int64_t d = 0; d < z.D; d++) {
        int all_held = held != NULL;
        for (int64_t r = 0; r < n && all_held; r++)
            all_held = held[r * z.D + d];
        if (!all_held) {
            if (d == 0)
                for (int64_t r = 0; r < n; r++)
                    memcpy(raw + r * z.P, p.b, z.P * sizeof(real));
            else
                for (int64_t r = 0; r < n; r += TILE)
                    outputs(n - r < TILE ? n - r : TILE, z.H, z.stride, 0, z.P, p.V + (d - 1) * z.P * z.H,
                            p.b + d * z.P, h + r * z.stride, z.P, raw + r * z.P);
            draw.function(n, d, z.P, draw.spec, raw, noise_stride, noise + d * draw.n_noise, drawn);
            for (int64_t r = 0; r < n; r++)
                if (!held || !held[r * z.D + d])
                    codes[r * z.D + d] = drawn[r];
        }
        if (d + 1 == z.D)
            break;
        for (int64_t r = 0; r < n; r++) {
            const real *w;
            real value;
            if (contribution(inputs, z, p.W, codes + r * z.D, d, &w, &value))
                change(z.activation, z.H, w, value, a + r * z.stride, h + r * z.stride);
            if (d >= inputs.markov_order &&
                contribution(inputs, z, p.W, codes + r * z.D, d - inputs.markov_order, &w, &value))
                change(z.activation, z.H, w, -value, a + r * z.stride, h + r * z.stride);
        }
    }
}

const table_type FASTAR_TABLE(nade) = {
    .lanes = VL,
    .slab = WIDTH * VL,
    .forward = forward,
    .backward = backward,
    .backward_scratch = backward_scratch,
    .sample = sample,
};
