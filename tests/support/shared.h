/* shared.h: tests of files that stand outside the project.
 *
 * The reference data lies in ../shared beside the checkout (or in $TEMPR1_SHARED). Where it is absent such a test
 * is skipped with a printed reason, and the reasons are counted by `make test`. */
#ifndef TR_TESTS_SUPPORT_SHARED_H
#define TR_TESTS_SUPPORT_SHARED_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <cmocka.h>

#include "base/status.h"

/* The path of a file below shared/ (a static ring of 16 buffers), or NULL when it is absent. */
const char *shared_path(const char *relative);

/* The path of a file of the project's own, e.g. "tests/video/fixtures/a.mp4" (same ring). */
const char *project_path(const char *relative);

/* A fresh directory for this test process, removed at exit. */
const char *scratch_path(const char *name);

/* Skips the running cmocka test with a printed, countable reason ("SKIP: ..."). */
void skip_test(const char *reason);

/* The path, or skip_test() when it is absent. */
const char *need_shared(const char *relative);

/* Fails the running test with the error's place and message unless status is TR_OK. */
void need_ok(tr_status status, const tr_error *err);

#endif
