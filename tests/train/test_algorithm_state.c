/* test_algorithm_state.c: what the algorithm family remembers, and rows drawn by their difficulty: shares, what
 * counts as flat, and that the state reads back to the same bits. */
#include "support/shared.h"

#include "train/algorithm.h"
#include "train/order.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 8 };

static void count_rows(tr_difficulty kind, const double gaussian[2], const double *scores, int64_t *counts,
                       int epochs)
{
    int32_t entry[ROWS] = {0};
    double weight = 1;
    tr_source source = {.rows = ROWS, .entry = entry, .weights = &weight, .scores = scores, .entries = 1};
    tr_order order, again;
    tr_error err = {0};
    memset(counts, 0, ROWS * sizeof *counts);
    assert_int_equal(tr_order_create(&order, &source, 7, &err), TR_OK);
    assert_int_equal(tr_order_weigh(&order, kind, gaussian, &err), TR_OK);
    for (int i = 0; i < epochs * ROWS; i++) {
        int64_t row;
        assert_int_equal(tr_order_next(&order, &row, &err), TR_OK);
        counts[row]++;
    }
    int64_t a, b; /* the position is the only state */
    assert_int_equal(tr_order_create(&again, &source, 7, &err), TR_OK);
    assert_int_equal(tr_order_weigh(&again, kind, gaussian, &err), TR_OK);
    again.position = order.position;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(tr_order_next(&order, &a, &err) + tr_order_next(&again, &b, &err), TR_OK);
        assert_int_equal(a, b);
    }
    tr_order_free(&order);
    tr_order_free(&again);
}

static void test_rows_come_as_often_as_their_difficulty_says(void **state)
{
    (void)state;
    const double scores[ROWS] = {0.3, 0.3, 0.5, 0.1, 0.9, 0.0, 0.7, 0.3}, gaussian[2] = {0.3, 0.2};
    int64_t counts[ROWS];
    double shares[ROWS], sum = 0;
    enum { EPOCHS = 400 };
    count_rows(TR_DIFFICULTY_GAUSSIAN, gaussian, scores, counts, EPOCHS);
    for (int i = 0; i < ROWS; i++) {
        double z = (scores[i] - 0.3) / 0.2;
        sum += shares[i] = exp(-z * z / 2);
    }
    for (int i = 0; i < ROWS; i++) {
        /* an epoch's count is the floor or the ceiling of n p: its deviation is at most a half, over 400 epochs 10
         */
        double want = EPOCHS * ROWS * shares[i] / sum;
        assert_true(fabs((double)counts[i] - want) < 4 * 10);
    }
    /* over the density: three rows share the bin of 0.3, so that each has a third of what a lone one has */
    count_rows(TR_DIFFICULTY_DENSITY, gaussian, scores, counts, EPOCHS);
    double all = counts[0] + counts[1] + counts[7];
    assert_true(fabs(all / (double)counts[2] - 1 / exp(-0.5)) < 0.15);
}

static void test_what_counts_as_flat(void **state)
{
    (void)state;
    tr_algorithm_state s;
    tr_config c = {.algorithm = TR_ALGORITHM_GRPO};
    c.grpo.stop_window = 2;
    assert_int_equal(tr_algorithm_state_create(&s, &c, 4, NULL, NULL), TR_OK);
    const double rising[6] = {0, 0.5, 1, 1.5, 1.5, 1.5}; /* pairs: 0.25 to 1.25; 0.75 to 1.5; 1.25 to 1.5 */
    for (int i = 0; i < 6; i++) {
        assert_false(tr_algorithm_state_is_flat(&s, rising[i], 0.25, 0.2));
    }
    assert_false(tr_algorithm_state_is_flat(&s, 1.5, 9, 0.2)); /* reward flat, deviation not */
    assert_false(tr_algorithm_state_is_flat(&s, NAN, 0.25, 0.2));
    tr_algorithm_state_free(&s);
}

static void test_the_state_reads_back_to_the_same_bits(void **state)
{
    (void)state;
    tr_algorithm_state a, b;
    tr_config c = {.algorithm = TR_ALGORITHM_GRPO};
    tr_error err = {0};
    tr_buffer text = {0};
    json_t *read;
    c.grpo.filter = TR_FILTER_SCORE;
    c.grpo.stop_window = 3;
    assert_int_equal(tr_algorithm_state_create(&a, &c, 5, NULL, &err), TR_OK);
    assert_int_equal(tr_algorithm_state_create(&b, &c, 5, NULL, &err), TR_OK);
    for (int i = 0; i < 4; i++) {
        tr_moments_add(tr_algorithm_state_moments(&a, i % 2 ? "tg" : "tal"), 0.99, 0.1 * i, 0.3 / 7, 3);
        tr_algorithm_state_is_flat(&a, 1.0 / (3 + i), 0.1 * i, 0);
    }
    a.scores[1] = 1.0 / 3;
    a.scores[4] = 0.1;
    json_t *object = tr_algorithm_state_to_json(&a);
    assert_int_equal(tr_json_print(object, &text, &err), TR_OK);
    assert_int_equal(tr_json_parse(tr_buffer_text(&text), text.length, "state", 0, &read, &err), TR_OK);
    assert_int_equal(tr_algorithm_state_from_json(&b, read, "state", &err), TR_OK);
    assert_int_equal(b.task_count, 2);
    assert_memory_equal(a.tasks, b.tasks, 2 * sizeof a.tasks[0]);
    assert_true(b.scores[1] == a.scores[1] && b.scores[4] == a.scores[4] && isnan(b.scores[0]));
    assert_int_equal(b.steps, 4);
    assert_memory_equal(a.history[0], b.history[0], 4 * sizeof(double));
    assert_memory_equal(a.history[1], b.history[1], 4 * sizeof(double));
    /* what does not fit is refused, an older checkpoint without it is taken */
    tr_algorithm_state other;
    assert_int_equal(tr_algorithm_state_create(&other, &c, 3, NULL, &err), TR_OK);
    assert_int_equal(tr_algorithm_state_from_json(&other, read, "state", &err), TR_MISMATCH);
    assert_int_equal(tr_algorithm_state_from_json(&other, NULL, "state", &err), TR_OK);
    json_object_set_new(json_object_get(read, "tasks"), "tg", json_true());
    assert_int_equal(tr_algorithm_state_from_json(&b, read, "state", &err), TR_FORMAT);
    tr_algorithm_state_free(&a);
    tr_algorithm_state_free(&b);
    tr_algorithm_state_free(&other);
    tr_buffer_free(&text);
    json_decref(object);
    json_decref(read);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_come_as_often_as_their_difficulty_says),
        cmocka_unit_test(test_what_counts_as_flat),
        cmocka_unit_test(test_the_state_reads_back_to_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
