/* test_sft.c: SFT whose rows share clips, its evaluation loss, and SFT before GRPO in one configuration, on a tiny
 * model and rows in memory. */
#include "memory_source.h"

#define ALL "algorithm: sft\ngrpo: {prompts_per_step: 8}\n"

static void train(const char *out, const char *extra)
{
    tr_error err;
    assert_int_equal(run(out, extra, false, false, &err), TR_OK);
}

/* A step of all rows is the same step packed or apart, for frozen and trained vision: the first loss and the norm
 * of its gradient agree to rounding. Rows of a clip that are not neighbours, and too many for one group, are packed
 * too.
 */
static void test_sharing_is_the_same_step(void **state)
{
    (void)state;
    static const struct {
        const char *train;
        int64_t per_clip, pairs, groups, saved;
    } cases[] = {
        {"train: {dtype: f32, steps: 3}\n", 2, 8, 4, 4 * (VISUAL + 2)},
        {"train: {dtype: f32, steps: 3, freeze: [vision, merger]}\n", 4, 8, 2, 6 * (VISUAL + 2)},
        {"train: {dtype: f32, steps: 3, freeze: [text]}\n", 8, 3, 3, 5 * (VISUAL + 2)},
        {"train: {dtype: f32, steps: 3}\n", 0, 8, 8, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char extra[512], apart[32], packed[32];
        snprintf(apart, sizeof apart, "apart%zu", i);
        snprintf(packed, sizeof packed, "packed%zu", i);
        reset_rows();
        rows_template.per_clip = cases[i].per_clip;
        snprintf(extra, sizeof extra, "%ssft: {share_clip: false}\n%s", ALL, cases[i].train);
        train(apart, extra);
        snprintf(extra, sizeof extra, "%ssft: {pairs_per_clip: %d}\n%s", ALL, (int)cases[i].pairs, cases[i].train);
        train(packed, extra);
        json_t *a = metrics_of(apart, "metrics.jsonl"), *p = metrics_of(packed, "metrics.jsonl");
        assert_int_equal(number(a, 0, "shared_tokens"), 0);
        assert_int_equal(number(a, 0, "packed_groups"), 8);
        assert_int_equal(number(a, 0, "prompt_tokens"), 8 * PROMPT);
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(number(p, k, "packed_groups"), cases[i].groups);
            /* two questions: pairs with the same one share it too */
            assert_true(number(p, k, "shared_tokens") >= (double)cases[i].saved);
            assert_true(number(p, k, "shared_tokens") <= (double)(8 - cases[i].groups) * PROMPT);
            assert_int_equal(number(p, k, "prompt_tokens"), 8 * PROMPT);
            assert_int_equal(number(p, k, "response_tokens"), 8 * TARGET);
        }
        /* sums of 40 log-probs, and norms of sums over some 150 rows, in f32: sqrt(n) 2^-23, ten times */
        assert_true(fabs(number(a, 0, "loss") / number(p, 0, "loss") - 1) < 10 * 0x1p-23 * 7);
        assert_true(fabs(number(a, 0, "grad_norm") / number(p, 0, "grad_norm") - 1) < 10 * 0x1p-23 * 13);
        json_decref(a);
        json_decref(p);
    }
}

/* Rows of a clip come together over the whole run; stopping and resuming changes nothing. */
static void test_a_packed_run_goes_on_bit_for_bit(void **state)
{
    (void)state;
    tr_error err;
    const char settings[] =
        "algorithm: sft\ngrpo: {prompts_per_step: 3}\noptim: {lr: 0.01}\n"
        "train: {dtype: f32, steps: 6, save_every: 0, eval_loss_every: 2}\neval: [ {rows: r} ]\n";
    reset_rows();
    rows_template.per_clip = 2;
    train("whole", settings);
    reset_rows();
    rows_template.per_clip = 2;
    rows_template.stop_at = 8;
    assert_int_equal(run("cut", settings, false, false, &err), TR_INTERRUPTED);
    reset_rows();
    rows_template.per_clip = 2;
    assert_int_equal(run("cut", settings, true, false, &err), TR_OK);
    assert_same_metrics("whole", "cut");
    assert_same_file("whole/checkpoints/step-6/state.safetensors", "cut/checkpoints/step-6/state.safetensors");
    json_t *m = metrics_of("whole", "metrics.jsonl");
    assert_true(mean_of(m, 0, 6, "shared_tokens") > 0);
    json_decref(m);
}

static double eval_number(const json_t *list, size_t step, const char *key)
{
    const json_t *value = json_object_get(json_object_get(json_array_get(list, step), "eval"), key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* Without a learning rate the loss on the eval rows is that of a step of the same rows; with one it falls. */
static void test_evaluation_loss(void **state)
{
    (void)state;
    for (int packed = 0; packed < 2; packed++) {
        char extra[512], out[32];
        reset_rows();
        rows_template.per_clip = 4;
        snprintf(extra, sizeof extra,
                 "%soptim: {lr: 0}\nsft: {share_clip: %s}\neval: [ {rows: r} ]\n"
                 "train: {dtype: f32, steps: 3, eval_loss_every: 2}\n",
                 ALL, packed ? "true" : "false");
        snprintf(out, sizeof out, "still%d", packed);
        train(out, extra);
        json_t *m = metrics_of(out, "metrics.jsonl");
        assert_null(json_object_get(json_array_get(m, 0), "eval"));
        for (size_t step = 1; step < 3; step++) { /* when due, and at the end */
            assert_true(fabs(eval_number(m, step, "loss") / number(m, 0, "loss") - 1) < 10 * 0x1p-23 * 7);
            assert_int_equal(eval_number(m, step, "loss_tokens"), 8 * TARGET);
            assert_int_equal(eval_number(m, step, "loss_rows"), 8);
            assert_int_equal(eval_number(m, step, "loss_skipped_rows"), 0);
        }
        json_decref(m);
    }
    reset_rows();
    rows_template.broken = 3;
    train("falls",
          ALL "optim: {lr: 0.01}\neval: [ {rows: r} ]\ntrain: {dtype: f32, steps: 20, eval_loss_every: 5}\n");
    json_t *m = metrics_of("falls", "metrics.jsonl");
    assert_true(eval_number(m, 19, "loss") < 0.5 * eval_number(m, 4, "loss"));
    assert_int_equal(eval_number(m, 19, "loss_rows"), 7);
    assert_int_equal(eval_number(m, 19, "loss_skipped_rows"), 1);
    json_decref(m);
    tr_error err;
    assert_int_equal(run("no-rows", ALL "train: {steps: 1, eval_loss_every: 1}\n", false, false, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "train.eval_loss_every needs rows"));
    reset_rows(); /* beside GRPO */
    train("beside", "rollout: {group: 3, max_tokens: 4}\ngrpo: {prompts_per_step: 2}\neval: [ {rows: r} ]\n"
                    "train: {dtype: f32, steps: 2, eval_loss_every: 1}\n");
    m = metrics_of("beside", "metrics.jsonl");
    assert_true(eval_number(m, 0, "loss") > 1);
    assert_true(json_is_null(json_object_get(json_array_get(m, 0), "shared_tokens")));
    json_decref(m);
}

static const char cold_start[] =
    "optim: {lr: 0.01}\ntrain: {dtype: f32, save_every: 2}\nrollout: {group: 4, max_tokens: 6}\n"
    "stages:\n  - {algorithm: sft, grpo: {prompts_per_step: 8}, train: {steps: 12}}\n"
    "  - {algorithm: grpo, grpo: {prompts_per_step: 3, kl: 0.04}, train: {steps: 6}}\n";

/* The weights that RL starts from, and its reference, are those that SFT ended with; also when RL was interrupted
 * and the whole is resumed. */
static void test_cold_start_then_rl(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    rows_template.per_clip = 2;
    train("cold-a", cold_start);
    json_t *sft = metrics_of("cold-a/1-sft", "metrics.jsonl"), *rl = metrics_of("cold-a/2-grpo", "metrics.jsonl");
    assert_int_equal(json_array_size(sft), 12);
    assert_int_equal(json_array_size(rl), 6);
    assert_true(number(sft, 11, "loss") < 0.5 * number(sft, 0, "loss"));
    assert_true(number(rl, 0, "kl") == 0); /* the policy is its reference: what SFT made */
    assert_true(number(rl, 5, "kl") > 0);
    for (size_t i = 0; i < 6; i++) {
        assert_true(number(rl, i, "logprob_gap") == 0);
    }
    /* Entropy of the first rollout is that of a trained policy: below the untrained one's log(60). */
    assert_true(number(rl, 0, "entropy") < 3.5);
    json_decref(sft);
    json_decref(rl);
    for (int i = 0; i < 2; i++) { /* stopped in SFT's fifth step, in RL's third */
        char out[32], a[96], b[96];
        snprintf(out, sizeof out, "cold-b%d", i);
        reset_rows();
        rows_template.per_clip = 2;
        rows_template.stop_at = i ? 3 * 3 : 5 * 8;
        rows_template.stop_algorithm = i ? TR_ALGORITHM_GRPO : TR_ALGORITHM_SFT;
        assert_int_equal(run(out, cold_start, false, false, &err), TR_INTERRUPTED);
        reset_rows();
        rows_template.per_clip = 2;
        assert_int_equal(run(out, cold_start, true, false, &err), TR_OK);
        snprintf(a, sizeof a, "%s/1-sft", out);
        snprintf(b, sizeof b, "%s/2-grpo", out);
        assert_same_metrics("cold-a/1-sft", a);
        assert_same_metrics("cold-a/2-grpo", b);
        snprintf(b, sizeof b, "%s/2-grpo/checkpoints/step-6/state.safetensors", out);
        assert_same_file("cold-a/2-grpo/checkpoints/step-6/state.safetensors", b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sharing_is_the_same_step),
        cmocka_unit_test(test_a_packed_run_goes_on_bit_for_bit),
        cmocka_unit_test(test_evaluation_loss),
        cmocka_unit_test(test_cold_start_then_rl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
