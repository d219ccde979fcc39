/* train_write.c: writes a trained vocabulary as vocab.json, merges.txt, tokenizer_config.json and tokenizer.json.
 */
#include "base/file.h"
#include "base/json.h"
#include "text/train_internal.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>

/* Qwen2.5-VL's added tokens in the published order; the last eight are not special. */
static const char *const added_tokens[TR_TRAIN_ADDED] = {
    "<|endoftext|>",  "<|im_start|>",   "<|im_end|>",     "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>",  "<|box_end|>",    "<|quad_start|>", "<|quad_end|>",         "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",  "<|video_pad|>",        "<tool_call>",
    "</tool_call>",   "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",       "<|fim_pad|>",
    "<|repo_name|>",  "<|file_sep|>"};
enum { SPECIAL_TOKENS = 14 };

/* A token in the byte alphabet, into out (cleared first). */
static tr_status spell(const tr_trained *t, size_t id, tr_buffer *out, tr_error *err)
{
    tr_buffer_clear(out);
    return tr_bytes_to_symbols((const uint8_t *)t->bytes.data + t->starts[id], t->starts[id + 1] - t->starts[id],
                               out, err);
}

static tr_status no_memory(tr_error *err)
{
    return tr_fail(err, TR_MEMORY, NULL, "no memory to write a tokenizer");
}

static tr_status vocab_json(const tr_trained *t, json_t **out, tr_error *err)
{
    tr_buffer text = {0};
    tr_status status = TR_OK;
    json_t *vocab = json_object();
    for (size_t i = 0; i < t->tokens; i++) {
        TR_TRY(spell(t, i, &text, err));
        if (json_object_set_new(vocab, tr_buffer_text(&text), json_integer((json_int_t)i))) {
            status = no_memory(err);
            goto done;
        }
    }
    *out = vocab;
    vocab = NULL;
done:
    json_decref(vocab);
    tr_buffer_free(&text);
    return status;
}

/* Lines "left right" after the version line. */
static tr_status merges_text(const tr_trained *t, tr_buffer *out, tr_error *err)
{
    tr_buffer text = {0};
    tr_status status = tr_buffer_add_text(out, "#version: 0.2\n", err);
    for (size_t i = 0; i < t->merge_count && !status; i++) {
        for (int side = 0; side < 2 && !status; side++) {
            TR_TRY(spell(t, (size_t)t->merges[i][side], &text, err));
            TR_TRY(tr_buffer_add(out, text.data, text.length, err));
            TR_TRY(tr_buffer_add(out, side ? "\n" : " ", 1, err));
        }
    }
done:
    tr_buffer_free(&text);
    return status;
}

static json_t *added_token(size_t i)
{
    return json_pack("{s:s,s:b,s:b,s:b,s:b,s:b}", "content", added_tokens[i], "lstrip", 0, "normalized", 0,
                     "rstrip", 0, "single_word", 0, "special", i < SPECIAL_TOKENS);
}

static json_t *config_json(size_t first_id)
{
    json_t *decoder = json_object(), *special = json_array();
    for (size_t i = 0; i < TR_TRAIN_ADDED; i++) {
        char *id = tr_format("%zu", first_id + i);
        if (!id || json_object_set_new(decoder, id, added_token(i)) ||
            (i && i < SPECIAL_TOKENS && json_array_append_new(special, json_string(added_tokens[i])))) {
            free(id);
            json_decref(decoder);
            json_decref(special);
            return NULL;
        }
        free(id);
    }
    return json_pack("{s:b,s:b,s:o,s:o,s:n,s:b,s:s,s:s,s:i,s:s,s:b,s:s,s:n}", "add_prefix_space", 0,
                     "add_bos_token", 0, "added_tokens_decoder", decoder, "additional_special_tokens", special,
                     "bos_token", "clean_up_tokenization_spaces", 0, "eos_token", "<|im_end|>", "errors", "replace",
                     "model_max_length", 131072, "pad_token", "<|endoftext|>", "split_special_tokens", 0,
                     "tokenizer_class", "Qwen2Tokenizer", "unk_token");
}

static json_t *merges_json(const tr_buffer *lines)
{
    json_t *list = json_array();
    const char *p = lines->data;
    while (p && *p) {
        size_t n = strcspn(p, "\n");
        if (*p != '#' || p != lines->data) { /* the version line */
            json_array_append_new(list, json_stringn(p, n));
        }
        p += n + (p[n] == '\n');
    }
    return list;
}

static json_t *tokenizer_json(json_t *vocab, const tr_buffer *merges, size_t first_id)
{
    json_t *added = json_array();
    for (size_t i = 0; i < TR_TRAIN_ADDED; i++) {
        json_t *token = json_pack("{s:I}", "id", (json_int_t)first_id + (json_int_t)i), *rest = added_token(i);
        json_object_update(token, rest);
        json_decref(rest);
        json_array_append_new(added, token);
    }
    json_t *bytes = json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 0,
                              "use_regex", 0);
    return json_pack("{s:s,s:n,s:n,s:o,s:{s:s},s:{s:s,s:[{s:s,s:{s:s},s:s,s:b},O]},s:O,s:o,"
                     "s:{s:s,s:n,s:n,s:s,s:s,s:b,s:b,s:b,s:O,s:o}}",
                     "version", "1.0", "truncation", "padding", "added_tokens", added, "normalizer", "type", "NFC",
                     "pre_tokenizer", "type", "Sequence", "pretokenizers", "type", "Split", "pattern", "Regex",
                     tr_qwen2_pattern, "behavior", "Isolated", "invert", 0, bytes, "post_processor", bytes,
                     "decoder", bytes, "model", "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix",
                     "", "end_of_word_suffix", "", "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", 0, "vocab",
                     vocab, "merges", merges_json(merges));
}

/* Writes json (taken over; NULL means that memory was out) as DIR/name. */
static tr_status write_json(const char *directory, const char *name, json_t *json, tr_error *err)
{
    char *path = tr_path_join(directory, name);
    tr_status status = path && json ? tr_json_write(path, json, err) : no_memory(err);
    free(path);
    json_decref(json);
    return status;
}

tr_status tr_trained_write(const tr_trained *trained, const tr_train_bpe_options *options, const char *directory,
                           tr_error *err)
{
    json_t *vocab = NULL;
    tr_buffer merges = {0};
    char *path = tr_path_join(directory, "merges.txt");
    tr_status status;
    if (!path) {
        return no_memory(err);
    }
    TR_TRY(tr_directory_make(directory, err));
    TR_TRY(vocab_json(trained, &vocab, err));
    TR_TRY(merges_text(trained, &merges, err));
    TR_TRY(tr_file_write_atomic(path, merges.data, merges.length, err));
    TR_TRY(write_json(directory, "vocab.json", json_incref(vocab), err));
    TR_TRY(write_json(directory, "tokenizer_config.json", config_json(trained->tokens), err));
    if (options->tokenizer_json) {
        TR_TRY(write_json(directory, "tokenizer.json", tokenizer_json(vocab, &merges, trained->tokens), err));
    }
done:
    free(path);
    json_decref(vocab);
    tr_buffer_free(&merges);
    return status;
}
