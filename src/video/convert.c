/* convert.c: decoded frames to packed RGB by libswscale, rotation included. */
#include "video/convert.h"

#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

tr_video_turn tr_video_turn_of(const int32_t *matrix)
{
    tr_video_turn turn = {0};
    if (!matrix) {
        return turn;
    }
    double angle = -round(av_display_rotation_get(matrix)); /* clockwise; not a number: the matrix is flat */
    angle -= 360 * floor(angle / 360 + 0.9 / 360);
    if (fabs(angle - 90) < 1) {
        turn = (tr_video_turn){.swap = true, .rows = matrix[3] <= 0};
    } else if (fabs(angle - 180) < 1) {
        turn = (tr_video_turn){.rows = matrix[4] < 0, .columns = matrix[0] < 0};
    } else if (fabs(angle - 270) < 1) {
        turn = (tr_video_turn){.swap = true, .columns = true, .rows = matrix[3] < 0};
    } else if (fabs(angle) < 1) {
        turn.rows = matrix[4] < 0;
    }
    return turn;
}

/* Whether pictures of this format can be turned as they are. The ffmpeg program turns all others as RGB. */
static bool turns(const AVPixFmtDescriptor *format, tr_video_turn turn)
{
    const uint64_t never = AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM | AV_PIX_FMT_FLAG_HWACCEL;
    bool even = format && format->log2_chroma_w == format->log2_chroma_h;
    return format && !(format->flags & never) &&
           (even || (!turn.swap && format->comp[0].plane != format->comp[1].plane));
}

static inline void turn_line(uint8_t *to, const uint8_t *from, ptrdiff_t next, int count, size_t step)
{
    for (int x = 0; x < count; x++, to += step, from += next) {
        memcpy(to, from, step);
    }
}

/* One plane; w and h are the result's, a pixel takes `step` bytes. */
static void turn_plane(tr_video_turn turn, uint8_t *to, ptrdiff_t to_line, const uint8_t *from, ptrdiff_t from_line,
                       int w, int h, size_t step)
{
    int from_w = turn.swap ? h : w, from_h = turn.swap ? w : h;
    ptrdiff_t down = turn.rows ? -from_line : from_line, right = turn.columns ? -(ptrdiff_t)step : (ptrdiff_t)step;
    ptrdiff_t next = turn.swap ? down : right, next_line = turn.swap ? right : down;
    from += turn.rows ? (from_h - 1) * from_line : 0;
    from += turn.columns ? (ptrdiff_t)(from_w - 1) * (ptrdiff_t)step : 0;
    for (int y = 0; y < h; y++, to += to_line, from += next_line) {
        if (step == 1) { /* the copy of a constant size is an instruction */
            turn_line(to, from, next, w, 1);
        } else if (step == 2) {
            turn_line(to, from, next, w, 2);
        } else {
            turn_line(to, from, next, w, step);
        }
    }
}

/* frame, turned, in its own pixel format (planar or packed alike: whole pixels of a plane move), into out. */
static tr_status turn_frame(tr_video_turn turn, const AVFrame *frame, AVFrame *out, tr_error *err)
{
    const AVPixFmtDescriptor *format = av_pix_fmt_desc_get(frame->format);
    av_frame_unref(out);
    out->format = frame->format;
    out->width = turn.swap ? frame->height : frame->width;
    out->height = turn.swap ? frame->width : frame->height;
    if (av_frame_get_buffer(out, 0) < 0 || av_frame_copy_props(out, frame) < 0) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory to turn frames of %dx%d", frame->width, frame->height);
    }
    int steps[4] = {0}, planes[4];
    av_image_fill_max_pixsteps(steps, planes, format);
    for (int p = 0; p < 4 && frame->data[p] && steps[p]; p++) {
        int chroma = p == 1 || p == 2;
        turn_plane(turn, out->data[p], out->linesize[p], frame->data[p], frame->linesize[p],
                   chroma ? AV_CEIL_RSHIFT(out->width, format->log2_chroma_w) : out->width,
                   chroma ? AV_CEIL_RSHIFT(out->height, format->log2_chroma_h) : out->height, (size_t)steps[p]);
    }
    return TR_OK;
}

/* The scaler for frames like this one, with the options of the ffmpeg program's own conversion. */
static tr_status scaler_make(tr_video_converter *c, const AVFrame *frame, const AVFrame *to, tr_error *err)
{
    const AVPixFmtDescriptor *format = av_pix_fmt_desc_get(frame->format);
    int *inverse, *table, in_full, out_full, brightness, contrast, saturation;
    sws_freeContext(c->scaler);
    if (!(c->scaler = sws_alloc_context())) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for the conversion to RGB");
    }
    av_opt_set_int(c->scaler, "srcw", frame->width, 0);
    av_opt_set_int(c->scaler, "srch", frame->height, 0);
    av_opt_set_int(c->scaler, "src_format", frame->format, 0);
    av_opt_set_int(c->scaler, "dstw", to->width, 0);
    av_opt_set_int(c->scaler, "dsth", to->height, 0);
    av_opt_set_int(c->scaler, "dst_format", AV_PIX_FMT_RGB24, 0);
    av_opt_set_int(c->scaler, "sws_flags", SWS_BICUBIC, 0);
    if (format && format->log2_chroma_w == 1 && format->log2_chroma_h == 1) {
        av_opt_set_int(c->scaler, "src_v_chr_pos", 128, 0);
    }
    if (sws_init_context(c->scaler, NULL, NULL) < 0) {
        return tr_fail(err, TR_UNSUPPORTED, NULL, "cannot convert frames of pixel format %s to RGB",
                       format ? format->name : "unknown");
    }
    if (sws_getColorspaceDetails(c->scaler, &inverse, &in_full, &table, &out_full, &brightness, &contrast,
                                 &saturation) >= 0) {
        bool given = frame->colorspace != AVCOL_SPC_RGB; /* which says nothing of YUV */
        const int *own = sws_getCoefficients(given ? (int)frame->colorspace : SWS_CS_DEFAULT);
        in_full = frame->color_range == AVCOL_RANGE_UNSPECIFIED ? in_full : frame->color_range == AVCOL_RANGE_JPEG;
        sws_setColorspaceDetails(c->scaler, own, in_full, own, out_full, brightness, contrast, saturation);
    }
    c->format = frame->format;
    c->from_height = frame->height;
    c->from_width = frame->width;
    c->range = frame->color_range;
    c->space = frame->colorspace;
    return TR_OK;
}

static tr_status ready(AVFrame **frame, int height, int width, tr_error *err)
{
    if ((!*frame && !(*frame = av_frame_alloc()))) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for a frame");
    }
    if (!(*frame)->data[0]) {
        (*frame)->format = AV_PIX_FMT_RGB24;
        (*frame)->height = height;
        (*frame)->width = width;
        if (av_frame_get_buffer(*frame, 0) < 0) {
            return tr_fail(err, TR_MEMORY, NULL, "no memory for a frame of %dx%d", width, height);
        }
    }
    return TR_OK;
}

tr_status tr_video_convert(tr_video_converter *c, const AVFrame *frame, tr_error *err)
{
    tr_status status = TR_OK;
    const tr_video_turn turn = c->turn;
    bool turned = turn.rows || turn.columns || turn.swap;
    bool before = turned && turns(av_pix_fmt_desc_get(frame->format), turn), after = turned && !before;
    AVFrame *to;
    if (before) {
        if (!c->turned && !(c->turned = av_frame_alloc())) {
            return tr_fail(err, TR_MEMORY, NULL, "no memory for a frame");
        }
        TR_TRY(turn_frame(turn, frame, c->turned, err));
        frame = c->turned;
    }
    TR_TRY(ready(&c->rgb, c->height, c->width, err));
    if (after) {
        TR_TRY(ready(&c->stored, turn.swap ? c->width : c->height, turn.swap ? c->height : c->width, err));
    }
    to = after ? c->stored : c->rgb;
    if (!c->scaler || frame->format != c->format || frame->height != c->from_height ||
        frame->width != c->from_width || (int)frame->color_range != c->range ||
        (int)frame->colorspace != c->space) {
        TR_TRY(scaler_make(c, frame, to, err));
    }
    sws_scale(c->scaler, (const uint8_t *const *)frame->data, frame->linesize, 0, frame->height, to->data,
              to->linesize);
    if (after) {
        turn_plane(turn, c->rgb->data[0], c->rgb->linesize[0], to->data[0], to->linesize[0], c->width, c->height,
                   3);
    }
done:
    return status;
}

void tr_video_converter_free(tr_video_converter *converter)
{
    sws_freeContext(converter->scaler);
    av_frame_free(&converter->turned);
    av_frame_free(&converter->stored);
    av_frame_free(&converter->rgb);
    *converter = (tr_video_converter){0};
}
