/* rows.c: the one reader and writer of corpus rows. */
#include "corpus/rows.h"

#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double slack_s = 1e-3; /* annotations are often rounded to milliseconds */

/* One [start, end] pair; index -1 when the field is not a list of pairs. */
static tr_status check_segment(const json_t *pair, const char *field, long index, double duration_s,
                               const char *where, tr_error *err)
{
    char name[64];
    snprintf(name, sizeof name, index < 0 ? "%s" : "%s[%ld]", field, index);
    if (!json_is_array(pair) || json_array_size(pair) != 2 || !json_is_number(json_array_get(pair, 0)) ||
        !json_is_number(json_array_get(pair, 1))) {
        return tr_fail(err, TR_FORMAT, where, "\"%s\" must be a pair [start, end] of seconds, found %s", name,
                       tr_json_type_name(pair));
    }
    double start = json_number_value(json_array_get(pair, 0)), end = json_number_value(json_array_get(pair, 1));
    if (!(start < end)) {
        return tr_fail(err, TR_FORMAT, where, "\"%s\": the start %g s is not before the end %g s", name, start,
                       end);
    }
    if (start < -slack_s || (duration_s >= 0 && end > duration_s + slack_s)) {
        return tr_fail(err, TR_FORMAT, where, "\"%s\": [%g, %g] s lies outside the clip of %g s", name, start, end,
                       duration_s);
    }
    return TR_OK;
}

static tr_status check_segments(const tr_row *row, const char *where, size_t min, size_t max, tr_error *err)
{
    const json_t *list = json_object_get(row->json, "segments");
    if (!json_is_array(list)) {
        return tr_fail(err, TR_FORMAT, where, "the field \"segments\" (a list of [start, end] pairs) is %s",
                       list ? "not a list" : "missing");
    }
    size_t count = json_array_size(list);
    for (size_t i = 0; i < count; i++) {
        tr_status status = check_segment(json_array_get(list, i), "segments", (long)i, row->duration_s, where, err);
        if (status) {
            return status;
        }
    }
    if (count < min || count > max) {
        return tr_fail(err, TR_FORMAT, where, "a %s row needs %s%zu segment%s, found %zu", row->task,
                       min == max ? "exactly " : "at least ", min, min == 1 ? "" : "s", count);
    }
    return TR_OK;
}

static tr_status check_text(const tr_row *row, const char *key, const char *where, tr_error *err)
{
    const char *text;
    tr_status status = tr_json_get_string(row->json, key, true, where, &text, err);
    if (!status && !text[0]) {
        status = tr_fail(err, TR_FORMAT, where, "the field \"%s\" is empty", key);
    }
    return status;
}

/* question, options and an answer that names one of them: its text or its letter. */
static tr_status check_choice(const tr_row *row, const char *where, tr_error *err)
{
    const json_t *options = json_object_get(row->json, "options"), *answer = json_object_get(row->json, "answer");
    tr_status status = check_text(row, "question", where, err);
    if (status) {
        return status;
    }
    if (!json_is_array(options) || json_array_size(options) < 2 || json_array_size(options) > 26) {
        return tr_fail(err, TR_FORMAT, where, "the field \"options\" must be a list of 2 to 26 texts");
    }
    const char *given = json_string_value(answer);
    bool found = false;
    for (size_t i = 0; i < json_array_size(options); i++) {
        const char *option = json_string_value(json_array_get(options, i));
        if (!option) {
            return tr_fail(err, TR_FORMAT, where, "\"options[%zu]\" is not a text", i);
        }
        found |= given && (!strcmp(given, option) || (given[0] == (char)('A' + i) && !given[1]));
    }
    if (!given || !found) {
        return tr_fail(err, TR_FORMAT, where,
                       "the field \"answer\" must be one of the options or its letter, found %s",
                       given ? given : tr_json_type_name(answer));
    }
    return TR_OK;
}

static tr_status check_task(const tr_row *row, const char *where, tr_error *err)
{
    tr_status status;
    if (!strcmp(row->task, "tg")) {
        status = check_text(row, "query", where, err);
        return status ? status : check_segments(row, where, 1, 1, err);
    }
    if (!strcmp(row->task, "dtg")) {
        const json_t *queries = json_object_get(row->json, "queries");
        if (!json_is_array(queries) || !json_array_size(queries)) {
            return tr_fail(err, TR_FORMAT, where, "the field \"queries\" (a list of texts) is missing or empty");
        }
        size_t count = json_array_size(queries);
        return check_segments(row, where, count, count, err);
    }
    if (!strcmp(row->task, "vhd")) {
        status = check_text(row, "query", where, err);
        return status ? status : check_segments(row, where, 1, SIZE_MAX, err);
    }
    if (!strcmp(row->task, "tal")) {
        status = check_text(row, "action", where, err);
        return status ? status : check_segments(row, where, 0, SIZE_MAX, err);
    }
    if (!strcmp(row->task, "gvqa")) {
        status = check_choice(row, where, err);
        return status ? status : check_segments(row, where, 1, SIZE_MAX, err);
    }
    if (!strcmp(row->task, "qa")) {
        return check_choice(row, where, err);
    }
    return tr_fail(err, TR_FORMAT, where, "unknown task \"%s\"; expected tg, dtg, vhd, gvqa, tal or qa", row->task);
}

/* The fields that every row has; where names the row in errors. */
static tr_status read_common(tr_row *row, const char *where, tr_error *err)
{
    json_t *json = row->json;
    if (!json_is_object(json)) {
        return tr_fail(err, TR_FORMAT, where, "a row must be an object, found %s", tr_json_type_name(json));
    }
    tr_status status;
    TR_TRY(tr_json_get_string(json, "id", true, where, &row->id, err));
    TR_TRY(tr_json_get_string(json, "task", true, where, &row->task, err));
    TR_TRY(tr_json_get_string(json, "video", true, where, &row->video, err));
    TR_TRY(tr_json_get_double(json, "duration", false, where, &row->duration_s, err));
    if (json_object_get(json, "duration") && !(row->duration_s > 0)) {
        return tr_fail(err, TR_FORMAT, where, "the field \"duration\" must be above 0 s, found %g",
                       row->duration_s);
    }
    const json_t *clip = json_object_get(json, "clip");
    if (clip && !json_is_null(clip)) {
        TR_TRY(check_segment(clip, "clip", -1, -1, where, err));
        row->clip_s[0] = json_number_value(json_array_get(clip, 0));
        row->clip_s[1] = json_number_value(json_array_get(clip, 1));
    }
done:
    return status;
}

tr_status tr_row_from_json(json_t *json, const char *name, long line, tr_row *row, tr_error *err)
{
    char where[512];
    snprintf(where, sizeof where, "%s:%ld", name, line);
    *row = (tr_row){.json = json, .duration_s = -1, .clip_s = {0, -1}, .line = line};
    tr_status status;
    TR_TRY(read_common(row, where, err));
    TR_TRY(check_task(row, where, err));
done:
    if (status) {
        tr_row_free(row);
    }
    return status;
}

tr_status tr_row_question(json_t *json, tr_row *row, tr_error *err)
{
    *row = (tr_row){.json = json, .duration_s = -1, .clip_s = {0, -1}};
    tr_status status = read_common(row, "the question", err);
    if (status) {
        tr_row_free(row);
    }
    return status;
}

void tr_row_free(tr_row *row)
{
    if (row) {
        json_decref(row->json);
        memset(row, 0, sizeof *row);
    }
}

tr_status tr_row_reader_open(tr_row_reader *reader, const char *path, tr_error *err)
{
    memset(reader, 0, sizeof *reader);
    reader->stream = fopen(path, "rb");
    if (!reader->stream) {
        return tr_fail(err, errno == ENOENT ? TR_NOT_FOUND : TR_IO, path, "cannot open the rows file %s: %s", path,
                       strerror(errno));
    }
    reader->path = tr_strdup(path);
    if (!reader->path) {
        tr_row_reader_close(reader);
        return tr_fail(err, TR_MEMORY, path, "out of memory");
    }
    return TR_OK;
}

tr_status tr_row_reader_next(tr_row_reader *reader, tr_row *row, bool *got, tr_error *err)
{
    *got = false;
    for (;;) {
        bool line;
        tr_status status = tr_file_read_line(reader->stream, 64u << 20, &reader->text, &line, err);
        if (status) {
            return tr_fail_where(err, status, "%s:%ld", reader->path, reader->line + 1);
        }
        if (!line) {
            return TR_OK;
        }
        reader->line++;
        if (strspn(tr_buffer_text(&reader->text), " \t\r") == reader->text.length) {
            continue;
        }
        json_t *json;
        status = tr_json_parse(reader->text.data, reader->text.length, reader->path, reader->line - 1, &json, err);
        if (!status) {
            status = tr_row_from_json(json, reader->path, reader->line, row, err);
        }
        *got = !status;
        return status;
    }
}

void tr_row_reader_close(tr_row_reader *reader)
{
    if (reader) {
        if (reader->stream) {
            fclose(reader->stream);
        }
        free(reader->path);
        tr_buffer_free(&reader->text);
        memset(reader, 0, sizeof *reader);
    }
}

typedef struct id_line {
    const char *id;
    long line;
} id_line;

static int compare_ids(const void *a, const void *b)
{
    const id_line *x = a, *y = b;
    int c = strcmp(x->id, y->id);
    return c ? c : (x->line > y->line) - (x->line < y->line);
}

static tr_status refuse_duplicates(const tr_row_list *list, const char *path, tr_error *err)
{
    id_line *ids = tr_calloc(list->count, sizeof *ids);
    if (!ids) {
        return tr_fail(err, TR_MEMORY, path, "out of memory");
    }
    for (size_t i = 0; i < list->count; i++) {
        ids[i] = (id_line){list->items[i].id, list->items[i].line};
    }
    qsort(ids, list->count, sizeof *ids, compare_ids);
    tr_status status = TR_OK;
    for (size_t i = 1; !status && i < list->count; i++) {
        if (!strcmp(ids[i].id, ids[i - 1].id)) {
            char where[512];
            snprintf(where, sizeof where, "%s:%ld", path, ids[i].line);
            status = tr_fail(err, TR_FORMAT, where, "the id \"%s\" stands in line %ld already; ids must be unique",
                             ids[i].id, ids[i - 1].line);
        }
    }
    free(ids);
    return status;
}

tr_status tr_row_list_read(const char *path, tr_row_list *list, tr_error *err)
{
    memset(list, 0, sizeof *list);
    tr_row_reader reader;
    tr_status status = tr_row_reader_open(&reader, path, err);
    if (status) {
        return status;
    }
    for (bool got = true; !status && got;) {
        tr_row row;
        status = tr_row_reader_next(&reader, &row, &got, err);
        if (!status && got) {
            status = tr_grow(&list->items, &list->capacity, list->count + 1, sizeof *list->items, err);
            if (status) {
                tr_row_free(&row);
            } else {
                list->items[list->count++] = row;
            }
        }
    }
    tr_row_reader_close(&reader);
    if (!status && !list->count) {
        status = tr_fail(err, TR_FORMAT, path, "%s holds no rows", path);
    }
    if (!status) {
        status = refuse_duplicates(list, path, err);
    }
    if (status) {
        tr_row_list_free(list);
    }
    return status;
}

void tr_row_list_free(tr_row_list *list)
{
    if (list) {
        for (size_t i = 0; i < list->count; i++) {
            tr_row_free(&list->items[i]);
        }
        free(list->items);
        memset(list, 0, sizeof *list);
    }
}

char *tr_row_video_path(const tr_row *row, const char *videos_dir)
{
    return tr_path_join(videos_dir, row->video);
}

tr_status tr_row_write(FILE *stream, const json_t *json, tr_error *err)
{
    tr_buffer line = {0};
    tr_status status = tr_json_print(json, &line, err);
    if (!status) {
        status = tr_buffer_add(&line, "\n", 1, err);
    }
    if (!status && fwrite(line.data, 1, line.length, stream) != line.length) {
        status = tr_fail(err, TR_IO, NULL, "cannot write a row: %s", strerror(errno));
    }
    tr_buffer_free(&line);
    return status;
}
