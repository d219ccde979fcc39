/* tokenizer_json.c: reads tokenizer.json, the one-file format of Hugging Face tokenizers.
 *
 * Only the byte-level BPE of the Qwen2 family is accepted: every other component or setting that would change ids
 * is refused by its name, because ignoring it would give wrong ids without a word. */
#include "base/json.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool absent(const json_t *value)
{
    return !value || json_is_null(value);
}

static const char *type_of(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    return type ? type : tr_json_type_name(object);
}

static tr_status refuse(const char *path, const char *what, const json_t *found, tr_error *err)
{
    return tr_fail(
        err, TR_UNSUPPORTED, path,
        "%s \"%.80s\" is not supported; this program reads byte-level BPE tokenizers of the Qwen2 family", what,
        type_of(found));
}

static tr_status read_normalizer(tr_tokenizer *t, const json_t *normalizer, const char *path, tr_error *err)
{
    t->nfc = !absent(normalizer);
    if (t->nfc && strcmp(type_of(normalizer), "NFC") != 0) {
        return refuse(path, "normalizer", normalizer, err);
    }
    return TR_OK;
}

static tr_status read_split(tr_tokenizer *t, const json_t *split, const char *path, tr_error *err)
{
    const char *regex = json_string_value(json_object_get(json_object_get(split, "pattern"), "Regex"));
    const char *behavior = json_string_value(json_object_get(split, "behavior"));
    if (!regex || !behavior || strcmp(behavior, "Isolated") != 0 ||
        json_is_true(json_object_get(split, "invert"))) {
        return tr_fail(
            err, TR_UNSUPPORTED, path,
            "the Split pre-tokenizer must have a \"Regex\" pattern, behavior \"Isolated\" and \"invert\": "
            "false");
    }
    return tr_vocabulary_set_pattern(t, regex, path, err);
}

/* Absent: Qwen2's. Else Split then ByteLevel, as published. */
static tr_status read_pre_tokenizer(tr_tokenizer *t, const json_t *pre, const char *path, tr_error *err)
{
    if (absent(pre)) {
        return tr_vocabulary_set_pattern(t, NULL, path, err);
    }
    const json_t *list = json_object_get(pre, "pretokenizers");
    if (strcmp(type_of(pre), "Sequence") != 0 || json_array_size(list) != 2) {
        return refuse(path, "pre-tokenizer", pre, err);
    }
    const json_t *split = json_array_get(list, 0), *bytes = json_array_get(list, 1);
    if (strcmp(type_of(split), "Split") != 0 || strcmp(type_of(bytes), "ByteLevel") != 0) {
        return refuse(path, "pre-tokenizer", strcmp(type_of(split), "Split") ? split : bytes, err);
    }
    if (json_is_true(json_object_get(bytes, "add_prefix_space")) ||
        !json_is_false(json_object_get(bytes, "use_regex"))) {
        return tr_fail(
            err, TR_UNSUPPORTED, path,
            "the ByteLevel pre-tokenizer must have \"add_prefix_space\": false and \"use_regex\": false");
    }
    return read_split(t, split, path, err);
}

static tr_status check_model(const json_t *model, const char *path, tr_error *err)
{
    static const char *const flags[] = {"fuse_unk", "byte_fallback", "ignore_merges"};
    static const char *const texts[] = {"continuing_subword_prefix", "end_of_word_suffix", "unk_token"};
    if (!json_is_object(model) || strcmp(type_of(model), "BPE") != 0) {
        return refuse(path, "model", model, err);
    }
    for (size_t i = 0; i < 3; i++) {
        if (json_is_true(json_object_get(model, flags[i]))) {
            return tr_fail(err, TR_UNSUPPORTED, path, "model \"%s\": true is not supported", flags[i]);
        }
    }
    for (size_t i = 0; i < 3; i++) {
        const json_t *text = json_object_get(model, texts[i]);
        bool unknown = i == 2; /* every byte has a token, so an unknown token would never be used */
        if (!absent(text) && !unknown && !(json_is_string(text) && !json_string_length(text))) {
            return tr_fail(err, TR_UNSUPPORTED, path, "model \"%s\" must be absent or empty", texts[i]);
        }
    }
    const json_t *dropout = json_object_get(model, "dropout");
    if (!absent(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0)) {
        return tr_fail(err, TR_UNSUPPORTED, path,
                       "model \"dropout\" must be null: tokens must not depend on chance");
    }
    return TR_OK;
}

static tr_status read_vocab(tr_tokenizer *t, json_t *vocab, const char *path, tr_error *err)
{
    const char *key;
    json_t *id;
    tr_status status = TR_OK;
    if (!json_is_object(vocab)) {
        return tr_fail(err, TR_FORMAT, path, "model \"vocab\" must be an object of tokens and ids, found %s",
                       tr_json_type_name(vocab));
    }
    json_object_foreach(vocab, key, id)
    {
        if (!json_is_integer(id)) {
            return tr_fail(err, TR_FORMAT, path, "the id of token \"%.80s\" must be an integer, found %s", key,
                           tr_json_type_name(id));
        }
        TR_TRY(tr_vocabulary_add(t, key, strlen(key), json_integer_value(id), path, err));
    }
done:
    return status;
}

/* The two sides of "a b" or ["a", "b"]; false when it is neither. */
static bool merge_sides(const json_t *merge, const char **left, size_t *left_length, const char **right,
                        size_t *right_length)
{
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge), *end = text + json_string_length(merge),
                   *space = strchr(text, ' ');
        if (!space || space == text || space + 1 == end || strchr(space + 1, ' ')) {
            return false;
        }
        *left = text;
        *left_length = (size_t)(space - text);
        *right = space + 1;
        *right_length = (size_t)(end - space - 1);
        return true;
    }
    *left = json_string_value(json_array_get(merge, 0));
    *right = json_string_value(json_array_get(merge, 1));
    if (json_array_size(merge) != 2 || !*left || !*right) {
        return false;
    }
    *left_length = strlen(*left);
    *right_length = strlen(*right);
    return true;
}

static tr_status read_merges(tr_tokenizer *t, json_t *merges, const char *path, tr_error *err)
{
    size_t i;
    json_t *merge;
    tr_status status = TR_OK;
    if (!json_is_array(merges)) {
        return tr_fail(err, TR_FORMAT, path, "model \"merges\" must be a list, found %s",
                       tr_json_type_name(merges));
    }
    json_array_foreach(merges, i, merge)
    {
        const char *left, *right;
        size_t left_length, right_length;
        if (!merge_sides(merge, &left, &left_length, &right, &right_length)) {
            status = tr_fail(err, TR_FORMAT, NULL, "a merge is \"a b\" or [\"a\", \"b\"], found %s%s",
                             tr_json_type_name(merge), json_is_string(merge) ? " of another form" : "");
            goto done;
        }
        TR_TRY(tr_vocabulary_add_merge(t, left, left_length, right, right_length, (uint32_t)i, err));
    }
done:
    if (status) {
        tr_fail_where(err, status, "%s: merge number %zu", path, i + 1);
    }
    return status;
}

tr_status tr_tokenizer_read_json(tr_tokenizer *t, const char *path, tr_error *err)
{
    json_t *json = NULL;
    tr_status status;
    TR_TRY(tr_json_read(path, &json, err));
    if (!json_is_object(json)) {
        status = tr_fail(err, TR_FORMAT, path, "must be a JSON object, found %s", tr_json_type_name(json));
        goto done;
    }
    const json_t *model = json_object_get(json, "model"), *post = json_object_get(json, "post_processor"),
                 *decoder = json_object_get(json, "decoder"), *added = json_object_get(json, "added_tokens");
    if (!model) {
        status = tr_fail(err, TR_FORMAT, path, "key \"model\" is missing");
        goto done;
    }
    TR_TRY(read_normalizer(t, json_object_get(json, "normalizer"), path, err));
    TR_TRY(read_pre_tokenizer(t, json_object_get(json, "pre_tokenizer"), path, err));
    if (!absent(post) && strcmp(type_of(post), "ByteLevel") != 0) {
        status = refuse(path, "post-processor", post, err);
        goto done;
    }
    if (!absent(decoder) && strcmp(type_of(decoder), "ByteLevel") != 0) {
        status = refuse(path, "decoder", decoder, err);
        goto done;
    }
    TR_TRY(check_model(model, path, err));
    TR_TRY(read_vocab(t, json_object_get(model, "vocab"), path, err));
    if (!absent(added) && !json_is_array(added)) {
        status =
            tr_fail(err, TR_FORMAT, path, "\"added_tokens\" must be a list, found %s", tr_json_type_name(added));
        goto done;
    }
    TR_TRY(tr_tokenizer_read_added_list(t, added, path, err));
    TR_TRY(tr_vocabulary_finish(t, path, err));
    TR_TRY(read_merges(t, json_object_get(model, "merges"), path, err));
done:
    json_decref(json);
    return status;
}
