/* kernel_rows.h: kernels that reduce: RMSNorm and its backward, sums over rows, log-softmax and entropy over a
 * vocabulary, sums of squares.
 *
 * Every reduction has the CPU's order: sixteen virtual lanes that walk the row and are joined by the tree 8, 4, 2,
 * 1 (tensor/cpu/lanes.h); over a vocabulary, chunks of 4096 of such sums, joined in order in double. Sixteen
 * threads stand for the sixteen lanes. So forward results are the CPU's bits. Internal to tensor/cuda. */
#ifndef TR_TENSOR_CUDA_KERNEL_ROWS_H
#define TR_TENSOR_CUDA_KERNEL_ROWS_H

#include "tensor/cuda/kernel_elements.h"

enum { LANES = 16, NORM_THREADS = 128, NORM_ROWS = NORM_THREADS / LANES };

/* The tree over sixteen values that lie together; every reader computes it for itself. */
TR_DEVICE float cu_lanes_sum(const float *p)
{
    float s[LANES];
    UNROLL
    for (int i = 0; i < LANES; i++) {
        s[i] = p[i];
    }
    UNROLL
    for (int step = LANES / 2; step > 0; step /= 2) {
        UNROLL
        for (int i = 0; i < LANES / 2; i++) {
            if (i < step) {
                s[i] = s[i] + s[i + step];
            }
        }
    }
    return s[0];
}

/* ---- RMSNorm: a block takes NORM_ROWS rows, sixteen threads each ---- */

typedef struct norm_args {
    float *y, *rstd; /* rstd may be NULL */
    const float *x, *weight;
    int64_t rows, d;
    float eps;
} norm_args;

typedef struct norm_shared {
    float lane[NORM_THREADS];
} norm_shared;

TR_DEVICE void norm_block(const norm_args *a, int x, int y, int z, void *memory)
{
    (void)y, (void)z;
    norm_shared *s = (norm_shared *)memory;
    const int64_t first = (int64_t)x * NORM_ROWS;
    THREADS(t, NORM_THREADS)
    {
        const int64_t row = first + t / LANES;
        float sum = 0.0f;
        for (int64_t i = t % LANES; row < a->rows && i < a->d; i += LANES) {
            const float v = a->x[row * a->d + i];
            sum = cu_fma(v, v, sum);
        }
        s->lane[t] = sum;
    }
    SYNC();
    THREADS(t, NORM_THREADS)
    {
        const int64_t row = first + t / LANES;
        if (row < a->rows) {
            const float mean = cu_divide(cu_lanes_sum(s->lane + t / LANES * LANES), (float)a->d);
            const float r = cu_divide(1.0f, cu_sqrt(mean + a->eps));
            for (int64_t i = t % LANES; i < a->d; i += LANES) {
                a->y[row * a->d + i] = a->x[row * a->d + i] * r * a->weight[i];
            }
            if (a->rstd && t % LANES == 0) {
                a->rstd[row] = r;
            }
        }
    }
}

typedef struct norm_backward_args {
    float *dx;
    const float *dy, *x, *weight, *rstd;
    int64_t rows, d;
} norm_backward_args;

/* g = dy w, h = x r: dx += r (g - h mean(g h)) */
TR_DEVICE void norm_backward_block(const norm_backward_args *a, int x, int y, int z, void *memory)
{
    (void)y, (void)z;
    norm_shared *s = (norm_shared *)memory;
    const int64_t first = (int64_t)x * NORM_ROWS;
    THREADS(t, NORM_THREADS)
    {
        const int64_t row = first + t / LANES;
        float sum = 0.0f;
        for (int64_t i = t % LANES; row < a->rows && i < a->d; i += LANES) {
            const int64_t at = row * a->d + i;
            sum = cu_fma(a->dy[at] * a->weight[i], a->x[at] * a->rstd[row], sum);
        }
        s->lane[t] = sum;
    }
    SYNC();
    THREADS(t, NORM_THREADS)
    {
        const int64_t row = first + t / LANES;
        if (row < a->rows) {
            const float mean = -cu_divide(cu_lanes_sum(s->lane + t / LANES * LANES), (float)a->d), r = a->rstd[row];
            for (int64_t i = t % LANES; i < a->d; i += LANES) {
                const int64_t at = row * a->d + i;
                const float g = a->dy[at] * a->weight[i], h = a->x[at] * r;
                a->dx[at] = cu_fma(r, cu_fma(h, mean, g), a->dx[at]);
            }
        }
    }
}

/* ---- sums over rows, in two steps: chunks of COLUMN_ROWS rows, then the chunks in order ---- */

enum { COLUMN_THREADS = 128, COLUMN_ROWS = 32 };

/* part[chunk][column] = sum over the chunk's rows of dy, or of dy * (x * rstd) where x is not NULL. */
typedef struct column_args {
    float *part;
    const float *dy, *x, *rstd;
    int64_t rows, d;
} column_args;

TR_DEVICE void column_block(const column_args *a, int x, int y, int z, void *shared)
{
    (void)z, (void)shared;
    const int64_t first = (int64_t)y * COLUMN_ROWS, last = cu_min64(first + COLUMN_ROWS, a->rows);
    THREADS(t, COLUMN_THREADS)
    {
        const int64_t c = (int64_t)x * COLUMN_THREADS + t;
        if (c < a->d) {
            float sum = 0.0f;
            for (int64_t i = first; i < last; i++) {
                const float g = a->dy[i * a->d + c];
                sum = a->x ? cu_fma(g, a->x[i * a->d + c] * a->rstd[i], sum) : sum + g;
            }
            a->part[(int64_t)y * a->d + c] = sum;
        }
    }
}

/* out[row][c] += part[0][row][c] + part[1][row][c] + ..., in order; count = rows * width. */
typedef struct parts_args {
    float *out;
    const float *part;                   /* [parts][rows][width] */
    int64_t parts, count, width, stride; /* stride: floats from row to row of out */
} parts_args;

TR_DEVICE void parts_block(const parts_args *a, int x, int y, int z, void *shared)
{
    (void)y, (void)z, (void)shared;
    THREADS(t, COLUMN_THREADS)
    {
        const int64_t i = (int64_t)x * COLUMN_THREADS + t;
        if (i < a->count) {
            float *out = a->out + i / a->width * a->stride + i % a->width;
            float sum = *out;
            for (int64_t p = 0; p < a->parts; p++) {
                sum = sum + a->part[p * a->count + i];
            }
            *out = sum;
        }
    }
}

/* ---- log-softmax: a block a row; sixteen threads a chunk of 4096 ids, sixteen chunks at a time ---- */

enum { SOFTMAX_THREADS = 256, SOFTMAX_CHUNK = 4096, SOFTMAX_SIDE = SOFTMAX_THREADS / LANES };

typedef struct softmax_args {
    float *logp, *entropy, *lse; /* [rows], each may be NULL */
    float *all;                  /* [vocab] of the only row, or NULL */
    const float *logits;
    const int32_t *ids; /* [rows]; NULL with `all` */
    int64_t vocab;
    float temperature;
} softmax_args;

typedef struct softmax_shared {
    float sum[SOFTMAX_THREADS], weighted[SOFTMAX_THREADS];
    float best;
    double total, product, lse; /* sums of exp(z' - max) and of exp(z' - max) (z' - max), z' = z / T */
} softmax_shared;

TR_DEVICE void softmax_largest(const softmax_args *a, const float *z, softmax_shared *s)
{
    THREADS(t, SOFTMAX_THREADS)
    {
        float best = -cu_infinity();
        for (int64_t i = t; i < a->vocab; i += SOFTMAX_THREADS) {
            best = z[i] > best ? z[i] : best;
        }
        s->sum[t] = best;
    }
    SYNC();
    THREADS(t, SOFTMAX_THREADS)
    {
        if (t == 0) {
            float best = -cu_infinity();
            for (int i = 0; i < SOFTMAX_THREADS; i++) {
                best = s->sum[i] > best ? s->sum[i] : best;
            }
            s->best = cu_divide(best, a->temperature);
            s->total = 0.0;
            s->product = 0.0;
        }
    }
    SYNC();
}

/* Chunks [base, base + SOFTMAX_SIDE) join s->total and s->product. */
TR_DEVICE void softmax_chunks(const softmax_args *a, const float *z, softmax_shared *s, int64_t base)
{
    THREADS(t, SOFTMAX_THREADS)
    {
        const int64_t first = (base + t / LANES) * SOFTMAX_CHUNK;
        const int64_t last = cu_min64(first + SOFTMAX_CHUNK, a->vocab);
        float sum = 0.0f, weighted = 0.0f;
        for (int64_t i = first + t % LANES; i < last; i += LANES) {
            const float u = cu_max(-200.0f, cu_divide(z[i], a->temperature) - s->best), e = cu_exp(u);
            sum = sum + e;
            weighted = cu_fma(e, u, weighted);
        }
        s->sum[t] = sum;
        s->weighted[t] = weighted;
    }
    SYNC();
    THREADS(t, SOFTMAX_THREADS)
    {
        if (t == 0) {
            for (int c = 0; c < SOFTMAX_SIDE && (base + c) * SOFTMAX_CHUNK < a->vocab; c++) {
                s->total += (double)cu_lanes_sum(s->sum + c * LANES);
                s->product += (double)cu_lanes_sum(s->weighted + c * LANES);
            }
        }
    }
    SYNC();
}

TR_DEVICE void softmax_block(const softmax_args *a, int x, int y, int z, void *memory)
{
    (void)y, (void)z;
    softmax_shared *s = (softmax_shared *)memory;
    const int id = a->ids ? a->ids[x] : 0;
    const float *row = a->logits + (int64_t)x * a->vocab;
    if (id < 0) { /* ignored: the same for all threads */
        THREADS(t, SOFTMAX_THREADS)
        {
            if (t == 0) {
                if (a->logp) {
                    a->logp[x] = 0.0f;
                }
                if (a->entropy) {
                    a->entropy[x] = 0.0f;
                }
                if (a->lse) {
                    a->lse[x] = 0.0f;
                }
            }
        }
        return;
    }
    softmax_largest(a, row, s);
    for (int64_t base = 0; base * SOFTMAX_CHUNK < a->vocab; base += SOFTMAX_SIDE) {
        softmax_chunks(a, row, s, base);
    }
    THREADS(t, SOFTMAX_THREADS)
    {
        if (t == 0) {
            const double log_sum = cu_log64(s->total), lse = (double)s->best + log_sum;
            s->lse = lse;
            if (a->logp) {
                a->logp[x] = (float)((double)cu_divide(row[id], a->temperature) - lse);
            }
            if (a->entropy) {
                a->entropy[x] = (float)(log_sum - s->product / s->total);
            }
            if (a->lse) {
                a->lse[x] = (float)lse;
            }
        }
    }
    SYNC();
    THREADS(t, SOFTMAX_THREADS)
    {
        for (int64_t i = t; a->all && i < a->vocab; i += SOFTMAX_THREADS) {
            a->all[i] = (float)((double)cu_divide(row[i], a->temperature) - s->lse);
        }
    }
}

/* d/dz = (dlogp (onehot - p) - dentropy p (log p + H)) / T, in place; a block takes SOFTMAX_CHUNK ids of a row. */
typedef struct softmax_backward_args {
    float *logits;
    const float *dlogp, *dentropy, *lse, *entropy; /* [rows]; dentropy and entropy may be NULL */
    const int32_t *ids;
    int64_t vocab;
    float temperature;
} softmax_backward_args;

TR_DEVICE void softmax_backward_block(const softmax_backward_args *a, int x, int y, int z, void *shared)
{
    (void)z, (void)shared;
    const int id = a->ids[y];
    const int64_t first = (int64_t)x * SOFTMAX_CHUNK, last = cu_min64(first + SOFTMAX_CHUNK, a->vocab);
    float *row = a->logits + (int64_t)y * a->vocab;
    THREADS(t, SOFTMAX_THREADS)
    {
        const float up = id < 0 ? 0.0f : a->dlogp[y], de = a->dentropy ? a->dentropy[y] : 0.0f;
        const float shift = id < 0 ? 0.0f : a->lse[y], h = a->dentropy ? a->entropy[y] : 0.0f;
        for (int64_t i = first + t; i < last; i += SOFTMAX_THREADS) {
            const float u = cu_max(-200.0f, cu_divide(row[i], a->temperature) - shift);
            float d = cu_divide(cu_exp(u) * cu_fma(-de, u + h, -up), a->temperature);
            d = i == id ? d + cu_divide(up, a->temperature) : d;
            row[i] = id < 0 ? 0.0f : d;
        }
    }
}

/* ---- sum of squares and the search for a value that is not finite: one result a block of 4096 ---- */

enum { SQUARES_BLOCK = 4096 };

typedef struct squares_args {
    double *sum;     /* [blocks], or NULL */
    uint32_t *worst; /* [blocks]: the largest bits without sign, or NULL */
    const float *x;
    int64_t count;
} squares_args;

typedef struct squares_shared {
    double sum[ELEMENT_THREADS];
    uint32_t worst[ELEMENT_THREADS];
} squares_shared;

TR_DEVICE void squares_block(const squares_args *a, int x, int y, int z, void *memory)
{
    (void)y, (void)z;
    squares_shared *s = (squares_shared *)memory;
    const int64_t first = (int64_t)x * SQUARES_BLOCK, last = cu_min64(first + SQUARES_BLOCK, a->count);
    THREADS(t, ELEMENT_THREADS)
    {
        double sum = 0.0;
        uint32_t worst = 0;
        for (int64_t i = first + t; i < last; i += ELEMENT_THREADS) {
            const float v = a->x[i];
            const uint32_t bits = cu_bits(v) & 0x7FFFFFFFu;
            sum += (double)v * (double)v;
            worst = bits > worst ? bits : worst;
        }
        s->sum[t] = sum;
        s->worst[t] = worst;
    }
    SYNC();
    for (int step = ELEMENT_THREADS / 2; step > 0; step /= 2) {
        THREADS(t, ELEMENT_THREADS)
        {
            if (t < step) {
                s->sum[t] += s->sum[t + step];
                s->worst[t] = s->worst[t] > s->worst[t + step] ? s->worst[t] : s->worst[t + step];
            }
        }
        SYNC();
    }
    THREADS(t, ELEMENT_THREADS)
    {
        if (t == 0 && a->sum) {
            a->sum[x] = s->sum[0];
        }
        if (t == 0 && a->worst) {
            a->worst[x] = s->worst[0];
        }
    }
}

#endif
