/* Units of recurrent cells: what they do with their pre-activations, and the gradients of that; see recurrent.h. */
#ifndef FASTAR_CELLS_H
#define FASTAR_CELLS_H

#include "vec_math.h"

enum { FASTAR_TANH_CELL, FASTAR_GRU_CELL, FASTAR_LSTM_CELL };

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t gates_of(int cell) { return cell == FASTAR_TANH_CELL ? 1 : cell == FASTAR_GRU_CELL ? 3 : 4; }
INLINE int64_t slots_of(int cell) { return cell == FASTAR_TANH_CELL ? 1 : 4; }

/* Up to VL units of one sequence: from pre-activations x, H apart, the state after, and activations to `slots` if these
 * are not NULL. */
INLINE void cell_after(int cell, int64_t H, int64_t left, const real *x, const real *s, const real *m, real *slots,
                       real *after_s, real *after_m) {
    if (cell == FASTAR_TANH_CELL) {
        const vec h = vtanh(load(x, left));
        if (slots)
            store(slots, h, left);
        store(after_s, h, left);
    } else if (cell == FASTAR_GRU_CELL) {
        const vec r = vsigmoid(load(x, left)), z = vsigmoid(load(x + H, left)), q = load(x + 3 * H, left);
        const vec n = vtanh(vfma(r, q, load(x + 2 * H, left)));
        if (slots) {
            store(slots, r, left);
            store(slots + H, z, left);
            store(slots + 2 * H, n, left);
            store(slots + 3 * H, q, left);
        }
        store(after_s, vfma(z, load(s, left) - n, n), left);
    } else {
        const vec i = vsigmoid(load(x, left)), f = vsigmoid(load(x + H, left));
        const vec g = vtanh(load(x + 2 * H, left)), o = vsigmoid(load(x + 3 * H, left));
        const vec c = vfma(f, load(m, left), i * g);
        if (slots) {
            store(slots, i, left);
            store(slots + H, f, left);
            store(slots + 2 * H, g, left);
            store(slots + 3 * H, o, left);
        }
        store(after_m, c, left);
        store(after_s, o * vtanh(c), left);
    }
}

/* Up to VL units: gradients by `slots` from g, the gradient by the state after, to gx, which may be `slots`. gs: that
 * before, or NULL. gm: by the memory, after and then before. after_m: the memory after. */
INLINE void cell_before(int cell, int64_t H, int64_t left, const real *slots, const real *s, const real *m,
                        const real *after_m, const real *g, real *gx, real *gs, real *gm) {
    const vec one = vset1(1), gh = load(g, left);
    if (cell == FASTAR_TANH_CELL) {
        const vec h = load(slots, left);
        store(gx, gh * (one - h * h), left);
    } else if (cell == FASTAR_GRU_CELL) {
        const vec r = load(slots, left), z = load(slots + H, left), n = load(slots + 2 * H, left);
        const vec q = load(slots + 3 * H, left), gn = gh * (one - z) * (one - n * n);
        store(gx, gn * q * r * (one - r), left);
        store(gx + H, gh * (load(s, left) - n) * z * (one - z), left);
        store(gx + 2 * H, gn, left);
        store(gx + 3 * H, gn * r, left);
        if (gs)
            store(gs, vfma(gh, z, load(gs, left)), left);
    } else {
        const vec i = load(slots, left), f = load(slots + H, left), a = load(slots + 2 * H, left);
        const vec o = load(slots + 3 * H, left), c = vtanh(load(after_m, left));
        const vec gc = vfma(gh * o, one - c * c, load(gm, left));
        store(gx, gc * a * i * (one - i), left);
        store(gx + H, gc * load(m, left) * f * (one - f), left);
        store(gx + 2 * H, gc * i * (one - a * a), left);
        store(gx + 3 * H, gh * c * o * (one - o), left);
        store(gm, gc * f, left);
    }
}

#endif
