/* prediction.c: building lines of predictions.jsonl and reading them. */
#include "eval/prediction.h"

#include "corpus/rows.h"

#include <stdlib.h>
#include <string.h>

/* The fields of rows that results are grouped by, and what importers call them. */
static const struct {
    const char *name, *keys[6];
} groups[] = {
    {"subtask", {"subtask", "sub_task", "category", "dimension", "task_type", NULL}},
    {"length", {"length", NULL}},
    {"question_type", {"question_type", NULL}},
};

static void add_groups(json_t *line, const json_t *row)
{
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        for (size_t k = 0; groups[g].keys[k]; k++) {
            json_t *value = json_object_get(row, groups[g].keys[k]);
            if (json_is_string(value)) {
                json_object_set(line, groups[g].name, value);
                break;
            }
        }
    }
}

static json_t *head(const char *id, const char *task, const json_t *row)
{
    char hash[17] = "";
    if (row) {
        tr_row_hash(row, hash);
    }
    json_t *line = json_pack("{s:s, s:s, s:s}", "id", id, "task", task, "row", hash);
    if (line && row && (!strcmp(task, "qa") || !strcmp(task, "gvqa"))) {
        add_groups(line, row);
    }
    return line;
}

/* The text as JSON takes it: null when it is not UTF-8 (a source gives characters, cut ones are U+FFFD there). */
static json_t *text_json(const char *text, size_t length)
{
    json_t *out = json_stringn(text, length);
    return out ? out : json_null();
}

/* Adds one answer's fields to `out`. */
static tr_status add_answer(tr_reader *reader, const tr_sample *sample, tr_task task, bool has_truth,
                            const tr_given *given, json_t *out, tr_error *err)
{
    json_t *parts = json_object(), *parsed = NULL, *metrics = NULL;
    const tr_score *score = given->score;
    tr_status status = TR_OK;
    for (int i = 0; i < score->part_count; i++) {
        json_object_set_new(parts, score->parts[i].name, json_real(score->parts[i].value));
    }
    if (has_truth) {
        status = tr_reader_read(reader, task, given->text, given->length, score, &parsed, &metrics, err);
    } else {
        parsed = score->parsed ? json_incref(score->parsed) : json_null();
        metrics = json_object();
    }
    json_t *iou = task == TR_TASK_TG ? json_object_get(metrics, "miou") : NULL;
    int failed =
        json_object_set_new(out, "response", text_json(given->text, given->length)) |
        json_object_set_new(out, "parsed", parsed) | json_object_set_new(out, "reward", json_real(score->reward)) |
        json_object_set_new(out, "parts", parts) | json_object_set_new(out, "format", json_boolean(score->format)) |
        json_object_set_new(out, "finish", json_string(given->stopped ? "stop" : "length")) |
        json_object_set_new(out, "tokens", json_integer((json_int_t)given->tokens)) |
        json_object_set_new(out, "metrics", metrics);
    if (iou) {
        failed |= json_object_set(out, "iou", iou);
    }
    if (score->error[0]) {
        failed |= json_object_set_new(out, "error", json_string(score->error));
    }
    return status || !failed ? status : tr_fail(err, TR_MEMORY, sample->id, "out of memory for an answer");
}

static double number_at(const json_t *value, size_t index)
{
    return json_number_value(json_is_array(value) ? json_array_get(value, index) : value);
}

/* One unit of a metric over all samples. */
static double join_unit(const json_t *samples, const char *member, const char *key, size_t index, bool best)
{
    size_t n = json_array_size(samples);
    double sum = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *values = json_object_get(json_array_get(samples, i), member);
        double x = number_at(json_object_get(values, key), index);
        sum += x;
        most = i == 0 || x > most ? x : most;
    }
    return best ? most : sum / (double)n;
}

json_t *tr_prediction_join(const json_t *samples, const char *member, bool best)
{
    json_t *out = json_object(), *value;
    const char *key;
    json_object_foreach(json_object_get(json_array_get(samples, 0), member), key, value)
    {
        if (!json_is_array(value)) {
            json_object_set_new(out, key, json_real(join_unit(samples, member, key, 0, best)));
            continue;
        }
        json_t *list = json_array();
        for (size_t i = 0; i < json_array_size(value); i++) {
            json_array_append_new(list, json_real(join_unit(samples, member, key, i, best)));
        }
        json_object_set_new(out, key, list);
    }
    return out;
}

static tr_status add_samples(tr_reader *reader, const tr_sample *sample, tr_task task, bool has_truth,
                             const tr_given *given, size_t count, json_t *line, tr_error *err)
{
    json_t *list = json_array();
    tr_status status = TR_OK;
    double reward = 0;
    for (size_t i = 0; !status && i < count; i++) {
        json_t *one = json_object();
        status = add_answer(reader, sample, task, has_truth, &given[i], one, err);
        json_array_append_new(list, one);
        reward += given[i].score->reward;
    }
    json_t *mean = tr_prediction_join(list, "metrics", false), *best = tr_prediction_join(list, "metrics", true);
    json_t *iou = task == TR_TASK_TG ? json_object_get(mean, "miou") : NULL;
    if (iou) {
        json_object_set(line, "iou", iou);
    }
    int failed = json_object_set_new(line, "reward", json_real(reward / (double)count)) |
                 json_object_set_new(line, "mean", mean) | json_object_set_new(line, "best", best) |
                 json_object_set_new(line, "samples", list);
    return status || !failed ? status : tr_fail(err, TR_MEMORY, sample->id, "out of memory for an answer");
}

tr_status tr_prediction_make(tr_reader *reader, const tr_sample *sample, const tr_given *given, size_t count,
                             json_t **line, tr_error *err)
{
    tr_task task;
    bool has_truth;
    *line = NULL;
    tr_status status = tr_reader_truth(reader, sample, &task, &has_truth, err);
    if (status) {
        return status;
    }
    *line = head(sample->id, sample->task, sample->truth);
    if (!*line) {
        return tr_fail(err, TR_MEMORY, sample->id, "out of memory for an answer");
    }
    status = count == 1 ? add_answer(reader, sample, task, has_truth, given, *line, err)
                        : add_samples(reader, sample, task, has_truth, given, count, *line, err);
    if (status) {
        json_decref(*line);
        *line = NULL;
    }
    return status;
}

tr_status tr_prediction_unanswered(const json_t *row, int64_t number, const tr_error *why, json_t **line,
                                   tr_error *err)
{
    char name[32];
    const char *id = json_string_value(json_object_get(row, "id"));
    const char *task = json_string_value(json_object_get(row, "task"));
    snprintf(name, sizeof name, "#%lld", (long long)number + 1);
    *line = head(id ? id : name, task ? task : "", row);
    if (!*line || json_object_set_new(*line, "unanswered", text_json(why->message, strlen(why->message)))) {
        json_decref(*line);
        *line = NULL;
        return tr_fail(err, TR_MEMORY, id, "out of memory for a row");
    }
    return TR_OK;
}

size_t tr_prediction_count(const json_t *line)
{
    const json_t *samples = json_object_get(line, "samples");
    return samples ? json_array_size(samples) : 1;
}

const json_t *tr_prediction_answer(const json_t *line, size_t index)
{
    const json_t *samples = json_object_get(line, "samples");
    return samples ? json_array_get(samples, index) : line;
}

tr_status tr_prediction_check(const json_t *line, const json_t *row, const char *where, const char *rows,
                              tr_error *err)
{
    const char *id = json_string_value(json_object_get(line, "id")), *hash;
    const char *expected = json_string_value(json_object_get(row, "id"));
    char own[17];
    hash = json_string_value(json_object_get(line, "row"));
    if (!row || !expected) {
        return TR_OK; /* a source without rows as JSON: nothing to hold it against */
    }
    tr_row_hash(row, own);
    if (!id || strcmp(id, expected) != 0) {
        return tr_fail(err, TR_MISMATCH, where,
                       "this line is of the row \"%s\", but in %s the row \"%s\" stands there", id ? id : "(none)",
                       rows, expected);
    }
    if (hash && strcmp(hash, own) != 0) {
        return tr_fail(err, TR_MISMATCH, where,
                       "this line is of another row \"%s\" (content %s) than the one in %s (content %s)", id, hash,
                       rows, own);
    }
    return TR_OK;
}
