/* sample.h: which frames of a clip are taken and to what size they are brought. Pure arithmetic: no files.
 *
 * The rules are those of the published preprocessing: even counts, f32 linspace, rounding half to even. */
#ifndef TR_VIDEO_SAMPLE_H
#define TR_VIDEO_SAMPLE_H

#include "base/status.h"

#include <stdint.h>

/* Height and width brought to multiples of 28 within [min_pixels, max_pixels]. TR_INVALID when one side is more
 * than 200 times the other or a side is below 1. */
tr_status tr_video_smart_resize(int64_t height, int64_t width, int64_t min_pixels, int64_t max_pixels,
                                int *out_height, int *out_width, tr_error *err);

/* How many of total frames at video_fps are taken for `fps` frames per second; even, at least 2. */
tr_status tr_video_frame_count(int64_t total, double video_fps, double fps, int min_frames, int max_frames,
                               int *count, tr_error *err);

/* count indices from first to last, evenly spaced in f32, rounded half to even. */
void tr_video_frame_indices(int64_t first, int64_t last, int count, int64_t *frames);

/* The size of every frame when count frames share total_pixels (two frames share a grid). */
tr_status tr_video_frame_size(int64_t height, int64_t width, int count, int64_t total_pixels, int64_t min_pixels,
                              int *out_height, int *out_width, tr_error *err);

#endif
