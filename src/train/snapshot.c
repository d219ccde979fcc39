/* snapshot.c: the trained tensors as they were at one moment. */
#include "train/snapshot.h"

#include "train/state.h"

#include <stdlib.h>
#include <string.h>

enum { BAND = 1 << 20 }; /* bytes that one thread copies at a time */

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
        for (int kind = 0; kind < TR_STATE_KINDS; kind++) {
            bytes += tr_state_has(p) ? (uint64_t)tr_arena_need(tr_state_bytes(p, kind), 1) : 0;
        }
        bytes += (uint64_t)tr_arena_need(frozen_bytes(p), 1);
    }
    return bytes;
}

/* NULL where the parameter has no such state. */
static void *take_copy(tr_snapshot *s, const tr_param *p, int kind)
{
    const size_t bytes = tr_state_bytes(p, kind);
    return !bytes ? NULL : s->spill.block ? tr_spill_take(&s->spill, bytes) : tr_arena_take(&s->arena, bytes, 1);
}

static tr_status reserve(tr_snapshot *s, const tr_params *params, const char *folder, tr_error *err)
{
    size_t bytes = 0, frozen = 0;
    if (!folder) {
        return tr_arena_init(&s->arena, (size_t)tr_snapshot_bytes(params), err);
    }
    for (int i = 0; i < params->count; i++) {
        const tr_param *p = &params->items[i];
        for (int kind = 0; kind < TR_STATE_KINDS && tr_state_has(p); kind++) {
            bytes += tr_spill_need(tr_state_bytes(p, kind));
        }
        frozen += tr_state_has(p) ? 0 : tr_arena_need(frozen_bytes(p), 1);
    }
    tr_status status = frozen ? tr_arena_init(&s->arena, frozen, err) : TR_OK;
    return status ? status : tr_spill_open(&s->spill, folder, bytes, err);
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
            const tr_param *from = &model->params.items[i];
            p->master = take_copy(s, from, TR_STATE_MASTER);
            p->m = take_copy(s, from, TR_STATE_M);
            p->v = take_copy(s, from, TR_STATE_V);
            p->moments8 = take_copy(s, from, TR_STATE_MOMENTS8);
            p->gradient = NULL;
            p->value.dtype = TR_F32; /* the compute copy goes on changing: nobody may read it here */
            p->value.panels = p->master;
        } else if (frozen_bytes(p)) {
            void *values = tr_arena_take(&s->arena, frozen_bytes(p), 1);
            p->memory->read(values, p->value.panels, frozen_bytes(p));
            p->value.panels = values;
        }
        p->memory = p->memory->mirror ? p->memory->mirror : p->memory;
        p->moments_away = false;
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

static void copy(const tr_memory *memory, void *to, const void *from, size_t bytes)
{
    if (to == from) {
        return;
    }
    if (!memory->host) {
        memory->read(to, from, bytes);
        return;
    }
#pragma omp parallel for schedule(static) if (bytes > BAND)
    for (size_t at = 0; at < bytes; at += BAND) {
        memcpy((char *)to + at, (const char *)from + at, bytes - at < BAND ? bytes - at : BAND);
    }
}

void tr_snapshot_take(tr_snapshot *s, const tr_model *model)
{
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *from = &model->params.items[i];
        const tr_param *to = &s->model.params.items[i];
        for (int kind = 0; kind < TR_STATE_KINDS && tr_state_has(from); kind++) {
            const void *values = tr_state_values(from, kind);
            copy(tr_state_memory(from, kind), tr_state_values(to, kind), values, tr_state_bytes(from, kind));
            tr_spill_release(&model->params.spill, values, tr_state_bytes(from, kind));
        }
    }
    tr_snapshot_release(s);
}
