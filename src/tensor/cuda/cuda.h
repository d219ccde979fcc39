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

/* Whether make test-cuda passed with these kernels on this GPU, driver and runtime: the mark that it leaves is in
 * $XDG_CACHE_HOME/tempr1 (~/.cache/tempr1). `auto` takes the GPU then. */
bool tr_cuda_passed(void);
/* Leaves the mark. TR_UNSUPPORTED: there is no GPU. */
tr_status tr_cuda_mark_passed(tr_error *err);

/* The table for GPU `index`: dtype TR_F32 (fused multiply-adds in the CPU's order, the CPU's bits in every forward
 * operation) or TR_BF16 (products and attention on the tensor cores for weights stored as bf16). The first call
 * opens the device; another index later is an error. TR_UNSUPPORTED names what is missing. */
tr_status tr_ops_cuda(int index, tr_dtype dtype, const tr_ops **ops, tr_error *err);

/* Bytes of device memory that are free and that there are. */
tr_status tr_cuda_memory(uint64_t *free_bytes, uint64_t *all_bytes, tr_error *err);

/* ---- planning, in every build and without a GPU (tensor/cuda_plan.c) ---- */

enum {
    TR_CUDA_RING_BYTES = 64 << 20 /* for small arguments */,
    TR_CUDA_REGION_BYTES = 16 << 20, /* for those of a decode step (graph.c) */
    TR_CUDA_SCRATCH_UNIT = 8 << 20,
    TR_CUDA_LOOSE_WORKSPACE = 32 << 20
};

/* What a GPU's tables say about working memory: only memory->host and the _work functions are there. */
extern const tr_ops tr_cuda_plan_table;

/* Bytes of the device's own working memory that an operation asks for: a linear layer (forward, or both ways), sums
 * over the rows of a norm's or bias' gradient, a token of decoding, a norm of so many numbers. */
uint64_t tr_cuda_plan_product(tr_dtype dtype, int64_t rows, int64_t out, int64_t in, bool backward);
uint64_t tr_cuda_plan_columns(int64_t rows, int64_t width);
uint64_t tr_cuda_plan_decode(tr_dtype dtype, const tr_attention_shape *shape, int64_t rows, int64_t prompt_tokens,
                             int64_t response_tokens);
uint64_t tr_cuda_plan_squares(int64_t count);

/* Decode steps: how many were recorded as graphs, replayed, and launched one by one (lists that came for the first
 * time, and those that the device refused to record, with the last reason). on: not turned off by
 * TEMPR1_CUDA_GRAPHS=0. */
typedef struct tr_cuda_graphs {
    bool on;
    int64_t graphs; /* there are now */
    int64_t recorded, replayed, plain, refused;
    char why[160];
} tr_cuda_graphs;
void tr_cuda_graphs_describe(tr_cuda_graphs *graphs);

/* What the opened GPU reaches in one large bf16 product, in one large copy (bytes read and written), and in reading
 * alone (the optimiser's sum of squares). */
typedef struct tr_cuda_ceilings {
    double product_tflops, copy_gb_per_s, read_gb_per_s;
} tr_cuda_ceilings;
tr_status tr_cuda_ceiling(tr_cuda_ceilings *ceilings, tr_error *err);

/* exact (the default): a row's bits do not depend on the rows beside it. Otherwise products may take the fastest
 * algorithm for each number of rows, with k split: decoding and training may then differ a little. */
void tr_cuda_set_exact(bool exact);

/* Forward shapes met so far and who serves them: same: cuBLASLt's candidate has our own kernels' bits, so few rows
 * are ours and many are cuBLASLt's; otherwise, with `auto`, all rows are ours. candidate -1: cuBLASLt has none. */
typedef struct tr_cuda_product_choice {
    int64_t out, in;
    bool biased, same;
    int candidate, tried;
} tr_cuda_product_choice;
int tr_cuda_products_chosen(tr_cuda_product_choice *list, int most);
const char *tr_cuda_products_name(void);            /* own, cublaslt or auto */
void tr_cuda_products_try(int64_t out, int64_t in); /* chooses now; after tr_ops_cuda with TR_BF16 */

#endif
