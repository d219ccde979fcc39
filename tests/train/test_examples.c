/* test_examples.c: every YAML file below examples/ is one that the program takes, with relative paths alone; and
 * the configurations of the papers say what the papers say. */
#include "support/shared.h"

#include "base/file.h"
#include "base/yaml.h"
#include "corpus/mix.h"
#include "task/prompt.h"
#include "train/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct tally {
    int configs, mixes, prompts, foreign;
} tally;

/* Nothing but a text that could be a place on some machine begins like this. */
static bool is_absolute(const char *text)
{
    return text[0] == '/' || text[0] == '~' || strstr(text, "://");
}

static void refuse_absolute(const json_t *value, const char *path)
{
    const char *key;
    json_t *item;
    size_t i;
    if (json_is_string(value) && is_absolute(json_string_value(value))) {
        fail_msg("%s: \"%s\" is not relative", path, json_string_value(value));
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        refuse_absolute(item, path);
    }
    json_array_foreach(value, i, item)
    {
        refuse_absolute(item, path);
    }
}

static void must(tr_status status, const tr_error *err, const char *path)
{
    if (status) {
        fail_msg("%s: %s: %s", path, err->where, err->message);
    }
}

static void take_prompts(const char *path)
{
    tr_buffer text = {0};
    tr_prompts prompts;
    tr_error err = {0};
    must(tr_file_read(path, 0, &text, &err), &err, path);
    must(tr_prompts_parse(tr_buffer_text(&text), text.length, path, &prompts, &err), &err, path);
    tr_prompts_free(&prompts);
    tr_buffer_free(&text);
}

/* A configuration, the schemes and prompts that its entries name, and their fit for each other. */
static void take_config(const char *path)
{
    tr_config_set set;
    tr_error err = {0};
    must(tr_config_read(path, NULL, 0, &set, &err), &err, path);
    assert_true(set.count >= 1);
    for (size_t i = 0; i < set.count; i++) {
        for (size_t k = 0; k < set.stages[i].data_count; k++) {
            const tr_data_entry *e = &set.stages[i].data[k];
            const tr_scheme *scheme;
            tr_prompts prompts;
            must(tr_scheme_get(e->reward, &scheme, &err), &err, path);
            if (strchr(e->prompt, '/')) {
                take_prompts(e->prompt);
            } else {
                must(tr_prompts_builtin(e->prompt, &prompts, &err), &err, path);
                tr_prompts_free(&prompts);
            }
        }
    }
    tr_config_set_free(&set);
}

static void take(const char *path, tally *sum)
{
    json_t *root;
    tr_error err = {0};
    must(tr_yaml_read(path, &root, NULL, &err), &err, path);
    refuse_absolute(root, path);
    if (json_object_get(root, "model")) {
        take_config(path);
        sum->configs++;
    } else if (json_object_get(root, "sources")) {
        tr_mix_spec spec;
        must(tr_mix_spec_read(path, &spec, &err), &err, path);
        tr_mix_spec_free(&spec);
        sum->mixes++;
    } else if (json_object_get(root, "tasks")) {
        take_prompts(path);
        sum->prompts++;
    } else if (json_object_get(root, "worker") || json_object_get(root, "datasets")) {
        sum->foreign++; /* Temporal-R1's: test_temporal_r1.c reads them */
    } else {
        fail_msg("%s: neither a configuration nor a mix nor a prompt set", path);
    }
    json_decref(root);
}

static void walk(const char *folder, tally *sum)
{
    char **names, path[1024];
    size_t count;
    assert_int_equal(tr_directory_list(folder, &names, &count, NULL), TR_OK);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(names[i]);
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (tr_directory_exists(path)) {
            walk(path, sum);
        } else if (length > 5 && !strcmp(names[i] + length - 5, ".yaml")) {
            take(path, sum);
        }
    }
    tr_names_free(names, count);
}

static void test_every_example_is_understood(void **state)
{
    (void)state;
    tally sum = {0};
    walk(project_path("examples"), &sum);
    assert_true(sum.configs >= 9 && sum.mixes >= 1 && sum.prompts >= 1 && sum.foreign == 2);
}

static tr_config_set read_example(const char *name)
{
    tr_config_set set;
    tr_error err = {0};
    char path[512];
    snprintf(path, sizeof path, "examples/configs/%s", name);
    must(tr_config_read(project_path(path), NULL, 0, &set, &err), &err, path);
    return set;
}

/* spec tasks-and-rewards, section 5 */
static void test_tempr1(void **state)
{
    (void)state;
    tr_config_set set = read_example("tempr1-7b.yaml");
    const tr_config *c = &set.stages[0];
    assert_int_equal(set.count, 1);
    assert_int_equal(c->rollout.group, 8);
    assert_int_equal(c->grpo.prompts_per_step, 8);
    assert_true(c->optim.lr == 1e-6 && c->grpo.kl == 0.04 && c->grpo.std_eps == 1e-4 && c->grpo.entropy == 0);
    assert_int_equal(c->grpo.kl_form, TR_KL_K3);
    assert_int_equal(c->grpo.loss, TR_LOSS_SEQUENCE);
    assert_int_equal(c->grpo.updates_per_rollout, 1);
    assert_true(c->video.fps == 2 && c->rollout.temperature == 1);
    assert_int_equal(c->video.max_frames, 448);
    assert_int_equal(c->video.total_pixels, 3584 * 784);
    assert_int_equal(c->video.min_pixels, 16 * 784);
    assert_int_equal(c->rollout.max_tokens, 1024);
    assert_int_equal(c->train.freeze, 0);
    assert_true(c->train.epochs == 1 && c->train.steps == 0);
    assert_true(c->data_count >= 8);
    tr_config_set_free(&set);
}

static void check_temporal_r1(const tr_config *c)
{
    assert_int_equal(c->rollout.group, 8);
    assert_int_equal(c->grpo.prompts_per_step, 16);
    assert_true(c->optim.lr == 1e-6 && c->optim.betas[1] == 0.999 && c->optim.weight_decay == 0.01);
    assert_true(c->optim.clip_norm == 1 && c->grpo.kl == 0.01 && c->grpo.entropy == 0.001);
    assert_true(c->grpo.std_eps == 1e-6 && c->grpo.clip[0] == 0.2 && c->grpo.clip[1] == 0.2);
    assert_int_equal(c->grpo.loss, TR_LOSS_TOKEN);
    assert_int_equal(c->video.max_frames, 768);
    assert_int_equal(c->video.total_pixels, 2048 * 784);
    assert_int_equal(c->train.freeze, 0);
    assert_string_equal(c->data[0].reward, "temporal-r1");
}

static void test_temporal_r1(void **state)
{
    (void)state;
    tr_config_set think = read_example("temporal-r1-3b.yaml"), plain = read_example("temporal-r1-3b-no-think.yaml");
    check_temporal_r1(&think.stages[0]);
    check_temporal_r1(&plain.stages[0]);
    assert_int_equal(think.stages[0].rollout.max_tokens, 2048);
    assert_string_equal(think.stages[0].data[0].prompt, "temporal-r1");
    assert_non_null(strstr(plain.stages[0].data[0].prompt, "prompts/temporal-r1-no-think.yaml"));
    tr_config_set_free(&think);
    tr_config_set_free(&plain);
}

static void test_time_r1_and_timelens(void **state)
{
    (void)state;
    tr_config_set time_r1 = read_example("time-r1.yaml"), timelens = read_example("timelens.yaml");
    const tr_config *a = &time_r1.stages[0], *b = &timelens.stages[1];
    assert_int_equal(a->rollout.max_tokens, 200);
    assert_true(a->train.epochs == 5 && (a->train.freeze & TR_FREEZE_VISION));
    assert_true(a->grpo.difficulty_gaussian[0] == 0.3 && a->grpo.difficulty_gaussian[1] == 0.2);
    assert_true(a->grpo.filter_range[0] == 0 && a->grpo.filter_range[1] == 0.7);
    assert_string_equal(a->data[0].reward, "time-r1");
    assert_int_equal(timelens.count, 2);
    assert_int_equal(timelens.stages[0].algorithm, TR_ALGORITHM_SFT);
    assert_int_equal(b->grpo.std, TR_STD_NONE);
    assert_true(b->grpo.difficulty_gaussian[0] == 0.05 && b->grpo.stop_window > 0);
    assert_string_equal(b->data[0].reward, "timelens");
    assert_string_equal(b->data[0].prompt, "no-think");
    tr_config_set_free(&time_r1);
    tr_config_set_free(&timelens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_example_is_understood),
        cmocka_unit_test(test_tempr1),
        cmocka_unit_test(test_temporal_r1),
        cmocka_unit_test(test_time_r1_and_timelens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
