/* lora_file.c: adapter folders as peft writes them: adapter_config.json and adapter_model.safetensors.
 *
 * Tensors are "base_model.model.MODULE.lora_A.weight" [rank, in] and "...lora_B.weight" [out, rank];
 * modules_to_save (here the vision tower or the merger) are whole tensors that replace the base's. What peft can do
 * and this program cannot (DoRA, other ranks by layer, ...) is refused by name, never left out. */
#include "model/checkpoint.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static const char config_name[] = "adapter_config.json", tensors_name[] = "adapter_model.safetensors",
                  prefix[] = "base_model.model.";

static bool has_file(const char *dir, const char *name)
{
    char *path = tr_path_join(dir, name);
    bool there = path && tr_file_exists(path);
    free(path);
    return there;
}

bool tr_lora_is_adapter(const char *dir)
{
    return has_file(dir, config_name);
}

/* ---- the base ---- */

static tr_status read_config(const char *dir, json_t **config, char **path, tr_error *err)
{
    *path = tr_path_join(dir, config_name);
    tr_status status = *path ? tr_json_read(*path, config, err) : tr_fail(err, TR_MEMORY, dir, "out of memory");
    if (!status && !json_is_object(*config)) {
        status = tr_fail(err, TR_FORMAT, *path, "an adapter's configuration is an object, found %s",
                         tr_json_type_name(*config));
    }
    return status;
}

/* The first of name and dir/name that is a model's folder. */
static tr_status find_base(const char *dir, const char *name, const char *where, char **base, tr_error *err)
{
    char *inside = name[0] == '/' ? tr_strdup(name) : tr_path_join(dir, name);
    const char *candidates[] = {inside, name};
    *base = NULL;
    for (size_t i = 0; inside && !*base && i < 2; i++) {
        if (tr_lora_is_adapter(candidates[i])) {
            free(inside);
            return tr_fail(err, TR_UNSUPPORTED, where,
                           "the adapter's base '%s' is an adapter itself: merge that one first (tempr1 model "
                           "merge-lora)",
                           name);
        }
        if (has_file(candidates[i], "config.json") && !(*base = tr_strdup(candidates[i]))) {
            break;
        }
    }
    tr_status status = TR_OK;
    if (!*base) {
        status = tr_fail(err, TR_NOT_FOUND, where,
                         "the adapter belongs to '%s', and there is no such model folder here (looked at %s): give "
                         "the base by --model DIR and this folder by --adapter DIR, or correct "
                         "base_model_name_or_path",
                         name, inside ? inside : name);
    }
    free(inside);
    return status;
}

tr_status tr_lora_base(const char *dir, char **base, tr_error *err)
{
    json_t *config = NULL;
    char *path = NULL;
    const char *name = NULL;
    tr_status status = TR_OK;
    *base = NULL;
    if (!tr_lora_is_adapter(dir)) {
        *base = tr_strdup(dir);
        return *base ? TR_OK : tr_fail(err, TR_MEMORY, dir, "out of memory");
    }
    TR_TRY(read_config(dir, &config, &path, err));
    TR_TRY(tr_json_get_string(config, "base_model_name_or_path", false, path, &name, err));
    if (!name || !name[0]) {
        status = tr_fail(err, TR_NOT_FOUND, path,
                         "the adapter does not say which model it belongs to (base_model_name_or_path): give the "
                         "base by --model DIR and this folder by --adapter DIR");
        goto done;
    }
    TR_TRY(find_base(dir, name, path, base, err));
done:
    json_decref(config);
    free(path);
    return status;
}

tr_status tr_lora_tokenizer(const char *dir, char **tokenizer, tr_error *err)
{
    *tokenizer = NULL;
    if (tr_lora_is_adapter(dir) && !has_file(dir, "tokenizer.json") && !has_file(dir, "vocab.json")) {
        return tr_lora_base(dir, tokenizer, err);
    }
    *tokenizer = tr_strdup(dir);
    return *tokenizer ? TR_OK : tr_fail(err, TR_MEMORY, dir, "out of memory");
}

/* ---- reading ---- */

static bool is_empty(const json_t *value)
{
    return !value || json_is_null(value) || json_is_false(value) ||
           ((json_is_object(value) || json_is_array(value)) && !json_object_size(value) && !json_array_size(value));
}

/* What changes the meaning of the tensors and is not computed here. */
static tr_status refuse_others(const json_t *config, const char *path, tr_error *err)
{
    static const char *const refused[] = {"use_dora",
                                          "use_rslora",
                                          "use_qalora",
                                          "use_bdlora",
                                          "lora_bias",
                                          "fan_in_fan_out",
                                          "rank_pattern",
                                          "alpha_pattern",
                                          "layer_replication",
                                          "target_parameters",
                                          "trainable_token_indices",
                                          "alora_invocation_tokens",
                                          "arrow_config",
                                          "kasa_config",
                                          "velora_config",
                                          "monteclora_config"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (!is_empty(json_object_get(config, refused[i]))) {
            return tr_fail(err, TR_UNSUPPORTED, path, "the adapter uses %s, which this program does not compute",
                           refused[i]);
        }
    }
    const char *type = NULL, *bias = "none";
    const char *start = json_string_value(json_object_get(config, "init_lora_weights"));
    tr_status status;
    TR_TRY(tr_json_get_string(config, "peft_type", true, path, &type, err));
    TR_TRY(tr_json_get_string(config, "bias", false, path, &bias, err));
    if (strcmp(type, "LORA") != 0) {
        status =
            tr_fail(err, TR_UNSUPPORTED, path, "the adapter has peft_type %.40s; only LORA is known here", type);
    } else if (strcmp(bias, "none") != 0) {
        status = tr_fail(err, TR_UNSUPPORTED, path,
                         "the adapter trains biases (bias: %.40s); only none is known here", bias);
    } else if (start && (!strncmp(start, "pissa", 5) || !strcmp(start, "olora") || !strcmp(start, "corda") ||
                         !strcmp(start, "loftq"))) {
        status =
            tr_fail(err, TR_UNSUPPORTED, path,
                    "the adapter started from changed base weights (init_lora_weights: %.40s); convert it with "
                    "peft's path_initial_model_for_weight_conversion first",
                    start);
    }
done:
    return status;
}

static tr_status read_lora(const json_t *config, const char *path, tr_lora *lora, tr_error *err)
{
    tr_status status;
    const char *name = NULL;
    TR_TRY(refuse_others(config, path, err));
    TR_TRY(tr_json_get_int(config, "r", true, path, &lora->rank, err));
    TR_TRY(tr_json_get_double(config, "lora_alpha", true, path, &lora->alpha, err));
    TR_TRY(tr_json_get_string(config, "base_model_name_or_path", false, path, &name, err));
    if (lora->rank < 1 || lora->rank > TR_LORA_RANK_MAX) {
        status = tr_fail(err, TR_INVALID, path, "r is %lld; a rank is from 1 to %d", (long long)lora->rank,
                         TR_LORA_RANK_MAX);
        goto done;
    }
    const json_t *targets = json_object_get(config, "target_modules");
    lora->targets = targets ? json_deep_copy(targets) : json_null();
    lora->base = tr_strdup(name ? name : "");
    lora->scale = (float)(lora->alpha / (double)lora->rank);
    status = lora->base && lora->targets ? TR_OK : tr_fail(err, TR_MEMORY, path, "out of memory");
done:
    return status;
}

tr_status tr_adapter_open(tr_adapter *a, const char *dir, tr_error *err)
{
    json_t *config = NULL;
    char *path = NULL, *file = tr_path_join(dir, tensors_name);
    tr_status status;
    memset(a, 0, sizeof *a);
    if (!file) {
        return tr_fail(err, TR_MEMORY, dir, "out of memory");
    }
    if (!tr_lora_is_adapter(dir)) {
        status = tr_fail(err, TR_NOT_FOUND, dir, "there is no adapter here: %s is missing", config_name);
        goto done;
    }
    TR_TRY(read_config(dir, &config, &path, err));
    TR_TRY(read_lora(config, path, &a->lora, err));
    if (!tr_file_exists(file) && has_file(dir, "adapter_model.bin")) {
        status =
            tr_fail(err, TR_UNSUPPORTED, dir,
                    "the adapter's tensors are a pickle (adapter_model.bin); save it with peft as safetensors");
        goto done;
    }
    TR_TRY(tr_safetensors_open(&a->tensors, file, err));
done:
    json_decref(config);
    free(path);
    free(file);
    if (status) {
        tr_adapter_close(a);
    }
    return status;
}

void tr_adapter_close(tr_adapter *a)
{
    for (int i = 0; a->found && i < a->count; i++) {
        free(a->found[i].a);
        free(a->found[i].b);
    }
    free(a->found);
    json_decref(a->lora.targets);
    free(a->lora.base);
    tr_safetensors_close(&a->tensors);
    memset(a, 0, sizeof *a);
}

/* Which entry a tensor belongs to and as what: 'A', 'B', or 'W' for a whole one. -1: none. */
static int place_of(const tr_params *params, const char *name, char *kind)
{
    char module[160], canonical[96];
    const char *rest = strncmp(name, prefix, sizeof prefix - 1) ? NULL : name + sizeof prefix - 1, *lora;
    if (!rest || strlen(rest) >= sizeof module) {
        return -1;
    }
    snprintf(module, sizeof module, "%s", rest);
    *kind = 'W';
    lora = strstr(rest, ".lora_");
    if (lora && (!strcmp(lora, ".lora_A.weight") || !strcmp(lora, ".lora_B.weight"))) {
        *kind = lora[6];
        snprintf(module + (lora - rest), sizeof module - (size_t)(lora - rest), ".weight");
    }
    if (!tr_checkpoint_name(module, canonical)) {
        return -1;
    }
    for (int i = 0; i < params->base; i++) {
        if (!strcmp(params->items[i].name, canonical)) {
            return i;
        }
    }
    return -1;
}

static tr_status check_shape(const tr_safetensor *t, int rank, const int64_t *shape, const char *path,
                             tr_error *err)
{
    char found[128], expected[128];
    if (t->rank != rank || memcmp(t->shape, shape, (size_t)rank * sizeof *shape) != 0) {
        return tr_fail(err, TR_MISMATCH, path, "tensor %.200s has shape %s; the base and r ask for %s", t->name,
                       tr_shape_text(t->shape, t->rank, found, sizeof found),
                       tr_shape_text(shape, rank, expected, sizeof expected));
    }
    if (t->dtype != TR_F32 && t->dtype != TR_BF16 && t->dtype != TR_F16) {
        return tr_fail(err, TR_UNSUPPORTED, path, "tensor %.200s has dtype %s; weights must be F32, BF16 or F16",
                       t->name, tr_dtype_name(t->dtype));
    }
    return TR_OK;
}

static tr_status read_half(const tr_safetensor *t, const int64_t shape[2], float **values, const char *path,
                           tr_error *err)
{
    tr_status status = check_shape(t, 2, shape, path, err);
    if (!status && *values) {
        status = tr_fail(err, TR_MISMATCH, path, "tensor %.200s is there twice, under two names", t->name);
    }
    if (!status && !(*values = tr_calloc((size_t)t->elements, sizeof **values))) {
        status = tr_fail(err, TR_MEMORY, path, "out of memory for %.200s", t->name);
    }
    return status ? status : tr_safetensors_copy(t, 0, t->elements, *values, TR_F32, err);
}

static tr_status take_tensor(tr_adapter *a, const tr_params *params, const tr_safetensor *t, const char *path,
                             tr_error *err)
{
    char kind = 0;
    int at = place_of(params, t->name, &kind);
    const tr_param *p = at < 0 ? NULL : &params->items[at];
    bool text = p && p->part == TR_PART_TEXT;
    a->parameters += (uint64_t)t->elements;
    if (p && kind == 'W' && !text) {
        a->found[at].whole = t;
        a->lora.vision_replaced = a->lora.vision_replaced || p->part == TR_PART_VISION;
        a->lora.merger_replaced = a->lora.merger_replaced || p->part == TR_PART_MERGER;
        return check_shape(t, p->rank, p->shape, path, err);
    }
    if (!p || kind == 'W' || !p->matrix || strncmp(p->name, "model.layers.", 13) != 0) {
        return tr_fail(
            err, p ? TR_UNSUPPORTED : TR_MISMATCH, path,
            "tensor %.200s: %s; adapters are known for linear layers of the decoder, whole tensors for the "
            "vision tower and merger",
            t->name, p ? "an adapter of this kind is not computed here" : "the base has no such layer");
    }
    const int64_t down[2] = {a->lora.rank, p->in}, up[2] = {p->out, a->lora.rank};
    return kind == 'A' ? read_half(t, down, &a->found[at].a, path, err)
                       : read_half(t, up, &a->found[at].b, path, err);
}

tr_status tr_adapter_match(tr_adapter *a, const tr_params *params, tr_error *err)
{
    const char *path = a->tensors.files[0].path;
    char module[128];
    tr_status status = TR_OK;
    a->count = params->base;
    a->found = tr_calloc((size_t)params->base, sizeof *a->found);
    if (!a->found) {
        return tr_fail(err, TR_MEMORY, path, "out of memory");
    }
    for (size_t i = 0; i < a->tensors.count; i++) {
        TR_TRY(take_tensor(a, params, &a->tensors.items[i], path, err));
    }
    for (int i = 0; i < params->base; i++) {
        const tr_adapter_pair *pair = &a->found[i];
        tr_lora_module(&params->items[i], module, sizeof module);
        if (!pair->a != !pair->b) {
            status = tr_fail(err, TR_MISMATCH, path, "%s%s has lora_%c but no lora_%c", prefix, module,
                             pair->a ? 'A' : 'B', pair->a ? 'B' : 'A');
            goto done;
        }
        if (pair->a) {
            int64_t layer = strtoll(params->items[i].name + 13, NULL, 10);
            a->lora.first = a->lora.matrices++ && a->lora.first < layer ? a->lora.first : layer;
        }
    }
    if (!a->lora.matrices) {
        status = tr_fail(err, TR_FORMAT, path, "the adapter holds no lora_A and lora_B of any layer");
    }
done:
    return status;
}

/* ---- writing ---- */

static bool saves_whole(const tr_model *model, const tr_param *p)
{
    bool tower = model->lora->vision_replaced || model->params.items[model->params.patch].trainable;
    bool merger = model->lora->merger_replaced || model->params.items[model->params.merger_norm].trainable;
    return p->part != TR_PART_TEXT && (tower || (merger && p->part == TR_PART_MERGER));
}

static tr_status write_config(const tr_model *model, const char *dir, tr_error *err)
{
    const tr_lora *lora = model->lora;
    char *path = tr_path_join(dir, config_name);
    json_t *alpha = lora->alpha == (double)(json_int_t)lora->alpha ? json_integer((json_int_t)lora->alpha)
                                                                   : json_real(lora->alpha);
    json_t *whole = json_null();
    if (saves_whole(model, &model->params.items[model->params.patch])) {
        whole = json_pack("[s]", "visual"); /* peft keeps modules, not parts of one */
    } else if (saves_whole(model, &model->params.items[model->params.merger_norm])) {
        whole = json_pack("[s]", "merger");
    }
    json_t *config =
        json_pack("{s:s, s:s, s:s, s:I, s:o, s:f, s:O, s:s, s:b, s:b, s:b, s:o, s:b, s:b, s:{}, s:{}}", "peft_type",
                  "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path", lora->base, "r",
                  (json_int_t)lora->rank, "lora_alpha", alpha, "lora_dropout", 0.0, "target_modules", lora->targets,
                  "bias", "none", "fan_in_fan_out", 0, "inference_mode", 1, "init_lora_weights", 1,
                  "modules_to_save", whole, "use_dora", 0, "use_rslora", 0, "rank_pattern", "alpha_pattern");
    tr_status status =
        config && path ? tr_json_write(path, config, err) : tr_fail(err, TR_MEMORY, dir, "out of memory");
    json_decref(config);
    free(path);
    return status;
}

/* peft's name of what is written of an entry; false: nothing. */
static bool entry_name(const tr_model *model, int index, char *name, size_t size)
{
    const tr_param *p = &model->params.items[index];
    if (index >= model->params.base) {
        snprintf(name, size, "%s", p->name);
    } else if (saves_whole(model, p)) {
        snprintf(name, size, "%smodel.%s", prefix, p->name);
    } else {
        return false;
    }
    return true;
}

static tr_status write_values(const tr_param *p, tr_dtype dtype, tr_safetensors_writer *writer, tr_error *err)
{
    const size_t size = tr_dtype_size(dtype);
    const int64_t step = ((1 << 20) / p->in / TR_PANEL + 1) * TR_PANEL; /* rows of about a million elements */
    const int64_t most = step < p->out ? step : p->out;
    void *rows = tr_calloc_aligned((size_t)(most * p->in), size);
    tr_status status = rows ? TR_OK : tr_fail(err, TR_MEMORY, p->name, "out of memory while writing %s", p->name);
    for (int64_t row = 0; !status && row < p->out; row += step) {
        int64_t n = p->out - row < step ? p->out - row : step;
        tr_matrix from = p->value;
        if (p->master) {
            from.dtype = TR_F32;
            from.panels = p->master;
        }
        if (p->matrix) {
            p->memory->unpack(&from, rows, dtype, row, n);
        } else {
            const tr_matrix flat = {TR_F32, p->out, 1, from.panels};
            p->memory->unpack(&flat, rows, dtype, row, n);
        }
        status = tr_safetensors_writer_write(writer, rows, (size_t)(n * p->in) * size, err);
    }
    free(rows);
    return status;
}

static tr_status write_tensors(const tr_model *model, const char *dir, tr_dtype dtype, tr_error *err)
{
    typedef char entry_text[128];
    const tr_params *params = &model->params;
    tr_safetensors_entry *entries = tr_calloc((size_t)params->count, sizeof *entries);
    entry_text *names = tr_calloc((size_t)params->count, sizeof *names);
    char *path = tr_path_join(dir, tensors_name);
    tr_safetensors_writer writer = {0};
    size_t count = 0;
    tr_status status;
    if (!entries || !names || !path) {
        status = tr_fail(err, TR_MEMORY, dir, "out of memory");
        goto done;
    }
    for (int i = 0; i < params->count; i++) {
        if (entry_name(model, i, names[count], sizeof *names)) {
            tr_safetensors_entry *e = &entries[count];
            *e = (tr_safetensors_entry){
                .name = names[count], .dtype = i < params->base ? dtype : TR_F32, .rank = params->items[i].rank};
            memcpy(e->shape, params->items[i].shape, (size_t)e->rank * sizeof *e->shape);
            count++;
        }
    }
    TR_TRY(tr_safetensors_writer_open(&writer, path, entries, count, NULL, err));
    for (int i = 0; i < params->count; i++) {
        if (entry_name(model, i, names[0], sizeof *names)) {
            status = write_values(&params->items[i], i < params->base ? dtype : TR_F32, &writer, err);
            if (status) {
                tr_safetensors_writer_abandon(&writer);
                goto done;
            }
        }
    }
    TR_TRY(tr_safetensors_writer_commit(&writer, err));
done:
    free(entries);
    free(names);
    free(path);
    return status;
}

tr_status tr_lora_write(const tr_model *model, const char *dir, tr_dtype dtype, tr_error *err)
{
    tr_status status = write_tensors(model, dir, dtype, err);
    return status ? status : write_config(model, dir, err);
}
