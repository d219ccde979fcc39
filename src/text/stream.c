/* stream.c: the text of a generation while it grows. */
#include "text/stream.h"

#include "text/unicode.h"

#include <string.h>

void tr_text_stream_start(tr_text_stream *stream, const tr_tokenizer *tokenizer, bool keep_special)
{
    *stream = (tr_text_stream){tokenizer, keep_special, {0}};
}

void tr_text_stream_free(tr_text_stream *stream)
{
    tr_buffer_free(&stream->held);
}

static tr_status flush(tr_text_stream *stream, bool final, tr_buffer *out, tr_error *err)
{
    tr_buffer *held = &stream->held;
    size_t used = 0;
    if (!held->length) {
        return TR_OK;
    }
    tr_status status = tr_utf8_lossy((const uint8_t *)held->data, held->length, final, &used, out, err);
    memmove(held->data, held->data + used, held->length - used);
    held->data[held->length -= used] = 0;
    return status;
}

tr_status tr_text_stream_push(tr_text_stream *stream, int32_t id, tr_buffer *out, tr_error *err)
{
    tr_status status =
        tr_tokenizer_decode_bytes(stream->tokenizer, &id, 1, stream->keep_special, &stream->held, err);
    return status ? status : flush(stream, false, out, err);
}

tr_status tr_text_stream_finish(tr_text_stream *stream, tr_buffer *out, tr_error *err)
{
    return flush(stream, true, out, err);
}
