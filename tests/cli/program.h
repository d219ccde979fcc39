/* program.h: runs `tempr1 ARGUMENTS` as scripts do and looks at exit status, stdout and stderr. */
#ifndef TR_TESTS_CLI_PROGRAM_H
#define TR_TESTS_CLI_PROGRAM_H

#include "support/shared.h"

#include "base/file.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static const char *program_before = ""; /* shell words in front of the program, e.g. "ulimit -f 10;" */

/* Runs it; arguments is freed. Exit status, with stdout and stderr in the two buffers (cleared first). */
static inline int program_run(char *arguments, tr_buffer *out, tr_buffer *errors)
{
    char out_path[600], error_path[600];
    snprintf(out_path, sizeof out_path, "%s", scratch_path("program.out"));
    snprintf(error_path, sizeof error_path, "%s", scratch_path("program.err"));
    char *command =
        tr_format("%s '%s' %s >'%s' 2>'%s'", program_before, TEMPR1_PROGRAM, arguments, out_path, error_path);
    assert_non_null(command);
    int status = system(command);
    free(command);
    free(arguments);
    tr_buffer_clear(out);
    tr_buffer_clear(errors);
    assert_int_equal(tr_file_read(out_path, 0, out, NULL), TR_OK);
    assert_int_equal(tr_file_read(error_path, 0, errors, NULL), TR_OK);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Fails unless the exit status is the expected one and both outputs hold their texts ("" is in every output). */
static inline void program_expect(char *arguments, int exit_status, const char *out_has, const char *errors_have)
{
    tr_buffer out = {0}, errors = {0};
    char *shown = tr_strdup(arguments);
    int status = program_run(arguments, &out, &errors);
    if (status != exit_status || !strstr(tr_buffer_text(&out), out_has) ||
        !strstr(tr_buffer_text(&errors), errors_have)) {
        fail_msg("tempr1 %s: status %d (expected %d)\nstdout: %s\nstderr: %s\nexpected there: \"%s\" and \"%s\"",
                 shown, status, exit_status, tr_buffer_text(&out), tr_buffer_text(&errors), out_has, errors_have);
    }
    free(shown);
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
}

/* Runs it, which must succeed; stdout's lines as a JSON list (owned by the caller). */
static inline json_t *program_lines(char *arguments)
{
    tr_buffer out = {0}, errors = {0};
    tr_error err = {0};
    char *shown = tr_strdup(arguments);
    json_t *list = json_array();
    int status = program_run(arguments, &out, &errors);
    if (status) {
        fail_msg("tempr1 %s: status %d\n%s", shown, status, tr_buffer_text(&errors));
    }
    for (char *at = out.data, *end; at && *at; at = end + 1) {
        json_t *one;
        end = strchr(at, '\n');
        assert_non_null(end);
        if (tr_json_parse(at, (size_t)(end - at), "stdout", 0, &one, &err)) {
            fail_msg("tempr1 %s: %s: %s", shown, err.where, err.message);
        }
        json_array_append_new(list, one);
    }
    free(shown);
    tr_buffer_free(&out);
    tr_buffer_free(&errors);
    return list;
}

/* A file in the scratch folder; its path lies in a static ring of 16 buffers. */
static inline const char *program_file(const char *name, const char *text)
{
    const char *path = scratch_path(name);
    tr_error err = {0};
    if (tr_file_write_atomic(path, text, strlen(text), &err)) {
        fail_msg("%s: %s", err.where, err.message);
    }
    return path;
}

#endif
