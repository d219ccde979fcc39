/* evaluate_foreign.c: outputs of TimeChat, lmms-eval, VTimeLLM, TempCompass and NExT-GQA, by the rules of each. */
#include "task/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool read_pair(const json_t *pair, tr_interval *out)
{
    if (!json_is_number(json_array_get(pair, 0)) || !json_is_number(json_array_get(pair, 1))) {
        return false;
    }
    *out = (tr_interval){json_number_value(json_array_get(pair, 0)), json_number_value(json_array_get(pair, 1))};
    return true;
}

static void count_answer(tr_evaluation *e, const char *id, bool there, bool parsed)
{
    e->truths++;
    if (!there) {
        e->missing++;
        tr_evaluation_name(e->missing_ids, id);
    } else if (parsed) {
        e->parsed++;
    } else {
        e->unparsed++;
        tr_evaluation_name(e->unparsed_ids, id);
    }
}

/* The values of one grounding answer whose IoU a foreign rule computed. */
static tr_status push_iou(tr_evaluation *e, double iou, tr_error *err)
{
    tr_metric_values values = {0};
    static const double thresholds[] = {0.3, 0.5, 0.7};
    values.present = 1u << TR_METRIC_IOU | 1u << TR_METRIC_IOU_03 | 1u << TR_METRIC_IOU_05 | 1u << TR_METRIC_IOU_07;
    values.value[TR_METRIC_IOU] = iou;
    for (int t = 0; t < 3; t++) {
        values.value[TR_METRIC_IOU_03 + t] = iou >= thresholds[t];
    }
    return tr_evaluation_push(e, TR_TASK_TG, &values, err);
}

/* TimeChat: only predicted ids count; the first span is the answer; none is a miss. */
static tr_status timechat(tr_evaluation *e, const json_t *pred, const json_t *truth, tr_error *err)
{
    json_t *index = json_object(), *item, *list = json_object_get(truth, "annotations");
    const char *key;
    size_t i;
    tr_status status = TR_OK;
    if (!json_is_object(pred) || !json_is_array(list)) {
        json_decref(index);
        return tr_fail(err, TR_FORMAT, NULL,
                       "timechat needs {\"annotations\": [...]} as truth and {id: {\"timestamp\"}} as predictions");
    }
    json_array_foreach(list, i, item)
    {
        char id[32];
        snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_object_get(item, "id")));
        json_object_set(index, id, item);
    }
    json_object_foreach((json_t *)pred, key, item)
    {
        const json_t *found = json_object_get(index, key);
        tr_interval p, g;
        e->predictions++;
        if (!found) {
            e->unknown++;
            tr_evaluation_name(e->unknown_ids, key);
            continue;
        }
        bool parsed = read_pair(json_array_get(json_object_get(item, "timestamp"), 0), &p);
        if (!read_pair(json_object_get(found, "timestamp"), &g)) {
            status = tr_fail(err, TR_FORMAT, key, "the truth needs \"timestamp\": [start, end]");
            break;
        }
        count_answer(e, key, true, parsed);
        status = push_iou(e, parsed ? tr_metric_hull_iou(p, g) : 0, err);
        if (status) {
            break;
        }
    }
    json_decref(index);
    return status;
}

/* lmms-eval's temporal grounding: the key is video>>>caption>>>truth; a caption may hold ">>>" itself. */
static tr_status lmms(tr_evaluation *e, const json_t *pred, tr_error *err)
{
    const char *key;
    json_t *item;
    if (!json_is_object(pred)) {
        return tr_fail(err, TR_FORMAT, NULL,
                       "lmms-eval gives one object of \"video>>>caption>>>[start, end]\": text");
    }
    json_object_foreach((json_t *)pred, key, item)
    {
        const char *text = json_string_value(item), *last = NULL;
        size_t count;
        char option;
        tr_answer answer = {.intervals = e->intervals};
        for (const char *at = key; (at = strstr(at, ">>>")); at += 3) {
            last = at + 3;
        }
        if (last) {
            tr_answer_pairs((tr_span){last, last + strlen(last)}, NULL, last, &answer);
        }
        if (answer.count != 1 || !text) {
            return tr_fail(err, TR_FORMAT, key,
                           answer.count != 1 ? "the key must end in >>>[start, end]" : "the answer must be a text");
        }
        tr_interval g = e->intervals[0];
        tr_truth truth = {.segments = &g, .count = 1};
        e->predictions++;
        bool parsed = tr_evaluation_parse(e, TR_TASK_TG, text, strlen(text), &truth, &count, &option);
        count_answer(e, key, true, parsed);
        tr_status status = push_iou(e, parsed ? fmax(0, tr_metric_hull_iou(e->intervals[0], g)) : 0, err);
        if (status) {
            return status;
        }
    }
    return TR_OK;
}

/* VTimeLLM: the first "NN to NN" or "NN and NN" in percent of the clip, IoU rounded to two decimals. */
static bool percent_pair(const char *text, double out[2])
{
    for (const char *at = text; *at; at++) {
        const char *c = at;
        for (int k = 0; k < 2; k++) {
            if (!tr_scan_digit(c[0]) || !tr_scan_digit(c[1])) {
                break;
            }
            out[k] = ((c[0] - '0') * 10 + (c[1] - '0')) / 100.0;
            c += 2;
            if (k) {
                return true;
            }
            if (!strncmp(c, " to ", 4)) {
                c += 4;
            } else if (!strncmp(c, " and ", 5)) {
                c += 5;
            } else {
                break;
            }
        }
    }
    return false;
}

static tr_status vtimellm(tr_evaluation *e, const json_t *pred, const json_t *truth, tr_error *err)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)pred, i, item)
    {
        const char *video = json_string_value(json_object_get(item, "video_id"));
        const char *task = json_string_value(json_object_get(item, "task"));
        const char *text = json_string_value(json_object_get(item, "answer"));
        json_int_t sentence = json_integer_value(json_object_get(json_object_get(item, "info"), "sentence_id"));
        if (task && strcmp(task, "grounding") != 0) {
            continue;
        }
        e->predictions++;
        const json_t *found = video ? json_object_get(truth, video) : NULL;
        tr_interval g;
        double duration_s = json_number_value(json_object_get(found, "duration")), p[2];
        char id[300];
        snprintf(id, sizeof id, "%s #%lld", video ? video : "?", (long long)sentence);
        if (!found || !text) {
            e->unknown++;
            tr_evaluation_name(e->unknown_ids, id);
            continue;
        }
        if (!read_pair(json_array_get(json_object_get(found, "timestamps"), (size_t)sentence), &g) ||
            !(duration_s > 0)) {
            return tr_fail(err, TR_FORMAT, id, "the truth needs \"duration\" and a timestamp for that sentence");
        }
        bool parsed = percent_pair(text, p);
        double iou = 0;
        if (parsed) {
            iou = tr_metric_hull_iou((tr_interval){p[0], p[1]},
                                     (tr_interval){g.start_s / duration_s, g.end_s / duration_s});
        }
        char rounded[32];
        snprintf(rounded, sizeof rounded, "%.2f", iou);
        count_answer(e, id, true, parsed);
        tr_status status = push_iou(e, strtod(rounded, NULL), err);
        if (status) {
            return status;
        }
    }
    return TR_OK;
}

/* ---- TempCompass ---- */

/* The lines of a question behind its first are the options, "A. text". */
static size_t question_options(char *question, const char *options[26])
{
    size_t count = 0;
    for (char *line = strchr(question, '\n'); line && count < 26; line = strchr(line, '\n')) {
        *line++ = 0;
        options[count++] = line[0] && line[1] == '.' && line[2] == ' ' ? line + 3 : line;
    }
    return count;
}

static tr_status tempcompass_item(tr_evaluation *e, const char *dimension, const char *id, const json_t *item,
                                  tr_error *err)
{
    const char *asked = json_string_value(json_object_get(item, "question"));
    const char *right = json_string_value(json_object_get(item, "gt-answer"));
    const char *given = json_string_value(json_object_get(item, "video-llm-prediction")), *options[26];
    if (!asked || !right) {
        return tr_fail(err, TR_FORMAT, id, "needs \"question\" and \"gt-answer\"");
    }
    char *question = tr_strdup(asked);
    if (!question) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    tr_truth truth = {.answer = right, .options = options, .option_count = question_options(question, options)};
    char option = 0;
    size_t count;
    e->predictions++;
    bool parsed = given && tr_evaluation_parse(e, TR_TASK_QA, given, strlen(given), &truth, &count, &option);
    count_answer(e, id, given != NULL, parsed);
    tr_status status = tr_evaluation_add(e, TR_TASK_QA, NULL, 0, option, &truth, err);
    size_t n = e->count[TR_TASK_QA][TR_METRIC_ACCURACY];
    json_t *pair = json_object_get(e->subtasks, dimension);
    if (!pair) {
        pair = json_pack("[i,i]", 0, 0);
        json_object_set_new(e->subtasks, dimension, pair);
    }
    json_int_t hit = !status && e->values[TR_TASK_QA][TR_METRIC_ACCURACY][n - 1] > 0;
    json_array_set_new(pair, 0, json_integer(json_integer_value(json_array_get(pair, 0)) + hit));
    json_array_set_new(pair, 1, json_integer(json_integer_value(json_array_get(pair, 1)) + 1));
    free(question);
    return status;
}

static tr_status tempcompass(tr_evaluation *e, const json_t *pred, tr_error *err)
{
    const char *video, *dimension;
    json_t *dimensions, *list, *item;
    size_t i;
    json_object_foreach((json_t *)pred, video, dimensions)
    {
        json_object_foreach(dimensions, dimension, list)
        {
            json_array_foreach(list, i, item)
            {
                char id[300];
                snprintf(id, sizeof id, "%s/%s/%zu", video, dimension, i + 1);
                tr_status status = tempcompass_item(e, dimension, id, item, err);
                if (status) {
                    return status;
                }
            }
        }
    }
    return TR_OK;
}

/* ---- NExT-GQA ---- */

/* One predicted window against several true ones: the best IoU and the best IoP, each on its own, as published. */
static void best_of(tr_interval p, const json_t *locations, tr_metric_values *values)
{
    size_t i;
    json_t *location;
    double iou = 0, iop = 0;
    json_array_foreach((json_t *)locations, i, location)
    {
        tr_interval g;
        if (read_pair(location, &g)) {
            iou = fmax(iou, tr_interval_iou(p, g));
            iop = fmax(iop, tr_interval_iop(p, g));
        }
    }
    values->value[TR_METRIC_IOU] = iou;
    values->value[TR_METRIC_IOU_03] = iou >= 0.3;
    values->value[TR_METRIC_IOU_05] = iou >= 0.5;
    values->value[TR_METRIC_IOP] = iop;
    values->value[TR_METRIC_IOP_03] = iop >= 0.3;
    values->value[TR_METRIC_IOP_05] = iop >= 0.5;
}

static tr_status next_gqa_question(tr_evaluation *e, const json_t *pred, const char *video, const char *question,
                                   const json_t *locations, tr_error *err)
{
    char id[300];
    snprintf(id, sizeof id, "%s_%s", video, question);
    const json_t *given = json_object_get(pred, id);
    given = given ? given : json_object_get(json_object_get(pred, video), question);
    const json_t *window = json_is_object(given) ? json_object_get(given, "segment") : given;
    window = window || !json_is_object(given) ? window : json_object_get(given, "span");
    const json_t *answer = json_object_get(given, "answer"), *choice = json_object_get(given, "prediction");
    tr_metric_values values = {.present = 1u << TR_METRIC_IOU | 1u << TR_METRIC_IOU_03 | 1u << TR_METRIC_IOU_05 |
                                          1u << TR_METRIC_IOP | 1u << TR_METRIC_IOP_03 | 1u << TR_METRIC_IOP_05};
    tr_interval p;
    window = json_is_array(json_array_get(window, 0)) ? json_array_get(window, 0) : window;
    bool parsed = read_pair(window, &p);
    if (parsed) {
        best_of(p, locations, &values);
    }
    if (answer || !given) {
        bool right = answer && choice && json_equal((json_t *)answer, (json_t *)choice);
        values.present |= 1u << TR_METRIC_ACCURACY | 1u << TR_METRIC_ACC_GQA;
        values.value[TR_METRIC_ACCURACY] = right;
        values.value[TR_METRIC_ACC_GQA] = right && values.value[TR_METRIC_IOP] >= 0.5;
    }
    e->predictions += given != NULL;
    count_answer(e, id, given != NULL, parsed);
    return tr_evaluation_push(e, TR_TASK_GVQA, &values, err);
}

static tr_status next_gqa(tr_evaluation *e, const json_t *pred, const json_t *truth, tr_error *err)
{
    const char *video, *question;
    json_t *entry, *locations;
    if (!json_is_object(pred) || !json_is_object(truth)) {
        return tr_fail(err, TR_FORMAT, NULL, "next-gqa needs an object by video and one by VIDEO_QID");
    }
    json_object_foreach((json_t *)truth, video, entry)
    {
        json_object_foreach(json_object_get(entry, "location"), question, locations)
        {
            tr_status status = next_gqa_question(e, pred, video, question, locations, err);
            if (status) {
                return status;
            }
        }
    }
    return TR_OK;
}

tr_status tr_evaluate_foreign(tr_evaluation *e, const char *format, const json_t *pred, const json_t *truth,
                              tr_error *err)
{
    if (!strcmp(format, "timechat")) {
        return timechat(e, pred, truth, err);
    }
    if (!strcmp(format, "lmms-eval")) {
        return lmms(e, pred, err);
    }
    if (!strcmp(format, "vtimellm")) {
        return vtimellm(e, pred, truth, err);
    }
    return !strcmp(format, "tempcompass") ? tempcompass(e, pred, err) : next_gqa(e, pred, truth, err);
}
