/* match.h: which predicted interval answers which true one.
 *
 * Three ways: the monotone dynamic programme of the paper, the optimal (Hungarian) assignment, and naive pairing by
 * position. Nothing here allocates: scratch is the caller's. Thread safe. */
#ifndef TR_TASK_MATCH_H
#define TR_TASK_MATCH_H

#include "base/status.h"
#include "task/interval.h"

#include <stdint.h>

typedef enum tr_matching { TR_MATCH_MONOTONE, TR_MATCH_NAIVE, TR_MATCH_HUNGARIAN } tr_matching;

/* The largest sum of IoU over matchings that keep the order of both lists:
 *   D[i][j] = max(D[i-1][j], D[i][j-1], D[i-1][j-1] + IoU(p_i, g_j)).
 * Both lists sorted by time (tr_interval_sort). row is scratch of n + 1 doubles. O(m n). */
double tr_match_monotone(const tr_interval *p, size_t m, const tr_interval *g, size_t n, double *row);

/* The sum of IoU(p_i, g_i) over i < min(m, n): the i-th with the i-th, as the lists stand. */
double tr_match_naive(const tr_interval *p, size_t m, const tr_interval *g, size_t n);

/* Bytes of scratch that tr_match_assign needs for a rows x columns matrix; SIZE_MAX on overflow. */
size_t tr_match_assign_scratch(size_t rows, size_t columns);

/* The assignment of min(rows, columns) pairs with the least sum of cost[row * columns + column] (the largest when
 * maximise), by shortest augmenting paths with potentials, O(min^2 max). column_of[row] is the row's column or
 * SIZE_MAX. total may be NULL. A forbidden pair costs infinity (-infinity when maximising).
 * TR_NUMERIC for NaN and for an infinity of the other sign, TR_INVALID when no full assignment is possible. */
tr_status tr_match_assign(const double *cost, size_t rows, size_t columns, int maximise, size_t *column_of,
                          double *total, void *scratch, tr_error *err);

#endif
