/* test_train.c: training on a device: the first step of a GRPO run in f32 is the CPU's, sampling and training agree
 * bit for bit in f32, bf16 and with adapters, a run that was interrupted goes on to the same bytes. */
#include "tensor/cuda/cuda.h"
#include "train/memory_source.h"

#ifndef TEMPR1_TEST_GPU
#include "cuda/emulate.h"
#endif

#define GRPO "rollout: {group: 4, max_tokens: 5}\ngrpo: {prompts_per_step: 2, kl: 0.01}\noptim: {lr: 0.01}\n"

static void need_device(void)
{
    tr_cuda_info info;
    tr_cuda_describe(&info);
    if (info.missing) {
        printf("SKIP: no GPU: %s\n", info.missing);
        skip();
    }
}

static void must_run(const char *out, const char *extra, bool resume, tr_status expected)
{
    tr_error err = {0};
    tr_status status = run(out, extra, resume, false, &err);
    if (status != expected) {
        fail_msg("%s: status %d, expected %d: %s: %s", out, status, expected, err.where, err.message);
    }
}

static void test_the_first_step_is_the_cpus(void **state)
{
    (void)state;
    need_device();
    static const char *const devices[] = {"cpu", "cuda:0"};
    json_t *m[2], *r[2];
    for (int i = 0; i < 2; i++) {
        char extra[512];
        reset_rows();
        snprintf(extra, sizeof extra, "%strain: {dtype: f32, steps: 1, save_every: 0}\ndevice: %s\n", GRPO,
                 devices[i]);
        must_run(devices[i][1] == 'p' ? "first-cpu" : "first-cuda", extra, false, TR_OK);
        m[i] = metrics_of(i ? "first-cuda" : "first-cpu", "metrics.jsonl");
        r[i] = metrics_of(i ? "first-cuda" : "first-cpu", "rollouts.jsonl");
    }
    assert_int_equal(json_array_size(r[0]), 8);
    for (size_t i = 0; i < 8; i++) { /* the same tokens with the same log-probs */
        const json_t *a = json_array_get(r[0], i), *b = json_array_get(r[1], i);
        assert_true(json_equal(json_object_get(a, "ids"), json_object_get(b, "ids")));
        assert_true(json_equal(json_object_get(a, "logprobs"), json_object_get(b, "logprobs")));
    }
    assert_true(number(m[0], 0, "loss") == number(m[1], 0, "loss"));
    assert_true(number(m[1], 0, "logprob_gap") == 0);
    const double a = number(m[0], 0, "grad_norm"), b = number(m[1], 0, "grad_norm");
    assert_true(a > 0 && fabs(a - b) <= 1e-4 * a);
    for (int i = 0; i < 2; i++) {
        json_decref(m[i]);
        json_decref(r[i]);
    }
}

static void test_the_gap_is_zero(void **state)
{
    (void)state;
    need_device();
    static const char *const settings[] = {
        "train: {dtype: f32, steps: 3, recompute: none, save_every: 0}\n",
        "train: {dtype: bf16, steps: 3, save_every: 0}\n",
        "train: {dtype: bf16, steps: 3, save_every: 0, freeze: [vision, merger], lora: {rank: 4, alpha: 8}}\n"};
    for (int i = 0; i < 3; i++) {
        char extra[512], out[32];
        reset_rows();
        snprintf(extra, sizeof extra, "%s%sdevice: cuda\n", GRPO, settings[i]);
        snprintf(out, sizeof out, "cuda-gap%d", i);
        must_run(out, extra, false, TR_OK);
        json_t *m = metrics_of(out, "metrics.jsonl");
        assert_int_equal(json_array_size(m), 3);
        for (size_t k = 0; k < 3; k++) {
            assert_true(number(m, k, "logprob_gap") == 0);
            assert_true(isfinite(number(m, k, "loss")) && number(m, k, "grad_norm") >= 0);
        }
        assert_true(number(m, 0, "kl") == 0 && number(m, 2, "kl") > 0);
        json_decref(m);
    }
}

/* Weights and training state of two runs' checkpoints. */
static void same_checkpoints(const char *a, const char *b, int step)
{
    static const char *const files[] = {"model.safetensors", "state.safetensors"};
    for (int k = 0; k < 2; k++) {
        tr_buffer bytes[2] = {0};
        char path[128];
        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "%s/checkpoints/step-%d/%s", i ? b : a, step, files[k]);
            assert_int_equal(tr_file_read(scratch_path(path), 0, &bytes[i], NULL), TR_OK);
        }
        assert_int_equal(bytes[0].length, bytes[1].length);
        assert_memory_equal(bytes[0].data, bytes[1].data, bytes[0].length);
        tr_buffer_free(&bytes[0]);
        tr_buffer_free(&bytes[1]);
    }
}

static void test_a_step_twice_gives_the_same_bytes(void **state)
{
    (void)state;
    need_device();
    static const char *const dtypes[] = {"f32", "bf16"};
    for (int d = 0; d < 2; d++) {
        char extra[512], out[2][32];
        snprintf(extra, sizeof extra, "%strain: {dtype: %s, steps: 1, save_every: 1}\ndevice: cuda\n", GRPO,
                 dtypes[d]);
        for (int i = 0; i < 2; i++) {
            reset_rows();
            snprintf(out[i], sizeof out[i], "cuda-twice-%s-%d", dtypes[d], i);
            must_run(out[i], extra, false, TR_OK);
        }
        same_checkpoints(out[0], out[1], 1);
    }
}

static void test_resume_gives_the_same_bytes(void **state)
{
    (void)state;
    need_device();
    static const char *const runs[] = {"cuda-whole", "cuda-cut"};
    char extra[512];
    snprintf(extra, sizeof extra, "%strain: {dtype: bf16, steps: 4, save_every: 2}\ndevice: cuda\n", GRPO);
    for (int i = 0; i < 2; i++) {
        reset_rows();
        rows_template.stop_at = i ? 4 : 0;
        must_run(runs[i], extra, false, i ? TR_INTERRUPTED : TR_OK);
        reset_rows();
        if (i) {
            must_run(runs[i], extra, true, TR_OK);
        }
    }
    same_checkpoints(runs[0], runs[1], 4);
}

static void read_whole(const char *out, const char *file, tr_buffer *to)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", out, file);
    assert_int_equal(tr_file_read(scratch_path(path), 0, to, NULL), TR_OK);
}

#ifndef TEMPR1_TEST_GPU
/* The next prompt is made beside the decoding, in a second lane: whichever lane the device works at first, the run
 * is the same. Three prompts a step, so that two join while others decode. */
static void test_the_order_of_lanes_does_not_show(void **state)
{
    (void)state;
    static const char *const settings[] = {"", ", freeze: [vision, merger]"};
    for (int i = 0; i < 2; i++) {
        tr_buffer rollouts[2] = {0}, states[2] = {0};
        for (int order = 0; order < 2; order++) {
            char extra[512], out[32];
            reset_rows();
            snprintf(out, sizeof out, "lanes-%d-%d", i, order);
            snprintf(extra, sizeof extra,
                     "rollout: {group: 3, max_tokens: 6}\ngrpo: {prompts_per_step: 3, kl: 0.01}\n"
                     "optim: {lr: 0.01}\ntrain: {dtype: bf16, steps: 3, save_every: 3%s}\ndevice: cuda\n",
                     settings[i]);
            tr_emulated_order(order ? TR_OTHERS_FIRST : TR_OTHERS_LAST);
            must_run(out, extra, false, TR_OK);
            json_t *m = metrics_of(out, "metrics.jsonl");
            for (size_t k = 0; k < 3; k++) {
                assert_true(number(m, k, "logprob_gap") == 0);
            }
            json_decref(m);
            read_whole(out, "rollouts.jsonl", &rollouts[order]);
            read_whole(out, "checkpoints/step-3/state.safetensors", &states[order]);
        }
        assert_int_equal(rollouts[0].length, rollouts[1].length);
        assert_memory_equal(rollouts[0].data, rollouts[1].data, rollouts[0].length);
        assert_int_equal(states[0].length, states[1].length);
        assert_memory_equal(states[0].data, states[1].data, states[0].length);
        for (int order = 0; order < 2; order++) {
            tr_buffer_free(&rollouts[order]);
            tr_buffer_free(&states[order]);
        }
    }
    tr_emulated_order(TR_OTHERS_LAST);
}
#endif

/* Moments and reference in the host's memory: the same bytes as without, in both orders of the lanes, also after a
 * checkpoint; the checkpoint is written beside the training from a copy. */
static void test_offload_gives_the_same_bytes(void **state)
{
    (void)state;
    need_device();
    static const char *const runs[] = {"away-none", "away-last", "away-first"}, *const offload[] = {
                                                                                    "[]", "[moments, reference]",
                                                                                    "[moments, reference]"};
    tr_buffer states[3] = {0}, rollouts[3] = {0};
    for (int i = 0; i < 3; i++) {
        char extra[512];
        reset_rows();
        rows_template.stop_at = i == 1 ? 4 : 0;
        snprintf(extra, sizeof extra,
                 "%strain: {dtype: bf16, steps: 4, save_every: 2, offload: %s}\ndevice: cuda\n", GRPO, offload[i]);
#ifndef TEMPR1_TEST_GPU
        tr_emulated_order(i == 2 ? TR_OTHERS_FIRST : TR_OTHERS_LAST);
#endif
        must_run(runs[i], extra, false, i == 1 ? TR_INTERRUPTED : TR_OK);
        reset_rows();
        if (i == 1) {
            must_run(runs[i], extra, true, TR_OK);
        }
        read_whole(runs[i], "checkpoints/step-4/state.safetensors", &states[i]);
        read_whole(runs[i], "rollouts.jsonl", &rollouts[i]);
        assert_int_equal(states[i].length, states[0].length);
        assert_memory_equal(states[i].data, states[0].data, states[0].length);
        assert_int_equal(rollouts[i].length, rollouts[0].length);
        assert_memory_equal(rollouts[i].data, rollouts[0].data, rollouts[0].length);
        json_t *m = metrics_of(runs[i], "metrics.jsonl");
        assert_true(number(m, 3, "kl") > 0); /* the reference is another */
        json_decref(m);
    }
#ifndef TEMPR1_TEST_GPU
    tr_emulated_order(TR_OTHERS_LAST);
#endif
    for (int i = 0; i < 3; i++) {
        tr_buffer_free(&states[i]);
        tr_buffer_free(&rollouts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_step_is_the_cpus),
        cmocka_unit_test(test_the_gap_is_zero),
        cmocka_unit_test(test_a_step_twice_gives_the_same_bytes),
        cmocka_unit_test(test_resume_gives_the_same_bytes),
#ifndef TEMPR1_TEST_GPU
        cmocka_unit_test(test_the_order_of_lanes_does_not_show),
#endif
        cmocka_unit_test(test_offload_gives_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
