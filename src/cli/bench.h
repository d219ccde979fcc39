/* bench.h: what the files of `tempr1 bench` share: the request, the work (one model, one group, its buffers) and
 * the times that are taken. bench.c holds the phases and the command, bench_work.c makes the work, bench_cold.c the
 * cold start. */
#ifndef TR_CLI_BENCH_H
#define TR_CLI_BENCH_H

#include "base/json.h"
#include "model/network.h"
#include "rl/optimiser.h"

#include <stdbool.h>

enum { TR_BENCH_TIMES = 4096 };

typedef struct tr_bench_request {
    const char *model, *grid, *dtype, *device, *isa, *phases, *recompute, *offload;
    int64_t text, group, groups, response, repeats, seed, child;
    int64_t lora; /* rank of the adapters that train instead of the weights; 0: none */
    bool cold, digest, json;
    int32_t thw[1][3];
    tr_dtype kind;
} tr_bench_request;

typedef struct tr_bench_times {
    double all[TR_BENCH_TIMES];
    int count;
} tr_bench_times;

typedef struct tr_bench_work {
    const tr_bench_request *r;
    tr_model *model, *reference;
    tr_network *network, *reference_network;
    tr_optimiser optimiser;
    tr_visual visual;
    tr_group group;
    float *pixels, *features, *reference_features, *dfeatures, *logits, *logp, *recorded, *expected, *dlogp;
    int32_t *ids, *positions, *responses, *tokens;
    uint8_t *banned;     /* [vocab] ids that stand for pixels: a GPU's rollout samples its tokens */
    tr_draw *draws;      /* [rows] */
    tr_sampled *sampled; /* [rows] */
    int64_t *lengths, *slots, *streams, *index;
    double gap; /* largest |sampled - recomputed| log-prob of the last step */
    double grad_norm;
    struct {
        double product_tflops, bandwidth_gb_per_s; /* measured in this process; 0: not */
    } ceiling;
} tr_bench_work;

/* Operations of one group. prompt, sequence and rollout_generate are of the peer's form, where every response is a
 * sequence of its own; shared is the group packed, forward; update and step are this program's, peer_update the
 * peer's for the same result. */
typedef struct tr_bench_operations {
    double vision, prompt, head, prefill, decode, sequence, shared, rollout_generate, update, step, peer_update;
} tr_bench_operations;

/* Takes a time down; the median of those taken; {"median", "min", "max", "n"}. */
void tr_bench_note(tr_bench_times *t, double seconds);
double tr_bench_median(const tr_bench_times *t);
json_t *tr_bench_summary(const tr_bench_times *t);

/* Peak resident set since the last reset, in GiB. */
void tr_bench_reset_peak(void);
double tr_bench_peak_gib(void);

/* The model of the request; pixels, ids, positions and buffers of the group. tr_bench_free frees all of it. */
tr_status tr_bench_load(tr_bench_work *w, bool train, tr_error *err);
tr_status tr_bench_make_inputs(tr_bench_work *w, tr_error *err);
void tr_bench_free_networks(tr_bench_work *w);
void tr_bench_free(tr_bench_work *w);

/* The memory that the work needs; the vision tower on its pixels; the group without its responses. */
tr_network_limits tr_bench_limits_of(const tr_bench_work *w, bool train, int64_t decode_groups);
tr_status tr_bench_vision(tr_bench_work *w, tr_network *network, bool keep, tr_error *err);
tr_group tr_bench_prompt_of(const tr_bench_work *w);

/* ---- bench_count.c ---- */

void tr_bench_count_operations(const tr_bench_work *w, tr_bench_operations *operations);
/* The peer's keys, and "packed": what this program computes. */
json_t *tr_bench_operations_json(const tr_bench_work *w, const tr_bench_operations *operations);

/* What a decode step reads at least: the decoder's weights once, every prompt's keys and values once for its group,
 * those of the responses (the mean over the steps). Activations and logits are not counted. */
double tr_bench_decode_bytes(const tr_bench_work *w);

/* Bytes of weights, training state, reference and working memory by plan. reference (may be NULL): the limits of
 * the reference's network. 0: the plan cannot be made. */
double tr_bench_planned_bytes(const tr_bench_work *w, const tr_network_limits *limits,
                              const tr_network_limits *reference);

/* Adds tokens_per_s, gflops, peer_gflops and the shares of the ceilings to a phase's result; one readable line of
 * it on stderr. */
void tr_bench_add_rates(const tr_bench_work *w, const char *phase, json_t *result);
void tr_bench_say(const char *phase, const json_t *result);

/* What the GPU reaches, kept in w->ceiling; {"missing": reason} where it cannot be measured. GPU memory in use;
 * NULL where it is unknown. */
json_t *tr_bench_measure_ceiling(tr_bench_work *w);
json_t *tr_bench_device_gib(void);

/* A hash of what a step has left: the log-probs of decoding and of the training forward, the gradient's norm, and
 * every trained weight's master. Equal runs give equal digests. NULL without memory. */
json_t *tr_bench_digest(const tr_bench_work *w);

/* --cold: starts this program again and again; and what such a child does. */
tr_status tr_bench_cold(const tr_bench_request *r, json_t *out, tr_error *err);
tr_status tr_bench_cold_child(const tr_bench_request *r, json_t *out, tr_error *err);

#endif
