/* save.h: when a run writes checkpoints, and what it keeps to write them beside the training. */
#ifndef TR_TRAIN_SAVE_H
#define TR_TRAIN_SAVE_H

#include "train/checkpoint.h"
#include "train/saver.h"
#include "train/snapshot.h"

typedef struct tr_saving {
    tr_saver *saver;
    tr_snapshot snapshot;
    tr_checkpoint checkpoint; /* the one that is being written */
    json_t *origin;           /* what the run started from (origin.h) */
    bool pending;             /* a checkpoint was handed over and its end not yet seen */
    bool again;               /* the last one failed: the next step tries again */
    int failed;               /* in a row */
    double begun_s;           /* when the last one was handed over */
    double held_s, total_s;   /* seconds that the training waited, not yet in a line of metrics; in all */
    int64_t log_bytes[2]; /* metrics.jsonl and rollouts.jsonl up to the restored checkpoint's step; 0: unknown */

    /* train.keep_best */
    double score_sum; /* over the steps since the last checkpoint */
    int64_t score_count;
    int64_t best_step, previous_step; /* 0: none; previous: what stands if the present one cannot be written */
    double best_score, previous_score, previous_sum;
    int64_t previous_count;
    bool warned;
} tr_saving;

struct tr_trainer;

/* Starts the thread and plans the snapshot. The origin is read already. */
tr_status tr_trainer_save_open(struct tr_trainer *t);
void tr_trainer_save_close(struct tr_trainer *t);

/* Whether the step that was just made asks for a checkpoint. evaluated: an evaluation was made after it. */
bool tr_trainer_save_due(const struct tr_trainer *t, bool evaluated, bool end);

/* Three parts around the line of metrics, which must be in its file before the checkpoint is in its folder: the
 * state is copied (waiting for the checkpoint before), the line is written, the copy is handed to the thread.
 * Checkpoints that cannot be written are said and tried again after the next step; the third in a row is an error.
 */
tr_status tr_trainer_save_take(struct tr_trainer *t);
void tr_trainer_save_score(struct tr_trainer *t, const json_t *metrics); /* of every step */
tr_status tr_trainer_save_begin(struct tr_trainer *t);

/* Notices without waiting that the last checkpoint failed. */
tr_status tr_trainer_save_check(struct tr_trainer *t);

/* Waits for the last checkpoint; its failure is an error. */
tr_status tr_trainer_save_finish(struct tr_trainer *t);

/* restore.c: sets the trainer to a checkpoint of its run; changes of configuration, data or start are refused or,
 * when accepted, said. */
tr_status tr_trainer_restore(struct tr_trainer *t, const char *checkpoint);

/* Only the look for changes, against any checkpoint of the run. */
tr_status tr_trainer_check_start(struct tr_trainer *t, const char *checkpoint);

enum { TR_STATE_VERSION = 2 };

#endif
