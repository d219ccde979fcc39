/* test_advantage.c: the estimators of the algorithm family against other projects' published numbers and against
 * derivations by hand; zero variance, groups of one and two. */
#include "support/shared.h"

#include "base/json.h"
#include "rl/advantage.h"
#include "rl/policy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance)) {
        printf("%.17g is not %.17g\n", a, b);
    }
    return fabs(a - b) <= tolerance;
}

/* ---- leave one out (RLOO) ---- */

static void test_leave_one_out_by_hand(void **state)
{
    (void)state;
    const double rewards[3] = {1, 2, 6};
    double a[3];
    assert_false(tr_advantages_leave_one_out(a, rewards, 3, TR_STD_NONE, 0));
    assert_true(a[0] == 1 - 4.0 && a[1] == 2 - 3.5 && a[2] == 6 - 1.5);
    /* RLOO is GRPO without a deviation, times n / (n - 1) */
    double g[3];
    tr_advantages(g, NULL, rewards, 3, TR_STD_NONE, 0);
    for (int i = 0; i < 3; i++) {
        assert_true(near(a[i], g[i] * 3 / 2, 4 * 0x1p-52));
    }
}

/* NeMo-RL: baselines and deviations of the others, groups of three, two and one. */
static void test_leave_one_out_equals_nemo_rl(void **state)
{
    (void)state;
    json_t *file;
    int seen = 0;
    assert_int_equal(tr_json_read(need_shared("data/oracles/rl/nemo_rl.json"), &file, NULL), TR_OK);
    size_t index;
    json_t *one;
    json_array_foreach(json_object_get(file, "cases"), index, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (strcmp(name, "leave-one-out baseline + std") != 0 &&
            strcmp(name, "leave-one-out, uneven groups") != 0 && strcmp(name, "single generation") != 0) {
            continue;
        }
        const json_t *rewards = json_object_get(one, "rewards"), *groups = json_object_get(one, "groups");
        for (size_t first = 0, end; first < json_array_size(rewards); first = end) {
            double r[8], plain[8], divided[8];
            const json_int_t group = json_integer_value(json_array_get(groups, first));
            for (end = first;
                 end < json_array_size(rewards) && json_integer_value(json_array_get(groups, end)) == group;
                 end++) {
                r[end - first] = json_number_value(json_array_get(rewards, end));
            }
            int64_t count = (int64_t)(end - first);
            tr_advantages_leave_one_out(plain, r, count, TR_STD_NONE, 0);
            tr_advantages_leave_one_out(divided, r, count, TR_STD_SAMPLE, 0);
            for (size_t i = first; i < end; i++) {
                double baseline = json_number_value(json_array_get(json_object_get(one, "baseline"), i));
                double std = json_number_value(json_array_get(json_object_get(one, "std"), i));
                double want = r[i - first] - baseline;
                assert_true(near(plain[i - first], want, 1e-12));
                assert_true(near(divided[i - first], std > 0 ? want / std : want, 5e-6)); /* six printed digits */
                seen++;
            }
        }
    }
    assert_int_equal(seen, 6 + 5 + 2);
    json_decref(file);
}

/* ---- the whole step ---- */

/* ROLL: whitened token returns; TRL and Trinity: deviation with n - 1. */
static void test_whitening(void **state)
{
    (void)state;
    double two[2] = {1, 3};
    assert_false(tr_advantages_whiten(two, 2, TR_STD_SAMPLE, 0));
    assert_true(near(two[0], -0.70710677, 1e-7) && near(two[1], 0.70710677, 1e-7)); /* ROLL */
    double five[5] = {0, 1, 2, 3, 4};
    tr_advantages_whiten(five, 5, TR_STD_SAMPLE, 0);
    assert_true(near(five[4], 2 / 1.5811388, 1e-6)); /* Trinity-RFT */
    double biased[2] = {1, 3}, centred[2] = {1, 3}, one[1] = {7}, equal[3] = {0.1, 0.1, 0.1};
    tr_advantages_whiten(biased, 2, TR_STD_POPULATION, 0);
    assert_true(biased[0] == -1 && biased[1] == 1);
    tr_advantages_whiten(centred, 2, TR_STD_NONE, 0);
    assert_true(centred[0] == -1 && centred[1] == 1);
    assert_true(tr_advantages_whiten(one, 1, TR_STD_SAMPLE, 0) && one[0] == 0);
    assert_true(tr_advantages_whiten(equal, 3, TR_STD_SAMPLE, 1e-8) && equal[0] == 0 && !signbit(equal[2]));
}

/* REINFORCE++ with the baseline: group means first, then one deviation for the step. A flat group stays at 0. */
static void test_baseline_then_the_deviation_of_the_step(void **state)
{
    (void)state;
    const double rewards[3][3] = {{1, 2, 3}, {11, 12, 13}, {0.1, 0.1, 0.1}};
    double a[9];
    for (int g = 0; g < 3; g++) {
        tr_advantages(a + 3 * g, NULL, rewards[g], 3, TR_STD_NONE, 0);
    }
    tr_advantages_scale(a, 9, TR_STD_POPULATION, 0);
    const double deviation = sqrt(4.0 / 9); /* of -1 0 1 -1 0 1 0 0 0 */
    assert_true(near(a[0], -1 / deviation, 1e-12) && near(a[5], 1 / deviation, 1e-12));
    assert_true(a[1] == 0); /* Trinity-RFT's "batch_std": the middle of a group is worth 0 */
    for (int i = 6; i < 9; i++) {
        assert_true(a[i] == 0 && !signbit(a[i]));
    }
    double flat[4] = {0, 0, 0, 0};
    tr_advantages_scale(flat, 4, TR_STD_SAMPLE, 1e-8);
    assert_true(flat[0] == 0 && flat[3] == 0);
}

/* ---- EMA-GRPO ---- */

/* m <- 0.99 m + 0.01 batch moments; sigma = sqrt(m2 - m1^2), begun with the first batch. */
static void test_moving_moments(void **state)
{
    (void)state;
    tr_moments m = {0};
    const double batches[3][4] = {{0, 1, 0, 1}, {2, 2, 2, 2}, {0, 0, 0, 4}};
    double first = 0, second = 0;
    for (int b = 0; b < 3; b++) {
        double sum = 0, squares = 0;
        for (int i = 0; i < 4; i++) {
            sum += batches[b][i];
            squares += batches[b][i] * batches[b][i];
        }
        tr_moments_add(&m, 0.99, sum, squares, 4);
        first = b ? 0.99 * first + 0.01 * sum / 4 : sum / 4;
        second = b ? 0.99 * second + 0.01 * squares / 4 : squares / 4;
        assert_true(near(tr_moments_deviation(&m), sqrt(second - first * first), 1e-14));
    }
    assert_int_equal(m.updates, 3);
    tr_moments constant = {0};
    tr_moments_add(&constant, 0.99, 0.1 * 3, 0.1 * 0.1 * 3, 3); /* rounding must not give a root of less than 0 */
    assert_true(tr_moments_deviation(&constant) >= 0 && tr_moments_deviation(&constant) < 1e-8);
}

/* ---- GDPO ---- */

/* The paper's toy: with two binary rewards the sums (0, 1) and (0, 2) are one advantage to GRPO and two to GDPO. */
static void test_parts_keep_what_their_sum_loses(void **state)
{
    (void)state;
    const double one[2][2] = {{0, 0}, {1, 0}}, both[2][2] = {{0, 0}, {1, 1}}, weights[2] = {1, 1};
    double sums[2] = {0, 1}, twice[2] = {0, 2}, a[2], b[2], x[2], y[2];
    tr_advantages(a, NULL, sums, 2, TR_STD_SAMPLE, 0);
    tr_advantages(b, NULL, twice, 2, TR_STD_SAMPLE, 0);
    assert_true(near(a[1], b[1], 1e-15)); /* GRPO: the same, 0.7071 */
    assert_false(tr_advantages_by_part(x, &one[0][0], 2, 2, weights, 2, TR_STD_SAMPLE, 0));
    assert_false(tr_advantages_by_part(y, &both[0][0], 2, 2, weights, 2, TR_STD_SAMPLE, 0));
    assert_true(near(x[1], sqrt(0.5), 1e-12) && near(y[1], 2 * sqrt(0.5), 1e-12));
    assert_true(near(x[0], -x[1], 0) && near(y[0], -y[1], 0));
}

static void test_parts_with_weights_and_flat_ones(void **state)
{
    (void)state;
    /* parts: format (flat), iou, length with weight 0; three responses */
    const double parts[3][3] = {{1, 0.2, 9}, {1, 0.5, 1}, {1, 0.8, 4}}, weights[3] = {1, 0.5, 0};
    double a[3], flat[3];
    assert_false(tr_advantages_by_part(a, &parts[0][0], 3, 3, weights, 3, TR_STD_SAMPLE, 0));
    assert_true(near(a[0], -0.5, 1e-12) && near(a[1], 0, 1e-12) && near(a[2], 0.5, 1e-12)); /* deviation 0.3 */
    assert_true(tr_advantages_by_part(flat, &parts[0][0], 3, 1, weights, 3, TR_STD_SAMPLE, 0));
    assert_true(flat[0] == 0 && flat[1] == 0 && flat[2] == 0);
    assert_true(tr_advantages_by_part(flat, &parts[0][0], 3, 3, weights, 1, TR_STD_SAMPLE, 1e-4) && flat[0] == 0);
    /* equal sums of different parts: no variance for GRPO, a signal for GDPO */
    const double traded[2][2] = {{1, 0}, {0, 1}}, uneven[2] = {1, 2};
    assert_false(tr_advantages_by_part(a, &traded[0][0], 2, 2, uneven, 2, TR_STD_POPULATION, 0));
    assert_true(near(a[0], 1 - 2, 1e-12) && near(a[1], 2 - 1, 1e-12));
}

/* ---- TempSamp-R1 ---- */

static void test_shaping(void **state)
{
    (void)state;
    assert_true(near(tr_advantage_shape(0.8), 0.8, 1e-15)); /* the branches meet */
    assert_true(near(tr_advantage_shape(0.8 - 1e-9), 0.8, 1e-8));
    assert_true(near(tr_advantage_shape(1), 0.8 + 0.01 * log(1.2), 1e-15));
    assert_true(near(tr_advantage_shape(0), 0.8 - (exp(0.8) - 1) / (exp(1) - 1), 1e-15));
    for (double r = 0; r < 1; r += 0.01) { /* rising, steeply below and slowly above */
        double step = tr_advantage_shape(r + 0.01) - tr_advantage_shape(r);
        assert_true(step > 0 && (r < 0.795 ? step > 0.005 : step < 2e-4));
    }
}

/* ---- edge cases of all ---- */

static void test_flat_groups_and_groups_of_one(void **state)
{
    (void)state;
    double rewards[8], a[8];
    for (int i = 0; i < 8; i++) {
        rewards[i] = 0.1;
    }
    for (int std = 0; std < 3; std++) {
        for (int64_t n = 1; n <= 8; n += 7) {
            memset(a, 0xff, sizeof a);
            assert_true(tr_advantages(a, NULL, rewards, n, (tr_std_kind)std, 1e-8));
            assert_true(a[0] == 0 && a[n - 1] == 0 && !signbit(a[0]));
            memset(a, 0xff, sizeof a);
            assert_true(tr_advantages_leave_one_out(a, rewards, n, (tr_std_kind)std, 1e-8));
            assert_true(a[0] == 0 && a[n - 1] == 0 && !signbit(a[0]));
        }
    }
    const double two[2] = {0, 1};
    tr_advantages_leave_one_out(a, two, 2, TR_STD_SAMPLE,
                                1e-8); /* one sibling has no deviation: nothing to divide by */
    assert_true(a[0] == -1 && a[1] == 1);
    const double broken[2] = {NAN, NAN};
    assert_false(tr_advantages(a, NULL, broken, 2, TR_STD_SAMPLE, 1e-4));
    assert_true(isnan(a[0])); /* not silently 0 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leave_one_out_by_hand),
        cmocka_unit_test(test_leave_one_out_equals_nemo_rl),
        cmocka_unit_test(test_whitening),
        cmocka_unit_test(test_baseline_then_the_deviation_of_the_step),
        cmocka_unit_test(test_moving_moments),
        cmocka_unit_test(test_parts_keep_what_their_sum_loses),
        cmocka_unit_test(test_parts_with_weights_and_flat_ones),
        cmocka_unit_test(test_shaping),
        cmocka_unit_test(test_flat_groups_and_groups_of_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
