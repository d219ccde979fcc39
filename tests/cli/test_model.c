/* test_model.c: the commands `tempr1 model init`, `model info` and `model plan` as scripts use them: results, JSON,
 * messages and exit statuses. */
#include "cli/program.h"

#include "base/file.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static char tiny[600];

/* The command's one JSON line; owned by the caller. */
static json_t *program_json(char *arguments)
{
    json_t *list = program_lines(arguments), *one = json_incref(json_array_get(list, 0));
    json_decref(list);
    return one;
}

static int make(void **state)
{
    (void)state;
    snprintf(tiny, sizeof tiny, "%s", scratch_path("tiny"));
    program_expect(tr_format("model init --preset tiny --out '%s' --seed 5", tiny), 0, "seed 5", "");
    return 0;
}

static long long integer(const json_t *object, const char *a, const char *b)
{
    const json_t *value = json_object_get(object, a);
    value = b ? json_object_get(value, b) : value;
    assert_true(json_is_integer(value));
    return (long long)json_integer_value(value);
}

static void test_info(void **state)
{
    (void)state;
    json_t *info = program_json(tr_format("model info '%s' --check --json", tiny));
    assert_int_equal(integer(info, "tensors", NULL), 12 * 3 + 2 + 12 * 3 + 6);
    assert_int_equal(integer(info, "bytes", NULL), 2 * integer(info, "parameters", "total"));
    assert_int_equal(integer(info, "parameters", "text") + integer(info, "parameters", "vision"),
                     integer(info, "parameters", "total"));
    assert_int_equal(integer(info, "dtypes", "BF16"), integer(info, "tensors", NULL));
    assert_true(json_is_true(json_object_get(info, "checked")));
    json_decref(info);
    program_expect(tr_format("model info '%s'", tiny), 0, "3 layers of width 128", "");
}

/* The same seed gives the same bytes, another one does not. */
static void test_seed(void **state)
{
    (void)state;
    static const int seeds[] = {5, 6};
    tr_file_map first, other;
    char path[700];
    snprintf(path, sizeof path, "%s/model.safetensors", tiny);
    assert_int_equal(tr_file_map_open(&first, path, NULL), TR_OK);
    for (int i = 0; i < 2; i++) {
        char again[600];
        snprintf(again, sizeof again, "%s", scratch_path("again"));
        program_expect(tr_format("model init --preset tiny --out '%s' --seed %d", again, seeds[i]), 0, "80 tensors",
                       "");
        snprintf(path, sizeof path, "%s/model.safetensors", again);
        assert_int_equal(tr_file_map_open(&other, path, NULL), TR_OK);
        assert_int_equal(first.size, other.size);
        assert_int_equal(memcmp(first.data, other.data, first.size) != 0, i);
        tr_file_map_close(&other);
    }
    tr_file_map_close(&first);
}

static void test_wrong_usage(void **state)
{
    (void)state;
    program_expect(tr_format("model init --out '%s'", tiny), 2, "", "preset");
    program_expect(tr_format("model init --preset huge --out '%s-x'", tiny), 1, "", "qwen2.5-vl-3b");
    program_expect(tr_format("model init --preset tiny --out '%s-x' --dtype f16", tiny), 2, "",
                   "--dtype must be bf16 or f32");
    program_expect(tr_format("model init --preset tiny --out '%s-x' --tokenizer-from /none", tiny), 1, "", "/none");
    program_expect(tr_format("model init --preset tiny --out '%s-x' --tokenizer a --tokenizer-from b", tiny), 2, "",
                   "either");
    program_expect(tr_format("model init --preset tiny --out '%s-x' --tokenizer '%s'", tiny, tiny), 1, "",
                   "holds no tokenizer");
    program_expect(tr_format("model info '%s-absent'", tiny), 1, "", "config.json");
    program_expect(tr_format("model info"), 2, "", "usage");
    program_expect(tr_format("model plan"), 2, "", "configuration file or --model");
    program_expect(tr_format("model plan --model '%s' --grid 4,3,4", tiny), 2, "", "--grid must be");
    program_expect(tr_format("model plan --model '%s' --grid 4,8,8,8", tiny), 2, "", "--grid must be");
    char *notes = tr_format("%s-full/notes.txt", tiny), *dir = tr_format("%s-full", tiny);
    assert_int_equal(tr_directory_make(dir, NULL), TR_OK);
    assert_int_equal(tr_file_write_atomic(notes, "x", 1, NULL), TR_OK);
    program_expect(tr_format("model init --preset tiny --out '%s'", dir), 1, "", "notes.txt");
    assert_true(tr_file_exists(notes));
    free(notes);
    free(dir);
}

/* A tokenizer made from a file's words comes with the checkpoint: each word is one token, the shape has its rows.
 */
static void test_init_makes_a_tokenizer(void **state)
{
    (void)state;
    static const char words[] = "red circle\nfrom 1.0 to 2.0\n";
    char *dir = tr_strdup(scratch_path("words")), *file = tr_strdup(scratch_path("words.txt"));
    assert_int_equal(tr_file_write_atomic(file, words, sizeof words - 1, NULL), TR_OK);
    program_expect(tr_format("model init --preset tiny --out '%s' --tokenizer-from '%s'", dir, file), 0,
                   "80 tensors", "");
    program_expect(tr_format("model info '%s' --check", dir), 0, "", "");
    assert_false(tr_directory_exists(scratch_path("words.tokenizer")));
    static const char line[] = "\"red circle\"\n";
    assert_int_equal(tr_file_write_atomic(scratch_path("words.json"), line, sizeof line - 1, NULL), TR_OK);
    json_t *lines =
        program_lines(tr_format("tokenize --model '%s' --json < '%s'", dir, scratch_path("words.json")));
    assert_int_equal(json_array_size(json_object_get(json_array_get(lines, 0), "ids")), 2);
    json_decref(lines);
    free(dir);
    free(file);
}

static void test_plan(void **state)
{
    (void)state;
    json_t *one = program_json(tr_format("model plan --model '%s' --grid 4,8,8 --response 32 --json", tiny));
    /* frozen bf16 matrices as stored, vectors in f32: a little more than the file's bytes */
    json_t *info = program_json(tr_format("model info '%s' --json", tiny));
    long long weights = integer(one, "bytes", "weights"), file = integer(info, "bytes", NULL);
    assert_true(weights >= file && weights < file + file / 10);
    json_decref(info);
    char *path = tr_format("%s-plan.yaml", tiny);
    char *text = tr_format("algorithm: grpo\nmodel: %s\nout: run\ndata: [{rows: a.jsonl, videos: v}]\n"
                           "train: {dtype: f32, recompute: none}\n",
                           tiny);
    assert_int_equal(tr_file_write_atomic(path, text, strlen(text), NULL), TR_OK);
    json_t *run_plan = program_json(tr_format("model plan '%s' --grid 4,8,8 --response 32 --json", path));
    /* all trainable in f32: the master is the compute copy; value, gradient and two moments, 16 bytes a weight */
    assert_int_equal(integer(run_plan, "bytes", "weights"), 0);
    assert_true(integer(run_plan, "bytes", "masters_gradients_moments") >= 8 * file);
    assert_true(integer(run_plan, "bytes", "working") > 0 && integer(run_plan, "bytes", "reference_weights") > 0);
    json_t *frozen = program_json(tr_format(
        "model plan '%s' 'train.freeze=[vision, merger]' grpo.kl=0 --grid 4,8,8 --response 32 --json", path));
    assert_true(integer(frozen, "bytes", "total") < integer(run_plan, "bytes", "total"));
    assert_int_equal(integer(frozen, "bytes", "reference_weights"), 0);
    /* eight pairs of one clip in a group take their questions and targets; eight groups of one take one target each
     */
    const char *const sft = "algorithm=sft train.steps=1 --text 20 --target 40 --grid 4,8,8 --json";
    json_t *packed = program_json(tr_format("model plan '%s' %s", path, sft));
    json_t *apart = program_json(tr_format("model plan '%s' sft.share_clip=false %s", path, sft));
    assert_true(integer(packed, "bytes", "working") > integer(apart, "bytes", "working"));
    /* a target of 400 tokens beside sampled ones of 32 */
    const char *const truth = "--response 32 --grid 4,8,8 --json";
    json_t *off = program_json(tr_format("model plan '%s' grpo.preset=tempsamp-r1 --target 400 %s", path, truth));
    assert_true(integer(off, "bytes", "working") > integer(run_plan, "bytes", "working"));
    assert_true(integer(off, "bytes", "responses") > integer(run_plan, "bytes", "responses"));
    program_expect(tr_format("model plan '%s' --rows --grid 4,8,8", path), 2, "", "--rows reads");
    program_expect(tr_format("model plan '%s' --rows", path), 1, "", "");
    json_decref(off);
    json_decref(apart);
    json_decref(packed);
    json_decref(frozen);
    json_decref(run_plan);
    json_decref(one);
    free(path);
    free(text);
}

/* A GPU's plan, on a machine without one: of a folder, and of shapes that no folder has. */
static void test_plan_for_a_gpu(void **state)
{
    (void)state;
    char *path = tr_format("%s-gpu.yaml", tiny);
    char *text = tr_format("model: %s\nout: run\ndata: [{rows: a.jsonl, videos: v}]\n"
                           "rollout: {group: 8, max_tokens: 1024}\ngrpo: {prompts_per_step: 8}\n",
                           tiny);
    assert_int_equal(tr_file_write_atomic(path, text, strlen(text), NULL), TR_OK);
    const char *gpu = "--device cuda --memory 139GiB --json";
    json_t *small = program_json(tr_format("model plan '%s' --grid 4,8,8 %s", path, gpu));
    const long long masters = integer(small, "bytes", "masters"), moments = integer(small, "bytes", "moments");
    assert_true(masters > 0 && moments == 2 * masters && integer(small, "bytes", "gradients") == masters);
    json_t *narrow = program_json(tr_format("model plan '%s' optim.moments=8bit --grid 4,8,8 %s", path, gpu));
    assert_true(integer(narrow, "bytes", "moments") < masters);
    assert_true(integer(small, "total_with", "optim.moments: 8bit") == integer(narrow, "bytes", "total"));
    /* issue 6: P = 4096, G = 8, R = 1024 at 3B whole and at 7B with adapters, on one GPU of 139 GiB */
    json_t *whole =
        program_json(tr_format("model plan '%s' --preset qwen2.5-vl-3b --grid 224,8,8 --text 512 %s", path, gpu));
    assert_int_equal(integer(whole, "prompt_tokens", NULL), 4096);
    assert_int_equal(integer(whole, "group_tokens", NULL), 8192);
    assert_true(json_is_true(json_object_get(whole, "fits")));
    json_t *adapter = program_json(tr_format(
        "model plan '%s' --preset qwen2.5-vl-7b 'train.lora={rank: 16}' --grid 224,8,8 --text 512 %s", path, gpu));
    assert_true(json_is_true(json_object_get(adapter, "fits")));
    assert_true(integer(adapter, "bytes", "masters") < integer(adapter, "bytes", "weights") / 20);
    json_t *seven =
        program_json(tr_format("model plan '%s' --preset qwen2.5-vl-7b --grid 224,8,8 --text 512 %s", path, gpu));
    assert_true(json_is_false(json_object_get(seven, "fits")));
    program_expect(tr_format("model plan --preset qwen2.5-vl-7b --device cuda --memory 24GiB"), 0, "weights", "");
    program_expect(tr_format("model plan '%s' --device cuda --memory 24XB", path), 1, "", "139GiB");
    program_expect(tr_format("model plan '%s' --memory 24GiB", path), 2, "", "--device cuda");
    program_expect(tr_format("model plan '%s' --device tpu", path), 2, "", "cpu or cuda");
    json_t *all[] = {small, narrow, whole, adapter, seven};
    for (int i = 0; i < 5; i++) {
        json_decref(all[i]);
    }
    free(path);
    free(text);
}

/* On a GPU the next prompt's memory is planned, and what the host keeps for it is said: patches and features of one
 * prompt, and with train.offload the moments (half of 16 bytes a weight) and the reference's layers. */
static void test_plan_on_a_gpu(void **state)
{
    (void)state;
    char *path = tr_format("%s-gpu.yaml", tiny);
    char *text = tr_format("algorithm: grpo\nmodel: %s\nout: run\ndata: [{rows: a.jsonl, videos: v}]\n"
                           "train: {dtype: f32}\ngrpo: {prompts_per_step: 3}\n",
                           tiny);
    assert_int_equal(tr_file_write_atomic(path, text, strlen(text), NULL), TR_OK);
    json_t *plans[3];
    static const char *const keys[] = {"device=cpu", "device=cuda",
                                       "device=cuda train.offload=[moments,reference]"};
    for (int i = 0; i < 3; i++) {
        plans[i] = program_json(tr_format("model plan '%s' %s --grid 4,8,8 --response 32 --json", path, keys[i]));
    }
    const long long patches = 256LL * 1176 * 4,
                    state_bytes = integer(plans[1], "bytes", "masters_gradients_moments"),
                    kept = integer(plans[2], "bytes", "page_locked") - integer(plans[1], "bytes", "page_locked");
    assert_int_equal(integer(plans[0], "bytes", "page_locked"), 0);
    assert_true(integer(plans[1], "bytes", "page_locked") > patches);
    assert_true(integer(plans[1], "bytes", "working") > integer(plans[0], "bytes", "working"));
    assert_true(kept > state_bytes / 2);
    assert_true(integer(plans[2], "bytes", "masters_gradients_moments") < state_bytes);
    assert_true(integer(plans[2], "bytes", "reference_weights") > 0);
    assert_true(integer(plans[2], "bytes", "reference_weights") < integer(plans[1], "bytes", "reference_weights"));
    for (int i = 0; i < 3; i++) {
        json_decref(plans[i]);
    }
    free(path);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_on_a_gpu),
        cmocka_unit_test(test_plan_for_a_gpu),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_wrong_usage),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_init_makes_a_tokenizer),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
