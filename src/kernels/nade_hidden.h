/* The hidden layers of rows of data: their activation and the changes they go through. For nade.c alone. */
#ifndef FASTAR_NADE_HIDDEN_H
#define FASTAR_NADE_HIDDEN_H

#include "nade.h"
#include "tiles.h"
#include "vec_math.h"

#define PARAMS nade_params
#define UNITS nade_units
#define CHANGES changes_by_row
#define DRAW draw_spec

/* All that a change of a row's hidden layer touches; handed on by address, since copies of so many words made
 * of smaller stores stall. */
typedef struct {
    nade_sizes z;
    PARAMS p;
    CHANGES changes;
    UNITS units;
} layer;

/* Unrolled, so that arrays of WIDTH vectors live in registers. */
#define EACH_VECTOR(j) UNROLL(4) for (int j = 0; j < WIDTH; j++)

/* rho: the feature's factor of the pre-activation, 1 where there is none: that leaves every bit. */
INLINE vec activate(int activation, vec state, real rho) {
    if (activation == FASTAR_SIGMOID_UNIT)
        return vreciprocal(vset1(1) + state);
    state *= vset1(rho);
    return activation == FASTAR_SIGMOID ? vsigmoid(state)
         : activation == FASTAR_TANH    ? vtanh(state)
                                        : vmax(vset1(0), state);
}

/* The derivative by the pre-activation, in terms of the activation's own value. */
INLINE vec derivative(int activation, vec h) {
    return activation == FASTAR_TANH ? vset1(1) - h * h
         : activation == FASTAR_RELU ? vselect(h > vset1(0), vset1(1), vset1(0))
                                     : h * (vset1(1) - h);
}

/* The state that a pre-activation stands for. */
INLINE vec state_of(int activation, vec a) { return activation == FASTAR_SIGMOID_UNIT ? vexp(-a) : a; }

/* The state after a change by value * w; `factor` is exp(-value * w), or NULL. */
INLINE vec changed(int activation, vec state, vec w, const vec *factor, real value) {
    if (activation != FASTAR_SIGMOID_UNIT)
        return vfma(vset1(value), w, state);
    return state * (factor ? *factor : vexp(vset1(-value) * w));
}

/* The least and the greatest states of a row. */
typedef struct {
    vec least, greatest;
} extremes;

INLINE void widen(extremes *e, vec state) {
    e->least = vmin(e->least, state);
    e->greatest = vmax(e->greatest, state);
}

/* Whether exp(-a) or a product of it and a factor may have lost what a is: |a| > 41 (346 in double precision).
 * A factor that vexp had to clamp to 2^125 (2^1021) takes any state inside the range out of it. */
INLINE int out_of_range(extremes e) {
    const real bound = FASTAR_DOUBLE ? 0x1p500 : 0x1p60;
    return vany_negative((e.least < vset1(1 / bound)) | (e.greatest > vset1(bound)));
}

/* From its change number i on, row r keeps a itself, summed anew, and takes a sigmoid per change. */
static void saturate(const layer *l, int64_t r, int64_t i) {
    const int64_t first = r * l->changes.capacity, H = l->z.H, at = r * l->z.stride;
    for (int64_t k = 0; k < H; k += WIDTH * VL) {
        const int64_t width = H - k < WIDTH * VL ? H - k : WIDTH * VL;
        vec a[WIDTH], w[WIDTH];
        load_vectors(WIDTH, a, l->units.initial + at + k, WIDTH * VL);
        for (int64_t j = first; j <= first + i; j++) {
            load_vectors(WIDTH, w, l->p.W + l->changes.row[j] * H + k, width);
            EACH_VECTOR(u)
                a[u] = vfma(vset1(l->changes.value[j]), w[u], a[u]);
        }
        store_vectors(WIDTH, l->units.state + at + k, a, WIDTH * VL);
        EACH_VECTOR(u)
            a[u] = vsigmoid(a[u]);
        store_vectors(WIDTH, l->units.h + at + k, a, WIDTH * VL);
    }
    l->units.saturated[r] = 1;
}

INLINE void start_with(int activation, const layer *l, int64_t r) {
    extremes states = {vset1(1), vset1(1)};
    for (int64_t k = r * l->z.stride; k < (r + 1) * l->z.stride; k += VL) {
        vec state = state_of(activation, vload(l->units.initial + k));
        vstore(l->units.state + k, state);
        vstore(l->units.h + k, activate(activation, state, 1));
        widen(&states, state);
    }
    l->units.saturated[r] = 0;
    if (activation == FASTAR_SIGMOID_UNIT && out_of_range(states))
        saturate(l, r, -1);
}

/* A change of value 1 of a row whose state is exp(-a), by the table of factors. */
typedef struct {
    const real *factors; /* exp(-w) */
    real *state, *h;
    extremes states;
} step;

/* Whether change number i of row r is one. */
INLINE int is_step(const layer *l, int64_t r, int64_t i) {
    return l->z.activation == FASTAR_SIGMOID_UNIT && l->p.factors && !l->units.saturated[r] &&
           l->changes.value[r * l->changes.capacity + i] == 1;
}

INLINE step step_of(const layer *l, int64_t r, int64_t i) {
    const int64_t row = l->changes.row[r * l->changes.capacity + i], at = r * l->z.stride;
    return (step){l->p.factors + row * l->z.stride, l->units.state + at, l->units.h + at, {vset1(1), vset1(1)}};
}

/* The hidden units k .. k + VL - 1 after it. */
INLINE vec take_step(step *s, int64_t k) {
    const vec state = vload(s->state + k) * vload(s->factors + k), h = activate(FASTAR_SIGMOID_UNIT, state, 1);
    vstore(s->state + k, state);
    vstore(s->h + k, h);
    widen(&s->states, state);
    return h;
}

/* Change number i of row r, counted from the row's first. */
INLINE void change_with(int activation, const layer *l, int64_t r, int64_t i, real rho) {
    const int64_t H = l->z.H, at = r * l->z.stride;
    extremes states = {vset1(1), vset1(1)};
    if (activation == FASTAR_SIGMOID_UNIT && is_step(l, r, i)) {
        step s = step_of(l, r, i);
#pragma GCC unroll 4
        for (int64_t k = 0; k < H; k += VL)
            take_step(&s, k);
        states = s.states;
    } else {
        const real value = l->changes.value[r * l->changes.capacity + i];
        const real *w = l->p.W + l->changes.row[r * l->changes.capacity + i] * H;
        for (int64_t k = 0; k < H; k += VL) {
            vec wk = k + VL <= H ? vload(w + k) : vload_part(w + k, (int)(H - k));
            vec state = changed(activation, vload(l->units.state + at + k), wk, NULL, value);
            vstore(l->units.state + at + k, state);
            vstore(l->units.h + at + k, activate(activation, state, rho));
            widen(&states, state);
        }
    }
    if (activation == FASTAR_SIGMOID_UNIT && out_of_range(states))
        saturate(l, r, i);
}

/* call(g) with a constant g for an activation: each has a loop of its own. */
#define EACH_ACTIVATION(activation, call)                       \
    switch (activation) {                                       \
    case FASTAR_SIGMOID: call(FASTAR_SIGMOID); break;           \
    case FASTAR_SIGMOID_UNIT: call(FASTAR_SIGMOID_UNIT); break; \
    case FASTAR_TANH: call(FASTAR_TANH); break;                 \
    default: call(FASTAR_RELU);                                 \
    }

static void start(const layer *l, int64_t r) {
#define START(activation) start_with(activation, l, r)
    EACH_ACTIVATION(l->z.activation, START)
}

static void change(const layer *l, int64_t r, int64_t i, real rho){
#define CHANGE(activation) change_with(activation, l, r, i, rho)
    EACH_ACTIVATION(l -> units.saturated[r] ? FASTAR_SIGMOID : l->z.activation, CHANGE)}

INLINE void rescale_with(int activation, const layer *l, int64_t r, real rho) {
    for (int64_t k = r * l->z.stride; k < r * l->z.stride + l->z.H; k += VL)
        vstore(l->units.h + k, activate(activation, vload(l->units.state + k), rho));
}

/* The activation of a row's state: where nothing changes at a feature, which has a factor of its own all the same, or
 * after changes without activations. */
static void rescale(const layer *l, int64_t r, real rho){
#define RESCALE(activation) rescale_with(activation, l, r, rho)
    EACH_ACTIVATION(l -> units.saturated[r] ? FASTAR_SIGMOID : l->z.activation, RESCALE)}

INLINE real rho_of(const PARAMS *p, int64_t d) {
    return p->rho ? p->rho[d - 1] : 1;
}

/* W (rows, H) -> out (rows, stride): exp(sign * W), and ones beyond H. */
static void factors(int64_t rows, int64_t H, int64_t stride, int sign, const real *W, real *out) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t k = 0; k < stride; k += VL) {
            const real *w = W + row * H + k;
            vec wk = k + VL <= H ? vload(w) : k < H ? vload_part(w, (int)(H - k)) : vset1(0);
            vstore(out + row * stride + k, vexp(vset1(sign) * wk));
        }
}

#endif
