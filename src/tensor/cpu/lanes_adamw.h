/* lanes_adamw.h: AdamW's sequence over sixteen lanes, shared by moments in f32 and in 8 bits.
 *
 * It follows torch.optim.AdamW: decoupled decay first, then moments, then the step; the gradient is scaled before
 * all. Lanes that are all zero stay zero. */
#ifndef TR_TENSOR_CPU_LANES_ADAMW_H
#define TR_TENSOR_CPU_LANES_ADAMW_H

#include "tensor/adamw.h"
#include "tensor/cpu/lanes_math.h"

#include <float.h>

LANES_INLINE void adamw_lanes(lanes *p, lanes g, lanes *m, lanes *v, const tr_adamw_constants *c)
{
    g = lanes_mul(g, lanes_set(c->scale));
    *m = lanes_fma(lanes_sub(g, *m), lanes_set(c->mix1), *m);
    *v = lanes_fma(lanes_mul(g, g), lanes_set(c->mix2), lanes_mul(*v, lanes_set(c->beta2)));
    lanes root = lanes_fma(lanes_sqrt(*v), lanes_set(c->inverse_root2), lanes_set(c->eps));
    root = lanes_max(lanes_set(FLT_MIN), root); /* 0 / 0 stays 0 */
    lanes kept = lanes_fma(*p, lanes_set(c->keep), *p);
    *p = lanes_fma(lanes_set(c->step), lanes_div(*m, root), kept);
}

#endif
