/* decode.c: runs in the child process only: finds the frames, decodes them, brings them to size.
 *
 * Frames are counted and numbered in the order shown. A scan of the packets gives the count; when the decoder then
 * yields another number (damaged files, fields in packets of their own), its number counts and the choice is made
 * again. RGB is what the ffmpeg program writes for -pix_fmt rgb24, rotation included. */
#include "video/resize.h"
#include "video/sample.h"
#include "video/wire.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct decoder {
    const tr_wire_request *request;
    AVFormatContext *format;
    AVCodecContext *codec;
    AVStream *stream;
    struct SwsContext *scaler;
    AVFrame *frame, *turned, *rgb;
    AVPacket *packet;
    int turn; /* degrees clockwise: 0, 90, 180, 270 */
    tr_wire_reply head;
    int64_t *frames, seen, first, last;
    double *pts_s;
    int next;     /* of frames[] */
    int output;   /* descriptor */
    uint8_t *map; /* the reply */
} decoder;

static tr_status av_fail(tr_error *err, tr_status code, const decoder *d, int result, const char *what)
{
    char reason[128] = "";
    av_strerror(result, reason, sizeof reason);
    return tr_fail(err, code, d->request->path, "%s: %s", what, reason);
}

static int rotation(const AVStream *stream)
{
    const int32_t *matrix =
        (const int32_t *)(const void *)av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, NULL);
    double theta = matrix ? -round(av_display_rotation_get(matrix)) : 0;
    theta -= 360 * floor(theta / 360 + 0.9 / 360);
    for (int turn = 90; turn < 360; turn += 90) {
        if (fabs(theta - turn) < 1) {
            return turn;
        }
    }
    return 0;
}

static tr_status decoder_open(decoder *d, tr_error *err)
{
    const AVCodec *codec = NULL;
    int result = avformat_open_input(&d->format, d->request->path, NULL, NULL);
    if (result < 0) {
        return av_fail(err, TR_FORMAT, d, result, "cannot open it as a video");
    }
    if ((result = avformat_find_stream_info(d->format, NULL)) < 0) {
        return av_fail(err, TR_FORMAT, d, result, "cannot read its streams");
    }
    result = av_find_best_stream(d->format, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (result < 0) {
        return tr_fail(err, TR_FORMAT, d->request->path, "no video stream that can be decoded among its %u streams",
                       d->format->nb_streams);
    }
    d->stream = d->format->streams[result];
    for (unsigned i = 0; i < d->format->nb_streams; i++) {
        d->format->streams[i]->discard = (int)i == result ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
    }
    d->turn = rotation(d->stream);
    d->frame = av_frame_alloc();
    d->turned = av_frame_alloc();
    d->rgb = av_frame_alloc();
    d->packet = av_packet_alloc();
    d->codec = avcodec_alloc_context3(codec);
    if (!d->frame || !d->turned || !d->rgb || !d->packet || !d->codec ||
        avcodec_parameters_to_context(d->codec, d->stream->codecpar) < 0) {
        return tr_fail(err, TR_MEMORY, d->request->path, "no memory for its decoder");
    }
    d->codec->pkt_timebase = d->stream->time_base;
    d->codec->thread_count = 0;
    if ((result = avcodec_open2(d->codec, codec, NULL)) < 0) {
        return av_fail(err, TR_UNSUPPORTED, d, result, "cannot start its decoder");
    }
    return TR_OK;
}

static void decoder_close(decoder *d)
{
    sws_freeContext(d->scaler);
    d->scaler = NULL;
    av_frame_free(&d->frame);
    av_frame_free(&d->turned);
    av_frame_free(&d->rgb);
    av_packet_free(&d->packet);
    avcodec_free_context(&d->codec);
    avformat_close_input(&d->format);
}

/* Packets that show a frame. */
static int64_t count_packets(decoder *d)
{
    int64_t count = 0;
    while (av_read_frame(d->format, d->packet) >= 0) {
        count += d->packet->stream_index == d->stream->index && !(d->packet->flags & AV_PKT_FLAG_DISCARD);
        av_packet_unref(d->packet);
    }
    return count;
}

/* Fills head and frames for a video of total frames, and makes room for the reply. */
static tr_status choose(decoder *d, int64_t total, tr_error *err)
{
    const tr_video_options *o = &d->request->options;
    tr_wire_reply *head = &d->head;
    tr_status status = TR_OK;
    int count = 0, height = d->codec->height, width = d->codec->width;
    AVRational rate = d->stream->avg_frame_rate.num ? d->stream->avg_frame_rate : d->stream->r_frame_rate;
    head->magic = TR_WIRE_MAGIC;
    head->version = TR_WIRE_VERSION;
    head->total_frames = total;
    head->fps = rate.num && rate.den ? av_q2d(rate) : 0;
    head->duration_s = head->fps > 0 ? (double)total / head->fps : 0;
    head->start_s = d->format->start_time == AV_NOPTS_VALUE ? 0 : (double)d->format->start_time / AV_TIME_BASE;
    if (total < 2) {
        return tr_fail(err, TR_FORMAT, d->request->path, "a clip needs at least 2 frames, found %lld that decode",
                       (long long)total);
    }
    d->first = (int64_t)ceil(fmax(o->start_s, 0) * head->fps);
    d->last = o->end_s > 0 ? (int64_t)fmin(floor(o->end_s * head->fps), (double)total - 1) : total - 1;
    if (d->last - d->first < 1) {
        return tr_fail(err, TR_INVALID, d->request->path,
                       "the part from %g s to %g s has fewer than 2 of the clip's "
                       "%lld frames (%g s)",
                       o->start_s, o->end_s > 0 ? o->end_s : head->duration_s, (long long)total, head->duration_s);
    }
    TR_TRY(
        tr_video_frame_count(d->last - d->first + 1, head->fps, o->fps, o->min_frames, o->max_frames, &count, err));
    head->count = count;
    head->source_height = d->turn % 180 ? width : height;
    head->source_width = d->turn % 180 ? height : width;
    head->height = head->source_height;
    head->width = head->source_width;
    if (!o->original_size) {
        TR_TRY(tr_video_frame_size(head->source_height, head->source_width, count, o->total_pixels, o->min_pixels,
                                   &head->height, &head->width, err));
    }
    head->bytes = tr_wire_bytes(count, head->height, head->width);
    if (d->map) {
        munmap(d->map, (size_t)((tr_wire_reply *)(void *)d->map)->bytes);
        d->map = NULL;
    }
    void *map = MAP_FAILED;
    if (head->bytes && !ftruncate(d->output, 0) && !ftruncate(d->output, (off_t)head->bytes)) {
        map = mmap(NULL, head->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, d->output, 0);
    }
    if (map == MAP_FAILED) {
        return tr_fail(err, TR_MEMORY, d->request->path, "no memory for %d frames of %dx%d", count, head->width,
                       head->height);
    }
    d->map = map;
    memcpy(d->map, head, sizeof *head);
    d->frames = (int64_t *)(void *)(d->map + sizeof *head);
    d->pts_s = (double *)(void *)(d->frames + count);
    tr_video_frame_indices(d->first, d->last, count, d->frames);
done:
    if (status != TR_OK) {
        tr_fail_where(err, status, "%s", d->request->path);
    }
    return status;
}

/* frame, turned as its file says, in its own pixel format (planar or packed alike: whole pixels of a plane move).
 */
static tr_status turn_frame(decoder *d, const AVFrame *frame, tr_error *err)
{
    const AVPixFmtDescriptor *format = av_pix_fmt_desc_get(frame->format);
    AVFrame *out = d->turned;
    int swap = d->turn % 180 != 0;
    av_frame_unref(out);
    out->format = frame->format;
    out->width = swap ? frame->height : frame->width;
    out->height = swap ? frame->width : frame->height;
    if (!format || (swap && format->log2_chroma_w != format->log2_chroma_h) || av_frame_get_buffer(out, 0) < 0 ||
        av_frame_copy_props(out, frame) < 0) {
        return tr_fail(err, TR_UNSUPPORTED, d->request->path, "cannot turn frames of pixel format %s by %d degrees",
                       format ? format->name : "unknown", d->turn);
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
                int from_y = d->turn == 90 ? w - 1 - x : d->turn == 180 ? h - 1 - y : x;
                int from_x = d->turn == 90 ? y : d->turn == 180 ? w - 1 - x : h - 1 - y;
                memcpy(out->data[p] + (ptrdiff_t)y * out->linesize[p] + (size_t)x * step,
                       frame->data[p] + (ptrdiff_t)from_y * frame->linesize[p] + (size_t)from_x * step, step);
            }
        }
    }
    return TR_OK;
}

/* frame as packed RGB in d->rgb, with the options of the ffmpeg program's own conversion. */
static tr_status to_rgb(decoder *d, const AVFrame *frame, tr_error *err)
{
    const AVPixFmtDescriptor *format = av_pix_fmt_desc_get(frame->format);
    int result, *inverse, *table, in_full, out_full, brightness, contrast, saturation;
    sws_freeContext(d->scaler);
    if (!(d->scaler = sws_alloc_context())) {
        return tr_fail(err, TR_MEMORY, d->request->path, "no memory for the conversion to RGB");
    }
    av_opt_set_int(d->scaler, "srcw", frame->width, 0);
    av_opt_set_int(d->scaler, "srch", frame->height, 0);
    av_opt_set_int(d->scaler, "src_format", frame->format, 0);
    av_opt_set_int(d->scaler, "dstw", frame->width, 0);
    av_opt_set_int(d->scaler, "dsth", frame->height, 0);
    av_opt_set_int(d->scaler, "dst_format", AV_PIX_FMT_RGB24, 0);
    av_opt_set_int(d->scaler, "sws_flags", SWS_BICUBIC, 0);
    if (format && format->log2_chroma_w == 1 && format->log2_chroma_h == 1) {
        av_opt_set_int(d->scaler, "src_v_chr_pos", 128, 0);
    }
    if ((result = sws_init_context(d->scaler, NULL, NULL)) < 0) {
        return av_fail(err, TR_UNSUPPORTED, d, result, "cannot convert its frames to RGB");
    }
    if (sws_getColorspaceDetails(d->scaler, &inverse, &in_full, &table, &out_full, &brightness, &contrast,
                                 &saturation) >= 0) {
        const int *own = sws_getCoefficients(frame->colorspace);
        in_full = frame->color_range == AVCOL_RANGE_UNSPECIFIED ? in_full : frame->color_range == AVCOL_RANGE_JPEG;
        sws_setColorspaceDetails(d->scaler, own, in_full, own, out_full, brightness, contrast, saturation);
    }
    if (d->rgb->width != frame->width || d->rgb->height != frame->height) {
        av_frame_unref(d->rgb);
        d->rgb->format = AV_PIX_FMT_RGB24;
        d->rgb->width = frame->width;
        d->rgb->height = frame->height;
        if ((result = av_frame_get_buffer(d->rgb, 0)) < 0) {
            return av_fail(err, TR_MEMORY, d, result, "no memory for a frame");
        }
    }
    sws_scale(d->scaler, (const uint8_t *const *)frame->data, frame->linesize, 0, frame->height, d->rgb->data,
              d->rgb->linesize);
    return TR_OK;
}

/* Takes the frame in d->frame, as often as it was chosen (f32 indices of long clips may repeat). */
static tr_status take(decoder *d, tr_error *err)
{
    tr_status status = TR_OK;
    int64_t index = d->seen++;
    if (d->next >= d->head.count || d->frames[d->next] != index) {
        return TR_OK;
    }
    if (d->turn) {
        TR_TRY(turn_frame(d, d->frame, err));
    }
    TR_TRY(to_rgb(d, d->turn ? d->turned : d->frame, err));
    size_t bytes = 3 * (size_t)d->head.height * (size_t)d->head.width;
    int64_t pts = d->frame->best_effort_timestamp;
    for (; d->next < d->head.count && d->frames[d->next] == index; d->next++) {
        uint8_t *to = (uint8_t *)(d->pts_s + d->head.count) + (size_t)d->next * bytes;
        d->pts_s[d->next] = pts == AV_NOPTS_VALUE ? d->head.start_s + (double)index / d->head.fps
                                                  : (double)pts * av_q2d(d->stream->time_base);
        TR_TRY(tr_video_resize(d->rgb->data[0], d->rgb->height, d->rgb->width, d->rgb->linesize[0], to,
                               d->head.height, d->head.width, err));
    }
done:
    return status;
}

static tr_status receive(decoder *d, tr_error *err)
{
    tr_status status = TR_OK;
    while (status == TR_OK && avcodec_receive_frame(d->codec, d->frame) >= 0) {
        status = take(d, err);
        av_frame_unref(d->frame);
    }
    return status;
}

/* Decodes to the last chosen frame, or to the end when the whole clip is taken (then d->seen is the true count). */
static tr_status decode_all(decoder *d, tr_error *err)
{
    tr_status status = TR_OK;
    int whole = d->last == d->head.total_frames - 1;
    d->seen = 0;
    d->next = 0;
    while ((whole || d->next < d->head.count) && av_read_frame(d->format, d->packet) >= 0) {
        if (d->packet->stream_index == d->stream->index) {
            if (avcodec_send_packet(d->codec, d->packet) == AVERROR(EAGAIN)) {
                TR_TRY(receive(d, err));
                avcodec_send_packet(d->codec, d->packet); /* damaged packets are passed over, as ffmpeg does */
            }
            TR_TRY(receive(d, err));
        }
        av_packet_unref(d->packet);
    }
    avcodec_send_packet(d->codec, NULL);
    TR_TRY(receive(d, err));
done:
    av_packet_unref(d->packet);
    return status;
}

uint64_t tr_wire_bytes(int count, int height, int width)
{
    size_t pixels, bytes;
    if (count < 1 || height < 1 || width < 1 || !tr_size_mul((size_t)height * 3, (size_t)width, &pixels) ||
        !tr_size_mul(pixels + 16, (size_t)count, &bytes) || bytes > SIZE_MAX / 4) {
        return 0;
    }
    return bytes + sizeof(tr_wire_reply);
}

tr_status tr_video_decode(const tr_wire_request *request, int descriptor, tr_error *err)
{
    tr_status status = TR_OK;
    decoder d = {.request = request, .output = descriptor};
    TR_TRY(decoder_open(&d, err));
    int64_t total = count_packets(&d);
    for (int attempt = 0; attempt < 2; attempt++) {
        decoder_close(&d);
        TR_TRY(decoder_open(&d, err));
        TR_TRY(choose(&d, total, err));
        TR_TRY(decode_all(&d, err));
        if (d.next == d.head.count && (d.last < total - 1 || d.seen == total)) {
            goto done;
        }
        if (d.seen == total || attempt) {
            break;
        }
        total = d.seen;
    }
    status = tr_fail(err, TR_FORMAT, request->path, "only %d of the %d chosen frames decode", d.next, d.head.count);
done:
    if (d.map) {
        munmap(d.map, (size_t)((tr_wire_reply *)(void *)d.map)->bytes);
    }
    decoder_close(&d);
    return status;
}
