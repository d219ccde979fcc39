/* step_grpo.c: one step of GRPO: rollout and rewards (collect.c), reference, advantages (advantages.c), update.
 *
 * The log-probabilities recorded while sampling are the old ones: nothing recomputes them. Before the first update
 * they are compared with those of the training forward; the largest difference is the gap, and must read 0. The
 * row's target in a group (grpo.off_policy) was not sampled: the first forward of the update gives its old ones, so
 * that its ratio begins at 1 as everyone's, and it has no gap. */
#include "train/trainer.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Log-probabilities of the frozen start. */
static tr_status refer(tr_trainer *t, tr_step_report *report)
{
    tr_status status = TR_OK;
    double start_s = tr_time_s();
    float temperature = tr_sampling_temperature(&t->sampling);
    if (!t->reference) {
        return TR_OK;
    }
    tr_network_set_adapter(t->reference_network, TR_ADAPTER_START);
    for (int64_t i = 0; !status && i < t->prompts; i++) {
        tr_group group = t->groups[i];
        if (t->reference_features) {
            status = tr_features_get(t->reference_features, t->reference_network, &t->model->config, t->source,
                                     &t->samples[i], 0, &group.features, NULL, NULL, t->err);
        }
        if (!status) {
            status = tr_network_group_forward(t->reference_network, &group, temperature, false,
                                              t->reference_logp + i * t->limits.targets, NULL, t->err);
        }
    }
    tr_network_set_adapter(t->reference_network, TR_ADAPTER_ON);
    report->seconds.reference += tr_time_s() - start_s;
    return status;
}

/* Forward, loss and backward of every group, then one optimiser step. */
static tr_status update(tr_trainer *t, int64_t number, const tr_policy *policy, tr_step_report *report)
{
    tr_policy_sums sums = {0};
    tr_status status = TR_OK;
    float temperature = tr_sampling_temperature(&t->sampling);
    tr_model_zero_gradients(t->model);
    for (int64_t i = 0; i < t->prompts; i++) {
        const tr_rollout_group *a = &t->answered[i];
        if ((status = tr_trainer_forward(t, i, temperature))) {
            return status;
        }
        int64_t sampled = a->tokens;
        if (t->sampled < t->group) {
            sampled -= a->lengths[t->sampled];
            if (number == 0) {
                memcpy(t->kept_logp + i * t->limits.targets + sampled, t->logp + sampled,
                       (size_t)a->lengths[t->sampled] * sizeof *t->logp);
            }
        }
        for (int64_t k = 0; number == 0 && k < sampled; k++) {
            double gap = fabs((double)a->logp[k] - (double)t->logp[k]);
            report->gap = gap <= report->gap ? report->gap : gap; /* a NaN is kept */
        }
        tr_policy_input in = {a->responses,
                              a->lengths,
                              t->advantages + i * t->group,
                              t->logp,
                              a->logp,
                              t->reference ? t->reference_logp + i * t->limits.targets : NULL,
                              t->entropy,
                              t->loss_responses,
                              t->loss_tokens,
                              t->config->rollout.max_tokens,
                              t->token_advantages ? t->token_advantages + i * t->limits.targets : NULL,
                              t->masked + i * t->group};
        const tr_policy_sums before = sums;
        tr_policy_loss(policy, &in, &sums, t->dlogp, t->dentropy);
        tr_report_policy(report, t->samples[i].task, &before, &sums);
        if (!isfinite(sums.loss)) {
            break; /* nothing of this update will be used */
        }
        if ((status = tr_trainer_backward(t, i))) {
            return status;
        }
    }
    tr_policy_sums *all = &report->sums;
    all->loss += sums.loss;
    all->policy_loss += sums.policy_loss;
    all->kl += sums.kl;
    all->entropy += sums.entropy;
    all->log_ratio += sums.log_ratio;
    all->ratio_max = sums.ratio_max > all->ratio_max ? sums.ratio_max : all->ratio_max;
    all->clipped_low += sums.clipped_low;
    all->clipped_high += sums.clipped_high;
    all->ratios += sums.ratios;
    all->truncated += sums.truncated;
    all->tokens += sums.tokens;
    all->responses += sums.responses;
    return tr_trainer_apply(t, sums.loss, number, report);
}

tr_status tr_trainer_step_grpo(tr_trainer *t, tr_step_report *report)
{
    const tr_config *c = t->config;
    tr_policy policy = {(tr_ratio_kind)c->grpo.ratio,
                        (tr_loss_kind)c->grpo.loss,
                        (tr_kl_kind)c->grpo.kl_form,
                        c->grpo.clip[0],
                        c->grpo.clip[1],
                        c->grpo.kl_in == TR_KL_IN_LOSS ? c->grpo.kl : 0,
                        c->grpo.entropy,
                        c->grpo.truncate_ratio};
    tr_status status = tr_trainer_collect(t, report);
    if (status || report->skipped) {
        return status;
    }
    if ((status = refer(t, report)) || (status = tr_trainer_make_advantages(t))) {
        return status;
    }
    double start_s = tr_time_s();
    for (int64_t u = 0; !status && !report->skipped && u < c->grpo.updates_per_rollout; u++) {
        status = update(t, u, &policy, report);
    }
    report->seconds.update += tr_time_s() - start_s;
    if (!status && !report->skipped &&
        tr_algorithm_state_is_flat(&t->algorithm, report->reward / (double)report->responses,
                                   report->reward_std / (double)report->groups, c->grpo.stop_change)) {
        fprintf(
            stderr,
            "reward and deviation within groups have moved by no more than %g over %lld steps: the run ends with "
            "step %lld (grpo.stop_window)\n",
            c->grpo.stop_change, (long long)c->grpo.stop_window, (long long)t->step + 1);
        t->steps = t->step + 1;
    }
    return status;
}
