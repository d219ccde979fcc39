/* kernel_moments.h: AdamW with its moments in 8 bits (tensor/moments.h has the format, tensor/cpu/isa_moments.c the
 * sequence; the same bytes).
 *
 * A block of 256 threads takes MOMENT_TILES tiles of 16 rows and 16 columns, one after the other, a thread an
 * element [row t / 16, column t % 16]; the tables of the codes are in shared memory. Maxima need no order. Internal
 * to tensor/cuda. */
#ifndef TR_TENSOR_CUDA_KERNEL_MOMENTS_H
#define TR_TENSOR_CUDA_KERNEL_MOMENTS_H

#include "tensor/adamw.h"
#include "tensor/cuda/grid.h"
#include "tensor/moments.h"

enum { MOMENT_THREADS = 256, MOMENT_TILES = 32 };

/* p, g [out, in] in rows; tables on the device. */
typedef struct adamw8_args {
    float *p;
    const float *g;
    unsigned char *records;
    const tr_moments8_tables *tables;
    int64_t out, in, tiles; /* tiles of the whole matrix */
    tr_adamw_constants c;
} adamw8_args;

typedef struct adamw8_shared {
    tr_moments8_tables tables;
    float largest[MOMENT_THREADS], smallest[MOMENT_THREADS], most[MOMENT_THREADS];
} adamw8_shared;

TR_DEVICE uint32_t moment_rank(const uint8_t *cell, const float *edge, float magnitude)
{
    int32_t at = (int32_t)(cu_bits(magnitude) << 1 >> 17) - TR_MOMENTS_BASE; /* -0 is 0 */
    at = at < 0 ? 0 : at >= TR_MOMENTS_CELLS ? TR_MOMENTS_CELLS - 1 : at;
    const uint32_t rank = cell[at];
    return rank + (magnitude > edge[rank] ? 1u : 0u);
}

/* Joins 256 maxima and minima: [0] holds them afterwards. */
TR_DEVICE void moment_extremes(adamw8_shared *s)
{
    for (int width = MOMENT_THREADS / 4; width >= 1; width /= 4) {
        SYNC();
        THREADS(t, MOMENT_THREADS)
        {
            for (int i = 1; t < width && i < 4; i++) {
                const int other = t + i * width;
                s->largest[t] = cu_max(s->largest[other], s->largest[t]);
                s->smallest[t] = s->smallest[other] < s->smallest[t] ? s->smallest[other] : s->smallest[t];
                s->most[t] = cu_max(s->most[other], s->most[t]);
            }
        }
    }
    SYNC();
}

TR_DEVICE void adamw8_block(const adamw8_args *a, int x, int y, int z, void *shared)
{
    (void)y, (void)z;
    adamw8_shared *s = (adamw8_shared *)shared;
    const int64_t across = (a->in + TR_MOMENTS_TILE - 1) / TR_MOMENTS_TILE,
                  bytes = 2 * TR_PANEL * a->in + 8 * across;
    const int64_t first = (int64_t)x * MOMENT_TILES, last = cu_min64(first + MOMENT_TILES, a->tiles);
    PRIVATE(float, values, 2); /* the new m and v of a thread's element */
    THREADS(t, MOMENT_THREADS)
    {
        const uint32_t *from = (const uint32_t *)(const void *)a->tables;
        for (int i = t; i < (int)(sizeof s->tables / 4); i += MOMENT_THREADS) {
            ((uint32_t *)(void *)&s->tables)[i] = from[i];
        }
    }
    for (int64_t tile = first; tile < last; tile++) {
        const int64_t panel = tile / across, column = tile % across * TR_MOMENTS_TILE;
        const int columns = (int)cu_min64(a->in - column, TR_MOMENTS_TILE), codes = TR_PANEL * columns;
        unsigned char *record = a->records + panel * bytes + tile % across * (2 * TR_PANEL * TR_MOMENTS_TILE + 8);
        float *scale = (float *)(void *)record;
        uint8_t *code = record + 8; /* of m; v's stand behind */
        SYNC();
        THREADS(t, MOMENT_THREADS)
        {
            const int64_t row = panel * TR_PANEL + t / TR_MOMENTS_TILE;
            const int c = t % TR_MOMENTS_TILE, at = t / TR_MOMENTS_TILE * columns + c;
            const int there = c < columns && row < a->out;
            float m = 0.0f, v = 0.0f;
            if (there) {
                const int64_t i = row * a->in + column + c;
                const float g = a->g[i] * a->c.scale, m0 = s->tables.m[code[at]] * scale[0],
                            v0 = s->tables.v[code[codes + at]] * scale[1];
                m = cu_fma(g - m0, a->c.mix1, m0);
                v = cu_fma(g * g, a->c.mix2, v0 * a->c.beta2);
                const float root = cu_max(1.17549435e-38f, cu_fma(cu_sqrt(v), a->c.inverse_root2, a->c.eps));
                a->p[i] = cu_fma(a->c.step, cu_divide(m, root), cu_fma(a->p[i], a->c.keep, a->p[i]));
            }
            values[OWN(t)][0] = m;
            values[OWN(t)][1] = v;
            s->largest[t] = cu_max(m, 0.0f);
            s->smallest[t] = m < 0.0f ? m : 0.0f;
            s->most[t] = cu_max(v, 0.0f);
        }
        moment_extremes(s);
        THREADS(t, MOMENT_THREADS)
        {
            const int c = t % TR_MOMENTS_TILE, at = t / TR_MOMENTS_TILE * columns + c;
            const float scale_m = s->largest[0] >= 0.0f - s->smallest[0] ? s->largest[0] : s->smallest[0];
            const float scale_v = s->most[0];
            if (c < columns) {
                uint32_t of_m = TR_MOMENTS_ZERO, of_v = 0;
                if (scale_m != 0.0f) {
                    const float share = cu_divide(values[OWN(t)][0], scale_m);
                    const uint32_t rank =
                        moment_rank(s->tables.m_cell, s->tables.m_edge, share < 0.0f ? 0.0f - share : share);
                    of_m = share < 0.0f ? TR_MOMENTS_ZERO - (rank < 127 ? rank : 127) : TR_MOMENTS_ZERO + rank;
                }
                if (scale_v != 0.0f) {
                    const float share = cu_divide(values[OWN(t)][1], scale_v);
                    of_v = moment_rank(s->tables.v_cell, s->tables.v_edge, share);
                    of_v = of_v == 0 && share > 0.0f ? 1 : of_v;
                }
                code[at] = (uint8_t)of_m;
                code[codes + at] = (uint8_t)of_v;
            }
            if (t == 0) {
                scale[0] = scale_m;
                scale[1] = scale_v;
            }
        }
    }
}

#endif
