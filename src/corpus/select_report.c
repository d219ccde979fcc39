/* select_report.c: a choice as numbers and as a picture of what was kept. */
#include "corpus/select.h"

#include <math.h>
#include <string.h>

enum { BINS = 20, WIDTH = 380, HEIGHT = 210, LEFT = 48, RIGHT = 12, TOP = 34, BOTTOM = 36, HEAD = 64 };

static json_t *settings(const tr_select_options *o)
{
    json_t *out = json_object();
    bool weighted = o->rule == TR_SELECT_GAUSSIAN || o->rule == TR_SELECT_TIME_R1 || o->rule == TR_SELECT_TIMELENS;
    if (o->rule == TR_SELECT_VARIANCE) {
        json_object_set_new(out, "min_std", json_real(o->min_std));
        json_object_set_new(out, "min_best", json_real(o->min_best));
    }
    if (o->rule == TR_SELECT_FILTER || o->rule == TR_SELECT_TIME_R1) {
        json_object_set_new(out, "above", json_real(o->above));
        json_object_set_new(out, "at_most", json_real(o->at_most));
    }
    if (weighted) {
        double own = o->rule == TR_SELECT_TIMELENS ? 0.05 : 0.3;
        json_object_set_new(out, "centre", json_real(isnan(o->centre) ? own : o->centre));
        json_object_set_new(out, "spread", json_real(isnan(o->spread) ? 0.2 : o->spread));
    }
    if (o->rule == TR_SELECT_TIMELENS) {
        json_object_set_new(out, "density_bins", json_integer((json_int_t)o->density_bins));
    }
    json_object_set_new(out, "duration_bins", json_integer((json_int_t)o->duration_bins));
    json_object_set_new(out, "seed", json_integer((json_int_t)o->seed));
    return out;
}

/* {NAME: rows} of one task, or of all (task < 0). */
static json_t *verdicts(const tr_select_score *scores, const tr_select_choice *c, int task)
{
    size_t counts[TR_SELECT_VERDICT_COUNT] = {0};
    json_t *out = json_object();
    for (size_t i = 0; i < c->rows; i++) {
        counts[c->verdicts[i]] += task < 0 || (int)scores[i].task == task;
    }
    for (int v = 0; v < TR_SELECT_VERDICT_COUNT; v++) {
        if (counts[v] || v == TR_SELECT_IS_KEPT) {
            json_object_set_new(out, tr_select_verdict_name((tr_select_verdict)v),
                                json_integer((json_int_t)counts[v]));
        }
    }
    return out;
}

/* {"all": mean, "kept": mean} over a task's answered rows of their mean or std; null where there is none. */
static json_t *averages(const tr_select_score *scores, const tr_select_choice *c, int task, bool of_std)
{
    double sums[2] = {0};
    size_t counts[2] = {0};
    for (size_t i = 0; i < c->rows; i++) {
        if ((int)scores[i].task != task || !scores[i].k) {
            continue;
        }
        tr_select_moments m = tr_select_moments_of(scores[i].values, scores[i].k);
        for (int kept = 0; kept <= (c->verdicts[i] == TR_SELECT_IS_KEPT); kept++) {
            sums[kept] += of_std ? m.std : m.mean;
            counts[kept]++;
        }
    }
    json_t *all = counts[0] ? json_real(sums[0] / (double)counts[0]) : json_null();
    return json_pack("{s:o, s:o}", "all", all, "kept",
                     counts[1] ? json_real(sums[1] / (double)counts[1]) : json_null());
}

static json_t *task_report(const tr_select_score *scores, const tr_select_choice *c, int task)
{
    json_t *out = verdicts(scores, c, task);
    size_t rows = 0;
    for (size_t i = 0; i < c->rows; i++) {
        rows += (int)scores[i].task == task;
    }
    json_t *kept = json_incref(json_object_get(out, "kept"));
    return json_pack("{s:I, s:o, s:o, s:o, s:o}", "rows", (json_int_t)rows, "kept", kept, "mean",
                     averages(scores, c, task, false), "std", averages(scores, c, task, true), "verdicts", out);
}

tr_status tr_select_report(const tr_select_score *scores, const tr_select_options *o, const tr_select_choice *c,
                           json_t **report, tr_error *err)
{
    json_t *tasks = json_object(), *strata = json_array();
    for (int t = 0; t < TR_TASK_COUNT; t++) {
        json_t *one = task_report(scores, c, t);
        if (json_integer_value(json_object_get(one, "rows"))) {
            json_object_set(tasks, tr_task_name((tr_task)t), one);
        }
        json_decref(one);
    }
    for (size_t i = 0; i < c->strata_count; i++) {
        const tr_select_stratum *s = &c->strata[i];
        bool known = s->from_s >= 0;
        json_array_append_new(strata,
                              json_pack("{s:s, s:o, s:o, s:I, s:I, s:I}", "task", tr_task_name(s->task), "from_s",
                                        known ? json_real(s->from_s) : json_null(), "to_s",
                                        known ? json_real(s->to_s) : json_null(), "rows", (json_int_t)s->rows,
                                        "qualified", (json_int_t)s->qualified, "kept", (json_int_t)s->kept));
    }
    *report =
        json_pack("{s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "rule", tr_select_rule_name(o->rule), "means",
                  tr_select_rule_means(o->rule), "rows", (json_int_t)c->rows, "kept", (json_int_t)c->kept, "asked",
                  c->asked < 0 ? json_null() : json_integer((json_int_t)c->asked), "settings", settings(o),
                  "verdicts", verdicts(scores, c, -1), "tasks", tasks, "strata", strata);
    return *report ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory for the report");
}

/* ---- the picture ---- */

typedef struct panel {
    const char *title;
    size_t kept[BINS], dropped[BINS], rows, kept_rows, most;
    double range; /* the axis goes from 0 to this */
} panel;

static void fill_panel(const tr_select_score *scores, const tr_select_choice *c, int task, bool of_std, panel *p)
{
    p->range = of_std ? 0.5 : 1; /* no k values between 0 and 1 have a larger standard deviation */
    for (size_t i = 0; i < c->rows; i++) {
        if ((int)scores[i].task != task || !scores[i].k) {
            continue;
        }
        tr_select_moments m = tr_select_moments_of(scores[i].values, scores[i].k);
        size_t bin = (size_t)((of_std ? m.std : m.mean) / p->range * BINS);
        bool kept = c->verdicts[i] == TR_SELECT_IS_KEPT;
        bin = bin < BINS ? bin : BINS - 1;
        p->kept[bin] += kept;
        p->dropped[bin] += !kept;
        p->rows++;
        p->kept_rows += kept;
        size_t height = p->kept[bin] + p->dropped[bin];
        p->most = height > p->most ? height : p->most;
    }
}

static tr_status draw_bar(const panel *p, size_t bin, size_t from, size_t count, const char *class, tr_buffer *out,
                          tr_error *err)
{
    double width = (double)(WIDTH - LEFT - RIGHT) / BINS, tall = HEIGHT - TOP - BOTTOM;
    double height = tall * (double)count / (double)p->most;
    double bottom = HEIGHT - BOTTOM - tall * (double)from / (double)p->most;
    if (!count) {
        return TR_OK;
    }
    return tr_buffer_printf(
        out, err,
        "<rect class=\"%s\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"><title>%.3f to %.3f: %zu rows "
        "%s</title></rect>\n",
        class, LEFT + width * (double)bin + 0.5, bottom - height, width - 1, height, p->range * (double)bin / BINS,
        p->range * (double)(bin + 1) / BINS, count, class);
}

static tr_status draw_panel(const panel *p, const char *task, size_t column, size_t row, tr_buffer *out,
                            tr_error *err)
{
    tr_status status;
    TR_TRY(tr_buffer_printf(out, err,
                            "<g transform=\"translate(%zu %zu)\">\n<text x=\"%d\" y=\"20\" class=\"title\">",
                            column * WIDTH, HEAD + row * HEIGHT, LEFT));
    TR_TRY(tr_buffer_printf(out, err, "%s: %s (%zu of %zu kept)</text>\n", task, p->title, p->kept_rows, p->rows));
    for (size_t b = 0; b < BINS && p->most; b++) {
        TR_TRY(draw_bar(p, b, 0, p->kept[b], "kept", out, err));
        TR_TRY(draw_bar(p, b, p->kept[b], p->dropped[b], "dropped", out, err));
    }
    TR_TRY(tr_buffer_printf(out, err, "<path class=\"axis\" d=\"M%d %d V%d H%d\"/>\n", LEFT, TOP, HEIGHT - BOTTOM,
                            WIDTH - RIGHT));
    for (int t = 0; t <= 4; t++) {
        TR_TRY(tr_buffer_printf(out, err,
                                "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">%g</text>\n",
                                LEFT + (WIDTH - LEFT - RIGHT) * t / 4.0, HEIGHT - BOTTOM + 16, p->range * t / 4));
    }
    TR_TRY(tr_buffer_printf(out, err,
                            "<text class=\"tick\" text-anchor=\"end\" x=\"%d\" y=\"%d\">%zu</text>\n</g>\n",
                            LEFT - 5, TOP + 9, p->most));
done:
    return status;
}

tr_status tr_select_svg(const tr_select_score *scores, const tr_select_options *o, const tr_select_choice *c,
                        tr_buffer *out, tr_error *err)
{
    size_t rows = 0, row = 0;
    bool present[TR_TASK_COUNT] = {false};
    tr_status status;
    for (size_t i = 0; i < c->rows; i++) {
        rows += !present[scores[i].task];
        present[scores[i].task] = true;
    }
    size_t height = HEAD + rows * HEIGHT;
    TR_TRY(tr_buffer_printf(
        out, err,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %zu\" width=\"%d\" height=\"%zu\">\n"
        "<style>text{font:12px "
        "sans-serif;fill:#222}.title{font-weight:bold}.tick{fill:#555;font-size:11px}.kept{fill:#1f6fb4}.dropped{"
        "fill:#c9d3dc}.axis{fill:none;stroke:#555}</style>\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
        2 * WIDTH, height, 2 * WIDTH, height));
    TR_TRY(
        tr_buffer_printf(out, err,
                         "<text x=\"%d\" y=\"24\" class=\"title\" style=\"font-size:15px\">%zu of %zu rows kept by "
                         "the rule %s: rows by the answers' score</text>\n",
                         LEFT, c->kept, c->rows, tr_select_rule_name(o->rule)));
    TR_TRY(tr_buffer_printf(
        out, err,
        "<rect class=\"kept\" x=\"%d\" y=\"38\" width=\"12\" height=\"12\"/><text x=\"%d\" "
        "y=\"48\">kept</text><rect class=\"dropped\" x=\"%d\" y=\"38\" width=\"12\" height=\"12\"/><text x=\"%d\" "
        "y=\"48\">dropped</text>\n",
        LEFT, LEFT + 18, LEFT + 70, LEFT + 88));
    for (int t = 0; t < TR_TASK_COUNT; t++) {
        bool qa = t == TR_TASK_QA, tal = t == TR_TASK_TAL;
        panel means = {.title = qa ? "share right" : tal ? "mean mF1" : "mean IoU"};
        panel stds = {.title = "standard deviation"};
        if (present[t]) {
            fill_panel(scores, c, t, false, &means);
            fill_panel(scores, c, t, true, &stds);
            TR_TRY(draw_panel(&means, tr_task_name((tr_task)t), 0, row, out, err));
            TR_TRY(draw_panel(&stds, tr_task_name((tr_task)t), 1, row++, out, err));
        }
    }
    TR_TRY(tr_buffer_add_text(out, "</svg>\n", err));
done:
    return status;
}
