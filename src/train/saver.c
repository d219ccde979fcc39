/* saver.c: one thread beside the training that does one piece of work at a time. */
#include "train/saver.h"

#include "base/memory.h"
#include "base/thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LOWER_PRIORITY = 10 };

struct tr_saver {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    tr_saver_work work; /* NULL: idle */
    void *context;
    tr_status status; /* of the last work, until it was handed over */
    tr_error error;
    bool end;
};

static void *serve(void *argument)
{
    tr_saver *s = argument;
    tr_threads_set(1); /* of this thread's own parallel regions only */
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), LOWER_PRIORITY); /* Linux: of this thread; a wish */
    pthread_mutex_lock(&s->lock);
    while (!s->end || s->work) {
        if (!s->work) {
            pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        tr_error error = {0};
        tr_status status = s->work(s->context, &error);
        pthread_mutex_lock(&s->lock);
        s->status = status;
        s->error = error;
        s->work = NULL;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

tr_status tr_saver_create(tr_saver **saver, tr_error *err)
{
    tr_saver *s = *saver = tr_calloc(1, sizeof *s);
    sigset_t all, before;
    if (!s) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory");
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    sigfillset(&all); /* signals are for the training's thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&s->thread, NULL, serve, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        pthread_cond_destroy(&s->changed);
        pthread_mutex_destroy(&s->lock);
        free(s);
        *saver = NULL;
        return tr_fail(err, TR_MEMORY, NULL, "the thread that writes checkpoints cannot be started: %s",
                       strerror(failed));
    }
    return TR_OK;
}

void tr_saver_free(tr_saver *s)
{
    if (!s) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->end = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

tr_status tr_saver_wait(tr_saver *s, tr_error *err)
{
    pthread_mutex_lock(&s->lock);
    while (s->work) {
        pthread_cond_wait(&s->changed, &s->lock);
    }
    tr_status status = s->status;
    s->status = TR_OK;
    pthread_mutex_unlock(&s->lock);
    return status ? tr_fail(err, status, s->error.where, "%s", s->error.message) : TR_OK;
}

tr_status tr_saver_begin(tr_saver *s, tr_saver_work work, void *context, tr_error *err)
{
    tr_status status = tr_saver_wait(s, err);
    if (!status) {
        pthread_mutex_lock(&s->lock);
        s->work = work;
        s->context = context;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
    }
    return status;
}

tr_status tr_saver_do(tr_saver *s, tr_saver_work work, void *context, tr_error *err)
{
    tr_status status = tr_saver_wait(s, err);
    if (!status) {
        s->error = (tr_error){0};
        s->status = work(context, &s->error); /* the thread is idle: nobody else looks at these */
    }
    return status;
}

bool tr_saver_busy(tr_saver *s)
{
    pthread_mutex_lock(&s->lock);
    bool busy = s->work;
    pthread_mutex_unlock(&s->lock);
    return busy;
}
