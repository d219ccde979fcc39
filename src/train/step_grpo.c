/* step_grpo.c: one step of GRPO: rollout, rewards, reference, update.
 *
 * The log-probabilities recorded while sampling are the old ones: nothing recomputes them. Before the first update
 * they are compared with those of the training forward; the largest difference is the gap, and must read 0. */
#include "train/trainer.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bar {
    tr_progress progress;
    char note[64];
} bar;

static void show(void *context, int64_t tokens, int64_t finished, int64_t responses)
{
    bar *b = context;
    (void)responses;
    snprintf(b->note, sizeof b->note, "%lld tokens", (long long)tokens);
    tr_progress_update(&b->progress, finished, b->note);
}

/* Answers the step's prompts. TR_NUMERIC is no error here: it marks the step as skipped. */
static tr_status answer(tr_trainer *t, tr_step_report *report)
{
    tr_rollout_times times = {0};
    bar b;
    char label[48];
    for (int64_t i = 0; i < t->prompts; i++) {
        uint32_t before = 0; /* a row that comes twice in a step gets other random numbers */
        for (int64_t j = 0; j < i; j++) {
            before += t->samples[j].row == t->samples[i].row;
        }
        t->asked[i] = (tr_rollout_prompt){t->groups[i], (uint32_t)t->samples[i].row, before * (uint32_t)t->group};
    }
    snprintf(label, sizeof label, "step %lld rollout", (long long)t->step + 1);
    tr_progress_begin(&b.progress, label, t->prompts * t->group);
    tr_status status =
        tr_rollout_run(t->rollout, t->asked, t->prompts, t->group, &t->sampling, (uint64_t)t->config->train.seed,
                       (uint32_t)(t->step + 1), t->answered, &times, t->options->quiet ? NULL : show, &b, t->err);
    if (b.progress.drawn && b.progress.terminal) {
        fputs("\r\033[K", stderr); /* the step's line takes the bar's place */
    }
    report->seconds.prefill += times.prefill_s;
    report->seconds.rollout += times.decode_s;
    if (status == TR_NUMERIC) {
        report->skipped = true;
        snprintf(report->reason, sizeof report->reason, "%s", t->err->message);
        return TR_OK;
    }
    for (int64_t i = 0; !status && i < t->prompts; i++) {
        t->groups[i].response_ids = t->answered[i].ids;
        t->groups[i].lengths = t->answered[i].lengths;
        t->groups[i].responses = t->answered[i].responses;
        report->response_tokens += t->answered[i].tokens;
    }
    return status;
}

/* Text and reward of response r of prompt i. */
static tr_status judge(tr_trainer *t, int64_t i, int64_t r, int64_t at, tr_step_report *report)
{
    const tr_rollout_group *a = &t->answered[i];
    tr_score *score = &t->scores[i * t->group + r];
    tr_buffer text = {0};
    tr_status status = t->source->call->text(t->source, a->ids + at, a->lengths[r], &text, t->err);
    if (!status) {
        status = t->source->call->score(t->source, &t->samples[i], tr_buffer_text(&text), text.length,
                                        a->stopped[r], score, t->err);
    }
    char *copy = status ? NULL : tr_strndup(tr_buffer_text(&text), text.length);
    tr_buffer_free(&text);
    if (status) {
        return status;
    }
    if (!copy) {
        return tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
    }
    t->texts[i * t->group + r] = copy;
    t->rewards[i * t->group + r] = score->reward;
    tr_report_response(report, t->samples[i].task, score, a->lengths[r], a->stopped[r]);
    return TR_OK;
}

static tr_status judge_all(tr_trainer *t, tr_step_report *report)
{
    tr_status status = TR_OK;
    for (int64_t i = 0; i < t->prompts; i++) {
        int64_t at = 0;
        double deviation;
        for (int64_t r = 0; r < t->group; r++) {
            if ((status = judge(t, i, r, at, report))) {
                return status;
            }
            at += t->answered[i].lengths[r];
        }
        bool equal = tr_advantages(t->advantages + i * t->group, &deviation, t->rewards + i * t->group, t->group,
                                   (tr_std_kind)t->config->grpo.std, t->config->grpo.std_eps);
        tr_report_group(report, t->samples[i].task, deviation, equal);
    }
    return tr_trainer_watch(t, report);
}

/* Log-probabilities of the frozen start. */
static tr_status refer(tr_trainer *t, tr_step_report *report)
{
    tr_status status = TR_OK;
    double start_s = tr_time_s();
    float temperature = tr_sampling_temperature(&t->sampling);
    for (int64_t i = 0; t->reference && !status && i < t->prompts; i++) {
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
        for (int64_t k = 0; number == 0 && k < a->tokens; k++) {
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
                              report->responses,
                              report->response_tokens,
                              t->config->rollout.max_tokens};
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
                        c->grpo.kl,
                        c->grpo.entropy};
    tr_status status = tr_trainer_take(t, report);
    status = status ? status : answer(t, report);
    if (status || report->skipped) {
        return status;
    }
    if ((status = judge_all(t, report)) || (status = refer(t, report))) {
        return status;
    }
    double start_s = tr_time_s();
    for (int64_t u = 0; !status && !report->skipped && u < c->grpo.updates_per_rollout; u++) {
        status = update(t, u, &policy, report);
    }
    report->seconds.update += tr_time_s() - start_s;
    return status;
}
