/* windows.c: window order, segments and coordinates of patches. */
#include "model/windows.h"

static tr_status check_grids(const int32_t (*grids)[3], int64_t count, int64_t merge, int64_t patches,
                             tr_error *err)
{
    int64_t total = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t t = grids[i][0], h = grids[i][1], w = grids[i][2];
        if (t < 1 || h < merge || w < merge || h % merge || w % merge) {
            return tr_fail(err, TR_INVALID, "grid_thw",
                           "grid %lld is (%lld, %lld, %lld): needs t >= 1 and sides that are multiples of %lld",
                           (long long)i, (long long)t, (long long)h, (long long)w, (long long)merge);
        }
        total += t * h * w;
    }
    if (total != patches) {
        return tr_fail(err, TR_MISMATCH, "grid_thw", "the grids hold %lld patches, the pixels %lld",
                       (long long)total, (long long)patches);
    }
    return TR_OK;
}

/* One window of one temporal grid: its merged tokens in raster order, clipped at the border. */
static void add_window(tr_windows *w, int64_t *place, int64_t base, int64_t rows, int64_t columns, int64_t row0,
                       int64_t column0, int64_t side, int64_t merge)
{
    int64_t row1 = row0 + side < rows ? row0 + side : rows,
            column1 = column0 + side < columns ? column0 + side : columns;
    for (int64_t y = row0; y < row1; y++) {
        for (int64_t x = column0; x < column1; x++) {
            for (int64_t i = 0; i < merge * merge; i++) {
                int32_t *coords = w->coords + 2 * (*place * merge * merge + i);
                coords[0] = (int32_t)(merge * y + i / merge);
                coords[1] = (int32_t)(merge * x + i % merge);
            }
            w->index[(*place)++] = (int32_t)(base + y * columns + x);
        }
    }
    w->cu_window[++w->windows] = (int32_t)(*place * merge * merge);
}

tr_status tr_windows_build(const tr_vision_config *config, const int32_t (*grids)[3], int64_t grid_count,
                           int64_t patches, tr_windows *windows, tr_error *err)
{
    int64_t merge = config->merge, side = config->window / merge / config->patch, place = 0;
    tr_status status = check_grids(grids, grid_count, merge, patches, err);
    if (status) {
        return status;
    }
    windows->windows = windows->grids = 0;
    windows->cu_window[0] = windows->cu_full[0] = 0;
    for (int64_t g = 0; g < grid_count; g++) {
        int64_t rows = grids[g][1] / merge, columns = grids[g][2] / merge;
        for (int64_t t = 0; t < grids[g][0]; t++) {
            int64_t base = place;
            for (int64_t y = 0; y < rows; y += side) {
                for (int64_t x = 0; x < columns; x += side) {
                    add_window(windows, &place, base, rows, columns, y, x, side, merge);
                }
            }
            windows->cu_full[++windows->grids] = (int32_t)(place * merge * merge);
        }
    }
    return TR_OK;
}
