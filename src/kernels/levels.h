/* Columns of levels: from values to the numbers of their levels, and back. A level's number is its place among the
 * sorted levels of its column; UNKNOWN is that of a value that is none, and NaN stays NaN.
 *
 * Values are found in one of two orders: as double, or as uint64_t. Integers of any type become uint64_t by flipping
 * the sign's bit of the signed ones, which keeps their order. */
#ifndef FASTAR_LEVELS_H
#define FASTAR_LEVELS_H

#include "fastar.h"

enum { FASTAR_UNKNOWN = -1 };

typedef struct {
    int64_t D;
    const int64_t *first; /* (D + 1,) where the levels of each column begin */
    const void *levels;   /* (first[D],) rising in each column: double or uint64_t */
    const void *low;      /* (D,) the lowest level of each column */
    const int32_t *top;   /* (D,) the number of its highest one */
    int64_t n_searched;
    const int32_t *searched; /* (n_searched,) the columns where level k is not low + k */
} levels_spec;

typedef struct {
    /* values (n, D) -> codes (n, D): numbers of levels. Return how many are UNKNOWN. */
    int64_t (*encode_singles)(int64_t n, levels_spec spec, const float *values, real *codes);
    int64_t (*encode_doubles)(int64_t n, levels_spec spec, const double *values, real *codes);
    /* flip: what the values' bits are flipped by. */
    int64_t (*encode_integers)(int64_t n, levels_spec spec, uint64_t flip, const uint64_t *values, real *codes);
    /* codes (n, D) -> values (n, D). levels (first[D],) and values: items of any type, of so many bytes. */
    void (*decode)(int64_t n, int64_t D, const int64_t *first, const void *levels, int64_t size, const real *codes,
                   void *values);
    /* mass (first[D],) += the weight of the rows that have each level, for the columns d0 .. d1 - 1. weight (n,) */
    void (*add_mass)(int64_t n, int64_t D, int64_t d0, int64_t d1, const int64_t *first, const real *codes,
                     const double *weight, double *mass);
} levels_table;

FASTAR_FAMILY(levels)

#endif
