/* row.c: truths from JSON rows, results to JSON. */
#include "task/row.h"

#include <math.h>
#include <stdlib.h>

void tr_truth_holder_free(tr_truth_holder *holder)
{
    if (holder) {
        free(holder->segments);
        free(holder->options);
        memset(holder, 0, sizeof *holder);
    }
}

static tr_status read_pair(const json_t *pair, size_t index, const char *where, tr_interval *out, tr_error *err)
{
    double ends[2];
    if (!json_is_array(pair) || json_array_size(pair) != 2) {
        return tr_fail(err, TR_FORMAT, where, "segment %zu must be [start, end], found %s", index + 1,
                       json_is_array(pair) ? "a list of another length" : tr_json_type_name(pair));
    }
    for (size_t k = 0; k < 2; k++) {
        const json_t *end = json_array_get(pair, k);
        if (!json_is_number(end)) {
            return tr_fail(err, TR_FORMAT, where, "the %s of segment %zu must be a number of seconds, found %s",
                           k ? "end" : "start", index + 1, tr_json_type_name(end));
        }
        ends[k] = json_number_value(end);
    }
    *out = (tr_interval){ends[0], ends[1]};
    if (!tr_interval_proper(*out)) {
        return tr_fail(err, TR_FORMAT, where, "segment %zu must start before it ends, found [%g, %g]", index + 1,
                       ends[0], ends[1]);
    }
    return TR_OK;
}

static tr_status read_segments(const json_t *row, const char *where, tr_truth_holder *holder, tr_error *err)
{
    const json_t *list = json_object_get(row, "segments"), *one = json_object_get(row, "segment");
    if (!list && json_is_array(one)) {
        tr_status status = tr_grow(&holder->segments, &holder->segment_capacity, 1, sizeof *holder->segments, err);
        holder->truth.count = 1;
        return status ? status : read_pair(one, 0, where, &holder->segments[0], err);
    }
    if (!json_is_array(list)) {
        return tr_fail(err, TR_FORMAT, where, "the field \"segments\" must be a list of [start, end], found %s",
                       tr_json_type_name(list));
    }
    size_t count = json_array_size(list);
    tr_status status =
        tr_grow(&holder->segments, &holder->segment_capacity, count ? count : 1, sizeof *holder->segments, err);
    for (size_t i = 0; i < count && !status; i++) {
        status = read_pair(json_array_get(list, i), i, where, &holder->segments[i], err);
    }
    holder->truth.count = count;
    return status;
}

static tr_status read_options(const json_t *row, const char *where, tr_truth_holder *holder, tr_error *err)
{
    tr_status status = tr_json_get_string(row, "answer", true, where, &holder->truth.answer, err);
    const json_t *list = json_object_get(row, "options");
    if (status || !list || json_is_null(list)) {
        return status;
    }
    if (!json_is_array(list)) {
        return tr_fail(err, TR_FORMAT, where, "the field \"options\" must be a list of texts, found %s",
                       tr_json_type_name(list));
    }
    size_t count = json_array_size(list);
    status = tr_grow(&holder->options, &holder->option_capacity, count ? count : 1, sizeof *holder->options, err);
    for (size_t i = 0; i < count && !status; i++) {
        holder->options[i] = json_string_value(json_array_get(list, i));
        if (!holder->options[i]) {
            status = tr_fail(err, TR_FORMAT, where, "option %zu must be a text, found %s", i + 1,
                             tr_json_type_name(json_array_get(list, i)));
        }
    }
    holder->truth.option_count = count;
    return status;
}

tr_status tr_truth_from_json(const json_t *row, tr_task task, const char *where, tr_truth_holder *holder,
                             tr_error *err)
{
    memset(&holder->truth, 0, sizeof holder->truth);
    tr_status status = TR_OK;
    if (!json_is_object(row)) {
        return tr_fail(err, TR_FORMAT, where, "a row must be an object, found %s", tr_json_type_name(row));
    }
    if (task != TR_TASK_QA) {
        status = read_segments(row, where, holder, err);
    }
    if (!status && (task == TR_TASK_QA || task == TR_TASK_GVQA)) {
        status = read_options(row, where, holder, err);
    }
    status = status ? status : tr_json_get_double(row, "duration", false, where, &holder->truth.duration_s, err);
    status = status ? status : tr_json_get_double(row, "fps", false, where, &holder->truth.fps, err);
    if (!status && (holder->truth.duration_s < 0 || holder->truth.fps < 0)) {
        status = tr_fail(err, TR_FORMAT, where, "the field \"%s\" must not be negative",
                         holder->truth.duration_s < 0 ? "duration" : "fps");
    }
    const json_t *queries = json_object_get(row, "queries");
    if (!status && task == TR_TASK_DTG && json_is_array(queries) &&
        json_array_size(queries) != holder->truth.count) {
        status = tr_fail(err, TR_FORMAT, where, "a dtg row has one segment for every query, found %zu for %zu",
                         holder->truth.count, json_array_size(queries));
    }
    if (!status && task == TR_TASK_TG && holder->truth.count != 1) {
        status = tr_fail(err, TR_FORMAT, where, "a tg row has exactly one segment, found %zu", holder->truth.count);
    }
    holder->truth.segments = holder->segments;
    holder->truth.options = holder->options;
    return status;
}

json_t *tr_intervals_to_json(const tr_interval *list, size_t count)
{
    json_t *all = json_array();
    for (size_t i = 0; i < count && all; i++) {
        bool finite = isfinite(list[i].start_s) && isfinite(list[i].end_s); /* JSON has no infinity */
        json_t *pair = finite ? json_pack("[f,f]", list[i].start_s, list[i].end_s) : json_pack("[n,n]");
        if (!pair || json_array_append_new(all, pair)) {
            json_decref(all);
            all = NULL;
        }
    }
    return all;
}

json_t *tr_reward_parsed_json(const tr_reward *reward, tr_task task)
{
    char letter[2] = {reward->answer.option, 0};
    bool some = reward->answer.count || !reward->error;
    switch (task) {
    case TR_TASK_QA:
        return letter[0] ? json_string(letter) : json_null();
    case TR_TASK_GVQA:
        if (!letter[0] && !some) {
            return json_null();
        }
        return json_pack("{s:o,s:o}", "option", letter[0] ? json_string(letter) : json_null(), "segments",
                         tr_intervals_to_json(reward->answer.intervals, reward->answer.count));
    default:
        return some ? tr_intervals_to_json(reward->answer.intervals, reward->answer.count) : json_null();
    }
}

json_t *tr_reward_to_json(const tr_reward *reward, tr_task task)
{
    json_t *parts = json_object();
    for (int p = 0; p < TR_PART_COUNT && parts; p++) {
        if (reward->present >> p & 1 && json_object_set_new(parts, tr_part_name(p), json_real(reward->parts[p]))) {
            json_decref(parts);
            parts = NULL;
        }
    }
    if (!parts) {
        return NULL;
    }
    json_t *out = json_pack("{s:f,s:o,s:o}", "reward", reward->total, "parts", parts, "parsed",
                            tr_reward_parsed_json(reward, task));
    bool bad = !out;
    if (reward->error) {
        bad = bad || json_object_set_new(out, "error", json_string(reward->error)) ||
              json_object_set_new(out, "error_at", json_integer((json_int_t)reward->error_at));
    } else {
        bad = bad || json_object_set_new(out, "error", json_null());
    }
    if (bad) {
        json_decref(out);
        return NULL;
    }
    return out;
}
