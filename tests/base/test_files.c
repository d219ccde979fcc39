/* test_files.c: atomic writing, directories, locks, lines, maps. */
#include "support/shared.h"

#include "base/file.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void read_all(const char *path, tr_buffer *out)
{
    tr_buffer_clear(out);
    assert_int_equal(tr_file_read(path, 0, out, NULL), TR_OK);
}

static void test_atomic_write_replaces(void **state)
{
    (void)state;
    const char *path = scratch_path("a.txt");
    tr_buffer text = {0};
    assert_int_equal(tr_file_write_atomic(path, "one", 3, NULL), TR_OK);
    assert_int_equal(tr_file_write_atomic(path, "second", 6, NULL), TR_OK);
    read_all(path, &text);
    assert_string_equal(text.data, "second");
    tr_buffer_free(&text);
}

/* A full disk, simulated by a file size limit in a child process. */
static void test_full_disk_keeps_the_old_file(void **state)
{
    (void)state;
    const char *path = scratch_path("full.txt");
    assert_int_equal(tr_file_write_atomic(path, "old", 3, NULL), TR_OK);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit limit = {4096, 4096};
        char *big = calloc(1, 1 << 20);
        tr_error err = {0};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        tr_status status = tr_file_write_atomic(path, big, 1 << 20, &err);
        free(big);
        _exit(status == TR_IO && strstr(err.message, path) ? 0 : 1);
    }
    int result;
    waitpid(child, &result, 0);
    assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    tr_buffer text = {0};
    read_all(path, &text);
    assert_string_equal(text.data, "old");
    tr_buffer_free(&text);
    char **names;
    size_t count;
    assert_int_equal(tr_directory_list(scratch_path("."), &names, &count, NULL), TR_OK);
    for (size_t i = 0; i < count; i++) {
        assert_null(strstr(names[i], ".part-")); /* the temporary file is gone */
    }
    tr_names_free(names, count);
}

static void test_missing_file_is_named(void **state)
{
    (void)state;
    tr_error err = {0};
    tr_buffer text = {0};
    assert_int_equal(tr_file_read(scratch_path("absent"), 0, &text, &err), TR_NOT_FOUND);
    assert_non_null(strstr(err.message, "absent"));
    tr_file_map map;
    assert_int_equal(tr_file_map_open(&map, scratch_path("."), &err), TR_INVALID);
    tr_buffer_free(&text);
}

static void test_limit(void **state)
{
    (void)state;
    tr_buffer text = {0};
    const char *path = scratch_path("limit");
    assert_int_equal(tr_file_write_atomic(path, "12345", 5, NULL), TR_OK);
    assert_int_equal(tr_file_read(path, 4, &text, NULL), TR_FORMAT);
    tr_buffer_clear(&text);
    assert_int_equal(tr_file_read(path, 5, &text, NULL), TR_OK);
    tr_buffer_free(&text);
}

static void test_lines_keep_nul_bytes(void **state)
{
    (void)state;
    const char *path = scratch_path("lines");
    assert_int_equal(tr_file_write_atomic(path, "a\0b\n\nlast", 9, NULL), TR_OK);
    FILE *f = fopen(path, "rb");
    tr_buffer line = {0};
    bool got;
    assert_int_equal(tr_file_read_line(f, 0, &line, &got, NULL), TR_OK);
    assert_true(got && line.length == 3 && line.data[1] == 0);
    assert_int_equal(tr_file_read_line(f, 0, &line, &got, NULL), TR_OK);
    assert_true(got && line.length == 0);
    assert_int_equal(tr_file_read_line(f, 3, &line, &got, NULL), TR_FORMAT);
    assert_int_equal(tr_file_read_line(f, 0, &line, &got, NULL), TR_OK);
    assert_false(got);
    fclose(f);
    tr_buffer_free(&line);
}

static void test_directories(void **state)
{
    (void)state;
    const char *deep = scratch_path("x/y/z");
    assert_int_equal(tr_directory_make(deep, NULL), TR_OK);
    assert_int_equal(tr_directory_make(deep, NULL), TR_OK);
    assert_true(tr_directory_exists(deep));
    assert_int_equal(tr_directory_remove(scratch_path("x"), NULL), TR_OK);
    assert_false(tr_directory_exists(deep));
    assert_int_equal(tr_directory_remove("/", NULL), TR_INVALID);
    assert_int_equal(tr_file_write_atomic(scratch_path("file"), "", 0, NULL), TR_OK);
    assert_int_not_equal(tr_directory_make(scratch_path("file/below"), NULL), TR_OK);
}

static void test_lock_names_its_owner(void **state)
{
    (void)state;
    const char *path = scratch_path("lock");
    int first, second;
    tr_error err = {0};
    assert_int_equal(tr_file_lock(path, &first, &err), TR_OK);
    assert_int_equal(tr_file_lock(path, &second, &err), TR_LOCKED);
    char id[32];
    snprintf(id, sizeof id, "%ld", (long)getpid());
    assert_non_null(strstr(err.message, id));
    tr_file_unlock(first);
    assert_int_equal(tr_file_lock(path, &second, &err), TR_OK);
    tr_file_unlock(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_atomic_write_replaces), cmocka_unit_test(test_full_disk_keeps_the_old_file),
        cmocka_unit_test(test_missing_file_is_named), cmocka_unit_test(test_limit),
        cmocka_unit_test(test_lines_keep_nul_bytes),  cmocka_unit_test(test_directories),
        cmocka_unit_test(test_lock_names_its_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
