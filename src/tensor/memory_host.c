/* memory_host.c: the memory of the CPU's tables: the host's own. */
#include "tensor/ops.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static tr_status take(void **memory, size_t bytes, bool zero, tr_error *err)
{
    *memory = zero ? tr_calloc_aligned(bytes ? bytes : 1, 1) : aligned_alloc(64, (bytes / 64 + 1) * 64);
    return *memory ? TR_OK : tr_fail(err, TR_MEMORY, NULL, "out of memory for %zu bytes", bytes);
}

static void zero(void *to, size_t bytes)
{
    memset(to, 0, bytes);
}

static void copy(void *to, const void *from, size_t bytes)
{
    if (to != from) {
        memcpy(to, from, bytes);
    }
}

static tr_status check(tr_error *err)
{
    (void)err;
    return TR_OK;
}

const tr_memory tr_memory_host = {
    .host = true,
    .take = take,
    .give = free,
    .zero = zero,
    .copy = copy,
    .write = copy,
    .read = copy,
    .convert = tr_convert,
    .pack = tr_matrix_pack,
    .unpack = tr_matrix_unpack,
    .check = check,
};
