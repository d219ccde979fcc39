/* test_optimiser.c: AdamW over a table of parameters, clipping, decay by kind: equal to torch on the goldens. */
#include "support/golden.h"

#include "rl/optimiser.h"
#include "tensor/select.h"

#include <math.h>

/* A table of three vectors with the golden's start values; masters are their own compute copies, or bf16 ones. */
typedef struct bench {
    tr_model model;
    tr_param items[3];
    uint16_t narrow[3][64];
} bench;

/* Values of the golden into the backend's memory. */
static void put(const tr_param *p, float *to, const void *values, bool bf16)
{
    float x[64];
    assert_in_range(p->elements, 1, 64);
    tr_convert(x, TR_F32, values, bf16 ? TR_BF16 : TR_F32, p->elements);
    p->memory->write(to, x, (size_t)p->elements * sizeof *x);
}

static void start(bench *b, const golden *g, bool bf16)
{
    memset(b, 0, sizeof *b);
    golden_ok(tr_ops_select(GOLDEN_DEVICE ? GOLDEN_DEVICE : "cpu", NULL, TR_F32, &b->model.ops, &b->model.host_ops,
                            &err_));
    const tr_memory *memory = b->model.ops->memory;
    b->model.params.items = b->items;
    b->model.params.count = 3;
    b->model.dtype = bf16 ? TR_BF16 : TR_F32;
    for (int i = 0; i < 3; i++) {
        char key[64];
        size_t count;
        tr_param *p = &b->items[i];
        snprintf(key, sizeof key, "in/param_%d", i);
        const void *values = golden_tensor(g, key, &count);
        p->trainable = p->decay = true;
        p->out = p->elements = (int64_t)count;
        p->in = 1;
        p->memory = memory;
        void **const all[] = {(void **)&p->master, (void **)&p->gradient, (void **)&p->m, (void **)&p->v};
        for (int k = 0; k < 4; k++) {
            golden_ok(memory->take(all[k], count * sizeof(float), true, &err_));
        }
        put(p, p->master, values, bf16);
        p->value = (tr_matrix){TR_F32, p->out, 1, p->master};
    }
}

static void finish(bench *b)
{
    for (int i = 0; i < 3; i++) {
        const tr_param *p = &b->items[i];
        p->memory->give(p->master);
        p->memory->give(p->gradient);
        p->memory->give(p->m);
        p->memory->give(p->v);
    }
}

static void load_gradients(bench *b, const golden *g, int step, bool bf16)
{
    for (int i = 0; i < 3; i++) {
        char key[64];
        size_t count;
        snprintf(key, sizeof key, "in/step%d/grad_%d", step, i);
        const void *values = golden_tensor(g, key, &count);
        put(&b->items[i], b->items[i].gradient, values, bf16);
    }
}

static void check(const bench *b, const golden *g, int step, const char *what, int i, const float *x)
{
    char key[64];
    float host[64];
    b->model.ops->memory->read(host, x, (size_t)b->items[i].elements * sizeof *host);
    snprintf(key, sizeof key, "step%d/%s_%d", step, what, i);
    assert_true(golden_check(g, key, host));
}

static void run_case(const char *name, double decay, double clip, bool bf16)
{
    golden g;
    bench b;
    golden_read(&g, name);
    start(&b, &g, bf16);
    tr_optimiser o = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = decay, .clip_norm = clip};
    for (int step = 0; step < 3; step++) {
        load_gradients(&b, &g, step, bf16);
        tr_optimiser_step(&o, &b.model, 0.01, tr_optimiser_norm(&b.model));
        for (int i = 0; i < 3; i++) {
            check(&b, &g, step, bf16 ? "master" : "p", i, b.items[i].master);
            if (!bf16) {
                check(&b, &g, step, "m", i, b.items[i].m);
                check(&b, &g, step, "v", i, b.items[i].v);
            } else { /* the compute copy is the master rounded to nearest even; one unit may differ where it does */
                char key[64];
                size_t count;
                snprintf(key, sizeof key, "truth/step%d/param_%d", step, i);
                const uint16_t *truth = golden_tensor(&g, key, &count);
                float master[64];
                b.model.ops->memory->read(master, b.items[i].master, count * sizeof *master);
                tr_convert(b.narrow[i], TR_BF16, master, TR_F32, (int64_t)count);
                for (size_t k = 0; k < count; k++) {
                    assert_true(abs((int)b.narrow[i][k] - (int)truth[k]) <= 1);
                }
            }
        }
    }
    finish(&b);
    golden_free(&g);
}

static void test_equals_torch_without_decay(void **state)
{
    (void)state;
    run_case("adamw-wd0.0", 0, 1, false);
}

static void test_equals_torch_with_decay(void **state)
{
    (void)state;
    run_case("adamw-wd0.01", 0.01, 1, false);
}

static void test_equals_torch_with_masters(void **state)
{
    (void)state;
    run_case("adamw-bf16-master", 0.01, 0, true);
}

/* Two parameters of one number each: all by hand. */
static void test_decay_freezing_and_clipping(void **state)
{
    (void)state;
    float master[3] = {1, 1, 1}, gradient[3] = {3, 4, 100}, m[3] = {0}, v[3] = {0};
    tr_param items[3];
    tr_model model = {.params = {.items = items, .count = 3}};
    memset(items, 0, sizeof items);
    assert_int_equal(tr_ops_cpu(NULL, &model.ops, NULL), TR_OK);
    for (int i = 0; i < 3; i++) {
        items[i] = (tr_param){.out = 1, .in = 1, .elements = 1, .trainable = i < 2, .decay = i == 0};
        items[i].value = (tr_matrix){TR_F32, 1, 1, &master[i]};
        if (i < 2) {
            items[i].master = &master[i];
            items[i].gradient = &gradient[i];
            items[i].m = &m[i];
            items[i].v = &v[i];
        }
    }
    assert_true(tr_optimiser_norm(&model) == 5); /* the frozen one does not count */
    tr_optimiser o = {.beta1 = 0.5, .beta2 = 0.5, .eps = 1e-8, .weight_decay = 0.5, .clip_norm = 2.5};
    tr_optimiser_step(&o, &model, 0.25, 5);
    assert_int_equal(o.step, 1);
    assert_true(fabs((double)m[0] - 0.5 * 1.5) < 1e-5 &&
                fabs((double)m[1] - 0.5 * 2) < 1e-5); /* halved gradients */
    /* first step: m / bias over sqrt(v / bias) is 1; the decaying one loses lr * decay of itself before */
    assert_true(fabs((double)master[0] - (1 - 0.25 * 0.5 - 0.25)) < 1e-5);
    assert_true(fabs((double)master[1] - (1 - 0.25)) < 1e-5);
    assert_true(master[2] == 1);
    gradient[0] = NAN;
    assert_true(isnan(tr_optimiser_norm(&model)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_torch_without_decay),
        cmocka_unit_test(test_equals_torch_with_decay),
        cmocka_unit_test(test_equals_torch_with_masters),
        cmocka_unit_test(test_decay_freezing_and_clipping),
    };
    const struct CMUnitTest on_a_device[] = {cmocka_unit_test(test_equals_torch_without_decay),
                                             cmocka_unit_test(test_equals_torch_with_decay),
                                             cmocka_unit_test(test_equals_torch_with_masters)};
    return GOLDEN_DEVICE ? cmocka_run_group_tests(on_a_device, NULL, NULL)
                         : cmocka_run_group_tests(tests, NULL, NULL);
}
