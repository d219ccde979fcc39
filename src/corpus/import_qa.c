/* import_qa.c: video questions with options and no times: MVBench, Video-MME, TempCompass, MMVU. */
#include "corpus/import_parts.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Where the published archive has the videos of a sub-task (fine_grained_pose's NTU videos are asked for apart). */
static const char *mvbench_folder(const char *subtask)
{
    static const char *const folders[][2] = {{"action_sequence", "star/Charades_v1_480"},
                                             {"action_prediction", "star/Charades_v1_480"},
                                             {"object_interaction", "star/Charades_v1_480"},
                                             {"action_antonym", "ssv2_video"},
                                             {"fine_grained_action", "Moments_in_Time_Raw/videos"},
                                             {"unexpected_action", "FunQA_test/test"},
                                             {"object_existence", "clevrer/video_validation"},
                                             {"moving_direction", "clevrer/video_validation"},
                                             {"moving_count", "clevrer/video_validation"},
                                             {"moving_attribute", "clevrer/video_validation"},
                                             {"counterfactual_inference", "clevrer/video_validation"},
                                             {"object_shuffle", "perception/videos"},
                                             {"action_count", "perception/videos"},
                                             {"state_change", "perception/videos"},
                                             {"character_order", "perception/videos"},
                                             {"action_localization", "sta/sta_video"},
                                             {"scene_transition", "scene_qa/video"},
                                             {"fine_grained_pose", "nturgbd"},
                                             {"egocentric_navigation", "vlnqa"},
                                             {"episodic_reasoning", "tvqa/frames_fps3_hq"}};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        if (!strcmp(folders[i][0], subtask)) {
            return folders[i][1];
        }
    }
    return NULL;
}

/* json/SUBTASK.json: [{"video", "question", "candidates", "answer" (a text), "start"?, "end"?}] */
static tr_status add_mvbench(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    const char *video = tr_import_text(value, "video");
    const char *folder = mvbench_folder(im->stem);
    json_t *options = json_object_get(value, "candidates");
    double start, end;
    char path[400];
    (void)key;
    if (!video || !options || !json_object_get(value, "question")) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "expected \"video\", \"question\", \"candidates\", \"answer\"");
        return TR_OK;
    }
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "", video);
    tr_import_item item = {.video = folder ? path : video,
                           .split = "test",
                           .text = tr_import_text(value, "question"),
                           .answer = tr_import_text(value, "answer"),
                           .options = json_incref(options),
                           .extra = json_pack("{s:o}", "category", json_string(im->stem))};
    if (tr_import_value(json_object_get(value, "start"), &start) &&
        tr_import_value(json_object_get(value, "end"), &end)) {
        item.clip_s[0] = start;
        item.clip_s[1] = end;
    }
    return tr_import_add(im, &item, err);
}

tr_status tr_import_mvbench(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_mvbench, err);
}

/* One question of Video-MME; video holds what belongs to the video ("duration" is short, medium or long). */
static tr_status add_mme_question(tr_import *im, const json_t *video, const json_t *value, tr_error *err)
{
    const char *name = tr_import_text(video, "videoID"), *url = tr_import_text(video, "url");
    const char *task = tr_import_text(value, "task_type"), *length = tr_import_text(video, "duration");
    static const char *const kept[][2] = {{"domain", "video_category"}, {"sub_category", "video_sub_category"}};
    json_t *options = json_object_get(value, "options"), *extra = json_object();
    char file[300];
    options = options ? options : json_object_get(value, "choices");
    length = length ? length : tr_import_text(video, "duration_category"); /* of the nested form */
    if (!name && url && strstr(url, "v=")) {
        name = strstr(url, "v=") + 2;
    }
    name = name ? name : tr_import_text(video, "video_id");
    if (!name || !options || !json_object_get(value, "question")) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "expected \"videoID\", \"question\", \"options\", \"answer\"");
        json_decref(extra);
        return TR_OK;
    }
    if (task) {
        json_object_set_new(extra, "category", json_string(task));
    }
    if (length) {
        json_object_set_new(extra, "length", json_string(length));
    }
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        const char *text = tr_import_text(video, kept[i][0]);
        text = text ? text : tr_import_text(video, kept[i][1]);
        if (text) {
            json_object_set_new(extra, kept[i][0], json_string(text));
        }
    }
    tr_import_item item = {.id = tr_import_text(value, "question_id"),
                           .video = tr_import_mp4(name, file, sizeof file),
                           .split = "test",
                           .text = tr_import_text(value, "question"),
                           .answer = tr_import_text(value, "answer"),
                           .options = json_incref(options),
                           .extra = extra};
    return tr_import_add(im, &item, err);
}

static tr_status add_video_mme(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    json_t *questions = json_object_get(value, "questions"), *one;
    char place[300];
    size_t i, number = im->number;
    (void)key;
    if (!questions) {
        return add_mme_question(im, value, value, err);
    }
    json_array_foreach(questions, i, one)
    {
        snprintf(place, sizeof place, "[%zu] question %zu", number - 1, i + 1);
        tr_import_place(im, "%s", place);
        tr_status status = add_mme_question(im, value, one, err);
        if (status) {
            return status;
        }
    }
    return TR_OK;
}

tr_status tr_import_video_mme(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_video_mme, err);
}

/* Behind "Caption A:" or "Option 1:", which caption matching writes before every option and answer; else the text.
 */
static const char *behind_caption(const char *text)
{
    size_t word = strcspn(text, " :");
    bool named = text[word] == ' ' && text[word + 1] && text[word + 2] == ':';
    return named ? text + word + 3 : text;
}

/* Whether options are "A. one", "B. two", ...: then a prompt makes the published question again. */
static bool has_letters(const json_t *options)
{
    size_t i;
    json_t *one;
    bool all = json_array_size(options) > 0;
    json_array_foreach(options, i, one)
    {
        const char *text = json_string_value(one);
        all = all && text[0] == (char)('A' + i) && text[1] == '.' && text[2] == ' ';
    }
    return all;
}

/* "question\nA. one\nB. two" with the answer "A. one"; or a question that is answered with yes or no. */
static tr_status add_tempcompass_question(tr_import *im, const char *video, const char *dimension, size_t number,
                                          const json_t *value, tr_error *err)
{
    const char *question = tr_import_text(value, "question"), *answer = tr_import_text(value, "answer");
    char name[300];
    char *id = tr_format("%s/%s/%s/%zu", im->stem, video, dimension, number);
    char *text = question ? tr_strdup(question) : NULL, *line = text ? strchr(text, '\n') : NULL;
    json_t *options = json_array();
    tr_status status = TR_OK;
    if (!text || !id) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "no \"question\"");
        json_decref(options);
        goto done;
    }
    if (!line && answer && (!strcasecmp(answer, "yes") || !strcasecmp(answer, "no"))) {
        json_array_append_new(options, json_string("yes"));
        json_array_append_new(options, json_string("no"));
        answer = !strcasecmp(answer, "yes") ? "A" : "B";
    }
    while (line) {
        *line++ = 0;
        char *next = strchr(line, '\n');
        size_t length = next ? (size_t)(next - line) : strlen(line);
        if (length) {
            const char *option = behind_caption(line);
            option = option > line + length ? line : option;
            json_array_append_new(options, json_stringn(option, length - (size_t)(option - line)));
        }
        line = next;
    }
    json_t *extra =
        json_pack("{s:o, s:o}", "category", json_string(dimension), "question_type", json_string(im->stem));
    if (!has_letters(options) && json_array_size(options)) { /* captions, yes or no: asked in words of its own */
        json_object_set_new(extra, "published", json_string(question));
    }
    tr_import_item item = {.id = id,
                           .video = tr_import_mp4(video, name, sizeof name),
                           .split = "test",
                           .text = text,
                           .answer = answer ? behind_caption(answer) : NULL,
                           .options = options,
                           .extra = extra};
    status = tr_import_add(im, &item, err);
done:
    free(id);
    free(text);
    return status;
}

/* {video: {dimension: [{"question", "answer"}, ..]}}; the dataset's table has {"video_id", "dim", "question", ..}.
 */
static tr_status add_tempcompass(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    const char *dimension, *video = tr_import_text(value, "video_id");
    json_t *list, *one;
    size_t i;
    if (video) {
        const char *dim = tr_import_text(value, "dim");
        return add_tempcompass_question(im, video, dim ? dim : "other", im->number, value, err);
    }
    if (!key || !json_is_object(value)) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD,
                         "expected {video: {dimension: [{\"question\", \"answer\"}, ..]}}");
        return TR_OK;
    }
    json_object_foreach(value, dimension, list)
    {
        if (!json_is_array(list)) {
            tr_import_refuse(im, TR_IMPORT_BAD_RECORD, "\"%.60s\" is no list of questions", dimension);
        }
        json_array_foreach(list, i, one)
        {
            char place[300];
            snprintf(place, sizeof place, "%.120s %.60s %zu", key, dimension, i + 1);
            tr_import_place(im, "%s", place);
            tr_status status = add_tempcompass_question(im, key, dimension, i, one, err);
            if (status) {
                return status;
            }
        }
    }
    return TR_OK;
}

tr_status tr_import_tempcompass(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_tempcompass, err);
}

/* {"id", "video": url, "question_type", "question", "choices": {"A": ..}, "answer", "metadata": {"subject"}} */
static tr_status add_mmvu(tr_import *im, const char *key, json_t *value, tr_error *err)
{
    const char *url = tr_import_text(value, "video"), *kind = tr_import_text(value, "question_type");
    const char *subject = tr_import_text(json_object_get(value, "metadata"), "subject");
    json_t *choices = json_object_get(value, "choices");
    (void)key;
    if (!url || !json_object_get(value, "question")) {
        tr_import_refuse(im, TR_IMPORT_BAD_RECORD,
                         "expected \"id\", \"video\", \"question\", \"choices\", \"answer\"");
        return TR_OK;
    }
    if (kind && strcmp(kind, "multiple-choice") != 0) {
        tr_import_refuse(im, TR_IMPORT_OPEN_ENDED, "%s", kind);
        return TR_OK;
    }
    /* ".../resolve/main/videos/Art/0.mp4": what follows "videos/" is the path in the dataset's folder */
    const char *inside = strstr(url, "/videos/");
    tr_import_item item = {.id = tr_import_text(value, "id"),
                           .video = inside ? inside + strlen("/videos/") : url,
                           .text = tr_import_text(value, "question"),
                           .answer = tr_import_text(value, "answer"),
                           .options = choices ? json_incref(choices) : NULL,
                           .extra = subject ? json_pack("{s:s}", "category", subject) : NULL};
    return tr_import_add(im, &item, err);
}

tr_status tr_import_mmvu(tr_import *im, tr_error *err)
{
    return tr_import_each_file(im, add_mmvu, err);
}
