/* decoder.c: the text decoder over a packed group, forward (spec section 5).
 *
 * Rows: the prompt, then all response tokens. N rows, H width, KV = kv_heads * head_dim, I intermediate, T targets.
 * Logits exist only for targets, a tile at a time (ops->head_forward). */
#include "model/network_parts.h"

static tr_attention_shape shape_of(const tr_model_config *c)
{
    return (tr_attention_shape){c->heads, c->kv_heads, c->head_dim,
                                (float)(1.0 / __builtin_sqrt((double)c->head_dim))};
}

/* ---- preparation ---- */

static tr_status check_sizes(const tr_network *n, const tr_group *group, int64_t tokens, tr_error *err)
{
    const tr_network_limits *l = &n->limits;
    if (group->prompt < 1 || group->prompt > l->prompt_tokens || tokens > l->response_tokens ||
        group->responses > l->responses) {
        return tr_fail(
            err, TR_MEMORY, "group",
            "%lld prompt tokens, %lld responses of %lld tokens; the network was planned for %lld, %lld, %lld",
            (long long)group->prompt, (long long)group->responses, (long long)tokens, (long long)l->prompt_tokens,
            (long long)l->responses, (long long)l->response_tokens);
    }
    return TR_OK;
}

/* Ids of the rows; placeholders become -1 (their rows come from the features) and are listed in text.visual. */
static tr_status fill_ids(tr_network *n, const tr_group *group, int64_t tokens, tr_error *err)
{
    const tr_model_config *c = &n->model->config;
    tr_text_memory *m = &n->text;
    int64_t visual = 0;
    for (int64_t i = 0; i < group->prompt + tokens; i++) {
        int32_t id = i < group->prompt ? group->prompt_ids[i] : group->response_ids[i - group->prompt];
        if (id < 0 || id >= c->vocab) {
            return tr_fail(err, TR_INVALID, "group", "token %lld has the id %d, the vocabulary %lld rows",
                           (long long)i, id, (long long)c->vocab);
        }
        bool placeholder = id == c->image_id || id == c->video_id;
        if (placeholder && i >= group->prompt) {
            return tr_fail(err, TR_INVALID, "group", "response token %lld is an image or video placeholder",
                           (long long)(i - group->prompt));
        }
        if (placeholder) {
            m->visual[visual++] = (int32_t)i;
        }
        m->ids[i] = placeholder ? -1 : id;
    }
    if (visual != group->visual_tokens || (visual && !group->features)) {
        return tr_fail(err, TR_MISMATCH, "group",
                       "the prompt has %lld image and video tokens, the features %lld rows", (long long)visual,
                       (long long)(group->features ? group->visual_tokens : 0));
    }
    return TR_OK;
}

/* Positions of all rows: the prompt's as given, each response's from the prompt's largest + 1 on. */
static void fill_positions(tr_network *n, const tr_group *group, int64_t rows)
{
    int32_t *positions = n->text.positions, next = 0;
    for (int64_t axis = 0; axis < 3; axis++) {
        for (int64_t i = 0; i < group->prompt; i++) {
            int32_t id = group->positions[axis * group->prompt + i];
            positions[axis * rows + i] = id;
            next = id >= next ? id + 1 : next;
        }
    }
    for (int64_t r = 0, at = group->prompt; r < group->responses; r++) {
        for (int64_t j = 0; j < group->lengths[r]; j++, at++) {
            for (int64_t axis = 0; axis < 3; axis++) {
                positions[axis * rows + at] = next + (int32_t)j;
            }
        }
    }
}

static tr_status check_targets(const tr_network *n, const tr_group *group, tr_error *err)
{
    for (int64_t i = 0; group->prompt_targets && i < group->prompt; i++) {
        if (group->prompt_targets[i] < -1 || group->prompt_targets[i] >= n->model->config.vocab) {
            return tr_fail(err, TR_INVALID, "group",
                           "prompt token %lld predicts the id %d, the vocabulary has %lld rows", (long long)i,
                           group->prompt_targets[i], (long long)n->model->config.vocab);
        }
    }
    return TR_OK;
}

/* Which row predicts which id: prompt targets first, then the response tokens; returns their number. */
static int64_t fill_targets(tr_network *n, const tr_group *group)
{
    tr_text_memory *m = &n->text;
    int64_t count = 0;
    for (int64_t i = 0; group->prompt_targets && i < group->prompt; i++, count++) {
        m->target_rows[count] = (int32_t)i;
        m->target_ids[count] = group->prompt_targets[i];
    }
    for (int64_t r = 0, token = 0; r < group->responses; r++) {
        for (int64_t j = 0; j < group->lengths[r]; j++, token++, count++) {
            m->target_rows[count] = (int32_t)(j ? m->starts[r] + j - 1 : group->prompt - 1);
            m->target_ids[count] = group->response_ids[token];
        }
    }
    return count;
}

tr_status tr_decoder_prepare(tr_network *n, const tr_group *group, tr_layout *layout, tr_error *err)
{
    tr_text_memory *m = &n->text;
    int64_t tokens = 0;
    for (int64_t r = 0; r < group->responses; r++) {
        if (group->lengths[r] < 1) {
            return tr_fail(err, TR_INVALID, "group", "response %lld is empty", (long long)r);
        }
        tokens += group->lengths[r];
    }
    tr_status status;
    TR_TRY(check_sizes(n, group, tokens, err));
    m->starts[0] = group->prompt;
    for (int64_t r = 0; r < group->responses; r++) {
        m->starts[r + 1] = m->starts[r] + group->lengths[r];
    }
    *layout = (tr_layout){group->prompt, group->responses, m->starts};
    TR_TRY(fill_ids(n, group, tokens, err));
    TR_TRY(check_targets(n, group, err));
    fill_positions(n, group, group->prompt + tokens);
    int64_t targets = tokens + (group->prompt_targets ? group->prompt : 0);
    int64_t planned = n->limits.targets > n->limits.response_tokens ? n->limits.targets : n->limits.response_tokens;
    tr_attention_shape shape = shape_of(&n->model->config);
    int64_t work = n->ops->group_attention_work(&shape, layout, n->limits.train_text);
    if (targets > planned || work > m->work_floats) {
        status = tr_fail(err, TR_MEMORY, "group",
                         "%lld targets and %lld floats of working memory, planned %lld and %lld",
                         (long long)targets, (long long)work, (long long)planned, (long long)m->work_floats);
        goto done;
    }
    n->kept_rows = group->prompt + tokens;
    n->kept_targets = fill_targets(n, group);
done:
    return status;
}

/* ---- forward ---- */

/* Normalised rows, keys and values, into the cache too if there is one. */
static void keys_forward(tr_network *n, int64_t index, int64_t rows, int64_t prompt, tr_kv *kv)
{
    const tr_model_config *c = &n->model->config;
    const tr_layer_params *p = &n->model->params.layers[index];
    const tr_layer_memory *m = &n->text.layers[index];
    const tr_ops *ops = n->ops;
    const tr_attention_shape shape = shape_of(c);
    float *norm = n->text.norm;
    ops->rmsnorm_forward(norm, m->rstd1, m->in, vector(n, p->norm1), rows, c->hidden, c->rms_eps);
    tr_linear_forward(n, m->k, norm, p->k, p->k_bias, rows);
    tr_linear_forward(n, m->v, norm, p->v, p->v_bias, rows);
    ops->rope_forward(m->k, n->text.cos, n->text.sin, rows, c->kv_heads, c->head_dim, c->kv_heads * c->head_dim);
    if (kv) {
        ops->kv_write(&kv[index], 0, m->k, m->v, prompt, &shape);
    }
}

/* Up to what the MLP reads besides its weights: middle. */
static void attention_forward(tr_network *n, int64_t index, int64_t rows, const tr_layout *layout, tr_kv *kv)
{
    const tr_model_config *c = &n->model->config;
    const tr_layer_params *p = &n->model->params.layers[index];
    const tr_layer_memory *m = &n->text.layers[index];
    const tr_ops *ops = n->ops;
    tr_attention_shape shape = shape_of(c);
    int64_t hd = c->head_dim;

    keys_forward(n, index, rows, layout->prompt, kv);
    tr_linear_forward(n, m->q, n->text.norm, p->q, p->q_bias, rows);
    ops->rope_forward(m->q, n->text.cos, n->text.sin, rows, c->heads, hd, c->heads * hd);
    ops->group_attention_forward(m->attention, m->lse, m->q, m->k, m->v, &shape, layout, n->text.work);
    tr_linear_forward(n, m->middle, m->attention, p->o, -1, rows);
    ops->add(m->middle, m->in, rows * c->hidden);
}

static void mlp_forward(tr_network *n, int64_t index, int64_t rows, float *out)
{
    const tr_model_config *c = &n->model->config;
    const tr_layer_params *p = &n->model->params.layers[index];
    const tr_layer_memory *m = &n->text.layers[index];
    const tr_mlp_memory *mlp = &n->text.mlp;
    const tr_ops *ops = n->ops;
    int64_t h = c->hidden, wide = c->intermediate;
    float *norm = n->text.norm;
    ops->rmsnorm_forward(norm, m->rstd2, m->middle, vector(n, p->norm2), rows, h, c->rms_eps);
    for (int64_t at = 0, some; at < rows; at += some) {
        some = tr_mlp_next(mlp, at, rows);
        float *gate = m->gate + (mlp->kept ? at * wide : 0), *up = m->up + (mlp->kept ? at * wide : 0);
        tr_linear_forward(n, gate, norm + at * h, p->gate, -1, some);
        tr_linear_forward(n, up, norm + at * h, p->up, -1, some);
        ops->swiglu_forward(mlp->act, gate, up, some * wide);
        tr_linear_forward(n, out + at * h, mlp->act, p->down, -1, some);
    }
    ops->add(out, m->middle, rows * h);
}

/* The last layer of a prefill. The cache wants the keys and values of all rows; only the last row's output is read
 * (the next token's logits), so the rest is computed for that row alone, as in decoding: the same bits. */
static void last_layer_forward(tr_network *n, int64_t index, int64_t rows, float *out, tr_kv *kv)
{
    const tr_model_config *c = &n->model->config;
    const tr_layer_params *p = &n->model->params.layers[index];
    const tr_layer_memory *m = &n->text.layers[index];
    const tr_ops *ops = n->ops;
    const tr_attention_shape shape = shape_of(c);
    const tr_decode_row what = {.prompt = &kv[index], .prompt_tokens = rows};
    const int64_t h = c->hidden, hd = c->head_dim, last = rows - 1;

    tr_params_need(&n->model->params, p->norm1, p->down + 1);
    keys_forward(n, index, rows, rows, kv);
    tr_linear_forward(n, m->q, n->text.norm + last * h, p->q, p->q_bias, 1);
    ops->rope_forward(m->q, n->text.cos + last * (hd / 2), n->text.sin + last * (hd / 2), 1, c->heads, hd,
                      c->heads * hd);
    ops->decode_attention_forward(m->attention, m->q, &what, 1, &shape, n->decode.work);
    tr_linear_forward(n, m->middle, m->attention, p->o, -1, 1);
    ops->add(m->middle, m->in + last * h, h);
    mlp_forward(n, index, 1, out + last * h);
    tr_params_release(&n->model->params, p->norm1, p->down + 1);
}

static void layer_forward(tr_network *n, int64_t index, int64_t rows, const tr_layout *layout, float *out,
                          tr_kv *kv)
{
    const tr_layer_params *p = &n->model->params.layers[index];
    tr_params_need(&n->model->params, p->norm1, p->down + 1);
    attention_forward(n, index, rows, layout, kv);
    mlp_forward(n, index, rows, out);
    tr_params_release(&n->model->params, p->norm1, p->down + 1);
}

void tr_decoder_forward(tr_network *n, const tr_group *group, const tr_layout *layout, tr_kv *kv)
{
    const tr_model_config *c = &n->model->config;
    tr_text_memory *m = &n->text;
    int64_t rows = n->kept_rows;
    n->ops->rope_mrope_table(m->cos, m->sin, m->positions, rows, c->head_dim, c->mrope_sections, c->rope_theta);
    tr_tap(n, "rope_cos", -1, m->cos, rows, c->head_dim / 2);
    tr_tap(n, "rope_sin", -1, m->sin, rows, c->head_dim / 2);
    n->ops->embedding_forward(m->layers[0].in, m->ids, matrix(n, n->model->params.embed), rows);
    if (group->visual_tokens) {
        const float *features = n->features_here ? n->edge.features
                                                 : tr_edge_in(n->ops, n->edge.features, group->features,
                                                              group->visual_tokens * c->hidden);
        n->ops->rows_scatter(m->layers[0].in, features, m->visual, group->visual_tokens, c->hidden);
    }
    tr_tap(n, "inputs_embeds", -1, m->layers[0].in, rows, c->hidden);
    for (int64_t i = 0; i < c->layers; i++) {
        const bool last = i + 1 == c->layers;
        float *out = last ? m->out : m->layers[i + 1].in;
        if (last && kv && !n->tap && n->ops->memory->host) {
            last_layer_forward(n, i, rows, out, kv);
            break;
        }
        layer_forward(n, i, rows, layout, out, kv);
        tr_tap(n, "layer", (int)i, out, rows, c->hidden);
    }
}

void tr_decoder_layer_again(tr_network *n, int64_t index, const tr_layout *layout)
{
    attention_forward(n, index, n->kept_rows, layout, NULL);
}

tr_status tr_network_group_forward(tr_network *n, const tr_group *group, float temperature, bool keep, float *logp,
                                   float *entropy, tr_error *err)
{
    const tr_model_config *c = &n->model->config;
    tr_text_memory *m = &n->text;
    tr_layout layout;
    n->kept_group = NULL;
    tr_network_borrow(n);
    if (keep && !n->limits.train_text) {
        return tr_fail(err, TR_INVALID, "group",
                       "activations cannot be kept: the network was not planned to train text");
    }
    if (keep && n->model->lora && n->adapter_use != TR_ADAPTER_ON) {
        return tr_fail(err, TR_INVALID, "group", "activations cannot be kept while the adapter is off");
    }
    tr_status status = tr_decoder_prepare(n, group, &layout, err);
    if (status) {
        return status;
    }
    tr_decoder_forward(n, group, &layout, NULL);
    int64_t targets = n->kept_targets;
    n->ops->rows_gather(m->target, m->out, m->target_rows, targets, c->hidden);
    n->ops->rmsnorm_forward(m->hidden, m->target_rstd, m->target, vector(n, n->model->params.norm), targets,
                            c->hidden, c->rms_eps);
    tr_tap(n, "target_hidden", -1, m->hidden, targets, c->hidden);
    float *out = tr_edge_out(n->ops, n->edge.logp, logp);
    n->ops->head_forward(out, m->entropy, m->lse, m->hidden, matrix(n, n->model->params.head), m->target_ids,
                         targets, temperature, m->head_tile, m->head_work);
    tr_params_release(&n->model->params, n->model->params.head, n->model->params.head + 1);
    tr_edge_done(n->ops, logp, out, targets);
    if (entropy) {
        n->ops->memory->read(entropy, m->entropy, (size_t)targets * sizeof *entropy);
    }
    if (keep) {
        n->kept_group = group->prompt_ids;
        n->kept_temperature = temperature;
    }
    return n->ops->memory->check(err);
}
