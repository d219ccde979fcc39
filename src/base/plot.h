/* plot.h: line plots as one SVG page: panels in a grid, each with axes, ticks, a legend and a smoothed line over
 * the raw one. Reads nothing, knows nothing of what is plotted. Values that are not finite leave a gap. Thread
 * safe. */
#ifndef TR_BASE_PLOT_H
#define TR_BASE_PLOT_H

#include "base/buffer.h"

typedef struct tr_plot_series {
    const char *name; /* in the legend when a panel has several */
    const double *x, *y;
    size_t count;
} tr_plot_series;

typedef struct tr_plot_panel {
    const char *title, *x_label;
    const tr_plot_series *series;
    size_t series_count;
    size_t smooth; /* the dark line is the mean of so many points up to each; 0 or 1: only the raw line */
} tr_plot_panel;

/* A text of an SVG page, escaped, at x, y; anchor: "start", "middle" or "end". For other pictures too. */
tr_status tr_plot_text(tr_buffer *out, double x, double y, const char *anchor, const char *class, const char *text,
                       tr_error *err);

/* Appends the page. columns >= 1. Panels without a finite point say so. */
tr_status tr_plot_svg(const char *title, const tr_plot_panel *panels, size_t count, size_t columns, tr_buffer *out,
                      tr_error *err);

#endif
