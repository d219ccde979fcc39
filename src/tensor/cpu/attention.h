/* attention.h: what the attention kernels share: the small matrix product, row copies, key panels, the forward
 * step.
 *
 * Fixed orders, whatever the blocking: a score runs along head_dim with fma; an output or gradient element runs
 * along keys (or queries) with fma; key tiles of KEY_TILE keys start at the first key of a span (a prompt or one
 * response). Rows are "virtual": one query row of one head. Heads of a group share their keys and form one block of
 * rows. Nothing here forks threads or allocates. */
#ifndef TR_TENSOR_CPU_ATTENTION_H
#define TR_TENSOR_CPU_ATTENTION_H

#include "base/math.h"
#include "tensor/cpu/lanes_math.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/transpose.h"
#include "tensor/cpu/variant.h"

enum {
    KEY_TILE = 64,  /* keys of one online-softmax step: part of the numerical contract */
    ROW_BLOCK = 48, /* virtual rows that share a tile: free to choose, and below it by tasks */
    WIDTH_MAX = TR_HEAD_DIM_MAX,
};

#if defined(TR_ISA_avx512)
enum { PRODUCT_ROWS = 6, PRODUCT_PANELS = 4 };
#else
enum { PRODUCT_ROWS = 6, PRODUCT_PANELS = 1 };
#endif

/* The lanes that hold head_dim values. */
LANES_INLINE int64_t padded(int64_t n)
{
    return (n + 15) / 16 * 16;
}

/* c[rows][panels * 16] (+)= a b: a[i][k] at a + i * row_step + k * depth_step, b[k][16] of panel p at
 * b + p * panel_step + k * depth_step. */
typedef struct left_operand {
    const float *p;
    int64_t row_step, depth_step;
} left_operand;
typedef struct operand {
    const float *p;
    int64_t depth_step, panel_step;
} operand;

LANES_INLINE void product_block(float *c, int64_t ldc, left_operand a, operand b, int64_t depth, const int rows,
                                const int panels, const bool add)
{
    lanes sum[PRODUCT_ROWS][PRODUCT_PANELS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++) {
            sum[r][p] = add ? lanes_load(c + r * ldc + p * 16) : lanes_zero();
        }
    }
    for (int64_t k = 0; k < depth; k++) {
        lanes right[PRODUCT_PANELS];
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++) {
            right[p] = lanes_load(b.p + p * b.panel_step + k * b.depth_step);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            lanes left = lanes_set(a.p[r * a.row_step + k * a.depth_step]);
#pragma GCC unroll 4
            for (int p = 0; p < panels; p++) {
                sum[r][p] = lanes_fma(left, right[p], sum[r][p]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++) {
            lanes_store(c + r * ldc + p * 16, sum[r][p]);
        }
    }
}

LANES_INLINE void product_rows(float *c, int64_t ldc, left_operand a, operand b, int64_t depth, int rows,
                               const int panels, const bool add)
{
    for (; rows >= PRODUCT_ROWS; rows -= PRODUCT_ROWS, c += PRODUCT_ROWS * ldc, a.p += PRODUCT_ROWS * a.row_step) {
        product_block(c, ldc, a, b, depth, PRODUCT_ROWS, panels, add);
    }
    switch (rows) {
    case 5:
        product_block(c, ldc, a, b, depth, 5, panels, add);
        break;
    case 4:
        product_block(c, ldc, a, b, depth, 4, panels, add);
        break;
    case 3:
        product_block(c, ldc, a, b, depth, 3, panels, add);
        break;
    case 2:
        product_block(c, ldc, a, b, depth, 2, panels, add);
        break;
    case 1:
        product_block(c, ldc, a, b, depth, 1, panels, add);
        break;
    default:
        break;
    }
}

LANES_INLINE void product_over(float *c, int64_t ldc, left_operand a, operand b, int64_t depth, int rows,
                               int panels, const bool add)
{
    for (; panels >= PRODUCT_PANELS; panels -= PRODUCT_PANELS) {
        product_rows(c, ldc, a, b, depth, rows, PRODUCT_PANELS, add);
        c += 16 * PRODUCT_PANELS;
        b.p += PRODUCT_PANELS * b.panel_step;
    }
    for (; panels > 0; panels--, c += 16, b.p += b.panel_step) {
        product_rows(c, ldc, a, b, depth, rows, 1, add);
    }
}

static inline __attribute__((unused)) void product_add(float *c, int64_t ldc, left_operand a, operand b,
                                                       int64_t depth, int rows, int panels)
{
    product_over(c, ldc, a, b, depth, rows, panels, true);
}

static inline __attribute__((unused)) void product_set(float *c, int64_t ldc, left_operand a, operand b,
                                                       int64_t depth, int rows, int panels)
{
    product_over(c, ldc, a, b, depth, rows, panels, false);
}

/* Rows whose depth lies side by side, and the same read the other way: row i of the product is column i. */
LANES_INLINE left_operand along_rows(const float *p, int64_t stride)
{
    return (left_operand){p, stride, 1};
}
LANES_INLINE left_operand along_columns(const float *p, int64_t stride)
{
    return (left_operand){p, 1, stride};
}

/* The operand of keys [16-token panels of [head_dim][16]] and of rows padded to whole lanes. */
LANES_INLINE operand panels_of(const float *p, int64_t head_dim)
{
    return (operand){p, 16, head_dim * 16};
}
LANES_INLINE operand rows_of(const float *p, int64_t width)
{
    return (operand){p, width, 16};
}

/* out[n][width] = rows of head_dim values at a stride, the rest of the width zero. */
LANES_INLINE void copy_rows(float *out, int64_t width, const float *rows, int64_t stride, int64_t n,
                            int64_t head_dim)
{
    for (int64_t i = 0; i < n; i++) {
        memcpy(out + i * width, rows + i * stride, (size_t)head_dim * sizeof *out);
        for (int64_t d = head_dim; d < width; d++) {
            out[i * width + d] = 0.0f;
        }
    }
}

/* to += from, n values. */
LANES_INLINE void add_row(float *to, const float *from, int64_t n)
{
    for (int64_t d = 0; d < n; d += 16) {
        const int some = (int)tr_min_i64(16, n - d);
        if (some == 16) {
            lanes_store(to + d, lanes_add(lanes_load(to + d), lanes_load(from + d)));
        } else {
            lanes_store_n(to + d, lanes_add(lanes_load_n(to + d, some), lanes_load_n(from + d, some)), some);
        }
    }
}

/* out[ceil(n/16)][head_dim][16] = the transpose of n rows at a stride; missing tokens are zero. */
static inline __attribute__((unused)) void pack_panels(float *out, const float *rows, int64_t stride, int64_t n,
                                                       int64_t head_dim)
{
    for (int64_t t = 0; t < n; t += 16, out += head_dim * 16) {
        for (int64_t d = 0; d < head_dim; d += 16) {
            const int wide = (int)tr_min_i64(16, head_dim - d);
            lanes square[16];
            float turned[16 * 16];
            for (int64_t j = 0; j < 16; j++) {
                const float *row = rows + (t + j) * stride + d;
                square[j] = t + j >= n ? lanes_zero() : wide == 16 ? lanes_load(row) : lanes_load_n(row, wide);
            }
            transpose(wide == 16 ? out + d * 16 : turned, square);
            if (wide < 16) {
                memcpy(out + d * 16, turned, (size_t)wide * 16 * sizeof *out);
            }
        }
    }
}

static const float tr_iota[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* A block of virtual rows of one kv head on its way over the keys. */
typedef struct block {
    int rows;
    int64_t head_dim, width;
    float scale;
    float largest[ROW_BLOCK], decay[ROW_BLOCK];
    int64_t seen[ROW_BLOCK]; /* keys of the current span that each row sees: a prefix of it */
    float sum[ROW_BLOCK * 16];
    float score[ROW_BLOCK * KEY_TILE];
    float q[ROW_BLOCK * WIDTH_MAX]; /* [rows][head_dim] */
    float o[ROW_BLOCK * WIDTH_MAX]; /* [rows][width] */
} block;

LANES_INLINE void block_start(block *b, int rows, const tr_attention_shape *shape)
{
    b->rows = rows;
    b->head_dim = shape->head_dim;
    b->width = padded(shape->head_dim);
    b->scale = shape->scale;
    for (int r = 0; r < ROW_BLOCK; r++) {
        b->largest[r] = -INFINITY;
    }
    memset(b->sum, 0, (size_t)rows * 16 * sizeof *b->sum);
    memset(b->o, 0, (size_t)(rows * b->width) * sizeof *b->o);
}

/* Scores of rows [r0, r1) against the tile's keys become weights exp(score - largest); sums and outputs decay. */
static inline void block_softmax(block *b, int r0, int r1, int64_t first_key, int groups)
{
    const lanes iota = lanes_load(tr_iota), scale = lanes_set(b->scale), never = lanes_set(-INFINITY);
    for (int r = r0; r < r1; r++) {
        float *s = b->score + r * KEY_TILE;
        lanes top = never;
        for (int j = 0; j < groups; j++) {
            lanes x = lanes_mul(lanes_load(s + j * 16), scale);
            int64_t left = b->seen[r] - first_key - j * 16; /* lanes seen */
            if (left < 16) {
                x = lanes_if_less(iota, lanes_set(left > 0 ? (float)left : 0.0f), x, never);
            }
            lanes_store(s + j * 16, x);
            top = lanes_max(top, x);
        }
        float largest = lanes_top(top);
        largest = largest > b->largest[r] ? largest : b->largest[r];
        b->decay[r] = b->largest[r] - largest;
        b->largest[r] = largest;
    }
    for (int r = r0; r < r1; r += 16) {
        int n = r1 - r < 16 ? r1 - r : 16;
        lanes_store_n(b->decay + r, lanes_exp(lanes_load_n(b->decay + r, n)), n);
    }
    for (int r = r0; r < r1; r++) {
        float *s = b->score + r * KEY_TILE, *o = b->o + r * b->width;
        lanes largest = lanes_set(b->largest[r]), decay = lanes_set(b->decay[r]), total = lanes_zero();
        for (int j = 0; j < groups; j++) {
            lanes p = lanes_exp(lanes_sub(lanes_load(s + j * 16), largest));
            lanes_store(s + j * 16, p);
            total = lanes_add(total, p);
        }
        lanes_store(b->sum + r * 16, lanes_fma(lanes_load(b->sum + r * 16), decay, total));
        for (int64_t d = 0; d < b->width && b->decay[r] != 1.0f;
             d += 16) { /* 1: the largest stayed, as it mostly does */
            lanes_store(o + d, lanes_mul(lanes_load(o + d), decay));
        }
    }
}

/* Rows [r0, r1) over one span of keys. k: panels, v: rows of head_dim values. A key that a row does not see adds
 * exactly nothing to it: its weight is 0, and a tile without visible keys has decay exp(0) = 1. */
static inline void block_span(block *b, int r0, int r1, const float *k, const float *v)
{
    float copy[KEY_TILE * WIDTH_MAX];
    int64_t most = 0, hd = b->head_dim, width = b->width;
    for (int r = r0; r < r1; r++) {
        most = tr_max_i64(most, b->seen[r]);
    }
    for (int64_t key = 0; key < most; key += KEY_TILE) {
        int64_t keys = tr_min_i64(KEY_TILE, most - key);
        int groups = (int)((keys + 15) / 16);
        product_set(b->score + r0 * KEY_TILE, KEY_TILE, along_rows(b->q + r0 * hd, hd), panels_of(k + key * hd, hd),
                    hd, r1 - r0, groups);
        block_softmax(b, r0, r1, key, groups);
        const float *rows = v + key * hd;
        if (width != hd) {
            copy_rows(copy, width, rows, hd, keys, hd);
            rows = copy;
        }
        product_add(b->o + r0 * width, width, along_rows(b->score + r0 * KEY_TILE, KEY_TILE), rows_of(rows, width),
                    keys, r1 - r0, (int)(width / 16));
    }
}

/* Row r's output, o / sum, and its log-sum-exp (may be NULL). Adding 0 turns -0 into 0. */
static inline void block_finish(const block *b, int r, float *o, float *lse)
{
    float sum = lanes_sum(lanes_load(b->sum + r * 16));
    lanes total = lanes_set(sum);
    for (int64_t d = 0; d < b->head_dim; d += 16) {
        int n = (int)tr_min_i64(16, b->head_dim - d);
        lanes x = lanes_add(lanes_div(lanes_load(b->o + r * b->width + d), total), lanes_zero());
        if (n == 16) {
            lanes_store(o + d, x);
        } else {
            lanes_store_n(o + d, x, n);
        }
    }
    if (lse) {
        *lse = (float)((double)b->largest[r] + tr_math_log((double)sum));
    }
}

/* The tokens of one call: spans of rows that hold together. Vision: span s is a segment, seen whole by its rows. A
 * packed group: span 0 is the prompt, span r + 1 response r; causal within the span, and responses see span 0. */
typedef struct tokens {
    const tr_attention_shape *shape;
    const int32_t *cu;       /* vision, else NULL */
    const tr_layout *layout; /* group, else NULL */
    int64_t spans, rows;
    int64_t q_stride, kv_stride, o_stride; /* floats from row to row */
} tokens;

LANES_INLINE int64_t span_start(const tokens *t, int64_t s)
{
    return t->cu ? t->cu[s] : s == 0 ? 0 : s == 1 ? t->layout->prompt : t->layout->start[s - 1];
}
LANES_INLINE int64_t span_rows(const tokens *t, int64_t s)
{
    return span_start(t, s + 1) - span_start(t, s);
}

/* Where span s begins in packed storage: every span may need up to 15 tokens more than it has. */
LANES_INLINE int64_t span_slot(const tokens *t, int64_t s)
{
    return span_start(t, s) - span_start(t, 0) + 16 * s;
}
LANES_INLINE int64_t slots(const tokens *t)
{
    return span_slot(t, t->spans);
}

LANES_INLINE tokens tokens_of_segments(const tr_attention_shape *shape, const int32_t *cu, int64_t segments,
                                       int64_t stride)
{
    return (tokens){shape, cu, NULL, segments, cu[segments], stride, stride, shape->heads * shape->head_dim};
}

LANES_INLINE tokens tokens_of_group(const tr_attention_shape *shape, const tr_layout *layout)
{
    int64_t wide = shape->heads * shape->head_dim, narrow = shape->kv_heads * shape->head_dim;
    int64_t rows = layout->responses > 0 ? layout->start[layout->responses] : layout->prompt;
    return (tokens){shape, NULL, layout, layout->responses + 1, rows, wide, narrow, wide};
}

/* The longest span, and a measure of the whole: multiply-adds of one product, over 16 lanes. */
static inline int64_t longest_span(const tokens *t, int64_t *cost)
{
    int64_t longest = 0, pairs = 0;
    for (int64_t s = 0; s < t->spans; s++) {
        int64_t n = span_rows(t, s);
        longest = tr_max_i64(longest, n);
        pairs += n * n + (t->layout && s > 0 ? n * t->layout->prompt : 0);
    }
    *cost = pairs * t->shape->heads * t->shape->head_dim / 16;
    return longest;
}

#endif
