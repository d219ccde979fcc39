/* kernel_attention.h: what the attention kernels share, and attention in f32, forward and backward.
 *
 * Rows fall into spans (span 0 is a group's prompt, span r + 1 its response r; or one span a vision segment). A row
 * sees a prefix of its own span, and a response's row the whole prompt before that. "Virtual" rows are query rows
 * of one head; those of the heads that share keys are numbered together, the head fastest.
 *
 * The f32 forward has the CPU's order (tensor/cpu/attention.h): scores along head_dim, key tiles of 64 from each
 * span's first key, sums in sixteen lanes. One virtual row a block: made to be right, not to be fast; the bf16
 * kernels are in kernel_attention_mma.h. Internal to tensor/cuda. */
#ifndef TR_TENSOR_CUDA_KERNEL_ATTENTION_H
#define TR_TENSOR_CUDA_KERNEL_ATTENTION_H

#include "tensor/cuda/kernel_rows.h"

enum { HEAD_DIM_MAX = 256, ATTEND_THREADS = 64, ATTEND_KEYS = 64, ATTEND_EACH = HEAD_DIM_MAX / ATTEND_THREADS };

/* Tensors of a packed call. start[spans + 1]: first rows of the spans. prompt: tokens of span 0 that the others
 * see; -1: vision, where every row sees its whole span and no other. */
typedef struct attention_args {
    float *o, *lse; /* [rows] at o_stride; [heads][rows] or NULL */
    const float *q, *k, *v;
    float *dq, *dk, *dv;    /* strides as q, k, v */
    const float *dout;      /* as o */
    float *delta;           /* [heads][rows]: sum(do o) */
    float *part_k, *part_v; /* [chunks][rows][kv_heads * head_dim] of the bf16 backward */
    const int32_t *start;
    const int32_t *tile_span, *tile_first; /* tiles of virtual rows or of keys: span and first of it */
    int64_t spans, prompt, rows, heads, kv_heads, head_dim, q_stride, kv_stride, o_stride;
    int64_t chunk; /* virtual rows whose contributions to a key are one part */
    float scale;
} attention_args;

TR_DEVICE int attention_span(const attention_args *a, int64_t row)
{
    int low = 0, high = (int)a->spans; /* start[low] <= row < start[high] */
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (a->start[middle] <= row) {
            low = middle;
        } else {
            high = middle;
        }
    }
    while (a->start[low + 1] <= row) { /* an empty span begins where the next one does */
        low++;
    }
    return low;
}

/* Keys of its own span that a row sees. */
TR_DEVICE int64_t attention_seen(const attention_args *a, int span, int64_t row)
{
    return a->prompt < 0 ? a->start[span + 1] - a->start[span] : row - a->start[span] + 1;
}
/* Keys of the prompt that rows of a span see besides. */
TR_DEVICE int64_t attention_before(const attention_args *a, int span)
{
    return a->prompt > 0 && span > 0 ? a->prompt : 0;
}

typedef struct attend_shared {
    float q[HEAD_DIM_MAX], dout[HEAD_DIM_MAX], score[ATTEND_KEYS], slope[ATTEND_KEYS], lane[LANES];
} attend_shared;

/* What a row carries over its key tiles; every thread holds its own copy of largest. */
typedef struct attend_state {
    PRIVATE(float, o, ATTEND_EACH);
    PRIVATE(float, largest, 1);
    PRIVATE(float, decay, 1);
} attend_state;

TR_DEVICE void attend_start(attend_state *r, attend_shared *s, const float *q, int64_t head_dim)
{
    THREADS(t, ATTEND_THREADS)
    {
        for (int i = 0; i < ATTEND_EACH; i++) {
            r->o[OWN(t)][i] = 0.0f;
        }
        r->largest[OWN(t)][0] = -cu_infinity();
        for (int64_t d = t; d < head_dim; d += ATTEND_THREADS) {
            s->q[d] = q[d];
        }
        if (t < LANES) {
            s->lane[t] = 0.0f;
        }
    }
    SYNC();
}

/* The row over `seen` keys whose rows lie `stride` floats apart. */
TR_DEVICE void attend_keys(attend_state *r, attend_shared *s, const float *k, const float *v, int64_t stride,
                           int64_t seen, int64_t head_dim, float scale)
{
    for (int64_t first = 0; first < seen; first += ATTEND_KEYS) {
        const int keys = (int)cu_min64(ATTEND_KEYS, seen - first);
        THREADS(t, ATTEND_THREADS)
        {
            float x = -cu_infinity();
            if (t < keys) {
                const float *key = k + (first + t) * stride;
                float sum = 0.0f;
                for (int64_t d = 0; d < head_dim; d++) {
                    sum = cu_fma(s->q[d], key[d], sum);
                }
                x = sum * scale;
            }
            s->score[t] = x;
        }
        SYNC();
        THREADS(t, ATTEND_THREADS)
        {
            float top = r->largest[OWN(t)][0], mine = s->score[t];
            for (int j = 0; j < ATTEND_KEYS; j++) {
                top = s->score[j] > top ? s->score[j] : top;
            }
            const float decay = cu_exp(r->largest[OWN(t)][0] - top);
            r->decay[OWN(t)][0] = decay;
            r->largest[OWN(t)][0] = top;
            for (int i = 0; i < ATTEND_EACH; i++) {
                r->o[OWN(t)][i] = r->o[OWN(t)][i] * decay;
            }
            s->slope[t] = cu_exp(mine - top);
        }
        SYNC();
        THREADS(t, ATTEND_THREADS)
        {
            if (t < LANES) {
                float total = 0.0f;
                for (int j = t; j < ATTEND_KEYS; j += LANES) {
                    total = total + s->slope[j];
                }
                s->lane[t] = cu_fma(s->lane[t], r->decay[OWN(t)][0], total);
            }
            for (int i = 0; i < ATTEND_EACH; i++) {
                const int64_t d = t + (int64_t)i * ATTEND_THREADS;
                if (d < head_dim) {
                    float sum = r->o[OWN(t)][i];
                    for (int j = 0; j < keys; j++) {
                        sum = cu_fma(s->slope[j], v[(first + j) * stride + d], sum);
                    }
                    r->o[OWN(t)][i] = sum;
                }
            }
        }
        SYNC();
    }
}

/* o / sum, where adding 0 turns -0 into 0, and the log-sum-exp. */
TR_DEVICE void attend_finish(attend_state *r, const attend_shared *s, float *o, float *lse, int64_t head_dim)
{
    THREADS(t, ATTEND_THREADS)
    {
        const float sum = cu_lanes_sum(s->lane);
        for (int i = 0; i < ATTEND_EACH; i++) {
            const int64_t d = t + (int64_t)i * ATTEND_THREADS;
            if (d < head_dim) {
                o[d] = cu_divide(r->o[OWN(t)][i], sum) + 0.0f;
            }
        }
        if (lse && t == 0) {
            *lse = (float)((double)r->largest[OWN(t)][0] + cu_log64((double)sum));
        }
    }
}

/* Block (row, head) of a packed call. */
TR_DEVICE void attend_block(const attention_args *a, int x, int y, int z, void *memory)
{
    (void)z;
    attend_shared *s = (attend_shared *)memory;
    const int64_t hd = a->head_dim, row = x, kv_at = y / (a->heads / a->kv_heads) * hd;
    const int span = attention_span(a, row);
    attend_state r;
    attend_start(&r, s, a->q + row * a->q_stride + y * hd, hd);
    attend_keys(&r, s, a->k + kv_at, a->v + kv_at, a->kv_stride, attention_before(a, span), hd, a->scale);
    const int64_t own = a->start[span] * a->kv_stride + kv_at;
    attend_keys(&r, s, a->k + own, a->v + own, a->kv_stride, attention_seen(a, span, row), hd, a->scale);
    attend_finish(&r, s, a->o + row * a->o_stride + y * hd, a->lse ? a->lse + y * a->rows + row : 0, hd);
}

/* ---- decoding: block (row, head) against the caches ---- */

/* One cache per entry: keys and values [kv_heads][capacity][head_dim]. Row i reads cache prompt[i] (-1: none) up to
 * prompt_seen[i] keys, then response[i]. */
typedef struct decode_args {
    float *o;
    const float *q; /* [rows][heads * head_dim], as o */
    void *const *keys, *const *values;
    const int64_t *capacity;
    const int32_t *prompt, *response, *prompt_seen, *response_seen;
    int64_t heads, kv_heads, head_dim;
    float scale;
} decode_args;

TR_DEVICE void decode_block(const decode_args *a, int x, int y, int z, void *memory)
{
    (void)z;
    attend_shared *s = (attend_shared *)memory;
    const int64_t hd = a->head_dim, kv_head = y / (a->heads / a->kv_heads), at = (x * a->heads + y) * hd;
    attend_state r;
    attend_start(&r, s, a->q + at, hd);
    for (int part = 0; part < 2; part++) {
        const int cache = part ? a->response[x] : a->prompt[x];
        const int64_t seen = part ? a->response_seen[x] : a->prompt_seen[x];
        if (cache >= 0) {
            const int64_t from = kv_head * a->capacity[cache] * hd;
            attend_keys(&r, s, (const float *)a->keys[cache] + from, (const float *)a->values[cache] + from, hd,
                        seen, hd, a->scale);
        }
    }
    attend_finish(&r, s, a->o + at, 0, hd);
}

/* ---- backward: P = exp(scale q k - lse), dS = P (do v - D) scale ---- */

/* D = sum(do o): sixteen threads a (row, head). */
TR_DEVICE void delta_block(const attention_args *a, int x, int y, int z, void *memory)
{
    (void)y, (void)z;
    norm_shared *s = (norm_shared *)memory;
    const int64_t hd = a->head_dim, count = a->rows * a->heads;
    THREADS(t, NORM_THREADS)
    {
        const int64_t i = (int64_t)x * NORM_ROWS + t / LANES;
        const int64_t at = i / a->heads * a->o_stride + i % a->heads * hd;
        float sum = 0.0f;
        for (int64_t d = t % LANES; i < count && d < hd; d += LANES) {
            sum = cu_fma(a->dout[at + d], a->o[at + d], sum);
        }
        s->lane[t] = sum;
    }
    SYNC();
    THREADS(t, NORM_THREADS)
    {
        const int64_t i = (int64_t)x * NORM_ROWS + t / LANES;
        if (i < count && t % LANES == 0) {
            a->delta[i % a->heads * a->rows + i / a->heads] = cu_lanes_sum(s->lane + t);
        }
    }
}

/* Weight and slope of one query and one key: two products along head_dim. */
TR_DEVICE void attend_pair(float *weight, float *slope, const float *q, const float *dout, const float *k,
                           const float *v, const attention_args *a, float lse, float delta)
{
    float score = 0.0f, dp = 0.0f;
    for (int64_t d = 0; d < a->head_dim; d++) {
        score = cu_fma(q[d], k[d], score);
        dp = cu_fma(dout[d], v[d], dp);
    }
    *weight = cu_exp(score * a->scale - lse);
    *slope = *weight * (dp - delta) * a->scale;
}

/* dQ of block (row, head): its keys in order. */
TR_DEVICE void attend_query_block(const attention_args *a, int x, int y, int z, void *memory)
{
    (void)z;
    attend_shared *s = (attend_shared *)memory;
    const int64_t hd = a->head_dim, row = x, kv_at = y / (a->heads / a->kv_heads) * hd;
    const int span = attention_span(a, row);
    const float lse = a->lse[y * a->rows + row], delta = a->delta[y * a->rows + row];
    PRIVATE(float, sum, ATTEND_EACH);
    THREADS(t, ATTEND_THREADS)
    {
        for (int i = 0; i < ATTEND_EACH; i++) {
            sum[OWN(t)][i] = 0.0f;
        }
        for (int64_t d = t; d < hd; d += ATTEND_THREADS) {
            s->q[d] = a->q[row * a->q_stride + y * hd + d];
            s->dout[d] = a->dout[row * a->o_stride + y * hd + d];
        }
    }
    SYNC();
    for (int part = 0; part < 2; part++) {
        const int64_t seen = part ? attention_seen(a, span, row) : attention_before(a, span);
        const int64_t from = part ? a->start[span] * a->kv_stride + kv_at : kv_at;
        for (int64_t first = 0; first < seen; first += ATTEND_KEYS) {
            const int keys = (int)cu_min64(ATTEND_KEYS, seen - first);
            THREADS(t, ATTEND_THREADS)
            {
                const int64_t at = from + (first + t) * a->kv_stride;
                float weight = 0.0f, slope = 0.0f;
                if (t < keys) {
                    attend_pair(&weight, &slope, s->q, s->dout, a->k + at, a->v + at, a, lse, delta);
                }
                s->slope[t] = slope;
            }
            SYNC();
            THREADS(t, ATTEND_THREADS)
            {
                for (int i = 0; i < ATTEND_EACH; i++) {
                    const int64_t d = t + (int64_t)i * ATTEND_THREADS;
                    for (int j = 0; d < hd && j < keys; j++) {
                        sum[OWN(t)][i] =
                            cu_fma(s->slope[j], a->k[from + (first + j) * a->kv_stride + d], sum[OWN(t)][i]);
                    }
                }
            }
            SYNC();
        }
    }
    THREADS(t, ATTEND_THREADS)
    {
        for (int i = 0; i < ATTEND_EACH; i++) {
            const int64_t d = t + (int64_t)i * ATTEND_THREADS;
            if (d < hd) {
                a->dq[row * a->q_stride + y * hd + d] += sum[OWN(t)][i];
            }
        }
    }
}

/* The rows that see key `row` of a span: from itself (vision: from the span's first) to the span's end; a prompt
 * key is seen by all responses too, whose rows follow the prompt's. */
TR_DEVICE void attention_readers(const attention_args *a, int span, int64_t row, int64_t *first, int64_t *last)
{
    *first = a->prompt < 0 ? a->start[span] : row;
    *last = a->prompt >= 0 && span == 0 ? a->rows : a->start[span + 1];
}

/* dK and dV of block (key row, kv head): its virtual query rows in order. */
TR_DEVICE void attend_key_block(const attention_args *a, int x, int y, int z, void *memory)
{
    (void)z;
    attend_shared *s = (attend_shared *)memory;
    const int64_t hd = a->head_dim, row = x, group = a->heads / a->kv_heads, kv = row * a->kv_stride + y * hd;
    int64_t begin, end;
    attention_readers(a, attention_span(a, row), row, &begin, &end);
    PRIVATE(float, dk, ATTEND_EACH);
    PRIVATE(float, dv, ATTEND_EACH);
    THREADS(t, ATTEND_THREADS)
    {
        for (int i = 0; i < ATTEND_EACH; i++) {
            dk[OWN(t)][i] = 0.0f;
            dv[OWN(t)][i] = 0.0f;
        }
        for (int64_t d = t; d < hd; d += ATTEND_THREADS) {
            s->q[d] = a->k[kv + d];
            s->dout[d] = a->v[kv + d];
        }
    }
    SYNC();
    for (int64_t first = begin * group; first < end * group; first += ATTEND_KEYS) {
        const int queries = (int)cu_min64(ATTEND_KEYS, end * group - first);
        THREADS(t, ATTEND_THREADS)
        {
            const int64_t i = (first + t) / group, head = y * group + (first + t) % group;
            if (t < queries) {
                attend_pair(&s->score[t], &s->slope[t], a->q + i * a->q_stride + head * hd,
                            a->dout + i * a->o_stride + head * hd, s->q, s->dout, a, a->lse[head * a->rows + i],
                            a->delta[head * a->rows + i]);
            }
        }
        SYNC();
        THREADS(t, ATTEND_THREADS)
        {
            for (int e = 0; e < ATTEND_EACH; e++) {
                const int64_t d = t + (int64_t)e * ATTEND_THREADS;
                for (int j = 0; d < hd && j < queries; j++) {
                    const int64_t i = (first + j) / group, head = y * group + (first + j) % group;
                    const float q = a->q[i * a->q_stride + head * hd + d];
                    dk[OWN(t)][e] = cu_fma(s->slope[j], q, dk[OWN(t)][e]);
                    dv[OWN(t)][e] = cu_fma(s->score[j], a->dout[i * a->o_stride + head * hd + d], dv[OWN(t)][e]);
                }
            }
        }
        SYNC();
    }
    THREADS(t, ATTEND_THREADS)
    {
        for (int i = 0; i < ATTEND_EACH; i++) {
            const int64_t d = t + (int64_t)i * ATTEND_THREADS;
            if (d < hd) {
                a->dk[kv + d] += dk[OWN(t)][i];
                a->dv[kv + d] += dv[OWN(t)][i];
            }
        }
    }
}

#endif
