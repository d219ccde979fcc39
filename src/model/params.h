/* params.h: the one table of parameters. Initialisation, loading, optimiser, checkpoints, adapters and memory plans
 * all walk it.
 *
 * Order: embed, layers 0.., final norm, head (when untied), vision patch embed, blocks 0.., merger: the published
 * (legacy) names. Linear weights, the embedding and the patch embedding are tr_matrix (panels); norms and biases
 * are flat f32 vectors. A model with an adapter (lora.h) has its A and B behind these, as ordinary trainable
 * matrices. */
#ifndef TR_MODEL_PARAMS_H
#define TR_MODEL_PARAMS_H

#include "base/spill.h"
#include "model/config.h"
#include "tensor/ops.h"

typedef enum tr_param_part { TR_PART_TEXT, TR_PART_VISION, TR_PART_MERGER } tr_param_part;

typedef struct tr_param {
    char name[96];    /* legacy checkpoint name: "model.layers.0.self_attn.q_proj.weight" */
    int rank;         /* of the checkpoint tensor */
    int64_t shape[5]; /* of the checkpoint tensor */
    tr_param_part part;
    bool matrix;      /* panels [out, in] (a patch embedding is viewed [out, 1176]); else a vector of `out` */
    bool decay;       /* weight decay applies (matrices; not norms and biases) */
    bool embedding;   /* rows get gradients of their own tokens only (and of the head's, where it is tied) */
    int64_t out, in;  /* in is 1 for vectors */
    int64_t elements; /* as stored here, padding lanes included */

    const tr_memory
        *memory;     /* where values, masters, gradients and moments live; the host's unless a model says so */
    tr_dtype stored; /* dtype in the checkpoint it came from */
    bool trainable;
    /* The compute copy that operations read. f32 training: value.panels == master. Vectors: panels is float[out].
     */
    tr_matrix value;
    float *master, *gradient, *m, *v; /* only where trainable and asked for; else NULL */
    void *moments8;                   /* in the place of m and v: records of tensor/moments.h; else NULL */
    bool moments_away;                /* m and v are the host's memory though `memory` is not (away.c) */

    bool borrowed; /* value.panels belong to another model (tr_model_clone_frozen) */
    int adapter;   /* of an adapted matrix: the index of its A, its B follows; 0: none */
    float *start;  /* of A and B read from a file: their first values, panels; else NULL */
} tr_param;

/* Indices into the table. */
typedef struct tr_layer_params {
    int norm1, q, q_bias, k, k_bias, v, v_bias, o, norm2, gate, up, down;
} tr_layer_params;
typedef struct tr_block_params {
    int norm1, qkv, qkv_bias, proj, proj_bias, norm2, gate, gate_bias, up, up_bias, down, down_bias;
} tr_block_params;
typedef struct tr_params {
    tr_param *items;
    int count;
    int base; /* of them belong to the published model; those behind are an adapter's A and B in turn */
    int embed, norm, head; /* head == embed when tied */
    int patch, merger_norm, merger_fc1, merger_fc1_bias, merger_fc2, merger_fc2_bias;
    tr_layer_params *layers; /* [config.layers] */
    tr_block_params *blocks; /* [config.vision.depth] */
    int64_t layer_count, block_count;
    struct tr_away *away; /* what is kept in the host's memory of a backend that has its own; NULL: nothing */
    tr_spill spill;       /* holds what is offloaded: moments, or a reference model's values */
} tr_params;

/* Bytes of a matrix' records where its moments are in 8 bits. */
size_t tr_param_moments8_bytes(const tr_param *param);

/* Fills names, shapes and indices; no values. tr_params_free frees the table and the values it owns. */
tr_status tr_params_build(const tr_model_config *config, tr_params *params, tr_error *err);
void tr_params_free(tr_params *params);

uint64_t tr_params_away_bytes(const tr_params *params); /* that the host keeps of a GPU's parameters */

/* Where m and v are: in the backend's layout, also when the host has them. */
static inline const tr_memory *tr_param_moments(const tr_param *param)
{
    return param->moments_away ? param->memory->mirror : param->memory;
}

/* The values of the parameters [first, last), a layer or a block, are about to be read: where the host keeps them,
 * they are brought, and those of the one behind them set on their way. */
void tr_params_need(const tr_params *params, int first, int last);
/* Offloaded values of the parameters [first, last) leave the resident set until they are read again. Nothing
 * happens where values are not offloaded. */
void tr_params_release(const tr_params *params, int first, int last);

#endif
