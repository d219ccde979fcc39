/* adamw.h: the numbers of one AdamW step, rounded to f32 once, for every device alike (torch.optim.AdamW's
 * formulas). */
#ifndef TR_TENSOR_ADAMW_H
#define TR_TENSOR_ADAMW_H

typedef struct tr_adamw_constants {
    float keep, mix1, beta2, mix2, inverse_root2, eps, step, scale;
} tr_adamw_constants;

#ifndef __CUDACC__ /* the kernels take the numbers; plain C makes them */

#include "tensor/ops.h"

#include <math.h>

static inline tr_adamw_constants tr_adamw_constants_of(const tr_adamw *adamw)
{
    return (tr_adamw_constants){.keep = (float)(-adamw->lr * adamw->weight_decay),
                                .mix1 = (float)(1.0 - adamw->beta1),
                                .beta2 = (float)adamw->beta2,
                                .mix2 = (float)(1.0 - adamw->beta2),
                                .inverse_root2 = (float)(1.0 / sqrt(adamw->bias2)),
                                .eps = (float)adamw->eps,
                                .step = (float)(-adamw->lr / adamw->bias1),
                                .scale = (float)adamw->gradient_scale};
}

#endif
#endif
