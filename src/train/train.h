/* train.h: runs a configuration: SFT and GRPO, checkpoints, resume, logs.
 *
 * A run's folder: config.yaml (resolved), metrics.jsonl (one object per step), rollouts.jsonl (one per response),
 * checkpoints/step-N/, eval/step-N/, curves.svg. Everything is printed on stderr. Nothing here exits or catches
 * signals: the caller raises `stop`. */
#ifndef TR_TRAIN_TRAIN_H
#define TR_TRAIN_TRAIN_H

#include "eval/eval.h"
#include "train/config.h"

#include <signal.h>

/* How the loops reach rows: tr_train_open_source for files, another one in tests. eval: the `eval` entries instead
 * of `data`. */
typedef tr_status (*tr_open_source)(void *context, const tr_config *config, const tr_model_config *model, bool eval,
                                    tr_source **source, tr_error *err);
typedef tr_status (*tr_evaluate)(const tr_evaluator *evaluator, tr_source *source, const tr_eval_options *options,
                                 json_t **metrics, tr_error *err);

typedef struct tr_train_options {
    bool resume;                       /* continue the newest complete checkpoint */
    bool accept_changes;               /* although the configuration differs */
    bool strict;                       /* stop at the first non-finite step */
    bool quiet;                        /* no line per step */
    const volatile sig_atomic_t *stop; /* not 0: end after the current step with a checkpoint; may be NULL */
    tr_open_source open_source;
    void *open_context;
    tr_evaluate evaluate; /* tr_eval_run; NULL: train.eval_every is ignored */
} tr_train_options;

/* Runs all stages. *summary (owned by the caller) holds for each stage: out, steps, checkpoint, the last metrics.
 * TR_INTERRUPTED when `stop` ended it (checkpoint written). */
tr_status tr_train_run(const tr_config_set *set, const tr_train_options *options, json_t **summary, tr_error *err);

/* Rows and clips of a configuration by tr_source_open. */
tr_status tr_train_open_source(void *context, const tr_config *config, const tr_model_config *model, bool eval,
                               tr_source **source, tr_error *err);

/* The newest complete checkpoint of a run's folder (free() frees it), its step in *step; TR_NOT_FOUND when there is
 * none. */
tr_status tr_train_newest_checkpoint(const char *out, char **checkpoint, int64_t *step, tr_error *err);

#endif
