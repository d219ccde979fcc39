/* test_thread_schedule.c: the team of threads under hostile schedules: pauses of random length around every atomic
 * operation and before a new member's first look, so that what is rare by chance happens here often.
 *
 * The team's source is compiled into this test with its atomic operations renamed. Each trial is a process of its
 * own, whose team begins without members; an alarm ends one that hangs. Given a number, the program runs that trial
 * alone, without a fork, which ThreadSanitizer needs: gcc -fsanitize=thread -fopenmp -D_GNU_SOURCE -Isrc -Itests
 * tests/base/test_thread_schedule.c -lcmocka. */
#include "support/shared.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t trial;

/* Nothing, a yield, or up to 130 microseconds of sleep, by numbers of this thread's own. */
static void disturb(void)
{
    static _Thread_local uint64_t step;
    if (!step) {
        step = ((uint64_t)(uintptr_t)&step + trial) * 0x9E3779B97F4A7C15u | 1;
    }
    step = step * 6364136223846793005u + 1442695040888963407u;
    const unsigned roll = (unsigned)(step >> 60);
    if (roll < 3) {
        const struct timespec pause = {0, 1000 + (long)(step >> 32 & 0x1FFFF)};
        nanosleep(&pause, NULL);
    } else if (roll < 6) {
        sched_yield();
    }
}

static uint32_t disturbed_load(_Atomic uint32_t *word)
{
    disturb();
    const uint32_t value = atomic_load_explicit(word, memory_order_seq_cst);
    disturb();
    return value;
}

static bool disturbed_load_bool(_Atomic bool *word)
{
    disturb();
    return atomic_load_explicit(word, memory_order_seq_cst);
}

static uint32_t disturbed_add(_Atomic uint32_t *word, uint32_t more)
{
    disturb();
    const uint32_t before = atomic_fetch_add_explicit(word, more, memory_order_seq_cst);
    disturb();
    return before;
}

static int create_and_wait(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                           void *argument)
{
    int failed = pthread_create(thread, attributes, run, argument);
    disturb(); /* the new member may look before its first job is there, or after */
    return failed;
}

#undef atomic_load
#undef atomic_store
#undef atomic_fetch_add
#undef atomic_fetch_sub
#define atomic_load(word) _Generic((word), _Atomic bool * : disturbed_load_bool, default : disturbed_load)(word)
#define atomic_store(word, value) (disturb(), atomic_store_explicit(word, value, memory_order_seq_cst), disturb())
#define atomic_fetch_add(word, more) disturbed_add(word, more)
#define atomic_fetch_sub(word, less) disturbed_add(word, 0u - (less))
#define pthread_create create_and_wait
#include "base/thread.c"
#undef pthread_create
#undef atomic_load
#undef atomic_fetch_add
#define atomic_load(word) atomic_load_explicit(word, memory_order_seq_cst)
#define atomic_fetch_add(word, more) atomic_fetch_add_explicit(word, more, memory_order_seq_cst)

enum { TRIALS = 12, MOST = 8, JOBS = 16, PATIENCE_S = 240 };

typedef struct tally {
    atomic_int shares[MOST], count;
    atomic_bool over; /* tr_threads_run has returned */
    atomic_int late;
} tally;

static tally tallies[2]
                    [JOBS]; /* of the first and the second caller; not on their stacks: a late share is counted */

static void note(void *context, int self, int count)
{
    tally *t = context;
    disturb();
    atomic_fetch_add(&t->late, atomic_load(&t->over));
    atomic_fetch_add(&t->shares[self], 1);
    t->count = count;
}

/* 1 to MOST, up and down, in each trial from another number on. */
static int threads_of(int job)
{
    return 1 + (int)((job * 5 + trial * 3) % MOST);
}

static void *call(void *argument)
{
    tally *list = argument;
    for (int i = 0; i < JOBS; i++) {
        tr_threads_set(threads_of(i));
        tr_threads_run(note, &list[i]);
        list[i].over = true;
        disturb();
    }
    return NULL;
}

/* Shares that did not run exactly once, or ran after the return. */
static int wrong_shares(const tally *t)
{
    int wrong = t->late != 0 || t->count < 1;
    for (int i = 0; i < MOST; i++) {
        wrong += t->shares[i] != (i < t->count);
    }
    return wrong;
}

static int run_trial(void)
{
    pthread_t second;
    int wrong = 0;
    const bool two = trial % 2;
    alarm(PATIENCE_S);
    if (two && pthread_create(&second, NULL, call, tallies[1])) {
        return 1;
    }
    call(tallies[0]);
    if (two) {
        pthread_join(second, NULL);
    }
    usleep(1000); /* for what should not come any more */
    for (int i = 0; i < JOBS; i++) {
        wrong += wrong_shares(&tallies[0][i]) + (two ? wrong_shares(&tallies[1][i]) : 0);
        wrong += !two && tallies[0][i].count != threads_of(i);
    }
    return wrong != 0;
}

static void test_no_share_is_lost_doubled_or_late(void **state)
{
    (void)state;
    int bad = 0;
    for (trial = 0; trial < TRIALS && !bad; trial++) {
        int end = 0;
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) {
            _exit(run_trial());
        }
        assert_int_equal(waitpid(child, &end, 0), child);
        if (end) {
            printf("trial %d: %s\n", (int)trial,
                   WIFSIGNALED(end) && WTERMSIG(end) == SIGALRM ? "hangs" : "a share is lost, doubled or late");
            bad++;
        }
    }
    assert_int_equal(bad, 0);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        trial = (uint64_t)strtoull(argv[1], NULL, 10);
        return run_trial();
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_share_is_lost_doubled_or_late)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
