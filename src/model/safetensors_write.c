/* safetensors_write.c: the streaming writer and the in-memory builder. The header is padded with spaces so that the
 * data begins at a multiple of 8 bytes; tensors stand in the order of their entries. */
#include "model/safetensors.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static tr_status entry_bytes(const tr_safetensors_entry *entry, const char *path, size_t *bytes, tr_error *err)
{
    size_t total = tr_dtype_size(entry->dtype);
    bool fits = entry->rank >= 0 && entry->rank <= TR_SAFETENSORS_RANK;
    for (int i = 0; fits && i < entry->rank; i++) {
        fits = entry->shape[i] >= 0 && tr_size_mul(total, (size_t)entry->shape[i], &total);
    }
    if (!fits) {
        return tr_fail(err, TR_INVALID, path, "tensor %s: its shape is impossible", entry->name);
    }
    *bytes = total;
    return TR_OK;
}

/* The header as one JSON line. */
static tr_status make_header(const char *path, const tr_safetensors_entry *entries, size_t count,
                             const json_t *metadata, tr_buffer *out, size_t *expected, tr_error *err)
{
    json_t *root = json_object(), *format = metadata ? NULL : json_pack("{s:s}", "format", "pt");
    size_t at = 0, bytes = 0;
    tr_status status = TR_OK;
    bool made = root && (metadata || format) &&
                !json_object_set(root, "__metadata__", metadata ? (json_t *)(uintptr_t)metadata : format);
    for (size_t i = 0; made && i < count; i++) {
        TR_TRY(entry_bytes(&entries[i], path, &bytes, err));
        json_t *shape = json_array();
        for (int k = 0; k < entries[i].rank; k++) {
            json_array_append_new(shape, json_integer(entries[i].shape[k]));
        }
        if (json_object_get(root, entries[i].name)) {
            json_decref(shape);
            status = tr_fail(err, TR_INVALID, path, "tensor %s is given twice", entries[i].name);
            goto done;
        }
        made = !json_object_set_new(root, entries[i].name,
                                    json_pack("{s:s, s:o, s:[I, I]}", "dtype", tr_dtype_name(entries[i].dtype),
                                              "shape", shape, "data_offsets", (json_int_t)at,
                                              (json_int_t)at + (json_int_t)bytes));
        if (!tr_size_add(at, bytes, &at)) {
            status = tr_fail(err, TR_INVALID, path, "the tensors have more bytes than any file can hold");
            goto done;
        }
    }
    if (!made) {
        status = tr_fail(err, TR_MEMORY, path, "out of memory for the header of %zu tensors", count);
        goto done;
    }
    *expected = at;
    TR_TRY(tr_json_print(root, out, err));
    while (out->length && out->data[out->length - 1] == '\n') {
        out->length--;
    }
    while (out->length % 8) {
        TR_TRY(tr_buffer_add(out, " ", 1, err));
    }
done:
    json_decref(root);
    json_decref(format);
    return status;
}

tr_status tr_safetensors_writer_open(tr_safetensors_writer *writer, const char *path,
                                     const tr_safetensors_entry *entries, size_t count, const json_t *metadata,
                                     tr_error *err)
{
    tr_buffer header = {0};
    uint8_t length[8];
    tr_status status;
    memset(writer, 0, sizeof *writer);
    TR_TRY(make_header(path, entries, count, metadata, &header, &writer->expected, err));
    TR_TRY(tr_file_writer_open(&writer->file, path, err));
    for (int i = 0; i < 8; i++) {
        length[i] = (uint8_t)((uint64_t)header.length >> (8 * i));
    }
    TR_TRY(tr_file_writer_write(&writer->file, length, sizeof length, err));
    TR_TRY(tr_file_writer_write(&writer->file, header.data, header.length, err));
done:
    if (status) {
        tr_safetensors_writer_abandon(writer);
    }
    tr_buffer_free(&header);
    return status;
}

tr_status tr_safetensors_writer_write(tr_safetensors_writer *writer, const void *bytes, size_t count, tr_error *err)
{
    if (count > writer->expected - writer->written) {
        return tr_fail(err, TR_INVALID, writer->file.path, "more bytes than the %zu that the header announces",
                       writer->expected);
    }
    writer->written += count;
    return tr_file_writer_write(&writer->file, bytes, count, err);
}

tr_status tr_safetensors_writer_commit(tr_safetensors_writer *writer, tr_error *err)
{
    if (writer->written != writer->expected) {
        tr_status status = tr_fail(err, TR_INVALID, writer->file.path,
                                   "only %zu of the %zu bytes that the header announces were written",
                                   writer->written, writer->expected);
        tr_safetensors_writer_abandon(writer);
        return status;
    }
    return tr_file_writer_commit(&writer->file, err);
}

void tr_safetensors_writer_abandon(tr_safetensors_writer *writer)
{
    tr_file_writer_abandon(&writer->file);
}

tr_status tr_safetensors_builder_add_as(tr_safetensors_builder *builder, const char *name, tr_dtype dtype, int rank,
                                        const int64_t *shape, const void *data, tr_dtype data_dtype, tr_error *err)
{
    tr_safetensors_entry entry = {.name = name, .dtype = dtype, .rank = rank};
    size_t bytes = 0;
    tr_status status;
    if (rank < 0 || rank > TR_SAFETENSORS_RANK) {
        return tr_fail(err, TR_INVALID, name, "tensor %s: rank %d is not in 0 to %d", name, rank,
                       TR_SAFETENSORS_RANK);
    }
    for (int i = 0; i < rank; i++) {
        entry.shape[i] = shape[i];
    }
    TR_TRY(entry_bytes(&entry, name, &bytes, err));
    TR_TRY(tr_grow(&builder->entries, &builder->capacity, builder->count + 1, sizeof *builder->entries, err));
    TR_TRY(tr_grow(&builder->data, &builder->data_capacity, builder->count + 1, sizeof *builder->data, err));
    void *copy = tr_calloc_aligned(bytes ? bytes : 1, 1);
    char *kept = tr_strdup(name);
    if (!copy || !kept) {
        free(copy);
        free(kept);
        return tr_fail(err, TR_MEMORY, name, "out of memory for tensor %s of %zu bytes", name, bytes);
    }
    if (bytes && dtype == data_dtype) {
        memcpy(copy, data, bytes);
    } else if (bytes) {
        tr_convert(copy, dtype, data, data_dtype, (int64_t)(bytes / tr_dtype_size(dtype)));
    }
    entry.name = kept;
    builder->entries[builder->count] = entry;
    builder->data[builder->count++] = copy;
done:
    return status;
}

tr_status tr_safetensors_builder_add(tr_safetensors_builder *builder, const char *name, tr_dtype dtype, int rank,
                                     const int64_t *shape, const void *data, tr_error *err)
{
    return tr_safetensors_builder_add_as(builder, name, dtype, rank, shape, data, dtype, err);
}

tr_status tr_safetensors_builder_set(tr_safetensors_builder *builder, const char *key, const char *value,
                                     tr_error *err)
{
    if (!builder->metadata) {
        builder->metadata = json_object();
    }
    if (json_object_set_new(builder->metadata, key, json_string(value))) {
        return tr_fail(err, TR_INVALID, key, "the metadata text for %s is not UTF-8", key);
    }
    return TR_OK;
}

tr_status tr_safetensors_builder_write(const tr_safetensors_builder *builder, const char *path, tr_error *err)
{
    static const size_t sizes[] = {8, 4, 2, 1};
    tr_safetensors_writer writer = {0};
    tr_safetensors_entry *entries = tr_calloc(builder->count, sizeof *entries);
    size_t *order = tr_calloc(builder->count, sizeof *order), used = 0;
    tr_status status = TR_OK;
    if (!entries || !order) {
        status = tr_fail(err, TR_MEMORY, path, "out of memory");
        goto done;
    }
    for (size_t s = 0; s < 4; s++) { /* wide dtypes first, so that every tensor is aligned to its own size */
        for (size_t i = 0; i < builder->count; i++) {
            if (tr_dtype_size(builder->entries[i].dtype) == sizes[s]) {
                order[used] = i;
                entries[used++] = builder->entries[i];
            }
        }
    }
    TR_TRY(tr_safetensors_writer_open(&writer, path, entries, used, builder->metadata, err));
    for (size_t i = 0; i < used; i++) {
        size_t bytes = 0;
        TR_TRY(entry_bytes(&entries[i], path, &bytes, err));
        TR_TRY(tr_safetensors_writer_write(&writer, builder->data[order[i]], bytes, err));
    }
    status = tr_safetensors_writer_commit(&writer, err);
done:
    if (status) {
        tr_safetensors_writer_abandon(&writer);
    }
    free(entries);
    free(order);
    return status;
}

void tr_safetensors_builder_free(tr_safetensors_builder *builder)
{
    for (size_t i = 0; i < builder->count; i++) {
        free((void *)(uintptr_t)builder->entries[i].name);
        free(builder->data[i]);
    }
    free(builder->entries);
    free(builder->data);
    json_decref(builder->metadata);
    memset(builder, 0, sizeof *builder);
}
