/* memory.h: overflow-checked allocation and arenas.
 *
 * Sizes are bytes unless a name says count. Everything that a caller frees is freed with free() or with the
 * function named beside it; every free takes NULL. */
#ifndef TR_BASE_MEMORY_H
#define TR_BASE_MEMORY_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* count * size in bytes; false when it would overflow (and *bytes is then untouched). */
bool tr_size_mul(size_t count, size_t size, size_t *bytes);

/* a + b in bytes; false on overflow. */
bool tr_size_add(size_t a, size_t b, size_t *bytes);

/* Zeroed memory for count objects of size bytes, free() frees it. NULL on overflow or when memory is out;
 * count 0 gives a valid pointer. */
void *tr_calloc(size_t count, size_t size);

/* Like tr_calloc, aligned to 64 bytes (one cache line, one AVX-512 register). free() frees it. */
void *tr_calloc_aligned(size_t count, size_t size);

/* Grows *array (of *capacity objects of `size` bytes) to hold at least need objects, doubling. */
tr_status tr_grow(void *array, size_t *capacity, size_t need, size_t size, tr_error *err);

/* An arena hands out 64-byte aligned pieces of one block that was sized before the run. It never grows:
 * running out is TR_MEMORY, a planning error with numbers. Not thread safe. */
typedef struct tr_arena {
    char *block;
    size_t size, used, peak; /* bytes */
} tr_arena;

/* Reserves size bytes, zeroed lazily by the kernel. tr_arena_free releases it. */
tr_status tr_arena_init(tr_arena *arena, size_t size, tr_error *err);
void tr_arena_free(tr_arena *arena);

/* A piece of count * size bytes (contents undefined); NULL when the arena is exhausted. */
void *tr_arena_take(tr_arena *arena, size_t count, size_t size);

/* Stack discipline: everything taken after mark is given back. */
size_t tr_arena_mark(const tr_arena *arena);
void tr_arena_reset(tr_arena *arena, size_t mark);

/* Bytes that tr_arena_take uses for such a piece (rounded up to 64); SIZE_MAX on overflow. For planning. */
size_t tr_arena_need(size_t count, size_t size);

/* Peak resident set of this process in bytes (ru_maxrss), and the current one (0 where unknown). */
uint64_t tr_peak_rss_bytes(void);
uint64_t tr_current_rss_bytes(void);

#endif
