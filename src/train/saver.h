/* saver.h: one thread beside the training that does one piece of work at a time: the writing of a checkpoint.
 *
 * The thread computes with one OpenMP thread and with a lower priority, so that a save takes cores from the
 * training only where it must. Nothing is ever forked. All functions are called by the training's thread. */
#ifndef TR_TRAIN_SAVER_H
#define TR_TRAIN_SAVER_H

#include "base/status.h"

#include <stdbool.h>

typedef struct tr_saver tr_saver;

/* Runs on the thread. Its error is handed over by tr_saver_wait. */
typedef tr_status (*tr_saver_work)(void *context, tr_error *err);

tr_status tr_saver_create(tr_saver **saver, tr_error *err);
/* Waits for what is being done, then ends the thread. Takes NULL. */
void tr_saver_free(tr_saver *saver);

/* Hands over work; waits for the work before first, whose error (once) is returned instead. context must live until
 * tr_saver_wait. */
tr_status tr_saver_begin(tr_saver *saver, tr_saver_work work, void *context, tr_error *err);

/* The same without the thread: the work is done when it returns; tr_saver_wait gives its error. */
tr_status tr_saver_do(tr_saver *saver, tr_saver_work work, void *context, tr_error *err);

/* Waits until nothing is being done. The error of the last work, once; TR_OK when there was none. */
tr_status tr_saver_wait(tr_saver *saver, tr_error *err);

/* Whether work is being done now; its error, if it ended with one, still waits for tr_saver_wait. */
bool tr_saver_busy(tr_saver *saver);

#endif
