/* measure.c: collects answers and turns them into metrics. */
#include "eval/measure.h"

#include "base/memory.h"
#include "task/interval.h"
#include "task/metrics.h"

#include <stdlib.h>
#include <string.h>

enum { TASKS = 6 };
static const char *const task_names[TASKS] = {"tg", "dtg", "vhd", "gvqa", "tal", "qa"};

/* One number a row, in the order of the rows; rows of a task share an index. */
typedef struct column {
    char name[32];
    double *values;
    size_t count, capacity;
} column;

typedef struct task_rows {
    column columns[TR_SCORE_PARTS + 8];
    size_t column_count, rows, parsed, formatted, truncated;
    int64_t tokens;
} task_rows;

struct tr_measure {
    task_rows tasks[TASKS];
    double reward;
    size_t rows, unanswered;
    json_t *why; /* {message: count} of the unanswered */
};

tr_status tr_measure_create(tr_measure **measure, tr_error *err)
{
    *measure = tr_calloc(1, sizeof **measure);
    if (!*measure || !((*measure)->why = json_object())) {
        free(*measure);
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
        for (size_t c = 0; c < measure->tasks[t].column_count; c++) {
            free(measure->tasks[t].columns[c].values);
        }
    }
    json_decref(measure->why);
    free(measure);
}

/* Sets the value of a row in a column; rows before that never had it count as 0. */
static tr_status set_value(task_rows *rows, const char *name, size_t row, double value, tr_error *err)
{
    column *found = NULL;
    for (size_t c = 0; c < rows->column_count && !found; c++) {
        found = strcmp(rows->columns[c].name, name) ? NULL : &rows->columns[c];
    }
    if (!found) {
        if (rows->column_count == sizeof rows->columns / sizeof *rows->columns) {
            return tr_fail(err, TR_INVALID, NULL, "more than %zu measured values a row", rows->column_count);
        }
        found = &rows->columns[rows->column_count++];
        snprintf(found->name, sizeof found->name, "%s", name);
    }
    tr_status status = tr_grow(&found->values, &found->capacity, row + 1, sizeof *found->values, err);
    if (!status) {
        found->values[row] = value;
        found->count = row + 1;
    }
    return status;
}

/* The first pair of what was understood and of the truth; false when the answer holds none. */
static bool first_pair(const json_t *list, double duration_s, tr_interval *out)
{
    const json_t *pair = json_array_get(list, 0);
    if (!json_is_array(pair) || json_array_size(pair) != 2) {
        return false;
    }
    *out = (tr_interval){json_number_value(json_array_get(pair, 0)), json_number_value(json_array_get(pair, 1))};
    if (duration_s > 0) {
        *out = tr_interval_clamp(*out, duration_s);
    }
    return tr_interval_proper(*out);
}

/* Grounding: the IoU of exactly one parsed interval with the truth, else 0. */
static double grounding_iou(const tr_sample *sample, const json_t *parsed)
{
    tr_interval p, g;
    const json_t *list = json_is_object(parsed) ? json_object_get(parsed, "segments") : parsed;
    if (json_array_size(list) != 1 || !first_pair(list, sample->duration_s, &p) ||
        !first_pair(json_object_get(sample->truth, "segments"), 0, &g)) {
        return 0;
    }
    return tr_interval_iou(p, g);
}

static task_rows *rows_of(tr_measure *measure, const char *task)
{
    for (int t = 0; t < TASKS; t++) {
        if (!strcmp(task_names[t], task)) {
            return &measure->tasks[t];
        }
    }
    return NULL;
}

tr_status tr_measure_add(tr_measure *measure, const tr_sample *sample, const char *text, size_t length,
                         int64_t tokens, bool stopped, const tr_score *score, json_t **prediction, tr_error *err)
{
    *prediction = NULL;
    task_rows *rows = rows_of(measure, sample->task);
    if (!rows) {
        return tr_fail(err, TR_INVALID, sample->id, "there is no metric for the task \"%s\"", sample->task);
    }
    size_t row = rows->rows++;
    tr_status status = set_value(rows, "reward", row, score->reward, err);
    json_t *parts = json_object();
    for (int i = 0; !status && i < score->part_count; i++) {
        json_object_set_new(parts, score->parts[i].name, json_real(score->parts[i].value));
        status = set_value(rows, score->parts[i].name, row, score->parts[i].value, err);
    }
    *prediction = json_pack("{s:s, s:s, s:s%, s:O?, s:f, s:o, s:s, s:I}", "id", sample->id, "task", sample->task,
                            "response", text, length, "parsed", score->parsed, "reward", score->reward, "parts",
                            parts, "finish", stopped ? "stop" : "length", "tokens", (json_int_t)tokens);
    if (!status && !*prediction) { /* the text is not valid UTF-8: it is kept out, the numbers stay */
        *prediction = json_pack("{s:s, s:s, s:n, s:f}", "id", sample->id, "task", sample->task, "response",
                                "reward", score->reward);
    }
    if (!status && !strcmp(sample->task, "tg")) {
        double iou = grounding_iou(sample, score->parsed);
        json_object_set_new(*prediction, "iou", json_real(iou));
        status = set_value(rows, "tiou", row, iou, err);
    }
    if (score->error[0] && *prediction) {
        json_object_set_new(*prediction, "error", json_string(score->error));
    }
    rows->parsed += !score->error[0];
    rows->formatted += score->format;
    rows->truncated += !stopped;
    rows->tokens += tokens;
    measure->reward += score->reward;
    measure->rows++;
    return status;
}

tr_status tr_measure_skip(tr_measure *measure, const tr_error *why, tr_error *err)
{
    measure->unanswered++;
    json_int_t count = json_integer_value(json_object_get(measure->why, why->message));
    if (json_object_set_new_nocheck(measure->why, why->message, json_integer(count + 1))) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    return TR_OK;
}

double tr_measure_reward(const tr_measure *measure)
{
    return measure->rows ? measure->reward / (double)measure->rows : 0;
}

/* Over all rows of the task: those after the last value have none either. */
static double mean(const column *one, size_t rows)
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
    char interval[48];
    tr_status status = tr_bootstrap_mean(values->values, values->count, TR_BOOTSTRAP_RESAMPLES, 0.95, 1, &b, err);
    if (!status) {
        snprintf(interval, sizeof interval, "%s_interval", name);
        json_object_set_new(out, name, json_real(b.mean));
        json_object_set_new(out, interval, json_pack("[f, f]", b.low, b.high));
    }
    return status;
}

/* Grounding's own numbers from the column of IoUs. */
static tr_status add_grounding(json_t *out, const column *iou, size_t rows, tr_error *err)
{
    static const double thresholds[] = {0.3, 0.5, 0.7};
    tr_status status = set_mean(out, "miou", iou, err);
    for (size_t t = 0; t < 3; t++) {
        size_t hits = 0;
        char name[16];
        for (size_t i = 0; i < rows; i++) {
            hits += iou->values[i] >= thresholds[t];
        }
        snprintf(name, sizeof name, "r1@%.1f", thresholds[t]);
        json_object_set_new(out, name, json_real((double)hits / (double)rows));
    }
    return status;
}

static tr_status task_metrics(const task_rows *rows, json_t **metrics, tr_error *err)
{
    tr_status status = TR_OK;
    double n = (double)rows->rows;
    json_t *parts = json_object();
    json_t *out = json_pack("{s:I, s:f, s:f, s:f, s:f}", "rows", (json_int_t)rows->rows, "format_rate",
                            (double)rows->formatted / n, "parsed_rate", (double)rows->parsed / n, "truncated_rate",
                            (double)rows->truncated / n, "mean_tokens", (double)rows->tokens / n);
    for (size_t c = 0; !status && c < rows->column_count; c++) {
        const column *one = &rows->columns[c];
        if (!strcmp(one->name, "tiou")) {
            status = add_grounding(out, one, rows->rows, err);
        } else if (!strcmp(one->name, "reward")) {
            status = set_mean(out, "reward", one, err);
        } else {
            json_object_set_new(parts, one->name, json_real(mean(one, rows->rows)));
        }
    }
    json_object_set_new(out, "parts", parts);
    *metrics = out;
    return status;
}

tr_status tr_measure_metrics(const tr_measure *measure, json_t **metrics, tr_error *err)
{
    *metrics = json_pack("{s:I, s:I, s:O}", "rows", (json_int_t)measure->rows, "unanswered",
                         (json_int_t)measure->unanswered, "unanswered_why", measure->why);
    if (!*metrics) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for the metrics");
    }
    tr_status status = TR_OK;
    for (int t = 0; !status && t < TASKS; t++) {
        if (measure->tasks[t].rows) {
            json_t *one = NULL;
            status = task_metrics(&measure->tasks[t], &one, err);
            json_object_set_new(*metrics, task_names[t], one);
        }
    }
    return status;
}
