/* protocol.c: hashes of what an evaluation reads, the card, the differences of two. */
#include "eval/protocol.h"

#include "base/file.h"
#include "base/random.h"
#include "model/lora.h"
#include "task/prompt.h"

#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

static bool of_tokenizer(const char *name)
{
    return !strcmp(name, "tokenizer.json") || !strcmp(name, "tokenizer_config.json") ||
           !strcmp(name, "vocab.json") || !strcmp(name, "merges.txt") || !strcmp(name, "chat_template.json") ||
           ends_with(name, ".jinja");
}

static bool of_model(const char *name)
{
    return (ends_with(name, ".safetensors") && strcmp(name, "state.safetensors") != 0) ||
           !strcmp(name, "config.json");
}

static bool of_adapter(const char *name)
{
    return !strcmp(name, "adapter_model.safetensors");
}

/* A hash over name and bytes of every file that `takes` picks, in the order of the names. */
static tr_status hash_files(const char *directory, bool (*takes)(const char *), char hash[17], tr_error *err)
{
    char **names = NULL;
    size_t count = 0;
    uint64_t all = 0;
    tr_status status = tr_directory_list(directory, &names, &count, err);
    for (size_t i = 0; !status && i < count; i++) {
        tr_file_map map = {0};
        char *path = takes(names[i]) ? tr_path_join(directory, names[i]) : NULL;
        if (path && !tr_directory_exists(path)) {
            status = tr_file_map_open(&map, path, err);
            const uint64_t parts[3] = {all, tr_hash_text(names[i]), tr_hash(map.data, map.size)};
            all = tr_hash(parts, sizeof parts);
            tr_file_map_close(&map);
        }
        free(path);
    }
    tr_names_free(names, count);
    snprintf(hash, 17, "%016llx", (unsigned long long)all);
    return status;
}

/* The name of the base in adapter_config.json is a place, and does not count. */
static tr_status hash_adapter(const char *directory, char hash[17], tr_error *err)
{
    tr_adapter adapter = {0};
    char tensors[17], text[80];
    tr_status status;
    TR_TRY(tr_adapter_open(&adapter, directory, err));
    TR_TRY(hash_files(directory, of_adapter, tensors, err));
    snprintf(text, sizeof text, "%s %lld %.17g", tensors, (long long)adapter.lora.rank, adapter.lora.alpha);
    snprintf(hash, 17, "%016llx", (unsigned long long)tr_hash_text(text));
done:
    tr_adapter_close(&adapter);
    return status;
}

tr_status tr_protocol_model_hash(const char *directory, const char *adapter, char hash[17], tr_error *err)
{
    char *base = NULL, own[17], both[40];
    adapter = adapter ? adapter : tr_lora_is_adapter(directory) ? directory : NULL;
    tr_status status;
    TR_TRY(tr_lora_base(directory, &base, err));
    TR_TRY(hash_files(base, of_model, hash, err));
    if (adapter) {
        TR_TRY(hash_adapter(adapter, own, err));
        snprintf(both, sizeof both, "%s %s", hash, own);
        snprintf(hash, 17, "%016llx", (unsigned long long)tr_hash_text(both));
    }
done:
    free(base);
    return status;
}

tr_status tr_protocol_tokenizer_hash(const char *directory, char hash[17], tr_error *err)
{
    return hash_files(directory, of_tokenizer, hash, err);
}

tr_status tr_protocol_file_hash(const char *path, char hash[17], tr_error *err)
{
    tr_file_map map = {0};
    tr_status status = tr_file_map_open(&map, path, err);
    snprintf(hash, 17, "%016llx", status ? 0ull : (unsigned long long)tr_hash(map.data, map.size));
    tr_file_map_close(&map);
    return status;
}

tr_status tr_protocol_prompt_hash(const char *name, char hash[17], tr_error *err)
{
    size_t length;
    const char *text = strchr(name, '/') ? NULL : tr_prompts_builtin_text(name, &length);
    if (text) {
        snprintf(hash, 17, "%016llx", (unsigned long long)tr_hash(text, length));
        return TR_OK;
    }
    return tr_protocol_file_hash(name, hash, err);
}

tr_status tr_protocol_card(const tr_protocol *p, json_t **card, tr_error *err)
{
    char model[17], tokenizer[17], data[17], prompt[17];
    const tr_sampling *s = p->sampling;
    tr_status status;
    *card = NULL;
    TR_TRY(tr_protocol_model_hash(p->model, p->adapter, model, err));
    TR_TRY(tr_protocol_tokenizer_hash(p->tokenizer, tokenizer, err));
    TR_TRY(tr_protocol_file_hash(p->data, data, err));
    TR_TRY(tr_protocol_prompt_hash(p->prompt, prompt, err));
    *card =
        json_pack("{s:s, s:s?, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:s, s:{s:f, s:I, s:I, s:I, s:I}}",
                  "model", p->model, "adapter", p->adapter, "model_hash", model, "tokenizer", p->tokenizer,
                  "tokenizer_hash", tokenizer, "data", p->data, "data_hash", data, "data_rows", (json_int_t)p->rows,
                  "first", (json_int_t)p->first, "prompt", p->prompt, "prompt_hash", prompt, "scheme", p->scheme,
                  "parser", p->parser, "video", "fps", p->video.fps, "min_frames", (json_int_t)p->video.min_frames,
                  "max_frames", (json_int_t)p->video.max_frames, "total_pixels", (json_int_t)p->video.total_pixels,
                  "min_pixels", (json_int_t)p->video.min_pixels);
    json_t *sampling = json_pack(
        "{s:s, s:f, s:f, s:I, s:f, s:I, s:I, s:I}", "decoding", s->temperature > 0 ? "sampled" : "greedy",
        "temperature", s->temperature, "top_p", s->top_p, "top_k", (json_int_t)s->top_k, "min_p", s->min_p,
        "max_tokens", (json_int_t)s->max_tokens, "seed", (json_int_t)p->seed, "samples", (json_int_t)p->samples);
    if (!*card || !sampling || json_object_set(*card, "sampling", sampling)) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory for the protocol card");
    }
    json_decref(sampling);
done:
    if (status) {
        json_decref(*card);
        *card = NULL;
    }
    return status;
}

/* Where files lie, which kernels ran, and what only describes. */
static bool matters(const char *key)
{
    static const char *const not [] = {"model",   "adapter", "tokenizer", "data",  "data_rows",
                                       "kernels", "run",     "seconds",   "tokens"};
    for (size_t i = 0; i < sizeof not / sizeof *not ; i++) {
        if (!strcmp(key, not [i])) {
            return false;
        }
    }
    return true;
}

/* A seed changes nothing where nothing is drawn. */
static bool greedy(const json_t *card)
{
    const json_t *t = json_object_get(card, "temperature");
    return t && json_number_value(t) <= 0;
}

static void compare(const json_t *a, const json_t *b, const char *before, json_t *out)
{
    json_t *keys = json_object(), *value;
    const char *key;
    json_object_update_missing(keys, (json_t *)(uintptr_t)a);
    json_object_update_missing(keys, (json_t *)(uintptr_t)b);
    bool no_draws = greedy(a) && greedy(b);
    json_object_foreach(keys, key, value)
    {
        json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
        char *name = tr_format("%s%s%s", before, before[0] ? "." : "", key);
        bool number = json_is_number(x) && json_is_number(y) && json_number_value(x) == json_number_value(y);
        if (!name || (!before[0] && !matters(key)) || number || (no_draws && !strcmp(key, "seed"))) {
            free(name);
            continue;
        }
        if (json_is_object(x) && json_is_object(y)) {
            compare(x, y, name, out);
        } else if (!x || !y || !json_equal(x, y)) {
            json_array_append_new(out,
                                  json_pack("{s:s, s:o, s:o}", "key", name, "a", x ? json_incref(x) : json_null(),
                                            "b", y ? json_incref(y) : json_null()));
        }
        free(name);
    }
    json_decref(keys);
}

json_t *tr_protocol_differences(const json_t *a, const json_t *b)
{
    json_t *out = json_array();
    if (out) {
        compare(a, b, "", out);
    }
    return out;
}

tr_status tr_protocol_differences_text(const json_t *differences, tr_buffer *out, tr_error *err)
{
    tr_status status = TR_OK;
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)(uintptr_t)differences, i, one)
    {
        tr_buffer a = {0}, b = {0};
        status = status ? status : tr_json_print(json_object_get(one, "a"), &a, err);
        status = status ? status : tr_json_print(json_object_get(one, "b"), &b, err);
        if (!status) {
            status = tr_buffer_printf(out, err, "%s%s (%s and %s)", i ? ", " : "",
                                      json_string_value(json_object_get(one, "key")), tr_buffer_text(&a),
                                      tr_buffer_text(&b));
        }
        tr_buffer_free(&a);
        tr_buffer_free(&b);
    }
    return status;
}

tr_status tr_protocol_hold(const json_t *old, const json_t *card, const char *where, const char *what,
                           const char *option, tr_error *err)
{
    json_t *differences = tr_protocol_differences(old, card);
    tr_buffer text = {0};
    tr_status status = differences ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    if (json_array_size(differences)) {
        TR_TRY(tr_protocol_differences_text(differences, &text, err));
        status = tr_fail(err, TR_MISMATCH, where,
                         "holds %s of another protocol: %s; give another %s, or --restart to begin anew", what,
                         tr_buffer_text(&text), option);
    }
done:
    json_decref(differences);
    tr_buffer_free(&text);
    return status;
}
