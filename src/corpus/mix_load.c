/* mix_load.c: reads the sources of a mix once: which rows there are, of what task and video, and the files' hashes.
 *
 * Only a few numbers are kept of each row; the rows themselves are read again when they are written. */
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "corpus/mix_parts.h"
#include "corpus/rows.h"

#include <stdlib.h>
#include <string.h>

void mix_free(mix_state *mix)
{
    for (size_t i = 0; mix->files && i < mix->spec->count; i++) {
        free(mix->files[i].path);
        free(mix->files[i].exclude);
    }
    free(mix->files);
    free(mix->entries);
    check_names_free(&mix->videos);
}

static tr_status hash_file(const char *path, uint64_t *hash, int64_t *bytes, tr_error *err)
{
    tr_file_map map;
    tr_status status = tr_file_map_open(&map, path, err);
    if (!status) {
        *hash = tr_hash(map.data, map.size);
        *bytes = (int64_t)map.size;
        tr_file_map_close(&map);
    }
    return status;
}

/* The names of a list file, one a line, into numbers of a set of their own. */
static tr_status read_names(const char *path, check_names *names, tr_error *err)
{
    FILE *stream = fopen(path, "rb");
    tr_buffer line = {0};
    tr_status status =
        stream ? TR_OK : tr_fail(err, TR_NOT_FOUND, path, "cannot open the list of excluded videos %s", path);
    for (bool got = true; !status && got;) {
        size_t number;
        status = tr_file_read_line(stream, 1u << 16, &line, &got, err);
        while (!status && got && line.length && strchr(" \t\r", line.data[line.length - 1])) {
            line.data[--line.length] = 0;
        }
        if (!status && got && line.length) {
            status = check_names_add(names, line.data, &number, err);
        }
    }
    if (stream) {
        fclose(stream);
    }
    tr_buffer_free(&line);
    return status;
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* ids: sorted here. */
static tr_status refuse_duplicates(const mix_file *file, char **ids, size_t count, tr_error *err)
{
    if (count) {
        qsort(ids, count, sizeof *ids, compare_ids);
    }
    for (size_t i = 1; i < count; i++) {
        if (!strcmp(ids[i], ids[i - 1])) {
            return tr_fail(err, TR_FORMAT, file->path,
                           "the id \"%s\" stands there twice; tempr1 data check lists all", ids[i]);
        }
    }
    return TR_OK;
}

/* Keeps what is known of one row, if the source takes it. */
static tr_status keep(mix_state *mix, size_t source, const tr_row *row, int64_t offset, long before,
                      const check_names *excluded, tr_error *err)
{
    const tr_mix_source *s = &mix->spec->sources[source];
    mix_file *file = &mix->files[source];
    const char *split = json_string_value(json_object_get(row->json, "split"));
    mix_entry entry = {.source = source, .offset = offset, .before = before};
    tr_status status;
    file->rows++;
    TR_TRY(tr_task_from_name(row->task, &entry.task, err));
    if (s->split && (!split || strcmp(split, s->split) != 0)) {
        file->other_split++;
        goto done;
    }
    if (check_names_find(excluded, row->video)) {
        file->excluded++;
        goto done;
    }
    if (!s->tasks[entry.task].taken) {
        file->other_task++;
        goto done;
    }
    char *name = tr_path_join(s->videos, row->video);
    status = name ? check_names_add(&mix->videos, name, &entry.video, err)
                  : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    free(name);
    TR_TRY(status);
    uint32_t bits[4];
    uint64_t stream = tr_hash_text(s->name);
    tr_random_bits((uint64_t)mix->spec->seed, (uint32_t)stream, (uint32_t)(stream >> 32), (uint32_t)row->line,
                   (uint32_t)((uint64_t)row->line >> 32), bits);
    entry.key = (uint64_t)bits[0] << 32 | bits[1];
    TR_TRY(tr_grow(&mix->entries, &mix->capacity, mix->count + 1, sizeof *mix->entries, err));
    mix->entries[mix->count++] = entry;
    file->available[entry.task]++;
done:
    return status;
}

static tr_status load_source(mix_state *mix, size_t source, tr_error *err)
{
    const tr_mix_source *s = &mix->spec->sources[source];
    mix_file *file = &mix->files[source];
    tr_row_reader reader = {0};
    check_names excluded = {0};
    char **ids = NULL;
    size_t id_count = 0, id_capacity = 0;
    tr_status status = TR_OK;
    int64_t ignored;
    file->path = tr_path_join(mix->spec->folder, s->rows);
    file->exclude = s->exclude ? tr_path_join(mix->spec->folder, s->exclude) : NULL;
    if (!file->path || (s->exclude && !file->exclude)) {
        status = tr_fail(err, TR_MEMORY, s->rows, "out of memory");
        goto done;
    }
    TR_TRY(hash_file(file->path, &file->hash, &file->bytes, err));
    if (file->exclude) {
        TR_TRY(hash_file(file->exclude, &file->exclude_hash, &ignored, err));
        TR_TRY(read_names(file->exclude, &excluded, err));
    }
    TR_TRY(tr_row_reader_open(&reader, file->path, err));
    for (bool got = true; got;) {
        tr_row row;
        int64_t offset = (int64_t)ftello(reader.stream);
        long before = reader.line;
        TR_TRY(tr_row_reader_next(&reader, &row, &got, err));
        if (!got) {
            break;
        }
        status = tr_grow(&ids, &id_capacity, id_count + 1, sizeof *ids, err);
        if (!status && !(ids[id_count] = tr_strdup(row.id))) {
            status = tr_fail(err, TR_MEMORY, file->path, "out of memory");
        }
        id_count += !status;
        status = status ? status : keep(mix, source, &row, offset, before, &excluded, err);
        tr_row_free(&row);
        TR_TRY(status);
    }
    TR_TRY(refuse_duplicates(file, ids, id_count, err));
done:
    tr_row_reader_close(&reader);
    check_names_free(&excluded);
    for (size_t i = 0; i < id_count; i++) {
        free(ids[i]);
    }
    free(ids);
    return status;
}

tr_status mix_load(mix_state *mix, tr_error *err)
{
    tr_status status = TR_OK;
    if (!(mix->files = tr_calloc(mix->spec->count, sizeof *mix->files))) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for %zu sources", mix->spec->count);
    }
    for (size_t i = 0; !status && i < mix->spec->count; i++) {
        status = load_source(mix, i, err);
        if (status) {
            return tr_fail_context(err, status, "source '%s'", mix->spec->sources[i].name);
        }
    }
    return status;
}
