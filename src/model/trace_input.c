/* trace_input.c: reads the inputs of a trace from named tensors and checks them against the model.
 *
 * Never computes anything of the network. Pixels are bytes, (u8 - 128) / 64, or floats as they are. */
#include "model/trace.h"

#include <stdlib.h>
#include <string.h>

/* What one row is read from: tensors named prefix + name. */
typedef struct source {
    const tr_model_config *config;
    const tr_safetensors *file;
    const char *prefix; /* "in/", "in/prompt_", "in/group0/prompt_", "in/row0/" */
} source;

static const tr_safetensor *find(const source *s, const char *name, char *full, size_t size)
{
    snprintf(full, size, "%s%s", s->prefix, name);
    return tr_safetensors_find(s->file, full);
}

/* A tensor converted to dtype, checked to have the rank and, where >= 0, the sides; *out NULL when absent. */
static tr_status load(const source *s, const char *name, bool required, tr_dtype dtype, int rank, int64_t side0,
                      int64_t side1, const tr_safetensor **tensor, void *out, tr_error *err)
{
    char full[128], shape[64];
    const tr_safetensor *t = find(s, name, full, sizeof full);
    void *data = NULL;
    *tensor = t;
    if (!t) {
        return required ? tr_fail(err, TR_NOT_FOUND, full, "the input has no such tensor") : TR_OK;
    }
    if (t->rank != rank || (side0 >= 0 && t->shape[0] != side0) ||
        (rank > 1 && side1 >= 0 && t->shape[1] != side1)) {
        return tr_fail(err, TR_MISMATCH, full,
                       "has the shape %s, expected rank %d and sides [%lld%s%lld] (-1: any)",
                       tr_shape_text(t->shape, t->rank, shape, sizeof shape), rank, (long long)side0,
                       rank > 1 ? ", " : "] [", (long long)side1);
    }
    data = tr_calloc((size_t)t->elements, tr_dtype_size(dtype));
    if (!data) {
        return tr_fail(err, TR_MEMORY, full, "no memory for %lld elements", (long long)t->elements);
    }
    tr_status status = tr_safetensors_copy(t, 0, t->elements, data, dtype, err);
    if (status) {
        free(data);
        return status;
    }
    memcpy(out, &data, sizeof data);
    return TR_OK;
}

/* Integers of a range, stored as int64 in the files. */
static tr_status load_ids(const source *s, const char *name, bool required, int rank, int64_t side0, int64_t side1,
                          int64_t low, int64_t high, const tr_safetensor **tensor, int32_t **out, tr_error *err)
{
    int64_t *wide = NULL;
    tr_status status = load(s, name, required, TR_I64, rank, side0, side1, tensor, &wide, err);
    if (status || !wide) {
        return status;
    }
    int64_t count = (*tensor)->elements;
    int32_t *narrow = tr_calloc((size_t)count, sizeof *narrow);
    if (!narrow) {
        status = tr_fail(err, TR_MEMORY, (*tensor)->name, "no memory for %lld numbers", (long long)count);
        goto done;
    }
    for (int64_t i = 0; i < count; i++) {
        if (wide[i] < low || wide[i] > high) {
            status = tr_fail(err, TR_INVALID, (*tensor)->name, "element %lld is %lld, expected %lld to %lld",
                             (long long)i, (long long)wide[i], (long long)low, (long long)high);
            goto done;
        }
        narrow[i] = (int32_t)wide[i];
    }
    *out = narrow;
    narrow = NULL;
done:
    free(narrow);
    free(wide);
    return status;
}

/* ---- pixels ---- */

/* Images or videos of one kind, in their own order. */
typedef struct media {
    float *pixels;
    int32_t (*grids)[3];
    int64_t patches, count;
} media;

static void media_free(media *m)
{
    free(m->pixels);
    free(m->grids);
}

static tr_status load_pixels(const source *s, const char *name, int64_t features, media *m, tr_error *err)
{
    const tr_safetensor *t;
    tr_status status = load(s, name, true, TR_F32, 2, -1, features, &t, &m->pixels, err);
    if (status) {
        return status;
    }
    m->patches = t->shape[0];
    for (int64_t i = 0; t->dtype == TR_U8 && i < t->elements; i++) {
        m->pixels[i] = (m->pixels[i] - 128.0f) / 64.0f;
    }
    return TR_OK;
}

/* kind: "" (vision trace), "image_" or "video_". Absent media are fine unless required. */
static tr_status load_media(const source *s, const char *kind, bool required, media *m, tr_error *err)
{
    const tr_vision_config *v = &s->config->vision;
    char name[64], full[128];
    const tr_safetensor *t;
    int32_t *grids = NULL;
    int64_t patches = 0;
    snprintf(name, sizeof name, "%sgrid_thw", kind);
    tr_status status = load_ids(s, name, required, 2, -1, 3, 1, 1 << 20, &t, &grids, err);
    if (status) {
        return status;
    }
    m->grids = (int32_t(*)[3])grids;
    snprintf(name, sizeof name, "%spixels_u8", kind);
    if (!grids) {
        return !find(s, name, full, sizeof full)
                   ? TR_OK
                   : tr_fail(err, TR_NOT_FOUND, full, "pixels without their grid_thw");
    }
    m->count = t->shape[0];
    TR_TRY(load_pixels(s, name, v->channels * v->temporal_patch * v->patch * v->patch, m, err));
    for (int64_t i = 0; i < m->count; i++) {
        if (m->grids[i][1] % v->merge || m->grids[i][2] % v->merge) {
            status = tr_fail(err, TR_INVALID, t->name, "grid %lld: its sides must be multiples of %lld",
                             (long long)i, (long long)v->merge);
            goto done;
        }
        patches += (int64_t)m->grids[i][0] * m->grids[i][1] * m->grids[i][2];
    }
    if (patches != m->patches) {
        status = tr_fail(err, TR_MISMATCH, t->name, "the grids hold %lld patches, the pixels %lld",
                         (long long)patches, (long long)m->patches);
    }
done:
    return status;
}

/* Puts images and videos in the order of their placeholders: kinds[i] is true where the i-th is a video. */
static void interleave(const media *images, const media *videos, const bool *kinds, int64_t features,
                       tr_trace_row *row)
{
    int64_t next[2] = {0}, from[2] = {0}, at = 0;
    for (int64_t i = 0; i < row->grid_count; i++) {
        const media *m = kinds[i] ? videos : images;
        const int32_t *grid = m->grids[next[kinds[i]]++];
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): find_media has found a grid for each of kinds */
        int64_t patches = (int64_t)grid[0] * grid[1] * grid[2];
        memcpy(row->grids[i], grid, sizeof row->grids[i]);
        memcpy(row->pixels + at * features, m->pixels + from[kinds[i]] * features,
               (size_t)(patches * features) * sizeof *row->pixels);
        from[kinds[i]] += patches;
        at += patches;
    }
}

/* Which media the prompt's placeholders stand for, in order. */
static tr_status find_media(const source *s, const tr_trace_row *row, const media *images, const media *videos,
                            bool *kinds, tr_error *err)
{
    const tr_model_config *c = s->config;
    int64_t found[2] = {0}, count = 0, merge = c->vision.merge * c->vision.merge;
    for (int64_t i = 0; i < row->count; count++) {
        for (; i < row->count && row->ids[i] != c->image_id && row->ids[i] != c->video_id; i++) {
        }
        if (i == row->count) {
            break;
        }
        bool video = row->ids[i] == c->video_id;
        const media *m = video ? videos : images;
        if (found[video] == m->count) {
            return tr_fail(err, TR_MISMATCH, s->prefix, "token %lld starts %s %lld, but %lld are given",
                           (long long)i, video ? "video" : "image", (long long)found[video], (long long)m->count);
        }
        const int32_t *grid = m->grids[found[video]++];
        kinds[count] = video;
        i += (int64_t)grid[0] * grid[1] * grid[2] / merge; /* tr_positions checks that they are all there */
    }
    if (found[0] != images->count || found[1] != videos->count) {
        return tr_fail(err, TR_MISMATCH, s->prefix,
                       "the prompt has %lld images and %lld videos, %lld and %lld are given", (long long)found[0],
                       (long long)found[1], (long long)images->count, (long long)videos->count);
    }
    return TR_OK;
}

static tr_status room_for_pixels(const source *s, tr_trace_row *row, tr_error *err)
{
    const tr_vision_config *v = &s->config->vision;
    int64_t features = v->channels * v->temporal_patch * v->patch * v->patch;
    row->visual = row->patches / (v->merge * v->merge);
    row->grids = tr_calloc((size_t)row->grid_count, sizeof *row->grids);
    row->pixels = tr_calloc((size_t)row->patches, (size_t)features * sizeof *row->pixels);
    row->features = tr_calloc((size_t)row->visual, (size_t)v->out_hidden * sizeof *row->features);
    return row->grids && row->pixels && row->features
               ? TR_OK
               : tr_fail(err, TR_MEMORY, s->prefix, "no memory for %lld patches", (long long)row->patches);
}

static tr_status read_media(const source *s, tr_trace_row *row, tr_error *err)
{
    const tr_vision_config *v = &s->config->vision;
    int64_t features = v->channels * v->temporal_patch * v->patch * v->patch;
    media images = {0}, videos = {0};
    bool *kinds = NULL;
    tr_status status;
    TR_TRY(load_media(s, "image_", false, &images, err));
    TR_TRY(load_media(s, "video_", false, &videos, err));
    row->grid_count = images.count + videos.count;
    row->patches = images.patches + videos.patches;
    kinds = tr_calloc((size_t)row->grid_count, sizeof *kinds);
    if (!kinds) {
        status = tr_fail(err, TR_MEMORY, s->prefix, "no memory for %lld grids", (long long)row->grid_count);
        goto done;
    }
    TR_TRY(room_for_pixels(s, row, err));
    TR_TRY(find_media(s, row, &images, &videos, kinds, err));
    interleave(&images, &videos, kinds, features, row);
done:
    free(kinds);
    media_free(&images);
    media_free(&videos);
    return status;
}

/* ---- tokens ---- */

/* Position ids as given, as computed, or both and equal. Without seconds per grid and with videos, given ones stand
 * as they are. */
static tr_status read_positions(const source *s, tr_trace_row *row, int32_t *next, tr_error *err)
{
    const tr_safetensor *t, *seconds_tensor;
    int64_t videos = 0;
    int32_t *computed = tr_calloc((size_t)row->count, 3 * sizeof *computed);
    double *seconds = NULL;
    char full[128];
    tr_status status;
    if (!computed) {
        return tr_fail(err, TR_MEMORY, s->prefix, "no memory for positions");
    }
    const tr_safetensor *grids = find(s, "video_grid_thw", full, sizeof full);
    videos = grids ? grids->shape[0] : 0;
    TR_TRY(load(s, "second_per_grid", false, TR_F64, 1, videos, -1, &seconds_tensor, &seconds, err));
    bool known = seconds || !videos;
    if (!seconds) {
        seconds = tr_calloc((size_t)videos, sizeof *seconds);
        for (int64_t i = 0; seconds && i < videos; i++) {
            seconds[i] = 1.0; /* the reference's value for a clip without a rate */
        }
    }
    if (!seconds) {
        status = tr_fail(err, TR_MEMORY, s->prefix, "no memory for %lld videos", (long long)videos);
        goto done;
    }
    TR_TRY(tr_positions(s->config, row->ids, row->count, (const int32_t(*)[3])row->grids, row->grid_count, seconds,
                        computed, next, err));
    TR_TRY(load_ids(s, "position_ids", false, 2, 3, row->count, 0, 1 << 24, &t, &row->positions, err));
    if (!row->positions) {
        row->positions = computed;
        computed = NULL;
        goto done;
    }
    for (int64_t i = 0; i < 3 * row->count && known; i++) {
        if (row->positions[i] != computed[i]) {
            status =
                tr_fail(err, TR_MISMATCH, t->name,
                        "axis %lld of token %lld is %d, but the grids and seconds per grid of the input give %d",
                        (long long)(i / row->count), (long long)(i % row->count), row->positions[i], computed[i]);
            goto done;
        }
    }
    *next = 0;
    for (int64_t i = 0; i < 3 * row->count; i++) {
        *next = row->positions[i] >= *next ? row->positions[i] + 1 : *next;
    }
done:
    free(computed);
    free(seconds);
    return status;
}

static tr_status read_prompt(const source *s, tr_trace_row *row, int32_t *next, tr_error *err)
{
    const tr_safetensor *t;
    tr_status status;
    TR_TRY(load_ids(s, "input_ids", true, 1, -1, -1, 0, s->config->vocab - 1, &t, &row->ids, err));
    row->count = t->shape[0];
    if (row->count < 1) {
        status = tr_fail(err, TR_INVALID, t->name, "has no tokens");
        goto done;
    }
    TR_TRY(read_media(s, row, err));
    TR_TRY(read_positions(s, row, next, err));
done:
    return status;
}

/* prefix: "in/" or "in/group0/". */
static tr_status read_responses(const source *s, int32_t next, tr_trace_row *row, tr_error *err)
{
    const tr_safetensor *t;
    int32_t *positions = NULL;
    tr_status status;
    TR_TRY(load(s, "response_lengths", true, TR_I64, 1, -1, -1, &t, &row->lengths, err));
    row->responses = t->shape[0];
    for (int64_t r = 0; r < row->responses; r++) {
        if (row->lengths[r] < 1 || row->lengths[r] > 1 << 24) {
            status = tr_fail(err, TR_INVALID, t->name, "response %lld has %lld tokens", (long long)r,
                             (long long)row->lengths[r]);
            goto done;
        }
        row->tokens += row->lengths[r];
    }
    TR_TRY(load_ids(s, "response_ids", true, 1, row->tokens, -1, 0, s->config->vocab - 1, &t, &row->response_ids,
                    err));
    TR_TRY(load_ids(s, "response_positions", false, 1, row->tokens, -1, 0, 1 << 24, &t, &positions, err));
    for (int64_t r = 0, at = 0; positions && r < row->responses; r++) {
        for (int64_t j = 0; j < row->lengths[r]; j++, at++) {
            if (positions[at] != next + j) {
                status = tr_fail(err, TR_MISMATCH, t->name,
                                 "token %lld of response %lld is at %d, expected %lld: responses continue at the "
                                 "prompt's largest id + 1",
                                 (long long)j, (long long)r, positions[at], (long long)(next + j));
                goto done;
            }
        }
    }
done:
    free(positions);
    return status;
}

/* What each row predicts: the next token (text), or its label (SFT, -100: none). */
static tr_status read_targets(const source *s, bool labels, tr_trace_row *row, int64_t *kept, tr_error *err)
{
    const tr_safetensor *t;
    int32_t *ids = NULL;
    tr_status status = TR_OK;
    row->targets = tr_calloc((size_t)row->count, sizeof *row->targets);
    if (!row->targets) {
        return tr_fail(err, TR_MEMORY, s->prefix, "no memory for %lld targets", (long long)row->count);
    }
    if (labels) {
        TR_TRY(load_ids(s, "labels", true, 1, row->count, -1, -100, s->config->vocab - 1, &t, &ids, err));
    }
    for (int64_t i = 0; i < row->count; i++) {
        int32_t id = i + 1 == row->count ? -1 : labels ? ids[i + 1] : row->ids[i + 1];
        row->targets[i] = id < 0 ? -1 : id;
        *kept += id >= 0;
    }
done:
    free(ids);
    return status;
}

/* ---- the whole ---- */

static tr_status read_vision(source *s, tr_trace_input *input, tr_error *err)
{
    tr_trace_row *row = input->rows;
    const tr_safetensor *t;
    media m = {0};
    tr_status status;
    TR_TRY(load_media(s, "", true, &m, err));
    row->grid_count = m.count;
    row->patches = m.patches;
    TR_TRY(room_for_pixels(s, row, err));
    const tr_vision_config *v = &s->config->vision;
    memcpy(row->grids, m.grids, (size_t)m.count * sizeof *m.grids);
    memcpy(row->pixels, m.pixels,
           (size_t)(m.patches * v->channels * v->temporal_patch * v->patch * v->patch) * sizeof *m.pixels);
    TR_TRY(load(s, "d_features", false, TR_F32, 2, row->visual, v->out_hidden, &t, &input->d_features, err));
done:
    media_free(&m);
    return status;
}

static int64_t count_rows(const tr_safetensors *file, const char *format)
{
    char name[64];
    int64_t count = 0;
    do {
        snprintf(name, sizeof name, format, (int)count);
    } while (tr_safetensors_find(file, name) && ++count < 4096);
    return count;
}

static tr_status choose(const tr_safetensors *file, tr_trace_input *input, bool *numbered, tr_error *err)
{
    int64_t groups = count_rows(file, "in/group%d/prompt_input_ids"), rows = count_rows(file, "in/row%d/input_ids");
    *numbered = groups || rows;
    input->count = groups ? groups : rows ? rows : 1;
    input->kind = rows ? TR_TRACE_SFT : TR_TRACE_GROUPS;
    if (!groups && !rows) {
        if (tr_safetensors_find(file, "in/prompt_input_ids")) {
            input->kind = TR_TRACE_GROUPS;
        } else if (tr_safetensors_find(file, "in/input_ids")) {
            input->kind = TR_TRACE_TEXT;
        } else if (tr_safetensors_find(file, "in/pixels_u8")) {
            input->kind = TR_TRACE_VISION;
        } else {
            return tr_fail(err, TR_NOT_FOUND, NULL,
                           "the input has none of in/pixels_u8 (vision), in/input_ids (text), "
                           "in/prompt_input_ids or in/group0/prompt_input_ids (groups), in/row0/input_ids (SFT)");
        }
    }
    input->rows = tr_calloc((size_t)input->count, sizeof *input->rows);
    return input->rows ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "no memory for %lld rows", (long long)input->count);
}

static tr_status read_row(const tr_model_config *config, const tr_safetensors *file, bool numbered, int64_t index,
                          tr_trace_input *input, tr_error *err)
{
    bool groups = input->kind == TR_TRACE_GROUPS;
    char prefix[64], own[64] = "in/";
    int32_t next;
    if (numbered) {
        snprintf(own, sizeof own, "in/%s%d/", groups ? "group" : "row", (int)index);
    }
    snprintf(prefix, sizeof prefix, "%s%s", own, groups ? "prompt_" : "");
    source s = {config, file, prefix};
    tr_trace_row *row = &input->rows[index];
    tr_status status;
    TR_TRY(read_prompt(&s, row, &next, err));
    if (groups) {
        s.prefix = own;
        TR_TRY(read_responses(&s, next, row, err));
        input->tokens += row->tokens;
    } else {
        TR_TRY(read_targets(&s, input->kind == TR_TRACE_SFT, row, &input->tokens, err));
    }
done:
    return status;
}

tr_status tr_trace_input_read(const tr_model_config *config, const tr_safetensors *file, tr_trace_input *input,
                              tr_error *err)
{
    source s = {config, file, "in/"};
    const tr_safetensor *t;
    bool numbered;
    tr_status status;
    memset(input, 0, sizeof *input);
    TR_TRY(choose(file, input, &numbered, err));
    if (input->kind == TR_TRACE_VISION) {
        TR_TRY(read_vision(&s, input, err));
    }
    for (int64_t i = 0; input->kind != TR_TRACE_VISION && i < input->count; i++) {
        TR_TRY(read_row(config, file, numbered, i, input, err));
    }
    if (input->kind == TR_TRACE_GROUPS) {
        TR_TRY(load(&s, "weights", false, TR_F32, 1, input->tokens, -1, &t, &input->weights, err));
    }
done:
    if (status) {
        tr_trace_input_free(input);
    }
    return status;
}

tr_status tr_trace_prompt_read(const tr_model_config *config, const tr_safetensors *file, const char *prefix,
                               tr_trace_row *row, tr_error *err)
{
    const source s = {config, file, prefix};
    int32_t next;
    memset(row, 0, sizeof *row);
    tr_status status = read_prompt(&s, row, &next, err);
    if (status) {
        tr_trace_row_free(row);
    }
    return status;
}

void tr_trace_row_free(tr_trace_row *row)
{
    free(row->ids);
    free(row->positions);
    free(row->targets);
    free(row->pixels);
    free(row->grids);
    free(row->features);
    free(row->response_ids);
    free(row->lengths);
    memset(row, 0, sizeof *row);
}

void tr_trace_input_free(tr_trace_input *input)
{
    for (int64_t i = 0; input->rows && i < input->count; i++) {
        tr_trace_row_free(&input->rows[i]);
    }
    free(input->rows);
    free(input->weights);
    free(input->d_features);
    memset(input, 0, sizeof *input);
}

tr_group tr_trace_group(const tr_trace_row *row)
{
    return (tr_group){.prompt_ids = row->ids,
                      .positions = row->positions,
                      .prompt = row->count,
                      .features = row->visual ? row->features : NULL,
                      .visual_tokens = row->visual,
                      .response_ids = row->response_ids,
                      .lengths = row->lengths,
                      .responses = row->responses,
                      .prompt_targets = row->targets};
}

tr_visual tr_trace_visual(const tr_trace_row *row)
{
    return (tr_visual){row->pixels, row->patches, (const int32_t(*)[3])row->grids, row->grid_count};
}

static void raise_to(int64_t *limit, int64_t need)
{
    *limit = need > *limit ? need : *limit;
}

tr_network_limits tr_trace_limits(const tr_trace_input *input, bool backward)
{
    tr_network_limits limits = {.train_text = backward, .train_vision = backward};
    for (int64_t i = 0; i < input->count; i++) {
        const tr_trace_row *row = &input->rows[i];
        raise_to(&limits.patches, row->patches);
        raise_to(&limits.prompt_tokens, row->count);
        raise_to(&limits.response_tokens, row->tokens);
        raise_to(&limits.responses, row->responses);
        raise_to(&limits.targets, row->tokens + (row->targets ? row->count : 0));
    }
    return limits;
}
