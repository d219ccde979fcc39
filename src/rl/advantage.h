/* advantage.h: what each response of a group is worth against its siblings.
 *
 *   A_i = (r_i - mean(r)) / (std(r) + eps)         std: sample (n - 1), population (n) or none (no division)
 *
 * A group whose rewards are all equal gets exactly 0, by comparing the rewards: dividing rounding noise by eps
 * would not give 0. A group of one has advantage 0. */
#ifndef TR_RL_ADVANTAGE_H
#define TR_RL_ADVANTAGE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum tr_std_kind { TR_STD_SAMPLE, TR_STD_POPULATION, TR_STD_NONE } tr_std_kind;

/* advantages[count] from rewards[count]; *std (may be NULL) is the group's deviation of that kind (sample for
 * none). Returns true when all rewards are equal. */
bool tr_advantages(double *advantages, double *std, const double *rewards, int64_t count, tr_std_kind kind,
                   double eps);

#endif
