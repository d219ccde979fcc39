/* compare.h: comparisons with a truth, written so that NaN fails. */
#ifndef TR_TESTS_SUPPORT_COMPARE_H
#define TR_TESTS_SUPPORT_COMPARE_H

#include <stdbool.h>
#include <stddef.h>

/* The goldens' criterion (shared/golden/README.md), in float64:
 *   max |x - truth| <= 4 * max_err + 2^-22 * truth_max_abs  and  rms(x - truth) <= 4 * rms_err + 2^-23 * truth_rms
 * max_err and rms_err are the reference's own f32 errors. Prints what differs; true when both hold. */
bool golden_close(const char *name, const float *x, const double *truth, size_t count, double max_err,
                  double rms_err, double truth_max_abs, double truth_rms);

/* Scalars: |x - truth| <= 4 * err + 2e-6 * |truth|. */
bool golden_scalar(const char *name, double x, double truth, double err);

/* |x - y| <= absolute + relative * |y| for every element; prints the first failure. */
bool all_close(const char *name, const float *x, const float *y, size_t count, double absolute, double relative);

#endif
