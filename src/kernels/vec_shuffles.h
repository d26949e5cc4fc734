/* Moves from lane to lane: sums of lanes, and the transpose. */
#ifndef FASTAR_VEC_SHUFFLES_H
#define FASTAR_VEC_SHUFFLES_H

#include "vec.h"

/* PICK(a, b, s, by): lane i is lane i ^ by of a or, where i has bit s, of b. */
#define PICK_1(i, s, by) ((i) ^ (by)) + ((i) & (s) ? VL : 0)
#define PICK_2(i, s, by) PICK_1(i, s, by), PICK_1((i) + 1, s, by)
#define PICK_4(i, s, by) PICK_2(i, s, by), PICK_2((i) + 2, s, by)
#define PICK_8(i, s, by) PICK_4(i, s, by), PICK_4((i) + 4, s, by)
#define PICK_16(i, s, by) PICK_8(i, s, by), PICK_8((i) + 8, s, by)
#if VEC_LANES == 16
#define PICKS(s, by) PICK_16(0, s, by)
#elif VEC_LANES == 8
#define PICKS(s, by) PICK_8(0, s, by)
#elif VEC_LANES == 4
#define PICKS(s, by) PICK_4(0, s, by)
#else
#define PICKS(s, by) PICK_2(0, s, by)
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define PICK(a, b, s, by) __builtin_shufflevector(a, b, PICKS(s, by))
#else
#define PICK(a, b, s, by) __builtin_shuffle(a, b, (ivec){PICKS(s, by)})
#endif

/* Lane i is i. */
INLINE ivec vlanes(void) { return (ivec){PICKS(0, 0)}; }

/* Lane i of the result is lane i ^ s. */
INLINE vec vswap(vec v, int s) {
    (void)s;
#if VEC_LANES > 8
    if (s == 8)
        return PICK(v, v, 0, 8);
#endif
#if VEC_LANES > 4
    if (s == 4)
        return PICK(v, v, 0, 4);
#endif
#if VEC_LANES > 2
    if (s == 2)
        return PICK(v, v, 0, 2);
#endif
    return PICK(v, v, 0, 1);
}

/* Sums of lanes add neighbours, then pairs of neighbours, ...: every sum here keeps this order, so that a
 * row has the same bits alone and among eight. */
INLINE real vsum(vec v) {
    for (int s = 1; s < VL; s *= 2)
        v += vswap(v, s);
    return v[0];
}

/* Lane i becomes the sum of lanes 0 .. i. Where none is negative, the sums fall nowhere; the last one is vsum(*v). */
INLINE void vprefix_sums(vec *v) {
    vec sum = *v;
    for (int s = 1; s < VL; s *= 2) {
        const vec other = vswap(sum, s);
        *v += vselect((vlanes() & viset1(s)) != viset1(0), other, vset1(0));
        sum += other;
    }
}

/* Lane i: lanes i and i ^ s of a added, or, where i has bit s, of b. */
INLINE vec vpair(vec a, vec b, int s) {
#if VEC_LANES > 8
    if (s == 8)
        return PICK(a, b, 8, 0) + PICK(a, b, 8, 8);
#endif
#if VEC_LANES > 4
    if (s == 4)
        return PICK(a, b, 4, 0) + PICK(a, b, 4, 4);
#endif
#if VEC_LANES > 2
    if (s == 2)
        return PICK(a, b, 2, 0) + PICK(a, b, 2, 2);
#endif
    (void)s;
    return PICK(a, b, 1, 0) + PICK(a, b, 1, 1);
}

/* out[r] = vsum(v[r]) for `all` vectors, a constant power of two; v is overwritten. */
INLINE void vsums_of(int all, vec *v, real *out) {
    const int lanes = all < VL ? all : VL;
    /* Not a loop: compilers do not see that it has few turns. */
#define ADD_LANES(s)                                                                                 \
    if (VL > (s) && all > (s))                                                                       \
        UNROLL(8) for (int i = 0; i < all / (2 * (s)); i++) v[i] = vpair(v[2 * i], v[2 * i + 1], s); \
    else if (VL > (s))                                                                               \
        v[0] += vswap(v[0], s);
    ADD_LANES(1)
    ADD_LANES(2)
    ADD_LANES(4)
    ADD_LANES(8)
#undef ADD_LANES
    UNROLL(8)
    for (int i = 0; i < all / lanes; i++)
        memcpy(out + i * lanes, &v[i], lanes * sizeof(real));
}

/* The same for up to 31 vectors. */
INLINE void vsums(int count, vec *v, real *out) {
    if (count & 16)
        vsums_of(16, v, out);
    if (count & 8)
        vsums_of(8, v + (count & 16), out + (count & 16));
    if (count & 4)
        vsums_of(4, v + (count & 24), out + (count & 24));
    if (count & 2)
        vsums_of(2, v + (count & 28), out + (count & 28));
    if (count & 1)
        vsums_of(1, v + (count & 30), out + (count & 30));
}

/* v[i] becomes lane i of all VL vectors. */
INLINE void vtranspose(vec *v) {
    UNROLL(4)
    for (int s = 1; s < VL; s *= 2) {
        const ivec upper = (vlanes() & viset1(s)) != viset1(0);
        UNROLL(16)
        for (int i = 0; i < VL; i++)
            if (!(i & s)) {
                vec a = v[i], b = v[i + s];
                v[i] = vselect(upper, vswap(b, s), a);
                v[i + s] = vselect(upper, b, vswap(a, s));
            }
    }
}

#endif
