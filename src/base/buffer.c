/* buffer.c: a growing byte string and small string helpers. */
#include "base/buffer.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tr_buffer_free(tr_buffer *buffer)
{
    if (buffer) {
        free(buffer->data);
        memset(buffer, 0, sizeof *buffer);
    }
}

void tr_buffer_clear(tr_buffer *buffer)
{
    buffer->length = 0;
    if (buffer->data) {
        buffer->data[0] = 0;
    }
}

static tr_status reserve(tr_buffer *buffer, size_t more, tr_error *err)
{
    size_t need;
    if (!tr_size_add(buffer->length, more, &need) || !tr_size_add(need, 1, &need)) {
        return tr_fail(err, TR_MEMORY, NULL, "a text of more than %zu bytes does not fit in memory", more);
    }
    return tr_grow(&buffer->data, &buffer->capacity, need, 1, err);
}

tr_status tr_buffer_add(tr_buffer *buffer, const void *bytes, size_t count, tr_error *err)
{
    tr_status status = reserve(buffer, count, err);
    if (status) {
        return status;
    }
    if (count) {
        memcpy(buffer->data + buffer->length, bytes, count);
    }
    buffer->length += count;
    buffer->data[buffer->length] = 0;
    return TR_OK;
}

tr_status tr_buffer_add_text(tr_buffer *buffer, const char *text, tr_error *err)
{
    return tr_buffer_add(buffer, text, strlen(text), err);
}

tr_status tr_buffer_printf(tr_buffer *buffer, tr_error *err, const char *format, ...)
{
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    tr_status status =
        n < 0 ? tr_fail(err, TR_INVALID, NULL, "a text could not be formatted") : reserve(buffer, (size_t)n, err);
    if (!status) {
        vsnprintf(buffer->data + buffer->length, (size_t)n + 1, format, again);
        buffer->length += (size_t)n;
    }
    va_end(again);
    return status;
}

const char *tr_buffer_text(const tr_buffer *buffer)
{
    return buffer->data ? buffer->data : "";
}

char *tr_strndup(const char *text, size_t count)
{
    char *copy = malloc(count + 1);
    if (copy) {
        memcpy(copy, text, count);
        copy[count] = 0;
    }
    return copy;
}

char *tr_strdup(const char *text)
{
    return tr_strndup(text, strlen(text));
}

char *tr_format(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    char *text = n < 0 ? NULL : malloc((size_t)n + 1);
    if (text) {
        va_start(ap, format);
        vsnprintf(text, (size_t)n + 1, format, ap);
        va_end(ap);
    }
    return text;
}

char *tr_path_join(const char *dir, const char *name)
{
    if (!dir || !dir[0] || name[0] == '/') {
        return tr_strdup(name);
    }
    return tr_format("%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name);
}

static size_t edit_distance(const char *a, const char *b)
{
    size_t row[65], na = strlen(a), nb = strlen(b);
    if (na > 64 || nb > 64) {
        return 64;
    }
    for (size_t j = 0; j <= nb; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[nb];
}

const char *tr_nearest(const char *name, const char *const *candidates, size_t count)
{
    const char *best = NULL;
    size_t best_distance = strlen(name) / 2 + 1;
    for (size_t i = 0; i < count; i++) {
        size_t d = edit_distance(name, candidates[i]);
        if (d < best_distance) {
            best_distance = d;
            best = candidates[i];
        }
    }
    return best;
}

tr_status tr_buffer_add_escaped(tr_buffer *buffer, const char *text, tr_error *err)
{
    tr_status status = TR_OK;
    for (const char *p = text; *p && !status; p++) {
        const bool control = (unsigned char)*p < 0x20 || *p == 0x7f; /* XML may not hold them */
        const char *code = *p == '<'   ? "&lt;"
                           : *p == '>' ? "&gt;"
                           : *p == '&' ? "&amp;"
                           : *p == '"' ? "&quot;"
                           : control   ? " "
                                       : NULL;
        status = code ? tr_buffer_add_text(buffer, code, err) : tr_buffer_add(buffer, p, 1, err);
    }
    return status;
}
