#include "inputs.h"
#include "vec.h"

static int32_t changes(input_spec spec, const real *codes, int32_t *at, int32_t *row, real *value) {
    int32_t count = 0;
    /* Written in any case and kept by moving on: no branch to mispredict. */
#define CHANGE(d, sign)                                                                            \
    do {                                                                                           \
        int one_hot = spec.one_hot[d];                                                             \
        real x = codes[d];                                                                         \
        row[count] = (int32_t)((d)*spec.Q + (one_hot ? (int64_t)x : 0));                           \
        value[count] = sign(one_hot ? (real)1 : x);                                                \
        at[count] = (int32_t)a;                                                                    \
        count += one_hot || x != 0;                                                                \
    } while (0)
    for (int64_t a = 1; a < spec.D; a++) {
        CHANGE(a - 1, +);
        if (a > spec.markov_order)
            CHANGE(a - 1 - spec.markov_order, -);
    }
    return count;
}

const FASTAR_TABLE_TYPE(inputs) FASTAR_TABLE(inputs) = {changes};
