/* state.h: state.safetensors of a checkpoint: what the published layout has no place for. */
#ifndef TR_TRAIN_STATE_H
#define TR_TRAIN_STATE_H

#include "base/json.h"
#include "model/model.h"

/* Whether a tensor has a master and moments: it is trained. */
bool tr_state_has(const tr_param *param);

/* Writes masters and moments; sums gets {"master/NAME": "hex"}. */
tr_status tr_state_write(const tr_model *model, const char *path, json_t *sums, tr_error *err);

/* Reads them back and holds each against its checksum. The compute copies are not refreshed. */
tr_status tr_state_read(tr_model *model, const char *path, const json_t *sums, tr_error *err);

#endif
