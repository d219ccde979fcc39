/* reward.c: scoring one response: template, parse, parts, sum. */
#include "task/reward.h"

#include "base/math.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>

/* Everything that the parts look at. p and g stand as given; p_union, g_union and the sorted lists are made on
 * demand. */
typedef struct scene {
    const tr_scheme *scheme;
    const tr_scheme_task *how;
    tr_task task;
    const tr_truth *truth;
    const tr_interval *p, *g;
    size_t m, n;
    bool found; /* an answer block (for gvqa also the evidence) was there */
    tr_arena *arena;
    tr_interval *sorted_p, *sorted_g;
    tr_interval *union_p, *union_g;
    size_t union_m, union_n;
    size_t tokens;
    bool exhausted;
} scene;

static size_t pieces(size_t intervals, size_t count)
{
    return 3 * tr_arena_need(intervals, sizeof(tr_interval)) + 2 * tr_arena_need(count, sizeof(tr_interval));
}

size_t tr_reward_arena_bytes(size_t count)
{
    size_t assign = tr_match_assign_scratch(TR_ANSWER_INTERVALS, count), total = pieces(TR_ANSWER_INTERVALS, count),
           cost;
    if (assign == SIZE_MAX || !tr_size_mul(count, TR_ANSWER_INTERVALS * sizeof(double), &cost) ||
        !tr_size_add(cost, assign, &cost)) {
        return SIZE_MAX;
    }
    total += tr_arena_need(TR_ANSWER_INTERVALS, sizeof(tr_interval)); /* the answer itself */
    total += tr_arena_need(count + 1, sizeof(double)) + tr_arena_need(TR_ANSWER_INTERVALS, sizeof(size_t)) + 256;
    return total + cost;
}

static tr_interval *copy(scene *s, const tr_interval *from, size_t count)
{
    tr_interval *to = tr_arena_take(s->arena, count, sizeof *to);
    if (!to) {
        s->exhausted = true;
        return NULL;
    }
    if (count) {
        memcpy(to, from, count * sizeof *to);
    }
    return to;
}

static bool need_unions(scene *s)
{
    if (!s->union_p && (s->union_p = copy(s, s->p, s->m)) && (s->union_g = copy(s, s->g, s->n))) {
        s->union_m = tr_interval_union(s->union_p, s->m);
        s->union_n = tr_interval_union(s->union_g, s->n);
    }
    return !s->exhausted;
}

static bool need_sorted(scene *s)
{
    if (!s->sorted_p && (s->sorted_p = copy(s, s->p, s->m)) && (s->sorted_g = copy(s, s->g, s->n))) {
        tr_interval_sort(s->sorted_p, s->m);
        tr_interval_sort(s->sorted_g, s->n);
    }
    return !s->exhausted;
}

/* What no answer against no truth, or one against the other, gives: 1 when both are empty and an answer was given,
 * 0 when one is. Negative: both have intervals. */
static double nothing(const scene *s)
{
    if (s->m && s->n) {
        return -1;
    }
    return !s->m && !s->n && s->found ? 1 : 0;
}

static double least(double a, double b)
{
    return b < a ? b : a;
}

static double most(double a, double b)
{
    return b > a ? b : a;
}

/* Intersection over hull, without any check of order: the published codes' formula. */
static double hull_iou(double s, double e, double g0, double g1)
{
    double inter = most(least(e, g1) - most(s, g0), 0), hull = most(e, g1) - least(s, g0);
    double iou = inter / hull;
    return hull != 0 && isfinite(iou) && iou > 0 ? iou : 0;
}

static double one_iou(const scene *s)
{
    tr_interval p = s->p[0], g = s->g[0];
    double length = s->truth->duration_s > 0 && isfinite(s->truth->duration_s) ? s->truth->duration_s : 1;
    switch (s->how->rule) {
    case TR_IOU_NORMALISED:
        return hull_iou(p.start_s / length, p.end_s / length, g.start_s / length, g.end_s / length);
    case TR_IOU_VIDEOCHAT:
        if (most(p.end_s, g.end_s) - least(p.start_s, g.start_s) == 0) {
            return 1;
        }
        return hull_iou(p.start_s, p.end_s, g.start_s, g.end_s);
    case TR_IOU_HULL:
        return hull_iou(p.start_s, p.end_s, g.start_s, g.end_s);
    case TR_IOU_CLAMPED:
        break;
    }
    return tr_interval_iou(p, g);
}

static double part_iou(scene *s)
{
    double edge = nothing(s);
    if (edge >= 0) {
        return edge;
    }
    if (s->task == TR_TASK_TG) {
        return one_iou(s);
    }
    if (s->task == TR_TASK_DTG) {
        return tr_match_naive(s->p, s->m, s->g, s->n) / (double)s->n;
    }
    if (!need_unions(s)) {
        return 0;
    }
    if (s->how->rule == TR_IOU_VIDEOCHAT && !s->union_m && !s->union_n) {
        return 1;
    }
    return tr_union_iou(s->union_p, s->union_m, s->union_g, s->union_n);
}

static double part_num(const scene *s)
{
    double edge = nothing(s);
    if (edge >= 0) {
        return edge;
    }
    double off = s->m > s->n ? (double)(s->m - s->n) : (double)(s->n - s->m);
    return tr_math_exp(-off / ((double)(s->n < 3 ? s->n : 3) * s->scheme->sigma));
}

static double part_match(scene *s)
{
    double edge = nothing(s), sum;
    if (edge >= 0) {
        return edge;
    }
    if (!need_sorted(s)) {
        return 0;
    }
    if (s->scheme->matching == TR_MATCH_NAIVE) {
        sum = tr_match_naive(s->sorted_p, s->m, s->sorted_g, s->n);
    } else {
        double *row = tr_arena_take(s->arena, s->n + 1, sizeof *row);
        if (!row) {
            s->exhausted = true;
            return 0;
        }
        sum = tr_match_monotone(s->sorted_p, s->m, s->sorted_g, s->n, row);
    }
    return 2 * sum / (double)(s->m + s->n);
}

static double part_boundary(scene *s)
{
    if (!s->m || !s->n) {
        return 0;
    }
    double t = s->truth->duration_s, iou = one_iou(s);
    if (!(t > 0) || !isfinite(t)) {
        return 0;
    }
    double start = fabs(s->g[0].start_s / t - s->p[0].start_s / t),
           end = fabs(s->g[0].end_s / t - s->p[0].end_s / t);
    double reward = iou * (1 - start) * (1 - end);
    return isfinite(reward) ? reward : 0;
}

static double part_global(scene *s)
{
    double edge = nothing(s);
    if (edge >= 0) {
        return edge;
    }
    if (!need_unions(s)) {
        return 0;
    }
    /* The tiny term as published: it keeps 0/0 away, so that even a perfect answer stays a hair below 1. The truth
     * is a union here; the published code adds overlapping truths up, and its precision can then exceed 1. */
    double tiny = 1e-6, overlap = tr_union_intersection(s->union_p, s->union_m, s->union_g, s->union_n);
    double precision = overlap / (tr_union_length(s->union_p, s->union_m) + tiny);
    double recall = overlap / (tr_union_length(s->union_g, s->union_n) + tiny);
    return 2 * precision * recall / (precision + recall + tiny);
}

static double part_local(scene *s)
{
    double edge = nothing(s);
    if (edge >= 0) {
        return edge;
    }
    const tr_interval far = {1e9, 1e9 + 1}; /* as published: a missing partner is one second at the end of time */
    size_t longer = s->m > s->n ? s->m : s->n;
    double sum = 0;
    for (size_t i = 0; i < longer; i++) {
        sum += (1 + tr_interval_giou(i < s->m ? s->p[i] : far, i < s->n ? s->g[i] : far)) / 2;
    }
    return sum / (double)longer;
}

static double part_wasserstein(scene *s)
{
    double edge = nothing(s);
    if (edge >= 0) {
        return edge;
    }
    if (!need_unions(s) || !s->union_m || !s->union_n) {
        return 0;
    }
    double distance = tr_union_wasserstein(s->union_p, s->union_m, s->union_g, s->union_n);
    return tr_math_exp(-distance / tr_union_length(s->union_g, s->union_n));
}

static double part_hungarian(scene *s)
{
    double edge = nothing(s), sum = 0;
    if (edge >= 0) {
        return edge;
    }
    double *gain = tr_arena_take(s->arena, s->m * s->n, sizeof *gain);
    size_t *column = tr_arena_take(s->arena, s->m, sizeof *column);
    void *scratch = tr_arena_take(s->arena, 1, tr_match_assign_scratch(s->m, s->n));
    if (!gain || !column || !scratch) {
        s->exhausted = true;
        return 0;
    }
    for (size_t i = 0; i < s->m; i++) {
        for (size_t j = 0; j < s->n; j++) {
            gain[i * s->n + j] = tr_interval_iou(s->p[i], s->g[j]);
        }
    }
    if (tr_match_assign(gain, s->m, s->n, 1, column, NULL, scratch, NULL)) {
        return 0;
    }
    static const double thresholds[] = {0.3, 0.5, 0.7};
    for (int t = 0; t < 3; t++) {
        size_t hits = 0;
        for (size_t i = 0; i < s->m; i++) {
            hits += column[i] != SIZE_MAX && gain[i * s->n + column[i]] >= thresholds[t];
        }
        sum += 2 * (double)hits / (double)(s->m + s->n);
    }
    return sum / 3;
}

double tr_reward_overlong(size_t tokens, size_t limit, size_t cache)
{
    if (!limit || tokens <= limit - (cache < limit ? cache : limit)) {
        return 0;
    }
    if (tokens >= limit || !cache) {
        return -1;
    }
    return ((double)(limit - cache) - (double)tokens) / (double)cache;
}

static double part_value(scene *s, tr_part part, const tr_reward *r, double format, bool right)
{
    switch (part) {
    case TR_PART_FORMAT:
        return format;
    case TR_PART_IOU:
        return part_iou(s);
    case TR_PART_CLS:
        return right;
    case TR_PART_NUM:
        return part_num(s);
    case TR_PART_MATCH:
        return part_match(s);
    case TR_PART_BOUNDARY_IOU:
        return part_boundary(s);
    case TR_PART_GLOBAL:
        return part_global(s);
    case TR_PART_LOCAL:
        return part_local(s);
    case TR_PART_WASSERSTEIN:
        return part_wasserstein(s);
    case TR_PART_PARSE:
        return r->parsed ? 0 : -1;
    case TR_PART_HUNGARIAN_F1:
        return part_hungarian(s);
    case TR_PART_COUNTED:
        return s->found && s->m == s->n;
    case TR_PART_LENGTH:
        return tr_reward_overlong(s->tokens, s->scheme->overlong_tokens, s->scheme->overlong_cache);
    }
    __builtin_unreachable(); /* every part has its case */
}

static void fail_at(tr_reward *r, const char *error, size_t at)
{
    if (!r->error) {
        r->error = error;
        r->error_at = at;
    }
}

static void read_intervals(const tr_scheme *scheme, const tr_scheme_task *how, tr_span text, const char *response,
                           const tr_truth *truth, tr_answer *answer)
{
    tr_answer_units units = {scheme->percent, scheme->frames, truth->duration_s, truth->fps};
    switch (how->parser) {
    case TR_PARSER_NONE:
        break;
    case TR_PARSER_PAIRS:
        tr_answer_pairs(text, &units, response, answer);
        break;
    case TR_PARSER_JSON:
        tr_answer_json(text, response, answer);
        break;
    case TR_PARSER_LAST_TO:
        tr_answer_last_to(text, response, answer);
        break;
    case TR_PARSER_SPACED:
        tr_answer_spaced(text, response, answer);
        break;
    case TR_PARSER_GLUE:
        (void)tr_answer_glue(text, response, answer);
        break;
    }
}

static bool find_glue(tr_parser parser, tr_span response, tr_span *inside)
{
    if (parser == TR_PARSER_GLUE) {
        return tr_scan_block(response, "<glue>", "</glue>", inside, NULL);
    }
    const char *close = tr_scan_find_last(response, "</think>", 8);
    tr_span rest = {close ? close + 8 : response.at, response.end};
    return tr_scan_last_block(rest, "<glue>", "</glue>", inside);
}

/* Fills r->answer, r->parsed and r->error; sets s->found. */
static void parse(scene *s, tr_span response, tr_reward *r)
{
    const tr_scheme_task *how = s->how;
    const tr_truth *truth = s->truth;
    bool wants_option = s->task == TR_TASK_GVQA || s->task == TR_TASK_QA;
    tr_span block, evidence;
    bool have = tr_answer_find(how->where, response, &block);
    if (!have) {
        fail_at(r, "there is no complete <answer>...</answer> block", (size_t)(response.end - response.at));
    } else if (wants_option) {
        r->answer.option = how->option_first ? tr_answer_option_first(block)
                                             : tr_answer_option(block, truth->options, truth->option_count);
        if (!r->answer.option) {
            fail_at(r, "the answer names no option", (size_t)(block.at - response.at));
        }
    }
    s->found = have;
    if (how->parser != TR_PARSER_NONE) {
        bool there = have;
        evidence = block;
        if (how->glue) {
            s->found = there = find_glue(how->parser, response, &evidence);
            if (!there) {
                fail_at(r, "there is no complete <glue>...</glue> block", (size_t)(response.end - response.at));
            }
        }
        if (there) {
            read_intervals(s->scheme, how, evidence, response.at, truth, &r->answer);
            tr_interval first = r->answer.count ? r->answer.intervals[0] : (tr_interval){0, 0};
            if (how->rule == TR_IOU_VIDEOCHAT && s->task == TR_TASK_TG && first.start_s > first.end_s) {
                r->answer.count = 0;
                r->answer.error = "the interval ends before it starts";
                r->answer.error_at = (size_t)(evidence.at - response.at);
            }
            /* An empty list is an answer where the task allows none. */
            bool open = s->task == TR_TASK_VHD || s->task == TR_TASK_GVQA || s->task == TR_TASK_TAL;
            if (r->answer.error && !(open && !r->answer.count && !s->n && how->parser == TR_PARSER_PAIRS)) {
                fail_at(r, r->answer.error, r->answer.error_at);
            }
        }
    }
    r->parsed = !r->error;
}

static tr_status check_truth(const tr_scheme *scheme, tr_task task, const tr_truth *truth, tr_error *err)
{
    if (!scheme->tasks[task].defined) {
        char list[64] = "";
        for (int t = 0; t < TR_TASK_COUNT; t++) {
            if (scheme->tasks[t].defined) {
                size_t used = strlen(list);
                snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", tr_task_name((tr_task)t));
            }
        }
        return tr_fail(err, TR_INVALID, NULL, "the scheme %s has no reward for the task %s; it has %s",
                       scheme->name, tr_task_name(task), list);
    }
    if (task == TR_TASK_TG && truth->count != 1) {
        return tr_fail(err, TR_INVALID, NULL, "a tg row has exactly one segment, found %zu", truth->count);
    }
    if (task == TR_TASK_DTG && !truth->count) {
        return tr_fail(err, TR_INVALID, NULL, "a dtg row has one segment for every query, found none");
    }
    if ((task == TR_TASK_QA || task == TR_TASK_GVQA) && (!truth->answer || !truth->answer[0])) {
        return tr_fail(err, TR_INVALID, NULL, "a %s row needs its right answer", tr_task_name(task));
    }
    return TR_OK;
}

static bool option_right(const tr_scheme_task *how, const tr_truth *truth, char option)
{
    if (!truth->answer || !option) {
        return false;
    }
    tr_span text = {truth->answer, truth->answer + strlen(truth->answer)};
    return option == (how->option_first ? tr_answer_option_first(text)
                                        : tr_answer_option(text, truth->options, truth->option_count));
}

tr_status tr_reward_score(const tr_scheme *scheme, tr_task task, const char *response, size_t length, size_t tokens,
                          const tr_truth *truth, tr_arena *arena, tr_reward *result, tr_error *err)
{
    memset(result, 0, sizeof *result);
    tr_status status = check_truth(scheme, task, truth, err);
    if (status) {
        return status;
    }
    const tr_scheme_task *how = &scheme->tasks[task];
    scene s = {.scheme = scheme,
               .how = how,
               .task = task,
               .truth = truth,
               .g = truth->segments,
               .n = truth->count,
               .arena = arena,
               .tokens = tokens};
    tr_span text = {response, response + length};
    result->answer.intervals = tr_arena_take(arena, TR_ANSWER_INTERVALS, sizeof(tr_interval));
    if (!result->answer.intervals) {
        return tr_fail(err, TR_MEMORY, NULL, "the arena for rewards is too small: %zu of %zu bytes are used",
                       arena->used, arena->size);
    }
    tr_template_check check = how->check;
    if (task == TR_TASK_DTG && check.kind == TR_TEMPLATE_LIST) {
        check.fewest = check.most = truth->count;
    }
    parse(&s, text, result);
    s.p = result->answer.intervals;
    s.m = result->answer.count;
    if (how->rule == TR_IOU_CLAMPED && truth->duration_s > 0 && s.m) {
        tr_interval *clamped = copy(&s, s.p, s.m);
        for (size_t i = 0; clamped && i < s.m; i++) {
            clamped[i] = tr_interval_clamp(clamped[i], truth->duration_s);
        }
        s.p = clamped ? clamped : s.p;
    }
    double format = check.kind == TR_TEMPLATE_NONE ? 0 : tr_answer_format(&check, text);
    bool right = option_right(how, truth, result->answer.option);
    for (size_t i = 0; i < how->term_count; i++) {
        tr_part part = how->terms[i].part;
        result->parts[part] = part_value(&s, part, result, format, right);
        result->present |= 1u << part;
        result->total += how->terms[i].weight * result->parts[part];
    }
    if (s.exhausted) {
        return tr_fail(err, TR_MEMORY, NULL, "the arena for rewards is too small: %zu bytes, %zu are needed",
                       arena->size, tr_reward_arena_bytes(truth->count));
    }
    return TR_OK;
}

double tr_reward_largest(const tr_scheme *scheme, tr_task task)
{
    double sum = 0;
    const tr_scheme_task *how = &scheme->tasks[task];
    for (size_t i = 0; i < how->term_count; i++) {
        bool penalty = how->terms[i].part == TR_PART_PARSE || how->terms[i].part == TR_PART_LENGTH;
        sum += penalty ? 0 : how->terms[i].weight;
    }
    return sum;
}
