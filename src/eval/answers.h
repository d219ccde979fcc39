/* answers.h: answers rows of a source in batches and hands every row out in its order (internal to eval).
 *
 * Several prompts share one decode batch; each is answered `samples` times. A row's answers depend on the seed, its
 * index and the answer's index alone, so that neither the batch nor where a job was continued can be seen in them.
 * A row that cannot be read is handed out with the reason, and the job goes on. Never judges an answer. */
#ifndef TR_EVAL_ANSWERS_H
#define TR_EVAL_ANSWERS_H

#include "eval/eval.h"

typedef struct tr_answers_options {
    tr_sampling sampling; /* banned and end ids are set here */
    uint64_t seed, feature_version;
    int64_t samples, first, end; /* rows first to end - 1 */
    const char *label;           /* of the progress bar */
} tr_answers_options;

/* One row's answers: group NULL when it could not be read, then `why` says the reason and sample is NULL. */
typedef struct tr_answered {
    int64_t row;
    const tr_sample *sample;
    const tr_rollout_group *group;
    const tr_error *why;
} tr_answered;

typedef struct tr_answers_calls {
    tr_status (*take)(void *context, const tr_answered *answered, tr_error *err);
    /* After every batch: what was taken can be put into the file; note goes behind the progress bar. */
    tr_status (*batch)(void *context, char *note, size_t note_size, tr_error *err);
} tr_answers_calls;

typedef struct tr_answers_cost {
    double seconds;
    int64_t rows, tokens;
} tr_answers_cost;

/* Runs it. cost is filled as far as it went. */
tr_status tr_answers_run(const tr_evaluator *evaluator, tr_source *source, const tr_answers_options *options,
                         const tr_answers_calls *calls, void *context, tr_answers_cost *cost, tr_error *err);

#endif
