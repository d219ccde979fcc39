/* test_moments.c: moments in 8 bits: the codes follow their rule, every share takes the nearest one, and a step is
 * exactly: widen, AdamW in f32, narrow; the same bytes by every variant and number of threads. */
#include "tensor/moments.h"
#include "tensor/ops_fixture.h"

#include "base/random.h"
#include "base/thread.h"

static const tr_moments8_tables *tables;

/* The magnitudes by the rule of moments.h, counted from the top. */
static double magnitude(int rank, int ranks, int first)
{
    int below = ranks - 2 - rank, cells = first; /* the top is 1; then `first` cells, half as many, ... */
    double top = 1;
    if (rank == ranks - 1 || rank == 0) {
        return rank ? 1 : 0;
    }
    for (; below >= cells; cells /= 2, top /= 10) {
        below -= cells;
    }
    return top * (0.1 + 0.9 * (cells - below - 0.5) / cells);
}

static void test_codes(void **state)
{
    (void)state;
    for (int c = 0; c < 255; c++) { /* ascending, so all 256 are different */
        assert_true(tables->m[c] < tables->m[c + 1] && tables->v[c] < tables->v[c + 1]);
    }
    assert_true(tables->m[TR_MOMENTS_ZERO] == 0 && tables->v[0] == 0 && tables->m[255] == 1 && tables->v[255] == 1);
    for (int r = 1; r < 256; r++) {
        const double v = magnitude(r, 256, 128), m = r < 129 ? magnitude(r, 129, 64) : 0;
        assert_true(fabs((double)tables->v[r] - v) <= 1e-7 * v);
        assert_true(r > 128 || fabs((double)tables->m[TR_MOMENTS_ZERO + r] - m) <= 1e-7 * m);
        assert_true(r > 127 || tables->m[TR_MOMENTS_ZERO - r] == -tables->m[TR_MOMENTS_ZERO + r]);
    }
    for (int r = 0; r + 1 < 256; r++) { /* no cell of the look-up holds two edges: the step to the next is enough */
        uint32_t a, b;
        memcpy(&a, &tables->v_edge[r], 4), memcpy(&b, &tables->v_edge[r + 1], 4);
        assert_true(a >> 16 < b >> 16 || r == 254);
        if (r < 127) {
            memcpy(&a, &tables->m_edge[r], 4), memcpy(&b, &tables->m_edge[r + 1], 4);
            assert_true(a >> 16 < b >> 16);
        }
    }
}

static int nearest(const float *table, float x)
{
    int best = 0;
    for (int c = 1; c < 256; c++) {
        if (fabs((double)table[c] - (double)x) < fabs((double)table[best] - (double)x)) {
            best = c;
        }
    }
    return best;
}

static void test_the_nearest_code(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 20000; i++) { /* shares over ten decades */
        const double u = tr_random_uniform(1, i, 0, 0, 0), e = tr_random_uniform(1, i, 1, 0, 0);
        const float x = (float)(u * pow(10, -10 * e));
        assert_int_equal(tr_moments8_code_m(tables, x), nearest(tables->m, x));
        assert_int_equal(tr_moments8_code_m(tables, -x), nearest(tables->m, -x));
        const int v = nearest(tables->v, x);
        assert_int_equal(tr_moments8_code_v(tables, x), v ? v : 1); /* a positive v never is 0 */
    }
    assert_int_equal(tr_moments8_code_v(tables, 0), 0);
    assert_int_equal(tr_moments8_code_v(tables, 1e-45f), 1);
    assert_int_equal(tr_moments8_code_m(tables, 1e-45f), TR_MOMENTS_ZERO);
    for (int c = 0; c < 256; c++) { /* values are their own codes; an edge belongs to the smaller magnitude */
        assert_int_equal(tr_moments8_code_m(tables, tables->m[c]), c);
        assert_int_equal(tr_moments8_code_v(tables, tables->v[c]), c);
        assert_true(c == 0 || c > 254 || tr_moments8_code_v(tables, tables->v_edge[c]) == c);
    }
    assert_int_equal(tr_moments8_code_m(tables, -0.0f), TR_MOMENTS_ZERO); /* 0 over a negative scale */
    assert_int_equal(tr_moments8_code_v(tables, -0.0f), 0);
    tr_moments8_code_m(tables, INFINITY), tr_moments8_code_v(tables, (float)NAN); /* no place outside is read */
}

static const int64_t shapes[][2] = {{16, 16}, {1, 1}, {17, 15}, {15, 17}, {33, 40}, {4, 100}, {100, 4}, {48, 256}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void test_packing(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        const int64_t out = shapes[i][0], in = shapes[i][1], n = out * in;
        const size_t bytes = (size_t)tr_moments8_bytes(out, in);
        assert_int_equal(bytes, (out + 15) / 16 * (32 * in + 8 * ((in + 15) / 16)));
        float *m = filled(n, 1, 3.0f), *v = filled(n, 2, 5.0f), *m1 = buffer(n), *v1 = buffer(n);
        for (int64_t k = 0; k < n; k++) {
            v[k] = v[k] * v[k];
        }
        m[n - 1] = -7; /* the largest of its tile, and negative: told exactly */
        unsigned char *records = calloc(1, bytes + 1), *again = calloc(1, bytes + 1);
        assert_true(records && again);
        records[bytes] = 0x5A;
        tr_moments8_pack(records, m, v, out, in);
        assert_int_equal(records[bytes], 0x5A);
        tr_moments8_unpack(m1, v1, records, out, in);
        assert_true(m1[n - 1] == -7);
        for (int64_t k = 0; k < n; k++) { /* half a cell of the first decade, of at most 7 and 25 */
            assert_true(fabs((double)m1[k] - (double)m[k]) <= 7 * 0.45 / 64 + 1e-6);
            assert_true(fabs((double)v1[k] - (double)v[k]) <= 25 * 0.45 / 128 + 1e-6);
        }
        tr_moments8_pack(again, m1, v1, out, in); /* what was told once is told again without a loss */
        assert_memory_equal(records, again, bytes);
        for (int64_t row = 0; row < out; row += 16) { /* band by band */
            tr_moments8_pack(again + tr_moments8_bytes(row, in), m + row * in, v + row * in,
                             out - row < 16 ? out - row : 16, in);
        }
        assert_memory_equal(records, again, bytes);
        free(records);
        free(again);
        release();
    }
}

/* Moments as panels. */
static void widen(const unsigned char *records, int64_t out, int64_t in, float *m, float *v)
{
    float *row_m = buffer(out * in), *row_v = buffer(out * in);
    tr_matrix a = {TR_F32, out, in, m}, b = {TR_F32, out, in, v};
    tr_moments8_unpack(row_m, row_v, records, out, in);
    memset(m, 0, (size_t)tr_matrix_elements(out, in) * sizeof *m);
    memset(v, 0, (size_t)tr_matrix_elements(out, in) * sizeof *v);
    tr_matrix_pack(&a, row_m, TR_F32, 0, out);
    tr_matrix_pack(&b, row_v, TR_F32, 0, out);
}

static void narrow(unsigned char *records, int64_t out, int64_t in, float *m, float *v)
{
    float *row_m = buffer(out * in), *row_v = buffer(out * in);
    const tr_matrix a = {TR_F32, out, in, m}, b = {TR_F32, out, in, v};
    tr_matrix_unpack(&a, row_m, TR_F32, 0, out);
    tr_matrix_unpack(&b, row_v, TR_F32, 0, out);
    tr_moments8_pack(records, row_m, row_v, out, in);
}

static float *gradient_panels(int64_t out, int64_t in, uint32_t seed)
{
    float *rows = filled(out * in, seed, 1.0f), *panels = zeros(tr_matrix_elements(out, in));
    for (int64_t k = 0; k < out * in; k++) { /* many sizes, and zeros */
        rows[k] *= k % 5 == 0 ? 0.0f : k % 7 == 0 ? 1e-6f : 1.0f;
    }
    tr_matrix w = {TR_F32, out, in, panels};
    tr_matrix_pack(&w, rows, TR_F32, 0, out);
    return panels;
}

static void test_a_step(void **state)
{
    (void)state;
    const tr_ops *fast[3], *plain = &tr_reference_table;
    const int variants = fast_variants(fast);
    for (int i = 0; i < SHAPES * variants; i++) {
        const tr_ops *ops = fast[i / SHAPES];
        const int64_t out = shapes[i % SHAPES][0], in = shapes[i % SHAPES][1], n = tr_matrix_elements(out, in);
        const size_t bytes = (size_t)tr_moments8_bytes(out, in);
        for (int threads = 1; threads <= thread_counts(i / SHAPES, variants); threads++) {
            tr_threads_set(threads);
            unsigned char *records = calloc(1, bytes), *expected = calloc(1, bytes), *other = calloc(1, bytes);
            assert_true(records && expected && other);
            float *p = gradient_panels(out, in, 1), *q = copy_of(p, n), *r = copy_of(p, n), *m = zeros(n),
                  *v = zeros(n);
            for (int step = 1; step <= 5; step++) {
                const float *g = gradient_panels(out, in, (uint32_t)step + 10);
                const tr_adamw a = {1e-2, 0.9, 0.999, 1e-8, 0.1, 1 - pow(0.9, step), 1 - pow(0.999, step), 0.25};
                ops->adamw8_step(p, g, records, out, in, &a);
                widen(expected, out, in, m, v);
                ops->adamw_step(q, (float *)(uintptr_t)g, m, v, n, &a);
                narrow(expected, out, in, m, v);
                same_bits("parameter", ops->name, p, q, n);
                assert_memory_equal(records, expected, bytes);
                plain->adamw8_step(r, g, other, out, in, &a); /* its own order: not the same bits */
                close_to("reference", ops->name, p, r, n, 0.02 * step);
            }
            free(records);
            free(expected);
            free(other);
            release();
        }
    }
    tr_threads_set(1);
}

/* A number whose gradient is a millionth of its neighbour's: its v is below the smallest code. */
static void test_no_large_step_from_a_small_gradient(void **state)
{
    (void)state;
    const tr_ops *ops;
    assert_int_equal(tr_ops_cpu(NULL, &ops, NULL), TR_OK);
    float *p = zeros(256), *g = zeros(256);
    unsigned char records[2 * 256 + 8] = {0};
    g[0] = 1;
    g[1] = 1e-4f; /* m is a ten-thousandth, v a hundred-millionth of the largest */
    for (int step = 1; step <= 20; step++) {
        const tr_adamw a = {1e-2, 0.9, 0.999, 1e-8, 0, 1 - pow(0.9, step), 1 - pow(0.999, step), 1};
        const float before = p[1];
        ops->adamw8_step(p, g, records, 16, 16, &a);
        /* f32 moments would step by the rate; with v at 0 a step would be 1e-4 / 1e-8 times the rate */
        assert_true(fabs((double)p[1] - (double)before) <= 1.01e-2);
    }
    release();
}

static int start(void **state)
{
    (void)state;
    tables = tr_moments8_tables_get();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_the_nearest_code),
        cmocka_unit_test(test_packing),
        cmocka_unit_test(test_a_step),
        cmocka_unit_test(test_no_large_step_from_a_small_gradient),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
