/* test_selftest.c: `tempr1 selftest`: passes here, says what fails, leaves nothing behind. */
#include "cli/program.h"
#include "support/tiny.h"

static json_t *run(char *arguments, int exit_status)
{
    tr_buffer out = {0}, errors = {0};
    int status = program_run(arguments, &out, &errors);
    json_t *value = json_loads(tr_buffer_text(&out), 0, NULL);
    if (status != exit_status || !value) {
        fail_msg("status %d, stdout %s, stderr %s", status, tr_buffer_text(&out), tr_buffer_text(&errors));
    }
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
    return value;
}

static const json_t *check(const json_t *value, const char *name)
{
    size_t i;
    const json_t *one;
    json_array_foreach(json_object_get(value, "checks"), i, one)
    {
        if (!strcmp(json_string_value(json_object_get(one, "name")), name)) {
            return one;
        }
    }
    fail_msg("there is no check %s", name);
    return NULL;
}

static void expect(const json_t *value, const char *name, const char *result, const char *detail)
{
    const json_t *one = check(value, name);
    if (strcmp(json_string_value(json_object_get(one, "result")), result) ||
        !strstr(json_string_value(json_object_get(one, "detail")), detail)) {
        fail_msg("%s: %s, %s; expected %s, \"%s\"", name, json_string_value(json_object_get(one, "result")),
                 json_string_value(json_object_get(one, "detail")), result, detail);
    }
}

static void test_everything_passes_and_nothing_stays(void **state)
{
    (void)state;
    char tokenizer[512], model[512], dir[512], **names;
    size_t count;
    snprintf(tokenizer, sizeof tokenizer, "%s", scratch_path("tokenizer"));
    snprintf(model, sizeof model, "%s", scratch_path("model"));
    snprintf(dir, sizeof dir, "%s", scratch_path("room"));
    tiny_tokenizer(tokenizer);
    tiny_checkpoint(tokenizer, model, 3, 0);
    json_t *value = run(tr_format("selftest --json --dir '%s' --model '%s'", dir, model), 0);
    assert_true(json_is_true(json_object_get(value, "ok")));
    size_t i;
    const json_t *one;
    json_array_foreach(json_object_get(value, "checks"), i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        const bool gpu = !strcmp(name, "cuda") || !strcmp(name, "products");
        if (!gpu || strcmp(json_string_value(json_object_get(one, "result")), "skipped")) {
            expect(value, name, "ok", ""); /* a machine without a GPU is whole too */
        }
    }
    assert_int_equal(i, 15);
    expect(value, "kernels", "ok", "scalar");
    expect(value, "rollout", "ok", "gap 0");
    expect(value, "model", "ok", "template fit");
    json_decref(value);
    assert_int_equal(tr_directory_list(dir, &names, &count, NULL), TR_OK);
    assert_int_equal(count, 0);
    tr_names_free(names, count);
}

static void test_failures_are_said(void **state)
{
    (void)state;
    const char *file = program_file("a-file", "x");
    program_before = "TEMPR1_ISA=avx1024";
    json_t *value = run(
        tr_format("selftest --json --dir '%s' --cache '%s' --model '%s-absent'", scratch_path("room"), file, file),
        1);
    program_before = "";
    assert_true(json_is_false(json_object_get(value, "ok")));
    expect(value, "cpu", "failed", "avx1024");
    expect(value, "rollout", "failed", "avx1024");
    expect(value, "cache", "failed", "a-file");
    expect(value, "model", "failed", "a-file-absent");
    expect(value, "decoder", "ok", "");
    json_decref(value);
    program_expect(tr_format("selftest --dir '%s'", file), 1, "", "a-file");
}

/* The plain code computes, but decoding does not have the bits of the packed forward. */
static void test_reference_kernels(void **state)
{
    (void)state;
    program_before = "TEMPR1_ISA=reference";
    json_t *value = run(tr_format("selftest --json --dir '%s'", scratch_path("room")), 0);
    program_before = "";
    expect(value, "cpu", "ok", "reference of");
    expect(value, "rollout", "skipped", "promise no gap of 0");
    expect(value, "training", "ok", "8 steps");
    json_decref(value);
}

/* Old CPUs, emulated: one with AVX2 and FMA takes avx2 by itself and gives the same bits; on one without FMA the
 * check of the CPU fails, and nothing that did not run is called right. Never under a sanitizer, whose memory the
 * emulator does not know. */
static void test_emulated_cpus(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip_test("no emulated CPU under a sanitizer");
#endif
    if (system("command -v qemu-x86_64 >/dev/null 2>&1")) {
        skip_test("qemu-x86_64 (package qemu-user) is not installed");
    }
    program_before = "OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive TEMPR1_ISA= qemu-x86_64 -cpu Haswell";
    json_t *value = run(tr_format("selftest --json --dir '%s'", scratch_path("room")), 0);
    expect(value, "cpu", "ok", "avx2 of avx2 scalar reference, 2 threads");
    expect(value, "kernels", "ok", "avx2, scalar, 1 and 2 threads: the committed checksum");
    expect(value, "rollout", "ok", "gap 0");
    expect(value, "training", "ok", "8 steps");
    json_decref(value);
    program_before = "OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive TEMPR1_ISA= qemu-x86_64 -cpu Nehalem";
    value = run(tr_format("selftest --json --dir '%s'", scratch_path("room")), 1);
    program_before = "";
    expect(value, "cpu", "failed", "need a CPU with FMA; TEMPR1_ISA=reference");
    expect(value, "kernels", "skipped", "this CPU can run none of them");
    expect(value, "rollout", "skipped", "FMA");
    expect(value, "decoder", "ok", "");
    json_decref(value);
}

static void test_wrong_usage(void **state)
{
    (void)state;
    program_expect(tr_format("selftest --help"), 0, "--cache", "");
    program_expect(tr_format("selftest x"), 2, "", "unexpected argument 'x'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_passes_and_nothing_stays),
        cmocka_unit_test(test_failures_are_said),
        cmocka_unit_test(test_reference_kernels),
        cmocka_unit_test(test_emulated_cpus),
        cmocka_unit_test(test_wrong_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
