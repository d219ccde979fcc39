/* away.h: state of a GPU's model that the host's memory keeps: the optimiser's moments, or a reference's layers.
 *
 * It lies there in the backend's own layout, page-locked, and passes through two buffers of the backend: while one
 * is computed with, the other is filled (TR_LANE_LOAD) and, for moments, the one before written back
 * (TR_LANE_STORE). The bits are those of state that stays. Internal to src/model and src/rl. */
#ifndef TR_MODEL_AWAY_H
#define TR_MODEL_AWAY_H

#include "model/params.h"

/* ---- moments ---- */

enum { TR_AWAY_PIECE = 1 << 22 }; /* elements of one piece at most: a buffer holds both moments of one */

/* Makes the buffers for the moments of all parameters that `trains` (by index) says; before they are allocated. */
tr_status tr_away_moments(tr_params *params, const tr_memory *memory, const bool *trains, tr_error *err);
/* Zeroed m and v of a parameter in the host's memory. */
tr_status tr_away_take_moments(tr_params *params, tr_param *param, tr_error *err);

/* Some elements of one parameter. */
typedef struct tr_away_piece {
    const tr_param *param;
    int64_t at, count;
} tr_away_piece;
typedef void (*tr_away_step)(const void *context, const tr_away_piece *piece, float *m, float *v);
/* Calls step for every piece of the pieces' list with moments that the backend has; what it launches on the lane in
 * use changes them. When it returns the host has the new ones. */
void tr_away_walk(const tr_params *params, const tr_away_piece *pieces, int64_t count, tr_away_step step,
                  const void *context);

/* ---- a reference's layers ---- */

/* The layers and blocks whose values are copies (not borrowed): their values come to be the host's copies of
 * `from`'s. What else there is stays with the backend. */
tr_status tr_away_layers(tr_params *params, const tr_params *from, const tr_memory *memory, tr_error *err);
bool tr_away_in_layer(const tr_params *params, int index); /* whether it belongs to a layer or block */
bool tr_away_holds(const tr_params *params, int index);    /* whether the host keeps this parameter's values */
void tr_away_need(const tr_params *params, int first, int last);
void tr_away_release(const tr_params *params, int first, int last);

uint64_t tr_away_bytes(const struct tr_away *away); /* of the host's memory */
void tr_away_free(tr_params *params);               /* before the parameters' own memory */

/* Bytes without making anything: of the backend's buffers and of the host, for parameters with these elements that
 * train (moments), or whose copies are elements of `size` bytes (a reference's layers). */
void tr_away_plan_moments(const tr_params *params, const bool *trains, uint64_t *device, uint64_t *host);
void tr_away_plan_layers(const tr_params *params, const uint64_t *bytes /* [count], 0: none */, uint64_t *device,
                         uint64_t *host);

#endif
