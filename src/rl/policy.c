/* policy.c: the policy objective of one group and its gradient. */
#include "rl/policy.h"

#include "base/math.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct surrogate {
    double value;      /* f */
    double d_logratio; /* df / d(log ratio), or df / d(logp) for the constant ratio */
} surrogate;

/* f for one ratio and advantage; counts active bounds. */
static surrogate clipped(const tr_policy *policy, double ratio, double advantage, tr_policy_sums *sums)
{
    const bool cut = policy->truncate > 0 && ratio > policy->truncate;
    double low = 1 - policy->clip_low, high = 1 + policy->clip_high;
    double bounded = ratio < low ? low : ratio > high ? high : ratio;
    double plain = -(cut ? policy->truncate : ratio) * advantage, other = -bounded * advantage;
    sums->truncated += cut;
    sums->clipped_low += ratio < low && advantage < 0;
    sums->clipped_high += ratio > high && advantage > 0;
    sums->ratios++;
    if (ratio > sums->ratio_max) {
        sums->ratio_max = ratio;
    }
    /* max of the two negated terms; a NaN ratio makes both NaN and must stay visible */
    if (other > plain) {
        return (surrogate){other, 0};
    }
    return (surrogate){plain, cut ? 0 : -ratio * advantage};
}

static surrogate constant_ratio(const tr_policy *policy, double ratio, double advantage, double logp,
                                tr_policy_sums *sums)
{
    double high = 1 + policy->clip_high, factor = ratio > high ? high : ratio;
    if (policy->truncate > 0 && ratio > policy->truncate) {
        factor = policy->truncate < factor ? policy->truncate : factor;
        sums->truncated++;
    }
    sums->clipped_high += ratio > high && advantage > 0;
    sums->ratios++;
    if (ratio > sums->ratio_max) {
        sums->ratio_max = ratio;
    }
    return (surrogate){-factor * advantage * logp, -factor * advantage};
}

/* The KL estimate of one token and its derivative by logp. */
static double kl_term(tr_kl_kind kind, double logp, double ref, double *derivative)
{
    double difference = ref - logp;
    switch (kind) {
    case TR_KL_K1:
        *derivative = 1;
        return -difference;
    case TR_KL_K2:
        *derivative = -difference;
        return 0.5 * difference * difference;
    case TR_KL_K3:
        break;
    }
    double e = tr_math_exp(difference);
    *derivative = 1 - e;
    return e - difference - 1;
}

static double token_weight(const tr_policy *policy, const tr_policy_input *in, int64_t length)
{
    switch (policy->loss) {
    case TR_LOSS_TOKEN:
        return 1.0 / (double)in->step_tokens;
    case TR_LOSS_CONSTANT:
        return 1.0 / ((double)in->step_responses * (double)in->constant_length);
    case TR_LOSS_SEQUENCE:
        break;
    }
    return 1.0 / ((double)in->step_responses * (double)length);
}

/* One response of `length` tokens, whose arrays begin at `at`. */
static void add_response(const tr_policy *policy, const tr_policy_input *in, int64_t r, int64_t at,
                         tr_policy_sums *sums, float *dlogp, float *dentropy)
{
    const int64_t length = in->lengths[r];
    const double weight = length ? token_weight(policy, in, length) : 0;
    surrogate whole = {0, 0};
    if (policy->ratio == TR_RATIO_SEQUENCE && length) {
        double sum = 0;
        for (int64_t t = at; t < at + length; t++) {
            sum += (double)in->logp[t] - (double)in->old[t];
        }
        whole = clipped(policy, tr_math_exp(sum / (double)length), in->advantages[r], sums);
    }
    for (int64_t t = at; t < at + length; t++) {
        double advantage = in->token_advantages ? in->token_advantages[t] : in->advantages[r];
        double logp = (double)in->logp[t], log_ratio = logp - (double)in->old[t], kl = 0, dkl = 0;
        surrogate s = whole;
        /* Every token of the sequence ratio depends on all log-probs by 1 / length: length equal terms give
         * d f / d(log ratio) once per token. */
        if (policy->ratio == TR_RATIO_TOKEN) {
            s = clipped(policy, tr_math_exp(log_ratio), advantage, sums);
        } else if (policy->ratio == TR_RATIO_CONSTANT) {
            s = constant_ratio(policy, tr_math_exp(log_ratio), advantage, logp, sums);
        }
        if (in->ref) {
            kl = kl_term(policy->kl_form, logp, (double)in->ref[t], &dkl);
        }
        double entropy = in->entropy ? (double)in->entropy[t] : 0;
        sums->policy_loss += weight * s.value;
        sums->loss += weight * (s.value + (in->ref ? policy->kl * kl : 0) - policy->entropy * entropy);
        sums->kl += kl;
        sums->entropy += entropy;
        sums->log_ratio += log_ratio;
        dlogp[t] = (float)(weight * (s.d_logratio + (in->ref ? policy->kl * dkl : 0)));
        if (dentropy) {
            dentropy[t] = (float)(-weight * policy->entropy);
        }
    }
    sums->tokens += length;
}

void tr_policy_loss(const tr_policy *policy, const tr_policy_input *in, tr_policy_sums *sums, float *dlogp,
                    float *dentropy)
{
    int64_t at = 0;
    for (int64_t r = 0; r < in->responses; r++) {
        if (!in->masked || !in->masked[r]) {
            add_response(policy, in, r, at, sums, dlogp, dentropy);
            sums->responses++;
            at += in->lengths[r];
            continue;
        }
        for (int64_t end = at + in->lengths[r]; at < end; at++) {
            dlogp[at] = 0;
            if (dentropy) {
                dentropy[at] = 0;
            }
        }
    }
}

double tr_policy_kl(tr_kl_kind kind, const float *logp, const float *ref, int64_t tokens, double *to_go)
{
    double sum = 0, unused;
    for (int64_t t = tokens - 1; t >= 0; t--) {
        sum += kl_term(kind, (double)logp[t], (double)ref[t], &unused);
        if (to_go) {
            to_go[t] = sum;
        }
    }
    return sum;
}

void tr_supervised_loss(const float *logp, const float *entropy, int64_t tokens, int64_t step_tokens,
                        tr_policy_sums *sums, float *dlogp)
{
    double weight = 1.0 / (double)step_tokens;
    for (int64_t t = 0; t < tokens; t++) {
        sums->loss -= weight * (double)logp[t];
        sums->entropy += entropy ? (double)entropy[t] : 0;
        dlogp[t] = (float)-weight;
    }
    sums->policy_loss = sums->loss;
    sums->tokens += tokens;
    sums->responses++;
}
