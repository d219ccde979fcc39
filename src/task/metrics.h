/* metrics.h: how good answers are: the field's numbers per task, and how sure they are.
 *
 * Values per sample first, so that means, bootstrap intervals and paired comparisons all come from the same list;
 * then the official evaluators whose result is not a mean over samples. Pure functions over arrays; those that need
 * memory of unknown size say so and give it back. float64 seconds, shares in [0, 1]. Thread safe. */
#ifndef TR_TASK_METRICS_H
#define TR_TASK_METRICS_H

#include "task/reward.h"

/* ---- one sample ---- */

/* clang-format off */
#define TR_METRIC_LIST(X)                                                                                     \
    X(IOU, "mIoU") /* tg, dtg (per sentence): IoU; vhd, gvqa: IoU of the unions */                            \
    X(IOU_03, "R1@0.3") /* IoU >= 0.3 */                                                                      \
    X(IOU_05, "R1@0.5")                                                                                       \
    X(IOU_07, "R1@0.7")                                                                                       \
    X(IOP, "mIoP") /* gvqa: intersection over the predicted seconds */                                        \
    X(IOP_03, "IoP@0.3")                                                                                      \
    X(IOP_05, "IoP@0.5")                                                                                      \
    X(ACCURACY, "accuracy") /* gvqa, qa: the option is right */                                               \
    X(ACC_GQA, "Acc@GQA") /* right option and IoP >= 0.5 */                                                   \
    X(F1_01, "F1@0.1") /* tal: of the shares of truths and predictions whose best IoU reaches it */           \
    X(F1_03, "F1@0.3")                                                                                        \
    X(F1_05, "F1@0.5")                                                                                        \
    X(F1_07, "F1@0.7")                                                                                        \
    X(MF1, "mF1") /* their mean */                                                                            \
    X(HUNGARIAN, "Hungarian F1") /* optimal assignment, mean over 0.3, 0.5, 0.7 */                            \
    X(COUNT, "count accuracy") /* as many predictions as truths */
/* clang-format on */
typedef enum tr_metric {
#define X(name, text) TR_METRIC_##name,
    TR_METRIC_LIST(X)
#undef X
        TR_METRICS
} tr_metric;
const char *tr_metric_name(tr_metric metric, tr_task task); /* gvqa says "IoU@0.3" where others say "R1@0.3" */

typedef struct tr_metric_values {
    unsigned present; /* bit tr_metric */
    double value[TR_METRICS];
} tr_metric_values;

/* The values of one answer: m predicted intervals (0: none understood) and the option (0: none). For dtg one call
 * per sentence with one interval each. The clip's duration clamps predictions when it is known. Memory: the arena
 * (tr_reward_arena_bytes is enough; it is reset to where it was). TR_MEMORY when it is too small. */
tr_status tr_metric_sample(tr_task task, const tr_interval *p, size_t m, char option, const tr_truth *truth,
                           tr_arena *arena, tr_metric_values *values, tr_error *err);

/* F1 at one threshold between a list of predictions and one of truths; 1 when both are empty. */
double tr_metric_f1(const tr_interval *p, size_t m, const tr_interval *g, size_t n, double threshold);

/* ---- how sure ---- */

typedef struct tr_bootstrap {
    double mean, low, high; /* of `share` of the resampled means, e.g. the 2.5 and 97.5 % quantiles */
} tr_bootstrap;
enum { TR_BOOTSTRAP_RESAMPLES = 2000 };
/* Percentile bootstrap of the mean of n values (n >= 1): resample r draws its i-th value by the counter (seed, r,
 * i), so the result is the same everywhere. share is 0.95 for a 95 % interval. Allocates `resamples` doubles while
 * it runs. */
tr_status tr_bootstrap_mean(const double *values, size_t n, size_t resamples, double share, uint64_t seed,
                            tr_bootstrap *out, tr_error *err);
/* Of the mean of a[i] - b[i]: two systems on the same rows. */
tr_status tr_bootstrap_paired(const double *a, const double *b, size_t n, size_t resamples, double share,
                              uint64_t seed, tr_bootstrap *out, tr_error *err);

/* ---- average precision ---- */

typedef struct tr_detection {
    tr_interval interval;
    double score;
    size_t video; /* equal numbers: the same video (or query) */
} tr_detection;

/* The interpolated average precision of ActivityNet's (and QVHighlights') evaluators at each threshold: detections
 * by falling score, each takes the free truth with the highest IoU that reaches the threshold. `later_first`
 * decides ties of score: ActivityNet's order is reversed (the later one first), QVHighlights' is stable. The
 * detections are sorted in place. scratch: as many bytes as tr_average_precision_scratch says. ap[thresholds]. */
size_t tr_average_precision_scratch(size_t detections, size_t truths, size_t thresholds);
void tr_average_precision(tr_detection *detections, size_t count, const tr_detection *truths, size_t truth_count,
                          const double *thresholds, size_t threshold_count, bool later_first, void *scratch,
                          double *ap);

/* Average precision of a ranking, as QVHighlights computes it for highlights: interpolated precision at every
 * distinct score that gains a hit, plain mean. scores and hits are sorted together, in place. All hits: 1; no hits:
 * 0. */
double tr_ranking_precision(double *scores, unsigned char *hits, size_t count);

/* ---- others' ---- */

/* TimeChat's dense captioning, localisation part: precision and recall at 0.3, 0.5, 0.7, 0.9 (IoU strictly above).
 */
void tr_metric_timechat_detection(const tr_interval *p, size_t m, const tr_interval *g, size_t n,
                                  double precision[4], double recall[4]);

/* IoU over the hull, as QVHighlights' R1 and the grounding scripts of the LLM works compute it; 0 for 0/0. */
double tr_metric_hull_iou(tr_interval p, tr_interval g);

#endif
