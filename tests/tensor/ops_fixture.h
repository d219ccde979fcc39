/* ops_fixture.h: buffers between sentinels, reproducible inputs and the list of variants, for the operation tests.
 */
#ifndef TR_TESTS_TENSOR_OPS_FIXTURE_H
#define TR_TESTS_TENSOR_OPS_FIXTURE_H

#include "base/random.h"
#include "base/thread.h"
#include "support/compare.h"
#include "support/shared.h"
#include "tensor/cpu/parallel.h"
#include "tensor/ops.h"
#include "tensor/reference/reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPS 0x1p-24 /* half a unit in the last place of 1.0f */

enum { GUARD = 32, BUFFERS_MAX = 256 };

static struct {
    float *base[BUFFERS_MAX];
    size_t count[BUFFERS_MAX];
    int used;
} buffers;

static __attribute__((noinline, unused)) uint32_t sentinel(int i)
{
    return 0x7FA00000u + (uint32_t)i; /* a signalling NaN: also poison where it is read */
}

/* count floats between two guards; contents are sentinels too. Freed, and the guards checked, by release(). */
static __attribute__((noinline, unused)) float *buffer(int64_t count)
{
    size_t n = (size_t)count + 2 * GUARD;
    float *base = malloc(n * sizeof *base);
    assert_non_null(base);
    assert_true(buffers.used < BUFFERS_MAX);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = sentinel((int)(i % 1000));
        memcpy(base + i, &bits, sizeof bits);
    }
    buffers.base[buffers.used] = base;
    buffers.count[buffers.used++] = (size_t)count;
    return base + GUARD;
}

static __attribute__((noinline, unused)) void check_guards(void)
{
    for (int b = 0; b < buffers.used; b++) {
        size_t n = buffers.count[b];
        for (size_t i = 0; i < n + 2 * GUARD; i++) {
            if (i >= GUARD && i < n + GUARD) {
                continue;
            }
            uint32_t bits;
            memcpy(&bits, buffers.base[b] + i, sizeof bits);
            if (bits != sentinel((int)(i % 1000))) {
                fail_msg("buffer %d of %zu floats: written at %ld", b, n, (long)i - GUARD);
            }
        }
    }
}

static __attribute__((noinline, unused)) void release(void)
{
    check_guards();
    for (int b = 0; b < buffers.used; b++) {
        free(buffers.base[b]);
    }
    buffers.used = 0;
}

/* Uniform in [-scale, scale], made of exact operations: the same on every machine. */
static __attribute__((noinline, unused)) void fill(float *x, int64_t count, uint32_t seed, float scale)
{
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits[4];
        tr_random_bits(5, (uint32_t)i, seed, 0, 0, bits);
        x[i] = (float)((int32_t)bits[0] >> 8) * 0x1p-23f * scale;
    }
}

static __attribute__((noinline, unused)) float *filled(int64_t count, uint32_t seed, float scale)
{
    float *x = buffer(count);
    fill(x, count, seed, scale);
    return x;
}

static __attribute__((noinline, unused)) float *zeros(int64_t count)
{
    float *x = buffer(count);
    memset(x, 0, (size_t)count * sizeof *x);
    return x;
}

static __attribute__((noinline, unused)) float *copy_of(const float *x, int64_t count)
{
    float *y = buffer(count);
    memcpy(y, x, (size_t)count * sizeof *x);
    return y;
}

static __attribute__((noinline, unused)) double *widened(const float *x, int64_t count)
{
    double *y = malloc((size_t)(count ? count : 1) * sizeof *y);
    assert_non_null(y);
    for (int64_t i = 0; i < count; i++) {
        y[i] = (double)x[i];
    }
    return y;
}

/* The fast variants of this CPU; prints the ones it cannot run, once. From here on work of any size is shared by
 * the threads that a test sets. */
static __attribute__((noinline, unused)) int fast_variants(const tr_ops *tables[3])
{
    static const char *names[3] = {"scalar", "avx2", "avx512"};
    static bool told;
    int count = 0;
    tr_cpu_steps_worth_threads = 0;
    for (int i = 0; i < 3; i++) {
        tr_error err = {0};
        if (tr_ops_cpu(names[i], &tables[count], &err) == TR_OK) {
            count++;
        } else if (!told) {
            printf("SKIP: variant %s: %s\n", names[i], err.message);
        }
    }
    told = true;
    assert_true(count > 0);
    return count;
}

/* Which thread counts a variant is tried with, 1 to the result: the first and middle ones with one, the widest with
 * three, which compares everything with everything in fewer runs. */
static __attribute__((noinline, unused)) int thread_counts(int variant, int variants)
{
    return variant == variants - 1 ? 3 : 1;
}

/* |x - y| <= tolerance for every element; NaN fails. */
static __attribute__((noinline, unused)) void close_to(const char *what, const char *variant, const float *x,
                                                       const float *y, int64_t count, double tolerance)
{
    for (int64_t i = 0; i < count; i++) {
        if (!(fabs((double)x[i] - (double)y[i]) <= tolerance)) {
            fail_msg("%s, %s: element %ld is %.9g, reference %.9g, tolerance %.3g", what, variant, (long)i,
                     (double)x[i], (double)y[i], tolerance);
        }
    }
}

static __attribute__((noinline, unused)) void same_bits(const char *what, const char *variant, const float *x,
                                                        const float *y, int64_t count)
{
    if (memcmp(x, y, (size_t)count * sizeof *x) != 0) {
        for (int64_t i = 0; i < count; i++) {
            if (memcmp(x + i, y + i, sizeof *x) != 0) {
                fail_msg("%s, %s: element %ld of %ld is %a, expected %a", what, variant, (long)i, (long)count,
                         (double)x[i], (double)y[i]);
            }
        }
    }
}

#endif
