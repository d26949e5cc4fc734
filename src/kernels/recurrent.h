/* Recurrent layers over packed sequences.
 *
 * Sequences lie by falling length, and their steps by time: step t has those of the n_t sequences that are so
 * long, from row first[t] on, n_t = first[t + 1] - first[t]. All arrays (N, ..) hold one row a step.
 *
 * s (N, H) is the state before each step, which the step's output is computed from; a sequence's last step
 * leads to no row of s. A step's pre-activations and activations are its `slots` (S, H):
 *
 *   tanh  S = 1  h' = tanh(x + h W)
 *   GRU   S = 4  n, r, z, q: r = g(x_r + h W_r), z = g(x_z + h W_z), q = c_q + h W_q, n = tanh(x_n + r q),
 *                h' = (1 - z) n + z h
 *   LSTM  S = 4  i, f, g, o: c' = f c + i g, h' = o tanh(c'), with m (N, H) the cell before each step
 *
 * x fills the first G slots, h W the last G: G = 1, 3 and 4. After the backward pass slots are gradients. */
#ifndef FASTAR_RECURRENT_H
#define FASTAR_RECURRENT_H

#include "conditionals.h"
#include "fastar.h"
#include "inputs.h"

enum { FASTAR_TANH_CELL, FASTAR_GRU_CELL, FASTAR_LSTM_CELL };

#define FASTAR_RECURRENT(real, type)                                                               \
    typedef struct {                                                                               \
        int64_t H;                                                                                 \
        int cell;                                                                                  \
        input_spec inputs;       /* of the first layer: F features a step */                       \
        const real *x;           /* first layer: (F Q, G H) rows that codes add; others: (H, G H), packed */ \
        const real *packed;      /* (H, G H) W_hh, packed by `pack`; for backward its transpose (G H, H) */ \
        const real *bias;        /* (G H) added to x, `bias_row` apart for each sequence; 0: one for all */ \
        int64_t bias_row;                                                                          \
        const real *c_q;         /* (H,) GRU alone */                                              \
    } recurrent_layer_##type;                                                                      \
    typedef struct {                                                                               \
        int64_t T;                                                                                 \
        const int64_t *first;    /* (T + 1,) */                                                    \
        real *s, *m;             /* (N, H); m: LSTM alone */                                       \
        real *slots;             /* (N, S H), or NULL: those of one step at a time are in scratch */ \
        real *end_s, *end_m;     /* (n, H) the state after each sequence, or NULL */               \
    } recurrent_steps_##type;                                                                      \
    typedef struct {                                                                               \
        int64_t L, T, P;         /* layers, steps, outputs of each of F features */                \
        const recurrent_layer_##type *layers;                                                      \
        const real *V;           /* (H, F P) packed */                                             \
        const real *b;           /* (F P,), `b_row` apart for each sequence; 0: one for all */     \
        int64_t b_row;                                                                             \
    } recurrent_walk_##type;                                                                       \
    typedef struct {                                                                               \
        int64_t panel;           /* columns of packed weights come in multiples of it */           \
        /* OUT packed: columns of W (K, N), a panel after the other, each (K, panel), zero beyond; of H columns a \
         * part, panels of the parts alternate: first of each part, second of each part, .. */     \
        void (*pack)(int64_t K, int64_t parts, int64_t H, const real *W, real *packed);            \
        /* Fill s from step 1 on, and what else `steps` asks for, in the sequences r0 .. r1 - 1. given (N, G H): x of \
         * each step, or codes (N, F). scratch (r1 - r0, S H). */                                  \
        void (*forward)(int64_t r0, int64_t r1, recurrent_layer_##type layer, recurrent_steps_##type steps, \
                        const real *codes, const real *given, real *scratch);                      \
        /* Turn slots into gradients by x (first G) and by h W (last G), and add what flows back to gs (N, H), the \
         * gradient by s. Nothing flows past every `cut`-th step. scratch (r1 - r0, H). */         \
        void (*backward)(int64_t r0, int64_t r1, recurrent_layer_##type layer, recurrent_steps_##type steps, \
                         int64_t cut, real *gs, real *scratch);                                    \
        /* Walk n sequences of T steps of F features, (n, T F) of them in `walked`; the first has number `first`. \
         * states: h and m of each layer in turn, (n, H); IN before the walk, OUT after it. scratch:            \
         * n (S H + H + F P + 1) numbers. */                                                      \
        void (*sample)(int64_t n, int64_t first, recurrent_walk_##type walk, draw_##type draw,     \
                       walked_##type walked, real *const *states, real *scratch);                  \
    } recurrent_##type;

FASTAR_RECURRENT(float, f32)
FASTAR_RECURRENT(double, f64)
FASTAR_FAMILY(recurrent)

#endif
