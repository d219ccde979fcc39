/* step_sft.c: one step of supervised fine-tuning: each row is a group with one response, its target.
 *
 * The loss is the mean of -log p over the target tokens of all rows of the step, so the groups' losses add up. */
#include "train/trainer.h"

#include "base/file.h"

tr_status tr_trainer_step_sft(tr_trainer *t, tr_step_report *report)
{
    int64_t tokens = 0;
    double loss = 0;
    tr_status status = tr_trainer_take(t, report);
    for (int64_t i = 0; !status && i < t->prompts; i++) {
        t->target_lengths[i] = t->samples[i].target_count;
        t->groups[i].response_ids = t->samples[i].target_ids;
        t->groups[i].lengths = &t->target_lengths[i];
        t->groups[i].responses = 1;
        tokens += t->samples[i].target_count;
    }
    if (status) {
        return status;
    }
    double start_s = tr_time_s();
    tr_model_zero_gradients(t->model);
    for (int64_t i = 0; !status && i < t->prompts; i++) {
        if (!(status = tr_trainer_forward(t, i, 1.0f))) {
            tr_supervised_loss(t->logp, t->entropy, t->target_lengths[i], tokens, &report->sums, t->dlogp);
            status = tr_trainer_backward(t, i);
        }
        loss = report->sums.loss;
    }
    status = status ? status : tr_trainer_apply(t, loss, 0, report);
    report->responses = t->prompts;
    report->response_tokens = tokens;
    report->seconds.update += tr_time_s() - start_s;
    return status;
}
