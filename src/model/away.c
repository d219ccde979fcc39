/* away.c: moments and reference layers in the host's memory, and their way through two buffers.
 *
 * Three lanes work on a walk: LOAD fills a buffer as soon as what was in it is stored (or read), the lane in use
 * computes, STORE brings it back. Events order them; the host waits once, at the end of a walk over moments, for
 * the last buffers to be stored. Never changes a value. */
#include "model/away.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* A layer or block: parameters [first, last), one behind the other in the host's memory. */
typedef struct unit {
    int first, last, next; /* next: which will probably be needed after it */
    size_t at, bytes;
} unit;

typedef struct buffer {
    char *memory;
    int unit;            /* held, -1: none */
    void *loaded, *done; /* events: filled; read for the last time */
    void *stored;        /* moments: brought back */
} buffer;

typedef struct tr_away {
    const tr_memory *memory;
    buffer buffers[2];
    int latest; /* the buffer that was needed last */
    uint64_t host_bytes;
    /* moments */
    void **moments; /* owned pieces of the host's memory */
    int moment_count;
    int64_t piece; /* elements */
    /* layers */
    char *host;
    unit *units;
    int unit_count;
} tr_away;

static size_t rounded(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

static tr_status make(tr_params *params, const tr_memory *memory, size_t bytes, tr_error *err)
{
    tr_away *a = params->away = tr_calloc(1, sizeof *a);
    tr_status status = TR_OK;
    if (!a) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    a->memory = memory;
    for (int i = 0; i < 2; i++) {
        void *block = NULL;
        a->buffers[i].unit = -1;
        TR_TRY(memory->take(&block, bytes, false, err));
        a->buffers[i].memory = block;
        TR_TRY(memory->lanes->event_take(&a->buffers[i].loaded, err));
        TR_TRY(memory->lanes->event_take(&a->buffers[i].done, err));
        TR_TRY(memory->lanes->event_take(&a->buffers[i].stored, err));
    }
done:
    return status;
}

uint64_t tr_away_bytes(const tr_away *a)
{
    return a->host_bytes;
}

void tr_away_free(tr_params *params)
{
    tr_away *a = params->away;
    if (!a) {
        return;
    }
    const tr_lanes *lanes = a->memory->lanes;
    for (int i = 0; i < 2; i++) { /* giving memory back waits for all lanes */
        a->memory->give(a->buffers[i].memory);
        lanes->event_give(a->buffers[i].loaded);
        lanes->event_give(a->buffers[i].done);
        lanes->event_give(a->buffers[i].stored);
    }
    for (int i = 0; i < params->count; i++) {
        tr_param *p = &params->items[i];
        p->m = p->moments_away ? NULL : p->m;
        p->v = p->moments_away ? NULL : p->v;
        if (tr_away_holds(params, i)) {
            p->value.panels = NULL;
        }
    }
    for (int i = 0; i < a->moment_count; i++) {
        lanes->unpin(a->moments[i]);
    }
    lanes->unpin(a->host);
    free(a->moments);
    free(a->units);
    free(a);
    params->away = NULL;
}

/* ---- moments ---- */

static int64_t largest_piece(const tr_params *params, const bool *trains)
{
    int64_t most = 0;
    for (int i = 0; i < params->count; i++) {
        const int64_t n = trains[i] ? params->items[i].elements : 0;
        most = n > most ? n : most;
    }
    return most < TR_AWAY_PIECE ? most : TR_AWAY_PIECE;
}

void tr_away_plan_moments(const tr_params *params, const bool *trains, uint64_t *device, uint64_t *host)
{
    *device = 4 * (uint64_t)largest_piece(params, trains) * sizeof(float);
    *host = 0;
    for (int i = 0; i < params->count; i++) {
        *host += trains[i] ? 2 * (uint64_t)params->items[i].elements * sizeof(float) : 0;
    }
}

tr_status tr_away_moments(tr_params *params, const tr_memory *memory, const bool *trains, tr_error *err)
{
    const int64_t piece = largest_piece(params, trains);
    tr_status status = make(params, memory, 2 * (size_t)piece * sizeof(float), err);
    if (status) {
        return status;
    }
    params->away->piece = piece;
    params->away->moments = tr_calloc((size_t)params->count, sizeof *params->away->moments);
    return params->away->moments ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
}

tr_status tr_away_take_moments(tr_params *params, tr_param *param, tr_error *err)
{
    tr_away *a = params->away;
    void *memory;
    tr_status status = a->memory->lanes->pin(&memory, 2 * (size_t)param->elements * sizeof(float), err);
    if (!status) {
        a->moments[a->moment_count++] = memory;
        a->host_bytes += 2 * (uint64_t)param->elements * sizeof(float);
        param->m = memory;
        param->v = param->m + param->elements;
        param->moments_away = true;
    }
    return status;
}

static float *moment_buffer(const tr_away *a, int64_t k, bool second)
{
    return (float *)(void *)a->buffers[k % 2].memory + (second ? a->piece : 0);
}

static void load_moments(const tr_away *a, const tr_away_piece *p, int64_t k)
{
    const tr_lanes *lanes = a->memory->lanes;
    const size_t bytes = (size_t)p->count * sizeof(float);
    lanes->use(TR_LANE_LOAD);
    lanes->wait(a->buffers[k % 2].stored);
    lanes->send(moment_buffer(a, k, false), p->param->m + p->at, bytes);
    lanes->send(moment_buffer(a, k, true), p->param->v + p->at, bytes);
    lanes->mark(a->buffers[k % 2].loaded);
    lanes->use(TR_LANE_MAIN);
}

static void store_moments(const tr_away *a, const tr_away_piece *p, int64_t k)
{
    const tr_lanes *lanes = a->memory->lanes;
    const size_t bytes = (size_t)p->count * sizeof(float);
    lanes->use(TR_LANE_STORE);
    lanes->wait(a->buffers[k % 2].done);
    lanes->fetch(p->param->m + p->at, moment_buffer(a, k, false), bytes);
    lanes->fetch(p->param->v + p->at, moment_buffer(a, k, true), bytes);
    lanes->mark(a->buffers[k % 2].stored);
    lanes->use(TR_LANE_MAIN);
}

void tr_away_walk(const tr_params *params, const tr_away_piece *pieces, int64_t count, tr_away_step step,
                  const void *context)
{
    const tr_away *a = params->away;
    const tr_lanes *lanes = a->memory->lanes;
    for (int64_t k = 0; k < count; k++) {
        if (k == 0) {
            load_moments(a, &pieces[0], 0);
        }
        if (k + 1 < count) {
            load_moments(a, &pieces[k + 1], k + 1);
        }
        lanes->wait(a->buffers[k % 2].loaded);
        step(context, &pieces[k], moment_buffer(a, k, false), moment_buffer(a, k, true));
        lanes->mark(a->buffers[k % 2].done);
        store_moments(a, &pieces[k], k);
    }
    for (int i = 0; i < 2; i++) {
        lanes->reach(a->buffers[i].stored);
    }
}

/* ---- a reference's layers ---- */

/* The units of a table with their bytes; returns how many. units has room for all layers and blocks. */
static int find_units(const tr_params *params, const uint64_t *bytes, unit *units)
{
    int count = 0;
    for (int64_t i = 0; i < params->layer_count; i++) {
        const tr_layer_params *l = &params->layers[i];
        units[count++] = (unit){.first = l->norm1, .last = l->down + 1};
    }
    const int first_block = count;
    for (int64_t i = 0; i < params->block_count; i++) {
        const tr_block_params *b = &params->blocks[i];
        units[count++] = (unit){.first = b->norm1, .last = b->down_bias + 1};
    }
    for (int i = 0; i < count; i++) {
        for (int k = units[i].first; k < units[i].last; k++) {
            units[i].bytes += rounded((size_t)bytes[k]);
        }
        units[i].next = i + 1 < (i < first_block ? first_block : count) ? i + 1 : i < first_block ? 0 : first_block;
    }
    return count;
}

static size_t largest_unit(const unit *units, int count)
{
    size_t most = 0;
    for (int i = 0; i < count; i++) {
        most = units[i].bytes > most ? units[i].bytes : most;
    }
    return most;
}

static unit *take_units(const tr_params *params)
{
    return tr_calloc((size_t)(params->layer_count + params->block_count), sizeof(unit));
}

void tr_away_plan_layers(const tr_params *params, const uint64_t *bytes, uint64_t *device, uint64_t *host)
{
    unit *units = take_units(params);
    const int count = units ? find_units(params, bytes, units) : 0;
    *device = 2 * (uint64_t)largest_unit(units, count);
    *host = 0;
    for (int i = 0; i < count; i++) {
        *host += units[i].bytes;
    }
    free(units);
}

static size_t value_bytes(const tr_param *p)
{
    return (size_t)p->elements * tr_dtype_size(p->value.dtype);
}

tr_status tr_away_layers(tr_params *params, const tr_params *from, const tr_memory *memory, tr_error *err)
{
    unit *units = take_units(params);
    uint64_t *bytes = tr_calloc((size_t)params->count, sizeof *bytes);
    void *host = NULL;
    size_t all = 0;
    int count;
    tr_status status;
    if (!units || !bytes) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    for (int i = 0; i < params->count; i++) {
        bytes[i] = params->items[i].borrowed ? 0 : value_bytes(&params->items[i]);
    }
    count = find_units(params, bytes, units);
    TR_TRY(make(params, memory, largest_unit(units, count), err));
    tr_away *a = params->away;
    a->units = units;
    a->unit_count = count;
    units = NULL;
    for (int i = 0; i < count; i++) {
        a->units[i].at = all;
        all += a->units[i].bytes;
    }
    TR_TRY(memory->lanes->pin(&host, all, err));
    a->host = host;
    a->host_bytes = all;
    for (int i = 0; i < count; i++) {
        size_t at = a->units[i].at;
        for (int k = a->units[i].first; k < a->units[i].last; k++) {
            if (bytes[k]) {
                memory->read(a->host + at, from->items[k].value.panels, bytes[k]);
                at += rounded(bytes[k]);
            }
        }
    }
done:
    free(units);
    free(bytes);
    return status;
}

/* The unit that begins with a parameter; NULL: none. */
static unit *unit_of(const tr_away *a, int first)
{
    for (int i = 0; i < a->unit_count; i++) {
        if (a->units[i].first == first) {
            return a->units[i].bytes ? &a->units[i] : NULL;
        }
    }
    return NULL;
}

bool tr_away_in_layer(const tr_params *params, int index)
{
    bool in = false;
    for (int64_t i = 0; i < params->layer_count; i++) {
        in = in || (index >= params->layers[i].norm1 && index <= params->layers[i].down);
    }
    for (int64_t i = 0; i < params->block_count; i++) {
        in = in || (index >= params->blocks[i].norm1 && index <= params->blocks[i].down_bias);
    }
    return in;
}

bool tr_away_holds(const tr_params *params, int index)
{
    const tr_away *a = params->away;
    for (int i = 0; a && i < a->unit_count && !params->items[index].borrowed; i++) {
        if (index >= a->units[i].first && index < a->units[i].last) {
            return true;
        }
    }
    return false;
}

static void load_unit(const tr_away *a, const unit *u, buffer *b)
{
    const tr_lanes *lanes = a->memory->lanes;
    lanes->use(TR_LANE_LOAD);
    lanes->wait(b->done);
    lanes->send(b->memory, a->host + u->at, u->bytes);
    lanes->mark(b->loaded);
    lanes->use(TR_LANE_MAIN);
    b->unit = (int)(u - a->units);
}

void tr_away_need(const tr_params *params, int first, int last)
{
    tr_away *a = params->away;
    const unit *u = unit_of(a, first);
    (void)last;
    if (!u) {
        return;
    }
    const int index = (int)(u - a->units);
    const int at = a->buffers[0].unit == index ? 0 : a->buffers[1].unit == index ? 1 : !a->latest;
    buffer *b = &a->buffers[at], *other = &a->buffers[!at];
    if (b->unit != index) {
        load_unit(a, u, b);
    }
    a->latest = at;
    a->memory->lanes->wait(b->loaded);
    char *values = b->memory;
    for (int i = u->first; i < u->last; i++) {
        tr_param *p = &params->items[i];
        if (!p->borrowed) {
            p->value.panels = values;
            values += rounded(value_bytes(p));
        }
    }
    if (u->next != index && other->unit != u->next && a->units[u->next].bytes) {
        load_unit(a, &a->units[u->next], other);
    }
}

void tr_away_release(const tr_params *params, int first, int last)
{
    const tr_away *a = params->away;
    const unit *u = unit_of(a, first);
    (void)last;
    for (int i = 0; u && i < 2; i++) {
        if (a->buffers[i].unit == (int)(u - a->units)) {
            a->memory->lanes->mark(a->buffers[i].done);
        }
    }
}
