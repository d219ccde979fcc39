/* test_train_graphs.c: rollouts whose decode steps are recorded and replayed write the same bytes as those that are
 * launched one by one, while responses leave and prompts join; graphs serve many steps. */
#include "tensor/cuda/cuda.h"
#include "train/memory_source.h"

#ifndef TEMPR1_TEST_GPU
#include "cuda/emulate.h"
#endif

static void need_device(void)
{
    tr_cuda_info info;
    tr_cuda_describe(&info);
    if (info.missing) {
        printf("SKIP: no GPU: %s\n", info.missing);
        skip();
    }
}

/* A run of two steps with its rollouts and its state. */
static tr_cuda_graphs run_into(const char *out, const char *settings, tr_buffer rollouts[1], tr_buffer state[1])
{
    char extra[512], path[128];
    tr_error err = {0};
    tr_cuda_graphs before, after;
    reset_rows();
    snprintf(extra, sizeof extra,
             "rollout: {group: 3, max_tokens: 14, temperature: 1.2%s}\n"
             "grpo: {prompts_per_step: 3, kl: 0.01}\noptim: {lr: 0.01}\n"
             "train: {dtype: bf16, steps: 2, save_every: 2, freeze: [vision, merger]}\ndevice: cuda\n",
             settings);
    tr_cuda_graphs_describe(&before);
    if (run(out, extra, false, false, &err)) {
        fail_msg("%s: %s: %s", out, err.where, err.message);
    }
    tr_cuda_graphs_describe(&after);
    snprintf(path, sizeof path, "%s/rollouts.jsonl", out);
    assert_int_equal(tr_file_read(scratch_path(path), 0, rollouts, NULL), TR_OK);
    snprintf(path, sizeof path, "%s/checkpoints/step-2/state.safetensors", out);
    assert_int_equal(tr_file_read(scratch_path(path), 0, state, NULL), TR_OK);
    after.recorded -= before.recorded;
    after.replayed -= before.replayed;
    after.plain -= before.plain;
    after.refused -= before.refused;
    return after;
}

static void expect_same(tr_buffer a[2], tr_buffer b[2])
{
    for (int i = 0; i < 2; i++) {
        assert_int_equal(a[i].length, b[i].length);
        assert_memory_equal(a[i].data, b[i].data, a[i].length);
        tr_buffer_free(&b[i]);
    }
}

static void test_graphs_do_not_show(void **state)
{
    (void)state;
    need_device();
    static const char *const settings[] = {"", ", top_p: 0.9, min_p: 0.01", ", top_k: 20"};
    for (int i = 0; i < 3; i++) {
        tr_buffer without[2] = {0}, with[2] = {0};
        setenv("TEMPR1_CUDA_GRAPHS", "0", 1);
        tr_cuda_graphs c = run_into("graphs-off", settings[i], &without[0], &without[1]);
        unsetenv("TEMPR1_CUDA_GRAPHS");
        assert_true(c.replayed == 0 && c.plain == 0);
        c = run_into("graphs-on", settings[i], &with[0], &with[1]);
        printf("%lld lists launched one by one, %lld recorded, %lld replays\n", (long long)c.plain,
               (long long)c.recorded, (long long)c.replayed);
        assert_true(c.recorded > 1);              /* the batch's shape changes */
        assert_true(c.replayed > 2 * c.recorded); /* and a graph serves several steps */
        assert_int_equal(c.refused, 0);
        expect_same(without, with);
#ifndef TEMPR1_TEST_GPU
        if (i == 0) {
            tr_emulated_refuse_graphs(true);
            c = run_into("graphs-refused", settings[i], &with[0], &with[1]);
            tr_emulated_refuse_graphs(false);
            assert_true(c.refused > 0 && c.recorded == 0);
            expect_same(without, with);
        }
#endif
        tr_buffer_free(&without[0]);
        tr_buffer_free(&without[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_graphs_do_not_show)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
