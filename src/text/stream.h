/* stream.h: the text of a generation while it grows.
 *
 * A character may be spread over several tokens; its first bytes are held back until it is whole, so what was
 * handed out is never taken back and all pieces together equal tr_tokenizer_decode of all ids. One stream, one
 * thread. */
#ifndef TR_TEXT_STREAM_H
#define TR_TEXT_STREAM_H

#include "text/tokenizer.h"

typedef struct tr_text_stream {
    const tr_tokenizer *tokenizer; /* borrowed */
    bool keep_special;
    tr_buffer held; /* bytes of an unfinished character, at most 3 between calls */
} tr_text_stream;

/* Starts (again). A stream that was used before must have been freed. */
void tr_text_stream_start(tr_text_stream *stream, const tr_tokenizer *tokenizer, bool keep_special);
void tr_text_stream_free(tr_text_stream *stream);

/* Appends to out the text that became whole with this token, perhaps none. */
tr_status tr_text_stream_push(tr_text_stream *stream, int32_t id, tr_buffer *out, tr_error *err);
/* Appends what is left: an unfinished character as U+FFFD. */
tr_status tr_text_stream_finish(tr_text_stream *stream, tr_buffer *out, tr_error *err);

#endif
