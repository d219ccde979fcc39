/* snapshot.c: the trained tensors as they were at one moment. */
#include "train/snapshot.h"

#include "train/state.h"

#include <stdlib.h>
#include <string.h>

enum { BAND = 1 << 18 }; /* elements that one thread copies at a time */

/* Bytes of a frozen tensor's copy. */
static size_t frozen_bytes(const tr_param *p)
{
    return tr_state_has(p) || p->memory->host ? 0 : (size_t)p->elements * tr_dtype_size(p->value.dtype);
}

uint64_t tr_snapshot_bytes(const tr_params *params)
{
    uint64_t bytes = 0;
    for (int i = 0; i < params->count; i++) {
        const tr_param *p = &params->items[i];
        bytes += tr_state_has(p) ? 3 * (uint64_t)tr_arena_need((size_t)p->elements, sizeof(float))
                                 : (uint64_t)tr_arena_need(frozen_bytes(p), 1);
    }
    return bytes;
}

static float *take_copy(tr_snapshot *s, const tr_param *p)
{
    return s->spill.block ? tr_spill_take(&s->spill, (size_t)p->elements * sizeof(float))
                          : tr_arena_take(&s->arena, (size_t)p->elements, sizeof(float));
}

static tr_status reserve(tr_snapshot *s, const tr_params *params, const char *folder, tr_error *err)
{
    size_t bytes = 0;
    if (!folder) {
        return tr_arena_init(&s->arena, (size_t)tr_snapshot_bytes(params), err);
    }
    for (int i = 0; i < params->count; i++) {
        const tr_param *p = &params->items[i];
        bytes += tr_state_has(p) ? 3 * tr_spill_need((size_t)p->elements * sizeof(float)) : 0;
    }
    return tr_spill_open(&s->spill, folder, bytes, err);
}

tr_status tr_snapshot_create(tr_snapshot *s, const tr_model *model, bool copies, const char *folder, tr_error *err)
{
    tr_status status = TR_OK;
    memset(s, 0, sizeof *s);
    s->model = *model;
    s->model.params.items = tr_calloc((size_t)model->params.count, sizeof *s->model.params.items);
    if (!s->model.params.items) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    memcpy(s->model.params.items, model->params.items, (size_t)model->params.count * sizeof *model->params.items);
    if (copies) {
        TR_TRY(reserve(s, &model->params, folder, err));
    }
    for (int i = 0; copies && i < model->params.count; i++) {
        tr_param *p = &s->model.params.items[i];
        if (tr_state_has(p)) {
            p->master = take_copy(s, p);
            p->m = take_copy(s, p);
            p->v = take_copy(s, p);
            p->gradient = NULL;
            p->value.dtype = TR_F32; /* the compute copy goes on changing: nobody may read it here */
            p->value.panels = p->master;
        } else if (frozen_bytes(p)) {
            void *values = tr_arena_take(&s->arena, frozen_bytes(p), 1);
            p->memory->read(values, p->value.panels, frozen_bytes(p));
            p->value.panels = values;
        }
        p->memory = p->memory->mirror ? p->memory->mirror : p->memory;
    }
done:
    if (status) {
        tr_snapshot_free(s);
        tr_fail_context(err, status,
                        "the copy from which checkpoints are written beside the training (train.save_mode: wait "
                        "needs none)");
    }
    return status;
}

void tr_snapshot_release(const tr_snapshot *s)
{
    if (s->spill.block) {
        tr_spill_release(&s->spill, s->spill.block, s->spill.size);
    }
}

void tr_snapshot_free(tr_snapshot *s)
{
    if (s) {
        tr_arena_free(&s->arena);
        tr_spill_close(&s->spill);
        free(s->model.params.items);
        memset(s, 0, sizeof *s);
    }
}

static void copy(const tr_memory *memory, float *to, const float *from, int64_t count)
{
    if (to == from) {
        return;
    }
    if (!memory->host) {
        memory->read(to, from, (size_t)count * sizeof *to);
        return;
    }
#pragma omp parallel for schedule(static) if (count > BAND)
    for (int64_t at = 0; at < count; at += BAND) {
        memcpy(to + at, from + at, (size_t)(count - at < BAND ? count - at : BAND) * sizeof *to);
    }
}

void tr_snapshot_take(tr_snapshot *s, const tr_model *model)
{
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *from = &model->params.items[i];
        const tr_param *to = &s->model.params.items[i];
        if (tr_state_has(from)) {
            copy(from->memory, to->master, from->master, from->elements);
            copy(from->memory, to->m, from->m, from->elements);
            copy(from->memory, to->v, from->v, from->elements);
            tr_spill_release(&model->params.spill, from->m, (size_t)from->elements * sizeof(float));
            tr_spill_release(&model->params.spill, from->v, (size_t)from->elements * sizeof(float));
        }
    }
    tr_snapshot_release(s);
}
