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

tr_status tr_features_get(tr_features *f, tr_network *network, const tr_model_config *model, tr_source *source,
                          tr_sample *sample, uint64_t version, const float **out, double *vision_s, double *stall_s,
                          tr_error *err)
{
    tr_status status = TR_OK;
    *out = NULL;
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
    double read_s = tr_time_s();
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
    status = tr_network_vision_forward(network, &sample->visual, false, values, err);
    if (status) {
        free(values);
        return status;
    }
    if (!had) {
        tr_sample_drop_patches(sample);
    }
    f->items[f->count++] = (entry){sample->clip_key, version, ++f->clock, values, bytes};
    f->bytes += bytes;
    *out = values;
    if (stall_s) {
        *stall_s += read_s - start_s;
    }
    if (vision_s) {
        *vision_s += tr_time_s() - read_s;
    }
    return TR_OK;
}
