/* vocabulary.c: builds the tables of a tokenizer from tokens and merges, and refuses what does not fit together.
 *
 * Reads no files. A vocabulary is whole when each of the 256 bytes has a token, no two tokens share an id or their
 * bytes, ordinary ids have no holes, and every merge joins two tokens to a third. */
#include "text/vocabulary.h"

#include "base/memory.h"
#include "base/random.h"
#include "text/unicode.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t *bytes_of(const tr_tokenizer *t, int32_t id)
{
    return (const uint8_t *)tr_buffer_text(&t->pool) + t->tokens[id].offset;
}

static size_t find_slot(const tr_tokenizer *t, const uint8_t *bytes, size_t length)
{
    size_t mask = t->table_size - 1, i = (size_t)tr_hash(bytes, length) & mask;
    while (t->table[i] >= 0) {
        const tr_token *token = &t->tokens[t->table[i]];
        if (token->length == length && !memcmp(bytes_of(t, t->table[i]), bytes, length)) {
            break;
        }
        i = (i + 1) & mask;
    }
    return i;
}

int32_t tr_tokenizer_id_of_bytes(const tr_tokenizer *t, const uint8_t *bytes, size_t count)
{
    return t->table_size ? t->table[find_slot(t, bytes, count)] : -1;
}

static tr_status grow_table(tr_tokenizer *t, tr_error *err)
{
    if (t->table_size && t->table_count + 1 <= t->table_size / 2) {
        return TR_OK;
    }
    int32_t *old = t->table;
    size_t old_size = t->table_size, size = old_size ? old_size * 2 : 1024;
    int32_t *table = tr_calloc(size, sizeof *table);
    if (!table) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for a table of %zu tokens", size);
    }
    memset(table, 0xFF, size * sizeof *table);
    t->table = table;
    t->table_size = size;
    for (size_t i = 0; i < old_size; i++) {
        if (old[i] >= 0) {
            t->table[find_slot(t, bytes_of(t, old[i]), t->tokens[old[i]].length)] = old[i];
        }
    }
    free(old);
    return TR_OK;
}

/* Room for the id; it must be free or, when `same` is given, hold these bytes already. */
static tr_status claim_id(tr_tokenizer *t, int64_t id, const char *text, size_t length, const char *place,
                          tr_error *err)
{
    if (id < 0 || id >= TR_TOKEN_ID_LIMIT) {
        return tr_fail(err, TR_FORMAT, place, "token \"%.*s\" has id %" PRId64 "; ids lie between 0 and %d",
                       (int)(length < 80 ? length : 80), text, id, TR_TOKEN_ID_LIMIT - 1);
    }
    tr_status status = tr_grow(&t->tokens, &t->token_capacity, (size_t)id + 1, sizeof *t->tokens, err);
    if (!status && (size_t)id >= t->size) {
        t->size = (size_t)id + 1;
    }
    return status;
}

static tr_status store(tr_tokenizer *t, int64_t id, const void *bytes, size_t length, tr_token_kind kind, bool raw,
                       tr_error *err)
{
    if (t->pool.length + length > UINT32_MAX) {
        return tr_fail(err, TR_MEMORY, NULL, "the tokens need more than 4 GiB");
    }
    t->tokens[id] = (tr_token){(uint32_t)t->pool.length, (uint32_t)length, (uint8_t)kind, raw};
    return tr_buffer_add(&t->pool, bytes, length, err);
}

tr_status tr_vocabulary_add(tr_tokenizer *t, const char *symbols, size_t length, int64_t id, const char *place,
                            tr_error *err)
{
    tr_buffer *bytes = &t->scratch;
    tr_status status;
    bool ok;
    int shown = (int)(length < 80 ? length : 80);
    TR_TRY(claim_id(t, id, symbols, length, place, err));
    if (!length) {
        status = tr_fail(err, TR_FORMAT, place, "the token with id %" PRId64 " is empty", id);
        goto done;
    }
    if (t->tokens[id].kind != TR_TOKEN_NONE) {
        tr_buffer other = {0};
        const tr_token *old = &t->tokens[id];
        tr_bytes_to_symbols(bytes_of(t, (int32_t)id), old->length < 80 ? old->length : 80, &other, NULL);
        status = tr_fail(err, TR_FORMAT, place, "tokens \"%s\" and \"%.*s\" share the id %" PRId64,
                         tr_buffer_text(&other), shown, symbols, id);
        tr_buffer_free(&other);
        goto done;
    }
    tr_buffer_clear(bytes);
    TR_TRY(tr_symbols_to_bytes(symbols, length, bytes, &ok, err));
    if (ok) {
        TR_TRY(grow_table(t, err));
        size_t slot = find_slot(t, (const uint8_t *)bytes->data, bytes->length);
        if (t->table[slot] >= 0) {
            status = tr_fail(err, TR_FORMAT, place, "token \"%.*s\" has two ids, %" PRId32 " and %" PRId64, shown,
                             symbols, t->table[slot], id);
            goto done;
        }
        TR_TRY(store(t, id, bytes->data, bytes->length, TR_TOKEN_ORDINARY, false, err));
        t->table[slot] = (int32_t)id;
        t->table_count++;
    } else { /* no text can reach it by merging; it may be an added token that stands in the vocabulary too */
        TR_TRY(store(t, id, symbols, length, TR_TOKEN_ORDINARY, true, err));
    }
    t->count++;
done:
    return status;
}

static tr_status append_added(tr_tokenizer *t, const char *text, size_t length, int64_t id, bool special,
                              bool normalized, tr_error *err)
{
    tr_buffer form = {0};
    tr_added_token added = {NULL, length, (int32_t)id, special, normalized};
    tr_status status;
    TR_TRY(tr_grow(&t->added, &t->added_capacity, t->added_count + 1, sizeof *t->added, err));
    if (normalized && t->nfc) {
        TR_TRY(tr_nfc(text, length, &form, err));
        text = tr_buffer_text(&form);
        added.length = form.length;
    }
    if (!(added.text = tr_calloc(added.length + 1, 1))) {
        status = tr_fail(err, TR_MEMORY, NULL, "no memory for an added token");
        goto done;
    }
    memcpy(added.text, text, added.length);
    t->added[t->added_count++] = added;
    t->any_normalized |= normalized;
done:
    tr_buffer_free(&form);
    return status;
}

tr_status tr_vocabulary_add_added(tr_tokenizer *t, const char *text, size_t length, int64_t id, bool special,
                                  bool normalized, const char *place, tr_error *err)
{
    tr_status status = claim_id(t, id, text, length, place, err);
    int shown = (int)(length < 80 ? length : 80);
    size_t bad;
    if (status) {
        return status;
    }
    if (!length || !tr_utf8_valid(text, length, &bad)) {
        return tr_fail(err, TR_FORMAT, place, "the added token with id %" PRId64 " is %s", id,
                       length ? "not UTF-8" : "empty");
    }
    for (size_t i = 0; i < t->added_count; i++) {
        tr_added_token *a = &t->added[i];
        bool same = a->length == length && !memcmp(a->text, text, length);
        if (same && a->id == id) {
            a->special |= special;
            if (a->special) {
                t->tokens[id].kind = TR_TOKEN_SPECIAL;
            }
            return TR_OK;
        }
        if (same) {
            return tr_fail(err, TR_MISMATCH, place, "added token \"%.*s\" has two ids, %" PRId32 " and %" PRId64,
                           shown, text, a->id, id);
        }
        if (a->id == id) {
            return tr_fail(err, TR_MISMATCH, place, "added tokens \"%.*s\" and \"%.*s\" share the id %" PRId64,
                           (int)(a->length < 80 ? a->length : 80), a->text, shown, text, id);
        }
    }
    tr_token *token = &t->tokens[id];
    tr_token_kind kind = special ? TR_TOKEN_SPECIAL : TR_TOKEN_ADDED;
    if (token->kind == TR_TOKEN_NONE) {
        status = store(t, id, text, length, kind, true, err);
        t->count++;
    } else if (token->length == length && !memcmp(bytes_of(t, (int32_t)id), text, length)) {
        token->kind = (uint8_t)kind;
    } else {
        return tr_fail(err, TR_MISMATCH, place,
                       "added token \"%.*s\" has id %" PRId64 ", which is another token in the vocabulary", shown,
                       text, id);
    }
    return status ? status : append_added(t, text, length, id, special, normalized, err);
}

static int compare_added(const void *x, const void *y)
{
    const tr_added_token *a = x, *b = y;
    uint8_t p = (uint8_t)a->text[0], q = (uint8_t)b->text[0];
    if (p != q) {
        return p < q ? -1 : 1;
    }
    if (a->length != b->length) {
        return a->length > b->length ? -1 : 1;
    }
    return memcmp(a->text, b->text, a->length);
}

tr_status tr_vocabulary_finish(tr_tokenizer *t, const char *place, tr_error *err)
{
    size_t last = 0;
    for (int b = 0; b < 256; b++) {
        uint8_t byte = (uint8_t)b;
        t->bpe.byte_ids[b] = tr_tokenizer_id_of_bytes(t, &byte, 1);
        if (t->bpe.byte_ids[b] < 0) {
            return tr_fail(
                err, TR_FORMAT, place,
                "no token for byte 0x%02X (U+%04X in the byte alphabet): this is not a byte-level vocabulary",
                (unsigned)b, (unsigned)tr_byte_symbol(byte));
        }
    }
    for (size_t i = 0; i < t->size; i++) {
        last = t->tokens[i].kind == TR_TOKEN_ORDINARY ? i : last;
    }
    for (size_t i = 0; i < last; i++) {
        if (t->tokens[i].kind == TR_TOKEN_NONE) {
            return tr_fail(err, TR_FORMAT, place,
                           "ids are not contiguous: no token has id %zu although ordinary ids go up to %zu", i,
                           last);
        }
    }
    if (t->added_count) {
        qsort(t->added, t->added_count, sizeof *t->added, compare_added);
    }
    for (size_t b = 0, i = 0; b <= 256; b++) {
        while (i < t->added_count && (uint8_t)t->added[i].text[0] < b) {
            i++;
        }
        t->first[b] = (uint32_t)i;
    }
    return TR_OK;
}

/* The id of one side of a merge, or -1. */
static int32_t side(const tr_tokenizer *t, const char *symbols, size_t length, tr_buffer *joined, tr_error *err)
{
    size_t before = joined->length;
    bool ok;
    if (tr_symbols_to_bytes(symbols, length, joined, &ok, err) || !ok || joined->length == before) {
        return -1;
    }
    return tr_tokenizer_id_of_bytes(t, (const uint8_t *)joined->data + before, joined->length - before);
}

tr_status tr_vocabulary_add_merge(tr_tokenizer *t, const char *left, size_t left_length, const char *right,
                                  size_t right_length, uint32_t rank, tr_error *err)
{
    tr_buffer *joined = &t->scratch;
    tr_status status;
    const tr_merge *old;
    int l = (int)(left_length < 80 ? left_length : 80), r = (int)(right_length < 80 ? right_length : 80);
    tr_merge merge = {.rank = rank};
    tr_buffer_clear(joined);
    merge.left = side(t, left, left_length, joined, err);
    merge.right = merge.left >= 0 ? side(t, right, right_length, joined, err) : -1;
    if (merge.left < 0 || merge.right < 0) {
        bool first = merge.left < 0;
        status = tr_fail(err, TR_FORMAT, NULL, "merge \"%.*s %.*s\": \"%.*s\" is not in the vocabulary", l, left, r,
                         right, first ? l : r, first ? left : right);
        goto done;
    }
    merge.id = tr_tokenizer_id_of_bytes(t, (const uint8_t *)joined->data, joined->length);
    if (merge.id < 0) {
        status =
            tr_fail(err, TR_FORMAT, NULL, "merge \"%.*s %.*s\" makes \"%.*s%.*s\", which is not in the vocabulary",
                    l, left, r, right, l, left, r, right);
        goto done;
    }
    TR_TRY(tr_bpe_add(&t->bpe, merge, &old, err));
    if (old) {
        status = tr_fail(err, TR_FORMAT, NULL, "merge \"%.*s %.*s\" stands here and at merge number %" PRIu32, l,
                         left, r, right, old->rank + 1);
    }
done:
    return status;
}

/* Qwen2's words, in the order of spec/qwen2_5_vl.md section 7. */
const char tr_qwen2_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"   /* English contractions */
                                "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+" /* letters, with one other character before them */
                                "|\\p{N}"                        /* digits one by one */
                                "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" /* signs */
                                "|\\s*[\\r\\n"
                                "]+|\\s+(?!\\S)|\\s+";

/* PCRE2's \s is wider than the White_Space property that Hugging Face's engines use (U+180E), so it is spelled out.
 */
static tr_status spell_spaces(const char *pattern, tr_buffer *out, tr_error *err)
{
    tr_status status = TR_OK;
    for (const char *p = pattern; *p && !status; p++) {
        if (*p == '\\' && p[1]) {
            p++;
            status = *p == 's'   ? tr_buffer_add_text(out, "\\p{White_Space}", err)
                     : *p == 'S' ? tr_buffer_add_text(out, "\\P{White_Space}", err)
                                 : tr_buffer_add(out, p - 1, 2, err);
        } else {
            status = tr_buffer_add(out, p, 1, err);
        }
    }
    return status;
}

tr_status tr_vocabulary_set_pattern(tr_tokenizer *t, const char *pattern, const char *place, tr_error *err)
{
    tr_buffer text = {0};
    tr_status status;
    int code;
    PCRE2_SIZE offset;
    t->own_pattern = !pattern || !strcmp(pattern, tr_qwen2_pattern);
    TR_TRY(spell_spaces(pattern ? pattern : tr_qwen2_pattern, &text, err));
    pcre2_code_free(t->pattern);
    t->pattern = pcre2_compile((PCRE2_SPTR)tr_buffer_text(&text), text.length,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, NULL);
    if (!t->pattern) {
        char message[200];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
        status =
            tr_fail(err, TR_UNSUPPORTED, place, "the pattern of the pre-tokenizer cannot be used: %s at offset %zu",
                    message, (size_t)offset);
        goto done;
    }
    pcre2_jit_compile(t->pattern, PCRE2_JIT_COMPLETE); /* where it is not available, matching interprets */
done:
    tr_buffer_free(&text);
    return status;
}
