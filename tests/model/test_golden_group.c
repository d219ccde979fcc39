/* test_golden_group.c: packed groups and SFT rows against the reference: log-probs, entropies, losses and every
 * gradient; the reference ran each [prompt | response] as a sequence of its own. */
#include "support/golden.h"

static void test_group_nano(void **state)
{
    (void)state;
    golden_case("group-nano", true);
}

static void test_group_micro(void **state)
{
    (void)state;
    golden_case("group-micro", true);
}

static void test_two_groups(void **state)
{
    (void)state;
    golden_case("group-nano-two-groups", true);
}

static void test_sft(void **state)
{
    (void)state;
    golden_case("sft-nano", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_nano),
        cmocka_unit_test(test_group_micro),
        cmocka_unit_test(test_two_groups),
        cmocka_unit_test(test_sft),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
