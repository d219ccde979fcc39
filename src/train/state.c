/* state.c: state.safetensors: master/NAME, m/NAME, v/NAME of every trainable tensor, f32, in the checkpoint's
 * shapes, streamed a band of rows at a time, with one checksum for each tensor. */
#include "train/state.h"

#include "base/memory.h"
#include "base/random.h"
#include "model/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BAND_BYTES = 4 << 20 };

static const char *const kinds[3] = {"master", "m", "v"};

static float *values_of(const tr_param *p, int kind)
{
    return kind == 0 ? p->master : kind == 1 ? p->m : p->v;
}

bool tr_state_has(const tr_param *p)
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
            p->memory->unpack(&matrix, band, TR_F32, row, rows);
        } else {
            p->memory->read(band, values + row, bytes);
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
        for (int kind = 0; kind < 3 && tr_state_has(p); kind++) {
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

tr_status tr_state_write(const tr_model *model, const char *path, json_t *sums, tr_error *err)
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
        for (int kind = 0; kind < 3 && tr_state_has(p); kind++) {
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

/* ---- reading ---- */

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
            p->memory->pack(&matrix, band, TR_F32, row, rows);
        } else {
            p->memory->write(values + row, band, (size_t)rows * sizeof(float));
        }
    }
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    return strcmp(text, sum)
               ? tr_fail(err, TR_FORMAT, path,
                         "%s does not have its checksum: the file is damaged; without this checkpoint's folder "
                         "--resume takes the one before",
                         name)
               : TR_OK;
}

tr_status tr_state_read(tr_model *model, const char *path, const json_t *sums, tr_error *err)
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
        for (int kind = 0; !status && kind < 3 && tr_state_has(p); kind++) {
            status = read_tensor(&file, p, kind, sums, band, path, err);
            expected++;
        }
    }
    if (!status && expected != file.count) {
        status = tr_fail(err, TR_MISMATCH, path,
                         "the state holds %zu tensors, the run trains %zu: it was written with other parts frozen",
                         file.count, expected);
    }
    tr_safetensors_close(&file);
    free(band);
    return status;
}
