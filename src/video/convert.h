/* convert.h: a decoded frame as packed RGB: turned as its file says, converted as the ffmpeg program does for
 * -pix_fmt rgb24 with its default flags. Internal to the decoder process; not thread safe. */
#ifndef TR_VIDEO_CONVERT_H
#define TR_VIDEO_CONVERT_H

#include "base/status.h"

#include <libavutil/frame.h>
#include <libswscale/swscale.h>

typedef struct tr_video_converter {
    int turn;          /* degrees clockwise: 0, 90, 180, 270 */
    int height, width; /* of the result; a frame of another size (the stream changed it) is brought to it */
    struct SwsContext *scaler;
    int format, from_height, from_width, range, space; /* that the scaler is for */
    AVFrame *turned, *rgb;
} tr_video_converter;

/* frame as RGB in converter->rgb, valid until the next call. */
tr_status tr_video_convert(tr_video_converter *converter, const AVFrame *frame, tr_error *err);
void tr_video_converter_free(tr_video_converter *converter);

#endif
