/* vision.c: the vision tower, forward and backward (spec section 3).
 *
 * The whole tower works in window order: patches are permuted once after the patch embedding and the merged tokens
 * put back once at the end. P patches, M = P/4 merged tokens, D width, I intermediate width. */
#include "model/network_parts.h"

static const float norm_eps = 1e-6f; /* hard-coded in the reference */

static tr_attention_shape shape_of(const tr_vision_config *v)
{
    int64_t head_dim = v->hidden / v->heads;
    return (tr_attention_shape){v->heads, v->heads, head_dim, (float)(1.0 / __builtin_sqrt((double)head_dim))};
}

/* Values of one patch. */
static int64_t patch_inputs(const tr_vision_config *v)
{
    return v->channels * v->temporal_patch * v->patch * v->patch;
}

static bool is_full(const tr_vision_config *v, int64_t block)
{
    for (int64_t i = 0; i < v->full_block_count; i++) {
        if (v->full_blocks[i] == block) {
            return true;
        }
    }
    return false;
}

/* The segments that a block attends within. */
static const int32_t *segments_of(const tr_network *n, int64_t block, int64_t *count)
{
    const tr_windows *w = &n->vision.windows;
    bool full = is_full(&n->model->config.vision, block);
    *count = full ? w->grids : w->windows;
    return full ? w->cu_full : w->cu_window;
}

/* Up to what the MLP reads besides its weights: middle. */
static void attention_forward(tr_network *n, int64_t index, int64_t rows)
{
    const tr_vision_config *v = &n->model->config.vision;
    const tr_block_params *p = &n->model->params.blocks[index];
    const tr_block_memory *m = &n->vision.blocks[index];
    const tr_ops *ops = n->ops;
    int64_t d = v->hidden, segments;
    tr_attention_shape shape = shape_of(v);
    const int32_t *cu = segments_of(n, index, &segments);
    float *norm = n->vision.norm;

    ops->rmsnorm_forward(norm, m->rstd1, m->in, vector(n, p->norm1), rows, d, norm_eps);
    ops->linear_forward(m->qkv, norm, matrix(n, p->qkv), vector(n, p->qkv_bias), rows);
    ops->rope_forward(m->qkv, n->vision.cos, n->vision.sin, rows, v->heads, shape.head_dim, 3 * d);
    ops->rope_forward(m->qkv + d, n->vision.cos, n->vision.sin, rows, v->heads, shape.head_dim, 3 * d);
    ops->segment_attention_forward(m->attention, m->lse, m->qkv, m->qkv + d, m->qkv + 2 * d, 3 * d, &shape, cu,
                                   segments, n->vision.work);
    ops->linear_forward(m->middle, m->attention, matrix(n, p->proj), vector(n, p->proj_bias), rows);
    ops->add(m->middle, m->in, rows * d);
}

/* gate and up of some rows of the MLP. */
static void mlp_open(tr_network *n, const tr_block_params *p, float *gate, float *up, const float *norm,
                     int64_t rows)
{
    n->ops->linear_forward(gate, norm, matrix(n, p->gate), vector(n, p->gate_bias), rows);
    n->ops->linear_forward(up, norm, matrix(n, p->up), vector(n, p->up_bias), rows);
}

static void mlp_forward(tr_network *n, int64_t index, int64_t rows, float *out)
{
    const tr_vision_config *v = &n->model->config.vision;
    const tr_block_params *p = &n->model->params.blocks[index];
    const tr_block_memory *m = &n->vision.blocks[index];
    const tr_mlp_memory *mlp = &n->vision.mlp;
    const tr_ops *ops = n->ops;
    int64_t d = v->hidden, wide = v->intermediate;
    float *norm = n->vision.norm;
    ops->rmsnorm_forward(norm, m->rstd2, m->middle, vector(n, p->norm2), rows, d, norm_eps);
    for (int64_t at = 0, some; at < rows; at += some) {
        some = tr_mlp_next(mlp, at, rows);
        float *gate = m->gate + (mlp->kept ? at * wide : 0), *up = m->up + (mlp->kept ? at * wide : 0);
        mlp_open(n, p, gate, up, norm + at * d, some);
        ops->swiglu_forward(mlp->act, gate, up, some * wide);
        ops->linear_forward(out + at * d, mlp->act, matrix(n, p->down), vector(n, p->down_bias), some);
    }
    ops->add(out, m->middle, rows * d);
}

static void block_forward(tr_network *n, int64_t index, int64_t rows, float *out)
{
    const tr_block_params *p = &n->model->params.blocks[index];
    tr_params_need(&n->model->params, p->norm1, p->down_bias + 1);
    attention_forward(n, index, rows);
    mlp_forward(n, index, rows, out);
    tr_params_release(&n->model->params, p->norm1, p->down_bias + 1);
}

/* dx: in d(out), out d(middle). */
static void mlp_backward(tr_network *n, int64_t index, int64_t rows, float *dx)
{
    const tr_vision_config *v = &n->model->config.vision;
    const tr_block_params *p = &n->model->params.blocks[index];
    const tr_block_memory *m = &n->vision.blocks[index];
    tr_vision_memory *s = &n->vision;
    const tr_mlp_memory *mlp = &s->mlp;
    const tr_ops *ops = n->ops;
    int64_t d = v->hidden, wide = v->intermediate;
    ops->rmsnorm_forward(s->norm, m->rstd2, m->middle, vector(n, p->norm2), rows, d, norm_eps);
    for (int64_t at = 0, some; at < rows; at += some) {
        some = tr_mlp_next(mlp, at, rows);
        const float *norm = s->norm + at * d, *dy = dx + at * d;
        float *gate = m->gate + (mlp->kept ? at * wide : 0), *up = m->up + (mlp->kept ? at * wide : 0);
        if (!mlp->kept) {
            mlp_open(n, p, gate, up, norm, some);
        }
        ops->swiglu_forward(mlp->back, gate, up, some * wide);
        ops->linear_backward_input(mlp->dact, dy, matrix(n, p->down), some, false);
        ops->linear_backward_weight(gradient(n, p->down), gradient(n, p->down_bias), dy, mlp->back, some, d, wide);
        ops->swiglu_backward_set(gate, up, mlp->dact, gate, up, some * wide);
        ops->linear_backward_input(s->dnorm + at * d, gate, matrix(n, p->gate), some, false);
        ops->linear_backward_input(s->dnorm + at * d, up, matrix(n, p->up), some, true);
        ops->linear_backward_weight(gradient(n, p->gate), gradient(n, p->gate_bias), gate, norm, some, wide, d);
        ops->linear_backward_weight(gradient(n, p->up), gradient(n, p->up_bias), up, norm, some, wide, d);
    }
    ops->rmsnorm_backward(dx, gradient(n, p->norm2), s->dnorm, m->middle, vector(n, p->norm2), m->rstd2, rows, d);
}

/* dx: in d(middle), out d(in). */
static void attention_backward(tr_network *n, int64_t index, int64_t rows, float *dx)
{
    const tr_vision_config *v = &n->model->config.vision;
    const tr_block_params *p = &n->model->params.blocks[index];
    const tr_block_memory *m = &n->vision.blocks[index];
    tr_vision_memory *s = &n->vision;
    const tr_ops *ops = n->ops;
    int64_t d = v->hidden, segments;
    tr_attention_shape shape = shape_of(v);
    const int32_t *cu = segments_of(n, index, &segments);

    ops->linear_backward_input(s->dnorm, dx, matrix(n, p->proj), rows, false); /* now d(attention) */
    ops->linear_backward_weight(gradient(n, p->proj), gradient(n, p->proj_bias), dx, m->attention, rows, d, d);
    clear(n, s->dqkv, rows, 3 * d);
    ops->segment_attention_backward(s->dqkv, s->dqkv + d, s->dqkv + 2 * d, s->dnorm, m->attention, m->lse, m->qkv,
                                    m->qkv + d, m->qkv + 2 * d, 3 * d, &shape, cu, segments, s->work);
    ops->rope_backward(s->dqkv, s->cos, s->sin, rows, v->heads, shape.head_dim, 3 * d);
    ops->rope_backward(s->dqkv + d, s->cos, s->sin, rows, v->heads, shape.head_dim, 3 * d);
    ops->linear_backward_input(s->dnorm, s->dqkv, matrix(n, p->qkv), rows, false);
    ops->rmsnorm_forward(s->norm, m->rstd1, m->in, vector(n, p->norm1), rows, d, norm_eps);
    ops->linear_backward_weight(gradient(n, p->qkv), gradient(n, p->qkv_bias), s->dqkv, s->norm, rows, 3 * d, d);
    ops->rmsnorm_backward(dx, gradient(n, p->norm1), s->dnorm, m->in, vector(n, p->norm1), m->rstd1, rows, d);
}

static void merger_forward(tr_network *n, int64_t rows, float *features)
{
    const tr_vision_config *v = &n->model->config.vision;
    const tr_params *p = &n->model->params;
    tr_vision_memory *m = &n->vision;
    const tr_ops *ops = n->ops;
    int64_t merged = rows / 4, wide = 4 * v->hidden;
    ops->rmsnorm_forward(m->norm, m->merger_rstd, m->out, vector(n, p->merger_norm), rows, v->hidden, norm_eps);
    ops->linear_forward(m->merger_hidden, m->norm, matrix(n, p->merger_fc1), vector(n, p->merger_fc1_bias), merged);
    ops->gelu_forward(m->merger_act, m->merger_hidden, merged * wide);
    ops->linear_forward(m->merger_out, m->merger_act, matrix(n, p->merger_fc2), vector(n, p->merger_fc2_bias),
                        merged);
    tr_tap(n, "merger", -1, m->merger_out, merged, v->out_hidden);
    ops->rows_scatter(features, m->merger_out, m->windows.index, merged, v->out_hidden);
    tr_tap(n, "features", -1, features, merged, v->out_hidden);
}

static tr_status check_visual(const tr_network *n, const tr_visual *visual, tr_error *err)
{
    if (visual->rows > n->limits.patches) {
        return tr_fail(err, TR_MEMORY, "vision", "a clip has %lld patches, the network was planned for %lld",
                       (long long)visual->rows, (long long)n->limits.patches);
    }
    if (!visual->patches || visual->rows < 4) {
        return tr_fail(err, TR_INVALID, "vision", "a clip without patches");
    }
    return TR_OK;
}

static tr_status check_work(const tr_network *n, tr_error *err)
{
    tr_attention_shape shape = shape_of(&n->model->config.vision);
    const tr_windows *w = &n->vision.windows;
    int64_t a = n->ops->segment_attention_work(&shape, w->cu_window, w->windows, n->limits.train_vision);
    int64_t b = n->ops->segment_attention_work(&shape, w->cu_full, w->grids, n->limits.train_vision);
    int64_t need = a > b ? a : b;
    if (need > n->vision.work_floats) {
        return tr_fail(err, TR_MEMORY, "vision",
                       "attention needs %lld floats of working memory, %lld were planned; raise limits.patches",
                       (long long)need, (long long)n->vision.work_floats);
    }
    return TR_OK;
}

/* The caller's patches where the operations read them. */
static const float *patches_in(tr_network *n, const tr_visual *visual)
{
    const int64_t count = visual->rows * patch_inputs(&n->model->config.vision);
    if (n->pinned_patches && visual->patches == n->pinned_patches) {
        n->ops->memory->lanes->send(n->edge.patches, visual->patches, (size_t)count * sizeof(float));
        n->ops->memory->lanes->mark(n->patches_sent);
        return n->edge.patches;
    }
    return tr_edge_in(n->ops, n->edge.patches, visual->patches, count);
}

/* Patch embedding and permutation into window order: blocks[0].in. */
static void embed_patches(tr_network *n, const tr_visual *visual)
{
    const tr_vision_config *v = &n->model->config.vision;
    tr_vision_memory *m = &n->vision;
    const float *patches = patches_in(n, visual);
    n->ops->linear_forward(m->norm, patches, matrix(n, n->model->params.patch), NULL, visual->rows);
    tr_tap(n, "patch_embed", -1, m->norm, visual->rows, v->hidden);
    n->ops->rows_gather(m->blocks[0].in, m->norm, m->windows.index, visual->rows / 4, 4 * v->hidden);
}

tr_status tr_vision_run(tr_network *n, const tr_visual *visual, bool keep, float *out, tr_error *err)
{
    const tr_vision_config *v = &n->model->config.vision;
    tr_vision_memory *m = &n->vision;
    tr_status status;
    TR_TRY(check_visual(n, visual, err));
    if (keep && !n->limits.train_vision) {
        return tr_fail(err, TR_INVALID, "vision",
                       "activations cannot be kept: the network was not planned to train vision");
    }
    n->kept_group = NULL; /* the decoder's memory is written over */
    tr_network_borrow(n);
    TR_TRY(tr_windows_build(v, visual->grids, visual->grid_count, visual->rows, &m->windows, err));
    TR_TRY(check_work(n, err));
    n->ops->rope_vision_table(m->cos, m->sin, m->windows.coords, visual->rows, v->hidden / v->heads, 10000.0);
    embed_patches(n, visual);
    for (int64_t i = 0; i < v->depth; i++) {
        float *next = i + 1 < v->depth ? m->blocks[i + 1].in : m->out;
        block_forward(n, i, visual->rows, next);
        tr_tap(n, "block", (int)i, next, visual->rows, v->hidden);
    }
    merger_forward(n, visual->rows, out);
    n->kept_visual = keep ? visual->patches : NULL;
done:
    return status;
}

tr_status tr_network_vision_forward(tr_network *n, const tr_visual *visual, bool keep, float *features,
                                    tr_error *err)
{
    float *out = tr_edge_out(n->ops, n->edge.features, features);
    tr_status status = tr_vision_run(n, visual, keep, out, err);
    if (status) {
        return status;
    }
    tr_edge_done(n->ops, features, out, visual->rows / 4 * n->model->config.vision.out_hidden);
    return n->ops->memory->check(err);
}

/* d(features) -> dx, the gradient at the last block's output; *reached false when nothing below is trainable. */
static void merger_backward(tr_network *n, int64_t rows, const float *dfeatures, bool below)
{
    const tr_vision_config *v = &n->model->config.vision;
    const tr_params *p = &n->model->params;
    tr_vision_memory *m = &n->vision;
    const tr_ops *ops = n->ops;
    int64_t merged = rows / 4, wide = 4 * v->hidden, out = v->out_hidden;
    float *dout = m->merger_out; /* its values are not needed any more */
    ops->rows_gather(dout, dfeatures, m->windows.index, merged, out);
    ops->gelu_forward(m->merger_act, m->merger_hidden, merged * wide);
    ops->linear_backward_input(m->dmerger, dout, matrix(n, p->merger_fc2), merged, false);
    ops->linear_backward_weight(gradient(n, p->merger_fc2), gradient(n, p->merger_fc2_bias), dout, m->merger_act,
                                merged, out, wide);
    ops->gelu_backward_set(m->dmerger, m->dmerger, m->merger_hidden, merged * wide);
    ops->rmsnorm_forward(m->norm, m->merger_rstd, m->out, vector(n, p->merger_norm), rows, v->hidden, norm_eps);
    ops->linear_backward_weight(gradient(n, p->merger_fc1), gradient(n, p->merger_fc1_bias), m->dmerger, m->norm,
                                merged, wide, wide);
    if (!below && !gradient(n, p->merger_norm)) {
        return;
    }
    ops->linear_backward_input(m->dnorm, m->dmerger, matrix(n, p->merger_fc1), merged, false);
    clear(n, m->dx, rows, v->hidden);
    ops->rmsnorm_backward(m->dx, gradient(n, p->merger_norm), m->dnorm, m->out, vector(n, p->merger_norm),
                          m->merger_rstd, rows, v->hidden);
}

tr_status tr_network_vision_backward(tr_network *n, const tr_visual *visual, const float *dfeatures, tr_error *err)
{
    const tr_vision_config *v = &n->model->config.vision;
    tr_vision_memory *m = &n->vision;
    if (n->kept_visual != visual->patches || !n->kept_visual) {
        return tr_fail(err, TR_INVALID, "vision",
                       "backward needs the activations of a forward with keep of the same clip");
    }
    n->kept_visual = NULL;
    n->kept_group = NULL; /* the decoder's memory is written over */
    tr_network_forget_slots(n);
    bool below = gradient(n, n->model->params.patch) != NULL; /* the tower trains as a whole or not at all */
    merger_backward(n, visual->rows,
                    tr_edge_in(n->ops, n->edge.dfeatures, dfeatures, visual->rows / 4 * v->out_hidden), below);
    if (!below) {
        return n->ops->memory->check(err);
    }
    bool recompute = n->limits.recompute == TR_RECOMPUTE_LAYER;
    for (int64_t i = v->depth - 1; i >= 0; i--) {
        if (recompute) {
            attention_forward(n, i, visual->rows);
        }
        mlp_backward(n, i, visual->rows, m->dx);
        attention_backward(n, i, visual->rows, m->dx);
    }
    n->ops->rows_scatter(m->dnorm, m->dx, m->windows.index, visual->rows / 4, 4 * v->hidden);
    const float *patches = patches_in(n, visual);
    n->ops->linear_backward_weight(gradient(n, n->model->params.patch), NULL, m->dnorm, patches, visual->rows,
                                   v->hidden, patch_inputs(v));
    return n->ops->memory->check(err);
}
