/* parallel.h: when an operation is worth more than one thread.
 *
 * Entering an OpenMP region costs microseconds; a tiny model's operations take less. Kernels ask tr_worth before they
 * fork. The answer never changes a result. */
#ifndef TR_TENSOR_CPU_PARALLEL_H
#define TR_TENSOR_CPU_PARALLEL_H

#include <omp.h>
#include <stdbool.h>
#include <stdint.h>

/* `work` in elementary steps of roughly a nanosecond. */
static inline bool tr_worth(int64_t work)
{
    return work > 20000 && omp_get_max_threads() > 1 && !omp_in_parallel();
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
