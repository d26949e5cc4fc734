/* Sums in double precision. Eight lanes take every eighth number, and are added in one order: the bits are the same
 * from every compiler, which may choose the order of a reduction. */
#ifndef FASTAR_SUMS_H
#define FASTAR_SUMS_H

#include "fastar.h"

enum { SUM_LANES = 8 };

/* First the even lanes, then the odd: up to eight numbers have the bits that files of format 1 were written with. */
static inline double sum_of_lanes(const double *lane) {
    return (((lane[0] + lane[2]) + lane[4]) + lane[6]) + (((lane[1] + lane[3]) + lane[5]) + lane[7]);
}

static inline double sum_of(int64_t n, const real *x) {
    double lane[SUM_LANES] = {0};
    int64_t i = 0;
    for (; i + SUM_LANES <= n; i += SUM_LANES)
        for (int j = 0; j < SUM_LANES; j++)
            lane[j] += x[i + j];
    for (int j = 0; i + j < n; j++)
        lane[j] += x[i + j];
    return sum_of_lanes(lane);
}

static inline double sum_of_squares(int64_t n, const real *x) {
    double lane[SUM_LANES] = {0};
    int64_t i = 0;
    for (; i + SUM_LANES <= n; i += SUM_LANES)
        for (int j = 0; j < SUM_LANES; j++)
            lane[j] += (double)x[i + j] * (double)x[i + j];
    for (int j = 0; i + j < n; j++)
        lane[j] += (double)x[i + j] * (double)x[i + j];
    return sum_of_lanes(lane);
}

#endif
