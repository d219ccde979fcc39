/* check_bias.c: how rows are spread in time, and what an answer earns that never looks: histograms, guesses,
 * letters. */
#include "base/memory.h"
#include "base/progress.h"
#include "corpus/check_blind.h"
#include "corpus/check_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- histograms ---- */

enum { BINS = 20 };
typedef enum quantity { CLIP_S, SEGMENT_S, SEGMENTS, SHARE, START, END, QUANTITIES } quantity;
static const struct {
    const char *name, *title, *label;
    bool share; /* in shares of the clip, 0 to 1 */
} quantities[QUANTITIES] = {
    [CLIP_S] = {"clip_seconds", "length of the clips", "seconds", false},
    [SEGMENT_S] = {"segment_seconds", "length of the true intervals", "seconds", false},
    [SEGMENTS] = {"segments", "true intervals of a row", "number", false},
    [SHARE] = {"segment_share", "length of the true intervals in their clips", "share of the clip", true},
    [START] = {"start_share", "where the true intervals start", "share of the clip", true},
    [END] = {"end_share", "where the true intervals end", "share of the clip", true},
};

typedef struct values {
    double *items;
    size_t count;
} values;

/* All values of one quantity and task; the caller frees items. */
static bool collect(const check_audit *audit, tr_task task, quantity what, values *out)
{
    out->count = 0;
    out->items = tr_calloc(audit->row_count + audit->segment_count, sizeof *out->items);
    for (size_t r = 0; out->items && r < audit->row_count; r++) {
        const check_row *row = &audit->rows[r];
        double duration = check_duration(audit, row);
        if (row->task != task) {
            continue;
        }
        if (what == CLIP_S && duration > 0) {
            out->items[out->count++] = duration;
        } else if (what == SEGMENTS && task != TR_TASK_QA) {
            out->items[out->count++] = (double)row->segment_count;
        }
        for (size_t i = 0; i < row->segment_count && what != CLIP_S && what != SEGMENTS; i++) {
            tr_interval s = audit->segments[row->segment_at + i];
            double value = what == START ? s.start_s : what == END ? s.end_s : s.end_s - s.start_s;
            if (what == SEGMENT_S || duration > 0) {
                out->items[out->count++] = what == SEGMENT_S ? value : value / duration;
            }
        }
    }
    return out->items != NULL;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const values *sorted, double q)
{
    return sorted->items[(size_t)(q * (double)(sorted->count - 1) + 0.5)];
}

/* A round width so that BINS of them hold `most`. */
static double bin_width(double most)
{
    static const double steps[] = {1, 2, 2.5, 5, 10};
    double power = pow(10, floor(log10(most / BINS)));
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (steps[i] * power * BINS >= most * (1 - 1e-12)) {
            return steps[i] * power;
        }
    }
    return 10 * power;
}

/* Counts per bin; the last bin also takes what lies above it, the first what lies below. */
static json_t *count_bins(const values *v, double width)
{
    json_int_t bins[BINS] = {0};
    json_t *list = json_array();
    for (size_t i = 0; i < v->count; i++) {
        double place = floor(v->items[i] / width + 1e-9);
        bins[place < 0 ? 0 : place > BINS - 1 ? BINS - 1 : (int)place]++;
    }
    for (int i = 0; list && i < BINS; i++) {
        json_array_append_new(list, json_integer(bins[i]));
    }
    return list;
}

static json_t *histogram(const check_audit *audit, quantity what)
{
    values v[TR_TASK_COUNT] = {0};
    double most = 0;
    json_t *tasks = json_array();
    bool made = tasks != NULL;
    for (int t = 0; t < TR_TASK_COUNT && made; t++) {
        made = collect(audit, (tr_task)t, what, &v[t]);
        if (made && v[t].count) {
            qsort(v[t].items, v[t].count, sizeof *v[t].items, compare_doubles);
            most = fmax(most, quantile(&v[t], 0.99)); /* a few very long ones must not flatten the rest */
        }
    }
    double width = quantities[what].share ? 1.0 / BINS : what == SEGMENTS ? 1 : most > 0 ? bin_width(most) : 1;
    for (int t = 0; t < TR_TASK_COUNT; t++) {
        if (made && v[t].count) {
            json_array_append_new(tasks, json_pack("{s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:o}", "task",
                                                   tr_task_name((tr_task)t), "count", (json_int_t)v[t].count,
                                                   "least", v[t].items[0], "p5", quantile(&v[t], 0.05), "median",
                                                   quantile(&v[t], 0.5), "p95", quantile(&v[t], 0.95), "most",
                                                   v[t].items[v[t].count - 1], "bins", count_bins(&v[t], width)));
        }
        free(v[t].items);
    }
    if (!made) {
        json_decref(tasks);
        return NULL;
    }
    return json_pack("{s:s, s:s, s:s, s:f, s:o}", "name", quantities[what].name, "title", quantities[what].title,
                     "label", quantities[what].label, "bin", width, "tasks", tasks);
}

json_t *check_histograms(const check_audit *audit)
{
    json_t *list = json_array();
    for (int what = 0; list && what < QUANTITIES; what++) {
        json_t *one = histogram(audit, (quantity)what);
        if (!one || json_array_append_new(list, one)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* ---- guesses ---- */

/* Pairs of a random guess and a sample: beyond them evenly spaced guesses stand for all. */
static const uint64_t prior_pairs = UINT64_C(100000000);

/* Rows that are judged together. */
typedef struct group {
    size_t source, split;
    tr_task task;
    size_t rows;
    tr_blind_set sets[2]; /* seconds, shares */
    tr_blind_best best[2];
} group;

static bool in_group(const check_row *row, const group *g)
{
    return row->source == g->source && row->split == g->split && row->task == g->task;
}

/* dtg: one sample per query; else one per row. Rows without a truth are no samples. */
static tr_status fill_group(const check_audit *audit, group *g, tr_error *err)
{
    size_t count = 0, capacity = 0;
    tr_blind_sample *samples = NULL;
    tr_status status = TR_OK;
    for (size_t r = 0; r < audit->row_count; r++) {
        const check_row *row = &audit->rows[r];
        size_t n = row->segment_count, step = g->task == TR_TASK_DTG ? 1 : n;
        for (size_t i = 0; in_group(row, g) && i < n; i += step) {
            TR_TRY(tr_grow(&samples, &capacity, count + 1, sizeof *samples, err));
            samples[count++] =
                (tr_blind_sample){audit->segments + row->segment_at + i, step, check_duration(audit, row)};
        }
    }
    for (int shares = 0; shares < 2; shares++) {
        TR_TRY(tr_blind_set_make(samples, count, shares, &g->sets[shares], err));
    }
done:
    free(samples);
    return status;
}

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

/* One line of the table. unit NULL: the guess is no single interval. */
static tr_status add_guess(json_t *list, const char *name, const char *unit, const tr_interval *guess,
                           const double scores[TR_BLIND_GOALS], tr_error *err)
{
    json_t *item = json_pack("{s:s}", "guess", name);
    if (item && unit) {
        json_object_set_new(item, "unit", json_string(unit));
    }
    if (item && guess) {
        json_object_set_new(item, "interval", json_pack("[f, f]", guess->start_s, guess->end_s));
    }
    for (int goal = 0; item && goal < TR_BLIND_GOALS; goal++) {
        json_object_set_new(item, tr_blind_goal_names[goal], number(scores[goal]));
    }
    return !item || json_array_append_new(list, item) ? tr_fail(err, TR_MEMORY, NULL, "out of memory") : TR_OK;
}

/* The eight searches of a group are independent of each other, and side by side they give what they give alone. */
static tr_status add_best(const check_audit *audit, group *g, tr_progress *progress, json_t *list, tr_error *err)
{
    enum { SEARCHES = 2 * TR_BLIND_GOALS };
    static const char *const units[2] = {"seconds", "share"};
    tr_blind_best best[SEARCHES];
    tr_status status = TR_OK, each[SEARCHES] = {TR_OK};
    tr_error errors[SEARCHES] = {0};
#pragma omp parallel for schedule(dynamic, 1)
    for (int i = 0; i < SEARCHES; i++) {
        const tr_blind_set *set = &g->sets[i < TR_BLIND_GOALS]; /* shares first */
        if (set->count) {
            each[i] = tr_blind_search(set, (tr_blind_goal)(i % TR_BLIND_GOALS), audit->options->work, &best[i],
                                      &errors[i]);
        }
#pragma omp critical(check_bias_progress)
        tr_progress_update(progress, progress->done + 1, NULL);
    }
    for (int i = 0; i < SEARCHES; i++) {
        int shares = i < TR_BLIND_GOALS, goal = i % TR_BLIND_GOALS;
        char name[64];
        if (each[i]) {
            return tr_fail(err, each[i], errors[i].where, "%s", errors[i].message);
        }
        if (!g->sets[shares].count) {
            continue;
        }
        snprintf(name, sizeof name, "best constant for %s", tr_blind_goal_names[goal]);
        TR_TRY(add_guess(list, name, units[shares], &best[i].guess, best[i].scores, err));
        json_t *item = json_array_get(list, json_array_size(list) - 1);
        json_object_set_new(item, "goal", json_string(tr_blind_goal_names[goal]));
        json_object_set_new(item, "at_most", json_real(best[i].bound));
        if (goal == TR_BLIND_MIOU) {
            g->best[shares] = best[i];
        }
    }
done:
    return status;
}

/* What was learnt from the training split: its best constants and its intervals drawn at random. train may be g. */
static tr_status add_learnt(group *g, const group *train, json_t *list, tr_error *err)
{
    double scores[TR_BLIND_GOALS];
    tr_status status = TR_OK;
    bool own = train == g;
    if (!own && train->sets[1].count) {
        tr_blind_score(&g->sets[1], train->best[1].guess, scores);
        TR_TRY(add_guess(list, "constant of the training split", "share", &train->best[1].guess, scores, err));
    }
    if (!own && train->sets[0].count) {
        tr_blind_score(&g->sets[0], train->best[0].guess, scores);
        TR_TRY(add_guess(list, "constant of the training split", "seconds", &train->best[0].guess, scores, err));
    }
    tr_blind_prior(&g->sets[1], &train->sets[1], own, prior_pairs, scores);
    TR_TRY(add_guess(list, own ? "random interval of the same rows" : "random interval of the training split",
                     "share", NULL, scores, err));
done:
    return status;
}

static bool is_train(const char *split)
{
    return !strncmp(split, "train", 5) || strstr(split, "_train") || strstr(split, "-train");
}

static tr_status judge_by_training(const check_audit *audit, group *groups, size_t count, group *g, json_t *bias,
                                   tr_error *err)
{
    group *train = g;
    json_t *guesses = json_object_get(json_array_get(bias, (size_t)(g - groups)), "guesses");
    for (size_t i = 0; i < count && !is_train(audit->splits.items[g->split]); i++) {
        group *other = &groups[i];
        if (other->source == g->source && other->task == g->task && is_train(audit->splits.items[other->split])) {
            train = other;
            break;
        }
    }
    return add_learnt(g, train, guesses, err);
}

static tr_status find_groups(const check_audit *audit, group **groups, size_t *count, tr_error *err)
{
    size_t capacity = 0;
    for (size_t r = 0; r < audit->row_count; r++) {
        const check_row *row = &audit->rows[r];
        size_t at = 0;
        if (row->task == TR_TASK_QA) {
            continue;
        }
        while (at < *count && !in_group(row, &(*groups)[at])) {
            at++;
        }
        if (at == *count) {
            tr_status status = tr_grow(groups, &capacity, *count + 1, sizeof **groups, err);
            if (status) {
                return status;
            }
            (*groups)[(*count)++] = (group){.source = row->source, .split = row->split, .task = row->task};
        }
        (*groups)[at].rows++;
    }
    return TR_OK;
}

tr_status check_bias(const check_audit *audit, json_t **bias, tr_error *err)
{
    group *groups = NULL;
    size_t count = 0;
    double scores[TR_BLIND_GOALS];
    const tr_interval whole = {0, 1};
    tr_progress progress;
    tr_status status = TR_OK;
    if (!(*bias = json_array())) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    TR_TRY(find_groups(audit, &groups, &count, err));
    tr_progress_begin(&progress, "blind guesses", (int64_t)count * 2 * TR_BLIND_GOALS);
    for (size_t i = 0; i < count;
         i++) { /* all best constants first: other splits are judged by the training split's */
        group *g = &groups[i];
        TR_TRY(fill_group(audit, g, err));
        json_t *guesses = json_array();
        json_t *item = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:o}", "source", audit->sources.items[g->source],
                                 "split", audit->splits.items[g->split], "task", tr_task_name(g->task), "rows",
                                 (json_int_t)g->rows, "samples", (json_int_t)g->sets[0].count, "with_duration",
                                 (json_int_t)g->sets[1].count, "guesses", guesses);
        if (!item || json_array_append_new(*bias, item)) {
            status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
            goto done;
        }
        tr_blind_score(&g->sets[1], whole, scores);
        TR_TRY(add_guess(guesses, "whole clip", "share", &whole, scores, err));
        TR_TRY(add_best(audit, g, &progress, guesses, err));
    }
    for (size_t i = 0; i < count; i++) {
        TR_TRY(judge_by_training(audit, groups, count, &groups[i], *bias, err));
    }
    tr_progress_end(&progress, NULL);
done:
    for (size_t i = 0; i < count; i++) {
        tr_blind_set_free(&groups[i].sets[0]);
        tr_blind_set_free(&groups[i].sets[1]);
    }
    free(groups);
    if (status) {
        json_decref(*bias);
        *bias = NULL;
    }
    return status;
}

/* ---- options ---- */

/* Accuracy of the most frequent letter, of chance, and of always taking the longest option, by source, split, task.
 */
json_t *check_letters(const check_audit *audit)
{
    json_t *list = json_array();
    size_t splits = audit->splits.count;
    for (size_t key = 0; list && key < audit->sources.count * splits * 2; key++) {
        json_int_t count = 0, letters[26] = {0}, longest = 0;
        double chance = 0;
        const group g = {
            .source = key / 2 / splits, .split = key / 2 % splits, .task = key % 2 ? TR_TASK_QA : TR_TASK_GVQA};
        int best = 0;
        for (size_t r = 0; r < audit->row_count; r++) {
            const check_row *row = &audit->rows[r];
            if (in_group(row, &g) && row->answer >= 0 && row->answer < 26) {
                count++;
                letters[row->answer]++;
                longest += row->longest;
                chance += 1.0 / row->options;
            }
        }
        for (int i = 1; i < 26; i++) {
            best = letters[i] > letters[best] ? i : best;
        }
        if (count) {
            double n = (double)count;
            json_array_append_new(
                list,
                json_pack("{s:s, s:s, s:s, s:I, s:f, s:s%, s:f, s:f}", "source", audit->sources.items[g.source],
                          "split", audit->splits.items[g.split], "task", tr_task_name(g.task), "rows", count,
                          "chance", chance / n, "letter", &"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[best], (size_t)1,
                          "constant_letter", (double)letters[best] / n, "longest_option", (double)longest / n));
        }
    }
    return list;
}
