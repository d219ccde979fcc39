/* test_small.c: status texts, buffers, arenas, counter-based random numbers. */
#include "support/shared.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void test_error_details(void **state)
{
    (void)state;
    tr_error err = {0};
    assert_int_equal(tr_fail(&err, TR_FORMAT, "f.json:3", "bad %d", 7), TR_FORMAT);
    assert_int_equal(tr_fail_context(&err, TR_IO, "reading %s", "it"), TR_FORMAT);
    assert_string_equal(err.message, "reading it: bad 7");
    assert_string_equal(err.where, "f.json:3");
    assert_int_equal(tr_fail_where(&err, TR_IO, "other"), TR_FORMAT);
    assert_string_equal(err.where, "f.json:3");
    assert_int_equal(tr_fail(NULL, TR_IO, NULL, "x"), TR_IO);
    assert_string_equal(tr_status_text(TR_LOCKED), "in use by another process");
}

static void test_overflow_is_refused(void **state)
{
    (void)state;
    size_t bytes = 5;
    assert_false(tr_size_mul(SIZE_MAX, 2, &bytes));
    assert_int_equal(bytes, 5);
    assert_null(tr_calloc(SIZE_MAX / 2, 4));
    assert_null(tr_calloc_aligned(SIZE_MAX / 2, 4));
    void *p = tr_calloc_aligned(3, 5);
    assert_int_equal((uintptr_t)p % 64, 0);
    free(p);
}

static void test_arena(void **state)
{
    (void)state;
    tr_arena arena;
    assert_int_equal(tr_arena_init(&arena, 256, NULL), TR_OK);
    char *a = tr_arena_take(&arena, 1, 65);
    size_t mark = tr_arena_mark(&arena);
    char *b = tr_arena_take(&arena, 128, 1);
    assert_non_null(a);
    assert_int_equal(b - a, 128);
    assert_null(tr_arena_take(&arena, 1, 1));
    tr_arena_reset(&arena, mark);
    assert_non_null(tr_arena_take(&arena, 1, 1));
    assert_int_equal(arena.peak, 256);
    tr_arena_free(&arena);
}

static void test_buffer_and_paths(void **state)
{
    (void)state;
    tr_buffer text = {0};
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(tr_buffer_printf(&text, NULL, "%d,", i), TR_OK);
    }
    assert_int_equal(text.length, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strlen(text.data), text.length);
    tr_buffer_free(&text);
    assert_string_equal(tr_buffer_text(&text), "");
    char *joined = tr_path_join("a/", "b"), *absolute = tr_path_join("a", "/b");
    assert_string_equal(joined, "a/b");
    assert_string_equal(absolute, "/b");
    free(joined);
    free(absolute);
    const char *names[] = {"temperature", "top_p", "max_tokens"};
    assert_string_equal(tr_nearest("temprature", names, 3), "temperature");
    assert_null(tr_nearest("zzzzzz", names, 3));
}

/* Known answers of Philox 4x32-10 from its authors' test vectors (Random123, kat_vectors). */
static void test_philox_known_answers(void **state)
{
    (void)state;
    uint32_t x[4];
    tr_random_bits(0, 0, 0, 0, 0, x);
    assert_int_equal(x[0], 0x6627e8d5);
    assert_int_equal(x[1], 0xe169c58d);
    assert_int_equal(x[2], 0xbc57ac4c);
    assert_int_equal(x[3], 0x9b00dbd8);
    tr_random_bits(UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, x);
    assert_int_equal(x[0], 0x408f276d);
    assert_int_equal(x[1], 0x41c83b0e);
    assert_int_equal(x[2], 0xa20bc7c6);
    assert_int_equal(x[3], 0x6d5451fd);
}

static void test_random_moments(void **state)
{
    (void)state;
    enum { N = 20000 };
    double mean = 0, normal_mean = 0, normal_square = 0;
    for (uint32_t i = 0; i < N; i++) {
        double u = tr_random_uniform(7, i, 0, 0, 0), z = tr_random_normal(7, i, 1, 0, 0);
        assert_true(u >= 0 && u < 1);
        mean += u / N;
        normal_mean += z / N;
        normal_square += z * z / N;
    }
    /* five standard errors: sqrt(1/12/N), sqrt(1/N), sqrt(2/N) */
    assert_true(fabs(mean - 0.5) < 5 * sqrt(1.0 / 12 / N));
    assert_true(fabs(normal_mean) < 5 * sqrt(1.0 / N));
    assert_true(fabs(normal_square - 1) < 5 * sqrt(2.0 / N));
}

static void test_shuffle_is_a_permutation(void **state)
{
    (void)state;
    size_t order[101], seen[101] = {0}, moved = 0;
    tr_random_shuffle(3, 1, 2, 101, order);
    for (size_t i = 0; i < 101; i++) {
        assert_int_equal(seen[order[i]]++, 0);
        moved += order[i] != i;
    }
    assert_true(moved > 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_details),
        cmocka_unit_test(test_overflow_is_refused),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_buffer_and_paths),
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_random_moments),
        cmocka_unit_test(test_shuffle_is_a_permutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
