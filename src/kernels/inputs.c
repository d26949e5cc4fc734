#include "change.h"

/* Numbers that every later feature sees. */
static int32_t changes_of_numbers(input_spec spec, const real *codes, int32_t *at, int32_t *row, real *value) {
    const int32_t count = vnonzero(codes, spec.D - 1, 0, row, value);
    for (int32_t i = 0; i < count; i++) {
        at[i] = row[i] + 1;
        row[i] = (int32_t)spec.offsets[row[i]];
    }
    return count;
}

INLINE int all_numbers(input_spec spec) {
    uint8_t any = 0;
    for (int64_t d = 0; d < spec.D; d++)
        any |= spec.input_flags[d];
    return !any;
}

/* codes (D,) of one row -> at, row, value (capacity,); returns how many entries it wrote. */
static int32_t changes(input_spec spec, const real *codes, int32_t *at, int32_t *row, real *value) {
    if (spec.markov_order >= spec.D - 1 && all_numbers(spec))
        return changes_of_numbers(spec, codes, at, row, value);
    int32_t count = 0;
    /* Written in any case and kept by moving on. */
    for (int64_t a = 1; a < spec.D; a++) {
        at[count] = (int32_t)a;
        count += change_of(&spec, a - 1, codes[a - 1], row + count, value + count);
        if (a > spec.markov_order) {
            at[count] = (int32_t)a;
            const int leaves = change_of(&spec, a - 1 - spec.markov_order, codes[a - 1 - spec.markov_order],
                                         row + count, value + count);
            value[count] = -value[count];
            count += leaves;
        }
    }
    return count;
}

/* changes of the rows r0 .. r0 + n - 1 -> lists: first (D + 1,), r and index (first[D],), sorted by feature. */
static void by_feature(int64_t n, int64_t r0, int64_t D, changes_by_row changes, changes_by_feature lists) {
    const int32_t *at = changes.at + r0 * changes.capacity;
    memset(lists.first, 0, (D + 1) * sizeof(int32_t));
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < changes.count[r0 + r]; i++)
            lists.first[at[r * changes.capacity + i] + 1]++;
    for (int64_t d = 0; d < D; d++)
        lists.first[d + 1] += lists.first[d];
    /* Filling moves each start to its list's end, which is the next list's start. */
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = changes.count[r0 + r] - 1; i >= 0; i--) {
            int32_t j = lists.first[at[r * changes.capacity + i]]++;
            lists.r[j] = (int32_t)r;
            lists.index[j] = (int32_t)i;
        }
    memmove(lists.first + 1, lists.first, D * sizeof(int32_t));
    lists.first[0] = 0;
}

const inputs_table FASTAR_TABLE(inputs) = {changes, by_feature};
