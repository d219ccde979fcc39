/* model_save.c: writes a checkpoint directory that transformers and this program load.
 *
 * Everything is written into DIR.part-PID first; at the end it takes DIR's place in one step, so that a full disk
 * or a crash leaves an old checkpoint whole. A directory that holds anything but a checkpoint is never replaced. */
#include "model/checkpoint.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_BYTES = 8 << 20 };
static const uint64_t SHARD_BYTES = 5000000000u; /* the published limit: 5 GB */

/* The files beside the weights that make a tokenizer and a processor. */
static const char *const tokenizer_files[] = {"vocab.json",
                                              "merges.txt",
                                              "tokenizer.json",
                                              "tokenizer_config.json",
                                              "added_tokens.json",
                                              "chat_template.json",
                                              "chat_template.jinja",
                                              "special_tokens_map.json",
                                              "preprocessor_config.json",
                                              "video_preprocessor_config.json",
                                              "processor_config.json"};

typedef struct saver {
    const char *dir; /* where files are written now */
    const tr_params *params;
    tr_dtype dtype;
    tr_rows_fill fill;
    const void *context;
    tr_save_progress progress;
    void *progress_context;
    uint64_t written, total; /* bytes */
    int shards;
    int *shard_of; /* [params->count] */
    void *piece;
} saver;

static uint64_t param_bytes(const tr_param *param, tr_dtype dtype)
{
    return (uint64_t)tr_param_count(param) * tr_dtype_size(dtype);
}

/* Shards in table order, each at most `limit` bytes unless one tensor alone is larger. */
static void plan_shards(saver *s, uint64_t limit)
{
    uint64_t used = 0;
    s->shards = 1;
    for (int i = 0; i < s->params->count; i++) {
        uint64_t bytes = param_bytes(&s->params->items[i], s->dtype);
        if (used && used + bytes > limit) {
            s->shards++;
            used = 0;
        }
        s->shard_of[i] = s->shards - 1;
        used += bytes;
        s->total += bytes;
    }
}

static void shard_name(const saver *s, int shard, char *name, size_t size)
{
    if (s->shards == 1) {
        snprintf(name, size, "model.safetensors");
    } else {
        snprintf(name, size, "model-%05d-of-%05d.safetensors", shard + 1, s->shards);
    }
}

/* Rows are made by all threads, a piece at a time, and written in order. */
static tr_status write_param(saver *s, tr_safetensors_writer *writer, const tr_param *param, tr_error *err)
{
    const size_t row_bytes = (size_t)param->in * tr_dtype_size(s->dtype);
    int64_t rows = (int64_t)(PIECE_BYTES / row_bytes) / TR_PANEL * TR_PANEL;
    tr_status status = TR_OK;
    void *grown = NULL, *piece = s->piece;
    if (rows < TR_PANEL) { /* one band of a very wide matrix */
        rows = TR_PANEL;
        piece = grown = tr_calloc_aligned((size_t)rows, row_bytes);
    }
    if (!piece) {
        return tr_fail(err, TR_MEMORY, param->name, "out of memory while writing %s", param->name);
    }
    for (int64_t row = 0; row < param->out; row += rows) {
        const int64_t n = param->out - row < rows ? param->out - row : rows;
        int64_t band = param->matrix ? (n / 16 + TR_PANEL - 1) / TR_PANEL * TR_PANEL : n;
        band = band < TR_PANEL ? TR_PANEL : band;
#pragma omp parallel for schedule(dynamic)
        for (int64_t at = 0; at < n; at += band) {
            int64_t some = n - at < band ? n - at : band;
            s->fill(s->context, param, row + at, some, (char *)piece + (size_t)at * row_bytes, s->dtype);
        }
        TR_TRY(tr_safetensors_writer_write(writer, piece, (size_t)n * row_bytes, err));
        s->written += (uint64_t)n * row_bytes;
        if (s->progress) {
            s->progress(s->progress_context, s->written, s->total);
        }
    }
done:
    free(grown);
    return status;
}

static tr_status write_shard(saver *s, int shard, tr_error *err)
{
    tr_safetensors_writer writer = {0};
    tr_safetensors_entry *entries = tr_calloc((size_t)s->params->count, sizeof *entries);
    char name[64], *path;
    size_t used = 0;
    tr_status status = TR_OK;
    shard_name(s, shard, name, sizeof name);
    path = tr_path_join(s->dir, name);
    if (!entries || !path) {
        status = tr_fail(err, TR_MEMORY, s->dir, "out of memory");
        goto done;
    }
    for (int i = 0; i < s->params->count; i++) {
        const tr_param *p = &s->params->items[i];
        if (s->shard_of[i] == shard) {
            entries[used] = (tr_safetensors_entry){.name = p->name, .dtype = s->dtype, .rank = p->rank};
            memcpy(entries[used++].shape, p->shape, sizeof p->shape);
        }
    }
    TR_TRY(tr_safetensors_writer_open(&writer, path, entries, used, NULL, err));
    for (int i = 0; i < s->params->count; i++) {
        if (s->shard_of[i] == shard) {
            TR_TRY(write_param(s, &writer, &s->params->items[i], err));
        }
    }
    status = tr_safetensors_writer_commit(&writer, err);
done:
    if (status) {
        tr_safetensors_writer_abandon(&writer);
    }
    free(entries);
    free(path);
    return status;
}

static tr_status write_index(const saver *s, tr_error *err)
{
    json_t *map = json_object(), *root = NULL;
    char *path = tr_path_join(s->dir, "model.safetensors.index.json"), name[64];
    tr_status status = TR_OK;
    for (int i = 0; map && i < s->params->count; i++) {
        shard_name(s, s->shard_of[i], name, sizeof name);
        json_object_set_new(map, s->params->items[i].name, json_string(name));
    }
    root = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)s->total, "weight_map", map);
    status = root && path ? tr_json_write(path, root, err) : tr_fail(err, TR_MEMORY, s->dir, "out of memory");
    json_decref(root);
    free(path);
    return status;
}

static tr_status copy_file(const char *from_dir, const char *to_dir, const char *name, tr_error *err)
{
    char *from = tr_path_join(from_dir, name), *to = tr_path_join(to_dir, name);
    tr_buffer bytes = {0};
    tr_status status = TR_OK;
    if (!from || !to) {
        status = tr_fail(err, TR_MEMORY, to_dir, "out of memory");
        goto done;
    }
    if (tr_file_exists(from)) {
        TR_TRY(tr_file_read(from, 0, &bytes, err));
        TR_TRY(tr_file_write_atomic(to, bytes.data, bytes.length, err));
    }
done:
    tr_buffer_free(&bytes);
    free(from);
    free(to);
    return status;
}

/* Whether a file belongs to a checkpoint, so that replacing its directory loses nothing else. */
static bool is_checkpoint_file(const char *name)
{
    size_t length = strlen(name);
    bool model = !strncmp(name, "model", 5) && ((length > 12 && !strcmp(name + length - 12, ".safetensors")) ||
                                                !strcmp(name, "model.safetensors.index.json"));
    bool known = model || !strcmp(name, "config.json") || !strcmp(name, "generation_config.json") ||
                 !strcmp(name, "adapter_config.json") || !strcmp(name, "adapter_model.safetensors");
    for (size_t i = 0; !known && i < sizeof tokenizer_files / sizeof *tokenizer_files; i++) {
        known = !strcmp(name, tokenizer_files[i]);
    }
    return known;
}

static tr_status check_target(const char *dir, tr_error *err)
{
    char **names = NULL;
    size_t count = 0;
    if (!tr_file_exists(dir)) {
        return TR_OK;
    }
    tr_status status = tr_directory_list(dir, &names, &count, err);
    for (size_t i = 0; !status && i < count; i++) {
        if (!is_checkpoint_file(names[i])) {
            status = tr_fail(err, TR_INVALID, dir,
                             "%s holds %.128s, which is not part of a checkpoint: it would be lost; choose another "
                             "directory or move the file away",
                             dir, names[i]);
        }
    }
    tr_names_free(names, count);
    return status;
}

/* Makes a rename in this directory durable; file systems that refuse it for directories are still atomic. */
static void sync_parent(const char *parent)
{
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

/* Puts the finished directory in place: by exchange where the file system can, else by two renames. */
static tr_status put_in_place(const char *finished, const char *dir, tr_error *err)
{
    if (!tr_file_exists(dir)) {
        if (rename(finished, dir)) {
            return tr_fail(err, TR_IO, dir, "cannot rename %s to %s: %s", finished, dir, strerror(errno));
        }
        return TR_OK;
    }
    if (!renameat2(AT_FDCWD, finished, AT_FDCWD, dir, RENAME_EXCHANGE)) {
        return tr_directory_remove(finished, err); /* it is the old checkpoint now */
    }
    char *old = tr_format("%s.old-%ld", dir, (long)getpid());
    tr_status status = TR_OK;
    if (!old || rename(dir, old)) {
        status = tr_fail(err, TR_IO, dir, "cannot move the old %s aside: %s", dir, strerror(errno));
    } else if (rename(finished, dir)) {
        status = tr_fail(err, TR_IO, dir, "cannot rename %s to %s: %s", finished, dir, strerror(errno));
        if (rename(old, dir)) {
            status = tr_fail(err, TR_IO, dir, "cannot replace %s: the old checkpoint is now in %s", dir, old);
        }
    } else {
        status = tr_directory_remove(old, err);
    }
    free(old);
    return status;
}

/* The directory without trailing slashes, so that the name of its temporary neighbour can be made. */
static char *trimmed(const char *dir)
{
    size_t length = strlen(dir);
    while (length > 1 && dir[length - 1] == '/') {
        length--;
    }
    return tr_strndup(dir, length);
}

static tr_status copy_tokenizer(const char *from, const char *to, tr_error *err)
{
    tr_status status = TR_OK;
    for (size_t i = 0; !status && from && i < sizeof tokenizer_files / sizeof *tokenizer_files; i++) {
        status = copy_file(from, to, tokenizer_files[i], err);
    }
    return status;
}

static tr_status write_files(saver *s, const tr_model_config *config, const char *tokenizer_dir, const char *source,
                             tr_error *err)
{
    tr_status status = TR_OK;
    for (int shard = 0; shard < s->shards; shard++) {
        TR_TRY(write_shard(s, shard, err));
    }
    if (s->shards > 1) {
        TR_TRY(write_index(s, err));
    }
    TR_TRY(tr_model_config_write(s->dir, config, s->dtype == TR_BF16 ? "bfloat16" : "float32", source, err));
    TR_TRY(copy_tokenizer(tokenizer_dir, s->dir, err));
done:
    return status;
}

/* A folder that appears whole or not at all: it is written under the name .part, then takes dir's place. */
typedef struct unfinished {
    char *target, *part, *parent;
    bool made;
} unfinished;

static tr_status begin_directory(unfinished *u, const char *dir, tr_error *err)
{
    tr_status status;
    u->target = trimmed(dir);
    u->part = u->target ? tr_format("%s.part-%ld", u->target, (long)getpid()) : NULL;
    u->parent = u->target ? tr_path_directory(u->target) : NULL;
    if (!u->part || !u->parent) {
        return tr_fail(err, TR_MEMORY, dir, "out of memory");
    }
    if (!u->target[0] || !strcmp(u->target, "/")) {
        return tr_fail(err, TR_INVALID, dir, "'%s' cannot be a checkpoint directory", dir);
    }
    TR_TRY(check_target(u->target, err));
    TR_TRY(tr_directory_make(u->parent, err));
    TR_TRY(tr_directory_remove(u->part, err)); /* left by a killed process that had our number */
    TR_TRY(tr_directory_make(u->part, err));
    u->made = true;
done:
    return status;
}

/* Puts the folder in place when all went well, else removes it; releases everything. */
static tr_status end_directory(unfinished *u, tr_status status, tr_error *err)
{
    if (!status && !(status = put_in_place(u->part, u->target, err))) {
        sync_parent(u->parent);
    }
    if (status && u->made) {
        tr_directory_remove(u->part, NULL);
    }
    free(u->target);
    free(u->part);
    free(u->parent);
    return status;
}

tr_status tr_checkpoint_write(const char *dir, const tr_model_config *config, const tr_params *params,
                              tr_dtype dtype, uint64_t shard_bytes, const char *tokenizer_dir, const char *source,
                              tr_rows_fill fill, const void *context, tr_save_progress progress,
                              void *progress_context, tr_error *err)
{
    unfinished u = {0};
    saver s = {.params = params,
               .dtype = dtype,
               .fill = fill,
               .context = context,
               .progress = progress,
               .progress_context = progress_context};
    tr_status status = TR_OK;
    if (dtype != TR_F32 && dtype != TR_BF16) {
        status =
            tr_fail(err, TR_INVALID, dir, "a checkpoint is written as F32 or BF16, not %s", tr_dtype_name(dtype));
        goto done;
    }
    s.shard_of = tr_calloc((size_t)params->count, sizeof *s.shard_of);
    s.piece = tr_calloc_aligned(PIECE_BYTES, 1);
    if (!s.shard_of || !s.piece) {
        status = tr_fail(err, TR_MEMORY, dir, "out of memory");
        goto done;
    }
    TR_TRY(begin_directory(&u, dir, err));
    s.dir = u.part;
    plan_shards(&s, shard_bytes ? shard_bytes : SHARD_BYTES);
    TR_TRY(write_files(&s, config, tokenizer_dir, source, err));
done:
    status = end_directory(&u, status, err);
    free(s.piece);
    free(s.shard_of);
    return status;
}

static void fill_from_model(const void *context, const tr_param *param, int64_t row0, int64_t rows, void *to,
                            tr_dtype dtype)
{
    (void)context;
    if (!param->matrix) {
        const tr_matrix flat = {TR_F32, param->out, 1, param->master ? param->master : param->value.panels};
        param->memory->unpack(&flat, to, dtype, row0, rows);
        return;
    }
    tr_matrix from = param->value;
    if (param->master) {
        from.dtype = TR_F32;
        from.panels = param->master;
    }
    param->memory->unpack(&from, to, dtype, row0, rows);
}

static tr_status save_adapter(const tr_model *model, const char *dir, tr_dtype dtype, const char *tokenizer_dir,
                              tr_error *err)
{
    unfinished u = {0};
    tr_status status = begin_directory(&u, dir, err);
    status = status ? status : tr_lora_write(model, u.part, dtype, err);
    status = status ? status : copy_tokenizer(tokenizer_dir, u.part, err);
    return end_directory(&u, status, err);
}

tr_status tr_model_save(const tr_model *model, const char *dir, tr_dtype dtype, uint64_t shard_bytes,
                        const char *tokenizer_dir, tr_error *err)
{
    if (model->lora) {
        return save_adapter(model, dir, dtype, tokenizer_dir, err);
    }
    char *base = NULL; /* not read: the settings then do not stay */
    if (model->directory && tr_lora_base(model->directory, &base, NULL)) {
        base = NULL;
    }
    tr_status status = tr_checkpoint_write(dir, &model->config, &model->params, dtype, shard_bytes, tokenizer_dir,
                                           base, fill_from_model, NULL, NULL, NULL, err);
    free(base);
    return status;
}
