/* test_order.c: in which order rows come. */
#include "support/shared.h"

#include "train/order.h"

#include <string.h>

static const int32_t entries[] = {0, 0, 0, 0, 0, 0, 1, 1, 1, 1};

static tr_source source_of(int64_t rows, const double *weights)
{
    return (tr_source){.rows = rows, .entry = entries, .weights = weights, .entries = 2};
}

static void take(tr_order *order, int64_t n, int *counts)
{
    memset(counts, 0, 10 * sizeof *counts);
    for (int64_t i = 0; i < n; i++) {
        int64_t row;
        assert_int_equal(tr_order_next(order, &row, NULL), TR_OK);
        assert_in_range(row, 0, 9);
        counts[row]++;
    }
}

static void test_weights_decide_how_often(void **state)
{
    (void)state;
    const double weights[2] = {0.5, 2};
    tr_source source = source_of(10, weights);
    tr_order order;
    int counts[10], both[10] = {0};
    assert_int_equal(tr_order_create(&order, &source, 3, NULL), TR_OK);
    assert_int_equal(order.length, 3 + 8);
    for (int epoch = 0; epoch < 2; epoch++) {
        take(&order, 11, counts);
        for (int i = 0; i < 10; i++) {
            assert_true(i < 6 ? counts[i] <= 1 : counts[i] == 2);
            both[i] += counts[i];
        }
    }
    for (int i = 0; i < 6; i++) {
        assert_int_equal(both[i], 1); /* half weight: every row once in two epochs */
    }
    tr_order_free(&order);
}

static void test_position_is_the_whole_state(void **state)
{
    (void)state;
    const double weights[2] = {1, 1.5};
    tr_source source = source_of(10, weights);
    tr_order a, b;
    assert_int_equal(tr_order_create(&a, &source, 9, NULL), TR_OK);
    int64_t rows[60], row;
    int differ = 0;
    for (int i = 0; i < 60; i++) {
        assert_int_equal(tr_order_next(&a, &rows[i], NULL), TR_OK);
    }
    for (int64_t start = 0; start < 60; start += 7) {
        assert_int_equal(tr_order_create(&b, &source, 9, NULL), TR_OK);
        b.position = start;
        for (int64_t i = start; i < 60; i++) {
            assert_int_equal(tr_order_next(&b, &row, NULL), TR_OK);
            assert_int_equal(row, rows[i]);
        }
        tr_order_free(&b);
    }
    assert_int_equal(tr_order_create(&b, &source, 10, NULL), TR_OK); /* another seed, another order */
    for (int i = 0; i < 12; i++) {
        assert_int_equal(tr_order_next(&b, &row, NULL), TR_OK);
        differ += row != rows[i];
    }
    assert_true(differ > 3);
    tr_order_free(&a);
    tr_order_free(&b);
}

/* Looking ahead, also into epochs to come, shows what will be taken and takes nothing. */
static void test_looking_ahead_changes_nothing(void **state)
{
    (void)state;
    const double weights[2] = {1, 1.5};
    tr_source source = source_of(4, weights);
    tr_order a, b;
    assert_int_equal(tr_order_create(&a, &source, 9, NULL), TR_OK);
    assert_int_equal(tr_order_create(&b, &source, 9, NULL), TR_OK);
    assert_true(a.length < 8);
    for (int i = 0; i < 40; i++) {
        int64_t seen[17], row, same;
        assert_int_equal(tr_order_peek(&a, seen, i % 18, NULL), TR_OK);
        assert_int_equal(a.position, i);
        assert_int_equal(tr_order_next(&a, &row, NULL), TR_OK);
        assert_int_equal(tr_order_next(&b, &same, NULL), TR_OK);
        assert_int_equal(row, same);
        assert_true(!(i % 18) || seen[0] == row);
        tr_order c = {0};
        assert_int_equal(tr_order_create(&c, &source, 9, NULL), TR_OK);
        c.position = i;
        for (int k = 0; k < i % 18; k++) {
            assert_int_equal(tr_order_next(&c, &row, NULL), TR_OK);
            assert_int_equal(row, seen[k]);
        }
        tr_order_free(&c);
    }
    tr_order_free(&a);
    tr_order_free(&b);
}

static void test_no_rows_is_an_error(void **state)
{
    (void)state;
    const double none[2] = {0, 0};
    tr_source source = source_of(10, none);
    tr_order order;
    tr_error err = {0};
    assert_int_equal(tr_order_create(&order, &source, 1, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "no rows"));
    source.rows = 0;
    assert_int_equal(tr_order_create(&order, &source, 1, &err), TR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights_decide_how_often),
        cmocka_unit_test(test_position_is_the_whole_state),
        cmocka_unit_test(test_looking_ahead_changes_nothing),
        cmocka_unit_test(test_no_rows_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
