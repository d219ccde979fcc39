/* schedule.h: the learning rate of each optimiser step. Equal to transformers' get_scheduler. */
#ifndef TR_RL_SCHEDULE_H
#define TR_RL_SCHEDULE_H

#include <stdint.h>

typedef enum tr_schedule_kind { TR_SCHEDULE_CONSTANT, TR_SCHEDULE_LINEAR, TR_SCHEDULE_COSINE } tr_schedule_kind;

/* step from 0 of `total` steps. During the first `warmup` steps the rate rises linearly from 0 (step 0 has rate 0
 * when there is a warm-up, the full rate when there is none); then it stays, falls linearly to 0, or falls as half
 * a cosine. */
double tr_schedule_rate(tr_schedule_kind kind, double base, int64_t step, int64_t warmup, int64_t total);

#endif
