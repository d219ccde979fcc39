/* device_plan.h: the memory of a GPU that a run takes, part by part, before anything is allocated and without a
 * GPU.
 *
 * The same account as placement.c (parameters), network.c (working memory) and the tables of tensor/cuda (their own
 * working memory, of which this is the most that a shape asks for) make it. What stays on the host is not in it:
 * copies for checkpoints, clips, features, responses. Values are bytes. */
#ifndef TR_MODEL_DEVICE_PLAN_H
#define TR_MODEL_DEVICE_PLAN_H

#include "model/network.h"

typedef struct tr_device_plan {
    uint64_t weights; /* compute copies that are not masters themselves */
    uint64_t masters, gradients, moments;
    uint64_t reference; /* its weights; the starts of an adapter that goes on */
    uint64_t network;   /* working memory: activations, decoding, logits; the KV cache is in it: */
    uint64_t kv;
    uint64_t reference_network;
    uint64_t scratch; /* of the operations, at most */
    uint64_t staging; /* a ring for small arguments */
    uint64_t total;
    int64_t decode_groups; /* prompts that share a decode batch */
} tr_device_plan;

/* What is planned. options: dtype, train, freeze_*, moments8 and moments_folder count. limits' adapter_rank is the
 * adapter's. */
typedef struct tr_device_work {
    const tr_model_options *options;
    bool reference;                            /* a frozen copy of what trains */
    bool reference_away;                       /* the host keeps its layers */
    int64_t adapter_rank;                      /* 0: none */
    uint64_t adapter, adapter_moments8;        /* of tr_lora_plan: numbers, and bytes of their records */
    bool adapter_starts;                       /* the run goes on with an adapter: its start is kept */
    const tr_network_limits *limits;           /* of the network */
    const tr_network_limits *reference_limits; /* NULL: none of its own */
} tr_device_work;

/* params: with `stored` set (tr_checkpoint_open), or as tr_params_build leaves them for weights stored in f32. */
tr_status tr_device_plan_make(const tr_model_config *config, const tr_params *params, const tr_device_work *work,
                              tr_device_plan *plan, tr_error *err);

/* One line: "weights 6.98, masters 13.97, ... GiB"; parts without bytes are left out. */
void tr_device_plan_text(const tr_device_plan *plan, char *text, size_t size);

#endif
