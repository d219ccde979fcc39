/* stream.c: lanes, and the ring that small arrays and the host's tensors travel through.
 *
 * Every lane has a ring of pinned memory in QUARTERS parts, and a part of device memory of the same size. What is
 * staged or written is copied into the ring, and from there by an asynchronous copy; the host waits only when it
 * comes round to a part that is not free yet. Arguments are staged before the launch that reads them, so the mark
 * that frees a part is set when the part behind it is left: by then whatever was launched with it is marked too.
 * Nothing here is CUDA: the same code runs over the emulation. */
#include "tensor/cuda/graph.h"
#include "tensor/cuda/table.h"

#include <pthread.h>
#include <string.h>

enum { QUARTERS = 4 };

typedef struct ring {
    char *host, *device;
    size_t part;          /* bytes of one */
    size_t used;          /* of the part in use */
    int at;               /* the part in use */
    void *left[QUARTERS]; /* marked when the part was left */
} ring;

static struct {
    int lane;
    ring rings[TR_LANES];
    pthread_mutex_t lock; /* weights are written by several threads */
} lanes = {.lock = PTHREAD_MUTEX_INITIALIZER};

int tr_cuda_lane(void)
{
    return lanes.lane;
}

static void use(int lane)
{
    tr_cuda_settle();
    lanes.lane = lane;
}

/* The ring of the lane in use, made when it is first needed; NULL without memory. */
static ring *open_ring(void)
{
    ring *r = &lanes.rings[lanes.lane];
    size_t bytes;
    tr_error err = {0};
    if (r->host) {
        return r;
    }
    for (int i = 0; i < QUARTERS; i++) {
        if (!r->left[i] && tr_cuda_event_take(&r->left[i], &err)) {
            tr_cuda_remember("the events of a staging ring cannot be made");
            return NULL;
        }
    }
    if (!tr_cuda_ring(&r->host, &r->device, &bytes)) {
        return NULL;
    }
    r->part = bytes / QUARTERS;
    return r;
}

/* A place of `bytes` in the ring (offset into host and device); at most r->part. */
static size_t place(ring *r, size_t bytes)
{
    if (r->used + bytes > r->part) {
        tr_cuda_event_mark(r->left[r->at]);
        r->at = (r->at + 1) % QUARTERS;
        r->used = 0;
        tr_cuda_event_reach(r->left[(r->at + 1) % QUARTERS]);
    }
    const size_t at = (size_t)r->at * r->part + r->used;
    r->used += bytes;
    return at;
}

static size_t rounded(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

void *tr_cuda_stage(const void *host, size_t bytes)
{
    char *to = tr_cuda_collect_stage(host, bytes);
    if (to) {
        return to;
    }
    pthread_mutex_lock(&lanes.lock);
    ring *r = open_ring();
    if (r && rounded(bytes) > r->part) {
        tr_cuda_remember("the arguments of a kernel do not fit the staging ring");
    } else if (r) {
        const size_t at = place(r, rounded(bytes));
        memcpy(r->host + at, host, bytes);
        to = r->device + at;
        tr_cuda_send(to, r->host + at, bytes);
    }
    pthread_mutex_unlock(&lanes.lock);
    return to;
}

void tr_cuda_write(void *to, const void *host, size_t bytes)
{
    tr_cuda_settle();
    pthread_mutex_lock(&lanes.lock);
    ring *r = open_ring();
    for (size_t done = 0; r && done < bytes;) {
        const size_t n = bytes - done < r->part ? bytes - done : r->part, at = place(r, rounded(n));
        memcpy(r->host + at, (const char *)host + done, n);
        tr_cuda_send((char *)to + done, r->host + at, n);
        done += n;
    }
    pthread_mutex_unlock(&lanes.lock);
}

const tr_lanes tr_cuda_lanes = {
    .use = use,
    .event_take = tr_cuda_event_take,
    .event_give = tr_cuda_event_give,
    .mark = tr_cuda_event_mark,
    .wait = tr_cuda_event_wait,
    .passed = tr_cuda_event_passed,
    .reach = tr_cuda_event_reach,
    .pin = tr_cuda_pin,
    .unpin = tr_cuda_unpin,
    .send = tr_cuda_send,
    .fetch = tr_cuda_fetch,
};
