/* NADE: one hidden layer shared by all features, its pre-activation updated from one to the next.
 *
 *     h_d = g(c + sum of value * W[row] over the changes at features <= d)      (H,)
 *     raw_d = b_d + V_d h_d for d >= 1,  raw_0 = b_0                            (P,)
 *
 * W (.., H), V (D - 1, P, H), b (D, P), raw (n, D, P), row-major. */
#ifndef FASTAR_NADE_H
#define FASTAR_NADE_H

#include "conditionals.h"
#include "fastar.h"
#include "inputs.h"

enum { FASTAR_SIGMOID, FASTAR_TANH, FASTAR_RELU };

/* Rows that one pass over the features of `sample` carries. */
enum { FASTAR_SAMPLE_ROWS = 16 };

typedef struct {
    int64_t D, P, H;
    int64_t stride; /* of a row of hidden units in work space: H rounded up to whole vectors, zero beyond H */
    int activation;
} nade_sizes;

#define FASTAR_NADE(real, type)                                                                    \
    typedef struct {                                                                               \
        const real *W, *V, *b;                                                                     \
    } nade_params_##type;                                                                          \
    typedef struct {                                                                               \
        int64_t lanes; /* of a vector; `stride` and slabs of hidden units are whole vectors */     \
        int64_t slab;  /* hidden units that `backward` takes at a time */                          \
        /* a (n, stride): IN the initial pre-activations, OUT the final ones.                      \
         * h (n, stride), cursor (n): scratch. */                                                  \
        void (*forward)(int64_t n, nade_sizes sizes, nade_params_##type params,                    \
                        changes_##type changes, real *a, real *raw, real *h, int64_t *cursor);     \
        /* Hidden units k0 .. k1 - 1 alone, k1 - k0 <= slab: gW, gV (their columns k0 .. k1 - 1,   \
         * overwritten) and a, IN the final pre-activations, OUT the gradient by the initial ones. \
         * n_W: rows of W. scratch: backward_scratch(n, ..) reals. cursor (n). */                  \
        void (*backward)(int64_t n, nade_sizes sizes, nade_params_##type params,                   \
                         changes_##type changes, int64_t k0, int64_t k1, int64_t n_W, real *a,     \
                         const real *graw, real *gW, real *gV, real *scratch, int64_t *cursor);    \
        int64_t (*backward_scratch)(int64_t n, nade_sizes sizes);                                  \
        /* codes (n, D): OUT what was drawn, IN the evidence where held (n, D) is not 0 (held may be NULL). \
         * noise (n, D, draw.n_noise). a as in forward. n <= FASTAR_SAMPLE_ROWS.                   \
         * h (n, stride), raw (n, P), drawn (n): scratch. */                                       \
        void (*sample)(int64_t n, nade_sizes sizes, nade_params_##type params, input_spec inputs,  \
                       draw_##type draw, const real *noise, const uint8_t *held, real *codes,      \
                       real *a, real *h, real *raw, real *drawn);                                  \
    } nade_##type;

FASTAR_NADE(float, f32)
FASTAR_NADE(double, f64)
FASTAR_FAMILY(nade)

#endif
