/* train_bpe.c: learns merges from sample texts.
 *
 * Distinct words with their counts; pairs with their counts and the words that hold them; a heap of pairs whose
 * entries may be out of date (counts only shrink until a pair's entry comes up, growing ones are pushed again). */
#include "text/train_bpe.h"

#include "base/memory.h"
#include "base/random.h"
#include "text/train_internal.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>

typedef struct word {
    size_t start, length; /* in the list of symbols; length shrinks */
    int64_t count;
    size_t stamp; /* the merge that last looked at it */
} word;

typedef struct pair {
    int32_t left, right;
    int64_t count;
    size_t *words; /* may name a word twice, or one that no longer holds the pair */
    size_t word_count, word_capacity;
} pair;

typedef struct entry { /* of the heap */
    int64_t count;
    size_t pair;
} entry;

typedef struct trainer {
    tr_buffer text; /* bytes of the distinct words, as they were read */
    word *words;
    size_t word_count, word_capacity;
    size_t *word_table, word_slots; /* index + 1 */
    int32_t *symbols;
    pair *pairs;
    size_t pair_count, pair_capacity;
    size_t *pair_table, pair_slots; /* index + 1 */
    entry *heap;
    size_t heap_count, heap_capacity;
    size_t *grown; /* pairs whose count grew during this merge */
    size_t grown_count, grown_capacity;
    tr_trained out;
    int32_t *token_table; /* id + 1 by bytes */
    size_t token_slots;
    tr_error *err;
} trainer;

static void trainer_free(trainer *t)
{
    for (size_t i = 0; i < t->pair_count; i++) {
        free(t->pairs[i].words);
    }
    tr_buffer_free(&t->text);
    tr_buffer_free(&t->out.bytes);
    free(t->words);
    free(t->word_table);
    free(t->symbols);
    free(t->pairs);
    free(t->pair_table);
    free(t->heap);
    free(t->grown);
    free(t->out.starts);
    free(t->out.merges);
    free(t->token_table);
}

/* A larger table of index + 1, emptied; the caller fills it again. */
static tr_status new_table(size_t **table, size_t *slots, size_t least, tr_error *err)
{
    size_t n = *slots ? *slots : 1024;
    while (n / 2 < least) {
        n *= 2;
    }
    free(*table);
    *slots = n;
    return (*table = tr_calloc(n, sizeof **table)) ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "no memory to train");
}

static size_t *word_slot(const trainer *t, const uint8_t *bytes, size_t length)
{
    size_t i = (size_t)tr_hash(bytes, length) & (t->word_slots - 1);
    for (; t->word_table[i]; i = (i + 1) & (t->word_slots - 1)) {
        const word *w = &t->words[t->word_table[i] - 1];
        if (w->length == length && !memcmp(t->text.data + w->start, bytes, length)) {
            break;
        }
    }
    return &t->word_table[i];
}

static tr_status count_word(void *context, const uint8_t *bytes, size_t length)
{
    trainer *t = context;
    tr_status status = TR_OK;
    if (t->word_count + 1 > t->word_slots / 2) {
        TR_TRY(new_table(&t->word_table, &t->word_slots, t->word_count + 1, t->err));
        for (size_t i = 0; i < t->word_count; i++) {
            const word *w = &t->words[i];
            *word_slot(t, (const uint8_t *)t->text.data + w->start, w->length) = i + 1;
        }
    }
    size_t *slot = word_slot(t, bytes, length);
    if (!*slot) {
        TR_TRY(tr_grow(&t->words, &t->word_capacity, t->word_count + 1, sizeof *t->words, t->err));
        t->words[t->word_count++] = (word){.start = t->text.length, .length = length};
        *slot = t->word_count;
        TR_TRY(tr_buffer_add(&t->text, bytes, length, t->err));
    }
    t->words[*slot - 1].count++;
done:
    return status;
}

static size_t *pair_slot(const trainer *t, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = (size_t)tr_hash(&key, sizeof key) & (t->pair_slots - 1);
    for (; t->pair_table[i]; i = (i + 1) & (t->pair_slots - 1)) {
        const pair *p = &t->pairs[t->pair_table[i] - 1];
        if (p->left == left && p->right == right) {
            break;
        }
    }
    return &t->pair_table[i];
}

static tr_status find_pair(trainer *t, int32_t left, int32_t right, size_t *index)
{
    tr_status status = TR_OK;
    if (t->pair_count + 1 > t->pair_slots / 2) {
        TR_TRY(new_table(&t->pair_table, &t->pair_slots, t->pair_count + 1, t->err));
        for (size_t i = 0; i < t->pair_count; i++) {
            *pair_slot(t, t->pairs[i].left, t->pairs[i].right) = i + 1;
        }
    }
    size_t *slot = pair_slot(t, left, right);
    if (!*slot) {
        TR_TRY(tr_grow(&t->pairs, &t->pair_capacity, t->pair_count + 1, sizeof *t->pairs, t->err));
        t->pairs[t->pair_count++] = (pair){.left = left, .right = right};
        *slot = t->pair_count;
    }
    *index = *slot - 1;
done:
    return status;
}

/* Which pairs a count enters as grown: none, all, or (an id, 0 and above) those that hold it. */
enum { ENTER_NONE = -2, ENTER_ALL = -1 };

/* Adds `by` times the pairs of word w. */
static tr_status count_pairs(trainer *t, size_t w, int64_t by, int32_t enter)
{
    const word *v = &t->words[w];
    tr_status status = TR_OK;
    for (size_t i = 0; i + 1 < v->length; i++) {
        size_t index = 0;
        TR_TRY(find_pair(t, t->symbols[v->start + i], t->symbols[v->start + i + 1], &index));
        pair *p = &t->pairs[index];
        p->count += by * v->count;
        if (enter == ENTER_ALL || (enter >= 0 && (p->left == enter || p->right == enter))) {
            if (!p->word_count || p->words[p->word_count - 1] != w) {
                TR_TRY(tr_grow(&p->words, &p->word_capacity, p->word_count + 1, sizeof *p->words, t->err));
                p->words[p->word_count++] = w;
            }
            TR_TRY(tr_grow(&t->grown, &t->grown_capacity, t->grown_count + 1, sizeof *t->grown, t->err));
            t->grown[t->grown_count++] = index;
        }
    }
done:
    return status;
}

/* Frequent first; ties by ids. */
static bool before(const trainer *t, entry a, entry b)
{
    const pair *p = &t->pairs[a.pair], *q = &t->pairs[b.pair];
    if (a.count != b.count) {
        return a.count > b.count;
    }
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static tr_status heap_push(trainer *t, entry e)
{
    tr_status status = tr_grow(&t->heap, &t->heap_capacity, t->heap_count + 1, sizeof *t->heap, t->err);
    if (status) {
        return status;
    }
    size_t i = t->heap_count++;
    for (; i > 0 && before(t, e, t->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        t->heap[i] = t->heap[(i - 1) / 2];
    }
    t->heap[i] = e;
    return TR_OK;
}

static entry heap_pop(trainer *t)
{
    entry top = t->heap[0], last = t->heap[--t->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= t->heap_count) {
            break;
        }
        if (child + 1 < t->heap_count && before(t, t->heap[child + 1], t->heap[child])) {
            child++;
        }
        if (!before(t, t->heap[child], last)) {
            break;
        }
        t->heap[i] = t->heap[child];
        i = child;
    }
    t->heap[i] = last;
    return top;
}

static tr_status push_grown(trainer *t)
{
    tr_status status = TR_OK;
    for (size_t i = 0; i < t->grown_count && !status; i++) {
        pair *p = &t->pairs[t->grown[i]];
        if (p->count > 0) {
            status = heap_push(t, (entry){p->count, t->grown[i]});
        }
    }
    t->grown_count = 0;
    return status;
}

static int32_t *token_slot(const trainer *t, const char *bytes, size_t length)
{
    size_t i = (size_t)tr_hash(bytes, length) & (t->token_slots - 1);
    for (; t->token_table[i]; i = (i + 1) & (t->token_slots - 1)) {
        size_t id = (size_t)t->token_table[i] - 1;
        if (t->out.starts[id + 1] - t->out.starts[id] == length &&
            !memcmp(t->out.bytes.data + t->out.starts[id], bytes, length)) {
            break;
        }
    }
    return &t->token_table[i];
}

/* The token with these bytes, made when there is none: two pairs may spell the same token. */
static tr_status intern_token(trainer *t, const char *bytes, size_t length, int32_t *id)
{
    int32_t *slot = token_slot(t, bytes, length);
    tr_status status = TR_OK;
    if (!*slot) {
        tr_trained *o = &t->out;
        TR_TRY(tr_grow(&o->starts, &o->token_capacity, o->tokens + 2, sizeof *o->starts, t->err));
        TR_TRY(tr_buffer_add(&o->bytes, bytes, length, t->err));
        o->starts[++o->tokens] = o->bytes.length;
        *slot = (int32_t)o->tokens;
    }
    *id = *slot - 1;
done:
    return status;
}

static void replace_pair(trainer *t, size_t w, int32_t left, int32_t right, int32_t id)
{
    int32_t *s = t->symbols + t->words[w].start;
    size_t n = 0;
    for (size_t i = 0; i < t->words[w].length; i++) {
        if (i + 1 < t->words[w].length && s[i] == left && s[i + 1] == right) {
            s[n++] = id;
            i++;
        } else {
            s[n++] = s[i];
        }
    }
    t->words[w].length = n;
}

static tr_status apply_merge(trainer *t, size_t index)
{
    tr_trained *o = &t->out;
    int32_t left = t->pairs[index].left, right = t->pairs[index].right, id = 0;
    tr_buffer joined = {0};
    tr_status status;
    size_t stamp = o->merge_count + 1;
    TR_TRY(tr_buffer_add(&joined, o->bytes.data + o->starts[left], o->starts[left + 1] - o->starts[left], t->err));
    TR_TRY(
        tr_buffer_add(&joined, o->bytes.data + o->starts[right], o->starts[right + 1] - o->starts[right], t->err));
    TR_TRY(intern_token(t, joined.data, joined.length, &id));
    TR_TRY(tr_grow(&o->merges, &o->merge_capacity, o->merge_count + 1, sizeof *o->merges, t->err));
    o->merges[o->merge_count][0] = left;
    o->merges[o->merge_count++][1] = right;
    for (size_t i = 0; i < t->pairs[index].word_count; i++) { /* the list of this pair does not grow meanwhile */
        size_t w = t->pairs[index].words[i];
        if (t->words[w].stamp == stamp) {
            continue;
        }
        t->words[w].stamp = stamp;
        TR_TRY(count_pairs(t, w, -1, ENTER_NONE));
        replace_pair(t, w, left, right, id);
        TR_TRY(count_pairs(t, w, 1, id));
    }
    status = push_grown(t);
done:
    tr_buffer_free(&joined);
    return status;
}

static tr_status start(trainer *t, size_t tokens)
{
    uint8_t order[256];
    int32_t of_byte[256];
    tr_status status;
    t->token_slots = 1024;
    while (t->token_slots / 2 < tokens) {
        t->token_slots *= 2;
    }
    t->token_table = tr_calloc(t->token_slots, sizeof *t->token_table);
    t->symbols = tr_calloc(t->text.length, sizeof *t->symbols);
    if (!t->token_table || !t->symbols) {
        return tr_fail(t->err, TR_MEMORY, NULL, "no memory to train %zu tokens", tokens);
    }
    TR_TRY(tr_grow(&t->out.starts, &t->out.token_capacity, 1, sizeof *t->out.starts, t->err));
    tr_byte_order(order);
    for (int i = 0; i < 256; i++) {
        char byte = (char)order[i];
        TR_TRY(intern_token(t, &byte, 1, &of_byte[order[i]]));
    }
    for (size_t i = 0; i < t->text.length; i++) {
        t->symbols[i] = of_byte[(uint8_t)t->text.data[i]];
    }
    for (size_t w = 0; w < t->word_count; w++) {
        TR_TRY(count_pairs(t, w, 1, ENTER_ALL));
    }
    /* every pair once: those that occur often were entered often */
    t->grown_count = 0;
    for (size_t i = 0; i < t->pair_count; i++) {
        TR_TRY(heap_push(t, (entry){t->pairs[i].count, i}));
    }
done:
    return status;
}

static tr_status learn(trainer *t, size_t tokens, bool whole_words)
{
    tr_status status = TR_OK;
    while (t->out.tokens < tokens) {
        if (!t->heap_count && whole_words) {
            break;
        }
        if (!t->heap_count) {
            return tr_fail(
                t->err, TR_INVALID, NULL,
                "the samples give only %zu tokens, added ones included, but %zu are wanted; give more text "
                "or a smaller vocabulary",
                t->out.tokens + TR_TRAIN_ADDED, tokens + TR_TRAIN_ADDED);
        }
        entry e = heap_pop(t);
        int64_t now = t->pairs[e.pair].count;
        if (now != e.count) {
            if (now > 0 && now < e.count) { /* larger ones were pushed when they grew */
                TR_TRY(heap_push(t, (entry){now, e.pair}));
            }
            continue;
        }
        TR_TRY(apply_merge(t, e.pair));
    }
done:
    return status;
}

static tr_status read_samples(trainer *t, const char *const *texts, size_t count)
{
    tr_tokenizer splitter = {0};
    tr_buffer form = {0};
    tr_status status;
    TR_TRY(tr_vocabulary_set_pattern(&splitter, NULL, NULL, t->err));
    for (size_t i = 0; i < count; i++) {
        size_t bad, length = strlen(texts[i]);
        if (!tr_utf8_valid(texts[i], length, &bad)) {
            status = tr_fail(t->err, TR_INVALID, NULL, "sample %zu is not UTF-8: byte 0x%02X at offset %zu", i + 1,
                             (uint8_t)texts[i][bad], bad);
            goto done;
        }
        tr_buffer_clear(&form);
        TR_TRY(tr_nfc(texts[i], length, &form, t->err));
        TR_TRY(tr_vocabulary_split(&splitter, tr_buffer_text(&form), form.length, count_word, t, t->err));
    }
done:
    pcre2_code_free(splitter.pattern);
    tr_buffer_free(&form);
    return status;
}

tr_status tr_train_bpe(const char *const *texts, size_t count, const tr_train_bpe_options *options,
                       const char *directory, tr_error *err)
{
    trainer t = {.err = err};
    tr_status status;
    bool whole_words = !options->vocab_size;
    if ((!whole_words && options->vocab_size < TR_TRAIN_SMALLEST) || options->vocab_size > TR_TOKEN_ID_LIMIT) {
        return tr_fail(err, TR_INVALID, NULL, "a vocabulary has between %d and %d tokens, found %zu",
                       TR_TRAIN_SMALLEST, TR_TOKEN_ID_LIMIT, options->vocab_size);
    }
    TR_TRY(read_samples(&t, texts, count));
    /* a merge shortens the distinct words by at least one symbol, so there are fewer merges than bytes */
    size_t most = 256 + t.text.length, limit = TR_TOKEN_ID_LIMIT - TR_TRAIN_ADDED;
    size_t tokens = whole_words ? (most < limit ? most : limit) : options->vocab_size - TR_TRAIN_ADDED;
    TR_TRY(start(&t, tokens));
    TR_TRY(learn(&t, tokens, whole_words));
    status = tr_trained_write(&t.out, options, directory, err);
done:
    trainer_free(&t);
    return status;
}
