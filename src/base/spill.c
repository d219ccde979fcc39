/* spill.c: memory that lives in a file without a name. */
#include "base/spill.h"

#include "base/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };

tr_status tr_spill_open(tr_spill *spill, const char *folder, size_t bytes, tr_error *err)
{
    const double gib = (double)bytes / (1u << 30);
    *spill = (tr_spill){0};
    char *path = tr_format("%s/.spill-XXXXXX", folder);
    if (!path) {
        return tr_fail(err, TR_MEMORY, folder, "out of memory");
    }
    int file = mkostemp(path, O_CLOEXEC);
    int failed = file < 0 ? errno : 0;
    if (!failed) {
        unlink(path);
        do { /* a signal may end it early (a window that changes its size): what it reserved stays reserved */
            failed = posix_fallocate(file, 0, (off_t)(bytes ? bytes : PAGE));
        } while (failed == EINTR);
    }
    free(path);
    void *block = MAP_FAILED;
    if (!failed) {
        block = mmap(NULL, bytes ? bytes : PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        failed = block == MAP_FAILED ? errno : 0;
    }
    if (file >= 0) {
        close(file); /* the map keeps the file */
    }
    if (failed) {
        return tr_fail(err, failed == ENOSPC ? TR_MEMORY : TR_IO, folder,
                       "cannot set %.2f GiB of this folder's disk aside to hold what is offloaded: %s", gib,
                       strerror(failed));
    }
    *spill = (tr_spill){block, bytes ? bytes : PAGE, 0};
    return TR_OK;
}

void tr_spill_close(tr_spill *spill)
{
    if (spill && spill->block) {
        munmap(spill->block, spill->size);
        *spill = (tr_spill){0};
    }
}

size_t tr_spill_need(size_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

void *tr_spill_take(tr_spill *spill, size_t bytes)
{
    size_t need = tr_spill_need(bytes);
    if (!spill->block || need < bytes || need > spill->size - spill->used) {
        return NULL;
    }
    void *piece = spill->block + spill->used;
    spill->used += need;
    return piece;
}

bool tr_spill_holds(const tr_spill *spill, const void *piece)
{
    return spill->block && (uintptr_t)piece >= (uintptr_t)spill->block &&
           (uintptr_t)piece < (uintptr_t)spill->block + spill->size;
}

void tr_spill_release(const tr_spill *spill, const void *piece, size_t bytes)
{
    if (!tr_spill_holds(spill, piece)) {
        return;
    }
    uintptr_t first = ((uintptr_t)piece + PAGE - 1) / PAGE * PAGE, last = ((uintptr_t)piece + bytes) / PAGE * PAGE;
    if (last > first) {
        madvise((void *)first, last - first, MADV_DONTNEED);
    }
}
