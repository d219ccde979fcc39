/* test_house.c: holds the project's own files against the measures of its style: lengths of files, functions and
 * lines, an opening comment that names the file, no paths of somebody's machine, no words of unfinished work. */
#include "support/shared.h"

#include "base/buffer.h"
#include "base/file.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { FILE_LINES = 800, FUNCTION_LINES = 80, LINE_COLUMNS = 116 };

/* Where sources stand. Generated files and third parties' are none of these. */
static const char *const folders[] = {"include", "src", "tests", "fuzz", "bench", "examples", "tools", "cmake"};

/* Files that are allowed to break a measure, with the reason beside each. None is needed. */
static const char *const excused[] = {NULL};

/* In pieces, so that this file passes its own check. */
static const char *const machine_paths[] = {"/wo"
                                            "rk/",
                                            "/ho"
                                            "me/",
                                            "/ro"
                                            "ot/",
                                            "/mn"
                                            "t/"};
static const char *const unfinished[] = {"TO"
                                         "DO",
                                         "FIX"
                                         "ME",
                                         "XX"
                                         "X:"};

typedef struct file_check {
    const char *name; /* shown, without its folders in the opening comment */
    bool c;           /* C, CUDA or included by them: all measures; else paths and words alone */
    int line, body;   /* lines read; the line of the open function's brace, 0 outside of one */
    int bad;
} file_check;

static void complain(file_check *f, const char *what)
{
    printf("%s:%d: %s\n", f->name, f->line, what);
    f->bad++;
}

static int columns(const char *line)
{
    int n = 0;
    for (; *line; line++) {
        n += ((unsigned char)*line & 0xC0) != 0x80; /* characters of UTF-8 */
    }
    return n;
}

static void check_c_line(file_check *f, const char *line)
{
    const char *slash = strrchr(f->name, '/'), *name = slash ? slash + 1 : f->name;
    if (f->line == 1 &&
        (strncmp(line, "/* ", 3) || strncmp(line + 3, name, strlen(name)) || line[3 + strlen(name)] != ':')) {
        complain(f, "the file does not open with a comment \"NAME: what it does\"");
    }
    if (columns(line) > LINE_COLUMNS) {
        complain(f, "the line is longer than 116 columns");
    }
    if (f->line == FILE_LINES) {
        complain(f, "the file has 800 lines or more");
    }
    if (!strcmp(line, "{")) {
        f->body = f->line;
    } else if (line[0] == '}') {
        if (f->body && f->line - f->body - 1 >= FUNCTION_LINES) {
            complain(f, "the function that ends here has 80 lines or more");
        }
        f->body = 0;
    }
}

/* A word of a list that stands in the line; paths after a letter or a dot are parts of longer, relative ones. */
static const char *find_word(const char *line, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *at = strstr(line, words[i]);
        if (at && (at == line || (!isalnum((unsigned char)at[-1]) && at[-1] != '.'))) {
            return words[i];
        }
    }
    return NULL;
}

static void check_line(file_check *f, const char *line)
{
    f->line++;
    if (f->c) {
        check_c_line(f, line);
    }
    if (find_word(line, machine_paths, sizeof machine_paths / sizeof *machine_paths)) {
        complain(f, "names a path of one machine");
    }
    if (find_word(line, unfinished, sizeof unfinished / sizeof *unfinished)) {
        complain(f, "says that it is unfinished");
    }
}

static bool ends_with(const char *name, const char *const *ends)
{
    const char *dot = strrchr(name, '.');
    for (; dot && *ends; ends++) {
        if (!strcmp(dot, *ends)) {
            return true;
        }
    }
    return false;
}

static int check_file(const char *path, const char *shown)
{
    static const char *const c_ends[] = {".c", ".h", ".cu", ".inc", NULL};
    file_check f = {.name = shown, .c = ends_with(shown, c_ends)};
    FILE *stream = fopen(path, "r");
    assert_non_null(stream);
    tr_buffer line = {0};
    bool got;
    while (tr_file_read_line(stream, 0, &line, &got, NULL) == TR_OK && got) {
        check_line(&f, tr_buffer_text(&line));
    }
    tr_buffer_free(&line);
    fclose(stream);
    for (const char *const *name = excused; *name; name++) {
        if (!strcmp(*name, shown)) {
            return 0;
        }
    }
    return f.bad;
}

static int check_directory(const char *directory, int *files)
{
    static const char *const text_ends[] = {".c",   ".h",     ".cu", ".inc", ".def",
                                            ".txt", ".cmake", ".sh", ".py",  NULL};
    const size_t root = strlen(project_path("src")) - 3;
    char **names;
    size_t count;
    int bad = 0;
    if (tr_directory_list(directory, &names, &count, NULL)) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        if (tr_directory_exists(path)) {
            bad += names[i][0] == '.' || !strcmp(names[i], "__pycache__") ? 0 : check_directory(path, files);
        } else if (ends_with(names[i], text_ends)) {
            bad += check_file(path, path + root);
            ++*files;
        }
    }
    tr_names_free(names, count);
    return bad;
}

static void test_files_keep_the_measures(void **state)
{
    (void)state;
    int bad = 0, files = 0;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        bad += check_directory(project_path(folders[i]), &files);
    }
    assert_true(files > 100);
    assert_int_equal(bad, 0);
}

static int bad_lines(const char *name, bool c, const char *const *lines, int count)
{
    file_check f = {.name = name, .c = c};
    for (int i = 0; i < count; i++) {
        check_line(&f, lines[i]);
    }
    return f.bad;
}

static void test_the_check_can_fail(void **state)
{
    (void)state;
    static const char *lines[FILE_LINES];
    char wide[LINE_COLUMNS + 2], path[32];
    for (int i = 0; i < FILE_LINES; i++) {
        lines[i] = "    x();";
    }
    lines[0] = "/* a.c: does a. */";
    assert_int_equal(bad_lines("src/a.c", true, lines, FILE_LINES - 1), 0);
    assert_int_equal(bad_lines("src/a.c", true, lines, FILE_LINES), 1);
    assert_int_equal(bad_lines("src/b.c", true, lines, 10), 1);
    assert_int_equal(bad_lines("src/b.py", false, lines, 10), 0);
    lines[1] = "{";
    lines[FUNCTION_LINES + 1] = "}"; /* 79 lines between */
    assert_int_equal(bad_lines("src/a.c", true, lines, 100), 0);
    lines[FUNCTION_LINES + 1] = "    x();";
    lines[FUNCTION_LINES + 2] = "}";
    assert_int_equal(bad_lines("src/a.c", true, lines, 100), 1);
    memset(wide, 'x', sizeof wide);
    wide[LINE_COLUMNS + 1] = 0;
    lines[5] = wide;
    assert_int_equal(bad_lines("src/a.c", true, lines, 10), 1);
    wide[LINE_COLUMNS] = 0;
    assert_int_equal(bad_lines("src/a.c", true, lines, 10), 0);
    snprintf(path, sizeof path, "open \"%smodel\"", machine_paths[1]);
    lines[5] = path;
    assert_int_equal(bad_lines("tools/a.sh", false, lines, 10), 1);
    lines[5] = unfinished[0];
    assert_int_equal(bad_lines("tools/a.sh", false, lines, 10), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_keep_the_measures),
        cmocka_unit_test(test_the_check_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
