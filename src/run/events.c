/* events.c: TensorBoard event files. Writes numbers only; reads only its own files, to cut them. */
#include "run/events.h"

#include "base/file.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char prefix[] = "events.out.tfevents.", suffix[] = ".tempr1";

/* ---- CRC-32C ---- */

uint32_t tr_crc32c(const void *bytes, size_t count)
{
    const unsigned char *p = bytes;
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < count; i++) { /* a step writes a few kilobytes: no table is worth its place */
        crc ^= p[i];
        for (int k = 0; k < 8; k++) {
            crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

uint32_t tr_crc32c_masked(const void *bytes, size_t count)
{
    uint32_t crc = tr_crc32c(bytes, count);
    return (crc >> 15 | crc << 17) + 0xa282ead8u; /* so that a CRC over data that hold CRCs stays a good one */
}

/* ---- messages ---- */

static tr_status add_little(tr_buffer *out, uint64_t value, int bytes, tr_error *err)
{
    unsigned char text[8];
    for (int i = 0; i < bytes; i++) {
        text[i] = (unsigned char)(value >> 8 * i);
    }
    return tr_buffer_add(out, text, (size_t)bytes, err);
}

static tr_status add_varint(tr_buffer *out, uint64_t value, tr_error *err)
{
    unsigned char text[10];
    size_t count = 0;
    for (; value > 127; value >>= 7) {
        text[count++] = (unsigned char)(value | 128);
    }
    text[count++] = (unsigned char)value;
    return tr_buffer_add(out, text, count, err);
}

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static tr_status add_key(tr_buffer *out, unsigned field, unsigned kind, tr_error *err)
{
    return add_varint(out, field << 3 | kind, err);
}

static tr_status add_bytes(tr_buffer *out, unsigned field, const void *bytes, size_t count, tr_error *err)
{
    tr_status status = add_key(out, field, BYTES, err);
    status = status ? status : add_varint(out, count, err);
    return status ? status : tr_buffer_add(out, bytes, count, err);
}

/* What every event begins with. */
static tr_status add_head(tr_buffer *out, int64_t step, tr_error *err)
{
    struct timespec now;
    uint64_t bits;
    clock_gettime(CLOCK_REALTIME, &now);
    double wall_s = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    memcpy(&bits, &wall_s, sizeof bits);
    tr_status status = add_key(out, 1, FIXED64, err);
    status = status ? status : add_little(out, bits, 8, err);
    status = status ? status : add_key(out, 2, VARINT, err);
    return status ? status : add_varint(out, (uint64_t)step, err);
}

static tr_status add_value(tr_buffer *summary, const char *tag, double number, tr_error *err)
{
    tr_buffer value = {0};
    float single = (float)number;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    tr_status status;
    TR_TRY(add_bytes(&value, 1, tag, strlen(tag), err));
    TR_TRY(add_key(&value, 2, FIXED32, err));
    TR_TRY(add_little(&value, bits, 4, err));
    TR_TRY(add_bytes(summary, 1, tr_buffer_text(&value), value.length, err));
done:
    tr_buffer_free(&value);
    return status;
}

enum { DEEPEST = 8 }; /* of a step's object; deeper ones are left out */

static tr_status add_numbers(tr_buffer *summary, tr_buffer *tag, const json_t *object, int depth, tr_error *err)
{
    const char *key;
    json_t *value;
    tr_status status = TR_OK;
    size_t length = tag->length;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (!depth && !strcmp(key, "step")) {
            continue;
        }
        TR_TRY(tr_buffer_printf(tag, err, "%s%s", length ? "/" : "", key));
        if (json_is_object(value) && depth < DEEPEST) {
            TR_TRY(add_numbers(summary, tag, value, depth + 1, err));
        } else if (json_is_number(value) || json_is_boolean(value)) {
            double number = json_is_number(value) ? json_number_value(value) : json_is_true(value);
            TR_TRY(add_value(summary, tr_buffer_text(tag), number, err));
        }
        tag->length = length;
        tag->data[length] = 0;
    }
done:
    return status;
}

/* ---- frames ---- */

static tr_status write_frame(tr_events *events, const tr_buffer *event, tr_error *err)
{
    tr_buffer frame = {0};
    tr_status status;
    TR_TRY(add_little(&frame, event->length, 8, err));
    TR_TRY(add_little(&frame, tr_crc32c_masked(frame.data, 8), 4, err));
    TR_TRY(tr_buffer_add(&frame, event->data, event->length, err));
    TR_TRY(add_little(&frame, tr_crc32c_masked(event->data, event->length), 4, err));
    if (fwrite(frame.data, 1, frame.length, events->file) != frame.length || fflush(events->file)) {
        status = tr_fail(err, TR_IO, events->path, "cannot be written: %s", strerror(errno));
    }
done:
    tr_buffer_free(&frame);
    return status;
}

/* The two events that open a file: its version, and that a session starts behind last_step. */
static tr_status write_start(tr_events *events, int64_t last_step, tr_error *err)
{
    static const char version[] = "brain.Event:2";
    static const char start[] = {1 << 3 | VARINT, 1};
    tr_buffer event = {0};
    tr_status status;
    TR_TRY(add_head(&event, 0, err));
    TR_TRY(add_bytes(&event, 3, version, sizeof version - 1, err));
    TR_TRY(write_frame(events, &event, err));
    if (last_step > 0) { /* TensorBoard drops what it has read of this step and later ones */
        tr_buffer_clear(&event);
        TR_TRY(add_head(&event, last_step + 1, err));
        TR_TRY(add_bytes(&event, 7, start, sizeof start, err));
        TR_TRY(write_frame(events, &event, err));
    }
done:
    tr_buffer_free(&event);
    return status;
}

static tr_status start(tr_events *events, tr_error *err)
{
    events->file = fopen(events->path, "wb");
    return events->file ? write_start(events, events->last_step, err)
                        : tr_fail(err, TR_IO, events->path, "cannot be written: %s", strerror(errno));
}

tr_status tr_events_add(tr_events *events, int64_t step, const json_t *numbers, tr_error *err)
{
    tr_buffer event = {0}, summary = {0}, tag = {0};
    tr_status status;
    TR_TRY(events->file ? TR_OK : start(events, err));
    TR_TRY(add_head(&event, step, err));
    TR_TRY(add_numbers(&summary, &tag, numbers, 0, err));
    if (summary.length) {
        TR_TRY(add_bytes(&event, 5, summary.data, summary.length, err));
        TR_TRY(write_frame(events, &event, err));
    }
done:
    tr_buffer_free(&event);
    tr_buffer_free(&summary);
    tr_buffer_free(&tag);
    return status;
}

/* ---- cutting ---- */

static uint64_t read_little(const uint8_t *p, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) {
        value |= (uint64_t)p[i] << 8 * i;
    }
    return value;
}

/* Bytes of the whole, undamaged frame at p; 0 when there is none. */
static size_t frame_size(const uint8_t *p, size_t left)
{
    if (left < 16 || read_little(p + 8, 4) != tr_crc32c_masked(p, 8)) {
        return 0;
    }
    uint64_t length = read_little(p, 8);
    if (length > left - 16 || read_little(p + 12 + length, 4) != tr_crc32c_masked(p + 12, length)) {
        return 0;
    }
    return length + 16;
}

/* The step of an event that add_head began, and whether it holds numbers (an absent step is 0). */
static int64_t step_of(const uint8_t *p, size_t length, bool *numbers)
{
    uint64_t step = 0;
    size_t at = 9;
    *numbers = false;
    if (length > at && p[at] == (2 << 3 | VARINT)) {
        unsigned shift = 0;
        for (at++; at < length && shift < 64; shift += 7) {
            step |= (uint64_t)(p[at] & 127) << shift;
            if (!(p[at++] & 128)) {
                break;
            }
        }
    }
    *numbers = at < length && p[at] == (5 << 3 | BYTES);
    return (int64_t)step;
}

/* Keeps the frames of one file that are whole and not after last_step. A reader that has the old file open keeps
 * it: the cut one is another file of the same name. */
static tr_status cut(const char *path, int64_t last_step, tr_error *err)
{
    tr_file_map map;
    size_t keep = 0, kept_numbers = 0;
    tr_status status = tr_file_map_open(&map, path, err);
    if (status) {
        return status;
    }
    while (keep < map.size) {
        bool numbers;
        size_t size = frame_size(map.data + keep, map.size - keep);
        if (!size || (step_of(map.data + keep + 12, size - 16, &numbers) > last_step && numbers)) {
            break; /* steps only grow within a file */
        }
        kept_numbers += numbers;
        keep += size;
    }
    if (!kept_numbers) {
        if (unlink(path)) {
            status = tr_fail(err, TR_IO, path, "cannot be removed: %s", strerror(errno));
        }
    } else if (keep < map.size) {
        status = tr_file_write_atomic(path, map.data, keep, err);
    }
    tr_file_map_close(&map);
    return status;
}

/* Whether a name is one of ours; its seconds. */
static bool is_ours(const char *name, long long *seconds)
{
    size_t length = strlen(name);
    char *end;
    if (length < sizeof prefix + sizeof suffix || strncmp(name, prefix, sizeof prefix - 1) != 0) {
        return false;
    }
    *seconds = strtoll(name + sizeof prefix - 1, &end, 10);
    return end > name + sizeof prefix - 1 && !strcmp(end, suffix);
}

/* Cuts all files of the folder; *next is a number behind those of all. */
static tr_status cut_all(const char *folder, int64_t last_step, long long *next, tr_error *err)
{
    char **names = NULL;
    size_t count = 0;
    long long seconds;
    tr_status status = tr_directory_list(folder, &names, &count, err);
    for (size_t i = 0; !status && i < count; i++) {
        if (is_ours(names[i], &seconds)) {
            char *path = tr_path_join(folder, names[i]);
            status = path ? cut(path, last_step, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
            *next = seconds >= *next ? seconds + 1 : *next;
            free(path);
        }
    }
    tr_names_free(names, count);
    return status;
}

tr_status tr_events_open(tr_events *events, const char *folder, int64_t last_step, tr_error *err)
{
    long long number = (long long)time(NULL);
    memset(events, 0, sizeof *events);
    tr_status status = cut_all(folder, last_step, &number, err);
    if (status) {
        return status;
    }
    events->path = tr_format("%s/%s%010lld%s", folder, prefix, number, suffix);
    if (!events->path) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    events->last_step = last_step;
    return TR_OK;
}

tr_status tr_events_close(tr_events *events, tr_error *err)
{
    tr_status status = TR_OK;
    if (events && events->file && fclose(events->file)) {
        status = tr_fail(err, TR_IO, events->path, "cannot be written: %s", strerror(errno));
    }
    if (events) {
        free(events->path);
        memset(events, 0, sizeof *events);
    }
    return status;
}
