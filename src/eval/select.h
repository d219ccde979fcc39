/* select.h: how well a model answers the rows of a source, several times each: the file of scores that
 * corpus/select.h chooses from.
 *
 * One line a row, in their order:
 *   {"id", "task", "row": hash of the row, "duration", "rewards": [k], "ious": [k] (tal: mF1; not for qa),
 *    "right": [k] (qa, gvqa), "parsed": [k], "format": [k], "mean", "std", "best", "difficulty": the mean}
 * or {"id", "task", "row", "unanswered": why}. What it was made with stands in FILE.protocol.json. A job that was
 * killed continues, and the file comes out with the same bytes. Never chooses. */
#ifndef TR_EVAL_SELECT_H
#define TR_EVAL_SELECT_H

#include "corpus/select.h"
#include "eval/eval.h"

typedef struct tr_scoring_options {
    tr_sampling sampling; /* temperature above 0 */
    uint64_t seed, feature_version;
    int64_t answers;    /* a row, at least 2 */
    const char *scores; /* the file to write, or to continue */
    const json_t *card; /* the protocol card (tr_protocol_card), borrowed */
    bool restart;       /* begin anew whatever the file holds */
} tr_scoring_options;

/* The line of scores (owned by the caller) from a line of predictions with several answers (eval/prediction.h). */
tr_status tr_scoring_line(const json_t *prediction, tr_task task, double duration_s, json_t **line,
                          tr_select_moments *moments, tr_error *err);

tr_status tr_scoring_run(const tr_evaluator *evaluator, tr_source *source, const tr_scoring_options *options,
                         tr_error *err);

#endif
