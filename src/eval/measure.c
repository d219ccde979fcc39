/* measure.c: collects lines of predictions and turns them into metrics. */
#include "eval/measure.h"

#include "base/memory.h"
#include "base/random.h"
#include "eval/prediction.h"

#include <stdlib.h>
#include <string.h>

enum { TASKS = TR_TASK_COUNT, COLUMNS = 2 * TR_METRICS + TR_SCORE_PARTS + 2, GROUPS = 3 };
static const char *const group_keys[GROUPS] = {"subtask", "length", "question_type"};
static const char *const group_names[GROUPS] = {"subtasks", "lengths", "question_types"};

/* Numbers of one name, in the order of the rows: one a row, for dtg one a sentence. */
typedef struct column {
    char name[40];
    int kind; /* what it is: REWARD, ... */
    double *values;
    size_t count, capacity;
} column;
enum { REWARD, PART, METRIC, BEST_REWARD, BEST };

typedef struct group {
    char *name;
    column values;
} group;

typedef struct group_list {
    group *items;
    size_t count, capacity;
} group_list;

typedef struct task_rows {
    column columns[COLUMNS];
    size_t column_count, rows, answers, parsed, formatted, truncated;
    double tokens;
    group_list groups[GROUPS];
} task_rows;

struct tr_measure {
    task_rows tasks[TASKS];
    double reward;
    size_t rows, unanswered, samples;
    json_t *why;                                                /* {message: count} of the unanswered */
    json_t *windows, *true_windows, *detections, *true_actions; /* for the official evaluators */
};

tr_status tr_measure_create(tr_measure **measure, tr_error *err)
{
    tr_measure *m = tr_calloc(1, sizeof *m);
    *measure = m;
    if (m) {
        m->why = json_object();
        m->windows = json_array();
        m->true_windows = json_array();
        m->detections = json_object();
        m->true_actions = json_object();
    }
    if (!m || !m->why || !m->windows || !m->true_windows || !m->detections || !m->true_actions) {
        tr_measure_free(m);
        *measure = NULL;
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    return TR_OK;
}

void tr_measure_free(tr_measure *measure)
{
    if (!measure) {
        return;
    }
    for (int t = 0; t < TASKS; t++) {
        task_rows *rows = &measure->tasks[t];
        for (size_t c = 0; c < rows->column_count; c++) {
            free(rows->columns[c].values);
        }
        for (int g = 0; g < GROUPS; g++) {
            for (size_t i = 0; i < rows->groups[g].count; i++) {
                free(rows->groups[g].items[i].name);
                free(rows->groups[g].items[i].values.values);
            }
            free(rows->groups[g].items);
        }
    }
    json_decref(measure->why);
    json_decref(measure->windows);
    json_decref(measure->true_windows);
    json_decref(measure->detections);
    json_decref(measure->true_actions);
    free(measure);
}

/* ---- columns ---- */

static tr_status append(column *to, double value, tr_error *err)
{
    tr_status status = tr_grow(&to->values, &to->capacity, to->count + 1, sizeof *to->values, err);
    if (!status) {
        to->values[to->count++] = value;
    }
    return status;
}

static tr_status column_of(task_rows *rows, int kind, const char *name, column **out, tr_error *err)
{
    for (size_t c = 0; c < rows->column_count; c++) {
        if (rows->columns[c].kind == kind && !strcmp(rows->columns[c].name, name)) {
            *out = &rows->columns[c];
            return TR_OK;
        }
    }
    if (rows->column_count == COLUMNS) {
        return tr_fail(err, TR_INVALID, NULL, "more than %d measured values a row", COLUMNS);
    }
    *out = &rows->columns[rows->column_count++];
    (*out)->kind = kind;
    snprintf((*out)->name, sizeof(*out)->name, "%s", name);
    return TR_OK;
}

/* Adds the values of {name: number or list}. Parts stand at their row: rows before that never had one count as 0.
 */
static tr_status add_values(task_rows *rows, int kind, const json_t *object, tr_error *err)
{
    const char *name;
    json_t *value;
    tr_status status = TR_OK;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        column *to = NULL;
        size_t n = json_is_array(value) ? json_array_size(value) : 1;
        if ((status = column_of(rows, kind, name, &to, err)) || !to) {
            break;
        }
        while (!status && kind == PART && to->count < rows->rows) {
            status = append(to, 0, err);
        }
        for (size_t i = 0; !status && i < n; i++) {
            status = append(to, json_number_value(json_is_array(value) ? json_array_get(value, i) : value), err);
        }
        if (status) {
            break;
        }
    }
    return status;
}

static tr_status add_group(group_list *list, const char *name, double value, tr_error *err)
{
    size_t i = 0;
    while (i < list->count && strcmp(list->items[i].name, name) != 0) {
        i++;
    }
    tr_status status = TR_OK;
    if (i == list->count) {
        status = tr_grow(&list->items, &list->capacity, i + 1, sizeof *list->items, err);
        char *copy = status ? NULL : tr_strdup(name);
        if (!status && !copy) {
            status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
        }
        if (!status) {
            list->items[list->count++] = (group){.name = copy};
        }
    }
    return status ? status : append(&list->items[i].values, value, err);
}

/* ---- the official evaluators' inputs ---- */

static void add_windows(tr_measure *m, const json_t *line, const json_t *row)
{
    const json_t *parsed = json_object_get(line, "parsed");
    json_t *windows = json_array(), *id = json_object_get(line, "id"), *pair;
    size_t i;
    json_array_foreach(parsed, i, pair)
    {
        json_t *start = json_array_get(pair, 0), *end = json_array_get(pair, 1);
        if (json_is_number(start) && json_is_number(end)) {
            json_array_append_new(windows, json_pack("[O,O,f]", start, end, 1.0 / (double)(i + 1)));
        }
    }
    if (!json_array_size(windows)) {
        json_array_append_new(windows, json_pack("[f,f,f]", 0.0, 0.0, 0.0));
    }
    json_array_append_new(m->windows, json_pack("{s:O,s:o}", "qid", id, "pred_relevant_windows", windows));
    json_array_append_new(m->true_windows,
                          json_pack("{s:O,s:O}", "qid", id, "relevant_windows", json_object_get(row, "segments")));
}

/* {video: [{"label", "segment", "score"}]}; a part of a video is a video of its own. */
static void add_actions(json_t *to, const char *video, const char *action, const json_t *segments)
{
    json_t *list = json_object_get(to, video), *pair;
    size_t i;
    if (!list) {
        list = json_array();
        json_object_set_new(to, video, list);
    }
    json_array_foreach((json_t *)(uintptr_t)segments, i, pair)
    {
        if (json_is_number(json_array_get(pair, 0)) && json_is_number(json_array_get(pair, 1))) {
            json_array_append_new(
                list, json_pack("{s:s,s:O,s:f}", "label", action, "segment", pair, "score", 1.0 / (double)(i + 1)));
        }
    }
}

static void add_official(tr_measure *m, tr_task task, const json_t *line, const json_t *row)
{
    const json_t *segments = json_object_get(row, "segments");
    const char *video = json_string_value(json_object_get(row, "video"));
    const char *action = json_string_value(json_object_get(row, "action"));
    if (json_object_get(line, "samples") || !segments) {
        return;
    }
    if (task == TR_TASK_VHD) {
        add_windows(m, line, row);
    } else if (task == TR_TASK_TAL && video && action) {
        char *clip = json_dumps(json_object_get(row, "clip"), JSON_COMPACT);
        char *name = tr_format("%s%s", video, clip ? clip : "");
        if (name) {
            add_actions(m->detections, name, action, json_object_get(line, "parsed"));
            add_actions(m->true_actions, name, action, segments);
        }
        free(clip);
        free(name);
    }
}

/* ---- adding ---- */

static tr_status add_answers(task_rows *rows, const json_t *line, double *reward, double *best, tr_error *err)
{
    size_t n = tr_prediction_count(line);
    json_t *all = json_array();
    *reward = *best = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *answer = tr_prediction_answer(line, i);
        const char *finish = json_string_value(json_object_get(answer, "finish"));
        double x = json_number_value(json_object_get(answer, "reward"));
        *reward += x / (double)n;
        *best = i == 0 || x > *best ? x : *best;
        rows->answers++;
        rows->parsed += !json_object_get(answer, "error");
        rows->formatted += json_is_true(json_object_get(answer, "format"));
        rows->truncated += finish && strcmp(finish, "stop") != 0;
        rows->tokens += json_number_value(json_object_get(answer, "tokens"));
        json_array_append(all, (json_t *)(uintptr_t)answer);
    }
    json_t *parts = tr_prediction_join(all, "parts", false);
    tr_status status = parts ? add_values(rows, PART, parts, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    json_decref(parts);
    json_decref(all);
    return status;
}

static tr_status add_one(tr_measure *m, task_rows *rows, const json_t *line, tr_error *err)
{
    const json_t *mean = json_object_get(line, "mean"), *best = json_object_get(line, "best");
    const json_t *accuracy;
    double reward, best_reward;
    column *to = NULL;
    tr_status status;
    mean = mean ? mean : json_object_get(line, "metrics");
    TR_TRY(add_answers(rows, line, &reward, &best_reward, err));
    TR_TRY(column_of(rows, REWARD, "reward", &to, err));
    TR_TRY(append(to, reward, err));
    TR_TRY(add_values(rows, METRIC, mean, err));
    if (best) {
        TR_TRY(column_of(rows, BEST_REWARD, "reward", &to, err));
        TR_TRY(append(to, best_reward, err));
        TR_TRY(add_values(rows, BEST, best, err));
    }
    accuracy = json_object_get(mean, "accuracy");
    for (int g = 0; accuracy && g < GROUPS; g++) {
        const char *name = json_string_value(json_object_get(line, group_keys[g]));
        if (name) {
            TR_TRY(add_group(&rows->groups[g], name, json_number_value(accuracy), err));
        }
    }
    m->reward += reward;
    m->rows++;
    rows->rows++;
done:
    return status;
}

tr_status tr_measure_add(tr_measure *m, const json_t *line, const json_t *row, const char *where, tr_error *err)
{
    const char *why = NULL, *task_name = NULL, *id;
    tr_task task;
    tr_status status;
    TR_TRY(tr_json_get_string(line, "id", true, where, &id, err));
    TR_TRY(tr_json_get_string(line, "unanswered", false, where, &why, err));
    if (why) {
        json_int_t count = json_integer_value(json_object_get(m->why, why));
        m->unanswered++;
        return json_object_set_new_nocheck(m->why, why, json_integer(count + 1))
                   ? tr_fail(err, TR_MEMORY, NULL, "out of memory")
                   : TR_OK;
    }
    TR_TRY(tr_json_get_string(line, "task", true, where, &task_name, err));
    TR_TRY(tr_task_from_name(task_name, &task, err));
    if (!json_is_number(json_object_get(line, "reward"))) {
        return tr_fail(err, TR_FORMAT, where, "the prediction of \"%s\" has no \"reward\"", id);
    }
    size_t samples = tr_prediction_count(line);
    if (!samples || (m->samples && m->samples != samples)) {
        return tr_fail(err, TR_FORMAT, where, "%zu answers of \"%s\", but %zu of the rows before", samples, id,
                       m->samples);
    }
    m->samples = samples;
    TR_TRY(add_one(m, &m->tasks[task], line, err));
    add_official(m, task, line, row);
done:
    return status;
}

double tr_measure_reward(const tr_measure *measure)
{
    return measure->rows ? measure->reward / (double)measure->rows : 0;
}

/* ---- metrics ---- */

/* Over all rows of the task: those after the last value have none either. */
static double mean_of(const column *one, size_t rows)
{
    double sum = 0;
    for (size_t i = 0; i < one->count; i++) {
        sum += one->values[i];
    }
    return rows ? sum / (double)rows : 0;
}

/* Sets NAME and NAME_interval (95 %, percentile bootstrap). */
static tr_status set_mean(json_t *out, const char *name, const column *values, tr_error *err)
{
    tr_bootstrap b;
    char interval[64];
    tr_status status = tr_bootstrap_mean(values->values, values->count, TR_BOOTSTRAP_RESAMPLES, 0.95, 1, &b, err);
    if (!status) {
        snprintf(interval, sizeof interval, "%s_interval", name);
        json_object_set_new(out, name, json_real(b.mean));
        json_object_set_new(out, interval, json_pack("[f, f]", b.low, b.high));
    }
    return status;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

tr_status tr_strata_mean(const tr_stratum *strata, size_t count, double *mean, double *low, double *high,
                         tr_error *err)
{
    enum { RESAMPLES = TR_BOOTSTRAP_RESAMPLES };
    double *means = tr_calloc(RESAMPLES, sizeof *means);
    if (!means) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    *mean = 0;
    for (size_t s = 0; s < count; s++) {
        double sum = 0;
        size_t n = strata[s].count;
        for (size_t i = 0; i < n; i++) {
            sum += strata[s].values[i];
        }
        *mean += sum / (double)n / (double)count;
        for (size_t r = 0; r < RESAMPLES; r++) {
            double drawn = 0;
            for (size_t i = 0; i < n; i++) {
                drawn += strata[s].values[tr_random_below(1, (uint32_t)r, (uint32_t)i, (uint32_t)s, 0, n)];
            }
            means[r] += drawn / (double)n / (double)count;
        }
    }
    qsort(means, RESAMPLES, sizeof *means, ascending);
    *low = means[RESAMPLES / 40];
    *high = means[RESAMPLES - 1 - RESAMPLES / 40];
    free(means);
    return TR_OK;
}

static tr_status set_groups(const group_list *list, int kind, json_t *out, tr_error *err)
{
    json_t *groups = json_object();
    tr_stratum *strata = tr_calloc(list->count, sizeof *strata);
    tr_status status = groups && strata ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    double mean, low, high;
    for (size_t i = 0; !status && i < list->count; i++) {
        const group *g = &list->items[i];
        json_t *one = json_pack("{s:I}", "rows", (json_int_t)g->values.count);
        strata[i] = (tr_stratum){g->values.values, g->values.count};
        status = set_mean(one, "accuracy", &g->values, err);
        json_object_set_new(groups, g->name, one);
    }
    status = status ? status : tr_strata_mean(strata, list->count, &mean, &low, &high, err);
    json_object_set_new(out, group_names[kind], groups);
    if (!status && kind == 0) {
        json_object_set_new(out, "subtask_mean", json_real(mean));
        json_object_set_new(out, "subtask_mean_interval", json_pack("[f, f]", low, high));
    }
    free(strata);
    return status;
}

static tr_status set_official(const tr_measure *m, tr_task task, json_t *out, tr_error *err)
{
    json_t *result = NULL;
    size_t shared;
    tr_status status = TR_OK;
    if (task == TR_TASK_VHD && json_array_size(m->windows)) {
        status = tr_evaluate_qvhighlights(m->windows, m->true_windows, &result, &shared, err);
        if (!status) {
            json_object_set(out, "qvhighlights", json_object_get(result, "brief"));
        }
    } else if (task == TR_TASK_TAL && json_object_size(m->detections)) {
        const char *video;
        json_t *list, *database = json_object(), *pred = json_pack("{s:O}", "results", m->detections);
        json_object_foreach(m->true_actions, video, list)
        {
            json_object_set_new(database, video, json_pack("{s:O}", "annotations", list));
        }
        json_t *truth = json_pack("{s:o}", "database", database);
        status = tr_evaluate_activitynet(pred, truth, NULL, &result, err);
        if (!status) {
            json_object_set(out, "activitynet", result);
        }
        json_decref(pred);
        json_decref(truth);
    }
    json_decref(result);
    return status;
}

static tr_status task_metrics(const tr_measure *m, tr_task task, json_t **metrics, tr_error *err)
{
    const task_rows *rows = &m->tasks[task];
    tr_status status = TR_OK;
    double n = (double)rows->answers;
    json_t *parts = json_object(), *best = json_object();
    json_t *out = json_pack("{s:I, s:f, s:f, s:f, s:f}", "rows", (json_int_t)rows->rows, "format_rate",
                            (double)rows->formatted / n, "parsed_rate", (double)rows->parsed / n, "truncated_rate",
                            (double)rows->truncated / n, "mean_tokens", rows->tokens / n);
    for (size_t c = 0; !status && c < rows->column_count; c++) {
        const column *one = &rows->columns[c];
        if (one->kind == PART) {
            json_object_set_new(parts, one->name, json_real(mean_of(one, rows->rows)));
        } else {
            bool is_best = one->kind == BEST || one->kind == BEST_REWARD;
            status = set_mean(is_best ? best : out, one->name, one, err);
        }
    }
    json_object_set_new(out, "parts", parts);
    if (json_object_size(best)) {
        json_object_set(out, "best", best);
    }
    json_decref(best);
    for (int g = 0; !status && g < GROUPS; g++) {
        if (rows->groups[g].count) {
            status = set_groups(&rows->groups[g], g, out, err);
        }
    }
    status = status ? status : set_official(m, task, out, err);
    *metrics = out;
    return status;
}

tr_status tr_measure_metrics(const tr_measure *measure, json_t **metrics, tr_error *err)
{
    *metrics = json_pack("{s:I, s:I, s:O, s:I}", "rows", (json_int_t)measure->rows, "unanswered",
                         (json_int_t)measure->unanswered, "unanswered_why", measure->why, "samples",
                         (json_int_t)(measure->samples ? measure->samples : 1));
    if (!*metrics) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for the metrics");
    }
    tr_status status = TR_OK;
    for (int t = 0; !status && t < TASKS; t++) {
        if (measure->tasks[t].rows) {
            json_t *one = NULL;
            status = task_metrics(measure, (tr_task)t, &one, err);
            json_object_set_new(*metrics, tr_task_name((tr_task)t), one);
        }
    }
    return status;
}
