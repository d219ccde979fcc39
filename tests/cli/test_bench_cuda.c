/* test_bench_cuda.c: what `make bench-cuda` runs, bench/cuda_table.py, over the emulated GPU of tests/cuda and with
 * a peer that only pretends: every row and its reason, the keys, the counts of operations and bytes, and that what
 * fails or differs ends with an error. Speeds mean nothing here. */
#include "cli/program.h"

#include <math.h>

#define TINY "--presets nano --grid 2,4,4 --text 8 --group 2 --groups 2 --response 3 --repeats 1"

static bool is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__)
    return true;
#else
    return false;
#endif
}

/* Runs the script; its exit status. What it printed is in *out. */
static int table(const char *program, const char *folder, const char *more, tr_buffer *out)
{
    char printed[600], said[600];
    snprintf(printed, sizeof printed, "%s.out", scratch_path(folder));
    snprintf(said, sizeof said, "%s.err", scratch_path(folder));
    if (system("command -v python3 >/dev/null 2>&1")) {
        skip_test("python3 was not found");
    }
    char *command =
        tr_format("python3 '%s' --tempr1 '%s' --out '%s' %s >'%s' 2>'%s'", project_path("bench/cuda_table.py"),
                  program, scratch_path(folder), more, printed, said);
    int status = system(command);
    free(command);
    tr_buffer_clear(out);
    assert_int_equal(tr_file_read(printed, 0, out, NULL), TR_OK);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static json_t *results_of(const char *folder)
{
    json_t *json = NULL;
    tr_error err = {0};
    char *path = tr_path_join(scratch_path(folder), "table.json");
    if (tr_json_read(path, &json, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    free(path);
    return json;
}

static const json_t *row(const json_t *table, const char *id)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(table, "rows"), i, one)
    {
        if (!strcmp(json_string_value(json_object_get(one, "id")), id)) {
            return one;
        }
    }
    fail_msg("there is no row %s", id);
    return NULL;
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

/* Every row of the JSON is a line of the Markdown, with its reason where it was not run. */
static void same_rows(const json_t *table, const tr_buffer *printed, const char *folder)
{
    tr_buffer markdown = {0};
    char *path = tr_path_join(scratch_path(folder), "table.md");
    size_t i, lines = 0;
    json_t *one;
    assert_int_equal(tr_file_read(path, 0, &markdown, NULL), TR_OK);
    assert_string_equal(tr_buffer_text(&markdown), tr_buffer_text(printed));
    json_array_foreach(json_object_get(table, "rows"), i, one)
    {
        char *line = tr_format("| %s | %s | %s", text(one, "name"), text(one, "wanted"),
                               strcmp(text(one, "state"), "measured") ? text(one, "state") : text(one, "measured"));
        if (!strstr(tr_buffer_text(printed), line) || !strstr(tr_buffer_text(printed), text(one, "reason"))) {
            fail_msg("not in the table: %s (%s)", line, text(one, "reason"));
        }
        free(line);
    }
    for (const char *at = tr_buffer_text(printed); (at = strstr(at, "\n| ")); at++) {
        lines++;
    }
    assert_int_equal(lines, i + 1); /* and the head */
    free(path);
    tr_buffer_free(&markdown);
}

static void test_nothing_is_run(void **state)
{
    (void)state;
    tr_buffer printed = {0};
    assert_int_equal(table("no-such-program", "none", "--not-run 'there is no compiler'", &printed), 0);
    json_t *all = results_of("none");
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(all, "rows"), i, one)
    {
        assert_string_equal(text(one, "state"), "not run");
        assert_string_equal(text(one, "reason"), "there is no compiler");
    }
    assert_true(i > 20); /* both shapes */
    assert_string_equal(text(row(all, "qwen2.5-vl-3b.step"), "wanted"), "<= 2 s");
    same_rows(all, &printed, "none");
    json_decref(all);
    tr_buffer_free(&printed);
}

static void test_without_a_gpu(void **state)
{
    (void)state;
    tr_buffer out = {0}, errors = {0};
    program_run(tr_strdup("--version"), &out, &errors);
    if (!strstr(tr_buffer_text(&out), "cuda: no")) {
        tr_buffer_free(&out);
        tr_buffer_free(&errors);
        skip_test("this program is built with CUDA: it may find a GPU");
    }
    assert_int_equal(table(TEMPR1_PROGRAM, "cpu", "", &out), 0);
    json_t *all = results_of("cpu");
    assert_non_null(strstr(text(row(all, "ceiling"), "reason"), "built without CUDA"));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(all, "counts"), "measured")), 0);
    same_rows(all, &out, "cpu");
    assert_int_equal(table("no-such-program", "cpu", "", &out), 1); /* no program is a failure */
    json_decref(all);
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
}

static double at(const json_t *object, const char *path)
{
    char name[200], *rest = name;
    snprintf(name, sizeof name, "%s", path);
    for (char *word; object && (word = strsep(&rest, "."));) {
        object = json_object_get(object, word);
    }
    if (!json_is_number(object)) {
        fail_msg("there is no number %s", path);
    }
    return json_number_value(object);
}

/* nano: width 64, 2 layers, 4 heads of 16, 2 kv heads, 96, vocabulary 512, tied; prompt 8 + 8, 2 responses of 3.
 * One token after the other, as a reader of the network would add them up. */
static void check_counts(const json_t *forward)
{
    const double layer = 2.0 * (64 * 64 + 2 * 32 * 64 + 64 * 64 + 3 * 96 * 64), head = 2.0 * 64 * 512;
    double prompt = 0, decode = 0, responses = 0;
    for (int seen = 1; seen <= 16; seen++) {
        prompt += 2 * (layer + 4.0 * 64 * seen);
    }
    for (int token = 0; token < 3; token++) {
        const double one = 2 * (layer + 4.0 * 64 * (16 + token + 1));
        responses += 2 * (one + head);
        decode += token < 2 ? 2 * (one + head) : 0; /* the last token needs no step */
    }
    assert_true(at(forward, "flop.prefill") == prompt + head);
    assert_true(at(forward, "flop.decode") == decode);
    const double vision = at(forward, "flop.vision");
    assert_true(at(forward, "flop.packed.logprob") == vision + prompt + responses);
    assert_true(at(forward, "flop.packed.update") == 3 * (vision + prompt + responses));
    const double sequence = vision + prompt + responses / 2 - 3 * head + 19 * head;
    assert_true(at(forward, "flop.sequence_forward") == sequence && at(forward, "flop.update") == 6 * sequence);
    /* bf16 matrices, f32 norms and biases; keys and values of two layers in bf16: two prompts, four responses whose
     * steps see 1 and 2 tokens of their own */
    const double weights = 2 * (layer + 4 * (64 + 64 + 64 + 32 + 32)) + 2 * 512 * 64 + 4 * 64;
    const double token = 2 * 2 * 32 * 2, cache = token * (2 * 16 + 4 * 1.5);
    assert_true(at(forward, "phases.decode.shared.bytes_per_step") == weights + cache);
    assert_true(fabs(at(forward, "phases.decode.shared.gb_per_s") *
                         at(forward, "phases.decode.shared.step_seconds.median") * 1e9 / (weights + cache) -
                     1) < 1e-9);
    assert_true(fabs(at(forward, "phases.prefill.gflops") * at(forward, "phases.prefill.seconds.median") * 1e9 /
                         (prompt + head) -
                     1) < 1e-9);
}

static void test_over_the_emulated_gpu(void **state)
{
    (void)state;
    tr_buffer printed = {0};
    if (is_sanitized()) {
        skip_test("the emulated device takes minutes under a sanitizer; the release build runs this");
    }
    char *more = tr_format("%s --peer '%s' --peer-device cpu", TINY, project_path("tests/cli/peer/peer.py"));
    assert_int_equal(setenv("PYTHONPATH", project_path("tests/cli/peer"), 1), 0);
    if (table(TEMPR1_EMULATED, "emulated", more, &printed)) {
        fail_msg("%s", tr_buffer_text(&printed));
    }
    free(more);
    unsetenv("PYTHONPATH");
    json_t *all = results_of("emulated");
    same_rows(all, &printed, "emulated");
    static const char *const measured[] = {"vision",       "prefill",     "decode",    "logprob",  "memory",
                                           "update",       "step",        "gap",       "same",     "step_memory",
                                           "peer_prefill", "peer_decode", "peer_step", "peer_kind"};
    for (size_t i = 0; i < sizeof measured / sizeof *measured; i++) {
        char id[64];
        snprintf(id, sizeof id, "nano.%s", measured[i]);
        assert_string_equal(text(row(all, id), "state"), "measured");
    }
    assert_string_equal(text(row(all, "ceiling"), "reason"), "an emulated device has no speed");
    assert_true(json_is_true(json_object_get(row(all, "nano.gap"), "met")));
    assert_true(json_is_true(json_object_get(row(all, "nano.same"), "met")));
    const json_t *results = json_object_get(all, "results");
    const json_t *forward = json_object_get(results, "nano.forward"),
                 *mine = json_object_get(results, "nano.training");
    check_counts(forward);
    static const char *const phases[] = {"vision", "prefill", "logprob"}, *const trained[] = {"update", "step"};
    static const char *const keys[] = {"seconds.median", "tokens_per_s", "gflops",      "peer_gflops",
                                       "planned_gib",    "peak_gpu_gib", "peak_rss_gib"};
    for (size_t i = 0; i < 5; i++) {
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            char *path = tr_format("phases.%s.%s", i < 3 ? phases[i] : trained[i - 3], keys[k]);
            assert_true(at(i < 3 ? forward : mine, path) > 0);
            free(path);
        }
    }
    /* the device's own count: at least what was planned, and the 64 MiB for arguments */
    assert_true(at(mine, "phases.step.peak_gpu_gib") >= at(mine, "phases.step.planned_gib"));
    assert_true(at(mine, "phases.step.peak_gpu_gib") <= at(mine, "phases.step.planned_gib") + 0.08);
    /* the peer: made on the CPU, moved, computed where it was moved to; its best form of decoding */
    const json_t *theirs = json_object_get(json_object_get(results, "nano.peer_forward"), "phases");
    char *where = json_dumps(json_object_get(theirs, "prefill"), JSON_COMPACT | JSON_SORT_KEYS);
    assert_non_null(
        strstr(where, "\"ids\":[[\"cpu\"],\"cpu\"],\"model\":[[\"cpu\"],\"cpu\"],\"responses\":\"cpu\""));
    assert_non_null(strstr(where, "\"where\":[\"cpu\"]"));
    free(where);
    assert_string_equal(text(json_object_get(row(all, "nano.peer_decode"), "figures"), "form"), "shared_dynamic");
    assert_true(at(row(all, "nano.peer_kind"), "figures.peer_seconds") == 3);
    assert_true(at(row(all, "nano.peer_step"), "figures.peer_seconds") == 4);
    json_decref(all);
    tr_buffer_free(&printed);
}

/* A program in front of the emulated one, as a script. */
static const char *in_front(const char *name, const char *lines)
{
    char *script = tr_format("#!/bin/sh\n%s\nexec '%s' \"$@\"\n", lines, TEMPR1_EMULATED);
    const char *path = program_file(name, script);
    char *command = tr_format("chmod +x '%s'", path);
    assert_int_equal(system(command), 0);
    free(command);
    free(script);
    return path;
}

static void test_what_fails_is_told(void **state)
{
    (void)state;
    tr_buffer printed = {0};
    if (is_sanitized()) {
        skip_test("the emulated device takes minutes under a sanitizer; the release build runs this");
    }
    const char *program = in_front("breaks.sh", "case \"$*\" in *logprob*) echo 'the GPU fell off' >&2; exit 1;;\n"
                                                "*digest*) echo 'GPU memory cannot be had' >&2; exit 1;; esac");
    assert_int_equal(table(program, "breaks", TINY, &printed), 1);
    json_t *all = results_of("breaks");
    assert_string_equal(text(row(all, "nano.prefill"), "state"), "failed");
    assert_string_equal(text(row(all, "nano.prefill"), "reason"), "the GPU fell off");
    assert_string_equal(text(row(all, "nano.step"), "state"), "not run"); /* what does not fit is no failure */
    assert_string_equal(text(row(all, "nano.step"), "reason"), "GPU memory cannot be had");
    assert_string_equal(text(row(all, "nano.peer_step"), "state"), "not run");
    assert_int_equal(json_array_size(json_object_get(all, "failures")), 1);
    json_decref(all);
    /* the second run of two gets another seed */
    char *lines = tr_format("case \"$*\" in *digest*) [ -e '%s' ] && set -- \"$@\" --seed 2; touch '%s';;\n"
                            "*logprob*) exit 1;; esac",
                            scratch_path("twice"), scratch_path("twice"));
    program = in_front("differs.sh", lines);
    free(lines);
    assert_int_equal(table(program, "differs", TINY, &printed), 1);
    all = results_of("differs");
    assert_true(json_is_false(json_object_get(row(all, "nano.same"), "met")));
    assert_non_null(strstr(tr_buffer_text(&printed), "**missed**"));
    json_decref(all);
    tr_buffer_free(&printed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_run),
        cmocka_unit_test(test_without_a_gpu),
        cmocka_unit_test(test_over_the_emulated_gpu),
        cmocka_unit_test(test_what_fails_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
