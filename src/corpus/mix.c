/* mix.c: makes a mix: chosen rows in a shuffled order, and the manifest that holds what they came from. */
#include "corpus/mix.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "corpus/mix_parts.h"
#include "corpus/rows.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const manifest_format = "tempr1 mix 1";

static json_t *hash_json(uint64_t hash)
{
    return json_sprintf("%016" PRIx64, hash);
}

/* ---- the manifest ---- */

static json_t *tasks_json(const mix_file *file)
{
    json_t *tasks = json_object();
    for (int t = 0; tasks && t < TR_TASK_COUNT; t++) {
        if (file->available[t] || file->asked[t]) {
            json_object_set_new(tasks, tr_task_name((tr_task)t),
                                json_pack("{s:I, s:I, s:I}", "available", (json_int_t)file->available[t], "rows",
                                          (json_int_t)file->taken[t], "different", (json_int_t)file->distinct[t]));
        }
    }
    return tasks;
}

/* What the inputs are: everything of the manifest but the result. */
static json_t *inputs_json(const mix_state *mix)
{
    const tr_mix_spec *spec = mix->spec;
    json_t *sources = json_array();
    for (size_t i = 0; sources && i < spec->count; i++) {
        const tr_mix_source *s = &spec->sources[i];
        const mix_file *file = &mix->files[i];
        json_t *one = json_pack("{s:s, s:s, s:I, s:I, s:o, s:I, s:I, s:I}", "name", s->name, "file", s->rows,
                                "bytes", (json_int_t)file->bytes, "lines", (json_int_t)file->rows, "xxh3",
                                hash_json(file->hash), "other_split", (json_int_t)file->other_split, "excluded",
                                (json_int_t)file->excluded, "other_task", (json_int_t)file->other_task);
        if (one && s->exclude) {
            json_object_set_new(one, "exclude", json_string(s->exclude));
            json_object_set_new(one, "exclude_xxh3", hash_json(file->exclude_hash));
        }
        if (!one || json_array_append_new(sources, one)) {
            json_decref(sources);
            return NULL;
        }
    }
    return json_pack("{s:s, s:s, s:o, s:I, s:o}", "format", manifest_format, "specification", spec->path,
                     "specification_xxh3", hash_json(spec->hash), "seed", (json_int_t)spec->seed, "sources",
                     sources);
}

static const json_t *find_source(const json_t *manifest, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(manifest, "sources"), i, item)
    {
        const char *text = json_string_value(json_object_get(item, "name"));
        if (text && !strcmp(text, name)) {
            return item;
        }
    }
    return NULL;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "none";
}

/* Says what differs between an old manifest's inputs and the new ones; *changes stays empty when nothing does. */
static tr_status compare_inputs(const json_t *old, const json_t *now, tr_buffer *changes, tr_error *err)
{
    tr_status status = TR_OK;
    size_t i;
    json_t *item;
    if (strcmp(text_of(old, "specification_xxh3"), text_of(now, "specification_xxh3")) != 0) {
        TR_TRY(tr_buffer_printf(changes, err, "; the specification is another one"));
    }
    json_array_foreach(json_object_get(now, "sources"), i, item)
    {
        const char *name = text_of(item, "name");
        const json_t *was = find_source(old, name);
        if (!was) {
            TR_TRY(tr_buffer_printf(changes, err, "; the source '%s' is new", name));
        } else if (strcmp(text_of(was, "xxh3"), text_of(item, "xxh3")) != 0) {
            TR_TRY(tr_buffer_printf(
                changes, err,
                "; the file of the source '%s' has changed (%s: %" JSON_INTEGER_FORMAT " rows, xxh3 "
                "%s; was %" JSON_INTEGER_FORMAT " rows, %s)",
                name, text_of(item, "file"), json_integer_value(json_object_get(item, "lines")),
                text_of(item, "xxh3"), json_integer_value(json_object_get(was, "lines")), text_of(was, "xxh3")));
        } else if (strcmp(text_of(was, "exclude_xxh3"), text_of(item, "exclude_xxh3")) != 0) {
            TR_TRY(tr_buffer_printf(changes, err, "; the excluded videos of the source '%s' have changed", name));
        }
    }
    json_array_foreach(json_object_get(old, "sources"), i, item)
    {
        if (!find_source(now, text_of(item, "name"))) {
            TR_TRY(tr_buffer_printf(changes, err, "; the source '%s' is gone", text_of(item, "name")));
        }
    }
done:
    return status;
}

/* ---- rows ---- */

/* Takes "." and ".." out of an absolute path, in place. */
static void tidy(char *path)
{
    size_t length = 0;
    for (char *p = path; *p;) {
        size_t n = strcspn(p + 1, "/") + 1; /* "/part" */
        if (n == 3 && !strncmp(p, "/..", 3)) {
            while (length && path[--length] != '/') {
            }
        } else if (n > 1 && !(n == 2 && p[1] == '.')) {
            memmove(path + length, p, n);
            length += n;
        }
        p += n;
    }
    path[length] = 0;
}

/* The absolute path, free() frees it, NULL when memory is out. real: as the file system resolves it; else links
 * keep their names, so that a mix does not depend on where somebody keeps the videos behind a link. */
static char *absolute(const char *path, bool real)
{
    char *found = real ? realpath(path, NULL) : NULL, here[PATH_MAX];
    if (!found) {
        found = path[0] == '/'              ? tr_strdup(path)
                : getcwd(here, sizeof here) ? tr_format("%s/%s", here, path)
                                            : NULL;
        if (found) {
            tidy(found);
        }
    }
    return found;
}

/* `to` as seen from the folder `from`, both absolute; free() frees it. */
static char *relative(const char *from, const char *to)
{
    size_t common = 0, up = 0;
    for (size_t i = 0;; i++) {
        bool end_from = !from[i] || from[i] == '/', end_to = !to[i] || to[i] == '/';
        if (end_from && end_to) {
            common = i;
        }
        if (!from[i] || !to[i] || from[i] != to[i]) {
            break;
        }
    }
    for (const char *p = from + common; *p; p++) {
        up += *p == '/' && p[1];
    }
    const char *rest = to[common] == '/' ? to + common + 1 : to + common;
    tr_buffer text = {0};
    bool failed = false;
    for (size_t i = 0; i < up; i++) {
        failed |= tr_buffer_add_text(&text, i ? "/.." : "..", NULL) != TR_OK;
    }
    if (*rest) {
        failed |= tr_buffer_printf(&text, NULL, "%s%s", up ? "/" : "", rest) != TR_OK;
    }
    char *result = failed ? NULL : tr_strdup(text.length ? text.data : ".");
    tr_buffer_free(&text);
    return result;
}

typedef struct pick {
    size_t entry;
    int64_t copy;
    uint64_t key;
} pick;

static int compare_picks(const void *a, const void *b)
{
    const pick *x = a, *y = b;
    int c = (x->key > y->key) - (x->key < y->key);
    c = c ? c : (x->entry > y->entry) - (x->entry < y->entry);
    return c ? c : (x->copy > y->copy) - (x->copy < y->copy);
}

/* All chosen rows and copies in the order they are written. */
static tr_status order_picks(const mix_state *mix, pick **picks, size_t *count, tr_error *err)
{
    int64_t total = 0;
    for (size_t i = 0; i < mix->count; i++) {
        total += mix->entries[i].copies;
    }
    *count = 0;
    if (!(*picks = tr_calloc((size_t)total, sizeof **picks))) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for %lld rows", (long long)total);
    }
    for (size_t i = 0; i < mix->count; i++) {
        for (int64_t copy = 0; copy < mix->entries[i].copies; copy++) {
            uint64_t key = mix->entries[i].key;
            uint32_t bits[4];
            tr_random_bits((uint64_t)mix->spec->seed, (uint32_t)key, (uint32_t)(key >> 32), (uint32_t)copy, 1,
                           bits);
            (*picks)[(*count)++] = (pick){i, copy, (uint64_t)bits[0] << 32 | bits[1]};
        }
    }
    if (*count) {
        qsort(*picks, *count, sizeof **picks, compare_picks);
    }
    return TR_OK;
}

/* Changes a row's id and video for the mix: ids of different sources never meet. videos: the source's folder as
 * seen from the mix, or NULL. */
static tr_status adapt_row(const tr_mix_source *s, const tr_row *row, int64_t copy, const char *videos,
                           tr_error *err)
{
    char *video = videos ? tr_path_join(videos, row->video) : tr_strdup(row->video);
    json_t *from = json_pack("{s:s, s:s}", "source", s->name, "id", row->id);
    json_t *id = copy ? json_sprintf("%s/%s#%lld", s->name, row->id, (long long)copy + 1)
                      : json_sprintf("%s/%s", s->name, row->id);
    bool failed = !video || json_object_set_new(row->json, "video", json_string(video)) ||
                  json_object_set(row->json, "id", id) || json_object_set(row->json, "mix", from);
    free(video);
    json_decref(id);
    json_decref(from);
    return failed ? tr_fail(err, TR_MEMORY, NULL, "out of memory") : TR_OK;
}

static tr_status write_pick(const mix_state *mix, const pick *p, tr_row_reader *readers, char *const *videos,
                            FILE *stream, tr_error *err)
{
    const mix_entry *e = &mix->entries[p->entry];
    tr_row_reader *reader = &readers[e->source];
    tr_row row = {0};
    bool got;
    tr_status status;
    if (fseeko(reader->stream, (off_t)e->offset, SEEK_SET)) {
        return tr_fail(err, TR_IO, reader->path, "cannot read it a second time");
    }
    reader->line = e->before;
    TR_TRY(tr_row_reader_next(reader, &row, &got, err));
    if (!got) {
        return tr_fail(err, TR_MISMATCH, reader->path, "it changed while the mix was made");
    }
    TR_TRY(adapt_row(&mix->spec->sources[e->source], &row, p->copy, videos[e->source], err));
    TR_TRY(tr_row_write(stream, row.json, err));
done:
    tr_row_free(&row);
    return status;
}

/* Writes all picks to the writer's temporary file. */
static tr_status write_rows(const mix_state *mix, const char *out, const pick *picks, size_t count, FILE *stream,
                            tr_error *err)
{
    size_t sources = mix->spec->count;
    tr_row_reader *readers = tr_calloc(sources, sizeof *readers);
    char **videos = tr_calloc(sources, sizeof *videos), *folder = tr_path_directory(out), *here = NULL;
    tr_status status = TR_OK;
    here = folder ? absolute(folder, true) : NULL; /* ".." climbs real folders */
    if (!readers || !videos || !here) {
        status = tr_fail(err, TR_MEMORY, out, "out of memory");
        goto done;
    }
    for (size_t i = 0; i < sources; i++) {
        const tr_mix_source *s = &mix->spec->sources[i];
        TR_TRY(tr_row_reader_open(&readers[i], mix->files[i].path, err));
        if (s->videos) {
            char *joined = tr_path_join(mix->spec->folder, s->videos),
                 *whole = joined ? absolute(joined, false) : NULL;
            videos[i] = !whole ? NULL : s->videos[0] == '/' ? tr_strdup(s->videos) : relative(here, whole);
            free(joined);
            free(whole);
            if (!videos[i]) {
                status = tr_fail(err, TR_MEMORY, out, "out of memory");
                goto done;
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        TR_TRY(write_pick(mix, &picks[i], readers, videos, stream, err));
    }
    if (fflush(stream)) {
        status = tr_fail(err, TR_IO, out, "cannot write the rows: is the disk full?");
    }
done:
    for (size_t i = 0; i < sources; i++) {
        if (readers) {
            tr_row_reader_close(&readers[i]);
        }
        free(videos ? videos[i] : NULL);
    }
    free(readers);
    free(videos);
    free(folder);
    free(here);
    return status;
}

static tr_status hash_of(const char *path, uint64_t *hash, tr_error *err)
{
    tr_file_map map;
    tr_status status = tr_file_map_open(&map, path, err);
    if (!status) {
        *hash = tr_hash(map.data, map.size);
        tr_file_map_close(&map);
    }
    return status;
}

/* ---- making it ---- */

/* Adds the result to the manifest. */
static tr_status add_result(const mix_state *mix, size_t rows, uint64_t hash, const char *made, json_t *manifest,
                            tr_error *err)
{
    bool *seen = tr_calloc(mix->videos.count, sizeof *seen);
    json_int_t videos = 0;
    size_t i;
    json_t *source;
    if (!seen) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    for (size_t k = 0; k < mix->count; k++) {
        const mix_entry *e = &mix->entries[k];
        videos += e->copies && !seen[e->video];
        seen[e->video] |= e->copies > 0;
    }
    free(seen);
    json_array_foreach(json_object_get(manifest, "sources"), i, source)
    {
        json_object_set_new(source, "tasks", tasks_json(&mix->files[i]));
    }
    int failed = json_object_set_new(manifest, "rows", json_integer((json_int_t)rows)) ||
                 json_object_set_new(manifest, "videos", json_integer(videos)) ||
                 json_object_set_new(manifest, "xxh3", hash_json(hash)) ||
                 json_object_set_new(manifest, "made", json_string(made));
    return failed ? tr_fail(err, TR_MEMORY, NULL, "out of memory") : TR_OK;
}

/* Reads the manifest to compare with, if there is one; *old NULL otherwise. */
static tr_status read_old(const tr_mix_options *o, const char *own, json_t **old, tr_error *err)
{
    const char *path = o->manifest ? o->manifest : own;
    *old = NULL;
    if (!o->manifest && !tr_file_exists(own)) {
        return o->check ? tr_fail(err, TR_NOT_FOUND, own, "there is no manifest to compare with") : TR_OK;
    }
    tr_status status = tr_json_read(path, old, err);
    if (!status && strcmp(text_of(*old, "format"), manifest_format) != 0) {
        json_decref(*old);
        *old = NULL;
        status =
            tr_fail(err, TR_FORMAT, path, "is not the manifest of a mix (\"format\": \"%s\")", manifest_format);
    }
    return status;
}

/* Whether the rows on disk are those of the manifest: 1 yes, 0 other rows, -1 no file. */
static int compare_rows(const char *out, const json_t *manifest)
{
    uint64_t hash;
    char text[24];
    if (!tr_file_exists(out) || hash_of(out, &hash, NULL)) {
        return -1;
    }
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    return !strcmp(text, text_of(manifest, "xxh3"));
}

static tr_status refuse(const tr_mix_options *o, const char *what, tr_error *err)
{
    return tr_fail(err, TR_MISMATCH, o->manifest ? o->manifest : o->out, "%s; --accept-changes makes the mix anew",
                   what);
}

/* Whether two paths are one file, whatever they are called. */
static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return a && b && !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* The mix never replaces what it is made from, nor a file that is no mix. */
static tr_status check_target(const mix_state *mix, const tr_mix_options *o, const char *own, tr_error *err)
{
    bool input = same_file(o->out, mix->spec->path) || same_file(own, mix->spec->path);
    for (size_t i = 0; i < mix->spec->count; i++) {
        input |= same_file(o->out, mix->files[i].path) || same_file(o->out, mix->files[i].exclude);
    }
    if (input) {
        return tr_fail(err, TR_INVALID, o->out,
                       "the mix would replace a file that it is made from; take another name");
    }
    if (tr_file_exists(o->out) && !tr_file_exists(own) && !o->accept_changes) {
        return tr_fail(
            err, TR_MISMATCH, o->out,
            "there is a file already, without the manifest of a mix beside it; take another name, or replace "
            "it with --accept-changes");
    }
    return TR_OK;
}

/* Chooses and writes the rows and the manifest. old NULL: nothing to hold them against. */
static tr_status make(mix_state *mix, const tr_mix_options *o, const char *own, const json_t *old, const char *made,
                      json_t *manifest, tr_error *err)
{
    tr_file_writer writer = {0};
    pick *picks = NULL;
    size_t count = 0;
    uint64_t hash = 0;
    char *folder = tr_path_directory(o->out);
    tr_status status = folder ? tr_directory_make(folder, err) : tr_fail(err, TR_MEMORY, o->out, "out of memory");
    free(folder);
    TR_TRY(status);
    TR_TRY(mix_choose(mix, err));
    TR_TRY(order_picks(mix, &picks, &count, err));
    if (!count) {
        status = tr_fail(err, TR_INVALID, mix->spec->path, "the mix has no rows");
        goto done;
    }
    TR_TRY(tr_file_writer_open(&writer, o->out, err));
    TR_TRY(write_rows(mix, o->out, picks, count, writer.stream, err));
    TR_TRY(hash_of(writer.temporary, &hash, err));
    TR_TRY(add_result(mix, count, hash, made, manifest, err));
    if (old && !strcmp(made, "again") && strcmp(text_of(old, "xxh3"), text_of(manifest, "xxh3")) != 0 &&
        !o->accept_changes) {
        status =
            refuse(o,
                   "the same specification and sources give other rows here than the manifest says (was it made "
                   "elsewhere, with other folders, or by another version?)",
                   err);
        goto done;
    }
    status = tr_file_writer_commit(&writer, err);
    writer = (tr_file_writer){0};
    TR_TRY(status);
    json_object_del(manifest, "made");
    TR_TRY(tr_json_write(own, manifest, err));
    json_object_set_new(manifest, "made", json_string(made));
done:
    tr_file_writer_abandon(&writer);
    free(picks);
    return status;
}

tr_status tr_mix_make(const tr_mix_spec *spec, const tr_mix_options *o, json_t **manifest, tr_error *err)
{
    mix_state mix = {.spec = spec};
    char *own = tr_format("%s.manifest.json", o->out);
    json_t *old = NULL;
    tr_buffer changes = {0};
    tr_status status = own ? TR_OK : tr_fail(err, TR_MEMORY, o->out, "out of memory");
    *manifest = NULL;
    TR_TRY(status);
    TR_TRY(read_old(o, own, &old, err));
    TR_TRY(mix_load(&mix, err));
    TR_TRY(check_target(&mix, o, own, err));
    if (!(*manifest = inputs_json(&mix))) {
        status = tr_fail(err, TR_MEMORY, o->out, "no memory for the manifest");
        goto done;
    }
    if (old) {
        TR_TRY(compare_inputs(old, *manifest, &changes, err));
    }
    int same = old ? compare_rows(o->out, old) : -1;
    if (changes.length && (!o->accept_changes || o->check)) {
        status = refuse(o, changes.data + 2, err);
    } else if (!changes.length && same == 0 && !o->manifest && (!o->accept_changes || o->check)) {
        status = refuse(o, "the rows on disk are not those of the manifest: they were changed by hand", err);
    } else if (!changes.length && (same > 0 || o->check)) {
        if (o->check && same < 0) {
            status =
                tr_fail(err, TR_NOT_FOUND, o->out, "the rows are not there; the sources are as the manifest says");
        }
        json_decref(*manifest);
        *manifest = json_deep_copy(old);
        json_object_set_new(*manifest, "made", json_string("unchanged"));
    } else {
        status = make(&mix, o, own, old, !old ? "new" : changes.length ? "changed" : "again", *manifest, err);
    }
done:
    if (status) {
        json_decref(*manifest);
        *manifest = NULL;
    }
    json_decref(old);
    tr_buffer_free(&changes);
    mix_free(&mix);
    free(own);
    return status;
}
