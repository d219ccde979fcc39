/* import_detection.c: actions with their instances: ActivityNet 1.3, HACS Segments, THUMOS14. A row is a video and
 * one action class with every instance of it. */
#include "corpus/import_parts.h"

#include <stdlib.h>
#include <string.h>

/* One row for each class of a video; groups: {class: [[s, e], ..]}. */
static tr_status add_classes(tr_import *im, const char *video, const char *split, double duration_s, json_t *groups,
                             tr_error *err)
{
    const char *label;
    json_t *segments;
    char name[300], bare[300];
    tr_status status = TR_OK;
    /* ActivityNet's own file drops the "v_" that its videos' names begin with. */
    bool prefix = !strcmp(im->source->name, "activitynet-1.3") && strncmp(video, "v_", 2) != 0;
    if (snprintf(bare, sizeof bare, "%s%s", prefix ? "v_" : "", video) >= (int)sizeof bare) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "the video's name has %zu bytes", strlen(video));
        return TR_OK;
    }
    if (!(duration_s > 0)) {
        duration_s = json_number_value(json_object_get(im->durations, video));
    }
    if (!split) {
        split = json_string_value(json_object_get(im->splits, video));
    }
    json_object_foreach(groups, label, segments)
    {
        tr_import_place(im, "%s %s", video, label);
        if (!strcmp(label, "Ambiguous") && !strcmp(im->source->name, "thumos14")) {
            tr_import_refuse(im, TR_IMPORT_AMBIGUOUS, "%zu intervals", json_array_size(segments));
            continue;
        }
        char *id = tr_format("%s/%s", bare, label);
        tr_import_item item = {.id = id,
                               .video = tr_import_mp4(bare, name, sizeof name),
                               .split = split,
                               .text = label,
                               .duration_s = duration_s,
                               .segments = json_incref(segments)};
        status = tr_import_add(im, &item, err);
        free(id);
        if (status) {
            return status;
        }
    }
    return TR_OK;
}

/* Adds an instance to {class: [..]}; false when the label is no name. */
static bool add_instance(json_t *groups, const char *label, json_t *segment)
{
    json_t *list = label && *label ? json_object_get(groups, label) : NULL;
    if (!list && label && *label) {
        list = json_array();
        if (json_object_set_new(groups, label, list)) {
            list = NULL;
        }
    }
    if (!list) {
        json_decref(segment);
        return false;
    }
    return !json_array_append_new(list, segment);
}

static tr_status add_database_video(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    json_t *groups = json_object(), *one, *list = json_object_get(value, "annotations");
    size_t i;
    double length = tr_import_double(value, "duration");
    tr_status status = TR_OK;
    if (!key || !json_is_array(list)) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD,
                         "expected {video: {\"annotations\": [{\"segment\", \"label\"}, ..]}}");
        goto done;
    }
    if (!json_array_size(list)) {
        tr_import_refuse(im, TR_IMPORT_NO_TRUTH, "no annotations");
        goto done;
    }
    json_array_foreach(list, i, one)
    {
        json_t *segment = json_object_get(one, "segment");
        if (!add_instance(groups, tr_import_text(one, "label"), segment ? json_incref(segment) : json_null())) {
            tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "annotation %zu has no \"label\"", i + 1);
            goto done;
        }
    }
    status = add_classes(im, key, tr_import_text(value, "subset"),
                         length > 0 ? length : tr_import_double(value, "duration_second"), groups, err);
done:
    json_decref(groups);
    return status;
}

static tr_status add_detection(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    return tr_import_database(im, key, value, add_database_video, add_database_video, err);
}

/* BMN's video_info_new.csv (video, seconds, subset) and its list of class names (action), which adds nothing. */
static tr_status add_video_info(tr_import *im, const tr_import_table *table, tr_error *err)
{
    const char *video = tr_import_cell(table, "video"), *subset = tr_import_cell(table, "subset");
    const char *seconds = tr_import_cell(table, "seconds");
    double length;
    if (video && subset) {
        json_object_set_new(im->splits, video, json_string(subset));
        if (seconds && tr_import_number(seconds, &length)) {
            json_object_set_new(im->durations, video, json_real(length));
        }
        return TR_OK;
    }
    return tr_import_cell(table, "action")
               ? TR_OK
               : tr_fail(err, TR_FORMAT, im->paths[im->path],
                         "expected the columns \"video\" and \"subset\" (video_info_new.csv) in the header");
}

static tr_status each_of(tr_import *im, const char *extension, bool is, tr_import_each each,
                         tr_import_record record, tr_error *err)
{
    tr_status status = TR_OK;
    for (size_t i = 0; !status && i < im->path_count; i++) {
        tr_import_open(im, i);
        if (tr_import_is(im, extension) == is) {
            status = record ? tr_import_each_record(im, record, err) : tr_import_each_json(im, each, err);
        }
    }
    return status;
}

tr_status tr_import_detection(tr_import *im, tr_error *err)
{
    tr_status status = each_of(im, ".csv", true, NULL, add_video_info, err);
    return status ? status : each_of(im, ".csv", false, add_detection, NULL, err);
}

/* ---- THUMOS14's tables ---- */

/* The classes of thumos14_test_groundtruth.csv by label-idx; -1 is Ambiguous. */
static const char *const thumos_classes[] = {"BaseballPitch", "BasketballDunk", "Billiards",   "CleanAndJerk",
                                             "CliffDiving",   "CricketBowling", "CricketShot", "Diving",
                                             "FrisbeeCatch",  "GolfSwing",      "HammerThrow", "HighJump",
                                             "JavelinThrow",  "LongJump",       "PoleVault",   "Shotput",
                                             "SoccerPenalty", "TennisSwing",    "ThrowDiscus", "VolleyballSpiking"};

static tr_status add_thumos_length(tr_import *im, const tr_import_table *table, tr_error *err)
{
    const char *video = tr_import_cell(table, "video-name"), *text = tr_import_cell(table, "video-duration");
    double length;
    (void)err;
    if (video && text && tr_import_number(text, &length)) {
        json_object_set_new(im->durations, video, json_real(length));
    }
    return TR_OK;
}

/* im->splits holds the instances until the file ends: {video: {class: [..]}}. */
static tr_status add_thumos_record(tr_import *im, const tr_import_table *table, tr_error *err)
{
    const char *video = tr_import_cell(table, "video"), *label = tr_import_cell(table, "type");
    const char *from = tr_import_cell(table, "start"), *to = tr_import_cell(table, "end");
    const char *index = tr_import_cell(table, "label-idx");
    double start, end, number;
    if (index) {
        size_t most = sizeof thumos_classes / sizeof thumos_classes[0];
        video = tr_import_cell(table, "video-name");
        from = tr_import_cell(table, "t-init");
        to = tr_import_cell(table, "t-end");
        label = !tr_import_number(index, &number) || number >= (double)most || number < -1 ? NULL
                : number < 0                                                               ? "Ambiguous"
                             : thumos_classes[(size_t)number];
    }
    if (!video || !from || !to) {
        return tr_fail(err, TR_FORMAT, im->paths[im->path],
                       "expected the columns \"video\", \"type\", \"start\", \"end\" (*_Annotation.csv) or "
                       "\"video-name\", \"t-init\", \"t-end\", \"label-idx\" in the header");
    }
    if (!tr_import_number(from, &start) || !tr_import_number(to, &end) || !label) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "\"%.40s\", \"%.40s\" of \"%.40s\": no numbers or no class",
                         from, to, label ? label : "?");
        return TR_OK;
    }
    json_t *groups = json_object_get(im->splits, video);
    if (!groups) {
        groups = json_object();
        if (json_object_set_new(im->splits, video, groups)) {
            groups = NULL;
        }
    }
    if (!groups || !add_instance(groups, label, json_pack("[f,f]", start, end))) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "the video's or the class's name is no UTF-8");
    }
    return TR_OK;
}

static tr_status add_thumos_videos(tr_import *im, tr_error *err)
{
    const char *video;
    json_t *groups, *videos = im->splits;
    tr_status status = TR_OK;
    im->splits = json_object();
    json_object_foreach(videos, video, groups)
    {
        const char *split = strstr(video, "_validation_") ? "val" : strstr(video, "_test_") ? "test" : NULL;
        if ((status = add_classes(im, video, split, 0, groups, err))) {
            break;
        }
    }
    json_decref(videos);
    return status;
}

static bool is_groundtruth(const tr_import *im)
{
    return strstr(im->stem, "groundtruth") != NULL;
}

tr_status tr_import_thumos(tr_import *im, tr_error *err)
{
    tr_status status = TR_OK;
    bool others =
        false; /* the ground truth table's intervals stand in test_Annotation.csv and thumos_gt.json too */
    for (size_t i = 0; !status && i < im->path_count; i++) {
        tr_import_open(im, i);
        others |= !is_groundtruth(im) && (tr_import_is(im, ".json") || strstr(im->stem, "test"));
        if (tr_import_is(im, ".csv")) {
            status = is_groundtruth(im) ? tr_import_each_record(im, add_thumos_length, err) : TR_OK;
        }
    }
    for (size_t i = 0; !status && i < im->path_count; i++) {
        tr_import_open(im, i);
        if (!tr_import_is(im, ".csv")) {
            status = tr_import_each_json(im, add_detection, err);
        } else if (!is_groundtruth(im) || !others) {
            status = tr_import_each_record(im, add_thumos_record, err);
            status = status ? status : add_thumos_videos(im, err);
        }
    }
    return status;
}
