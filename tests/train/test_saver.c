/* test_saver.c: the thread beside the training: one piece of work at a time, in order, each error handed over once,
 * signals left to the training's thread. */
#include "train/saver.h"

#include "base/thread.h"
#include "support/shared.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

typedef struct piece {
    int pause_us;
    tr_status status; /* what it ends with */
    atomic_int runs, threads;
    atomic_bool over, elsewhere, open_to_signals;
    pthread_t caller;
} piece;

static tr_status do_piece(void *context, tr_error *err)
{
    piece *p = context;
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    p->open_to_signals = !sigismember(&blocked, SIGINT) || !sigismember(&blocked, SIGTERM);
    p->elsewhere = !pthread_equal(pthread_self(), p->caller);
    p->threads = tr_threads_count();
    usleep((useconds_t)p->pause_us);
    atomic_fetch_add(&p->runs, 1);
    p->over = true;
    return p->status ? tr_fail(err, p->status, "here", "piece of %d us", p->pause_us) : TR_OK;
}

static tr_saver *make(void)
{
    tr_saver *saver;
    assert_int_equal(tr_saver_create(&saver, NULL), TR_OK);
    return saver;
}

static void test_works_beside_with_one_thread_and_no_signals(void **state)
{
    (void)state;
    tr_saver *saver = make();
    piece p = {.pause_us = 50000, .caller = pthread_self()};
    tr_threads_set(3);
    assert_false(tr_saver_busy(saver));
    assert_int_equal(tr_saver_begin(saver, do_piece, &p, NULL), TR_OK);
    assert_true(tr_saver_busy(saver) || p.over);
    assert_int_equal(tr_saver_wait(saver, NULL), TR_OK);
    assert_false(tr_saver_busy(saver));
    assert_int_equal(p.runs, 1);
    assert_true(p.elsewhere);
    assert_false(p.open_to_signals);
    assert_int_equal(p.threads, 1);
    assert_int_equal(tr_threads_count(), 3); /* the caller's own are as they were */
    tr_saver_free(saver);
}

/* A second piece waits for the first; an error comes out once, from whichever call is next, and that piece is not
 * begun. */
static void test_order_and_errors(void **state)
{
    (void)state;
    tr_saver *saver = make();
    tr_error err = {0};
    piece bad = {.pause_us = 20000, .status = TR_IO}, good = {.pause_us = 1}, next = {.pause_us = 1};
    assert_int_equal(tr_saver_begin(saver, do_piece, &good, &err), TR_OK);
    assert_int_equal(tr_saver_begin(saver, do_piece, &bad, &err), TR_OK);
    assert_true(good.over);
    assert_int_equal(tr_saver_begin(saver, do_piece, &next, &err), TR_IO);
    assert_true(bad.over);
    assert_string_equal(err.message, "piece of 20000 us");
    assert_string_equal(err.where, "here");
    assert_int_equal(next.runs, 0);
    assert_int_equal(tr_saver_wait(saver, &err), TR_OK);
    assert_int_equal(tr_saver_begin(saver, do_piece, &next, &err), TR_OK);
    assert_int_equal(tr_saver_wait(saver, &err), TR_OK);
    assert_int_equal(next.runs, 1);
    tr_saver_free(saver);
}

/* Without the thread the error still comes from the wait, also after a failure beside. */
static void test_here_instead(void **state)
{
    (void)state;
    tr_saver *saver = make();
    tr_error err = {0};
    piece bad = {.status = TR_FORMAT, .caller = pthread_self()}, good = {.caller = pthread_self()};
    assert_int_equal(tr_saver_do(saver, do_piece, &bad, &err), TR_OK);
    assert_false(bad.elsewhere);
    assert_int_equal(tr_saver_wait(saver, &err), TR_FORMAT);
    assert_string_equal(err.message, "piece of 0 us");
    assert_int_equal(tr_saver_do(saver, do_piece, &good, &err), TR_OK);
    assert_int_equal(tr_saver_wait(saver, &err), TR_OK);
    tr_saver_free(saver);
}

static void test_free_waits_for_the_work(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        tr_saver *saver = make();
        piece p = {.pause_us = i * 37};
        assert_int_equal(tr_saver_begin(saver, do_piece, &p, NULL), TR_OK);
        tr_saver_free(saver);
        assert_int_equal(p.runs, 1);
    }
    tr_saver_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_works_beside_with_one_thread_and_no_signals),
                                       cmocka_unit_test(test_order_and_errors), cmocka_unit_test(test_here_instead),
                                       cmocka_unit_test(test_free_waits_for_the_work)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
