/* buffer.h: a growing byte string. Always NUL-terminated, may hold NUL bytes. Not thread safe. */
#ifndef TR_BASE_BUFFER_H
#define TR_BASE_BUFFER_H

#include "base/status.h"

#include <stdarg.h>

typedef struct tr_buffer {
    char *data; /* NULL while empty */
    size_t length, capacity;
} tr_buffer;

/* Frees the bytes and empties the buffer; it can be used again. */
void tr_buffer_free(tr_buffer *buffer);

/* Empties it, keeps the memory. */
void tr_buffer_clear(tr_buffer *buffer);

tr_status tr_buffer_add(tr_buffer *buffer, const void *bytes, size_t count, tr_error *err);
tr_status tr_buffer_add_text(tr_buffer *buffer, const char *text, tr_error *err);

/* The same with <, >, & and " written as XML and HTML want them. */
tr_status tr_buffer_add_escaped(tr_buffer *buffer, const char *text, tr_error *err);
tr_status tr_buffer_printf(tr_buffer *buffer, tr_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The text, "" when empty; valid until the next change. */
const char *tr_buffer_text(const tr_buffer *buffer);

/* A copy of a string, free() frees it; NULL when memory is out. */
char *tr_strdup(const char *text);
char *tr_strndup(const char *text, size_t count);
/* A formatted string, free() frees it; NULL when memory is out. */
char *tr_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "dir/name" (name alone when it is absolute or dir is empty), free() frees it; NULL when memory is out. */
char *tr_path_join(const char *dir, const char *name);

/* The candidate nearest to name by edit distance, or NULL when none is near enough to suggest. */
const char *tr_nearest(const char *name, const char *const *candidates, size_t count);

#endif
