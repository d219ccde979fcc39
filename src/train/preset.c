/* preset.c: what a paper's name stands for in the keys of grpo, and which settings contradict each other.
 *
 * A preset only replaces defaults: a key that the user has written stays, and the resolved configuration shows
 * every value. docs/algorithms.md explains each. */
#include "tensor/cuda/cuda.h"
#include "train/config_table.h"

#include <stdio.h>
#include <string.h>

/* `tempr1` and `grpo` are the table's own defaults. */
static const struct {
    const char *preset, *key, *value;
} presets[] = {
    {"temporal-r1", "grpo.kl", "0.01"},
    {"temporal-r1", "grpo.entropy", "0.001"},
    {"temporal-r1", "grpo.loss", "token"},
    {"temporal-r1", "grpo.std_eps", "1.0e-6"},

    {"dr-grpo", "grpo.std", "none"},
    {"dr-grpo", "grpo.loss", "constant"},
    {"dr-grpo", "grpo.kl", "0"},

    {"dapo", "grpo.clip", "[0.2, 0.28]"},
    {"dapo", "grpo.loss", "token"},
    {"dapo", "grpo.kl", "0"},
    {"dapo", "grpo.dynamic_rounds", "10"},
    {"dapo", "grpo.overlong", "0.2"},

    {"gspo", "grpo.ratio", "sequence"},
    {"gspo", "grpo.clip", "[3.0e-4, 4.0e-4]"},
    {"gspo", "grpo.kl", "0"},

    {"cispo", "grpo.ratio", "constant"},
    {"cispo", "grpo.clip", "[0.2, 0.28]"},
    {"cispo", "grpo.loss", "token"},
    {"cispo", "grpo.kl", "0"},

    {"gdpo", "grpo.advantage", "gdpo"},

    {"rloo", "grpo.advantage", "rloo"},
    {"rloo", "grpo.kl_in", "reward"},
    {"rloo", "grpo.kl_form", "k1"},

    {"reinforce++", "grpo.advantage", "reinforce++"},
    {"reinforce++", "grpo.kl_in", "reward"},
    {"reinforce++", "grpo.kl_form", "k1"},
    {"reinforce++", "grpo.loss", "token"},
    {"reinforce++", "grpo.std", "population"},
    {"reinforce++", "grpo.std_eps", "1.0e-8"},

    {"reinforce++-baseline", "grpo.advantage", "reinforce++-baseline"},
    {"reinforce++-baseline", "grpo.kl_form", "k2"},
    {"reinforce++-baseline", "grpo.loss", "token"},
    {"reinforce++-baseline", "grpo.std", "population"},
    {"reinforce++-baseline", "grpo.std_eps", "1.0e-8"},

    {"ema-grpo", "grpo.advantage", "ema"},

    {"tempsamp-r1", "grpo.off_policy", "shape"},

    {"time-r1", "grpo.difficulty", "gaussian"},
    {"time-r1", "grpo.filter", "score"},

    {"timelens", "grpo.std", "none"},
    {"timelens", "grpo.difficulty", "gaussian-density"},
    {"timelens", "grpo.difficulty_gaussian", "[0.05, 0.2]"},
    {"timelens", "grpo.stop_window", "50"},
};

const char *tr_config_preset_value(const tr_config *config, const char *key)
{
    char name[32];
    const tr_key list = {.choices = TR_PRESETS};
    if (strncmp(key, "grpo.", 5) != 0 || !strcmp(key, "grpo.preset") ||
        !tr_key_choice(&list, config->grpo.preset, name, sizeof name)) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        if (!strcmp(presets[i].preset, name) && !strcmp(presets[i].key, key)) {
            return presets[i].value;
        }
    }
    /* The leave-one-out estimator divides by nothing, unless that is asked for. */
    return config->grpo.advantage == TR_ADVANTAGE_RLOO && !strcmp(key, "grpo.std") ? "none" : NULL;
}

bool tr_config_on_gpu(const tr_config *config)
{
    return config->device == 0 ? tr_cuda_passed() : config->device >= 2; /* auto, cpu, cuda, cuda:0, ... */
}

bool tr_config_contradiction(const tr_config *config, const char **first, char *why, size_t size)
{
    const tr_advantage_kind advantage = (tr_advantage_kind)config->grpo.advantage;
    const int off = config->grpo.off_policy;
    why[0] = 0;
    if (config->grpo.ratio == TR_RATIO_SEQUENCE && config->grpo.loss != TR_LOSS_SEQUENCE) {
        *first = "grpo.ratio";
        snprintf(why, size,
                 "grpo.ratio: sequence contradicts grpo.loss: %s: with one ratio for a response (GSPO) the loss is "
                 "averaged over responses; set grpo.loss to sequence, or grpo.ratio to token",
                 config->grpo.loss == TR_LOSS_TOKEN ? "token" : "constant");
    } else if (advantage == TR_ADVANTAGE_EMA && config->grpo.std == TR_STD_NONE) {
        *first = "grpo.advantage";
        snprintf(why, size,
                 "grpo.advantage: ema contradicts grpo.std: none: it divides by the task's moving deviation; leave "
                 "grpo.std at sample, or set grpo.advantage to group");
    } else if (config->grpo.ratio == TR_RATIO_SEQUENCE && advantage == TR_ADVANTAGE_BATCH) {
        *first = "grpo.ratio";
        snprintf(
            why, size,
            "grpo.ratio: sequence contradicts grpo.advantage: reinforce++, whose advantages belong to tokens; set "
            "grpo.ratio to token, or grpo.advantage to reinforce++-baseline");
    } else if (off && advantage == TR_ADVANTAGE_BATCH) {
        *first = "grpo.off_policy";
        snprintf(why, size,
                 "grpo.off_policy contradicts grpo.advantage: reinforce++: the row's target is one of a group, and "
                 "this estimator has no groups; reinforce++-baseline has");
    } else if (advantage == TR_ADVANTAGE_GDPO && (off == TR_OFF_POLICY_SCALE || off == TR_OFF_POLICY_SHAPE)) {
        *first = "grpo.off_policy";
        snprintf(why, size,
                 "grpo.off_policy: %s contradicts grpo.advantage: gdpo: it changes the whole reward, gdpo compares "
                 "its parts; off_policy: joint or anchor go with it",
                 off == TR_OFF_POLICY_SCALE ? "scale" : "shape");
    } else if (off && config->rollout.group < 3) {
        *first = "grpo.off_policy";
        snprintf(why, size,
                 "grpo.off_policy needs rollout.group of at least 3, found %lld: one is the row's target, and one "
                 "sampled response has no siblings",
                 (long long)config->rollout.group);
    } else if (config->grpo.truncate_ratio != 0 && config->grpo.truncate_ratio < 1 + config->grpo.clip[1]) {
        *first = "grpo.truncate_ratio";
        snprintf(why, size,
                 "grpo.truncate_ratio: %g contradicts grpo.clip: it is below the upper bound 1 + %g, which could "
                 "never be reached",
                 config->grpo.truncate_ratio, config->grpo.clip[1]);
    } else if (!config->train.exact && tr_config_on_gpu(config) && config->grpo.truncate_ratio == 0) {
        *first = "grpo.truncate_ratio";
        snprintf(
            why, size,
            "grpo.truncate_ratio: 0 contradicts train.exact: false: sampling and training then differ a little, "
            "which truncated importance weights correct; leave grpo.truncate_ratio out (2), or set train.exact "
            "to true");
    } else if (config->grpo.filter && config->grpo.filter_range[0] >= config->grpo.filter_range[1]) {
        *first = "grpo.filter_range";
        snprintf(why, size, "grpo.filter: score contradicts grpo.filter_range: [%g, %g] holds no score",
                 config->grpo.filter_range[0], config->grpo.filter_range[1]);
    } else if (config->grpo.difficulty && config->grpo.difficulty_gaussian[1] <= 0) {
        *first = "grpo.difficulty_gaussian";
        snprintf(why, size,
                 "grpo.difficulty contradicts grpo.difficulty_gaussian: [%g, %g]: the deviation must be above 0",
                 config->grpo.difficulty_gaussian[0], config->grpo.difficulty_gaussian[1]);
    }
    return why[0] != 0;
}
