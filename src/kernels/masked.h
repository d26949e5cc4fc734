/* Masked networks: weights W (rows, columns), row-major, whose mask is a staircase.
 *
 * With the units of every layer sorted by degree, row k of W reaches the columns row_begin[k] .. row_end[k] - 1
 * and column j is reached by the rows column_begin[j] .. column_end[j] - 1; all four rise with their index.
 * What W holds outside of its stairs is never used: kernels skip whole steps, and mask broken ones.
 *
 * Matrices of a block of rows of data are row-major with a stride; sampling has a row of data in each lane
 * instead, so that unit k is the sample_rows numbers from k * sample_rows on. */
#ifndef FASTAR_MASKED_H
#define FASTAR_MASKED_H

#include "conditionals.h"
#include "fastar.h"
#include "inputs.h"

enum { FASTAR_MASKED_SIGMOID, FASTAR_MASKED_TANH, FASTAR_MASKED_RELU };

/* One weight matrix as sampling reads it, a block of features after the other. What the rows that are final when a
 * block begins give to its columns is a product with packed weights, a group of columns at a time; rows that become
 * final within it are in its panel. Listed inputs give to all later columns when their block ends: their panels have
 * whole rows, from about the first column that the block gives to. */
typedef struct {
    int listed;                  /* inputs most of which are zero */
    int64_t group;               /* columns in a group */
    const int64_t *start;        /* (groups + 1,) first column of each group, rising */
    const int64_t *first;        /* (groups,) rows first[g] .. first[g] + count[g] - 1 are packed, */
    const int64_t *count;        /* (groups,) `group` numbers each, */
    const int64_t *offset;       /* (groups,) from here on */
    const int64_t *block;        /* (blocks + 1,) first group of each block of features */
    const int64_t *panel_first;  /* (blocks,) first row of each panel, */
    const int64_t *panel_stride; /* (blocks,) whole vectors from row to row, */
    const int64_t
        *panel_column; /* (blocks,) their first column: the block's, or of listed inputs one that it gives to, */
    const int64_t *panel_offset; /* (blocks,) from here on */
} masked_blocks;

typedef struct {
    int64_t rows, columns;
    const int64_t *row_begin, *row_end, *column_begin, *column_end;
    const real *W;
} staircase;

/* Rows of data whose inputs are few: row r is the sum of value[r, i] times row[r, i] of a matrix. */
typedef struct {
    int64_t n, capacity;
    const int32_t *row;   /* (n, capacity), rising in each row, */
    const real *value;    /* and their factors */
    const int32_t *edges; /* (chunks + 1, n): the first entry not before row chunk * reach; last their number */
} listed_inputs;

/* Weights as sampling reads them. */
typedef struct {
    staircase stairs;
    masked_blocks blocks;
    const real *packed;
} sampled_weights;

typedef struct {
    int64_t D, n_layers;                           /* n_layers hidden ones */
    const int64_t *outputs;                        /* (D + 1,) where the outputs of the k-th feature begin */
    const int64_t *begin;                          /* (blocks + 1,) first feature of each block, and D */
    int64_t block, block_outputs, feature_outputs; /* most features and outputs of a block, most outputs of a feature */
    int activation;
    input_spec inputs;
    const int64_t *const *final;   /* for each hidden layer (D + 1,): units known after so many features */
    const sampled_weights *layers; /* (n_layers + 1): into each hidden layer, and the outputs; */
    const sampled_weights *direct; /* from the inputs to the outputs; stairs.rows = 0: none */
    const real *const *bias;       /* (n_layers + 1) each (columns,), */
    int own_bias;                  /* or (rows of data, columns) */
    const int32_t *feature;        /* (D,) the conditional's number of the k-th feature */
} masked_walk;

typedef struct {
    int64_t depth;       /* rows of a panel that `product` should be given at most */
    int64_t width;       /* columns in a panel */
    int64_t sample_rows; /* that `sample` takes at most */
    int64_t group;       /* columns in a group of sampling */
    int64_t stride;      /* of which those of listed inputs' panels are multiples, zero beyond the columns */
    /* OUT packed: rows first .. first + count - 1 of W in columns j0 .. j1 - 1, `width` apart, zero beyond and
     * where the stairs hide them. width: of a panel, of a group, or whole vectors. */
    void (*pack)(int64_t first, int64_t count, int64_t j0, int64_t j1, int64_t width, staircase stairs, real *packed);
    /* out (n, columns) = g(bias + A W), or, if `add`, += A W, in its columns j0 .. j1 - 1 <= j0 + panel: the share
     * of rows k0 .. k1 - 1 of W, k1 - k0 <= depth. In turn from the first rows to the last. activation: -1
     * for none. next: the column from which on a call is to follow, which is fetched; or `columns`.
     * packed: scratch (depth, panel). */
    void (*forward)(int64_t n, int64_t k0, int64_t k1, int64_t j0, int64_t j1, int64_t next, staircase stairs,
                    const real *A, const real *bias, int add, int activation, real *out, real *packed);
    /* gh (n, rows) = (G W^T) * g'(a), where h = g(a), in its columns k0 .. k1 - 1 <= k0 + panel. next: as
     * above, of rows. packed: scratch (columns that these rows reach, panel). */
    void (*backward)(int64_t n, int64_t k0, int64_t k1, int64_t next, staircase stairs, const real *G, int activation,
                     const real *h, real *gh, real *packed);
    /* to (n, to_row) = from (n, width), zero beyond. */
    void (*copy_columns)(int64_t n, int64_t width, const real *from, int64_t from_row, real *to, int64_t to_row);
    /* OUT gW: its columns j0 .. j1 - 1, j1 - j0 <= panel, of rows k0 .. k1 - 1, where they belong to the
     * stairs: A^T G over n rows of data. A (n, k1 - k0), G (n, panel): these rows and columns. */
    void (*outer)(int64_t n, int64_t k0, int64_t k1, int64_t j0, int64_t j1, staircase stairs, const real *A,
                  int64_t a_row, const real *G, real *gW);
    int64_t slab;  /* columns, and */
    int64_t reach; /* rows of W that `gather` and `scatter` take at a time */
    /* OUT edge: column r of x.edges. rows: of W; count: entries of row r. */
    void (*edges)(int64_t r, int64_t rows, int32_t count, listed_inputs x, int32_t *edge);
    /* out (n, columns) = g(bias + sum of value * W[row]), or, if `add`, += that sum, in its rows r0 .. r1 - 1
     * and columns j0 .. j1 - 1 <= j0 + slab. packed: scratch (reach, slab). */
    void (*gather)(int64_t r0, int64_t r1, int64_t j0, int64_t j1, staircase stairs, listed_inputs x, const real *bias,
                   int add, int activation, real *out, real *packed);
    /* OUT: rows chunk * reach .. of gW within the stairs: sum of value * G[r]. G: (n, slab) for each slab of
     * columns. r, value: scratch for as many entries as these rows have. */
    void (*scatter)(int64_t chunk, staircase stairs, listed_inputs x, const real *G, real *gW, int32_t *r, real *value);
    void (*activate)(int64_t n, int64_t width, int activation, real *h, int64_t h_row);
    /* out = scale * x, zero for the units whose chance lies below a number. All of them (n,) */
    void (*drop)(int64_t n, const uint16_t *chance, int32_t below, double scale, const real *x, real *out);
    /* sums (width,) of G (n, width), width <= slab */
    void (*column_sums)(int64_t n, int64_t width, const real *G, int64_t g_row, real *sums);
    /* Numbers of work space that `sample` wants, aligned to 64 bytes, */
    int64_t (*sample_scratch)(masked_walk walk);
    /* and entries: counts (sample_rows,), rows and values (sample_rows, walk.block). */
    void (*sample)(int64_t n, masked_walk walk, draw_spec draw, walked_rows walked, real *scratch, int32_t *counts,
                   int32_t *rows, real *values);
} masked_table;

FASTAR_FAMILY(masked)

#endif
