/* test_stream.c: lanes: what events order is ordered whichever lane the device works at first, the staging ring
 * gives every copy what it was given, and the emulated device does find what no event orders. */
#include "cuda_fixture.h"

#ifndef TEMPR1_TEST_GPU
#include "emulate.h"
#endif

enum { COUNT = 1000, BIG = 3 << 20 };

/* Runs a test in both orders of the emulated device; once on a GPU. */
static void in_both_orders(void (*test)(const tr_ops *ops, const tr_lanes *lanes))
{
    const tr_ops *ops = table_of(TR_F32);
#ifndef TEMPR1_TEST_GPU
    tr_emulated_order(TR_OTHERS_FIRST);
    test(ops, ops->memory->lanes);
    finish();
    tr_emulated_order(TR_OTHERS_LAST);
#endif
    test(ops, ops->memory->lanes);
    finish();
}

/* What the main lane was given so far is done. */
static void settle(const tr_ops *ops)
{
    tr_error err = {0};
    assert_int_equal(ops->memory->check(&err), TR_OK);
}

static void *take_event(const tr_lanes *lanes)
{
    void *event;
    tr_error err = {0};
    assert_int_equal(lanes->event_take(&event, &err), TR_OK);
    return event;
}

static float *take_pinned(const tr_lanes *lanes, int64_t count)
{
    void *memory;
    tr_error err = {0};
    assert_int_equal(lanes->pin(&memory, (size_t)count * sizeof(float), &err), TR_OK);
    return memory;
}

static void all_are(const float *x, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++) {
        if (!(x[i] == value)) {
            fail_msg("element %ld is %g, expected %g", (long)i, (double)x[i], (double)value);
        }
    }
}

static float *constant(float value, int64_t count)
{
    float *x = buffer(count);
    for (int64_t i = 0; i < count; i++) {
        x[i] = value;
    }
    return x;
}

/* main scales x, next reads it between two events, main scales it again: next has seen the middle. */
static void ordered(const tr_ops *ops, const tr_lanes *lanes)
{
    float *x = on_device(constant(1, COUNT), COUNT), *y = on_device(constant(0, COUNT), COUNT);
    void *given = take_event(lanes), *seen = take_event(lanes);
    ops->scale(x, 2, COUNT);
    lanes->mark(given);
    lanes->use(TR_LANE_NEXT);
    lanes->wait(given);
    ops->add(y, x, COUNT);
    lanes->mark(seen);
    lanes->use(TR_LANE_MAIN);
    lanes->wait(seen);
    ops->scale(x, 2, COUNT);
    all_are(from_device(x, COUNT), COUNT, 4);
    all_are(from_device(y, COUNT), COUNT, 2);
    assert_true(lanes->passed(seen));
    lanes->event_give(given);
    lanes->event_give(seen);
}

static void test_events_order_lanes(void **state)
{
    (void)state;
    in_both_orders(ordered);
}

/* Three rings of arrays, each changed as soon as the call that takes it returns, and kernels' arguments between. */
static void through_the_ring(const tr_ops *ops, const tr_lanes *lanes)
{
    enum { PIECES = 24, PIECE = BIG / PIECES };
    float *x = on_device(NULL, BIG), *part = buffer(PIECE), *source = on_device(constant(5, 3 * COUNT), 3 * COUNT);
    float *picked = on_device(NULL, PIECES * COUNT);
    int32_t index[COUNT];
    settle(ops);
    lanes->use(TR_LANE_NEXT);
    for (int i = 0; i < PIECES; i++) {
        for (int k = 0; k < PIECE; k++) {
            part[k] = (float)(i * 3 + k % 7);
        }
        ops->memory->write(x + (int64_t)i * PIECE, part, PIECE * sizeof *part);
        for (int k = 0; k < COUNT; k++) {
            index[k] = (k + i) % (3 * COUNT);
        }
        ops->rows_gather(picked + (int64_t)i * COUNT, source, index, COUNT, 1);
    }
    float *back = buffer(BIG);
    ops->memory->read(back, x, BIG * sizeof *back);
    lanes->use(TR_LANE_MAIN);
    for (int i = 0; i < BIG; i++) {
        assert_true(back[i] == (float)(i / PIECE * 3 + i % PIECE % 7));
    }
    all_are(from_device(picked, PIECES * COUNT), PIECES * COUNT, 5);
}

static void test_the_ring_keeps_what_it_was_given(void **state)
{
    (void)state;
    in_both_orders(through_the_ring);
}

/* A pinned buffer goes to the device, is used again once its copy is done, and is filled from the device. */
static void pinned_copies(const tr_ops *ops, const tr_lanes *lanes)
{
    float *x = on_device(NULL, COUNT), *y = on_device(NULL, COUNT), *host = take_pinned(lanes, COUNT);
    void *sent = take_event(lanes);
    all_are(host, COUNT, 0);
    settle(ops);
    lanes->use(TR_LANE_LOAD);
    for (int i = 0; i < 2; i++) {
        lanes->reach(sent); /* before the first mark: at once */
        for (int k = 0; k < COUNT; k++) {
            host[k] = (float)(i + 1);
        }
        lanes->send(i ? y : x, host, COUNT * sizeof *host);
        lanes->mark(sent);
    }
    lanes->use(TR_LANE_MAIN);
    lanes->wait(sent);
    ops->add(y, x, COUNT);
    lanes->reach(sent); /* the copy has read the buffer */
    lanes->fetch(host, y, COUNT * sizeof *host);
    lanes->mark(sent);
    lanes->reach(sent);
    all_are(host, COUNT, 3);
    lanes->unpin(host);
    lanes->event_give(sent);
}

static void test_pinned_memory(void **state)
{
    (void)state;
    in_both_orders(pinned_copies);
}

#ifndef TEMPR1_TEST_GPU
/* Without the events, one order or the other gives another result: the emulation finds what is missing. */
static void test_what_no_event_orders_is_found(void **state)
{
    const tr_ops *ops = table_of(TR_F32);
    const tr_lanes *lanes = ops->memory->lanes;
    int wrong[2] = {0};
    (void)state;
    for (int order = 0; order < 2; order++) {
        tr_emulated_order(order ? TR_OTHERS_FIRST : TR_OTHERS_LAST);
        float *x = on_device(constant(1, COUNT), COUNT), *y = on_device(constant(0, COUNT), COUNT);
        float *host = take_pinned(lanes, COUNT);
        settle(ops);
        ops->scale(x, 2, COUNT);
        lanes->use(TR_LANE_NEXT);
        ops->add(y, x, COUNT); /* should wait for main */
        lanes->use(TR_LANE_MAIN);
        settle(ops);
        wrong[0] += from_device(y, COUNT)[0] != 2; /* and main for it */
        lanes->use(TR_LANE_NEXT);
        wrong[1] += from_device(y, COUNT)[0] != 2;
        host[0] = 1;
        lanes->send(y, host, sizeof *host);
        host[0] = 2; /* too early */
        assert_true(from_device(y, 1)[0] == 2);
        lanes->use(TR_LANE_MAIN);
        lanes->unpin(host);
        finish();
    }
    tr_emulated_order(TR_OTHERS_LAST);
    assert_int_equal(wrong[0], 2);
    assert_int_equal(wrong[1], 1); /* only where the second lane went first */
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_order_lanes),
        cmocka_unit_test(test_the_ring_keeps_what_it_was_given),
        cmocka_unit_test(test_pinned_memory),
#ifndef TEMPR1_TEST_GPU
        cmocka_unit_test(test_what_no_event_orders_is_found),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
