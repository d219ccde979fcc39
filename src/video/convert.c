/* convert.c: decoded frames to packed RGB by libswscale, rotation included. */
#include "video/convert.h"

#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <stdlib.h>
#include <string.h>

/* frame, turned, in its own pixel format (planar or packed alike: whole pixels of a plane move). */
static tr_status turn_frame(tr_video_converter *c, const AVFrame *frame, tr_error *err)
{
    const AVPixFmtDescriptor *format = av_pix_fmt_desc_get(frame->format);
    AVFrame *out = c->turned;
    int swap = c->turn % 180 != 0;
    av_frame_unref(out);
    out->format = frame->format;
    out->width = swap ? frame->height : frame->width;
    out->height = swap ? frame->width : frame->height;
    if (!format || (swap && format->log2_chroma_w != format->log2_chroma_h) || av_frame_get_buffer(out, 0) < 0 ||
        av_frame_copy_props(out, frame) < 0) {
        return tr_fail(err, TR_UNSUPPORTED, NULL, "cannot turn frames of pixel format %s by %d degrees",
                       format ? format->name : "unknown", c->turn);
    }
    int steps[4] = {0}, planes[4];
    av_image_fill_max_pixsteps(steps, planes, format);
    for (int p = 0; p < 4 && frame->data[p] && steps[p]; p++) {
        int chroma = p == 1 || p == 2;
        int w = chroma ? AV_CEIL_RSHIFT(out->width, format->log2_chroma_w) : out->width;
        int h = chroma ? AV_CEIL_RSHIFT(out->height, format->log2_chroma_h) : out->height;
        size_t step = (size_t)steps[p];
        for (int y = 0; y < h; y++) {
            for (int x = 0; x < w; x++) {
                int from_y = c->turn == 90 ? w - 1 - x : c->turn == 180 ? h - 1 - y : x;
                int from_x = c->turn == 90 ? y : c->turn == 180 ? w - 1 - x : h - 1 - y;
                memcpy(out->data[p] + (ptrdiff_t)y * out->linesize[p] + (size_t)x * step,
                       frame->data[p] + (ptrdiff_t)from_y * frame->linesize[p] + (size_t)from_x * step, step);
            }
        }
    }
    return TR_OK;
}

/* The scaler for frames like this one, with the options of the ffmpeg program's own conversion. */
static tr_status scaler_make(tr_video_converter *c, const AVFrame *frame, tr_error *err)
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
    av_opt_set_int(c->scaler, "dstw", c->width, 0);
    av_opt_set_int(c->scaler, "dsth", c->height, 0);
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
        const int *own = sws_getCoefficients(frame->colorspace);
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

tr_status tr_video_convert(tr_video_converter *c, const AVFrame *frame, tr_error *err)
{
    tr_status status = TR_OK;
    if ((!c->turned && !(c->turned = av_frame_alloc())) || (!c->rgb && !(c->rgb = av_frame_alloc()))) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for a frame");
    }
    if (c->turn) {
        TR_TRY(turn_frame(c, frame, err));
        frame = c->turned;
    }
    if (!c->scaler || frame->format != c->format || frame->height != c->from_height ||
        frame->width != c->from_width || (int)frame->color_range != c->range ||
        (int)frame->colorspace != c->space) {
        TR_TRY(scaler_make(c, frame, err));
    }
    if (!c->rgb->data[0]) {
        c->rgb->format = AV_PIX_FMT_RGB24;
        c->rgb->width = c->width;
        c->rgb->height = c->height;
        if (av_frame_get_buffer(c->rgb, 0) < 0) {
            return tr_fail(err, TR_MEMORY, NULL, "no memory for a frame of %dx%d", c->width, c->height);
        }
    }
    sws_scale(c->scaler, (const uint8_t *const *)frame->data, frame->linesize, 0, frame->height, c->rgb->data,
              c->rgb->linesize);
done:
    return status;
}

void tr_video_converter_free(tr_video_converter *converter)
{
    sws_freeContext(converter->scaler);
    av_frame_free(&converter->turned);
    av_frame_free(&converter->rgb);
    *converter = (tr_video_converter){0};
}
