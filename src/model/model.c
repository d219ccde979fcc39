/* model.c: a model's memory: allocation, random start, copies, refreshing the compute copies from the masters.
 *
 * Large blocks are not touched before they are filled, so that threads fault in the pages they fill. */
#include "model/away.h"
#include "model/checkpoint.h"

#include "base/buffer.h"
#include "base/math.h"
#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BAND_BYTES = 1 << 20, HUGE_PAGE = 2 << 20 };

/* Aligned memory with undefined contents; large blocks ask for huge pages, as far as they fill them. free() frees
 * it. */
static void *take(int64_t elements, tr_dtype dtype)
{
    size_t bytes, align = 64;
    void *block;
    if (elements <= 0 || !tr_size_mul((size_t)elements, tr_dtype_size(dtype), &bytes)) {
        return NULL;
    }
    if (bytes >= 2 * (size_t)HUGE_PAGE) {
        align = HUGE_PAGE;
    }
    if (posix_memalign(&block, align, bytes)) {
        return NULL;
    }
    if (align == HUGE_PAGE) {
        madvise(block, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    }
    return block;
}

int64_t tr_param_count(const tr_param *param)
{
    return param->out * param->in;
}

static bool is_frozen(const tr_model_options *options, tr_param_part part)
{
    return !options->train || (part == TR_PART_TEXT && options->freeze_text) ||
           (part == TR_PART_VISION && options->freeze_vision) || (part == TR_PART_MERGER && options->freeze_merger);
}

/* The compute copy's dtype: vectors are f32; frozen matrices stay as stored, f32 ones being rounded under bf16. */
static tr_dtype value_dtype(const tr_param *param, bool trainable, tr_dtype dtype)
{
    if (!param->matrix) {
        return TR_F32;
    }
    return trainable || param->stored == TR_F32 ? dtype : param->stored;
}

bool tr_param_keeps_records(const tr_param *param, const tr_model_options *options)
{
    return options->moments8 && param->matrix && !param->embedding;
}

/* Bytes of a trainable parameter's moments. */
static size_t moment_bytes(const tr_param *param, const tr_model_options *options)
{
    return tr_param_keeps_records(param, options) ? tr_param_moments8_bytes(param)
                                                  : 2 * (size_t)param->elements * sizeof(float);
}

void tr_param_plan(const tr_param *param, const tr_model_options *options, uint64_t *compute, uint64_t *state)
{
    const bool trainable = !is_frozen(options, param->part);
    const uint64_t elements = (uint64_t)param->elements;
    *compute = elements * tr_dtype_size(value_dtype(param, trainable, options->dtype));
    *state = 0;
    if (trainable) {
        *state = elements * 2 * sizeof(float) + (options->moments_folder ? 0 : moment_bytes(param, options));
        *compute = options->dtype == TR_F32 ? 0 : *compute;
    }
}

void tr_param_plan_away(const tr_param *param, const tr_model_options *options, uint64_t *values, uint64_t *state,
                        uint64_t *moments)
{
    const bool trainable = !is_frozen(options, param->part);
    *values = tr_param_value_bytes_away(param, value_dtype(param, trainable, options->dtype));
    *state = trainable ? 2 * (uint64_t)param->elements * sizeof(float) : 0;
    *moments = trainable ? moment_bytes(param, options) : 0;
}

/* A GPU's moments are kept in the host's memory, not in a file. */
static tr_status offload_to_host(tr_params *params, const tr_model_options *options, tr_error *err)
{
    bool *trains = tr_calloc((size_t)params->count, sizeof *trains), any = false;
    tr_status status = trains ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    for (int i = 0; !status && i < params->count; i++) {
        trains[i] = !is_frozen(options, params->items[i].part);
        any = any || trains[i];
    }
    status = !status && any ? tr_away_moments(params, params->items[0].memory, trains, err) : status;
    free(trains);
    return status;
}

tr_status tr_params_offload_moments(tr_params *params, const tr_model_options *options, tr_error *err)
{
    size_t bytes = 0;
    if (options->moments_folder && !params->items[0].memory->host) {
        return offload_to_host(params, options, err);
    }
    for (int i = 0; i < params->count; i++) {
        const tr_param *p = &params->items[i];
        const size_t pieces = tr_param_keeps_records(p, options) ? 1 : 2;
        bytes += is_frozen(options, p->part) ? 0 : pieces * tr_spill_need(moment_bytes(p, options) / pieces);
    }
    return options->moments_folder && bytes ? tr_spill_open(&params->spill, options->moments_folder, bytes, err)
                                            : TR_OK;
}

static void *take_moment(tr_params *params, size_t bytes, const tr_model_options *options)
{
    return options->moments_folder && params->spill.block ? tr_spill_take(&params->spill, bytes)
                                                          : tr_calloc_aligned(bytes, 1);
}

tr_status tr_param_allocate(tr_params *params, int index, const tr_model_options *options, tr_error *err)
{
    tr_param *param = &params->items[index];
    param->trainable = !is_frozen(options, param->part);
    param->value.dtype = value_dtype(param, param->trainable, options->dtype);
    bool made = true;
    if (!param->memory->host) {
        return tr_param_allocate_away(params, param, options, err);
    }
    if (param->trainable) {
        param->master = take(param->elements, TR_F32);
        param->gradient = tr_calloc_aligned((size_t)param->elements, sizeof(float));
        made = param->master && param->gradient;
        if (tr_param_keeps_records(param, options)) {
            param->moments8 = take_moment(params, moment_bytes(param, options), options);
            made = made && param->moments8;
        } else {
            param->m = take_moment(params, moment_bytes(param, options) / 2, options);
            param->v = take_moment(params, moment_bytes(param, options) / 2, options);
            made = made && param->m && param->v;
        }
    }
    if (param->trainable && options->dtype == TR_F32) {
        param->value.panels = param->master;
    } else {
        param->value.panels = take(param->elements, param->value.dtype);
    }
    if (!made || !param->value.panels) {
        return tr_fail(err, TR_MEMORY, param->name, "out of memory for parameter %s of %lld elements", param->name,
                       (long long)param->elements);
    }
    return TR_OK;
}

/* Padding lanes are zero and stay zero. */
static void clear_last_panel(tr_matrix *matrix)
{
    if (matrix->out % TR_PANEL) {
        int64_t at = tr_matrix_index(matrix->in, matrix->out / TR_PANEL * TR_PANEL, 0);
        size_t size = tr_dtype_size(matrix->dtype);
        memset((char *)matrix->panels + (size_t)at * size, 0, (size_t)matrix->in * TR_PANEL * size);
    }
}

static void round_bf16(float *to, const float *from, int64_t count)
{
    uint16_t piece[1024];
    for (int64_t i = 0; i < count; i += 1024) {
        int64_t n = count - i < 1024 ? count - i : 1024;
        tr_convert(piece, TR_BF16, from + i, TR_F32, n);
        tr_convert(to + i, TR_F32, piece, TR_BF16, n);
    }
}

void tr_param_refresh(tr_param *param, tr_dtype dtype)
{
    if (!param->master || param->value.panels == param->master || dtype == TR_F32) {
        return;
    }
    if (!param->memory->host) {
        tr_param_refresh_away(param);
        return;
    }
    if (!param->matrix) {
        round_bf16(param->value.panels, param->master, param->elements);
        return;
    }
    const int64_t band = BAND_BYTES / 4;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < param->elements; i += band) {
        int64_t n = param->elements - i < band ? param->elements - i : band;
        tr_convert((uint16_t *)param->value.panels + i, TR_BF16, param->master + i, TR_F32, n);
    }
}

tr_status tr_param_fill(tr_param *param, tr_dtype dtype, tr_rows_fill fill, const void *context, tr_error *err)
{
    if (!param->matrix && !param->memory->host) {
        float *values = tr_calloc((size_t)param->out, sizeof *values);
        if (!values) {
            return tr_fail(err, TR_MEMORY, param->name, "out of memory while loading parameter %s", param->name);
        }
        fill(context, param, 0, param->out, values, TR_F32);
        tr_param_write_vector(param, dtype, values);
        free(values);
        return TR_OK;
    }
    if (!param->matrix) {
        float *to = param->master ? param->master : param->value.panels;
        fill(context, param, 0, param->out, to, TR_F32);
        if (dtype == TR_BF16) {
            round_bf16(param->value.panels, to, param->out);
        }
        return TR_OK;
    }
    tr_matrix target = param->value;
    if (param->master) {
        target.dtype = TR_F32;
        target.panels = param->master;
    }
    if (param->memory->host) { /* elsewhere memory comes zeroed */
        clear_last_panel(&target);
    }
    /* The source's own dtype is asked for, so that one rounding happens, in the packing. */
    const tr_dtype source = param->stored;
    size_t row_bytes = (size_t)param->in * tr_dtype_size(source);
    int64_t band = (int64_t)(BAND_BYTES / row_bytes) / TR_PANEL * TR_PANEL;
    band = band < TR_PANEL ? TR_PANEL : band;
    int failed = 0;
#pragma omp parallel
    {
        void *rows = aligned_alloc(64, ((size_t)band * row_bytes + 63) / 64 * 64);
        if (!rows) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(static)
        for (int64_t row = 0; row < param->out; row += band) {
            int64_t n = param->out - row < band ? param->out - row : band;
            if (rows) {
                fill(context, param, row, n, rows, source);
                param->memory->pack(&target, rows, source, row, n);
            }
        }
        free(rows);
    }
    if (failed) {
        return tr_fail(err, TR_MEMORY, param->name, "out of memory while packing parameter %s", param->name);
    }
    tr_param_refresh(param, dtype);
    return TR_OK;
}

/* Normal deviates by a table of quantiles with straight lines between them: twenty times faster than logarithms and
 * angles, which counts for billions of weights. The ends are cut at about four standard deviations. */
enum { QUANTILES = 4096 };

typedef struct quantiles {
    float at[QUANTILES + 2];
} quantiles;

/* x with P(X < x) = p for a standard normal, by bisection on our own erf: the same bits on every machine. */
static double quantile(double p)
{
    double low = -8, high = 8;
    for (int i = 0; i < 60; i++) {
        double middle = 0.5 * (low + high);
        if (0.5 * (1 + tr_math_erf(middle * 0.70710678118654752)) < p) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return 0.5 * (low + high);
}

static const quantiles *quantile_table(void)
{
    static quantiles table;
    static bool filled;
#pragma omp critical(tr_quantile_table)
    if (!filled) {
        for (int i = 1; i < QUANTILES; i++) {
            table.at[i] = (float)quantile((double)i / QUANTILES);
        }
        table.at[0] = (float)quantile(0.1 / QUANTILES);
        table.at[QUANTILES] = table.at[QUANTILES + 1] = -table.at[0];
        filled = true;
    }
    return &table;
}

/* Four deviates of one counter. */
static void normals(const quantiles *table, uint64_t seed, uint64_t index, float out[4])
{
    uint32_t x[4];
    tr_random_bits(seed, (uint32_t)index, (uint32_t)(index >> 32), 0x1417, 0, x);
    for (int i = 0; i < 4; i++) {
        const float *at = table->at + (x[i] >> 20);
        out[i] = at[0] + (at[1] - at[0]) * ((float)(x[i] & 0xFFFFF) * 0x1p-20f);
    }
}

/* Element e of a tensor is a function of (seed, name, e): neither threads nor bands change it. */
void tr_rows_random(const void *context, const tr_param *param, int64_t row0, int64_t rows, void *to,
                    tr_dtype dtype)
{
    const uint64_t seed = *(const uint64_t *)context ^ tr_hash_text(param->name);
    const int64_t first = row0 * param->in, count = rows * param->in;
    const float constant = strstr(param->name, "bias") ? 0.0f : 1.0f; /* biases 0, norms 1 */
    /* 1/sqrt(in) keeps the size of activations whatever the width; 2048 inputs give the published 0.02 */
    const bool vocabulary = strstr(param->name, "embed_tokens") || strstr(param->name, "lm_head");
    const float deviation = vocabulary ? 0.02f : (float)(1.0 / sqrt((double)param->in));
    const quantiles *table = quantile_table();
    float piece[1024], four[4];
    for (int64_t at = 0; at < count; at += 1024) {
        int64_t n = count - at < 1024 ? count - at : 1024;
        for (int64_t i = 0; i < n; i++) {
            uint64_t e = (uint64_t)(first + at + i);
            if (param->matrix && (i == 0 || e % 4 == 0)) {
                normals(table, seed, e / 4, four);
            }
            piece[i] = param->matrix ? deviation * four[e % 4] : constant;
        }
        tr_convert((char *)to + (size_t)at * tr_dtype_size(dtype), dtype, piece, TR_F32, n);
    }
}

tr_status tr_model_create(const tr_model_config *config, const tr_model_options *options, uint64_t seed,
                          tr_model **model, tr_error *err)
{
    tr_status status = TR_OK;
    tr_model *m = tr_calloc(1, sizeof *m);
    if (!m) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    m->config = *config;
    m->dtype = options->dtype;
    TR_TRY(tr_params_build(config, &m->params, err));
    TR_TRY(tr_model_place(m, options, err));
    TR_TRY(tr_params_offload_moments(&m->params, options, err));
    for (int i = 0; i < m->params.count; i++) {
        m->params.items[i].stored = TR_F32;
        TR_TRY(tr_param_allocate(&m->params, i, options, err));
        TR_TRY(tr_param_fill(&m->params.items[i], options->dtype, tr_rows_random, &seed, err));
    }
    *model = m;
    m = NULL;
done:
    tr_model_free(m);
    return status;
}

void tr_model_free(tr_model *model)
{
    if (model) {
        tr_params_free(&model->params);
        tr_lora_free(model->lora);
        free(model->directory);
        free(model);
    }
}

/* Whether every value of f32 panels is a bf16 number, as after loading a bf16 checkpoint: then half the memory
 * holds the same values. */
static bool fits_bf16(const tr_matrix *matrix, int64_t elements)
{
    const uint32_t *bits = matrix->panels;
    uint32_t low = 0;
#pragma omp parallel for schedule(static) reduction(| : low)
    for (int64_t i = 0; i < elements; i++) {
        low |= bits[i] & 0xFFFF;
    }
    return !low;
}

static tr_status clone_param(tr_params *params, tr_param *to, const tr_param *from, tr_error *err)
{
    const size_t bytes = (size_t)to->elements * tr_dtype_size(to->value.dtype);
    if (to->borrowed) {
        return TR_OK;
    }
    if (!to->memory->host) {
        return tr_away_holds(params, (int)(to - params->items)) ? TR_OK : tr_param_clone_away(to, from, err);
    }
    to->value.panels =
        params->spill.block ? tr_spill_take(&params->spill, bytes) : take(to->elements, to->value.dtype);
    if (!to->value.panels) {
        return tr_fail(err, TR_MEMORY, to->name, "out of memory for a frozen copy of parameter %s", to->name);
    }
    const size_t size = tr_dtype_size(to->value.dtype), from_size = tr_dtype_size(from->value.dtype);
    const int64_t band = BAND_BYTES / 4;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < to->elements; i += band) {
        int64_t n = to->elements - i < band ? to->elements - i : band;
        tr_convert((char *)to->value.panels + (size_t)i * size, to->value.dtype,
                   (const char *)from->value.panels + (size_t)i * from_size, from->value.dtype, n);
    }
    tr_spill_release(&params->spill, to->value.panels, bytes);
    return TR_OK;
}

/* Forms of the copies; opens the file that holds them where a folder is given. */
static tr_status prepare_clone(tr_params *params, const tr_params *from, const char *folder, tr_error *err)
{
    size_t bytes = 0;
    for (int i = 0; i < params->count; i++) {
        tr_param *to = &params->items[i];
        const tr_param *p = &from->items[i];
        to->stored = p->stored;
        to->value = p->value;
        to->memory = p->memory;
        to->borrowed = !p->trainable;
        if (to->borrowed) {
            continue;
        }
        to->value.panels = NULL;
        if (to->memory->host && i < params->base && p->matrix && p->value.dtype == TR_F32 &&
            fits_bf16(&p->value, p->elements)) {
            to->value.dtype = TR_BF16;
        }
        bytes += tr_spill_need((size_t)to->elements * tr_dtype_size(to->value.dtype));
    }
    if (!folder || !bytes) {
        return TR_OK;
    }
    const tr_memory *memory = params->items[0].memory;
    return memory->host ? tr_spill_open(&params->spill, folder, bytes, err)
                        : tr_away_layers(params, from, memory, err);
}

tr_status tr_model_clone_frozen(const tr_model *model, const char *folder, tr_model **copy, tr_error *err)
{
    tr_status status = TR_OK;
    tr_model *m = tr_calloc(1, sizeof *m);
    if (!m) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    m->config = model->config;
    m->dtype = model->dtype;
    m->ops = model->ops;
    m->host_ops = model->host_ops;
    if (model->directory && !(m->directory = tr_strdup(model->directory))) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    TR_TRY(tr_params_build(&m->config, &m->params, err));
    TR_TRY(tr_lora_copy_table(m, model, err));
    TR_TRY(prepare_clone(&m->params, &model->params, folder, err));
    for (int i = 0; i < m->params.count; i++) {
        TR_TRY(clone_param(&m->params, &m->params.items[i], &model->params.items[i], err));
    }
    *copy = m;
    m = NULL;
done:
    tr_model_free(m);
    return status;
}

void tr_model_refresh(tr_model *model)
{
    for (int i = 0; i < model->params.count; i++) {
        tr_param_refresh(&model->params.items[i], model->dtype);
    }
}

void tr_model_zero_gradients(tr_model *model)
{
    enum { TURN = 1 << 16 }; /* elements: small enough for the threads to end together */
#pragma omp parallel
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        if (!p->gradient) {
            continue;
        }
        if (!p->memory->host) {
#pragma omp master
            p->memory->zero(p->gradient, (size_t)p->elements * sizeof(float));
            continue;
        }
#pragma omp for schedule(static) nowait
        for (int64_t at = 0; at < p->elements; at += TURN) {
            int64_t n = p->elements - at < TURN ? p->elements - at : TURN;
            memset(p->gradient + at, 0, (size_t)n * sizeof(float));
        }
    }
}
