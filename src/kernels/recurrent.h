/* Recurrent layers over packed sequences.
 *
 * Sequences lie by falling length, and their steps by time: step t has those of the n_t sequences that are so
 * long, from row first[t] on, n_t = first[t + 1] - first[t]. Arrays (N, ..) have a row a step.
 *
 * s (N, H) is the state before each step, which the step's output is computed from. Updates (M, ..) lead to the
 * steps but the first of each sequence: M = N - n_0, and the one that leads to row i has row i - n_0. Its
 * pre-activations and then activations are its slots (S, H), of which x fills the first G:
 *
 *   tanh  G = S = 1     h' = tanh(x + h W)
 *   GRU   G = 3, S = 4  r, z, n, q: r = g(x_r + h W_r), z = g(x_z + h W_z), q = d + h W_n, n = tanh(x_n + r q),
 *                       h' = (1 - z) n + z h
 *   LSTM  G = S = 4     i, f, g, o: m' = f m + i g, h' = o tanh(m'), with m (N, H) the memory before each step
 *
 * (K. Cho et al., EMNLP 2014, with the reset gate behind the product; S. Hochreiter, J. Schmidhuber, Neural
 * Computation 9, 1997.) The backward pass turns slots into gradients by x, and a GRU's q into that by h W_n. */
#ifndef FASTAR_RECURRENT_H
#define FASTAR_RECURRENT_H

#include "conditionals.h"
#include "fastar.h"
#include "inputs.h"

enum { FASTAR_GAP = 16 }; /* numbers between the slots of two rows of scratch */

typedef struct {
    int64_t H;
    int cell;
    input_spec inputs;  /* of the first layer: E features */
    const real *x;      /* first layer: (sum Q, G H) rows that codes add; others: W_xh by `pack`, in walks */
    const real *packed; /* (H, G H) W_hh by `pack` with G parts; for backward W_hh^T (G H, H) */
    const real *c;      /* added to x: of sequence r from c + r c_row on, (G H,) */
    int64_t c_row;
    const real *d; /* (H,) GRU alone */
} recurrent_layer;

typedef struct {
    int64_t T;
    const int64_t *first; /* (T + 1,) */
    real *s, *m;          /* (N, H); m: LSTM alone */
    real *slots;          /* (M, S H), or NULL: those of one step at a time are in scratch */
} recurrent_steps;

typedef struct {
    int64_t L, T, F, P; /* layers, steps, features of a step, columns of V */
    const recurrent_layer *layers;
    const int32_t *source;  /* (T, E) what enters after a step: see inputs.h */
    int64_t own_features;   /* whether each step has features of its own, T F in all */
    const int64_t *outputs; /* (F + 1,) or (T F + 1,) where the outputs of each feature begin */
    const real *V;          /* (H, P) packed; a step uses the first columns, as many as it has outputs */
    const real *b;          /* of all features */
    const real *own;        /* (n, P) added to a row's outputs, or NULL */
} recurrent_walk;

typedef struct {
    int64_t panel; /* columns of packed weights come in multiples of it */
    int64_t block; /* steps that `outer` takes at a time */
    /* OUT packed: columns of W (K, N), a panel after the other, each (K, panel), zero beyond; of H columns a
     * part, panels of the parts alternate: first of each part, second of each part, .. */
    void (*pack)(int64_t K, int64_t parts, int64_t H, const real *W, real *packed);
    /* Fill s, m and slots of the sequences r0 .. r1 - 1 but for the first n_0 rows. x: `given` (M, G H), or what
     * the codes `entering` (M, E) add. scratch (r1 - r0, S H + GAP). */
    void (*forward)(int64_t r0, int64_t r1, recurrent_layer layer, recurrent_steps steps, const real *entering,
                    const real *given, real *scratch);
    /* Turn slots into gradients, and add what flows back to gs (N, H), the gradient by s: nothing to the steps
     * whose number is a multiple of `cut`, if that is not 0. scratch (r1 - r0, H + S H + GAP). */
    void (*backward)(int64_t r0, int64_t r1, recurrent_layer layer, recurrent_steps steps, int64_t cut, real *gs,
                     real *scratch);
    /* Walk n sequences of T steps of F features, (n, T F) of them in `walked`. states: h and m of each layer in
     * turn, (n, H), IN before the walk, OUT after it. scratch: n (S H + GAP + H + P + 1 + E) numbers, H the largest. */
    void (*sample)(int64_t n, recurrent_walk walk, draw_spec draw, walked_rows walked, real *const *states,
                   real *scratch);
    /* OUT gW (K, columns): its columns j0 .. j1 - 1 of A^T G. A (N, K), N > 0, the rows of G g_row apart. scratch:
     * (K + panel) block numbers. */
    void (*outer)(int64_t N, int64_t K, int64_t j0, int64_t j1, const real *A, const real *G, int64_t g_row, real *gW,
                  int64_t columns, real *scratch);
    /* OUT total (row,): the columns j0 .. j1 - 1 of the sums of slots (M, row); and, of those that are less than
     * width, gW (sum Q, width): the sums of what each row adds to the weights of its codes, entering (M, E). */
    void (*scatter)(int64_t M, int64_t width, int64_t row, int64_t j0, int64_t j1, input_spec inputs,
                    const real *entering, const real *slots, real *gW, real *total);
} recurrent_table;

FASTAR_FAMILY(recurrent)

#endif
