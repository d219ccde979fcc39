/* step_sft.c: one step of supervised fine-tuning: rows of one clip are one packed group (pack.h), a row that is
 * alone is a group with one response, its target.
 *
 * The loss is the mean of -log p over the target tokens of all rows of the step, so the groups' losses add up. */
#include "train/trainer.h"

#include "base/file.h"

#include <string.h>

/* Loss and gradient of the pairs (samples from `first` on) of the group that was computed last: the rest of a
 * prompt has weight 0. */
static void add_losses(tr_trainer *t, const tr_group *group, int64_t first, int64_t step_tokens,
                       tr_step_report *report)
{
    int64_t at = 0;
    for (int64_t r = 0; r < group->responses; r++) {
        int64_t rest = t->pack.rests[r], length = t->pack.lengths[r];
        memset(t->dlogp + at, 0, (size_t)rest * sizeof *t->dlogp);
        const tr_policy_sums before = report->sums;
        tr_supervised_loss(t->logp + at + rest, t->entropy + at + rest, length - rest, step_tokens, &report->sums,
                           t->dlogp + at + rest);
        tr_report_policy(report, t->samples[first + r].task, &before, &report->sums);
        at += length;
    }
}

/* Samples [i, i + count), all of one clip. */
static tr_status learn(tr_trainer *t, int64_t i, int64_t count, int64_t step_tokens, tr_step_report *report)
{
    int64_t saved;
    tr_status status;
    TR_TRY(tr_pack_build(&t->pack, &t->model->config, &t->samples[i], count, t->groups[i].features, &t->groups[i],
                         &saved, t->err));
    TR_TRY(tr_trainer_forward(t, i, 1.0f));
    add_losses(t, &t->groups[i], i, step_tokens, report);
    TR_TRY(tr_trainer_backward(t, i));
    report->shared_tokens += saved;
    report->groups++;
done:
    return status;
}

tr_status tr_trainer_step_sft(tr_trainer *t, tr_step_report *report)
{
    int64_t tokens = 0;
    tr_status status = tr_trainer_take(t, report);
    for (int64_t i = 0; !status && i < t->prompts; i++) {
        tokens += t->samples[i].target_count;
    }
    if (status) {
        return status;
    }
    double start_s = tr_time_s();
    tr_model_zero_gradients(t->model);
    report->groups = 0;
    for (int64_t i = 0, end; !status && i < t->prompts; i = end) {
        for (end = i + 1; end < t->prompts && t->leaders[end] == i; end++) {
        }
        status = learn(t, i, end - i, tokens, report);
    }
    status = status ? status : tr_trainer_apply(t, report->sums.loss, 0, report);
    report->responses = t->prompts;
    report->response_tokens = tokens;
    report->seconds.update += tr_time_s() - start_s;
    return status;
}
