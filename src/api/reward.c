/* reward.c: the public functions of rewards: schemes, scores, targets. */
#include "api/handles.h"

#include "task/row.h"

#include <stdlib.h>

_Static_assert((int)TR_PART_COUNT <= (int)TEMPR1_PARTS_MAX, "parts");
_Static_assert((int)TEMPR1_THINK_FORBIDDEN == (int)TR_THINK_FORBIDDEN &&
                   (int)TEMPR1_THINK_REQUIRED == (int)TR_THINK_REQUIRED,
               "think");

const char *const *tempr1_scheme_names(void)
{
    return tr_scheme_names();
}

tempr1_status tempr1_scheme_open(const char *name, tempr1_scheme **scheme, tempr1_error *error)
{
    tr_error *err = api_error(error);
    const tr_scheme *found = name ? tr_scheme_find(name) : NULL;
    if (!found) {
        return (tempr1_status)(name ? tr_scheme_get(name, &found, err)
                                    : tr_fail(err, TR_INVALID, NULL, "the name of the scheme is NULL"));
    }
    tempr1_scheme *made = tr_calloc(1, sizeof *made);
    if (!made) {
        return (tempr1_status)tr_fail(err, TR_MEMORY, name, "out of memory for a scheme");
    }
    made->scheme = *found;
    *scheme = made;
    return TEMPR1_OK;
}

tempr1_status tempr1_scheme_parse(const char *json, size_t length, const char *name, tempr1_scheme **scheme,
                                  tempr1_error *error)
{
    tr_error *err = api_error(error);
    json_t *object = NULL;
    tempr1_scheme *made = tr_calloc(1, sizeof *made);
    tr_status status = TR_OK;
    if (!made || !(made->name = tr_strdup(name ? name : "scheme"))) {
        status = tr_fail(err, TR_MEMORY, name, "out of memory for a scheme");
        goto done;
    }
    TR_TRY(tr_json_parse(json, length, made->name, 0, &object, err));
    TR_TRY(tr_scheme_from_json(object, made->name, &made->scheme, err));
    *scheme = made;
done:
    json_decref(object);
    if (status) {
        tempr1_scheme_free(made);
    }
    return (tempr1_status)status;
}

void tempr1_scheme_free(tempr1_scheme *scheme)
{
    if (scheme) {
        free(scheme->name);
        free(scheme);
    }
}

tempr1_status tempr1_scheme_set_think(tempr1_scheme *scheme, tempr1_think think, tempr1_error *error)
{
    if ((unsigned)think > TEMPR1_THINK_FORBIDDEN) {
        return (tempr1_status)tr_fail(api_error(error), TR_INVALID, NULL, "%d is no tempr1_think", (int)think);
    }
    tr_scheme_set_think(&scheme->scheme, (tr_think)think);
    return TEMPR1_OK;
}

const char *tempr1_part_name(int part)
{
    return part >= 0 && part < TR_PART_COUNT ? tr_part_name((tr_part)part) : NULL;
}

size_t tempr1_reward_arena_bytes(size_t count)
{
    return tr_reward_arena_bytes(count);
}

tempr1_status tempr1_reward_score(const tempr1_scheme *scheme, tempr1_task task, const char *response,
                                  size_t length, size_t tokens, const tempr1_truth *truth, tempr1_arena *arena,
                                  tempr1_reward *reward, tempr1_error *error)
{
    tr_error *err = api_error(error);
    tr_truth own;
    tr_task which;
    tr_reward result;
    tr_status status;
    TR_TRY(api_task(task, &which, err));
    TR_TRY(api_truth(truth, &own, err));
    TR_TRY(tr_reward_score(&scheme->scheme, which, response, length, tokens, &own, &arena->arena, &result, err));
    *reward = (tempr1_reward){.total = result.total,
                              .present = result.present,
                              .intervals = (const tempr1_interval *)result.answer.intervals,
                              .interval_count = result.answer.count,
                              .option = result.answer.option,
                              .parsed = result.parsed,
                              .error = result.parsed ? NULL : result.error,
                              .error_at = result.error_at};
    for (int p = 0; p < TR_PART_COUNT; p++) {
        reward->parts[p] = result.present & 1u << p ? result.parts[p] : 0;
    }
done:
    return (tempr1_status)status;
}

double tempr1_reward_largest(const tempr1_scheme *scheme, tempr1_task task)
{
    return (unsigned)task < TEMPR1_TASKS && scheme->scheme.tasks[task].defined
               ? tr_reward_largest(&scheme->scheme, (tr_task)task)
               : 0;
}

tempr1_status tempr1_reward_target(const tempr1_scheme *scheme, tempr1_task task, const tempr1_truth *truth,
                                   const char *thought, char **text, tempr1_error *error)
{
    tr_error *err = api_error(error);
    tr_buffer out = {0};
    tr_truth own;
    tr_task which;
    tr_status status;
    TR_TRY(api_task(task, &which, err));
    TR_TRY(api_truth(truth, &own, err));
    TR_TRY(tr_reward_target(&scheme->scheme, which, &own, thought, &out, err));
    TR_TRY(api_text(&out, text, NULL, err));
done:
    tr_buffer_free(&out);
    return (tempr1_status)status;
}

tempr1_status tempr1_reward_row(const tempr1_scheme *scheme, const char *task_name, const char *row, size_t length,
                                char **json, tempr1_error *error)
{
    tr_error *err = api_error(error);
    tr_truth_holder holder = {0};
    tr_arena arena = {0};
    json_t *object = NULL, *out = NULL;
    const char *response = NULL;
    int64_t tokens = 0;
    tr_task task;
    tr_reward reward;
    tr_status status;
    TR_TRY(tr_json_parse(row, length, "row", 0, &object, err));
    if (!task_name) {
        TR_TRY(tr_json_get_string(object, "task", true, "row", &task_name, err));
    }
    TR_TRY(tr_task_from_name(task_name, &task, err));
    TR_TRY(tr_json_get_string(object, "response", true, "row", &response, err));
    TR_TRY(tr_json_get_int(object, "tokens", false, "row", &tokens, err));
    TR_TRY(tr_truth_from_json(object, task, "row", &holder, err));
    TR_TRY(tr_arena_init(&arena, tr_reward_arena_bytes(holder.truth.count), err));
    TR_TRY(tr_reward_score(&scheme->scheme, task, response, json_string_length(json_object_get(object, "response")),
                           tokens > 0 ? (size_t)tokens : 0, &holder.truth, &arena, &reward, err));
    out = tr_reward_to_json(&reward, task);
    TR_TRY(api_json(out, json, err));
done:
    json_decref(out);
    json_decref(object);
    tr_truth_holder_free(&holder);
    tr_arena_free(&arena);
    return (tempr1_status)status;
}
