/* test_train.c: the command `tempr1 train` as scripts use it: refusals with their place, exit statuses, a short run
 * on a real clip from the files alone. */
#include "cli/program.h"

#include "base/file.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static const char *write_file(const char *name, const char *text)
{
    const char *path = scratch_path(name);
    tr_error err = {0};
    assert_int_equal(tr_file_write_atomic(path, text, strlen(text), &err), TR_OK);
    return path;
}

static void test_wrong_usage(void **state)
{
    (void)state;
    program_expect(tr_format("train"), 2, "", "a configuration file is needed");
    program_expect(tr_format("train --resum"), 2, "", "did you mean --resume?");
    program_expect(tr_format("train x.yaml --accept-changes"), 2, "", "goes with --resume");
    program_expect(tr_format("train --help"), 0, "grpo.prompts_per_step", "");
    program_expect(tr_format("train --keys"), 0, "| `optim.lr` |", "");
}

static void test_refusals_say_where(void **state)
{
    (void)state;
    const char *least = "model: m\nout: o\ndata: [ {rows: r.jsonl} ]\n";
    char text[512];
    program_expect(tr_format("train /nonexistent/run.yaml"), 1, "", "/nonexistent/run.yaml");
    snprintf(text, sizeof text, "%soptim:\n  learning_rate: 1\n", least);
    program_expect(tr_format("train '%s'", write_file("a.yaml", text)), 1, "",
                   "a.yaml:5: unknown key 'optim.learning_rate'");
    program_expect(tr_format("train '%s' grpo.kll=1", write_file("b.yaml", least)), 1, "",
                   "did you mean 'grpo.kl'?");
    program_expect(tr_format("train '%s'", write_file("c.yaml", least)), 1, "", "/m"); /* no such model */
}

static const char rows[] =
    "{\"id\":\"a\",\"task\":\"tg\",\"video\":\"OHOFG.mp4\",\"duration\":35.2,\"query\":\"a person eats\","
    "\"segments\":[[22.3,33.0]]}\n"
    "{\"id\":\"b\",\"task\":\"tg\",\"video\":\"OHOFG.mp4\",\"duration\":35.2,\"query\":\"a person sits down\","
    "\"segments\":[[1.0,7.5]]}\n";

/* Every step's gap is 0, and rewards differ within a group: a step whose groups have no variance proves nothing. */
static void check_rollouts(const char *path)
{
    tr_buffer lines = {0};
    int steps = 0, groups_that_differ = 0;
    assert_int_equal(tr_file_read(path, 0, &lines, NULL), TR_OK);
    char *text = tr_strdup(tr_buffer_text(&lines));
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), steps++) {
        json_t *step;
        assert_int_equal(tr_json_parse(line, strlen(line), path, steps, &step, NULL), TR_OK);
        assert_true(json_is_real(json_object_get(step, "logprob_gap")));
        assert_true(json_real_value(json_object_get(step, "logprob_gap")) == 0);
        groups_that_differ += 2 - (int)json_integer_value(json_object_get(step, "zero_variance_groups"));
        assert_true(json_number_value(json_object_get(step, "grad_norm")) > 0);
        json_decref(step);
    }
    assert_int_equal(steps, 2);
    assert_true(groups_that_differ >= 2);
    free(text);
    tr_buffer_free(&lines);
}

/* SFT and GRPO on a real clip with the real vocabulary, every file read as it is. */
static void test_a_real_clip_from_the_files_alone(void **state)
{
    (void)state;
    char text[4096];
    const char *videos = need_shared("data/video/annotated");
    write_file("rows.jsonl", rows);
    snprintf(text, sizeof text,
             "model: %s\ntokenizer: %s\nout: run\ndata: [ {rows: rows.jsonl, videos: %s, prompt: no-think} ]\n"
             "video: {fps: 1, max_frames: 8, total_pixels: 50176, min_pixels: 3136}\n"
             "rollout: {group: 6, max_tokens: 20}\ngrpo: {prompts_per_step: 2}\n"
             "train: {dtype: f32, save_every: 0}\nstages:\n"
             "  - {algorithm: sft, optim: {lr: 0.02, schedule: cosine}, train: {steps: 24}}\n"
             "  - {algorithm: grpo, train: {steps: 2}}\n",
             need_shared("golden/checkpoints/vocab"), need_shared("data/tokenizer/qwen2.5-vl"), videos);
    const char *config = write_file("run.yaml", text);
    program_expect(tr_format("train '%s'", config), 0, "run/2-grpo/checkpoints/step-2", "step 2/2");
    program_expect(tr_format("train '%s'", config), 1, "", "already holds a run");
    program_expect(tr_format("train '%s' --resume --json", config), 0, "\"algorithm\":\"grpo\"", "resumed from");
    program_expect(tr_format("train '%s' --resume grpo.kl=0.5", config), 1, "", "grpo.kl: 0.04 -> 0.5");
    /* A disk that is full in the middle of a checkpoint: said, nothing half-written stays, the old one is whole. */
    program_before = "trap '' XFSZ; ulimit -f 3000;";
    program_expect(tr_format("train '%s' --resume --accept-changes stages.1.train.steps=3", config), 1, "",
                   "cannot write");
    program_before = "";
    char **names;
    size_t count;
    assert_int_equal(tr_directory_list(scratch_path("run/2-grpo/checkpoints"), &names, &count, NULL), TR_OK);
    assert_int_equal(count, 1);
    assert_string_equal(names[0], "step-2");
    tr_names_free(names, count);
    program_expect(tr_format("train '%s' --resume", config), 0, "step-2", "resumed from");
    check_rollouts(scratch_path("run/2-grpo/metrics.jsonl"));
    assert_true(tr_file_exists(scratch_path("run/2-grpo/rollouts.jsonl")));
    assert_true(tr_file_exists(scratch_path("run/2-grpo/curves.svg")));
    assert_true(tr_file_exists(scratch_path("run/2-grpo/checkpoints/step-2/vocab.json")));
}

static void test_temporal_r1_says_what_became_of_its_settings(void **state)
{
    (void)state;
    const char *path = project_path("examples/temporal-r1/grpo_example.yaml"), *out = scratch_path("from");
    program_expect(tr_format("train --from-temporal-r1 '%s' out='%s'", path, out), 1, "",
                   "taken over as rollout.group: 8");
    program_expect(tr_format("train --from-temporal-r1 '%s' out='%s'", path, out), 1, "",
                   "worker.actor.model.model_path: Qwen/Qwen2.5-VL-3B-Instruct is not supported");
    program_expect(tr_format("train --from-temporal-r1 /nonexistent.yaml"), 1, "", "/nonexistent.yaml");
}

/* Its files and nothing else: settings, list, a row without a length, the script's words. */
static void test_a_run_from_temporal_r1s_files(void **state)
{
    (void)state;
    char text[2048];
    snprintf(text, sizeof text, "datasets:\n  - {json_path: theirs_train.json, data_folder: %s}\n",
             need_shared("data/video/annotated"));
    write_file("theirs-list.yaml", text);
    write_file("theirs_train.json",
               "[{\"dataset\": \"charades_train\", \"video\": \"OHOFG.mp4\", \"solution\": [0.1, 0.4], "
               "\"problem\": \"Give the query: \\\"a person eats\\\", when?\"}]");
    const char *settings = write_file(
        "theirs.yaml", "data: {train_files: theirs-list.yaml, rollout_batch_size: 2, max_response_length: 8}\n"
                       "worker: {rollout: {n: 3}, actor: {use_kl_loss: true, kl_loss_coef: 0.01}}\n");
    snprintf(text, sizeof text, "train --json --from-temporal-r1 '%s' model='%s' tokenizer='%s' out='%s'", settings,
             need_shared("golden/checkpoints/vocab"), need_shared("data/tokenizer/qwen2.5-vl"),
             scratch_path("theirs"));
    strcat(text, " video.fps=1 video.max_frames=8 data.max_pixels=50176 data.min_pixels=3136 train.steps=2 "
                 "train.dtype=f32 trainer.save_freq=-1");
    program_expect(tr_format("%s", text), 0, "\"as\":\"grpo.kl: 0.01\"", "step 2/2");
    assert_true(tr_file_exists(scratch_path("theirs/from-temporal-r1.txt")));
    assert_true(tr_file_exists(scratch_path("theirs/temporal-r1/train-0.jsonl")));
    assert_true(tr_directory_exists(scratch_path("theirs/checkpoints/step-2")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_usage),
        cmocka_unit_test(test_refusals_say_where),
        cmocka_unit_test(test_a_real_clip_from_the_files_alone),
        cmocka_unit_test(test_temporal_r1_says_what_became_of_its_settings),
        cmocka_unit_test(test_a_run_from_temporal_r1s_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
