/* tokenizer_load.c: reads a tokenizer from a checkpoint directory: vocab.json with merges.txt, or tokenizer.json,
 * and the settings beside them. Every complaint names the file and, where there are lines, the line. */
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads DIR/name if it exists; *json stays NULL when it does not. *path is owned by the caller in any case. */
static tr_status read_optional(const char *directory, const char *name, char **path, json_t **json, tr_error *err)
{
    *json = NULL;
    if (!(*path = tr_path_join(directory, name))) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for a path");
    }
    if (!tr_file_exists(*path)) {
        return TR_OK;
    }
    tr_status status = tr_json_read(*path, json, err);
    if (!status && !json_is_object(*json)) {
        status = tr_fail(err, TR_FORMAT, *path, "must be a JSON object, found %s", tr_json_type_name(*json));
        json_decref(*json);
        *json = NULL;
    }
    return status;
}

static tr_status read_vocab(tr_tokenizer *t, const char *path, tr_error *err)
{
    json_t *json = NULL;
    const char *key;
    json_t *value;
    tr_status status;
    TR_TRY(tr_json_read(path, &json, err));
    if (!json_is_object(json)) {
        status =
            tr_fail(err, TR_FORMAT, path, "must be an object of tokens and ids, found %s", tr_json_type_name(json));
        goto done;
    }
    json_object_foreach(json, key, value)
    {
        if (!json_is_integer(value)) {
            status = tr_fail(err, TR_FORMAT, path, "the id of token \"%.80s\" must be an integer, found %s", key,
                             tr_json_type_name(value));
            goto done;
        }
        TR_TRY(tr_vocabulary_add(t, key, strlen(key), json_integer_value(value), path, err));
    }
done:
    json_decref(json);
    return status;
}

static tr_status read_merges(tr_tokenizer *t, const char *path, tr_error *err)
{
    tr_file_map map = {0};
    tr_status status;
    uint32_t rank = 0;
    size_t number = 0, bad;
    TR_TRY(tr_file_map_open(&map, path, err));
    const char *text = (const char *)map.data;
    for (size_t at = 0; at < map.size;) {
        const char *line = text + at, *newline = memchr(line, '\n', map.size - at);
        size_t length = newline ? (size_t)(newline - line) : map.size - at;
        at += length + 1;
        number++;
        length -= length && line[length - 1] == '\r';
        if (!length || (number == 1 && length >= 8 && !memcmp(line, "#version", 8))) {
            continue;
        }
        const char *space = memchr(line, ' ', length);
        size_t left = space ? (size_t)(space - line) : 0, right = space ? length - left - 1 : 0;
        if (!left || !right || memchr(space + 1, ' ', right)) {
            status = tr_fail(err, TR_FORMAT, NULL, "a merge is two tokens with one space between, found \"%.*s\"",
                             (int)(length < 80 ? length : 80), line);
            goto done;
        }
        if (!tr_utf8_valid(line, length, &bad)) {
            status = tr_fail(err, TR_FORMAT, NULL, "not UTF-8 at column %zu", bad + 1);
            goto done;
        }
        TR_TRY(tr_vocabulary_add_merge(t, line, left, space + 1, right, rank++, err));
    }
done:
    if (status && number) {
        tr_fail_where(err, status, "%s:%zu", path, number);
    }
    tr_file_map_close(&map);
    return status;
}

/* "<|im_end|>" or {"content": "<|im_end|>", ...}; NULL for null, absent or something else. */
static const char *token_text(const json_t *value)
{
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

static tr_status add_described(tr_tokenizer *t, int64_t id, const json_t *token, const char *path, tr_error *err)
{
    static const char *const strips[] = {"lstrip", "rstrip", "single_word"};
    const char *content = NULL;
    bool special = false, normalized = false;
    char where[4096];
    tr_status status;
    snprintf(where, sizeof where, "%s: added token %" PRId64, path, id);
    TR_TRY(tr_json_get_string(token, "content", true, where, &content, err));
    TR_TRY(tr_json_get_bool(token, "special", false, where, &special, err));
    TR_TRY(tr_json_get_bool(token, "normalized", false, where, &normalized, err));
    for (size_t i = 0; i < 3; i++) {
        bool value = false;
        TR_TRY(tr_json_get_bool(token, strips[i], false, where, &value, err));
        if (value) {
            return tr_fail(err, TR_UNSUPPORTED, path,
                           "added token \"%.80s\" has \"%s\": true; only false is supported", content, strips[i]);
        }
    }
    status = tr_vocabulary_add_added(t, content, strlen(content), id, special, normalized, path, err);
done:
    return status;
}

tr_status tr_tokenizer_read_added_list(tr_tokenizer *t, const json_t *list, const char *path, tr_error *err)
{
    size_t i;
    json_t *token;
    tr_status status = TR_OK;
    json_array_foreach(list, i, token)
    {
        int64_t id = 0;
        if (!json_is_object(token)) {
            return tr_fail(err, TR_FORMAT, path, "entry %zu of \"added_tokens\" must be an object, found %s", i,
                           tr_json_type_name(token));
        }
        TR_TRY(tr_json_get_int(token, "id", true, path, &id, err));
        TR_TRY(add_described(t, id, token, path, err));
    }
done:
    return status;
}

/* Refuses what would change ids and is not done here. */
static tr_status check_settings(const json_t *config, const char *path, tr_error *err)
{
    static const char *const must_be_false[] = {"add_prefix_space", "add_bos_token", "add_eos_token"};
    for (size_t i = 0; i < sizeof must_be_false / sizeof *must_be_false; i++) {
        if (json_is_true(json_object_get(config, must_be_false[i]))) {
            return tr_fail(err, TR_UNSUPPORTED, path, "\"%s\": true is not supported", must_be_false[i]);
        }
    }
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    if (class && strcmp(class, "Qwen2Tokenizer") != 0 && strcmp(class, "Qwen2TokenizerFast") != 0 &&
        strcmp(class, "PreTrainedTokenizerFast") != 0 && strcmp(class, "TokenizersBackend") != 0) {
        return tr_fail(err, TR_UNSUPPORTED, path,
                       "\"tokenizer_class\" is \"%.80s\"; this program reads Qwen2Tokenizer", class);
    }
    return TR_OK;
}

static tr_status read_added_decoder(tr_tokenizer *t, const json_t *config, const char *path, tr_error *err)
{
    json_t *map = json_object_get(config, "added_tokens_decoder"), *token;
    const char *key;
    tr_status status = TR_OK;
    if (map && !json_is_null(map) && !json_is_object(map)) {
        return tr_fail(err, TR_FORMAT, path, "\"added_tokens_decoder\" must be an object, found %s",
                       tr_json_type_name(map));
    }
    json_object_foreach(map, key, token)
    {
        char *end;
        long long id = strtoll(key, &end, 10);
        if (end == key || *end || key[0] == '-' || !json_is_object(token)) {
            return tr_fail(err, TR_FORMAT, path,
                           "\"added_tokens_decoder\" must map ids to objects, found \"%.80s\" with %s", key,
                           tr_json_type_name(token));
        }
        TR_TRY(add_described(t, id, token, path, err));
    }
done:
    return status;
}

/* True when config lists the token among its special ones. */
static bool named_special(const json_t *config, const char *text)
{
    static const char *const names[] = {"eos_token", "bos_token", "pad_token", "unk_token"};
    size_t i;
    json_t *token;
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        const char *name = token_text(json_object_get(config, names[i]));
        if (name && !strcmp(name, text)) {
            return true;
        }
    }
    json_array_foreach(json_object_get(config, "additional_special_tokens"), i, token)
    {
        const char *name = token_text(token);
        if (name && !strcmp(name, text)) {
            return true;
        }
    }
    return false;
}

/* added_tokens.json: {"<tool_call>": 151657, ...}; which of them are special stands in the other files. */
static tr_status read_added_map(tr_tokenizer *t, json_t *map, const json_t *config, const json_t *special,
                                const char *path, tr_error *err)
{
    const char *key;
    json_t *id;
    tr_status status = TR_OK;
    json_object_foreach(map, key, id)
    {
        if (!json_is_integer(id)) {
            return tr_fail(err, TR_FORMAT, path, "the id of \"%.80s\" must be an integer, found %s", key,
                           tr_json_type_name(id));
        }
        bool is_special = named_special(config, key) || named_special(special, key);
        TR_TRY(tr_vocabulary_add_added(t, key, strlen(key), json_integer_value(id), is_special, false, path, err));
    }
done:
    return status;
}

static tr_status add_end(tr_tokenizer *t, int64_t id, const char *path, tr_error *err)
{
    if (id < 0 || id >= TR_TOKEN_ID_LIMIT || tr_tokenizer_kind(t, (int32_t)id) == TR_TOKEN_NONE) {
        return tr_fail(err, TR_MISMATCH, path, "end token id %" PRId64 " has no token in this tokenizer", id);
    }
    for (size_t i = 0; i < t->end_ids.count; i++) {
        if (t->end_ids.data[i] == id) {
            return TR_OK;
        }
    }
    return tr_ids_add(&t->end_ids, (int32_t)id, err);
}

static tr_status read_end_token(tr_tokenizer *t, const json_t *config, const char *path, tr_error *err)
{
    const char *text = token_text(json_object_get(config, "eos_token"));
    if (!text) {
        return TR_OK;
    }
    int32_t id = tr_tokenizer_id(t, text);
    return id < 0 ? tr_fail(err, TR_MISMATCH, path, "\"eos_token\" \"%.80s\" is not in the vocabulary", text)
                  : add_end(t, id, path, err);
}

/* generation_config.json: eos_token_id is a number or a list of numbers. */
static tr_status read_generation(tr_tokenizer *t, const json_t *config, const char *path, tr_error *err)
{
    json_t *ends = json_object_get(config, "eos_token_id"), *id;
    size_t i;
    tr_status status = TR_OK;
    if (json_is_integer(ends)) {
        return add_end(t, json_integer_value(ends), path, err);
    }
    if (ends && !json_is_null(ends) && !json_is_array(ends)) {
        return tr_fail(err, TR_FORMAT, path, "\"eos_token_id\" must be an integer or a list, found %s",
                       tr_json_type_name(ends));
    }
    json_array_foreach(ends, i, id)
    {
        if (!json_is_integer(id)) {
            return tr_fail(err, TR_FORMAT, path, "\"eos_token_id\" must hold integers, found %s",
                           tr_json_type_name(id));
        }
        TR_TRY(add_end(t, json_integer_value(id), path, err));
    }
done:
    return status;
}

enum { CONFIG, SPECIAL_MAP, ADDED_MAP, GENERATION, SIDE_FILES };
static const char *const side_files[SIDE_FILES] = {"tokenizer_config.json", "special_tokens_map.json",
                                                   "added_tokens.json", "generation_config.json"};

/* The files beside the vocabulary: added tokens, then the ends. merges is NULL when tokenizer.json was read. */
static tr_status read_all(tr_tokenizer *t, const char *vocab, const char *merges, tr_error *err)
{
    char *paths[SIDE_FILES] = {NULL};
    json_t *side[SIDE_FILES] = {NULL};
    tr_status status;
    for (size_t i = 0; i < SIDE_FILES; i++) {
        TR_TRY(read_optional(t->directory, side_files[i], &paths[i], &side[i], err));
    }
    TR_TRY(check_settings(side[CONFIG], paths[CONFIG], err));
    if (merges) {
        TR_TRY(tr_vocabulary_set_pattern(t, NULL, vocab, err));
        TR_TRY(read_vocab(t, vocab, err));
    } else {
        TR_TRY(tr_tokenizer_read_json(t, vocab, err));
    }
    TR_TRY(read_added_decoder(t, side[CONFIG], paths[CONFIG], err));
    TR_TRY(read_added_map(t, side[ADDED_MAP], side[CONFIG], side[SPECIAL_MAP], paths[ADDED_MAP], err));
    TR_TRY(tr_vocabulary_finish(t, vocab, err));
    if (merges) {
        TR_TRY(read_merges(t, merges, err));
    }
    TR_TRY(read_end_token(t, side[CONFIG], paths[CONFIG], err));
    TR_TRY(read_end_token(t, side[SPECIAL_MAP], paths[SPECIAL_MAP], err));
    TR_TRY(read_generation(t, side[GENERATION], paths[GENERATION], err));
done:
    for (size_t i = 0; i < SIDE_FILES; i++) {
        free(paths[i]);
        json_decref(side[i]);
    }
    return status;
}

static tr_status missing(const char *directory, tr_tokenizer_source source, bool vocab, bool merges, tr_error *err)
{
    if (!tr_directory_exists(directory)) {
        return tr_fail(err, TR_NOT_FOUND, directory, "there is no such directory to read a tokenizer from");
    }
    if (vocab != merges && source != TR_TOKENIZER_JSON) {
        return tr_fail(err, TR_NOT_FOUND, directory, "has %s but no %s; a tokenizer needs both",
                       vocab ? "vocab.json" : "merges.txt", vocab ? "merges.txt" : "vocab.json");
    }
    return tr_fail(err, TR_NOT_FOUND, directory,
                   source == TR_TOKENIZER_JSON ? "has no tokenizer.json"
                   : source == TR_TOKENIZER_VOCAB_MERGES
                       ? "has no vocab.json and merges.txt"
                       : "has no tokenizer: neither tokenizer.json nor vocab.json and merges.txt; name its "
                         "directory with --tokenizer");
}

tr_status tr_tokenizer_load_from(const char *directory, tr_tokenizer_source source, tr_tokenizer **tokenizer,
                                 tr_error *err)
{
    char *json = tr_path_join(directory, "tokenizer.json"), *vocab = tr_path_join(directory, "vocab.json"),
         *merges = tr_path_join(directory, "merges.txt");
    tr_tokenizer *t = tr_calloc(1, sizeof *t);
    tr_status status;
    *tokenizer = NULL;
    if (!json || !vocab || !merges || !t || !(t->directory = tr_strdup(directory)) ||
        !(t->cache = tr_word_cache_new())) {
        status = tr_fail(err, TR_MEMORY, NULL, "no memory for a tokenizer");
        goto done;
    }
    t->nfc = true;
    bool has_vocab = tr_file_exists(vocab), has_merges = tr_file_exists(merges);
    if (source != TR_TOKENIZER_VOCAB_MERGES && tr_file_exists(json)) {
        status = read_all(t, json, NULL, err);
    } else if (source != TR_TOKENIZER_JSON && has_vocab && has_merges) {
        status = read_all(t, vocab, merges, err);
    } else {
        status = missing(directory, source, has_vocab, has_merges, err);
    }
done:
    free(json);
    free(vocab);
    free(merges);
    if (status) {
        tr_tokenizer_free(t);
    } else {
        *tokenizer = t;
    }
    return status;
}

tr_status tr_tokenizer_load(const char *directory, tr_tokenizer **tokenizer, tr_error *err)
{
    return tr_tokenizer_load_from(directory, TR_TOKENIZER_ANY, tokenizer, err);
}
