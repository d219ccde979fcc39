/* handles.h: what the opaque types of tempr1.h are, and how its plain types map to the library's own (private to
 * src/api). Wrappers only translate: everything is computed below. */
#ifndef TR_API_HANDLES_H
#define TR_API_HANDLES_H

#include "tempr1.h"

#include "base/buffer.h"
#include "base/json.h"
#include "base/memory.h"
#include "task/reward.h"
#include "text/tokenizer.h"

struct tempr1_arena {
    tr_arena arena;
};

struct tempr1_scheme {
    tr_scheme scheme;
    char *name; /* scheme.name points here for a parsed one */
};

struct tempr1_tokenizer {
    tr_tokenizer *tokenizer;
};

/* tempr1_error and tr_error have one layout, held by assertions in api.c. */
static inline tr_error *api_error(tempr1_error *error)
{
    return (tr_error *)error;
}

/* The public number of a task, checked. */
tr_status api_task(tempr1_task from, tr_task *to, tr_error *err);
tr_status api_truth(const tempr1_truth *from, tr_truth *to, tr_error *err);
/* Hands the buffer's bytes to the caller (never NULL on success) and empties it. */
tr_status api_text(tr_buffer *buffer, char **text, size_t *length, tr_error *err);
/* Prints a value as the caller's text. */
tr_status api_json(const json_t *value, char **text, tr_error *err);

#endif
