/* test_golden_vision.c: the vision tower against the reference implementation: window order, tables, every block,
 * merger, features, and the gradients. */
#include "golden_trace.h"

static void test_border_windows_of_the_wide_head(void **state)
{
    (void)state;
    golden_run_both("vision-micro-border-windows", false, 14);
}

static void test_border_windows(void **state)
{
    (void)state;
    golden_run_both("vision-nano-border-windows", false, 13);
}

static void test_one_window(void **state)
{
    (void)state;
    golden_run_both("vision-nano-one-window", false, 13);
}

static void test_two_videos(void **state)
{
    (void)state;
    golden_run_both("vision-nano-two-videos", false, 13);
}

static void test_whole_windows(void **state)
{
    (void)state;
    golden_run_both("vision-nano-whole-windows", false, 13);
}

static void test_gradients(void **state)
{
    (void)state;
    golden_run_both("vision-nano-wide", true, 90);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_border_windows_of_the_wide_head), cmocka_unit_test(test_border_windows),
        cmocka_unit_test(test_one_window),                      cmocka_unit_test(test_two_videos),
        cmocka_unit_test(test_whole_windows),                   cmocka_unit_test(test_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
