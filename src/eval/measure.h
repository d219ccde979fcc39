/* measure.h: lines of predictions become metrics (internal to eval).
 *
 * Metrics are those of task/metrics.h, by task, with bootstrap intervals; every answered row counts in the
 * denominator, also one whose answer is empty or did not parse. Rows whose clip could not be read stand apart,
 * counted by reason: they say something about the files, nothing about the model. */
#ifndef TR_EVAL_MEASURE_H
#define TR_EVAL_MEASURE_H

#include "base/json.h"

typedef struct tr_measure tr_measure;

tr_status tr_measure_create(tr_measure **measure, tr_error *err);
void tr_measure_free(tr_measure *measure);

/* One line of predictions (tr_prediction_make). row (may be NULL) is the corpus row; where stands in errors: a line
 * that lacks what it must have is TR_FORMAT. */
tr_status tr_measure_add(tr_measure *measure, const json_t *line, const json_t *row, const char *where,
                         tr_error *err);

double tr_measure_reward(const tr_measure *measure); /* mean so far; 0 before the first */

/* {"rows", "unanswered", "unanswered_why", "samples" (answers a row),
 *  "tg": {"rows", "format_rate", "parsed_rate", "truncated_rate", "mean_tokens", "reward", "reward_interval",
 * "miou", "miou_interval": [low, high], "r1@0.3", ..., "parts": {}, "best": {the same metrics, best of the
 * answers}}, "qa": {..., "subtasks": {NAME: {"rows", "accuracy", "accuracy_interval"}}, "subtask_mean",
 *         "subtask_mean_interval", "lengths": ..., "question_types": ...},
 *  "vhd": {..., "qvhighlights": {...}}, "tal": {..., "activitynet": {...}}}
 * The last two are the official evaluators' numbers; answers carry no scores there, so an answer's intervals rank
 * in the order in which it gives them. */
tr_status tr_measure_metrics(const tr_measure *measure, json_t **metrics, tr_error *err);

/* The mean over strata (sub-tasks) of their means, with its 95 % interval: resampled within each stratum. */
typedef struct tr_stratum {
    const double *values;
    size_t count;
} tr_stratum;
tr_status tr_strata_mean(const tr_stratum *strata, size_t count, double *mean, double *low, double *high,
                         tr_error *err);

#endif
