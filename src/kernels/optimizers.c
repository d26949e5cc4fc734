#include "optimizers.h"

#include "sums.h"
#include "vec.h"

#include <math.h>

#if FASTAR_DOUBLE
#define SQRT sqrt
#else
#define SQRT sqrtf
#endif

/* Plain loops: the compiler turns them into vectors, and memory is what they wait for. */

#define ARGUMENTS int64_t n, real *theta, const real *g, real *const *slots, int64_t first, const double *numbers

/* Each: g (n,) -> theta (n,) and the state (n,) of every parameter, both updated in place. */
static void sgd(ARGUMENTS) {
    real *velocity = slots[0] + first;
    const real rate = numbers[0], decay = numbers[1], momentum = numbers[3];
    const real keep = 1 - rate * decay;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        velocity[i] = momentum * velocity[i] - rate * g[i];
        theta[i] = keep * theta[i] + velocity[i];
    }
}

static void nesterov(ARGUMENTS) {
    real *velocity = slots[0] + first;
    const real rate = numbers[0], decay = numbers[1], momentum = numbers[3];
    const real keep = 1 - rate * decay;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        velocity[i] = momentum * velocity[i] - rate * g[i];
        theta[i] = keep * theta[i] + momentum * velocity[i] - rate * g[i];
    }
}

#if VEC_HAS_ROOT
/* Factors of the vectors of Adam. */
typedef struct {
    vec keep, rate, epsilon, beta_1, rest_1, beta_2, rest_2;
} adam_factors;

/* Vectors of parameters, and of the state of each. */
typedef struct {
    vec theta, m, v;
} adam_state;

/* Root and quotient would take longer than memory does. */
INLINE adam_state adam_step(adam_factors by, const real *theta, const real *g, const real *m, const real *v,
                            int64_t left) {
    adam_state new;
    const vec gi = load(g, left);
    new.m = vfma(by.beta_1, load(m, left), by.rest_1 * gi);
    new.v = vfma(by.beta_2, load(v, left), by.rest_2 * gi * gi);
    new.theta = by.keep * load(theta, left) - by.rate * new.m * vreciprocal(vroot(new.v) + by.epsilon);
    return new;
}

INLINE void adam_store(adam_state new, real *theta, real *m, real *v, int64_t left) {
    store(theta, new.theta, left);
    store(m, new.m, left);
    store(v, new.v, left);
}

static void adam(ARGUMENTS) {
    real *m = slots[0] + first, *v = slots[1] + first;
    const real rate = numbers[0], decay = numbers[1], rate_t = numbers[3], epsilon_t = numbers[4], beta_1 = numbers[5],
               beta_2 = numbers[6];
    const adam_factors by = {vset1(1 - rate * decay), vset1(rate_t), vset1(epsilon_t), vset1(beta_1),
                             vset1(1 - beta_1),       vset1(beta_2), vset1(1 - beta_2)};
    if (n < VL) {
        adam_store(adam_step(by, theta, g, m, v, n), theta, m, v, n);
        return;
    }
    /* The last vector begins within the one before it and is computed first, from what is still old: stretches are
     * short, and a part of a vector that was just written is slow to read for the stretch after it. */
    const int64_t end = n - VL;
    const adam_state last = adam_step(by, theta + end, g + end, m + end, v + end, VL);
    for (int64_t i = 0; i < end; i += VL)
        adam_store(adam_step(by, theta + i, g + i, m + i, v + i, VL), theta + i, m + i, v + i, VL);
    adam_store(last, theta + end, m + end, v + end, VL);
}
#else
static void adam(ARGUMENTS) {
    real *m = slots[0] + first, *v = slots[1] + first;
    const real rate = numbers[0], decay = numbers[1], rate_t = numbers[3], epsilon_t = numbers[4], beta_1 = numbers[5],
               beta_2 = numbers[6];
    const real keep = 1 - rate * decay;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        m[i] = beta_1 * m[i] + (1 - beta_1) * g[i];
        v[i] = beta_2 * v[i] + (1 - beta_2) * g[i] * g[i];
        theta[i] = keep * theta[i] - rate_t * m[i] / (SQRT(v[i]) + epsilon_t);
    }
}
#endif

static void adagrad(ARGUMENTS) {
    real *v = slots[0] + first;
    const real rate = numbers[0], decay = numbers[1], epsilon = numbers[3];
    const real keep = 1 - rate * decay;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        v[i] += g[i] * g[i];
        theta[i] = keep * theta[i] - rate * g[i] / (SQRT(v[i]) + epsilon);
    }
}

static void adadelta(ARGUMENTS) {
    real *v = slots[0] + first, *u = slots[1] + first;
    const real rate = numbers[0], decay = numbers[1], rho = numbers[3], epsilon = numbers[4];
    const real keep = 1 - rate * decay;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        v[i] = rho * v[i] + (1 - rho) * g[i] * g[i];
        real step = SQRT(u[i] + epsilon) / SQRT(v[i] + epsilon) * g[i];
        u[i] = rho * u[i] + (1 - rho) * step * step;
        theta[i] = keep * theta[i] - rate * step;
    }
}

static void rmsprop(ARGUMENTS) {
    real *v = slots[0] + first;
    const real rate = numbers[0], decay = numbers[1], rho = numbers[3], epsilon = numbers[4];
    const real keep = 1 - rate * decay;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        v[i] = rho * v[i] + (1 - rho) * g[i] * g[i];
        theta[i] = keep * theta[i] - rate * g[i] / (SQRT(v[i]) + epsilon);
    }
}

/* Shrinking follows the step: theta (n,) and the state (n,) -> theta (n,), in place. */

/* theta nearer to zero by the threshold, at most down to zero. */
static inline real softened(real theta, real threshold) {
    const real left = (theta < 0 ? -theta : theta) - threshold;
    return left > 0 ? (theta < 0 ? -left : left) : 0;
}

/* A gradient that lasts moves theta by rate / (1 - momentum) of it a step. */
static void shrink_sgd(int64_t n, real *theta, real *const *slots, int64_t first, const double *numbers) {
    (void)slots, (void)first;
    const real threshold = numbers[0] * numbers[2] / (1 - numbers[3]);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        theta[i] = softened(theta[i], threshold);
}

static void shrink_by_root(int64_t n, real *theta, const real *v, real scale, real epsilon) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        theta[i] = softened(theta[i], scale / (SQRT(v[i]) + epsilon));
}

static void shrink_adam(int64_t n, real *theta, real *const *slots, int64_t first, const double *numbers) {
    shrink_by_root(n, theta, slots[1] + first, numbers[7] * numbers[2], numbers[4]);
}

static void shrink_adagrad(int64_t n, real *theta, real *const *slots, int64_t first, const double *numbers) {
    shrink_by_root(n, theta, slots[0] + first, numbers[0] * numbers[2], numbers[3]);
}

static void shrink_rmsprop(int64_t n, real *theta, real *const *slots, int64_t first, const double *numbers) {
    shrink_by_root(n, theta, slots[0] + first, numbers[0] * numbers[2], numbers[4]);
}

static void shrink_adadelta(int64_t n, real *theta, real *const *slots, int64_t first, const double *numbers) {
    const real *v = slots[0] + first, *u = slots[1] + first;
    const real scale = numbers[0] * numbers[2], epsilon = numbers[4];
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        theta[i] = softened(theta[i], scale * SQRT(u[i] + epsilon) / SQRT(v[i] + epsilon));
}

/* theta (n,), g (n,): asks for them, and changes nothing. */
static void fetch(int64_t n, const real *theta, const real *g) {
    for (int64_t i = 0; i < n; i += 64 / (int64_t)sizeof(real)) {
        __builtin_prefetch(theta + i, 1);
        __builtin_prefetch(g + i);
    }
}

static const optimizer_method methods[] = {
    {"sgd", 1, 4, sgd, shrink_sgd},
    {"nesterov", 1, 4, nesterov, shrink_sgd},
    {"adam", 2, 8, adam, shrink_adam},
    {"adagrad", 1, 4, adagrad, shrink_adagrad},
    {"adadelta", 2, 5, adadelta, shrink_adadelta},
    {"rmsprop", 1, 5, rmsprop, shrink_rmsprop},
};

const optimizers_table FASTAR_TABLE(optimizers) = {
    .n_methods = sizeof methods / sizeof *methods,
    .methods = methods,
    .fetch = fetch,
    .sum_of_squares = sum_of_squares,
};
