/* test_score.c: `tempr1 score`: equal to what `ask` recorded while sampling, the forms of a row, and what it
 * refuses with the line of the row. */
#include "cli/program.h"
#include "support/tiny.h"

#include <math.h>

static char model[512], corpus[512],
    options[256] = "--min-frames 2 --max-frames 4 --total-pixels 12544 "
                   "--min-pixels 784 --threads 1 --quiet";

static int make(void **state)
{
    (void)state;
    char tokenizer[512];
    snprintf(tokenizer, sizeof tokenizer, "%s", scratch_path("tokenizer"));
    snprintf(model, sizeof model, "%s", scratch_path("model"));
    snprintf(corpus, sizeof corpus, "%s", scratch_path("corpus"));
    tiny_tokenizer(tokenizer);
    tiny_checkpoint(tokenizer, model, 3, 0);
    tiny_corpus(corpus, "tg", 2);
    return 0;
}

static json_t *score(const char *rows, const char *more)
{
    return program_lines(tr_format("score --model '%s' --input '%s' --videos '%s/videos' %s %s", model,
                                   program_file("rows.jsonl", rows), corpus, options, more));
}

static double sum_of(const json_t *list, size_t i)
{
    const json_t *sum = json_object_get(json_array_get(list, i), "sum");
    assert_true(json_is_real(sum));
    return json_real_value(sum);
}

/* Every response that `ask` sampled is scored with the same bits, alone and all in one group. */
static void test_equals_what_ask_recorded(void **state)
{
    (void)state;
    const char *query = "the red circle";
    json_t *asked =
        program_lines(tr_format("ask --model '%s' --json -n 3 --temperature 1 --seed 7 --max-tokens 12 %s "
                                "'%s/videos/test-00000.mp4' '%s'",
                                model, options, corpus, query));
    assert_int_equal(json_array_size(asked), 3);
    json_t *all = json_array();
    tr_buffer rows = {0};
    size_t i;
    json_t *one;
    json_array_foreach(asked, i, one)
    {
        json_array_append(all, json_object_get(one, "ids"));
        json_t *row = json_pack("{s:s, s:s, s:s, s:O}", "task", "tg", "video", "test-00000.mp4", "query", query,
                                "response_ids", json_object_get(one, "ids"));
        assert_int_equal(tr_json_print(row, &rows, NULL), TR_OK);
        tr_buffer_add_text(&rows, "\n", NULL);
        json_decref(row);
    }
    json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:O}", "id", "together", "task", "tg", "video", "test-00000.mp4",
                            "query", query, "response_ids", all);
    assert_int_equal(tr_json_print(row, &rows, NULL), TR_OK);
    json_t *scored = score(tr_buffer_text(&rows), "--json");
    assert_int_equal(json_array_size(scored), 6);
    for (i = 0; i < 3; i++) {
        const json_t *expected = json_object_get(json_array_get(asked, i), "logprobs");
        assert_true(json_array_size(expected) > 0);
        const json_t *alone = json_array_get(scored, i), *group = json_array_get(scored, 3 + i);
        assert_true(json_equal(json_object_get(alone, "logprobs"), expected));
        assert_true(json_equal(json_object_get(group, "logprobs"), expected));
        assert_true(json_equal(json_object_get(group, "ids"), json_object_get(alone, "ids")));
        assert_string_equal(json_string_value(json_object_get(group, "id")), "together");
        assert_int_equal(json_integer_value(json_object_get(group, "response")), i);
        double sum = 0;
        for (size_t t = 0; t < json_array_size(expected); t++) {
            sum += json_real_value(json_array_get(expected, t));
        }
        assert_true(sum == sum_of(scored, i)); /* the same order of additions */
    }
    json_decref(row);
    json_decref(all);
    json_decref(asked);
    json_decref(scored);
    tr_buffer_free(&rows);
}

/* The same on a real clip with the real vocabulary. */
static void test_equals_what_ask_recorded_on_a_real_clip(void **state)
{
    (void)state;
    char where[2400];
    snprintf(where, sizeof where, "--model '%s' --tokenizer '%s' %s", need_shared("golden/checkpoints/vocab"),
             need_shared("data/tokenizer/qwen2.5-vl"), options);
    const char *clip = need_shared("data/video/annotated/OHOFG.mp4");
    json_t *asked = program_lines(
        tr_format("ask %s --json -n 2 --temperature 1 --max-tokens 6 '%s' 'a person eats'", where, clip));
    json_t *row = json_pack("{s:s, s:s, s:s, s:[O, O]}", "task", "tg", "video", clip, "query", "a person eats",
                            "response_ids", json_object_get(json_array_get(asked, 0), "ids"),
                            json_object_get(json_array_get(asked, 1), "ids"));
    tr_buffer text = {0};
    assert_int_equal(tr_json_print(row, &text, NULL), TR_OK);
    json_t *scored =
        program_lines(tr_format("score %s --input '%s'", where, program_file("real.jsonl", tr_buffer_text(&text))));
    for (size_t i = 0; i < 2; i++) {
        assert_true(json_equal(json_object_get(json_array_get(scored, i), "logprobs"),
                               json_object_get(json_array_get(asked, i), "logprobs")));
    }
    json_decref(asked);
    json_decref(scored);
    json_decref(row);
    tr_buffer_free(&text);
}

/* A prompt text, the same as a conversation, and the same with the video's place written out. */
static void test_forms_of_a_row(void **state)
{
    (void)state;
    json_t *out =
        score("{\"video\":\"test-00000.mp4\",\"prompt\":\"When?\",\"response\":\"2.0 to 5.0\"}\n"
              "\n"
              "{\"video\":\"test-00000.mp4\",\"messages\":[{\"role\":\"user\",\"content\":\"When?\"}],"
              "\"response\":\"2.0 to 5.0\"}\n"
              "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"video\",\"video\":\"test-00000.mp4\"},"
              "{\"type\":\"text\",\"text\":\"When?\"}]}],\"response\":\"2.0 to 5.0\"}\n"
              "{\"prompt\":\"When?\",\"response\":\"2.0 to 5.0\"}\n"
              "{\"video\":\"test-00001.mp4\",\"prompt\":\"When?\",\"response\":\"2.0 to 5.0\"}\n"
              "{\"video\":\"test-00000.mp4\",\"clip\":[0,1],\"prompt\":\"When?\",\"response\":\"2.0 to 5.0\"}\n"
              "{\"prompt\":\"When?\",\"response\":\"\"}\n",
              "--entropy");
    assert_int_equal(json_array_size(out), 7);
    assert_true(sum_of(out, 0) == sum_of(out, 1) && sum_of(out, 0) == sum_of(out, 2));
    assert_true(sum_of(out, 0) < 0 && isfinite(sum_of(out, 0)));
    for (size_t i = 3; i < 6; i++) {
        assert_true(sum_of(out, i) != sum_of(out, 0));
    }
    assert_true(sum_of(out, 6) == 0);
    const json_t *first = json_array_get(out, 0);
    assert_int_equal(json_array_size(json_object_get(first, "ids")),
                     json_array_size(json_object_get(first, "entropies")));
    assert_true(json_real_value(json_array_get(json_object_get(first, "entropies"), 0)) > 0);
    json_decref(out);
}

/* Two clips in one conversation; the order matters. */
static void test_two_videos(void **state)
{
    (void)state;
#define TWO(a, b)                                                                                                  \
    "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"video\",\"video\":\"test-0000" a ".mp4\"},"        \
    "{\"type\":\"video\",\"video\":\"test-0000" b ".mp4\"},{\"type\":\"text\",\"text\":\"When?\"}]}],"             \
    "\"responses\":[\"2.0\",\"5.0\"]}\n"
    json_t *out = score(TWO("0", "1") TWO("1", "0"), "");
#undef TWO
    assert_int_equal(json_array_size(out), 4);
    assert_true(sum_of(out, 0) != sum_of(out, 2));
    json_decref(out);
}

/* The end token, special tokens and the temperature change what they say they change. */
static void test_switches(void **state)
{
    (void)state;
    const char *row = "{\"prompt\":\"When?\",\"response\":\"2.0<|im_end|>\"}\n";
    json_t *plain = score(row, ""), *special = score(row, "--special"),
           *cold = score(row, "--special --temperature 0.5");
    json_t *ended = score("{\"prompt\":\"When?\",\"response\":\"2.0\"}\n", "--end-token");
    const json_t *ids = json_object_get(json_array_get(special, 0), "ids");
    assert_true(json_array_size(json_object_get(json_array_get(plain, 0), "ids")) > json_array_size(ids));
    assert_true(json_equal(json_array_get(special, 0), json_array_get(ended, 0)));
    assert_true(json_equal(ids, json_object_get(json_array_get(cold, 0), "ids")));
    assert_true(sum_of(cold, 0) != sum_of(special, 0));
    json_decref(plain);
    json_decref(special);
    json_decref(cold);
    json_decref(ended);
}

static void refuse(const char *rows, const char *text)
{
    program_expect(tr_format("score --model '%s' --input '%s' --videos '%s/videos' %s", model,
                             program_file("bad.jsonl", rows), corpus, options),
                   1, "", text);
}

#define GOOD "{\"prompt\":\"When?\",\"response\":\"2.0\"}\n"
static void test_bad_rows_are_named_with_their_line(void **state)
{
    (void)state;
    refuse(GOOD "{\"prompt\":\"When?\"}\n", "bad.jsonl:2: the row has no answer");
    refuse(GOOD "\n{\"response\":\"2\"}\n", "bad.jsonl:3: the row has no prompt");
    refuse(GOOD "{\"prompt\":\"When?\",\"response\":}\n", "bad.jsonl:2:");
    refuse("[1]\n", "bad.jsonl:1: a row must be an object");
    refuse("{\"prompt\":\"When?\",\"response\":7}\n", "\"response\" must be a string, found an integer");
    refuse("{\"prompt\":\"When?\",\"response\":\"a\",\"responses\":[]}\n", "both \"response\" and \"responses\"");
    refuse("{\"prompt\":\"When?\",\"messages\":[],\"response\":\"a\"}\n", "both \"prompt\" and \"messages\"");
    refuse("{\"messages\":[],\"response\":\"a\"}\n", "bad.jsonl:1: messages must be a list");
    refuse("{\"prompt\":\"When?\",\"response_ids\":[1,999999]}\n", "bad.jsonl:1: \"response_ids\": entry 2");
    refuse("{\"task\":\"tgg\",\"response\":\"a\"}\n", "bad.jsonl:1:");
    refuse("{\"task\":\"tg\",\"response\":\"a\"}\n", "bad.jsonl:1:");
    refuse("{\"video\":\"absent.mp4\",\"prompt\":\"When?\",\"response\":\"2\"}\n", "absent.mp4");
    refuse(GOOD "{\"video\":\"absent.mp4\",\"prompt\":\"When?\",\"response\":\"2\"}\n", "bad.jsonl:2: ");
    refuse("{\"video\":\"test-00000.mp4\",\"clip\":[3,1],\"prompt\":\"When?\",\"response\":\"2\"}\n",
           "bad.jsonl:1: \"clip\" must be [start, end]");
    refuse("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}],\"response\":\"2\"}\n",
           "images are not supported");
    refuse("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"video\"}]}],\"response\":\"2\"}\n",
           "names no file");
    refuse("", "holds no rows");
}

static void test_keep_going(void **state)
{
    (void)state;
    const char *rows = program_file("some.jsonl", "{\"id\":\"a\",\"prompt\":\"When?\"}\n" GOOD "{bad\n");
    char *command = tr_format("score --model '%s' --input '%s' %s --keep-going", model, rows, options);
    tr_buffer out = {0}, errors = {0};
    assert_int_equal(program_run(command, &out, &errors), 1);
    assert_non_null(strstr(tr_buffer_text(&out), "{\"ids\":null,\"logprobs\":null,\"sum\":null,\"error\":"));
    assert_non_null(strstr(tr_buffer_text(&out), "\"id\":\"a\"}"));
    assert_non_null(strstr(tr_buffer_text(&out), "\"sum\":-"));
    assert_non_null(strstr(tr_buffer_text(&errors), "some.jsonl:3:4"));
    assert_non_null(strstr(tr_buffer_text(&errors), "1 responses"));
    assert_non_null(strstr(tr_buffer_text(&errors), "2 rows failed"));
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
}

/* A context of 40 tokens: the conversation fits, the video does not; nor does a long response. */
static void test_too_long(void **state)
{
    (void)state;
    char *small = tr_format("%s-small", model);
    tiny_checkpoint(scratch_path("tokenizer"), small, 3, 40);
    tr_buffer row = {0};
    tr_buffer_add_text(&row, "{\"prompt\":\"When?\",\"response\":\"", NULL);
    for (int i = 0; i < 60; i++) {
        tr_buffer_add_text(&row, "7 ", NULL);
    }
    tr_buffer_add_text(&row, "\"}\n", NULL);
    program_expect(tr_format("score --model '%s' --input '%s' %s", small,
                             program_file("long.jsonl", tr_buffer_text(&row)), options),
                   1, "", "the model's context 40");
    program_expect(tr_format("score --model '%s' --input '%s' --videos '%s/videos' --quiet", small,
                             program_file("clip.jsonl", "{\"video\":\"test-00000.mp4\",\"prompt\":\"When?\","
                                                        "\"response\":\"2\"}\n"),
                             corpus),
                   1, "", "clip.jsonl:1: the prompt has");
    tr_buffer_free(&row);
    free(small);
}

static void test_wrong_usage(void **state)
{
    (void)state;
    program_expect(tr_format("score --input x"), 2, "", "--model DIR is needed");
    program_expect(tr_format("score --model '%s'", model), 2, "", "--input ROWS is needed");
    program_expect(tr_format("score --model x --inputt y"), 2, "", "did you mean --input?");
    program_expect(tr_format("score --help"), 0, "--end-token", "");
    program_expect(tr_format("score --model '%s-absent' --input '%s'", model, program_file("x.jsonl", GOOD)), 1, "",
                   "model-absent");
    program_expect(tr_format("score --model '%s' --input '%s-absent'", model, model), 1, "",
                   "cannot open the rows");
}

/* A tokenizer whose ids do not fit the checkpoint, and one that is not there. */
static void test_vocabulary_mismatch(void **state)
{
    (void)state;
    const char *texts[] = {
        "a b c d e f g h i j k l m n o p the the the then there these those other words here now"};
    const tr_train_bpe_options small = {.vocab_size = TR_TRAIN_SMALLEST + 2};
    char other[512];
    snprintf(other, sizeof other, "%s", scratch_path("other-tokenizer"));
    assert_int_equal(tr_train_bpe(texts, 1, &small, other, NULL), TR_OK);
    const char *rows = program_file("y.jsonl", GOOD);
    program_expect(tr_format("score --model '%s' --tokenizer '%s' --input '%s'", model, other, rows), 1, "",
                   "<|image_pad|>");
    program_expect(tr_format("score --model '%s' --tokenizer '%s-none' --input '%s'", model, other, rows), 1, "",
                   "tokenizer-none");
}

/* The checkpoint that `model init` writes with this tokenizer fits it. */
static void test_a_checkpoint_of_model_init(void **state)
{
    (void)state;
    char made[512];
    snprintf(made, sizeof made, "%s", scratch_path("made"));
    program_expect(
        tr_format("model init --preset nano --out '%s' --tokenizer '%s' --seed 5", made, scratch_path("tokenizer")),
        0, "made", "");
    const char *rows =
        program_file("made.jsonl", "{\"video\":\"test-00000.mp4\",\"prompt\":\"When?\",\"response\":\"2\"}\n");
    json_t *out = program_lines(tr_format("score --model '%s' --input '%s' --videos '%s/videos' %s --end-token",
                                          made, rows, corpus, options));
    assert_true(sum_of(out, 0) < 0);
    json_decref(out);
    program_expect(tr_format("model init --preset nano --out '%s' --tokenizer '%s'", made, corpus), 1, "",
                   "holds no tokenizer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_what_ask_recorded),
        cmocka_unit_test(test_equals_what_ask_recorded_on_a_real_clip),
        cmocka_unit_test(test_forms_of_a_row),
        cmocka_unit_test(test_two_videos),
        cmocka_unit_test(test_switches),
        cmocka_unit_test(test_bad_rows_are_named_with_their_line),
        cmocka_unit_test(test_keep_going),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_wrong_usage),
        cmocka_unit_test(test_vocabulary_mismatch),
        cmocka_unit_test(test_a_checkpoint_of_model_init),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
