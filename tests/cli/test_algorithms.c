/* test_algorithms.c: the algorithm family on real clips through the program: targets of five tasks in their groups,
 * presets, contradictions. */
#include "cli/program.h"

static json_t *lines_of(const char *name)
{
    json_t *list = json_array();
    tr_buffer line = {0};
    bool got;
    FILE *f = fopen(scratch_path(name), "r");
    assert_non_null(f);
    while (!tr_file_read_line(f, 0, &line, &got, NULL) && got) {
        json_t *object;
        assert_int_equal(tr_json_parse(tr_buffer_text(&line), line.length, name, 0, &object, NULL), TR_OK);
        json_array_append_new(list, object);
    }
    fclose(f);
    tr_buffer_free(&line);
    return list;
}

static char config[600];

static int make(void **state)
{
    (void)state;
    static const char yaml[] =
        "model: tiny\nout: run\ndata: [ {rows: corpus/train.jsonl, videos: corpus/videos, prompt: no-think} ]\n"
        "video: {fps: 2, max_frames: 4, total_pixels: 25088, min_pixels: 3136}\nrollout: {group: 3, max_tokens: "
        "6}\n"
        "grpo: {prompts_per_step: 4}\ntrain: {dtype: f32, steps: 3, save_every: 0, freeze: [vision]}\n";
    char *corpus = tr_strdup(scratch_path("corpus")), *model = tr_strdup(scratch_path("tiny"));
    program_expect(tr_format("data synth --out '%s' --tasks tg,dtg,gvqa,tal,qa --train 4 --tune 0 --test 0 "
                             "--min-duration 4 --max-duration 4 --fps 4",
                             corpus),
                   0, "", "");
    program_expect(
        tr_format("model init --preset tiny --out '%s' --tokenizer-from '%s/train.jsonl'", model, corpus), 0, "",
        "");
    snprintf(config, sizeof config, "%s", scratch_path("run.yaml"));
    free(corpus);
    free(model);
    return tr_file_write_atomic(config, yaml, sizeof yaml - 1, NULL) ? -1 : 0;
}

/* A row's target is longer than the sampled responses may be, earns the most, and is no sampled one. */
static void test_targets_of_real_rows(void **state)
{
    (void)state;
    program_expect(tr_format("train '%s' grpo.preset=tempsamp-r1 grpo.updates_per_rollout=2 out='%s'", config,
                             scratch_path("target")),
                   0, "target/checkpoints/step-3", "step 3/3");
    json_t *list = lines_of("target/rollouts.jsonl"), *line;
    size_t index;
    int targets = 0;
    assert_int_equal(json_array_size(list), 3 * 4 * 3);
    json_array_foreach(list, index, line)
    {
        const char *finish = json_string_value(json_object_get(line, "finish"));
        size_t tokens = json_array_size(json_object_get(line, "ids"));
        if (strcmp(finish, "target") != 0) {
            assert_in_range(tokens, 1, 6);
            continue;
        }
        targets++;
        assert_int_equal(index % 3, 2);
        assert_true(tokens > 6 && json_array_size(json_object_get(line, "logprobs")) == tokens);
        assert_true(json_number_value(json_object_get(json_object_get(line, "parts"), "format")) == 1);
        assert_true(json_number_value(json_object_get(line, "advantage")) > 0);
        assert_int_equal(json_array_size(json_object_get(line, "watch")), 0);
    }
    assert_int_equal(targets, 12);
    json_decref(list);
    list = lines_of("target/metrics.jsonl");
    json_array_foreach(list, index, line)
    {
        assert_true(json_number_value(json_object_get(line, "logprob_gap")) == 0);
        assert_int_equal(json_integer_value(json_object_get(line, "responses")), 4 * 2);
        assert_true(json_number_value(json_object_get(line, "response_length")) <= 6);
    }
    json_decref(list);
}

static void test_presets_on_real_rows(void **state)
{
    (void)state;
    static const char *const names[] = {"dapo", "gdpo", "ema-grpo", "reinforce++"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *out = tr_strdup(scratch_path(names[i])), *yaml = tr_format("%s/config.yaml", out);
        tr_buffer text = {0};
        program_expect(
            tr_format("train '%s' grpo.preset=%s grpo.kl=0.02 grpo.dynamic_rounds=1 train.steps=2 out='%s'", config,
                      names[i], out),
            0, "checkpoints/step-2", "step 2/2");
        assert_int_equal(tr_file_read(yaml, 0, &text, NULL), TR_OK); /* the values in force */
        char line[64];
        snprintf(line, sizeof line, "  preset: \"%s\"\n", names[i]);
        assert_non_null(strstr(tr_buffer_text(&text), line));
        assert_non_null(strstr(tr_buffer_text(&text), "  kl: 0.02\n"));
        assert_non_null(strstr(tr_buffer_text(&text), "  dynamic_rounds: 1\n"));
        tr_buffer_free(&text);
        free(yaml);
        free(out);
    }
}

static void test_contradictions_and_absent_scores(void **state)
{
    (void)state;
    program_expect(tr_format("train '%s' grpo.preset=gspo grpo.loss=token", config), 1, "",
                   "grpo.ratio: sequence contradicts grpo.loss: token");
    program_expect(tr_format("train '%s' grpo.preset=dappo", config), 1, "", "did you mean 'dapo'?");
    program_expect(tr_format("train '%s' grpo.preset=time-r1 out='%s'", config, scratch_path("unscored")), 1, "",
                   "data select");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets_of_real_rows),
        cmocka_unit_test(test_presets_on_real_rows),
        cmocka_unit_test(test_contradictions_and_absent_scores),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
