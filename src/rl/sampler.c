/* sampler.c: the ranges of the settings of sampling. The draw itself is an operation (tensor/sampler.h). */
#include "rl/sampler.h"

tr_status tr_sampling_check(const tr_sampling *s, const char *where, tr_error *err)
{
    if (!(s->temperature >= 0 && s->temperature <= 100)) {
        return tr_fail(err, TR_INVALID, where, "temperature must lie between 0 (greedy) and 100, found %g",
                       s->temperature);
    }
    if (!(s->top_p > 0 && s->top_p <= 1)) {
        return tr_fail(err, TR_INVALID, where, "top_p must lie above 0 and be at most 1 (1: off), found %g",
                       s->top_p);
    }
    if (!(s->min_p >= 0 && s->min_p <= 1)) {
        return tr_fail(err, TR_INVALID, where, "min_p must lie between 0 (off) and 1, found %g", s->min_p);
    }
    if (s->top_k < 0 || s->max_tokens < 1) {
        return tr_fail(err, TR_INVALID, where,
                       "top_k must be at least 0 (off) and max_tokens at least 1, found %lld and %lld",
                       (long long)s->top_k, (long long)s->max_tokens);
    }
    return TR_OK;
}
