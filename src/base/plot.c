/* plot.c: line plots as one SVG page. */
#include "base/plot.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

enum { WIDTH = 420, HEIGHT = 240, LEFT = 58, RIGHT = 14, TOP = 30, BOTTOM = 38, HEAD = 40 };

static const char *const colours[] = {"#1f6fb4", "#d1650f", "#2a8f3c", "#b8323a",
                                      "#7a55b0", "#7d5a4a", "#c2559d", "#5f6b73"};

typedef struct frame {
    double left, top;      /* of the plot area, in page units */
    double x0, x1, y0, y1; /* data ranges */
    tr_buffer *out;
    tr_error *err;
} frame;

static tr_status add_label(const frame *f, double x, double y, const char *anchor, const char *class,
                           const char *text)
{
    tr_status status = tr_buffer_printf(
        f->out, f->err, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor, class);
    status = status ? status : tr_buffer_add_escaped(f->out, text, f->err);
    return status ? status : tr_buffer_add_text(f->out, "</text>\n", f->err);
}

/* A step of 1, 2 or 5 times a power of ten that cuts the range into at most `most` pieces. */
static double tick_step(double range, int most)
{
    double step = pow(10, floor(log10(range / most)));
    static const double factors[] = {1, 2, 5, 10};
    for (int i = 0; i < 4; i++) {
        if (range / (step * factors[i]) <= most) {
            return step * factors[i];
        }
    }
    return step * 10;
}

static double page_x(const frame *f, double x)
{
    return f->left + (x - f->x0) / (f->x1 - f->x0) * (WIDTH - LEFT - RIGHT);
}

static double page_y(const frame *f, double y)
{
    return f->top + (f->y1 - y) / (f->y1 - f->y0) * (HEIGHT - TOP - BOTTOM);
}

static bool find_ranges(frame *f, const tr_plot_panel *panel)
{
    bool any = false;
    for (size_t s = 0; s < panel->series_count; s++) {
        for (size_t i = 0; i < panel->series[s].count; i++) {
            double x = panel->series[s].x[i], y = panel->series[s].y[i];
            if (isfinite(x) && isfinite(y)) {
                f->x0 = any ? fmin(f->x0, x) : x;
                f->x1 = any ? fmax(f->x1, x) : x;
                f->y0 = any ? fmin(f->y0, y) : y;
                f->y1 = any ? fmax(f->y1, y) : y;
                any = true;
            }
        }
    }
    if (any && f->x0 == f->x1) {
        f->x0 -= 0.5;
        f->x1 += 0.5;
    }
    double margin = f->y1 > f->y0 ? (f->y1 - f->y0) * 0.06 : fmax(fabs(f->y0) * 0.1, 1e-9);
    f->y0 -= margin;
    f->y1 += margin;
    return any;
}

static tr_status add_axes(const frame *f)
{
    double right = f->left + WIDTH - LEFT - RIGHT, bottom = f->top + HEIGHT - TOP - BOTTOM;
    double step_x = tick_step(f->x1 - f->x0, 6), step_y = tick_step(f->y1 - f->y0, 5);
    char text[40];
    tr_status status = TR_OK;
    for (double k = ceil(f->x0 / step_x); !status && k * step_x <= f->x1; k++) {
        double x = page_x(f, k * step_x);
        snprintf(text, sizeof text, "%.6g", k * step_x);
        status =
            tr_buffer_printf(f->out, f->err, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>\n", x, f->top, bottom);
        status = status ? status : add_label(f, x, bottom + 14, "middle", "tick", text);
    }
    for (double k = ceil(f->y0 / step_y); !status && k * step_y <= f->y1; k++) {
        double y = page_y(f, k * step_y);
        snprintf(text, sizeof text, "%.4g", k * step_y == 0 ? 0 : k * step_y);
        status =
            tr_buffer_printf(f->out, f->err, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>\n", f->left, y, right);
        status = status ? status : add_label(f, f->left - 6, y + 3.5, "end", "tick", text);
    }
    return status ? status
                  : tr_buffer_printf(f->out, f->err, "<path class=\"axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n", f->left,
                                     f->top, bottom, right);
}

/* The mean of the finite points among the last `window` up to i; NaN when point i is not finite. */
static double smoothed(const double *y, size_t i, size_t window)
{
    double sum = 0;
    size_t count = 0;
    for (size_t k = 0; k < window && k <= i; k++) {
        if (isfinite(y[i - k])) {
            sum += y[i - k];
            count++;
        }
    }
    return isfinite(y[i]) ? sum / (double)count : NAN;
}

static tr_status add_line(const frame *f, const tr_plot_series *s, size_t window, const char *colour, bool faint)
{
    bool pen = false;
    tr_status status =
        tr_buffer_printf(f->out, f->err, "<path class=\"%s\" stroke=\"%s\" d=\"", faint ? "raw" : "line", colour);
    for (size_t i = 0; !status && i < s->count; i++) {
        double y = smoothed(s->y, i, window);
        if (isfinite(s->x[i]) && isfinite(y)) {
            status =
                tr_buffer_printf(f->out, f->err, "%c%.1f %.1f", pen ? 'L' : 'M', page_x(f, s->x[i]), page_y(f, y));
            if (!pen) { /* a lone point is a dot: round line ends draw it */
                status = status ? status : tr_buffer_add_text(f->out, "h0", f->err);
            }
            pen = true;
        } else {
            pen = false;
        }
    }
    return status ? status : tr_buffer_add_text(f->out, "\"/>\n", f->err);
}

static tr_status add_panel(frame *f, const tr_plot_panel *panel)
{
    tr_status status = add_label(f, f->left, f->top - 10, "start", "title", panel->title);
    if (status || !find_ranges(f, panel)) {
        return status ? status : add_label(f, f->left + 10, f->top + 30, "start", "tick", "nothing was measured");
    }
    status = add_axes(f);
    for (size_t s = 0; !status && s < panel->series_count; s++) {
        const tr_plot_series *series = &panel->series[s];
        const char *colour = colours[s % (sizeof colours / sizeof *colours)];
        bool smooth = panel->smooth > 1 && series->count > 1;
        status = add_line(f, series, 1, colour, smooth);
        if (!status && smooth) {
            status = add_line(f, series, panel->smooth, colour, false);
        }
        if (!status && panel->series_count > 1) {
            double x = f->left + WIDTH - LEFT - RIGHT - 4, y = f->top + 12 + 13 * (double)s;
            status = tr_buffer_printf(f->out, f->err,
                                      "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" class=\"tick\" "
                                      "style=\"fill:%s\">",
                                      x, y, colour);
            status = status ? status : tr_buffer_add_escaped(f->out, series->name, f->err);
            status = status ? status : tr_buffer_add_text(f->out, "</text>\n", f->err);
        }
    }
    return status ? status
                  : add_label(f, f->left + (WIDTH - LEFT - RIGHT) / 2.0, f->top + HEIGHT - TOP - BOTTOM + 30,
                              "middle", "tick", panel->x_label);
}

tr_status tr_plot_svg(const char *title, const tr_plot_panel *panels, size_t count, size_t columns, tr_buffer *out,
                      tr_error *err)
{
    size_t rows = (count + columns - 1) / columns;
    tr_status status = tr_buffer_printf(
        out, err,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %zu %zu\" width=\"%zu\" height=\"%zu\">\n"
        "<style>text{font-family:sans-serif;fill:#222}.head{font-size:17px;font-weight:600}"
        ".title{font-size:13px;font-weight:600}.tick{font-size:10.5px;fill:#555}"
        "path{fill:none;stroke-linecap:round;stroke-linejoin:round}.grid{stroke:#e6e6e6}.axis{stroke:#888}"
        ".line{stroke-width:1.8}.raw{stroke-width:1;opacity:.3}</style>\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
        columns * WIDTH, rows * HEIGHT + HEAD, columns * WIDTH, rows * HEIGHT + HEAD);
    frame head = {.out = out, .err = err};
    status = status ? status : add_label(&head, 16, 26, "start", "head", title);
    for (size_t i = 0; !status && i < count; i++) {
        size_t column = i % columns, row = i / columns;
        frame f = {.left = (double)(column * WIDTH + LEFT),
                   .top = (double)(row * HEIGHT + TOP + HEAD),
                   .out = out,
                   .err = err};
        status = add_panel(&f, &panels[i]);
    }
    return status ? status : tr_buffer_add_text(out, "</svg>\n", err);
}
