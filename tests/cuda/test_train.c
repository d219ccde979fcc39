/* test_train.c: training on a device: the first step of a GRPO run in f32 is the CPU's, sampling and training agree
 * bit for bit in f32, bf16 and with adapters, a run that was interrupted goes on to the same bytes. */
#include "tensor/cuda/cuda.h"
#include "train/memory_source.h"

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

static void test_what_a_device_refuses(void **state)
{
    (void)state;
    need_device();
    tr_error err = {0};
    reset_rows();
    assert_int_equal(run("cuda-offload", GRPO "train: {dtype: f32, steps: 1, offload: [moments]}\ndevice: cuda\n",
                         false, false, &err),
                     TR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "offload"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_step_is_the_cpus),
        cmocka_unit_test(test_the_gap_is_zero),
        cmocka_unit_test(test_a_step_twice_gives_the_same_bytes),
        cmocka_unit_test(test_resume_gives_the_same_bytes),
        cmocka_unit_test(test_what_a_device_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
