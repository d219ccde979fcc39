/* select.c: verdicts, strata and draws. */
#include "corpus/select.h"

#include "base/math.h"
#include "base/memory.h"
#include "base/random.h"
#include "corpus/mix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const rule_names[] = {
#define X(name, text, means) text,
    TR_SELECT_RULES(X)
#undef X
};
static const char *const rule_means[] = {
#define X(name, text, means) means,
    TR_SELECT_RULES(X) /* NOLINT(bugprone-suspicious-missing-comma): texts of several lines */
#undef X
};
static const char *const verdict_names[] = {
#define X(name, text) text,
    TR_SELECT_VERDICTS(X)
#undef X
};

const char *tr_select_rule_name(tr_select_rule rule)
{
    return rule_names[rule];
}

const char *tr_select_rule_means(tr_select_rule rule)
{
    return rule_means[rule];
}

const char *tr_select_verdict_name(tr_select_verdict verdict)
{
    return verdict_names[verdict];
}

tr_status tr_select_rule_find(const char *name, tr_select_rule *rule, tr_error *err)
{
    for (int i = 0; i < TR_SELECT_RULE_COUNT; i++) {
        if (!strcmp(rule_names[i], name)) {
            *rule = (tr_select_rule)i;
            return TR_OK;
        }
    }
    const char *near = tr_nearest(name, rule_names, TR_SELECT_RULE_COUNT);
    return tr_fail(
        err, TR_INVALID, "--rule",
        "there is no rule \"%s\"%s%s%s; the rules are variance, gaussian, filter, time-r1, timelens, random "
        "and all",
        name, near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
}

tr_select_options tr_select_options_default(void)
{
    return (tr_select_options){.rule = TR_SELECT_VARIANCE,
                               .min_std = 0.1,
                               .min_best = 0.5,
                               .centre = NAN,
                               .spread = NAN,
                               .above = 0,
                               .at_most = 0.7,
                               .density_bins = 20,
                               .count = -1,
                               .duration_bins = 4,
                               .seed = 1};
}

tr_status tr_select_options_check(const tr_select_options *o, tr_error *err)
{
    if (o->count >= 0 && o->share > 0) {
        return tr_fail(err, TR_INVALID, "--count, --share", "--count and --share both say how many rows; give one");
    }
    if (o->share < 0 || o->share > 1) {
        return tr_fail(err, TR_INVALID, "--share", "must lie between 0 and 1, found %g", o->share);
    }
    if (o->above >= o->at_most) {
        return tr_fail(err, TR_INVALID, "--above, --at-most", "--above %g leaves nothing below --at-most %g",
                       o->above, o->at_most);
    }
    if (o->spread <= 0) {
        return tr_fail(err, TR_INVALID, "--spread", "must be above 0, found %g", o->spread);
    }
    if (o->rule == TR_SELECT_ALL && (o->count >= 0 || o->share > 0)) {
        return tr_fail(err, TR_INVALID, "--rule, --count, --share",
                       "--rule all keeps every row that was answered; --rule random draws some of them");
    }
    if (o->rule == TR_SELECT_RANDOM && o->count < 0 && !(o->share > 0)) {
        return tr_fail(err, TR_INVALID, "--rule, --count, --share", "--rule random needs --count or --share");
    }
    return TR_OK;
}

tr_select_moments tr_select_moments_of(const double *values, size_t k)
{
    tr_select_moments m = {0};
    double squares = 0;
    for (size_t i = 0; i < k; i++) {
        m.mean += values[i] / (double)k;
        m.best = i == 0 || values[i] > m.best ? values[i] : m.best;
    }
    for (size_t i = 0; i < k; i++) {
        squares += (values[i] - m.mean) * (values[i] - m.mean) / (double)k;
    }
    m.std = sqrt(squares);
    return m;
}

/* ---- verdicts ---- */

/* p (1 - p) of a list of right and wrong; 0 when it is not mixed. */
static double mixed(const double *right, size_t k)
{
    double p = tr_select_moments_of(right, k).mean;
    return p * (1 - p);
}

/* gvqa qualifies by its option or by its intervals; its priority is the sum of both. */
static tr_select_verdict variance(const tr_select_score *s, const tr_select_options *o, double *priority)
{
    if (s->task == TR_TASK_QA) {
        *priority = mixed(s->values, s->k);
        return *priority > 0      ? TR_SELECT_IS_KEPT
               : s->values[0] > 0 ? TR_SELECT_IS_ALL_RIGHT
                                  : TR_SELECT_IS_ALL_WRONG;
    }
    tr_select_moments m = tr_select_moments_of(s->values, s->k);
    double option = s->right ? mixed(s->right, s->k) : 0;
    bool varies = m.std >= o->min_std, good = m.best >= o->min_best;
    *priority = (varies && good ? m.std : 0) + option;
    return (varies && good) || option > 0 ? TR_SELECT_IS_KEPT
           : varies                       ? TR_SELECT_IS_LOW_BEST
                                          : TR_SELECT_IS_LOW_STD;
}

static double gaussian(const tr_select_options *o, double mean)
{
    bool lens = o->rule == TR_SELECT_TIMELENS;
    double centre = isnan(o->centre) ? (lens ? 0.05 : 0.3) : o->centre;
    double spread = isnan(o->spread) ? 0.2 : o->spread, z = (mean - centre) / spread;
    return tr_math_exp(-0.5 * z * z);
}

static tr_select_verdict judge(const tr_select_score *s, const tr_select_options *o, double *priority)
{
    *priority = 1;
    if (!s->k) {
        *priority = 0;
        return TR_SELECT_IS_UNANSWERED;
    }
    double mean = tr_select_moments_of(s->values, s->k).mean;
    bool inside = mean > o->above && mean <= o->at_most;
    switch (o->rule) {
    case TR_SELECT_VARIANCE:
        return variance(s, o, priority);
    case TR_SELECT_FILTER:
    case TR_SELECT_TIME_R1:
        *priority = !inside ? 0 : o->rule == TR_SELECT_FILTER ? 1 : gaussian(o, mean);
        return inside ? TR_SELECT_IS_KEPT : TR_SELECT_IS_OUTSIDE;
    case TR_SELECT_GAUSSIAN:
    case TR_SELECT_TIMELENS:
        *priority = gaussian(o, mean);
        return TR_SELECT_IS_KEPT;
    case TR_SELECT_RANDOM:
    case TR_SELECT_ALL:
    case TR_SELECT_RULE_COUNT:
        break;
    }
    return TR_SELECT_IS_KEPT;
}

static size_t density_bin(const tr_select_options *o, double mean)
{
    int64_t bin = (int64_t)(mean * (double)o->density_bins);
    return (size_t)(bin < 0 ? 0 : bin >= o->density_bins ? o->density_bins - 1 : bin);
}

/* TimeLens: the Gaussian over the share of the task's rows around the row's mean, the largest weight of a task 1.
 */
static tr_status over_density(const tr_select_score *scores, const tr_select_options *o, tr_select_choice *c,
                              tr_error *err)
{
    size_t bins = (size_t)o->density_bins;
    double *held = tr_calloc(bins, TR_TASK_COUNT * sizeof *held), most[TR_TASK_COUNT] = {0};
    if (!held) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    for (int pass = 0; pass < 3; pass++) {
        for (size_t i = 0; i < c->rows; i++) {
            const tr_select_score *s = &scores[i];
            if (!s->k) {
                continue;
            }
            size_t at = (size_t)s->task * bins + density_bin(o, tr_select_moments_of(s->values, s->k).mean);
            if (pass == 0) {
                held[at]++;
            } else if (pass == 1) {
                c->priorities[i] /= held[at];
                most[s->task] = c->priorities[i] > most[s->task] ? c->priorities[i] : most[s->task];
            } else if (most[s->task] > 0) {
                c->priorities[i] /= most[s->task];
            }
        }
    }
    free(held);
    return TR_OK;
}

/* ---- strata ---- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The strata of a task: equally many rows each, by duration; rows of unknown duration apart. edges [bins + 1]. */
static tr_status task_edges(const tr_select_score *scores, size_t rows, tr_task task, int64_t bins, double *edges,
                            size_t *known, tr_error *err)
{
    double *durations = tr_calloc(rows, sizeof *durations);
    if (!durations) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    *known = 0;
    for (size_t i = 0; i < rows; i++) {
        if (scores[i].task == task && scores[i].duration_s > 0) {
            durations[(*known)++] = scores[i].duration_s;
        }
    }
    qsort(durations, *known, sizeof *durations, ascending);
    for (int64_t b = 0; edges && b <= bins && *known; b++) {
        edges[b] = durations[(size_t)((double)(*known - 1) * (double)b / (double)bins)];
    }
    free(durations);
    return TR_OK;
}

static size_t stratum_of(const tr_select_choice *c, const tr_select_score *s)
{
    size_t last = 0;
    for (size_t i = 0; i < c->strata_count; i++) {
        const tr_select_stratum *t = &c->strata[i];
        bool unknown = t->from_s < 0;
        if (t->task != s->task || unknown != !(s->duration_s > 0)) {
            continue;
        }
        last = i;
        if (unknown || s->duration_s <= t->to_s) {
            return i;
        }
    }
    return last;
}

static tr_status make_strata(const tr_select_score *scores, const tr_select_options *o, tr_select_choice *c,
                             tr_error *err)
{
    size_t bins = (size_t)o->duration_bins, known = 0;
    double *edges = tr_calloc(bins + 1, sizeof *edges);
    c->strata = tr_calloc((bins + 1) * TR_TASK_COUNT, sizeof *c->strata);
    tr_status status = edges && c->strata ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    for (int t = 0; edges && c->strata && t < TR_TASK_COUNT && !status; t++) {
        status = task_edges(scores, c->rows, (tr_task)t, o->duration_bins, edges, &known, err);
        for (size_t b = 0; b < bins && !status && known; b++) {
            if (b == 0 || edges[b + 1] > edges[b]) { /* many equal durations make fewer strata */
                c->strata[c->strata_count++] =
                    (tr_select_stratum){.task = (tr_task)t, .from_s = edges[b], .to_s = edges[b + 1]};
            }
        }
        bool unknown = false;
        for (size_t i = 0; i < c->rows && !status; i++) {
            unknown = unknown || (scores[i].task == (tr_task)t && !(scores[i].duration_s > 0));
        }
        if (unknown) {
            c->strata[c->strata_count++] = (tr_select_stratum){.task = (tr_task)t, .from_s = -1, .to_s = -1};
        }
    }
    free(edges);
    return status;
}

/* ---- taking ---- */

typedef struct candidate {
    double order; /* smaller is taken first */
    uint64_t key;
    size_t row, stratum;
} candidate;

static int by_stratum_and_order(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->stratum != y->stratum) {
        return x->stratum < y->stratum ? -1 : 1;
    }
    if (x->order != y->order) {
        return x->order < y->order ? -1 : 1;
    }
    return (x->key > y->key) - (x->key < y->key);
}

static bool drawn_by_weight(tr_select_rule rule)
{
    return rule == TR_SELECT_GAUSSIAN || rule == TR_SELECT_TIME_R1 || rule == TR_SELECT_TIMELENS;
}

static double draw(const tr_select_options *o, const tr_select_score *s)
{
    return tr_random_uniform(o->seed, (uint32_t)s->key, (uint32_t)(s->key >> 32), 0x5e1ec7, 0);
}

/* variance: by falling priority. Draws without replacement by weight w: the smallest -ln(u) / w first (Efraimidis
 * and Spirakis 2006), which for equal weights is a plain draw. */
static double order_of(const tr_select_options *o, const tr_select_score *s, double priority)
{
    double u = draw(o, s);
    if (o->rule == TR_SELECT_VARIANCE) {
        return -priority;
    }
    return priority > 0 ? -tr_math_log(u > 0 ? u : 0x1p-54) / priority : INFINITY;
}

static tr_status quotas(const tr_select_choice *c, int64_t *shares, tr_error *err)
{
    double *weights = tr_calloc(c->strata_count, sizeof *weights);
    int64_t *limits = tr_calloc(c->strata_count, sizeof *limits), left;
    tr_status status = weights && limits ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    for (size_t i = 0; weights && limits && i < c->strata_count; i++) {
        weights[i] = (double)c->strata[i].rows;
        limits[i] = (int64_t)c->strata[i].qualified;
    }
    status = status ? status : tr_mix_share(c->asked, weights, limits, c->strata_count, shares, &left, err);
    free(weights);
    free(limits);
    return status;
}

/* Without a limit all that qualify stay; drawn ones by their weight as a chance. */
static void take_unlimited(const tr_select_score *scores, const tr_select_options *o, tr_select_choice *c)
{
    for (size_t i = 0; i < c->rows; i++) {
        if (c->verdicts[i] == TR_SELECT_IS_KEPT && drawn_by_weight(o->rule) &&
            draw(o, &scores[i]) >= c->priorities[i]) {
            c->verdicts[i] = TR_SELECT_IS_NOT_DRAWN;
        }
    }
}

static tr_status take_some(const tr_select_score *scores, const tr_select_options *o, tr_select_choice *c,
                           tr_error *err)
{
    candidate *all = tr_calloc(c->rows, sizeof *all);
    int64_t *shares = tr_calloc(c->strata_count, sizeof *shares), taken = 0;
    size_t n = 0, before = SIZE_MAX;
    tr_status status = all && shares ? quotas(c, shares, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    for (size_t i = 0; all && i < c->rows && !status; i++) {
        if (c->verdicts[i] == TR_SELECT_IS_KEPT) {
            all[n++] =
                (candidate){order_of(o, &scores[i], c->priorities[i]), scores[i].key, i, stratum_of(c, &scores[i])};
        }
    }
    if (all && !status) {
        qsort(all, n, sizeof *all, by_stratum_and_order);
    }
    for (size_t i = 0; all && shares && i < n && !status; i++) {
        taken = all[i].stratum == before ? taken : 0;
        before = all[i].stratum;
        if (taken++ >= shares[before]) {
            c->verdicts[all[i].row] = TR_SELECT_IS_NOT_DRAWN;
        }
    }
    free(all);
    free(shares);
    return status;
}

tr_status tr_select(const tr_select_score *scores, size_t rows, const tr_select_options *o, tr_select_choice *c,
                    tr_error *err)
{
    *c = (tr_select_choice){.rows = rows, .asked = o->share > 0 ? llround(o->share * (double)rows) : o->count};
    tr_status status;
    TR_TRY(tr_select_options_check(o, err));
    c->verdicts = tr_calloc(rows, sizeof *c->verdicts);
    c->priorities = tr_calloc(rows, sizeof *c->priorities);
    if (!c->verdicts || !c->priorities) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory for a choice among %zu rows", rows);
        goto done;
    }
    for (size_t i = 0; i < rows; i++) {
        c->verdicts[i] = (uint8_t)judge(&scores[i], o, &c->priorities[i]);
    }
    if (o->rule == TR_SELECT_TIMELENS) {
        TR_TRY(over_density(scores, o, c, err));
    }
    TR_TRY(make_strata(scores, o, c, err));
    for (size_t i = 0; i < rows; i++) {
        tr_select_stratum *s = &c->strata[stratum_of(c, &scores[i])];
        s->rows++;
        s->qualified += c->verdicts[i] == TR_SELECT_IS_KEPT;
    }
    if (c->asked < 0) {
        take_unlimited(scores, o, c);
    } else {
        TR_TRY(take_some(scores, o, c, err));
    }
    for (size_t i = 0; i < rows; i++) {
        bool kept = c->verdicts[i] == TR_SELECT_IS_KEPT;
        c->strata[stratum_of(c, &scores[i])].kept += kept;
        c->kept += kept;
    }
done:
    if (status) {
        tr_select_choice_free(c);
    }
    return status;
}

void tr_select_choice_free(tr_select_choice *c)
{
    if (c) {
        free(c->verdicts);
        free(c->priorities);
        free(c->strata);
        *c = (tr_select_choice){0};
    }
}
