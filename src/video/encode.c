/* encode.c: libx264 through libavcodec, MP4 through libavformat. Writes beside the target and renames at the end.
 * Never decodes and never leaves half a file under the target's name. */
#include "video/encode.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tr_video_writer {
    char *path, *temporary;
    AVFormatContext *format;
    AVCodecContext *codec;
    AVStream *stream;
    struct SwsContext *scale;
    AVFrame *frame;
    AVPacket *packet;
    int64_t count; /* frames so far */
};

void tr_video_writer_defaults(tr_video_writer_options *options)
{
    *options = (tr_video_writer_options){.crf = 23, .gop = 48, .bframes = 2};
}

static tr_status av_fail(tr_error *err, const char *path, const char *what, int code)
{
    char text[AV_ERROR_MAX_STRING_SIZE] = "";
    av_strerror(code, text, sizeof text);
    return tr_fail(err, code == AVERROR(ENOMEM) ? TR_MEMORY : TR_IO, path, "%s failed: %s", what, text);
}

static tr_status check(const char *path, int width, int height, int num, int den, const tr_video_writer_options *o,
                       tr_error *err)
{
    if (width < 2 || height < 2 || width > 16384 || height > 16384 || width % 2 || height % 2) {
        return tr_fail(err, TR_INVALID, path, "a clip's sides must be even numbers from 2 to 16384, found %dx%d",
                       width, height);
    }
    if (num < 1 || den < 1) {
        return tr_fail(err, TR_INVALID, path, "a clip's rate must be positive, found %d/%d", num, den);
    }
    if (o->crf < 0 || o->crf > 51 || o->gop < 1 || o->bframes < 0 || o->bframes > 16) {
        return tr_fail(err, TR_INVALID, path, "crf 0..51, gop >= 1 and bframes 0..16 are needed, found %d, %d, %d",
                       o->crf, o->gop, o->bframes);
    }
    return TR_OK;
}

static tr_status open_codec(tr_video_writer *w, int width, int height, AVRational rate,
                            const tr_video_writer_options *o, tr_error *err)
{
    const AVCodec *encoder = avcodec_find_encoder_by_name("libx264");
    if (!encoder) {
        return tr_fail(err, TR_UNSUPPORTED, w->path,
                       "this machine's libavcodec has no libx264; install an FFmpeg built with it to write clips");
    }
    w->codec = avcodec_alloc_context3(encoder);
    if (!w->codec) {
        return tr_fail(err, TR_MEMORY, w->path, "out of memory");
    }
    w->codec->width = width;
    w->codec->height = height;
    w->codec->pix_fmt = AV_PIX_FMT_YUV420P;
    w->codec->time_base = av_inv_q(rate);
    w->codec->framerate = rate;
    w->codec->gop_size = o->gop;
    w->codec->max_b_frames = o->bframes;
    w->codec->thread_count = 1;
    w->codec->flags |= AV_CODEC_FLAG_BITEXACT;
    if (w->format->oformat->flags & AVFMT_GLOBALHEADER) {
        w->codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    }
    av_opt_set_double(w->codec->priv_data, "crf", o->crf, 0);
    av_opt_set(w->codec->priv_data, "preset", "veryfast", 0);
    av_opt_set(w->codec->priv_data, "x264-params", "log=-1", 0);
    int code = avcodec_open2(w->codec, encoder, NULL);
    return code < 0 ? av_fail(err, w->path, "opening the H.264 encoder", code) : TR_OK;
}

static tr_status open_file(tr_video_writer *w, tr_error *err)
{
    int code;
    w->stream = avformat_new_stream(w->format, NULL);
    if (!w->stream) {
        return tr_fail(err, TR_MEMORY, w->path, "out of memory");
    }
    w->stream->time_base = w->codec->time_base;
    w->stream->avg_frame_rate = w->codec->framerate;
    if ((code = avcodec_parameters_from_context(w->stream->codecpar, w->codec)) < 0) {
        return av_fail(err, w->path, "describing the stream", code);
    }
    char *url = tr_format("file:%s", w->temporary);
    if (!url) {
        return tr_fail(err, TR_MEMORY, w->path, "out of memory");
    }
    code = avio_open(&w->format->pb, url, AVIO_FLAG_WRITE);
    free(url);
    if (code < 0) {
        return av_fail(err, w->path, "creating the clip", code);
    }
    code = avformat_write_header(w->format, NULL);
    return code < 0 ? av_fail(err, w->path, "writing the header", code) : TR_OK;
}

static tr_status open_frame(tr_video_writer *w, tr_error *err)
{
    int width = w->codec->width, height = w->codec->height;
    w->frame = av_frame_alloc();
    w->packet = av_packet_alloc();
    w->scale = sws_getContext(width, height, AV_PIX_FMT_RGB24, width, height, AV_PIX_FMT_YUV420P,
                              SWS_BICUBIC | SWS_ACCURATE_RND | SWS_BITEXACT, NULL, NULL, NULL);
    if (!w->frame || !w->packet || !w->scale) {
        return tr_fail(err, TR_MEMORY, w->path, "out of memory");
    }
    w->frame->format = AV_PIX_FMT_YUV420P;
    w->frame->width = width;
    w->frame->height = height;
    int code = av_frame_get_buffer(w->frame, 0);
    return code < 0 ? av_fail(err, w->path, "a frame's memory", code) : TR_OK;
}

tr_status tr_video_writer_open(const char *path, int width, int height, int fps_num, int fps_den,
                               const tr_video_writer_options *options, tr_video_writer **writer, tr_error *err)
{
    tr_video_writer_options defaults;
    tr_video_writer_defaults(&defaults);
    options = options ? options : &defaults;
    *writer = NULL;
    tr_video_writer *w = NULL;
    tr_status status = check(path, width, height, fps_num, fps_den, options, err);
    if (status) {
        return status;
    }
    av_log_set_level(AV_LOG_QUIET);
    w = tr_calloc(1, sizeof *w);
    if (!w || !(w->path = tr_strdup(path)) || !(w->temporary = tr_format("%s.%ld.tmp", path, (long)getpid()))) {
        status = tr_fail(err, TR_MEMORY, path, "out of memory");
        goto done;
    }
    int code = avformat_alloc_output_context2(&w->format, NULL, "mp4", NULL);
    if (code < 0) {
        status = av_fail(err, path, "opening the MP4 writer", code);
        goto done;
    }
    w->format->flags |= AVFMT_FLAG_BITEXACT;
    TR_TRY(open_codec(w, width, height, (AVRational){fps_num, fps_den}, options, err));
    TR_TRY(open_frame(w, err));
    TR_TRY(open_file(w, err));
    *writer = w;
    w = NULL;
done:
    tr_video_writer_abandon(w);
    return status;
}

/* Sends a frame (NULL: the end) and writes the packets that come out. */
static tr_status encode(tr_video_writer *w, const AVFrame *frame, tr_error *err)
{
    int code = avcodec_send_frame(w->codec, frame);
    if (code < 0) {
        return av_fail(err, w->path, "encoding a frame", code);
    }
    while ((code = avcodec_receive_packet(w->codec, w->packet)) >= 0) {
        w->packet->stream_index = 0;
        w->packet->duration = w->packet->duration ? w->packet->duration : 1;
        av_packet_rescale_ts(w->packet, w->codec->time_base, w->stream->time_base);
        code = av_interleaved_write_frame(w->format, w->packet);
        if (code < 0) {
            return av_fail(err, w->path, "writing the clip", code);
        }
    }
    return code == AVERROR(EAGAIN) || code == AVERROR_EOF ? TR_OK : av_fail(err, w->path, "encoding", code);
}

tr_status tr_video_writer_add(tr_video_writer *w, const uint8_t *rgb, tr_error *err)
{
    int code = av_frame_make_writable(w->frame);
    if (code < 0) {
        return av_fail(err, w->path, "a frame's memory", code);
    }
    const uint8_t *planes[4] = {rgb};
    const int strides[4] = {3 * w->codec->width};
    sws_scale(w->scale, planes, strides, 0, w->codec->height, w->frame->data, w->frame->linesize);
    w->frame->pts = w->count++;
    return encode(w, w->frame, err);
}

/* Makes what is in the file durable, so that the rename never shows a clip that a crash empties. */
static tr_status sync_file(const tr_video_writer *w, tr_error *err)
{
    int descriptor = open(w->temporary, O_RDONLY | O_CLOEXEC);
    int failed = descriptor < 0 || fsync(descriptor);
    int reason = errno;
    if (descriptor >= 0) {
        close(descriptor);
    }
    return failed ? tr_fail(err, TR_IO, w->path, "the clip could not be written: %s", strerror(reason)) : TR_OK;
}

tr_status tr_video_writer_close(tr_video_writer *w, tr_error *err)
{
    tr_status status;
    int code;
    if (w->count == 0) {
        status = tr_fail(err, TR_INVALID, w->path, "a clip needs at least one frame");
        goto done;
    }
    TR_TRY(encode(w, NULL, err));
    if ((code = av_write_trailer(w->format)) < 0 || (code = avio_closep(&w->format->pb)) < 0) {
        status = av_fail(err, w->path, "writing the clip", code);
        goto done;
    }
    TR_TRY(sync_file(w, err));
    if (rename(w->temporary, w->path)) {
        status = tr_fail(err, TR_IO, w->path, "the clip could not be put in place: %s", strerror(errno));
    }
done:
    tr_video_writer_abandon(w);
    return status;
}

void tr_video_writer_abandon(tr_video_writer *w)
{
    if (!w) {
        return;
    }
    if (w->format) {
        avio_closep(&w->format->pb);
        avformat_free_context(w->format);
    }
    if (w->temporary) {
        unlink(w->temporary); /* already gone after a rename */
    }
    avcodec_free_context(&w->codec);
    sws_freeContext(w->scale);
    av_frame_free(&w->frame);
    av_packet_free(&w->packet);
    free(w->path);
    free(w->temporary);
    free(w);
}
