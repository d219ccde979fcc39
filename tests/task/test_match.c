/* test_match.c: matchings against brute force and against the published cases of linear assignment. */
#include "support/shared.h"

#include "base/json.h"
#include "base/random.h"
#include "task/match.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void assert_near(double x, double y, double tolerance)
{
    if (!(fabs(x - y) <= tolerance)) {
        fail_msg("%.17g for %.17g (tolerance %g)", x, y, tolerance);
    }
}

/* All matchings that keep the order: take p[i] with any later g, or leave it. */
static double __attribute__((noinline))
brute_monotone(const tr_interval *p, size_t m, const tr_interval *g, size_t n)
{
    if (!m || !n) {
        return 0;
    }
    double best = brute_monotone(p + 1, m - 1, g, n);
    for (size_t j = 0; j < n; j++) {
        double sum = tr_interval_iou(p[0], g[j]) + brute_monotone(p + 1, m - 1, g + j + 1, n - j - 1);
        best = sum > best ? sum : best;
    }
    return best;
}

static double brute_assign(const double *cost, size_t rows, size_t columns, size_t row, unsigned used, double sign)
{
    if (row == rows) {
        return 0;
    }
    double best = INFINITY;
    size_t left = rows - row, free_columns = columns - (size_t)__builtin_popcount(used);
    if (left > free_columns) { /* more rows than columns: this one may go without */
        best = brute_assign(cost, rows, columns, row + 1, used, sign);
    }
    for (size_t j = 0; j < columns; j++) {
        if (!(used >> j & 1)) {
            double sum =
                sign * cost[row * columns + j] + brute_assign(cost, rows, columns, row + 1, used | 1u << j, sign);
            best = sum < best ? sum : best;
        }
    }
    return best;
}

static void fill(uint32_t seed, tr_interval *list, size_t count, int disjoint)
{
    double at = 0;
    for (size_t i = 0; i < count; i++) {
        double u = tr_random_uniform(3, seed, (uint32_t)i, 0, 0), v = tr_random_uniform(3, seed, (uint32_t)i, 1, 0);
        double s = disjoint ? at + u * 10 : u * 50;
        list[i] = (tr_interval){s, s + 0.5 + v * 20};
        at = list[i].end_s;
    }
    tr_interval_sort(list, count);
}

static void test_monotone(void **state)
{
    (void)state;
    unsigned char scratch[1024];
    int worse = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        tr_interval p[16], g[16];
        double row[6], gain[25], total;
        size_t m = tr_random_below(9, i, 0, 0, 0, 6), n = tr_random_below(9, i, 1, 0, 0, 6), column[5];
        int disjoint = i % 2;
        fill(2 * i, p, m, disjoint);
        fill(2 * i + 1, g, n, disjoint);
        double sum = tr_match_monotone(p, m, g, n, row);
        assert_near(sum, brute_monotone(p, m, g, n), 1e-12);
        assert_true(sum + 1e-12 >= tr_match_naive(p, m, g, n));
        for (size_t k = 0; k < m * n; k++) {
            gain[k] = tr_interval_iou(p[k / n], g[k % n]);
        }
        assert_true(tr_match_assign_scratch(m, n) <= sizeof scratch);
        assert_int_equal(tr_match_assign(gain, m, n, 1, column, &total, scratch, NULL), TR_OK);
        assert_true(total + 1e-12 >= sum);
        if (disjoint) { /* without overlaps within a list the order costs nothing */
            assert_near(total, sum, 1e-12);
        } else {
            worse += total > sum + 1e-9;
        }
    }
    assert_true(worse > 0); /* with overlaps it can be worse, as the specification says */
}

static void test_assign_brute(void **state)
{
    (void)state;
    unsigned char scratch[1024];
    for (uint32_t i = 0; i < 3000; i++) {
        size_t rows = tr_random_below(4, i, 0, 0, 0, 6), columns = tr_random_below(4, i, 1, 0, 0, 6), column[6];
        double cost[36], total;
        for (size_t k = 0; k < rows * columns; k++) {
            cost[k] =
                floor(tr_random_uniform(4, i, (uint32_t)k, 2, 0) * (i % 3 ? 100 : 4)) - 20; /* with many ties */
        }
        int maximise = (int)(i & 1);
        assert_int_equal(tr_match_assign(cost, rows, columns, maximise, column, &total, scratch, NULL), TR_OK);
        double best = brute_assign(cost, rows, columns, 0, 0, maximise ? -1 : 1);
        assert_near(maximise ? -total : total, best, 1e-9);
    }
}

static double entry(const json_t *cost, size_t i, size_t j)
{
    const json_t *x = json_array_get(json_array_get(cost, i), j);
    return json_is_string(x) ? INFINITY : json_number_value(x);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void test_oracle(void **state)
{
    (void)state;
    json_t *root = NULL;
    assert_int_equal(tr_json_read(need_shared("data/oracles/matching/linear_sum_assignment.json"), &root, NULL),
                     TR_OK);
    unsigned char scratch[4096];
    size_t cases = 0;
    json_t *item;
    size_t index;
    json_array_foreach(json_object_get(root, "min_cost_cases"), index, item)
    {
        const json_t *cost = json_object_get(item, "cost"), *chosen = json_object_get(item, "chosen");
        size_t rows = json_array_size(cost), columns = json_array_size(json_array_get(cost, 0)), to[8];
        for (int transposed = 0; transposed < 2; transposed++) {
            for (int maximise = 0; maximise < 2; maximise++) {
                double matrix[64], total, got[8], want[8];
                size_t r = transposed ? columns : rows, c = transposed ? rows : columns, count = 0;
                for (size_t i = 0; i < r; i++) {
                    for (size_t j = 0; j < c; j++) {
                        double x = transposed ? entry(cost, j, i) : entry(cost, i, j);
                        matrix[i * c + j] = maximise ? -x : x;
                    }
                }
                assert_int_equal(tr_match_assign(matrix, r, c, maximise, to, &total, scratch, NULL), TR_OK);
                assert_near(maximise ? -total : total, json_number_value(json_object_get(item, "total")), 0);
                for (size_t i = 0; i < r; i++) {
                    if (to[i] != SIZE_MAX) {
                        got[count++] = fabs(matrix[i * c + to[i]]);
                    }
                }
                assert_int_equal(count, json_array_size(chosen));
                for (size_t i = 0; i < count; i++) {
                    want[i] = json_number_value(json_array_get(chosen, i));
                }
                qsort(got, count, sizeof *got, ascending);
                qsort(want, count, sizeof *want, ascending);
                assert_memory_equal(got, want, count * sizeof *got);
                cases++;
            }
        }
    }
    assert_int_equal(cases, 20);
    json_array_foreach(json_object_get(root, "infeasible_as_bipartite_zero_is_missing_edge"), index, item)
    {
        size_t r = json_array_size(item), c = json_array_size(json_array_get(item, 0)), to[8];
        double matrix[64];
        for (size_t k = 0; k < r * c; k++) {
            double x = entry(item, k / c, k % c);
            matrix[k] = x == 0 ? INFINITY : x;
        }
        assert_int_equal(tr_match_assign(matrix, r, c, 0, to, NULL, scratch, NULL), TR_INVALID);
    }
    json_decref(root);
}

static void test_edges(void **state)
{
    (void)state;
    unsigned char scratch[4096];
    size_t to[8];
    double total = 7, same[64], bad[9] = {NAN, 0, 0, 0, 1, 0, 0, 0, 1};
    assert_int_equal(tr_match_assign(NULL, 0, 0, 0, to, &total, scratch, NULL), TR_OK);
    assert_true(total == 0);
    assert_int_equal(tr_match_assign(NULL, 0, 2, 0, to, &total, scratch, NULL), TR_OK);
    assert_int_equal(tr_match_assign(NULL, 3, 0, 0, to, &total, scratch, NULL), TR_OK);
    assert_true(to[0] == SIZE_MAX && to[2] == SIZE_MAX);
    for (int i = 0; i < 64; i++) {
        same[i] = 1;
    }
    assert_int_equal(tr_match_assign(same, 8, 8, 0, to, &total, scratch, NULL), TR_OK);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(to[i], i); /* equal costs give the identity */
    }
    tr_error err = {0};
    assert_int_equal(tr_match_assign(bad, 3, 3, 0, to, NULL, scratch, &err), TR_NUMERIC);
    assert_non_null(strstr(err.message, "row 0, column 0"));
    bad[0] = 1;
    bad[4] = -INFINITY;
    assert_int_equal(tr_match_assign(bad, 3, 3, 0, to, NULL, scratch, NULL), TR_NUMERIC);
    double blocked[9] = {INFINITY, 0, 0, INFINITY, 1, 0, INFINITY, 0, 1}; /* a column that nobody may take */
    assert_int_equal(tr_match_assign(blocked, 3, 3, 0, to, NULL, scratch, NULL), TR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_monotone), cmocka_unit_test(test_assign_brute),
                                       cmocka_unit_test(test_oracle), cmocka_unit_test(test_edges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
