/* table_attention.c: the GPU's attention operations: tiles of rows and keys, units of decoding, working memory.
 *
 * f32 runs one virtual row a block in the CPU's order; bf16 runs on the tensor cores for heads of at most
 * MMA_SIDE_MAX and keeps the KV cache in bf16 (half of the memory that tr_kv gives). Lists are made on the host and
 * go to the device in one copy per operation. */
#include "tensor/cuda/table.h"

#include <string.h>

static attention_args of_segments(const tr_attention_shape *shape, const int32_t *cu, int64_t segments,
                                  int64_t stride)
{
    return (attention_args){.spans = segments,
                            .prompt = -1,
                            .rows = cu[segments],
                            .chunk = cu[segments] > 0 ? cu[segments] * (shape->heads / shape->kv_heads) : 1,
                            .heads = shape->heads,
                            .kv_heads = shape->kv_heads,
                            .head_dim = shape->head_dim,
                            .q_stride = stride,
                            .kv_stride = stride,
                            .o_stride = shape->heads * shape->head_dim,
                            .scale = shape->scale};
}

static attention_args of_group(const tr_attention_shape *shape, const tr_layout *layout)
{
    const int64_t wide = shape->heads * shape->head_dim;
    return (attention_args){.spans = layout->responses + 1,
                            .prompt = layout->prompt,
                            .chunk = BACK_CHUNK,
                            .rows = layout->responses > 0 ? layout->start[layout->responses] : layout->prompt,
                            .heads = shape->heads,
                            .kv_heads = shape->kv_heads,
                            .head_dim = shape->head_dim,
                            .q_stride = wide,
                            .kv_stride = shape->kv_heads * shape->head_dim,
                            .o_stride = wide,
                            .scale = shape->scale};
}

/* First rows of the spans of a group, as 32-bit numbers; NULL when memory is out. */
static const int32_t *group_starts(const tr_layout *layout)
{
    int32_t *start = tr_cuda_list(0, layout->responses + 2);
    if (start) {
        start[0] = 0;
        start[1] = (int32_t)layout->prompt;
        for (int64_t r = 1; r <= layout->responses; r++) {
            start[r + 1] = (int32_t)layout->start[r];
        }
    }
    return start;
}

/* ---- working memory: cuda_plan.c ---- */

/* Vision has blocks enough without cutting its segments. */
static int64_t chunks_of(const attention_args *a)
{
    return tr_cuda_blocks(a->rows * (a->heads / a->kv_heads), a->chunk);
}

/* ---- lists of tiles ---- */

typedef enum tiling { NO_TILES, ROW_TILES, KEY_TILES } tiling;

/* Sends the starts and, where asked, tiles of virtual rows (`each` of them, long rows first) or of keys; returns
 * the number of tiles, or -1. */
static int64_t send_tiles(attention_args *a, const int32_t *start, tiling what)
{
    const int64_t group = what == ROW_TILES ? a->heads / a->kv_heads : 1;
    int64_t tiles = 0, most = 0;
    for (int64_t s = 0; what != NO_TILES && s < a->spans; s++) {
        most += tr_cuda_blocks((start[s + 1] - start[s]) * group, MMA_ROWS);
    }
    int32_t *span = tr_cuda_list(1, most + 1), *first = tr_cuda_list(2, most + 1);
    if (!start || !span || !first) {
        return -1;
    }
    for (int64_t s = a->spans - 1; what != NO_TILES && s >= 0; s--) {
        for (int64_t t = tr_cuda_blocks((start[s + 1] - start[s]) * group, MMA_ROWS) - 1; t >= 0; t--) {
            span[tiles] = (int32_t)s;
            first[tiles++] = (int32_t)(t * MMA_ROWS);
        }
    }
    tr_cuda_bundle_start();
    const int64_t at_start = tr_cuda_bundle_put(start, (size_t)(a->spans + 1) * sizeof *start);
    const int64_t at_span = tr_cuda_bundle_put(span, (size_t)tiles * sizeof *span);
    const int64_t at_first = tr_cuda_bundle_put(first, (size_t)tiles * sizeof *first);
    if (!tr_cuda_bundle_send()) {
        return -1;
    }
    a->start = tr_cuda_bundle_at(at_start);
    a->tile_span = tr_cuda_bundle_at(at_span);
    a->tile_first = tr_cuda_bundle_at(at_first);
    return tiles;
}

/* ---- forward and backward, over whatever spans ---- */

static void forward(attention_args a, const int32_t *start, bool bf16)
{
    const int side = bf16 ? tr_cuda_side(a.head_dim) : 0;
    const int64_t tiles = start ? send_tiles(&a, start, side ? ROW_TILES : NO_TILES) : -1;
    if (tiles < 0) {
        return;
    }
    if (side) {
        tr_cuda_launch_mma_attend(&a, tr_cuda_grid_of(tiles, a.kv_heads, 1), side);
    } else {
        tr_cuda_launch_attend(&a, tr_cuda_grid_of(a.rows, a.heads, 1));
    }
}

static void add_parts(float *out, const float *part, const attention_args *a, int64_t chunks)
{
    const int64_t width = a->kv_heads * a->head_dim;
    const parts_args p = {.out = out,
                          .part = part,
                          .parts = chunks,
                          .count = a->rows * width,
                          .width = width,
                          .stride = a->kv_stride};
    tr_cuda_launch_parts(&p, tr_cuda_grid_of(tr_cuda_blocks(p.count, COLUMN_THREADS), 1, 1));
}

static void backward(attention_args a, const int32_t *start, bool bf16, float *work)
{
    const int side = bf16 ? tr_cuda_side(a.head_dim) : 0;
    const int64_t chunks = chunks_of(&a), part = chunks * a.rows * a.kv_heads * a.head_dim;
    a.delta = work;
    a.part_k = work + (a.rows * a.heads + 15) / 16 * 16;
    a.part_v = a.part_k + part;
    int64_t tiles = start ? send_tiles(&a, start, side ? ROW_TILES : NO_TILES) : -1;
    if (tiles < 0) {
        return;
    }
    tr_cuda_launch_delta(&a, tr_cuda_grid_of(tr_cuda_blocks(a.rows * a.heads, NORM_ROWS), 1, 1));
    if (!side) {
        tr_cuda_launch_attend_query(&a, tr_cuda_grid_of(a.rows, a.heads, 1));
        tr_cuda_launch_attend_key(&a, tr_cuda_grid_of(a.rows, a.kv_heads, 1));
        return;
    }
    tr_cuda_launch_back_query(&a, tr_cuda_grid_of(tiles, a.kv_heads, 1), side);
    tiles = send_tiles(&a, start, KEY_TILES);
    if (tiles >= 0) {
        tr_cuda_launch_back_key(&a, tr_cuda_grid_of(tiles, a.kv_heads, chunks), side);
        add_parts(a.dk, a.part_k, &a, chunks);
        add_parts(a.dv, a.part_v, &a, chunks);
    }
}

/* ---- the KV cache ---- */

static void write_one(tr_kv *kv, int64_t at, const float *k, const float *v, int64_t rows,
                      const tr_attention_shape *shape, bool bf16)
{
    tr_cuda_bundle_start();
    const int64_t keys = tr_cuda_bundle_put(&kv->k, sizeof kv->k),
                  values = tr_cuda_bundle_put(&kv->v, sizeof kv->v);
    const int64_t capacity = tr_cuda_bundle_put(&kv->capacity, sizeof kv->capacity);
    if (rows && tr_cuda_bundle_send()) {
        const kv_write_args a = {.keys = tr_cuda_bundle_at(keys),
                                 .values = tr_cuda_bundle_at(values),
                                 .capacity = tr_cuda_bundle_at(capacity),
                                 .at0 = at,
                                 .k = k,
                                 .v = v,
                                 .kv_heads = shape->kv_heads,
                                 .head_dim = shape->head_dim,
                                 .bf16 = bf16};
        tr_cuda_launch_kv_write(&a, tr_cuda_grid_of(rows, 1, 1));
    }
}

/* The caches of decode rows: entry i < rows is row i's response, then every prompt once. */
typedef struct caches {
    int64_t keys, values, capacity; /* places in the bundle */
    int64_t count;
} caches;

/* prompt[i]: the entry of row i's prompt, -1: none. Neighbours that share a prompt share its entry. */
static caches put_caches(const tr_decode_row *what, int64_t rows, int32_t *prompt)
{
    caches c = {.count = rows};
    int64_t *entry = (int64_t *)(void *)tr_cuda_list(3, 12 * rows + 2);
    if (!entry) {
        return c;
    }
    int64_t *keys = entry, *values = entry + 2 * rows, *capacity = entry + 4 * rows;
    for (int64_t i = 0; i < 2 * rows; i++) {
        const tr_decode_row *row = &what[i < rows ? i : i - rows];
        const tr_kv *kv = i < rows ? row->response : row->prompt_tokens > 0 ? row->prompt : NULL;
        int64_t at = i;
        if (i >= rows) {
            const bool same = i > rows && kv && prompt[i - rows - 1] >= 0 && row[-1].prompt == kv;
            at = !kv ? -1 : same ? prompt[i - rows - 1] : c.count++;
            prompt[i - rows] = (int32_t)at;
        }
        if (at >= 0) {
            keys[at] = (int64_t)(uintptr_t)kv->k;
            values[at] = (int64_t)(uintptr_t)kv->v;
            capacity[at] = kv->capacity;
        }
    }
    for (int64_t i = c.count; i < 2 * rows; i++) { /* as many for any number of prompts: places stay the same */
        keys[i] = values[i] = capacity[i] = 0;
    }
    c.keys = tr_cuda_bundle_put(keys, (size_t)(2 * rows) * sizeof *keys);
    c.values = tr_cuda_bundle_put(values, (size_t)(2 * rows) * sizeof *values);
    c.capacity = tr_cuda_bundle_put(capacity, (size_t)(2 * rows) * sizeof *capacity);
    return c;
}

static void append(const tr_decode_row *what, const float *k, const float *v, int64_t rows,
                   const tr_attention_shape *shape, bool bf16)
{
    int32_t *list = tr_cuda_list(0, 3 * rows + 1);
    if (!list || !rows) {
        return;
    }
    int32_t *cache = list, *at = list + rows, *prompt = list + 2 * rows;
    tr_cuda_bundle_start();
    const caches c = put_caches(what, rows, prompt);
    for (int64_t i = 0; i < rows; i++) {
        cache[i] = (int32_t)i;
        at[i] = (int32_t)what[i].response_tokens - 1;
    }
    const int64_t at_cache = tr_cuda_bundle_put(cache, (size_t)rows * sizeof *cache);
    const int64_t at_token = tr_cuda_bundle_put(at, (size_t)rows * sizeof *at);
    if (tr_cuda_bundle_send()) {
        const kv_write_args a = {.keys = tr_cuda_bundle_at(c.keys),
                                 .values = tr_cuda_bundle_at(c.values),
                                 .capacity = tr_cuda_bundle_at(c.capacity),
                                 .cache = tr_cuda_bundle_at(at_cache),
                                 .at = tr_cuda_bundle_at(at_token),
                                 .k = k,
                                 .v = v,
                                 .kv_heads = shape->kv_heads,
                                 .head_dim = shape->head_dim,
                                 .bf16 = bf16};
        tr_cuda_launch_kv_write(&a, tr_cuda_grid_of(rows, 1, 1));
    }
}

/* ---- decoding ---- */

static void decode_f32(float *o, const float *q, const tr_decode_row *what, int64_t rows,
                       const tr_attention_shape *shape)
{
    int32_t *list = tr_cuda_list(0, 4 * rows + 1);
    if (!list) {
        return;
    }
    tr_cuda_bundle_start();
    const caches c = put_caches(what, rows, list);
    for (int64_t i = 0; i < rows; i++) {
        list[rows + i] = (int32_t)i;
        list[2 * rows + i] = (int32_t)what[i].prompt_tokens;
        list[3 * rows + i] = (int32_t)what[i].response_tokens;
    }
    const int64_t at = tr_cuda_bundle_put(list, (size_t)(4 * rows) * sizeof *list);
    if (tr_cuda_bundle_send()) {
        const int32_t *on = tr_cuda_bundle_at(at);
        const decode_args a = {.o = o,
                               .q = q,
                               .keys = tr_cuda_bundle_at(c.keys),
                               .values = tr_cuda_bundle_at(c.values),
                               .capacity = tr_cuda_bundle_at(c.capacity),
                               .prompt = on,
                               .response = on + rows,
                               .prompt_seen = on + 2 * rows,
                               .response_seen = on + 3 * rows,
                               .heads = shape->heads,
                               .kv_heads = shape->kv_heads,
                               .head_dim = shape->head_dim,
                               .scale = shape->scale};
        tr_cuda_launch_decode(&a, tr_cuda_grid_of(rows, shape->heads, 1));
    }
}

/* Units of one cache that rows [row0, row0 + n) read up to `seen` keys, its splits from `slot` on. */
enum { UNIT_FIELDS = 7 }; /* row0, rows, first, cache, seen, split, slot */
static int64_t add_units(int32_t *list, int64_t unit, int64_t most, int64_t row0, int64_t n, int64_t group,
                         int64_t cache, int64_t seen, int64_t slot)
{
    for (int64_t first = 0; first < n * group; first += MMA_ROWS) {
        for (int64_t split = 0; split * MMA_SPLIT < seen; split++, unit++) {
            const int64_t values[UNIT_FIELDS] = {row0, n, first, cache, seen, split, slot + split};
            for (int f = 0; list && f < UNIT_FIELDS; f++) {
                list[f * most + unit] = (int32_t)values[f];
            }
        }
    }
    return unit;
}

/* All units of a call; list NULL: only their number. A prompt's keys are read once for all its rows. */
static int64_t make_units(int32_t *list, int64_t most, const tr_decode_row *what, const int32_t *prompt,
                          int64_t rows, int64_t group, int64_t own_slot)
{
    int64_t unit = 0;
    for (int64_t i = 0, end; i < rows; i = end) {
        for (end = i + 1;
             end < rows && prompt[end] == prompt[i] && what[end].prompt_tokens == what[i].prompt_tokens;) {
            end++;
        }
        if (prompt[i] >= 0) {
            unit = add_units(list, unit, most, i, end - i, group, prompt[i], what[i].prompt_tokens, 0);
        }
    }
    for (int64_t i = 0; i < rows; i++) {
        unit = add_units(list, unit, most, i, 1, group, i, what[i].response_tokens, own_slot);
    }
    return unit;
}

static void decode_bf16(float *o, const float *q, const tr_decode_row *what, int64_t rows,
                        const tr_attention_shape *shape, int side)
{
    const int64_t group = shape->heads / shape->kv_heads;
    int32_t *list = tr_cuda_list(0, 3 * rows + 1);
    if (!list || !rows) {
        return;
    }
    int32_t *prompt = list, *prompt_splits = list + rows, *own_splits = list + 2 * rows;
    tr_cuda_bundle_start();
    const caches c = put_caches(what, rows, prompt);
    int64_t prompt_most = 0, own_most = 0;
    for (int64_t i = 0; i < rows; i++) {
        prompt_splits[i] = prompt[i] < 0 ? 0 : (int32_t)tr_cuda_blocks(what[i].prompt_tokens, MMA_SPLIT);
        own_splits[i] = (int32_t)tr_cuda_blocks(what[i].response_tokens, MMA_SPLIT);
        prompt_most = prompt_splits[i] > prompt_most ? prompt_splits[i] : prompt_most;
        own_most = own_splits[i] > own_most ? own_splits[i] : own_most;
    }
    prompt_most = tr_cuda_bucket(prompt_most, 1);
    own_most = tr_cuda_bucket(own_most, 1);
    const int64_t units = tr_cuda_bucket(make_units(NULL, 0, what, prompt, rows, group, prompt_most), 16);
    int32_t *unit = tr_cuda_list(1, UNIT_FIELDS * units + 1);
    float *share = tr_cuda_scratch(
        (size_t)((prompt_most + own_most) * rows * shape->heads * (shape->head_dim + 2)) * sizeof *share);
    if (!unit || !share) {
        return;
    }
    memset(unit, 0, (size_t)(UNIT_FIELDS * units) * sizeof *unit); /* a unit without rows does nothing */
    make_units(unit, units, what, prompt, rows, group, prompt_most);
    const int64_t at = tr_cuda_bundle_put(unit, (size_t)(UNIT_FIELDS * units) * sizeof *unit);
    const int64_t at_splits = tr_cuda_bundle_put(prompt_splits, (size_t)(2 * rows) * sizeof *prompt_splits);
    if (!tr_cuda_bundle_send()) {
        return;
    }
    const int32_t *on = tr_cuda_bundle_at(at), *splits = tr_cuda_bundle_at(at_splits);
    const mma_decode_args a = {.share = share,
                               .q = q,
                               .keys = tr_cuda_bundle_at(c.keys),
                               .values = tr_cuda_bundle_at(c.values),
                               .capacity = tr_cuda_bundle_at(c.capacity),
                               .row0 = on,
                               .rows = on + units,
                               .first = on + 2 * units,
                               .cache = on + 3 * units,
                               .seen = on + 4 * units,
                               .split = on + 5 * units,
                               .slot = on + 6 * units,
                               .total_rows = rows,
                               .heads = shape->heads,
                               .kv_heads = shape->kv_heads,
                               .head_dim = shape->head_dim,
                               .scale = shape->scale};
    tr_cuda_launch_mma_decode(&a, tr_cuda_grid_of(units, shape->kv_heads, 1), side);
    const mma_join_args j = {.o = o,
                             .share = share,
                             .prompt_splits = splits,
                             .own_splits = splits + rows,
                             .own_slot = prompt_most,
                             .rows = rows,
                             .heads = shape->heads,
                             .head_dim = shape->head_dim};
    tr_cuda_launch_mma_join(&j, tr_cuda_grid_of(rows, shape->heads, 1));
}

static void decode(float *o, const float *q, const tr_decode_row *what, int64_t rows,
                   const tr_attention_shape *shape, bool bf16)
{
    const int side = bf16 ? tr_cuda_side(shape->head_dim) : 0;
    if (side) {
        decode_bf16(o, q, what, rows, shape, side);
    } else {
        decode_f32(o, q, what, rows, shape);
    }
}

/* ---- the operations of both tables ---- */

#define OPERATIONS(mode, bf16)                                                                                     \
    void tr_cuda_segment_attention_forward_##mode(float *o, float *lse, const float *q, const float *k,            \
                                                  const float *v, int64_t stride, const tr_attention_shape *shape, \
                                                  const int32_t *cu, int64_t segments, float *work)                \
    {                                                                                                              \
        attention_args a = of_segments(shape, cu, segments, stride);                                               \
        (void)work;                                                                                                \
        a.o = o, a.lse = lse, a.q = q, a.k = k, a.v = v;                                                           \
        forward(a, cu, bf16);                                                                                      \
    }                                                                                                              \
    void tr_cuda_segment_attention_backward_##mode(                                                                \
        float *dq, float *dk, float *dv, const float *dout, const float *o, const float *lse, const float *q,      \
        const float *k, const float *v, int64_t stride, const tr_attention_shape *shape, const int32_t *cu,        \
        int64_t segments, float *work)                                                                             \
    {                                                                                                              \
        attention_args a = of_segments(shape, cu, segments, stride);                                               \
        a.o = (float *)(uintptr_t)o, a.lse = (float *)(uintptr_t)lse, a.q = q, a.k = k, a.v = v;                   \
        a.dq = dq, a.dk = dk, a.dv = dv, a.dout = dout;                                                            \
        backward(a, cu, bf16, work);                                                                               \
    }                                                                                                              \
    void tr_cuda_group_attention_forward_##mode(float *o, float *lse, const float *q, const float *k,              \
                                                const float *v, const tr_attention_shape *shape,                   \
                                                const tr_layout *layout, float *work)                              \
    {                                                                                                              \
        attention_args a = of_group(shape, layout);                                                                \
        (void)work;                                                                                                \
        a.o = o, a.lse = lse, a.q = q, a.k = k, a.v = v;                                                           \
        forward(a, group_starts(layout), bf16);                                                                    \
    }                                                                                                              \
    void tr_cuda_group_attention_backward_##mode(                                                                  \
        float *dq, float *dk, float *dv, const float *dout, const float *o, const float *lse, const float *q,      \
        const float *k, const float *v, const tr_attention_shape *shape, const tr_layout *layout, float *work)     \
    {                                                                                                              \
        attention_args a = of_group(shape, layout);                                                                \
        a.o = (float *)(uintptr_t)o, a.lse = (float *)(uintptr_t)lse, a.q = q, a.k = k, a.v = v;                   \
        a.dq = dq, a.dk = dk, a.dv = dv, a.dout = dout;                                                            \
        backward(a, group_starts(layout), bf16, work);                                                             \
    }                                                                                                              \
    void tr_cuda_kv_write_##mode(tr_kv *kv, int64_t at, const float *k, const float *v, int64_t rows,              \
                                 const tr_attention_shape *shape)                                                  \
    {                                                                                                              \
        write_one(kv, at, k, v, rows, shape, (bf16) && tr_cuda_side(shape->head_dim));                             \
    }                                                                                                              \
    void tr_cuda_kv_append_##mode(const tr_decode_row *what, const float *k, const float *v, int64_t rows,         \
                                  const tr_attention_shape *shape)                                                 \
    {                                                                                                              \
        append(what, k, v, rows, shape, (bf16) && tr_cuda_side(shape->head_dim));                                  \
    }                                                                                                              \
    void tr_cuda_decode_attention_forward_##mode(float *o, const float *q, const tr_decode_row *what,              \
                                                 int64_t rows, const tr_attention_shape *shape, float *work)       \
    {                                                                                                              \
        (void)work;                                                                                                \
        decode(o, q, what, rows, shape, bf16);                                                                     \
    }
OPERATIONS(f32, false)
OPERATIONS(bf16, true)
