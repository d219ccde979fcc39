/* table_moments.c: the GPU's AdamW with moments in 8 bits. Plain C, as table.c. */
#include "tensor/cuda/table.h"

#include <math.h>

void tr_cuda_adamw8_step(float *parameter, const float *gradient, void *records, int64_t out, int64_t in,
                         const tr_adamw *adamw)
{
    const int64_t tiles = tr_cuda_blocks(out, TR_PANEL) * tr_cuda_blocks(in, TR_MOMENTS_TILE);
    const adamw8_args a = {.p = parameter,
                           .g = gradient,
                           .records = records,
                           .tables = tr_cuda_stage(tr_moments8_tables_get(), sizeof(tr_moments8_tables)),
                           .out = out,
                           .in = in,
                           .tiles = tiles,
                           .c = tr_adamw_constants_of(adamw)};
    if (a.tables) {
        tr_cuda_launch_adamw8(&a, tr_cuda_grid_of(tr_cuda_blocks(tiles, MOMENT_TILES), 1, 1));
    }
}
