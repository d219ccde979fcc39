/* test_policy.c: advantages, the eleven objectives of grpo-nano, other projects' published cases, gradients by
 * finite differences, learning rates. */
#include "support/golden.h"

#include "rl/advantage.h"
#include "rl/policy.h"
#include "rl/schedule.h"

#include <math.h>

static const struct {
    const char *name;
    tr_policy policy;
    int64_t length; /* constant averaging */
} variants[] = {
    {"grpo", {TR_RATIO_TOKEN, TR_LOSS_SEQUENCE, TR_KL_K3, 0.2, 0.2, 0, 0, 0}, 0},
    {"grpo-kl", {TR_RATIO_TOKEN, TR_LOSS_SEQUENCE, TR_KL_K3, 0.2, 0.2, 0.04, 0, 0}, 0},
    {"bnpo-kl-entropy", {TR_RATIO_TOKEN, TR_LOSS_TOKEN, TR_KL_K3, 0.2, 0.2, 0.01, 0.001, 0}, 0},
    {"dapo", {TR_RATIO_TOKEN, TR_LOSS_TOKEN, TR_KL_K3, 0.2, 0.28, 0, 0, 0}, 0},
    {"dapo-kl", {TR_RATIO_TOKEN, TR_LOSS_TOKEN, TR_KL_K3, 0.2, 0.28, 0.04, 0, 0}, 0},
    {"dr-grpo", {TR_RATIO_TOKEN, TR_LOSS_CONSTANT, TR_KL_K3, 0.2, 0.2, 0, 0, 0}, 16},
    {"dr-grpo-kl", {TR_RATIO_TOKEN, TR_LOSS_CONSTANT, TR_KL_K3, 0.2, 0.2, 0.04, 0, 0}, 16},
    {"gspo", {TR_RATIO_SEQUENCE, TR_LOSS_SEQUENCE, TR_KL_K3, 0.2, 0.28, 0, 0, 0}, 0},
    {"gspo-kl", {TR_RATIO_SEQUENCE, TR_LOSS_SEQUENCE, TR_KL_K3, 0.2, 0.28, 0.04, 0, 0}, 0},
    {"gspo-paper", {TR_RATIO_SEQUENCE, TR_LOSS_SEQUENCE, TR_KL_K3, 0.0003, 0.0004, 0, 0, 0}, 0},
    {"cispo", {TR_RATIO_CONSTANT, TR_LOSS_TOKEN, TR_KL_K3, 0.2, 0.28, 0, 0, 0}, 0},
};

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* The loss group by group, as a training step adds it up. */
static void run_variant(const golden *g, size_t v, tr_policy_sums *sums, float *dlogp, float *dentropy)
{
    size_t tokens, count;
    float *logp = golden_floats(g, "truth/logp", &tokens), *old = golden_floats(g, "in/old_logp", &tokens);
    float *ref = golden_floats(g, "truth/ref_logp", &tokens), *entropy = golden_floats(g, "truth/entropy", &tokens);
    const double *advantages = golden_tensor(g, "in/advantages", &count);
    int64_t at = 0;
    for (int group = 0; group < 3; group++) {
        char key[64];
        snprintf(key, sizeof key, "in/group%d/response_lengths", group);
        const int64_t *lengths = golden_tensor(g, key, &count);
        tr_policy_input in = {
            4,  lengths,         advantages + group * 4, logp + at, old + at, ref + at, entropy + at,
            12, (int64_t)tokens, variants[v].length,     NULL,      NULL};
        tr_policy_loss(&variants[v].policy, &in, sums, dlogp + at, dentropy + at);
        for (size_t r = 0; r < count; r++) {
            at += lengths[r];
        }
    }
    assert_int_equal(at, tokens);
    free(logp);
    free(old);
    free(ref);
    free(entropy);
}

static void test_objectives_equal_trl(void **state)
{
    (void)state;
    golden g;
    golden_read(&g, "grpo-nano");
    for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
        tr_policy_sums sums = {0};
        float dlogp[67], dentropy[67];
        char key[64];
        run_variant(&g, v, &sums, dlogp, dentropy);
        const json_t *want = json_object_get(json_object_get(g.json, "variants"), variants[v].name);
        const json_t *metrics = json_object_get(want, "metrics");
        double loss = number(want, "loss"), error = fabs(loss - number(want, "loss_f32"));
        assert_true(golden_scalar(variants[v].name, sums.loss, loss, error));
        snprintf(key, sizeof key, "d_logp/%s", variants[v].name);
        assert_true(golden_check(&g, key, dlogp));
        if (variants[v].policy.entropy > 0) {
            assert_true(golden_check(&g, "d_entropy/bnpo-kl-entropy", dentropy));
            /* TRL counts the KL term into it, and leaves the entropy bonus out */
            double with_kl = sums.policy_loss + variants[v].policy.kl * sums.kl / (double)sums.tokens;
            assert_true(golden_scalar("policy_loss", with_kl, number(metrics, "policy_loss"), error));
        }
        assert_true(golden_scalar("entropy", sums.entropy / (double)sums.tokens, number(metrics, "entropy"), 0));
        if (variants[v].policy.kl > 0) {
            assert_true(golden_scalar("kl", sums.kl / (double)sums.tokens, number(metrics, "kl"), 0));
        }
        double low = (double)sums.clipped_low / (double)sums.ratios;
        double high = (double)sums.clipped_high / (double)sums.ratios;
        if (variants[v].policy.ratio == TR_RATIO_CONSTANT) {
            assert_true(golden_scalar("clipped", high, number(metrics, "cispo_clip_ratio"), 0));
        } else {
            assert_true(golden_scalar("low", low, number(metrics, "clip_ratio/low_mean"), 0));
            assert_true(golden_scalar("high", high, number(metrics, "clip_ratio/high_mean"), 0));
        }
    }
    golden_free(&g);
}

static void test_advantages_equal_the_formulas(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        tr_std_kind kind;
        double eps;
    } conventions[] = {{"trl (ddof 1, eps 1e-4)", TR_STD_SAMPLE, 1e-4},
                       {"temporal-r1 (ddof 1, eps 1e-6)", TR_STD_SAMPLE, 1e-6},
                       {"biased (ddof 0, eps 1e-4)", TR_STD_POPULATION, 1e-4},
                       {"no std (Dr. GRPO)", TR_STD_NONE, 0}};
    golden g;
    size_t count;
    golden_read(&g, "grpo-nano");
    const double *rewards = golden_tensor(&g, "in/rewards", &count);
    for (size_t c = 0; c < 4; c++) {
        const json_t *want = json_object_get(json_object_get(g.json, "advantages"), conventions[c].name);
        for (size_t group = 0; group < 3; group++) {
            double a[4];
            bool equal = tr_advantages(a, NULL, rewards + group * 4, 4, conventions[c].kind, conventions[c].eps);
            assert_int_equal(equal, group == 2);
            for (size_t i = 0; i < 4; i++) {
                double truth = json_number_value(json_array_get(json_array_get(want, group), i));
                assert_true(fabs(a[i] - truth) <= 1e-12 * (1 + fabs(truth)));
            }
        }
    }
    golden_free(&g);
}

static void test_equal_rewards_give_exactly_zero(void **state)
{
    (void)state;
    /* Eight times 0.1 sums to 0.7999999999999999: mean and deviation carry rounding noise. */
    double rewards[8], a[8], deviation;
    for (int i = 0; i < 8; i++) {
        rewards[i] = 0.1;
    }
    assert_true(tr_advantages(a, &deviation, rewards, 8, TR_STD_SAMPLE, 1e-6));
    for (int i = 0; i < 8; i++) {
        assert_true(a[i] == 0 && !signbit(a[i]));
    }
    assert_true(deviation == 0);
    assert_true(tr_advantages(a, NULL, rewards, 1, TR_STD_SAMPLE, 1e-6) && a[0] == 0);
    rewards[3] = 0.2;
    assert_false(tr_advantages(a, NULL, rewards, 8, TR_STD_SAMPLE, 1e-6));
    assert_true(a[3] > 0 && a[0] < 0);
}

/* One token per response, as the published per-token cases are given. */
static double one_token_each(const tr_policy *policy, int n, const double *advantages, const float *logp,
                             const float *old, const float *ref, float *dlogp, tr_policy_sums *sums)
{
    int64_t lengths[16];
    for (int i = 0; i < n; i++) {
        lengths[i] = 1;
    }
    tr_policy_input in = {n, lengths, advantages, logp, old, ref, NULL, n, n, 1, NULL, NULL};
    tr_policy_loss(policy, &in, sums, dlogp, NULL);
    return sums->loss;
}

static void test_published_cases(void **state)
{
    (void)state;
    float dlogp[16];
    tr_policy policy = {TR_RATIO_TOKEN, TR_LOSS_TOKEN, TR_KL_K3, 0.2, 0.2, 0, 0, 0};
    tr_policy_sums sums = {0};
    const double advantages[3] = {1, -1, 2}, none[3] = {0};
    const float logp[3] = {-1.69315f, -1.0f, -0.59453f}, old[3] = {-1, -1, -1};
    double loss = one_token_each(&policy, 3, advantages, logp, old, NULL, dlogp, &sums);
    assert_true(fabs(loss + 0.6333) < 1e-3); /* NeMo-RL "ppo clip": -0.5, 1, -2.4 */
    assert_true(dlogp[2] == 0 && fabs((double)dlogp[0] + 0.5 / 3) < 1e-4);
    assert_int_equal(sums.clipped_high, 1);
    assert_int_equal(sums.clipped_low, 0);

    static const double k[3][3] = {{-1, 14, 29}, {0.5, 98, 420.5}, {0.7183, 13, 28}}; /* NeMo-RL "kl estimators" */
    const float same[3] = {-1, -1, -1}, reference[3] = {0, -15, -30};
    for (int kind = 0; kind < 3; kind++) {
        for (int i = 0; i < 3; i++) {
            tr_policy_sums s = {0};
            policy.kl = 1;
            policy.kl_form = (tr_kl_kind)kind;
            one_token_each(&policy, 1, none, same + i, same + i, reference + i, dlogp, &s);
            assert_true(fabs(s.kl - k[kind][i]) <= 1e-3 * fabs(k[kind][i]));
        }
    }
    const float current[3] = {0, -1, -2}, minus[3] = {-1, -1, -1}; /* NeMo-RL "kl penalty in loss" */
    memset(&sums, 0, sizeof sums);
    policy.kl = 0.1;
    policy.kl_form = TR_KL_K3;
    assert_true(fabs(one_token_each(&policy, 3, none, current, current, minus, dlogp, &sums) - 0.0362) < 1e-4);
    assert_true(fabs(sums.kl / 3 - 0.362) < 1e-3);

    const float before[3] = {0.5f, 0.8f, 1.2f}, after[3] = {1.5f, 1.8f, 2.2f}; /* torchtune: ratio e, clipped */
    const double ones[3] = {1, 1, 1};
    memset(&sums, 0, sizeof sums);
    policy.kl = 0;
    assert_true(fabs(one_token_each(&policy, 3, ones, after, before, NULL, dlogp, &sums) + 1.2) < 1e-9);
}

/* slime's dual clip, which is the truncation of the importance weight at c: ratios 2, 2, 0.5 with c = 1.5. */
static void test_truncated_importance_weights(void **state)
{
    (void)state;
    const double advantages[3] = {2, -2, 2}, want[3] = {-2.4, 3.0, -1.0}, slope[3] = {0, 0, -1};
    const float old[3] = {0, 0, 0}, logp[3] = {0.69314718f, 0.69314718f, -0.69314718f};
    for (int i = 0; i < 3; i++) {
        tr_policy policy = {TR_RATIO_TOKEN, TR_LOSS_TOKEN, TR_KL_K3, 0.2, 0.2, 0, 0, 1.5};
        tr_policy_sums sums = {0};
        float d;
        assert_true(fabs(one_token_each(&policy, 1, advantages + i, logp + i, old, NULL, &d, &sums) - want[i]) <
                    1e-6);
        assert_true(fabs((double)d - slope[i]) < 1e-6);
        assert_int_equal(sums.truncated, i < 2);
        policy.truncate = 0; /* without it a bad response far above its old probability is pushed without bound */
        memset(&sums, 0, sizeof sums);
        double loss = one_token_each(&policy, 1, advantages + i, logp + i, old, NULL, &d, &sums);
        assert_true(fabs(loss - (i == 1 ? 4 : want[i])) < 1e-6 && sums.truncated == 0);
        /* the whole response's ratio is bounded alike; a constant factor (CISPO) at the smaller of both bounds */
        policy.truncate = 1.5;
        policy.ratio = TR_RATIO_SEQUENCE;
        memset(&sums, 0, sizeof sums);
        assert_true(fabs(one_token_each(&policy, 1, advantages + i, logp + i, old, NULL, &d, &sums) - want[i]) <
                    1e-6);
        policy.ratio = TR_RATIO_CONSTANT;
        policy.clip_high = 9;
        memset(&sums, 0, sizeof sums);
        one_token_each(&policy, 1, advantages + i, logp + i, old, NULL, &d, &sums);
        assert_true(fabs((double)d + (i < 2 ? 1.5 : 0.5) * advantages[i]) < 1e-6);
    }
    const float far[1] = {NAN}; /* a NaN ratio must stay visible */
    tr_policy policy = {TR_RATIO_TOKEN, TR_LOSS_TOKEN, TR_KL_K3, 0.2, 0.2, 0, 0, 1.5};
    tr_policy_sums sums = {0};
    float d;
    assert_true(isnan(one_token_each(&policy, 1, advantages, far, old, NULL, &d, &sums)));
}

/* torchtune's KL-shaped rewards: -0.5 (logp - ref) at every token, the score at the last one. What a token's return
 * loses is 0.5 times the sum from it to the end. */
static void test_kl_in_the_reward(void **state)
{
    (void)state;
    const float logp[3] = {0.4f, 0.5f, 0.6f}, ref[3] = {0.6f, 0.7f, 0.8f};
    const double rewards[3] = {0.1, 0.1, 2.1}, score = 2;
    double to_go[3], rest = 0;
    double sum = tr_policy_kl(TR_KL_K1, logp, ref, 3, to_go);
    for (int t = 2; t >= 0; t--) {
        rest += rewards[t];
        assert_true(fabs(score - 0.5 * to_go[t] - rest) < 1e-6);
    }
    assert_true(fabs(sum - to_go[0]) == 0 && fabs(sum + 0.6) < 1e-6);
    assert_true(fabs(tr_policy_kl(TR_KL_K2, logp, ref, 3, NULL) - 3 * 0.5 * 0.04) < 1e-6);
    assert_true(fabs(tr_policy_kl(TR_KL_K3, logp, ref, 3, NULL) - 3 * (exp(0.2) - 1.2)) < 1e-6);
    assert_true(tr_policy_kl(TR_KL_K1, logp, ref, 0, NULL) == 0);
}

/* A masked response changes nothing but its own gradients, which are 0; advantages of tokens take the place of the
 * response's. */
static void test_masks_and_advantages_of_tokens(void **state)
{
    (void)state;
    const int64_t lengths[3] = {2, 3, 1}, kept[2] = {2, 1};
    const double advantages[3] = {1, 5, -0.5}, kept_advantages[2] = {1, -0.5};
    const double of_tokens[6] = {1, 1, 5, 5, 5, -0.5}, rising[3] = {0.5, 1.5, -0.5};
    const float logp[6] = {-1, -2, -3, -0.5f, -4, -0.25f}, kept_logp[3] = {-1, -2, -0.25f};
    const float entropy[6] = {1, 2, 3, 4, 5, 6}, kept_entropy[3] = {1, 2, 6};
    const uint8_t masked[3] = {0, 1, 0}, all[3] = {1, 1, 1};
    for (int loss = 0; loss < 3; loss++) {
        tr_policy policy = {TR_RATIO_TOKEN, (tr_loss_kind)loss, TR_KL_K3, 0.2, 0.2, 0.3, 0.1, 0};
        float d[6], de[6], want[3], wante[3];
        tr_policy_sums sums = {0}, without = {0};
        tr_policy_input in = {3, lengths, advantages, logp, logp, logp, entropy, 2, 3, 5, NULL, masked};
        tr_policy_input out = {2,    kept, kept_advantages, kept_logp, kept_logp, kept_logp, kept_entropy, 2, 3, 5,
                               NULL, NULL};
        tr_policy_loss(&policy, &in, &sums, d, de);
        tr_policy_loss(&policy, &out, &without, want, wante);
        assert_true(sums.loss == without.loss && sums.tokens == 3 && sums.responses == 2 && sums.ratios == 3);
        assert_true(sums.entropy == without.entropy && sums.kl == without.kl);
        assert_true(d[0] == want[0] && d[1] == want[1] && d[5] == want[2] && de[5] == wante[2]);
        assert_true(d[2] == 0 && d[3] == 0 && d[4] == 0 && de[3] == 0);
        in.token_advantages = of_tokens;
        memset(&sums, 0, sizeof sums);
        float again[6];
        tr_policy_loss(&policy, &in, &sums, again, de);
        assert_memory_equal(again, d, sizeof d);
        out.token_advantages = rising;
        tr_policy_loss(&policy, &out, &without, want, wante);
        assert_true(fabs((double)want[1] - 3 * (double)want[0]) < 1e-6); /* on-policy: -A times the weight */
        in.masked = all; /* everything cut off: no loss, no gradient, no division */
        in.step_responses = in.step_tokens = 0;
        memset(&sums, 0, sizeof sums);
        tr_policy_loss(&policy, &in, &sums, d, de);
        assert_true(sums.loss == 0 && sums.tokens == 0);
        for (int t = 0; t < 6; t++) {
            assert_true(d[t] == 0 && de[t] == 0);
        }
    }
}

static void fill(json_t *rows, const json_t *mask, float *out, int64_t lengths[2])
{
    size_t n = 0;
    for (size_t r = 0; r < 2; r++) {
        size_t start = n;
        for (size_t t = 0; t < json_array_size(json_array_get(rows, r)); t++) {
            if (json_integer_value(json_array_get(json_array_get(mask, r), t))) {
                out[n++] = (float)json_real_value(json_array_get(json_array_get(rows, r), t));
            }
        }
        lengths[r] = (int64_t)(n - start);
    }
}

/* cs336: masked mean in each row, mean over rows, halved for two accumulation steps; advantages of each row given.
 */
static void test_cs336_microbatch_steps(void **state)
{
    (void)state;
    json_t *file;
    assert_int_equal(tr_json_read(need_shared("data/oracles/rl/cs336_grpo.json"), &file, NULL), TR_OK);
    json_t *in = json_object_get(file, "inputs"), *mask = json_object_get(in, "response_mask");
    float logp[20], old[20], dlogp[20];
    int64_t lengths[2];
    double advantages[2];
    fill(json_object_get(in, "policy_log_probs"), mask, logp, lengths);
    fill(json_object_get(in, "old_log_probs"), mask, old, lengths);
    for (size_t r = 0; r < 2; r++) {
        advantages[r] = json_real_value(json_array_get(json_array_get(json_object_get(in, "advantages"), r), 0));
    }
    const char *key = "microbatch_step grpo_clip cliprange 0.1 (masked mean per row, mean over rows, / grad_acc) "
                      "loss + d loss/d policy_log_probs";
    const json_t *want = json_object_get(json_object_get(file, "expected"), key);
    tr_policy policy = {TR_RATIO_TOKEN, TR_LOSS_SEQUENCE, TR_KL_K3, 0.1, 0.1, 0, 0, 0};
    tr_policy_input input = {2,    lengths, advantages, logp, old,  NULL,
                             NULL, 4,       0,          0,    NULL, NULL}; /* 2 rows x 2 accumulations */
    tr_policy_sums sums = {0};
    tr_policy_loss(&policy, &input, &sums, dlogp, NULL);
    double loss = number(want, "loss");
    assert_true(fabs(sums.loss - loss) <= 1e-6 + 1e-4 * fabs(loss));
    size_t n = 0;
    for (size_t r = 0; r < 2; r++) {
        for (size_t t = 0; t < 10; t++) {
            if (json_integer_value(json_array_get(json_array_get(mask, r), t))) {
                const json_t *row = json_array_get(json_object_get(want, "policy_log_probs_grad"), r);
                double d = json_real_value(json_array_get(row, t));
                assert_true(fabs((double)dlogp[n++] - d) <= 1e-6 + 1e-4 * fabs(d));
            }
        }
    }
    double rewards[8], a[8];
    static const char *const keys[] = {"group_normalised_by_std (unbiased std, eps added to std)",
                                       "group_centred_only"};
    for (size_t i = 0; i < 8; i++) {
        rewards[i] = json_number_value(json_array_get(json_object_get(in, "rollout_rewards"), i));
    }
    for (int k = 0; k < 2; k++) {
        const tr_std_kind kind = k ? TR_STD_NONE : TR_STD_SAMPLE;
        want = json_object_get(json_object_get(file, "expected"), keys[k]);
        tr_advantages(a, NULL, rewards, 4, kind, 1e-6);
        tr_advantages(a + 4, NULL, rewards + 4, 4, kind, 1e-6);
        for (size_t i = 0; i < 8; i++) {
            double d = json_real_value(json_array_get(json_object_get(want, "normalized_rewards"), i));
            assert_true(fabs(a[i] - d) <= 1e-6 + 1e-4 * fabs(d));
        }
    }
    json_decref(file);
}

static double loss_at(const tr_policy *policy, const tr_policy_input *in, float *scratch)
{
    tr_policy_sums sums = {0};
    tr_policy_loss(policy, in, &sums, scratch, NULL);
    return sums.loss;
}

static void test_gradients_by_finite_differences(void **state)
{
    (void)state;
    const int64_t lengths[4] = {3, 0, 1, 4};
    const double advantages[4] = {1.2, 0.3, -0.7, -0.4};
    float old[8], logp[8], ref[8], d[8], scratch[8];
    for (int i = 0; i < 8; i++) {
        old[i] = -1.0f - 0.25f * (float)i;
        logp[i] = old[i] + 0.0625f * (float)(i % 5 - 2); /* ratios 0.88 to 1.13: away from the bounds 0.8 and 1.1 */
        ref[i] = old[i] + 0.125f * (float)(i % 3 - 1);
    }
    for (int ratio = 0; ratio < 2; ratio++) {
        for (int loss = 0; loss < 3; loss++) {
            for (int kl = 0; kl < 3; kl++) {
                tr_policy policy = {(tr_ratio_kind)ratio, (tr_loss_kind)loss, (tr_kl_kind)kl, 0.2, 0.1, 0.3, 0, 0};
                tr_policy_input in = {4, lengths, advantages, logp, old, ref, NULL, 4, 8, 5, NULL, NULL};
                tr_policy_sums sums = {0};
                tr_policy_loss(&policy, &in, &sums, d, NULL);
                for (int i = 0; i < 8; i++) {
                    const float h = 0x1p-10f, x = logp[i];
                    logp[i] = x + h;
                    double up = loss_at(&policy, &in, scratch);
                    logp[i] = x - h;
                    double down = loss_at(&policy, &in, scratch);
                    logp[i] = x;
                    /* truncation h^2/6 |f'''| below 1e-6 of the values here, f32 rounding of d 6e-8 */
                    assert_true(fabs((up - down) / (2 * (double)h) - (double)d[i]) < 2e-6);
                }
            }
        }
    }
}

static void test_on_policy_clips_nothing_and_is_reinforce(void **state)
{
    (void)state;
    const int64_t lengths[2] = {2, 2};
    const double advantages[2] = {0.5, -0.5};
    const float logp[4] = {-1, -2, -3, -0.5f};
    float d[4];
    tr_policy policy = {TR_RATIO_TOKEN, TR_LOSS_SEQUENCE, TR_KL_K3, 0.2, 0.2, 0, 0, 0};
    tr_policy_input in = {2, lengths, advantages, logp, logp, NULL, NULL, 2, 4, 0, NULL, NULL};
    tr_policy_sums sums = {0};
    tr_policy_loss(&policy, &in, &sums, d, NULL);
    assert_int_equal(sums.clipped_low + sums.clipped_high, 0);
    assert_true(sums.ratio_max == 1);
    for (int i = 0; i < 4; i++) {
        assert_true(d[i] == (float)(-advantages[i / 2] / 4));
    }
    const float nan_logp[4] = {-1, NAN, -3, -0.5f};
    in.logp = nan_logp;
    memset(&sums, 0, sizeof sums);
    tr_policy_loss(&policy, &in, &sums, d, NULL);
    assert_true(isnan(sums.loss));
}

static void test_supervised_loss(void **state)
{
    (void)state;
    const float logp[3] = {-1, -2, -6};
    float d[3];
    tr_policy_sums sums = {0};
    tr_supervised_loss(logp, NULL, 2, 3, &sums, d);
    tr_supervised_loss(logp + 2, NULL, 1, 3, &sums, d + 2);
    assert_true(fabs(sums.loss - 3) < 1e-12);
    assert_true(d[0] == d[2] && d[0] == (float)(-1.0 / 3));
    assert_int_equal(sums.tokens, 3);
}

static void test_learning_rates_equal_transformers(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        tr_schedule_kind kind;
        int64_t warmup;
    } cases[] = {{"truth/constant", TR_SCHEDULE_CONSTANT, 0},
                 {"truth/constant_with_warmup", TR_SCHEDULE_CONSTANT, 5},
                 {"truth/linear", TR_SCHEDULE_LINEAR, 5},
                 {"truth/cosine", TR_SCHEDULE_COSINE, 5}};
    golden g;
    golden_read(&g, "schedules");
    for (size_t c = 0; c < 4; c++) {
        size_t count;
        const double *truth = golden_tensor(&g, cases[c].name, &count);
        assert_int_equal(count, 20);
        for (int64_t step = 0; step < 20; step++) {
            double rate = tr_schedule_rate(cases[c].kind, 1e-3, step, cases[c].warmup, 20);
            /* four roundings of 2^-53 relative to the base rate */
            assert_true(fabs(rate - truth[step]) <= 4 * 0x1p-53 * 1e-3);
        }
    }
    golden_free(&g);
}

static void test_learning_rates_beyond_the_end(void **state)
{
    (void)state;
    assert_true(tr_schedule_rate(TR_SCHEDULE_LINEAR, 1, 12, 0, 10) == 0);
    assert_true(tr_schedule_rate(TR_SCHEDULE_LINEAR, 1, 0, 0, 0) == 0);
    assert_true(tr_schedule_rate(TR_SCHEDULE_CONSTANT, 2, 0, 0, 0) == 2);
    assert_true(tr_schedule_rate(TR_SCHEDULE_COSINE, 1, 0, 0, 10) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objectives_equal_trl),
        cmocka_unit_test(test_advantages_equal_the_formulas),
        cmocka_unit_test(test_equal_rewards_give_exactly_zero),
        cmocka_unit_test(test_published_cases),
        cmocka_unit_test(test_truncated_importance_weights),
        cmocka_unit_test(test_kl_in_the_reward),
        cmocka_unit_test(test_masks_and_advantages_of_tokens),
        cmocka_unit_test(test_cs336_microbatch_steps),
        cmocka_unit_test(test_gradients_by_finite_differences),
        cmocka_unit_test(test_on_policy_clips_nothing_and_is_reinforce),
        cmocka_unit_test(test_supervised_loss),
        cmocka_unit_test(test_learning_rates_equal_transformers),
        cmocka_unit_test(test_learning_rates_beyond_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
