/* checkpoint.h: the folder RUN/checkpoints: which are there, writing one, keeping the newest and the best. */
#ifndef TR_TRAIN_CHECKPOINT_H
#define TR_TRAIN_CHECKPOINT_H

#include "base/json.h"
#include "model/model.h"

/* What one checkpoint is written from. Borrowed but `state`. */
typedef struct tr_checkpoint {
    const char *out;       /* the run's folder */
    const char *tokenizer; /* folder of the tokenizer's files */
    const tr_model *model; /* a snapshot: nobody changes it until the checkpoint is written */
    json_t *state;         /* state.json without checksums; owned */
    int64_t step, keep;    /* `keep` newest checkpoints stay */
    int64_t best;          /* and this one, to which checkpoints/best points; 0: none */
    int logs[2];           /* descriptors of logs that must be on disk before the checkpoint; -1: none */
} tr_checkpoint;

/* Writes it under another name, puts it in place whole, then removes old ones. Runs on the saver's thread. */
tr_status tr_checkpoint_save(const tr_checkpoint *checkpoint, tr_error *err);

/* Removes what killed processes left half-written or half-removed. Only for the holder of the run's lock. */
tr_status tr_checkpoint_clean(const char *out, tr_error *err);

/* Has checkpoints/best point to that step's folder. */
tr_status tr_checkpoint_mark_best(const char *out, int64_t step, tr_error *err);

/* The newest complete checkpoint with a step of at most `most`; see tr_train_newest_checkpoint. */
tr_status tr_checkpoint_newest(const char *out, int64_t most, char **checkpoint, int64_t *step, tr_error *err);

#endif
