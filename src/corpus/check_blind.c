/* check_blind.c: what an answer earns that never looks at the video: scores, exact search, random prior. */
#include "corpus/check_blind.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const tr_blind_goal_names[TR_BLIND_GOALS] = {"mIoU", "R1@0.3", "R1@0.5", "R1@0.7"};
static const double thresholds[TR_BLIND_GOALS] = {0, 0.3, 0.5, 0.7};

/* ---- the set ---- */

void tr_blind_set_free(tr_blind_set *set)
{
    if (set) {
        free(set->start);
        free(set->end);
        free(set->last);
        free(set->length);
        free(set->at);
        free(set->segments);
        free(set->list);
        memset(set, 0, sizeof *set);
    }
}

/* Appends one sample whose union lies in list[at .. at + n). */
static void add_sample(tr_blind_set *set, size_t at, size_t n, double last)
{
    size_t i = set->count++;
    set->at[i] = at;
    set->segments[i] = n;
    set->start[i] = set->list[at].start_s;
    set->end[i] = set->list[at + n - 1].end_s;
    set->last[i] = last > set->end[i] ? last : set->end[i]; /* ends may lie a rounding past the clip's */
    set->length[i] = tr_union_length(set->list + at, n);
}

tr_status tr_blind_set_make(const tr_blind_sample *samples, size_t count, bool shares, tr_blind_set *set,
                            tr_error *err)
{
    size_t total = 0;
    memset(set, 0, sizeof *set);
    for (size_t i = 0; i < count; i++) {
        total += samples[i].count;
    }
    set->start = tr_calloc(count, sizeof *set->start);
    set->end = tr_calloc(count, sizeof *set->end);
    set->last = tr_calloc(count, sizeof *set->last);
    set->length = tr_calloc(count, sizeof *set->length);
    set->at = tr_calloc(count, sizeof *set->at);
    set->segments = tr_calloc(count, sizeof *set->segments);
    set->list = tr_calloc(total, 2 * sizeof *set->list); /* both passes may write a union; one of them keeps it */
    if (!set->start || !set->end || !set->last || !set->length || !set->at || !set->segments || !set->list) {
        tr_blind_set_free(set);
        return tr_fail(err, TR_MEMORY, NULL, "no memory for %zu samples", count);
    }
    for (int pass = 0; pass < 2; pass++) { /* samples of one interval first: they are the fast ones */
        for (size_t i = 0; i < count; i++) {
            const tr_blind_sample *s = &samples[i];
            double scale = shares ? s->duration_s : 1;
            if (!s->count || !(scale > 0)) {
                continue;
            }
            tr_interval *list = set->list + set->list_count;
            for (size_t k = 0; k < s->count; k++) {
                list[k] = (tr_interval){s->segments[k].start_s / scale, s->segments[k].end_s / scale};
            }
            size_t n = tr_interval_union(list, s->count);
            if (n && (n == 1) == (pass == 0)) {
                add_sample(set, set->list_count, n, shares ? 1 : s->duration_s > 0 ? s->duration_s : INFINITY);
                set->list_count += n;
            }
        }
        set->singles = pass ? set->singles : set->count;
    }
    return TR_OK;
}

/* ---- scores ---- */

static double overlap(const tr_blind_set *set, size_t i, double a, double b)
{
    tr_interval guess = {a, b};
    return a < b ? tr_union_intersection(&guess, 1, set->list + set->at[i], set->segments[i]) : 0;
}

/* An upper bound of the IoU of sample i with any [a, b] where a in [a1, a2] and b in [b1, b2]; exact when the box
 * is one point. For one interval the bound is reached: both ends as near to the truth's as the box allows. */
static inline double single_bound(const tr_blind_set *set, size_t i, double a1, double a2, double b1, double b2)
{
    double s = set->start[i], e = set->end[i], last = set->last[i];
    double a = s < a1 ? a1 : s > a2 ? a2 : s, b = e < b1 ? b1 : e > b2 ? b2 : e;
    b = b < last ? b : last;
    double inter = (b < e ? b : e) - (a > s ? a : s), hull = (b > e ? b : e) - (a < s ? a : s);
    return inter > 0 ? inter / hull : 0;
}

static double union_bound(const tr_blind_set *set, size_t i, double a1, double a2, double b1, double b2)
{
    double last = set->last[i];
    b1 = b1 < last ? b1 : last;
    b2 = b2 < last ? b2 : last;
    double most = overlap(set, i, a1, b2);
    if (!(most > 0)) {
        return 0;
    }
    double least = set->length[i] + (b1 > a2 ? b1 - a2 - overlap(set, i, a2, b1) : 0);
    double bound = most / least;
    return bound < 1 ? bound : 1;
}

/* The goal's bound over a box (its value when the box is a point), as a mean over samples. */
static double box_bound(const tr_blind_set *set, tr_blind_goal goal, double a1, double a2, double b1, double b2)
{
    double sum = 0, t = thresholds[goal];
    size_t reached = 0;
    if (goal == TR_BLIND_MIOU) {
        double part[4] = {0}; /* independent sums, so that the loop is not one chain of additions */
        for (size_t i = 0; i < set->singles; i++) {
            part[i % 4] += single_bound(set, i, a1, a2, b1, b2);
        }
        sum = (part[0] + part[1]) + (part[2] + part[3]);
        for (size_t i = set->singles; i < set->count; i++) {
            sum += union_bound(set, i, a1, a2, b1, b2);
        }
        return sum / (double)set->count;
    }
    for (size_t i = 0; i < set->singles; i++) {
        reached += single_bound(set, i, a1, a2, b1, b2) >= t;
    }
    for (size_t i = set->singles; i < set->count; i++) {
        reached += union_bound(set, i, a1, a2, b1, b2) >= t;
    }
    return (double)reached / (double)set->count;
}

void tr_blind_score(const tr_blind_set *set, tr_interval guess, double scores[TR_BLIND_GOALS])
{
    for (int goal = 0; goal < TR_BLIND_GOALS; goal++) {
        scores[goal] =
            set->count ? box_bound(set, (tr_blind_goal)goal, guess.start_s, guess.start_s, guess.end_s, guess.end_s)
                       : NAN;
    }
}

void tr_blind_prior(const tr_blind_set *set, const tr_blind_set *prior, bool own, uint64_t pairs,
                    double scores[TR_BLIND_GOALS])
{
    double sums[TR_BLIND_GOALS] = {0}, weights = 0;
    size_t step = 1;
    while (pairs && (uint64_t)set->count * (prior->list_count / step + 1) > pairs) {
        step++;
    }
    for (size_t p = 0, seen = 0; p < prior->count; p++) {
        for (size_t k = 0; k < prior->segments[p]; k++, seen++) {
            if (seen % step) {
                continue;
            }
            tr_interval guess = prior->list[prior->at[p] + k];
            double weight = 1 / (double)prior->segments[p], a = guess.start_s, b = guess.end_s;
            double total = 0;
            size_t reached[TR_BLIND_GOALS] = {0}, used = 0;
            for (size_t i = 0; i < set->count; i++) {
                if (own && i == p) {
                    continue;
                }
                double iou = i < set->singles ? single_bound(set, i, a, a, b, b) : union_bound(set, i, a, a, b, b);
                total += iou;
                for (int goal = TR_BLIND_R03; goal < TR_BLIND_GOALS; goal++) {
                    reached[goal] += iou >= thresholds[goal];
                }
                used++;
            }
            sums[TR_BLIND_MIOU] += weight * total;
            for (int goal = TR_BLIND_R03; goal < TR_BLIND_GOALS; goal++) {
                sums[goal] += weight * (double)reached[goal];
            }
            weights += weight * (double)used;
        }
    }
    for (int goal = 0; goal < TR_BLIND_GOALS; goal++) {
        scores[goal] = weights > 0 ? sums[goal] / weights : NAN;
    }
}

/* ---- search ---- */

/* A box of guesses. For mIoU the numbers are places in the lists of starts and ends; else they are times. */
typedef struct box {
    double bound, a1, a2, b1, b2;
} box;

typedef struct search {
    const tr_blind_set *set;
    tr_blind_goal goal;
    double *starts, *ends; /* candidates, ascending, without repetition */
    size_t start_count, end_count;
    double least_side; /* boxes of times are not divided below this */
    double unresolved; /* the largest bound of such a box */
    box *heap;         /* the largest bound on top */
    size_t heap_count, heap_capacity;
    double best;
    tr_interval guess;
    uint64_t used;
} search;

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t sort_unique(double *list, size_t count)
{
    size_t kept = 0;
    qsort(list, count, sizeof *list, compare_doubles);
    for (size_t i = 0; i < count; i++) {
        if (!kept || list[i] != list[kept - 1]) {
            list[kept++] = list[i];
        }
    }
    return kept;
}

static void try_guess(search *s, double a, double b)
{
    if (a < b) {
        double value = box_bound(s->set, s->goal, a, a, b, b);
        s->used += s->set->count;
        if (value > s->best) {
            s->best = value;
            s->guess = (tr_interval){a, b};
        }
    }
}

static tr_status push(search *s, box item, tr_error *err)
{
    tr_status status = tr_grow(&s->heap, &s->heap_capacity, s->heap_count + 1, sizeof *s->heap, err);
    if (status) {
        return status;
    }
    size_t at = s->heap_count++;
    for (; at && s->heap[(at - 1) / 2].bound < item.bound; at = (at - 1) / 2) {
        s->heap[at] = s->heap[(at - 1) / 2];
    }
    s->heap[at] = item;
    return TR_OK;
}

static box pop(search *s)
{
    box top = s->heap[0], moving = s->heap[--s->heap_count];
    size_t at = 0;
    for (size_t child = 1; child < s->heap_count; child = 2 * at + 1) {
        child += child + 1 < s->heap_count && s->heap[child + 1].bound > s->heap[child].bound;
        if (s->heap[child].bound <= moving.bound) {
            break;
        }
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = moving;
    return top;
}

/* Bounds a box and keeps it if it can hold something better than the best. */
static tr_status consider(search *s, box item, tr_error *err)
{
    bool places = s->goal == TR_BLIND_MIOU;
    double a1 = places ? s->starts[(size_t)item.a1] : item.a1, a2 = places ? s->starts[(size_t)item.a2] : item.a2;
    double b1 = places ? s->ends[(size_t)item.b1] : item.b1, b2 = places ? s->ends[(size_t)item.b2] : item.b2;
    if (!(a1 < b2)) {
        return TR_OK;
    }
    item.bound = box_bound(s->set, s->goal, a1, a2, b1, b2);
    s->used += s->set->count;
    if (!(item.bound > s->best)) {
        return TR_OK;
    }
    if (places ? item.a1 == item.a2 && item.b1 == item.b2 : !(a2 > a1 || b2 > b1)) {
        s->best = item.bound; /* one guess: the bound is its value */
        s->guess = (tr_interval){a1, b1};
        return TR_OK;
    }
    if (places) {
        try_guess(s, s->starts[(size_t)((item.a1 + item.a2) / 2)], s->ends[(size_t)((item.b1 + item.b2) / 2)]);
    } else {
        try_guess(s, (a1 + a2) / 2, (b1 + b2) / 2);
    }
    return item.bound > s->best ? push(s, item, err) : TR_OK;
}

/* The two halves of a box, cut across its longer side. */
static tr_status divide(search *s, box item, tr_error *err)
{
    bool places = s->goal == TR_BLIND_MIOU;
    double wide = places ? s->starts[(size_t)item.a2] - s->starts[(size_t)item.a1] : item.a2 - item.a1;
    double high = places ? s->ends[(size_t)item.b2] - s->ends[(size_t)item.b1] : item.b2 - item.b1;
    if (!places && wide <= s->least_side && high <= s->least_side) {
        s->unresolved = item.bound > s->unresolved ? item.bound : s->unresolved;
        return TR_OK;
    }
    box low = item, up = item;
    if (wide >= high) {
        low.a2 = places ? floor((item.a1 + item.a2) / 2) : (item.a1 + item.a2) / 2;
        up.a1 = places ? low.a2 + 1 : low.a2;
    } else {
        low.b2 = places ? floor((item.b1 + item.b2) / 2) : (item.b1 + item.b2) / 2;
        up.b1 = places ? low.b2 + 1 : low.b2;
    }
    tr_status status = consider(s, low, err);
    return status ? status : consider(s, up, err);
}

/* Good first guesses save most of the search: quantiles of the starts against quantiles of the ends. */
static void first_guesses(search *s)
{
    enum { QUANTILES = 16 };
    for (int i = 0; i <= QUANTILES; i++) {
        for (int j = 0; j <= QUANTILES; j++) {
            try_guess(s, s->starts[(s->start_count - 1) * (size_t)i / QUANTILES],
                      s->ends[(s->end_count - 1) * (size_t)j / QUANTILES]);
        }
    }
}

tr_status tr_blind_search(const tr_blind_set *set, tr_blind_goal goal, uint64_t work, tr_blind_best *best,
                          tr_error *err)
{
    search s = {.set = set, .goal = goal, .best = -1};
    tr_status status = TR_OK;
    memset(best, 0, sizeof *best);
    if (!set->count) {
        return tr_fail(err, TR_INVALID, NULL, "no samples to search a guess for");
    }
    s.starts = tr_calloc(set->list_count, sizeof *s.starts);
    s.ends = tr_calloc(set->list_count, sizeof *s.ends);
    if (!s.starts || !s.ends) {
        status = tr_fail(err, TR_MEMORY, NULL, "no memory for %zu intervals", set->list_count);
        goto done;
    }
    for (size_t i = 0; i < set->list_count; i++) {
        s.starts[i] = set->list[i].start_s;
        s.ends[i] = set->list[i].end_s;
    }
    s.start_count = sort_unique(s.starts, set->list_count);
    s.end_count = sort_unique(s.ends, set->list_count);
    first_guesses(&s);
    double longest = s.ends[s.end_count - 1];
    s.least_side = longest * 0x1p-14;
    bool places = goal == TR_BLIND_MIOU;
    box all = {.a2 = places ? (double)(s.start_count - 1) : longest,
               .b2 = places ? (double)(s.end_count - 1) : longest};
    /* A guess may begin before the first start, for a threshold's sake, but never below 0. */
    all.a1 = places ? 0 : fmin(0, s.starts[0]);
    TR_TRY(consider(&s, all, err));
    while (s.heap_count && s.heap[0].bound > s.best && (!work || s.used < work)) {
        TR_TRY(divide(&s, pop(&s), err));
    }
    best->guess = s.guess;
    best->bound = fmax(s.best, s.unresolved);
    best->bound = s.heap_count ? fmax(best->bound, s.heap[0].bound) : best->bound;
    tr_blind_score(set, s.guess, best->scores);
done:
    free(s.starts);
    free(s.ends);
    free(s.heap);
    return status;
}
