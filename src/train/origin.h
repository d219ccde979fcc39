/* origin.h: what a run started from, by content: the start weights, tokenizer, rows and prompts, each file with its
 * size and hash. It stands in every checkpoint's state.json, so that a resumed run can say what has changed.
 *
 * The reference policy is the start weights: it is read from the same folder again, and this is how a run knows
 * that it is the same. Clips are not looked into (their number is too large); a clip that changed is decoded again,
 * because its size and time of change are in the cache's key. */
#ifndef TR_TRAIN_ORIGIN_H
#define TR_TRAIN_ORIGIN_H

#include "train/config.h"

/* {"model": {NAME: {bytes, hash}}, "tokenizer": {...}, "data": [{"rows": {bytes, lines, hash}, "prompt": {...}}]}.
 * A file that is not there is {"absent": true}. The caller owns *origin. */
tr_status tr_origin_read(const tr_config *config, const char *model_dir, json_t **origin, tr_error *err);

/* Appends one line "model.safetensors of DIR: 1200 bytes, hash 12ab.. -> 1200 bytes, hash 34cd.." for each file
 * that differs. */
tr_status tr_origin_differences(const json_t *before, const json_t *after, tr_buffer *out, tr_error *err);

#endif
