/* lora.h: low-rank adapters of the decoder's linear layers: y = W x + b + (alpha / rank) B (A x).
 *
 * A [rank, in] and B [out, rank] are entries of the table of parameters behind the published ones, so optimiser,
 * checkpoints and memory plans treat them like every other matrix; they are computed in f32 whatever the model's
 * dtype. The weights below are frozen and exist once. With the adapter off (tr_network_set_adapter) the same model
 * is its own reference.
 *
 * On disk an adapter is a folder as peft writes it: adapter_config.json, which names the base, and
 * adapter_model.safetensors. Never adapts the vision tower, embedding or head. */
#ifndef TR_MODEL_LORA_H
#define TR_MODEL_LORA_H

#include "base/json.h"
#include "model/params.h"
#include "model/safetensors.h"

struct tr_model;
struct tr_model_options;

enum { TR_LORA_RANK_MAX = 1024 };

/* What a new adapter shall be. targets has peft's meaning: a string is a regular expression that must match a whole
 * module name ("model.language_model.layers.0.self_attn.q_proj"); a list holds names, each matching modules of that
 * name or ending with ".NAME"; "all-linear" is every linear layer. */
typedef struct tr_lora_settings {
    int64_t rank;
    double alpha;
    const json_t *targets; /* borrowed */
    uint64_t seed;         /* of A's first values */
} tr_lora_settings;

/* What an adapter is, beside its matrices. */
typedef struct tr_lora {
    int64_t rank;
    double alpha;
    float scale; /* alpha / rank */
    json_t *targets;
    char *base;                            /* folder of the model that it belongs to */
    int64_t matrices;                      /* adapted linear layers */
    int64_t first;                         /* the lowest decoder layer with one */
    bool fresh;                            /* B was zero at the start: the start is the base */
    bool vision_replaced, merger_replaced; /* the adapter brought weights of its own for these */
} tr_lora;

void tr_lora_free(tr_lora *lora);

/* Whether a folder holds an adapter. */
bool tr_lora_is_adapter(const char *dir);
/* The folder with the weights: dir itself, or the base that the adapter in dir names (as it stands, then relative
 * to dir). free() frees it. */
tr_status tr_lora_base(const char *dir, char **base, tr_error *err);
/* The folder with the tokenizer: dir, or the adapter's base when dir has none. free() frees it. */
tr_status tr_lora_tokenizer(const char *dir, char **tokenizer, tr_error *err);

/* chosen[i] for params->base entries: whether targets choose it; *others: whether they also choose modules that
 * cannot be adapted. TR_NOT_FOUND when they choose nothing; the message names `key`, the pattern and names that
 * exist. */
tr_status tr_lora_choose(const tr_params *params, const json_t *targets, const char *key, bool *chosen,
                         bool *others, tr_error *err);

/* peft's module name of an entry: "model.language_model.layers.0.self_attn.q_proj", "lm_head", ... */
void tr_lora_module(const tr_param *param, char *name, size_t size);

/* An adapter on a table without making it: matrices, numbers with their padding, and bytes of its moments in 8
 * bits. */
tr_status tr_lora_plan(const tr_params *params, const tr_lora_settings *settings, int64_t *matrices,
                       uint64_t *elements, uint64_t *moments8, tr_error *err);

/* ---- an adapter folder ---- */

typedef struct tr_adapter_pair {
    float *a, *b;               /* row-major [rank][in] and [out][rank] of an adapted matrix; else NULL */
    const tr_safetensor *whole; /* what replaces the base's tensor; NULL: nothing */
} tr_adapter_pair;

typedef struct tr_adapter {
    tr_lora lora;
    tr_safetensors tensors;
    tr_adapter_pair *found; /* [params->base] after matching */
    int count;
    uint64_t parameters;
} tr_adapter;

/* Reads and checks the folder; tr_adapter_close releases it (and takes an empty one). */
tr_status tr_adapter_open(tr_adapter *adapter, const char *dir, tr_error *err);
/* Finds every tensor's place in the table and reads A and B. */
tr_status tr_adapter_match(tr_adapter *adapter, const tr_params *params, tr_error *err);
void tr_adapter_close(tr_adapter *adapter);

/* Rows of a base's parameters with an adapter merged in: a tr_rows_fill, its context a tr_merged. */
typedef struct tr_merged {
    const tr_params *params;
    const tr_safetensor *const *found; /* the base's tensors, as tr_checkpoint_match gives them */
    const tr_adapter *adapter;
} tr_merged;
void tr_merged_rows(const void *context, const tr_param *param, int64_t row0, int64_t rows, void *to,
                    tr_dtype dtype);

/* ---- the model's side ---- */

/* Whether a run with these settings can be had on this table, before anything is read: the targets choose
 * something, and agree with the adapter where one is given. */
tr_status tr_lora_check(const tr_params *params, const tr_adapter *adapter, const tr_lora_settings *settings,
                        tr_error *err);

/* Gives a model A and B: the adapter's where one is given, else fresh ones. They train when `train`. */
tr_status tr_lora_attach(struct tr_model *model, const tr_adapter *adapter, const tr_lora_settings *settings,
                         const char *base, bool train, tr_error *err);
/* The same entries, without values, in the table of a copy. */
tr_status tr_lora_copy_table(struct tr_model *copy, const struct tr_model *model, tr_error *err);

/* Writes the adapter of a model as peft's files into a folder that exists. `dtype` is that of whole tensors. */
tr_status tr_lora_write(const struct tr_model *model, const char *dir, tr_dtype dtype, tr_error *err);

/* Writes base with the adapter merged into its weights as a checkpoint; dtype TR_F32, TR_BF16, or TR_U8 for bf16
 * where the base is stored so, else f32. progress (may be NULL) is told the bytes written. */
tr_status tr_lora_merge(const char *base, const char *adapter, const char *dir, tr_dtype dtype,
                        const char *tokenizer_dir, void (*progress)(void *context, uint64_t bytes, uint64_t total),
                        void *context, tr_error *err);

#endif
