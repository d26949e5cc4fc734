/* Training has vectors run over columns of W, sampling over rows of data: in training a weight serves a
 * hundred rows and gradients need sums over rows, in sampling the few units that a feature completes would
 * fill no vector.
 *
 * masked_stairs.h has what all of it shares, masked_lists.h what is added up by lists of inputs, masked_walk.h the
 * sampling. */
#include "masked_lists.h"
#include "masked_stairs.h"
#include "masked_walk.h"
#include "vec_shuffles.h"

typedef masked_table table_type;

enum { DEPTH = 256 }; /* steps of a product: a panel's weights, 32 kB, stay in L1 */

/* x (n,), chance (n,) -> out (n,): scale * x, or 0 where the chance lies below a number. */
static void drop(int64_t n, const uint16_t *chance, int32_t below, double scale, const real *x, real *out) {
    const real factor = scale;
    for (int64_t i = 0; i < n; i++)
        out[i] = chance[i] < below ? 0 : factor * x[i];
}

INLINE void sums_of_rows(int64_t n, int64_t width, const real *G, int64_t g_row, real *sums) {
    vec sum[SLAB];
    UNROLL(8)
    for (int u = 0; u < SLAB; u++)
        sum[u] = vset1(0);
    for (int64_t r = 0; r < n; r++)
        UNROLL(8)
        for (int u = 0; u < SLAB; u++)
            if (u * VL < width)
                sum[u] += load(G + r * g_row + u * VL, width - u * VL);
    UNROLL(8)
    for (int u = 0; u < SLAB; u++)
        if (u * VL < width)
            store(sums + u * VL, sum[u], width - u * VL);
}

/* G (n, width), width <= WIDE -> sums (width,). */
static void column_sums(int64_t n, int64_t width, const real *G, int64_t g_row, real *sums) {
    if (width == WIDE)
        sums_of_rows(n, WIDE, G, g_row, sums);
    else
        sums_of_rows(n, width, G, g_row, sums);
}

/* Weights that the next product wants: `rows` rows of `width` numbers. */
typedef struct {
    const real *W;
    int64_t rows, width, row;
} upcoming;

/* One tile of rows r .. r + R - 1; *fetched: rows that were fetched so far. */
INLINE int tile_ahead(int R, int64_t r, int64_t n, steps k, int64_t width, const real *A, int64_t a_row,
                      const real *packed, const real *bias, int add, real *C, int64_t c_row, upcoming next,
                      int64_t *fetched) {
    for (; *fetched * n < next.rows * (r + R); ++*fetched)
        for (int64_t i = 0; i < next.width; i += 64 / (int64_t)sizeof(real))
            __builtin_prefetch(next.W + *fetched * next.row + i, 0, 2);
    return product_tile(R, k, width, A + r * a_row, a_row, packed, bias, add, C + r * c_row, c_row);
}

/* `product`, and meanwhile what comes next is fetched, some rows a tile: memory and sums take about as long. */
static void product_ahead(int64_t n, steps k, int64_t width, const real *A, int64_t a_row, const real *packed,
                          const real *bias, int add, real *C, int64_t c_row, upcoming next) {
    int64_t fetched = 0;
#define TILE_AHEAD(R) tile_ahead(R, r, n, k, width, A, a_row, packed, bias, add, C, c_row, next, &fetched)
    for (int64_t r = 0; r < n;)
        r += NEXT_TILE(n - r, TILE_AHEAD);
}

/* Of a panel that begins at line i: the others, from `low` on, that its first and its second vector show. */
INLINE steps steps_of(int64_t K, int64_t width, const int64_t *begin, const int64_t *end, int64_t i, int64_t low) {
    steps k = all_steps(K, width);
    if (width > VL) {
        k.begin = least(K, most(0, begin[i + VL] - low));
        k.end = least(K, most(0, end[i + VL - 1] - low));
    }
    return k;
}

/* A (n, rows), W (rows, columns), bias (columns,) -> columns j0 .. j1 - 1 of out (n, columns): the share of the rows
 * k0 .. k1 - 1 of W. packed (k1 - k0, PANEL): scratch. */
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
    const steps k = steps_of(high - low, j1 - j0, stairs.column_begin, stairs.column_end, j0, low);
    product_ahead(n, k, j1 - j0, A + low, stairs.rows, packed, bias + j0, add || (!none && low > first), out + j0, N,
                  after);
    if (activation >= 0 && (none || high == end))
        activate(n, j1 - j0, activation, out + j0, N);
}

/* Rows k0 .. k1 - 1 of W (rows, columns), k1 <= k0 + PANEL -> packed (j1 - j0, PANEL), zero outside of the stairs. */
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

/* G (n, columns), W (rows, columns), h (n, rows) -> columns k0 .. k1 - 1 of gh (n, rows): G W^T times g'(a).
 * packed (columns, PANEL): scratch. */
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
    product_ahead(n, steps_of(span, k1 - k0, stairs.row_begin, stairs.row_end, k0, j), k1 - k0, G + j, N, packed, NULL,
                  0, gh + k0, K, after);
    derivative(n, k1 - k0, activation, h + k0, K, gh + k0, K);
}

/* A (n, R), panel (n, PANEL) -> rows k .. k + R - 1 of gW, in columns j0 .. j1 - 1 and within the stairs. Returns R. */
INLINE int outer_tile(int R, int64_t n, int64_t k, int64_t j0, int64_t j1, STAIRS stairs, const real *A, int64_t a_row,
                      const real *panel, real *gW) {
    if (stairs.row_begin[k] >= j1 || stairs.row_end[k + R - 1] <= j0)
        return R;
    vec sum[TILE][2];
    for (int r = 0; r < R; r++) {
        sum[r][0] = sum[r][1] = vset1(0);
        prefetch(gW + (k + r) * stairs.columns + j0, PANEL);
    }
    if (stairs.row_end[k + R - 1] <= j0 + VL || j1 <= j0 + VL)
        tile(R, 0, 1, 0, n, A, 1, a_row, panel, sum);
    else if (stairs.row_begin[k] >= j0 + VL)
        tile(R, 1, 2, 0, n, A, 1, a_row, panel, sum);
    else
        tile(R, 0, 2, 0, n, A, 1, a_row, panel, sum);
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
    return R;
}

/* A (n, k1 - k0), panel (n, PANEL) -> rows k0 .. k1 - 1 and columns j0 .. j1 - 1 of gW (rows, columns): A^T G. */
static void outer(int64_t n, int64_t k0, int64_t k1, int64_t j0, int64_t j1, STAIRS stairs, const real *A,
                  int64_t a_row, const real *panel, real *gW) {
#define OUTER(R) outer_tile(R, n, k0 + k, j0, j1, stairs, A + k, a_row, panel, gW)
    for (int64_t k = 0; k < k1 - k0;)
        k += NEXT_TILE(k1 - k0 - k, OUTER);
}

const table_type FASTAR_TABLE(masked) = {
    .width = PANEL,
    .depth = DEPTH,
    .sample_rows = ROWS,
    .group = GROUP,
    .stride = PUSHED * VL,
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
    .drop = drop,
    .column_sums = column_sums,
    .pack = pack,
    .sample_scratch = sample_scratch,
    .sample = sample,
};
