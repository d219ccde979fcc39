/* decoder_backward.c: the text decoder over a packed group, backward.
 *
 * Walks the layers from the last to the first; with recomputation what a layer's backward reads is made again from
 * its input, which gives the same bits. Parameters without a gradient buffer are frozen and skipped. */
#include "model/network_parts.h"

static void mlp_backward(tr_network *n, const tr_layer_params *p, const tr_layer_memory *m, int64_t rows, float *dx)
{
    const tr_model_config *c = &n->model->config;
    tr_text_memory *s = &n->text;
    const tr_mlp_memory *mlp = &s->mlp;
    const tr_ops *ops = n->ops;
    int64_t h = c->hidden, wide = c->intermediate;
    ops->rmsnorm_forward(s->norm, m->rstd2, m->middle, vector(n, p->norm2), rows, h, c->rms_eps);
    for (int64_t at = 0, some; at < rows; at += some) {
        some = tr_mlp_next(mlp, at, rows);
        const float *norm = s->norm + at * h;
        float *gate = m->gate + (mlp->kept ? at * wide : 0), *up = m->up + (mlp->kept ? at * wide : 0);
        if (!mlp->kept) {
            tr_linear_forward(n, gate, norm, p->gate, -1, some);
            tr_linear_forward(n, up, norm, p->up, -1, some);
        }
        ops->swiglu_forward(mlp->back, gate, up, some * wide);
        tr_linear_backward(n, mlp->dact, false, dx + at * h, mlp->back, p->down, -1, some);
        ops->swiglu_backward_set(gate, up, mlp->dact, gate, up, some * wide);
        tr_linear_backward(n, s->dnorm + at * h, false, gate, norm, p->gate, -1, some);
        tr_linear_backward(n, s->dnorm + at * h, true, up, norm, p->up, -1, some);
    }
    ops->rmsnorm_backward(dx, gradient(n, p->norm2), s->dnorm, m->middle, vector(n, p->norm2), m->rstd2, rows, h);
}

static void attention_backward(tr_network *n, const tr_layer_params *p, const tr_layer_memory *m, int64_t rows,
                               const tr_layout *layout, float *dx)
{
    const tr_model_config *c = &n->model->config;
    tr_text_memory *s = &n->text;
    const tr_ops *ops = n->ops;
    int64_t h = c->hidden, hd = c->head_dim, wide = c->heads * hd, narrow = c->kv_heads * hd;
    tr_attention_shape shape = {c->heads, c->kv_heads, hd, (float)(1.0 / __builtin_sqrt((double)hd))};
    tr_linear_backward(n, s->dattention, false, dx, m->attention, p->o, -1, rows);
    clear(n, s->dq, rows, wide);
    clear(n, s->dk, rows, narrow);
    clear(n, s->dv, rows, narrow);
    ops->group_attention_backward(s->dq, s->dk, s->dv, s->dattention, m->attention, m->lse, m->q, m->k, m->v,
                                  &shape, layout, s->work);
    ops->rope_backward(s->dq, s->cos, s->sin, rows, c->heads, hd, wide);
    ops->rope_backward(s->dk, s->cos, s->sin, rows, c->kv_heads, hd, narrow);
    ops->rmsnorm_forward(s->norm, m->rstd1, m->in, vector(n, p->norm1), rows, h, c->rms_eps);
    tr_linear_backward(n, s->dnorm, false, s->dq, s->norm, p->q, p->q_bias, rows);
    tr_linear_backward(n, s->dnorm, true, s->dk, s->norm, p->k, p->k_bias, rows);
    tr_linear_backward(n, s->dnorm, true, s->dv, s->norm, p->v, p->v_bias, rows);
    ops->rmsnorm_backward(dx, gradient(n, p->norm1), s->dnorm, m->in, vector(n, p->norm1), m->rstd1, rows, h);
}

/* From the targets' log-probs to dx at the last layer's output. Rows that predict several targets (the prompt's
 * last one predicts every response's first token) add up in the order of the targets. */
static void head_backward(tr_network *n, const float *dlogp, const float *dentropy, int64_t rows)
{
    const tr_model_config *c = &n->model->config;
    const tr_params *p = &n->model->params;
    tr_text_memory *m = &n->text;
    int64_t targets = n->kept_targets, h = c->hidden;
    dlogp = tr_edge_in(n->ops, n->edge.dlogp, dlogp, targets);
    dentropy = tr_edge_in(n->ops, n->edge.dentropy, dentropy, targets);
    clear(n, m->dhidden, targets, h);
    n->ops->head_backward(m->dhidden, gradient(n, p->head), m->hidden, matrix(n, p->head), m->target_ids, dlogp,
                          dentropy, m->lse, m->entropy, targets, n->kept_temperature, m->head_tile, m->head_work);
    clear(n, m->dtarget, targets, h);
    n->ops->rmsnorm_backward(m->dtarget, gradient(n, p->norm), m->dhidden, m->target, vector(n, p->norm),
                             m->target_rstd, targets, h);
    clear(n, m->dx, rows, h);
    n->ops->rows_add(m->dx, m->dtarget, m->target_rows, targets, h);
}

tr_status tr_network_group_backward(tr_network *n, const tr_group *group, const float *dlogp, const float *dentropy,
                                    float *dfeatures, tr_error *err)
{
    const tr_model_config *c = &n->model->config;
    tr_text_memory *m = &n->text;
    if (!n->kept_group || n->kept_group != group->prompt_ids) {
        return tr_fail(err, TR_INVALID, "group",
                       "backward needs the activations of a forward with keep of the same group");
    }
    n->kept_group = NULL;
    tr_network_forget_slots(n);
    int64_t rows = n->kept_rows;
    tr_layout layout = {group->prompt, group->responses, m->starts};
    bool text = gradient(n, n->model->params.embed) != NULL; /* the decoder trains as a whole or not at all */
    const tr_lora *lora = n->model->lora;                    /* its adapter: the layers that have one */
    const int64_t lowest = text || dfeatures ? 0 : lora ? lora->first : c->layers;
    head_backward(n, dlogp, dentropy, rows);
    bool recompute = n->limits.recompute == TR_RECOMPUTE_LAYER;
    for (int64_t i = c->layers - 1; i >= lowest; i--) {
        if (recompute && i < c->layers - 1) { /* the last one's are still there */
            tr_decoder_layer_again(n, i, &layout);
        }
        mlp_backward(n, &n->model->params.layers[i], &m->layers[i], rows, m->dx);
        attention_backward(n, &n->model->params.layers[i], &m->layers[i], rows, &layout, m->dx);
    }
    if (text) {
        n->ops->embedding_backward(gradient(n, n->model->params.embed), m->dx, m->ids, rows, c->vocab, c->hidden);
    }
    if (dfeatures && group->visual_tokens) {
        float *to = tr_edge_out(n->ops, n->edge.dfeatures, dfeatures);
        n->ops->rows_gather(to, m->dx, m->visual, group->visual_tokens, c->hidden);
        tr_edge_done(n->ops, dfeatures, to, group->visual_tokens * c->hidden);
    }
    return n->ops->memory->check(err);
}
