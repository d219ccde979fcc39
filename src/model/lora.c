/* lora.c: an adapter in a model's table: which matrices get A and B, and their first values. */
#include "model/checkpoint.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/random.h"
#include "tensor/moments.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { INIT_KEY = 0x10A };

void tr_lora_free(tr_lora *lora)
{
    if (lora) {
        json_decref(lora->targets);
        free(lora->base);
        free(lora);
    }
}

/* The layer of "model.layers.N....", -1 for other entries. */
static int64_t layer_of(const tr_param *param)
{
    return strncmp(param->name, "model.layers.", 13) ? -1 : strtoll(param->name + 13, NULL, 10);
}

/* Room for `matrices` more pairs; entries move, so nothing may hold a pointer to one. */
static tr_status extend(tr_params *params, int64_t matrices, tr_error *err)
{
    size_t bytes;
    tr_param *grown = NULL;
    if (tr_size_mul((size_t)params->count + 2 * (size_t)matrices, sizeof *grown, &bytes)) {
        grown = realloc(params->items, bytes);
    }
    if (!grown) {
        return tr_fail(err, TR_MEMORY, "adapter", "out of memory for a table of %lld more parameters",
                       2 * (long long)matrices);
    }
    params->items = grown;
    memset(grown + params->count, 0, bytes - (size_t)params->count * sizeof *grown);
    return TR_OK;
}

static void add_half(tr_params *params, const tr_param *of, char half, int64_t out, int64_t in)
{
    tr_param *p = &params->items[params->count++];
    char module[128];
    tr_lora_module(of, module, sizeof module);
    snprintf(p->name, sizeof p->name, "base_model.model.%.60s.lora_%c.weight", module, half);
    p->rank = 2;
    p->shape[0] = p->out = out;
    p->shape[1] = p->in = in;
    p->part = TR_PART_TEXT;
    p->matrix = p->decay = true;
    p->elements = tr_matrix_elements(out, in);
    p->stored = TR_F32;
    p->memory = of->memory;
    p->value = (tr_matrix){.dtype = TR_F32, .out = out, .in = in};
}

/* A and B of every chosen matrix, without values. */
static tr_status add_pairs(tr_params *params, const bool *chosen, tr_lora *lora, tr_error *err)
{
    lora->matrices = 0;
    lora->first = -1;
    for (int i = 0; i < params->base; i++) {
        if (chosen[i]) {
            int64_t layer = layer_of(&params->items[i]);
            lora->matrices++;
            lora->first = lora->first < 0 || layer < lora->first ? layer : lora->first;
        }
    }
    tr_status status = extend(params, lora->matrices, err);
    for (int i = 0; !status && i < params->base; i++) {
        if (chosen[i]) {
            params->items[i].adapter = params->count;
            add_half(params, &params->items[i], 'A', lora->rank, params->items[i].in);
            add_half(params, &params->items[i], 'B', params->items[i].out, lora->rank);
        }
    }
    return status;
}

/* ---- first values ---- */

/* kaiming_uniform with a = sqrt(5), as peft: uniform within 1 / sqrt(inputs). Element e of a matrix is a function
 * of (seed, name, e). */
static void fill_uniform(const void *context, const tr_param *param, int64_t row0, int64_t rows, void *to,
                         tr_dtype dtype)
{
    const uint64_t seed = *(const uint64_t *)context ^ tr_hash_text(param->name);
    const double bound = 1 / sqrt((double)param->in);
    float *out = to;
    (void)dtype; /* F32: the dtype that these entries are stored in */
    for (int64_t i = 0; i < rows * param->in; i++) {
        uint64_t e = (uint64_t)(row0 * param->in + i);
        double u = tr_random_uniform(seed, (uint32_t)e, (uint32_t)(e >> 32), INIT_KEY, 0);
        out[i] = (float)((2 * u - 1) * bound);
    }
}

static void fill_zero(const void *context, const tr_param *param, int64_t row0, int64_t rows, void *to,
                      tr_dtype dtype)
{
    (void)context;
    (void)row0;
    memset(to, 0, (size_t)(rows * param->in) * tr_dtype_size(dtype));
}

static void fill_values(const void *context, const tr_param *param, int64_t row0, int64_t rows, void *to,
                        tr_dtype dtype)
{
    const float *values = context;
    tr_convert(to, dtype, values + row0 * param->in, TR_F32, rows * param->in);
}

/* Keeps a copy of what a trained matrix starts from: the reference of a run that goes on with an adapter. */
static tr_status keep_start(tr_param *p, tr_error *err)
{
    size_t bytes = (size_t)p->elements * sizeof(float);
    void *start;
    tr_status status = p->memory->take(&start, bytes, false, err);
    if (status) {
        return tr_fail_context(err, status, "the start of %s", p->name);
    }
    p->start = start;
    p->memory->copy(p->start, p->value.panels, bytes);
    return TR_OK;
}

static tr_status make_values(tr_model *model, const tr_adapter *adapter, const tr_lora_settings *settings,
                             bool train, tr_error *err)
{
    const tr_model_options options = {.dtype = TR_F32, .train = train, .moments8 = model->moments8};
    tr_status status = TR_OK;
    for (int i = 0; i < model->params.base; i++) {
        const int at = model->params.items[i].adapter;
        for (int half = 0; at && half < 2; half++) {
            tr_param *p = &model->params.items[at + half];
            const float *values = adapter ? (half ? adapter->found[i].b : adapter->found[i].a) : NULL;
            TR_TRY(tr_param_allocate(&model->params, at + half, &options, err));
            if (values) {
                TR_TRY(tr_param_fill(p, TR_F32, fill_values, values, err));
            } else {
                TR_TRY(tr_param_fill(p, TR_F32, half ? fill_zero : fill_uniform, &settings->seed, err));
            }
            if (values && train) {
                TR_TRY(keep_start(p, err));
            }
        }
    }
done:
    return status;
}

/* ---- attaching ---- */

/* A run that goes on with an adapter must describe the one that is there. */
static tr_status check_agreement(const tr_params *params, const tr_adapter *adapter,
                                 const tr_lora_settings *settings, tr_error *err)
{
    bool *chosen = tr_calloc((size_t)params->base, sizeof *chosen), others;
    char module[128];
    tr_status status = TR_OK;
    if (!chosen) {
        return tr_fail(err, TR_MEMORY, "train.lora", "out of memory");
    }
    if (settings->rank != adapter->lora.rank || settings->alpha != adapter->lora.alpha) {
        status =
            tr_fail(err, TR_MISMATCH, "train.lora",
                    "train.lora has rank %lld and alpha %g, the adapter that 'model' names has rank %lld and "
                    "alpha %g: give the same values, or merge it first (tempr1 model merge-lora)",
                    (long long)settings->rank, settings->alpha, (long long)adapter->lora.rank, adapter->lora.alpha);
        goto done;
    }
    TR_TRY(tr_lora_choose(params, settings->targets, "train.lora.targets", chosen, &others, err));
    for (int i = 0; i < params->base; i++) {
        if (chosen[i] != (adapter->found[i].a != NULL)) {
            tr_lora_module(&params->items[i], module, sizeof module);
            status =
                tr_fail(err, TR_MISMATCH, "train.lora.targets",
                        "train.lora.targets %s %s, the adapter that 'model' names does%s adapt it: give the same "
                        "targets, or merge it first (tempr1 model merge-lora)",
                        chosen[i] ? "chooses" : "leaves out", module, chosen[i] ? " not" : "");
            goto done;
        }
    }
done:
    free(chosen);
    return status;
}

tr_status tr_lora_check(const tr_params *params, const tr_adapter *adapter, const tr_lora_settings *settings,
                        tr_error *err)
{
    bool *chosen, others;
    if (adapter) {
        return check_agreement(params, adapter, settings, err);
    }
    chosen = tr_calloc((size_t)params->base, sizeof *chosen);
    tr_status status = chosen
                           ? tr_lora_choose(params, settings->targets, "train.lora.targets", chosen, &others, err)
                           : tr_fail(err, TR_MEMORY, "train.lora", "out of memory");
    free(chosen);
    return status;
}

/* The names of all adapted modules: what targets mean whatever else they might match. */
static json_t *exact_targets(const tr_params *params, const bool *chosen)
{
    json_t *list = json_array();
    char module[128];
    for (int i = 0; i < params->base; i++) {
        if (chosen[i]) {
            tr_lora_module(&params->items[i], module, sizeof module);
            json_array_append_new(list, json_string(module));
        }
    }
    return list;
}

/* An absolute path, so that an adapter folder may be moved; the name as it is where that cannot be found. */
static char *absolute(const char *path)
{
    char *real = realpath(path, NULL);
    return real ? real : tr_strdup(path);
}

tr_status tr_lora_attach(tr_model *model, const tr_adapter *adapter, const tr_lora_settings *settings,
                         const char *base, bool train, tr_error *err)
{
    bool *chosen = tr_calloc((size_t)model->params.base, sizeof *chosen), others = false;
    tr_lora *lora = tr_calloc(1, sizeof *lora);
    tr_status status;
    if (!chosen || !lora) {
        status = tr_fail(err, TR_MEMORY, "adapter", "out of memory");
        goto done;
    }
    if (adapter) {
        *lora = adapter->lora;
        lora->base = NULL; /* the folder's own name for it may be relative */
        json_incref(lora->targets);
        for (int i = 0; i < model->params.base; i++) {
            chosen[i] = adapter->found[i].a != NULL;
        }
    } else {
        TR_TRY(tr_lora_choose(&model->params, settings->targets, "train.lora.targets", chosen, &others, err));
        lora->rank = settings->rank;
        lora->alpha = settings->alpha;
        lora->fresh = true;
        lora->targets = others ? exact_targets(&model->params, chosen) : json_deep_copy(settings->targets);
    }
    lora->scale = (float)(lora->alpha / (double)lora->rank);
    lora->base = absolute(base);
    if (!lora->base || !lora->targets) {
        status = tr_fail(err, TR_MEMORY, "adapter", "out of memory");
        goto done;
    }
    TR_TRY(add_pairs(&model->params, chosen, lora, err));
    model->lora = lora;
    lora = NULL;
    TR_TRY(make_values(model, adapter, settings, train, err));
done:
    free(chosen);
    tr_lora_free(lora);
    return status;
}

tr_status tr_lora_copy_table(tr_model *copy, const tr_model *model, tr_error *err)
{
    bool *chosen;
    tr_status status = TR_OK;
    if (!model->lora) {
        return TR_OK;
    }
    chosen = tr_calloc((size_t)model->params.base, sizeof *chosen);
    copy->lora = tr_calloc(1, sizeof *copy->lora);
    if (!chosen || !copy->lora) {
        status = tr_fail(err, TR_MEMORY, "adapter", "out of memory");
        goto done;
    }
    *copy->lora = *model->lora;
    json_incref(copy->lora->targets);
    copy->lora->base = tr_strdup(model->lora->base);
    for (int i = 0; i < model->params.base; i++) {
        chosen[i] = model->params.items[i].adapter != 0;
    }
    status = copy->lora->base ? add_pairs(&copy->params, chosen, copy->lora, err)
                              : tr_fail(err, TR_MEMORY, "adapter", "out of memory");
done:
    free(chosen);
    return status;
}

tr_status tr_lora_plan(const tr_params *params, const tr_lora_settings *settings, int64_t *matrices,
                       uint64_t *elements, uint64_t *moments8, tr_error *err)
{
    bool *chosen = tr_calloc((size_t)params->base, sizeof *chosen), others;
    tr_status status = chosen ? TR_OK : tr_fail(err, TR_MEMORY, "adapter", "out of memory");
    *matrices = 0;
    *elements = *moments8 = 0;
    status =
        status ? status : tr_lora_choose(params, settings->targets, "train.lora.targets", chosen, &others, err);
    for (int i = 0; !status && i < params->base; i++) {
        if (chosen[i]) {
            *matrices += 1;
            *elements += (uint64_t)(tr_matrix_elements(settings->rank, params->items[i].in) +
                                    tr_matrix_elements(params->items[i].out, settings->rank));
            *moments8 += (uint64_t)(tr_moments8_bytes(settings->rank, params->items[i].in) +
                                    tr_moments8_bytes(params->items[i].out, settings->rank));
        }
    }
    free(chosen);
    return status;
}
