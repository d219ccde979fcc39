/* test_invariance.c: the numbers do not depend on how they are computed. Every operation's outputs on a small
 * fixture have the same bits in every variant and with 1, 2 and 3 threads, and the same checksum on every machine;
 * forward rows have the same bits alone and among others. */
#include "tensor/moments.h"
#include "tensor/ops_fixture.h"
#include "tensor/sampler.h"

enum { LARGEST = 600000 };

/* Writes all outputs to out, returns how many floats. */
typedef int64_t fixture(const tr_ops *ops, float *out);

static int64_t linear(const tr_ops *ops, float *out)
{
    const int64_t rows = 37, in = 83, n = 129;
    float *panels = zeros(tr_matrix_elements(n, in)), *w = filled(n * in, 1, 0.5f), *x = filled(rows * in, 2, 1.0f);
    float *dy = filled(rows * n, 3, 1.0f), *bias = filled(n, 4, 1.0f);
    tr_matrix m = {TR_F32, n, in, panels};
    tr_matrix_pack(&m, w, TR_F32, 0, n);
    ops->linear_forward(out, x, &m, bias, rows);
    float *dx = out + rows * n, *dw = dx + rows * in, *dbias = dw + tr_matrix_elements(n, in);
    memset(dx, 0, (size_t)(rows * in + tr_matrix_elements(n, in) + n) * sizeof *dx);
    ops->linear_backward_input(dx, dy, &m, rows, true);
    ops->linear_backward_weight(dw, dbias, dy, x, rows, n, in);
    return dbias + n - out;
}

/* Weights of 16 bits: widened exactly, then the same sums. */
static int64_t linear16(const tr_ops *ops, float *out)
{
    const int64_t rows = 26, in = 91, n = 77;
    float *w = filled(n * in, 1, 0.5f), *x = filled(rows * in, 2, 1.0f), *dy = filled(rows * n, 3, 1.0f);
    float *start = out;
    for (int i = 0; i < 2; i++) {
        tr_matrix m = {i ? TR_F16 : TR_BF16, n, in, buffer(tr_matrix_elements(n, in) / 2)};
        int32_t ids[3] = {76, -1, 5};
        tr_matrix_pack(&m, w, TR_F32, 0, n);
        ops->linear_forward(out, x, &m, NULL, rows);
        out += rows * n;
        memset(out, 0, (size_t)(rows * in) * sizeof *out);
        ops->linear_backward_input(out, dy, &m, rows, true);
        out += rows * in;
        ops->embedding_forward(out, ids, &m, 3);
        out += 3 * in;
    }
    return out - start;
}

static int64_t embedding(const tr_ops *ops, float *out)
{
    const int64_t rows = 90, d = 33, vocab = 50;
    int32_t ids[90];
    for (int i = 0; i < 90; i++) {
        ids[i] = i % 7 == 3 ? -1 : (i * 37) % 50;
    }
    float *panels = filled(tr_matrix_elements(vocab, d), 1, 1.0f), *dx = filled(rows * d, 2, 1.0f);
    tr_matrix m = {TR_F32, vocab, d, panels};
    ops->embedding_forward(out, ids, &m, rows);
    float *dw = out + rows * d;
    memset(dw, 0, (size_t)tr_matrix_elements(vocab, d) * sizeof *dw);
    ops->embedding_backward(dw, dx, ids, rows, vocab, d);
    return rows * d + tr_matrix_elements(vocab, d);
}

static int64_t rmsnorm(const tr_ops *ops, float *out)
{
    const int64_t rows = 301, d = 329, n = rows * d;
    float *x = filled(n, 1, 2.0f), *w = filled(d, 2, 1.0f), *dy = filled(n, 3, 1.0f);
    float *r = out + n, *dx = r + rows, *dw = dx + n;
    memset(dx, 0, (size_t)(n + d) * sizeof *dx);
    ops->rmsnorm_forward(out, r, x, w, rows, d, 1e-6f);
    ops->rmsnorm_backward(dx, dw, dy, x, w, r, rows, d);
    return 2 * n + rows + d;
}

static int64_t elementwise(const tr_ops *ops, float *out)
{
    const int64_t n = 50003;
    float *a = filled(n, 1, 20.0f), *b = filled(n, 2, 1.0f), *d = filled(n, 3, 1.0f);
    ops->swiglu_forward(out, a, b, n);
    ops->swiglu_backward_set(out + n, out + 2 * n, d, a, b, n);
    ops->gelu_forward(out + 3 * n, a, n);
    ops->gelu_backward_set(out + 4 * n, d, a, n);
    memcpy(out + 5 * n, a, (size_t)n * sizeof *a);
    ops->add(out + 5 * n, b, n);
    return 6 * n;
}

static int64_t rope(const tr_ops *ops, float *out)
{
    const int64_t rows = 201, hd = 80, half = 40, heads = 5;
    int32_t position[3 * 201], sections[3] = {10, 14, 16};
    for (int i = 0; i < 603; i++) {
        position[i] = (i * 7919) % 40000;
    }
    float *c = out, *s = c + rows * half, *x = s + rows * half;
    ops->rope_vision_table(c, s, position, rows, hd, 1e4);
    fill(x, rows * heads * hd, 1, 1.0f);
    ops->rope_backward(x, c, s, rows, heads, hd, heads * hd);
    ops->rope_mrope_table(c, s, position, rows, hd, sections, 1e6);
    ops->rope_forward(x, c, s, rows, heads, hd, heads * hd);
    return 2 * rows * half + rows * heads * hd;
}

static int64_t group(const tr_ops *ops, float *out)
{
    const tr_attention_shape shape = {6, 2, 40, 0.158f};
    const int64_t start[4] = {100, 101, 190, 230}, rows = 230, wide = 240, narrow = 80;
    const tr_layout layout = {100, 3, start};
    float *q = filled(rows * wide, 1, 2.0f), *k = filled(rows * narrow, 2, 2.0f),
          *v = filled(rows * narrow, 3, 1.0f);
    float *dout = filled(rows * wide, 4, 1.0f), *work = buffer(ops->group_attention_work(&shape, &layout, true));
    float *lse = out + rows * wide, *dq = lse + rows * 6, *dk = dq + rows * wide, *dv = dk + rows * narrow;
    memset(dq, 0, (size_t)(rows * (wide + 2 * narrow)) * sizeof *dq);
    ops->group_attention_forward(out, lse, q, k, v, &shape, &layout, work);
    ops->group_attention_backward(dq, dk, dv, dout, out, lse, q, k, v, &shape, &layout, work);
    return dv + rows * narrow - out;
}

static int64_t segments(const tr_ops *ops, float *out)
{
    const tr_attention_shape shape = {3, 3, 80, 0.1118f};
    const int32_t cu[5] = {0, 64, 80, 180, 245};
    const int64_t rows = 245, width = 240, stride = 720;
    float *qkv = filled(rows * stride, 1, 2.0f), *dout = filled(rows * width, 2, 1.0f);
    float *work = buffer(ops->segment_attention_work(&shape, cu, 4, true)), *lse = out + rows * width,
          *d = lse + rows * 3;
    memset(d, 0, (size_t)(rows * stride) * sizeof *d);
    ops->segment_attention_forward(out, lse, qkv, qkv + width, qkv + 2 * width, stride, &shape, cu, 4, work);
    ops->segment_attention_backward(d, d + width, d + 2 * width, dout, out, lse, qkv, qkv + width, qkv + 2 * width,
                                    stride, &shape, cu, 4, work);
    return d + rows * stride - out;
}

static int64_t decode(const tr_ops *ops, float *out)
{
    const tr_attention_shape shape = {8, 2, 64, 0.125f};
    const int64_t narrow = 128, wide = 512;
    tr_kv kv[2];
    float *k = filled(512 * narrow, 1, 2.0f), *v = filled(512 * narrow, 2, 1.0f), *q = filled(9 * wide, 3, 2.0f);
    tr_decode_row what[9];
    for (int s = 0; s < 2; s++) {
        kv[s] = (tr_kv){512, zeros(512 * narrow), zeros(512 * narrow)};
        ops->kv_write(&kv[s], 0, k, v, 500, &shape);
    }
    for (int r = 0; r < 9; r++) {
        what[r] = (tr_decode_row){&kv[0], &kv[1], 333, 1 + r * 17};
    }
    ops->decode_attention_forward(out, q, what, 9, &shape, buffer(ops->decode_attention_work(&shape, 9)));
    return 9 * wide;
}

static int64_t logsoftmax(const tr_ops *ops, float *out)
{
    const int64_t rows = 9, vocab = 20011;
    int32_t ids[9];
    for (int i = 0; i < 9; i++) {
        ids[i] = i == 4 ? -1 : i * 2000;
    }
    float *z = filled(rows * vocab, 1, 12.0f), *d = filled(2 * rows, 2, 1.0f), *grad = out + 64;
    memset(out, 0, 64 * sizeof *out);
    ops->logsoftmax_forward(out, out + 16, out + 32, z, ids, rows, vocab, 0.7f);
    memcpy(grad, z, (size_t)(rows * vocab) * sizeof *z);
    ops->logsoftmax_backward_set(grad, d, d + rows, out + 32, out + 16, ids, rows, vocab, 0.7f);
    ops->logsoftmax_row(grad + rows * vocab, z, vocab, 0.7f);
    return 64 + (rows + 1) * vocab;
}

static int64_t head(const tr_ops *ops, float *out)
{
    const int64_t rows = 21, d = 48, vocab = 5003, tile = 8, panel_count = tr_matrix_elements(vocab, d);
    int32_t ids[21];
    for (int i = 0; i < 21; i++) {
        ids[i] = i < 3 || i == 9 ? -1 : i * 200;
    }
    float *w = filled(vocab * d, 1, 0.5f), *x = filled(rows * d, 2, 1.0f), *g = filled(2 * rows, 3, 1.0f);
    tr_matrix m = {TR_F32, vocab, d, zeros(panel_count)};
    tr_matrix_pack(&m, w, TR_F32, 0, vocab);
    float *work = buffer(tile * vocab), *dx = out + 3 * rows, *dw = dx + rows * d;
    memset(dx, 0, (size_t)(rows * d + panel_count) * sizeof *dx);
    ops->head_forward(out, out + rows, out + 2 * rows, x, &m, ids, rows, 1.0f, tile, work);
    ops->head_backward(dx, dw, x, &m, ids, g, g + rows, out + 2 * rows, out + rows, rows, 1.0f, tile, work);
    return dw + panel_count - out;
}

static int64_t optimiser(const tr_ops *ops, float *out)
{
    const int64_t n = 70001;
    float *g = filled(n, 2, 3.0f), *m = out + n, *v = m + n;
    fill(out, n, 1, 1.0f);
    memset(m, 0, (size_t)(2 * n) * sizeof *m);
    for (int step = 1; step < 4; step++) {
        tr_adamw a = {1e-2, 0.9, 0.999, 1e-8, 0.1, 0.1 * step, 1e-3 * step, 0.25};
        ops->adamw_step(out, g, m, v, n, &a);
    }
    double sum = ops->sum_of_squares(g, n);
    memcpy(v + n, &sum, sizeof sum);
    return 3 * n + 2;
}

/* Moments in 8 bits: the records, then the parameters. */
static int64_t moments(const tr_ops *ops, float *out)
{
    const int64_t rows = 37, in = 53, n = tr_matrix_elements(rows, in), bytes = tr_moments8_bytes(rows, in);
    float *p = out + (bytes + 3) / 4;
    memset(out, 0, (size_t)(p - out) * sizeof *out);
    fill(p, n, 1, 1.0f);
    for (int step = 1; step < 5; step++) {
        tr_adamw a = {1e-2, 0.9, 0.999, 1e-8, 0.1, 0.1 * step, 1e-3 * step, 0.25};
        ops->adamw8_step(p, filled(n, (uint32_t)step, 3.0f), out, rows, in, &a);
    }
    return p + n - out;
}

static int64_t sample(const tr_ops *ops, float *out)
{
    const int64_t rows = 33, vocab = 1031, work = ops->sample_work(vocab, rows);
    static const tr_sampling settings[] = {{.temperature = 0.8, .top_p = 1},
                                           {.temperature = 1.2, .top_p = 0.9},
                                           {.temperature = 1, .top_p = 1, .top_k = 9}};
    float *z = filled(rows * vocab, 1, 4.0f);
    for (uint32_t i = 0; i < 3; i++) {
        tr_draw draws[33];
        tr_sampled picked[33];
        for (uint32_t r = 0; r < 33; r++) {
            draws[r] = (tr_draw){7, 1, i, r, r * 3};
        }
        ops->sample(picked, z, i == 1, draws, rows, vocab, &settings[i], buffer(work), work);
        for (int r = 0; r < 33; r++) {
            *out++ = (float)picked[r].id;
            *out++ = picked[r].logp;
        }
    }
    return 3 * 33 * 2;
}

/* The checksums were made on an AVX-512 machine; every other one must reproduce them. */
static const struct {
    const char *name;
    fixture *run;
    uint64_t checksum;
} fixtures[] = {
    {"linear", linear, 0x84d713508705d620},
    {"linear16", linear16, 0xc71c65a584159652},
    {"embedding", embedding, 0x5b7d7537a03afdc3},
    {"rmsnorm", rmsnorm, 0x633b47ae7b407b65},
    {"elementwise", elementwise, 0xf3f14bca90180e79},
    {"rope", rope, 0x3a3cb43ff6d15c07},
    {"group", group, 0x926f7513f6eafaf8},
    {"segments", segments, 0x1036aad0c924362b},
    {"decode", decode, 0xbc0b0e09ffa6904d},
    {"logsoftmax", logsoftmax, 0xd2b9e9b0e2f789d5},
    {"head", head, 0x0df6b3178d21a87f},
    {"optimiser", optimiser, 0x2beb0725d52f48e2},
    {"moments", moments, 0x5c07235f49a0e6ef},
    {"sample", sample, 0xddcc4210714b09dd},
};
enum { FIXTURES = sizeof fixtures / sizeof *fixtures };

static void test_variants_and_threads(void **state)
{
    (void)state;
    const tr_ops *fast[3];
    int variants = fast_variants(fast);
    int wrong = 0;
    for (int f = 0; f < FIXTURES; f++) {
        float *first = malloc(LARGEST * sizeof *first), *other = malloc(LARGEST * sizeof *other);
        assert_true(first && other);
        for (int v = 0; v < variants; v++) {
            for (int threads = 1; threads <= thread_counts(v, variants); threads++) {
                tr_threads_set(threads);
                bool base = v == 0 && threads == 1;
                int64_t count = fixtures[f].run(fast[v], base ? first : other);
                assert_true(count <= LARGEST);
                release();
                if (!base) {
                    same_bits(fixtures[f].name, fast[v]->name, other, first, count);
                    continue;
                }
                uint64_t checksum = tr_hash(first, (size_t)count * sizeof *first);
                if (checksum != fixtures[f].checksum) {
                    print_message("%s: checksum 0x%016llx\n", fixtures[f].name, (unsigned long long)checksum);
                    wrong++;
                }
            }
        }
        free(first);
        free(other);
    }
    assert_int_equal(wrong, 0);
}

/* ---- rows alone and among others ---- */

/* A rotated row and its table, and a window of a frame, alone. */
static void rotations_and_windows(const tr_ops *ops)
{
    enum { ROWS = 245, HEADS = 3, DIM = 20, WIDE = HEADS * DIM, HALF = DIM / 2 };
    const tr_attention_shape shape = {HEADS, HEADS, DIM, 0.2236f};
    const int32_t cu[6] = {0, 64, 65, 80, 180, 245}, sections[3] = {2, 5, 3};
    int32_t positions[3 * ROWS], one[3];
    float *x = filled(ROWS * 3 * WIDE, 1, 2.0f), *c = buffer(ROWS * HALF), *s = buffer(ROWS * HALF);
    float *alone = copy_of(x, ROWS * 3 * WIDE), *c1 = buffer(HALF), *s1 = buffer(HALF);
    for (int i = 0; i < 3 * ROWS; i++) {
        positions[i] = i * 7919 % 30000;
    }
    ops->rope_mrope_table(c, s, positions, ROWS, DIM, sections, 1e6);
    ops->rope_forward(x, c, s, ROWS, 2 * HEADS, DIM, 3 * WIDE);
    for (int r = 0; r < ROWS; r++) {
        for (int axis = 0; axis < 3; axis++) {
            one[axis] = positions[axis * ROWS + r];
        }
        ops->rope_mrope_table(c1, s1, one, 1, DIM, sections, 1e6);
        same_bits("cos of a row", ops->name, c1, c + r * HALF, HALF);
        same_bits("sin of a row", ops->name, s1, s + r * HALF, HALF);
        ops->rope_forward(alone + r * 3 * WIDE, c1, s1, 1, 2 * HEADS, DIM, 3 * WIDE);
    }
    same_bits("rotated rows", ops->name, alone, x, ROWS * 3 * WIDE);
    float *o = buffer(ROWS * WIDE), *o1 = buffer(ROWS * WIDE),
          *work = buffer(ops->segment_attention_work(&shape, cu, 5, false));
    ops->segment_attention_forward(o, NULL, x, x + WIDE, x + 2 * WIDE, 3 * WIDE, &shape, cu, 5, work);
    for (int w = 0; w < 5; w++) {
        const int32_t only[2] = {0, cu[w + 1] - cu[w]};
        float *first = x + cu[w] * 3 * WIDE;
        ops->segment_attention_forward(o1 + cu[w] * WIDE, NULL, first, first + WIDE, first + 2 * WIDE, 3 * WIDE,
                                       &shape, only, 1, work);
    }
    same_bits("windows alone", ops->name, o1, o, ROWS * WIDE);
}

static void test_rows(void **state)
{
    (void)state;
    const tr_ops *fast[3];
    int variants = fast_variants(fast);
    for (int v = 0; v < variants; v++) {
        const tr_ops *ops = fast[v];
        const int64_t rows = 67, d = 97, vocab = 4099;
        tr_threads_set(2);
        float *x = filled(rows * d, 1, 2.0f), *w = filled(d, 2, 1.0f), *all = buffer(rows * d),
              *one = buffer(rows * d);
        float *up = filled(rows * d, 3, 1.0f), *z = filled(rows * vocab, 4, 9.0f), *r = buffer(6 * rows);
        int32_t ids[67];
        for (int i = 0; i < 67; i++) {
            ids[i] = i * 61;
        }
        ops->rmsnorm_forward(all, NULL, x, w, rows, d, 1e-6f);
        for (int64_t i = 0; i < rows; i++) {
            ops->rmsnorm_forward(one + i * d, NULL, x + i * d, w, 1, d, 1e-6f);
        }
        same_bits("rmsnorm rows", ops->name, one, all, rows * d);
        ops->swiglu_forward(all, x, up, rows * d);
        for (int64_t i = 0; i < rows; i++) {
            ops->swiglu_forward(one + i * d, x + i * d, up + i * d, d);
        }
        same_bits("swiglu rows", ops->name, one, all, rows * d);
        ops->gelu_forward(all, x, rows * d);
        for (int64_t i = 0; i < rows; i++) {
            ops->gelu_forward(one + i * d, x + i * d, d);
        }
        same_bits("gelu rows", ops->name, one, all, rows * d);
        ops->logsoftmax_forward(r, r + rows, r + 2 * rows, z, ids, rows, vocab, 1.3f);
        for (int64_t i = 0; i < rows; i++) {
            ops->logsoftmax_forward(r + 3 * rows + i, r + 4 * rows + i, r + 5 * rows + i, z + i * vocab, ids + i, 1,
                                    vocab, 1.3f);
        }
        same_bits("logsoftmax rows", ops->name, r + 3 * rows, r, 3 * rows);
        rotations_and_windows(ops);
        float *panels = zeros(tr_matrix_elements(vocab, d)), *head_w = filled(vocab * d, 5, 0.3f);
        tr_matrix m = {TR_F32, vocab, d, panels};
        tr_matrix_pack(&m, head_w, TR_F32, 0, vocab);
        static const int64_t tiles[] = {67, 1, 7, 16};
        float *work = buffer(67 * vocab);
        for (int t = 0; t < 4; t++) {
            float *to = t == 0 ? r : r + 3 * rows;
            ops->head_forward(to, to + rows, to + 2 * rows, x, &m, ids, rows, 1.0f, tiles[t], work);
            same_bits("head tiles", ops->name, to, r, 3 * rows);
        }
        /* what sampling records is what the head computes */
        ops->linear_forward(work, x, &m, NULL, rows);
        float *row = buffer(vocab);
        for (int64_t i = 0; i < rows; i++) {
            ops->logsoftmax_row(row, work + i * vocab, vocab, 1.0f);
            same_bits("sampled", ops->name, row + ids[i], r + i, 1);
        }
        release();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_variants_and_threads), cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
