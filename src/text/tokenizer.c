/* tokenizer.c: text to ids and back, and questions about a loaded vocabulary.
 *
 * Encoding: cut out added tokens that are not normalised, bring the rest to normal form C, cut out normalised added
 * tokens, split into words by the pattern, merge each word. */
#include "text/tokenizer.h"

#include "base/memory.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct encoder {
    const tr_tokenizer *t;
    bool special;
    tr_ids *ids;
    tr_bpe_scratch scratch;
    tr_error *err;
} encoder;

/* A search for words. */
typedef struct splitter {
    const tr_tokenizer *t;
    pcre2_match_data *match;
    tr_error *err;
} splitter;

void tr_tokenizer_free(tr_tokenizer *t)
{
    if (!t) {
        return;
    }
    for (size_t i = 0; i < t->added_count; i++) {
        free(t->added[i].text);
    }
    free(t->added);
    free(t->tokens);
    free(t->table);
    free(t->directory);
    tr_buffer_free(&t->pool);
    tr_buffer_free(&t->scratch);
    tr_bpe_free(&t->bpe);
    tr_ids_free(&t->end_ids);
    pcre2_code_free(t->pattern);
    tr_word_cache_free(t->cache);
    free(t);
}

static tr_status encode_word(void *context, const uint8_t *word, size_t length)
{
    encoder *e = context;
    size_t before = e->ids->count;
    e->scratch.work++;
    if (tr_word_cache_get(e->t->cache, word, length, e->ids)) {
        return TR_OK;
    }
    tr_status status = tr_bpe_encode(&e->t->bpe, word, length, &e->scratch, e->ids, e->err);
    if (!status) {
        tr_word_cache_put(e->t->cache, word, length, e->ids->data + before, e->ids->count - before);
    }
    return status;
}

/* One search from `at`; *found false when nothing matches. A match too deep for the compiled code's stack is tried
 * again by the interpreter, whose stack is on the heap. */
static tr_status search(splitter *e, const char *text, size_t length, size_t at, bool *found)
{
    uint32_t flags = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    int n = pcre2_match(e->t->pattern, (PCRE2_SPTR)text, length, at, flags, e->match, NULL);
    if (n == PCRE2_ERROR_JIT_STACKLIMIT || (n == PCRE2_ERROR_MATCHLIMIT && e->t->own_pattern)) {
        pcre2_match_context *limits = pcre2_match_context_create(NULL);
        if (!limits) {
            return tr_fail(e->err, TR_MEMORY, NULL, "no memory to split text into words");
        }
        if (e->t->own_pattern) { /* its steps are linear in the run of characters that it consumes */
            pcre2_set_match_limit(limits, UINT32_MAX);
            pcre2_set_depth_limit(limits, UINT32_MAX);
            pcre2_set_heap_limit(limits, UINT32_MAX);
        }
        n = pcre2_match(e->t->pattern, (PCRE2_SPTR)text, length, at, flags | PCRE2_NO_JIT, e->match, limits);
        pcre2_match_context_free(limits);
    }
    *found = n >= 0;
    if (n < 0 && n != PCRE2_ERROR_NOMATCH) {
        char message[200];
        pcre2_get_error_message(n, (PCRE2_UCHAR *)message, sizeof message);
        return tr_fail(e->err, TR_UNSUPPORTED, NULL, "text cannot be split into words at byte %zu: %s", at,
                       message);
    }
    return TR_OK;
}

/* What the pattern leaves out between matches is a word too. */
tr_status tr_vocabulary_split(const tr_tokenizer *t, const char *text, size_t length, tr_word_function word,
                              void *context, tr_error *err)
{
    splitter s = {t, pcre2_match_data_create(1, NULL), err};
    tr_status status = TR_OK;
    if (!s.match) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory to split text into words");
    }
    for (size_t at = 0; at < length && !status;) {
        bool found = false;
        size_t start = length, end = length;
        TR_TRY(search(&s, text, length, at, &found));
        if (found) {
            const PCRE2_SIZE *span = pcre2_get_ovector_pointer(s.match);
            start = span[0];
            end = span[1];
            if (start < at || end <= start || end > length) { /* \K or a look-behind trick in a foreign pattern */
                status = tr_fail(err, TR_UNSUPPORTED, NULL,
                                 "the pattern of the pre-tokenizer matches out of order at byte %zu", at);
                goto done;
            }
        }
        if (start > at) {
            TR_TRY(word(context, (const uint8_t *)text + at, start - at));
        }
        if (end > start) {
            TR_TRY(word(context, (const uint8_t *)text + start, end - start));
        }
        at = end;
    }
done:
    pcre2_match_data_free(s.match);
    return status;
}

/* Text without added tokens, in normal form C. */
static tr_status encode_words(encoder *e, const char *text, size_t length)
{
    return tr_vocabulary_split(e->t, text, length, encode_word, e, e->err);
}

/* The longest added token of one kind (normalised or not) at text, or NULL. */
static const tr_added_token *added_at(const tr_tokenizer *t, const char *text, size_t length, bool normalized)
{
    uint8_t c = (uint8_t)text[0];
    for (size_t i = t->first[c]; i < t->first[c + 1]; i++) {
        const tr_added_token *a = &t->added[i];
        if (a->normalized == normalized && a->length <= length && !memcmp(a->text, text, a->length)) {
            return a;
        }
    }
    return NULL;
}

static tr_status encode_part(encoder *e, const char *text, size_t length, bool normalized);

/* Text between added tokens of the first kind: normalise it, then look for the second kind. */
static tr_status encode_gap(encoder *e, const char *text, size_t length, bool normalized)
{
    tr_buffer form = {0};
    tr_status status;
    if (!length) {
        return TR_OK;
    }
    if (normalized || !e->t->nfc) {
        return normalized || !e->t->any_normalized ? encode_words(e, text, length)
                                                   : encode_part(e, text, length, true);
    }
    TR_TRY(tr_nfc(text, length, &form, e->err));
    status = e->t->any_normalized ? encode_part(e, tr_buffer_text(&form), form.length, true)
                                  : encode_words(e, tr_buffer_text(&form), form.length);
done:
    tr_buffer_free(&form);
    return status;
}

/* Leftmost, then longest. A special token that may not be special stays text but is not searched again inside, as
 * in Hugging Face tokenizers. */
static tr_status encode_part(encoder *e, const char *text, size_t length, bool normalized)
{
    tr_status status = TR_OK;
    size_t start = 0;
    for (size_t i = 0; i < length;) {
        const tr_added_token *a = added_at(e->t, text + i, length - i, normalized);
        if (!a) {
            i++;
        } else if (a->special && !e->special) {
            i += a->length;
        } else {
            TR_TRY(encode_gap(e, text + start, i - start, normalized));
            TR_TRY(tr_ids_add(e->ids, a->id, e->err));
            start = i += a->length;
        }
    }
    status = encode_gap(e, text + start, length - start, normalized);
done:
    return status;
}

tr_status tr_tokenizer_encode_counted(const tr_tokenizer *tokenizer, const char *text, size_t length, bool special,
                                      tr_ids *ids, uint64_t *work, tr_error *err)
{
    encoder e = {.t = tokenizer, .special = special, .ids = ids, .err = err};
    size_t before = ids->count, bad;
    if (!length) {
        return TR_OK;
    }
    if (!tr_utf8_valid(text, length, &bad)) {
        return tr_fail(err, TR_INVALID, NULL, "the text is not UTF-8: byte 0x%02X at offset %zu",
                       (uint8_t)text[bad], bad);
    }
    tr_status status = encode_part(&e, text, length, false);
    if (status) {
        ids->count = before;
    }
    *work += e.scratch.work;
    tr_bpe_scratch_free(&e.scratch);
    return status;
}

tr_status tr_tokenizer_encode(const tr_tokenizer *tokenizer, const char *text, size_t length, bool special,
                              tr_ids *ids, tr_error *err)
{
    uint64_t work = 0;
    return tr_tokenizer_encode_counted(tokenizer, text, length, special, ids, &work, err);
}

tr_token_kind tr_tokenizer_kind(const tr_tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->size ? (tr_token_kind)t->tokens[id].kind : TR_TOKEN_NONE;
}

const uint8_t *tr_tokenizer_bytes(const tr_tokenizer *t, int32_t id, size_t *count)
{
    if (tr_tokenizer_kind(t, id) == TR_TOKEN_NONE) {
        *count = 0;
        return NULL;
    }
    *count = t->tokens[id].length;
    return (const uint8_t *)tr_buffer_text(&t->pool) + t->tokens[id].offset;
}

tr_status tr_tokenizer_decode_bytes(const tr_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                    bool keep_special, tr_buffer *out, tr_error *err)
{
    for (size_t i = 0; i < count; i++) {
        size_t length;
        const uint8_t *bytes = tr_tokenizer_bytes(tokenizer, ids[i], &length);
        if (!bytes) {
            return tr_fail(err, TR_INVALID, NULL, "no token has id %" PRId32 " (number %zu of the list)", ids[i],
                           i + 1);
        }
        if (keep_special || tokenizer->tokens[ids[i]].kind != TR_TOKEN_SPECIAL) {
            tr_status status = tr_buffer_add(out, bytes, length, err);
            if (status) {
                return status;
            }
        }
    }
    return TR_OK;
}

tr_status tr_tokenizer_decode(const tr_tokenizer *tokenizer, const int32_t *ids, size_t count, bool keep_special,
                              tr_buffer *out, tr_error *err)
{
    tr_buffer bytes = {0};
    size_t used;
    tr_status status = tr_tokenizer_decode_bytes(tokenizer, ids, count, keep_special, &bytes, err);
    if (!status) {
        status = tr_utf8_lossy((const uint8_t *)tr_buffer_text(&bytes), bytes.length, true, &used, out, err);
    }
    tr_buffer_free(&bytes);
    return status;
}

int32_t tr_tokenizer_id(const tr_tokenizer *t, const char *text)
{
    size_t length = strlen(text);
    if (length) {
        uint8_t c = (uint8_t)text[0];
        for (size_t i = t->first[c]; i < t->first[c + 1]; i++) {
            if (t->added[i].length == length && !memcmp(t->added[i].text, text, length)) {
                return t->added[i].id;
            }
        }
    }
    return tr_tokenizer_id_of_bytes(t, (const uint8_t *)text, length);
}

size_t tr_tokenizer_size(const tr_tokenizer *t)
{
    return t->size;
}

size_t tr_tokenizer_count(const tr_tokenizer *t)
{
    return t->count;
}

const int32_t *tr_tokenizer_end_ids(const tr_tokenizer *t, size_t *count)
{
    *count = t->end_ids.count;
    return t->end_ids.data;
}

static const char *const vision_tokens[] = {"<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",
                                            "<|video_pad|>"};

static bool is_vision(const tr_tokenizer *t, int32_t id)
{
    bool found = false;
    for (size_t v = 0; v < sizeof vision_tokens / sizeof *vision_tokens; v++) {
        found |= tr_tokenizer_id(t, vision_tokens[v]) == id;
    }
    return found;
}

tr_status tr_tokenizer_missing_ids(const tr_tokenizer *t, size_t model_vocab, tr_ids *ids, tr_error *err)
{
    tr_status status = TR_OK;
    for (size_t i = 0; i < model_vocab && !status; i++) {
        if (i >= t->size || t->tokens[i].kind == TR_TOKEN_NONE) {
            status = tr_ids_add(ids, (int32_t)i, err);
        }
    }
    return status;
}

tr_status tr_tokenizer_vision_ids(const tr_tokenizer *t, tr_ids *ids, tr_error *err)
{
    tr_status status = TR_OK;
    for (size_t i = 0; i < t->size && !status; i++) {
        if (t->tokens[i].kind >= TR_TOKEN_ADDED && is_vision(t, (int32_t)i)) {
            status = tr_ids_add(ids, (int32_t)i, err);
        }
    }
    return status;
}

void tr_tokenizer_bans(const tr_tokenizer *t, size_t model_vocab, uint8_t *banned)
{
    for (size_t i = 0; i < model_vocab; i++) {
        tr_token_kind kind = i < t->size ? (tr_token_kind)t->tokens[i].kind : TR_TOKEN_NONE;
        banned[i] = kind == TR_TOKEN_NONE || (kind >= TR_TOKEN_ADDED && is_vision(t, (int32_t)i));
    }
}

tr_status tr_tokenizer_check_model(const tr_tokenizer *t, int64_t model_vocab, int64_t image_id, int64_t video_id,
                                   int64_t vision_start_id, int64_t vision_end_id, tr_error *err)
{
    const struct {
        const char *token, *field;
        int64_t id;
    } specials[] = {{"<|image_pad|>", "image_token_id", image_id},
                    {"<|video_pad|>", "video_token_id", video_id},
                    {"<|vision_start|>", "vision_start_token_id", vision_start_id},
                    {"<|vision_end|>", "vision_end_token_id", vision_end_id}};
    if ((int64_t)t->size > model_vocab) {
        return tr_fail(err, TR_MISMATCH, t->directory,
                       "the tokenizer has ids up to %zu but the model has %" PRId64
                       " rows of embeddings; it belongs to another model",
                       t->size - 1, model_vocab);
    }
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        int32_t id = tr_tokenizer_id(t, specials[i].token);
        if (specials[i].id >= 0 && id != specials[i].id) {
            return id < 0 ? tr_fail(err, TR_MISMATCH, t->directory,
                                    "the tokenizer has no token %s, which the model's config.json numbers %" PRId64
                                    " (%s)",
                                    specials[i].token, specials[i].id, specials[i].field)
                          : tr_fail(err, TR_MISMATCH, t->directory,
                                    "the tokenizer gives %s the id %" PRId32 ", the model's config.json %" PRId64
                                    " (%s)",
                                    specials[i].token, id, specials[i].id, specials[i].field);
        }
    }
    return TR_OK;
}

const char *tr_tokenizer_directory(const tr_tokenizer *t)
{
    return t->directory;
}
