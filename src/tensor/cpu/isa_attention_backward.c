/* isa_attention_backward.c: gradients of attention over segments and packed groups.
 *
 * With P = exp(scale q k^T - lse), D = sum(do o): dV = P^T do, dS = P (do v^T - D) scale, dQ = dS k, dK = dS^T q. P
 * and dS are computed tile by tile. Where there is a kv head, or a head of a segment, for every thread, one thread
 * walks all its key tiles in order and takes the three products from the same P and dS. Where there is not, P is
 * computed twice: once for dQ, with blocks of query rows as tasks, once for dK and dV, with key tiles as tasks.
 * Both ways every dQ element runs along the keys and every dK, dV element along the queries, in order, so that no
 * bit depends on the threads. A prompt key collects from the prompt's later rows and from every response. The lanes
 * of P and dS hold keys. work: k, v as panels [kv_heads][slots][head_dim]; q, do and dQ [heads][rows][width]; D
 * [heads][rows]. */
#include "tensor/cpu/attention.h"

enum { QUERY_BLOCK = 64 }; /* queries of one step of the dK, dV pass: free to choose */

typedef struct gradient {
    const tokens *t;
    const float *dout, *lse, *q, *k, *v;
    float *dq, *dk, *dv;
    float *k_panels, *v_panels;          /* [kv_heads][slots][head_dim] */
    float *q_rows, *dout_rows, *dq_sums; /* [heads][rows][width] */
    float *d;                            /* [heads][rows] */
} gradient;

static void prepare_head(const gradient *g, const float *o, int64_t head, int64_t s)
{
    const tokens *t = g->t;
    int64_t hd = t->shape->head_dim, at = (head * slots(t) + span_slot(t, s)) * hd, row = span_start(t, s);
    int64_t n = span_rows(t, s), width = padded(hd), first = (head * t->rows + row) * width;
    if (head < t->shape->kv_heads) {
        pack_panels(g->k_panels + at, g->k + row * t->kv_stride + head * hd, t->kv_stride, n, hd);
        pack_panels(g->v_panels + at, g->v + row * t->kv_stride + head * hd, t->kv_stride, n, hd);
    }
    copy_rows(g->q_rows + first, width, g->q + row * t->q_stride + head * hd, t->q_stride, n, hd);
    copy_rows(g->dout_rows + first, width, g->dout + row * t->o_stride + head * hd, t->o_stride, n, hd);
    for (int64_t i = row; i < row + n; i++) {
        const float *a = g->dout + i * t->o_stride + head * hd, *b = o + i * t->o_stride + head * hd;
        lanes sum = lanes_zero();
        for (int64_t d = 0; d < hd; d += 16) {
            int left = (int)tr_min_i64(16, hd - d);
            sum = left == 16 ? lanes_fma(lanes_load(a + d), lanes_load(b + d), sum)
                             : lanes_fma(lanes_load_n(a + d, left), lanes_load_n(b + d, left), sum);
        }
        g->d[head * t->rows + i] = lanes_sum(sum);
    }
}

/* score <- P, slope <- dS = P (slope - D) scale for rows of queries, `groups` lanes of keys; row r sees the first
 * seen[r] keys of the tile, the others get 0. */
static void slopes(float *score, float *slope, int rows, int groups, const int64_t *seen, const float *lse,
                   const float *d, float scale_by)
{
    const lanes iota = lanes_load(tr_iota), scale = lanes_set(scale_by);
    for (int r = 0; r < rows; r++) {
        const lanes shift = lanes_set(lse[r]), mean = lanes_set(d[r]);
        for (int j = 0; j < groups; j++) {
            float *s = score + r * KEY_TILE + j * 16, *dp = slope + r * KEY_TILE + j * 16;
            lanes p = lanes_exp(lanes_sub(lanes_mul(lanes_load(s), scale), shift));
            lanes x = lanes_mul(lanes_mul(p, lanes_sub(lanes_load(dp), mean)), scale);
            int64_t left = seen[r] - j * 16;
            if (left < 16) {
                lanes end = lanes_set(left > 0 ? (float)left : 0.0f);
                p = lanes_if_less(iota, end, p, lanes_zero());
                x = lanes_if_less(iota, end, x, lanes_zero());
            }
            lanes_store(s, p);
            lanes_store(dp, x);
        }
    }
}

/* ---- dQ: a block of virtual rows over its spans ---- */

typedef struct query_rows {
    int rows;
    int64_t seen[ROW_BLOCK], row[ROW_BLOCK], head[ROW_BLOCK];
    float lse[ROW_BLOCK], d[ROW_BLOCK];
    float q[ROW_BLOCK * WIDTH_MAX], dout[ROW_BLOCK * WIDTH_MAX], dq[ROW_BLOCK * WIDTH_MAX];
    float score[ROW_BLOCK * KEY_TILE], slope[ROW_BLOCK * KEY_TILE], keys[KEY_TILE * WIDTH_MAX];
} query_rows;

static void query_span(query_rows *b, const gradient *g, int64_t kv_head, int64_t s)
{
    const tokens *t = g->t;
    int64_t hd = t->shape->head_dim, width = padded(hd), most = 0;
    int64_t at = (kv_head * slots(t) + span_slot(t, s)) * hd;
    for (int r = 0; r < b->rows; r++) {
        most = tr_max_i64(most, b->seen[r]);
    }
    for (int64_t key = 0; key < most; key += KEY_TILE) {
        int64_t keys = tr_min_i64(KEY_TILE, most - key);
        int groups = (int)((keys + 15) / 16);
        product_set(b->score, KEY_TILE, along_rows(b->q, hd), panels_of(g->k_panels + at + key * hd, hd), hd,
                    b->rows, groups);
        product_set(b->slope, KEY_TILE, along_rows(b->dout, hd), panels_of(g->v_panels + at + key * hd, hd), hd,
                    b->rows, groups);
        int64_t seen[ROW_BLOCK];
        for (int r = 0; r < b->rows; r++) {
            seen[r] = b->seen[r] - key;
        }
        slopes(b->score, b->slope, b->rows, groups, seen, b->lse, b->d, t->shape->scale);
        copy_rows(b->keys, width, g->k + (span_start(t, s) + key) * t->kv_stride + kv_head * hd, t->kv_stride, keys,
                  hd);
        product_add(b->dq, width, along_rows(b->slope, KEY_TILE), rows_of(b->keys, width), keys, b->rows,
                    (int)(width / 16));
    }
}

static void query_block(const gradient *g, int64_t kv_head, int64_t s, int64_t first)
{
    const tokens *t = g->t;
    int64_t hd = t->shape->head_dim, width = padded(hd), group = t->shape->heads / t->shape->kv_heads;
    int64_t n = span_rows(t, s);
    query_rows b;
    b.rows = (int)tr_min_i64(ROW_BLOCK, n * group - first);
    for (int r = 0; r < b.rows; r++) {
        b.row[r] = span_start(t, s) + (first + r) / group;
        b.head[r] = kv_head * group + (first + r) % group;
        b.lse[r] = g->lse[b.head[r] * t->rows + b.row[r]];
        b.d[r] = g->d[b.head[r] * t->rows + b.row[r]];
        memcpy(b.q + r * hd, g->q + b.row[r] * t->q_stride + b.head[r] * hd, (size_t)hd * sizeof *b.q);
        memcpy(b.dout + r * hd, g->dout + b.row[r] * t->o_stride + b.head[r] * hd, (size_t)hd * sizeof *b.q);
    }
    memset(b.dq, 0, (size_t)(b.rows * width) * sizeof *b.dq);
    if (t->layout && s > 0) {
        for (int r = 0; r < b.rows; r++) {
            b.seen[r] = t->layout->prompt;
        }
        query_span(&b, g, kv_head, 0);
    }
    for (int r = 0; r < b.rows; r++) {
        b.seen[r] = t->layout ? (first + r) / group + 1 : n;
    }
    query_span(&b, g, kv_head, s);
    for (int r = 0; r < b.rows; r++) {
        float *out = g->dq + b.row[r] * t->q_stride + b.head[r] * hd;
        add_row(out, b.dq + r * width, hd);
    }
}

/* ---- dK, dV: a key tile over the queries that see it ---- */

typedef struct key_rows {
    int keys;
    int64_t first_key; /* in its span */
    const float *k_panels, *v_panels;
    float k[KEY_TILE * WIDTH_MAX], dk[KEY_TILE * WIDTH_MAX], dv[KEY_TILE * WIDTH_MAX];
    float score[QUERY_BLOCK * KEY_TILE], slope[QUERY_BLOCK * KEY_TILE];
} key_rows;

/* Adds the queries of span `from`, one head; their dQ collects from these keys too if `queries`. */
static void key_span(key_rows *b, const gradient *g, int64_t head, int64_t from, bool causal, bool queries)
{
    const tokens *t = g->t;
    const int64_t hd = t->shape->head_dim, width = padded(hd), n = span_rows(t, from);
    const int groups = (b->keys + 15) / 16, panels = (int)(width / 16);
    for (int64_t i = causal ? b->first_key / QUERY_BLOCK * QUERY_BLOCK : 0; i < n; i += QUERY_BLOCK) {
        const int64_t at = head * t->rows + span_start(t, from) + i;
        const int count = (int)tr_min_i64(QUERY_BLOCK, n - i);
        const float *q = g->q_rows + at * width, *dout = g->dout_rows + at * width;
        int64_t seen[QUERY_BLOCK];
        for (int r = 0; r < count; r++) {
            seen[r] = causal ? i + r + 1 - b->first_key : KEY_TILE;
        }
        product_set(b->score, KEY_TILE, along_rows(q, width), panels_of(b->k_panels, hd), hd, count, groups);
        product_set(b->slope, KEY_TILE, along_rows(dout, width), panels_of(b->v_panels, hd), hd, count, groups);
        slopes(b->score, b->slope, count, groups, seen, g->lse + at, g->d + at, t->shape->scale);
        product_add(b->dv, width, along_columns(b->score, KEY_TILE), rows_of(dout, width), count, b->keys, panels);
        product_add(b->dk, width, along_columns(b->slope, KEY_TILE), rows_of(q, width), count, b->keys, panels);
        if (queries) {
            product_add(g->dq_sums + at * width, width, along_rows(b->slope, KEY_TILE), rows_of(b->k, width),
                        b->keys, count, panels);
        }
    }
}

static void key_block(const gradient *g, int64_t kv_head, int64_t s, int64_t first, bool queries)
{
    const tokens *t = g->t;
    int64_t hd = t->shape->head_dim, width = padded(hd), group = t->shape->heads / t->shape->kv_heads;
    int64_t at = (span_start(t, s) + first) * t->kv_stride + kv_head * hd;
    key_rows b;
    b.keys = (int)tr_min_i64(KEY_TILE, span_rows(t, s) - first);
    b.first_key = first;
    b.k_panels = g->k_panels + (kv_head * slots(t) + span_slot(t, s) + first) * hd;
    b.v_panels = g->v_panels + (kv_head * slots(t) + span_slot(t, s) + first) * hd;
    copy_rows(b.k, width, g->k + at, t->kv_stride, b.keys, hd);
    memset(b.dk, 0, (size_t)(b.keys * width) * sizeof *b.dk);
    memset(b.dv, 0, (size_t)(b.keys * width) * sizeof *b.dv);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
        key_span(&b, g, head, s, t->layout != NULL, queries);
        for (int64_t from = 1; t->layout && s == 0 && from < t->spans; from++) {
            key_span(&b, g, head, from, false, queries);
        }
    }
    for (int i = 0; i < b.keys; i++) {
        add_row(g->dk + at + i * t->kv_stride, b.dk + i * width, hd);
        add_row(g->dv + at + i * t->kv_stride, b.dv + i * width, hd);
    }
}

/* ---- all three: the key tiles of spans [from, to) of a kv head, in order ---- */

static void head_spans(const gradient *g, int64_t kv_head, int64_t from, int64_t to)
{
    const tokens *t = g->t;
    const int64_t hd = t->shape->head_dim, width = padded(hd), group = t->shape->heads / t->shape->kv_heads;
    const int64_t start = span_start(t, from), rows = span_start(t, to) - start;
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
        memset(g->dq_sums + (head * t->rows + start) * width, 0, (size_t)(rows * width) * sizeof *g->dq_sums);
    }
    for (int64_t s = from; s < to; s++) {
        for (int64_t first = 0; first < span_rows(t, s); first += KEY_TILE) {
            key_block(g, kv_head, s, first, true);
        }
    }
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
        for (int64_t i = start; i < start + rows; i++) {
            const float *sum = g->dq_sums + (head * t->rows + i) * width;
            add_row(g->dq + i * t->q_stride + head * hd, sum, hd);
        }
    }
}

/* Whether kv heads times sets of spans keep all threads at work. */
static bool enough_tasks(int64_t tasks, bool fork)
{
    const int64_t threads = fork ? omp_get_max_threads() : 1;
    return tasks % threads == 0 || tasks >= 4 * threads;
}

static void backward_by_heads(const gradient *g, int64_t sets, bool fork)
{
    const int64_t spans = g->t->spans / sets;
#pragma omp parallel for schedule(dynamic) if (fork)
    for (int64_t task = 0; task < g->t->shape->kv_heads * sets; task++) {
        head_spans(g, task / sets, task % sets * spans, (task % sets + 1) * spans);
    }
}

static void backward_by_tiles(const gradient *g, int64_t longest, bool fork)
{
    const tokens *t = g->t;
    const int64_t kv_heads = t->shape->kv_heads, group = t->shape->heads / kv_heads;
    const int64_t blocks = (longest * group + ROW_BLOCK - 1) / ROW_BLOCK;
#pragma omp parallel for schedule(dynamic) if (fork)
    for (int64_t task = kv_heads * t->spans * blocks - 1; task >= 0; task--) {
        int64_t first = task % blocks * ROW_BLOCK, s = task / blocks % t->spans, head = task / blocks / t->spans;
        if (first < span_rows(t, s) * group) {
            query_block(g, head, s, first);
        }
    }
    const int64_t tiles =
        (longest + KEY_TILE - 1) / KEY_TILE; /* early prompt tiles collect most: they come first */
#pragma omp parallel for schedule(dynamic) if (fork)
    for (int64_t task = 0; task < kv_heads * t->spans * tiles; task++) {
        int64_t first = task % tiles * KEY_TILE, s = task / tiles % t->spans, head = task / tiles / t->spans;
        if (first < span_rows(t, s)) {
            key_block(g, head, s, first, false);
        }
    }
}

static void backward(gradient *g, const float *o, float *work)
{
    const tokens *t = g->t;
    int64_t cost, longest = longest_span(t, &cost), heads = t->shape->heads, kv_heads = t->shape->kv_heads;
    const int64_t one = slots(t) * t->shape->head_dim, wide = heads * t->rows * padded(t->shape->head_dim);
    g->k_panels = work;
    g->v_panels = g->k_panels + kv_heads * one;
    g->q_rows = g->v_panels + kv_heads * one;
    g->dout_rows = g->q_rows + wide;
    g->dq_sums = g->dout_rows + wide;
    g->d = g->dq_sums + wide;
    const bool fork = tr_worth(3 * cost);
#pragma omp parallel for schedule(static) collapse(2) if (fork)
    for (int64_t head = 0; head < heads; head++) {
        for (int64_t s = 0; s < t->spans; s++) {
            prepare_head(g, o, head, s);
        }
    }
    const int64_t sets = t->layout ? 1 : t->spans; /* of spans that share no keys: a segment; all of a group */
    if (enough_tasks(kv_heads * sets, fork)) {
        backward_by_heads(g, sets, fork);
    } else {
        backward_by_tiles(g, longest, fork);
    }
}

void TR_VARIANT(segment_attention_backward)(float *dq, float *dk, float *dv, const float *dout, const float *o,
                                            const float *lse, const float *q, const float *k, const float *v,
                                            int64_t stride, const tr_attention_shape *shape, const int32_t *cu,
                                            int64_t segments, float *work)
{
    tokens t = tokens_of_segments(shape, cu, segments, stride);
    gradient g = {.t = &t, .dout = dout, .lse = lse, .q = q, .k = k, .v = v, .dq = dq, .dk = dk, .dv = dv};
    backward(&g, o, work);
}

void TR_VARIANT(group_attention_backward)(float *dq, float *dk, float *dv, const float *dout, const float *o,
                                          const float *lse, const float *q, const float *k, const float *v,
                                          const tr_attention_shape *shape, const tr_layout *layout, float *work)
{
    tokens t = tokens_of_group(shape, layout);
    gradient g = {.t = &t, .dout = dout, .lse = lse, .q = q, .k = k, .v = v, .dq = dq, .dk = dk, .dv = dv};
    backward(&g, o, work);
}
