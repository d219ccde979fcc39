/* test_math.c: the elementary functions against libm's long double versions, in units in the last place, at special
 * values, and as committed checksums: every machine must reproduce the same bits. */
#include "base/math.h"

#include "base/random.h"
#include "support/shared.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static double random_in(uint32_t i, double low, double high)
{
    return low + (high - low) * tr_random_uniform(7, i, 0, 0, 0);
}

/* |x - truth| in units of the last place of a double near the truth (2^-1074 at the least). */
static double ulps(double x, long double truth)
{
    if ((double)truth == x) {
        return 0.0;
    }
    int e;
    (void)frexpl(truth, &e);
    long double unit = ldexpl(1.0L, e - 53 > -1074 ? e - 53 : -1074);
    return (double)(fabsl((long double)x - truth) / unit);
}

typedef struct range {
    const char *name;
    double (*ours)(double);
    long double (*truth)(long double);
    double low, high;
} range;

static const range ranges[] = {
    {"exp", tr_math_exp, expl, -745.1, 709.7},   {"exp", tr_math_exp, expl, -1.0, 1.0},
    {"exp", tr_math_exp, expl, -1e-3, 1e-3},     {"log", tr_math_log, logl, 1e-300, 1e-290},
    {"log", tr_math_log, logl, 0.5, 2.0},        {"log", tr_math_log, logl, 0.99, 1.01},
    {"log", tr_math_log, logl, 1.0, 1e9},        {"log", tr_math_log, logl, 0x1p-1074, 0x1p-1023},
    {"sin", tr_math_sin, sinl, -7.0, 7.0},       {"sin", tr_math_sin, sinl, -1e5, 1e5},
    {"sin", tr_math_sin, sinl, -0x1p30, 0x1p30}, {"cos", tr_math_cos, cosl, -7.0, 7.0},
    {"cos", tr_math_cos, cosl, -1e5, 1e5},       {"cos", tr_math_cos, cosl, -0x1p30, 0x1p30},
    {"sin", tr_math_sin, sinl, -1e-8, 1e-8},     {"erf", tr_math_erf, erfl, -1.0, 1.0},
    {"erf", tr_math_erf, erfl, 0.99, 6.2},       {"erf", tr_math_erf, erfl, -1e-300, 1e-300},
};

static void test_accuracy(void **state)
{
    (void)state;
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
        double worst = 0.0, where = 0.0;
        for (uint32_t i = 0; i < 20000; i++) {
            double x = random_in(i, ranges[r].low, ranges[r].high), u = ulps(ranges[r].ours(x), ranges[r].truth(x));
            if (!(u <= worst)) {
                worst = u;
                where = x;
            }
        }
        print_message("%s on [%g, %g]: at most %.3f ulp (at %.17g)\n", ranges[r].name, ranges[r].low,
                      ranges[r].high, worst, where);
        assert_true(worst < 2.0);
    }
}

static void test_pow(void **state)
{
    (void)state;
    double worst = 0.0;
    for (uint32_t i = 0; i < 20000; i++) {
        double x = tr_math_exp(random_in(i, -20.0, 20.0)), y = random_in(i + 100000, -35.0, 35.0);
        double u = ulps(tr_math_pow(x, y), powl(x, y));
        worst = !(u <= worst) ? u : worst;
        double theta = i % 2 ? 1e4 : 1e6, e = -(double)(i % 128) / 128.0;
        u = ulps(tr_math_pow(theta, e), powl(theta, e));
        worst = !(u <= worst) ? u : worst;
    }
    print_message("pow: at most %.3f ulp\n", worst);
    assert_true(worst < 2.0);
    assert_true(tr_math_pow(1e6, 0.0) == 1.0 && tr_math_pow(2.0, 10.0) == 1024.0 &&
                tr_math_pow(10.0, 3.0) == 1000.0);
    assert_true(isinf(tr_math_pow(10.0, 400.0)) && tr_math_pow(10.0, -400.0) == 0.0);
    assert_true(tr_math_pow(0.0, 2.0) == 0.0 && isinf(tr_math_pow(0.0, -2.0)) && isnan(tr_math_pow(-1.0, 2.0)));
}

static void test_special(void **state)
{
    (void)state;
    double (*all[])(double) = {tr_math_exp, tr_math_log, tr_math_sin, tr_math_cos, tr_math_erf};
    for (int i = 0; i < 5; i++) {
        assert_true(isnan(all[i]((double)NAN)));
    }
    assert_true(tr_math_exp(0.0) == 1.0 && tr_math_exp(-INFINITY) == 0.0 && tr_math_exp(-746.0) == 0.0);
    assert_true(isinf(tr_math_exp(INFINITY)) && isinf(tr_math_exp(710.0)) && isfinite(tr_math_exp(709.78)));
    assert_true(tr_math_exp(-745.0) > 0.0);
    assert_true(tr_math_log(1.0) == 0.0 && tr_math_log(0.0) == -INFINITY && isnan(tr_math_log(-1.0)));
    assert_true(isinf(tr_math_log(INFINITY)));
    assert_true(tr_math_sin(0.0) == 0.0 && tr_math_cos(0.0) == 1.0);
    assert_true(isnan(tr_math_sin(0x1p31)) && isnan(tr_math_cos(-0x1p31)) && isnan(tr_math_sin(INFINITY)));
    assert_true(tr_math_erf(0.0) == 0.0 && tr_math_erf(INFINITY) == 1.0 && tr_math_erf(-7.0) == -1.0);
    for (uint32_t i = 0; i < 1000; i++) { /* odd and even exactly */
        double x = random_in(i, -50.0, 50.0);
        assert_true(tr_math_sin(-x) == -tr_math_sin(x) && tr_math_cos(-x) == tr_math_cos(x));
        assert_true(tr_math_erf(-x / 10) == -tr_math_erf(x / 10));
    }
}

static void test_checksums(void **state)
{
    (void)state;
    static const uint64_t expected[6] = {0x90b7bd2a382ef22b, 0x4cf68c5f069f5ef0, 0x6d7199de5eae3af3,
                                         0x125cbc201fe368b5, 0xb4777307db5eaa0d, 0x1252c90e8d65445e};
    static double y[6][1000];
    for (uint32_t i = 0; i < 1000; i++) {
        double x = (double)((int)i - 500) * 0x1.3p-3 + 0x1p-9; /* exact on every machine */
        y[0][i] = tr_math_exp(x);
        y[1][i] = tr_math_log(x * x);
        y[2][i] = tr_math_sin(x * 1000.0);
        y[3][i] = tr_math_cos(x * 1000.0);
        y[4][i] = tr_math_erf(x * 0x1p-3);
        y[5][i] = tr_math_pow(x * x, x * 0x1p-4);
    }
    for (int f = 0; f < 6; f++) {
        uint64_t hash = tr_hash(y[f], sizeof y[f]);
        if (hash != expected[f]) {
            print_message("function %d: checksum 0x%016llx, expected 0x%016llx\n", f, (unsigned long long)hash,
                          (unsigned long long)expected[f]);
        }
        assert_true(hash == expected[f]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_accuracy), cmocka_unit_test(test_pow),
                                       cmocka_unit_test(test_special), cmocka_unit_test(test_checksums)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
