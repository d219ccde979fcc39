/* state.h: state.safetensors of a checkpoint: what the published layout has no place for. */
#ifndef TR_TRAIN_STATE_H
#define TR_TRAIN_STATE_H

#include "base/json.h"
#include "model/model.h"

/* Whether a tensor has a master and moments: it is trained. */
bool tr_state_has(const tr_param *param);

/* What a trained tensor's state is made of: a master, and either m and v or moments in 8 bits. */
typedef enum tr_state_kind {
    TR_STATE_MASTER,
    TR_STATE_M,
    TR_STATE_V,
    TR_STATE_MOMENTS8,
    TR_STATE_KINDS
} tr_state_kind;
void *tr_state_values(const tr_param *param, int kind);        /* NULL: the tensor has none */
const tr_memory *tr_state_memory(const tr_param *p, int kind); /* where they are */
size_t tr_state_bytes(const tr_param *param, int kind);

/* Writes masters and moments; sums gets {"master/NAME": "hex"}. */
tr_status tr_state_write(const tr_model *model, const char *path, json_t *sums, tr_error *err);

/* Reads them back and holds each against its checksum; moments that were written in the other form are converted.
 * The compute copies are not refreshed. */
tr_status tr_state_read(tr_model *model, const char *path, const json_t *sums, tr_error *err);

#endif
