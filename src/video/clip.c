/* clip.c: the parent's side: has a decoder process decode (pool.c) and believes only what it has checked. */
#include "video/clip.h"
#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "video/cache.h"
#include "video/pool.h"
#include "video/wire.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

tr_video_options tr_video_options_default(void)
{
    return (tr_video_options){.fps = 2,
                              .min_frames = 4,
                              .max_frames = 448,
                              .total_pixels = 2809856,
                              .min_pixels = 12544,
                              .time_limit_s = 300,
                              .memory_limit_bytes = INT64_C(16) << 30};
}

/* For a decoder process that was started in another folder; and FFmpeg takes no such name for a protocol's. */
static tr_status name_absolutely(const char *path, char name[TR_WIRE_PATH], tr_error *err)
{
    char folder[TR_WIRE_PATH] = "";
    if (path[0] != '/' && !getcwd(folder, sizeof folder)) {
        return tr_fail(err, TR_IO, path, "cannot tell the current directory: %s", strerror(errno));
    }
    int length = snprintf(name, TR_WIRE_PATH, "%s%s%s", folder, folder[0] ? "/" : "", path);
    return length < TR_WIRE_PATH
               ? TR_OK
               : tr_fail(err, TR_INVALID, path, "its path is longer than %d bytes", TR_WIRE_PATH - 1);
}

static tr_status decode(const char *path, const tr_video_options *options, const atomic_bool *cancel, void **bytes,
                        size_t *size, tr_error *err)
{
    tr_status status = TR_OK;
    struct stat info;
    tr_wire_request *request = NULL;
    int memory = memfd_create("tempr1-frames", MFD_CLOEXEC);
    if (memory < 0) {
        return tr_fail(err, TR_IO, path, "cannot make shared memory: %s", strerror(errno));
    }
    if (!(request = tr_calloc(1, sizeof *request))) {
        status = tr_fail(err, TR_MEMORY, path, "no memory to start its decoder");
        goto done;
    }
    request->magic = TR_WIRE_MAGIC;
    request->version = TR_WIRE_VERSION;
    request->options = *options;
    TR_TRY(name_absolutely(path, request->path, err));
    TR_TRY(tr_video_pool_run(request, memory, cancel, err));
    if (fstat(memory, &info) || (size_t)info.st_size < sizeof(tr_wire_reply)) {
        status = tr_fail(err, TR_CHILD, path, "its decoder process left no answer");
        goto done;
    }
    *size = (size_t)info.st_size;
    if (!(*bytes = malloc(*size))) {
        status = tr_fail(err, TR_MEMORY, path, "no memory for %zu bytes of frames", *size);
        goto done;
    }
    for (size_t at = 0; at < *size;) {
        ssize_t got = pread(memory, (char *)*bytes + at, *size - at, (off_t)at);
        if (got <= 0) {
            status = tr_fail(err, TR_IO, path, "cannot read shared memory: %s", strerror(errno));
            goto done;
        }
        at += (size_t)got;
    }
    tr_wire_reply *head = *bytes;
    head->message[sizeof head->message - 1] = 0;
    if (head->magic == TR_WIRE_MAGIC && head->status > 0 && head->status <= (int32_t)TR_LOCKED) {
        /* memory that the child does not get is this clip's trouble: a run that has memory goes on */
        tr_status code = head->status == (int32_t)TR_MEMORY ? TR_CHILD : (tr_status)head->status;
        status = tr_fail(err, code, path, "%s", head->message);
    } else if (!tr_wire_reply_holds(*bytes, *size)) {
        status = tr_fail(err, TR_CHILD, path, "its decoder process left a malformed answer");
    }
done:
    close(memory);
    free(request);
    if (status != TR_OK) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}

/* A clip over a checked reply, which it owns from then on. */
static tr_status clip_make(const char *path, const tr_video_options *options, void *bytes, size_t size,
                           tr_clip **out, tr_error *err)
{
    const tr_wire_reply *head = bytes;
    tr_clip *clip = tr_calloc(1, sizeof *clip);
    if (!clip || !(clip->path = tr_strdup(path)) ||
        !(clip->seconds = tr_calloc((size_t)head->count, sizeof *clip->seconds))) {
        tr_clip_free(clip);
        return tr_fail(err, TR_MEMORY, path, "no memory for the clip");
    }
    clip->storage = bytes;
    clip->storage_bytes = size;
    clip->total_frames = head->total_frames;
    clip->fps = head->fps;
    clip->duration_s = head->duration_s;
    clip->start_s = head->start_s;
    clip->frame_count = head->count;
    clip->frames = (const int64_t *)(const void *)((const char *)bytes + sizeof *head);
    clip->pts_s = (const double *)(const void *)(clip->frames + head->count);
    clip->pixels = (const uint8_t *)(clip->pts_s + head->count);
    for (int i = 0; i < head->count; i++) {
        clip->seconds[i] = clip->pts_s[i] - head->start_s - options->start_s;
    }
    int64_t total = head->total_frames;
    if (options->start_s > 0 || options->end_s > 0) {
        total = clip->frames[head->count - 1] - clip->frames[0] + 1;
    }
    clip->sampled_fps = (double)head->count / (double)total * head->fps;
    clip->second_per_grid = 2 / clip->sampled_fps;
    clip->source_height = head->source_height;
    clip->source_width = head->source_width;
    clip->height = head->height;
    clip->width = head->width;
    if (!options->original_size) {
        clip->grid_t = (head->count + 1) / 2;
        clip->grid_h = head->height / 14;
        clip->grid_w = head->width / 14;
        clip->patches = (int64_t)clip->grid_t * clip->grid_h * clip->grid_w;
        clip->tokens = clip->patches / 4;
    }
    *out = clip;
    return TR_OK;
}

static tr_status check(const char *path, const tr_video_options *o, tr_error *err)
{
    struct stat info;
    if (strlen(path) >= TR_WIRE_PATH) {
        return tr_fail(err, TR_INVALID, path, "its path is longer than %d bytes", TR_WIRE_PATH - 1);
    }
    if (!(o->fps > 0) || o->min_frames < 1 || o->max_frames < 2 || o->total_pixels < 1 || o->min_pixels < 1) {
        return tr_fail(err, TR_INVALID, path, "fps and pixels must be positive, max_frames at least 2");
    }
    if (!(o->start_s >= 0) || !(o->end_s >= 0) || (o->end_s > 0 && o->end_s <= o->start_s)) {
        return tr_fail(err, TR_INVALID, path, "the part from %g s to %g s: the end must lie after the start",
                       o->start_s, o->end_s);
    }
    if (stat(path, &info)) {
        return tr_fail(err, errno == ENOENT ? TR_NOT_FOUND : TR_IO, path, "cannot open the video: %s",
                       strerror(errno));
    }
    if (S_ISDIR(info.st_mode)) {
        return tr_fail(err, TR_INVALID, path, "a video file is needed, this is a directory");
    }
    if (access(path, R_OK)) {
        return tr_fail(err, TR_IO, path, "cannot open the video: %s", strerror(errno));
    }
    return S_ISREG(info.st_mode) && !info.st_size ? tr_fail(err, TR_FORMAT, path, "the file is empty") : TR_OK;
}

tr_status tr_clip_open_unless(const char *path, const tr_video_options *options, struct tr_video_cache *cache,
                              const atomic_bool *cancel, tr_clip **clip, tr_error *err)
{
    tr_status status = TR_OK;
    tr_video_options defaults = tr_video_options_default();
    const tr_video_options *o = options ? options : &defaults;
    char key[40];
    void *bytes = NULL;
    size_t size = 0;
    *clip = NULL;
    TR_TRY(check(path, o, err));
    if (cache) {
        TR_TRY(tr_video_cache_key(path, o, key, err));
        TR_TRY(tr_video_cache_get(cache, key, &bytes, &size, err));
        if (bytes && !tr_wire_reply_holds(bytes, size)) { /* of another version */
            free(bytes);
            bytes = NULL;
        }
    }
    if (!bytes) {
        TR_TRY(decode(path, o, cancel, &bytes, &size, err));
        if (cache) {
            tr_video_cache_put(cache, key, bytes, size, NULL); /* a full disk costs time, not the run */
        }
    }
    TR_TRY(clip_make(path, o, bytes, size, clip, err));
    bytes = NULL;
done:
    free(bytes);
    return status;
}

tr_status tr_clip_open(const char *path, const tr_video_options *options, struct tr_video_cache *cache,
                       tr_clip **clip, tr_error *err)
{
    return tr_clip_open_unless(path, options, cache, NULL, clip, err);
}

void tr_clip_free(tr_clip *clip)
{
    if (clip) {
        free(clip->path);
        free(clip->seconds);
        free(clip->storage);
        free(clip);
    }
}
