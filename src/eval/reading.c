/* reading.c: the readers by name; from what they understand to metric values. */
#include "eval/reading.h"

#include "base/memory.h"
#include "task/answer_choice.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { SCHEME, TOLERANT, TEMPORAL_R1, MVBENCH, VIDEO_MME, TEMPCOMPASS };
static const char *const names[] = {"scheme",    "tolerant",    "temporal-r1", "mvbench",
                                    "video-mme", "tempcompass", NULL};

const char *const *tr_reader_names(void)
{
    return names;
}

const char *tr_reader_name(const tr_reader *reader)
{
    return names[reader->kind];
}

tr_status tr_reader_open(const char *name, tr_reader *reader, tr_error *err)
{
    size_t count = sizeof names / sizeof *names - 1;
    *reader = (tr_reader){.kind = -1};
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(names[i], name ? name : names[SCHEME])) {
            reader->kind = (int)i;
        }
    }
    if (reader->kind < 0) {
        const char *near = tr_nearest(name, names, count);
        reader->kind = 0;
        return tr_fail(
            err, TR_INVALID, "--parser",
            "there is no reader of answers \"%s\"%s%s%s; there are scheme, tolerant, temporal-r1, mvbench, "
            "video-mme and tempcompass",
            name, near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
    }
    reader->options.compat = reader->kind == TEMPORAL_R1;
    reader->evaluation.intervals = tr_calloc(TR_ANSWER_INTERVALS, sizeof(tr_interval));
    return reader->evaluation.intervals ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory");
}

void tr_reader_close(tr_reader *reader)
{
    tr_truth_holder_free(&reader->truth);
    tr_arena_free(&reader->evaluation.arena);
    free(reader->evaluation.intervals);
    *reader = (tr_reader){0};
}

tr_status tr_reader_truth(tr_reader *reader, const tr_sample *sample, tr_task *task, bool *has_truth, tr_error *err)
{
    tr_status status = tr_task_from_name(sample->task, task, err);
    *has_truth = false;
    if (status) {
        return status;
    }
    tr_error why = {0};
    status =
        sample->truth ? tr_truth_from_json(sample->truth, *task, sample->id, &reader->truth, &why) : TR_NOT_FOUND;
    if (status == TR_MEMORY) {
        return tr_fail(err, TR_MEMORY, sample->id, "%s", why.message);
    }
    reader->truth.truth.duration_s = sample->duration_s;
    *has_truth = !status;
    return TR_OK;
}

void tr_metric_key(tr_metric metric, tr_task task, char key[32])
{
    const char *name = tr_metric_name(metric, task);
    size_t i = 0;
    for (; name[i] && i < 31; i++) {
        key[i] = name[i] == ' ' ? '_' : (char)tolower((unsigned char)name[i]);
    }
    key[i] = 0;
}

/* The intervals and the option that the reward's own reading has as JSON. */
static void take_parsed(tr_reader *reader, const json_t *parsed, size_t *count, char *option)
{
    const json_t *list = json_is_object(parsed) ? json_object_get(parsed, "segments") : parsed;
    const json_t *letter = json_is_object(parsed) ? json_object_get(parsed, "option") : parsed;
    size_t i;
    json_t *pair;
    *count = 0;
    *option = json_is_string(letter) ? json_string_value(letter)[0] : 0;
    json_array_foreach((json_t *)(uintptr_t)list, i, pair)
    {
        const json_t *start = json_array_get(pair, 0), *end = json_array_get(pair, 1);
        if (*count < TR_ANSWER_INTERVALS) { /* what is no number was no finite time: an interval without length */
            reader->evaluation.intervals[(*count)++] =
                (tr_interval){json_number_value(start), json_is_number(end) ? json_number_value(end) : 0};
        }
    }
}

static char choose(const tr_reader *reader, tr_span response)
{
    const tr_truth *truth = &reader->truth.truth;
    tr_span inside;
    if (reader->kind == TEMPORAL_R1) {
        return tr_choice_temporal_r1(response);
    }
    tr_answer_find(TR_WHERE_ANYWHERE, response, &inside);
    return reader->kind == MVBENCH     ? tr_choice_mvbench(inside)
           : reader->kind == VIDEO_MME ? tr_choice_video_mme(inside)
                                       : tr_choice_tempcompass(inside, truth->options, truth->option_count);
}

static bool understand(tr_reader *reader, tr_task task, const char *text, size_t length, const tr_score *score,
                       size_t *count, char *option)
{
    bool whole;
    if (reader->kind == SCHEME) {
        take_parsed(reader, score->parsed, count, option);
        return !score->error[0];
    }
    reader->evaluation.options = &reader->options;
    whole = tr_evaluation_parse(&reader->evaluation, task, text, length, &reader->truth.truth, count, option);
    if (reader->kind != TOLERANT && (task == TR_TASK_QA || task == TR_TASK_GVQA)) {
        *option = choose(reader, (tr_span){text, text + length});
        whole = *option && (task == TR_TASK_QA || *count);
    }
    return whole;
}

static json_t *parsed_json(const tr_reader *reader, tr_task task, size_t count, char option, bool whole)
{
    char letter[2] = {option, 0};
    json_t *said = option ? json_string(letter) : json_null();
    if (task == TR_TASK_QA) {
        return said;
    }
    json_t *list = count || whole ? tr_intervals_to_json(reader->evaluation.intervals, count) : NULL;
    if (task == TR_TASK_GVQA && (option || list)) {
        return json_pack("{s:o,s:o}", "option", said, "segments", list ? list : json_array());
    }
    json_decref(said);
    return list ? list : json_null();
}

static tr_status reserve(tr_reader *reader, tr_error *err)
{
    size_t need = 2 * tr_reward_arena_bytes(reader->truth.truth.count);
    if (need > reader->evaluation.arena.size) {
        tr_arena_free(&reader->evaluation.arena);
        return tr_arena_init(&reader->evaluation.arena, need, err);
    }
    tr_arena_reset(&reader->evaluation.arena, 0);
    return TR_OK;
}

static void set_values(json_t *metrics, const tr_metric_values *values, tr_task task)
{
    char key[32];
    for (int k = 0; k < TR_METRICS; k++) {
        if (values->present >> k & 1) {
            tr_metric_key((tr_metric)k, task, key);
            json_t *list = json_object_get(metrics, key);
            if (task != TR_TASK_DTG) {
                json_object_set_new(metrics, key, json_real(values->value[k]));
                continue;
            }
            if (!list) {
                list = json_array();
                json_object_set_new(metrics, key, list);
            }
            json_array_append_new(list, json_real(values->value[k]));
        }
    }
}

/* dtg: one sentence after the other, in their order. */
static tr_status measure(tr_reader *reader, tr_task task, size_t count, char option, json_t *metrics, tr_error *err)
{
    const tr_interval *p = reader->evaluation.intervals;
    tr_truth truth = reader->truth.truth;
    tr_metric_values values;
    tr_status status = reserve(reader, err);
    bool dtg = task == TR_TASK_DTG;
    for (size_t i = 0; !status && i < (dtg ? truth.count : 1); i++) {
        tr_truth one = truth;
        if (dtg) {
            one.segments += i;
            one.count = 1;
        }
        memset(&values, 0, sizeof values);
        status = tr_metric_sample(task, dtg ? p + (i < count ? i : 0) : p, dtg ? i < count : count, option, &one,
                                  &reader->evaluation.arena, &values, err);
        if (!status) {
            set_values(metrics, &values, task);
        }
    }
    return status;
}

tr_status tr_reader_read(tr_reader *reader, tr_task task, const char *text, size_t length, const tr_score *score,
                         json_t **parsed, json_t **metrics, tr_error *err)
{
    size_t count;
    char option;
    bool whole = understand(reader, task, text, length, score, &count, &option);
    *parsed = reader->kind == SCHEME ? (score->parsed ? json_incref(score->parsed) : json_null())
                                     : parsed_json(reader, task, count, option, whole);
    *metrics = json_object();
    if (!*parsed || !*metrics) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for an answer");
    }
    return measure(reader, task, count, option, *metrics, err);
}
