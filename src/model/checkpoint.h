/* checkpoint.h: what loading, creating, checking and saving share. Internal to src/model and its commands.
 *
 * A source gives the rows of a parameter as a checkpoint stores them; a model's memory is filled from one and a
 * checkpoint directory is written from one, tensor by tensor, so that neither needs a second whole copy. */
#ifndef TR_MODEL_CHECKPOINT_H
#define TR_MODEL_CHECKPOINT_H

#include "model/model.h"
#include "model/safetensors.h"

/* Writes rows [row0, row0 + rows) of a parameter, row-major [rows][in], as dtype. Called from several threads. */
typedef void (*tr_rows_fill)(const void *context, const tr_param *param, int64_t row0, int64_t rows, void *to,
                             tr_dtype dtype);

/* A checkpoint's tensors matched with the table: found[i] belongs to params->items[i]; free() frees the array.
 * Missing, unexpected and misshapen tensors are errors that name file and tensor. The head rule of spec 2.3: an
 * absent lm_head needs tied weights; one beside tied weights must equal the embedding. */
tr_status tr_checkpoint_match(const tr_safetensors *tensors, const tr_model_config *config, const tr_params *params,
                              const char *dir, const tr_safetensor ***found, tr_error *err);

/* Opens and matches a folder with weights: everything that can be checked without reading the data. What is not
 * NULL or empty afterwards is the caller's, also on failure. */
tr_status tr_checkpoint_open(const char *dir, tr_model_config *config, tr_params *params, tr_safetensors *tensors,
                             const tr_safetensor ***found, tr_error *err);

/* TR_NUMERIC, naming tensor and element, when a value is not finite. */
tr_status tr_checkpoint_finite(const tr_safetensors *tensors, tr_error *err);

/* The table's name of a checkpoint tensor in either layout: "model.language_model.X", "language_model.X" and
 * "model.X" are "model.X"; "model.visual.X" is "visual.X". false when the name is longer than any. */
bool tr_checkpoint_name(const char *name, char canonical[96]);

/* A stored tensor's elements in the checkpoint: the product of its shape. */
int64_t tr_param_count(const tr_param *param);

/* Whether the parameter's moments are records of 8 bits: a matrix' with options->moments8, but not the embedding's,
 * whose rows see few and unlike gradients (the paper's stable embedding keeps 32 bits too). */
bool tr_param_keeps_records(const tr_param *param, const tr_model_options *options);

/* Bytes that tr_param_allocate will take, without taking them: the compute copy (0 where the master serves as one)
 * and master, gradient and moments. param->stored must be set. */
void tr_param_plan(const tr_param *param, const tr_model_options *options, uint64_t *compute, uint64_t *state);

/* The same where memory is not the host's: all bytes of the values, of master and gradient, of the moments. The
 * values are counted also where the master serves as them. */
void tr_param_plan_away(const tr_param *param, const tr_model_options *options, uint64_t *values, uint64_t *state,
                        uint64_t *moments);

/* Makes a parameter's memory (compute copy, and master, gradient, moments when trainable) as the options ask.
 * param->stored must be set. */
tr_status tr_param_allocate(tr_params *params, int index, const tr_model_options *options, tr_error *err);

/* Sets the file aside that holds the moments of all trainable parameters, where options->moments_folder asks for
 * one; on a GPU the buffers that they pass through on their way from the host's memory and back. Before the first
 * tr_param_allocate. */
tr_status tr_params_offload_moments(tr_params *params, const tr_model_options *options, tr_error *err);

/* Chooses what computes the model and where its parameters live, after tr_params_build (placement.c). */
tr_status tr_model_place(tr_model *model, const tr_model_options *options, tr_error *err);

/* Bytes of a compute copy there: a vector's bf16 numbers stand behind its f32 ones. */
size_t tr_param_value_bytes_away(const tr_param *param, tr_dtype dtype);
/* tr_param_allocate where memory is not the host's. */
tr_status tr_param_allocate_away(tr_params *params, tr_param *param, const tr_model_options *options,
                                 tr_error *err);
/* Brings flat bf16-rounded vectors and matrices up to date there; a vector's values have room for it. */
void tr_param_refresh_away(tr_param *param);
/* A vector's values from the host. */
void tr_param_write_vector(tr_param *param, tr_dtype dtype, const float *values);
/* A frozen copy of `from` there. */
tr_status tr_param_clone_away(tr_param *to, const tr_param *from, tr_error *err);

/* Fills a parameter's master and compute copy from a source, in parallel. */
tr_status tr_param_fill(tr_param *param, tr_dtype dtype, tr_rows_fill fill, const void *context, tr_error *err);

/* Brings one parameter's compute copy up to date with its master. */
void tr_param_refresh(tr_param *param, tr_dtype dtype);

/* The random source of tr_model_create: context is a const uint64_t * seed. */
void tr_rows_random(const void *context, const tr_param *param, int64_t row0, int64_t rows, void *to,
                    tr_dtype dtype);

/* Writes a whole checkpoint directory (see tr_model_save). source: as tr_model_config_write's. progress (may be
 * NULL) is told the bytes written. */
typedef void (*tr_save_progress)(void *context, uint64_t bytes, uint64_t total);
tr_status tr_checkpoint_write(const char *dir, const tr_model_config *config, const tr_params *params,
                              tr_dtype dtype, uint64_t shard_bytes, const char *tokenizer_dir, const char *source,
                              tr_rows_fill fill, const void *context, tr_save_progress progress,
                              void *progress_context, tr_error *err);

#endif
