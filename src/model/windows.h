/* windows.h: the vision tower's order of patches: windows, segments and coordinates (spec sections 3.2 to 3.4).
 *
 * Merged tokens (2 x 2 patches) are reordered so that those of one window lie side by side; the tower works in that
 * order and its output is put back with the inverse permutation. Pure functions. */
#ifndef TR_MODEL_WINDOWS_H
#define TR_MODEL_WINDOWS_H

#include "model/config.h"

/* Everything that depends on the grids alone. Arrays are the caller's, sized by the limits in their comments. */
typedef struct tr_windows {
    int32_t *index;         /* [patches / 4] merged token at each place of the window order */
    int32_t *cu_window;     /* [patches / 4 + 1] segment bounds in patches: windows */
    int32_t *cu_full;       /* [patches / 4 + 1] segment bounds in patches: temporal grids */
    int32_t *coords;        /* [patches][2] row and column of each patch, in window order */
    int64_t windows, grids; /* segments of each kind */
} tr_windows;

/* Fills it for grids (t, h, w) in patches. TR_INVALID when a side is not even or the sum of t*h*w is not `patches`.
 */
tr_status tr_windows_build(const tr_vision_config *config, const int32_t (*grids)[3], int64_t grid_count,
                           int64_t patches, tr_windows *windows, tr_error *err);

/* Windows of one grid (t, h, w). */
static inline int64_t tr_windows_count(const tr_vision_config *config, int64_t t, int64_t h, int64_t w)
{
    const int64_t side = config->window / config->patch;
    return t * ((h + side - 1) / side) * ((w + side - 1) / side);
}

#endif
