/* protocol.h: the protocol card: what numbers were made with, and how two cards differ.
 *
 * A card is a JSON object; files are named by their hashes, so that it does not matter where they lie. Never looks
 * at results. */
#ifndef TR_EVAL_PROTOCOL_H
#define TR_EVAL_PROTOCOL_H

#include "base/json.h"
#include "input/sample.h"
#include "rl/sampler.h"

/* XXH3 of a checkpoint's weights and configuration (16 hexadecimal digits), and of its tokenizer's files, from the
 * files' names and bytes; what training keeps beside them (state.*) does not count. */
/* With an adapter (NULL: directory's own, if it is one) the base's, the adapter's tensors, rank and alpha count. */
tr_status tr_protocol_model_hash(const char *directory, const char *adapter, char hash[17], tr_error *err);
tr_status tr_protocol_tokenizer_hash(const char *directory, char hash[17], tr_error *err);
/* Of a file, and of a prompt set (its text, whether it is built in or a file). */
tr_status tr_protocol_file_hash(const char *path, char hash[17], tr_error *err);
tr_status tr_protocol_prompt_hash(const char *name, char hash[17], tr_error *err);

/* What a card says, given all together. Texts are borrowed. */
typedef struct tr_protocol {
    const char *model, *adapter, *tokenizer, *data, *prompt, *scheme, *parser;
    tr_video_settings video;
    const tr_sampling *sampling;
    int64_t samples, seed, rows, first; /* first: only so many of the rows; 0: all */
} tr_protocol;
/* The card (owned). Reads the files that it hashes. */
tr_status tr_protocol_card(const tr_protocol *protocol, json_t **card, tr_error *err);

/* [{"key": "sampling.seed", "a": .., "b": ..}, ...] of everything that differs and matters to the numbers: not the
 * places of files (their hashes count), nor the kernels (the numbers do not depend on them). Owned; NULL when
 * memory is out. */
json_t *tr_protocol_differences(const json_t *a, const json_t *b);
/* "sampling.seed (1 and 2), model_hash (..)", appended. */
tr_status tr_protocol_differences_text(const json_t *differences, tr_buffer *out, tr_error *err);
/* Answers with the card `old` may only be continued with an equal one: else TR_MISMATCH, which says that `where`
 * holds `what` ("scores") of another protocol, how they differ, and to give another `option` ("--out"). */
tr_status tr_protocol_hold(const json_t *old, const json_t *card, const char *where, const char *what,
                           const char *option, tr_error *err);

#endif
