/* Most columns have consecutive whole numbers as their levels: a difference gives the number, for all columns of a row
 * side by side. The others are searched, one after the other, and their numbers are written over what stands there. */
#include "levels.h"
#include "vec.h"

/* The number of the first level that is not below x, or of the highest level. Without branches: a comparison that half
 * of the values fail is not foreseen. */
INLINE int64_t place_of_double(const double *levels, int64_t K, double x) {
    int64_t k = 0;
    for (int64_t left = K; left > 1; left -= left / 2)
        k += (levels[k + left / 2 - 1] < x) * (left / 2);
    return k;
}

INLINE int64_t place_of_integer(const uint64_t *levels, int64_t K, uint64_t x) {
    int64_t k = 0;
    for (int64_t left = K; left > 1; left -= left / 2)
        k += (levels[k + left / 2 - 1] < x) * (left / 2);
    return k;
}

INLINE real code_of_double(int is_level, int32_t k, double x) {
    return is_level ? (real)k : x == x ? (real)FASTAR_UNKNOWN : (real)x;
}

INLINE real code_of_integer(int is_level, int32_t k) { return is_level ? (real)k : (real)FASTAR_UNKNOWN; }

INLINE int64_t count_unknown(int64_t D, const real *codes) {
    int64_t count = 0;
    for (int64_t d = 0; d < D; d++)
        count += codes[d] == FASTAR_UNKNOWN;
    return count;
}

INLINE double value_of(int is_single, const void *values, int64_t i) {
    return is_single ? ((const float *)values)[i] : ((const double *)values)[i];
}

INLINE int64_t encode_doubles_or_singles(int is_single, int64_t n, levels_spec spec, const void *values, real *codes) {
    const double *levels = spec.levels, *low = spec.low;
    int64_t unknown = 0;
    for (int64_t r = 0; r < n; r++, codes += spec.D) {
        const int64_t row = r * spec.D;
#pragma omp simd
        for (int64_t d = 0; d < spec.D; d++) {
            const double x = value_of(is_single, values, row + d), top = spec.top[d];
            double t = x - low[d];
            t = t > 0 ? t : 0; /* NaN too */
            t = t < top ? t : top;
            const int32_t k = (int32_t)t;
            codes[d] = code_of_double(low[d] + k == x, k, x);
        }
        for (int64_t i = 0; i < spec.n_searched; i++) {
            const int32_t d = spec.searched[i];
            const double x = value_of(is_single, values, row + d), *own = levels + spec.first[d];
            const int64_t k = place_of_double(own, spec.top[d] + 1, x);
            codes[d] = code_of_double(own[k] == x, (int32_t)k, x);
        }
        unknown += count_unknown(spec.D, codes);
    }
    return unknown;
}

static int64_t encode_singles(int64_t n, levels_spec spec, const float *values, real *codes) {
    return encode_doubles_or_singles(1, n, spec, values, codes);
}

static int64_t encode_doubles(int64_t n, levels_spec spec, const double *values, real *codes) {
    return encode_doubles_or_singles(0, n, spec, values, codes);
}

static int64_t encode_integers(int64_t n, levels_spec spec, uint64_t flip, const uint64_t *values, real *codes) {
    const uint64_t *levels = spec.levels, *low = spec.low;
    int64_t unknown = 0;
    for (int64_t r = 0; r < n; r++, values += spec.D, codes += spec.D) {
#pragma omp simd
        for (int64_t d = 0; d < spec.D; d++) {
            const uint64_t k = (values[d] ^ flip) - low[d]; /* huge for values below */
            codes[d] = code_of_integer(k <= (uint64_t)spec.top[d], (int32_t)k);
        }
        for (int64_t i = 0; i < spec.n_searched; i++) {
            const int32_t d = spec.searched[i];
            const uint64_t x = values[d] ^ flip, *own = levels + spec.first[d];
            const int64_t k = place_of_integer(own, spec.top[d] + 1, x);
            codes[d] = code_of_integer(own[k] == x, (int32_t)k);
        }
        unknown += count_unknown(spec.D, codes);
    }
    return unknown;
}

/* A code beyond a column's levels, or NaN, gives the nearest level or the lowest. */
INLINE void gather(int64_t n, int64_t D, const int64_t *first, const char *levels, int64_t size, const real *codes,
                   char *values) {
    for (int64_t r = 0; r < n; r++)
        for (int64_t d = 0; d < D; d++, codes++, values += size) {
            const int64_t top = first[d + 1] - first[d] - 1;
            const int64_t k = !(*codes > 0) ? 0 : *codes < (real)top ? (int64_t)*codes : top;
            memcpy(values, levels + (first[d] + k) * size, size);
        }
}

static void decode(int64_t n, int64_t D, const int64_t *first, const void *levels, int64_t size, const real *codes,
                   void *values) {
    switch (size) { /* a constant size is a load and a store */
    case 1: gather(n, D, first, levels, 1, codes, values); break;
    case 4: gather(n, D, first, levels, 4, codes, values); break;
    case 8: gather(n, D, first, levels, 8, codes, values); break;
    default: gather(n, D, first, levels, size, codes, values);
    }
}

static void add_mass(int64_t n, int64_t D, int64_t d0, int64_t d1, const int64_t *first, const real *codes,
                     const double *weight, double *mass) {
    for (int64_t r = 0; r < n; r++, codes += D)
        for (int64_t d = d0; d < d1; d++)
            if (codes[d] >= 0)
                mass[first[d] + (int64_t)codes[d]] += weight[r];
}

const levels_table FASTAR_TABLE(levels) = {encode_singles, encode_doubles, encode_integers, decode, add_mass};
