/* test_resize.c: resizing: both variants give the same bytes, which are those of a plain formula and of a fixture;
 * the goldens' pair of frames. */
#include "support/shared.h"

#include "base/file.h"
#include "base/random.h"
#include "video/resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int sizes[][4] = {{28, 28, 56, 84},      {272, 640, 252, 588}, {144, 176, 140, 168},
                               {1080, 1920, 84, 140}, {117, 233, 121, 77},  {29, 31, 28, 28},
                               {5, 3, 28, 28},        {1, 1, 28, 56},       {480, 640, 480, 364},
                               {61, 640, 28, 640},    {28, 27, 28, 28}};

static uint8_t *noise(int height, int width, uint32_t seed)
{
    size_t bytes = (size_t)height * (size_t)width * 3;
    uint8_t *rgb = malloc(bytes);
    assert_non_null(rgb);
    for (size_t i = 0; i < bytes; i += 16) {
        uint32_t words[4];
        tr_random_bits(7, seed, (uint32_t)i, 0, 0, words);
        memcpy(rgb + i, words, bytes - i < 16 ? bytes - i : 16);
    }
    return rgb;
}

static uint8_t *resized(const uint8_t *rgb, const int size[4], const char *isa)
{
    size_t bytes = (size_t)size[2] * (size_t)size[3] * 3;
    uint8_t *out = malloc(bytes);
    tr_error err = {0};
    assert_non_null(out);
    if (isa) {
        setenv("TEMPR1_ISA", isa, 1);
    }
    if (tr_video_resize(rgb, size[0], size[1], 3 * size[1], out, size[2], size[3], &err)) {
        fail_msg("%s", err.message);
    }
    unsetenv("TEMPR1_ISA");
    return out;
}

static void variants_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *rgb = noise(sizes[i][0], sizes[i][1], (uint32_t)i);
        uint8_t *fast = resized(rgb, sizes[i], NULL), *plain = resized(rgb, sizes[i], "scalar");
        assert_memory_equal(fast, plain, (size_t)sizes[i][2] * (size_t)sizes[i][3] * 3);
        free(rgb);
        free(fast);
        free(plain);
    }
}

/* The same bytes on every machine: XXH3 of the results above, as torch 2.15 gives them on a CPU with FMA. */
static void checksums(void **state)
{
    (void)state;
    static const uint64_t expected[] = {0x2d02e4b6dc9aa29a, 0x02ad2d4c851e5f2e, 0x976445e4de5feadf,
                                        0x07eb50028419494d, 0x5cc9c39a877135df, 0x60b28b6340924a42,
                                        0xebe42c97e298bb0e, 0x0c781d0212288e09, 0x6ecb09e5a91338d5,
                                        0x9f9cf16daea35302, 0x8ecba137ed9e1510};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *rgb = noise(sizes[i][0], sizes[i][1], (uint32_t)i), *out = resized(rgb, sizes[i], NULL);
        uint64_t sum = tr_hash(out, (size_t)sizes[i][2] * (size_t)sizes[i][3] * 3);
        if (sum != expected[i]) {
            fail_msg("%dx%d to %dx%d: checksum %016llx, expected %016llx", sizes[i][1], sizes[i][0], sizes[i][3],
                     sizes[i][2], (unsigned long long)sum, (unsigned long long)expected[i]);
        }
        free(rgb);
        free(out);
    }
}

static double keys(double x)
{
    x = fabs(x);
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/* Weights of one output along one side, in double. */
static int weights(int in, int out, int at, double *weight, int *first)
{
    double scale = (double)in / out, wide = scale > 1 ? scale : 1, centre = (at + 0.5) * scale, total = 0;
    int low = (int)(centre - 2 * wide + 0.5), high = (int)(centre + 2 * wide + 0.5);
    low = low < 0 ? 0 : low;
    high = high > in ? in : high;
    for (int i = low; i < high; i++) {
        weight[i - low] = keys((i - centre + 0.5) / wide);
        total += weight[i - low];
    }
    for (int i = 0; i < high - low; i++) {
        weight[i] /= total;
    }
    *first = low;
    return high - low;
}

/* Against the formula in double. A centre in f32 is off by up to 2^-24 of 1920 pixels; with weights that change by
 * at most 1.2 a pixel and levels of 255 that is less than 0.1 of a level, beside the rounding of 0.5. */
static void as_the_formula(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const int *z = sizes[s];
        uint8_t *rgb = noise(z[0], z[1], (uint32_t)s), *out = resized(rgb, z, NULL);
        for (int n = 0; n < 400; n++) {
            int y = (int)tr_random_below(3, (uint32_t)n, 0, 0, 0, (uint64_t)z[2]);
            int x = (int)tr_random_below(3, (uint32_t)n, 1, 0, 0, (uint64_t)z[3]), c = n % 3, top, left;
            double down[64], across[64], value = 0;
            int rows = weights(z[0], z[2], y, down, &top), columns = weights(z[1], z[3], x, across, &left);
            for (int i = 0; i < rows; i++) {
                for (int k = 0; k < columns; k++) {
                    value += down[i] * across[k] * rgb[((top + i) * z[1] + left + k) * 3 + c];
                }
            }
            value = value < 0 ? 0 : value > 255 ? 255 : value;
            double found = out[((size_t)c * (size_t)z[2] + (size_t)y) * (size_t)z[3] + (size_t)x];
            if (!(fabs(found - value) < 0.6)) {
                fail_msg("%dx%d to %dx%d at %d,%d: %g, the formula says %g", z[1], z[0], z[3], z[2], x, y, found,
                         value);
            }
        }
        free(rgb);
        free(out);
    }
}

/* Rows further apart than their bytes, as FFmpeg's are; the gap's content must not matter. */
static void strides(void **state)
{
    (void)state;
    const int size[4] = {40, 50, 28, 56};
    uint8_t *rgb = noise(40, 50, 99), *expected = resized(rgb, size, NULL), wide[40 * 192], out[3 * 28 * 56];
    memset(wide, 255, sizeof wide);
    for (int y = 0; y < 40; y++) {
        memcpy(wide + (ptrdiff_t)y * 192, rgb + (ptrdiff_t)y * 150, 150);
    }
    assert_int_equal(tr_video_resize(wide, 40, 50, 192, out, 28, 56, NULL), TR_OK);
    assert_memory_equal(out, expected, sizeof out);
    assert_int_equal(tr_video_resize(wide, 0, 50, 192, out, 28, 56, NULL), TR_INVALID);
    free(rgb);
    free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(variants_agree), cmocka_unit_test(checksums),
                                       cmocka_unit_test(as_the_formula), cmocka_unit_test(strides)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
