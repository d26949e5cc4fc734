/* Inputs of recurrent cells: the terms that codes add to pre-activations, and in a walk which codes these are. */
#ifndef FASTAR_ENTERING_H
#define FASTAR_ENTERING_H

#include "change.h"
#include "conditionals.h"
#include "product.h"

/* x (n, width) of n rows: c (width,) of row r from c + r c_row on, and the rows of W (sum Q, width) that codes (n, E)
 * add. */
static void gather(int64_t n, const input_spec *inputs, int64_t width, const real *W, const real *c, int64_t c_row,
                   const real *codes, real *x, int64_t x_row) {
    const int64_t E = inputs->D;
    for (int64_t r = 0; r < n; r++) {
        const real *start = c + r * c_row;
        real *out = x + r * x_row;
        for (int64_t e = 0; e < E; e++) {
            int32_t row;
            real value;
            if (!change_of(inputs, e, codes[r * E + e], &row, &value))
                continue;
            const real *w = W + row * width;
            for (int64_t j = 0; j < width; j += VL)
                store(out + j, vfma(vset1(value), load(w + j, width - j), load(start + j, width - j)), width - j);
            start = out;
        }
        if (start != out)
            memcpy(out, start, width * sizeof(real));
    }
}

/* OUT entering (n, E): what `source` (E,) says of codes (n, D), numbers among it times `scale`. */
static void enter(int64_t n, const input_spec *inputs, const int32_t *source, int64_t D, real scale, const real *codes,
                  real *entering) {
    const int64_t E = inputs->D;
    for (int64_t r = 0; r < n; r++)
        for (int64_t e = 0; e < E; e++) {
            const int is_one_hot = inputs->input_flags[e] & FASTAR_ONE_HOT;
            entering[r * E + e] = source[e] >= 0              ? codes[r * D + source[e]] * (is_one_hot ? 1 : scale)
                                : source[e] == FASTAR_NOTHING ? (real) - (is_one_hot != 0)
                                                              : (real)(FASTAR_CONSTANT - source[e]);
        }
}

/* Whether nothing of the codes d .. d + F - 1 of all n rows (n, D) is drawn or weighed. */
static int is_held(int64_t n, int64_t D, int64_t d, int64_t F, const uint8_t *held) {
    for (int64_t r = 0; held && r < n; r++)
        for (int64_t f = 0; f < F; f++)
            if (held[r * D + d + f] != FASTAR_OBSERVED)
                return 0;
    return held != NULL;
}

#endif
