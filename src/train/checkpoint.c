/* checkpoint.c: RUN/checkpoints/step-N: the model as a Hugging Face checkpoint, and beside it what a run needs to
 * go on bit for bit.
 *
 *   model.safetensors, config.json, tokenizer files   usable by every command as --model
 *   state.safetensors   master/NAME, m/NAME, v/NAME of every trainable tensor, f32, in the checkpoint's shapes
 *   state.json          counters, position in the rows, resolved configuration, a checksum of each tensor
 *
 * Random numbers are functions of counters, so they need no state. The directory is made under another name and
 * renamed: one that is there is complete. */
#include "train/trainer.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STATE_VERSION = 1, BAND_BYTES = 4 << 20 };

static const char *const kinds[3] = {"master", "m", "v"};

static float *values_of(const tr_param *p, int kind)
{
    return kind == 0 ? p->master : kind == 1 ? p->m : p->v;
}

static bool has_state(const tr_param *p)
{
    return p->trainable && p->master;
}

/* Rows of one band: whole panels, about BAND_BYTES. */
static int64_t band_rows(const tr_param *p)
{
    int64_t rows = BAND_BYTES / (p->in * (int64_t)sizeof(float)) / TR_PANEL * TR_PANEL;
    return rows < TR_PANEL ? TR_PANEL : rows;
}

static uint64_t chain(uint64_t hash, const void *bytes, size_t count)
{
    uint64_t pair[2] = {hash, tr_hash(bytes, count)};
    return tr_hash(pair, sizeof pair);
}

/* ---- writing ---- */

/* Streams one tensor in row-major order; *hash is its checksum. */
static tr_status write_tensor(tr_safetensors_writer *writer, const tr_param *p, float *values, float *band,
                              uint64_t *hash, tr_error *err)
{
    tr_status status = TR_OK;
    tr_matrix matrix = {TR_F32, p->out, p->in, values};
    int64_t step = band_rows(p);
    *hash = 0;
    for (int64_t row = 0; !status && row < p->out; row += step) {
        int64_t rows = row + step < p->out ? step : p->out - row;
        size_t bytes = (size_t)(rows * p->in) * sizeof(float);
        if (p->matrix) {
            tr_matrix_unpack(&matrix, band, TR_F32, row, rows);
        } else {
            memcpy(band, values + row, bytes);
        }
        *hash = chain(*hash, band, bytes);
        status = tr_safetensors_writer_write(writer, band, bytes, err);
    }
    return status;
}

/* The largest band of any tensor, in bytes. */
static size_t largest_band(const tr_model *model)
{
    size_t most = 1;
    for (int i = 0; i < model->params.count; i++) {
        size_t bytes = (size_t)(band_rows(&model->params.items[i]) * model->params.items[i].in) * sizeof(float);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static tr_status name_entries(const tr_model *model, tr_safetensors_entry **entries, char (**names)[112],
                              size_t *count, tr_error *err)
{
    size_t most = (size_t)model->params.count * 3;
    *count = 0;
    *entries = tr_calloc(most, sizeof **entries);
    *names = tr_calloc(most, sizeof **names);
    if (!*entries || !*names) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        for (int kind = 0; kind < 3 && has_state(p); kind++) {
            tr_safetensors_entry *e = &(*entries)[*count];
            snprintf((*names)[*count], sizeof **names, "%s/%s", kinds[kind], p->name);
            e->name = (*names)[(*count)++];
            e->dtype = TR_F32;
            e->rank = p->rank;
            memcpy(e->shape, p->shape, (size_t)p->rank * sizeof *p->shape);
        }
    }
    return TR_OK;
}

/* state.safetensors; sums gets {"master/NAME": "hex"}. */
static tr_status write_state(const tr_model *model, const char *path, json_t *sums, tr_error *err)
{
    tr_safetensors_entry *entries = NULL;
    char(*names)[112] = NULL;
    size_t count = 0, at = 0;
    float *band = tr_calloc_aligned(largest_band(model), 1);
    tr_safetensors_writer writer = {0};
    bool open = false;
    tr_status status;
    if (!band) {
        status = tr_fail(err, TR_MEMORY, path, "out of memory");
        goto done;
    }
    TR_TRY(name_entries(model, &entries, &names, &count, err));
    TR_TRY(tr_safetensors_writer_open(&writer, path, entries, count, NULL, err));
    open = true;
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        for (int kind = 0; kind < 3 && has_state(p); kind++) {
            uint64_t hash;
            char text[20];
            TR_TRY(write_tensor(&writer, p, values_of(p, kind), band, &hash, err));
            snprintf(text, sizeof text, "%016" PRIx64, hash);
            json_object_set_new(sums, names[at++], json_string(text));
        }
    }
    open = false;
    TR_TRY(tr_safetensors_writer_commit(&writer, err));
done:
    if (open) {
        tr_safetensors_writer_abandon(&writer);
    }
    free(band);
    free(entries);
    free(names);
    return status;
}

static json_t *counters(const tr_trainer *t, json_t *sums)
{
    json_t *o = json_object();
    json_object_set_new(o, "version", json_integer(STATE_VERSION));
    json_object_set_new(o, "program", json_string("tempr1 " TEMPR1_VERSION));
    json_object_set_new(o, "step", json_integer(t->step));
    json_object_set_new(o, "steps", json_integer(t->steps));
    json_object_set_new(o, "updates", json_integer(t->optimiser.step));
    json_object_set_new(o, "position", json_integer(t->order.position));
    json_object_set_new(o, "skipped_steps", json_integer(t->skipped_steps));
    json_object_set_new(o, "skipped_rows", json_integer(t->skipped_rows));
    json_object_set_new(o, "elapsed_s", json_real(t->elapsed_s + tr_time_s() - t->start_s));
    json_object_set_new(o, "algorithm", tr_algorithm_state_to_json(&t->algorithm));
    json_object_set(o, "config", t->resolved);
    json_object_set(o, "checksums", sums);
    return o;
}

/* Step numbers of a run's checkpoints, in no order. free() frees *steps. */
static tr_status list_steps(const char *folder, int64_t **steps, size_t *count, tr_error *err)
{
    char **names = NULL;
    size_t n = 0;
    *count = 0;
    *steps = NULL;
    if (!tr_directory_exists(folder)) {
        return TR_OK;
    }
    tr_status status = tr_directory_list(folder, &names, &n, err);
    if (!status && !(*steps = tr_calloc(n, sizeof **steps))) {
        status = tr_fail(err, TR_MEMORY, folder, "out of memory");
    }
    for (size_t i = 0; !status && *steps && i < n; i++) {
        char *end;
        long long step = strncmp(names[i], "step-", 5) ? -1 : strtoll(names[i] + 5, &end, 10);
        if (step >= 0 && end != names[i] + 5 && !*end) {
            (*steps)[(*count)++] = step;
        }
    }
    tr_names_free(names, n);
    return status;
}

static tr_status remove_old(const tr_trainer *t, const char *folder)
{
    int64_t *steps = NULL;
    size_t count = 0;
    tr_status status = list_steps(folder, &steps, &count, t->err);
    for (size_t i = 0; !status && i < count; i++) {
        int64_t newer = 0;
        for (size_t j = 0; j < count; j++) {
            newer += steps[j] > steps[i];
        }
        if (newer >= t->config->train.keep) {
            char *path = tr_format("%s/step-%lld", folder, (long long)steps[i]);
            status = path ? tr_directory_remove(path, t->err) : tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
            free(path);
        }
    }
    free(steps);
    return status;
}

static void sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd); /* some file systems refuse this for directories; the rename itself is still atomic */
        close(fd);
    }
}

tr_status tr_trainer_save(tr_trainer *t)
{
    char *folder = tr_path_join(t->config->out, "checkpoints"), *whole = NULL, *part = NULL, *state = NULL,
         *note = NULL;
    json_t *sums = json_object(), *object = NULL;
    tr_status status;
    whole = folder ? tr_format("%s/step-%lld", folder, (long long)t->step) : NULL;
    part = folder ? tr_format("%s/part-%lld", folder, (long long)t->step) : NULL;
    state = part ? tr_path_join(part, "state.safetensors") : NULL;
    note = part ? tr_path_join(part, "state.json") : NULL;
    if (!whole || !state || !note || !sums) {
        status = tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    TR_TRY(tr_directory_make(folder, t->err));
    TR_TRY(tr_directory_remove(part, t->err));
    TR_TRY(tr_model_save(t->model, part, t->model->dtype, 0,
                         t->config->tokenizer ? t->config->tokenizer : t->model_dir, t->err));
    TR_TRY(write_state(t->model, state, sums, t->err));
    object = counters(t, sums);
    TR_TRY(tr_json_write(note, object, t->err));
    TR_TRY(tr_directory_remove(whole, t->err));
    if (rename(part, whole)) {
        status = tr_fail(t->err, TR_IO, whole, "the checkpoint cannot be put in place: %s", strerror(errno));
        goto done;
    }
    sync_path(folder);
    TR_TRY(remove_old(t, folder));
done:
    if (status && part) {
        tr_directory_remove(part, NULL);
    }
    json_decref(sums);
    json_decref(object);
    free(folder);
    free(whole);
    free(part);
    free(state);
    free(note);
    return status;
}

/* ---- reading ---- */

tr_status tr_train_newest_checkpoint(const char *out, char **checkpoint, int64_t *step, tr_error *err)
{
    char *folder = tr_path_join(out, "checkpoints");
    int64_t *steps = NULL, best = -1;
    size_t count = 0;
    *checkpoint = NULL;
    tr_status status =
        folder ? list_steps(folder, &steps, &count, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    for (size_t i = 0; i < count; i++) {
        best = steps[i] > best ? steps[i] : best;
    }
    if (!status && best < 0) {
        status = tr_fail(err, TR_NOT_FOUND, folder, "there is no checkpoint here");
    }
    if (!status && !(*checkpoint = tr_format("%s/step-%lld", folder, (long long)best))) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    *step = best;
    free(steps);
    free(folder);
    return status;
}

static tr_status read_tensor(const tr_safetensors *file, const tr_param *p, int kind, const json_t *sums,
                             float *band, const char *path, tr_error *err)
{
    char name[112];
    snprintf(name, sizeof name, "%s/%s", kinds[kind], p->name);
    const tr_safetensor *tensor = tr_safetensors_find(file, name);
    const char *sum = json_string_value(json_object_get(sums, name));
    if (!tensor || !sum) {
        return tr_fail(err, TR_MISMATCH, path, "the state has no %s: it was written with other parts frozen", name);
    }
    if (tensor->dtype != TR_F32 || (int64_t)tensor->elements != p->out * p->in) {
        return tr_fail(err, TR_MISMATCH, path, "%s has %lld elements, the model's is [%lld, %lld]", name,
                       (long long)tensor->elements, (long long)p->out, (long long)p->in);
    }
    float *values = values_of(p, kind);
    if (!values) {
        return tr_fail(err, TR_MISMATCH, path, "the model has no room for %s", name);
    }
    tr_matrix matrix = {TR_F32, p->out, p->in, values};
    uint64_t hash = 0;
    int64_t step = band_rows(p);
    for (int64_t row = 0; row < p->out; row += step) {
        int64_t rows = row + step < p->out ? step : p->out - row;
        tr_status status = tr_safetensors_copy(tensor, row * p->in, rows * p->in, band, TR_F32, err);
        if (status) {
            return status;
        }
        hash = chain(hash, band, (size_t)(rows * p->in) * sizeof(float));
        if (p->matrix) {
            tr_matrix_pack(&matrix, band, TR_F32, row, rows);
        } else {
            memcpy(values + row, band, (size_t)rows * sizeof(float));
        }
    }
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    return strcmp(text, sum)
               ? tr_fail(err, TR_FORMAT, path, "%s does not have its checksum: the file is damaged", name)
               : TR_OK;
}

static tr_status read_state(tr_model *model, const char *path, const json_t *sums, tr_error *err)
{
    tr_safetensors file = {0};
    float *band = tr_calloc_aligned(largest_band(model), 1);
    size_t expected = 0;
    if (!band) {
        return tr_fail(err, TR_MEMORY, path, "out of memory");
    }
    tr_status status = tr_safetensors_open(&file, path, err);
    for (int i = 0; !status && i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        for (int kind = 0; !status && kind < 3 && has_state(p); kind++) {
            status = read_tensor(&file, p, kind, sums, band, path, err);
            expected++;
        }
    }
    if (!status && expected != file.count) {
        status = tr_fail(err, TR_MISMATCH, path,
                         "the state holds %zu tensors, the run trains %zu: it was written with "
                         "other parts frozen",
                         file.count, expected);
    }
    tr_safetensors_close(&file);
    free(band);
    return status;
}

/* What may differ without changing a number of the run. */
static const char *const harmless[] = {"out",
                                       "tokenizer",
                                       "device",
                                       "eval",
                                       "video.cache",
                                       "video.cache_bytes",
                                       "video.decoders",
                                       "video.ahead_bytes",
                                       "train.save_every",
                                       "train.keep",
                                       "train.eval_every",
                                       "train.watch",
                                       "train.recompute",
                                       "train.offload",
                                       NULL};

static tr_status check_config(const tr_trainer *t, const json_t *before, const char *checkpoint)
{
    tr_buffer list = {0};
    tr_status status = tr_config_differences(before, t->resolved, harmless, &list, t->err);
    if (!status && list.length && t->options->accept_changes) {
        fprintf(stderr, "the configuration differs from the checkpoint's, as accepted:\n%s", tr_buffer_text(&list));
    } else if (!status && list.length) {
        fprintf(stderr, "the configuration differs from the checkpoint's:\n%s", tr_buffer_text(&list));
        status = tr_fail(t->err, TR_MISMATCH, checkpoint,
                         "the configuration differs from the checkpoint's (see above): "
                         "undo the change, or give --accept-changes");
    }
    tr_buffer_free(&list);
    return status;
}

tr_status tr_trainer_restore(tr_trainer *t, const char *checkpoint)
{
    char *note = tr_path_join(checkpoint, "state.json"), *state = tr_path_join(checkpoint, "state.safetensors");
    json_t *object = NULL;
    int64_t version = 0, updates = 0, position = 0;
    tr_status status;
    if (!note || !state) {
        status = tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    TR_TRY(tr_json_read(note, &object, t->err));
    TR_TRY(tr_json_get_int(object, "version", true, note, &version, t->err));
    if (version != STATE_VERSION) {
        status = tr_fail(t->err, TR_UNSUPPORTED, note, "the state has version %lld, this program reads %d",
                         (long long)version, STATE_VERSION);
        goto done;
    }
    TR_TRY(check_config(t, json_object_get(object, "config"), checkpoint));
    TR_TRY(tr_json_get_int(object, "step", true, note, &t->step, t->err));
    TR_TRY(tr_json_get_int(object, "updates", true, note, &updates, t->err));
    TR_TRY(tr_json_get_int(object, "position", true, note, &position, t->err));
    TR_TRY(tr_json_get_int(object, "skipped_steps", true, note, &t->skipped_steps, t->err));
    TR_TRY(tr_json_get_int(object, "skipped_rows", true, note, &t->skipped_rows, t->err));
    TR_TRY(tr_json_get_double(object, "elapsed_s", true, note, &t->elapsed_s, t->err));
    TR_TRY(tr_algorithm_state_from_json(&t->algorithm, json_object_get(object, "algorithm"), note, t->err));
    TR_TRY(read_state(t->model, state, json_object_get(object, "checksums"), t->err));
    tr_model_refresh(t->model);
    t->optimiser.step = updates;
    t->order.position = position;
    t->version = (uint64_t)updates;
done:
    json_decref(object);
    free(note);
    free(state);
    return status;
}
