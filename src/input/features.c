/* features.c: the vision tower's output, kept per clip and weight version.
 *
 * A list of entries; the least recently used leave when the budget is full. A clip is looked up by its key and the
 * name of the weights that made it. */
#include "input/sample.h"

#include "base/file.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

typedef struct entry {
    uint64_t clip, version, used; /* used: a counter, larger is later */
    float *values;
    uint64_t bytes;
} entry;

struct tr_features {
    entry *items;
    size_t count, capacity;
    uint64_t budget, bytes, clock;
    entry coming; /* begun and not yet ended; values NULL: none */
    bool coming_had;
};

tr_status tr_features_create(uint64_t bytes, tr_features **features, tr_error *err)
{
    *features = tr_calloc(1, sizeof **features);
    if (!*features) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    (*features)->budget = bytes;
    return TR_OK;
}

static void leave(tr_features *f, size_t index)
{
    entry gone = f->items[index];
    f->count--;
    f->items[index] = f->items[f->count];
    f->bytes -= gone.bytes;
    free(gone.values); /* NOLINT(clang-analyzer-unix.Malloc): the analyser loses track of the entry that moved */
}

void tr_features_free(tr_features *features)
{
    if (features) {
        for (size_t i = 0; i < features->count; i++) {
            free(features->items[i].values);
        }
        free(features->coming.values);
        free(features->items);
        free(features);
    }
}

/* Makes room for `bytes`; a version that is not asked for any more goes first. */
static void make_room(tr_features *f, uint64_t bytes, uint64_t version)
{
    while (f->count && f->bytes + bytes > f->budget) {
        size_t oldest = 0;
        for (size_t i = 1; i < f->count; i++) {
            bool stale = f->items[i].version != version, best_stale = f->items[oldest].version != version;
            if (stale > best_stale || (stale == best_stale && f->items[i].used < f->items[oldest].used)) {
                oldest = i;
            }
        }
        leave(f, oldest);
    }
}

tr_status tr_features_begin(tr_features *f, const tr_model_config *model, tr_source *source, tr_sample *sample,
                            uint64_t version, const float **out, float **to, double *stall_s, tr_error *err)
{
    tr_status status = TR_OK;
    *out = *to = NULL;
    if (!sample->visual_tokens) {
        return TR_OK;
    }
    for (size_t i = 0; i < f->count; i++) {
        if (f->items[i].clip == sample->clip_key && f->items[i].version == version) {
            f->items[i].used = ++f->clock;
            *out = f->items[i].values;
            return TR_OK;
        }
    }
    bool had = sample->patches != NULL;
    double start_s = tr_time_s();
    if (!had && (status = source->call->patches(source, sample, err))) {
        return status;
    }
    size_t bytes;
    if (!tr_size_mul((size_t)sample->visual_tokens * sizeof(float), (size_t)model->hidden, &bytes)) {
        return tr_fail(err, TR_MEMORY, sample->id, "the features of this clip do not fit in memory");
    }
    make_room(f, bytes, version);
    float *values = tr_calloc_aligned(bytes, 1);
    if (!values || tr_grow(&f->items, &f->capacity, f->count + 1, sizeof *f->items, NULL)) {
        free(values);
        return tr_fail(err, TR_MEMORY, sample->id, "out of memory for %zu bytes of features", bytes);
    }
    tr_features_end(f, sample, false);
    f->coming = (entry){sample->clip_key, version, 0, values, bytes};
    f->coming_had = had;
    *to = values;
    if (stall_s) {
        *stall_s += tr_time_s() - start_s;
    }
    return TR_OK;
}

void tr_features_end(tr_features *f, tr_sample *sample, bool made)
{
    if (!f->coming.values) {
        return;
    }
    if (made) {
        if (!f->coming_had) {
            tr_sample_drop_patches(sample);
        }
        f->items[f->count++] = f->coming;
        f->items[f->count - 1].used = ++f->clock;
        f->bytes += f->coming.bytes;
    } else {
        free(f->coming.values);
    }
    f->coming = (entry){0};
}

tr_status tr_features_get(tr_features *f, tr_network *network, const tr_model_config *model, tr_source *source,
                          tr_sample *sample, uint64_t version, const float **out, double *vision_s, double *stall_s,
                          tr_error *err)
{
    float *to;
    tr_status status = tr_features_begin(f, model, source, sample, version, out, &to, stall_s, err);
    if (status || !to) {
        return status;
    }
    const double start_s = tr_time_s();
    status = tr_network_vision_forward(network, &sample->visual, false, to, err);
    tr_features_end(f, sample, !status);
    *out = status ? NULL : to;
    if (!status && vision_s) {
        *vision_s += tr_time_s() - start_s;
    }
    return status;
}
