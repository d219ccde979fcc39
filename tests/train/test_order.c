/* test_order.c: in which order rows come. */
#include "support/shared.h"

#include "train/order.h"

#include <math.h>
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

/* Three entries as three tasks of different size and weight, over many epochs. */
enum { MIXED = 100, EPOCHS = 40, STEP = 8 };

static void fill_entries(int32_t *entry)
{
    for (int i = 0; i < MIXED; i++) {
        entry[i] = i < 20 ? 0 : i < 50 ? 1 : 2;
    }
}

static void test_shares_over_epochs(void **state)
{
    (void)state;
    const double weights[3] = {2.5, 1, 0.3};
    const int64_t an_epoch[3] = {50, 30, 15}; /* 2.5 * 20, 1 * 30, 0.3 * 50 */
    int32_t entry[MIXED];
    int counts[MIXED] = {0};
    tr_order order;
    fill_entries(entry);
    tr_source source = {.rows = MIXED, .entry = entry, .weights = weights, .entries = 3};
    assert_int_equal(tr_order_create(&order, &source, 5, NULL), TR_OK);
    assert_int_equal(order.length, 95);
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        int64_t shares[3] = {0}, row;
        for (int64_t i = 0; i < order.length; i++) {
            assert_int_equal(tr_order_next(&order, &row, NULL), TR_OK);
            shares[entry[row]]++;
            counts[row]++;
        }
        assert_memory_equal(shares, an_epoch, sizeof shares); /* every epoch exactly as the weights say */
    }
    for (int i = 0; i < MIXED; i++) { /* and within an entry no row is favoured: 40 epochs are whole rounds */
        assert_int_equal(counts[i], i < 20 ? 100 : i < 50 ? 40 : 12);
    }
    tr_order_free(&order);
}

/* The entries are mixed at random within batches: how many rows of an entry a batch of 8 holds has the mean and the
 * variance of drawing 8 of an epoch's 95 without putting back. Over 440 batches the mean's deviation is
 * sqrt(variance / 440); five of them is a chance of one in a million, and the seed is fixed. */
static void test_batches_mix_at_random(void **state)
{
    (void)state;
    const double weights[3] = {2.5, 1, 0.3}, share[3] = {50 / 95.0, 30 / 95.0, 15 / 95.0};
    const int batches = EPOCHS * (95 / STEP);
    int32_t entry[MIXED];
    double sum[3] = {0}, square[3] = {0};
    int alone = 0;
    tr_order order;
    fill_entries(entry);
    tr_source source = {.rows = MIXED, .entry = entry, .weights = weights, .entries = 3};
    assert_int_equal(tr_order_create(&order, &source, 17, NULL), TR_OK);
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        order.position = epoch * order.length;
        for (int b = 0; b < 95 / STEP; b++) {
            int held[3] = {0};
            for (int i = 0; i < STEP; i++) {
                int64_t row;
                assert_int_equal(tr_order_next(&order, &row, NULL), TR_OK);
                held[entry[row]]++;
            }
            for (int e = 0; e < 3; e++) {
                sum[e] += held[e];
                square[e] += (double)held[e] * held[e];
            }
            alone += held[0] == STEP || held[1] == STEP || held[2] == STEP;
        }
    }
    for (int e = 0; e < 3; e++) {
        double mean = sum[e] / batches, variance = square[e] / batches - mean * mean;
        double expected = STEP * share[e] * (1 - share[e]) * (95 - STEP) / 94.0;
        assert_true(fabs(mean - STEP * share[e]) <= 5 * sqrt(expected / batches));
        assert_true(fabs(variance / expected - 1) <= 5 * sqrt(2.0 / batches)); /* of a nearly normal sample */
    }
    assert_true(alone <= batches / 50); /* 0.5 % are expected */
    tr_order_free(&order);
}

/* Rows of a clip come one after the other, every row still as often as its weight says; few enough together; the
 * same from any position. */
static void test_rows_of_one_clip_together(void **state)
{
    (void)state;
    const double weights[2] = {1, 2};
    const uint64_t shared[10] = {7, 3, 7, 9, 7, 1, 1, 7, 3, 4};
    static const int64_t most[3] = {8, 3, 1}, longest[3] = {5, 3, 1}; /* 7 comes thrice once and once twice */
    tr_source source = source_of(10, weights);
    source.shared = shared;
    for (int k = 0; k < 3; k++) {
        tr_order order, later;
        int64_t found, rows[60], breaks = 0;
        int counts[10] = {0};
        assert_int_equal(tr_order_create(&order, &source, 4, NULL), TR_OK);
        assert_int_equal(tr_order_gather(&order, most[k], &found, NULL), TR_OK);
        assert_int_equal(found, longest[k]);
        assert_true(order.length <= 20);
        for (int64_t i = 0; i < 3 * order.length; i++) {
            assert_int_equal(tr_order_next(&order, &rows[i], NULL), TR_OK);
            counts[rows[i]]++;
            bool begins = i % order.length == 0;
            breaks += begins || shared[rows[i]] != shared[rows[i - 1]];
        }
        for (int r = 0; r < 10; r++) {
            assert_int_equal(counts[r], 3 * (int)weights[entries[r]]);
        }
        if (most[k] == 8) { /* one run for each of the five clips in each epoch */
            assert_int_equal(breaks, 3 * 5);
        } else if (most[k] == 1) {
            assert_true(breaks > 3 * 8);
        }
        for (int64_t start = 1; start < 3 * order.length; start += 5) {
            int64_t row;
            assert_int_equal(tr_order_create(&later, &source, 4, NULL), TR_OK);
            assert_int_equal(tr_order_gather(&later, most[k], &found, NULL), TR_OK);
            later.position = start;
            assert_int_equal(tr_order_next(&later, &row, NULL), TR_OK);
            assert_int_equal(row, rows[start]);
            tr_order_free(&later);
        }
        tr_order_free(&order);
    }
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
        cmocka_unit_test(test_weights_decide_how_often),      cmocka_unit_test(test_position_is_the_whole_state),
        cmocka_unit_test(test_looking_ahead_changes_nothing), cmocka_unit_test(test_shares_over_epochs),
        cmocka_unit_test(test_batches_mix_at_random),         cmocka_unit_test(test_rows_of_one_clip_together),
        cmocka_unit_test(test_no_rows_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
