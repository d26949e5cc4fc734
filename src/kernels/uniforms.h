/* Uniform random numbers in [0, 1), which random seeds decide. */
#ifndef FASTAR_UNIFORMS_H
#define FASTAR_UNIFORMS_H

#include "fastar.h"

enum {
    FASTAR_STREAMS = 8, /* generators side by side, so many on any instruction set: all give the same numbers */
    FASTAR_SEEDS = 3 * FASTAR_STREAMS,
};

typedef struct {
    /* OUT out (n,). seeds (FASTAR_SEEDS,): random words. */
    void (*fill)(const uint64_t *seeds, int64_t n, real *out);
} uniforms_table;

FASTAR_FAMILY(uniforms)

#endif
