/* Hidden layers that rows of a walk share as long as their codes are the same: the particles of one row do until they
 * draw different values. For nade.c alone. */
#ifndef FASTAR_NADE_LAYERS_H
#define FASTAR_NADE_LAYERS_H

#include "change.h"
#include "nade_hidden.h"

typedef struct {
    int64_t n;                       /* hidden layers */
    uint8_t of[FASTAR_SAMPLE_ROWS];  /* the number of each row's hidden layer, */
    uint8_t row[FASTAR_SAMPLE_ROWS]; /* and of each hidden layer a row that has it */
} shared_layers;

/* By their bits, so that NaN equals itself. */
INLINE int same(int64_t count, const real *a, const real *b) { return !memcmp(a, b, count * sizeof(real)); }

static void copy_layer(const layer *l, int64_t from, int64_t to) {
    const int64_t stride = l->z.stride, capacity = l->changes.capacity, count = l->changes.count[from];
    real *of_units[] = {l->units.initial, l->units.state, l->units.h};
    for (int i = 0; i < 3; i++)
        memcpy(of_units[i] + to * stride, of_units[i] + from * stride, stride * sizeof(real));
    l->units.saturated[to] = l->units.saturated[from];
    l->changes.count[to] = (int32_t)count;
    memcpy(l->changes.row + to * capacity, l->changes.row + from * capacity, count * sizeof(int32_t));
    memcpy(l->changes.value + to * capacity, l->changes.value + from * capacity, count * sizeof(real));
}

/* Rows with other codes (n, D) of feature d than those with which they share get a hidden layer of their own. from
 * (layers,): the layer that it is a copy of. */
static void part(const layer *l, int64_t n, int64_t d, const real *codes, shared_layers *s, uint8_t *from) {
    const int64_t D = l->z.D, known = s->n;
    for (int64_t r = 0; r < n && known < n; r++) {
        const real *x = codes + r * D + d;
        if (same(1, x, codes + s->row[s->of[r]] * D + d))
            continue;
        int64_t i = known;
        while (i < s->n && !(from[i] == s->of[r] && same(1, x, codes + s->row[i] * D + d)))
            i++;
        if (i == s->n) {
            copy_layer(l, s->of[r], i);
            from[i] = s->of[r];
            s->row[i] = (uint8_t)r;
            s->n++;
        }
        s->of[r] = (uint8_t)i;
    }
}

/* Forget the layers that no row of n has. */
static void forget_layers(const layer *l, int64_t n, shared_layers *s) {
    int64_t place[FASTAR_SAMPLE_ROWS], known = 0;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t r = 0;
        while (r < n && s->of[r] != i)
            r++;
        if (r == n)
            continue;
        if (known < i)
            copy_layer(l, i, known);
        s->row[known] = (uint8_t)r;
        place[i] = known++;
    }
    for (int64_t r = 0; r < n; r++)
        s->of[r] = (uint8_t)place[s->of[r]];
    s->n = known;
}

/* The first of the features d .. end - 1 at which rows that share a layer have different codes (n, D), or `end`. */
static int64_t parting(int64_t n, int64_t D, int64_t d, int64_t end, const real *codes, const shared_layers *s) {
    for (int64_t r = 0; r < n && s->n < n; r++) {
        const real *x = codes + r * D, *y = codes + s->row[s->of[r]] * D;
        if (x == y || same(end - d, x + d, y + d))
            continue;
        end = d;
        while (same(1, x + end, y + end))
            end++;
    }
    return end;
}

INLINE void list_change(const layer *l, int64_t r, int64_t f, real sign, const input_spec *inputs, const real *codes) {
    const int64_t at = r * l->changes.capacity + l->changes.count[r];
    if (!change_of(inputs, f, codes[f], l->changes.row + at, l->changes.value + at))
        return;
    l->changes.value[at] *= sign;
    l->changes.count[r]++;
}

/* List what feature f changes in hidden layer r: its own code comes, and one leaves the Markov window. codes (D,): of a
 * row with that layer. */
INLINE void list_changes(const layer *l, int64_t r, int64_t f, const input_spec *inputs, const real *codes) {
    list_change(l, r, f, 1, inputs, codes);
    if (f >= inputs->markov_order)
        list_change(l, r, f - inputs->markov_order, -1, inputs, codes);
}

/* Hidden layer r after feature f, which is that of feature f + 1. Returns whether f changes it. */
INLINE int pass(const layer *l, int64_t r, int64_t f, const input_spec *inputs, const real *codes) {
    const real rho = rho_of(&l->p, f + 1);
    const int64_t first = l->changes.count[r];
    list_changes(l, r, f, inputs, codes);
    const int64_t end = l->changes.count[r];
    for (int64_t i = first; i < end; i++)
        change(l, r, i, rho);
    if (l->p.rho && first == end)
        rescale(l, r, rho);
    return first < end;
}

/* The states of n hidden layers after their changes from number from[r] on, without activations. A slab of hidden units
 * passes all layers, most of which change by the same rows of W. Returns the extremes of layer r in states[r]. */
INLINE void add_changes(int unit, const layer *l, int64_t n, const int32_t *from, extremes *states) {
    const int64_t H = l->z.H, stride = l->z.stride;
    for (int64_t k = 0; k < H; k += WIDTH * VL) {
        const int64_t width = H - k < WIDTH * VL ? H - k : WIDTH * VL;
        for (int64_t r = 0; r < n; r++) {
            const int64_t first = r * l->changes.capacity;
            vec state[WIDTH], w[WIDTH];
            load_vectors(WIDTH, state, l->units.state + r * stride + k, WIDTH * VL);
            for (int64_t i = first + from[r]; i < first + l->changes.count[r]; i++) {
                const real value = l->changes.value[i];
                if (unit && l->p.factors && value == 1) {
                    load_vectors(WIDTH, w, l->p.factors + l->changes.row[i] * stride + k, WIDTH * VL);
                    EACH_VECTOR(j)
                        state[j] *= w[j];
                } else {
                    load_vectors(WIDTH, w, l->p.W + l->changes.row[i] * H + k, width);
                    EACH_VECTOR(j)
                        state[j] = changed(unit ? FASTAR_SIGMOID_UNIT : FASTAR_SIGMOID, state[j], w[j], NULL, value);
                }
                EACH_VECTOR(j)
                    if (unit)
                        widen(states + r, state[j]);
            }
            store_vectors(WIDTH, l->units.state + r * stride + k, state, WIDTH * VL);
        }
    }
}

/* Hidden layer r, whose states left the range, after all its changes, one by one. */
static void change_again(const layer *l, int64_t r) {
    const int64_t count = l->changes.count[r];
    start(l, r);
    for (int64_t i = 0; i < count; i++)
        change(l, r, i, 1);
}

/* The hidden layers after the features first .. end - 1, whose outputs nothing needs. */
static void pass_over(const layer *l, int64_t first, int64_t end, const input_spec *inputs, const real *codes,
                      const shared_layers *s) {
    int32_t from[FASTAR_SAMPLE_ROWS];
    extremes states[FASTAR_SAMPLE_ROWS];
    for (int64_t r = 0; r < s->n; r++) {
        states[r] = (extremes){vset1(1), vset1(1)};
        from[r] = l->changes.count[r];
        for (int64_t f = first; f < end; f++)
            list_changes(l, r, f, inputs, codes + s->row[r] * l->z.D);
    }
    if (l->z.activation == FASTAR_SIGMOID_UNIT)
        add_changes(1, l, s->n, from, states);
    else
        add_changes(0, l, s->n, from, states);
    for (int64_t r = 0; r < s->n; r++)
        if (l->units.saturated[r] || out_of_range(states[r]))
            change_again(l, r);
}

/* initial (n, stride), or one row for all where initial_stride is 0, shift (n, o_D) or NULL -> the hidden layers that
 * rows share at feature `first`. They have the bits of a walk that takes features one by one, since `first` depends on
 * the other rows of the block. */
static shared_layers lead(const layer *l, int64_t n, int64_t first, const input_spec *inputs, const real *codes,
                          const real *initial, int64_t initial_stride, const real *shift) {
    const int64_t D = l->z.D, stride = l->z.stride, outputs = l->z.outputs[D];
    shared_layers s = {0};
    for (int64_t r = 0; r < n; r++) {
        const real *own = initial + r * initial_stride;
        if (r == 0 || (initial_stride && !same(stride, own, own - initial_stride)) ||
            (shift && !same(outputs, shift + r * outputs, shift + (r - 1) * outputs))) {
            memcpy(l->units.initial + s.n * stride, own, stride * sizeof(real));
            l->changes.count[s.n] = 0;
            start(l, s.n);
            s.row[s.n++] = (uint8_t)r;
        }
        s.of[r] = (uint8_t)(s.n - 1);
    }
    uint8_t from[FASTAR_SAMPLE_ROWS];
    for (int64_t f = 0, next; f < first; f = next) {
        part(l, n, f, codes, &s, from);
        next = parting(n, D, f + 1, first, codes, &s);
        pass_over(l, f, next, inputs, codes, &s);
    }
    for (int64_t r = 0; r < s.n && first; r++)
        rescale(l, r, rho_of(&l->p, first));
    return s;
}

#endif
