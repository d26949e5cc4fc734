/* Recurrent cells: one step of one sequence, after the product of its last state with the recurrent weights.
 *
 *     x = c + xpart + sum of value * W[row] over the step's changes                       (G * H,)
 *     a = hpart, h W_hh of the state before                                               (G * H,)
 *
 *     tanh (G = 1)  h' = tanh(x + a)
 *     GRU (3)       r, z = sigmoid(x + a), n = tanh(x + r (a + d)), h' = (1 - z) n + z h
 *     LSTM (4)      i, f, o = sigmoid(x + a), g = tanh(x + a), s' = f s + i g, h' = o tanh(s')
 *
 * with the gates in the order r z n, and i f g o (K. Cho et al., EMNLP 2014, with the reset gate behind the product;
 * S. Hochreiter, J. Schmidhuber, Neural Computation 9, 1997). */
#ifndef FASTAR_RECURRENT_H
#define FASTAR_RECURRENT_H

#include "fastar.h"

enum { FASTAR_CELL_TANH, FASTAR_CELL_GRU, FASTAR_CELL_LSTM };

#define FASTAR_RECURRENT(real, type)                                                               \
    typedef struct {                                                                               \
        int64_t H;                                                                                 \
        const real *W;   /* (rows, G * H) input weights of changes; may be NULL without them */    \
        const real *c;   /* (G * H,) */                                                            \
        const real *d;   /* (H,), of the GRU alone */                                              \
    } recurrent_params_##type;                                                                     \
    /* One sequence at one step. gates: r z n and a + d, or i f g o, as backward wants them; NULL: not kept. */ \
    typedef struct {                                                                               \
        const real *xpart; /* (G * H,) or NULL */                                                  \
        const real *hpart; /* (G * H,) */                                                          \
        const real *h, *s; /* the state before; s of the LSTM alone */                             \
        real *h_next, *s_next, *gates;                                                             \
    } recurrent_step_##type;                                                                       \
    typedef struct {                                                                               \
        void (*forward)(int cell, recurrent_params_##type params, int64_t count, const int32_t *row, \
                        const real *value, recurrent_step_##type step);                            \
        /* gh (H,): the gradient by h_next; gs (H,): by s_next, becomes that by s. OUT gx (G * H,): by x; gu:       \
         * by a, of the GRU alone, elsewhere gx. What reaches h beside the product is added to gh_before. */        \
        void (*backward)(int cell, int64_t H, recurrent_step_##type step, const real *gh, real *gs, real *gx, \
                         real *gu, real *gh_before);                                               \
    } recurrent_##type;

FASTAR_RECURRENT(float, f32)
FASTAR_RECURRENT(double, f64)
FASTAR_FAMILY(recurrent)

#endif
