/* policy.h: the policy objective of one group and its gradient with respect to log-probs and entropies.
 *
 * Everything is double and in a fixed order; exp is our own. Per token t of response i
 *
 *   ratio token:     rho = exp(logp - old),               f = -min(rho A, clip(rho, 1 - low, 1 + high) A)
 *   ratio sequence:  rho = exp(mean over i of logp - old), the same for all tokens of the response (GSPO)
 *   ratio constant:  f = -min(rho, 1 + high) A logp, with the factor held constant (CISPO)
 *   truncation:      rho is min(rho, limit) in all three, without gradient beyond: the importance weight of a
 *                    reused rollout is bounded also where the clipping bounds nothing (A < 0, the dual clip)
 *   loss = sum over tokens of weight * (f + kl * KL - entropy * H)
 *
 * KL: k3 = exp(ref - logp) - (ref - logp) - 1, k1 = logp - ref, k2 = (logp - ref)^2 / 2. The weight follows from
 * the averaging: 1 / (N len_i), 1 / M or 1 / (N L), with N responses and M tokens of the whole step, L a constant
 * length. So the losses of the groups of a step simply add up. Gradients stop at old and ref. */
#ifndef TR_RL_POLICY_H
#define TR_RL_POLICY_H

#include <stdint.h>

typedef enum tr_ratio_kind { TR_RATIO_TOKEN, TR_RATIO_SEQUENCE, TR_RATIO_CONSTANT } tr_ratio_kind;
typedef enum tr_loss_kind { TR_LOSS_SEQUENCE, TR_LOSS_TOKEN, TR_LOSS_CONSTANT } tr_loss_kind;
typedef enum tr_kl_kind { TR_KL_K1, TR_KL_K2, TR_KL_K3 } tr_kl_kind;

typedef struct tr_policy {
    tr_ratio_kind ratio;
    tr_loss_kind loss;
    tr_kl_kind kl_form;
    double clip_low, clip_high; /* 0.2, 0.2 */
    double kl, entropy;         /* coefficients */
    double truncate;            /* largest ratio; 0: any */
} tr_policy;

/* One group. Arrays over tokens are packed: responses one after the other. */
typedef struct tr_policy_input {
    int64_t responses;
    const int64_t *lengths;   /* [responses] */
    const double *advantages; /* [responses] */
    const float *logp, *old;  /* [tokens] */
    const float *ref;         /* [tokens], NULL when kl is 0 */
    const float *entropy;     /* [tokens], NULL: not known (entropy coefficient 0) */
    /* Totals of the step that the averaging needs. */
    int64_t step_responses, step_tokens, constant_length;
    const double *token_advantages; /* [tokens] in the place of advantages, where they differ along a response (not
                                       with the sequence ratio); NULL: they do not */
    const uint8_t *masked;          /* [responses] 1: not in the loss, nor in the totals; NULL: all are */
} tr_policy_input;

/* Sums over what was passed so far; zero it before a step. Divide by tokens (or responses) for means. */
typedef struct tr_policy_sums {
    double loss, policy_loss, kl, entropy; /* kl, entropy: sums over tokens; losses: as weighted */
    double log_ratio;                      /* sum over tokens of logp - old */
    double ratio_max;
    int64_t clipped_low, clipped_high; /* tokens (responses for the sequence ratio) where the bound is active */
    int64_t ratios;                    /* tokens (responses for the sequence ratio) */
    int64_t truncated;                 /* ratios above the limit of the truncation */
    int64_t tokens, responses;
} tr_policy_sums;

/* Adds one group to sums and sets dlogp[tokens] and dentropy[tokens] (may be NULL). Response r's share of clipped
 * ratios is not kept. Empty responses count as responses and add nothing; masked ones get gradient 0. */
void tr_policy_loss(const tr_policy *policy, const tr_policy_input *input, tr_policy_sums *sums, float *dlogp,
                    float *dentropy);

/* Sum over a response's tokens of the KL estimate, and the sums from each token to the end into to_go[tokens] (may
 * be NULL): what the reward loses where the KL stands in the reward. */
double tr_policy_kl(tr_kl_kind kind, const float *logp, const float *ref, int64_t tokens, double *to_go);

/* The masked mean cross-entropy of SFT: weight 1 / step_tokens for each target. Sets dlogp; adds to sums. */
void tr_supervised_loss(const float *logp, const float *entropy, int64_t tokens, int64_t step_tokens,
                        tr_policy_sums *sums, float *dlogp);

#endif
