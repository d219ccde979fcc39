/* network.c: plans and makes the working memory of a network. The same walk counts bytes and hands out pieces, so a
 * plan cannot differ from what a run takes.
 *
 * Memory from its beginning: what the vision tower keeps for its backward | the tower's own forward and backward,
 * in the same place the decoder's, and behind the larger forward the KV cache, where both backwards work too. */
#include "model/network_parts.h"

#include <stdlib.h>
#include <string.h>

/* Counts while block is NULL, takes from the arena afterwards. */
typedef struct planner {
    tr_arena *arena; /* NULL: count only */
    uint64_t bytes;
    bool overflow;
    bool apart;         /* tensors are not the host's memory: integers are planned by themselves */
    tr_arena *integers; /* NULL: count only, or not apart */
    uint64_t integer_bytes;
} planner;

static void *piece(planner *p, int64_t count, size_t size)
{
    size_t need = count < 0 ? SIZE_MAX : tr_arena_need((size_t)count, size);
    if (need == SIZE_MAX || __builtin_add_overflow(p->bytes, need, &p->bytes)) {
        p->overflow = true;
        return NULL;
    }
    return p->arena ? tr_arena_take(p->arena, (size_t)count, size) : NULL;
}

/* Integers stay with the host. */
static void *integers(planner *p, int64_t count, size_t size)
{
    if (!p->apart) {
        return piece(p, count, size);
    }
    size_t need = count < 0 ? SIZE_MAX : tr_arena_need((size_t)count, size);
    if (need == SIZE_MAX || __builtin_add_overflow(p->integer_bytes, need, &p->integer_bytes)) {
        p->overflow = true;
        return NULL;
    }
    return p->integers ? tr_arena_take(p->integers, (size_t)count, size) : NULL;
}

/* Goes on `bytes` behind the beginning. */
static void go_to(planner *p, uint64_t bytes)
{
    p->bytes = bytes;
    if (p->arena) {
        tr_arena_reset(p->arena, (size_t)bytes);
    }
}

static float *floats(planner *p, int64_t a, int64_t b)
{
    int64_t count;
    if (__builtin_mul_overflow(a, b, &count)) {
        p->overflow = true;
        return NULL;
    }
    return piece(p, count, sizeof(float));
}

static int64_t largest(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- vision ---- */

/* Where the parts' memory ends: what outlives the other parts' work, what a forward takes, what a backward takes
 * behind it. */
typedef struct areas {
    uint64_t kept, forward, end;
} areas;

/* The MLP's tile of `rows`. */
enum { MLP_ROWS = 1024, MLP_CUT = 256 };
static int64_t mlp_rows(const planner *p, const tr_network_limits *limits, int64_t rows)
{
    const int64_t given = (limits->mlp_rows + MLP_CUT - 1) / MLP_CUT * MLP_CUT;
    const int64_t tile = given > 0 ? given : p->apart ? rows : MLP_ROWS;
    return rows < tile ? rows : tile;
}

/* One block's pieces; `in` is separate because recomputation keeps it for every block. inside: rows of the MLP.
 * Where no backward reads it (norm is given), attention shares a piece with the normalised rows, which are not
 * needed any more, and nothing is kept of its sums. */
static void plan_block(planner *p, const tr_vision_config *v, int64_t patches, int64_t inside, float *norm,
                       tr_block_memory *m)
{
    m->rstd1 = floats(p, patches, 1);
    m->qkv = floats(p, patches, 3 * v->hidden);
    m->attention = norm ? norm : floats(p, patches, v->hidden);
    m->lse = norm ? NULL : floats(p, patches, v->heads);
    m->middle = floats(p, patches, v->hidden);
    m->rstd2 = floats(p, patches, 1);
    m->gate = floats(p, inside, v->intermediate);
    m->up = floats(p, inside, v->intermediate);
}

/* What the MLP's backward works in, behind what its forward does. */
static void plan_mlp_backward(planner *p, int64_t intermediate, tr_mlp_memory *m)
{
    m->back = m->kept ? m->act : floats(p, m->rows, intermediate);
    m->dact = floats(p, m->rows, intermediate);
}

/* Attention's working memory grows with segments padded to tiles; small windows pad most. Where their number is not
 * given, the bound takes segments of 12 patches (or 4, where a whole grid is smaller than one window), which no
 * mixture of clipped windows exceeds. */
static int64_t vision_work(const tr_ops *ops, const tr_vision_config *v, const tr_network_limits *limits,
                           tr_error *err)
{
    int64_t unit = limits->largest_grid >= 64 ? 12 : 4, segments = (limits->patches + unit - 1) / unit;
    if (limits->windows) {
        segments = limits->windows;
        unit = limits->patches / segments;
    }
    int32_t *cu = tr_calloc((size_t)segments + 1, sizeof *cu);
    if (!cu) {
        tr_fail(err, TR_MEMORY, NULL, "out of memory while planning");
        return -1;
    }
    for (int64_t i = 1; i <= segments; i++) {
        cu[i] = (int32_t)(i * unit);
    }
    cu[segments] = (int32_t)limits->patches;
    tr_attention_shape shape = {v->heads, v->heads, v->hidden / v->heads, 1};
    int64_t count = ops->segment_attention_work(&shape, cu, segments, limits->train_vision);
    free(cu);
    return count;
}

static void plan_vision_tables(planner *p, const tr_vision_config *v, int64_t patches, tr_vision_memory *m)
{
    const int64_t merged = patches / 4;
    m->windows.index = integers(p, merged, sizeof(int32_t));
    m->windows.cu_window = integers(p, merged + 1, sizeof(int32_t));
    m->windows.cu_full = integers(p, merged + 1, sizeof(int32_t));
    m->windows.coords = integers(p, patches, 2 * sizeof(int32_t));
    m->cos = floats(p, patches, v->hidden / v->heads / 2);
    m->sin = floats(p, patches, v->hidden / v->heads / 2);
}

/* What a forward keeps for the backward, which comes after all of the decoder's work. */
static void plan_vision_kept(planner *p, const tr_vision_config *v, int64_t patches, tr_vision_memory *m)
{
    plan_vision_tables(p, v, patches, m);
    for (int64_t i = 0; i < v->depth; i++) {
        tr_block_memory one = {.in = floats(p, patches, v->hidden)};
        if (m->mlp.kept) {
            plan_block(p, v, patches, patches, NULL, &one);
        }
        if (m->blocks) {
            m->blocks[i] = one;
        }
    }
    m->out = floats(p, patches, v->hidden);
    m->merger_rstd = floats(p, patches, 1);
    m->merger_hidden = floats(p, patches / 4, 4 * v->hidden);
}

/* Every block's pieces but its input are these. Without a backward inputs alternate between two buffers. */
static void plan_vision_shared(planner *p, const tr_vision_config *v, int64_t patches, bool backward,
                               tr_vision_memory *m)
{
    tr_block_memory shared = {0};
    plan_block(p, v, patches, m->mlp.rows, backward ? NULL : m->norm, &shared);
    m->mlp.act = shared.gate;
    m->merger_act = shared.qkv;
    if (!backward) {
        float *in[2] = {floats(p, patches, v->hidden), floats(p, patches, v->hidden)};
        for (int64_t i = 0; m->blocks && i < v->depth; i++) {
            m->blocks[i].in = in[i % 2];
        }
        m->out = in[v->depth % 2];
        m->merger_rstd = floats(p, patches, 1);
        m->merger_hidden = shared.middle;
    }
    for (int64_t i = 0; m->blocks && i < v->depth; i++) {
        shared.in = m->blocks[i].in;
        m->blocks[i] = shared;
    }
}

static tr_status plan_vision(planner *p, const tr_ops *ops, const tr_model_config *config,
                             const tr_network_limits *limits, tr_vision_memory *m, areas *area, tr_error *err)
{
    const tr_vision_config *v = &config->vision;
    const int64_t patches = limits->patches;
    const bool trains = limits->train_vision;
    *area = (areas){p->bytes, p->bytes, p->bytes};
    if (!patches) {
        return TR_OK;
    }
    m->mlp = (tr_mlp_memory){.rows = mlp_rows(p, limits, patches),
                             .kept = trains && limits->recompute == TR_RECOMPUTE_NONE};
    if (trains) {
        plan_vision_kept(p, v, patches, m);
        area->kept = p->bytes;
    } else {
        plan_vision_tables(p, v, patches, m);
    }
    m->norm = floats(p, patches, v->hidden);
    if (m->mlp.kept) {
        m->mlp.act = floats(p, m->mlp.rows, v->intermediate);
        m->merger_act = floats(p, patches / 4, 4 * v->hidden);
    } else {
        plan_vision_shared(p, v, patches, trains, m);
    }
    m->merger_out = floats(p, patches / 4, v->out_hidden);
    m->work_floats = vision_work(ops, v, limits, err);
    m->work = m->work_floats < 0 ? NULL : floats(p, m->work_floats, 1);
    area->forward = p->bytes;
    if (trains) {
        m->dx = floats(p, patches, v->hidden);
        m->dnorm = floats(p, patches, v->hidden);
        m->dqkv = m->dmerger = floats(p, patches, 3 * v->hidden);
        plan_mlp_backward(p, v->intermediate, &m->mlp);
    }
    area->end = p->bytes;
    return m->work_floats < 0 ? TR_MEMORY : TR_OK;
}

/* ---- text ---- */

static void plan_layer(planner *p, const tr_model_config *c, int64_t rows, int64_t inside, float *norm,
                       tr_layer_memory *m)
{
    int64_t wide = c->heads * c->head_dim, narrow = c->kv_heads * c->head_dim;
    m->rstd1 = floats(p, rows, 1);
    m->q = floats(p, rows, wide);
    m->k = floats(p, rows, narrow);
    m->v = floats(p, rows, narrow);
    m->attention = norm ? norm : floats(p, rows, wide);
    m->lse = norm ? NULL : floats(p, rows, c->heads);
    m->middle = floats(p, rows, c->hidden);
    m->rstd2 = floats(p, rows, 1);
    m->gate = floats(p, inside, c->intermediate);
    m->up = floats(p, inside, c->intermediate);
}

/* Each response's keys start a tile of their own: the bound gives every response one tile more than its share. */
static int64_t text_work(const tr_ops *ops, const tr_model_config *c, const tr_network_limits *limits,
                         tr_error *err)
{
    int64_t responses = limits->responses;
    int64_t *starts = tr_calloc((size_t)responses + 1, sizeof *starts);
    if (!starts) {
        tr_fail(err, TR_MEMORY, NULL, "out of memory while planning");
        return -1;
    }
    int64_t each = responses ? (limits->response_tokens + responses - 1) / responses + 64 : 0;
    for (int64_t i = 0; i <= responses; i++) {
        starts[i] = limits->prompt_tokens + i * each;
    }
    tr_attention_shape shape = {c->heads, c->kv_heads, c->head_dim, 1};
    tr_layout layout = {limits->prompt_tokens, responses, starts};
    int64_t count = ops->group_attention_work(&shape, &layout, limits->train_text);
    free(starts);
    return count;
}

static int64_t count_targets(const tr_network_limits *limits)
{
    return largest(limits->targets, limits->response_tokens);
}

/* About 64 MiB, at least 24 rows so that the head's weights are read few times. */
int64_t tr_network_head_tile(const tr_model_config *c, const tr_network_limits *limits)
{
    const int64_t targets = count_targets(limits), fit = (16 << 20) / c->vocab / 12 * 12;
    const int64_t tile = fit < 24 ? 24 : fit > 240 ? 240 : fit;
    return targets && tile > targets ? targets : tile;
}

static void plan_layers(planner *p, const tr_model_config *c, int64_t rows, bool backward, tr_text_memory *m)
{
    tr_layer_memory shared = {0};
    float *in[2] = {NULL, NULL};
    m->norm = floats(p, rows, largest(c->hidden, c->heads * c->head_dim));
    if (!m->mlp.kept) {
        plan_layer(p, c, rows, m->mlp.rows, backward ? NULL : m->norm, &shared);
    }
    m->mlp.act = m->mlp.kept ? floats(p, m->mlp.rows, c->intermediate) : shared.gate;
    for (int64_t i = 0; i <= c->layers; i++) { /* the last layer's output is like an input */
        tr_layer_memory one = shared;
        one.in = backward || i < 2 ? floats(p, rows, c->hidden) : in[i % 2];
        in[i % 2] = one.in;
        if (i == c->layers) {
            m->out = one.in;
            return;
        }
        if (m->mlp.kept) {
            plan_layer(p, c, rows, rows, NULL, &one);
        }
        if (m->layers) {
            m->layers[i] = one;
        }
    }
}

/* The head's logits and what the layers' backward works in are never needed together. */
static void plan_head(planner *p, const tr_model_config *c, const tr_network_limits *limits, tr_text_memory *m,
                      areas *area)
{
    const int64_t rows = limits->prompt_tokens + limits->response_tokens, targets = count_targets(limits);
    const int64_t wide = c->heads * c->head_dim, narrow = c->kv_heads * c->head_dim;
    const uint64_t here = p->bytes;
    m->head_tile = tr_network_head_tile(c, limits);
    m->head_work = floats(p, targets ? m->head_tile : 0, c->vocab);
    area->forward = p->bytes;
    if (!limits->train_text) {
        return;
    }
    go_to(p, here);
    m->dnorm = floats(p, rows, c->hidden);
    m->dattention = floats(p, rows, wide);
    m->dq = floats(p, rows, wide);
    m->dk = floats(p, rows, narrow);
    m->dv = floats(p, rows, narrow);
    plan_mlp_backward(p, c->intermediate, &m->mlp);
    go_to(p, p->bytes < area->forward ? area->forward : p->bytes);
    m->dx = floats(p, rows, c->hidden);
    m->dhidden = floats(p, targets, c->hidden);
    m->dtarget = floats(p, targets, c->hidden);
}

static tr_status plan_text(planner *p, const tr_ops *ops, const tr_model_config *c, const tr_network_limits *limits,
                           tr_text_memory *m, areas *area, tr_error *err)
{
    int64_t rows = limits->prompt_tokens + limits->response_tokens, targets = count_targets(limits);
    *area = (areas){p->bytes, p->bytes, p->bytes};
    if (!rows) {
        return TR_OK;
    }
    m->mlp = (tr_mlp_memory){.rows = mlp_rows(p, limits, rows),
                             .kept = limits->train_text && limits->recompute == TR_RECOMPUTE_NONE};
    m->ids = integers(p, rows, sizeof(int32_t));
    m->positions = integers(p, rows, 3 * sizeof(int32_t));
    m->visual = integers(p, rows, sizeof(int32_t));
    m->starts = integers(p, limits->responses + 1, sizeof(int64_t));
    m->target_rows = integers(p, targets, sizeof(int32_t));
    m->target_ids = integers(p, targets, sizeof(int32_t));
    m->cos = floats(p, rows, c->head_dim / 2);
    m->sin = floats(p, rows, c->head_dim / 2);
    plan_layers(p, c, rows, limits->train_text, m);
    m->target = floats(p, targets, c->hidden);
    m->target_rstd = floats(p, targets, 1);
    m->hidden = floats(p, targets, c->hidden);
    m->lse = floats(p, targets, 1);
    m->entropy = floats(p, targets, 1);
    m->work_floats = text_work(ops, c, limits, err);
    m->work = m->work_floats < 0 ? NULL : floats(p, m->work_floats, 1);
    plan_head(p, c, limits, m, area);
    area->end = p->bytes;
    return m->work_floats < 0 ? TR_MEMORY : TR_OK;
}

/* ---- decoding ---- */

static void plan_kv(planner *p, const tr_model_config *c, int64_t tokens, tr_kv *kv)
{
    int64_t capacity = (tokens + 15) / 16 * 16;
    float *k = floats(p, capacity, c->kv_heads * c->head_dim), *v = floats(p, capacity, c->kv_heads * c->head_dim);
    if (kv) {
        *kv = (tr_kv){capacity, k, v};
    }
}

static void plan_decode(planner *p, const tr_ops *ops, const tr_model_config *c, const tr_network_limits *limits,
                        tr_decode_memory *m)
{
    int64_t rows = limits->decode_rows, wide = c->heads * c->head_dim, narrow = c->kv_heads * c->head_dim;
    for (int64_t i = 0; i < limits->decode_groups * c->layers; i++) {
        plan_kv(p, c, limits->prompt_tokens, m->slots ? &m->slots[i] : NULL);
    }
    for (int64_t i = 0; i < rows * c->layers; i++) {
        plan_kv(p, c, limits->decode_tokens, m->streams ? &m->streams[i] : NULL);
    }
    if (!rows) {
        return;
    }
    m->ids = integers(p, rows, sizeof(int32_t));
    m->positions = integers(p, rows, 3 * sizeof(int32_t));
    m->x = floats(p, rows, c->hidden);
    m->norm = floats(p, rows, c->hidden);
    m->q = floats(p, rows, wide);
    m->k = floats(p, rows, narrow);
    m->v = floats(p, rows, narrow);
    m->attention = floats(p, rows, wide);
    m->gate = floats(p, rows, c->intermediate);
    m->up = floats(p, rows, c->intermediate);
    m->cos = floats(p, rows, c->head_dim / 2);
    m->sin = floats(p, rows, c->head_dim / 2);
    tr_attention_shape shape = {c->heads, c->kv_heads, c->head_dim, 1};
    m->work_floats = ops->decode_attention_work(&shape, rows);
    m->work = floats(p, m->work_floats, 1);
}

/* ---- adapters ---- */

static void plan_adapter(planner *p, const tr_model_config *c, const tr_network_limits *limits,
                         tr_adapter_memory *m)
{
    const int64_t text = limits->prompt_tokens + limits->response_tokens;
    const int64_t rows = largest(text, limits->decode_rows), tile = rows < TR_ADAPTER_ROWS ? rows : TR_ADAPTER_ROWS;
    if (limits->adapter_rank) {
        m->down = floats(p, tile, limits->adapter_rank);
        m->ddown = floats(p, tile, limits->adapter_rank);
        m->up = floats(p, tile, largest(c->intermediate, c->hidden));
    }
}

/* What goes to the host and comes from it, where that is another memory, and what sampling works with there. */
static void plan_edge(planner *p, const tr_ops *ops, const tr_model_config *c, const tr_network_limits *limits,
                      tr_edge *e)
{
    const tr_vision_config *v = &c->vision;
    const int64_t visual = largest(limits->patches / 4, limits->prompt_tokens), targets = count_targets(limits);
    if (!p->apart) {
        return;
    }
    e->patches = floats(p, limits->patches, v->channels * v->temporal_patch * v->patch * v->patch);
    e->features = floats(p, visual, largest(c->hidden, v->out_hidden));
    if (limits->train_text || limits->train_vision) {
        e->dfeatures = floats(p, visual, largest(c->hidden, v->out_hidden));
        e->dlogp = floats(p, targets, 1);
        e->dentropy = floats(p, targets, 1);
    }
    e->logp = floats(p, targets, 1);
    e->logits = floats(p, limits->decode_rows, c->vocab);
    e->sample_floats = limits->decode_rows ? ops->sample_work(c->vocab, limits->decode_rows) : 0;
    e->sample = floats(p, e->sample_floats, 1);
}

/* ---- the whole ---- */

static tr_status plan_all(planner *p, const tr_ops *ops, const tr_model_config *config,
                          const tr_network_limits *limits, tr_network *network, tr_error *err)
{
    tr_network counted = {0};
    tr_network *n = network ? network : &counted;
    if (limits->patches % 4 || limits->patches < 0 || limits->prompt_tokens < 0 || limits->response_tokens < 0 ||
        limits->responses < 0 || limits->decode_rows < 0 || limits->decode_groups < 0 ||
        limits->decode_tokens < 0) {
        return tr_fail(err, TR_INVALID, "network limits", "sizes must not be negative and patches a multiple of 4");
    }
    tr_status status;
    areas vision, text;
    /* What the tower keeps outlives the decoder's work, nothing else does: behind it tower and decoder work in the
     * same memory. Slots and rows of decoding outlive other prompts' forwards, but no backward. */
    TR_TRY(plan_vision(p, ops, config, limits, &n->vision, &vision, err));
    n->lends_at = vision.kept;
    go_to(p, vision.kept);
    TR_TRY(plan_text(p, ops, config, limits, &n->text, &text, err));
    go_to(p, vision.forward > text.forward ? vision.forward : text.forward);
    plan_decode(p, ops, config, limits, &n->decode);
    const uint64_t backward = vision.end > text.end ? vision.end : text.end;
    go_to(p, p->bytes > backward ? p->bytes : backward);
    plan_adapter(p, config, limits, &n->adapter);
    plan_edge(p, ops, config, limits, &n->edge);
    if (!p->apart && p->bytes < vision.kept + limits->lends) {
        go_to(p, vision.kept + limits->lends);
    }
    if (p->overflow) {
        status = tr_fail(err, TR_MEMORY, "network limits", "the working memory of these sizes overflows 64 bits");
    }
done:
    return status;
}

tr_network_limits tr_side_limits(const tr_network_limits *limits)
{
    return (tr_network_limits){.patches = limits->patches,
                               .largest_grid = limits->largest_grid,
                               .windows = limits->windows,
                               .prompt_tokens = limits->prompt_tokens,
                               .decode_rows = 1, /* the row of a prompt's last token */
                               .adapter_rank = limits->adapter_rank};
}

/* The bytes of a network and of its second lane. */
static tr_status plan_both(const tr_ops *ops, bool apart, const tr_model_config *config,
                           const tr_network_limits *limits, uint64_t *bytes, tr_error *err)
{
    planner p = {.apart = apart}, side = {.apart = apart};
    const tr_network_limits other = tr_side_limits(limits);
    tr_status status;
    TR_TRY(plan_all(&p, ops, config, limits, NULL, err));
    if (limits->ahead) {
        TR_TRY(plan_all(&side, ops, config, &other, NULL, err));
    }
done:
    *bytes = p.bytes + side.bytes;
    return status;
}

/* One prompt's keys and values more than those that decode, where the network runs ahead. */
static tr_network_limits with_slots(const tr_network_limits *limits, bool lanes)
{
    tr_network_limits own = *limits;
    own.ahead = limits->ahead && lanes && limits->decode_groups > 0;
    own.decode_groups += own.ahead;
    return own;
}

tr_status tr_network_plan_for(const tr_model_config *config, const tr_network_limits *limits, const tr_ops *ops,
                              uint64_t *bytes, tr_error *err)
{
    const tr_network_limits own = with_slots(limits, !ops->memory->host);
    return plan_both(ops, !ops->memory->host, config, &own, bytes, err);
}

tr_status tr_network_plan_config(const tr_model_config *config, const tr_network_limits *limits, uint64_t *bytes,
                                 tr_error *err)
{
    const tr_ops *ops;
    const tr_network_limits own = with_slots(limits, true);
    tr_status status = tr_ops_cpu(NULL, &ops, err);
    *bytes = 0;
    return status ? status : plan_both(ops, false, config, &own, bytes, err);
}

/* The limits with what the model itself asks for. */
static tr_network_limits own_limits(const tr_model *model, const tr_network_limits *limits)
{
    tr_network_limits own = with_slots(limits, model->ops->memory->lanes != NULL);
    own.adapter_rank = model->lora ? model->lora->rank : 0;
    return own;
}

tr_status tr_network_plan(const tr_model *model, const tr_network_limits *limits, uint64_t *bytes, tr_error *err)
{
    const tr_network_limits own = own_limits(model, limits);
    return plan_both(model->ops, !model->ops->memory->host, &model->config, &own, bytes, err);
}

static tr_status make_tables(tr_network *n, tr_error *err)
{
    const tr_model_config *c = &n->model->config;
    const tr_network_limits *l = &n->limits;
    n->vision.blocks = tr_calloc((size_t)c->vision.depth, sizeof *n->vision.blocks);
    n->text.layers = tr_calloc((size_t)c->layers, sizeof *n->text.layers);
    n->decode.slots = tr_calloc((size_t)(l->decode_groups * c->layers), sizeof *n->decode.slots);
    n->decode.streams = tr_calloc((size_t)(l->decode_rows * c->layers), sizeof *n->decode.streams);
    n->decode.slot_tokens = tr_calloc((size_t)l->decode_groups, sizeof *n->decode.slot_tokens);
    n->decode.slot_next = tr_calloc((size_t)l->decode_groups, sizeof *n->decode.slot_next);
    n->decode.rows = tr_calloc((size_t)l->decode_rows, sizeof *n->decode.rows);
    if (!n->vision.blocks || !n->text.layers || !n->decode.slots || !n->decode.streams || !n->decode.slot_tokens ||
        !n->decode.slot_next || !n->decode.rows) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for the network's tables");
    }
    return TR_OK;
}

/* The blocks behind the arenas. An arena only counts: its block may be any memory. */
static tr_status take_arenas(tr_network *n, tr_error *err)
{
    const tr_memory *memory = n->ops->memory;
    planner p = {.apart = !memory->host};
    void *block = NULL;
    tr_status status;
    TR_TRY(plan_all(&p, n->ops, &n->model->config, &n->limits, NULL, err));
    const uint64_t bytes = p.bytes;
    if (n->lender && (!memory->host || bytes > n->lender->arena.size - n->lender->lends_at)) {
        n->lender = NULL;
    }
    if (n->lender) {
        n->arena = (tr_arena){.block = n->lender->arena.block + n->lender->lends_at, .size = bytes};
        return TR_OK;
    }
    if (memory->host) {
        return tr_arena_init(&n->arena, bytes, err);
    }
    TR_TRY(tr_arena_init(&n->integers, p.integer_bytes, err));
    TR_TRY(memory->take(&block, bytes, false, err));
    n->arena = (tr_arena){.block = block, .size = bytes};
done:
    return status;
}

/* On the CPU it depends on the number of threads, so it is no part of the plan. */
static tr_status take_sample_work(tr_network *n, tr_error *err)
{
    tr_edge *e = &n->edge;
    void *work = NULL;
    tr_status status = TR_OK;
    if (n->ops->memory->host && n->limits.decode_rows) {
        e->sample_floats = n->ops->sample_work(n->model->config.vocab, n->limits.decode_rows);
        status = n->ops->memory->take(&work, (size_t)e->sample_floats * sizeof *e->sample, false, err);
        e->sample = work;
    }
    return status;
}

tr_status tr_network_create_within(tr_model *model, const tr_network_limits *limits, tr_network *lender,
                                   tr_network **network, tr_error *err)
{
    tr_status status;
    *network = NULL;
    tr_network *n = tr_calloc(1, sizeof *n);
    if (!n) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for the network");
    }
    n->model = model;
    n->ops = model->ops;
    n->lender = lender;
    n->limits = own_limits(model, limits);
    n->next.slot = -1;
    TR_TRY(make_tables(n, err));
    TR_TRY(take_arenas(n, err));
    planner p = {.arena = &n->arena, .apart = !n->ops->memory->host, .integers = &n->integers};
    TR_TRY(plan_all(&p, model->ops, &model->config, &n->limits, n, err));
    TR_TRY(take_sample_work(n, err));
    if (n->limits.ahead) {
        TR_TRY(tr_side_create(n, err));
    }
done:
    if (status) {
        tr_network_free(n);
    } else {
        *network = n;
    }
    return status;
}

tr_status tr_network_create(tr_model *model, const tr_network_limits *limits, tr_network **network, tr_error *err)
{
    return tr_network_create_within(model, limits, NULL, network, err);
}

void tr_network_forget_slots(tr_network *n)
{
    for (int64_t i = 0; i < n->limits.decode_groups; i++) {
        n->decode.slot_tokens[i] = 0;
    }
}

void tr_network_free(tr_network *network)
{
    if (network) {
        tr_side_free(network);
        if (network->ops->memory->host) {
            network->ops->memory->give(network->edge.sample);
            if (!network->lender) {
                tr_arena_free(&network->arena);
            }
        } else {
            network->ops->memory->give(network->arena.block);
            tr_arena_free(&network->integers);
        }
        free(network->vision.blocks);
        free(network->text.layers);
        free(network->decode.slots);
        free(network->decode.streams);
        free(network->decode.slot_tokens);
        free(network->decode.slot_next);
        free(network->decode.rows);
        free(network);
    }
}

void tr_network_set_adapter(tr_network *network, tr_adapter_use use)
{
    network->adapter_use = use;
}

void tr_network_set_tap(tr_network *network, tr_network_tap tap, void *context)
{
    network->tap = tap;
    network->tap_context = context;
}
