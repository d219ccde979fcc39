/* test_metrics.c: `tempr1 metrics` as scripts use it: formats, table, JSON, messages for bad files. */
#include "support/shared.h"

#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static char *put(const char *name, const char *text)
{
    char *path = tr_strdup(scratch_path(name));
    assert_int_equal(tr_file_write_atomic(path, text, strlen(text), NULL), TR_OK);
    return path;
}

static int run(const char *arguments, tr_buffer *out, tr_buffer *errors)
{
    char *out_path = tr_strdup(scratch_path("out")), *error_path = tr_strdup(scratch_path("errors"));
    char *command = tr_format("'%s' metrics %s >'%s' 2>'%s'", TEMPR1_PROGRAM, arguments, out_path, error_path);
    int status = system(command);
    tr_buffer_clear(out);
    tr_buffer_clear(errors);
    assert_int_equal(tr_file_read(out_path, 0, out, NULL), TR_OK);
    assert_int_equal(tr_file_read(error_path, 0, errors, NULL), TR_OK);
    free(command);
    free(out_path);
    free(error_path);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(const char *pred, const char *truth, const char *more, int exit_status, const char *out_has,
                   const char *errors_have)
{
    tr_buffer out = {0}, errors = {0};
    char *pred_path = put("pred", pred), *truth_path = truth ? put("truth", truth) : NULL;
    char *arguments = truth ? tr_format("--pred '%s' --truth '%s' %s", pred_path, truth_path, more)
                            : tr_format("--pred '%s' %s", pred_path, more);
    int status = run(arguments, &out, &errors);
    if (status != exit_status || !strstr(tr_buffer_text(&out), out_has) ||
        !strstr(tr_buffer_text(&errors), errors_have)) {
        fail_msg("%s: status %d, out \"%s\", errors \"%s\"", arguments, status, tr_buffer_text(&out),
                 tr_buffer_text(&errors));
    }
    free(pred_path);
    free(truth_path);
    free(arguments);
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
}

#define TRUTH                                                                                                      \
    "{\"id\":\"a\",\"task\":\"tg\",\"segments\":[[0,10]],\"duration\":30}\n"                                       \
    "{\"id\":\"b\",\"task\":\"tg\",\"segments\":[[10,20]],\"duration\":30}\n"

static void test_rows(void **state)
{
    (void)state;
    const char *pred =
        "{\"id\":\"a\",\"response\":\"<answer>0 to 5</answer>\"}\n{\"id\":\"b\",\"response\":\"from 10 to 20\"}\n";
    expect(pred, TRUTH, "", 0, "mIoU               75.00", "2 truths 2 predictions 2 parsed 0 unparsed");
    expect(pred, TRUTH, "--json", 0, "\"mIoU\":{\"value\":0.75,\"low\":0.5,\"high\":1.0,\"count\":2}",
           "format rows");
    expect(pred, TRUTH, "--resamples 0", 0, "n/a", "");
    expect("{\"id\":\"a\",\"response\":\"no\"}\n{\"id\":\"zz\",\"response\":\"x\"}\n{\"id\":\"a\",\"response\":"
           "\"\"}\n",
           TRUTH, "", 0, "mIoU                0.00", "missing: b\nunknown: zz\nduplicates: a\nunparsed: a");
    /* Charades-STA's own file, predictions by video and query */
    expect("[{\"video\":\"AO8RW\",\"query\":\"a person is putting a book on a shelf.\",\"response\":\"0.0 - 6.9 "
           "seconds\"}]",
           "AO8RW 0.0 6.9##a person is putting a book on a shelf.\n", "", 0, "mIoU              100.00", "");
}

static void test_formats(void **state)
{
    (void)state;
    expect("{\"v>>>c>>>[0, 10]\": \"5 - 10\"}", NULL, "--temporal-r1", 0, "mIoU               50.00",
           "format lmms-eval");
    expect("{\"results\": {\"x\": [{\"label\": \"run\", \"score\": 1, \"segment\": [0, 10]}]}}",
           "{\"database\": {\"v_x\": {\"subset\": \"validation\", \"annotations\": [{\"label\": \"run\", "
           "\"segment\": [0, 10]}]}}}",
           "", 0, "average_mAP                          1.000000", "format activitynet");
    char *pred = tr_strdup(need_shared("data/oracles/qvhighlights/sample_val_preds.jsonl"));
    char *truth = tr_strdup(need_shared("data/annotations/qvhighlights/highlight_val_release.jsonl"));
    char *arguments = tr_format("--pred '%s' --truth '%s' --json", pred, truth);
    tr_buffer out = {0}, errors = {0};
    assert_int_equal(run(arguments, &out, &errors), 0);
    assert_non_null(strstr(tr_buffer_text(&out), "\"MR-full-R1@0.5\":53.9"));
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
    free(pred);
    free(truth);
    free(arguments);
}

static void test_bad(void **state)
{
    (void)state;
    expect("{\"id\":\"a\",\"response\":\"x\"}\n{\"id\": \n", TRUTH, "", 1, "", ":2:");
    expect("[]", "{\"id\":\"a\",\"segments\":[[2,1]]}\n{\"id\":\"b\",\"segments\":[[1,2]]}\n", "", 1, "", "");
    expect("[{\"id\":\"a\",\"response\":\"1 to 2\"}]",
           "{\"id\":\"a\",\"segments\":[[1,2]]}\n{\"id\":\"b\",\"segments\":[[2,1]]}\n", "", 1, "",
           "truth:2: segment 1 must start before it ends");
    expect("[{\"id\":\"a\",\"response\":\"1 to 2\"}]",
           "{\"id\":\"a\",\"segments\":[[1,2]]}\n{\"id\":\"a\",\"segments\":[[1,2]]}\n", "", 1, "",
           "holds the id 'a' twice");
    expect("[{\"response\":\"1 to 2\"}]", TRUTH, "", 1, "", "no ids in common, and are not as many: 1 and 2");
    expect("[{\"id\":\"a\"}]", TRUTH, "--format qvhighlight", 1, "", "did you mean 'qvhighlights'?");
    expect("[{\"id\":\"a\"}]", NULL, "", 1, "", "need a truth");
    expect("not json", TRUTH, "", 1, "", "neither JSON nor a line");
    expect("[]", "AO8RW 0.0 6.9##a\r\n\r\nAO8RW 0.0 inf##b\r\n", "", 1, "", ":3: neither JSON nor a line");
    expect("[]", "AO8RW 0.0 6.9##a\nAO8RW 0.0\n6.9##b\n", "", 1, "", ":2: neither JSON nor a line");
    expect("[]", "AO8RW 0.0 6.9##\xff\n", "", 1, "", ":1: neither JSON nor a line");
    expect("{\"results\": {\"x\": [{\"label\": \"run\", \"segment\": [0, 10]}]}}",
           "{\"database\": {\"x\": {\"subset\": \"validation\", \"annotations\": [{\"label\": \"run\", "
           "\"segment\": [0, 10]}]}}}",
           "", 1, "", "video x, item 1: needs \"label\", \"segment\": [start, end] and \"score\"");
    expect("{\"results\": {}}", "{\"database\": {}}", "", 1, "", "the truth holds no annotation");
    expect("[{\"qid\":1,\"pred_relevant_windows\":[[0,1,1]]}]",
           "{\"qid\":2,\"relevant_windows\":[[0,1]]}\n{\"qid\":3,\"relevant_windows\":[]}\n", "", 1, "",
           "no query of the predictions is in the truth");
    expect("[]", TRUTH, "--task x", 2, "", "there is no task 'x'");
    tr_buffer out = {0}, errors = {0};
    assert_int_equal(run("--truth x", &out, &errors), 2);
    assert_int_equal(run("--pred /no/such/file --truth x", &out, &errors), 1);
    assert_non_null(strstr(tr_buffer_text(&errors), "/no/such/file"));
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_formats),
                                       cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
