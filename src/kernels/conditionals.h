/* Output distributions p(x_d | raw_d): log-densities, their gradients by raw, and draws.
 *
 * raw (n, sum P), codes (n, D). Outputs: logp (n, D), total (n,) its row sums in double precision, and
 * in the gradient's case graw (n, sum P) = scale[r] * d logp / d raw. Nothing overflows for finite raw.
 * One kind is one file in conditionals/: <kind>_row, <kind>_draw and <kind>_mode. */
#ifndef FASTAR_CONDITIONALS_H
#define FASTAR_CONDITIONALS_H

#include "fastar.h"

/* The order of KINDS in bindings/_conditionals.pyx. */
enum {
    FASTAR_BERNOULLI,
    FASTAR_CATEGORICAL,
    FASTAR_GAUSSIAN,
    FASTAR_LAPLACE,
    FASTAR_GAUSSIAN_MIXTURE,
    FASTAR_LAPLACE_MIXTURE,
    FASTAR_LOGISTIC_MIXTURE,
    FASTAR_POISSON,
    FASTAR_NEGATIVE_BINOMIAL,
    FASTAR_INTEGER,
};

enum { FASTAR_COMPONENTS = 256 }; /* of a mixture, at most */

typedef struct {
    int32_t kind;
    int32_t count;    /* levels of a categorical, components of a mixture */
    double unit;      /* counts: of a code of one; levels: half the distance of two codes; integers: half a step */
    double floor;     /* smallest variance (Gaussian) or scale (Laplace, logistic) */
    double low, high; /* levels: codes of the lowest and the highest; integers: sinh of these; categorical: log mass of
                         what is no level, and of those that are */
    /* A feature that another one of its column decides on; where it does not apply, its code is NaN. */
    int32_t parent;           /* how many features back that one lies; 0: none does */
    int32_t applies;          /* this one applies where the parent's code is so; -1: where it is a level */
    int32_t last, last_count; /* levels (categorical) where the parent's code is `last` */
} feature_spec;

/* Codes of a walk: feature d's of row r is x[r * row], that of the feature j before it x[r * row - j * feature]. NULL
 * where no feature has a parent. */
typedef struct {
    const real *x;
    int64_t row, feature;
} earlier_codes;

/* The treatment of a code in a walk from feature to feature: it keeps it, draws it, keeps it and weighs it, or draws it
 * within a region and weighs the region. */
enum { FASTAR_OBSERVED, FASTAR_SAMPLED, FASTAR_WEIGHTED, FASTAR_BOUNDED };

/* Codes from first to last. */
typedef struct {
    double first, last;
} code_run;

/* Region i is the runs begin[i] .. begin[i + 1] - 1, rising. A code that is to be BOUNDED is the number of its region;
 * of a feature that applies where its parent's code is a level, the region is as many further as that code says. */
typedef struct {
    const code_run *runs;
    const int64_t *begin;
    const int64_t *further; /* of each run: how many regions further the one of the next feature is, given its codes */
    int64_t n_noise;        /* numbers that one draw uses up */
} region_spec;

typedef struct {
    const feature_spec *features; /* (D,) */
    const int64_t *outputs; /* (D + 1,) feature d's outputs are outputs[d] .. outputs[d + 1] - 1 of a row of raw */
    int64_t n_stretches;
    const int32_t *stretches; /* (n_stretches + 1,) first features of stretches of one kind and width, and D */
    int may_miss;             /* codes may be NaN: they have no density, log p = 0 */
    double temperature;       /* of a draw: from density^(1 / temperature), normalised */
    double top_p;             /* levels are drawn from the most probable ones that have this share of the mass, */
    int64_t top_k;            /* and from so many at most; 0: from any number */
    region_spec regions;
} conditional_spec;

/* One value for each of n rows of feature d. Row r's outputs are raw[r * raw_stride ..], which may be
 * overwritten, and its noise is noise[r * noise_stride ..]. */
typedef void (*draw_function)(int64_t n, int64_t d, conditional_spec spec, real *raw, int64_t raw_stride,
                              const real *noise, int64_t noise_stride, earlier_codes earlier, real *codes);
/* The rows of a walk, (n, D, ..) or (n,). */
typedef struct {
    int64_t first;       /* the number of the first one */
    const real *noise;   /* (n, D, n_noise) */
    const uint8_t *held; /* (n, D) FASTAR_SAMPLED, _OBSERVED, _WEIGHTED or _BOUNDED; NULL: all are sampled */
    real *codes;         /* (n, D) IN what is held, OUT what is drawn */
    double *weight;      /* (n,) to which log p of the codes, or of the regions, that are weighed is added */
} walked_rows;

/* Add to weight[r] log p of feature d's codes that are weighed, by their outputs raw[r * raw_stride ..]; draw those
 * that are bounded, and overwrite their outputs. */
typedef void (*weigh_function)(int64_t n, int64_t D, int64_t d, int64_t feature, conditional_spec spec, real *raw,
                               int64_t raw_stride, walked_rows rows);
/* The same of n rows, one in each lane, without bounds: raw (P, lanes), the code of row r codes.x[r * codes.row].
 * row (P,): scratch. */
typedef void (*weigh_lanes_function)(int64_t n, int64_t d, conditional_spec spec, const real *raw, earlier_codes codes,
                                     real *row, double *weight);
typedef struct {
    draw_function function;
    weigh_function weigh;
    weigh_lanes_function weigh_lanes;
    int64_t n_noise; /* numbers that one draw uses up */
    conditional_spec spec;
} draw_spec;

typedef struct {
    void (*log_prob)(int64_t n, int64_t D, conditional_spec spec, const real *raw, const real *codes, real *logp,
                     double *total);
    void (*gradient)(int64_t n, int64_t D, conditional_spec spec, const real *raw, const real *codes, const real *scale,
                     real *logp, double *total, real *graw);
    draw_function draw;
    /* The most probable code from noise[0] to noise[1], two codes; of mixtures of Gaussians a local one. */
    draw_function mode;
    weigh_function weigh;
    weigh_lanes_function weigh_lanes;
} conditionals_table;

FASTAR_FAMILY(conditionals)

#endif
