/* test_install.c: `cmake --install` into an empty folder gives a program, a header, a library and a pkg-config file
 * that another program builds and runs against; the library shows nothing but tempr1_*. */
#include "cli/program.h"
#include "support/tiny.h"

static char prefix[512];

/* Runs a shell command; its exit status, what it printed (both streams) in said. */
static int shell(char *command, tr_buffer *said)
{
    char *all = tr_format("( %s ) >'%s' 2>&1", command, scratch_path("said"));
    int status = system(all);
    tr_buffer_clear(said);
    assert_int_equal(tr_file_read(scratch_path("said"), 0, said, NULL), TR_OK);
    free(all);
    free(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void must(char *command, tr_buffer *said)
{
    char *shown = tr_strdup(command);
    if (shell(command, said)) {
        fail_msg("%s\n%s", shown, tr_buffer_text(said));
    }
    free(shown);
}

static int install(void **state)
{
    (void)state;
    tr_buffer said = {0};
    snprintf(prefix, sizeof prefix, "%s", scratch_path("prefix"));
    must(tr_format("'%s' --install '%s' --prefix '%s'", TEMPR1_CMAKE, TEMPR1_BUILD_DIR, prefix), &said);
    tr_buffer_free(&said);
    return 0;
}

static void need_pkg_config(void)
{
    tr_buffer said = {0};
    int status = shell(tr_format("pkg-config --version"), &said);
    tr_buffer_free(&said);
    if (status) {
        skip_test("pkg-config is absent");
    }
}

static char *pkg_config(const char *what)
{
    return tr_format("PKG_CONFIG_PATH=$(dirname $(find '%s' -name tempr1.pc)) pkg-config %s tempr1", prefix, what);
}

static void test_installed_files(void **state)
{
    (void)state;
    tr_buffer said = {0};
    must(tr_format("'%s/bin/tempr1' --version", prefix), &said);
    assert_non_null(strstr(tr_buffer_text(&said), "tempr1 0."));
    must(tr_format("test -f '%s/include/tempr1.h'", prefix), &said);
    tr_buffer_free(&said);
}

static void test_a_client_builds_and_runs(void **state)
{
    (void)state;
    tr_buffer said = {0};
    need_pkg_config();
    char *flags = pkg_config("--cflags --libs"), *directory = pkg_config("--variable=libdir");
    char tokenizer[512], model[512];
    snprintf(tokenizer, sizeof tokenizer, "%s", scratch_path("tokenizer"));
    snprintf(model, sizeof model, "%s", scratch_path("model"));
    tiny_tokenizer(tokenizer);
    tiny_checkpoint(tokenizer, model, 3, 0);
    must(tr_format("'%s' -std=c11 -Wall -Wextra -Werror -pedantic %s -o '%s/client' '%s' $(%s)", TEMPR1_COMPILER,
                   TEMPR1_CLIENT_FLAGS, prefix, project_path("tests/api/client.c"), flags),
         &said);
    must(tr_format("LD_LIBRARY_PATH=$(%s) '%s/client' '%s'", directory, prefix, model), &said);
    assert_non_null(strstr(tr_buffer_text(&said), "mIoU 0.500"));
    assert_non_null(strstr(tr_buffer_text(&said), "\"logprobs\":["));
    /* the same numbers as the program's */
    json_t *scored =
        program_lines(tr_format("score --model '%s' --input '%s' --quiet", model,
                                program_file("row.jsonl", "{\"prompt\":\"When?\",\"response\":\"2.0\"}")));
    tr_buffer one = {0};
    assert_int_equal(tr_json_print(json_array_get(scored, 0), &one, NULL), TR_OK);
    assert_non_null(strstr(tr_buffer_text(&said), tr_buffer_text(&one)));
    json_decref(scored);
    tr_buffer_free(&one);
    tr_buffer_free(&said);
    free(flags);
    free(directory);
}

static void test_the_header_is_cpp_too(void **state)
{
    (void)state;
    tr_buffer said = {0};
    if (shell(tr_format("command -v g++"), &said)) {
        tr_buffer_free(&said);
        skip_test("g++ is absent");
    }
    const char *source =
        program_file("header.cpp", "#include <tempr1.h>\nint main() { return tempr1_version() == 0; }\n");
    must(tr_format("g++ -std=c++11 -Wall -Wextra -Werror -pedantic -I'%s/include' -fsyntax-only '%s'", prefix,
                   source),
         &said);
    tr_buffer_free(&said);
}

static void test_only_tempr1_symbols_are_visible(void **state)
{
    (void)state;
    tr_buffer said = {0};
    if (shell(tr_format("command -v nm"), &said)) {
        tr_buffer_free(&said);
        skip_test("nm is absent");
    }
    must(tr_format("nm -D --defined-only $(find '%s' -name 'libtempr1.so.0.*') | awk '{print $3}' | "
                   "grep -v -e '^tempr1_' -e '^TEMPR1_0' | wc -l",
                   prefix),
         &said);
    assert_int_equal(atoi(tr_buffer_text(&said)), 0);
    must(tr_format("nm -D --defined-only $(find '%s' -name 'libtempr1.so.0.*') | grep -c ' T tempr1_'", prefix),
         &said);
    assert_true(atoi(tr_buffer_text(&said)) >= 30);
    /* everything that the header declares is there */
    must(
        tr_format("grep -o 'tempr1_[a-z0-9_]*(' '%s/include/tempr1.h' | tr -d '(' | sort -u > '%s/declared'; "
                  "nm -D --defined-only $(find '%s' -name 'libtempr1.so.0.*') | awk '{print $3}' | sed 's/@.*//' | "
                  "sort -u > '%s/defined'; comm -23 '%s/declared' '%s/defined'",
                  prefix, prefix, prefix, prefix, prefix, prefix),
        &said);
    assert_string_equal(tr_buffer_text(&said), "");
    tr_buffer_free(&said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_installed_files),
        cmocka_unit_test(test_a_client_builds_and_runs),
        cmocka_unit_test(test_the_header_is_cpp_too),
        cmocka_unit_test(test_only_tempr1_symbols_are_visible),
    };
    return cmocka_run_group_tests(tests, install, NULL);
}
