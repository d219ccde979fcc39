/* test_golden_vision.c: the vision tower against the reference: windows, rope tables, every block, the features,
 * and the gradients of the tower and the merger. */
#include "support/golden.h"

static void test_whole_windows(void **state)
{
    (void)state;
    golden_case("vision-nano-whole-windows", false);
    golden_case("vision-nano-one-window", false);
}

static void test_border_windows(void **state)
{
    (void)state;
    golden_case("vision-nano-border-windows", false);
    golden_case("vision-micro-border-windows", false);
}

static void test_two_videos(void **state)
{
    (void)state;
    golden_case("vision-nano-two-videos", false);
}

static void test_gradients(void **state)
{
    (void)state;
    golden_case("vision-nano-wide", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_windows),
        cmocka_unit_test(test_border_windows),
        cmocka_unit_test(test_two_videos),
        cmocka_unit_test(test_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
