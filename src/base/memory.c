/* memory.c: overflow-checked allocation and arenas. */
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

bool tr_size_mul(size_t count, size_t size, size_t *bytes)
{
    size_t result;
    if (__builtin_mul_overflow(count, size, &result)) {
        return false;
    }
    *bytes = result;
    return true;
}

bool tr_size_add(size_t a, size_t b, size_t *bytes)
{
    size_t result;
    if (__builtin_add_overflow(a, b, &result)) {
        return false;
    }
    *bytes = result;
    return true;
}

void *tr_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (!tr_size_mul(count, size, &bytes)) {
        return NULL;
    }
    return calloc(1, bytes ? bytes : 1);
}

void *tr_calloc_aligned(size_t count, size_t size)
{
    size_t bytes;
    if (!tr_size_mul(count, size, &bytes) || !tr_size_add(bytes, 63, &bytes)) {
        return NULL;
    }
    bytes = bytes / 64 * 64;
    void *p = aligned_alloc(64, bytes ? bytes : 64);
    if (p) {
        memset(p, 0, bytes);
    }
    return p;
}

tr_status tr_grow(void *array, size_t *capacity, size_t need, size_t size, tr_error *err)
{
    if (need <= *capacity) {
        return TR_OK;
    }
    size_t count = *capacity ? *capacity : 8, bytes;
    while (count < need) {
        if (!tr_size_mul(count, 2, &count)) {
            return tr_fail(err, TR_MEMORY, NULL, "a list of %zu items does not fit in memory", need);
        }
    }
    void *old;
    memcpy(&old, array, sizeof old);
    void *grown = tr_size_mul(count, size, &bytes) ? realloc(old, bytes) : NULL;
    if (!grown) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for a list of %zu items of %zu bytes", count, size);
    }
    memset((char *)grown + *capacity * size, 0, (count - *capacity) * size);
    memcpy(array, &grown, sizeof grown);
    *capacity = count;
    return TR_OK;
}

size_t tr_arena_need(size_t count, size_t size)
{
    size_t bytes;
    if (!tr_size_mul(count, size, &bytes) || !tr_size_add(bytes, 63, &bytes)) {
        return SIZE_MAX;
    }
    return bytes / 64 * 64;
}

tr_status tr_arena_init(tr_arena *arena, size_t size, tr_error *err)
{
    memset(arena, 0, sizeof *arena);
    if (!size) {
        size = 64;
    }
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        return tr_fail(err, TR_MEMORY, NULL, "cannot reserve %.2f GiB of working memory",
                       (double)size / (1u << 30));
    }
#ifdef MADV_HUGEPAGE
    madvise(p, size, MADV_HUGEPAGE);
#endif
    arena->block = p;
    arena->size = size;
    return TR_OK;
}

void tr_arena_free(tr_arena *arena)
{
    if (arena && arena->block) {
        munmap(arena->block, arena->size);
        memset(arena, 0, sizeof *arena);
    }
}

void *tr_arena_take(tr_arena *arena, size_t count, size_t size)
{
    size_t bytes = tr_arena_need(count, size);
    if (bytes > arena->size - arena->used) {
        return NULL;
    }
    void *p = arena->block + arena->used;
    arena->used += bytes;
    if (arena->used > arena->peak) {
        arena->peak = arena->used;
    }
    return p;
}

size_t tr_arena_mark(const tr_arena *arena)
{
    return arena->used;
}

void tr_arena_reset(tr_arena *arena, size_t mark)
{
    arena->used = mark;
}

uint64_t tr_peak_rss_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

uint64_t tr_current_rss_bytes(void)
{
    char line[256]; /* pages: total resident ... */
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) {
        return 0;
    }
    const char *second = fgets(line, sizeof line, f) ? strchr(line, ' ') : NULL;
    fclose(f);
    return second ? (uint64_t)strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}
