/* test_reward.c: `tempr1 reward` as scripts use it: rows in, rows out, messages with line and column. */
#include "support/shared.h"

#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Runs the command with input on stdin; the exit status, with stdout and stderr. */
static int run(const char *arguments, const char *input, tr_buffer *out, tr_buffer *errors)
{
    char *in_path = tr_strdup(scratch_path("in")), *out_path = tr_strdup(scratch_path("out"));
    char *error_path = tr_strdup(scratch_path("errors"));
    assert_int_equal(tr_file_write_atomic(in_path, input, strlen(input), NULL), TR_OK);
    char *command =
        tr_format("'%s' reward %s <'%s' >'%s' 2>'%s'", TEMPR1_PROGRAM, arguments, in_path, out_path, error_path);
    int status = system(command);
    tr_buffer_clear(out);
    tr_buffer_clear(errors);
    assert_int_equal(tr_file_read(out_path, 0, out, NULL), TR_OK);
    assert_int_equal(tr_file_read(error_path, 0, errors, NULL), TR_OK);
    free(command);
    free(in_path);
    free(out_path);
    free(error_path);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(const char *arguments, const char *input, int exit_status, const char *out_has,
                   const char *errors_have)
{
    tr_buffer out = {0}, errors = {0};
    int status = run(arguments, input, &out, &errors);
    if (status != exit_status || !strstr(tr_buffer_text(&out), out_has) ||
        !strstr(tr_buffer_text(&errors), errors_have)) {
        fail_msg("%s: status %d, out \"%s\", errors \"%s\"", arguments, status, tr_buffer_text(&out),
                 tr_buffer_text(&errors));
    }
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
}

#define PERFECT "{\"response\":\"<answer>5.0 to 20.0</answer>\",\"segments\":[[5,20]],\"duration\":30}\n"

static void test_rows(void **state)
{
    (void)state;
    expect("--task tg", PERFECT, 0,
           "\"reward\":2.0,\"parts\":{\"format\":1.0,\"iou\":1.0},\"parsed\":[[5.0,20.0]],\"error\":null",
           "1 rows");
    expect("", "{\"task\":\"tal\",\"id\":7,\"response\":\"<answer>0 to 10</answer>\",\"segments\":[[0,10]]}\n", 0,
           "\"reward\":3.0", "");
    expect("", "{\"task\":\"tal\",\"id\":7,\"response\":\"<answer>0 to 10</answer>\",\"segments\":[[0,10]]}\n", 0,
           "\"id\":7", "");
    expect("--scheme temporal-r1",
           "{\"response\":\"<think>a</think> <answer>{\\\"start_time\\\": \\\"0\\\", \\\"end_time\\\": "
           "\\\"30\\\"}</answer>\","
           "\"segments\":[[5,20]],\"duration\":30}\n",
           0, "\"reward\":0.75,", "");
    expect("",
           "{\"scheme\":\"time-r1\",\"response\":\"<answer>5 to "
           "20</answer>\",\"segments\":[[5,20]],\"duration\":30}\n",
           0, "\"format\":0.0,\"iou_v2\":1.0", "");
    expect("--think required", PERFECT, 0, "\"reward\":1.0", "");
    expect("--task qa", "{\"response\":\"<answer>B</answer>\",\"answer\":\"B\",\"options\":[\"x\",\"y\"]}\n", 0,
           "\"parsed\":\"B\"", "");
    expect(
        "--task gvqa",
        "{\"response\":\"<answer>B</answer>\",\"answer\":\"B\",\"options\":[\"x\",\"y\"],\"segments\":[[1,2]]}\n",
        0, "there is no complete <glue>...</glue> block", "1 answers not understood");
    expect("", "\n \n", 0, "", "");
    expect("--task tg", "{\"response\":\"what \\u0000 <answer>\",\"segments\":[[5,20]]}\n", 0, "\"parsed\":null",
           "");
    tr_buffer out = {0}, errors = {0};
    char many[sizeof PERFECT * 50] = "";
    for (int i = 0; i < 50; i++) {
        strcat(many, PERFECT);
    }
    assert_int_equal(run("--task tg --json", many, &out, &errors), 0);
    size_t lines = 0;
    for (size_t i = 0; i < out.length; i++) {
        lines += out.data[i] == '\n';
    }
    assert_int_equal(lines, 50); /* streamed, in order, one for each */
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
}

static void test_matching(void **state)
{
    (void)state;
    const char *row = "{\"task\":\"tal\",\"response\":\"<answer>0 to 1, 0 to 10, 20 to 30</answer>\","
                      "\"segments\":[[0,10],[20,30]],\"duration\":40}\n";
    expect("", row, 0, "\"match\":0.8", "");
    expect("--matching naive", row, 0, "\"match\":0.04", "");
}

static void test_bad(void **state)
{
    (void)state;
    expect("", PERFECT "{\"response\": \"x\", \"segments\": [[1, 2]\n", 1, "\"reward\":2.0", "standard input:2:");
    expect("", "{\"segments\":[[1,2]]}\n", 1, "", "standard input:1: the field \"response\" (a string) is missing");
    expect("", "{\"response\":\"x\"}\n", 1, "", "standard input:1: the field \"segments\"");
    expect("", "{\"response\":\"x\",\"segments\":[[2,1]]}\n", 1, "", "must start before it ends, found [2, 1]");
    expect("", "{\"response\":\"x\",\"segments\":[[1,NaN]]}\n", 1, "", "not valid JSON");
    expect("", "{\"response\":\"x\",\"segments\":[[1,2],[3,4]]}\n", 1, "", "exactly one segment, found 2");
    expect("", "{\"response\":\"x\",\"segments\":[[1,2]],\"duration\":-3}\n", 1, "", "must not be negative");
    expect("", "{\"response\":5,\"segments\":[[1,2]]}\n", 1, "", "of another type");
    expect("", "[1]\n", 1, "", "a row must be an object, found a list");
    expect("", "{\"task\":\"tgg\",\"response\":\"x\",\"segments\":[[1,2]]}\n", 1, "",
           "standard input:1: there is no task 'tgg'");
    expect("--scheme temporal-r1 --task tal", "{\"response\":\"x\",\"segments\":[[1,2]]}\n", 1, "",
           "has no reward for the task tal");
    expect("--task tgg", "", 2, "", "there is no task 'tgg'");
    expect("--scheme tempr2", "", 2, "", "did you mean 'tempr1'?");
    expect("--think maybe", "", 2, "", "--think is optional, required or forbidden");
    expect("--schem x", "", 2, "", "did you mean --scheme?");
    expect("--keep-going", "{\n" PERFECT, 0, "\"reward\":null", "standard input:1:");
}

static void test_own_scheme(void **state)
{
    (void)state;
    const char *path = scratch_path("scheme.json");
    static const char good[] = "{\"parts\": {\"format\": 0.25, \"iou\": 0.75}}",
                      bad[] = "{\"parts\": {\"fromat\": 1}}";
    char *arguments = tr_format("--config '%s'", path);
    assert_int_equal(tr_file_write_atomic(path, good, sizeof good - 1, NULL), TR_OK);
    expect(arguments, PERFECT, 0, "\"reward\":1.0,", "");
    assert_int_equal(tr_file_write_atomic(path, bad, sizeof bad - 1, NULL), TR_OK);
    expect(arguments, PERFECT, 1, "", "there is no part 'fromat' in a reward scheme (did you mean 'format'?)");
    free(arguments);
    expect("--help", "", 0, "usage: tempr1 reward", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_matching),
                                       cmocka_unit_test(test_bad), cmocka_unit_test(test_own_scheme)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
