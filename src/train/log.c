/* log.c: metrics.jsonl, rollouts.jsonl, event files for TensorBoard and the line per step on stderr.
 *
 * A number that was not measured is null in the files and n/a in the line. */
#include "train/trainer.h"

#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- files ---- */

/* Cuts a log of lines {"step": N, ...} behind the last whole line with N <= last_step. The first `known` bytes are
 * such lines, as a checkpoint remembers; 0: not known. */
static tr_status cut(const char *path, int64_t last_step, int64_t known, tr_error *err)
{
    FILE *f = fopen(path, "r");
    tr_buffer line = {0};
    bool got = false;
    long keep = 0;
    tr_status status = TR_OK;
    if (!f) {
        return TR_OK; /* nothing to cut */
    }
    if (known > 0 && !fseek(f, (long)known - 1, SEEK_SET) && fgetc(f) == '\n') {
        keep = (long)known;
    } else {
        rewind(f);
    }
    while (!(status = tr_file_read_line(f, 0, &line, &got, err)) && got) {
        json_t *object = NULL;
        bool whole = !tr_json_parse(tr_buffer_text(&line), line.length, path, 0, &object, NULL);
        json_int_t step = json_integer_value(json_object_get(object, "step"));
        json_decref(object);
        long end = ftell(f);
        whole = whole && end > 0 && !fseek(f, end - 1, SEEK_SET) && fgetc(f) == '\n';
        if (!whole || step > last_step) {
            break;
        }
        keep = end;
    }
    fclose(f);
    tr_buffer_free(&line);
    if (!status && truncate(path, keep)) {
        status = tr_fail(err, TR_IO, path, "cannot be cut: %s", strerror(errno));
    }
    return status;
}

static tr_status open_log(FILE **file, const char *out, const char *name, int64_t last_step, int64_t known,
                          tr_error *err)
{
    char *path = tr_path_join(out, name);
    tr_status status = path ? cut(path, last_step, known, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    if (!status && !(*file = fopen(path, "a"))) {
        status = tr_fail(err, TR_IO, path, "cannot be written: %s", strerror(errno));
    }
    free(path);
    return status;
}

tr_status tr_trainer_open_logs(tr_trainer *t, int64_t last_step)
{
    tr_status status =
        open_log(&t->metrics, t->config->out, "metrics.jsonl", last_step, t->saving.log_bytes[0], t->err);
    if (!status && t->config->algorithm == TR_ALGORITHM_GRPO) {
        status =
            open_log(&t->rollouts, t->config->out, "rollouts.jsonl", last_step, t->saving.log_bytes[1], t->err);
    }
    tr_error why = {0};
    if (!status && tr_events_open(&t->events, t->config->out, last_step, &why)) {
        fprintf(stderr, "no event files for TensorBoard: %s: %s\n", why.where, why.message);
    }
    return status;
}

/* What TensorBoard cannot show must not end a run. */
static void add_events(tr_trainer *t, const json_t *object)
{
    tr_error why = {0};
    if (t->events.path && tr_events_add(&t->events, t->step, object, &why)) {
        fprintf(stderr, "no more event files for TensorBoard: %s: %s\n", why.where, why.message);
        tr_events_close(&t->events, NULL);
    }
}

static tr_status write_line(FILE *file, const char *name, const json_t *object, tr_error *err)
{
    tr_buffer line = {0};
    tr_status status = tr_json_print(object, &line, err);
    if (!status && (fwrite(tr_buffer_text(&line), 1, line.length, file) != line.length ||
                    fputc('\n', file) == EOF || fflush(file))) {
        status = tr_fail(err, TR_IO, name, "cannot be written: %s", strerror(errno));
    }
    tr_buffer_free(&line);
    return status;
}

/* ---- rollouts.jsonl ---- */

static json_t *number_or_null(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *sign_names(unsigned signs)
{
    json_t *list = json_array();
    for (int s = 0; s < TR_WATCH_COUNT; s++) {
        if (signs >> s & 1u) {
            json_array_append_new(list, json_string(tr_watch_name((tr_watch_sign)s)));
        }
    }
    return list;
}

static json_t *response_object(const tr_trainer *t, int64_t i, int64_t r, int64_t at)
{
    const tr_rollout_group *a = &t->answered[i];
    const tr_score *score = &t->scores[i * t->group + r];
    json_t *object = json_object(), *ids = json_array(), *logprobs = json_array(), *parts = json_object();
    for (int64_t k = at; k < at + a->lengths[r]; k++) {
        json_array_append_new(ids, json_integer(a->ids[k]));
        json_array_append_new(logprobs, number_or_null((double)a->logp[k]));
    }
    for (int p = 0; p < score->part_count; p++) {
        json_object_set_new(parts, score->parts[p].name, number_or_null(score->parts[p].value));
    }
    json_object_set_new(object, "step", json_integer(t->step + 1));
    json_object_set_new(object, "row", json_string(t->samples[i].id));
    json_object_set_new(object, "row_index", json_integer(t->samples[i].row));
    json_object_set_new(object, "task", json_string(t->samples[i].task));
    json_object_set_new(object, "scheme", json_string(t->samples[i].scheme));
    json_object_set_new(object, "response", json_integer((json_int_t)t->asked[i].response + r));
    json_object_set_new(object, "text", json_string(t->texts[i * t->group + r]));
    json_object_set_new(object, "ids", ids);
    json_object_set_new(object, "logprobs", logprobs);
    json_object_set_new(object, "reward", number_or_null(score->reward));
    json_object_set_new(object, "parts", parts);
    json_object_set_new(object, "parsed", score->parsed ? json_incref(score->parsed) : json_null());
    json_object_set_new(object, "error", score->error[0] ? json_string(score->error) : json_null());
    json_object_set_new(object, "advantage", number_or_null(t->advantages[i * t->group + r]));
    json_object_set_new(object, "finish",
                        json_string(r >= t->sampled ? "target"
                                    : a->stopped[r] ? "stop"
                                                    : "length"));
    json_object_set_new(object, "watch", sign_names(t->signs[i * t->group + r]));
    return object;
}

tr_status tr_trainer_log_rollouts(tr_trainer *t)
{
    tr_status status = TR_OK;
    for (int64_t i = 0; !status && i < t->prompts; i++) {
        int64_t at = 0;
        for (int64_t r = 0; !status && r < t->group && t->texts[i * t->group + r]; r++) {
            json_t *object = response_object(t, i, r, at);
            if (!json_object_get(object, "text")) { /* bytes that are not UTF-8: said, not lost */
                json_object_set_new(object, "text", json_null());
            }
            status = write_line(t->rollouts, "rollouts.jsonl", object, t->err);
            json_decref(object);
            at += t->answered[i].lengths[r];
        }
    }
    return status;
}

/* ---- metrics.jsonl ---- */

static json_t *means(const tr_named_sum *sums)
{
    json_t *object = json_object();
    for (int i = 0; i < TR_STEP_NAMES && sums[i].count; i++) {
        json_object_set_new(object, sums[i].name, number_or_null(sums[i].sum / (double)sums[i].count));
    }
    return object;
}

static json_t *ratio(double sum, int64_t count)
{
    return count ? number_or_null(sum / (double)count) : json_null();
}

static json_t *watch_object(int64_t watched, const int64_t *watch)
{
    json_t *object = json_object();
    json_object_set_new(object, "responses", json_integer(watched));
    for (int s = 0; s < TR_WATCH_COUNT; s++) {
        json_object_set_new(object, tr_watch_name((tr_watch_sign)s), json_integer(watch[s]));
    }
    return object;
}

/* {"tg": mean reward, ...}; the whole story of each task stands in "tasks". */
static json_t *task_rewards(const tr_step_report *r)
{
    json_t *object = json_object();
    for (int i = 0; i < TR_STEP_TASKS; i++) {
        if (r->tasks[i].responses) {
            json_object_set_new(object, r->tasks[i].name, ratio(r->tasks[i].reward, r->tasks[i].responses));
        }
    }
    return object;
}

static json_t *task_object(const tr_trainer *t, const tr_task_report *r, int64_t step_tokens)
{
    bool sampled = t->config->algorithm == TR_ALGORITHM_GRPO && r->responses;
    json_t *o = json_object();
#define PUT(key, value) json_object_set_new(o, key, value)
    PUT("prompts", json_integer(r->prompts));
    PUT("prompt_tokens", json_integer(r->prompt_tokens));
    if (sampled) {
        PUT("responses", json_integer(r->responses));
        PUT("reward", ratio(r->reward, r->responses));
        PUT("reward_std", ratio(r->reward_std, r->prompts));
        PUT("parts", means(r->parts));
        PUT("format_rate", ratio((double)r->formatted, r->responses));
        PUT("parsed_rate", ratio((double)r->parsed, r->responses));
        PUT("zero_variance_groups", json_integer(r->zero_variance));
        PUT("response_tokens", json_integer(r->response_tokens));
        PUT("response_length", ratio((double)r->response_tokens, r->responses));
        PUT("response_length_min", json_integer(r->shortest));
        PUT("response_length_max", json_integer(r->longest));
        PUT("truncated", json_integer(r->truncated));
        PUT("truncated_rate", ratio((double)r->truncated, r->responses));
        PUT("watch", watch_object(r->watched, r->watch));
    }
    if (t->config->algorithm == TR_ALGORITHM_SFT) { /* the mean over the task's own targets */
        PUT("response_tokens", json_integer(r->tokens));
        PUT("loss", ratio(r->loss * (double)step_tokens, r->tokens));
    } else {
        PUT("kl", t->reference ? ratio(r->kl, r->tokens) : json_null());
    }
    PUT("entropy", ratio(r->entropy, r->tokens));
#undef PUT
    return o;
}

static json_t *task_objects(const tr_trainer *t, const tr_step_report *r)
{
    json_t *object = json_object();
    for (int i = 0; i < TR_STEP_TASKS; i++) {
        if (r->tasks[i].name[0]) {
            json_object_set_new(object, r->tasks[i].name, task_object(t, &r->tasks[i], r->response_tokens));
        }
    }
    return object;
}

static json_t *seconds_object(const tr_step_seconds *s)
{
    json_t *object = json_object();
    json_object_set_new(object, "decode", json_real(s->decode));
    json_object_set_new(object, "vision", json_real(s->vision));
    json_object_set_new(object, "prefill", json_real(s->prefill));
    json_object_set_new(object, "rollout", json_real(s->rollout));
    json_object_set_new(object, "reference", json_real(s->reference));
    json_object_set_new(object, "update", json_real(s->update));
    json_object_set_new(object, "save", json_real(s->save));
    json_object_set_new(object, "stall", json_real(s->stall));
    json_object_set_new(object, "total", json_real(s->total));
    return object;
}

static json_t *step_object(const tr_trainer *t, const tr_step_report *r)
{
    bool grpo = t->config->algorithm == TR_ALGORITHM_GRPO, sampled = grpo && r->responses;
    const tr_policy_sums *s = &r->sums;
    json_t *o = json_object();
#define PUT(key, value) json_object_set_new(o, key, value)
    PUT("step", json_integer(t->step));
    PUT("epoch", json_real((double)t->order.position / (double)t->order.length));
    PUT("reward", sampled ? ratio(r->reward, r->responses) : json_null());
    PUT("reward_std", sampled ? ratio(r->reward_std, r->groups) : json_null());
    PUT("parts", means(r->parts));
    PUT("task", task_rewards(r));
    PUT("tasks", task_objects(t, r));
    PUT("format_rate", sampled ? ratio((double)r->formatted, r->responses) : json_null());
    PUT("parsed_rate", sampled ? ratio((double)r->parsed, r->responses) : json_null());
    PUT("loss", ratio(r->loss, r->tried));
    PUT("policy_loss", grpo ? ratio(s->policy_loss, r->tried) : json_null());
    PUT("kl", t->reference ? ratio(s->kl, s->tokens) : json_null());
    PUT("entropy", ratio(s->entropy, s->tokens));
    PUT("clip_fraction", grpo ? ratio((double)(s->clipped_low + s->clipped_high), s->ratios) : json_null());
    PUT("ratio_max", s->ratios ? number_or_null(s->ratio_max) : json_null());
    PUT("grad_norm", ratio(r->grad_norm, r->tried));
    PUT("lr", r->tried ? json_real(r->lr) : json_null());
    PUT("zero_variance_groups", sampled ? json_integer(r->zero_variance) : json_null());
    PUT("resampled_groups", sampled ? json_integer(r->resampled) : json_null());
    PUT("filtered_rows", sampled ? json_integer(r->filtered) : json_null());
    PUT("truncated_ratios", grpo ? ratio((double)s->truncated, s->ratios) : json_null());
    PUT("responses", json_integer(r->responses));
    PUT("response_tokens", json_integer(r->response_tokens));
    PUT("response_length", ratio((double)r->response_tokens, r->responses));
    PUT("response_length_min", sampled ? json_integer(r->shortest) : json_null());
    PUT("response_length_max", sampled ? json_integer(r->longest) : json_null());
    PUT("truncated", sampled ? json_integer(r->truncated) : json_null());
    PUT("truncated_rate", sampled ? ratio((double)r->truncated, r->responses) : json_null());
    PUT("watch", sampled ? watch_object(r->watched, r->watch) : json_null());
    PUT("prompt_tokens", json_integer(r->prompt_tokens));
    PUT("shared_tokens", grpo ? json_null() : json_integer(r->shared_tokens));
    PUT("packed_groups", grpo ? json_null() : json_integer(r->groups));
    PUT("logprob_gap", sampled && r->tried ? number_or_null(r->gap) : json_null());
    PUT("updates", json_integer(r->updates));
    PUT("skipped", json_boolean(r->skipped));
    PUT("skipped_steps", json_integer(t->skipped_steps));
    PUT("skipped_rows", json_integer(t->skipped_rows));
    PUT("seconds", seconds_object(&r->seconds));
    PUT("tokens_per_second",
        r->seconds.total > 0 ? json_real((double)r->response_tokens / r->seconds.total) : json_null());
    PUT("peak_rss_bytes", json_integer((json_int_t)tr_peak_rss_bytes()));
#undef PUT
    return o;
}

/* "  kl 0.0123", or "  kl n/a". */
static void add_number(tr_buffer *line, const json_t *object, const char *key, const char *label,
                       const char *format)
{
    char text[64] = "n/a";
    const json_t *value = json_object_get(object, key);
    if (json_is_number(value)) {
        snprintf(text, sizeof text, format, json_number_value(value));
    }
    tr_buffer_printf(line, NULL, "  %s %s", label, text);
}

/* "  | tg 1.204 format 1.00 length 45.2 kl 0.0123" for every task of the step. */
static void add_tasks(tr_buffer *line, const json_t *o)
{
    const char *name;
    json_t *task;
    json_object_foreach(json_object_get(o, "tasks"), name, task)
    {
        tr_buffer_printf(line, NULL, "  |");
        add_number(line, task, "reward", name, "%.3f");
        add_number(line, task, "reward_std", "std", "%.3f");
        add_number(line, task, "format_rate", "format", "%.2f");
        add_number(line, task, "response_length", "length", "%.1f");
        if (json_is_number(json_object_get(task, "kl"))) {
            add_number(line, task, "kl", "kl", "%.4g");
        }
    }
}

static void print_line(const tr_trainer *t, const tr_step_report *r, const json_t *o)
{
    const json_t *eval = json_object_get(o, "eval");
    tr_buffer line = {0};
    double left = (tr_time_s() - t->start_s) / (double)(t->step - t->first_step) * (double)(t->steps - t->step);
    long s = (long)(left + 0.5);
    tr_buffer_printf(&line, NULL, "step %lld/%lld", (long long)t->step, (long long)t->steps);
    if (t->config->algorithm == TR_ALGORITHM_GRPO) {
        const char *name;
        json_t *value;
        add_number(&line, o, "reward", "reward", "%.3f");
        add_number(&line, o, "reward_std", "std", "%.3f");
        json_object_foreach(json_object_get(o, "parts"), name, value)
        {
            tr_buffer_printf(&line, NULL, "  %s %.3f", name, json_number_value(value));
        }
        add_number(&line, o, "kl", "kl", "%.4g");
        add_number(&line, o, "entropy", "entropy", "%.3f");
        add_number(&line, o, "response_length", "length", "%.1f");
        add_number(&line, o, "logprob_gap", "gap", "%.3g");
    }
    add_number(&line, o, "loss", "loss", "%.4g");
    if (r->shared_tokens) {
        tr_buffer_printf(&line, NULL, "  shared %lld of %lld prompt tokens", (long long)r->shared_tokens,
                         (long long)r->prompt_tokens);
    }
    if (json_is_number(json_object_get(eval, "loss"))) {
        tr_buffer_printf(&line, NULL, "  eval loss %.4g", json_number_value(json_object_get(eval, "loss")));
    }
    add_number(&line, o, "grad_norm", "norm", "%.3g");
    add_number(&line, o, "lr", "lr", "%.3g");
    if (t->many_tasks && t->config->algorithm == TR_ALGORITHM_GRPO) {
        add_tasks(&line, o);
        tr_buffer_add_text(&line, "  |", NULL);
    }
    tr_buffer_printf(&line, NULL, "  %.2f s  left %ld:%02ld:%02ld", r->seconds.total, s / 3600, s / 60 % 60,
                     s % 60);
    fprintf(stderr, "%s\n", tr_buffer_text(&line));
    tr_buffer_free(&line);
}

/* curves.svg while the run goes on: once a minute, and never for more than a hundredth of the time. */
static void refresh_curves(tr_trainer *t)
{
    const double pause_s = 60, share = 0.01;
    double now_s = tr_time_s(), passed_s = now_s - t->curves_s;
    if (passed_s >= pause_s && passed_s * share >= t->curves_cost_s) {
        tr_train_curves(t->config->out, NULL); /* the one at the end says what goes wrong */
        t->curves_s = tr_time_s();
        t->curves_cost_s = t->curves_s - now_s;
    }
}

tr_status tr_trainer_log_step(tr_trainer *t, const tr_step_report *report, json_t *eval, json_t **last)
{
    json_t *object = step_object(t, report);
    t->many_tasks = t->many_tasks || json_object_size(json_object_get(object, "tasks")) > 1;
    if (eval) {
        json_object_set(object, "eval", eval);
    }
    tr_status status = write_line(t->metrics, "metrics.jsonl", object, t->err);
    add_events(t, object);
    if (!t->options->quiet) {
        print_line(t, report, object);
    }
    if (report->skipped) {
        fprintf(stderr, "step %lld made no update: %s (%lld so far)\n", (long long)t->step, report->reason,
                (long long)t->skipped_steps);
    }
    refresh_curves(t);
    if (last) {
        json_decref(*last);
        *last = json_incref(object);
    }
    json_decref(object);
    return status;
}
