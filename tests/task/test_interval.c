/* test_interval.c: intervals and unions against brute force, and their properties on random cases. */
#include "support/shared.h"

#include "base/random.h"
#include "task/interval.h"

#include <math.h>
#include <string.h>

static double draw(uint32_t a, uint32_t b, double high)
{
    return tr_random_uniform(77, a, b, 0, 0) * high;
}

static tr_interval random_interval(uint32_t a, uint32_t b)
{
    double s = draw(a, b, 100), e = draw(a, b + 1000, 100);
    if (tr_random_below(5, a, b, 1, 0, 20) == 0) { /* now and then a grid, so that ends coincide */
        s = floor(s / 10) * 10;
        e = floor(e / 10) * 10;
    }
    return (tr_interval){s, e};
}

static void assert_near(double x, double y, double tolerance)
{
    if (!(fabs(x - y) <= tolerance)) {
        fail_msg("%.17g for %.17g (tolerance %g)", x, y, tolerance);
    }
}

static void test_known(void **state)
{
    (void)state;
    tr_interval a = {5, 20}, b = {10, 30}, c = {40, 50}, reversed = {20, 5}, nan_end = {1, NAN};
    assert_near(tr_interval_iou(a, b), 10.0 / 25, 1e-15);
    assert_near(tr_interval_iop(a, b), 10.0 / 15, 1e-15);
    assert_near(tr_interval_giou(a, c), -20.0 / 45, 1e-15); /* gap 20, hull 45 */
    assert_true(tr_interval_iou(a, a) == 1 && tr_interval_giou(a, a) == 1);
    assert_true(tr_interval_iou(a, reversed) == 0 && tr_interval_iou(reversed, reversed) == 0);
    assert_true(tr_interval_iou(a, nan_end) == 0 && tr_interval_length(nan_end) == 0);
    tr_interval hull = tr_interval_hull(a, c);
    assert_true(hull.start_s == 5 && hull.end_s == 50);
    tr_interval clamped = tr_interval_clamp((tr_interval){-5, 60}, 30);
    assert_true(clamped.start_s == 0 && clamped.end_s == 30);
    clamped = tr_interval_clamp((tr_interval){40, 60}, 30);
    assert_false(tr_interval_proper(clamped));
}

static void test_union(void **state)
{
    (void)state;
    tr_interval list[] = {{10, 20}, {5, 10}, {30, 25}, {19, 22}, {NAN, 3}, {40, 41}, {22, 22}};
    size_t n = tr_interval_union(list, 7);
    assert_int_equal(n, 2); /* touching intervals merge; empty ones go */
    assert_true(list[0].start_s == 5 && list[0].end_s == 22 && list[1].start_s == 40 && list[1].end_s == 41);
    assert_true(tr_union_length(list, n) == 18);
    tr_interval g[] = {{0, 6}, {21, 40.5}};
    assert_near(tr_union_intersection(list, n, g, 2), 1 + 1 + 0.5, 1e-12);
    assert_near(tr_union_iou(list, n, g, 2), 2.5 / (18 + 25.5 - 2.5), 1e-12);
    assert_near(tr_union_iop(list, n, g, 2), 2.5 / 18, 1e-12);
    assert_true(tr_union_iou(list, 0, g, 0) == 0);
}

/* 100,000 pairs: bounds, symmetry, translation, scale, and the union formula. */
static void test_properties(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 100000; i++) {
        tr_interval a = random_interval(i, 0), b = random_interval(i, 1);
        double iou = tr_interval_iou(a, b), giou = tr_interval_giou(a, b), iop = tr_interval_iop(a, b);
        assert_true(iou >= 0 && iou <= 1 && giou >= -1 && giou <= 1 && iop >= 0 && iop <= 1 && giou <= iou);
        assert_true(iou == tr_interval_iou(b, a) && giou == tr_interval_giou(b, a));
        assert_true(iou <= iop || iop == 0);
        tr_interval moved_a = {a.start_s * 4 + 64, a.end_s * 4 + 64},
                    moved_b = {b.start_s * 4 + 64, b.end_s * 4 + 64};
        assert_near(tr_interval_iou(moved_a, moved_b), iou, 1e-11); /* ends of about 500 round by 6e-14 */
        assert_near(tr_interval_giou(moved_a, moved_b), giou, 1e-11);
        double inter = tr_interval_intersection(a, b);
        double all = tr_interval_length(a) + tr_interval_length(b) - inter;
        assert_near(iou, inter > 0 ? inter / all : 0, 1e-12);
        if (tr_interval_proper(a) && tr_interval_proper(b)) {
            double hull = tr_interval_length(tr_interval_hull(a, b));
            assert_near(giou, (inter > 0 ? inter / all : 0) - (hull - all) / hull, 1e-12);
        }
    }
}

/* Unions against counting on a grid of 1/8 seconds. */
static void test_union_brute(void **state)
{
    (void)state;
    enum { CELLS = 256 };
    for (uint32_t i = 0; i < 20000; i++) {
        tr_interval p[6], g[6];
        size_t m = tr_random_below(1, i, 0, 0, 0, 7), n = tr_random_below(1, i, 1, 0, 0, 7);
        unsigned char in_p[CELLS] = {0}, in_g[CELLS] = {0};
        for (size_t k = 0; k < m + n; k++) {
            int s = (int)tr_random_below(2, i, (uint32_t)k, 0, 0, CELLS),
                e = (int)tr_random_below(2, i, (uint32_t)k, 1, 0, CELLS);
            tr_interval x = {s / 8.0, e / 8.0};
            if (k < m) {
                p[k] = x;
            } else {
                g[k - m] = x;
            }
            for (int c = s; c < e; c++) {
                (k < m ? in_p : in_g)[c] = 1;
            }
        }
        int both = 0, either = 0, only_p = 0;
        for (int c = 0; c < CELLS; c++) {
            both += in_p[c] && in_g[c];
            either += in_p[c] || in_g[c];
            only_p += in_p[c];
        }
        m = tr_interval_union(p, m);
        n = tr_interval_union(g, n);
        assert_near(tr_union_iou(p, m, g, n), both ? (double)both / either : 0, 1e-14);
        assert_near(tr_union_iop(p, m, g, n), both ? (double)both / only_p : 0, 1e-14);
    }
}

/* W1 by its other definition: the integral over q of |quantile_P(q) - quantile_G(q)|, on a fine grid. */
static double quantile(const tr_interval *list, size_t count, double q)
{
    double left = q * tr_union_length(list, count);
    for (size_t i = 0; i < count; i++) {
        double length = list[i].end_s - list[i].start_s;
        if (left <= length || i + 1 == count) {
            return list[i].start_s + left;
        }
        left -= length;
    }
    return 0;
}

static void test_wasserstein(void **state)
{
    (void)state;
    tr_interval a[] = {{0, 10}}, b[] = {{5, 15}}, c[] = {{0, 1}, {9, 10}};
    assert_near(tr_union_wasserstein(a, 1, b, 1), 5, 1e-12); /* a shift costs the shift */
    assert_near(tr_union_wasserstein(a, 1, a, 1), 0, 0);
    /* Quantiles q*10 against q*2 (below 1/2) and 8 + q*2: 2 * integral of 8q from 0 to 1/2 = 2. */
    assert_near(tr_union_wasserstein(a, 1, c, 2), 2, 1e-12);
    assert_true(isinf(tr_union_wasserstein(a, 1, NULL, 0)) && tr_union_wasserstein(NULL, 0, NULL, 0) == 0);
    for (uint32_t i = 0; i < 300; i++) {
        tr_interval p[4], g[4];
        size_t m = 0, n = 0;
        for (uint32_t k = 0; k < 4; k++) {
            p[m++] = random_interval(i + 500000, k);
            g[n++] = random_interval(i + 500000, k + 10);
        }
        m = tr_interval_union(p, m);
        n = tr_interval_union(g, n);
        if (!m || !n) {
            continue;
        }
        enum { STEPS = 20000 };
        double sum = 0;
        for (int k = 0; k < STEPS; k++) {
            double q = (k + 0.5) / STEPS;
            sum += fabs(quantile(p, m, q) - quantile(g, n, q)) / STEPS;
        }
        /* The midpoint rule errs where a quantile function jumps: at most 4 jumps of 100 s within one step each. */
        assert_near(tr_union_wasserstein(p, m, g, n), sum, 8 * 100.0 / STEPS + 1e-9);
        assert_near(tr_union_wasserstein(p, m, g, n), tr_union_wasserstein(g, n, p, m), 1e-10);
    }
}

static void test_sort(void **state)
{
    (void)state;
    for (size_t n = 0; n < 200; n += n < 40 ? 1 : 31) { /* both sorts and their boundary at 32 */
        tr_interval list[200];
        double sum = 0, after = 0;
        for (size_t i = 0; i < n; i++) {
            list[i] = random_interval((uint32_t)(n * 1000 + i), 3);
            sum += list[i].start_s;
        }
        tr_interval_sort(list, n);
        for (size_t i = 0; i < n; i++) {
            after += list[i].start_s;
            assert_true(!i || list[i - 1].start_s < list[i].start_s ||
                        (list[i - 1].start_s == list[i].start_s && list[i - 1].end_s <= list[i].end_s));
        }
        assert_near(after, sum, 1e-9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known),       cmocka_unit_test(test_union),
                                       cmocka_unit_test(test_properties),  cmocka_unit_test(test_union_brute),
                                       cmocka_unit_test(test_wasserstein), cmocka_unit_test(test_sort)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
