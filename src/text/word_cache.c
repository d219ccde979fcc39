/* word_cache.c: remembers the ids of short words, since natural text repeats them.
 *
 * Direct-mapped: a new word replaces the old one in its slot. A thread that finds the cache in use goes on without.
 */
#include "text/vocabulary.h"

#include "base/memory.h"
#include "base/random.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_BYTES = 30, WORD_IDS = 8, WORD_SLOTS = 4096 };

struct word {
    uint8_t length, count; /* count 0: empty */
    uint8_t bytes[WORD_BYTES];
    int32_t ids[WORD_IDS];
};

struct tr_word_cache {
    pthread_mutex_t lock;
    struct word words[WORD_SLOTS];
};

struct tr_word_cache *tr_word_cache_new(void)
{
    struct tr_word_cache *cache = tr_calloc(1, sizeof *cache);
    if (cache && pthread_mutex_init(&cache->lock, NULL)) {
        free(cache);
        cache = NULL;
    }
    return cache;
}

void tr_word_cache_free(struct tr_word_cache *cache)
{
    if (cache) {
        pthread_mutex_destroy(&cache->lock);
        free(cache);
    }
}

static struct word *slot(struct tr_word_cache *cache, const uint8_t *word, size_t length)
{
    return &cache->words[tr_hash(word, length) % WORD_SLOTS];
}

bool tr_word_cache_get(struct tr_word_cache *cache, const uint8_t *word, size_t length, tr_ids *ids)
{
    bool found = false;
    if (length > WORD_BYTES || pthread_mutex_trylock(&cache->lock)) {
        return false;
    }
    const struct word *w = slot(cache, word, length);
    if (w->count && w->length == length && !memcmp(w->bytes, word, length)) {
        size_t before = ids->count;
        found = true;
        for (size_t i = 0; i < w->count && found; i++) {
            found = !tr_ids_add(ids, w->ids[i], NULL);
        }
        ids->count = found ? ids->count : before;
    }
    pthread_mutex_unlock(&cache->lock);
    return found;
}

void tr_word_cache_put(struct tr_word_cache *cache, const uint8_t *word, size_t length, const int32_t *ids,
                       size_t count)
{
    if (length > WORD_BYTES || !count || count > WORD_IDS || pthread_mutex_trylock(&cache->lock)) {
        return;
    }
    struct word *w = slot(cache, word, length);
    w->length = (uint8_t)length;
    w->count = (uint8_t)count;
    memcpy(w->bytes, word, length);
    memcpy(w->ids, ids, count * sizeof *ids);
    pthread_mutex_unlock(&cache->lock);
}
