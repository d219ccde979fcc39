/* model.h: a Qwen2.5-VL checkpoint in memory.
 *
 * Reads both tensor-name layouts, shards with an index, BF16/F16/F32, tied and untied heads; maps files. Writes the
 * published layout that transformers loads. Trainable tensors have an f32 master, a gradient and two moments;
 * frozen ones exist once, in their stored dtype (f16 vectors and all norms/biases as f32, exact). `dtype: bf16`
 * keeps a bf16 compute copy of every trainable matrix beside its master (activations and accumulation stay f32);
 * norms and biases are then f32 values rounded to bf16. */
#ifndef TR_MODEL_MODEL_H
#define TR_MODEL_MODEL_H

#include "model/lora.h"
#include "tensor/ops.h"

typedef struct tr_model {
    tr_model_config config;
    tr_params params;
    tr_dtype dtype;         /* of the compute copies: TR_F32 or TR_BF16 */
    bool moments8;          /* of matrices that train, the embedding apart: in 8 bits */
    const tr_ops *ops;      /* what computes the network */
    const tr_ops *host_ops; /* the CPU's: for arrays of the host; the same as ops on the CPU */
    char *directory;        /* where it was read from; NULL for a fresh one */
    tr_lora *lora;          /* its adapter; NULL: none */
} tr_model;

typedef struct tr_model_options {
    tr_dtype dtype; /* TR_F32 or TR_BF16 */
    bool train;     /* make masters, gradients and moments */
    bool freeze_text, freeze_vision, freeze_merger;
    bool moments8;                /* of matrices, in 8 bits (tensor/moments.h); vectors keep f32 */
    const char *moments_folder;   /* the moments live in a file of this folder, a GPU's in the host's memory; NULL:
                                     with the masters */
    const char *device;           /* of tr_ops_select; NULL: the CPU */
    const char *isa;              /* of tr_ops_cpu; NULL: the default */
    const char *adapter;          /* folder of an adapter for DIR; NULL: DIR's own, if it is one */
    bool merge_adapter;           /* the adapter becomes part of the weights */
    const tr_lora_settings *lora; /* train such an adapter (see lora.h); NULL: none is made */
} tr_model_options;

/* Loads DIR: a checkpoint, or an adapter folder, which names its base. Every tensor is checked before anything is
 * kept; errors name file and tensor or field. */
tr_status tr_model_load(const char *dir, const tr_model_options *options, tr_model **model, tr_error *err);

/* A fresh model with random weights (normal with sd 1/sqrt(inputs), 0.02 for the embedding; norms 1, biases 0;
 * counter RNG by tensor name, so that the bits do not depend on threads). */
tr_status tr_model_create(const tr_model_config *config, const tr_model_options *options, uint64_t seed,
                          tr_model **model, tr_error *err);
void tr_model_free(tr_model *model);

/* A frozen copy (KL reference): compute copies only, dtype as the model's. What is frozen in the model never
 * changes and is shared: the copy must be freed first. With a folder the values live in a file there (those of a
 * GPU's layers in the host's memory), and a network that reads them lets each layer go again. */
tr_status tr_model_clone_frozen(const tr_model *model, const char *folder, tr_model **copy, tr_error *err);

/* After masters changed: refreshes the compute copies (bf16; nothing to do in f32). */
void tr_model_refresh(tr_model *model);

/* Sets all gradients to zero. */
void tr_model_zero_gradients(tr_model *model);

/* A model with an adapter writes an adapter folder instead (tr_lora_write); else:
 * Writes safetensors (dtype TR_F32 or TR_BF16; shards of at most shard_bytes, 0: 5 GB) with index, config and
 * generation config, and copies the tokenizer files from tokenizer_dir (may be NULL). The directory appears whole
 * or not at all. */
tr_status tr_model_save(const tr_model *model, const char *dir, tr_dtype dtype, uint64_t shard_bytes,
                        const char *tokenizer_dir, tr_error *err);

/* Checks one directory's every tensor (finite values too when `values`): `model info --check`. */
tr_status tr_model_check(const char *dir, bool values, tr_error *err);

static inline const tr_matrix *tr_model_matrix(const tr_model *model, int index)
{
    return &model->params.items[index].value;
}
static inline const float *tr_model_vector(const tr_model *model, int index)
{
    return (const float *)model->params.items[index].value.panels;
}
static inline float *tr_model_gradient(const tr_model *model, int index)
{
    return model->params.items[index].gradient;
}

#endif
