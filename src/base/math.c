/* math.c: elementary functions in double precision as fixed sequences of IEEE operations.
 *
 * Only +, -, *, /, sqrt, fma, rint and bit moves, which are exact or correctly rounded everywhere, so the bits do
 * not depend on the machine or its libm. Reductions keep the argument as a sum of two doubles ("pair"); the
 * polynomials are plain Taylor series, long enough for the reduced range. Never used: tables, libm's transcendental
 * functions. */
#include "base/math.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct pair {
    double hi, lo; /* the value is hi + lo, |lo| <= ulp(hi) / 2 */
} pair;

static pair two_sum(double a, double b)
{
    double s = a + b, t = s - a;
    return (pair){s, (a - (s - t)) + (b - t)};
}

static pair two_product(double a, double b)
{
    double p = a * b;
    return (pair){p, fma(a, b, -p)};
}

/* Joins hi + lo where |hi| >= |lo|. */
static pair renormalise(double hi, double lo)
{
    double s = hi + lo;
    return (pair){s, lo - (s - hi)};
}

static uint64_t to_bits(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double from_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* 2^n for n in [-1022, 1023]. */
static double power2(int n)
{
    return from_bits((uint64_t)(n + 1023) << 52);
}

static const double LN2_HI = 0x1.62e42fefa39efp-1, LN2_LO = 0x1.abc9e3b39803fp-56;

/* exp(hi + lo), |lo| far below |hi|. */
static double exp_pair(double hi, double lo)
{
    if (hi != hi) {
        return hi;
    }
    if (hi > 709.79) {
        return INFINITY;
    }
    if (hi < -745.2) {
        return 0.0;
    }
    double k = rint(hi * 0x1.71547652b82fep+0);
    pair r = two_sum(fma(-k, LN2_HI, hi), fma(-k, LN2_LO, lo)); /* the fma is exact: multiples of 2^-54 below 1/2 */
    double p = 1.0 / 6227020800.0;                              /* 1/13!, then down to 1/2! */
    static const double inverse[] = {1.0 / 479001600.0,
                                     1.0 / 39916800.0,
                                     1.0 / 3628800.0,
                                     1.0 / 362880.0,
                                     1.0 / 40320.0,
                                     1.0 / 5040.0,
                                     1.0 / 720.0,
                                     1.0 / 120.0,
                                     1.0 / 24.0,
                                     1.0 / 6.0,
                                     0.5};
    for (int i = 0; i < (int)(sizeof inverse / sizeof *inverse); i++) {
        p = fma(p, r.hi, inverse[i]);
    }
    double tail = fma(r.hi * r.hi, p, fma(r.hi, r.lo, r.lo));
    pair sum = two_sum(1.0, r.hi);
    double y = sum.hi + (sum.lo + tail);
    int n = (int)k;
    if (n > 1000) {
        return y * 0x1p1000 * power2(n - 1000);
    }
    if (n < -1000) {
        return y * 0x1p-1000 * power2(n + 1000); /* one rounding: the first product is exact */
    }
    return y * power2(n);
}

double tr_math_exp(double x)
{
    return exp_pair(x, 0.0);
}

/* log(x) for finite x > 0 as a pair: x = 2^e m, m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m-1)/(m+1). */
static pair log_pair(double x)
{
    int e = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        e = -54;
    }
    uint64_t bits = to_bits(x);
    e += (int)(bits >> 52) - 1023;
    double m = from_bits((bits & 0xFFFFFFFFFFFFFull) | 0x3FF0000000000000ull);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e += 1;
    }
    double f = m - 1.0; /* exact */
    pair d = two_sum(2.0, f);
    double s = f / d.hi;
    double s_lo = (fma(-s, d.hi, f) - s * d.lo) / d.hi;
    pair s2 = two_product(s, s);
    s2.lo = fma(2.0 * s, s_lo, s2.lo);
    double p = 2.0 / 25.0;
    for (int k = 23; k >= 5; k -= 2) {
        p = fma(p, s2.hi, 2.0 / k);
    }
    /* log m = 2s + s^3 (2/3 + s^2 p): the 2/3 term in pairs, the rest is below 2^-12 of the whole */
    static const double THIRD_HI = 0x1.5555555555555p-1, THIRD_LO = 0x1.5555555555555p-55;
    pair q = renormalise(THIRD_HI, fma(s2.hi, p, THIRD_LO));
    pair t = two_product(s2.hi, q.hi);
    t.lo += fma(s2.hi, q.lo, s2.lo * q.hi);
    pair u = two_product(s, t.hi);
    u.lo += fma(s, t.lo, s_lo * t.hi);
    pair sum = two_sum(2.0 * s, u.hi);
    sum.lo += fma(2.0, s_lo, u.lo);
    pair l = two_product((double)e, LN2_HI);
    pair total = two_sum(l.hi, sum.hi);
    total.lo += fma((double)e, LN2_LO, l.lo) + sum.lo;
    return renormalise(total.hi, total.lo);
}

double tr_math_log(double x)
{
    if (x != x || x == INFINITY) {
        return x;
    }
    if (x == 0.0) {
        return -INFINITY;
    }
    return x < 0.0 ? (double)NAN : log_pair(x).hi;
}

double tr_math_pow(double x, double y)
{
    if (x != x || y != y || x < 0.0) {
        return (double)NAN;
    }
    if (y == 0.0 || x == 1.0) {
        return 1.0;
    }
    if (x == 0.0 || x == INFINITY) {
        return (x == 0.0) == (y > 0.0) ? 0.0 : INFINITY;
    }
    pair l = log_pair(x), t = two_product(y, l.hi);
    if (!(fabs(t.hi) < 800.0)) {
        return t.hi > 0.0 ? INFINITY : 0.0;
    }
    t = renormalise(t.hi, fma(y, l.lo, t.lo));
    return exp_pair(t.hi, t.lo);
}

/* x - k pi/2 as a pair, k the nearest integer; returns k modulo 4. Pi/2 in three parts, 159 bits. */
static int reduce(double x, pair *r)
{
    static const double P1 = 0x1.921fb54442d18p+0, P2 = 0x1.1a62633145c07p-54, P3 = -0x1.f1976b7ed8fbcp-110;
    double k = rint(x * 0x1.45f306dc9c883p-1);
    pair a = two_product(k, P1), b = two_product(k, P2);
    pair c = two_sum(x, -a.hi); /* exact, lo is 0 but for the smallest k */
    pair d = two_sum(c.hi, -a.lo);
    pair e = two_sum(d.hi, -b.hi);
    *r = renormalise(e.hi, ((e.lo + d.lo) + c.lo) - fma(k, P3, b.lo));
    return (int)((int64_t)k & 3);
}

static double sin_reduced(pair r)
{
    static const double c[] = {-1.0 / 1307674368000.0, 1.0 / 6227020800.0, -1.0 / 39916800.0, 1.0 / 362880.0,
                               -1.0 / 5040.0,          1.0 / 120.0,        -1.0 / 6.0};
    double z = r.hi * r.hi, p = 1.0 / 355687428096000.0;
    for (int i = 0; i < 7; i++) {
        p = fma(p, z, c[i]);
    }
    return r.hi + fma(z * r.hi, p, fma(-0.5 * z, r.lo, r.lo));
}

static double cos_reduced(pair r)
{
    static const double c[] = {-1.0 / 87178291200.0, 1.0 / 479001600.0, -1.0 / 3628800.0,
                               1.0 / 40320.0,        -1.0 / 720.0,      1.0 / 24.0};
    double z = r.hi * r.hi, p = 1.0 / 20922789888000.0;
    for (int i = 0; i < 6; i++) {
        p = fma(p, z, c[i]);
    }
    double half = 0.5 * z, w = 1.0 - half;
    return w + (((1.0 - w) - half) + fma(z * z, p, -r.hi * r.lo));
}

double tr_math_sin(double x)
{
    if (!(fabs(x) <= 0x1p30)) {
        return (double)NAN;
    }
    if (x == 0.0) {
        return x;
    }
    pair r;
    int quadrant = reduce(x, &r);
    double y = quadrant & 1 ? cos_reduced(r) : sin_reduced(r);
    return quadrant & 2 ? -y : y;
}

double tr_math_cos(double x)
{
    if (!(fabs(x) <= 0x1p30)) {
        return (double)NAN;
    }
    pair r;
    int quadrant = reduce(x, &r);
    double y = quadrant & 1 ? sin_reduced(r) : cos_reduced(r);
    return quadrant == 1 || quadrant == 2 ? -y : y;
}

/* |x| <= 1: 2/sqrt(pi) x (1 - x^2/3 + x^4/10 - ...), the leading product kept as a pair. */
static double erf_series(double x)
{
    double z = x * x, p = 0.0, factorial = 1.0;
    double c[20];
    for (int n = 1; n < 20; n++) {
        factorial *= (double)-n;
        c[n] = 1.0 / (factorial * (2 * n + 1));
    }
    for (int n = 19; n >= 1; n--) {
        p = fma(p, z, c[n]);
    }
    pair lead = two_product(x, 0x1.20dd750429b6dp+0);
    return lead.hi + fma(lead.hi, z * p, fma(x, 0x1.1ae3a914fed8p-56, lead.lo));
}

/* 1 - erf(x) for x in (1, 6): Laplace's continued fraction, evaluated from its end. At x = 1 its 212 steps leave
 * less than 2^-53; fewer are needed as x grows. */
static double erfc_fraction(double x)
{
    double f = x;
    for (int n = (int)(200.0 / (x * x)) + 12; n >= 1; n--) {
        f = x + 0.5 * n / f;
    }
    pair square = two_product(x, x);
    return exp_pair(-square.hi, -square.lo) * 0x1.20dd750429b6dp-1 / f;
}

double tr_math_erf(double x)
{
    double a = fabs(x);
    if (x != x) {
        return x;
    }
    if (a <= 1.0) {
        return erf_series(x);
    }
    return copysign(a < 6.0 ? 1.0 - erfc_fraction(a) : 1.0, x);
}
