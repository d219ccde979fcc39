/* compare.h: two results of an evaluation side by side, row by row.
 *
 * Works on what tr_eval_run wrote, whichever models made it. Rows belong together by their id; the same id with
 * another content is refused. Every metric has the mean of both on the rows that stand in both, and the difference
 * with its paired 95 % bootstrap interval: rows are drawn together with both answers, so what makes a row hard for
 * both drops out. Never reads models or videos. */
#ifndef TR_EVAL_COMPARE_H
#define TR_EVAL_COMPARE_H

#include "base/json.h"

/* a and b are folders. *report (owned by the caller):
 *   {"a", "b", "rows": {"a", "b", "common", "unanswered", "only_a": [ids], "only_b": [ids]} (the first 10 of each),
 *    "protocol": [{"key", "a", "b"}] or null when a folder has no card,
 *    TASK: {"rows", "measure": the headline, "a", "b", "difference", "interval": [low, high],
 *           "metrics": {NAME: {"values", "a", "b", "difference", "interval", "differs", "better", "worse"}},
 *           "best": {NAME: ...} (several answers a row in both), "subtasks": {NAME: ...}, "subtask_mean": {...}}}
 * difference is b - a; differs: 0 lies outside the interval; better, worse: values that are larger, smaller in b.
 * No common row, and rows that are not the same, are TR_MISMATCH. */
tr_status tr_compare(const char *a, const char *b, json_t **report, tr_error *err);

/* The differences of all metrics but the reward (whose range is the scheme's) with their intervals around 0.
 * Appended. */
tr_status tr_compare_svg(const json_t *report, tr_buffer *out, tr_error *err);

/* The names of a report's tasks, in the order of tables; NULL at the end. */
extern const char *const tr_compare_tasks[];

#endif
