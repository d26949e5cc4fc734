/* Sampling from masked networks, a block of features after the other. For masked.c alone. */
#ifndef FASTAR_MASKED_WALK_H
#define FASTAR_MASKED_WALK_H

#include "change.h"
#include "masked_blocks.h"
#include "vec_shuffles.h"

#define WALK masked_walk
#define DRAW draw_spec
#define WALKED walked_rows

/* Scratch: units (D inputs, then each hidden layer's), the block's outputs and noise, each ROWS numbers; a
 * feature's outputs, row by row; sums (ROWS, columns) of what listed inputs gave to the first layer, and to the
 * outputs. */
static int64_t sample_scratch(WALK w) {
    int64_t numbers = w.D + w.block_outputs + w.block + w.feature_outputs;
    for (int64_t l = 0; l < w.n_layers; l++)
        numbers += w.layers[l].stairs.columns;
    if (w.layers[0].blocks.listed)
        numbers += pushed_stride(&w.layers[0]);
    if (w.direct->blocks.listed)
        numbers += pushed_stride(w.direct);
    return numbers * ROWS;
}

typedef struct {
    WALK w;
    WALKED of;
    int64_t n, d0, d1, number; /* the block of features */
    int wanted;                /* whether any of its features is drawn or weighed */
    int numbers;               /* whether the inputs are a number of each feature */
    real *x, *out, *noise, *raw;
    real *sums[2]; /* of the first layer and the outputs; NULL where inputs are not listed */
    int32_t *counts, *rows;
    real *values;
} walk_state;

static void start_columns(const walk_state *s, int64_t l, int64_t j0, int64_t j1, real *out) {
    const WALK *w = &s->w;
    const int64_t width = l == w->n_layers ? w->outputs[w->D] : w->layers[l].stairs.columns;
    const real *bias = w->bias[l] + (w->own_bias ? s->of.first * width : 0);
    if (w->own_bias)
        for (int64_t j = 0; j < j1 - j0; j++)
            for (int64_t r = 0; r < ROWS; r++)
                out[j * ROWS + r] = r < s->n ? bias[r * width + j0 + j] : 0;
    else
        for (int64_t j = 0; j < j1 - j0; j++)
            EACH_QUARTER(v)
    vstore(out + j * ROWS + v * VL, vset1(bias[j0 + j]));
}

static void start_sums(const walk_state *s, int64_t l, const SAMPLED *edge, real *sums) {
    const int64_t stride = pushed_stride(edge), columns = edge->stairs.columns;
    const real *bias = s->w.bias[l] + (s->w.own_bias ? s->of.first * columns : 0);
    for (int64_t r = 0; r < s->n; r++, sums += stride) {
        memcpy(sums, bias + (s->w.own_bias ? r * columns : 0), columns * sizeof(real));
        memset(sums + columns, 0, (stride - columns) * sizeof(real));
    }
}

/* Everything that the features before the block give to its units and outputs. */
static void begin_block(const walk_state *s) {
    const WALK *w = &s->w;
    const real *units = s->x;
    real *target = s->x + w->D * ROWS;
    for (int64_t l = 0; l < w->n_layers + s->wanted; l++) {
        const int last = l == w->n_layers;
        const int64_t *begins = last ? w->outputs : w->final[l], j0 = begins[s->d0], j1 = begins[s->d1];
        const SAMPLED *layer = &w->layers[l];
        real *columns = last ? s->out : target + j0 * ROWS, *sums = last ? s->sums[1] : l == 0 ? s->sums[0] : NULL;
        if (sums)
            take_columns(s->n, pushed_stride(last ? w->direct : layer), j0, j1, sums, columns);
        else
            start_columns(s, l, j0, j1, columns);
        if (layer->stairs.rows && !layer->blocks.listed)
            from_before(s->number, layer, units, columns);
        if (last && w->direct->stairs.rows && !w->direct->blocks.listed)
            from_before(s->number, w->direct, s->x, columns);
        if (!last) {
            units = target;
            target += layer->stairs.columns * ROWS;
        }
    }
}

/* Feature d is known: finish the units that waited for it, layer by layer. */
static void complete(const walk_state *s, int64_t d) {
    const WALK *w = &s->w;
    const real *x = s->x + d * ROWS;
    const int64_t o0 = w->outputs[s->d0], o1 = s->wanted ? w->outputs[s->d1] : o0;
    if (w->direct->stairs.rows && s->wanted)
        spread_input(s->n, &w->inputs, w->direct, s->number, d, x, o0, o1, s->out);
    real *units = s->x + w->D * ROWS;
    for (int64_t l = 0; l < w->n_layers; l++) {
        const int64_t *final = w->final[l];
        if (l == 0)
            spread_input(s->n, &w->inputs, &w->layers[0], s->number, d, x, final[s->d0], final[s->d1],
                         units + final[s->d0] * ROWS);
        const int last = l + 1 == w->n_layers;
        real *next = units + w->layers[l].stairs.columns * ROWS;
        const int64_t j0 = last ? o0 : w->final[l + 1][s->d0], j1 = last ? o1 : w->final[l + 1][s->d1];
        for (int64_t k = final[d]; k < final[d + 1]; k++) {
            activate_unit(w->activation, units + k * ROWS);
            spread(&w->layers[l + 1], s->number, k, units + k * ROWS, j0, j1, last ? s->out : next + j0 * ROWS);
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
            for (int i = 0; i < rows; i++)
                __builtin_prefetch(row + i * D + s->d1 - s->d0);
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
    const int64_t width = w->outputs[d + 1] - w->outputs[d];
    real *raw = s->out + (w->outputs[d] - w->outputs[s->d0]) * ROWS, *x = s->x + d * ROWS;
    const earlier_codes earlier = {x, 1, ROWS};
    if (width > 1) {
        turn_outputs(s->n, width, raw, s->raw);
        raw = s->raw;
    }
    if (of->held)
        draw.weigh(s->n, w->D, d, w->feature[d], draw.spec, raw, width, *of);
    if (draw.n_noise == 1)
        draw.function(s->n, w->feature[d], draw.spec, raw, width, s->noise + (d - s->d0) * ROWS, 1, earlier, x);
    else
        draw.function(s->n, w->feature[d], draw.spec, raw, width, of->noise + d * draw.n_noise, w->D * draw.n_noise,
                      earlier, x);
    if (of->held)
        for (int64_t r = 0; r < s->n; r++)
            if (of->held[r * w->D + d] != FASTAR_SAMPLED)
                x[r] = of->codes[r * w->D + d];
    for (int64_t r = s->n; r < ROWS; r++)
        x[r] = 0;
}

/* Hand out what was drawn, and push what listed inputs give to later blocks. */
static void end_block(const walk_state *s) {
    const WALK *w = &s->w;
    real *codes = s->of.codes;
    if (s->wanted)
        turn(0, s, codes, s->x + s->d0 * ROWS);
    if (!s->sums[0] && !s->sums[1])
        return;
    for (int64_t r = 0; r < s->n; r++) {
        int32_t count = 0, *rows = s->rows + r * w->block;
        real *values = s->values + r * w->block, *code = codes + r * w->D;
        if (s->numbers)
            count = vnonzero(code + s->d0, s->d1 - s->d0, (int32_t)s->d0, rows, values);
        else
            for (int64_t d = s->d0; d < s->d1; d++)
                count += change_of(&w->inputs, d, code[d], rows + count, values + count);
        for (int32_t i = 0; i < count; i++)
            rows[i] -= (int32_t)w->inputs.offsets[s->d0];
        s->counts[r] = count;
    }
    const SAMPLED *edges[2] = {&w->layers[0], w->direct};
    const int64_t next[2] = {w->n_layers ? w->final[0][s->d1] : 0, w->outputs[s->d1]};
    for (int e = 0; e < 2; e++)
        if (s->sums[e])
            push(s->n, w->block, s->counts, s->rows, s->values, edges[e], s->number, next[e], s->sums[e]);
}

/* Whether some row draws or weighs a feature from d0 to d1 - 1. */
static int is_wanted(int64_t n, int64_t D, int64_t d0, int64_t d1, const uint8_t *held) {
    if (!held)
        return 1;
    for (int64_t r = 0; r < n; r++)
        for (int64_t d = d0; d < d1; d++)
            if (held[r * D + d] != FASTAR_OBSERVED)
                return 1;
    return 0;
}

/* noise (n, D, n_noise) -> codes (n, D) where they are not held, weight (n,). scratch (sample_scratch,), counts
 * (ROWS,), rows and values (ROWS, block): scratch. */
static void sample(int64_t n, WALK walk, DRAW draw, WALKED walked, real *scratch, int32_t *counts, int32_t *rows,
                   real *values) {
    int64_t units = walk.D, end = walk.D;
    for (int64_t l = 0; l < walk.n_layers; l++)
        units += walk.layers[l].stairs.columns;
    walk_state s = {.w = walk, .of = walked, .n = n, .x = scratch, .counts = counts, .rows = rows, .values = values};
    s.out = s.x + units * ROWS;
    s.noise = s.out + walk.block_outputs * ROWS;
    s.raw = s.noise + walk.block * ROWS;
    real *sums = s.raw + walk.feature_outputs * ROWS;
    for (int e = 0; e < 2; e++) {
        const SAMPLED *edge = e ? walk.direct : walk.layers;
        if (!edge->blocks.listed)
            continue;
        s.sums[e] = sums;
        sums += pushed_stride(edge) * ROWS;
        start_sums(&s, e ? walk.n_layers : 0, edge, s.sums[e]);
    }
    s.numbers = walk.inputs.offsets[walk.D] == walk.D;
    for (int64_t d = 0; d < walk.D; d++)
        s.numbers &= !walk.inputs.input_flags[d];
    while (end > 0 && !is_wanted(n, walk.D, end - 1, end, walked.held))
        end--;
    for (s.d0 = 0; s.d0 < end; s.d0 = s.d1, s.number++) {
        s.d1 = walk.begin[s.number + 1];
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
