/* eval.c: answers every row of a source in batches; the measuring is in measure.c. */
#include "eval/eval.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "corpus/rows.h"
#include "eval/measure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One batch: prompts that are prefilled into neighbouring slots and answered together. */
typedef struct batch {
    tr_sample *samples;         /* [groups] */
    tr_rollout_prompt *prompts; /* [groups] */
    tr_rollout_group *groups;   /* [groups] */
    float **features;           /* [groups], copies: a cache entry may leave before the batch is answered */
    int64_t count;
} batch;

typedef struct run {
    const tr_evaluator *evaluator;
    tr_source *source;
    const tr_eval_options *options;
    tr_sampling sampling;
    tr_rollout *rollout;
    tr_measure *measure;
    tr_file_writer predictions;
    bool writing;
    batch batch;
    tr_progress progress;
    double seconds;
    int64_t tokens;
} run;

static int64_t slots(const run *r)
{
    return r->evaluator->limits.decode_groups < r->evaluator->limits.decode_rows
               ? r->evaluator->limits.decode_groups
               : r->evaluator->limits.decode_rows;
}

static tr_status start(run *r, tr_error *err)
{
    int64_t n = slots(r);
    batch *b = &r->batch;
    b->samples = tr_calloc((size_t)n, sizeof *b->samples);
    b->prompts = tr_calloc((size_t)n, sizeof *b->prompts);
    b->groups = tr_calloc((size_t)n, sizeof *b->groups);
    b->features = tr_calloc((size_t)n, sizeof *b->features);
    if (!b->samples || !b->prompts || !b->groups || !b->features) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for an evaluation batch");
    }
    const tr_model_config *config = &r->evaluator->model->config;
    r->sampling = r->options->sampling;
    r->sampling.banned = r->source->banned;
    r->sampling.end_ids = config->end_ids;
    r->sampling.end_count = config->end_count;
    tr_status status;
    TR_TRY(tr_rollout_create(r->evaluator->network, &r->evaluator->limits, r->evaluator->model, n, 1,
                             r->sampling.max_tokens, &r->rollout, err));
    TR_TRY(tr_measure_create(&r->measure, err));
    if (r->options->out) {
        char *path = tr_path_join(r->options->out, "predictions.jsonl");
        status = path ? tr_directory_make(r->options->out, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
        if (!status) {
            status = tr_file_writer_open(&r->predictions, path, err);
            r->writing = !status;
        }
        free(path);
    }
done:
    return status;
}

static void clear_batch(batch *b)
{
    for (int64_t i = 0; i < b->count; i++) {
        tr_sample_clear(&b->samples[i]);
        free(b->features[i]);
        b->features[i] = NULL;
    }
    b->count = 0;
}

static int64_t row_count(const run *r)
{
    int64_t rows = r->source->rows, first = r->options->first_rows;
    return first > 0 && first < rows ? first : rows;
}

/* Has the clips of this batch and the next opened meanwhile. A list that finds no memory costs time only. */
static void look_ahead(const run *r, int64_t row)
{
    int64_t left = row_count(r) - row, count = 2 * slots(r) < left ? 2 * slots(r) : left;
    int64_t *rows = tr_calloc((size_t)count, sizeof *rows);
    for (int64_t i = 0; rows && i < count; i++) {
        rows[i] = row + i;
    }
    if (rows) {
        tr_source_ahead(r->source, rows, count);
    }
    free(rows);
}

/* Adds a row to the batch. A row that cannot be read is counted and the evaluation goes on. */
static tr_status add_row(run *r, int64_t row, tr_error *err)
{
    batch *b = &r->batch;
    tr_sample *sample = &b->samples[b->count];
    tr_error why = {0};
    if (!b->count) {
        look_ahead(r, row);
    }
    tr_status status = r->source->call->load(r->source, row, false, sample, &why);
    const float *features = NULL;
    if (!status) {
        status = tr_features_get(r->evaluator->features, r->evaluator->network, &r->evaluator->model->config,
                                 r->source, sample, r->options->feature_version, &features, NULL, NULL, &why);
    }
    if (status == TR_MEMORY || status == TR_NUMERIC || status == TR_INTERRUPTED) {
        tr_sample_clear(sample);
        if (err) {
            *err = why;
        }
        return status;
    }
    if (status) {
        fprintf(stderr, "not answered: %s%s%s\n", why.where, why.where[0] ? ": " : "", why.message);
        tr_sample_clear(sample);
        return tr_measure_skip(r->measure, &why, err);
    }
    tr_sample_drop_patches(sample);
    size_t bytes = (size_t)sample->visual_tokens * (size_t)r->evaluator->model->config.hidden * sizeof(float);
    if (bytes) {
        b->features[b->count] = tr_calloc_aligned(bytes, 1);
        if (!b->features[b->count]) {
            tr_sample_clear(sample);
            return tr_fail(err, TR_MEMORY, NULL, "out of memory for the features of a batch");
        }
        memcpy(b->features[b->count], features, bytes);
    }
    b->prompts[b->count] = (tr_rollout_prompt){.prompt = {.prompt_ids = sample->prompt_ids,
                                                          .positions = sample->positions,
                                                          .prompt = sample->prompt,
                                                          .features = b->features[b->count],
                                                          .visual_tokens = sample->visual_tokens},
                                               .row = (uint32_t)row};
    b->count++;
    return TR_OK;
}

static tr_status take_answer(run *r, int64_t index, tr_error *err)
{
    const tr_rollout_group *group = &r->batch.groups[index];
    const tr_sample *sample = &r->batch.samples[index];
    tr_buffer text = {0};
    tr_score score = {0};
    json_t *prediction = NULL;
    tr_status status;
    TR_TRY(r->source->call->text(r->source, group->ids, group->lengths[0], &text, err));
    TR_TRY(r->source->call->score(r->source, sample, tr_buffer_text(&text), text.length, group->stopped[0], &score,
                                  err));
    TR_TRY(tr_measure_add(r->measure, sample, tr_buffer_text(&text), text.length, group->lengths[0],
                          group->stopped[0], &score, &prediction, err));
    if (r->writing) {
        TR_TRY(tr_row_write(r->predictions.stream, prediction, err));
    }
done:
    json_decref(prediction);
    tr_score_clear(&score);
    tr_buffer_free(&text);
    return status;
}

static tr_status answer_batch(run *r, tr_error *err)
{
    if (!r->batch.count) {
        return TR_OK;
    }
    tr_status status = tr_rollout_run(r->rollout, r->batch.prompts, r->batch.count, 1, &r->sampling,
                                      r->options->seed, 0, r->batch.groups, NULL, NULL, NULL, err);
    for (int64_t i = 0; !status && i < r->batch.count; i++) {
        r->tokens += r->batch.groups[i].tokens;
        status = take_answer(r, i, err);
    }
    clear_batch(&r->batch);
    return status;
}

static tr_status answer_all(run *r, tr_error *err)
{
    int64_t rows = row_count(r);
    tr_progress_begin(&r->progress, r->options->label ? r->options->label : "evaluation", rows);
    double began = tr_time_s();
    tr_status status = TR_OK;
    for (int64_t row = 0; !status && row < rows; row++) {
        status = add_row(r, row, err);
        if (!status && (r->batch.count == slots(r) || row + 1 == rows)) {
            status = answer_batch(r, err);
            char note[64];
            snprintf(note, sizeof note, "mean reward %.3f", tr_measure_reward(r->measure));
            tr_progress_update(&r->progress, row + 1, note);
        }
    }
    r->seconds = tr_time_s() - began;
    char note[64];
    snprintf(note, sizeof note, "mean reward %.3f", tr_measure_reward(r->measure));
    tr_progress_end(&r->progress, note);
    return status;
}

/* The protocol card: what produced these numbers. */
static json_t *card(const run *r)
{
    const tr_sampling *s = &r->sampling;
    json_t *card = json_pack(
        "{s:s, s:I, s:{s:f, s:f, s:I, s:f, s:I, s:I}, s:f, s:I, s:s, s:s}", "program", "tempr1 " TEMPR1_VERSION,
        "rows", (json_int_t)r->source->rows, "sampling", "temperature", s->temperature, "top_p", s->top_p, "top_k",
        (json_int_t)s->top_k, "min_p", s->min_p, "max_tokens", (json_int_t)s->max_tokens, "seed",
        (json_int_t)r->options->seed, "seconds", r->seconds, "tokens", (json_int_t)r->tokens, "kernels",
        r->evaluator->model->ops->name, "dtype", tr_dtype_name(r->evaluator->model->dtype));
    if (card && r->options->card) {
        json_object_update(card, (json_t *)(uintptr_t)r->options->card);
    }
    return card;
}

/* Both files or none: the metrics are on the disk, under another name, before the predictions take their place. */
static tr_status write_results(run *r, const json_t *metrics, tr_error *err)
{
    tr_file_writer writer = {0};
    char *path = tr_path_join(r->options->out, "metrics.json"), *text = json_dumps(metrics, JSON_INDENT(2));
    tr_status status = path && text ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory for the metrics");
    bool open = false;
    TR_TRY(status);
    TR_TRY(tr_file_writer_open(&writer, path, err));
    open = true;
    TR_TRY(tr_file_writer_write(&writer, text, strlen(text), err));
    TR_TRY(tr_file_writer_write(&writer, "\n", 1, err));
    if (fflush(writer.stream)) {
        status = tr_fail(err, TR_IO, path, "cannot write the metrics: %s", strerror(errno));
        goto done;
    }
    r->writing = false;
    TR_TRY(tr_file_writer_commit(&r->predictions, err));
    open = false;
    status = tr_file_writer_commit(&writer, err);
done:
    if (open) {
        tr_file_writer_abandon(&writer);
    }
    free(text);
    free(path);
    return status;
}

static tr_status finish(run *r, json_t **metrics, tr_error *err)
{
    tr_status status = TR_OK;
    json_t *protocol = card(r);
    TR_TRY(tr_measure_metrics(r->measure, metrics, err));
    if (!protocol || json_object_set(*metrics, "protocol", protocol)) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory for the metrics");
        goto done;
    }
    if (r->writing) {
        TR_TRY(write_results(r, *metrics, err));
    }
done:
    json_decref(protocol);
    return status;
}

tr_status tr_eval_run(const tr_evaluator *evaluator, tr_source *source, const tr_eval_options *options,
                      json_t **metrics, tr_error *err)
{
    run r = {.evaluator = evaluator, .source = source, .options = options};
    *metrics = NULL;
    tr_status status;
    TR_TRY(start(&r, err));
    TR_TRY(answer_all(&r, err));
    TR_TRY(finish(&r, metrics, err));
done:
    if (r.writing) {
        tr_file_writer_abandon(&r.predictions);
    }
    if (status) {
        json_decref(*metrics);
        *metrics = NULL;
    }
    clear_batch(&r.batch);
    free(r.batch.samples);
    free(r.batch.prompts);
    free(r.batch.groups);
    free(r.batch.features);
    tr_measure_free(r.measure);
    tr_rollout_free(r.rollout);
    return status;
}

void tr_eval_limits(const tr_source *source, int64_t groups, int64_t responses, int64_t max_tokens,
                    tr_network_limits *limits)
{
    *limits = (tr_network_limits){.patches = source->limits.patches,
                                  .largest_grid = source->limits.largest_grid,
                                  .prompt_tokens = source->limits.prompt_tokens,
                                  .responses = 0,
                                  .decode_rows = groups * responses,
                                  .decode_groups = groups,
                                  .decode_tokens = max_tokens};
}
