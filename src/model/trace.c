/* trace.c: runs a case through the network and collects every stage (see trace.h).
 *
 * Works through the public functions of network.h with its tap on; only the tables that no tap shows (window order,
 * rotary tables before the permutation, all logits) are computed here with the same operations. Never prints. */
#include "model/trace.h"

#include "base/memory.h"
#include "model/windows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct trace {
    tr_model *model;
    const tr_safetensors *in;
    bool backward;
    tr_safetensors_builder *out;
    tr_error *err;
    tr_network *network;
    tr_status tap_status;
    float *hidden; /* the tapped final norm of a text case */
} trace;

/* ---- results ---- */

static tr_status put(trace *t, const char *name, tr_dtype dtype, int rank, const int64_t *shape, const void *data)
{
    char full[160];
    snprintf(full, sizeof full, "out/%s", name);
    return tr_safetensors_builder_add(t->out, full, dtype, rank, shape, data, t->err);
}

static tr_status put_scalar(trace *t, const char *name, double value)
{
    return put(t, name, TR_F64, 0, NULL, &value);
}

static tr_status put_rows(trace *t, const char *name, const float *x, int64_t rows, int64_t columns)
{
    return put(t, name, TR_F32, 2, (const int64_t[]){rows, columns}, x);
}

static tr_status put_integers(trace *t, const char *name, int rank, const int64_t *shape, const int32_t *x, int64_t count)
{
    int64_t *wide = tr_calloc((size_t)count, sizeof *wide);
    if (!wide) {
        return tr_fail(t->err, TR_MEMORY, name, "out of memory");
    }
    for (int64_t i = 0; i < count; i++) {
        wide[i] = x[i];
    }
    tr_status status = put(t, name, TR_I64, rank, shape, wide);
    free(wide);
    return status;
}

/* Tables hold half the lanes of a head; the other half is equal and the reference writes both. */
static tr_status put_table(trace *t, const char *name, const float *half, int64_t rows, int64_t columns)
{
    float *both = tr_calloc((size_t)(2 * rows * columns), sizeof *both);
    if (!both) {
        return tr_fail(t->err, TR_MEMORY, name, "out of memory");
    }
    for (int64_t i = 0; i < rows; i++) {
        memcpy(both + 2 * i * columns, half + i * columns, (size_t)columns * sizeof *both);
        memcpy(both + (2 * i + 1) * columns, half + i * columns, (size_t)columns * sizeof *both);
    }
    tr_status status = put_rows(t, name, both, rows, 2 * columns);
    free(both);
    return status;
}

static void tap(void *context, const char *name, const float *values, int64_t rows, int64_t columns)
{
    trace *t = context;
    if (t->tap_status) {
        return;
    }
    if (!strcmp(name, "rope_cos") || !strcmp(name, "rope_sin")) {
        t->tap_status = put_table(t, name, values, rows, columns);
    } else if (!strcmp(name, "target_hidden")) {
        t->tap_status = put_rows(t, "final_norm", values, rows, columns);
        if (!t->tap_status && !(t->hidden = tr_calloc((size_t)(rows * columns), sizeof *t->hidden))) {
            t->tap_status = tr_fail(t->err, TR_MEMORY, name, "out of memory");
        }
        if (t->hidden) {
            memcpy(t->hidden, values, (size_t)(rows * columns) * sizeof *values);
        }
    } else {
        t->tap_status = put_rows(t, name, values, rows, columns);
    }
}

/* Gradients in checkpoint names, whole, and the norm over all of them. */
static tr_status put_gradients(trace *t, tr_trace_kind kind)
{
    double square = 0;
    tr_status status = TR_OK;
    for (int i = 0; i < t->model->params.count && !status; i++) {
        const tr_param *p = &t->model->params.items[i];
        if (!p->gradient || (kind == TR_TRACE_VISION && p->part == TR_PART_TEXT)) {
            continue;
        }
        char name[128];
        snprintf(name, sizeof name, "grad/%s", p->name);
        float *rows = tr_calloc((size_t)(p->out * p->in), sizeof *rows);
        if (!rows) {
            return tr_fail(t->err, TR_MEMORY, name, "out of memory");
        }
        if (p->matrix) {
            tr_matrix panels = {.dtype = TR_F32, .out = p->out, .in = p->in, .panels = p->gradient};
            tr_matrix_unpack(&panels, rows, TR_F32, 0, p->out);
        } else {
            memcpy(rows, p->gradient, (size_t)p->out * sizeof *rows);
        }
        for (int64_t k = 0; k < p->out * p->in; k++) {
            square += (double)rows[k] * (double)rows[k];
        }
        status = put(t, name, TR_F32, p->rank, p->shape, rows);
        free(rows);
    }
    return status ? status : put_scalar(t, "grad_norm", sqrt(square));
}

static tr_status make_network(trace *t, tr_network_limits limits)
{
    tr_network_free(t->network);
    t->network = NULL;
    limits.train_text = limits.train_vision = t->backward;
    limits.recompute = TR_RECOMPUTE_NONE;
    return tr_network_create(t->model, &limits, &t->network, t->err);
}

/* ---- vision ---- */

/* Window order, segment bounds and the rotary tables in both orders. */
static tr_status vision_tables(trace *t, const tr_visual *visual)
{
    const tr_vision_config *v = &t->model->config.vision;
    int64_t rows = visual->rows, merge = v->merge * v->merge, merged = rows / merge, half = v->hidden / v->heads / 2;
    tr_windows w = {.index = tr_calloc((size_t)merged + 1, sizeof(int32_t)),
                    .cu_window = tr_calloc((size_t)merged + 1, sizeof(int32_t)),
                    .cu_full = tr_calloc((size_t)merged + 1, sizeof(int32_t)),
                    .coords = tr_calloc((size_t)rows, 2 * sizeof(int32_t))};
    float *table = tr_calloc((size_t)(4 * rows * half), sizeof *table);
    float *cos_w = table, *sin_w = table + rows * half, *cos_r = table + 2 * rows * half, *sin_r = cos_r + rows * half;
    tr_status status;
    if (!w.index || !w.cu_window || !w.cu_full || !w.coords || !table) {
        status = tr_fail(t->err, TR_MEMORY, "vision tables", "out of memory");
        goto done;
    }
    TR_TRY(tr_windows_build(v, visual->grids, visual->grid_count, rows, &w, t->err));
    TR_TRY(put_integers(t, "window_index", 1, &merged, w.index, merged));
    TR_TRY(put_integers(t, "cu_window_seqlens", 1, (const int64_t[]){w.windows + 1}, w.cu_window, w.windows + 1));
    TR_TRY(put_integers(t, "cu_seqlens", 1, (const int64_t[]){w.grids + 1}, w.cu_full, w.grids + 1));
    t->model->ops->rope_vision_table(cos_w, sin_w, w.coords, rows, 2 * half, 10000.0);
    t->model->ops->rows_scatter(cos_r, cos_w, w.index, merged, merge * half);
    t->model->ops->rows_scatter(sin_r, sin_w, w.index, merged, merge * half);
    TR_TRY(put_table(t, "rope_cos", cos_r, rows, half));
    TR_TRY(put_table(t, "rope_sin", sin_r, rows, half));
    TR_TRY(put_table(t, "rope_cos_windowed", cos_w, rows, half));
    TR_TRY(put_table(t, "rope_sin_windowed", sin_w, rows, half));
done:
    free(w.index);
    free(w.cu_window);
    free(w.cu_full);
    free(w.coords);
    free(table);
    return status;
}

/* loss = sum(d_features * features), and its gradients. */
static tr_status vision_loss(trace *t, const tr_visual *visual, const float *features, int64_t count)
{
    const tr_safetensor *given = tr_trace_find(t->in, "in/", "d_features");
    if (!given || given->elements != count) {
        return given ? tr_fail(t->err, TR_MISMATCH, given->name, "has %lld elements, the features %lld",
                               (long long)given->elements, (long long)count)
                     : tr_fail(t->err, TR_NOT_FOUND, "input", "--backward of a vision case needs in/d_features");
    }
    double loss = 0;
    float *d = tr_calloc((size_t)count, sizeof *d);
    tr_status status = d ? tr_safetensors_copy(given, 0, count, d, TR_F32, t->err)
                         : tr_fail(t->err, TR_MEMORY, given->name, "out of memory");
    if (status) {
        goto done;
    }
    for (int64_t i = 0; i < count; i++) {
        loss += (double)d[i] * (double)features[i];
    }
    TR_TRY(tr_network_vision_backward(t->network, visual, d, t->err));
    TR_TRY(put_scalar(t, "loss", loss));
    TR_TRY(put_gradients(t, TR_TRACE_VISION));
done:
    free(d);
    return status;
}

static tr_status run_vision(trace *t)
{
    const tr_model_config *c = &t->model->config;
    float *patches = NULL, *features = NULL;
    int32_t *grids = NULL;
    int64_t rows = 0, values = 0;
    tr_status status;
    TR_TRY(tr_trace_pixels(t->in, "in/", "pixels_u8", &patches, &rows, t->err));
    TR_TRY(tr_trace_integers(t->in, "in/", "grid_thw", &grids, &values, t->err));
    tr_visual visual = {patches, rows, (const int32_t(*)[3])(void *)grids, values / 3};
    int64_t merged = rows / (c->vision.merge * c->vision.merge), count = merged * c->vision.out_hidden;
    TR_TRY(vision_tables(t, &visual));
    TR_TRY(make_network(t, (tr_network_limits){.patches = rows}));
    if (!(features = tr_calloc((size_t)count, sizeof *features))) {
        status = tr_fail(t->err, TR_MEMORY, "features", "out of memory");
        goto done;
    }
    tr_network_set_tap(t->network, tap, t);
    TR_TRY(tr_network_vision_forward(t->network, &visual, t->backward, features, t->err));
    TR_TRY(t->tap_status);
    if (t->backward) {
        TR_TRY(vision_loss(t, &visual, features, count));
    }
done:
    free(patches);
    free(features);
    free(grids);
    return status;
}

/* ---- prompts ---- */

typedef struct packed {
    tr_trace_prompt prompt;
    int32_t *responses, *lengths32;
    int64_t tokens, response_count;
    int64_t *lengths;
    int32_t *targets; /* SFT and text: [prompt] */
    int64_t kept;
    float *features, *dfeatures, *logp, *entropy, *dlogp;
} packed;

static void packed_free(packed *p)
{
    tr_trace_prompt_free(&p->prompt);
    free(p->responses);
    free(p->lengths32);
    free(p->lengths);
    free(p->targets);
    free(p->features);
    free(p->dfeatures);
    free(p->logp);
    free(p->entropy);
    free(p->dlogp);
    *p = (packed){0};
}

static tr_visual visual_of(const packed *p)
{
    return (tr_visual){p->prompt.patches, p->prompt.rows, (const int32_t(*)[3])p->prompt.grids, p->prompt.grid_count};
}

static tr_group group_of(const trace *t, const packed *p)
{
    int64_t merge = t->model->config.vision.merge;
    return (tr_group){.prompt_ids = p->prompt.ids,
                      .positions = p->prompt.positions,
                      .prompt = p->prompt.count,
                      .features = p->features,
                      .visual_tokens = p->prompt.rows / (merge * merge),
                      .response_ids = p->responses,
                      .lengths = p->lengths,
                      .responses = p->response_count,
                      .prompt_targets = p->targets};
}

/* Memory of a prompt, a network of its size, and its features. */
static tr_status start(trace *t, packed *p)
{
    const tr_model_config *c = &t->model->config;
    int64_t targets = p->tokens + (p->targets ? p->prompt.count : 0);
    size_t features = (size_t)(p->prompt.rows * c->hidden) + 1;
    p->features = tr_calloc(features, sizeof(float));
    p->dfeatures = tr_calloc(features, sizeof(float));
    p->logp = tr_calloc((size_t)targets, sizeof(float));
    p->entropy = tr_calloc((size_t)targets, sizeof(float));
    p->dlogp = tr_calloc((size_t)targets, sizeof(float));
    if (!p->features || !p->dfeatures || !p->logp || !p->entropy || !p->dlogp) {
        return tr_fail(t->err, TR_MEMORY, "input", "out of memory");
    }
    tr_status status;
    TR_TRY(make_network(t, (tr_network_limits){.patches = p->prompt.rows,
                                               .prompt_tokens = p->prompt.count,
                                               .response_tokens = p->tokens,
                                               .responses = p->response_count,
                                               .targets = targets}));
    if (p->prompt.rows) {
        tr_visual visual = visual_of(p);
        TR_TRY(tr_network_vision_forward(t->network, &visual, t->backward, p->features, t->err));
    }
done:
    return status;
}

static tr_status backward(trace *t, packed *p)
{
    tr_group group = group_of(t, p);
    tr_visual visual = visual_of(p);
    tr_status status;
    TR_TRY(tr_network_group_backward(t->network, &group, p->dlogp, NULL, p->prompt.rows ? p->dfeatures : NULL, t->err));
    if (p->prompt.rows) {
        TR_TRY(tr_network_vision_backward(t->network, &visual, p->dfeatures, t->err));
    }
done:
    return status;
}

/* ---- text ---- */

static tr_status put_logits(trace *t, int64_t rows)
{
    const tr_model_config *c = &t->model->config;
    float *logits = tr_calloc((size_t)rows, (size_t)c->vocab * sizeof *logits);
    if (!logits) {
        return tr_fail(t->err, TR_MEMORY, "logits", "out of memory");
    }
    t->model->ops->linear_forward(logits, t->hidden, tr_model_matrix(t->model, t->model->params.head), NULL, rows);
    tr_status status = put_rows(t, "logits", logits, rows, c->vocab);
    free(logits);
    return status;
}

static tr_status run_text(trace *t)
{
    packed p = {0};
    tr_status status;
    t->backward = false;
    TR_TRY(tr_trace_prompt_read(t->in, "in/", &t->model->config, &p.prompt, t->err));
    int64_t n = p.prompt.count;
    if (!(p.targets = tr_calloc((size_t)n, sizeof *p.targets))) {
        status = tr_fail(t->err, TR_MEMORY, "input", "out of memory");
        goto done;
    }
    for (int64_t i = 0; i < n; i++) {
        p.targets[i] = i + 1 < n ? p.prompt.ids[i + 1] : -1;
    }
    TR_TRY(put_integers(t, "position_ids", 2, (const int64_t[]){3, n}, p.prompt.positions, 3 * n));
    TR_TRY(start(t, &p));
    tr_network_set_tap(t->network, tap, t);
    tr_group group = group_of(t, &p);
    TR_TRY(tr_network_group_forward(t->network, &group, 1, false, p.logp, NULL, t->err));
    TR_TRY(t->tap_status);
    TR_TRY(put_logits(t, n));
    TR_TRY(put(t, "next_token_logp", TR_F32, 1, (const int64_t[]){n - 1}, p.logp));
done:
    packed_free(&p);
    return status;
}

/* ---- groups ---- */

/* What all groups give, one after the other. */
typedef struct collected {
    float *values[4]; /* logp_t1, entropy_t1, logp_t0.7, entropy_t0.7 */
    size_t capacity[4];
    int64_t tokens;
    float *weights;
    int64_t weight_count;
    double loss;
} collected;

static tr_status read_responses(const trace *t, const char *prefix, packed *p)
{
    tr_status status;
    int32_t *given = NULL;
    int64_t count = 0, sum = 0;
    TR_TRY(tr_trace_integers(t->in, prefix, "response_ids", &p->responses, &p->tokens, t->err));
    TR_TRY(tr_trace_integers(t->in, prefix, "response_lengths", &p->lengths32, &p->response_count, t->err));
    if (!(p->lengths = tr_calloc((size_t)p->response_count, sizeof *p->lengths))) {
        status = tr_fail(t->err, TR_MEMORY, "input", "out of memory");
        goto done;
    }
    for (int64_t r = 0; r < p->response_count; r++) {
        p->lengths[r] = p->lengths32[r];
        sum += p->lengths[r] > 0 ? p->lengths[r] : 0;
    }
    if (sum != p->tokens) {
        status = tr_fail(t->err, TR_MISMATCH, "response_lengths", "add up to %lld, response_ids has %lld tokens",
                         (long long)sum, (long long)p->tokens);
        goto done;
    }
    if (tr_trace_find(t->in, prefix, "response_positions")) {
        TR_TRY(tr_trace_integers(t->in, prefix, "response_positions", &given, &count, t->err));
        for (int64_t r = 0, at = 0; r < p->response_count; r++) {
            for (int64_t j = 0; j < p->lengths[r]; j++, at++) {
                if (at >= count || given[at] != p->prompt.next + j) {
                    status = tr_fail(t->err, TR_MISMATCH, "response_positions", "response %lld, token %lld: computed %lld",
                                     (long long)r, (long long)j, (long long)(p->prompt.next + j));
                    goto done;
                }
            }
        }
    }
done:
    free(given);
    return status;
}

static tr_status append(trace *t, collected *all, int which, const float *x, int64_t count)
{
    tr_status status = tr_grow(&all->values[which], &all->capacity[which], (size_t)(all->tokens + count), sizeof *x,
                               t->err);
    if (!status) {
        memcpy(all->values[which] + all->tokens, x, (size_t)count * sizeof *x);
    }
    return status;
}

static tr_status run_group(trace *t, const char *prefix, collected *all)
{
    char prompt[64];
    packed p = {0};
    tr_status status;
    snprintf(prompt, sizeof prompt, "%sprompt_", prefix);
    TR_TRY(tr_trace_prompt_read(t->in, prompt, &t->model->config, &p.prompt, t->err));
    TR_TRY(read_responses(t, prefix, &p));
    TR_TRY(start(t, &p));
    tr_group group = group_of(t, &p);
    TR_TRY(tr_network_group_forward(t->network, &group, 0.7f, false, p.logp, p.entropy, t->err));
    TR_TRY(append(t, all, 2, p.logp, p.tokens));
    TR_TRY(append(t, all, 3, p.entropy, p.tokens));
    TR_TRY(tr_network_group_forward(t->network, &group, 1, t->backward, p.logp, p.entropy, t->err));
    TR_TRY(append(t, all, 0, p.logp, p.tokens));
    TR_TRY(append(t, all, 1, p.entropy, p.tokens));
    if (t->backward) {
        if (all->tokens + p.tokens > all->weight_count) {
            status = tr_fail(t->err, TR_MISMATCH, "in/weights", "has %lld values, fewer than the response tokens",
                             (long long)all->weight_count);
            goto done;
        }
        for (int64_t i = 0; i < p.tokens; i++) {
            float weight = all->weights[all->tokens + i];
            all->loss -= (double)weight * (double)p.logp[i];
            p.dlogp[i] = -weight;
        }
        TR_TRY(backward(t, &p));
    }
    all->tokens += p.tokens;
done:
    packed_free(&p);
    return status;
}

static tr_status read_weights(trace *t, collected *all)
{
    const tr_safetensor *w = tr_trace_find(t->in, "in/", "weights");
    if (!w) {
        return tr_fail(t->err, TR_NOT_FOUND, "input", "--backward of groups needs in/weights, one for each response token");
    }
    all->weight_count = w->elements;
    all->weights = tr_calloc((size_t)w->elements, sizeof(float));
    return all->weights ? tr_safetensors_copy(w, 0, w->elements, all->weights, TR_F32, t->err)
                        : tr_fail(t->err, TR_MEMORY, w->name, "out of memory");
}

static tr_status run_groups(trace *t)
{
    static const char *const names[4] = {"logp_t1", "entropy_t1", "logp_t0.7", "entropy_t0.7"};
    collected all = {0};
    tr_status status = TR_OK;
    if (t->backward) {
        TR_TRY(read_weights(t, &all));
    }
    if (tr_trace_find(t->in, "in/", "prompt_input_ids")) {
        TR_TRY(run_group(t, "in/", &all));
    }
    for (int g = 0;; g++) {
        char prefix[48];
        snprintf(prefix, sizeof prefix, "in/group%d/", g);
        if (!tr_trace_find(t->in, prefix, "prompt_input_ids")) {
            break;
        }
        TR_TRY(run_group(t, prefix, &all));
    }
    for (int i = 0; i < 4; i++) {
        TR_TRY(put(t, names[i], TR_F32, 1, &all.tokens, all.values[i]));
    }
    if (t->backward) {
        TR_TRY(put_scalar(t, "loss", all.loss));
        TR_TRY(put_gradients(t, TR_TRACE_GROUP));
    }
done:
    for (int i = 0; i < 4; i++) {
        free(all.values[i]);
    }
    free(all.weights);
    return status;
}

/* ---- SFT ---- */

/* A row's labels become targets of the row before each; a negative label (-100) keeps its token out of the loss. */
static tr_status read_labels(trace *t, const char *prefix, packed *p)
{
    int32_t *labels = NULL;
    int64_t count = 0, n = p->prompt.count;
    tr_status status = tr_trace_integers(t->in, prefix, "labels", &labels, &count, t->err);
    p->targets = tr_calloc((size_t)n, sizeof *p->targets);
    if (!status && (!p->targets || count != n)) {
        status = tr_fail(t->err, p->targets ? TR_MISMATCH : TR_MEMORY, "labels", "%lld labels for %lld tokens",
                         (long long)count, (long long)n);
    }
    p->kept = 0;
    for (int64_t i = 0; !status && i < n; i++) {
        int32_t label = i + 1 < n && labels[i + 1] >= 0 ? labels[i + 1] : -1;
        if (label >= t->model->config.vocab) {
            status = tr_fail(t->err, TR_INVALID, "labels", "label %d of token %lld is outside of the vocabulary", label,
                             (long long)(i + 1));
        }
        p->targets[i] = label;
        p->kept += label >= 0;
    }
    free(labels);
    return status;
}

static tr_status run_row(trace *t, int row, int64_t kept_of_all, double *sum, int64_t *kept)
{
    char prefix[48], name[48];
    packed p = {0};
    double loss = 0;
    tr_status status;
    snprintf(prefix, sizeof prefix, "in/row%d/", row);
    TR_TRY(tr_trace_prompt_read(t->in, prefix, &t->model->config, &p.prompt, t->err));
    TR_TRY(read_labels(t, prefix, &p));
    *kept += p.kept;
    if (!kept_of_all) { /* the first walk only counts */
        goto done;
    }
    TR_TRY(start(t, &p));
    tr_group group = group_of(t, &p);
    TR_TRY(tr_network_group_forward(t->network, &group, 1, t->backward, p.logp, NULL, t->err));
    for (int64_t i = 0; i < p.prompt.count; i++) {
        loss -= p.targets[i] >= 0 ? (double)p.logp[i] : 0;
        p.dlogp[i] = p.targets[i] >= 0 ? (float)(-1.0 / (double)kept_of_all) : 0;
    }
    *sum += loss;
    snprintf(name, sizeof name, "row%d_mean_loss", row);
    TR_TRY(put_scalar(t, name, p.kept ? loss / (double)p.kept : 0));
    if (t->backward) {
        TR_TRY(backward(t, &p));
    }
done:
    packed_free(&p);
    return status;
}

static tr_status run_sft(trace *t)
{
    tr_status status = TR_OK;
    double sum = 0;
    int64_t all = 0, kept = 0;
    for (int walk = 0; walk < 2; walk++) {
        for (int row = 0;; row++) {
            char prefix[48];
            snprintf(prefix, sizeof prefix, "in/row%d/", row);
            if (!tr_trace_find(t->in, prefix, "input_ids")) {
                break;
            }
            TR_TRY(run_row(t, row, walk ? all : 0, &sum, walk ? &kept : &all));
        }
        if (!all) {
            status = tr_fail(t->err, TR_INVALID, "labels", "no row keeps a token: every label is negative");
            goto done;
        }
    }
    TR_TRY(put_scalar(t, "loss", sum / (double)all));
    if (t->backward) {
        TR_TRY(put_gradients(t, TR_TRACE_SFT));
    }
done:
    return status;
}

/* ---- rotary tables alone ---- */

static tr_status run_rope(trace *t)
{
    const tr_model_config *c = &t->model->config;
    int32_t *positions = NULL;
    int64_t count = 0, half = c->head_dim / 2;
    float *table = NULL;
    tr_status status;
    TR_TRY(tr_trace_integers(t->in, "in/", "position_ids", &positions, &count, t->err));
    int64_t rows = count / 3;
    if (!rows || count % 3 || !(table = tr_calloc((size_t)(2 * rows * half), sizeof *table))) {
        status = tr_fail(t->err, TR_INVALID, "in/position_ids", "needs three axes of positions");
        goto done;
    }
    t->model->ops->rope_mrope_table(table, table + rows * half, positions, rows, c->head_dim, c->mrope_sections,
                                    c->rope_theta);
    TR_TRY(put_rows(t, "cos", table, rows, half));
    TR_TRY(put_rows(t, "sin", table + rows * half, rows, half));
done:
    free(positions);
    free(table);
    return status;
}

/* ---- the whole ---- */

tr_status tr_trace_kind_of(const tr_safetensors *in, tr_trace_kind *kind, tr_error *err)
{
    static const struct {
        const char *key;
        tr_trace_kind kind;
    } kinds[] = {{"in/pixels_u8", TR_TRACE_VISION},
                 {"in/input_ids", TR_TRACE_TEXT},
                 {"in/prompt_input_ids", TR_TRACE_GROUP},
                 {"in/group0/prompt_input_ids", TR_TRACE_GROUP},
                 {"in/row0/input_ids", TR_TRACE_SFT},
                 {"in/position_ids", TR_TRACE_ROPE}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (tr_safetensors_find(in, kinds[i].key)) {
            *kind = kinds[i].kind;
            return TR_OK;
        }
    }
    return tr_fail(err, TR_FORMAT, "input",
                   "is no case: needs one of in/pixels_u8 (vision), in/input_ids (text), in/prompt_input_ids or "
                   "in/group0/prompt_input_ids (groups), in/row0/input_ids (SFT), in/position_ids (rotary tables)");
}

tr_status tr_trace_run(tr_model *model, const tr_safetensors *in, bool with_backward, tr_safetensors_builder *out,
                       tr_error *err)
{
    static tr_status (*const runs[])(trace *) = {run_vision, run_text, run_groups, run_sft, run_rope};
    trace t = {.model = model, .in = in, .backward = with_backward, .out = out, .err = err};
    tr_trace_kind kind;
    tr_status status = tr_trace_kind_of(in, &kind, err);
    if (!status) {
        if (with_backward) {
            tr_model_zero_gradients(model);
        }
        status = runs[kind](&t);
    }
    tr_network_free(t.network);
    free(t.hidden);
    return status;
}
