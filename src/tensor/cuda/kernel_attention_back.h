/* kernel_attention_back.h: attention in bf16 on the tensor cores, backward.
 *
 * P = exp(scale q k - lse) is computed again, twice: for dQ by blocks of 64 virtual rows that walk the keys, for dK
 * and dV by blocks of 64 keys that walk the virtual rows which see them. No sum is shared between blocks: the rows
 * of a key tile are cut into chunks of virtual rows, each chunk writes its own part, and parts_block adds them in
 * order. P and dS are rounded to bf16 before the second product, as the weights of the forward are. Internal to
 * tensor/cuda. */
#ifndef TR_TENSOR_CUDA_KERNEL_ATTENTION_BACK_H
#define TR_TENSOR_CUDA_KERNEL_ATTENTION_BACK_H

#include "tensor/cuda/kernel_attention_mma.h"

enum {
    BACK_TILE = 32,    /* keys of a step for dQ, virtual rows of a step for dK and dV */
    BACK_CHUNK = 4096, /* virtual rows of one part in a packed group */
};

typedef struct back_shared {
    ALIGNED16 tr_half16 k[MMA_KEYS * MMA_PITCH]; /* dQ: first the queries' staging */
    ALIGNED16 tr_half16 v[MMA_KEYS * MMA_PITCH];
    ALIGNED16 tr_half16 q[BACK_TILE * MMA_PITCH];
    ALIGNED16 tr_half16 dout[BACK_TILE * MMA_PITCH];
    float lse[BACK_TILE], delta[BACK_TILE];
} back_shared;

/* Two sums of a thread (dQ uses one), scores and slopes of a tile, operands. */
typedef struct back_rows {
    PRIVATE(float, first, MMA_SIDE_MAX / 2);
    PRIVATE(float, second, MMA_SIDE_MAX / 2);
    PRIVATE(float, score, BACK_TILE / 2);
    PRIVATE(float, slope, BACK_TILE / 2);
    PRIVATE(uint32_t, q, MMA_SIDE_MAX / 16 * 4);
    PRIVATE(uint32_t, dout, MMA_SIDE_MAX / 16 * 4);
    PRIVATE(float, lse, 2);
    PRIVATE(float, delta, 2);
    PRIVATE(int64_t, seen, 2);
    PRIVATE(uint32_t, a, 4);
    PRIVATE(uint32_t, b, 4);
    PRIVATE(const tr_half16 *, at, 1);
} back_rows;

/* c[16 rows a warp][n columns] += a b^T over `side`, b's rows in shared memory: c has n / 2 floats a thread. */
TR_DEVICE void back_product(float *c, const uint32_t *a, const tr_half16 *b, back_rows *r, const int n0, int d)
{
    THREADS(t, MMA_THREADS)
    {
        r->at[OWN(t)][0] = mma_across(b, t, n0, d);
    }
    warp_load(&r->b[0][0], 4, &r->at[0][0], 1, 0, MMA_WARPS);
    warp_product(c, BACK_TILE / 2, a, MMA_SIDE_MAX / 4, &r->b[0][0], 4, MMA_WARPS);
    warp_product(c + 4, BACK_TILE / 2, a, MMA_SIDE_MAX / 4, &r->b[0][2], 4, MMA_WARPS);
}

/* sum[16 rows a warp][side] += x b, x the tile's values as they lie, b's rows (along k) in shared memory. */
TR_DEVICE void back_add(float *sum, float (*x)[BACK_TILE / 2], const tr_half16 *b, back_rows *r, const int side)
{
    UNROLL
    for (int n = 0; n < BACK_TILE; n += 16) {
        THREADS(t, MMA_THREADS)
        {
            const float *p = &x[OWN(t)][n / 2];
            r->a[OWN(t)][0] = cu_pack_bf16(p[0], p[1]);
            r->a[OWN(t)][1] = cu_pack_bf16(p[2], p[3]);
            r->a[OWN(t)][2] = cu_pack_bf16(p[4], p[5]);
            r->a[OWN(t)][3] = cu_pack_bf16(p[6], p[7]);
        }
        UNROLL
        for (int d = 0; d < side; d += 16) {
            THREADS(t, MMA_THREADS)
            {
                r->at[OWN(t)][0] = mma_along(b, t, d, n);
            }
            warp_load(&r->b[0][0], 4, &r->at[0][0], 1, 1, MMA_WARPS);
            warp_product(sum + d / 2, MMA_SIDE_MAX / 2, &r->a[0][0], 4, &r->b[0][0], 4, MMA_WARPS);
            warp_product(sum + d / 2 + 4, MMA_SIDE_MAX / 2, &r->a[0][0], 4, &r->b[0][2], 4, MMA_WARPS);
        }
    }
}

TR_DEVICE void back_clear(back_rows *r)
{
    THREADS(t, MMA_THREADS)
    {
        UNROLL
        for (int i = 0; i < BACK_TILE / 2; i++) {
            r->score[OWN(t)][i] = 0.0f;
            r->slope[OWN(t)][i] = 0.0f;
        }
    }
}

/* The rows of a dQ block over keys [0, most) of a span. */
TR_DEVICE void back_query_span(back_rows *r, back_shared *s, const float *k, const float *v, int64_t most,
                               int64_t stride, int64_t head_dim, float scale, const int side)
{
    for (int64_t first = 0; first < most; first += BACK_TILE) {
        SYNC();
        mma_load_keys(s->k, k, 0, first, most - first, stride, BACK_TILE, head_dim, side);
        mma_load_keys(s->v, v, 0, first, most - first, stride, BACK_TILE, head_dim, side);
        SYNC();
        back_clear(r);
        UNROLL
        for (int d = 0; d < side; d += 16) {
            UNROLL
            for (int n = 0; n < BACK_TILE; n += 16) {
                back_product(&r->score[0][n / 2], &r->q[0][d / 4], s->k, r, n, d);
                back_product(&r->slope[0][n / 2], &r->dout[0][d / 4], s->v, r, n, d);
            }
        }
        THREADS(t, MMA_THREADS)
        {
            UNROLL
            for (int i = 0; i < BACK_TILE / 2; i++) {
                const int e = i % 4 / 2;
                const int64_t key = first + i / 4 * 8 + mma_column(t, i % 4);
                const float x = cu_fma(r->score[OWN(t)][i], scale, -r->lse[OWN(t)][e]);
                const float p = cu_exp(key < r->seen[OWN(t)][e] ? x : -cu_infinity());
                r->slope[OWN(t)][i] = p * (r->slope[OWN(t)][i] - r->delta[OWN(t)][e]) * scale;
            }
        }
        back_add(&r->first[0][0], r->slope, s->k, r, side);
    }
}

/* dQ of block (tile, kv head), tiles as in mma_attend_block. */
TR_DEVICE void back_query_block(const attention_args *a, int x, int y, int z, void *memory, const int side)
{
    (void)z;
    back_shared *s = (back_shared *)memory;
    const int span = a->tile_span[x];
    const int64_t hd = a->head_dim, group = a->heads / a->kv_heads, row0 = a->start[span], first = a->tile_first[x];
    const int64_t end = (a->start[span + 1] - row0) * group, before = attention_before(a, span);
    const int64_t last_row = row0 + (cu_min64(first + MMA_ROWS, end) - 1) / group;
    back_rows r;
    mma_load_rows(s->k, a->q, row0, first, end, MMA_ROWS, y * group, group, a->q_stride, hd, side);
    mma_load_rows(s->v, a->dout, row0, first, end, MMA_ROWS, y * group, group, a->o_stride, hd, side);
    SYNC();
    mma_operand(&r.q[0][0], MMA_SIDE_MAX / 4, s->k, &r.at[0][0], side, MMA_WARPS);
    mma_operand(&r.dout[0][0], MMA_SIDE_MAX / 4, s->v, &r.at[0][0], side, MMA_WARPS);
    THREADS(t, MMA_THREADS)
    {
        UNROLL
        for (int i = 0; i < side / 2; i++) {
            r.first[OWN(t)][i] = 0.0f;
        }
        UNROLL
        for (int i = 0; i < 2; i++) {
            const int64_t v = first + mma_row(t, i * 2), at = (y * group + v % group) * a->rows + row0 + v / group;
            r.lse[OWN(t)][i] = v < end ? a->lse[at] : 0.0f;
            r.delta[OWN(t)][i] = v < end ? a->delta[at] : 0.0f;
            r.seen[OWN(t)][i] = v < end ? before : 0;
        }
    }
    back_query_span(&r, s, a->k + y * hd, a->v + y * hd, before, a->kv_stride, hd, a->scale, side);
    THREADS(t, MMA_THREADS)
    {
        UNROLL
        for (int i = 0; i < 2; i++) {
            const int64_t v = first + mma_row(t, i * 2);
            r.seen[OWN(t)][i] = v < end ? attention_seen(a, span, row0 + v / group) : 0;
        }
    }
    const int64_t own = row0 * a->kv_stride + y * hd;
    back_query_span(&r, s, a->k + own, a->v + own, attention_seen(a, span, last_row), a->kv_stride, hd, a->scale,
                    side);
    THREADS(t, MMA_THREADS)
    {
        UNROLL
        for (int e = 0; e < side / 2; e++) {
            const int64_t v = first + mma_row(t, e % 4), d = e / 4 * 8 + mma_column(t, e % 4);
            if (v < end && d < hd) {
                a->dq[(row0 + v / group) * a->q_stride + (y * group + v % group) * hd + d] += r.first[OWN(t)][e];
            }
        }
    }
}

/* P^T and dS^T of the tile's keys (rows) and the virtual rows from `first` on (columns), `end` the last one's end;
 * key0: the span's key of the block's first row. */
TR_DEVICE void back_key_slopes(back_rows *r, const back_shared *s, const attention_args *a, int span, int64_t key0,
                               int64_t first, int64_t end)
{
    const int64_t group = a->heads / a->kv_heads, span_row = a->start[span], span_end = a->start[span + 1];
    THREADS(t, MMA_THREADS)
    {
        UNROLL
        for (int i = 0; i < BACK_TILE / 2; i++) {
            const int column = i / 4 * 8 + mma_column(t, i % 4);
            const int64_t key = key0 + mma_row(t, i % 4), row = (first + column) / group;
            const int causal = a->prompt >= 0 && row < span_end; /* a response sees all of the prompt */
            const int sees =
                first + column < end && key < span_end - span_row && (!causal || key <= row - span_row);
            const float x = cu_fma(r->score[OWN(t)][i], a->scale, -s->lse[column]);
            const float p = cu_exp(sees ? x : -cu_infinity());
            r->score[OWN(t)][i] = p;
            r->slope[OWN(t)][i] = p * (r->slope[OWN(t)][i] - s->delta[column]) * a->scale;
        }
    }
}

/* dK and dV of block (tile of MMA_KEYS keys, kv head) from chunk z of the virtual rows that see the tile. */
TR_DEVICE void back_key_block(const attention_args *a, int x, int y, int z, void *memory, const int side)
{
    back_shared *s = (back_shared *)memory;
    const int span = a->tile_span[x];
    const int64_t hd = a->head_dim, group = a->heads / a->kv_heads, row0 = a->start[span], key0 = a->tile_first[x];
    const int64_t count = a->start[span + 1] - row0, from = row0 * a->kv_stride + y * hd;
    int64_t begin, end;
    attention_readers(a, span, row0 + key0, &begin, &end);
    const int64_t chunk = begin * group + (int64_t)z * a->chunk;
    const int64_t last = cu_min64(chunk + a->chunk, end * group);
    back_rows r;
    mma_load_keys(s->k, a->k + from, 0, key0, count - key0, a->kv_stride, MMA_KEYS, hd, side);
    mma_load_keys(s->v, a->v + from, 0, key0, count - key0, a->kv_stride, MMA_KEYS, hd, side);
    THREADS(t, MMA_THREADS)
    {
        UNROLL
        for (int i = 0; i < side / 2; i++) {
            r.first[OWN(t)][i] = 0.0f;
            r.second[OWN(t)][i] = 0.0f;
        }
    }
    for (int64_t first = chunk; first < last; first += BACK_TILE) {
        SYNC();
        mma_load_rows(s->q, a->q, 0, first, last, BACK_TILE, y * group, group, a->q_stride, hd, side);
        mma_load_rows(s->dout, a->dout, 0, first, last, BACK_TILE, y * group, group, a->o_stride, hd, side);
        THREADS(t, MMA_THREADS)
        {
            if (t < BACK_TILE) {
                const int64_t v = first + t, at = (y * group + v % group) * a->rows + v / group;
                s->lse[t] = v < last ? a->lse[at] : 0.0f;
                s->delta[t] = v < last ? a->delta[at] : 0.0f;
            }
        }
        SYNC();
        back_clear(&r);
        UNROLL
        for (int d = 0; d < side; d += 16) { /* the keys' operands are loaded again: registers are short */
            THREADS(t, MMA_THREADS)
            {
                r.at[OWN(t)][0] = s->k + (t / 32 * 16 + t % 16) * MMA_PITCH + d + t % 32 / 16 * 8;
            }
            warp_load(&r.q[0][0], MMA_SIDE_MAX / 4, &r.at[0][0], 1, 0, MMA_WARPS);
            THREADS(t, MMA_THREADS)
            {
                r.at[OWN(t)][0] = s->v + (t / 32 * 16 + t % 16) * MMA_PITCH + d + t % 32 / 16 * 8;
            }
            warp_load(&r.dout[0][0], MMA_SIDE_MAX / 4, &r.at[0][0], 1, 0, MMA_WARPS);
            UNROLL
            for (int n = 0; n < BACK_TILE; n += 16) {
                back_product(&r.score[0][n / 2], &r.q[0][0], s->q, &r, n, d);
                back_product(&r.slope[0][n / 2], &r.dout[0][0], s->dout, &r, n, d);
            }
        }
        back_key_slopes(&r, s, a, span, key0, first, last);
        back_add(&r.first[0][0], r.slope, s->q, &r, side);
        back_add(&r.second[0][0], r.score, s->dout, &r, side);
    }
    THREADS(t, MMA_THREADS)
    {
        UNROLL
        for (int e = 0; e < side / 2; e++) {
            const int64_t key = key0 + mma_row(t, e % 4), d = e / 4 * 8 + mma_column(t, e % 4);
            const int64_t to = (((int64_t)z * a->rows + row0 + key) * a->kv_heads + y) * hd + d;
            if (key < count && d < hd) {
                a->part_k[to] = r.first[OWN(t)][e];
                a->part_v[to] = r.second[OWN(t)][e];
            }
        }
    }
}

#endif
