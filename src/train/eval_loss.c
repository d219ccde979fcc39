/* eval_loss.c: the supervised loss on the eval rows under the present weights: the mean of -log p over the tokens
 * of their targets. Rows of one clip that are neighbours in the file are packed as in training. Samples nothing,
 * keeps no activations, changes no weight. */
#include "train/trainer.h"

#include "base/memory.h"
#include "base/progress.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct held_out {
    tr_trainer *t;
    tr_sample *samples; /* [pack.pairs] of one clip */
    int64_t count;
    double loss;
    int64_t rows, tokens, skipped;
} held_out;

/* The losses of the samples at hand, which leave. */
static tr_status measure(held_out *h)
{
    tr_trainer *t = h->t;
    tr_group group;
    const float *features;
    int64_t saved, at = 0;
    tr_status status;
    TR_TRY(tr_features_get(t->features, t->network, &t->model->config, t->eval_source, &h->samples[0], t->version,
                           &features, NULL, NULL, t->err));
    TR_TRY(tr_pack_build(&t->pack, &t->model->config, h->samples, h->count, features, &group, &saved, t->err));
    TR_TRY(tr_network_group_forward(t->network, &group, 1.0f, false, t->logp, NULL, t->err));
    for (int64_t r = 0; r < h->count; r++) {
        for (int64_t k = t->pack.rests[r]; k < t->pack.lengths[r]; k++) {
            h->loss -= (double)t->logp[at + k];
        }
        at += t->pack.lengths[r];
        h->tokens += t->pack.lengths[r] - t->pack.rests[r];
        h->rows++;
    }
done:
    for (int64_t i = 0; i < h->count; i++) {
        tr_sample_clear(&h->samples[i]);
    }
    h->count = 0;
    return status;
}

/* A row that cannot be used is said and counted, as in training. */
static tr_status load(held_out *h, int64_t row)
{
    tr_trainer *t = h->t;
    tr_sample *s = &h->samples[h->count];
    tr_error why = {0};
    tr_status status = t->eval_source->call->load(t->eval_source, row, true, s, &why);
    if (!status && (s->prompt > t->limits.prompt_tokens || s->target_count > t->limits.response_tokens)) {
        status =
            tr_fail(&why, TR_INVALID, s->id, "%lld prompt and %lld target tokens are more than was planned for",
                    (long long)s->prompt, (long long)s->target_count);
    }
    if (!status) {
        h->count++;
        return TR_OK;
    }
    tr_sample_clear(s);
    if (status == TR_MEMORY || status == TR_INTERRUPTED) {
        return tr_fail(t->err, status, why.where, "%s", why.message);
    }
    h->skipped++;
    fprintf(stderr, "row left out of the evaluation: %s%s%s\n", why.where, why.where[0] ? ": " : "", why.message);
    return TR_OK;
}

/* Has the clips of this row and some more opened meanwhile. */
static void look_ahead(const tr_trainer *t, int64_t row)
{
    int64_t rows[16], count = 0;
    for (; count < 16 && row + count < t->eval_source->rows; count++) {
        rows[count] = row + count;
    }
    tr_source_ahead(t->eval_source, rows, count);
}

static tr_status measure_all(held_out *h)
{
    tr_trainer *t = h->t;
    const tr_source *source = t->eval_source;
    const uint64_t *shared = t->config->sft.share_clip ? source->shared : NULL;
    tr_progress progress;
    tr_status status = TR_OK;
    tr_progress_begin(&progress, "evaluation loss", source->rows);
    for (int64_t row = 0; !status && row < source->rows; row++) {
        if (row % 8 == 0) {
            look_ahead(t, row);
        }
        bool joins = h->count && h->count < t->pack.pairs && shared && shared[h->samples[0].row] == shared[row];
        if (h->count && !joins) {
            status = measure(h);
        }
        status = status ? status : load(h, row);
        tr_progress_update(&progress, row + 1, NULL);
    }
    if (!status && h->count) {
        status = measure(h);
    }
    tr_progress_end(&progress, NULL);
    return status;
}

tr_status tr_trainer_eval_loss(tr_trainer *t, json_t **metrics)
{
    held_out h = {.t = t, .samples = tr_calloc((size_t)t->pack.pairs, sizeof *h.samples)};
    tr_status status = h.samples ? measure_all(&h) : tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
    for (int64_t i = 0; i < h.count; i++) {
        tr_sample_clear(&h.samples[i]);
    }
    free(h.samples);
    if (status) {
        return status;
    }
    *metrics = *metrics ? *metrics : json_object();
    json_object_set_new(*metrics, "loss", h.tokens ? json_real(h.loss / (double)h.tokens) : json_null());
    json_object_set_new(*metrics, "loss_tokens", json_integer(h.tokens));
    json_object_set_new(*metrics, "loss_rows", json_integer(h.rows));
    json_object_set_new(*metrics, "loss_skipped_rows", json_integer(h.skipped));
    return TR_OK;
}
