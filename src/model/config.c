/* config.c: reads, checks and writes a checkpoint's config.json.
 *
 * Three layouts are in use (spec section 1.4); a field is text_config.X, else top-level X, else the default of the
 * published class. What this program cannot run is refused by name, never approximated. */
#include "model/config.h"
#include "model/lora.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* Where a text field may stand: text_config, then the top level. */
typedef struct places {
    const json_t *text, *root;
    const char *where;
} places;

static const json_t *find_text(const places *p, const char *key)
{
    const json_t *value = json_object_get(p->text, key);
    return value && !json_is_null(value) ? value : json_object_get(p->root, key);
}

static tr_status fail_type(tr_error *err, const places *p, const char *key, const char *expected,
                           const json_t *found)
{
    return tr_fail(err, TR_FORMAT, p->where, "%s must be %s, found %s", key, expected, tr_json_type_name(found));
}

/* Absent and null leave *out as it is. */
static tr_status read_int(const places *p, const char *key, const json_t *value, int64_t *out, tr_error *err)
{
    if (!value || json_is_null(value)) {
        return TR_OK;
    }
    if (!json_is_integer(value)) {
        return fail_type(err, p, key, "an integer", value);
    }
    *out = (int64_t)json_integer_value(value);
    return TR_OK;
}

static tr_status read_number(const places *p, const char *key, const json_t *value, double *out, tr_error *err)
{
    if (!value || json_is_null(value)) {
        return TR_OK;
    }
    if (!json_is_number(value)) {
        return fail_type(err, p, key, "a number", value);
    }
    *out = json_number_value(value);
    return TR_OK;
}

static tr_status read_bool(const places *p, const char *key, const json_t *value, bool *out, tr_error *err)
{
    if (!value || json_is_null(value)) {
        return TR_OK;
    }
    if (!json_is_boolean(value)) {
        return fail_type(err, p, key, "true or false", value);
    }
    *out = json_is_true(value);
    return TR_OK;
}

/* An activation or attention setting that has one supported value. */
static tr_status need_text(const places *p, const char *key, const json_t *value, const char *wanted, tr_error *err)
{
    const char *text = json_string_value(value);
    if (!value || json_is_null(value) || (text && !strcmp(text, wanted))) {
        return TR_OK;
    }
    return tr_fail(err, TR_UNSUPPORTED, p->where, "%s is %.40s%s%.40s; only \"%s\" is supported", key,
                   text ? "\"" : "", text ? text : tr_json_type_name(value), text ? "\"" : "", wanted);
}

static tr_status read_rope(const places *p, tr_model_config *c, tr_error *err)
{
    const json_t *rope = find_text(p, "rope_parameters");
    const char *name = "rope_parameters";
    if (!json_is_object(rope)) {
        rope = find_text(p, "rope_scaling");
        name = "rope_scaling";
    }
    tr_status status = read_number(p, "rope_theta", find_text(p, "rope_theta"), &c->rope_theta, err);
    if (!status) {
        status = read_number(p, "rope_theta", json_object_get(rope, "rope_theta"), &c->rope_theta, err);
    }
    if (status) {
        return status;
    }
    static const char *const keys[] = {"type", "rope_type"};
    for (int i = 0; i < 2; i++) {
        const json_t *value = json_object_get(rope, keys[i]);
        const char *type = json_string_value(value);
        if (value && (!type || (strcmp(type, "mrope") != 0 && strcmp(type, "default") != 0))) {
            return tr_fail(err, TR_UNSUPPORTED, p->where,
                           "%s.%s is \"%.40s\"; only \"mrope\" and \"default\" are supported", name, keys[i],
                           type ? type : tr_json_type_name(value));
        }
    }
    const json_t *sections = json_object_get(rope, "mrope_section");
    if (!json_is_array(sections) || json_array_size(sections) != 3) {
        return tr_fail(err, TR_FORMAT, p->where,
                       "%s.mrope_section must be a list of three integers: is this a Qwen2.5-VL checkpoint?", name);
    }
    for (size_t i = 0; i < 3; i++) {
        const json_t *item = json_array_get(sections, i);
        json_int_t v = json_integer_value(item);
        if (!json_is_integer(item) || v < 0 || v > 4096) {
            return tr_fail(err, TR_FORMAT, p->where, "%s.mrope_section[%zu] must be an integer from 0 to 4096",
                           name, i);
        }
        c->mrope_sections[i] = (int32_t)v;
    }
    return TR_OK;
}

static tr_status check_layer_types(const places *p, tr_error *err)
{
    const json_t *types = find_text(p, "layer_types");
    bool sliding = false;
    tr_status status = read_bool(p, "use_sliding_window", find_text(p, "use_sliding_window"), &sliding, err);
    if (status) {
        return status;
    }
    if (sliding) {
        return tr_fail(err, TR_UNSUPPORTED, p->where,
                       "use_sliding_window is true; only full attention is supported");
    }
    for (size_t i = 0; i < json_array_size(types); i++) {
        status = need_text(p, "layer_types", json_array_get(types, i), "full_attention", err);
        if (status) {
            return status;
        }
    }
    return TR_OK;
}

static tr_status read_text(const places *p, tr_model_config *c, tr_error *err)
{
    struct {
        const char *key;
        int64_t *out;
    } fields[] = {{"hidden_size", &c->hidden},
                  {"num_hidden_layers", &c->layers},
                  {"num_attention_heads", &c->heads},
                  {"num_key_value_heads", &c->kv_heads},
                  {"intermediate_size", &c->intermediate},
                  {"vocab_size", &c->vocab},
                  {"max_position_embeddings", &c->max_positions},
                  {"bos_token_id", &c->bos_id},
                  {"pad_token_id", &c->pad_id},
                  {"image_token_id", &c->image_id},
                  {"video_token_id", &c->video_id},
                  {"vision_start_token_id", &c->vision_start_id},
                  {"vision_end_token_id", &c->vision_end_id}};
    double eps = 1e-5;
    tr_status status = TR_OK;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        TR_TRY(read_int(p, fields[i].key, find_text(p, fields[i].key), fields[i].out, err));
    }
    TR_TRY(read_number(p, "rms_norm_eps", find_text(p, "rms_norm_eps"), &eps, err));
    c->rms_eps = (float)eps;
    TR_TRY(read_bool(p, "tie_word_embeddings", find_text(p, "tie_word_embeddings"), &c->tied, err));
    TR_TRY(need_text(p, "hidden_act", find_text(p, "hidden_act"), "silu", err));
    TR_TRY(check_layer_types(p, err));
    TR_TRY(read_rope(p, c, err));
    int64_t head_dim = c->heads > 0 ? c->hidden / c->heads : 0;
    c->head_dim = head_dim;
    TR_TRY(read_int(p, "head_dim", find_text(p, "head_dim"), &c->head_dim, err));
    if (c->head_dim != head_dim) {
        status = tr_fail(err, TR_UNSUPPORTED, p->where,
                         "head_dim is %lld; only hidden_size / num_attention_heads (%lld) is supported",
                         (long long)c->head_dim, (long long)head_dim);
    }
done:
    return status;
}

static tr_status read_vision(const json_t *vision, const places *p, tr_vision_config *v, tr_error *err)
{
    struct {
        const char *key, *other;
        int64_t *out;
    } fields[] = {{"depth", NULL, &v->depth},
                  {"hidden_size", NULL, &v->hidden},
                  {"num_heads", NULL, &v->heads},
                  {"intermediate_size", NULL, &v->intermediate},
                  {"out_hidden_size", NULL, &v->out_hidden},
                  {"in_channels", "in_chans", &v->channels},
                  {"patch_size", "spatial_patch_size", &v->patch},
                  {"spatial_merge_size", NULL, &v->merge},
                  {"temporal_patch_size", NULL, &v->temporal_patch},
                  {"window_size", NULL, &v->window}};
    char key[96];
    tr_status status = TR_OK;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *value = json_object_get(vision, fields[i].key);
        value = value || !fields[i].other ? value : json_object_get(vision, fields[i].other);
        snprintf(key, sizeof key, "vision_config.%s", fields[i].key);
        TR_TRY(read_int(p, key, value, fields[i].out, err));
    }
    TR_TRY(read_number(p, "vision_config.tokens_per_second", json_object_get(vision, "tokens_per_second"),
                       &v->tokens_per_second, err));
    TR_TRY(need_text(p, "vision_config.hidden_act", json_object_get(vision, "hidden_act"), "silu", err));
    const json_t *full = json_object_get(vision, "fullatt_block_indexes");
    if (!full || json_is_null(full)) {
        goto done; /* the class default is already there */
    }
    size_t most = sizeof v->full_blocks / sizeof *v->full_blocks;
    if (!json_is_array(full) || json_array_size(full) > most) {
        status = tr_fail(err, TR_FORMAT, p->where,
                         "vision_config.fullatt_block_indexes must be a list of at most %zu integers", most);
        goto done;
    }
    v->full_block_count = (int64_t)json_array_size(full);
    for (size_t i = 0; i < json_array_size(full); i++) {
        v->full_blocks[i] = -1;
        TR_TRY(
            read_int(p, "vision_config.fullatt_block_indexes", json_array_get(full, i), &v->full_blocks[i], err));
    }
done:
    return status;
}

/* eos_token_id: an integer or a list of them. */
static tr_status read_ends(const places *p, const json_t *value, tr_model_config *c, tr_error *err)
{
    size_t most = sizeof c->end_ids / sizeof *c->end_ids, count = json_is_array(value) ? json_array_size(value) : 1;
    if (!value || json_is_null(value)) {
        return TR_OK;
    }
    if (count > most) {
        return tr_fail(err, TR_FORMAT, p->where, "eos_token_id has %zu ids; at most %zu are supported", count,
                       most);
    }
    c->end_count = 0;
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(item)) {
            return fail_type(err, p, "eos_token_id", "an integer or a list of integers", item);
        }
        c->end_ids[c->end_count++] = (int64_t)json_integer_value(item);
    }
    return TR_OK;
}

static tr_status read_generation(const char *dir, tr_model_config *c, tr_error *err)
{
    char *path = tr_path_join(dir, "generation_config.json");
    json_t *root = NULL;
    tr_status status = TR_OK;
    if (!path) {
        return tr_fail(err, TR_MEMORY, dir, "out of memory");
    }
    if (tr_file_exists(path)) {
        TR_TRY(tr_json_read(path, &root, err));
        const places p = {.root = root, .where = path};
        if (!json_is_object(root)) {
            status = tr_fail(err, TR_FORMAT, path, "must be a JSON object, found %s", tr_json_type_name(root));
            goto done;
        }
        TR_TRY(read_ends(&p, json_object_get(root, "eos_token_id"), c, err));
        for (int64_t i = 0; i < c->end_count; i++) {
            if (c->end_ids[i] < 0 || c->end_ids[i] >= c->vocab) {
                status =
                    tr_fail(err, TR_FORMAT, path, "eos_token_id %lld is not a row of the vocabulary (%lld rows)",
                            (long long)c->end_ids[i], (long long)c->vocab);
                goto done;
            }
        }
    }
done:
    json_decref(root);
    free(path);
    return status;
}

/* The defaults of the published classes for fields that a config leaves out. */
static void set_class_defaults(tr_model_config *c)
{
    *c = (tr_model_config){.hidden = 8192,
                           .layers = 80,
                           .heads = 64,
                           .kv_heads = 8,
                           .intermediate = 29568,
                           .vocab = 152064,
                           .max_positions = 32768,
                           .rope_theta = 1e6,
                           .image_id = 151655,
                           .video_id = 151656,
                           .vision_start_id = 151652,
                           .vision_end_id = 151653,
                           .bos_id = -1,
                           .eos_id = -1,
                           .pad_id = -1,
                           .vision = {.depth = 32,
                                      .hidden = 3584,
                                      .heads = 16,
                                      .intermediate = 3420,
                                      .out_hidden = 3584,
                                      .channels = 3,
                                      .patch = 14,
                                      .merge = 2,
                                      .temporal_patch = 2,
                                      .window = 112,
                                      .full_blocks = {7, 15, 23, 31},
                                      .full_block_count = 4,
                                      .tokens_per_second = 4}};
}

tr_status tr_model_config_read(const char *dir, tr_model_config *config, tr_error *err)
{
    char *base = NULL, *path = NULL;
    json_t *root = NULL;
    tr_status status = TR_OK;
    TR_TRY(tr_lora_base(dir, &base, err)); /* an adapter has its base's shape */
    path = tr_path_join(base, "config.json");
    if (!path) {
        status = tr_fail(err, TR_MEMORY, dir, "out of memory");
        goto done;
    }
    set_class_defaults(config);
    TR_TRY(tr_json_read(path, &root, err));
    if (!json_is_object(root)) {
        status =
            tr_fail(err, TR_FORMAT, path, "config.json must be a JSON object, found %s", tr_json_type_name(root));
        goto done;
    }
    const places p = {.text = json_object_get(root, "text_config"), .root = root, .where = path};
    const json_t *vision = json_object_get(root, "vision_config"), *type = json_object_get(root, "model_type");
    TR_TRY(need_text(&p, "model_type", type, "qwen2_5_vl", err));
    if (p.text && !json_is_object(p.text)) {
        status = fail_type(err, &p, "text_config", "an object", p.text);
        goto done;
    }
    if (!json_is_object(vision)) {
        status = tr_fail(err, TR_FORMAT, path, "vision_config is missing: a Qwen2.5-VL checkpoint has one");
        goto done;
    }
    TR_TRY(read_text(&p, config, err));
    TR_TRY(read_vision(vision, &p, &config->vision, err));
    TR_TRY(read_ends(&p, find_text(&p, "eos_token_id"), config, err));
    config->eos_id = config->end_count ? config->end_ids[0] : -1;
    TR_TRY(tr_model_config_check(config, path, err));
    TR_TRY(read_generation(base, config, err));
done:
    json_decref(root);
    free(base);
    free(path);
    return status;
}
