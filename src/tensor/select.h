/* select.h: which table of operations computes, by the name of a device. */
#ifndef TR_TENSOR_SELECT_H
#define TR_TENSOR_SELECT_H

#include "tensor/ops.h"

/* device: "cpu"; "cuda" or "cuda:N", an error where that GPU cannot be used; NULL or "auto": the first GPU where
 * make test-cuda passed on it (tr_cuda_passed), else the CPU. isa as in tr_ops_cpu. *host is the CPU's table,
 * for operations on host memory; the same as *ops on the CPU. */
tr_status tr_ops_select(const char *device, const char *isa, tr_dtype dtype, const tr_ops **ops,
                        const tr_ops **host, tr_error *err);

/* Whether a text names a device; *index is the GPU's, or -1 for the CPU. */
bool tr_device_parse(const char *device, int *index);

#endif
