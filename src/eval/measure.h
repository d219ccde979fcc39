/* measure.h: collects answers and turns them into metrics (internal to eval).
 *
 * Metrics are those of task/metrics.h, by task, with bootstrap intervals; every answered row counts in the
 * denominator, also one whose answer did not parse. Rows whose clip could not be read stand apart, counted by
 * reason: they say something about the files, nothing about the model. */
#ifndef TR_EVAL_MEASURE_H
#define TR_EVAL_MEASURE_H

#include "input/sample.h"

typedef struct tr_measure tr_measure;

tr_status tr_measure_create(tr_measure **measure, tr_error *err);
void tr_measure_free(tr_measure *measure);

/* One answered row; *prediction (owned by the caller) is its line of predictions.jsonl. */
tr_status tr_measure_add(tr_measure *measure, const tr_sample *sample, const char *text, size_t length,
                         int64_t tokens, bool stopped, const tr_score *score, json_t **prediction, tr_error *err);
/* One row that could not be answered, and why. */
tr_status tr_measure_skip(tr_measure *measure, const tr_error *why, tr_error *err);

double tr_measure_reward(const tr_measure *measure); /* mean so far; 0 before the first */

/* {"tg": {"rows", "miou", "miou_interval": [low, high], "r1@0.3", ..., "format_rate", "parsed_rate"}, ..., "rows",
 * "unanswered", "unanswered_why"} */
tr_status tr_measure_metrics(const tr_measure *measure, json_t **metrics, tr_error *err);

#endif
