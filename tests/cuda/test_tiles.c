/* test_tiles.c: our own tensor-core products. Every shape of tile gives the same bits for every number of rows, in
 * the three forms, for sizes around the tiles and for odd ones; over the emulation these are the bits of the chain
 * that kernel_tile.h promises, computed here one element at a time. Asynchronous copies arrive there as late as
 * they may and a place in use must not be overwritten (emulate_async.c). */
#include "cuda/cuda_fixture.h"

#include "tensor/cuda/kernel_tile.h"
#include "tensor/cuda/products.h"

typedef struct sizes {
    int64_t rows, out, in;
} sizes;

/* Operands of a form on host and device, as bf16 and as the numbers they are. */
typedef struct operands {
    float *a, *b, *bias, *c;
    const uint16_t *da, *db;
    const float *dbias;
    int64_t result, m, n, depth;
} operands;

static const uint16_t *halves(const float *x, int64_t count)
{
    uint16_t *half = (uint16_t *)buffer((count + 1) / 2 + 1);
    memset(half, 0xFF, ((size_t)count + 3) / 2 * 4);
    tr_convert(half, TR_BF16, x, TR_F32, count);
    return (const uint16_t *)on_device((const float *)half, (count + 1) / 2);
}

static operands make(tr_cuda_form form, sizes s)
{
    const bool forward = form == TR_CUDA_FORWARD, across = form == TR_CUDA_WEIGHT;
    const int64_t a = s.rows * (forward ? s.in : s.out), b = across ? s.rows * s.in : s.out * s.in;
    operands o = {.m = forward ? s.out : s.in,
                  .n = across ? s.out : s.rows,
                  .depth = forward  ? s.in
                           : across ? s.rows
                                    : s.out};
    o.result = o.m * o.n;
    o.a = rounded(filled(a, 1, 2.0f), a);
    o.b = rounded(filled(b, 2, 1.0f), b);
    o.bias = filled(s.out, 3, 1.0f);
    o.c = filled(o.result, 4, 1.0f);
    o.da = halves(o.a, a);
    o.db = halves(o.b, b);
    o.dbias = on_device(o.bias, s.out);
    return o;
}

/* The promised chain: sixteen products and the sum so far in one rounding, a step after the other. */
static float *expected(tr_cuda_form form, const operands *o, bool biased)
{
    float *c = buffer(o->result);
    for (int64_t j = 0; j < o->n; j++) {
        for (int64_t i = 0; i < o->m; i++) {
            float sum = 0.0f;
            for (int64_t k0 = 0; k0 < o->depth; k0 += 16) {
                double step = (double)sum;
                for (int64_t k = k0; k < k0 + 16 && k < o->depth; k++) {
                    const double x = o->a[form == TR_CUDA_WEIGHT ? k * o->n + j : j * o->depth + k];
                    step += x * (double)o->b[form == TR_CUDA_FORWARD ? i * o->depth + k : k * o->m + i];
                }
                sum = (float)step;
            }
            c[j * o->m + i] =
                form == TR_CUDA_FORWARD ? (biased ? sum + o->bias[i] : sum) : sum + o->c[j * o->m + i];
        }
    }
    return c;
}

static bool of_form(int tile, tr_cuda_form form)
{
    return form == TR_CUDA_FORWARD ? tile <= TILE_forward_128x128
                                   : tile == (form == TR_CUDA_INPUT ? TILE_input_128x128 : TILE_weight_128x128);
}

/* All tiles of a form on one problem, each held against the chain and against the first. */
static void check(tr_cuda_form form, sizes s, bool biased)
{
    operands o = make(form, s);
    const float *chain = expected(form, &o, biased), *first = NULL;
    for (int tile = 0; tile < TILE_SHAPES; tile++) {
        if (of_form(tile, form)) {
            float *c = on_device(form == TR_CUDA_FORWARD ? NULL : o.c, o.result);
            tr_cuda_product_own(form, c, o.da, o.db, biased ? o.dbias : NULL, s.rows, s.out, s.in, tile);
            const float *got = from_device(c, o.result);
            first = first ? first : got;
            same_bits("the tiles of a product", "own", got, first, o.result);
#ifndef TEMPR1_TEST_GPU
            same_bits("the chain of a product", "own", got, chain, o.result);
#endif
            close_to("own product", "own", got, chain, o.result,
                     (double)(o.depth + 2) * EPS * 2.0 * (double)o.depth);
        }
    }
    finish();
}

static void test_forward(void **state)
{
    (void)state;
    table_of(TR_BF16); /* opens the GPU, or skips */
    static const sizes all[] = {{1, 1, 1},      {1, 16, 8},     {2, 15, 17},    {15, 17, 16},   {16, 31, 40},
                                {17, 32, 127},  {31, 33, 128},  {33, 63, 129},  {63, 64, 136},  {64, 65, 24},
                                {65, 127, 63},  {127, 128, 64}, {128, 129, 72}, {129, 24, 255}, {130, 8, 264},
                                {3, 136, 1040}, {5, 7, 1033},   {9, 20, 36}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        check(TR_CUDA_FORWARD, all[i], i % 2 == 0);
    }
}

static void test_backward(void **state)
{
    (void)state;
    table_of(TR_BF16); /* opens the GPU, or skips */
    static const sizes all[] = {{1, 1, 1},     {1, 16, 8},    {17, 8, 24},    {31, 33, 40},
                                {32, 64, 136}, {33, 31, 129}, {64, 129, 16},  {127, 40, 72},
                                {129, 17, 15}, {130, 136, 8}, {200, 24, 128}, {7, 12, 44}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        check(TR_CUDA_INPUT, all[i], false);
        check(TR_CUDA_WEIGHT, all[i], false);
    }
}

/* 1 to 130 rows: the tile that is chosen by count gives each row the bits that it has among all. */
static void test_every_number_of_rows(void **state)
{
    (void)state;
    table_of(TR_BF16); /* opens the GPU, or skips */
    enum { MOST = 130, OUT = 72, IN = 56 };
    const sizes s = {MOST, OUT, IN};
    operands o = make(TR_CUDA_FORWARD, s);
    float *all = on_device(NULL, MOST * OUT), *some = malloc(sizeof(float) * MOST * OUT);
    float *whole = malloc(sizeof(float) * MOST * OUT);
    assert_non_null(some);
    assert_non_null(whole);
    tr_cuda_product_own(TR_CUDA_FORWARD, all, o.da, o.db, o.dbias, MOST, OUT, IN, TILE_forward_128x128);
    tr_cuda_read(whole, all, sizeof(float) * MOST * OUT);
    for (int64_t rows = 1; rows <= MOST; rows++) {
        float *few = on_device(NULL, rows * OUT);
        tr_cuda_product_own(TR_CUDA_FORWARD, few, o.da, o.db, o.dbias, rows, OUT, IN, -1);
        tr_cuda_read(some, few, (size_t)(rows * OUT) * sizeof *some);
        same_bits("rows of an own product", "own", some, whole, rows * OUT);
        if (rows % 32 == 0) { /* the fixture holds 128 tensors */
            finish();
            o = make(TR_CUDA_FORWARD, s);
        }
    }
    free(some);
    free(whole);
    finish();
}

/* A NaN or infinity of one row or weight stays with its own elements, whatever tile they share. */
static void test_nan_stays_in_its_row(void **state)
{
    (void)state;
    table_of(TR_BF16); /* opens the GPU, or skips */
    const sizes s = {19, 40, 72};
    operands o = make(TR_CUDA_FORWARD, s);
    o.a[5 * s.in + 3] = (float)NAN;
    o.b[7 * s.in + 71] = INFINITY;
    o.da = halves(o.a, s.rows * s.in);
    o.db = halves(o.b, s.out * s.in);
    for (int tile = 0; tile <= TILE_forward_128x128; tile++) {
        float *c = on_device(NULL, o.result);
        tr_cuda_product_own(TR_CUDA_FORWARD, c, o.da, o.db, NULL, s.rows, s.out, s.in, tile);
        const float *got = from_device(c, o.result);
        for (int64_t i = 0; i < o.result; i++) {
            assert_true(isfinite(got[i]) == (i / s.out != 5 && i % s.out != 7));
        }
    }
    finish();
}

/* Tiles by count for the 3B shapes at 64 rows: enough blocks, weights read once where out is large. */
static void test_choice(void **state)
{
    (void)state;
    table_of(TR_BF16); /* opens the GPU, or skips */
    static const int64_t outs[] = {256, 2048, 11008, 151936, 512, 3584, 18944, 152064};
    for (int i = 0; i < 8; i++) {
        for (int64_t rows = 1; rows <= 128; rows *= 2) {
            const int tile = tr_cuda_product_tile(TR_CUDA_FORWARD, outs[i], rows);
            assert_true(of_form(tile, TR_CUDA_FORWARD));
        }
    }
    assert_int_equal(tr_cuda_product_tile(TR_CUDA_FORWARD, 11008, 64), TILE_forward_128x64);
    assert_int_equal(tr_cuda_product_tile(TR_CUDA_FORWARD, 151936, 64), TILE_forward_128x64);
    assert_int_equal(tr_cuda_product_tile(TR_CUDA_FORWARD, 2048, 8), TILE_forward_32x16);
    assert_int_equal(tr_cuda_product_tile(TR_CUDA_FORWARD, 256, 8), TILE_forward_16x16);
    assert_int_equal(tr_cuda_product_tile(TR_CUDA_FORWARD, 2048, 64), TILE_forward_64x32);
    assert_int_equal(tr_cuda_product_tile(TR_CUDA_FORWARD, 2048, 4096), TILE_forward_128x128);
    assert_int_equal(tr_cuda_product_tile(TR_CUDA_INPUT, 2048, 64), TILE_input_128x128);
    assert_int_equal(tr_cuda_product_tile(TR_CUDA_WEIGHT, 2048, 64), TILE_weight_128x128);
}

/* Stand-ins for cuBLASLt's algorithms: our own chain by another tile; the same with k back to front; failing. */
static bool by_tile(void *tile, float *y, const uint16_t *x, const uint16_t *w, const float *bias, int64_t rows)
{
    tr_cuda_product_own(TR_CUDA_FORWARD, y, x, w, bias, rows, 40, 96, *(int *)tile);
    return true;
}
static bool by_fma(void *unused, float *y, const uint16_t *x, const uint16_t *w, const float *bias, int64_t rows)
{
    (void)unused;
    tr_cuda_product_fma(TR_CUDA_FORWARD, y, x, w, bias, rows, 40, 96);
    return true;
}
static bool by_halves(void *unused, float *y, const uint16_t *x, const uint16_t *w, const float *bias, int64_t rows)
{
    (void)unused; /* k split in two: the halves' sums in y, one after the other */
    uint16_t *all = malloc(sizeof *all * (size_t)(40 + rows) * 96), *half[2];
    float *sum[2];
    assert_non_null(all);
    tr_cuda_read(all, w, sizeof *all * 40 * 96);
    tr_cuda_read(all + 40 * 96, x, sizeof *all * (size_t)rows * 96);
    for (int h = 0; h < 2; h++) {
        half[h] = (uint16_t *)(void *)buffer((40 + rows) * 24);
        for (int64_t i = 0; i < (40 + rows) * 48; i++) {
            half[h][i] = all[i / 48 * 96 + h * 48 + i % 48];
        }
        const uint16_t *on = (const uint16_t *)(const void *)on_device((float *)(void *)half[h], (40 + rows) * 24);
        float *part = on_device(NULL, rows * 40);
        tr_cuda_product_own(TR_CUDA_FORWARD, part, on + 40 * 48, on, h ? bias : NULL, rows, 40, 48, -1);
        sum[h] = from_device(part, rows * 40);
    }
    for (int64_t i = 0; i < rows * 40; i++) {
        sum[0][i] += sum[1][i];
    }
    tr_cuda_write(y, sum[0], sizeof(float) * (size_t)rows * 40);
    free(all);
    return true;
}
static bool by_none(void *unused, float *y, const uint16_t *x, const uint16_t *w, const float *bias, int64_t rows)
{
    (void)unused, (void)y, (void)x, (void)w, (void)bias, (void)rows;
    return false;
}

/* What agrees is found to agree, and another order of the same sums is not. */
static void test_match(void **state)
{
    (void)state;
    table_of(TR_BF16);
    for (int biased = 0; biased < 2; biased++) {
        tr_match *match = tr_match_open(40, 96, biased);
        int tile = TILE_forward_128x128;
        assert_non_null(match);
        assert_true(tr_match_same(match, by_tile, &tile));
        assert_false(tr_match_same(match, by_fma, NULL));
        assert_false(tr_match_same(match, by_halves, NULL));
        assert_false(tr_match_same(match, by_none, NULL));
        tr_match_close(match);
    }
    finish();
}

static void test_mode(void **state)
{
    (void)state;
    tr_cuda_products mode;
    tr_error err = {0};
    setenv("TEMPR1_CUDA_PRODUCTS", "own", 1);
    assert_int_equal(tr_cuda_products_mode(&mode, &err), TR_OK);
    assert_int_equal(mode, TR_CUDA_PRODUCTS_OWN);
    setenv("TEMPR1_CUDA_PRODUCTS", "cublas", 1);
    assert_int_equal(tr_cuda_products_mode(&mode, &err), TR_INVALID);
    assert_non_null(strstr(err.message, "found cublas"));
    unsetenv("TEMPR1_CUDA_PRODUCTS");
    assert_int_equal(tr_cuda_products_mode(&mode, &err), TR_OK);
    assert_int_equal(mode, TR_CUDA_PRODUCTS_AUTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_backward),
        cmocka_unit_test(test_every_number_of_rows),
        cmocka_unit_test(test_nan_stays_in_its_row),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_match),
        cmocka_unit_test(test_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
