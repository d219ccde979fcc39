/* test_ops.c: every operation but attention and the products: the reference's gradient against central differences
 * in f64, the fast variants against the reference with derived tolerances, odd sizes and sizes around every tile.
 */
#include "tensor/ops_fixture.h"

#include "base/math.h"

static const int64_t counts[] = {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 8191, 8192, 8193, 50001};
enum { COUNTS = sizeof counts / sizeof *counts };

typedef void body(const tr_ops *ops);

/* Runs one check for every fast variant, with 1 and 3 threads, sentinels checked after each. */
static void each(body *run)
{
    const tr_ops *fast[3];
    int variants = fast_variants(fast);
    for (int v = 0; v < variants; v++) {
        for (int threads = 1; threads <= 3; threads += 2) {
            tr_threads_set(threads);
            run(fast[v]);
            release();
        }
    }
}

static const tr_ops *const plain = &tr_reference_table;

/* ---- fast against reference; EPS is half a unit in the last place, so one rounding is EPS relative ---- */

static void rmsnorm(const tr_ops *ops)
{
    static const int64_t widths[] = {1, 15, 16, 17, 63, 64, 65, 80, 200};
    static const int64_t heights[] = {1, 31, 32, 33, 70};
    for (int i = 0; i < 45; i++) {
        int64_t d = widths[i % 9], rows = heights[i / 9], n = rows * d;
        float *x = filled(n, 1, 2.0f), *w = filled(d, 2, 1.5f), *dy = filled(n, 3, 1.0f), *y = buffer(n);
        float *r = buffer(rows), *y0 = buffer(n), *r0 = buffer(rows);
        float *dx = filled(n, 4, 1.0f), *dw = filled(d, 5, 1.0f), *dx0 = copy_of(dx, n), *dw0 = copy_of(dw, d);
        ops->rmsnorm_forward(y, r, x, w, rows, d, 1e-6f);
        plain->rmsnorm_forward(y0, r0, x, w, rows, d, 1e-6f);
        ops->rmsnorm_backward(dx, dw, dy, x, w, r0, rows, d);
        plain->rmsnorm_backward(dx0, dw0, dy, x, w, r0, rows, d);
        /* the sum: d/16 + 4 roundings, halved by the root; then division, root, two products, the store */
        double relative = ((double)d / 32.0 + 10.0) * EPS;
        assert_true(all_close("rmsnorm", y, y0, (size_t)n, 1e-30, relative));
        assert_true(all_close("rstd", r, r0, (size_t)rows, 0.0, relative));
        for (int64_t row = 0; row < rows; row++) { /* terms are at most 1.5 rstd */
            close_to("rmsnorm dx", ops->name, dx + row * d, dx0 + row * d, d,
                     ((double)d / 16.0 + 12.0) * EPS * (2.0 + 8.0 * (double)r0[row]));
        }
        double largest = 0.0;
        for (int64_t row = 0; row < rows; row++) {
            largest = fmax(largest, 2.0 * (double)r0[row]);
        }
        close_to("rmsnorm dweight", ops->name, dw, dw0, d,
                 (32.0 + (double)rows / 32.0) * EPS * (1.0 + largest * 32.0));
        ops->rmsnorm_forward(y, NULL, x, w, rows, d, 1e-6f); /* without rstd, and without dweight */
        ops->rmsnorm_backward(dx, NULL, dy, x, w, r0, rows, d);
        release();
    }
}

static void elementwise(const tr_ops *ops)
{
    for (int i = 0; i < COUNTS; i++) {
        int64_t n = counts[i];
        float *a = filled(n, 1, 12.0f), *b = filled(n, 2, 2.0f), *d = filled(n, 3, 1.0f);
        float *y = buffer(n), *y0 = buffer(n), *p = copy_of(a, n), *q = copy_of(b, n), *p0 = buffer(n),
              *q0 = buffer(n);
        ops->swiglu_forward(y, a, b, n);
        plain->swiglu_forward(y0, a, b, n);
        assert_true(all_close("swiglu", y, y0, (size_t)n, 1e-37, 10.0 * EPS)); /* exp 4, sum, quotient, products */
        ops->swiglu_backward_set(p, q, d, p, q, n);                            /* over its own inputs */
        plain->swiglu_backward_set(p0, q0, d, a, b, n);
        close_to("swiglu dgate", ops->name, p, p0, n, 24.0 * EPS * 2.0 * 1.1);
        assert_true(all_close("swiglu dup", q, q0, (size_t)n, 1e-37, 10.0 * EPS));
        fill(a, n, 4, 6.0f);
        ops->gelu_forward(y, a, n);
        plain->gelu_forward(y0, a, n);
        close_to("gelu", ops->name, y, y0, n, 6.0 * 6.0 * EPS); /* 1 + erf cancels for negative x: absolute */
        memcpy(y, d, (size_t)n * sizeof *y);
        ops->gelu_backward_set(y, y, a, n); /* over dout */
        plain->gelu_backward_set(y0, d, a, n);
        close_to("gelu dx", ops->name, y, y0, n, 24.0 * EPS);
        ops->add(y, d, n);
        plain->add(y0, d, n);
        close_to("add", ops->name, y, y0, n, 26.0 * EPS);
        release();
    }
}

/* Units in the last place of the vector functions, seen through the operations that expose them. */
static void vector_functions(const tr_ops *ops)
{
    enum { N = 100000 };
    float *x = buffer(N), *ones = buffer(N), *y = buffer(N);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(-87.0 + 174.0 * i / N);
        ones[i] = 1.0f;
    }
    ops->swiglu_forward(y, x, ones, N); /* x sigmoid(x): sigmoid within 3 roundings of exp's 2 ulp */
    for (int i = 0; i < N; i++) {
        double truth = (double)x[i] / (1.0 + exp(-(double)x[i]));
        assert_true(fabs((double)y[i] - truth) <= 8.0 * EPS * fabs(truth) + 1e-37);
    }
    for (int i = 0; i < N; i++) {
        x[i] = (float)(-6.0 + 12.0 * i / N);
    }
    ops->gelu_forward(y, x, N);
    for (int i = 0; i < N; i++) {
        double truth = 0.5 * (double)x[i] * (1.0 + erf((double)x[i] * sqrt(0.5)));
        assert_true(fabs((double)y[i] - truth) <= 0.5 * fabs((double)x[i]) * 6.0 * EPS + 1e-37);
    }
    const float special[4] = {(float)NAN, INFINITY, -INFINITY, 0.0f};
    float out[4];
    ops->swiglu_forward(out, special, ones, 4);
    assert_true(isnan(out[0]) && isinf(out[1]) && out[3] == 0.0f);
    ops->gelu_forward(out, special, 4);
    assert_true(isnan(out[0]) && isinf(out[1]) && out[3] == 0.0f);
}

static void rope(const tr_ops *ops)
{
    static const int64_t dims[] = {2, 16, 34, 64, 80, 128};
    for (int i = 0; i < 6; i++) {
        int64_t hd = dims[i], half = hd / 2, rows = 37, heads = 3, stride = heads * hd + 5;
        int32_t position[3 * 37], sections[3] = {(int32_t)(half / 4), (int32_t)(half / 3), 0};
        sections[2] = (int32_t)half - sections[0] - sections[1];
        for (int r = 0; r < 111; r++) {
            position[r] = (r * 7919) % 32768;
        }
        float *c = buffer(rows * half), *s = buffer(rows * half), *c0 = buffer(rows * half),
              *s0 = buffer(rows * half);
        ops->rope_mrope_table(c, s, position, rows, hd, sections, 1e6);
        plain->rope_mrope_table(c0, s0, position, rows, hd, sections, 1e6);
        close_to("cos", ops->name, c, c0, rows * half, 1.01 * EPS); /* rounding; angles differ by 2^-50 * 32768 */
        close_to("sin", ops->name, s, s0, rows * half, 1.01 * EPS);
        if (hd % 4 == 0) {
            ops->rope_vision_table(c, s, position, rows, hd, 1e4);
            plain->rope_vision_table(c0, s0, position, rows, hd, 1e4);
            close_to("vision cos", ops->name, c, c0, rows * half, 1.01 * EPS);
            close_to("vision sin", ops->name, s, s0, rows * half, 1.01 * EPS);
        }
        float *x = filled(rows * stride, 1, 1.0f), *x0 = copy_of(x, rows * stride),
              *start = copy_of(x, rows * stride);
        ops->rope_forward(x, c0, s0, rows, heads, hd, stride);
        plain->rope_forward(x0, c0, s0, rows, heads, hd, stride);
        close_to("rope", ops->name, x, x0, rows * stride, 5.0 * EPS);
        ops->rope_backward(x, c0, s0, rows, heads, hd, stride);
        close_to("rope back", ops->name, x, start, rows * stride, 12.0 * EPS); /* the inverse rotation */
        for (int64_t r = 0; r < rows; r++) {
            same_bits("between rows", ops->name, x + r * stride + heads * hd, start + r * stride + heads * hd, 5);
        }
        release();
    }
}

static void rows(const tr_ops *ops)
{
    const int64_t d = 37, n = 2001;
    int32_t *index = malloc((size_t)n * sizeof *index);
    size_t *order = malloc((size_t)n * sizeof *order);
    tr_random_shuffle(1, 0, 0, (size_t)n, order);
    for (int64_t i = 0; i < n; i++) {
        index[i] = (int32_t)order[i];
    }
    float *x = filled(n * d, 1, 1.0f), *y = buffer(n * d), *z = buffer(n * d);
    ops->rows_gather(y, x, index, n, d);
    plain->rows_gather(z, x, index, n, d);
    same_bits("gather", ops->name, y, z, n * d);
    ops->rows_scatter(z, y, index, n, d);
    same_bits("scatter undoes gather", ops->name, z, x, n * d);
    free(index);
    free(order);
}

/* Gathering is exact. Scatter-add: many rows of one id, in their order; what is not hit stays as it was. */
static void embedding(const tr_ops *ops)
{
    static const int64_t sizes[][3] = {{1, 1, 1},   {7, 15, 16},  {8, 16, 17},
                                       {9, 17, 15}, {90, 33, 50}, {211, 5, 31}};
    static const tr_dtype dtypes[] = {TR_F32, TR_BF16, TR_F16};
    for (int i = 0; i < 18; i++) {
        const int64_t rows = sizes[i / 3][0], d = sizes[i / 3][1], vocab = sizes[i / 3][2];
        const int64_t n = tr_matrix_elements(vocab, d);
        int32_t ids[211], times[50] = {0};
        float *weights = filled(vocab * d, 1, 2.0f), *x = buffer(rows * d), *x0 = buffer(rows * d);
        tr_matrix m = {dtypes[i % 3], vocab, d, buffer(n)};
        tr_matrix_pack(&m, weights, TR_F32, 0, vocab);
        tr_matrix_unpack(&m, weights, TR_F32, 0, vocab); /* as stored */
        for (int64_t r = 0; r < rows; r++) {
            ids[r] = r % 5 == 3 ? -1 : (int32_t)(r * r * 7 % vocab);
            times[ids[r] < 0 ? 0 : ids[r]] += ids[r] >= 0;
        }
        ops->embedding_forward(x, ids, &m, rows);
        plain->embedding_forward(x0, ids, &m, rows);
        same_bits("embedding", ops->name, x, x0, rows * d);
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t k = 0; k < d; k++) {
                assert_true(x[r * d + k] == (ids[r] < 0 ? 0.0f : weights[ids[r] * d + k]));
            }
        }
        float *dx = filled(rows * d, 2, 1.0f), *before = filled(n, 3, 1.0f), *dw = copy_of(before, n),
              *dw0 = copy_of(before, n);
        ops->embedding_backward(dw, dx, ids, rows, vocab, d);
        plain->embedding_backward(dw0, dx, ids, rows, vocab, d);
        same_bits("embedding dw", ops->name, dw, dw0,
                  n); /* one order of additions: there is nothing to round apart */
        for (int64_t k = 0; k < n; k++) {
            int64_t o = k / 16 / d * 16 + k % 16;
            assert_true((o < vocab && times[o]) || dw[k] == before[k]);
        }
        for (int64_t o = 0; o < vocab; o++) {
            double truth = (double)before[tr_matrix_index(d, o, 0)], size = fabs(truth);
            for (int64_t r = 0; r < rows; r++) {
                truth += ids[r] == o ? (double)dx[r * d] : 0.0;
                size += ids[r] == o ? fabs((double)dx[r * d]) : 0.0;
            }
            assert_true(fabs((double)dw[tr_matrix_index(d, o, 0)] - truth) <= 1.01 * times[o] * EPS * size);
        }
        release();
    }
}

/* The visual features go to their places by rows_scatter and their gradients come back by rows_add. */
static void rows_and_scale(const tr_ops *ops)
{
    static const int64_t widths[] = {1, 15, 16, 17, 37};
    for (int i = 0; i < 5; i++) {
        const int64_t d = widths[i], n = 70, places = 40;
        int32_t index[70];
        for (int r = 0; r < n; r++) {
            index[r] = r % 6 == 2 ? -1 : r * 11 % (int)places;
        }
        float *src = filled(n * d, 1, 1.0f), *dst = filled(places * d, 2, 1.0f), *sum = copy_of(dst, places * d);
        float *other = copy_of(dst, places * d);
        ops->rows_add(dst, src, index, n, d);
        plain->rows_add(other, src, index, n, d);
        for (int64_t r = 0; r < n; r++) { /* in the order of the rows */
            for (int64_t k = 0; index[r] >= 0 && k < d; k++) {
                sum[index[r] * d + k] += src[r * d + k];
            }
        }
        same_bits("rows_add", ops->name, dst, sum, places * d);
        same_bits("rows_add", "reference", other, sum, places * d);
        ops->scale(dst, 0.37f, places * d);
        plain->scale(other, 0.37f, places * d);
        for (int64_t k = 0; k < places * d; k++) {
            sum[k] *= 0.37f;
        }
        same_bits("scale", ops->name, dst, sum, places * d);
        same_bits("scale", "reference", other, sum, places * d);
        release();
    }
}

static void logsoftmax(const tr_ops *ops)
{
    static const int64_t vocabs[] = {1, 15, 16, 17, 1031, 4095, 4096, 4097, 9000};
    static const float temperatures[] = {1.0f, 0.7f, 1.3f};
    for (int i = 0; i < 27; i++) {
        int64_t vocab = vocabs[i % 9], n = 7;
        float t = temperatures[i / 9];
        int32_t ids[7];
        for (int r = 0; r < 7; r++) {
            ids[r] = r == 3 ? -1 : (int32_t)((r * 977) % vocab);
        }
        float *z = filled(n * vocab, 1, 10.0f), *z0 = copy_of(z, n * vocab), *logits = copy_of(z, n * vocab);
        float *out[3], *expected[3], *dlogp = filled(n, 2, 1.0f), *dentropy = filled(n, 3, 1.0f);
        for (int o = 0; o < 3; o++) {
            out[o] = buffer(n);
            expected[o] = buffer(n);
        }
        ops->logsoftmax_forward(out[0], out[1], out[2], z, ids, n, vocab, t);
        plain->logsoftmax_forward(expected[0], expected[1], expected[2], z, ids, n, vocab, t);
        /* z / T is at most 15 and rounds once; the sum has 256 + 4 terms a chunk, random signs of error */
        double tolerance = 40.0 * EPS;
        close_to("logp", ops->name, out[0], expected[0], n, tolerance);
        close_to("entropy", ops->name, out[1], expected[1], n, 2.0 * tolerance);
        close_to("lse", ops->name, out[2], expected[2], n, tolerance);
        assert_true(out[0][3] == 0.0f && out[1][3] == 0.0f);
        ops->logsoftmax_backward_set(z, dlogp, i % 2 ? dentropy : NULL, expected[2], expected[1], ids, n, vocab, t);
        plain->logsoftmax_backward_set(z0, dlogp, i % 2 ? dentropy : NULL, expected[2], expected[1], ids, n, vocab,
                                       t);
        close_to("dlogits", ops->name, z, z0, n * vocab,
                 600.0 * EPS); /* exp(x) takes 30 EPS of x, times 1 + entropy */
        float *row = buffer(vocab), *row0 = buffer(vocab);
        ops->logsoftmax_row(row, logits, vocab, t);
        plain->logsoftmax_row(row0, logits, vocab, t);
        close_to("row", ops->name, row, row0, vocab, 2.0 * tolerance);
        same_bits("row and logp", ops->name, row + ids[0], out[0], 1); /* the gap must be 0 */
        ops->logsoftmax_forward(NULL, NULL, NULL, logits, ids, n, vocab, t);
        release();
    }
}

static void head_rows(const tr_ops *ops, int64_t n, int64_t vocab)
{
    const int64_t d = 33, tile = 5;
    int32_t ids[23];
    for (int i = 0; i < 23; i++) {
        ids[i] = (i < 4 && n > 6) || i % 5 == 2 || i > 20 ? -1 : (i * 331) % (int)vocab;
    }
    float *panels = zeros(tr_matrix_elements(vocab, d)), *w = filled(vocab * d, 1, 0.5f),
          *x = filled(n * d, 2, 1.0f);
    tr_matrix m = {TR_F32, vocab, d, panels};
    tr_matrix_pack(&m, w, TR_F32, 0, vocab);
    float *out[3], *expected[3], *work = buffer(tile * vocab), *dlogp = filled(n, 3, 1.0f),
                                 *de = filled(n, 4, 0.1f);
    for (int o = 0; o < 3; o++) {
        out[o] = buffer(n);
        expected[o] = buffer(n);
    }
    ops->head_forward(out[0], out[1], out[2], x, &m, ids, n, 0.7f, tile, work);
    plain->head_forward(expected[0], expected[1], expected[2], x, &m, ids, n, 0.7f, tile, work);
    for (int o = 0; o < 3; o++) {
        close_to("head", ops->name, out[o], expected[o], n, 100.0 * EPS);
    }
    int64_t panel_count = tr_matrix_elements(vocab, d);
    float *dx = filled(n * d, 5, 1.0f), *dx0 = copy_of(dx, n * d), *dw = zeros(panel_count),
          *dw0 = zeros(panel_count);
    ops->head_backward(dx, dw, x, &m, ids, dlogp, de, expected[2], expected[1], n, 0.7f, tile, work);
    plain->head_backward(dx0, dw0, x, &m, ids, dlogp, de, expected[2], expected[1], n, 0.7f, tile, work);
    close_to("head dx", ops->name, dx, dx0, n * d, 200.0 * EPS);
    close_to("head dw", ops->name, dw, dw0, panel_count, 200.0 * EPS);
    float *frozen = zeros(n * d);
    ops->head_backward(frozen, NULL, x, &m, ids, dlogp, NULL, expected[2], NULL, n, 0.7f, tile, work);
    for (int i = 0; i < n; i++) { /* ignored rows receive nothing */
        for (int64_t c = 0; c < d; c++) {
            assert_true(ids[i] >= 0 || frozen[i * d + c] == 0.0f);
        }
    }
    release();
}

static void head(const tr_ops *ops)
{
    static const int64_t sizes[][2] = {{23, 1031}, {1, 16}, {4, 17}, {5, 15}, {6, 4097}, {10, 4096}, {11, 33}};
    for (int i = 0; i < 7; i++) {
        head_rows(ops, sizes[i][0], sizes[i][1]);
    }
}

static void optimiser(const tr_ops *ops)
{
    for (int i = 0; i < COUNTS; i++) {
        int64_t n = counts[i];
        float *p = filled(n, 1, 1.0f), *g = filled(n, 2, 3.0f), *m = zeros(n), *v = zeros(n);
        float *p0 = copy_of(p, n), *m0 = zeros(n), *v0 = zeros(n);
        p[n - 1] = p0[n - 1] = g[n - 1] = 0.0f; /* a padding lane */
        double b1 = 1.0, b2 = 1.0;
        for (int step = 0; step < 3; step++) {
            b1 *= 0.9;
            b2 *= 0.999;
            tr_adamw a = {1e-2, 0.9, 0.999, step == 1 ? 0.0 : 1e-8, 0.1, 1.0 - b1, 1.0 - b2, 0.25};
            ops->adamw_step(p, g, m, v, n, &a);
            plain->adamw_step(p0, g, m0, v0, n, &a);
        }
        close_to("adamw p", ops->name, p, p0, n, 12.0 * EPS);
        assert_true(all_close("adamw m", m, m0, (size_t)n, 1e-12, 12.0 * EPS));
        assert_true(all_close("adamw v", v, v0, (size_t)n, 1e-12, 12.0 * EPS));
        assert_true(p[n - 1] == 0.0f && m[n - 1] == 0.0f && v[n - 1] == 0.0f);
        double sum = ops->sum_of_squares(g, n), expected = plain->sum_of_squares(g, n);
        assert_true(fabs(sum - expected) <= 1e-13 * expected);
        assert_true(ops->all_finite(g, n));
        for (int64_t at = 0; at < n; at += n / 3 + 1) {
            float kept = g[at];
            g[at] = INFINITY;
            assert_false(ops->all_finite(g, n));
            g[at] = (float)NAN;
            assert_false(ops->all_finite(g, n));
            g[at] = kept;
        }
        release();
    }
    assert_true(ops->sum_of_squares(NULL, 0) == 0.0 && ops->all_finite(NULL, 0));
}

#define TEST(name)                                                                                                 \
    static void test_##name(void **state)                                                                          \
    {                                                                                                              \
        (void)state;                                                                                               \
        each(name);                                                                                                \
    }
TEST(rmsnorm)
TEST(elementwise)
TEST(vector_functions)
TEST(rope)
TEST(rows)
TEST(embedding)
TEST(rows_and_scale)
TEST(logsoftmax)
TEST(head)
TEST(optimiser)

/* ---- the reference's gradients against central differences in f64 ---- */

enum { INPUTS = 120 };

/* loss(x, weights): a weighted sum of the operation's outputs; gradient by its backward. */
typedef struct formula {
    const char *name;
    int64_t count;
    double (*loss)(const double *x, const double *weights);
    void (*gradient)(double *g, const double *x, const double *weights);
} formula;

static double weigh(const double *y, const double *weights, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += y[i] * weights[i];
    }
    return sum;
}

static double norm_loss(const double *x, const double *w) /* x [5, 20], weight [20] */
{
    double y[100];
    tr_reference64_rmsnorm_forward(y, NULL, x, x + 100, 5, 20, 1e-6f);
    return weigh(y, w, 100);
}

static void norm_gradient(double *g, const double *x, const double *w)
{
    double y[100], r[5];
    tr_reference64_rmsnorm_forward(y, r, x, x + 100, 5, 20, 1e-6f);
    tr_reference64_rmsnorm_backward(g, g + 100, w, x, x + 100, r, 5, 20);
}

static double swiglu_loss(const double *x, const double *w)
{
    double y[60];
    tr_reference64_swiglu_forward(y, x, x + 60, 60);
    return weigh(y, w, 60);
}

static void swiglu_gradient(double *g, const double *x, const double *w)
{
    tr_reference64_swiglu_backward_set(g, g + 60, w, x, x + 60, 60);
}

static double gelu_loss(const double *x, const double *w)
{
    double y[INPUTS];
    tr_reference64_gelu_forward(y, x, INPUTS);
    return weigh(y, w, INPUTS);
}

static void gelu_gradient(double *g, const double *x, const double *w)
{
    tr_reference64_gelu_backward_set(g, w, x, INPUTS);
}

static const int32_t rope_positions[15] = {0, 3, 9, 14, 100, 1, 4, 9, 15, 7, 2, 5, 9, 16, 8},
                     rope_sections[3] = {2, 3, 1};

static double rope_loss(const double *x, const double *w) /* [5, 2 heads of 12] */
{
    double y[120], c[30], s[30];
    memcpy(y, x, sizeof y);
    tr_reference64_rope_mrope_table(c, s, rope_positions, 5, 12, rope_sections, 1e4);
    tr_reference64_rope_forward(y, c, s, 5, 2, 12, 24);
    return weigh(y, w, 120);
}

static void rope_gradient(double *g, const double *x, const double *w)
{
    double c[30], s[30];
    (void)x;
    tr_reference64_rope_mrope_table(c, s, rope_positions, 5, 12, rope_sections, 1e4);
    memcpy(g, w, 120 * sizeof *g);
    tr_reference64_rope_backward(g, c, s, 5, 2, 12, 24);
}

static const int32_t softmax_ids[4] = {7, -1, 0, 29};

static double softmax_loss(const double *x, const double *w) /* [4, 30] */
{
    double logp[4], entropy[4];
    tr_reference64_logsoftmax_forward(logp, entropy, NULL, x, softmax_ids, 4, 30, 0.7f);
    return weigh(logp, w, 4) + weigh(entropy, w + 4, 4);
}

static void softmax_gradient(double *g, const double *x, const double *w)
{
    double entropy[4], lse[4];
    tr_reference64_logsoftmax_forward(NULL, entropy, lse, x, softmax_ids, 4, 30, 0.7f);
    memcpy(g, x, 120 * sizeof *g);
    tr_reference64_logsoftmax_backward_set(g, w, w + 4, lse, entropy, softmax_ids, 4, 30, 0.7f);
}

static void test_finite_differences(void **state)
{
    (void)state;
    static const formula formulas[] = {{"rmsnorm", 120, norm_loss, norm_gradient},
                                       {"swiglu", 120, swiglu_loss, swiglu_gradient},
                                       {"gelu", 120, gelu_loss, gelu_gradient},
                                       {"rope", 120, rope_loss, rope_gradient},
                                       {"logsoftmax", 120, softmax_loss, softmax_gradient}};
    for (size_t f = 0; f < sizeof formulas / sizeof *formulas; f++) {
        double x[INPUTS], w[INPUTS], g[INPUTS] = {0};
        for (int i = 0; i < INPUTS; i++) {
            x[i] = 4.0 * tr_random_uniform(1, (uint32_t)i, (uint32_t)f, 0, 0) - 2.0;
            w[i] = 2.0 * tr_random_uniform(2, (uint32_t)i, (uint32_t)f, 0, 0) - 1.0;
        }
        formulas[f].gradient(g, x, w);
        for (int i = 0; i < INPUTS; i++) {
            double kept = x[i], step = 1e-5;
            x[i] = kept + step;
            double up = formulas[f].loss(x, w);
            x[i] = kept - step;
            double down = formulas[f].loss(x, w), numeric = (up - down) / (2.0 * step);
            x[i] = kept;
            /* differences err by step^2 times a third derivative of about 10, and 1e-16 / step */
            if (!(fabs(numeric - g[i]) <= 1e-8 * (1.0 + fabs(numeric)))) {
                fail_msg("%s, input %d: %.12g, differences give %.12g", formulas[f].name, i, g[i], numeric);
            }
        }
    }
}

/* ---- choosing a table ---- */

static void test_selection(void **state)
{
    (void)state;
    const tr_ops *ops = NULL;
    tr_error err = {0};
    const char *names[4];
    int count = tr_ops_cpu_variants(names);
    assert_true(count >= 2 && strcmp(names[count - 1], "reference") == 0);
    unsetenv("TEMPR1_ISA");
    assert_int_equal(tr_ops_cpu(NULL, &ops, &err), TR_OK);
    assert_string_equal(ops->name, names[0]);
    for (int i = 0; i < count; i++) {
        setenv("TEMPR1_ISA", names[i], 1);
        assert_int_equal(tr_ops_cpu(NULL, &ops, &err), TR_OK);
        assert_string_equal(ops->name, names[i]);
        void *const *entry = (void *const *)(const void *)ops; /* every entry is there */
        for (size_t e = 0; e < sizeof *ops / sizeof *entry; e++) {
            assert_non_null(entry[e]);
        }
    }
    setenv("TEMPR1_ISA", "mmx", 1);
    assert_int_equal(tr_ops_cpu(NULL, &ops, &err), TR_INVALID);
    assert_null(ops);
    assert_non_null(strstr(err.message, "mmx"));
    assert_string_equal(err.where, "TEMPR1_ISA");
    unsetenv("TEMPR1_ISA");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_selection), cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_rmsnorm),   cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_rope),      cmocka_unit_test(test_vector_functions),
        cmocka_unit_test(test_rows),      cmocka_unit_test(test_logsoftmax),
        cmocka_unit_test(test_head),      cmocka_unit_test(test_optimiser),
        cmocka_unit_test(test_embedding), cmocka_unit_test(test_rows_and_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
