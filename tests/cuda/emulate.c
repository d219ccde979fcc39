/* emulate.c: a device of the host's memory that runs the GPU's kernels block by block and thread by thread.
 *
 * Device memory is one mapping that only launches and copies may touch: between them it has no access rights, so a
 * host function that reads a tensor in place ends the test, as it would end on a GPU. Shared memory is filled with
 * signalling NaNs before every block, and blocks run from the last to the first, so that nothing can lean on an
 * order that the device does not promise. */
#include "cuda/emulate.h"

#include "tensor/cuda/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { MAPPED = 1 << 30, SHARED_MAX = 1 << 18, STAGE = 64 << 20 };

static struct {
    char *base;
    size_t used;
    int pieces; /* given out and not yet given back */
    int open;   /* launches and copies under way */
    const char *failed;
    char *stage;
    size_t staged;
    void *scratch;
    size_t scratch_bytes;
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
        device.base = mmap(NULL, MAPPED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (device.base == MAP_FAILED) {
            perror("emulated device memory");
            abort();
        }
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
    memset(*memory, zero ? 0 : 0xFB, bytes);
    leave();
    return TR_OK;
}

void tr_cuda_give(void *memory)
{
    forget_piece(memory);
    if (memory && --device.pieces == 0) {
        device.used = 0;
        device.stage = NULL;
        device.scratch = NULL;
        device.scratch_bytes = device.staged = 0;
        madvise(device.base, MAPPED, MADV_DONTNEED);
    }
}

void tr_cuda_zero(void *to, size_t bytes)
{
    enter();
    memset(to, 0, bytes);
    leave();
}
void tr_cuda_copy(void *to, const void *from, size_t bytes)
{
    enter();
    memmove(to, from, bytes);
    leave();
}
void tr_cuda_write(void *to, const void *host, size_t bytes)
{
    tr_cuda_copy(to, host, bytes);
}
void tr_cuda_read(void *host, const void *from, size_t bytes)
{
    tr_cuda_copy(host, from, bytes);
}

tr_status tr_cuda_check(tr_error *err)
{
    const char *failed = device.failed;
    device.failed = NULL;
    return failed ? tr_fail(err, TR_MEMORY, "emulated device", "%s", failed) : TR_OK;
}

void *tr_cuda_stage(const void *host, size_t bytes)
{
    if (!device.stage) {
        device.stage = piece(STAGE);
        device.staged = 0;
    }
    const size_t need = (bytes + 255) / 256 * 256;
    if (!device.stage || need > STAGE) {
        tr_cuda_remember("the emulated device has no room for arguments");
        return NULL;
    }
    if (device.staged + need > STAGE) {
        device.staged = 0;
    }
    void *to = device.stage + device.staged;
    device.staged += need;
    tr_cuda_copy(to, host, bytes);
    return to;
}

void *tr_cuda_scratch(size_t bytes)
{
    largest_scratch = bytes > largest_scratch ? bytes : largest_scratch;
    if (bytes > device.scratch_bytes || !device.scratch) {
        device.scratch = piece(bytes);
        device.scratch_bytes = bytes;
    }
    if (!device.scratch) {
        tr_cuda_remember("the emulated device is out of working memory");
        return NULL;
    }
    enter();
    memset(device.scratch, 0xFB, device.scratch_bytes);
    leave();
    return device.scratch;
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
#define RUN(name, threads, bytes, call)                                                                            \
    _Static_assert((int)(threads) <= (int)TR_BLOCK_MAX && (size_t)(bytes) + 512 <= SHARED_MAX, #name);             \
    if (grid.y > 65535 || grid.z > 65535 || grid.x > INT32_MAX) {                                                  \
        tr_cuda_remember("the grid of kernel " #name " is larger than a device's");                                \
        return;                                                                                                    \
    }                                                                                                              \
    enter();                                                                                                       \
    for (int64_t z = grid.z - 1; z >= 0; z--) {                                                                    \
        for (int64_t y = grid.y - 1; y >= 0; y--) {                                                                \
            for (int64_t x = grid.x - 1; x >= 0; x--) {                                                            \
                poison(bytes);                                                                                     \
                tr_emulated_block();                                                                               \
                call;                                                                                              \
                check_shared(bytes, #name);                                                                        \
            }                                                                                                      \
        }                                                                                                          \
    }                                                                                                              \
    device.launches++;                                                                                             \
    leave()

#define X(name, arguments, threads, bytes)                                                                         \
    void tr_cuda_launch_##name(const arguments *a, tr_cuda_grid grid)                                              \
    {                                                                                                              \
        RUN(name, threads, bytes, name##_block(a, (int)x, (int)y, (int)z, shared.words));                          \
    }
TR_CUDA_KERNELS(X)
#undef X
#define X(name, arguments, threads, bytes)                                                                         \
    void tr_cuda_launch_##name(const arguments *a, tr_cuda_grid grid, int side)                                    \
    {                                                                                                              \
        RUN(name, threads, bytes, name##_block(a, (int)x, (int)y, (int)z, shared.words, side));                    \
    }
TR_CUDA_SIDE_KERNELS(X)
#undef X

#define X(name, bm, bn, deep, stages, wm, wn, a_along, b_along)                                                    \
    static void tile_##name(const tile_args *a, tr_cuda_grid grid)                                                 \
    {                                                                                                              \
        RUN(name, (wm) * (wn)*32, TILE_BYTES(bm, bn, deep, stages, a_along, b_along),                              \
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
    static void (*const run[])(const tile_args *, tr_cuda_grid) = {
#define X(name, bm, bn, deep, stages, wm, wn, a_along, b_along) tile_##name,
        TR_CUDA_TILES(X)
#undef X
    };
    run[shape](a, grid);
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
