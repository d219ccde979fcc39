/* evaluate.h: predictions of any system against a truth, in the formats that people have.
 *
 * Works on parsed JSON (the command reads the files). Which format it is follows from the keys, or is named:
 *
 * - rows: truth corpus rows; predictions {"id", "response"} or {"id", "segments", "answer"}
 * - qvhighlights: truth highlight_*.jsonl; predictions submissions (also TimeChat's highlight output)
 * - activitynet: truth {"database": ...} or {video: {"annotations"}}; predictions {"results": ...}
 * - timechat: truth {"annotations": [{"id", "timestamp"}]}; predictions {id: {"timestamp": [[s, e]]}}
 * - timechat-dense: truth {"annotations": [{"image_id", "segments"}]}; predictions {video: [{"timestamp"}]}
 * - lmms-eval: predictions {"video>>>caption>>>[s, e]": text}; the truth stands in the keys
 * - vtimellm: truth {video: {"duration", "timestamps"}}; predictions its log lines (times in percent)
 * - tempcompass: predictions {video: {dimension: [{"question", "gt-answer", "video-llm-prediction"}]}}
 * - next-gqa: truth gsub_*.json; predictions {"VIDEO_QID": {"prediction", "answer", "segment"}} or [s, e]
 *
 * Pure but for memory: no files, nothing printed. Not thread safe per result. */
#ifndef TR_TASK_EVALUATE_H
#define TR_TASK_EVALUATE_H

#include "base/json.h"
#include "task/metrics.h"

typedef struct tr_evaluate_options {
    tr_task task; /* for rows that do not say theirs */
    bool task_given;
    const char *format; /* NULL: by the keys */
    bool compat;        /* rows and lmms-eval: Temporal-R1's evaluation parser instead of the tolerant one */
    uint64_t seed;
    size_t resamples;                   /* 0: no intervals */
    const char *pred_name, *truth_name; /* for messages */
} tr_evaluate_options;

/* truth may be NULL where the predictions carry it. *result (owned by the caller):
 *   {"format", "task", "metrics": {TASK: {NAME: {"value", "low", "high", "count"}}}, "official": {...} or absent,
 *    "counts": {"truths", "predictions", "parsed", "unparsed", "missing", "unknown", "duplicates"},
 *    "problems": {"missing": [ids], "unknown": [...], "duplicates": [...], "unparsed": [...]}} (the first 20 of
 * each) */
tr_status tr_evaluate(const json_t *pred, const json_t *truth, const tr_evaluate_options *options, json_t **result,
                      tr_error *err);

/* QVHighlights' evaluator: the object that it prints, same keys, same rounding. Queries that are not in both lists
 * are left out (*shared says how many were in both). */
tr_status tr_evaluate_qvhighlights(const json_t *pred, const json_t *truth, json_t **result, size_t *shared,
                                   tr_error *err);

/* ActivityNet's detection evaluator: {"mAP": {"0.50": ...}, "average_mAP", "n_gt", "n_pred", "unknown_labels"}.
 * Only annotations of `subset` count (NULL: all). A "v_" before video names is no difference. */
tr_status tr_evaluate_activitynet(const json_t *pred, const json_t *truth, const char *subset, json_t **result,
                                  tr_error *err);

/* TimeChat's dense captioning evaluator without its text scores: {"n_videos", "mean": {"Precision@0.3", ...,
 * "F1_Score", "n_preds"}}, means over the truth's videos. At most TR_ANSWER_INTERVALS events of a video count. */
tr_status tr_evaluate_timechat_dense(const json_t *pred, const json_t *truth, json_t **result, tr_error *err);

/* ---- shared by the readers (evaluate_*.c) ---- */

typedef struct tr_evaluation {
    const tr_evaluate_options *options;
    tr_arena arena;
    tr_interval *intervals; /* TR_ANSWER_INTERVALS */
    double *values[TR_TASK_COUNT][TR_METRICS];
    size_t count[TR_TASK_COUNT][TR_METRICS], capacity[TR_TASK_COUNT][TR_METRICS];
    json_t *subtasks; /* {name: [right, all]} */
    int64_t truths, predictions, parsed, unparsed, missing, unknown, duplicates;
    json_t *missing_ids, *unknown_ids, *duplicate_ids, *unparsed_ids;
} tr_evaluation;

/* Adds the values of one answer (dtg: every sentence). answered false counts as an answer without content. */
tr_status tr_evaluation_add(tr_evaluation *e, tr_task task, const tr_interval *p, size_t m, char option,
                            const tr_truth *truth, tr_error *err);
/* Adds values that an official rule gave. */
tr_status tr_evaluation_push(tr_evaluation *e, tr_task task, const tr_metric_values *values, tr_error *err);
/* Understands a free text: intervals into e->intervals, the option. Returns whether all that the task asks for was
 * there. */
bool tr_evaluation_parse(tr_evaluation *e, tr_task task, const char *text, size_t length, const tr_truth *truth,
                         size_t *count, char *option);
void tr_evaluation_name(json_t *list, const char *id);
tr_status tr_evaluate_rows(tr_evaluation *e, const json_t *pred, const json_t *truth, tr_error *err);
tr_status tr_evaluate_foreign(tr_evaluation *e, const char *format, const json_t *pred, const json_t *truth,
                              tr_error *err);

#endif
