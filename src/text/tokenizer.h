/* tokenizer.h: the byte-level BPE tokenizer of the Qwen2 family, read from a Hugging Face checkpoint directory.
 *
 * Text becomes ids in the steps of Hugging Face tokenizers: added tokens are cut out of the text, the rest is
 * brought to normal form C, split into words by a regular expression and merged byte pair by byte pair. The result
 * is the same, id for id. Never guesses: files that say something it does not do are refused with their name and
 * place.
 *
 * What in a text may become an added token:
 *   special tokens (<|im_start|>, <|video_pad|>, ...; "special": true)   only where special = true is passed
 *   other added tokens (<tool_call>, <|fim_prefix|>; "special": false)   always
 * which is Hugging Face's split_special_tokens = not special. So text from users, encoded with special = false,
 * never opens a turn and never pretends to be a video.
 *
 * Thread safety: after loading, every function that takes a const tr_tokenizer may be called from many threads. */
#ifndef TR_TEXT_TOKENIZER_H
#define TR_TEXT_TOKENIZER_H

#include "base/buffer.h"
#include "text/bpe.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tr_tokenizer tr_tokenizer;

/* Reads tokenizer.json when the directory has one, else vocab.json and merges.txt; and, when there,
 * tokenizer_config.json, special_tokens_map.json, added_tokens.json and generation_config.json (end tokens).
 * *tokenizer is freed by tr_tokenizer_free. */
tr_status tr_tokenizer_load(const char *directory, tr_tokenizer **tokenizer, tr_error *err);
/* The same from one of both sources, whatever else the directory holds. */
typedef enum tr_tokenizer_source {
    TR_TOKENIZER_ANY,
    TR_TOKENIZER_VOCAB_MERGES,
    TR_TOKENIZER_JSON
} tr_tokenizer_source;
tr_status tr_tokenizer_load_from(const char *directory, tr_tokenizer_source source, tr_tokenizer **tokenizer,
                                 tr_error *err);
void tr_tokenizer_free(tr_tokenizer *tokenizer);

/* Appends the ids of text (length bytes, may hold NUL bytes). Text that is not UTF-8 is TR_INVALID; the message
 * names the offset of the first wrong byte. special: see above. */
tr_status tr_tokenizer_encode(const tr_tokenizer *tokenizer, const char *text, size_t length, bool special,
                              tr_ids *ids, tr_error *err);
/* The same, and adds to *work the steps that it took (pairs looked up, heap levels, words): for tests of its bound.
 */
tr_status tr_tokenizer_encode_counted(const tr_tokenizer *tokenizer, const char *text, size_t length, bool special,
                                      tr_ids *ids, uint64_t *work, tr_error *err);

/* Appends the bytes of ids, exactly as the vocabulary has them. keep_special false leaves special tokens out. An id
 * without a token is TR_INVALID and named with its index. */
tr_status tr_tokenizer_decode_bytes(const tr_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                    bool keep_special, tr_buffer *out, tr_error *err);
/* The same as UTF-8: what is not UTF-8 becomes U+FFFD, as Hugging Face has it. */
tr_status tr_tokenizer_decode(const tr_tokenizer *tokenizer, const int32_t *ids, size_t count, bool keep_special,
                              tr_buffer *out, tr_error *err);

typedef enum tr_token_kind {
    TR_TOKEN_NONE,     /* no token has this id */
    TR_TOKEN_ORDINARY, /* a byte or a merge */
    TR_TOKEN_ADDED,    /* added, not special: <tool_call> */
    TR_TOKEN_SPECIAL
} tr_token_kind;
tr_token_kind tr_tokenizer_kind(const tr_tokenizer *tokenizer, int32_t id);
/* The bytes of a token (borrowed, not NUL-terminated), NULL for an id without one. */
const uint8_t *tr_tokenizer_bytes(const tr_tokenizer *tokenizer, int32_t id, size_t *count);
/* The id of an added token by its text or of an ordinary token by its bytes, -1 when there is none. */
int32_t tr_tokenizer_id(const tr_tokenizer *tokenizer, const char *text);
int32_t tr_tokenizer_id_of_bytes(const tr_tokenizer *tokenizer, const uint8_t *bytes, size_t count);

/* One more than the largest id that has a token; the number of ids that have one. */
size_t tr_tokenizer_size(const tr_tokenizer *tokenizer);
size_t tr_tokenizer_count(const tr_tokenizer *tokenizer);

/* The ids that end a text: eos_token of the tokenizer first, then those of generation_config.json (borrowed). */
const int32_t *tr_tokenizer_end_ids(const tr_tokenizer *tokenizer, size_t *count);

/* Appends, increasing, the ids below model_vocab that have no token: a model's padded rows. */
tr_status tr_tokenizer_missing_ids(const tr_tokenizer *tokenizer, size_t model_vocab, tr_ids *ids, tr_error *err);
/* Appends, increasing, the ids of the vision tokens (<|vision_start|>, <|vision_end|>, <|vision_pad|>,
 * <|image_pad|>, <|video_pad|>)
 * that this tokenizer has. */
tr_status tr_tokenizer_vision_ids(const tr_tokenizer *tokenizer, tr_ids *ids, tr_error *err);
/* Sets banned[id] = 1 for each of both kinds, and 0 for the others; banned has model_vocab entries. */
void tr_tokenizer_bans(const tr_tokenizer *tokenizer, size_t model_vocab, uint8_t *banned);

/* TR_MISMATCH unless every id fits into model_vocab rows and the model's special ids (-1: not known) are those of
 * the tokens <|image_pad|>, <|video_pad|>, <|vision_start|>, <|vision_end|>. */
tr_status tr_tokenizer_check_model(const tr_tokenizer *tokenizer, int64_t model_vocab, int64_t image_id,
                                   int64_t video_id, int64_t vision_start_id, int64_t vision_end_id, tr_error *err);

/* The directory it was read from. */
const char *tr_tokenizer_directory(const tr_tokenizer *tokenizer);

#endif
