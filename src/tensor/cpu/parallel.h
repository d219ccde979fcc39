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

/* `work` in elementary steps of roughly a nanosecond. */
static inline bool tr_worth(int64_t work)
{
    return work > 100000 && omp_get_max_threads() > 1 && !omp_in_parallel();
}

/* Runs work over the team's threads where that is worth it, else here. */
static inline void tr_share_work(int64_t cost, void (*work)(void *context, int self, int count), void *context)
{
    if (cost > 20000) {
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
