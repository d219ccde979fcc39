/* algorithm.c: what the algorithm family remembers from step to step. */
#include "train/algorithm.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tr_status tr_algorithm_state_create(tr_algorithm_state *state, const tr_config *config, int64_t rows,
                                    const double *scores, tr_error *err)
{
    memset(state, 0, sizeof *state);
    if (config->algorithm != TR_ALGORITHM_GRPO) {
        return TR_OK;
    }
    bool ok = true;
    if (config->grpo.filter) {
        state->rows = rows;
        state->scores = tr_calloc((size_t)rows, sizeof *state->scores);
        ok = state->scores != NULL;
        for (int64_t i = 0; ok && i < rows; i++) {
            state->scores[i] = scores ? scores[i] : NAN;
        }
    }
    if (config->grpo.stop_window) {
        state->window = config->grpo.stop_window;
        for (int k = 0; k < 2; k++) {
            state->history[k] = tr_calloc(2 * (size_t)state->window, sizeof *state->history[k]);
            ok = ok && state->history[k];
        }
    }
    return ok ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory for the scores of %lld rows", (long long)rows);
}

void tr_algorithm_state_free(tr_algorithm_state *state)
{
    free(state->scores);
    free(state->history[0]);
    free(state->history[1]);
    memset(state, 0, sizeof *state);
}

tr_moments *tr_algorithm_state_moments(tr_algorithm_state *state, const char *task)
{
    for (int i = 0; i < state->task_count; i++) {
        if (!strcmp(state->tasks[i].name, task)) {
            return &state->tasks[i].moments;
        }
    }
    if (state->task_count == TR_ALGORITHM_TASKS) {
        return NULL;
    }
    snprintf(state->tasks[state->task_count].name, sizeof state->tasks[0].name, "%s", task);
    return &state->tasks[state->task_count++].moments;
}

static double mean_of(const double *values, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += values[i];
    }
    return sum / (double)count;
}

bool tr_algorithm_state_is_flat(tr_algorithm_state *state, double reward, double deviation, double change)
{
    const double newest[2] = {reward, deviation};
    const int64_t all = 2 * state->window;
    if (!state->window) {
        return false;
    }
    bool full = state->steps == all;
    for (int k = 0; k < 2; k++) {
        if (full) {
            memmove(state->history[k], state->history[k] + 1, (size_t)(all - 1) * sizeof *state->history[k]);
        }
        state->history[k][full ? all - 1 : state->steps] = newest[k];
    }
    state->steps += !full;
    if (state->steps == all) {
        state->flat = true;
        for (int k = 0; k < 2; k++) {
            const double *h = state->history[k];
            double moved = mean_of(h + state->window, state->window) - mean_of(h, state->window);
            state->flat = state->flat && fabs(moved) <= change; /* a NaN is not flat */
        }
    }
    return state->flat;
}

/* ---- JSON ---- */

/* Infinities and NaN are no JSON. */
static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *tr_algorithm_state_to_json(const tr_algorithm_state *state)
{
    json_t *o = json_object(), *tasks = json_object();
    json_object_set_new(o, "tasks", tasks);
    for (int i = 0; i < state->task_count; i++) {
        const tr_moments *m = &state->tasks[i].moments;
        json_t *list = json_array();
        json_array_append_new(list, number(m->first));
        json_array_append_new(list, number(m->second));
        json_array_append_new(list, json_integer(m->updates));
        json_object_set_new(tasks, state->tasks[i].name, list);
    }
    if (state->scores) {
        json_t *scores = json_object();
        for (int64_t i = 0; i < state->rows; i++) {
            if (isfinite(state->scores[i])) {
                char row[24];
                snprintf(row, sizeof row, "%lld", (long long)i);
                json_object_set_new(scores, row, json_real(state->scores[i]));
            }
        }
        json_object_set_new(o, "scores", scores);
    }
    if (state->window) {
        json_t *list = json_array();
        for (int64_t i = 0; i < state->steps; i++) {
            json_t *pair = json_array();
            json_array_append_new(pair, number(state->history[0][i]));
            json_array_append_new(pair, number(state->history[1][i]));
            json_array_append_new(list, pair);
        }
        json_object_set_new(o, "history", list);
        json_object_set_new(o, "flat", json_boolean(state->flat));
    }
    return o;
}

static double real_of(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static tr_status read_tasks(tr_algorithm_state *state, json_t *tasks, const char *where, tr_error *err)
{
    const char *name;
    json_t *list;
    state->task_count = 0;
    json_object_foreach(tasks, name, list)
    {
        tr_moments *m = json_array_size(list) == 3 ? tr_algorithm_state_moments(state, name) : NULL;
        if (!m || !json_is_integer(json_array_get(list, 2))) {
            return tr_fail(err, TR_FORMAT, where,
                           "algorithm.tasks.%s must be [first, second, updates] of one of %d tasks", name,
                           TR_ALGORITHM_TASKS);
        }
        *m = (tr_moments){real_of(json_array_get(list, 0)), real_of(json_array_get(list, 1)),
                          json_integer_value(json_array_get(list, 2))};
    }
    return TR_OK;
}

tr_status tr_algorithm_state_from_json(tr_algorithm_state *state, const json_t *object, const char *where,
                                       tr_error *err)
{
    const char *row;
    json_t *value;
    size_t index;
    if (!object) {
        return TR_OK;
    }
    tr_status status = read_tasks(state, json_object_get(object, "tasks"), where, err);
    if (status) {
        return status;
    }
    json_object_foreach(state->scores ? json_object_get(object, "scores") : NULL, row, value)
    {
        char *end;
        long long i = strtoll(row, &end, 10);
        if (*end || i < 0 || i >= state->rows) {
            return tr_fail(err, TR_MISMATCH, where, "algorithm.scores has a row %s, the run has %lld", row,
                           (long long)state->rows);
        }
        state->scores[i] = real_of(value);
    }
    json_t *history = state->window ? json_object_get(object, "history") : NULL;
    if ((int64_t)json_array_size(history) > 2 * state->window) {
        return tr_fail(err, TR_MISMATCH, where,
                       "algorithm.history holds %zu steps, grpo.stop_window %lld needs %lld",
                       json_array_size(history), (long long)state->window, 2 * (long long)state->window);
    }
    state->steps = (int64_t)json_array_size(history);
    json_array_foreach(history, index, value)
    {
        state->history[0][index] = real_of(json_array_get(value, 0));
        state->history[1][index] = real_of(json_array_get(value, 1));
    }
    state->flat = state->window && json_is_true(json_object_get(object, "flat"));
    return TR_OK;
}
