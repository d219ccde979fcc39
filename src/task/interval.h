/* interval.h: intervals in time and unions of them: lengths, IoU, IoP, GIoU, hull, Wasserstein-1.
 *
 * Seconds are float64. Nothing here allocates, reads files or keeps state; every function is thread safe. An
 * interval is proper when both ends are finite and start_s < end_s; any other one is empty: length 0, no overlap
 * with anything. */
#ifndef TR_TASK_INTERVAL_H
#define TR_TASK_INTERVAL_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tr_interval {
    double start_s, end_s;
} tr_interval;

/* Both ends finite and start before end. */
bool tr_interval_proper(tr_interval a);

/* end - start; 0 for an empty one. */
double tr_interval_length(tr_interval a);

/* The ends moved into [0, duration_s]; a non-finite end or duration stays as it is. */
tr_interval tr_interval_clamp(tr_interval a, double duration_s);

/* Seconds in both; 0 when one is empty. */
double tr_interval_intersection(tr_interval a, tr_interval b);

/* The smallest interval that holds both; of an empty one and another it is the other. */
tr_interval tr_interval_hull(tr_interval a, tr_interval b);

/* Intersection over union, in [0, 1]; 0 when one is empty. */
double tr_interval_iou(tr_interval a, tr_interval b);

/* Intersection over the predicted interval's own length, in [0, 1]. */
double tr_interval_iop(tr_interval predicted, tr_interval truth);

/* Generalised IoU, in (-1, 1]: IoU - (hull - union) / hull. -1 when one is empty. */
double tr_interval_giou(tr_interval a, tr_interval b);

/* Sorts by start, then end, ascending; empty intervals keep their numbers (a NaN sorts last). In place. */
void tr_interval_sort(tr_interval *list, size_t count);

/* Makes the union: drops empty intervals, sorts, merges those that overlap or touch. In place; returns the number
 * of disjoint, ascending intervals that are left at the front. */
size_t tr_interval_union(tr_interval *list, size_t count);

/* Of unions as tr_interval_union leaves them (m and n are counts of intervals): */
double tr_union_length(const tr_interval *p, size_t m);
double tr_union_intersection(const tr_interval *p, size_t m, const tr_interval *g, size_t n);
double tr_union_iou(const tr_interval *p, size_t m, const tr_interval *g, size_t n); /* 0 when both are empty */
double tr_union_iop(const tr_interval *p, size_t m, const tr_interval *g, size_t n); /* 0 when P is empty */

/* The Wasserstein-1 distance in seconds between the uniform probability measures on two unions: the integral of
 * |F_P - F_G|, exact up to rounding, in O(m + n). Infinity when exactly one union is empty, 0 when both are. */
double tr_union_wasserstein(const tr_interval *p, size_t m, const tr_interval *g, size_t n);

#endif
