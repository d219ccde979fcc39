/* bpe.c: byte-pair merging of one word in O(n log n). */
#include "text/bpe.h"

#include "base/memory.h"

#include <stdlib.h>

struct tr_bpe_symbol {
    int32_t id;         /* -1: swallowed by its left neighbour */
    int32_t prev, next; /* -1: none */
};

/* A pair that could merge. It may be out of date when it comes out of the heap. */
struct tr_bpe_candidate {
    uint32_t rank;
    int32_t at; /* left symbol */
    int32_t id; /* what it becomes */
};

void tr_ids_free(tr_ids *ids)
{
    free(ids->data);
    *ids = (tr_ids){0};
}

tr_status tr_ids_add(tr_ids *ids, int32_t id, tr_error *err)
{
    tr_status status = tr_grow(&ids->data, &ids->capacity, ids->count + 1, sizeof *ids->data, err);
    if (!status) {
        ids->data[ids->count++] = id;
    }
    return status;
}

tr_status tr_ids_repeat(tr_ids *ids, int32_t id, size_t count, tr_error *err)
{
    size_t need;
    if (!tr_size_add(ids->count, count, &need)) {
        return tr_fail(err, TR_MEMORY, NULL, "%zu more token ids are too many", count);
    }
    tr_status status = tr_grow(&ids->data, &ids->capacity, need, sizeof *ids->data, err);
    while (!status && ids->count < need) {
        ids->data[ids->count++] = id;
    }
    return status;
}

void tr_bpe_free(tr_bpe *bpe)
{
    free(bpe->slots);
    *bpe = (tr_bpe){0};
}

void tr_bpe_scratch_free(tr_bpe_scratch *scratch)
{
    free(scratch->symbols);
    free(scratch->heap);
    *scratch = (tr_bpe_scratch){0};
}

static size_t slot_of(const tr_bpe *bpe, int32_t left, int32_t right)
{
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    return (size_t)(key ^ key >> 29) & (bpe->slot_count - 1);
}

const tr_merge *tr_bpe_find(const tr_bpe *bpe, int32_t left, int32_t right)
{
    if (!bpe->slot_count) {
        return NULL;
    }
    for (size_t i = slot_of(bpe, left, right);; i = (i + 1) & (bpe->slot_count - 1)) {
        const tr_merge *m = &bpe->slots[i];
        if (m->left < 0) {
            return NULL;
        }
        if (m->left == left && m->right == right) {
            return m;
        }
    }
}

static void insert(tr_bpe *bpe, tr_merge merge)
{
    size_t i = slot_of(bpe, merge.left, merge.right);
    while (bpe->slots[i].left >= 0) {
        i = (i + 1) & (bpe->slot_count - 1);
    }
    bpe->slots[i] = merge;
}

tr_status tr_bpe_reserve(tr_bpe *bpe, size_t count, tr_error *err)
{
    size_t slots = bpe->slot_count ? bpe->slot_count : 64;
    while (slots / 4 * 3 < count) {
        if (slots > SIZE_MAX / 64) {
            return tr_fail(err, TR_MEMORY, NULL, "%zu merges are too many", count);
        }
        slots *= 2;
    }
    if (slots == bpe->slot_count) {
        return TR_OK;
    }
    tr_bpe larger = *bpe;
    larger.slot_count = slots;
    if (!(larger.slots = tr_calloc(slots, sizeof *larger.slots))) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for a table of %zu merges", count);
    }
    for (size_t i = 0; i < slots; i++) {
        larger.slots[i].left = -1;
    }
    for (size_t i = 0; i < bpe->slot_count; i++) {
        if (bpe->slots[i].left >= 0) {
            insert(&larger, bpe->slots[i]);
        }
    }
    free(bpe->slots);
    *bpe = larger;
    return TR_OK;
}

tr_status tr_bpe_add(tr_bpe *bpe, tr_merge merge, const tr_merge **old, tr_error *err)
{
    *old = tr_bpe_find(bpe, merge.left, merge.right);
    if (*old) {
        return TR_OK;
    }
    tr_status status = tr_bpe_reserve(bpe, bpe->count + 1, err);
    if (!status) {
        insert(bpe, merge);
        bpe->count++;
    }
    return status;
}

static bool before(const struct tr_bpe_candidate *a, const struct tr_bpe_candidate *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

/* Room for every push of a word was made by tr_bpe_encode. */
static void push(tr_bpe_scratch *s, struct tr_bpe_candidate c)
{
    size_t i = s->heap_count++;
    while (i > 0 && before(&c, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
        s->work++;
    }
    s->heap[i] = c;
}

static struct tr_bpe_candidate pop(tr_bpe_scratch *s)
{
    struct tr_bpe_candidate top = s->heap[0], last = s->heap[--s->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->heap_count) {
            break;
        }
        if (child + 1 < s->heap_count && before(&s->heap[child + 1], &s->heap[child])) {
            child++;
        }
        if (!before(&s->heap[child], &last)) {
            break;
        }
        s->heap[i] = s->heap[child];
        i = child;
        s->work++;
    }
    s->heap[i] = last;
    return top;
}

static void consider(const tr_bpe *bpe, tr_bpe_scratch *s, int32_t left)
{
    int32_t right = left >= 0 ? s->symbols[left].next : -1;
    if (right < 0) {
        return;
    }
    s->work++;
    const tr_merge *m = tr_bpe_find(bpe, s->symbols[left].id, s->symbols[right].id);
    if (m) {
        push(s, (struct tr_bpe_candidate){m->rank, left, m->id});
    }
}

static void merge_all(const tr_bpe *bpe, tr_bpe_scratch *s)
{
    while (s->heap_count) {
        struct tr_bpe_candidate c = pop(s);
        struct tr_bpe_symbol *left = &s->symbols[c.at];
        if (left->id < 0 || left->next < 0) {
            continue;
        }
        struct tr_bpe_symbol *right = &s->symbols[left->next];
        const tr_merge *m = tr_bpe_find(bpe, left->id, right->id);
        s->work++;
        if (!m || m->id != c.id) { /* another merge has changed the pair since */
            continue;
        }
        left->id = c.id;
        right->id = -1;
        left->next = right->next;
        if (right->next >= 0) {
            s->symbols[right->next].prev = c.at;
        }
        consider(bpe, s, left->prev);
        consider(bpe, s, c.at);
    }
}

tr_status tr_bpe_encode(const tr_bpe *bpe, const uint8_t *bytes, size_t count, tr_bpe_scratch *scratch, tr_ids *ids,
                        tr_error *err)
{
    if (!count) {
        return TR_OK;
    }
    if (count >= INT32_MAX / 4) {
        return tr_fail(err, TR_INVALID, NULL, "one word of %zu bytes is too long to tokenize", count);
    }
    tr_status status;
    TR_TRY(tr_grow(&scratch->symbols, &scratch->symbol_capacity, count, sizeof *scratch->symbols, err));
    /* count - 1 pairs at first, and at most two more for each of at most count - 1 merges */
    TR_TRY(tr_grow(&scratch->heap, &scratch->heap_capacity, 3 * count, sizeof *scratch->heap, err));
    scratch->heap_count = 0;
    for (size_t i = 0; i < count; i++) {
        scratch->symbols[i] =
            (struct tr_bpe_symbol){bpe->byte_ids[bytes[i]], (int32_t)i - 1, i + 1 < count ? (int32_t)i + 1 : -1};
    }
    for (size_t i = 0; i + 1 < count; i++) {
        consider(bpe, scratch, (int32_t)i);
    }
    merge_all(bpe, scratch);
    for (int32_t i = 0; i >= 0; i = scratch->symbols[i].next) {
        TR_TRY(tr_ids_add(ids, scratch->symbols[i].id, err));
    }
done:
    return status;
}
