/* row.h: the edge between JSON rows and the pure functions of this module: truths in, results out.
 *
 * The only files of src/task that know JSON are row.c and config.c. A holder owns what a truth points to and can be
 * filled again and again. Not thread safe per holder. */
#ifndef TR_TASK_ROW_H
#define TR_TASK_ROW_H

#include "base/json.h"
#include "task/reward.h"

typedef struct tr_truth_holder {
    tr_truth truth; /* points into the arrays below and into the JSON row, which must outlive it */
    tr_interval *segments;
    size_t segment_capacity;
    const char **options;
    size_t option_capacity;
} tr_truth_holder;
void tr_truth_holder_free(tr_truth_holder *holder);

/* Reads the truth fields of a corpus row for a task: "segments" (list of [start, end] seconds; "segment" for one
 * pair), "answer", "options", "duration", "fps". where stands in errors. Missing, mistyped and non-finite fields,
 * start >= end and a dtg row whose segments are not as many as its queries are TR_FORMAT with the field's name. */
tr_status tr_truth_from_json(const json_t *row, tr_task task, const char *where, tr_truth_holder *holder,
                             tr_error *err);

/* [[s, e], ...], up to one millisecond's worth of nothing lost: the numbers as they are. NULL when memory is out.
 */
json_t *tr_intervals_to_json(const tr_interval *list, size_t count);

/* {"reward", "parts": {...}, "parsed": ..., "error": null or text, "error_at": byte}. parsed is null, [[s, e],
 * ...], the option letter, or {"option", "segments"} for gvqa. NULL when memory is out. */
json_t *tr_reward_to_json(const tr_reward *reward, tr_task task);
/* The "parsed" member alone. */
json_t *tr_reward_parsed_json(const tr_reward *reward, tr_task task);

/* A user's scheme from the configuration:
 *   {parts: {format: 0.5, iou: 0.5}, template: list|json|option|spaced|any|none, think:
 * optional|required|forbidden, answer: last|first|final|anywhere, parser: pairs|json|last_to|spaced, matching:
 * monotone|naive, sigma: 1, percent: false, frames: false, overlong: {tokens, cache}, base: NAME, tasks: {tal:
 * {parts: ..., template: ...}}} `base` (default tempr1) gives everything that is not said. Parts that make no sense
 * for a task are left out of it. Unknown keys are errors that name the nearest known one. name is borrowed. */
tr_status tr_scheme_from_json(const json_t *object, const char *name, tr_scheme *scheme, tr_error *err);

#endif
