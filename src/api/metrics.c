/* metrics.c: the public functions of metrics. */
#include "api/handles.h"

#include "task/evaluate.h"

#include <string.h>

_Static_assert((int)TR_METRICS <= (int)TEMPR1_METRICS_MAX, "metrics");

const char *tempr1_metric_name(int metric, tempr1_task task)
{
    return metric >= 0 && metric < TR_METRICS && (unsigned)task < TEMPR1_TASKS
               ? tr_metric_name((tr_metric)metric, (tr_task)task)
               : NULL;
}

tempr1_status tempr1_metric_sample(tempr1_task task, const tempr1_interval *intervals, size_t count, char option,
                                   const tempr1_truth *truth, tempr1_arena *arena, tempr1_metric_values *values,
                                   tempr1_error *error)
{
    tr_error *err = api_error(error);
    tr_metric_values own;
    tr_truth right;
    tr_task which;
    tr_status status;
    TR_TRY(api_task(task, &which, err));
    TR_TRY(api_truth(truth, &right, err));
    TR_TRY(
        tr_metric_sample(which, (const tr_interval *)intervals, count, option, &right, &arena->arena, &own, err));
    *values = (tempr1_metric_values){.present = own.present};
    for (int m = 0; m < TR_METRICS; m++) {
        values->value[m] = own.present & 1u << m ? own.value[m] : 0;
    }
done:
    return (tempr1_status)status;
}

static tr_status check_bootstrap(size_t n, size_t resamples, double share, tr_error *err)
{
    if (!n || !resamples || !(share > 0 && share < 1)) {
        return tr_fail(
            err, TR_INVALID, NULL,
            "a bootstrap needs at least one value and one resample and a share between 0 and 1, found %zu, "
            "%zu and %g",
            n, resamples, share);
    }
    return TR_OK;
}

tempr1_status tempr1_bootstrap_mean(const double *values, size_t n, size_t resamples, double share, uint64_t seed,
                                    tempr1_bootstrap *result, tempr1_error *error)
{
    tr_bootstrap own;
    tr_status status;
    TR_TRY(check_bootstrap(n, resamples, share, api_error(error)));
    TR_TRY(tr_bootstrap_mean(values, n, resamples, share, seed, &own, api_error(error)));
    *result = (tempr1_bootstrap){own.mean, own.low, own.high};
done:
    return (tempr1_status)status;
}

tempr1_status tempr1_bootstrap_paired(const double *a, const double *b, size_t n, size_t resamples, double share,
                                      uint64_t seed, tempr1_bootstrap *result, tempr1_error *error)
{
    tr_bootstrap own;
    tr_status status;
    TR_TRY(check_bootstrap(n, resamples, share, api_error(error)));
    TR_TRY(tr_bootstrap_paired(a, b, n, resamples, share, seed, &own, api_error(error)));
    *result = (tempr1_bootstrap){own.mean, own.low, own.high};
done:
    return (tempr1_status)status;
}

/* JSON Lines into a list. */
static tr_status read_lines(const char *text, size_t length, const char *name, json_t **out, tr_error *err)
{
    tr_status status = TR_OK;
    long line = 0;
    json_t *list = json_array();
    for (const char *at = text, *end = text + length; !status && at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        json_t *one = NULL;
        bool blank = true;
        for (const char *c = at; c < stop; c++) {
            blank = blank && (*c == ' ' || *c == '\t' || *c == '\r');
        }
        if (!blank && !(status = tr_json_parse(at, (size_t)(stop - at), name, line, &one, err)) &&
            json_array_append_new(list, one)) {
            status = tr_fail(err, TR_MEMORY, name, "out of memory");
        }
        at = stop + 1;
    }
    if (status) {
        json_decref(list);
        list = NULL;
    }
    *out = list;
    return status;
}

/* One value, or else JSON Lines. The error of the lines is the one that says more: it names the line. */
static tr_status read_any(const char *text, size_t length, const char *name, json_t **out, tr_error *err)
{
    if (tr_json_parse(text, length, name, 0, out, NULL) != TR_OK) {
        return read_lines(text, length, name, out, err);
    }
    if (json_is_object(*out) && json_object_get(*out, "id")) { /* JSON Lines with one line */
        json_t *list = json_pack("[o]", *out);
        *out = list;
        return list ? TR_OK : tr_fail(err, TR_MEMORY, name, "out of memory");
    }
    return TR_OK;
}

tempr1_status tempr1_evaluate(const char *predictions, size_t predictions_length, const char *truth,
                              size_t truth_length, const tempr1_evaluate_options *options, char **json,
                              tempr1_error *error)
{
    tr_error *err = api_error(error);
    const tempr1_evaluate_options none = {0}, *given = options ? options : &none;
    tr_evaluate_options own = {.task = TR_TASK_TG,
                               .task_given = given->task != NULL,
                               .format = given->format,
                               .compat = given->compat != 0,
                               .seed = given->seed,
                               .resamples = given->resamples,
                               .pred_name = "predictions",
                               .truth_name = "truth"};
    json_t *pred = NULL, *right = NULL, *result = NULL;
    tr_status status;
    if (given->task) {
        TR_TRY(tr_task_from_name(given->task, &own.task, err));
    }
    TR_TRY(read_any(predictions, predictions_length, "predictions", &pred, err));
    if (truth) {
        TR_TRY(read_any(truth, truth_length, "truth", &right, err));
    }
    TR_TRY(tr_evaluate(pred, right, &own, &result, err));
    TR_TRY(api_json(result, json, err));
done:
    json_decref(pred);
    json_decref(right);
    json_decref(result);
    return (tempr1_status)status;
}
