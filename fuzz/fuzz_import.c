/* fuzz_import.c: every importer on arbitrary bytes. Modules: corpus
 *
 * The first byte chooses the source, the second the task and the kinds of two files, the rest is their contents,
 * cut at the first NUL. Beside crashes and sanitizer findings it checks what must always hold: an error has a
 * message, every row written reads back, and records = rows + refused. */
#include "corpus/import.h"
#include "corpus/rows.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(x) ((x) ? (void)0 : abort())

static char folder[] = "/tmp/fuzz_import_XXXXXX";
static char paths[2][64];

static void remove_files(void)
{
    for (int i = 0; i < 2; i++) {
        unlink(paths[i]);
    }
    rmdir(folder);
}

static void put(int i, unsigned kind, const unsigned char *data, size_t size)
{
    static const char *const kinds[] = {"json", "jsonl", "csv", "txt"};
    if (paths[i][0]) {
        unlink(paths[i]);
    }
    snprintf(paths[i], sizeof paths[i], "%s/%s.%s", folder, i ? "groundtruth" : "train", kinds[kind & 3]);
    FILE *stream = fopen(paths[i], "wb");
    CHECK(stream && fwrite(data, 1, size, stream) == size && !fclose(stream));
}

static void check_rows(char *text)
{
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        json_t *json;
        tr_row row;
        CHECK(!tr_json_parse(line, (size_t)(end - line), "row", 0, &json, NULL));
        CHECK(!tr_row_from_json(json, "row", 1, &row, NULL));
        tr_row_free(&row);
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const char *const tasks[] = {NULL, "tg", "dtg", "qa"};
    static bool ready;
    size_t sources, length;
    const tr_import_source *table = tr_import_sources(&sources);
    if (!ready) {
        CHECK(mkdtemp(folder));
        atexit(remove_files);
        ready = true;
    }
    if (size < 2) {
        return 0;
    }
    tr_import_options o = tr_import_options_default(table[data[0] % sources].name);
    o.task = tasks[data[1] >> 4 & 3];
    const unsigned char *body = data + 2, *cut = size > 2 ? memchr(body, 0, size - 2) : NULL;
    size_t first = cut ? (size_t)(cut - body) : size - 2;
    put(0, data[1], body, first);
    put(1, data[1] >> 2, cut ? cut + 1 : body, cut ? size - 3 - first : 0);
    const char *both[] = {paths[0], paths[1]};
    char *rows = NULL;
    json_t *report = NULL;
    tr_error err = {0};
    FILE *out = open_memstream(&rows, &length);
    CHECK(out);
    tr_status status = tr_import_files(&o, both, cut ? 2 : 1, out, &report, &err);
    CHECK(!fclose(out));
    CHECK(!status == !err.message[0]);
    if (!status) {
        json_int_t kept = json_integer_value(json_object_get(report, "rows"));
        tr_buffer text = {0};
        check_rows(rows);
        CHECK(kept > 0 && json_integer_value(json_object_get(report, "records")) ==
                              kept + json_integer_value(json_object_get(report, "refused")));
        CHECK(!tr_import_report_text(report, &text, NULL));
        tr_buffer_free(&text);
    }
    json_decref(report);
    free(rows);
    return 0;
}
