/* test_temporal_r1.c: Temporal-R1's own settings, lists and annotation rows become a run of ours: what is taken
 * over, what is refused, which rows are chosen. The files follow the published form and are our own. */
#include "support/shared.h"

#include "base/file.h"
#include "base/yaml.h"
#include "corpus/rows.h"
#include "task/prompt.h"
#include "train/temporal_r1.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char scratch[512];

static const char *file_in_scratch(const char *name)
{
    static char ring[4][1024];
    static int next;
    char *path = ring[next++ % 4];
    snprintf(path, sizeof ring[0], "%s/%s", scratch, name);
    return path;
}

static const char *write_text(const char *name, const char *text)
{
    const char *path = file_in_scratch(name);
    assert_int_equal(tr_file_write_atomic(path, text, strlen(text), NULL), TR_OK);
    return path;
}

/* Row `number` of ten: solution [0.1, 0.5] of a clip of 10 + number seconds; number 3 runs backwards. */
static void write_rows(const char *name, bool lines)
{
    tr_buffer text = {0};
    tr_buffer_add_text(&text, lines ? "" : "[", NULL);
    for (int i = 1; i <= 10; i++) {
        const char *end = lines ? "\n" : i == 10 ? "]" : ",";
        tr_buffer_printf(
            &text, NULL,
            "{\"dataset\": \"d%d\", \"video\": \"v%d.mp4\", \"video_length\": %d.0, \"solution\": [%s], "
            "\"problem\": \"Give the query: \\\"event %d\\\", when?\"}%s",
            i % 2, i, 10 + i, i == 3 ? "0.5, 0.1" : "0.1, 0.5", i, end);
    }
    write_text(name, tr_buffer_text(&text));
    tr_buffer_free(&text);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(scratch, sizeof scratch, "%s", scratch_path("temporal-r1"));
    assert_int_equal(tr_directory_make(file_in_scratch("videos"), NULL), TR_OK);
    assert_int_equal(tr_directory_make(file_in_scratch("others"), NULL), TR_OK);
    assert_int_equal(tr_directory_make(file_in_scratch("model"), NULL), TR_OK);
    write_rows("rows_train.json", false);
    write_rows("more.jsonl", true);
    write_text("list.yaml", "datasets:\n"
                            "  - {json_path: rows_train.json, data_folder: videos}\n"
                            "  - {json_path: more.jsonl, data_folder: others, sampling_strategy: 'end:25%'}\n");
    write_text("settings.yaml", "data: {train_files: list.yaml, val_files: list.yaml, rollout_batch_size: 4}\n"
                                "algorithm: {adv_estimator: grpo}\n"
                                "worker:\n"
                                "  actor: {use_kl_loss: true, kl_loss_coef: 2.0e-2, kl_loss_type: low_var_kl,\n"
                                "          model: {model_path: model}}\n"
                                "  rollout: {n: 5}\n"
                                "trainer: {total_episodes: 3, project_name: p, experiment_name: e}\n");
    return 0;
}

/* Reads scratch's settings with words; out goes below scratch. */
static tr_status read_with(const char *out, const char *const *words, tr_temporal_r1 *run, tr_error *err)
{
    const char *all[16] = {0};
    char own[1100];
    size_t count = 0;
    snprintf(own, sizeof own, "out=%s", file_in_scratch(out));
    all[count++] = own;
    for (; words && *words && count < 15; words++) {
        all[count++] = *words;
    }
    memset(err, 0, sizeof *err);
    return tr_temporal_r1_read(file_in_scratch("settings.yaml"), all, count, run, err);
}

static const json_t *setting(const tr_temporal_r1 *run, const char *key)
{
    size_t i;
    json_t *item, *found = NULL;
    json_array_foreach(run->settings, i, item)
    {
        if (!strcmp(json_string_value(json_object_get(item, "key")), key)) {
            assert_null(found); /* listed once */
            found = item;
        }
    }
    assert_non_null(found);
    return found;
}

static void expect(const tr_temporal_r1 *run, const char *key, const char *became, const char *as)
{
    const json_t *item = setting(run, key);
    assert_string_equal(json_string_value(json_object_get(item, "became")), became);
    if (as) {
        assert_string_equal(json_string_value(json_object_get(item, "as")), as);
    } else {
        assert_true(json_is_null(json_object_get(item, "as")));
    }
}

static size_t leaves(const tr_temporal_r1 *run, const json_t *object, const char *prefix)
{
    const char *name;
    json_t *value;
    size_t count = 0;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        char key[256];
        snprintf(key, sizeof key, "%s%s%.100s", prefix, prefix[0] ? "." : "", name);
        if (json_is_object(value)) {
            count += leaves(run, value, key);
        } else {
            setting(run, key);
            count++;
        }
    }
    return count;
}

/* The values of its published run: spec temporal-r1, section 3.1. */
static void test_the_published_run(void **state)
{
    (void)state;
    char model[1100], out[1100];
    tr_temporal_r1 run;
    tr_error err = {0};
    json_t *root;
    snprintf(model, sizeof model, "model=%s", file_in_scratch("model"));
    snprintf(out, sizeof out, "out=%s", file_in_scratch("published"));
    const char *words[] = {model, out};
    const char *path = project_path("examples/temporal-r1/grpo_example.yaml");
    if (tr_temporal_r1_read(path, words, 2, &run, &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    assert_int_equal(run.set.count, 1);
    const tr_config *c = &run.set.stages[0];
    assert_int_equal(c->algorithm, TR_ALGORITHM_GRPO);
    assert_int_equal(c->rollout.group, 8);
    assert_int_equal(c->rollout.max_tokens, 2048);
    assert_true(c->rollout.temperature == 1 && c->rollout.top_p == 1 && c->rollout.top_k == 0);
    assert_int_equal(c->grpo.prompts_per_step, 16);
    assert_int_equal(c->grpo.updates_per_rollout, 1);
    assert_true(c->grpo.kl == 0.01 && c->grpo.entropy == 0.001 && c->grpo.std_eps == 1e-6);
    assert_true(c->grpo.clip[0] == 0.2 && c->grpo.clip[1] == 0.2);
    assert_int_equal(c->grpo.kl_form, TR_KL_K3);
    assert_int_equal(c->grpo.loss, TR_LOSS_TOKEN);
    assert_int_equal(c->grpo.std, TR_STD_SAMPLE);
    assert_true(c->optim.lr == 1e-6 && c->optim.weight_decay == 0.01 && c->optim.clip_norm == 1);
    assert_true(c->optim.betas[0] == 0.9 && c->optim.betas[1] == 0.999 && c->optim.warmup_steps == 0);
    assert_true(c->video.fps == 2 && c->video.min_frames == 4 && c->video.max_frames == 768);
    assert_true(c->video.total_pixels == 1605632 && c->video.min_pixels == 3136);
    assert_true(c->train.epochs == 15 && c->train.save_every == 50 && c->train.seed == 1 && c->train.freeze == 0);
    assert_int_equal(c->data_count, 1);
    assert_string_equal(c->data[0].reward, "temporal-r1");
    assert_string_equal(c->data[0].prompt, "temporal-r1"); /* its system text is the built-in set's */
    assert_int_equal(tr_yaml_read(path, &root, NULL, NULL), TR_OK);
    assert_true(leaves(&run, root, "") >= 55); /* every setting is listed */
    json_decref(root);
    tr_row_list rows = {0};
    assert_int_equal(tr_row_list_read(c->data[0].rows, &rows, &err), TR_OK);
    assert_int_equal(rows.count, 3);
    assert_string_equal(rows.items[0].video, "A0001.mp4");
    const json_t *first = json_array_get(json_object_get(rows.items[0].json, "segments"), 0);
    assert_true(json_number_value(json_array_get(first, 0)) == 6 &&
                json_number_value(json_array_get(first, 1)) == 18);
    tr_row_list_free(&rows);
    tr_temporal_r1_free(&run);
}

static void test_both_kinds_of_words(void **state)
{
    (void)state;
    const char *words[] = {
        "worker.rollout.n=6",           "data.max_response_length=77", "grpo.kl=0.5",          "train.steps=9",
        "trainer.logger=[\"console\"]", "worker.rollout.top_k=-1",     "trainer.save_freq=-1", NULL};
    tr_temporal_r1 run;
    tr_error err;
    tr_buffer text = {0};
    assert_int_equal(read_with("words", words, &run, &err), TR_OK);
    const tr_config *c = &run.set.stages[0];
    assert_int_equal(c->rollout.group, 6);
    assert_int_equal(c->rollout.max_tokens, 77);
    assert_true(c->grpo.kl == 0.5); /* ours is laid over what came out */
    assert_int_equal(c->train.steps, 9);
    assert_int_equal(c->train.save_every, 0);
    assert_true(c->train.epochs == 3);
    expect(&run, "worker.rollout.n", "taken", "rollout.group: 6");
    expect(&run, "worker.actor.kl_loss_coef", "taken", "grpo.kl: 0.02");
    expect(&run, "data.val_files", "ignored", NULL);
    expect(&run, "trainer.project_name", "ignored", NULL);
    expect(&run, "worker.rollout.top_k", "taken", "rollout.top_k: 0");
    assert_int_equal(tr_temporal_r1_text(&run, &text, NULL), TR_OK);
    assert_non_null(strstr(tr_buffer_text(&text), "taken over as rollout.group: 6"));
    assert_non_null(strstr(tr_buffer_text(&text), "Not rebuilt"));
    assert_non_null(strstr(tr_buffer_text(&text), "start-not-before-end"));
    tr_buffer written = {0};
    assert_int_equal(tr_file_read(file_in_scratch("words/from-temporal-r1.txt"), 0, &written, NULL), TR_OK);
    assert_string_equal(tr_buffer_text(&written), tr_buffer_text(&text));
    tr_buffer_free(&written);
    tr_buffer_free(&text);
    tr_temporal_r1_free(&run);
}

static void test_rows_of_every_entry(void **state)
{
    (void)state;
    tr_temporal_r1 run;
    tr_error err;
    tr_row_list rows = {0};
    assert_int_equal(read_with("rows", NULL, &run, &err), TR_OK);
    const tr_config *c = &run.set.stages[0];
    assert_int_equal(c->data_count, 2);
    assert_string_equal(c->data[0].videos, file_in_scratch("videos"));
    assert_string_equal(c->data[1].videos, file_in_scratch("others")); /* although `dataset` names are shared */
    assert_int_equal(tr_row_list_read(c->data[0].rows, &rows, &err), TR_OK);
    assert_int_equal(rows.count, 9); /* number 3 runs backwards */
    assert_string_equal(rows.items[2].video, "v4.mp4");
    assert_true(rows.items[2].duration_s == 14);
    tr_row_list_free(&rows);
    assert_int_equal(tr_row_list_read(c->data[1].rows, &rows, &err), TR_OK);
    assert_int_equal(rows.count, 3); /* ceil(25 % of 10) from the end */
    assert_string_equal(rows.items[0].video, "v8.mp4");
    tr_row_list_free(&rows);
    tr_temporal_r1_free(&run);
    /* Again: the same. Other annotations in the same folder: refused. */
    assert_int_equal(read_with("rows", NULL, &run, &err), TR_OK);
    tr_temporal_r1_free(&run);
    write_text("other.yaml",
               "datasets: [{json_path: more.jsonl, data_folder: videos, sampling_strategy: 'first:4'}]\n");
    tr_buffer changed = {0}; /* and of the same size */
    const char *rows_path = file_in_scratch("rows/temporal-r1/train-0.jsonl");
    assert_int_equal(tr_file_read(rows_path, 0, &changed, NULL), TR_OK);
    changed.data[changed.length - 3]++;
    assert_int_equal(tr_file_write_atomic(rows_path, changed.data, changed.length, NULL), TR_OK);
    tr_buffer_free(&changed);
    assert_int_not_equal(read_with("rows", NULL, &run, &err), TR_OK);
    assert_non_null(strstr(err.message, "another 'out'"));
    tr_temporal_r1_free(&run);
    const char *words[] = {"data.train_files=other.yaml", NULL};
    assert_int_not_equal(read_with("rows", words, &run, &err), TR_OK);
    assert_non_null(strstr(err.message, "another 'out'"));
    tr_temporal_r1_free(&run);
    assert_int_equal(read_with("rows-4", words, &run, &err), TR_OK);
    assert_int_equal(tr_row_list_read(run.set.stages[0].data[0].rows, &rows, &err), TR_OK);
    assert_int_equal(rows.count, 3); /* of the first four records one is refused */
    tr_row_list_free(&rows);
    tr_temporal_r1_free(&run);
}

static size_t chosen_by(const char *strategy, size_t length, uint64_t seed, bool *chosen)
{
    size_t count = 0;
    tr_error err = {0};
    if (tr_temporal_r1_choose(strategy, length, seed, 0, chosen, "here", &err)) {
        return SIZE_MAX;
    }
    for (size_t i = 0; i < length; i++) {
        count += chosen[i];
    }
    return count;
}

static void test_strategies(void **state)
{
    (void)state;
    bool a[40], b[40];
    assert_int_equal(chosen_by("all", 40, 1, a), 40);
    assert_int_equal(chosen_by("first:3", 40, 1, a), 3);
    assert_true(a[0] && a[2] && !a[3]);
    assert_int_equal(chosen_by("end:3", 40, 1, a), 3);
    assert_true(!a[36] && a[37] && a[39]);
    assert_int_equal(chosen_by("first:10%", 39, 1, a), 4); /* ceil(3.9) */
    assert_int_equal(chosen_by("end:2.5%", 40, 1, a), 1);
    assert_int_equal(chosen_by("first:100", 40, 1, a), 40);
    assert_int_equal(chosen_by("random:12", 40, 1, a), 12);
    assert_int_equal(chosen_by("random:12", 40, 1, b), 12);
    assert_memory_equal(a, b, sizeof a); /* of the seed alone */
    assert_int_equal(chosen_by("random:12", 40, 2, b), 12);
    assert_true(memcmp(a, b, sizeof a) != 0);
    assert_int_equal(chosen_by("random:100%", 40, 2, b), 40);
    static const char *const bad[] = {"",          "half",     "first",   "first:",     "first:0",   "first:-2",
                                      "first:1.5", "random:x", "end:3%%", "end:3 rows", "first:nan", "all:3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (chosen_by(bad[i], 40, 1, a) != SIZE_MAX) {
            fail_msg("\"%s\" was taken", bad[i]);
        }
    }
}

static void test_where_the_kl_stands(void **state)
{
    (void)state;
    const char *words[] = {"worker.actor.use_kl_loss=false", "algorithm.kl_coef=0.03", "algorithm.kl_penalty=mse",
                           NULL};
    tr_temporal_r1 run;
    tr_error err;
    assert_int_equal(read_with("kl", words, &run, &err), TR_OK);
    assert_true(run.set.stages[0].grpo.kl == 0.03);
    assert_int_equal(run.set.stages[0].grpo.kl_form, TR_KL_K2);
    assert_int_equal(run.set.stages[0].grpo.kl_in, 1); /* reward */
    expect(&run, "worker.actor.kl_loss_coef", "ignored", NULL);
    tr_temporal_r1_free(&run);
}

static void test_evaluation_and_warmup(void **state)
{
    (void)state;
    const char *words[] = {"trainer.val_freq=5", "worker.actor.optim.lr_warmup_ratio=0.5", NULL};
    tr_temporal_r1 run;
    tr_error err;
    assert_int_equal(read_with("val", words, &run, &err), TR_OK);
    assert_int_equal(run.set.stages[0].train.eval_every, 5);
    assert_int_equal(run.set.stages[0].eval_count, 2);
    assert_int_equal(run.set.stages[0].optim.warmup_steps, 4); /* half of 3 times floor(12 / 4), rounded down */
    expect(&run, "data.val_files", "taken", "eval");
    expect(&run, "trainer.val_freq", "taken", "train.eval_every");
    tr_temporal_r1_free(&run);
}

static void test_a_system_text_of_its_own(void **state)
{
    (void)state;
    const char *words[] = {"data.system_prompt=Be brief: say when.\n Answer in {JSON}.", NULL};
    tr_temporal_r1 run;
    tr_error err;
    tr_buffer text = {0};
    tr_prompts prompts;
    assert_int_equal(read_with("system", words, &run, &err), TR_OK);
    const char *path = run.set.stages[0].data[0].prompt;
    assert_int_equal(tr_file_read(path, 0, &text, &err), TR_OK);
    assert_int_equal(tr_prompts_parse(tr_buffer_text(&text), text.length, path, &prompts, &err), TR_OK);
    assert_string_equal(prompts.tasks[TR_TASK_TG].system, "Be brief: say when. Answer in {JSON}.");
    assert_int_equal(prompts.think, TR_THINK_REQUIRED); /* its format reward always asks for the block */
    tr_prompts_free(&prompts);
    tr_buffer_free(&text);
    tr_temporal_r1_free(&run);
}

static const struct {
    const char *word, *message;
} refusals[] = {
    {"algorithm.adv_estimator=gae", "algorithm.adv_estimator: gae is not supported"},
    {"worker.actor.global_batch_size=2", "several updates on parts of one rollout"},
    {"algorithm.kl_type=adaptive", "only fixed"},
    {"algorithm.gamma=0.9", "only 1"},
    {"data.shuffle=false", "always shuffled"},
    {"worker.actor.kl_loss_type=abs", "k1"},
    {"worker.actor.entropy_coef=1", "did you mean 'worker.actor.entropy_coeff'?"},
    {"trainer.load_checkpoint_path=x/global_step_5", "--resume"},
    {"worker.actor.model.model_path=nowhere", "no such folder"},
    {"worker.actor.optim.strategy=adamw_bf16", "only adamw"},
    {"trainer.val_only=true", "tempr1 eval"},
    {"data.train_files=rows_train.json", "YAML file"},
    {"data.train_files=absent.yaml", "not there"},
    {"data.train_files=settings.yaml", "datasets"},
    {"data.train_files=bad-strategy.yaml", "sampling_strategy must be"},
    {"data.train_files=bad-file.yaml", ".json or .jsonl"},
    {"data.train_files=bad-folder.yaml", "not there"},
    {"data.train_files=bad-key.yaml", "unknown key 'jsonpath'"},
    {"data.max_response_length=lots", "rollout.max_tokens must be an integer"},
    {"worker.rollout.n", "key=value"},
    {"grpo.kll=1", "did you mean 'grpo.kl'?"},
};

static void test_refusals(void **state)
{
    (void)state;
    write_text("bad-strategy.yaml",
               "datasets: [{json_path: more.jsonl, data_folder: videos, sampling_strategy: some}]\n");
    write_text("bad-file.yaml", "datasets: [{json_path: more.csv, data_folder: videos}]\n");
    write_text("bad-folder.yaml", "datasets: [{json_path: more.jsonl, data_folder: elsewhere}]\n");
    write_text("bad-key.yaml", "datasets: [{jsonpath: more.jsonl, data_folder: elsewhere}]\n");
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const char *words[] = {refusals[i].word, NULL};
        char out[32];
        tr_temporal_r1 run;
        tr_error err;
        snprintf(out, sizeof out, "refused-%zu", i);
        if (!read_with(out, words, &run, &err) || !strstr(err.message, refusals[i].message)) {
            fail_msg("%s: \"%s: %s\" does not hold \"%s\"", refusals[i].word, err.where, err.message,
                     refusals[i].message);
        }
        tr_temporal_r1_free(&run);
    }
}

static void test_the_folder_without_out(void **state)
{
    (void)state;
    char word[1100];
    tr_temporal_r1 run;
    tr_error err = {0};
    snprintf(word, sizeof word,
             "trainer.save_checkpoint_path=%s/${trainer.project_name}/${trainer.experiment_name}", scratch);
    const char *words[] = {word};
    assert_int_equal(tr_temporal_r1_read(file_in_scratch("settings.yaml"), words, 1, &run, &err), TR_OK);
    assert_string_equal(run.set.stages[0].out, file_in_scratch("p/e"));
    assert_true(tr_file_exists(file_in_scratch("p/e/from-temporal-r1.txt")));
    tr_temporal_r1_free(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_published_run),        cmocka_unit_test(test_both_kinds_of_words),
        cmocka_unit_test(test_rows_of_every_entry),      cmocka_unit_test(test_strategies),
        cmocka_unit_test(test_where_the_kl_stands),      cmocka_unit_test(test_evaluation_and_warmup),
        cmocka_unit_test(test_a_system_text_of_its_own), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_the_folder_without_out),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
