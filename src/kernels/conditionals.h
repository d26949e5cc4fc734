/* Output distributions p(x_d | raw_d): log-densities, their gradients by raw, and draws.
 *
 * raw (n, D, P), codes (n, D). Outputs: logp (n, D), total (n,) its row sums in double precision, and
 * in the gradient's case graw (n, D, P) = scale[r] * d logp / d raw. Nothing overflows for finite raw. */
#ifndef FASTAR_CONDITIONALS_H
#define FASTAR_CONDITIONALS_H

#include "fastar.h"

typedef struct {
    const int32_t *n_levels; /* (D,) categorical: outputs from n_levels[d] on stand for nothing */
    double variance_floor;   /* Gaussian: variance = exp(s) + variance_floor */
    double temperature;      /* of a draw: from density^(1 / temperature), normalised */
} conditional_spec;

#define FASTAR_CONDITIONALS(real, type)                                                            \
    /* One value for each of n rows of feature d. Row r's outputs are raw[r * raw_stride ..], which may be \
     * overwritten, and its noise is noise[r * noise_stride ..]. */                                \
    typedef void (*draw_function_##type)(int64_t n, int64_t d, conditional_spec spec, real *raw,   \
                                         int64_t raw_stride, const real *noise,                    \
                                         int64_t noise_stride, real *codes);                       \
    typedef struct {                                                                               \
        draw_function_##type function;                                                             \
        int64_t n_noise; /* numbers that one draw uses up */                                       \
        conditional_spec spec;                                                                     \
    } draw_##type;                                                                                 \
    typedef struct {                                                                               \
        void (*log_prob)(int64_t n, int64_t D, int64_t P, conditional_spec spec, const real *raw,  \
                         const real *codes, real *logp, double *total);                            \
        void (*gradient)(int64_t n, int64_t D, int64_t P, conditional_spec spec, const real *raw,  \
                         const real *codes, const real *scale, real *logp, double *total, real *graw); \
        draw_function_##type draw;                                                                 \
        int64_t n_noise;                                                                           \
    } conditional_##type;                                                                          \
    typedef struct {                                                                               \
        conditional_##type bernoulli, categorical, gaussian;                                       \
    } conditionals_##type;

FASTAR_CONDITIONALS(float, f32)
FASTAR_CONDITIONALS(double, f64)
FASTAR_FAMILY(conditionals)

#endif
