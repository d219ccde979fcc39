/* optimiser_parts.h: what the files of the optimiser share. Internal to src/rl. */
#ifndef TR_RL_OPTIMISER_PARTS_H
#define TR_RL_OPTIMISER_PARTS_H

#include "model/model.h"

/* One step of every trainable parameter whose moments the host keeps; adamw without its decay. */
void tr_optimiser_step_away(const tr_model *model, const tr_adamw *adamw, double weight_decay);

#endif
