/* prediction.h: one row's line of predictions.jsonl (internal to eval).
 *
 *   {"id", "task", "row": hash of the row, "subtask"?, "length"?, "question_type"?,
 *    "response", "parsed", "reward", "parts": {}, "format", "finish": "stop"|"length", "tokens", "metrics": {},
 *    "iou" (tg), "error"?}
 * with several answers a row the second line's fields stand in "samples": [{...}, ...] and beside it "reward"
 * (their mean), "mean": {metric: value} and "best": {metric: the best of them}. A row that could not be read has
 * "unanswered": why. The line holds all that metrics are made of, so that a continued job need not judge again. */
#ifndef TR_EVAL_PREDICTION_H
#define TR_EVAL_PREDICTION_H

#include "eval/reading.h"

/* One answer as it came out. */
typedef struct tr_given {
    const char *text;
    size_t length;
    int64_t tokens;
    bool stopped; /* by an end token */
    const tr_score *score;
} tr_given;

/* The line of an answered row (owned by the caller). */
tr_status tr_prediction_make(tr_reader *reader, const tr_sample *sample, const tr_given *given, size_t count,
                             json_t **line, tr_error *err);
/* The line of a row that could not be read; row (may be NULL) is the corpus row, number its index. */
tr_status tr_prediction_unanswered(const json_t *row, int64_t number, const tr_error *why, json_t **line,
                                   tr_error *err);

/* {metric: value or list} over several answers: their mean, or the best of each. Owned; NULL when memory is out. */
json_t *tr_prediction_join(const json_t *samples, const char *member, bool best);

/* The answers of a line: its "samples", or itself. Borrowed. */
size_t tr_prediction_count(const json_t *line);
const json_t *tr_prediction_answer(const json_t *line, size_t index);

/* Holds a line against the row that it must be of: TR_MISMATCH names both. where is the line's place, rows the name
 * of the rows. */
tr_status tr_prediction_check(const json_t *line, const json_t *row, const char *where, const char *rows,
                              tr_error *err);

#endif
