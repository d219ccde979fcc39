/* convert.h: a decoded frame as packed RGB: turned as its file says, converted as the ffmpeg program does for
 * -pix_fmt rgb24 with its default flags. Internal to the decoder process; not thread safe. */
#ifndef TR_VIDEO_CONVERT_H
#define TR_VIDEO_CONVERT_H

#include "base/status.h"

#include <libavutil/frame.h>
#include <libswscale/swscale.h>
#include <stdbool.h>
#include <stdint.h>

/* How a stored picture is shown: its rows, its columns read from the last one on; then (swap) rows as columns. */
typedef struct tr_video_turn {
    bool rows, columns, swap;
} tr_video_turn;

typedef struct tr_video_converter {
    tr_video_turn turn;
    int height, width; /* of the result; a frame of another size (the stream changed it) is brought to it */
    struct SwsContext *scaler;
    int format, from_height, from_width, range, space; /* that the scaler is for */
    AVFrame *turned, *stored, *rgb;
} tr_video_converter;

/* What a display matrix (NULL: none) asks for. Angles that are no quarter turn are left alone. */
tr_video_turn tr_video_turn_of(const int32_t *matrix);

/* frame as RGB in converter->rgb, valid until the next call. */
tr_status tr_video_convert(tr_video_converter *converter, const AVFrame *frame, tr_error *err);
void tr_video_converter_free(tr_video_converter *converter);

#endif
