/* test_prompt.c: prompt sets: the built-in ones, filling from rows, refusals. */
#include "support/shared.h"

#include "base/file.h"
#include "task/prompt.h"

#include <stdio.h>
#include <string.h>

static json_t *row_of(const char *text)
{
    json_t *row = NULL;
    assert_int_equal(tr_json_parse(text, strlen(text), "row", 0, &row, NULL), TR_OK);
    return row;
}

static void expect(const char *set, tr_task task, const char *row_text, const char *system_has,
                   const char *user_has)
{
    tr_prompts prompts;
    tr_buffer system = {0}, user = {0};
    tr_error err = {0};
    json_t *row = row_of(row_text);
    assert_int_equal(tr_prompts_builtin(set, &prompts, &err), TR_OK);
    if (tr_prompt_render(&prompts, task, row, "row", &system, &user, &err)) {
        fail_msg("%s: %s", set, err.message);
    }
    if (!strstr(tr_buffer_text(&system), system_has) || !strstr(tr_buffer_text(&user), user_has)) {
        fail_msg("%s: '%s' / '%s'", set, tr_buffer_text(&system), tr_buffer_text(&user));
    }
    tr_buffer_free(&system);
    tr_buffer_free(&user);
    tr_prompts_free(&prompts);
    json_decref(row);
}

static void test_builtin(void **state)
{
    (void)state;
    static const char *const rows[TR_TASK_COUNT] = {
        [TR_TASK_TG] = "{\"query\":\"a dog {runs} {\\\"x\\\": 1}\"}",
        [TR_TASK_DTG] = "{\"queries\":[\"one\",\"two\"]}",
        [TR_TASK_VHD] = "{\"query\":\"goals\"}",
        [TR_TASK_GVQA] = "{\"question\":\"why?\",\"options\":[\"x\",\"y\"]}",
        [TR_TASK_TAL] = "{\"action\":\"jumping\"}",
        [TR_TASK_QA] = "{\"question\":\"who?\",\"options\":[\"x\",\"y\"]}"};
    static const char *const has[TR_TASK_COUNT] = {"\"a dog {runs} {\"x\": 1}\"",
                                                   "1. one\n2. two",
                                                   "\"goals\"",
                                                   "why?\nA. x\nB. y",
                                                   "\"jumping\"",
                                                   "who?\nA. x\nB. y"};
    for (int t = 0; t < TR_TASK_COUNT; t++) {
        expect("think", (tr_task)t, rows[t], "helpful", has[t]);
        expect("no-think", (tr_task)t, rows[t], "helpful", has[t]);
    }
    expect("temporal-r1", TR_TASK_TG, rows[0],
           "MUST BE put in <answer> </answer> tags. Output the final answer in JSON",
           "Give the query: \"a dog {runs} {\"x\": 1}\", when does the described content occur in the video?");
    expect("temporal-r1", TR_TASK_TG, "{\"problem\":\"When? {query}\",\"query\":\"x\"}", "FIRST think",
           "When? {query}");
    expect("time-r1", TR_TASK_TG, rows[0], "", "\"start time to end time\"");
    expect("videochat-r1", TR_TASK_GVQA, rows[TR_TASK_GVQA], "", "<glue>[(5.2, 10.4)]</glue>");
    expect("mvbench", TR_TASK_QA, rows[TR_TASK_QA], "helpful",
           "Question:who?\nOption:\n(A) x\n(B) y\nOnly give the best option.");
    expect("mvbench-official", TR_TASK_QA, rows[TR_TASK_QA], "Carefully watch",
           "the question.\nQuestion: who?\nOptions:\n(A) x\n(B) y\nOnly give the best option.");
    expect("video-mme", TR_TASK_QA, rows[TR_TASK_QA], "", "who?\nA. x\nB. y\nThe best answer is:");
    expect("tempcompass", TR_TASK_QA, rows[TR_TASK_QA], "", "who?\nA. x\nB. y\nPlease directly");
    expect("tempcompass", TR_TASK_QA,
           "{\"question\":\"w\",\"options\":[\"x\"],\"published\":\"w\\nCaption A: x\","
           "\"question_type\":\"caption_matching\"}",
           "", "w\nCaption A: x\nPlease directly give the best option:");
    expect("tempcompass", TR_TASK_QA,
           "{\"question\":\"is it?\",\"options\":[\"yes\",\"no\"],\"published\":\"is "
           "it?\",\"question_type\":\"yes_no\"}",
           "", "is it?\nPlease answer yes or no:");
    expect("museg", TR_TASK_TAL, rows[TR_TASK_TAL], "", "3.50-9.00 12.00-15.50");
}

/* The text inside the program is the file of share/prompts, byte for byte; its think setting fits its words. */
static void test_embedded(void **state)
{
    (void)state;
    for (const char *const *name = tr_prompts_names(); *name; name++) {
        char path[256];
        size_t length;
        tr_buffer file = {0};
        tr_prompts prompts;
        const char *text = tr_prompts_builtin_text(*name, &length);
        snprintf(path, sizeof path, "share/prompts/%s.yaml", *name);
        assert_int_equal(tr_file_read(project_path(path), 0, &file, NULL), TR_OK);
        assert_int_equal(file.length, length);
        assert_memory_equal(file.data, text, length);
        assert_int_equal(tr_prompts_builtin(*name, &prompts, NULL), TR_OK);
        assert_string_equal(prompts.name, *name);
        for (int t = 0; t < TR_TASK_COUNT; t++) {
            const char *user = prompts.tasks[t].user;
            if (user) {
                bool asks = strstr(user, "<think>") || strstr(prompts.tasks[t].system, "<think>");
                assert_int_equal(asks, prompts.think == TR_THINK_REQUIRED);
            }
        }
        tr_prompts_free(&prompts);
        tr_buffer_free(&file);
    }
}

static void refuse(const char *text, const char *says)
{
    tr_prompts prompts;
    tr_error err = {0};
    if (!tr_prompts_parse(text, strlen(text), "own.yaml", &prompts, &err) || !strstr(err.message, says)) {
        fail_msg("'%s': '%s', expected '%s'", text, err.message, says);
    }
    assert_null(prompts.root);
}

static void test_own(void **state)
{
    (void)state;
    const char *own = "tasks:\n  tg: {system: Be brief., user: 'Of {duration} s: {query}'}\n";
    tr_prompts prompts;
    tr_buffer system = {0}, user = {0};
    tr_error err = {0};
    json_t *row = row_of("{\"query\":\"x\",\"duration\":12.25}"), *poor = row_of("{\"query\":\"x\"}");
    assert_int_equal(tr_prompts_parse(own, strlen(own), "own.yaml", &prompts, &err), TR_OK);
    assert_int_equal(tr_prompt_render(&prompts, TR_TASK_TG, row, "rows:1", &system, &user, &err), TR_OK);
    assert_string_equal(system.data, "Be brief.");
    assert_string_equal(user.data, "Of 12.2 s: x");
    assert_int_equal(prompts.think, TR_THINK_OPTIONAL);
    assert_int_equal(tr_prompt_render(&prompts, TR_TASK_TG, poor, "rows:2", &system, &user, &err), TR_FORMAT);
    assert_string_equal(err.where, "rows:2");
    assert_non_null(strstr(err.message, "duration"));
    assert_int_equal(tr_prompt_render(&prompts, TR_TASK_TAL, row, "rows:1", &system, &user, &err), TR_INVALID);
    tr_prompts_free(&prompts);
    tr_buffer_free(&system);
    tr_buffer_free(&user);
    json_decref(row);
    json_decref(poor);
    refuse("tasks: {tg: 'When?'}", "lacks the placeholder {query}");
    refuse("tasks: {qa: '{question}'}", "lacks the placeholder {options}");
    refuse("tasks: {tg: '{query} {durration}'}", "did you mean {duration}?");
    refuse("tasks: {tgg: '{query}'}", "there is no task 'tgg'");
    refuse("think: maybe\ntasks: {tg: '{query}'}", "required, forbidden or optional");
    refuse("taks: {tg: '{query}'}", "did you mean 'tasks'?");
    refuse("[1, 2]", "must be a mapping");
    refuse("name: x", "tasks");
    refuse("tasks: {tg: [1]}", "must be a text");
    assert_int_equal(tr_prompts_builtin("thinking", &prompts, &err), TR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_builtin), cmocka_unit_test(test_embedded),
                                       cmocka_unit_test(test_own)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
