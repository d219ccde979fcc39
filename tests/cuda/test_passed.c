/* test_passed.c: `auto` takes the GPU only behind the mark of tests that passed with these kernels on this GPU. */
#include "cuda_fixture.h"

#include "base/file.h"
#include "tensor/select.h"

#include <stdlib.h>
#include <sys/stat.h>

static int taken_by(const char *device)
{
    int index = -2;
    assert_true(tr_device_parse(device, &index));
    return index;
}

static void test_auto_asks_for_the_mark(void **state)
{
    (void)state;
    tr_error err = {0};
    tr_buffer mark = {0};
    table_of(TR_F32); /* skips where there is no GPU */
    char *cache = tr_strdup(scratch_path("cache")), *path = tr_path_join(cache, "tempr1/gpu-tests-passed");
    assert_int_equal(setenv("XDG_CACHE_HOME", cache, 1), 0);
    assert_false(tr_cuda_passed());
    assert_int_equal(taken_by("auto"), -1);
    assert_int_equal(taken_by(NULL), -1);
    assert_int_equal(tr_cuda_mark_passed(&err), TR_OK);
    assert_true(tr_cuda_passed());
    assert_int_equal(taken_by("auto"), 0);
    assert_int_equal(taken_by("cpu"), -1);
    /* other kernels, another driver, another GPU: any byte that differs */
    assert_int_equal(tr_file_read(path, 0, &mark, &err), TR_OK);
    mark.data[0] ^= 1;
    assert_int_equal(tr_file_write_atomic(path, mark.data, mark.length, &err), TR_OK);
    assert_int_equal(taken_by("auto"), -1);
    mark.data[0] ^= 1;
    assert_int_equal(tr_file_write_atomic(path, mark.data, mark.length - 1, &err), TR_OK);
    assert_int_equal(taken_by("auto"), -1);
    tr_buffer_free(&mark);
    free(path);
    free(cache);
}

static void test_the_mark_needs_a_folder(void **state)
{
    (void)state;
    tr_error err = {0};
    table_of(TR_F32);
    assert_int_equal(setenv("XDG_CACHE_HOME", "relative", 1), 0); /* the rule: it must be absolute */
    assert_int_equal(unsetenv("HOME"), 0);
    assert_int_equal(tr_cuda_mark_passed(&err), TR_INVALID);
    assert_false(tr_cuda_passed());
    assert_int_equal(setenv("XDG_CACHE_HOME", "/proc/nowhere", 1), 0);
    assert_int_not_equal(tr_cuda_mark_passed(&err), TR_OK);
    assert_false(tr_cuda_passed());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto_asks_for_the_mark),
        cmocka_unit_test(test_the_mark_needs_a_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
