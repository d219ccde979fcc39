/* trace_input.c: reads prompts, pixels and integers of a trace case and checks that they fit together. */
#include "model/trace.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATCH_VALUES = 1176, VALUES_PER_GRID = 3 };

const tr_safetensor *tr_trace_find(const tr_safetensors *in, const char *prefix, const char *name)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return tr_safetensors_find(in, full);
}

static tr_status missing(const char *prefix, const char *name, tr_error *err)
{
    return tr_fail(err, TR_NOT_FOUND, "input", "the case has no tensor %s%s", prefix, name);
}

tr_status tr_trace_integers(const tr_safetensors *in, const char *prefix, const char *name, int32_t **values,
                            int64_t *count, tr_error *err)
{
    const tr_safetensor *t = tr_trace_find(in, prefix, name);
    if (!t) {
        return missing(prefix, name, err);
    }
    if (t->dtype != TR_I64 && t->dtype != TR_I32) {
        return tr_fail(err, TR_FORMAT, t->name, "holds %s values; integers (I64 or I32) are needed",
                       tr_dtype_name(t->dtype));
    }
    *values = tr_calloc((size_t)t->elements, sizeof **values);
    if (!*values) {
        return tr_fail(err, TR_MEMORY, t->name, "out of memory");
    }
    for (int64_t i = 0; i < t->elements; i++) {
        int64_t wide = 0;
        int32_t narrow = 0;
        if (t->dtype == TR_I64) {
            memcpy(&wide, t->data + 8 * i, sizeof wide);
        } else {
            memcpy(&narrow, t->data + 4 * i, sizeof narrow);
            wide = narrow;
        }
        (*values)[i] = wide < INT32_MIN || wide > INT32_MAX ? -1 : (int32_t)wide;
    }
    *count = t->elements;
    return TR_OK;
}

tr_status tr_trace_pixels(const tr_safetensors *in, const char *prefix, const char *name, float **values, int64_t *rows,
                          tr_error *err)
{
    const tr_safetensor *t = tr_trace_find(in, prefix, name);
    if (!t) {
        return missing(prefix, name, err);
    }
    if (t->dtype != TR_U8 || t->rank != 2 || t->shape[1] != PATCH_VALUES) {
        char shape[96];
        return tr_fail(err, TR_FORMAT, t->name, "is %s %s; patches are U8 [rows, %d]", tr_dtype_name(t->dtype),
                       tr_shape_text(t->shape, t->rank, shape, sizeof shape), PATCH_VALUES);
    }
    *values = tr_calloc((size_t)t->elements, sizeof **values);
    if (!*values) {
        return tr_fail(err, TR_MEMORY, t->name, "out of memory");
    }
    for (int64_t i = 0; i < t->elements; i++) {
        (*values)[i] = (float)((int)t->data[i] - 128) / 64.0f;
    }
    *rows = t->shape[0];
    return TR_OK;
}

/* The images or the videos of a case. */
typedef struct source {
    float *patches;
    int32_t *grids;
    int64_t rows, grid_values, grid_count, next_grid, next_row;
} source;

static tr_status source_read(const tr_safetensors *in, const char *prefix, const char *pixels, const char *grids,
                             source *s, tr_error *err)
{
    if (!tr_trace_find(in, prefix, grids)) {
        return tr_trace_find(in, prefix, pixels) ? missing(prefix, grids, err) : TR_OK;
    }
    tr_status status = tr_trace_pixels(in, prefix, pixels, &s->patches, &s->rows, err);
    if (!status) {
        status = tr_trace_integers(in, prefix, grids, &s->grids, &s->grid_values, err);
    }
    if (status) {
        return status;
    }
    s->grid_count = s->grid_values / VALUES_PER_GRID;
    int64_t total = 0;
    for (int64_t i = 0; i < s->grid_count; i++) {
        const int32_t *g = s->grids + 3 * i;
        int64_t area;
        if (g[0] < 1 || g[1] < 1 || g[2] < 1 || __builtin_mul_overflow((int64_t)g[0] * g[1], (int64_t)g[2], &area) ||
            area > s->rows - total) {
            return tr_fail(err, TR_MISMATCH, grids, "grid %" PRId64 " (%d, %d, %d) does not fit %" PRId64 " patches", i,
                           g[0], g[1], g[2], s->rows);
        }
        total += area;
    }
    if (s->grid_values % 3 || total != s->rows) {
        return tr_fail(err, TR_MISMATCH, grids, "the grids hold %" PRId64 " patches, %s%s has %" PRId64, total, prefix,
                       pixels, s->rows);
    }
    return TR_OK;
}

/* Images and videos in the order in which the prompt names them. */
static tr_status merge(tr_trace_prompt *p, const tr_model_config *config, source *image, source *video, tr_error *err)
{
    int64_t merged = config->vision.merge * config->vision.merge;
    p->rows = image->rows + video->rows;
    p->grids = tr_calloc((size_t)(image->grid_count + video->grid_count), sizeof *p->grids);
    p->patches = tr_calloc((size_t)p->rows * PATCH_VALUES, sizeof *p->patches);
    if (!p->grids || !p->patches) {
        return tr_fail(err, TR_MEMORY, "input", "out of memory for %" PRId64 " patches", p->rows);
    }
    int64_t row = 0;
    for (int64_t i = 0; i < p->count;) {
        source *s = p->ids[i] == config->image_id ? image : p->ids[i] == config->video_id ? video : NULL;
        if (!s) {
            i++;
            continue;
        }
        if (s->next_grid == s->grid_count) {
            return tr_fail(err, TR_MISMATCH, "input_ids", "token %" PRId64 " starts %s beyond the %" PRId64 " given", i,
                           s == image ? "an image" : "a video", s->grid_count);
        }
        const int32_t *g = s->grids + 3 * s->next_grid++;
        int64_t patches = (int64_t)g[0] * g[1] * g[2];
        memcpy(p->grids[p->grid_count++], g, sizeof *p->grids);
        memcpy(p->patches + row * PATCH_VALUES, s->patches + s->next_row * PATCH_VALUES,
               (size_t)patches * PATCH_VALUES * sizeof *p->patches);
        s->next_row += patches;
        row += patches;
        i += patches / merged > 0 ? patches / merged : 1;
    }
    if (image->next_grid != image->grid_count || video->next_grid != video->grid_count) {
        return tr_fail(err, TR_MISMATCH, "input_ids", "%" PRId64 " images and %" PRId64 " videos are given, the prompt has "
                       "placeholders of %" PRId64 " and %" PRId64, image->grid_count, video->grid_count, image->next_grid,
                       video->next_grid);
    }
    return TR_OK;
}

/* Computed positions, and their comparison with given ones. */
static tr_status positions(const tr_safetensors *in, const char *prefix, const tr_model_config *config, int64_t videos,
                           tr_trace_prompt *p, tr_error *err)
{
    tr_status status = TR_OK;
    const tr_safetensor *spg = tr_trace_find(in, prefix, "second_per_grid");
    int32_t *given = NULL;
    int64_t count = 0;
    double *seconds = tr_calloc((size_t)videos + 1, sizeof *seconds);
    p->positions = tr_calloc((size_t)p->count, 3 * sizeof *p->positions);
    if (!seconds || !p->positions) {
        status = tr_fail(err, TR_MEMORY, "input", "out of memory");
        goto done;
    }
    for (int64_t i = 0; i < videos; i++) {
        seconds[i] = 1.0; /* what the reference assumes where nothing is said */
    }
    if (spg) {
        if (spg->elements != videos) {
            status = tr_fail(err, TR_MISMATCH, spg->name, "has %" PRId64 " values for %" PRId64 " videos", spg->elements,
                             videos);
            goto done;
        }
        TR_TRY(tr_safetensors_copy(spg, 0, videos, seconds, TR_F64, err));
    }
    TR_TRY(tr_positions(config, p->ids, p->count, (const int32_t(*)[3])p->grids, p->grid_count, seconds, p->positions,
                        &p->next, err));
    if (tr_trace_find(in, prefix, "position_ids")) {
        TR_TRY(tr_trace_integers(in, prefix, "position_ids", &given, &count, err));
        if (count != 3 * p->count) {
            status = tr_fail(err, TR_MISMATCH, "position_ids", "has %" PRId64 " values for %" PRId64 " tokens on 3 axes",
                             count, p->count);
            goto done;
        }
        for (int64_t i = 0; i < count; i++) {
            if (given[i] != p->positions[i] && (spg || !videos)) {
                status = tr_fail(err, TR_MISMATCH, "position_ids", "axis %" PRId64 ", token %" PRId64 ": given %d, computed %d",
                                 i / p->count, i % p->count, given[i], p->positions[i]);
                goto done;
            }
            p->positions[i] = given[i];
            p->next = i == 0 ? given[0] + 1 : given[i] >= p->next ? given[i] + 1 : p->next;
        }
    }
done:
    free(given);
    free(seconds);
    return status;
}

tr_status tr_trace_prompt_read(const tr_safetensors *in, const char *prefix, const tr_model_config *config,
                               tr_trace_prompt *prompt, tr_error *err)
{
    source image = {0}, video = {0};
    tr_status status;
    *prompt = (tr_trace_prompt){0};
    TR_TRY(tr_trace_integers(in, prefix, "input_ids", &prompt->ids, &prompt->count, err));
    if (prompt->count < 1) {
        status = tr_fail(err, TR_INVALID, "input_ids", "has no tokens");
        goto done;
    }
    TR_TRY(source_read(in, prefix, "image_pixels_u8", "image_grid_thw", &image, err));
    TR_TRY(source_read(in, prefix, "video_pixels_u8", "video_grid_thw", &video, err));
    TR_TRY(merge(prompt, config, &image, &video, err));
    TR_TRY(positions(in, prefix, config, video.grid_count, prompt, err));
done:
    free(image.patches);
    free(image.grids);
    free(video.patches);
    free(video.grids);
    if (status) {
        tr_fail_where(err, status, "%s", prefix);
        tr_trace_prompt_free(prompt);
    }
    return status;
}

void tr_trace_prompt_free(tr_trace_prompt *prompt)
{
    free(prompt->ids);
    free(prompt->positions);
    free(prompt->patches);
    free(prompt->grids);
    *prompt = (tr_trace_prompt){0};
}
