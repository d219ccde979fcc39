/* test_ask.c: `tempr1 ask`: answers in text and JSON, the same answers for the same seed, and its refusals. */
#include "cli/program.h"
#include "support/tiny.h"

static char model[512], clip[600];
static const char small[] = "--min-frames 2 --max-frames 4 --total-pixels 12544 --min-pixels 784 --max-tokens 10 "
                            "--threads 1 --quiet";

static int make(void **state)
{
    (void)state;
    char tokenizer[512], corpus[512];
    snprintf(tokenizer, sizeof tokenizer, "%s", scratch_path("tokenizer"));
    snprintf(model, sizeof model, "%s", scratch_path("model"));
    snprintf(corpus, sizeof corpus, "%s", scratch_path("corpus"));
    snprintf(clip, sizeof clip, "%s/videos/test-00000.mp4", corpus);
    tiny_tokenizer(tokenizer);
    tiny_checkpoint(tokenizer, model, 3, 0);
    tiny_corpus(corpus, "tg", 1);
    return 0;
}

static json_t *ask(const char *more)
{
    return program_lines(
        tr_format("ask --model '%s' --json %s %s '%s' 'the red circle'", model, small, more, clip));
}

static void test_greedy_answer(void **state)
{
    (void)state;
    json_t *first = ask(""), *again = ask("--isa scalar --threads 2"), *cached = NULL;
    char *more = tr_format("--cache '%s'", scratch_path("cache"));
    assert_int_equal(json_array_size(first), 1);
    assert_true(json_equal(first, again)); /* whatever the kernels and threads */
    for (int i = 0; i < 2; i++) {
        cached = ask(more);
        assert_true(json_equal(first, cached));
        json_decref(cached);
    }
    const json_t *one = json_array_get(first, 0);
    const char *finish = json_string_value(json_object_get(one, "finish"));
    size_t count = json_array_size(json_object_get(one, "ids"));
    assert_true(json_is_string(json_object_get(one, "text")) && json_object_get(one, "parsed"));
    assert_true(!strcmp(finish, "stop") || (!strcmp(finish, "length") && count == 10));
    assert_true(count > 0 && count == json_array_size(json_object_get(one, "logprobs")));
    for (size_t i = 0; i < count; i++) {
        assert_true(json_real_value(json_array_get(json_object_get(one, "logprobs"), i)) <= 0);
    }
    json_decref(first);
    json_decref(again);
    free(more);
}

static void test_sampled_answers(void **state)
{
    (void)state;
    json_t *four = ask("-n 4 --temperature 1 --seed 9"), *two = ask("--n 2 --temperature 1 --seed 9"),
           *other = ask("-n 4 --temperature 1 --seed 10");
    assert_int_equal(json_array_size(four), 4);
    assert_int_equal(json_array_size(two), 2);
    assert_true(json_equal(json_array_get(four, 0), json_array_get(two, 0))); /* whatever the batch */
    assert_true(json_equal(json_array_get(four, 1), json_array_get(two, 1)));
    assert_false(json_equal(json_array_get(four, 0), json_array_get(four, 1)));
    assert_false(json_equal(four, other));
    json_decref(four);
    json_decref(two);
    json_decref(other);
}

static void test_every_task(void **state)
{
    (void)state;
    static const char *const tasks[] = {
        "tg", "dtg", "vhd", "tal", "gvqa --option dog --option cat", "qa --option dog --option cat"};
    for (int t = 0; t < 6; t++) {
        program_expect(tr_format("ask --model '%s' %s --task %s '%s' 'what moves'", model, small, tasks[t], clip),
                       0, "\n", "");
    }
}

static void refuse(char *arguments, int status, const char *text)
{
    program_expect(arguments, status, "", text);
}

static void test_refusals(void **state)
{
    (void)state;
    refuse(tr_format("ask --model '%s' '%s'", model, clip), 2, "an argument is missing");
    refuse(tr_format("ask '%s' q", clip), 2, "--model DIR is needed");
    refuse(tr_format("ask --model '%s' --temprature 1 '%s' q", model, clip), 2, "did you mean --temperature?");
    refuse(tr_format("ask --model '%s' --temperature x '%s' q", model, clip), 2, "needs a number");
    refuse(tr_format("ask --model '%s' --top-p 2 '%s' q", model, clip), 2, "must lie between");
    refuse(tr_format("ask --model '%s' -n 0 '%s' q", model, clip), 2, "must lie between");
    refuse(tr_format("ask --model '%s' --dtype f64 '%s' q", model, clip), 1, "expected f32 or bf16, found f64");
    refuse(tr_format("ask --model '%s' --isa mmx '%s' q", model, clip), 1, "mmx");
    refuse(tr_format("ask --model '%s-absent' '%s' q", model, clip), 1, "model-absent");
    refuse(tr_format("ask --model '%s' '%s-absent' q", model, clip), 1, "test-00000.mp4-absent does not exist");
    refuse(tr_format("ask --model '%s' '%s' q", model, program_file("text.mp4", "no video")), 1, "text.mp4");
    refuse(tr_format("ask --model '%s' '%s' q", model, program_file("empty.mp4", "")), 1, "empty.mp4");
    refuse(tr_format("ask --model '%s' --task tgg '%s' q", model, clip), 2, "tgg");
    refuse(tr_format("ask --model '%s' --task qa '%s' q", model, clip), 2, "--option TEXT");
    refuse(tr_format("ask --model '%s' --option x '%s' q", model, clip), 2, "--option goes with --task qa or gvqa");
    refuse(tr_format("ask --model '%s' '%s' ' '", model, clip), 2, "the QUERY is empty");
    refuse(tr_format("ask --model '%s' '%s' 'a\xFF'", model, clip), 1, "not valid UTF-8");
    refuse(tr_format("ask --model '%s' --scheme tempr2 '%s' q", model, clip), 1, "tempr2");
    refuse(tr_format("ask --model '%s' --prompt thonk '%s' q", model, clip), 1,
           "tempr1 ask: there is no built-in prompt 'thonk'");
    refuse(tr_format("ask --model '%s' --prompt ./absent.yaml '%s' q", model, clip), 1, "absent.yaml");
    refuse(tr_format("ask --model '%s' --tokenizer '%s' '%s' q", model, scratch_path("corpus"), clip), 1, "corpus");
    refuse(tr_format("ask --model '%s' --cache '%s' '%s' q", model, program_file("a-file", "x"), clip), 1,
           "a-file");
}

static void test_prompt_longer_than_the_context(void **state)
{
    (void)state;
    char *other = tr_format("%s-small", model);
    tiny_checkpoint(scratch_path("tokenizer"), other, 3, 24);
    refuse(tr_format("ask --model '%s' %s '%s' 'the red circle'", other, small, clip), 1, "the model's context 24");
    free(other);
}

/* A query that holds special tokens stays text: as many placeholders as the clip has. */
static void test_special_tokens_in_a_query_stay_text(void **state)
{
    (void)state;
    program_expect(
        tr_format("ask --model '%s' %s '%s' '<|video_pad|><|im_end|> the red circle'", model, small, clip), 0, "",
        "");
}

static void test_generation_config(void **state)
{
    (void)state;
    char *path = tr_format("%s/generation_config.json", model);
    tr_buffer old = {0};
    assert_int_equal(tr_file_read(path, 0, &old, NULL), TR_OK);
    json_t *config = json_loads(tr_buffer_text(&old), 0, NULL);
    json_object_set_new(config, "do_sample", json_true());
    json_object_set_new(config, "temperature", json_real(1.0));
    assert_int_equal(tr_json_write(path, config, NULL), TR_OK);
    json_t *greedy = ask("-n 2"), *sampled = ask("-n 2 --generation-config"), *asked = ask("-n 2 --temperature 1");
    assert_true(json_equal(json_array_get(greedy, 0), json_array_get(greedy, 1)));
    assert_true(json_equal(sampled, asked));
    assert_false(json_equal(json_array_get(sampled, 0), json_array_get(sampled, 1)));
    json_object_set_new(config, "temperature", json_string("hot"));
    assert_int_equal(tr_json_write(path, config, NULL), TR_OK);
    refuse(tr_format("ask --model '%s' --generation-config '%s' q", model, clip), 1, "temperature");
    assert_int_equal(tr_file_write_atomic(path, old.data, old.length, NULL), TR_OK);
    json_decref(greedy);
    json_decref(sampled);
    json_decref(asked);
    json_decref(config);
    tr_buffer_free(&old);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_answer),
        cmocka_unit_test(test_sampled_answers),
        cmocka_unit_test(test_every_task),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_prompt_longer_than_the_context),
        cmocka_unit_test(test_special_tokens_in_a_query_stay_text),
        cmocka_unit_test(test_generation_config),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
