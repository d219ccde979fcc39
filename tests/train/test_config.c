/* test_config.c: what the configuration reader takes, refuses and says. */
#include "support/shared.h"

#include "base/file.h"
#include "base/yaml.h"
#include "train/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char least[] = "model: /m\nout: runs/a\ndata: [ {rows: rows.jsonl} ]\n";

static tr_status parse(const char *text, const char *const *overrides, size_t count, tr_config_set *set,
                       tr_error *err)
{
    memset(err, 0, sizeof *err);
    return tr_config_parse(text, strlen(text), "/c/x/run.yaml", overrides, count, set, err);
}

static void test_defaults_are_tempr1s(void **state)
{
    (void)state;
    tr_config_set set;
    tr_error err;
    assert_int_equal(parse(least, NULL, 0, &set, &err), TR_OK);
    assert_int_equal(set.count, 1);
    const tr_config *c = &set.stages[0];
    assert_int_equal(c->algorithm, TR_ALGORITHM_GRPO);
    assert_string_equal(c->model, "/m");
    assert_null(c->tokenizer);
    assert_string_equal(c->out, "/c/x/runs/a"); /* relative to the file */
    assert_string_equal(c->video.cache, "/c/x/runs/a/cache");
    assert_string_equal(c->data[0].rows, "/c/x/rows.jsonl");
    assert_string_equal(c->data[0].videos, "/c/x");
    assert_string_equal(c->data[0].reward, "tempr1");
    assert_int_equal(c->rollout.group, 8);
    assert_int_equal(c->grpo.prompts_per_step, 8);
    assert_true(c->grpo.kl == 0.04 && c->grpo.std_eps == 1e-4 && c->optim.lr == 1e-6 && c->grpo.clip[1] == 0.2);
    assert_int_equal(c->grpo.kl_form, TR_KL_K3);
    assert_int_equal(c->grpo.loss, TR_LOSS_SEQUENCE);
    assert_int_equal(c->grpo.std, TR_STD_SAMPLE);
    assert_int_equal(c->video.max_frames, 448);
    assert_int_equal(c->video.total_pixels, 3584 * 784);
    assert_true(c->video.cache_bytes == 20ull << 30);
    assert_int_equal(c->rollout.max_tokens, 1024);
    assert_int_equal(c->train.dtype, TR_BF16);
    tr_config_set_free(&set);
}

static void test_the_whole_design_page_is_understood(void **state)
{
    (void)state;
    const char text[] =
        "algorithm: grpo\nmodel: DIR\ntokenizer: TOK\nout: DIR2\n"
        "data: [ {rows: FILE, videos: DIR, weight: 1.0, reward: tempr1, prompt: think} ]\n"
        "video: {fps: 2, min_frames: 4, max_frames: 448, total_pixels: 2809856, min_pixels: 12544, cache: DIR, "
        "cache_bytes: 20G}\n"
        "rollout: {group: 8, temperature: 1.0, top_p: 1.0, top_k: 0, min_p: 0, max_tokens: 1024}\n"
        "grpo: {prompts_per_step: 8, updates_per_rollout: 1, kl: 0.04, kl_form: k3, clip: [0.2, 0.2], loss: "
        "sequence, "
        "std: sample, std_eps: 1.0e-4, ratio: token, entropy: 0}\n"
        "optim: {lr: 1.0e-6, schedule: constant, warmup_steps: 0, betas: [0.9, 0.999], eps: 1.0e-8, "
        "weight_decay: 0.01, clip_norm: 1.0}\n"
        "train: {dtype: bf16, recompute: layer, freeze: [], steps: 0, epochs: 1, seed: 1, save_every: 50, keep: 2, "
        "eval_every: 0,\n        lora: null}\ndevice: auto\n";
    tr_config_set set, again;
    tr_error err;
    tr_buffer yaml = {0}, difference = {0};
    json_t *a, *b;
    assert_int_equal(parse(text, NULL, 0, &set, &err), TR_OK);
    assert_string_equal(set.stages[0].tokenizer, "/c/x/TOK");
    /* The resolved text reads back as the same configuration. */
    assert_int_equal(tr_config_to_yaml(&set.stages[0], &yaml, &err), TR_OK);
    assert_int_equal(parse(tr_buffer_text(&yaml), NULL, 0, &again, &err), TR_OK);
    assert_int_equal(tr_config_to_json(&set.stages[0], &a, &err), TR_OK);
    assert_int_equal(tr_config_to_json(&again.stages[0], &b, &err), TR_OK);
    assert_true(json_equal(a, b));
    json_object_set_new(json_object_get(b, "grpo"), "kl", json_real(0.5));
    json_object_set_new(json_object_get(b, "train"), "steps", json_integer(7));
    const char *except[] = {"train.steps", NULL};
    assert_int_equal(tr_config_differences(a, b, except, &difference, &err), TR_OK);
    assert_string_equal(tr_buffer_text(&difference), "  grpo.kl: 0.04 -> 0.5\n");
    /* Written by a program that did not know these keys: defaults are what it did, other values are changes. */
    json_object_set(json_object_get(b, "grpo"), "kl", json_object_get(json_object_get(a, "grpo"), "kl"));
    json_object_del(json_object_get(a, "optim"), "moments");
    json_object_del(json_object_get(a, "optim"), "betas");
    json_object_del(json_object_get(a, "train"), "exact");
    json_object_del(json_object_get(a, "rollout"), "group");
    json_object_set_new(json_object_get(b, "rollout"), "group", json_integer(5));
    tr_buffer_clear(&difference);
    assert_int_equal(tr_config_differences(a, b, except, &difference, &err), TR_OK);
    assert_string_equal(tr_buffer_text(&difference), "  rollout.group: (absent) -> 5\n");
    json_decref(a);
    json_decref(b);
    tr_buffer_free(&yaml);
    tr_buffer_free(&difference);
    tr_config_set_free(&set);
    tr_config_set_free(&again);
}

static void test_overrides(void **state)
{
    (void)state;
    const char *const overrides[] = {"grpo.kl=0", "optim.betas=[0.5, 0.75]",       "data.0.weight=2.5",
                                     "out=/o",    "train.freeze=[vision, merger]", "video.cache_bytes=512M"};
    tr_config_set set;
    tr_error err;
    assert_int_equal(parse(least, overrides, 6, &set, &err), TR_OK);
    const tr_config *c = &set.stages[0];
    assert_true(c->grpo.kl == 0 && c->optim.betas[0] == 0.5 && c->optim.betas[1] == 0.75);
    assert_true(c->data[0].weight == 2.5);
    assert_string_equal(c->out, "/o");
    assert_int_equal(c->train.freeze, TR_FREEZE_VISION | TR_FREEZE_MERGER);
    assert_true(c->video.cache_bytes == 512ull << 20);
    tr_config_set_free(&set);
    const char *relative[] = {"model=some/../dir"}; /* relative to where the user stands, not to the file */
    assert_int_equal(parse(least, relative, 1, &set, &err), TR_OK);
    assert_null(strstr(set.stages[0].model, "/c/x"));
    assert_string_equal(strrchr(set.stages[0].model, '/'), "/dir");
    tr_config_set_free(&set);
}

/* Nothing but the adapter trains unless the configuration says so; without one nothing is frozen. */
static void test_adapters(void **state)
{
    (void)state;
    static const struct {
        const char *train;
        unsigned freeze;
    } cases[] = {
        {"{}", 0},
        {"{freeze: []}", 0},
        {"{freeze: [text]}", TR_FREEZE_TEXT},
        {"{lora: {}}", TR_FREEZE_TEXT | TR_FREEZE_VISION | TR_FREEZE_MERGER},
        {"{lora: {}, freeze: [text, vision, merger]}", TR_FREEZE_TEXT | TR_FREEZE_VISION | TR_FREEZE_MERGER},
        {"{lora: {}, freeze: []}", TR_FREEZE_TEXT},
        {"{lora: {}, freeze: [vision]}", TR_FREEZE_TEXT | TR_FREEZE_VISION}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tr_config_set set, again;
        tr_error err;
        tr_buffer yaml = {0};
        char text[512];
        snprintf(text, sizeof text, "%strain: %s\n", least, cases[i].train);
        assert_int_equal(parse(text, NULL, 0, &set, &err), TR_OK);
        assert_int_equal(set.stages[0].train.freeze, cases[i].freeze);
        assert_int_equal(tr_config_to_yaml(&set.stages[0], &yaml, &err), TR_OK);
        assert_int_equal(parse(tr_buffer_text(&yaml), NULL, 0, &again, &err), TR_OK);
        assert_int_equal(again.stages[0].train.freeze, cases[i].freeze);
        assert_int_equal(again.stages[0].train.lora.rank, strstr(cases[i].train, "lora") ? 16 : 0);
        tr_buffer_free(&yaml);
        tr_config_set_free(&set);
        tr_config_set_free(&again);
    }
    tr_config_set set;
    tr_error err;
    const char *const overrides[] = {"train.lora.rank=4", "train.lora.targets=[q_proj, v_proj]"};
    assert_int_equal(parse(least, overrides, 2, &set, &err), TR_OK);
    const tr_config_lora *lora = &set.stages[0].train.lora;
    assert_true(lora->rank == 4 && lora->alpha == 32 && json_array_size(lora->targets) == 2);
    tr_config_set_free(&set);
}

/* A preset replaces defaults only, and the resolved text shows and repeats every value. */
static void test_presets(void **state)
{
    (void)state;
    tr_config_set set, again;
    tr_error err;
    tr_buffer yaml = {0};
    json_t *a, *b;
    char text[512];
    snprintf(text, sizeof text, "%sgrpo: {preset: dapo, overlong: 0.5}\n", least);
    const char *overrides[] = {"grpo.kl=0.02"};
    assert_int_equal(parse(text, overrides, 1, &set, &err), TR_OK);
    const tr_config *c = &set.stages[0];
    assert_true(c->grpo.clip[0] == 0.2 && c->grpo.clip[1] == 0.28 && c->grpo.loss == TR_LOSS_TOKEN);
    assert_true(c->grpo.kl == 0.02 && c->grpo.overlong == 0.5 && c->grpo.dynamic_rounds == 10);
    assert_int_equal(tr_config_to_yaml(c, &yaml, &err), TR_OK);
    assert_non_null(strstr(tr_buffer_text(&yaml), "  preset: \"dapo\"\n"));
    assert_non_null(strstr(tr_buffer_text(&yaml), "  clip: [0.2, 0.28]\n"));
    assert_non_null(strstr(tr_buffer_text(&yaml), "  freeze: []\n"));
    assert_int_equal(parse(tr_buffer_text(&yaml), NULL, 0, &again, &err), TR_OK);
    assert_int_equal(tr_config_to_json(c, &a, &err), TR_OK);
    assert_int_equal(tr_config_to_json(&again.stages[0], &b, &err), TR_OK);
    assert_true(json_equal(a, b));
    json_decref(a);
    json_decref(b);
    tr_buffer_free(&yaml);
    tr_config_set_free(&set);
    tr_config_set_free(&again);
}

static void test_every_preset_is_taken(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        tr_advantage_kind advantage;
        tr_std_kind std;
        tr_ratio_kind ratio;
        tr_loss_kind loss;
        tr_kl_place kl_in;
        double kl;
    } presets[] = {
        {"tempr1", TR_ADVANTAGE_GROUP, TR_STD_SAMPLE, TR_RATIO_TOKEN, TR_LOSS_SEQUENCE, TR_KL_IN_LOSS, 0.04},
        {"grpo", TR_ADVANTAGE_GROUP, TR_STD_SAMPLE, TR_RATIO_TOKEN, TR_LOSS_SEQUENCE, TR_KL_IN_LOSS, 0.04},
        {"temporal-r1", TR_ADVANTAGE_GROUP, TR_STD_SAMPLE, TR_RATIO_TOKEN, TR_LOSS_TOKEN, TR_KL_IN_LOSS, 0.01},
        {"dr-grpo", TR_ADVANTAGE_GROUP, TR_STD_NONE, TR_RATIO_TOKEN, TR_LOSS_CONSTANT, TR_KL_IN_LOSS, 0},
        {"dapo", TR_ADVANTAGE_GROUP, TR_STD_SAMPLE, TR_RATIO_TOKEN, TR_LOSS_TOKEN, TR_KL_IN_LOSS, 0},
        {"gspo", TR_ADVANTAGE_GROUP, TR_STD_SAMPLE, TR_RATIO_SEQUENCE, TR_LOSS_SEQUENCE, TR_KL_IN_LOSS, 0},
        {"cispo", TR_ADVANTAGE_GROUP, TR_STD_SAMPLE, TR_RATIO_CONSTANT, TR_LOSS_TOKEN, TR_KL_IN_LOSS, 0},
        {"gdpo", TR_ADVANTAGE_GDPO, TR_STD_SAMPLE, TR_RATIO_TOKEN, TR_LOSS_SEQUENCE, TR_KL_IN_LOSS, 0.04},
        {"rloo", TR_ADVANTAGE_RLOO, TR_STD_NONE, TR_RATIO_TOKEN, TR_LOSS_SEQUENCE, TR_KL_IN_REWARD, 0.04},
        {"reinforce++", TR_ADVANTAGE_BATCH, TR_STD_POPULATION, TR_RATIO_TOKEN, TR_LOSS_TOKEN, TR_KL_IN_REWARD,
         0.04},
        {"reinforce++-baseline", TR_ADVANTAGE_BASELINE, TR_STD_POPULATION, TR_RATIO_TOKEN, TR_LOSS_TOKEN,
         TR_KL_IN_LOSS, 0.04},
        {"ema-grpo", TR_ADVANTAGE_EMA, TR_STD_SAMPLE, TR_RATIO_TOKEN, TR_LOSS_SEQUENCE, TR_KL_IN_LOSS, 0.04},
        {"tempsamp-r1", TR_ADVANTAGE_GROUP, TR_STD_SAMPLE, TR_RATIO_TOKEN, TR_LOSS_SEQUENCE, TR_KL_IN_LOSS, 0.04},
        {"time-r1", TR_ADVANTAGE_GROUP, TR_STD_SAMPLE, TR_RATIO_TOKEN, TR_LOSS_SEQUENCE, TR_KL_IN_LOSS, 0.04},
        {"timelens", TR_ADVANTAGE_GROUP, TR_STD_NONE, TR_RATIO_TOKEN, TR_LOSS_SEQUENCE, TR_KL_IN_LOSS, 0.04},
    };
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        char text[512];
        tr_config_set set;
        tr_error err;
        snprintf(text, sizeof text, "%sgrpo: {preset: %s}\n", least, presets[i].name);
        assert_int_equal(parse(text, NULL, 0, &set, &err), TR_OK);
        const tr_config *c = &set.stages[0];
        assert_int_equal(c->grpo.preset, i);
        assert_int_equal(c->grpo.advantage, presets[i].advantage);
        assert_int_equal(c->grpo.std, presets[i].std);
        assert_int_equal(c->grpo.ratio, presets[i].ratio);
        assert_int_equal(c->grpo.loss, presets[i].loss);
        assert_int_equal(c->grpo.kl_in, presets[i].kl_in);
        assert_true(c->grpo.kl == presets[i].kl);
        tr_config_set_free(&set);
    }
    const char *alone[] = {"grpo.advantage=rloo"}, *both[] = {"grpo.advantage=rloo", "grpo.std=sample"};
    tr_config_set set;
    tr_error err;
    assert_int_equal(parse(least, alone, 1, &set, &err), TR_OK);
    assert_int_equal(set.stages[0].grpo.std, TR_STD_NONE); /* RLOO divides by nothing */
    tr_config_set_free(&set);
    assert_int_equal(parse(least, both, 2, &set, &err), TR_OK);
    assert_int_equal(set.stages[0].grpo.std, TR_STD_SAMPLE);
    tr_config_set_free(&set);
}

/* Without exactness on a GPU importance weights are truncated; on the CPU nothing changes. What is written wins. */
static void test_exact(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool exact;
        double truncate;
    } cases[] = {{"", true, 0},
                 {"train: {exact: true}\ndevice: cuda\n", true, 0},
                 {"train: {exact: false}\n", false, 0},
                 {"train: {exact: false}\ngrpo: {truncate_ratio: 0}\ndevice: cpu\n", false, 0},
                 {"train: {exact: false}\ndevice: cuda:1\n", false, 2},
                 {"train: {exact: false}\ndevice: cuda\ngrpo: {truncate_ratio: 1.5}\n", false, 1.5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        tr_config_set set;
        tr_error err;
        snprintf(text, sizeof text, "%s%s", least, cases[i].text);
        assert_int_equal(parse(text, NULL, 0, &set, &err), TR_OK);
        assert_int_equal(set.stages[0].train.exact, cases[i].exact);
        assert_true(set.stages[0].grpo.truncate_ratio == cases[i].truncate);
        tr_config_set_free(&set);
    }
}

static void test_a_prompt_is_a_name_or_a_file(void **state)
{
    (void)state;
    const char text[] = "model: /m\nout: o\ndata: [ {rows: a, prompt: no-think}, {rows: b, prompt: own.yaml} ]\n";
    tr_config_set set;
    tr_error err;
    assert_int_equal(parse(text, NULL, 0, &set, &err), TR_OK);
    assert_string_equal(set.stages[0].data[0].prompt, "no-think");
    assert_string_equal(set.stages[0].data[1].prompt, "/c/x/own.yaml");
    tr_config_set_free(&set);
}

static void test_stages(void **state)
{
    (void)state;
    const char text[] = "model: /m\nout: o\ndata: [ {rows: r} ]\ngrpo: {kl: 0.5}\nstages:\n"
                        "  - {algorithm: sft, optim: {lr: 0.001}}\n  - {grpo: {entropy: 0.25}}\n";
    const char *const overrides[] = {"stages.1.optim.lr=0.01", "train.steps=3"};
    tr_config_set set;
    tr_error err;
    assert_int_equal(parse(text, overrides, 2, &set, &err), TR_OK);
    assert_int_equal(set.count, 2);
    assert_string_equal(set.out, "/c/x/o");
    assert_string_equal(set.stages[0].out, "/c/x/o/1-sft");
    assert_string_equal(set.stages[1].out, "/c/x/o/2-grpo");
    assert_string_equal(set.stages[0].video.cache, set.stages[1].video.cache);
    assert_true(set.stages[0].optim.lr == 0.001 && set.stages[1].optim.lr == 0.01);
    assert_true(set.stages[1].grpo.kl == 0.5 && set.stages[1].grpo.entropy == 0.25);
    assert_int_equal(set.stages[1].train.steps, 3);
    tr_config_set_free(&set);
}

/* The list itself, then a key of one of its stages; what is in the list is of the command line. */
static void test_stages_of_the_command_line(void **state)
{
    (void)state;
    const char file[] = "model: /m\nout: o\ndata: [ {rows: r} ]\nstages: [ {algorithm: sft}, {}, {} ]\n";
    const char *const overrides[] = {"stages=[{algorithm: sft, model: m2}, {grpo: {kl: 0.5}}]",
                                     "stages.1.grpo.kl=0.25",
                                     "stages.0={algorithm: sft, train: {steps: 4}, tokenizer: t}"};
    const char *const bad[] = {"stages=[{algorithm: sft}, {grpo: {kl: -1}}]"}, *const none[] = {"stages=null"};
    tr_config_set set;
    tr_error err;
    assert_int_equal(parse(file, overrides, 3, &set, &err), TR_OK);
    assert_int_equal(set.count, 2);
    assert_int_equal(set.stages[0].algorithm, TR_ALGORITHM_SFT);
    assert_int_equal(set.stages[0].train.steps, 4);
    assert_string_equal(set.stages[0].model, "/m");       /* of the file: the whole stage was replaced */
    assert_null(strstr(set.stages[0].tokenizer, "/c/x")); /* relative to the current directory */
    assert_true(set.stages[1].grpo.kl == 0.25);
    tr_config_set_free(&set);
    assert_int_equal(parse(file, bad, 1, &set, &err), TR_FORMAT);
    assert_string_equal(err.where, "command line");
    assert_non_null(strstr(err.message, "grpo.kl must be a number"));
    assert_int_equal(parse(file, none, 1, &set, &err), TR_OK);
    assert_int_equal(set.count, 1);
    assert_string_equal(set.stages[0].out, "/c/x/o");
    tr_config_set_free(&set);
}

/* Each bad text, and what the place and the message must hold. */
static const struct {
    const char *extra, *override, *where, *message;
} refusals[] = {
    {"grpo: {klform: k3}\n", NULL, "run.yaml:4", "unknown key 'grpo.klform' (did you mean 'grpo.kl_form'?)"},
    {"rollot: {group: 8}\n", NULL, "run.yaml:4", "unknown key 'rollot' (did you mean 'rollout'?)"},
    {"kl: 0.1\n", NULL, "run.yaml:4", "did you mean 'grpo.kl'?"},
    {"optim:\n  lr: fast\n", NULL, "run.yaml:5", "optim.lr must be a number from 0 to 10, found 'fast'"},
    {"rollout: {temperature: 0}\n", NULL, "run.yaml:4", "rollout.temperature must be a number from 0.01 to 100"},
    {"rollout: {group: 2.5}\n", NULL, "run.yaml:4", "rollout.group must be an integer from 1 to 4096, found 2.5"},
    {"rollout: {group: 1}\n", NULL, "run.yaml:4", "at least 2 for grpo"},
    {"grpo: {clip: 0.2}\n", NULL, "run.yaml:4", "grpo.clip must be a list of two numbers"},
    {"grpo: {loss: sequences}\n", NULL, "run.yaml:4", "did you mean 'sequence'?"},
    {"grpo: [1]\n", NULL, "run.yaml:4", "grpo must be a mapping, found a list"},
    {"grpo: {ratio: sequence, loss: token}\n", NULL, "run.yaml:4",
     "grpo.ratio: sequence contradicts grpo.loss: token"},
    {"grpo:\n  preset: gspo\n  loss: constant\n", NULL, "run.yaml:4",
     "grpo.ratio: sequence contradicts grpo.loss: constant"},
    {"grpo: {preset: reinforce++, ratio: sequence, loss: sequence}\n", NULL, "run.yaml:4",
     "grpo.ratio: sequence contradicts grpo.advantage: reinforce++"},
    {"grpo: {advantage: ema, std: none}\n", NULL, "run.yaml:4", "ema contradicts grpo.std: none"},
    {"grpo: {off_policy: joint, advantage: reinforce++}\n", NULL, "run.yaml:4",
     "grpo.off_policy contradicts grpo.advantage"},
    {"grpo: {off_policy: shape, advantage: gdpo}\n", NULL, "run.yaml:4",
     "grpo.off_policy: shape contradicts grpo.advantage: gdpo"},
    {"grpo: {off_policy: anchor}\nrollout: {group: 2}\n", NULL, "run.yaml:4", "needs rollout.group of at least 3"},
    {"grpo: {truncate_ratio: 1.1}\n", NULL, "run.yaml:4", "grpo.truncate_ratio: 1.1 contradicts grpo.clip"},
    {"device: cuda\ngrpo: {truncate_ratio: 0}\ntrain: {exact: false}\n", NULL, "run.yaml:5",
     "grpo.truncate_ratio: 0 contradicts train.exact: false"},
    {"grpo: {filter: score, filter_range: [0.7, 0.7]}\n", NULL, "run.yaml:4", "contradicts grpo.filter_range"},
    {"grpo: {difficulty: gaussian, difficulty_gaussian: [0.3, 0]}\n", NULL, "run.yaml:4",
     "contradicts grpo.difficulty_gaussian"},
    {"grpo: {preset: dapo-}\n", NULL, "run.yaml:4", "did you mean 'dapo'?"},
    {"train: {lora: 16}\n", NULL, "run.yaml:4", "train.lora must be null or a mapping"},
    {"train: {lora: {rank: 0}}\n", NULL, "run.yaml:4", "train.lora.rank must be an integer from 1 to 1024"},
    {"train:\n  lora:\n    rang: 8\n", NULL, "run.yaml:6", "did you mean 'rank'?"},
    {"train: {lora: {dropout: 0.05}}\n", NULL, "run.yaml:4", "train.lora.dropout is 0.05; only 0 is possible"},
    {"train: {lora: {targets: []}}\n", NULL, "run.yaml:4", "a regular expression or a list of names"},
    {"train: {lora: {alpha: 0}}\n", NULL, "run.yaml:4", "train.lora.alpha must be a number from"},
    {"train: {freeze: [tower]}\n", NULL, "run.yaml:4", "train.freeze must be a list out of vision"},
    {"train: {freeze: [visoin]}\n", NULL, "run.yaml:4",
     "train.freeze must be a list out of vision|merger|text, found 'visoin' (did you mean 'vision'?)"},
    {"train: {freeze: [eyes]}\n", NULL, "run.yaml:4", "out of vision|merger|text, found 'eyes'"},
    {"train: {freeze: [1, 2]}\n", NULL, "run.yaml:4", "out of vision|merger|text, found [1, 2]"},
    {"train: {freeze: vision}\n", NULL, "run.yaml:4", "out of vision|merger|text, found 'vision'"},
    {"grpo: {clip: [2]}\n", NULL, "run.yaml:4",
     "grpo.clip must be a list of two numbers from 0 to 1000, found [2]"},
    {"grpo: {clip: []}\n", NULL, "run.yaml:4", "from 0 to 1000, found an empty list"},
    {"grpo: {clip: [0.1, 2000]}\n", NULL, "run.yaml:4", "from 0 to 1000, found [0.1, 2000]"},
    {"sft: {share_clip: 1}\n", NULL, "run.yaml:4", "sft.share_clip must be true or false, found 1"},
    {"sft: {share_clips: true}\n", NULL, "run.yaml:4", "did you mean 'sft.share_clip'?"},
    {"train: {eval_loss_every: 5}\n", NULL, "run.yaml:4", "train.eval_loss_every needs rows"},
    {"", "data=[]", "command line", "data must be a list of at least one data entry such as [ {rows: train.jsonl,"},
    {"", "grpo.kl=", "command line", "grpo.kl must be a number from 0 to 1000, found null"},
    {"train: {freeze: [text, vision, merger]}\n", NULL, "run.yaml:4", "nothing to train"},
    {"train: {eval_every: 5}\n", NULL, "run.yaml:4", "needs rows to evaluate on"},
    {"video: {min_frames: 500}\n", NULL, "run.yaml:4", "larger than video.max_frames"},
    {"device: gpu\n", NULL, "run.yaml:4", "device must be one of auto|cpu|cuda|"},
    {"", "stages.0.train.steps=1", "command line",
     "the configuration has no stages; give them first, such as stages="},
    {"stages: [ {algorithm: sft} ]\n", "stages.2.train.steps=1", "command line",
     "stages is a list of 1, whose entries are numbered from 0 to 0"},
    {"", "data.1.weight=2", "command line", "'data.1.weight' cannot be set: data is a list of 1"},
    {"", "data.x=2", "command line", "data is a list of 1"},
    {"", "model.x=2", "command line", "'model.x' cannot be set: model is a string"},
    {"", "stages=5", "command line", "stages must be a list of mappings such as"},
    {"", "stages=[]", "command line", "found an empty list"},
    {"", "stages=[3]", "command line", "stages.0 must be a mapping"},
    {"", "stages=[{algorithm: sft", "command line", "the value of 'stages'"},
    {"stages: []\n", NULL, "run.yaml:4", "stages must be a list of mappings"},
    {"eval: [ {rows: x, video: y} ]\n", NULL, "run.yaml:4", "unknown key 'eval.0.video' (did you mean 'videos'?)"},
    {"eval: [ {videos: y} ]\n", NULL, "run.yaml:4", "'eval.0.rows' is needed"},
    {"video: {cache_bytes: lots}\n", NULL, "run.yaml:4", "a size such as"},
    {"model: /again\n", NULL, "run.yaml:4", "duplicate key"},
    {"grpo: {kl: [}\n", NULL, "run.yaml:4", "not valid YAML"},
    {"", "grpo.kll=1", "command line", "did you mean 'grpo.kl'?"},
    {"", "grpo.kl", "command line", "not of the form key=value"},
    {"", "grpo.kl=-1", "command line", "grpo.kl must be a number from 0"},
    {"", "data.7.rows=x", "command line", "data is a list of 1"},
    {"", "model.name=x", "command line", "model is a string, not a list or a mapping"},
};

static void test_refusals_name_place_and_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        char text[512];
        tr_config_set set;
        tr_error err;
        snprintf(text, sizeof text, "%s%s", least, refusals[i].extra);
        tr_status status = parse(text, &refusals[i].override, refusals[i].override != NULL, &set, &err);
        if (!status || !strstr(err.where, refusals[i].where) || !strstr(err.message, refusals[i].message)) {
            printf("%s%s -> %s: %s\n", refusals[i].extra, refusals[i].override ? refusals[i].override : "",
                   err.where, err.message);
        }
        assert_int_not_equal(status, TR_OK);
        assert_non_null(strstr(err.where, refusals[i].where));
        assert_non_null(strstr(err.message, refusals[i].message));
    }
}

static void test_needed_keys_and_empty_files(void **state)
{
    (void)state;
    tr_config_set set;
    tr_error err;
    assert_int_equal(parse("out: o\ndata: [ {rows: r} ]\n", NULL, 0, &set, &err), TR_NOT_FOUND);
    assert_non_null(strstr(err.message, "'model' is needed"));
    assert_int_equal(parse("model: m\nout: o\ndata: []\n", NULL, 0, &set, &err), TR_FORMAT);
    static const char *const blank[] = {"", "\n  \n", "# only a comment\n", "---\n", " # a\r\n\t\n---\n...\n"};
    for (size_t i = 0; i < sizeof blank / sizeof *blank; i++) {
        assert_int_equal(parse(blank[i], NULL, 0, &set, &err), TR_FORMAT);
        assert_non_null(
            strstr(err.message, "the file is empty; the smallest configuration is three lines: 'model:"));
        assert_string_equal(err.where, "/c/x/run.yaml");
    }
    assert_int_equal(parse("# a\nmodel m\n", NULL, 0, &set, &err), TR_FORMAT);
    assert_non_null(strstr(err.message, "a mapping of keys, found a string"));
    assert_int_equal(parse("- 1\n", NULL, 0, &set, &err), TR_FORMAT);
    assert_int_equal(tr_config_read("/nonexistent/run.yaml", NULL, 0, &set, &err), TR_NOT_FOUND);
    assert_non_null(strstr(err.where, "/nonexistent/run.yaml"));
}

/* docs/configuration.md holds the table as the program writes it. */
static void test_the_documentation_is_the_table(void **state)
{
    (void)state;
    tr_buffer page = {0}, table = {0};
    tr_error err = {0};
    assert_int_equal(tr_file_read(project_path("docs/configuration.md"), 0, &page, &err), TR_OK);
    assert_int_equal(tr_config_markdown(&table, &err), TR_OK);
    if (!strstr(tr_buffer_text(&page), tr_buffer_text(&table))) {
        printf("docs/configuration.md must hold this table (tempr1 train --keys prints it):\n%s",
               tr_buffer_text(&table));
    }
    assert_non_null(strstr(tr_buffer_text(&page), tr_buffer_text(&table)));
    tr_buffer_free(&page);
    tr_buffer_free(&table);
}

/* Every ready configuration of examples/ is one that the program takes. */
static size_t understood_in(const char *folder)
{
    char **names, path[1024];
    size_t count, read = 0;
    assert_int_equal(tr_directory_list(folder, &names, &count, NULL), TR_OK);
    for (size_t i = 0; i < count; i++) {
        tr_config_set set;
        tr_error err = {0};
        if (!strstr(names[i], ".yaml")) {
            continue;
        }
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (tr_config_read(path, NULL, 0, &set, &err)) {
            printf("%s: %s\n", err.where, err.message);
        }
        assert_int_equal(err.code, TR_OK);
        assert_true(set.count >= 1);
        tr_config_set_free(&set);
        read++;
    }
    tr_names_free(names, count);
    return read;
}

static void test_the_examples_are_understood(void **state)
{
    (void)state;
    assert_true(understood_in(project_path("examples/configs")) >= 3);
    assert_int_equal(understood_in(project_path("examples/charades-sta")), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_tempr1s),
        cmocka_unit_test(test_the_whole_design_page_is_understood),
        cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_adapters),
        cmocka_unit_test(test_presets),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_every_preset_is_taken),
        cmocka_unit_test(test_a_prompt_is_a_name_or_a_file),
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_stages_of_the_command_line),
        cmocka_unit_test(test_refusals_name_place_and_key),
        cmocka_unit_test(test_needed_keys_and_empty_files),
        cmocka_unit_test(test_the_documentation_is_the_table),
        cmocka_unit_test(test_the_examples_are_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
