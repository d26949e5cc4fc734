/* Uniform random numbers in [0, 1) from a state that the caller holds: STREAMS generators side by side. */
#ifndef FASTAR_UNIFORMS_H
#define FASTAR_UNIFORMS_H

#include "fastar.h"

enum {
    FASTAR_STREAMS = 8, /* whatever the instruction set, so that all of them give the same numbers */
    FASTAR_SEEDS = 3 * FASTAR_STREAMS,
};

/* A word of each generator a row. */
typedef struct {
    uint64_t words[4][FASTAR_STREAMS];
} uniform_state;

#define FASTAR_UNIFORMS(real, type)                                                                \
    typedef struct {                                                                               \
        /* OUT state: begun from FASTAR_SEEDS random words. */                                     \
        void (*begin)(const uint64_t *seeds, uniform_state *state);                                \
        /* OUT out (n,): the next numbers. */                                                      \
        void (*fill)(uniform_state *state, int64_t n, real *out);                                  \
    } uniforms_##type;

FASTAR_UNIFORMS(float, f32)
FASTAR_UNIFORMS(double, f64)
FASTAR_FAMILY(uniforms)

#endif
