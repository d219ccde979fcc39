/* check_report.c: the report of an audit as tables of text and as one SVG page. Reads only the JSON object. */
#include "base/memory.h"
#include "base/plot.h"
#include "corpus/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static long long count_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static tr_status add_files(const json_t *report, tr_buffer *out, tr_error *err)
{
    tr_status status;
    size_t i;
    json_t *file, *tasks, *count;
    const char *task;
    TR_TRY(tr_buffer_printf(out, err, "%lld rows of %lld videos", count_of(report, "rows"),
                            count_of(report, "videos")));
    if (json_object_get(report, "videos_decoded")) {
        TR_TRY(tr_buffer_printf(out, err, ", %lld of which decode", count_of(report, "videos_decoded")));
    }
    TR_TRY(tr_buffer_add_text(out, "\n", err));
    json_array_foreach(json_object_get(report, "files"), i, file)
    {
        TR_TRY(tr_buffer_printf(out, err, "  %-44s %7lld ", text_of(file, "file"), count_of(file, "rows")));
        tasks = json_object_get(file, "tasks");
        json_object_foreach(tasks, task, count)
        {
            TR_TRY(tr_buffer_printf(out, err, "  %s %lld", task, (long long)json_integer_value(count)));
        }
        TR_TRY(tr_buffer_add_text(out, "\n", err));
    }
done:
    return status;
}

static tr_status add_findings(const json_t *report, tr_buffer *out, tr_error *err)
{
    enum { SHOWN = 3 };
    tr_status status;
    size_t i, k;
    json_t *finding, *item;
    TR_TRY(tr_buffer_add_text(out, "\nfindings\n", err));
    if (!tr_check_findings(report)) {
        TR_TRY(tr_buffer_add_text(out, "  none\n", err));
    }
    json_array_foreach(json_object_get(report, "findings"), i, finding)
    {
        json_t *examples = json_object_get(finding, "examples");
        if (!count_of(finding, "count")) {
            continue;
        }
        TR_TRY(tr_buffer_printf(out, err, "  %-15s %7lld  %s\n", text_of(finding, "kind"),
                                count_of(finding, "count"), text_of(finding, "means")));
        json_array_foreach(examples, k, item)
        {
            if (k == SHOWN) {
                break;
            }
            if (json_object_get(item, "id")) {
                TR_TRY(tr_buffer_printf(out, err, "%28s%s:%lld \"%s\": ", "", text_of(item, "file"),
                                        count_of(item, "line"), text_of(item, "id")));
            } else {
                TR_TRY(tr_buffer_printf(out, err, "%28s", ""));
            }
            TR_TRY(tr_buffer_printf(out, err, "%s\n", text_of(item, "message")));
        }
    }
    json_array_foreach(json_object_get(report, "shared"), i, item)
    {
        const json_t *splits = json_object_get(item, "splits");
        TR_TRY(tr_buffer_printf(out, err, "  %s and %s share %lld videos\n",
                                json_string_value(json_array_get(splits, 0)),
                                json_string_value(json_array_get(splits, 1)), count_of(item, "videos")));
    }
done:
    return status;
}

static tr_status add_spread(const json_t *report, tr_buffer *out, tr_error *err)
{
    tr_status status;
    size_t i, k;
    json_t *one, *task;
    TR_TRY(tr_buffer_printf(out, err, "\n%-24s %8s %9s %9s %9s %9s %9s\n", "lengths and positions", "count",
                            "least", "5 %", "median", "95 %", "most"));
    json_array_foreach(json_object_get(report, "histograms"), i, one)
    {
        json_array_foreach(json_object_get(one, "tasks"), k, task)
        {
            TR_TRY(tr_buffer_printf(out, err, "  %-16s %-5s %8lld %9.4g %9.4g %9.4g %9.4g %9.4g\n",
                                    text_of(one, "name"), text_of(task, "task"), count_of(task, "count"),
                                    number_of(task, "least"), number_of(task, "p5"), number_of(task, "median"),
                                    number_of(task, "p95"), number_of(task, "most")));
        }
    }
done:
    return status;
}

static tr_status add_score(double score, tr_buffer *out, tr_error *err)
{
    return isfinite(score) ? tr_buffer_printf(out, err, " %7.2f", 100 * score)
                           : tr_buffer_printf(out, err, " %7s", "n/a");
}

static tr_status add_guess(const json_t *guess, tr_buffer *out, tr_error *err)
{
    static const char *const goals[] = {"mIoU", "R1@0.3", "R1@0.5", "R1@0.7"};
    char interval[64] = "";
    const json_t *pair = json_object_get(guess, "interval");
    const char *unit = text_of(guess, "unit");
    bool share = !strcmp(unit, "share");
    if (pair) {
        double scale = share ? 100 : 1;
        snprintf(interval, sizeof interval, "%.1f - %.1f %s", scale * json_number_value(json_array_get(pair, 0)),
                 scale * json_number_value(json_array_get(pair, 1)), share ? "%" : "s");
    }
    tr_status status = tr_buffer_printf(out, err, "  %-40s %-18s", text_of(guess, "guess"), interval);
    for (size_t i = 0; !status && i < sizeof goals / sizeof *goals; i++) {
        status = add_score(number_of(guess, goals[i]), out, err);
    }
    double most = number_of(guess, "at_most"), gap = most - number_of(guess, text_of(guess, "goal"));
    if (!status && gap > 5e-5) { /* the search ran out of work, or of resolution */
        status = tr_buffer_printf(out, err, "  (none is above %.2f)", 100 * most);
    }
    return status ? status : tr_buffer_add_text(out, "\n", err);
}

static tr_status add_bias(const json_t *report, tr_buffer *out, tr_error *err)
{
    tr_status status = TR_OK;
    size_t i, k;
    json_t *group, *guess;
    json_array_foreach(json_object_get(report, "bias"), i, group)
    {
        char title[160];
        snprintf(title, sizeof title, "blind guesses: %s%s%s %s, %lld samples", text_of(group, "source"),
                 *text_of(group, "source") ? " " : "", text_of(group, "split"), text_of(group, "task"),
                 count_of(group, "samples"));
        TR_TRY(
            tr_buffer_printf(out, err, "\n%-61s %7s %7s %7s %7s\n", title, "mIoU", "R1@0.3", "R1@0.5", "R1@0.7"));
        json_array_foreach(json_object_get(group, "guesses"), k, guess)
        {
            TR_TRY(add_guess(guess, out, err));
        }
    }
    json_array_foreach(json_object_get(report, "options"), i, group)
    {
        TR_TRY(tr_buffer_printf(out, err,
                                "%s  %s%s%s %s, %lld questions: chance %.2f, always %s %.2f, the longest "
                                "option %.2f\n",
                                i ? "" : "\nblind answers (accuracy in percent)\n", text_of(group, "source"),
                                *text_of(group, "source") ? " " : "", text_of(group, "split"),
                                text_of(group, "task"), count_of(group, "rows"), 100 * number_of(group, "chance"),
                                text_of(group, "letter"), 100 * number_of(group, "constant_letter"),
                                100 * number_of(group, "longest_option")));
    }
done:
    return status;
}

tr_status tr_check_text(const json_t *report, tr_buffer *out, tr_error *err)
{
    tr_status status;
    TR_TRY(add_files(report, out, err));
    TR_TRY(add_findings(report, out, err));
    TR_TRY(add_spread(report, out, err));
    TR_TRY(add_bias(report, out, err));
done:
    return status;
}

/* ---- plots ---- */

/* The outline of one task's bins, as shares of its values: two points a bin, down to 0 at both ends. */
static tr_status outline(const json_t *task, double width, tr_plot_series *series, tr_error *err)
{
    const json_t *bins = json_object_get(task, "bins");
    size_t n = json_array_size(bins);
    double total = number_of(task, "count"), *x = tr_calloc(2 * (n + 1), sizeof *x);
    double *y = tr_calloc(2 * (n + 1), sizeof *y);
    *series = (tr_plot_series){.name = text_of(task, "task"), .x = x, .y = y, .count = 2 * (n + 1)};
    if (!x || !y) {
        return tr_fail(err, TR_MEMORY, NULL, "no memory for a plot");
    }
    x[2 * n + 1] = (double)n * width;
    for (size_t i = 0; i < n; i++) {
        x[2 * i + 1] = (double)i * width;
        x[2 * i + 2] = (double)(i + 1) * width;
        y[2 * i + 1] = y[2 * i + 2] = json_number_value(json_array_get(bins, i)) / total;
    }
    return TR_OK;
}

tr_status tr_check_svg(const json_t *report, tr_buffer *out, tr_error *err)
{
    const json_t *list = json_object_get(report, "histograms");
    size_t count = json_array_size(list), made = 0;
    tr_plot_panel *panels = tr_calloc(count, sizeof *panels);
    tr_plot_series *series = tr_calloc(count, 8 * sizeof *series);
    tr_status status = TR_OK;
    char title[128];
    if (!panels || !series) {
        status = tr_fail(err, TR_MEMORY, NULL, "no memory for the plots");
        goto done;
    }
    for (size_t i = 0; !status && i < count; i++) {
        const json_t *one = json_array_get(list, i), *tasks = json_object_get(one, "tasks");
        panels[i] = (tr_plot_panel){
            .title = text_of(one, "title"), .x_label = text_of(one, "label"), .series = series + made};
        for (size_t k = 0; !status && k < json_array_size(tasks); k++) {
            status = outline(json_array_get(tasks, k), number_of(one, "bin"), &series[made], err);
            made++;
            panels[i].series_count++;
        }
    }
    snprintf(title, sizeof title, "%lld rows of %lld videos: share of the values in each bin",
             count_of(report, "rows"), count_of(report, "videos"));
    status = status ? status : tr_plot_svg(title, panels, count, 3, out, err);
done:
    for (size_t i = 0; i < made; i++) {
        free((void *)(uintptr_t)series[i].x);
        free((void *)(uintptr_t)series[i].y);
    }
    free(panels);
    free(series);
    return status;
}
