/* One fused pass of an optimizer over n consecutive parameters.
 *
 * First theta *= 1 - rate * decay (weight decay apart from the gradient, as in AdamW; for plain gradient
 * descent it is the gradient of decay / 2 * |theta|^2), then the method's own update. Every element is
 * computed alone, so the bits do not depend on where a range begins. */
#ifndef FASTAR_OPTIMIZERS_H
#define FASTAR_OPTIMIZERS_H

#include "fastar.h"

#define FASTAR_OPTIMIZERS(real, type)                                                              \
    typedef struct {                                                                               \
        void (*sgd)(int64_t n, real *theta, const real *g, real *velocity, real rate, real decay,  \
                    real momentum);                                                                \
        void (*nesterov)(int64_t n, real *theta, const real *g, real *velocity, real rate,         \
                         real decay, real momentum);                                               \
        /* rate_t, epsilon_t: with the corrections of the bias at this step folded in */           \
        void (*adam)(int64_t n, real *theta, const real *g, real *m, real *v, real rate, real decay, \
                     real rate_t, real epsilon_t, real beta_1, real beta_2);                       \
        void (*adagrad)(int64_t n, real *theta, const real *g, real *v, real rate, real decay,     \
                        real epsilon);                                                             \
        void (*adadelta)(int64_t n, real *theta, const real *g, real *v, real *u, real rate,       \
                         real decay, real rho, real epsilon);                                      \
        void (*rmsprop)(int64_t n, real *theta, const real *g, real *v, real rate, real decay,     \
                        real rho, real epsilon);                                                   \
        /* Parameters that the next pass wants, and their gradient. */                             \
        void (*fetch)(int64_t n, const real *theta, const real *g);                                \
        double (*sum_of_squares)(int64_t n, const real *g);                                        \
    } optimizers_##type;

FASTAR_OPTIMIZERS(float, f32)
FASTAR_OPTIMIZERS(double, f64)
FASTAR_FAMILY(optimizers)

#endif
