/* snapshot.h: the trained tensors as they were at one moment, so that a thread can write them while training goes
 * on.
 *
 * The snapshot is a model of its own for every function that only reads: its trained tensors (masters and moments)
 * point to copies, everything that is frozen to the model itself, which never changes it. */
#ifndef TR_TRAIN_SNAPSHOT_H
#define TR_TRAIN_SNAPSHOT_H

#include "base/memory.h"
#include "model/model.h"

typedef struct tr_snapshot {
    tr_model model; /* what to read; its table is the snapshot's own, the rest is borrowed */
    tr_arena arena; /* the copies; empty when nothing is copied, or */
    tr_spill spill; /* they are in a file */
} tr_snapshot;

/* Bytes that the copies take: 12 for each trained number (6 with moments in 8 bits), and on a GPU the frozen
 * values. */
uint64_t tr_snapshot_bytes(const tr_params *params);

/* Plans and reserves the copies (memory is touched by the first take only), in a file of `folder` unless it is
 * NULL. copies false: the snapshot shows the model itself, and whoever reads it must keep the training waiting. The
 * model must outlive the snapshot. */
tr_status tr_snapshot_create(tr_snapshot *snapshot, const tr_model *model, bool copies, const char *folder,
                             tr_error *err);
void tr_snapshot_free(tr_snapshot *snapshot);

/* Copies the model's present state, with all threads. */
void tr_snapshot_take(tr_snapshot *snapshot, const tr_model *model);

/* Copies in a file leave the resident set. */
void tr_snapshot_release(const tr_snapshot *snapshot);

#endif
