/* test_thread.c: the team of threads: every share runs once, on threads of their own, whoever calls, however often.
 */
#include "base/thread.h"
#include "support/shared.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

enum { MOST = 8, JOBS = 4000 };

typedef struct tally {
    atomic_int shares[MOST], count, nested;
    pthread_t who[MOST];
} tally;

static void note(void *context, int self, int count)
{
    tally *t = context;
    atomic_fetch_add(&t->shares[self], 1);
    atomic_store(&t->count, count);
    t->who[self] = pthread_self();
}

static void expect_shares(const tally *t, int count, int times)
{
    for (int i = 0; i < MOST; i++) {
        assert_int_equal(t->shares[i], i < count ? times : 0);
    }
}

/* More and fewer threads than before: members that are not needed stay out, new ones do not take old jobs. */
static void test_every_share_runs_once(void **state)
{
    (void)state;
    static const int counts[] = {1, 2, 5, 3, 8, 2, 1, 4};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        tr_threads_set(counts[i]);
        for (int k = 0; k < 50; k++) {
            tally t = {0};
            tr_threads_run(note, &t);
            assert_int_equal(t.count, counts[i]);
            expect_shares(&t, counts[i], 1);
            assert_true(pthread_equal(t.who[0], pthread_self()));
            for (int a = 1; a < counts[i]; a++) {
                assert_false(pthread_equal(t.who[a], t.who[a - 1]));
            }
        }
    }
}

/* Back to back, and after pauses long enough to fall asleep: nothing is lost, no job begins before the last ended.
 */
static void test_many_jobs(void **state)
{
    (void)state;
    tally t = {0};
    tr_threads_set(3);
    for (int i = 0; i < JOBS; i++) {
        tr_threads_run(note, &t);
        if (i % 1000 == 0) {
            usleep(2000);
        }
    }
    expect_shares(&t, 3, JOBS);
}

static void inner(void *context, int self, int count)
{
    tally *t = context;
    atomic_fetch_add(&t->nested, self == 0 && count == 1 ? 1 : 1000);
}
static void outer(void *context, int self, int count)
{
    (void)self;
    (void)count;
    tr_threads_run(inner, context);
}

static void test_inside_a_share_there_is_one_thread(void **state)
{
    (void)state;
    tally t = {0};
    tr_threads_set(4);
    tr_threads_run(outer, &t);
    assert_int_equal(t.nested, 4);
}

static void *call_often(void *context)
{
    tr_threads_set(2); /* of this thread's own work */
    for (int i = 0; i < JOBS / 10; i++) {
        tally t = {0};
        tr_threads_run(note, &t);
        int sum = 0;
        for (int k = 0; k < MOST; k++) {
            sum += t.shares[k];
        }
        if (sum != t.count || sum < 1 || sum > 2) {
            *(bool *)context = false;
        }
    }
    return NULL;
}

/* Two callers at once: one has the team, the other works alone; both get all their shares done. */
static void test_two_callers(void **state)
{
    (void)state;
    pthread_t threads[2];
    bool good[2] = {true, true};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &good[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_true(good[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_share_runs_once), cmocka_unit_test(test_many_jobs),
        cmocka_unit_test(test_inside_a_share_there_is_one_thread), cmocka_unit_test(test_two_callers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
