/* optimiser_away.c: AdamW where the host's memory keeps a GPU's moments: the same pieces of the same parameters,
 * with moments that pass through two buffers (model/away.h). */
#include "rl/optimiser_parts.h"

#include "base/memory.h"
#include "model/away.h"

#include <stdlib.h>

typedef struct step {
    const tr_model *model;
    const tr_adamw *adamw;
    double weight_decay;
} step;

static void step_piece(const void *context, const tr_away_piece *piece, float *m, float *v)
{
    const step *s = context;
    const tr_param *p = piece->param;
    tr_adamw adamw = *s->adamw;
    adamw.weight_decay = p->decay ? s->weight_decay : 0;
    s->model->ops->adamw_step(p->master + piece->at, p->gradient + piece->at, m, v, piece->count, &adamw);
}

void tr_optimiser_step_away(const tr_model *model, const tr_adamw *adamw, double weight_decay)
{
    enum { AT_ONCE = 64 }; /* pieces listed at a time: about a GiB of moments each way */
    tr_away_piece pieces[AT_ONCE];
    const step s = {model, adamw, weight_decay};
    int64_t count = 0;
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        for (int64_t at = 0; p->moments_away && p->gradient && at < p->elements; at += TR_AWAY_PIECE) {
            const int64_t left = p->elements - at;
            pieces[count++] = (tr_away_piece){p, at, left < TR_AWAY_PIECE ? left : TR_AWAY_PIECE};
            if (count == AT_ONCE) {
                tr_away_walk(&model->params, pieces, count, step_piece, &s);
                count = 0;
            }
        }
    }
    tr_away_walk(&model->params, pieces, count, step_piece, &s);
}
