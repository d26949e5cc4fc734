/* SFC64, the small fast counting generator of C. Doty-Humphrey's PractRand 0.95: three words of chaos and a counter,
 * which keeps every cycle at 2^64 numbers or more, so that generators with random seeds do not meet. */
#include "uniforms.h"
#include "vec.h"

enum { WARM_UP = 12 /* steps after which all of the seeds are in all of the words */ };

typedef uint64_t wide __attribute__((vector_size(8 * FASTAR_STREAMS)));
typedef struct {
    wide a, b, c, counter;
} generators;

INLINE void step(generators *g, wide *out) {
    *out = g->a + g->b + g->counter;
    g->counter += 1;
    g->a = g->b ^ (g->b >> 11);
    g->b = g->c + (g->c << 3);
    g->c = (g->c << 24 | g->c >> 40) + *out;
}

/* The highest bits of the words, as many as a mantissa has. */
#if FASTAR_DOUBLE
enum { NUMBERS = FASTAR_STREAMS };
typedef double numbers __attribute__((vector_size(8 * FASTAR_STREAMS)));
INLINE void to_numbers(const wide *bits, numbers *x) {
    *x = (numbers)(*bits >> 12 | 0x3FF0000000000000) - 1; /* from [1, 2) */
}
#else
enum { NUMBERS = 2 * FASTAR_STREAMS };
typedef float numbers __attribute__((vector_size(8 * FASTAR_STREAMS)));
typedef uint32_t halves __attribute__((vector_size(8 * FASTAR_STREAMS)));
typedef int32_t integers __attribute__((vector_size(8 * FASTAR_STREAMS)));
INLINE void to_numbers(const wide *bits, numbers *x) {
    *x = __builtin_convertvector((integers)((halves)*bits >> 8), numbers) * 0x1p-24f;
}
#endif

/* seeds (FASTAR_SEEDS,) -> out (n,), uniform in [0, 1). */
static void fill(const uint64_t *seeds, int64_t n, real *out) {
    generators g;
    wide bits;
    numbers x;
    memcpy(&g, seeds, FASTAR_SEEDS * sizeof *seeds);
    g.counter = (wide){0} + 1;
    for (int i = 0; i < WARM_UP; i++)
        step(&g, &bits);
    for (int64_t i = 0; i < n; i += NUMBERS) {
        step(&g, &bits);
        to_numbers(&bits, &x);
        memcpy(out + i, &x, (n - i < NUMBERS ? n - i : NUMBERS) * sizeof *out);
    }
}

const uniforms_table FASTAR_TABLE(uniforms) = {fill};
