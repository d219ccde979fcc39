/* config_table.c: the table of configuration keys. Defaults are TempR1's settings (spec tasks-and-rewards, section
 * 5). */
#include "train/config_table.h"

#include <stdio.h>
#include <string.h>

#define AT(field) offsetof(tr_config, field)
#define LORA(field) offsetof(tr_config_lora, field)
#define ENTRY(field) offsetof(tr_data_entry, field)

const tr_key tr_config_keys[] = {
    {"algorithm", TR_KEY_CHOICE, AT(algorithm), "grpo", 0, 0, "grpo|sft",
     "group relative policy optimisation, or supervised fine-tuning on the rows' targets"},
    {"model", TR_KEY_PATH, AT(model), NULL, 0, 0, NULL, "folder of a Hugging Face Qwen2.5-VL checkpoint"},
    {"tokenizer", TR_KEY_PATH, AT(tokenizer), "null", 0, 0, NULL, "folder of the tokenizer; null: the model's"},
    {"out", TR_KEY_PATH, AT(out), NULL, 0, 0, NULL,
     "folder of the run: config.yaml, metrics.jsonl, rollouts.jsonl, checkpoints, curves.svg"},
    {"data", TR_KEY_DATA, AT(data), NULL, 0, 0, NULL,
     "list of {rows, videos, weight, reward, prompt}: what is trained on"},
    {"eval", TR_KEY_DATA, AT(eval), "[]", 0, 0, NULL, "list of the same form: what train.eval_every evaluates on"},

    {"video.fps", TR_KEY_NUMBER, AT(video.fps), "2", 0.001, 1000, NULL, "frames taken per second of video"},
    {"video.min_frames", TR_KEY_INT, AT(video.min_frames), "4", 2, 100000, NULL, "fewest frames of a clip"},
    {"video.max_frames", TR_KEY_INT, AT(video.max_frames), "448", 2, 100000, NULL, "most frames of a clip"},
    {"video.total_pixels", TR_KEY_INT, AT(video.total_pixels), "2809856", 1568, 1e12, NULL,
     "pixels of a clip in all, before merging two frames; 2809856 is 3584 visual tokens"},
    {"video.min_pixels", TR_KEY_INT, AT(video.min_pixels), "12544", 784, 1e12, NULL, "fewest pixels of a frame"},
    {"video.cache", TR_KEY_PATH, AT(video.cache), "null", 0, 0, NULL,
     "folder where decoded, resized frames are kept; null: OUT/cache"},
    {"video.cache_bytes", TR_KEY_BYTES, AT(video.cache_bytes), "20G", 0, 0, NULL, "size limit of that folder"},
    {"video.decoders", TR_KEY_INT, AT(video.decoders), "2", 0, 64, NULL,
     "processes that decode the next clips while the present ones are computed with; 0: none"},
    {"video.ahead_bytes", TR_KEY_BYTES, AT(video.ahead_bytes), "1G", 0, 0, NULL,
     "memory for decoded clips that wait to be used"},

    {"rollout.group", TR_KEY_INT, AT(rollout.group), "8", 1, 4096, NULL, "responses to each prompt"},
    {"rollout.temperature", TR_KEY_NUMBER, AT(rollout.temperature), "1.0", 0.01, 100, NULL,
     "sampling temperature; recorded log-probs are at this temperature"},
    {"rollout.top_p", TR_KEY_NUMBER, AT(rollout.top_p), "1.0", 1e-6, 1, NULL,
     "keep the likeliest tokens with this much probability; 1: off"},
    {"rollout.top_k", TR_KEY_INT, AT(rollout.top_k), "0", 0, 1e9, NULL, "keep so many likeliest tokens; 0: off"},
    {"rollout.min_p", TR_KEY_NUMBER, AT(rollout.min_p), "0", 0, 1, NULL,
     "drop tokens less likely than this share of the likeliest; 0: off"},
    {"rollout.max_tokens", TR_KEY_INT, AT(rollout.max_tokens), "1024", 1, 1e6, NULL, "longest response in tokens"},

    {"grpo.preset", TR_KEY_CHOICE, AT(grpo.preset), "tempr1", 0, 0, TR_PRESETS,
     "defaults of the other grpo keys as a paper has them (docs/algorithms.md); what is written wins"},
    {"grpo.advantage", TR_KEY_CHOICE, AT(grpo.advantage), "group", 0, 0,
     "group|rloo|reinforce++|reinforce++-baseline|ema|gdpo",
     "what a reward is compared with: its group; its siblings (RLOO); the batch (REINFORCE++, and with the group's "
     "mean as baseline); its group over the task's moving deviation (EMA-GRPO); its group, each part alone (GDPO)"},
    {"grpo.prompts_per_step", TR_KEY_INT, AT(grpo.prompts_per_step), "8", 1, 1e6, NULL,
     "prompts of one step; for sft: rows of one step"},
    {"grpo.updates_per_rollout", TR_KEY_INT, AT(grpo.updates_per_rollout), "1", 1, 1000, NULL,
     "optimiser steps on the same responses"},
    {"grpo.kl", TR_KEY_NUMBER, AT(grpo.kl), "0.04", 0, 1000, NULL,
     "weight of the KL term to the frozen start; 0: no reference pass"},
    {"grpo.kl_form", TR_KEY_CHOICE, AT(grpo.kl_form), "k3", 0, 0, "k1|k2|k3", "estimator of the KL"},
    {"grpo.kl_in", TR_KEY_CHOICE, AT(grpo.kl_in), "loss", 0, 0, "loss|reward",
     "where the KL term stands: in the loss, or subtracted from the reward before advantages are made"},
    {"grpo.clip", TR_KEY_PAIR, AT(grpo.clip), "[0.2, 0.2]", 0, 1000, NULL,
     "[low, high]: the ratio is clipped to [1 - low, 1 + high]"},
    {"grpo.loss", TR_KEY_CHOICE, AT(grpo.loss), "sequence", 0, 0, "sequence|token|constant",
     "averaging: per response then over responses; over all tokens; over responses times max_tokens"},
    {"grpo.std", TR_KEY_CHOICE, AT(grpo.std), "sample", 0, 0, "sample|population|none",
     "standard deviation that divides the advantages"},
    {"grpo.std_eps", TR_KEY_NUMBER, AT(grpo.std_eps), "1.0e-4", 0, 1, NULL, "added to that deviation"},
    {"grpo.ratio", TR_KEY_CHOICE, AT(grpo.ratio), "token", 0, 0, "token|sequence|constant",
     "importance ratio per token (GRPO), of the whole response (GSPO), or as a constant factor (CISPO)"},
    {"grpo.entropy", TR_KEY_NUMBER, AT(grpo.entropy), "0", 0, 1000, NULL, "weight of the entropy bonus"},
    {"grpo.truncate_ratio", TR_KEY_NUMBER, AT(grpo.truncate_ratio), "0", 0, 1e6, NULL,
     "largest importance ratio when rollouts are reused, also where clipping sets none (negative advantages); 0: "
     "none"},
    {"grpo.ema_decay", TR_KEY_NUMBER, AT(grpo.ema_decay), "0.99", 0, 0.999999, NULL,
     "decay of the tasks' reward moments (advantage: ema)"},
    {"grpo.dynamic_rounds", TR_KEY_INT, AT(grpo.dynamic_rounds), "0", 0, 1000, NULL,
     "DAPO's dynamic sampling: so many times at most a step replaces groups without variance by further prompts"},
    {"grpo.overlong", TR_KEY_NUMBER, AT(grpo.overlong), "0", 0, 1, NULL,
     "DAPO's soft overlong penalty: last share of rollout.max_tokens in which the reward falls linearly by up to "
     "1"},
    {"grpo.truncated", TR_KEY_CHOICE, AT(grpo.truncated), "train", 0, 0, "train|mask",
     "whether responses cut off at rollout.max_tokens are in the loss (mask: DAPO's overlong filtering)"},
    {"grpo.off_policy", TR_KEY_CHOICE, AT(grpo.off_policy), "none", 0, 0, "none|joint|scale|anchor|shape",
     "TempSamp-R1: the last response of each group is the row's target; its reward as it is, scaled, its advantage "
     "anchored to the best, or all rewards shaped"},
    {"grpo.off_policy_scale", TR_KEY_NUMBER, AT(grpo.off_policy_scale), "0.8", 0, 1, NULL,
     "factor on the target's reward (off_policy: scale)"},
    {"grpo.off_policy_anchor", TR_KEY_NUMBER, AT(grpo.off_policy_anchor), "1.2", 0, 100, NULL,
     "the target's advantage as a multiple of the largest sampled one (off_policy: anchor)"},
    {"grpo.difficulty", TR_KEY_CHOICE, AT(grpo.difficulty), "none", 0, 0, "none|gaussian|gaussian-density",
     "how often a row comes, by its `score`: all alike; a Gaussian (Time-R1); a Gaussian over the density of the "
     "scores (TimeLens)"},
    {"grpo.difficulty_gaussian", TR_KEY_PAIR, AT(grpo.difficulty_gaussian), "[0.3, 0.2]", -10, 10, NULL,
     "[centre, deviation] of that Gaussian"},
    {"grpo.filter", TR_KEY_CHOICE, AT(grpo.filter), "none", 0, 0, "none|score",
     "Time-R1's filter: a row whose newest mean score is outside of filter_range comes no more"},
    {"grpo.filter_range", TR_KEY_PAIR, AT(grpo.filter_range), "[0, 0.7]", -10, 10, NULL,
     "[low, high]: kept are low < score <= high"},
    {"grpo.stop_window", TR_KEY_INT, AT(grpo.stop_window), "0", 0, 1000000, NULL,
     "TimeLens' early stop: steps of each of two windows whose mean reward and deviation in groups are compared; "
     "0: off"},
    {"grpo.stop_change", TR_KEY_NUMBER, AT(grpo.stop_change), "0.01", 0, 1000, NULL,
     "both have changed by no more than this: the run ends"},

    {"sft.share_clip", TR_KEY_BOOL, AT(sft.share_clip), "true", 0, 0, NULL,
     "rows of one clip come one after the other and are computed as one packed sequence: the clip once"},
    {"sft.pairs_per_clip", TR_KEY_INT, AT(sft.pairs_per_clip), "8", 1, 4096, NULL,
     "most rows of one clip that are packed; rows of one step at most"},

    {"optim.lr", TR_KEY_NUMBER, AT(optim.lr), "1.0e-6", 0, 10, NULL, "learning rate of AdamW"},
    {"optim.schedule", TR_KEY_CHOICE, AT(optim.schedule), "constant", 0, 0, "constant|linear|cosine",
     "what the rate does after the warm-up"},
    {"optim.warmup_steps", TR_KEY_INT, AT(optim.warmup_steps), "0", 0, 1e9, NULL,
     "steps of linear warm-up; the first of them has rate 0"},
    {"optim.betas", TR_KEY_PAIR, AT(optim.betas), "[0.9, 0.999]", 0, 0.9999999, NULL, "moment decays"},
    {"optim.eps", TR_KEY_NUMBER, AT(optim.eps), "1.0e-8", 0, 1, NULL, "added to the root of the second moment"},
    {"optim.weight_decay", TR_KEY_NUMBER, AT(optim.weight_decay), "0.01", 0, 10, NULL,
     "decoupled decay of matrices; norms and biases never decay"},
    {"optim.clip_norm", TR_KEY_NUMBER, AT(optim.clip_norm), "1.0", 0, 1e9, NULL,
     "largest global gradient norm; 0: no clipping"},
    {"optim.moments", TR_KEY_CHOICE, AT(optim.moments), "f32", 0, 0, "f32|8bit",
     "AdamW's two moments of every matrix: f32, or one byte each with a scale for every 256 (6 bytes a number "
     "less; other bits); those of the embedding, of norms and of biases are f32"},

    {"train.dtype", TR_KEY_CHOICE, AT(train.dtype), "bf16", 0, 0, "f32|bf16",
     "weights as computed with; masters are always f32"},
    {"train.arithmetic", TR_KEY_CHOICE, AT(train.arithmetic), "f32", 0, 0, "f32|bf16",
     "of products with bf16 weights: bf16 rounds activations too and is faster, but runs only on CPUs with AVX-512 "
     "BF16"},
    {"train.exact", TR_KEY_BOOL, AT(train.exact), "true", 0, 0, NULL,
     "on a GPU: sampling and training give the same log-probs bit for bit; false: the fastest product for each "
     "number "
     "of rows, with importance weights truncated at 2 (grpo.truncate_ratio); the CPU is always exact"},
    {"train.recompute", TR_KEY_CHOICE, AT(train.recompute), "layer", 0, 0, "none|layer",
     "whether a layer's activations are kept or computed again for the backward; the same bits"},
    {"train.freeze", TR_KEY_PARTS, AT(train.freeze), "null", 0, 0, "vision|merger|text",
     "parts that are not trained: [], [vision], [vision, merger], ...; null: none of them, with train.lora all"},
    {"train.offload", TR_KEY_PARTS, AT(train.offload), "[]", 0, 0, "moments|reference",
     "state kept in files of OUT, a GPU's in the host's memory: [], [reference], [moments, reference]; the same "
     "bits, slower by the reading and writing"},
    {"train.steps", TR_KEY_INT, AT(train.steps), "0", 0, 1e9, NULL, "steps in all; 0: as many as epochs gives"},
    {"train.epochs", TR_KEY_NUMBER, AT(train.epochs), "1", 0, 1e6, NULL, "passes over the rows when steps is 0"},
    {"train.seed", TR_KEY_INT, AT(train.seed), "1", 0, 9e15, NULL, "of the rows' order and of sampling"},
    {"train.save_every", TR_KEY_INT, AT(train.save_every), "50", 0, 1e9, NULL,
     "steps between checkpoints; 0: only at the end"},
    {"train.save_minutes", TR_KEY_NUMBER, AT(train.save_minutes), "0", 0, 1e6, NULL,
     "a checkpoint also after the first step that ends so long after the last one; 0: by steps only"},
    {"train.save_mode", TR_KEY_CHOICE, AT(train.save_mode), "beside", 0, 0, "beside|wait",
     "written by a thread from a copy (12 bytes a trained number) while training goes on, or, without a copy, "
     "while training waits"},
    {"train.keep", TR_KEY_INT, AT(train.keep), "2", 1, 1e6, NULL, "newest checkpoints that are kept"},
    {"train.keep_best", TR_KEY_TEXT, AT(train.keep_best), "null", 0, 0, NULL,
     "a number of metrics.jsonl by its dotted name, such as reward or -eval.X (-: lower is better): the checkpoint "
     "with the best one is kept too, checkpoints/best points to it; null: none"},
    {"train.eval_every", TR_KEY_INT, AT(train.eval_every), "0", 0, 1e9, NULL, "steps between evaluations; 0: none"},
    {"train.watch", TR_KEY_NUMBER, AT(train.watch), "0.5", 0, 1, NULL,
     "share of a step's responses above which a sign of reward hacking is warned about on stderr; 0: never"},
    {"train.eval_loss_every", TR_KEY_INT, AT(train.eval_loss_every), "0", 0, 1e9, NULL,
     "steps between measurements of the supervised loss on the eval rows (nothing is sampled); 0: none"},
    {"train.lora", TR_KEY_LORA, AT(train.lora), "null", 0, 0, NULL,
     "low-rank adapters of the decoder's linear layers: {rank: 16, alpha: 32, targets: PATTERN}; null: whole "
     "weights"},

    {"device", TR_KEY_CHOICE, AT(device), "auto", 0, 0,
     "auto|cpu|cuda|cuda:0|cuda:1|cuda:2|cuda:3|cuda:4|cuda:5|cuda:6|cuda:7",
     "where it runs; auto: the first GPU if make test-cuda passed on it, else the CPU"},
};
const size_t tr_config_keys_count = sizeof tr_config_keys / sizeof *tr_config_keys;

const tr_key tr_lora_keys[] = {
    {"rank", TR_KEY_INT, LORA(rank), "16", 1, TR_LORA_RANK_MAX, NULL, "inner dimension of each pair of matrices"},
    {"alpha", TR_KEY_NUMBER, LORA(alpha), "32", 1e-6, 1e6, NULL, "what the adapter adds is scaled by alpha / rank"},
    {"targets", TR_KEY_MODULES, LORA(targets), "'.*language_model.*_proj'", 0, 0, NULL,
     "which linear layers of the decoder, as peft's target_modules: a regular expression for whole names such as "
     "model.language_model.layers.0.self_attn.q_proj, or a list of last parts of names such as [q_proj, v_proj]"},
    {"dropout", TR_KEY_NUMBER, LORA(dropout), "0", 0, 0, NULL,
     "only 0: sampling and training must compute the same numbers"},
};
const size_t tr_lora_keys_count = sizeof tr_lora_keys / sizeof *tr_lora_keys;

const tr_key tr_data_keys[] = {
    {"rows", TR_KEY_PATH, ENTRY(rows), NULL, 0, 0, NULL, "JSON Lines of corpus rows"},
    {"videos", TR_KEY_PATH, ENTRY(videos), "null", 0, 0, NULL,
     "folder in front of each row's video; null: the folder of the rows"},
    {"weight", TR_KEY_NUMBER, ENTRY(weight), "1.0", 0, 1000, NULL,
     "how often each row comes in an epoch: 1 once, 0.5 every second row, 2 twice"},
    {"reward", TR_KEY_NAME, ENTRY(reward), "tempr1", 0, 0, NULL,
     "reward scheme: tempr1, temporal-r1, time-r1, videochat-r1, museg, timelens, timelens2, omtg, or a YAML file "
     "of your own (docs/tasks.md)"},
    {"prompt", TR_KEY_NAME, ENTRY(prompt), "think", 0, 0, NULL,
     "prompt set: think, no-think, temporal-r1, ..., or a YAML file of your own"},
};
const size_t tr_data_keys_count = sizeof tr_data_keys / sizeof *tr_data_keys;

size_t *tr_config_data_count(tr_config *config, const tr_key *key)
{
    return key->offset == AT(data) ? &config->data_count : &config->eval_count;
}

bool tr_key_choice(const tr_key *key, int i, char *out, size_t size)
{
    const char *p = key->choices;
    for (; i > 0 && p; i--) {
        p = strchr(p, '|');
        p = p ? p + 1 : NULL;
    }
    if (!p) {
        return false;
    }
    snprintf(out, size, "%.*s", (int)strcspn(p, "|"), p);
    return true;
}

const char *tr_key_type(const tr_key *key)
{
    static _Thread_local char ring[4][192];
    static _Thread_local unsigned next;
    char *out = ring[next++ % 4];
    switch (key->kind) {
    case TR_KEY_TEXT:
        return "a text";
    case TR_KEY_PATH:
        return "a path";
    case TR_KEY_NAME:
        return "a name or a path";
    case TR_KEY_BYTES:
        return "a size such as 512M or 20G";
    case TR_KEY_LORA:
        return "null or a mapping {rank: 16, alpha: 32, targets: PATTERN}";
    case TR_KEY_MODULES:
        return "a regular expression or a list of names";
    case TR_KEY_DATA:
        return "a list of data entries";
    case TR_KEY_CHOICE:
        snprintf(out, sizeof ring[0], "one of %s", key->choices);
        return out;
    case TR_KEY_BOOL:
        return "true or false";
    case TR_KEY_PARTS:
        snprintf(out, sizeof ring[0], "a list out of %s", key->choices);
        return out;
    case TR_KEY_PAIR:
    case TR_KEY_INT:
    case TR_KEY_NUMBER:
        break;
    }
    const char *what = key->kind == TR_KEY_PAIR  ? "a list of two numbers"
                       : key->kind == TR_KEY_INT ? "an integer"
                                                 : "a number";
    if (key->min == 0 && key->max == 0) {
        return what;
    }
    snprintf(out, sizeof ring[0], "%s from %.10g to %.10g", what, key->min, key->max);
    return out;
}
