/* Training has vectors run over columns of W, sampling over rows of data: in training a weight serves a
 * hundred rows and gradients need sums over rows, in sampling the few units that a feature completes would
 * fill no vector. */
#include "masked.h"
#include "change.h"
#include "product.h"

typedef FASTAR_TABLE_TYPE(masked) table_type;
#define LISTED FASTAR_TABLE_TYPE(listed)
#define STAIRS FASTAR_TABLE_TYPE(staircase)
#define SAMPLED FASTAR_TABLE_TYPE(sampled)
#define WALK FASTAR_TABLE_TYPE(masked_walk)
#define DRAW FASTAR_TABLE_TYPE(draw)
#define WALKED FASTAR_TABLE_TYPE(walked)

enum {
    SLAB = 8,    /* vectors of sums that `gather` and `scatter` keep in registers, */
    WIDE = SLAB * VL,
    REACH = 64,  /* rows of W that they take at a time: a slab of them, 32 kB, stays in L1, */
    FEW = 4,     /* but is not copied for fewer rows of data */
    AHEAD = 16, /* rows that are fetched before they are packed */
    DEPTH = 256, /* steps of a product: a panel's weights, 32 kB, stay in L1 */
    ROWS = 4 * VL,      /* of data that one walk over the features carries */
    SAMPLE_DEPTH = 128, /* as DEPTH, of ROWS rows' units */
    GROUP = TILE / 2,
};

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

INLINE vec activation_of(int activation, vec a) {
    return activation == FASTAR_MASKED_SIGMOID ? vsigmoid(a)
           : activation == FASTAR_MASKED_TANH  ? vtanh(a)
                                               : vselect(a < vset1(0), vset1(0), a);
}

/* g'(a) in terms of h = g(a). */
INLINE vec derivative_of(int activation, vec h) {
    return activation == FASTAR_MASKED_TANH   ? vset1(1) - h * h
           : activation == FASTAR_MASKED_RELU ? vselect(h > vset1(0), vset1(1), vset1(0))
                                              : h * (vset1(1) - h);
}

/* One loop an activation. */
#define EACH_ACTIVATION(activation, call)                                                          \
    switch (activation) {                                                                          \
    case FASTAR_MASKED_SIGMOID: call(FASTAR_MASKED_SIGMOID); break;                                \
    case FASTAR_MASKED_TANH: call(FASTAR_MASKED_TANH); break;                                      \
    default: call(FASTAR_MASKED_RELU);                                                             \
    }

/* Those lanes of p[0 .. VL) that lie in from .. to - 1, whatever these are. */
INLINE vec load_range(const real *p, int64_t from, int64_t to) {
    from = most(from, 0);
    to = least(to, VL);
    return from < to ? vload_range(p, (int)from, (int)to) : vset1(0);
}
INLINE void store_range(real *p, vec v, int64_t from, int64_t to) {
    from = most(from, 0);
    to = least(to, VL);
    if (from < to)
        vstore_range(p, v, (int)from, (int)to);
}

static void activate(int64_t n, int64_t width, int activation, real *h, int64_t h_row) {
#define ACTIVATE(g)                                                                                \
    for (int64_t r = 0; r < n; r++)                                                                \
        for (int64_t k = 0; k < width; k += VL)                                                    \
    store(h + r * h_row + k, activation_of(g, load(h + r * h_row + k, width - k)), width - k)
    EACH_ACTIVATION(activation, ACTIVATE)
}

static void derivative(int64_t n, int64_t width, int activation, const real *h, int64_t h_row, real *gh,
                       int64_t g_row) {
#define DERIVATIVE(g)                                                                              \
    for (int64_t r = 0; r < n; r++)                                                                \
        for (int64_t k = 0; k < width; k += VL) {                                                  \
            vec d = derivative_of(g, load(h + r * h_row + k, width - k));                          \
            store(gh + r * g_row + k, d * load(gh + r * g_row + k, width - k), width - k);         \
        }
    EACH_ACTIVATION(activation, DERIVATIVE)
}

/* Strided rows, too short for the processor to foresee. Beyond the end of an array it does nothing. */
INLINE void prefetch(const real *p, int64_t count) {
    for (int64_t i = 0; i < count; i += 64 / (int64_t)sizeof(real))
        __builtin_prefetch(p + i, 1);
}

/* Columns 0 .. width - 1 of a row, zero where it does not show them. */
INLINE void pack_row(int64_t width, const real *w, int64_t begin, int64_t end, real *packed) {
    if (begin <= 0 && end >= width)
        memcpy(packed, w, width * sizeof(real));
    else if (width % VL == 0)
        for (int64_t j = 0; j < width; j += VL)
            vstore(packed + j, load_range(w + j, begin - j, end - j));
    else
        for (int64_t j = 0; j < width; j++)
            packed[j] = begin <= j && j < end ? w[j] : 0;
}

static void pack(int64_t first, int64_t count, int64_t j0, int64_t j1, int64_t width, STAIRS stairs, real *packed) {
    for (int64_t k = 0; k < count; k++) {
        const real *w = stairs.W + (first + k) * stairs.columns + j0;
        const int64_t begin = stairs.row_begin[first + k] - j0;
        const int64_t end = least(stairs.row_end[first + k], j1) - j0;
        prefetch(w + AHEAD * stairs.columns, width);
        if (width == PANEL)
            pack_row(PANEL, w, begin, end, packed + k * PANEL);
        else if (width == WIDE)
            pack_row(WIDE, w, begin, end, packed + k * WIDE);
        else
            pack_row(GROUP, w, begin, end, packed + k * GROUP);
    }
}

/* Weights that the next product wants: `rows` rows of `width` numbers. */
typedef struct {
    const real *W;
    int64_t rows, width, row;
} upcoming;

/* `product`, and meanwhile what comes next is fetched, some rows a tile: memory and sums take about as long. */
static void product_ahead(int64_t n, int64_t K, int64_t width, const real *A, int64_t a_row, const real *packed,
                          const real *bias, int add, real *C, int64_t c_row, upcoming next) {
    int64_t row = 0;
#define PRODUCT_AHEAD(R)                                                                           \
    for (; row * n < next.rows * (r + R); row++)                                                   \
        for (int64_t i = 0; i < next.width; i += 64 / (int64_t)sizeof(real))                       \
            __builtin_prefetch(next.W + row * next.row + i, 0, 2);                                 \
    product_tile(R, K, width, A + r * a_row, a_row, packed, bias, add, C + r * c_row, c_row)
    EACH_TILE(n, r, PRODUCT_AHEAD)
}

static void forward(int64_t n, int64_t k0, int64_t k1, int64_t j0, int64_t j1, int64_t next, STAIRS stairs,
                    const real *A, const real *bias, int add, int activation, real *out, real *packed) {
    const int64_t first = stairs.column_begin[j0], end = stairs.column_end[j1 - 1], N = stairs.columns;
    const int none = first >= end; /* nothing but the bias: once, with the first rows */
    const int64_t low = none ? k0 : most(first, k0), high = none ? k0 : least(end, k1);
    if (none ? k0 > 0 : low >= high)
        return;
    pack(low, high - low, j0, j1, PANEL, stairs, packed);
    upcoming after = {NULL, 0, PANEL, N};
    if (next < N) {
        const int64_t from = most(stairs.column_begin[next], k0);
        after.W = stairs.W + from * N + next;
        after.rows = most(0, least(stairs.column_end[least(next + PANEL, N) - 1], k1) - from);
    }
    product_ahead(n, high - low, j1 - j0, A + low, stairs.rows, packed, bias + j0, add || (!none && low > first),
                  out + j0, N, after);
    if (activation >= 0 && (none || high == end))
        activate(n, j1 - j0, activation, out + j0, N);
}

static void transpose(int64_t k0, int64_t k1, int64_t j0, int64_t j1, STAIRS stairs, real *packed) {
    for (int64_t j = j0; j < j1; j += VL)
        for (int64_t i = 0; i < PANEL; i += VL) {
            vec v[VL];
            for (int l = 0; l < VL; l++) {
                const int64_t k = k0 + i + l;
                prefetch(stairs.W + k * stairs.columns + j + 4 * VL, 1);
                v[l] = k < k1 ? load_range(stairs.W + k * stairs.columns + j, stairs.row_begin[k] - j,
                                           least(stairs.row_end[k], j1) - j)
                              : vset1(0);
            }
            vtranspose(v);
            for (int l = 0; l < VL && j + l < j1; l++)
                vstore(packed + (j - j0 + l) * PANEL + i, v[l]);
        }
}

static void backward(int64_t n, int64_t k0, int64_t k1, int64_t next, STAIRS stairs, const real *G, int activation,
                     const real *h, real *gh, real *packed) {
    const int64_t K = stairs.rows, N = stairs.columns, j = stairs.row_begin[k0];
    const int64_t span = most(0, stairs.row_end[k1 - 1] - j);
    upcoming after = {NULL, 0, 0, N};
    if (next < K) {
        const int64_t last = least(next + PANEL, K) - 1;
        after = (upcoming){stairs.W + next * N + stairs.row_begin[next], last + 1 - next,
                           stairs.row_end[last] - stairs.row_begin[next], N};
    }
    transpose(k0, k1, j, j + span, stairs, packed);
    product_ahead(n, span, k1 - k0, G + j, N, packed, NULL, 0, gh + k0, K, after);
    derivative(n, k1 - k0, activation, h + k0, K, gh + k0, K);
}

/* A is that of row k. */
INLINE void outer_tile(int R, int64_t n, int64_t k, int64_t j0, int64_t j1, STAIRS stairs, const real *A,
                       int64_t a_row, const real *panel, real *gW) {
    if (stairs.row_begin[k] >= j1 || stairs.row_end[k + R - 1] <= j0)
        return;
    vec sum[TILE][2];
    for (int r = 0; r < R; r++) {
        sum[r][0] = sum[r][1] = vset1(0);
        prefetch(gW + (k + r) * stairs.columns + j0, PANEL);
    }
    tile(R, n, A, 1, a_row, panel, sum);
    for (int r = 0; r < R; r++) {
        const int64_t begin = most(stairs.row_begin[k + r], j0), end = least(stairs.row_end[k + r], j1);
        real *out = gW + (k + r) * stairs.columns;
        if (begin == j0 && end == j0 + PANEL) {
            vstore(out + j0, sum[r][0]);
            vstore(out + j0 + VL, sum[r][1]);
        } else {
            store_range(out + j0, sum[r][0], begin - j0, end - j0);
            store_range(out + j0 + VL, sum[r][1], begin - j0 - VL, end - j0 - VL);
        }
    }
}

static void outer(int64_t n, int64_t k0, int64_t k1, int64_t j0, int64_t j1, STAIRS stairs, const real *A,
                  int64_t a_row, const real *panel, real *gW) {
#define OUTER(R) outer_tile(R, n, k0 + k, j0, j1, stairs, A + k, a_row, panel, gW)
    EACH_TILE(k1 - k0, k, OUTER)
}

/* `V` vectors of columns from j0 on, the last one of `left` lanes, of entries i .. i1 - 1: those of rows first ..
 * last - 1 show all of them. In C chains of sums: one would wait for itself. */
INLINE void gather_slab(int V, int C, int64_t left, int64_t j0, int64_t i, int64_t i1, int32_t first, int32_t last,
                        const int32_t *row, const real *value, STAIRS stairs, const real *start, real *out) {
    const real *W = stairs.W + j0;
    vec sum[SLAB];
#pragma GCC unroll 8
    for (int u = 0; u < V * C; u++)
        sum[u] = start && u < V ? load(start + u * VL, u < V - 1 ? VL : left) : vset1(0);
    while (i < i1) {
        for (; i + C <= i1 && row[i] >= first && row[i + C - 1] < last; i += C)
#pragma GCC unroll 8
            for (int u = 0; u < V * C; u++) {
                const real *w = W + row[i + u / V] * stairs.columns + u % V * VL;
                sum[u] = vfma(vset1(value[i + u / V]), load(w, u % V < V - 1 ? VL : left), sum[u]);
            }
        if (i < i1) {
            const int64_t from = stairs.row_begin[row[i]] - j0;
            const int64_t to = least(stairs.row_end[row[i]] - j0, (V - 1) * VL + left);
#pragma GCC unroll 8
            for (int u = 0; u < V; u++) {
                vec w = load_range(W + row[i] * stairs.columns + u * VL, from - u * VL, to - u * VL);
                sum[u] = vfma(vset1(value[i]), w, sum[u]);
            }
            i++;
        }
    }
#pragma GCC unroll 8
    for (int u = 0; u < V; u++) {
        for (int c = 1; c < C; c++)
            sum[u] += sum[u + c * V];
        store(out + u * VL, sum[u], u < V - 1 ? VL : left);
    }
}

/* The first of the entries, sorted by row, whose row is not below a limit. */
INLINE int64_t first_from(int64_t count, const int32_t *row, int64_t limit) {
    int64_t low = 0;
    while (low < count) {
        int64_t middle = (low + count) / 2;
        if (row[middle] < limit)
            low = middle + 1;
        else
            count = middle;
    }
    return low;
}

static void gather_row(int64_t count, const int32_t *row, const real *value, int64_t j0, int64_t j1, STAIRS stairs,
                       real *out) {
    for (int64_t j = j0; j < j1;) {
        const int64_t left = j1 - j;
        const int64_t width = least(left, left >= SLAB * VL ? SLAB * VL : left >= 4 * VL ? 4 * VL : 2 * VL);
        const int64_t i0 = first_from(count, row, stairs.column_begin[j]);
        const int64_t i1 = first_from(count, row, stairs.column_end[j + width - 1]);
        /* Rows that show the whole slab show its first and its last column. */
        const int32_t first = (int32_t)stairs.column_begin[j + width - 1], last = (int32_t)stairs.column_end[j];
#define GATHER(V, C, left)                                                                         \
    gather_slab(V, C, left, j, i0, i1, first, last, row, value, stairs, NULL, out + j - j0)
        if (width == SLAB * VL)
            GATHER(SLAB, 1, VL);
        else if (width == 4 * VL)
            GATHER(4, 2, VL);
        else if (width > VL)
            GATHER(2, 4, width - VL);
        else
            GATHER(1, 4, width);
        j += width;
    }
}

static void edges(int64_t r, int64_t rows, int32_t count, LISTED x, int32_t *edge) {
    int32_t i = 0;
    for (int64_t k = 0; k < rows; k += REACH, edge += x.n) {
        while (i < count && x.row[r * x.capacity + i] < k)
            i++;
        *edge = i;
    }
    *edge = count;
}

/* Entries i .. end - 1 of one row of data, or those before row `high`, by a slab of packed weights. */
INLINE void add_entries(int64_t i, int64_t end, const int32_t *row, const real *value, int64_t low, int64_t high,
                        const real *packed, int64_t width, const real *start, int activation, real *out) {
    vec sum[SLAB];
#pragma GCC unroll 8
    for (int u = 0; u < SLAB; u++)
        sum[u] = start && u * VL < width ? load(start + u * VL, width - u * VL) : vset1(0);
    while (i < end && row[i] < low)
        i++;
    for (; i < end && row[i] < high; i++) {
        const real *w = packed + (row[i] - low) * WIDE;
        const vec x = vset1(value[i]);
#pragma GCC unroll 8
        for (int u = 0; u < SLAB; u++)
            sum[u] = vfma(x, vload(w + u * VL), sum[u]);
    }
#define STORE(g)                                                                                   \
    _Pragma("GCC unroll 8") for (int u = 0; u < SLAB; u++) if (u * VL < width)                     \
        store(out + u * VL, activation < 0 ? sum[u] : activation_of(g, sum[u]), width - u * VL)
    EACH_ACTIVATION(activation, STORE)
}

/* Sums in the same order without a copy of the weights. */
static void gather_few(int64_t r0, int64_t r1, int64_t j0, int64_t j1, STAIRS stairs, LISTED x, const real *bias,
                       int add, int activation, real *out) {
    const int64_t N = stairs.columns, last_edge = (stairs.rows + REACH - 1) / REACH * x.n;
    for (int64_t r = r0; r < r1; r++)
        for (int64_t j = j0; j < j1;) {
            const int64_t width = j1 - j >= WIDE ? WIDE : least(VL, j1 - j);
            const int32_t *row = x.row + r * x.capacity, count = x.edges[last_edge + r];
            const int64_t i0 = first_from(count, row, stairs.column_begin[j]);
            const int64_t i1 = first_from(count, row, stairs.column_end[j + width - 1]);
            const int32_t first = (int32_t)stairs.column_begin[j + width - 1], last = (int32_t)stairs.column_end[j];
            real *to = out + r * N + j;
            const real *start = add ? to : bias + j;
#define FEW_ROWS(V, left)                                                                          \
    gather_slab(V, 1, left, j, i0, i1, first, last, row, x.value + r * x.capacity, stairs, start, to)
            if (width == WIDE)
                FEW_ROWS(SLAB, VL);
            else
                FEW_ROWS(1, width);
            if (activation >= 0)
                activate(1, width, activation, to, N);
            j += width;
        }
}

static void gather(int64_t r0, int64_t r1, int64_t j0, int64_t j1, STAIRS stairs, LISTED x, const real *bias, int add,
                   int activation, real *out, real *packed) {
    if (r1 - r0 < FEW) {
        gather_few(r0, r1, j0, j1, stairs, x, bias, add, activation, out);
        return;
    }
    const int64_t N = stairs.columns, first = stairs.column_begin[j0];
    const int64_t end = most(stairs.column_end[j1 - 1], first + (first < stairs.rows)); /* one turn at least */
    for (int64_t k = least(first, stairs.rows - 1) / REACH * REACH; k < end; k += REACH) {
        const int64_t low = most(k, first), high = least(end, k + REACH);
        const int begins = k <= first, ends = k + REACH >= end;
        if (low < high)
            pack(low, high - low, j0, j1, WIDE, stairs, packed);
        for (int64_t r = r0; r < r1; r++) {
            const int32_t *edge = x.edges + k / REACH * x.n + r;
            real *to = out + r * N + j0;
            add_entries(edge[0], edge[x.n], x.row + r * x.capacity, x.value + r * x.capacity, low, high, packed,
                        j1 - j0, begins && !add ? bias + j0 : to, ends ? activation : -1, to);
        }
    }
}

/* V vectors of one row of gW from column j on. */
INLINE void scatter_row(int V, int64_t count, const int32_t *r, const real *value, const real *panel, int64_t begin,
                        int64_t end, real *gW) {
    vec sum[SLAB];
#pragma GCC unroll 8
    for (int u = 0; u < V; u++)
        sum[u] = vset1(0);
    for (int64_t i = 0; i < count; i++) {
        const real *g = panel + r[i] * (int64_t)WIDE;
        const vec x = vset1(value[i]);
#pragma GCC unroll 8
        for (int u = 0; u < V; u++)
            sum[u] = vfma(x, vload(g + u * VL), sum[u]);
    }
#pragma GCC unroll 8
    for (int u = 0; u < V; u++)
        store_range(gW + u * VL, sum[u], begin - u * VL, end - u * VL);
}

/* The entries of rows k0 .. k1 - 1 of W, row by row. */
static void by_row(int64_t k0, int64_t k1, LISTED x, int32_t *first, int32_t *r_of, real *value) {
    const int32_t *edge = x.edges + k0 / REACH * x.n;
    memset(first, 0, (REACH + 1) * sizeof *first);
    for (int64_t r = 0; r < x.n; r++)
        for (int64_t i = edge[r]; i < edge[r + x.n]; i++)
            first[x.row[r * x.capacity + i] - k0 + 1]++;
    for (int64_t k = 0; k < k1 - k0; k++)
        first[k + 1] += first[k];
    /* Filling moves each start to its list's end, which is the next list's start. */
    for (int64_t r = 0; r < x.n; r++)
        for (int64_t i = edge[r]; i < edge[r + x.n]; i++) {
            const int32_t place = first[x.row[r * x.capacity + i] - k0]++;
            r_of[place] = (int32_t)r;
            value[place] = x.value[r * x.capacity + i];
        }
    memmove(first + 1, first, REACH * sizeof *first);
    first[0] = 0;
}

static void scatter(int64_t chunk, STAIRS stairs, LISTED x, const real *G, real *gW, int32_t *r_of, real *value) {
    const int64_t k0 = chunk * REACH, k1 = least(k0 + REACH, stairs.rows), N = stairs.columns;
    int32_t first[REACH + 1];
    by_row(k0, k1, x, first, r_of, value);
    for (int64_t j = stairs.row_begin[k0] / WIDE * WIDE; j < stairs.row_end[k1 - 1]; j += WIDE)
        for (int64_t k = k0; k < k1; k++) {
            const int64_t begin = most(0, stairs.row_begin[k] - j), end = least(WIDE, stairs.row_end[k] - j);
            const int32_t i = first[k - k0], count = first[k - k0 + 1] - i, half = WIDE / 2;
            const real *panel = G + j * x.n;
            if (begin >= end)
                continue;
            if (begin >= half)
                scatter_row(SLAB / 2, count, r_of + i, value + i, panel + half, begin - half, end - half,
                            gW + k * N + j + half);
            else
                scatter_row(SLAB, count, r_of + i, value + i, panel, begin, end, gW + k * N + j);
        }
}

/* ---- sampling: a row of data in each lane */

#define EACH_VECTOR(v) _Pragma("GCC unroll 4") for (int v = 0; v < 4; v++)

/* out[j] += sum over K of B[k, j] * units[k]. */
INLINE void group_product(int64_t K, const real *units, const real *B, int64_t width, real *out) {
    vec sum[GROUP][4];
    for (int j = 0; j < GROUP; j++)
        EACH_VECTOR(v)
            sum[j][v] = j < width ? vload(out + j * ROWS + v * VL) : vset1(0);
    for (int64_t k = 0; k < K; k++) {
        vec u[4];
        EACH_VECTOR(v)
            u[v] = vload(units + k * ROWS + v * VL);
#pragma GCC unroll 6
        for (int j = 0; j < GROUP; j++) {
            vec b = vset1(B[k * GROUP + j]);
            EACH_VECTOR(v)
                sum[j][v] = vfma(b, u[v], sum[j][v]);
        }
    }
    for (int j = 0; j < GROUP && j < width; j++)
        EACH_VECTOR(v)
            vstore(out + j * ROWS + v * VL, sum[j][v]);
}

/* What the units that were final before the block give to its columns, the first of which is `out`. */
static void from_before(int64_t block, const SAMPLED *edge, const real *units, real *out) {
    const masked_groups *g = &edge->groups;
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
                              edge->packed + g->offset[i] + (from - g->first[i]) * GROUP,
                              g->start[i + 1] - g->start[i], out + (g->start[i] - g->start[g0]) * ROWS);
        }
}

/* The same for sparse inputs. rows, values (ROWS, D); wide: VL rows of columns. */
static void from_entries(int64_t n, int64_t D, int64_t j0, int64_t j1, const SAMPLED *edge, const int32_t *counts,
                         const int32_t *rows, const real *values, real *wide, real *out) {
    const int64_t width = j1 - j0, stride = (width + VL - 1) / VL * VL;
    for (int64_t r0 = 0; r0 < n; r0 += VL) {
        for (int64_t r = r0; r < least(r0 + VL, n); r++)
            gather_row(counts[r], rows + r * D, values + r * D, j0, j1, edge->stairs, wide + (r - r0) * stride);
        for (int64_t j = 0; j < width; j += VL) {
            vec v[VL];
            for (int i = 0; i < VL; i++)
                v[i] = vload(wide + i * stride + j);
            vtranspose(v);
            for (int i = 0; i < VL && j + i < width; i++) {
                real *to = out + (j + i) * ROWS + r0;
                vstore(to, vload(to) + v[i]);
            }
        }
    }
}

/* Unit k, now final, to those columns j0 .. j1 - 1 of the present block that it reaches; `out` is column j0. */
static void spread(const STAIRS *stairs, int64_t k, const real *unit, int64_t j0, int64_t j1, real *out) {
    const real *w = stairs->W + k * stairs->columns;
    const int64_t end = least(stairs->row_end[k], j1);
    vec u[4];
    EACH_VECTOR(v)
        u[v] = vload(unit + v * VL);
    for (int64_t j = most(stairs->row_begin[k], j0); j < end; j++) {
        real *to = out + (j - j0) * ROWS;
        EACH_VECTOR(v)
            vstore(to + v * VL, vfma(vset1(w[j]), u[v], vload(to + v * VL)));
    }
}

static void spread_input(int64_t n, const input_spec *inputs, const STAIRS *stairs, int64_t d, const real *x,
                         int64_t j0, int64_t j1, real *out) {
    if (!inputs->one_hot[d]) {
        spread(stairs, d * inputs->Q, x, j0, j1, out);
        return;
    }
    const int64_t begin = most(stairs->row_begin[d * inputs->Q], j0);
    const int64_t end = least(stairs->row_end[d * inputs->Q], j1);
    for (int64_t r = 0; r < n; r++) {
        int32_t row;
        real value;
        if (!change_of(inputs, d, x[r], &row, &value))
            continue;
        const real *w = stairs->W + row * stairs->columns;
        for (int64_t j = begin; j < end; j++)
            out[(j - j0) * ROWS + r] += value * w[j];
    }
}

static void start_columns(const real *bias, int64_t j0, int64_t j1, real *out) {
    for (int64_t j = 0; j < j1 - j0; j++)
        EACH_VECTOR(v)
            vstore(out + j * ROWS + v * VL, vset1(bias[j0 + j]));
}

static void start_own_columns(int64_t n, const real *bias, int64_t columns, int64_t j0, int64_t j1, real *out) {
    for (int64_t j = 0; j < j1 - j0; j++)
        for (int64_t r = 0; r < ROWS; r++)
            out[j * ROWS + r] = r < n ? bias[r * columns + j0 + j] : 0;
}

static void activate_unit(int activation, real *unit) {
#define UNIT(g)                                                                                    \
    EACH_VECTOR(v)                                                                                 \
    vstore(unit + v * VL, activation_of(g, vload(unit + v * VL)))
    EACH_ACTIVATION(activation, UNIT)
}

/* Scratch: units (D inputs, then each hidden layer's), the block's outputs and noise, each ROWS numbers; a
 * feature's outputs (ROWS, P); VL rows of columns. */
static int64_t sample_scratch(WALK w) {
    int64_t units = w.D, widest = w.block * w.P;
    for (int64_t l = 0; l < w.n_layers; l++) {
        units += w.layers[l].stairs.columns;
        for (int64_t d0 = 0; d0 < w.D; d0 += w.block)
            widest = most(widest, w.final[l][least(d0 + w.block, w.D)] - w.final[l][d0]);
    }
    return (units + w.block * w.P + w.block + w.P) * ROWS + (widest + VL - 1) / VL * VL * VL;
}

typedef struct {
    WALK w;
    WALKED of;
    int64_t n, d0, d1, number; /* the block of features */
    int wanted;                /* whether any of its features is drawn or weighed */
    real *x, *out, *noise, *raw, *wide;
    int32_t *counts, *rows;
    real *values;
} walk_state;

/* Everything that the features before the block give to its units and outputs. */
static void begin_block(const walk_state *s) {
    const WALK *w = &s->w;
    const real *units = s->x;
    real *target = s->x + w->D * ROWS;
    for (int64_t l = 0; l < w->n_layers + s->wanted; l++) {
        const int last = l == w->n_layers;
        const int64_t j0 = last ? s->d0 * w->P : w->final[l][s->d0], j1 = last ? s->d1 * w->P : w->final[l][s->d1];
        const SAMPLED *edges[2] = {&w->layers[l], last ? w->direct : NULL};
        real *columns = last ? s->out : target + j0 * ROWS;
        if (w->own_bias) {
            const int64_t width = last ? w->D * w->P : w->layers[l].stairs.columns;
            start_own_columns(s->n, w->bias[l] + s->of.first * width, width, j0, j1, columns);
        } else
            start_columns(w->bias[l], j0, j1, columns);
        for (int e = 0; e < 2; e++) {
            const int from_inputs = e == 1 || l == 0;
            if (!edges[e] || !edges[e]->stairs.rows)
                continue;
            if (edges[e]->listed && j0 < j1)
                from_entries(s->n, w->D, j0, j1, edges[e], s->counts, s->rows, s->values, s->wide, columns);
            else if (!edges[e]->listed)
                from_before(s->number, edges[e], from_inputs ? s->x : units, columns);
        }
        if (!last) {
            units = target;
            target += w->layers[l].stairs.columns * ROWS;
        }
    }
}

/* Feature d is known: finish the units that waited for it, layer by layer. */
static void complete(const walk_state *s, int64_t d) {
    const WALK *w = &s->w;
    const real *x = s->x + d * ROWS;
    const int64_t o0 = s->d0 * w->P, o1 = s->wanted ? s->d1 * w->P : o0;
    if (w->direct->stairs.rows && s->wanted)
        spread_input(s->n, &w->inputs, &w->direct->stairs, d, x, o0, o1, s->out);
    real *units = s->x + w->D * ROWS;
    for (int64_t l = 0; l < w->n_layers; l++) {
        const int64_t *final = w->final[l];
        if (l == 0)
            spread_input(s->n, &w->inputs, &w->layers[0].stairs, d, x, final[s->d0],
                         final[s->d1], units + final[s->d0] * ROWS);
        const int last = l + 1 == w->n_layers;
        real *next = units + w->layers[l].stairs.columns * ROWS;
        const int64_t j0 = last ? o0 : w->final[l + 1][s->d0], j1 = last ? o1 : w->final[l + 1][s->d1];
        for (int64_t k = final[d]; k < final[d + 1]; k++) {
            activate_unit(w->activation, units + k * ROWS);
            spread(&w->layers[l + 1].stairs, k, units + k * ROWS, j0, j1, last ? s->out : next + j0 * ROWS);
        }
        units = next;
    }
}

/* to[d * ROWS + r] = from[r * D + d], or the other way round, for the block's features. */
static void turn(int to_lanes, const walk_state *s, real *by_row, real *by_lane) {
    const int64_t D = s->w.D;
    for (int64_t r0 = 0; r0 < s->n; r0 += VL)
        for (int64_t d = s->d0; d < s->d1; d += VL) {
            const int64_t rows = least(VL, s->n - r0), features = least(VL, s->d1 - d);
            real *row = by_row + r0 * D + d, *lane = by_lane + (d - s->d0) * ROWS + r0;
            vec v[VL];
            for (int i = 0; i < VL; i++)
                v[i] = to_lanes ? (i < rows ? load(row + i * D, features) : vset1(0))
                                : (i < features ? vload(lane + i * ROWS) : vset1(0));
            vtranspose(v);
            for (int i = 0; i < VL; i++)
                if (to_lanes ? i < features : i < rows)
                    store(to_lanes ? lane + i * ROWS : row + i * D, v[i], to_lanes ? VL : features);
        }
}

/* Feature d of a block of rows: weighed where it is held, drawn where it is free. */
static void choose(const walk_state *s, DRAW draw, int64_t d) {
    const WALK *w = &s->w;
    const WALKED *of = &s->of;
    real *raw = s->out + (d - s->d0) * w->P * ROWS, *x = s->x + d * ROWS;
    int64_t raw_stride = 1;
    if (w->P > 1) {
        for (int64_t p = 0; p < w->P; p++)
            for (int64_t r = 0; r < s->n; r++)
                s->raw[r * w->P + p] = raw[p * ROWS + r];
        raw = s->raw;
        raw_stride = w->P;
    }
    if (of->held)
        draw.weigh(s->n, w->D, d, w->feature[d], draw.spec, raw, raw_stride, *of);
    if (draw.n_noise == 1)
        draw.function(s->n, w->feature[d], draw.spec, raw, raw_stride, s->noise + (d - s->d0) * ROWS, 1, x);
    else
        draw.function(s->n, w->feature[d], draw.spec, raw, raw_stride, of->noise + d * draw.n_noise,
                      w->D * draw.n_noise, x);
    if (of->held)
        for (int64_t r = 0; r < s->n; r++)
            if (of->held[r * w->D + d] != FASTAR_FREE)
                x[r] = of->codes[r * w->D + d];
    for (int64_t r = s->n; r < ROWS; r++)
        x[r] = 0;
}

/* Hand out what was drawn, and enter it in the lists of sparse inputs. */
static void end_block(const walk_state *s) {
    const WALK *w = &s->w;
    real *codes = s->of.codes;
    if (s->wanted)
        turn(0, s, codes, s->x + s->d0 * ROWS);
    const int listed = w->layers[0].listed || w->direct->listed;
    for (int64_t r = 0; r < s->n && listed; r++) {
        int32_t count = s->counts[r], *rows = s->rows + r * w->D;
        real *values = s->values + r * w->D, *code = codes + r * w->D;
        if (w->inputs.Q == 1)
            for (int64_t d = s->d0; d < s->d1; d += VL) {
                const int left = (int)least(VL, s->d1 - d);
                count += vnonzero(load(code + d, left), left, (int32_t)d, rows + count, values + count);
            }
        else
            for (int64_t d = s->d0; d < s->d1; d++)
                count += change_of(&w->inputs, d, code[d], rows + count, values + count);
        s->counts[r] = count;
    }
}

/* Whether some row draws or weighs a feature from d0 to d1 - 1. */
static int is_wanted(int64_t n, int64_t D, int64_t d0, int64_t d1, const uint8_t *held) {
    if (!held)
        return 1;
    for (int64_t r = 0; r < n; r++)
        for (int64_t d = d0; d < d1; d++)
            if (held[r * D + d] != FASTAR_HELD)
                return 1;
    return 0;
}

static void sample(int64_t n, WALK walk, DRAW draw, WALKED walked, real *scratch, int32_t *counts, int32_t *rows,
                   real *values) {
    int64_t units = walk.D, end = walk.D;
    for (int64_t l = 0; l < walk.n_layers; l++)
        units += walk.layers[l].stairs.columns;
    walk_state s = {.w = walk, .of = walked, .n = n, .x = scratch, .counts = counts, .rows = rows, .values = values};
    s.out = s.x + units * ROWS;
    s.noise = s.out + walk.block * walk.P * ROWS;
    s.raw = s.noise + walk.block * ROWS;
    s.wide = s.raw + walk.P * ROWS;
    memset(counts, 0, n * sizeof *counts);
    while (end > 0 && !is_wanted(n, walk.D, end - 1, end, walked.held))
        end--;
    for (s.d0 = 0; s.d0 < end; s.d0 = s.d1, s.number++) {
        s.d1 = least(s.d0 + walk.block, walk.D);
        s.wanted = is_wanted(n, walk.D, s.d0, s.d1, walked.held);
        begin_block(&s);
        if (!s.wanted)
            turn(1, &s, walked.codes, s.x + s.d0 * ROWS);
        else if (draw.n_noise == 1)
            turn(1, &s, (real *)walked.noise, s.noise);
        for (int64_t d = s.d0; d < s.d1; d++) {
            if (s.wanted)
                choose(&s, draw, d);
            complete(&s, d);
        }
        end_block(&s);
    }
}

const table_type FASTAR_TABLE(masked) = {
    .width = PANEL,
    .depth = DEPTH,
    .sample_rows = ROWS,
    .group = GROUP,
    .forward = forward,
    .backward = backward,
    .copy_columns = copy_columns,
    .outer = outer,
    .slab = WIDE,
    .reach = REACH,
    .edges = edges,
    .gather = gather,
    .scatter = scatter,
    .activate = activate,
    .pack = pack,
    .sample_scratch = sample_scratch,
    .sample = sample,
};
