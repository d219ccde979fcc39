/* test_layers.c: holds the include lines of src/ against the layering of docs/architecture.md. */
#include "support/shared.h"

#include "base/buffer.h"
#include "base/file.h"

#include <stdio.h>
#include <string.h>

/* What each folder may include, besides itself. `cli` sees all. */
static const struct {
    const char *folder, *allowed;
} layers[] = {
    {"base", ""},
    {"tensor", "base"},
    {"text", "base"},
    {"task", "base"},
    {"run", "base"},
    {"video", "base"},
    {"model", "base tensor"},
    {"corpus", "base task video"},
    {"rl", "base tensor model text task"},
    {"input", "base tensor model text task video corpus rl"},
    {"eval", "base tensor model text task video corpus rl input"},
    {"train", "base tensor model text task video corpus rl input eval run"},
    {"api", "base tensor model text task video corpus rl input eval"},
    {"cli", "base tensor model text task video corpus rl input eval train run"},
};

static int has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += n) {
        if ((p == list || p[-1] == ' ') && (p[n] == 0 || p[n] == ' ')) {
            return 1;
        }
    }
    return 0;
}

/* One line of a source file: 1 when it breaks the layering (and says how). */
static int check_line(const char *folder, const char *allowed, const char *path, const char *line)
{
    char name[256];
    if (sscanf(line, " # include \"%255[^\"]\"", name) == 1 && strchr(name, '/')) {
        *strchr(name, '/') = 0;
        if (strcmp(name, folder) && !has_word(allowed, name)) {
            printf("%s: src/%s may not include src/%s\n", path, folder, name);
            return 1;
        }
    } else if (sscanf(line, " # include <%255[^>]>", name) == 1) {
        int ffmpeg = !strncmp(name, "libav", 5) || !strncmp(name, "libsw", 5);
        int cuda = !strncmp(name, "cuda", 4) || !strncmp(name, "cublas", 6);
        if ((ffmpeg && strcmp(folder, "video")) || (cuda && strcmp(folder, "tensor")) || !strcmp(name, "mpi.h")) {
            printf("%s: src/%s may not include <%s>\n", path, folder, name);
            return 1;
        }
    }
    return 0;
}

static int check_file(const char *folder, const char *allowed, const char *path)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    tr_buffer line = {0};
    bool got;
    int bad = 0;
    while (tr_file_read_line(f, 0, &line, &got, NULL) == TR_OK && got) {
        bad += check_line(folder, allowed, path, tr_buffer_text(&line));
    }
    tr_buffer_free(&line);
    fclose(f);
    return bad;
}

static int check_directory(const char *folder, const char *allowed, const char *directory, int *files)
{
    char **names;
    size_t count;
    int bad = 0;
    if (tr_directory_list(directory, &names, &count, NULL)) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        const char *dot = strrchr(names[i], '.');
        if (tr_directory_exists(path)) {
            bad += check_directory(folder, allowed, path, files);
        } else if (dot && (!strcmp(dot, ".c") || !strcmp(dot, ".h") || !strcmp(dot, ".inc"))) {
            bad += check_file(folder, allowed, path);
            ++*files;
        }
    }
    tr_names_free(names, count);
    return bad;
}

static void test_includes_point_downward(void **state)
{
    (void)state;
    int bad = 0, files = 0;
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        char path[64];
        snprintf(path, sizeof path, "src/%s", layers[i].folder);
        bad += check_directory(layers[i].folder, layers[i].allowed, project_path(path), &files);
    }
    assert_true(files > 10);
    assert_int_equal(bad, 0);
}

static void test_every_folder_has_a_layer(void **state)
{
    (void)state;
    char **names;
    size_t count;
    assert_int_equal(tr_directory_list(project_path("src"), &names, &count, NULL), TR_OK);
    for (size_t i = 0; i < count; i++) {
        int known = 0;
        for (size_t j = 0; j < sizeof layers / sizeof *layers; j++) {
            known |= !strcmp(layers[j].folder, names[i]);
        }
        if (!known) {
            printf("src/%s has no row in tests/base/test_layers.c\n", names[i]);
        }
        assert_true(known);
    }
    tr_names_free(names, count);
}

static void test_the_check_can_fail(void **state)
{
    (void)state;
    assert_int_equal(check_line("base", "", "x.c", "#include \"model/model.h\""), 1);
    assert_int_equal(check_line("cli", "base", "x.c", "#include <libavcodec/avcodec.h>"), 1);
    assert_int_equal(check_line("model", "base tensor", "x.c", "#include \"tensor/ops.h\""), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_includes_point_downward),
        cmocka_unit_test(test_every_folder_has_a_layer),
        cmocka_unit_test(test_the_check_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
