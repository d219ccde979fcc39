/* device_plan.c: the memory of a GPU that a run takes, added up part by part. */
#include "model/device_plan.h"

#include "base/memory.h"
#include "model/away.h"
#include "model/checkpoint.h"
#include "model/network_parts.h"
#include "tensor/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* As tr_param_allocate_away and tr_param_clone_away take it. */
static void add_param(const tr_param *param, const tr_device_work *w, tr_device_plan *p)
{
    uint64_t values, state, moments;
    tr_param_plan_away(param, w->options, &values, &state, &moments);
    const bool away = w->options->moments_folder && !tr_param_keeps_records(param, w->options);
    p->masters += state / 2;
    p->gradients += state / 2;
    p->moments += away ? 0 : moments;
    p->weights += state && w->options->dtype == TR_F32 ? 0 : values;
    p->reference += w->reference && state ? values : 0;
}

/* A and B are f32; their masters are what is computed with. */
static void add_adapter(const tr_device_work *w, tr_device_plan *p)
{
    const uint64_t bytes = w->adapter * sizeof(float);
    if (!w->options->train) {
        p->weights += bytes;
        return;
    }
    p->masters += bytes;
    p->gradients += bytes;
    p->moments += w->options->moments8 ? w->adapter_moments8 : 2 * bytes;
    p->reference += (w->adapter_starts ? bytes : 0) + (w->reference ? bytes : 0);
}

static uint64_t kv_bytes(const tr_model_config *c, const tr_network_limits *l)
{
    const int64_t row = 2 * c->kv_heads * c->head_dim * c->layers, prompt = (l->prompt_tokens + 15) / 16 * 16,
                  own = (l->decode_tokens + 15) / 16 * 16;
    const int64_t slots = l->decode_groups + (l->ahead && l->decode_groups);
    return (uint64_t)(slots * prompt + l->decode_rows * own) * (uint64_t)row * sizeof(float);
}

/* ---- the operations' working memory ---- */

typedef struct scratch {
    tr_dtype dtype;
    uint64_t most;
} scratch;

static void linear(scratch *s, int64_t rows, int64_t out, int64_t in, bool backward)
{
    s->most = larger(s->most, tr_cuda_plan_product(s->dtype, rows, out, in, backward));
}

static void text(scratch *s, const tr_model_config *c, const tr_network_limits *l, const tr_device_work *w)
{
    const int64_t packed = l->prompt_tokens + l->response_tokens, wide = c->heads * c->head_dim,
                  narrow = c->kv_heads * c->head_dim, tile = tr_network_head_tile(c, l);
    const int64_t rows[] = {packed, l->decode_rows};
    for (int i = 0; i < 2; i++) {
        const bool back = l->train_text && i == 0;
        const int64_t some = rows[i] < TR_ADAPTER_ROWS ? rows[i] : TR_ADAPTER_ROWS, r = w->adapter_rank;
        linear(s, rows[i], wide, c->hidden, back);
        linear(s, rows[i], narrow, c->hidden, back);
        linear(s, rows[i], c->hidden, wide, back);
        linear(s, rows[i], c->intermediate, c->hidden, back);
        linear(s, rows[i], c->hidden, c->intermediate, back);
        linear(s, i ? rows[i] : tile, c->vocab, c->hidden, back);
        if (r && back) {
            linear(s, some, r, c->hidden > c->intermediate ? c->hidden : c->intermediate, back);
            linear(s, some, c->hidden > c->intermediate ? c->hidden : c->intermediate, r, back);
        }
    }
    if (l->train_text) {
        s->most = larger(s->most, tr_cuda_plan_columns(packed, c->hidden));
    }
    const tr_attention_shape shape = {c->heads, c->kv_heads, c->head_dim, 1};
    s->most =
        larger(s->most, tr_cuda_plan_decode(s->dtype, &shape, l->decode_rows, l->prompt_tokens, l->decode_tokens));
}

static void vision(scratch *s, const tr_model_config *c, const tr_network_limits *l)
{
    const tr_vision_config *v = &c->vision;
    const int64_t rows = l->patches, merged = rows / 4, wide = 4 * v->hidden;
    const bool back = l->train_vision;
    linear(s, rows, v->hidden, v->channels * v->temporal_patch * v->patch * v->patch, back);
    linear(s, rows, 3 * v->hidden, v->hidden, back);
    linear(s, rows, v->hidden, v->hidden, back);
    linear(s, rows, v->intermediate, v->hidden, back);
    linear(s, rows, v->hidden, v->intermediate, back);
    linear(s, merged, wide, wide, back);
    linear(s, merged, v->out_hidden, wide, back);
}

static uint64_t scratch_bytes(const tr_model_config *c, const tr_params *params, const tr_device_work *w)
{
    scratch s = {.dtype = w->options->dtype};
    const tr_network_limits *limits[] = {w->limits, w->reference_limits};
    for (int i = 0; i < 2; i++) {
        if (limits[i]) {
            text(&s, c, limits[i], w);
            vision(&s, c, limits[i]);
        }
    }
    for (int i = 0; w->options->train && i < params->count; i++) { /* the norm of the gradients */
        s.most = larger(s.most, tr_cuda_plan_squares(params->items[i].elements));
    }
    return (s.most + TR_CUDA_SCRATCH_UNIT) / TR_CUDA_SCRATCH_UNIT * TR_CUDA_SCRATCH_UNIT;
}

/* What the host keeps passes through two buffers. */
static tr_status plan_away(const tr_params *params, const tr_device_work *w, tr_device_plan *p, tr_error *err)
{
    bool *trains = tr_calloc((size_t)params->count, sizeof *trains);
    uint64_t *copies = tr_calloc((size_t)params->count, sizeof *copies), device, host, values, state, moments;
    tr_status status = trains && copies ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    bool any = false;
    for (int i = 0; !status && i < params->base; i++) {
        tr_param_plan_away(&params->items[i], w->options, &values, &state, &moments);
        trains[i] = state > 0;
        any = any || trains[i];
        copies[i] = state ? (uint64_t)params->items[i].elements *
                                (params->items[i].matrix ? tr_dtype_size(w->options->dtype) : sizeof(float))
                          : 0;
        p->reference -= w->reference && w->reference_away && state && tr_away_in_layer(params, i) ? values : 0;
    }
    if (!status && w->options->moments_folder && any) {
        tr_away_plan_moments(params, trains, &device, &host);
        p->moments += device;
    }
    if (!status && w->reference && w->reference_away && any) {
        tr_away_plan_layers(params, copies, &device, &host);
        p->reference += device;
    }
    free(trains);
    free(copies);
    return status;
}

tr_status tr_device_plan_make(const tr_model_config *config, const tr_params *params, const tr_device_work *w,
                              tr_device_plan *p, tr_error *err)
{
    tr_network_limits limits = *w->limits;
    tr_status status;
    memset(p, 0, sizeof *p);
    for (int i = 0; i < params->base; i++) {
        add_param(&params->items[i], w, p);
    }
    add_adapter(w, p);
    TR_TRY(plan_away(params, w, p, err));
    limits.adapter_rank = w->adapter_rank;
    TR_TRY(tr_network_plan_for(config, &limits, &tr_cuda_plan_table, &p->network, err));
    if (w->reference_limits) {
        limits = *w->reference_limits;
        limits.adapter_rank = w->adapter_rank;
        TR_TRY(tr_network_plan_for(config, &limits, &tr_cuda_plan_table, &p->reference_network, err));
    }
    p->kv = kv_bytes(config, w->limits);
    const uint64_t lanes = w->limits->ahead && w->limits->decode_groups ? 2 : 1; /* each has its own of both */
    p->scratch = lanes * scratch_bytes(config, params, w);
    p->staging = lanes * TR_CUDA_RING_BYTES + (w->limits->decode_rows ? TR_CUDA_REGION_BYTES : 0);
    p->decode_groups = w->limits->decode_groups;
    p->total = p->weights + p->masters + p->gradients + p->moments + p->reference + p->network +
               p->reference_network + p->scratch + p->staging;
done:
    return status;
}

void tr_device_plan_text(const tr_device_plan *p, char *out, size_t size)
{
    const struct {
        const char *name;
        uint64_t bytes;
    } parts[] = {{"weights", p->weights},
                 {"masters", p->masters},
                 {"gradients", p->gradients},
                 {"moments", p->moments},
                 {"reference", p->reference + p->reference_network},
                 {"KV cache", p->kv},
                 {"activations and the rest", p->network - p->kv + p->scratch + p->staging}};
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].bytes && used < size) {
            used += (size_t)snprintf(out + used, size - used, "%s%s %.3g", used ? ", " : "", parts[i].name,
                                     (double)parts[i].bytes / 0x1p30);
        }
    }
}
