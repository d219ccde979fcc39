/* advantages.c: from the rewards of a step's groups to what the loss takes: penalties and shaping on the rewards,
 * the estimator of grpo.advantage over them, what is masked, and the totals that the averaging divides by.
 *
 * The estimators themselves stand in rl/advantage.h; docs/algorithms.md says which paper asks for what. */
#include "train/trainer.h"

#include "task/reward.h"

#include <string.h>

enum { PARTS = TR_SCORE_PARTS + 1 }; /* the last: penalties, which are no part of the scheme */

/* Sum over the tokens of what the KL costs in the reward; 0 where it stands in the loss, and for the target, whose
 * tokens the policy has not chosen. */
static double kl_cost(const tr_trainer *t, int64_t i, int64_t r, int64_t at, double *to_go)
{
    const tr_config *c = t->config;
    if (c->grpo.kl_in != TR_KL_IN_REWARD || !t->reference || r >= t->sampled) {
        return 0;
    }
    return c->grpo.kl * tr_policy_kl((tr_kl_kind)c->grpo.kl_form, t->answered[i].logp + at,
                                     t->reference_logp + i * t->limits.targets + at, t->answered[i].lengths[r],
                                     to_go);
}

/* What a response's length costs (DAPO). */
static double length_cost(const tr_trainer *t, int64_t i, int64_t r)
{
    double share = t->config->grpo.overlong, limit = (double)t->config->rollout.max_tokens;
    if (share == 0 || r >= t->sampled) {
        return 0;
    }
    return tr_reward_overlong((size_t)t->answered[i].lengths[r], (size_t)limit, (size_t)(share * limit + 0.5));
}

/* t->penalties, and t->rewards with everything that is done to them. */
static void shape_rewards(tr_trainer *t)
{
    const tr_config *c = t->config;
    const bool whole = c->grpo.advantage != TR_ADVANTAGE_BATCH; /* else the KL is taken token by token */
    for (int64_t i = 0; i < t->prompts; i++) {
        double *rewards = t->rewards + i * t->group, *penalties = t->penalties + i * t->group;
        const double largest = rewards[t->group - 1]; /* with off_policy: what the target earns */
        int64_t at = 0;
        for (int64_t r = 0; r < t->group; r++) {
            penalties[r] = length_cost(t, i, r) - (whole ? kl_cost(t, i, r, at, NULL) : 0);
            if (c->grpo.off_policy == TR_OFF_POLICY_SCALE && r == t->sampled) {
                rewards[r] *= c->grpo.off_policy_scale;
            } else if (c->grpo.off_policy == TR_OFF_POLICY_SHAPE && largest > 0) {
                rewards[r] = largest * tr_advantage_shape(rewards[r] / largest);
            }
            rewards[r] += penalties[r];
            at += t->answered[i].lengths[r];
        }
    }
}

/* Responses of a group that are compared with each other. */
static int64_t compared(const tr_trainer *t)
{
    return t->config->grpo.off_policy == TR_OFF_POLICY_ANCHOR ? t->sampled : t->group;
}

/* Divides the compared advantages of all groups by their common deviation. */
static void scale_step(tr_trainer *t)
{
    const int64_t count = compared(t);
    for (int64_t i = 0; i < t->prompts; i++) {
        memcpy(t->scratch + i * count, t->advantages + i * t->group, (size_t)count * sizeof *t->scratch);
    }
    tr_advantages_scale(t->scratch, t->prompts * count, (tr_std_kind)t->config->grpo.std, t->config->grpo.std_eps);
    for (int64_t i = 0; i < t->prompts; i++) {
        memcpy(t->advantages + i * t->group, t->scratch + i * count, (size_t)count * sizeof *t->scratch);
    }
}

static void by_parts(tr_trainer *t, int64_t i)
{
    const tr_score *scores = t->scores + i * t->group;
    const int64_t count = compared(t);
    const int parts = scores[0].part_count;
    double weights[PARTS];
    for (int p = 0; p < parts; p++) {
        weights[p] = scores[0].parts[p].weight;
    }
    weights[parts] = 1;
    for (int64_t r = 0; r < count; r++) {
        for (int p = 0; p < parts; p++) {
            t->scratch[r * PARTS + p] = p < scores[r].part_count ? scores[r].parts[p].value : 0;
        }
        t->scratch[r * PARTS + parts] = t->penalties[i * t->group + r];
    }
    tr_advantages_by_part(t->advantages + i * t->group, t->scratch, PARTS, parts + 1, weights, count,
                          (tr_std_kind)t->config->grpo.std, t->config->grpo.std_eps);
}

/* Brings the moments of every task up to this step. */
static tr_status add_moments(tr_trainer *t)
{
    for (int64_t i = 0; i < t->prompts; i++) {
        double sum = 0, squares = 0;
        int64_t count = 0;
        bool seen = false;
        for (int64_t j = 0; j < t->prompts; j++) { /* all groups of this task, at its first one */
            if (strcmp(t->samples[j].task, t->samples[i].task) != 0) {
                continue;
            }
            seen = seen || j < i;
            for (int64_t r = 0; r < compared(t); r++, count++) {
                double reward = t->rewards[j * t->group + r];
                sum += reward;
                squares += reward * reward;
            }
        }
        if (!seen) {
            tr_moments *moments = tr_algorithm_state_moments(&t->algorithm, t->samples[i].task);
            if (!moments) {
                return tr_fail(t->err, TR_INVALID, t->samples[i].id,
                               "grpo.advantage: ema keeps the moments of at most %d tasks, '%s' is one more",
                               TR_ALGORITHM_TASKS, t->samples[i].task);
            }
            tr_moments_add(moments, t->config->grpo.ema_decay, sum, squares, count);
        }
    }
    return TR_OK;
}

static void by_task(tr_trainer *t, int64_t i)
{
    double *advantages = t->advantages + i * t->group;
    double divisor = tr_moments_deviation(tr_algorithm_state_moments(&t->algorithm, t->samples[i].task)) +
                     t->config->grpo.std_eps;
    if (!tr_advantages(advantages, NULL, t->rewards + i * t->group, compared(t), TR_STD_NONE, 0)) {
        for (int64_t r = 0; r < compared(t); r++) {
            advantages[r] /= divisor;
        }
    }
}

/* REINFORCE++: every token's return, to mean 0 and deviation 1 over the tokens of the step. */
static void by_token(tr_trainer *t)
{
    int64_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        if (pass) {
            tr_advantages_whiten(t->scratch, n, (tr_std_kind)t->config->grpo.std, t->config->grpo.std_eps);
            n = 0;
        }
        for (int64_t i = 0; i < t->prompts; i++) {
            const int64_t *lengths = t->answered[i].lengths;
            double *tokens = t->token_advantages + i * t->limits.targets;
            for (int64_t r = 0, at = 0; r < t->group; at += lengths[r++]) {
                double *worth = &t->advantages[i * t->group + r];
                *worth = 0;
                if (t->masked[i * t->group + r]) {
                    continue;
                }
                if (!pass) {
                    memset(tokens + at, 0, (size_t)lengths[r] * sizeof *tokens);
                    kl_cost(t, i, r, at, tokens + at);
                }
                for (int64_t k = at; k < at + lengths[r]; k++, n++) {
                    if (pass) {
                        tokens[k] = t->scratch[n];
                        *worth += tokens[k] / (double)lengths[r];
                    } else {
                        t->scratch[n] = t->rewards[i * t->group + r] - t->config->grpo.kl * tokens[k];
                    }
                }
            }
        }
    }
}

static tr_status estimate(tr_trainer *t)
{
    const tr_std_kind std = (tr_std_kind)t->config->grpo.std;
    const tr_advantage_kind kind = (tr_advantage_kind)t->config->grpo.advantage;
    const double eps = t->config->grpo.std_eps;
    tr_status status = kind == TR_ADVANTAGE_EMA ? add_moments(t) : TR_OK;
    for (int64_t i = 0; !status && i < t->prompts; i++) {
        double *advantages = t->advantages + i * t->group;
        const double *rewards = t->rewards + i * t->group;
        switch (kind) {
        case TR_ADVANTAGE_GROUP:
            tr_advantages(advantages, NULL, rewards, compared(t), std, eps);
            break;
        case TR_ADVANTAGE_RLOO:
            tr_advantages_leave_one_out(advantages, rewards, compared(t), std, eps);
            break;
        case TR_ADVANTAGE_BASELINE:
            tr_advantages(advantages, NULL, rewards, compared(t), TR_STD_NONE, 0);
            break;
        case TR_ADVANTAGE_EMA:
            by_task(t, i);
            break;
        case TR_ADVANTAGE_GDPO:
            by_parts(t, i);
            break;
        case TR_ADVANTAGE_BATCH:
            break;
        }
    }
    if (!status && kind == TR_ADVANTAGE_BATCH) {
        by_token(t);
    } else if (!status && (kind == TR_ADVANTAGE_BASELINE || kind == TR_ADVANTAGE_GDPO)) {
        scale_step(t);
    }
    return status;
}

/* TempSamp-R1: the target is worth a multiple of the best sampled response. */
static void anchor_targets(tr_trainer *t)
{
    for (int64_t i = 0; i < t->prompts; i++) {
        double *advantages = t->advantages + i * t->group, best = advantages[0];
        for (int64_t r = 1; r < t->sampled; r++) {
            best = advantages[r] > best ? advantages[r] : best;
        }
        advantages[t->sampled] = t->config->grpo.off_policy_anchor * best;
    }
}

tr_status tr_trainer_make_advantages(tr_trainer *t)
{
    t->loss_responses = t->loss_tokens = 0;
    for (int64_t i = 0; i < t->prompts; i++) {
        for (int64_t r = 0; r < t->group; r++) {
            bool masked = t->config->grpo.truncated == TR_TRUNCATED_MASK && !t->answered[i].stopped[r];
            t->masked[i * t->group + r] = masked;
            t->loss_responses += !masked;
            t->loss_tokens += masked ? 0 : t->answered[i].lengths[r];
        }
    }
    shape_rewards(t);
    tr_status status = estimate(t);
    if (!status && t->config->grpo.off_policy == TR_OFF_POLICY_ANCHOR) {
        anchor_targets(t);
    }
    return status;
}
