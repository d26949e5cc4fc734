/* One fused pass of an optimizer over n consecutive parameters.
 *
 * First theta *= 1 - rate * decay (weight decay apart from the gradient, as in AdamW; for plain gradient
 * descent it is the gradient of decay / 2 * |theta|^2), then the method's own update. Every element is
 * computed alone, so the bits do not depend on where a range begins.
 *
 * A penalty on |theta| is a pass of its own after it, the proximal step in the metric of the method: theta
 * comes nearer to zero by penalty times what the method multiplies a lasting gradient with, and stops there
 * (J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods", JMLR 12, 2011, section 5). */
#ifndef FASTAR_OPTIMIZERS_H
#define FASTAR_OPTIMIZERS_H

#include "fastar.h"

enum { FASTAR_SLOTS = 2, FASTAR_NUMBERS = 8 }; /* of a method, at most */

/* The vectors that a method remembers begin at slots[i] + first; numbers: rate, decay, penalty, and
 * the method's own. */
typedef void (*optimizer_loop)(int64_t n, real *theta, const real *g, real *const *slots, int64_t first,
                               const double *numbers);

typedef void (*optimizer_shrink)(int64_t n, real *theta, real *const *slots, int64_t first, const double *numbers);

typedef struct {
    const char *name;
    int n_slots, n_numbers;
    optimizer_loop loop;
    optimizer_shrink shrink;
} optimizer_method;

typedef struct {
    int n_methods;
    const optimizer_method *methods;
    /* Parameters that the next pass wants, and their gradient. */
    void (*fetch)(int64_t n, const real *theta, const real *g);
    double (*sum_of_squares)(int64_t n, const real *g);
} optimizers_table;

FASTAR_FAMILY(optimizers)

#endif
