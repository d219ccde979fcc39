/* test_attention.c: the GPU's attention, in f32 (the CPU's bits forward) and in bf16 on the tensor cores, and what
 * the engine promises of both: decoding, the packed forward, a response alone or among others give the same bits.
 */
#include "cuda/cuda_fixture.h"

#define HALF_EPS 0x1p-9 /* half a unit in the last place of bf16 */

typedef struct group_case {
    tr_attention_shape shape;
    int64_t prompt, responses;
    int64_t length[5];
} group_case;

/* Around tiles of 64 keys, splits of 256, blocks of 64 virtual rows, padded heads of 32, 80 and 128. */
static const group_case cases[] = {
    {{4, 2, 16, 0.25f}, 1, 3, {1, 2, 3}}, {{2, 1, 32, 0.17677f}, 15, 2, {16, 17}},
    {{6, 1, 24, 0.2f}, 17, 2, {64, 5}},   {{3, 1, 80, 0.1118f}, 63, 3, {63, 1, 7}},
    {{7, 1, 64, 0.125f}, 64, 2, {65, 2}}, {{8, 2, 128, 0.08838f}, 65, 2, {20, 30}},
    {{2, 2, 34, 0.17f}, 129, 2, {1, 20}}, {{2, 1, 128, 0.08838f}, 255, 2, {3, 2}},
    {{2, 1, 16, 0.25f}, 256, 1, {3}},     {{2, 1, 16, 0.25f}, 257, 2, {3, 258}},
    {{4, 4, 2, 0.7f}, 33, 1, {9}},        {{3, 3, 16, 0.25f}, 70, 0, {0}},
    {{2, 1, 16, 0.25f}, 0, 2, {5, 66}},
};
enum { CASES = sizeof cases / sizeof *cases };

typedef struct group {
    tr_layout layout;
    int64_t start[8], rows, wide, narrow, heads;
    float *q, *k, *v, *dout;     /* host */
    float *gq, *gk, *gv, *gdout; /* device */
} group;

static void make_group(group *g, const group_case *c, bool narrow)
{
    g->start[0] = c->prompt;
    for (int64_t r = 0; r < c->responses; r++) {
        g->start[r + 1] = g->start[r] + c->length[r];
    }
    g->layout = (tr_layout){c->prompt, c->responses, g->start};
    g->rows = g->start[c->responses];
    g->heads = c->shape.heads;
    g->wide = c->shape.heads * c->shape.head_dim;
    g->narrow = c->shape.kv_heads * c->shape.head_dim;
    g->q = filled(g->rows * g->wide, 1, 2.0f);
    g->k = filled(g->rows * g->narrow, 2, 2.0f);
    g->v = filled(g->rows * g->narrow, 3, 1.0f);
    g->dout = filled(g->rows * g->wide, 4, 1.0f);
    if (narrow) {
        rounded(g->q, g->rows * g->wide), rounded(g->k, g->rows * g->narrow);
        rounded(g->v, g->rows * g->narrow), rounded(g->dout, g->rows * g->wide);
    }
    g->gq = on_device(g->q, g->rows * g->wide);
    g->gk = on_device(g->k, g->rows * g->narrow);
    g->gv = on_device(g->v, g->rows * g->narrow);
    g->gdout = on_device(g->dout, g->rows * g->wide);
}

/* As in tests/tensor/test_attention.c. */
static double score_error(const tr_attention_shape *s)
{
    return (6.0 * sqrt((double)s->head_dim) + 12.0) * EPS * 4.0 * (double)s->scale * sqrt((double)s->head_dim) +
           16.0 * EPS;
}

typedef struct results {
    float *o, *lse, *dq, *dk, *dv; /* host */
} results;

static results on_cpu(const tr_ops *ops, const group_case *c, const group *g, const float *dout)
{
    results r = {buffer(g->rows * g->wide), buffer(g->rows * g->heads), zeros(g->rows * g->wide),
                 zeros(g->rows * g->narrow), zeros(g->rows * g->narrow)};
    float *work = buffer(ops->group_attention_work(&c->shape, &g->layout, true));
    ops->group_attention_forward(r.o, r.lse, g->q, g->k, g->v, &c->shape, &g->layout, work);
    ops->group_attention_backward(r.dq, r.dk, r.dv, dout, r.o, r.lse, g->q, g->k, g->v, &c->shape, &g->layout,
                                  work);
    return r;
}

/* The forward, and the backward from given outputs (NULL: its own) added to `base` everywhere. */
static results run_group(const tr_ops *ops, const group_case *c, const group *g, const results *given, float base)
{
    const int64_t wide = g->rows * g->wide, narrow = g->rows * g->narrow, heads = g->rows * g->heads;
    const int64_t n = wide > narrow ? wide : narrow;
    float *start = buffer(n);
    for (int64_t i = 0; i < n; i++) {
        start[i] = base;
    }
    float *o = on_device(NULL, wide), *lse = on_device(NULL, heads), *dq = on_device(start, wide);
    float *dk = on_device(start, narrow), *dv = on_device(start, narrow);
    float *work = on_device(NULL, ops->group_attention_work(&c->shape, &g->layout, true));
    ops->group_attention_forward(o, lse, g->gq, g->gk, g->gv, &c->shape, &g->layout, work);
    results r = {.o = from_device(o, wide), .lse = from_device(lse, heads)};
    if (given) {
        tr_cuda_write(o, given->o, (size_t)wide * sizeof *o);
        tr_cuda_write(lse, given->lse, (size_t)heads * sizeof *lse);
    }
    ops->group_attention_backward(dq, dk, dv, g->gdout, o, lse, g->gq, g->gk, g->gv, &c->shape, &g->layout, work);
    r.dq = from_device(dq, wide);
    r.dk = from_device(dk, narrow);
    r.dv = from_device(dv, narrow);
    return r;
}

static void test_f32(void **state)
{
    (void)state;
    const tr_ops *ops = table_of(TR_F32), *cpu = cpu_table();
    for (int i = 0; i < CASES; i++) {
        const group_case *c = &cases[i];
        group g;
        make_group(&g, c, false);
        results expected = on_cpu(cpu, c, &g, g.dout), r = run_group(ops, c, &g, NULL, 0.0f);
        same_bits("o", ops->name, r.o, expected.o, g.rows * g.wide);
        same_bits("lse", ops->name, r.lse, expected.lse, g.rows * g.heads);
        const double many = (double)(g.rows * g.heads / c->shape.kv_heads), tolerance = score_error(&c->shape);
        const double term = 8.0 * (double)c->shape.scale * sqrt((double)c->shape.head_dim);
        close_to("dq", ops->name, r.dq, expected.dq, g.rows * g.wide, 2.0 * term * tolerance);
        close_to("dk", ops->name, r.dk, expected.dk, g.rows * g.narrow, 2.0 * term * tolerance * sqrt(many));
        close_to("dv", ops->name, r.dv, expected.dv, g.rows * g.narrow, 2.0 * tolerance * sqrt(many));
        results twice = run_group(ops, c, &g, NULL, 0.0f);
        same_bits("dk again", ops->name, r.dk, twice.dk, g.rows * g.narrow);
        finish();
    }
}

/* Weights and slopes are rounded to bf16 once, everything else is f32 or exact: |do v| stays below 6 deviations of
 * a sum of head_dim products, sums over queries are bounded by the sum of their weights, which dv gives for do = 1.
 */
static void test_bf16(void **state)
{
    (void)state;
    const tr_ops *ops = table_of(TR_BF16), *plain = &tr_reference_table;
    for (int i = 0; i < CASES; i++) {
        const group_case *c = &cases[i];
        group g;
        make_group(&g, c, true);
        float *ones = buffer(g.rows * g.wide);
        for (int64_t j = 0; j < g.rows * g.wide; j++) {
            ones[j] = 1.0f;
        }
        results expected = on_cpu(plain, c, &g, g.dout), weights = on_cpu(plain, c, &g, ones);
        results r = run_group(ops, c, &g, &expected, 0.5f);
        const double f32 = score_error(&c->shape);
        close_to("o", ops->name, r.o, expected.o, g.rows * g.wide, 1.01 * HALF_EPS + f32);
        close_to("lse", ops->name, r.lse, expected.lse, g.rows * g.heads, f32 + 8.0 * EPS);
        const double slope = (double)c->shape.scale * 2.0 * (2.0 * sqrt((double)c->shape.head_dim) + 1.0);
        for (int64_t j = 0; j < g.rows * g.wide; j++) {
            expected.dq[j] += 0.5f;
        }
        close_to("dq", ops->name, r.dq, expected.dq, g.rows * g.wide, slope * 2.0 * (1.01 * HALF_EPS + f32) + EPS);
        for (int64_t j = 0; j < g.rows * g.narrow; j++) {
            const double sum = fabs((double)weights.dv[j]) + 1.0, unit = 1.01 * HALF_EPS + 4.0 * f32;
            if (!(fabs((double)r.dv[j] - (double)expected.dv[j] - 0.5) <= sum * unit) ||
                !(fabs((double)r.dk[j] - (double)expected.dk[j] - 0.5) <= sum * slope * 2.0 * unit)) {
                fail_msg("case %d: dk, dv %ld: %g, %g; expected %g, %g + 0.5", i, (long)j, (double)r.dk[j],
                         (double)r.dv[j], (double)expected.dk[j], (double)expected.dv[j]);
            }
        }
        results twice = run_group(ops, c, &g, &expected, 0.5f);
        same_bits("o again", ops->name, r.o, twice.o, g.rows * g.wide);
        same_bits("dv again", ops->name, r.dv, twice.dv, g.rows * g.narrow);
        finish();
    }
}

/* Each response with the prompt alone has the bits that it has among the others. */
static void alone(const tr_ops *ops)
{
    for (int i = 0; i < CASES; i++) {
        const group_case *c = &cases[i];
        group g;
        make_group(&g, c, false);
        results all = run_group(ops, c, &g, NULL, 0.0f);
        for (int64_t r = 0; r < c->responses; r++) {
            group_case one = {c->shape, c->prompt, 1, {c->length[r]}};
            group h;
            make_group(&h, &one, false);
            const int64_t at = g.start[r], n = c->length[r];
            tr_cuda_copy(h.gq, g.gq, (size_t)(c->prompt * g.wide) * sizeof(float));
            tr_cuda_copy(h.gq + c->prompt * g.wide, g.gq + at * g.wide, (size_t)(n * g.wide) * sizeof(float));
            for (int t = 0; t < 2; t++) {
                float *to = t ? h.gv : h.gk, *from = t ? g.gv : g.gk;
                tr_cuda_copy(to, from, (size_t)(c->prompt * g.narrow) * sizeof(float));
                tr_cuda_copy(to + c->prompt * g.narrow, from + at * g.narrow,
                             (size_t)(n * g.narrow) * sizeof(float));
            }
            results single = run_group(ops, &one, &h, NULL, 0.0f);
            same_bits("prompt", ops->name, single.o, all.o, c->prompt * g.wide);
            same_bits("response", ops->name, single.o + c->prompt * g.wide, all.o + at * g.wide, n * g.wide);
        }
        finish();
    }
}

/* All responses advance together, token by token, until the last one ends; neighbours share their prompt's cache.
 */
static void decoding(const tr_ops *ops)
{
    for (int i = 0; i < CASES; i++) {
        const group_case *c = &cases[i];
        group g;
        make_group(&g, c, false);
        results packed = run_group(ops, c, &g, NULL, 0.0f);
        tr_kv kv[8];
        for (int s = 0; s < 7; s++) { /* 0 and 6: the prompt, as two groups have it */
            const int64_t length = s == 0 || s == 6 ? c->prompt : s <= c->responses ? c->length[s - 1] : 0;
            kv[s].capacity = (length + 15) / 16 * 16;
            kv[s].k = on_device(NULL, kv[s].capacity * g.narrow);
            kv[s].v = on_device(NULL, kv[s].capacity * g.narrow);
            tr_cuda_zero(kv[s].k, (size_t)(kv[s].capacity * g.narrow) * sizeof(float));
            tr_cuda_zero(kv[s].v, (size_t)(kv[s].capacity * g.narrow) * sizeof(float));
        }
        const int64_t half = c->prompt / 2;
        ops->kv_write(&kv[0], 0, g.gk, g.gv, half, &c->shape);
        ops->kv_write(&kv[0], half, g.gk + half * g.narrow, g.gv + half * g.narrow, c->prompt - half, &c->shape);
        ops->kv_write(&kv[6], 0, g.gk, g.gv, c->prompt, &c->shape);
        float *q = on_device(NULL, 5 * g.wide), *o = on_device(NULL, 5 * g.wide);
        float *k = on_device(NULL, 5 * g.narrow), *v = on_device(NULL, 5 * g.narrow);
        float *work = on_device(NULL, ops->decode_attention_work(&c->shape, 5)),
              *back = malloc((size_t)(5 * g.wide) * 4);
        for (int64_t token = 0, rows = 1; rows > 0; token++) {
            tr_decode_row what[5];
            int64_t row[5];
            rows = 0;
            for (int64_t r = 0; r < c->responses; r++) {
                if (token < c->length[r]) {
                    row[rows] = g.start[r] + token;
                    what[rows] = (tr_decode_row){&kv[r < 2 ? 0 : 6], &kv[r + 1], c->prompt, token + 1};
                    tr_cuda_copy(q + rows * g.wide, g.gq + row[rows] * g.wide, (size_t)g.wide * sizeof *q);
                    tr_cuda_copy(k + rows * g.narrow, g.gk + row[rows] * g.narrow, (size_t)g.narrow * sizeof *k);
                    tr_cuda_copy(v + rows * g.narrow, g.gv + row[rows] * g.narrow, (size_t)g.narrow * sizeof *v);
                    rows++;
                }
            }
            if (!rows) {
                break;
            }
            ops->kv_append(what, k, v, rows, &c->shape);
            ops->decode_attention_forward(o, q, what, rows, &c->shape, work);
            tr_cuda_read(back, o, (size_t)(rows * g.wide) * sizeof *o);
            for (int64_t r = 0; r < rows; r++) {
                same_bits("decode", ops->name, back + r * g.wide, packed.o + row[r] * g.wide, g.wide);
            }
        }
        free(back);
        finish();
    }
}

static void test_alone(void **state)
{
    (void)state;
    alone(table_of(TR_F32));
    alone(table_of(TR_BF16));
}
static void test_decode(void **state)
{
    (void)state;
    decoding(table_of(TR_F32));
    decoding(table_of(TR_BF16));
}

/* ---- vision ---- */

static const int32_t ends[] = {0, 1, 17, 32, 96, 161, 224, 524};
static const tr_attention_shape shapes[] = {{4, 4, 16, 0.25f}, {2, 2, 80, 0.1118f}, {3, 3, 20, 0.2236f}};

static void test_segments(void **state)
{
    (void)state;
    const tr_ops *plain = &tr_reference_table, *cpu = cpu_table();
    for (int i = 0; i < 6; i++) {
        const bool narrow = i >= 3;
        const tr_ops *ops = table_of(narrow ? TR_BF16 : TR_F32);
        const tr_attention_shape *s = &shapes[i % 3];
        const int64_t segments = narrow ? 7 : 6, rows = ends[segments], width = s->heads * s->head_dim,
                      stride = 3 * width;
        float *qkv = filled(rows * stride, 21, 2.0f), *dout = filled(rows * width, 22, 1.0f),
              *d = zeros(rows * stride);
        if (narrow) {
            rounded(qkv, rows * stride), rounded(dout, rows * width);
        }
        float *o = buffer(rows * width), *lse = buffer(rows * s->heads);
        const tr_ops *host = narrow ? plain : cpu;
        float *work = buffer(host->segment_attention_work(s, ends, segments, true));
        host->segment_attention_forward(o, lse, qkv, qkv + width, qkv + 2 * width, stride, s, ends, segments, work);
        host->segment_attention_backward(d, d + width, d + 2 * width, dout, o, lse, qkv, qkv + width,
                                         qkv + 2 * width, stride, s, ends, segments, work);
        float *gd = on_device(NULL, rows * stride), *go = on_device(NULL, rows * width),
              *glse = on_device(NULL, rows * s->heads);
        float *gqkv = on_device(qkv, rows * stride), *gdout = on_device(dout, rows * width);
        float *gwork = on_device(NULL, ops->segment_attention_work(s, ends, segments, true));
        tr_cuda_zero(gd, (size_t)(rows * stride) * sizeof *gd);
        ops->segment_attention_forward(go, glse, gqkv, gqkv + width, gqkv + 2 * width, stride, s, ends, segments,
                                       gwork);
        const double f32 = 2.0 * score_error(s),
                     slope = (double)s->scale * 2.0 * (2.0 * sqrt((double)s->head_dim) + 1.0);
        float *seen = from_device(go, rows * width), *seen_lse = from_device(glse, rows * s->heads);
        tr_cuda_write(go, o, (size_t)(rows * width) * sizeof *o);
        tr_cuda_write(glse, lse, (size_t)(rows * s->heads) * sizeof *lse);
        ops->segment_attention_backward(gd, gd + width, gd + 2 * width, gdout, go, glse, gqkv, gqkv + width,
                                        gqkv + 2 * width, stride, s, ends, segments, gwork);
        if (narrow) {
            close_to("segment o", ops->name, seen, o, rows * width, 2.0 * (1.01 * HALF_EPS + f32)); /* |v| <= 2 */
            close_to("segment lse", ops->name, seen_lse, lse, rows * s->heads, f32 + 8.0 * EPS);
            /* the weights that a key collects from its segment's rows stay below 16 in these inputs */
            close_to("segment gradient", ops->name, from_device(gd, rows * stride), d, rows * stride,
                     16.0 * (slope * 4.0 + 1.0) * (1.01 * HALF_EPS + 4.0 * f32));
        } else {
            same_bits("segment o", ops->name, seen, o, rows * width);
            same_bits("segment lse", ops->name, seen_lse, lse, rows * s->heads);
            close_to("segment gradient", ops->name, from_device(gd, rows * stride), d, rows * stride,
                     16.0 * (double)s->scale * sqrt((double)s->head_dim) * f32 * 8.0);
        }
        finish();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),    cmocka_unit_test(test_bf16),     cmocka_unit_test(test_alone),
        cmocka_unit_test(test_decode), cmocka_unit_test(test_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
