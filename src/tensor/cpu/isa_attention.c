/* isa_attention.c: forward attention over segments (vision), packed groups (text) and the KV cache (decode).
 *
 * All three have, or first pack, keys as 16-token panels and values as rows, per kv head and span; then one kernel
 * walks the spans for blocks of virtual rows (attention.h). Blocks are the units of the threads; how rows fall into
 * blocks never changes a bit. */
#include "tensor/cpu/attention.h"

static void pack_span(float *packed_k, float *packed_v, const float *k, const float *v, const tokens *t,
                      int64_t head, int64_t s)
{
    int64_t hd = t->shape->head_dim, at = (head * slots(t) + span_slot(t, s)) * hd;
    int64_t from = span_start(t, s) * t->kv_stride + head * hd, n = span_rows(t, s);
    pack_panels(packed_k + at, k + from, t->kv_stride, n, hd);
    copy_rows(packed_v + at, hd, v + from, t->kv_stride, n, hd);
}

/* Virtual rows [first, first + ROW_BLOCK) of span s: row first / group of the span, head first % group of kv_head.
 */
static void attend(float *o, float *lse, const float *q, const float *packed_k, const float *packed_v,
                   const tokens *t, int64_t kv_head, int64_t s, int64_t first)
{
    const tr_attention_shape *shape = t->shape;
    int64_t hd = shape->head_dim, group = shape->heads / shape->kv_heads, n = span_rows(t, s),
            row0 = span_start(t, s);
    const float *k = packed_k + kv_head * slots(t) * hd, *v = packed_v + kv_head * slots(t) * hd;
    block b;
    block_start(&b, (int)tr_min_i64(ROW_BLOCK, n * group - first), shape);
    for (int r = 0; r < b.rows; r++) {
        int64_t row = row0 + (first + r) / group, head = kv_head * group + (first + r) % group;
        memcpy(b.q + r * hd, q + row * t->q_stride + head * hd, (size_t)hd * sizeof *q);
    }
    if (t->layout && s > 0) {
        for (int r = 0; r < b.rows; r++) {
            b.seen[r] = t->layout->prompt;
        }
        block_span(&b, 0, b.rows, k, v);
    }
    for (int r = 0; r < b.rows; r++) {
        b.seen[r] = t->layout ? (first + r) / group + 1 : n;
    }
    block_span(&b, 0, b.rows, k + span_slot(t, s) * hd, v + span_slot(t, s) * hd);
    for (int r = 0; r < b.rows; r++) {
        int64_t row = row0 + (first + r) / group, head = kv_head * group + (first + r) % group;
        block_finish(&b, r, o + row * t->o_stride + head * hd, lse ? lse + head * t->rows + row : NULL);
    }
}

static void forward(float *o, float *lse, const float *q, const float *k, const float *v, const tokens *t,
                    float *work)
{
    int64_t cost, longest = longest_span(t, &cost), kv_heads = t->shape->kv_heads;
    int64_t group = t->shape->heads / kv_heads, blocks = (longest * group + ROW_BLOCK - 1) / ROW_BLOCK;
    float *packed_k = work, *packed_v = work + slots(t) * kv_heads * t->shape->head_dim;
    bool fork = tr_worth(cost);
#pragma omp parallel for schedule(static) collapse(2) if (fork)
    for (int64_t head = 0; head < kv_heads; head++) {
        for (int64_t s = 0; s < t->spans; s++) {
            pack_span(packed_k, packed_v, k, v, t, head, s);
        }
    }
    /* long rows first; a task owns its outputs, so who runs it does not matter */
#pragma omp parallel for schedule(dynamic) if (fork)
    for (int64_t task = kv_heads * t->spans * blocks - 1; task >= 0; task--) {
        int64_t first = task % blocks * ROW_BLOCK, s = task / blocks % t->spans, head = task / blocks / t->spans;
        if (first < span_rows(t, s) * group) {
            attend(o, lse, q, packed_k, packed_v, t, head, s, first);
        }
    }
}

/* Both directions pack keys and values per kv head. Backward has queries, d(out) and sums of dQ as rows per head,
 * and a float per row and head. */
static int64_t work_floats(const tokens *t, bool backward)
{
    const tr_attention_shape *shape = t->shape;
    const int64_t one = 2 * slots(t) * shape->head_dim;
    return one * shape->kv_heads + (backward ? t->rows * (3 * padded(shape->head_dim) + 1) * shape->heads : 0) + 16;
}

int64_t TR_VARIANT(segment_attention_work)(const tr_attention_shape *shape, const int32_t *cu, int64_t segments,
                                           bool backward)
{
    tokens t = tokens_of_segments(shape, cu, segments, 0);
    return work_floats(&t, backward);
}

void TR_VARIANT(segment_attention_forward)(float *o, float *lse, const float *q, const float *k, const float *v,
                                           int64_t stride, const tr_attention_shape *shape, const int32_t *cu,
                                           int64_t segments, float *work)
{
    tokens t = tokens_of_segments(shape, cu, segments, stride);
    forward(o, lse, q, k, v, &t, work);
}

int64_t TR_VARIANT(group_attention_work)(const tr_attention_shape *shape, const tr_layout *layout, bool backward)
{
    tokens t = tokens_of_group(shape, layout);
    return work_floats(&t, backward);
}

void TR_VARIANT(group_attention_forward)(float *o, float *lse, const float *q, const float *k, const float *v,
                                         const tr_attention_shape *shape, const tr_layout *layout, float *work)
{
    tokens t = tokens_of_group(shape, layout);
    forward(o, lse, q, k, v, &t, work);
}

/* ---- the KV cache ---- */

void TR_VARIANT(kv_write)(tr_kv *kv, int64_t at, const float *k, const float *v, int64_t rows,
                          const tr_attention_shape *shape)
{
    int64_t hd = shape->head_dim, stride = shape->kv_heads * hd;
#pragma omp parallel for schedule(static) if (tr_worth(rows * stride))
    for (int64_t head = 0; head < shape->kv_heads; head++) {
        float *keys = kv->k + head * kv->capacity * hd, *values = kv->v + head * kv->capacity * hd;
        for (int64_t i = 0; i < rows; i++) {
            int64_t token = at + i;
            float *panel = keys + token / 16 * 16 * hd + token % 16;
            for (int64_t d = 0; d < hd; d++) {
                panel[d * 16] = k[i * stride + head * hd + d];
            }
            memcpy(values + token * hd, v + i * stride + head * hd, (size_t)hd * sizeof *v);
        }
    }
}

void TR_VARIANT(kv_append)(const tr_decode_row *what, const float *k, const float *v, int64_t rows,
                           const tr_attention_shape *shape)
{
    const int64_t width = shape->kv_heads * shape->head_dim;
    for (int64_t i = 0; i < rows; i++) {
        tr_kv kv = *what[i].response;
        TR_VARIANT(kv_write)(&kv, what[i].response_tokens - 1, k + i * width, v + i * width, 1, shape);
    }
}

int64_t TR_VARIANT(decode_attention_work)(const tr_attention_shape *shape, int64_t rows)
{
    (void)shape;
    (void)rows;
    return 16; /* none is needed; callers may allocate what is asked */
}

/* Virtual rows [first, first + count) of kv_head: row first / group, head first % group. */
static void decode(float *o, const float *q, const tr_decode_row *what, const tr_attention_shape *shape,
                   int64_t kv_head, int64_t first, int count)
{
    int64_t hd = shape->head_dim, group = shape->heads / shape->kv_heads, stride = shape->heads * hd;
    block b;
    block_start(&b, count, shape);
    for (int r = 0; r < count; r++) {
        int64_t at = (first + r) / group * stride + (kv_head * group + (first + r) % group) * hd;
        memcpy(b.q + r * hd, q + at, (size_t)hd * sizeof *q);
    }
    for (int response = 0; response < 2; response++) {
        for (int r = 0, end; r < count; r = end) { /* neighbours that share their keys */
            const tr_decode_row *row = &what[(first + r) / group];
            const tr_kv *kv = response ? row->response : row->prompt;
            for (end = r; end < count; end++) {
                const tr_decode_row *other = &what[(first + end) / group];
                if ((response ? other->response : other->prompt) != kv) {
                    break;
                }
                b.seen[end] = response ? other->response_tokens : other->prompt_tokens;
            }
            if (kv) {
                int64_t from = kv_head * kv->capacity * hd;
                block_span(&b, r, end, kv->k + from, kv->v + from);
            }
        }
    }
    for (int r = 0; r < count; r++) {
        int64_t at = (first + r) / group * stride + (kv_head * group + (first + r) % group) * hd;
        block_finish(&b, r, o + at, NULL);
    }
}

typedef struct decode_job {
    float *o;
    const float *q;
    const tr_decode_row *what;
    const tr_attention_shape *shape;
    int64_t total; /* virtual rows of a kv head */
} decode_job;

/* As many blocks as threads, but keys stay shared among neighbours. */
static void decode_part(void *context, int self, int threads)
{
    const decode_job *j = context;
    const int64_t kv_heads = j->shape->kv_heads, wanted = (threads + kv_heads - 1) / kv_heads;
    const int64_t size =
                      tr_max_i64(tr_min_i64((j->total + wanted - 1) / wanted, ROW_BLOCK), tr_min_i64(6, ROW_BLOCK)),
                  blocks = (j->total + size - 1) / size;
    for (int64_t task = self; task < kv_heads * blocks; task += threads) {
        int64_t first = task % blocks * size;
        decode(j->o, j->q, j->what, j->shape, task / blocks, first, (int)tr_min_i64(size, j->total - first));
    }
}

void TR_VARIANT(decode_attention_forward)(float *o, const float *q, const tr_decode_row *what, int64_t rows,
                                          const tr_attention_shape *shape, float *work)
{
    (void)work;
    decode_job job = {o, q, what, shape, rows * (shape->heads / shape->kv_heads)};
    int64_t keys = 0;
    for (int64_t i = 0; i < rows; i++) {
        keys += what[i].prompt_tokens + what[i].response_tokens;
    }
    tr_share_work(keys * shape->heads * shape->head_dim / 16, decode_part, &job);
}
