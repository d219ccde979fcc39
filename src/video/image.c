/* image.c: JPEG pictures by FFmpeg's encoder: full range, 4:2:0, one thread, the same bytes for the same frame. */
#include "video/image.h"

#include <libavcodec/avcodec.h>
#include <libswscale/swscale.h>
#include <string.h>

typedef struct picture {
    AVCodecContext *codec;
    struct SwsContext *scaler;
    AVFrame *rgb, *yuv;
    AVPacket *packet;
} picture;

static void picture_close(picture *p)
{
    avcodec_free_context(&p->codec);
    sws_freeContext(p->scaler);
    av_frame_free(&p->rgb);
    av_frame_free(&p->yuv);
    av_packet_free(&p->packet);
}

/* The encoder reads whole blocks of 16x16; what lies past the picture must be the same every time. */
static int whole_blocks(int side)
{
    return (side + 15) / 16 * 16;
}

/* A frame of a format with its own, aligned memory. */
static AVFrame *make_frame(int width, int height, enum AVPixelFormat format)
{
    AVFrame *frame = av_frame_alloc();
    if (frame) {
        frame->width = width;
        frame->height = height;
        frame->format = format;
        if (av_frame_get_buffer(frame, 0) < 0) {
            av_frame_free(&frame);
        }
    }
    return frame;
}

static tr_status picture_open(picture *p, int width, int height, int quality, tr_error *err)
{
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_MJPEG);
    if (!codec) {
        return tr_fail(err, TR_UNSUPPORTED, NULL, "this FFmpeg has no JPEG encoder");
    }
    p->codec = avcodec_alloc_context3(codec);
    int wide = p->rgb->width, high = p->rgb->height;
    p->scaler = sws_getContext(wide, high, AV_PIX_FMT_GBRP, wide, high, AV_PIX_FMT_YUV420P,
                               SWS_BICUBIC | SWS_ACCURATE_RND, NULL, NULL, NULL);
    if (!p->codec || !p->scaler) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for a picture of %dx%d", width, height);
    }
    const int *bt601 = sws_getCoefficients(SWS_CS_ITU601);
    sws_setColorspaceDetails(p->scaler, bt601, 1, bt601, 1, 0, 1 << 16, 1 << 16);
    p->codec->width = width;
    p->codec->height = height;
    p->codec->pix_fmt = AV_PIX_FMT_YUV420P;
    p->codec->color_range = p->yuv->color_range = AVCOL_RANGE_JPEG;
    p->codec->time_base = (AVRational){1, 1};
    p->codec->thread_count = 1;
    p->codec->flags |= AV_CODEC_FLAG_QSCALE | AV_CODEC_FLAG_BITEXACT;
    p->codec->global_quality = p->yuv->quality = quality * FF_QP2LAMBDA;
    if (avcodec_open2(p->codec, codec, NULL) < 0) {
        return tr_fail(err, TR_UNSUPPORTED, NULL, "the JPEG encoder refuses a picture of %dx%d", width, height);
    }
    return TR_OK;
}

tr_status tr_image_jpeg(const uint8_t *rgb, int width, int height, int quality, tr_buffer *out, tr_error *err)
{
    static const int planes[3] = {2, 0, 1}; /* where red, green and blue stand in GBRP */
    picture p = {0};
    if (width < 1 || height < 1 || width > 65500 || height > 65500 || quality < 1 || quality > 31) {
        return tr_fail(err, TR_INVALID, NULL,
                       "a JPEG picture needs sides of 1 to 65500 and a quality of 1 to 31, found %dx%d and %d",
                       width, height, quality);
    }
    tr_status status = TR_OK;
    p.rgb = make_frame(whole_blocks(width), whole_blocks(height), AV_PIX_FMT_GBRP);
    p.yuv = make_frame(whole_blocks(width), whole_blocks(height), AV_PIX_FMT_YUV420P);
    p.packet = av_packet_alloc();
    if (!p.rgb || !p.yuv || !p.packet) {
        status = tr_fail(err, TR_MEMORY, NULL, "no memory for a picture of %dx%d", width, height);
        goto done;
    }
    TR_TRY(picture_open(&p, width, height, quality, err));
    for (int c = 0; c < 3; c++) { /* the last column and row go on to the end of their blocks */
        for (int y = 0; y < p.rgb->height; y++) {
            size_t row = (size_t)c * (size_t)height + (size_t)(y < height ? y : height - 1);
            const uint8_t *from = rgb + row * (size_t)width;
            uint8_t *to = p.rgb->data[planes[c]] + (ptrdiff_t)y * p.rgb->linesize[planes[c]];
            memcpy(to, from, (size_t)width);
            memset(to + width, from[width - 1], (size_t)(p.rgb->width - width));
        }
    }
    sws_scale(p.scaler, (const uint8_t *const *)p.rgb->data, p.rgb->linesize, 0, p.rgb->height, p.yuv->data,
              p.yuv->linesize);
    p.yuv->pts = 0;
    p.yuv->width = width;
    p.yuv->height = height;
    if (avcodec_send_frame(p.codec, p.yuv) < 0 || avcodec_send_frame(p.codec, NULL) < 0 ||
        avcodec_receive_packet(p.codec, p.packet) < 0) {
        status = tr_fail(err, TR_IO, NULL, "the JPEG encoder gave no picture of %dx%d", width, height);
        goto done;
    }
    TR_TRY(tr_buffer_add(out, p.packet->data, (size_t)p.packet->size, err));
done:
    picture_close(&p);
    return status;
}
