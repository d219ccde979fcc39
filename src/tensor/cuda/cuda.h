/* cuda.h: the GPU's tables of operations. Present in every build; without CUDA, or on a machine without a GPU,
 * asking for one is an error that says what is missing. docs/cuda.md describes the design. */
#ifndef TR_TENSOR_CUDA_CUDA_H
#define TR_TENSOR_CUDA_CUDA_H

#include "tensor/ops.h"

/* What there is, for --version, selftest and error messages. missing is NULL when a GPU can be used, else says in
 * words what is not there. Texts are static. */
typedef struct tr_cuda_info {
    bool built;            /* this program was built with CUDA */
    const char *missing;   /* "a driver", ... */
    int devices;           /* GPUs that can be used */
    int runtime, driver;   /* 13000 is 13.0; 0 unknown */
    int64_t products;      /* cuBLASLt's version; 0: not found */
    char name[128];        /* of the first GPU */
    uint64_t memory_bytes; /* of the first GPU */
} tr_cuda_info;
void tr_cuda_describe(tr_cuda_info *info);

/* The table for GPU `index`: dtype TR_F32 (fused multiply-adds in the CPU's order, the CPU's bits in every forward
 * operation) or TR_BF16 (products and attention on the tensor cores for weights stored as bf16). The first call
 * opens the device; another index later is an error. TR_UNSUPPORTED names what is missing. */
tr_status tr_ops_cuda(int index, tr_dtype dtype, const tr_ops **ops, tr_error *err);

/* Bytes of device memory that are free and that there are. */
tr_status tr_cuda_memory(uint64_t *free_bytes, uint64_t *all_bytes, tr_error *err);

/* What the opened GPU reaches in one large bf16 product and in one large copy (bytes read and written). */
tr_status tr_cuda_ceiling(double *product_tflops, double *copy_gb_per_s, tr_error *err);

#endif
