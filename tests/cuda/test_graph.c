/* test_graph.c: lists of launches that are collected, recorded and replayed: the results are those of the launches
 * one by one; what was staged anew is what a replay reads; what differs is another graph. */
#include "cuda/cuda_fixture.h"

#ifndef TEMPR1_TEST_GPU
#include "cuda/emulate.h"
#endif

enum { COUNT = 300, D = 7, PICKED = 5 };

static const tr_ops *ops_;

static tr_cuda_graphs counts(void)
{
    tr_cuda_graphs c;
    tr_cuda_graphs_describe(&c);
    return c;
}

static float *counting(int64_t count)
{
    float *x = buffer(count);
    for (int64_t i = 0; i < count; i++) {
        x[i] = (float)i;
    }
    return x;
}

static void test_a_list_is_replayed(void **state)
{
    (void)state;
    ops_ = table_of(TR_F32);
    float *y = on_device(counting(COUNT), COUNT), *x = on_device(counting(COUNT), COUNT);
    const tr_cuda_graphs before = counts();
    for (int k = 1; k <= 5; k++) {
        ops_->memory->collect();
        ops_->add(y, x, COUNT);
        ops_->scale(y, 0.5f, COUNT);
        ops_->memory->copy(y, y, sizeof *y); /* nothing, but part of the list */
        float *host = from_device(y, COUNT);
        for (int64_t i = 0; i < COUNT; i++) { /* (y + x) / 2 stays x */
            assert_true(host[i] == (float)i);
        }
    }
    const tr_cuda_graphs after = counts();
    assert_int_equal(after.plain - before.plain, 1);       /* the first time */
    assert_int_equal(after.recorded - before.recorded, 1); /* the second */
    assert_int_equal(after.replayed - before.replayed, 4);
    assert_int_equal(after.refused - before.refused, 0);
    finish();
}

/* The index is staged: the graph is the same, what it reads is not. Another tensor is another graph. */
static void test_what_is_staged_changes(void **state)
{
    (void)state;
    ops_ = table_of(TR_F32);
    float *src = on_device(counting(COUNT * D), COUNT * D), *dst = on_device(NULL, PICKED * D),
          *other = on_device(NULL, PICKED * D);
    const tr_cuda_graphs before = counts();
    for (int32_t k = 0; k < 12; k++) {
        float *to = k % 3 == 2 ? other : dst;
        const int32_t index[PICKED] = {k, 2 * k, 299 - k, 7, k % 2};
        ops_->memory->collect();
        ops_->rows_gather(to, src, index, PICKED, D);
        float *host = from_device(to, PICKED * D);
        for (int i = 0; i < PICKED * D; i++) {
            assert_true(host[i] == (float)(index[i / D] * D + i % D));
        }
    }
    const tr_cuda_graphs after = counts();
    assert_int_equal(after.recorded - before.recorded, 2);
    assert_int_equal(after.plain - before.plain, 2);
    assert_int_equal(after.replayed - before.replayed, 10);
    finish();
}

/* More lists than are kept: the oldest leave, and come again. */
static void test_the_cache_has_a_limit(void **state)
{
    (void)state;
    ops_ = table_of(TR_F32);
    float *y = on_device(counting(COUNT), COUNT), *x = on_device(counting(COUNT), COUNT);
    const tr_cuda_graphs before = counts();
    double sum = 0;
    for (int round = 0; round < 2; round++) {
        for (int64_t n = 1; n <= 80; n++) {
            for (int k = 0; k < 3; k++) {
                ops_->memory->collect();
                ops_->add(y, x, n);
                ops_->memory->read(&(float){0}, y, sizeof *y);
                sum += n == 80;
            }
        }
    }
    float *host = from_device(y, COUNT);
    for (int64_t i = 0; i < COUNT; i++) { /* element i is in every n above it */
        const int64_t added = i < 80 ? 6 * (80 - i) : 0;
        assert_true(host[i] == (float)(i + added * i));
    }
    const tr_cuda_graphs after = counts();
    assert_int_equal(after.graphs, 64);
    assert_true(after.recorded - before.recorded > 80 && sum == 6);
    finish();
}

/* A list whose operations need more working memory than there was, and one with more staged than the region holds:
 * executed as far as they go, then one by one. */
static void test_what_does_not_fit(void **state)
{
    (void)state;
    ops_ = table_of(TR_BF16);
    enum { OUT = 64, IN = 128, MANY = 60000, TABLES = 25 }; /* 720 KB staged for each table */
    const int64_t rows = 40;
    float *w = counting(OUT * IN), *x = counting(rows * IN);
    for (int64_t i = 0; i < rows * IN; i++) {
        x[i] = (float)(i % 5);
        w[i % (OUT * IN)] = (float)(i % 3);
    }
    const weight weights = make_weight(ops_, TR_BF16, OUT, IN, w);
    float *on = on_device(x, rows * IN), *want = on_device(NULL, rows * OUT), *y = on_device(NULL, rows * OUT);
    ops_->linear_forward(want, on, &weights.device, NULL, rows);
    int32_t *positions = calloc(3 * MANY, sizeof *positions);
    float *cosine = on_device(NULL, MANY), *sine = on_device(NULL, MANY);
    assert_non_null(positions);
    for (int k = 0; k < 3; k++) {
        ops_->memory->collect();
        ops_->memory->zero(y, (size_t)(rows * OUT) * sizeof *y);
        ops_->linear_forward(y, on, &weights.device, NULL, rows);
        for (int i = 0; i < TABLES; i++) {
            positions[MANY - 1] = i;
            ops_->rope_mrope_table(cosine, sine, positions, MANY, 2, (const int32_t[]){1, 0, 0}, 10.0);
        }
        float *got = from_device(y, rows * OUT), *host = from_device(want, rows * OUT);
        assert_memory_equal(got, host, (size_t)(rows * OUT) * sizeof *got);
        host = from_device(cosine, MANY);
        assert_true(host[0] == 1 && fabs((double)host[MANY - 1] - cos(TABLES - 1)) < 1e-6);
    }
    free(positions);
    finish();
}

static void test_graphs_can_be_turned_off(void **state)
{
    (void)state;
    ops_ = table_of(TR_F32);
    float *y = on_device(counting(COUNT), COUNT);
    setenv("TEMPR1_CUDA_GRAPHS", "0", 1);
    const tr_cuda_graphs before = counts();
    assert_false(before.on);
    for (int k = 0; k < 3; k++) {
        ops_->memory->collect();
        ops_->scale(y, 2.0f, COUNT);
        from_device(y, COUNT);
    }
    const tr_cuda_graphs after = counts();
    unsetenv("TEMPR1_CUDA_GRAPHS");
    assert_true(counts().on);
    assert_true(after.replayed == before.replayed && after.plain == before.plain);
    assert_true(from_device(y, COUNT)[3] == 24);
    finish();
}

#ifndef TEMPR1_TEST_GPU
/* A device that does not record: one by one, counted once, with the reason, and never tried again. */
static void test_a_refusal_is_no_error(void **state)
{
    (void)state;
    ops_ = table_of(TR_F32);
    float *y = on_device(counting(COUNT), COUNT);
    const tr_cuda_graphs before = counts();
    tr_emulated_refuse_graphs(true);
    for (int k = 0; k < 4; k++) {
        ops_->memory->collect();
        ops_->scale(y, 2.0f, COUNT);
        from_device(y, COUNT);
    }
    tr_emulated_refuse_graphs(false);
    const tr_cuda_graphs after = counts();
    assert_int_equal(after.refused - before.refused, 1);
    assert_int_equal(after.plain - before.plain, 4);
    assert_non_null(strstr(after.why, "told to refuse"));
    assert_true(from_device(y, COUNT)[3] == 48);
    finish();
}

/* A replay launches what was recorded and nothing else. */
static void test_a_replay_launches_the_same(void **state)
{
    (void)state;
    ops_ = table_of(TR_F32);
    float *y = on_device(counting(COUNT), COUNT), *x = on_device(counting(COUNT), COUNT);
    for (int k = 0; k < 4; k++) {
        const int64_t before = tr_emulated_launches();
        ops_->memory->collect();
        for (int i = 0; i < 9; i++) {
            ops_->add(y, x, COUNT);
        }
        assert_int_equal(tr_emulated_launches(), before); /* nothing yet */
        from_device(y, 1);
        assert_int_equal(tr_emulated_launches(), before + 9);
    }
    finish();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_list_is_replayed),    cmocka_unit_test(test_what_is_staged_changes),
        cmocka_unit_test(test_what_does_not_fit),     cmocka_unit_test(test_graphs_can_be_turned_off),
#ifndef TEMPR1_TEST_GPU
        cmocka_unit_test(test_a_refusal_is_no_error), cmocka_unit_test(test_a_replay_launches_the_same),
#endif
        cmocka_unit_test(test_the_cache_has_a_limit), /* the last: it fills the cache */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
