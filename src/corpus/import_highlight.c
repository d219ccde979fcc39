/* import_highlight.c: highlights: QVHighlights, TVSum, YouTube Highlights, all as JSON Lines of Moment-DETR's form.
 *
 * "saliency" of a row has one entry for each window of two seconds: the published ratings. */
#include "corpus/import_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double window_s = 2;

static const char *record_id(const json_t *value, char *buffer, size_t size)
{
    const json_t *qid = json_object_get(value, "qid");
    if (json_is_integer(qid)) {
        snprintf(buffer, size, "%lld", (long long)json_integer_value(qid));
        return buffer;
    }
    return json_string_value(qid);
}

/* Ratings of the listed windows spread over all windows, zeros between them; NULL when they do not fit. */
static json_t *spread(const json_t *value, double duration_s)
{
    const json_t *ids = json_object_get(value, "relevant_clip_ids"),
                 *ratings = json_object_get(value, "saliency_scores");
    size_t raters = json_array_size(json_array_get(ratings, 0)), windows;
    if (!json_array_size(ids) || json_array_size(ids) != json_array_size(ratings) || !raters || raters > 100 ||
        !(duration_s > 0 && duration_s < 1e5)) {
        return NULL;
    }
    windows = (size_t)ceil(duration_s / window_s);
    json_t *list = json_array(), *none = json_array();
    for (size_t i = 0; i < raters; i++) {
        json_array_append_new(none, json_integer(0));
    }
    for (size_t i = 0; i < windows; i++) {
        json_array_append(list, none);
    }
    json_decref(none);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        json_int_t at = json_integer_value(id);
        if (json_is_integer(id) && at >= 0 && (size_t)at < windows) {
            json_array_set(list, (size_t)at, json_array_get(ratings, i));
        }
    }
    return list;
}

static tr_status add_qvhighlights(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    const char *name = tr_import_text(value, "vid");
    char id[40], video[300];
    json_t *windows = json_object_get(value, "relevant_windows"), *saliency;
    double length = tr_import_double(value, "duration");
    (void)key;
    if (!name || !json_object_get(value, "query")) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "expected \"qid\", \"query\", \"duration\", \"vid\"");
        return TR_OK;
    }
    if (!windows) {
        tr_import_refuse(im, TR_IMPORT_NO_TRUTH, "no \"relevant_windows\"");
        return TR_OK;
    }
    saliency = !strcmp(im->task, "vhd") ? spread(value, length) : NULL;
    tr_import_item item = {.id = record_id(value, id, sizeof id),
                           .video = tr_import_mp4(name, video, sizeof video),
                           .text = tr_import_text(value, "query"),
                           .duration_s = length,
                           .segments = json_incref(windows),
                           .extra = saliency ? json_pack("{s:o}", "saliency", saliency) : NULL};
    return tr_import_add(im, &item, err);
}

tr_status tr_import_qvhighlights(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_qvhighlights, err);
}

/* Appends [start, end], joined with the last interval where they touch. */
static void append_joined(json_t *list, double start, double end)
{
    size_t n = json_array_size(list);
    json_t *last = n ? json_array_get(list, n - 1) : NULL;
    if (last && start <= json_number_value(json_array_get(last, 1))) {
        json_array_set_new(last, 1, json_real(fmax(end, json_number_value(json_array_get(last, 1)))));
    } else {
        json_array_append_new(list, json_pack("[f,f]", start, end));
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Which windows more than half of the raters rate above their own median: the binarisation per rater is that of the
 * published TVSum evaluation (UMT, QD-DETR, lighthouse); the vote is this project's choice, since no intervals are
 * published. NULL when the ratings are no rectangular table. */
static json_t *vote(const json_t *label)
{
    size_t windows = json_array_size(label), raters = json_array_size(json_array_get(label, 0));
    json_t *segments = NULL;
    if (!windows || !raters || windows > 100000 || raters > 1000) {
        return NULL;
    }
    double *column = malloc(windows * sizeof *column);
    size_t *votes = calloc(windows, sizeof *votes);
    for (size_t r = 0; column && votes && r < raters; r++) {
        for (size_t i = 0; i < windows; i++) {
            const json_t *row = json_array_get(label, i);
            if (json_array_size(row) != raters || !tr_import_value(json_array_get(row, r), &column[i])) {
                goto done;
            }
        }
        qsort(column, windows, sizeof *column, compare);
        double median = column[(windows - 1) / 2]; /* the lower one, as torch.median has it */
        for (size_t i = 0; i < windows; i++) {
            votes[i] += json_number_value(json_array_get(json_array_get(label, i), r)) > median;
        }
    }
    segments = column && votes ? json_array() : NULL;
    for (size_t i = 0; segments && i < windows; i++) {
        if (2 * votes[i] > raters) {
            append_joined(segments, window_s * (double)i, window_s * (double)(i + 1));
        }
    }
done:
    free(column);
    free(votes);
    return segments;
}

static json_t *extra_of(const json_t *value, json_t *saliency)
{
    json_t *extra = json_object();
    if (saliency) {
        json_object_set(extra, "saliency", saliency);
    }
    if (json_object_get(value, "domain")) {
        json_object_set(extra, "domain", json_object_get(value, "domain"));
    }
    return extra;
}

/* "duration" of these files counts the clips of two seconds (a video of 133 s says 66). */
static tr_status add_tvsum(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    const char *name = tr_import_text(value, "vid");
    json_t *label = json_object_get(value, "label"), *segments = vote(label);
    double listed = tr_import_double(value, "duration"), length = window_s * (double)json_array_size(label);
    char id[40], video[300];
    (void)key;
    if (!name || !segments) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "expected \"vid\" and \"label\", a table of ratings");
        json_decref(segments);
        return TR_OK;
    }
    if (listed > 0 && listed < length - window_s) {
        tr_import_note(im, TR_IMPORT_CLIP_UNITS, "%g listed, %zu clips", listed, json_array_size(label));
    }
    tr_import_item item = {.id = record_id(value, id, sizeof id),
                           .video = tr_import_mp4(name, video, sizeof video),
                           .text = tr_import_text(value, "query"),
                           .duration_s = length,
                           .segments = segments,
                           .extra = extra_of(value, label)};
    return tr_import_add(im, &item, err);
}

tr_status tr_import_tvsum(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_tvsum, err);
}

/* "clip" holds overlapping ranges of frames, "label" 1 where a range is a highlight (0 and -1 where it is not). */
static tr_status add_youtube(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    const char *name = tr_import_text(value, "vid");
    json_t *label = json_object_get(value, "label"), *clips = json_object_get(value, "clip"), *segments;
    double fps = tr_import_double(value, "fps");
    char id[40], video[300];
    (void)key;
    if (!name || !(fps > 0) || !json_array_size(label) || json_array_size(label) != json_array_size(clips)) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "expected \"vid\", \"fps\" and as many \"label\" as \"clip\"");
        return TR_OK;
    }
    segments = json_array();
    for (size_t i = 0; i < json_array_size(label); i++) {
        const json_t *clip = json_array_get(clips, i);
        double mark = 0, from, to;
        if (!tr_import_value(json_array_get(json_array_get(label, i), 0), &mark) ||
            !tr_import_value(json_array_get(clip, 0), &from) || !tr_import_value(json_array_get(clip, 1), &to)) {
            tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "clip %zu is no [first, last] with a label", i + 1);
            json_decref(segments);
            return TR_OK;
        }
        if (mark > 0) {
            append_joined(segments, from / fps, to / fps);
        }
    }
    if (!json_array_size(segments)) {
        tr_import_refuse(im, TR_IMPORT_NO_TRUTH, "no clip is labelled as a highlight");
        json_decref(segments);
        return TR_OK;
    }
    tr_import_item item = {.id = record_id(value, id, sizeof id),
                           .video = tr_import_mp4(name, video, sizeof video),
                           .text = tr_import_text(value, "query"),
                           .duration_s = tr_import_double(value, "duration"),
                           .segments = segments,
                           .extra = extra_of(value, NULL)};
    return tr_import_add(im, &item, err);
}

tr_status tr_import_youtube_highlights(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_youtube, err);
}
