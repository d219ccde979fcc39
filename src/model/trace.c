/* trace.c: runs the network on the inputs of a trace and collects every stage under "out/...".
 *
 * Vision: window order, rope tables, patch embedding, blocks, merger, features. Text: rope tables, embeddings,
 * layers, final norm, logits of every position, next-token log-probs. Groups: log-probs and entropies at
 * temperatures 1 and 0.7. SFT: the loss of each row. Results are whole: nothing is left out because a file is
 * large. */
#include "model/trace.h"

#include "model/network_parts.h"

#include <math.h>
#include <stdlib.h>

typedef struct tracer {
    tr_network *network;
    tr_model *model;
    const tr_trace_input *input;
    tr_safetensors_builder *out;
    bool backward;
    float *logp, *entropy, *dlogp, *dfeatures; /* of the largest row */
    tr_status status;                          /* of what a tap could not keep */
    tr_error *err;
} tracer;

/* ---- collecting ---- */

static void keep(tracer *t, const char *name, const float *x, int64_t rows, int64_t columns)
{
    char full[160];
    int64_t shape[2] = {rows, columns};
    snprintf(full, sizeof full, "out/%s", name);
    if (!t->status) {
        t->status = tr_safetensors_builder_add(t->out, full, TR_F32, columns ? 2 : 1, shape, x, t->err);
    }
}

static void keep_integers(tracer *t, const char *name, const int32_t *x, int64_t count)
{
    char full[160];
    snprintf(full, sizeof full, "out/%s", name);
    if (!t->status) {
        t->status = tr_safetensors_builder_add_as(t->out, full, TR_I64, 1, &count, x, TR_I32, t->err);
    }
}

static void keep_scalar(tracer *t, const char *name, double x)
{
    char full[160];
    snprintf(full, sizeof full, "out/%s", name);
    if (!t->status) {
        t->status = tr_safetensors_builder_add(t->out, full, TR_F64, 0, NULL, &x, t->err);
    }
}

/* A table (rows, half) as the reference keeps it: both halves of the lanes. */
static void keep_table(tracer *t, const char *name, const float *table, int64_t rows, int64_t half)
{
    float *both = tr_calloc((size_t)rows, (size_t)(2 * half) * sizeof *both);
    if (!both) {
        t->status = tr_fail(t->err, TR_MEMORY, name, "no memory for %lld rows", (long long)rows);
        return;
    }
    for (int64_t i = 0; i < rows; i++) {
        memcpy(both + 2 * i * half, table + i * half, (size_t)half * sizeof *both);
        memcpy(both + (2 * i + 1) * half, table + i * half, (size_t)half * sizeof *both);
    }
    keep(t, name, both, rows, 2 * half);
    free(both);
}

/* On the backend, whose memory may be another one than that of the traced values. */
static void compute_logits(tracer *t, float *logits, const float *hidden, const tr_matrix *head, int64_t rows)
{
    const tr_ops *ops = t->network->ops;
    const size_t in = (size_t)(rows * head->in) * sizeof *hidden, out = (size_t)(rows * head->out) * sizeof *logits;
    void *x = NULL, *y = NULL;
    if (ops->memory->host) {
        ops->linear_forward(logits, hidden, head, NULL, rows);
        return;
    }
    tr_status status = ops->memory->take(&x, in, false, t->err);
    status = status ? status : ops->memory->take(&y, out, false, t->err);
    if (!status) {
        ops->memory->write(x, hidden, in);
        ops->linear_forward(y, x, head, NULL, rows);
        ops->memory->read(logits, y, out);
    }
    t->status = t->status ? t->status : status;
    ops->memory->give(y);
    ops->memory->give(x);
}

/* Logits of every row from the normalised hidden states; flat: of one row, without its axis. */
static void keep_logits(tracer *t, const char *name, const float *hidden, int64_t rows, bool flat)
{
    const tr_matrix *head = matrix(t->network, t->model->params.head);
    float *logits = tr_calloc((size_t)rows, (size_t)head->out * sizeof *logits);
    if (!logits) {
        t->status = tr_fail(t->err, TR_MEMORY, "logits", "no memory for %lld rows", (long long)rows);
        return;
    }
    compute_logits(t, logits, hidden, head, rows);
    keep(t, name, logits, flat ? head->out : rows, flat ? 0 : head->out);
    free(logits);
}

static void on_tap(void *context, const char *name, const float *values, int64_t rows, int64_t columns)
{
    tracer *t = context;
    if (!strncmp(name, "rope_", 5)) {
        keep_table(t, name, values, rows, columns);
    } else if (!strcmp(name, "target_hidden")) {
        keep(t, "final_norm", values, rows, columns);
        keep_logits(t, "logits", values, rows, false);
    } else {
        keep(t, name, values, rows, columns);
    }
}

/* ---- gradients ---- */

static void keep_gradient(tracer *t, const tr_param *p)
{
    char full[160];
    float *flat = tr_calloc((size_t)(p->out * p->in), sizeof *flat);
    if (!flat) {
        t->status = tr_fail(t->err, TR_MEMORY, p->name, "no memory for its gradient");
        return;
    }
    if (p->matrix) {
        const tr_matrix gradient_matrix = {TR_F32, p->out, p->in, p->gradient};
        p->memory->unpack(&gradient_matrix, flat, TR_F32, 0, p->out);
    } else {
        p->memory->read(flat, p->gradient, (size_t)p->out * sizeof *flat);
    }
    snprintf(full, sizeof full, "out/grad/%s", p->name);
    if (!t->status) {
        t->status = tr_safetensors_builder_add(t->out, full, TR_F32, p->rank, p->shape, flat, t->err);
    }
    free(flat);
}

/* Every gradient, the norm of all and of the decoder's. A vision trace reaches the tower and the merger alone. */
static void keep_gradients(tracer *t)
{
    double text = 0, visual = 0;
    bool vision = t->input->kind == TR_TRACE_VISION;
    for (int i = 0; i < t->model->params.count; i++) {
        const tr_param *p = &t->model->params.items[i];
        if (!p->gradient || (vision && p->part == TR_PART_TEXT)) {
            continue;
        }
        double squares = t->network->ops->sum_of_squares(p->gradient, p->elements);
        *(p->part == TR_PART_TEXT ? &text : &visual) += squares;
        keep_gradient(t, p);
    }
    keep_scalar(t, "grad_norm", sqrt(text + visual));
    if (!vision) {
        keep_scalar(t, "grad_norm_vision_frozen", sqrt(text));
    }
}

/* ---- the four kinds ---- */

static tr_status features_of(tracer *t, const tr_trace_row *row, bool keep_activations)
{
    if (!row->visual) {
        return TR_OK;
    }
    tr_visual visual = tr_trace_visual(row);
    return tr_network_vision_forward(t->network, &visual, keep_activations, row->features, t->err);
}

/* d(loss)/d(log-prob) is in t->dlogp. */
static tr_status backward_of(tracer *t, const tr_trace_row *row, const tr_group *group)
{
    tr_status status;
    TR_TRY(tr_network_group_backward(t->network, group, t->dlogp, NULL, t->dfeatures, t->err));
    if (row->visual) {
        tr_visual visual = tr_trace_visual(row);
        TR_TRY(tr_network_vision_backward(t->network, &visual, t->dfeatures, t->err));
    }
done:
    return status;
}

/* The tables before the permutation, from those in window order. */
static tr_status keep_vision_tables(tracer *t, const tr_trace_row *row)
{
    const tr_vision_memory *m = &t->network->vision;
    const tr_vision_config *v = &t->model->config.vision;
    int64_t half = v->hidden / v->heads / 2;
    const int64_t count = row->patches * half;
    const tr_memory *memory = t->network->ops->memory;
    float *raster = tr_calloc((size_t)count, 3 * sizeof *raster);
    if (!raster) {
        return tr_fail(t->err, TR_MEMORY, "rope_cos", "no memory for %lld rows", (long long)row->patches);
    }
    float *cosine = raster + count, *sine = cosine + count;
    memory->read(cosine, m->cos, (size_t)count * sizeof *cosine);
    memory->read(sine, m->sin, (size_t)count * sizeof *sine);
    keep_table(t, "rope_cos_windowed", cosine, row->patches, half);
    keep_table(t, "rope_sin_windowed", sine, row->patches, half);
    t->model->host_ops->rows_scatter(raster, cosine, m->windows.index, row->visual, 4 * half);
    keep_table(t, "rope_cos", raster, row->patches, half);
    t->model->host_ops->rows_scatter(raster, sine, m->windows.index, row->visual, 4 * half);
    keep_table(t, "rope_sin", raster, row->patches, half);
    free(raster);
    return t->status;
}

static tr_status trace_vision(tracer *t)
{
    const tr_trace_row *row = t->input->rows;
    const tr_windows *w = &t->network->vision.windows;
    tr_status status;
    tr_network_set_tap(t->network, on_tap, t);
    TR_TRY(features_of(t, row, t->backward));
    tr_network_set_tap(t->network, NULL, NULL);
    keep_integers(t, "window_index", w->index, row->visual);
    keep_integers(t, "cu_window_seqlens", w->cu_window, w->windows + 1);
    keep_integers(t, "cu_seqlens", w->cu_full, w->grids + 1);
    TR_TRY(keep_vision_tables(t, row));
    if (t->backward) {
        int64_t count = row->visual * t->model->config.vision.out_hidden;
        double loss = 0;
        if (!t->input->d_features) {
            status = tr_fail(t->err, TR_NOT_FOUND, "in/d_features",
                             "--backward of a vision input needs d(loss)/d(features)");
            goto done;
        }
        for (int64_t i = 0; i < count; i++) {
            loss += (double)row->features[i] * (double)t->input->d_features[i];
        }
        keep_scalar(t, "loss", loss);
        tr_visual visual = tr_trace_visual(row);
        TR_TRY(tr_network_vision_backward(t->network, &visual, t->input->d_features, t->err));
    }
done:
    return status;
}

static tr_status trace_text(tracer *t)
{
    const tr_trace_row *row = t->input->rows;
    tr_group group = tr_trace_group(row);
    tr_status status;
    TR_TRY(features_of(t, row, false));
    tr_network_set_tap(t->network, on_tap, t);
    TR_TRY(tr_network_group_forward(t->network, &group, 1.0f, false, t->logp, NULL, t->err));
    tr_network_set_tap(t->network, NULL, NULL);
    keep(t, "next_token_logp", t->logp, row->count - 1, 0);
done:
    return status;
}

/* The logits of the first target's row, which lies on the backend. */
static void keep_first_logits(tracer *t)
{
    const size_t bytes = (size_t)t->model->config.hidden * sizeof(float);
    float *hidden = tr_calloc(1, bytes);
    if (!hidden) {
        t->status = tr_fail(t->err, TR_MEMORY, "last_logits", "no memory for %zu bytes", bytes);
        return;
    }
    t->network->ops->memory->read(hidden, t->network->text.hidden, bytes);
    keep_logits(t, "last_logits", hidden, 1, true);
    free(hidden);
}

/* All groups at one temperature; the log-probs stand one group after the other. */
static tr_status groups_at(tracer *t, float temperature, const char *suffix, double *loss)
{
    const tr_trace_input *input = t->input;
    bool train = t->backward && temperature == 1.0f;
    char name[32];
    tr_status status = TR_OK;
    int64_t at = 0;
    *loss = 0;
    for (int64_t g = 0; g < input->count; g++) {
        const tr_trace_row *row = &input->rows[g];
        tr_group group = tr_trace_group(row);
        TR_TRY(features_of(t, row, train));
        TR_TRY(tr_network_group_forward(t->network, &group, temperature, train, t->logp + at, t->entropy + at,
                                        t->err));
        if (input->count == 1 && row->tokens &&
            temperature == 1.0f) { /* the first token's row: the prompt's last */
            keep_first_logits(t);
        }
        for (int64_t i = 0; input->weights && i < row->tokens; i++) {
            *loss -= (double)input->weights[at + i] * (double)t->logp[at + i];
            t->dlogp[i] = -input->weights[at + i];
        }
        if (train) {
            TR_TRY(backward_of(t, row, &group));
        }
        at += row->tokens;
    }
    snprintf(name, sizeof name, "logp_%s", suffix);
    keep(t, name, t->logp, at, 0);
    snprintf(name, sizeof name, "entropy_%s", suffix);
    keep(t, name, t->entropy, at, 0);
done:
    return status;
}

static tr_status trace_groups(tracer *t)
{
    double loss;
    tr_status status;
    if (t->backward && !t->input->weights) {
        return tr_fail(t->err, TR_NOT_FOUND, "in/weights",
                       "--backward of groups needs the weight of each response token");
    }
    TR_TRY(groups_at(t, 1.0f, "t1", &loss));
    if (t->input->weights) {
        keep_scalar(t, "loss", loss);
    }
    TR_TRY(groups_at(t, 0.7f, "t0.7", &loss));
    if (t->input->weights) {
        keep_scalar(t, "loss_t0.7", loss);
    }
done:
    return status;
}

static tr_status trace_sft(tracer *t)
{
    const tr_trace_input *input = t->input;
    double total = 0;
    char name[48];
    tr_status status = TR_OK;
    if (!input->tokens) {
        return tr_fail(t->err, TR_INVALID, "labels", "no label is kept: every one is -100");
    }
    for (int64_t r = 0; r < input->count; r++) {
        const tr_trace_row *row = &input->rows[r];
        tr_group group = tr_trace_group(row);
        double sum = 0;
        int64_t kept = 0;
        TR_TRY(features_of(t, row, t->backward));
        TR_TRY(tr_network_group_forward(t->network, &group, 1.0f, t->backward, t->logp, NULL, t->err));
        for (int64_t i = 0; i < row->count; i++) {
            bool counts = row->targets[i] >= 0;
            sum -= counts ? (double)t->logp[i] : 0;
            kept += counts;
            t->dlogp[i] = counts ? (float)(-1.0 / (double)input->tokens) : 0;
        }
        snprintf(name, sizeof name, "row%lld_mean_loss", (long long)r);
        keep_scalar(t, name, kept ? sum / (double)kept : 0);
        total += sum;
        if (t->backward) {
            TR_TRY(backward_of(t, row, &group));
        }
    }
    keep_scalar(t, "loss", total / (double)input->tokens);
done:
    return status;
}

static tr_status make_buffers(tracer *t, const tr_network_limits *limits)
{
    int64_t targets = limits->targets, sum = t->input->kind == TR_TRACE_GROUPS ? t->input->tokens : 0;
    int64_t all = targets > sum ? targets : sum;
    t->logp = tr_calloc((size_t)all, sizeof *t->logp);
    t->entropy = tr_calloc((size_t)all, sizeof *t->entropy);
    t->dlogp = tr_calloc((size_t)all, sizeof *t->dlogp);
    t->dfeatures = tr_calloc((size_t)(limits->patches / 4), (size_t)t->model->config.hidden * sizeof *t->dfeatures);
    return t->logp && t->entropy && t->dlogp && t->dfeatures
               ? TR_OK
               : tr_fail(t->err, TR_MEMORY, NULL, "no memory for %lld log-probs", (long long)all);
}

tr_status tr_trace_run(tr_model *model, const tr_trace_input *input, bool backward, tr_safetensors_builder *out,
                       tr_error *err)
{
    backward = backward && input->kind != TR_TRACE_TEXT;
    tracer t = {.model = model, .input = input, .out = out, .backward = backward, .err = err};
    tr_network_limits limits = tr_trace_limits(input, backward);
    tr_status status;
    TR_TRY(make_buffers(&t, &limits));
    TR_TRY(tr_network_create(model, &limits, &t.network, err));
    if (backward) {
        tr_model_zero_gradients(model);
    }
    switch (input->kind) {
    case TR_TRACE_VISION:
        TR_TRY(trace_vision(&t));
        break;
    case TR_TRACE_TEXT:
        TR_TRY(trace_text(&t));
        break;
    case TR_TRACE_GROUPS:
        TR_TRY(trace_groups(&t));
        break;
    case TR_TRACE_SFT:
        TR_TRY(trace_sft(&t));
        break;
    }
    if (backward) {
        keep_gradients(&t);
    }
    status = t.status;
done:
    tr_network_free(t.network);
    free(t.logp);
    free(t.entropy);
    free(t.dlogp);
    free(t.dfeatures);
    return status;
}
