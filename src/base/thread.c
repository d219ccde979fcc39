/* thread.c: how many OpenMP threads the operations use. */
#include "base/thread.h"

#include <omp.h>

int tr_threads_count(void)
{
    return omp_get_max_threads();
}

void tr_threads_set(int count)
{
    omp_set_num_threads(count > 0 ? count : 1);
}
