/* optimiser.c: AdamW over the table of parameters. */
#include "rl/optimiser.h"

#include "base/math.h"
#include "rl/optimiser_parts.h"
#include "tensor/moments.h"

#include <math.h>

enum { PIECE = 1 << 24 }; /* elements stepped at once: bounds how much of offloaded moments is resident */

double tr_optimiser_norm(const tr_model *model)
{
    double sum = 0;
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        if (p->trainable && p->gradient) {
            sum += model->ops->sum_of_squares(p->gradient, p->elements);
        }
    }
    return sqrt(sum);
}

/* 1 - beta^step by repeated squaring: the same bits on every machine. */
static double bias(double beta, int64_t step)
{
    double power = 1, square = beta;
    for (int64_t n = step; n > 0; n >>= 1) {
        power = n & 1 ? power * square : power;
        square *= square;
    }
    return 1 - power;
}

/* Moments of f32, a piece at a time. */
static void step_wide(const tr_model *model, const tr_param *p, const tr_adamw *adamw)
{
    for (int64_t at = 0; at < p->elements; at += PIECE) {
        int64_t n = p->elements - at < PIECE ? p->elements - at : PIECE;
        model->ops->adamw_step(p->master + at, p->gradient + at, p->m + at, p->v + at, n, adamw);
        tr_spill_release(&model->params.spill, p->m + at, (size_t)n * sizeof(float));
        tr_spill_release(&model->params.spill, p->v + at, (size_t)n * sizeof(float));
    }
}

/* Moments in 8 bits, some panels at a time. */
static void step_narrow(const tr_model *model, const tr_param *p, const tr_adamw *adamw)
{
    const int64_t whole = PIECE / (p->in * TR_PANEL), band = (whole > 0 ? whole : 1) * TR_PANEL;
    for (int64_t row = 0; row < p->out; row += band) {
        const int64_t rows = p->out - row < band ? p->out - row : band, at = row * p->in;
        unsigned char *records = (unsigned char *)p->moments8 + tr_moments8_bytes(row, p->in);
        model->ops->adamw8_step(p->master + at, p->gradient + at, records, rows, p->in, adamw);
        tr_spill_release(&model->params.spill, records, (size_t)tr_moments8_bytes(rows, p->in));
    }
}

void tr_optimiser_step(tr_optimiser *o, tr_model *model, double lr, double norm)
{
    o->step++;
    double scale = o->clip_norm > 0 ? o->clip_norm / (norm + 1e-6) : 1;
    tr_adamw adamw = {
        .lr = lr,
        .beta1 = o->beta1,
        .beta2 = o->beta2,
        .eps = o->eps,
        .bias1 = bias(o->beta1, o->step),
        .bias2 = bias(o->beta2, o->step),
        .gradient_scale = scale < 1 ? scale : 1,
    };
    if (model->params.away) {
        tr_optimiser_step_away(model, &adamw, o->weight_decay);
    }
    for (int i = 0; i < model->params.count; i++) {
        const tr_param *p = &model->params.items[i];
        if (!p->trainable || !p->gradient || p->moments_away) {
            continue;
        }
        adamw.weight_decay = p->decay ? o->weight_decay : 0;
        (p->moments8 ? step_narrow : step_wide)(model, p, &adamw);
    }
    tr_model_refresh(model);
}
