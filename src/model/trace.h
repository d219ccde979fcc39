/* trace.h: every stage of the network on given inputs, for comparison with another implementation.
 *
 * The inputs are named tensors ("in/..."): pixels alone, a text sequence, groups of responses, or SFT rows; the
 * kind follows from the names. The results are collected under "out/..." with the names and shapes that the
 * project's reference files use. Inputs are checked against the model before anything is computed. */
#ifndef TR_MODEL_TRACE_H
#define TR_MODEL_TRACE_H

#include "model/network.h"
#include "model/safetensors.h"

typedef enum tr_trace_kind { TR_TRACE_VISION, TR_TRACE_TEXT, TR_TRACE_GROUPS, TR_TRACE_SFT } tr_trace_kind;

/* One sequence of the input: a prompt with its images and videos, and what belongs to it. */
typedef struct tr_trace_row {
    int64_t count;       /* tokens of the prompt; 0 in a vision trace */
    int32_t *ids;        /* [count] */
    int32_t *positions;  /* [3][count] */
    int32_t *targets;    /* [count] id that each row predicts, -1 none; text and SFT */
    int64_t patches;     /* of all images and videos, in the order of the prompt */
    float *pixels;       /* [patches][1176] */
    int32_t (*grids)[3]; /* [grid_count] */
    int64_t grid_count;
    int64_t visual;        /* merged tokens: patches / 4 */
    float *features;       /* [visual][hidden], room */
    int32_t *response_ids; /* [tokens] */
    int64_t *lengths;      /* [responses] */
    int64_t responses, tokens;
} tr_trace_row;

typedef struct tr_trace_input {
    tr_trace_kind kind;
    tr_trace_row *rows;
    int64_t count;
    float *weights;    /* groups: one for each response token of all groups, NULL when absent */
    float *d_features; /* vision: d(loss)/d(features), NULL when absent */
    int64_t tokens;    /* groups: response tokens of all; SFT: kept labels of all rows */
} tr_trace_input;

/* Reads and checks "in/..." against a configuration. Errors name the tensor. tr_trace_input_free takes an empty
 * one. */
tr_status tr_trace_input_read(const tr_model_config *config, const tr_safetensors *file, tr_trace_input *input,
                              tr_error *err);
void tr_trace_input_free(tr_trace_input *input);

/* One prompt alone: the tensors named prefix + "input_ids", "video_pixels_u8", ... tr_trace_row_free frees it. */
tr_status tr_trace_prompt_read(const tr_model_config *config, const tr_safetensors *file, const char *prefix,
                               tr_trace_row *row, tr_error *err);
void tr_trace_row_free(tr_trace_row *row);

/* The group that the network takes; features of the row as computed. */
tr_group tr_trace_group(const tr_trace_row *row);
tr_visual tr_trace_visual(const tr_trace_row *row);

/* Limits that fit every row of an input. */
tr_network_limits tr_trace_limits(const tr_trace_input *input, bool backward);

/* Runs the network and adds "out/..." to the builder. backward: also the loss and the gradients of the trainable
 * parameters (the model must have been loaded to train); a text input has no loss and gives none. */
tr_status tr_trace_run(tr_model *model, const tr_trace_input *input, bool backward, tr_safetensors_builder *out,
                       tr_error *err);

#endif
