/* safetensors.h: named tensors in files: the format of model checkpoints, traces and extracted frames.
 *
 * A file is a little-endian 64-bit header length, a JSON header {name: {dtype, shape, data_offsets}} and raw bytes.
 * The reader maps files and believes nothing: lengths, offsets, shapes and dtypes are checked before a tensor is
 * handed out, every byte belongs to exactly one tensor. It never copies data and never writes. The writer streams,
 * and its file appears whole or not at all. */
#ifndef TR_MODEL_SAFETENSORS_H
#define TR_MODEL_SAFETENSORS_H

#include "base/file.h"
#include "base/json.h"
#include "tensor/matrix.h"

enum { TR_SAFETENSORS_RANK = 8 };

typedef struct tr_safetensor {
    char *name;
    tr_dtype dtype;
    int rank;
    int64_t shape[TR_SAFETENSORS_RANK];
    int64_t elements;
    size_t bytes;
    const uint8_t *data; /* in the map; not necessarily aligned to its dtype */
    int shard;           /* index into files */
} tr_safetensor;

typedef struct tr_safetensors_file {
    char *path;
    tr_file_map map;
    json_t *metadata; /* the header's "__metadata__" object, NULL when absent */
} tr_safetensors_file;

typedef struct tr_safetensors {
    tr_safetensor *items; /* sorted by name */
    size_t count, capacity;
    tr_safetensors_file *files;
    size_t file_count, file_capacity;
} tr_safetensors;

/* Opens one file. On failure nothing is left open. tr_safetensors_close releases everything and takes an empty one.
 */
tr_status tr_safetensors_open(tr_safetensors *tensors, const char *path, tr_error *err);

/* Opens a checkpoint directory: model.safetensors, else the shards that model.safetensors.index.json names. */
tr_status tr_safetensors_open_directory(tr_safetensors *tensors, const char *dir, tr_error *err);
void tr_safetensors_close(tr_safetensors *tensors);

/* The same checks on bytes in memory (fuzzing, network input); name stands in errors. The bytes must outlive it. */
tr_status tr_safetensors_parse(tr_safetensors *tensors, const void *bytes, size_t size, const char *name,
                               tr_error *err);

/* A tensor by name, NULL when absent; borrowed. */
const tr_safetensor *tr_safetensors_find(const tr_safetensors *tensors, const char *name);

/* The file that a tensor lies in, for messages. */
const char *tr_safetensors_path(const tr_safetensors *tensors, const tr_safetensor *tensor);

/* A value of "__metadata__" of any file; NULL when absent; borrowed. */
const char *tr_safetensors_metadata(const tr_safetensors *tensors, const char *key);

/* Elements [at, at + count) of a tensor converted to dtype; unaligned data is fine. */
tr_status tr_safetensors_copy(const tr_safetensor *tensor, int64_t at, int64_t count, void *to, tr_dtype dtype,
                              tr_error *err);

/* "[2, 3]" into text (cut to size); returns text. */
const char *tr_shape_text(const int64_t *shape, int rank, char *text, size_t size);

/* ---- writing ---- */

typedef struct tr_safetensors_entry {
    const char *name; /* borrowed until the writer is opened */
    tr_dtype dtype;
    int rank;
    int64_t shape[TR_SAFETENSORS_RANK];
} tr_safetensors_entry;

/* A file written in the order of its entries: open, write all bytes of all entries in order, commit or abandon. */
typedef struct tr_safetensors_writer {
    tr_file_writer file;
    size_t expected, written; /* data bytes */
} tr_safetensors_writer;

/* metadata: an object of strings, or NULL (then {"format": "pt"}, which transformers wants). */
tr_status tr_safetensors_writer_open(tr_safetensors_writer *writer, const char *path,
                                     const tr_safetensors_entry *entries, size_t count, const json_t *metadata,
                                     tr_error *err);
tr_status tr_safetensors_writer_write(tr_safetensors_writer *writer, const void *bytes, size_t count,
                                      tr_error *err);
/* Refuses when fewer bytes were written than the entries need. */
tr_status tr_safetensors_writer_commit(tr_safetensors_writer *writer, tr_error *err);
void tr_safetensors_writer_abandon(tr_safetensors_writer *writer);

/* Tensors collected in memory (copied), then written at once; wide dtypes first, so that all data is aligned. */
typedef struct tr_safetensors_builder {
    tr_safetensors_entry *entries;
    void **data;
    size_t count, capacity, data_capacity;
    json_t *metadata;
} tr_safetensors_builder;

tr_status tr_safetensors_builder_add(tr_safetensors_builder *builder, const char *name, tr_dtype dtype, int rank,
                                     const int64_t *shape, const void *data, tr_error *err);
/* Like _add with the data in another dtype than stored (F32 kept as F64, ...). */
tr_status tr_safetensors_builder_add_as(tr_safetensors_builder *builder, const char *name, tr_dtype dtype, int rank,
                                        const int64_t *shape, const void *data, tr_dtype data_dtype, tr_error *err);
tr_status tr_safetensors_builder_set(tr_safetensors_builder *builder, const char *key, const char *value,
                                     tr_error *err);
tr_status tr_safetensors_builder_write(const tr_safetensors_builder *builder, const char *path, tr_error *err);
void tr_safetensors_builder_free(tr_safetensors_builder *builder);

#endif
