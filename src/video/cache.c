/* cache.c: decoded, resized frames on disk. An entry is the clip's bytes and their XXH3 at the end. */
#include "video/cache.h"
#include "video/wire.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LEFT_OVER_S = 3600 };

void tr_video_cache_close(tr_video_cache *cache)
{
    if (cache) {
        free(cache->dir);
        cache->dir = NULL;
    }
}

tr_status tr_video_cache_key(const char *path, const tr_video_options *options, char key[40], tr_error *err)
{
    struct stat info;
    char *real = realpath(path, NULL);
    if (!real || stat(real, &info)) {
        tr_status status = tr_fail(err, errno == ENOENT ? TR_NOT_FOUND : TR_IO, path,
                                   "cannot look at the video: %s", strerror(errno));
        free(real);
        return status;
    }
    const tr_video_options *o = options;
    char *text = tr_format("1%d|%s|%lld|%lld.%09ld|%.17g|%d|%d|%lld|%lld|%.17g|%.17g|%d", TR_WIRE_VERSION, real,
                           (long long)info.st_size, (long long)info.st_mtim.tv_sec, info.st_mtim.tv_nsec, o->fps,
                           o->min_frames, o->max_frames, (long long)o->total_pixels, (long long)o->min_pixels,
                           o->start_s, o->end_s, o->original_size);
    free(real);
    if (!text) {
        return tr_fail(err, TR_MEMORY, path, "no memory for the cache's key");
    }
    unsigned long long first = tr_hash_text(text);
    text[0] = '2'; /* a second, independent half: 128 bits in all */
    snprintf(key, 40, "%016llx%016llx", first, (unsigned long long)tr_hash_text(text));
    free(text);
    return TR_OK;
}

static char *entry_path(const tr_video_cache *cache, const char *key)
{
    return tr_format("%s/%s.clip", cache->dir, key);
}

tr_status tr_video_cache_get(tr_video_cache *cache, const char *key, void **bytes, size_t *count, tr_error *err)
{
    tr_buffer data = {0};
    uint64_t sum;
    char *path = entry_path(cache, key);
    *bytes = NULL;
    if (!path) {
        return tr_fail(err, TR_MEMORY, cache->dir, "no memory to read the cache");
    }
    if (!tr_file_exists(path) || tr_file_read(path, 0, &data, NULL) != TR_OK) {
        atomic_fetch_add(&cache->misses, 1);
    } else if (data.length <= sizeof sum || (memcpy(&sum, data.data + data.length - sizeof sum, sizeof sum), sum) !=
                                                tr_hash(data.data, data.length - sizeof sum)) {
        unlink(path);
        atomic_fetch_add(&cache->corrupt, 1);
    } else {
        utimensat(AT_FDCWD, path, NULL, 0); /* used now */
        *count = data.length - sizeof sum;
        *bytes = data.data;
        data = (tr_buffer){0};
        atomic_fetch_add(&cache->hits, 1);
    }
    tr_buffer_free(&data);
    free(path);
    return TR_OK;
}

typedef struct entry {
    char *name;
    struct timespec used;
    int64_t bytes;
} entry;

static int older(const void *a, const void *b)
{
    const struct timespec x = ((const entry *)a)->used, y = ((const entry *)b)->used;
    if (x.tv_sec != y.tv_sec) {
        return x.tv_sec < y.tv_sec ? -1 : 1;
    }
    return (x.tv_nsec > y.tv_nsec) - (x.tv_nsec < y.tv_nsec);
}

/* Whether it is an entry half written by a process that has not gone on with it for an hour: it was killed. */
static bool is_left_over(const char *name, const struct stat *info)
{
    return strstr(name, ".clip.part-") && time(NULL) - info->st_mtime > LEFT_OVER_S;
}

/* Removes what killed processes have left and, where there is a limit, the entries used longest ago until the rest
 * fits. One process at a time; the others need not wait. */
static tr_status tidy(const tr_video_cache *cache, tr_error *err)
{
    tr_status status = TR_OK;
    char **names = NULL, *lock_path = tr_path_join(cache->dir, "lock");
    size_t count = 0, used = 0;
    entry *entries = NULL;
    int64_t total = 0;
    int lock = lock_path ? open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB)) {
        goto done;
    }
    TR_TRY(tr_directory_list(cache->dir, &names, &count, err));
    if (!(entries = tr_calloc(count, sizeof *entries))) {
        status = tr_fail(err, TR_MEMORY, cache->dir, "no memory to list the cache");
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        struct stat info;
        size_t length = strlen(names[i]);
        char *path = tr_path_join(cache->dir, names[i]);
        bool found = path && !stat(path, &info);
        if (found && is_left_over(names[i], &info)) {
            unlink(path);
        } else if (found && length > 5 && !strcmp(names[i] + length - 5, ".clip")) {
            entries[used++] = (entry){.name = path, .used = info.st_mtim, .bytes = info.st_size};
            total += info.st_size;
            path = NULL;
        }
        free(path);
    }
    qsort(entries, used, sizeof *entries, older);
    for (size_t i = 0; cache->limit_bytes > 0 && i < used && total > cache->limit_bytes; i++) {
        if (!unlink(entries[i].name) || errno == ENOENT) {
            total -= entries[i].bytes;
        }
    }
done:
    for (size_t i = 0; i < used; i++) {
        free(entries[i].name);
    }
    free(entries);
    tr_names_free(names, count);
    free(lock_path);
    if (lock >= 0) {
        close(lock);
    }
    return status;
}

tr_status tr_video_cache_open(tr_video_cache *cache, const char *dir, int64_t limit_bytes, tr_error *err)
{
    memset(cache, 0, sizeof *cache);
    tr_status status = tr_directory_make(dir, err);
    if (status != TR_OK) {
        return status;
    }
    cache->limit_bytes = limit_bytes;
    cache->dir = tr_strdup(dir);
    if (!cache->dir) {
        return tr_fail(err, TR_MEMORY, dir, "no memory for the cache's name");
    }
    tidy(cache, NULL); /* the limit may be lower than before */
    return TR_OK;
}

tr_status tr_video_cache_put(tr_video_cache *cache, const char *key, const void *bytes, size_t count, tr_error *err)
{
    tr_status status = TR_OK;
    tr_file_writer writer = {0};
    uint64_t sum = tr_hash(bytes, count);
    char *path = entry_path(cache, key);
    bool open_ = false;
    if (!path) {
        return tr_fail(err, TR_MEMORY, cache->dir, "no memory to write the cache");
    }
    TR_TRY(tr_file_writer_open(&writer, path, err));
    open_ = true;
    TR_TRY(tr_file_writer_write(&writer, bytes, count, err));
    TR_TRY(tr_file_writer_write(&writer, &sum, sizeof sum, err));
    open_ = false;
    TR_TRY(tr_file_writer_commit(&writer, err));
    if (cache->limit_bytes > 0) {
        TR_TRY(tidy(cache, err));
    }
done:
    if (open_) {
        tr_file_writer_abandon(&writer);
    }
    free(path);
    return status;
}
