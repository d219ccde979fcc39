/* params.c: the one table of parameters: names, shapes and order, from the configuration alone. */
#include "model/params.h"

#include "base/memory.h"
#include "model/away.h"
#include "tensor/moments.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Appends a tensor; the name is printed from a format. Dimensions behind the first form `in` of a matrix. */
static int add(tr_params *p, tr_param_part part, bool matrix, int rank, const int64_t *shape, const char *format,
               va_list ap)
{
    tr_param *item = &p->items[p->count];
    vsnprintf(item->name, sizeof item->name, format, ap);
    item->rank = rank;
    item->in = 1;
    for (int i = 0; i < rank; i++) {
        item->shape[i] = shape[i];
        item->in *= i ? shape[i] : 1;
    }
    item->out = shape[0];
    item->part = part;
    item->matrix = item->decay = matrix;
    item->elements = matrix ? tr_matrix_elements(item->out, item->in) : item->out;
    item->value = (tr_matrix){.dtype = TR_F32, .out = item->out, .in = item->in};
    return p->count++;
}

__attribute__((format(printf, 5, 6))) static int add_matrix(tr_params *p, tr_param_part part, int64_t out,
                                                            int64_t in, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int index = add(p, part, true, 2, (const int64_t[]){out, in}, format, ap);
    va_end(ap);
    return index;
}

__attribute__((format(printf, 4, 5))) static int add_vector(tr_params *p, tr_param_part part, int64_t out,
                                                            const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int index = add(p, part, false, 1, (const int64_t[]){out}, format, ap);
    va_end(ap);
    return index;
}

__attribute__((format(printf, 3, 4))) static int add_patch(tr_params *p, const tr_vision_config *v,
                                                           const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    const int64_t shape[] = {v->hidden, v->channels, v->temporal_patch, v->patch, v->patch};
    int index = add(p, TR_PART_VISION, true, 5, shape, format, ap);
    va_end(ap);
    return index;
}

static void add_layer(tr_params *p, const tr_model_config *c, int n)
{
    const int64_t h = c->hidden, kv = c->kv_heads * c->head_dim, i = c->intermediate;
    tr_layer_params *l = &p->layers[n];
    l->norm1 = add_vector(p, TR_PART_TEXT, h, "model.layers.%d.input_layernorm.weight", n);
    l->q = add_matrix(p, TR_PART_TEXT, h, h, "model.layers.%d.self_attn.q_proj.weight", n);
    l->q_bias = add_vector(p, TR_PART_TEXT, h, "model.layers.%d.self_attn.q_proj.bias", n);
    l->k = add_matrix(p, TR_PART_TEXT, kv, h, "model.layers.%d.self_attn.k_proj.weight", n);
    l->k_bias = add_vector(p, TR_PART_TEXT, kv, "model.layers.%d.self_attn.k_proj.bias", n);
    l->v = add_matrix(p, TR_PART_TEXT, kv, h, "model.layers.%d.self_attn.v_proj.weight", n);
    l->v_bias = add_vector(p, TR_PART_TEXT, kv, "model.layers.%d.self_attn.v_proj.bias", n);
    l->o = add_matrix(p, TR_PART_TEXT, h, h, "model.layers.%d.self_attn.o_proj.weight", n);
    l->norm2 = add_vector(p, TR_PART_TEXT, h, "model.layers.%d.post_attention_layernorm.weight", n);
    l->gate = add_matrix(p, TR_PART_TEXT, i, h, "model.layers.%d.mlp.gate_proj.weight", n);
    l->up = add_matrix(p, TR_PART_TEXT, i, h, "model.layers.%d.mlp.up_proj.weight", n);
    l->down = add_matrix(p, TR_PART_TEXT, h, i, "model.layers.%d.mlp.down_proj.weight", n);
}

static void add_block(tr_params *p, const tr_vision_config *v, int n)
{
    const int64_t d = v->hidden, i = v->intermediate;
    const tr_param_part part = TR_PART_VISION;
    tr_block_params *b = &p->blocks[n];
    b->norm1 = add_vector(p, part, d, "visual.blocks.%d.norm1.weight", n);
    b->qkv = add_matrix(p, part, 3 * d, d, "visual.blocks.%d.attn.qkv.weight", n);
    b->qkv_bias = add_vector(p, part, 3 * d, "visual.blocks.%d.attn.qkv.bias", n);
    b->proj = add_matrix(p, part, d, d, "visual.blocks.%d.attn.proj.weight", n);
    b->proj_bias = add_vector(p, part, d, "visual.blocks.%d.attn.proj.bias", n);
    b->norm2 = add_vector(p, part, d, "visual.blocks.%d.norm2.weight", n);
    b->gate = add_matrix(p, part, i, d, "visual.blocks.%d.mlp.gate_proj.weight", n);
    b->gate_bias = add_vector(p, part, i, "visual.blocks.%d.mlp.gate_proj.bias", n);
    b->up = add_matrix(p, part, i, d, "visual.blocks.%d.mlp.up_proj.weight", n);
    b->up_bias = add_vector(p, part, i, "visual.blocks.%d.mlp.up_proj.bias", n);
    b->down = add_matrix(p, part, d, i, "visual.blocks.%d.mlp.down_proj.weight", n);
    b->down_bias = add_vector(p, part, d, "visual.blocks.%d.mlp.down_proj.bias", n);
}

static void add_merger(tr_params *p, const tr_vision_config *v)
{
    const int64_t wide = v->hidden * v->merge * v->merge;
    const tr_param_part part = TR_PART_MERGER;
    p->merger_norm = add_vector(p, part, v->hidden, "visual.merger.ln_q.weight");
    p->merger_fc1 = add_matrix(p, part, wide, wide, "visual.merger.mlp.0.weight");
    p->merger_fc1_bias = add_vector(p, part, wide, "visual.merger.mlp.0.bias");
    p->merger_fc2 = add_matrix(p, part, v->out_hidden, wide, "visual.merger.mlp.2.weight");
    p->merger_fc2_bias = add_vector(p, part, v->out_hidden, "visual.merger.mlp.2.bias");
}

tr_status tr_params_build(const tr_model_config *config, tr_params *params, tr_error *err)
{
    tr_status status = tr_model_config_check(config, "model configuration", err);
    *params = (tr_params){0};
    if (status) {
        return status;
    }
    size_t count = 12 * (size_t)(config->layers + config->vision.depth) + 9;
    params->items = tr_calloc(count, sizeof *params->items);
    params->layers = tr_calloc((size_t)config->layers, sizeof *params->layers);
    params->blocks = tr_calloc((size_t)config->vision.depth, sizeof *params->blocks);
    params->layer_count = config->layers;
    params->block_count = config->vision.depth;
    if (!params->items || !params->layers || !params->blocks) {
        tr_params_free(params);
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for a table of %zu parameters", count);
    }
    params->embed = add_matrix(params, TR_PART_TEXT, config->vocab, config->hidden, "model.embed_tokens.weight");
    params->items[params->embed].embedding = true;
    for (int n = 0; n < (int)config->layers; n++) {
        add_layer(params, config, n);
    }
    params->norm = add_vector(params, TR_PART_TEXT, config->hidden, "model.norm.weight");
    params->head = config->tied ? params->embed
                                : add_matrix(params, TR_PART_TEXT, config->vocab, config->hidden, "lm_head.weight");
    params->patch = add_patch(params, &config->vision, "visual.patch_embed.proj.weight");
    for (int n = 0; n < (int)config->vision.depth; n++) {
        add_block(params, &config->vision, n);
    }
    add_merger(params, &config->vision);
    params->base = params->count;
    for (int i = 0; i < params->count; i++) {
        params->items[i].memory = &tr_memory_host;
    }
    return TR_OK;
}

size_t tr_param_moments8_bytes(const tr_param *param)
{
    return (size_t)tr_moments8_bytes(param->out, param->in);
}

static void drop(const tr_params *params, const tr_param *param, void *values)
{
    if (!tr_spill_holds(&params->spill, values)) {
        param->memory->give(values);
    }
}

void tr_params_free(tr_params *params)
{
    if (!params) {
        return;
    }
    tr_away_free(params);
    for (int i = 0; params->items && i < params->count; i++) {
        tr_param *p = &params->items[i];
        if (p->value.panels != p->master && !p->borrowed) {
            drop(params, p, p->value.panels);
        }
        p->memory->give(p->start);
        p->memory->give(p->master);
        p->memory->give(p->gradient);
        drop(params, p, p->m);
        drop(params, p, p->v);
        drop(params, p, p->moments8);
    }
    tr_spill_close(&params->spill);
    free(params->items);
    free(params->layers);
    free(params->blocks);
    *params = (tr_params){0};
}

uint64_t tr_params_away_bytes(const tr_params *params)
{
    return params->away ? tr_away_bytes(params->away) : 0;
}

void tr_params_need(const tr_params *params, int first, int last)
{
    if (params->away) {
        tr_away_need(params, first, last);
    }
}

void tr_params_release(const tr_params *params, int first, int last)
{
    if (params->away) {
        tr_away_release(params, first, last);
    }
    for (int i = first; params->spill.block && i < last; i++) {
        const tr_param *p = &params->items[i];
        tr_spill_release(&params->spill, p->value.panels, (size_t)p->elements * tr_dtype_size(p->value.dtype));
    }
}
