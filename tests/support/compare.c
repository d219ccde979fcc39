/* compare.c: comparisons with a truth, written so that NaN fails. */
#include "support/compare.h"

#include <math.h>
#include <stdio.h>

bool golden_close(const char *name, const float *x, const double *truth, size_t count, double max_err,
                  double rms_err, double truth_max_abs, double truth_rms)
{
    double worst = 0, square = 0;
    size_t at = 0;
    bool finite = true;
    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)x[i] - truth[i]);
        if (!(d <= 1e300)) {
            finite = false;
            at = i;
        }
        if (d > worst) {
            worst = d;
            at = i;
        }
        square += d * d;
    }
    double rms = count ? sqrt(square / (double)count) : 0;
    double max_limit = 4 * max_err + 0x1p-22 * truth_max_abs, rms_limit = 4 * rms_err + 0x1p-23 * truth_rms;
    bool ok = finite && worst <= max_limit && rms <= rms_limit;
    if (!ok) {
        printf("%s: max error %.3g (limit %.3g) at %zu: %.9g for %.9g; rms error %.3g (limit %.3g)\n", name, worst,
               max_limit, at, count ? (double)x[at] : 0.0, count ? truth[at] : 0.0, rms, rms_limit);
    }
    return ok;
}

bool golden_scalar(const char *name, double x, double truth, double err)
{
    double limit = 4 * err + 2e-6 * fabs(truth);
    bool ok = fabs(x - truth) <= limit;
    if (!ok) {
        printf("%s: %.12g for %.12g (limit %.3g)\n", name, x, truth, limit);
    }
    return ok;
}

bool all_close(const char *name, const float *x, const float *y, size_t count, double absolute, double relative)
{
    for (size_t i = 0; i < count; i++) {
        double limit = absolute + relative * fabs((double)y[i]);
        if (!(fabs((double)x[i] - (double)y[i]) <= limit)) {
            printf("%s[%zu]: %.9g for %.9g (limit %.3g)\n", name, i, (double)x[i], (double)y[i], limit);
            return false;
        }
    }
    return true;
}
