/* api.c: version, status, memory and the translations that the other files of src/api share. */
#include "api/handles.h"

#include "task/interval.h"
#include "video/clip.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The public types promise what the library's own types say; whoever changes one learns of the other here. */
_Static_assert((int)TEMPR1_LOCKED == (int)TR_LOCKED && (int)TEMPR1_MEMORY == (int)TR_MEMORY &&
                   (int)TEMPR1_CHILD == (int)TR_CHILD,
               "statuses");
_Static_assert(sizeof(tempr1_error) == sizeof(tr_error) &&
                   offsetof(tempr1_error, message) == offsetof(tr_error, message) &&
                   offsetof(tempr1_error, where) == offsetof(tr_error, where),
               "errors");
_Static_assert((int)TEMPR1_TASKS == (int)TR_TASK_COUNT && (int)TEMPR1_TASK_QA == (int)TR_TASK_QA &&
                   (int)TEMPR1_TASK_GVQA == (int)TR_TASK_GVQA,
               "tasks");
_Static_assert(sizeof(tempr1_interval) == sizeof(tr_interval) &&
                   offsetof(tempr1_interval, end_s) == offsetof(tr_interval, end_s),
               "intervals");

const char *tempr1_version(void)
{
    return TEMPR1_VERSION;
}

const char *tempr1_status_text(tempr1_status status)
{
    return tr_status_text((tr_status)status);
}

void tempr1_free(void *memory)
{
    free(memory);
}

const char *tempr1_task_name(tempr1_task task)
{
    return (unsigned)task < TEMPR1_TASKS ? tr_task_name((tr_task)task) : NULL;
}

tempr1_status tempr1_task_from_name(const char *name, tempr1_task *task, tempr1_error *error)
{
    tr_task found = TR_TASK_TG;
    if (!name) {
        return (tempr1_status)tr_fail(api_error(error), TR_INVALID, NULL, "the name of the task is NULL");
    }
    tr_status status = tr_task_from_name(name, &found, api_error(error));
    if (!status) {
        *task = (tempr1_task)found;
    }
    return (tempr1_status)status;
}

double tempr1_interval_iou(tempr1_interval a, tempr1_interval b)
{
    return tr_interval_iou((tr_interval){a.start_s, a.end_s}, (tr_interval){b.start_s, b.end_s});
}

tempr1_status tempr1_arena_create(size_t bytes, tempr1_arena **arena, tempr1_error *error)
{
    tempr1_arena *made = tr_calloc(1, sizeof *made);
    tr_status status = made ? tr_arena_init(&made->arena, bytes, api_error(error))
                            : tr_fail(api_error(error), TR_MEMORY, NULL, "out of memory for an arena");
    if (status) {
        free(made);
    } else {
        *arena = made;
    }
    return (tempr1_status)status;
}

void tempr1_arena_reset(tempr1_arena *arena)
{
    tr_arena_reset(&arena->arena, 0);
}

void tempr1_arena_free(tempr1_arena *arena)
{
    if (arena) {
        tr_arena_free(&arena->arena);
        free(arena);
    }
}

void tempr1_set_decoder(const char *path)
{
    static char copy[4096];
    if (path) {
        snprintf(copy, sizeof copy, "%s", path);
    }
    tr_video_workers_stop();
    tr_video_set_worker(path ? copy : NULL);
}

/* ---- shared ---- */

tr_status api_task(tempr1_task from, tr_task *to, tr_error *err)
{
    if ((unsigned)from >= TEMPR1_TASKS) {
        return tr_fail(err, TR_INVALID, NULL, "%d is no task; expected a tempr1_task below %d", (int)from,
                       TEMPR1_TASKS);
    }
    *to = (tr_task)from;
    return TR_OK;
}

tr_status api_truth(const tempr1_truth *from, tr_truth *to, tr_error *err)
{
    if (!from || (from->count && !from->segments) || (from->option_count && !from->options)) {
        return tr_fail(err, TR_INVALID, NULL, "the truth is NULL, or has a count without its list");
    }
    *to = (tr_truth){.segments = (const tr_interval *)from->segments,
                     .count = from->count,
                     .answer = from->answer,
                     .options = from->options,
                     .option_count = from->option_count,
                     .duration_s = from->duration_s,
                     .fps = from->fps};
    return TR_OK;
}

tr_status api_text(tr_buffer *buffer, char **text, size_t *length, tr_error *err)
{
    tr_status status = buffer->data ? TR_OK : tr_buffer_add(buffer, "", 0, err);
    char *given = buffer->data ? buffer->data : tr_strdup("");
    if (status || !given) {
        free(given);
        *buffer = (tr_buffer){0};
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for a text");
    }
    *text = given;
    if (length) {
        *length = buffer->length;
    }
    *buffer = (tr_buffer){0};
    return TR_OK;
}

tr_status api_json(const json_t *value, char **text, tr_error *err)
{
    tr_buffer line = {0};
    tr_status status = value ? tr_json_print(value, &line, err) : tr_fail(err, TR_MEMORY, NULL, "out of memory");
    status = status ? status : api_text(&line, text, NULL, err);
    tr_buffer_free(&line);
    return status;
}
