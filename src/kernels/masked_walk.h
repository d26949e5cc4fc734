/* Part of masked.c: sampling, with a row of data in each lane. */
#ifndef FASTAR_MASKED_WALK_H
#define FASTAR_MASKED_WALK_H

#define EACH_VECTOR(v) _Pragma("GCC unroll 4") for (int v = 0; v < 4; v++)

/* out[j] += sum over K of B[k, j] * units[k]. */
INLINE void group_product(int64_t K, const real *units, const real *B, int64_t width, real *out) {
    vec sum[GROUP][4];
    for (int j = 0; j < GROUP; j++)
        EACH_VECTOR(v)
            sum[j][v] = j < width ? vload(out + j * ROWS + v * VL) : vset1(0);
    for (int64_t k = 0; k < K; k++) {
        vec u[4];
        EACH_VECTOR(v)
            u[v] = vload(units + k * ROWS + v * VL);
#pragma GCC unroll 6
        for (int j = 0; j < GROUP; j++) {
            vec b = vset1(B[k * GROUP + j]);
            EACH_VECTOR(v)
                sum[j][v] = vfma(b, u[v], sum[j][v]);
        }
    }
    for (int j = 0; j < GROUP && j < width; j++)
        EACH_VECTOR(v)
            vstore(out + j * ROWS + v * VL, sum[j][v]);
}

/* What the units that were final before the block give to its columns, the first of which is `out`. */
static void from_before(int64_t block, const SAMPLED *edge, const real *units, real *out) {
    const masked_groups *g = &edge->groups;
    const int64_t g0 = g->block[block], g1 = g->block[block + 1];
    if (g0 == g1)
        return;
    int64_t low = g->first[g0], high = low;
    for (int64_t i = g0; i < g1; i++)
        high = most(high, g->first[i] + g->count[i]);
    for (int64_t k0 = low; k0 < high; k0 += SAMPLE_DEPTH)
        for (int64_t i = g0; i < g1; i++) {
            int64_t from = most(k0, g->first[i]);
            int64_t to = least(k0 + SAMPLE_DEPTH, g->first[i] + g->count[i]);
            if (from < to)
                group_product(to - from, units + from * ROWS,
                              edge->packed + g->offset[i] + (from - g->first[i]) * GROUP,
                              g->start[i + 1] - g->start[i], out + (g->start[i] - g->start[g0]) * ROWS);
        }
}

/* The same for sparse inputs. rows, values (ROWS, D); wide: VL rows of columns. */
static void from_entries(int64_t n, int64_t D, int64_t j0, int64_t j1, const SAMPLED *edge, const int32_t *counts,
                         const int32_t *rows, const real *values, real *wide, real *out) {
    const int64_t width = j1 - j0, stride = (width + VL - 1) / VL * VL;
    for (int64_t r0 = 0; r0 < n; r0 += VL) {
        for (int64_t r = r0; r < least(r0 + VL, n); r++)
            gather_row(counts[r], rows + r * D, values + r * D, j0, j1, edge->stairs, wide + (r - r0) * stride);
        for (int64_t j = 0; j < width; j += VL) {
            vec v[VL];
            for (int i = 0; i < VL; i++)
                v[i] = vload(wide + i * stride + j);
            vtranspose(v);
            for (int i = 0; i < VL && j + i < width; i++) {
                real *to = out + (j + i) * ROWS + r0;
                vstore(to, vload(to) + v[i]);
            }
        }
    }
}

/* Unit k, now final, to those columns j0 .. j1 - 1 of the present block that it reaches; `out` is column j0. */
static void spread(const STAIRS *stairs, int64_t k, const real *unit, int64_t j0, int64_t j1, real *out) {
    const real *w = stairs->W + k * stairs->columns;
    const int64_t end = least(stairs->row_end[k], j1);
    vec u[4];
    EACH_VECTOR(v)
        u[v] = vload(unit + v * VL);
    for (int64_t j = most(stairs->row_begin[k], j0); j < end; j++) {
        real *to = out + (j - j0) * ROWS;
        EACH_VECTOR(v)
            vstore(to + v * VL, vfma(vset1(w[j]), u[v], vload(to + v * VL)));
    }
}

static void spread_input(int64_t n, const input_spec *inputs, const STAIRS *stairs, int64_t d, const real *x,
                         int64_t j0, int64_t j1, real *out) {
    if (!inputs->one_hot[d]) {
        spread(stairs, d * inputs->Q, x, j0, j1, out);
        return;
    }
    const int64_t begin = most(stairs->row_begin[d * inputs->Q], j0);
    const int64_t end = least(stairs->row_end[d * inputs->Q], j1);
    for (int64_t r = 0; r < n; r++) {
        int32_t row;
        real value;
        if (!change_of(inputs, d, x[r], &row, &value))
            continue;
        const real *w = stairs->W + row * stairs->columns;
        for (int64_t j = begin; j < end; j++)
            out[(j - j0) * ROWS + r] += value * w[j];
    }
}

static void start_columns(const real *bias, int64_t j0, int64_t j1, real *out) {
    for (int64_t j = 0; j < j1 - j0; j++)
        EACH_VECTOR(v)
            vstore(out + j * ROWS + v * VL, vset1(bias[j0 + j]));
}

static void start_own_columns(int64_t n, const real *bias, int64_t columns, int64_t j0, int64_t j1, real *out) {
    for (int64_t j = 0; j < j1 - j0; j++)
        for (int64_t r = 0; r < ROWS; r++)
            out[j * ROWS + r] = r < n ? bias[r * columns + j0 + j] : 0;
}

static void activate_unit(int activation, real *unit) {
#define UNIT(g)                                                                                    \
    EACH_VECTOR(v)                                                                                 \
    vstore(unit + v * VL, activation_of(g, vload(unit + v * VL)))
    EACH_ACTIVATION(activation, UNIT)
}

/* Scratch: units (D inputs, then each hidden layer's), the block's outputs and noise, each ROWS numbers; a
 * feature's outputs (ROWS, P); VL rows of columns. */
static int64_t sample_scratch(WALK w) {
    int64_t units = w.D, widest = w.block * w.P;
    for (int64_t l = 0; l < w.n_layers; l++) {
        units += w.layers[l].stairs.columns;
        for (int64_t d0 = 0; d0 < w.D; d0 += w.block)
            widest = most(widest, w.final[l][least(d0 + w.block, w.D)] - w.final[l][d0]);
    }
    return (units + w.block * w.P + w.block + w.P) * ROWS + (widest + VL - 1) / VL * VL * VL;
}

typedef struct {
    WALK w;
    WALKED of;
    int64_t n, d0, d1, number; /* the block of features */
    int wanted;                /* whether any of its features is drawn or weighed */
    real *x, *out, *noise, *raw, *wide;
    int32_t *counts, *rows;
    real *values;
} walk_state;

/* Everything that the features before the block give to its units and outputs. */
static void begin_block(const walk_state *s) {
    const WALK *w = &s->w;
    const real *units = s->x;
    real *target = s->x + w->D * ROWS;
    for (int64_t l = 0; l < w->n_layers + s->wanted; l++) {
        const int last = l == w->n_layers;
        const int64_t j0 = last ? s->d0 * w->P : w->final[l][s->d0], j1 = last ? s->d1 * w->P : w->final[l][s->d1];
        const SAMPLED *edges[2] = {&w->layers[l], last ? w->direct : NULL};
        real *columns = last ? s->out : target + j0 * ROWS;
        if (w->own_bias) {
            const int64_t width = last ? w->D * w->P : w->layers[l].stairs.columns;
            start_own_columns(s->n, w->bias[l] + s->of.first * width, width, j0, j1, columns);
        } else
            start_columns(w->bias[l], j0, j1, columns);
        for (int e = 0; e < 2; e++) {
            const int from_inputs = e == 1 || l == 0;
            if (!edges[e] || !edges[e]->stairs.rows)
                continue;
            if (edges[e]->listed && j0 < j1)
                from_entries(s->n, w->D, j0, j1, edges[e], s->counts, s->rows, s->values, s->wide, columns);
            else if (!edges[e]->listed)
                from_before(s->number, edges[e], from_inputs ? s->x : units, columns);
        }
        if (!last) {
            units = target;
            target += w->layers[l].stairs.columns * ROWS;
        }
    }
}

/* Feature d is known: finish the units that waited for it, layer by layer. */
static void complete(const walk_state *s, int64_t d) {
    const WALK *w = &s->w;
    const real *x = s->x + d * ROWS;
    const int64_t o0 = s->d0 * w->P, o1 = s->wanted ? s->d1 * w->P : o0;
    if (w->direct->stairs.rows && s->wanted)
        spread_input(s->n, &w->inputs, &w->direct->stairs, d, x, o0, o1, s->out);
    real *units = s->x + w->D * ROWS;
    for (int64_t l = 0; l < w->n_layers; l++) {
        const int64_t *final = w->final[l];
        if (l == 0)
            spread_input(s->n, &w->inputs, &w->layers[0].stairs, d, x, final[s->d0],
                         final[s->d1], units + final[s->d0] * ROWS);
        const int last = l + 1 == w->n_layers;
        real *next = units + w->layers[l].stairs.columns * ROWS;
        const int64_t j0 = last ? o0 : w->final[l + 1][s->d0], j1 = last ? o1 : w->final[l + 1][s->d1];
        for (int64_t k = final[d]; k < final[d + 1]; k++) {
            activate_unit(w->activation, units + k * ROWS);
            spread(&w->layers[l + 1].stairs, k, units + k * ROWS, j0, j1, last ? s->out : next + j0 * ROWS);
        }
        units = next;
    }
}

/* to[d * ROWS + r] = from[r * D + d], or the other way round, for the block's features. */
static void turn(int to_lanes, const walk_state *s, real *by_row, real *by_lane) {
    const int64_t D = s->w.D;
    for (int64_t r0 = 0; r0 < s->n; r0 += VL)
        for (int64_t d = s->d0; d < s->d1; d += VL) {
            const int64_t rows = least(VL, s->n - r0), features = least(VL, s->d1 - d);
            real *row = by_row + r0 * D + d, *lane = by_lane + (d - s->d0) * ROWS + r0;
            vec v[VL];
            for (int i = 0; i < VL; i++)
                v[i] = to_lanes ? (i < rows ? load(row + i * D, features) : vset1(0))
                                : (i < features ? vload(lane + i * ROWS) : vset1(0));
            vtranspose(v);
            for (int i = 0; i < VL; i++)
                if (to_lanes ? i < features : i < rows)
                    store(to_lanes ? lane + i * ROWS : row + i * D, v[i], to_lanes ? VL : features);
        }
}

/* Feature d of a block of rows: weighed where it is held, drawn where it is free. */
static void choose(const walk_state *s, DRAW draw, int64_t d) {
    const WALK *w = &s->w;
    const WALKED *of = &s->of;
    real *raw = s->out + (d - s->d0) * w->P * ROWS, *x = s->x + d * ROWS;
    int64_t raw_stride = 1;
    if (w->P > 1) {
        for (int64_t p = 0; p < w->P; p++)
            for (int64_t r = 0; r < s->n; r++)
                s->raw[r * w->P + p] = raw[p * ROWS + r];
        raw = s->raw;
        raw_stride = w->P;
    }
    if (of->held)
        draw.weigh(s->n, w->D, d, w->feature[d], draw.spec, raw, raw_stride, *of);
    if (draw.n_noise == 1)
        draw.function(s->n, w->feature[d], draw.spec, raw, raw_stride, s->noise + (d - s->d0) * ROWS, 1, x);
    else
        draw.function(s->n, w->feature[d], draw.spec, raw, raw_stride, of->noise + d * draw.n_noise,
                      w->D * draw.n_noise, x);
    if (of->held)
        for (int64_t r = 0; r < s->n; r++)
            if (of->held[r * w->D + d] != FASTAR_FREE)
                x[r] = of->codes[r * w->D + d];
    for (int64_t r = s->n; r < ROWS; r++)
        x[r] = 0;
}

/* Hand out what was drawn, and enter it in the lists of sparse inputs. */
static void end_block(const walk_state *s) {
    const WALK *w = &s->w;
    real *codes = s->of.codes;
    if (s->wanted)
        turn(0, s, codes, s->x + s->d0 * ROWS);
    const int listed = w->layers[0].listed || w->direct->listed;
    for (int64_t r = 0; r < s->n && listed; r++) {
        int32_t count = s->counts[r], *rows = s->rows + r * w->D;
        real *values = s->values + r * w->D, *code = codes + r * w->D;
        if (w->inputs.Q == 1)
            for (int64_t d = s->d0; d < s->d1; d += VL) {
                const int left = (int)least(VL, s->d1 - d);
                count += vnonzero(load(code + d, left), left, (int32_t)d, rows + count, values + count);
            }
        else
            for (int64_t d = s->d0; d < s->d1; d++)
                count += change_of(&w->inputs, d, code[d], rows + count, values + count);
        s->counts[r] = count;
    }
}

/* Whether some row draws or weighs a feature from d0 to d1 - 1. */
static int is_wanted(int64_t n, int64_t D, int64_t d0, int64_t d1, const uint8_t *held) {
    if (!held)
        return 1;
    for (int64_t r = 0; r < n; r++)
        for (int64_t d = d0; d < d1; d++)
            if (held[r * D + d] != FASTAR_HELD)
                return 1;
    return 0;
}

static void sample(int64_t n, WALK walk, DRAW draw, WALKED walked, real *scratch, int32_t *counts, int32_t *rows,
                   real *values) {
    int64_t units = walk.D, end = walk.D;
    for (int64_t l = 0; l < walk.n_layers; l++)
        units += walk.layers[l].stairs.columns;
    walk_state s = {.w = walk, .of = walked, .n = n, .x = scratch, .counts = counts, .rows = rows, .values = values};
    s.out = s.x + units * ROWS;
    s.noise = s.out + walk.block * walk.P * ROWS;
    s.raw = s.noise + walk.block * ROWS;
    s.wide = s.raw + walk.P * ROWS;
    memset(counts, 0, n * sizeof *counts);
    while (end > 0 && !is_wanted(n, walk.D, end - 1, end, walked.held))
        end--;
    for (s.d0 = 0; s.d0 < end; s.d0 = s.d1, s.number++) {
        s.d1 = least(s.d0 + walk.block, walk.D);
        s.wanted = is_wanted(n, walk.D, s.d0, s.d1, walked.held);
        begin_block(&s);
        if (!s.wanted)
            turn(1, &s, walked.codes, s.x + s.d0 * ROWS);
        else if (draw.n_noise == 1)
            turn(1, &s, (real *)walked.noise, s.noise);
        for (int64_t d = s.d0; d < s.d1; d++) {
            if (s.wanted)
                choose(&s, draw, d);
            complete(&s, d);
        }
        end_block(&s);
    }
}

#endif
