/* network.h: forward and backward of the whole network over a packed group, and decoding with a KV cache.
 *
 * A tr_network owns the working memory for one model: it is planned for the largest shapes before a run, and a step
 * then allocates nothing. The same forward serves scoring, the reference pass, SFT (one response) and training; the
 * log-probabilities it gives equal bit for bit those of the decode path.
 *
 * Order of a training step for one group:
 *   vision_forward -> (features)  ... rollout by tr_decode ... -> group_forward -> [loss] -> group_backward ->
 *   vision_backward. With a frozen vision tower and merger the features are given and vision_backward is not
 * called. The parts share memory: a vision_forward ends what group_forward kept, a backward what was prefilled. */
#ifndef TR_MODEL_NETWORK_H
#define TR_MODEL_NETWORK_H

#include "base/memory.h"
#include "model/model.h"

/* Visual input of one prompt: patch rows in processor order (spec 3.0) of all its images and videos. */
typedef struct tr_visual {
    const float *patches;      /* [rows][1176] */
    int64_t rows;              /* patches; rows / 4 merged tokens */
    const int32_t (*grids)[3]; /* (t, h, w) in patches */
    int64_t grid_count;
} tr_visual;

/* A group: one prompt and its responses (none for a prefill, one for SFT). ids of image/video placeholders are
 * replaced by features in order; their count must match. */
typedef struct tr_group {
    const int32_t *prompt_ids; /* [prompt] */
    const int32_t *positions;  /* [3][prompt], axes t, h, w */
    int64_t prompt;
    const float *features; /* [visual tokens][hidden]; NULL for a text-only prompt */
    int64_t visual_tokens;
    const int32_t *response_ids; /* all responses one after the other */
    const int64_t *lengths;      /* [responses] */
    int64_t responses;
    /* For SFT on whole conversations: when not NULL, [prompt] ids that each prompt row predicts (-1: none); their
     * log-probs come first in the outputs of group_forward. */
    const int32_t *prompt_targets;
} tr_group;

typedef enum tr_recompute { TR_RECOMPUTE_NONE, TR_RECOMPUTE_LAYER } tr_recompute;

/* The largest shapes of a run; 0 where a part is not used. */
typedef struct tr_network_limits {
    int64_t patches;      /* visual rows of one prompt */
    int64_t largest_grid; /* h * w of one temporal grid, for attention working memory; 0: patches */
    int64_t windows;      /* attention windows (tr_windows_count); 0: as many as such patches can have */
    int64_t prompt_tokens, response_tokens /* all of one group */, responses;
    int64_t targets;               /* rows with a log-prob: response_tokens, or more with prompt_targets */
    bool train_text, train_vision; /* keep activations for backward */
    int64_t decode_rows;           /* responses decoded together, over all groups */
    int64_t decode_groups;         /* prompts in the KV cache at once */
    int64_t decode_tokens;         /* tokens of one response at most */
    bool
        ahead; /* where the backend has lanes: make the next prompt ready beside the decoding (memory of its own) */
    tr_recompute recompute;
    int64_t adapter_rank; /* for tr_network_plan_config; a model's own adapter is known otherwise */
    uint64_t lends;       /* bytes that tr_network_create_within takes from it; host memory only */
    int64_t mlp_rows;     /* of which the inside of an MLP is there at once; 0: 1024 on the host, all on a GPU */
} tr_network_limits;

typedef struct tr_network tr_network;

/* Bytes that the network's working memory will take, without making it (model plan). */
tr_status tr_network_plan(const tr_model *model, const tr_network_limits *limits, uint64_t *bytes, tr_error *err);
/* From a configuration alone, as the operations of a table plan it: the float part where its memory is not the
 * host's. */
tr_status tr_network_plan_for(const tr_model_config *config, const tr_network_limits *limits, const tr_ops *ops,
                              uint64_t *bytes, tr_error *err);
/* Rows of logits that the fused head makes at a time. */
int64_t tr_network_head_tile(const tr_model_config *config, const tr_network_limits *limits);
/* The same on the CPU. */
tr_status tr_network_plan_config(const tr_model_config *config, const tr_network_limits *limits, uint64_t *bytes,
                                 tr_error *err);

tr_status tr_network_create(tr_model *model, const tr_network_limits *limits, tr_network **network, tr_error *err);
/* A network whose working memory is the lender's (limits.lends says how much; where that is too little, or not the
 * host's, it has its own): for a reference. The lender then loses what it prefilled, and what group_forward kept,
 * but not what vision_forward kept, whenever this one computes. The lender is freed after its last use. */
tr_status tr_network_create_within(tr_model *model, const tr_network_limits *limits, tr_network *lender,
                                   tr_network **network, tr_error *err);
void tr_network_free(tr_network *network);

/* Which weights every pass that follows computes with: the base and its adapter, the base alone, or the base with
 * the adapter as this run found it (a fresh one: the base alone), which is the reference policy. Backward needs ON.
 * A model without an adapter is the same in all three. */
typedef enum tr_adapter_use { TR_ADAPTER_ON, TR_ADAPTER_OFF, TR_ADAPTER_START } tr_adapter_use;
void tr_network_set_adapter(tr_network *network, tr_adapter_use use);

/* features[rows/4][hidden]. keep: activations are kept for vision_backward (needs limits.train_vision). It writes
 * over the activations that group_forward kept. */
tr_status tr_network_vision_forward(tr_network *network, const tr_visual *visual, bool keep, float *features,
                                    tr_error *err);
/* Adds the gradients of vision tower and merger, as far as they are trainable. */
tr_status tr_network_vision_backward(tr_network *network, const tr_visual *visual, const float *dfeatures,
                                     tr_error *err);

/* logp and entropy of every target (prompt targets first, then the response tokens) at a temperature; entropy may
 * be NULL. keep: activations are kept for group_backward. */
tr_status tr_network_group_forward(tr_network *network, const tr_group *group, float temperature, bool keep,
                                   float *logp, float *entropy, tr_error *err);
/* Given d(loss)/d(logp) and d(loss)/d(entropy) (may be NULL) of the same targets: adds parameter gradients and sets
 * dfeatures [visual tokens][hidden] (may be NULL). Must follow group_forward with keep of the same group. */
tr_status tr_network_group_backward(tr_network *network, const tr_group *group, const float *dlogp,
                                    const float *dentropy, float *dfeatures, tr_error *err);

/* ---- decoding: prompts are prefilled into slots, then all live responses advance one token at a time ----
 * logits: a host array. On a GPU it may be NULL: they then stay there, for tr_network_sample. */

/* Prefills a prompt (group without responses) into a slot [0, decode_groups) and gives the logits [vocab] of its
 * last position. */
tr_status tr_network_prefill(tr_network *network, int64_t slot, const tr_group *prompt, float *logits,
                             tr_error *err);

/* A prompt on its way into a slot [0, tr_network_slots). Its arrays, and those of visual, stay until it is
 * finished.
 */
typedef struct tr_network_next {
    int64_t slot;
    tr_group prompt;         /* without responses; with its features, unless they are to be made */
    const tr_visual *visual; /* not NULL: the tower makes the features first */
    float *features;         /* and where they go as well, [visual tokens][hidden] */
} tr_network_next;

/* Vision pass and prefill of a prompt, in two steps: begun, and later finished, which waits for it and gives the
 * logits [vocab] of its last position. With limits.ahead on a backend with lanes both are computed beside the
 * decode calls made in between; elsewhere when they are finished, with the same bits. One prompt at a time. */
tr_status tr_network_next_begin(tr_network *network, const tr_network_next *next, tr_error *err);
bool tr_network_next_ready(tr_network *network); /* whether finishing need not wait */
/* *vision_s (may be NULL) grows by the seconds of a vision pass that was computed here. */
tr_status tr_network_next_finish(tr_network *network, float *logits, double *vision_s, tr_error *err);
void tr_network_next_drop(tr_network *network); /* waits for it and forgets it; nothing when none is on its way */
bool tr_network_runs_ahead(const tr_network *network);
int64_t tr_network_slots(const tr_network *network); /* decode_groups, and one more where it runs ahead */
/* Memory of the host for the patches [limits.patches] of the prompt that is begun next, from which they travel
 * without a copy on the way; waits until those before have left it. NULL: there is none, any memory serves. */
float *tr_network_patches(tr_network *network);
/* Such memory of the host, and for the features, of a network that runs ahead with these limits. */
uint64_t tr_network_pinned_plan(const tr_model_config *config, const tr_network_limits *limits);

/* One token for each of `rows` live responses: row i of stream streams[i] (in [0, decode_rows)) of prompt slot
 * slots[i] appends token tokens[i] as its index-th token (index[i] from 0) and gets logits[i * vocab] for the next.
 * Rows of one slot should be neighbours. Positions continue from the slot's prompt. */
tr_status tr_network_decode(tr_network *network, const int64_t *streams, const int64_t *slots, const int64_t *index,
                            const int32_t *tokens, int64_t rows, float *logits, tr_error *err);

/* Draws `rows` tokens from the logits of the last prefill (shared: all from its one row) or decode. logits: as
 * given there. */
tr_status tr_network_sample(tr_network *network, const float *logits, bool shared, const tr_draw *draws,
                            int64_t rows, const tr_sampling *sampling, tr_sampled *sampled, tr_error *err);
/* tr_network_decode and the draw of every row's next token, of which only `sampled` comes to the host. */
tr_status tr_network_step(tr_network *network, const int64_t *streams, const int64_t *slots, const int64_t *index,
                          const int32_t *tokens, int64_t rows, float *logits, const tr_draw *draws,
                          const tr_sampling *sampling, tr_sampled *sampled, tr_error *err);

/* Position ids of a prompt (spec section 4.1, semantics A): positions [3][count]. second_per_grid[video] for each
 * video grid in order. next (may be NULL) is the largest id + 1: the first response token's. */
tr_status tr_positions(const tr_model_config *config, const int32_t *ids, int64_t count, const int32_t (*grids)[3],
                       int64_t grid_count, const double *second_per_grid, int32_t *positions, int32_t *next,
                       tr_error *err);

/* A tap for `trace`: called with the name of each stage ("layer_0", "features", ...) while set. NULL turns it off.
 */
typedef void (*tr_network_tap)(void *context, const char *name, const float *values, int64_t rows, int64_t columns);
void tr_network_set_tap(tr_network *network, tr_network_tap tap, void *context);

#endif
