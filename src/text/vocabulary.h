/* vocabulary.h: the inside of a tokenizer, shared by the files that read it and the file that uses it.
 *
 * A token's bytes lie in one pool; ordinary tokens are found by a hash table of their bytes, added ones by their
 * first byte. Built by one thread, then read-only except for the word cache, which has its own lock. */
#ifndef TR_TEXT_VOCABULARY_H
#define TR_TEXT_VOCABULARY_H

#include "base/json.h"
#include "text/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { TR_TOKEN_ID_LIMIT = 1 << 24 }; /* ids at or above are refused: no model has so many rows */

typedef struct tr_token {
    uint32_t offset, length; /* in the pool */
    uint8_t kind;            /* tr_token_kind */
    bool raw;                /* its text is not in the byte alphabet: it has no entry in the table */
} tr_token;

typedef struct tr_added_token {
    char *text; /* owned; with normalized: in normal form C */
    size_t length;
    int32_t id;
    bool special, normalized;
} tr_added_token;

struct tr_tokenizer {
    char *directory;
    tr_token *tokens; /* [size] */
    size_t size, token_capacity, count;
    tr_buffer pool;
    int32_t *table; /* ids of ordinary tokens by their bytes, -1 empty */
    size_t table_size, table_count;
    tr_bpe bpe;
    tr_added_token *added; /* sorted by first byte, then the longest first */
    size_t added_count, added_capacity;
    uint32_t first[257]; /* where each first byte begins in added */
    bool nfc, any_normalized;
    pcre2_code *pattern;
    bool own_pattern; /* ours, whose steps are bounded: no match limit is needed */
    tr_ids end_ids;
    tr_buffer scratch; /* bytes of the token or merge that is being added */
    struct tr_word_cache *cache;
};

/* Adds an ordinary token written in the byte alphabet. place names the file. */
tr_status tr_vocabulary_add(tr_tokenizer *t, const char *symbols, size_t length, int64_t id, const char *place,
                            tr_error *err);
/* Adds an added token; the same token twice is fine when both agree, special wins. */
tr_status tr_vocabulary_add_added(tr_tokenizer *t, const char *text, size_t length, int64_t id, bool special,
                                  bool normalized, const char *place, tr_error *err);
/* After all tokens: byte tokens, holes between ordinary ids, order of added tokens. */
tr_status tr_vocabulary_finish(tr_tokenizer *t, const char *place, tr_error *err);
/* After that: a merge written as two symbols of the byte alphabet. Errors have no place: the caller adds file and
 * line (only then; formatting it for each of 150,000 merges would cost more than adding them). */
tr_status tr_vocabulary_add_merge(tr_tokenizer *t, const char *left, size_t left_length, const char *right,
                                  size_t right_length, uint32_t rank, tr_error *err);
/* Qwen2's pattern as Hugging Face files write it. */
extern const char tr_qwen2_pattern[];
/* Compiles the pattern (Oniguruma's syntax as Hugging Face files have it); NULL is Qwen2's. */
tr_status tr_vocabulary_set_pattern(tr_tokenizer *t, const char *pattern, const char *place, tr_error *err);

/* Splits text (UTF-8, normalised) into words by the pattern and calls word with each, in order. */
typedef tr_status (*tr_word_function)(void *context, const uint8_t *word, size_t length);
tr_status tr_vocabulary_split(const tr_tokenizer *t, const char *text, size_t length, tr_word_function word,
                              void *context, tr_error *err);

/* tokenizer.json (tokenizer_json.c): everything but the end tokens. */
tr_status tr_tokenizer_read_json(tr_tokenizer *t, const char *path, tr_error *err);

/* A list of {"id", "content", "special", ...} (tokenizer_load.c). */
tr_status tr_tokenizer_read_added_list(tr_tokenizer *t, const json_t *list, const char *path, tr_error *err);

/* Cache of the ids of short words (word_cache.c). A busy cache is left alone: nobody waits for it. */
struct tr_word_cache *tr_word_cache_new(void);
void tr_word_cache_free(struct tr_word_cache *cache);
bool tr_word_cache_get(struct tr_word_cache *cache, const uint8_t *word, size_t length, tr_ids *ids);
void tr_word_cache_put(struct tr_word_cache *cache, const uint8_t *word, size_t length, const int32_t *ids,
                       size_t count);

#endif
