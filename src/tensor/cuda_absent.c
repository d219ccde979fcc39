/* cuda_absent.c: the GPU's tables in a program that was built without CUDA: asking for one says so. */
#include "tensor/cuda/cuda.h"

#include <string.h>

#ifndef TEMPR1_CUDA

static const char missing[] =
    "this program was built without CUDA: configure with -DTEMPR1_CUDA=ON on a machine with nvcc";

void tr_cuda_describe(tr_cuda_info *info)
{
    memset(info, 0, sizeof *info);
    info->missing = missing;
}

tr_status tr_ops_cuda(int index, tr_dtype dtype, const tr_ops **ops, tr_error *err)
{
    (void)dtype;
    *ops = NULL;
    return tr_fail(err, TR_UNSUPPORTED, "device", "cuda:%d: %s", index, missing);
}

tr_status tr_cuda_memory(uint64_t *free_bytes, uint64_t *all_bytes, tr_error *err)
{
    *free_bytes = *all_bytes = 0;
    return tr_fail(err, TR_UNSUPPORTED, "device", "%s", missing);
}

void tr_cuda_graphs_describe(tr_cuda_graphs *graphs)
{
    memset(graphs, 0, sizeof *graphs);
}

tr_status tr_cuda_ceiling(tr_cuda_ceilings *ceilings, tr_error *err)
{
    memset(ceilings, 0, sizeof *ceilings);
    return tr_fail(err, TR_UNSUPPORTED, "device", "%s", missing);
}

void tr_cuda_set_exact(bool exact)
{
    (void)exact;
}

int tr_cuda_products_chosen(tr_cuda_product_choice *list, int most)
{
    (void)list, (void)most;
    return 0;
}

const char *tr_cuda_products_name(void)
{
    return "none";
}

void tr_cuda_products_try(int64_t out, int64_t in)
{
    (void)out, (void)in;
}

#endif

typedef int tr_cuda_absent;
