/* temporal_r1_rows.c: Temporal-R1's `datasets:` list and its annotation rows, as corpus rows.
 *
 * Not rebuilt from there: a folder belongs to its own entry (there to the `dataset` name of the first row),
 * random:N works, lengths come from the rows or the container, and rows that cannot be right are refused and
 * counted. */
#include "train/temporal_r1.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/yaml.h"
#include "corpus/import.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- paths ---- */

static char *absolute(const char *path)
{
    char here[4096];
    return path[0] == '/' ? tr_strdup(path) : getcwd(here, sizeof here) ? tr_path_join(here, path) : NULL;
}

tr_status tr_temporal_r1_find(const char *path, const char *beside, const char *where, char **found, tr_error *err)
{
    char *near = tr_path_directory(beside), *up = near ? tr_path_join(near, "..") : NULL;
    char *candidates[3] = {tr_strdup(path), near ? tr_path_join(near, path) : NULL,
                           up ? tr_path_join(up, path) : NULL};
    tr_status status =
        tr_fail(err, TR_NOT_FOUND, where, "%s is not there: looked in the current directory, in %s and above it",
                path, near ? near : ".");
    *found = NULL;
    for (int i = 0; i < 3 && status; i++) {
        if (candidates[i] && tr_file_exists(candidates[i])) {
            *found = absolute(candidates[i]);
            status = *found ? TR_OK : tr_fail(err, TR_MEMORY, where, "out of memory");
            break;
        }
    }
    for (int i = 0; i < 3; i++) {
        free(candidates[i]);
    }
    free(near);
    free(up);
    return status;
}

/* ---- strategies ---- */

/* "N" or "P%" of length; false when it is neither. */
static bool read_share(const char *text, size_t length, size_t *count)
{
    char *end;
    double value = strtod(text, &end);
    bool percent = end > text && !strcmp(end, "%");
    if (end == text || (*end && !percent) || !(value > 0) || !isfinite(value) ||
        (!percent && value != floor(value))) {
        return false;
    }
    value = percent ? ceil(value * (double)length / 100) : value;
    *count = value > (double)length ? length : (size_t)value;
    return true;
}

tr_status tr_temporal_r1_choose(const char *strategy, size_t length, uint64_t seed, uint32_t number, bool *chosen,
                                const char *where, tr_error *err)
{
    static const char *const names[] = {"first:", "end:", "random:"};
    size_t count = length, *order;
    int kind = -1;
    for (int i = 0; i < 3; i++) {
        kind = !strncmp(strategy, names[i], strlen(names[i])) ? i : kind;
    }
    if ((kind < 0 && strcmp(strategy, "all") != 0) ||
        (kind >= 0 && !read_share(strategy + strlen(names[kind]), length, &count))) {
        return tr_fail(err, TR_FORMAT, where,
                       "sampling_strategy must be all, first:N, end:N or random:N, N a count or a share as 10%%, "
                       "found '%s'",
                       strategy);
    }
    for (size_t i = 0; i < length; i++) {
        chosen[i] = kind == 1 ? i >= length - count : i < count;
    }
    if (kind != 2) {
        return TR_OK;
    }
    if (!(order = tr_calloc(length, sizeof *order))) {
        return tr_fail(err, TR_MEMORY, where, "out of memory");
    }
    tr_random_shuffle(seed, number, 0, length, order);
    memset(chosen, 0, length * sizeof *chosen);
    for (size_t i = 0; i < count; i++) {
        chosen[order[i]] = true;
    }
    free(order);
    return TR_OK;
}

/* ---- one entry ---- */

/* All rows of a file as text; *report owned. */
static tr_status import(const char *path, const char *videos, char **text, size_t *length, json_t **report,
                        tr_error *err)
{
    tr_import_options options = tr_import_options_default("temporal-r1");
    options.videos = videos;
    *text = NULL;
    FILE *out = open_memstream(text, length);
    if (!out) {
        return tr_fail(err, TR_MEMORY, path, "out of memory");
    }
    tr_status status = tr_import_files(&options, &path, 1, out, report, err);
    if (fclose(out) && !status) {
        status = tr_fail(err, TR_MEMORY, path, "out of memory");
    }
    if (status) {
        free(*text);
        *text = NULL;
    }
    return status;
}

static bool has_rule(const json_t *report, const char *name)
{
    size_t i;
    json_t *rule;
    json_array_foreach(json_object_get(report, "rules"), i, rule)
    {
        if (!strcmp(json_string_value(json_object_get(rule, "rule")), name)) {
            return true;
        }
    }
    return false;
}

/* The record that a row came from, from 0: its id ends with the number. */
static size_t record_of(const char *line, size_t length)
{
    json_t *row = NULL;
    size_t number = 0;
    if (!tr_json_parse(line, length, "row", 0, &row, NULL)) {
        const char *id = json_string_value(json_object_get(row, "id")), *slash = id ? strrchr(id, '/') : NULL;
        number = slash ? strtoul(slash + 1, NULL, 10) : 0;
    }
    json_decref(row);
    return number ? number - 1 : SIZE_MAX;
}

/* The lines whose records are chosen. */
static tr_status keep(const char *text, size_t length, const bool *chosen, size_t records, tr_buffer *out,
                      int64_t *count, tr_error *err)
{
    tr_status status = TR_OK;
    for (const char *end, *p = text; !status && p < text + length; p = end + 1) {
        end = memchr(p, '\n', (size_t)(text + length - p));
        end = end ? end : text + length;
        size_t record = record_of(p, (size_t)(end - p));
        if (record < records && chosen[record]) {
            status = tr_buffer_add(out, p, (size_t)(end - p), err);
            status = status ? status : tr_buffer_add_text(out, "\n", err);
            ++*count;
        }
    }
    return status;
}

/* A run's rows stay what they were when it began. */
static tr_status write_rows(const char *path, const tr_buffer *rows, tr_error *err)
{
    tr_buffer before = {0};
    tr_status status = TR_OK;
    if (tr_file_exists(path)) {
        status = tr_file_read(path, 0, &before, err);
        if (!status && (before.length != rows->length || memcmp(before.data, rows->data, rows->length) != 0)) {
            status =
                tr_fail(err, TR_INVALID, path,
                        "this folder holds the rows of a run from other annotations: another 'out' starts a new "
                        "run");
        }
        tr_buffer_free(&before);
        return status;
    }
    return tr_file_write_atomic(path, rows->data, rows->length, err);
}

typedef struct entry {
    const char *json_path, *data_folder, *strategy;
    char *annotations, *videos; /* found, owned */
    char where[512];
} entry;

static tr_status read_entry(const json_t *item, const char *list_path, size_t i, entry *e, tr_error *err)
{
    const char *key;
    json_t *value;
    tr_status status;
    *e = (entry){.strategy = "all"};
    snprintf(e->where, sizeof e->where, "%.450s: datasets.%zu", list_path, i);
    if (!json_is_object(item)) {
        return tr_fail(err, TR_FORMAT, e->where, "must be a mapping, found %s", tr_json_type_name(item));
    }
    json_object_foreach((json_t *)(uintptr_t)item, key, value)
    {
        if (strcmp(key, "json_path") != 0 && strcmp(key, "data_folder") != 0 &&
            strcmp(key, "sampling_strategy") != 0) {
            return tr_fail(err, TR_FORMAT, e->where,
                           "unknown key '%s': there are json_path, data_folder and sampling_strategy", key);
        }
    }
    TR_TRY(tr_json_get_string(item, "json_path", true, e->where, &e->json_path, err));
    TR_TRY(tr_json_get_string(item, "data_folder", true, e->where, &e->data_folder, err));
    TR_TRY(tr_json_get_string(item, "sampling_strategy", false, e->where, &e->strategy, err));
    size_t n = strlen(e->json_path);
    if ((n < 5 || strcmp(e->json_path + n - 5, ".json") != 0) &&
        (n < 6 || strcmp(e->json_path + n - 6, ".jsonl") != 0)) {
        status =
            tr_fail(err, TR_FORMAT, e->where, "json_path must end in .json or .jsonl, found '%s'", e->json_path);
        goto done;
    }
    TR_TRY(tr_temporal_r1_find(e->json_path, list_path, e->where, &e->annotations, err));
    TR_TRY(tr_temporal_r1_find(e->data_folder, list_path, e->where, &e->videos, err));
done:
    return status;
}

static tr_status take_entry(const entry *e, const char *path, uint64_t seed, size_t number, int64_t *count,
                            tr_buffer *notes, tr_error *err)
{
    char *text = NULL;
    size_t length = 0;
    json_t *report = NULL;
    bool *chosen = NULL;
    tr_buffer rows = {0};
    int64_t taken = 0;
    tr_status status = import(e->annotations, NULL, &text, &length, &report, err);
    if (status == TR_FORMAT || (!status && has_rule(report, "no-length"))) { /* the containers know */
        free(text);
        json_decref(report);
        report = NULL;
        status = import(e->annotations, e->videos, &text, &length, &report, err);
    }
    TR_TRY(status);
    size_t records = (size_t)json_integer_value(json_object_get(report, "records"));
    chosen = tr_calloc(records, sizeof *chosen);
    TR_TRY(chosen ? TR_OK : tr_fail(err, TR_MEMORY, e->where, "out of memory"));
    TR_TRY(tr_temporal_r1_choose(e->strategy, records, seed, (uint32_t)number, chosen, e->where, err));
    TR_TRY(keep(text, length, chosen, records, &rows, &taken, err));
    if (!taken) {
        status = tr_fail(err, TR_INVALID, e->where, "no row is left of %zu records (sampling_strategy %s)", records,
                         e->strategy);
        goto done;
    }
    TR_TRY(write_rows(path, &rows, err));
    TR_TRY(tr_buffer_printf(notes, err, "%s, %s: %lld rows in %s\n", e->annotations, e->strategy, (long long)taken,
                            path));
    TR_TRY(tr_import_report_text(report, notes, err));
    *count += taken;
done:
    free(text);
    free(chosen);
    json_decref(report);
    tr_buffer_free(&rows);
    return status;
}

tr_status tr_temporal_r1_rows(const char *list_path, const char *folder, const char *name, uint64_t seed,
                              json_t *entries, int64_t *count, tr_buffer *notes, tr_error *err)
{
    json_t *root = NULL, *item;
    size_t i;
    tr_status status = tr_yaml_read(list_path, &root, NULL, err);
    const json_t *list = json_object_get(root, "datasets");
    if (!status && !json_array_size(list)) {
        status = tr_fail(err, TR_FORMAT, list_path,
                         "expected `datasets:`, a list of {json_path, data_folder, sampling_strategy}, found %s",
                         list ? tr_json_type_name(list) : "none");
    }
    status = status ? status : tr_directory_make(folder, err);
    json_array_foreach(list, i, item)
    {
        entry e = {0};
        char *path = tr_format("%s/%s-%zu.jsonl", folder, name, i);
        if (!status) {
            status =
                path ? read_entry(item, list_path, i, &e, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
        }
        status = status ? status : take_entry(&e, path, seed, i, count, notes, err);
        if (!status) {
            json_array_append_new(entries, json_pack("{s:s,s:s}", "rows", path, "videos", e.videos));
        }
        free(path);
        free(e.annotations);
        free(e.videos);
    }
    json_decref(root);
    return status;
}
