/* trace.h: every stage of the network on given inputs, for comparison with another implementation.
 *
 * Reads the `in/...` tensors of one case (names and meaning as the reference cases have them: a vision case has
 * in/pixels_u8, a text case in/input_ids, groups in/prompt_input_ids or in/group0/..., SFT in/row0/..., rotary tables
 * in/position_ids alone) and gives the `out/...` tensors, whole. Nothing but the checkpoint decides the shapes. */
#ifndef TR_MODEL_TRACE_H
#define TR_MODEL_TRACE_H

#include "model/network.h"
#include "model/safetensors.h"

typedef enum tr_trace_kind { TR_TRACE_VISION, TR_TRACE_TEXT, TR_TRACE_GROUP, TR_TRACE_SFT, TR_TRACE_ROPE } tr_trace_kind;

/* The kind of a case by its tensors' names; TR_FORMAT when it is none. */
tr_status tr_trace_kind_of(const tr_safetensors *in, tr_trace_kind *kind, tr_error *err);

/* Runs the case. backward: also out/loss and the gradient of every trainable parameter (the model must have been
 * loaded with `train`); its gradients are set to zero first. A text case has no loss: only the forward runs. */
tr_status tr_trace_run(tr_model *model, const tr_safetensors *in, bool backward, tr_safetensors_builder *out,
                       tr_error *err);

/* ---- shared by trace.c and trace_input.c ---- */

/* One prompt as a case gives it. Everything is owned; tr_trace_prompt_free takes an empty one. */
typedef struct tr_trace_prompt {
    int32_t *ids, *positions;   /* [count], [3][count] */
    int64_t count;
    float *patches;             /* [rows][1176], images and videos in the order of the prompt */
    int32_t (*grids)[3];
    int64_t rows, grid_count;
    int32_t next;               /* position of the first response token */
} tr_trace_prompt;

/* Reads PREFIXinput_ids, position_ids, video_* and image_* ("in/", "in/prompt_", "in/row0/", ...). Given positions
 * are used; where they can be computed too, a difference is an error. */
tr_status tr_trace_prompt_read(const tr_safetensors *in, const char *prefix, const tr_model_config *config,
                               tr_trace_prompt *prompt, tr_error *err);
void tr_trace_prompt_free(tr_trace_prompt *prompt);

/* A tensor PREFIX NAME; NULL when absent. Pixels as floats: (u8 - 128) / 64. Integers as int32, beyond its range -1;
 * count receives the elements. The results are freed with free(). */
const tr_safetensor *tr_trace_find(const tr_safetensors *in, const char *prefix, const char *name);
tr_status tr_trace_integers(const tr_safetensors *in, const char *prefix, const char *name, int32_t **values,
                            int64_t *count, tr_error *err);
tr_status tr_trace_pixels(const tr_safetensors *in, const char *prefix, const char *name, float **values, int64_t *rows,
                          tr_error *err);

#endif
