/* check_heat.c: where true intervals start and end at once: counts over a grid of shares of the clip, and their
 * picture.
 *
 * Cell [i][j] counts intervals that start in the i-th and end in the j-th twentieth of their clip. */
#include "base/memory.h"
#include "corpus/check_parts.h"

#include <math.h>
#include <string.h>

enum { CELLS = 20, SIDE = 240, LEFT = 46, TOP = 70, GAP = 60, BOTTOM = 46 };

static int cell_of(double share)
{
    int cell = (int)floor(share * CELLS + 1e-9);
    return cell < 0 ? 0 : cell > CELLS - 1 ? CELLS - 1 : cell;
}

json_t *check_positions(const check_audit *audit)
{
    json_t *list = json_array();
    for (int task = 0; list && task < TR_TASK_COUNT; task++) {
        json_int_t counts[CELLS][CELLS] = {{0}}, total = 0;
        for (size_t r = 0; r < audit->row_count; r++) {
            const check_row *row = &audit->rows[r];
            double duration = check_duration(audit, row);
            for (size_t i = 0; row->task == (tr_task)task && duration > 0 && i < row->segment_count; i++) {
                tr_interval s = audit->segments[row->segment_at + i];
                /* An end on a border belongs to what lies before it: the clip's end to the last twentieth. */
                counts[cell_of(s.start_s / duration)][cell_of(s.end_s / duration - 1e-8)]++;
                total++;
            }
        }
        json_t *rows = total ? json_array() : NULL;
        for (int i = 0; rows && i < CELLS; i++) {
            json_t *line = json_array();
            for (int j = 0; line && j < CELLS; j++) {
                json_array_append_new(line, json_integer(counts[i][j]));
            }
            json_array_append_new(rows, line);
        }
        if (rows) {
            json_array_append_new(list, json_pack("{s:s, s:I, s:o}", "task", tr_task_name((tr_task)task), "count",
                                                  total, "cells", rows));
        }
    }
    return list;
}

static double cell(const json_t *one, int i, int j)
{
    return json_number_value(json_array_get(json_array_get(json_object_get(one, "cells"), (size_t)i), (size_t)j));
}

/* One task: the square of cells, start to the right, end upward; the darkest cell is the fullest one. */
static tr_status add_square(const json_t *one, double left, tr_buffer *out, tr_error *err)
{
    double most = 1, total = json_number_value(json_object_get(one, "count")), size = (double)SIDE / CELLS;
    tr_status status;
    for (int i = 0; i < CELLS * CELLS; i++) {
        most = fmax(most, cell(one, i / CELLS, i % CELLS));
    }
    TR_TRY(tr_buffer_printf(
        out, err,
        "<text x=\"%.0f\" y=\"%d\" class=\"title\">%s, %.0f intervals</text>\n"
        "<rect x=\"%.0f\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"#fff\" stroke=\"#888\"/>\n",
        left, TOP - 10, json_string_value(json_object_get(one, "task")), total, left, TOP, SIDE, SIDE));
    for (int i = 0; i < CELLS; i++) {
        for (int j = 0; j < CELLS; j++) {
            double count = cell(one, i, j);
            if (count > 0) { /* the square root lets rare places be seen beside the corner that is always full */
                TR_TRY(tr_buffer_printf(
                    out, err,
                    "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"#1f6fb4\" "
                    "fill-opacity=\"%.3f\"><title>starts at %d to %d %%, ends at %d to %d %%: %.0f (%.2f "
                    "%%)</title></rect>\n",
                    left + i * size, TOP + SIDE - (j + 1) * size, size, size, sqrt(count / most), 5 * i, 5 * i + 5,
                    5 * j, 5 * j + 5, count, 100 * count / total));
            }
        }
    }
    for (int tick = 0; tick <= 4; tick++) {
        double share = tick / 4.0;
        TR_TRY(tr_buffer_printf(out, err,
                                "<text x=\"%.1f\" y=\"%d\" class=\"tick\" text-anchor=\"middle\">%g</text>\n"
                                "<text x=\"%.1f\" y=\"%.1f\" class=\"tick\" text-anchor=\"end\">%g</text>\n",
                                left + share * SIDE, TOP + SIDE + 14, share, left - 5,
                                TOP + SIDE - share * SIDE + 3.5, share));
    }
    TR_TRY(tr_buffer_printf(out, err,
                            "<text x=\"%.1f\" y=\"%d\" class=\"tick\" text-anchor=\"middle\">start, share of "
                            "the clip</text>\n",
                            left + SIDE / 2.0, TOP + SIDE + 30));
done:
    return status;
}

tr_status tr_check_heat_svg(const json_t *report, tr_buffer *out, tr_error *err)
{
    const json_t *list = json_object_get(report, "positions");
    size_t count = json_array_size(list);
    int width = LEFT + (int)(count ? count : 1) * (SIDE + GAP), height = TOP + SIDE + BOTTOM;
    tr_status status;
    TR_TRY(tr_buffer_printf(
        out, err,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n"
        "<style>text{font-family:sans-serif;fill:#222}.head{font-size:17px;font-weight:600}"
        ".title{font-size:13px;font-weight:600}.tick{font-size:10.5px;fill:#555}</style>\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
        "<text x=\"16\" y=\"26\" class=\"head\">Where true intervals start (to the right) and end "
        "(upward)</text>\n%s",
        width, height, width, height,
        count ? "" : "<text x=\"16\" y=\"60\" class=\"tick\">no clip has a known length</text>\n"));
    for (size_t i = 0; i < count; i++) {
        TR_TRY(add_square(json_array_get(list, i), LEFT + (double)i * (SIDE + GAP), out, err));
    }
    TR_TRY(tr_buffer_add_text(out, "</svg>\n", err));
done:
    return status;
}
