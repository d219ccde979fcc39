/* import_captions.c: videos with sentences and their times: ActivityNet Captions, TACoS, YouCook2, Charades-CD.
 *
 * {video: {"duration" | "video_duration" | "num_frames" and "fps", "timestamps": [[s, e], ..], "sentences": [..]}}
 * and YouCook2's {"database": {video: {"duration", "subset", "annotations": [{"segment", "sentence"}, ..]}}}. A dtg
 * row is a video, a tg row a sentence. */
#include "corpus/import_parts.h"

#include <stdlib.h>
#include <string.h>

/* The length in seconds, and in *scale_s the seconds in a unit of the times: TACoS counts frames. */
static double length_of(const json_t *video, double *scale_s)
{
    double frames = tr_import_double(video, "num_frames"), fps = tr_import_double(video, "fps");
    double listed = tr_import_double(video, "duration");
    *scale_s = 0;
    if (frames > 0 && fps > 0 && !(listed > 0)) {
        *scale_s = 1 / fps;
        return frames / fps;
    }
    return listed > 0 ? listed : tr_import_double(video, "video_duration");
}

/* YouCook2's and PDVC's test files hold one placeholder, "None" or an empty text, in place of the sentences. */
static bool withheld(const json_t *sentences)
{
    const char *only = json_string_value(json_array_get(sentences, 0));
    return json_array_size(sentences) == 1 && only && !strcmp(only, "None");
}

static tr_status add_sentences(tr_import *im, const char *key, const tr_import_item *video, json_t *sentences,
                               json_t *times, tr_error *err)
{
    size_t count = json_array_size(sentences);
    char place[300];
    tr_status status = TR_OK;
    if (count != json_array_size(times)) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "%zu sentences and %zu intervals", count,
                         json_array_size(times));
        return TR_OK;
    }
    for (size_t i = 0; !status && i < count; i++) {
        tr_import_item item = *video;
        char *id = tr_format("%s/%s/%zu", im->stem, key, i);
        snprintf(place, sizeof place, "%s sentence %zu", key, i + 1);
        tr_import_place(im, "%s", place);
        item.id = id;
        item.task = "tg";
        item.text = json_string_value(json_array_get(sentences, i));
        item.segments = json_pack("[O]", json_array_get(times, i));
        status = id ? tr_import_add(im, &item, err) : tr_fail(err, TR_MEMORY, im->place, "out of memory");
        free(id);
    }
    return status;
}

tr_status tr_import_captioned_video(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    json_t *sentences = json_object_get(value, "sentences"), *times = json_object_get(value, "timestamps");
    char video[300];
    tr_import_item item = {.split = tr_import_text(value, "subset")};
    const char *name = key ? key : tr_import_text(value, "video");
    if (!name || !json_is_array(sentences) || !json_is_array(times)) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD,
                         "expected {video: {\"duration\", \"timestamps\": [[s, e], ..], \"sentences\": [..]}}");
        return TR_OK;
    }
    if (withheld(sentences)) {
        tr_import_refuse(im, TR_IMPORT_NO_TRUTH, "the only sentence is \"None\"");
        return TR_OK;
    }
    item.video = tr_import_mp4(name, video, sizeof video);
    item.duration_s = length_of(value, &item.scale_s);
    if (strcmp(im->task, "dtg") != 0) {
        return add_sentences(im, name, &item, sentences, times, err);
    }
    char *id = tr_format("%s/%s", im->stem, name);
    if (!id) {
        return tr_fail(err, TR_MEMORY, im->place, "out of memory");
    }
    item.id = id;
    item.queries = json_incref(sentences);
    item.segments = json_incref(times);
    tr_status status = tr_import_add(im, &item, err);
    free(id);
    return status;
}

/* YouCook2's own form turned into lists of sentences and times. */
static tr_status add_database_video(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    json_t *sentences = json_array(), *times = json_array(), *flat = json_object(), *one;
    size_t i;
    json_array_foreach(json_object_get(value, "annotations"), i, one)
    {
        json_t *sentence = json_object_get(one, "sentence"), *segment = json_object_get(one, "segment");
        json_array_append_new(sentences, sentence ? json_incref(sentence) : json_null());
        json_array_append_new(times, segment ? json_incref(segment) : json_null());
    }
    bool empty = !i;
    json_object_update(flat, value);
    json_object_set_new(flat, "sentences", sentences);
    json_object_set_new(flat, "timestamps", times);
    tr_status status = TR_OK;
    if (empty) {
        tr_import_refuse(im, TR_IMPORT_NO_TRUTH, "no annotations");
    } else {
        status = tr_import_captioned_video(im, key, flat, err);
    }
    json_decref(flat);
    return status;
}

static tr_status add_video(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    return tr_import_database(im, key, value, add_database_video, tr_import_captioned_video, err);
}

tr_status tr_import_captions(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_video, err);
}
