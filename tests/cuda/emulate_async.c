/* emulate_async.c: barriers and asynchronous copies of the emulated device, as unkind as the device may be.
 *
 * A copy makes its place in shared memory NaNs at once; the numbers are read from device memory when the thread
 * waits for the copy's group, and stand in shared memory only after the next barrier. A place that was read since
 * the last barrier must not be written by a copy: that is a race, and ends the test. */
#include "cuda/emulate.h"

#include "tensor/cuda/grid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COPIES_MAX = 1 << 16, COPY_BYTES = 16, PLACES = 1 << 16 };

typedef struct copy {
    void *to;
    unsigned char data[COPY_BYTES];
    const void *from; /* NULL: zeros */
    int thread;
    int64_t group;
    bool arrived;
} copy;

static struct {
    copy copies[COPIES_MAX];
    int count;
    int64_t group[TR_BLOCK_MAX]; /* groups that the thread has closed */
    uint32_t read[PLACES];       /* the epoch of a place's last read */
    uint32_t epoch;
    int64_t total;
} async = {.epoch = 1};

static uint32_t *place(const void *shared)
{
    return &async.read[((uintptr_t)shared >> 4) % PLACES];
}

void tr_emulated_sync(void)
{
    int left = 0;
    for (int i = 0; i < async.count; i++) {
        const copy *c = &async.copies[i];
        if (c->arrived) {
            memcpy(c->to, c->data, COPY_BYTES);
        } else {
            async.copies[left++] = *c;
        }
    }
    async.count = left;
    async.epoch++;
}

void tr_emulated_read(const void *shared, int bytes)
{
    for (int i = 0; i < bytes; i += 16) {
        *place((const char *)shared + i) = async.epoch;
    }
}

void tr_emulated_copy(int thread, void *shared, const void *from, int bytes, int live)
{
    if (bytes != COPY_BYTES || (uintptr_t)shared % COPY_BYTES || (live && (uintptr_t)from % COPY_BYTES)) {
        fprintf(stderr, "an asynchronous copy of %d bytes is not aligned\n", bytes);
        abort();
    }
    if (*place(shared) == async.epoch) {
        fprintf(stderr, "an asynchronous copy writes what was read since the last barrier\n");
        abort();
    }
    if (async.count == COPIES_MAX) {
        fprintf(stderr, "too many asynchronous copies under way\n");
        abort();
    }
    memset(shared, 0xFF, COPY_BYTES); /* NaNs, as bf16 and as f32 */
    async.copies[async.count++] =
        (copy){.to = shared, .from = live ? from : NULL, .thread = thread, .group = async.group[thread]};
    async.total++;
}

void tr_emulated_commit(int thread)
{
    async.group[thread]++;
}

void tr_emulated_wait(int thread, int pending)
{
    for (int i = 0; i < async.count; i++) {
        copy *c = &async.copies[i];
        if (c->thread == thread && !c->arrived && c->group < async.group[thread] - pending) {
            if (c->from) {
                memcpy(c->data, c->from, COPY_BYTES);
            }
            c->arrived = true;
        }
    }
}

void tr_emulated_block(void)
{
    async.count = 0; /* what was never waited for dies with its block */
    memset(async.group, 0, sizeof async.group);
    async.epoch++;
}

int64_t tr_emulated_copies(void)
{
    return async.total;
}
