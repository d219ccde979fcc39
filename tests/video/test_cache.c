/* test_cache.c: the cache of frames: hits, damage, the size limit, several processes at once. */
#include "support/shared.h"

#include "base/file.h"
#include "video/cache.h"
#include "video/encode.h"
#include "video/wire.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[600];

static void write_clip(const char *path, int level)
{
    static uint8_t rgb[64 * 64 * 3];
    tr_video_writer *writer;
    assert_int_equal(tr_video_writer_open(path, 64, 64, 10, 1, NULL, &writer, NULL), TR_OK);
    for (int i = 0; i < 12; i++) {
        memset(rgb, level + i, sizeof rgb);
        assert_int_equal(tr_video_writer_add(writer, rgb, NULL), TR_OK);
    }
    assert_int_equal(tr_video_writer_close(writer, NULL), TR_OK);
}

static const char *clip_path(int number)
{
    static char path[600];
    char name[40];
    snprintf(name, sizeof name, "clip%d.mp4", number);
    snprintf(path, sizeof path, "%s", scratch_path(name));
    if (!tr_file_exists(path)) {
        write_clip(path, 10 * number);
    }
    return path;
}

static tr_clip *open_clip(const char *path, const tr_video_options *options, tr_video_cache *cache)
{
    tr_clip *clip = NULL;
    tr_error err = {0};
    if (tr_clip_open(path, options, cache, &clip, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    return clip;
}

static void open_cache(tr_video_cache *cache, const char *name, int64_t limit)
{
    snprintf(folder, sizeof folder, "%s", scratch_path(name));
    assert_int_equal(tr_video_cache_open(cache, folder, limit, NULL), TR_OK);
}

/* The path of the only entry, or of any of them; how many there are. */
static size_t entries(char path[1200], int64_t *bytes)
{
    char **names;
    size_t count, found = 0;
    *bytes = 0;
    assert_int_equal(tr_directory_list(folder, &names, &count, NULL), TR_OK);
    for (size_t i = 0; i < count; i++) {
        struct stat info;
        if (strstr(names[i], ".clip")) {
            snprintf(path, 1200, "%s/%s", folder, names[i]);
            assert_int_equal(stat(path, &info), 0);
            *bytes += info.st_size;
            found++;
        } else {
            assert_null(strstr(names[i], ".part")); /* nothing half written stays */
        }
    }
    tr_names_free(names, count);
    return found;
}

static void hits(void **state)
{
    (void)state;
    tr_video_cache cache;
    char path[1200];
    int64_t bytes;
    open_cache(&cache, "hits", 0);
    tr_clip *first = open_clip(clip_path(1), NULL, &cache), *second = open_clip(clip_path(1), NULL, &cache);
    assert_int_equal(atomic_load(&cache.misses), 1);
    assert_int_equal(atomic_load(&cache.hits), 1);
    assert_int_equal(first->storage_bytes, second->storage_bytes);
    assert_memory_equal(first->storage, second->storage, first->storage_bytes);
    assert_true(first->second_per_grid == second->second_per_grid && first->tokens == second->tokens);
    tr_clip_free(first);
    tr_clip_free(second);
    tr_video_options o = tr_video_options_default(); /* every option that changes frames changes the entry */
    o.fps = 3;
    tr_clip_free(open_clip(clip_path(1), &o, &cache));
    o.min_pixels += 784;
    tr_clip_free(open_clip(clip_path(1), &o, &cache));
    o.start_s = 0.2;
    tr_clip_free(open_clip(clip_path(1), &o, &cache));
    o.time_limit_s = 55; /* this one does not */
    tr_clip_free(open_clip(clip_path(1), &o, &cache));
    assert_int_equal(entries(path, &bytes), 4);
    assert_int_equal(atomic_load(&cache.hits), 2);
    char before[600];
    snprintf(before, sizeof before, "%s", clip_path(1));
    usleep(20000);
    write_clip(before, 77); /* another video of the same name */
    tr_clip *changed = open_clip(before, NULL, &cache);
    assert_int_equal(atomic_load(&cache.hits), 2);
    assert_true(changed->pixels[0] > 60);
    tr_clip_free(changed);
    tr_video_cache_close(&cache);
}

/* Bytes that change, a file that is too short, one of another version: noticed, counted, decoded again. */
static void damage(void **state)
{
    (void)state;
    tr_video_cache cache;
    char path[1200];
    int64_t bytes;
    open_cache(&cache, "damage", 0);
    tr_clip *good = open_clip(clip_path(2), NULL, &cache);
    for (int kind = 0; kind < 5; kind++) {
        assert_int_equal(entries(path, &bytes), 1);
        FILE *file = fopen(path, "r+b");
        assert_non_null(file);
        if (kind < 2) { /* a bit in the header, one in the pixels */
            fseek(file, kind ? (long)bytes / 2 : 20, SEEK_SET);
            int value = fgetc(file);
            fseek(file, -1, SEEK_CUR);
            fputc(value ^ 4, file);
        } else {
            assert_int_equal(ftruncate(fileno(file), kind == 2 ? bytes - 1 : kind == 3 ? 8 : 0), 0);
        }
        fclose(file);
        tr_clip *again = open_clip(clip_path(2), NULL, &cache);
        assert_int_equal(atomic_load(&cache.corrupt), kind + 1);
        assert_memory_equal(good->storage, again->storage, good->storage_bytes);
        tr_clip_free(again);
    }
    char key[40]; /* whole, but not a reply */
    assert_int_equal(tr_video_cache_key(clip_path(2), &(tr_video_options){.fps = 9}, key, NULL), TR_OK);
    tr_video_options o = tr_video_options_default();
    assert_int_equal(tr_video_cache_key(clip_path(2), &o, key, NULL), TR_OK);
    ((tr_wire_reply *)good->storage)->count++;
    assert_int_equal(tr_video_cache_put(&cache, key, good->storage, good->storage_bytes, NULL), TR_OK);
    ((tr_wire_reply *)good->storage)->count--;
    tr_clip *again = open_clip(clip_path(2), NULL, &cache);
    assert_memory_equal(good->storage, again->storage, good->storage_bytes);
    tr_clip_free(again);
    tr_clip_free(good);
    tr_video_cache_close(&cache);
    tr_error err = {0};
    assert_int_equal(tr_video_cache_key("/nonexistent.mp4", &o, key, &err), TR_NOT_FOUND);
    assert_int_equal(tr_video_cache_open(&cache, clip_path(2), 0, &err), TR_IO); /* a file, not a folder */
    tr_video_cache_close(&cache);
}

static void size_limit(void **state)
{
    (void)state;
    tr_video_cache cache;
    char path[1200];
    int64_t bytes;
    open_cache(&cache, "limit", 0);
    tr_clip_free(open_clip(clip_path(1), NULL, &cache));
    assert_int_equal(entries(path, &bytes), 1);
    cache.limit_bytes = 3 * bytes + bytes / 2;
    for (int i = 2; i <= 6; i++) {
        usleep(20000);
        tr_clip_free(open_clip(clip_path(1), NULL, &cache)); /* used again and again: it stays */
        usleep(20000);
        tr_clip_free(open_clip(clip_path(i), NULL, &cache));
    }
    assert_int_equal(entries(path, &bytes), 3);
    assert_true(bytes <= cache.limit_bytes);
    long before = atomic_load(&cache.hits);
    tr_clip_free(open_clip(clip_path(1), NULL, &cache));
    tr_clip_free(open_clip(clip_path(6), NULL, &cache));
    tr_clip_free(open_clip(clip_path(5), NULL, &cache));
    assert_int_equal(atomic_load(&cache.hits), before + 3);
    tr_clip_free(open_clip(clip_path(2), NULL, &cache));
    assert_int_equal(atomic_load(&cache.hits), before + 3);
    tr_video_cache_close(&cache);
}

/* Opened again: the limit is kept at once, and an entry that a killed process was writing hours ago is gone; one
 * that another process writes now stays. */
static void opened_again(void **state)
{
    (void)state;
    tr_video_cache cache;
    char path[1200], old[1300], fresh[1300];
    int64_t bytes, one;
    open_cache(&cache, "again", 0);
    tr_clip_free(open_clip(clip_path(1), NULL, &cache));
    assert_int_equal(entries(path, &one), 1);
    snprintf(old, sizeof old, "%s.part-1-0", path);
    snprintf(fresh, sizeof fresh, "%s.part-2-0", path);
    tr_clip_free(open_clip(clip_path(2), NULL, &cache));
    tr_video_cache_close(&cache);
    assert_int_equal(tr_file_write_atomic(old, "half", 4, NULL), TR_OK);
    assert_int_equal(tr_file_write_atomic(fresh, "half", 4, NULL), TR_OK);
    assert_int_equal(utimensat(AT_FDCWD, old, (struct timespec[2]){{.tv_sec = 1}, {.tv_sec = 1}}, 0), 0);
    open_cache(&cache, "again", one + one / 2);
    assert_false(tr_file_exists(old));
    assert_true(tr_file_exists(fresh));
    assert_int_equal(unlink(fresh), 0);
    assert_int_equal(entries(path, &bytes), 1);
    tr_video_cache_close(&cache);
}

/* A cache that cannot be written costs time, not the run. */
static void full_disk(void **state)
{
    (void)state;
    tr_video_cache cache;
    char **names;
    size_t count;
    open_cache(&cache, "full", 0);
    assert_int_equal(tr_directory_remove(folder, NULL), TR_OK); /* nothing can be written into it */
    tr_clip_free(open_clip(clip_path(3), NULL, &cache));
    tr_clip_free(open_clip(clip_path(3), NULL, &cache));
    assert_int_equal(atomic_load(&cache.misses), 2);
    assert_true(tr_directory_list(folder, &names, &count, NULL) != TR_OK || !count);
    tr_video_cache_close(&cache);
}

/* Four processes over six clips and a cache that holds three of them; every clip is always the right one. */
static void several_processes(void **state)
{
    (void)state;
    pid_t ids[4];
    char path[1200];
    int64_t bytes;
    tr_video_cache cache;
    for (int i = 1; i <= 6; i++) {
        clip_path(i);
    }
    open_cache(&cache, "shared", 0);
    tr_clip_free(open_clip(clip_path(1), NULL, &cache));
    assert_int_equal(entries(path, &bytes), 1);
    cache.limit_bytes = 3 * bytes + bytes / 2;
    for (int p = 0; p < 4; p++) {
        if (!(ids[p] = fork())) {
            int bad = 0;
            for (int k = 0; k < 18 && !bad; k++) {
                int number = 2 + (k * 7 + p * 3) % 5;
                tr_clip *clip = NULL;
                bad = tr_clip_open(clip_path(number), NULL, &cache, &clip, NULL) != TR_OK;
                int level = bad ? 0 : clip->pixels[0], expected = 10 * number;
                bad |= level < expected - 4 || level > expected + 4; /* H.264 and RGB are not exact */
                tr_clip_free(clip);
            }
            _exit(bad || atomic_load(&cache.corrupt) ? 1 : 0);
        }
    }
    for (int p = 0; p < 4; p++) {
        int result;
        assert_int_equal(waitpid(ids[p], &result, 0), ids[p]);
        assert_true(WIFEXITED(result) && !WEXITSTATUS(result));
    }
    tr_clip_free(open_clip(
        clip_path(2),
        &(tr_video_options){.fps = 9, .min_frames = 4, .max_frames = 8, .total_pixels = 99999, .min_pixels = 784},
        &cache)); /* a last one brings it below its limit */
    assert_true(entries(path, &bytes) >= 1);
    assert_true(bytes <= cache.limit_bytes);
    tr_video_cache_close(&cache);
}

int main(void)
{
    setenv("TEMPR1_WORKER", TEMPR1_PROGRAM, 0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(hits),       cmocka_unit_test(damage),
                                       cmocka_unit_test(size_limit), cmocka_unit_test(opened_again),
                                       cmocka_unit_test(full_disk),  cmocka_unit_test(several_processes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
