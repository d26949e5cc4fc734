/* Primitives of vec.h for the 64-bit ARM processors, which all have NEON. */
#ifndef FASTAR_VEC_NEON_H
#define FASTAR_VEC_NEON_H

#include "vec_lanes.h"

#include <arm_neon.h>

#if FASTAR_DOUBLE
#define INTRINSIC(name) name##_f64
#define NEON_VEC float64x2_t
#else
#define INTRINSIC(name) name##_f32
#define NEON_VEC float32x4_t
#endif

/* a * b + c, rounded once. */
INLINE vec vfma(vec a, vec b, vec c) { return (vec)INTRINSIC(vfmaq)((NEON_VEC)c, (NEON_VEC)a, (NEON_VEC)b); }

/* The second where either is NaN: the bound comes first. The processor's own maximum is NaN there. */
INLINE vec vmax(vec low, vec x) { return vselect(low > x, low, x); }
INLINE vec vmin(vec high, vec x) { return vselect(high < x, high, x); }

INLINE int vany_negative(ivec v) { return vmaxvq_u32((uint32x4_t)(v < 0)) != 0; }

#endif
