/* bench_count.c: what the phases of `tempr1 bench` compute and read, and the rates that follow.
 *
 * Operations are counted twice: as the peer's benchmark counts its own form (every response a sequence of its own
 * with its prompt and video), under the peer's key names, and as the packed group computes them. Multiply-adds are
 * two; attention counts the pairs that the mask keeps. Nothing here is measured. */
#include "cli/bench.h"

#include "base/memory.h"
#include "base/random.h"
#include "model/checkpoint.h"
#include "tensor/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Pairs of a query and the keys that it sees: contexts of from + 1 .. to tokens. */
static double contexts(int64_t from, int64_t to)
{
    return ((double)to * ((double)to + 1) - (double)from * ((double)from + 1)) / 2;
}

static double vision_operations(const tr_vision_config *v, const int32_t grid[3])
{
    const double t = grid[0], h = grid[1], w = grid[2], patches = t * h * w, d = (double)v->hidden;
    const double inner = (double)v->intermediate, depth = (double)v->depth, full = (double)v->full_block_count;
    const int64_t side = v->window / v->patch / v->merge; /* of a window, in merged tokens */
    double window = 0;
    for (int64_t y = 0; y < grid[1] / 2; y += side) {
        for (int64_t x = 0; x < grid[2] / 2; x += side) {
            const int64_t high = grid[1] / 2 - y < side ? grid[1] / 2 - y : side;
            const int64_t wide = grid[2] / 2 - x < side ? grid[2] / 2 - x : side;
            window += (double)(4 * high * wide) * (double)(4 * high * wide);
        }
    }
    return patches * 2 * 1176 * d + patches * depth * 2 * (4 * d * d + 3 * d * inner) +
           (depth - full) * 4 * d * t * window + full * 4 * d * t * h * w * h * w +
           patches / 4 * 2 * (16 * d * d + 4 * d * (double)v->out_hidden);
}

/* Of a token in the adapters. */
static double adapter_operations(const tr_model *model)
{
    double sum = 0;
    for (int i = model->params.base; i < model->params.count; i++) {
        sum += 2 * (double)model->params.items[i].out * (double)model->params.items[i].in;
    }
    return sum;
}

/* Forward and backward of what a forward takes. Whole weights: dX and dW are each as much again. With adapters the
 * tower has no backward and frozen weights have no dW. `again`: recomputed in backward. */
static double training(bool adapters, double vision, double linear, double rest, double again)
{
    return (adapters ? vision + 2 * linear : 3 * (vision + linear)) + 3 * rest + again;
}

void tr_bench_count_operations(const tr_bench_work *w, tr_bench_operations *o)
{
    const tr_model_config *c = &w->model->config;
    const double h = (double)c->hidden, kv = (double)(c->head_dim * c->kv_heads), layers = (double)c->layers;
    const double weights = layers * 2 * (2 * h * h + 2 * h * kv + 3 * h * (double)c->intermediate);
    const double adapter = adapter_operations(w->model), token = weights + adapter;
    const double pair = layers * 4 * h, head = 2 * h * (double)c->vocab;
    const int64_t prompt = w->group.prompt, each = w->r->response;
    const double s = (double)prompt, g = (double)w->r->group, r = (double)each;
    const bool adapters = w->r->lora > 0, layer = !strcmp(w->r->recompute, "layer");
    o->vision = vision_operations(&c->vision, w->r->thw[0]);
    o->prompt = s * token + pair * contexts(0, prompt);
    o->head = head;
    o->prefill = o->prompt + head;
    o->decode = g * ((r - 1) * (token + head) + pair * contexts(prompt, prompt + each - 1));
    o->sequence = o->vision + (s + r) * token + pair * contexts(0, prompt + each) + (s + r) * head;
    o->shared = o->vision + o->prompt + g * (r * token + pair * contexts(prompt, prompt + each)) + g * r * head;
    o->rollout_generate = o->vision + g * o->prefill + o->decode;
    const double all = (s + g * r) * weights + g * r * head, theirs = (s + r) * (weights + head);
    o->update = training(adapters, o->vision, all, o->shared - o->vision - all,
                         layer ? o->shared - (adapters ? o->vision : 0) : 0);
    o->peer_update = g * training(adapters, o->vision, theirs, o->sequence - o->vision - theirs, 0);
    /* the features of the rollout serve the update: its vision tower runs backward alone; with adapters they serve
     * the reference too, which is computed without them */
    o->step = o->vision + o->prefill + o->decode + o->shared + o->update - o->vision -
              (adapters ? o->vision + (s + g * r) * adapter : 0);
}

json_t *tr_bench_operations_json(const tr_bench_work *w, const tr_bench_operations *o)
{
    const double g = (double)w->r->group;
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:{s:f, s:f, s:f, s:f, s:f, s:f}}",
                     "prompt_tokens", (json_int_t)w->group.prompt, "vision", o->vision, "prompt", o->prompt,
                     "prefill", o->prefill, "head", o->head, "decode", o->decode, "sequence_forward", o->sequence,
                     "logprob", g * o->sequence, "update", o->peer_update, "rollout_generate", o->rollout_generate,
                     "shared_forward", o->shared, "packed", "vision", o->vision, "prefill", o->prefill, "decode",
                     o->decode, "logprob", o->shared, "update", o->update, "step", o->step);
}

/* ---- bytes ---- */

double tr_bench_decode_bytes(const tr_bench_work *w)
{
    const tr_model *model = w->model;
    const tr_model_config *c = &model->config;
    const double rows = (double)(w->r->group * w->r->groups);
    const bool half = !model->ops->memory->host && w->r->kind == TR_BF16; /* how the cache lies on a GPU in bf16 */
    const double token = 2.0 * (double)(c->layers * c->kv_heads * c->head_dim) * (half ? 2 : 4);
    double bytes = 0;
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        const double size = p->matrix ? (double)tr_dtype_size(p->value.dtype) : (double)sizeof(float);
        if (p->part == TR_PART_TEXT) { /* an untied embedding is read where its rows are taken */
            const bool picked = i == model->params.embed && model->params.head != model->params.embed;
            bytes += (picked ? rows : (double)p->out) * (double)p->in * size;
        }
    }
    /* a step at index i reads the response's i + 1 tokens; i runs from 0 to R - 2 */
    return bytes + token * ((double)w->r->groups * (double)w->group.prompt + rows * (double)w->r->response / 2);
}

/* Bytes that weights, training state, reference and working memory were planned to take. */
double tr_bench_planned_bytes(const tr_bench_work *w, const tr_network_limits *limits,
                              const tr_network_limits *reference)
{
    const tr_model *model = w->model;
    uint64_t network = 0, second = 0;
    double bytes = 0;
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        const double elements = (double)p->elements;
        const double value = elements * (p->matrix ? (double)tr_dtype_size(p->value.dtype) : (double)sizeof(float));
        const bool apart = !p->master || (void *)p->master != p->value.panels;
        bytes += apart ? value : 0;
        bytes +=
            elements * sizeof(float) *
            ((p->master != NULL) + (p->gradient != NULL) + (w->r->offload ? 0 : (p->m != NULL) + (p->v != NULL)));
        const tr_param *copy = w->reference && !w->r->offload ? &w->reference->params.items[i] : NULL;
        if (copy && !copy->borrowed) { /* in bf16 where that holds the same values */
            bytes += elements * (double)(copy->matrix ? tr_dtype_size(copy->value.dtype) : sizeof(float));
        }
    }
    if (tr_network_plan(model, limits, &network, NULL) ||
        (reference && tr_network_plan(w->reference, reference, &second, NULL))) {
        return 0;
    }
    return bytes + (double)network + (double)second;
}

/* ---- rates ---- */

static double median_of(const json_t *result, const char *key)
{
    return json_number_value(json_object_get(json_object_get(result, key), "median"));
}

/* gflops of what the packed form computes, peer_gflops of what the peer computes for the same result, and the share
 * of the measured ceiling; where a time is 0 nothing is said. */
static void add_rates(const tr_bench_work *w, json_t *to, double operations, double peers, double seconds)
{
    if (!(seconds > 0)) {
        return;
    }
    json_object_set_new(to, "gflops", json_real(operations / seconds * 1e-9));
    json_object_set_new(to, "peer_gflops", json_real(peers / seconds * 1e-9));
    if (w->ceiling.product_tflops > 0 && w->r->kind == TR_BF16) {
        json_object_set_new(to, "ceiling_share",
                            json_real(operations / seconds * 1e-12 / w->ceiling.product_tflops));
    }
}

static void add_decode_rates(const tr_bench_work *w, const tr_bench_operations *o, json_t *shared)
{
    const double groups = (double)w->r->groups, step = median_of(shared, "step_seconds");
    const double bytes = tr_bench_decode_bytes(w);
    add_rates(w, shared, groups * o->decode, groups * o->decode, median_of(shared, "decode_seconds"));
    json_object_set_new(shared, "groups", json_integer(w->r->groups));
    json_object_set_new(shared, "bytes_per_step", json_real(bytes));
    if (step > 0) {
        json_object_set_new(shared, "gb_per_s", json_real(bytes / step * 1e-9));
        if (w->ceiling.bandwidth_gb_per_s > 0) {
            json_object_set_new(shared, "bound_seconds", json_real(bytes / w->ceiling.bandwidth_gb_per_s * 1e-9));
            json_object_set_new(shared, "bandwidth_share",
                                json_real(bytes / step * 1e-9 / w->ceiling.bandwidth_gb_per_s));
        }
    }
}

void tr_bench_add_rates(const tr_bench_work *w, const char *phase, json_t *result)
{
    const double g = (double)w->r->group, seconds = median_of(result, "seconds");
    const double responses = g * (double)w->r->response;
    tr_bench_operations o;
    tr_bench_count_operations(w, &o);
    double own = 0, peers = 0, tokens = responses;
    if (!strcmp(phase, "vision")) {
        own = peers = o.vision;
        tokens = (double)w->visual.rows / 4;
    } else if (!strcmp(phase, "prefill")) {
        own = peers = o.prefill;
        tokens = (double)w->group.prompt;
    } else if (!strcmp(phase, "decode")) {
        add_decode_rates(w, &o, json_object_get(result, "shared"));
        return;
    } else if (!strcmp(phase, "logprob")) {
        own = o.shared;
        peers = g * o.sequence;
    } else if (!strcmp(phase, "update")) {
        own = o.update;
        peers = o.peer_update;
    } else {
        own = o.step;
        peers = o.rollout_generate + 2 * g * o.sequence + o.peer_update;
    }
    if (seconds > 0) {
        json_object_set_new(result, "tokens_per_s", json_real(tokens / seconds));
    }
    add_rates(w, result, own, peers, seconds);
}

/* ---- for people ---- */

static void say_share(const json_t *from, const char *key, const char *of)
{
    const json_t *share = json_object_get(from, key);
    if (share) {
        fprintf(stderr, " (%.1f %% of %s)", 100 * json_number_value(share), of);
    }
}

void tr_bench_say(const char *phase, const json_t *result)
{
    const json_t *shared = json_object_get(result, "shared"), *from = shared ? shared : result;
    const double gflops = json_number_value(json_object_get(from, "gflops"));
    const double seconds = median_of(from, shared ? "step_seconds" : "seconds");
    fprintf(stderr, "%-8s %10.4g s%s  %9.4g tokens/s  ", phase, seconds, shared ? " a step" : "",
            json_number_value(json_object_get(from, "tokens_per_s")));
    fprintf(stderr, gflops < 1000 ? "%.4g GFLOP/s" : "%.4g TFLOP/s", gflops < 1000 ? gflops : gflops / 1000);
    say_share(from, "ceiling_share", "the product ceiling");
    if (shared) {
        fprintf(stderr, "  %.4g GB/s", json_number_value(json_object_get(from, "gb_per_s")));
        say_share(from, "bandwidth_share", "the bandwidth");
    }
    const json_t *device = json_object_get(result, "peak_gpu_gib");
    fprintf(stderr, "  %.2f GiB planned, %.2f %s\n", json_number_value(json_object_get(result, "planned_gib")),
            json_number_value(device ? device : json_object_get(result, "peak_rss_gib")),
            device ? "in use on the GPU" : "resident");
}

/* ---- the device ---- */

json_t *tr_bench_measure_ceiling(tr_bench_work *w)
{
    tr_error why = {0};
    tr_cuda_ceilings c;
    if (tr_cuda_ceiling(&c, &why)) {
        return json_pack("{s:s}", "missing", why.message);
    }
    w->ceiling.product_tflops = c.product_tflops;
    w->ceiling.bandwidth_gb_per_s = c.read_gb_per_s > c.copy_gb_per_s ? c.read_gb_per_s : c.copy_gb_per_s;
    return json_pack("{s:f, s:f, s:f, s:f}", "product_tflops", c.product_tflops, "copy_gb_per_s", c.copy_gb_per_s,
                     "read_gb_per_s", c.read_gb_per_s, "bandwidth_gb_per_s", w->ceiling.bandwidth_gb_per_s);
}

/* GiB of the device that are in use, whoever uses them; the context and the libraries count too. */
json_t *tr_bench_device_gib(void)
{
    uint64_t available, all;
    return tr_cuda_memory(&available, &all, NULL) ? NULL : json_real((double)(all - available) / 0x1p30);
}

json_t *tr_bench_digest(const tr_bench_work *w)
{
    enum { PART = 1 << 22 };
    const int64_t tokens = w->r->group * w->r->response;
    char text[17];
    float *part = tr_calloc(PART, sizeof *part);
    uint64_t state[4] = {tr_hash(w->recorded, (size_t)tokens * sizeof(float)),
                         tr_hash(w->logp, (size_t)tokens * sizeof(float)),
                         tr_hash(&w->grad_norm, sizeof w->grad_norm), 0};
    for (int i = 0; part && i < w->model->params.count; i++) {
        const tr_param *p = &w->model->params.items[i];
        for (int64_t at = 0; p->master && at < p->elements; at += PART) {
            const int64_t count = p->elements - at < PART ? p->elements - at : PART;
            p->memory->read(part, p->master + at, (size_t)count * sizeof *part);
            const uint64_t both[2] = {state[3], tr_hash(part, (size_t)count * sizeof *part)};
            state[3] = tr_hash(both, sizeof both);
        }
    }
    snprintf(text, sizeof text, "%016llx", (unsigned long long)tr_hash(state, sizeof state));
    json_t *digest = part ? json_string(text) : NULL;
    free(part);
    return digest;
}
