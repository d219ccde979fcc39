/* config_write.c: writes config.json in the published flat layout, which every reader accepts, and
 * generation_config.json; and the shapes known by name. */
#include "model/config.h"

#include "base/buffer.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

static void set_id(json_t *object, const char *key, int64_t id)
{
    if (id >= 0) {
        json_object_set_new(object, key, json_integer(id));
    }
}

static json_t *vision_json(const tr_vision_config *v)
{
    json_t *full = json_array();
    for (int64_t i = 0; i < v->full_block_count; i++) {
        json_array_append_new(full, json_integer(v->full_blocks[i]));
    }
    json_t *rate = v->tokens_per_second == (double)(int64_t)v->tokens_per_second
                       ? json_integer((json_int_t)v->tokens_per_second)
                       : json_real(v->tokens_per_second);
    return json_pack("{s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:I}", "depth",
                     (json_int_t)v->depth, "hidden_act", "silu", "hidden_size", (json_int_t)v->hidden,
                     "intermediate_size", (json_int_t)v->intermediate, "num_heads", (json_int_t)v->heads,
                     "in_chans", (json_int_t)v->channels, "in_channels", (json_int_t)v->channels, "out_hidden_size",
                     (json_int_t)v->out_hidden, "patch_size", (json_int_t)v->patch, "spatial_merge_size",
                     (json_int_t)v->merge, "spatial_patch_size", (json_int_t)v->patch, "window_size",
                     (json_int_t)v->window, "fullatt_block_indexes", full, "tokens_per_second", rate,
                     "temporal_patch_size", (json_int_t)v->temporal_patch);
}

/* 1e-6 as a float is 9.99999997e-07; the shortest decimal that reads back as the same float is written. */
static double shortest(float value)
{
    char text[32];
    for (int digits = 1; digits < 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) {
            return strtod(text, NULL);
        }
    }
    return (double)value;
}

static json_t *config_json(const tr_model_config *c, const char *dtype)
{
    json_t *root = json_pack(
        "{s:[s], s:f, s:s, s:I, s:f, s:I, s:I, s:I, s:s, s:I, s:I, s:I, s:f, s:f, s:b, s:s, s:b, s:b, s:I}",
        "architectures", "Qwen2_5_VLForConditionalGeneration", "attention_dropout", 0.0, "hidden_act", "silu",
        "hidden_size", (json_int_t)c->hidden, "initializer_range", 0.02, "intermediate_size",
        (json_int_t)c->intermediate, "max_position_embeddings", (json_int_t)c->max_positions, "max_window_layers",
        (json_int_t)c->layers, "model_type", "qwen2_5_vl", "num_attention_heads", (json_int_t)c->heads,
        "num_hidden_layers", (json_int_t)c->layers, "num_key_value_heads", (json_int_t)c->kv_heads, "rms_norm_eps",
        shortest(c->rms_eps), "rope_theta", c->rope_theta, "tie_word_embeddings", (int)c->tied, "torch_dtype",
        dtype, "use_cache", 1, "use_sliding_window", 0, "vocab_size", (json_int_t)c->vocab);
    if (!root) {
        return NULL;
    }
    set_id(root, "bos_token_id", c->bos_id);
    set_id(root, "eos_token_id", c->eos_id);
    set_id(root, "pad_token_id", c->pad_id);
    set_id(root, "vision_start_token_id", c->vision_start_id);
    set_id(root, "vision_end_token_id", c->vision_end_id);
    if (c->vision_end_id + 1 < c->vocab) {
        set_id(root, "vision_token_id", c->vision_end_id + 1); /* the published order of the special tokens */
    }
    set_id(root, "image_token_id", c->image_id);
    set_id(root, "video_token_id", c->video_id);
    json_object_set_new(root, "vision_config", vision_json(&c->vision));
    json_object_set_new(root, "rope_scaling",
                        json_pack("{s:s, s:[i, i, i]}", "type", "mrope", "mrope_section", (int)c->mrope_sections[0],
                                  (int)c->mrope_sections[1], (int)c->mrope_sections[2]));
    return root;
}

/* The other settings of the checkpoint in `source` (sampling, as published) stay. That it may be gone or changed by
 * now must keep no checkpoint from being written. */
static json_t *generation_json(const tr_model_config *c, const char *source)
{
    json_t *root = NULL, *ends = json_array();
    char *path = source ? tr_path_join(source, "generation_config.json") : NULL;
    if (!path || !tr_file_exists(path) || tr_json_read(path, &root, NULL) || !json_is_object(root)) {
        json_decref(root);
        root = json_object();
    }
    free(path);
    if (!json_object_get(root, "bos_token_id")) {
        set_id(root, "bos_token_id", c->bos_id);
    }
    for (int64_t i = 0; i < c->end_count; i++) {
        json_array_append_new(ends, json_integer(c->end_ids[i]));
    }
    json_object_set_new(root, "eos_token_id", ends);
    if (!json_object_get(root, "pad_token_id")) {
        set_id(root, "pad_token_id", c->pad_id >= 0 ? c->pad_id : c->bos_id);
    }
    return root;
}

tr_status tr_model_config_write(const char *dir, const tr_model_config *config, const char *dtype,
                                const char *source, tr_error *err)
{
    char *path = tr_path_join(dir, "config.json"), *generation = tr_path_join(dir, "generation_config.json");
    json_t *root = config_json(config, dtype), *ends = generation_json(config, source);
    tr_status status = TR_OK;
    if (!path || !generation || !root || !ends) {
        status = tr_fail(err, TR_MEMORY, dir, "out of memory");
        goto done;
    }
    TR_TRY(tr_json_write(path, root, err));
    TR_TRY(tr_json_write(generation, ends, err));
done:
    json_decref(root);
    json_decref(ends);
    free(path);
    free(generation);
    return status;
}
