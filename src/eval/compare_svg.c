/* compare_svg.c: a comparison as a picture: every difference with its interval around 0. */
#include "eval/compare.h"

#include "base/plot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 860, LEFT = 230, RIGHT = 220, LINE = 22, HEAD = 98, FOOT = 40 };

typedef struct picture {
    double range; /* the axis goes from -range to range */
    size_t line;
    tr_buffer *out;
    tr_error *err;
} picture;

static double bound(const json_t *one, size_t which)
{
    return json_number_value(json_array_get(json_object_get(one, "interval"), which));
}

static double page_x(const picture *p, double x)
{
    return LEFT + (x + p->range) / (2 * p->range) * (WIDTH - LEFT - RIGHT);
}

static tr_status add_text(const picture *p, double x, double y, const char *anchor, const char *class,
                          const char *text)
{
    return tr_plot_text(p->out, x, y, anchor, class, text, p->err);
}

static tr_status draw(picture *p, const char *label, const json_t *one)
{
    double y = HEAD + LINE * (double)p->line++ + LINE / 2.0, difference, low = bound(one, 0), high = bound(one, 1);
    const char *class = low > 0 ? "up" : high < 0 ? "down" : "none";
    char text[80];
    tr_status status;
    difference = json_number_value(json_object_get(one, "difference"));
    TR_TRY(add_text(p, LEFT - 12, y + 4, "end", "label", label));
    TR_TRY(
        tr_buffer_printf(p->out, p->err,
                         "<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/><circle class=\"%s\" "
                         "cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n",
                         class, page_x(p, low), page_x(p, high), y, y, class, page_x(p, difference), y));
    snprintf(text, sizeof text, "%+.4f [%+.4f, %+.4f]", difference, low, high);
    TR_TRY(add_text(p, WIDTH - RIGHT + 8, y + 4, "start", "value", text));
done:
    return status;
}

/* Goes over everything that is drawn: with p->out NULL only the range is found and lines are counted. */
static tr_status each(picture *p, const char *task, const json_t *metrics, const char *before)
{
    tr_status status = TR_OK;
    const char *key;
    json_t *one;
    json_object_foreach((json_t *)(uintptr_t)metrics, key, one)
    {
        char label[120];
        if (!strcmp(key, "reward") || status) {
            continue;
        }
        if (p->out) {
            snprintf(label, sizeof label, "%s %s%s", task, before, key);
            status = draw(p, label, one);
        } else {
            p->range = fmax(p->range, fmax(fabs(bound(one, 0)), fabs(bound(one, 1))));
            p->line++;
        }
    }
    return status;
}

static tr_status each_task(picture *p, const json_t *report)
{
    tr_status status = TR_OK;
    for (size_t t = 0; tr_compare_tasks[t] && !status; t++) {
        const json_t *task = json_object_get(report, tr_compare_tasks[t]);
        status = each(p, tr_compare_tasks[t], json_object_get(task, "metrics"), "");
        status = status ? status : each(p, tr_compare_tasks[t], json_object_get(task, "best"), "best ");
        status = status ? status : each(p, tr_compare_tasks[t], json_object_get(task, "subtasks"), "");
    }
    return status;
}

/* The next of 0.02, 0.04, 0.1, 0.2, 0.4, 1, ...: half of it is a plain number too. */
static double plain_range(double range)
{
    double unit = pow(10, floor(log10(range)));
    return range <= unit ? unit : range <= 2 * unit ? 2 * unit : range <= 4 * unit ? 4 * unit : 10 * unit;
}

static tr_status draw_axis(const picture *p, double bottom)
{
    tr_status status = TR_OK;
    for (int t = -2; t <= 2 && !status; t++) {
        char text[32];
        double x = page_x(p, p->range * t / 2);
        snprintf(text, sizeof text, "%+.3g", p->range * t / 2);
        status =
            tr_buffer_printf(p->out, p->err, "<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%.1f\"/>\n",
                             t ? "grid" : "zero", x, x, HEAD, bottom);
        status = status ? status : add_text(p, x, bottom + 18, "middle", "value", t ? text : "0");
    }
    return status;
}

tr_status tr_compare_svg(const json_t *report, tr_buffer *out, tr_error *err)
{
    picture p = {.range = 0.01, .err = err};
    tr_status status;
    TR_TRY(each_task(&p, report));
    double bottom = HEAD + LINE * (double)p.line;
    p.range = plain_range(p.range);
    p.out = out;
    p.line = 0;
    TR_TRY(tr_buffer_printf(
        out, err,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" height=\"%.0f\">\n"
        "<style>text{font:12px "
        "sans-serif;fill:#222}.value{fill:#555;font-size:11px}.title{font-weight:bold;font-size:15px}line{stroke-"
        "width:2}.up{stroke:#2a8f3c;fill:#2a8f3c}.down{stroke:#b8323a;fill:#b8323a}.none{stroke:#8a939b;fill:#"
        "8a939b}.grid{stroke:#e4e8ec;stroke-width:1}.zero{stroke:#555;stroke-width:1}</style>\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
        WIDTH, bottom + FOOT, WIDTH, bottom + FOOT));
    TR_TRY(add_text(&p, 16, 24, "start", "title", "B - A with paired 95 % intervals"));
    char *names = tr_format("A: %s", json_string_value(json_object_get(report, "a")));
    status = names ? add_text(&p, 16, 44, "start", "value", names) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    free(names);
    TR_TRY(status);
    names = tr_format("B: %s", json_string_value(json_object_get(report, "b")));
    status = names ? add_text(&p, 16, 60, "start", "value", names) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    free(names);
    TR_TRY(status);
    TR_TRY(add_text(&p, 16, 78, "start", "value",
                    "green: B is higher, red: A is higher, by more than chance; grey: 0 lies in the interval"));
    TR_TRY(draw_axis(&p, bottom));
    TR_TRY(each_task(&p, report));
    TR_TRY(tr_buffer_add_text(out, "</svg>\n", err));
done:
    return status;
}
