/* prompt.h: how a task is asked: templates as data, filled from a row.
 *
 * A prompt set is a YAML file (share/prompts/): a name, whether it asks for reasoning, a system text and one user
 * text per task. The sets of share/prompts are built into the program; a user's own file works the same. The video
 * itself stands before the user text; putting both into the chat form is src/text's part. Nothing here reads files.
 * Thread safe for reading. */
#ifndef TR_TASK_PROMPT_H
#define TR_TASK_PROMPT_H

#include "base/json.h"
#include "task/reward.h"

typedef struct tr_prompts {
    json_t *root; /* owned; the texts below are borrowed from it */
    const char *name;
    tr_think think; /* for tr_scheme_set_think: the template that the format part should hold answers to */
    struct {
        const char *system, *user; /* user NULL: this set cannot ask the task */
    } tasks[TR_TASK_COUNT];
} tr_prompts;
void tr_prompts_free(tr_prompts *prompts);

/* From the text of a YAML file; name stands in errors. A template that lacks what its task needs ({query},
 * {queries}, {question} and {options}, {action}), or that has a placeholder which does not exist, is refused.
 * {published} is the question with its options as the row's field "published" has it, else {question} and
 * {options}; `types` of a task are templates for rows with that "question_type". */
tr_status tr_prompts_parse(const char *text, size_t length, const char *name, tr_prompts *prompts, tr_error *err);

/* A built-in set: think, no-think, temporal-r1, time-r1, videochat-r1, museg, mvbench,
 * mvbench-official, video-mme, tempcompass. TR_INVALID names them. */
tr_status tr_prompts_builtin(const char *name, tr_prompts *prompts, tr_error *err);
/* Their names, NULL at the end; and the YAML text of one (NULL when unknown). */
const char *const *tr_prompts_names(void);
const char *tr_prompts_builtin_text(const char *name, size_t *length);

/* Fills the template of a task from a corpus row: appends the system text and the user text. A row with a text
 * field "problem" (Temporal-R1's rows) is asked with that text as it is. where names the row in errors: a field
 * that the template needs and the row lacks is TR_FORMAT. */
tr_status tr_prompt_render(const tr_prompts *prompts, tr_task task, const json_t *row, const char *where,
                           tr_buffer *system, tr_buffer *user, tr_error *err);

#endif
