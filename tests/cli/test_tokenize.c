/* test_tokenize.c: the command `tempr1 tokenize` as scripts use it: lines in, lines out, exit statuses. */
#include "support/shared.h"

#include "base/file.h"
#include "text/train_bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static char directory[4096];

static int train(void **state)
{
    (void)state;
    const char *texts[] = {"Find the jump. Find the red ball. When does the ball jump?"};
    tr_train_bpe_options options = {TR_TRAIN_SMALLEST + 20, false};
    snprintf(directory, sizeof directory, "%s", scratch_path("tokenizer"));
    return tr_train_bpe(texts, 1, &options, directory, NULL) ? -1 : 0;
}

/* Runs the command with input; the two outputs are appended to out and errors. Returns the exit status. */
static int run(const char *options, const char *input, tr_buffer *out, tr_buffer *errors)
{
    char in_path[4096], out_path[4096], error_path[4096];
    snprintf(in_path, sizeof in_path, "%s", scratch_path("in"));
    snprintf(out_path, sizeof out_path, "%s", scratch_path("out"));
    snprintf(error_path, sizeof error_path, "%s", scratch_path("errors"));
    assert_int_equal(tr_file_write_atomic(in_path, input, strlen(input), NULL), TR_OK);
    char *command =
        tr_format("'%s' tokenize %s <'%s' >'%s' 2>'%s'", TEMPR1_PROGRAM, options, in_path, out_path, error_path);
    int status = system(command);
    free(command);
    tr_buffer_clear(out);
    tr_buffer_clear(errors);
    assert_int_equal(tr_file_read(out_path, 0, out, NULL), TR_OK);
    assert_int_equal(tr_file_read(error_path, 0, errors, NULL), TR_OK);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(const char *flags, const char *input, int exit_status, const char *output, const char *says)
{
    tr_buffer out = {0}, errors = {0};
    char *options = tr_format("--model '%s' %s", directory, flags);
    int status = run(options, input, &out, &errors);
    if (status != exit_status || strcmp(tr_buffer_text(&out), output) || !strstr(tr_buffer_text(&errors), says)) {
        fail_msg("%s: status %d, output \"%s\", errors \"%s\"", flags, status, tr_buffer_text(&out),
                 tr_buffer_text(&errors));
    }
    free(options);
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
}

static void test_lines(void **state)
{
    (void)state;
    expect("", "!\n\n!\"#\nq", 0, "0\n\n0 1 2\n80\n", "");
    expect("--decode", "0 1 2\n\n80\n0,1\n", 0, "!\"#\n\nq\n!\"\n", "");
    expect("--special", "<|endoftext|>!\n", 0, "276 0\n", "");
    expect("--decode", "276 0\n", 0, "<|endoftext|>!\n", "");
    expect("--json", "\"!\\n!\"\n\"\"\n", 0, "{\"ids\":[0,198,0]}\n{\"ids\":[]}\n", "");
    expect("--json --decode", "{\"ids\":[0,198,0]}\n[1]\n", 0, "\"!\\n!\"\n\"\\\"\"\n", "");
    expect("--json --special", "\"<|im_end|>\"\n", 0, "{\"ids\":[278]}\n", "");
    expect("--tokenizer /nonexistent", "!\n", 1, "", "/nonexistent: there is no such directory");
}

/* Without the flag the text of a special token is plain: it decodes to itself, from other ids. */
static void test_special_is_off(void **state)
{
    (void)state;
    tr_buffer out = {0}, errors = {0};
    char *options = tr_format("--tokenizer '%s'", directory);
    assert_int_equal(run(options, "<|im_end|>\n", &out, &errors), 0);
    assert_null(strstr(out.data, "278"));
    assert_true(strlen(out.data) > 4);
    free(options);
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
}

static void test_faults_name_the_line(void **state)
{
    (void)state;
    expect("", "!\n\xFF\n", 1, "0\n", "stdin:2: the text is not UTF-8: byte 0xFF at offset 0");
    expect("--decode", "0\n0 x\n", 1, "!\n", "stdin:2: token ids are numbers");
    expect("--decode", "0 9999\n", 1, "", "stdin:1: no token has id 9999");
    expect("--decode", "-1\n", 1, "", "-1 is not a token id");
    expect("--json", "\"!\"\n!\n", 1, "{\"ids\":[0]}\n", "stdin:2:1");
    expect("--json", "[0]\n", 1, "", "expected one JSON string");
    expect("--json --decode", "{\"id\":[0]}\n", 1, "", "stdin:1: expected {\"ids\"");
    expect("--json --decode", "[\"0\"]\n", 1, "", "must be an integer");
    expect("--colour", "", 2, "", "unknown option --colour");
    expect("extra", "", 2, "", "unexpected argument 'extra'");
}

static void test_directory_is_needed(void **state)
{
    (void)state;
    tr_buffer out = {0}, errors = {0};
    assert_int_equal(run("", "", &out, &errors), 2);
    assert_non_null(strstr(errors.data, "--model DIR or --tokenizer DIR is needed"));
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_special_is_off),
        cmocka_unit_test(test_faults_name_the_line),
        cmocka_unit_test(test_directory_is_needed),
    };
    return cmocka_run_group_tests(tests, train, NULL);
}
