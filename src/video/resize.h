/* resize.h: antialiased bicubic resizing (Keys, a = -0.5) of RGB frames, in f32 in a fixed order.
 *
 * Equal to the bit before rounding to torchvision's resize of a uint8 tensor on a CPU with FMA: rows first, columns
 * second, f32 between the passes, then clamped and rounded half to even. The same bytes on every machine. */
#ifndef TR_VIDEO_RESIZE_H
#define TR_VIDEO_RESIZE_H

#include "base/status.h"

#include <stdint.h>

typedef struct tr_video_resizer tr_video_resizer;

/* Weights and room for frames of one size; used by one thread at a time. TR_INVALID when a side is not positive. */
tr_status tr_video_resizer_make(tr_video_resizer **resizer, int height, int width, int out_height, int out_width,
                                tr_error *err);
/* rgb: [height][width][3], rows `stride` bytes apart; out: [3][out_height][out_width]. */
void tr_video_resizer_run(tr_video_resizer *resizer, const uint8_t *rgb, int64_t stride, uint8_t *out);
void tr_video_resizer_free(tr_video_resizer *resizer);

/* The three above for one frame. */
tr_status tr_video_resize(const uint8_t *rgb, int height, int width, int64_t stride, uint8_t *out, int out_height,
                          int out_width, tr_error *err);

#endif
