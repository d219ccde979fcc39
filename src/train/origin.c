/* origin.c: what a run started from, by content. */
#include "train/origin.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "model/lora.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PIECE_BYTES = 16 << 20 };

/* The pieces are hashed by all threads; the hash is that of their hashes. lines (may be NULL): newlines. */
static tr_status hash_file(const char *path, uint64_t *hash, uint64_t *bytes, int64_t *lines, tr_error *err)
{
    tr_file_map map;
    tr_status status = tr_file_map_open(&map, path, err);
    if (status) {
        return status;
    }
    const int64_t pieces = (int64_t)((map.size + PIECE_BYTES - 1) / PIECE_BYTES);
    uint64_t *hashes = tr_calloc((size_t)pieces, sizeof *hashes);
    int64_t found = 0;
    if (!hashes) {
        tr_file_map_close(&map);
        return tr_fail(err, TR_MEMORY, path, "out of memory");
    }
#pragma omp parallel for schedule(dynamic) reduction(+ : found)
    for (int64_t i = 0; i < pieces; i++) {
        const uint8_t *at = map.data + (size_t)i * PIECE_BYTES;
        size_t left = map.size - (size_t)i * PIECE_BYTES, n = left < PIECE_BYTES ? left : PIECE_BYTES;
        const void *piece = at;
        hashes[i] = tr_hash(at, n);
        for (const uint8_t *end = at + n; lines && (at = memchr(at, '\n', (size_t)(end - at))); at++) {
            found++;
        }
        madvise((void *)(uintptr_t)piece, n, MADV_DONTNEED); /* or a model's files would be resident beside it */
    }
    *hash = tr_hash(hashes, (size_t)pieces * sizeof *hashes);
    *bytes = map.size;
    if (lines) {
        *lines = found + (map.size && map.data[map.size - 1] != '\n');
    }
    free(hashes);
    tr_file_map_close(&map);
    return TR_OK;
}

/* {bytes, hash} or {bytes, lines, hash} or {absent}. */
static tr_status describe(const char *path, bool count_lines, json_t **out, tr_error *err)
{
    uint64_t hash = 0, bytes = 0;
    int64_t lines = 0;
    tr_error why = {0};
    char text[20];
    *out = NULL;
    tr_status status = hash_file(path, &hash, &bytes, count_lines ? &lines : NULL, &why);
    if (status && status != TR_NOT_FOUND) {
        return tr_fail(err, status, why.where, "%s", why.message);
    }
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    json_t *o = json_object();
    if (status) {
        json_object_set_new(o, "absent", json_true());
    } else {
        json_object_set_new(o, "bytes", json_integer((json_int_t)bytes));
        if (count_lines) {
            json_object_set_new(o, "lines", json_integer(lines));
        }
        json_object_set_new(o, "hash", json_string(text));
    }
    *out = o;
    return o ? TR_OK : tr_fail(err, TR_MEMORY, path, "out of memory");
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

/* A checkpoint of a run holds its state too, which is not read as a start. */
static bool is_weights(const char *name)
{
    bool ours = !strcmp(name, "state.safetensors") || !strcmp(name, "state.json");
    return !ours && (ends_with(name, ".safetensors") || ends_with(name, ".safetensors.index.json") ||
                     !strcmp(name, "config.json") || !strcmp(name, "adapter_config.json"));
}

static bool is_tokenizer(const char *name)
{
    static const char *const names[] = {"vocab.json",           "merges.txt",         "tokenizer.json",
                                        "added_tokens.json",    "chat_template.json", "chat_template.jinja",
                                        "tokenizer_config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(name, names[i])) {
            return true;
        }
    }
    return false;
}

static tr_status describe_folder(const char *dir, bool (*wanted)(const char *), json_t **out, tr_error *err)
{
    char **names = NULL;
    size_t count = 0;
    tr_status status = TR_OK;
    *out = json_object();
    if (tr_directory_exists(dir)) {
        TR_TRY(tr_directory_list(dir, &names, &count, err));
    }
    for (size_t i = 0; i < count; i++) {
        json_t *one;
        char *path = wanted(names[i]) ? tr_path_join(dir, names[i]) : NULL;
        if (path) {
            status = describe(path, false, &one, err);
            json_object_set_new(*out, names[i], one);
            free(path);
            TR_TRY(status);
        }
    }
done:
    tr_names_free(names, count);
    return status;
}

static tr_status describe_entry(const tr_data_entry *entry, json_t **out, tr_error *err)
{
    json_t *one = NULL;
    *out = json_object();
    tr_status status = describe(entry->rows, true, &one, err);
    json_object_set_new(*out, "rows", one);
    if (!status && entry->prompt && strchr(entry->prompt, '/')) {
        status = describe(entry->prompt, false, &one, err);
        json_object_set_new(*out, "prompt", one);
    }
    return status;
}

tr_status tr_origin_read(const tr_config *config, const char *model_dir, json_t **origin, tr_error *err)
{
    json_t *one = NULL, *data = json_array();
    char *tokenizer = NULL, *base = NULL;
    tr_status status = tr_lora_tokenizer(config->tokenizer ? config->tokenizer : model_dir, &tokenizer, err);
    *origin = json_object();
    status = status ? status : describe_folder(model_dir, is_weights, &one, err);
    json_object_set_new(*origin, "model", one);
    if (!status && tr_lora_is_adapter(model_dir) && !(status = tr_lora_base(model_dir, &base, err))) {
        status = describe_folder(base, is_weights, &one, err);
        json_object_set_new(*origin, "base", one);
    }
    if (!status) {
        status = describe_folder(tokenizer, is_tokenizer, &one, err);
        json_object_set_new(*origin, "tokenizer", one);
    }
    free(tokenizer);
    free(base);
    for (size_t i = 0; !status && i < config->data_count; i++) {
        status = describe_entry(&config->data[i], &one, err);
        json_array_append_new(data, one);
    }
    json_object_set_new(*origin, "data", data);
    if (status) {
        json_decref(*origin);
        *origin = NULL;
    }
    return status;
}

/* ---- differences ---- */

static void print_file(const json_t *file, char *text, size_t size)
{
    const char *hash = json_string_value(json_object_get(file, "hash"));
    const json_t *lines = json_object_get(file, "lines");
    if (!hash) {
        snprintf(text, size, "not there");
    } else if (lines) {
        snprintf(text, size, "%lld rows in %lld bytes, hash %s", (long long)json_integer_value(lines),
                 (long long)json_integer_value(json_object_get(file, "bytes")), hash);
    } else {
        snprintf(text, size, "%lld bytes, hash %s", (long long)json_integer_value(json_object_get(file, "bytes")),
                 hash);
    }
}

static bool is_same(const json_t *a, const json_t *b)
{
    const char *x = json_string_value(json_object_get(a, "hash")),
               *y = json_string_value(json_object_get(b, "hash"));
    return (!x && !y) || (x && y && !strcmp(x, y));
}

static tr_status compare_file(const char *what, const char *name, const json_t *before, const json_t *after,
                              tr_buffer *out, tr_error *err)
{
    char a[160], b[160];
    if (is_same(before, after)) {
        return TR_OK;
    }
    print_file(before, a, sizeof a);
    print_file(after, b, sizeof b);
    return tr_buffer_printf(out, err, "  %s: %s: %s -> %s\n", what, name, a, b);
}

static tr_status compare_files(const char *what, const json_t *before, const json_t *after, tr_buffer *out,
                               tr_error *err)
{
    const char *name;
    json_t *file;
    tr_status status = TR_OK;
    json_object_foreach((json_t *)(uintptr_t)before, name, file)
    {
        TR_TRY(compare_file(what, name, file, json_object_get(after, name), out, err));
    }
    json_object_foreach((json_t *)(uintptr_t)after, name, file)
    {
        if (!json_object_get(before, name)) {
            TR_TRY(compare_file(what, name, NULL, file, out, err));
        }
    }
done:
    return status;
}

tr_status tr_origin_differences(const json_t *before, const json_t *after, tr_buffer *out, tr_error *err)
{
    const json_t *old = json_object_get(before, "data"), *new = json_object_get(after, "data");
    tr_status status = compare_files("model (the start weights and the reference)",
                                     json_object_get(before, "model"), json_object_get(after, "model"), out, err);
    status = status ? status
                    : compare_files("base (of the adapter that the run starts from)",
                                    json_object_get(before, "base"), json_object_get(after, "base"), out, err);
    status = status ? status
                    : compare_files("tokenizer", json_object_get(before, "tokenizer"),
                                    json_object_get(after, "tokenizer"), out, err);
    for (size_t i = 0; !status && i < json_array_size(old) && i < json_array_size(new); i++) {
        char what[32]; /* another number of entries is a difference of the configuration */
        snprintf(what, sizeof what, "data.%zu", i);
        status = compare_files(what, json_array_get(old, i), json_array_get(new, i), out, err);
    }
    return status;
}
