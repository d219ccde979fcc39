/* test_spill.c: memory in a file without a name: pieces, contents that outlive their release, clear errors. */
#include "base/memory.h"
#include "base/spill.h"
#include "support/shared.h"

#include <stdint.h>
#include <string.h>

enum { BYTES = 64 << 20 };

static void test_contents_stay_and_memory_goes(void **state)
{
    (void)state;
    tr_spill spill;
    assert_int_equal(tr_spill_open(&spill, ".", 2 * BYTES, NULL), TR_OK);
    uint32_t *a = tr_spill_take(&spill, BYTES), *b = tr_spill_take(&spill, BYTES);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(tr_spill_take(&spill, 1));
    assert_int_equal((uintptr_t)b % 4096, 0);
    for (uint32_t i = 0; i < BYTES / 4; i++) {
        assert_true(a[i] == 0);
        a[i] = i * 2654435761u;
    }
    memset(b, 7, BYTES);
    uint64_t full = tr_current_rss_bytes();
    tr_spill_release(&spill, a, BYTES);
    uint64_t released = tr_current_rss_bytes();
    if (full) {
        assert_true(released + BYTES / 10 * 9 <= full);
    }
    for (uint32_t i = 0; i < BYTES / 4; i++) {
        assert_true(a[i] == i * 2654435761u);
    }
    assert_true(((unsigned char *)b)[12345] == 7);
    tr_spill_close(&spill);
    tr_spill_close(&spill);
}

/* Only whole pages inside a piece go; memory of others is never touched. */
static void test_ownership(void **state)
{
    (void)state;
    tr_spill spill, none = {0};
    char other[3 * 4096];
    memset(other, 5, sizeof other);
    assert_int_equal(tr_spill_open(&spill, ".", 3 * 4096, NULL), TR_OK);
    char *a = tr_spill_take(&spill, 4097), *b = tr_spill_take(&spill, 100);
    assert_int_equal(b - a, 8192);
    assert_true(tr_spill_holds(&spill, a) && tr_spill_holds(&spill, b + 99));
    assert_false(tr_spill_holds(&spill, other) || tr_spill_holds(&none, a) || tr_spill_holds(&none, NULL));
    memset(a, 1, 4097);
    memset(b, 2, 100);
    tr_spill_release(&spill, other, sizeof other);
    tr_spill_release(&spill, a + 1, 5000);
    tr_spill_release(&none, a, 4096);
    assert_true(other[4096] == 5 && a[0] == 1 && a[4096] == 1 && b[99] == 2);
    tr_spill_close(&spill);
}

static void test_errors(void **state)
{
    (void)state;
    tr_spill spill;
    tr_error err;
    assert_int_not_equal(tr_spill_open(&spill, "no/such/folder", 4096, &err), TR_OK);
    assert_non_null(strstr(err.where, "no/such/folder"));
    assert_null(spill.block);
    assert_int_not_equal(tr_spill_open(&spill, ".", (size_t)1 << 60, &err), TR_OK); /* no disk is that large */
    assert_non_null(strstr(err.message, "cannot set"));
    tr_spill_close(&spill);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_contents_stay_and_memory_goes),
                                       cmocka_unit_test(test_ownership), cmocka_unit_test(test_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
