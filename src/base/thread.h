/* thread.h: how many OpenMP threads the operations use. Results never depend on it. */
#ifndef TR_BASE_THREAD_H
#define TR_BASE_THREAD_H

/* Threads used by the next parallel operation (OMP_NUM_THREADS or the machine's cores unless set). */
int tr_threads_count(void);
void tr_threads_set(int count);

#endif
