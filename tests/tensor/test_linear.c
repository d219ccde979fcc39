/* test_linear.c: the three matrix products. Every element against a plain sum in f64 within the bound of one sum by
 * fma, gamma_K = K eps / (1 - K eps) times the sum of absolute products; sizes around every edge of tiles, slices
 * and blocks; the same bits in every variant, with any number of threads, of rows, and of calls that share a sum.
 */
#include "tensor/ops_fixture.h"

typedef struct size {
    int64_t rows, in, out;
} size;

/* Tiles have 4, 6 or 12 rows and one, two or four panels of 16; slices 256 of depth, blocks 240 rows (the inputs,
 * for dW). A depth of 5121 with 12 rows is more than is copied at once. */
static const size sizes[] = {
    {1, 1, 1},     {1, 255, 15},  {1, 256, 16},   {1, 257, 17},   {1, 513, 63},   {2, 17, 65},   {2, 31, 33},
    {3, 33, 31},   {3, 64, 129},  {4, 83, 64},    {4, 16, 48},    {5, 15, 79},    {6, 100, 80},  {7, 239, 47},
    {8, 240, 49},  {9, 241, 32},  {10, 65, 113},  {11, 300, 255}, {12, 301, 256}, {13, 77, 257}, {14, 12, 30},
    {23, 11, 100}, {24, 13, 97},  {25, 5, 96},    {26, 6, 95},    {119, 40, 19},  {120, 41, 18}, {121, 42, 35},
    {239, 23, 33}, {240, 24, 34}, {241, 25, 17},  {255, 48, 20},  {256, 49, 31},  {257, 50, 33}, {481, 7, 14},
    {3, 481, 18},  {2, 482, 33},  {12, 5121, 17}, {70, 16, 511},  {33, 70, 513},  {600, 30, 50},
};
enum { SIZES = sizeof sizes / sizeof *sizes };

static const tr_dtype dtypes[] = {TR_F32, TR_BF16, TR_F16};

typedef struct problem {
    size n;
    float *x, *dy, *bias, *dx, *dbias; /* dx, dbias: what the outputs hold before */
    float *weights;                    /* [out, in] as stored, widened again */
    tr_matrix w;
} problem;

static problem make(size n, tr_dtype dtype)
{
    problem p = {.n = n};
    int64_t elements = tr_matrix_elements(n.out, n.in);
    p.x = filled(n.rows * n.in, 1, 1.0f);
    p.dy = filled(n.rows * n.out, 2, 3.0f);
    p.bias = filled(n.out, 3, 5.0f);
    p.dx = filled(n.rows * n.in, 4, 2.0f);
    p.dbias = filled(n.out, 5, 2.0f);
    p.weights = filled(n.out * n.in, 6, 0.5f);
    p.w = (tr_matrix){dtype, n.out, n.in, buffer(dtype == TR_F32 ? elements : elements / 2)};
    tr_matrix_pack(&p.w, p.weights, TR_F32, 0, n.out);
    tr_matrix_unpack(&p.w, p.weights, TR_F32, 0, n.out);
    return p;
}

/* Roundings of an element; 0: one for every term of its sum. */
static int64_t roundings;

/* |value - truth| <= gamma_terms * size; NaN fails. */
static void within(const char *what, const char *variant, size n, int64_t at, float value, double truth,
                   int64_t terms, double largest)
{
    terms = roundings ? roundings : terms;
    double bound = (double)terms * EPS / (1.0 - (double)terms * EPS) * largest;
    if (!(fabs((double)value - truth) <= bound)) {
        fail_msg("%s, %s, rows %ld in %ld out %ld: element %ld is %.9g, truth %.9g, bound %.3g", what, variant,
                 (long)n.rows, (long)n.in, (long)n.out, (long)at, (double)value, truth, bound);
    }
}

static void check_forward(const char *variant, const problem *p, const float *y, const float *bias)
{
    for (int64_t i = 0; i < p->n.rows; i++) {
        for (int64_t o = 0; o < p->n.out; o++) {
            double sum = bias ? (double)bias[o] : 0.0, largest = fabs(sum);
            for (int64_t k = 0; k < p->n.in; k++) {
                double term = (double)p->x[i * p->n.in + k] * (double)p->weights[o * p->n.in + k];
                sum += term;
                largest += fabs(term);
            }
            within("forward", variant, p->n, i * p->n.out + o, y[i * p->n.out + o], sum, p->n.in + 1, largest);
        }
    }
}

static void check_input(const char *variant, const problem *p, const float *dx)
{
    for (int64_t i = 0; i < p->n.rows; i++) {
        for (int64_t k = 0; k < p->n.in; k++) {
            int64_t at = i * p->n.in + k;
            double sum = (double)p->dx[at], largest = fabs(sum);
            for (int64_t o = 0; o < p->n.out; o++) {
                double term = (double)p->dy[i * p->n.out + o] * (double)p->weights[o * p->n.in + k];
                sum += term;
                largest += fabs(term);
            }
            within("dX", variant, p->n, at, dx[at], sum, p->n.out, largest);
        }
    }
}

/* dw started as zeros. */
static void check_weight(const char *variant, const problem *p, const float *dw, const float *dbias)
{
    for (int64_t o = 0; o < (p->n.out + 15) / 16 * 16; o++) {
        for (int64_t k = 0; k < p->n.in; k++) {
            double sum = 0.0, largest = 0.0;
            for (int64_t i = 0; i < p->n.rows && o < p->n.out; i++) {
                double term = (double)p->dy[i * p->n.out + o] * (double)p->x[i * p->n.in + k];
                sum += term;
                largest += fabs(term);
            }
            int64_t at = tr_matrix_index(p->n.in, o, k); /* padding stays zero */
            within("dW", variant, p->n, at, dw[at], sum, p->n.rows, largest);
        }
        double sum = o < p->n.out ? (double)p->dbias[o] : 0.0, largest = fabs(sum);
        for (int64_t i = 0; i < p->n.rows && o < p->n.out; i++) {
            sum += (double)p->dy[i * p->n.out + o];
            largest += fabs((double)p->dy[i * p->n.out + o]);
        }
        if (o < p->n.out) {
            within("dbias", variant, p->n, o, dbias[o], sum, p->n.rows, largest);
        }
    }
}

/* The plain code adds in f64 and rounds once (dX: the sum, and its addition to what is there): every element within
 * two roundings, at sizes that are small enough for it. */
static void check_reference(const problem *p, const float *bias)
{
    const tr_ops *plain = &tr_reference_table;
    int64_t elements = tr_matrix_elements(p->n.out, p->n.in), narrow = p->n.rows * p->n.in;
    if (p->n.rows * p->n.in * p->n.out > 200000) {
        return;
    }
    float *y = buffer(p->n.rows * p->n.out), *dx = copy_of(p->dx, narrow), *dw = zeros(elements),
          *dbias = copy_of(p->dbias, p->n.out);
    plain->linear_forward(y, p->x, &p->w, bias, p->n.rows);
    plain->linear_backward_input(dx, p->dy, &p->w, p->n.rows, true);
    plain->linear_backward_weight(dw, dbias, p->dy, p->x, p->n.rows, p->n.out, p->n.in);
    roundings = 2;
    check_forward("reference", p, y, bias);
    check_input("reference", p, dx);
    check_weight("reference", p, dw, dbias);
    roundings = 0;
}

static void test_bounds(void **state)
{
    (void)state;
    const tr_ops *fast[3];
    int variants = fast_variants(fast);
    for (int i = 0; i < SIZES * 3; i++) {
        problem p = make(sizes[i / 3], dtypes[i % 3]);
        int64_t elements = tr_matrix_elements(p.n.out, p.n.in), wide = p.n.rows * p.n.out,
                narrow = p.n.rows * p.n.in;
        const tr_ops *ops = fast[variants - 1]; /* the others have the same bits, below */
        const float *bias = i % 2 ? p.bias : NULL;
        check_reference(&p, bias);
        tr_threads_set(1);
        float *y = buffer(wide), *dx = copy_of(p.dx, narrow), *dw = zeros(elements),
              *dbias = copy_of(p.dbias, p.n.out);
        ops->linear_forward(y, p.x, &p.w, bias, p.n.rows);
        ops->linear_backward_input(dx, p.dy, &p.w, p.n.rows, true);
        ops->linear_backward_weight(dw, dbias, p.dy, p.x, p.n.rows, p.n.out, p.n.in);
        check_forward(ops->name, &p, y, bias);
        check_input(ops->name, &p, dx);
        check_weight(ops->name, &p, dw, dbias);
        for (int v = 0; v < variants; v++) {
            for (int threads = 1; threads <= 7; threads += v == variants - 1 ? 1 : 2) {
                tr_threads_set(threads);
                float *y1 = buffer(wide), *dx1 = copy_of(p.dx, narrow), *dw1 = zeros(elements);
                float *dbias1 = copy_of(p.dbias, p.n.out);
                fast[v]->linear_forward(y1, p.x, &p.w, bias, p.n.rows);
                fast[v]->linear_backward_input(dx1, p.dy, &p.w, p.n.rows, true);
                fast[v]->linear_backward_weight(dw1, NULL, p.dy, p.x, p.n.rows, p.n.out, p.n.in);
                fast[v]->linear_backward_weight(NULL, dbias1, p.dy, p.x, p.n.rows, p.n.out, p.n.in);
                same_bits("forward", fast[v]->name, y1, y, wide);
                same_bits("dX", fast[v]->name, dx1, dx, narrow);
                float *set = buffer(narrow), *added = zeros(narrow);
                memset(set, 0xff, (size_t)narrow * sizeof *set); /* what was there, NaN here, must not show */
                fast[v]->linear_backward_input(set, p.dy, &p.w, p.n.rows, false);
                fast[v]->linear_backward_input(added, p.dy, &p.w, p.n.rows, true);
                same_bits("dX set", fast[v]->name, set, added, narrow);
                same_bits("dW", fast[v]->name, dw1, dw, elements);
                same_bits("dbias", fast[v]->name, dbias1, dbias, p.n.out);
            }
        }
        release();
    }
}

/* A row has the same bits in company of 0 to 700 others. */
static void test_rows(void **state)
{
    (void)state;
    static const int64_t counts[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,   10,  11,  12,  13,  14,  15, 16,
                                     17, 23, 24, 25, 35, 36, 37, 64, 119, 120, 121, 239, 240, 241, 500};
    enum { ROWS = 700, IN = 300, OUT = 90 };
    const tr_ops *fast[3];
    int variants = fast_variants(fast);
    for (int i = 0; i < variants * 3; i++) {
        const tr_ops *ops = fast[i / 3];
        problem p = make((size){ROWS, IN, OUT}, dtypes[i % 3]);
        float *y = buffer(ROWS * OUT), *dx = copy_of(p.dx, ROWS * IN);
        tr_threads_set(1);
        ops->linear_forward(y, p.x, &p.w, p.bias, ROWS);
        ops->linear_backward_input(dx, p.dy, &p.w, ROWS, true);
        tr_threads_set(2);
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            int64_t n = counts[c], first = (int64_t)c * 7 % (ROWS - n);
            float *y1 = buffer(n * OUT), *dx1 = copy_of(p.dx + first * IN, n * IN);
            ops->linear_forward(y1, p.x + first * IN, &p.w, p.bias, n);
            ops->linear_backward_input(dx1, p.dy + first * OUT, &p.w, n, true);
            same_bits("forward rows", ops->name, y1, y + first * OUT, n * OUT);
            same_bits("dX rows", ops->name, dx1, dx + first * IN, n * IN);
        }
        release();
    }
}

/* The same with thousands of rows, a fewer of them at a time. */
static void test_thousands_of_rows(void **state)
{
    (void)state;
    static const int64_t counts[] = {1, 7, 999, 1000, 1001, 2047, 2049, 4095};
    enum { ROWS = 4100, IN = 37, OUT = 34 };
    const tr_ops *fast[3];
    int variants = fast_variants(fast);
    for (int v = 0; v < variants; v++) {
        problem p = make((size){ROWS, IN, OUT}, TR_F32);
        float *y = buffer(ROWS * OUT), *dx = copy_of(p.dx, ROWS * IN);
        tr_threads_set(2);
        fast[v]->linear_forward(y, p.x, &p.w, p.bias, ROWS);
        fast[v]->linear_backward_input(dx, p.dy, &p.w, ROWS, true);
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            int64_t n = counts[c], first = ROWS - n;
            float *y1 = buffer(n * OUT), *dx1 = copy_of(p.dx + first * IN, n * IN);
            fast[v]->linear_forward(y1, p.x + first * IN, &p.w, p.bias, n);
            fast[v]->linear_backward_input(dx1, p.dy + first * OUT, &p.w, n, true);
            same_bits("forward of thousands", fast[v]->name, y1, y + first * OUT, n * OUT);
            same_bits("dX of thousands", fast[v]->name, dx1, dx + first * IN, n * IN);
        }
        release();
    }
}

/* The sum of dW over all rows is one sequence: the same bits in one call or in parts. */
static void test_parts(void **state)
{
    (void)state;
    enum { ROWS = 530, IN = 250, OUT = 50 };
    const tr_ops *fast[3];
    int variants = fast_variants(fast);
    for (int v = 0; v < variants; v++) {
        problem p = make((size){ROWS, IN, OUT}, TR_F32);
        int64_t elements = tr_matrix_elements(OUT, IN);
        float *dw = zeros(elements), *dbias = zeros(OUT), *dw1 = zeros(elements), *dbias1 = zeros(OUT);
        tr_threads_set(2);
        fast[v]->linear_backward_weight(dw, dbias, p.dy, p.x, ROWS, OUT, IN);
        for (int64_t at = 0, n, next = 1; at < ROWS; at += n, next *= 3) {
            n = next < ROWS - at ? next : ROWS - at;
            fast[v]->linear_backward_weight(dw1, dbias1, p.dy + at * OUT, p.x + at * IN, n, OUT, IN);
        }
        same_bits("dW in parts", fast[v]->name, dw1, dw, elements);
        same_bits("dbias in parts", fast[v]->name, dbias1, dbias, OUT);
        release();
    }
}

/* ---- bf16 arithmetic: activations rounded to bf16, sums of its own order ---- */

static void round_to_bf16(float *x, int64_t count)
{
    uint16_t *narrow = malloc((size_t)count * sizeof *narrow);
    assert_non_null(narrow);
    tr_convert(narrow, TR_BF16, x, TR_F32, count);
    tr_convert(x, TR_F32, narrow, TR_BF16, count);
    free(narrow);
}

static const tr_ops *bf16_table(void)
{
    const tr_ops *ops;
    tr_error err = {0};
    if (tr_ops_cpu("avx512bf16", &ops, &err) != TR_OK) {
        skip_test(err.message);
    }
    return ops;
}

/* A product of two bf16 is exact in f32, so the bound is the same; a row has the same bits in any company. */
static void test_bf16_bounds(void **state)
{
    (void)state;
    const tr_ops *ops = bf16_table();
    for (int i = 0; i < SIZES; i++) {
        problem p = make(sizes[i], TR_BF16);
        int64_t wide = p.n.rows * p.n.out, narrow = p.n.rows * p.n.in;
        float *y = buffer(wide), *dx = copy_of(p.dx, narrow);
        tr_threads_set(1);
        ops->linear_forward(y, p.x, &p.w, p.bias, p.n.rows);
        ops->linear_backward_input(dx, p.dy, &p.w, p.n.rows, true);
        for (int threads = 1; threads <= 5; threads += 2) {
            tr_threads_set(threads);
            int64_t half = (p.n.rows + 1) / 2, rest = p.n.rows - half;
            float *y1 = buffer(wide), *dx1 = copy_of(p.dx, narrow);
            ops->linear_forward(y1, p.x, &p.w, p.bias, half);
            ops->linear_forward(y1 + half * p.n.out, p.x + half * p.n.in, &p.w, p.bias, rest);
            ops->linear_backward_input(dx1, p.dy, &p.w, half, true);
            ops->linear_backward_input(dx1 + half * p.n.in, p.dy + half * p.n.out, &p.w, rest, true);
            same_bits("bf16 forward", ops->name, y1, y, wide);
            same_bits("bf16 dX", ops->name, dx1, dx, narrow);
        }
        round_to_bf16(p.x, narrow);
        round_to_bf16(p.dy, wide);
        check_forward(ops->name, &p, y, p.bias);
        check_input(ops->name, &p, dx);
        release();
    }
}

/* What is not a product with bf16 weights is avx512's, bit for bit; what sampling records is what the head
 * computes. */
static void test_bf16_rest(void **state)
{
    (void)state;
    enum { ROWS = 29, IN = 130, OUT = 1003 };
    const tr_ops *ops = bf16_table(), *plain;
    assert_int_equal(tr_ops_cpu("avx512", &plain, NULL), TR_OK);
    problem p = make((size){ROWS, IN, OUT}, TR_F32);
    int64_t elements = tr_matrix_elements(OUT, IN);
    float *y = buffer(ROWS * OUT), *y1 = buffer(ROWS * OUT), *dw = zeros(elements), *dw1 = zeros(elements);
    ops->linear_forward(y, p.x, &p.w, NULL, ROWS);
    plain->linear_forward(y1, p.x, &p.w, NULL, ROWS);
    same_bits("f32 weights", ops->name, y, y1, ROWS * OUT);
    ops->linear_backward_weight(dw, NULL, p.dy, p.x, ROWS, OUT, IN);
    plain->linear_backward_weight(dw1, NULL, p.dy, p.x, ROWS, OUT, IN);
    same_bits("dW", ops->name, dw, dw1, elements);
    problem q = make((size){ROWS, IN, OUT}, TR_BF16);
    int32_t ids[ROWS];
    for (int i = 0; i < ROWS; i++) {
        ids[i] = i * 34;
    }
    float *logp = buffer(3 * ROWS), *row = buffer(OUT);
    ops->head_forward(logp, logp + ROWS, logp + 2 * ROWS, q.x, &q.w, ids, ROWS, 1.0f, 7, buffer(7 * OUT));
    for (int i = 0; i < ROWS; i++) {
        ops->linear_forward(y, q.x + i * IN, &q.w, NULL, 1);
        ops->logsoftmax_row(row, y, OUT, 1.0f);
        same_bits("sampled", ops->name, row + ids[i], logp + i, 1);
    }
    release();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds), cmocka_unit_test(test_rows),        cmocka_unit_test(test_thousands_of_rows),
        cmocka_unit_test(test_parts),  cmocka_unit_test(test_bf16_bounds), cmocka_unit_test(test_bf16_rest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
