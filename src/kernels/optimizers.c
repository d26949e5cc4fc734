#include "optimizers.h"

#include <math.h>

#if FASTAR_DOUBLE
typedef double real;
#define SQRT sqrt
#else
typedef float real;
#define SQRT sqrtf
#endif

/* Plain loops: the compiler turns them into vectors, and memory is what they wait for. */
#define EACH _Pragma("omp simd") for (int64_t i = 0; i < n; i++)

static void sgd(int64_t n, real *theta, const real *g, real *velocity, real rate, real decay, real momentum) {
    const real keep = 1 - rate * decay;
    EACH {
        velocity[i] = momentum * velocity[i] - rate * g[i];
        theta[i] = keep * theta[i] + velocity[i];
    }
}

static void nesterov(int64_t n, real *theta, const real *g, real *velocity, real rate, real decay,
                     real momentum) {
    const real keep = 1 - rate * decay;
    EACH {
        velocity[i] = momentum * velocity[i] - rate * g[i];
        theta[i] = keep * theta[i] + momentum * velocity[i] - rate * g[i];
    }
}

static void adam(int64_t n, real *theta, const real *g, real *m, real *v, real rate, real decay, real rate_t,
                 real epsilon_t, real beta_1, real beta_2) {
    const real keep = 1 - rate * decay;
    EACH {
        m[i] = beta_1 * m[i] + (1 - beta_1) * g[i];
        v[i] = beta_2 * v[i] + (1 - beta_2) * g[i] * g[i];
        theta[i] = keep * theta[i] - rate_t * m[i] / (SQRT(v[i]) + epsilon_t);
    }
}

static void adagrad(int64_t n, real *theta, const real *g, real *v, real rate, real decay, real epsilon) {
    const real keep = 1 - rate * decay;
    EACH {
        v[i] += g[i] * g[i];
        theta[i] = keep * theta[i] - rate * g[i] / (SQRT(v[i]) + epsilon);
    }
}

static void adadelta(int64_t n, real *theta, const real *g, real *v, real *u, real rate, real decay, real rho,
                     real epsilon) {
    const real keep = 1 - rate * decay;
    EACH {
        v[i] = rho * v[i] + (1 - rho) * g[i] * g[i];
        real step = SQRT(u[i] + epsilon) / SQRT(v[i] + epsilon) * g[i];
        u[i] = rho * u[i] + (1 - rho) * step * step;
        theta[i] = keep * theta[i] - rate * step;
    }
}

static void rmsprop(int64_t n, real *theta, const real *g, real *v, real rate, real decay, real rho,
                    real epsilon) {
    const real keep = 1 - rate * decay;
    EACH {
        v[i] = rho * v[i] + (1 - rho) * g[i] * g[i];
        theta[i] = keep * theta[i] - rate * g[i] / (SQRT(v[i]) + epsilon);
    }
}

static double sum_of_squares(int64_t n, const real *g) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += (double)g[i] * (double)g[i];
    return sum;
}

const FASTAR_TABLE_TYPE(optimizers) FASTAR_TABLE(optimizers) = {
    .sgd = sgd,
    .nesterov = nesterov,
    .adam = adam,
    .adagrad = adagrad,
    .adadelta = adadelta,
    .rmsprop = rmsprop,
    .sum_of_squares = sum_of_squares,
};
