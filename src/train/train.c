/* train.c: runs the stages of a configuration one after the other.
 *
 * A stage: lock the folder, make the trainer, go on from the newest checkpoint when asked, then step after step:
 * work, log, evaluate, save. The stop flag is looked at between steps. */
#include "train/train.h"

#include "base/file.h"
#include "base/memory.h"
#include "train/origin.h"
#include "train/plan.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SKIPS_IN_A_ROW = 20 }; /* after so many steps without an update nothing will get better */

tr_status tr_train_open_source(void *context, const tr_config *config, const tr_model_config *model, bool eval,
                               tr_source **source, tr_error *err)
{
    const char *model_dir = context ? context : config->model;
    char *tokenizer = NULL;
    tr_status status = tr_lora_tokenizer(config->tokenizer ? config->tokenizer : model_dir, &tokenizer, err);
    if (status) {
        return status;
    }
    tr_source_options options = {
        .model = model,
        .tokenizer = tokenizer,
        .video = tr_plan_video(config),
        .entries = eval ? config->eval : config->data,
        .entry_count = eval ? config->eval_count : config->data_count,
        .targets = eval ? config->train.eval_loss_every > 0
                        : config->algorithm == TR_ALGORITHM_SFT || config->grpo.off_policy,
    };
    status = tr_source_open(&options, source, err);
    if (status && err && !err->where[0]) { /* such as an unknown scheme or prompt set, found before any row */
        tr_fail_where(err, status, "%s", eval ? "eval" : "data");
    }
    free(tokenizer);
    return status;
}

/* ---- the run's folder ---- */

static tr_status lock_run(const char *out, int *lock, tr_error *err)
{
    char *path = tr_path_join(out, "lock");
    tr_status status = path ? tr_directory_make(out, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    status = status ? status : tr_file_lock(path, lock, err);
    free(path);
    return status;
}

static tr_status refuse_used_folder(const tr_config *config, tr_error *err)
{
    char *metrics = tr_path_join(config->out, "metrics.jsonl"),
         *checkpoints = tr_path_join(config->out, "checkpoints");
    bool used = metrics && checkpoints && (tr_file_exists(metrics) || tr_file_exists(checkpoints));
    free(metrics);
    free(checkpoints);
    return used ? tr_fail(err, TR_INVALID, config->out,
                          "this folder already holds a run: --resume continues it, another 'out' starts a new one")
                : TR_OK;
}

static tr_status write_config(tr_trainer *t)
{
    tr_buffer text = {0};
    char *path = tr_path_join(t->config->out, "config.yaml");
    tr_status status =
        path ? tr_config_to_yaml(t->config, &text, t->err) : tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
    status = status ? status : tr_file_write_atomic(path, tr_buffer_text(&text), text.length, t->err);
    tr_buffer_free(&text);
    free(path);
    return status;
}

/* Goes on from the newest checkpoint, if there is one. */
static tr_status resume(tr_trainer *t)
{
    char *checkpoint = NULL;
    int64_t step;
    tr_error why = {0};
    tr_status status = tr_train_newest_checkpoint(t->config->out, &checkpoint, &step, &why);
    if (status == TR_NOT_FOUND) {
        fprintf(stderr, "%s: no checkpoint to resume from: starting at the beginning\n", t->config->out);
        return TR_OK;
    }
    status = status ? tr_fail(t->err, status, why.where, "%s", why.message) : tr_trainer_restore(t, checkpoint);
    free(checkpoint);
    return status;
}

/* A process that was killed between a checkpoint and its mark left the mark on the one before. */
static void mark_best_again(const tr_trainer *t)
{
    char *path = tr_format("%s/checkpoints/step-%lld", t->config->out, (long long)t->saving.best_step);
    if (path && t->saving.best_step && tr_directory_exists(path)) {
        tr_checkpoint_mark_best(t->config->out, t->saving.best_step, NULL);
    }
    free(path);
}

static tr_status begin(tr_trainer *t)
{
    tr_status status;
    double begun_s = tr_time_s();
    TR_TRY(tr_checkpoint_clean(t->config->out, t->err));
    TR_TRY(tr_config_to_json(t->config, &t->resolved, t->err));
    TR_TRY(tr_origin_read(t->config, t->model_dir, &t->saving.origin, t->err));
    TR_TRY(t->options->resume ? resume(t) : TR_OK);
    TR_TRY(write_config(t));
    TR_TRY(tr_trainer_save_open(t));
    t->first_step = t->step;
    t->start_s = tr_time_s();
    TR_TRY(tr_trainer_open_logs(t, t->step));
    if (t->first_step) {
        mark_best_again(t);
    }
    if (t->first_step && !t->options->quiet) {
        fprintf(stderr, "resumed from step %lld of %s in %.3f s\n", (long long)t->step, t->config->out,
                tr_time_s() - begun_s);
    }
done:
    return status;
}

/* ---- steps ---- */

static tr_status evaluate(tr_trainer *t, json_t **metrics)
{
    char *out = tr_format("%s/eval/step-%lld", t->config->out, (long long)t->step);
    json_t *card = json_pack("{s:I, s:s}", "step", (json_int_t)t->step, "run", t->config->out);
    tr_evaluator evaluator = {t->model, t->network, t->limits, t->features};
    tr_eval_options options = {.sampling = {.temperature = 0,
                                            .top_p = 1,
                                            .max_tokens = t->config->rollout.max_tokens,
                                            .banned = t->eval_source->banned,
                                            .end_ids = t->sampling.end_ids,
                                            .end_count = t->sampling.end_count},
                               .out = out,
                               .label = "evaluation",
                               .card = card,
                               .feature_version = t->version};
    tr_status status = out ? t->options->evaluate(&evaluator, t->eval_source, &options, metrics, t->err)
                           : tr_fail(t->err, TR_MEMORY, NULL, "out of memory");
    json_decref(card);
    free(out);
    return status;
}

static bool due(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

tr_status tr_trainer_step(tr_trainer *t, tr_step_report *report)
{
    bool grpo = t->config->algorithm == TR_ALGORITHM_GRPO;
    tr_status status = grpo ? tr_trainer_step_grpo(t, report) : tr_trainer_step_sft(t, report);
    if (!status && t->rollouts) {
        status = tr_trainer_log_rollouts(t); /* before the step counts as done */
    }
    if (!status) {
        t->step++;
        t->skipped_steps += report->skipped;
        t->skipped_in_a_row = report->skipped ? t->skipped_in_a_row + 1 : 0;
    }
    return status;
}

/* What is due after this step, and at the end, on the eval rows. */
static tr_status measure(tr_trainer *t, json_t **metrics)
{
    const tr_config *c = t->config;
    bool last = t->step == t->steps;
    tr_status status = TR_OK;
    if (c->train.eval_every && t->options->evaluate && (due(t->step, c->train.eval_every) || last)) {
        status = evaluate(t, metrics);
        json_object_del(status ? NULL : *metrics, "protocol"); /* it stands in eval/step-N */
    }
    if (!status && c->train.eval_loss_every && (due(t->step, c->train.eval_loss_every) || last)) {
        status = tr_trainer_eval_loss(t, metrics);
    }
    return status;
}

/* One step with everything around it. */
static tr_status one_step(tr_trainer *t, json_t **last)
{
    tr_step_report report = {0};
    json_t *metrics = NULL;
    double start_s = tr_time_s();
    tr_status status;
    TR_TRY(tr_trainer_step(t, &report));
    bool end = t->step == t->steps || (t->options->stop && *t->options->stop);
    TR_TRY(measure(t, &metrics));
    bool strict = report.skipped && t->options->strict;
    TR_TRY(tr_trainer_save_check(t));
    bool save = !strict && tr_trainer_save_due(t, metrics, end);
    if (save) {
        TR_TRY(tr_trainer_save_take(t));
    }
    report.seconds.save = t->saving.held_s;
    t->saving.held_s = 0;
    report.seconds.total = tr_time_s() - start_s;
    TR_TRY(tr_trainer_log_step(t, &report, metrics, last));
    tr_trainer_save_score(t, *last);
    if (save) {
        TR_TRY(tr_trainer_save_begin(t));
    }
    if (strict) {
        status = tr_fail(t->err, TR_NUMERIC, NULL, "step %lld: %s, and --strict stops there", (long long)t->step,
                         report.reason);
    } else if (t->skipped_in_a_row >= SKIPS_IN_A_ROW) {
        status = tr_fail(t->err, TR_NUMERIC, NULL,
                         "%d steps in a row made no update (%s): a lower optim.lr, or an earlier checkpoint, may "
                         "help",
                         SKIPS_IN_A_ROW, report.reason);
    }
done:
    json_decref(metrics);
    return status;
}

static json_t *stage_summary(const tr_trainer *t, const char *checkpoint, json_t *last)
{
    json_t *o = json_object();
    json_object_set_new(o, "algorithm", json_string(t->config->algorithm == TR_ALGORITHM_SFT ? "sft" : "grpo"));
    json_object_set_new(o, "out", json_string(t->config->out));
    json_object_set_new(o, "steps", json_integer(t->step));
    json_object_set_new(o, "checkpoint", checkpoint ? json_string(checkpoint) : json_null());
    json_object_set_new(o, "seconds", json_real(t->elapsed_s + tr_time_s() - t->start_s));
    json_object_set_new(o, "save_seconds", json_real(t->saving.total_s));
    json_object_set_new(o, "skipped_steps", json_integer(t->skipped_steps));
    json_object_set_new(o, "skipped_rows", json_integer(t->skipped_rows));
    json_object_set_new(o, "last", last ? json_incref(last) : json_null());
    return o;
}

static tr_status steps(tr_trainer *t, json_t **last)
{
    tr_status status = TR_OK;
    while (!status && t->step < t->steps) {
        status = one_step(t, last);
        if (!status && t->step < t->steps && t->options->stop && *t->options->stop) {
            status = tr_fail(t->err, TR_INTERRUPTED, t->config->out,
                             "stopped after step %lld of %lld; --resume goes on from there", (long long)t->step,
                             (long long)t->steps);
        }
    }
    return status;
}

/* Waits for the last checkpoint; a failure of the steps is the one that is told. */
static tr_status finish(tr_trainer *t, tr_status status)
{
    tr_error before = *t->err;
    tr_status saved = tr_trainer_save_finish(t);
    if (!status || (saved && status == TR_INTERRUPTED)) {
        return saved;
    }
    if (saved) {
        fprintf(stderr, "the last checkpoint was not written: %s\n", t->err->message);
    }
    *t->err = before;
    return status;
}

/* Runs one stage from the weights in model_dir. *checkpoint (free() frees it) is its last one. */
static tr_status run_stage(const tr_config *config, const char *model_dir, const tr_train_options *options,
                           char **checkpoint, json_t *summaries, tr_error *err)
{
    tr_trainer t;
    json_t *last = NULL;
    int64_t step;
    *checkpoint = NULL;
    memset(&t, 0, sizeof t);
    t.lock = -1;
    int lock;
    tr_status status;
    if (!options->resume) {
        TR_TRY(refuse_used_folder(config, err));
    }
    TR_TRY(lock_run(config->out, &lock, err));
    status = tr_trainer_create(&t, config, model_dir, options, err);
    t.lock = lock;
    if (status) {
        goto done;
    }
    TR_TRY(begin(&t));
    if (!options->quiet) {
        fprintf(stderr, "%s: %lld steps of %lld %s, %lld rows an epoch, into %s\n",
                config->algorithm == TR_ALGORITHM_SFT ? "sft" : "grpo", (long long)t.steps, (long long)t.prompts,
                config->algorithm == TR_ALGORITHM_SFT ? "rows" : "prompts", (long long)t.order.length, config->out);
    }
    status = steps(&t, &last);
    status = finish(&t, status);
    tr_error curves = {0};
    if ((!status || status == TR_INTERRUPTED) && tr_train_curves(config->out, &curves)) {
        fprintf(stderr, "curves.svg was not written: %s\n", curves.message);
    }
    if (!status || status == TR_INTERRUPTED) {
        tr_train_newest_checkpoint(config->out, checkpoint, &step, NULL);
    }
    json_array_append_new(summaries, stage_summary(&t, *checkpoint, last));
done:
    json_decref(last);
    tr_trainer_free(&t);
    return status;
}

tr_status tr_train_run(const tr_config_set *set, const tr_train_options *options, json_t **summary, tr_error *err)
{
    char *from = tr_strdup(set->stages[0].model);
    tr_status status = from ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    *summary = json_array();
    for (size_t i = 0; !status && i < set->count; i++) {
        tr_config config = set->stages[i]; /* a later stage starts where the one before ended */
        char *checkpoint;
        config.model = from;
        if (!options->quiet && set->count > 1) {
            fprintf(stderr, "stage %zu of %zu\n", i + 1, set->count);
        }
        status = run_stage(&config, from, options, &checkpoint, *summary, err);
        if (checkpoint) {
            free(from);
            from = checkpoint;
        }
    }
    free(from);
    return status;
}
