/* cache.h: decoded, resized frames kept on disk: one checksummed file per (file, size, time of change, options).
 *
 * Entries appear whole or not at all; a damaged one is removed and counted, and the clip is decoded again. When the
 * directory grows beyond its limit (or is opened with a lower one), the entries used longest ago go first. What
 * killed processes have left half written goes after an hour. Safe for several processes and threads.
 */
#ifndef TR_VIDEO_CACHE_H
#define TR_VIDEO_CACHE_H

#include "video/clip.h"

#include <stdatomic.h>

typedef struct tr_video_cache {
    char *dir;
    int64_t limit_bytes; /* 0: no limit */
    atomic_long hits, misses, corrupt;
} tr_video_cache;

tr_status tr_video_cache_open(tr_video_cache *cache, const char *dir, int64_t limit_bytes, tr_error *err);
void tr_video_cache_close(tr_video_cache *cache);

/* The entry's bytes (free() frees them), or *bytes NULL when there is none. key from tr_video_cache_key. */
tr_status tr_video_cache_get(tr_video_cache *cache, const char *key, void **bytes, size_t *count, tr_error *err);
tr_status tr_video_cache_put(tr_video_cache *cache, const char *key, const void *bytes, size_t count,
                             tr_error *err);

/* The name of an entry into key (40 bytes); TR_NOT_FOUND or TR_IO when the file cannot be looked at. */
tr_status tr_video_cache_key(const char *path, const tr_video_options *options, char key[40], tr_error *err);

#endif
