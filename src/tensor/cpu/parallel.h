/* parallel.h: when an operation is worth more than one thread.
 *
 * Waking OpenMP's threads costs tens of microseconds; a tiny model's operations take less. Kernels ask tr_worth
 * before they fork. What comes thousands of times a second (products, decoding attention) is shared with the team
 * of base/thread.h, which is awake by then. Neither ever changes a result. */
#ifndef TR_TENSOR_CPU_PARALLEL_H
#define TR_TENSOR_CPU_PARALLEL_H

#include "base/thread.h"

#include <omp.h>
#include <stdbool.h>
#include <stdint.h>

/* Elementary steps, of roughly a nanosecond, above which OpenMP's threads are woken; a fifth is worth the team.
 * Tests of the operations set 0, so that the smallest case is shared too. */
extern int64_t tr_cpu_steps_worth_threads;

static inline bool tr_worth(int64_t work)
{
    return work > tr_cpu_steps_worth_threads && omp_get_max_threads() > 1 && !omp_in_parallel();
}

/* Runs work over the team's threads where that is worth it, else here. */
static inline void tr_share_work(int64_t cost, void (*work)(void *context, int self, int count), void *context)
{
    if (cost > tr_cpu_steps_worth_threads / 5) {
        tr_threads_run(work, context);
    } else {
        work(context, 0, 1);
    }
}

static inline int64_t tr_min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t tr_max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

#endif
