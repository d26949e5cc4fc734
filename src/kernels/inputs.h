/* Inputs of a network: for each row of codes (n, D), the list of changes to a weighted sum of its inputs.
 *
 * Feature d owns the rows q_d .. q_(d + 1) - 1 of the input weights. A numeric feature adds x_d * W[q_d], a one-hot
 * feature W[q_d + x_d] (nothing where it has no such row), a missing one its last row; features from d + 1 on see it,
 * with a Markov order k up to d + k only: at d + k + 1 it is taken away again. Zeros change nothing and are left
 * out. */
#ifndef FASTAR_INPUTS_H
#define FASTAR_INPUTS_H

#include "fastar.h"

/* In a walk: the place among a row's codes of what enters, NOTHING, or CONSTANT - v for the code v >= 0. */
enum { FASTAR_NOTHING = -1, FASTAR_CONSTANT = -2 };

enum {
    FASTAR_ONE_HOT = 1,
    FASTAR_MAY_MISS = 2, /* NaN stands for a missing value */
    FASTAR_NEAR = 4      /* a number beyond FASTAR_REACH, either way, enters as that one */
};
#define FASTAR_REACH 8

typedef struct {
    int64_t D;
    const int64_t *offsets;     /* (D + 1,) q */
    int64_t markov_order;       /* D where every earlier feature is seen */
    const uint8_t *input_flags; /* (D,) sums of the above */
} input_spec;

/* The changes of a block of rows, feature by feature: those at feature d are first[d] .. first[d + 1] - 1,
 * each the change number index[j] of row r[j] of the block, by rising row and, in a row, the latest first:
 * backward takes them back in this order. */
typedef struct {
    int32_t *first; /* (D + 1,) */
    int32_t *r, *index;
} changes_by_feature;

/* The changes of row r are those from r * capacity on, count[r] of them, by rising `at`. */
typedef struct {
    int64_t capacity;
    int32_t *count; /* (n,) */
    int32_t *at;    /* (n, capacity) the first feature that sees the change, 1 .. D - 1 */
    int32_t *row;   /* (n, capacity) of the input weights */
    real *value;    /* (n, capacity) what the row is multiplied by */
} changes_by_row;

typedef struct {
    /* The changes of one row. codes (D,); at, row, value (capacity,). Returns how many. */
    int32_t (*changes)(input_spec spec, const real *codes, int32_t *at, int32_t *row, real *value);
    /* OUT lists, of n rows from row r0 on. */
    void (*by_feature)(int64_t n, int64_t r0, int64_t D, changes_by_row changes, changes_by_feature lists);
} inputs_table;

FASTAR_FAMILY(inputs)

#endif
