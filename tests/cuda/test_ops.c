/* test_ops.c: the GPU's operations but attention. The f32 table gives the CPU's bits in every forward and in every
 * backward whose order is the same; the rest is held against the plain reference. Sizes n - 1, n, n + 1 of tiles.
 */
#include "cuda/cuda_fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_products(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1},    {3, 17, 15},  {63, 65, 16}, {64, 64, 17},
                                       {65, 63, 33}, {130, 7, 48}, {2, 129, 40}};
    static const tr_dtype dtypes[] = {TR_F32, TR_BF16, TR_F16};
    const tr_ops *ops = table_of(TR_F32), *cpu = cpu_table();
    for (int i = 0; i < 21; i++) {
        const int64_t rows = sizes[i / 3][0], out = sizes[i / 3][1], in = sizes[i / 3][2];
        const tr_dtype dtype = dtypes[i % 3];
        float *values = filled(out * in, 1, 1.0f), *x = filled(rows * in, 2, 2.0f), *bias = filled(out, 3, 1.0f);
        float *dy = filled(rows * out, 4, 1.0f), *y = buffer(rows * out), *dx = filled(rows * in, 5, 1.0f);
        weight w = make_weight(ops, dtype, out, in, values);
        float *gx = on_device(x, rows * in), *gy = on_device(NULL, rows * out), *gbias = on_device(bias, out);
        float *gdy = on_device(dy, rows * out), *gdx = on_device(dx, rows * in);
        for (int biased = 0; biased < 2; biased++) {
            ops->linear_forward(gy, gx, &w.device, biased ? gbias : NULL, rows);
            cpu->linear_forward(y, x, &w.cpu, biased ? bias : NULL, rows);
            same_bits("linear", ops->name, from_device(gy, rows * out), y, rows * out);
        }
        ops->linear_backward_input(gdx, gdy, &w.device, rows, true);
        cpu->linear_backward_input(dx, dy, &w.cpu, rows, true);
        same_bits("linear dx", ops->name, from_device(gdx, rows * in), dx, rows * in);
        ops->linear_backward_input(gdx, gdy, &w.device, rows, false);
        cpu->linear_backward_input(dx, dy, &w.cpu, rows, false);
        same_bits("linear dx set", ops->name, from_device(gdx, rows * in), dx, rows * in);
        const int64_t elements = tr_matrix_elements(out, in);
        float *dw = zeros(elements), *dbias = filled(out, 6, 1.0f);
        float *gdw = on_device(dw, elements), *gdbias = on_device(dbias, out);
        ops->linear_backward_weight(gdw, gdbias, gdy, gx, rows, out, in);
        cpu->linear_backward_weight(dw, dbias, dy, x, rows, out, in);
        same_bits("linear dw", ops->name, from_device(gdw, out * in), rows_of_panels(dw, out, in), out * in);
        close_to("linear dbias", ops->name, from_device(gdbias, out), dbias, out,
                 ((double)rows + 4.0) * EPS * (double)rows);
        finish();
    }
}

/* Products in bf16: the operands are rounded, sums are f32. */
static void test_products_bf16(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{1, 16, 8}, {5, 24, 40}, {64, 65, 72}, {130, 40, 64}};
    const tr_ops *ops = table_of(TR_BF16), *plain = &tr_reference_table;
    for (int i = 0; i < 4; i++) {
        const int64_t rows = sizes[i][0], out = sizes[i][1], in = sizes[i][2],
                      elements = tr_matrix_elements(out, in);
        float *values = filled(out * in, 1, 1.0f), *x = filled(rows * in, 2, 2.0f), *bias = filled(out, 3, 1.0f);
        float *dy = filled(rows * out, 4, 1.0f), *y = buffer(rows * out), *dx = filled(rows * in, 5, 1.0f),
              *dw = zeros(elements);
        weight w = make_weight(ops, TR_BF16, out, in, values);
        float *gx = on_device(x, rows * in), *gy = on_device(NULL, rows * out), *gbias = on_device(bias, out);
        float *gdy = on_device(dy, rows * out), *gdx = on_device(dx, rows * in), *gdw = on_device(dw, elements);
        ops->linear_forward(gy, gx, &w.device, gbias, rows);
        ops->linear_backward_input(gdx, gdy, &w.device, rows, true);
        ops->linear_backward_weight(gdw, NULL, gdy, gx, rows, out, in);
        rounded(x, rows * in), rounded(dy, rows * out);
        plain->linear_forward(y, x, &w.cpu, bias, rows);
        plain->linear_backward_input(dx, dy, &w.cpu, rows, true);
        plain->linear_backward_weight(dw, NULL, dy, x, rows, out, in);
        /* exact products, one rounding an addition of values below 2 in, 1 out and 2 rows */
        close_to("bf16 linear", ops->name, from_device(gy, rows * out), y, rows * out,
                 (double)(in + 2) * EPS * 2.0 * (double)in);
        close_to("bf16 dx", ops->name, from_device(gdx, rows * in), dx, rows * in,
                 (double)(out + 2) * EPS * (double)out);
        close_to("bf16 dw", ops->name, from_device(gdw, out * in), rows_of_panels(dw, out, in), out * in,
                 (double)(rows + 2) * EPS * 2.0 * (double)rows);
        ops->linear_backward_input(gdx, gdy, &w.device, rows, false);
        plain->linear_backward_input(dx, dy, &w.cpu, rows, false);
        close_to("bf16 dx set", ops->name, from_device(gdx, rows * in), dx, rows * in,
                 (double)(out + 2) * EPS * (double)out);
        /* a row alone has the bits that it has among the others */
        float *alone = on_device(NULL, out);
        for (int64_t row = 0; row < rows; row += 1 + rows / 3) {
            ops->linear_forward(alone, gx + row * in, &w.device, gbias, 1);
            same_bits("bf16 row", ops->name, from_device(alone, out), from_device(gy + row * out, out), out);
        }
        finish();
    }
}

/* Every row of a bf16 product has the same bits whatever the number of rows: 1 to 1000 on a GPU, where cuBLASLt is
 * asked, fewer and smaller over the emulation. */
static void test_numbers_of_rows(void **state)
{
    (void)state;
#ifdef TEMPR1_TEST_GPU
    enum { MOST = 1000, OUT = 2048, IN = 2048, STEP = 1 };
#else
    enum { MOST = 130, OUT = 24, IN = 40, STEP = 9 };
#endif
    const tr_ops *ops = table_of(TR_BF16);
    float *values = filled(OUT * IN, 1, 0.02f), *x = filled(MOST * IN, 2, 1.0f), *bias = filled(OUT, 3, 1.0f);
    weight w = make_weight(ops, TR_BF16, OUT, IN, values);
    float *gx = on_device(x, MOST * IN), *gbias = on_device(bias, OUT), *gall = on_device(NULL, MOST * OUT);
    float *gsome = on_device(NULL, MOST * OUT), *some = malloc((size_t)MOST * OUT * sizeof *some);
    assert_non_null(some);
    for (int biased = 0; biased < 2; biased++) {
        ops->linear_forward(gall, gx, &w.device, biased ? gbias : NULL, MOST);
        const float *all = from_device(gall, MOST * OUT);
        for (int64_t rows = 1; rows < MOST; rows += STEP) {
            ops->linear_forward(gsome, gx, &w.device, biased ? gbias : NULL, rows);
            tr_cuda_read(some, gsome, (size_t)(rows * OUT) * sizeof *some);
            same_bits("rows of a product", ops->name, some, all, rows * OUT);
        }
    }
    free(some);
    finish();
}

static void test_elements(void **state)
{
    (void)state;
    static const int64_t counts[] = {1, 255, 256, 1023, 1024, 1025, 5000};
    const tr_ops *ops = table_of(TR_F32), *cpu = cpu_table();
    for (int i = 0; i < 7; i++) {
        const int64_t n = counts[i];
        float *a = filled(n, 1, 12.0f), *b = filled(n, 2, 2.0f), *d = filled(n, 3, 1.0f), *y = buffer(n),
              *p = buffer(n), *q = buffer(n);
        a[0] = i == 0 ? (float)NAN : i == 1 ? INFINITY : i == 2 ? -INFINITY : -0.0f;
        float *ga = on_device(a, n), *gb = on_device(b, n), *gd = on_device(d, n), *gy = on_device(NULL, n);
        float *gp = on_device(a, n), *gq = on_device(b, n);
        ops->swiglu_forward(gy, ga, gb, n);
        cpu->swiglu_forward(y, a, b, n);
        if (i > 0) { /* which NaN comes out is nobody's promise */
            same_bits("swiglu", ops->name, from_device(gy, n), y, n);
        } else {
            assert_true(isnan(from_device(gy, n)[0]));
        }
        ops->swiglu_backward_set(gp, gq, gd, gp, gq, n); /* over its own inputs */
        cpu->swiglu_backward_set(p, q, d, a, b, n);
        if (i > 2) {
            same_bits("swiglu dgate", ops->name, from_device(gp, n), p, n);
            same_bits("swiglu dup", ops->name, from_device(gq, n), q, n);
        }
        a[0] = 0.25f;
        fill(a, n, 4, 6.0f);
        ga = on_device(a, n);
        ops->gelu_forward(gy, ga, n);
        cpu->gelu_forward(y, a, n);
        same_bits("gelu", ops->name, from_device(gy, n), y, n);
        gy = on_device(d, n);
        ops->gelu_backward_set(gy, gy, ga, n); /* over dout */
        cpu->gelu_backward_set(y, d, a, n);
        same_bits("gelu dx", ops->name, from_device(gy, n), y, n);
        ops->add(gy, ga, n);
        cpu->add(y, a, n);
        same_bits("add", ops->name, from_device(gy, n), y, n);
        ops->scale(gy, 0.3f, n);
        cpu->scale(y, 0.3f, n);
        same_bits("scale", ops->name, from_device(gy, n), y, n);
        uint16_t *narrow = malloc((size_t)n * sizeof *narrow), *expected = malloc((size_t)n * sizeof *expected);
        float *half = on_device(NULL, n);
        ops->memory->convert(half, TR_BF16, ga, TR_F32, n);
        tr_cuda_read(narrow, half, (size_t)n * sizeof *narrow);
        tr_convert(expected, TR_BF16, a, TR_F32, n);
        assert_memory_equal(narrow, expected, (size_t)n * sizeof *narrow);
        free(narrow);
        free(expected);
        finish();
    }
}

static void test_norms(void **state)
{
    (void)state;
    static const int64_t widths[] = {1, 15, 16, 17, 80, 131}, heights[] = {1, 7, 8, 9, 33, 70};
    const tr_ops *ops = table_of(TR_F32), *cpu = cpu_table();
    for (int i = 0; i < 36; i++) {
        const int64_t d = widths[i % 6], rows = heights[i / 6], n = rows * d;
        float *x = filled(n, 1, 2.0f), *w = filled(d, 2, 1.5f), *dy = filled(n, 3, 1.0f), *y = buffer(n),
              *r = buffer(rows);
        float *dx = filled(n, 4, 1.0f), *dw = filled(d, 5, 1.0f);
        float *gx = on_device(x, n), *gw = on_device(w, d), *gdy = on_device(dy, n), *gy = on_device(NULL, n);
        float *gr = on_device(NULL, rows), *gdx = on_device(dx, n), *gdw = on_device(dw, d);
        ops->rmsnorm_forward(gy, gr, gx, gw, rows, d, 1e-6f);
        ops->rmsnorm_backward(gdx, gdw, gdy, gx, gw, gr, rows, d);
        cpu->rmsnorm_forward(y, r, x, w, rows, d, 1e-6f);
        cpu->rmsnorm_backward(dx, dw, dy, x, w, r, rows, d);
        same_bits("rmsnorm", ops->name, from_device(gy, n), y, n);
        same_bits("rstd", ops->name, from_device(gr, rows), r, rows);
        same_bits("rmsnorm dx", ops->name, from_device(gdx, n), dx, n);
        same_bits("rmsnorm dweight", ops->name, from_device(gdw, d), dw, d);
        ops->rmsnorm_forward(gy, NULL, gx, gw, rows, d, 1e-6f);
        ops->rmsnorm_backward(gdx, NULL, gdy, gx, gw, gr, rows, d);
        finish();
    }
}

static void test_rope(void **state)
{
    (void)state;
    static const int64_t dims[] = {2, 16, 34, 80, 128};
    const tr_ops *ops = table_of(TR_F32), *cpu = cpu_table();
    for (int i = 0; i < 5; i++) {
        const int64_t hd = dims[i], half = hd / 2, rows = 37, heads = 3, stride = heads * hd + 5, n = rows * half;
        int32_t position[3 * 37], sections[3] = {(int32_t)(half / 4), (int32_t)(half / 3), 0};
        sections[2] = (int32_t)half - sections[0] - sections[1];
        for (int r = 0; r < 111; r++) {
            position[r] = (r * 7919) % 32768;
        }
        float *c = buffer(n), *s = buffer(n), *gc = on_device(NULL, n), *gs = on_device(NULL, n);
        if (hd % 4 == 0) {
            ops->rope_vision_table(gc, gs, position, rows, hd, 1e4);
            cpu->rope_vision_table(c, s, position, rows, hd, 1e4);
            same_bits("vision cos", ops->name, from_device(gc, n), c, n);
            same_bits("vision sin", ops->name, from_device(gs, n), s, n);
        }
        ops->rope_mrope_table(gc, gs, position, rows, hd, sections, 1e6);
        cpu->rope_mrope_table(c, s, position, rows, hd, sections, 1e6);
        same_bits("cos", ops->name, from_device(gc, n), c, n);
        same_bits("sin", ops->name, from_device(gs, n), s, n);
        float *x = filled(rows * stride, 1, 1.0f), *gx = on_device(x, rows * stride);
        ops->rope_forward(gx, gc, gs, rows, heads, hd, stride);
        cpu->rope_forward(x, c, s, rows, heads, hd, stride);
        same_bits("rope", ops->name, from_device(gx, rows * stride), x, rows * stride);
        ops->rope_backward(gx, gc, gs, rows, heads, hd, stride);
        cpu->rope_backward(x, c, s, rows, heads, hd, stride);
        same_bits("rope back", ops->name, from_device(gx, rows * stride), x, rows * stride);
        finish();
    }
}

static void test_rows(void **state)
{
    (void)state;
    enum { N = 301, D = 37, VOCAB = 40 };
    const tr_ops *ops = table_of(TR_F32), *cpu = cpu_table();
    int32_t index[N], ids[N];
    size_t order[N];
    tr_random_shuffle(1, 0, 0, N, order);
    for (int i = 0; i < N; i++) {
        index[i] = (int32_t)order[i];
        ids[i] = i % 7 == 3 ? -1 : (i * 977) % VOCAB;
    }
    float *x = filled(N * D, 1, 1.0f), *gx = on_device(x, N * D), *gy = on_device(NULL, N * D),
          *gz = on_device(NULL, N * D);
    ops->rows_gather(gy, gx, index, N, D);
    ops->rows_scatter(gz, gy, index, N, D);
    same_bits("scatter undoes gather", ops->name, from_device(gz, N * D), x, N * D);
    float *y = buffer(N * D);
    cpu->rows_gather(y, x, index, N, D);
    same_bits("gather", ops->name, from_device(gy, N * D), y, N * D);

    float *values = filled(VOCAB * D, 2, 1.0f);
    weight w = make_weight(ops, TR_BF16, VOCAB, D, values);
    ops->embedding_forward(gy, ids, &w.device, N);
    cpu->embedding_forward(y, ids, &w.cpu, N);
    same_bits("embedding", ops->name, from_device(gy, N * D), y, N * D);
    const int64_t elements = tr_matrix_elements(VOCAB, D);
    float *dw = zeros(elements), *gdw = on_device(dw, elements);
    ops->embedding_backward(gdw, gx, ids, N, VOCAB, D);
    cpu->embedding_backward(dw, x, ids, N, VOCAB, D);
    same_bits("embedding dw", ops->name, from_device(gdw, VOCAB * D), rows_of_panels(dw, VOCAB, D), VOCAB * D);
    float *sum = filled(VOCAB * D, 3, 1.0f), *gsum = on_device(sum, VOCAB * D);
    ops->rows_add(gsum, gx, ids, N, D);
    cpu->rows_add(sum, x, ids, N, D);
    same_bits("rows_add", ops->name, from_device(gsum, VOCAB * D), sum, VOCAB * D);
    finish();
}

static void test_logsoftmax(void **state)
{
    (void)state;
    static const int64_t vocabs[] = {1, 2, 15, 17, 1031, 4095, 4096, 4097, 70000};
    static const float temperatures[] = {1.0f, 0.7f, 1.3f};
    const tr_ops *ops = table_of(TR_F32), *cpu = cpu_table();
    for (int i = 0; i < 27; i++) {
        const int64_t vocab = vocabs[i % 9], n = 5;
        const float t = temperatures[i / 9];
        int32_t ids[5];
        for (int r = 0; r < 5; r++) {
            ids[r] = r == 3 ? -1 : (int32_t)((r * 977) % vocab);
        }
        float *z = filled(n * vocab, 1, 10.0f), *gz = on_device(z, n * vocab), *out[3], *gout[3];
        float *dlogp = filled(n, 2, 1.0f), *dentropy = filled(n, 3, 1.0f);
        for (int o = 0; o < 3; o++) {
            out[o] = buffer(n);
            gout[o] = on_device(NULL, n);
        }
        ops->logsoftmax_forward(gout[0], gout[1], gout[2], gz, ids, n, vocab, t);
        cpu->logsoftmax_forward(out[0], out[1], out[2], z, ids, n, vocab, t);
        for (int o = 0; o < 3; o++) {
            same_bits("log-softmax", ops->name, from_device(gout[o], n), out[o], n);
        }
        float *all = buffer(vocab), *gall = on_device(NULL, vocab);
        ops->logsoftmax_row(gall, gz, vocab, t);
        cpu->logsoftmax_row(all, z, vocab, t);
        same_bits("log-softmax row", ops->name, from_device(gall, vocab), all, vocab);
        const int with = i % 2;
        ops->logsoftmax_backward_set(gz, on_device(dlogp, n), with ? on_device(dentropy, n) : NULL, gout[2],
                                     gout[1], ids, n, vocab, t);
        cpu->logsoftmax_backward_set(z, dlogp, with ? dentropy : NULL, out[2], out[1], ids, n, vocab, t);
        same_bits("log-softmax back", ops->name, from_device(gz, n * vocab), z, n * vocab);
        finish();
    }
}

static void test_head(void **state)
{
    (void)state;
    enum { ROWS = 23, D = 24, VOCAB = 101, TILE = 7 };
    const tr_ops *ops = table_of(TR_F32), *cpu = cpu_table();
    int32_t ids[ROWS];
    for (int i = 0; i < ROWS; i++) {
        ids[i] = i % 6 == 2 ? -1 : (i * 31) % VOCAB;
    }
    const int64_t elements = tr_matrix_elements(VOCAB, D);
    float *values = filled(VOCAB * D, 1, 1.0f), *x = filled(ROWS * D, 2, 1.0f), *dlogp = filled(ROWS, 3, 1.0f);
    weight w = make_weight(ops, TR_F32, VOCAB, D, values);
    float *logp = buffer(ROWS), *entropy = buffer(ROWS), *lse = buffer(ROWS), *work = buffer(TILE * VOCAB);
    float *dx = zeros(ROWS * D), *dw = zeros(elements);
    float *gx = on_device(x, ROWS * D), *glogp = on_device(NULL, ROWS), *gentropy = on_device(NULL, ROWS);
    float *glse = on_device(NULL, ROWS), *gwork = on_device(NULL, TILE * VOCAB), *gdx = on_device(dx, ROWS * D);
    float *gdw = on_device(dw, elements), *gdlogp = on_device(dlogp, ROWS);
    ops->head_forward(glogp, gentropy, glse, gx, &w.device, ids, ROWS, 0.9f, TILE, gwork);
    cpu->head_forward(logp, entropy, lse, x, &w.cpu, ids, ROWS, 0.9f, TILE, work);
    same_bits("head logp", ops->name, from_device(glogp, ROWS), logp, ROWS);
    same_bits("head entropy", ops->name, from_device(gentropy, ROWS), entropy, ROWS);
    ops->head_backward(gdx, gdw, gx, &w.device, ids, gdlogp, NULL, glse, NULL, ROWS, 0.9f, TILE, gwork);
    cpu->head_backward(dx, dw, x, &w.cpu, ids, dlogp, NULL, lse, NULL, ROWS, 0.9f, TILE, work);
    same_bits("head dx", ops->name, from_device(gdx, ROWS * D), dx, ROWS * D);
    /* the tiles may fall otherwise: the same terms in an order of their own */
    close_to("head dw", ops->name, from_device(gdw, VOCAB * D), rows_of_panels(dw, VOCAB, D), VOCAB * D,
             (ROWS + 2) * EPS * ROWS);
    finish();
}

static void test_optimiser(void **state)
{
    (void)state;
    static const int64_t counts[] = {1, 1024, 1025, 4095, 4096, 4097, 20000};
    const tr_ops *ops = table_of(TR_F32), *cpu = cpu_table();
    for (int i = 0; i < 7; i++) {
        const int64_t n = counts[i];
        const tr_adamw adamw = {1e-3, 0.9, 0.999, 1e-8, 0.1, 0.19, 0.001999, 0.5};
        float *p = filled(n, 1, 1.0f), *g = filled(n, 2, 1.0f), *m = filled(n, 3, 0.1f), *v = filled(n, 4, 0.1f);
        for (int64_t j = 0; j < n; j++) {
            v[j] = fabsf(v[j]);
        }
        float *gp = on_device(p, n), *gg = on_device(g, n), *gm = on_device(m, n), *gv = on_device(v, n);
        ops->adamw_step(gp, gg, gm, gv, n, &adamw);
        cpu->adamw_step(p, g, m, v, n, &adamw);
        same_bits("parameter", ops->name, from_device(gp, n), p, n);
        same_bits("first moment", ops->name, from_device(gm, n), m, n);
        same_bits("second moment", ops->name, from_device(gv, n), v, n);
        const double a = ops->sum_of_squares(gg, n), b = cpu->sum_of_squares(g, n);
        assert_true(fabs(a - b) <= 1e-13 * b);
        assert_true(ops->all_finite(gg, n));
        g[n / 2] = i % 2 ? INFINITY : (float)NAN;
        assert_false(ops->all_finite(on_device(g, n), n));
        finish();
    }
}

/* The emulated device's memory is out of the host's reach, which is what the tests of whole networks rely on. */
static void test_the_host_cannot_reach_in(void **state)
{
    (void)state;
#ifndef TEMPR1_TEST_GPU
    const float one = 1.0f;
    volatile float *inside = on_device(&one, 1);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL); /* neither cmocka nor a sanitizer shall catch it */
        _exit(*inside == 1.0f ? 0 : 2);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    finish();
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_products_bf16),
        cmocka_unit_test(test_elements),
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_logsoftmax),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_numbers_of_rows),
        cmocka_unit_test(test_optimiser),
        cmocka_unit_test(test_the_host_cannot_reach_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
