/* sampler.h: the settings of sampling, checked. The draw itself is an operation of the tables (tensor/sampler.h),
 * computed where the logits are. */
#ifndef TR_RL_SAMPLER_H
#define TR_RL_SAMPLER_H

#include "base/status.h"
#include "tensor/sampler.h"

/* Checks ranges; `where` names the settings in errors. */
tr_status tr_sampling_check(const tr_sampling *sampling, const char *where, tr_error *err);

#endif
