/* import_read.c: the files of an import: JSON documents, JSON Lines, lines of text, CSV and TSV. Knows no format.
 */
#include "corpus/import_parts.h"

#include "base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const size_t line_limit = 64u << 20;

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool tr_import_is(const tr_import *im, const char *extension)
{
    size_t length = strlen(im->paths[im->path]), n = strlen(extension);
    return length >= n && !strcmp(im->paths[im->path] + length - n, extension);
}

void tr_import_open(tr_import *im, size_t i)
{
    const char *name = base_name(im->paths[i]), *dot = strrchr(name, '.');
    size_t same = 0;
    im->path = i;
    im->line = 0;
    im->number = 0;
    for (size_t k = 0; k < i; k++) {
        same += !strcmp(base_name(im->paths[k]), name);
    }
    snprintf(im->stem, sizeof im->stem, "%.*s", dot && dot > name ? (int)(dot - name) : (int)strlen(name), name);
    if (same) { /* two folders with the same file name: ids must differ */
        size_t length = strlen(im->stem);
        length = length > sizeof im->stem - 24 ? sizeof im->stem - 24 : length;
        snprintf(im->stem + length, sizeof im->stem - length, "-%zu", same + 1);
    }
    snprintf(im->place, sizeof im->place, "%s", im->paths[i]);
}

void tr_import_place(tr_import *im, const char *format, ...)
{
    va_list arguments;
    int n = snprintf(im->place, sizeof im->place, "%.300s:", base_name(im->paths[im->path]));
    va_start(arguments, format);
    vsnprintf(im->place + n, sizeof im->place - (size_t)n, format, arguments);
    va_end(arguments);
}

tr_status tr_import_each_value(tr_import *im, json_t *document, tr_import_each each, tr_error *err)
{
    const char *key;
    json_t *value;
    size_t i;
    tr_status status = TR_OK;
    if (json_is_array(document)) {
        json_array_foreach(document, i, value)
        {
            im->number = i + 1;
            tr_import_place(im, "[%zu]", i);
            if (status || (status = each(im, NULL, value, err))) {
                return status;
            }
        }
        return TR_OK;
    }
    if (!json_is_object(document)) {
        return tr_fail(err, TR_FORMAT, im->paths[im->path], "expected a list or an object of records, found %s",
                       tr_json_type_name(document));
    }
    json_object_foreach(document, key, value)
    {
        im->number++;
        tr_import_place(im, "%s", key);
        if ((status = each(im, key, value, err))) {
            return status;
        }
    }
    return status;
}

typedef struct line_source {
    FILE *stream;
    tr_buffer text;
    bool got;
} line_source;

/* The next line without its end and, in the first, without a byte order mark. */
static tr_status next_line(tr_import *im, line_source *in, tr_error *err)
{
    tr_status status = tr_file_read_line(in->stream, line_limit, &in->text, &in->got, err);
    if (status) {
        return tr_fail_where(err, status, "%s:%ld", im->paths[im->path], im->line + 1);
    }
    if (in->got) {
        im->line++;
        if (in->text.length && in->text.data[in->text.length - 1] == '\r') {
            in->text.data[--in->text.length] = 0;
        }
        if (im->line == 1 && in->text.length >= 3 && !memcmp(in->text.data, "\xEF\xBB\xBF", 3)) {
            memmove(in->text.data, in->text.data + 3, in->text.length - 2);
            in->text.length -= 3;
        }
    }
    return TR_OK;
}

static tr_status open_lines(tr_import *im, line_source *in, tr_error *err)
{
    const char *path = im->paths[im->path];
    *in = (line_source){.stream = fopen(path, "rb"), .got = true};
    return in->stream ? TR_OK
                      : tr_fail(err, errno == ENOENT ? TR_NOT_FOUND : TR_IO, path, "cannot open %s: %s", path,
                                strerror(errno));
}

static void close_lines(line_source *in)
{
    if (in->stream) {
        fclose(in->stream);
    }
    tr_buffer_free(&in->text);
}

static bool blank(const tr_buffer *text)
{
    return strspn(tr_buffer_text(text), " \t") == text->length;
}

/* Goes to the next line that is not blank; while there is one, it counts as a record and is the place. */
static tr_status next_record(tr_import *im, line_source *in, tr_error *err)
{
    tr_status status;
    do {
        TR_TRY(next_line(im, in, err));
    } while (in->got && blank(&in->text));
    if (in->got) {
        im->number++;
        tr_import_place(im, "%ld", im->line);
    }
done:
    return status;
}

static tr_status each_json_line(tr_import *im, tr_import_each each, tr_error *err)
{
    line_source in;
    json_t *value = NULL;
    tr_status status;
    TR_TRY(open_lines(im, &in, err));
    for (;;) {
        TR_TRY(next_record(im, &in, err));
        if (!in.got) {
            break;
        }
        TR_TRY(tr_json_parse(in.text.data, in.text.length, im->paths[im->path], im->line - 1, &value, err));
        TR_TRY(each(im, NULL, value, err));
        json_decref(value);
        value = NULL;
    }
done:
    json_decref(value);
    close_lines(&in);
    return status;
}

tr_status tr_import_each_json(tr_import *im, tr_import_each each, tr_error *err)
{
    json_t *document = NULL;
    tr_status status;
    if (tr_import_is(im, ".jsonl") || tr_import_is(im, ".ndjson")) {
        return each_json_line(im, each, err);
    }
    if (tr_import_is(im, ".parquet")) {
        return tr_fail(err, TR_UNSUPPORTED, im->paths[im->path],
                       "Parquet is not read; export the table as JSON Lines (pandas: to_json(orient=\"records\", "
                       "lines=True)) and import that");
    }
    TR_TRY(tr_json_read(im->paths[im->path], &document, err));
    TR_TRY(tr_import_each_value(im, document, each, err));
done:
    json_decref(document);
    return status;
}

tr_status tr_import_each_file(tr_import *im, tr_import_each each, tr_error *err)
{
    tr_status status = TR_OK;
    for (size_t i = 0; !status && i < im->path_count; i++) {
        tr_import_open(im, i);
        status = tr_import_each_json(im, each, err);
    }
    return status;
}

tr_status tr_import_each_line(tr_import *im, tr_import_line each, tr_error *err)
{
    line_source in;
    tr_status status;
    TR_TRY(open_lines(im, &in, err));
    for (;;) {
        TR_TRY(next_record(im, &in, err));
        if (!in.got) {
            break;
        }
        TR_TRY(each(im, in.text.data, err));
    }
done:
    close_lines(&in);
    return status;
}

/* Reads one record: cells point into in->text, which is taken apart in place. */
static tr_status read_record(tr_import *im, line_source *in, char delimiter, tr_buffer *text, char **cells,
                             size_t *count, tr_error *err)
{
    long first = im->line + 1;
    bool quoted = false;
    size_t quote_at = 0;
    tr_status status;
    tr_buffer_clear(text);
    do { /* a quote that is still open goes on in the next line */
        TR_TRY(next_line(im, in, err));
        if (!in->got) {
            if (quoted) {
                char where[400];
                snprintf(where, sizeof where, "%.360s:%ld:%zu", im->paths[im->path], first, quote_at + 1);
                status = tr_fail(err, TR_FORMAT, where, "a quote opens here and is never closed");
            }
            goto done;
        }
        if (quoted) {
            TR_TRY(tr_buffer_add(text, "\n", 1, err));
        }
        size_t from = text->length;
        TR_TRY(tr_buffer_add(text, in->text.data, in->text.length, err));
        for (size_t i = from; i < text->length; i++) {
            if (text->data[i] == '"') {
                quoted = !quoted;
                quote_at = quoted && im->line == first ? i : quote_at;
            }
        }
    } while (quoted);
    TR_TRY(tr_buffer_add(text, "", 0, err));
    *count = 0;
    char *at = text->data, *write;
    for (bool more = at != NULL; more; (*count)++) {
        if (*count == TR_IMPORT_COLUMNS) {
            status = tr_fail(err, TR_FORMAT, im->paths[im->path], "line %ld has more than %d columns", im->line,
                             TR_IMPORT_COLUMNS);
            goto done;
        }
        cells[*count] = write = at;
        for (quoted = false; *at && (quoted || *at != delimiter); at++) {
            if (*at != '"') {
                *write++ = *at;
            } else if (quoted && at[1] == '"') {
                *write++ = *at++;
            } else {
                quoted = !quoted;
            }
        }
        more = *at == delimiter;
        at += more;
        *write = 0;
    }
done:
    return status;
}

tr_status tr_import_each_record(tr_import *im, tr_import_record each, tr_error *err)
{
    char delimiter = tr_import_is(im, ".tsv") ? '\t' : ',';
    tr_import_table table = {0};
    tr_buffer header = {0}, text = {0};
    line_source in;
    size_t count;
    tr_status status;
    TR_TRY(open_lines(im, &in, err));
    TR_TRY(read_record(im, &in, delimiter, &header, table.names, &table.count, err));
    while (in.got) {
        TR_TRY(read_record(im, &in, delimiter, &text, table.cells, &count, err));
        if (!in.got) {
            break;
        }
        if (blank(&text)) {
            continue;
        }
        im->number++;
        tr_import_place(im, "%ld", im->line);
        if (count != table.count) {
            tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "%zu columns where the header has %zu", count, table.count);
            continue;
        }
        TR_TRY(each(im, &table, err));
    }
done:
    tr_buffer_free(&header);
    tr_buffer_free(&text);
    close_lines(&in);
    return status;
}

const char *tr_import_cell(const tr_import_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        if (!strcmp(table->names[i], name)) {
            return table->cells[i];
        }
    }
    return NULL;
}

tr_status tr_import_database(tr_import *im, const char *key, json_t *value, tr_import_each inside,
                             tr_import_each alone, tr_error *err)
{
    if (key && !strcmp(key, "database")) {
        return tr_import_each_value(im, value, inside, err);
    }
    const bool beside = key && (!strcmp(key, "version") || !strcmp(key, "VERSION") || !strcmp(key, "taxonomy"));
    return beside ? TR_OK : alone(im, key, value, err);
}
