/* LSTM passes over the pixels of images, from the top row to the bottom one (A. van den Oord, N. Kalchbrenner,
 * K. Kavukcuoglu, ICML 2016).
 *
 * The gates of pixel (i, j) see the units of pixels of the row above, (i - 1, j + above[k]), and, where `along` is not
 * 0, those of its neighbour (i, j + along) in the row, from which the memory comes, too; else it comes from (i - 1, j):
 *
 *   Row LSTM           above -1, 0, 1   along 0
 *   Diagonal BiLSTM    above 0          along -1, and in its second pass 1
 *
 * States are padded: (I + 1, J + 2, n, H), with row i of pixels in row i + 1 and column j in column j + 1, zero around.
 * n images lie side by side, so that products have many rows wherever one pixel waits for another. Slots (I, J, n, 4 H)
 * hold x, then pre-activations, then activations i, f, g, o, and after backward the gradients by x. */
#ifndef FASTAR_GRID_H
#define FASTAR_GRID_H

#include "conditionals.h"
#include "fastar.h"
#include "inputs.h"

enum { FASTAR_ABOVE = 3 }; /* neighbours in the row above, at most */

typedef struct {
    int64_t H, n_above, along;
    int64_t above[FASTAR_ABOVE];
    /* By `pack` of recurrent.h. Forward: (H, 4 H) in 4 parts of each neighbour above, one after the other, and of the
     * one along. Backward: each transposed, (4 H, H). */
    const real *W_above, *W_along;
} grid_pass;

typedef struct {
    grid_pass grid;
    int below;       /* whether its units are seen by the row below alone */
    int64_t K, taps; /* further layers: x = c + u W_x, of u (K,) of the pixel and taps - 1 before it */
    const real *x;   /* first layer: (sum Q, 4 H) rows that codes add; others: (taps K, 4 H) packed */
    const real *c;   /* of row r: (4 H,) from c + r c_row on */
    int64_t c_row;
    real *s, *m; /* (2, J + 2, n, H), zero: the rows of states above and of now */
} grid_walk_pass;

typedef struct {
    int64_t I, J, L, n_passes, P, H; /* layers of n_passes passes of H units; columns of V */
    const grid_walk_pass *passes;    /* (L, n_passes) */
    input_spec inputs;               /* E features that enter the first layer */
    const int32_t *source;           /* (I J, E) what they are: see inputs.h */
    double scale;                    /* numbers that enter are multiplied by it */
    const int64_t *outputs;          /* (I J + 1,) where the outputs of each value begin */
    const real *V;                   /* (H, P) packed; a value uses the first columns, as many as it has outputs */
    const real *b, *own;             /* of all values, and (n, P) or NULL: added to a row's outputs */
    real *u;                         /* (L, J + 2, n, H), zero: what each layer gives in this row */
} grid_walk;

typedef struct {
    /* x of `pixels` times n rows: c and what codes (pixels, n, E) add; c of row r of n from c + r c_row on. */
    void (*gather)(int64_t pixels, int64_t n, input_spec inputs, int64_t width, const real *W, const real *c,
                   int64_t c_row, const real *codes, real *x);
    void (*forward)(int64_t I, int64_t J, int64_t n, grid_pass pass, real *s, real *m, real *slots);
    /* gs: gradient by the units, as s; what flows back is added. gm (J + 2, n, H) scratch. */
    void (*backward)(int64_t I, int64_t J, int64_t n, grid_pass pass, const real *m, real *slots, real *gs, real *gm);
    /* Walk n images, (n, I J) values of them in `walked`. scratch: n (4 H + P + 1 + E) numbers. */
    void (*sample)(int64_t n, grid_walk walk, draw_spec draw, walked_rows walked, real *scratch);
} grid_table;

FASTAR_FAMILY(grid)

#endif
