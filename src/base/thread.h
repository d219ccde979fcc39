/* thread.h: how many threads the operations use, and a team of threads for short pieces of work. Results never
 * depend on either. */
#ifndef TR_BASE_THREAD_H
#define TR_BASE_THREAD_H

/* Threads used by the next parallel operation (OMP_NUM_THREADS or the machine's cores unless set). */
int tr_threads_count(void);
void tr_threads_set(int count);

/* Runs work(context, self, count) for self in [0, count), each on a thread of its own, the caller's being one of
 * them, and returns when all are done. count is tr_threads_count(), or 1 when the team is at work for another
 * thread or for a caller inside it. Work must not depend on count for its results, and must not block.
 *
 * For what happens thousands of times a second, as in decoding: the team looks out for the next piece for a few
 * dozen microseconds before it sleeps, where an OpenMP region that may sleep pays for a wake-up every time, and one
 * that may not takes the time slice of other programs. Threads are made at the first use and stay. */
void tr_threads_run(void (*work)(void *context, int self, int count), void *context);

#endif
