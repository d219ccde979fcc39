/* advantage.h: what each response is worth.
 *
 *   group (GRPO)            A = (r - mean_g) / (std_g + eps)         std: sample (n - 1), population (n), or none:
 *                                                                    no division
 *   rloo                    A = r - mean of the others               (/ (std of the others + eps), if a std is set)
 *   reinforce++             A = (R_t - mean) / (std + eps)           over all tokens of the step, no groups
 *   reinforce++-baseline    A = (r - mean_g) / (std of those over the step + eps)
 *   ema                     A = (r - mean_g) / (sigma_task + eps)    sigma_task from moving moments
 *   gdpo                    A = B / (std of B over the step + eps)   B: sum of w (p - mean_g) / (std_g + eps)
 *
 * Whatever is compared within groups gives exactly 0 to a group whose rewards (for gdpo: parts) are all equal, by
 * comparing them: dividing rounding noise by eps would not give 0. That is also why the last two do not subtract
 * the step's mean: it is 0 by construction, up to rounding. A group of one has advantage 0. Doubles in a fixed
 * order. */
#ifndef TR_RL_ADVANTAGE_H
#define TR_RL_ADVANTAGE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum tr_std_kind { TR_STD_SAMPLE, TR_STD_POPULATION, TR_STD_NONE } tr_std_kind;
typedef enum tr_advantage_kind {
    TR_ADVANTAGE_GROUP,
    TR_ADVANTAGE_RLOO,
    TR_ADVANTAGE_BATCH,    /* reinforce++ */
    TR_ADVANTAGE_BASELINE, /* reinforce++-baseline */
    TR_ADVANTAGE_EMA,
    TR_ADVANTAGE_GDPO
} tr_advantage_kind;

/* One group: advantages[count] from rewards[count] (which may be the same); *std (may be NULL) is the group's
 * deviation of that kind (sample for none). Returns true when all rewards are equal. */
bool tr_advantages(double *advantages, double *std, const double *rewards, int64_t count, tr_std_kind kind,
                   double eps);

/* One group, each reward against its siblings. With a kind other than none also divided by the siblings' deviation
 * + eps, where that is not 0 (one sibling, or equal ones). Returns true when all rewards are equal. */
bool tr_advantages_leave_one_out(double *advantages, const double *rewards, int64_t count, tr_std_kind kind,
                                 double eps);

/* All values of a step to mean 0 and deviation 1, in place; all equal ones (and a single one) give exactly 0 and
 * true. none: only the mean is taken away. */
bool tr_advantages_whiten(double *values, int64_t count, tr_std_kind kind, double eps);

/* Divides all values of a step by their deviation + eps (none: leaves them); the mean stays. */
void tr_advantages_scale(double *values, int64_t count, tr_std_kind kind, double eps);

/* Moving first and second moments of the rewards of one task (EMA-GRPO). The first step's moments start them. */
typedef struct tr_moments {
    double first, second;
    int64_t updates;
} tr_moments;
/* Takes one step's rewards of the task, `count` > 0, as sums of values and squares. */
void tr_moments_add(tr_moments *moments, double decay, double sum, double squares, int64_t count);
/* sqrt(second - first^2), never below 0. */
double tr_moments_deviation(const tr_moments *moments);

/* One group by parts: adds weight * (part - mean) / (std + eps) of each part to advantages[count], which are set.
 * parts [count][stride], of which the first `part_count` are used; a part whose values are all equal adds nothing.
 * Returns true when all of them are. */
bool tr_advantages_by_part(double *advantages, const double *parts, int64_t stride, int64_t part_count,
                           const double *weights, int64_t count, tr_std_kind kind, double eps);

/* TempSamp-R1's shaping of a reward in [0, 1]: 0.8 + 0.01 ln(r + 0.2) from 0.8 on,
 * 0.8 - (exp(0.8 - r) - 1) / (e - 1) below. */
double tr_advantage_shape(double reward);

#endif
