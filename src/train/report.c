/* report.c: what a step's parts add to its report, for the step as a whole and for each task; and the watch over
 * its responses. Numbers only: log.c writes them. */
#include "train/trainer.h"

#include "base/memory.h"
#include "base/random.h"
#include "task/reward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tr_report_add(tr_named_sum *sums, const char *name, double value)
{
    for (int i = 0; i < TR_STEP_NAMES; i++) {
        if (!sums[i].count) {
            snprintf(sums[i].name, sizeof sums[i].name, "%s", name);
        }
        if (!strcmp(sums[i].name, name)) {
            sums[i].sum += value;
            sums[i].count++;
            return;
        }
    }
}

/* Every known task has its place, so that steps list them in one order; behind those there is room for others. */
tr_task_report *tr_report_task(tr_step_report *report, const char *task)
{
    tr_task known;
    int i = tr_task_from_name(task, &known, NULL) ? TR_TASK_COUNT : (int)known;
    while (i < TR_STEP_TASKS - 1 && report->tasks[i].name[0] && strcmp(report->tasks[i].name, task) != 0) {
        i++;
    }
    if (!report->tasks[i].name[0]) {
        snprintf(report->tasks[i].name, sizeof report->tasks[i].name, "%s", task);
    }
    return &report->tasks[i];
}

void tr_report_prompt(tr_step_report *report, const tr_sample *sample)
{
    tr_task_report *task = tr_report_task(report, sample->task);
    report->prompt_tokens += sample->prompt;
    task->prompt_tokens += sample->prompt;
    task->prompts++;
}

static void add_length(int64_t tokens, int64_t responses, int64_t *shortest, int64_t *longest)
{
    *shortest = !responses || tokens < *shortest ? tokens : *shortest;
    *longest = !responses || tokens > *longest ? tokens : *longest;
}

void tr_report_response(tr_step_report *report, const char *name, const tr_score *score, int64_t tokens,
                        bool stopped)
{
    tr_task_report *task = tr_report_task(report, name);
    add_length(tokens, report->responses, &report->shortest, &report->longest);
    add_length(tokens, task->responses, &task->shortest, &task->longest);
    report->reward += score->reward;
    report->formatted += score->format;
    report->parsed += !score->error[0];
    report->truncated += !stopped;
    report->responses++;
    task->reward += score->reward;
    task->formatted += score->format;
    task->parsed += !score->error[0];
    task->truncated += !stopped;
    task->response_tokens += tokens;
    task->responses++;
    for (int p = 0; p < score->part_count; p++) {
        tr_report_add(report->parts, score->parts[p].name, score->parts[p].value);
        tr_report_add(task->parts, score->parts[p].name, score->parts[p].value);
    }
}

void tr_report_group(tr_step_report *report, const char *name, double deviation, bool zero_variance)
{
    tr_task_report *task = tr_report_task(report, name);
    report->reward_std += deviation;
    report->zero_variance += zero_variance;
    task->reward_std += deviation;
    task->zero_variance += zero_variance;
}

void tr_report_policy(tr_step_report *report, const char *name, const tr_policy_sums *before,
                      const tr_policy_sums *after)
{
    tr_task_report *task = tr_report_task(report, name);
    task->loss += after->loss - before->loss;
    task->kl += after->kl - before->kl;
    task->entropy += after->entropy - before->entropy;
    task->tokens += after->tokens - before->tokens;
}

/* ---- the watch ---- */

/* What answers of a step are laid out in. */
typedef struct board {
    tr_watch_answer *answers; /* [P * group] those with a text */
    unsigned **signs;         /* [P * group] where each answer's signs go */
    tr_interval *intervals;   /* of all answers, then room for the longest */
    int32_t *table;
    size_t count, slots, interval_count, interval_capacity, longest;
} board;

/* The list of pairs in what was understood; NULL when there is none. */
static const json_t *segments_of(const json_t *parsed)
{
    const json_t *list = json_is_object(parsed) ? json_object_get(parsed, "segments") : parsed;
    return json_is_array(list) ? list : NULL;
}

static char option_of(const json_t *parsed)
{
    const json_t *option = json_is_object(parsed) ? json_object_get(parsed, "option") : parsed;
    return json_is_string(option) ? json_string_value(option)[0] : 0;
}

static tr_interval pair(const json_t *item)
{
    return (tr_interval){json_number_value(json_array_get(item, 0)), json_number_value(json_array_get(item, 1))};
}

static tr_status add_intervals(board *b, const json_t *list, tr_error *err)
{
    size_t count = json_array_size(list);
    tr_status status =
        tr_grow(&b->intervals, &b->interval_capacity, b->interval_count + count, sizeof *b->intervals, err);
    for (size_t i = 0; !status && i < count; i++) {
        b->intervals[b->interval_count++] = pair(json_array_get(list, i));
    }
    b->longest = count > b->longest ? count : b->longest;
    return status;
}

/* A number for what is true of a row, and the seconds that its events cover. */
static tr_status read_truth(board *b, const tr_sample *s, uint64_t *number, double *seconds, tr_error *err)
{
    const json_t *segments = json_object_get(s->truth, "segments");
    const char *answer = json_string_value(json_object_get(s->truth, "answer"));
    size_t first = b->interval_count, count = json_array_size(segments);
    tr_status status = add_intervals(b, segments, err);
    *number = 0;
    *seconds = 0;
    if (status || (!segments && !answer)) {
        return status;
    }
    tr_interval *list = b->intervals + first;
    uint64_t parts[2] = {count ? tr_hash(list, count * sizeof *list) : 0, answer ? tr_hash_text(answer) : 0};
    *number = tr_hash(parts, sizeof parts) | 1;
    *seconds = count ? tr_union_length(list, tr_interval_union(list, count)) : 0;
    b->interval_count = first; /* only needed here */
    return TR_OK;
}

static tr_status add_prompt(tr_trainer *t, int64_t i, board *b)
{
    const tr_rollout_group *a = &t->answered[i];
    uint64_t truth;
    double truth_s;
    int64_t at = 0;
    tr_status status = read_truth(b, &t->samples[i], &truth, &truth_s, t->err);
    for (int64_t r = 0; !status && r < t->sampled && t->texts[i * t->group + r]; r++) {
        const json_t *parsed = t->scores[i * t->group + r].parsed, *list = segments_of(parsed);
        const char *text = t->texts[i * t->group + r];
        b->answers[b->count] = (tr_watch_answer){.row = t->samples[i].row,
                                                 .group = i,
                                                 .truth = truth,
                                                 .truth_s = truth_s,
                                                 .duration_s = t->samples[i].duration_s,
                                                 .text = text,
                                                 .length = strlen(text),
                                                 .ids = a->ids + at,
                                                 .tokens = (size_t)a->lengths[r],
                                                 .count = json_array_size(list),
                                                 .option = option_of(parsed)};
        b->signs[b->count++] = &t->signs[i * t->group + r];
        status = add_intervals(b, list, t->err);
        at += a->lengths[r];
    }
    return status;
}

/* Where the intervals of each answer begin; the list no longer moves. */
static void point(board *b)
{
    size_t at = 0;
    for (size_t i = 0; i < b->count; i++) {
        b->answers[i].intervals = b->intervals + at;
        at += b->answers[i].count;
    }
}

static void warn(tr_trainer *t, const tr_step_report *report)
{
    unsigned above = 0;
    double limit = t->config->train.watch;
    for (int s = 0; s < TR_WATCH_COUNT && limit > 0; s++) {
        double share = (double)report->watch[s] / (double)report->watched;
        above |= share > limit ? 1u << s : 0;
        if (share > limit && !(t->warned >> s & 1u)) {
            fprintf(stderr, "step %lld: watch %s: %.0f %% of the responses %s (train.watch %g)\n",
                    (long long)t->step + 1, tr_watch_name((tr_watch_sign)s), 100 * share,
                    tr_watch_words((tr_watch_sign)s), limit);
        }
    }
    t->warned = above;
}

static void count_signs(tr_trainer *t, const board *b, tr_step_report *report)
{
    for (size_t i = 0; i < b->count; i++) {
        tr_task_report *task = tr_report_task(report, t->samples[b->answers[i].group].task);
        *b->signs[i] = b->answers[i].signs;
        report->watched++;
        task->watched++;
        for (int s = 0; s < TR_WATCH_COUNT; s++) {
            int64_t shown = b->answers[i].signs >> s & 1u;
            report->watch[s] += shown;
            task->watch[s] += shown;
        }
    }
}

tr_status tr_trainer_watch(tr_trainer *t, tr_step_report *report)
{
    size_t all = (size_t)(t->prompts * t->group);
    board b = {.answers = tr_calloc(all, sizeof *b.answers), .signs = tr_calloc(all, sizeof *b.signs)};
    tr_status status = TR_OK;
    for (b.slots = 64; b.slots < 2 * (size_t)report->longest;) {
        b.slots *= 2;
    }
    b.table = tr_calloc(b.slots, sizeof *b.table);
    if (!b.answers || !b.signs || !b.table) {
        status = tr_fail(t->err, TR_MEMORY, NULL, "out of memory for a look at the responses");
        goto done;
    }
    for (int64_t i = 0; i < t->prompts; i++) {
        TR_TRY(add_prompt(t, i, &b));
    }
    TR_TRY(
        tr_grow(&b.intervals, &b.interval_capacity, b.interval_count + b.longest + 1, sizeof *b.intervals, t->err));
    point(&b);
    tr_watch_judge(b.answers, b.count, b.table, b.slots, b.intervals + b.interval_count);
    count_signs(t, &b, report);
    warn(t, report);
done:
    free(b.answers);
    free(b.signs);
    free(b.intervals);
    free(b.table);
    return status;
}
