/* check_video.c: the part of the audit that opens videos: what decodes, how long it really is, which files are
 * equal.
 *
 * Every video is decoded once by the supervised decoder process, several at a time; the findings come afterwards in
 * the order of the rows, so that they do not depend on the number of processes. */
#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/random.h"
#include "corpus/check_parts.h"
#include "video/clip.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const double quick_s = 2; /* what the quick look decodes */

static void open_video(const tr_check_options *options, check_video *video)
{
    tr_error err = {0};
    tr_clip *clip = NULL;
    struct stat info;
    /* Two small frames: the first and the last, so that everything between them is decoded too. */
    tr_video_options o = {.fps = 1,
                          .min_frames = 2,
                          .max_frames = 2,
                          .total_pixels = 1568,
                          .min_pixels = 784,
                          .end_s = options->quick ? quick_s : 0,
                          .time_limit_s = options->time_limit_s,
                          .memory_limit_bytes = tr_video_options_default().memory_limit_bytes};
    video->bytes = stat(video->path, &info) ? -1 : (int64_t)info.st_size;
    video->status = tr_clip_open(video->path, &o, NULL, &clip, &err);
    if (video->status == TR_INVALID && options->quick) { /* fewer than two frames in the first seconds */
        o.end_s = 0;
        video->status = tr_clip_open(video->path, &o, NULL, &clip, &err);
    }
    if (video->status) {
        snprintf(video->message, sizeof video->message, "%s", err.message);
    } else {
        video->duration_s = clip->duration_s;
        video->fps = clip->fps;
        video->frames = clip->total_frames;
    }
    tr_clip_free(clip);
}

typedef struct file_entry {
    check_video *video;
    size_t number; /* of the video */
} file_entry;

static int compare_sizes(const void *a, const void *b)
{
    const check_video *x = ((const file_entry *)a)->video, *y = ((const file_entry *)b)->video;
    int c = (x->bytes > y->bytes) - (x->bytes < y->bytes);
    c = c ? c : (x->hash > y->hash) - (x->hash < y->hash);
    return c ? c : strcmp(x->path, y->path);
}

static void hash_file(check_video *video)
{
    tr_file_map map;
    if (tr_file_map_open(&map, video->path, NULL) == TR_OK) {
        video->hash = tr_hash(map.data, map.size);
        video->hashed = true;
        tr_file_map_close(&map);
    }
}

/* The split of the first row that has a video. */
static const char *split_of(const check_audit *audit, size_t video)
{
    for (size_t i = 0; i < audit->row_count; i++) {
        if (audit->rows[i].video == video) {
            return audit->splits.items[audit->rows[i].split];
        }
    }
    return "";
}

/* Files of equal size are hashed; equal hashes are one file under two names. */
static tr_status find_same_files(check_audit *audit, tr_error *err)
{
    size_t count = audit->videos.count, found = 0;
    tr_status status = TR_OK;
    file_entry *list = tr_calloc(count, sizeof *list);
    if (!list) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for %zu videos", count);
    }
    for (size_t i = 0; i < count; i++) {
        if (audit->files[i].bytes > 0) {
            list[found++] = (file_entry){&audit->files[i], i};
        }
    }
    if (found) {
        qsort(list, found, sizeof *list, compare_sizes);
    }
    for (size_t i = 0; i < found; i++) {
        int64_t bytes = list[i].video->bytes;
        if ((i && list[i - 1].video->bytes == bytes) || (i + 1 < found && list[i + 1].video->bytes == bytes)) {
            hash_file(list[i].video);
        }
    }
    if (found) {
        qsort(list, found, sizeof *list, compare_sizes);
    }
    for (size_t i = 1; !status && i < found; i++) {
        const check_video *a = list[i - 1].video, *b = list[i].video;
        if (a->hashed && b->hashed && a->bytes == b->bytes && a->hash == b->hash && strcmp(a->path, b->path) != 0) {
            status =
                check_find(audit, TR_CHECK_SAME_FILE, NULL, err, "%s (%s) and %s (%s) hold the same bytes", a->path,
                           split_of(audit, list[i - 1].number), b->path, split_of(audit, list[i].number));
        }
    }
    free(list);
    return status;
}

double check_duration(const check_audit *audit, const check_row *row)
{
    const check_video *video = audit->files ? &audit->files[row->video] : NULL;
    bool part = row->clip_s[1] >= 0;
    if (video && !video->status) {
        double from = part ? row->clip_s[0] : 0,
               to = part ? fmin(row->clip_s[1], video->duration_s) : video->duration_s;
        return to - from;
    }
    return row->duration_s > 0 ? row->duration_s : part ? row->clip_s[1] - row->clip_s[0] : -1;
}

/* What a row says against what its container holds. */
static tr_status compare_row(check_audit *audit, const check_row *row, tr_error *err)
{
    const check_video *video = &audit->files[row->video];
    double slack = audit->options->tolerance_s, real = check_duration(audit, row), last = 0;
    tr_status status = TR_OK;
    if (row->clip_s[1] > video->duration_s + slack) {
        return check_find(audit, TR_CHECK_CLIP_OUTSIDE, row, err, "the part [%g, %g] s of a video of %.3f s",
                          row->clip_s[0], row->clip_s[1], video->duration_s);
    }
    if (row->duration_s > 0 && fabs(row->duration_s - real) > slack) {
        status = check_find(audit, TR_CHECK_WRONG_DURATION, row, err, "says %.3f s, the container holds %.3f s",
                            row->duration_s, real);
    }
    for (size_t i = 0; i < row->segment_count; i++) {
        last = fmax(last, audit->segments[row->segment_at + i].end_s);
    }
    if (!status && last > real + slack) {
        status = check_find(audit, TR_CHECK_PAST_END, row, err, "a truth ends at %.3f s, the clip at %.3f s", last,
                            real);
    }
    return status;
}

tr_status check_videos(check_audit *audit, tr_error *err)
{
    tr_status status = TR_OK;
    int64_t count = (int64_t)audit->videos.count, done_count = 0;
    tr_progress progress;
    if (audit->options->jobs < 1) {
        return tr_fail(err, TR_INVALID, "jobs", "must be at least 1, found %lld", (long long)audit->options->jobs);
    }
    if (!(audit->files = tr_calloc((size_t)count, sizeof *audit->files))) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for %lld videos", (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        if (!(audit->files[i].path = tr_path_join(audit->options->videos, audit->videos.items[i]))) {
            return tr_fail(err, TR_MEMORY, NULL, "no memory for %lld videos", (long long)count);
        }
    }
    tr_progress_begin(&progress, "videos", count);
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)audit->options->jobs)
    for (int64_t i = 0; i < count; i++) {
        open_video(audit->options, &audit->files[i]);
#pragma omp critical(check_videos_progress)
        tr_progress_update(&progress, ++done_count, NULL);
    }
    tr_progress_end(&progress, NULL);
    for (int64_t i = 0; i < count; i++) {
        const check_video *video = &audit->files[i];
        if (video->status) {
            tr_check_kind kind = video->status == TR_NOT_FOUND ? TR_CHECK_MISSING_VIDEO : TR_CHECK_BROKEN_VIDEO;
            TR_TRY(check_find(audit, kind, NULL, err, "%s: %s", audit->videos.items[i], video->message));
        }
    }
    TR_TRY(find_same_files(audit, err));
    for (size_t i = 0; i < audit->row_count; i++) {
        if (!audit->files[audit->rows[i].video].status) {
            TR_TRY(compare_row(audit, &audit->rows[i], err));
        }
    }
done:
    return status;
}
