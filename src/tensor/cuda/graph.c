/* graph.c: what is collected, and the cache of graphs made of it.
 *
 * A list is executed one by one the first time that it comes, which also is when libraries load and working memory
 * grows; it is recorded the second time, and replayed from then on. Lists are found by a hash and compared in full.
 * TEMPR1_CUDA_GRAPHS=0 turns collecting off. A list that the device cannot record is executed one by one ever
 * after, counted, with the reason. Nothing here is CUDA: the same code runs over the emulation. */
#include "tensor/cuda/graph.h"

#include "base/random.h"
#include "tensor/cuda/table.h"

#include <stdlib.h>
#include <string.h>

enum { LISTS_MAX = 192, GRAPHS_MAX = 64 };

#define X(name, arguments, threads, bytes) KERNEL_##name,
typedef enum kind { TR_CUDA_KERNELS(X) TR_CUDA_SIDE_KERNELS(X) COPY, ZERO, PRODUCT } kind;
#undef X

/* One thing to do; its arguments follow in `bytes` bytes, a multiple of 8. */
typedef struct item {
    int32_t kind, side;
    int64_t bytes;
    tr_cuda_grid grid;
} item;

typedef struct move_args {
    void *to;
    const void *from;
    int64_t bytes;
} move_args;

typedef struct later_product {
    float *c;
    const uint16_t *a, *b;
    const float *bias;
    int64_t form, rows, out, in;
} later_product;

/* A list that was met before. */
typedef struct met {
    uint64_t hash;
    size_t bytes; /* 0: a free place */
    char *list;   /* of the graph; NULL without one */
    void *graph;  /* NULL: none */
    bool refused; /* it cannot be recorded */
    int64_t used_at;
} met;

static struct {
    char *list; /* items */
    size_t used, size;
    char *host, *device; /* the region of staged arrays */
    size_t staged, region;
    void *sent; /* marked behind the region's copy */
    met met[LISTS_MAX];
    int64_t time;
    tr_cuda_graphs counts;
} all;

static _Thread_local bool collecting;

void tr_cuda_graphs_describe(tr_cuda_graphs *graphs)
{
    const char *set = getenv("TEMPR1_CUDA_GRAPHS");
    *graphs = all.counts;
    graphs->on = !(set && !strcmp(set, "0"));
}

/* ---- collecting ---- */

void tr_cuda_collect(void)
{
    tr_cuda_graphs what;
    tr_error err = {0};
    tr_cuda_graphs_describe(&what);
    if (!what.on || collecting || tr_cuda_lane() != TR_LANE_MAIN) {
        return;
    }
    if ((!all.sent && tr_cuda_event_take(&all.sent, &err)) ||
        (!all.device && !tr_cuda_region(&all.host, &all.device, &all.region))) {
        return; /* as without graphs */
    }
    tr_cuda_event_reach(all.sent);
    all.used = all.staged = 0;
    collecting = true;
}

/* Room for an item's arguments in the list; NULL where nothing is collected. */
static void *note(kind what, tr_cuda_grid grid, int side, size_t bytes)
{
    const size_t need = sizeof(item) + (bytes + 7) / 8 * 8;
    if (!collecting) {
        return NULL;
    }
    if (all.used + need > all.size) {
        const size_t size = 2 * (all.used + need) + 65536;
        char *grown = realloc(all.list, size);
        if (!grown) {
            tr_cuda_settle();
            return NULL;
        }
        all.list = grown;
        all.size = size;
    }
    item *i = (item *)(void *)(all.list + all.used);
    memset(i, 0, need);
    *i = (item){(int32_t)what, side, (int64_t)(need - sizeof *i), grid};
    all.used += need;
    return i + 1;
}

/* Arguments are compared as bytes, so what lies between their members must not be left to chance. */
#if defined __has_builtin
#if __has_builtin(__builtin_clear_padding)
#define CLEAR_PADDING(p) __builtin_clear_padding(p)
#endif
#endif
#ifndef CLEAR_PADDING
#define CLEAR_PADDING(p) ((void)(p)) /* at worst there are more graphs than are needed */
#endif

#define X(name, arguments, threads, bytes)                                                                         \
    void tr_cuda_launch_##name(const arguments *a, tr_cuda_grid grid)                                              \
    {                                                                                                              \
        arguments *kept = note(KERNEL_##name, grid, 0, sizeof *a);                                                 \
        if (kept) {                                                                                                \
            *kept = *a;                                                                                            \
            CLEAR_PADDING(kept);                                                                                   \
        } else {                                                                                                   \
            tr_cuda_run_##name(a, grid);                                                                           \
        }                                                                                                          \
    }
TR_CUDA_KERNELS(X)
#undef X
#define X(name, arguments, threads, bytes)                                                                         \
    void tr_cuda_launch_##name(const arguments *a, tr_cuda_grid grid, int side)                                    \
    {                                                                                                              \
        arguments *kept = note(KERNEL_##name, grid, side, sizeof *a);                                              \
        if (kept) {                                                                                                \
            *kept = *a;                                                                                            \
            CLEAR_PADDING(kept);                                                                                   \
        } else {                                                                                                   \
            tr_cuda_run_##name(a, grid, side);                                                                     \
        }                                                                                                          \
    }
TR_CUDA_SIDE_KERNELS(X)
#undef X

void tr_cuda_later_copy(void *to, const void *from, size_t bytes)
{
    move_args *kept = note(COPY, (tr_cuda_grid){0}, 0, sizeof *kept);
    if (kept) {
        *kept = (move_args){to, from, (int64_t)bytes};
    } else {
        tr_cuda_copy(to, from, bytes);
    }
}

void tr_cuda_later_zero(void *to, size_t bytes)
{
    move_args *kept = note(ZERO, (tr_cuda_grid){0}, 0, sizeof *kept);
    if (kept) {
        *kept = (move_args){to, NULL, (int64_t)bytes};
    } else {
        tr_cuda_zero(to, bytes);
    }
}

void tr_cuda_later_product(tr_cuda_form form, float *c, const uint16_t *a, const uint16_t *b, const float *bias,
                           int64_t rows, int64_t out, int64_t in)
{
    later_product *kept = note(PRODUCT, (tr_cuda_grid){0}, 0, sizeof *kept);
    if (kept) {
        *kept = (later_product){c, a, b, bias, (int64_t)form, rows, out, in};
    } else {
        tr_cuda_product_bf16(form, c, a, b, bias, rows, out, in);
    }
}

void *tr_cuda_collect_stage(const void *host, size_t bytes)
{
    const size_t need = (bytes + 255) / 256 * 256;
    if (!collecting) {
        return NULL;
    }
    if (need > all.region - all.staged) {
        tr_cuda_settle();
        return NULL;
    }
    memcpy(all.host + all.staged, host, bytes);
    all.staged += need;
    return all.device + all.staged - need;
}

/* ---- executing ---- */

static void run_one(const item *i)
{
    const void *a = i + 1;
    switch ((kind)i->kind) {
#define X(name, arguments, threads, bytes)                                                                         \
    case KERNEL_##name:                                                                                            \
        tr_cuda_run_##name(a, i->grid);                                                                            \
        break;
        TR_CUDA_KERNELS(X)
#undef X
#define X(name, arguments, threads, bytes)                                                                         \
    case KERNEL_##name:                                                                                            \
        tr_cuda_run_##name(a, i->grid, i->side);                                                                   \
        break;
        TR_CUDA_SIDE_KERNELS(X)
#undef X
    case COPY: {
        const move_args *m = a;
        tr_cuda_copy(m->to, m->from, (size_t)m->bytes);
        break;
    }
    case ZERO: {
        const move_args *m = a;
        tr_cuda_zero(m->to, (size_t)m->bytes);
        break;
    }
    case PRODUCT: {
        const later_product *p = a;
        tr_cuda_product_bf16((tr_cuda_form)p->form, p->c, p->a, p->b, p->bias, p->rows, p->out, p->in);
        break;
    }
    }
}

static void run_list(void)
{
    for (size_t at = 0; at < all.used;) {
        const item *i = (const item *)(const void *)(all.list + at);
        run_one(i);
        at += sizeof *i + (size_t)i->bytes;
    }
}

static void forget(met *m)
{
    if (m->graph) {
        tr_cuda_graph_free(m->graph);
        all.counts.graphs--;
    }
    free(m->list);
    *m = (met){0};
}

/* The place of the list that was used longest ago, of those with a graph or of those without; NULL: there is none.
 */
static met *oldest(bool with_graph)
{
    met *found = NULL;
    for (int i = 0; i < LISTS_MAX; i++) {
        met *m = &all.met[i];
        if (m->bytes && (m->graph != NULL) == with_graph && (!found || m->used_at < found->used_at)) {
            found = m;
        }
    }
    return found;
}

/* The place of this list; *known: whether it was met before. */
static met *place_of(uint64_t hash, bool *known)
{
    met *empty = NULL;
    for (int i = 0; i < LISTS_MAX; i++) {
        met *m = &all.met[i];
        if (m->bytes == all.used && m->hash == hash) {
            *known = true;
            return m;
        }
        empty = m->bytes ? empty : m;
    }
    *known = false;
    if (!empty) {
        empty = oldest(false); /* there are fewer graphs than places */
        forget(empty);
    }
    *empty = (met){.hash = hash, .bytes = all.used};
    return empty;
}

/* Records the list as a graph; where that fails it never is tried again. */
static void record(met *m)
{
    if (all.counts.graphs == GRAPHS_MAX) {
        forget(oldest(true));
    }
    char why[160] = "out of memory";
    char *list = malloc(all.used);
    void *graph = NULL;
    if (list && tr_cuda_capture_begin(why)) {
        run_list();
        graph = tr_cuda_capture_end(why);
    }
    if (graph) {
        memcpy(list, all.list, all.used);
        m->list = list;
        m->graph = graph;
        all.counts.graphs++;
        all.counts.recorded++;
    } else {
        free(list);
        m->refused = true;
        all.counts.refused++;
        memcpy(all.counts.why, why, sizeof all.counts.why);
    }
}

void tr_cuda_settle(void)
{
    bool known;
    if (!collecting) {
        return;
    }
    collecting = false;
    if (all.staged) {
        tr_cuda_send(all.device, all.host, all.staged);
        tr_cuda_event_mark(all.sent);
    }
    if (!all.used) {
        return;
    }
    met *m = place_of(tr_hash(all.list, all.used), &known);
    m->used_at = ++all.time;
    if (known && !m->graph && !m->refused) {
        record(m);
    }
    if (m->graph && !memcmp(m->list, all.list, all.used)) {
        tr_cuda_graph_launch(m->graph);
        all.counts.replayed++;
    } else {
        run_list();
        all.counts.plain++;
    }
}
