/* config.h: the configuration of a training run: one table of keys drives the parser, the command line's key=value,
 * the help text, docs/configuration.md and the resolved config.yaml of a run.
 *
 * Unknown keys, wrong types and values out of range are errors that name file, line and key. Paths of the file are
 * relative to the file, paths of the command line to the current directory; resolved ones are absolute. */
#ifndef TR_TRAIN_CONFIG_H
#define TR_TRAIN_CONFIG_H

#include "input/sample.h"
#include "rl/advantage.h"
#include "rl/policy.h"
#include "rl/sampler.h"
#include "rl/schedule.h"
#include "train/order.h"

typedef enum tr_algorithm { TR_ALGORITHM_GRPO, TR_ALGORITHM_SFT } tr_algorithm;
enum { TR_FREEZE_VISION = 1, TR_FREEZE_MERGER = 2, TR_FREEZE_TEXT = 4, TR_FREEZE_DEFAULT = 8 };
enum { TR_OFFLOAD_MOMENTS = 1, TR_OFFLOAD_REFERENCE = 2 };

/* train.lora; rank 0: none. */
typedef struct tr_config_lora {
    int64_t rank;
    double alpha, dropout;
    json_t *targets; /* a regular expression or a list of names */
} tr_config_lora;

typedef enum tr_kl_place { TR_KL_IN_LOSS, TR_KL_IN_REWARD } tr_kl_place;
typedef enum tr_off_policy {
    TR_OFF_POLICY_NONE,
    TR_OFF_POLICY_JOINT,
    TR_OFF_POLICY_SCALE,
    TR_OFF_POLICY_ANCHOR,
    TR_OFF_POLICY_SHAPE
} tr_off_policy;
typedef enum tr_truncated { TR_TRUNCATED_TRAIN, TR_TRUNCATED_MASK } tr_truncated;
typedef enum tr_filter { TR_FILTER_NONE, TR_FILTER_SCORE } tr_filter;

typedef enum tr_moments_form { TR_MOMENTS_F32, TR_MOMENTS_8BIT } tr_moments_form;
typedef enum tr_save_mode { TR_SAVE_BESIDE, TR_SAVE_WAIT } tr_save_mode;

/* Choices are stored as int, in the order of their enumerations. */
typedef struct tr_config {
    int algorithm;
    char *model, *tokenizer, *out; /* tokenizer NULL: the model's */
    tr_data_entry *data, *eval;
    size_t data_count, eval_count;

    struct {
        double fps;
        int64_t min_frames, max_frames, total_pixels, min_pixels;
        char *cache; /* NULL: OUT/cache */
        uint64_t cache_bytes;
        int64_t decoders; /* clips opened ahead at once; 0: none */
        uint64_t ahead_bytes;
    } video;
    struct {
        int64_t group, top_k, max_tokens;
        double temperature, top_p, min_p;
    } rollout;
    struct {
        int64_t prompts_per_step, updates_per_rollout;
        double kl, clip[2], std_eps, entropy;
        int kl_form, loss, std, ratio;
        int preset;    /* place in TR_PRESETS; the other keys already have its values */
        int advantage; /* tr_advantage_kind */
        int kl_in;     /* tr_kl_place */
        int off_policy, truncated, difficulty, filter; /* tr_off_policy, tr_truncated, tr_difficulty, tr_filter */
        double truncate_ratio, ema_decay, overlong, off_policy_scale, off_policy_anchor;
        double difficulty_gaussian[2], filter_range[2], stop_change;
        int64_t dynamic_rounds, stop_window;
    } grpo;
    struct {
        bool share_clip;
        int64_t pairs_per_clip;
    } sft;
    struct {
        double lr, betas[2], eps, weight_decay, clip_norm;
        int schedule;
        int64_t warmup_steps;
        int moments; /* tr_moments_form */
    } optim;
    struct {
        int dtype, recompute; /* tr_dtype values TR_F32, TR_BF16; tr_recompute */
        int arithmetic;       /* TR_F32, TR_BF16: of the products with bf16 weights */
        unsigned freeze;      /* TR_FREEZE_... */
        unsigned offload;     /* TR_OFFLOAD_... */
        int64_t steps, seed, save_every, keep, eval_every, eval_loss_every;
        double epochs, watch, save_minutes;
        int save_mode;   /* tr_save_mode */
        bool exact;      /* a row's bits do not depend on the rows beside it; false: the fastest on a GPU */
        char *keep_best; /* dotted name of a number of metrics.jsonl, "-" in front: lower is better; NULL: none */
        tr_config_lora lora;
    } train;
    int device;
} tr_config;

/* Everything that one file describes: one stage, or the entries of `stages:`, each complete. */
typedef struct tr_config_set {
    tr_config *stages;
    size_t count;
    char *out; /* the run's folder: stages[i].out is below it when there are several */
} tr_config_set;

/* Reads a file and applies overrides ("a.b=value", may be none). */
tr_status tr_config_read(const char *path, const char *const *overrides, size_t override_count, tr_config_set *set,
                         tr_error *err);
/* The same from text; name stands in errors and its folder resolves paths. */
tr_status tr_config_parse(const char *text, size_t length, const char *name, const char *const *overrides,
                          size_t override_count, tr_config_set *set, tr_error *err);
void tr_config_set_free(tr_config_set *set);

bool tr_config_on_gpu(const tr_config *config); /* whether `device` names one, or auto takes one */

/* The resolved configuration as an object of the same form (owned by the caller), and as YAML text. */
tr_status tr_config_to_json(const tr_config *config, json_t **out, tr_error *err);
tr_status tr_config_to_yaml(const tr_config *config, tr_buffer *out, tr_error *err);

/* Appends one line "grpo.kl: 0.04 -> 0.01" for every difference between two resolved objects; keys listed in
 * `except` (ends with NULL) do not count, nor does a key that `before` lacks and that has its default now. */
tr_status tr_config_differences(const json_t *before, const json_t *after, const char *const *except,
                                tr_buffer *out, tr_error *err);

/* All keys with type, default and meaning: for --help (plain) and docs/configuration.md (a Markdown table). */
tr_status tr_config_help(tr_buffer *out, tr_error *err);
tr_status tr_config_markdown(tr_buffer *out, tr_error *err);

#endif
