/* compare.c: pairing rows, paired intervals. */
#include "eval/compare.h"

#include "base/memory.h"
#include "eval/lines.h"
#include "eval/measure.h"
#include "eval/protocol.h"
#include "task/metrics.h"

#include <stdlib.h>
#include <string.h>

enum { SHOWN = 10 };
const char *const tr_compare_tasks[] = {"tg", "dtg", "vhd", "gvqa", "tal", "qa", NULL};

/* ---- reading ---- */

typedef struct result {
    const char *dir;
    json_t *lines; /* {id: line} */
    json_t *card;  /* NULL when there is none */
} result;

static tr_status take_line(void *context, int64_t index, const json_t *line, const char *where, tr_error *err)
{
    const result *r = context;
    const char *id = json_string_value(json_object_get(line, "id"));
    (void)index;
    if (!id) {
        return tr_fail(err, TR_FORMAT, where, "this line has no \"id\"");
    }
    if (json_object_get(r->lines, id)) {
        return tr_fail(err, TR_FORMAT, where, "this line has the id \"%s\" again", id);
    }
    return json_object_set(r->lines, id, (json_t *)(uintptr_t)line)
               ? tr_fail(err, TR_MEMORY, where, "out of memory")
               : TR_OK;
}

static tr_status read_result(const char *dir, result *r, tr_error *err)
{
    char *predictions = tr_path_join(dir, "predictions.jsonl"), *card = tr_path_join(dir, "protocol.json");
    *r = (result){.dir = dir, .lines = json_object()};
    tr_status status = predictions && card && r->lines ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    status = status ? status : tr_lines_read(predictions, take_line, r, err);
    if (status == TR_NOT_FOUND) {
        tr_fail_context(err, status, "%s is no folder written by tempr1 eval", dir);
    }
    if (!status && tr_json_read(card, &r->card, NULL)) {
        r->card = NULL;
    }
    free(predictions);
    free(card);
    return status;
}

static void drop_result(result *r)
{
    json_decref(r->lines);
    json_decref(r->card);
}

/* ---- pairing ---- */

static bool answered(const json_t *line)
{
    return json_is_number(json_object_get(line, "reward"));
}

static tr_status same_row(const result *a, const result *b, const char *id, const json_t *x, const json_t *y,
                          tr_error *err)
{
    const char *p = json_string_value(json_object_get(x, "row")), *q = json_string_value(json_object_get(y, "row"));
    const char *s = json_string_value(json_object_get(x, "task")),
               *t = json_string_value(json_object_get(y, "task"));
    if (s && t && strcmp(s, t) != 0) {
        return tr_fail(err, TR_MISMATCH, id, "is a %s row in %s and a %s row in %s", s, a->dir, t, b->dir);
    }
    if (p && q && p[0] && q[0] && strcmp(p, q) != 0) {
        return tr_fail(
            err, TR_MISMATCH, id,
            "the row \"%s\" is another one in %s (content %s) than in %s (content %s): the results are over "
            "different rows",
            id, a->dir, p, b->dir, q);
    }
    return TR_OK;
}

static void name(json_t *list, const char *id)
{
    if (json_array_size(list) < SHOWN) {
        json_array_append_new(list, json_string(id));
    }
}

/* pairs: [[line of a, line of b], ...] of the rows that both answered, in a's order. */
static tr_status pair_up(const result *a, const result *b, json_t *pairs, json_t **rows, tr_error *err)
{
    json_t *only_a = json_array(), *only_b = json_array(), *x;
    const char *id;
    json_int_t common = 0, unanswered = 0;
    tr_status status = TR_OK;
    json_object_foreach(a->lines, id, x)
    {
        json_t *y = json_object_get(b->lines, id);
        if (!y) {
            name(only_a, id);
            continue;
        }
        status = status ? status : same_row(a, b, id, x, y, err);
        common++;
        if (answered(x) && answered(y)) {
            json_array_append_new(pairs, json_pack("[O, O]", x, y));
        } else {
            unanswered++;
        }
    }
    json_object_foreach(b->lines, id, x)
    {
        if (!json_object_get(a->lines, id)) {
            name(only_b, id);
        }
    }
    *rows = json_pack("{s:I, s:I, s:I, s:I, s:o, s:o}", "a", (json_int_t)json_object_size(a->lines), "b",
                      (json_int_t)json_object_size(b->lines), "common", common, "unanswered", unanswered, "only_a",
                      only_a, "only_b", only_b);
    if (!status && !common) {
        status = tr_fail(err, TR_MISMATCH, NULL, "%s and %s have no row in common", a->dir, b->dir);
    }
    return status;
}

/* ---- one metric ---- */

typedef struct column {
    double *a, *b;
    size_t count, capacity_a, capacity_b;
} column;

static void column_free(column *c)
{
    free(c->a);
    free(c->b);
}

static tr_status column_add(column *c, double a, double b, tr_error *err)
{
    tr_status status = tr_grow(&c->a, &c->capacity_a, c->count + 1, sizeof *c->a, err);
    status = status ? status : tr_grow(&c->b, &c->capacity_b, c->count + 1, sizeof *c->b, err);
    if (!status && c->a && c->b) {
        c->a[c->count] = a;
        c->b[c->count++] = b;
    }
    return status;
}

static const json_t *values_of(const json_t *line, const char *member)
{
    const json_t *mean = json_object_get(line, "mean");
    return !strcmp(member, "best") ? json_object_get(line, "best") : mean ? mean : json_object_get(line, "metrics");
}

/* A number of a line; results of before the metrics stood in the lines have "iou" and "reward" alone. */
static const json_t *value_of(const json_t *line, const char *member, const char *key)
{
    if (!strcmp(key, "reward")) {
        return !strcmp(member, "best") ? NULL : json_object_get(line, "reward");
    }
    const json_t *value = json_object_get(values_of(line, member), key);
    return value || strcmp(key, "miou") != 0 || strcmp(member, "best") == 0 ? value : json_object_get(line, "iou");
}

/* The pairs of one metric of a task (and sub-task, NULL: all). */
static tr_status gather(const json_t *pairs, const char *task, const char *subtask, const char *member,
                        const char *key, column *out, tr_error *err)
{
    tr_status status = TR_OK;
    size_t i;
    json_t *pair;
    *out = (column){0};
    json_array_foreach((json_t *)(uintptr_t)pairs, i, pair)
    {
        const json_t *x = json_array_get(pair, 0), *y = json_array_get(pair, 1);
        const char *of = json_string_value(json_object_get(x, "task"));
        const char *sub = json_string_value(json_object_get(x, "subtask"));
        const json_t *p = value_of(x, member, key), *q = value_of(y, member, key);
        if (!of || strcmp(of, task) != 0 || (subtask && (!sub || strcmp(sub, subtask) != 0)) || !p || !q) {
            continue;
        }
        size_t n = json_is_array(p) ? json_array_size(p) : 1;
        if (json_is_array(p) != json_is_array(q) || (json_is_array(q) && json_array_size(q) != n)) {
            status = tr_fail(err, TR_FORMAT, json_string_value(json_object_get(x, "id")),
                             "the two results have different numbers of \"%s\" for this row", key);
        }
        for (size_t k = 0; k < n && !status; k++) {
            status = column_add(out, json_number_value(json_is_array(p) ? json_array_get(p, k) : p),
                                json_number_value(json_is_array(q) ? json_array_get(q, k) : q), err);
        }
        if (status) {
            break;
        }
    }
    return status;
}

static json_t *summary(double a, double b, double low, double high)
{
    return json_pack("{s:f, s:f, s:f, s:[f, f], s:b}", "a", a, "b", b, "difference", b - a, "interval", low, high,
                     "differs", low > 0 || high < 0);
}

static tr_status compare_column(const column *c, json_t **out, tr_error *err)
{
    tr_bootstrap d;
    double a = 0, b = 0;
    json_int_t better = 0, worse = 0;
    tr_status status = tr_bootstrap_paired(c->b, c->a, c->count, TR_BOOTSTRAP_RESAMPLES, 0.95, 1, &d, err);
    for (size_t i = 0; i < c->count; i++) {
        a += c->a[i];
        b += c->b[i];
        better += c->b[i] > c->a[i];
        worse += c->b[i] < c->a[i];
    }
    *out = status ? NULL : summary(a / (double)c->count, b / (double)c->count, d.low, d.high);
    if (*out) {
        json_object_set_new(*out, "values", json_integer((json_int_t)c->count));
        json_object_set_new(*out, "better", json_integer(better));
        json_object_set_new(*out, "worse", json_integer(worse));
    }
    return status;
}

/* Adds out[key] when any pair has the metric. */
static tr_status add_metric(const json_t *pairs, const char *task, const char *subtask, const char *member,
                            const char *key, const char *as, json_t *out, tr_error *err)
{
    column c;
    json_t *one = NULL;
    tr_status status = gather(pairs, task, subtask, member, key, &c, err);
    if (!status && c.count) {
        status = compare_column(&c, &one, err);
        json_object_set_new(out, as, one);
    }
    column_free(&c);
    return status;
}

/* ---- a task ---- */

/* The keys that any line of the task has, in the order of the first; the headline first. */
static json_t *keys_of(const json_t *pairs, const char *task, const char *member)
{
    json_t *keys = json_object(), *pair, *value;
    const char *key;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)pairs, i, pair)
    {
        const json_t *x = json_array_get(pair, 0);
        const char *of = json_string_value(json_object_get(x, "task"));
        if (!of || strcmp(of, task) != 0) {
            continue;
        }
        if (json_object_get(x, "iou") && strcmp(member, "best") != 0) {
            json_object_set_new(keys, "miou", json_null());
        }
        json_object_foreach((json_t *)(uintptr_t)values_of(x, member), key, value)
        {
            json_object_set_new(keys, key, json_null());
        }
    }
    return keys;
}

static tr_status add_metrics(const json_t *pairs, const char *task, const char *member, json_t *out, tr_error *err)
{
    json_t *keys = keys_of(pairs, task, member), *metrics = json_object(), *unused;
    const char *key;
    tr_status status = TR_OK;
    bool best = !strcmp(member, "best");
    json_object_foreach(keys, key, unused)
    {
        status = status ? status : add_metric(pairs, task, NULL, member, key, key, metrics, err);
    }
    if (!status && !best) {
        status = add_metric(pairs, task, NULL, member, "reward", "reward", metrics, err);
    }
    if (!best || json_object_size(metrics)) {
        json_object_set(out, member, metrics);
    }
    json_decref(metrics);
    json_decref(keys);
    return status;
}

static tr_status add_subtasks(const json_t *pairs, const char *task, json_t *out, tr_error *err)
{
    json_t *names = json_object(), *pair, *one, *found = json_object();
    const char *subtask;
    size_t i, n = 0;
    double a = 0, b = 0, difference, low, high;
    json_array_foreach((json_t *)(uintptr_t)pairs, i, pair)
    {
        const json_t *x = json_array_get(pair, 0);
        const char *of = json_string_value(json_object_get(x, "task"));
        subtask = json_string_value(json_object_get(x, "subtask"));
        if (of && subtask && !strcmp(of, task)) {
            json_object_set_new(names, subtask, json_null());
        }
    }
    size_t count = json_object_size(names);
    column *columns = tr_calloc(count, sizeof *columns);
    tr_stratum *strata = tr_calloc(count, sizeof *strata);
    tr_status status = columns && strata ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    json_object_foreach(names, subtask, one)
    {
        json_t *compared = NULL;
        if (!columns || !strata ||
            (status = gather(pairs, task, subtask, "metrics", "accuracy", &columns[n], err)) || !columns[n].count) {
            break;
        }
        if ((status = compare_column(&columns[n], &compared, err))) {
            break;
        }
        a += json_number_value(json_object_get(compared, "a")) / (double)count;
        b += json_number_value(json_object_get(compared, "b")) / (double)count;
        json_object_set_new(found, subtask, compared);
        for (size_t k = 0; k < columns[n].count; k++) {
            columns[n].b[k] -= columns[n].a[k];
        }
        strata[n] = (tr_stratum){columns[n].b, columns[n].count};
        n++;
    }
    if (!status && n && n == count) {
        status = tr_strata_mean(strata, n, &difference, &low, &high, err);
        json_object_set(out, "subtasks", found);
        json_object_set_new(out, "subtask_mean", status ? NULL : summary(a, b, low, high));
    }
    for (size_t k = 0; columns && k < count; k++) {
        column_free(&columns[k]);
    }
    free(columns);
    free(strata);
    json_decref(found);
    json_decref(names);
    return status;
}

static tr_status compare_task(const json_t *pairs, const char *task, json_t **out, tr_error *err)
{
    static const char *const headlines[] = {"miou", "mf1", "accuracy", "reward"};
    json_int_t rows = 0;
    size_t i;
    json_t *pair;
    tr_status status;
    *out = NULL;
    json_array_foreach((json_t *)(uintptr_t)pairs, i, pair)
    {
        const char *of = json_string_value(json_object_get(json_array_get(pair, 0), "task"));
        rows += of && !strcmp(of, task);
    }
    if (!rows) {
        return TR_OK;
    }
    *out = json_pack("{s:I}", "rows", rows);
    TR_TRY(add_metrics(pairs, task, "metrics", *out, err));
    TR_TRY(add_metrics(pairs, task, "best", *out, err));
    TR_TRY(add_subtasks(pairs, task, *out, err));
    for (size_t h = 0; h < 4; h++) {
        const json_t *one = json_object_get(json_object_get(*out, "metrics"), headlines[h]);
        if (one) {
            static const char *const keys[] = {"a", "b", "difference", "interval"};
            json_object_set_new(*out, "measure", json_string(headlines[h]));
            for (size_t k = 0; k < 4; k++) {
                json_object_set(*out, keys[k], json_object_get(one, keys[k]));
            }
            break;
        }
    }
done:
    return status;
}

tr_status tr_compare(const char *dir_a, const char *dir_b, json_t **report, tr_error *err)
{
    result a = {0}, b = {0};
    json_t *pairs = json_array(), *rows = NULL;
    tr_status status;
    *report = NULL;
    TR_TRY(read_result(dir_a, &a, err));
    TR_TRY(read_result(dir_b, &b, err));
    TR_TRY(pair_up(&a, &b, pairs, &rows, err));
    *report = json_pack("{s:s, s:s, s:O, s:o}", "a", dir_a, "b", dir_b, "rows", rows, "protocol",
                        a.card && b.card ? tr_protocol_differences(a.card, b.card) : json_null());
    status = *report ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory for a comparison");
    for (size_t t = 0; tr_compare_tasks[t] && !status; t++) {
        json_t *one;
        status = compare_task(pairs, tr_compare_tasks[t], &one, err);
        if (one) {
            json_object_set_new(*report, tr_compare_tasks[t], one);
        }
    }
done:
    if (status) {
        json_decref(*report);
        *report = NULL;
    }
    json_decref(rows);
    json_decref(pairs);
    drop_result(&a);
    drop_result(&b);
    return status;
}
