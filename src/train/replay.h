/* replay.h: makes a rollout of a run again, from the run's files alone, and holds it against what the run recorded.
 *
 * The weights of a step are those of the nearest checkpoint before it, or the start's, trained on in memory up to
 * that step: every number of a step is a function of weights, rows and counters. The run's folder is only read (its
 * lock is not needed, its cache not used), so that a run that is going on can be looked at. */
#ifndef TR_TRAIN_REPLAY_H
#define TR_TRAIN_REPLAY_H

#include "train/train.h"

typedef struct tr_replay_options {
    int64_t step;     /* as in rollouts.jsonl: the first is 1 */
    const char *row;  /* id */
    int64_t response; /* -1: all that the step has for the row */
    tr_open_source open_source;
    void *open_context;
} tr_replay_options;

/* *result (owned by the caller): {"step", "row", "from": folder of the weights, "from_step", "trained_steps",
 * "same", "responses": [{"response", "same", "differences": [TEXT], "replayed": what rollouts.jsonl would hold}]}.
 * A rollout that differs is no error. run: a folder with config.yaml and rollouts.jsonl. */
tr_status tr_train_replay(const char *run, const tr_replay_options *options, json_t **result, tr_error *err);

#endif
