/* clip.h: a clip and its clock: which frames were taken from a video, when they are shown, and their pixels.
 *
 * The file is decoded in a child process (the program itself, `tempr1 decode-worker`) under a time and a memory
 * limit; the parent never decodes. Such a process is kept for the next clip. Times come from the container's
 * presentation times and from nowhere else. Everything here is thread safe; a clip is read-only once open. */
#ifndef TR_VIDEO_CLIP_H
#define TR_VIDEO_CLIP_H

#include "base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct tr_video_options {
    double fps; /* frames taken per second */
    int min_frames, max_frames;
    int64_t total_pixels;       /* of all frames, two frames of a grid counted once */
    int64_t min_pixels;         /* of one frame */
    double start_s, end_s;      /* the part of the video, from its start; end_s 0: to the end */
    double time_limit_s;        /* of the decoder process; 0: none */
    int64_t memory_limit_bytes; /* address space of the decoder process; 0: none */
    int original_size;          /* 1: frames are not resized (and then have no grid) */
} tr_video_options;

/* The defaults of the `video:` block: 2 frames per second, 4 to 448 frames, 2809856 pixels in all, 12544 at least.
 */
tr_video_options tr_video_options_default(void);

typedef struct tr_clip {
    char *path;
    int64_t total_frames;  /* that the video shows */
    double fps;            /* average, from the container */
    double duration_s;     /* total_frames / fps, or to the end of the frame shown last where that is later */
    double start_s;        /* the container's start time, already taken off seconds */
    int frame_count;       /* taken */
    const int64_t *frames; /* (frame_count) indices in the order shown */
    const double *pts_s;   /* (frame_count) the container's presentation times */
    double *seconds;       /* (frame_count) the same from the clip's start (start_s plus options.start_s) */
    double sampled_fps, second_per_grid;
    int grid_t, grid_h, grid_w; /* in patches of 14; grid_t counts pairs of frames; 0 with original_size */
    int64_t tokens, patches;
    int source_height, source_width, height, width;
    const uint8_t *pixels; /* (frame_count, 3, height, width) */
    void *storage;         /* owns frames, pts_s and pixels */
    size_t storage_bytes;
} tr_clip;

struct tr_video_cache;

/* Opens, decodes and resizes. options NULL: the defaults; cache NULL: none. tr_clip_free releases it. */
tr_status tr_clip_open(const char *path, const tr_video_options *options, struct tr_video_cache *cache,
                       tr_clip **clip, tr_error *err);
void tr_clip_free(tr_clip *clip);

/* The same, given up soon after *cancel becomes true (TR_INTERRUPTED; its decoder is stopped). cancel NULL: never.
 */
tr_status tr_clip_open_unless(const char *path, const tr_video_options *options, struct tr_video_cache *cache,
                              const atomic_bool *cancel, tr_clip **clip, tr_error *err);

/* Normalised patches, out: (patches, 1176) in the model's order; an odd last frame is repeated. */
tr_status tr_clip_patches(const tr_clip *clip, float *out, tr_error *err);

/* The same for pixels that come from elsewhere: (count, 3, height, width), sides multiples of 28. */
tr_status tr_video_patches(const uint8_t *pixels, int count, int height, int width, float *out, tr_error *err);

/* The decoder program; NULL: $TEMPR1_WORKER, else this program when it is tempr1, else tempr1 beside it or in PATH.
 */
void tr_video_set_worker(const char *path);

/* Starts a decoder process for the first clip by a fork, which saves loading the program once more. Only while this
 * process has one thread; does nothing where another program is to decode. */
void tr_video_workers_prepare(void);

/* Ends the decoder processes that wait for work; later clips start new ones. Otherwise they end with this process.
 */
void tr_video_workers_stop(void);

/* The decoder process: serves the requests on its inherited connection; returns the exit status. */
int tr_video_worker_main(void);

#endif
