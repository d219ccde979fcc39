/* prompt.c: prompt templates: reading them, filling them from rows. */
#include "task/prompt.h"

#include "base/yaml.h"

#include <stdio.h>

static const char *const placeholders[] = {"query",   "queries", "count",    "action",   "question",
                                           "options", "choices", "duration", "published"};
enum { PLACEHOLDERS = sizeof placeholders / sizeof *placeholders };

/* What a template must hold to be about its row at all. */
static const char *const needed[TR_TASK_COUNT][2] = {
    [TR_TASK_TG] = {"query"},   [TR_TASK_DTG] = {"queries"},
    [TR_TASK_VHD] = {"query"},  [TR_TASK_GVQA] = {"question", "options"},
    [TR_TASK_TAL] = {"action"}, [TR_TASK_QA] = {"question", "options"}};

void tr_prompts_free(tr_prompts *prompts)
{
    if (prompts) {
        json_decref(prompts->root);
        memset(prompts, 0, sizeof *prompts);
    }
}

/* The next {name} at or after at, where name is small letters and underscores; other braces are plain text. */
static const char *next_placeholder(const char *at, tr_span *name)
{
    for (; (at = strchr(at, '{')); at++) {
        const char *end = at + 1;
        while ((*end >= 'a' && *end <= 'z') || *end == '_') {
            end++;
        }
        if (end > at + 1 && *end == '}') {
            *name = (tr_span){at + 1, end};
            return at;
        }
    }
    return NULL;
}

static bool same(tr_span name, const char *text)
{
    size_t length = strlen(text);
    return (size_t)(name.end - name.at) == length && !memcmp(name.at, text, length);
}

static tr_status check_template(const char *text, tr_task task, const char *where, tr_error *err)
{
    bool have[2] = {false, false};
    tr_span name;
    for (const char *at = text; next_placeholder(at, &name); at = name.end) {
        size_t p = 0;
        while (p < PLACEHOLDERS && !same(name, placeholders[p])) {
            p++;
        }
        if (p == PLACEHOLDERS) {
            char found[64];
            snprintf(found, sizeof found, "%.*s", (int)(name.end - name.at), name.at);
            const char *near = tr_nearest(found, placeholders, PLACEHOLDERS);
            return tr_fail(
                err, TR_FORMAT, where, "the %s template has the placeholder {%s}, which does not exist%s%s%s",
                tr_task_name(task), found, near ? " (did you mean {" : "", near ? near : "", near ? "}?)" : "");
        }
        for (int k = 0; k < 2; k++) {
            bool options = needed[task][k] && !strcmp(needed[task][k], "options") && same(name, "choices");
            bool both = task == TR_TASK_QA && same(name, "published"); /* the question with its options */
            have[k] = have[k] || options || both || (needed[task][k] && same(name, needed[task][k]));
        }
    }
    for (int k = 0; k < 2; k++) {
        if (needed[task][k] && !have[k]) {
            return tr_fail(err, TR_FORMAT, where, "the %s template lacks the placeholder {%s}", tr_task_name(task),
                           needed[task][k]);
        }
    }
    return TR_OK;
}

static tr_status read_think(const char *word, const char *where, tr_think *think, tr_error *err)
{
    static const char *const words[] = {"optional", "required", "forbidden"};
    for (int i = 0; i < 3; i++) {
        if (!strcmp(word, words[i])) {
            *think = (tr_think)i;
            return TR_OK;
        }
    }
    return tr_fail(err, TR_FORMAT, where, "\"think\" is required, forbidden or optional, found '%s'", word);
}

/* Templates for rows with one "question_type": {"yes_no": text, ...}. */
static tr_status check_types(const json_t *types, tr_task task, const char *where, tr_error *err)
{
    const char *type;
    json_t *value;
    tr_status status = TR_OK;
    if (types && !json_is_object(types)) {
        return tr_fail(err, TR_FORMAT, where,
                       "\"types\" of the %s template must be a mapping from question types to texts, found %s",
                       tr_task_name(task), tr_json_type_name(types));
    }
    json_object_foreach((json_t *)(uintptr_t)types, type, value)
    {
        if (!status && !json_is_string(value)) {
            status = tr_fail(err, TR_FORMAT, where, "the %s template for \"%s\" must be a text, found %s",
                             tr_task_name(task), type, tr_json_type_name(value));
        }
        status = status ? status : check_template(json_string_value(value), task, where, err);
    }
    return status;
}

static tr_status read_tasks(const json_t *tasks, const char *system, const char *where, tr_prompts *prompts,
                            tr_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(tasks) || !json_object_size(tasks)) {
        return tr_fail(err, TR_FORMAT, where, "the field \"tasks\" must hold a template for at least one task");
    }
    json_object_foreach((json_t *)tasks, key, value)
    {
        tr_task task = TR_TASK_TG;
        const char *user = json_string_value(value), *own = system;
        tr_status status = tr_task_from_name(key, &task, err);
        if (status) {
            return tr_fail_where(err, status, "%s", where);
        }
        if (json_is_object(value)) {
            status = tr_json_get_string(value, "user", true, where, &user, err);
            status = status ? status : tr_json_get_string(value, "system", false, where, &own, err);
            status = status ? status : check_types(json_object_get(value, "types"), task, where, err);
        } else if (!user) {
            status = tr_fail(err, TR_FORMAT, where, "the %s template must be a text or {system, user}, found %s",
                             key, tr_json_type_name(value));
        }
        status = status ? status : check_template(user, task, where, err);
        if (status) {
            return status;
        }
        prompts->tasks[task].user = user;
        prompts->tasks[task].system = own;
    }
    return TR_OK;
}

tr_status tr_prompts_parse(const char *text, size_t length, const char *name, tr_prompts *prompts, tr_error *err)
{
    static const char *const keys[] = {"name", "think", "system", "tasks"};
    const char *think = "optional", *system = "", *key;
    json_t *value;
    memset(prompts, 0, sizeof *prompts);
    tr_status status = tr_yaml_parse(text, length, name, &prompts->root, NULL, err);
    if (!status && !json_is_object(prompts->root)) {
        status = tr_fail(err, TR_FORMAT, name, "a prompt file must be a mapping, found %s",
                         tr_json_type_name(prompts->root));
    }
    if (status) {
        tr_prompts_free(prompts);
        return status;
    }
    json_object_foreach(prompts->root, key, value)
    {
        bool known = false;
        for (int k = 0; k < 4; k++) {
            known = known || !strcmp(keys[k], key);
        }
        if (!known && !status) {
            const char *near = tr_nearest(key, keys, 4);
            status = tr_fail(err, TR_FORMAT, name, "there is no key '%s' in a prompt file%s%s%s", key,
                             near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
        }
    }
    prompts->name = name;
    status = status ? status : tr_json_get_string(prompts->root, "name", false, name, &prompts->name, err);
    status = status ? status : tr_json_get_string(prompts->root, "think", false, name, &think, err);
    status = status ? status : tr_json_get_string(prompts->root, "system", false, name, &system, err);
    status = status ? status : read_think(think, name, &prompts->think, err);
    status = status ? status : read_tasks(json_object_get(prompts->root, "tasks"), system, name, prompts, err);
    if (status) {
        tr_prompts_free(prompts);
    }
    return status;
}

tr_status tr_prompts_builtin(const char *name, tr_prompts *prompts, tr_error *err)
{
    size_t length;
    const char *text = tr_prompts_builtin_text(name, &length);
    memset(prompts, 0, sizeof *prompts);
    if (!text) {
        return tr_fail(err, TR_INVALID, NULL,
                       "there is no built-in prompt '%s'; there are think, no-think, temporal-r1, "
                       "time-r1, videochat-r1, museg, mvbench, mvbench-official, "
                       "video-mme and tempcompass; a file "
                       "of your own is "
                       "named by its path (it ends in .yaml)",
                       name);
    }
    return tr_prompts_parse(text, length, name, prompts, err);
}

/* ---- filling ---- */

/* The texts of a list, one a line: "1. x", as options "A. x", as choices "(A) x". */
typedef enum line_form { NUMBERED, LETTERED, BRACKETED } line_form;

static tr_status add_lines(const json_t *list, line_form form, const char *field, const char *where, tr_buffer *out,
                           tr_error *err)
{
    bool letters = form != NUMBERED;
    if (!json_is_array(list) || !json_array_size(list)) {
        return tr_fail(err, TR_FORMAT, where, "the prompt needs the field \"%s\" (a list of texts), found %s",
                       field, tr_json_type_name(list));
    }
    tr_status status = TR_OK;
    for (size_t i = 0; i < json_array_size(list) && !status; i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_string(item) || (letters && i >= 26)) {
            return tr_fail(err, TR_FORMAT, where, "\"%s\" must hold texts%s, found %s as number %zu", field,
                           letters ? ", at most 26" : "", tr_json_type_name(item), i + 1);
        }
        const char *before = i ? "\n" : "";
        status = form == NUMBERED   ? tr_buffer_printf(out, err, "%s%zu. ", before, i + 1)
                 : form == LETTERED ? tr_buffer_printf(out, err, "%s%c. ", before, (char)('A' + i))
                                    : tr_buffer_printf(out, err, "%s(%c) ", before, (char)('A' + i));
        status = status ? status : tr_buffer_add(out, json_string_value(item), json_string_length(item), err);
    }
    return status;
}

static tr_status fill(const char *text, const json_t *row, const char *where, tr_buffer *out, tr_error *err);

static tr_status add_field(tr_span name, const json_t *row, const char *where, tr_buffer *out, tr_error *err)
{
    if (same(name, "queries")) {
        return add_lines(json_object_get(row, "queries"), NUMBERED, "queries", where, out, err);
    }
    if (same(name, "options") || same(name, "choices")) {
        line_form form = same(name, "options") ? LETTERED : BRACKETED;
        return add_lines(json_object_get(row, "options"), form, "options", where, out, err);
    }
    if (same(name, "count")) {
        return tr_buffer_printf(out, err, "%zu", json_array_size(json_object_get(row, "queries")));
    }
    if (same(name, "duration")) {
        double duration_s = 0;
        tr_status status = tr_json_get_double(row, "duration", true, where, &duration_s, err);
        return status ? status : tr_buffer_printf(out, err, "%.1f", duration_s);
    }
    if (same(name, "published")) { /* with its options, as the benchmark words them */
        const char *whole = json_string_value(json_object_get(row, "published"));
        return whole ? tr_buffer_add_text(out, whole, err) : fill("{question}\n{options}", row, where, out, err);
    }
    const char *field = same(name, "query") ? "query" : same(name, "action") ? "action" : "question", *text = "";
    tr_status status = tr_json_get_string(row, field, true, where, &text, err);
    return status ? status : tr_buffer_add_text(out, text, err);
}

static tr_status fill(const char *text, const json_t *row, const char *where, tr_buffer *out, tr_error *err)
{
    tr_span name;
    tr_status status = TR_OK;
    for (const char *at; !status && (at = next_placeholder(text, &name)); text = name.end + 1) {
        status = tr_buffer_add(out, text, (size_t)(at - text), err);
        status = status ? status : add_field(name, row, where, out, err);
    }
    return status ? status : tr_buffer_add_text(out, text, err);
}

/* The template of a task, or the one for the row's question type. */
static const char *template_of(const tr_prompts *prompts, tr_task task, const json_t *row)
{
    const json_t *own = json_object_get(json_object_get(prompts->root, "tasks"), tr_task_name(task));
    const char *type = json_string_value(json_object_get(row, "question_type"));
    const char *typed = type ? json_string_value(json_object_get(json_object_get(own, "types"), type)) : NULL;
    return typed ? typed : prompts->tasks[task].user;
}

tr_status tr_prompt_render(const tr_prompts *prompts, tr_task task, const json_t *row, const char *where,
                           tr_buffer *system, tr_buffer *user, tr_error *err)
{
    const char *problem = json_string_value(json_object_get(row, "problem"));
    if (!prompts->tasks[task].user) {
        return tr_fail(err, TR_INVALID, where, "the prompt %s has no template for the task %s", prompts->name,
                       tr_task_name(task));
    }
    tr_status status = tr_buffer_add_text(system, prompts->tasks[task].system, err);
    if (!status && problem) {
        return tr_buffer_add_text(user, problem, err);
    }
    return status ? status : fill(template_of(prompts, task, row), row, where, user, err);
}
