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

/* The same prompt and responses with A and B of a rank on seven matrices of each layer. Frozen weights have no
 * gradients of their own, so their part of an update is twice the forward's, the vision tower's once. */
static void check_adapters(const json_t *run, const json_t *whole, int rank)
{
    const double inside =
        2.0 * 2 * rank * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 96)); /* a token's, all layers */
    const double weights = 2 * 2.0 * (64 * 64 + 2 * 32 * 64 + 64 * 64 + 3 * 96 * 64), head = 2.0 * 64 * 512;
    const double vision = at(whole, "flop.vision"), tokens = 16 + 2 * 3;
    const double forward = at(whole, "flop.packed.logprob") + tokens * inside;
    const double linear = tokens * weights + 6 * head, rest = forward - vision - linear;
    assert_int_equal(at(run, "lora"), rank);
    assert_true(at(run, "flop.packed.prefill") == at(whole, "flop.packed.prefill") + 16 * inside);
    assert_true(at(run, "flop.packed.decode") == at(whole, "flop.packed.decode") + 4 * inside);
    assert_true(at(run, "flop.packed.logprob") == forward);
    assert_true(at(run, "flop.packed.update") == vision + 2 * linear + 3 * rest);
    /* the tower once; the reference without adapters; the update on the rollout's features */
    assert_true(at(run, "flop.packed.step") == vision + at(run, "flop.packed.prefill") +
                                                   at(run, "flop.packed.decode") + forward - tokens * inside -
                                                   vision + 2 * linear + 3 * rest);
    assert_true(at(run, "phases.step.logprob_gap") == 0);
    assert_true(at(run, "phases.step.grad_norm") > 0);
}

static json_t *bench_on_the_cpu(const char *name, const char *more)
{
    tr_buffer out = {0}, errors = {0};
    json_t *json;
    const char *model = scratch_path("cpu-nano");
    if (!tr_directory_exists(model)) {
        program_run(tr_format("model init --preset nano --out '%s'", model), &out, &errors);
    }
    tr_buffer_clear(&out);
    const int code = program_run(tr_format("bench --model '%s' --grid 2,4,4 --text 8 --group 2 --response 3 "
                                           "--repeats 1 --digest %s",
                                           model, more),
                                 &out, &errors);
    if (code) {
        fail_msg("%s: %s", name, tr_buffer_text(&errors));
    }
    json = json_loads(tr_buffer_text(&out), 0, NULL);
    assert_non_null(json);
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
    return json;
}

static void test_adapters_on_the_cpu(void **state)
{
    (void)state;
    static const char *const phases[] = {"vision", "prefill", "logprob", "update", "step"};
    json_t *whole = bench_on_the_cpu("whole", ""), *first = bench_on_the_cpu("first", "--lora 4"),
           *again = bench_on_the_cpu("again", "--lora 4"),
           *layer = bench_on_the_cpu("layer", "--lora 4 --recompute layer"),
           *wider = bench_on_the_cpu("wider", "--lora 5");
    check_adapters(first, whole, 4);
    assert_int_equal(at(whole, "lora"), 0);
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        char *planned = tr_format("phases.%s.planned_gib", phases[i]),
             *taken = tr_format("phases.%s.seconds.median", phases[i]);
        assert_true(at(first, taken) > 0);
        if (i < 3) { /* A and B come on top; in training they are all that has masters, gradients and moments */
            assert_true(at(first, planned) > at(whole, planned));
        } else {
            assert_true(at(first, planned) < at(whole, planned));
        }
        assert_true(at(wider, planned) > at(first, planned));
        free(planned);
        free(taken);
    }
    /* no weights but A and B have masters, gradients and moments */
    assert_true(at(first, "phases.update.planned_gib") < 2 * at(first, "phases.prefill.planned_gib"));
    assert_true(at(whole, "phases.update.planned_gib") > 4 * at(whole, "phases.prefill.planned_gib"));
    /* the reference is the same model with its adapter off: it takes nothing */
    assert_true(at(first, "phases.step.planned_gib") == at(first, "phases.update.planned_gib"));
    assert_true(at(whole, "phases.step.planned_gib") > at(whole, "phases.update.planned_gib"));
    const char *digest = text(json_object_get(json_object_get(first, "phases"), "step"), "digest");
    assert_string_equal(digest, text(json_object_get(json_object_get(again, "phases"), "step"), "digest"));
    assert_string_equal(digest, text(json_object_get(json_object_get(layer, "phases"), "step"), "digest"));
    assert_string_not_equal(digest, text(json_object_get(json_object_get(whole, "phases"), "step"), "digest"));
    /* the decoder again, the tower, which is frozen, not */
    assert_true(at(layer, "flop.packed.update") ==
                at(first, "flop.packed.update") + at(first, "flop.packed.logprob") - at(first, "flop.vision"));
    program_expect(tr_strdup("bench --model none --lora 4 --cold"), 2, "", "--lora and --cold");
    program_expect(tr_strdup("bench --model none --lora 4096"), 2, "", "--lora");
    json_decref(whole);
    json_decref(first);
    json_decref(again);
    json_decref(layer);
    json_decref(wider);
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
    static const char *const measured[] = {
        "vision",      "prefill",   "decode",   "logprob",     "memory",       "lora_decode",      "lora_logprob",
        "lora_update", "lora_step", "lora_gap", "lora_same",   "peer_kind",    "lora_step_memory", "update",
        "step",        "gap",       "same",     "step_memory", "peer_prefill", "peer_decode",      "peer_step"};
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
                 *mine = json_object_get(results, "nano.training"),
                 *adapters = json_object_get(results, "nano.lora_training");
    check_counts(forward);
    check_adapters(adapters, forward, 16);
    assert_true(json_is_true(json_object_get(row(all, "nano.lora_gap"), "met")));
    assert_true(json_is_true(json_object_get(row(all, "nano.lora_same"), "met")));
    assert_true(at(adapters, "phases.step.peak_gpu_gib") >= at(adapters, "phases.step.planned_gib"));
    assert_true(at(adapters, "phases.step.peak_gpu_gib") <= at(adapters, "phases.step.planned_gib") + 0.08);
    assert_true(at(adapters, "phases.step.planned_gib") < at(mine, "phases.step.planned_gib"));
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
    const char *program =
        in_front("breaks.sh", "case \"$*\" in *vision,prefill*) echo 'the GPU fell off' >&2; exit 1;;\n"
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
    assert_true(json_is_false(json_object_get(row(all, "nano.lora_same"), "met"))); /* the first that came twice */
    assert_true(json_is_true(json_object_get(row(all, "nano.same"), "met")));
    assert_non_null(strstr(tr_buffer_text(&printed), "**missed**"));
    json_decref(all);
    tr_buffer_free(&printed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_run),      cmocka_unit_test(test_without_a_gpu),
        cmocka_unit_test(test_adapters_on_the_cpu), cmocka_unit_test(test_over_the_emulated_gpu),
        cmocka_unit_test(test_what_fails_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
