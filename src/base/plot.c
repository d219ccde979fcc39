/* plot.c: line plots as one SVG page. */
#include "base/plot.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 420, HEIGHT = 240, LEFT = 58, RIGHT = 14, TOP = 30, BOTTOM = 38, HEAD = 40 };
enum { LEGEND = 84, LETTERS = 14 /* of a name, beside the plot where its lines cannot cross it */ };

static const char *const colours[] = {"#1f6fb4", "#d1650f", "#2a8f3c", "#b8323a", "#7a55b0", "#7d5a4a",
                                      "#c2559d", "#5f6b73", "#1a9aa8", "#a58a00", "#123e7a", "#e0868c"};

typedef struct frame {
    double left, top, width; /* of the plot area, in page units */
    double x0, x1, y0, y1;   /* data ranges */
    bool whole;              /* every x is a whole number, and so are its ticks */
    tr_buffer *out;
    tr_error *err;
} frame;

tr_status tr_plot_text(tr_buffer *out, double x, double y, const char *anchor, const char *class, const char *text,
                       tr_error *err)
{
    tr_status status = tr_buffer_printf(out, err, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x,
                                        y, anchor, class);
    status = status ? status : tr_buffer_add_escaped(out, text, err);
    return status ? status : tr_buffer_add_text(out, "</text>\n", err);
}

static tr_status add_label(const frame *f, double x, double y, const char *anchor, const char *class,
                           const char *text)
{
    return tr_plot_text(f->out, x, y, anchor, class, text, f->err);
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
    return f->left + (x - f->x0) / (f->x1 - f->x0) * f->width;
}

static double page_y(const frame *f, double y)
{
    return f->top + (f->y1 - y) / (f->y1 - f->y0) * (HEIGHT - TOP - BOTTOM);
}

static bool find_ranges(frame *f, const tr_plot_panel *panel)
{
    bool any = false;
    f->whole = true;
    for (size_t s = 0; s < panel->series_count; s++) {
        for (size_t i = 0; i < panel->series[s].count; i++) {
            double x = panel->series[s].x[i], y = panel->series[s].y[i];
            if (isfinite(x) && isfinite(y)) {
                f->x0 = any ? fmin(f->x0, x) : x;
                f->x1 = any ? fmax(f->x1, x) : x;
                f->y0 = any ? fmin(f->y0, y) : y;
                f->y1 = any ? fmax(f->y1, y) : y;
                any = true;
                f->whole = f->whole && x == floor(x);
            }
        }
    }
    if (any && f->x0 == f->x1) {
        f->x0 -= 0.5;
        f->x1 += 0.5;
    }
    if (f->y0 == f->y1 && f->y0 == 0) { /* nothing but zeros: a line at the bottom of a plain axis */
        f->y1 = 1;
    }
    double margin = f->y1 > f->y0 ? (f->y1 - f->y0) * 0.06 : fabs(f->y0) * 0.1;
    f->y0 -= margin;
    f->y1 += margin;
    return any;
}

/* A tick's number in at most eight letters: 0.25, 1500, 9.5e-5, 2.5e6. */
static void write_tick(char *text, size_t size, double value)
{
    const double magnitude = fabs(value);
    if (magnitude >= 1e6 || (magnitude > 0 && magnitude < 9.99e-4)) {
        const int power = (int)floor(log10(magnitude) + 1e-9);
        snprintf(text, size, "%.3ge%d", value / pow(10, power), power);
    } else {
        snprintf(text, size, "%.6g", value);
    }
}

static tr_status add_axes(const frame *f)
{
    double right = f->left + f->width, bottom = f->top + HEIGHT - TOP - BOTTOM;
    double step_x = tick_step(f->x1 - f->x0, 6), step_y = tick_step(f->y1 - f->y0, 5);
    char text[40];
    tr_status status = TR_OK;
    step_x = f->whole && step_x < 1 ? 1 : step_x;
    for (double k = ceil(f->x0 / step_x); !status && k * step_x <= f->x1; k++) {
        double x = page_x(f, k * step_x);
        write_tick(text, sizeof text, k * step_x);
        status =
            tr_buffer_printf(f->out, f->err, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>\n", x, f->top, bottom);
        status = status ? status : add_label(f, x, bottom + 14, "middle", "tick", text);
    }
    for (double k = ceil(f->y0 / step_y); !status && k * step_y <= f->y1; k++) {
        double y = page_y(f, k * step_y);
        write_tick(text, sizeof text, k * step_y == 0 ? 0 : k * step_y);
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

static bool has_points(const tr_plot_series *s)
{
    bool any = false;
    for (size_t i = 0; i < s->count; i++) {
        any = any || (isfinite(s->x[i]) && isfinite(s->y[i]));
    }
    return any;
}

/* A name in its line's colour, cut where it is too long; whole when it is pointed at. */
static tr_status add_name(const frame *f, const char *name, size_t place, const char *colour)
{
    char shown[LETTERS + 4];
    const double x = f->left + f->width + 8, y = f->top + 9 + 13 * (double)place;
    size_t length = strlen(name), cut = length > LETTERS ? LETTERS - 1 : length;
    while (cut < length && cut > 0 && ((unsigned char)name[cut] & 0xC0) == 0x80) { /* not inside a character */
        cut--;
    }
    snprintf(shown, sizeof shown, "%.*s%s", (int)cut, name, cut < length ? "\xE2\x80\xA6" : "");
    tr_status status = tr_buffer_printf(
        f->out, f->err, "<text x=\"%.1f\" y=\"%.1f\" class=\"tick\" style=\"fill:%s\">", x, y, colour);
    status = status ? status : tr_buffer_add_escaped(f->out, shown, f->err);
    if (!status && cut < length) {
        status = tr_buffer_add_text(f->out, "<title>", f->err);
        status = status ? status : tr_buffer_add_escaped(f->out, name, f->err);
        status = status ? status : tr_buffer_add_text(f->out, "</title>", f->err);
    }
    return status ? status : tr_buffer_add_text(f->out, "</text>\n", f->err);
}

static tr_status add_panel(frame *f, const tr_plot_panel *panel)
{
    size_t named = 0;
    tr_status status = add_label(f, f->left, f->top - 10, "start", "title", panel->title);
    if (status || !find_ranges(f, panel)) {
        return status ? status : add_label(f, f->left + 10, f->top + 30, "start", "tick", "nothing was measured");
    }
    f->width -= panel->series_count > 1 ? LEGEND : 0;
    status = add_axes(f);
    for (size_t s = 0; !status && s < panel->series_count; s++) {
        const tr_plot_series *series = &panel->series[s];
        const char *colour = colours[s % (sizeof colours / sizeof *colours)];
        bool smooth = panel->smooth > 1 && series->count > 1;
        if (!has_points(series)) {
            continue;
        }
        status = add_line(f, series, 1, colour, smooth);
        if (!status && smooth) {
            status = add_line(f, series, panel->smooth, colour, false);
        }
        if (!status && series->count == 1) {
            status = tr_buffer_printf(f->out, f->err, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n",
                                      page_x(f, series->x[0]), page_y(f, series->y[0]), colour);
        }
        if (!status && panel->series_count > 1) {
            status = add_name(f, series->name, named++, colour);
        }
    }
    return status ? status
                  : add_label(f, f->left + f->width / 2.0, f->top + HEIGHT - TOP - BOTTOM + 30, "middle", "tick",
                              panel->x_label);
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
                   .width = WIDTH - LEFT - RIGHT,
                   .out = out,
                   .err = err};
        status = add_panel(&f, &panels[i]);
    }
    return status ? status : tr_buffer_add_text(out, "</svg>\n", err);
}
