/* answers.c: rows in, answers out, a batch at a time. */
#include "eval/answers.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"

#include <stdlib.h>
#include <string.h>

/* A row of the batch: the slot that holds its sample, or why it could not be read. */
typedef struct entry {
    int64_t row, slot; /* slot -1: not read */
    tr_error why;
} entry;

enum { ENTRIES_PER_SLOT = 4 }; /* rows that cannot be read wait with the others, but not without end */

typedef struct run {
    const tr_evaluator *evaluator;
    tr_source *source;
    const tr_answers_options *options;
    const tr_answers_calls *calls;
    void *context;
    tr_sampling sampling;
    tr_rollout *rollout;
    int64_t slots, entries_room;
    entry *entries;             /* [entries_room], in the order of the rows */
    tr_sample *samples;         /* [slots] */
    tr_rollout_prompt *prompts; /* [slots] */
    tr_rollout_group *groups;   /* [slots] */
    float **features;           /* [slots], copies: a cache entry may leave before the batch is answered */
    int64_t entry_count, count;
    tr_answers_cost *cost;
} run;

static tr_status start(run *r, tr_error *err)
{
    const tr_network_limits *limits = &r->evaluator->limits;
    const tr_model_config *config = &r->evaluator->model->config;
    int64_t samples = r->options->samples, by_rows = limits->decode_rows / samples;
    r->slots = limits->decode_groups < by_rows ? limits->decode_groups : by_rows;
    if (r->slots < 1) {
        return tr_fail(err, TR_INVALID, "evaluation", "%lld answers a row do not fit %lld that are decoded at once",
                       (long long)samples, (long long)limits->decode_rows);
    }
    r->entries_room = r->slots * ENTRIES_PER_SLOT;
    size_t n = (size_t)r->slots;
    r->entries = tr_calloc((size_t)r->entries_room, sizeof *r->entries);
    r->samples = tr_calloc(n, sizeof *r->samples);
    r->prompts = tr_calloc(n, sizeof *r->prompts);
    r->groups = tr_calloc(n, sizeof *r->groups);
    r->features = tr_calloc(n, sizeof *r->features);
    if (!r->entries || !r->samples || !r->prompts || !r->groups || !r->features) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for an evaluation batch");
    }
    r->sampling = r->options->sampling;
    r->sampling.banned = r->source->banned;
    r->sampling.end_ids = config->end_ids;
    r->sampling.end_count = config->end_count;
    return tr_rollout_create(r->evaluator->network, limits, r->evaluator->model, r->slots, samples,
                             r->sampling.max_tokens, &r->rollout, err);
}

static void clear_batch(run *r)
{
    for (int64_t i = 0; i < r->count; i++) {
        tr_sample_clear(&r->samples[i]);
        free(r->features[i]);
        r->features[i] = NULL;
    }
    r->count = 0;
    r->entry_count = 0;
}

static void stop(run *r)
{
    clear_batch(r);
    free(r->entries);
    free(r->samples);
    free(r->prompts);
    free(r->groups);
    free(r->features);
    tr_rollout_free(r->rollout);
}

/* Loads a row with its features; *readable false when it is the row's fault that it cannot be. */
static tr_status load_row(run *r, int64_t row, tr_sample *sample, const float **features, bool *readable,
                          tr_error *why)
{
    tr_status status = r->source->call->load(r->source, row, false, sample, why);
    if (!status) {
        status = tr_features_get(r->evaluator->features, r->evaluator->network, &r->evaluator->model->config,
                                 r->source, sample, r->options->feature_version, features, NULL, NULL, why);
    }
    *readable = !status;
    if (status) {
        tr_sample_clear(sample);
    }
    return status == TR_MEMORY || status == TR_NUMERIC || status == TR_INTERRUPTED ? status : TR_OK;
}

/* Has the clips of this batch and the next opened meanwhile. A list that finds no memory costs time only. */
static void look_ahead(const run *r, int64_t row)
{
    int64_t left = r->options->end - row, count = 2 * r->slots < left ? 2 * r->slots : left;
    int64_t *rows = tr_calloc((size_t)count, sizeof *rows);
    for (int64_t i = 0; rows && i < count; i++) {
        rows[i] = row + i;
    }
    if (rows) {
        tr_source_ahead(r->source, rows, count);
    }
    free(rows);
}

/* Adds a row to the batch. A row that cannot be read is noted and the job goes on. */
static tr_status add_row(run *r, int64_t row, tr_error *err)
{
    tr_sample *sample = &r->samples[r->count];
    entry *e = &r->entries[r->entry_count];
    const float *features = NULL;
    bool readable;
    if (!r->entry_count) {
        look_ahead(r, row);
    }
    *e = (entry){.row = row, .slot = -1};
    tr_status status = load_row(r, row, sample, &features, &readable, &e->why);
    if (status || !readable) {
        if (status && err) {
            *err = e->why;
        } else if (!status) {
            fprintf(stderr, "not answered: %s%s%s\n", e->why.where, e->why.where[0] ? ": " : "", e->why.message);
            r->entry_count++;
        }
        return status;
    }
    tr_sample_drop_patches(sample);
    size_t bytes = (size_t)sample->visual_tokens * (size_t)r->evaluator->model->config.hidden * sizeof(float);
    if (bytes) {
        r->features[r->count] = tr_calloc_aligned(bytes, 1);
        if (!r->features[r->count]) {
            tr_sample_clear(sample);
            return tr_fail(err, TR_MEMORY, NULL, "out of memory for the features of a batch");
        }
        memcpy(r->features[r->count], features, bytes);
    }
    r->prompts[r->count] = (tr_rollout_prompt){.prompt = {.prompt_ids = sample->prompt_ids,
                                                          .positions = sample->positions,
                                                          .prompt = sample->prompt,
                                                          .features = r->features[r->count],
                                                          .visual_tokens = sample->visual_tokens},
                                               .row = (uint32_t)row};
    e->slot = r->count++;
    r->entry_count++;
    return TR_OK;
}

static tr_status answer_batch(run *r, tr_progress *progress, tr_error *err)
{
    tr_status status = TR_OK;
    if (r->count) {
        status = tr_rollout_run(r->rollout, r->prompts, r->count, r->options->samples, &r->sampling,
                                r->options->seed, 0, r->groups, NULL, NULL, NULL, err);
    }
    for (int64_t i = 0; !status && i < r->entry_count; i++) {
        const entry *e = &r->entries[i];
        tr_answered one = {.row = e->row, .why = &e->why};
        if (e->slot >= 0) {
            one.sample = &r->samples[e->slot];
            one.group = &r->groups[e->slot];
            one.why = NULL;
            r->cost->tokens += one.group->tokens;
        }
        r->cost->rows++;
        status = r->calls->take(r->context, &one, err);
    }
    char note[64] = "";
    status = status ? status : r->calls->batch(r->context, note, sizeof note, err);
    if (!status && r->entry_count) {
        tr_progress_update(progress, r->entries[r->entry_count - 1].row + 1 - r->options->first, note);
    }
    clear_batch(r);
    return status;
}

tr_status tr_answers_run(const tr_evaluator *evaluator, tr_source *source, const tr_answers_options *options,
                         const tr_answers_calls *calls, void *context, tr_answers_cost *cost, tr_error *err)
{
    run r = {.evaluator = evaluator,
             .source = source,
             .options = options,
             .calls = calls,
             .context = context,
             .cost = cost};
    tr_progress progress;
    char note[64] = "";
    *cost = (tr_answers_cost){0};
    if (options->first >= options->end) {
        return TR_OK;
    }
    double began = tr_time_s();
    tr_status status = start(&r, err);
    tr_progress_begin(&progress, options->label, options->end - options->first);
    for (int64_t row = options->first; !status && r.rollout && row < options->end; row++) {
        status = add_row(&r, row, err);
        bool full = r.count == r.slots || r.entry_count == r.entries_room;
        if (!status && (full || row + 1 == options->end)) {
            status = answer_batch(&r, &progress, err);
        }
    }
    status = status ? status : calls->batch(context, note, sizeof note, err);
    tr_progress_end(&progress, note);
    cost->seconds = tr_time_s() - began;
    stop(&r);
    return status;
}
