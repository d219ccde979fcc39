/* reading.h: what an answer says, by a named reader, and what it is worth in the task's metrics (internal to eval).
 *
 * "scheme" is the reading that the reward made; "tolerant" also takes answers without <answer>, as of models that
 * were not trained here; the others are the rules of published evaluations, for comparison with their numbers.
 * Never computes a reward. Not thread safe per reader. */
#ifndef TR_EVAL_READING_H
#define TR_EVAL_READING_H

#include "input/sample.h"
#include "task/evaluate.h"
#include "task/row.h"

typedef struct tr_reader {
    int kind; /* index of its name */
    tr_truth_holder truth;
    tr_evaluation evaluation; /* only its array of intervals, its arena and its options are used */
    tr_evaluate_options options;
} tr_reader;

/* TR_INVALID names the readers and the nearest one. NULL: "scheme". */
tr_status tr_reader_open(const char *name, tr_reader *reader, tr_error *err);
void tr_reader_close(tr_reader *reader);
const char *tr_reader_name(const tr_reader *reader);
/* The names, NULL at the end. */
const char *const *tr_reader_names(void);

/* Reads the truth of a row; *has_truth false (and no error) when the row has none that its task could be measured
 * by. */
tr_status tr_reader_truth(tr_reader *reader, const tr_sample *sample, tr_task *task, bool *has_truth,
                          tr_error *err);

/* What was understood, and the metrics of the answer: {NAME: value}, for dtg {NAME: [one for each sentence]}. Both
 * are owned by the caller. Call tr_reader_truth first. */
tr_status tr_reader_read(tr_reader *reader, tr_task task, const char *text, size_t length, const tr_score *score,
                         json_t **parsed, json_t **metrics, tr_error *err);

/* A metric's key in JSON: "miou", "r1@0.5", "acc@gqa", "hungarian_f1", ... in key[32]. */
void tr_metric_key(tr_metric metric, tr_task task, char key[32]);

#endif
