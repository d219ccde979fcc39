/* save.c: when a run writes checkpoints: the training's side of it.
 *
 * The training stops for the copy of its state only (seconds.save); the saver's thread writes. */
#include "train/trainer.h"

#include "base/file.h"
#include "base/memory.h"
#include "train/origin.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAILURES_IN_A_ROW = 3 }; /* a run that cannot be saved is worth little: it ends */

tr_status tr_trainer_save_open(tr_trainer *t)
{
    tr_saving *s = &t->saving;
    s->begun_s = tr_time_s();
    const bool copies = t->config->train.save_mode == TR_SAVE_BESIDE;
    const char *folder = t->config->train.offload & TR_OFFLOAD_MOMENTS ? t->config->out : NULL;
    tr_status status = tr_snapshot_create(&s->snapshot, t->model, copies, folder, t->err);
    return status ? status : tr_saver_create(&s->saver, t->err);
}

void tr_trainer_save_close(tr_trainer *t)
{
    tr_saving *s = &t->saving;
    tr_saver_free(s->saver);
    tr_snapshot_free(&s->snapshot);
    json_decref(s->checkpoint.state);
    json_decref(s->origin);
    memset(s, 0, sizeof *s);
}

/* ---- the best ---- */

/* "-eval.loss": lower is better. NULL: no best is kept. */
static const char *score_key(const tr_trainer *t, double *sign)
{
    const char *key = t->config->train.keep_best;
    *sign = key && key[0] == '-' ? -1 : 1;
    return key && key[0] == '-' ? key + 1 : key;
}

static bool is_of_evaluation(const char *key)
{
    return key && !strncmp(key, "eval.", 5);
}

/* A number by its dotted path; names may hold dots ("tIoU@0.5"): the longest member that fits is taken. */
static const json_t *find_number(const json_t *object, const char *path)
{
    const json_t *whole = json_object_get(object, path);
    if (json_is_number(whole)) {
        return whole;
    }
    for (size_t n = strlen(path); n-- > 1;) {
        char name[128];
        if (path[n] == '.' && n < sizeof name) {
            memcpy(name, path, n);
            name[n] = 0;
            const json_t *found = find_number(json_object_get(object, name), path + n + 1);
            if (found) {
                return found;
            }
        }
    }
    return NULL;
}

static void add_names(const json_t *object, const char *prefix, tr_buffer *out)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        char path[256];
        snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] ? "." : "", name);
        if (json_is_object(value)) {
            add_names(value, path, out);
        } else if (json_is_number(value)) {
            tr_buffer_printf(out, NULL, "%s%s", out->length ? ", " : "", path);
        }
    }
}

void tr_trainer_save_score(tr_trainer *t, const json_t *metrics)
{
    tr_saving *s = &t->saving;
    double sign;
    const char *key = score_key(t, &sign);
    if (!key || (is_of_evaluation(key) && !json_object_get(metrics, "eval"))) {
        return;
    }
    const json_t *value = find_number(metrics, key);
    if (value && is_of_evaluation(key)) {
        s->score_sum = json_number_value(value);
        s->score_count = 1;
    } else if (value) {
        s->score_sum += json_number_value(value);
        s->score_count++;
    } else if (!s->warned) {
        tr_buffer names = {0};
        add_names(metrics, "", &names);
        fprintf(stderr, "train.keep_best: step %lld has no number '%s'; there are: %s\n", (long long)t->step, key,
                tr_buffer_text(&names));
        tr_buffer_free(&names);
        s->warned = true;
    }
}

/* Closes the score of this checkpoint; null when there is none. */
static json_t *judge(tr_trainer *t)
{
    tr_saving *s = &t->saving;
    double sign, score = s->score_count ? s->score_sum / (double)s->score_count : NAN;
    s->previous_step = s->best_step;
    s->previous_score = s->best_score;
    s->previous_sum = s->score_sum;
    s->previous_count = s->score_count;
    if (score_key(t, &sign) && isfinite(score) && (!s->best_step || sign * score > sign * s->best_score)) {
        s->best_step = t->step;
        s->best_score = score;
    }
    s->score_sum = 0;
    s->score_count = 0;
    return isfinite(score) ? json_real(score) : json_null();
}

/* ---- the state beside the tensors ---- */

static json_t *counters(tr_trainer *t)
{
    const tr_saving *s = &t->saving;
    json_t *o = json_object(), *score = judge(t);
    json_object_set_new(o, "version", json_integer(TR_STATE_VERSION));
    json_object_set_new(o, "program", json_string("tempr1 " TEMPR1_VERSION));
    json_object_set_new(o, "step", json_integer(t->step));
    json_object_set_new(o, "steps", json_integer(t->steps));
    json_object_set_new(o, "updates", json_integer(t->optimiser.step));
    json_object_set_new(o, "position", json_integer(t->order.position));
    json_object_set_new(o, "skipped_steps", json_integer(t->skipped_steps));
    json_object_set_new(o, "skipped_in_a_row", json_integer(t->skipped_in_a_row));
    json_object_set_new(o, "skipped_rows", json_integer(t->skipped_rows));
    json_object_set_new(o, "elapsed_s", json_real(t->elapsed_s + tr_time_s() - t->start_s));
    json_object_set_new(o, "algorithm", tr_algorithm_state_to_json(&t->algorithm));
    json_object_set_new(o, "score", score);
    json_object_set_new(o, "best",
                        s->best_step
                            ? json_pack("{s:I, s:f}", "step", (json_int_t)s->best_step, "score", s->best_score)
                            : json_null());
    json_object_set_new(o, "log_bytes",
                        json_pack("[I, I]", (json_int_t)(t->metrics ? ftell(t->metrics) : 0),
                                  (json_int_t)(t->rollouts ? ftell(t->rollouts) : 0)));
    json_object_set_new(o, "origin", json_deep_copy(s->origin)); /* nothing is shared with the thread */
    json_object_set_new(o, "config", json_deep_copy(t->resolved));
    return o;
}

/* ---- when, and the three parts ---- */

bool tr_trainer_save_due(const tr_trainer *t, bool evaluated, bool end)
{
    const tr_config *c = t->config;
    double sign;
    bool by_step = c->train.save_every > 0 && t->step % c->train.save_every == 0;
    bool by_time = c->train.save_minutes > 0 && tr_time_s() - t->saving.begun_s >= 60 * c->train.save_minutes;
    return end || by_step || by_time || t->saving.again || (evaluated && is_of_evaluation(score_key(t, &sign)));
}

/* The checkpoint is not there: its score counts for the next try. */
static void take_back(tr_saving *s)
{
    s->again = true;
    s->best_step = s->previous_step;
    s->best_score = s->previous_score;
    s->score_sum += s->previous_sum;
    s->score_count += s->previous_count;
}

/* Looks at how the last checkpoint ended. TR_OK also when it failed and may be tried again. */
static tr_status settle(tr_trainer *t)
{
    tr_saving *s = &t->saving;
    tr_error why = {0};
    tr_status status = s->pending ? tr_saver_wait(s->saver, &why) : TR_OK;
    if (!s->pending) {
        return TR_OK;
    }
    s->pending = false;
    s->failed = status ? s->failed + 1 : 0;
    if (!status) {
        return TR_OK;
    }
    take_back(s);
    if (s->failed >= FAILURES_IN_A_ROW) {
        tr_fail(t->err, status, why.where, "%s", why.message);
        return tr_fail_context(t->err, status,
                               "%d checkpoints in a row could not be written; the one before is whole",
                               FAILURES_IN_A_ROW);
    }
    fprintf(stderr, "the checkpoint of step %lld was not written: %s%s%s; it is tried again after the next step\n",
            (long long)s->checkpoint.step, why.where, why.where[0] ? ": " : "", why.message);
    return TR_OK;
}

tr_status tr_trainer_save_check(tr_trainer *t)
{
    return t->saving.pending && !tr_saver_busy(t->saving.saver) ? settle(t) : TR_OK;
}

static void hold(tr_saving *s, double start_s)
{
    double seconds = tr_time_s() - start_s;
    s->held_s += seconds;
    s->total_s += seconds;
}

tr_status tr_trainer_save_take(tr_trainer *t)
{
    double start_s = tr_time_s();
    tr_status status = settle(t);
    if (!status) {
        tr_snapshot_take(&t->saving.snapshot, t->model);
        status = t->model->ops->memory->check(t->err);
    }
    hold(&t->saving, start_s);
    return status;
}

static tr_status write_it(void *context, tr_error *err)
{
    tr_saving *s = context;
    tr_status status = tr_checkpoint_save(&s->checkpoint, err);
    tr_snapshot_release(&s->snapshot);
#ifdef __GLIBC__
    malloc_trim(0); /* the buffers of the writing: a long run's memory stays flat */
#endif
    return status;
}

tr_status tr_trainer_save_begin(tr_trainer *t)
{
    tr_saving *s = &t->saving;
    double start_s = tr_time_s();
    json_decref(s->checkpoint.state);
    s->checkpoint =
        (tr_checkpoint){.out = t->config->out,
                        .tokenizer = t->tokenizer_dir,
                        .model = &s->snapshot.model,
                        .state = counters(t),
                        .step = t->step,
                        .keep = t->config->train.keep,
                        .best = s->best_step,
                        .logs = {t->metrics ? fileno(t->metrics) : -1, t->rollouts ? fileno(t->rollouts) : -1}};
    s->again = false;
    s->begun_s = start_s;
    const bool wait = t->config->train.save_mode == TR_SAVE_WAIT;
    tr_status status = (wait ? tr_saver_do : tr_saver_begin)(s->saver, write_it, s, t->err);
    s->pending = !status;
    if (!status && wait) {
        status = settle(t);
    }
    hold(s, start_s);
    return status;
}

tr_status tr_trainer_save_finish(tr_trainer *t)
{
    tr_saving *s = &t->saving;
    double start_s = tr_time_s();
    tr_status status = s->pending ? tr_saver_wait(s->saver, t->err) : TR_OK;
    if (!status && s->again) { /* it had failed before: once more, for the last time */
        tr_snapshot_take(&s->snapshot, t->model);
        status = tr_trainer_save_begin(t);
        status = status ? status : tr_saver_wait(s->saver, t->err);
    }
    s->pending = false;
    hold(s, start_s);
    return status;
}
