/*
 * Quantiles of measurements that are all in memory. base/histogram.h estimates them where values
 * are only counted.
 *
 * Pure functions on the caller's arrays: any thread, no allocation, no errors.
 */
#ifndef KL_BASE_QUANTILE_H
#define KL_BASE_QUANTILE_H

#include <stddef.h>

/* Sorts values[0..n) into ascending order. No value is a NAN. */
void kl_sort_values(double *values, size_t n);

/* The value at the position share * (n - 1) of sorted[0..n), interpolated linearly between the two
 * values around it: type 7 of Hyndman and Fan (1996), the default of R and NumPy. share: 0 to 1;
 * n > 0. */
double kl_quantile(const double *sorted, size_t n, double share);

/* The nearest-rank percentile: the smallest of the values that at least `percent` % of them do not
 * exceed. It is always one that was measured. percent: 1 to 100; n > 0. */
double kl_nearest_rank(const double *sorted, size_t n, unsigned percent);

#endif
