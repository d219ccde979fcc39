/* test_loop.c: SFT and GRPO on a tiny model and rows in memory: they learn, the gap is 0, clipping works
 * off-policy, broken rows and non-finite numbers do not end a run. */
#include "memory_source.h"
#include "tensor/ops.h"

#define FAST "optim: {lr: 0.01}\n"

static void test_sft_drives_the_loss_down(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    rows_template.source.rows = 2;
    assert_int_equal(run("sft",
                         "algorithm: sft\ngrpo: {prompts_per_step: 2}\n" FAST
                         "train: {dtype: f32, steps: 40, save_every: 0}\n",
                         false, false, &err),
                     TR_OK);
    json_t *m = metrics_of("sft", "metrics.jsonl");
    assert_int_equal(json_array_size(m), 40);
    assert_true(number(m, 0, "loss") > 3.5); /* log(64) is 4.16 */
    assert_true(number(m, 39, "loss") < 0.2);
    assert_true(json_is_null(json_object_get(json_array_get(m, 0), "reward")));
    assert_int_equal(number(m, 0, "response_tokens"), 2 * TARGET);
    json_decref(m);
}

static void check_exact(const json_t *m)
{
    for (size_t i = 0; i < json_array_size(m); i++) {
        assert_true(number(m, i, "logprob_gap") == 0);
    }
}

static const char grpo[] = "rollout: {group: 6, max_tokens: 6}\ngrpo: {prompts_per_step: 4, kl: 0.01}\n" FAST;

static void test_grpo_raises_the_reward(void **state)
{
    (void)state;
    tr_error err;
    char extra[512];
    reset_rows();
    snprintf(extra, sizeof extra, "%strain: {dtype: f32, steps: 40, freeze: [vision, merger]}\n", grpo);
    assert_int_equal(run("grpo", extra, false, false, &err), TR_OK);
    json_t *m = metrics_of("grpo", "metrics.jsonl"), *r = metrics_of("grpo", "rollouts.jsonl");
    check_exact(m);
    assert_true(mean_of(m, 30, 40, "reward") > mean_of(m, 0, 5, "reward") + 0.3);
    assert_true(number(m, 0, "kl") == 0); /* the reference is the start */
    assert_true(number(m, 39, "kl") > 0);
    assert_true(mean_of(m, 0, 40, "clip_fraction") == 0); /* on-policy: nothing to clip */
    assert_int_equal(json_array_size(r), 40 * 4 * 6);
    for (size_t i = 0; i < json_array_size(r); i++) { /* never a vision token; end tokens only at the end */
        const json_t *ids = json_object_get(json_array_get(r, i), "ids");
        const char *finish = json_string_value(json_object_get(json_array_get(r, i), "finish"));
        size_t n = json_array_size(ids);
        assert_in_range(n, 1, 6);
        for (size_t k = 0; k < n; k++) {
            int id = (int)json_integer_value(json_array_get(ids, k));
            assert_true(id < 60 && (id != END || k == n - 1));
        }
        assert_int_equal(!strcmp(finish, "stop"), json_integer_value(json_array_get(ids, n - 1)) == END);
        assert_int_equal(json_array_size(json_object_get(json_array_get(r, i), "logprobs")), n);
    }
    assert_true(tr_file_exists(scratch_path("grpo/curves.svg")));
    json_decref(m);
    json_decref(r);
}

static void test_gap_is_zero_with_vision_training_and_in_bf16(void **state)
{
    (void)state;
    static const char *const settings[] = {
        "train: {dtype: f32, steps: 4, recompute: none}\n", "train: {dtype: bf16, steps: 4}\n",
        "train: {dtype: bf16, steps: 4, freeze: [vision]}\n", "train: {dtype: f32, steps: 4, freeze: [text]}\n",
        "train: {dtype: bf16, steps: 4, exact: false}\n"}; /* the CPU is exact whatever is asked */
    for (size_t i = 0; i < 5; i++) {
        char extra[512], out[32];
        tr_error err;
        reset_rows();
        snprintf(extra, sizeof extra, "%s%s", grpo, settings[i]);
        snprintf(out, sizeof out, "gap%zu", i);
        assert_int_equal(run(out, extra, false, false, &err), TR_OK);
        json_t *m = metrics_of(out, "metrics.jsonl");
        check_exact(m);
        assert_true(number(m, 0, "kl") == 0 && number(m, 0, "grad_norm") > 0);
        assert_true(number(m, 3, "kl") > 0);
        json_decref(m);
    }
}

/* Where the CPU has it, sampling and training agree in bf16 arithmetic too; elsewhere, or with f32 weights, it is
 * refused. */
static void test_bf16_arithmetic(void **state)
{
    (void)state;
    tr_error err;
    const tr_ops *ops;
    char extra[512];
    reset_rows();
    snprintf(extra, sizeof extra, "%strain: {dtype: f32, arithmetic: bf16, steps: 1}\n", grpo);
    assert_int_equal(run("arithmetic-f32", extra, false, false, &err), TR_INVALID);
    snprintf(extra, sizeof extra, "%strain: {dtype: bf16, arithmetic: bf16, steps: 4}\n", grpo);
    if (tr_ops_cpu("avx512bf16", &ops, &err) != TR_OK) {
        assert_int_equal(run("arithmetic", extra, false, false, &err), TR_UNSUPPORTED);
        skip_test(err.message);
    }
    assert_int_equal(run("arithmetic", extra, false, false, &err), TR_OK);
    json_t *m = metrics_of("arithmetic", "metrics.jsonl");
    check_exact(m);
    assert_true(number(m, 0, "kl") == 0 && number(m, 0, "grad_norm") > 0);
    json_decref(m);
}

static void test_temperature_is_in_both_log_probs(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    assert_int_equal(run("warm",
                         "rollout: {group: 4, max_tokens: 5, temperature: 0.7, top_p: 0.9, top_k: 30}\n"
                         "grpo: {prompts_per_step: 3, kl: 0, entropy: 0.01}\n" FAST
                         "train: {dtype: f32, steps: 4}\n",
                         false, false, &err),
                     TR_OK);
    json_t *m = metrics_of("warm", "metrics.jsonl");
    check_exact(m);
    assert_true(json_is_null(json_object_get(json_array_get(m, 0), "kl")));
    json_decref(m);
}

static void test_several_updates_leave_the_policy_and_are_clipped(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    assert_int_equal(run("off",
                         "rollout: {group: 6, max_tokens: 6}\n"
                         "grpo: {prompts_per_step: 4, kl: 0, updates_per_rollout: 4, clip: [0.05, 0.05]}\n" FAST
                         "train: {dtype: f32, steps: 6, freeze: [vision, merger]}\n",
                         false, false, &err),
                     TR_OK);
    json_t *m = metrics_of("off", "metrics.jsonl");
    check_exact(m);
    assert_true(mean_of(m, 0, 6, "clip_fraction") > 0.01);
    assert_true(number(m, 0, "ratio_max") > 1.05);
    assert_int_equal(number(m, 0, "updates"), 4);
    json_decref(m);
}

static void test_equal_rewards_move_nothing(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    rows_template.constant = ROWS; /* all of them */
    assert_int_equal(run("flat",
                         "rollout: {group: 4, max_tokens: 4}\ngrpo: {prompts_per_step: 3, kl: 0}\n" FAST
                         "train: {dtype: f32, steps: 2}\n",
                         false, false, &err),
                     TR_OK);
    json_t *m = metrics_of("flat", "metrics.jsonl"), *r = metrics_of("flat", "rollouts.jsonl");
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(number(m, i, "zero_variance_groups"), 3);
        assert_true(number(m, i, "grad_norm") == 0 && number(m, i, "loss") == 0);
    }
    for (size_t i = 0; i < json_array_size(r); i++) {
        assert_true(json_number_value(json_object_get(json_array_get(r, i), "advantage")) == 0);
    }
    json_decref(m);
    json_decref(r);
}

static void test_broken_rows_are_left_out(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    rows_template.broken = 3;
    assert_int_equal(run("broken", "algorithm: sft\ngrpo: {prompts_per_step: 4}\ntrain: {dtype: f32, steps: 4}\n",
                         false, false, &err),
                     TR_OK);
    json_t *m = metrics_of("broken", "metrics.jsonl");
    assert_in_range((int)number(m, 3, "skipped_rows"), 2, 3); /* once in each of two epochs, perhaps in the third */
    json_decref(m);
    rows_template.source.rows = 1;
    rows_template.broken = 0;
    assert_int_equal(run("hopeless", "algorithm: sft\ngrpo: {prompts_per_step: 1}\n", false, false, &err),
                     TR_NOT_FOUND);
}

static void test_non_finite_steps_are_skipped_and_said(void **state)
{
    (void)state;
    static const char *const settings[] = {
        "algorithm: sft\ngrpo: {prompts_per_step: 4}\ntrain: {dtype: f32, steps: 4}\n",
        "rollout: {group: 4, max_tokens: 4}\ngrpo: {prompts_per_step: 4, kl: 0}\ntrain: {dtype: f32, steps: 4}\n"};
    for (int i = 0; i < 2; i++) {
        char out[32];
        tr_error err;
        reset_rows();
        rows_template.not_finite = 2;
        snprintf(out, sizeof out, "nan%d", i);
        assert_int_equal(run(out, settings[i], false, false, &err), TR_OK);
        json_t *m = metrics_of(out, "metrics.jsonl");
        assert_int_equal(number(m, 3, "skipped_steps"), 2); /* the row comes once in each of two epochs */
        for (size_t k = 0; k < 4; k++) {
            bool skipped = json_is_true(json_object_get(json_array_get(m, k), "skipped"));
            assert_int_equal(number(m, k, "updates"), skipped ? 0 : 1);
            assert_true(skipped || number(m, k, "grad_norm") > 0);
        }
        json_decref(m);
        snprintf(out, sizeof out, "strict%d", i);
        assert_int_equal(run(out, settings[i], false, true, &err), TR_NUMERIC);
        assert_non_null(strstr(err.message, "--strict"));
    }
}

static void test_ratio_kinds_and_averagings_run(void **state)
{
    (void)state;
    static const char *const settings[] = {"ratio: sequence, loss: sequence", "ratio: constant, loss: constant",
                                           "ratio: token, loss: constant, std: none, kl_form: k1"};
    for (size_t i = 0; i < 3; i++) {
        char extra[512], out[32];
        tr_error err;
        reset_rows();
        snprintf(extra, sizeof extra,
                 "rollout: {group: 3, max_tokens: 4}\ngrpo: {prompts_per_step: 2, %s}\n"
                 "train: {dtype: f32, steps: 2}\n",
                 settings[i]);
        snprintf(out, sizeof out, "kind%zu", i);
        assert_int_equal(run(out, extra, false, false, &err), TR_OK);
        json_t *m = metrics_of(out, "metrics.jsonl");
        check_exact(m);
        json_decref(m);
    }
}

/* Moments and reference in files: the same weights, bit for bit, and again after an interruption. */
static void test_offloading_changes_no_bit(void **state)
{
    (void)state;
    static const char *const runs[] = {"kept", "offloaded"}, *const lists[] = {"[]", "[moments, reference]"};
    static const char *const files[] = {"model.safetensors", "state.safetensors"};
    tr_error err;
    char extra[512], path[128];
    tr_buffer bytes[2][2] = {0};
    for (size_t i = 0; i < 2; i++) {
        snprintf(extra, sizeof extra, "%strain: {dtype: f32, steps: 6, save_every: 3, offload: %s}\n", grpo,
                 lists[i]);
        reset_rows();
        rows_template.stop_at = i ? 4 : 0;
        assert_int_equal(run(runs[i], extra, false, false, &err), i ? TR_INTERRUPTED : TR_OK);
        reset_rows();
        assert_int_equal(i ? run(runs[i], extra, true, false, &err) : TR_OK, TR_OK);
        for (size_t k = 0; k < 2; k++) {
            snprintf(path, sizeof path, "%s/checkpoints/step-6/%s", runs[i], files[k]);
            assert_int_equal(tr_file_read(scratch_path(path), 0, &bytes[i][k], NULL), TR_OK);
        }
        json_t *m = metrics_of(runs[i], "metrics.jsonl");
        check_exact(m);
        json_decref(m);
    }
    for (size_t k = 0; k < 2; k++) {
        assert_int_equal(bytes[0][k].length, bytes[1][k].length);
        assert_memory_equal(bytes[0][k].data, bytes[1][k].data, bytes[0][k].length);
        tr_buffer_free(&bytes[0][k]);
        tr_buffer_free(&bytes[1][k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sft_drives_the_loss_down),
        cmocka_unit_test(test_grpo_raises_the_reward),
        cmocka_unit_test(test_gap_is_zero_with_vision_training_and_in_bf16),
        cmocka_unit_test(test_bf16_arithmetic),
        cmocka_unit_test(test_temperature_is_in_both_log_probs),
        cmocka_unit_test(test_several_updates_leave_the_policy_and_are_clipped),
        cmocka_unit_test(test_equal_rewards_move_nothing),
        cmocka_unit_test(test_broken_rows_are_left_out),
        cmocka_unit_test(test_non_finite_steps_are_skipped_and_said),
        cmocka_unit_test(test_ratio_kinds_and_averagings_run),
        cmocka_unit_test(test_offloading_changes_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
