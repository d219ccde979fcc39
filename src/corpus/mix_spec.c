/* mix_spec.c: reads the YAML of a mix. Every error names its line; unknown keys name the nearest known one. */
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/yaml.h"
#include "corpus/mix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const top_keys[] = {"seed", "total", "per_video", "sources"};
static const char *const source_keys[] = {"name",  "rows",   "videos", "exclude",   "split",
                                          "tasks", "weight", "count",  "per_video", "repeat"};
static const char *const task_keys[] = {"weight", "count", "per_video"};
#define COUNT(list) (sizeof(list) / sizeof *(list))

typedef struct reader {
    const char *name;
    const tr_yaml_places *places;
    tr_error *err;
} reader;

/* "file:line" of the nearest place at or above path. */
static const char *place(const reader *r, const char *path, char *where, size_t size)
{
    char up[512];
    int line = 0;
    snprintf(up, sizeof up, "%s", path);
    while (up[0] && !(line = tr_yaml_line(r->places, up))) {
        *strrchr(up, '/') = 0;
    }
    snprintf(where, size, line ? "%s:%d" : "%s", r->name, line);
    return where;
}

static tr_status wrong(const reader *r, const char *path, const char *expected, const json_t *found)
{
    char where[512], value[96];
    if (json_is_number(found)) {
        snprintf(value, sizeof value, "%.10g", json_number_value(found));
    } else if (json_is_string(found)) {
        snprintf(value, sizeof value, "'%s'", json_string_value(found));
    } else {
        snprintf(value, sizeof value, "%s", found ? tr_json_type_name(found) : "nothing");
    }
    return tr_fail(r->err, TR_FORMAT, place(r, path, where, sizeof where), "%s must be %s, found %s", path + 1,
                   expected, value);
}

static tr_status check_keys(const reader *r, const char *path, json_t *object, const char *const *keys,
                            size_t count)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        bool known = false;
        char full[512], where[512];
        for (size_t i = 0; i < count; i++) {
            known |= !strcmp(keys[i], key);
        }
        if (!known) {
            const char *near = tr_nearest(key, keys, count);
            snprintf(full, sizeof full, "%s/%s", path, key);
            return tr_fail(r->err, TR_FORMAT, place(r, full, where, sizeof where), "unknown key '%s'%s%s%s%s", key,
                           near ? " (did you mean '" : "; the keys here are ", near ? near : "", near ? "'?)" : "",
                           near                ? ""
                           : keys == task_keys ? "weight, count and per_video"
                           : keys == top_keys  ? "seed, total, per_video and sources"
                                               : "name, rows, videos, exclude, split, tasks, weight, count, "
                                                 "per_video and repeat");
        }
    }
    return TR_OK;
}

static tr_status get_count(const reader *r, const char *path, const char *key, const json_t *object, int64_t least,
                           int64_t *out)
{
    const json_t *value = json_object_get(object, key);
    char full[512], expected[64];
    if (!value || json_is_null(value)) {
        return TR_OK;
    }
    if (!json_is_integer(value) || json_integer_value(value) < least ||
        json_integer_value(value) > INT64_C(1) << 40) {
        snprintf(full, sizeof full, "%s/%s", path, key);
        snprintf(expected, sizeof expected, "an integer of at least %lld", (long long)least);
        return wrong(r, full, expected, value);
    }
    *out = json_integer_value(value);
    return TR_OK;
}

static tr_status get_weight(const reader *r, const char *path, const json_t *value, double *out)
{
    if (!value || json_is_null(value)) {
        return TR_OK;
    }
    double weight = json_is_number(value) ? json_number_value(value) : NAN;
    if (!(weight > 0) || !isfinite(weight)) {
        return wrong(r, path, "a number above 0", value);
    }
    *out = weight;
    return TR_OK;
}

static tr_status get_text(const reader *r, const char *path, const char *key, const json_t *object, char **out)
{
    const json_t *value = json_object_get(object, key);
    char full[512];
    if (!value || json_is_null(value)) {
        return TR_OK;
    }
    if (!json_is_string(value) || !json_string_length(value)) {
        snprintf(full, sizeof full, "%s/%s", path, key);
        return wrong(r, full, "a text", value);
    }
    *out = tr_strdup(json_string_value(value));
    return *out ? TR_OK : tr_fail(r->err, TR_MEMORY, r->name, "out of memory");
}

/* One entry of `tasks`: a number is a weight. */
static tr_status read_task(const reader *r, const char *path, const char *name, const json_t *value,
                           tr_mix_source *source)
{
    char full[512], where[512];
    tr_task task;
    snprintf(full, sizeof full, "%s/%s", path, name);
    tr_status status = tr_task_from_name(name, &task, r->err);
    if (status) {
        if (r->err) {
            place(r, full, r->err->where, sizeof r->err->where);
        }
        return status;
    }
    tr_mix_task *out = &source->tasks[task];
    out->taken = true;
    if (!value || json_is_number(value)) {
        return get_weight(r, full, value, &out->weight);
    }
    if (!json_is_object(value)) {
        return wrong(r, full, "a weight, or a mapping with weight or count", value);
    }
    TR_TRY(check_keys(r, full, (json_t *)(uintptr_t)value, task_keys, COUNT(task_keys)));
    TR_TRY(get_count(r, full, "count", value, 0, &out->count));
    TR_TRY(get_count(r, full, "per_video", value, 1, &out->per_video));
    snprintf(where, sizeof where, "%s/weight", full);
    TR_TRY(get_weight(r, where, json_object_get(value, "weight"), &out->weight));
    if (out->weight > 0 && out->count >= 0) {
        status = tr_fail(r->err, TR_INVALID, place(r, full, where, sizeof where),
                         "%s has both a weight and a count; give one of them", full + 1);
    }
done:
    return status;
}

static tr_status read_tasks(const reader *r, const char *path, const json_t *source_json, tr_mix_source *source)
{
    json_t *tasks = json_object_get(source_json, "tasks"), *value;
    char full[512];
    const char *key;
    size_t index, plain = 0, named = 0;
    tr_status status = TR_OK;
    snprintf(full, sizeof full, "%s/tasks", path);
    for (int t = 0; t < TR_TASK_COUNT; t++) {
        source->tasks[t] = (tr_mix_task){.taken = !tasks || json_is_null(tasks), .count = TR_MIX_ALL};
    }
    if (json_is_array(tasks)) {
        json_array_foreach(tasks, index, value)
        {
            if (!json_is_string(value)) {
                return wrong(r, full, "a list of tasks", value);
            }
            TR_TRY(read_task(r, full, json_string_value(value), NULL, source));
        }
    } else if (json_is_object(tasks)) {
        json_object_foreach(tasks, key, value)
        {
            TR_TRY(read_task(r, full, key, json_is_null(value) ? NULL : value, source));
        }
    } else if (tasks && !json_is_null(tasks)) {
        return wrong(r, full, "a list of tasks, or a mapping from tasks to weights", tasks);
    }
    for (int t = 0; t < TR_TASK_COUNT; t++) {
        bool given = source->tasks[t].weight > 0 || source->tasks[t].count >= 0;
        named += source->tasks[t].taken && given;
        plain += source->tasks[t].taken && !given;
    }
    source->by_task = named > 0;
    if (named && plain) {
        char where[512];
        status = tr_fail(r->err, TR_INVALID, place(r, full, where, sizeof where),
                         "some tasks have a weight or a count and others have none; give one to each");
    } else if (!named && !plain) {
        status = wrong(r, full, "at least one task", tasks);
    }
done:
    return status;
}

static tr_status name_source(const reader *r, tr_mix_source *source)
{
    if (!source->name) { /* the file's name without its ending */
        const char *slash = strrchr(source->rows, '/'), *base = slash ? slash + 1 : source->rows;
        const char *dot = strrchr(base, '.');
        source->name = tr_strndup(base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
    }
    return source->name ? TR_OK : tr_fail(r->err, TR_MEMORY, r->name, "out of memory");
}

static tr_status read_source(const reader *r, const char *path, json_t *object, tr_mix_source *source)
{
    char full[512], where[512];
    tr_status status;
    const json_t *repeat = json_object_get(object, "repeat");
    source->count = TR_MIX_ALL;
    if (!json_is_object(object)) {
        return wrong(r, path, "a mapping such as {rows: FILE, weight: 1}", object);
    }
    TR_TRY(check_keys(r, path, object, source_keys, COUNT(source_keys)));
    TR_TRY(get_text(r, path, "name", object, &source->name));
    TR_TRY(get_text(r, path, "rows", object, &source->rows));
    TR_TRY(get_text(r, path, "videos", object, &source->videos));
    TR_TRY(get_text(r, path, "exclude", object, &source->exclude));
    TR_TRY(get_text(r, path, "split", object, &source->split));
    TR_TRY(get_count(r, path, "count", object, 0, &source->count));
    TR_TRY(get_count(r, path, "per_video", object, 1, &source->per_video));
    snprintf(full, sizeof full, "%s/weight", path);
    TR_TRY(get_weight(r, full, json_object_get(object, "weight"), &source->weight));
    if (!source->rows) {
        return tr_fail(r->err, TR_NOT_FOUND, place(r, path, where, sizeof where),
                       "%s needs the key 'rows': a file of corpus rows", path + 1);
    }
    if (repeat && !json_is_boolean(repeat)) {
        snprintf(full, sizeof full, "%s/repeat", path);
        return wrong(r, full, "true or false", repeat);
    }
    source->repeat = json_is_true(repeat);
    TR_TRY(name_source(r, source));
    TR_TRY(read_tasks(r, path, object, source));
    bool counts = false, weights = false;
    for (int t = 0; t < TR_TASK_COUNT; t++) {
        counts |= source->tasks[t].count >= 0;
        weights |= source->tasks[t].weight > 0;
    }
    if (weights && !(source->weight > 0) && source->count < 0) {
        status = tr_fail(r->err, TR_INVALID, place(r, path, where, sizeof where),
                         "the weights of its tasks share the rows of %s, so it needs a weight or a count itself",
                         path + 1);
    } else if (source->weight > 0 && source->count >= 0) {
        status = tr_fail(r->err, TR_INVALID, place(r, path, where, sizeof where),
                         "%s has both a weight and a count; give one of them", path + 1);
    } else if (counts && (weights || source->weight > 0 || source->count >= 0)) {
        status =
            tr_fail(r->err, TR_INVALID, place(r, path, where, sizeof where),
                    "%s counts the rows of its tasks, so neither the source nor another of its tasks can have a "
                    "weight or a count of its own",
                    path + 1);
    }
done:
    return status;
}

static tr_status read_sources(const reader *r, const json_t *list, tr_mix_spec *spec)
{
    tr_status status = TR_OK;
    bool weights = false;
    if (!json_is_array(list) || !json_array_size(list)) {
        return wrong(r, "/sources", "a list of sources", list);
    }
    if (!(spec->sources = tr_calloc(json_array_size(list), sizeof *spec->sources))) {
        return tr_fail(r->err, TR_MEMORY, r->name, "out of memory");
    }
    for (size_t i = 0; !status && i < json_array_size(list); i++) {
        char path[64], where[512];
        snprintf(path, sizeof path, "/sources/%zu", i);
        spec->count = i + 1;
        status = read_source(r, path, json_array_get(list, i), &spec->sources[i]);
        for (size_t k = 0; !status && k < i; k++) {
            if (!strcmp(spec->sources[k].name, spec->sources[i].name)) {
                status = tr_fail(r->err, TR_INVALID, place(r, path, where, sizeof where),
                                 "two sources are called '%s'; give them different names", spec->sources[i].name);
            }
        }
        weights |= spec->sources[i].weight > 0;
    }
    if (!status && weights != (spec->total >= 0)) {
        char where[512];
        status = tr_fail(r->err, TR_INVALID, place(r, weights ? "/sources" : "/total", where, sizeof where),
                         weights ? "sources with a weight share a total: give the key 'total'"
                                 : "the total is shared by sources with a weight, and no source has one");
    }
    return status;
}

void tr_mix_spec_free(tr_mix_spec *spec)
{
    if (spec) {
        for (size_t i = 0; i < spec->count; i++) {
            free(spec->sources[i].name);
            free(spec->sources[i].rows);
            free(spec->sources[i].videos);
            free(spec->sources[i].exclude);
            free(spec->sources[i].split);
        }
        free(spec->sources);
        free(spec->path);
        free(spec->folder);
        memset(spec, 0, sizeof *spec);
    }
}

void tr_mix_spec_seed(tr_mix_spec *spec, int64_t seed)
{
    uint64_t both[2] = {spec->hash, (uint64_t)seed};
    spec->seed = seed;
    spec->hash = tr_hash(both, sizeof both);
}

tr_status tr_mix_spec_read(const char *path, tr_mix_spec *spec, tr_error *err)
{
    json_t *root = NULL;
    tr_yaml_places places = {0};
    reader r = {path, &places, err};
    tr_status status;
    memset(spec, 0, sizeof *spec);
    spec->total = TR_MIX_ALL;
    spec->seed = 1;
    TR_TRY(tr_yaml_read(path, &root, &places, err));
    if (!json_is_object(root)) {
        status = tr_fail(err, TR_FORMAT, path, "a mix is a mapping with the key 'sources', found %s",
                         tr_json_type_name(root));
        goto done;
    }
    spec->path = tr_strdup(path);
    spec->folder = tr_path_directory(path);
    if (!spec->path || !spec->folder) {
        status = tr_fail(err, TR_MEMORY, path, "out of memory");
        goto done;
    }
    TR_TRY(check_keys(&r, "", root, top_keys, COUNT(top_keys)));
    TR_TRY(get_count(&r, "", "seed", root, 0, &spec->seed));
    TR_TRY(get_count(&r, "", "total", root, 1, &spec->total));
    TR_TRY(get_count(&r, "", "per_video", root, 1, &spec->per_video));
    TR_TRY(read_sources(&r, json_object_get(root, "sources"), spec));
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    if (!text) {
        status = tr_fail(err, TR_MEMORY, path, "out of memory");
        goto done;
    }
    spec->hash = tr_hash_text(text);
    free(text);
done:
    tr_yaml_places_free(&places);
    json_decref(root);
    if (status) {
        tr_mix_spec_free(spec);
    }
    return status;
}
