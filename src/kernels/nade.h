/* NADE: one hidden layer shared by all features, its pre-activation updated from one to the next.
 *
 *     h_d = g(rho_d a_d), a_d = c + sum of value * W[row] over the changes at features <= d      (H,)
 *     raw_d = b_d + V_d h_d for d >= 1,  raw_0 = b_0                            (P_d,)
 *
 * rho_d is 1, or, as in RNADE (B. Uria, I. Murray, H. Larochelle, NIPS 2013), a parameter.
 *
 * Feature d has the outputs o_d .. o_(d + 1) - 1. W (.., H), V (o_D - o_1, H), b (o_D,), rho (D - 1,), raw (n, o_D),
 * row-major. */
#ifndef FASTAR_NADE_H
#define FASTAR_NADE_H

#include "conditionals.h"
#include "fastar.h"
#include "inputs.h"

/* FASTAR_SIGMOID_UNIT: the sigmoid with the state exp(-a), which a change of value 1 multiplies by exp(-w) from a
 * table: no exponential is taken. With few outputs a feature all changes are to have value 1 or -1. Not with a rho. */
enum { FASTAR_SIGMOID, FASTAR_TANH, FASTAR_RELU, FASTAR_SIGMOID_UNIT };

enum {
    FASTAR_MANY = 4,           /* outputs a feature, on average, from which products of register tiles pay */
    FASTAR_SAMPLE_ROWS = 16,   /* rows that one pass over the features of `sample` carries */
    FASTAR_WALK_OUTPUTS = 64,  /* outputs that it computes together, of several features */
    FASTAR_PLANNED_ROWS = 100, /* rows whose hidden units `backward` keeps near L1, the usual batch; */
    FASTAR_BACKWARD_ROWS = 50  /* with many outputs */
};

typedef struct {
    int64_t D, H;
    const int64_t *outputs; /* (D + 1,) o */
    int many;               /* whether there are FASTAR_MANY outputs a feature or more */
    int64_t widest;         /* the most outputs of two features, one after the other */
    int64_t stride;         /* of a row of hidden units in work space: H rounded up to whole slabs, zero beyond H */
    int activation;
} nade_sizes;

/* How backward goes through a block of FASTAR_PLANNED_ROWS rows with few outputs a feature: the outputs from the
 * second feature's first one on in groups of `pace`, from the last group to the first. */
typedef struct {
    int32_t calm, normal; /* rows in order that do not change in the group; those and others that are not saturated */
    int32_t first_step;
    int32_t first_row, n_rows; /* in `rows` */
} nade_group;

typedef struct {
    int32_t row;
    int32_t seen; /* whether an earlier group or block adds to its gradient: it is to be kept */
} nade_row;

typedef struct {
    double value;
    uint32_t tag;  /* the row of data, and the output behind which it changes */
    int32_t place; /* of its row of W among those of the group */
} nade_step;

typedef struct {
    nade_group *groups;
    uint8_t *order;   /* (groups, FASTAR_PLANNED_ROWS) rows of data: calm, others, saturated */
    nade_row *rows;   /* of W, as many as changes at most: those that change something in a group, group by group */
    uint8_t *seen;    /* (rows of W) whether this block, or one before it, adds to the row's gradient */
    nade_step *steps; /* one for each change, as they are taken back, and one more */
} nade_plan;

typedef struct {
    const real *W, *V, *b;
    const real *rho; /* or NULL: ones */
    /* (rows of W, stride) exp(-W), in backward exp(W), or NULL: taken where it is needed */
    const real *factors;
} nade_params;

/* The hidden units of a block of rows, each (n, stride) or (n,). */
typedef struct {
    real *initial;      /* pre-activations before the first feature */
    real *state;        /* running pre-activation a, or exp(-a) */
    real *h;            /* g(a) */
    uint8_t *saturated; /* not 0: `state` is a, for exp(-a) left the range where it is exact */
} nade_units;

/* The stages of a walk. The particles of a row of data, n_particles rows of the walk side by side, are resampled after
 * each stage in which their effective number is less than the share `least`. */
typedef struct {
    int64_t n_particles, n;
    const int64_t *ends; /* (n,) rising: of stages, each the feature after its last one */
    double least;
    const double *noise; /* (n, noise_stride) uniform, one number for each row of data */
    int64_t noise_stride;
} walk_stages;

typedef struct {
    int64_t slab; /* hidden units that `backward` takes at a time */
    int64_t pace; /* outputs of a group, where they are few */
    /* OUT exp(sign * W), sign 1 or -1 */
    void (*factors)(int64_t rows, int64_t H, int64_t stride, int sign, const real *W, real *factors);
    /* OUT: raw, units.state and .saturated after the last change. units.h, cursor (n): scratch. */
    void (*forward)(int64_t n, nade_sizes sizes, nade_params params, changes_by_row changes, nade_units units,
                    real *raw, int64_t *cursor);
    /* OUT plan, of the n rows from row r0 on: its groups g0 .. g1 - 1, all of them in parts that may be made
     * side by side, each with its own `seen`; that of the part with g0 = 0 is the plan's. */
    void (*plan)(int64_t n, int64_t r0, nade_sizes sizes, changes_by_row changes, int64_t n_W, const uint8_t *saturated,
                 int64_t g0, int64_t g1, nade_plan plan);
    /* Hidden units k0 .. k1 - 1 alone, k0 a multiple of slab, k1 too or H: gW, gV (their columns k0 .. k1 - 1,
     * overwritten; n_W rows of W), ga (n, stride), the gradient by units.initial, and, of grho (slabs, D - 1), the
     * share of each slab in the gradient by rho; NULL without rho. units.state, .saturated: what forward left. Without
     * `many` and rho plans of each FASTAR_PLANNED_ROWS rows, otherwise lists of each FASTAR_BACKWARD_ROWS. scratch:
     * backward_scratch(..) reals, aligned to 64 bytes. */
    void (*backward)(int64_t n, nade_sizes sizes, nade_params params, changes_by_row changes,
                     const changes_by_feature *lists, const nade_plan *plans, int64_t k0, int64_t k1, int64_t n_W,
                     nade_units units, const real *graw, real *gW, real *gV, real *grho, real *ga, real *scratch);
    int64_t (*backward_scratch)(int64_t n, nade_sizes sizes, int64_t width, int rescaled); /* width: k1 - k0 */
    /* n <= FASTAR_SAMPLE_ROWS, a multiple of stages.n_particles. initial (n, initial_stride), of one row for all where
     * that is 0. shift (n, o_D): added to raw, or NULL. units, changes (n, capacity), raw (2 n, raw_stride), drawn (n),
     * flags (D): scratch; raw_stride at least `widest` and FASTAR_WALK_OUTPUTS. */
    void (*sample)(int64_t n, nade_sizes sizes, nade_params params, input_spec inputs, changes_by_row changes,
                   draw_spec draw, walked_rows rows, walk_stages stages, const real *initial, int64_t initial_stride,
                   const real *shift, nade_units units, real *raw, int64_t raw_stride, real *drawn, uint8_t *flags);
    /* n <= lanes rows of codes (n, D) -> total (branches, lanes), log p of each with a feature at levels (branches,).
     * initial (n, initial_stride), of one row for all where that is 0. scratch: branches_scratch(..) reals. Every
     * feature sees all before it. */
    void (*branches)(int64_t n, nade_sizes sizes, nade_params params, input_spec inputs, draw_spec draw,
                     const real *codes, int64_t feature, int64_t n_branches, const real *levels, const real *initial,
                     int64_t initial_stride, const real *shift, real *scratch, double *total);
    int64_t (*branches_scratch)(nade_sizes sizes, int64_t n_branches);
    int64_t lanes;
} nade_table;

FASTAR_FAMILY(nade)

#endif
