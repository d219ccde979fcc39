/* select.h: which rows to train on, from how a model answered them several times: scores in, choice out.
 *
 * Pure but for select_scores.c, which reads the file of scores; no model is needed here, so a choice can be made
 * again with other rules. A row's values are its answers' IoU with the truth (dtg: mean over the sentences; tal:
 * mF1), for qa 1 or 0. Every row gets a verdict; a choice depends on the scores, the rule and the seed alone, not
 * on the order of the rows. */
#ifndef TR_CORPUS_SELECT_H
#define TR_CORPUS_SELECT_H

#include "corpus/rows.h"
#include "task/reward.h"

#include <stdint.h>

/* How a row is judged. w is the weight that a row is drawn by, N(mean; centre, spread) the Gaussian's shape. */
#define TR_SELECT_RULES(X)                                                                                         \
    X(VARIANCE, "variance",                                                                                        \
      "qa: neither all right nor all wrong, first p (1 - p); others: std and best reach the "                      \
      "thresholds, first the largest std")                                                                         \
    X(GAUSSIAN, "gaussian", "Time-R1: drawn by the Gaussian of the mean, centre 0.3, spread 0.2")                  \
    X(FILTER, "filter", "Time-R1: mean above 0 and at most 0.7, drawn evenly")                                     \
    X(TIME_R1, "time-r1", "the filter, then the Gaussian")                                                         \
    X(TIMELENS, "timelens",                                                                                        \
      "TimeLens: drawn by the Gaussian, centre 0.05, spread 0.2, over the density of the means")                   \
    X(RANDOM, "random", "drawn evenly, whatever the scores")                                                       \
    X(ALL, "all", "every row that was answered")
typedef enum tr_select_rule {
#define X(name, text, means) TR_SELECT_##name,
    TR_SELECT_RULES(X)
#undef X
        TR_SELECT_RULE_COUNT
} tr_select_rule;
const char *tr_select_rule_name(tr_select_rule rule);
const char *tr_select_rule_means(tr_select_rule rule);
/* TR_INVALID names the rules and the nearest one. */
tr_status tr_select_rule_find(const char *name, tr_select_rule *rule, tr_error *err);

typedef struct tr_select_options {
    tr_select_rule rule;
    double min_std, min_best; /* variance, grounding: 0.1 and 0.5 */
    double centre, spread;    /* of the Gaussian; NaN: the rule's own */
    double above, at_most;    /* filter: 0 and 0.7 */
    int64_t density_bins;     /* timelens: 20 over [0, 1] */
    int64_t count;            /* rows to keep; < 0: not given */
    double share;             /* of all rows; 0: not given */
    int64_t duration_bins;    /* strata of each task, of equally many rows: 4 */
    uint64_t seed;
} tr_select_options;
tr_select_options tr_select_options_default(void);
/* Settings that make no sense, or contradict each other, are TR_INVALID with their names. */
tr_status tr_select_options_check(const tr_select_options *options, tr_error *err);

/* One row's answers. */
typedef struct tr_select_score {
    tr_task task;
    double duration_s;    /* <= 0: not known */
    const double *values; /* [k] IoU, or right (qa) */
    const double *right;  /* [k] gvqa: the option is right; NULL elsewhere */
    size_t k;             /* 0: the row could not be answered */
    uint64_t key;         /* names the row in draws */
} tr_select_score;

/* mean, population standard deviation and largest of k values (0 for none). */
typedef struct tr_select_moments {
    double mean, std, best;
} tr_select_moments;
tr_select_moments tr_select_moments_of(const double *values, size_t k);

#define TR_SELECT_VERDICTS(X)                                                                                      \
    X(KEPT, "kept")                                                                                                \
    X(UNANSWERED, "unanswered") /* the clip could not be read */                                                   \
    X(ALL_RIGHT, "all-right")   /* qa */                                                                           \
    X(ALL_WRONG, "all-wrong")   /* qa */                                                                           \
    X(LOW_STD, "low-std")       /* the answers are alike, good or poor */                                          \
    X(LOW_BEST, "low-best")     /* they vary, but none is good */                                                  \
    X(OUTSIDE, "outside")       /* of the filter */                                                                \
    X(NOT_DRAWN, "not-drawn")   /* it qualified; others were taken */
typedef enum tr_select_verdict {
#define X(name, text) TR_SELECT_IS_##name,
    TR_SELECT_VERDICTS(X)
#undef X
        TR_SELECT_VERDICT_COUNT
} tr_select_verdict;
const char *tr_select_verdict_name(tr_select_verdict verdict);

/* Rows of one task and of durations from from_s to to_s (both -1: not known). */
typedef struct tr_select_stratum {
    tr_task task;
    double from_s, to_s;
    size_t rows, qualified, kept;
} tr_select_stratum;

typedef struct tr_select_choice {
    size_t rows, kept;
    uint8_t *verdicts;  /* [rows] tr_select_verdict */
    double *priorities; /* [rows] variance: the priority; draws: the weight; 0 for rows that do not qualify */
    int64_t asked;      /* how many rows --count or --share ask for; -1: no limit */
    tr_select_stratum *strata;
    size_t strata_count;
} tr_select_choice;
tr_status tr_select(const tr_select_score *scores, size_t rows, const tr_select_options *options,
                    tr_select_choice *choice, tr_error *err);
void tr_select_choice_free(tr_select_choice *choice);

/* ---- select_report.c: for people ---- */

/* {"rule", "means", "rows", "kept", "asked", "settings": {}, "verdicts": {NAME: rows}, "tasks": {TASK: {"rows",
 * "kept", "mean": {"all", "kept"}, "std": {...}, "verdicts"}}, "strata": [{"task", "from_s", "to_s", "rows",
 * "qualified", "kept"}]}; owned. */
tr_status tr_select_report(const tr_select_score *scores, const tr_select_options *options,
                           const tr_select_choice *choice, json_t **report, tr_error *err);
/* For each task the distribution of the rows' mean and of their std, kept over dropped. Appended. */
tr_status tr_select_svg(const tr_select_score *scores, const tr_select_options *options,
                        const tr_select_choice *choice, tr_buffer *out, tr_error *err);

/* ---- select_scores.c: the file of scores ---- */

/* A file of scores beside its rows: scores[i] belongs to rows->items[i]. A file that is of other rows is
 * TR_MISMATCH and names both files, the row and both contents; so is one that does not cover all rows. */
typedef struct tr_select_file {
    tr_select_score *scores; /* [count] */
    double *values;          /* what they point to */
    size_t count, k;         /* answers a row */
} tr_select_file;
tr_status tr_select_file_read(const char *path, const char *rows_path, const tr_row_list *rows,
                              tr_select_file *file, tr_error *err);
void tr_select_file_free(tr_select_file *file);

#endif
