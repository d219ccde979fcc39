/* test_evaluation.c: what a run measures on its eval rows, from files: every task with its official metrics and the
 * supervised loss, in SFT and GRPO, in metrics.jsonl, eval/step-N and the curves; the best checkpoint by it; the
 * same numbers with clips opened ahead or not. */
#include "support/tiny.h"

#include "base/file.h"
#include "train/train.h"
#include "video/clip.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char root[512];

static int make(void **state)
{
    char tokenizer[600], corpus[600], model[600];
    (void)state;
    tr_video_set_worker(TEMPR1_PROGRAM);
    snprintf(root, sizeof root, "%s", scratch_path("evaluation"));
    snprintf(tokenizer, sizeof tokenizer, "%s/tokenizer", root);
    snprintf(corpus, sizeof corpus, "%s/corpus", root);
    snprintf(model, sizeof model, "%s/model", root);
    tr_directory_make(root, NULL);
    tiny_tokenizer(tokenizer);
    tiny_checkpoint(tokenizer, model, 3, 0);
    tiny_corpus(corpus, "tg,dtg,vhd,gvqa,tal,qa", 5);
    return 0;
}

static void run(const char *out, const char *extra)
{
    tr_config_set set;
    tr_error err = {0};
    json_t *summary = NULL;
    char *text = tr_format("model: model\nout: %s\n"
                           "data: [ {rows: corpus/test.jsonl, videos: corpus/videos, prompt: no-think} ]\n"
                           "eval: [ {rows: corpus/test.jsonl, videos: corpus/videos, prompt: no-think} ]\n"
                           "video: {fps: 2, min_frames: 2, max_frames: 4, total_pixels: 12544, min_pixels: 784%s\n",
                           out, extra);
    char *name = tr_format("%s/run.yaml", root);
    const tr_train_options options = {.quiet = true, .open_source = tr_train_open_source, .evaluate = tr_eval_run};
    tr_status status = tr_config_parse(text, strlen(text), name, NULL, 0, &set, &err);
    status = status ? status : tr_train_run(&set, &options, &summary, &err);
    if (status) {
        fail_msg("%s: %s", err.where, err.message);
    }
    tr_config_set_free(&set);
    json_decref(summary);
    free(text);
    free(name);
}

static json_t *metrics_of(const char *out)
{
    json_t *list = json_array();
    tr_buffer line = {0};
    bool got;
    char *path = tr_format("%s/%s/metrics.jsonl", root, out);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (!tr_file_read_line(f, 0, &line, &got, NULL) && got) {
        json_t *object;
        assert_int_equal(tr_json_parse(tr_buffer_text(&line), line.length, path, 0, &object, NULL), TR_OK);
        json_array_append_new(list, object);
    }
    fclose(f);
    tr_buffer_free(&line);
    free(path);
    return list;
}

static void check_eval(const json_t *eval)
{
    static const struct {
        const char *task, *metric;
    } wanted[] = {{"tg", "miou"},   {"tg", "r1@0.5"},    {"dtg", "miou"},   {"vhd", "miou"}, {"gvqa", "accuracy"},
                  {"gvqa", "miou"}, {"gvqa", "acc@gqa"}, {"tal", "f1@0.5"}, {"tal", "mf1"},  {"qa", "accuracy"}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const json_t *task = json_object_get(eval, wanted[i].task),
                     *value = json_object_get(task, wanted[i].metric);
        if (!json_is_number(value) || !(json_integer_value(json_object_get(task, "rows")) > 0)) {
            fail_msg("no eval.%s.%s", wanted[i].task, wanted[i].metric);
        }
    }
    assert_true(json_number_value(json_object_get(eval, "loss")) > 0);
    assert_int_equal(json_integer_value(json_object_get(eval, "loss_rows")),
                     json_integer_value(json_object_get(eval, "rows")));
    assert_null(json_object_get(eval, "protocol"));
}

static void test_every_task_in_both_algorithms(void **state)
{
    (void)state;
    run("both", "}\ntrain: {dtype: f32, eval_every: 2, eval_loss_every: 2, keep_best: -eval.loss, save_every: 0}\n"
                "optim: {lr: 0.001}\nrollout: {group: 2, max_tokens: 8}\ngrpo: {prompts_per_step: 3}\n"
                "stages:\n  - {algorithm: sft, train: {steps: 3}}\n  - {algorithm: grpo, train: {steps: 2}}\n");
    static const char *const stages[2] = {"both/1-sft", "both/2-grpo"};
    for (int i = 0; i < 2; i++) {
        json_t *m = metrics_of(stages[i]);
        tr_buffer svg = {0};
        size_t steps = json_array_size(m);
        assert_int_equal(steps, i ? 2 : 3);
        assert_null(json_object_get(json_array_get(m, 0), "eval"));
        for (size_t k = 1; k < steps; k++) { /* when due, and at the end */
            char *path = tr_format("%s/%s/eval/step-%zu/metrics.json", root, stages[i], k + 1);
            check_eval(json_object_get(json_array_get(m, k), "eval"));
            assert_true(tr_file_exists(path));
            free(path);
        }
        char *best = tr_format("%s/%s/checkpoints/best", root, stages[i]), target[64] = {0};
        char *curves = tr_format("%s/%s/curves.svg", root, stages[i]);
        assert_true(readlink(best, target, sizeof target - 1) > 0);
        assert_int_equal(strncmp(target, "step-", 5), 0);
        assert_int_equal(tr_file_read(curves, 0, &svg, NULL), TR_OK);
        assert_non_null(strstr(tr_buffer_text(&svg), "evaluation: reward by task"));
        assert_non_null(strstr(tr_buffer_text(&svg), "held-out"));
        tr_buffer_free(&svg);
        free(best);
        free(curves);
        json_decref(m);
    }
}

/* Clips opened ahead or not, with little memory or much: the same numbers. */
static void test_opening_ahead_changes_no_number(void **state)
{
    (void)state;
    static const char *const decoders[3] = {", decoders: 0}\n", ", decoders: 3}\n",
                                            ", decoders: 2, ahead_bytes: 1}\n"};
    json_t *first = NULL;
    for (int i = 0; i < 3; i++) {
        char out[16];
        snprintf(out, sizeof out, "ahead%d", i);
        char *extra = tr_format("%salgorithm: sft\ngrpo: {prompts_per_step: 4}\noptim: {lr: 0.001}\n"
                                "rollout: {max_tokens: 4}\n"
                                "train: {dtype: f32, steps: 6, eval_every: 3, eval_loss_every: 3, save_every: 0}\n",
                                decoders[i]);
        run(out, extra);
        free(extra);
        json_t *m = metrics_of(out);
        for (size_t k = 0; k < json_array_size(m); k++) {
            json_t *step = json_array_get(m, k);
            const json_t *seconds = json_object_get(step, "seconds");
            assert_true(json_number_value(json_object_get(seconds, "decode")) > 0);
            assert_true(json_number_value(json_object_get(seconds, "stall")) >= 0);
            json_object_del(step, "seconds");
            json_object_del(step, "tokens_per_second");
            json_object_del(step, "peak_rss_bytes");
        }
        assert_true(!first || json_equal(first, m));
        json_decref(first);
        first = m;
    }
    json_decref(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_in_both_algorithms),
        cmocka_unit_test(test_opening_ahead_changes_no_number),
    };
    return cmocka_run_group_tests(tests, make, NULL);
}
