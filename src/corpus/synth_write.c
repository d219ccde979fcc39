/* synth_write.c: the files of the synthetic corpus: H.264 clips and rows. */
#include "corpus/synth.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "corpus/rows.h"
#include "corpus/synth_rows.h"
#include "task/reward.h"
#include "video/encode.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *describe(const tr_synth_options *o)
{
    return json_pack("{s:I, s:[I, I, I], s:I, s:f, s:[f, f], s:[I, I], s:f, s:f, s:b, s:b, s:b, s:f, s:s}", "seed",
                     (json_int_t)o->seed, "clips", (json_int_t)o->clips[0], (json_int_t)o->clips[1],
                     (json_int_t)o->clips[2], "size", (json_int_t)o->size, "fps", o->fps, "duration_s",
                     o->min_duration_s, o->max_duration_s, "events", (json_int_t)o->min_events,
                     (json_int_t)o->max_events, "min_event_s", o->min_event_s, "snap_s", o->snap_s, "overlap",
                     o->overlap, "distinct_colours", o->distinct_colours, "clock", o->clock, "noise", o->noise,
                     "tasks", o->tasks);
}

/* Each name between commas must be a task; an empty list would make clips without a row. */
static tr_status check_tasks(const char *list, tr_error *err)
{
    for (const char *at = list;; at++) {
        size_t length = strcspn(at, ",");
        char name[16];
        tr_task task;
        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), at);
        tr_status status = tr_task_from_name(name, &task, err);
        if (status) {
            tr_fail_where(err, status, "tasks");
            return status;
        }
        at += length;
        if (!*at) {
            return TR_OK;
        }
    }
}

static tr_status check_options(const tr_synth_options *o, tr_error *err)
{
    tr_status status = check_tasks(o->tasks, err);
    if (status) {
        return status;
    }
    if (o->size < 28 || o->size > 2048 || o->size % 2) {
        return tr_fail(err, TR_INVALID, "size", "must be an even number of 28 to 2048 pixels, found %lld",
                       (long long)o->size);
    }
    if (!(o->fps >= 2 && o->fps <= 60) || !(o->snap_s > 0) || !(o->min_event_s > 0)) {
        return tr_fail(err, TR_INVALID, "fps, snap, min-event",
                       "fps must lie in 2 to 60, snap and min-event above 0 s");
    }
    if (!(o->min_duration_s >= 2 && o->min_duration_s <= o->max_duration_s && o->max_duration_s <= 3600) ||
        o->min_event_s * 2 > o->min_duration_s) {
        return tr_fail(
            err, TR_INVALID, "duration",
            "needs 2 <= min <= max <= 3600 s and clips of at least two shortest events, found %g to %g s",
            o->min_duration_s, o->max_duration_s);
    }
    if (o->distinct_colours && o->max_events > TR_SYNTH_COLOURS) {
        return tr_fail(err, TR_INVALID, "events", "at most %d events of distinct colours fit in a clip, found %lld",
                       TR_SYNTH_COLOURS, (long long)o->max_events);
    }
    if (o->min_events < 1 || o->min_events > o->max_events || o->max_events > TR_SYNTH_EVENTS) {
        return tr_fail(err, TR_INVALID, "events", "needs 1 <= min <= max <= %d, found %lld to %lld",
                       TR_SYNTH_EVENTS, (long long)o->min_events, (long long)o->max_events);
    }
    for (int split = 0; split < 3; split++) {
        if (o->clips[split] < 0 || o->clips[split] >= 1 << 28) {
            return tr_fail(err, TR_INVALID, "clips", "needs 0 to 2^28 clips a split, found %lld",
                           (long long)o->clips[split]);
        }
    }
    return TR_OK;
}

static tr_status write_clip(const tr_synth_options *o, const tr_synth_scene *scene, int split, int64_t clip,
                            const char *path, uint8_t *rgb, tr_error *err)
{
    tr_video_writer *writer = NULL;
    int fps_thousandths = (int)lround(o->fps * 1000);
    tr_video_writer_options options;
    tr_video_writer_defaults(&options);
    tr_status status =
        tr_video_writer_open(path, (int)o->size, (int)o->size, fps_thousandths, 1000, &options, &writer, err);
    long frames = lround(scene->duration_s * o->fps);
    for (long f = 0; !status && f < frames; f++) {
        tr_synth_frame(o, scene, split, clip, (double)f / o->fps, rgb);
        status = tr_video_writer_add(writer, rgb, err);
    }
    if (status) {
        tr_video_writer_abandon(writer);
        return status;
    }
    return tr_video_writer_close(writer, err);
}

static tr_status write_rows(const char *out, int split, const json_t *rows, tr_error *err)
{
    char *path = tr_format("%s/%s.jsonl", out, tr_synth_splits[split]);
    tr_file_writer writer;
    tr_status status =
        path ? tr_file_writer_open(&writer, path, err) : tr_fail(err, TR_MEMORY, out, "out of memory");
    if (!status) {
        for (size_t i = 0; !status && i < json_array_size(rows); i++) {
            status = tr_row_write(writer.stream, json_array_get(rows, i), err);
        }
        if (status) {
            tr_file_writer_abandon(&writer);
        } else {
            status = tr_file_writer_commit(&writer, err);
        }
    }
    free(path);
    return status;
}

static tr_status write_split(const tr_synth_options *o, const char *out, int split, tr_progress *progress,
                             int64_t *done, tr_error *err)
{
    json_t *rows = json_array();
    uint8_t *rgb = tr_calloc((size_t)(o->size * o->size), 3);
    tr_status status = rows && rgb ? TR_OK : tr_fail(err, TR_MEMORY, out, "out of memory");
    for (int64_t clip = 0; !status && clip < o->clips[split]; clip++) {
        tr_synth_scene scene;
        tr_synth_scene_make(o, split, clip, &scene);
        char name[32];
        snprintf(name, sizeof name, "%s-%05lld", tr_synth_splits[split], (long long)clip);
        char *path = tr_format("%s/videos/%s.mp4", out, name);
        status = path ? write_clip(o, &scene, split, clip, path, rgb, err)
                      : tr_fail(err, TR_MEMORY, out, "out of memory");
        free(path);
        if (!status) {
            status = tr_synth_rows(o, &scene, split, name, rows, err);
        }
        tr_progress_update(progress, ++*done, NULL);
    }
    if (!status) {
        status = write_rows(out, split, rows, err);
    }
    json_decref(rows);
    free(rgb);
    return status;
}

/* *made is true when OUT holds this very corpus already. */
static tr_status check_existing(const char *marker, const json_t *description, const char *out, bool *made,
                                tr_error *err)
{
    *made = false;
    if (!tr_file_exists(marker)) {
        return TR_OK;
    }
    json_t *old = NULL;
    tr_status status = tr_json_read(marker, &old, err);
    if (!status) {
        *made = json_equal(old, (json_t *)(uintptr_t)description);
        if (!*made) {
            status = tr_fail(
                err, TR_MISMATCH, marker,
                "%s holds a synthetic corpus made with other options; take another folder or remove it", out);
        }
    }
    json_decref(old);
    return status;
}

tr_status tr_synth_write(const tr_synth_options *o, const char *out, tr_error *err)
{
    json_t *description = NULL;
    char *marker = tr_path_join(out, "synth.json"), *videos = tr_path_join(out, "videos");
    bool made;
    tr_status status;
    TR_TRY(check_options(o, err));
    description = describe(o);
    if (!marker || !videos || !description) {
        status = tr_fail(err, TR_MEMORY, out, "out of memory");
        goto done;
    }
    TR_TRY(check_existing(marker, description, out, &made, err));
    if (made) {
        goto done;
    }
    TR_TRY(tr_directory_make(videos, err));
    tr_progress progress;
    tr_progress_begin(&progress, "synthetic clips", o->clips[0] + o->clips[1] + o->clips[2]);
    int64_t done_clips = 0;
    for (int split = 0; split < 3; split++) {
        TR_TRY(write_split(o, out, split, &progress, &done_clips, err));
    }
    tr_progress_end(&progress, NULL);
    /* The marker comes last: without it an interrupted corpus is made again. */
    TR_TRY(tr_json_write(marker, description, err));
done:
    json_decref(description);
    free(marker);
    free(videos);
    return status;
}
