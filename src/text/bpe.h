/* bpe.h: byte-pair merging of one word, and the growing list of ids it writes to.
 *
 * Order of merges: the pair with the lowest rank first, the leftmost of equal ones (as Hugging Face tokenizers does
 * it). A word of n bytes costs O(n log n): symbols are a linked list, candidate pairs a heap. The table is
 * read-only after building, so many threads may merge at once, each with its own scratch. */
#ifndef TR_TEXT_BPE_H
#define TR_TEXT_BPE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* A growing list of token ids. A zeroed one is empty; tr_ids_free empties it again. */
typedef struct tr_ids {
    int32_t *data;
    size_t count, capacity;
} tr_ids;
void tr_ids_free(tr_ids *ids);
tr_status tr_ids_add(tr_ids *ids, int32_t id, tr_error *err);
tr_status tr_ids_repeat(tr_ids *ids, int32_t id, size_t count, tr_error *err);

typedef struct tr_merge {
    int32_t left, right; /* left -1: an empty slot */
    int32_t id;          /* the token that the two become */
    uint32_t rank;
} tr_merge;

/* Open-addressing table of merges by pair. */
typedef struct tr_bpe {
    tr_merge *slots;
    size_t slot_count, count; /* slot_count is a power of two, at most 3/4 in use */
    int32_t byte_ids[256];    /* the token of each byte */
} tr_bpe;
void tr_bpe_free(tr_bpe *bpe);
/* Makes room for count merges. */
tr_status tr_bpe_reserve(tr_bpe *bpe, size_t count, tr_error *err);
/* Adds a merge; *old is its earlier entry when the pair is there already (nothing is changed then), else NULL. */
tr_status tr_bpe_add(tr_bpe *bpe, tr_merge merge, const tr_merge **old, tr_error *err);
/* The merge of a pair, or NULL. */
const tr_merge *tr_bpe_find(const tr_bpe *bpe, int32_t left, int32_t right);

/* Working memory of tr_bpe_encode, reused between words. A zeroed one is empty. */
typedef struct tr_bpe_scratch {
    struct tr_bpe_symbol *symbols;
    struct tr_bpe_candidate *heap;
    size_t symbol_capacity, heap_capacity, heap_count;
    uint64_t work; /* pairs looked up and heap levels walked so far: what the time bound is stated in */
} tr_bpe_scratch;
void tr_bpe_scratch_free(tr_bpe_scratch *scratch);

/* Appends the ids of one word of `count` bytes (below 2^31). */
tr_status tr_bpe_encode(const tr_bpe *bpe, const uint8_t *bytes, size_t count, tr_bpe_scratch *scratch, tr_ids *ids,
                        tr_error *err);

#endif
