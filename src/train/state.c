/* state.c: state.safetensors: master/NAME, m/NAME, v/NAME of every trainable tensor, f32, in the checkpoint's
 * shapes, streamed a band of rows at a time, with one checksum for each tensor. Moments in 8 bits are one tensor
 * moments8/NAME of bytes, the records of tensor/moments.h, in the place of m and v. */
#include "train/state.h"

#include "base/memory.h"
#include "base/random.h"
#include "model/safetensors.h"
#include "tensor/moments.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BAND_BYTES = 4 << 20 };

static const char *const kinds[TR_STATE_KINDS] = {"master", "m", "v", "moments8"};

void *tr_state_values(const tr_param *p, int kind)
{
    void *const values[TR_STATE_KINDS] = {p->master, p->m, p->v, p->moments8};
    return values[kind];
}

size_t tr_state_bytes(const tr_param *p, int kind)
{
    return !tr_state_values(p, kind)   ? 0
           : kind == TR_STATE_MOMENTS8 ? tr_param_moments8_bytes(p)
                                       : (size_t)p->elements * sizeof(float);
}

const tr_memory *tr_state_memory(const tr_param *p, int kind)
{
    return kind == TR_STATE_M || kind == TR_STATE_V ? tr_param_moments(p) : p->memory;
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
static tr_status write_tensor(tr_safetensors_writer *writer, const tr_param *p, int kind, float *band,
                              uint64_t *hash, tr_error *err)
{
    float *values = tr_state_values(p, kind);
    const tr_memory *memory = tr_state_memory(p, kind);
    tr_status status = TR_OK;
    tr_matrix matrix = {TR_F32, p->out, p->in, values};
    int64_t step = band_rows(p);
    *hash = 0;
    for (int64_t row = 0; !status && row < p->out; row += step) {
        int64_t rows = row + step < p->out ? step : p->out - row;
        size_t bytes = (size_t)(rows * p->in) * sizeof(float);
        if (p->matrix) {
            memory->unpack(&matrix, band, TR_F32, row, rows);
        } else {
            memory->read(band, values + row, bytes);
        }
        *hash = chain(*hash, band, bytes);
        status = tr_safetensors_writer_write(writer, band, bytes, err);
    }
    return status;
}

static tr_status write_records(tr_safetensors_writer *writer, const tr_param *p, unsigned char *band,
                               uint64_t *hash, tr_error *err)
{
    tr_status status = TR_OK;
    const int64_t step = band_rows(p);
    *hash = 0;
    for (int64_t row = 0; !status && row < p->out; row += step) {
        const int64_t rows = row + step < p->out ? step : p->out - row;
        const size_t bytes = (size_t)tr_moments8_bytes(rows, p->in);
        p->memory->read(band, (const unsigned char *)p->moments8 + tr_moments8_bytes(row, p->in), bytes);
        *hash = chain(*hash, band, bytes);
        status = tr_safetensors_writer_write(writer, band, bytes, err);
    }
    return status;
}

/* The largest band of any tensor, in bytes; records of as many rows are smaller. */
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
    size_t most = (size_t)model->params.count * TR_STATE_KINDS;
    *count = 0;
    *entries = tr_calloc(most, sizeof **entries);
    *names = tr_calloc(most, sizeof **names);
    if (!*entries || !*names) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        for (int kind = 0; kind < TR_STATE_KINDS && tr_state_has(p); kind++) {
            if (!tr_state_values(p, kind)) {
                continue;
            }
            tr_safetensors_entry *e = &(*entries)[*count];
            snprintf((*names)[*count], sizeof **names, "%s/%s", kinds[kind], p->name);
            e->name = (*names)[(*count)++];
            e->dtype = kind == TR_STATE_MOMENTS8 ? TR_U8 : TR_F32;
            e->rank = kind == TR_STATE_MOMENTS8 ? 1 : p->rank;
            memcpy(e->shape, p->shape, (size_t)p->rank * sizeof *p->shape);
            if (kind == TR_STATE_MOMENTS8) {
                e->shape[0] = (int64_t)tr_param_moments8_bytes(p);
            }
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
        for (int kind = 0; kind < TR_STATE_KINDS && tr_state_has(p); kind++) {
            uint64_t hash;
            char text[20];
            if (!tr_state_values(p, kind)) {
                continue;
            }
            if (kind == TR_STATE_MOMENTS8) {
                TR_TRY(write_records(&writer, p, (unsigned char *)band, &hash, err));
            } else {
                TR_TRY(write_tensor(&writer, p, kind, band, &hash, err));
            }
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

/* A file that is being read, and bands on their way: three, for moments that change their form. */
typedef struct reading {
    tr_safetensors file;
    const json_t *sums;
    const char *path;
    float *band[3];
    size_t used; /* tensors of the file that the model asked for */
} reading;

/* Finds a tensor of the state with its checksum; NULL when it is not there. */
static const tr_safetensor *find(reading *r, const tr_param *p, int kind, const char **sum, char name[112])
{
    snprintf(name, 112, "%s/%s", kinds[kind], p->name);
    const tr_safetensor *tensor = tr_safetensors_find(&r->file, name);
    *sum = json_string_value(json_object_get(r->sums, name));
    return *sum ? tensor : NULL;
}

static tr_status check_tensor(const reading *r, const tr_safetensor *t, const tr_param *p, int kind,
                              const char *name, tr_error *err)
{
    const bool records = kind == TR_STATE_MOMENTS8;
    const int64_t expected = records ? (int64_t)tr_param_moments8_bytes(p) : p->out * p->in;
    if (!t) {
        return tr_fail(err, TR_MISMATCH, r->path, "the state has no %s: it was written with other parts frozen",
                       name);
    }
    if (t->dtype != (records ? TR_U8 : TR_F32) || (int64_t)t->elements != expected) {
        return tr_fail(err, TR_MISMATCH, r->path, "%s has %lld elements, the model's is [%lld, %lld]", name,
                       (long long)t->elements, (long long)p->out, (long long)p->in);
    }
    return TR_OK;
}

/* Rows [row, row + rows) of a tensor into a band, chained to its checksum. */
static tr_status read_band(const tr_safetensor *t, const tr_param *p, int kind, int64_t row, int64_t rows,
                           void *band, uint64_t *hash, tr_error *err)
{
    const bool records = kind == TR_STATE_MOMENTS8;
    const int64_t at = records ? tr_moments8_bytes(row, p->in) : row * p->in,
                  count = records ? tr_moments8_bytes(rows, p->in) : rows * p->in;
    tr_status status = tr_safetensors_copy(t, at, count, band, records ? TR_U8 : TR_F32, err);
    *hash = chain(*hash, band, (size_t)count * (records ? 1 : sizeof(float)));
    return status;
}

/* A band to its place. */
static void place(const tr_param *p, int kind, int64_t row, int64_t rows, const void *band)
{
    tr_matrix matrix = {TR_F32, p->out, p->in, tr_state_values(p, kind)};
    if (kind == TR_STATE_MOMENTS8) {
        p->memory->write((unsigned char *)p->moments8 + tr_moments8_bytes(row, p->in), band,
                         (size_t)tr_moments8_bytes(rows, p->in));
    } else if (p->matrix) {
        tr_state_memory(p, kind)->pack(&matrix, band, TR_F32, row, rows);
    } else {
        tr_state_memory(p, kind)->write((float *)matrix.panels + row, band, (size_t)rows * sizeof(float));
    }
}

static tr_status check_sum(const reading *r, uint64_t hash, const char *sum, const char *name, tr_error *err)
{
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    return strcmp(text, sum)
               ? tr_fail(err, TR_FORMAT, r->path,
                         "%s does not have its checksum: the file is damaged; without this checkpoint's folder "
                         "--resume takes the one before",
                         name)
               : TR_OK;
}

static tr_status read_tensor(reading *r, const tr_param *p, int kind, tr_error *err)
{
    char name[112];
    const char *sum;
    const tr_safetensor *tensor = find(r, p, kind, &sum, name);
    uint64_t hash = 0;
    const int64_t step = band_rows(p);
    tr_status status = check_tensor(r, tensor, p, kind, name, err);
    for (int64_t row = 0; !status && row < p->out; row += step) {
        int64_t rows = row + step < p->out ? step : p->out - row;
        status = read_band(tensor, p, kind, row, rows, r->band[0], &hash, err);
        if (!status) {
            place(p, kind, row, rows, r->band[0]);
        }
    }
    r->used++;
    return status ? status : check_sum(r, hash, sum, name, err);
}

/* Moments in 8 bits from f32 ones, or the other way. */
static tr_status convert_moments(reading *r, const tr_param *p, tr_error *err)
{
    static const int wide[] = {TR_STATE_M, TR_STATE_V}, narrow[] = {TR_STATE_MOMENTS8};
    const bool to_narrow = p->moments8;
    const int *from = to_narrow ? wide : narrow, *to = to_narrow ? narrow : wide, count = to_narrow ? 2 : 1;
    const tr_safetensor *tensor[2];
    const char *sum[2];
    char name[2][112];
    uint64_t hash[2] = {0};
    const int64_t step = band_rows(p);
    tr_status status = TR_OK;
    for (int i = 0; !status && i < count; i++) {
        tensor[i] = find(r, p, from[i], &sum[i], name[i]);
        status = check_tensor(r, tensor[i], p, from[i], name[i], err);
        r->used++;
    }
    for (int64_t row = 0; !status && row < p->out; row += step) {
        int64_t rows = row + step < p->out ? step : p->out - row;
        for (int i = 0; !status && i < count; i++) {
            status = read_band(tensor[i], p, from[i], row, rows, r->band[i], &hash[i], err);
        }
        if (!status && to_narrow) {
            tr_moments8_pack(r->band[2], r->band[0], r->band[1], rows, p->in);
            place(p, to[0], row, rows, r->band[2]);
        } else if (!status) {
            tr_moments8_unpack(r->band[1], r->band[2], r->band[0], rows, p->in);
            place(p, to[0], row, rows, r->band[1]);
            place(p, to[1], row, rows, r->band[2]);
        }
    }
    for (int i = 0; !status && i < count; i++) {
        status = check_sum(r, hash[i], sum[i], name[i], err);
    }
    return status;
}

/* A matrix' moments are there in the form that the model does not have. */
static bool other_form(reading *r, const tr_param *p)
{
    const char *sum;
    char name[112];
    return p->matrix && find(r, p, p->moments8 ? TR_STATE_M : TR_STATE_MOMENTS8, &sum, name);
}

static tr_status read_state(reading *r, const tr_param *p, tr_error *err)
{
    tr_status status = read_tensor(r, p, TR_STATE_MASTER, err);
    if (!status && other_form(r, p)) {
        return convert_moments(r, p, err);
    }
    for (int kind = TR_STATE_M; !status && kind < TR_STATE_KINDS; kind++) {
        status = tr_state_values(p, kind) ? read_tensor(r, p, kind, err) : TR_OK;
    }
    return status;
}

tr_status tr_state_read(tr_model *model, const char *path, const json_t *sums, tr_error *err)
{
    reading r = {.sums = sums, .path = path};
    const size_t bytes = largest_band(model);
    char *bands = tr_calloc_aligned(3, bytes);
    if (!bands) {
        return tr_fail(err, TR_MEMORY, path, "out of memory");
    }
    for (int i = 0; i < 3; i++) {
        r.band[i] = (float *)(void *)(bands + (size_t)i * bytes);
    }
    tr_status status = tr_safetensors_open(&r.file, path, err);
    for (int i = 0; !status && i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        status = tr_state_has(p) ? read_state(&r, p, err) : TR_OK;
    }
    if (!status && r.used != r.file.count) {
        status = tr_fail(err, TR_MISMATCH, path,
                         "the state holds %zu tensors, the run trains %zu: it was written with other parts frozen",
                         r.file.count, r.used);
    }
    tr_safetensors_close(&r.file);
    free(bands);
    return status;
}
