/* test_resume.c: a run that was interrupted and resumed equals one that was not, bit for bit; checkpoints are whole
 * or not there; a changed configuration, a used folder and a damaged state are refused. */
#include "memory_source.h"

static const char grpo[] = "rollout: {group: 4, max_tokens: 5}\ngrpo: {prompts_per_step: 3}\n"
                           "optim: {lr: 0.01, schedule: cosine, warmup_steps: 2}\n";

static void compare_with_interruption(const char *name, const char *settings, int64_t stop_at)
{
    char extra[512], straight[32], broken[32], a[128], b[128];
    tr_error err;
    snprintf(extra, sizeof extra, "%s%s", grpo, settings);
    snprintf(straight, sizeof straight, "%s-a", name);
    snprintf(broken, sizeof broken, "%s-b", name);
    reset_rows();
    assert_int_equal(run(straight, extra, false, false, &err), TR_OK);
    reset_rows();
    rows_template.stop_at = stop_at;
    assert_int_equal(run(broken, extra, false, false, &err), TR_INTERRUPTED);
    assert_non_null(strstr(err.message, "--resume"));
    reset_rows();
    assert_int_equal(run(broken, extra, true, false, &err), TR_OK);
    assert_same_metrics(straight, broken);
    const bool adapter = strstr(settings, "lora") != NULL;
    const char *const files[] = {adapter ? "checkpoints/step-6/adapter_model.safetensors"
                                         : "checkpoints/step-6/model.safetensors",
                                 "checkpoints/step-6/state.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(a, sizeof a, "%s/%s", straight, files[i]);
        snprintf(b, sizeof b, "%s/%s", broken, files[i]);
        assert_same_file(a, b);
    }
    if (!strstr(settings, "sft")) {
        snprintf(a, sizeof a, "%s/rollouts.jsonl", straight);
        snprintf(b, sizeof b, "%s/rollouts.jsonl", broken);
        assert_same_file(a, b);
    }
}

static void test_grpo_goes_on_bit_for_bit(void **state)
{
    (void)state;
    compare_with_interruption("g32", "train: {dtype: f32, steps: 6, save_every: 2, freeze: [vision, merger]}\n", 8);
    compare_with_interruption("g16", "train: {dtype: bf16, steps: 6, save_every: 4}\n", 8);
}

static void test_adapters_go_on_bit_for_bit(void **state)
{
    (void)state;
    compare_with_interruption("l16", "train: {dtype: bf16, steps: 6, save_every: 4, lora: {rank: 3}}\n", 8);
    compare_with_interruption(
        "l32", "train: {dtype: f32, steps: 6, save_every: 2, freeze: [vision], lora: {targets: [q_proj]}}\n", 8);
    compare_with_interruption("ls", "algorithm: sft\ntrain: {steps: 6, save_every: 0, lora: {}}\n", 8);
}

static void test_sft_goes_on_bit_for_bit(void **state)
{
    (void)state;
    compare_with_interruption("s32", "algorithm: sft\ntrain: {dtype: f32, steps: 6, save_every: 0}\n", 8);
}

static const char six[] = "rollout: {group: 4, max_tokens: 5}\ngrpo: {prompts_per_step: 3}\n"
                          "train: {dtype: f32, steps: 6, save_every: 2, keep: 2, freeze: [vision, merger]}\n";

/* A crash leaves log lines behind the checkpoint, half a line, and a half-written checkpoint. */
static void test_a_crash_leaves_nothing_in_the_way(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    assert_int_equal(run("whole", six, false, false, &err), TR_OK);
    reset_rows();
    assert_int_equal(run("crash", six, false, false, &err), TR_OK);
    assert_false(tr_directory_exists(scratch_path("crash/checkpoints/step-2"))); /* keep: 2 */
    assert_true(tr_directory_exists(scratch_path("crash/checkpoints/step-4")));
    assert_int_equal(tr_directory_remove(scratch_path("crash/checkpoints/step-6"), NULL), TR_OK);
    assert_int_equal(tr_directory_make(scratch_path("crash/checkpoints/part-6"), NULL), TR_OK);
    FILE *f = fopen(scratch_path("crash/metrics.jsonl"), "a");
    fputs("{\"step\": 3, \"rew", f);
    fclose(f);
    assert_int_equal(run("crash", six, true, false, &err), TR_OK);
    assert_same_metrics("whole", "crash");
    assert_same_file("whole/rollouts.jsonl", "crash/rollouts.jsonl");
    assert_same_file("whole/checkpoints/step-6/state.safetensors", "crash/checkpoints/step-6/state.safetensors");
    assert_false(tr_directory_exists(scratch_path("crash/checkpoints/part-6")));
}

static void test_a_used_folder_and_changes_are_refused(void **state)
{
    (void)state;
    tr_error err;
    char changed[512];
    reset_rows();
    assert_int_equal(run("used", six, false, false, &err), TR_OK);
    assert_int_equal(run("used", six, false, false, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "--resume"));
    snprintf(changed, sizeof changed, "%soptim: {lr: 0.5}\n", six);
    assert_int_equal(run("used", changed, true, false, &err), TR_MISMATCH);
    assert_non_null(strstr(err.message, "--accept-changes"));
    assert_int_equal(run("used", six, true, false, &err), TR_OK); /* finished already: nothing to do */
    json_t *m = metrics_of("used", "metrics.jsonl");
    assert_int_equal(json_array_size(m), 6);
    json_decref(m);
}

static void test_a_damaged_state_is_refused(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    assert_int_equal(run("damaged", six, false, false, &err), TR_OK);
    FILE *f = fopen(scratch_path("damaged/checkpoints/step-6/state.safetensors"), "r+");
    fseek(f, -9, SEEK_END);
    int byte = fgetc(f);
    fseek(f, -9, SEEK_END);
    fputc(byte ^ 1, f);
    fclose(f);
    assert_int_equal(run("damaged", six, true, false, &err), TR_FORMAT);
    assert_non_null(strstr(err.message, "checksum"));
}

static void test_a_checkpoint_is_a_model(void **state)
{
    (void)state;
    tr_error err;
    tr_model *model;
    char *path;
    int64_t step;
    tr_model_options options = {.dtype = TR_F32};
    reset_rows();
    assert_int_equal(run("model-run", six, false, false, &err), TR_OK);
    assert_int_equal(tr_train_newest_checkpoint(scratch_path("model-run"), &path, &step, &err), TR_OK);
    assert_int_equal(step, 6);
    assert_int_equal(tr_model_load(path, &options, &model, &err), TR_OK);
    tr_model_free(model);
    free(path);
    assert_int_equal(tr_train_newest_checkpoint(scratch_path("nowhere"), &path, &step, &err), TR_NOT_FOUND);
}

static void test_stages_follow_each_other(void **state)
{
    (void)state;
    tr_error err;
    reset_rows();
    const char text[] =
        "rollout: {group: 4, max_tokens: 5}\ngrpo: {prompts_per_step: 2}\ntrain: {dtype: f32, steps: 3}\n"
        "stages:\n  - {algorithm: sft, optim: {lr: 0.01}}\n  - {algorithm: grpo}\n";
    assert_int_equal(run("stages", text, false, false, &err), TR_OK);
    assert_true(tr_directory_exists(scratch_path("stages/1-sft/checkpoints/step-3")));
    assert_true(tr_directory_exists(scratch_path("stages/2-grpo/checkpoints/step-3")));
    tr_buffer text2 = {0};
    assert_int_equal(tr_file_read(scratch_path("stages/2-grpo/config.yaml"), 0, &text2, &err), TR_OK);
    assert_non_null(strstr(tr_buffer_text(&text2), "stages/1-sft/checkpoints/step-3")); /* its model */
    tr_buffer_free(&text2);
    assert_int_equal(run("stages", text, true, false, &err), TR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grpo_goes_on_bit_for_bit),
        cmocka_unit_test(test_sft_goes_on_bit_for_bit),
        cmocka_unit_test(test_adapters_go_on_bit_for_bit),
        cmocka_unit_test(test_a_crash_leaves_nothing_in_the_way),
        cmocka_unit_test(test_a_used_folder_and_changes_are_refused),
        cmocka_unit_test(test_a_damaged_state_is_refused),
        cmocka_unit_test(test_a_checkpoint_is_a_model),
        cmocka_unit_test(test_stages_follow_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
