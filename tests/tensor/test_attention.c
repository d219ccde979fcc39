/* test_attention.c: attention against the plain reference, its gradient against finite differences, and the promise
 * of the engine: decode, packed forward, one response alone or many, any threads, any variant, give the same bits.
 */
#include "tensor/ops_fixture.h"

typedef struct group_case {
    tr_attention_shape shape;
    int64_t prompt, responses;
    int64_t length[6];
} group_case;

#define SHAPE(heads, kv, dim, scale)                                                                               \
    {                                                                                                              \
        heads, kv, dim, scale                                                                                      \
    }

/* Lengths around the tiles of 16 and 64 keys, head sizes that fill the lanes and that do not. */
static const group_case cases[] = {
    {SHAPE(4, 2, 16, 0.25f), 1, 3, {1, 2, 3}},
    {SHAPE(2, 1, 16, 0.25f), 15, 2, {16, 17}},
    {SHAPE(4, 2, 8, 0.35f), 16, 4, {15, 1, 31, 33}},
    {SHAPE(6, 1, 24, 0.2f), 17, 2, {64, 5}},
    {SHAPE(6, 2, 80, 0.1118f), 63, 3, {63, 1, 7}},
    {SHAPE(7, 1, 64, 0.125f), 64, 3, {65, 64, 2}},
    {SHAPE(8, 4, 128, 0.08838f), 65, 2, {66, 130}},
    {SHAPE(2, 2, 34, 0.17f), 129, 2, {1, 20}},
    {SHAPE(4, 4, 2, 0.7f), 33, 1, {9}},
    {SHAPE(3, 3, 16, 0.25f), 70, 0, {0}},
    {SHAPE(2, 1, 16, 0.25f), 0, 2, {5, 66}},
};
enum { CASES = sizeof cases / sizeof *cases };

typedef struct group {
    tr_layout layout;
    int64_t start[8], rows, wide, narrow;
    float *q, *k, *v, *dout;
} group;

static void make_group(group *g, const group_case *c)
{
    g->start[0] = c->prompt;
    for (int64_t r = 0; r < c->responses; r++) {
        g->start[r + 1] = g->start[r] + c->length[r];
    }
    g->layout = (tr_layout){c->prompt, c->responses, g->start};
    g->rows = g->start[c->responses];
    g->wide = c->shape.heads * c->shape.head_dim;
    g->narrow = c->shape.kv_heads * c->shape.head_dim;
    g->q = filled(g->rows * g->wide, 1, 2.0f);
    g->k = filled(g->rows * g->narrow, 2, 2.0f);
    g->v = filled(g->rows * g->narrow, 3, 1.0f);
    g->dout = filled(g->rows * g->wide, 4, 1.0f);
}

/* A score is a sum of head_dim products below 4: its error is a random walk of head_dim roundings (times 6 for the
 * tail of thousands of samples); weights inherit it relatively, and sums of weights stay below 1. */
static double score_error(const tr_attention_shape *s)
{
    return (6.0 * sqrt((double)s->head_dim) + 12.0) * EPS * 4.0 * (double)s->scale * sqrt((double)s->head_dim) +
           16.0 * EPS;
}

typedef struct results {
    float *o, *lse, *dq, *dk, *dv;
} results;

static results run_group(const tr_ops *ops, const group_case *c, const group *g)
{
    results r = {buffer(g->rows * g->wide), buffer(g->rows * c->shape.heads), zeros(g->rows * g->wide),
                 zeros(g->rows * g->narrow), zeros(g->rows * g->narrow)};
    float *work = buffer(ops->group_attention_work(&c->shape, &g->layout, true));
    ops->group_attention_forward(r.o, r.lse, g->q, g->k, g->v, &c->shape, &g->layout, work);
    ops->group_attention_backward(r.dq, r.dk, r.dv, g->dout, r.o, r.lse, g->q, g->k, g->v, &c->shape, &g->layout,
                                  work);
    return r;
}

static void same_results(const char *what, const char *variant, const results *a, const results *b,
                         const group_case *c, const group *g)
{
    same_bits(what, variant, a->o, b->o, g->rows * g->wide);
    same_bits(what, variant, a->lse, b->lse, g->rows * c->shape.heads);
    same_bits(what, variant, a->dq, b->dq, g->rows * g->wide);
    same_bits(what, variant, a->dk, b->dk, g->rows * g->narrow);
    same_bits(what, variant, a->dv, b->dv, g->rows * g->narrow);
}

static void test_group_reference(void **state)
{
    (void)state;
    const tr_ops *fast[3];
    int variants = fast_variants(fast);
    for (int i = 0; i < CASES; i++) {
        const group_case *c = &cases[i];
        group g;
        make_group(&g, c);
        results expected = run_group(&tr_reference_table, c, &g), first = {0};
        double tolerance = score_error(&c->shape), many = (double)(g.rows * c->shape.heads / c->shape.kv_heads);
        for (int v = 0; v < variants; v++) {
            for (int threads = 1; threads <= thread_counts(v, variants); threads++) {
                tr_threads_set(threads);
                results r = run_group(fast[v], c, &g);
                if (v == 0 && threads == 1) {
                    first = r;
                    close_to("o", fast[v]->name, r.o, expected.o, g.rows * g.wide, tolerance);
                    close_to("lse", fast[v]->name, r.lse, expected.lse, g.rows * c->shape.heads,
                             tolerance + 8 * EPS);
                    /* gradients: sums over keys or queries of terms below 2 head_dim scale */
                    double term = 4.0 * (double)c->shape.scale * sqrt((double)c->shape.head_dim) * 2.0;
                    close_to("dq", fast[v]->name, r.dq, expected.dq, g.rows * g.wide, 2.0 * term * tolerance);
                    close_to("dk", fast[v]->name, r.dk, expected.dk, g.rows * g.narrow,
                             2.0 * term * tolerance * sqrt(many));
                    close_to("dv", fast[v]->name, r.dv, expected.dv, g.rows * g.narrow,
                             2.0 * tolerance * sqrt(many));
                }
                same_results("group", fast[v]->name, &r, &first, c, &g);
            }
        }
        release();
    }
}

/* Backward adds to what is there. */
static void test_accumulates(void **state)
{
    (void)state;
    const tr_ops *fast[3];
    fast_variants(fast);
    const group_case *c = &cases[4];
    group g;
    make_group(&g, c);
    results r = run_group(fast[0], c, &g);
    float *dq = filled(g.rows * g.wide, 11, 1.0f), *dk = filled(g.rows * g.narrow, 12, 1.0f);
    float *dv = filled(g.rows * g.narrow, 13, 1.0f);
    float *q0 = copy_of(dq, g.rows * g.wide), *k0 = copy_of(dk, g.rows * g.narrow);
    float *v0 = copy_of(dv, g.rows * g.narrow),
          *work = buffer(fast[0]->group_attention_work(&c->shape, &g.layout, true));
    fast[0]->group_attention_backward(dq, dk, dv, g.dout, r.o, r.lse, g.q, g.k, g.v, &c->shape, &g.layout, work);
    for (int64_t i = 0; i < g.rows * g.wide; i++) {
        assert_true(dq[i] == q0[i] + r.dq[i]);
    }
    for (int64_t i = 0; i < g.rows * g.narrow; i++) {
        assert_true(dk[i] == k0[i] + r.dk[i] && dv[i] == v0[i] + r.dv[i]);
    }
    release();
}

/* Each response with the prompt alone gives the bits that it has among the others. */
static void test_group_alone(void **state)
{
    (void)state;
    const tr_ops *fast[3];
    int variants = fast_variants(fast);
    for (int i = 0; i < CASES; i++) {
        const group_case *c = &cases[i];
        const tr_ops *ops = fast[variants - 1];
        group g;
        make_group(&g, c);
        results all = run_group(ops, c, &g);
        for (int64_t r = 0; r < c->responses; r++) {
            int64_t rows = c->prompt + c->length[r], start[2] = {c->prompt, rows};
            tr_layout layout = {c->prompt, 1, start};
            float *x[3];
            const float *from[3] = {g.q, g.k, g.v};
            for (int t = 0; t < 3; t++) {
                int64_t width = t == 0 ? g.wide : g.narrow;
                x[t] = buffer(rows * width);
                memcpy(x[t], from[t], (size_t)(c->prompt * width) * sizeof(float));
                memcpy(x[t] + c->prompt * width, from[t] + g.start[r] * width,
                       (size_t)(c->length[r] * width) * sizeof(float));
            }
            float *o = buffer(rows * g.wide), *work = buffer(ops->group_attention_work(&c->shape, &layout, true));
            ops->group_attention_forward(o, NULL, x[0], x[1], x[2], &c->shape, &layout, work);
            same_bits("prompt", ops->name, o, all.o, c->prompt * g.wide);
            same_bits("response", ops->name, o + c->prompt * g.wide, all.o + g.start[r] * g.wide,
                      c->length[r] * g.wide);
        }
        release();
    }
}

/* Two groups decode together, token by token, in batches that change as responses end; every row must have the bits
 * of the packed forward. */
static void test_decode(void **state)
{
    (void)state;
    const tr_ops *fast[3];
    int variants = fast_variants(fast);
    for (int i = 0; i < CASES; i++) {
        const group_case *c = &cases[i];
        group g;
        make_group(&g, c);
        results packed = run_group(fast[0], c, &g);
        const tr_ops *ops = fast[i % variants];
        tr_threads_set(1 + i % 3);
        tr_kv kv[8]; /* 0 the prompt, 1.. the responses, 7 the prompt again, as another group has it */
        for (int s = 0; s < 8; s++) {
            int64_t length = s == 0 || s == 7 ? c->prompt : s <= c->responses ? c->length[s - 1] : 0;
            kv[s].capacity = (length + 15) / 16 * 16;
            kv[s].k = zeros(kv[s].capacity * g.narrow);
            kv[s].v = zeros(kv[s].capacity * g.narrow);
        }
        int64_t half = c->prompt / 2; /* the prompt in two pieces, as prefill in chunks would write it */
        ops->kv_write(&kv[0], 0, g.k, g.v, half, &c->shape);
        ops->kv_write(&kv[0], half, g.k + half * g.narrow, g.v + half * g.narrow, c->prompt - half, &c->shape);
        ops->kv_write(&kv[7], 0, g.k, g.v, c->prompt, &c->shape);
        for (int64_t token = 0;; token++) {
            tr_decode_row what[12];
            int64_t row[12], rows = 0;
            for (int64_t r = 0; r < c->responses; r++) {
                if (token < c->length[r]) {
                    row[rows] = g.start[r] + token;
                    ops->kv_write(&kv[r + 1], token, g.k + row[rows] * g.narrow, g.v + row[rows] * g.narrow, 1,
                                  &c->shape);
                    what[rows++] = (tr_decode_row){&kv[r % 2 ? 7 : 0], &kv[r + 1], c->prompt, token + 1};
                }
            }
            if (rows == 0) {
                break;
            }
            float *q = buffer(rows * g.wide), *o = buffer(rows * g.wide);
            for (int64_t r = 0; r < rows; r++) {
                memcpy(q + r * g.wide, g.q + row[r] * g.wide, (size_t)g.wide * sizeof *q);
            }
            float *work = buffer(ops->decode_attention_work(&c->shape, rows));
            ops->decode_attention_forward(o, q, what, rows, &c->shape, work);
            for (int64_t r = 0; r < rows; r++) {
                same_bits("decode", ops->name, o + r * g.wide, packed.o + row[r] * g.wide, g.wide);
            }
            if (token == 0) {
                tr_reference_table.decode_attention_forward(o, q, what, rows, &c->shape, work);
                for (int64_t r = 0; r < rows; r++) {
                    close_to("decode reference", "reference", o + r * g.wide, packed.o + row[r] * g.wide, g.wide,
                             score_error(&c->shape));
                }
            }
            check_guards();
            while (buffers.used > 0 &&
                   buffers.base[buffers.used - 1] + GUARD != q) { /* q, o and work of this token */
                free(buffers.base[--buffers.used]);
            }
            free(buffers.base[--buffers.used]);
        }
        release();
    }
}

/* ---- segments ---- */

/* Windows around a tile of keys; then whole frames of several tiles. */
static const int32_t windows[] = {0, 1, 17, 32, 96, 161, 224}, frames[] = {0, 127, 255, 384, 577};
static const int32_t *segment_ends = windows;
static const tr_attention_shape segment_shapes[] = {{4, 4, 16, 0.25f}, {2, 2, 80, 0.1118f}, {3, 3, 20, 0.2236f}};

static results run_segments(const tr_ops *ops, const tr_attention_shape *shape, int64_t segments, const float *qkv,
                            const float *dout, float *dqkv)
{
    int64_t rows = segment_ends[segments], width = shape->heads * shape->head_dim, stride = 3 * width;
    results r = {.o = buffer(rows * width), .lse = buffer(rows * shape->heads)};
    memset(dqkv, 0, (size_t)(rows * stride) * sizeof *dqkv);
    float *work = buffer(ops->segment_attention_work(shape, segment_ends, segments, true));
    ops->segment_attention_forward(r.o, r.lse, qkv, qkv + width, qkv + 2 * width, stride, shape, segment_ends,
                                   segments, work);
    ops->segment_attention_backward(dqkv, dqkv + width, dqkv + 2 * width, dout, r.o, r.lse, qkv, qkv + width,
                                    qkv + 2 * width, stride, shape, segment_ends, segments, work);
    return r;
}

static void test_segments(void **state)
{
    (void)state;
    const tr_ops *fast[3];
    int variants = fast_variants(fast);
    for (int i = 0; i < 6; i++) {
        const tr_attention_shape *shape = &segment_shapes[i % 3];
        segment_ends = i < 3 ? windows : frames;
        int64_t segments = i < 3 ? 6 : 4, rows = segment_ends[segments], width = shape->heads * shape->head_dim;
        float *qkv = filled(rows * 3 * width, 21, 2.0f), *dout = filled(rows * width, 22, 1.0f);
        float *expected_d = buffer(rows * 3 * width), *d = buffer(rows * 3 * width), *d0 = buffer(rows * 3 * width);
        results expected = run_segments(&tr_reference_table, shape, segments, qkv, dout, expected_d), first = {0};
        double tolerance = 2.0 * score_error(shape),
               term = 16.0 * (double)shape->scale * sqrt((double)shape->head_dim);
        for (int v = 0; v < variants; v++) {
            for (int threads = 1; threads <= thread_counts(v, variants); threads++) {
                tr_threads_set(threads);
                bool base = v == 0 && threads == 1;
                results r = run_segments(fast[v], shape, segments, qkv, dout, base ? d0 : d);
                if (base) {
                    first = r;
                    close_to("segment o", fast[v]->name, r.o, expected.o, rows * width, tolerance);
                    close_to("segment lse", fast[v]->name, r.lse, expected.lse, rows * shape->heads,
                             tolerance + 8 * EPS);
                    close_to("segment gradient", fast[v]->name, d0, expected_d, rows * 3 * width,
                             term * tolerance * 8.0);
                    continue;
                }
                same_bits("segment o", fast[v]->name, r.o, first.o, rows * width);
                same_bits("segment lse", fast[v]->name, r.lse, first.lse, rows * shape->heads);
                same_bits("segment gradient", fast[v]->name, d, d0, rows * 3 * width);
            }
        }
        release();
    }
}

/* ---- the reference's gradient against central differences, in f64 ---- */

static double loss_of(const double *o, const double *dout, int64_t count)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++) {
        sum += o[i] * dout[i];
    }
    return sum;
}

static void test_finite_differences(void **state)
{
    (void)state;
    const group_case small = {SHAPE(4, 2, 6, 0.41f), 5, 3, {1, 4, 2}};
    group g;
    make_group(&g, &small);
    int64_t wide = g.rows * g.wide, narrow = g.rows * g.narrow, count = wide + 2 * narrow;
    double *x = malloc((size_t)count * sizeof *x), *gradient = calloc((size_t)count, sizeof *x);
    double *o = malloc((size_t)wide * sizeof *o), *lse = malloc((size_t)(g.rows * 4) * sizeof *o), work[64];
    double *dout = widened(g.dout, wide);
    for (int segments = 0; segments < 2; segments++) { /* the group; then three segments of the same rows */
        int32_t cu[4] = {0, 1, 6, (int32_t)g.rows};
        tr_attention_shape shape = small.shape;
        int64_t kv = narrow;
        shape.kv_heads = segments ? shape.heads : shape.kv_heads;
        kv = segments ? wide : narrow;
        count = wide + 2 * kv;
        x = realloc(x, (size_t)count * sizeof *x);
        gradient = realloc(gradient, (size_t)count * sizeof *x);
        memset(gradient, 0, (size_t)count * sizeof *gradient);
        for (int64_t i = 0; i < count; i++) {
            x[i] = 4.0 * tr_random_uniform(3, (uint32_t)i, 0, 0, 0) - 2.0;
        }
        for (int64_t i = -1; i < count; i++) {
            double kept = i < 0 ? 0.0 : x[i], loss[2] = {0};
            for (int side = 0; side < 2; side++) {
                if (i >= 0) {
                    x[i] = kept + (side ? 1e-5 : -1e-5);
                }
                if (segments) {
                    tr_reference64_segment_attention_forward(o, lse, x, x + wide, x + wide + kv, g.wide, &shape, cu,
                                                             3, work);
                } else {
                    tr_reference64_group_attention_forward(o, lse, x, x + wide, x + wide + kv, &shape, &g.layout,
                                                           work);
                }
                loss[side] = loss_of(o, dout, wide);
            }
            if (i >= 0) {
                x[i] = kept;
                double numeric = (loss[1] - loss[0]) / 2e-5;
                if (!(fabs(numeric - gradient[i]) <= 1e-7 * (1.0 + fabs(numeric)))) {
                    fail_msg("gradient %ld: %.12g, differences give %.12g", (long)i, gradient[i], numeric);
                }
            } else if (segments) {
                tr_reference64_segment_attention_backward(gradient, gradient + wide, gradient + wide + kv, dout, o,
                                                          lse, x, x + wide, x + wide + kv, g.wide, &shape, cu, 3,
                                                          work);
            } else {
                tr_reference64_group_attention_backward(gradient, gradient + wide, gradient + wide + kv, dout, o,
                                                        lse, x, x + wide, x + wide + kv, &shape, &g.layout, work);
            }
        }
    }
    free(x);
    free(gradient);
    free(o);
    free(lse);
    free(dout);
    release();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_group_reference),
        cmocka_unit_test(test_accumulates),
        cmocka_unit_test(test_group_alone),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
