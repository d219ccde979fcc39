/* collect.c: the responses of one GRPO step: rows are taken, answered and judged; with dynamic sampling (DAPO)
 * groups without variance are replaced by further rows, a limited number of times; with grpo.off_policy
 * (TempSamp-R1) the last response of each group is the row's own target.
 *
 * The responses are copied out of the rollout's memory, which its next run overwrites. Everything follows from the
 * order's position and counters: a resumed run takes, answers and replaces the same. Never changes weights. */
#include "train/trainer.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bar {
    tr_progress progress;
    char note[64];
} bar;

static void show(void *context, int64_t tokens, int64_t finished, int64_t responses)
{
    bar *b = context;
    (void)responses;
    snprintf(b->note, sizeof b->note, "%lld tokens", (long long)tokens);
    tr_progress_update(&b->progress, finished, b->note);
}

/* ---- answers ---- */

/* A row that comes twice in a step gets other random numbers. */
static uint32_t times_asked(tr_trainer *t, int64_t row)
{
    uint32_t before = 0;
    for (int64_t k = 0; k < t->asked_count; k++) {
        before += t->asked_rows[k] == row;
    }
    t->asked_rows[t->asked_count++] = row;
    return before;
}

/* Copies a prompt's responses to place i. */
static void keep(tr_trainer *t, int64_t i, const tr_rollout_group *from)
{
    int32_t *ids = t->kept_ids + i * t->limits.targets;
    float *logp = t->kept_logp + i * t->limits.targets;
    int64_t *lengths = t->kept_lengths + i * t->group;
    uint8_t *stopped = t->kept_stopped + i * t->group;
    memcpy(ids, from->ids, (size_t)from->tokens * sizeof *ids);
    memcpy(logp, from->logp, (size_t)from->tokens * sizeof *logp);
    memcpy(lengths, from->lengths, (size_t)from->responses * sizeof *lengths);
    memcpy(stopped, from->stopped, (size_t)from->responses);
    t->answered[i] = (tr_rollout_group){from->responses, from->tokens, ids, logp, lengths, stopped};
    if (t->sampled < t->group) { /* its log-probabilities come with the first forward of the update */
        const tr_sample *s = &t->samples[i];
        memcpy(ids + from->tokens, s->target_ids, (size_t)s->target_count * sizeof *ids);
        memset(logp + from->tokens, 0, (size_t)s->target_count * sizeof *logp);
        lengths[t->sampled] = s->target_count;
        stopped[t->sampled] = 1;
        t->answered[i].responses++;
        t->answered[i].tokens += s->target_count;
    }
}

/* The rows of one round, taken as the rollout asks for them. */
typedef struct round_feed {
    tr_trainer *t;
    const int64_t *places;
    int64_t taken;
    tr_step_report *report;
} round_feed;

static tr_status take_row(void *context, int64_t k, const tr_visual **visual, float **features, tr_error *err)
{
    round_feed *f = context;
    tr_trainer *t = f->t;
    const int64_t i = f->places[k];
    const double decode_s = t->source->decode_s;
    (void)err; /* the trainer's own */
    tr_status status = tr_trainer_take_one(t, i, f->report);
    f->report->seconds.decode += t->source->decode_s - decode_s;
    if (status) {
        return status;
    }
    f->taken++;
    const tr_sample *s = &t->samples[i];
    const uint32_t before = times_asked(t, s->row);
    t->asked[i] = (tr_rollout_prompt){t->groups[i], (uint32_t)s->row, before * (uint32_t)t->group};
    t->round_asked[k] = t->asked[i];
    *visual = t->coming ? &s->visual : NULL;
    *features = t->coming;
    return TR_OK;
}

static void row_is_made(void *context, int64_t k)
{
    round_feed *f = context;
    tr_trainer *t = f->t;
    const int64_t i = f->places[k];
    tr_features_end(t->features, &t->samples[i], true);
    t->groups[i].features = t->asked[i].prompt.features = t->coming;
    t->coming = NULL;
}

/* A rollout that ended early leaves rows of the order that others have to come after. */
static tr_status take_the_rest(round_feed *f, int64_t count)
{
    const tr_visual *visual;
    float *features;
    tr_status status = TR_OK;
    while (!status && f->taken < count) {
        status = take_row(f, f->taken, &visual, &features, f->t->err);
    }
    return status;
}

/* Takes and answers the prompts of `count` places. TR_NUMERIC is no error here: it marks the step as skipped. */
static tr_status answer(tr_trainer *t, const int64_t *places, int64_t count, int64_t round, tr_step_report *report)
{
    tr_rollout_times times = {0};
    round_feed rows = {.t = t, .places = places, .report = report};
    const tr_rollout_feed feed = {&rows, take_row, row_is_made};
    bar b;
    char label[64];
    if (round) {
        snprintf(label, sizeof label, "step %lld rollout, round %lld", (long long)t->step + 1,
                 (long long)round + 1);
    } else {
        snprintf(label, sizeof label, "step %lld rollout", (long long)t->step + 1);
    }
    tr_progress_begin(&b.progress, label, count * t->sampled);
    tr_rollout_set_feed(t->rollout, &feed);
    tr_status status = tr_rollout_run(t->rollout, t->round_asked, count, t->sampled, &t->sampling,
                                      (uint64_t)t->config->train.seed, (uint32_t)(t->step + 1), t->round_answered,
                                      &times, t->options->quiet ? NULL : show, &b, t->err);
    tr_rollout_set_feed(t->rollout, NULL);
    if (b.progress.drawn && b.progress.terminal) {
        fputs("\r\033[K", stderr); /* the step's line takes the bar's place */
    }
    report->groups += count;
    report->seconds.vision += times.vision_s;
    report->seconds.prefill += times.prefill_s;
    report->seconds.rollout += times.decode_s;
    if (status == TR_NUMERIC) {
        report->skipped = true;
        snprintf(report->reason, sizeof report->reason, "%s", t->err->message);
        return take_the_rest(&rows, count);
    }
    for (int64_t k = 0; !status && k < count; k++) {
        keep(t, places[k], &t->round_answered[k]);
        report->response_tokens += t->round_answered[k].tokens;
    }
    return status;
}

/* ---- rewards ---- */

/* Text and reward of response r of prompt i. The row's target is judged too, but is no answer of the model's: it is
 * not counted. */
static tr_status judge(tr_trainer *t, int64_t i, int64_t r, int64_t at, tr_step_report *report)
{
    const tr_rollout_group *a = &t->answered[i];
    tr_score *score = &t->scores[i * t->group + r];
    tr_buffer text = {0};
    score->tokens = a->lengths[r];
    tr_status status = t->source->call->text(t->source, a->ids + at, a->lengths[r], &text, t->err);
    if (!status) {
        status = t->source->call->score(t->source, &t->samples[i], tr_buffer_text(&text), text.length,
                                        a->stopped[r], score, t->err);
    }
    char *copy = status ? NULL : tr_strndup(tr_buffer_text(&text), text.length);
    tr_buffer_free(&text);
    if (status) {
        return status;
    }
    if (!copy) {
        return tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
    }
    t->texts[i * t->group + r] = copy;
    t->rewards[i * t->group + r] = score->reward;
    if (r < t->sampled) {
        tr_report_response(report, t->samples[i].task, score, a->lengths[r], a->stopped[r]);
    }
    return TR_OK;
}

/* How well a response is placed: the part that speaks of times, else of the option, else the reward. */
static double placement(const tr_score *score)
{
    static const char *const names[] = {"iou", "iou_v2", "match", "hungarian_f1", "wasserstein", "global", "cls"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        for (int p = 0; p < score->part_count; p++) {
            if (!strcmp(score->parts[p].name, names[n])) {
                return score->parts[p].value;
            }
        }
    }
    return score->reward;
}

/* Whether nothing in group i is better than anything else. Penalties and KL do not count: DAPO looks at the task's
 * reward. */
static bool is_flat(const tr_trainer *t, int64_t i)
{
    const tr_score *scores = t->scores + i * t->group;
    const bool apart = t->config->grpo.off_policy == TR_OFF_POLICY_ANCHOR; /* the target is in no comparison */
    const int64_t count = apart ? t->sampled : t->group;
    for (int64_t r = 1; r < count; r++) {
        if (t->config->grpo.advantage != TR_ADVANTAGE_GDPO && !(scores[r].reward == scores[0].reward)) {
            return false;
        }
        for (int p = 0; t->config->grpo.advantage == TR_ADVANTAGE_GDPO && p < scores[r].part_count; p++) {
            if (scores[r].parts[p].weight != 0 && !(scores[r].parts[p].value == scores[0].parts[p].value)) {
                return false;
            }
        }
    }
    return true;
}

static tr_status judge_group(tr_trainer *t, int64_t i, tr_step_report *report)
{
    int64_t at = 0;
    double deviation, sum = 0;
    for (int64_t r = 0; r < t->group; r++) {
        tr_status status = judge(t, i, r, at, report);
        if (status) {
            return status;
        }
        at += t->answered[i].lengths[r];
        sum += r < t->sampled ? placement(&t->scores[i * t->group + r]) : 0;
    }
    if (t->algorithm.scores) {
        t->algorithm.scores[t->samples[i].row] = sum / (double)t->sampled;
    }
    tr_advantages(t->advantages + i * t->group, &deviation, t->rewards + i * t->group, t->sampled,
                  (tr_std_kind)t->config->grpo.std, t->config->grpo.std_eps);
    tr_report_group(report, t->samples[i].task, deviation, is_flat(t, i));
    return TR_OK;
}

/* ---- the step ---- */

tr_status tr_trainer_collect(tr_trainer *t, tr_step_report *report)
{
    int64_t count = t->prompts;
    tr_status status = tr_trainer_take_begin(t);
    t->asked_count = 0;
    for (int64_t i = 0; i < t->prompts; i++) {
        t->places[i] = i;
    }
    for (int64_t round = 0; !status && count; round++) {
        if ((status = answer(t, t->places, count, round, report)) || report->skipped) {
            break;
        }
        for (int64_t k = 0; !status && k < count; k++) {
            status = judge_group(t, t->places[k], report);
        }
        if (status || round == t->config->grpo.dynamic_rounds) {
            break;
        }
        count = 0;
        for (int64_t i = 0; i < t->prompts; i++) {
            if (is_flat(t, i)) {
                t->places[count++] = i;
            }
        }
        report->resampled += count;
        status = count ? tr_trainer_take_again(t, t->places, count, report) : TR_OK;
    }
    for (int64_t i = 0; !status && !report->skipped && i < t->prompts; i++) {
        t->groups[i].response_ids = t->answered[i].ids;
        t->groups[i].lengths = t->answered[i].lengths;
        t->groups[i].responses = t->answered[i].responses;
    }
    for (int64_t k = 0; k < t->prompts * t->group; k++) { /* until they are made */
        t->advantages[k] = 0;
    }
    if (!status && !report->skipped) {
        status = tr_trainer_watch(t, report);
    }
    return status;
}
