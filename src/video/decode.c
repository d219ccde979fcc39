/* decode.c: runs in the decoder process only: finds the frames, decodes them, brings them to size.
 *
 * Frames are counted and numbered in the order shown. A scan of the packets gives the count; when the decoder then
 * yields another number (fields in packets of their own, packets that show nothing), its number counts and the
 * choice is made again. RGB is what the ffmpeg program writes for -pix_fmt rgb24, rotation included.
 *
 * Three ways, each the fallback of the one before: PLANNED decodes only what the chosen frames need (plan.h), where
 * the file allows to know that; WHOLE decodes from the first packet; STEADY does so with a fixed number of threads,
 * because what libavcodec puts in the place of damaged parts depends on their number.
 */
#include "video/convert.h"
#include "video/plan.h"
#include "video/resize.h"
#include "video/sample.h"
#include "video/wire.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/cpu.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { STEADY_THREADS = 3, ERRORS_MOST = 100 }; /* what the ffmpeg program takes on two cores; at the end */
typedef enum decode_way { PLANNED, WHOLE, STEADY } decode_way;

typedef struct decoder {
    const tr_wire_request *request;
    decode_way way;
    AVFormatContext *format;
    AVCodecContext *codec;
    AVStream *stream;
    AVFrame *frame;
    AVPacket *packet;
    tr_video_converter converter;
    tr_video_resizer *resizer;
    tr_video_turn turn;
    tr_wire_reply head;
    tr_video_plan plan;
    int64_t first_dts; /* of the first packet */
    int64_t latest;    /* presentation time among the packets */
    int64_t *frames, seen, first, last;
    int64_t ticks; /* presentation time of the frame before */
    double *pts_s;
    int next;        /* of frames[] */
    int64_t restart; /* time of the key frame that the decoder has started anew with, until it comes out */
    bool cut;        /* packets are not whole: how many frames they make, only the decoder tells */
    bool doubtful;   /* the plan and what the decoder gives do not agree */
    int output;      /* descriptor */
    uint8_t *map;    /* the reply */
} decoder;

static atomic_bool damaged; /* the decoder has reported an error */
static atomic_bool starved; /* it has asked for a frame in vain, and may call that damage */

/* Nothing is printed; errors of decoders are remembered. */
static void note_errors(void *object, int level, const char *format, va_list arguments)
{
    (void)format;
    (void)arguments;
    const AVClass *class = object ? *(const AVClass *const *)object : NULL;
    if (level <= AV_LOG_ERROR && class && class->get_category &&
        class->get_category(object) == AV_CLASS_CATEGORY_DECODER) {
        atomic_store(&damaged, true);
    }
}

static tr_status av_fail(tr_error *err, tr_status code, const decoder *d, int result, const char *what)
{
    char reason[128] = "";
    av_strerror(result, reason, sizeof reason);
    return tr_fail(err, code, d->request->path, "%s: %s", what, reason);
}

static int get_buffer(AVCodecContext *codec, AVFrame *frame, int flags)
{
    int result = avcodec_default_get_buffer2(codec, frame, flags);
    if (result == AVERROR(ENOMEM)) {
        atomic_store(&starved, true);
    }
    return result;
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
    d->turn = tr_video_turn_of(
        (const int32_t *)(const void *)av_stream_get_side_data(d->stream, AV_PKT_DATA_DISPLAYMATRIX, NULL));
    d->frame = av_frame_alloc();
    d->packet = av_packet_alloc();
    d->codec = avcodec_alloc_context3(codec);
    if (!d->frame || !d->packet || !d->codec || avcodec_parameters_to_context(d->codec, d->stream->codecpar) < 0) {
        return tr_fail(err, TR_MEMORY, d->request->path, "no memory for its decoder");
    }
    d->codec->get_buffer2 = get_buffer;
#if LIBAVCODEC_VERSION_MAJOR < 60 /* later ones take that for granted */
    AV_NOWARN_DEPRECATED(d->codec->thread_safe_callbacks = 1;)
#endif
    d->codec->pkt_timebase = d->stream->time_base;
    d->codec->thread_count = d->way == STEADY ? STEADY_THREADS : 0;
    if ((result = avcodec_open2(d->codec, codec, NULL)) < 0) {
        return av_fail(err, TR_UNSUPPORTED, d, result, "cannot start its decoder");
    }
    return TR_OK;
}

static void decoder_close(decoder *d)
{
    tr_video_converter_free(&d->converter);
    tr_video_resizer_free(d->resizer);
    d->resizer = NULL;
    av_frame_free(&d->frame);
    av_packet_free(&d->packet);
    avcodec_free_context(&d->codec);
    avformat_close_input(&d->format);
}

/* Notes every packet; *total is how many show a frame. */
static tr_status scan(decoder *d, int64_t *total, tr_error *err)
{
    tr_status status = TR_OK;
    *total = 0;
    while (status == TR_OK && av_read_frame(d->format, d->packet) >= 0) {
        if (d->packet->stream_index == d->stream->index) {
            bool shown = !(d->packet->flags & AV_PKT_FLAG_DISCARD);
            d->first_dts = d->plan.count ? d->first_dts : d->packet->dts;
            d->latest = shown && d->packet->pts > d->latest ? d->packet->pts : d->latest;
            d->cut |= (d->packet->flags & AV_PKT_FLAG_CORRUPT) != 0;
            *total += shown;
            status = tr_video_plan_add(&d->plan, d->packet->pts, shown, d->packet->flags & AV_PKT_FLAG_KEY, err);
        }
        av_packet_unref(d->packet);
    }
    return status;
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
    if (d->latest != AV_NOPTS_VALUE &&
        head->fps > 0) { /* a late start, a pause that the average does not know of */
        double end_s = (double)d->latest * av_q2d(d->stream->time_base) + 1 / head->fps - head->start_s;
        head->duration_s = end_s > head->duration_s + 1 / head->fps ? end_s : head->duration_s;
    }
    if (total < 2) {
        return tr_fail(err, TR_FORMAT, d->request->path, "a clip needs at least 2 frames, found %lld that decode",
                       (long long)total);
    }
    d->first = (int64_t)ceil(fmax(o->start_s, 0) * head->fps);
    d->last = o->end_s > 0 ? (int64_t)fmin(floor(o->end_s * head->fps), (double)total - 1) : total - 1;
    if (d->last - d->first < 1) {
        return tr_fail(err, TR_INVALID, d->request->path,
                       "the part from %g s to %g s has fewer than 2 of the clip's %lld frames (%g s)", o->start_s,
                       o->end_s > 0 ? o->end_s : head->duration_s, (long long)total, head->duration_s);
    }
    TR_TRY(
        tr_video_frame_count(d->last - d->first + 1, head->fps, o->fps, o->min_frames, o->max_frames, &count, err));
    head->count = count;
    head->source_height = d->turn.swap ? width : height;
    head->source_width = d->turn.swap ? height : width;
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

/* Takes the frame in d->frame, as often as it was chosen (f32 indices of long clips may repeat). */
static tr_status take_as(decoder *d, int64_t index, double pts_s, tr_error *err)
{
    tr_status status = TR_OK;
    const tr_wire_reply *head = &d->head;
    d->converter.turn = d->turn;
    d->converter.height = head->source_height;
    d->converter.width = head->source_width;
    TR_TRY(tr_video_convert(&d->converter, d->frame, err));
    if (!d->resizer) {
        TR_TRY(tr_video_resizer_make(&d->resizer, head->source_height, head->source_width, head->height,
                                     head->width, err));
    }
    size_t bytes = 3 * (size_t)head->height * (size_t)head->width;
    for (; d->next < head->count && d->frames[d->next] == index; d->next++) {
        uint8_t *to = (uint8_t *)(d->pts_s + head->count) + (size_t)d->next * bytes;
        d->pts_s[d->next] = pts_s;
        tr_video_resizer_run(d->resizer, d->converter.rgb->data[0], d->converter.rgb->linesize[0], to);
    }
done:
    return status == TR_OK ? TR_OK : tr_fail_where(err, status, "%s", d->request->path);
}

/* A frame of a whole decoding: its number is its place. Times that the file leaves out follow the one before; those
 * before the first that it gives precede that one. */
static tr_status take_next(decoder *d, tr_error *err)
{
    int64_t index = d->seen++, pts = d->frame->best_effort_timestamp;
    double base = av_q2d(d->stream->time_base);
    if (pts == AV_NOPTS_VALUE && d->ticks != AV_NOPTS_VALUE) {
        pts = d->ticks + (int64_t)round(1 / (d->head.fps * base));
    }
    for (int i = 0; i < d->next && pts != AV_NOPTS_VALUE && d->ticks == AV_NOPTS_VALUE; i++) {
        d->pts_s[i] = (double)pts * base - (double)(index - d->frames[i]) / d->head.fps;
    }
    d->ticks = pts;
    if (d->next >= d->head.count || d->frames[d->next] != index) {
        return TR_OK;
    }
    return take_as(d, index,
                   pts == AV_NOPTS_VALUE ? d->head.start_s + (double)index / d->head.fps : (double)pts * base, err);
}

/* A frame of a planned decoding: its number comes from its time. */
static tr_status take_planned(decoder *d, tr_error *err)
{
    if (d->next >= d->head.count || d->doubtful) {
        return TR_OK;
    }
    int64_t index = d->frames[d->next], wanted = tr_video_plan_pts(&d->plan, index);
    d->doubtful = d->frame->pts == AV_NOPTS_VALUE || d->frame->pts > wanted || d->frame->pts <= d->ticks;
    d->ticks = d->frame->pts;
    if (d->restart != AV_NOPTS_VALUE) { /* a point of gradual recovery is no key frame, whatever the file says */
        d->doubtful |= d->frame->pts != d->restart || d->frame->pict_type != AV_PICTURE_TYPE_I;
        d->restart = AV_NOPTS_VALUE;
    }
    return d->frame->pts == wanted && !d->doubtful
               ? take_as(d, index, (double)wanted * av_q2d(d->stream->time_base), err)
               : TR_OK;
}

/* Damaged packets are passed over, but frames that memory does not suffice for are not missing from the file. */
static tr_status enough(const decoder *d, int result, tr_error *err)
{
    if (result != AVERROR(ENOMEM) && !atomic_load(&starved)) {
        return TR_OK;
    }
    return tr_fail(err, TR_MEMORY, d->request->path,
                   "no memory to decode its frames of %dx%d within the limit of %lld bytes", d->codec->width,
                   d->codec->height, (long long)d->request->options.memory_limit_bytes);
}

/* Takes what the decoder gives. At the end a packet that it cannot decode is followed by the frames of its other
 * threads. */
static tr_status receive(decoder *d, bool end, tr_error *err)
{
    tr_status status = TR_OK;
    for (int errors = 0; status == TR_OK && errors < ERRORS_MOST;) {
        int result = avcodec_receive_frame(d->codec, d->frame);
        if (result >= 0) {
            status = d->way == PLANNED ? take_planned(d, err) : take_next(d, err);
            av_frame_unref(d->frame);
            continue;
        }
        status = enough(d, result, err);
        errors += end && result != AVERROR_EOF && result != AVERROR(EAGAIN) ? 1 : ERRORS_MOST;
    }
    return status;
}

/* Hands the packet (NULL: the end) to the decoder and takes what it gives. */
static tr_status feed(decoder *d, AVPacket *packet, tr_error *err)
{
    tr_status status = TR_OK;
    int result = avcodec_send_packet(d->codec, packet);
    if (result == AVERROR(EAGAIN)) {
        TR_TRY(receive(d, !packet, err));
        result = avcodec_send_packet(d->codec, packet);
    }
    TR_TRY(enough(d, result, err));
    TR_TRY(receive(d, !packet, err));
done:
    return status;
}

/* Decodes to the last chosen frame, or to the end when the whole clip is taken (then d->seen is the true count). */
static tr_status decode_whole(decoder *d, tr_error *err)
{
    tr_status status = TR_OK;
    int whole = d->last == d->head.total_frames - 1;
    while ((whole || d->next < d->head.count) && av_read_frame(d->format, d->packet) >= 0) {
        if (d->packet->stream_index == d->stream->index) {
            TR_TRY(feed(d, d->packet, err));
        }
        av_packet_unref(d->packet);
    }
    TR_TRY(feed(d, NULL, err));
done:
    av_packet_unref(d->packet);
    return status;
}

/* Decodes the packets that the plan marks. Frames that no other needs are left out unless chosen. */
static tr_status decode_planned(decoder *d, tr_error *err)
{
    tr_status status = TR_OK;
    const tr_video_plan *plan = &d->plan;
    bool fresh = true;
    for (size_t i = 0; i < plan->end && !d->doubtful && av_read_frame(d->format, d->packet) >= 0;) {
        if (d->packet->stream_index == d->stream->index) {
            const tr_plan_packet *note = &plan->packets[i++];
            d->doubtful |= note->pts != d->packet->pts;
            if (note->jump && !fresh) {
                TR_TRY(feed(d, NULL, err));
                avcodec_flush_buffers(d->codec);
            }
            d->restart = note->jump ? note->pts : d->restart;
            if (note->send) {
                fresh = false;
                d->codec->skip_frame = note->chosen ? AVDISCARD_DEFAULT : AVDISCARD_NONREF;
                TR_TRY(feed(d, d->packet, err));
            }
        }
        av_packet_unref(d->packet);
    }
    TR_TRY(feed(d, NULL, err));
done:
    av_packet_unref(d->packet);
    return status;
}

/* Whether less is left under the memory limit than a frame or two of the decoder's take: what it has called damage
 * may then be memory that it did not get. */
static bool is_short_of_memory(const decoder *d)
{
    size_t bytes = ((size_t)16 << 20) + (size_t)d->codec->coded_width * (size_t)d->codec->coded_height * 12;
    void *rest = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return rest == MAP_FAILED || munmap(rest, bytes);
}

/* One attempt in d->way; *held tells whether its frames stand. */
static tr_status attempt(decoder *d, int64_t total, bool *held, tr_error *err)
{
    tr_status status = TR_OK;
    *held = false;
    if (d->way != PLANNED || d->first_dts == AV_NOPTS_VALUE ||
        av_seek_frame(d->format, d->stream->index, d->first_dts, AVSEEK_FLAG_BACKWARD) < 0) {
        decoder_close(d); /* a plan is held against every packet's time, so it may go back without opening again */
        TR_TRY(decoder_open(d, err));
    }
    TR_TRY(choose(d, total, err));
    d->seen = 0;
    d->next = 0;
    d->ticks = AV_NOPTS_VALUE;
    d->restart = AV_NOPTS_VALUE;
    d->doubtful = false;
    atomic_store(&damaged, false);
    atomic_store(&starved, false);
    if (d->way == PLANNED) {
        TR_TRY(tr_video_plan_make(&d->plan, d->frames, d->head.count, err));
        TR_TRY(decode_planned(d, err));
        *held = d->next == d->head.count && !d->doubtful && !atomic_load(&damaged);
    } else {
        TR_TRY(decode_whole(d, err));
        *held = d->next == d->head.count && (d->last < total - 1 || d->seen == total);
    }
    if (atomic_load(&damaged) && is_short_of_memory(d)) {
        status = enough(d, AVERROR(ENOMEM), err);
    }
done:
    return status;
}

/* Whether a packet is a frame, so that the scan tells everything: then a plan can be made. Times in the file's
 * order, where the stream says that it is shown in another one, are not those of the packets' own frames. */
static bool plannable(decoder *d)
{
    enum AVCodecID id = d->stream->codecpar->codec_id;
    const char *format = d->format->iformat->name;
    return !d->cut && (strstr(format, "mp4") || strstr(format, "matroska")) &&
           (id == AV_CODEC_ID_H264 || id == AV_CODEC_ID_HEVC || id == AV_CODEC_ID_VP9 || id == AV_CODEC_ID_AV1) &&
           (!d->stream->codecpar->video_delay || tr_video_plan_reorders(&d->plan)) && tr_video_plan_holds(&d->plan);
}

tr_status tr_video_decode(const tr_wire_request *request, int descriptor, tr_error *err)
{
    tr_status status = TR_OK;
    decoder d = {.request = request, .output = descriptor, .latest = AV_NOPTS_VALUE};
    int64_t total;
    bool held = false, recounted = false;
    av_log_set_callback(note_errors);
    TR_TRY(decoder_open(&d, err));
    TR_TRY(scan(&d, &total, err));
    d.way = plannable(&d) ? PLANNED : WHOLE;
    for (;;) {
        TR_TRY(attempt(&d, total, &held, err));
        if (d.way == PLANNED && !held) {
            d.way = WHOLE;
        } else if (d.way == WHOLE && atomic_load(&damaged) && av_cpu_count() + 1 != STEADY_THREADS) {
            d.way = STEADY;
        } else if (held) {
            goto done;
        } else if (d.seen == total || recounted) {
            break;
        } else {
            total = d.seen;
            recounted = true;
        }
    }
    status = tr_fail(err, TR_FORMAT, request->path, "only %d of the %d chosen frames decode", d.next, d.head.count);
done:
    if (d.map) {
        munmap(d.map, (size_t)((tr_wire_reply *)(void *)d.map)->bytes);
    }
    tr_video_plan_free(&d.plan);
    decoder_close(&d);
    return status;
}
