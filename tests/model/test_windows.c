/* test_windows.c: the window order: a permutation whose inverse restores the raster order, segments that tile it,
 * the spec's worked example. The reference's own cases are compared by test_golden_vision. */
#include "support/shared.h"

#include "model/windows.h"

#include <string.h>

enum { MOST = 4096 };

static int32_t order[MOST], cu_window[MOST + 1], cu_full[MOST + 1], coords[8 * MOST];

static tr_windows empty(void)
{
    return (tr_windows){.index = order, .cu_window = cu_window, .cu_full = cu_full, .coords = coords};
}

static tr_vision_config config_of(void)
{
    return (tr_vision_config){.patch = 14, .merge = 2, .window = 112};
}

/* Spec section 3.3. */
static void test_worked_example(void **state)
{
    (void)state;
    const int32_t expected[30] = {0,  1, 2, 3,  6,  7,  8,  9,  12, 13, 14, 15, 18, 19, 20,
                                  21, 4, 5, 10, 11, 16, 17, 22, 23, 24, 25, 26, 27, 28, 29};
    const int32_t bounds[5] = {0, 64, 96, 112, 120}, grid[1][3] = {{1, 10, 12}};
    tr_vision_config c = config_of();
    tr_windows w = empty();
    assert_int_equal(tr_windows_build(&c, grid, 1, 120, &w, NULL), TR_OK);
    assert_memory_equal(w.index, expected, sizeof expected);
    assert_int_equal(w.windows, 4);
    assert_int_equal(w.grids, 1);
    assert_memory_equal(w.cu_window, bounds, sizeof bounds);
    assert_int_equal(w.cu_full[1], 120);
}

/* Every place once, windows of at most 64 patches within one temporal grid, coordinates that follow from the index.
 */
static void check(int32_t rows, int32_t columns)
{
    const int32_t grids[2][3] = {{2, 2 * rows, 2 * columns}, {1, 2 * columns, 2 * rows}};
    int64_t merged = 3 * (int64_t)rows * columns, per = (int64_t)rows * columns;
    static bool seen[MOST];
    tr_vision_config c = config_of();
    tr_windows w = empty();
    assert_int_equal(tr_windows_build(&c, grids, 2, 4 * merged, &w, NULL), TR_OK);
    memset(seen, 0, sizeof seen);
    for (int64_t i = 0; i < merged; i++) {
        int64_t at = w.index[i], wide = at < 2 * per ? columns : rows, y = at % per / wide, x = at % per % wide;
        assert_in_range(at, 0, merged - 1);
        assert_false(seen[at]);
        seen[at] = true;
        for (int64_t k = 0; k < 4; k++) {
            assert_int_equal(w.coords[2 * (4 * i + k)], 2 * y + k / 2);
            assert_int_equal(w.coords[2 * (4 * i + k) + 1], 2 * x + k % 2);
        }
    }
    assert_int_equal(w.grids, 3);
    int64_t segment = 1;
    for (int64_t i = 0; i < w.windows; i++) {
        assert_true(w.cu_window[i] < w.cu_window[i + 1] && w.cu_window[i + 1] - w.cu_window[i] <= 64);
        assert_true(w.cu_window[i + 1] <= w.cu_full[segment]);
        segment += w.cu_window[i + 1] == w.cu_full[segment];
        for (int64_t p = w.cu_window[i] / 4; p < w.cu_window[i + 1] / 4; p++) {
            assert_int_equal(w.index[p] / per, w.index[w.cu_window[i] / 4] / per); /* no window spans two grids */
        }
    }
    assert_int_equal(w.cu_window[w.windows], 4 * merged);
    assert_int_equal(w.cu_full[3], 4 * merged);
}

static void test_all_sides(void **state)
{
    (void)state;
    for (int32_t rows = 1; rows <= 9; rows++) {
        for (int32_t columns = 1; columns <= 9; columns++) {
            check(rows, columns);
        }
    }
}

static void test_refusals(void **state)
{
    (void)state;
    tr_vision_config c = config_of();
    tr_windows w = empty();
    tr_error err = {0};
    const int32_t odd[1][3] = {{1, 3, 4}}, none[1][3] = {{0, 2, 2}}, fine[1][3] = {{1, 2, 2}};
    assert_int_equal(tr_windows_build(&c, odd, 1, 12, &w, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "(1, 3, 4)"));
    assert_int_equal(tr_windows_build(&c, none, 1, 0, &w, &err), TR_INVALID);
    assert_int_equal(tr_windows_build(&c, fine, 1, 8, &w, &err), TR_MISMATCH);
    assert_non_null(strstr(err.message, "hold 4 patches, the pixels 8"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worked_example),
        cmocka_unit_test(test_all_sides),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
