/* check_blind.h: what an answer earns that never looks at the video.
 *
 * A guess is one interval, the same for every sample: in seconds (clamped to each clip), or in shares of each
 * clip's length. A sample is a union of true intervals. The best guess is searched exactly: for fixed [a, b] the
 * IoU with a union is, between the union's ends, convex in a and convex in b (constant, linear, or a quotient with
 * the variable below), and only a start (for a) or an end (for b) can be a peak; so the best mean IoU is reached
 * with a one of the starts and b one of the ends, and a best-first branch and bound over those finds it. Shares of
 * samples with IoU >= t are searched the same way over all real intervals, down to a small side. Pure functions: no
 * files. */
#ifndef TR_CORPUS_CHECK_BLIND_H
#define TR_CORPUS_CHECK_BLIND_H

#include "base/status.h"
#include "task/interval.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum tr_blind_goal { /* IoU's mean, and the share of samples with IoU >= 0.3, 0.5, 0.7 */
                             TR_BLIND_MIOU,
                             TR_BLIND_R03,
                             TR_BLIND_R05,
                             TR_BLIND_R07,
                             TR_BLIND_GOALS
} tr_blind_goal;
extern const char *const tr_blind_goal_names[TR_BLIND_GOALS];

/* The samples of one search, in one unit. Samples of one interval come first. */
typedef struct tr_blind_set {
    size_t count, singles;
    double *start, *end, *last; /* [count] first start, last end, and where a guess is cut off (the clip's end) */
    double *length;             /* [count] of the union */
    size_t *at, *segments;      /* [count] the union's place in list, and its number of intervals */
    tr_interval *list;
    size_t list_count;
} tr_blind_set;

/* One sample: the union of its intervals in seconds; duration_s <= 0: unknown. */
typedef struct tr_blind_sample {
    const tr_interval *segments;
    size_t count;
    double duration_s;
} tr_blind_sample;

/* Copies samples. shares: all times are divided by the clip's length, and samples without one are left out. Samples
 * without a proper interval are left out. An empty set is TR_OK with count 0. */
tr_status tr_blind_set_make(const tr_blind_sample *samples, size_t count, bool shares, tr_blind_set *set,
                            tr_error *err);
void tr_blind_set_free(tr_blind_set *set);

/* What a guess earns, by goal; all NaN for an empty set. */
void tr_blind_score(const tr_blind_set *set, tr_interval guess, double scores[TR_BLIND_GOALS]);

typedef struct tr_blind_best {
    tr_interval guess;
    double scores[TR_BLIND_GOALS]; /* of that guess */
    double bound; /* no guess earns more than this for the goal: equal to its score when the search was finished */
} tr_blind_best;

/* The best guess for a goal. work: how many IoUs may be computed (0: as many as it takes); when they are used up,
 * the best one found so far is returned with its bound. TR_INVALID for an empty set. */
tr_status tr_blind_search(const tr_blind_set *set, tr_blind_goal goal, uint64_t work, tr_blind_best *best,
                          tr_error *err);

/* The expected scores of a guess drawn at random from the intervals of `prior` (of unions: each interval alike, one
 * union chosen first), exactly: the mean over all pairs. Above `pairs` pairs (0: no limit) evenly spaced intervals
 * of the prior stand for all. own: prior is set itself, and a sample's own intervals are not drawn for it. */
void tr_blind_prior(const tr_blind_set *set, const tr_blind_set *prior, bool own, uint64_t pairs,
                    double scores[TR_BLIND_GOALS]);

#endif
