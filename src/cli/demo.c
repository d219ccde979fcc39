/* demo.c: `tempr1 demo`: the main job on an embedded default, from synthetic video to a model that has learned.
 *
 * Corpus, tokenizer and a tiny checkpoint are made; the checkpoint is evaluated on the held-out clips, started by
 * SFT, evaluated, trained by GRPO, evaluated. Settings were tuned on the split "tune"; "test" is only ever
 * evaluated. */
#include "cli/session.h"

#include "base/file.h"
#include "base/memory.h"
#include "corpus/rows.h"
#include "corpus/synth.h"
#include "task/metrics.h"
#include "text/tokenizer.h"
#include "text/train_bpe.h"
#include "train/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int run(int argc, char **argv);

const tr_command tr_command_demo = {
    .name = "demo",
    .arguments = "[--out DIR] [--seeds N] [options]",
    .summary = "the main job on synthetic video: SFT start, GRPO, evaluation before, between and after",
    .text = "Writes a corpus of synthetic H.264 clips and a tiny Qwen2.5-VL-shaped checkpoint with its own "
            "tokenizer, starts it by\n"
            "SFT, trains it by GRPO on temporal grounding, and evaluates it on held-out clips before, between and "
            "after. Prints\n"
            "one table and where the run, the checkpoints and the curves are. A folder that holds the corpus "
            "already is used\n"
            "again; finished runs in it are replaced.\n\n"
            "  tempr1 demo --out out/demo\n"
            "  tempr1 demo --out out/demo --seeds 3\n",
    .run = run,
};

/* The demo's prompts: short, because a tiny model reads every token. */
static const char prompt_text[] = "name: demo\n"
                                  "think: forbidden\n"
                                  "system: Say when.\n"
                                  "tasks:\n"
                                  "  tg: \"{query}?\"\n";

typedef struct settings {
    const char *out, *split;
    int64_t seeds, seed, sft_steps, grpo_steps, clips, test_clips;
    double sft_lr, grpo_lr, kl;
    bool json, quiet;
} settings;

enum { STAGES = 3 };
static const char *const stage_names[STAGES] = {"untrained", "after SFT", "after GRPO"};
static const char *const stage_dirs[STAGES] = {"untrained", "sft", "grpo"};

typedef struct result {
    json_t *metrics[STAGES];                        /* owned */
    double gain[STAGES], low[STAGES], high[STAGES]; /* of mIoU against the stage before, paired */
    double seconds;
} result;

/* ---- what is made before training ---- */

static tr_status write_corpus(const settings *s, const char *dir, tr_error *err)
{
    tr_synth_options o;
    tr_synth_defaults(&o);
    o.clips[0] = s->clips;
    o.clips[1] = s->test_clips;
    o.clips[2] = s->test_clips;
    o.snap_s = 1;
    o.distinct_colours = true;
    o.min_event_s = 2;
    o.min_duration_s = 8;
    o.max_duration_s = 12;
    o.min_events = 1;
    o.max_events = 2;
    return tr_synth_write(&o, dir, err);
}

/* Everything that the model will read or write, as samples for its tokenizer. */
static tr_status collect_texts(const char *rows_path, char ***texts, size_t *count, tr_error *err)
{
    tr_row_list rows = {0};
    size_t capacity = 0;
    tr_status status;
    TR_TRY(tr_row_list_read(rows_path, &rows, err));
    for (size_t i = 0; i < rows.count; i++) {
        TR_TRY(tr_grow(texts, &capacity, *count + 1, sizeof **texts, err));
        const json_t *segment = json_array_get(json_object_get(rows.items[i].json, "segments"), 0);
        (*texts)[*count] =
            tr_format("system\nSay when.\nuser\n%s?\nassistant\n<answer>%.1f to %.1f</answer>",
                      json_string_value(json_object_get(rows.items[i].json, "query")),
                      json_number_value(json_array_get(segment, 0)), json_number_value(json_array_get(segment, 1)));
        if (!(*texts)[*count]) {
            status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
            goto done;
        }
        ++*count;
    }
done:
    tr_row_list_free(&rows);
    return status;
}

static tr_status make_tokenizer(const char *rows_path, const char *dir, tr_error *err)
{
    char **texts = NULL;
    size_t count = 0;
    tr_train_bpe_options options = {.vocab_size = 0}; /* a word is one token: less for a tiny model to learn */
    tr_status status = collect_texts(rows_path, &texts, &count, err);
    if (!status) {
        status = tr_train_bpe((const char *const *)texts, count, &options, dir, err);
    }
    tr_names_free(texts, count);
    return status;
}

static void set_special_ids(const tr_tokenizer *tokenizer, tr_model_config *config)
{
    config->image_id = tr_tokenizer_id(tokenizer, "<|image_pad|>");
    config->video_id = tr_tokenizer_id(tokenizer, "<|video_pad|>");
    config->vision_start_id = tr_tokenizer_id(tokenizer, "<|vision_start|>");
    config->vision_end_id = tr_tokenizer_id(tokenizer, "<|vision_end|>");
    config->eos_id = tr_tokenizer_id(tokenizer, "<|im_end|>");
    config->bos_id = config->pad_id = tr_tokenizer_id(tokenizer, "<|endoftext|>");
    config->end_ids[0] = config->eos_id;
    config->end_count = 1;
}

static tr_status make_model(const char *tokenizer_dir, const char *dir, uint64_t seed, tr_error *err)
{
    tr_model_config config;
    tr_model_options options = {.dtype = TR_F32};
    tr_tokenizer *tokenizer = NULL;
    tr_model *model = NULL;
    tr_status status;
    TR_TRY(tr_tokenizer_load(tokenizer_dir, &tokenizer, err));
    TR_TRY(tr_model_config_preset("tiny", &config, err));
    config.vocab = (int64_t)(tr_tokenizer_size(tokenizer) + 15) / 16 * 16;
    set_special_ids(tokenizer, &config);
    TR_TRY(tr_model_create(&config, &options, seed, &model, err));
    TR_TRY(tr_model_save(model, dir, TR_F32, 0, tokenizer_dir, err));
done:
    tr_model_free(model);
    tr_tokenizer_free(tokenizer);
    return status;
}

/* ---- evaluation ---- */

static tr_status evaluate(const settings *s, const char *model_dir, const char *out, json_t **metrics,
                          tr_error *err)
{
    tr_session session = {0};
    tr_source *source = NULL;
    char *rows = tr_format("%s/corpus/%s.jsonl", s->out, s->split), *videos = tr_format("%s/corpus/videos", s->out);
    char *prompt = tr_format("%s/prompt.yaml", s->out), *cache = tr_format("%s/cache", s->out);
    tr_session_settings how;
    tr_session_defaults(&how);
    how.model = model_dir;
    how.total_pixels = 1568;
    how.min_pixels = 784;
    how.max_frames = 24;
    how.max_tokens = 24;
    how.cache = cache;
    how.quiet = s->quiet;
    tr_status status;
    if (!rows || !videos || !prompt || !cache) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    tr_data_entry entry = {.rows = rows, .videos = videos, .weight = 1, .reward = "tempr1", .prompt = prompt};
    TR_TRY(tr_session_open(&how, &session, err));
    tr_source_options options = tr_session_source(&how, &session, &entry);
    TR_TRY(tr_source_open(&options, &source, err));
    tr_network_limits limits;
    tr_eval_limits(source, 16, 1, how.max_tokens, &limits);
    TR_TRY(tr_session_network(&session, &limits, err));
    tr_eval_options eval = {.sampling = session.sampling, .seed = 1, .out = out, .label = "evaluation"};
    TR_TRY(tr_eval_run(&session.evaluator, source, &eval, metrics, err));
done:
    free(rows);
    free(videos);
    free(prompt);
    free(cache);
    tr_source_free(source);
    tr_session_close(&session);
    return status;
}

/* The rows' IoUs in the order of predictions.jsonl, which is that of the rows. */
static tr_status read_ious(const char *dir, double **values, size_t *count, tr_error *err)
{
    char *path = tr_path_join(dir, "predictions.jsonl");
    FILE *f = path ? fopen(path, "rb") : NULL;
    tr_buffer line = {0};
    size_t capacity = 0;
    tr_status status = f ? TR_OK : tr_fail(err, TR_NOT_FOUND, path, "cannot be opened");
    for (bool got = true; !status && got;) {
        json_t *row = NULL;
        TR_TRY(tr_file_read_line(f, 0, &line, &got, err));
        if (got) {
            TR_TRY(tr_json_parse(tr_buffer_text(&line), line.length, path, (long)*count, &row, err));
            status = tr_grow(values, &capacity, *count + 1, sizeof **values, err);
            if (!status) {
                (*values)[(*count)++] = json_number_value(json_object_get(row, "iou"));
            }
            json_decref(row);
        }
    }
done:
    if (f) {
        fclose(f);
    }
    tr_buffer_free(&line);
    free(path);
    return status;
}

static tr_status compare_stages(const char *before, const char *after, result *r, int stage, tr_error *err)
{
    double *a = NULL, *b = NULL;
    size_t n = 0, m = 0;
    tr_bootstrap gain;
    tr_status status;
    TR_TRY(read_ious(before, &a, &n, err));
    TR_TRY(read_ious(after, &b, &m, err));
    if (n != m) {
        status = tr_fail(err, TR_MISMATCH, after, "%zu rows were answered, %zu before", m, n);
        goto done;
    }
    TR_TRY(tr_bootstrap_paired(b, a, n, TR_BOOTSTRAP_RESAMPLES, 0.95, 1, &gain, err));
    r->gain[stage] = gain.mean;
    r->low[stage] = gain.low;
    r->high[stage] = gain.high;
done:
    free(a);
    free(b);
    return status;
}

/* ---- training ---- */

static char *stage_config(const settings *s, const char *root, const char *model, bool grpo, int64_t seed)
{
    return tr_format("algorithm: %s\n"
                     "model: %s\n"
                     "out: %s/%s\n"
                     "data: [ {rows: %s/corpus/train.jsonl, videos: %s/corpus/videos, reward: tempr1, prompt: "
                     "%s/prompt.yaml} ]\n"
                     "video: {fps: 2, max_frames: 24, total_pixels: 1568, min_pixels: 784, cache: %s/cache}\n"
                     "rollout: {group: 8, temperature: 1.0, max_tokens: 24}\n"
                     "grpo: {prompts_per_step: %d, kl: %g}\nsft: {share_clip: false}\n"
                     "optim: {lr: %g, schedule: %s, warmup_steps: %d, betas: [0.9, 0.99]}\n"
                     "train: {dtype: f32, recompute: none, steps: %lld, seed: %lld, save_every: 0, keep: 1}\n",
                     grpo ? "grpo" : "sft", model, root, grpo ? "grpo" : "sft", s->out, s->out, s->out, s->out, 32,
                     grpo ? s->kl : 0.0, grpo ? s->grpo_lr : s->sft_lr, grpo ? "constant" : "cosine", grpo ? 5 : 50,
                     (long long)(grpo ? s->grpo_steps : s->sft_steps), (long long)seed);
}

/* Runs one stage from `model`; *checkpoint (free() frees it) is the folder of the trained model. */
static tr_status train_stage(const settings *s, const char *root, const char *model, bool grpo, int64_t seed,
                             char **checkpoint, tr_error *err)
{
    tr_config_set set = {0};
    json_t *summary = NULL;
    char *text = stage_config(s, root, model, grpo, seed), *folder = tr_path_join(root, grpo ? "grpo" : "sft");
    tr_train_options how = {.quiet = s->quiet, .open_source = tr_train_open_source, .evaluate = tr_eval_run};
    tr_status status;
    *checkpoint = NULL;
    if (!text || !folder) {
        status = tr_fail(err, TR_MEMORY, NULL, "out of memory");
        goto done;
    }
    TR_TRY(tr_directory_remove(folder, err));
    TR_TRY(tr_config_parse(text, strlen(text), "demo", NULL, 0, &set, err));
    TR_TRY(tr_train_run(&set, &how, &summary, err));
    const char *at = json_string_value(json_object_get(json_array_get(summary, 0), "checkpoint"));
    if (!at) {
        status = tr_fail(err, TR_IO, folder, "the run left no checkpoint");
        goto done;
    }
    char *inner = tr_path_join(at, "model");
    *checkpoint = inner && tr_directory_exists(inner) ? inner : tr_strdup(at);
    if (*checkpoint != inner) {
        free(inner);
    }
done:
    json_decref(summary);
    tr_config_set_free(&set);
    free(text);
    free(folder);
    return status;
}

static tr_status run_seed(const settings *s, int64_t seed, result *r, tr_error *err)
{
    char *root = tr_format("%s/seed-%lld", s->out, (long long)seed), *dirs[STAGES] = {0}, *models[STAGES] = {0};
    char *tokenizer = tr_path_join(s->out, "tokenizer");
    double start = tr_time_s();
    tr_status status = root && tokenizer ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    for (int stage = 0; !status && stage < STAGES; stage++) {
        dirs[stage] = tr_format("%s/eval-%s", root, stage_dirs[stage]);
        if (stage == 0) {
            models[0] = tr_path_join(root, "model");
            TR_TRY(tr_directory_make(root, err));
            TR_TRY(make_model(tokenizer, models[0], (uint64_t)seed, err));
        } else {
            TR_TRY(train_stage(s, root, models[stage - 1], stage == 2, seed, &models[stage], err));
        }
        TR_TRY(evaluate(s, models[stage], dirs[stage], &r->metrics[stage], err));
        if (stage) {
            TR_TRY(compare_stages(dirs[stage - 1], dirs[stage], r, stage, err));
        }
    }
    r->seconds = tr_time_s() - start;
done:
    for (int i = 0; i < STAGES; i++) {
        free(dirs[i]);
        free(models[i]);
    }
    free(tokenizer);
    free(root);
    return status;
}

/* ---- the table ---- */

static double number(const json_t *metrics, const char *key)
{
    return json_number_value(json_object_get(json_object_get(metrics, "tg"), key));
}

static double bound(const json_t *metrics, size_t which)
{
    return json_number_value(
        json_array_get(json_object_get(json_object_get(metrics, "tg"), "miou_interval"), which));
}

static void print_results(const settings *s, const result *results)
{
    printf("| seed | model | mIoU [95 %% interval] | R1@0.3 | R1@0.5 | R1@0.7 | format | gain in mIoU [paired 95 "
           "%%] |\n"
           "|---|---|---|---|---|---|---|---|\n");
    for (int64_t i = 0; i < s->seeds; i++) {
        for (int stage = 0; stage < STAGES; stage++) {
            const json_t *m = results[i].metrics[stage];
            printf("| %lld | %s | %.3f [%.3f, %.3f] | %.3f | %.3f | %.3f | %.3f | ", (long long)s->seed + i,
                   stage_names[stage], number(m, "miou"), bound(m, 0), bound(m, 1), number(m, "r1@0.3"),
                   number(m, "r1@0.5"), number(m, "r1@0.7"), number(m, "format_rate"));
            if (stage) {
                printf("%+.3f [%+.3f, %+.3f] |\n", results[i].gain[stage], results[i].low[stage],
                       results[i].high[stage]);
            } else {
                printf("|\n");
            }
        }
    }
    printf("\n%.0f held-out questions; learned means that the interval of the gain leaves out 0.\n"
           "runs, checkpoints and predictions: %s/seed-N\n"
           "curves: %s/seed-N/sft/curves.svg, %s/seed-N/grpo/curves.svg\n",
           number(results[0].metrics[0], "rows"), s->out, s->out, s->out);
}

static tr_status print_json(const settings *s, const result *results, tr_error *err)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < s->seeds; i++) {
        json_t *stages = json_array();
        for (int stage = 0; stage < STAGES; stage++) {
            json_array_append_new(stages,
                                  json_pack("{s:s, s:O, s:f, s:[f, f]}", "stage", stage_names[stage], "metrics",
                                            results[i].metrics[stage], "gain", results[i].gain[stage],
                                            "gain_interval", results[i].low[stage], results[i].high[stage]));
        }
        json_array_append_new(list, json_pack("{s:I, s:f, s:o}", "seed", (json_int_t)s->seed + i, "seconds",
                                              results[i].seconds, "stages", stages));
    }
    tr_status status = tr_cli_print_json(list, err);
    json_decref(list);
    return status;
}

static tr_status prepare(const settings *s, tr_error *err)
{
    char *corpus = tr_path_join(s->out, "corpus"), *rows = tr_path_join(s->out, "corpus/train.jsonl");
    char *tokenizer = tr_path_join(s->out, "tokenizer"), *prompt = tr_path_join(s->out, "prompt.yaml");
    tr_status status =
        corpus && rows && tokenizer && prompt ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    if (!status) {
        TR_TRY(tr_directory_make(s->out, err));
        TR_TRY(write_corpus(s, corpus, err));
        TR_TRY(tr_file_write_atomic(prompt, prompt_text, sizeof prompt_text - 1, err));
        TR_TRY(make_tokenizer(rows, tokenizer, err));
    }
done:
    free(corpus);
    free(rows);
    free(tokenizer);
    free(prompt);
    return status;
}

static int run(int argc, char **argv)
{
    const tr_command *self = &tr_command_demo;
    settings s = {.out = "tempr1-demo",
                  .split = "test",
                  .seeds = 1,
                  .seed = 1,
                  .sft_steps = 200,
                  .grpo_steps = 120,
                  .clips = 800,
                  .test_clips = 200,
                  .sft_lr = 2e-3,
                  .grpo_lr = 3e-4,
                  .kl = 0.005};
    const tr_option options[] = {
        {"out", TR_OPTION_TEXT, &s.out, "DIR", "Where everything goes. Default tempr1-demo.", 0, 0, false},
        {"seeds", TR_OPTION_INT, &s.seeds, "N", "Whole runs with the seeds seed, seed+1, ... Default 1.", 1, 64,
         false},
        {"seed", TR_OPTION_INT, &s.seed, "N", "First seed of weights, order and sampling. Default 1.", 0, 1e9,
         false},
        {"split", TR_OPTION_TEXT, &s.split, "NAME",
         "Split that is evaluated: test, or tune to try settings. Default test.", 0, 0, false},
        {"clips", TR_OPTION_INT, &s.clips, "N", "Training clips. Default 800.", 16, 1e6, false},
        {"test-clips", TR_OPTION_INT, &s.test_clips, "N", "Held-out clips. Default 200.", 8, 1e6, false},
        {"sft-steps", TR_OPTION_INT, &s.sft_steps, "N", "Steps of the SFT start. Default 200.", 1, 1e7, false},
        {"grpo-steps", TR_OPTION_INT, &s.grpo_steps, "N", "Steps of GRPO. Default 120.", 1, 1e7, false},
        {"sft-lr", TR_OPTION_DOUBLE, &s.sft_lr, "X", "Learning rate of SFT. Default 0.002.", 0, 1, false},
        {"grpo-lr", TR_OPTION_DOUBLE, &s.grpo_lr, "X", "Learning rate of GRPO. Default 0.0003.", 0, 1, false},
        {"kl", TR_OPTION_DOUBLE, &s.kl, "X", "Weight of the KL term of GRPO. Default 0.005.", 0, 10, false},
        {"quiet", TR_OPTION_FLAG, &s.quiet, NULL, "No progress bars and step lines.", 0, 0, false},
        {"json", TR_OPTION_FLAG, &s.json, NULL, "Print JSON instead of the table.", 0, 0, false},
        {0},
    };
    char **arguments;
    int count, exit_status = tr_cli_parse(self, options, argc, argv, 0, 0, &arguments, &count);
    if (exit_status >= 0) {
        return exit_status;
    }
    tr_error err = {0};
    result *results = calloc((size_t)s.seeds, sizeof *results);
    char *absolute = NULL;
    tr_status status = results ? TR_OK : tr_fail(&err, TR_MEMORY, NULL, "out of memory");
    if (!status) {
        TR_TRY(tr_directory_make(s.out, &err));
        absolute = realpath(s.out, NULL); /* configurations resolve paths against their own folder */
        s.out = absolute ? absolute : s.out;
        TR_TRY(prepare(&s, &err));
    }
    for (int64_t i = 0; !status && i < s.seeds; i++) {
        fprintf(stderr, "seed %lld\n", (long long)s.seed + i);
        status = run_seed(&s, s.seed + i, &results[i], &err);
    }
    if (!status && s.json) {
        status = print_json(&s, results, &err);
    } else if (!status) {
        print_results(&s, results);
    }
done:
    for (int64_t i = 0; results && i < s.seeds; i++) {
        for (int stage = 0; stage < STAGES; stage++) {
            json_decref(results[i].metrics[stage]);
        }
    }
    free(results);
    free(absolute);
    return status ? tr_cli_fail(self, &err) : TR_EXIT_DONE;
}
