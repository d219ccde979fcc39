/* kernels.h: the list of kernels with their launchers: tr_cuda_launch_NAME(arguments, grid) is what operations call
 * (graph.c), and collects the launch or gives it to the device: tr_cuda_run_NAME, which kernels.cu makes on a GPU
 * and emulate.c in the tests, launches on the stream of the lane in use. Internal to tensor/cuda. */
#ifndef TR_TENSOR_CUDA_KERNELS_H
#define TR_TENSOR_CUDA_KERNELS_H

#include "tensor/cuda/kernel_attention_back.h"
#include "tensor/cuda/kernel_elements.h"
#include "tensor/cuda/kernel_moments.h"
#include "tensor/cuda/kernel_product.h"
#include "tensor/cuda/kernel_sample.h"
#include "tensor/cuda/kernel_tile.h"

/* Blocks along x, y, z. A launch with an empty grid does nothing. */
typedef struct tr_cuda_grid {
    int64_t x, y, z;
} tr_cuda_grid;

/* X(name, arguments, threads, bytes of shared memory) */
#define TR_CUDA_KERNELS(X)                                                                                         \
    X(element, element_args, ELEMENT_THREADS, 0)                                                                   \
    X(convert, convert_args, ELEMENT_THREADS, 0)                                                                   \
    X(rows, rows_args, ELEMENT_THREADS, 0)                                                                         \
    X(rows_sum, rows_sum_args, ELEMENT_THREADS, 0)                                                                 \
    X(rope, rope_args, ELEMENT_THREADS, 0)                                                                         \
    X(rope_table, rope_table_args, ELEMENT_THREADS, 0)                                                             \
    X(adamw, adamw_args, ELEMENT_THREADS, 0)                                                                       \
    X(adamw8, adamw8_args, MOMENT_THREADS, sizeof(adamw8_shared))                                                  \
    X(kv_write, kv_write_args, ELEMENT_THREADS, 0)                                                                 \
    X(norm, norm_args, NORM_THREADS, sizeof(norm_shared))                                                          \
    X(norm_backward, norm_backward_args, NORM_THREADS, sizeof(norm_shared))                                        \
    X(column, column_args, COLUMN_THREADS, 0)                                                                      \
    X(parts, parts_args, COLUMN_THREADS, 0)                                                                        \
    X(softmax, softmax_args, SOFTMAX_THREADS, sizeof(softmax_shared))                                              \
    X(softmax_backward, softmax_backward_args, SOFTMAX_THREADS, 0)                                                 \
    X(sample_top, sample_args, SAMPLE_THREADS, sizeof(sample_top_shared))                                          \
    X(sample_sums, sample_args, SAMPLE_THREADS, sizeof(sample_sums_shared))                                        \
    X(sample_pick, sample_args, SAMPLE_THREADS, sizeof(sample_shared))                                             \
    X(squares, squares_args, ELEMENT_THREADS, sizeof(squares_shared))                                              \
    X(product, product_args, PRODUCT_THREADS, sizeof(product_shared))                                              \
    X(attend, attention_args, ATTEND_THREADS, sizeof(attend_shared))                                               \
    X(decode, decode_args, ATTEND_THREADS, sizeof(attend_shared))                                                  \
    X(delta, attention_args, NORM_THREADS, sizeof(norm_shared))                                                    \
    X(attend_query, attention_args, ATTEND_THREADS, sizeof(attend_shared))                                         \
    X(attend_key, attention_args, ATTEND_THREADS, sizeof(attend_shared))                                           \
    X(mma_join, mma_join_args, MMA_THREADS, 0)

/* Kernels that are compiled once for every padded head size; their launchers take it last. */
#define TR_CUDA_SIDE_KERNELS(X)                                                                                    \
    X(mma_attend, attention_args, MMA_THREADS, sizeof(mma_shared))                                                 \
    X(mma_decode, mma_decode_args, MMA_THREADS, sizeof(mma_shared))                                                \
    X(back_query, attention_args, MMA_THREADS, sizeof(back_shared))                                                \
    X(back_key, attention_args, MMA_THREADS, sizeof(back_shared))

/* The padded head size, or 0 where a head is too wide for the tensor-core kernels. */
static inline int tr_cuda_side(int64_t head_dim)
{
    return head_dim <= 32 ? 32 : head_dim <= 80 ? 80 : head_dim <= MMA_SIDE_MAX ? MMA_SIDE_MAX : 0;
}

#ifdef __cplusplus
extern "C" {
#endif
#define X(name, arguments, threads, bytes)                                                                         \
    void tr_cuda_launch_##name(const arguments *a, tr_cuda_grid grid);                                             \
    void tr_cuda_run_##name(const arguments *a, tr_cuda_grid grid);
TR_CUDA_KERNELS(X)
#undef X
#define X(name, arguments, threads, bytes)                                                                         \
    void tr_cuda_launch_##name(const arguments *a, tr_cuda_grid grid, int side);                                   \
    void tr_cuda_run_##name(const arguments *a, tr_cuda_grid grid, int side);
TR_CUDA_SIDE_KERNELS(X)
#undef X
void tr_cuda_launch_tile(const tile_args *a, tr_cuda_grid grid, tile_shape shape); /* kernels_tile.cu */
size_t tr_cuda_tile_limit(void); /* bytes of shared memory that a block may have */
#ifdef __cplusplus
}
#endif

#endif
