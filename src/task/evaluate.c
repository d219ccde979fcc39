/* evaluate.c: collecting values over samples; which format it is; the result object. */
#include "task/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAMES = 20 };

void tr_evaluation_name(json_t *list, const char *id)
{
    if (json_array_size(list) < NAMES) {
        json_array_append_new(list, json_string(id));
    }
}

tr_status tr_evaluation_push(tr_evaluation *e, tr_task task, const tr_metric_values *values, tr_error *err)
{
    for (int k = 0; k < TR_METRICS; k++) {
        if (values->present >> k & 1) {
            size_t *count = &e->count[task][k];
            tr_status status = tr_grow(&e->values[task][k], &e->capacity[task][k], *count + 1, sizeof(double), err);
            if (status) {
                return status;
            }
            e->values[task][k][(*count)++] = values->value[k];
        }
    }
    return TR_OK;
}

static tr_status reserve(tr_evaluation *e, size_t count, tr_error *err)
{
    size_t need = 2 * tr_reward_arena_bytes(count);
    if (need <= e->arena.size) {
        tr_arena_reset(&e->arena, 0);
        return TR_OK;
    }
    tr_arena_free(&e->arena);
    return tr_arena_init(&e->arena, need, err);
}

tr_status tr_evaluation_add(tr_evaluation *e, tr_task task, const tr_interval *p, size_t m, char option,
                            const tr_truth *truth, tr_error *err)
{
    tr_metric_values values;
    tr_status status = reserve(e, truth->count, err);
    if (task != TR_TASK_DTG) {
        status = status ? status : tr_metric_sample(task, p, m, option, truth, &e->arena, &values, err);
        return status ? status : tr_evaluation_push(e, task, &values, err);
    }
    for (size_t i = 0; i < truth->count && !status; i++) {
        tr_truth sentence = *truth;
        sentence.segments = truth->segments + i;
        sentence.count = 1;
        status = tr_metric_sample(task, i < m ? p + i : NULL, i < m, 0, &sentence, &e->arena, &values, err);
        status = status ? status : tr_evaluation_push(e, task, &values, err);
    }
    return status;
}

bool tr_evaluation_parse(tr_evaluation *e, tr_task task, const char *text, size_t length, const tr_truth *truth,
                         size_t *count, char *option)
{
    tr_span response = {text, text + length}, inside, glue;
    tr_answer answer = {.intervals = e->intervals};
    tr_answer_units units = {.duration_s = truth->duration_s};
    bool wants_option = task == TR_TASK_QA || task == TR_TASK_GVQA;
    *count = 0;
    *option = 0;
    tr_answer_find(TR_WHERE_ANYWHERE, response, &inside);
    if (wants_option) {
        *option = tr_answer_option(inside, truth->options, truth->option_count);
    }
    if (task == TR_TASK_QA) {
        return *option != 0;
    }
    if (e->options->compat && task == TR_TASK_TG) {
        *count = tr_answer_compat_pair(response, &e->intervals[0]);
        return *count == 1;
    }
    if (task == TR_TASK_GVQA && tr_scan_last_block(response, "<glue>", "</glue>", &glue)) {
        inside = glue;
    }
    tr_answer_pairs(inside, &units, text, &answer);
    *count = answer.count;
    /* An empty <answer></answer> says "none" where that is possible. */
    bool none = !answer.count && tr_scan_trim(inside).at == tr_scan_trim(inside).end && length > 0 &&
                (task == TR_TASK_TAL || task == TR_TASK_VHD);
    return (answer.count > 0 || none) && (!wants_option || *option);
}

static bool has_key_with(const json_t *object, const char *part)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        return strstr(key, part) != NULL; /* the first one decides */
    }
    return false;
}

static const json_t *first_value(const json_t *object)
{
    const char *key;
    json_t *value;
    if (json_is_array(object)) {
        return json_array_get(object, 0);
    }
    json_object_foreach((json_t *)object, key, value)
    {
        return value;
    }
    return NULL;
}

static const char *guess_format(const json_t *pred, const json_t *truth)
{
    const json_t *p = first_value(pred), *t = first_value(truth);
    if (json_object_get(pred, "results")) {
        return "activitynet";
    }
    if (json_object_get(p, "pred_relevant_windows") || json_object_get(p, "pred_saliency_scores")) {
        return "qvhighlights";
    }
    if (json_is_object(pred) && has_key_with(pred, ">>>")) {
        return "lmms-eval";
    }
    if (json_is_array(json_object_get(truth, "annotations"))) {
        bool dense = json_object_get(json_array_get(json_object_get(truth, "annotations"), 0), "segments") != NULL;
        return dense ? "timechat-dense" : "timechat";
    }
    if (json_object_get(p, "info") || (json_object_get(p, "query_id") && json_object_get(p, "task"))) {
        return "vtimellm";
    }
    if (json_object_get(first_value(first_value(p)), "video-llm-prediction")) {
        return "tempcompass";
    }
    if (json_is_object(truth) && json_object_get(t, "location")) {
        return "next-gqa";
    }
    return "rows";
}

static tr_status metric_object(const tr_evaluation *e, tr_task task, json_t **out, tr_error *err)
{
    *out = json_object();
    for (int k = 0; k < TR_METRICS; k++) {
        size_t n = e->count[task][k];
        tr_bootstrap b = {0, NAN, NAN};
        if (!n) {
            continue;
        }
        tr_status status = TR_OK;
        if (e->options->resamples) {
            status =
                tr_bootstrap_mean(e->values[task][k], n, e->options->resamples, 0.95, e->options->seed, &b, err);
        } else {
            for (size_t i = 0; i < n; i++) {
                b.mean += e->values[task][k][i] / (double)n;
            }
        }
        if (status) {
            return status;
        }
        json_t *one = json_pack("{s:f}", "value", b.mean);
        if (e->options->resamples) {
            json_object_set_new(one, "low", json_real(b.low));
            json_object_set_new(one, "high", json_real(b.high));
        }
        json_object_set_new(one, "count", json_integer((json_int_t)n));
        json_object_set_new(*out, tr_metric_name((tr_metric)k, task), one);
    }
    return TR_OK;
}

static void add_subtasks(const tr_evaluation *e, json_t *metrics)
{
    const char *key;
    json_t *pair, *out = json_object();
    double sum = 0;
    json_object_foreach(e->subtasks, key, pair)
    {
        double right = json_number_value(json_array_get(pair, 0)), all = json_number_value(json_array_get(pair, 1));
        json_object_set_new(out, key, json_pack("{s:f,s:I}", "value", right / all, "count", (json_int_t)all));
        sum += right / all;
    }
    size_t count = json_object_size(e->subtasks);
    if (count) {
        json_object_set_new(out, "mean",
                            json_pack("{s:f,s:I}", "value", sum / (double)count, "count", (json_int_t)count));
        json_object_set_new(metrics, "qa by sub-task", out);
    } else {
        json_decref(out);
    }
}

static tr_status build(const tr_evaluation *e, const char *format, json_t **result, tr_error *err)
{
    json_t *metrics = json_object();
    tr_status status = TR_OK;
    for (int t = 0; t < TR_TASK_COUNT && !status; t++) {
        json_t *one = NULL;
        status = metric_object(e, (tr_task)t, &one, err);
        if (json_object_size(one)) {
            json_object_set_new(metrics, tr_task_name((tr_task)t), one);
        } else {
            json_decref(one);
        }
    }
    add_subtasks(e, metrics);
    *result = json_pack(
        "{s:s,s:o,s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I},s:{s:O,s:O,s:O,s:O}}", "format", format, "metrics", metrics,
        "counts", "truths", (json_int_t)e->truths, "predictions", (json_int_t)e->predictions, "parsed",
        (json_int_t)e->parsed, "unparsed", (json_int_t)e->unparsed, "missing", (json_int_t)e->missing, "unknown",
        (json_int_t)e->unknown, "duplicates", (json_int_t)e->duplicates, "problems", "missing", e->missing_ids,
        "unknown", e->unknown_ids, "duplicates", e->duplicate_ids, "unparsed", e->unparsed_ids);
    return status ? status : *result ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
}

/* The official evaluators that are not means over samples. */
static tr_status official(const char *format, const json_t *pred, const json_t *truth, json_t **result,
                          tr_error *err)
{
    json_t *object = NULL;
    size_t shared = json_array_size(pred);
    bool windows = !strcmp(format, "qvhighlights"), dense = !strcmp(format, "timechat-dense");
    tr_status status = windows ? tr_evaluate_qvhighlights(pred, truth, &object, &shared, err)
                       : dense ? tr_evaluate_timechat_dense(pred, truth, &object, err)
                               : tr_evaluate_activitynet(pred, truth, "validation", &object, err);
    if (status) {
        return status;
    }
    if (dense) {
        *result = json_pack("{s:s,s:O,s:{s:O,s:I}}", "format", format, "official", object, "counts", "truths",
                            json_object_get(object, "n_videos"), "predictions", (json_int_t)json_object_size(pred));
        json_decref(object);
        return *result ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    json_int_t preds =
        windows ? (json_int_t)json_array_size(pred) : json_integer_value(json_object_get(object, "n_pred"));
    json_int_t truths =
        windows ? (json_int_t)json_array_size(truth) : json_integer_value(json_object_get(object, "n_gt"));
    *result = json_pack("{s:s,s:o,s:{s:I,s:I,s:I,s:I}}", "format", format, "official", object, "counts", "truths",
                        truths, "predictions", preds, "unknown",
                        windows ? preds - (json_int_t)shared
                                : json_integer_value(json_object_get(object, "unknown_labels")),
                        "missing", windows && truths > (json_int_t)shared ? truths - (json_int_t)shared : 0);
    return *result ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
}

static void finish(tr_evaluation *e)
{
    for (int t = 0; t < TR_TASK_COUNT; t++) {
        for (int k = 0; k < TR_METRICS; k++) {
            free(e->values[t][k]);
        }
    }
    tr_arena_free(&e->arena);
    free(e->intervals);
    json_decref(e->subtasks);
    json_decref(e->missing_ids);
    json_decref(e->unknown_ids);
    json_decref(e->duplicate_ids);
    json_decref(e->unparsed_ids);
}

tr_status tr_evaluate(const json_t *pred, const json_t *truth, const tr_evaluate_options *options, json_t **result,
                      tr_error *err)
{
    static const char *const formats[] = {"rows",      "qvhighlights", "activitynet", "timechat", "timechat-dense",
                                          "lmms-eval", "vtimellm",     "tempcompass", "next-gqa"};
    const char *format = options->format ? options->format : guess_format(pred, truth);
    bool known = false;
    *result = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        known = known || !strcmp(formats[i], format);
    }
    if (!known) {
        const char *near = tr_nearest(format, formats, sizeof formats / sizeof *formats);
        return tr_fail(err, TR_INVALID, NULL,
                       "there is no format '%s'%s%s%s; the formats are rows, qvhighlights, activitynet, timechat, "
                       "timechat-dense, lmms-eval, vtimellm, tempcompass and next-gqa",
                       format, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    }
    bool own_truth = !strcmp(format, "lmms-eval") || !strcmp(format, "tempcompass");
    if (!truth && !own_truth) {
        return tr_fail(err, TR_INVALID, options->pred_name, "predictions in the format %s need a truth", format);
    }
    if (!strcmp(format, "qvhighlights") || !strcmp(format, "activitynet") || !strcmp(format, "timechat-dense")) {
        return official(format, pred, truth, result, err);
    }
    tr_evaluation e = {.options = options,
                       .subtasks = json_object(),
                       .missing_ids = json_array(),
                       .unknown_ids = json_array(),
                       .duplicate_ids = json_array(),
                       .unparsed_ids = json_array(),
                       .intervals = tr_calloc(TR_ANSWER_INTERVALS, sizeof(tr_interval))};
    tr_status status = e.intervals ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    if (!status) {
        status = !strcmp(format, "rows") ? tr_evaluate_rows(&e, pred, truth, err)
                                         : tr_evaluate_foreign(&e, format, pred, truth, err);
    }
    status = status ? status : build(&e, format, result, err);
    finish(&e);
    if (status) {
        json_decref(*result);
        *result = NULL;
    }
    return status;
}
