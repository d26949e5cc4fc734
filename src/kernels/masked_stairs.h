/* What training, listed inputs and sampling share: activations, and the copy of weights within their stairs. For
 * masked.c and its parts. */
#ifndef FASTAR_MASKED_STAIRS_H
#define FASTAR_MASKED_STAIRS_H

#include "masked.h"
#include "product.h"
#include "vec_math.h"

#define STAIRS staircase

enum {
    SLAB = 8, /* vectors of sums that `gather` and `scatter` keep in registers */
    WIDE = SLAB * VL,
    GROUP = TILE / 2, /* columns of a product in sampling */
    AHEAD = 16,       /* rows that are fetched before they are packed */
};

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* g(a); a itself for -1. */
INLINE vec activation_of(int activation, vec a) {
    return activation < 0                      ? a
         : activation == FASTAR_MASKED_SIGMOID ? vsigmoid(a)
         : activation == FASTAR_MASKED_TANH    ? vtanh(a)
                                               : vmax(vset1(0), a);
}

/* g'(a) in terms of h = g(a). */
INLINE vec derivative_of(int activation, vec h) {
    return activation == FASTAR_MASKED_TANH ? vset1(1) - h * h
         : activation == FASTAR_MASKED_RELU ? vselect(h > vset1(0), vset1(1), vset1(0))
                                            : h * (vset1(1) - h);
}

/* call(g) with a constant g for an activation: each has a loop of its own. */
#define EACH_ACTIVATION(activation, call)                           \
    switch (activation) {                                           \
    case FASTAR_MASKED_SIGMOID: call(FASTAR_MASKED_SIGMOID); break; \
    case FASTAR_MASKED_TANH: call(FASTAR_MASKED_TANH); break;       \
    default: call(FASTAR_MASKED_RELU);                              \
    }

/* Those lanes of p[0 .. VL) that lie in from .. to - 1, whatever these are. */
INLINE vec load_range(const real *p, int64_t from, int64_t to) {
    if (from <= 0 && to >= VL)
        return vload(p);
    from = most(from, 0);
    to = least(to, VL);
    return from < to ? vload_range(p, (int)from, (int)to) : vset1(0);
}
INLINE void store_range(real *p, vec v, int64_t from, int64_t to) {
    if (from <= 0 && to >= VL) {
        vstore(p, v);
        return;
    }
    from = most(from, 0);
    to = least(to, VL);
    if (from < to)
        vstore_range(p, v, (int)from, (int)to);
}

INLINE void activate_by(int activation, int64_t n, int64_t width, real *h, int64_t h_row) {
    for (int64_t r = 0; r < n; r++)
        for (int64_t k = 0; k < width; k += VL) {
            real *to = h + r * h_row + k;
            store(to, activation_of(activation, load(to, width - k)), width - k);
        }
}

/* h (n, width), in place: g(h). */
static void activate(int64_t n, int64_t width, int activation, real *h, int64_t h_row){
#define ACTIVATE(g) activate_by(g, n, width, h, h_row)
    EACH_ACTIVATION(activation, ACTIVATE)}

INLINE void derivative_by(int activation, int64_t n, int64_t width, const real *h, int64_t h_row, real *gh,
                          int64_t g_row) {
    for (int64_t r = 0; r < n; r++)
        for (int64_t k = 0; k < width; k += VL) {
            vec d = derivative_of(activation, load(h + r * h_row + k, width - k));
            store(gh + r * g_row + k, d * load(gh + r * g_row + k, width - k), width - k);
        }
}

/* h (n, width), gh (n, width), which becomes gh * g'(a), where h = g(a). */
static void derivative(int64_t n, int64_t width, int activation, const real *h, int64_t h_row, real *gh, int64_t g_row){
#define DERIVATIVE(g) derivative_by(g, n, width, h, h_row, gh, g_row)
    EACH_ACTIVATION(activation, DERIVATIVE)}

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

/* Rows first .. first + count - 1 and columns j0 .. j1 - 1 of W (rows, columns) -> packed (count, width), zero
 * beyond. */
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
        else if (width == GROUP)
            pack_row(GROUP, w, begin, end, packed + k * GROUP);
        else
            pack_row(width, w, begin, end, packed + k * width);
    }
}

#endif
