/* schedule.c: the learning rate of each optimiser step. */
#include "rl/schedule.h"

#include "base/math.h"

double tr_schedule_rate(tr_schedule_kind kind, double base, int64_t step, int64_t warmup, int64_t total)
{
    if (step < warmup) {
        return base * ((double)step / (double)warmup);
    }
    double rest = (double)(total - warmup > 1 ? total - warmup : 1);
    if (kind == TR_SCHEDULE_LINEAR) {
        double left = (double)(total - step) / rest;
        return base * (left > 0 ? left : 0);
    }
    if (kind == TR_SCHEDULE_COSINE) {
        double progress = (double)(step - warmup) / rest;
        double factor = 0.5 * (1 + tr_math_cos(3.141592653589793 * progress));
        return base * (factor > 0 ? factor : 0);
    }
    return base;
}
