/* batch.c: takes the rows of a step and makes their prompts ready. */
#include "train/trainer.h"

#include "base/file.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void clear_place(tr_trainer *t, int64_t i)
{
    tr_sample_clear(&t->samples[i]);
    for (int64_t k = i * t->group; k < (i + 1) * t->group; k++) {
        tr_score_clear(&t->scores[k]);
        free(t->texts[k]);
        t->texts[k] = NULL;
    }
}

void tr_trainer_clear(tr_trainer *t)
{
    for (int64_t i = 0; i < t->prompts; i++) {
        clear_place(t, i);
    }
}

/* One broken clip must not end a run of days: it is said, counted and left out. Running out of memory or an
 * unreadable disk would hit every row, and ends it. */
static bool is_fatal(tr_status status)
{
    return status == TR_MEMORY || status == TR_INTERRUPTED;
}

static tr_group group_of(const tr_sample *s, const float *features)
{
    return (tr_group){.prompt_ids = s->prompt_ids,
                      .positions = s->positions,
                      .prompt = s->prompt,
                      .features = features,
                      .visual_tokens = s->visual_tokens};
}

/* The features under the present weights, and the group without responses. SFT with a trained vision tower needs
 * none here: its one forward makes them. */
static tr_status prepare(tr_trainer *t, int64_t i, tr_step_report *report, tr_error *err)
{
    tr_sample *s = &t->samples[i];
    const float *features = NULL;
    tr_status status = TR_OK;
    if (t->leaders[i] != i) { /* the group of its leader holds it */
        return TR_OK;
    }
    if (t->config->algorithm == TR_ALGORITHM_GRPO || !t->vision_trains) {
        status = tr_features_get(t->features, t->network, &t->model->config, t->source, s, t->version, &features,
                                 &report->seconds.vision, &report->seconds.stall, err);
    }
    t->groups[i] = group_of(s, features);
    return status;
}

/* The same for a row that the rollout asks for: features that are not there are made with its prefill (t->coming is
 * where they go). */
static tr_status prepare_for_rollout(tr_trainer *t, int64_t i, tr_step_report *report, tr_error *err)
{
    const float *features = NULL;
    t->samples[i].lent = t->vision_trains ? NULL : tr_network_patches(t->network); /* trained, they stay longer */
    tr_status status = tr_features_begin(t->features, &t->model->config, t->source, &t->samples[i], t->version,
                                         &features, &t->coming, &report->seconds.stall, err);
    t->groups[i] = group_of(&t->samples[i], features);
    return status;
}

/* The sample whose packed group a row joins: that of the sample before, when it has the same clip and room. */
static int64_t leader_of(const tr_trainer *t, int64_t i, int64_t row)
{
    const uint64_t *shared = t->source->shared;
    bool joins = t->order.together > 1 && shared && i > 0 && shared[t->samples[i - 1].row] == shared[row] &&
                 i - t->leaders[i - 1] < t->pack.pairs;
    return joins ? t->leaders[i - 1] : i;
}

/* A truth that the clip does not hold cannot be learnt. Reading the rows holds it against their "duration", which
 * may be absent or wrong; this against the container, with as much slack as published annotations need. */
static tr_status check_times(const tr_sample *s, tr_error *err)
{
    const json_t *segments = json_object_get(s->truth, "segments");
    double limit = s->shown_s + fmax(0.5, 0.02 * s->shown_s);
    for (size_t i = 0; s->shown_s > 0 && i < json_array_size(segments); i++) {
        const json_t *pair = json_array_get(segments, i);
        double start = json_number_value(json_array_get(pair, 0)), end = json_number_value(json_array_get(pair, 1));
        if (start >= s->shown_s || end > limit) {
            return tr_fail(err, TR_INVALID, s->id,
                           "\"segments[%zu]\": [%g, %g] s lies outside the clip, which is %.3f s long; tempr1 data "
                           "check --videos DIR finds all such rows",
                           i, start, end, s->shown_s);
        }
    }
    return TR_OK;
}

/* Loads a row as sample i, whole or not at all. */
static tr_status load(tr_trainer *t, int64_t i, int64_t row, tr_step_report *report, tr_error *err)
{
    tr_sample *s = &t->samples[i];
    bool target = t->config->algorithm == TR_ALGORITHM_SFT || t->sampled < t->group;
    int64_t room = t->limits.response_tokens; /* for the target, beside sampled responses */
    if (t->config->algorithm == TR_ALGORITHM_GRPO) {
        room -= t->sampled * t->config->rollout.max_tokens;
    }
    double start_s = tr_time_s();
    tr_status status = t->source->call->load(t->source, row, target, s, err);
    status = status ? status : check_times(s, err);
    if (!status && target && s->target_count < 1) {
        status = tr_fail(err, TR_FORMAT, s->id, "the row has no target to learn");
    }
    if (!status && (s->prompt > t->limits.prompt_tokens || s->visual.rows > t->limits.patches)) {
        status = tr_fail(err, TR_INVALID, s->id, "the prompt takes %lld tokens, at most %lld were planned for",
                         (long long)s->prompt, (long long)t->limits.prompt_tokens);
    }
    if (!status && target && s->target_count > room) {
        status = tr_fail(err, TR_INVALID, s->id, "the target takes %lld tokens, at most %lld were planned for",
                         (long long)s->target_count, (long long)room);
    }
    t->leaders[i] = leader_of(t, i, row);
    if (!status && s->visual_tokens && t->vision_trains &&
        t->leaders[i] == i) { /* their backward needs the pixels again */
        status = t->source->call->patches(t->source, s, err);
    }
    report->seconds.stall += tr_time_s() - start_s;
    if (status) {
        return status;
    }
    return t->config->algorithm == TR_ALGORITHM_GRPO ? prepare_for_rollout(t, i, report, err)
                                                     : prepare(t, i, report, err);
}

/* Whether grpo.filter keeps a row out; never one that has no score yet. */
static bool is_filtered(const tr_trainer *t, int64_t row)
{
    const double *range = t->config->grpo.filter_range,
                 score = t->algorithm.scores ? t->algorithm.scores[row] : NAN;
    return !isnan(score) && !(score > range[0] && score <= range[1]);
}

/* The next row of the order that grpo.filter lets pass. When none does any more, what is known of them is
 * forgotten: all come again, which is better than a run that ends in its middle. */
static tr_status next_row(tr_trainer *t, int64_t *row, tr_step_report *report)
{
    for (int64_t left_out = 0;; left_out++) {
        tr_status status = tr_order_next(&t->order, row, t->err);
        if (status || !is_filtered(t, *row)) {
            return status;
        }
        report->filtered++;
        if (left_out >= 2 * t->order.length) { /* two epochs show every row that has a weight above one half */
            fprintf(stderr, "no row's score is within grpo.filter_range: all rows come again\n");
            for (int64_t i = 0; i < t->algorithm.rows; i++) {
                t->algorithm.scores[i] = NAN;
            }
        }
    }
}

tr_status tr_trainer_take_one(tr_trainer *t, int64_t i, tr_step_report *report)
{
    for (int64_t tries = 0; tries < t->order.length + t->prompts; tries++) {
        int64_t row;
        tr_error why = {0};
        tr_status status = next_row(t, &row, report);
        if (status) {
            return status;
        }
        if (!(status = load(t, i, row, report, &why))) {
            tr_report_prompt(report, &t->samples[i]);
            return TR_OK;
        }
        tr_sample_clear(&t->samples[i]);
        if (is_fatal(status)) {
            return tr_fail(t->err, status, why.where, "%s", why.message);
        }
        t->skipped_rows++;
        fprintf(stderr, "row left out: %s%s%s\n", why.where, why.where[0] ? ": " : "", why.message);
    }
    return tr_fail(t->err, TR_NOT_FOUND, "data", "not one of the %lld rows can be used; see the messages above",
                   (long long)t->order.length);
}

/* Has the clips of this step and the next opened meanwhile: the next step's while this one computes. */
static tr_status look_ahead(tr_trainer *t)
{
    int64_t left = (t->steps - t->step) * t->prompts, count = 2 * t->prompts < left ? 2 * t->prompts : left;
    int64_t *rows = tr_calloc((size_t)count, sizeof *rows);
    tr_status status = rows ? tr_order_peek(&t->order, rows, count, t->err)
                            : tr_fail(t->err, TR_MEMORY, NULL, "out of memory for the rows to come");
    int64_t wanted = 0;
    for (int64_t i = 0; !status && i < count; i++) {
        if (!is_filtered(t, rows[i])) {
            rows[wanted++] = rows[i];
        }
    }
    if (!status) {
        tr_source_ahead(t->source, rows, wanted);
    }
    free(rows);
    return status;
}

tr_status tr_trainer_take_begin(tr_trainer *t)
{
    tr_trainer_clear(t);
    return look_ahead(t);
}

tr_status tr_trainer_take(tr_trainer *t, tr_step_report *report)
{
    double decode_s = t->source->decode_s;
    tr_status status = tr_trainer_take_begin(t);
    for (int64_t i = 0; !status && i < t->prompts; i++) {
        status = tr_trainer_take_one(t, i, report);
    }
    report->groups = t->prompts;
    report->seconds.decode += t->source->decode_s - decode_s;
    return status;
}

tr_status tr_trainer_take_again(tr_trainer *t, const int64_t *places, int64_t count, tr_step_report *report)
{
    tr_status status = look_ahead(t);
    for (int64_t i = 0, k = 0; !status && i < t->prompts; i++) {
        if (k < count && places[k] == i) {
            clear_place(t, i);
            k++;
        } else { /* used last: what the new rows push out is what left */
            status = prepare(t, i, report, t->err);
        }
    }
    return status;
}
