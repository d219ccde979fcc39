/* encode.h: writes RGB frames as an H.264 clip (MP4), for synthetic corpora and test fixtures.
 *
 * One encoder thread and bit-exact settings: the same frames give the same file with the same libraries. The file
 * appears under its name only when it is whole. Frames are h * w * 3 bytes R, G, B, rows top to bottom; width and
 * height must be even (4:2:0). Frame i has the presentation time i * fps_den / fps_num. */
#ifndef TR_VIDEO_ENCODE_H
#define TR_VIDEO_ENCODE_H

#include "base/status.h"

#include <stdint.h>

typedef struct tr_video_writer_options {
    int crf;     /* constant quality 0 (lossless) .. 51; default 23 */
    int gop;     /* largest distance between key frames; default 48 */
    int bframes; /* B-frames in a row, 0 .. 16; default 2 */
} tr_video_writer_options;

typedef struct tr_video_writer tr_video_writer;

void tr_video_writer_defaults(tr_video_writer_options *options);

/* options may be NULL. On failure *writer is NULL. */
tr_status tr_video_writer_open(const char *path, int width, int height, int fps_num, int fps_den,
                               const tr_video_writer_options *options, tr_video_writer **writer, tr_error *err);
tr_status tr_video_writer_add(tr_video_writer *writer, const uint8_t *rgb, tr_error *err);

/* Finishes the file and frees the writer, also when it fails (then nothing is left under path). */
tr_status tr_video_writer_close(tr_video_writer *writer, tr_error *err);

/* Frees the writer and removes what it wrote. NULL is fine. */
void tr_video_writer_abandon(tr_video_writer *writer);

#endif
