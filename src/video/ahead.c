/* ahead.c: a list of clips to open, and the threads that open them.
 *
 * One lock guards the list. A job waits, is open (a thread works on it) or is done; a thread takes the first one
 * that waits, but no two threads open the same clip at once: the second finds it in the cache. */
#include "video/ahead.h"

#include "base/file.h"
#include "base/memory.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS_MOST = 64 };
typedef enum job_state { WAITING, RUNNING, DONE } job_state;

typedef struct job {
    struct job *next;
    char *path;
    tr_video_options options;
    uint64_t key;
    job_state state;
    bool dropped; /* nobody wants it any more: its thread frees it */
    tr_clip *clip;
    double seconds;
    tr_status status;
    tr_error err;
} job;

struct tr_clip_queue {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    struct tr_video_cache *cache;
    job *first;
    uint64_t budget, held, largest; /* bytes: allowed, of clips that wait, of the largest clip so far */
    int workers, started, running;
    atomic_bool stop;
    pthread_t threads[WORKERS_MOST];
};

static void free_job(job *j)
{
    if (j) {
        tr_clip_free(j->clip);
        free(j->path);
        free(j);
    }
}

tr_status tr_clip_queue_create(int workers, uint64_t bytes, struct tr_video_cache *cache, tr_clip_queue **queue,
                               tr_error *err)
{
    tr_clip_queue *q = tr_calloc(1, sizeof *q);
    *queue = q;
    if (!q) {
        return tr_fail(err, TR_MEMORY, NULL, "out of memory for the list of clips to open");
    }
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->work, NULL);
    pthread_cond_init(&q->done, NULL);
    q->workers = workers < 0 ? 0 : workers > WORKERS_MOST ? WORKERS_MOST : workers;
    q->budget = bytes;
    q->cache = cache;
    return TR_OK;
}

/* ---- the threads ---- */

static bool is_running(const tr_clip_queue *q, uint64_t key)
{
    for (const job *j = q->first; j; j = j->next) {
        if (j->state == RUNNING && j->key == key) {
            return true;
        }
    }
    return false;
}

/* Whether one more clip finds room beside those that wait and those that are being opened, each taken to be as
 * large as the largest so far (at first: as the options allow, two frames of a grid counting once there). */
static bool is_room(const tr_clip_queue *q, const job *j)
{
    uint64_t one = q->largest ? q->largest : 6 * (uint64_t)j->options.total_pixels;
    uint64_t need = one * (uint64_t)(q->running + 1);
    return (!q->held && !q->running) || (q->held <= q->budget && need <= q->budget - q->held);
}

/* The first job that may begin. */
static job *choose(const tr_clip_queue *q)
{
    for (job *j = q->first; j; j = j->next) {
        if (j->state == WAITING && !is_running(q, j->key)) {
            return is_room(q, j) ? j : NULL;
        }
    }
    return NULL;
}

static void take_off(tr_clip_queue *q, const job *gone)
{
    for (job **at = &q->first; *at; at = &(*at)->next) {
        if (*at == gone) {
            *at = gone->next;
            return;
        }
    }
}

/* The job is on the list, or dropped and then this thread's own. */
static void open_one(tr_clip_queue *q, job *j)
{
    j->state = RUNNING;
    q->running++;
    pthread_mutex_unlock(&q->lock);
    double start_s = tr_time_s();
    tr_status status = tr_clip_open_unless(j->path, &j->options, q->cache, &q->stop, &j->clip, &j->err);
    double seconds = tr_time_s() - start_s;
    pthread_mutex_lock(&q->lock);
    q->running--;
    j->status = status;
    j->seconds = seconds;
    j->state = DONE;
    uint64_t bytes = j->clip ? j->clip->storage_bytes : 0;
    q->largest = bytes > q->largest ? bytes : q->largest;
    if (j->dropped) {
        take_off(q, j);
        free_job(j);
    } else {
        q->held += bytes;
    }
    pthread_cond_broadcast(&q->done);
    pthread_cond_broadcast(&q->work);
}

static void *work(void *argument)
{
    tr_clip_queue *q = argument;
    pthread_mutex_lock(&q->lock);
    while (!atomic_load(&q->stop)) {
        job *j = choose(q);
        if (j) {
            open_one(q, j);
        } else {
            pthread_cond_wait(&q->work, &q->lock);
        }
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

/* As many threads as there are, up to `workers`; fewer cost time, not the run. Signals are for the other threads.
 */
static void start_threads(tr_clip_queue *q)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (q->started < q->workers && !pthread_create(&q->threads[q->started], NULL, work, q)) {
        q->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void tr_clip_queue_free(tr_clip_queue *q)
{
    if (!q) {
        return;
    }
    pthread_mutex_lock(&q->lock);
    atomic_store(&q->stop, true);
    pthread_cond_broadcast(&q->work);
    pthread_mutex_unlock(&q->lock);
    for (int i = 0; i < q->started; i++) {
        pthread_join(q->threads[i], NULL);
    }
    while (q->first) {
        job *j = q->first;
        q->first = j->next;
        free_job(j);
    }
    pthread_cond_destroy(&q->work);
    pthread_cond_destroy(&q->done);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* ---- the list ---- */

/* A job of that key from the old list (a dropped one is wanted again), else a new one; NULL without memory. */
static job *job_for(const tr_clip_wish *wish, job **old)
{
    for (job **at = old; *at; at = &(*at)->next) {
        if ((*at)->key == wish->key) {
            job *found = *at;
            *at = found->next;
            found->dropped = false;
            return found;
        }
    }
    job *j = tr_calloc(1, sizeof *j);
    if (j && !(j->path = tr_strdup(wish->path))) {
        free(j);
        return NULL;
    }
    if (j) {
        j->options = wish->options;
        j->key = wish->key;
    }
    return j;
}

/* What nobody wants: gone at once, or by its thread when one works on it (it stays on the list until then). */
static job *drop(tr_clip_queue *q, job *old)
{
    job *kept = NULL;
    while (old) {
        job *j = old;
        old = j->next;
        if (j->state == RUNNING) {
            j->dropped = true;
            j->next = kept;
            kept = j;
        } else {
            q->held -= j->clip ? j->clip->storage_bytes : 0;
            free_job(j);
        }
    }
    return kept;
}

tr_status tr_clip_queue_wish(tr_clip_queue *q, const tr_clip_wish *wishes, size_t count, tr_error *err)
{
    tr_status status = TR_OK;
    pthread_mutex_lock(&q->lock);
    job *old = q->first, **end = &q->first;
    q->first = NULL;
    for (size_t i = 0; q->workers && !status && i < count; i++) {
        job *j = job_for(&wishes[i], &old);
        if (!j) {
            status = tr_fail(err, TR_MEMORY, wishes[i].path, "no memory to open it ahead");
            continue;
        }
        j->next = NULL;
        *end = j;
        end = &j->next;
    }
    if (status) {
        *end = old;
        old = q->first;
        end = &q->first;
    }
    *end = drop(q, old);
    pthread_cond_broadcast(&q->work);
    pthread_mutex_unlock(&q->lock);
    if (!status && count) {
        start_threads(q);
    }
    return status;
}

tr_status tr_clip_queue_take(tr_clip_queue *q, uint64_t key, bool *found, tr_clip **clip, double *open_s,
                             tr_error *err)
{
    tr_status status = TR_OK;
    *found = false;
    *clip = NULL;
    pthread_mutex_lock(&q->lock);
    job *j = q->first;
    while (j && (j->key != key || j->dropped)) {
        j = j->next;
    }
    if (j) {
        *found = j->state != WAITING;
        while (j->state == RUNNING) {
            pthread_cond_wait(&q->done, &q->lock);
        }
        take_off(q, j);
        if (*found) {
            status = j->status;
            *clip = j->clip;
            *open_s += j->seconds;
            q->held -= j->clip ? j->clip->storage_bytes : 0;
            if (status && err) {
                *err = j->err;
            }
            j->clip = NULL;
        }
        free_job(j);
        pthread_cond_broadcast(&q->work);
    }
    pthread_mutex_unlock(&q->lock);
    return status;
}
