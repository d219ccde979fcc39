/* select.c: a device's name becomes a table of operations. */
#include "tensor/select.h"

#include "tensor/cuda/cuda.h"

#include <stdlib.h>
#include <string.h>

bool tr_device_parse(const char *device, int *index)
{
    *index = -1;
    if (!device || !strcmp(device, "auto")) {
        *index = tr_cuda_passed() ? 0 : -1;
        return true;
    }
    if (!strcmp(device, "cpu")) {
        return true;
    }
    if (!strcmp(device, "cuda")) {
        *index = 0;
        return true;
    }
    if (strncmp(device, "cuda:", 5) != 0 || device[5] < '0' || device[5] > '9') {
        return false;
    }
    char *end;
    long n = strtol(device + 5, &end, 10);
    *index = n <= 1000 ? (int)n : 1001;
    return !*end;
}

tr_status tr_ops_select(const char *device, const char *isa, tr_dtype dtype, const tr_ops **ops,
                        const tr_ops **host, tr_error *err)
{
    int index;
    tr_status status;
    *ops = *host = NULL;
    if (!tr_device_parse(device, &index)) {
        return tr_fail(err, TR_INVALID, "device", "expected auto, cpu or cuda:N, found %s", device);
    }
    TR_TRY(tr_ops_cpu(isa, host, err));
    *ops = *host;
    if (index >= 0) {
        TR_TRY(tr_ops_cuda(index, dtype, ops, err));
    }
done:
    return status;
}
