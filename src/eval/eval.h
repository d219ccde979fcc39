/* eval.h: answers every row of a source and measures the answers.
 *
 * Greedy unless told otherwise. Writes OUT/predictions.jsonl (one object per row: id, task, response, parsed,
 * reward parts, metric fields) and OUT/metrics.json (metrics by task with bootstrap intervals, the share of parsed
 * answers, and the protocol card: model, rows and their hash, prompt, frames, pixels, sampling, program version).
 * Rows that cannot be loaded count as unanswered and are listed. Never trains. */
#ifndef TR_EVAL_EVAL_H
#define TR_EVAL_EVAL_H

#include "input/sample.h"
#include "rl/rollout.h"

typedef struct tr_eval_options {
    tr_sampling sampling;     /* temperature 0 for greedy; banned and end ids are taken from source and model */
    uint64_t seed;            /* for sampled answers */
    const char *out;          /* folder to write into; NULL: nothing is written */
    const char *label;        /* before the progress bar: "evaluation" */
    const json_t *card;       /* what the caller adds to the protocol card (borrowed; may be NULL) */
    int64_t first_rows;       /* 0: all rows; else only so many */
    uint64_t feature_version; /* name of the vision weights for the feature cache */
} tr_eval_options;

/* What evaluates: the training loop lends its own network; `tempr1 eval` makes one (tr_eval_network). */
typedef struct tr_evaluator {
    tr_model *model;
    tr_network *network;
    tr_network_limits limits; /* what network was made with: decode_groups prompts share a batch */
    tr_features *features;
} tr_evaluator;

/* Runs it. *metrics (owned by the caller) is what metrics.json holds. */
tr_status tr_eval_run(const tr_evaluator *evaluator, tr_source *source, const tr_eval_options *options,
                      json_t **metrics, tr_error *err);

/* Limits for an inference-only network that answers `groups` prompts of a source at once, `responses` each. */
void tr_eval_limits(const tr_source *source, int64_t groups, int64_t responses, int64_t max_tokens,
                    tr_network_limits *limits);

#endif
