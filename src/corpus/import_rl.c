/* import_rl.c: the training files of the reinforcement learning works: Time-R1, TVGBench, MUSEG, Temporal-R1,
 * VideoChat-R1. Their prompts are kept as "problem"; rows hold the sentence alone. */
#include "corpus/import_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* False, and the record refused, when its task is not the one asked for. */
static bool wanted(tr_import *im, const char *task)
{
    if (!strcmp(im->task, "all") || !strcmp(im->task, task)) {
        return true;
    }
    tr_import_refuse(im, TR_IMPORT_OTHER_TASK, "a row of %s", task);
    return false;
}

/* The members of a record that a row keeps under their names; names ends with NULL. Owned. */
static json_t *kept(const json_t *value, const char *const *names)
{
    json_t *out = json_object();
    for (; *names; names++) {
        if (json_object_get(value, *names)) {
            json_object_set(out, *names, json_object_get(value, *names));
        }
    }
    return out;
}

/* A clip only where both ends are given (null means the whole video). */
static void set_clip(tr_import_item *item, const json_t *start, const json_t *end)
{
    double a, b;
    if (tr_import_value(start, &a) && tr_import_value(end, &b)) {
        item->clip_s[0] = a;
        item->clip_s[1] = b;
    }
}

/* ---- Time-R1 ---- */

/* train_2k5.json: {"video", "duration", "timestamp": [s, e], "sentence", "qid", "video_start", "video_end",
 * "difficulty", "pred"}; times count from video_start. */
static tr_status add_time_r1(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    static const char *const keep[] = {"qid", "difficulty", "pred", NULL};
    json_t *pair = json_object_get(value, "timestamp");
    const char *video = tr_import_text(value, "video");
    (void)key;
    if (!video || !pair || !json_object_get(value, "sentence")) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "expected \"video\", \"timestamp\", \"sentence\"");
        return TR_OK;
    }
    tr_import_item item = {.video = video,
                           .text = tr_import_text(value, "sentence"),
                           .duration_s = tr_import_double(value, "duration"),
                           .segments = json_pack("[O]", pair),
                           .extra = kept(value, keep)};
    set_clip(&item, json_object_get(value, "video_start"), json_object_get(value, "video_end"));
    return tr_import_add(im, &item, err);
}

tr_status tr_import_time_r1(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_time_r1, err);
}

/* tvgbench.json: {"path", "question", "answer": "s-e", "start", "end", "duration", "dataset_name", "qsemtype"} */
static tr_status add_tvgbench(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    const char *video = tr_import_text(value, "path"), *answer = tr_import_text(value, "answer");
    const char *dash = answer ? strchr(answer, '-') : NULL;
    static const char *const keep[] = {"dataset_name", "qsemtype", NULL};
    double start, end;
    char first[64];
    (void)key;
    snprintf(first, sizeof first, "%.*s", dash ? (int)(dash - answer) : 0, answer ? answer : "");
    if (!video || !dash || !tr_import_number(first, &start) || !tr_import_number(dash + 1, &end)) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD,
                         "expected \"path\", \"question\" and \"answer\" as \"START-END\"");
        return TR_OK;
    }
    tr_import_item item = {.video = video,
                           .split = "test",
                           .text = tr_import_text(value, "question"),
                           .duration_s = tr_import_double(value, "duration"),
                           .segments = tr_import_pair(start, end),
                           .extra = kept(value, keep)};
    set_clip(&item, json_object_get(value, "start"), json_object_get(value, "end"));
    return tr_import_add(im, &item, err);
}

tr_status tr_import_tvgbench(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_tvgbench, err);
}

/* ---- MUSEG ---- */

/* What stands between the first and the last quote of a prompt; else behind the last ": "; else all of it. Owned.
 */
static char *quoted_part(const char *problem, char quote)
{
    const char *first = strchr(problem, quote), *last = strrchr(problem, quote);
    if (first && last > first + 1) {
        return tr_strndup(first + 1, (size_t)(last - first - 1));
    }
    for (const char *colon = problem; (colon = strstr(colon, ": ")); colon += 2) {
        first = colon + 2;
    }
    return tr_strdup(first && first > problem && *first && *first != quote ? first : problem);
}

/* Stages: {"idx", "problem", "solution", "video", "duration"?, "task": "tvg" | "tal"}; evaluation: {"video",
 * "question", "groundtruth"}. The prompts quote the sentence or the action in one pair of '; the sentence of the
 * evaluation on Charades-STA stands behind a colon. */
static tr_status add_museg(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    static const char sentence_mark[] = "the textual sentence: ";
    const char *problem = tr_import_text(value, "problem"), *kind = tr_import_text(value, "task");
    const char *video = tr_import_text(value, "video");
    json_t *segments = json_object_get(value, "solution");
    (void)key;
    problem = problem ? problem : tr_import_text(value, "question");
    segments = segments ? segments : json_object_get(value, "groundtruth");
    if (!problem || !video || !segments) {
        tr_import_refuse(
            im, TR_IMPORT_BAD_RECORD,
            "expected \"problem\", \"solution\", \"video\", \"task\" or \"question\", \"groundtruth\"");
        return TR_OK;
    }
    const char *mark = strstr(problem, sentence_mark);
    bool action = kind ? !strcmp(kind, "tal") : strstr(problem, "action category") != NULL;
    const char *task = action ? "tal" : "tg";
    if (kind && strcmp(kind, "tal") != 0 && strcmp(kind, "tvg") != 0) {
        tr_import_refuse(im, TR_IMPORT_OTHER_TASK, "MUSEG's task \"%.60s\"", kind);
        return TR_OK;
    }
    if (!wanted(im, task)) {
        return TR_OK;
    }
    char *text = mark ? tr_strdup(mark + sizeof sentence_mark - 1) : quoted_part(problem, '\'');
    if (!text) {
        return tr_fail(err, TR_MEMORY, im->place, "out of memory");
    }
    tr_import_item item = {.task = task,
                           .video = video,
                           .split = kind ? "train" : "test",
                           .text = text,
                           .duration_s = tr_import_double(value, "duration"),
                           .segments = json_incref(segments),
                           .extra = json_pack("{s:s}", "problem", problem)};
    tr_status status = tr_import_add(im, &item, err);
    free(text);
    return status;
}

tr_status tr_import_museg(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_museg, err);
}

/* ---- Temporal-R1 ---- */

/* {"dataset", "video", "problem", "solution": [s, e] as shares of the length, "video_length"}: without video_length
 * (charades_train) the length is the container's. */
static tr_status add_temporal_r1(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    const char *problem = tr_import_text(value, "problem"), *video = tr_import_text(value, "video"), *found;
    json_t *pair = json_object_get(value, "solution"), *dataset = json_object_get(value, "dataset");
    double length = tr_import_double(value, "video_length");
    (void)key;
    if (!problem || !video || json_array_size(pair) != 2) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "expected \"video\", \"problem\", \"solution\": [start, end]");
        return TR_OK;
    }
    if (!(length > 0) && (!im->options->videos || !tr_import_video(im, video, &found, &length) || !(length > 0))) {
        tr_import_refuse(im, TR_IMPORT_NO_LENGTH, "%.200s has no \"video_length\"", video);
        return TR_OK;
    }
    char *text = quoted_part(problem, '"');
    if (!text) {
        return tr_fail(err, TR_MEMORY, im->place, "out of memory");
    }
    tr_import_item item = {.video = video,
                           .text = text,
                           .duration_s = length,
                           .scale_s = length,
                           .segments = json_pack("[O]", pair),
                           .extra = dataset ? json_pack("{s:s,s:O}", "problem", problem, "dataset", dataset)
                                            : json_pack("{s:s}", "problem", problem)};
    tr_status status = tr_import_add(im, &item, err);
    free(text);
    return status;
}

tr_status tr_import_temporal_r1(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_temporal_r1, err);
}

/* ---- VideoChat-R1 ---- */

/* Grounding: {video: {"duration", "timestamps", "sentences"}}. Questions: {"video", "question", "options",
 * "answer", "glue": [[s, e], ..]?, "duration"?}. */
static tr_status add_videochat_r1(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    const char *video = tr_import_text(value, "video");
    json_t *options = json_object_get(value, "options"), *glue = json_object_get(value, "glue");
    if (json_object_get(value, "sentences")) {
        return wanted(im, "tg") ? tr_import_captioned_video(im, key, value, err) : TR_OK;
    }
    const char *task = glue && strcmp(im->task, "qa") != 0 ? "gvqa" : "qa";
    if (!video || !json_object_get(value, "question") || !options) {
        tr_import_refuse(
            im, TR_IMPORT_BAD_RECORD,
            "expected \"video\", \"question\", \"options\", \"answer\" or \"timestamps\", \"sentences\"");
        return TR_OK;
    }
    if (!wanted(im, task)) {
        return TR_OK;
    }
    tr_import_item item = {.task = task,
                           .video = video,
                           .text = tr_import_text(value, "question"),
                           .answer = tr_import_text(value, "answer"),
                           .duration_s = tr_import_double(value, "duration"),
                           .options = json_incref(options),
                           .segments = glue ? json_incref(glue) : NULL};
    return tr_import_add(im, &item, err);
}

tr_status tr_import_videochat_r1(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_videochat_r1, err);
}
