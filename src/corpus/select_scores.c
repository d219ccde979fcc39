/* select_scores.c: the file of scores, held against its rows. */
#include "corpus/select.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct reading {
    const char *path, *rows_path;
    const tr_row_list *rows;
    tr_select_file *file;
    char where[520];
} reading;

static tr_status other_rows(const reading *r, const json_t *line, const tr_row *row, tr_error *err)
{
    const char *id = json_string_value(json_object_get(line, "id"));
    const char *hash = json_string_value(json_object_get(line, "row"));
    char own[17];
    tr_row_hash(row->json, own);
    if (!id || !hash) {
        return tr_fail(err, TR_FORMAT, r->where, "a line of scores needs \"id\" and \"row\" (the hash of the row)");
    }
    if (strcmp(id, row->id) != 0) {
        return tr_fail(err, TR_MISMATCH, r->where,
                       "the scores in %s are of other rows than %s: here the row \"%s\", there line %ld is the row "
                       "\"%s\"",
                       r->path, r->rows_path, id, row->line, row->id);
    }
    if (strcmp(hash, own) != 0) {
        return tr_fail(
            err, TR_MISMATCH, r->where,
            "the scores in %s are of other rows than %s: the row \"%s\" (line %ld) has changed, its content "
            "is %s and was %s",
            r->path, r->rows_path, id, row->line, own, hash);
    }
    return TR_OK;
}

/* k numbers of a list into to. */
static tr_status read_values(const reading *r, const json_t *line, const char *key, size_t k, double *to,
                             tr_error *err)
{
    const json_t *list = json_object_get(line, key);
    if (json_array_size(list) != k) {
        return tr_fail(err, TR_FORMAT, r->where, "\"%s\" must be a list of %zu numbers, found %s of %zu", key, k,
                       tr_json_type_name(list), json_array_size(list));
    }
    for (size_t i = 0; i < k; i++) {
        const json_t *value = json_array_get(list, i);
        to[i] = json_is_boolean(value) ? json_is_true(value) : json_number_value(value);
        if ((!json_is_number(value) && !json_is_boolean(value)) || !(to[i] >= 0 && to[i] <= 1)) {
            return tr_fail(err, TR_FORMAT, r->where,
                           "\"%s\" must hold numbers between 0 and 1, found %s at place %zu", key,
                           tr_json_type_name(value), i + 1);
        }
    }
    return TR_OK;
}

/* Answers a row are known with the first answered row: then there is memory for all. */
static tr_status reserve(const reading *r, size_t k, tr_error *err)
{
    tr_select_file *f = r->file;
    if (!f->k && k) {
        f->k = k;
        f->values = tr_calloc(f->count, 2 * k * sizeof *f->values);
        return f->values ? TR_OK : tr_fail(err, TR_MEMORY, r->path, "out of memory for %zu scores", f->count);
    }
    if (f->k != k) {
        return tr_fail(err, TR_FORMAT, r->where, "%zu answers of this row, but %zu of the rows before", k, f->k);
    }
    return TR_OK;
}

static tr_status read_line(const reading *r, const json_t *line, size_t index, tr_error *err)
{
    const tr_row *row = &r->rows->items[index];
    tr_select_score *s = &r->file->scores[index];
    double duration_s = row->duration_s;
    tr_status status;
    TR_TRY(other_rows(r, line, row, err));
    TR_TRY(tr_task_from_name(row->task, &s->task, err));
    TR_TRY(tr_json_get_double(line, "duration", false, r->where, &duration_s, err));
    s->duration_s = duration_s;
    s->key = tr_hash_text(row->id);
    if (json_object_get(line, "unanswered")) {
        return TR_OK;
    }
    bool qa = s->task == TR_TASK_QA;
    size_t k = json_array_size(json_object_get(line, qa ? "right" : "ious"));
    if (!k) {
        return tr_fail(err, TR_FORMAT, r->where, "a line of scores of a %s row needs the list \"%s\"", row->task,
                       qa ? "right" : "ious");
    }
    TR_TRY(reserve(r, k, err));
    double *values = r->file->values + 2 * k * index;
    TR_TRY(read_values(r, line, qa ? "right" : "ious", k, values, err));
    if (s->task == TR_TASK_GVQA) {
        TR_TRY(read_values(r, line, "right", k, values + k, err));
        s->right = values + k;
    }
    s->values = values;
    s->k = k;
done:
    return status;
}

tr_status tr_select_file_read(const char *path, const char *rows_path, const tr_row_list *rows,
                              tr_select_file *file, tr_error *err)
{
    reading r = {.path = path, .rows_path = rows_path, .rows = rows, .file = file};
    tr_buffer text = {0};
    size_t count = 0;
    FILE *stream = fopen(path, "rbe");
    *file = (tr_select_file){.scores = tr_calloc(rows->count, sizeof *file->scores), .count = rows->count};
    tr_status status = TR_OK;
    if (!stream || !file->scores) {
        status = stream ? tr_fail(err, TR_MEMORY, path, "out of memory")
                        : tr_fail(err, TR_NOT_FOUND, path, "cannot open %s: %s", path, strerror(errno));
    }
    for (bool got = true; !status && got;) {
        json_t *line = NULL;
        status = tr_file_read_line(stream, 0, &text, &got, err);
        if (status || !got || !text.length) {
            continue;
        }
        snprintf(r.where, sizeof r.where, "%s:%zu", path, count + 1);
        if (count == rows->count) {
            status = tr_fail(err, TR_MISMATCH, r.where, "%s holds more scores than %s rows (%zu)", path, rows_path,
                             rows->count);
            break;
        }
        status = tr_json_parse(text.data, text.length, path, (long)count, &line, err);
        status = status ? status : read_line(&r, line, count, err);
        json_decref(line);
        count++;
    }
    if (!status && count < rows->count) {
        status =
            tr_fail(err, TR_MISMATCH, path,
                    "holds scores of %zu of the %zu rows of %s; give --model and the options that they were made "
                    "with, and they are continued",
                    count, rows->count, rows_path);
    }
    if (stream) {
        fclose(stream);
    }
    tr_buffer_free(&text);
    if (status) {
        tr_select_file_free(file);
    }
    return status;
}

void tr_select_file_free(tr_select_file *file)
{
    if (file) {
        free(file->scores);
        free(file->values);
        *file = (tr_select_file){0};
    }
}
