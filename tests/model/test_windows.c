/* test_windows.c: window order and segments against the worked example, properties on many grids, impossible grids. */
#include "support/shared.h"

#include "model/windows.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 8192 };

static const tr_vision_config config = {.merge = 2, .window = 112, .patch = 14};

typedef struct arrays {
    int32_t index[MOST], cu_window[MOST + 1], cu_full[MOST + 1], coords[4 * MOST][2];
    tr_windows w;
} arrays;

static arrays *build(const int32_t (*grids)[3], int64_t count, int64_t patches)
{
    arrays *a = calloc(1, sizeof *a);
    assert_non_null(a);
    a->w = (tr_windows){.index = a->index, .cu_window = a->cu_window, .cu_full = a->cu_full, .coords = a->coords[0]};
    assert_true(patches <= 4 * MOST);
    assert_int_equal(tr_windows_build(&config, grids, count, patches, &a->w, NULL), TR_OK);
    return a;
}

static void test_the_example_of_the_specification(void **state)
{
    (void)state;
    const int32_t grids[1][3] = {{1, 10, 12}};
    const int32_t order[30] = {0,  1,  2,  3,  6, 7, 8,  9,  12, 13, 14, 15, 18, 19, 20,
                               21, 4,  5, 10, 11, 16, 17, 22, 23, 24, 25, 26, 27, 28, 29};
    const int32_t cu[5] = {0, 64, 96, 112, 120};
    arrays *a = build(grids, 1, 120);
    assert_memory_equal(a->index, order, sizeof order);
    assert_int_equal(a->w.windows, 4);
    assert_memory_equal(a->cu_window, cu, sizeof cu);
    assert_int_equal(a->w.grids, 1);
    assert_int_equal(a->cu_full[1], 120);
    free(a);
}

/* A permutation; windows of at most 8 x 8 patches that lie inside of one temporal grid; the row and column of a patch
 * follow from its place. */
static void check(const int32_t (*grids)[3], int64_t count)
{
    int64_t patches = 0, base = 0;
    for (int64_t g = 0; g < count; g++) {
        patches += (int64_t)grids[g][0] * grids[g][1] * grids[g][2];
    }
    arrays *a = build(grids, count, patches);
    char *seen = calloc((size_t)patches, 1);
    assert_non_null(seen);
    for (int64_t i = 0; i < patches / 4; i++) {
        assert_true(a->index[i] >= 0 && a->index[i] < patches / 4 && !seen[a->index[i]]);
        seen[a->index[i]] = 1;
    }
    int64_t full = 0;
    for (int64_t i = 0; i < a->w.windows; i++) {
        int64_t size = a->cu_window[i + 1] - a->cu_window[i];
        assert_true(size >= 4 && size <= 64 && size % 4 == 0);
        full += a->cu_window[i + 1] > a->cu_full[full + 1];
        assert_true(a->cu_window[i] >= a->cu_full[full] && a->cu_window[i + 1] <= a->cu_full[full + 1]);
    }
    assert_int_equal(a->cu_window[a->w.windows], patches);
    assert_int_equal(a->cu_full[a->w.grids], patches);
    for (int64_t g = 0; g < count; g++) {
        int64_t area = grids[g][1] / 2 * (grids[g][2] / 2), merged = grids[g][0] * area, columns = grids[g][2] / 2;
        for (int64_t i = base; i < base + merged; i++) {
            int64_t at = (a->index[i] - base) % area;
            for (int64_t k = 0; k < 4; k++) {
                assert_int_equal(a->coords[4 * i + k][0], 2 * (at / columns) + k / 2);
                assert_int_equal(a->coords[4 * i + k][1], 2 * (at % columns) + k % 2);
            }
        }
        base += merged;
    }
    free(seen);
    free(a);
}

static void test_many_grids(void **state)
{
    (void)state;
    for (int32_t h = 2; h <= 20; h += 2) {
        for (int32_t w = 2; w <= 20; w += 2) {
            const int32_t grids[3][3] = {{1, w, h}, {3, h, w}, {2, 8, 8}};
            check(grids, 1 + (h + w) % 3);
        }
    }
}

static void test_impossible_grids(void **state)
{
    (void)state;
    static const int32_t bad[][1][3] = {{{0, 4, 4}}, {{1, 3, 4}}, {{1, 4, 5}}, {{1, 0, 4}}, {{1, 4, -2}}};
    arrays *a = calloc(1, sizeof *a);
    tr_error err = {0};
    assert_non_null(a);
    a->w = (tr_windows){.index = a->index, .cu_window = a->cu_window, .cu_full = a->cu_full, .coords = a->coords[0]};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(tr_windows_build(&config, bad[i], 1, 16, &a->w, &err), TR_INVALID);
        assert_non_null(strstr(err.message, "grid 0"));
    }
    assert_int_equal(tr_windows_build(&config, (const int32_t[1][3]){{1, 4, 4}}, 1, 20, &a->w, &err), TR_MISMATCH);
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_example_of_the_specification),
        cmocka_unit_test(test_many_grids),
        cmocka_unit_test(test_impossible_grids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
