/* eval.h: answers every row of a source and measures the answers.
 *
 * Greedy unless told otherwise; several answers a row when they are sampled. Writes into OUT
 *
 *   protocol.json      the protocol card, before the first answer
 *   predictions.jsonl  one line a row (eval/prediction.h), in the order of the rows, appended batch by batch
 *   metrics.json       metrics by task with bootstrap intervals and the card, when all rows are answered
 *   timing.json        seconds, rows and tokens of this process (the only thing that differs from run to run)
 *
 * A job that was killed continues where predictions.jsonl ends, and all files but the last come out with the same
 * bytes. Rows that cannot be loaded are lines that say why, and are counted apart. Never trains. */
#ifndef TR_EVAL_EVAL_H
#define TR_EVAL_EVAL_H

#include "input/sample.h"
#include "rl/rollout.h"

typedef struct tr_eval_options {
    tr_sampling sampling; /* temperature 0 for greedy; banned and end ids are taken from source and model */
    uint64_t seed;        /* for sampled answers */
    const char *out;      /* folder to write into; NULL: nothing is written */
    const char *label;    /* before the progress bar: "evaluation" */
    const char *parser;   /* how answers are read for the metrics (eval/reading.h); NULL: "scheme" */
    int64_t samples;      /* answers a row; 0: 1 */
    bool resume;          /* continue what is in `out`, when it was made by the same protocol; else begin anew */
    const json_t *card;   /* what the caller adds to the protocol card (borrowed; may be NULL) */
    int64_t first_rows;   /* 0: all rows; else only so many */
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
