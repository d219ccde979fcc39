/* selftest_media.c: the decoder process, what guards it, and the cache of clips, on a clip made here. */
#include "cli/selftest.h"

#include "base/buffer.h"
#include "base/file.h"
#include "video/cache.h"
#include "video/encode.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 56, FPS = 8, FRAMES = 24 };

/* Grey that grows with time, so that a frame tells its time: 10 levels a frame. */
static tr_status write_clip(const char *path, tr_error *err)
{
    tr_video_writer *writer = NULL;
    uint8_t *rgb = malloc((size_t)SIDE * SIDE * 3);
    tr_status status = TR_MEMORY;
    if (!rgb) {
        tr_fail(err, status, path, "out of memory");
        goto done;
    }
    TR_TRY(tr_video_writer_open(path, SIDE, SIDE, FPS, 1, NULL, &writer, err));
    for (int i = 0; i < FRAMES; i++) {
        memset(rgb, 10 + 10 * i, (size_t)SIDE * SIDE * 3);
        TR_TRY(tr_video_writer_add(writer, rgb, err));
    }
    status = tr_video_writer_close(writer, err);
    writer = NULL;
done:
    tr_video_writer_abandon(writer);
    free(rgb);
    return status;
}

static tr_video_options small_options(void)
{
    tr_video_options o = tr_video_options_default();
    o.min_pixels = 784;
    o.time_limit_s = 60;
    return o;
}

/* The clip in the scratch folder, made when it is not there; free() frees the path. */
static tr_status clip_path(const tr_selftest *s, char **path, tr_error *err)
{
    *path = tr_path_join(s->scratch, "clip.mp4");
    if (!*path) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    return tr_file_exists(*path) ? TR_OK : write_clip(*path, err);
}

/* Frames at 2 a second: every fourth one, at its time, with its grey (H.264 may miss it by some levels). */
static tr_status check_clip(const tr_clip *clip, tr_error *err)
{
    if (clip->total_frames != FRAMES || clip->frame_count != 6 || clip->grid_t != 3) {
        return tr_fail(err, TR_MISMATCH, clip->path, "expected 6 of %d frames in 3 grids, found %d of %lld in %d",
                       FRAMES, clip->frame_count, (long long)clip->total_frames, clip->grid_t);
    }
    size_t frame = (size_t)3 * (size_t)clip->height * (size_t)clip->width;
    for (int i = 0; i < clip->frame_count; i++) {
        double expected_s = (double)clip->frames[i] / FPS, grey = 10 + 10 * (double)clip->frames[i];
        const size_t middle = (size_t)i * frame + frame / 6;
        double found = clip->pixels[middle];
        if (!(fabs(clip->seconds[i] - expected_s) < 1e-6) || !(fabs(found - grey) <= 8)) {
            return tr_fail(err, TR_MISMATCH, clip->path,
                           "frame %lld: expected %.3f s and grey %.0f, found %.3f s and grey %.0f",
                           (long long)clip->frames[i], expected_s, grey, clip->seconds[i], found);
        }
    }
    return TR_OK;
}

tr_status tr_selftest_decoder(tr_selftest *s, tr_error *err)
{
    char *path = NULL;
    tr_clip *clip = NULL;
    const tr_video_options options = small_options();
    tr_status status;
    TR_TRY(clip_path(s, &path, err));
    double start_s = tr_time_s();
    TR_TRY(tr_clip_open(path, &options, NULL, &clip, err));
    TR_TRY(check_clip(clip, err));
    snprintf(s->detail, sizeof s->detail, "%d of %lld H.264 frames at their times, in %.0f ms", clip->frame_count,
             (long long)clip->total_frames, 1e3 * (tr_time_s() - start_s));
done:
    tr_clip_free(clip);
    free(path);
    return status;
}

/* Opening must fail with one of two statuses. */
static tr_status must_fail(const char *path, const char *fault, double limit_s, tr_status one, tr_status other,
                           tr_error *err)
{
    tr_clip *clip = NULL;
    tr_error why = {0};
    tr_video_options options = small_options();
    options.time_limit_s = limit_s;
    tr_video_workers_stop(); /* the next process reads the environment */
    if (fault) {
        setenv("TEMPR1_WORKER_FAULT", fault, 1);
    }
    tr_status status = tr_clip_open(path, &options, NULL, &clip, &why);
    unsetenv("TEMPR1_WORKER_FAULT");
    tr_video_workers_stop();
    tr_clip_free(clip);
    if (status == one || status == other) {
        return TR_OK;
    }
    return tr_fail(err, TR_MISMATCH, path, "%s: expected \"%s\", found \"%s\" (%s)",
                   fault ? fault : "a broken file", tr_status_text(one), tr_status_text(status), why.message);
}

tr_status tr_selftest_guard(tr_selftest *s, tr_error *err)
{
    char *path = NULL, *broken = tr_path_join(s->scratch, "broken.mp4");
    tr_status status = broken ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    TR_TRY(status);
    TR_TRY(clip_path(s, &path, err));
    TR_TRY(must_fail(path, "hang", 0.5, TR_TIMEOUT, TR_TIMEOUT, err));
    TR_TRY(must_fail(path, "crash", 10, TR_CHILD, TR_CHILD, err));
    TR_TRY(tr_file_write_atomic(broken, "this is no video", 16, err));
    TR_TRY(must_fail(broken, NULL, 10, TR_FORMAT, TR_UNSUPPORTED, err));
    snprintf(s->detail, sizeof s->detail, "a hanging and a dying decoder are ended, a broken file is refused");
done:
    free(path);
    free(broken);
    return status;
}

tr_status tr_selftest_cache(tr_selftest *s, tr_error *err)
{
    tr_video_cache cache = {0};
    tr_clip *first = NULL, *second = NULL;
    char *path = NULL;
    bool open = false;
    const tr_video_options options = small_options();
    tr_status status;
    TR_TRY(clip_path(s, &path, err));
    TR_TRY(tr_video_cache_open(&cache, s->cache, 0, err));
    open = true;
    TR_TRY(tr_clip_open(path, &options, &cache, &first, err));
    double start_s = tr_time_s();
    TR_TRY(tr_clip_open(path, &options, &cache, &second, err));
    double seconds = tr_time_s() - start_s;
    if (cache.hits != 1 || cache.misses != 1 ||
        memcmp(first->pixels, second->pixels, (size_t)first->frame_count * 3 * SIDE * SIDE) != 0) {
        status =
            tr_fail(err, TR_MISMATCH, s->cache,
                    "expected the second opening to come from the cache with the same pixels; %ld hits, %ld misses",
                    (long)cache.hits, (long)cache.misses);
        goto done;
    }
    snprintf(s->detail, sizeof s->detail, "%s takes a clip and gives it back in %.1f ms", s->cache, 1e3 * seconds);
done:
    tr_clip_free(first);
    tr_clip_free(second);
    if (open) {
        tr_video_cache_close(&cache);
    }
    free(path);
    return status;
}
