/* tokenizer.c: the public functions of the tokenizer. */
#include "api/handles.h"

#include <stdlib.h>

tempr1_status tempr1_tokenizer_load(const char *directory, tempr1_tokenizer **tokenizer, tempr1_error *error)
{
    tr_error *err = api_error(error);
    tempr1_tokenizer *made = tr_calloc(1, sizeof *made);
    tr_status status = made ? tr_tokenizer_load(directory, &made->tokenizer, err)
                            : tr_fail(err, TR_MEMORY, directory, "out of memory for a tokenizer");
    if (status) {
        free(made);
    } else {
        *tokenizer = made;
    }
    return (tempr1_status)status;
}

void tempr1_tokenizer_free(tempr1_tokenizer *tokenizer)
{
    if (tokenizer) {
        tr_tokenizer_free(tokenizer->tokenizer);
        free(tokenizer);
    }
}

tempr1_status tempr1_tokenizer_encode(const tempr1_tokenizer *tokenizer, const char *text, size_t length,
                                      int special, int32_t **ids, size_t *count, tempr1_error *error)
{
    tr_error *err = api_error(error);
    tr_ids own = {0};
    tr_status status = tr_tokenizer_encode(tokenizer->tokenizer, text, length, special != 0, &own, err);
    if (!status && !own.data && !(own.data = tr_calloc(1, sizeof *own.data))) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory for token ids");
    }
    if (status) {
        tr_ids_free(&own);
    } else {
        *ids = own.data;
        *count = own.count;
    }
    return (tempr1_status)status;
}

tempr1_status tempr1_tokenizer_decode(const tempr1_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                      int keep_special, char **text, size_t *length, tempr1_error *error)
{
    tr_error *err = api_error(error);
    tr_buffer out = {0};
    tr_status status = tr_tokenizer_decode(tokenizer->tokenizer, ids, count, keep_special != 0, &out, err);
    status = status ? status : api_text(&out, text, length, err);
    tr_buffer_free(&out);
    return (tempr1_status)status;
}

size_t tempr1_tokenizer_size(const tempr1_tokenizer *tokenizer)
{
    return tr_tokenizer_size(tokenizer->tokenizer);
}

int32_t tempr1_tokenizer_id(const tempr1_tokenizer *tokenizer, const char *text)
{
    return tr_tokenizer_id(tokenizer->tokenizer, text);
}
