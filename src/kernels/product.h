/* Products of a block of rows with packed weights: for each panel of columns, K rows of PANEL numbers. */
#ifndef FASTAR_PRODUCT_H
#define FASTAR_PRODUCT_H

#include "tiles.h"
#include "vec.h"

enum { PANEL = 2 * VL };

/* sum[r][i] += sum over steps k0 .. k1 - 1 of A[r * a_row + k * a_step] * panel[k], for its vectors i from `from` to
 * to - 1. panel (k1, PANEL) */
INLINE void tile(int R, int from, int to, int64_t k0, int64_t k1, const real *A, int64_t a_row, int64_t a_step,
                 const real *panel, vec sum[][2]) {
    for (int64_t k = k0; k < k1; k++) {
        vec b[2];
        for (int i = from; i < to; i++)
            b[i] = vload(panel + k * PANEL + i * VL);
    UNROLL(12)
        for (int r = 0; r < R; r++) {
            vec a = vset1(A[r * a_row + k * a_step]);
            for (int i = from; i < to; i++)
                sum[r][i] = vfma(a, b[i], sum[r][i]);
        }
    }
}

/* The steps of a product: K, of which those before `begin` are the panel's first vector's alone, and those from `end`
 * on the second one's. */
typedef struct {
    int64_t K, begin, end;
} steps;

INLINE steps all_steps(int64_t K, int64_t width) { return (steps){K, width > VL ? 0 : K, K}; }

/* call(R) with a constant number of rows for the next tile of `left` that are left. It is to return R. */
#define NEXT_TILE(left, call)               \
    ((left) >= TILE            ? call(TILE) \
     : TILE > 8 && (left) >= 8 ? call(8)    \
     : (left) >= 4             ? call(4)    \
     : (left) >= 2             ? call(2)    \
                               : call(1))

/* A (R, K), packed (K, PANEL), bias (width,) or NULL -> C (R, width), width <= PANEL: bias + A W, or, if `add`, what it
 * was and A W. Returns R. */
INLINE int product_tile(int R, steps k, int64_t width, const real *A, int64_t a_row, const real *packed,
                        const real *bias, int add, real *C, int64_t c_row) {
    vec sum[TILE][2];
    for (int r = 0; r < R; r++)
        for (int i = 0; i < 2; i++) {
            const real *start = add ? C + r * c_row + i * VL : bias ? bias + i * VL : NULL;
            sum[r][i] = start && width > i * VL ? load(start, width - i * VL) : vset1(0);
        }
    tile(R, 0, 1, 0, k.begin < k.end ? k.begin : k.end, A, a_row, 1, packed, sum);
    tile(R, 0, 2, k.begin, k.end, A, a_row, 1, packed, sum);
    tile(R, 1, 2, k.begin < k.end ? k.end : k.begin, k.K, A, a_row, 1, packed, sum);
    for (int r = 0; r < R; r++)
        for (int i = 0; i < 2; i++)
            if (width > i * VL)
                store(C + r * c_row + i * VL, sum[r][i], width - i * VL);
    return R;
}

/* The same with A (n, K) and C (n, width). */
static inline void product(int64_t n, int64_t K, int64_t width, const real *A, int64_t a_row, const real *packed,
                           const real *bias, int add, real *C, int64_t c_row) {
#define PRODUCT(R)                                                                                             \
    product_tile(R, all_steps(K, width), width, A + r * a_row, a_row, packed, bias, add, C + r * c_row, c_row)
    for (int64_t r = 0; r < n;)
        r += NEXT_TILE(n - r, PRODUCT);
}

/* from (n, width) -> to (n, to_row), zero beyond. */
static inline void copy_columns(int64_t n, int64_t width, const real *from, int64_t from_row, real *to,
                                int64_t to_row) {
    for (int64_t r = 0; r < n; r++) {
        memcpy(to + r * to_row, from + r * from_row, width * sizeof(real));
        memset(to + r * to_row + width, 0, (to_row - width) * sizeof(real));
    }
}

#endif
