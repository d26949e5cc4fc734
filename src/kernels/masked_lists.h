/* Inputs that come by lists of those that are not zero. For masked.c alone. */
#ifndef FASTAR_MASKED_LISTS_H
#define FASTAR_MASKED_LISTS_H

#include "masked_stairs.h"

#define LISTED listed_inputs

enum {
    REACH = 128,   /* rows of W that are taken at a time, 64 kB of a slab: from fewer a row of data adds too few, */
    PACK_FROM = 4, /* rows of data that are worth a copy of them, if they have as many entries */
};

/* `V` vectors of columns from j0 on, the last one of `left` lanes, of entries i .. i1 - 1: those of rows first ..
 * last - 1 show all of them. */
INLINE void gather_slab(int V, int64_t left, int64_t j0, int64_t i, int64_t i1, int32_t first, int32_t last,
                        const int32_t *row, const real *value, STAIRS stairs, const real *start, real *out) {
    const real *W = stairs.W + j0;
    vec sum[SLAB];
    UNROLL(8)
    for (int u = 0; u < V; u++)
        sum[u] = load(start + u * VL, u < V - 1 ? VL : left);
    for (; i < i1; i++) {
        const real *w = W + row[i] * stairs.columns;
        const vec x = vset1(value[i]);
        if (row[i] >= first && row[i] < last)
            UNROLL(8)
            for (int u = 0; u < V; u++)
                sum[u] = vfma(x, load(w + u * VL, u < V - 1 ? VL : left), sum[u]);
        else {
            const int64_t from = stairs.row_begin[row[i]] - j0;
            const int64_t to = least(stairs.row_end[row[i]] - j0, (V - 1) * VL + left);
            UNROLL(8)
            for (int u = 0; u < V; u++)
                sum[u] = vfma(x, load_range(w + u * VL, from - u * VL, to - u * VL), sum[u]);
        }
    }
    UNROLL(8)
    for (int u = 0; u < V; u++)
        store(out + u * VL, sum[u], u < V - 1 ? VL : left);
}

/* The first of the entries, sorted by row, whose row is not below a limit. */
INLINE int64_t first_from(int64_t count, const int32_t *row, int64_t limit) {
    int64_t low = 0;
    while (low < count) {
        int64_t middle = (low + count) / 2;
        if (row[middle] < limit)
            low = middle + 1;
        else
            count = middle;
    }
    return low;
}

/* x.row (n, capacity), of which row r has `count` entries -> column r of edge (chunks + 1, n). */
static void edges(int64_t r, int64_t rows, int32_t count, LISTED x, int32_t *edge) {
    int32_t i = 0;
    for (int64_t k = 0; k < rows; k += REACH, edge += x.n) {
        while (i < count && x.row[r * x.capacity + i] < k)
            i++;
        *edge = i;
    }
    *edge = count;
}

INLINE void store_activated(int activation, int64_t width, const vec *sum, real *out) {
    UNROLL(8)
    for (int u = 0; u < SLAB; u++)
        if (u * VL < width)
            store(out + u * VL, activation_of(activation, sum[u]), width - u * VL);
}

/* Entries i .. end - 1 of one row of data, or those before row `high`, by a slab of packed weights. */
INLINE void add_entries(int64_t i, int64_t end, const int32_t *row, const real *value, int64_t low, int64_t high,
                        const real *packed, int64_t width, const real *start, int activation, real *out) {
    vec sum[SLAB];
    UNROLL(8)
    for (int u = 0; u < SLAB; u++)
        sum[u] = start && u * VL < width ? load(start + u * VL, width - u * VL) : vset1(0);
    while (i < end && row[i] < low)
        i++;
    for (; i < end && row[i] < high; i++) {
        const real *w = packed + (row[i] - low) * WIDE;
        const vec x = vset1(value[i]);
        UNROLL(8)
        for (int u = 0; u < SLAB; u++)
            sum[u] = vfma(x, vload(w + u * VL), sum[u]);
    }
#define STORE(g) store_activated(g, width, sum, out)
    if (activation < 0)
        store_activated(-1, width, sum, out);
    else
        EACH_ACTIVATION(activation, STORE)
}

/* The same sums, in the same order, of entries before `end` without a copy of the weights: columns j0 .. j1 - 1. */
static void add_directly(int64_t i, int64_t end, const int32_t *row, const real *value, int64_t low, int64_t high,
                         int64_t j0, int64_t j1, STAIRS stairs, const real *start, int activation, real *out) {
    for (int64_t j = j0; j < j1;) {
        const int64_t width = j1 - j >= WIDE ? WIDE : least(VL, j1 - j), last = j + width - 1;
        const int64_t i0 = i + first_from(end - i, row + i, most(low, stairs.column_begin[j]));
        const int64_t i1 = i0 + first_from(end - i0, row + i0, least(high, stairs.column_end[last]));
        const int32_t all_from = (int32_t)stairs.column_begin[last], all_to = (int32_t)stairs.column_end[j];
        const real *from = start + j - j0;
        real *to = out + j - j0;
        if (width == WIDE)
            gather_slab(SLAB, VL, j, i0, i1, all_from, all_to, row, value, stairs, from, to);
        else
            gather_slab(1, width, j, i0, i1, all_from, all_to, row, value, stairs, from, to);
        if (activation >= 0)
            activate(1, width, activation, to, stairs.columns);
        j += width;
    }
}

/* Whether rows r0 .. r1 - 1 of data have enough entries in rows k .. k + REACH - 1 of W for a copy of these. */
INLINE int is_worth_a_copy(int64_t r0, int64_t r1, int64_t k, STAIRS stairs, LISTED x) {
    const int32_t *edge = x.edges + k / REACH * x.n;
    int64_t count = 0;
    for (int64_t r = r0; r < r1; r++)
        count += edge[x.n + r] - edge[r];
    return r1 - r0 >= PACK_FROM && count >= least(REACH, stairs.rows - k);
}

/* x (n, capacity), W (rows, columns), bias (columns,) -> out (n, columns), its rows r0 .. r1 - 1 and columns
 * j0 .. j1 - 1. packed (REACH, WIDE): scratch. */
static void gather(int64_t r0, int64_t r1, int64_t j0, int64_t j1, STAIRS stairs, LISTED x, const real *bias, int add,
                   int activation, real *out, real *packed) {
    const int64_t N = stairs.columns, first = stairs.column_begin[j0];
    const int64_t end = most(stairs.column_end[j1 - 1], first + (first < stairs.rows)); /* one turn at least */
    for (int64_t k = least(first, stairs.rows - 1) / REACH * REACH, next; k < end; k = next) {
        const int copied = is_worth_a_copy(r0, r1, k, stairs, x);
        for (next = k + REACH; !copied && next < end && !is_worth_a_copy(r0, r1, next, stairs, x);)
            next += REACH;
        const int64_t low = most(k, first), high = least(end, next);
        const int begins = k <= first, ends = next >= end;
        const int32_t *edge = x.edges + k / REACH * x.n, *past = x.edges + (high + REACH - 1) / REACH * x.n;
        if (copied && low < high)
            pack(low, high - low, j0, j1, WIDE, stairs, packed);
        for (int64_t r = r0; r < r1 && copied; r++) {
            real *to = out + r * N + j0;
            add_entries(edge[r], past[r], x.row + r * x.capacity, x.value + r * x.capacity, low, high, packed, j1 - j0,
                        begins && !add ? bias + j0 : to, ends ? activation : -1, to);
        }
        for (int64_t r = r0; r < r1 && !copied; r++) {
            real *to = out + r * N + j0;
            if (edge[r] < past[r] || begins || ends)
                add_directly(edge[r], past[r], x.row + r * x.capacity, x.value + r * x.capacity, low, high, j0, j1,
                             stairs, begins && !add ? bias + j0 : to, ends ? activation : -1, to);
        }
    }
}

/* r (count,), value (count,), panel (n, WIDE) -> V vectors of one row of gW, its columns begin .. end - 1. */
INLINE void scatter_row(int V, int64_t count, const int32_t *r, const real *value, const real *panel, int64_t begin,
                        int64_t end, real *gW) {
    vec sum[SLAB];
    UNROLL(8)
    for (int u = 0; u < V; u++)
        sum[u] = vset1(0);
    for (int64_t i = 0; i < count; i++) {
        const real *g = panel + r[i] * (int64_t)WIDE;
        const vec x = vset1(value[i]);
        UNROLL(8)
        for (int u = 0; u < V; u++)
            sum[u] = vfma(x, vload(g + u * VL), sum[u]);
    }
    UNROLL(8)
    for (int u = 0; u < V; u++)
        store_range(gW + u * VL, sum[u], begin - u * VL, end - u * VL);
}

/* The entries of rows k0 .. k1 - 1 of W, row by row. */
static void by_row(int64_t k0, int64_t k1, LISTED x, int32_t *first, int32_t *r_of, real *value) {
    const int32_t *edge = x.edges + k0 / REACH * x.n;
    memset(first, 0, (REACH + 1) * sizeof *first);
    for (int64_t r = 0; r < x.n; r++)
        for (int64_t i = edge[r]; i < edge[r + x.n]; i++)
            first[x.row[r * x.capacity + i] - k0 + 1]++;
    for (int64_t k = 0; k < k1 - k0; k++)
        first[k + 1] += first[k];
    /* Filling moves each start to its list's end, which is the next list's start. */
    for (int64_t r = 0; r < x.n; r++)
        for (int64_t i = edge[r]; i < edge[r + x.n]; i++) {
            const int32_t place = first[x.row[r * x.capacity + i] - k0]++;
            r_of[place] = (int32_t)r;
            value[place] = x.value[r * x.capacity + i];
        }
    memmove(first + 1, first, REACH * sizeof *first);
    first[0] = 0;
}

/* x (n, capacity), G (n, WIDE) for each slab of columns -> rows chunk * REACH .. of gW (rows, columns). r_of, value:
 * scratch for as many entries as these rows have. */
static void scatter(int64_t chunk, STAIRS stairs, LISTED x, const real *G, real *gW, int32_t *r_of, real *value) {
    const int64_t k0 = chunk * REACH, k1 = least(k0 + REACH, stairs.rows), N = stairs.columns;
    int32_t first[REACH + 1];
    by_row(k0, k1, x, first, r_of, value);
    for (int64_t k = k0; k < k1; k++)
        if (first[k - k0] == first[k - k0 + 1])
            memset(gW + k * N + stairs.row_begin[k], 0, (stairs.row_end[k] - stairs.row_begin[k]) * sizeof(real));
    for (int64_t j = stairs.row_begin[k0] / WIDE * WIDE; j < stairs.row_end[k1 - 1]; j += WIDE)
        for (int64_t k = k0; k < k1; k++) {
            const int64_t begin = most(0, stairs.row_begin[k] - j), end = least(WIDE, stairs.row_end[k] - j);
            const int32_t i = first[k - k0], count = first[k - k0 + 1] - i, half = WIDE / 2;
            const real *panel = G + j * x.n;
            if (begin >= end || count == 0)
                continue;
            if (begin >= half)
                scatter_row(SLAB / 2, count, r_of + i, value + i, panel + half, begin - half, end - half,
                            gW + k * N + j + half);
            else
                scatter_row(SLAB, count, r_of + i, value + i, panel, begin, end, gW + k * N + j);
        }
}

#endif
