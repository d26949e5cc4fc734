#include "conditionals.h"
#include "vec.h"

#include <math.h>

#define SPEC conditional_spec

static double row_sum(int64_t D, const real *logp) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t d = 0; d < D; d++)
        sum += logp[d];
    return sum;
}

INLINE int lanes(int64_t left) { return left < VL ? (int)left : VL; }

/* Bernoulli: raw is the logit z. With s = z for x = 0 and -z for x = 1,
 * log p = -softplus(s) and d log p / dz = (2 x - 1) sigmoid(s). */

INLINE void bernoulli_row(int with_gradient, int64_t D, const real *raw, const real *codes, real scale,
                          real *logp, real *graw) {
    for (int64_t d = 0; d < D; d += VL) {
        int m = lanes(D - d);
        vec z = vload_part(raw + d, m), sign = vset1(1) - vset1(2) * vload_part(codes + d, m);
        vec s = sign * z, e = vexp(-vabs(s));
        vec positive = vselect(s < vset1(0), vset1(0), s);
        vstore_part(logp + d, -(positive + vlog1p(e)), m);
        if (with_gradient) {
            vec p = vselect(s < vset1(0), e, vset1(1)) * vreciprocal(vset1(1) + e);
            vstore_part(graw + d, vset1(-scale) * sign * p, m);
        }
    }
}

static void bernoulli_log_prob(int64_t n, int64_t D, int64_t P, SPEC spec, const real *raw, const real *codes,
                               real *logp, double *total) {
    (void)P, (void)spec;
    for (int64_t r = 0; r < n; r++) {
        bernoulli_row(0, D, raw + r * D, codes + r * D, 0, logp + r * D, NULL);
        total[r] = row_sum(D, logp + r * D);
    }
}

static void bernoulli_gradient(int64_t n, int64_t D, int64_t P, SPEC spec, const real *raw, const real *codes,
                               const real *scale, real *logp, double *total, real *graw) {
    (void)P, (void)spec;
    for (int64_t r = 0; r < n; r++) {
        bernoulli_row(1, D, raw + r * D, codes + r * D, scale[r], logp + r * D, graw + r * D);
        total[r] = row_sum(D, logp + r * D);
    }
}

/* m <= VL numbers, `stride` apart. */
INLINE vec strided(const real *from, int64_t stride, int m) {
    if (stride == 1)
        return vload_part(from, m);
    vec v = {0};
    for (int i = 0; i < m; i++)
        v[i] = from[i * stride];
    return v;
}

static void bernoulli_draw(int64_t n, int64_t d, SPEC spec, real *raw, int64_t raw_stride, const real *noise,
                           int64_t noise_stride, real *codes) {
    (void)d;
    for (int64_t r = 0; r < n; r += VL) {
        int m = lanes(n - r);
        vec z = strided(raw + r * raw_stride, raw_stride, m);
        vec p = vsigmoid(z * vset1((real)fmin(1 / spec.temperature, 1e30)));
        vec drawn = vselect(strided(noise + r * noise_stride, noise_stride, m) < p, vset1(1), vset1(0));
        vstore_part(codes + r, drawn, m);
    }
}

/* Categorical: raw are the logits of n_levels[d] levels; log p = z_x - log sum exp z. */

INLINE real largest(int64_t K, const real *z) {
    real top = z[0];
    for (int64_t k = 1; k < K; k++)
        top = z[k] > top ? z[k] : top;
    return top;
}

/* e = exp((z - largest) / temperature), which may overwrite z; returns the sum. */
INLINE real exponentials(int64_t K, const real *z, double temperature, real *e) {
    vec top = vset1(largest(K, z)), sum = vset1(0), inverse = vset1((real)fmin(1 / temperature, 1e30));
    for (int64_t k = 0; k < K; k += VL) {
        int m = lanes(K - k);
        vec x = vexp((vload_part(z + k, m) - top) * inverse);
        vstore_part(e + k, x, m);
        sum += m == VL ? x : vload_part(e + k, m);
    }
    return vsum(sum);
}

INLINE real log_of(real x) { return sizeof(real) == 4 ? (real)logf((float)x) : (real)log((double)x); }

static void categorical_gradient(int64_t n, int64_t D, int64_t P, SPEC spec, const real *raw, const real *codes,
                                 const real *scale, real *logp, double *total, real *graw) {
    for (int64_t r = 0; r < n; r++) {
        for (int64_t d = 0; d < D; d++) {
            int64_t i = r * D + d, x = (int64_t)codes[i], K = spec.n_levels[d];
            const real *z = raw + i * P;
            real *g = graw + i * P, sum = exponentials(K, z, 1, g);
            logp[i] = z[x] - largest(K, z) - log_of(sum);
            for (int64_t k = 0; k < K; k++)
                g[k] *= -scale[r] / sum;
            g[x] += scale[r];
            memset(g + K, 0, (P - K) * sizeof(real));
        }
        total[r] = row_sum(D, logp + r * D);
    }
}

static void categorical_log_prob(int64_t n, int64_t D, int64_t P, SPEC spec, const real *raw, const real *codes,
                                 real *logp, double *total) {
    for (int64_t r = 0; r < n; r++) {
        for (int64_t d = 0; d < D; d++) {
            int64_t i = r * D + d, K = spec.n_levels[d];
            const real *z = raw + i * P;
            vec top = vset1(largest(K, z)), sum = vset1(0);
            for (int64_t k = 0; k < K; k += VL) {
                int m = lanes(K - k);
                vec x = vexp(vload_part(z + k, m) - top);
                if (m < VL) {
                    real t[VL];
                    vstore(t, x);
                    x = vload_part(t, m);
                }
                sum += x;
            }
            logp[i] = z[(int64_t)codes[i]] - top[0] - log_of(vsum(sum));
        }
        total[r] = row_sum(D, logp + r * D);
    }
}

static void categorical_draw(int64_t n, int64_t d, SPEC spec, real *raw, int64_t raw_stride, const real *noise,
                           int64_t noise_stride, real *codes) {
    for (int64_t r = 0; r < n; r++) {
        int64_t K = spec.n_levels[d], x = 0;
        real *e = raw + r * raw_stride, left = noise[r * noise_stride] * exponentials(K, e, spec.temperature, e);
        while (x + 1 < K && left >= e[x])
            left -= e[x++];
        codes[r] = (real)x;
    }
}

/* Gaussian: raw = (mu, s), variance = exp(s) + floor.
 * log variance = s + softplus(log floor - s), whose derivative by s is sigmoid(s - log floor). */

INLINE void gaussian_row(int with_gradient, int64_t D, SPEC spec, const real *raw, const real *codes,
                         real scale, real *logp, real *graw) {
    const real log_floor = (real)log(spec.variance_floor), log_2pi = (real)1.8378770664093453;
    for (int64_t d = 0; d < D; d += VL) {
        int m = lanes(D - d);
        real t[2][VL] = {{0}};
        for (int i = 0; i < m; i++) {
            t[0][i] = raw[2 * (d + i)];
            t[1][i] = raw[2 * (d + i) + 1];
        }
        vec above = vload(t[1]) - vset1(log_floor), e = vexp(-vabs(above));
        vec log_variance = vset1(log_floor) + vselect(above < vset1(0), vset1(0), above) + vlog1p(e);
        vec precision = vexp(-log_variance), deviation = vload_part(codes + d, m) - vload(t[0]);
        vec weighted = deviation * precision, square = weighted * deviation;
        vstore_part(logp + d, vset1((real)-0.5) * (vset1(log_2pi) + log_variance + square), m);
        if (with_gradient) {
            vec p = vselect(above < vset1(0), e, vset1(1)) * vreciprocal(vset1(1) + e);
            vstore(t[0], vset1(scale) * weighted);
            vstore(t[1], vset1(scale * (real)0.5) * (square - vset1(1)) * p);
            for (int i = 0; i < m; i++) {
                graw[2 * (d + i)] = t[0][i];
                graw[2 * (d + i) + 1] = t[1][i];
            }
        }
    }
}

static void gaussian_log_prob(int64_t n, int64_t D, int64_t P, SPEC spec, const real *raw, const real *codes,
                              real *logp, double *total) {
    for (int64_t r = 0; r < n; r++) {
        gaussian_row(0, D, spec, raw + r * D * P, codes + r * D, 0, logp + r * D, NULL);
        total[r] = row_sum(D, logp + r * D);
    }
}

static void gaussian_gradient(int64_t n, int64_t D, int64_t P, SPEC spec, const real *raw, const real *codes,
                              const real *scale, real *logp, double *total, real *graw) {
    for (int64_t r = 0; r < n; r++) {
        gaussian_row(1, D, spec, raw + r * D * P, codes + r * D, scale[r], logp + r * D, graw + r * D * P);
        total[r] = row_sum(D, logp + r * D);
    }
}

static void gaussian_draw(int64_t n, int64_t d, SPEC spec, real *raw, int64_t raw_stride, const real *noise,
                           int64_t noise_stride, real *codes) {
    (void)d;
    for (int64_t r = 0; r < n; r++) {
        /* vexp keeps the draw finite where exp(s) would not be */
        double variance = (double)vexp(vset1(raw[r * raw_stride + 1]))[0] + spec.variance_floor;
        codes[r] = raw[r * raw_stride] + noise[r * noise_stride] * (real)sqrt(variance * spec.temperature);
    }
}

#define CONDITIONAL(name, n_noise) {name##_log_prob, name##_gradient, name##_draw, n_noise}
const FASTAR_TABLE_TYPE(conditionals) FASTAR_TABLE(conditionals) = {
    .bernoulli = CONDITIONAL(bernoulli, 1),
    .categorical = CONDITIONAL(categorical, 1),
    .gaussian = CONDITIONAL(gaussian, 1),
};
