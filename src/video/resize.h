/* resize.h: antialiased bicubic resizing (Keys, a = -0.5) of one RGB frame, in f32 in a fixed order.
 *
 * Equal to torchvision's resize of a uint8 tensor: rows first, columns second, f32 between the passes, then clamped
 * and rounded half to even. Thread safe. */
#ifndef TR_VIDEO_RESIZE_H
#define TR_VIDEO_RESIZE_H

#include "base/status.h"

#include <stdint.h>

/* rgb: [height][width][3], rows `stride` bytes apart; out: [3][out_height][out_width]. */
tr_status tr_video_resize(const uint8_t *rgb, int height, int width, int64_t stride, uint8_t *out, int out_height,
                          int out_width, tr_error *err);

#endif
