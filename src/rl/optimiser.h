/* optimiser.h: AdamW over the table of parameters, with global-norm clipping.
 *
 * Walks the trainable entries in table order: sum of squares of each gradient (one fixed order), the norm of all,
 * one clip factor min(1, clip / (norm + 1e-6)), one AdamW step each (decay only where param.decay), then the
 * compute copies are refreshed. Never changes frozen parameters. */
#ifndef TR_RL_OPTIMISER_H
#define TR_RL_OPTIMISER_H

#include "model/model.h"

typedef struct tr_optimiser {
    double beta1, beta2, eps, weight_decay;
    double clip_norm; /* 0: no clipping */
    int64_t step;     /* updates made; the state that a checkpoint keeps besides the moments */
} tr_optimiser;

/* The l2 norm of all gradients; not finite when one is not. */
double tr_optimiser_norm(const tr_model *model);

/* One update with a learning rate, given the norm of tr_optimiser_norm. Refreshes the compute copies. The gradients
 * are left as they are. */
void tr_optimiser_step(tr_optimiser *optimiser, tr_model *model, double lr, double norm);

#endif
