/* thread.c: how many threads the operations use, and the team for short pieces of work.
 *
 * One job at a time. A job is published by raising `turn`; members take their share when they see it and count
 * themselves out of `pending`. Whoever waits looks at the word for SPIN_NS, then sleeps on it (futex). */
#include "base/thread.h"

#include <linux/futex.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MEMBERS = 1024, SPIN_NS = 60000, LOOKS = 256 };

static struct {
    atomic_flag taken;              /* held by the caller whose job runs */
    _Atomic uint32_t turn, pending; /* jobs published; members not done with the present one */
    _Atomic uint32_t sleepers;      /* members that may sleep on `turn` */
    _Atomic bool waiting;           /* the caller may sleep on `pending` */
    int started, count;             /* members that exist besides the caller; threads of the present job */
    void (*work)(void *, int, int);
    void *context;
} team = {.taken = ATOMIC_FLAG_INIT};

static void futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
    syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Looks at a word until it differs from `old` or the time is up; true when it differs. Few pauses: in a virtual
 * machine many in a row hand the processor back to the host. */
static bool look_out(_Atomic uint32_t *word, uint32_t old)
{
    const int64_t end_ns = now_ns() + SPIN_NS;
    do {
        for (int i = 0; i < LOOKS; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != old) {
                return true;
            }
#if defined(__x86_64__)
            if (i % 16 == 0) {
                __builtin_ia32_pause();
            }
#endif
        }
    } while (now_ns() < end_ns);
    return false;
}

static void *member(void *argument)
{
    const int self = (int)((uintptr_t)argument & 0xFFFFFFFF);
    uint32_t seen = (uint32_t)((uintptr_t)argument >> 32); /* earlier jobs are not this member's */
    omp_set_num_threads(1);                                /* operations inside a share do not fork again */
    for (;;) {
        while (!look_out(&team.turn, seen)) {
            atomic_fetch_add(&team.sleepers, 1);
            while (atomic_load(&team.turn) == seen) {
                futex(&team.turn, FUTEX_WAIT, seen);
            }
            atomic_fetch_sub(&team.sleepers, 1);
        }
        seen = atomic_load(&team.turn);
        if (self < team.count) {
            team.work(team.context, self, team.count);
        }
        if (atomic_fetch_sub(&team.pending, 1) == 1 && atomic_load(&team.waiting)) {
            futex(&team.pending, FUTEX_WAKE, 1);
        }
    }
    return NULL;
}

/* Members up to count - 1; fewer when the system gives no more. Signals are for the callers' threads: a member that
 * took one would leave a caller asleep in its system call. */
static void recruit(int count)
{
    sigset_t all, before;
    if (team.started >= count - 1) {
        return;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (team.started < count - 1 && team.started < MEMBERS) {
        pthread_t thread;
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        const uint64_t name = (uint64_t)atomic_load(&team.turn) << 32 | (uint64_t)(team.started + 1);
        int failed = pthread_create(&thread, &attributes, member, (void *)(uintptr_t)name);
        pthread_attr_destroy(&attributes);
        if (failed) {
            break;
        }
        team.started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void wait_for_members(void)
{
    uint32_t left;
    while ((left = atomic_load(&team.pending))) {
        if (!look_out(&team.pending, left)) {
            atomic_store(&team.waiting, true);
            if (atomic_load(&team.pending) == left) {
                futex(&team.pending, FUTEX_WAIT, left);
            }
            atomic_store(&team.waiting, false);
        }
    }
}

int tr_threads_count(void)
{
    return omp_get_max_threads();
}

void tr_threads_set(int count)
{
    omp_set_num_threads(count > 0 ? count : 1);
}

void tr_threads_run(void (*work)(void *context, int self, int count), void *context)
{
    const int count = omp_in_parallel() ? 1 : omp_get_max_threads();
    if (count < 2 || atomic_flag_test_and_set_explicit(&team.taken, memory_order_acquire)) {
        work(context, 0, 1);
        return;
    }
    recruit(count);
    team.count = count < team.started + 1 ? count : team.started + 1;
    team.work = work;
    team.context = context;
    atomic_store(&team.pending, (uint32_t)team.started);
    atomic_fetch_add(&team.turn, 1);
    if (atomic_load(&team.sleepers)) {
        futex(&team.turn, FUTEX_WAKE, INT32_MAX);
    }
    work(context, 0, team.count);
    wait_for_members();
    atomic_flag_clear_explicit(&team.taken, memory_order_release);
}
