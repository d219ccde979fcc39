/* target.c: the response that a scheme would call right: its template filled from the truth (SFT targets). */
#include "task/reward.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A time as people write it: up to two decimals where they say it exactly, at least one ("5.0", "12.25"), else as
 * many as it takes to give the number back. */
static void time_text(double value, char text[32])
{
    if (value == 0) {
        value = 0; /* no "-0.0" */
    }
    for (int decimals = 1; decimals <= 17; decimals++) {
        snprintf(text, 32, "%.*f", decimals, value);
        if (strtod(text, NULL) == value) {
            return;
        }
    }
}

static tr_status add_list(const tr_scheme_task *how, tr_task task, const tr_truth *truth, tr_buffer *out,
                          tr_error *err)
{
    bool spaced = how->check.kind == TR_TEMPLATE_SPACED;
    size_t count = task == TR_TASK_TG ? 1 : truth->count;
    tr_status status = TR_OK;
    for (size_t i = 0; i < count && !status; i++) {
        char start[32], end[32];
        time_text(truth->segments[i].start_s, start);
        time_text(truth->segments[i].end_s, end);
        status = spaced ? tr_buffer_printf(out, err, "%s%s-%s", i ? " " : "", start, end)
                        : tr_buffer_printf(out, err, "%s%s to %s", i ? ", " : "", start, end);
    }
    return status;
}

static tr_status add_glue(const tr_truth *truth, tr_buffer *out, tr_error *err)
{
    tr_status status = tr_buffer_add_text(out, "[", err);
    for (size_t i = 0; i < truth->count && !status; i++) {
        char start[32], end[32];
        time_text(truth->segments[i].start_s, start);
        time_text(truth->segments[i].end_s, end);
        status = tr_buffer_printf(out, err, "%s(%s, %s)", i ? ", " : "", start, end);
    }
    return status ? status : tr_buffer_add_text(out, "]", err);
}

static tr_status add_answer(const tr_scheme_task *how, tr_task task, const tr_truth *truth, tr_buffer *out,
                            tr_error *err)
{
    if (task == TR_TASK_QA || task == TR_TASK_GVQA) {
        tr_span text = {truth->answer, truth->answer + strlen(truth->answer)};
        char option = tr_answer_option(text, truth->options, truth->option_count);
        if (!option) {
            return tr_fail(err, TR_INVALID, NULL, "the right answer '%s' names no option", truth->answer);
        }
        return tr_buffer_add(out, &option, 1, err);
    }
    if (how->parser == TR_PARSER_JSON) {
        char start[32], end[32];
        time_text(truth->segments[0].start_s, start);
        time_text(truth->segments[0].end_s, end);
        return tr_buffer_printf(out, err, "{\"start_time\": \"%s\", \"end_time\": \"%s\"}", start, end);
    }
    return add_list(how, task, truth, out, err);
}

static tr_status check_truth(const tr_scheme *scheme, tr_task task, const tr_truth *truth, tr_error *err)
{
    bool option = task == TR_TASK_QA || task == TR_TASK_GVQA;
    if (!scheme->tasks[task].defined) {
        return tr_fail(err, TR_INVALID, NULL, "the scheme %s has no reward for the task %s, so no target either",
                       scheme->name, tr_task_name(task));
    }
    if ((task == TR_TASK_TG && truth->count != 1) || (task == TR_TASK_DTG && !truth->count) ||
        (option && (!truth->answer || !truth->answer[0]))) {
        return tr_fail(err, TR_INVALID, NULL, "a target for the task %s needs %s", tr_task_name(task),
                       option               ? "the right answer"
                       : task == TR_TASK_TG ? "exactly one segment"
                                            : "a segment");
    }
    for (size_t i = 0; i < truth->count; i++) {
        if (!tr_interval_proper(truth->segments[i]) || truth->segments[i].start_s < 0) {
            return tr_fail(err, TR_INVALID, NULL, "segment %zu of the truth, %g to %g s, cannot be a target", i + 1,
                           truth->segments[i].start_s, truth->segments[i].end_s);
        }
    }
    return TR_OK;
}

tr_status tr_reward_target(const tr_scheme *scheme, tr_task task, const tr_truth *truth, const char *thought,
                           tr_buffer *out, tr_error *err)
{
    const tr_scheme_task *how = &scheme->tasks[task];
    tr_status status = check_truth(scheme, task, truth, err);
    bool think = how->check.think == TR_THINK_REQUIRED || (how->check.think == TR_THINK_OPTIONAL && thought);
    if (!status && think) {
        status = tr_buffer_printf(out, err, "<think>%s", thought ? thought : "");
        if (!status && how->check.kind == TR_TEMPLATE_SPACED) { /* its format asks for the times in the reasoning */
            status = tr_buffer_add_text(out, thought && thought[0] ? " " : "", err);
            status = status ? status : add_list(how, task, truth, out, err);
        }
        status = status ? status : tr_buffer_add_text(out, "</think> ", err);
    }
    status = status ? status : tr_buffer_add_text(out, "<answer>", err);
    status = status ? status : add_answer(how, task, truth, out, err);
    status = status ? status : tr_buffer_add_text(out, "</answer>", err);
    if (!status && task == TR_TASK_GVQA && how->glue) {
        status = tr_buffer_add_text(out, " <glue>", err);
        status = status ? status : add_glue(truth, out, err);
        status = status ? status : tr_buffer_add_text(out, "</glue>", err);
    }
    return status;
}
