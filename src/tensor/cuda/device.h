/* device.h: what the table of operations needs of a device: memory, copies, working memory, bf16 products. gpu.c
 * gives it on a GPU, emulate.c in the tests. One device per process (several GPUs are several processes); work goes
 * to the stream of the lane in use (stream.c); functions that return nothing remember their first error, which
 * tr_cuda_check tells. Internal to tensor/cuda. */
#ifndef TR_TENSOR_CUDA_DEVICE_H
#define TR_TENSOR_CUDA_DEVICE_H

#include "tensor/cuda/cuda.h"

/* Device memory; zeroed when asked. give takes NULL. */
tr_status tr_cuda_take(void **memory, size_t bytes, bool zero, tr_error *err);
void tr_cuda_give(void *memory);

void tr_cuda_zero(void *to, size_t bytes);
void tr_cuda_copy(void *to, const void *from, size_t bytes);
void tr_cuda_write(void *to, const void *host, size_t bytes);  /* host may be used again when it returns */
void tr_cuda_read(void *host, const void *from, size_t bytes); /* waits until it is there */
tr_status tr_cuda_check(tr_error *err);                        /* waits for the lane in use */

/* ---- lanes (stream.c over what gpu_stream.c and emulate.c give) ---- */

int tr_cuda_lane(void); /* in use: whose stream launches, copies and products go to */
extern const tr_lanes tr_cuda_lanes;

tr_status tr_cuda_event_take(void **event, tr_error *err);
void tr_cuda_event_give(void *event);
void tr_cuda_event_mark(void *event);
void tr_cuda_event_wait(void *event);
bool tr_cuda_event_passed(void *event);
void tr_cuda_event_reach(void *event);
tr_status tr_cuda_pin(void **memory, size_t bytes, tr_error *err);
void tr_cuda_unpin(void *memory);
void tr_cuda_send(void *to, const void *pinned, size_t bytes);
void tr_cuda_fetch(void *pinned, const void *from, size_t bytes);
/* The staging ring of the lane in use: memory of the host and of the device, the same size for every lane; false
 * when memory is out (remembered). */
bool tr_cuda_ring(char **host, char **device, size_t *bytes);

/* A copy of a small host array for the kernels launched next; valid for these only. NULL when it failed. */
void *tr_cuda_stage(const void *host, size_t bytes);

/* Working memory of the operation that asks, until the next operation: one block of at least `bytes`. It grows when
 * a larger shape comes than any before; NULL when memory is out (remembered as an error). */
void *tr_cuda_scratch(size_t bytes);

/* The three products of a linear layer with bf16 operands and f32 sums and results:
 * forward: c[rows, out] = a[rows, in] b[out, in]^T + bias (may be NULL); input: c[rows, in] += a[rows, out] b[out,
 * in]; weight: c[out, in] += a[rows, out]^T b[rows, in]. A row of the forward has the same bits whatever `rows` is.
 */
typedef enum tr_cuda_form { TR_CUDA_FORWARD, TR_CUDA_INPUT, TR_CUDA_WEIGHT } tr_cuda_form;
void tr_cuda_product_bf16(tr_cuda_form form, float *c, const uint16_t *a, const uint16_t *b, const float *bias,
                          int64_t rows, int64_t out, int64_t in);
/* The same by fused multiply-adds in order, for shapes that cuBLASLt does not take (table.c). */
void tr_cuda_product_fma(tr_cuda_form form, float *c, const uint16_t *a, const uint16_t *b, const float *bias,
                         int64_t rows, int64_t out, int64_t in);

/* The same by our own tensor-core kernels (product_own.c), for any shape: the bits of an element do not depend on
 * the number of rows, nor on the tile. tile: a tile_shape, or negative to choose by count. */
void tr_cuda_product_own(tr_cuda_form form, float *c, const uint16_t *a, const uint16_t *b, const float *bias,
                         int64_t rows, int64_t out, int64_t in, int tile);
int tr_cuda_product_tile(tr_cuda_form form, int64_t m, int64_t n); /* the choice: m x n elements of the result */

/* Who computes bf16 products: TEMPR1_CUDA_PRODUCTS in the environment, own, cublaslt or auto (when it is not set).
 * Another word is an error. */
typedef enum tr_cuda_products {
    TR_CUDA_PRODUCTS_AUTO,
    TR_CUDA_PRODUCTS_OWN,
    TR_CUDA_PRODUCTS_CUBLASLT
} tr_cuda_products;
enum { TR_CUDA_FEW_ROWS = 128 }; /* up to as many, our own kernels stand in for an algorithm of the same bits */
tr_status tr_cuda_products_mode(tr_cuda_products *mode, tr_error *err);
bool tr_cuda_exact(void); /* what tr_cuda_set_exact said; true at the start */

/* Chooses for a weight of this shape before its first product: when it is loaded, so that no choice (which
 * allocates and waits) falls into a captured graph. */
void tr_cuda_product_prepare(int64_t out, int64_t in);

/* The tables (table.c), whatever device is behind them. */
extern const tr_ops tr_cuda_table_f32, tr_cuda_table_bf16;

#endif
