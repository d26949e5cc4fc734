/* One vector type `vec` of `real`, and its primitives for the instruction set of this object.
 *
 * An instruction set is one header of primitives, chosen here, one column of tile sizes in tiles.h, one line of flags
 * in src/CMakeLists.txt and one case in cpu.c. GCC's and Clang's vector extensions carry + - * / and comparisons to any
 * processor; a header of primitives has what they cannot say, or say too slowly:
 *
 *     vload_range, vstore_range, vload_or     lanes that may lie beyond the end of an array
 *     vfma, vmax, vmin, vreciprocal           arithmetic
 *     vany_negative, vnonzero                 from lanes to numbers
 *     VEC_HAS_ROOT, vroot                     a square root faster than the processor's own, where there is one */
#ifndef FASTAR_VEC_H
#define FASTAR_VEC_H

#include "fastar.h"

#include <string.h>

#if FASTAR_DOUBLE
typedef int64_t integer;
#define REAL_BYTES 8
#else
typedef int32_t integer;
#define REAL_BYTES 4
#endif

#if defined(__AVX512F__)
#define VEC_BYTES 64
#define VEC_PRIMITIVES "vec_avx512.h"
#elif defined(__AVX2__)
#define VEC_BYTES 32
#define VEC_PRIMITIVES "vec_avx2.h"
#elif defined(FASTAR_WITH_NEON)
#define VEC_BYTES 16
#define VEC_PRIMITIVES "vec_neon.h"
#else
#define VEC_BYTES 16
#define VEC_PRIMITIVES "vec_generic.h"
#endif
#define VEC_LANES (VEC_BYTES / REAL_BYTES)
#define VL ((int)VEC_LANES)

typedef real vec __attribute__((vector_size(VEC_BYTES)));
typedef integer ivec __attribute__((vector_size(VEC_BYTES)));

/* Before a loop with a constant number of turns, of which there are at most n. Clang, told a number beyond its turns,
 * unrolls it too late for arrays to become registers. */
#if defined(__clang__)
#define UNROLL(n) _Pragma("clang loop unroll(full)")
#else
#define UNROLL(n) PRAGMA(GCC unroll n)
#define PRAGMA(text) _Pragma(#text)
#endif

#define INLINE static inline __attribute__((always_inline, unused))

INLINE vec vset1(real x) { return x - (vec){0}; } /* -0.0 stays -0.0 */
INLINE ivec viset1(integer x) { return x + (ivec){0}; }

INLINE vec vload(const real *p) {
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE void vstore(real *p, vec v) { memcpy(p, &v, sizeof v); }

INLINE vec vselect(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }

#include VEC_PRIMITIVES

/* The first n lanes, 0 < n <= VL; the others are zero and their memory is not touched. */
INLINE vec vload_part(const real *p, int n) { return vload_range(p, 0, n); }
INLINE void vstore_part(real *p, vec v, int n) { vstore_range(p, v, 0, n); }

/* The first `left` lanes, or all of them. */
INLINE vec load(const real *p, int64_t left) { return left >= VL ? vload(p) : vload_part(p, (int)left); }
INLINE void store(real *p, vec v, int64_t left) {
    if (left >= VL)
        vstore(p, v);
    else
        vstore_part(p, v, (int)left);
}

/* The first `width` <= count * VL numbers of a row as vectors, zeros beyond. count: a constant. */
INLINE void load_vectors(int count, vec *to, const real *from, int64_t width) {
    if (width == count * VL)
    UNROLL(4)
        for (int j = 0; j < count; j++)
            to[j] = vload(from + j * VL);
    else
        UNROLL(4)
        for (int j = 0; j < count; j++) {
            int64_t left = width - j * VL;
            to[j] = left >= VL ? vload(from + j * VL) : left > 0 ? vload_part(from + j * VL, (int)left) : vset1(0);
        }
}

INLINE void store_vectors(int count, real *to, const vec *from, int64_t width) {
    UNROLL(4)
    for (int j = 0; j < count; j++) {
        int64_t left = width - j * VL;
        if (left >= VL)
            vstore(to + j * VL, from[j]);
        else if (left > 0)
            vstore_part(to + j * VL, from[j], (int)left);
    }
}

INLINE vec vclamp(vec x, real low, real high) { return vmin(vset1(high), vmax(vset1(low), x)); }
INLINE vec vabs(vec x) { return (vec)((ivec)x & ~(ivec)vset1((real)-0.0)); }

#endif
