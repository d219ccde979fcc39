/* update.c: what SFT and GRPO share: forward and backward of one group, and the optimiser step after all of them.
 */
#include "train/trainer.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

tr_status tr_trainer_forward(tr_trainer *t, int64_t i, float temperature)
{
    tr_group *g = &t->groups[i];
    tr_status status = TR_OK;
    if (t->vision_trains && g->visual_tokens) { /* the same features again, now with what their backward needs */
        status = tr_network_vision_forward(t->network, &t->samples[i].visual, true, t->kept_features, t->err);
        g->features = t->kept_features;
    }
    return status ? status
                  : tr_network_group_forward(t->network, g, temperature, true, t->logp, t->entropy, t->err);
}

/* Whether nothing flows back: equal rewards without KL and entropy bonus. Its backward would add zeros. */
static bool is_flat(const tr_trainer *t, const tr_group *g, bool entropy)
{
    int64_t tokens = 0;
    for (int64_t r = 0; r < g->responses; r++) {
        tokens += g->lengths[r];
    }
    for (int64_t k = 0; k < tokens; k++) {
        if (t->dlogp[k] != 0 || (entropy && t->dentropy[k] != 0)) {
            return false;
        }
    }
    return true;
}

tr_status tr_trainer_backward(tr_trainer *t, int64_t i)
{
    const tr_group *g = &t->groups[i];
    bool vision = t->vision_trains && g->visual_tokens;
    bool entropy = t->config->algorithm == TR_ALGORITHM_GRPO && t->config->grpo.entropy > 0;
    if (is_flat(t, g, entropy)) {
        return TR_OK;
    }
    tr_status status = tr_network_group_backward(t->network, g, t->dlogp, entropy ? t->dentropy : NULL,
                                                 vision ? t->dfeatures : NULL, t->err);
    if (!status && vision) {
        status = tr_network_vision_backward(t->network, &t->samples[i].visual, t->dfeatures, t->err);
    }
    return status;
}

tr_status tr_trainer_apply(tr_trainer *t, double loss, int64_t update, tr_step_report *report)
{
    const tr_config *c = t->config;
    int64_t per_step = c->algorithm == TR_ALGORITHM_GRPO ? c->grpo.updates_per_rollout : 1;
    double norm = isfinite(loss) ? tr_optimiser_norm(t->model) : NAN;
    report->tried++;
    report->loss += loss;
    report->grad_norm += norm;
    report->lr = tr_schedule_rate((tr_schedule_kind)c->optim.schedule, c->optim.lr, t->step * per_step + update,
                                  c->optim.warmup_steps, t->steps * per_step);
    if (!isfinite(loss) || !isfinite(norm)) {
        report->skipped = true;
        snprintf(report->reason, sizeof report->reason, "the %s is not finite",
                 isfinite(loss) ? "norm of the gradients" : "loss");
        return TR_OK;
    }
    tr_optimiser_step(&t->optimiser, t->model, report->lr, norm);
    report->updates++;
    t->version += t->vision_trains;
    return TR_OK;
}
