/* rollout.h: answers prompts by sampling: several prompts share one decode batch, finished responses leave at once,
 * and the next prompt joins as soon as there is room for its responses. Where the network has a second lane, that
 * prompt's features and keys are made beside the decoding (tr_network_next_begin); elsewhere when it joins.
 *
 * The result of each prompt is a packed group: ids and log-probabilities of all its responses one after the other,
 * ready for tr_network_group_forward. The same responses come out whatever the batch (counter-based sampling,
 * kernels whose rows do not depend on each other). Allocates in create only. Not thread safe. */
#ifndef TR_RL_ROLLOUT_H
#define TR_RL_ROLLOUT_H

#include "model/network.h"
#include "rl/sampler.h"

/* One prompt to answer. */
typedef struct tr_rollout_prompt {
    tr_group prompt;   /* without responses */
    uint32_t row;      /* counter of the random numbers */
    uint32_t response; /* counter of its first response (0 unless a group is made in pieces) */
} tr_rollout_prompt;

/* Responses of one prompt, packed. Memory belongs to the tr_rollout until its next run. */
typedef struct tr_rollout_group {
    int64_t responses, tokens; /* tokens of all responses together */
    const int32_t *ids;        /* [tokens], end tokens included */
    const float *logp;         /* [tokens] log-softmax(logits / temperature) over the whole vocabulary */
    const int64_t *lengths;    /* [responses] */
    const uint8_t *stopped;    /* [responses] 1: ended with an end token; 0: reached max_tokens */
} tr_rollout_group;

typedef struct tr_rollout tr_rollout;

/* For at most `prompts` prompts of `responses` responses of max_tokens; `network` must have been made with
 * decode_rows >= responses, decode_groups >= 1 and decode_tokens >= max_tokens; more of both lets more prompts
 * share a batch. */
tr_status tr_rollout_create(tr_network *network, const tr_network_limits *limits, const tr_model *model,
                            int64_t prompts, int64_t responses, int64_t max_tokens, tr_rollout **rollout,
                            tr_error *err);
void tr_rollout_free(tr_rollout *rollout);
/* Bytes that such a one takes (model plan). */
uint64_t tr_rollout_bytes(const tr_network_limits *limits, int64_t vocab, int64_t prompts, int64_t responses,
                          int64_t max_tokens);

/* Seconds of the host: on a backend with a second lane `vision_s` and `prefill_s` are what decoding waited for. */
typedef struct tr_rollout_times {
    double vision_s, prefill_s, decode_s;
} tr_rollout_times;

/* Brings prompts when they are due, in their order, so that reading a clip and its vision pass need not be done
 * before the first response is. */
typedef struct tr_rollout_feed {
    void *context;
    /* Fills prompts[p] of the run. Where its features are not there: *visual with patches, and *features, where
     * they go (tr_network_next); both stay until `made` is called or the run ends. An error ends the run. */
    tr_status (*take)(void *context, int64_t p, const tr_visual **visual, float **features, tr_error *err);
    void (*made)(void *context, int64_t p); /* the features of prompts[p] are in their place */
} tr_rollout_feed;

/* For the runs that follow; NULL: prompts are whole when a run begins. The feed must stay. */
void tr_rollout_set_feed(tr_rollout *rollout, const tr_rollout_feed *feed);

/* Called now and then with the number of tokens and of responses finished so far; may be NULL. */
typedef void (*tr_rollout_progress)(void *context, int64_t tokens, int64_t finished, int64_t responses);

/* Answers each prompt `responses` times. groups [count] is filled. TR_NUMERIC when logits are not finite. */
tr_status tr_rollout_run(tr_rollout *rollout, const tr_rollout_prompt *prompts, int64_t count, int64_t responses,
                         const tr_sampling *sampling, uint64_t seed, uint32_t step, tr_rollout_group *groups,
                         tr_rollout_times *times, tr_rollout_progress progress, void *context, tr_error *err);

#endif
