/* decode.c: prefill into slots, and one token at a time for many responses (the KV cache's path).
 *
 * The same operations in the same order as the packed forward, a row at a time: the logits of a row have the same
 * bits whatever else is decoded with it. */
#include "model/network_parts.h"

tr_status tr_prefill_run(tr_network *n, tr_network *owner, int64_t slot, const tr_group *prompt, float *logits,
                         tr_error *err)
{
    const tr_model_config *c = &n->model->config;
    tr_text_memory *m = &n->text;
    if (slot < 0 || slot >= owner->limits.decode_groups) {
        return tr_fail(err, TR_INVALID, "prefill", "slot %lld; the network was planned for %lld", (long long)slot,
                       (long long)owner->limits.decode_groups);
    }
    tr_group alone = *prompt;
    alone.responses = 0;
    alone.prompt_targets = NULL;
    tr_layout layout;
    n->kept_group = NULL; /* the layers' memory is written over */
    tr_network_borrow(n);
    tr_status status = tr_decoder_prepare(n, &alone, &layout, err);
    if (status) {
        return status;
    }
    tr_decoder_forward(n, &alone, &layout, owner->decode.slots + slot * c->layers);
    owner->decode.slot_tokens[slot] = prompt->prompt;
    int32_t next = 0;
    for (int64_t i = 0; i < 3 * prompt->prompt; i++) {
        next = m->positions[i] >= next ? m->positions[i] + 1 : next;
    }
    owner->decode.slot_next[slot] = next;
    float *hidden = n->decode.norm;
    n->ops->rmsnorm_forward(hidden, NULL, m->out + (prompt->prompt - 1) * c->hidden,
                            vector(n, n->model->params.norm), 1, c->hidden, c->rms_eps);
    n->ops->linear_forward(logits, hidden, matrix(n, n->model->params.head), NULL, 1);
    return TR_OK;
}

/* Where the logits come to lie; NULL: nowhere, which is the caller's mistake. */
static float *logits_of(const tr_network *n, float *logits)
{
    return n->ops->memory->host ? logits : n->edge.logits;
}

tr_status tr_network_prefill(tr_network *n, int64_t slot, const tr_group *prompt, float *logits, tr_error *err)
{
    float *out = logits_of(n, logits);
    tr_status status = tr_prefill_run(n, n, slot, prompt, out, err);
    if (status) {
        return status;
    }
    tr_edge_done(n->ops, logits, out, n->model->config.vocab);
    return n->ops->memory->check(err);
}

static tr_status check_rows(const tr_network *n, const int64_t *streams, const int64_t *slots, const int64_t *index,
                            const int32_t *tokens, int64_t rows, const float *out, tr_error *err)
{
    const tr_network_limits *l = &n->limits;
    if (rows < 1 || rows > l->decode_rows || !out) {
        return tr_fail(err, TR_INVALID, "decode", "%lld rows%s; the network was planned for %lld", (long long)rows,
                       out ? "" : " without memory for their logits", (long long)l->decode_rows);
    }
    for (int64_t i = 0; i < rows; i++) {
        if (streams[i] < 0 || streams[i] >= l->decode_rows || slots[i] < 0 || slots[i] >= l->decode_groups ||
            index[i] < 0 || index[i] >= l->decode_tokens || tokens[i] < 0 || tokens[i] >= n->model->config.vocab) {
            return tr_fail(
                err, TR_INVALID, "decode",
                "row %lld: stream %lld, slot %lld, index %lld, token %d outside of the planned %lld, %lld, %lld",
                (long long)i, (long long)streams[i], (long long)slots[i], (long long)index[i], tokens[i],
                (long long)l->decode_rows, (long long)l->decode_groups, (long long)l->decode_tokens);
        }
        if (!n->decode.slot_tokens[slots[i]]) {
            return tr_fail(err, TR_INVALID, "decode",
                           "row %lld: slot %lld holds no prompt: prefill it first, and again after a backward",
                           (long long)i, (long long)slots[i]);
        }
    }
    return TR_OK;
}

static void layer(tr_network *n, int64_t index, const int64_t *streams, const int64_t *slots, const int64_t *at,
                  int64_t rows)
{
    const tr_model_config *c = &n->model->config;
    const tr_layer_params *p = &n->model->params.layers[index];
    tr_decode_memory *m = &n->decode;
    const tr_ops *ops = n->ops;
    int64_t hd = c->head_dim, wide = c->heads * hd, narrow = c->kv_heads * hd;
    tr_attention_shape shape = {c->heads, c->kv_heads, hd, (float)(1.0 / __builtin_sqrt((double)hd))};
    ops->rmsnorm_forward(m->norm, NULL, m->x, vector(n, p->norm1), rows, c->hidden, c->rms_eps);
    tr_linear_forward(n, m->q, m->norm, p->q, p->q_bias, rows);
    tr_linear_forward(n, m->k, m->norm, p->k, p->k_bias, rows);
    tr_linear_forward(n, m->v, m->norm, p->v, p->v_bias, rows);
    ops->rope_forward(m->q, m->cos, m->sin, rows, c->heads, hd, wide);
    ops->rope_forward(m->k, m->cos, m->sin, rows, c->kv_heads, hd, narrow);
    for (int64_t i = 0; i < rows; i++) {
        tr_kv *stream = &m->streams[streams[i] * c->layers + index];
        m->rows[i] = (tr_decode_row){.prompt = &m->slots[slots[i] * c->layers + index],
                                     .response = stream,
                                     .prompt_tokens = m->slot_tokens[slots[i]],
                                     .response_tokens = at[i] + 1};
    }
    ops->kv_append(m->rows, m->k, m->v, rows, &shape);
    ops->decode_attention_forward(m->attention, m->q, m->rows, rows, &shape, m->work);
    /* y = W o + x as in the packed forward: the product first, then the residual */
    tr_linear_forward(n, m->norm, m->attention, p->o, -1, rows);
    ops->add(m->norm, m->x, rows * c->hidden);
    ops->memory->copy(m->x, m->norm, (size_t)(rows * c->hidden) * sizeof *m->x);
    ops->rmsnorm_forward(m->norm, NULL, m->x, vector(n, p->norm2), rows, c->hidden, c->rms_eps);
    tr_linear_forward(n, m->gate, m->norm, p->gate, -1, rows);
    tr_linear_forward(n, m->up, m->norm, p->up, -1, rows);
    ops->swiglu_forward(m->gate, m->gate, m->up, rows * c->intermediate);
    tr_linear_forward(n, m->norm, m->gate, p->down, -1, rows);
    ops->add(m->norm, m->x, rows * c->hidden);
    ops->memory->copy(m->x, m->norm, (size_t)(rows * c->hidden) * sizeof *m->x);
}

/* All of a step's operations up to the logits. */
static void forward(tr_network *n, const int64_t *streams, const int64_t *slots, const int64_t *index,
                    const int32_t *tokens, int64_t rows, float *out)
{
    const tr_model_config *c = &n->model->config;
    tr_decode_memory *m = &n->decode;
    for (int64_t i = 0; i < rows; i++) {
        m->ids[i] = tokens[i];
        for (int64_t axis = 0; axis < 3; axis++) {
            m->positions[axis * rows + i] = m->slot_next[slots[i]] + (int32_t)index[i];
        }
    }
    n->ops->rope_mrope_table(m->cos, m->sin, m->positions, rows, c->head_dim, c->mrope_sections, c->rope_theta);
    n->ops->embedding_forward(m->x, m->ids, matrix(n, n->model->params.embed), rows);
    for (int64_t i = 0; i < c->layers; i++) {
        layer(n, i, streams, slots, index, rows);
    }
    n->ops->rmsnorm_forward(m->norm, NULL, m->x, vector(n, n->model->params.norm), rows, c->hidden, c->rms_eps);
    n->ops->linear_forward(out, m->norm, matrix(n, n->model->params.head), NULL, rows);
}

tr_status tr_network_decode(tr_network *n, const int64_t *streams, const int64_t *slots, const int64_t *index,
                            const int32_t *tokens, int64_t rows, float *logits, tr_error *err)
{
    float *out = logits_of(n, logits);
    tr_status status = check_rows(n, streams, slots, index, tokens, rows, out, err);
    if (status) {
        return status;
    }
    forward(n, streams, slots, index, tokens, rows, out);
    tr_edge_done(n->ops, logits, out, rows * n->model->config.vocab);
    return n->ops->memory->check(err);
}

static void sample(tr_network *n, const float *logits, bool shared, const tr_draw *draws, int64_t rows,
                   const tr_sampling *sampling, tr_sampled *sampled)
{
    n->ops->sample(sampled, logits, shared, draws, rows, n->model->config.vocab, sampling, n->edge.sample,
                   n->edge.sample_floats);
}

tr_status tr_network_sample(tr_network *n, const float *logits, bool shared, const tr_draw *draws, int64_t rows,
                            const tr_sampling *sampling, tr_sampled *sampled, tr_error *err)
{
    const float *from = n->ops->memory->host ? logits : n->edge.logits;
    if (!from || rows < 1 || rows > n->limits.decode_rows) {
        return tr_fail(err, TR_INVALID, "sampling", "%lld rows of logits; the network was planned for 1 to %lld",
                       (long long)(from ? rows : 0), (long long)n->limits.decode_rows);
    }
    sample(n, from, shared, draws, rows, sampling, sampled);
    return n->ops->memory->check(err);
}

tr_status tr_network_step(tr_network *n, const int64_t *streams, const int64_t *slots, const int64_t *index,
                          const int32_t *tokens, int64_t rows, float *logits, const tr_draw *draws,
                          const tr_sampling *sampling, tr_sampled *sampled, tr_error *err)
{
    float *out = logits_of(n, logits);
    tr_status status = check_rows(n, streams, slots, index, tokens, rows, out, err);
    if (status) {
        return status;
    }
    if (n->ops->memory->collect) {
        n->ops->memory->collect();
    }
    forward(n, streams, slots, index, tokens, rows, out);
    sample(n, out, false, draws, rows, sampling, sampled);
    return n->ops->memory->check(err);
}
