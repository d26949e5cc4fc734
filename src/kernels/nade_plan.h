/* The plan of gradients where each feature has few outputs: which rows of data change within a group of PACE outputs,
 * and the steps by which they do. It is made once for all slabs of hidden units. For nade_few.h alone. */
#ifndef FASTAR_NADE_PLAN_H
#define FASTAR_NADE_PLAN_H

#include "nade_hidden.h"

INLINE uint32_t step_tag(int64_t group, int64_t r, int64_t o) {
    return (uint32_t)((group * FASTAR_PLANNED_ROWS + r) * PACE + o);
}

/* Rows by the outputs of the group behind which they change; saturated rows last. mask: these outputs of each row. */
static void order_rows(int64_t n, uint8_t *mask, const uint8_t *saturated, nade_group *group, uint8_t *order) {
    int32_t from[(1 << PACE) + 2] = {0};
    uint8_t others[FASTAR_PLANNED_ROWS];
    int32_t calm = 0, n_others = 0;
    for (int64_t r = 0; r < n; r++) { /* without branches, which would be mispredicted */
        mask[r] = saturated[r] ? 1 << PACE : mask[r];
        order[calm] = others[n_others] = (uint8_t)r;
        calm += mask[r] == 0;
        n_others += mask[r] != 0;
    }
    from[1] = calm;
    for (int32_t i = 0; i < n_others; i++)
        from[mask[others[i]] + 1]++;
    for (int i = 1; i <= 1 << PACE; i++)
        from[i + 1] += from[i];
    group->calm = calm;
    group->normal = from[1 << PACE];
    for (int32_t i = 0; i < n_others; i++)
        order[from[mask[others[i]]]++] = others[i];
}

/* The number, among those of the group, of a row of W. */
INLINE int32_t place_of(int32_t row, nade_group *group, nade_row *rows, uint8_t *seen) {
    int32_t i = group->n_rows;
    while (i > 0 && rows[i - 1].row != row)
        i--;
    if (i > 0)
        return i - 1;
    rows[group->n_rows] = (nade_row){row, seen[row]};
    seen[row] = 1;
    return group->n_rows++;
}

/* Feature d's first output, counted from those of the second feature on. */
INLINE int64_t output_of(const nade_sizes *z, int64_t d) { return z->outputs[d] - z->outputs[1]; }

/* changes of rows r0 .. r0 + n - 1, saturated (rows,) -> groups g0 .. g1 - 1 of the plan, with their order (groups,
 * FASTAR_PLANNED_ROWS), rows of W and steps. plan.seen (n_W,): scratch, and OUT with g0 = 0. */
static void plan(int64_t n, int64_t r0, nade_sizes z, CHANGES changes, int64_t n_W, const uint8_t *saturated,
                 int64_t g0, int64_t g1, nade_plan plan) {
    int32_t n_steps = 0;
    int64_t left[FASTAR_PLANNED_ROWS];
    memset(plan.seen, r0 > 0, n_W);
    /* Masks, before they make place for the order. */
    memset(plan.order + g0 * FASTAR_PLANNED_ROWS, 0, (g1 - g0) * FASTAR_PLANNED_ROWS);
    for (int64_t r = 0; r < n; r++) {
        const int64_t first = (r0 + r) * changes.capacity;
        int64_t i = changes.count[r0 + r], o;
        for (; i > 0 && output_of(&z, changes.at[first + i - 1]) >= g1 * PACE; i--, n_steps++)
            plan.seen[changes.row[first + i - 1]] = 1;
        for (left[r] = i; i > 0 && (o = output_of(&z, changes.at[first + i - 1])) >= g0 * PACE; i--)
            plan.order[o / PACE * FASTAR_PLANNED_ROWS + r] |= (uint8_t)(1 << o % PACE);
    }
    int32_t n_rows = n_steps; /* of the groups behind g1, at most */
    for (int64_t g = g1 - 1; g >= g0; g--) {
        nade_group *group = plan.groups + g;
        uint8_t mask[FASTAR_PLANNED_ROWS], *order = plan.order + g * FASTAR_PLANNED_ROWS;
        memcpy(mask, order, n);
        *group = (nade_group){.first_step = n_steps, .first_row = n_rows};
        order_rows(n, mask, saturated + r0, group, order);
        for (int64_t i = group->calm; i < n; i++) {
            const int64_t r = order[i], first = (r0 + r) * changes.capacity;
            for (; left[r] > 0; left[r]--) {
                const int64_t c = first + left[r] - 1, o = output_of(&z, changes.at[c]) - g * PACE;
                if (o < 0)
                    break;
                plan.steps[n_steps++] =
                    (nade_step){.value = changes.value[c],
                                .tag = step_tag(g, r, o),
                                .place = place_of(changes.row[c], group, plan.rows + n_rows, plan.seen)};
            }
        }
        n_rows += group->n_rows;
    }
    if (g0 == 0)
        plan.steps[n_steps].tag = UINT32_MAX;
}

#endif
