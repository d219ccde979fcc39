/* kernel_attention_mma.h: attention in bf16 on the tensor cores, forward: packed groups, segments and decoding.
 *
 * A block holds 64 virtual rows (four warps of 16) and walks the keys in tiles of 64. q, k and v are rounded to
 * bf16 when they are loaded (the KV cache keeps them so), scores and sums are f32, weights are rounded to bf16
 * before the second product. The order of one row's numbers: keys of a span in splits of SPLIT, each with its own
 * running maximum from its first key; the splits of the prompt, then those of the row's own span, are joined one
 * after the other. The packed forward joins in registers, decoding writes each split's share and joins in a second
 * kernel: the same operations in the same order, so the same bits, whatever rows share a tile. A tile or split
 * without visible keys changes nothing: its weights are 0 and its factor is exp(0) = 1.
 *
 * SIDE is head_dim padded to 32, 80 or 128; the padding is zeros. Internal to tensor/cuda. */
#ifndef TR_TENSOR_CUDA_KERNEL_ATTENTION_MMA_H
#define TR_TENSOR_CUDA_KERNEL_ATTENTION_MMA_H

#include "tensor/cuda/kernel_attention.h"
#include "tensor/cuda/warp.h"

enum {
    MMA_THREADS = 128,
    MMA_WARPS = 4,
    MMA_ROWS = 64,      /* virtual rows of a block */
    MMA_KEYS = 64,      /* keys of a tile */
    MMA_SPLIT = 256,    /* keys of a split: part of the numerical contract */
    MMA_SIDE_MAX = 128, /* the widest head */
    MMA_PITCH = MMA_SIDE_MAX + 8,
};

typedef struct mma_shared {
    ALIGNED16 tr_half16 k[MMA_KEYS * MMA_PITCH];
    ALIGNED16 tr_half16 v[MMA_KEYS * MMA_PITCH];
} mma_shared;

/* What the threads of a block hold: the queries as operand A; scores of a tile; output, maximum and sum of the
 * split and of the whole; keys that the two rows of a thread (g and g + 8 of its warp) see of the current span. */
typedef struct mma_rows {
    PRIVATE(uint32_t, q, MMA_SIDE_MAX / 16 * 4);
    PRIVATE(float, score, MMA_KEYS / 2);
    PRIVATE(float, o, MMA_SIDE_MAX / 2);
    PRIVATE(float, total, MMA_SIDE_MAX / 2);
    PRIVATE(float, largest, 2);
    PRIVATE(float, sum, 2);
    PRIVATE(float, top, 2);
    PRIVATE(float, total_largest, 2);
    PRIVATE(float, total_sum, 2);
    PRIVATE(int64_t, seen, 2);
    PRIVATE(uint32_t, b, 4);
    PRIVATE(uint32_t, p, 4);
    PRIVATE(const tr_half16 *, at, 1);
} mma_rows;

/* Row of the block that value e (0, 1: g; 2, 3: g + 8) of thread t belongs to, and its column in an 8-wide tile. */
TR_DEVICE int mma_row(int t, int e)
{
    return t / 32 * 16 + t % 32 / 4 + e / 2 * 8;
}
TR_DEVICE int mma_column(int t, int e)
{
    return t % 4 * 2 + e % 2;
}

/* Four numbers from column d of a row of head_dim at from[at], as bf16; zeros beyond the row or where it is not. */
TR_DEVICE void mma_put(tr_half16 *to, const void *from, int bf16, int64_t at, int64_t d, int64_t head_dim, int live)
{
    float x[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (live && !bf16 && head_dim % 4 == 0 && d < head_dim) {
        cu_load_four(x, (const float *)from + at + d);
    } else if (live) {
        UNROLL
        for (int i = 0; i < 4; i++) {
            if (d + i < head_dim) {
                x[i] = cu_load(from, bf16 ? TR_BF16 : TR_F32, at + d + i);
            }
        }
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        to[i] = cu_to_bf16(x[i]);
    }
}

/* `rows` rows of a tile from keys [first, first + count) at a stride; the others are zero. */
TR_DEVICE void mma_load_keys(tr_half16 *to, const void *from, int bf16, int64_t first, int64_t count,
                             int64_t stride, int rows, int64_t head_dim, const int side)
{
    THREADS(t, MMA_THREADS)
    {
        for (int e = t; e < rows * side / 4; e += MMA_THREADS) {
            const int r = e / (side / 4), d = e % (side / 4) * 4;
            mma_put(to + r * MMA_PITCH + d, from, bf16, (first + r) * stride, d, head_dim, r < count);
        }
    }
}

/* Virtual rows [first, first + rows) of x, where row `row0` is the first and `group` heads from head0 on share
 * keys; those at or beyond `end` are zero. */
TR_DEVICE void mma_load_rows(tr_half16 *to, const float *x, int64_t row0, int64_t first, int64_t end, int rows,
                             int64_t head0, int64_t group, int64_t stride, int64_t head_dim, const int side)
{
    THREADS(t, MMA_THREADS)
    {
        for (int e = t; e < rows * side / 4; e += MMA_THREADS) {
            const int r = e / (side / 4), d = e % (side / 4) * 4;
            const int64_t v = first + r, at = (row0 + v / group) * stride + (head0 + v % group) * head_dim;
            mma_put(to + r * MMA_PITCH + d, x, 0, at, d, head_dim, v < end);
        }
    }
}

/* Operand A from rows of shared memory: every warp its 16 rows, all of `side` columns. */
TR_DEVICE void mma_operand(uint32_t *to, int pitch, const tr_half16 *from, const tr_half16 **at, const int side,
                           int warps)
{
    UNROLL
    for (int k = 0; k < side; k += 16) {
        THREADS(t, MMA_THREADS)
        {
            const int lane = t % 32;
            at[OWN(t)] = from + (t / 32 * 16 + lane % 16) * MMA_PITCH + k + lane / 16 * 8;
        }
        warp_load(to + k / 16 * 4, pitch, at, 1, 0, warps);
    }
}

/* Where thread t's row of a B operand lies: 16 columns (rows of shared memory) from n0, 16 along k from k0. */
TR_DEVICE const tr_half16 *mma_across(const tr_half16 *from, int t, int n0, int k0)
{
    const int lane = t % 32;
    return from + (n0 + lane % 8 + lane / 16 * 8) * MMA_PITCH + k0 + lane / 8 % 2 * 8;
}
/* The same where the rows of shared memory run along k (loaded transposed). */
TR_DEVICE const tr_half16 *mma_along(const tr_half16 *from, int t, int n0, int k0)
{
    const int lane = t % 32;
    return from + (k0 + lane % 16) * MMA_PITCH + n0 + lane / 16 * 8;
}

TR_DEVICE void mma_split_start(mma_rows *r, const int side)
{
    THREADS(t, MMA_THREADS)
    {
        UNROLL
        for (int i = 0; i < side / 2; i++) {
            r->o[OWN(t)][i] = 0.0f;
        }
        UNROLL
        for (int i = 0; i < 2; i++) {
            r->largest[OWN(t)][i] = -cu_infinity();
            r->sum[OWN(t)][i] = 0.0f;
        }
    }
}

/* Weights of a tile from its scores: keys [first, first + MMA_KEYS) of the span. */
TR_DEVICE void mma_softmax(mma_rows *r, int64_t first, float scale, const int side)
{
    THREADS(t, MMA_THREADS)
    {
        float top[2] = {-cu_infinity(), -cu_infinity()};
        UNROLL
        for (int i = 0; i < MMA_KEYS / 2; i++) {
            const int64_t key = first + i / 4 * 8 + mma_column(t, i % 4);
            float x = r->score[OWN(t)][i] * scale;
            x = key < r->seen[OWN(t)][i % 4 / 2] ? x : -cu_infinity();
            r->score[OWN(t)][i] = x;
            top[i % 4 / 2] = x > top[i % 4 / 2] ? x : top[i % 4 / 2];
        }
        r->top[OWN(t)][0] = top[0];
        r->top[OWN(t)][1] = top[1];
    }
    quad_largest(&r->top[0][0], 2, MMA_THREADS);
    quad_largest(&r->top[0][1], 2, MMA_THREADS);
    THREADS(t, MMA_THREADS)
    {
        float decay[2], base[2], part[2] = {0.0f, 0.0f};
        UNROLL
        for (int i = 0; i < 2; i++) {
            const float old = r->largest[OWN(t)][i];
            const float top = r->top[OWN(t)][i] > old ? r->top[OWN(t)][i] : old;
            base[i] = top == -cu_infinity() ? 0.0f : top; /* nothing seen yet: all weights exp(-infinity) */
            decay[i] = cu_exp(old - base[i]);
            r->largest[OWN(t)][i] = top;
        }
        UNROLL
        for (int i = 0; i < MMA_KEYS / 2; i++) {
            const float p = cu_exp(r->score[OWN(t)][i] - base[i % 4 / 2]);
            r->score[OWN(t)][i] = p;
            part[i % 4 / 2] = part[i % 4 / 2] + p;
        }
        UNROLL
        for (int i = 0; i < 2; i++) {
            r->sum[OWN(t)][i] = cu_fma(r->sum[OWN(t)][i], decay[i], part[i]);
        }
        UNROLL
        for (int i = 0; i < side / 2; i++) {
            r->o[OWN(t)][i] = r->o[OWN(t)][i] * decay[i % 4 / 2];
        }
    }
}

/* Keys [first, first + MMA_KEYS) of a span of `count` keys; warps: those with rows. */
TR_DEVICE void mma_tile(mma_rows *r, mma_shared *s, const void *k, const void *v, int bf16, int64_t first,
                        int64_t count, int64_t stride, int64_t head_dim, float scale, const int side, int warps)
{
    SYNC();
    mma_load_keys(s->k, k, bf16, first, count - first, stride, MMA_KEYS, head_dim, side);
    mma_load_keys(s->v, v, bf16, first, count - first, stride, MMA_KEYS, head_dim, side);
    SYNC();
    THREADS(t, MMA_THREADS)
    {
        UNROLL
        for (int i = 0; i < MMA_KEYS / 2; i++) {
            r->score[OWN(t)][i] = 0.0f;
        }
    }
    UNROLL
    for (int d = 0; d < side; d += 16) {
        UNROLL
        for (int n = 0; n < MMA_KEYS; n += 16) {
            THREADS(t, MMA_THREADS)
            {
                r->at[OWN(t)][0] = mma_across(s->k, t, n, d);
            }
            warp_load(&r->b[0][0], 4, &r->at[0][0], 1, 0, warps);
            warp_product(&r->score[0][n / 2], MMA_KEYS / 2, &r->q[0][d / 4], MMA_SIDE_MAX / 4, &r->b[0][0], 4,
                         warps);
            warp_product(&r->score[0][n / 2 + 4], MMA_KEYS / 2, &r->q[0][d / 4], MMA_SIDE_MAX / 4, &r->b[0][2], 4,
                         warps);
        }
    }
    mma_softmax(r, first, scale, side);
    UNROLL
    for (int n = 0; n < MMA_KEYS; n += 16) { /* scores of 16 keys are, as they lie, operand A */
        THREADS(t, MMA_THREADS)
        {
            const float *p = &r->score[OWN(t)][n / 2];
            r->p[OWN(t)][0] = cu_pack_bf16(p[0], p[1]);
            r->p[OWN(t)][1] = cu_pack_bf16(p[2], p[3]);
            r->p[OWN(t)][2] = cu_pack_bf16(p[4], p[5]);
            r->p[OWN(t)][3] = cu_pack_bf16(p[6], p[7]);
        }
        UNROLL
        for (int d = 0; d < side; d += 16) {
            THREADS(t, MMA_THREADS)
            {
                r->at[OWN(t)][0] = mma_along(s->v, t, d, n);
            }
            warp_load(&r->b[0][0], 4, &r->at[0][0], 1, 1, warps);
            warp_product(&r->o[0][d / 2], MMA_SIDE_MAX / 2, &r->p[0][0], 4, &r->b[0][0], 4, warps);
            warp_product(&r->o[0][d / 2 + 4], MMA_SIDE_MAX / 2, &r->p[0][0], 4, &r->b[0][2], 4, warps);
        }
    }
}

/* One split [first, last) of a span of `count` keys. */
TR_DEVICE void mma_split(mma_rows *r, mma_shared *s, const void *k, const void *v, int bf16, int64_t first,
                         int64_t count, int64_t stride, int64_t head_dim, float scale, const int side, int warps)
{
    mma_split_start(r, side);
    const int64_t last = cu_min64(first + MMA_SPLIT, count);
    for (int64_t key = first; key < last; key += MMA_KEYS) {
        mma_tile(r, s, k, v, bf16, key, count, stride, head_dim, scale, side, warps);
    }
    quad_sum(&r->sum[0][0], 2, MMA_THREADS);
    quad_sum(&r->sum[0][1], 2, MMA_THREADS);
}

/* How a share joins what there is so far: both scaled to the larger maximum. */
TR_DEVICE void mma_join(float *largest, float *sum, float share_largest, float share_sum, float *keep, float *take)
{
    const float top = share_largest > *largest ? share_largest : *largest;
    const float base = top == -cu_infinity() ? 0.0f : top;
    *keep = cu_exp(*largest - base);
    *take = cu_exp(share_largest - base);
    *largest = top;
    *sum = cu_fma(share_sum, *take, *sum * *keep);
}
TR_DEVICE float mma_joined(float total, float share, float keep, float take)
{
    return cu_fma(share, take, total * keep);
}

TR_DEVICE void mma_split_join(mma_rows *r, const int side)
{
    THREADS(t, MMA_THREADS)
    {
        float keep[2], take[2];
        UNROLL
        for (int i = 0; i < 2; i++) {
            mma_join(&r->total_largest[OWN(t)][i], &r->total_sum[OWN(t)][i], r->largest[OWN(t)][i],
                     r->sum[OWN(t)][i], &keep[i], &take[i]);
        }
        UNROLL
        for (int i = 0; i < side / 2; i++) {
            r->total[OWN(t)][i] =
                mma_joined(r->total[OWN(t)][i], r->o[OWN(t)][i], keep[i % 4 / 2], take[i % 4 / 2]);
        }
    }
}

/* All splits of a span, joined to the whole; rows of the block see at most `most` keys. */
TR_DEVICE void mma_span(mma_rows *r, mma_shared *s, const float *k, const float *v, int64_t most, int64_t stride,
                        int64_t head_dim, float scale, const int side, int warps)
{
    for (int64_t first = 0; first < most; first += MMA_SPLIT) {
        mma_split(r, s, k, v, 0, first, most, stride, head_dim, scale, side, warps);
        mma_split_join(r, side);
    }
}

/* Block (tile, kv head) of a packed call: MMA_ROWS virtual rows from tile_first of span tile_span. */
TR_DEVICE void mma_attend_block(const attention_args *a, int x, int y, int z, void *memory, const int side)
{
    (void)z;
    mma_shared *s = (mma_shared *)memory;
    const int span = a->tile_span[x];
    const int64_t hd = a->head_dim, group = a->heads / a->kv_heads, row0 = a->start[span], first = a->tile_first[x];
    const int64_t end = (a->start[span + 1] - row0) * group, before = attention_before(a, span);
    const int warps = (int)cu_min64(MMA_WARPS, (end - first + 15) / 16);
    const int64_t last_row = row0 + (cu_min64(first + MMA_ROWS, end) - 1) / group;
    mma_rows r;
    mma_load_rows(s->k, a->q, row0, first, end, MMA_ROWS, y * group, group, a->q_stride, hd, side);
    SYNC();
    mma_operand(&r.q[0][0], MMA_SIDE_MAX / 4, s->k, &r.at[0][0], side, warps);
    THREADS(t, MMA_THREADS)
    {
        UNROLL
        for (int i = 0; i < side / 2; i++) {
            r.total[OWN(t)][i] = 0.0f;
        }
        UNROLL
        for (int i = 0; i < 2; i++) {
            r.total_largest[OWN(t)][i] = -cu_infinity();
            r.total_sum[OWN(t)][i] = 0.0f;
            r.seen[OWN(t)][i] = before;
        }
    }
    mma_span(&r, s, a->k + y * hd, a->v + y * hd, before, a->kv_stride, hd, a->scale, side, warps);
    THREADS(t, MMA_THREADS)
    {
        UNROLL
        for (int i = 0; i < 2; i++) {
            const int64_t v = first + mma_row(t, i * 2);
            r.seen[OWN(t)][i] = v < end ? attention_seen(a, span, row0 + v / group) : 0;
        }
    }
    const int64_t own = row0 * a->kv_stride + y * hd;
    mma_span(&r, s, a->k + own, a->v + own, attention_seen(a, span, last_row), a->kv_stride, hd, a->scale, side,
             warps);
    THREADS(t, MMA_THREADS)
    {
        UNROLL
        for (int i = 0; i < 2; i++) {
            const int64_t v = first + mma_row(t, i * 2), row = row0 + v / group, head = y * group + v % group;
            if (v < end && a->lse && t % 4 == 0) {
                a->lse[head * a->rows + row] =
                    (float)((double)r.total_largest[OWN(t)][i] + cu_log64((double)r.total_sum[OWN(t)][i]));
            }
        }
        UNROLL
        for (int e = 0; e < side / 2; e++) {
            const int i = e % 4 / 2;
            const int64_t v = first + mma_row(t, e % 4), d = e / 4 * 8 + mma_column(t, e % 4);
            if (v < end && d < hd) {
                a->o[(row0 + v / group) * a->o_stride + (y * group + v % group) * hd + d] =
                    cu_divide(r.total[OWN(t)][e], r.total_sum[OWN(t)][i]) + 0.0f;
            }
        }
    }
}

/* ---- decoding: block (unit, kv head) computes one split for the virtual rows of one unit ---- */

/* Unit u: rows [row0[u], row0[u] + rows[u]) read split `split[u]` of cache cache[u], of which the longest sees
 * seen[u] keys; row_seen of a prompt is the same for all its rows. Virtual rows from first[u] on, at most MMA_ROWS.
 * share [slots][rows][heads][head_dim + 2]: output, maximum, sum of every split; slot[u] is the split's place. */
typedef struct mma_decode_args {
    float *share;
    const float *q;
    void *const *keys, *const *values; /* bf16 caches [kv_heads][capacity][head_dim] */
    const int64_t *capacity;
    const int32_t *row0, *rows, *first, *cache, *seen, *split, *slot;
    int64_t total_rows, heads, kv_heads, head_dim;
    float scale;
} mma_decode_args;

TR_DEVICE void mma_decode_block(const mma_decode_args *a, int x, int y, int z, void *memory, const int side)
{
    (void)z;
    mma_shared *s = (mma_shared *)memory;
    const int64_t hd = a->head_dim, group = a->heads / a->kv_heads, first = a->first[x];
    const int64_t end = a->rows[x] * group, row0 = a->row0[x], seen = a->seen[x], cache = a->cache[x];
    const int64_t from = y * a->capacity[cache] * hd;
    const int warps = (int)cu_min64(MMA_WARPS, (end - first + 15) / 16);
    mma_rows r;
    mma_load_rows(s->k, a->q, row0, first, end, MMA_ROWS, y * group, group, a->heads * hd, hd, side);
    SYNC();
    mma_operand(&r.q[0][0], MMA_SIDE_MAX / 4, s->k, &r.at[0][0], side, warps);
    THREADS(t, MMA_THREADS)
    {
        r.seen[OWN(t)][0] = seen;
        r.seen[OWN(t)][1] = seen;
    }
    mma_split(&r, s, (const tr_half16 *)a->keys[cache] + from, (const tr_half16 *)a->values[cache] + from, 1,
              (int64_t)a->split[x] * MMA_SPLIT, seen, hd, hd, a->scale, side, warps);
    THREADS(t, MMA_THREADS)
    {
        UNROLL
        for (int e = 0; e < side / 2; e++) {
            const int64_t v = first + mma_row(t, e % 4), d = e / 4 * 8 + mma_column(t, e % 4);
            const int64_t row = (a->slot[x] * a->total_rows + row0 + v / group) * a->heads + y * group + v % group;
            if (v < end && d < hd) {
                a->share[row * (hd + 2) + d] = r.o[OWN(t)][e];
            }
            if (v < end && d == 0) {
                a->share[row * (hd + 2) + hd] = r.largest[OWN(t)][e % 4 / 2];
                a->share[row * (hd + 2) + hd + 1] = r.sum[OWN(t)][e % 4 / 2];
            }
        }
    }
}

/* Block (row, head): joins the row's splits, the prompt's in slots [0, prompt_splits), its own from own_slot on. */
typedef struct mma_join_args {
    float *o;
    const float *share;
    const int32_t *prompt_splits, *own_splits; /* [rows] */
    int64_t own_slot, rows, heads, head_dim;
} mma_join_args;

TR_DEVICE void mma_join_block(const mma_join_args *a, int x, int y, int z, void *shared)
{
    (void)z, (void)shared;
    const int prompt = a->prompt_splits[x], splits = prompt + a->own_splits[x];
    THREADS(t, MMA_THREADS)
    {
        float largest = -cu_infinity(), sum = 0.0f, total = 0.0f;
        for (int i = 0; i < splits && t < a->head_dim; i++) {
            const int64_t slot = i < prompt ? i : a->own_slot + i - prompt;
            const float *share = a->share + ((slot * a->rows + x) * a->heads + y) * (a->head_dim + 2);
            float keep, take;
            mma_join(&largest, &sum, share[a->head_dim], share[a->head_dim + 1], &keep, &take);
            total = mma_joined(total, share[t], keep, take);
        }
        if (t < a->head_dim) {
            a->o[(x * a->heads + y) * a->head_dim + t] = cu_divide(total, sum) + 0.0f;
        }
    }
}

#endif
