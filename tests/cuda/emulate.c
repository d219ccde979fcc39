/* emulate.c: a device of the host's memory that runs the GPU's kernels block by block and thread by thread.
 *
 * Device memory is one mapping that only launches and copies may touch: between them it has no access rights, so a
 * host function that reads a tensor in place ends the test, as it would end on a GPU. Shared memory is filled with
 * signalling NaNs before every block, and blocks run from the last to the first, so that nothing can lean on an
 * order that the device does not promise.
 *
 * Nothing that is launched runs at once: each lane keeps a list, which is worked off when the host waits for the
 * lane or another lane's list waits for an event in it, and no further than that asks (tr_emulated_order: or with
 * all of the other lanes' lists before it). Both are orders that a device may take, and between them whatever two
 * lanes do without an event between them happens once in each order; a buffer of the host that is used again too
 * early is read with what it was given later. */
#include "cuda/emulate.h"

#include "tensor/cuda/graph.h"
#include "tensor/cuda/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAPPED = 1 << 30, SHARED_MAX = 1 << 18, RING = 4 << 20, RINGS = (TR_LANES + 1) * RING, ASKED = 16 };

/* Something that was given to a lane. */
typedef struct command {
    struct command *next;
    void (*run)(const struct command *c);
    void *to;
    const void *from;
    size_t bytes;
    int value, lane; /* of a fill; of what is waited for, with upto */
    int64_t upto;
    tr_cuda_grid grid;
    int side;
    size_t argument_bytes;
    ALIGNED16 char arguments[];
} command;

typedef struct lane_list {
    command *first, *last;
    int64_t given, done;
    void *scratch;
    size_t scratch_bytes;
    char *ring;
} lane_list;

static struct {
    char *base;
    size_t used;
    int pieces; /* given out and not yet given back */
    int open;   /* launches and copies under way */
    const char *failed;
    lane_list lanes[TR_LANES];
    lane_list *recorded; /* what is given goes here while a graph is recorded */
    bool refuses;        /* to record */
    char *region;
    tr_emulated_policy policy;
    int64_t launches;
} device;

static size_t memory_bytes = MAPPED; /* what the device says to have */
static size_t live, largest_scratch;

void tr_emulated_set_memory(size_t bytes)
{
    memory_bytes = bytes && bytes < MAPPED ? bytes : MAPPED;
}

size_t tr_emulated_live(void)
{
    return live;
}

size_t tr_emulated_scratch(void)
{
    return largest_scratch;
}

static void ready(void)
{
    if (!device.base) {
        const char *order = getenv("TEMPR1_EMULATED_ORDER");
        device.base = mmap(NULL, MAPPED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (device.base == MAP_FAILED) {
            perror("emulated device memory");
            abort();
        }
        device.used = RINGS;
        device.policy = order && !strcmp(order, "first") ? TR_OTHERS_FIRST : device.policy;
    }
}

static void enter(void)
{
    ready();
    if (device.open++ == 0) {
        mprotect(device.base, MAPPED, PROT_READ | PROT_WRITE);
    }
}

static void leave(void)
{
    if (--device.open == 0) {
        mprotect(device.base, MAPPED, PROT_NONE);
    }
}

void tr_cuda_remember(const char *message)
{
    device.failed = device.failed ? device.failed : message;
}

/* ---- lists ---- */

/* A command for the lane in use, with room for its arguments. */
static command *give(void (*run)(const command *c), const void *arguments, size_t bytes)
{
    lane_list *l = device.recorded ? device.recorded : &device.lanes[tr_cuda_lane()];
    command *c = calloc(1, sizeof *c + bytes);
    if (!c) {
        perror("emulated device");
        abort();
    }
    c->run = run;
    if (bytes) {
        memcpy(c->arguments, arguments, bytes);
    }
    c->argument_bytes = bytes;
    *(l->last ? &l->last->next : &l->first) = c;
    l->last = c;
    l->given++;
    return c;
}

static void work_off(int lane, int64_t upto)
{
    lane_list *l = &device.lanes[lane];
    enter();
    while (l->first && l->done < upto) {
        command *c = l->first;
        l->first = c->next;
        l->last = l->first ? l->last : NULL;
        l->done++;
        c->run(c);
        free(c);
    }
    leave();
}

/* What a lane was given up to a number is done when this returns. */
static void force(int lane, int64_t upto)
{
    for (int other = 0; other < TR_LANES && device.policy == TR_OTHERS_FIRST; other++) {
        if (other != lane) {
            work_off(other, device.lanes[other].given);
        }
    }
    work_off(lane, upto);
}

static void force_all(void)
{
    for (int lane = 0; lane < TR_LANES; lane++) {
        force(lane, device.lanes[lane].given);
    }
}

static void run_copy(const command *c)
{
    memmove(c->to, c->from, c->bytes);
}

static void run_fill(const command *c)
{
    memset(c->to, c->value, c->bytes);
}

static void give_copy(void *to, const void *from, size_t bytes)
{
    command *c = give(run_copy, NULL, 0);
    c->to = to;
    c->from = from;
    c->bytes = bytes;
}

static void give_fill(void *to, int value, size_t bytes)
{
    command *c = give(run_fill, NULL, 0);
    c->to = to;
    c->value = value;
    c->bytes = bytes;
}

/* ---- events ---- */

typedef struct event {
    int lane;
    int64_t upto; /* 0: never marked */
} event;

tr_status tr_cuda_event_take(void **made, tr_error *err)
{
    *made = calloc(1, sizeof(event));
    return *made ? TR_OK : tr_fail(err, TR_MEMORY, "emulated device", "out of memory");
}

void tr_cuda_event_give(void *e)
{
    free(e);
}

void tr_cuda_event_mark(void *e)
{
    *(event *)e = (event){tr_cuda_lane(), device.lanes[tr_cuda_lane()].given};
}

static void run_wait(const command *c)
{
    work_off(c->lane, c->upto);
}

void tr_cuda_event_wait(void *e)
{
    const event *at = e;
    if (at->lane != tr_cuda_lane()) {
        command *c = give(run_wait, NULL, 0);
        c->lane = at->lane;
        c->upto = at->upto;
    }
}

/* Time passes while the host asks. */
bool tr_cuda_event_passed(void *e)
{
    const event *at = e;
    const int64_t done = device.lanes[at->lane].done;
    if (done < at->upto) {
        force(at->lane, done + ASKED < at->upto ? done + ASKED : at->upto);
    }
    return device.lanes[at->lane].done >= at->upto;
}

void tr_cuda_event_reach(void *e)
{
    const event *at = e;
    if (device.lanes[at->lane].done < at->upto) {
        force(at->lane, at->upto);
    }
}

/* ---- memory ---- */

/* Memory comes in order and is used again when all of it has been given back. */
static void *piece(size_t bytes)
{
    ready();
    const size_t need = (bytes + 255) / 256 * 256;
    if (need > MAPPED - device.used) {
        return NULL;
    }
    void *p = device.base + device.used;
    device.used += need;
    return p;
}

/* Pieces with their bytes, so that what is taken can be counted. */
static struct {
    const void *at;
    size_t bytes;
} pieces[1 << 16];
static int piece_count;

static void remember_piece(const void *at, size_t bytes)
{
    if (piece_count < (int)(sizeof pieces / sizeof *pieces)) {
        pieces[piece_count].at = at;
        pieces[piece_count++].bytes = bytes;
        live += bytes;
    }
}

static void forget_piece(const void *at)
{
    for (int i = piece_count - 1; at && i >= 0; i--) {
        if (pieces[i].at == at) {
            live -= pieces[i].bytes;
            pieces[i] = pieces[--piece_count];
            return;
        }
    }
}

tr_status tr_cuda_take(void **memory, size_t bytes, bool zero, tr_error *err)
{
    *memory = live + bytes > memory_bytes ? NULL : piece(bytes ? bytes : 1);
    if (!*memory) {
        return tr_fail(err, TR_MEMORY, "emulated device", "out of memory for %zu bytes", bytes);
    }
    device.pieces++;
    remember_piece(*memory, bytes);
    enter();
    memset(*memory, 0xFB, bytes);
    leave();
    if (zero) {
        give_fill(*memory, 0, bytes);
    }
    return TR_OK;
}

void tr_cuda_give(void *memory)
{
    if (!memory) {
        return;
    }
    tr_cuda_settle();
    forget_piece(memory);
    force_all();
    if (--device.pieces == 0) {
        device.used = RINGS;
        for (int lane = 0; lane < TR_LANES; lane++) {
            device.lanes[lane].scratch = NULL;
            device.lanes[lane].scratch_bytes = 0;
        }
        madvise(device.base, MAPPED, MADV_DONTNEED);
    }
}

void tr_cuda_zero(void *to, size_t bytes)
{
    give_fill(to, 0, bytes);
}
void tr_cuda_copy(void *to, const void *from, size_t bytes)
{
    give_copy(to, from, bytes);
}
void tr_cuda_send(void *to, const void *pinned, size_t bytes)
{
    give_copy(to, pinned, bytes);
}
void tr_cuda_fetch(void *pinned, const void *from, size_t bytes)
{
    give_copy(pinned, from, bytes);
}
void tr_cuda_read(void *host, const void *from, size_t bytes)
{
    tr_cuda_settle();
    give_copy(host, from, bytes);
    force(tr_cuda_lane(), device.lanes[tr_cuda_lane()].given);
}

tr_status tr_cuda_pin(void **memory, size_t bytes, tr_error *err)
{
    *memory = calloc(1, bytes + 1);
    return *memory ? TR_OK : tr_fail(err, TR_MEMORY, "emulated device", "out of memory for %zu bytes", bytes);
}

void tr_cuda_unpin(void *memory)
{
    free(memory);
}

tr_status tr_cuda_check(tr_error *err)
{
    tr_cuda_settle();
    force(tr_cuda_lane(), device.lanes[tr_cuda_lane()].given);
    const char *failed = device.failed;
    device.failed = NULL;
    return failed ? tr_fail(err, TR_MEMORY, "emulated device", "%s", failed) : TR_OK;
}

bool tr_cuda_ring(char **host, char **at, size_t *bytes)
{
    ready();
    lane_list *l = &device.lanes[tr_cuda_lane()];
    l->ring = l->ring ? l->ring : malloc(RING);
    *host = l->ring;
    *at = device.base + (size_t)tr_cuda_lane() * RING;
    *bytes = RING;
    return l->ring != NULL;
}

/* ---- graphs: commands whose arguments are those of the recording, whatever the host has since ---- */

bool tr_cuda_region(char **host, char **at, size_t *bytes)
{
    ready();
    device.region = device.region ? device.region : malloc(RING);
    *host = device.region;
    *at = device.base + (size_t)TR_LANES * RING;
    *bytes = RING;
    return device.region != NULL;
}

void tr_emulated_refuse_graphs(bool refuse)
{
    device.refuses = refuse;
}

bool tr_cuda_capture_begin(char why[160])
{
    snprintf(why, 160, "%s", device.refuses ? "the emulated device was told to refuse" : "out of memory");
    device.recorded = device.refuses ? NULL : calloc(1, sizeof *device.recorded);
    return device.recorded != NULL;
}

void *tr_cuda_capture_end(char why[160])
{
    void *graph = device.recorded;
    (void)why;
    device.recorded = NULL;
    return graph;
}

void tr_cuda_graph_launch(void *graph)
{
    for (const command *c = ((lane_list *)graph)->first; c; c = c->next) {
        command *again = give(c->run, c->arguments, c->argument_bytes);
        again->to = c->to;
        again->from = c->from;
        again->bytes = c->bytes;
        again->value = c->value;
        again->grid = c->grid;
        again->side = c->side;
    }
}

void tr_cuda_graph_free(void *graph)
{
    lane_list *l = graph;
    for (command *c = l->first, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(l);
}

void *tr_cuda_scratch(size_t bytes)
{
    largest_scratch = bytes > largest_scratch ? bytes : largest_scratch;
    lane_list *l = &device.lanes[tr_cuda_lane()];
    if (bytes > l->scratch_bytes || !l->scratch) {
        l->scratch = piece(bytes);
        l->scratch_bytes = bytes;
    }
    if (!l->scratch) {
        tr_cuda_remember("the emulated device is out of working memory");
        return NULL;
    }
    give_fill(l->scratch, 0xFB, l->scratch_bytes);
    return l->scratch;
}

void tr_cuda_product_bf16(tr_cuda_form form, float *c, const uint16_t *a, const uint16_t *b, const float *bias,
                          int64_t rows, int64_t out, int64_t in)
{
    tr_cuda_products mode = TR_CUDA_PRODUCTS_AUTO;
    if (!tr_cuda_products_mode(&mode, NULL) && mode == TR_CUDA_PRODUCTS_OWN) {
        tr_cuda_product_own(form, c, a, b, bias, rows, out, in, -1);
    } else {
        tr_cuda_product_fma(form, c, a, b, bias, rows, out, in);
    }
}

void tr_cuda_product_prepare(int64_t out, int64_t in)
{
    (void)out, (void)in;
}

int tr_cuda_products_chosen(tr_cuda_product_choice *list, int most)
{
    (void)list, (void)most;
    return 0;
}

int64_t tr_emulated_launches(void)
{
    return device.launches;
}

void tr_emulated_order(tr_emulated_policy policy)
{
    ready();
    device.policy = policy;
}

/* Shared memory of a block between two bands that must not change. */
static struct {
    ALIGNED16 uint32_t before[64];
    ALIGNED16 uint32_t words[SHARED_MAX / 4];
} shared;

static void poison(size_t bytes)
{
    for (size_t i = 0; i < bytes / 4 + 64; i++) {
        shared.words[i] = 0x7FA00000u + (uint32_t)(i % 1000);
    }
}

static void check_shared(size_t bytes, const char *name)
{
    for (size_t i = (bytes + 3) / 4; i < bytes / 4 + 64; i++) {
        if (shared.words[i] != 0x7FA00000u + (uint32_t)(i % 1000)) {
            fprintf(stderr, "kernel %s writes beyond its %zu bytes of shared memory\n", name, bytes);
            abort();
        }
    }
}

/* The device's limits: 65535 blocks along y and z, 227 KiB of shared memory on sm_90. */
static bool is_grid(tr_cuda_grid grid, const char *name)
{
    if (grid.y > 65535 || grid.z > 65535 || grid.x > INT32_MAX) {
        fprintf(stderr, "kernel %s\n", name);
        tr_cuda_remember("the grid of a kernel is larger than a device's");
        return false;
    }
    return true;
}

/* All blocks of a command's grid, the last one first; x, y and z are the block in `call`. */
#define BLOCKS(name, threads, bytes, call)                                                                         \
    _Static_assert((int)(threads) <= (int)TR_BLOCK_MAX && (size_t)(bytes) + 512 <= SHARED_MAX, #name);             \
    for (int64_t z = c->grid.z - 1; z >= 0; z--) {                                                                 \
        for (int64_t y = c->grid.y - 1; y >= 0; y--) {                                                             \
            for (int64_t x = c->grid.x - 1; x >= 0; x--) {                                                         \
                poison(bytes);                                                                                     \
                tr_emulated_block();                                                                               \
                call;                                                                                              \
                check_shared(bytes, #name);                                                                        \
            }                                                                                                      \
        }                                                                                                          \
    }                                                                                                              \
    device.launches++

static void give_launch(void (*run)(const command *c), const char *name, const void *arguments, size_t bytes,
                        tr_cuda_grid grid, int side)
{
    if (is_grid(grid, name)) {
        command *c = give(run, arguments, bytes);
        c->grid = grid;
        c->side = side;
    }
}

#define X(name, args, threads, bytes)                                                                              \
    static void run_##name(const command *c)                                                                       \
    {                                                                                                              \
        const args *a = (const args *)(const void *)c->arguments;                                                  \
        BLOCKS(name, threads, bytes, name##_block(a, (int)x, (int)y, (int)z, shared.words));                       \
    }                                                                                                              \
    void tr_cuda_run_##name(const args *a, tr_cuda_grid grid)                                                      \
    {                                                                                                              \
        give_launch(run_##name, #name, a, sizeof *a, grid, 0);                                                     \
    }
TR_CUDA_KERNELS(X)
#undef X
#define X(name, args, threads, bytes)                                                                              \
    static void run_##name(const command *c)                                                                       \
    {                                                                                                              \
        const args *a = (const args *)(const void *)c->arguments;                                                  \
        BLOCKS(name, threads, bytes, name##_block(a, (int)x, (int)y, (int)z, shared.words, c->side));              \
    }                                                                                                              \
    void tr_cuda_run_##name(const args *a, tr_cuda_grid grid, int side)                                            \
    {                                                                                                              \
        give_launch(run_##name, #name, a, sizeof *a, grid, side);                                                  \
    }
TR_CUDA_SIDE_KERNELS(X)
#undef X

#define X(name, bm, bn, deep, stages, wm, wn, a_along, b_along)                                                    \
    static void tile_##name(const command *c)                                                                      \
    {                                                                                                              \
        const tile_args *a = (const tile_args *)(const void *)c->arguments;                                        \
        BLOCKS(                                                                                                    \
            name, (wm) * (wn)*32, TILE_BYTES(bm, bn, deep, stages, a_along, b_along),                              \
            tile_block(a, (int)x, (int)y, (int)z, shared.words, bm, bn, deep, stages, wm, wn, a_along, b_along));  \
    }
TR_CUDA_TILES(X)
#undef X
size_t tr_cuda_tile_limit(void)
{
    return 227 * 1024;
}

void tr_cuda_launch_tile(const tile_args *a, tr_cuda_grid grid, tile_shape shape)
{
    static void (*const run[])(const command *c) = {
#define X(name, bm, bn, deep, stages, wm, wn, a_along, b_along) tile_##name,
        TR_CUDA_TILES(X)
#undef X
    };
    give_launch(run[shape], "tile", a, sizeof *a, grid, 0);
}

/* ---- the emulated device as the program sees one ---- */

void tr_cuda_describe(tr_cuda_info *info)
{
    memset(info, 0, sizeof *info);
    info->built = true;
    info->devices = 1;
    info->memory_bytes = memory_bytes;
    snprintf(info->name, sizeof info->name, "emulated");
}

tr_status tr_ops_cuda(int index, tr_dtype dtype, const tr_ops **ops, tr_error *err)
{
    *ops = NULL;
    if (index) {
        return tr_fail(err, TR_UNSUPPORTED, "device", "cuda:%d: there is one emulated device", index);
    }
    *ops = dtype == TR_BF16 ? &tr_cuda_table_bf16 : &tr_cuda_table_f32;
    return TR_OK;
}

tr_status tr_cuda_memory(uint64_t *free_bytes, uint64_t *all_bytes, tr_error *err)
{
    (void)err;
    *free_bytes = memory_bytes > live ? memory_bytes - live : 0;
    *all_bytes = memory_bytes;
    return TR_OK;
}

tr_status tr_cuda_ceiling(tr_cuda_ceilings *ceilings, tr_error *err)
{
    memset(ceilings, 0, sizeof *ceilings);
    return tr_fail(err, TR_UNSUPPORTED, "device", "%s", "an emulated device has no speed");
}
