/* unicode.c: UTF-8, normal form C and the byte alphabet.
 *
 * Characters' properties come from utf8proc. Its own reordering of combining marks takes quadratic time on long
 * runs, so decomposing and ordering are done here and only composing is left to it. */
#include "text/unicode.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The piece at the start of bytes: its length, and 1 a character, 0 ill-formed, -1 the beginning of a character
 * that needs more bytes. */
static int piece(const uint8_t *p, size_t count, size_t *length)
{
    uint8_t low = 0x80, high = 0xBF;
    size_t need;
    *length = 1;
    if (p[0] < 0x80) {
        return 1;
    }
    if (p[0] < 0xC2 || p[0] > 0xF4) {
        return 0;
    }
    need = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (p[0] == 0xE0) {
        low = 0xA0;
    } else if (p[0] == 0xED) {
        high = 0x9F;
    } else if (p[0] == 0xF0) {
        low = 0x90;
    } else if (p[0] == 0xF4) {
        high = 0x8F;
    }
    while (*length < need) {
        if (*length >= count) {
            return -1;
        }
        if (p[*length] < low || p[*length] > high) {
            return 0;
        }
        low = 0x80;
        high = 0xBF;
        ++*length;
    }
    return 1;
}

bool tr_utf8_valid(const char *text, size_t length, size_t *bad)
{
    const uint8_t *p = (const uint8_t *)text;
    for (size_t i = 0; i < length;) {
        size_t n;
        if (p[i] < 0x80) {
            i++;
            continue;
        }
        if (piece(p + i, length - i, &n) != 1) {
            *bad = i;
            return false;
        }
        i += n;
    }
    return true;
}

tr_status tr_utf8_lossy(const uint8_t *bytes, size_t count, bool final, size_t *used, tr_buffer *out, tr_error *err)
{
    tr_status status = TR_OK;
    size_t i = 0, start = 0;
    while (i < count) {
        size_t n;
        int kind = piece(bytes + i, count - i, &n);
        if (kind == 1) {
            i += n;
            continue;
        }
        TR_TRY(tr_buffer_add(out, bytes + start, i - start, err));
        start = i;
        if (kind < 0 && !final) {
            break;
        }
        TR_TRY(tr_buffer_add(out, "\xEF\xBF\xBD", 3, err));
        i += n;
        start = i;
    }
    TR_TRY(tr_buffer_add(out, bytes + start, i - start, err));
done:
    *used = i;
    return status;
}

/* Orders the marks of one run by combining class, equal classes in their old order. spare holds count entries. */
static void order_marks(utf8proc_int32_t *marks, size_t count, utf8proc_int32_t *spare)
{
    size_t start[257] = {0};
    for (size_t i = 0; i < count; i++) {
        start[(uint8_t)utf8proc_get_property(marks[i])->combining_class + 1]++;
    }
    for (size_t c = 0; c < 256; c++) {
        start[c + 1] += start[c];
    }
    for (size_t i = 0; i < count; i++) {
        spare[start[(uint8_t)utf8proc_get_property(marks[i])->combining_class]++] = marks[i];
    }
    memcpy(marks, spare, count * sizeof *marks);
}

static void order_all(utf8proc_int32_t *points, size_t count, utf8proc_int32_t *spare)
{
    for (size_t i = 0; i < count;) {
        size_t end = i;
        while (end < count && points[end] >= 0x300 && utf8proc_get_property(points[end])->combining_class) {
            end++;
        }
        if (end - i > 1) {
            order_marks(points + i, end - i, spare);
        }
        i = end > i ? end : i + 1;
    }
}

tr_status tr_nfc(const char *text, size_t length, tr_buffer *out, tr_error *err)
{
    const uint8_t *p = (const uint8_t *)text;
    tr_status status = TR_OK;
    utf8proc_int32_t *points = NULL, *spare = NULL;
    size_t capacity = 0, count = 0, ascii = 0;
    while (ascii < length && p[ascii] < 0x80) {
        ascii++;
    }
    if (ascii == length) {
        return tr_buffer_add(out, text, length, err);
    }
    for (size_t i = 0; i < length;) {
        utf8proc_int32_t c;
        int boundary = 0;
        utf8proc_ssize_t n = utf8proc_iterate(p + i, (utf8proc_ssize_t)(length - i), &c);
        if (n <= 0) {
            status = tr_fail(err, TR_INVALID, NULL, "text is not UTF-8 at byte %zu", i);
            goto done;
        }
        TR_TRY(tr_grow(&points, &capacity, count + 8, sizeof *points, err));
        utf8proc_ssize_t made =
            utf8proc_decompose_char(c, points + count, 8, UTF8PROC_STABLE | UTF8PROC_COMPOSE, &boundary);
        if (made < 0 || made > 8) {
            status = tr_fail(err, TR_INVALID, NULL, "the character at byte %zu cannot be decomposed: %s", i,
                             utf8proc_errmsg(made));
            goto done;
        }
        count += (size_t)made;
        i += (size_t)n;
    }
    if (!(spare = tr_calloc(count, sizeof *spare))) {
        status = tr_fail(err, TR_MEMORY, NULL, "no memory to normalise %zu characters", count);
        goto done;
    }
    order_all(points, count, spare);
    utf8proc_ssize_t composed =
        utf8proc_normalize_utf32(points, (utf8proc_ssize_t)count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (utf8proc_ssize_t i = 0; i < composed; i++) {
        utf8proc_uint8_t bytes[4];
        utf8proc_ssize_t n = utf8proc_encode_char(points[i], bytes);
        TR_TRY(tr_buffer_add(out, bytes, (size_t)n, err));
    }
done:
    free(points);
    free(spare);
    return status;
}

static bool stands_for_itself(unsigned byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

uint32_t tr_byte_symbol(uint8_t byte)
{
    if (stands_for_itself(byte)) {
        return byte;
    }
    /* the rank among the other bytes: 0..32, then 127..160, then 173 */
    return 256u + (byte <= 32 ? byte : byte <= 160 ? byte - 127u + 33u : 67u);
}

int tr_symbol_byte(uint32_t symbol)
{
    if (symbol < 256) {
        return stands_for_itself(symbol) ? (int)symbol : -1;
    }
    uint32_t rank = symbol - 256;
    return rank <= 32 ? (int)rank : rank < 67 ? (int)(rank - 33 + 127) : rank == 67 ? 173 : -1;
}

void tr_byte_order(uint8_t order[256])
{
    size_t n = 0;
    for (int itself = 1; itself >= 0; itself--) {
        for (unsigned b = 0; b < 256; b++) {
            if (stands_for_itself(b) == (itself == 1)) {
                order[n++] = (uint8_t)b;
            }
        }
    }
}

tr_status tr_symbols_to_bytes(const char *text, size_t length, tr_buffer *out, bool *ok, tr_error *err)
{
    size_t before = out->length;
    *ok = true;
    for (size_t i = 0; i < length;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(length - i), &c);
        int byte = n > 0 ? tr_symbol_byte((uint32_t)c) : -1;
        if (byte < 0) {
            *ok = false;
            if (out->data) {
                out->data[out->length = before] = 0;
            }
            return TR_OK;
        }
        uint8_t b = (uint8_t)byte;
        tr_status status = tr_buffer_add(out, &b, 1, err);
        if (status) {
            return status;
        }
        i += (size_t)n;
    }
    return TR_OK;
}

tr_status tr_bytes_to_symbols(const uint8_t *bytes, size_t count, tr_buffer *out, tr_error *err)
{
    for (size_t i = 0; i < count; i++) {
        utf8proc_uint8_t code[4];
        utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)tr_byte_symbol(bytes[i]), code);
        tr_status status = tr_buffer_add(out, code, (size_t)n, err);
        if (status) {
            return status;
        }
    }
    return TR_OK;
}
