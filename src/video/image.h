/* image.h: one RGB frame as the bytes of a JPEG picture, by FFmpeg's encoder. Thread safe. */
#ifndef TR_VIDEO_IMAGE_H
#define TR_VIDEO_IMAGE_H

#include "base/buffer.h"

#include <stdint.h>

/* rgb: [3][height][width], as clips hold their frames; quality 1 (best) to 31. Appends the picture to out. */
tr_status tr_image_jpeg(const uint8_t *rgb, int width, int height, int quality, tr_buffer *out, tr_error *err);

#endif
