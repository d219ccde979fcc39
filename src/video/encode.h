/* encode.h: writing H.264 in MP4 from RGB frames, the same bytes for the same frames on one library version, on
 * every x86-64 CPU.
 *
 * The file appears whole at tr_video_writer_close or not at all. Not thread safe. */
#ifndef TR_VIDEO_ENCODE_H
#define TR_VIDEO_ENCODE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tr_video_writer_options {
    int crf, gop, bframes; /* quality (0 best to 51), frames between key frames, B-frames in a row */
    bool plain;            /* the coder's plain C code: slow, the same bytes; for the test that they are the same */
} tr_video_writer_options;

typedef struct tr_video_writer tr_video_writer;

/* crf 23, gop 48, 2 B-frames. */
void tr_video_writer_defaults(tr_video_writer_options *options);

/* width and height even; options NULL: the defaults. */
tr_status tr_video_writer_open(const char *path, int width, int height, int fps_num, int fps_den,
                               const tr_video_writer_options *options, tr_video_writer **writer, tr_error *err);
/* rgb: [height][width][3]. */
tr_status tr_video_writer_add(tr_video_writer *writer, const uint8_t *rgb, tr_error *err);
/* Finishes the file and frees the writer, also on failure (then no file appears). */
tr_status tr_video_writer_close(tr_video_writer *writer, tr_error *err);
/* Frees the writer and leaves no file. Takes NULL. */
void tr_video_writer_abandon(tr_video_writer *writer);

#endif
