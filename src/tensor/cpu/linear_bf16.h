/* linear_bf16.h: y = x W^T and dX in bf16 arithmetic (vdpbf16ps), for weights stored as bf16.
 *
 * Activations are rounded to bf16, products are exact, sums are f32 and take two neighbours of the depth at a time:
 * an order of its own, fixed for every number of rows and threads, but rounded as the processor's instruction
 * rounds, which also flushes subnormals. The blocks are those of linear_kernel.h with pairs of bf16 in place of
 * floats. Included by isa_linear.c in the variant avx512bf16 only. */
#ifndef TR_TENSOR_CPU_LINEAR_BF16_H
#define TR_TENSOR_CPU_LINEAR_BF16_H

#include "tensor/cpu/linear_kernel.h"

enum {
    PAIRS = DEPTH / 2,       /* of a slice */
    PAIR_STRIDE = PAIRS + 16 /* between copied rows */
};

/* Two neighbours k, k + 1 of a panel, [2][16] as stored, to [16][2]. */
LANES_INLINE __m512i interleave(__m512i stored)
{
    const __m512i first = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i second = _mm512_slli_epi32(_mm512_add_epi32(first, _mm512_set1_epi32(16)), 16);
    return _mm512_permutexvar_epi16(_mm512_or_si512(first, second), stored);
}

/* One tile as in tile_run: a holds pairs [row][PAIR_STRIDE], b pairs [depth][16], or the panel as it is stored. */
LANES_INLINE void pairs_run(const int rows, const int panels, const bool stored, const tile *t)
{
    const uint32_t *a = (const uint32_t *)(const void *)t->a, *b = t->b;
    __m512 sum[ROWS][PANELS_MAX];
#pragma GCC unroll UNROLL
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll UNROLL
        for (int p = 0; p < panels; p++) {
            float *c = t->c + i * t->ldc + p * t->panel_step;
            sum[i][p] = t->fresh                                ? lanes_zero()
                        : p < panels - 1 || t->used == TR_PANEL ? lanes_load(c)
                                                                : lanes_load_n(c, t->used);
        }
    }
    for (int64_t k = 0; k < t->depth; k++) {
        __m512i w[PANELS_MAX];
#pragma GCC unroll UNROLL
        for (int p = 0; p < panels; p++) {
            w[p] = _mm512_loadu_si512(b + p * t->b_step + k * TR_PANEL);
            w[p] = stored ? interleave(w[p]) : w[p];
            __builtin_prefetch(t->ahead + p * t->ahead_step + k * 64);
        }
#pragma GCC unroll UNROLL
        for (int i = 0; i < rows; i++) {
            __m512bh x = (__m512bh)_mm512_set1_epi32((int)a[i * PAIR_STRIDE + k]);
#pragma GCC unroll UNROLL
            for (int p = 0; p < panels; p++) {
                sum[i][p] = _mm512_dpbf16_ps(sum[i][p], x, (__m512bh)w[p]);
            }
        }
    }
#pragma GCC unroll UNROLL
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll UNROLL
        for (int p = 0; p < panels; p++) {
            float *c = t->c + i * t->ldc + p * t->panel_step;
            if (p < panels - 1 || t->used == TR_PANEL) {
                lanes_store(c, sum[i][p]);
            } else {
                lanes_store_n(c, sum[i][p], t->used);
            }
        }
    }
}

#undef KERNEL
#define KERNEL(name, n, panels, layout, stored)                                                                    \
    static void name##_##n(const tile *t)                                                                          \
    {                                                                                                              \
        pairs_run(n, panels(n), stored, t);                                                                        \
    }
KERNELS(pairs_one, ONE, FLAT, false)
KERNELS(pairs_full, FULL, FLAT, false)
KERNELS(pairs_few_one, ONE, FLAT, true)
KERNELS(pairs_few, FEW, FLAT, true)

/* a[i][0..depth/2) = rows of x rounded to bf16, to nearest even, two by two; an odd depth ends in a zero. */
LANES_INLINE void copy_pairs(uint32_t *a, const float *x, int64_t ldx, int64_t rows, int64_t depth)
{
    for (int64_t i = 0; i < rows; i++) {
        uint16_t *to = (uint16_t *)(void *)(a + i * PAIR_STRIDE);
        for (int64_t k = 0; k < depth; k += TR_PANEL) {
            int n = (int)tr_min_i64(depth - k, TR_PANEL);
            __m512 f = n == TR_PANEL ? lanes_load(x + i * ldx + k) : lanes_load_n(x + i * ldx + k, n);
            _mm256_storeu_si256((__m256i *)(void *)(to + k), (__m256i)_mm512_cvtneps_pbh(f));
        }
    }
}

/* b[k/2] = a slice of a panel, interleaved; an odd depth ends with zeros. */
LANES_INLINE void interleave_slice(uint32_t *b, const uint16_t *panel, int64_t depth)
{
    int64_t k = 0;
    for (; k + 2 <= depth; k += 2) {
        _mm512_storeu_si512(b + k / 2 * TR_PANEL, interleave(_mm512_loadu_si512(panel + k * TR_PANEL)));
    }
    if (k < depth) {
        __m512i last =
            _mm512_zextsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)(panel + k * TR_PANEL)));
        _mm512_storeu_si512(b + k / 2 * TR_PANEL, interleave(last));
    }
}

/* b[n/2][i] = the pair W[n0 + n, k0 + i], W[n0 + n + 1, k0 + i]: two panels at a time give 16 pairs of each input.
 */
LANES_INLINE void transpose_pairs(uint32_t *b, const tr_matrix *w, int64_t n0, int64_t count, int64_t k0)
{
    const uint16_t *panels = w->panels;
    const int64_t inputs = tr_min_i64(w->in - k0, TR_PANEL);
    for (int64_t n = 0; n < count; n += 2 * TR_PANEL) {
        const uint16_t *from = panels + ((n0 + n) / TR_PANEL * w->in + k0) * TR_PANEL;
        const bool second = n + TR_PANEL < count;
        lanes square[TR_PANEL];
        for (int64_t i = 0; i < TR_PANEL; i++) {
            __m512i row = _mm512_setzero_si512();
            if (i < inputs) {
                row = _mm512_zextsi256_si512(
                    _mm256_loadu_si256((const __m256i *)(const void *)(from + i * TR_PANEL)));
            }
            if (i < inputs && second) {
                const uint16_t *next = from + (w->in + i) * TR_PANEL;
                row = _mm512_inserti64x4(row, _mm256_loadu_si256((const __m256i *)(const void *)next), 1);
            }
            square[i] = _mm512_castsi512_ps(row);
        }
        transpose((float *)(void *)(b + n / 2 * TR_PANEL), square);
    }
}

/* All tiles of a block of rows against interleaved panels. */
static inline void pairs_block(int64_t rows, int64_t panels, tile t)
{
    const char *next = t.ahead;
    const float *first = t.c;
    t.ahead = t.b;
    for (int64_t i = 0; i < rows;) {
        int64_t left = rows - i, take = left > ROWS && left < 2 * ROWS ? (left + 1) / 2 : tr_min_i64(left, ROWS);
        if (left > take) {
            fetch_rows(t.c + take * t.ldc, tr_min_i64(left - take, ROWS), panels, &t);
        } else {
            fetch_rows(first + panels * t.panel_step, tr_min_i64(rows, ROWS), panels, &t);
        }
        (panels == 1 ? pairs_one : pairs_full)[take](&t);
        t.a += take * PAIR_STRIDE;
        t.c += take * t.ldc;
        t.ahead = i == 0 ? next : t.b;
        i += take;
    }
}

/* As forward_slice. */
static inline void pairs_slice(float *y, const tr_matrix *w, int64_t rows, int64_t p, int64_t next, int64_t k0,
                               int64_t c0, int64_t c1, const uint32_t *a, uint32_t *b)
{
    const int64_t in = w->in, first = (p * in + k0) * TR_PANEL, depth = tr_min_i64(c1 - k0, DEPTH);
    const uint16_t *weights = (const uint16_t *)w->panels + first;
    tile t = {.c = y + p * TR_PANEL,
              .ldc = w->out,
              .panel_step = TR_PANEL,
              .a = (const float *)(const void *)a,
              .b = weights,
              .b_step = in * TR_PANEL / 2,
              .depth = (depth + 1) / 2,
              .ahead = (const char *)weights + 8192 / (next - p),
              .ahead_step = in * TR_PANEL * 2,
              .used = (int)tr_min_i64(w->out - (next - 1) * TR_PANEL, TR_PANEL),
              .fresh = k0 == 0};
    if (rows <= ROWS && in % 2 == 0) {
        (next - p == 1 ? pairs_few_one : pairs_few)[rows](&t);
        return;
    }
    t.ahead = (const char *)(weights + (k0 + DEPTH < c1 ? DEPTH : (next - p) * in - (k0 - c0)) * TR_PANEL);
    for (int64_t i = 0; i < next - p; i++) {
        interleave_slice(b + i * PAIRS * TR_PANEL, weights + i * in * TR_PANEL, depth);
    }
    t.b = b;
    t.b_step = PAIRS * TR_PANEL;
    pairs_block(rows, next - p, t);
}

/* As forward_share. */
static __attribute__((noinline)) void forward_pairs(float *y, const float *x, const tr_matrix *w, const share *s)
{
    _Alignas(64) uint32_t a[BLOCK * PAIR_STRIDE], b[PANELS * PAIRS * TR_PANEL];
    const int64_t in = w->in, block = block_size(s->bottom - s->top);
    for (int64_t m = s->top; m < s->bottom; m += block) {
        const int64_t rows = tr_min_i64(s->bottom - m, block), chunk = BLOCK / rows * DEPTH;
        const int64_t width = rows <= ROWS && in % 2 == 0 ? FEW(rows) : PANELS;
        for (int64_t c0 = 0; c0 < in; c0 += chunk) {
            const int64_t c1 = tr_min_i64(c0 + chunk, in);
            for (int64_t k0 = c0; k0 < c1; k0 += DEPTH) {
                copy_pairs(a + (k0 - c0) / DEPTH * rows * PAIR_STRIDE, x + m * in + k0, in, rows,
                           tr_min_i64(c1 - k0, DEPTH));
            }
            for (int64_t p = s->first, next; p < s->last; p = next) {
                next = p + (s->last - p >= width ? width : 1);
                for (int64_t k0 = c0; k0 < c1; k0 += DEPTH) {
                    pairs_slice(y + m * w->out, w, rows, p, next, k0, c0, c1,
                                a + (k0 - c0) / DEPTH * rows * PAIR_STRIDE, b);
                }
            }
        }
    }
}

/* As input_share. */
static __attribute__((noinline)) void input_pairs(float *dx, const float *dy, const tr_matrix *w, bool add,
                                                  const share *s)
{
    _Alignas(64) uint32_t a[BLOCK * PAIR_STRIDE], b[PANELS * PAIRS * TR_PANEL];
    const int64_t in = w->in, out = w->out, block = block_size(s->bottom - s->top);
    for (int64_t m = s->top; m < s->bottom; m += block) {
        const int64_t rows = tr_min_i64(s->bottom - m, block);
        for (int64_t n0 = 0; n0 < out; n0 += DEPTH) {
            const int64_t depth = tr_min_i64(out - n0, DEPTH);
            copy_pairs(a, dy + m * out + n0, out, rows, depth);
            for (int64_t p = s->first; p < s->last; p += PANELS) {
                const int64_t panels = tr_min_i64(s->last - p, PANELS);
                for (int64_t i = 0; i < panels; i++) {
                    transpose_pairs(b + i * PAIRS * TR_PANEL, w, n0, depth, (p + i) * TR_PANEL);
                }
                tile t = {.c = dx + m * in + p * TR_PANEL,
                          .ldc = in,
                          .panel_step = TR_PANEL,
                          .a = (const float *)(const void *)a,
                          .b = b,
                          .b_step = PAIRS * TR_PANEL,
                          .depth = (depth + 1) / 2,
                          .ahead = (const char *)b,
                          .used = (int)tr_min_i64(in - (p + panels - 1) * TR_PANEL, TR_PANEL),
                          .fresh = !add && n0 == 0};
                pairs_block(rows, panels, t);
            }
        }
    }
}

#endif
