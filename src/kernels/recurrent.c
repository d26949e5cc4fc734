#include "recurrent.h"
#include "vec.h"

#define PARAMS FASTAR_TABLE_TYPE(recurrent_params)
#define STEP FASTAR_TABLE_TYPE(recurrent_step)

typedef FASTAR_TABLE_TYPE(recurrent) table_type;

enum { MOST_GATES = 4 };

INLINE vec get(const real *p, int64_t left) { return left >= VL ? vload(p) : vload_part(p, (int)left); }

INLINE void put(real *p, vec v, int64_t left) {
    if (left >= VL)
        vstore(p, v);
    else
        vstore_part(p, v, (int)left);
}

INLINE void put_gates(int G, const STEP *s, int64_t k, int64_t H, const vec *gate) {
    for (int g = 0; g < G && s->gates; g++)
        put(s->gates + g * H + k, gate[g], H - k);
}

/* Units k .. k + VL - 1 of a cell with G gates. */
INLINE void units(int cell, int G, const PARAMS *p, int64_t count, const int32_t *row, const real *value,
                  const STEP *s, int64_t k) {
    const int64_t H = p->H, left = H - k;
    vec x[MOST_GATES], a[MOST_GATES];
    for (int g = 0; g < G; g++) {
        x[g] = get(p->c + g * H + k, left);
        if (s->xpart)
            x[g] += get(s->xpart + g * H + k, left);
        a[g] = get(s->hpart + g * H + k, left);
    }
    for (int64_t i = 0; i < count; i++)
        for (int g = 0; g < G; g++)
            x[g] = vfma(vset1(value[i]), get(p->W + row[i] * G * H + g * H + k, left), x[g]);
    if (cell == FASTAR_CELL_TANH) {
        put(s->h_next + k, vtanh(x[0] + a[0]), left);
    } else if (cell == FASTAR_CELL_GRU) {
        const vec r = vsigmoid(x[0] + a[0]), z = vsigmoid(x[1] + a[1]), u = a[2] + get(p->d + k, left);
        const vec n = vtanh(vfma(r, u, x[2])), gates[] = {r, z, n, u};
        put(s->h_next + k, vfma(z, get(s->h + k, left) - n, n), left);
        put_gates(4, s, k, H, gates);
    } else {
        const vec i = vsigmoid(x[0] + a[0]), f = vsigmoid(x[1] + a[1]), g = vtanh(x[2] + a[2]);
        const vec o = vsigmoid(x[3] + a[3]), next = vfma(f, get(s->s + k, left), i * g), gates[] = {i, f, g, o};
        put(s->s_next + k, next, left);
        put(s->h_next + k, o * vtanh(next), left);
        put_gates(4, s, k, H, gates);
    }
}

#define ALL_UNITS(cell, G)                                                                         \
    for (int64_t k = 0; k < params.H; k += VL)                                                     \
    units(cell, G, &params, count, row, value, &step, k)

static void forward(int cell, PARAMS params, int64_t count, const int32_t *row, const real *value, STEP step) {
    if (cell == FASTAR_CELL_TANH)
        ALL_UNITS(FASTAR_CELL_TANH, 1);
    else if (cell == FASTAR_CELL_GRU)
        ALL_UNITS(FASTAR_CELL_GRU, 3);
    else
        ALL_UNITS(FASTAR_CELL_LSTM, 4);
}

static void tanh_backward(int64_t H, const STEP *s, const real *gh, real *gx) {
    for (int64_t k = 0; k < H; k += VL) {
        const vec h = get(s->h_next + k, H - k);
        put(gx + k, get(gh + k, H - k) * (vset1(1) - h * h), H - k);
    }
}

static void gru_backward(int64_t H, const STEP *s, const real *gh, real *gx, real *gu, real *gh_before) {
    const vec one = vset1(1);
    for (int64_t k = 0; k < H; k += VL) {
        const int64_t left = H - k;
        const vec g = get(gh + k, left), r = get(s->gates + k, left), z = get(s->gates + H + k, left);
        const vec n = get(s->gates + 2 * H + k, left), u = get(s->gates + 3 * H + k, left);
        const vec gz = g * (get(s->h + k, left) - n) * z * (one - z), gn = g * (one - z) * (one - n * n);
        const vec gr = gn * u * r * (one - r);
        put(gx + k, gr, left);
        put(gx + H + k, gz, left);
        put(gx + 2 * H + k, gn, left);
        put(gu + k, gr, left);
        put(gu + H + k, gz, left);
        put(gu + 2 * H + k, gn * r, left);
        put(gh_before + k, vfma(g, z, get(gh_before + k, left)), left);
    }
}

static void lstm_backward(int64_t H, const STEP *s, const real *gh, real *gs, real *gx) {
    const vec one = vset1(1);
    for (int64_t k = 0; k < H; k += VL) {
        const int64_t left = H - k;
        const vec g = get(gh + k, left), t = vtanh(get(s->s_next + k, left));
        const vec i = get(s->gates + k, left), f = get(s->gates + H + k, left);
        const vec c = get(s->gates + 2 * H + k, left), o = get(s->gates + 3 * H + k, left);
        const vec by_s = vfma(g * o, one - t * t, get(gs + k, left));
        put(gx + k, by_s * c * i * (one - i), left);
        put(gx + H + k, by_s * get(s->s + k, left) * f * (one - f), left);
        put(gx + 2 * H + k, by_s * i * (one - c * c), left);
        put(gx + 3 * H + k, g * t * o * (one - o), left);
        put(gs + k, by_s * f, left);
    }
}

static void backward(int cell, int64_t H, STEP step, const real *gh, real *gs, real *gx, real *gu, real *gh_before) {
    if (cell == FASTAR_CELL_TANH)
        tanh_backward(H, &step, gh, gx);
    else if (cell == FASTAR_CELL_GRU)
        gru_backward(H, &step, gh, gx, gu, gh_before);
    else
        lstm_backward(H, &step, gh, gs, gx);
}

const table_type FASTAR_TABLE(recurrent) = {forward, backward};
