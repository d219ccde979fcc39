/* model_load.c: a checkpoint directory into a model's memory. All names, shapes and dtypes are checked before the
 * first byte of data is read; then tensors are packed one after the other, each by all threads, and the pages of
 * the map are given back as they are consumed: the peak is the model itself plus one tensor. */
#include "model/checkpoint.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

bool tr_checkpoint_name(const char *name, char canonical[96])
{
    const char *rest = name;
    if (!strncmp(rest, "model.", 6)) {
        rest += 6;
    }
    if (!strncmp(rest, "language_model.", 15)) {
        rest += 15;
    }
    bool visual = !strncmp(rest, "visual.", 7),
         text = !strncmp(rest, "embed_tokens.", 13) || !strncmp(rest, "layers.", 7) || !strncmp(rest, "norm.", 5);
    int n = visual || !text ? snprintf(canonical, 96, "%s", !strncmp(rest, "lm_head.", 8) || visual ? rest : name)
                            : snprintf(canonical, 96, "model.%s", rest);
    return n > 0 && n < 96;
}

/* The table sorted by name, for look-ups. */
typedef struct named {
    const char *name;
    int index;
} named;

static int compare_named(const void *a, const void *b)
{
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

/* The head beside tied weights is either the same tensor again or a contradiction. */
static tr_status check_tied_head(const tr_safetensors *s, const tr_safetensor *head, const tr_safetensor *embed,
                                 tr_error *err)
{
    bool same = head->rank == embed->rank && !memcmp(head->shape, embed->shape, sizeof head->shape) &&
                head->dtype == embed->dtype && !memcmp(head->data, embed->data, head->bytes);
    if (same) {
        return TR_OK;
    }
    return tr_fail(err, TR_MISMATCH, tr_safetensors_path(s, head),
                   "tie_word_embeddings is true, but %s differs from %s: set tie_word_embeddings to false in "
                   "config.json, or remove the tensor",
                   head->name, embed->name);
}

static tr_status check_tensor(const tr_safetensors *s, const tr_safetensor *t, const tr_param *param, tr_error *err)
{
    char found[128], expected[128];
    if (t->rank != param->rank || memcmp(t->shape, param->shape, (size_t)param->rank * sizeof *param->shape) != 0) {
        return tr_fail(err, TR_MISMATCH, tr_safetensors_path(s, t),
                       "tensor %s has shape %s; config.json asks for %s", t->name,
                       tr_shape_text(t->shape, t->rank, found, sizeof found),
                       tr_shape_text(param->shape, param->rank, expected, sizeof expected));
    }
    if (t->dtype != TR_F32 && t->dtype != TR_BF16 && t->dtype != TR_F16) {
        return tr_fail(err, TR_UNSUPPORTED, tr_safetensors_path(s, t),
                       "tensor %s has dtype %s; weights must be F32, BF16 or F16", t->name,
                       tr_dtype_name(t->dtype));
    }
    return TR_OK;
}

static tr_status match_one(const tr_safetensors *s, const tr_safetensor *t, const named *table,
                           const tr_params *params, const tr_safetensor **found, const tr_safetensor **head,
                           tr_error *err)
{
    char canonical[96];
    named key = {.name = canonical};
    const named *place = NULL;
    if (tr_checkpoint_name(t->name, canonical)) {
        place = bsearch(&key, table, (size_t)params->count, sizeof key, compare_named);
        if (!place && params->head == params->embed && !strcmp(canonical, "lm_head.weight")) {
            *head = t;
            return TR_OK;
        }
    }
    if (!place) {
        return tr_fail(err, TR_MISMATCH, tr_safetensors_path(s, t),
                       "unexpected tensor %.200s: the model that config.json describes has none of this name",
                       t->name);
    }
    if (found[place->index]) {
        return tr_fail(err, TR_MISMATCH, tr_safetensors_path(s, t), "tensors %s and %s are the same parameter",
                       found[place->index]->name, t->name);
    }
    found[place->index] = t;
    return check_tensor(s, t, &params->items[place->index], err);
}

tr_status tr_checkpoint_match(const tr_safetensors *tensors, const tr_model_config *config, const tr_params *params,
                              const char *dir, const tr_safetensor ***found, tr_error *err)
{
    size_t count = (size_t)params->count;
    named *table = tr_calloc(count, sizeof *table);
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers is meant */
    const tr_safetensor **list = tr_calloc(count, sizeof *list), *head = NULL;
    tr_status status = TR_OK;
    if (!table || !list) {
        status = tr_fail(err, TR_MEMORY, dir, "out of memory");
        goto done;
    }
    for (int i = 0; i < params->count; i++) {
        table[i] = (named){params->items[i].name, i};
    }
    qsort(table, count, sizeof *table, compare_named);
    for (size_t i = 0; i < tensors->count; i++) {
        TR_TRY(match_one(tensors, &tensors->items[i], table, params, list, &head, err));
    }
    for (int i = 0; i < params->count; i++) {
        if (list[i]) {
            continue;
        }
        status =
            i == params->head && !config->tied
                ? tr_fail(err, TR_MISMATCH, dir,
                          "tensor lm_head.weight is missing, but tie_word_embeddings is false in config.json: "
                          "without it the model has no head")
                : tr_fail(err, TR_MISMATCH, dir, "tensor %s is missing from the checkpoint", params->items[i].name);
        goto done;
    }
    if (head) {
        TR_TRY(check_tied_head(tensors, head, list[params->embed], err));
    }
    *found = list;
    list = NULL;
done:
    free(table);
    free(list);
    return status;
}

static void fill_from_tensor(const void *context, const tr_param *param, int64_t row0, int64_t rows, void *to,
                             tr_dtype dtype)
{
    tr_safetensors_copy(context, row0 * param->in, rows * param->in, to, dtype, NULL);
}

/* Whole pages of a consumed tensor go back to the kernel; neighbours that share a page are read again. */
static void release(const tr_safetensor *t)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)t->data, end = begin + t->bytes;
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
    if (end > begin) {
        madvise((void *)begin, end - begin, MADV_DONTNEED);
    }
}

tr_status tr_checkpoint_open(const char *dir, tr_model_config *config, tr_params *params, tr_safetensors *tensors,
                             const tr_safetensor ***found, tr_error *err)
{
    tr_status status;
    if (!tr_directory_exists(dir)) {
        return tr_fail(err, TR_NOT_FOUND, dir, "there is no checkpoint directory %s", dir);
    }
    TR_TRY(tr_model_config_read(dir, config, err));
    TR_TRY(tr_params_build(config, params, err));
    TR_TRY(tr_safetensors_open_directory(tensors, dir, err));
    TR_TRY(tr_checkpoint_match(tensors, config, params, dir, found, err));
done:
    return status;
}

/* Where weights and adapter (NULL: none) are; free() frees *base. */
static tr_status find_adapter(const char *dir, const tr_model_options *options, char **base, const char **adapter,
                              tr_error *err)
{
    *adapter = options->adapter ? options->adapter : tr_lora_is_adapter(dir) ? dir : NULL;
    if (options->adapter && tr_lora_is_adapter(dir)) {
        return tr_fail(err, TR_INVALID, dir,
                       "%s is an adapter itself: the model that another adapter is given for must be its base",
                       dir);
    }
    return tr_lora_base(dir, base, err);
}

/* Fills parameter i from the base, from what the adapter replaces it by, or from both merged. */
static tr_status load_param(tr_model *m, int i, const tr_safetensor *const *found, const tr_adapter *adapter,
                            const tr_model_options *options, tr_error *err)
{
    tr_param *param = &m->params.items[i];
    const tr_adapter_pair *pair = adapter ? &adapter->found[i] : NULL;
    const tr_safetensor *tensor = pair && pair->whole ? pair->whole : found[i];
    const bool merge = pair && pair->a && options->merge_adapter;
    const tr_merged merged = {&m->params, found, adapter};
    param->stored = merge ? TR_F32 : tensor->dtype;
    tr_status status = tr_param_allocate(&m->params, i, options, err);
    if (!status && merge) {
        status = tr_param_fill(param, options->dtype, tr_merged_rows, &merged, err);
    } else if (!status) {
        status = tr_param_fill(param, options->dtype, fill_from_tensor, tensor, err);
    }
    release(tensor);
    return status;
}

tr_status tr_model_load(const char *dir, const tr_model_options *options, tr_model **model, tr_error *err)
{
    tr_safetensors tensors = {0};
    tr_adapter adapter = {0};
    const char *adapter_dir = NULL;
    char *base = NULL;
    const tr_safetensor **found = NULL;
    tr_status status = TR_OK;
    tr_model *m = tr_calloc(1, sizeof *m);
    if (!m || !(m->directory = tr_strdup(dir))) {
        status = tr_fail(err, TR_MEMORY, dir, "out of memory");
        goto done;
    }
    if (options->dtype != TR_F32 && options->dtype != TR_BF16) {
        status = tr_fail(err, TR_INVALID, dir, "dtype %s: compute copies are F32 or BF16",
                         tr_dtype_name(options->dtype));
        goto done;
    }
    m->dtype = options->dtype;
    TR_TRY(find_adapter(dir, options, &base, &adapter_dir, err));
    TR_TRY(tr_checkpoint_open(base, &m->config, &m->params, &tensors, &found, err));
    TR_TRY(tr_model_place(m, options, err));
    if (adapter_dir) {
        TR_TRY(tr_adapter_open(&adapter, adapter_dir, err));
        TR_TRY(tr_adapter_match(&adapter, &m->params, err));
    }
    if (options->lora) {
        TR_TRY(tr_lora_check(&m->params, adapter_dir ? &adapter : NULL, options->lora, err));
    }
    TR_TRY(tr_params_offload_moments(&m->params, options, err));
    for (int i = 0; i < m->params.base; i++) {
        TR_TRY(load_param(m, i, found, adapter_dir ? &adapter : NULL, options, err));
    }
    if ((adapter_dir && !options->merge_adapter) || options->lora) {
        TR_TRY(tr_lora_attach(m, adapter_dir ? &adapter : NULL, options->lora, base, options->train, err));
    }
    *model = m;
    m = NULL;
done:
    tr_model_free(m);
    tr_adapter_close(&adapter);
    free(base);
    free(found);
    tr_safetensors_close(&tensors);
    return status;
}

/* Index of the first element that is not finite, or -1. */
static int64_t first_bad(const tr_safetensor *t)
{
    int64_t bad = INT64_MAX;
#pragma omp parallel for schedule(static) reduction(min : bad)
    for (int64_t at = 0; at < t->elements; at += 4096) {
        float piece[4096];
        int64_t n = t->elements - at < 4096 ? t->elements - at : 4096;
        tr_safetensors_copy(t, at, n, piece, TR_F32, NULL);
        for (int64_t i = 0; i < n; i++) {
            if (!isfinite(piece[i]) && at + i < bad) {
                bad = at + i;
            }
        }
    }
    return bad == INT64_MAX ? -1 : bad;
}

tr_status tr_checkpoint_finite(const tr_safetensors *tensors, tr_error *err)
{
    for (size_t i = 0; i < tensors->count; i++) {
        const tr_safetensor *t = &tensors->items[i];
        int64_t bad = first_bad(t);
        if (bad >= 0) {
            return tr_fail(err, TR_NUMERIC, tr_safetensors_path(tensors, t),
                           "tensor %.200s holds a value that is not finite at element %lld", t->name,
                           (long long)bad);
        }
        release(t);
    }
    return TR_OK;
}

tr_status tr_model_check(const char *dir, bool values, tr_error *err)
{
    tr_model_config config;
    tr_params params = {0};
    tr_safetensors tensors = {0};
    tr_adapter adapter = {0};
    const tr_safetensor **found = NULL;
    char *base = NULL;
    tr_status status;
    TR_TRY(tr_lora_base(dir, &base, err));
    TR_TRY(tr_checkpoint_open(base, &config, &params, &tensors, &found, err));
    if (values) {
        TR_TRY(tr_checkpoint_finite(&tensors, err));
    }
    if (tr_lora_is_adapter(dir)) {
        TR_TRY(tr_adapter_open(&adapter, dir, err));
        TR_TRY(tr_adapter_match(&adapter, &params, err));
        status = values ? tr_checkpoint_finite(&adapter.tensors, err) : TR_OK;
    }
done:
    tr_adapter_close(&adapter);
    free(base);
    free(found);
    tr_safetensors_close(&tensors);
    tr_params_free(&params);
    return status;
}
