/* encode.c: H.264 in MP4 by libx264, one thread, no clock and no version in the file: the same bytes every time
 * and on every x86-64 CPU.
 *
 * That needs two settings that are not the libraries' own:
 * - cpu-independent=1. On CPUs with AVX-512 libx264 (core 164) otherwise spreads the costs of its macroblock tree
 *   by a kernel that takes eight macroblocks at a time and does not mask those behind the end of a row: unless the
 *   width in macroblocks is a multiple of eight it uses memory that nothing has written, and now and then a block
 *   gets another quantiser from it. The older vector kernels of the tree estimate a division, so that CPUs differ.
 *   With this setting the tree is computed in plain C; all else keeps its vector code, which agrees bit for bit.
 * - SWS_ACCURATE_RND and SWS_BITEXACT. libswscale's vector code otherwise rounds some samples another way. */
#include "video/encode.h"
#include "base/buffer.h"
#include "base/memory.h"

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tr_video_writer {
    char *path, *temporary;
    AVFormatContext *format;
    AVCodecContext *codec;
    AVStream *stream;
    struct SwsContext *scaler;
    AVFrame *frame;
    AVPacket *packet;
    int64_t count;
};

static tr_status av_fail(tr_error *err, const tr_video_writer *w, int result, const char *what)
{
    char reason[128] = "";
    av_strerror(result, reason, sizeof reason);
    return tr_fail(err, TR_IO, w->path, "%s: %s", what, reason);
}

void tr_video_writer_abandon(tr_video_writer *writer)
{
    if (!writer) {
        return;
    }
    if (writer->format && writer->format->pb) {
        avio_closep(&writer->format->pb);
    }
    if (writer->temporary) {
        unlink(writer->temporary);
    }
    avformat_free_context(writer->format);
    avcodec_free_context(&writer->codec);
    sws_freeContext(writer->scaler);
    av_frame_free(&writer->frame);
    av_packet_free(&writer->packet);
    free(writer->path);
    free(writer->temporary);
    free(writer);
}

static tr_status start(tr_video_writer *w, int width, int height, AVRational rate, const tr_video_writer_options *o,
                       tr_error *err)
{
    const AVCodec *codec = avcodec_find_encoder_by_name("libx264");
    int result;
    if (!codec) {
        return tr_fail(err, TR_UNSUPPORTED, w->path, "this FFmpeg has no H.264 encoder (libx264)");
    }
    if (avformat_alloc_output_context2(&w->format, NULL, "mp4", NULL) < 0 ||
        !(w->codec = avcodec_alloc_context3(codec)) || !(w->stream = avformat_new_stream(w->format, NULL)) ||
        !(w->frame = av_frame_alloc()) || !(w->packet = av_packet_alloc())) {
        return tr_fail(err, TR_MEMORY, w->path, "no memory for the encoder");
    }
    w->codec->width = w->frame->width = width;
    w->codec->height = w->frame->height = height;
    w->codec->pix_fmt = AV_PIX_FMT_YUV420P;
    w->frame->format = AV_PIX_FMT_YUV420P;
    w->codec->time_base = av_inv_q(rate);
    w->codec->framerate = w->stream->avg_frame_rate = rate;
    w->codec->gop_size = o->gop;
    w->codec->max_b_frames = o->bframes;
    w->codec->thread_count = 1;
    w->codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_BITEXACT;
    w->format->flags |= AVFMT_FLAG_BITEXACT;
    av_opt_set_int(w->codec->priv_data, "crf", o->crf, 0);
    av_opt_set(w->codec->priv_data, "preset", "veryfast", 0);
    av_opt_set(w->codec->priv_data, "x264-params",
               o->plain ? "log=-1:cpu-independent=1:asm=0" : "log=-1:cpu-independent=1", 0);
    int level = av_log_get_level(); /* opening prints a line of its own, whatever x264 was told */
    av_log_set_level(AV_LOG_ERROR);
    result = avcodec_open2(w->codec, codec, NULL);
    av_log_set_level(level);
    if (result < 0 || (result = avcodec_parameters_from_context(w->stream->codecpar, w->codec)) < 0 ||
        (result = av_frame_get_buffer(w->frame, 0)) < 0) {
        return av_fail(err, w, result, "cannot start the H.264 encoder");
    }
    w->stream->time_base = w->codec->time_base;
    w->scaler = sws_getContext(width, height, AV_PIX_FMT_RGB24, width, height, AV_PIX_FMT_YUV420P,
                               SWS_BICUBIC | SWS_ACCURATE_RND | SWS_BITEXACT, NULL, NULL, NULL);
    if (!w->scaler) {
        return tr_fail(err, TR_MEMORY, w->path, "no memory for the conversion from RGB");
    }
    if ((result = avio_open(&w->format->pb, w->temporary, AVIO_FLAG_WRITE)) < 0 ||
        (result = avformat_write_header(w->format, NULL)) < 0) {
        return av_fail(err, w, result, "cannot write the video");
    }
    return TR_OK;
}

void tr_video_writer_defaults(tr_video_writer_options *options)
{
    *options = (tr_video_writer_options){.crf = 23, .gop = 48, .bframes = 2};
}

tr_status tr_video_writer_open(const char *path, int width, int height, int fps_num, int fps_den,
                               const tr_video_writer_options *options, tr_video_writer **writer, tr_error *err)
{
    tr_video_writer_options defaults;
    tr_video_writer_defaults(&defaults);
    *writer = NULL;
    if (width < 2 || height < 2 || width % 2 || height % 2 || fps_num < 1 || fps_den < 1) {
        return tr_fail(err, TR_INVALID, path, "a video needs even sides and a positive rate, found %dx%d at %d/%d",
                       width, height, fps_num, fps_den);
    }
    tr_video_writer *w = tr_calloc(1, sizeof *w);
    if (!w || !(w->path = tr_strdup(path)) || !(w->temporary = tr_format("%s.part-%ld", path, (long)getpid()))) {
        tr_video_writer_abandon(w);
        return tr_fail(err, TR_MEMORY, path, "no memory for the encoder");
    }
    tr_status status = start(w, width, height, (AVRational){fps_num, fps_den}, options ? options : &defaults, err);
    if (status != TR_OK) {
        tr_video_writer_abandon(w);
        return status;
    }
    *writer = w;
    return TR_OK;
}

/* Sends a frame (NULL: the end) and writes what the encoder gives. */
static tr_status encode(tr_video_writer *w, const AVFrame *frame, tr_error *err)
{
    int result = avcodec_send_frame(w->codec, frame);
    while (result >= 0) {
        result = avcodec_receive_packet(w->codec, w->packet);
        if (result == AVERROR(EAGAIN) || result == AVERROR_EOF) {
            return TR_OK;
        }
        if (result >= 0) {
            w->packet->duration = 1;
            av_packet_rescale_ts(w->packet, w->codec->time_base, w->stream->time_base);
            w->packet->stream_index = w->stream->index;
            result = av_interleaved_write_frame(w->format, w->packet);
        }
    }
    return av_fail(err, w, result, "cannot encode a frame");
}

tr_status tr_video_writer_add(tr_video_writer *writer, const uint8_t *rgb, tr_error *err)
{
    int stride = 3 * writer->codec->width, result = av_frame_make_writable(writer->frame);
    if (result < 0) {
        return av_fail(err, writer, result, "no memory for a frame");
    }
    sws_scale(writer->scaler, &rgb, &stride, 0, writer->codec->height, writer->frame->data,
              writer->frame->linesize);
    writer->frame->pts = writer->count++;
    return encode(writer, writer->frame, err);
}

tr_status tr_video_writer_close(tr_video_writer *writer, tr_error *err)
{
    int result;
    tr_status status = encode(writer, NULL, err);
    if (status == TR_OK && (result = av_write_trailer(writer->format)) < 0) {
        status = av_fail(err, writer, result, "cannot finish the video");
    }
    if (status == TR_OK && (result = avio_closep(&writer->format->pb)) < 0) {
        status = av_fail(err, writer, result, "cannot finish the video");
    }
    if (status == TR_OK && rename(writer->temporary, writer->path)) {
        status = tr_fail(err, TR_IO, writer->path, "cannot rename the finished video: %s", strerror(errno));
    }
    tr_video_writer_abandon(writer);
    return status;
}
