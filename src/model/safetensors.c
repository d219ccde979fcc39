/* safetensors.c: the checked reader. Shapes and offsets come from strangers: every product and sum is checked. */
#include "model/safetensors.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { HEADER_LIMIT = 100 << 20 }; /* the reference library's own limit */

const char *tr_shape_text(const int64_t *shape, int rank, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < rank && used < size; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? ", " : "", (long long)shape[i]);
    }
    if (used < size) {
        snprintf(text + used, size - used, "]");
    }
    return text;
}

static bool parse_dtype(const char *name, tr_dtype *out)
{
    static const tr_dtype all[] = {TR_F32, TR_BF16, TR_F16, TR_F64, TR_I64, TR_I32, TR_U8};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!strcmp(name, tr_dtype_name(all[i]))) {
            *out = all[i];
            return true;
        }
    }
    return false;
}

/* The integer item i of an array of non-negative integers. */
static bool array_item(const json_t *array, size_t i, int64_t *out)
{
    const json_t *item = json_array_get(array, i);
    *out = json_is_integer(item) ? (int64_t)json_integer_value(item) : -1;
    return *out >= 0;
}

static tr_status parse_shape(tr_safetensor *t, const json_t *shape, const char *path, tr_error *err)
{
    if (!json_is_array(shape) || json_array_size(shape) > TR_SAFETENSORS_RANK) {
        return tr_fail(err, TR_FORMAT, path, "tensor %s: its shape must be a list of at most %d integers", t->name,
                       TR_SAFETENSORS_RANK);
    }
    t->rank = (int)json_array_size(shape);
    t->elements = 1;
    for (int i = 0; i < t->rank; i++) {
        if (!array_item(shape, (size_t)i, &t->shape[i])) {
            return tr_fail(err, TR_FORMAT, path, "tensor %s: dimension %d of its shape is not an integer >= 0",
                           t->name, i);
        }
        if (__builtin_mul_overflow(t->elements, t->shape[i], &t->elements)) {
            return tr_fail(err, TR_FORMAT, path, "tensor %s: its shape has more elements than any file can hold",
                           t->name);
        }
    }
    if (!tr_size_mul((size_t)t->elements, tr_dtype_size(t->dtype), &t->bytes)) {
        return tr_fail(err, TR_FORMAT, path, "tensor %s: its shape has more bytes than any file can hold", t->name);
    }
    return TR_OK;
}

/* One header member; data is the file's data section of data_size bytes. */
static tr_status parse_tensor(tr_safetensor *t, const json_t *entry, const uint8_t *data, size_t data_size,
                              const char *path, tr_error *err)
{
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    int64_t begin, end;
    if (!json_is_object(entry) || !dtype) {
        return tr_fail(err, TR_FORMAT, path, "tensor %s: its header entry has no dtype", t->name);
    }
    if (!parse_dtype(dtype, &t->dtype)) {
        return tr_fail(err, TR_UNSUPPORTED, path,
                       "tensor %s has dtype %.32s; known are F32, BF16, F16, F64, I64, I32 and U8", t->name, dtype);
    }
    tr_status status = parse_shape(t, json_object_get(entry, "shape"), path, err);
    if (status) {
        return status;
    }
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !array_item(offsets, 0, &begin) ||
        !array_item(offsets, 1, &end) || end < begin) {
        return tr_fail(err, TR_FORMAT, path, "tensor %s: data_offsets must be two integers, 0 <= begin <= end",
                       t->name);
    }
    if ((uint64_t)(end - begin) != t->bytes) {
        char shape[128];
        return tr_fail(err, TR_FORMAT, path,
                       "tensor %s: its data range has %lld bytes, but shape %s of dtype %s needs %zu", t->name,
                       (long long)(end - begin), tr_shape_text(t->shape, t->rank, shape, sizeof shape), dtype,
                       t->bytes);
    }
    if ((uint64_t)end > data_size) {
        return tr_fail(
            err, TR_FORMAT, path,
            "tensor %s ends at byte %lld of the data, but the file holds only %zu data bytes: the file is "
            "truncated (%lld bytes are missing); download or copy it again",
            t->name, (long long)end, data_size, (long long)end - (long long)data_size);
    }
    t->data = data + begin;
    return TR_OK;
}

static int by_place(const void *a, const void *b)
{
    const tr_safetensor *x = a, *y = b;
    if (x->data != y->data) {
        return x->data < y->data ? -1 : 1;
    }
    return x->bytes != y->bytes ? (x->bytes < y->bytes ? -1 : 1) : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const tr_safetensor *)a)->name, ((const tr_safetensor *)b)->name);
}

/* Every data byte belongs to exactly one tensor. */
static tr_status check_ranges(tr_safetensor *items, size_t count, const uint8_t *data, size_t data_size,
                              const char *path, tr_error *err)
{
    qsort(items, count, sizeof *items, by_place);
    const uint8_t *at = data;
    for (size_t i = 0; i < count; i++) {
        if (items[i].data < at) {
            return tr_fail(err, TR_FORMAT, path, "the data ranges of tensors %s and %s overlap", items[i - 1].name,
                           items[i].name);
        }
        if (items[i].data > at) {
            return tr_fail(err, TR_FORMAT, path, "%zu data bytes before tensor %s belong to no tensor",
                           (size_t)(items[i].data - at), items[i].name);
        }
        at = items[i].data + items[i].bytes;
    }
    size_t used = (size_t)(at - data);
    if (used != data_size) {
        return tr_fail(err, TR_FORMAT, path, "%zu bytes after the last tensor belong to no tensor",
                       data_size - used);
    }
    return TR_OK;
}

/* The header's JSON object and where the data begins. */
static tr_status parse_header(const uint8_t *bytes, size_t size, const char *path, json_t **header, size_t *data_at,
                              tr_error *err)
{
    uint64_t length = 0;
    if (size < 8) {
        return tr_fail(err, TR_FORMAT, path,
                       "the file has %zu bytes; a safetensors file begins with 8 bytes of header length", size);
    }
    for (int i = 7; i >= 0; i--) {
        length = length << 8 | bytes[i];
    }
    if (length > size - 8) {
        return tr_fail(
            err, TR_FORMAT, path,
            "the header length field says %llu bytes, but only %zu follow it: the file is truncated or is "
            "not a safetensors file",
            (unsigned long long)length, size - 8);
    }
    if (length > HEADER_LIMIT) {
        return tr_fail(err, TR_FORMAT, path, "the header has %llu bytes, more than the %d allowed",
                       (unsigned long long)length, HEADER_LIMIT);
    }
    tr_status status = tr_json_parse((const char *)bytes + 8, (size_t)length, path, 0, header, err);
    if (status) {
        return tr_fail_context(err, status, "the header is not valid JSON");
    }
    if (!json_is_object(*header)) {
        return tr_fail(err, TR_FORMAT, path, "the header must be a JSON object, found %s",
                       tr_json_type_name(*header));
    }
    *data_at = 8 + (size_t)length;
    return TR_OK;
}

static tr_status check_metadata(const json_t *metadata, const char *path, tr_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata)) {
        return tr_fail(err, TR_FORMAT, path, "__metadata__ must be an object of strings, found %s",
                       tr_json_type_name(metadata));
    }
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        if (!json_is_string(value)) {
            return tr_fail(err, TR_FORMAT, path, "__metadata__.%.64s must be a string, found %s", key,
                           tr_json_type_name(value));
        }
    }
    return TR_OK;
}

/* Appends the tensors of one file's bytes; the file itself is files[shard]. */
static tr_status parse_bytes(tr_safetensors *s, const uint8_t *bytes, size_t size, int shard, tr_error *err)
{
    const char *path = s->files[shard].path, *key;
    json_t *header = NULL, *value;
    size_t data_at = 0, first = s->count;
    tr_status status = TR_OK;
    TR_TRY(parse_header(bytes, size, path, &header, &data_at, err));
    json_object_foreach(header, key, value)
    {
        if (!strcmp(key, "__metadata__")) {
            TR_TRY(check_metadata(value, path, err));
            s->files[shard].metadata = json_incref(value);
            continue;
        }
        TR_TRY(tr_grow(&s->items, &s->capacity, s->count + 1, sizeof *s->items, err));
        tr_safetensor *t = &s->items[s->count];
        memset(t, 0, sizeof *t);
        if (!(t->name = tr_strdup(key))) {
            status = tr_fail(err, TR_MEMORY, path, "out of memory");
            goto done;
        }
        s->count++;
        t->shard = shard;
        TR_TRY(parse_tensor(t, value, bytes + data_at, size - data_at, path, err));
    }
    if (s->count > first || size > data_at) {
        tr_safetensor none = {0}, *items = s->count > first ? s->items + first : &none;
        status = check_ranges(items, s->count - first, bytes + data_at, size - data_at, path, err);
    }
done:
    json_decref(header);
    return status;
}

static tr_status add_file(tr_safetensors *s, const char *path, int *shard, tr_error *err)
{
    tr_status status = tr_grow(&s->files, &s->file_capacity, s->file_count + 1, sizeof *s->files, err);
    if (status) {
        return status;
    }
    tr_safetensors_file *f = &s->files[s->file_count];
    memset(f, 0, sizeof *f);
    if (!(f->path = tr_strdup(path))) {
        return tr_fail(err, TR_MEMORY, path, "out of memory");
    }
    *shard = (int)s->file_count++;
    return TR_OK;
}

static void sort_names(tr_safetensors *s)
{
    if (s->count) {
        qsort(s->items, s->count, sizeof *s->items, by_name);
    }
}

tr_status tr_safetensors_parse(tr_safetensors *tensors, const void *bytes, size_t size, const char *name,
                               tr_error *err)
{
    int shard = 0;
    tr_status status;
    memset(tensors, 0, sizeof *tensors);
    TR_TRY(add_file(tensors, name, &shard, err));
    TR_TRY(parse_bytes(tensors, bytes, size, shard, err));
    sort_names(tensors);
done:
    if (status) {
        tr_safetensors_close(tensors);
    }
    return status;
}

static tr_status map_file(tr_safetensors *s, const char *path, tr_error *err)
{
    int shard = 0;
    tr_status status;
    TR_TRY(add_file(s, path, &shard, err));
    TR_TRY(tr_file_map_open(&s->files[shard].map, path, err));
    TR_TRY(parse_bytes(s, s->files[shard].map.data, s->files[shard].map.size, shard, err));
done:
    return status;
}

tr_status tr_safetensors_open(tr_safetensors *tensors, const char *path, tr_error *err)
{
    memset(tensors, 0, sizeof *tensors);
    tr_status status = map_file(tensors, path, err);
    if (status) {
        tr_safetensors_close(tensors);
        return status;
    }
    sort_names(tensors);
    return TR_OK;
}

/* The file of a weight_map member must be a plain name beside the index. */
static tr_status map_shards(tr_safetensors *s, const char *dir, const json_t *map, const char *index, tr_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, key, value)
    {
        const char *file = json_string_value(value);
        if (!file || !file[0] || strchr(file, '/') || !strcmp(file, "..") || !strcmp(file, ".")) {
            return tr_fail(err, TR_FORMAT, index,
                           "weight_map: tensor %.128s must name a file in the same directory", key);
        }
        char *path = tr_path_join(dir, file);
        if (!path) {
            return tr_fail(err, TR_MEMORY, index, "out of memory");
        }
        bool known = false;
        for (size_t i = s->file_count; i-- > 0 && !known;) {
            known = !strcmp(s->files[i].path, path);
        }
        tr_status status = TR_OK;
        if (!known && !tr_file_exists(path)) {
            status = tr_fail(err, TR_NOT_FOUND, index,
                             "the index names the shard %.128s (for tensor %.128s), which does not exist in %.256s",
                             file, key, dir);
        } else if (!known) {
            status = map_file(s, path, err);
        }
        free(path);
        if (status) {
            return status;
        }
    }
    return TR_OK;
}

/* Names in the index and tensors in the shards must be the same, each in its shard. total_size is not read: files
 * with a wrong one exist. */
static tr_status check_index(const tr_safetensors *s, const json_t *map, const char *index, tr_error *err)
{
    const char *key;
    json_t *value;
    for (size_t i = 0; i < s->count; i++) {
        if (i && !strcmp(s->items[i - 1].name, s->items[i].name)) {
            return tr_fail(err, TR_FORMAT, index, "tensor %s is in two shards: %s and %s", s->items[i].name,
                           tr_safetensors_path(s, &s->items[i - 1]), tr_safetensors_path(s, &s->items[i]));
        }
        if (!json_object_get(map, s->items[i].name)) {
            return tr_fail(err, TR_MISMATCH, tr_safetensors_path(s, &s->items[i]),
                           "tensor %s is in this shard but not in the index", s->items[i].name);
        }
    }
    json_object_foreach((json_t *)(uintptr_t)map, key, value)
    {
        const tr_safetensor *t = tr_safetensors_find(s, key);
        const char *path = t ? tr_safetensors_path(s, t) : "", *file = json_string_value(value);
        size_t a = strlen(path), b = strlen(file);
        if (!t || a < b || strcmp(path + a - b, file) != 0) {
            return tr_fail(err, TR_NOT_FOUND, index,
                           "tensor %.128s is not in the shard %.128s that the index names", key, file);
        }
    }
    return TR_OK;
}

tr_status tr_safetensors_open_directory(tr_safetensors *tensors, const char *dir, tr_error *err)
{
    char *single = tr_path_join(dir, "model.safetensors");
    char *index = tr_path_join(dir, "model.safetensors.index.json");
    json_t *root = NULL;
    tr_status status = TR_OK;
    memset(tensors, 0, sizeof *tensors);
    if (!single || !index) {
        status = tr_fail(err, TR_MEMORY, dir, "out of memory");
        goto done;
    }
    if (tr_file_exists(single)) {
        status = tr_safetensors_open(tensors, single, err);
        goto done;
    }
    if (!tr_file_exists(index)) {
        status = tr_fail(err, TR_NOT_FOUND, dir,
                         "%s holds neither model.safetensors nor model.safetensors.index.json: it is not a "
                         "checkpoint directory with safetensors",
                         dir);
        goto done;
    }
    TR_TRY(tr_json_read(index, &root, err));
    const json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map) || !json_object_size(map)) {
        status = tr_fail(err, TR_FORMAT, index, "weight_map must be an object that names the file of each tensor");
        goto done;
    }
    TR_TRY(map_shards(tensors, dir, map, index, err));
    sort_names(tensors);
    TR_TRY(check_index(tensors, map, index, err));
done:
    if (status) {
        tr_safetensors_close(tensors);
    }
    json_decref(root);
    free(single);
    free(index);
    return status;
}

void tr_safetensors_close(tr_safetensors *tensors)
{
    if (!tensors) {
        return;
    }
    for (size_t i = 0; i < tensors->count; i++) {
        free(tensors->items[i].name);
    }
    for (size_t i = 0; i < tensors->file_count; i++) {
        free(tensors->files[i].path);
        json_decref(tensors->files[i].metadata);
        tr_file_map_close(&tensors->files[i].map);
    }
    free(tensors->items);
    free(tensors->files);
    memset(tensors, 0, sizeof *tensors);
}

const tr_safetensor *tr_safetensors_find(const tr_safetensors *tensors, const char *name)
{
    tr_safetensor key = {.name = (char *)(uintptr_t)name};
    return tensors->count ? bsearch(&key, tensors->items, tensors->count, sizeof key, by_name) : NULL;
}

const char *tr_safetensors_path(const tr_safetensors *tensors, const tr_safetensor *tensor)
{
    return tensors->files[tensor->shard].path;
}

const char *tr_safetensors_metadata(const tr_safetensors *tensors, const char *key)
{
    for (size_t i = 0; i < tensors->file_count; i++) {
        const char *value = json_string_value(json_object_get(tensors->files[i].metadata, key));
        if (value) {
            return value;
        }
    }
    return NULL;
}

tr_status tr_safetensors_copy(const tr_safetensor *tensor, int64_t at, int64_t count, void *to, tr_dtype dtype,
                              tr_error *err)
{
    if (at < 0 || count < 0 || count > tensor->elements - at) {
        return tr_fail(err, TR_INVALID, NULL, "tensor %s has %lld elements; %lld from %lld were asked for",
                       tensor->name, (long long)tensor->elements, (long long)count, (long long)at);
    }
    size_t size = tr_dtype_size(tensor->dtype);
    const uint8_t *from = tensor->data + (size_t)at * size;
    if (tensor->dtype == dtype) {
        memcpy(to, from, count ? (size_t)count * size : 0);
        return TR_OK;
    }
    double piece[512]; /* aligned for every dtype */
    int64_t step = (int64_t)(sizeof piece / size);
    for (int64_t i = 0; i < count; i += step) {
        int64_t n = count - i < step ? count - i : step;
        memcpy(piece, from + (size_t)i * size, (size_t)n * size);
        tr_convert((uint8_t *)to + (size_t)i * tr_dtype_size(dtype), dtype, piece, tensor->dtype, n);
    }
    return TR_OK;
}
